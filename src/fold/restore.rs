//! The state as of an offset, built again from the facts before it.

mod erasures;

use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet};

use self::erasures::Erasures;

use super::fact::{
    ControlFact, LedgerFact, MarkFact, Measure, MessageFact, ParkedFact, PolicyFact, RecallFact, ReceiptFact,
    ReceiptKind, RosterChange, RosterFact,
};
use super::ledger::CellKey;
use super::state::conversation::{Conversation, Sender};
use super::state::members::{User, is_mark_in_state};
use super::state::message::{Limits, Message};
use super::state::parked::Parked;
use super::state::single::Side;
use super::state::slots::Slot;
use super::{Outcome, Partition, PartitionIdentity, is_quota_day_needed, leaves_at};
use crate::event::{Chat, ConversationKey, Epoch, EventTime, EventType, MessageId, Offset, UserId};

type Map<K, V> = HashMap<K, V, FixedState>;

/// Place of a fact in the log of all generations, `epoch << 48 | offset`, then the record's own offset.
type Order = (u64, u64);

/// Builds the state as of an offset from the facts before it. Facts at or after the offset, and facts about what has
/// left the state, are passed over; a fact given twice counts once.
///
/// Control records come first: facts about a user in front of his erasure are passed over, be they given or not. The
/// order of the other calls does not matter, but for memory: a receipt, a recall or a mark whose message is not known is
/// held back, until [`Restore::messages_complete`] says that none comes any more. With all messages and that call
/// before receipts, recalls and marks nothing is ever held back. Beside the state it then takes the place in the log of
/// each single message and recall in it, of each roster row, and of each mark since the oldest message in the state of
/// a single chat, as what they read follows from their order.
#[derive(Debug)]
pub struct Restore {
    partition: Partition,
    committed: u64,
    erasures: Erasures,
    /// Opened messages counted on their quota day, by conversation and place in the log.
    counted_on_quota_day: HashSet<(Slot<Conversation>, u64), FixedState>,
    /// Place in the log of each single message in the state, and of each message of an app with erasures.
    message_orders: Map<Slot<Message>, u64>,
    recall_orders: Map<Slot<Message>, Order>,
    /// Whether every message has been given.
    is_messages_complete: bool,
    /// Receipts and recalls whose message has not come yet.
    early: Map<MessageName, Vec<EarlyFact>>,
    /// Marks in single chats, by conversation, of which messages may still come.
    early_marks: Map<Box<str>, Vec<EarlyMark>>,
    /// When the oldest message in the state of a single chat was sent; known once the messages are complete.
    oldest_messages: Map<Slot<Conversation>, EventTime>,
    /// Each reader's marks in a single chat that may have read a message in the state.
    single_marks: Map<(Slot<Conversation>, Side), Vec<PlacedMark>>,
    roster_heads: Map<Slot<Conversation>, Order>,
    user_rows: Map<(Slot<Conversation>, Slot<User>), Order>,
}

/// A message by conversation key, id and `at`.
type MessageName = (Box<str>, Box<str>, EventTime);

/// Place in the log and `at` of a mark in a single chat.
type PlacedMark = (u64, EventTime);

#[derive(Debug)]
enum EarlyFact {
    Receipt { kind: ReceiptKind, reader: Box<str>, order: u64 },
    Recall(Order),
}

#[derive(Debug)]
struct EarlyMark {
    app: Box<str>,
    reader: Box<str>,
    order: u64,
    at: EventTime,
}

impl Restore {
    /// Starts for the state as of `committed`, exclusive, with the watermark that the ledger holds for it.
    pub fn new(identity: PartitionIdentity, committed: Offset, watermark: EventTime) -> Self {
        let mut partition = Partition::new(identity);
        partition.next_offset = committed;
        partition.watermark = watermark;
        Self {
            partition,
            committed: identity.epoch.order(committed),
            erasures: Erasures::default(),
            counted_on_quota_day: HashSet::default(),
            message_orders: Map::default(),
            recall_orders: Map::default(),
            is_messages_complete: false,
            early: Map::default(),
            early_marks: Map::default(),
            oldest_messages: Map::default(),
            single_marks: Map::default(),
            roster_heads: Map::default(),
            user_rows: Map::default(),
        }
    }

