//! Writing events to the events topic, each to the partition it is told, and knowing that all of them arrived.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;

use super::SourceError;
use super::client;
use super::positions::kafka_number;
use crate::config::KafkaConfig;
use crate::event::PartitionId;

/// How long the last records may take to arrive; each of them gives up earlier.
const LAST_DELIVERIES: Duration = Duration::from_secs(30);

/// Counts what arrived.
#[derive(Default)]
struct Deliveries {
    delivered: AtomicU64,
    first_failure: Mutex<Option<KafkaError>>,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(_) => {
                self.delivered.fetch_add(1, Ordering::Relaxed);
            }
            Err((error, _)) => {
                let mut first = self.first_failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                first.get_or_insert_with(|| error.clone());
            }
        }
    }
}

/// A producer of events; records of a partition arrive in the order in which they were sent.
pub struct EventProducer {
    producer: BaseProducer<Deliveries>,
    topic: String,
}

impl EventProducer {
    /// Connects when the first record is sent.
    ///
    /// # Errors
    /// Where librdkafka refuses a setting.
    pub fn new(kafka: &KafkaConfig) -> Result<Self, SourceError> {
        let producer = BaseProducer::from_config_and_context(&client::producer(kafka, None), Deliveries::default())
            .map_err(|error| SourceError::of("making a producer", error))?;
        Ok(Self { producer, topic: kafka.topics.events.clone() })
    }

    /// Hands one record on; waits while too many are on their way.
    ///
    /// # Errors
    /// Where librdkafka refuses the record.
    pub fn send(&self, partition: PartitionId, key: &[u8], value: &[u8]) -> Result<(), SourceError> {
        let mut record =
            BaseRecord::<[u8], [u8]>::to(&self.topic).partition(kafka_number(partition)).key(key).payload(value);
        loop {
            match self.producer.send(record) {
                Ok(()) => {
                    self.producer.poll(Duration::ZERO);
                    return Ok(());
                }
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    record = back;
                    self.producer.poll(Duration::from_millis(100));
                }
                Err((error, _)) => return Err(SourceError::of(self.doing(), error)),
            }
        }
    }

    /// Waits until all records have arrived, and returns how many that is.
    ///
    /// # Errors
    /// The first failure; the records in front of it and some behind it have arrived.
    pub fn finish(self) -> Result<u64, SourceError> {
        let flushed = self.producer.flush(LAST_DELIVERIES);
        let deliveries = self.producer.context();
        let first = deliveries.first_failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        match first.map_or(flushed, Err) {
            Ok(()) => Ok(deliveries.delivered.load(Ordering::Relaxed)),
            Err(error) => Err(SourceError::of(self.doing(), error)),
        }
    }

    fn doing(&self) -> String {
        format!("writing events to topic {}", self.topic)
    }
}
