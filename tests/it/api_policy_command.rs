//! `seenby policy set` and `policy get` as an operator runs them.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use seenby::event::{CONTROL_HEADER, Control, decode_control};
use seenby::policy::Viewers;
use serde_json::{Value, json};

use crate::support::api::{TestApi, open_for};
use crate::support::events::policy_from;
use crate::support::kafka;

const WITHIN: Duration = Duration::from_secs(30);

fn seenby(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_seenby")).args(arguments).envs(variables.iter().copied()).output().unwrap()
}

#[test]
fn set_writes_one_copy_to_every_partition_and_nothing_that_breaks_a_rule() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let topic = runtime.block_on(kafka::topic("policy-set", 3));
    let group = kafka::unique("policy-set");
    let variables = [
        ("SEENBY__KAFKA__BROKERS", kafka::bootstrap()),
        ("SEENBY__KAFKA__TOPICS__EVENTS", &topic),
        ("SEENBY__KAFKA__GROUP", &group),
    ];
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.json");
    let set = |limits: &str| {
        std::fs::write(&file, limits).unwrap();
        seenby(&["policy", "set", "--app", "org#app", file.to_str().unwrap()], &variables)
    };

    let refused = set(r#"{"group": {"validity_days": 91}}"#);
    assert!(!refused.status.success());
    let words = String::from_utf8_lossy(&refused.stderr);
    assert!(words.contains("not written") && words.contains("validity_days"), "{words}");
    let written = set(r#"{"effective_from": 5, "group": {"open": true, "viewers": "app"}}"#);
    assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    assert!(String::from_utf8_lossy(&written.stdout).contains("3 partitions"));

    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", kafka::bootstrap())
        .set("group.id", &group)
        .set("isolation.level", "read_committed")
        .create()
        .unwrap();
    let mut everything = TopicPartitionList::new();
    for partition in 0..3 {
        everything.add_partition_offset(&topic, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&everything).unwrap();
    let mut partitions = Vec::new();
    let begun = Instant::now();
    while partitions.len() < 3 {
        assert!(begun.elapsed() < WITHIN, "only {partitions:?} have a copy");
        let Some(record) = consumer.poll(Duration::from_millis(100)) else { continue };
        let record = record.unwrap();
        assert_eq!(record.key(), None);
        let header = record.headers().unwrap().get(0);
        assert_eq!((header.key, header.value), (CONTROL_HEADER, Some(b"policy".as_slice())));
        let arena = bumpalo::Bump::new();
        let decoded = decode_control(b"policy", record.payload().unwrap(), &arena).unwrap();
        let Control::Policy(version) = decoded else { panic!("{decoded:?}") };
        assert_eq!((version.app.as_str(), version.effective_from.millis()), ("org#app", 5));
        assert!(version.policy.group.open && version.policy.group.viewers == Viewers::App);
        assert!(version.version > 1_700_000_000_000, "the writer's clock in ms");
        partitions.push(record.partition());
    }
    partitions.sort_unstable();
    assert_eq!(partitions, [0, 1, 2], "the refused one was not written");
}

#[test]
fn get_shows_every_version_and_which_is_in_force() {
    let mut api = TestApi::new("policy_get");
    let year_2090 = 3_786_912_000_000;
    api.flush(&[open_for(1, Viewers::App), policy_from(2, year_2090, |policy| policy.notify = false)]);
    let variables = [
        ("SEENBY__CLICKHOUSE__URL", api.config.clickhouse.url.as_str()),
        ("SEENBY__CLICKHOUSE__DATABASE", api.config.clickhouse.database.as_str()),
        ("SEENBY__CLICKHOUSE__COMPRESSION", "false"),
    ];
    let shown = seenby(&["policy", "get", "--app", "org#app"], &variables);
    assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
    let versions: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(versions.as_array().unwrap().len(), 2);
    let told = |index: usize| {
        let version = &versions[index];
        json!([version["version"], version["effective_from"], version["in_force"], version["partitions_met"]])
    };
    assert_eq!(told(0), json!([1, 0, true, 1]));
    assert_eq!(told(1), json!([2, year_2090, false, 1]));
    assert_eq!(versions[0]["policy"]["group"]["viewers"], "app");
    assert_eq!(versions[1]["policy"]["notify"], false);

    let nothing = seenby(&["policy", "get", "--app", "org#unknown"], &variables);
    assert_eq!(String::from_utf8_lossy(&nothing.stdout), "[]\n");
}
