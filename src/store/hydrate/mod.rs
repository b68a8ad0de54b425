//! Hydration: the states of partitions as of their committed offsets, from the rows before them.
//!
//! Seen are the rows of this partition and epoch below the committed offset, and all rows of older epochs (which are
//! drained) whose conversation hashes to this partition. Rows at or above exist where a worker died between writing and
//! committing; they count as not yet seen. Rows stream through, messages before what is about them, so that what has
//! left the state is passed over at once: beside the states there is only what [`Restore`] says it takes.

mod rows;

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::time::Duration;

use clickhouse::query::Query;
use clickhouse::{Client, Row, RowRead};
use serde::Deserialize;

use self::rows::{FactRow, LedgerRow, MarkRow, MessageRow, ParkedRow, PolicyRow, RecallRow, ReceiptRow, RosterRow};
use super::connection::Attempt;
use super::{HydratedPartition, HydrationProgress, HydrationRequest, StateScope, StoreError, TopicIdentity, ledger};
use crate::event::{Epoch, EventTime, Offset};
use crate::fold::fact::{ControlFact, PolicyFact};
use crate::fold::{LATENESS_MILLIS, PartitionIdentity, Restore, is_message_needed};
use crate::policy::DAY_MILLIS;

/// The longest validity that a policy can set, in ms.
const LONGEST_VALIDITY_MILLIS: i64 = 90 * DAY_MILLIS;

/// How many rows are read between two tellings of progress.
const PROGRESS_ROWS: u64 = 8192;

/// The states of partitions as of their committed offsets, in the order asked for; with a scope, that part of them.
pub(super) async fn hydrate(
    client: &Client,
    topic: &TopicIdentity,
    requests: &[HydrationRequest],
    scope: Option<StateScope<'_>>,
    timeout: Duration,
    progress: &mut HydrationProgress<'_>,
) -> Result<Vec<HydratedPartition>, StoreError> {
    let has_older_epochs = ledger::check_topic(client, topic, timeout).await?;
    let reader = Reader { client, topic, scope, timeout, progress: RefCell::new(progress) };
    let mut hydration = Hydration::start(&reader, requests, has_older_epochs).await?;
    // Before the first flush of a topic there is nothing to read.
    if hydration.targets.iter().any(|target| target.boundary.is_some()) || has_older_epochs {
        hydration.read_policies(&reader).await?;
        hydration.read_rosters(&reader).await?;
        hydration.read_messages(&reader).await?;
        hydration.targets.iter_mut().for_each(|target| target.restore.messages_complete());
        hydration.read_receipts(&reader).await?;
        hydration.read_recalls(&reader).await?;
        hydration.read_marks(&reader).await?;
        debug_assert!(hydration.targets.iter().all(|target| target.restore.held_back() == 0), "messages came first");
        hydration.read_parked(&reader).await?;
        // Totals are of the whole.
        if scope.is_none() {
            hydration.read_ledger(&reader).await?;
        }
    }
    Ok(hydration.finish())
}

/// What every query needs.
struct Reader<'a, 'p> {
    client: &'a Client,
    topic: &'a TopicIdentity,
    scope: Option<StateScope<'a>>,
    timeout: Duration,
    progress: RefCell<&'a mut HydrationProgress<'p>>,
}

impl Reader<'_, '_> {
    /// A query over facts, with the parameters that every one of them begins with.
    fn facts(&self, sql: &str, targets: &[Target]) -> Query {
        self.client
            .query(sql)
            .bind(self.topic.epoch.get())
            .bind(self.topic.partitions)
            .bind(partitions_of(targets))
            .bind(committed_of(targets))
            .bind(self.scope.map_or("", |scope| scope.app.as_str()))
            .bind(self.scope.and_then(|scope| scope.conversation).map_or("", |conversation| conversation.as_str()))
    }

    /// A query over the ledger's cells as of the committed offsets.
    fn ledger(&self, sql: &str, targets: &[Target]) -> Query {
        self.client
            .query(sql)
            .bind(self.topic.epoch.get())
            .bind(&self.topic.topic)
            .bind(partitions_of(targets))
            .bind(committed_of(targets))
    }

    fn attempt(&self, table: &'static str) -> Attempt<'static> {
        Attempt { doing: "reading", target: table, timeout: self.timeout }
    }

    /// Gives every row of an answer to `take`; each wait is bounded, the whole is not.
    async fn stream<R, F>(&self, table: &'static str, query: Query, mut take: F) -> Result<(), StoreError>
    where
        R: Row + RowRead,
        F: for<'row> FnMut(R::Value<'row>) -> Result<(), StoreError>,
    {
        let attempt = self.attempt(table);
        let mut cursor = query.fetch::<R>().map_err(|error| attempt.failed(&error))?;
        let mut rows = 0;
        while let Some(row) = attempt.bounded(cursor.next()).await? {
            take(row)?;
            rows += 1;
            if rows == PROGRESS_ROWS {
                self.tell(table, std::mem::take(&mut rows))?;
            }
        }
        self.tell(table, rows)
    }

    fn tell(&self, table: &'static str, rows: u64) -> Result<(), StoreError> {
        match (self.progress.borrow_mut())(table, rows) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(StoreError::Stopped),
        }
    }
}

