//! Whole tables of an app, slice by slice.

mod places;

use std::time::Duration;

use bytes::Bytes;
use clickhouse::Client;
use clickhouse::query::{BytesCursor, Query};
use serde::{Deserialize, Serialize};

use self::places::ExportPlaces;
use super::Queries;
use super::statements::{failed_or_cut, limited_export, limited_slice_end};
use crate::config::Config;
use crate::event::{AppId, EventTime};
use crate::store::StoreError;
use crate::store::connection::{Attempt, connect, statement_timeout};

pub use self::places::ExportPlace;

/// What can be exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportTable {
    /// Messages.
    Messages,
    /// Receipts that count.
    Receipts,
    /// Recalls.
    Recalls,
    /// Conversation reads.
    Marks,
    /// Changes of rosters.
    RosterChanges,
    /// Ends of waits.
    Settlements,
    /// Refused records.
    Rejections,
    /// Counts of messages.
    MessageCounts,
}

/// In which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportFormat {
    /// A JSON object a line.
    Ndjson,
    /// Comma-separated, with a line of names.
    Csv,
    /// Apache Parquet.
    Parquet,
}

/// A part of the key by which a table is exported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum KeyPart {
    /// A number, or a time in ms since 1970.
    Number(i64),
    /// A text.
    Text(String),
}

/// Place of a row in the export of its table.
pub type ExportPosition = Vec<KeyPart>;

/// What of a table is exported.
#[derive(Clone, Debug)]
pub struct ExportSelection {
    /// Which table.
    pub table: ExportTable,
    /// Rows of this time or later: the message's of messages, recalls' and receipts' own, a refusal's that of its record.
    pub from: EventTime,
    /// Rows before this time.
    pub until: EventTime,
    /// Rows behind this place only.
    pub after: Option<ExportPosition>,
}

impl ExportTable {
    /// Every table under its name.
    pub const WORDS: [(&'static str, Self); 8] = [
        ("messages", Self::Messages),
        ("receipts", Self::Receipts),
        ("recalls", Self::Recalls),
        ("marks", Self::Marks),
        ("roster_changes", Self::RosterChanges),
        ("settlements", Self::Settlements),
        ("rejections", Self::Rejections),
        ("message_counts", Self::MessageCounts),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::WORDS.iter().find(|(_, table)| *table == self).map_or("", |(name, _)| name)
    }

    const fn rows(self) -> &'static str {
        match self {
            Self::Messages => include_str!("messages.sql"),
            Self::Receipts => include_str!("receipts.sql"),
            Self::Recalls => include_str!("recalls.sql"),
            Self::Marks => include_str!("marks.sql"),
            Self::RosterChanges => include_str!("roster_changes.sql"),
            Self::Settlements => include_str!("settlements.sql"),
            Self::Rejections => include_str!("rejections.sql"),
            Self::MessageCounts => include_str!("message_counts.sql"),
        }
    }

    const fn slice_end(self) -> &'static str {
        match self {
            Self::Messages => include_str!("messages_end.sql"),
            Self::Receipts => include_str!("receipts_end.sql"),
            Self::Recalls => include_str!("recalls_end.sql"),
            Self::Marks => include_str!("marks_end.sql"),
            Self::RosterChanges => include_str!("roster_changes_end.sql"),
            Self::Settlements => include_str!("settlements_end.sql"),
            Self::Rejections => include_str!("rejections_end.sql"),
            Self::MessageCounts => include_str!("message_counts_end.sql"),
        }
    }

    /// The place before every row: it also tells what the parts of a place are.
    fn lowest(self) -> ExportPosition {
        let text = || KeyPart::Text(String::new());
        let number = || KeyPart::Number(i64::MIN);
        match self {
            Self::Messages | Self::Recalls | Self::MessageCounts => vec![text(), text(), number()],
            Self::Receipts => vec![text(), text(), number(), number(), text()],
            Self::Marks => vec![text(), number(), number(), number(), number()],
            Self::RosterChanges => vec![text(), number(), number(), number(), number(), text()],
            Self::Settlements | Self::Rejections => {
                let mut position = vec![text()];
                position.extend((0..6).map(|_| number()));
                position
            }
        }
    }

    /// Whether a place is one of this table's.
    pub fn has_place(self, position: &[KeyPart]) -> bool {
        let lowest = self.lowest();
        let is_alike =
            |(one, other): (&KeyPart, &KeyPart)| std::mem::discriminant(one) == std::mem::discriminant(other);
        lowest.len() == position.len() && lowest.iter().zip(position).all(is_alike)
    }
}

impl ExportFormat {
    /// Every format under its name.
    pub const WORDS: [(&'static str, Self); 3] =
        [("ndjson", Self::Ndjson), ("csv", Self::Csv), ("parquet", Self::Parquet)];

    /// Its media type.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8",
            Self::Parquet => "application/vnd.apache.parquet",
        }
    }

    /// ClickHouse's name of it.
    const fn clickhouse(self) -> &'static str {
        match self {
            Self::Ndjson => "JSONEachRow",
            Self::Csv => "CSVWithNames",
            Self::Parquet => "Parquet",
        }
    }
}