    /// A control record that was applied. `epoch` is the fact's own, here and below: facts of older epochs count too.
    pub fn policy(&mut self, epoch: Epoch, fact: &PolicyFact<'_>) {
        if self.is_after(epoch, fact.position.offset) {
            return;
        }
        let (app, version) = match fact.control {
            ControlFact::Policy(policy) => (policy.app.as_str(), policy.version),
            ControlFact::Erase { app, version, .. } => (app.as_str(), version),
        };
        let apps = &mut self.partition.apps;
        let app = apps.intern(app);
        let is_new = apps.meet_version(app, version);
        match fact.control {
            ControlFact::Policy(policy) if is_new => apps.add_policy(app, policy),
            ControlFact::Policy(_) => {}
            // Each partition of an older epoch had a copy, and each copy says what stands in front of it there.
            ControlFact::Erase { app: app_name, user, .. } => {
                self.erasures.add(app_name, user, fact.position);
                if is_new {
                    apps.note_erasure(app);
                }
            }
        }
    }

    /// A roster row.
    pub fn roster(&mut self, epoch: Epoch, fact: &RosterFact<'_>) {
        if self.is_after(epoch, fact.position.offset) {
            return;
        }
        if fact.user.is_some_and(|user| self.erasures.is_forgotten(fact.app, user, fact.conversation, fact.position)) {
            return;
        }
        let order = (epoch.order(fact.position.offset), fact.position.own_offset.get());
        let app = self.partition.apps.intern(fact.app.as_str());
        let slot = self.partition.conversations.intern(fact.conversation, app, Chat::Group);
        let Some(group) = self.partition.conversations.get_mut(slot).group_mut() else { return };
        match (fact.change, fact.user) {
            (RosterChange::Roster | RosterChange::GroupDestroyed, _) => {
                if is_latest(&mut self.roster_heads, slot, order) {
                    group.members.set_roster_at(fact.at);
                }
            }
            (RosterChange::ByRoster | RosterChange::Member(_), Some(user)) => {
                // The reference keeps who left from being dropped while older rows of his may still come.
                let is_first_row =
                    group.members.find(user).is_none_or(|user| !self.user_rows.contains_key(&(slot, user)));
                let user = group.members.intern(user, self.partition.watermark);
                if is_first_row {
                    group.members.refer_to(user);
                }
                if is_latest(&mut self.user_rows, (slot, user), order) {
                    group.members.restore_role(user, fact.role, fact.at, fact.joined_at);
                }
            }
            (RosterChange::ByRoster | RosterChange::Member(_), None) => {}
        }
    }

    /// A message.
    pub fn message(&mut self, epoch: Epoch, fact: &MessageFact<'_>) {
        let watermark = self.partition.watermark;
        let is_counted = fact.quota_day.filter(|day| is_quota_day_needed(*day, watermark));
        let is_in_state = watermark <= leaves_at(fact.sent_at, fact.validity_millis);
        if self.is_after(epoch, fact.position.offset)
            || (!is_in_state && is_counted.is_none())
            || self.erasures.is_forgotten(fact.app, fact.sender, fact.conversation, fact.position)
        {
            return;
        }
        let order = epoch.order(fact.position.offset);
        let app = self.partition.apps.intern(fact.app.as_str());
        let conversation = self.partition.conversations.intern(fact.conversation, app, fact.chat);
        if let (Some(day), Some(group)) = (is_counted, self.partition.conversations.get_mut(conversation).group_mut())
            && self.counted_on_quota_day.insert((conversation, order))
        {
            group.quota.count(day);
            if !is_in_state {
                let message = self.new_message(fact, conversation);
                self.partition.messages.insert_for_quota(message);
            }
        }
        if is_in_state && self.partition.messages.find(conversation, fact.message, watermark).is_none() {
            let message = self.new_message(fact, conversation);
            let slot = self.partition.messages.insert(message);
            if fact.chat == Chat::Single || self.erasures.concern(fact.app) {
                self.message_orders.insert(slot, order);
            }
            let name = name_of(fact.conversation, fact.message, fact.sent_at);
            for early in self.early.remove(&name).unwrap_or_default() {
                match early {
                    EarlyFact::Receipt { kind, reader, order } => {
                        self.add_receipt(slot, kind, UserId::trusted(&reader), order);
                    }
                    EarlyFact::Recall(order) => self.add_recall(slot, order),
                }
            }
        }
    }

