//! Whether the tables hold what the ledger counts is told exactly, by table.

use seenby::event::{Epoch, Offset, PartitionId, partition_of};
use seenby::store::{Completeness, HydrationRequest, RowBatch, RowDifference, Store as _, Table, TopicIdentity};

use crate::support::events::{HOUR, OwnedRecord, policy, single_message, single_read};
use crate::support::store::{Log, TestStore, topic};
use crate::support::traffic::Traffic;

/// Tables with rows that the ledger counts.
const COUNTED: [Table; 9] = [
    Table::Messages,
    Table::Receipts,
    Table::Recalls,
    Table::RosterChanges,
    Table::Marks,
    Table::Parked,
    Table::Settlements,
    Table::Policies,
    Table::Rejections,
];

fn completeness(store: &mut TestStore, topic: &TopicIdentity, at: &[(u32, u64)]) -> Vec<Completeness> {
    let request = |&(partition, committed): &(u32, u64)| HydrationRequest {
        partition: PartitionId::new(partition),
        committed: Offset::new(committed),
    };
    let requests: Vec<HydrationRequest> = at.iter().map(request).collect();
    store.store.completeness(topic, &requests).unwrap()
}

fn differences(store: &mut TestStore, topic: &TopicIdentity, partition: u32, offset: u64) -> Vec<RowDifference> {
    completeness(store, topic, &[(partition, offset)]).remove(0).differences
}

/// Folds lifelike traffic of all kinds into every partition of a topic, and returns each flush's ends.
fn fill(store: &mut TestStore, topic: &TopicIdentity, seed: u64, flushes: usize) -> Vec<Vec<(u32, u64)>> {
    let mut traffic = Traffic::new(seed);
    let mut logs: Vec<Log> = (0..topic.partitions).map(|partition| Log::new(topic, partition)).collect();
    let mut ends = Vec::new();
    for flush in 0..flushes {
        let mut records: Vec<Vec<OwnedRecord>> = vec![Vec::new(); logs.len()];
        if flush % 4 == 0 {
            let control = traffic.control();
            records.iter_mut().for_each(|records| records.push(control.clone()));
        }
        for _ in 0..150 {
            let record = traffic.event();
            let partition = partition_of(record.key.as_deref().unwrap(), topic.partitions);
            records[partition.get() as usize].push(record);
        }
        let mut batch = RowBatch::new(topic.clone());
        for (log, records) in logs.iter_mut().zip(records) {
            log.fold(&records, &mut batch);
        }
        store.store.write(&batch).unwrap();
        ends.push(logs.iter().map(|log| (log.id().get(), log.next_offset)).collect());
    }
    ends
}

#[test]
fn as_of_every_boundary_the_tables_hold_what_the_ledger_counts() {
    for seed in 1..=3 {
        let mut store = TestStore::new("complete");
        let topic = topic(1, 2);
        let flushes = fill(&mut store, &topic, seed, 12);
        for ends in &flushes {
            for (completeness, (partition, end)) in completeness(&mut store, &topic, ends).iter().zip(ends) {
                assert_eq!(completeness.boundary, Some(Offset::new(*end)));
                assert_eq!(completeness.differences, [], "seed {seed}, partition {partition}, offset {end}");
            }
        }
        // Between two boundaries rows are in no total yet; before the first there is nothing.
        let [(partition, first), _] = flushes[0][..] else { panic!("two partitions") };
        let between = completeness(&mut store, &topic, &[(partition, first + 1)]).remove(0);
        assert_eq!((between.boundary, between.differences), (Some(Offset::new(first)), vec![]));
        let before = completeness(&mut store, &topic, &[(partition, 0)]).remove(0);
        assert_eq!((before.boundary, before.differences), (None, vec![]));
        let before = completeness(&mut store, &topic, &[(partition, first - 1)]).remove(0);
        assert_eq!(before.boundary, None);
        assert!(before.differences.iter().any(|difference| difference.expected == 0), "rows, but no flush");

        let boundaries = store.store.boundaries(&topic, PartitionId::new(0), Offset::new(0), Offset::new(first));
        assert_eq!(boundaries.unwrap(), [Offset::new(first)]);
        for table in COUNTED {
            let rows = format!("SELECT count() FROM {}", table.name());
            assert!(store.number(&rows) > 0, "the traffic has rows of table {}", table.name());
        }
    }
}

#[test]
fn rows_written_twice_merged_or_beyond_the_boundary_change_nothing() {
    let mut store = TestStore::new("complete_twice");
    let topic = topic(1, 1);
    let mut log = Log::new(&topic, 0);
    let open = policy(1, |_| {});
    let mut batch = RowBatch::new(topic.clone());
    log.fold(&[open, single_read("m1").after(HOUR).record(), single_message("m1").record()], &mut batch);
    store.store.write(&batch).unwrap();
    store.store.write(&batch).unwrap();
    let end = log.next_offset;
    // A worker died between these rows and its commit.
    log.flush(&[single_message("m2").record()], &mut store.store);
    assert_eq!(differences(&mut store, &topic, 0, end), []);
    for table in COUNTED {
        store.execute(&format!("OPTIMIZE TABLE {} FINAL", table.name()));
    }
    assert_eq!(differences(&mut store, &topic, 0, end), []);
}

