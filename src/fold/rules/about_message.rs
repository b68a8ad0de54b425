//! Receipts and recalls: events about a message.

use super::Turn;
use crate::event::{Body, EventTime, EventType, MessageId, UserId};
use crate::fold::fact::{
    MessageStatus, NotificationFact, NotificationKind, RecallFact, ReceiptFact, ReceiptKind, Sink,
};
use crate::fold::state::conversation::{Conversation, GroupChat, Sender};
use crate::fold::state::members::User;
use crate::fold::state::message::Message;
use crate::fold::state::single::Side;
use crate::fold::state::slots::Slot;
use crate::fold::{Outcome, Partition};

impl Partition {
    /// Judges a receipt or a recall; where its message is not in the state, it waits.
    pub(in crate::fold) fn judge_about_message(
        &mut self,
        turn: &mut Turn<'_, '_>,
        message: MessageId<'_>,
        sink: &mut impl Sink,
    ) -> Outcome {
        match turn.known.and_then(|known| self.messages.find(known, message, self.watermark)) {
            Some(slot) => self.judge_against(turn, slot, sink),
            None => self.park(turn, sink),
        }
    }

    /// Judges a receipt or a recall whose message is in the state.
    pub(super) fn judge_against(
        &mut self,
        turn: &Turn<'_, '_>,
        message: Slot<Message>,
        sink: &mut impl Sink,
    ) -> Outcome {
        match turn.event.body {
            Body::Delivered { .. } => self.judge_receipt(turn, ReceiptKind::Delivered, None, message, sink),
            Body::Read { content, .. } => self.judge_receipt(turn, ReceiptKind::Read, content, message, sink),
            _ => self.judge_recall(turn, message, sink),
        }
    }

    fn judge_receipt(
        &mut self,
        turn: &Turn<'_, '_>,
        kind: ReceiptKind,
        content: Option<&str>,
        slot: Slot<Message>,
        sink: &mut impl Sink,
    ) -> Outcome {
        let event = turn.event;
        let conversation = self.messages.get(slot).conversation;
        let message = self.messages.get(slot);
        let refusal = match self.conversations.get_mut(conversation).group_mut() {
            None => refuse_in_single(message, kind, event.from, event.to, event.at),
            Some(group) => refuse_in_group(message, group, event.from, event.at),
        };
        if let Some(refusal) = refusal {
            return refusal;
        }

        let sent_at = message.sent_at;
        self.count_receipt(conversation, slot, kind, event.from);
        self.note_counts_changed(slot, turn.position.offset);
        self.ledger.count_delay(turn.app, receipt_type(kind), event.at.since(sent_at));
        let message = self.messages.get(slot);
        let message_id = MessageId::trusted(&message.id);
        sink.receipt(&ReceiptFact {
            app: event.app,
            conversation: turn.conversation,
            message: message_id,
            sent_at,
            kind,
            reader: event.from,
            at: event.at,
            ack_id: event.id,
            content,
            erasures: self.apps.get(turn.app).erasures(),
            position: turn.position,
        });
        if self.apps.get(turn.app).policy_at(event.at).notify {
            let group = self.conversations.get(conversation).group();
            let (told, group_read_count) = match (message.sender, group) {
                (Sender::Member(sender), Some(group)) => (group.members.get(sender).id(), Some(message.distinct())),
                // A receipt of one's own message is refused above, so the peer of who acts is the sender.
                _ => (UserId::trusted(event.to), None),
            };
            sink.notification(&NotificationFact {
                kind: notification_kind(kind),
                app: event.app,
                conversation: turn.conversation,
                told,
                message: Some(message_id),
                reader: event.from,
                at: event.at,
                ack_id: event.id,
                content,
                group_read_count,
                position: turn.position,
            });
        }
        Outcome::Counted
    }

    /// Puts a reader among those who count.
    fn count_receipt(
        &mut self,
        conversation: Slot<Conversation>,
        message: Slot<Message>,
        kind: ReceiptKind,
        reader: UserId<'_>,
    ) {
        let watermark = self.watermark;
        match (self.conversations.get_mut(conversation).group_mut(), kind) {
            (Some(group), _) => {
                let reader = group.members.intern(reader, watermark);
                group.members.refer_to(reader);
                self.messages.change_readers(message, |readers| readers.insert(reader));
            }
            (None, ReceiptKind::Delivered) => self.messages.get_mut(message).peer.is_delivered = true,
            (None, ReceiptKind::Read) => self.messages.get_mut(message).peer.is_read = true,
        }
    }

    fn judge_recall(&mut self, turn: &Turn<'_, '_>, slot: Slot<Message>, sink: &mut impl Sink) -> Outcome {
        let message = self.messages.get_mut(slot);
        if message.is_recalled {
            return Outcome::Duplicate;
        }
        message.is_recalled = true;
        sink.recall(&RecallFact {
            app: turn.event.app,
            conversation: turn.conversation,
            message: MessageId::trusted(&message.id),
            sent_at: message.sent_at,
            recalled_by: turn.event.from,
            at: turn.event.at,
            recall_id: turn.event.id,
            erasures: self.apps.get(turn.app).erasures(),
            position: turn.position,
        });
        Outcome::Applied
    }
}

/// Why a receipt in a single chat does not count; `None` where it does.
fn refuse_in_single(
    message: &Message,
    kind: ReceiptKind,
    reader: UserId<'_>,
    peer: &str,
    at: EventTime,
) -> Option<Outcome> {
    let is_counted_already = match kind {
        ReceiptKind::Delivered => message.peer.is_delivered,
        ReceiptKind::Read => message.peer.is_read || message.peer.is_read_by_mark,
    };
    if message.sender == Sender::Side(Side::of(reader, peer)) {
        Some(Outcome::OwnMessage)
    } else if is_counted_already {
        Some(Outcome::Duplicate)
    } else if message.is_recalled {
        Some(Outcome::Recalled)
    } else if !message.is_valid_at(at) {
        Some(Outcome::Expired)
    } else {
        None
    }
}

/// Why a receipt in a group does not count; `None` where it does.
fn refuse_in_group(message: &Message, group: &GroupChat, reader: UserId<'_>, at: EventTime) -> Option<Outcome> {
    let reader: Option<Slot<User>> = group.members.find(reader);
    let is_member = reader.is_some_and(|reader| group.members.get(reader).role().is_some());
    if reader.is_some_and(|reader| message.sender == Sender::Member(reader)) {
        Some(Outcome::OwnMessage)
    } else if reader.is_some_and(|reader| message.readers.contains(reader)) {
        Some(Outcome::Duplicate)
    } else if message.is_recalled {
        Some(Outcome::Recalled)
    } else if message.status != MessageStatus::Opened {
        Some(Outcome::NotRequested)
    } else if !message.is_valid_at(at) {
        Some(Outcome::Expired)
    } else if group.members.is_roster_known() && !is_member {
        Some(Outcome::NotMember)
    } else {
        None
    }
}

const fn receipt_type(kind: ReceiptKind) -> EventType {
    match kind {
        ReceiptKind::Delivered => EventType::Delivered,
        ReceiptKind::Read => EventType::Read,
    }
}

const fn notification_kind(kind: ReceiptKind) -> NotificationKind {
    match kind {
        ReceiptKind::Delivered => NotificationKind::Delivered,
        ReceiptKind::Read => NotificationKind::Read,
    }
}
