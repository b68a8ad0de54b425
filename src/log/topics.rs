//! The three topics: made or checked before a worker starts.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::FromClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaErrorCode;

use super::SourceError;
use super::client::{self, ClientKind, REQUEST_TIMEOUT};
use crate::config::KafkaConfig;

/// Somebody waits for the answer, and can do without it.
const DESCRIBE_TIMEOUT: Duration = Duration::from_secs(3);

/// What is known of the topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topics {
    /// How many partitions the events topic has; fixed for its life.
    pub event_partitions: u32,
}

/// Makes the topics that are not there and checks those that are. The events topic gets broker times
/// (`message.timestamp.type=LogAppendTime`); another setting of one that is there is only a warning, and a broker
/// without an administration interface (the in-process one of the demo) is taken as it is.
///
/// Blocks; not to be called within an asynchronous runtime.
pub fn prepare(kafka: &KafkaConfig) -> Result<Topics, SourceError> {
    // A consumer without a group: unlike a producer it never makes a topic by asking for it.
    let asking = BaseConsumer::from_config(&client::base(kafka, ClientKind::Admin))
        .map_err(|error| SourceError::of("making a client", error))?;
    let topics = &kafka.topics;
    let mut missing = Vec::new();
    for topic in [&topics.events, &topics.notifications, &topics.rejections] {
        if partition_count(&asking, topic)? == 0 {
            missing.push(topic.as_str());
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        let source = KafkaError::ClientCreation(error.to_string());
        SourceError::Refused { doing: "making a runtime for administration".to_owned(), source }
    })?;
    let admin = AdminClient::from_config(&client::base(kafka, ClientKind::Admin))
        .map_err(|error| SourceError::of("making an administration client", error))?;
    if !missing.is_empty() {
        runtime.block_on(create(&admin, kafka, &missing))?;
    }
    let event_partitions = wait_until_known(&asking, &topics.events)?;
    // Only a warning hangs on the answer, and a broker without that interface takes the whole time-out to give none.
    let events = topics.events.clone();
    let checking = std::thread::Builder::new()
        .name("topic-times".to_owned())
        .spawn(move || runtime.block_on(check_times(&admin, &events)));
    if let Err(error) = checking {
        tracing::warn!(%error, "what record times are stays unchecked");
    }
    Ok(Topics { event_partitions })
}

/// How long a topic keeps its records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicRetention {
    /// Its name.
    pub topic: String,
    /// The age at which a segment may go, in ms; `None` for never.
    pub retention_millis: Option<u64>,
    /// How long a segment takes records, in ms: it goes as a whole.
    pub segment_millis: u64,
}

/// How long the three topics keep their records, as the broker has it.
///
/// Blocks; not to be called on a thread of an asynchronous runtime.
///
/// # Errors
/// Where the broker does not answer, or has no such interface.
pub fn retentions(kafka: &KafkaConfig) -> Result<Vec<TopicRetention>, SourceError> {
    let doing = || "asking what topics keep".to_owned();
    let failed = |error: KafkaError| SourceError::of(doing(), error);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        SourceError::Refused { doing: doing(), source: KafkaError::ClientCreation(error.to_string()) }
    })?;
    let admin: AdminClient<DefaultClientContext> =
        AdminClient::from_config(&client::base(kafka, ClientKind::Admin)).map_err(failed)?;
    let topics = [&kafka.topics.events, &kafka.topics.notifications, &kafka.topics.rejections];
    let asked = topics.map(|topic| ResourceSpecifier::Topic(topic));
    let options = AdminOptions::new().request_timeout(Some(DESCRIBE_TIMEOUT));
    let described = runtime.block_on(admin.describe_configs(&asked, &options)).map_err(failed)?;
    let mut kept = Vec::with_capacity(topics.len());
    for (topic, resource) in topics.into_iter().zip(described) {
        let resource = resource.map_err(|code| failed(KafkaError::AdminOp(code)))?;
        let entries = resource.entry_map();
        let number = |name: &str| entries.get(name).and_then(|entry| entry.value.as_ref()?.parse::<i64>().ok());
        kept.push(TopicRetention {
            topic: topic.clone(),
            retention_millis: number("retention.ms").and_then(|millis| u64::try_from(millis).ok()),
            segment_millis: number("segment.ms").and_then(|millis| u64::try_from(millis).ok()).unwrap_or_default(),
        });
    }
    Ok(kept)
}