    /// Every message has been given: receipts and recalls of others, held back or still to come, are of what has left
    /// the state, and so are marks that cover none of them.
    pub fn messages_complete(&mut self) {
        if std::mem::replace(&mut self.is_messages_complete, true) {
            return;
        }
        self.early = Map::default();
        self.counted_on_quota_day = HashSet::default();
        for &slot in self.message_orders.keys() {
            let message = self.partition.messages.get(slot);
            if matches!(message.sender, Sender::Member(_)) {
                continue;
            }
            let oldest = self.oldest_messages.entry(message.conversation).or_insert(message.sent_at);
            *oldest = message.sent_at.min(*oldest);
        }
        for (key, marks) in std::mem::take(&mut self.early_marks) {
            let key = ConversationKey::trusted(&key);
            for EarlyMark { app, reader, order, at } in marks {
                self.place_single_mark(key, &app, UserId::trusted(&reader), order, at);
            }
        }
    }

    /// Receipts, recalls and marks that are held back, as their message may still come.
    pub fn held_back(&self) -> usize {
        self.early.values().map(Vec::len).sum::<usize>() + self.early_marks.values().map(Vec::len).sum::<usize>()
    }

    /// A counted receipt.
    pub fn receipt(&mut self, epoch: Epoch, fact: &ReceiptFact<'_>) {
        if self.is_after(epoch, fact.position.offset) {
            return;
        }
        if self.erasures.is_forgotten(fact.app, fact.reader, fact.conversation, fact.position) {
            return;
        }
        let order = epoch.order(fact.position.offset);
        match self.find_message(fact.conversation, fact.message, fact.sent_at) {
            Some(slot) => self.add_receipt(slot, fact.kind, fact.reader, order),
            None if self.is_messages_complete => {}
            None => {
                let name = name_of(fact.conversation, fact.message, fact.sent_at);
                let early = EarlyFact::Receipt { kind: fact.kind, reader: fact.reader.as_str().into(), order };
                self.early.entry(name).or_default().push(early);
            }
        }
    }

    /// A recall.
    pub fn recall(&mut self, epoch: Epoch, fact: &RecallFact<'_>) {
        if self.is_after(epoch, fact.position.offset) {
            return;
        }
        let order = (epoch.order(fact.position.offset), fact.position.own_offset.get());
        match self.find_message(fact.conversation, fact.message, fact.sent_at) {
            Some(slot) => self.add_recall(slot, order),
            None if self.is_messages_complete => {}
            None => {
                let name = name_of(fact.conversation, fact.message, fact.sent_at);
                self.early.entry(name).or_default().push(EarlyFact::Recall(order));
            }
        }
    }

    /// A mark; [`super::is_mark_needed`] says which are.
    pub fn mark(&mut self, epoch: Epoch, fact: &MarkFact<'_>) {
        if self.is_after(epoch, fact.position.offset) {
            return;
        }
        if self.erasures.is_forgotten(fact.app, fact.reader, fact.conversation, fact.position) {
            return;
        }
        let order = epoch.order(fact.position.offset);
        match fact.chat {
            Chat::Group => self.place_group_mark(fact),
            Chat::Single if self.is_messages_complete => {
                self.place_single_mark(fact.conversation, fact.app.as_str(), fact.reader, order, fact.at);
            }
            Chat::Single => {
                let app = fact.app.as_str().into();
                let reader = fact.reader.as_str().into();
                let early = EarlyMark { app, reader, order, at: fact.at };
                self.early_marks.entry(fact.conversation.as_str().into()).or_default().push(early);
            }
        }
    }

    /// A record that waits and has no settlement before `committed`.
    pub fn parked(&mut self, epoch: Epoch, fact: &ParkedFact<'_>) {
        if self.is_after(epoch, fact.position.offset) {
            return;
        }
        if self.erasures.is_forgotten(fact.event.app, fact.event.from, fact.conversation, fact.position) {
            return;
        }
        let Some(parked) = Parked::new(&fact.event, fact.position, fact.deadline) else { return };
        let partition = &mut self.partition;
        let app = partition.apps.intern(fact.event.app.as_str());
        let conversation = partition.conversations.intern(fact.conversation, app, fact.event.chat);
        partition.deadlines.add(&parked, conversation);
        partition.conversations.get_mut(conversation).waiting.restore(parked);
    }

