//! Erasures are carried out in the tables: by the one process of the group that owns partition 0, as soon as every
//! partition has committed the record.

use std::time::Duration;

use super::error::WorkerError;
use super::metrics::WorkerMetrics;
use super::ownership::CleaningDuty;
use crate::config::KafkaConfig;
use crate::event::{Offset, PartitionId};
use crate::log::{KafkaLogReader, SourceError};
use crate::store::{Eraser, Erasure, TopicIdentity};

/// Where erasures come from, and how far the group is.
pub(super) struct ErasureLog {
    pub(super) kafka: KafkaConfig,
    pub(super) topic: TopicIdentity,
    /// How often to look.
    pub(super) interval: Duration,
}

/// Carries erasures out again and again while the duty is this process's. Never ends; may be dropped at any time.
pub(super) async fn keep_erased(eraser: Eraser, log: ErasureLog, duty: CleaningDuty, metrics: WorkerMetrics) {
    loop {
        tokio::time::sleep(log.interval).await;
        if !duty.is_ours() {
            continue;
        }
        if let Err(error) = erase_pending(&eraser, &log, &metrics).await {
            tracing::warn!(%error, "an erasure was not carried out in the tables; it is tried again");
            metrics.erasures.with_label_values(&["failed"]).inc();
        }
    }
}

async fn erase_pending(eraser: &Eraser, log: &ErasureLog, metrics: &WorkerMetrics) -> Result<(), WorkerError> {
    let pending = eraser.pending().await?;
    if pending.is_empty() {
        return Ok(());
    }
    let committed = log.committed().await?;
    for erasure in pending.iter().filter(|erasure| log.is_behind(erasure, &committed)) {
        let found = eraser.sweep(erasure).await?;
        let rows: u64 = found.iter().map(|(_, rows)| rows).sum();
        // Whom it was about is in the log of control records alone.
        tracing::info!(app = erasure.app, version = erasure.version, rows, "an erasure was carried out in the tables");
        metrics.erasures.with_label_values(&["ok"]).inc();
        metrics.erased_rows.inc_by(rows);
    }
    Ok(())
}

impl ErasureLog {
    /// What the group has committed of each partition; `None` where nothing.
    async fn committed(&self) -> Result<Vec<Option<Offset>>, WorkerError> {
        let (kafka, count) = (self.kafka.clone(), self.topic.partitions);
        let ask = move || -> Result<Vec<Option<Offset>>, SourceError> {
            let partitions: Vec<PartitionId> = (0..count).map(PartitionId::new).collect();
            let committed = KafkaLogReader::new(&kafka)?.committed(&partitions)?;
            Ok(committed.into_iter().map(|position| position.map(|position| position.next_offset)).collect())
        };
        let answer = tokio::task::spawn_blocking(ask).await;
        let failed = |error: tokio::task::JoinError| WorkerError::Setup {
            doing: "asking what is committed",
            reason: error.to_string(),
        };
        Ok(answer.map_err(failed)??)
    }

    /// Whether the whole group has gone past the erasure. Before that a worker that dies is replaced by one that reads
    /// back the state in front of it, for which nothing may be missing. Older generations are drained.
    fn is_behind(&self, erasure: &Erasure, committed: &[Option<Offset>]) -> bool {
        if erasure.epoch != self.topic.epoch {
            return erasure.epoch < self.topic.epoch;
        }
        let is_committed = |(number, committed): (usize, &Option<Offset>)| {
            let copy = erasure.copies.iter().find(|(partition, _)| partition.get() as usize == number);
            copy.is_some_and(|(_, offset)| committed.is_some_and(|committed| committed > *offset))
        };
        committed.iter().enumerate().all(is_committed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Epoch;

    #[test]
    fn an_erasure_waits_until_every_partition_has_committed_it() {
        let topic = TopicIdentity { topic: "events".to_owned(), epoch: Epoch::new(2), partitions: 2 };
        let log = ErasureLog { kafka: KafkaConfig::default(), topic, interval: Duration::ZERO };
        let copies = |copies: &[(u32, u64)]| Erasure {
            epoch: Epoch::new(2),
            copies: copies
                .iter()
                .map(|(partition, offset)| (PartitionId::new(*partition), Offset::new(*offset)))
                .collect(),
            ..Erasure::default()
        };
        let committed = [Some(Offset::new(8)), Some(Offset::new(5))];
        assert!(log.is_behind(&copies(&[(0, 7), (1, 4)]), &committed));
        assert!(!log.is_behind(&copies(&[(0, 7), (1, 5)]), &committed), "partition 1 may read back what is in front");
        assert!(!log.is_behind(&copies(&[(0, 7)]), &committed), "partition 1 has not met it");
        assert!(!log.is_behind(&copies(&[(0, 7), (1, 4)]), &[Some(Offset::new(8)), None]));
        let of = |epoch| Erasure { epoch: Epoch::new(epoch), ..copies(&[]) };
        assert!(log.is_behind(&of(1), &committed), "an older generation is drained");
        assert!(!log.is_behind(&of(3), &committed));
    }
}
