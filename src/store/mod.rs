//! ClickHouse: migrations, rows, writing, hydration and the ledger (DESIGN.md section 5).
//!
//! Facts of the fold are encoded once into a [`RowBatch`], written by a [`Store`] before Kafka's commit, and read back
//! as of an offset by [`Store::hydrate`]. Every row is a fact as of an offset of its partition's log: written twice,
//! late or by a dead worker it changes nothing.

mod clickhouse;
mod column;
mod columns;
mod completeness;
mod connection;
mod enums;
mod erasures;
mod error;
mod fact_text;
mod hydrate;
mod janitor;
pub mod ledger;
pub mod query;
mod row_binary;
mod rows;
mod schema;
mod split;
mod stored;
mod table;
mod watch;

pub use clickhouse::ClickHouseStore;
pub use column::{Column, Value, key_of, number_of, value_of, values};
pub use completeness::{Completeness, RowDifference};
pub use connection::connect;
pub use erasures::{Eraser, Erasure, RowsAbout};
pub use error::{StoreError, TRANSIENT_CODES};
pub use fact_text::{FactSays, FactText};
pub use janitor::{Cleaned, Janitor};
pub use rows::{PartitionRows, RowBatch, TableRows, TopicIdentity};
pub use schema::{check_schema, migrate, schema_script};
pub use stored::{DroppedWeeks, OffsetRange, OlderEnd, RefusedSelection, StoredRows};
pub use table::Table;
pub use watch::watch_clickhouse;

use std::ops::ControlFlow;

use crate::event::{AppId, ConversationKey, EventTime, Offset, PartitionId};
use crate::fold::Partition;

/// Where rows are kept. All calls block; each is bounded by the configured time-out for every statement it makes.
///
/// A store is owned by one thread. After an error it starts on a fresh connection.
pub trait Store: Send {
    /// Writes a flush: every table but the ledger, then the ledger. One attempt; whatever part of it was written may
    /// be written again with the same bytes.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: try again. Anything else: stop taking input, nothing may be skipped.
    fn write(&mut self, rows: &RowBatch) -> Result<(), StoreError>;

    /// How far the ledger reaches for each partition of this topic that has rows, in ascending order.
    ///
    /// # Errors
    /// [`StoreError::PartitionCount`] and [`StoreError::EpochTaken`] where the ledger belongs to another topic.
    fn frontiers(&mut self, topic: &TopicIdentity) -> Result<Vec<LedgerFrontier>, StoreError>;

    /// What the tables hold of partitions as of offsets, in the order asked for, told without reading them back: whether
    /// the distinct records with rows are those that the ledger counts as of the last boundary at or before the offset.
    ///
    /// # Errors
    /// As [`Store::frontiers`].
    fn completeness(
        &mut self,
        topic: &TopicIdentity,
        requests: &[HydrationRequest],
    ) -> Result<Vec<Completeness>, StoreError>;

    /// The flush boundaries in the ledger of one partition from `from` to `to`, both included, ascending.
    ///
    /// # Errors
    /// As [`Store::write`].
    fn boundaries(
        &mut self,
        topic: &TopicIdentity,
        partition: PartitionId,
        from: Offset,
        to: Offset,
    ) -> Result<Vec<Offset>, StoreError>;

    /// The states of partitions as of their committed offsets, in the order asked for; several at once cost one scan.
    /// Rows at or above the committed offset are those of a worker that died before its commit: not yet seen. `progress`
    /// is called every few thousand rows with the table and how many more came of it, and says whether to go on.
    ///
    /// # Errors
    /// As [`Store::frontiers`]; [`StoreError::Unreadable`] for a row that this version does not understand,
    /// [`StoreError::Stopped`] where `progress` said so.
    fn hydrate(
        &mut self,
        topic: &TopicIdentity,
        requests: &[HydrationRequest],
        progress: &mut HydrationProgress<'_>,
    ) -> Result<Vec<HydratedPartition>, StoreError>;
}

/// Takes the name of a table and how many more rows of it were read; says whether reading goes on.
pub type HydrationProgress<'a> = dyn FnMut(&'static str, u64) -> ControlFlow<()> + 'a;

/// A partition to be read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HydrationRequest {
    /// Which.
    pub partition: PartitionId,
    /// As of this offset, exclusive: the one committed in Kafka, or a ledger boundary.
    pub committed: Offset,
}

/// A part of a partition's state: the conversations of one app, or one conversation of it, and the app's policies.
#[derive(Clone, Copy, Debug)]
pub struct StateScope<'a> {
    /// The tenant.
    pub app: AppId<'a>,
    /// The only conversation; `None` for all of the app's.
    pub conversation: Option<ConversationKey<'a>>,
}

/// A partition read back.
#[derive(Debug)]
pub struct HydratedPartition {
    /// Its state as of [`HydratedPartition::committed`].
    pub state: Partition,
    /// As of this offset, exclusive.
    pub committed: Offset,
    /// The largest flush boundary in the ledger at or before it; `None` before the first flush. Every commit follows a
    /// flush, so that a boundary before the committed offset means that ClickHouse lost rows (or that the log's
    /// beginning is gone, where there is none).
    pub boundary: Option<Offset>,
    /// The watermark as of it; of a new epoch's fresh partition the largest of the epoch before.
    pub watermark: EventTime,
    /// Rows that were read for it.
    pub rows: u64,
}

/// How far the ledger reaches for one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerFrontier {
    /// Which partition.
    pub partition: PartitionId,
    /// Rows are complete up to this offset, exclusive. May be beyond what Kafka has committed.
    pub next_offset: Offset,
    /// The watermark as of it.
    pub watermark: EventTime,
    /// When the row was inserted, by ClickHouse's clock, in ms since 1970.
    pub inserted_at_millis: i64,
}
