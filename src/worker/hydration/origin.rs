//! Where a state is taken from the tables: at the committed offset, or at the last flush boundary up to which they hold
//! everything, from where the log is folded again.

use std::fmt;
use std::time::Duration;

use super::{Commit, Hydrator, Start};
use crate::config::RecoveryMode;
use crate::event::{Offset, PartitionId};
use crate::log::{Group, LogReader};
use crate::store::{Completeness, HydrationRequest, RowDifference, Store, StoreError};
use crate::worker::clock::Clock;
use crate::worker::error::WorkerError;

/// How often tables that lag behind are asked again before the log is, with a pause that doubles from the first on: a
/// replica may be some seconds behind the one that was written to.
const WAITS: u32 = 4;
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// What the tables lack of a committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shortfall {
    /// The ledger does not reach to it: a flush's rows are gone, with their totals.
    Boundary {
        /// Where it ends.
        ledger: Option<Offset>,
    },
    /// The ledger reaches to it with another watermark than the one committed, in ms since 1970.
    Watermark {
        /// In the commit.
        committed: i64,
        /// In the ledger.
        ledger: i64,
    },
    /// A table does not hold what the ledger counts.
    Rows(RowDifference),
    /// It is in front of an erasure whose rows were taken out.
    Erased {
        /// States before this offset cannot be read back.
        until: Offset,
    },
    /// Nothing: the setting wants the log to be folded.
    Wanted,
}

impl fmt::Display for Shortfall {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boundary { ledger: Some(ledger) } => {
                write!(formatter, "the last flush before it in the ledger ends at offset {}", ledger.get())
            }
            Self::Boundary { ledger: None } => formatter.write_str("the ledger holds no flush before it"),
            Self::Watermark { committed, ledger } => {
                write!(formatter, "it was committed with the watermark {committed}, the ledger holds {ledger}")
            }
            Self::Rows(difference) => difference.fmt(formatter),
            Self::Erased { until } => {
                write!(formatter, "rows in front of an erasure before offset {} were taken out", until.get())
            }
            Self::Wanted => formatter.write_str("worker.recovery = \"replay\""),
        }
    }
}

/// Where a state is taken from the tables.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub(super) offset: Offset,
    /// Why it is not the committed offset.
    pub(super) shortfall: Option<Shortfall>,
}

impl<S: Store, G: Group, R: LogReader, K: Clock> Hydrator<S, G, R, K> {
    /// Where the state of each partition is taken from the tables, in the same order.
    pub(super) fn origins(&mut self, starts: &[Start]) -> Result<Vec<Origin>, WorkerError> {
        let shortfalls = self.shortfalls_after_waiting(starts)?;
        let mut origins = Vec::with_capacity(starts.len());
        for (start, shortfall) in starts.iter().zip(shortfalls) {
            // What was folded by other rules cannot be folded again.
            let is_replay_wanted = self.settings.recovery == RecoveryMode::Replay
                && !matches!(start.commit, Commit::None)
                && !start.is_of_other_rules();
            let shortfall = shortfall.or(is_replay_wanted.then_some(Shortfall::Wanted));
            let offset = match &shortfall {
                None => start.next_offset,
                Some(shortfall) if start.is_of_other_rules() => {
                    return Err(WorkerError::RowsMissingOfOtherRules {
                        partition: start.partition.get(),
                        committed: start.next_offset.get(),
                        shortfall: shortfall.clone(),
                    });
                }
                Some(shortfall) => self.last_complete_boundary(start, shortfall)?,
            };
            origins.push(Origin { offset, shortfall });
        }
        Ok(origins)
    }

    /// Asserts that nothing is missing any more of partitions whose log was folded again.
    pub(super) fn check_caught_up(&mut self, starts: &[Start]) -> Result<(), WorkerError> {
        if starts.is_empty() {
            return Ok(());
        }
        for (start, shortfall) in starts.iter().zip(self.shortfalls(starts)?) {
            match shortfall {
                // What was taken out has been written again, until it is swept again.
                None | Some(Shortfall::Erased { .. }) => {}
                Some(shortfall) => return Err(rows_missing(start, shortfall)),
            }
        }
        Ok(())
    }

    fn shortfalls_after_waiting(&mut self, starts: &[Start]) -> Result<Vec<Option<Shortfall>>, WorkerError> {
        let mut shortfalls = self.shortfalls(starts)?;
        let mut wait = FIRST_WAIT;
        for _ in 0..WAITS {
            let Some(shortfall) = shortfalls.iter().flatten().next() else { break };
            tracing::warn!(%shortfall, "the tables lack rows of what is committed; asking them again");
            self.metrics.retries.with_label_values(&["hydrate"]).inc();
            self.clock.sleep(wait);
            wait *= 2;
            shortfalls = self.shortfalls(starts)?;
        }
        Ok(shortfalls)
    }

