//! Whether the tables hold the rows that the ledger counts, told without reading them back.
//!
//! Every outcome that makes a row is counted in the ledger, so that as of a flush boundary the records with rows in each
//! table add up to its totals. A row may have been written twice or be an orphan beyond the boundary: counted are distinct
//! records before it.

use std::time::Duration;

use clickhouse::sql::Identifier;
use clickhouse::{Client, Row};
use serde::Deserialize;

use super::connection::Attempt;
use super::{HydrationRequest, StoreError, Table, TopicIdentity, ledger};
use crate::event::{Epoch, EventTime, EventType, Offset, PartitionId};
use crate::fold::Outcome;

/// What the tables hold of a partition as of an offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completeness {
    /// The largest flush boundary in the ledger at or before the offset; `None` before the first flush.
    pub boundary: Option<Offset>,
    /// The watermark as of it; of a new epoch's fresh partition the largest of the epochs before.
    pub watermark: EventTime,
    /// Where the rows before that boundary, or those of older epochs, are not what the ledger counts.
    pub differences: Vec<RowDifference>,
    /// Rows in front of erasures before this offset were taken out: states as of an earlier one, but for the log's start,
    /// cannot be read back. 0 where none were.
    pub erased_until: Offset,
}

/// A table that holds another number of records than the ledger counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowDifference {
    /// Generation of the topic.
    pub epoch: Epoch,
    /// The partition, of that generation.
    pub partition: PartitionId,
    /// Which table.
    pub table: Table,
    /// Records that the ledger counts as having rows in it.
    pub expected: u64,
    /// Records that have.
    pub found: u64,
    /// Records whose rows were removed on purpose, and may be missing.
    pub dropped: u64,
}

impl std::fmt::Display for RowDifference {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { epoch, partition, table, expected, found, dropped } = self;
        let (epoch, partition, table) = (epoch.get(), partition.get(), table.name());
        write!(formatter, "table {table} holds rows of {found} records of partition {partition}, epoch {epoch}")?;
        if *dropped > 0 {
            write!(formatter, " ({dropped} more were dropped)")?;
        }
        write!(formatter, ", the ledger counts {expected}")
    }
}

/// Tables whose rows the ledger counts. Of rosters only the heads and the single changes are.
const COUNTED: [Table; 10] = [
    Table::Messages,
    Table::Receipts,
    Table::Recalls,
    Table::RosterChanges,
    Table::Marks,
    Table::Parked,
    Table::Settlements,
    Table::Policies,
    Table::Rejections,
    Table::MessageFacts,
];

/// Tables whose rows stand in `message_facts` once more, and go from there as they go from these.
const TOLD_AGAIN: [Table; 3] = [Table::Messages, Table::Receipts, Table::Recalls];

/// Counting goes through four columns of every row there is, and answers only then: it may take so many times as long as
/// another statement.
const WHOLE_TABLES_TIMEOUTS: u32 = 10;

/// `epoch << 32 | partition`: one number for the queries.
type Place = u64;

fn place_of(epoch: Epoch, partition: PartitionId) -> Place {
    u64::from(epoch.get()) << 32 | u64::from(partition.get())
}

#[derive(Row, Deserialize)]
struct EndRow {
    place: Place,
    next_offset: u64,
    watermark: u64,
}

#[derive(Row, Deserialize)]
struct ErasedRow {
    place: Place,
    until: u64,
}

#[derive(Row, Deserialize)]
struct TableRow {
    table_name: String,
    place: Place,
    rows: u64,
}

#[derive(Row, Deserialize)]
struct TotalRow {
    place: Place,
    #[serde(rename = "type")]
    event_type: String,
    measure: String,
    outcome: String,
    total: u64,
}

