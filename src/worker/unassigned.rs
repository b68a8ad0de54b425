//! Partitions that the group has given to nobody.
//!
//! A cooperative rebalance goes in two steps: a member gives a partition up and joins again, and only then another one is
//! given it. A static member that dies in between and is back within its session takes its place without any rebalance:
//! the second step never comes, and nobody reads the partition until something else makes the group share out anew. So
//! every worker asks now and then, and that member leaves and joins again on whose name all of them agree.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::clock::Clock;
use crate::config::Config;
use crate::event::PartitionId;
use crate::log::{Sharing, SharingInquiry, SourceError};

/// Asks a pipeline to leave the group and to join it again; clones share it.
#[derive(Clone, Debug, Default)]
pub struct RejoinSignal {
    is_requested: Arc<AtomicBool>,
}

impl RejoinSignal {
    fn request(&self) {
        self.is_requested.store(true, Ordering::Release);
    }

    /// Whether it was asked for since this was called last.
    pub(super) fn take(&self) -> bool {
        self.is_requested.swap(false, Ordering::AcqRel)
    }
}

/// What is known of partitions that were nobody's.
struct Unassigned {
    /// When each was found to be so; it has been at every look since.
    since: BTreeMap<PartitionId, Duration>,
    /// For how long that is the way of a rebalance.
    patience: Duration,
}

impl Unassigned {
    /// Takes what a look at `now` has found, and says which partitions have been nobody's for too long. While the group is
    /// at sharing out, nothing is.
    fn note(&mut self, sharing: Option<&Sharing>, now: Duration) -> BTreeSet<PartitionId> {
        let none = BTreeSet::new();
        let unassigned = sharing.map_or(&none, |sharing| &sharing.unassigned);
        self.since.retain(|partition, _| unassigned.contains(partition));
        for partition in unassigned {
            self.since.entry(*partition).or_insert(now);
        }
        let is_overdue = |(_, since): &(&PartitionId, &Duration)| now.saturating_sub(**since) >= self.patience;
        self.since.iter().filter(is_overdue).map(|(partition, _)| *partition).collect()
    }
}

/// Looks again and again at what the group has given to nobody. `pipelines` are asked by their numbers. Never ends; may be
/// dropped at any time.
pub(super) async fn watch(config: Config, partitions: u32, pipelines: Vec<RejoinSignal>, clock: impl Clock) {
    let session = Duration::from_millis(u64::from(config.worker.session_timeout_ms));
    let revocation = super::pipeline::revoke_timeout(&config);
    let mut unassigned = Unassigned { since: BTreeMap::new(), patience: revocation + session };
    let pause = (session / 3).clamp(Duration::from_secs(1), Duration::from_secs(15));
    let config = Arc::new(config);
    let mut inquiry = None;
    loop {
        tokio::time::sleep(pause).await;
        // The client waits for the broker.
        let (asked, inquired) = (Arc::clone(&config), inquiry.take());
        let answer = tokio::task::spawn_blocking(move || ask(&asked, inquired, partitions)).await;
        let sharing = match answer {
            Ok(Ok((used, sharing))) => {
                inquiry = Some(used);
                sharing
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, "whether all partitions are somebody's is not known");
                None
            }
            // The process ends.
            Err(_) => return,
        };
        let overdue = unassigned.note(sharing.as_ref(), clock.now());
        if overdue.is_empty() {
            continue;
        }
        let Some(sharing) = sharing else { continue };
        let numbers: Vec<u32> = overdue.iter().map(|partition| partition.get()).collect();
        tracing::warn!(partitions = ?numbers, "nobody was given partitions; one member leaves and joins again");
        for (thread, pipeline) in (0..).zip(&pipelines) {
            if sharing.begins_with(&config, thread) {
                pipeline.request();
            }
        }
    }
}

fn ask(
    config: &Config,
    inquiry: Option<SharingInquiry>,
    partitions: u32,
) -> Result<(SharingInquiry, Option<Sharing>), SourceError> {
    let inquiry = inquiry.map_or_else(|| SharingInquiry::new(config), Ok)?;
    let sharing = inquiry.ask(partitions)?;
    Ok((inquiry, sharing))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_overdue_once_it_was_nobodys_at_every_look() {
        let seconds = Duration::from_secs;
        let mut unassigned = Unassigned { since: BTreeMap::new(), patience: seconds(20) };
        let partitions = |numbers: &[u32]| numbers.iter().copied().map(PartitionId::new).collect::<BTreeSet<_>>();
        let sharing = |numbers: &[u32]| Sharing { unassigned: partitions(numbers), ..Sharing::default() };
        assert_eq!(unassigned.note(Some(&sharing(&[1, 2])), seconds(0)), partitions(&[]));
        assert_eq!(unassigned.note(Some(&sharing(&[2, 3])), seconds(10)), partitions(&[]));
        assert_eq!(unassigned.note(Some(&sharing(&[1, 2, 3])), seconds(20)), partitions(&[2]));
        assert_eq!(unassigned.note(None, seconds(25)), partitions(&[]), "the group shares out");
        assert_eq!(unassigned.note(Some(&sharing(&[1, 2, 3])), seconds(30)), partitions(&[]), "anew");
        assert_eq!(unassigned.note(Some(&sharing(&[1, 2])), seconds(50)), partitions(&[1, 2]));
    }

    #[test]
    fn a_request_is_taken_once() {
        let signal = RejoinSignal::default();
        assert!(!signal.take());
        signal.clone().request();
        assert!(signal.take() && !signal.take());
    }
}
