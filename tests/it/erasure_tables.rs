//! Rows in front of an erasure: gone or not they count as not there, and they go without a trace in what stays.

use std::collections::BTreeSet;

use seenby::event::{Offset, PartitionId};
use seenby::store::{HydrationRequest, RowBatch, Store as _, TopicIdentity};

use crate::support::events::{
    OwnedRecord, erase, group_conversation_read, group_message, group_read, group_recall, in_single, member, policy,
    single_message, single_read,
};
use crate::support::store::{Log, TestStore, go_on, topic};
use crate::support::traffic::Traffic;

/// Tables with rows about users, and the columns that name one; of `message_facts` the view that shows its texts.
const NAMING: [(&str, &str); 11] = [
    ("messages", "sender"),
    ("receipts", "reader"),
    ("recalls", "recalled_by"),
    ("roster_changes", "user"),
    ("marks", "reader"),
    ("parked", "user"),
    ("settlements", "user"),
    ("message_counts", "sender"),
    ("sender_counts", "sender"),
    ("message_fact_fields", "user"),
    ("rejections", "user"),
];

fn digest_at(store: &mut TestStore, topic: &TopicIdentity, committed: u64) -> [u64; 2] {
    let request = HydrationRequest { partition: PartitionId::new(0), committed: Offset::new(committed) };
    let [hydrated] = store.store.hydrate(topic, &[request], &mut go_on).unwrap().try_into().unwrap();
    hydrated.state.digest()
}

/// Rows that name a user, by table, as `table rows`; those without any are left out.
fn naming(store: &TestStore, user: &str) -> Vec<String> {
    let counts = NAMING.iter().map(|(table, column)| {
        let single = format!("endsWith(conversation, '/{user}') OR position(conversation, '/u/{user}/') > 0");
        let rows = store.number(&format!("SELECT count() FROM {table} WHERE {column} = '{user}' OR {single}"));
        (table, rows)
    });
    counts.filter(|(_, rows)| *rows > 0).map(|(table, rows)| format!("{table} {rows}")).collect()
}

/// Every row that names nobody of these, as text.
fn rows_without(store: &TestStore, user: &str) -> BTreeSet<String> {
    let mut rows = BTreeSet::new();
    for (table, column) in NAMING {
        let sql = format!(
            "SELECT toString(tuple(*)) FROM {table} WHERE {column} != '{user}' AND {column} != '' \
             AND NOT endsWith(conversation, '/{user}') AND position(conversation, '/u/{user}/') = 0"
        );
        let found: Vec<String> = store.runtime.block_on(store.client().query(&sql).fetch_all()).unwrap();
        rows.extend(found.into_iter().map(|row| format!("{table} {row}")));
    }
    rows
}

/// Bob in every table, and others beside him.
fn about_bob() -> Vec<OwnedRecord> {
    let open = policy(1, |policy| {
        policy.group.open = true;
        policy.group.senders = seenby::policy::Senders::Members;
        policy.group.messages_per_day = 4;
    });
    vec![
        open,
        member("bob", "join").record(),
        member("carol", "join").record(),
        group_message("of-alice").asking_receipts().record(),
        group_message("of-bob").from("bob").asking_receipts().record(),
        group_read("of-alice").from("bob").record(),
        group_read("of-alice").from("carol").record(),
        group_read("of-bob").from("carol").record(),
        group_conversation_read().from("bob").record(),
        group_read("not-here-yet").from("bob").record(),
        group_read("not-here-yet").from("carol").record(),
        single_message("to-bob").record(),
        single_read("to-bob").from("bob").record(),
        in_single("message", "alice", "carol").id("to-carol").record(),
        group_message("taken-back").asking_receipts().record(),
        group_recall("taken-back").from("bob").record(),
        group_recall("of-bob").from("carol").record(),
        in_single("roster", "bob", "alice").with("id", "unsupported").record(),
    ]
}

