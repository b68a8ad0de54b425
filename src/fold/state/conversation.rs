//! The conversations of a partition.

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::apps::App;
use super::hash_of;
use super::members::{Members, User};
use super::parked::Waiting;
use super::quota::Quota;
use super::single::{Side, SingleChat};
use super::slots::{Slot, Slots};
use crate::event::{Chat, ConversationKey, EventTime};

/// A conversation, and what is kept of it beside its messages.
#[derive(Clone, Debug)]
pub(crate) struct Conversation {
    key: Box<str>,
    pub(crate) app: Slot<App>,
    /// How many of its messages are in memory.
    pub(crate) messages: u32,
    pub(crate) waiting: Waiting,
    pub(crate) kind: ConversationKind,
    /// What [`Conversations::heap_bytes`] holds for it.
    reckoned_bytes: usize,
}

/// What is kept by kind of conversation.
#[derive(Clone, Debug)]
pub(crate) enum ConversationKind {
    /// Two users, or one with himself.
    Single(SingleChat),
    /// A group.
    Group(Box<GroupChat>),
}

/// What is kept of a group beside its messages.
#[derive(Clone, Debug, Default)]
pub(crate) struct GroupChat {
    pub(crate) members: Members,
    pub(crate) quota: Quota,
}

/// Who sent a message: a side of a single chat, or a user of the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    Side(Side),
    Member(Slot<User>),
}

impl Sender {
    /// Some sender.
    #[cfg(test)]
    pub(crate) fn side_for_tests() -> Self {
        Self::Side(Side::First)
    }
}

impl Conversation {
    /// The record key of its events.
    pub(crate) fn key(&self) -> ConversationKey<'_> {
        ConversationKey::trusted(&self.key)
    }

    /// Kind of conversation.
    pub(crate) fn chat(&self) -> Chat {
        match self.kind {
            ConversationKind::Single(_) => Chat::Single,
            ConversationKind::Group(_) => Chat::Group,
        }
    }

    /// The single chat, where it is one.
    pub(crate) fn single_mut(&mut self) -> Option<&mut SingleChat> {
        match &mut self.kind {
            ConversationKind::Single(single) => Some(single),
            ConversationKind::Group(_) => None,
        }
    }

    /// The group, where it is one.
    pub(crate) fn group(&self) -> Option<&GroupChat> {
        match &self.kind {
            ConversationKind::Single(_) => None,
            ConversationKind::Group(group) => Some(group),
        }
    }

    /// The group, where it is one.
    pub(crate) fn group_mut(&mut self) -> Option<&mut GroupChat> {
        match &mut self.kind {
            ConversationKind::Single(_) => None,
            ConversationKind::Group(group) => Some(group),
        }
    }

    /// Gives back what has left the state; returns whether nothing is left at all. A known roster stays for ever.
    fn drop_past(&mut self, watermark: EventTime) -> bool {
        // Days pass in groups that are never without a message as well.
        if let Some(group) = self.group_mut() {
            group.quota.drop_past(watermark);
        }
        if self.messages > 0 || self.waiting.len() > 0 {
            return false;
        }
        match &mut self.kind {
            ConversationKind::Single(single) => {
                [Side::First, Side::Second].into_iter().all(|reader| single.mark_in_state(reader, watermark).is_none())
            }
            ConversationKind::Group(group) => {
                if group.members.holds_others_than_members() {
                    group.members.drop_unneeded(watermark);
                }
                group.quota.is_empty() && group.members.is_empty()
            }
        }
    }

    fn bytes(&self) -> usize {
        let kind_bytes = match &self.kind {
            ConversationKind::Single(single) => single.heap_bytes(),
            ConversationKind::Group(group) => {
                size_of::<GroupChat>() + group.members.heap_bytes() + group.quota.heap_bytes()
            }
        };
        self.key.len() + self.waiting.heap_bytes() + kind_bytes
    }
}

