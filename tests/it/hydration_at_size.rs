//! Hydration and replay of many receipts, and of millions where RECEIPTS asks for it (benches/README.md).

use std::time::Instant;

use seenby::event::{Offset, PartitionId, RecordTime, partition_of};
use seenby::fold::{Partition, PartitionIdentity};
use seenby::log::{ConsumedRecord, LogReader, RecordBatch, SourceError};
use seenby::store::{HydrationRequest, RowBatch, Store as _};
use seenby::worker::Replay;

use crate::support::events::{APP, NOON, policy};
use crate::support::store::{RECORD_TIME, TestStore, go_on, topic};

const PARTITIONS: u32 = 8;
const GROUPS: u64 = 64;
const READERS: u64 = 50;
const MAX_BATCH_RECORDS: u64 = 10_000;
const FLUSH_RECORDS: u64 = 50_000;

/// The log of one partition, made up while it is read: a policy, the messages, then their receipts.
struct MadeUpLog {
    partition: PartitionId,
    groups: Vec<String>,
    messages: u64,
    position: u64,
}

impl MadeUpLog {
    fn new(partition: PartitionId, receipts: u64) -> Self {
        let names = (0..).map(|number| format!("g{number}"));
        let is_here = |name: &String| partition_of(format!("{APP}/g/{name}").as_bytes(), PARTITIONS) == partition;
        let groups = names.filter(is_here).take(GROUPS as usize).collect();
        Self { partition, groups, messages: receipts / READERS, position: 0 }
    }

    fn length(&self) -> u64 {
        1 + self.messages * (1 + READERS)
    }

    fn push(&self, offset: u64, batch: &mut RecordBatch) {
        let number = (offset - 1) % self.messages;
        let round = (offset - 1) / self.messages;
        let group = &self.groups[(number % GROUPS) as usize];
        let at = NOON + (offset / 100) as i64;
        let common = format!(r#""app":"{APP}","chat":"group","to":"{group}","at":{at}"#);
        let value = match round {
            0 => {
                format!(r#"{{"type":"message","id":"m{number}","from":"ada","role":"owner","receipt":true,{common}}}"#)
            }
            _ => format!(r#"{{"type":"read","id":"r{offset}","from":"u{round}","message":"m{number}",{common}}}"#),
        };
        batch.push(&ConsumedRecord {
            partition: self.partition,
            offset: Offset::new(offset),
            time: RecordTime::from_millis(RECORD_TIME),
            key: Some(format!("{APP}/g/{group}").as_bytes()),
            value: value.as_bytes(),
            control_header: None,
        });
    }
}

impl LogReader for MadeUpLog {
    fn log_range(&mut self, _: PartitionId) -> Result<(Offset, Offset), SourceError> {
        Ok((Offset::new(0), Offset::new(self.length())))
    }

    fn begin(&mut self, _: PartitionId, from: Offset) -> Result<(), SourceError> {
        self.position = from.get();
        Ok(())
    }

    fn read(&mut self, until: Offset, batch: &mut RecordBatch) -> Result<Offset, SourceError> {
        batch.clear();
        let end = until.get().min(self.position + MAX_BATCH_RECORDS);
        for offset in self.position..end {
            if offset > 0 {
                self.push(offset, batch);
                continue;
            }
            let open = policy(1, |policy| {
                policy.group.open = true;
                policy.group.messages_per_day = u32::MAX;
            });
            batch.push(&ConsumedRecord {
                partition: self.partition,
                offset: Offset::new(0),
                time: RecordTime::from_millis(RECORD_TIME),
                key: None,
                value: &open.value,
                control_header: Some(b"policy"),
            });
        }
        self.position = end;
        Ok(Offset::new(end))
    }
}

/// Resident bytes of this process: now, and at most so far.
fn resident_mebibytes() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kibibytes = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_whitespace().nth(1)).and_then(|number| number.parse::<u64>().ok())
    };
    (kibibytes("VmRSS").unwrap_or(0) / 1024, kibibytes("VmHWM").unwrap_or(0) / 1024)
}

#[test]
#[allow(clippy::print_stdout)]
fn hydration_at_size() {
    let receipts: u64 =
        std::env::var("RECEIPTS").map_or(60_000, |number| number.parse().expect("RECEIPTS is a number"));
    let mut store = TestStore::new("at_size");
    let topic = topic(1, PARTITIONS);
    let begun = Instant::now();
    let mut digests = Vec::new();
    let mut requests = Vec::new();
    for partition in (0..PARTITIONS).map(PartitionId::new) {
        let mut log = MadeUpLog::new(partition, receipts / u64::from(PARTITIONS));
        let committed = Offset::new(log.length());
        let state = Partition::new(PartitionIdentity { epoch: topic.epoch, partition, partitions: PARTITIONS });
        let mut replay = Replay::begin(&mut log, state, committed).unwrap();
        let mut rows = RowBatch::new(topic.clone());
        let mut flushed = 0;
        while !replay.is_done() {
            replay.fold_batch(committed, &mut rows.partition(partition)).unwrap();
            if replay.is_done() || replay.records() - flushed >= FLUSH_RECORDS {
                replay.end_flush(&mut rows.partition(partition));
                store.store.write(&rows).unwrap();
                rows.clear();
                flushed = replay.records();
            }
        }
        digests.push(replay.state().digest());
        requests.push(HydrationRequest { partition, committed });
    }
    let seconds = begun.elapsed().as_secs_f64();
    let rate = receipts as f64 / seconds;
    println!("replay with its rows: {seconds:.1} s, {rate:.0} receipts/s; resident {:?} MiB", resident_mebibytes());

    let begun = Instant::now();
    for completeness in store.store.completeness(&topic, &requests).unwrap() {
        assert_eq!(completeness.differences, []);
    }
    println!("check of totals: {:.2} s", begun.elapsed().as_secs_f64());

    let begun = Instant::now();
    let hydrated = store.store.hydrate(&topic, &requests, &mut go_on).unwrap();
    let seconds = begun.elapsed().as_secs_f64();
    let rows: u64 = hydrated.iter().map(|hydrated| hydrated.rows).sum();
    let state_bytes: usize = hydrated.iter().map(|hydrated| hydrated.state.state_bytes()).sum();
    println!(
        "hydration of {PARTITIONS} partitions: {seconds:.1} s, {rows} rows, {:.0} rows/s; state {} MiB, resident (now, most) \
         {:?} MiB",
        rows as f64 / seconds,
        state_bytes / 1024 / 1024,
        resident_mebibytes()
    );
    let of_hydration: Vec<[u64; 2]> = hydrated.iter().map(|hydrated| hydrated.state.digest()).collect();
    assert_eq!(of_hydration, digests, "state by hydration and by replay");
}
