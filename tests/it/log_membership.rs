//! A member that was put out of its group and joined again under another id goes on with nothing of what it held, also
//! where librdkafka does not say that it lost it.

use std::time::{Duration, Instant};

use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use seenby::config::Config;
use seenby::event::PartitionId;
use seenby::log::{
    AssignmentChange, CommitError, Committer, Group as _, PlainCommitter, RecordBatch, Source as _, SourceError,
    TransactionalCommitter,
};

use crate::support::committing::{join, rejections};
use crate::support::worker::PATIENCE;

/// A member holds a partition, is asked to join again, and is told meanwhile that the group does not know it.
fn put_out(commit: impl Fn(&Config, seenby::log::KafkaGroup) -> Box<dyn Committer>) {
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
    committer.commit(&[rejections(&["one"], 2)], &|_| true).unwrap();
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
        // A busy broker may share out once more before; nothing comes of it.
        if let Some(note) = source.take_note() {
            assert_eq!(
                (note.change, &note.partitions[..]),
                (AssignmentChange::Assigned, &[][..]),
                "librdkafka says by itself what is lost: the check is not needed any more"
            );
            source.assign(&[]).unwrap();
        }
        assert!(begun.elapsed() < PATIENCE, "the member did not notice");
    };
    assert!(matches!(&error, SourceError::SessionEnded { instance, .. } if instance == "worker-0"), "{error}");
    assert!(error.is_transient(), "a pipeline that starts again has nothing of the former session");

    // It is a member, and as that it might commit.
    let refused = committer.commit(&[rejections(&["two"], 4)], &|_| true).unwrap_err();
    assert!(matches!(refused, CommitError::Aborted { .. }), "{refused}");
    assert_eq!(committed(), before);
    source.close(false);
}

#[test]
fn a_member_that_was_put_out_and_joined_anew_commits_nothing_in_a_transaction() {
    put_out(|config, group| Box::new(TransactionalCommitter::create(config, 0, group).unwrap()));
}

#[test]
fn a_member_that_was_put_out_and_joined_anew_commits_nothing_without_transactions() {
    put_out(|config, group| Box::new(PlainCommitter::create(config, group).unwrap()));
}
