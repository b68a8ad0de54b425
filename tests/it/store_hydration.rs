//! A state read back as of an offset is the state folded up to it.

use seenby::event::{Offset, PartitionId, partition_of};
use seenby::fold::Outcome;
use seenby::store::{HydratedPartition, HydrationRequest, RowBatch, Store as _, StoreError, TopicIdentity};

use crate::support::events::{
    DAY, HOUR, NOON, OwnedRecord, group_message, group_read, policy, single_message, single_read,
};
use crate::support::store::{Log, TestStore, go_on, topic};
use crate::support::traffic::Traffic;

/// A partition as it was at the end of a flush.
struct Boundary {
    partition: u32,
    offset: u64,
    digest: [u64; 2],
}

/// Partitions being folded from one source of traffic.
struct Logs {
    topic: TopicIdentity,
    logs: Vec<Log>,
    traffic: Traffic,
    boundaries: Vec<Boundary>,
}

impl Logs {
    fn new(topic: TopicIdentity, seed: u64) -> Self {
        let logs = (0..topic.partitions).map(|partition| Log::new(&topic, partition)).collect();
        Self { topic, logs, traffic: Traffic::new(seed), boundaries: Vec::new() }
    }

    /// Folds and writes so many flushes of all partitions, each led in by a control record now and then.
    fn flushes(&mut self, count: usize, store: &mut TestStore) {
        for flush in 0..count {
            let mut records: Vec<Vec<OwnedRecord>> = vec![Vec::new(); self.logs.len()];
            if flush % 4 == 0 {
                let control = self.traffic.control();
                records.iter_mut().for_each(|records| records.push(control.clone()));
            }
            for _ in 0..60 {
                let record = self.traffic.event();
                let partition = partition_of(record.key.as_deref().unwrap(), self.topic.partitions);
                records[partition.get() as usize].push(record);
            }
            let mut batch = RowBatch::new(self.topic.clone());
            for (log, records) in self.logs.iter_mut().zip(records) {
                log.fold(&records, &mut batch);
                self.boundaries.push(Boundary {
                    partition: log.id().get(),
                    offset: log.next_offset,
                    digest: log.partition.digest(),
                });
            }
            store.store.write(&batch).unwrap();
        }
    }
}

fn hydrate(store: &mut TestStore, topic: &TopicIdentity, at: &[(u32, u64)]) -> Vec<HydratedPartition> {
    let requests: Vec<HydrationRequest> = at
        .iter()
        .map(|&(partition, committed)| HydrationRequest {
            partition: PartitionId::new(partition),
            committed: Offset::new(committed),
        })
        .collect();
    store.store.hydrate(topic, &requests, &mut go_on).unwrap()
}

#[test]
fn any_flush_boundary_gives_the_state_folded_up_to_it() {
    for seed in 1..=3 {
        let mut store = TestStore::new("any_boundary");
        let mut logs = Logs::new(topic(1, 3), seed);
        logs.flushes(14, &mut store);
        // The partitions of one flush come from one scan.
        for flush in logs.boundaries.chunks(3) {
            let at: Vec<(u32, u64)> = flush.iter().map(|boundary| (boundary.partition, boundary.offset)).collect();
            for (hydrated, boundary) in hydrate(&mut store, &logs.topic, &at).iter().zip(flush) {
                let context = format!("seed {seed}, partition {}, offset {}", boundary.partition, boundary.offset);
                assert_eq!(hydrated.boundary, Some(Offset::new(boundary.offset)), "{context}");
                assert_eq!(hydrated.state.digest(), boundary.digest, "{context}");
            }
        }
    }
}

#[test]
fn several_partitions_come_from_one_scan_each_as_of_its_own_offset() {
    let mut store = TestStore::new("several_partitions");
    let mut logs = Logs::new(topic(1, 3), 11);
    logs.flushes(9, &mut store);
    // Partition 2 early, 0 late: the rows of one must not be cut by the offset of the other.
    let of = |partition: u32, flush: usize| &logs.boundaries[flush * 3 + partition as usize];
    let chosen = [of(2, 2), of(0, 8), of(1, 5)];
    let at: Vec<(u32, u64)> = chosen.iter().map(|boundary| (boundary.partition, boundary.offset)).collect();
    let hydrated = hydrate(&mut store, &logs.topic, &at);
    for (hydrated, boundary) in hydrated.iter().zip(chosen) {
        assert_eq!(hydrated.state.identity().partition.get(), boundary.partition);
        assert_eq!(hydrated.state.digest(), boundary.digest, "partition {}", boundary.partition);
        assert!(hydrated.rows > 0);
    }
}

