//! Whole tables of an app, slice by slice.

use std::sync::Arc;

use bytes::Bytes;
use clickhouse::query::{BytesCursor, Query};
use serde::{Deserialize, Serialize};
use tokio::sync::OwnedSemaphorePermit;

use super::Queries;
use crate::event::{AppId, EventTime};
use crate::store::StoreError;
use crate::store::connection::Attempt;

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

impl Queries {
    /// The last row of the slice of the next `limit` rows; `None` where it holds all that are left.
    ///
    /// # Errors
    /// What ClickHouse said.
    pub async fn slice_end(
        &self,
        app: AppId<'_>,
        selection: &ExportSelection,
        limit: u64,
    ) -> Result<Option<ExportPosition>, StoreError> {
        let table = selection.table;
        let query = selection.bind(self.export_client.query(table.slice_end()), app).bind(limit.saturating_sub(1));
        let attempt = self.reading(table.name()).attempt;
        let mut answer = query.fetch_bytes("JSONCompactEachRow").map_err(|error| attempt.failed(&error))?;
        let lines = attempt.bounded(answer.collect()).await?;
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

    /// The rows of a slice up to and with `last`, or all that are left, as ClickHouse makes them. Waits while as many
    /// exports as may be are under way.
    ///
    /// # Errors
    /// What ClickHouse said.
    pub async fn export(
        &self,
        app: AppId<'_>,
        selection: &ExportSelection,
        last: Option<&ExportPosition>,
        format: ExportFormat,
    ) -> Result<ExportRows, StoreError> {
        let table = selection.table;
        // The semaphore is never closed.
        let place = Arc::clone(&self.export_places).acquire_owned().await.ok();
        let query = selection.bind(self.export_client.query(table.rows()), app).bind(last.is_none());
        let query = bind_position(query, last.unwrap_or(&table.lowest()));
        let attempt = Attempt { doing: "exporting", target: table.name(), timeout: self.timeout };
        let cursor = query.fetch_bytes(format.clickhouse()).map_err(|error| attempt.failed(&error))?;
        Ok(ExportRows { cursor, attempt, _place: place })
    }
}

/// Rows on their way out.
pub struct ExportRows {
    cursor: BytesCursor,
    attempt: Attempt<'static>,
    /// Kept until the last row is out, or nobody waits for it any more.
    _place: Option<OwnedSemaphorePermit>,
}

impl ExportRows {
    /// The next piece of them; `None` behind the last.
    ///
    /// # Errors
    /// What ClickHouse said; the rows are not whole then.
    pub async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        self.attempt.bounded(self.cursor.next()).await
    }
}

impl ExportSelection {
    fn bind(&self, query: Query, app: AppId<'_>) -> Query {
        let lowest = self.table.lowest();
        let after = self.after.as_ref().unwrap_or(&lowest);
        let conversation = match after.first() {
            Some(KeyPart::Text(conversation)) => conversation.as_str(),
            _ => "",
        };
        let query = query.bind(app.as_str()).bind(self.from.millis()).bind(self.until.millis()).bind(conversation);
        bind_position(query, after)
    }
}

fn bind_position(query: Query, position: &ExportPosition) -> Query {
    position.iter().fold(query, |query, part| match part {
        KeyPart::Number(number) => query.bind(*number),
        KeyPart::Text(text) => query.bind(text),
    })
}