    fn shortfalls(&mut self, starts: &[Start]) -> Result<Vec<Option<Shortfall>>, WorkerError> {
        let request = |start: &Start| HydrationRequest { partition: start.partition, committed: start.next_offset };
        let requests: Vec<HydrationRequest> = starts.iter().map(request).collect();
        let completeness = self.store.completeness(&self.settings.topic, &requests)?;
        Ok(starts.iter().zip(completeness).map(|(start, found)| shortfall(start, &found)).collect())
    }

    /// The last boundary in front of the committed offset that the log still reaches back to and before which no row is
    /// missing; the first one where a replay is wanted.
    fn last_complete_boundary(&mut self, start: &Start, shortfall: &Shortfall) -> Result<Offset, WorkerError> {
        let Self { store, settings, .. } = &mut *self;
        let last = Offset::new(start.next_offset.get().saturating_sub(1));
        let mut candidates = store.boundaries(&settings.topic, start.partition, start.foldable_from(), last)?;
        if start.foldable_from() == Offset::default() && candidates.first() != Some(&Offset::default()) {
            // The log is whole: it can be folded from its start.
            candidates.insert(0, Offset::default());
        }
        // Nothing is read back at the log's start; behind it states lack what was erased.
        let request = HydrationRequest { partition: start.partition, committed: start.next_offset };
        let found = self.store.completeness(&self.settings.topic, &[request])?;
        let erased_until = found.first().map_or(Offset::default(), |found| found.erased_until);
        candidates.retain(|boundary| *boundary == Offset::default() || *boundary >= erased_until);
        if *shortfall == Shortfall::Wanted {
            candidates.truncate(1);
        }
        // Rows that are missing as of one boundary are missing as of every later one.
        let mut complete = 0;
        let mut incomplete = candidates.len();
        while complete < incomplete {
            let middle = complete + (incomplete - complete) / 2;
            let Some(boundary) = candidates.get(middle) else { break };
            if self.is_complete(start.partition, *boundary)? {
                complete = middle + 1;
            } else {
                incomplete = middle;
            }
        }
        match (complete.checked_sub(1).and_then(|last| candidates.get(last)), start.commit, shortfall) {
            (Some(boundary), _, _) => Ok(*boundary),
            // Nothing to fold again, and nothing that has to be.
            (None, _, Shortfall::Wanted) if candidates.is_empty() => Ok(start.next_offset),
            // Whoever set the position knew what is in front of it.
            (None, Commit::ByHand, Shortfall::Boundary { .. }) => Ok(start.next_offset),
            (None, _, _) => Err(rows_missing(start, shortfall.clone())),
        }
    }

    fn is_complete(&mut self, partition: PartitionId, boundary: Offset) -> Result<bool, WorkerError> {
        let request = HydrationRequest { partition, committed: boundary };
        let found = self.store.completeness(&self.settings.topic, &[request])?;
        Ok(found.iter().all(|found| found.differences.is_empty()))
    }
}

/// The state read back must be as of the boundary that was found complete: the janitor of another process may have taken
/// it out since, and totals as of an earlier one would be carried on.
pub(super) fn check_still_there(start: &Start, origin: &Origin, boundary: Option<Offset>) -> Result<(), WorkerError> {
    if boundary.unwrap_or(start.foldable_from()) == origin.offset {
        return Ok(());
    }
    let reason = format!("the boundary {} of partition {} is gone", origin.offset.get(), start.partition.get());
    Err(StoreError::Unavailable { doing: "reading", target: "ledger".to_owned(), reason }.into())
}

fn rows_missing(start: &Start, shortfall: Shortfall) -> WorkerError {
    WorkerError::RowsMissing {
        partition: start.partition.get(),
        committed: start.next_offset.get(),
        shortfall,
        foldable_from: start.foldable_from().get(),
    }
}

