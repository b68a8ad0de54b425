//! Which partitions are this pipeline's at this moment, and for how long the effects of a flush are worth a try.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::event::PartitionId;

/// Shared between the intake, which takes and gives up partitions, and the effects, which commit for those only that are
/// still owned. An ownership is told by the number of the rebalance that began it, so that a partition that went away
/// and came back is not taken for the same.
#[derive(Clone, Debug, Default)]
pub struct Ownership {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    owned: Mutex<HashMap<PartitionId, u64>>,
    abandoned: AtomicBool,
    duty: CleaningDuty,
}

/// Whether one of the process's pipelines owns partition 0: that makes it the one worker of the group whose janitor works.
#[derive(Clone, Debug, Default)]
pub struct CleaningDuty {
    /// How many pipelines own it: one that lost it may notice later than another one takes it.
    owners: Arc<AtomicUsize>,
}

impl CleaningDuty {
    /// Whose partition it goes by.
    const PARTITION: PartitionId = PartitionId::new(0);

    /// Whether it is this process's at the moment. Two that believe so for a moment do no harm.
    pub fn is_ours(&self) -> bool {
        self.owners.load(Ordering::Acquire) > 0
    }
}

impl Ownership {
    fn owned(&self) -> MutexGuard<'_, HashMap<PartitionId, u64>> {
        self.shared.owned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One that tells `duty` who owns partition 0.
    pub fn with_duty(duty: CleaningDuty) -> Self {
        Self { shared: Arc::new(Shared { duty, ..Shared::default() }) }
    }

    /// From now on the partition is owned, since that rebalance.
    pub fn take(&self, partition: PartitionId, rebalance: u64) {
        let was_owned = self.owned().insert(partition, rebalance).is_some();
        if !was_owned && partition == CleaningDuty::PARTITION {
            self.shared.duty.owners.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// From now on it is not.
    pub fn release(&self, partition: PartitionId) {
        let was_owned = self.owned().remove(&partition).is_some();
        if was_owned && partition == CleaningDuty::PARTITION {
            self.shared.duty.owners.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Whether it is owned since that rebalance.
    pub fn holds(&self, partition: PartitionId, rebalance: u64) -> bool {
        self.owned().get(&partition) == Some(&rebalance)
    }

    /// Gives everything up: the pipeline ends without waiting for its effects.
    pub fn abandon(&self) {
        self.release(CleaningDuty::PARTITION);
        self.owned().clear();
        // Last: what ends a write unfinished must find nothing owned that it could commit.
        self.shared.abandoned.store(true, Ordering::Release);
    }

    /// Whether [`Ownership::abandon`] was called.
    pub fn is_abandoned(&self) -> bool {
        self.shared.abandoned.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_duty_stays_where_partition_0_moves_between_pipelines_of_one_process() {
        let duty = CleaningDuty::default();
        let [one, other] = [(); 2].map(|()| Ownership::with_duty(duty.clone()));
        one.take(PartitionId::new(1), 1);
        assert!(!duty.is_ours());
        one.take(PartitionId::new(0), 1);
        one.take(PartitionId::new(0), 2);
        other.take(PartitionId::new(0), 1);
        one.release(PartitionId::new(0));
        one.release(PartitionId::new(0));
        assert!(duty.is_ours(), "the other one has it");
        other.abandon();
        assert!(!duty.is_ours());
    }
}
