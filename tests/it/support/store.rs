//! A store in a database of its own, and folding into it.

#![allow(dead_code)] // a vocabulary: not every word is in use at any time

use std::time::{Duration, Instant};

use ::clickhouse::Client;
use ::clickhouse::sql::Identifier;
use bumpalo::Bump;
use seenby::config::ClickHouseConfig;
use seenby::event::{Epoch, Offset, PartitionId};
use seenby::fold::{Outcome, Partition, PartitionIdentity};
use seenby::store::{ClickHouseStore, Eraser, RowBatch, Store as _, TopicIdentity, connect, migrate};
use tokio::runtime::Runtime;

use super::clickhouse;
use super::events::OwnedRecord;

/// A migrated database of the shared engine.
pub struct TestStore {
    pub config: ClickHouseConfig,
    pub runtime: Runtime,
    pub store: ClickHouseStore,
}

/// A database that nobody has migrated; `test` is part of its name.
pub fn empty_database(test: &str) -> ClickHouseConfig {
    ClickHouseConfig {
        url: clickhouse::url().to_owned(),
        database: format!("{test}_{}", uuid::Uuid::new_v4().simple()),
        compression: false,
        ..ClickHouseConfig::default()
    }
}

impl TestStore {
    pub fn new(test: &str) -> Self {
        let config = empty_database(test);
        let runtime = Runtime::new().unwrap();
        runtime.block_on(migrate(&config)).unwrap();
        let store = ClickHouseStore::new(config.clone(), runtime.handle().clone());
        Self { config, runtime, store }
    }

    pub fn client(&self) -> Client {
        connect(&self.config)
    }

    /// One number that a query gives.
    pub fn number(&self, sql: &str) -> u64 {
        self.runtime.block_on(self.client().query(sql).fetch_one()).unwrap()
    }

    pub fn execute(&self, sql: &str) {
        self.runtime.block_on(self.client().query(sql).execute()).unwrap();
    }

    /// Takes out what is about erased users, as the worker that owns partition 0 does, once.
    pub fn sweep_erasures(&self) {
        let eraser = Eraser::new(&self.config);
        for erasure in self.runtime.block_on(eraser.pending()).unwrap() {
            self.runtime.block_on(eraser.sweep(&erasure)).unwrap();
        }
    }

    /// Rows of a table as the engine has them, duplicates that are not merged yet among them.
    pub fn rows(&self, table: &str) -> u64 {
        let query = self.client().query("SELECT count() FROM ?").bind(Identifier(table));
        self.runtime.block_on(query.fetch_one()).unwrap()
    }
}

/// Statements that make every look at `messages` run for ever, and those that end it.
pub const ENDLESS_MESSAGES: [&str; 2] = [
    "RENAME TABLE messages TO kept_messages",
    "CREATE VIEW messages AS SELECT kept_messages.*, kept_messages.version AS version FROM kept_messages CROSS JOIN \
     (SELECT number FROM system.numbers WHERE intHash64(number) = 1 LIMIT 1) AS never",
];
pub const MESSAGES_AGAIN: [&str; 2] = ["DROP VIEW messages", "RENAME TABLE kept_messages TO messages"];

/// The same of `message_facts`.
pub const ENDLESS_FACTS: [&str; 2] = [
    "RENAME TABLE message_facts TO kept_facts",
    "CREATE VIEW message_facts AS SELECT kept_facts.* FROM kept_facts CROSS JOIN \
     (SELECT number FROM system.numbers WHERE intHash64(number) = 1 LIMIT 1) AS never",
];
pub const FACTS_AGAIN: [&str; 2] = ["DROP VIEW message_facts", "RENAME TABLE kept_facts TO message_facts"];

/// How many statements run in a database, this one aside.
pub const RUNNING: &str = "SELECT count() FROM system.processes WHERE current_database = currentDatabase() \
                           AND query NOT LIKE '%system.processes%'";

/// Waits until something holds.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(15), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Reads back to the end.
pub fn go_on(_table: &'static str, _rows: u64) -> std::ops::ControlFlow<()> {
    std::ops::ControlFlow::Continue(())
}

/// The topic of tests that need no other.
pub fn topic(epoch: u16, partitions: u32) -> TopicIdentity {
    TopicIdentity { topic: "seenby.events".to_owned(), epoch: Epoch::new(epoch), partitions }
}

/// One partition's log being folded, one record an offset.
pub struct Log {
    pub topic: TopicIdentity,
    pub partition: Partition,
    pub next_offset: u64,
    /// Record time of offset 0, in ms.
    pub first_record_time: i64,
    /// From one record to the next, in ms.
    pub record_interval: i64,
}

/// Record time of offset 0, in ms: after every event of the tests.
pub const RECORD_TIME: i64 = super::events::NOON + 400 * super::events::DAY;

impl Log {
    pub fn new(topic: &TopicIdentity, partition: u32) -> Self {
        let identity = PartitionIdentity {
            epoch: topic.epoch,
            partition: PartitionId::new(partition),
            partitions: topic.partitions,
        };
        Self::resume(topic, Partition::new(identity), Offset::new(0))
    }

    /// Goes on from a state read back.
    pub fn resume(topic: &TopicIdentity, partition: Partition, committed: Offset) -> Self {
        Self {
            topic: topic.clone(),
            partition,
            next_offset: committed.get(),
            first_record_time: RECORD_TIME,
            record_interval: 1_000,
        }
    }

    pub fn id(&self) -> PartitionId {
        self.partition.identity().partition
    }

    /// Folds one flush into a batch.
    pub fn fold(&mut self, records: &[OwnedRecord], batch: &mut RowBatch) -> Vec<Outcome> {
        let arena = Bump::new();
        let mut sink = batch.partition(self.id());
        let mut outcomes = Vec::new();
        for record in records {
            let time = self.first_record_time + i64::try_from(self.next_offset).unwrap() * self.record_interval;
            outcomes.push(self.partition.apply(&record.at_offset(self.next_offset, time, &arena), &mut sink));
            self.next_offset += 1;
        }
        self.partition.end_flush(Offset::new(self.next_offset), &mut sink);
        outcomes
    }

    /// Folds one flush of records with record times of their own, in ms.
    pub fn fold_timed(&mut self, records: &[(OwnedRecord, i64)], batch: &mut RowBatch) {
        let arena = Bump::new();
        let mut sink = batch.partition(self.id());
        for (record, time) in records {
            self.partition.apply(&record.at_offset(self.next_offset, *time, &arena), &mut sink);
            self.next_offset += 1;
        }
        self.partition.end_flush(Offset::new(self.next_offset), &mut sink);
    }

    /// Folds one flush and writes it.
    pub fn flush(&mut self, records: &[OwnedRecord], store: &mut ClickHouseStore) -> Vec<Outcome> {
        let mut batch = RowBatch::new(self.topic.clone());
        let outcomes = self.fold(records, &mut batch);
        store.write(&batch).unwrap();
        outcomes
    }
}
