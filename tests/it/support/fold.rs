//! A partition under test, and everything it gave out.

#![allow(dead_code)] // a vocabulary: not every word is in use at any time

use std::collections::{BTreeMap, BTreeSet};

use bumpalo::Bump;
use seenby::event::{
    AckId, AppId, Body, ConversationKey, Epoch, Event, EventTime, MessageId, Offset, PartitionId, RecordTime, UserId,
};
use seenby::fold::fact::{
    ControlFact, CountsFact, LedgerFact, MarkFact, Measure, MessageFact, NotificationFact, ParkedFact, PolicyFact,
    Position, RecallFact, ReceiptFact, RejectionFact, RosterFact, SettlementFact, Sink,
};
use seenby::fold::{Outcome, Partition, PartitionIdentity, Restore, is_mark_needed, is_message_needed};

use super::events::{DAY, EventBuilder, NOON, OwnedRecord};

/// The only partition of its topic, in the first generation.
pub const ONLY_PARTITION: PartitionIdentity =
    PartitionIdentity { epoch: Epoch::new(1), partition: PartitionId::new(0), partitions: 1 };

/// Anything that a partition gave out, kept in an arena.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fact<'a> {
    Message(MessageFact<'a>),
    Receipt(ReceiptFact<'a>),
    Recall(RecallFact<'a>),
    Roster(RosterFact<'a>),
    Mark(MarkFact<'a>),
    Parked(ParkedFact<'a>),
    Settlement(SettlementFact<'a>),
    Policy(PolicyFact<'a>),
    Rejection(RejectionFact<'a>),
    Notification(NotificationFact<'a>),
    Counts(CountsFact<'a>),
    Ledger(LedgerFact<'a>),
}

impl Fact<'_> {
    /// Where it comes from; totals have no position.
    pub fn position(&self) -> Option<Position> {
        match self {
            Self::Message(fact) => Some(fact.position),
            Self::Receipt(fact) => Some(fact.position),
            Self::Recall(fact) => Some(fact.position),
            Self::Roster(fact) => Some(fact.position),
            Self::Mark(fact) => Some(fact.position),
            Self::Parked(fact) => Some(fact.position),
            Self::Settlement(fact) => Some(fact.position),
            Self::Policy(fact) => Some(fact.position),
            Self::Rejection(fact) => Some(fact.position),
            Self::Notification(fact) => Some(fact.position),
            Self::Counts(_) | Self::Ledger(_) => None,
        }
    }
}

/// What is left of facts when of each total only the last one counts.
#[derive(Debug, Default, PartialEq)]
pub struct FinalRows<'a> {
    /// All but the totals, as they came.
    facts: Vec<Fact<'a>>,
    /// Distinct, retained and delivered, and as of which offset, by message.
    counts: BTreeMap<Life<'a>, (u32, u32, u32, Offset)>,
    /// Totals and their delay histograms, by cell.
    totals: BTreeMap<Cell<'a>, Total<'a>>,
}

/// Conversation, message, time of sending and sender.
type Life<'a> = (ConversationKey<'a>, MessageId<'a>, EventTime, UserId<'a>);

/// A total and its delay histogram.
type Total<'a> = (u64, &'a [(u16, u64)]);

/// App, type, measure, outcome and hour.
type Cell<'a> = (&'a str, &'a str, Measure, &'a str, RecordTime);

/// Keeps copies of all facts, in the order given.
#[derive(Debug)]
pub struct Recorder<'a> {
    arena: &'a Bump,
    pub facts: Vec<Fact<'a>>,
}

impl<'a> Recorder<'a> {
    pub fn new(arena: &'a Bump) -> Self {
        Self { arena, facts: Vec::new() }
    }

    fn text(&self, text: &str) -> &'a str {
        self.arena.alloc_str(text)
    }

    fn app(&self, app: AppId<'_>) -> AppId<'a> {
        AppId::trusted(self.text(app.as_str()))
    }

    fn key(&self, key: ConversationKey<'_>) -> ConversationKey<'a> {
        ConversationKey::trusted(self.text(key.as_str()))
    }

    fn user(&self, user: UserId<'_>) -> UserId<'a> {
        UserId::trusted(self.text(user.as_str()))
    }

    fn message_id(&self, message: MessageId<'_>) -> MessageId<'a> {
        MessageId::trusted(self.text(message.as_str()))
    }

    fn ack(&self, ack: AckId<'_>) -> AckId<'a> {
        AckId::trusted(self.text(ack.as_str()))
    }

    fn event(&self, event: &Event<'_>) -> Event<'a> {
        let body = match event.body {
            Body::Message { asks_receipts, role } => Body::Message { asks_receipts, role },
            Body::Delivered { message } => Body::Delivered { message: self.message_id(message) },
            Body::Read { message, content } => {
                Body::Read { message: self.message_id(message), content: content.map(|content| self.text(content)) }
            }
            Body::ConversationRead => Body::ConversationRead,
            Body::Recall { message } => Body::Recall { message: self.message_id(message) },
            Body::Member { user, change } => Body::Member { user: self.user(user), change },
            Body::Roster { members } => Body::Roster {
                members: self.arena.alloc_slice_fill_iter(members.iter().map(|(user, role)| (self.user(*user), *role))),
            },
            Body::GroupDestroyed => Body::GroupDestroyed,
            Body::Unsupported { known_type } => Body::Unsupported { known_type },
        };
        Event {
            app: self.app(event.app),
            chat: event.chat,
            id: self.ack(event.id),
            from: self.user(event.from),
            to: self.text(event.to),
            at: event.at,
            body,
        }
    }
}

impl Sink for Recorder<'_> {
    fn message(&mut self, fact: &MessageFact<'_>) {
        self.facts.push(Fact::Message(MessageFact {
            app: self.app(fact.app),
            conversation: self.key(fact.conversation),
            message: self.message_id(fact.message),
            sender: self.user(fact.sender),
            to: self.text(fact.to),
            ..*fact
        }));
    }

    fn receipt(&mut self, fact: &ReceiptFact<'_>) {
        self.facts.push(Fact::Receipt(ReceiptFact {
            app: self.app(fact.app),
            conversation: self.key(fact.conversation),
            message: self.message_id(fact.message),
            reader: self.user(fact.reader),
            ack_id: self.ack(fact.ack_id),
            content: fact.content.map(|content| self.text(content)),
            ..*fact
        }));
    }

    fn recall(&mut self, fact: &RecallFact<'_>) {
        self.facts.push(Fact::Recall(RecallFact {
            app: self.app(fact.app),
            conversation: self.key(fact.conversation),
            message: self.message_id(fact.message),
            recalled_by: self.user(fact.recalled_by),
            recall_id: self.ack(fact.recall_id),
            ..*fact
        }));
    }

    fn roster(&mut self, fact: &RosterFact<'_>) {
        self.facts.push(Fact::Roster(RosterFact {
            app: self.app(fact.app),
            conversation: self.key(fact.conversation),
            user: fact.user.map(|user| self.user(user)),
            ..*fact
        }));
    }

    fn mark(&mut self, fact: &MarkFact<'_>) {
        self.facts.push(Fact::Mark(MarkFact {
            app: self.app(fact.app),
            conversation: self.key(fact.conversation),
            reader: self.user(fact.reader),
            ack_id: self.ack(fact.ack_id),
            ..*fact
        }));
    }

    fn parked(&mut self, fact: &ParkedFact<'_>) {
        let conversation = self.key(fact.conversation);
        self.facts.push(Fact::Parked(ParkedFact { event: self.event(&fact.event), conversation, ..*fact }));
    }

    fn settlement(&mut self, fact: &SettlementFact<'_>) {
        let conversation = self.key(fact.conversation);
        self.facts.push(Fact::Settlement(SettlementFact { event: self.event(&fact.event), conversation, ..*fact }));
    }

    fn policy(&mut self, fact: &PolicyFact<'_>) {
        let control = match fact.control {
            ControlFact::Policy(version) => ControlFact::Policy(self.arena.alloc(version.clone())),
            ControlFact::Erase { app, version, user } => {
                ControlFact::Erase { app: self.app(app), version, user: self.user(user) }
            }
        };
        self.facts.push(Fact::Policy(PolicyFact { control, ..*fact }));
    }

    fn rejection(&mut self, fact: &RejectionFact<'_>) {
        let bytes = |bytes: &[u8]| -> &[u8] { self.arena.alloc_slice_copy(bytes) };
        self.facts.push(Fact::Rejection(RejectionFact {
            detail: self.text(fact.detail),
            event: fact.event.map(|event| &*self.arena.alloc(self.event(event))),
            conversation: fact.conversation.map(|key| self.key(key)),
            received: fact.received.map(|(key, value)| (key.map(bytes), bytes(value))),
            ..*fact
        }));
    }

    fn notification(&mut self, fact: &NotificationFact<'_>) {
        self.facts.push(Fact::Notification(NotificationFact {
            app: self.app(fact.app),
            conversation: self.key(fact.conversation),
            told: self.user(fact.told),
            message: fact.message.map(|message| self.message_id(message)),
            reader: self.user(fact.reader),
            ack_id: self.ack(fact.ack_id),
            content: fact.content.map(|content| self.text(content)),
            ..*fact
        }));
    }

    fn counts(&mut self, fact: &CountsFact<'_>) {
        self.facts.push(Fact::Counts(CountsFact {
            app: self.app(fact.app),
            conversation: self.key(fact.conversation),
            message: self.message_id(fact.message),
            sender: self.user(fact.sender),
            ..*fact
        }));
    }

    fn ledger(&mut self, fact: &LedgerFact<'_>) {
        self.facts.push(Fact::Ledger(LedgerFact {
            app: self.text(fact.app),
            event_type: self.text(fact.event_type),
            outcome: self.text(fact.outcome),
            buckets: self.arena.alloc_slice_copy(fact.buckets),
            ..*fact
        }));
    }
}

/// What may be handed to [`Fold::take`].
pub trait AsRecord {
    fn as_record(&self) -> OwnedRecord;
}

impl AsRecord for EventBuilder {
    fn as_record(&self) -> OwnedRecord {
        self.record()
    }
}

impl AsRecord for OwnedRecord {
    fn as_record(&self) -> OwnedRecord {
        self.clone()
    }
}

/// A partition that takes records at ascending offsets, with all it gave out.
#[derive(Debug)]
pub struct Fold<'a> {
    pub partition: Partition,
    pub recorder: Recorder<'a>,
    /// The broker's time of the next record, in ms: a year after [`NOON`], so that nothing is skewed by accident.
    pub clock: i64,
}

impl<'a> Fold<'a> {
    pub fn new(arena: &'a Bump) -> Self {
        Self::of(Partition::new(ONLY_PARTITION), arena)
    }

    pub fn of(partition: Partition, arena: &'a Bump) -> Self {
        Self { partition, recorder: Recorder::new(arena), clock: NOON + 365 * DAY }
    }

    /// Takes a record at the next offset.
    pub fn take(&mut self, record: &(impl AsRecord + ?Sized)) -> Outcome {
        let record = record.as_record();
        let arena = Bump::new();
        let offset = self.partition.next_offset().get();
        self.partition.apply(&record.at_offset(offset, self.clock, &arena), &mut self.recorder)
    }

    /// Takes records, each at the next offset.
    pub fn take_all(&mut self, records: &[&dyn AsRecord]) -> Vec<Outcome> {
        records.iter().map(|record| self.take(*record)).collect()
    }

    /// Takes a record and returns what it gave out.
    pub fn facts_of(&mut self, record: &(impl AsRecord + ?Sized)) -> Vec<Fact<'a>> {
        let before = self.recorder.facts.len();
        self.take(record);
        self.recorder.facts[before..].to_vec()
    }

    /// Ends a batch and returns what it gave out.
    pub fn flush(&mut self) -> Vec<Fact<'a>> {
        let before = self.recorder.facts.len();
        self.partition.end_flush(self.partition.next_offset(), &mut self.recorder);
        self.recorder.facts[before..].to_vec()
    }

    /// What became of the records that had waited and were settled so far: own offset and outcome, as they came.
    pub fn settled(&self) -> Vec<(u64, Outcome)> {
        let settlement = |fact: &Fact<'_>| match fact {
            Fact::Settlement(fact) => Some((fact.position.own_offset.get(), fact.outcome)),
            _ => None,
        };
        self.recorder.facts.iter().filter_map(settlement).collect()
    }

    /// The counts of a message as they stand now: distinct, retained, delivered. Ends the batch.
    pub fn counts(&mut self, message: &str) -> Option<(u32, u32, u32)> {
        self.flush();
        let counts = |fact: &Fact<'_>| match fact {
            Fact::Counts(fact) if fact.message.as_str() == message => {
                Some((fact.distinct, fact.retained, fact.delivered))
            }
            _ => None,
        };
        self.recorder.facts.iter().rev().find_map(counts)
    }

    /// The rows that a store ends up with.
    pub fn final_rows(&self) -> FinalRows<'a> {
        let mut rows = FinalRows::default();
        for fact in &self.recorder.facts {
            match fact {
                Fact::Counts(fact) => {
                    let message = (fact.conversation, fact.message, fact.sent_at, fact.sender);
                    rows.counts.insert(message, (fact.distinct, fact.retained, fact.delivered, fact.offset));
                }
                Fact::Ledger(fact) => {
                    rows.totals.insert(cell_of(fact), (fact.total, fact.buckets));
                }
                other => rows.facts.push(*other),
            }
        }
        rows
    }

    /// The receipts counted so far: message, reader and own offset.
    pub fn receipts(&self) -> Vec<(&'a str, &'a str, u64)> {
        let receipt = |fact: &Fact<'a>| match fact {
            Fact::Receipt(fact) => Some((fact.message.as_str(), fact.reader.as_str(), fact.position.own_offset.get())),
            _ => None,
        };
        self.recorder.facts.iter().filter_map(receipt).collect()
    }
}

fn cell_of<'a>(fact: &LedgerFact<'a>) -> Cell<'a> {
    (fact.app, fact.event_type, fact.measure, fact.outcome, fact.hour)
}