    /// A ledger cell's total as of `committed`; of earlier hours than the latest not needed. The current epoch's only.
    pub fn ledger(&mut self, fact: &LedgerFact<'_>) {
        if fact.measure == Measure::Watermark || fact.next_offset > self.partition.next_offset {
            return;
        }
        let key = CellKey {
            app: self.partition.apps.intern(fact.app),
            event_type: EventType::from_name(fact.event_type),
            measure: fact.measure,
            outcome: Outcome::from_name(fact.outcome),
        };
        self.partition.ledger.restore(key, fact.hour, fact.total, fact.buckets);
    }

    /// The state.
    pub fn finish(mut self) -> Partition {
        self.messages_complete();
        self.single_marks.values_mut().for_each(|marks| marks.sort_unstable());
        self.note_unread();
        for (conversation, user) in std::mem::take(&mut self.user_rows).into_keys() {
            if let Some(group) = self.partition.conversations.get_mut(conversation).group_mut() {
                group.members.release(user);
            }
        }
        let all: Vec<Slot<Conversation>> = self.partition.conversations.iter().map(|(slot, _)| slot).collect();
        for slot in all {
            self.partition.conversations.reckon(slot);
        }
        self.partition
    }

    fn is_after(&self, epoch: Epoch, offset: Offset) -> bool {
        epoch.order(offset) >= self.committed
    }

    fn find_message(
        &self,
        key: ConversationKey<'_>,
        message: MessageId<'_>,
        sent_at: EventTime,
    ) -> Option<Slot<Message>> {
        let conversation = self.partition.conversations.find(key)?;
        let slot = self.partition.messages.find(conversation, message, self.partition.watermark)?;
        // An earlier life of the id has left the state.
        (self.partition.messages.get(slot).sent_at == sent_at).then_some(slot)
    }

    /// The message of a fact, of which its conversation and its sender know from here on.
    fn new_message(&mut self, fact: &MessageFact<'_>, conversation: Slot<Conversation>) -> Message {
        let watermark = self.partition.watermark;
        let kept = self.partition.conversations.get_mut(conversation);
        kept.messages += 1;
        let sender = match kept.group_mut() {
            None => Sender::Side(Side::of(fact.sender, fact.to)),
            Some(group) => {
                let sender = group.members.intern(fact.sender, watermark);
                group.members.refer_to(sender);
                Sender::Member(sender)
            }
        };
        let limits = Limits {
            sent_at: fact.sent_at,
            validity_millis: fact.validity_millis,
            reader_cap: fact.reader_cap,
            status: fact.status,
            quota_day: fact.quota_day,
        };
        Message::new(fact.message, conversation, sender, limits)
    }

    fn add_receipt(&mut self, slot: Slot<Message>, kind: ReceiptKind, reader: UserId<'_>, order: u64) {
        // A message of an id and time that an erasure took away may come again: what was said of it before is gone.
        if self.message_orders.get(&slot).is_some_and(|message_order| order < *message_order) {
            return;
        }
        let partition = &mut self.partition;
        let conversation = partition.messages.get(slot).conversation;
        match (partition.conversations.get_mut(conversation).group_mut(), kind) {
            (Some(group), _) => {
                let reader = group.members.intern(reader, partition.watermark);
                if partition.messages.change_readers(slot, |readers| readers.insert(reader)) {
                    group.members.refer_to(reader);
                }
            }
            (None, ReceiptKind::Delivered) => partition.messages.get_mut(slot).peer.is_delivered = true,
            (None, ReceiptKind::Read) => partition.messages.get_mut(slot).peer.is_read = true,
        }
    }

    fn add_recall(&mut self, slot: Slot<Message>, order: Order) {
        if self.message_orders.get(&slot).is_some_and(|message_order| order.0 < *message_order) {
            return;
        }
        self.partition.messages.get_mut(slot).is_recalled = true;
        let first = self.recall_orders.entry(slot).or_insert(order);
        *first = order.min(*first);
    }

