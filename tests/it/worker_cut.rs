//! A flush cut in two: its rows are in ClickHouse, and Kafka's commit did not happen, or nobody heard that it did.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;

use seenby::config::{Config, Delivery};
use seenby::event::PartitionId;
use seenby::log::{
    CommitError, Committer, KafkaGroup, KafkaLogReader, KafkaSource, PartitionEffects, TransactionalCommitter,
};
use seenby::observe::Telemetry;
use seenby::store::ClickHouseStore;
use seenby::worker::{
    CleaningDuty, Connect, Ownership, Pipeline, PipelineSettings, RejoinSignal, StopSignal, SystemClock, WorkerError,
    WorkerMetrics,
};

use crate::support::events::{NOON, group_message, group_read, policy};
use crate::support::worker::Deployment;

/// Where a flush is cut.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cut {
    /// As if the worker had died before the transaction.
    BeforeCommit,
    /// As if the answer to the commit had been lost.
    AfterCommit,
}

/// Real parts, but for a committer that is cut a set number of times.
struct CutParts {
    config: Config,
    runtime: tokio::runtime::Runtime,
    cut: Cut,
    cuts_left: Arc<AtomicU32>,
}

struct CutCommitter {
    real: TransactionalCommitter,
    cut: Cut,
    cuts_left: Arc<AtomicU32>,
}

impl Committer for CutCommitter {
    fn commit(
        &mut self,
        effects: &[PartitionEffects],
        is_owned: &dyn Fn(PartitionId) -> bool,
    ) -> Result<(), CommitError> {
        let is_cut =
            self.cuts_left.fetch_update(Ordering::AcqRel, Ordering::Acquire, |cuts| cuts.checked_sub(1)).is_ok();
        if !is_cut || self.cut == Cut::AfterCommit {
            self.real.commit(effects, is_owned)?;
        }
        if is_cut {
            return Err(CommitError::Unknown { doing: "committing", reason: "cut by the test".to_owned() });
        }
        Ok(())
    }

    fn is_name_taken(&mut self) -> bool {
        self.real.is_name_taken()
    }
}

impl Connect for CutParts {
    type Source = KafkaSource;
    type Committer = CutCommitter;
    type Store = ClickHouseStore;
    type LogReader = KafkaLogReader;

    fn source(&mut self) -> Result<KafkaSource, WorkerError> {
        Ok(KafkaSource::create(&self.config, &format!("{}-0", self.config.worker.instance))?)
    }

    fn committer(&mut self, group: KafkaGroup) -> Result<CutCommitter, WorkerError> {
        let real = TransactionalCommitter::create(&self.config, 0, group)?;
        Ok(CutCommitter { real, cut: self.cut, cuts_left: Arc::clone(&self.cuts_left) })
    }

    fn store(&mut self, ownership: &Ownership) -> ClickHouseStore {
        let ownership = ownership.clone();
        ClickHouseStore::new(self.config.clickhouse.clone(), self.runtime.handle().clone())
            .while_wanted(move || !ownership.is_abandoned())
    }

    fn log_reader(&mut self) -> KafkaLogReader {
        KafkaLogReader::new(&self.config.kafka).unwrap()
    }
}

struct CutWorker {
    stop: StopSignal,
    metrics: WorkerMetrics,
    thread: JoinHandle<Result<(), WorkerError>>,
}

fn start(deployment: &Deployment, cut: Cut, cuts: u32) -> CutWorker {
    let telemetry = Telemetry::default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let config = deployment.config.clone();
    let stop = StopSignal::default();
    let metrics = WorkerMetrics::register(&telemetry.registry).unwrap();
    let mut pipeline = Pipeline {
        settings: PipelineSettings::of(&config, &deployment.topic(), 0),
        connect: CutParts { config, runtime, cut, cuts_left: Arc::new(AtomicU32::new(cuts)) },
        clock: SystemClock::start(),
        stop: stop.clone(),
        rejoin: RejoinSignal::default(),
        metrics: metrics.clone(),
        duty: CleaningDuty::default(),
        assigned: telemetry.readiness.condition("kafka_assigned"),
    };
    CutWorker { stop, metrics, thread: std::thread::spawn(move || pipeline.run()) }
}

impl CutWorker {
    fn stop(self) {
        self.stop.request(false);
        self.thread.join().unwrap().unwrap();
    }
}

/// A receipt is read before its message, its worker is killed, and the flush that settles it is cut.
fn counted_once_and_told_once(cut: Cut) {
    let deployment = Deployment::new("cut", 2, Delivery::ExactlyOnce);
    let worker = deployment.spawn("worker-1");
    deployment.produce(&[
        policy(1, |policy| policy.group.open = true),
        group_read("m1").from("bob").at(NOON + 1).record(),
        group_message("m2").role("owner").asking_receipts().record(),
    ]);
    deployment.wait_for_records(4);
    deployment.wait_for_commit();
    worker.kill();

    let cuts = 3;
    let worker = start(&deployment, cut, cuts);
    deployment.produce(&[
        group_message("m1").role("owner").asking_receipts().record(),
        group_read("m1").from("carol").at(NOON + 2).record(),
        group_read("m2").from("bob").at(NOON + 3).record(),
    ]);
    let outcomes = deployment.wait_for_records(7);
    assert_eq!(outcomes["read parked"], 1);
    assert_eq!(outcomes["read counted"], 2);
    assert_eq!(outcomes["message opened"], 2);
    deployment.wait_for_commit();
    // After the cuts too: what follows is folded on a state that holds each receipt once.
    let more = (0..u64::from(cuts)).map(|number| {
        deployment.produce(&[group_read("m1").from("bob").at(NOON + 10 + number as i64).record()]);
        let outcomes = deployment.wait_for_records(8 + number);
        deployment.wait_for_commit();
        outcomes["read duplicate"]
    });
    assert_eq!(more.last(), Some(u64::from(cuts)));
    assert_eq!(worker.metrics.restarts.get(), u64::from(cuts), "every cut was met");

    let settled: Vec<_> = deployment.totals().into_iter().filter(|total| total.measure == "settled").collect();
    assert_eq!(settled.len(), 1);
    assert_eq!((settled[0].outcome.as_str(), settled[0].total), ("counted", 1));
    let told = deployment.told();
    let told: Vec<_> = told.iter().map(|(_, message, reader)| (message.as_str(), reader.as_str())).collect();
    assert_eq!(told, [("m1", "bob"), ("m1", "carol"), ("m2", "bob")]);
    assert_eq!(deployment.number("SELECT uniqExact(message, reader) FROM receipts"), 3);
    worker.stop();
}

#[test]
fn rows_without_their_commit_are_folded_again_and_count_once() {
    counted_once_and_told_once(Cut::BeforeCommit);
}

#[test]
fn a_commit_nobody_heard_of_is_not_done_again() {
    counted_once_and_told_once(Cut::AfterCommit);
}
