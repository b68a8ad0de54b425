#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod bench;

use std::sync::atomic::Ordering;

use super::*;
use crate::log::{AssignmentChange, CommitError, ConsumedRecord};
use crate::store::Table;
use bench::{Bench, GIVEN_UP, KEPT, NO_LIMITS, UNIX_MILLIS};

#[test]
fn what_is_revoked_goes_with_its_own_last_flush_while_the_rest_is_read_on() {
    let mut bench = Bench::with_both(NO_LIMITS);
    bench.intake.step().unwrap();
    bench.source.note(2, AssignmentChange::Revoked, &[GIVEN_UP]);
    bench.intake.step().unwrap();
    let last = bench.flushes.try_recv().unwrap();
    assert!(last.effects.iter().any(|effects| effects.partition == GIVEN_UP));
    bench.intake.step().unwrap();
    assert_eq!(bench.source.assigned(), [KEPT, GIVEN_UP], "its last flush is not written yet");

    bench.answer(&last);
    bench.intake.step().unwrap();
    assert_eq!(bench.source.assigned(), [KEPT]);
    assert_eq!(bench.metrics.partitions.get(), 1);
    assert!(bench.flushes.is_empty(), "what stays is flushed when it is due, not at every step");
    assert!(!bench.intake.is_drained(), "the partition that stays was read all the time");
}

#[test]
fn a_revocation_waits_for_the_flush_behind_a_busy_one() {
    let mut bench = Bench::with_both(NO_LIMITS);
    bench.intake.step().unwrap();
    bench.source.note(2, AssignmentChange::Revoked, &[GIVEN_UP]);
    bench.intake.step().unwrap();
    // The first one is still being written when the other partition is revoked too.
    let first = bench.flushes.try_recv().unwrap();
    bench.source.note(3, AssignmentChange::Revoked, &[KEPT]);
    bench.intake.step().unwrap();
    bench.answer(&first);
    bench.intake.step().unwrap();
    assert_eq!(bench.source.assigned(), [KEPT, GIVEN_UP], "the second one's records are not written yet");
    let second = bench.flushes.try_recv().unwrap();
    bench.answer(&second);
    bench.intake.step().unwrap();
    assert_eq!(bench.source.assigned(), []);
    assert!(bench.intake.is_drained());
}

#[test]
fn a_failure_to_read_back_what_went_elsewhere_meanwhile_ends_nothing() {
    let mut bench = Bench::new(NO_LIMITS);
    bench.source.note(1, AssignmentChange::Assigned, &[GIVEN_UP]);
    bench.intake.step().unwrap();
    bench.source.note(2, AssignmentChange::Lost, &[GIVEN_UP]);
    bench.intake.step().unwrap();
    let result = Err(WorkerError::Setup { doing: "reading back", reason: "somebody else was faster".to_owned() });
    bench.hydration_answers.send(HydrationAnswer { rebalance: 1, result }).unwrap();
    bench.intake.step().unwrap();
    assert_eq!(bench.source.assigned(), []);
}

#[test]
fn a_member_that_lost_everything_is_ready_when_it_is_assigned_again() {
    let mut bench = Bench::with_both(NO_LIMITS);
    assert!(bench.intake.is_assigned());
    bench.source.note(2, AssignmentChange::Lost, &[KEPT, GIVEN_UP]);
    bench.intake.step().unwrap();
    assert!(!bench.intake.is_assigned());
    bench.source.note(3, AssignmentChange::Assigned, &[]);
    bench.intake.step().unwrap();
    assert!(bench.intake.is_assigned());
}

#[test]
fn a_pipeline_that_ends_leaves_no_gauge_behind() {
    let bench = Bench::with_both(NO_LIMITS);
    assert_eq!(bench.metrics.partitions.get(), 2);
    bench.metrics.intake_paused.with_label_values(&["0"]).set(1);
    bench.intake.into_source();
    assert_eq!(bench.metrics.partitions.get(), 0);
    assert_eq!(bench.metrics.intake_paused.with_label_values(&["0"]).get(), 0);
}

