//! Simulated traffic is lifelike: nearly everything that can become of a record becomes of some, and it all reaches the
//! topic where it belongs.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use bumpalo::Bump;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};
use seenby::config::KafkaConfig;
use seenby::dev::broker::Broker;
use seenby::dev::simulator::{RecordKind, Simulator, SimulatorConfig, produce};
use seenby::event::{
    CONTROL_HEADER, Epoch, EventTime, Offset, PartitionId, Record, RecordTime, decode_record, partition_of,
};
use seenby::fold::fact::{
    CountsFact, LedgerFact, MarkFact, MessageFact, NotificationFact, ParkedFact, PolicyFact, RecallFact, ReceiptFact,
    RejectionFact, RosterFact, SettlementFact, Sink,
};
use seenby::fold::{Outcome, Partition, PartitionIdentity};

use crate::support::events::{DAY, NOON};

const END: EventTime = EventTime::from_millis(NOON);

fn config(events: u64) -> SimulatorConfig {
    SimulatorConfig::ending_at(END, DAY as u32, events)
}

/// Keeps of all facts only how waits ended.
#[derive(Default)]
struct Settlements {
    met: BTreeSet<&'static str>,
}

impl Sink for Settlements {
    fn message(&mut self, _: &MessageFact<'_>) {}
    fn receipt(&mut self, _: &ReceiptFact<'_>) {}
    fn recall(&mut self, _: &RecallFact<'_>) {}
    fn roster(&mut self, _: &RosterFact<'_>) {}
    fn mark(&mut self, _: &MarkFact<'_>) {}
    fn parked(&mut self, _: &ParkedFact<'_>) {}
    fn settlement(&mut self, fact: &SettlementFact<'_>) {
        self.met.insert(fact.outcome.name());
    }
    fn policy(&mut self, _: &PolicyFact<'_>) {}
    fn rejection(&mut self, _: &RejectionFact<'_>) {}
    fn notification(&mut self, _: &NotificationFact<'_>) {}
    fn counts(&mut self, _: &CountsFact<'_>) {}
    fn ledger(&mut self, _: &LedgerFact<'_>) {}
}

#[test]
fn simulated_traffic_meets_every_outcome() {
    const PARTITIONS: u32 = 4;
    let identity = |partition| PartitionIdentity {
        epoch: Epoch::new(1),
        partition: PartitionId::new(partition),
        partitions: PARTITIONS,
    };
    let mut partitions: Vec<Partition> = (0..PARTITIONS).map(|partition| Partition::new(identity(partition))).collect();
    let mut settlements = Settlements::default();
    let mut met: BTreeMap<&str, u64> = BTreeMap::new();
    let mut arena = Bump::new();

    for (offset, simulated) in (0..).zip(Simulator::new(config(300_000)).unwrap()) {
        let targets = match &simulated.key {
            None => 0..PARTITIONS,
            Some(key) => {
                let partition = partition_of(key, PARTITIONS).get();
                partition..partition + 1
            }
        };
        for partition in targets {
            let record = Record {
                offset: Offset::new(offset),
                time: RecordTime::from_millis(NOON),
                key: simulated.key.as_deref(),
                value: &simulated.value,
                input: decode_record(&simulated.value, simulated.control_type().map(str::as_bytes), &arena),
            };
            let outcome = partitions[partition as usize].apply(&record, &mut settlements);
            *met.entry(outcome.name()).or_default() += 1;
        }
        arena.reset();
    }

    let missing: Vec<&str> =
        Outcome::ALL.map(Outcome::name).into_iter().filter(|name| !met.contains_key(name)).collect();
    // A receipt waits for 24 hours and the traffic has no more: only settlements can be not_found.
    assert_eq!(missing, ["not_found"], "{met:?}");
    for settled in ["counted", "duplicate"] {
        assert!(settlements.met.contains(settled), "{:?}", settlements.met);
    }
    assert!(met["counted"] > 150_000, "{met:?}");
}

#[test]
fn produced_traffic_stands_in_the_partitions_of_its_keys_and_policies_in_all() {
    const PARTITIONS: usize = 4;
    let broker = Broker::start(&[("seenby.events", PARTITIONS as i32)]).unwrap();
    let kafka = KafkaConfig { brokers: broker.bootstrap().to_owned(), ..KafkaConfig::default() };
    let simulator = Simulator::new(config(5_000)).unwrap();
    let policies = simulator.policies();
    let mut asked = 0;
    // Holding back for a while must lose nothing.
    let produced = produce(simulator, &kafka, 0, |_| {
        asked += 1;
        asked % 3 == 0
    })
    .unwrap();
    assert_eq!(produced.records, 5_000 + (policies * PARTITIONS) as u64);
    assert_eq!(produced.by_kind[&RecordKind::Policy], (policies * PARTITIONS) as u64);
    assert_eq!(produced.by_kind.values().sum::<u64>(), produced.records);
    assert!(asked > 10);

    let mut expected: HashMap<Vec<u8>, u64> = HashMap::new();
    for record in Simulator::new(config(5_000)).unwrap() {
        *expected.entry(record.value).or_default() += if record.key.is_none() { PARTITIONS as u64 } else { 1 };
    }
    for (partition, key, value, is_control) in consume(&kafka, PARTITIONS as i32, produced.records) {
        assert_eq!(is_control, key.is_none());
        if let Some(key) = key {
            assert_eq!(partition_of(&key, PARTITIONS as u32).get(), partition as u32);
        }
        let left = expected.get_mut(&value).expect("a record that was simulated");
        *left = left.checked_sub(1).expect("as often as it was simulated");
    }
    assert!(expected.values().all(|left| *left == 0));
}

type Consumed = (i32, Option<Vec<u8>>, Vec<u8>, bool);

fn consume(kafka: &KafkaConfig, partitions: i32, records: u64) -> Vec<Consumed> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &kafka.brokers)
        .set("group.id", "simulator-test")
        .create()
        .unwrap();
    let mut assignment = TopicPartitionList::new();
    for partition in 0..partitions {
        assignment.add_partition_offset(&kafka.topics.events, partition, KafkaOffset::Beginning).unwrap();
    }
    consumer.assign(&assignment).unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut consumed = Vec::new();
    while (consumed.len() as u64) < records {
        assert!(Instant::now() < deadline, "{} of {records} records", consumed.len());
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        let message = message.unwrap();
        let headers = message.headers();
        let is_control = headers.is_some_and(|headers| headers.iter().any(|header| header.key == CONTROL_HEADER));
        let value = message.payload().unwrap_or_default().to_vec();
        consumed.push((message.partition(), message.key().map(<[u8]>::to_vec), value, is_control));
    }
    consumed
}
