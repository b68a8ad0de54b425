//! How far the rows of all partitions are complete.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use clickhouse::Row;
use clickhouse::query::Query;
use serde::Deserialize;

use super::{Frontier, FrontierRow, Queries, Statements};
use crate::event::{Epoch, EventTime, Offset, PartitionId};
use crate::store::StoreError;

/// How many partitions one statement asks for: a statement may be 256 KiB long.
const PARTITIONS_A_STATEMENT: usize = 256;

/// The part of `known_frontiers.sql` that is repeated for each partition. A condition a partition on the first columns of
/// the key: 8 partitions are found in a fifth of the time that as many statements take.
const KNOWN_FRONTIER: &str = "(partition = toUInt32(?) AND ledger.next_offset >= toUInt64(?))";

/// How far the rows of all partitions of the current generation are complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frontiers {
    /// The generation of the log.
    pub epoch: Epoch,
    /// By number of the partition; `None` before the partition's first flush.
    pub partitions: Vec<Option<Frontier>>,
}

impl Frontiers {
    /// The offsets up to which rows are complete, exclusive, by partition.
    pub fn next_offsets(&self) -> Vec<u64> {
        let offset = |frontier: &Option<Frontier>| frontier.map_or(0, |frontier| frontier.next_offset.get());
        self.partitions.iter().map(offset).collect()
    }
}

/// Where the ledger of one partition of an older generation ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Row, Deserialize)]
pub(super) struct OlderFrontier {
    /// The generation.
    pub(super) epoch: u16,
    /// The partition, of that generation.
    pub(super) partition: u32,
    /// Its end, exclusive.
    pub(super) next_offset: u64,
}

/// Asks how far the rows of partitions are complete.
#[derive(Debug)]
pub(super) struct FrontierSource {
    statements: Statements,
    epoch: Epoch,
    topic: String,
    /// The offsets up to which partitions were complete when last asked for: where to look on from. They never go back;
    /// where they did all the same (another database under the same name), the row is not found and looked for anew.
    known: Mutex<BTreeMap<u32, u64>>,
}

impl FrontierSource {
    pub(super) fn new(statements: Statements, epoch: Epoch, topic: String) -> Self {
        Self { statements, epoch, topic, known: Mutex::default() }
    }

    /// By partition, of these partitions; others that are known come with them.
    ///
    /// # Errors
    /// What ClickHouse said.
    pub(super) async fn ask(&self, partitions: &BTreeSet<u32>) -> Result<BTreeMap<u32, Option<Frontier>>, StoreError> {
        // A few rows: one thread finds them sooner than several agree who looks where.
        let client = &self.statements.hurried_by_a_thread;
        let mut found: BTreeMap<u32, Option<Frontier>> =
            partitions.iter().map(|partition| (*partition, None)).collect();
        let known: Vec<(u32, u64)> = self.known().iter().map(|(place, offset)| (*place, *offset)).collect();
        for asked in known.chunks(PARTITIONS_A_STATEMENT) {
            let conditions = vec![KNOWN_FRONTIER; asked.len()].join(" OR ");
            let statement = include_str!("known_frontiers.sql").replace(KNOWN_FRONTIER, &conditions);
            let query = client.query(&statement).bind(self.epoch.get()).bind(&self.topic);
            let query = asked.iter().fold(query, |query, (partition, offset)| query.bind(partition).bind(offset));
            self.take(query, &mut found).await?;
        }
        let unknown = found.iter().filter(|(_, frontier)| frontier.is_none());
        let unknown: Vec<u32> = unknown.map(|(partition, _)| *partition).collect();
        for asked in unknown.chunks(PARTITIONS_A_STATEMENT) {
            let one = concat!("(", include_str!("frontier.sql"), ")");
            let statement = vec![one; asked.len()].join(" UNION ALL ");
            let query = asked.iter().fold(client.query(&statement), |query, partition| {
                query.bind(self.epoch.get()).bind(&self.topic).bind(partition)
            });
            self.take(query, &mut found).await?;
        }
        let is_known =
            |(partition, frontier): (&u32, &Option<Frontier>)| Some((*partition, (*frontier)?.next_offset.get()));
        *self.known() = found.iter().filter_map(is_known).collect();
        Ok(found)
    }

    /// Puts the rows of an answer in their places.
    async fn take(&self, query: Query, found: &mut BTreeMap<u32, Option<Frontier>>) -> Result<(), StoreError> {
        for row in self.statements.reading("ledger").bounded(query.fetch_all::<FrontierRow>()).await? {
            found.insert(row.partition, Some(row.into()));
        }
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<u32, u64>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queries {
    /// How far the rows of every partition are complete; without any partition before the first flush of all.
    ///
    /// Ask for it before the rows: an answer must not claim to be newer than it is.
    ///
    /// # Errors
    /// What ClickHouse said.
    pub async fn frontiers(&self) -> Result<Frontiers, StoreError> {
        let count = self.partition_count().await?.unwrap_or(0);
        let partitions = self.recent_frontiers.source().ask(&(0..count).collect()).await?.into_values().collect();
        Ok(Frontiers { epoch: self.epoch, partitions })
    }

    /// Where the ledgers of the partitions of generations from `first` on and before the current one end, by generation
    /// and partition.
    pub(super) async fn older_frontiers(&self, first: Epoch) -> Result<Vec<OlderFrontier>, StoreError> {
        if first >= self.epoch {
            return Ok(Vec::new());
        }
        let query =
            self.statements.client.query(include_str!("older_frontiers.sql")).bind(first.get()).bind(self.epoch.get());
        let mut found = self.statements.reading("ledger").bounded(query.fetch_all::<OlderFrontier>()).await?;
        found.sort_unstable_by_key(|frontier| (frontier.epoch, frontier.partition));
        Ok(found)
    }
}

impl From<FrontierRow> for Frontier {
    fn from(row: FrontierRow) -> Self {
        Self {
            partition: PartitionId::new(row.partition),
            next_offset: Offset::new(row.next_offset),
            watermark: EventTime::from_millis(row.watermark_ms),
            committed_at_millis: row.inserted_at_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statement_holds_the_part_that_is_repeated_once() {
        assert_eq!(include_str!("known_frontiers.sql").matches(KNOWN_FRONTIER).count(), 1);
    }
}