#[test]
fn what_went_to_another_owner_is_neither_counted_nor_written() {
    let mut bench = Bench::with_both(NO_LIMITS);
    bench.intake.begin_stop();
    bench.intake.step().unwrap();
    let mut flush = bench.flushes.try_recv().unwrap();
    assert_eq!(flush.effects.len(), 2);
    let ownership = Ownership::default();
    let published = || -> u64 {
        let counted = bench.metrics.records.with_label_values(&["", "malformed"]);
        counted.get()
    };

    bench.effects(ownership.clone()).write(&mut flush).result.unwrap();
    assert_eq!((bench.writes.load(Ordering::Relaxed), published()), (0, 0));

    // One of the two is still owned; the other came back by a later rebalance and is folded again.
    ownership.take(KEPT, 1);
    ownership.take(GIVEN_UP, 2);
    bench.effects(ownership.clone()).write(&mut flush).result.unwrap();
    assert_eq!((bench.writes.load(Ordering::Relaxed), published()), (1, flush.records / 2));
}

#[test]
fn totals_behind_a_flush_that_was_passed_over_are_left_out() {
    let limits = IntakeLimits { flush_interval: Duration::from_secs(1), ..NO_LIMITS };
    let written = |owned_before: &[PartitionId]| {
        let mut bench = Bench::with_both(limits);
        let mut next_flush = |reads: &[PartitionId]| {
            bench.source.pause(&[KEPT, GIVEN_UP]).unwrap();
            bench.source.resume(reads).unwrap();
            bench.intake.step().unwrap();
            bench.clock.advance(limits.flush_interval);
            bench.intake.step().unwrap();
            bench.flushes.try_recv().unwrap()
        };
        // What was read in the beginning is out of the way.
        next_flush(&[]);
        let (mut first, mut second) = (next_flush(&[GIVEN_UP]), next_flush(&[KEPT, GIVEN_UP]));
        let ownership = Ownership::default();
        let mut effects = bench.effects(ownership.clone());
        owned_before.iter().for_each(|partition| ownership.take(*partition, 1));
        effects.write(&mut first).result.unwrap();
        ownership.release(GIVEN_UP);
        let (rows, bytes) = (second.rows.table(Table::Ledger).rows(), second.bytes());
        let answer = effects.write(&mut second);
        answer.result.unwrap();
        assert_eq!(answer.bytes, bytes, "what was counted as in flight is free again");
        let left: Vec<Vec<u8>> = second.rows.table(Table::Ledger).iter().map(<[u8]>::to_vec).collect();
        (rows, left, bench.writes.load(Ordering::Relaxed), second.rows.table(Table::Rejections).rows())
    };
    let (rows, whole, writes, rejections) = written(&[KEPT, GIVEN_UP]);
    assert_eq!((whole.len(), writes), (rows, 2));
    let (rows, left, writes, facts) = written(&[KEPT]);
    assert_eq!((writes, facts), (1, rejections), "facts harm nobody");
    // Epoch and topic stand in front of a row's partition.
    let is_of = |row: &&Vec<u8>, partition: PartitionId| row[9..13] == partition.get().to_le_bytes();
    assert_eq!(left, whole.iter().filter(|row| is_of(row, KEPT)).cloned().collect::<Vec<_>>());
    assert!(!left.is_empty() && left.len() < rows);
}

