//! The parts of an intake in memory, and an intake whose other ends the test serves by hand.

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crossbeam_channel::{bounded, unbounded};
use prometheus::Registry;

use super::super::*;
use crate::event::Epoch;
use crate::fold::PartitionIdentity;
use crate::log::{
    AssignmentChange, CommitError, CommitMetadata, CommittedPosition, Committer, ConsumedRecord, Group,
    PartitionEffects, RebalanceNote, SourceError,
};
use crate::store::{
    Completeness, HydratedPartition, HydrationProgress, HydrationRequest, LedgerFrontier, RowBatch, Store, StoreError,
};
use crate::worker::{Effects, ReadyPartition};

pub(super) const KEPT: PartitionId = PartitionId::new(0);
pub(super) const GIVEN_UP: PartitionId = PartitionId::new(1);

/// What the clock says when it begins.
pub(super) const UNIX_MILLIS: i64 = 1_800_000_000_000;

/// A log that never ends: every poll brings one more record of each partition.
#[derive(Clone, Default)]
pub(super) struct SteadySource {
    shared: Rc<RefCell<Steady>>,
}

#[derive(Default)]
struct Steady {
    notes: VecDeque<RebalanceNote>,
    next: BTreeMap<PartitionId, Offset>,
    paused: BTreeSet<PartitionId>,
    ends: BTreeMap<PartitionId, Offset>,
    is_idle: bool,
    is_name_taken: bool,
}

impl SteadySource {
    pub(super) fn note(&self, number: u64, change: AssignmentChange, partitions: &[PartitionId]) {
        self.shared.borrow_mut().notes.push_back(RebalanceNote { number, change, partitions: partitions.to_vec() });
    }

    pub(super) fn assigned(&self) -> Vec<PartitionId> {
        self.shared.borrow().next.keys().copied().collect()
    }

    pub(super) fn paused(&self) -> Vec<PartitionId> {
        self.shared.borrow().paused.iter().copied().collect()
    }

    /// From now on polls bring nothing.
    pub(super) fn fall_silent(&self) {
        self.shared.borrow_mut().is_idle = true;
    }

    /// Where a partition's log ends, as far as is known.
    pub(super) fn end_at(&self, partition: PartitionId, end: u64) {
        self.shared.borrow_mut().ends.insert(partition, Offset::new(end));
    }

    /// Another worker joins by the same name, which polls tell.
    pub(super) fn take_name(&self) {
        self.shared.borrow_mut().is_name_taken = true;
    }

    /// Markers of transactions, read and not handed on.
    pub(super) fn pass_markers(&self, partition: PartitionId, markers: u64) -> Offset {
        let mut shared = self.shared.borrow_mut();
        let next = shared.next.get_mut(&partition).unwrap();
        *next = Offset::new(next.get() + markers);
        *next
    }
}

