//! A state read back as of an early boundary and folded forward is the state as of the late one.

use bumpalo::Bump;
use proptest::prelude::*;
use seenby::event::Offset;
use seenby::fold::Partition;
use seenby::worker::Replay;

use super::support::fold::{Fact, ONLY_PARTITION, Recorder, restored};
use super::support::memory_log::MemoryLog;
use super::support::random_log::{Content, log};

/// Folds the whole log from `state` on, with flushes after every batch for which `ends_flush` holds and at the end.
/// Returns the digest at the end and after each flush, by offset.
fn replayed(
    log: &mut MemoryLog,
    state: Partition,
    sink: &mut Recorder<'_>,
    mut ends_flush: impl FnMut(usize) -> bool,
) -> (Partition, Vec<(Offset, [u64; 2])>) {
    let target = Offset::new(log.end());
    let mut replay = Replay::begin(log, state, target).unwrap();
    let mut boundaries = Vec::new();
    let mut batches = 0;
    while !replay.is_done() {
        replay.fold_batch(target, sink).unwrap();
        if ends_flush(batches) || replay.is_done() {
            replay.end_flush(sink);
            boundaries.push((replay.position(), replay.state().digest()));
        }
        batches += 1;
    }
    (replay.into_state(), boundaries)
}

/// Facts as a set: written twice they are one.
fn rows(facts: &[Fact<'_>]) -> std::collections::BTreeSet<String> {
    let is_row = |fact: &&Fact<'_>| !matches!(fact, Fact::Notification(_) | Fact::Counts(_) | Fact::Ledger(_));
    facts.iter().filter(is_row).map(|fact| format!("{fact:?}")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn folding_forward_from_any_boundary_gives_the_same_state_and_the_same_rows(
        records in log(Content::All, 100),
        markers in proptest::collection::vec(any::<bool>(), 100),
        flushes in proptest::collection::vec(any::<bool>(), 100),
        other_flushes in proptest::collection::vec(any::<bool>(), 100),
    ) {
        let at = |choices: &[bool], number: usize| choices.get(number).copied().unwrap_or(false);
        let mut log = MemoryLog::new(&records, |number| at(&markers, number));
        let arena = Bump::new();
        let mut recorder = Recorder::new(&arena);
        let fresh = Partition::new(ONLY_PARTITION);
        let (end, boundaries) = replayed(&mut log, fresh, &mut recorder, |number| at(&flushes, number));
        prop_assert_eq!(end.next_offset().get(), log.end());

        for (offset, digest) in boundaries {
            let hydrated = restored(&recorder.facts, offset, |_| {});
            prop_assert_eq!(hydrated.digest(), digest);
            let mut again = Recorder::new(&arena);
            let (state, _) = replayed(&mut log, hydrated, &mut again, |number| at(&other_flushes, number));
            prop_assert_eq!(state.digest(), end.digest(), "from {:?}", offset);
            // Written once more the rows change nothing, wherever the new flushes end.
            prop_assert!(rows(&again.facts).is_subset(&rows(&recorder.facts)));
        }
    }
}
