//! Which offsets of a partition are verified: between ends of flushes, where the state can be read back, as far as the
//! log is there and the group has committed.

use std::collections::VecDeque;

use super::VerifyError;
use super::place::Place;
use super::tables::Tables;
use crate::event::{Offset, PartitionId};
use crate::fold::FOLD_VERSION;
use crate::log::{CommittedPosition, KafkaLogReader, LogReader as _};
use crate::store::{OffsetRange, StoreError, StoredRows};

/// Ends of flushes that are read at a time.
const PAGE: u64 = 10_000;

/// What was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) from: Option<Place>,
    pub(super) to: Option<Place>,
}

impl Bounds {
    /// The offsets of a partition to verify; `None` where there are none. The ledger of it reaches up to `frontier`.
    ///
    /// # Errors
    /// [`VerifyError::NotCommitted`] where it has rows and no commit: nothing says how far they count.
    pub(super) fn of_partition(
        self,
        partition: PartitionId,
        committed: Option<&CommittedPosition>,
        frontier: Option<Offset>,
        log: &mut KafkaLogReader,
        tables: &mut Tables,
    ) -> Result<Option<OffsetRange>, VerifyError> {
        let committed = match (committed, frontier) {
            (Some(committed), _) => committed,
            (None, Some(frontier)) => {
                return Err(VerifyError::NotCommitted { partition: partition.get(), frontier: frontier.get() });
            }
            (None, None) => return Ok(None),
        };
        if let Some(metadata) = committed.metadata
            && metadata.fold_version != FOLD_VERSION
        {
            let (found, known) = (metadata.fold_version, FOLD_VERSION);
            return Err(VerifyError::FoldVersion { partition: partition.get(), found, known });
        }
        let mut offset_of = |place| match place {
            Place::Offset(offset) => Ok(offset),
            Place::Time(time) => log.offset_at(partition, time),
        };
        let to = self.to.map(&mut offset_of).transpose()?.filter(|to| *to < committed.next_offset);
        let from = self.from.map(&mut offset_of).transpose()?.unwrap_or_default();
        let until = match to {
            // What seenby commits is the end of a flush, and its rows must be there. What was set by hand need not be.
            None if committed.metadata.is_some() => Some(committed.next_offset),
            to => tables.end_before(partition, to.unwrap_or(committed.next_offset))?,
        };
        let Some(until) = until else { return Ok(None) };

        let (log_begin, _) = log.log_range(partition)?;
        // What other rules folded cannot be compared with what these say.
        let since = committed.metadata.and_then(|metadata| metadata.since).map(Offset::new);
        let low = log_begin.max(since.unwrap_or_default());
        let from = tables.end_before(partition, from)?.filter(|from| *from >= low);
        let from = match from {
            None if low == Offset::default() => Some(low),
            // The state before it cannot be told from the log any more: it is read back at an end of a flush.
            None => tables.first_end(OffsetRange { partition, from: Offset::new(low.get() - 1), until })?,
            from => from,
        };
        // Behind an erasure whose rows were taken out the state can be read back again.
        let erased_until = tables.erased_until(partition)?;
        let from = match from {
            Some(from) if from > Offset::default() && from < erased_until => {
                tables.first_end(OffsetRange { partition, from: Offset::new(erased_until.get() - 1), until })?
            }
            from => from,
        };
        Ok(from.filter(|from| *from < until).map(|from| OffsetRange { partition, from, until }))
    }
}

/// The ends of flushes of a range, read page by page; its own end is one of them.
pub(super) struct FlushEnds {
    rest: OffsetRange,
    page: VecDeque<Offset>,
}

impl FlushEnds {
    /// Of that range.
    pub(super) fn of(range: OffsetRange) -> Self {
        Self { rest: range, page: VecDeque::new() }
    }

    /// The next end of a flush; the range's own end from there on.
    pub(super) async fn next(&mut self, stored: &StoredRows) -> Result<Offset, StoreError> {
        if self.page.is_empty() && self.rest.from < self.rest.until {
            self.page = stored.boundaries(self.rest, PAGE).await?.into();
            self.rest.from =
                self.page.back().copied().filter(|_| self.page.len() as u64 == PAGE).unwrap_or(self.rest.until);
            if self.rest.from == self.rest.until && self.page.back() != Some(&self.rest.until) {
                self.page.push_back(self.rest.until);
            }
        }
        Ok(self.page.pop_front().unwrap_or(self.rest.until))
    }
}