#[test]
fn a_lost_row_is_told_by_table_and_from_its_offset_on() {
    let mut store = TestStore::new("complete_lost");
    let topic = topic(1, 2);
    let flushes = fill(&mut store, &topic, 7, 8);
    for table in COUNTED {
        let name = table.name();
        let is_counted = if table == Table::RosterChanges { "change != 'by_roster'" } else { "true" };
        let middle = flushes[3][0].1;
        let pick =
            format!("SELECT ifNull(min(offset), 0) FROM {name} WHERE partition = 0 AND {is_counted} AND offset >= ");
        // A policy may have come before the middle only.
        let lost = match store.number(&format!("{pick} {middle}")) {
            0 => store.number(&format!("{pick} 0")),
            offset => offset,
        };
        store.execute(&format!("DELETE FROM {name} WHERE partition = 0 AND offset = {lost} AND {is_counted}"));
        for ends in [&flushes[1], &flushes[3], &flushes[7]] {
            let (_, end) = ends[0];
            let found = differences(&mut store, &topic, 0, end);
            let of_table = found.iter().find(|difference| difference.table == table);
            assert_eq!(of_table.is_some(), end > lost, "{name} as of {end}, lost {lost}: {found:?}");
            if let Some(difference) = of_table {
                assert!(difference.found < difference.expected, "{difference}");
                assert!(difference.to_string().contains(name), "{difference}");
            }
        }
    }
    assert_eq!(differences(&mut store, &topic, 1, flushes[7][1].1), [], "the other partition lost nothing");
}

#[test]
fn a_row_that_nobody_counted_is_told_as_well() {
    let mut store = TestStore::new("complete_more");
    let topic = topic(1, 1);
    let mut log = Log::new(&topic, 0);
    log.flush(&[single_message("m1").record(), single_message("m2").record()], &mut store.store);
    store.execute("ALTER TABLE ledger DELETE WHERE type = 'message' SETTINGS mutations_sync = 2");
    let differences = differences(&mut store, &topic, 0, log.next_offset);
    let found: Vec<_> = differences.iter().map(|it| (it.table, it.expected, it.found)).collect();
    assert_eq!(found, [(Table::Messages, 0, 2), (Table::MessageFacts, 0, 2)]);
}

#[test]
fn facts_that_are_not_told_again_are_missing() {
    let mut store = TestStore::new("complete_facts");
    let topic = topic(1, 1);
    let mut log = Log::new(&topic, 0);
    log.flush(&[single_message("m1").record(), single_read("m1").record()], &mut store.store);
    assert_eq!(differences(&mut store, &topic, 0, log.next_offset), []);
    store.execute("DELETE FROM message_facts WHERE splitByChar('\\t', fact)[4] = 'read'");
    let [difference] = differences(&mut store, &topic, 0, log.next_offset).try_into().unwrap();
    assert_eq!((difference.table, difference.expected, difference.found), (Table::MessageFacts, 2, 1));
}

#[test]
fn older_epochs_are_counted_by_their_own_partitions() {
    let mut store = TestStore::new("complete_epochs");
    let older = topic(1, 1);
    let mut log = Log::new(&older, 0);
    // It waits through the change of topics.
    log.flush(&[single_read("later").record(), single_message("m1").record()], &mut store.store);

    let newer = TopicIdentity { topic: "newer.events".to_owned(), ..topic(2, 2) };
    let home = partition_of(single_message("later").key().as_bytes(), 2);
    let request = HydrationRequest { partition: home, committed: Offset::new(0) };
    let mut go_on = crate::support::store::go_on;
    let [hydrated] = store.store.hydrate(&newer, &[request], &mut go_on).unwrap().try_into().unwrap();
    let mut log = Log::resume(&newer, hydrated.state, Offset::new(0));
    log.flush(&[single_message("later").record()], &mut store.store);
    assert_eq!(store.number("SELECT count() FROM receipts WHERE own_epoch = 1 AND epoch = 2"), 1);
    assert_eq!(differences(&mut store, &newer, home.get(), log.next_offset), []);

    store.execute("DELETE FROM messages WHERE epoch = 1");
    let [difference] = differences(&mut store, &newer, 1 - home.get(), 0).try_into().unwrap();
    assert_eq!((difference.epoch, difference.table), (Epoch::new(1), Table::Messages));
    assert_eq!((difference.expected, difference.found), (1, 0));
}