/// The conversations of a partition.
#[derive(Clone, Debug, Default)]
pub(crate) struct Conversations {
    slots: Slots<Conversation>,
    by_key: HashTable<Slot<Conversation>>,
    hasher: FixedState,
    heap_bytes: usize,
    /// Number of the place at which [`Conversations::drop_past`] goes on.
    hand: u32,
}

impl Conversations {
    /// The conversation of a key, where anything is kept of it.
    pub(crate) fn find(&self, key: ConversationKey<'_>) -> Option<Slot<Conversation>> {
        let hash = hash_of(&self.hasher, key.as_str());
        self.by_key.find(hash, |&slot| *self.slots.get(slot).key == *key.as_str()).copied()
    }

    /// Puts in a conversation of which nothing is kept so far.
    pub(crate) fn insert(&mut self, key: ConversationKey<'_>, app: Slot<App>, chat: Chat) -> Slot<Conversation> {
        let kind = match chat {
            Chat::Single => ConversationKind::Single(SingleChat::default()),
            Chat::Group => ConversationKind::Group(Box::default()),
        };
        let key: Box<str> = key.as_str().into();
        let hash = hash_of(&self.hasher, &key);
        let waiting = Waiting::default();
        let slot = self.slots.insert(Conversation { key, app, messages: 0, waiting, kind, reckoned_bytes: 0 });
        let Self { slots, by_key, hasher, .. } = self;
        by_key.insert_unique(hash, slot, |&other| hash_of(hasher, &slots.get(other).key));
        self.reckon(slot);
        slot
    }

    /// The conversation of a key, put in where nothing was kept of it.
    pub(crate) fn intern(&mut self, key: ConversationKey<'_>, app: Slot<App>, chat: Chat) -> Slot<Conversation> {
        self.find(key).unwrap_or_else(|| self.insert(key, app, chat))
    }

    /// A known conversation.
    pub(crate) fn get(&self, slot: Slot<Conversation>) -> &Conversation {
        self.slots.get(slot)
    }

    /// A known conversation.
    pub(crate) fn get_mut(&mut self, slot: Slot<Conversation>) -> &mut Conversation {
        self.slots.get_mut(slot)
    }

    /// All conversations.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Slot<Conversation>, &Conversation)> {
        self.slots.iter()
    }

    /// Brings the books of a conversation's size up to date after it changed.
    pub(crate) fn reckon(&mut self, slot: Slot<Conversation>) {
        let conversation = self.slots.get_mut(slot);
        let bytes = conversation.bytes();
        self.heap_bytes = self.heap_bytes + bytes - conversation.reckoned_bytes;
        conversation.reckoned_bytes = bytes;
    }

    /// Looks at the next `count` places, round and round, and gives back what has left the state there. Called with a
    /// share of the records taken, so that its cost stays a share of theirs.
    pub(crate) fn drop_past(&mut self, count: usize, watermark: EventTime) {
        for _ in 0..count.min(self.slots.places()) {
            self.hand = if (self.hand as usize) < self.slots.places() { self.hand } else { 0 };
            let slot = Slot::from_number(self.hand);
            self.hand += 1;
            if self.slots.find(slot).is_none() {
                continue;
            }
            if self.slots.get_mut(slot).drop_past(watermark) {
                self.remove(slot);
            } else {
                self.reckon(slot);
            }
        }
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.slots.bytes() + self.by_key.allocation_size() + self.heap_bytes
    }

    /// Takes a conversation out, of which no message, wait or mark is needed any more.
    pub(crate) fn remove(&mut self, slot: Slot<Conversation>) {
        let hash = hash_of(&self.hasher, &self.slots.get(slot).key);
        if let Ok(entry) = self.by_key.find_entry(hash, |&other| other == slot) {
            entry.remove();
        }
        if let Some(conversation) = self.slots.remove(slot) {
            self.heap_bytes -= conversation.reckoned_bytes;
        }
    }
}
