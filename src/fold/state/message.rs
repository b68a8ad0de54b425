//! The messages in the state.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;
use hashbrown::hash_table::Entry;
use hashbrown::{HashSet, HashTable};

use super::conversation::{Conversation, Sender};
use super::readers::ReaderSet;
use super::slots::{Slot, Slots};
use crate::event::{EventTime, MessageId, Offset};
use crate::fold::fact::MessageStatus;
use crate::fold::{leaves_at, quota_day_leaves_at};
use crate::policy::QuotaDay;

/// A message, and what is known of its receipts.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) id: Box<str>,
    pub(crate) conversation: Slot<Conversation>,
    pub(crate) sender: Sender,
    pub(crate) sent_at: EventTime,
    /// How long receipts are accepted, in ms; fixed when the message was folded.
    pub(crate) validity_millis: i64,
    /// How many of the newest readers are retained; fixed when the message was folded.
    pub(crate) reader_cap: u32,
    pub(crate) status: MessageStatus,
    /// The local day on which it took a place, where it was opened.
    pub(crate) quota_day: Option<QuotaDay>,
    pub(crate) is_recalled: bool,
    /// Readers with a receipt of their own, of a group message.
    pub(crate) readers: ReaderSet,
    /// The peer's receipts, of a single message.
    pub(crate) peer: PeerReceipts,
    /// Its counts changed since the last flush, last at [`Message::changed_at`].
    pub(crate) is_changed: bool,
    /// The offset that last changed its counts; stands for something while [`Message::is_changed`] alone.
    pub(crate) changed_at: Offset,
    /// Its id has been used again since it left the state: the table of ids knows the newer one.
    is_replaced: bool,
}

/// What a single message's peer has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct PeerReceipts {
    /// A delivery receipt counted.
    pub(crate) is_delivered: bool,
    /// A read receipt counted.
    pub(crate) is_read: bool,
    /// A mark of his covered it before any read receipt.
    pub(crate) is_read_by_mark: bool,
}

impl Message {
    /// A message without receipts.
    pub(crate) fn new(id: MessageId<'_>, conversation: Slot<Conversation>, sender: Sender, limits: Limits) -> Self {
        Self {
            id: id.as_str().into(),
            conversation,
            sender,
            sent_at: limits.sent_at,
            validity_millis: limits.validity_millis,
            reader_cap: limits.reader_cap,
            status: limits.status,
            quota_day: limits.quota_day,
            is_recalled: false,
            readers: ReaderSet::default(),
            peer: PeerReceipts::default(),
            is_changed: false,
            changed_at: Offset::default(),
            is_replaced: false,
        }
    }

    /// Whether something at `at` is within its validity.
    pub(crate) fn is_valid_at(&self, at: EventTime) -> bool {
        at.since(self.sent_at) <= self.validity_millis
    }

    /// Whether it has not left the state (DESIGN.md section 4, "Leaving the state").
    pub(crate) fn is_in_state(&self, watermark: EventTime) -> bool {
        watermark <= leaves_at(self.sent_at, self.validity_millis)
    }

    /// The last watermark at which it is kept in memory: while it is in the state, and while its quota day is, as an
    /// erasure gives back the places of what it takes away.
    fn kept_until(&self) -> EventTime {
        let leaves_at = leaves_at(self.sent_at, self.validity_millis);
        self.quota_day.map_or(leaves_at, |day| leaves_at.max(quota_day_leaves_at(day)))
    }

    /// Readers with a receipt of their own that counted.
    pub(crate) fn distinct(&self) -> u32 {
        self.readers.len() + u32::from(self.peer.is_read)
    }

    /// Receivers with a delivery receipt that counted.
    pub(crate) fn delivered(&self) -> u32 {
        u32::from(self.peer.is_delivered)
    }

    /// Whether a mark may still read it: the peer has not, and nobody took it back.
    pub(crate) fn is_unread_by_peer(&self) -> bool {
        !self.is_recalled && !self.peer.is_read && !self.peer.is_read_by_mark
    }
}

/// What is fixed when a message is folded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) sent_at: EventTime,
    pub(crate) validity_millis: i64,
    pub(crate) reader_cap: u32,
    pub(crate) status: MessageStatus,
    pub(crate) quota_day: Option<QuotaDay>,
}

/// Width of the buckets in which messages leave memory, in ms.
const LEAVING_BUCKET_MILLIS: i64 = 60 * 60 * 1000;

