//! Where ClickHouse lacks rows of what is committed, the log is folded again from before them: the state is the same, the
//! rows are there again, and nobody is told anything twice.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::topic_partition_list::{Offset as KafkaOffset, TopicPartitionList, TopicPartitionListElem};
use seenby::config::{Config, Delivery, RecoveryMode};
use seenby::event::{Offset, PartitionId};
use seenby::log::{CommitMetadata, CommittedPosition, Group, KafkaLogReader, SourceError};
use seenby::observe::Telemetry;
use seenby::store::{ClickHouseStore, Table};
use seenby::worker::{
    HydrationJob, HydrationSettings, Hydrator, Ownership, ReadyPartition, SystemClock, WorkerError, WorkerMetrics,
};

use crate::support::traffic::Traffic;
use crate::support::worker::{Deployment, PATIENCE};

const PARTITIONS: u32 = 2;
const FLUSHES: usize = 4;

/// A worker has counted traffic of every kind in several flushes, and has stopped.
fn counted(test: &str) -> Deployment {
    let deployment = Deployment::new(test, PARTITIONS, Delivery::ExactlyOnce);
    let worker = deployment.start();
    let mut traffic = Traffic::new(17);
    let mut sum = 0;
    for _ in 0..FLUSHES {
        let mut records = vec![traffic.control()];
        records.extend((0..250).map(|_| traffic.event()));
        deployment.produce(&records);
        sum += 250 + u64::from(PARTITIONS);
        deployment.wait_for_records(sum);
    }
    deployment.wait_for_commit();
    worker.stop(true).unwrap();
    deployment
}

/// The group as somebody sees it who is no member.
#[derive(Clone)]
struct Onlooker {
    consumer: Arc<BaseConsumer>,
    topic: String,
}

impl Onlooker {
    fn of(config: &Config) -> Self {
        let consumer = ClientConfig::new()
            .set("bootstrap.servers", &config.kafka.brokers)
            .set("group.id", &config.kafka.group)
            .set("isolation.level", "read_committed")
            .create()
            .unwrap();
        Self { consumer: Arc::new(consumer), topic: config.kafka.topics.events.clone() }
    }
}

impl Group for Onlooker {
    fn committed(&self, partitions: &[PartitionId]) -> Result<Vec<Option<CommittedPosition>>, SourceError> {
        let mut asked = TopicPartitionList::new();
        for partition in partitions {
            asked.add_partition(&self.topic, i32::try_from(partition.get()).unwrap());
        }
        let answer = self.consumer.committed_offsets(asked, PATIENCE).unwrap();
        let position = |element: &TopicPartitionListElem<'_>| {
            let next_offset = Offset::new(u64::try_from(element.offset().to_raw().unwrap()).unwrap());
            let metadata = serde_json::from_str(element.metadata()).ok();
            Some(CommittedPosition { next_offset, metadata })
        };
        Ok(answer.elements().iter().map(position).collect())
    }

    fn log_range(&self, partition: PartitionId) -> Result<(Offset, Offset), SourceError> {
        let partition = i32::try_from(partition.get()).unwrap();
        let (low, high) = self.consumer.fetch_watermarks(&self.topic, partition, PATIENCE).unwrap();
        Ok((Offset::new(u64::try_from(low).unwrap()), Offset::new(u64::try_from(high).unwrap())))
    }

    fn commit(&self, _: &[(PartitionId, Offset, CommitMetadata)]) -> Result<(), SourceError> {
        panic!("a commit stands for every partition")
    }
}

