//! The state of one partition, and the order in which a record is checked, moves the watermark and is judged.

use super::Outcome;
use super::fact::{CountsFact, Position, RejectionFact, Sink};
use super::ledger::{HOUR_MILLIS, Ledger};
use super::rules::Turn;
use super::state::apps::Apps;
use super::state::conversation::{ConversationKind, Conversations, Sender};
use super::state::message::{Message, Messages};
use super::state::parked::Deadlines;
use super::state::slots::Slot;
use crate::event::{
    AppId, Body, ConversationKey, Epoch, Event, EventTime, Input, MessageId, Offset, PartitionId, Record, RecordTime,
    UserId, partition_of,
};

/// How far an event's `at` may be ahead of its record's time, in ms (DESIGN.md section 4).
pub const MAX_SKEW_MILLIS: i64 = 5 * 60 * 1000;

/// Which partition a state belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionIdentity {
    /// Generation of the topic.
    pub epoch: Epoch,
    /// Number of the partition.
    pub partition: PartitionId,
    /// How many partitions the topic has, fixed for its life.
    pub partitions: u32,
}

/// The state of one partition: what its log up to [`Partition::next_offset`] says.
///
/// Feed it every record of the partition in offset order with [`Partition::apply`], and end each batch with
/// [`Partition::end_flush`]. [`super::Restore`] builds the same state from the facts it gave out. A clone goes on by
/// itself.
#[derive(Clone, Debug)]
pub struct Partition {
    pub(crate) identity: PartitionIdentity,
    pub(crate) next_offset: Offset,
    pub(crate) watermark: EventTime,
    pub(crate) apps: Apps,
    pub(crate) conversations: Conversations,
    pub(crate) messages: Messages,
    pub(crate) deadlines: Deadlines,
    pub(crate) ledger: Ledger,
    /// Messages whose counts changed since the last flush, in the order of their first change.
    pub(super) changed: Vec<Slot<Message>>,
    records_since_flush: usize,
}

impl Partition {
    /// The state before the first record.
    pub fn new(identity: PartitionIdentity) -> Self {
        Self {
            identity,
            next_offset: Offset::default(),
            watermark: EventTime::default(),
            apps: Apps::default(),
            conversations: Conversations::default(),
            messages: Messages::default(),
            deadlines: Deadlines::default(),
            ledger: Ledger::default(),
            changed: Vec::new(),
            records_since_flush: 0,
        }
    }

    /// Which partition this is.
    pub fn identity(&self) -> PartitionIdentity {
        self.identity
    }

    /// The largest `at` so far; 0 before the first event.
    pub fn watermark(&self) -> EventTime {
        self.watermark
    }

    /// The offset after the last record applied.
    pub fn next_offset(&self) -> Offset {
        self.next_offset
    }

    /// About when its last record was written: the watermark, as far as the hour of the record agrees. `None` before the
    /// first one.
    pub fn about_last_record(&self) -> Option<RecordTime> {
        let (hour, _) = self.ledger.current();
        let about = self.watermark.millis().clamp(hour, hour + HOUR_MILLIS - 1);
        (hour > 0).then_some(RecordTime::from_millis(about))
    }

    /// Receipts and recalls that wait for their message.
    pub fn parked(&self) -> usize {
        self.deadlines.len()
    }

    /// Bytes that the state holds, without the allocator's own. Kept as the state changes, so asking costs nothing.
    pub fn state_bytes(&self) -> usize {
        self.apps.bytes()
            + self.conversations.bytes()
            + self.messages.bytes()
            + self.deadlines.bytes()
            + self.ledger.bytes()
            + self.changed.capacity() * size_of::<Slot<Message>>()
    }

