//! The real worker, step by step, on a log, a group and a ClickHouse in memory, with a seeded scheduler that decides at
//! every step what happens next: progress, crashes, stalls, rebalances, lost and late answers. What must hold of every
//! run stands in ARCHITECTURE.md, "Invariants".
//!
//! `SEENBY_SIMULATION_RUNS` says how many seeds are run, `SEENBY_SIMULATION_SEED` which is the first. A failure names its
//! seed; run alone, it prints what happened step by step.

mod clickhouse;
mod completeness;
mod coroutine;
mod group;
mod group_handle;
mod hydration;
mod invariants;
mod process;
mod reference;
mod scheduler;
mod store;
mod topic;
mod transactions;
mod world;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use self::scheduler::{Report, run};
use self::world::{Event, Invariant, Mistake};

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap())
}

/// Runs seeds on all cores until `take` has seen enough.
fn run_seeds(first: u64, count: u64, mistake: Mistake, take: impl Fn(u64, Report) -> bool + Sync) {
    let next = AtomicU64::new(first);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count || !take(seed, run(seed, mistake, count == 1)) {
                        next.store(u64::MAX / 2, Ordering::Relaxed);
                        return;
                    }
                }
            });
        }
    });
}

#[test]
fn every_run_ends_as_if_nothing_had_happened() {
    let first = setting("SEENBY_SIMULATION_SEED").unwrap_or(1);
    let runs = setting("SEENBY_SIMULATION_RUNS").unwrap_or(2_000);
    let met = Mutex::new(BTreeMap::new());
    run_seeds(first, runs, Mistake::None, |seed, report| {
        let trace = report.trace.join("\n");
        let violations: Vec<String> = report.violations.iter().map(ToString::to_string).collect();
        assert!(
            violations.is_empty(),
            "{trace}\nseed {seed} (SEENBY_SIMULATION_SEED={seed} SEENBY_SIMULATION_RUNS=1 shows its steps):\n{}",
            violations.join("\n")
        );
        let mut met = met.lock().unwrap();
        for (event, count) in report.met {
            *met.entry(event).or_insert(0) += count;
        }
        true
    });
    // Runs that never met these would prove little.
    let met = met.into_inner().unwrap();
    for event in Event::ALL {
        assert!(runs < 500 || met.get(&event).is_some_and(|count| *count >= 10), "{event:?} is too rare in {met:?}");
    }
}

#[test]
fn a_seed_always_goes_the_same_way() {
    for seed in 1..=20 {
        let [one, other] = [(); 2].map(|()| run(seed, Mistake::None, true));
        assert_eq!(one.trace, other.trace, "seed {seed}");
    }
}

/// That a mistake breaks one of these invariants within so many seeds.
fn caught(mistake: Mistake, by: &[Invariant]) {
    let found = Mutex::new(None);
    run_seeds(1, 5_000, mistake, |seed, report| {
        let violation = report.violations.into_iter().find(|violation| by.contains(&violation.invariant));
        let is_found = violation.is_some();
        if let Some(violation) = violation {
            *found.lock().unwrap() = Some((seed, violation));
        }
        !is_found
    });
    let found = found.into_inner().unwrap();
    assert!(found.is_some(), "{mistake:?} went unnoticed");
}

#[test]
fn rows_after_the_commit_are_caught() {
    caught(Mistake::RowsAfterCommit, &[Invariant::Rows, Invariant::NobodyIsNeeded]);
}

#[test]
fn a_ledger_of_differences_is_caught() {
    caught(Mistake::LedgerOfDifferences, &[Invariant::Ledger]);
    caught(Mistake::LedgerOfDifferences, &[Invariant::Hydration]);
}

/// Beyond the rows themselves, which differ from the first on: states come out wrong, or a worker finds that the tables
/// are not what the ledger counts and does not go on from them.
#[test]
fn settled_rows_at_their_own_offset_are_caught() {
    caught(Mistake::OwnOffsetOnSettledRows, &[Invariant::Hydration, Invariant::NobodyIsNeeded]);
}

#[test]
fn a_commit_under_an_identity_taken_after_asking_for_ownership_is_caught() {
    caught(Mistake::IdentityAfterOwnership, &[Invariant::OneOwner, Invariant::CommitsGoOn, Invariant::Notifications]);
}

#[test]
fn a_producer_whose_name_was_taken_and_that_comes_back_is_caught() {
    caught(Mistake::FencedIsUnknown, &[Invariant::NewerStays]);
}

#[test]
fn a_member_fenced_by_its_own_second_request_that_stops_is_caught() {
    caught(Mistake::EveryFenceIsBelieved, &[Invariant::NobodyIsNeeded]);
}

#[test]
fn a_member_fenced_by_a_second_worker_that_comes_back_is_caught() {
    caught(Mistake::NoFenceIsBelieved, &[Invariant::NewerStays]);
}

#[test]
fn committed_offsets_read_past_an_open_transaction_are_caught() {
    caught(Mistake::UnstableCommits, &[Invariant::CommitsGoOn, Invariant::Notifications]);
}
