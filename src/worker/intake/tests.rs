#![allow(clippy::unwrap_used)]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crossbeam_channel::{bounded, unbounded};
use prometheus::Registry;

use super::*;
use crate::event::Epoch;
use crate::fold::PartitionIdentity;
use crate::log::{
    CommitError, CommitMetadata, CommittedPosition, Committer, ConsumedRecord, Group, PartitionEffects, SourceError,
};
use crate::store::{HydratedPartition, HydrationRequest, LedgerFrontier, RowBatch, Store, StoreError};
use crate::worker::{Effects, ReadyPartition};

const KEPT: PartitionId = PartitionId::new(0);
const GIVEN_UP: PartitionId = PartitionId::new(1);

/// A log that never ends: every poll brings one more record of each partition.
#[derive(Clone, Default)]
struct SteadySource {
    shared: Rc<RefCell<Steady>>,
}

#[derive(Default)]
struct Steady {
    notes: VecDeque<RebalanceNote>,
    next: BTreeMap<PartitionId, Offset>,
}

impl SteadySource {
    fn note(&self, number: u64, change: AssignmentChange, partitions: &[PartitionId]) {
        self.shared.borrow_mut().notes.push_back(RebalanceNote { number, change, partitions: partitions.to_vec() });
    }

    fn assigned(&self) -> Vec<PartitionId> {
        self.shared.borrow().next.keys().copied().collect()
    }
}

#[derive(Clone)]
struct NoGroup;

impl Group for NoGroup {
    fn committed(&self, partitions: &[PartitionId]) -> Result<Vec<Option<CommittedPosition>>, SourceError> {
        Ok(vec![None; partitions.len()])
    }

    fn log_range(&self, _: PartitionId) -> Result<(Offset, Offset), SourceError> {
        Ok((Offset::default(), Offset::default()))
    }

    fn commit(&self, _: &[(PartitionId, Offset, CommitMetadata)]) -> Result<(), SourceError> {
        Ok(())
    }
}

impl Source for SteadySource {
    type Group = NoGroup;

    fn group(&self) -> NoGroup {
        NoGroup
    }

    fn poll(&mut self, _: Duration, batch: &mut RecordBatch) -> Result<(), SourceError> {
        batch.clear();
        let mut shared = self.shared.borrow_mut();
        for (partition, next) in &mut shared.next {
            let (partition, offset) = (*partition, *next);
            let time = RecordTime::from_millis(1);
            batch.push(&ConsumedRecord { partition, offset, time, key: None, value: b"{}", control_header: None });
            *next = next.next();
        }
        Ok(())
    }

    fn take_note(&mut self) -> Option<RebalanceNote> {
        self.shared.borrow_mut().notes.pop_front()
    }

    fn assign(&mut self, starts: &[(PartitionId, Offset)]) -> Result<(), SourceError> {
        self.shared.borrow_mut().next.extend(starts.iter().copied());
        Ok(())
    }

    fn unassign(&mut self, partitions: &[PartitionId]) -> Result<(), SourceError> {
        self.shared.borrow_mut().next.retain(|partition, _| !partitions.contains(partition));
        Ok(())
    }

    fn pause(&mut self, _: &[PartitionId]) -> Result<(), SourceError> {
        Ok(())
    }

    fn resume(&mut self, _: &[PartitionId]) -> Result<(), SourceError> {
        Ok(())
    }

    fn end_offset(&self, _: PartitionId) -> Option<Offset> {
        None
    }

    fn passed_offset(&self, _: PartitionId) -> Option<Offset> {
        None
    }

    fn close(self, _: bool) {}
}

/// Time that stands still: nothing happens because a time-out ended.
#[derive(Clone)]
struct FrozenClock;

