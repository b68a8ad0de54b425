//! A flush: what the fold said since the last one, on its way to ClickHouse and Kafka.

use std::collections::BTreeMap;
use std::time::Duration;

use prometheus::local::LocalHistogram;

use super::metrics::{OutcomeTally, WorkerMetrics};
use crate::event::{Offset, PartitionId, Record};
use crate::fold::Partition;
use crate::fold::fact::{
    CountsFact, LedgerFact, MarkFact, MessageFact, NotificationFact, ParkedFact, PolicyFact, RecallFact, ReceiptFact,
    ReceiptKind, RejectionFact, RosterFact, SettlementFact, Sink,
};
use crate::log::{Outbox, PartitionEffects};
use crate::store::{PartitionRows, RowBatch, TopicIdentity};

/// Everything that one flush writes.
pub struct Flush {
    /// Rows of all its partitions; facts, whoever owns the partition when they are written.
    pub rows: RowBatch,
    /// Kafka's part, per partition: what is no longer owned is left out.
    pub effects: Vec<PartitionEffects>,
    /// The rebalance since which each partition of `effects` is owned, in the same order.
    pub rebalances: Vec<(PartitionId, u64)>,
    /// Records in it.
    pub records: u64,
    /// When it was begun, by the worker's clock.
    pub begun: Duration,
    /// What is published of each partition of `effects` once it is committed, in the same order.
    pub tallies: Vec<Tallies>,
}

impl Flush {
    /// Bytes of rows and records it holds.
    pub fn bytes(&self) -> usize {
        self.rows.bytes() + self.effects.iter().map(|effects| effects.outbox.bytes()).sum::<usize>()
    }
}

/// What Prometheus gets once a partition's part of the flush is committed.
pub struct Tallies {
    records: OutcomeTally,
    settled: OutcomeTally,
    send_to_read_seconds: LocalHistogram,
}

impl Tallies {
    fn new(metrics: &WorkerMetrics) -> Self {
        Self {
            records: OutcomeTally::default(),
            settled: OutcomeTally::default(),
            send_to_read_seconds: metrics.send_to_read_seconds.local(),
        }
    }

    /// Adds them up in the process's metrics.
    pub fn publish(&self, metrics: &WorkerMetrics) {
        self.records.publish(&metrics.records);
        self.settled.publish(&metrics.settled);
        self.send_to_read_seconds.flush();
    }

    /// Forgets them: the flush was not committed, and the log will say it all again.
    pub fn discard(&self) {
        self.send_to_read_seconds.clear();
    }
}

/// A flush in the making.
pub struct FlushBuilder {
    topic: TopicIdentity,
    metrics: WorkerMetrics,
    rows: RowBatch,
    partitions: BTreeMap<PartitionId, BuildingPartition>,
    records: u64,
    begun: Option<Duration>,
}

/// An owned partition where a flush ends.
pub struct FlushedPartition<'a> {
    /// Which.
    pub partition: PartitionId,
    /// Its state.
    pub state: &'a mut Partition,
    /// Where the flush ends: behind the last record folded, and behind the markers of transactions that follow it.
    pub next_offset: Offset,
    /// The rebalance since which it is owned.
    pub rebalance: u64,
}

struct BuildingPartition {
    outbox: Outbox,
    tallies: Tallies,
}

impl FlushBuilder {
    /// An empty one.
    pub fn new(topic: TopicIdentity, metrics: WorkerMetrics) -> Self {
        let rows = RowBatch::new(topic.clone());
        Self { topic, metrics, rows, partitions: BTreeMap::new(), records: 0, begun: None }
    }

    /// Folds one record of a partition into its state and this flush.
    pub fn fold(&mut self, partition: PartitionId, state: &mut Partition, record: &Record<'_>, now: Duration) {
        self.begun.get_or_insert(now);
        self.records += 1;
        let building = Self::building(&mut self.partitions, partition, &self.metrics);
        let mut sink = FlushSink {
            topic: &self.topic,
            rows: self.rows.partition(partition),
            outbox: &mut building.outbox,
            tallies: &mut building.tallies,
        };
        let outcome = state.apply(record, &mut sink);
        building.tallies.records.add(record.input.event_type(), outcome);
    }

