//! The fold on any sequence of events: a second fold, written from the contract alone, finds the same; neither the cuts of
//! batches nor a restart, from the facts written before it, change anything.

#![no_main]

#[path = "../../tests/it/support"]
#[allow(dead_code)]
mod support {
    pub mod both_folds;
    pub mod events;
    pub mod fold;
    pub mod plain_fold;
    pub mod random_log;
}

use bumpalo::Bump;
use libfuzzer_sys::fuzz_target;

use self::support::both_folds::{Findings, folded_both_ways};
use self::support::events::{DAY, NOON};
use self::support::fold::{Fold, restored};
use self::support::random_log::{BYTES_PER_STEP, Content, of_bytes};

/// Longer logs find no more and take longer.
const MOST_STEPS: usize = 150;

/// Where logs begin: in between, and so near both ends of time that some events are beyond.
const STARTS: [i64; 3] = [NOON, 5 * DAY, 4_102_444_799_999 - 20 * DAY];

fuzz_target!(|data: &[u8]| {
    // Where in time the log begins, in front of which record the worker is replaced, and after which of every eight
    // records a batch ends; the rest are the events.
    let Some((&[start, restart, cuts], steps)) = data.split_first_chunk() else { return };
    let start = STARTS[usize::from(start) % STARTS.len()];
    let records = of_bytes(Content::All, start, &steps[..steps.len().min(MOST_STEPS * BYTES_PER_STEP)]);
    let restart = usize::from(restart) % records.len();

    let arena = Bump::new();
    let (whole, plain) = folded_both_ways(&records, &arena);
    assert_eq!(Findings::by_the_fold(&whole), Findings::by_the_plain_fold(plain));

    let mut fold = Fold::new(&arena);
    for (number, record) in records.iter().enumerate() {
        if number == restart {
            fold.flush();
            let facts = std::mem::take(&mut fold.recorder.facts);
            let committed = fold.partition.next_offset();
            let state = restored(&facts, committed, |facts| facts.reverse());
            assert_eq!(state.digest(), fold.partition.digest(), "as of {}", committed.get());
            fold = Fold::of(state, &arena);
            fold.recorder.facts = facts;
        }
        fold.clock = record.time;
        fold.take(&record.record);
        if cuts >> (number % 8) & 1 == 1 {
            fold.flush();
        }
    }
    fold.flush();
    assert_eq!(fold.partition.digest(), whole.partition.digest());
    assert_eq!(fold.final_rows(), whole.final_rows(), "the rows of both workers are those of one");
});
