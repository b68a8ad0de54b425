//! Messages as they were folded, any number of them in one statement.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use chrono::DateTime;
use clickhouse::Row;
use serde::Deserialize;

use super::{OfApp, Queries, Statements};
use crate::event::{AppId, Chat, EventTime};
use crate::fold::Outcome;
use crate::fold::fact::MessageStatus;
use crate::store::StoreError;
use crate::store::enums::Enum8 as _;

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

#[derive(Row, Deserialize)]
struct MessageRow {
    conversation: String,
    message: String,
    sender: String,
    recipient: String,
    sent_at: i64,
    chat: i8,
    status: i8,
    validity_ms: u64,
    reader_cap: u32,
    audience: Option<u32>,
    version: u64,
}

impl Queries {
    /// The newest lives of messages of an app, those that there are.
    ///
    /// # Errors
    /// What ClickHouse said; [`StoreError::Unreadable`] for a row that this version of seenby does not understand.
    pub async fn messages(
        &self,
        app: AppId<'_>,
        keys: &[MessageKey],
    ) -> Result<HashMap<MessageKey, StoredMessage>, StoreError> {
        let asked: BTreeSet<&MessageKey> = keys.iter().collect();
        let asked: Vec<_> = asked.into_iter().map(|key| OfApp::new(app, key.clone())).collect();
        let found = self.shared_messages.ask(asked).await?;
        Ok(found.into_iter().flatten().map(|message| (message.key.clone(), message)).collect())
    }
}

impl Statements {
    /// The newest life of each; `None` where there is none.
    pub(super) async fn newest_lives(
        self,
        asked: Vec<OfApp<MessageKey>>,
    ) -> Result<Vec<Option<StoredMessage>>, StoreError> {
        let pairs: BTreeSet<(&str, &str)> = asked.iter().map(|asked| asked.what.pair()).collect();
        let query = self.of_messages(include_str!("messages_by_key.sql"), &asked, &pairs);
        let rows = self.reading("messages").bounded(query.fetch_all::<MessageRow>()).await?;
        let mut messages: HashMap<MessageKey, StoredMessage> = HashMap::with_capacity(asked.len());
        for row in rows {
            let message = row.into_message()?;
            let newest = messages.get(&message.key);
            if newest.is_none_or(|newest| message.is_newer_life_than(newest)) {
                messages.insert(message.key.clone(), message);
            }
        }
        Ok(asked.iter().map(|asked| messages.get(&asked.what).cloned()).collect())
    }
}

impl MessageKey {
    /// Conversation and message, as statements take them.
    pub(super) fn pair(&self) -> (&str, &str) {
        (&self.conversation, &self.message)
    }
}

impl StoredMessage {
    /// Whether this is another life, sent later, or a row of the same one that stands before it in the log.
    fn is_newer_life_than(&self, other: &Self) -> bool {
        (self.sent_at, Reverse(self.place)) > (other.sent_at, Reverse(other.place))
    }
}

impl MessageRow {
    fn into_message(self) -> Result<StoredMessage, StoreError> {
        let unreadable = |column: &str, number: i8| StoreError::Unreadable {
            table: "messages",
            reason: format!("{column} {number} is unknown"),
        };
        let chat = Chat::from_number(self.chat).ok_or_else(|| unreadable("chat", self.chat))?;
        let status = MessageStatus::from_number(self.status).ok_or_else(|| unreadable("status", self.status))?;
        Ok(StoredMessage {
            key: MessageKey { conversation: self.conversation, message: self.message },
            chat,
            sender: self.sender,
            recipient: self.recipient,
            sent_at: EventTime::from_millis(self.sent_at),
            status: status.outcome(),
            validity_millis: i64::try_from(self.validity_ms).unwrap_or(i64::MAX),
            reader_cap: self.reader_cap,
            audience: self.audience,
            place: !self.version,
        })
    }
}

/// The keys of messages and when they were sent, as statements take them.
pub(super) struct MessageSelection<'a> {
    pub(super) pairs: BTreeSet<(&'a str, &'a str)>,
    /// Leaves other weeks unread, and of this one the parts that hold none of these times.
    pub(super) times: BTreeSet<String>,
    /// By message id: conversation, time of sending, and where it stands in the messages given.
    lives: HashMap<&'a str, Vec<(&'a str, i64, usize)>>,
}

impl<'a> MessageSelection<'a> {
    pub(super) fn of(messages: impl Iterator<Item = &'a StoredMessage> + Clone) -> Self {
        let mut lives: HashMap<_, Vec<_>> = HashMap::new();
        for (index, message) in messages.clone().enumerate() {
            let (conversation, id) = message.key.pair();
            lives.entry(id).or_default().push((conversation, message.sent_at.millis(), index));
        }
        Self {
            pairs: messages.clone().map(|message| message.key.pair()).collect(),
            times: messages.filter_map(|message| time_of(message.sent_at)).collect(),
            lives,
        }
    }

    /// Where in the messages given this life of one stands.
    pub(super) fn indexes(&self, conversation: &str, message: &str, sent_at_ms: i64) -> impl Iterator<Item = usize> {
        let of_that_id = self.lives.get(message).into_iter().flatten();
        of_that_id.filter(move |life| (life.0, life.1) == (conversation, sent_at_ms)).map(|(_, _, index)| *index)
    }
}

/// A time as ClickHouse writes a `DateTime64(3, 'UTC')`.
fn time_of(sent_at: EventTime) -> Option<String> {
    Some(DateTime::from_timestamp_millis(sent_at.millis())?.format("%Y-%m-%d %H:%M:%S%.3f").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_to_the_millisecond() {
        let time = |millis| time_of(EventTime::from_millis(millis));
        assert_eq!(time(1_772_409_600_000), Some("2026-03-02 00:00:00.000".to_owned()));
        assert_eq!(time(1_772_409_600_007), Some("2026-03-02 00:00:00.007".to_owned()));
        assert_eq!(time(0), Some("1970-01-01 00:00:00.000".to_owned()));
    }
}