    /// Takes a partition in whose reading has come further without a record: behind markers of transactions.
    pub fn pass(&mut self, partition: PartitionId, now: Duration) {
        self.begun.get_or_insert(now);
        Self::building(&mut self.partitions, partition, &self.metrics);
    }

    fn building<'a>(
        partitions: &'a mut BTreeMap<PartitionId, BuildingPartition>,
        partition: PartitionId,
        metrics: &WorkerMetrics,
    ) -> &'a mut BuildingPartition {
        partitions
            .entry(partition)
            .or_insert_with(|| BuildingPartition { outbox: Outbox::default(), tallies: Tallies::new(metrics) })
    }

    /// Whether nothing was folded or passed.
    pub fn is_empty(&self) -> bool {
        self.begun.is_none()
    }

    /// Records in it.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// When its first record was folded, or its first marker passed.
    pub fn begun(&self) -> Option<Duration> {
        self.begun
    }

    /// Bytes of rows and records it holds.
    pub fn bytes(&self) -> usize {
        self.rows.bytes() + self.partitions.values().map(|building| building.outbox.bytes()).sum::<usize>()
    }

    /// Forgets what a partition would tell Kafka; its rows stay, as facts of the log they harm nobody.
    pub fn forget(&mut self, partition: PartitionId) {
        if let Some(forgotten) = self.partitions.remove(&partition) {
            forgotten.tallies.discard();
        }
    }

    /// Ends it: every partition in it gives its counts and totals, and an empty builder is left behind.
    ///
    /// `owned`: every partition that is owned.
    pub fn finish<'a>(&mut self, owned: impl Iterator<Item = FlushedPartition<'a>>, now: Duration) -> Flush {
        let next = Self::new(self.topic.clone(), self.metrics.clone());
        let mut ended = std::mem::replace(self, next);
        let mut effects = Vec::with_capacity(ended.partitions.len());
        let mut rebalances = Vec::with_capacity(ended.partitions.len());
        let mut tallies = Vec::with_capacity(ended.partitions.len());
        for FlushedPartition { partition, state, next_offset, rebalance } in owned {
            let Some(mut building) = ended.partitions.remove(&partition) else { continue };
            let mut sink = FlushSink {
                topic: &ended.topic,
                rows: ended.rows.partition(partition),
                outbox: &mut building.outbox,
                tallies: &mut building.tallies,
            };
            state.end_flush(next_offset, &mut sink);
            building.outbox.finish();
            effects.push(PartitionEffects {
                partition,
                next_offset,
                watermark: state.watermark(),
                outbox: building.outbox,
            });
            rebalances.push((partition, rebalance));
            tallies.push(building.tallies);
        }
        Flush {
            rows: ended.rows,
            effects,
            rebalances,
            records: ended.records,
            begun: ended.begun.unwrap_or(now),
            tallies,
        }
    }
}

/// Hands every fact to where it belongs.
struct FlushSink<'a> {
    topic: &'a TopicIdentity,
    rows: PartitionRows<'a>,
    outbox: &'a mut Outbox,
    tallies: &'a mut Tallies,
}

impl Sink for FlushSink<'_> {
    fn message(&mut self, fact: &MessageFact<'_>) {
        self.rows.message(fact);
    }

    fn receipt(&mut self, fact: &ReceiptFact<'_>) {
        if fact.kind == ReceiptKind::Read {
            let delay_millis = fact.at.since(fact.sent_at).max(0);
            self.tallies.send_to_read_seconds.observe(delay_millis as f64 / 1000.0);
        }
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
        self.tallies.settled.add(fact.event.body.event_type(), fact.outcome);
        self.rows.settlement(fact);
    }

    fn policy(&mut self, fact: &PolicyFact<'_>) {
        self.rows.policy(fact);
    }

    fn rejection(&mut self, fact: &RejectionFact<'_>) {
        self.outbox.rejection(&self.topic.topic, self.topic.epoch, fact);
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