    /// Takes the next record of the log; offsets ascend, gaps (transaction markers) are normal. Gives the facts that
    /// follow from it to `sink` and returns its outcome, which the ledger has counted.
    pub fn apply(&mut self, record: &Record<'_>, sink: &mut impl Sink) -> Outcome {
        let position = self.move_to(record);
        match &record.input {
            Input::Event(event) => self.apply_event(record, event, position, sink),
            Input::Control(control) => self.apply_control(control, position, sink),
            Input::Malformed { reason, .. } => {
                sink.rejection(&RejectionFact {
                    outcome: Outcome::Malformed,
                    detail: &reason.to_string(),
                    event: None,
                    event_type: None,
                    conversation: None,
                    received: Some((record.key, record.value)),
                    position,
                });
                let app = self.apps.intern("");
                self.ledger.count_record(app, None, Outcome::Malformed);
                Outcome::Malformed
            }
        }
    }

    /// Ends a batch: gives out the counts of every message and the total of every ledger cell that changed in it, and
    /// the watermark's cell, all as of `next_offset`. `next_offset` is at least that of [`Partition::next_offset`]
    /// (markers behind the last record may have been passed).
    pub fn end_flush(&mut self, next_offset: Offset, sink: &mut impl Sink) {
        debug_assert!(next_offset >= self.next_offset, "a flush ends behind its last record");
        self.next_offset = self.next_offset.max(next_offset);
        for message in std::mem::take(&mut self.changed) {
            self.give_out_counts(message, sink);
        }
        self.ledger.give_out(&self.apps, self.watermark, self.next_offset, sink);
        // Only now: what has left the state may still have had counts to give out.
        self.give_back_memory();
    }

    /// Steps behind a record, and says where it stands.
    pub(super) fn move_to(&mut self, record: &Record<'_>) -> Position {
        debug_assert!(record.offset >= self.next_offset, "offsets ascend");
        self.next_offset = record.offset.next();
        self.records_since_flush += 1;
        self.ledger.move_to(record.time);
        Position {
            offset: record.offset,
            own_offset: record.offset,
            own_partition: self.identity.partition,
            own_epoch: self.identity.epoch,
            record_time: record.time,
        }
    }

    fn apply_event(
        &mut self,
        record: &Record<'_>,
        event: &Event<'_>,
        position: Position,
        sink: &mut impl Sink,
    ) -> Outcome {
        let key = record.key.and_then(|key| event.matches_key(key));
        let known = key.and_then(|key| self.conversations.find(key));
        let app = match known {
            Some(conversation) => self.conversations.get(conversation).app,
            None => self.apps.intern(event.app.as_str()),
        };
        let event_type = event.body.event_type();

        // The key of a conversation that is in the state was found to belong here when it was put in.
        let conversation = key.filter(|key| known.is_some() || self.is_routed_here(*key));
        let outcome = match check_first(event, conversation, record.time) {
            Err(refusal) => refusal,
            Ok(conversation) => {
                self.move_watermark(event.at, position, sink);
                let mut turn = Turn { event, conversation, app, known, position };
                let outcome = self.judge(&mut turn, sink);
                if let Some(touched) = turn.known {
                    self.conversations.reckon(touched);
                }
                outcome
            }
        };
        if outcome.is_rejected() {
            sink.rejection(&RejectionFact {
                outcome,
                detail: "",
                event: Some(event),
                event_type,
                conversation,
                received: Some((record.key, record.value)),
                position,
            });
        }
        self.ledger.count_record(app, event_type, outcome);
        outcome
    }

    pub(super) fn is_routed_here(&self, key: ConversationKey<'_>) -> bool {
        partition_of(key.as_str().as_bytes(), self.identity.partitions) == self.identity.partition
    }

    /// Moves the watermark, and ends the waits that it is past. Those of an older generation may be over before the
    /// first event: they end at it, whether it moves the watermark or not.
    pub(super) fn move_watermark(&mut self, at: EventTime, position: Position, sink: &mut impl Sink) {
        self.watermark = self.watermark.max(at);
        self.end_waits_that_are_over(position, sink);
    }