#[test]
fn rows_of_a_worker_that_died_before_its_commit_are_not_seen() {
    let mut store = TestStore::new("orphans");
    let topic = topic(1, 1);
    let mut log = Log::new(&topic, 0);
    log.flush(&[single_message("m1").record()], &mut store.store);
    let committed = log.next_offset;
    let digest = log.partition.digest();
    log.flush(&[single_read("m1").after(HOUR).record()], &mut store.store);

    let [hydrated] = hydrate(&mut store, &topic, &[(0, committed)]).try_into().unwrap();
    assert_eq!(hydrated.state.digest(), digest);
    let mut again = Log::resume(&topic, hydrated.state, Offset::new(committed));
    let outcomes = again.flush(&[single_read("m1").after(HOUR).record()], &mut store.store);
    assert_eq!(outcomes, [Outcome::Counted], "the receipt counts again, or its notification is lost");
    assert_eq!(again.partition.digest(), log.partition.digest());
    assert_eq!(store.number("SELECT count() FROM receipts FINAL"), 1);
}

#[test]
fn other_batch_boundaries_after_a_restart_leave_the_same_state() {
    let mut store = TestStore::new("other_boundaries");
    let topic = topic(1, 1);
    let mut traffic = Traffic::new(5);
    let mut records = vec![traffic.control()];
    records.extend((0..200).map(|_| traffic.event()));
    let mut first = Log::new(&topic, 0);
    for flush in records.chunks(40) {
        first.flush(flush, &mut store.store);
    }
    // Only the first 80 were committed; the rest is folded again in other pieces.
    let [hydrated] = hydrate(&mut store, &topic, &[(0, 80)]).try_into().unwrap();
    let mut second = Log::resume(&topic, hydrated.state, Offset::new(80));
    for flush in records[80..].chunks(17) {
        second.flush(flush, &mut store.store);
    }
    assert_eq!(second.partition.digest(), first.partition.digest());
    for committed in [80, 97, 114, 120, 160, second.next_offset] {
        let [hydrated] = hydrate(&mut store, &topic, &[(0, committed)]).try_into().unwrap();
        let mut whole = Log::new(&topic, 0);
        whole.fold(&records[..committed as usize], &mut RowBatch::new(topic.clone()));
        assert_eq!(hydrated.state.digest(), whole.partition.digest(), "as of {committed}");
    }
}

#[test]
fn a_new_partition_is_empty() {
    let mut store = TestStore::new("new_partition");
    let [hydrated] = hydrate(&mut store, &topic(1, 4), &[(2, 0)]).try_into().unwrap();
    assert_eq!(hydrated.boundary, None);
    assert_eq!(hydrated.rows, 0);
    assert_eq!(hydrated.state.digest(), Log::new(&topic(1, 4), 2).partition.digest());
}

