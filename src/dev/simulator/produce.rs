//! The records on a topic, at a bounded rate.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};

use super::{RecordKind, SimulatedRecord, Simulator};
use crate::config::KafkaConfig;
use crate::event::CONTROL_HEADER;
use crate::log::client;

/// How many records go between two looks at the clock, the deliveries and the caller's wish.
const BURST: u64 = 256;

const BROKER_TIMEOUT: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(2);

/// Why traffic stopped.
#[derive(Debug, thiserror::Error)]
pub enum ProduceError {
    /// No producer, or the topic's partitions could not be found out.
    #[error("preparing to produce to topic {topic} on {brokers}: {source}; check kafka.brokers and the topic")]
    Prepare {
        /// The topic.
        topic: String,
        /// The brokers asked.
        brokers: String,
        /// What librdkafka says.
        source: Box<KafkaError>,
    },
    /// The topic is not there.
    #[error("producing to topic {topic}: it has no partitions; create it first (a worker does at its start)")]
    NoTopic {
        /// The topic.
        topic: String,
    },
    /// A record was not taken.
    #[error("producing record {record} to topic {topic}: {source}")]
    Send {
        /// The topic.
        topic: String,
        /// Number of the record, from 1.
        record: u64,
        /// What librdkafka says.
        source: Box<KafkaError>,
    },
    /// Records were taken by the client and refused by the broker.
    #[error("{failed} of {records} records were not delivered to topic {topic}, the first with: {reason}")]
    NotDelivered {
        /// The topic.
        topic: String,
        /// Records lost.
        failed: u64,
        /// Records sent.
        records: u64,
        /// The first reason given.
        reason: String,
    },
}

/// How far traffic has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Records handed to the client, each copy of a policy counted.
    pub sent: u64,
    /// Records that the broker has confirmed.
    pub delivered: u64,
}

/// What has been produced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Produced {
    /// Records in all, each copy of a policy counted.
    pub records: u64,
    /// Records by what they were made as.
    pub by_kind: BTreeMap<RecordKind, u64>,
}

/// Produces the whole stream to the events topic, at most `rate` records a second (0: as fast as the client takes them).
///
/// `may_go_on` is asked every few hundred records and every few ms; while it says no, nothing is sent: so a caller
/// holds traffic back until consumers have caught up. Policies go to every partition, events by murmur2 of their key.
///
/// # Errors
/// The first record that could not be sent, or at the end how many the broker refused.
pub fn produce(
    mut simulator: Simulator,
    kafka: &KafkaConfig,
    rate: u32,
    mut may_go_on: impl FnMut(Progress) -> bool,
) -> Result<Produced, ProduceError> {
    let topic = kafka.topics.events.as_str();
    let (producer, partitions) = prepare(kafka)?;
    let deliveries = producer.context();
    let started = Instant::now();
    let mut produced = Produced::default();
    let mut record = SimulatedRecord { kind: RecordKind::Event, key: None, value: Vec::new() };

    while simulator.next_into(&mut record) {
        let copies = if record.kind == RecordKind::Policy { 0..partitions } else { -1..0 };
        for partition in copies {
            send(&producer, topic, &record, partition).map_err(|source| ProduceError::Send {
                topic: topic.to_owned(),
                record: produced.records + 1,
                source: source.into(),
            })?;
            produced.records += 1;
            *produced.by_kind.entry(record.kind).or_default() += 1;
        }
        if produced.records.is_multiple_of(BURST) || rate > 0 && u64::from(rate) < BURST {
            producer.poll(Duration::ZERO);
            let progress =
                || Progress { sent: produced.records, delivered: deliveries.delivered.load(Ordering::Relaxed) };
            while is_ahead(produced.records, rate, started) || !may_go_on(progress()) {
                producer.poll(PAUSE);
                // The producer returns at once where it has nothing to tell.
                std::thread::sleep(PAUSE);
            }
        }
    }

    producer.flush(BROKER_TIMEOUT).map_err(|source| ProduceError::Send {
        topic: topic.to_owned(),
        record: produced.records,
        source: source.into(),
    })?;
    match deliveries.failed.load(Ordering::Relaxed) {
        0 => Ok(produced),
        failed => Err(ProduceError::NotDelivered {
            topic: topic.to_owned(),
            failed,
            records: produced.records,
            reason: deliveries.first_failure(),
        }),
    }
}

fn prepare(kafka: &KafkaConfig) -> Result<(BaseProducer<Deliveries>, i32), ProduceError> {
    let topic = kafka.topics.events.as_str();
    let failed = |source: KafkaError| ProduceError::Prepare {
        topic: topic.to_owned(),
        brokers: kafka.brokers.clone(),
        source: source.into(),
    };

    let producer: BaseProducer<Deliveries> =
        client::simulator(kafka).create_with_context(Deliveries::default()).map_err(failed)?;
    let metadata = producer.client().fetch_metadata(Some(topic), BROKER_TIMEOUT).map_err(failed)?;
    let partitions =
        metadata.topics().iter().find(|known| known.name() == topic).map_or(0, |known| known.partitions().len());
    if partitions == 0 {
        return Err(ProduceError::NoTopic { topic: topic.to_owned() });
    }
    Ok((producer, partitions as i32))
}

/// Whether more records are out than the rate allows by now.
fn is_ahead(records: u64, rate: u32, started: Instant) -> bool {
    rate > 0 && records as f64 > started.elapsed().as_secs_f64() * f64::from(rate)
}

/// Sends to a partition, or with -1 to the one of the key. Waits while the client's queue is full.
fn send(
    producer: &BaseProducer<Deliveries>,
    topic: &str,
    record: &SimulatedRecord,
    partition: i32,
) -> Result<(), KafkaError> {
    let mut outgoing = BaseRecord::<[u8], [u8]>::to(topic).payload(&record.value);
    if let Some(key) = &record.key {
        outgoing = outgoing.key(key);
    }
    if let Some(control_type) = record.control_type() {
        let header = Header { key: CONTROL_HEADER, value: Some(control_type) };
        outgoing = outgoing.partition(partition).headers(OwnedHeaders::new().insert(header));
    }
    loop {
        match producer.send(outgoing) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), refused)) => {
                outgoing = refused;
                producer.poll(Duration::from_millis(10));
            }
            Err((error, _)) => return Err(error),
        }
    }
}

/// Counts what the broker says of each record.
#[derive(Default)]
struct Deliveries {
    delivered: AtomicU64,
    failed: AtomicU64,
    reason: Mutex<Option<String>>,
}

impl Deliveries {
    fn first_failure(&self) -> String {
        self.reason.lock().ok().and_then(|reason| reason.clone()).unwrap_or_default()
    }
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _: ()) {
        match result {
            Ok(_) => _ = self.delivered.fetch_add(1, Ordering::Relaxed),
            Err((error, _)) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                if let Ok(mut reason) = self.reason.lock() {
                    reason.get_or_insert_with(|| error.to_string());
                }
            }
        }
    }
}
