//! What changed for a sender's group messages: every change once, whatever flushes, deaths and merges come in between.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use proptest::collection;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use seenby::api;
use seenby::event::{Offset, partition_of};
use seenby::observe::Telemetry;
use seenby::store::{HydrationRequest, RowBatch, Store as _, Table, TopicIdentity};
use serde_json::{Value, json};

use crate::support::api::{SERVICE, TestApi, open_policy};
use crate::support::events::{
    MINUTE, NOON, OwnedRecord, group_message, group_read, group_recall, single_message, single_read,
};
use crate::support::store::{Log, go_on, topic};

const STATISTICS: &str = "/v1/org/app/users/alice/statistics";

fn pairs(answer: &Value) -> Vec<(String, u64)> {
    let told = answer["group_ack"].as_array().unwrap();
    told.iter().map(|ack| (ack["mid"].as_str().unwrap().to_owned(), ack["count"].as_u64().unwrap())).collect()
}

fn since(answer: &Value) -> String {
    format!("{STATISTICS}?since={}", answer["cursor"].as_str().unwrap())
}

#[test]
fn the_elements_have_both_names_of_each_field_and_the_group() {
    let mut api = TestApi::new("statistics_shape");
    let nothing = api.ok(STATISTICS);
    assert_eq!(
        (&nothing["group_ack"], &nothing["has_more"], &nothing["as_of"]),
        (&json!([]), &json!(false), &Value::Null)
    );
    api.flush(&[
        open_policy(1, |_| {}),
        group_message("m1").asking_receipts().record(),
        group_message("of-bob").from("bob").asking_receipts().record(),
        single_message("s1").record(),
        single_read("s1").record(),
        group_read("m1").from("bob").record(),
        group_read("m1").from("carol").record(),
        group_read("of-bob").from("carol").record(),
    ]);
    let answer = api.ok(&since(&nothing));
    assert_eq!(answer["group_ack"], json!([{"mid": "m1", "msgId": "m1", "count": 2, "readCount": 2, "group": "g1"}]));
    assert_eq!(answer["as_of"]["next_offsets"], json!([8]));
    assert_eq!(answer["as_of"]["watermark"], NOON);
    assert_eq!(api.ok(&since(&answer))["group_ack"], json!([]), "nothing changed since");

    api.flush(&[group_read("m1").from("bob").after(MINUTE).record(), group_recall("m1").record()]);
    assert_eq!(api.ok(&since(&answer))["group_ack"], json!([]), "a duplicate and a recall change no count");
    let now = api.ok(&format!("{STATISTICS}?since=now"));
    assert_eq!(now["group_ack"], json!([]));
    api.flush(&[group_message("m2").asking_receipts().record(), group_read("m2").from("dave").record()]);
    assert_eq!(pairs(&api.ok(&since(&now))), [("m2".to_owned(), 1)]);
}

#[test]
fn only_the_user_himself_and_services_may_ask_and_mistakes_are_named() {
    let mut api = TestApi::new("statistics_access");
    api.flush(&[open_policy(1, |_| {})]);
    for (token, status) in [
        (SERVICE, 200),
        ("token-of-root", 200),
        ("token-of-alice", 200),
        ("token-of-bob", 403),
        ("token-of-another-app", 404),
        ("wrong", 401),
    ] {
        assert_eq!(api.get(STATISTICS, token).status, status, "{token}");
    }
    let of_alice = api.ok(STATISTICS)["cursor"].as_str().unwrap().to_owned();
    for query in ["since=x".to_owned(), "limit=0".to_owned(), "sinc=now".to_owned(), "since=now&since=now".to_owned()] {
        let refused = api.get(&format!("{STATISTICS}?{query}"), SERVICE);
        assert_eq!((refused.status, &refused.body["code"]), (400, &json!("invalid_request")), "{query}");
        let parameter = query.split('=').next().unwrap();
        assert!(refused.body["detail"].as_str().unwrap().starts_with(parameter), "{}", refused.body);
    }
    let of_bob = api.get(&format!("/v1/org/app/users/bob/statistics?since={of_alice}"), SERVICE);
    assert_eq!(of_bob.status, 400, "a cursor belongs to one user");
}

