//! Conversation reads: marks up to which a reader has read.

use super::Turn;
use crate::event::{Chat, EventType, UserId};
use crate::fold::fact::{MarkFact, NotificationFact, NotificationKind, Sink};
use crate::fold::state::conversation::{Conversation, ConversationKind, Sender};
use crate::fold::state::single::Side;
use crate::fold::state::slots::Slot;
use crate::fold::{Outcome, Partition};

impl Partition {
    pub(in crate::fold) fn judge_conversation_read(
        &mut self,
        turn: &mut Turn<'_, '_>,
        sink: &mut impl Sink,
    ) -> Outcome {
        let event = turn.event;
        if self.is_too_late(event.at) {
            return Outcome::TooLate;
        }
        let conversation = self.known_conversation(turn);
        let moves = match &mut self.conversations.get_mut(conversation).kind {
            ConversationKind::Single(single) => single.move_mark(Side::of(event.from, event.to), event.at),
            ConversationKind::Group(group) => {
                let reader = group.members.intern(event.from, self.watermark);
                group.members.move_mark(reader, event.at)
            }
        };
        if !moves {
            return Outcome::NoChange;
        }

        sink.mark(&MarkFact {
            app: event.app,
            conversation: turn.conversation,
            chat: event.chat,
            reader: event.from,
            at: event.at,
            ack_id: event.id,
            position: turn.position,
        });
        let is_with_oneself = event.from.as_str() == event.to;
        if event.chat == Chat::Single && !is_with_oneself {
            self.read_up_to_mark(turn, conversation);
            self.tell_peer(turn, sink);
        }
        Outcome::Applied
    }

    /// Reads the messages to the reader that his mark covers. Those it is too late for are over: marks only grow.
    fn read_up_to_mark(&mut self, turn: &Turn<'_, '_>, conversation: Slot<Conversation>) {
        let at = turn.event.at;
        let reader = Side::of(turn.event.from, turn.event.to);
        let Some(single) = self.conversations.get_mut(conversation).single_mut() else { return };
        while let Some((sent_at, slot)) = single.take_unread(reader, at) {
            // The message may have left and its slot been used again since it was noted.
            let is_noted_one = self.messages.find_slot(slot).is_some_and(|message| {
                message.conversation == conversation
                    && message.sender == Sender::Side(reader.other())
                    && message.sent_at == sent_at
            });
            if !is_noted_one {
                continue;
            }
            let message = self.messages.get_mut(slot);
            if message.is_unread_by_peer() && message.is_valid_at(at) {
                message.peer.is_read_by_mark = true;
                self.ledger.count_delay(turn.app, EventType::ConversationRead, at.since(sent_at));
            }
        }
    }

    fn tell_peer(&self, turn: &Turn<'_, '_>, sink: &mut impl Sink) {
        let event = turn.event;
        if !self.apps.get(turn.app).policy_at(event.at).notify {
            return;
        }
        sink.notification(&NotificationFact {
            kind: NotificationKind::ConversationRead,
            app: event.app,
            conversation: turn.conversation,
            told: UserId::trusted(event.to),
            message: None,
            reader: event.from,
            at: event.at,
            ack_id: event.id,
            content: None,
            group_read_count: None,
            position: turn.position,
        });
    }
}
