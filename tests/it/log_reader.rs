//! A range of the log is read outside of the group: every committed record once, and to its end whatever stands there.

use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use seenby::config::{Delivery, KafkaConfig};
use seenby::dev::broker::Broker;
use seenby::event::{EventType, Offset, PartitionId, RecordTime};
use seenby::log::control::{ControlRecord, ControlWriter};
use seenby::log::{KafkaLogReader, LogReader, RecordBatch, SourceError};

use crate::support::kafka;

const WITHIN: Duration = Duration::from_secs(30);
const PARTITION: PartitionId = PartitionId::new(1);

fn settings(brokers: &str, topic: &str) -> KafkaConfig {
    let mut settings =
        KafkaConfig { brokers: brokers.to_owned(), group: kafka::unique("reader"), ..Default::default() };
    settings.topics.events = topic.to_owned();
    settings
}

/// Produces to [`PARTITION`]; with a `transactional_id` in a transaction that is then aborted.
fn produce(settings: &KafkaConfig, values: &[&str], aborted: Option<&str>) {
    let mut client = ClientConfig::new();
    client.set("bootstrap.servers", &settings.brokers);
    if let Some(transactional_id) = aborted {
        client.set("transactional.id", transactional_id);
    }
    let producer: BaseProducer = client.create().unwrap();
    if aborted.is_some() {
        producer.init_transactions(WITHIN).unwrap();
        producer.begin_transaction().unwrap();
    }
    for value in values {
        producer.send(BaseRecord::<[u8], str>::to(&settings.topics.events).partition(1).payload(value)).unwrap();
    }
    producer.flush(WITHIN).unwrap();
    if aborted.is_some() {
        producer.abort_transaction(WITHIN).unwrap();
    }
}

/// Reads on up to `until` and returns what came, as `offset value`, and where reading stands then.
fn read_to(reader: &mut impl LogReader, until: u64) -> (Vec<String>, u64) {
    let until = Offset::new(until);
    let mut batch = RecordBatch::default();
    let mut records = Vec::new();
    loop {
        let passed = reader.read(until, &mut batch).unwrap();
        records.extend(batch.iter().map(|record| {
            assert_eq!(record.partition, PARTITION);
            format!("{} {}", record.offset.get(), String::from_utf8_lossy(record.value))
        }));
        if passed >= until {
            return (records, passed.get());
        }
    }
}

fn read_from(reader: &mut impl LogReader, from: u64, until: u64) -> Vec<String> {
    reader.begin(PARTITION, Offset::new(from)).unwrap();
    read_to(reader, until).0
}

