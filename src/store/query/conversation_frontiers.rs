//! How far the rows of some conversations' partitions are complete.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::frontiers::FrontierSource;
use super::{Frontier, Queries};
use crate::event::partition_of;
use crate::store::StoreError;

/// What was found a moment ago. Half of the work of a small question would be asking how far its partition is complete,
/// and an answer may say less than it knows: so questions that come shortly after one another share one statement. While
/// questions come, none waits for it: it is asked again before it is too old.
#[derive(Debug)]
pub(super) struct RecentFrontiers {
    source: FrontierSource,
    max_age: Duration,
    found: Mutex<Found>,
    is_asking_ahead: AtomicBool,
}

/// By partition; `None` before its first flush.
#[derive(Debug, Default)]
struct Found {
    /// When it was asked for; never, at first.
    asked_at: Option<Instant>,
    frontiers: BTreeMap<u32, Option<Frontier>>,
}

impl RecentFrontiers {
    /// What is older than that is not good any more.
    pub(super) fn new(source: FrontierSource, max_age: Duration) -> Self {
        Self { source, max_age, found: Mutex::default(), is_asking_ahead: AtomicBool::new(false) }
    }

    /// What is asked anew each time.
    pub(super) fn source(&self) -> &FrontierSource {
        &self.source
    }

    /// The frontiers of these partitions, in their order.
    async fn of(self: &Arc<Self>, homes: &[u32]) -> Result<Vec<Option<Frontier>>, StoreError> {
        let partitions: BTreeSet<u32> = homes.iter().copied().collect();
        let now = Instant::now();
        // Who comes while nothing good is there waits for the answer of who came first.
        let mut found = self.found.lock().await;
        if !found.answers(&partitions, now, self.max_age) {
            *found = self.ask(&partitions).await?;
        } else if !found.answers(&partitions, now, self.max_age * ASKED_AGAIN_AT.0 / ASKED_AGAIN_AT.1) {
            self.ask_ahead(found.frontiers.keys().copied().collect());
        }
        Ok(homes.iter().map(|home| found.frontiers.get(home).copied().flatten()).collect())
    }

    async fn ask(&self, partitions: &BTreeSet<u32>) -> Result<Found, StoreError> {
        let asked_at = Some(Instant::now());
        Ok(Found { asked_at, frontiers: self.source.ask(partitions).await? })
    }

    /// Asks while questions go on with what is there.
    fn ask_ahead(self: &Arc<Self>, partitions: BTreeSet<u32>) {
        if self.is_asking_ahead.swap(true, Ordering::AcqRel) {
            return;
        }
        let recent = Arc::clone(self);
        tokio::spawn(async move {
            match recent.ask(&partitions).await {
                Ok(asked) => recent.found.lock().await.renew(asked),
                // Whoever needs it when it is too old asks again, and is told.
                Err(error) => tracing::debug!(%error, "frontiers were not asked for ahead"),
            }
            recent.is_asking_ahead.store(false, Ordering::Release);
        });
    }
}

/// At which part of its greatest age it is asked for again.
const ASKED_AGAIN_AT: (u32, u32) = (3, 4);

impl Found {
    /// Whether this can be told to who asks at `now` for these partitions.
    fn answers(&self, partitions: &BTreeSet<u32>, now: Instant, max_age: Duration) -> bool {
        self.asked_at.is_some_and(|asked_at| now.saturating_duration_since(asked_at) <= max_age)
            && partitions.iter().all(|partition| self.frontiers.contains_key(partition))
    }

    /// Takes what was asked for, unless something newer came meanwhile.
    fn renew(&mut self, asked: Self) {
        if asked.asked_at > self.asked_at {
            *self = asked;
        }
    }
}

impl Queries {
    /// How far the rows of a conversation's partition are complete; `None` before the first flush of the partition. May be
    /// as old as `api.as_of_max_age_ms`.
    ///
    /// Ask for it before the rows: an answer must not claim to be newer than it is.
    ///
    /// # Errors
    /// What ClickHouse said.
    pub async fn frontier(&self, conversation: &str) -> Result<Option<Frontier>, StoreError> {
        Ok(self.conversation_frontiers(&[conversation]).await?.pop().flatten())
    }

    /// The same of several conversations, in their order.
    ///
    /// # Errors
    /// What ClickHouse said.
    pub async fn conversation_frontiers(&self, conversations: &[&str]) -> Result<Vec<Option<Frontier>>, StoreError> {
        let Some(count) = self.partition_count().await? else { return Ok(vec![None; conversations.len()]) };
        let home = |conversation: &&str| partition_of(conversation.as_bytes(), count).get();
        let homes: Vec<u32> = conversations.iter().map(home).collect();
        if homes.is_empty() {
            return Ok(Vec::new());
        }
        self.recent_frontiers.of(&homes).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_old_or_of_other_partitions_is_asked_for_anew() {
        let age = Duration::from_millis(100);
        let now = Instant::now();
        let partitions = |numbers: &[u32]| numbers.iter().copied().collect::<BTreeSet<u32>>();
        let found = Found { asked_at: Some(now), frontiers: BTreeMap::from([(0, None), (1, None)]) };
        assert!(found.answers(&partitions(&[0, 1]), now + age, age));
        assert!(!found.answers(&partitions(&[0, 2]), now + age, age));
        assert!(!found.answers(&partitions(&[0]), now + age * 2, age));
        assert!(!found.answers(&partitions(&[0]), now + Duration::from_nanos(1), Duration::ZERO));
        assert!(!Found::default().answers(&partitions(&[]), now, age));
    }

    #[test]
    fn what_was_asked_earlier_does_not_replace_what_was_asked_later() {
        let now = Instant::now();
        let asked = |seconds, partition| Found {
            asked_at: Some(now + Duration::from_secs(seconds)),
            frontiers: BTreeMap::from([(partition, None)]),
        };
        let mut found = Found::default();
        for (seconds, partition) in [(2, 0), (1, 1), (3, 2)] {
            found.renew(asked(seconds, partition));
        }
        assert_eq!((found.asked_at, found.frontiers), (asked(3, 2).asked_at, asked(3, 2).frontiers));
    }
}
