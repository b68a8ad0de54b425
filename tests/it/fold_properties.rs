//! What holds of the fold for every log.

use std::collections::BTreeMap;

use bumpalo::Bump;
use proptest::prelude::*;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use seenby::event::Offset;
use seenby::fold::Outcome;
use seenby::fold::fact::Measure;

use super::support::fold::{Fact, Fold, restored};
use super::support::random_log::{Content, TimedRecord, log};

/// Folds a log; `ends_batch` says after which records a batch ends. The last one always ends one.
fn folded<'a>(records: &[TimedRecord], arena: &'a Bump, ends_batch: impl Fn(usize) -> bool) -> Fold<'a> {
    let mut fold = Fold::new(arena);
    for (number, record) in records.iter().enumerate() {
        take(&mut fold, record);
        if ends_batch(number) {
            fold.flush();
        }
    }
    fold.flush();
    fold
}

fn take(fold: &mut Fold<'_>, record: &TimedRecord) -> Outcome {
    fold.clock = record.time;
    fold.take(&record.record)
}

/// The sum of the last totals of a measure, over the cells that `is_counted` takes.
fn ledger_sum(fold: &Fold<'_>, measure: Measure, is_counted: impl Fn(&str) -> bool) -> u64 {
    let mut last = BTreeMap::new();
    for fact in &fold.recorder.facts {
        if let Fact::Ledger(fact) = fact
            && fact.measure == measure
            && is_counted(fact.outcome)
        {
            last.insert((fact.app, fact.event_type, fact.outcome, fact.hour), fact.total);
        }
    }
    last.values().sum()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_batch_boundaries_give_the_same_final_rows(
        records in log(Content::All, 120),
        boundaries in proptest::collection::vec(any::<bool>(), 120),
    ) {
        let arena = Bump::new();
        let in_one = folded(&records, &arena, |_| false);
        let in_some = folded(&records, &arena, |number| boundaries.get(number).copied().unwrap_or(false));
        let in_many = folded(&records, &arena, |_| true);
        prop_assert_eq!(in_one.final_rows(), in_some.final_rows());
        prop_assert_eq!(in_one.final_rows(), in_many.final_rows());
        prop_assert_eq!(in_one.partition.digest(), in_many.partition.digest());
    }

    #[test]
    fn outcomes_add_up_to_the_records_and_settlements_to_what_was_parked(records in log(Content::All, 120)) {
        let arena = Bump::new();
        let fold = folded(&records, &arena, |number| number % 7 == 0);
        let consumed = ledger_sum(&fold, Measure::Records, |_| true);
        prop_assert_eq!(consumed, records.len() as u64);

        let parked = ledger_sum(&fold, Measure::Records, |outcome| outcome == "parked");
        let settled = ledger_sum(&fold, Measure::Settled, |_| true);
        prop_assert_eq!(parked, settled + fold.partition.parked() as u64);

        let counted = ledger_sum(&fold, Measure::Records, |outcome| outcome == "counted")
            + ledger_sum(&fold, Measure::Settled, |outcome| outcome == "counted");
        prop_assert_eq!(counted, fold.receipts().len() as u64);
    }

    #[test]
    fn a_repeated_message_or_receipt_changes_nothing(records in log(Content::MessagesAndReceipts, 80)) {
        let arena = Bump::new();
        let once = folded(&records, &arena, |_| false);
        let mut twice = Fold::new(&arena);
        for record in &records {
            let first = take(&mut twice, record);
            let facts_before = twice.recorder.facts.len();
            let second = take(&mut twice, record);
            if first == Outcome::Parked {
                prop_assert_eq!(second, Outcome::Parked, "it waits as well, and is settled as a duplicate");
            } else {
                let is_refused_again = second == first && first != Outcome::Counted;
                prop_assert!(second == Outcome::Duplicate || is_refused_again, "{first:?} then {second:?}");
                let facts = &twice.recorder.facts[facts_before..];
                prop_assert!(facts.iter().all(|fact| matches!(fact, Fact::Rejection(_))), "{facts:?}");
            }
        }
        twice.flush();
        let readers = |fold: &Fold<'_>| -> Vec<_> {
            fold.receipts().into_iter().map(|(message, reader, _)| (message.to_owned(), reader.to_owned())).collect()
        };
        prop_assert_eq!(readers(&once), readers(&twice));
        prop_assert_eq!(last_counts(&once), last_counts(&twice));
    }

    #[test]
    fn any_order_of_messages_and_receipts_gives_the_same_counts_and_readers(
        records in log(Content::MessagesAndReceipts, 40),
        seed in any::<u64>(),
    ) {
        // One message an id, as the second of two would be refused or not by which came first.
        let (opening, events) = records.split_at(1);
        let mut shuffled: Vec<TimedRecord> = events.to_vec();
        shuffled.dedup_by(|one, other| one.record == other.record);
        let mut met = std::collections::BTreeSet::new();
        shuffled.retain(|record| is_receipt(record) || met.insert(conversation_and_id(record)));
        let in_order: Vec<TimedRecord> = opening.iter().chain(&shuffled).cloned().collect();
        shuffled.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        let out_of_order: Vec<TimedRecord> = opening.iter().chain(&shuffled).cloned().collect();

        // Nothing here is far enough apart for a wait to end or a message to be too late.
        let span = records.iter().map(|record| record.time).max().unwrap() - records[0].time;
        prop_assume!(span < 23 * 60 * 60 * 1000);
        let arena = Bump::new();
        let one = folded(&in_order, &arena, |_| false);
        let other = folded(&out_of_order, &arena, |number| number % 3 == 0);
        let readers = |fold: &Fold<'_>| -> std::collections::BTreeSet<_> {
            fold.receipts().into_iter().map(|(message, reader, _)| (message.to_owned(), reader.to_owned())).collect()
        };
        prop_assert_eq!(readers(&one), readers(&other));
        prop_assert_eq!(last_counts(&one), last_counts(&other));
    }
}