/// Takes all partitions over as a worker does, and returns them with how many logs were folded again.
fn take_over(deployment: &Deployment, recovery: RecoveryMode) -> Result<(Vec<ReadyPartition>, u64), WorkerError> {
    let config = &deployment.config;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let metrics = WorkerMetrics::register(&Telemetry::default().registry).unwrap();
    let mut hydrator = Hydrator::new(
        ClickHouseStore::new(config.clickhouse.clone(), runtime.handle().clone()),
        Onlooker::of(config),
        KafkaLogReader::new(&config.kafka).unwrap(),
        HydrationSettings {
            topic: deployment.topic(),
            group: config.kafka.group.clone(),
            recovery,
            flush_records: 100,
            flush_bytes: 1_000_000,
            accepts_fold_version: false,
        },
        SystemClock::start(),
        Ownership::default(),
        metrics.clone(),
    );
    let partitions = (0..PARTITIONS).map(PartitionId::new).collect();
    let answer = hydrator.hydrate(&HydrationJob { rebalance: 1, partitions });
    assert_eq!(metrics.hydrating_partitions.get(), 0);
    Ok((answer.result?, metrics.replays.get()))
}

/// What must be as it was: states, rows by table, and what everybody was told.
#[derive(Debug, PartialEq)]
struct Picture {
    digests: Vec<[u64; 2]>,
    rows: Vec<(Table, u64)>,
    totals: Vec<seenby::store::ledger::LedgerTotal>,
    told: Vec<(String, String, String)>,
}

fn picture(deployment: &Deployment, ready: &[ReadyPartition]) -> Picture {
    let rows = |table: Table| {
        deployment.execute(&format!("OPTIMIZE TABLE {} FINAL", table.name()));
        // Where flushes end is another matter.
        let counted = if table == Table::Ledger { "DISTINCT app, type, outcome, measure, hour" } else { "" };
        (table, deployment.number(&format!("SELECT count({counted}) FROM {}", table.name())))
    };
    Picture {
        digests: ready.iter().map(|ready| ready.state.digest()).collect(),
        rows: Table::ALL.map(rows).to_vec(),
        totals: deployment.totals(),
        told: deployment.told(),
    }
}

/// A flush boundary of a partition: the last but so many.
fn boundary(deployment: &Deployment, partition: u32, from_last: usize) -> u64 {
    deployment.number(&format!(
        "SELECT DISTINCT next_offset FROM ledger WHERE measure = 'watermark' AND partition = {partition} \
         ORDER BY next_offset DESC LIMIT 1 OFFSET {from_last}"
    ))
}

/// Takes out of every table what was written after a boundary.
fn lose_all_after(deployment: &Deployment, partition: u32, boundary: u64) {
    for table in Table::ALL {
        let name = table.name();
        let is_after = if table == Table::Ledger { "next_offset >" } else { "offset >=" };
        deployment.execute(&format!("DELETE FROM {name} WHERE partition = {partition} AND {is_after} {boundary}"));
    }
}

#[test]
fn whatever_is_missing_in_clickhouse_is_folded_again_to_the_same_state_and_rows() {
    let deployment = counted("replay");
    let (ready, replays) = take_over(&deployment, RecoveryMode::Hydrate).unwrap();
    assert_eq!(replays, 0, "nothing is missing");
    let whole = picture(&deployment, &ready);
    let middle = boundary(&deployment, 1, FLUSHES / 2);

    let last_flush = || lose_all_after(&deployment, 0, boundary(&deployment, 0, 1));
    let one_table = || deployment.execute(&format!("DELETE FROM receipts WHERE partition = 1 AND offset >= {middle}"));
    let rosters_in_the_middle = || {
        let row =
            "SELECT min(offset) FROM roster_changes WHERE partition = 0 AND change != 'by_roster' AND offset > 100";
        let offset = deployment.number(row);
        deployment.execute(&format!("DELETE FROM roster_changes WHERE partition = 0 AND offset = {offset}"));
    };
    let end_of_ledger = || deployment.execute(&format!("DELETE FROM ledger WHERE next_offset > {middle}"));
    let every_table = || Table::ALL.iter().for_each(|table| deployment.execute(&format!("TRUNCATE {}", table.name())));
    let damages: [(&str, &dyn Fn(), u64); 5] = [
        ("the last flush of a partition", &last_flush, 1),
        ("a table from the middle on", &one_table, 1),
        ("a row in the middle", &rosters_in_the_middle, 1),
        ("the end of the ledger", &end_of_ledger, 2),
        ("every table", &every_table, 2),
    ];
    for (lost, damage, expected_replays) in damages {
        damage();
        let (ready, replays) = take_over(&deployment, RecoveryMode::Hydrate).unwrap();
        assert_eq!(replays, expected_replays, "lost: {lost}");
        assert_eq!(picture(&deployment, &ready), whole, "lost: {lost}");
        let (ready, replays) = take_over(&deployment, RecoveryMode::Hydrate).unwrap();
        assert_eq!(replays, 0, "the rows of {lost} are there again");
        assert_eq!(picture(&deployment, &ready), whole, "read back after: {lost}");
    }

    let (ready, replays) = take_over(&deployment, RecoveryMode::Replay).unwrap();
    assert_eq!(replays, 2, "the setting wants it");
    assert_eq!(picture(&deployment, &ready), whole, "folded from the log");
}

