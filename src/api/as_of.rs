//! How fresh an answer is.

use serde::Serialize;
use utoipa::ToSchema;

use crate::store::query::Frontier;

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
