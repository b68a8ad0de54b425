//! A member that was put out of its group and joined again under another id goes on with nothing of what it held, also
//! where librdkafka does not say that it lost it.

use std::time::{Duration, Instant};

use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use seenby::config::Config;
use seenby::event::PartitionId;
use seenby::log::{
    AssignmentChange, CommitError, Committer, Group as _, PlainCommitter, RebalanceNote, RecordBatch, Source as _,
    SourceError, TransactionalCommitter,
};

use crate::support::committing::{join, rejections};

type NewCommitter = fn(&Config, seenby::log::KafkaGroup) -> Box<dyn Committer>;

/// How often the group is tried to put a member out: a busy broker shares out at moments of its own.
const ATTEMPTS: usize = 5;

/// How long a member that holds a partition may take to notice. It joins within twice the session.
const NOTICES_WITHIN: Duration = Duration::from_secs(15);

/// That a member that was put out goes on with nothing.
fn put_out(commit: NewCommitter) {
    assert!((0..ATTEMPTS).any(|_| is_put_out(commit)), "{ATTEMPTS} times it stayed the member that it was");
}

/// A member holds a partition, is asked to join again, and is told meanwhile that the group does not know it. `false` where
/// that did not come about: it is the same member, and commits.
fn is_put_out(commit: NewCommitter) -> bool {
    let cluster = MockCluster::new(1).unwrap();
    let mut config = Config::default();
    config.kafka.brokers = cluster.bootstrap_servers();
    // As long as that the broker waits for members that join again.
    config.worker.session_timeout_ms = 3_000;
    for topic in [&config.kafka.topics.events, &config.kafka.topics.notifications, &config.kafka.topics.rejections] {
        cluster.create_topic(topic, 1, 1).unwrap();
    }
    let mut source = join(&config, "worker-0");
    let group = source.group();
    let mut committer = commit(&config, group.clone());
    if committer.commit(&[rejections(&["one"], 2)], &|_| true).is_err() {
        return false;
    }
    let committed = || group.committed(&[PartitionId::new(0)]).unwrap();
    let before = committed();

    cluster.request_errors(RDKafkaApiKey::JoinGroup, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID]);
    cluster.request_errors(RDKafkaApiKey::Heartbeat, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS]);
    let mut batch = RecordBatch::default();
    let begun = Instant::now();
    let error = loop {
        if let Err(error) = source.poll(Duration::from_millis(20), &mut batch) {
            break error;
        }
        match source.take_note() {
            None => {}
            Some(RebalanceNote { change: AssignmentChange::Assigned, partitions, .. }) if partitions.is_empty() => {
                source.assign(&[]).unwrap();
            }
            // The broker was busy for a whole session, and librdkafka says what is lost.
            Some(_) => return false,
        }
        if begun.elapsed() > NOTICES_WITHIN {
            committer.commit(&[rejections(&["two"], 4)], &|_| true).expect("whom the group put out has to notice");
            return false;
        }
    };
    assert!(matches!(&error, SourceError::SessionEnded { instance, .. } if instance == "worker-0"), "{error}");
    assert!(error.is_transient(), "a pipeline that starts again has nothing of the former session");

    // It is a member, and as that it might commit.
    let refused = committer.commit(&[rejections(&["two"], 4)], &|_| true).unwrap_err();
    assert!(matches!(refused, CommitError::Aborted { .. }), "{refused}");
    assert_eq!(committed(), before);
    source.close(false);
    true
}

#[test]
fn a_member_that_was_put_out_and_joined_anew_commits_nothing_in_a_transaction() {
    put_out(|config, group| Box::new(TransactionalCommitter::create(config, 0, group).unwrap()));
}

#[test]
fn a_member_that_was_put_out_and_joined_anew_commits_nothing_without_transactions() {
    put_out(|config, group| Box::new(PlainCommitter::create(config, group).unwrap()));
}