/// The state as of `committed`, restored from the facts before it in the order that `shuffle` leaves them in, the way
/// the store does: of what is still needed, waits without settlement, and the last total of each ledger cell.
pub fn restored<'a>(facts: &[Fact<'a>], committed: Offset, shuffle: impl FnOnce(&mut Vec<Fact<'a>>)) -> Partition {
    let is_before = |fact: &Fact<'_>| match fact {
        Fact::Ledger(fact) => fact.next_offset <= committed,
        Fact::Counts(_) => false,
        other => other.position().is_some_and(|position| position.offset < committed),
    };
    let mut facts: Vec<Fact<'a>> = facts.iter().copied().filter(is_before).collect();
    let watermark = facts.iter().rev().find_map(|fact| match fact {
        Fact::Ledger(fact) if fact.measure == Measure::Watermark => Some(fact.total as i64),
        _ => None,
    });
    let watermark = EventTime::from_millis(watermark.unwrap_or(0));
    let settled: BTreeSet<u64> = facts
        .iter()
        .filter_map(|fact| match fact {
            Fact::Settlement(fact) => Some(fact.position.own_offset.get()),
            _ => None,
        })
        .collect();
    let mut last_of_cell = BTreeMap::new();
    for fact in &facts {
        if let Fact::Ledger(cell) = fact {
            last_of_cell.insert(cell_of(cell), cell.next_offset);
        }
    }
    facts.retain(|fact| match fact {
        Fact::Message(fact) => is_message_needed(fact.sent_at, fact.validity_millis, fact.quota_day, watermark),
        Fact::Mark(fact) => is_mark_needed(fact.at, watermark),
        Fact::Parked(fact) => !settled.contains(&fact.position.own_offset.get()),
        Fact::Ledger(fact) => last_of_cell.get(&cell_of(fact)) == Some(&fact.next_offset),
        _ => true,
    });
    shuffle(&mut facts);

    restored_from(&facts, Restore::new(ONLY_PARTITION, committed, watermark))
}

/// The state after all facts of [`ONLY_PARTITION`] went into `restore`.
pub fn restored_from(facts: &[Fact<'_>], mut restore: Restore) -> Partition {
    let epoch = ONLY_PARTITION.epoch;
    let (control, others): (Vec<&Fact<'_>>, Vec<&Fact<'_>>) =
        facts.iter().partition(|fact| matches!(fact, Fact::Policy(_)));
    for fact in control.into_iter().chain(others) {
        match fact {
            Fact::Message(fact) => restore.message(epoch, fact),
            Fact::Receipt(fact) => restore.receipt(epoch, fact),
            Fact::Recall(fact) => restore.recall(epoch, fact),
            Fact::Roster(fact) => restore.roster(epoch, fact),
            Fact::Mark(fact) => restore.mark(epoch, fact),
            Fact::Parked(fact) => restore.parked(epoch, fact),
            Fact::Policy(fact) => restore.policy(epoch, fact),
            Fact::Ledger(fact) => restore.ledger(fact),
            Fact::Settlement(_) | Fact::Rejection(_) | Fact::Notification(_) | Fact::Counts(_) => {}
        }
    }
    restore.finish()
}
