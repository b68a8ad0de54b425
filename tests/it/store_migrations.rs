//! Migrations: idempotent, safe from two processes at once, and refusing what they do not know.

use std::thread;

use seenby::store::{StoreError, check_schema, connect, migrate};
use tokio::runtime::Runtime;

use crate::support::store::{TestStore, empty_database};

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
    assert_eq!(first.len(), 24);
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
    assert_eq!(recorded, 24);
}

#[test]
fn a_newer_schema_is_refused() {
    let store = TestStore::new("migrate_newer");
    store.execute("INSERT INTO schema_migrations (number, name, checksum) VALUES (9000, '9000_later', 'x')");
    let refused = store.runtime.block_on(migrate(&store.config));
    assert!(matches!(refused, Err(StoreError::SchemaNewer { found: 9000, known: 24 })), "{refused:?}");
    let refused = store.runtime.block_on(check_schema(&store.config, &store.client()));
    assert!(matches!(refused, Err(StoreError::SchemaNewer { found: 9000, known: 24 })), "{refused:?}");
}

#[test]
fn a_migration_applied_with_another_text_is_refused() {
    let store = TestStore::new("migrate_other");
    store.execute("INSERT INTO schema_migrations (number, name, checksum) VALUES (2, '0002_receipts', 'another')");
    let refused = store.runtime.block_on(migrate(&store.config));
    assert!(matches!(refused, Err(StoreError::SchemaDiffers { number: 2 })), "{refused:?}");
}