#[test]
fn bob_goes_out_of_every_table_and_nobody_else_does() {
    let mut store = TestStore::new("erasure_bob");
    let topic = topic(1, 1);
    let mut log = Log::new(&topic, 0);
    log.flush(&about_bob(), &mut store.store);
    assert_eq!(naming(&store, "bob").len(), 10, "{:?}", naming(&store, "bob"));
    log.flush(&[erase(2, "bob")], &mut store.store);
    let state = log.partition.digest();
    let committed = log.next_offset;
    assert_eq!(digest_at(&mut store, &topic, committed), state, "before anything is deleted");

    let others = rows_without(&store, "bob");
    store.sweep_erasures();
    assert_eq!(naming(&store, "bob"), Vec::<String>::new());
    // What others said of his messages goes with them.
    let left = rows_without(&store, "bob");
    let gone: Vec<&String> = others.difference(&left).collect();
    assert_eq!(gone.len(), 3, "carol's receipt, told twice, and recall of his message: {gone:#?}");
    assert!(gone.iter().all(|row| row.contains("of-bob") && row.contains("carol")), "{gone:#?}");
    assert!(left.is_subset(&others));
    let unnamed = "SELECT count() FROM recalls WHERE message = 'taken-back' AND recalled_by = ''";
    assert_eq!(store.number(unnamed), 1, "the message stays taken back");
    let told = "SELECT count() FROM message_fact_fields WHERE message = 'taken-back' AND kind = 'recall' AND user = ''";
    assert_eq!(store.number(told), 1, "and so do lists hear");
    assert_eq!(digest_at(&mut store, &topic, committed), state, "after");
    let counts = "SELECT toUInt64(distinct_readers) FROM message_counts FINAL WHERE message = 'of-alice'";
    assert_eq!(store.number(counts), 1, "carol");

    let request = HydrationRequest { partition: PartitionId::new(0), committed: Offset::new(committed) };
    let [complete] = store.store.completeness(&topic, &[request]).unwrap().try_into().unwrap();
    assert_eq!(complete.differences, [], "what was taken out is in the books");
    assert_eq!(complete.erased_until, Offset::new(committed), "states from before it are not to be had any more");
}

#[test]
fn what_bob_does_later_is_not_touched_not_even_by_what_a_dead_worker_writes_late() {
    let mut store = TestStore::new("erasure_later");
    let topic = topic(1, 1);
    let mut log = Log::new(&topic, 0);
    log.flush(&about_bob(), &mut store.store);
    log.flush(&[erase(2, "bob")], &mut store.store);
    let again = [
        // The very receipt and message that were erased.
        group_read("of-alice").from("bob").record(),
        group_message("of-bob").from("bob").asking_receipts().record(),
        group_read("of-bob").from("carol").record(),
        single_message("to-bob").record(),
    ];
    log.flush(&again, &mut store.store);
    // Before anything is deleted, the engine merges what it takes for one row.
    for (table, _) in NAMING {
        let table = if table == "message_fact_fields" { "message_facts" } else { table };
        store.execute(&format!("OPTIMIZE TABLE {table} FINAL"));
    }
    store.sweep_erasures();
    let state = log.partition.digest();
    assert_eq!(digest_at(&mut store, &topic, log.next_offset), state);
    let rows_of_bob = naming(&store, "bob");
    assert_eq!(
        rows_of_bob,
        ["messages 2", "receipts 1", "message_counts 1", "sender_counts 1", "message_fact_fields 3"]
    );

    // A dead worker's flush comes late, and is swept again as the record is written with it.
    let mut dead = Log::new(&topic, 0);
    let mut batch = RowBatch::new(topic.clone());
    dead.fold(&[about_bob(), vec![erase(2, "bob")]].concat(), &mut batch);
    store.store.write(&batch).unwrap();
    assert_eq!(digest_at(&mut store, &topic, log.next_offset), state, "it counts as not there");
    assert_ne!(naming(&store, "bob"), rows_of_bob);
    store.sweep_erasures();
    assert_eq!(naming(&store, "bob"), rows_of_bob);
    assert_eq!(digest_at(&mut store, &topic, log.next_offset), state);
}

#[test]
fn states_of_random_logs_are_the_same_before_and_after_and_are_gone_on_from() {
    for seed in 0..4 {
        let mut store = TestStore::new("erasure_random");
        let topic = topic(1, 1);
        let mut log = Log::new(&topic, 0);
        let mut traffic = Traffic::new(seed);
        let records: Vec<OwnedRecord> =
            (0..600).map(|number| if number % 40 == 0 { traffic.control() } else { traffic.event() }).collect();
        for flush in records.chunks(90) {
            log.flush(flush, &mut store.store);
            // Erasures that are in the log until now are carried out, the state read back goes on.
            store.sweep_erasures();
            let committed = log.next_offset;
            assert_eq!(digest_at(&mut store, &topic, committed), log.partition.digest(), "seed {seed}, {committed}");
            let request = HydrationRequest { partition: PartitionId::new(0), committed: Offset::new(committed) };
            let [hydrated] = store.store.hydrate(&topic, &[request], &mut go_on).unwrap().try_into().unwrap();
            log = Log { next_offset: committed, ..Log::resume(&topic, hydrated.state, Offset::new(committed)) };
        }
        let request = HydrationRequest { partition: PartitionId::new(0), committed: Offset::new(log.next_offset) };
        let [complete] = store.store.completeness(&topic, &[request]).unwrap().try_into().unwrap();
        assert_eq!(complete.differences, [], "seed {seed}");
        assert!(complete.erased_until > Offset::new(0), "seed {seed} erases nobody");
    }
}
