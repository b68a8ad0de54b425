//! How far the rows of all partitions are complete.

use clickhouse::Row;
use serde::Deserialize;

use super::{Frontier, FrontierRow, Queries};
use crate::event::{Epoch, EventTime, Offset, PartitionId};
use crate::store::StoreError;

/// How many partitions one statement asks for: a statement may be 256 KiB long.
const PARTITIONS_A_STATEMENT: usize = 256;

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

impl Queries {
    /// How far the rows of every partition are complete; without any partition before the first flush of all.
    ///
    /// Ask for it before the rows: an answer must not claim to be newer than it is.
    ///
    /// # Errors
    /// What ClickHouse said.
    pub async fn frontiers(&self) -> Result<Frontiers, StoreError> {
        let count = self.partition_count().await?.unwrap_or(0);
        let mut partitions = vec![None; count as usize];
        let all: Vec<u32> = (0..count).collect();
        for asked in all.chunks(PARTITIONS_A_STATEMENT) {
            let one = concat!("(", include_str!("frontier.sql"), ")");
            let statement = vec![one; asked.len()].join(" UNION ALL ");
            let query = asked.iter().fold(self.client.query(&statement), |query, partition| {
                query.bind(self.epoch.get()).bind(&self.topic).bind(partition)
            });
            for row in self.reading("ledger").bounded(query.fetch_all::<FrontierRow>()).await? {
                if let Some(partition) = partitions.get_mut(row.partition as usize) {
                    *partition = Some(row.into());
                }
            }
        }
        Ok(Frontiers { epoch: self.epoch, partitions })
    }

    /// Where the ledgers of the partitions of generations from `first` on and before the current one end, by generation
    /// and partition.
    pub(super) async fn older_frontiers(&self, first: Epoch) -> Result<Vec<OlderFrontier>, StoreError> {
        if first >= self.epoch {
            return Ok(Vec::new());
        }
        let query = self.client.query(include_str!("older_frontiers.sql")).bind(first.get()).bind(self.epoch.get());
        let mut found = self.reading("ledger").bounded(query.fetch_all::<OlderFrontier>()).await?;
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