impl Clock for FrozenClock {
    fn now(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn unix_millis(&self) -> i64 {
        0
    }

    fn sleep(&self, _: Duration) {}
}

/// An intake, and the far ends of its queues, which the test serves by hand.
struct Bench {
    intake: Intake<SteadySource, FrozenClock>,
    source: SteadySource,
    flushes: Receiver<Flush>,
    flush_answers: Sender<FlushAnswer>,
    hydrations: Receiver<HydrationJob>,
    hydration_answers: Sender<HydrationAnswer>,
    topic: TopicIdentity,
    metrics: WorkerMetrics,
}

impl Bench {
    fn new() -> Self {
        let topic = TopicIdentity { topic: "events".to_owned(), epoch: Epoch::new(0), partitions: 2 };
        let metrics = WorkerMetrics::register(&Registry::new()).unwrap();
        let (flush_sender, flushes) = bounded(1);
        let (flush_answers, flush_answer_receiver) = unbounded();
        let (hydration_sender, hydrations) = unbounded();
        let (hydration_answers, hydration_answer_receiver) = unbounded();
        let queues = IntakeQueues {
            flushes: flush_sender,
            flush_answers: flush_answer_receiver,
            hydrations: hydration_sender,
            hydration_answers: hydration_answer_receiver,
        };
        let limits = IntakeLimits {
            flush_interval: Duration::from_secs(3600),
            flush_records: 1_000_000,
            flush_bytes: usize::MAX,
            memory_bytes: usize::MAX,
            stall_wait: Duration::ZERO,
            revoke_timeout: Duration::from_secs(15),
        };
        let source = SteadySource::default();
        let intake = Intake::new(
            source.clone(),
            FrozenClock,
            limits,
            queues,
            Ownership::default(),
            topic.clone(),
            metrics.clone(),
            "0".to_owned(),
        );
        Self { intake, source, flushes, flush_answers, hydrations, hydration_answers, topic, metrics }
    }

    /// Gives it both partitions and lets it read.
    fn with_both() -> Self {
        let mut bench = Self::new();
        bench.source.note(1, AssignmentChange::Assigned, &[KEPT, GIVEN_UP]);
        bench.intake.step().unwrap();
        let job = bench.hydrations.try_recv().unwrap();
        bench.hydrated(&job);
        bench.intake.step().unwrap();
        assert_eq!(bench.source.assigned(), [KEPT, GIVEN_UP]);
        bench
    }

    fn hydrated(&self, job: &HydrationJob) {
        let ready = job.partitions.iter().map(|partition| ReadyPartition {
            partition: *partition,
            state: Partition::new(PartitionIdentity {
                partition: *partition,
                epoch: self.topic.epoch,
                partitions: self.topic.partitions,
            }),
            next_offset: Offset::default(),
        });
        let result = Ok(ready.collect());
        self.hydration_answers.send(HydrationAnswer { rebalance: job.rebalance, result }).unwrap();
    }

