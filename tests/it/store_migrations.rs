//! Migrations: idempotent, safe from two processes at once, and refusing what they do not know.

use std::thread;

use seenby::store::{StoreError, check_schema, connect, migrate};
use tokio::runtime::Runtime;

use crate::support::events::{
    HOUR, NOON, delivered, group_message, group_read, group_recall, policy, roster, single_message, single_read,
};
use crate::support::store::{Log, TestStore, empty_database, topic};

#[test]
fn the_second_run_applies_nothing() {
    let config = empty_database("migrate_twice");
    let runtime = Runtime::new().unwrap();
    assert!(matches!(
        runtime.block_on(check_schema(&config, &connect(&config))),
        Err(StoreError::SchemaOlder { missing: 1 })
    ));
    let first = runtime.block_on(migrate(&config)).unwrap();
    assert_eq!(first.first(), Some(&"0001_messages"));
    assert_eq!(first.len(), 39);
    assert_eq!(runtime.block_on(migrate(&config)).unwrap(), Vec::<&str>::new());
    runtime.block_on(check_schema(&config, &connect(&config))).unwrap();
}

#[test]
fn two_processes_at_once_arrive_at_the_same_schema() {
    let config = empty_database("migrate_at_once");
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| Runtime::new().unwrap().block_on(migrate(&config)).unwrap());
        }
    });
    let runtime = Runtime::new().unwrap();
    runtime.block_on(check_schema(&config, &connect(&config))).unwrap();
    let recorded: u64 = runtime
        .block_on(connect(&config).query("SELECT uniqExact(number, checksum) FROM schema_migrations").fetch_one())
        .unwrap();
    assert_eq!(recorded, 39);
}

#[test]
fn a_newer_schema_is_refused() {
    let store = TestStore::new("migrate_newer");
    store.execute("INSERT INTO schema_migrations (number, name, checksum) VALUES (9000, '9000_later', 'x')");
    let refused = store.runtime.block_on(migrate(&store.config));
    assert!(matches!(refused, Err(StoreError::SchemaNewer { found: 9000, known: 39 })), "{refused:?}");
    let refused = store.runtime.block_on(check_schema(&store.config, &store.client()));
    assert!(matches!(refused, Err(StoreError::SchemaNewer { found: 9000, known: 39 })), "{refused:?}");
}

#[test]
fn a_migration_applied_with_another_text_is_refused() {
    let store = TestStore::new("migrate_other");
    store.execute("INSERT INTO schema_migrations (number, name, checksum) VALUES (2, '0002_receipts', 'another')");
    let refused = store.runtime.block_on(migrate(&store.config));
    assert!(matches!(refused, Err(StoreError::SchemaDiffers { number: 2 })), "{refused:?}");
}

#[test]
fn what_was_written_before_message_facts_is_told_there_as_a_worker_tells_it() {
    let mut store = TestStore::new("migrate_facts");
    let records = [
        policy(1, |policy| policy.group.open = true),
        roster(&[("alice", "owner"), ("bob", "member"), ("carol", "member")]).record(),
        group_read("m1").at(NOON).content("waited").record(),
        group_message("m1").asking_receipts().record(),
        group_read("m1")
            .from("carol")
            .after(HOUR)
            .content("a\ttab, a\nline, \\\\ and \\t, a\0nul, \u{1f600}'")
            .record(),
        group_message("m2").record(),
        single_message("s1").record(),
        delivered("s1").after(HOUR).record(),
        single_read("s1").after(2 * HOUR).record(),
        group_recall("m1").after(2 * HOUR).record(),
    ];
    Log::new(&topic(7, 1), 0).flush(&records, &mut store.store);
    let facts = |store: &TestStore| -> Vec<String> {
        let all = "SELECT toString((key, fact, own_epoch, own_partition, epoch, partition, offset, own_offset)) \
                   FROM message_facts FINAL ORDER BY ALL";
        store.runtime.block_on(store.client().query(all).fetch_all()).unwrap()
    };
    let written = facts(&store);
    assert_eq!(written.len(), 3 + 4 + 1, "{written:?}");

    store.execute("TRUNCATE TABLE message_facts");
    store.execute("DELETE FROM schema_migrations WHERE number BETWEEN 26 AND 28");
    let applied = store.runtime.block_on(migrate(&store.config)).unwrap();
    assert_eq!(applied.len(), 3, "{applied:?}");
    assert_eq!(facts(&store), written);
}
