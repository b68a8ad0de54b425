//! A message, its readers and those who have not read it.

use clickhouse::Row;
use clickhouse::query::Query;
use serde::Deserialize;

use super::{Queries, ReaderOrder, ReaderPosition, ReaderRow, ReaderSelection, Snapshot, Start};
use crate::event::{AppId, ConversationKey, EventTime, MessageId};
use crate::fold::Outcome;
use crate::store::StoreError;

/// The newest life of a message, as it was folded.
#[derive(Clone, Debug)]
pub struct GroupMessage {
    /// The tenant.
    pub app: String,
    /// The conversation's key.
    pub conversation: String,
    /// The message.
    pub id: String,
    /// Who sent it.
    pub sender: String,
    /// When, in ms since 1970.
    pub sent_at: EventTime,
    /// What became of it: `stored`, `opened`, or why it is not open.
    pub status: Outcome,
    /// How many readers are retained.
    pub reader_cap: u32,
    /// How many were asked to read; `None` where the roster was not known, or the message is not open.
    pub audience: Option<u32>,
}

/// How many have read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReaderCounts {
    /// Every reader.
    pub distinct: u64,
    /// Position of the last one retained; `None` while none was evicted.
    pub floor: Option<ReaderPosition>,
    /// The receipts counted.
    pub snapshot: Snapshot,
}

#[derive(Row, Deserialize)]
struct MessageRow {
    sender: String,
    sent_at_ms: i64,
    status_name: String,
    reader_cap: u32,
    audience: Option<u32>,
}

#[derive(Row, Deserialize)]
struct CountsRow {
    distinct_readers: u64,
    last_retained: (i64, String, String),
    latest_version: u64,
}

#[derive(Row, Deserialize)]
struct SelectedReader {
    reader: String,
    at_ms: i64,
    ack_id: String,
    content: Option<String>,
}

impl From<SelectedReader> for ReaderRow {
    fn from(row: SelectedReader) -> Self {
        let SelectedReader { reader, at_ms, ack_id, content } = row;
        Self { position: ReaderPosition { at: at_ms, ack_id, reader }, content }
    }
}

impl Queries {
    /// The newest life of a message; `None` where there is no such message.
    ///
    /// # Errors
    /// What ClickHouse said.
    pub async fn message(
        &self,
        app: AppId<'_>,
        conversation: ConversationKey<'_>,
        message: MessageId<'_>,
    ) -> Result<Option<GroupMessage>, StoreError> {
        let query = self
            .client
            .query(include_str!("message.sql"))
            .bind(app.as_str())
            .bind(conversation.as_str())
            .bind(message.as_str());
        let Some(row) = self.reading("messages").bounded(query.fetch_optional::<MessageRow>()).await? else {
            return Ok(None);
        };
        let status = Outcome::from_name(&row.status_name).ok_or_else(|| StoreError::Unreadable {
            table: "messages",
            reason: format!("status {:?} is unknown", row.status_name),
        })?;
        Ok(Some(GroupMessage {
            app: app.as_str().to_owned(),
            conversation: conversation.as_str().to_owned(),
            id: message.as_str().to_owned(),
            sender: row.sender,
            sent_at: EventTime::from_millis(row.sent_at_ms),
            status,
            reader_cap: row.reader_cap,
            audience: row.audience,
        }))
    }

    /// When a message was taken back, in ms since 1970; `None` where it was not.
    ///
    /// # Errors
    /// What ClickHouse said.
    pub async fn recalled_at(&self, message: &GroupMessage) -> Result<Option<i64>, StoreError> {
        let query = message.bind_key(self.client.query(include_str!("recall.sql")));
        self.reading("recalls").bounded(query.fetch_optional::<i64>()).await
    }

    /// How many have read a message, and down to which position they are retained.
    ///
    /// # Errors
    /// What ClickHouse said.
    pub async fn reader_counts(&self, message: &GroupMessage) -> Result<ReaderCounts, StoreError> {
        let query = self.client.query(include_str!("reader_counts.sql")).bind(message.reader_cap);
        let query = message.bind_key(query);
        let row = self.reading("receipts").bounded(query.fetch_one::<CountsRow>()).await?;
        let (at, ack_id, reader) = row.last_retained;
        let is_any_evicted = row.distinct_readers > u64::from(message.reader_cap);
        let floor = is_any_evicted.then_some(ReaderPosition { at, ack_id, reader });
        Ok(ReaderCounts { distinct: row.distinct_readers, floor, snapshot: Snapshot::from_version(row.latest_version) })
    }

    /// A page of readers.
    ///
    /// # Errors
    /// What ClickHouse said.
    pub async fn readers(
        &self,
        message: &GroupMessage,
        selection: &ReaderSelection<'_>,
    ) -> Result<Vec<ReaderRow>, StoreError> {
        let (sql, first) = match selection.order {
            ReaderOrder::Newest => (include_str!("readers_newest.sql"), ReaderPosition::highest()),
            ReaderOrder::Oldest => (include_str!("readers_oldest.sql"), ReaderPosition::lowest()),
        };
        let (start, includes_start) = match &selection.start {
            Start::First => (&first, false),
            Start::After(position) => (position, false),
            Start::At(position) => (position, true),
        };
        let lowest = ReaderPosition::lowest();
        let query = message.bind_key(self.client.query(sql)).bind(selection.snapshot.version());
        let query = bind_position(query, start).bind(includes_start);
        let query = bind_position(query, start);
        let query = bind_position(query, selection.floor.unwrap_or(&lowest))
            .bind(selection.users)
            .bind(selection.users)
            .bind(selection.limit as u64);
        let rows = self.reading("receipts").bounded(query.fetch_all::<SelectedReader>()).await?;
        Ok(rows.into_iter().map(ReaderRow::from).collect())
    }

    /// The reader whose receipt has this id; the newest where several share it and no `user` is named.
    ///
    /// # Errors
    /// What ClickHouse said.
    pub async fn reader_by_ack_id(
        &self,
        message: &GroupMessage,
        ack_id: &str,
        user: Option<&str>,
    ) -> Result<Option<ReaderRow>, StoreError> {
        let query = message.bind_key(self.client.query(include_str!("ack_position.sql")));
        // No id is empty.
        let user = user.unwrap_or_default();
        let query = query.bind(ack_id).bind(user).bind(user);
        let row = self.reading("receipts").bounded(query.fetch_optional::<SelectedReader>()).await?;
        Ok(row.map(ReaderRow::from))
    }

    /// Whether a user is a member of a group now, as far as its roster rows tell.
    ///
    /// # Errors
    /// What ClickHouse said.
    pub async fn is_member(
        &self,
        app: AppId<'_>,
        conversation: ConversationKey<'_>,
        user: &str,
    ) -> Result<bool, StoreError> {
        let query =
            self.client.query(include_str!("membership.sql")).bind(app.as_str()).bind(conversation.as_str()).bind(user);
        Ok(self.reading("roster_changes").bounded(query.fetch_one::<u8>()).await? == 1)
    }
}

impl GroupMessage {
    /// Binds the key that all rows of this life of the message share.
    fn bind_key(&self, query: Query) -> Query {
        query.bind(&self.app).bind(&self.conversation).bind(&self.id).bind(self.sent_at.millis())
    }
}

fn bind_position(query: Query, position: &ReaderPosition) -> Query {
    query.bind(position.at).bind(&position.ack_id).bind(&position.reader)
}
