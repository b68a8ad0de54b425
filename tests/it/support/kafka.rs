//! One real Apache Kafka broker for all tests. Topics and groups are named per test.

use std::sync::OnceLock;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;

use super::process::Part;

static BROKER: OnceLock<Part> = OnceLock::new();

/// The broker's address; starts it at the first call.
pub fn bootstrap() -> &'static str {
    &BROKER.get_or_init(|| Part::start("kafka")).address
}

/// A name no other test has. `test` is part of it, for reading.
pub fn unique(test: &str) -> String {
    format!("{test}-{}", uuid::Uuid::new_v4().simple())
}

/// A new topic of that many partitions under a name no other test has.
pub async fn topic(test: &str, partitions: i32) -> String {
    let name = unique(test);
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", bootstrap()).create().unwrap();
    let new_topic = NewTopic::new(&name, partitions, TopicReplication::Fixed(1));
    for created in admin.create_topics([&new_topic], &AdminOptions::new()).await.unwrap() {
        created.unwrap();
    }
    name
}
