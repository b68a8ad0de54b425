//! Which offsets of each partition are folded: those whose records were written in the time asked for, as far as the tables
//! are complete and the log still holds what is in front of them.

use super::interest::Tables;
use super::{WhatIfError, WhatIfQuestion};
use crate::event::{Offset, PartitionId};
use crate::fold::FOLD_VERSION;
use crate::log::{CommittedPosition, KafkaLogReader, LogReader as _};
use crate::store::OffsetRange;
use crate::store::query::Frontiers;

const HOUR_MILLIS: i64 = 60 * 60 * 1000;

/// Offsets of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) partition: PartitionId,
    /// Where the state is read back, and folding begins.
    pub(super) state_at: Offset,
    /// The first record that counts.
    pub(super) from: Offset,
    /// Behind the last one.
    pub(super) until: Offset,
    /// Records of the time asked for may have stood in front of it.
    pub(super) may_lack_before: bool,
    /// Records of the time asked for stand behind it, which the tables do not have yet.
    pub(super) lacks_behind: bool,
}

impl Stretch {
    /// Whether no record counts.
    pub(super) fn is_empty(&self) -> bool {
        self.from >= self.until
    }

    /// How many offsets are read.
    pub(super) fn offsets(&self) -> u64 {
        if self.is_empty() { 0 } else { self.until.get() - self.state_at.get() }
    }
}

/// The stretch of each partition, or of the only one that matters.
pub(super) fn stretches(
    question: &WhatIfQuestion,
    only: Option<PartitionId>,
    frontiers: &Frontiers,
    log: &mut KafkaLogReader,
    tables: &mut Tables<'_>,
) -> Result<Vec<Stretch>, WhatIfError> {
    let all = (0..tables.stored.topic().partitions).map(PartitionId::new);
    let partitions: Vec<PartitionId> = all.filter(|partition| only.is_none_or(|only| only == *partition)).collect();
    let committed = log.committed(&partitions)?;
    let mut stretches = Vec::with_capacity(partitions.len());
    for (partition, committed) in partitions.into_iter().zip(&committed) {
        let frontier = frontiers.partitions.get(partition.get() as usize).copied().flatten();
        let complete_until = frontier.map(|frontier| frontier.next_offset).unwrap_or_default();
        let rules_since = rules_since(partition, committed.as_ref())?;
        stretches.push(of_partition(question, partition, (rules_since, complete_until), log, tables)?);
    }
    Ok(stretches)
}

/// From where on the rules of this build made what is committed.
fn rules_since(partition: PartitionId, committed: Option<&CommittedPosition>) -> Result<Offset, WhatIfError> {
    match committed.and_then(|committed| committed.metadata) {
        Some(metadata) if metadata.fold_version != FOLD_VERSION => {
            let (found, known) = (metadata.fold_version, FOLD_VERSION);
            Err(WhatIfError::FoldVersion { partition: partition.get(), found, known })
        }
        metadata => Ok(Offset::new(metadata.and_then(|metadata| metadata.since).unwrap_or_default())),
    }
}

fn of_partition(
    question: &WhatIfQuestion,
    partition: PartitionId,
    (rules_since, complete_until): (Offset, Offset),
    log: &mut KafkaLogReader,
    tables: &mut Tables<'_>,
) -> Result<Stretch, WhatIfError> {
    tables.interest.check()?;
    let (log_begin, _) = log.log_range(partition)?;
    let asked_from = log.offset_at(partition, question.from)?;
    let asked_until = log.offset_at(partition, question.until)?;
    let foldable_from = log_begin.max(rules_since);
    let until = asked_until.min(complete_until);
    let stored = tables.stored;
    let end_in_front = tables.ask(stored.boundary_before(partition, asked_from))?;
    let state_at = match end_in_front.filter(|end| *end >= foldable_from) {
        Some(end) => Some(end),
        None if foldable_from == Offset::default() => Some(foldable_from),
        // The log does not reach back to the last end of a flush in front of the range: the first one that it holds.
        None => {
            let behind = OffsetRange { partition, from: Offset::new(foldable_from.get() - 1), until };
            tables.ask(stored.boundaries(behind, 1))?.first().copied()
        }
    };
    // Where the log's begin is the range's, what was there before is not known from the log; the ledger tells its time.
    let may_begin_earlier = asked_from == log_begin
        && tables
            .ask(stored.last_hour_before(partition, log_begin))?
            .is_some_and(|hour| hour.millis() + HOUR_MILLIS > question.from.millis());
    let from = asked_from.max(state_at.unwrap_or(until));
    Ok(Stretch {
        partition,
        state_at: state_at.unwrap_or(until),
        from,
        until,
        may_lack_before: may_begin_earlier || state_at.is_none_or(|state_at| state_at > asked_from),
        lacks_behind: complete_until < asked_until,
    })
}