#[test]
fn a_new_epoch_takes_over_messages_policies_waits_and_the_watermark() {
    let mut store = TestStore::new("new_epoch");
    let old = topic(1, 2);
    let open = policy(1, |policy| {
        policy.group.open = true;
        policy.group.senders = seenby::policy::Senders::Members;
        policy.group.messages_per_day = 1;
    });
    let groups = ["g1", "g2", "g3", "g4", "g5", "g6"];
    let partition = |group: &str, count: u32| partition_of(format!("org#app/g/{group}").as_bytes(), count).get();
    for log in &mut [Log::new(&old, 0), Log::new(&old, 1)] {
        let mut records = vec![open.clone()];
        for group in groups.into_iter().filter(|group| partition(group, 2) == log.id().get()) {
            records.push(group_message("m1").to(group).asking_receipts().record());
            records.push(group_read("m1").to(group).after(HOUR).record());
            records.push(group_read("late").to(group).after(HOUR).record());
        }
        if log.id().get() == 1 {
            records.push(single_message("s").from("x").to("y").at(NOON + DAY).record());
        }
        records.retain(|record| record.key.as_ref().is_none_or(|key| partition_of(key, 2) == log.id()));
        log.flush(&records, &mut store.store);
    }

    let new = topic(2, 3);
    for partition_now in 0..3 {
        let [hydrated] = hydrate(&mut store, &new, &[(partition_now, 0)]).try_into().unwrap();
        assert_eq!(hydrated.boundary, None);
        assert!(hydrated.watermark.millis() >= NOON + HOUR);
        let here: Vec<&str> = groups.into_iter().filter(|group| partition(group, 3) == partition_now).collect();
        let mut log = Log::resume(&new, hydrated.state, Offset::new(0));
        let mut records = vec![open.clone()];
        let mut expected = vec![Outcome::Duplicate];
        for group in &here {
            records.push(group_message("m1").to(group).asking_receipts().record());
            expected.push(Outcome::Duplicate);
            records.push(group_read("m1").to(group).after(2 * HOUR).record());
            expected.push(Outcome::Duplicate);
            records.push(group_message("m2").to(group).asking_receipts().record());
            expected.push(Outcome::QuotaExceeded);
            records.push(group_message("late").to(group).record());
            expected.push(Outcome::Stored);
        }
        assert_eq!(log.flush(&records, &mut store.store), expected, "partition {partition_now}");
        let committed = log.next_offset;
        let [again] = hydrate(&mut store, &new, &[(partition_now, committed)]).try_into().unwrap();
        assert_eq!(again.state.digest(), log.partition.digest(), "partition {partition_now}: no wait is left");
    }
    let settled = store.number("SELECT uniqExact(conversation) FROM settlements WHERE outcome = 'not_requested'");
    assert_eq!(settled, groups.len() as u64);
}

#[test]
fn waits_that_a_lagging_partition_never_ended_end_with_the_first_event_of_the_new_epoch() {
    let mut store = TestStore::new("lagging");
    let old = topic(1, 2);
    let group_on = |partition: u32| {
        let is_there = |group: &String| partition_of(format!("org#app/g/{group}").as_bytes(), 2).get() == partition;
        (0..).map(|number| format!("g{number}")).find(is_there).unwrap()
    };
    let (lagging, ahead) = (group_on(0), group_on(1));
    let outcomes = Log::new(&old, 0).flush(&[group_read("m").to(&lagging).record()], &mut store.store);
    assert_eq!(outcomes, [Outcome::Parked]);
    let records = [group_read("m").to(&ahead).record(), group_message("later").to(&ahead).after(2 * DAY).record()];
    let outcomes = Log::new(&old, 1).flush(&records, &mut store.store);
    assert_eq!(outcomes, [Outcome::Parked, Outcome::Stored], "here the wait ends in time");
    assert_eq!(store.number("SELECT count() FROM settlements"), 1);

    let new = topic(2, 1);
    let [hydrated] = hydrate(&mut store, &new, &[(0, 0)]).try_into().unwrap();
    assert_eq!(hydrated.watermark.millis(), NOON + 2 * DAY);
    assert_eq!(hydrated.state.parked(), 1);
    let mut log = Log::resume(&new, hydrated.state, Offset::new(0));
    log.flush(&[single_message("any").after(DAY).record()], &mut store.store);
    let ended = "outcome = 'not_found' AND own_epoch = 1 AND own_partition = 0 AND own_offset = 0";
    for table in ["settlements", "rejections"] {
        let count = store.number(&format!("SELECT count() FROM {table} WHERE epoch = 2 AND {ended}"));
        assert_eq!(count, 1, "{table}");
    }
    let [again] = hydrate(&mut store, &new, &[(0, 1)]).try_into().unwrap();
    assert_eq!(again.state.parked(), 0);
    assert_eq!(again.state.digest(), log.partition.digest());
}