#[test]
fn a_new_generation_of_the_log_goes_on_where_the_old_one_ended() {
    let mut api = TestApi::new("statistics_epochs");
    let first = topic(1, 1);
    api.log = Log::new(&first, 0);
    api.config.kafka.epoch = 1;
    api.router = api::router(&api.config, &Telemetry::default()).unwrap();
    api.flush(&[
        open_policy(1, |_| {}),
        group_message("m1").asking_receipts().record(),
        group_message("m2").asking_receipts().record(),
        group_read("m1").from("bob").record(),
    ]);
    let before = api.ok(STATISTICS);
    assert_eq!(pairs(&before), [("m1".to_owned(), 1)]);
    api.flush(&[group_read("m2").from("bob").record()]);

    let second = TopicIdentity { topic: "seenby.events.2".to_owned(), ..topic(2, 2) };
    api.config.kafka.epoch = 2;
    api.config.kafka.topics.events.clone_from(&second.topic);
    api.router = api::router(&api.config, &Telemetry::default()).unwrap();
    let partition = partition_of(b"org#app/g/g1", 2);
    let request = HydrationRequest { partition, committed: Offset::new(0) };
    let [hydrated] = api.store.store.hydrate(&second, &[request], &mut go_on).unwrap().try_into().unwrap();
    api.log = Log::resume(&second, hydrated.state, Offset::new(0));
    api.flush(&[group_read("m1").from("carol").record(), group_read("m1").from("dave").record()]);

    assert_eq!(pairs(&api.ok(STATISTICS)), [("m2".to_owned(), 1), ("m1".to_owned(), 3)], "from the beginning");
    let first_page = api.ok(&format!("{}&limit=1", since(&before)));
    assert_eq!((pairs(&first_page), &first_page["has_more"]), (vec![("m2".to_owned(), 1)], &json!(true)));
    let second_page = api.ok(&since(&first_page));
    assert_eq!((pairs(&second_page), &second_page["has_more"]), (vec![("m1".to_owned(), 3)], &json!(false)));
    assert_eq!(pairs(&api.ok(&since(&second_page))), []);
}