    /// A group's mark reads nothing; of one that has left the state nobody can tell.
    fn place_group_mark(&mut self, fact: &MarkFact<'_>) {
        let watermark = self.partition.watermark;
        if !is_mark_in_state(fact.at, watermark) {
            return;
        }
        let app = self.partition.apps.intern(fact.app.as_str());
        let conversation = self.partition.conversations.intern(fact.conversation, app, Chat::Group);
        if let Some(group) = self.partition.conversations.get_mut(conversation).group_mut() {
            let reader = group.members.intern(fact.reader, watermark);
            group.members.move_mark(reader, fact.at);
        }
    }

    /// Takes a mark that is in the state, or may have read a message that is.
    fn place_single_mark(
        &mut self,
        key: ConversationKey<'_>,
        app: &str,
        reader: UserId<'_>,
        order: u64,
        at: EventTime,
    ) {
        let known = self.partition.conversations.find(key);
        let may_have_read =
            known.and_then(|known| self.oldest_messages.get(&known)).is_some_and(|oldest| *oldest <= at);
        if !may_have_read && !is_mark_in_state(at, self.partition.watermark) {
            return;
        }
        let app = self.partition.apps.intern(app);
        let conversation = known.unwrap_or_else(|| self.partition.conversations.insert(key, app, Chat::Single));
        let Some(single) = self.partition.conversations.get_mut(conversation).single_mut() else { return };
        let side = if Side::First.user(key) == reader { Side::First } else { Side::Second };
        single.move_mark(side, at);
        if may_have_read {
            self.single_marks.entry((conversation, side)).or_default().push((order, at));
        }
    }

    /// Finds out of every single message whether a mark has read it, and if not, whether one may still.
    fn note_unread(&mut self) {
        let partition = &mut self.partition;
        for (&slot, &order) in &self.message_orders {
            let message = partition.messages.get_mut(slot);
            let conversation = message.conversation;
            let Sender::Side(sender) = message.sender else { continue };
            let kept = partition.conversations.get_mut(conversation);
            let is_to_oneself = Side::First.user(kept.key()) == Side::Second.user(kept.key());
            if message.peer.is_read || is_to_oneself {
                continue;
            }
            let reader = sender.other();
            let recalled_at = self.recall_orders.get(&slot).map(|(order, _)| *order);
            let marks = self.single_marks.get(&(conversation, reader)).map_or(&[][..], Vec::as_slice);
            message.peer.is_read_by_mark = is_read_by_mark(message, order, recalled_at, marks);
            if let (true, Some(single)) = (message.is_unread_by_peer(), kept.single_mut()) {
                single.note_unread(reader, message.sent_at, slot);
            }
        }
    }
}

/// Whether one of a reader's marks, which ascend in log order, has read a message that he has not read himself. A read
/// receipt of his own would have been a duplicate after the mark, and a mark passes over what was read before it.
fn is_read_by_mark(message: &Message, order: u64, recalled_at: Option<u64>, marks: &[PlacedMark]) -> bool {
    let covers = |mark: EventTime| mark >= message.sent_at && message.is_valid_at(mark);
    let (before, after) = marks.split_at(marks.partition_point(|(mark_order, _)| *mark_order < order));
    // When it came, it met the largest mark so far, before a recall that had been waiting for it.
    let is_read_on_arrival = before.last().is_some_and(|(_, mark)| covers(*mark));
    let is_before_recall = |mark_order: u64| recalled_at.is_none_or(|recalled_at| mark_order < recalled_at);
    is_read_on_arrival || after.iter().any(|(mark_order, mark)| is_before_recall(*mark_order) && covers(*mark))
}

/// Notes a row's place in the log; returns whether it is the latest so far of its key.
fn is_latest<K: std::hash::Hash + Eq>(latest: &mut Map<K, Order>, key: K, order: Order) -> bool {
    let noted = latest.entry(key).or_insert(order);
    let is_latest = order >= *noted;
    *noted = order.max(*noted);
    is_latest
}

fn name_of(conversation: ConversationKey<'_>, message: MessageId<'_>, sent_at: EventTime) -> MessageName {
    (conversation.as_str().into(), message.as_str().into(), sent_at)
}
