//! How Kafka clients are set up: seenby's choices first, the user's `kafka.properties` over them.

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;

use crate::config::{Config, KafkaConfig};

/// How long one request to the broker may take, in ms, where librdkafka leaves it to the caller.
pub(crate) const REQUEST_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);

/// How long the coordinator keeps a transaction open that nobody ends, in ms. A dead worker's transaction holds back
/// readers of the output, and the next owner's look at committed offsets, for that long at most.
pub(crate) const TRANSACTION_TIMEOUT_MILLIS: u64 = 15_000;

/// Which clients a set of properties is for; librdkafka warns about properties of the other kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientKind {
    Consumer,
    Producer,
    Admin,
}

/// What every client has in common.
pub(crate) fn base(kafka: &KafkaConfig, kind: ClientKind) -> ClientConfig {
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", &kafka.brokers)
        .set("client.id", "seenby")
        .set("log.connection.close", "false")
        .set_log_level(RDKafkaLogLevel::Warning);
    // The OpenSSL that is built in looks for certificates where nobody has any: take the system's.
    #[cfg(feature = "tls")]
    client.set("ssl.ca.location", "probe");
    if kind == ClientKind::Admin {
        with_user_properties(&mut client, kafka);
    }
    client
}

/// The consumer of one pipeline.
pub(crate) fn consumer(config: &Config, instance: &str) -> ClientConfig {
    let mut client = reading(&config.kafka);
    client
        .set("group.instance.id", instance)
        .set("session.timeout.ms", config.worker.session_timeout_ms.to_string())
        // The default of 3 s is for long sessions: in one as short as that a healthy member would lose its partitions.
        .set("heartbeat.interval.ms", (config.worker.session_timeout_ms / 3).clamp(1, 3_000).to_string())
        .set("max.poll.interval.ms", config.worker.max_poll_interval_ms.to_string())
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("statistics.interval.ms", "1000");
    with_user_properties(&mut client, &config.kafka);
    client
}

/// A consumer that is no member of the group: it is told what to read, and its end when it is there.
pub(crate) fn log_reader(kafka: &KafkaConfig) -> ClientConfig {
    let mut client = reading(kafka);
    client.set("enable.partition.eof", "true");
    with_user_properties(&mut client, kafka);
    client
}

/// How the events topic is read, by whomever.
fn reading(kafka: &KafkaConfig) -> ClientConfig {
    let mut client = base(kafka, ClientKind::Consumer);
    client
        // librdkafka assigns nothing without one.
        .set("group.id", &kafka.group)
        // Never read_uncommitted: the input may hold aborted records, and control records are written in transactions.
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        // Every start is an explicit offset; a position that is gone must stop the worker instead of skipping events.
        .set("auto.offset.reset", "error")
        // The default of 1000 idles a partition for a second once its queue is full: 260k instead of 1.45 M records/s.
        .set("fetch.queue.backoff.ms", "10")
        .set("fetch.wait.max.ms", "10")
        // Counted per partition: 10,000 is plenty, and bounds memory on a backlog together with the kilobytes (all
        // partitions of this consumer together).
        .set("queued.min.messages", "10000")
        .set("queued.max.messages.kbytes", "65536");
    client
}

/// A producer of effects, transactional where an id is given.
pub(crate) fn producer(kafka: &KafkaConfig, transactional_id: Option<&str>) -> ClientConfig {
    let mut client = base(kafka, ClientKind::Producer);
    client
        .set("enable.idempotence", "true")
        .set("compression.type", "lz4")
        .set("linger.ms", "5")
        // Consumers partition by the person told as Java's producers do.
        .set("partitioner", "murmur2_random")
        .set("message.timeout.ms", "10000");
    if let Some(transactional_id) = transactional_id {
        client
            .set("transactional.id", transactional_id)
            .set("transaction.timeout.ms", TRANSACTION_TIMEOUT_MILLIS.to_string());
    }
    with_user_properties(&mut client, kafka);
    client
}

/// The producer of simulated traffic.
pub(crate) fn simulator(kafka: &KafkaConfig) -> ClientConfig {
    let mut client = base(kafka, ClientKind::Producer);
    client
        .set("partitioner", "murmur2_random")
        .set("compression.type", "lz4")
        .set("linger.ms", "20")
        .set("enable.idempotence", "true")
        .set("queue.buffering.max.messages", "200000");
    with_user_properties(&mut client, kafka);
    client
}

fn with_user_properties(client: &mut ClientConfig, kafka: &KafkaConfig) {
    for (name, value) in &kafka.properties {
        client.set(name, value);
    }
}