    fn judge(&mut self, turn: &mut Turn<'_, '_>, sink: &mut impl Sink) -> Outcome {
        match turn.event.body {
            Body::Message { asks_receipts, role } => self.judge_message(turn, asks_receipts, role, sink),
            Body::Delivered { message } | Body::Read { message, .. } | Body::Recall { message } => {
                self.judge_about_message(turn, message, sink)
            }
            Body::ConversationRead => self.judge_conversation_read(turn, sink),
            Body::Member { user, change } => self.judge_member(turn, user, change, sink),
            Body::Roster { members } => self.judge_roster(turn, members, sink),
            Body::GroupDestroyed => self.judge_roster(turn, &[], sink),
            Body::Unsupported { .. } => Outcome::Unsupported,
        }
    }

    /// Notes that the counts of a message changed at an offset, for the end of the flush.
    pub(crate) fn note_counts_changed(&mut self, slot: Slot<Message>, offset: Offset) {
        let message = self.messages.get_mut(slot);
        message.changed_at = offset;
        if !message.is_changed {
            message.is_changed = true;
            self.changed.push(slot);
        }
    }

    /// Gives out the counts of a message, which are not changed any more then.
    pub(super) fn give_out_counts(&mut self, slot: Slot<Message>, sink: &mut impl Sink) {
        let message = self.messages.get_mut(slot);
        message.is_changed = false;
        let message = self.messages.get(slot);
        let conversation = self.conversations.get(message.conversation);
        let key = conversation.key();
        let sender = match (message.sender, &conversation.kind) {
            (Sender::Member(user), ConversationKind::Group(group)) => group.members.get(user).id(),
            (Sender::Side(side), _) => side.user(key),
            (Sender::Member(_), ConversationKind::Single(_)) => UserId::trusted(""),
        };
        let distinct = message.distinct();
        sink.counts(&CountsFact {
            app: AppId::trusted(&self.apps.get(conversation.app).name),
            conversation: key,
            chat: conversation.chat(),
            message: MessageId::trusted(&message.id),
            sent_at: message.sent_at,
            sender,
            distinct,
            retained: distinct.min(message.reader_cap),
            delivered: message.delivered(),
            offset: message.changed_at,
        });
    }

    fn give_back_memory(&mut self) {
        while let Some(left) = self.messages.take_leaving(self.watermark) {
            left.iter().for_each(|message| self.release(message));
        }
        // A quarter of the records' number of places: a partition of a million conversations is walked through in four
        // million records.
        let places = self.records_since_flush / 4 + 1;
        self.conversations.drop_past(places, self.watermark);
        self.records_since_flush = 0;
    }

    /// Gives back what a message held that is out of memory now.
    pub(super) fn release(&mut self, message: &Message) {
        let conversation = self.conversations.get_mut(message.conversation);
        conversation.messages -= 1;
        match &mut conversation.kind {
            ConversationKind::Group(group) => {
                if let Sender::Member(sender) = message.sender {
                    group.members.release(sender);
                }
                for reader in message.readers.iter() {
                    group.members.release(reader);
                }
            }
            ConversationKind::Single(single) => {
                if let Sender::Side(sender) = message.sender {
                    let messages = &self.messages;
                    let is_over = |sent_at: EventTime, noted: Slot<Message>| {
                        messages.find_slot(noted).is_none_or(|message| message.sent_at != sent_at)
                    };
                    single.drop_unread_while(sender.other(), is_over);
                }
            }
        }
    }
}

/// The checks that come before the watermark moves: the outcome that ends it there, or the conversation, which is given
/// where the key is right and belongs to the partition.
pub(super) fn check_first<'k>(
    event: &Event<'_>,
    conversation: Option<ConversationKey<'k>>,
    record_time: RecordTime,
) -> Result<ConversationKey<'k>, Outcome> {
    match conversation {
        None => Err(Outcome::Misrouted),
        Some(_) if is_skewed(event.at, record_time) => Err(Outcome::Skewed),
        Some(_) if matches!(event.body, Body::Unsupported { .. }) => Err(Outcome::Unsupported),
        Some(conversation) => Ok(conversation),
    }
}

/// Whether an event claims to be from after its record was written. A negative record time stands for none: there is
/// nothing to compare with then.
fn is_skewed(at: EventTime, record_time: RecordTime) -> bool {
    record_time.millis() >= 0 && at.millis() - record_time.millis() > MAX_SKEW_MILLIS
}