async fn create(
    admin: &AdminClient<DefaultClientContext>,
    kafka: &KafkaConfig,
    missing: &[&str],
) -> Result<(), SourceError> {
    let partitions = i32::try_from(kafka.partitions).unwrap_or(i32::MAX);
    let wanted = missing.iter().map(|name| {
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(kafka.replication));
        if *name == kafka.topics.events { topic.set("message.timestamp.type", "LogAppendTime") } else { topic }
    });
    let wanted: Vec<NewTopic<'_>> = wanted.collect();
    let options = AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT)).operation_timeout(Some(REQUEST_TIMEOUT));
    let doing = || format!("making topics {}", missing.join(", "));
    for result in admin.create_topics(&wanted, &options).await.map_err(|error| SourceError::of(doing(), error))? {
        match result {
            Ok(topic) => tracing::info!(topic, partitions, "topic made"),
            // Somebody else was faster.
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => {
                return Err(SourceError::of(format!("making topic {topic}"), KafkaError::AdminOp(code)));
            }
        }
    }
    Ok(())
}

/// The ledger's hours, lag and the skew check go by the record's time: it should be the broker's, not the producer's.
async fn check_times(admin: &AdminClient<DefaultClientContext>, events: &str) {
    let options = AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT));
    let described = admin.describe_configs([&ResourceSpecifier::Topic(events)], &options).await;
    let setting = described.ok().and_then(|resources| resources.into_iter().next()).and_then(|resource| {
        resource.ok()?.entry_map().get("message.timestamp.type").and_then(|entry| entry.value.clone())
    });
    match setting.as_deref() {
        Some("LogAppendTime") => {}
        Some(other) => tracing::warn!(
            topic = events,
            setting = other,
            "message.timestamp.type should be LogAppendTime: record times are the producers' own"
        ),
        None => tracing::debug!(topic = events, "the broker does not say what record times are"),
    }
}

/// How many partitions a topic has; 0 where it is not there, or not yet.
///
/// # Errors
/// What the broker said of the topic, such as a missing right: it may well be there then.
pub(super) fn partition_count<C: rdkafka::consumer::ConsumerContext>(
    asking: &BaseConsumer<C>,
    topic: &str,
) -> Result<u32, SourceError> {
    let count = || -> KafkaResult<usize> {
        let metadata = asking.fetch_metadata(Some(topic), REQUEST_TIMEOUT)?;
        let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else { return Ok(0) };
        match found.error().map(RDKafkaErrorCode::from) {
            None => Ok(found.partitions().len()),
            Some(code) => Err(KafkaError::MetadataFetch(code)),
        }
    };
    match count() {
        Ok(count) => Ok(u32::try_from(count).unwrap_or(u32::MAX)),
        Err(error)
            if matches!(
                error.rdkafka_error_code(),
                Some(
                    RDKafkaErrorCode::UnknownTopicOrPartition
                        | RDKafkaErrorCode::UnknownTopic
                        // Just made, by somebody else.
                        | RDKafkaErrorCode::LeaderNotAvailable
                )
            ) =>
        {
            Ok(0)
        }
        Err(error) => Err(SourceError::of(format!("looking for topic {topic}"), error)),
    }
}

/// A topic just made is not known to every broker at once.
fn wait_until_known(asking: &BaseConsumer, topic: &str) -> Result<u32, SourceError> {
    let attempts = 50;
    for _ in 0..attempts {
        let count = partition_count(asking, topic)?;
        if count > 0 {
            return Ok(count);
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let source = KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition);
    Err(SourceError::Refused { doing: format!("looking for topic {topic}"), source })
}