/// One partition being read back.
struct Target {
    request: HydrationRequest,
    /// The last flush boundary at or before the committed offset.
    boundary: Option<Offset>,
    watermark: EventTime,
    /// When the oldest message needed was sent; receipts, recalls and marks of older ones are of no use.
    needed_from: Option<EventTime>,
    rows: u64,
    restore: Restore,
}

fn partitions_of(targets: &[Target]) -> Vec<u32> {
    targets.iter().map(|target| target.request.partition.get()).collect()
}

fn committed_of(targets: &[Target]) -> Vec<u64> {
    targets.iter().map(|target| target.request.committed.get()).collect()
}

/// The partitions being read back, in the order asked for.
struct Hydration {
    targets: Vec<Target>,
    /// Where the partitions of the older epochs ended.
    older_watermarks: Vec<OlderWatermarkRow>,
}

#[derive(Row, Deserialize)]
struct WatermarkRow {
    partition: u32,
    next_offset: u64,
    watermark: u64,
}

#[derive(Row, Deserialize)]
struct OlderWatermarkRow {
    epoch: u16,
    partition: u32,
    watermark: u64,
}

impl Hydration {
    /// Reads the watermarks, which say how old a row may be to matter.
    async fn start(
        reader: &Reader<'_, '_>,
        requests: &[HydrationRequest],
        has_older_epochs: bool,
    ) -> Result<Self, StoreError> {
        let older_watermarks = if has_older_epochs { older_watermarks(reader).await? } else { Vec::new() };
        let older_watermark = older_watermarks.iter().map(|row| watermark_of(row.watermark)).max().unwrap_or_default();
        let query = reader
            .client
            .query(include_str!("../sql/hydrate_watermarks.sql"))
            .bind(reader.topic.epoch.get())
            .bind(&reader.topic.topic)
            .bind(requests.iter().map(|request| request.partition.get()).collect::<Vec<_>>())
            .bind(requests.iter().map(|request| request.committed.get()).collect::<Vec<_>>());
        let watermarks: Vec<WatermarkRow> = reader.attempt("ledger").bounded(query.fetch_all()).await?;
        let targets = requests.iter().map(|request| {
            let own = watermarks.iter().find(|row| row.partition == request.partition.get());
            let watermark = own.map_or(older_watermark, |row| watermark_of(row.watermark));
            let identity = PartitionIdentity {
                epoch: reader.topic.epoch,
                partition: request.partition,
                partitions: reader.topic.partitions,
            };
            Target {
                request: *request,
                boundary: own.map(|row| Offset::new(row.next_offset)),
                watermark,
                needed_from: None,
                rows: 0,
                restore: Restore::new(identity, request.committed, watermark),
            }
        });
        Ok(Self { targets: targets.collect(), older_watermarks })
    }