#[derive(Clone)]
pub(super) struct NoGroup;

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

    fn join(&mut self) -> Result<(), SourceError> {
        Ok(())
    }

    fn poll(&mut self, _: Duration, batch: &mut RecordBatch) -> Result<(), SourceError> {
        batch.clear();
        let mut shared = self.shared.borrow_mut();
        if shared.is_name_taken {
            return Err(SourceError::Fenced { group: "seenby".to_owned(), instance: "worker-1-0".to_owned() });
        }
        let Steady { next, paused, is_idle, .. } = &mut *shared;
        for (partition, next) in next.iter_mut().filter(|(partition, _)| !*is_idle && !paused.contains(partition)) {
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

    fn pause(&mut self, partitions: &[PartitionId]) -> Result<(), SourceError> {
        self.shared.borrow_mut().paused.extend(partitions);
        Ok(())
    }

    fn resume(&mut self, partitions: &[PartitionId]) -> Result<(), SourceError> {
        self.shared.borrow_mut().paused.retain(|partition| !partitions.contains(partition));
        Ok(())
    }

    fn end_offset(&self, partition: PartitionId) -> Option<Offset> {
        self.shared.borrow().ends.get(&partition).copied()
    }

    fn positions(&mut self) -> Vec<(PartitionId, Offset)> {
        self.shared.borrow().next.iter().map(|(partition, next)| (*partition, *next)).collect()
    }

    fn close(self, _: bool) {}
}

/// Time that stands still until the test moves it.
#[derive(Clone)]
pub(super) struct TestClock {
    millis: Arc<AtomicU64>,
}

impl TestClock {
    pub(super) fn advance(&self, time: Duration) {
        self.millis.fetch_add(u64::try_from(time.as_millis()).unwrap(), Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Duration {
        Duration::from_millis(self.millis.load(Ordering::Relaxed))
    }

    fn unix_millis(&self) -> i64 {
        UNIX_MILLIS + i64::try_from(self.millis.load(Ordering::Relaxed)).unwrap()
    }

    fn sleep(&self, _: Duration) {}
}

/// An intake, and the far ends of its queues, which the test serves by hand.
pub(super) struct Bench {
    pub(super) intake: Intake<SteadySource, TestClock>,
    pub(super) source: SteadySource,
    pub(super) clock: TestClock,
    pub(super) flushes: Receiver<Flush>,
    pub(super) flush_answers: Sender<FlushAnswer>,
    pub(super) hydrations: Receiver<HydrationJob>,
    pub(super) hydration_answers: Sender<HydrationAnswer>,
    pub(super) ownership: Ownership,
    pub(super) metrics: WorkerMetrics,
    /// How often rows were written.
    pub(super) writes: Arc<AtomicU32>,
    /// What was committed, in order.
    pub(super) committed: Arc<Mutex<Vec<PartitionId>>>,
    pub(super) topic: TopicIdentity,
}

/// Only what a test asks for makes a flush due.
pub(super) const NO_LIMITS: IntakeLimits = IntakeLimits {
    flush_interval: Duration::from_secs(3600),
    flush_records: 1_000_000,
    flush_bytes: usize::MAX,
    memory_bytes: usize::MAX,
    stall_wait: Duration::ZERO,
    revoke_timeout: Duration::from_secs(15),
};

impl Bench {
    pub(super) fn new(limits: IntakeLimits) -> Self {
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
        let clock = TestClock { millis: Arc::new(AtomicU64::new(1_000)) };
        let source = SteadySource::default();
        let ownership = Ownership::default();
        let intake = Intake::new(
            source.clone(),
            clock.clone(),
            limits,
            queues,
            ownership.clone(),
            topic.clone(),
            metrics.clone(),
            "0".to_owned(),
        );
        Self {
            intake,
            source,
            clock,
            flushes,
            flush_answers,
            hydrations,
            hydration_answers,
            ownership,
            metrics,
            writes: Arc::default(),
            committed: Arc::default(),
            topic,
        }
    }

    /// Gives it both partitions and lets it read.
    pub(super) fn with_both(limits: IntakeLimits) -> Self {
        let mut bench = Self::new(limits);
        bench.source.note(1, AssignmentChange::Assigned, &[KEPT, GIVEN_UP]);
        bench.intake.step().unwrap();
        let job = bench.hydrations.try_recv().unwrap();
        bench.hydrated(&job);
        bench.intake.step().unwrap();
        assert_eq!(bench.source.assigned(), [KEPT, GIVEN_UP]);
        bench
    }

    pub(super) fn hydrated(&self, job: &HydrationJob) {
        self.hydrated_as(job, |_| {});
    }

    /// The same, with what was folded before the takeover.
    pub(super) fn hydrated_as(&self, job: &HydrationJob, mut fold_before: impl FnMut(&mut Partition)) {
        let ready = job.partitions.iter().map(|partition| {
            let TopicIdentity { epoch, partitions, .. } = self.topic;
            let mut state = Partition::new(PartitionIdentity { partition: *partition, epoch, partitions });
            fold_before(&mut state);
            ReadyPartition { partition: *partition, next_offset: state.next_offset(), state }
        });
        let result = Ok(ready.collect());
        self.hydration_answers.send(HydrationAnswer { rebalance: job.rebalance, result }).unwrap();
    }

    /// Effects that write nowhere, for those partitions that `ownership` holds.
    pub(super) fn effects(&self, ownership: Ownership) -> Effects<CountingStore, WillingCommitter, TestClock> {
        Effects::new(
            CountingStore(Arc::clone(&self.writes)),
            WillingCommitter(Arc::clone(&self.committed)),
            self.clock.clone(),
            ownership,
            self.metrics.clone(),
            "0".to_owned(),
            Duration::from_secs(1),
        )
    }

    pub(super) fn answer(&self, flush: &Flush) {
        self.flush_answers.send(FlushAnswer { result: Ok(()), bytes: flush.bytes() }).unwrap();
    }
}

/// Keeps nothing and counts how often it was asked to.
pub(super) struct CountingStore(Arc<AtomicU32>);

impl Store for CountingStore {
    fn write(&mut self, _: &RowBatch) -> Result<(), StoreError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn frontiers(&mut self, _: &TopicIdentity) -> Result<Vec<LedgerFrontier>, StoreError> {
        Ok(Vec::new())
    }

    fn completeness(&mut self, _: &TopicIdentity, _: &[HydrationRequest]) -> Result<Vec<Completeness>, StoreError> {
        Ok(Vec::new())
    }

    fn boundaries(
        &mut self,
        _: &TopicIdentity,
        _: PartitionId,
        _: Offset,
        _: Offset,
    ) -> Result<Vec<Offset>, StoreError> {
        Ok(Vec::new())
    }

    fn hydrate(
        &mut self,
        _: &TopicIdentity,
        _: &[HydrationRequest],
        _: &mut HydrationProgress<'_>,
    ) -> Result<Vec<HydratedPartition>, StoreError> {
        Ok(Vec::new())
    }
}

/// Commits whatever is still owned.
pub(super) struct WillingCommitter(Arc<Mutex<Vec<PartitionId>>>);

impl Committer for WillingCommitter {
    fn commit(
        &mut self,
        effects: &[PartitionEffects],
        is_owned: &dyn Fn(PartitionId) -> bool,
    ) -> Result<(), CommitError> {
        let owned = effects.iter().map(|effects| effects.partition).filter(|partition| is_owned(*partition));
        self.0.lock().unwrap().extend(owned);
        Ok(())
    }

    fn is_name_taken(&mut self) -> bool {
        true
    }
}