/// What the tables lack of what is committed. Every commit of a flush is a boundary in the ledger; only the first commit
/// of a partition comes before its first rows, and says what an empty ledger says. It was made at the log's begin, and
/// that has not moved past it, or the commit would be out of range.
fn shortfall(start: &Start, found: &Completeness) -> Option<Shortfall> {
    let is_at_boundary = found.boundary.unwrap_or(start.log_begin) == start.next_offset;
    let difference = found.differences.first().map(|difference| Shortfall::Rows(*difference));
    let erased = (start.next_offset != Offset::default() && start.next_offset < found.erased_until)
        .then_some(Shortfall::Erased { until: found.erased_until });
    let lacking = match start.commit {
        Commit::None => difference,
        // There is nothing that it could have come after.
        Commit::ByHand if found.boundary.is_none() => difference,
        _ if !is_at_boundary => Some(Shortfall::Boundary { ledger: found.boundary }),
        Commit::Flush(metadata) if metadata.watermark != found.watermark.millis() => {
            Some(Shortfall::Watermark { committed: metadata.watermark, ledger: found.watermark.millis() })
        }
        Commit::Flush(_) | Commit::ByHand => difference,
    };
    lacking.or(erased)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Epoch, EventTime};
    use crate::log::CommitMetadata;
    use crate::store::Table;

    const AT_70: Start = Start {
        partition: PartitionId::new(3),
        next_offset: Offset::new(70),
        log_begin: Offset::new(20),
        commit: Commit::Flush(CommitMetadata { fold_version: 1, watermark: 5, since: None }),
    };

    fn found(boundary: Option<u64>, watermark: i64) -> Completeness {
        Completeness {
            boundary: boundary.map(Offset::new),
            watermark: EventTime::from_millis(watermark),
            differences: Vec::new(),
            erased_until: Offset::default(),
        }
    }

    #[test]
    fn a_commit_is_a_boundary_of_the_ledger_or_comes_before_its_first_row() {
        assert_eq!(shortfall(&AT_70, &found(Some(70), 5)), None);
        let first = Start { log_begin: AT_70.next_offset, ..AT_70 };
        assert_eq!(shortfall(&first, &found(None, 5)), None);
    }

    #[test]
    fn nothing_is_folded_again_by_rules_that_did_not_hold_there() {
        assert_eq!(AT_70.foldable_from(), Offset::new(20));
        let since = |since| CommitMetadata { fold_version: 1, watermark: 5, since: Some(since) };
        assert_eq!(Start { commit: Commit::Flush(since(50)), ..AT_70 }.foldable_from(), Offset::new(50));
        assert_eq!(Start { commit: Commit::Flush(since(10)), ..AT_70 }.foldable_from(), Offset::new(20));
    }

    #[test]
    fn a_boundary_that_is_taken_out_meanwhile_is_looked_for_again() {
        let origin = Origin { offset: Offset::new(40), shortfall: Some(Shortfall::Wanted) };
        assert!(check_still_there(&AT_70, &origin, Some(Offset::new(40))).is_ok());
        let gone = check_still_there(&AT_70, &origin, Some(Offset::new(30))).unwrap_err();
        assert_eq!(gone.recovery(), crate::worker::Recovery::Rebuild, "{gone}");
    }

    #[test]
    fn a_flush_that_is_gone_is_told_also_where_the_watermark_stood_still() {
        let ledger = Some(Offset::new(60));
        assert_eq!(shortfall(&AT_70, &found(Some(60), 5)), Some(Shortfall::Boundary { ledger }));
        let ledger_of_another_time = Shortfall::Watermark { committed: 5, ledger: 4 };
        assert_eq!(shortfall(&AT_70, &found(Some(70), 4)), Some(ledger_of_another_time));
        let nothing = Some(Shortfall::Boundary { ledger: None });
        assert_eq!(shortfall(&AT_70, &found(None, 5)), nothing, "it is no first commit: the log has records before it");
        let by_hand = Start { commit: Commit::ByHand, ..AT_70 };
        assert_eq!(shortfall(&by_hand, &found(Some(60), 5)), Some(Shortfall::Boundary { ledger }));
        assert_eq!(shortfall(&by_hand, &found(Some(70), 4)), None, "nobody committed a watermark");
    }

    #[test]
    fn a_position_in_front_of_an_erasure_that_was_carried_out_cannot_be_read_back() {
        let erased = |until| Completeness { erased_until: Offset::new(until), ..found(Some(70), 5) };
        assert_eq!(shortfall(&AT_70, &erased(70)), None);
        assert_eq!(shortfall(&AT_70, &erased(71)), Some(Shortfall::Erased { until: Offset::new(71) }));
    }

    #[test]
    fn what_is_missing_says_where_and_of_what() {
        let (epoch, partition) = (Epoch::new(1), PartitionId::new(3));
        let difference = RowDifference { epoch, partition, table: Table::Receipts, expected: 12, found: 9, dropped: 0 };
        let missing = Completeness { differences: vec![difference], ..found(Some(70), 5) };
        let shortfall = shortfall(&AT_70, &missing).expect("three receipts are missing");
        let error = rows_missing(&AT_70, shortfall).to_string();
        for named in ["partition 3", "offset 70", "receipts", "9 records", "counts 12", "offset 20"] {
            assert!(error.contains(named), "{named}: {error}");
        }
    }
}