#[test]
fn an_idle_partition_is_committed_behind_its_markers_once() {
    let limits = IntakeLimits { flush_interval: Duration::from_secs(1), ..NO_LIMITS };
    let mut bench = Bench::with_both(limits);
    bench.source.fall_silent();
    bench.clock.advance(limits.flush_interval);
    bench.intake.step().unwrap();
    let folded = bench.flushes.try_recv().unwrap();
    bench.answer(&folded);

    let end = bench.source.pass_markers(KEPT, 1);
    for _ in 0..2 {
        bench.clock.advance(limits.flush_interval);
        bench.intake.step().unwrap();
    }
    let flush = bench.flushes.try_recv().unwrap();
    assert_eq!(flush.records, 0);
    let ends: Vec<_> = flush.effects.iter().map(|effects| (effects.partition, effects.next_offset)).collect();
    assert_eq!(ends, [(KEPT, end)], "the other partition has nothing new");
    assert!(flush.rows.table(Table::Ledger).rows() > 0, "a commit is a boundary of the ledger");

    bench.answer(&flush);
    for _ in 0..3 {
        bench.clock.advance(limits.flush_interval);
        bench.intake.step().unwrap();
    }
    assert!(bench.flushes.is_empty(), "a marker is committed past once");
    assert!(bench.intake.is_drained());
}

#[test]
fn records_behind_a_revocation_are_not_taken_for_markers() {
    let mut bench = Bench::with_both(NO_LIMITS);
    bench.source.note(2, AssignmentChange::Revoked, &[GIVEN_UP]);
    bench.intake.step().unwrap();
    let last = bench.flushes.try_recv().unwrap();
    let end_of = |flush: &Flush, asked: PartitionId| {
        flush.effects.iter().find(|effects| effects.partition == asked).map(|effects| effects.next_offset)
    };
    let given_up_at = end_of(&last, GIVEN_UP);
    // Polled on while the flush is being written.
    for _ in 0..5 {
        bench.clock.advance(Duration::from_secs(1));
        bench.intake.step().unwrap();
    }
    bench.intake.begin_stop();
    bench.intake.step().unwrap();
    let next = bench.flushes.try_recv().unwrap();
    assert_eq!(end_of(&next, GIVEN_UP), None, "{given_up_at:?} stands");
    assert!(end_of(&next, KEPT) > end_of(&last, KEPT));
}

#[test]
fn input_pauses_at_the_memory_limit_and_goes_on_when_the_flush_is_written() {
    let limits = IntakeLimits { memory_bytes: 50_000, ..NO_LIMITS };
    let mut bench = Bench::with_both(limits);
    let paused = |bench: &Bench| bench.metrics.intake_paused.with_label_values(&["0"]).get();
    let mut steps = 0;
    while bench.source.paused().is_empty() {
        bench.intake.step().unwrap();
        steps += 1;
        assert!(steps < 10_000, "it takes records without end");
    }
    assert_eq!(bench.source.paused(), [KEPT, GIVEN_UP]);
    assert_eq!(paused(&bench), 1);

    // Being over the limit makes the flush due at once.
    bench.intake.step().unwrap();
    let flush = bench.flushes.try_recv().unwrap();
    bench.intake.step().unwrap();
    assert_eq!(paused(&bench), 1, "its rows are still in memory");
    bench.answer(&flush);
    bench.intake.step().unwrap();
    assert_eq!(bench.source.paused(), []);
    assert_eq!(paused(&bench), 0);
}

#[test]
fn lost_partitions_are_dropped_at_once_and_nothing_of_them_is_flushed() {
    let mut bench = Bench::with_both(NO_LIMITS);
    bench.source.note(2, AssignmentChange::Lost, &[GIVEN_UP]);
    bench.intake.step().unwrap();
    assert_eq!(bench.source.assigned(), [KEPT], "no flush was waited for");
    assert_eq!(bench.metrics.partitions.get(), 1);
    assert!(bench.flushes.is_empty());
    bench.intake.begin_stop();
    bench.intake.step().unwrap();
    let flush = bench.flushes.try_recv().unwrap();
    assert!(flush.effects.iter().all(|effects| effects.partition == KEPT));
}

#[test]
fn a_revocation_is_answered_in_time_though_its_flush_is_not() {
    let mut bench = Bench::with_both(NO_LIMITS);
    bench.source.note(2, AssignmentChange::Revoked, &[GIVEN_UP]);
    bench.intake.step().unwrap();
    let mut flush = bench.flushes.try_recv().unwrap();
    bench.clock.advance(NO_LIMITS.revoke_timeout - Duration::from_millis(1));
    bench.intake.step().unwrap();
    assert_eq!(bench.source.assigned(), [KEPT, GIVEN_UP]);
    bench.clock.advance(Duration::from_millis(1));
    bench.intake.step().unwrap();
    assert_eq!(bench.source.assigned(), [KEPT]);

    // The flush comes through after all, and commits for the partition that stayed.
    bench.effects(bench.ownership.clone()).write(&mut flush).result.unwrap();
    assert_eq!(*bench.committed.lock().unwrap(), [KEPT]);
}

