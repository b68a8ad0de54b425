//! A deployment of workers on real Kafka and real ClickHouse: topics, group and database of its own.

#![allow(dead_code)] // a vocabulary: not every word is in use at any time

mod load;
mod process;

pub use load::{load, open_policy};
pub use process::WorkerProcess;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::Offset as KafkaOffset;
use seenby::config::{Config, Delivery};
use seenby::event::{Epoch, PartitionId};
use seenby::observe::Telemetry;
use seenby::store::ledger::{self, LedgerTotal};
use seenby::store::{TopicIdentity, migrate};
use seenby::worker::{Worker, WorkerError};

use super::events::OwnedRecord;
use super::{clickhouse, kafka};

/// The longest that anything here is waited for.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Deployment {
    pub config: Config,
    pub client: ::clickhouse::Client,
    runtime: tokio::runtime::Runtime,
    producer: BaseProducer,
    partitions: u32,
}

/// A worker in this process.
pub struct RunningWorker {
    worker: Worker,
    pub telemetry: Telemetry,
}

/// A record read back from a topic.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicRecord {
    pub partition: u32,
    pub offset: u64,
    /// The broker's time in ms.
    pub time: Option<i64>,
    pub key: Option<Vec<u8>>,
    pub value: Vec<u8>,
    pub headers: BTreeMap<String, String>,
}

impl Deployment {
    /// Names of its own from `test`; an events topic with that many partitions; migrated tables.
    pub fn new(test: &str, partitions: u32, delivery: Delivery) -> Self {
        Self::on(kafka::bootstrap(), clickhouse::url(), test, partitions, delivery)
    }

