//! Receipts and recalls of messages, any number of messages in one statement.

use clickhouse::Row;
use serde::Deserialize;

use super::stored_message::MessageSelection;
use super::{Queries, ReaderPosition, ReaderRow, Snapshot, StoredMessage};
use crate::event::{AppId, Epoch, EventTime, Offset};
use crate::store::StoreError;

/// A receipt that counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredReceipt {
    /// Who, when, by which receipt, with which content.
    pub row: ReaderRow,
    /// Falls from receipt to receipt in the order of the log.
    version: u64,
}

/// The receipts of one message: of each kind one a reader.
#[derive(Clone, Debug, Default)]
pub struct MessageReceipts {
    /// Those that say "read".
    pub reads: Vec<StoredReceipt>,
    /// Those that say "delivered"; of single messages.
    pub deliveries: Vec<StoredReceipt>,
}

/// A message's recall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredRecall {
    /// When the message was taken back.
    pub at: EventTime,
    /// Where in the log, as in [`StoredMessage::place`].
    pub place: u64,
}

#[derive(Row, Deserialize)]
struct ReceiptRow {
    conversation: String,
    message: String,
    sent_at_ms: i64,
    is_read: u8,
    reader: String,
    at_ms: i64,
    ack_id: String,
    content: Option<String>,
    version: u64,
}

#[derive(Row, Deserialize)]
struct RecallRow {
    conversation: String,
    message: String,
    sent_at_ms: i64,
    at_ms: i64,
    epoch: u16,
    offset: u64,
}

impl StoredReceipt {
    /// Whether a list of that snapshot knows it.
    pub fn is_known_to(&self, snapshot: Snapshot) -> bool {
        self.version >= snapshot.version()
    }
}

impl MessageReceipts {
    /// Every receipt that is there now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::from_version(self.reads.iter().map(|receipt| receipt.version).min().unwrap_or(u64::MAX))
    }
}

impl Queries {
    /// The receipts of messages of an app, in the order of the messages.
    ///
    /// # Errors
    /// What ClickHouse said.
    pub async fn receipts(
        &self,
        app: AppId<'_>,
        messages: &[&StoredMessage],
    ) -> Result<Vec<MessageReceipts>, StoreError> {
        let mut receipts = vec![MessageReceipts::default(); messages.len()];
        if messages.is_empty() {
            return Ok(receipts);
        }
        let selection = MessageSelection::of(messages);
        let query = self
            .client
            .query(include_str!("receipts_by_message.sql"))
            .bind(app.as_str())
            .bind(&selection.pairs)
            .bind(&selection.weeks);
        for row in self.reading("receipts").bounded(query.fetch_all::<ReceiptRow>()).await? {
            let ReceiptRow { reader, at_ms, ack_id, content, version, .. } = row;
            let position = ReaderPosition { at: at_ms, ack_id, reader };
            let receipt = StoredReceipt { row: ReaderRow { position, content }, version };
            for index in selection.indexes(&row.conversation, &row.message, row.sent_at_ms) {
                let Some(of_message) = receipts.get_mut(index) else { continue };
                let of_kind = if row.is_read == 1 { &mut of_message.reads } else { &mut of_message.deliveries };
                of_kind.push(receipt.clone());
            }
        }
        Ok(receipts)
    }

    /// The recalls of messages of an app, in the order of the messages; `None` for one that was not taken back.
    ///
    /// # Errors
    /// What ClickHouse said.
    pub async fn recalls(
        &self,
        app: AppId<'_>,
        messages: &[&StoredMessage],
    ) -> Result<Vec<Option<StoredRecall>>, StoreError> {
        let mut recalls = vec![None; messages.len()];
        if messages.is_empty() {
            return Ok(recalls);
        }
        let selection = MessageSelection::of(messages);
        let query = self
            .client
            .query(include_str!("recalls_by_message.sql"))
            .bind(app.as_str())
            .bind(&selection.pairs)
            .bind(&selection.weeks);
        for row in self.reading("recalls").bounded(query.fetch_all::<RecallRow>()).await? {
            let place = Epoch::new(row.epoch).order(Offset::new(row.offset));
            let recall = StoredRecall { at: EventTime::from_millis(row.at_ms), place };
            for index in selection.indexes(&row.conversation, &row.message, row.sent_at_ms) {
                if let Some(of_message) = recalls.get_mut(index) {
                    *of_message = Some(recall);
                }
            }
        }
        Ok(recalls)
    }
}
