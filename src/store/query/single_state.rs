//! When messages of single chats were delivered and read.

use std::collections::{BTreeSet, HashMap};

use clickhouse::Row;
use serde::Deserialize;

use super::{MessageReceipts, Queries, StoredMessage, StoredRecall};
use crate::event::{AppId, Epoch, EventTime, Offset};
use crate::fold::LATENESS_MILLIS;
use crate::store::StoreError;

/// By what a message of a single chat was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadSource {
    /// The recipient's receipt of this message.
    Message,
    /// His mark that he has read the conversation.
    Conversation,
}

/// What has become of a message of a single chat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SingleState {
    /// When its delivery was reported; `None` also where it was read without that.
    pub delivered_at: Option<EventTime>,
    /// When and by what it was read.
    pub read: Option<(EventTime, ReadSource)>,
}

/// What the recipient's marks say of a message to him.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CoveringMarks {
    /// The last one in front of the message in the log, where it is not earlier than the message.
    pub met: Option<EventTime>,
    /// The first one behind the message in the log that covers it, and where that stands, as in
    /// [`StoredMessage::place`].
    pub later: Option<(EventTime, u64)>,
}

#[derive(Row, Deserialize)]
struct MarkRow {
    conversation: String,
    reader: String,
    at: i64,
    epoch: u16,
    offset: u64,
}

/// A mark: where it stands, as in [`StoredMessage::place`], and its time.
type Mark = (u64, EventTime);

/// Marks of single chats.
#[derive(Debug, Default)]
pub struct SingleMarks {
    /// By conversation and reader, in no order.
    by_conversation: HashMap<String, HashMap<String, Vec<Mark>>>,
}

/// Of how many chats marks are read ahead, and how many: what is too much is read for nothing.
const MOST_CHATS_AHEAD: usize = 20;
const MOST_MARKS_AHEAD: usize = 5_000;

impl CoveringMarks {
    /// What the marks of its recipient say of a message. Marks of a reader only grow, so nothing further can matter.
    fn of(message: &StoredMessage, marks: &[Mark]) -> Self {
        let covering = || marks.iter().filter(|(_, at)| *at >= message.sent_at);
        let met = covering().filter(|(place, _)| *place < message.place).max();
        let is_valid = |(_, at): &&Mark| at.since(message.sent_at) <= message.validity_millis;
        let later = covering().filter(|(place, _)| *place > message.place).filter(is_valid).min();
        Self { met: met.map(|(_, at)| *at), later: later.map(|(place, at)| (*at, *place)) }
    }
}

impl SingleState {
    /// Follows from the message, its receipts, its recall and the recipient's marks, in log order (DESIGN.md section 4):
    /// - a mark in front of the message reads it when it comes, before anything that waited for it, its recall among that;
    /// - a receipt of its own that counted came before any mark that would have read the message, or it would have been a
    ///   duplicate and have no row;
    /// - a mark behind the message reads it unless it was recalled before.
    pub fn of(
        message: &StoredMessage,
        receipts: &MessageReceipts,
        recall: Option<StoredRecall>,
        marks: CoveringMarks,
    ) -> Self {
        let first = |receipts: &[super::StoredReceipt]| {
            receipts.first().map(|receipt| EventTime::from_millis(receipt.row.position.at))
        };
        let by_receipt = first(&receipts.reads).map(|at| (at, ReadSource::Message));
        let covers =
            |mark: &EventTime| *mark >= message.sent_at && mark.since(message.sent_at) <= message.validity_millis;
        let on_arrival = || marks.met.filter(covers).map(|at| (at, ReadSource::Conversation));
        let by_later_mark = || {
            let (at, place) = marks.later?;
            let is_before_recall = recall.is_none_or(|recall| place < recall.place);
            (covers(&at) && is_before_recall).then_some((at, ReadSource::Conversation))
        };
        let is_to_oneself = message.sender == message.recipient;
        let by_mark = || if is_to_oneself { None } else { on_arrival().or_else(by_later_mark) };
        Self { delivered_at: first(&receipts.deliveries), read: by_receipt.or_else(by_mark) }
    }
}

impl SingleMarks {
    /// Takes rows in no order.
    fn of(rows: Vec<MarkRow>) -> Self {
        let mut marks = Self::default();
        for row in rows {
            let mark = (Epoch::new(row.epoch).order(Offset::new(row.offset)), EventTime::from_millis(row.at));
            marks.by_conversation.entry(row.conversation).or_default().entry(row.reader).or_default().push(mark);
        }
        marks
    }

    /// What those of its recipient say of a message.
    pub fn covering(&self, message: &StoredMessage) -> CoveringMarks {
        let of_recipient =
            self.by_conversation.get(&message.key.conversation).and_then(|it| it.get(&message.recipient));
        of_recipient.map_or_else(CoveringMarks::default, |marks| CoveringMarks::of(message, marks))
    }
}

impl Queries {
    /// The marks that may cover these messages of single chats: those read ahead, or else, where that was not done, those
    /// about the times of the messages.
    ///
    /// # Errors
    /// What ClickHouse said.
    pub async fn single_marks(
        &self,
        app: AppId<'_>,
        messages: &[&StoredMessage],
        ahead: Option<SingleMarks>,
    ) -> Result<SingleMarks, StoreError> {
        if let Some(ahead) = ahead {
            return Ok(ahead);
        }
        // No mark in front of a message can be later than it by more than this: the watermark would have passed the message.
        let reach = |message: &&StoredMessage| {
            message.sent_at.plus_millis(message.validity_millis.max(LATENESS_MILLIS)).millis()
        };
        let first = messages.iter().map(|message| message.sent_at.millis()).min();
        let (Some(first), Some(last)) = (first, messages.iter().map(reach).max()) else {
            return Ok(SingleMarks::default());
        };
        let conversations: BTreeSet<&str> = messages.iter().map(|message| message.key.conversation.as_str()).collect();
        let client = self.statements.hurried_for(conversations.len());
        let query = client.query(include_str!("single_marks.sql")).bind(app.as_str()).bind(conversations);
        let query = query.bind(first).bind(last);
        let rows = self.statements.reading("marks").bounded(query.fetch_all()).await?;
        Ok(SingleMarks::of(rows))
    }

    /// All marks of these single chats, while their messages are looked for: when those were sent is not known yet. `None`
    /// where there are too many chats or marks, or these cannot be read.
    pub async fn single_marks_ahead(&self, app: AppId<'_>, conversations: &BTreeSet<&str>) -> Option<SingleMarks> {
        if conversations.is_empty() {
            return Some(SingleMarks::default());
        }
        if conversations.len() > MOST_CHATS_AHEAD {
            return None;
        }
        let query = self.statements.hurried_by_a_thread.query(include_str!("single_marks_ahead.sql"));
        let query = query.bind(app.as_str()).bind(conversations).bind(MOST_MARKS_AHEAD + 1);
        match self.statements.reading("marks").bounded(query.fetch_all::<MarkRow>()).await {
            Ok(rows) if rows.len() <= MOST_MARKS_AHEAD => Some(SingleMarks::of(rows)),
            Ok(_) => {
                tracing::debug!("single chats have more than {MOST_MARKS_AHEAD} marks: those are asked for by message");
                None
            }
            Err(error) => {
                tracing::debug!(%error, "marks were not read ahead");
                None
            }
        }
    }
}
