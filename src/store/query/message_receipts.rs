//! Receipts and recalls of messages, any number of messages in one statement.

use std::cmp::Reverse;

use clickhouse::Row;
use serde::Deserialize;

use super::stored_message::MessageSelection;
use super::{OfApp, Queries, ReaderPosition, ReaderRow, Snapshot, Statements, StoredMessage};
use crate::event::{AppId, EventTime};
use crate::fold::fact::ReceiptKind;
use crate::store::StoreError;
use crate::store::enums::Enum8 as _;

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
    sent_at: i64,
    kind: i8,
    reader: String,
    at: i64,
    ack_id: String,
    content: Option<String>,
    version: u64,
}

#[derive(Row, Deserialize)]
struct RecallRow {
    conversation: String,
    message: String,
    sent_at: i64,
    at: i64,
    version: u64,
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

/// Leaves of each reader the receipt that is first in the log, in the order of the log.
fn keep_first_of_each_reader(receipts: &mut Vec<StoredReceipt>) {
    receipts.sort_unstable_by(|one, other| {
        let readers = one.row.position.reader.cmp(&other.row.position.reader);
        readers.then(other.version.cmp(&one.version))
    });
    receipts.dedup_by(|later, first| later.row.position.reader == first.row.position.reader);
    receipts.sort_unstable_by_key(|receipt| Reverse(receipt.version));
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
        self.shared_receipts.ask(of_app(app, messages)).await
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
        self.shared_recalls.ask(of_app(app, messages)).await
    }
}

fn of_app(app: AppId<'_>, messages: &[&StoredMessage]) -> Vec<OfApp<StoredMessage>> {
    messages.iter().map(|message| OfApp::new(app, (*message).clone())).collect()
}

impl Statements {
    pub(super) async fn receipts(self, asked: Vec<OfApp<StoredMessage>>) -> Result<Vec<MessageReceipts>, StoreError> {
        let mut receipts = vec![MessageReceipts::default(); asked.len()];
        let selection = MessageSelection::of(asked.iter().map(|asked| &asked.what));
        let query =
            self.of_messages(include_str!("receipts_by_message.sql"), &asked, &selection.pairs).bind(&selection.times);
        for row in self.reading("receipts").bounded(query.fetch_all::<ReceiptRow>()).await? {
            let ReceiptRow { conversation, message, sent_at, kind, reader, at, ack_id, content, version } = row;
            let kind = ReceiptKind::from_number(kind).ok_or_else(|| StoreError::Unreadable {
                table: "receipts",
                reason: format!("kind {kind} is unknown"),
            })?;
            let position = ReaderPosition { at, ack_id, reader };
            let receipt = StoredReceipt { row: ReaderRow { position, content }, version };
            for index in selection.indexes(&conversation, &message, sent_at) {
                let Some(of_message) = receipts.get_mut(index) else { continue };
                let of_kind = match kind {
                    ReceiptKind::Read => &mut of_message.reads,
                    ReceiptKind::Delivered => &mut of_message.deliveries,
                };
                of_kind.push(receipt.clone());
            }
        }
        for of_message in &mut receipts {
            keep_first_of_each_reader(&mut of_message.reads);
            keep_first_of_each_reader(&mut of_message.deliveries);
        }
        Ok(receipts)
    }

    pub(super) async fn recalls(
        self,
        asked: Vec<OfApp<StoredMessage>>,
    ) -> Result<Vec<Option<StoredRecall>>, StoreError> {
        let mut recalls = vec![None; asked.len()];
        let selection = MessageSelection::of(asked.iter().map(|asked| &asked.what));
        let query =
            self.of_messages(include_str!("recalls_by_message.sql"), &asked, &selection.pairs).bind(&selection.times);
        for row in self.reading("recalls").bounded(query.fetch_all::<RecallRow>()).await? {
            let recall = StoredRecall { at: EventTime::from_millis(row.at), place: !row.version };
            for index in selection.indexes(&row.conversation, &row.message, row.sent_at) {
                let Some(of_message) = recalls.get_mut(index) else { continue };
                if of_message.is_none_or(|first: StoredRecall| recall.place < first.place) {
                    *of_message = Some(recall);
                }
            }
        }
        Ok(recalls)
    }
}
