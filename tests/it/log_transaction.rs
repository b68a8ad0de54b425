//! The transactional id of a worker is taken while its transaction is open: whoever had it ends, whatever it was doing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, Producer as _};
use seenby::config::Delivery;
use seenby::log::{CommitError, Committer as _, KafkaSource, RecordBatch, Source as _, TransactionalCommitter};
use seenby::observe::FailPoint;

use crate::support::committing::{AtPoint, join, rejections};
use crate::support::worker::{Deployment, PATIENCE};

/// Lets the group hear of another consumer of a static member's name, as it does where the member makes its request to
/// join again. Nobody hears of that consumer any more afterwards.
fn join_again(deployment: &Deployment, instance: &str) {
    let mut again = KafkaSource::create(&deployment.config, instance).unwrap();
    again.join().unwrap();
    let mut batch = RecordBatch::default();
    let deadline = Instant::now() + PATIENCE;
    while again.take_note().is_none() {
        assert!(Instant::now() < deadline, "the group did not take {instance}");
        again.poll(Duration::from_millis(50), &mut batch).unwrap();
    }
    again.close(false);
}

/// What `seenby worker` of the same worker.instance does when it starts.
fn take_name(deployment: &Deployment) -> impl Fn() + Send + Sync + 'static {
    let kafka = &deployment.config.kafka;
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", &kafka.brokers);
    client.set("transactional.id", format!("{}.{}.0", kafka.group, deployment.config.worker.instance));
    move || {
        let newer: BaseProducer = client.create().unwrap();
        newer.init_transactions(PATIENCE).unwrap();
    }
}

/// How a commit ends in which something happens, and whether the name counts as taken after it.
fn commit_while(
    deployment: &Deployment,
    point: FailPoint,
    act: impl Fn() + Send + Sync + 'static,
) -> (CommitError, bool) {
    let source = join(&deployment.config, "worker-0");
    let mut committer = TransactionalCommitter::create(&deployment.config, 0, source.group()).unwrap();
    committer.commit(&[rejections(&["before"], 0)], &|_| true).unwrap();
    let armed = AtPoint::run(point, act);
    let error = committer.commit(&[rejections(&["within"; 100], 0)], &|_| true).unwrap_err();
    drop(armed);
    let is_name_taken = committer.is_name_taken();
    source.close(true);
    (error, is_name_taken)
}

fn a_name_taken_at(point: FailPoint) {
    let deployment = Deployment::new(&point.name().replace('.', "_"), 1, Delivery::ExactlyOnce);
    let (error, is_name_taken) = commit_while(&deployment, point, take_name(&deployment));
    assert!(is_name_taken);
    assert!(matches!(error, CommitError::Fenced { .. }), "{error}");
    assert!(error.to_string().contains("worker.instance"), "{error}");
    let values: Vec<_> = deployment.rejections().into_iter().map(|record| record.value).collect();
    assert_eq!(values, [b"before"], "nothing of the transaction that was open is to be seen");
}

#[test]
fn a_name_taken_before_its_transaction_begins_ends_the_older_worker() {
    a_name_taken_at(FailPoint::TransactionBegin);
}

#[test]
fn a_name_taken_while_it_produces_ends_the_older_worker() {
    a_name_taken_at(FailPoint::TransactionProduce);
}

#[test]
fn a_name_taken_before_offsets_are_added_ends_the_older_worker() {
    a_name_taken_at(FailPoint::TransactionOffsets);
}

#[test]
fn a_name_taken_before_the_commit_ends_the_older_worker() {
    a_name_taken_at(FailPoint::TransactionCommit);
}

#[test]
fn a_transaction_that_stood_open_for_longer_than_it_may_is_nobodys_fault() {
    let deployment = Arc::new(Deployment::new("transaction_timed_out", 1, Delivery::ExactlyOnce));
    let watched = Arc::clone(&deployment);
    let wait_for_the_end = move || {
        let deadline = Instant::now() + PATIENCE;
        while watched.is_transaction_open() {
            assert!(Instant::now() < deadline, "the coordinator does not end it");
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    let (error, is_name_taken) = commit_while(&deployment, FailPoint::TransactionOffsets, wait_for_the_end);
    assert!(is_name_taken, "nobody can tell any more");
    assert!(matches!(error, CommitError::Unknown { .. }), "{error}");
}

#[test]
fn a_committer_knows_whether_its_name_was_taken() {
    let deployment = Deployment::new("name_taken", 1, Delivery::ExactlyOnce);
    let source = join(&deployment.config, "worker-0");
    let mut committer = TransactionalCommitter::create(&deployment.config, 0, source.group()).unwrap();
    assert!(!committer.is_name_taken(), "nobody has come");
    committer.commit(&[rejections(&["before"], 7)], &|_| true).unwrap();
    let committed = deployment.committed(0);
    assert!(!committer.is_name_taken());
    assert_eq!(deployment.committed(0), committed, "asking commits nothing, also where the group takes the offset");
    join_again(&deployment, "worker-0");
    assert!(!committer.is_name_taken(), "nobody but the member itself has");
    take_name(&deployment)();
    assert!(committer.is_name_taken());
    assert!(committer.is_name_taken(), "asked again");
    source.close(true);
}
