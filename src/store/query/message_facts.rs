//! Messages with their receipts and recalls, any number of them in one statement.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use super::{Queries, ReaderPosition, ReaderRow, Snapshot, Statements};
use crate::event::{Chat, Conversation, EventTime};
use crate::fold::Outcome;
use crate::fold::fact::ReceiptKind;
use crate::store::fact_text::message_key;
use crate::store::{FactSays, FactText, StoreError};

/// Which message: two of one id in different conversations are different messages.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageKey {
    /// The conversation's key.
    pub conversation: String,
    /// The message's id.
    pub message: String,
}

/// The newest life of a message, as it was folded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMessage {
    /// Which.
    pub key: MessageKey,
    /// Kind of conversation.
    pub chat: Chat,
    /// Who sent it.
    pub sender: String,
    /// The peer, or the group's id.
    pub recipient: String,
    /// When it was sent.
    pub sent_at: EventTime,
    /// What became of it: `stored`, `opened`, or why it is not open.
    pub status: Outcome,
    /// For how long receipts count, in ms.
    pub validity_millis: i64,
    /// How many readers are retained.
    pub reader_cap: u32,
    /// How many were asked to read; `None` where the roster was not known, or the message is not open.
    pub audience: Option<u32>,
    /// Where it stands in the log of its partition, through all generations: `epoch << 48 | offset`.
    pub place: u64,
}

/// A receipt that counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredReceipt {
    /// Who, when, by which receipt, with which content.
    pub row: ReaderRow,
    /// Where in the log, as in [`StoredMessage::place`].
    place: u64,
}

/// The receipts of one message: of each kind one a reader, in the order of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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

/// All that is known of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageFacts {
    /// Its newest life.
    pub message: StoredMessage,
    /// What counted of that life.
    pub receipts: MessageReceipts,
    /// Whether that life was taken back.
    pub recall: Option<StoredRecall>,
}

impl StoredReceipt {
    /// Whether a list of that snapshot knows it.
    pub fn is_known_to(&self, snapshot: Snapshot) -> bool {
        !self.place >= snapshot.version()
    }
}

impl MessageReceipts {
    /// Every receipt that is there now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::from_version(self.reads.last().map_or(u64::MAX, |receipt| !receipt.place))
    }
}

impl Queries {
    /// What is known of messages, of those that there are.
    ///
    /// # Errors
    /// What ClickHouse said; [`StoreError::Unreadable`] for a row that this version of seenby does not understand.
    pub async fn message_facts(&self, keys: &[MessageKey]) -> Result<HashMap<MessageKey, MessageFacts>, StoreError> {
        let asked: BTreeSet<&MessageKey> = keys.iter().collect();
        let asked: Vec<MessageKey> = asked.into_iter().cloned().collect();
        let found = self.shared_facts.ask(asked).await?;
        Ok(found.into_iter().flatten().map(|facts| (facts.message.key.clone(), facts)).collect())
    }
}

impl Statements {
    /// What is known of each; `None` where there is no such message.
    pub(super) async fn message_facts(self, asked: Vec<MessageKey>) -> Result<Vec<Option<MessageFacts>>, StoreError> {
        let keys: BTreeSet<u64> = asked.iter().map(|key| message_key(&key.conversation, &key.message)).collect();
        let client = self.hurried_for(keys.len());
        // A key alone is told by equality: that makes the statement cheaper.
        let query = match keys.first() {
            Some(key) if keys.len() == 1 => client.query(include_str!("message_facts_of_one.sql")).bind(key),
            _ => client.query(include_str!("message_facts.sql")).bind(&keys),
        };
        let texts: Vec<String> = self.reading("message_facts").bounded(query.fetch_all()).await?;
        let mut facts: HashMap<(&str, &str), Vec<FactText<'_>>> =
            asked.iter().map(|key| (key.pair(), Vec::new())).collect();
        for text in &texts {
            let fact = FactText::parse(text).ok_or_else(|| StoreError::Unreadable {
                table: "message_facts",
                reason: format!("{text:?} is no fact that is known"),
            })?;
            // Another message may have the same hash.
            if let Some(of_message) = facts.get_mut(&(fact.conversation, fact.message)) {
                of_message.push(fact);
            }
        }
        Ok(asked.iter().map(|key| MessageFacts::of(facts.get(&key.pair())?)).collect())
    }
}

impl MessageKey {
    fn pair(&self) -> (&str, &str) {
        (&self.conversation, &self.message)
    }
}

impl MessageFacts {
    /// The newest life of a message of which all this is told, and of several rows that say the same the first in the log.
    fn of(told: &[FactText<'_>]) -> Option<Self> {
        let sent = told.iter().filter_map(StoredMessage::of);
        let message = sent.max_by_key(|message| (message.sent_at, Reverse(message.place)))?;
        let mut facts = Self { message, receipts: MessageReceipts::default(), recall: None };
        for fact in told.iter().filter(|fact| fact.sent_at == facts.message.sent_at) {
            match fact.says {
                FactSays::Sent { .. } => {}
                FactSays::Receipt { kind, at, ack_id, content } => {
                    let of_kind = match kind {
                        ReceiptKind::Read => &mut facts.receipts.reads,
                        ReceiptKind::Delivered => &mut facts.receipts.deliveries,
                    };
                    let (ack_id, reader) = (ack_id.to_owned(), fact.user.to_owned());
                    let position = ReaderPosition { at: at.millis(), ack_id, reader };
                    let row = ReaderRow { position, content: content.map(str::to_owned) };
                    of_kind.push(StoredReceipt { row, place: fact.place });
                }
                FactSays::Recalled { at } => {
                    if facts.recall.is_none_or(|first| fact.place < first.place) {
                        facts.recall = Some(StoredRecall { at, place: fact.place });
                    }
                }
            }
        }
        keep_first_of_each_reader(&mut facts.receipts.reads);
        keep_first_of_each_reader(&mut facts.receipts.deliveries);
        Some(facts)
    }
}

impl StoredMessage {
    /// What a text says that tells of a message's sending.
    fn of(fact: &FactText<'_>) -> Option<Self> {
        let FactSays::Sent { status, validity_millis, reader_cap, audience } = fact.says else { return None };
        let (chat, recipient) = match Conversation::parse(fact.conversation)? {
            Conversation::Group { group, .. } => (Chat::Group, group),
            Conversation::Single { first, second, .. } if first.as_str() == fact.user => {
                (Chat::Single, second.as_str())
            }
            Conversation::Single { first, .. } => (Chat::Single, first.as_str()),
        };
        Some(Self {
            key: MessageKey { conversation: fact.conversation.to_owned(), message: fact.message.to_owned() },
            chat,
            sender: fact.user.to_owned(),
            recipient: recipient.to_owned(),
            sent_at: fact.sent_at,
            status: status.outcome(),
            validity_millis: i64::try_from(validity_millis).unwrap_or(i64::MAX),
            reader_cap,
            audience,
            place: fact.place,
        })
    }
}

/// Leaves of each reader the receipt that is first in the log, in the order of the log.
fn keep_first_of_each_reader(receipts: &mut Vec<StoredReceipt>) {
    receipts.sort_unstable_by(|one, other| {
        let readers = one.row.position.reader.cmp(&other.row.position.reader);
        readers.then(one.place.cmp(&other.place))
    });
    receipts.dedup_by(|later, first| later.row.position.reader == first.row.position.reader);
    receipts.sort_unstable_by_key(|receipt| receipt.place);
}
