//! How far the rows of some conversations' partitions are complete.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::{Frontier, Queries};
use crate::event::partition_of;
use crate::store::StoreError;

/// What was found a moment ago. Half of the work of a small question would be asking how far its partition is complete,
/// and an answer may say less than it knows: so questions that come shortly after one another share one statement.
#[derive(Debug)]
pub(super) struct RecentFrontiers {
    max_age: Duration,
    found: Mutex<Found>,
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
    pub(super) fn new(max_age: Duration) -> Self {
        Self { max_age, found: Mutex::default() }
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
        let partitions: BTreeSet<u32> = homes.iter().copied().collect();
        if partitions.is_empty() {
            return Ok(Vec::new());
        }

        let RecentFrontiers { max_age, found } = &self.recent_frontiers;
        let now = Instant::now();
        // Who comes while somebody asks waits for that answer.
        let mut found = found.lock().await;
        if !found.answers(&partitions, now, *max_age) {
            let asked_at = Some(Instant::now());
            let frontiers = self.frontiers_of(&partitions).await?;
            *found = Found { asked_at, frontiers };
        }
        Ok(homes.iter().map(|home| found.frontiers.get(home).copied().flatten()).collect())
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
