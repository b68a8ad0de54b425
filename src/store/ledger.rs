//! The ledger: running totals as of an offset, read as frontiers and sums.

use std::time::Duration;

use clickhouse::{Client, Row};
use serde::Deserialize;

use super::connection::Attempt;
use super::{LedgerFrontier, StoreError, TopicIdentity};
use crate::event::{EventTime, Offset, PartitionId};

/// A total of one kind of outcome, over all partitions and hours.
#[derive(Clone, Debug, PartialEq, Eq, Row, Deserialize)]
pub struct LedgerTotal {
    /// The tenant; "" for malformed records.
    pub app: String,
    /// The type's name; "" for malformed records and unknown types.
    #[serde(rename = "type")]
    pub event_type: String,
    /// The outcome's name.
    pub outcome: String,
    /// `records`: records consumed; `settled`: ends of waits.
    pub measure: String,
    /// How many.
    pub total: u64,
}

/// Exact outcome sums of a topic as of each partition's frontier, ordered by measure, app, type and outcome: the sums
/// of `records` are the records consumed, and `parked` of them are the sums of `settled` and what still waits.
///
/// # Errors
/// What ClickHouse said.
pub async fn totals(client: &Client, topic: &TopicIdentity, timeout: Duration) -> Result<Vec<LedgerTotal>, StoreError> {
    let query = client.query(include_str!("sql/ledger_totals.sql")).bind(topic.epoch.get()).bind(&topic.topic);
    reading(timeout).bounded(query.fetch_all()).await
}

#[derive(Row, Deserialize)]
struct FrontierRow {
    partition: u32,
    next_offset: u64,
    watermark: u64,
    inserted_at: i64,
}

/// How far the ledger reaches for each partition that has rows, in ascending order.
///
/// # Errors
/// What ClickHouse said.
pub(super) async fn frontiers(
    client: &Client,
    topic: &TopicIdentity,
    timeout: Duration,
) -> Result<Vec<LedgerFrontier>, StoreError> {
    let query = client.query(include_str!("sql/ledger_frontiers.sql")).bind(topic.epoch.get()).bind(&topic.topic);
    let rows: Vec<FrontierRow> = reading(timeout).bounded(query.fetch_all()).await?;
    Ok(rows
        .into_iter()
        .map(|row| LedgerFrontier {
            partition: PartitionId::new(row.partition),
            next_offset: Offset::new(row.next_offset),
            watermark: EventTime::from_millis(i64::try_from(row.watermark).unwrap_or(i64::MAX)),
            inserted_at_millis: row.inserted_at,
        })
        .collect())
}

#[derive(Row, Deserialize)]
struct TopicRow {
    epoch: u16,
    topic: String,
    partitions: u32,
}

/// Which epochs before the current one the ledger holds: `true` if any.
///
/// # Errors
/// [`StoreError::EpochTaken`] where the ledger holds a later epoch, or another topic at this one;
/// [`StoreError::PartitionCount`] where it was written for another count; else what ClickHouse said.
pub(super) async fn check_topic(client: &Client, topic: &TopicIdentity, timeout: Duration) -> Result<bool, StoreError> {
    let query = client.query(include_str!("sql/ledger_topics.sql"));
    let rows: Vec<TopicRow> = reading(timeout).bounded(query.fetch_all()).await?;
    let mut has_older_epochs = false;
    for row in rows {
        if row.epoch < topic.epoch.get() {
            has_older_epochs = true;
        } else if row.epoch > topic.epoch.get() || row.topic != topic.topic {
            return Err(StoreError::EpochTaken {
                found_topic: row.topic,
                found_epoch: row.epoch,
                topic: topic.topic.clone(),
                epoch: topic.epoch.get(),
            });
        } else if row.partitions != topic.partitions {
            return Err(StoreError::PartitionCount {
                topic: row.topic,
                epoch: row.epoch,
                found: row.partitions,
                asked: topic.partitions,
            });
        }
    }
    Ok(has_older_epochs)
}

fn reading(timeout: Duration) -> Attempt<'static> {
    Attempt { doing: "reading", target: "ledger", timeout }
}
