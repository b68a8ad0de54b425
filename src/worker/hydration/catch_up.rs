//! Folding the log again up to what is committed: the rows are written once more, Kafka is told nothing.

use super::origin::Origin;
use super::{Hydrator, PROGRESS_INTERVAL, Start};
use crate::fold::Partition;
use crate::log::{Group, LogReader};
use crate::store::{RowBatch, Store, StoreError};
use crate::worker::clock::Clock;
use crate::worker::error::WorkerError;
use crate::worker::replay::Replay;

impl<S: Store, G: Group, R: LogReader, K: Clock> Hydrator<S, G, R, K> {
    /// Folds a state forward from its origin to the committed offset. Its rows are facts of the log, so that writing those
    /// that are there a second time changes nothing; its flushes make new boundaries with the same totals.
    pub(super) fn catch_up(
        &mut self,
        start: &Start,
        origin: &Origin,
        state: Partition,
    ) -> Result<Partition, WorkerError> {
        let (partition, from, to) = (start.partition.get(), origin.offset.get(), start.next_offset.get());
        let reason = origin.shortfall.as_ref().map(ToString::to_string).unwrap_or_default();
        tracing::warn!(partition, from, to, reason, "folding the log again and writing its rows once more");
        self.metrics.replays.inc();

        let Self { store, reader, settings, clock, ownership, metrics, .. } = self;
        let begun = clock.now();
        let mut told = begun;
        let mut flushed_records = 0;
        let mut rows = RowBatch::new(settings.topic.clone());
        let mut replay = Replay::begin(reader, state, start.next_offset)?;
        while !replay.is_done() {
            if ownership.is_abandoned() {
                return Err(StoreError::Stopped.into());
            }
            replay.fold_batch(start.next_offset, &mut rows.partition(start.partition))?;
            let records = replay.records() - flushed_records;
            if replay.is_done() || rows.bytes() >= settings.flush_bytes || records >= settings.flush_records {
                replay.end_flush(&mut rows.partition(start.partition));
                store.write(&rows)?;
                rows.clear();
                metrics.replayed_records.inc_by(records);
                flushed_records = replay.records();
            }
            if clock.now().saturating_sub(told) >= PROGRESS_INTERVAL {
                told = clock.now();
                tracing::info!(partition, offset = replay.position().get(), to, "folding the log again");
            }
        }
        let records = replay.records();
        let state = replay.into_state();
        let seconds = clock.now().saturating_sub(begun).as_secs_f64();
        tracing::warn!(partition, records, seconds, "the tables hold again what is committed");
        Ok(state)
    }
}
