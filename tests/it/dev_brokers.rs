//! The brokers of development hold what is produced: the real one, and the one in process.

use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Message as _, Timestamp};
use rdkafka::producer::{FutureProducer, FutureRecord};
use seenby::dev::broker::Broker;

use crate::support::kafka;

const WITHIN: Duration = Duration::from_secs(30);

/// Produces one record with a time of its own and reads the topic's first record back.
async fn first_record_after_producing(bootstrap: &str, topic: &str, time: i64) -> (String, Timestamp) {
    let producer: FutureProducer = ClientConfig::new().set("bootstrap.servers", bootstrap).create().unwrap();
    producer
        .send(FutureRecord::to(topic).key("k").payload("hello").partition(0).timestamp(time), WITHIN)
        .await
        .unwrap();
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", kafka::unique("reader"))
        .set("auto.offset.reset", "earliest")
        .create()
        .unwrap();
    consumer.subscribe(&[topic]).unwrap();
    // A poll that served a rebalance comes back without a message.
    let begun = Instant::now();
    let message = loop {
        if let Some(polled) = consumer.poll(Duration::from_millis(100)) {
            break polled.unwrap();
        }
        assert!(begun.elapsed() < WITHIN, "no record came back");
    };
    (String::from_utf8(message.payload().unwrap().to_vec()).unwrap(), message.timestamp())
}

#[tokio::test]
async fn the_real_broker_sets_record_times_itself() {
    let topic = kafka::topic("record_times", 1).await;
    let (payload, time) = first_record_after_producing(kafka::bootstrap(), &topic, 1_000).await;
    assert_eq!(payload, "hello");
    assert!(matches!(time, Timestamp::LogAppendTime(time) if time > 1_600_000_000_000), "{time:?}");
}

#[tokio::test]
async fn the_broker_in_process_has_its_topics_and_serves_groups() {
    let broker = Broker::start(&[("t", 3)]).unwrap();
    let (payload, _) = first_record_after_producing(broker.bootstrap(), "t", 1_000).await;
    assert_eq!(payload, "hello");
    let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", broker.bootstrap()).create().unwrap();
    let metadata = consumer.fetch_metadata(Some("t"), WITHIN).unwrap();
    assert_eq!(metadata.topics()[0].partitions().len(), 3);
}