#[test]
fn a_partition_beyond_the_topics_count_ends_the_pipeline() {
    let mut bench = Bench::with_both(NO_LIMITS);
    bench.source.note(2, AssignmentChange::Assigned, &[PartitionId::new(2)]);
    let error = bench.intake.step().unwrap_err();
    assert!(matches!(error, WorkerError::PartitionAdded { partition: 2, partitions: 2, .. }), "{error}");
    assert!(error.to_string().contains("kafka.epoch"), "{error}");
}

#[test]
fn a_pipeline_that_would_start_anew_asks_first_whether_its_name_was_taken() {
    let failure = |error: CommitError| FlushAnswer { result: Err(error.into()), bytes: 0 };
    let unknown = || CommitError::Unknown { doing: "committing", reason: "timed out".to_owned() };
    let refused = || CommitError::Fenced { doing: "committing", reason: "fenced".to_owned() };

    let mut bench = Bench::with_both(NO_LIMITS);
    bench.flush_answers.send(failure(unknown())).unwrap();
    let error = bench.intake.step().unwrap_err();
    assert!(matches!(error, WorkerError::Commit(CommitError::Unknown { .. })), "nobody took it: {error}");

    bench.source.take_name();
    bench.flush_answers.send(failure(unknown())).unwrap();
    let error = bench.intake.step().unwrap_err();
    assert!(matches!(error, WorkerError::Source(SourceError::Fenced { .. })), "{error}");
    bench.flush_answers.send(failure(refused())).unwrap();
    let error = bench.intake.step().unwrap_err();
    assert!(matches!(error, WorkerError::Commit(CommitError::Fenced { .. })), "it stops anyway: {error}");
}

#[test]
fn the_lag_in_seconds_is_known_from_the_takeover_on() {
    let mut bench = Bench::new(NO_LIMITS);
    let lag = |bench: &Bench, partition: PartitionId| {
        bench.metrics.lag_seconds.with_label_values(&[&partition.get().to_string()]).get()
    };
    // Nothing is folded, as if the input were paused.
    bench.source.fall_silent();
    bench.source.end_at(KEPT, 10);
    bench.source.note(1, AssignmentChange::Assigned, &[KEPT]);
    bench.intake.step().unwrap();
    let written = UNIX_MILLIS - UNIX_MILLIS % 3_600_000 - 7_200_000;
    let mut builder = FlushBuilder::new(bench.topic.clone(), bench.metrics.clone());
    bench.hydrated_as(&bench.hydrations.try_recv().unwrap(), |state| {
        let (offset, time) = (Offset::default(), RecordTime::from_millis(written));
        let record = ConsumedRecord { partition: KEPT, offset, time, key: None, value: b"{}", control_header: None };
        builder.fold(KEPT, state, &record.decode(&Bump::new()), Duration::ZERO);
    });
    bench.clock.advance(MEASURE_INTERVAL);
    bench.intake.step().unwrap();
    assert_eq!(lag(&bench, KEPT), (bench.clock.unix_millis() - written) / 1000);

    // Of a partition that nobody has read before, it is known since when it waits.
    bench.source.end_at(GIVEN_UP, 10);
    bench.source.note(2, AssignmentChange::Assigned, &[GIVEN_UP]);
    bench.intake.step().unwrap();
    bench.hydrated(&bench.hydrations.try_recv().unwrap());
    bench.intake.step().unwrap();
    bench.clock.advance(Duration::from_secs(40));
    bench.intake.step().unwrap();
    assert_eq!(lag(&bench, GIVEN_UP), 40);
}
