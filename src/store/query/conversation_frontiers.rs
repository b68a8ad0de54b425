//! How far the rows of some conversations' partitions are complete.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::frontiers::FrontierSource;
use super::{Frontier, Queries};
use crate::event::partition_of;
use crate::store::StoreError;

/// What was found a moment ago. Half of the work of a small question would be asking how far its partition is complete,
/// and an answer may say less than it knows: so questions that come shortly after one another share one statement. A
/// question that finds half of the age over has it asked for again and does not wait for that; so where questions come
/// often, hardly any waits.
#[derive(Debug)]
pub(super) struct RecentFrontiers {
    source: FrontierSource,
    max_age: Duration,
    found: Mutex<Found>,
    /// Held while somebody asks.
    asking: Arc<tokio::sync::Mutex<()>>,
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
        Self { source, max_age, found: Mutex::default(), asking: Arc::default() }
    }

    /// Asks ClickHouse, whatever was found a moment ago.
    pub(super) fn source(&self) -> &FrontierSource {
        &self.source
    }

    /// The frontiers of these partitions, in their order.
    async fn of(self: &Arc<Self>, homes: &[u32]) -> Result<Vec<Option<Frontier>>, StoreError> {
        let partitions: BTreeSet<u32> = homes.iter().copied().collect();
        let now = Instant::now();
        if self.has_found(&partitions, now, self.max_age) {
            if !self.has_found(&partitions, now, self.max_age / 2) {
                self.ask_ahead();
            }
        } else {
            // Who comes while somebody asks waits for that answer.
            let _asking = self.asking.lock().await;
            if !self.has_found(&partitions, now, self.max_age) {
                self.ask(&partitions).await?;
            }
        }
        let found = self.found();
        Ok(homes.iter().map(|home| found.frontiers.get(home).copied().flatten()).collect())
    }

    /// Asks while questions go on with what is there, unless somebody does.
    fn ask_ahead(self: &Arc<Self>) {
        let Ok(asking) = Arc::clone(&self.asking).try_lock_owned() else { return };
        let recent = Arc::clone(self);
        tokio::spawn(async move {
            let partitions = recent.found().frontiers.keys().copied().collect();
            if let Err(error) = recent.ask(&partitions).await {
                // Whoever needs it when it is too old asks again, and is told.
                tracing::debug!(%error, "frontiers were not asked for ahead");
            }
            drop(asking);
        });
    }

    /// One at a time: nothing may be replaced by what was asked for before it.
    async fn ask(&self, partitions: &BTreeSet<u32>) -> Result<(), StoreError> {
        let asked_at = Some(Instant::now());
        let frontiers = self.source.ask(partitions).await?;
        *self.found() = Found { asked_at, frontiers };
        Ok(())
    }

    fn has_found(&self, partitions: &BTreeSet<u32>, now: Instant, max_age: Duration) -> bool {
        self.found().answers(partitions, now, max_age)
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Found {
    /// Whether this can be told to who asks at `now` for these partitions.
    fn answers(&self, partitions: &BTreeSet<u32>, now: Instant, max_age: Duration) -> bool {
        self.asked_at.is_some_and(|asked_at| now.saturating_duration_since(asked_at) <= max_age)
            && partitions.iter().all(|partition| self.frontiers.contains_key(partition))
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
}