#[test]
fn waits_of_the_same_offset_in_two_epochs_stay_two() {
    let mut store = TestStore::new("same_offset");
    Log::new(&topic(1, 1), 0).flush(&[group_read("m").record(), group_read("n").record()], &mut store.store);
    let new = topic(2, 1);
    let [hydrated] = hydrate(&mut store, &new, &[(0, 0)]).try_into().unwrap();
    let mut log = Log::resume(&new, hydrated.state, Offset::new(0));
    let carol = |message: &str| group_read(message).from("carol").record();
    log.flush(&[carol("m"), carol("n"), group_message("m").record()], &mut store.store);
    assert_eq!(store.number("SELECT count() FROM settlements FINAL"), 2, "one message settled both");
    let [hydrated] = hydrate(&mut store, &new, &[(0, 3)]).try_into().unwrap();
    assert_eq!(hydrated.state.parked(), 2);
    assert_eq!(hydrated.state.digest(), log.partition.digest());

    log.flush(&[group_message("o").after(2 * DAY).record()], &mut store.store);
    assert_eq!(store.number("SELECT count() FROM settlements FINAL"), 4);
    assert_eq!(store.number("SELECT count() FROM rejections FINAL WHERE outcome = 'not_found'"), 2);
    let [hydrated] = hydrate(&mut store, &new, &[(0, 4)]).try_into().unwrap();
    assert_eq!(hydrated.state.digest(), log.partition.digest());
}

#[test]
fn the_longest_wait_and_the_first_instant_are_read_back() {
    let mut store = TestStore::new("extremes");
    let topic = topic(1, 1);
    let mut log = Log::new(&topic, 0);
    let patient = policy(1, |policy| policy.parking_hours = u32::MAX);
    let early = single_read("m1").at(0).record();
    let outcomes = log.flush(&[patient, early, single_message("m2").at(0).record()], &mut store.store);
    assert_eq!(outcomes, [Outcome::Applied, Outcome::Parked, Outcome::Stored]);
    let [hydrated] = hydrate(&mut store, &topic, &[(0, log.next_offset)]).try_into().unwrap();
    assert_eq!(hydrated.state.digest(), log.partition.digest());
    assert_eq!(hydrated.state.parked(), 1);
}

#[test]
fn another_partition_count_stops_the_worker() {
    let mut store = TestStore::new("partition_count");
    Log::new(&topic(1, 4), 0).flush(&[], &mut store.store);
    let refused = store.store.hydrate(&topic(1, 8), &[], &mut go_on);
    assert!(matches!(refused, Err(StoreError::PartitionCount { found: 4, asked: 8, .. })), "{refused:?}");
    let refused = store.store.frontiers(&topic(1, 8));
    assert!(matches!(refused, Err(StoreError::PartitionCount { found: 4, asked: 8, .. })), "{refused:?}");
}

#[test]
fn a_later_epoch_or_another_topic_stops_the_worker() {
    let mut store = TestStore::new("epoch_taken");
    Log::new(&topic(2, 4), 0).flush(&[], &mut store.store);
    let refused = store.store.frontiers(&topic(1, 4));
    assert!(matches!(refused, Err(StoreError::EpochTaken { found_epoch: 2, .. })), "{refused:?}");
    let other = TopicIdentity { topic: "another".to_owned(), ..topic(2, 4) };
    let refused = store.store.frontiers(&other);
    assert!(matches!(refused, Err(StoreError::EpochTaken { found_epoch: 2, .. })), "{refused:?}");
}

#[test]
fn the_engine_hashes_conversations_as_kafka_does() {
    let store = TestStore::new("hash");
    for index in 0..200 {
        let key = format!(
            "org#app/{}/{}",
            if index % 2 == 0 { "g" } else { "u" },
            "ñx".repeat(index % 23) + &index.to_string()
        );
        let query = store.client().query("SELECT toUInt32(bitAnd(kafkaMurmurHash(?), 2147483647) % 7)").bind(&key);
        let theirs: u32 = store.runtime.block_on(query.fetch_one()).unwrap();
        assert_eq!(partition_of(key.as_bytes(), 7).get(), theirs, "{key}");
    }
}