/// The other tests would prove little on logs that never reach a rule.
#[test]
fn random_logs_meet_every_outcome() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let arena = Bump::new();
    let mut met = BTreeMap::new();
    let mut settled = BTreeMap::new();
    for _ in 0..150 {
        let records = log(Content::All, 120).new_tree(&mut runner).unwrap().current();
        let mut fold = Fold::new(&arena);
        for record in &records {
            *met.entry(take(&mut fold, record)).or_insert(0) += 1;
        }
        for (_, outcome) in fold.settled() {
            *settled.entry(outcome).or_insert(0) += 1;
        }
    }
    for outcome in Outcome::ALL {
        assert!(met.get(&outcome).is_some_and(|count| *count >= 10), "{} is too rare in {met:?}", outcome.name());
    }
    let of_waits = [
        Outcome::Counted,
        Outcome::OwnMessage,
        Outcome::Duplicate,
        Outcome::Recalled,
        Outcome::NotRequested,
        Outcome::NotMember,
        Outcome::NotFound,
        Outcome::Applied,
    ];
    for outcome in of_waits {
        assert!(settled.contains_key(&outcome), "no wait ended with {} in {settled:?}", outcome.name());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_state_restored_as_of_any_offset_is_the_state_folded_to_it(records in log(Content::All, 80), seed in any::<u64>()) {
        let arena = Bump::new();
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let whole = folded(&records, &arena, |_| true);
        let mut fold = Fold::new(&arena);
        for record in &records {
            take(&mut fold, record);
            fold.flush();
            let committed = fold.partition.next_offset();
            let partition = restored(&whole.recorder.facts, committed, |facts| {
                let repeated = facts.clone();
                facts.extend(repeated.into_iter().step_by(3));
                facts.shuffle(&mut random);
            });
            prop_assert_eq!(partition.digest(), fold.partition.digest(), "as of {}", committed.get());
        }
    }

    #[test]
    fn a_restored_state_folds_on_to_the_same_facts(
        records in log(Content::All, 120),
        cut in 0..120_usize,
        seed in any::<u64>(),
    ) {
        let arena = Bump::new();
        let whole = folded(&records, &arena, |_| true);
        let cut = cut.min(records.len());
        let committed = Offset::new(cut as u64);
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let partition = restored(&whole.recorder.facts, committed, |facts| facts.shuffle(&mut random));
        let mut continued = Fold::of(partition, &arena);
        for record in &records[cut..] {
            take(&mut continued, record);
            continued.flush();
        }
        let is_of_the_rest = |fact: &&Fact<'_>| match fact {
            Fact::Ledger(fact) => fact.next_offset > committed,
            Fact::Counts(fact) => fact.offset >= committed,
            other => other.position().is_some_and(|position| position.offset >= committed),
        };
        // The batch that ends the log is empty: it gives out nothing but the watermark once more.
        let rest: Vec<Fact<'_>> = whole.recorder.facts[..whole.recorder.facts.len() - 1]
            .iter()
            .filter(is_of_the_rest)
            .copied()
            .collect();
        prop_assert_eq!(&continued.recorder.facts, &rest);
        prop_assert_eq!(continued.partition.digest(), whole.partition.digest());
    }
}

fn last_counts(fold: &Fold<'_>) -> BTreeMap<(String, String), (u32, u32, u32)> {
    let mut counts = BTreeMap::new();
    for fact in &fold.recorder.facts {
        if let Fact::Counts(fact) = fact {
            let key = (fact.conversation.to_string(), fact.message.to_string());
            counts.insert(key, (fact.distinct, fact.retained, fact.delivered));
        }
    }
    counts
}

fn is_receipt(record: &TimedRecord) -> bool {
    let event: serde_json::Value = serde_json::from_slice(&record.record.value).unwrap();
    event["type"] != "message"
}

fn conversation_and_id(record: &TimedRecord) -> (Vec<u8>, String) {
    let event: serde_json::Value = serde_json::from_slice(&record.record.value).unwrap();
    (record.record.key.clone().unwrap(), event["id"].as_str().unwrap().to_owned())
}