/// The messages of a partition.
#[derive(Clone, Debug, Default)]
pub(crate) struct Messages {
    slots: Slots<Message>,
    by_id: HashTable<Slot<Message>>,
    hasher: FixedState,
    /// By the hour of event time after which they are not kept any more.
    leaving: BTreeMap<i64, Vec<Slot<Message>>>,
    /// Bytes of ids, reader sets and `leaving`.
    heap_bytes: usize,
}

impl Messages {
    /// The message of an id, unless it has left the state.
    pub(crate) fn find(
        &self,
        conversation: Slot<Conversation>,
        id: MessageId<'_>,
        watermark: EventTime,
    ) -> Option<Slot<Message>> {
        let hash = hash_of_id(&self.hasher, conversation, id.as_str());
        let found = *self.by_id.find(hash, |&slot| is_message(self.slots.get(slot), conversation, id.as_str()))?;
        self.slots.get(found).is_in_state(watermark).then_some(found)
    }

    /// A message that is known to be in memory.
    pub(crate) fn get(&self, slot: Slot<Message>) -> &Message {
        self.slots.get(slot)
    }

    /// A message that is known to be in memory.
    pub(crate) fn get_mut(&mut self, slot: Slot<Message>) -> &mut Message {
        self.slots.get_mut(slot)
    }

    /// What stands in a slot that was noted down earlier: another message, perhaps.
    pub(crate) fn find_slot(&self, slot: Slot<Message>) -> Option<&Message> {
        self.slots.find(slot)
    }

    /// All messages in the state.
    pub(crate) fn iter(&self, watermark: EventTime) -> impl Iterator<Item = (Slot<Message>, &Message)> {
        self.slots.iter().filter(move |(_, message)| message.is_in_state(watermark))
    }

    /// Puts in a message whose id is not in the state.
    pub(crate) fn insert(&mut self, message: Message) -> Slot<Message> {
        let hash = hash_of_id(&self.hasher, message.conversation, &message.id);
        let slot = self.keep(message);
        let Self { slots, by_id, hasher, .. } = self;

        let inserted = slots.get(slot);
        let is_same = |&other: &Slot<Message>| is_message(slots.get(other), inserted.conversation, &inserted.id);
        let rehash = |&other: &Slot<Message>| {
            let other = slots.get(other);
            hash_of_id(hasher, other.conversation, &other.id)
        };
        let replaced = match by_id.entry(hash, is_same, rehash) {
            Entry::Occupied(mut entry) => Some(std::mem::replace(entry.get_mut(), slot)),
            Entry::Vacant(entry) => {
                entry.insert(slot);
                None
            }
        };
        if let Some(earlier) = replaced {
            slots.get_mut(earlier).is_replaced = true;
        }
        slot
    }

    /// Puts in a message that has left the state, for the place that it takes on its quota day.
    pub(crate) fn insert_for_quota(&mut self, message: Message) {
        // Its id may have been used again: it is found by none.
        self.keep(Message { is_replaced: true, ..message });
    }

    /// All messages in memory, those that have left the state among them.
    pub(crate) fn iter_kept(&self) -> impl Iterator<Item = (Slot<Message>, &Message)> {
        self.slots.iter()
    }

    /// Takes messages out before they leave.
    pub(crate) fn take(&mut self, taken: &[Slot<Message>]) -> Vec<Message> {
        let buckets: BTreeSet<i64> = taken.iter().map(|slot| bucket_of(self.slots.get(*slot).kept_until())).collect();
        let taken: HashSet<Slot<Message>, FixedState> = taken.iter().copied().collect();
        for bucket in buckets {
            // A place that is used again must not be taken out with those that leave here.
            if let Some(leaving_together) = self.leaving.get_mut(&bucket) {
                leaving_together.retain(|slot| !taken.contains(slot));
            }
        }
        taken.into_iter().filter_map(|slot| self.remove(slot)).collect()
    }

    /// Changes the readers of a message, keeping the books of its size.
    pub(crate) fn change_readers<R>(&mut self, slot: Slot<Message>, change: impl FnOnce(&mut ReaderSet) -> R) -> R {
        let readers = &mut self.slots.get_mut(slot).readers;
        let bytes_before = readers.heap_bytes();
        let result = change(readers);
        let bytes_after = readers.heap_bytes();
        self.heap_bytes = self.heap_bytes + bytes_after - bytes_before;
        result
    }

