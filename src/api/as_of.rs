//! How fresh an answer is.

use serde::Serialize;
use utoipa::ToSchema;

use crate::store::query::{Frontier, Frontiers};

/// How far an answer is complete.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(crate) struct AsOf {
    /// The largest event time seen in the partition, in ms since 1970.
    watermark: i64,
    /// Every event before this offset is in the answer.
    next_offset: u64,
    /// The partition of the events topic.
    partition: u32,
    /// When the rows up to that offset were written, in ms since 1970.
    committed_at: i64,
}

impl From<Frontier> for AsOf {
    fn from(frontier: Frontier) -> Self {
        Self {
            watermark: frontier.watermark.millis(),
            next_offset: frontier.next_offset.get(),
            partition: frontier.partition.get(),
            committed_at: frontier.committed_at_millis,
        }
    }
}

/// How far an answer is complete that is of all partitions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct AppAsOf {
    /// The smallest of the partitions' watermarks (of each the largest event time seen), in ms since 1970. Partitions
    /// that nothing was ever written for have none.
    watermark: i64,
    /// By number of the partition of the events topic: every event before this offset is in the answer.
    next_offsets: Vec<u64>,
    /// When the rows up to those offsets were written, in ms since 1970: of the partition where it is longest ago, which
    /// may be one that has no events.
    committed_at: i64,
}

impl AppAsOf {
    /// `None` before the first flush of any partition.
    pub(crate) fn of(frontiers: &Frontiers) -> Option<Self> {
        let flushed = || frontiers.partitions.iter().flatten();
        Some(Self {
            watermark: flushed().map(|frontier| frontier.watermark.millis()).min()?,
            next_offsets: frontiers.next_offsets(),
            committed_at: flushed().map(|frontier| frontier.committed_at_millis).min()?,
        })
    }
}