impl TotalRow {
    /// Whether each of these outcomes made a row in `table`.
    fn makes_rows_in(&self, table: Table) -> bool {
        use EventType as Type;
        if table == Table::MessageFacts {
            return TOLD_AGAIN.iter().any(|table| self.makes_rows_in(*table));
        }
        let Some(outcome) = Outcome::from_name(&self.outcome) else { return false };
        let is_settled = self.measure == "settled";
        let event_type = EventType::from_name(&self.event_type);
        match (table, event_type) {
            (Table::Rejections, _) => outcome.is_rejected(),
            (Table::Settlements, _) => is_settled,
            (Table::Receipts, Some(Type::Delivered | Type::Read)) => outcome == Outcome::Counted,
            (Table::Recalls, Some(Type::Recall)) => outcome == Outcome::Applied,
            (_, _) if is_settled => false,
            (Table::Parked, Some(Type::Delivered | Type::Read | Type::Recall)) => outcome == Outcome::Parked,
            (Table::Messages, Some(Type::Message)) => matches!(
                outcome,
                Outcome::Stored
                    | Outcome::Opened
                    | Outcome::NotOpen
                    | Outcome::PermissionDenied
                    | Outcome::QuotaExceeded
            ),
            (Table::RosterChanges, Some(Type::Member | Type::Roster | Type::GroupDestroyed)) => {
                matches!(outcome, Outcome::Applied | Outcome::NoChange)
            }
            (Table::Marks, Some(Type::ConversationRead)) => outcome == Outcome::Applied,
            (Table::Policies, Some(Type::Policy | Type::Erase)) => outcome == Outcome::Applied,
            _ => false,
        }
    }
}

/// What the tables hold as of offsets, in the order asked for.
pub(super) async fn completeness(
    client: &Client,
    topic: &TopicIdentity,
    requests: &[HydrationRequest],
    timeout: Duration,
) -> Result<Vec<Completeness>, StoreError> {
    let has_older_epochs = ledger::check_topic(client, topic, timeout).await?;
    let reader = Reader { client, timeout };
    let boundaries = reader.boundaries(topic, requests).await?;
    let older_ends = if has_older_epochs { reader.older_ends(topic.epoch).await? } else { Vec::new() };
    let older_watermark = older_ends.iter().map(|end| watermark_of(end.watermark)).max().unwrap_or_default();

    // Rows beyond the last boundary are in no total yet; before the first one there are none.
    let without_flush: Vec<EndRow> = requests
        .iter()
        .map(|request| (place_of(topic.epoch, request.partition), request.committed.get()))
        .filter(|(place, _)| !boundaries.iter().any(|end| end.place == *place))
        .map(|(place, next_offset)| EndRow { place, next_offset, watermark: 0 })
        .collect();
    let ends: Vec<&EndRow> = boundaries.iter().chain(&without_flush).chain(&older_ends).collect();
    let differences = reader.differences(&ends).await?;
    let erased = reader.erased(topic.epoch).await?;
    let of_request = |request: &HydrationRequest| {
        let place = place_of(topic.epoch, request.partition);
        let own = boundaries.iter().find(|end| end.place == place);
        let concerns =
            |difference: &&RowDifference| difference.epoch < topic.epoch || difference.partition == request.partition;
        Completeness {
            boundary: own.map(|end| Offset::new(end.next_offset)),
            watermark: own.map_or(older_watermark, |end| watermark_of(end.watermark)),
            differences: differences.iter().filter(concerns).copied().collect(),
            erased_until: erased
                .iter()
                .find(|end| end.place == place)
                .map_or(Offset::default(), |end| Offset::new(end.until)),
        }
    };
    Ok(requests.iter().map(of_request).collect())
}

/// The flush boundaries of a partition from `from` to `to`, both included, ascending.
pub(super) async fn boundaries(
    client: &Client,
    topic: &TopicIdentity,
    partition: PartitionId,
    (from, to): (Offset, Offset),
    timeout: Duration,
) -> Result<Vec<Offset>, StoreError> {
    let query = client
        .query(include_str!("sql/ledger_boundaries.sql"))
        .bind(topic.epoch.get())
        .bind(&topic.topic)
        .bind(partition.get())
        .bind(from.get())
        .bind(to.get());
    let found: Vec<u64> = Reader { client, timeout }.attempt("ledger").bounded(query.fetch_all()).await?;
    Ok(found.into_iter().map(Offset::new).collect())
}