#[tokio::test]
async fn markers_of_transactions_within_a_range_and_at_its_end_are_passed() {
    let topic = kafka::topic("log_reader", 2).await;
    let settings = settings(kafka::bootstrap(), &topic);
    let settings = &settings;
    let mut reader = KafkaLogReader::new(settings).unwrap();
    // Markers are written after the end of their transaction was answered.
    let mut wait_for_end = |end: u64| {
        let deadline = Instant::now() + WITHIN;
        while reader.log_range(PARTITION).unwrap() != (Offset::new(0), Offset::new(end)) {
            assert!(Instant::now() < deadline, "the log does not end at {end}");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let writer = ControlWriter::connect(settings, Delivery::ExactlyOnce).unwrap();
    let control = |value: &str| {
        let record = ControlRecord { kind: EventType::Policy, version: 1, value: value.as_bytes() };
        writer.write(&record, writer.last_version().unwrap()).unwrap();
    };
    produce(settings, &["a", "b"], None); // 0, 1
    control("first"); // 2, its marker 3
    wait_for_end(4);
    produce(settings, &["c"], None); // 4
    produce(settings, &["never", "seen"], Some(&kafka::unique("aborting"))); // 5, 6, the marker 7
    wait_for_end(8);
    control("last"); // 8, its marker 9
    wait_for_end(10);

    let all = ["0 a", "1 b", "2 first", "4 c", "8 last"];
    assert_eq!(read_from(&mut reader, 0, 10), all);
    // Every range gives what stands in it, be it that it begins or ends at a marker or at an aborted record.
    let offset_of = |record: &str| record.split(' ').next().unwrap().parse::<u64>().unwrap();
    for from in 0..10 {
        for until in from..=10 {
            let expected: Vec<_> = all.iter().filter(|record| (from..until).contains(&offset_of(record))).collect();
            assert_eq!(read_from(&mut reader, from, until).iter().collect::<Vec<_>>(), expected, "{from}..{until}");
        }
    }
}

#[tokio::test]
async fn reading_goes_on_where_the_range_before_ended() {
    let topic = kafka::topic("log_reader_on", 2).await;
    let settings = settings(kafka::bootstrap(), &topic);
    produce(&settings, &["a", "b", "c", "d"], None);
    let mut reader = KafkaLogReader::new(&settings).unwrap();
    reader.begin(PARTITION, Offset::new(0)).unwrap();
    assert_eq!(read_to(&mut reader, 1), (vec!["0 a".to_owned()], 1));
    assert_eq!(read_to(&mut reader, 1), (vec![], 1), "nothing is handed on twice");
    assert_eq!(read_to(&mut reader, 3), (vec!["1 b".to_owned(), "2 c".to_owned()], 3));
    assert_eq!(read_to(&mut reader, 4).0, ["3 d"]);
}

#[tokio::test]
async fn a_time_is_the_offset_of_the_first_record_from_then_on() {
    let topic = kafka::topic("log_reader_times", 2).await;
    let settings = settings(kafka::bootstrap(), &topic);
    let mut reader = KafkaLogReader::new(&settings).unwrap();
    assert_eq!(reader.offset_at(PARTITION, RecordTime::from_millis(0)).unwrap(), Offset::new(0), "an empty log");
    for value in ["a", "b", "c"] {
        produce(&settings, &[value], None);
        std::thread::sleep(Duration::from_millis(2));
    }
    let mut batch = RecordBatch::default();
    reader.begin(PARTITION, Offset::new(0)).unwrap();
    let mut times = Vec::new();
    while times.len() < 3 {
        reader.read(Offset::new(3), &mut batch).unwrap();
        times.extend(batch.iter().map(|record| record.time.millis()));
    }
    let mut offset_at = |time: i64| reader.offset_at(PARTITION, RecordTime::from_millis(time)).unwrap().get();
    for (offset, time) in (0..).zip(&times) {
        assert_eq!(offset_at(*time), offset);
    }
    assert_eq!(offset_at(times[0] + 1), 1);
    assert_eq!(offset_at(times[2] + 1), 3, "the end of the log");
}

#[tokio::test]
async fn a_range_that_is_not_in_the_log_is_refused() {
    let topic = kafka::topic("log_reader_range", 2).await;
    let settings = settings(kafka::bootstrap(), &topic);
    produce(&settings, &["a"], None);
    let mut reader = KafkaLogReader::new(&settings).unwrap();
    reader.begin(PARTITION, Offset::new(5)).unwrap();
    let error = reader.read(Offset::new(9), &mut RecordBatch::default()).unwrap_err();
    assert!(matches!(error, SourceError::OutOfRange { .. }), "{error}");
}

#[test]
fn the_broker_in_process_is_read_the_same_way() {
    let broker = Broker::start(&[("t", 2)]).unwrap();
    let settings = settings(broker.bootstrap(), "t");
    produce(&settings, &["a", "b", "c"], None);
    let mut reader = KafkaLogReader::new(&settings).unwrap();
    let (low, high) = reader.log_range(PARTITION).unwrap();
    assert_eq!((low.get(), high.get()), (0, 3));
    assert_eq!(read_from(&mut reader, 1, 3), ["1 b", "2 c"]);
    assert_eq!(read_from(&mut reader, 0, 2), ["0 a", "1 b"]);
}