/// How exports reach ClickHouse, and how many of them.
#[derive(Debug)]
pub(super) struct Exports {
    rows: Client,
    slice_ends: Client,
    places: ExportPlaces,
    timeout: Duration,
}

impl Exports {
    pub(super) fn new(config: &Config) -> Self {
        let connect = || connect(&config.clickhouse);
        Self {
            rows: limited_export(connect(), &config.api.export),
            slice_ends: limited_slice_end(connect(), &config.api.export, &config.api.query),
            places: ExportPlaces::new(&config.api.export),
            timeout: statement_timeout(&config.clickhouse),
        }
    }
}

impl Queries {
    /// Waits until the app may export, as long as its exports, or all of them, are as many as may be.
    pub async fn export_place(&self, app: AppId<'_>) -> ExportPlace {
        self.exports.places.take(app.as_str()).await
    }

    /// The last row of the slice of the next `limit` rows; `None` where it holds all that are left.
    ///
    /// # Errors
    /// What ClickHouse said.
    pub async fn slice_end(
        &self,
        _place: &ExportPlace,
        app: AppId<'_>,
        selection: &ExportSelection,
        limit: u64,
    ) -> Result<Option<ExportPosition>, StoreError> {
        let table = selection.table;
        let query = selection.bind(self.exports.slice_ends.query(table.slice_end()), app).bind(limit.saturating_sub(1));
        let attempt = Attempt { doing: "reading", target: table.name(), timeout: self.exports.timeout };
        let mut answer = query.fetch_bytes("JSONCompactEachRow").map_err(|error| attempt.failed(&error))?;
        let lines = bounded(attempt, answer.collect()).await?;
        let unreadable = |reason: String| StoreError::Unreadable { table: table.name(), reason };
        let mut keys = Vec::new();
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let key: ExportPosition = serde_json::from_slice(line).map_err(|error| unreadable(error.to_string()))?;
            if !table.has_place(&key) {
                return Err(unreadable("its key has other parts than it should".to_owned()));
            }
            keys.push(key);
        }
        // Without a row behind it, the last one is the table's.
        Ok(if keys.len() > 1 { keys.into_iter().next() } else { None })
    }

    /// The rows of a slice up to and with `last`, or all that are left, as ClickHouse makes them.
    ///
    /// # Errors
    /// [`StoreError::Rejected`] where the statement cannot be made.
    pub fn export(
        &self,
        place: ExportPlace,
        app: AppId<'_>,
        selection: &ExportSelection,
        last: Option<&ExportPosition>,
        format: ExportFormat,
    ) -> Result<ExportRows, StoreError> {
        let table = selection.table;
        let lowest = table.lowest();
        let (is_last, last) = (last.is_none(), last.unwrap_or(&lowest));
        let query = selection.bind(self.exports.rows.query(table.rows()), app);
        // The conversation by itself is what the key's index is asked for: without it every slice reads to the table's end.
        let query = query.bind(is_last).bind(conversation_of(last)).bind(is_last);
        let query = bind_position(query, last);
        let attempt = Attempt { doing: "exporting", target: table.name(), timeout: self.exports.timeout };
        let cursor = query.fetch_bytes(format.clickhouse()).map_err(|error| attempt.failed(&error))?;
        Ok(ExportRows { cursor, attempt, _place: place })
    }
}

/// Rows on their way out.
pub struct ExportRows {
    cursor: BytesCursor,
    attempt: Attempt<'static>,
    /// Kept until the last row is out, or nobody waits for it any more.
    _place: ExportPlace,
}

impl ExportRows {
    /// The next piece of them; `None` behind the last.
    ///
    /// # Errors
    /// What ClickHouse said; the rows are not whole then.
    pub async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        bounded(self.attempt, self.cursor.next()).await
    }
}

/// Waits for a statement's end or its next rows, for no longer than the attempt may take.
async fn bounded<T>(
    attempt: Attempt<'_>,
    answer: impl Future<Output = Result<T, clickhouse::error::Error>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(attempt.timeout, answer).await {
        Ok(answer) => answer.map_err(|error| failed_or_cut(attempt, &error)),
        Err(_) => Err(attempt.failed(&clickhouse::error::Error::TimedOut)),
    }
}

impl ExportSelection {
    fn bind(&self, query: Query, app: AppId<'_>) -> Query {
        let lowest = self.table.lowest();
        let after = self.after.as_ref().unwrap_or(&lowest);
        let query = query.bind(app.as_str()).bind(self.from.millis()).bind(self.until.millis());
        bind_position(query.bind(conversation_of(after)), after)
    }
}

/// The first part of every place.
fn conversation_of(position: &ExportPosition) -> &str {
    match position.first() {
        Some(KeyPart::Text(conversation)) => conversation,
        _ => "",
    }
}

fn bind_position(query: Query, position: &ExportPosition) -> Query {
    position.iter().fold(query, |query, part| match part {
        KeyPart::Number(number) => query.bind(*number),
        KeyPart::Text(text) => query.bind(text),
    })
}