/// Counts the records with rows in one week of a table, which is about to be dropped, as allowed to be missing. `week` is
/// the ClickHouse partition's id: its Monday as eight digits. Counting again what is still there changes nothing.
pub(super) async fn count_as_dropped(
    client: &Client,
    table: Table,
    week: &str,
    timeout: Duration,
) -> Result<(), StoreError> {
    let sql = match table {
        Table::Messages | Table::Marks => include_str!("sql/dropped_week.sql"),
        Table::Receipts | Table::Recalls | Table::Parked | Table::Settlements | Table::Rejections => {
            include_str!("sql/dropped_week_own.sql")
        }
        // In no total, or without weeks.
        Table::RosterChanges
        | Table::Policies
        | Table::MessageCounts
        | Table::SenderCounts
        | Table::MessageFacts
        | Table::Ledger => return Ok(()),
    };
    let statement = client.query(sql).bind(table.name()).bind(week).bind(Identifier(table.name()));
    let timeout = timeout * WHOLE_TABLES_TIMEOUTS;
    Attempt { doing: "counting", target: table.name(), timeout }.bounded(statement.execute()).await
}

struct Reader<'a> {
    client: &'a Client,
    timeout: Duration,
}

impl Reader<'_> {
    fn attempt(&self, target: &'static str) -> Attempt<'static> {
        Attempt { doing: "reading", target, timeout: self.timeout }
    }

    async fn boundaries(
        &self,
        topic: &TopicIdentity,
        requests: &[HydrationRequest],
    ) -> Result<Vec<EndRow>, StoreError> {
        let query = self
            .client
            .query(include_str!("sql/completeness_boundaries.sql"))
            .bind(topic.epoch.get())
            .bind(&topic.topic)
            .bind(requests.iter().map(|request| request.partition.get()).collect::<Vec<_>>())
            .bind(requests.iter().map(|request| request.committed.get()).collect::<Vec<_>>());
        self.attempt("ledger").bounded(query.fetch_all()).await
    }

    async fn erased(&self, current: Epoch) -> Result<Vec<ErasedRow>, StoreError> {
        let query = self.client.query(include_str!("sql/completeness_erased.sql")).bind(current.get());
        self.attempt("dropped").bounded(query.fetch_all()).await
    }

    async fn older_ends(&self, current: Epoch) -> Result<Vec<EndRow>, StoreError> {
        let query = self.client.query(include_str!("sql/completeness_older_ends.sql")).bind(current.get());
        self.attempt("ledger").bounded(query.fetch_all()).await
    }

    async fn differences(&self, ends: &[&EndRow]) -> Result<Vec<RowDifference>, StoreError> {
        if ends.is_empty() {
            return Ok(Vec::new());
        }
        let places: Vec<Place> = ends.iter().map(|end| end.place).collect();
        let offsets: Vec<u64> = ends.iter().map(|end| end.next_offset).collect();
        let asked = |sql: &str| self.client.query(sql).bind(&places).bind(&offsets);
        let totals = asked(include_str!("sql/completeness_totals.sql"));
        let totals: Vec<TotalRow> = self.attempt("ledger").bounded(totals.fetch_all()).await?;
        let found = asked(include_str!("sql/completeness_rows.sql"));
        let whole_tables = Attempt { timeout: self.timeout * WHOLE_TABLES_TIMEOUTS, ..self.attempt("all tables") };
        let found: Vec<TableRow> = whole_tables.bounded(found.fetch_all()).await?;
        let dropped = self.client.query(include_str!("sql/completeness_dropped.sql"));
        let dropped: Vec<TableRow> = self.attempt("dropped").bounded(dropped.fetch_all()).await?;

        let mut differences = Vec::new();
        for &place in &places {
            for table in COUNTED {
                let of_table = |rows: &[TableRow], table: Table| {
                    let is_of_table = |row: &&TableRow| row.place == place && row.table_name == table.name();
                    rows.iter().find(is_of_table).map_or(0, |row| row.rows)
                };
                let counted = |row: &&TotalRow| row.place == place && row.makes_rows_in(table);
                let expected: u64 = totals.iter().filter(counted).map(|row| row.total).sum();
                let found = of_table(&found, table);
                let dropped = match table {
                    Table::MessageFacts => TOLD_AGAIN.iter().map(|table| of_table(&dropped, *table)).sum(),
                    table => of_table(&dropped, table),
                };
                // Rows that were counted as dropped may still be there.
                if !(found..=found + dropped).contains(&expected) {
                    let epoch = Epoch::new((place >> 32) as u16);
                    let partition = PartitionId::new(place as u32);
                    differences.push(RowDifference { epoch, partition, table, expected, found, dropped });
                }
            }
        }
        Ok(differences)
    }
}

fn watermark_of(total: u64) -> EventTime {
    EventTime::from_millis(i64::try_from(total).unwrap_or(i64::MAX))
}
