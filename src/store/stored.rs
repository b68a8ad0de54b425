//! Rows read back as they were encoded, to be compared with what a fold says they must be.

use std::collections::BTreeSet;
use std::time::Duration;

use clickhouse::query::Query;
use clickhouse::{Client, Row};
use serde::Deserialize;

use super::column::{Column, row_length};
use super::connection::{Attempt, connect, statement_timeout};
use super::rows::{end_of_week, week_of_day};
use super::{
    HydratedPartition, HydrationProgress, HydrationRequest, StateScope, StoreError, Table, TopicIdentity, hydrate,
    ledger,
};
use crate::config::ClickHouseConfig;
use crate::event::{Epoch, EventTime, Offset, PartitionId, RecordTime};
use crate::fold::Outcome;

/// Offsets of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetRange {
    /// The partition.
    pub partition: PartitionId,
    /// The first of them.
    pub from: Offset,
    /// The first behind them.
    pub until: Offset,
}

/// Reads the tables of one topic row by row. Every wait is bounded by `clickhouse.timeout_ms`; rows stream through.
#[derive(Debug)]
pub struct StoredRows {
    client: Client,
    timeout: Duration,
    topic: TopicIdentity,
}

/// Where the ledger of an older epoch's partition ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OlderEnd {
    /// Generation of the topic.
    pub epoch: Epoch,
    /// The partition, of that generation.
    pub partition: PartitionId,
    /// The offset after the last record that it counts.
    pub next_offset: Offset,
}

/// Which refused records are asked for.
#[derive(Clone, Debug)]
pub struct RefusedSelection {
    /// Refused as any of these.
    pub outcomes: Vec<Outcome>,
    /// Of one app; of all where there is none. Malformed records are of app "".
    pub app: Option<String>,
    /// Written at or after this time.
    pub from: RecordTime,
    /// Written before this time.
    pub until: RecordTime,
    /// What the workers have committed: what lies behind is not decided yet.
    pub committed: Vec<(PartitionId, Offset)>,
}

/// Weeks whose rows were removed on purpose: what is missing of them is no loss.
#[derive(Debug, Default)]
pub struct DroppedWeeks {
    weeks: BTreeSet<(&'static str, u16)>,
}

impl DroppedWeeks {
    /// Whether rows of that week were removed from a table.
    pub fn contains(&self, table: Table, week: u16) -> bool {
        // Counts, and facts told twice, go with their messages, uncounted.
        let counted = match table {
            Table::MessageCounts | Table::SenderCounts | Table::MessageFacts => Table::Messages,
            table => table,
        };
        self.weeks.contains(&(counted.name(), week))
    }

    /// The end of the last week whose rows were removed from any of these tables; `None` where none were.
    pub fn end_of_last(&self, tables: &[Table]) -> Option<EventTime> {
        let of_them = |name: &str| tables.iter().any(|table| table.name() == name);
        self.weeks.iter().filter(|(name, _)| of_them(name)).map(|(_, week)| end_of_week(*week)).max()
    }
}

#[derive(Row, Deserialize)]
struct DroppedWeekRow {
    table_name: String,
    /// Days since 1970.
    monday: i32,
}

#[derive(Row, Deserialize)]
struct OlderEndRow {
    /// `epoch << 32 | partition`.
    place: u64,
    next_offset: u64,
}

#[derive(Row, Deserialize)]
struct BoundaryRow {
    next_offset: u64,
}

#[derive(Row, Deserialize)]
struct HourRow {
    hour_ms: i64,
}

#[derive(Row, Deserialize)]
struct RecordsRow {
    records: u64,
}

impl StoredRows {
    /// Connects on the first question, on connections of its own.
    pub fn new(config: &ClickHouseConfig, topic: TopicIdentity) -> Self {
        Self::over(connect(config), statement_timeout(config), topic)
    }

    /// The same over a client of the caller's choice.
    pub(super) fn over(client: Client, timeout: Duration, topic: TopicIdentity) -> Self {
        Self { client, timeout, topic }
    }

    /// The topic.
    pub fn topic(&self) -> &TopicIdentity {
        &self.topic
    }