    /// Gives every row of one table to its partition's state.
    async fn read<R, F>(&mut self, reader: &Reader<'_, '_>, query: Query, mut take: F) -> Result<(), StoreError>
    where
        R: Row + RowRead,
        for<'row> R::Value<'row>: FactRow,
        F: for<'row> FnMut(&mut Target, Epoch, &R::Value<'row>) -> Result<(), StoreError>,
    {
        let table = <R::Value<'static> as FactRow>::TABLE;
        reader
            .stream::<R, _>(table, query, |row| {
                let target = self.targets.iter_mut().find(|target| target.request.partition.get() == row.home());
                if let Some(target) = target {
                    target.rows += 1;
                    take(target, Epoch::new(row.epoch()), &row)?;
                }
                Ok(())
            })
            .await
    }

    async fn read_policies(&mut self, reader: &Reader<'_, '_>) -> Result<(), StoreError> {
        let query = reader.facts(include_str!("../sql/hydrate_policies.sql"), &self.targets);
        let current_epoch = reader.topic.epoch;
        reader
            .stream::<PolicyRow<'_>, _>(PolicyRow::TABLE, query, |row| {
                let version = row.policy_version()?;
                let control = version.as_ref().map_or_else(|| row.erasure(), ControlFact::Policy);
                let fact = PolicyFact { control, position: row.position() };
                let epoch = Epoch::new(row.epoch());
                for target in &mut self.targets {
                    if epoch < current_epoch || target.request.partition.get() == row.partition() {
                        target.rows += 1;
                        target.restore.policy(epoch, &fact);
                    }
                }
                Ok(())
            })
            .await
    }

    async fn read_rosters(&mut self, reader: &Reader<'_, '_>) -> Result<(), StoreError> {
        let query = reader.facts(include_str!("../sql/hydrate_roster_changes.sql"), &self.targets);
        self.read::<RosterRow<'_>, _>(reader, query, |target, epoch, row| {
            target.restore.roster(epoch, &row.fact()?);
            Ok(())
        })
        .await
    }

    async fn read_messages(&mut self, reader: &Reader<'_, '_>) -> Result<(), StoreError> {
        let oldest = self.floors(|target| target.watermark.plus_millis(-LONGEST_VALIDITY_MILLIS - LATENESS_MILLIS));
        let query = reader.facts(include_str!("../sql/hydrate_messages.sql"), &self.targets).bind(oldest);
        self.read::<MessageRow<'_>, _>(reader, query, |target, epoch, row| {
            let fact = row.fact()?;
            if is_message_needed(fact.sent_at, fact.validity_millis, fact.quota_day, target.watermark) {
                let oldest_so_far = target.needed_from.unwrap_or(fact.sent_at);
                target.needed_from = Some(oldest_so_far.min(fact.sent_at));
                target.restore.message(epoch, &fact);
            }
            Ok(())
        })
        .await
    }

    async fn read_receipts(&mut self, reader: &Reader<'_, '_>) -> Result<(), StoreError> {
        let needed_from = self.floors(|target| target.needed_from.unwrap_or(EventTime::MAX));
        let query = reader.facts(include_str!("../sql/hydrate_receipts.sql"), &self.targets).bind(needed_from);
        self.read::<ReceiptRow<'_>, _>(reader, query, |target, epoch, row| {
            target.restore.receipt(epoch, &row.fact()?);
            Ok(())
        })
        .await
    }

    async fn read_recalls(&mut self, reader: &Reader<'_, '_>) -> Result<(), StoreError> {
        let needed_from = self.floors(|target| target.needed_from.unwrap_or(EventTime::MAX));
        let query = reader.facts(include_str!("../sql/hydrate_recalls.sql"), &self.targets).bind(needed_from);
        self.read::<RecallRow<'_>, _>(reader, query, |target, epoch, row| {
            target.restore.recall(epoch, &row.fact()?);
            Ok(())
        })
        .await
    }

    async fn read_marks(&mut self, reader: &Reader<'_, '_>) -> Result<(), StoreError> {
        // A mark is held for LATENESS; an older one has read messages that may be held for longer.
        let floors = self.floors(|target| {
            let held_from = target.watermark.plus_millis(-LATENESS_MILLIS);
            target.needed_from.map_or(held_from, |needed_from| held_from.min(needed_from))
        });
        let query = reader.facts(include_str!("../sql/hydrate_marks.sql"), &self.targets).bind(floors);
        self.read::<MarkRow<'_>, _>(reader, query, |target, epoch, row| {
            target.restore.mark(epoch, &row.fact()?);
            Ok(())
        })
        .await
    }

    async fn read_parked(&mut self, reader: &Reader<'_, '_>) -> Result<(), StoreError> {
        let watermarks = self.floors(|target| target.watermark);
        let older = self.older_watermarks.iter();
        let older_partitions: Vec<u64> =
            older.clone().map(|row| u64::from(row.epoch) << 32 | u64::from(row.partition)).collect();
        let older_floors: Vec<i64> = older.map(|row| watermark_of(row.watermark).millis()).collect();
        let earliest = watermarks.iter().chain(&older_floors).min().copied().unwrap_or(0);
        let query = reader
            .facts(include_str!("../sql/hydrate_parked.sql"), &self.targets)
            .bind(watermarks)
            .bind(older_partitions)
            .bind(older_floors)
            .bind(earliest);
        self.read::<ParkedRow<'_>, _>(reader, query, |target, epoch, row| {
            target.restore.parked(epoch, &row.fact()?);
            Ok(())
        })
        .await
    }

    async fn read_ledger(&mut self, reader: &Reader<'_, '_>) -> Result<(), StoreError> {
        let query = reader.ledger(include_str!("../sql/hydrate_ledger.sql"), &self.targets);
        reader
            .stream::<LedgerRow, _>(LedgerRow::TABLE, query, |row| {
                let target = self.targets.iter_mut().find(|target| target.request.partition.get() == row.partition);
                if let Some(target) = target {
                    target.rows += 1;
                    target.restore.ledger(&row.fact(&row.histogram())?);
                }
                Ok(())
            })
            .await
    }

    /// A bound on the time of rows for each partition, in ms since 1970.
    fn floors(&self, bound: impl Fn(&Target) -> EventTime) -> Vec<i64> {
        self.targets.iter().map(|target| bound(target).max(EventTime::default()).millis()).collect()
    }

    fn finish(self) -> Vec<HydratedPartition> {
        let finish = |target: Target| HydratedPartition {
            state: target.restore.finish(),
            committed: target.request.committed,
            boundary: target.boundary,
            watermark: target.watermark,
            rows: target.rows,
        };
        self.targets.into_iter().map(finish).collect()
    }
}

/// Where the partitions of the older epochs ended; a fresh partition starts at the largest of these watermarks.
async fn older_watermarks(reader: &Reader<'_, '_>) -> Result<Vec<OlderWatermarkRow>, StoreError> {
    let query = reader.client.query(include_str!("../sql/hydrate_older_watermarks.sql")).bind(reader.topic.epoch.get());
    reader.attempt("ledger").bounded(query.fetch_all()).await
}

fn watermark_of(total: u64) -> EventTime {
    EventTime::from_millis(i64::try_from(total).unwrap_or(i64::MAX))
}
