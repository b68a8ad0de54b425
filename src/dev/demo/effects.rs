//! What the worker sends to the world, counted as it comes: the broker in process keeps it for a short while only.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use serde::Deserialize;

use super::DemoError;
use crate::config::KafkaConfig;

const BROKER_TIMEOUT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(100);

/// Notifications and rejections so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Effects {
    /// Readers told of, by kind of notification; each is one receipt.
    pub(super) readers: BTreeMap<String, u64>,
    /// Records of the notifications topic.
    pub(super) notifications: u64,
    /// Rejections by outcome.
    pub(super) rejections: BTreeMap<String, u64>,
    /// Records that were not what the contract says, and errors of the consumer.
    pub(super) unreadable: u64,
}

/// Counts on a thread of its own until it is dropped.
pub(super) struct EffectsReader {
    effects: Arc<Mutex<Effects>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for EffectsReader {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic there was reported when it happened.
            let _ = thread.join();
        }
    }
}

impl EffectsReader {
    /// Starts counting both topics from their beginning.
    pub(super) fn start(kafka: &KafkaConfig) -> Result<Self, DemoError> {
        let failed = |source| DemoError::Effects { topic: kafka.topics.notifications.clone(), source };
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &kafka.brokers)
            // A name is asked for, though nobody else is in the group and nothing is committed.
            .set("group.id", "demo-effects")
            .set("enable.auto.commit", "false")
            .set("fetch.wait.max.ms", "50")
            .create()
            .map_err(failed)?;
        let mut assignment = TopicPartitionList::new();
        for topic in [&kafka.topics.notifications, &kafka.topics.rejections] {
            add_partitions(&consumer, topic, &mut assignment)
                .map_err(|source| DemoError::Effects { topic: topic.clone(), source })?;
        }
        consumer.assign(&assignment).map_err(failed)?;

        let effects = Arc::new(Mutex::new(Effects::default()));
        let counted = Arc::clone(&effects);
        let notifications = kafka.topics.notifications.clone();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("effects".to_owned())
            .spawn(move || {
                while !stopped.load(Ordering::Relaxed) {
                    match consumer.poll(POLL) {
                        Some(Ok(message)) => lock(&counted).count(&message, &notifications),
                        Some(Err(error)) => {
                            tracing::warn!(%error, "reading notifications and rejections: asking again");
                            thread::sleep(POLL);
                        }
                        None => {}
                    }
                }
            })
            .map_err(DemoError::io("starting the thread that counts notifications"))?;
        Ok(Self { effects, stop, thread: Some(thread) })
    }

    /// What has come so far.
    pub(super) fn so_far(&self) -> Effects {
        lock(&self.effects).clone()
    }
}

#[derive(Deserialize)]
struct NotificationShape {
    kind: String,
    readers: Vec<serde::de::IgnoredAny>,
}

impl Effects {
    fn count(&mut self, message: &BorrowedMessage<'_>, notifications: &str) {
        if message.topic() == notifications {
            match serde_json::from_slice::<NotificationShape>(message.payload().unwrap_or_default()) {
                Ok(notification) => {
                    self.notifications += 1;
                    *self.readers.entry(notification.kind).or_default() += notification.readers.len() as u64;
                }
                Err(_) => self.unreadable += 1,
            }
            return;
        }
        let outcome = message
            .headers()
            .and_then(|headers| headers.iter().find(|header| header.key == "outcome").and_then(|header| header.value));
        match outcome.and_then(|outcome| str::from_utf8(outcome).ok()) {
            Some(outcome) => *self.rejections.entry(outcome.to_owned()).or_default() += 1,
            None => self.unreadable += 1,
        }
    }
}

fn lock(effects: &Mutex<Effects>) -> MutexGuard<'_, Effects> {
    // Counting does not panic; and if it did, the figures would not add up.
    effects.lock().unwrap_or_else(PoisonError::into_inner)
}

fn add_partitions(consumer: &BaseConsumer, topic: &str, assignment: &mut TopicPartitionList) -> Result<(), KafkaError> {
    let metadata = consumer.fetch_metadata(Some(topic), BROKER_TIMEOUT)?;
    for partition in metadata.topics().iter().flat_map(|known| known.partitions()) {
        assignment.add_partition_offset(topic, partition.id(), Offset::Beginning)?;
    }
    Ok(())
}
