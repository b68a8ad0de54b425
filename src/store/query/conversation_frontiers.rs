//! How far the rows of some conversations' partitions are complete.

use std::collections::{BTreeMap, BTreeSet};

use clickhouse::Row;
use serde::Deserialize;

use super::{Frontier, Queries};
use crate::event::{EventTime, Offset, PartitionId, partition_of};
use crate::store::StoreError;

#[derive(Row, Deserialize)]
struct FrontierRow {
    partition: u32,
    next_offset: u64,
    watermark_ms: i64,
    inserted_at_ms: i64,
}

impl Queries {
    /// How far the rows of conversations' partitions are complete, in the order of the conversations; `None` before a
    /// partition's first flush.
    ///
    /// Ask for it before the rows: an answer must not claim to be newer than it is.
    ///
    /// # Errors
    /// What ClickHouse said.
    pub async fn conversation_frontiers(&self, conversations: &[&str]) -> Result<Vec<Option<Frontier>>, StoreError> {
        let Some(count) = self.partition_count().await? else { return Ok(vec![None; conversations.len()]) };
        let home = |conversation: &&str| partition_of(conversation.as_bytes(), count).get();
        let homes: Vec<u32> = conversations.iter().map(home).collect();
        let partitions: BTreeSet<u32> = homes.iter().copied().collect();
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        // A ledger that was put back to an earlier state has nothing beyond what was reached before.
        let mut found = self.frontiers_from(&partitions, self.reached_by(&partitions)).await?;
        if found.len() < partitions.len() {
            found = self.frontiers_from(&partitions, 0).await?;
        }
        if let Ok(mut reached) = self.reached.lock() {
            reached.extend(found.iter().map(|(partition, frontier)| (*partition, frontier.next_offset.get())));
        }
        Ok(homes.iter().map(|home| found.get(home).copied()).collect())
    }

    /// The offset that every one of these partitions was seen to have reached.
    fn reached_by(&self, partitions: &BTreeSet<u32>) -> u64 {
        let Ok(reached) = self.reached.lock() else { return 0 };
        partitions.iter().map(|partition| reached.get(partition).copied().unwrap_or(0)).min().unwrap_or(0)
    }

    async fn frontiers_from(
        &self,
        partitions: &BTreeSet<u32>,
        least_offset: u64,
    ) -> Result<BTreeMap<u32, Frontier>, StoreError> {
        let query = self
            .client
            .query(include_str!("frontiers_of_partitions.sql"))
            .bind(self.epoch.get())
            .bind(&self.topic)
            .bind(partitions)
            .bind(least_offset);
        let rows = self.reading("ledger").bounded(query.fetch_all::<FrontierRow>()).await?;
        let frontier = |row: FrontierRow| {
            let frontier = Frontier {
                partition: PartitionId::new(row.partition),
                next_offset: Offset::new(row.next_offset),
                watermark: EventTime::from_millis(row.watermark_ms),
                committed_at_millis: row.inserted_at_ms,
            };
            (row.partition, frontier)
        };
        Ok(rows.into_iter().map(frontier).collect())
    }
}