    /// The same on a broker and a ClickHouse of one's choice.
    pub fn on(bootstrap: &str, clickhouse_url: &str, test: &str, partitions: u32, delivery: Delivery) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let database = format!("{test}_{}", uuid::Uuid::new_v4().simple());
        let client = clickhouse::client_of(clickhouse_url).with_database(&database);
        let mut config = Config::default();
        config.kafka.brokers = bootstrap.to_owned();
        config.kafka.group = database.clone();
        config.kafka.partitions = partitions;
        config.kafka.topics.events = format!("{database}.events");
        config.kafka.topics.notifications = format!("{database}.notifications");
        config.kafka.topics.rejections = format!("{database}.rejections");
        config.clickhouse.url = clickhouse_url.to_owned();
        config.clickhouse.database = database;
        config.clickhouse.compression = false;
        config.worker.delivery = delivery;
        config.worker.flush_interval_ms = 50;
        config.worker.session_timeout_ms = 6_000;
        config.worker.max_poll_interval_ms = 60_000;
        // What is erased stays in the tables, but where a test is about that.
        config.worker.erasure_interval_ms = 3_600_000;
        runtime.block_on(migrate(&config.clickhouse)).unwrap();
        seenby::log::topics::prepare(&config.kafka).unwrap();
        let producer = ClientConfig::new()
            .set("bootstrap.servers", &config.kafka.brokers)
            .set("enable.idempotence", "true")
            .set("message.max.bytes", "4000000")
            .set("compression.type", "lz4")
            .create()
            .unwrap();
        Self { config, client, runtime, producer, partitions }
    }

    /// Starts a worker under the configured instance name.
    pub fn start(&self) -> RunningWorker {
        self.start_as("worker-1")
    }

    /// Starts a worker under a name of its own.
    pub fn start_as(&self, instance: &str) -> RunningWorker {
        let mut config = self.config.clone();
        config.worker.instance = instance.to_owned();
        let telemetry = Telemetry::default();
        let worker = Worker::start(&config, &telemetry).unwrap();
        RunningWorker { worker, telemetry }
    }

    /// Produces records in order to the partitions of their keys, control records to every partition.
    pub fn produce(&self, records: &[OwnedRecord]) {
        records.iter().for_each(|record| self.send_to_all(record));
        self.producer.flush(PATIENCE).unwrap();
    }

    /// Produces one record to a partition that need not be its key's.
    pub fn produce_to(&self, record: &OwnedRecord, partition: u32) {
        self.send(record, partition);
        self.producer.flush(PATIENCE).unwrap();
    }

    /// Hands records to the producer as [`Deployment::produce`] does, which delivers them when the broker takes them.
    pub fn hand_over(&self, record: &OwnedRecord) {
        self.send_to_all(record);
        self.producer.poll(Duration::ZERO);
    }

    /// Waits until the broker has everything that was handed over.
    pub fn wait_for_delivery(&self) {
        self.producer.flush(PATIENCE).unwrap();
    }

    fn send_to_all(&self, record: &OwnedRecord) {
        let own =
            record.key.as_deref().map_or(PartitionId::new(0), |key| seenby::event::partition_of(key, self.partitions));
        let everywhere = 0..self.partitions;
        let partitions = if record.control.is_some() { everywhere } else { own.get()..own.get() + 1 };
        for partition in partitions {
            self.send(record, partition);
        }
    }

    fn send(&self, record: &OwnedRecord, partition: u32) {
        let mut headers = OwnedHeaders::new();
        if let Some(control) = &record.control {
            headers = headers.insert(Header { key: seenby::event::CONTROL_HEADER, value: Some(control) });
        }
        loop {
            let mut message = BaseRecord::<[u8], [u8]>::to(&self.config.kafka.topics.events)
                .partition(i32::try_from(partition).unwrap())
                .payload(&record.value)
                .headers(headers.clone());
            if let Some(key) = &record.key {
                message = message.key(key);
            }
            match self.producer.send(message) {
                Ok(()) => return,
                Err(_) => self.producer.poll(Duration::from_millis(10)),
            }
        }
    }

    pub fn topic(&self) -> TopicIdentity {
        TopicIdentity {
            topic: self.config.kafka.topics.events.clone(),
            epoch: Epoch::new(self.config.kafka.epoch),
            partitions: self.partitions,
        }
    }

    /// The ledger's sums.
    pub fn totals(&self) -> Vec<LedgerTotal> {
        self.runtime.block_on(ledger::totals(&self.client, &self.topic(), PATIENCE)).unwrap()
    }

    /// Records consumed, by type and outcome as `read counted`.
    pub fn outcomes(&self) -> BTreeMap<String, u64> {
        let records = self.totals().into_iter().filter(|total| total.measure == "records");
        let mut outcomes = BTreeMap::new();
        for total in records {
            *outcomes.entry(format!("{} {}", total.event_type, total.outcome)).or_default() += total.total;
        }
        outcomes
    }

    /// Waits until the ledger holds exactly so many records, and returns them by type and outcome.
    pub fn wait_for_records(&self, expected: u64) -> BTreeMap<String, u64> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let outcomes = self.outcomes();
            let sum: u64 = outcomes.values().sum();
            assert!(sum <= expected, "the ledger counts {sum} of {expected} records: {outcomes:?}");
            if sum == expected {
                return outcomes;
            }
            assert!(Instant::now() < deadline, "the ledger holds {sum} of {expected} records: {outcomes:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until the ledger holds at least so many records.
    pub fn wait_for_at_least(&self, expected: u64) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let sum: u64 = self.outcomes().values().sum();
            if sum >= expected {
                return;
            }
            assert!(Instant::now() < deadline, "the ledger holds {sum} of {expected} records");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until the group has committed everything that was produced.
    pub fn wait_for_commit(&self) {
        let deadline = Instant::now() + PATIENCE;
        while let Some(behind) = self.behind() {
            assert!(Instant::now() < deadline, "{behind}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What the group has not committed yet, in words.
    pub fn behind(&self) -> Option<String> {
        match self.uncommitted() {
            Ok(0) => None,
            Ok(records) => Some(format!("{records} records are not committed")),
            // A broker that has just started does not know the coordinator yet.
            Err(error) => Some(format!("what is committed is not known: {error}")),
        }
    }

    /// How many records of the log the group has not committed yet.
    pub fn uncommitted(&self) -> KafkaResult<u64> {
        let consumer = self.consumer();
        let topic = &self.config.kafka.topics.events;
        let partitions = 0..i32::try_from(self.partitions).unwrap();
        let mut asked = rdkafka::TopicPartitionList::new();
        asked.add_partition_range(topic, 0, partitions.end - 1);
        let committed = consumer.committed_offsets(asked, PATIENCE)?;
        let mut uncommitted = 0;
        for partition in partitions {
            let (_, end) = consumer.fetch_watermarks(topic, partition, PATIENCE)?;
            let committed = committed.find_partition(topic, partition).and_then(|found| found.offset().to_raw());
            uncommitted += u64::try_from(end - committed.unwrap_or(0).max(0)).unwrap();
        }
        Ok(uncommitted)
    }

    fn consumer(&self) -> BaseConsumer {
        self.consumer_of("read_committed")
    }

    fn consumer_of(&self, isolation: &str) -> BaseConsumer {
        ClientConfig::new()
            .set("bootstrap.servers", &self.config.kafka.brokers)
            .set("group.id", &self.config.kafka.group)
            .set("isolation.level", isolation)
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("fetch.wait.max.ms", "10")
            .create()
            .unwrap()
    }

    /// Where each partition of a topic ends: what is in open transactions counts where nothing need be committed.
    fn ends(&self, topic: &str, isolation: &str) -> Vec<i64> {
        let consumer = self.consumer_of(isolation);
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
        let partitions = 0..i32::try_from(metadata.topics()[0].partitions().len()).unwrap();
        partitions.map(|partition| consumer.fetch_watermarks(topic, partition, PATIENCE).unwrap().1).collect()
    }

    /// Whether notifications or rejections stand in a transaction that nobody has ended yet.
    pub fn is_transaction_open(&self) -> bool {
        let topics = &self.config.kafka.topics;
        [&topics.notifications, &topics.rejections].into_iter().any(|topic| {
            let stable = self.ends(topic, "read_committed");
            stable != self.ends(topic, "read_uncommitted")
        })
    }

    /// All records of the events topic, each partition in log order.
    pub fn events(&self) -> Vec<TopicRecord> {
        self.read_all(&self.config.kafka.topics.events)
    }

    /// All committed records of the notifications topic.
    pub fn notifications(&self) -> Vec<TopicRecord> {
        self.read_all(&self.config.kafka.topics.notifications)
    }

    /// All committed records of the rejections topic.
    pub fn rejections(&self) -> Vec<TopicRecord> {
        self.read_all(&self.config.kafka.topics.rejections)
    }

    /// Everybody told of, as (kind, message, reader), in no order and with repetitions.
    pub fn told(&self) -> Vec<(String, String, String)> {
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let mut told = Vec::new();
        for record in self.notifications() {
            let json: serde_json::Value = serde_json::from_slice(&record.value).unwrap();
            for reader in json["readers"].as_array().unwrap() {
                told.push((text(&json["kind"]), text(&json["message"]), text(&reader["user"])));
            }
        }
        told.sort();
        told
    }

    /// All committed records of a topic up to its present end; a transaction that is open there is waited for.
    fn read_all(&self, topic: &str) -> Vec<TopicRecord> {
        let ends = self.ends(topic, "read_uncommitted");
        let consumer = self.consumer();
        let mut assignment = rdkafka::TopicPartitionList::new();
        for partition in 0..ends.len() {
            assignment.add_partition_offset(topic, i32::try_from(partition).unwrap(), KafkaOffset::Beginning).unwrap();
        }
        consumer.assign(&assignment).unwrap();
        let is_at_end = |partition: i32| {
            let position = consumer.position().unwrap().find_partition(topic, partition).unwrap().offset().to_raw();
            let end = ends[usize::try_from(partition).unwrap()];
            end == 0 || position.is_some_and(|position| position >= end)
        };
        let deadline = Instant::now() + PATIENCE;
        let mut records = Vec::new();
        let mut unended: BTreeSet<i32> = (0..i32::try_from(ends.len()).unwrap()).collect();
        while !unended.is_empty() {
            assert!(Instant::now() < deadline, "topic {topic} was not read to its end");
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => records.push(TopicRecord {
                    partition: u32::try_from(message.partition()).unwrap(),
                    offset: u64::try_from(message.offset()).unwrap(),
                    time: message.timestamp().to_millis(),
                    key: message.key().map(<[u8]>::to_vec),
                    value: message.payload().unwrap_or_default().to_vec(),
                    headers: message.headers().map_or_else(BTreeMap::new, |headers| {
                        let text = |value: Option<&[u8]>| String::from_utf8(value.unwrap().to_vec()).unwrap();
                        headers.iter().map(|header| (header.key.to_owned(), text(header.value))).collect()
                    }),
                }),
                // The end of what is stable, which it is again and again while a transaction is open.
                Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => unended.retain(|&each| !is_at_end(each)),
                Some(Err(error)) => panic!("reading {topic}: {error}"),
                None => {}
            }
        }
        records
    }

    /// The rows of a statement with one column of text.
    pub fn lines(&self, sql: &str) -> Vec<String> {
        let not_null = format!("SELECT assumeNotNull(tuple(*).1) FROM ({sql})");
        self.runtime.block_on(self.client.query(&not_null).fetch_all()).unwrap()
    }

    /// One number from the tables.
    pub fn number(&self, sql: &str) -> u64 {
        self.runtime.block_on(self.client.query(sql).fetch_one()).unwrap()
    }
}

impl RunningWorker {
    /// Waits until it reads all that the group gave it.
    pub fn wait_until_ready(&self) {
        let deadline = Instant::now() + PATIENCE;
        while !self.telemetry.readiness.report().ready {
            assert!(Instant::now() < deadline, "not ready: {:?}", self.telemetry.readiness.report());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A metric's sum over its labels.
    pub fn metric(&self, name: &str) -> f64 {
        let families = self.telemetry.registry.gather();
        let family = families.iter().find(|family| family.name() == name);
        let metrics = family.map(|family| family.get_metric()).unwrap_or_default();
        metrics.iter().map(|metric| metric.get_counter().get_value() + metric.get_gauge().get_value()).sum()
    }

    /// Finishes the flush and ends.
    pub fn stop(self, leave: bool) -> Result<(), WorkerError> {
        self.worker.stop_signal().request(leave);
        self.join()
    }

    /// Waits until it ends.
    pub fn join(self) -> Result<(), WorkerError> {
        let (ended, end) = std::sync::mpsc::channel();
        std::thread::spawn(move || ended.send(self.worker.join()));
        end.recv_timeout(PATIENCE).expect("the worker goes on")
    }
}

impl Deployment {
    /// Runs a statement without an answer.
    pub fn execute(&self, sql: &str) {
        self.runtime.block_on(self.client.query(sql).execute()).unwrap();
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        ClientConfig::new().set("bootstrap.servers", &self.config.kafka.brokers).create().unwrap()
    }

    /// What the group has committed of a partition, with what stands beside it; -1001 where it has not.
    pub fn committed(&self, partition: u32) -> (i64, String) {
        let mut asked = rdkafka::TopicPartitionList::new();
        asked.add_partition(&self.config.kafka.topics.events, i32::try_from(partition).unwrap());
        let answer = self.consumer().committed_offsets(asked, PATIENCE).unwrap();
        let element = &answer.elements()[0];
        (element.offset().to_raw().unwrap(), element.metadata().to_owned())
    }

    /// Commits for the group, in which there may be nobody.
    pub fn commit_by_hand(&self, partition: u32, offset: i64, metadata: &str) {
        let mut positions = rdkafka::TopicPartitionList::new();
        let partition = i32::try_from(partition).unwrap();
        let mut position = positions.add_partition(&self.config.kafka.topics.events, partition);
        position.set_offset(KafkaOffset::Offset(offset)).unwrap();
        position.set_metadata(metadata);
        self.consumer().commit(&positions, CommitMode::Sync).unwrap();
    }

    /// Removes every record of the events topic, as retention does with segments of an idle one.
    pub fn delete_all_records(&self) {
        let mut ends = rdkafka::TopicPartitionList::new();
        for partition in 0..i32::try_from(self.partitions).unwrap() {
            ends.add_partition_offset(&self.config.kafka.topics.events, partition, KafkaOffset::End).unwrap();
        }
        let answer = self.runtime.block_on(self.admin().delete_records(&ends, &AdminOptions::new())).unwrap();
        answer.elements().iter().for_each(|element| element.error().unwrap());
    }

    /// Lets the log of a partition begin at an offset, as retention does.
    pub fn cut_log(&self, partition: i32, offset: i64) {
        let mut begins = rdkafka::TopicPartitionList::new();
        begins.add_partition_offset(&self.config.kafka.topics.events, partition, KafkaOffset::Offset(offset)).unwrap();
        let answer = self.runtime.block_on(self.admin().delete_records(&begins, &AdminOptions::new())).unwrap();
        answer.elements().iter().for_each(|element| element.error().unwrap());
    }

    /// Breaks the rule that an events topic keeps its partition count.
    pub fn add_partition(&self) {
        let more = NewPartitions::new(&self.config.kafka.topics.events, self.partitions as usize + 1);
        let answers = self.runtime.block_on(self.admin().create_partitions([&more], &AdminOptions::new())).unwrap();
        answers.into_iter().for_each(|answer| drop(answer.unwrap()));
    }
}

impl Deployment {
    /// A new events topic, and the epoch after this one.
    pub fn begin_epoch(&mut self, partitions: u32) {
        self.config.kafka.epoch += 1;
        self.config.kafka.topics.events = format!("{}.{}", self.config.kafka.topics.events, self.config.kafka.epoch);
        self.config.kafka.partitions = partitions;
        self.partitions = partitions;
        seenby::log::topics::prepare(&self.config.kafka).unwrap();
    }

    /// Deletes the events topic and makes it anew under its name.
    pub fn recreate_topic(&self) {
        let topic = self.config.kafka.topics.events.as_str();
        let answers = self.runtime.block_on(self.admin().delete_topics(&[topic], &AdminOptions::new())).unwrap();
        answers.into_iter().for_each(|answer| drop(answer.unwrap()));
        // The broker deletes a little later.
        let deadline = Instant::now() + PATIENCE;
        while seenby::log::topics::prepare(&self.config.kafka).is_err() {
            assert!(Instant::now() < deadline, "the topic does not come back");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}
