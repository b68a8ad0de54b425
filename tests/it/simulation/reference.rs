//! One uninterrupted fold of the log, cut after every record: what every run must come to.

use std::collections::{BTreeMap, BTreeSet};

use bumpalo::Bump;
use seenby::event::{Offset, PartitionId, RecordTime, decode_record};
use seenby::fold::fact::{
    CountsFact, LedgerFact, MarkFact, MessageFact, NotificationFact, ParkedFact, PolicyFact, RecallFact, ReceiptFact,
    RejectionFact, RosterFact, SettlementFact, Sink,
};
use seenby::fold::{Partition, PartitionIdentity};
use seenby::log::Outbox;
use seenby::store::{PartitionRows, RowBatch, Table};

use super::clickhouse::{Row, decode};
use super::topic::{Entry, Topic};
use super::transactions::Outputs;
use super::world::{PARTITIONS, partitions, topic};

/// A place in the log of a partition.
pub type Place = (PartitionId, Offset);

pub struct Reference {
    rows: RowBatch,
    pub outputs: Outputs,
    /// Digests of the states as of the places asked for.
    pub digests: BTreeMap<Place, [u64; 2]>,
    pub records: u64,
}

impl Reference {
    pub fn fold(log: &Topic, wanted: &BTreeSet<Place>) -> Self {
        let mut reference =
            Self { rows: RowBatch::new(topic()), outputs: Outputs::default(), digests: BTreeMap::new(), records: 0 };
        partitions().for_each(|partition| reference.fold_partition(partition, log, wanted));
        reference
    }

    pub fn rows(&self, table: Table) -> Vec<Row> {
        decode(table, self.rows.table(table).bytes())
    }

    fn fold_partition(&mut self, partition: PartitionId, log: &Topic, wanted: &BTreeSet<Place>) {
        let mut state = Partition::new(PartitionIdentity { epoch: topic().epoch, partition, partitions: PARTITIONS });
        let mut arena = Bump::new();
        self.note_digest(partition, &state, wanted);
        for (offset, entry) in (0..).map(Offset::new).zip(log.entries(partition)) {
            let mut outbox = Outbox::default();
            let mut sink = ReferenceSink { rows: self.rows.partition(partition), outbox: &mut outbox };
            if let Entry::Record(timed) = entry {
                let record = seenby::event::Record {
                    offset,
                    time: RecordTime::from_millis(timed.time),
                    key: timed.record.key.as_deref(),
                    value: &timed.record.value,
                    input: decode_record(
                        &timed.record.value,
                        timed.record.control.as_deref().map(str::as_bytes),
                        &arena,
                    ),
                };
                state.apply(&record, &mut sink);
                self.records += 1;
            }
            state.end_flush(offset.next(), &mut sink);
            outbox.finish();
            self.outputs.add(&outbox);
            self.note_digest(partition, &state, wanted);
            arena.reset();
        }
    }

    fn note_digest(&mut self, partition: PartitionId, state: &Partition, wanted: &BTreeSet<Place>) {
        let place = (partition, state.next_offset());
        if wanted.contains(&place) {
            self.digests.insert(place, state.digest());
        }
    }
}

struct ReferenceSink<'a> {
    rows: PartitionRows<'a>,
    outbox: &'a mut Outbox,
}

impl Sink for ReferenceSink<'_> {
    fn message(&mut self, fact: &MessageFact<'_>) {
        self.rows.message(fact);
    }

    fn receipt(&mut self, fact: &ReceiptFact<'_>) {
        self.rows.receipt(fact);
    }

    fn recall(&mut self, fact: &RecallFact<'_>) {
        self.rows.recall(fact);
    }

    fn roster(&mut self, fact: &RosterFact<'_>) {
        self.rows.roster(fact);
    }

    fn mark(&mut self, fact: &MarkFact<'_>) {
        self.rows.mark(fact);
    }

    fn parked(&mut self, fact: &ParkedFact<'_>) {
        self.rows.parked(fact);
    }

    fn settlement(&mut self, fact: &SettlementFact<'_>) {
        self.rows.settlement(fact);
    }

    fn policy(&mut self, fact: &PolicyFact<'_>) {
        self.rows.policy(fact);
    }

    fn rejection(&mut self, fact: &RejectionFact<'_>) {
        self.outbox.rejection(&topic().topic, topic().epoch, fact);
        self.rows.rejection(fact);
    }

    fn notification(&mut self, fact: &NotificationFact<'_>) {
        self.outbox.notification(fact);
    }

    fn counts(&mut self, fact: &CountsFact<'_>) {
        self.rows.counts(fact);
    }

    fn ledger(&mut self, fact: &LedgerFact<'_>) {
        self.rows.ledger(fact);
    }
}
