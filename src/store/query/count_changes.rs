//! Which group messages of a sender have other counts than before.
//!
//! `sender_counts` keeps of each message the row of its last change, and earlier ones until a merge. Rows at or beyond the
//! ledger's frontier may be of a flush that is under way, or of a dead worker's: they are not told. Where such a row has
//! already replaced the one in front of the frontier, the message is told once the frontier has passed it: its offset is
//! still ahead of the reader, so nothing is skipped.

use clickhouse::Row;
use serde::Deserialize;

use super::{Frontiers, Queries};
use crate::event::{AppId, Epoch, UserId};
use crate::store::StoreError;

/// A place in every partition's log at once: what stands in front of it is over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogPosition {
    /// The generation of the log. Older ones are over, later ones have not begun.
    pub epoch: Epoch,
    /// The offset by partition; 0 for those that are not there.
    pub offsets: Vec<u64>,
}

/// A message whose count changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountChange {
    /// The key of its conversation.
    pub conversation: String,
    /// The message.
    pub message: String,
    /// Everybody who has read it.
    pub distinct_readers: u32,
}

/// What changed behind a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountChanges {
    /// Each message once, with the last count of those that are told, by partition and place in the log.
    pub changes: Vec<CountChange>,
    /// From here on further changes are to be asked for.
    pub reached: LogPosition,
    /// Whether there are some already.
    pub has_more: bool,
}

/// A part of one partition's log.
#[derive(Clone, Copy, Debug)]
struct Range {
    epoch: u16,
    partition: u32,
    /// Its first offset.
    from: u64,
    /// The offset behind it.
    until: u64,
}

#[derive(Row, Deserialize)]
struct ChangeRow {
    conversation: String,
    message: String,
    distinct_readers: u32,
    epoch: u16,
    partition: u32,
    offset: u64,
}

impl LogPosition {
    /// Up to which everything is complete.
    pub fn of(frontiers: &Frontiers) -> Self {
        Self { epoch: frontiers.epoch, offsets: frontiers.next_offsets() }
    }

    fn offset(&self, epoch: u16, partition: u32) -> u64 {
        let is_begun = self.epoch.get() == epoch;
        self.offsets.get(partition as usize).copied().filter(|_| is_begun).unwrap_or(0)
    }
}

impl Queries {
    /// The group messages of a sender whose counts changed between a position and the frontiers, at most `limit` of them.
    ///
    /// # Errors
    /// What ClickHouse said.
    pub async fn count_changes(
        &self,
        app: AppId<'_>,
        sender: UserId<'_>,
        since: &LogPosition,
        frontiers: &Frontiers,
        limit: usize,
    ) -> Result<CountChanges, StoreError> {
        let ranges = self.ranges(since, frontiers).await?;
        let asked: Vec<&Range> = ranges.iter().filter(|range| range.from < range.until).collect();
        let mut rows = Vec::new();
        if !asked.is_empty() {
            let query = self
                .statements
                .client
                .query(include_str!("count_changes.sql"))
                .bind(asked.iter().map(|range| range.place()).collect::<Vec<_>>())
                .bind(asked.iter().map(|range| range.from).collect::<Vec<_>>())
                .bind(asked.iter().map(|range| range.until).collect::<Vec<_>>())
                .bind(app.as_str())
                .bind(sender.as_str())
                .bind(limit as u64 + 1);
            rows = self.statements.reading("sender_counts").bounded(query.fetch_all::<ChangeRow>()).await?;
        }
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        let end = rows.last().filter(|_| has_more).map(|last| (last.epoch, last.partition, last.offset));
        let reached = reached(&ranges, end, frontiers.epoch);
        let changes = rows.into_iter().map(|row| {
            let ChangeRow { conversation, message, distinct_readers, .. } = row;
            CountChange { conversation, message, distinct_readers }
        });
        Ok(CountChanges { changes: changes.collect(), reached, has_more })
    }

    /// What of every log lies between a position and the frontiers, by generation and partition.
    async fn ranges(&self, since: &LogPosition, frontiers: &Frontiers) -> Result<Vec<Range>, StoreError> {
        let older = self.older_frontiers(since.epoch).await?;
        let older = older.into_iter().map(|end| (end.epoch, end.partition, end.next_offset));
        let epoch = frontiers.epoch.get();
        let current = (0..).zip(frontiers.next_offsets()).map(|(partition, until)| (epoch, partition, until));
        let range = |(epoch, partition, until): (u16, u32, u64)| {
            let from = since.offset(epoch, partition);
            Range { epoch, partition, from, until: until.max(from) }
        };
        Ok(older.chain(current).map(range).collect())
    }
}

impl Range {
    /// As the statement names it.
    fn place(&self) -> u64 {
        u64::from(self.epoch) << 32 | u64::from(self.partition)
    }
}

/// The position behind a page that ends at a place in the log, or behind all ranges where it has no end. An offset changes
/// the counts of one message at most, so that a page never ends between two changes of one offset.
fn reached(ranges: &[Range], end: Option<(u16, u32, u64)>, current: Epoch) -> LogPosition {
    let (epoch, end) = match end {
        Some((epoch, partition, offset)) => (epoch, Some((partition, offset))),
        None => (current.get(), None),
    };
    let mut offsets = Vec::new();
    for range in ranges.iter().filter(|range| range.epoch == epoch) {
        let offset = match end {
            Some((partition, offset)) if range.partition == partition => offset + 1,
            Some((partition, _)) if range.partition > partition => range.from,
            _ => range.until,
        };
        // Partitions of older generations that were never written to are not among the ranges.
        offsets.resize(range.partition as usize, 0);
        offsets.push(offset);
    }
    LogPosition { epoch: Epoch::new(epoch), offsets }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(epoch: u16, partition: u32, from: u64, until: u64) -> Range {
        Range { epoch, partition, from, until }
    }

    fn position(epoch: u16, offsets: &[u64]) -> LogPosition {
        LogPosition { epoch: Epoch::new(epoch), offsets: offsets.to_vec() }
    }

    #[test]
    fn a_page_ends_behind_its_last_change_and_leaves_later_partitions_where_they_were() {
        let ranges = [range(1, 0, 5, 9), range(1, 1, 3, 20), range(1, 2, 7, 8)];
        assert_eq!(reached(&ranges, Some((1, 1, 10)), Epoch::new(1)), position(1, &[9, 11, 7]));
        assert_eq!(reached(&ranges, None, Epoch::new(1)), position(1, &[9, 20, 8]));
    }

    #[test]
    fn older_generations_come_first_and_are_over_behind_the_last_page() {
        let ranges = [range(1, 1, 3, 20), range(2, 0, 0, 4), range(2, 1, 0, 6)];
        assert_eq!(reached(&ranges, Some((1, 1, 10)), Epoch::new(2)), position(1, &[0, 11]));
        assert_eq!(reached(&ranges, Some((2, 0, 2)), Epoch::new(2)), position(2, &[3, 0]));
        assert_eq!(reached(&ranges, None, Epoch::new(2)), position(2, &[4, 6]));
    }
}
