//! The fold and the decoder agree with a second, simpler fold, written from the contract alone, and its reader.

use std::path::Path;

use bumpalo::Bump;
use proptest::prelude::*;
use seenby::event::partition_of;

use super::support::both_folds::{Findings, folded_both_ways};
use super::support::both_readers::read_both_ways;
use super::support::plain_fold::{LogRecord, PlainFold};
use super::support::random_log::{Content, log};

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_folds_agree_on_any_log(records in log(Content::All, 120)) {
        let arena = Bump::new();
        let (fold, plain) = folded_both_ways(&records, &arena);
        prop_assert_eq!(Findings::by_the_fold(&fold), Findings::by_the_plain_fold(plain));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_folds_agree_on_long_logs(records in log(Content::All, 600)) {
        let arena = Bump::new();
        let (fold, plain) = folded_both_ways(&records, &arena);
        prop_assert_eq!(Findings::by_the_fold(&fold), Findings::by_the_plain_fold(plain));
    }
}

proptest! {
    #[test]
    fn both_find_the_same_partition_of_a_key(key in "[^/#\\s\\p{Cc}]{1,30}", partitions in 1..64_u32) {
        let event = serde_json::json!({"type": "message", "app": "org#app", "chat": "group", "id": "m", "from": "ada",
            "to": "g", "at": 1}).to_string();
        let to_key = event.replace("\"g\"", &serde_json::to_string(&key).unwrap());
        let conversation = format!("org#app/g/{key}");
        let partition = partition_of(conversation.as_bytes(), partitions).get();
        let record = LogRecord {
            partition,
            offset: 0,
            time: None,
            key: Some(conversation.as_bytes()),
            value: to_key.as_bytes(),
            control: None,
        };
        prop_assert_eq!(PlainFold::new(partitions).take(&record), "stored");
    }
}

#[test]
fn both_readers_agree_on_every_example() {
    for example in examples() {
        for header in [None, Some("policy"), Some("erase"), Some("unknown")] {
            read_both_ways(&example, header);
        }
    }
}

fn examples() -> Vec<Vec<u8>> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/examples")];
    let mut examples = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { examples.push(std::fs::read(path).unwrap()) }
        }
    }
    assert!(examples.len() > 50, "{}", examples.len());
    examples
}

#[test]
fn both_readers_agree_on_what_a_general_parser_refuses_or_does_not_tell() {
    let event = r#"{"type":"read","app":"org#app","chat":"group","id":"r","from":"bob","to":"g","at":1,"message":"m"}"#;
    let policy = r#"{"type":"policy","app":"org#app","version":1,"group":{"open":true},"single":{"validity_days":3}}"#;
    let deep = format!("{}{}", "[".repeat(1_000), "]".repeat(1_000));
    for more in [r#""x":1e999"#, r#""\ud800":0"#, r#""x":"\udc00""#, r#""content":"\ud800""#, r#""\u0061t":1"#] {
        read_both_ways(event.replacen('{', &format!("{{{more},"), 1).as_bytes(), None);
        read_both_ways(policy.replacen('{', &format!("{{{more},"), 1).as_bytes(), Some("policy"));
    }
    read_both_ways(event.replacen('{', &format!("{{\"x\":{deep},"), 1).as_bytes(), None);
    for (once, twice) in [
        (r#""version":1"#, r#""version":1,"version":1"#),
        (r#""open":true"#, r#""open":true,"op\u0065n":true"#),
        (r#""validity_days":3"#, r#""validity_days":3,"validity_days":3"#),
    ] {
        read_both_ways(policy.replace(once, twice).as_bytes(), Some("policy"));
    }
}
