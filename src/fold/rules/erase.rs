//! Erasures: a user of an app is forgotten, as if nothing in front of the record had been about him.
//!
//! Gone are the single chats he is a side of, the group messages he sent and the places they took on their days, his
//! receipts, his marks, his membership, and whatever of his waits. What others said of themselves stays, and so does
//! every total. What comes behind the record is judged as if it came from a stranger.

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::parking::Wait;
use crate::event::{Conversation as Participants, UserId};
use crate::fold::Partition;
use crate::fold::fact::{Position, Sink};
use crate::fold::state::apps::App;
use crate::fold::state::conversation::{Conversation, ConversationKind, Sender};
use crate::fold::state::members::User;
use crate::fold::state::message::Message;
use crate::fold::state::slots::Slot;

/// What a conversation has of the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trace {
    /// It is a single chat of his: all of it.
    Side,
    /// He is known in the group.
    Member(Slot<User>),
}

/// The conversations that have something of the user.
type Traces = HashMap<Slot<Conversation>, Trace, FixedState>;

impl Partition {
    /// Forgets a user of an app. Goes through all that is in memory: erasures are rare.
    pub(super) fn forget(&mut self, app: Slot<App>, user: UserId<'_>, position: Position, sink: &mut impl Sink) {
        for wait in self.waits_of(app, user) {
            self.end_wait(wait, position, sink);
        }
        let traces = self.traces_of(app, user);
        self.forget_messages(&traces, sink);
        self.forget_readings(&traces, position, sink);
        for (conversation, trace) in traces {
            match (trace, &mut self.conversations.get_mut(conversation).kind) {
                (Trace::Member(member), ConversationKind::Group(group)) => {
                    group.members.forget(member);
                    self.conversations.reckon(conversation);
                }
                _ => self.conversations.remove(conversation),
            }
        }
    }

    /// What waits of the user, or in a single chat of his, in log order.
    fn waits_of(&self, app: Slot<App>, user: UserId<'_>) -> Vec<Wait> {
        let mut waits = Vec::new();
        for (slot, conversation) in self.conversations.iter().filter(|(_, conversation)| conversation.app == app) {
            let is_his_chat = is_side_of(conversation, user);
            let of_his = conversation.waiting.iter().filter(|parked| is_his_chat || parked.from() == user);
            waits.extend(of_his.map(|parked| Wait {
                conversation: slot,
                order: parked.order,
                partition: parked.partition,
            }));
        }
        waits.sort_unstable_by_key(|wait| (wait.order, wait.partition));
        waits
    }

    fn traces_of(&self, app: Slot<App>, user: UserId<'_>) -> Traces {
        let of_app = self.conversations.iter().filter(|(_, conversation)| conversation.app == app);
        let trace = |conversation: &Conversation| match &conversation.kind {
            ConversationKind::Single(_) => is_side_of(conversation, user).then_some(Trace::Side),
            ConversationKind::Group(group) => group.members.find(user).map(Trace::Member),
        };
        of_app.filter_map(|(slot, conversation)| Some((slot, trace(conversation)?))).collect()
    }

    /// Takes out the messages he sent, and those of his single chats, with all that is known of them.
    fn forget_messages(&mut self, traces: &Traces, sink: &mut impl Sink) {
        let is_his = |message: &Message| match (traces.get(&message.conversation), message.sender) {
            (Some(Trace::Side), _) => true,
            (Some(Trace::Member(member)), Sender::Member(sender)) => sender == *member,
            _ => false,
        };
        let his = self.messages_where(is_his);
        his.iter().for_each(|&slot| self.give_out_pending_counts(slot, sink));
        for message in self.messages.take(&his) {
            if let (Some(day), Some(group)) =
                (message.quota_day, self.conversations.get_mut(message.conversation).group_mut())
            {
                group.quota.give_back(day);
            }
            self.release(&message);
        }
    }

    /// Takes him out of the readers of all messages that others sent.
    fn forget_readings(&mut self, traces: &Traces, position: Position, sink: &mut impl Sink) {
        let read_by_him = |message: &Message| match traces.get(&message.conversation) {
            Some(Trace::Member(member)) => message.readers.contains(*member).then_some(*member),
            _ => None,
        };
        for slot in self.messages_where(|message| read_by_him(message).is_some()) {
            let Some(reader) = read_by_him(self.messages.get(slot)) else { continue };
            // Of what has left the state a restored one knows nothing: its counts stay as they were.
            let is_in_state = self.messages.get(slot).is_in_state(self.watermark);
            if !is_in_state {
                self.give_out_pending_counts(slot, sink);
            }
            self.messages.change_readers(slot, |readers| readers.remove(reader));
            let conversation = self.messages.get(slot).conversation;
            if let Some(group) = self.conversations.get_mut(conversation).group_mut() {
                group.members.release(reader);
            }
            if is_in_state {
                self.note_counts_changed(slot, position.offset);
            }
        }
    }

    /// Messages in memory, in an order that a restored state has as well.
    fn messages_where(&self, is_wanted: impl Fn(&Message) -> bool) -> Vec<Slot<Message>> {
        let mut found: Vec<(Slot<Message>, &Message)> =
            self.messages.iter_kept().filter(|(_, message)| is_wanted(message)).collect();
        found.sort_by_cached_key(|(_, message)| {
            let key = self.conversations.get(message.conversation).key();
            (key.as_str().to_owned(), message.id.clone(), message.sent_at)
        });
        found.into_iter().map(|(slot, _)| slot).collect()
    }

    /// Gives out what changed of a message in front of this record, so that rows do not depend on where flushes end.
    fn give_out_pending_counts(&mut self, slot: Slot<Message>, sink: &mut impl Sink) {
        if self.messages.get(slot).is_changed {
            self.give_out_counts(slot, sink);
            self.changed.retain(|changed| *changed != slot);
        }
    }
}

/// Whether a conversation is a single chat of the user's.
fn is_side_of(conversation: &Conversation, user: UserId<'_>) -> bool {
    match Participants::parse(conversation.key().as_str()) {
        Some(Participants::Single { first, second, .. }) => first == user || second == user,
        _ => false,
    }
}