    /// A part of a partition's state as of an offset, read back as [`super::Store::hydrate`] does; without the ledger's
    /// totals, which are of the whole.
    ///
    /// # Errors
    /// As [`super::Store::hydrate`].
    pub async fn state(
        &self,
        request: HydrationRequest,
        scope: StateScope<'_>,
        progress: &mut HydrationProgress<'_>,
    ) -> Result<HydratedPartition, StoreError> {
        let Self { client, timeout, topic } = self;
        let hydrated = hydrate::hydrate(client, topic, &[request], Some(scope), *timeout, progress).await?;
        let reason = || "one state was asked for, none came".to_owned();
        hydrated.into_iter().next().ok_or_else(|| StoreError::Unreadable { table: "ledger", reason: reason() })
    }

    /// Gives every row of a table of facts or counts whose offset is in the range to `take`, in no order and with
    /// repetitions.
    ///
    /// # Errors
    /// What ClickHouse said, or what `take` did.
    pub async fn rows(
        &self,
        table: Table,
        range: OffsetRange,
        take: impl FnMut(&[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        debug_assert!(table != Table::Ledger, "its rows stand at the ends of flushes");
        let statement = format!("{} WHERE epoch = ? AND partition = ? AND offset >= ? AND offset < ?", table.select());
        let query = self.client.query(&statement);
        let query = query.bind(self.topic.epoch.get()).bind(range.partition.get());
        let query = query.bind(range.from.get()).bind(range.until.get());
        self.stream(table, table.columns(), query, take).await
    }

    /// Gives every row of the ledger behind the range's first offset and not behind its end to `take`, by ascending
    /// `next_offset` and with repetitions.
    ///
    /// # Errors
    /// What ClickHouse said, or what `take` did.
    pub async fn ledger(
        &self,
        range: OffsetRange,
        take: impl FnMut(&[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let statement = format!("{} WHERE {LEDGER_RANGE} ORDER BY next_offset", Table::Ledger.select());
        self.stream(Table::Ledger, Table::Ledger.columns(), self.ledger_query(&statement, range), take).await
    }

    /// Gives the last row of each ledger cell behind the range's first offset and not behind its end to `take`.
    ///
    /// # Errors
    /// What ClickHouse said, or what `take` did.
    pub async fn last_of_cells(
        &self,
        range: OffsetRange,
        take: impl FnMut(&[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let statement = format!(
            "{} WHERE {LEDGER_RANGE} ORDER BY next_offset DESC LIMIT 1 BY app, type, outcome, measure, hour",
            Table::Ledger.select()
        );
        self.stream(Table::Ledger, Table::Ledger.columns(), self.ledger_query(&statement, range), take).await
    }

    fn ledger_query(&self, statement: &str, range: OffsetRange) -> Query {
        let query = self.client.query(statement).bind(self.topic.epoch.get()).bind(&self.topic.topic);
        query.bind(range.partition.get()).bind(range.from.get()).bind(range.until.get())
    }

    /// Gives the sorting key of every row of counts whose offset is in the range to `take`, of messages sent in a span of
    /// time: what stands there takes the place of all rows of that key before it.
    ///
    /// # Errors
    /// What ClickHouse said, or what `take` did.
    pub async fn keys_of_newer_counts(
        &self,
        table: Table,
        range: OffsetRange,
        sent: (EventTime, EventTime),
        take: impl FnMut(&[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let keys: Vec<Column> = table.columns().iter().copied().filter(Column::is_key).collect();
        let names: Vec<&str> = keys.iter().map(Column::name).collect();
        let statement = format!(
            "SELECT {} FROM {} WHERE epoch = ? AND partition = ? AND offset >= ? AND offset < ? \
             AND sent_at >= fromUnixTimestamp64Milli(toInt64(?), 'UTC') \
             AND sent_at <= fromUnixTimestamp64Milli(toInt64(?), 'UTC')",
            names.join(", "),
            table.name()
        );
        let query = self.client.query(&statement).bind(self.topic.epoch.get()).bind(range.partition.get());
        let query = query.bind(range.from.get()).bind(range.until.get()).bind(sent.0.millis()).bind(sent.1.millis());
        self.stream(table, &keys, query, take).await
    }

    /// Gives every refused record that was refused on arrival and lies before what is committed to `take`, each once, in
    /// the order in which they were written.
    ///
    /// # Errors
    /// What ClickHouse said, or what `take` did.
    pub async fn refused_records(
        &self,
        selection: &RefusedSelection,
        take: impl FnMut(&[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let outcomes: Vec<&str> = selection.outcomes.iter().map(|outcome| outcome.name()).collect();
        let partitions: Vec<u32> = selection.committed.iter().map(|(partition, _)| partition.get()).collect();
        let committed: Vec<u64> = selection.committed.iter().map(|(_, offset)| offset.get()).collect();
        let statement = format!("{} {}", Table::Rejections.select(), include_str!("sql/refused_records.sql"));
        let query = self.client.query(&statement).bind(outcomes);
        let query = query.bind(selection.app.is_none()).bind(selection.app.as_deref().unwrap_or_default());
        let query = query.bind(selection.from.millis()).bind(selection.until.millis());
        let epoch = self.topic.epoch.get();
        let query = query.bind(epoch).bind(epoch).bind(partitions).bind(committed);
        self.stream(Table::Rejections, Table::Rejections.columns(), query, take).await
    }

    /// Gives every row of a table that is of no log to `take`, with repetitions: of a later epoch, of a partition that the
    /// topic has not got, or, in an older epoch, of a place that its ledger does not reach.
    ///
    /// # Errors
    /// What ClickHouse said, or what `take` did.
    pub async fn rows_of_no_log(
        &self,
        table: Table,
        older_ends: &[OlderEnd],
        take: impl FnMut(&[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        // Totals are as of the offset behind their last record.
        let is_beyond = if table == Table::Ledger { "next_offset >" } else { "offset >=" };
        let statement = format!("{} WHERE {OF_NO_LOG} {is_beyond} {END_OF_PLACE})", table.select());
        let epoch = self.topic.epoch.get();
        // A place that is none, as ClickHouse tells no type of an empty list.
        let nowhere = (u64::MAX, 0);
        let place = |end: &OlderEnd| u64::from(end.epoch.get()) << 32 | u64::from(end.partition.get());
        let ends = older_ends.iter().map(|end| (place(end), end.next_offset.get())).chain([nowhere]);
        let (places, offsets): (Vec<u64>, Vec<u64>) = ends.unzip();
        let query = self.client.query(&statement).bind(epoch).bind(epoch).bind(self.topic.partitions).bind(epoch);
        self.stream(table, table.columns(), query.bind(places).bind(offsets), take).await
    }

    /// Where the ledgers of older epochs end.
    ///
    /// # Errors
    /// What ClickHouse said.
    pub async fn older_ends(&self) -> Result<Vec<OlderEnd>, StoreError> {
        let query = self.client.query(include_str!("sql/older_ends.sql")).bind(self.topic.epoch.get());
        let rows: Vec<OlderEndRow> = self.attempt(Table::Ledger).bounded(query.fetch_all()).await?;
        let end = |row: OlderEndRow| OlderEnd {
            epoch: Epoch::new((row.place >> 32) as u16),
            partition: PartitionId::new(row.place as u32),
            next_offset: Offset::new(row.next_offset),
        };
        Ok(rows.into_iter().map(end).collect())
    }

    /// Whether the ledger holds epochs before the current one.
    ///
    /// # Errors
    /// What ClickHouse said.
    pub async fn has_older_epochs(&self) -> Result<bool, StoreError> {
        ledger::check_topic(&self.client, &self.topic, self.timeout).await
    }

    /// The ends of flushes behind the range's first offset and not behind its end, ascending, the first `most` of them.
    ///
    /// # Errors
    /// What ClickHouse said.
    pub async fn boundaries(&self, range: OffsetRange, most: u64) -> Result<Vec<Offset>, StoreError> {
        let query = self.ledger_query(include_str!("sql/ledger_flush_ends.sql"), range).bind(most);
        let rows: Vec<BoundaryRow> = self.attempt(Table::Ledger).bounded(query.fetch_all()).await?;
        Ok(rows.into_iter().map(|row| Offset::new(row.next_offset)).collect())
    }

    /// The last end of a flush at or before an offset.
    ///
    /// # Errors
    /// What ClickHouse said.
    pub async fn boundary_before(&self, partition: PartitionId, at: Offset) -> Result<Option<Offset>, StoreError> {
        let range = OffsetRange { partition, from: Offset::default(), until: at };
        let query = self.ledger_query(include_str!("sql/ledger_last_boundary.sql"), range);
        let row: Option<BoundaryRow> = self.attempt(Table::Ledger).bounded(query.fetch_optional()).await?;
        Ok(row.map(|row| Offset::new(row.next_offset)))
    }

    /// The last hour of record time, by its start, in which a record was counted that lies in front of an offset which is
    /// the end of a flush or the log's begin, or in an older epoch; `None` where none was.
    ///
    /// # Errors
    /// What ClickHouse said.
    pub async fn last_hour_before(&self, partition: PartitionId, at: Offset) -> Result<Option<RecordTime>, StoreError> {
        let epoch = self.topic.epoch.get();
        let query = self.client.query(include_str!("sql/ledger_last_hour.sql")).bind(epoch).bind(epoch);
        let query = query.bind(&self.topic.topic).bind(partition.get()).bind(at.get());
        let row: Option<HourRow> = self.attempt(Table::Ledger).bounded(query.fetch_optional()).await?;
        Ok(row.map(|row| RecordTime::from_millis(row.hour_ms)))
    }

    /// The sum of all outcomes of records before an offset that is the end of a flush.
    ///
    /// # Errors
    /// What ClickHouse said.
    pub async fn records_counted(&self, partition: PartitionId, before: Offset) -> Result<u64, StoreError> {
        let range = OffsetRange { partition, from: Offset::default(), until: before };
        let query = self.ledger_query(include_str!("sql/ledger_records.sql"), range);
        let row: RecordsRow = self.attempt(Table::Ledger).bounded(query.fetch_one()).await?;
        Ok(row.records)
    }

    /// The weeks whose rows were removed on purpose.
    ///
    /// # Errors
    /// What ClickHouse said.
    pub async fn dropped_weeks(&self) -> Result<DroppedWeeks, StoreError> {
        let query = self.client.query(include_str!("sql/dropped_weeks.sql"));
        let attempt = Attempt { doing: "reading", target: "dropped", timeout: self.timeout };
        let rows: Vec<DroppedWeekRow> = attempt.bounded(query.fetch_all()).await?;
        let known = |name: &str| Table::ALL.into_iter().find(|table| table.name() == name);
        let week = |row: DroppedWeekRow| Some((known(&row.table_name)?.name(), week_of_day(i64::from(row.monday))));
        Ok(DroppedWeeks { weeks: rows.into_iter().filter_map(week).collect() })
    }

    /// Rows of a table, of whatever topic.
    ///
    /// # Errors
    /// What ClickHouse said.
    pub async fn row_count(&self, table: Table) -> Result<u64, StoreError> {
        let query =
            self.client.query("SELECT count() AS records FROM ?").bind(clickhouse::sql::Identifier(table.name()));
        let row: RecordsRow = self.attempt(table).bounded(query.fetch_one()).await?;
        Ok(row.records)
    }

    fn attempt(&self, table: Table) -> Attempt<'static> {
        Attempt { doing: "reading", target: table.name(), timeout: self.timeout }
    }

    async fn stream(
        &self,
        table: Table,
        columns: &[Column],
        query: Query,
        mut take: impl FnMut(&[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let attempt = self.attempt(table);
        let mut cursor = query.fetch_bytes("RowBinary").map_err(|error| attempt.failed(&error))?;
        let mut pending = Vec::new();
        while let Some(piece) = attempt.bounded(cursor.next()).await? {
            pending.extend_from_slice(&piece);
            let mut rest = pending.as_slice();
            while let Some(length) = row_length(columns, rest) {
                let (row, after) = rest.split_at(length);
                take(row)?;
                rest = after;
            }
            let taken = pending.len() - rest.len();
            pending.drain(..taken);
        }
        if pending.is_empty() {
            return Ok(());
        }
        // The answer ended within a row: a connection that broke without a word.
        Err(attempt.failed(&clickhouse::error::Error::NotEnoughData))
    }
}

/// Rows of the ledger of one partition, those of flushes that began at or behind an offset.
const LEDGER_RANGE: &str = "epoch = ? AND topic = ? AND partition = ? AND next_offset > ? AND next_offset <= ?";

/// Rows of later epochs, of partitions beyond the topic's, or of older epochs where what follows holds.
const OF_NO_LOG: &str = "epoch > ? OR (epoch = ? AND partition >= ?) OR (epoch < ? AND";

/// Where the ledger of a row's epoch and partition ends; 0 where there is none.
const END_OF_PLACE: &str = "transform(bitOr(bitShiftLeft(toUInt64(epoch), 32), toUInt64(partition)), \
                            CAST(? AS Array(UInt64)), CAST(? AS Array(UInt64)), toUInt64(0))";
