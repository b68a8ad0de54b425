//! Writing until it succeeds: the same bytes again, later and later.

use std::ops::ControlFlow;
use std::time::Duration;

use super::{RowBatch, Store, StoreError};

/// The first pause after a failure.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause between attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Writes a flush, again after every [`StoreError::Unavailable`]. `pause` is told of each and how long to wait; it does
/// the waiting, and breaks where the caller's time is up or it is to stop. Time is the caller's matter, so that a
/// simulated clock serves as well as the real one.
///
/// # Errors
/// The last error where `pause` broke; any other error than `Unavailable` at once.
pub fn write_with_retries(
    store: &mut dyn Store,
    rows: &RowBatch,
    mut pause: impl FnMut(&StoreError, Duration) -> ControlFlow<()>,
) -> Result<(), StoreError> {
    let mut next_pause = FIRST_PAUSE;
    loop {
        match store.write(rows) {
            Err(error) if error.is_retryable() => {
                if pause(&error, next_pause).is_break() {
                    return Err(error);
                }
                next_pause = next_pause.saturating_mul(2).min(LONGEST_PAUSE);
            }
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;
    use std::time::Duration;

    use super::super::{HydratedPartition, HydrationRequest, LedgerFrontier};
    use super::{LONGEST_PAUSE, RowBatch, Store, StoreError, write_with_retries};
    use crate::event::Epoch;
    use crate::store::TopicIdentity;

    /// Answers writes from a list, the last first.
    struct Scripted(Vec<Result<(), StoreError>>);

    impl Store for Scripted {
        fn write(&mut self, _rows: &RowBatch) -> Result<(), StoreError> {
            self.0.pop().unwrap()
        }

        fn frontiers(&mut self, _topic: &TopicIdentity) -> Result<Vec<LedgerFrontier>, StoreError> {
            Ok(Vec::new())
        }

        fn hydrate(
            &mut self,
            _topic: &TopicIdentity,
            _requests: &[HydrationRequest],
        ) -> Result<Vec<HydratedPartition>, StoreError> {
            Ok(Vec::new())
        }
    }

    fn unavailable() -> Result<(), StoreError> {
        Err(StoreError::Unavailable { doing: "writing", target: "messages".to_owned(), reason: "gone".to_owned() })
    }

    fn rejected() -> Result<(), StoreError> {
        Err(StoreError::Rejected { doing: "writing", target: "messages".to_owned(), reason: "no table".to_owned() })
    }

    fn batch() -> RowBatch {
        RowBatch::new(TopicIdentity { topic: "t".to_owned(), epoch: Epoch::new(1), partitions: 1 })
    }

    #[test]
    fn a_passing_fault_is_tried_again_with_growing_pauses() {
        let mut store = Scripted(vec![Ok(()), unavailable(), unavailable(), unavailable()]);
        let mut pauses = Vec::new();
        let result = write_with_retries(&mut store, &batch(), |_, pause| {
            pauses.push(pause.as_millis());
            ControlFlow::Continue(())
        });
        assert!(result.is_ok());
        assert_eq!(pauses, [100, 200, 400]);
    }

    #[test]
    fn pauses_stop_growing() {
        let mut store = Scripted((0..20).map(|_| unavailable()).collect());
        let mut longest = Duration::ZERO;
        let mut attempts = 0;
        let result = write_with_retries(&mut store, &batch(), |_, pause| {
            longest = longest.max(pause);
            attempts += 1;
            if attempts == 15 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert!(matches!(result, Err(StoreError::Unavailable { .. })));
        assert_eq!(longest, LONGEST_PAUSE);
    }

    #[test]
    fn a_refusal_is_not_tried_again() {
        let mut store = Scripted(vec![Ok(()), rejected()]);
        let result = write_with_retries(&mut store, &batch(), |_, _| unreachable!("no pause after a refusal"));
        assert!(matches!(result, Err(StoreError::Rejected { .. })));
        assert_eq!(store.0.len(), 1, "one attempt");
    }
}