    /// Takes out the messages of the first bucket of which all have left the state; `None` when there is none.
    pub(crate) fn take_leaving(&mut self, watermark: EventTime) -> Option<Vec<Message>> {
        let bucket = self.leaving.first_entry()?;
        // The last instant of the bucket has passed, so every message in it has left.
        if watermark.millis() < (*bucket.key() + 1).saturating_mul(LEAVING_BUCKET_MILLIS) {
            return None;
        }
        let slots = bucket.remove();
        self.heap_bytes -= slots.capacity() * size_of::<Slot<Message>>();
        Some(slots.into_iter().filter_map(|slot| self.remove(slot)).collect())
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.slots.bytes() + self.by_id.allocation_size() + self.heap_bytes
    }

    fn keep(&mut self, message: Message) -> Slot<Message> {
        let bucket = bucket_of(message.kept_until());
        self.heap_bytes += message.id.len() + message.readers.heap_bytes();
        let slot = self.slots.insert(message);
        let leaving_together = self.leaving.entry(bucket).or_default();
        let bytes_before = leaving_together.capacity() * size_of::<Slot<Message>>();
        leaving_together.push(slot);
        self.heap_bytes += leaving_together.capacity() * size_of::<Slot<Message>>() - bytes_before;
        slot
    }

    fn remove(&mut self, slot: Slot<Message>) -> Option<Message> {
        let message = self.slots.find(slot)?;
        if !message.is_replaced {
            let hash = hash_of_id(&self.hasher, message.conversation, &message.id);
            if let Ok(entry) = self.by_id.find_entry(hash, |&other| other == slot) {
                entry.remove();
            }
        }
        self.heap_bytes -= message.id.len() + message.readers.heap_bytes();
        self.slots.remove(slot)
    }
}

fn bucket_of(kept_until: EventTime) -> i64 {
    kept_until.millis().div_euclid(LEAVING_BUCKET_MILLIS)
}

fn is_message(message: &Message, conversation: Slot<Conversation>, id: &str) -> bool {
    message.conversation == conversation && *message.id == *id
}

fn hash_of_id(hasher: &FixedState, conversation: Slot<Conversation>, id: &str) -> u64 {
    let mut hash = hasher.build_hasher();
    hash.write_u32(conversation.number());
    hash.write(id.as_bytes());
    hash.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fold::LATENESS_MILLIS;

    const HOUR: i64 = LEAVING_BUCKET_MILLIS;

    fn message(id: &str, sent_at: i64) -> Message {
        let limits = Limits {
            sent_at: EventTime::from_millis(sent_at),
            validity_millis: 24 * HOUR,
            reader_cap: 1,
            status: MessageStatus::Stored,
            quota_day: None,
        };
        Message::new(MessageId::trusted(id), Slot::from_number(0), Sender::side_for_tests(), limits)
    }

    fn find(messages: &Messages, id: &str, watermark: i64) -> Option<Slot<Message>> {
        messages.find(Slot::from_number(0), MessageId::trusted(id), EventTime::from_millis(watermark))
    }

    #[test]
    fn a_message_is_found_to_the_last_instant_and_not_after() {
        let mut messages = Messages::default();
        let slot = messages.insert(message("m", 5));
        let last_instant = 5 + 24 * HOUR + LATENESS_MILLIS;
        assert_eq!(find(&messages, "m", last_instant), Some(slot));
        assert_eq!(find(&messages, "m", last_instant + 1), None);
    }

    #[test]
    fn an_id_used_again_outlives_the_memory_of_its_first_life() {
        let mut messages = Messages::default();
        let first = messages.insert(message("m", 0));
        let second = messages.insert(message("m", 200 * HOUR));
        assert_ne!(first, second);
        let now = EventTime::from_millis(200 * HOUR);
        let left = messages.take_leaving(now).expect("the first life is over");
        assert_eq!(left.iter().map(|message| message.sent_at.millis()).collect::<Vec<_>>(), [0]);
        assert!(messages.take_leaving(now).is_none());
        assert_eq!(find(&messages, "m", 200 * HOUR), Some(second));
    }

    #[test]
    fn memory_of_messages_that_left_is_given_back() {
        let mut messages = Messages::default();
        for number in 0..1_000 {
            let slot = messages.insert(message(&format!("m{number}"), number));
            messages.change_readers(slot, |readers| (0..100).map(|n| readers.insert(Slot::from_number(n))).count());
        }
        let before = messages.heap_bytes;
        let mut left = 0;
        while let Some(bucket) = messages.take_leaving(EventTime::from_millis(100 * HOUR)) {
            left += bucket.len();
        }
        assert_eq!(left, 1_000);
        assert!(before > 1_000 * 16);
        assert_eq!(messages.heap_bytes, 0);
        assert!(messages.by_id.is_empty());
    }
}