/// What happens between two answers, and the answers themselves.
#[derive(Clone, Debug)]
enum Step {
    /// Records come to a partition's log: message and reader; the sender himself stands for the message.
    Arrive(Vec<(u8, u8)>),
    /// A worker writes a flush of a partition, so many records at most, and commits it.
    Flush(u8, usize),
    /// A worker writes a flush and dies before its commit.
    Die(u8, usize),
    /// A worker dies before it has written the ledger.
    DieEarlier(u8, usize),
    /// ClickHouse drops replaced rows.
    Merge,
    /// The client asks, for so many at most.
    Ask(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let partition = || 0..2_u8;
    let step = prop_oneof![
        4 => collection::vec((0..8_u8, 0..6_u8), 1..12).prop_map(Step::Arrive),
        4 => (partition(), 1..12_usize).prop_map(|(partition, records)| Step::Flush(partition, records)),
        2 => (partition(), 1..20_usize).prop_map(|(partition, records)| Step::Die(partition, records)),
        2 => (partition(), 1..20_usize).prop_map(|(partition, records)| Step::DieEarlier(partition, records)),
        1 => Just(Step::Merge),
        4 => (1..5_usize).prop_map(Step::Ask),
    ];
    collection::vec(step, 5..40)
}

/// One partition's log and what of it is committed.
struct LoggedPartition {
    topic: TopicIdentity,
    number: u32,
    records: Vec<OwnedRecord>,
    committed: usize,
}

impl LoggedPartition {
    /// The rows of the next flush.
    fn fold(&self, most: usize) -> (RowBatch, usize) {
        let end = (self.committed + most).min(self.records.len());
        let mut log = Log::new(&self.topic, self.number);
        log.fold(&self.records[..self.committed], &mut RowBatch::new(self.topic.clone()));
        let mut batch = RowBatch::new(self.topic.clone());
        log.fold(&self.records[self.committed..end], &mut batch);
        (batch, end)
    }
}

/// The client: where he is, and the last count told of each message.
struct Client {
    path: String,
    next: String,
    told: BTreeMap<String, u64>,
}

impl Client {
    /// Asks once; whether there is more.
    fn ask(&mut self, api: &TestApi, limit: usize) -> bool {
        let joint = if self.next.contains('?') { '&' } else { '?' };
        let answer = api.ok(&format!("{}{joint}limit={limit}", self.next));
        assert!(answer["group_ack"].as_array().unwrap().len() <= limit);
        for (message, count) in pairs(&answer) {
            let before = self.told.insert(message.clone(), count).unwrap_or(0);
            assert!(before < count, "{message} was told with {before} and now with {count}");
        }
        self.next = format!("{}?since={}", self.path, answer["cursor"].as_str().unwrap());
        answer["has_more"].as_bool().unwrap()
    }
}

#[test]
fn every_change_is_told_by_its_last_count_and_nothing_twice() {
    let log = RefCell::new((TestApi::new("statistics_model"), 0));
    let mut runner = TestRunner::new(Config { cases: 10, failure_persistence: None, ..Config::default() });
    runner
        .run(&steps(), |steps| {
            let (api, number) = &mut *log.borrow_mut();
            *number += 1;
            check(api, *number, &steps);
            Ok(())
        })
        .unwrap();
}

/// One case, with a topic and a sender of its own.
fn check(api: &mut TestApi, number: u64, steps: &[Step]) {
    let sender = format!("sender{number}");
    api.config.kafka.topics.events = format!("events.{number}");
    api.router = api::router(&api.config, &Telemetry::default()).unwrap();
    let topic = TopicIdentity { topic: api.config.kafka.topics.events.clone(), ..topic(api.config.kafka.epoch, 2) };
    let policy = open_policy(1, |policy| policy.group.messages_per_day = 500);
    let mut partitions = [0, 1].map(|number| LoggedPartition {
        topic: topic.clone(),
        number,
        records: vec![policy.clone()],
        committed: 0,
    });
    let path = STATISTICS.replace("alice", &sender);
    let mut client = Client { path: path.clone(), next: path, told: BTreeMap::new() };
    let mut sent = BTreeSet::new();
    let mut readers: BTreeMap<String, BTreeSet<u8>> = BTreeMap::new();

    for step in steps {
        match step {
            Step::Arrive(arriving) => {
                for &(message, reader) in arriving {
                    let (id, group) = (format!("m{message}"), format!("g{message}-{number}"));
                    let record = if reader == 0 {
                        sent.insert(id.clone());
                        group_message(&id).to(&group).from(&sender).asking_receipts()
                    } else {
                        readers.entry(id.clone()).or_default().insert(reader);
                        group_read(&id).to(&group).from(&format!("u{reader}"))
                    };
                    let place = partition_of(record.key().as_bytes(), 2).get() as usize;
                    partitions[place].records.push(record.record());
                }
            }
            Step::Flush(partition, most) => {
                let partition = &mut partitions[usize::from(*partition)];
                let (batch, end) = partition.fold(*most);
                api.store.store.write(&batch).unwrap();
                partition.committed = end;
            }
            Step::Die(partition, most) => {
                let (batch, _) = partitions[usize::from(*partition)].fold(*most);
                api.store.store.write(&batch).unwrap();
            }
            Step::DieEarlier(partition, most) => {
                let (batch, _) = partitions[usize::from(*partition)].fold(*most);
                write_counts(api, &batch);
            }
            Step::Merge => api.store.execute("OPTIMIZE TABLE sender_counts FINAL"),
            Step::Ask(limit) => {
                client.ask(api, *limit);
            }
        }
    }

    for partition in &mut partitions {
        let (batch, end) = partition.fold(usize::MAX / 2);
        api.store.store.write(&batch).unwrap();
        partition.committed = end;
    }
    while client.ask(api, 3) {}
    readers.retain(|message, _| sent.contains(message));
    let counts: BTreeMap<String, u64> =
        readers.into_iter().map(|(message, readers)| (message, readers.len() as u64)).collect();
    assert_eq!(client.told, counts);
    assert!(!client.ask(api, 100), "nothing changed since");
}

/// What a worker leaves that dies before it has written the ledger.
fn write_counts(api: &TestApi, batch: &RowBatch) {
    let rows = batch.table(Table::SenderCounts).bytes().to_vec();
    if rows.is_empty() {
        return;
    }
    let client = api.store.client();
    api.store.runtime.block_on(async {
        let mut insert = client.insert_formatted_with(Table::SenderCounts.insert());
        insert.send(rows.into()).await.unwrap();
        insert.end().await.unwrap();
    });
}
