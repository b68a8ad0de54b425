//! Messages: whether they are open for receipts, and what was waiting for them.

use super::Turn;
use crate::event::{AckId, EventTime, EventType, MessageId, Role};
use crate::fold::fact::{MessageFact, MessageStatus, Sink};
use crate::fold::state::conversation::{Conversation, GroupChat, Sender};
use crate::fold::state::members::User;
use crate::fold::state::message::{Limits, Message};
use crate::fold::state::single::Side;
use crate::fold::state::slots::Slot;
use crate::fold::{Asker, Outcome, Partition, judge_request};
use crate::policy::{DAY_MILLIS, Policy, QuotaDay};

/// A single message has one possible reader.
const SINGLE_READERS: u32 = 1;

/// What was decided when a message came.
struct Admission {
    limits: Limits,
    sender: Sender,
    audience: Option<u32>,
}

impl Partition {
    pub(in crate::fold) fn judge_message(
        &mut self,
        turn: &mut Turn<'_, '_>,
        asks_receipts: bool,
        role: Option<Role>,
        sink: &mut impl Sink,
    ) -> Outcome {
        let event = turn.event;
        let id = message_id(event.id);
        if turn.known.is_some_and(|known| self.messages.find(known, id, self.watermark).is_some()) {
            return Outcome::Duplicate;
        }
        if self.is_too_late(event.at) {
            return Outcome::TooLate;
        }

        let conversation = self.known_conversation(turn);
        let admission = self.admit(turn, conversation, asks_receipts, role);
        let Admission { limits, sender, .. } = admission;
        let message = self.messages.insert(Message::new(id, conversation, sender, limits));
        let kept = self.conversations.get_mut(conversation);
        kept.messages += 1;
        if let (Sender::Member(user), Some(group)) = (sender, kept.group_mut()) {
            group.members.refer_to(user);
        }
        sink.message(&MessageFact {
            app: event.app,
            conversation: turn.conversation,
            chat: event.chat,
            message: id,
            sent_at: event.at,
            sender: event.from,
            to: event.to,
            status: limits.status,
            validity_millis: limits.validity_millis,
            reader_cap: limits.reader_cap,
            quota_day: limits.quota_day,
            audience: admission.audience,
            erasures: self.apps.get(turn.app).erasures(),
            position: turn.position,
        });
        if let Sender::Side(side) = sender {
            self.read_on_arrival(turn, conversation, message, side);
        }
        self.settle_waiting(turn, conversation, message, id, sink);
        limits.status.outcome()
    }

    /// Fixes what stays fixed of a message, and counts it on its quota day where it is opened.
    fn admit(
        &mut self,
        turn: &Turn<'_, '_>,
        conversation: Slot<Conversation>,
        asks_receipts: bool,
        role: Option<Role>,
    ) -> Admission {
        let event = turn.event;
        let policy = self.apps.get(turn.app).policy_at(event.at);
        let Some(group) = self.conversations.get_mut(conversation).group_mut() else {
            let limits = Limits {
                sent_at: event.at,
                validity_millis: i64::from(policy.single.validity_days) * DAY_MILLIS,
                reader_cap: SINGLE_READERS,
                status: MessageStatus::Stored,
                quota_day: None,
            };
            let sender = Sender::Side(Side::of(event.from, event.to));
            return Admission { limits, sender, audience: None };
        };

        let sender = group.members.intern(event.from, self.watermark);
        let (status, quota_day) =
            if asks_receipts { open(group, sender, role, policy, event.at) } else { (MessageStatus::Stored, None) };
        let has_audience = status == MessageStatus::Opened && group.members.is_roster_known();
        Admission {
            limits: Limits {
                sent_at: event.at,
                validity_millis: i64::from(policy.group.validity_days) * DAY_MILLIS,
                reader_cap: policy.group.readers_per_message,
                status,
                quota_day,
            },
            sender: Sender::Member(sender),
            audience: has_audience.then(|| group.members.count_without(sender)),
        }
    }

    /// A single message that the peer's mark covers is read when it comes.
    fn read_on_arrival(
        &mut self,
        turn: &Turn<'_, '_>,
        conversation: Slot<Conversation>,
        slot: Slot<Message>,
        sender: Side,
    ) {
        let event = turn.event;
        let is_to_oneself = event.from.as_str() == event.to;
        let Some(single) = self.conversations.get_mut(conversation).single_mut().filter(|_| !is_to_oneself) else {
            return;
        };
        let reader = sender.other();
        let mark = single.mark(reader);
        let message = self.messages.get_mut(slot);
        if mark >= event.at && message.is_valid_at(mark) {
            message.peer.is_read_by_mark = true;
            self.ledger.count_delay(turn.app, EventType::ConversationRead, mark.since(event.at));
        } else {
            single.note_unread(reader, event.at, slot);
        }
    }
}

/// The id of a message is its event's.
fn message_id(id: AckId<'_>) -> MessageId<'_> {
    MessageId::trusted(id.as_str())
}

/// Decides on a group message that asks for receipts; an opened one takes a place of its quota day.
fn open(
    group: &mut GroupChat,
    sender: Slot<User>,
    role: Option<Role>,
    policy: &Policy,
    at: EventTime,
) -> (MessageStatus, Option<QuotaDay>) {
    let asker =
        Asker { role: role.or(group.members.get(sender).role()), is_roster_known: group.members.is_roster_known() };
    let (status, quota_day) = judge_request(&policy.group, asker, at, |day| group.quota.opened(day));
    if let Some(day) = quota_day {
        group.quota.count(day);
    }
    (status, quota_day)
}
