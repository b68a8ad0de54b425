//! How an intake answers rebalances: partitions given are read back elsewhere and then read, partitions to be given up go
//! with their last flush, lost ones at once.

use std::time::Duration;

use super::{Intake, OwnedPartition};
use crate::event::{PartitionId, RecordTime};
use crate::log::{AssignmentChange, RebalanceNote, Source};
use crate::observe::{FailPoint, reach};
use crate::worker::clock::Clock;
use crate::worker::error::WorkerError;
use crate::worker::hydration::{HydrationAnswer, HydrationJob};

/// Partitions on their way to somebody else. Those that stay are folded and flushed meanwhile, so what is waited for is
/// one certain flush and not that nothing is left to flush.
pub(super) struct Revocation {
    /// When it is waited for no longer.
    deadline: Duration,
    /// The flush with the last records of what is to be given up; `None` until it is handed over.
    pub(super) last_flush: Option<u64>,
}

impl<S: Source, K: Clock> Intake<S, K> {
    pub(super) fn take_hydration_answer(&mut self, answer: HydrationAnswer) -> Result<(), WorkerError> {
        let Some(awaited) = self.hydrating.remove(&answer.rebalance) else {
            debug_assert!(false, "every job is awaited until it is answered");
            return Ok(());
        };
        let hydrated = match answer.result {
            // All of them went elsewhere meanwhile, and so may have what was asked for.
            Err(error) if awaited.is_empty() => {
                tracing::info!(%error, "reading back partitions that are no longer this worker's");
                Vec::new()
            }
            result => result?,
        };
        let mut starts = Vec::with_capacity(awaited.len());
        for ready in hydrated {
            // Partitions lost meanwhile are no longer awaited: their states are thrown away.
            if !awaited.contains(&ready.partition) {
                continue;
            }
            starts.push((ready.partition, ready.next_offset));
            self.ownership.take(ready.partition, answer.rebalance);
            // A paused input may keep the first record waiting for long, and the lag is known all the same.
            let taken_over = RecordTime::from_millis(self.clock.unix_millis());
            let owned = OwnedPartition {
                rebalance: answer.rebalance,
                next_offset: ready.next_offset,
                last_record_time: ready.state.about_last_record().unwrap_or(taken_over),
                state: ready.state,
                is_revoked: false,
            };
            self.owned.insert(ready.partition, owned);
        }
        reach(FailPoint::AssignBegin);
        self.source.assign(&starts)?;
        reach(FailPoint::AssignEnd);
        if self.is_paused {
            let partitions: Vec<_> = starts.iter().map(|(partition, _)| *partition).collect();
            self.source.pause(&partitions)?;
        }
        self.metrics.partitions.add(starts.len() as i64);
        Ok(())
    }

    pub(super) fn serve(&mut self, note: RebalanceNote) -> Result<(), WorkerError> {
        let change = match note.change {
            AssignmentChange::Assigned => "assigned",
            AssignmentChange::Revoked => "revoked",
            AssignmentChange::Lost => "lost",
        };
        self.metrics.rebalances.with_label_values(&[change]).inc();
        let numbers: Vec<u32> = note.partitions.iter().map(|partition| partition.get()).collect();
        tracing::info!(change, partitions = ?numbers, rebalance = note.number, "rebalance");
        match note.change {
            AssignmentChange::Assigned => self.begin_hydration(note),
            AssignmentChange::Revoked => self.revoke(&note.partitions),
            AssignmentChange::Lost => self.lose(&note.partitions),
        }
    }

    fn begin_hydration(&mut self, note: RebalanceNote) -> Result<(), WorkerError> {
        self.has_joined = true;
        if note.partitions.is_empty() {
            // Nothing new, but the group waits for the answer.
            return Ok(self.source.assign(&[])?);
        }
        if let Some(added) = note.partitions.iter().find(|partition| partition.get() >= self.topic.partitions) {
            return Err(WorkerError::PartitionAdded {
                topic: self.topic.topic.clone(),
                partition: added.get(),
                partitions: self.topic.partitions,
            });
        }
        self.hydrating.insert(note.number, note.partitions.clone());
        let job = HydrationJob { rebalance: note.number, partitions: note.partitions };
        // A closed queue means that the pipeline ends, which its supervisor sees.
        let _ = self.queues.hydrations.send(job);
        Ok(())
    }

    /// Stops the intake of partitions that go to somebody else; [`Intake::give_up_revoked`] lets them go after their
    /// last flush.
    fn revoke(&mut self, partitions: &[PartitionId]) -> Result<(), WorkerError> {
        reach(FailPoint::RevokeBegin);
        self.forget_hydrating(partitions);
        self.pass_markers();
        for partition in partitions {
            if let Some(owned) = self.owned.get_mut(partition) {
                owned.is_revoked = true;
            }
        }
        let deadline = self.clock.now() + self.limits.revoke_timeout;
        let revocation = self.revocation.get_or_insert(Revocation { deadline, last_flush: None });
        // A second one waits for a flush of its own.
        revocation.last_flush = None;
        Ok(())
    }

    /// Drops partitions that may have another owner already: nothing more is written for them.
    fn lose(&mut self, partitions: &[PartitionId]) -> Result<(), WorkerError> {
        self.forget_hydrating(partitions);
        let dropped = self.drop_states(|partition, _| partitions.contains(&partition));
        if self.owned.is_empty() && self.hydrating.values().all(Vec::is_empty) {
            // It is out of the group until that gives it partitions again.
            self.has_joined = false;
        }
        Ok(self.source.unassign(&dropped)?)
    }

    fn forget_hydrating(&mut self, partitions: &[PartitionId]) {
        for awaited in self.hydrating.values_mut() {
            awaited.retain(|partition| !partitions.contains(partition));
        }
    }

    /// Forgets the partitions that `is_over` picks; effects on their way are left out of commits from here on.
    pub(super) fn drop_states(&mut self, is_over: impl Fn(PartitionId, &OwnedPartition) -> bool) -> Vec<PartitionId> {
        let over: Vec<PartitionId> =
            self.owned.iter().filter(|(partition, owned)| is_over(**partition, owned)).map(|(it, _)| *it).collect();
        for partition in &over {
            self.ownership.release(*partition);
            self.owned.remove(partition);
            self.building.forget(*partition);
            let label = partition.get().to_string();
            // Gauges of partitions that somebody else reads would stand still for ever.
            let _ = self.metrics.lag_records.remove_label_values(&[&label]);
            let _ = self.metrics.lag_seconds.remove_label_values(&[&label]);
        }
        self.metrics.partitions.sub(over.len() as i64);
        over
    }

    pub(super) fn give_up_revoked(&mut self) -> Result<(), WorkerError> {
        let Some(revocation) = &mut self.revocation else { return Ok(()) };
        if revocation.last_flush.is_none() && self.building.is_empty() {
            revocation.last_flush = Some(self.flushes_begun);
        }
        let is_flushed = revocation.last_flush.is_some_and(|last| self.flushes_answered >= last);
        if !is_flushed && self.clock.now() < revocation.deadline {
            return Ok(());
        }
        if !is_flushed {
            tracing::warn!("the last flush of revoked partitions did not end in time: the next owner folds it again");
        }
        reach(FailPoint::RevokeEnd);
        self.revocation = None;
        let dropped = self.drop_states(|_, owned| owned.is_revoked);
        Ok(self.source.unassign(&dropped)?)
    }
}