    fn answer(&self, flush: &Flush) {
        self.flush_answers.send(FlushAnswer { result: Ok(()), bytes: flush.bytes() }).unwrap();
    }
}

#[test]
fn what_is_revoked_goes_with_its_own_last_flush_while_the_rest_is_read_on() {
    let mut bench = Bench::with_both();
    bench.intake.step().unwrap();
    bench.source.note(2, AssignmentChange::Revoked, &[GIVEN_UP]);
    bench.intake.step().unwrap();
    let last = bench.flushes.try_recv().unwrap();
    assert!(last.effects.iter().any(|effects| effects.partition == GIVEN_UP));
    bench.intake.step().unwrap();
    assert_eq!(bench.source.assigned(), [KEPT, GIVEN_UP], "its last flush is not written yet");

    bench.answer(&last);
    bench.intake.step().unwrap();
    assert_eq!(bench.source.assigned(), [KEPT]);
    assert_eq!(bench.metrics.partitions.get(), 1);
    assert!(bench.flushes.is_empty(), "what stays is flushed when it is due, not at every step");
    assert!(!bench.intake.is_drained(), "the partition that stays was read all the time");
}

#[test]
fn a_revocation_waits_for_the_flush_behind_a_busy_one() {
    let mut bench = Bench::with_both();
    bench.intake.step().unwrap();
    bench.source.note(2, AssignmentChange::Revoked, &[GIVEN_UP]);
    bench.intake.step().unwrap();
    // The first one is still being written when the other partition is revoked too.
    let first = bench.flushes.try_recv().unwrap();
    bench.source.note(3, AssignmentChange::Revoked, &[KEPT]);
    bench.intake.step().unwrap();
    bench.answer(&first);
    bench.intake.step().unwrap();
    assert_eq!(bench.source.assigned(), [KEPT, GIVEN_UP], "the second one's records are not written yet");
    let second = bench.flushes.try_recv().unwrap();
    bench.answer(&second);
    bench.intake.step().unwrap();
    assert_eq!(bench.source.assigned(), []);
    assert!(bench.intake.is_drained());
}

#[test]
fn a_failure_to_read_back_what_went_elsewhere_meanwhile_ends_nothing() {
    let mut bench = Bench::new();
    bench.source.note(1, AssignmentChange::Assigned, &[GIVEN_UP]);
    bench.intake.step().unwrap();
    bench.source.note(2, AssignmentChange::Lost, &[GIVEN_UP]);
    bench.intake.step().unwrap();
    let result = Err(WorkerError::Setup { doing: "reading back", reason: "somebody else was faster".to_owned() });
    bench.hydration_answers.send(HydrationAnswer { rebalance: 1, result }).unwrap();
    bench.intake.step().unwrap();
    assert_eq!(bench.source.assigned(), []);
}

#[test]
fn a_member_that_lost_everything_is_ready_when_it_is_assigned_again() {
    let mut bench = Bench::with_both();
    assert!(bench.intake.is_assigned());
    bench.source.note(2, AssignmentChange::Lost, &[KEPT, GIVEN_UP]);
    bench.intake.step().unwrap();
    assert!(!bench.intake.is_assigned());
    bench.source.note(3, AssignmentChange::Assigned, &[]);
    bench.intake.step().unwrap();
    assert!(bench.intake.is_assigned());
}

#[test]
fn a_pipeline_that_ends_leaves_no_gauge_behind() {
    let bench = Bench::with_both();
    assert_eq!(bench.metrics.partitions.get(), 2);
    bench.metrics.intake_paused.with_label_values(&["0"]).set(1);
    bench.intake.into_source();
    assert_eq!(bench.metrics.partitions.get(), 0);
    assert_eq!(bench.metrics.intake_paused.with_label_values(&["0"]).get(), 0);
}

/// Keeps nothing and counts how often it was asked to.
struct CountingStore(Arc<AtomicU32>);

impl Store for CountingStore {
    fn write(&mut self, _: &RowBatch) -> Result<(), StoreError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn frontiers(&mut self, _: &TopicIdentity) -> Result<Vec<LedgerFrontier>, StoreError> {
        Ok(Vec::new())
    }

    fn hydrate(&mut self, _: &TopicIdentity, _: &[HydrationRequest]) -> Result<Vec<HydratedPartition>, StoreError> {
        Ok(Vec::new())
    }
}

struct WillingCommitter;

impl Committer for WillingCommitter {
    fn commit(
        &mut self,
        effects: &[PartitionEffects],
        is_owned: &dyn Fn(PartitionId) -> bool,
    ) -> Result<(), CommitError> {
        for effects in effects {
            is_owned(effects.partition);
        }
        Ok(())
    }
}

#[test]
fn what_went_to_another_owner_is_neither_counted_nor_written() {
    let mut bench = Bench::with_both();
    bench.intake.begin_stop();
    bench.intake.step().unwrap();
    let flush = bench.flushes.try_recv().unwrap();
    assert_eq!(flush.effects.len(), 2);
    let writes = Arc::new(AtomicU32::new(0));
    let ownership = Ownership::default();
    let mut effects = Effects::new(
        CountingStore(Arc::clone(&writes)),
        WillingCommitter,
        FrozenClock,
        ownership.clone(),
        bench.metrics.clone(),
        "0".to_owned(),
        Duration::from_secs(1),
    );
    let published = || -> u64 {
        let counted = bench.metrics.records.with_label_values(&["", "malformed"]);
        counted.get()
    };

    effects.write(&flush).result.unwrap();
    assert_eq!((writes.load(Ordering::Relaxed), published()), (0, 0));

    // One of the two is still owned; the other came back by a later rebalance and is folded again.
    ownership.take(KEPT, 1);
    ownership.take(GIVEN_UP, 2);
    effects.write(&flush).result.unwrap();
    assert_eq!((writes.load(Ordering::Relaxed), published()), (1, flush.records / 2));
}
