//! The state of one partition.

use super::Outcome;
use super::fact::{
    LedgerFact, MarkFact, MessageFact, ParkedFact, PolicyFact, RecallFact, ReceiptFact, RosterFact, Sink,
};
use crate::event::{Epoch, EventTime, Offset, PartitionId, Record};
use crate::policy::QuotaDay;

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
#[derive(Debug)]
pub struct Partition {
    identity: PartitionIdentity,
}

impl Partition {
    /// The state before the first record.
    pub fn new(identity: PartitionIdentity) -> Self {
        Self { identity }
    }

    /// Which partition this is.
    pub fn identity(&self) -> PartitionIdentity {
        self.identity
    }

    /// The largest `at` so far.
    pub fn watermark(&self) -> EventTime {
        unimplemented!()
    }

    /// The offset after the last record applied.
    pub fn next_offset(&self) -> Offset {
        unimplemented!()
    }

    /// Bytes that the state holds, without the allocator's own.
    pub fn state_bytes(&self) -> usize {
        unimplemented!()
    }

    /// Takes the next record of the log; offsets ascend, gaps (transaction markers) are normal.
    pub fn apply(&mut self, _record: &Record<'_>, _sink: &mut impl Sink) -> Outcome {
        unimplemented!()
    }

    /// Ends a batch: gives out the counts of every message and the total of every ledger cell that changed in it, and
    /// the watermark's cell, all as of `next_offset`. `next_offset` is at least that of [`Partition::next_offset`]
    /// (markers behind the last record may have been passed).
    pub fn end_flush(&mut self, _next_offset: Offset, _sink: &mut impl Sink) {
        unimplemented!()
    }
}

/// Builds the state as of an offset from the facts before it. The order of the calls does not matter, and a fact given
/// twice counts once.
#[derive(Debug)]
pub struct Restore {
    identity: PartitionIdentity,
}

impl Restore {
    /// Starts for the state as of `committed`, exclusive, with the watermark that the ledger holds for it.
    pub fn new(identity: PartitionIdentity, _committed: Offset, _watermark: EventTime) -> Self {
        Self { identity }
    }

    /// A control record that was applied. `epoch` is the fact's own, here and below: facts of older epochs count too.
    pub fn policy(&mut self, _epoch: Epoch, _fact: &PolicyFact<'_>) {
        unimplemented!()
    }

    /// A roster row.
    pub fn roster(&mut self, _epoch: Epoch, _fact: &RosterFact<'_>) {
        unimplemented!()
    }

    /// A message.
    pub fn message(&mut self, _epoch: Epoch, _fact: &MessageFact<'_>) {
        unimplemented!()
    }

    /// A counted receipt.
    pub fn receipt(&mut self, _epoch: Epoch, _fact: &ReceiptFact<'_>) {
        unimplemented!()
    }

    /// A recall.
    pub fn recall(&mut self, _epoch: Epoch, _fact: &RecallFact<'_>) {
        unimplemented!()
    }

    /// A mark.
    pub fn mark(&mut self, _epoch: Epoch, _fact: &MarkFact<'_>) {
        unimplemented!()
    }

    /// A record that waits and has no settlement before `committed`.
    pub fn parked(&mut self, _epoch: Epoch, _fact: &ParkedFact<'_>) {
        unimplemented!()
    }

    /// A ledger cell's total as of `committed`; of earlier hours than the latest not needed. The current epoch's only.
    pub fn ledger(&mut self, _fact: &LedgerFact<'_>) {
        unimplemented!()
    }

    /// The state.
    pub fn finish(self) -> Partition {
        Partition { identity: self.identity }
    }
}

/// Whether hydration needs a message's row at this watermark: it is still in the state, or its quota day is.
pub fn is_message_needed(
    _sent_at: EventTime,
    _validity_millis: i64,
    _quota_day: Option<QuotaDay>,
    _watermark: EventTime,
) -> bool {
    unimplemented!()
}