#[test]
fn a_worker_comes_back_by_itself_after_clickhouse_lost_its_last_minutes() {
    let deployment = counted("replay_worker");
    let told = deployment.told();
    let sum: u64 = deployment.outcomes().values().sum();
    for partition in 0..PARTITIONS {
        lose_all_after(&deployment, partition, boundary(&deployment, partition, 2));
    }
    let worker = deployment.start();
    worker.wait_until_ready();
    assert_eq!(worker.metric("seenby_replays_total"), f64::from(PARTITIONS));
    assert!(worker.metric("seenby_replayed_records_total") > 0.0);
    assert!(worker.metric("seenby_hydration_rows_total") > 0.0);
    assert_eq!(deployment.outcomes().values().sum::<u64>(), sum, "every record is counted, none twice");
    assert_eq!(deployment.told(), told, "nobody is told again");
    deployment.produce(&[Traffic::new(99).event()]);
    deployment.wait_for_records(sum + 1);
    worker.stop(true).unwrap();
}

/// Takes the beginning of a partition's log away, as retention does.
fn cut_log(deployment: &Deployment, partition: u32, before: u64) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &deployment.config.kafka.brokers).create().unwrap();
    let mut offsets = TopicPartitionList::new();
    let (topic, partition) = (&deployment.config.kafka.topics.events, i32::try_from(partition).unwrap());
    offsets.add_partition_offset(topic, partition, KafkaOffset::Offset(i64::try_from(before).unwrap())).unwrap();
    let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(30)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let deleted = runtime.block_on(admin.delete_records(&offsets, &options)).unwrap();
    deleted.elements().iter().for_each(|element| element.error().unwrap());
}

#[test]
fn rows_from_before_the_logs_begin_are_told_by_table_and_those_after_it_come_back() {
    let deployment = counted("replay_cut");
    let (ready, _) = take_over(&deployment, RecoveryMode::Hydrate).unwrap();
    let whole = picture(&deployment, &ready);
    let middle = boundary(&deployment, 0, FLUSHES / 2);
    cut_log(&deployment, 0, middle);

    deployment.execute(&format!("DELETE FROM messages WHERE partition = 0 AND offset >= {middle}"));
    let (ready, replays) = take_over(&deployment, RecoveryMode::Hydrate).unwrap();
    assert_eq!(replays, 1);
    assert_eq!(picture(&deployment, &ready), whole);

    deployment.execute("CREATE TABLE backup AS messages");
    deployment.execute("INSERT INTO backup SELECT * FROM messages");
    deployment.execute(&format!("DELETE FROM messages WHERE partition = 0 AND offset < {middle}"));
    let error = take_over(&deployment, RecoveryMode::Hydrate).unwrap_err().to_string();
    for named in ["partition 0", "messages", "the log can be folded again from offset"] {
        assert!(error.contains(named), "{named}: {error}");
    }
    let worker = deployment.start();
    assert_eq!(worker.join().unwrap_err().to_string(), error, "a worker says the same and stops");

    deployment.execute("INSERT INTO messages SELECT * FROM backup");
    let (ready, _) = take_over(&deployment, RecoveryMode::Hydrate).unwrap();
    assert_eq!(picture(&deployment, &ready), whole, "restored as the error said");
}
