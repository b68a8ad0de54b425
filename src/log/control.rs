//! Control records: one copy in every partition of the events topic (DESIGN.md section 2).

use std::time::{Duration, Instant};

use rdkafka::config::FromClientConfig;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;

use super::client::{self, ClientKind, REQUEST_TIMEOUT};
use super::{SourceError, topics};
use crate::config::{Delivery, KafkaConfig};
use crate::event::{CONTROL_HEADER, EventType};

/// How long writing one record to every partition may take.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// Remembers which partitions have acknowledged.
#[derive(Default)]
struct Acknowledgements {
    partitions: std::sync::Mutex<Vec<i32>>,
}

impl rdkafka::ClientContext for Acknowledgements {}

impl ProducerContext for Acknowledgements {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(message) => {
                use rdkafka::Message;
                self.partitions.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(message.partition());
            }
            Err((error, _)) => tracing::warn!(%error, "a control record was not delivered"),
        }
    }
}

/// Writes `value` with the header of `kind` to every partition of the events topic, and returns how many there are.
///
/// With transactions it becomes visible everywhere at once, or nowhere. One writer at a time: a second one fences the
/// first. Without, it is repeated until every partition has it; partitions may then hold copies, which the fold counts
/// as duplicates.
///
/// # Errors
/// [`SourceError::Unavailable`] where the broker does not answer in time: whether the transaction was committed may not
/// be known then, and without transactions some partitions may have it. Writing the same bytes again is safe either way.
pub fn write(kafka: &KafkaConfig, delivery: Delivery, kind: EventType, value: &[u8]) -> Result<u32, SourceError> {
    let asking: BaseConsumer = BaseConsumer::from_config(&client::base(kafka, ClientKind::Admin))
        .map_err(|error| SourceError::of("making a client", error))?;
    let count = topics::partition_count(&asking, &kafka.topics.events)?;
    if count == 0 {
        let source = KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition);
        return Err(SourceError::Refused { doing: format!("looking for topic {}", kafka.topics.events), source });
    }
    match delivery {
        Delivery::ExactlyOnce => write_in_transaction(kafka, count, kind, value)?,
        Delivery::AtLeastOnce => write_until_everywhere(kafka, count, kind, value)?,
    }
    Ok(count)
}

type ControlProducer = rdkafka::producer::BaseProducer<Acknowledgements>;

fn producer(kafka: &KafkaConfig, transactional_id: Option<&str>) -> Result<ControlProducer, SourceError> {
    use rdkafka::config::FromClientConfigAndContext;
    ControlProducer::from_config_and_context(&client::producer(kafka, transactional_id), Acknowledgements::default())
        .map_err(|error| SourceError::of("making a producer", error))
}

fn send(
    producer: &ControlProducer,
    topic: &str,
    partition: u32,
    kind: EventType,
    value: &[u8],
) -> Result<(), KafkaError> {
    let headers = OwnedHeaders::new().insert(Header { key: CONTROL_HEADER, value: Some(kind.name()) });
    let partition = i32::try_from(partition).unwrap_or(i32::MAX);
    let record = BaseRecord::<[u8], [u8]>::to(topic).partition(partition).payload(value).headers(headers);
    producer.send(record).map_err(|(error, _)| error)
}

fn write_in_transaction(kafka: &KafkaConfig, count: u32, kind: EventType, value: &[u8]) -> Result<(), SourceError> {
    let transactional_id = format!("{}.control", kafka.group);
    let doing = || format!("writing a control record as {transactional_id}");
    let producer = producer(kafka, Some(&transactional_id))?;
    let topic = &kafka.topics.events;
    let write = || -> Result<(), KafkaError> {
        producer.init_transactions(WRITE_TIMEOUT)?;
        producer.begin_transaction()?;
        for partition in 0..count {
            send(&producer, topic, partition, kind, value)?;
        }
        // A record that failed fails the commit.
        producer.commit_transaction(WRITE_TIMEOUT)
    };
    write().map_err(|error| {
        let _ = producer.abort_transaction(REQUEST_TIMEOUT);
        SourceError::of(doing(), error)
    })
}

fn write_until_everywhere(kafka: &KafkaConfig, count: u32, kind: EventType, value: &[u8]) -> Result<(), SourceError> {
    let doing = || "writing a control record to every partition".to_owned();
    let producer = producer(kafka, None)?;
    let deadline = Instant::now() + WRITE_TIMEOUT;
    let mut missing: Vec<u32> = (0..count).collect();
    while !missing.is_empty() {
        for partition in &missing {
            send(&producer, &kafka.topics.events, *partition, kind, value)
                .map_err(|error| SourceError::of(doing(), error))?;
        }
        let flushed = producer.flush(WRITE_TIMEOUT);
        let acknowledged =
            producer.context().partitions.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        missing.retain(|partition| !acknowledged.iter().any(|known| u32::try_from(*known) == Ok(*partition)));
        if !missing.is_empty() && Instant::now() >= deadline {
            let timed_out = KafkaError::Flush(RDKafkaErrorCode::OperationTimedOut);
            return Err(SourceError::of(doing(), flushed.err().unwrap_or(timed_out)));
        }
    }
    Ok(())
}
