//! Without transactions: what is told before a commit is told once, however often the commit is tried.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Message as _;
use rdkafka::mocking::MockCluster;
use rdkafka::topic_partition_list::Offset;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use seenby::config::Config;
use seenby::log::{CommitError, Committer as _, PlainCommitter, Source as _};

use crate::support::committing::{join, rejections};
use crate::support::worker::PATIENCE;

/// The records of a topic of one partition.
fn values(brokers: &str, topic: &str) -> Vec<String> {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", brokers).set("group.id", "reader").set("enable.partition.eof", "true");
    let consumer: BaseConsumer = client.create().unwrap();
    let mut assignment = rdkafka::TopicPartitionList::new();
    assignment.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
    consumer.assign(&assignment).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let mut values = Vec::new();
    loop {
        assert!(Instant::now() < deadline, "{topic} was not read to its end");
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => values.push(String::from_utf8(message.payload().unwrap().to_vec()).unwrap()),
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => return values,
            Some(Err(error)) => panic!("reading {topic}: {error}"),
            None => {}
        }
    }
}

#[test]
fn a_commit_that_is_tried_again_repeats_no_notification_and_no_rejection() {
    let cluster = MockCluster::new(1).unwrap();
    let mut config = Config::default();
    config.kafka.brokers = cluster.bootstrap_servers();
    for topic in [&config.kafka.topics.events, &config.kafka.topics.notifications, &config.kafka.topics.rejections] {
        cluster.create_topic(topic, 1, 1).unwrap();
    }
    let told = || values(&config.kafka.brokers, &config.kafka.topics.rejections);
    let source = join(&config, "worker-0");
    let mut committer = PlainCommitter::create(&config, source.group()).unwrap();

    let refusal = RDKafkaRespErr::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS;
    cluster.request_errors(RDKafkaApiKey::OffsetCommit, &[refusal; 3]);
    let first = [rejections(&["one", "two"], 2)];
    let mut tries = 0;
    while let Err(error) = committer.commit(&first, &|_| true) {
        assert!(matches!(error, CommitError::Aborted { .. }), "{error}");
        assert_eq!(told(), ["one", "two"], "told before the commit, and once");
        tries += 1;
        assert!(tries < 10, "{error}");
    }
    assert!(tries > 0, "no commit failed");
    assert_eq!(told(), ["one", "two"]);

    // Another flush is told, though the same stands in it.
    committer.commit(&[rejections(&["one", "two"], 4)], &|_| true).unwrap();
    assert_eq!(told(), ["one", "two", "one", "two"]);
    // And so is one that was given up while its commit failed, once its records are folded again with others.
    cluster.request_errors(RDKafkaApiKey::OffsetCommit, &[refusal; 1]);
    committer.commit(&[rejections(&["three"], 5)], &|_| true).unwrap_err();
    committer.commit(&[rejections(&["three", "four"], 6)], &|_| true).unwrap();
    assert_eq!(told()[4..], ["three", "three", "four"]);
    source.close(true);
}
