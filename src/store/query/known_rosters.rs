//! Histories of groups that were read before.
//!
//! Who was asked to read a message is settled by the changes in front of it in the log. So a history serves every message
//! that stands in front of where it was complete when it was read, however much has changed since; and it serves the
//! question who has left meanwhile, for as long as no later flush is known.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use quick_cache::sync::Cache;

use super::{Frontier, Queries, RosterHistory};
use crate::event::AppId;
use crate::store::StoreError;

/// How long a history is used. For so long whom an erasure took out of it counts as one who has not read.
const MAX_AGE: Duration = Duration::from_secs(60);

/// How many histories room is made for at first.
const FIRST_CAPACITY: usize = 1_000;

/// Which changes of a group a question needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AskedRoster {
    /// Those in front of this place in the log, as in `StoredMessage::place`.
    pub needed_to: u64,
    /// Those in front of this place are there, as was found out before asking.
    pub complete_to: u64,
}

impl AskedRoster {
    /// What both need.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { needed_to: self.needed_to.max(other.needed_to), complete_to: self.complete_to.min(other.complete_to) }
    }
}

/// The histories, as many as fit, by the key of their conversation.
pub(super) type KnownRosters = Cache<String, KnownRoster, RosterWeight>;

/// A history that was read.
#[derive(Clone, Debug)]
pub(super) struct KnownRoster {
    history: Arc<RosterHistory>,
    complete_to: u64,
    read_at: Instant,
}

/// Tells how many bytes of memory a history takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct RosterWeight;

impl quick_cache::Weighter<String, KnownRoster> for RosterWeight {
    fn weight(&self, key: &String, known: &KnownRoster) -> u64 {
        // An entry of no weight would never be dropped.
        (key.len() + size_of::<KnownRoster>() + known.history.bytes()) as u64
    }
}

impl KnownRoster {
    fn answers(&self, asked: AskedRoster, now: Instant) -> bool {
        self.complete_to >= asked.needed_to && self.is_good(now)
    }

    fn is_good(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.read_at) <= MAX_AGE
    }
}

/// Room for histories of so many bytes in all.
pub(super) fn known_rosters(bytes: u64) -> KnownRosters {
    Cache::with_weighter(FIRST_CAPACITY, bytes, RosterWeight)
}

impl Queries {
    /// The place in the log in front of which all rows of a partition are there.
    pub fn complete_to(&self, frontier: Option<&Frontier>) -> u64 {
        frontier.map_or(0, |frontier| self.epoch.order(frontier.next_offset))
    }

    /// The histories of groups of an app, by conversation; those that there are. At least the changes asked for are in them.
    ///
    /// # Errors
    /// What ClickHouse said.
    pub async fn rosters(
        &self,
        app: AppId<'_>,
        asked: &BTreeMap<&str, AskedRoster>,
    ) -> Result<HashMap<String, Arc<RosterHistory>>, StoreError> {
        let now = Instant::now();
        let mut rosters = HashMap::with_capacity(asked.len());
        let mut unknown = BTreeSet::new();
        for (conversation, asked) in asked {
            match self.known_rosters.get(*conversation).filter(|known| known.answers(*asked, now)) {
                Some(known) => {
                    rosters.insert((*conversation).to_owned(), known.history);
                }
                None => {
                    unknown.insert(*conversation);
                }
            }
        }
        let complete_to = |conversation: &str| asked.get(conversation).map_or(0, |asked| asked.complete_to);
        rosters.extend(self.read_rosters(app, &unknown, complete_to).await?);
        Ok(rosters)
    }

    /// Reads histories that are not known while messages of their groups are looked for, as most lists need theirs. Rows in
    /// front of the place that comes with a conversation are there. Where it fails, who needs a history asks again.
    pub async fn read_rosters_ahead(&self, app: AppId<'_>, asked: &BTreeMap<&str, u64>) {
        // Where nothing is kept, nothing can be read ahead.
        if self.known_rosters.capacity() == 0 {
            return;
        }
        let now = Instant::now();
        let is_known = |conversation: &str| self.known_rosters.get(conversation).is_some_and(|it| it.is_good(now));
        let unknown = asked.keys().copied().filter(|conversation| !is_known(conversation)).collect();
        let complete_to = |conversation: &str| asked.get(conversation).copied().unwrap_or_default();
        if let Err(error) = self.read_rosters(app, &unknown, complete_to).await {
            tracing::debug!(%error, "histories of rosters were not read ahead");
        }
    }

    /// Reads histories and keeps them, those of groups without any change as well.
    async fn read_rosters(
        &self,
        app: AppId<'_>,
        conversations: &BTreeSet<&str>,
        complete_to: impl Fn(&str) -> u64,
    ) -> Result<HashMap<String, Arc<RosterHistory>>, StoreError> {
        let read_at = Instant::now();
        let mut histories = self.roster_histories(app, conversations).await?;
        let mut read = HashMap::with_capacity(conversations.len());
        for conversation in conversations {
            let history = Arc::new(histories.remove(*conversation).unwrap_or_default());
            let complete_to = complete_to(conversation);
            let known = KnownRoster { history: Arc::clone(&history), complete_to, read_at };
            self.known_rosters.insert((*conversation).to_owned(), known);
            read.insert((*conversation).to_owned(), history);
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventTime;
    use crate::store::query::MembershipChange;

    fn known(complete_to: u64) -> KnownRoster {
        KnownRoster { history: Arc::default(), complete_to, read_at: Instant::now() }
    }

    #[test]
    fn a_history_answers_for_what_stands_in_front_of_where_it_was_complete() {
        let known = known(100);
        let asked = |needed_to| AskedRoster { needed_to, complete_to: 500 };
        let answers = |needed_to, age| known.answers(asked(needed_to), known.read_at + age);
        assert!(answers(100, Duration::ZERO) && answers(100, MAX_AGE));
        assert!(!answers(101, Duration::ZERO));
        assert!(!answers(100, MAX_AGE + Duration::from_nanos(1)));
    }

    #[test]
    fn two_questions_need_the_later_change_and_know_of_the_earlier_end() {
        let [one, other] = [(5, 9), (7, 8)].map(|(needed_to, complete_to)| AskedRoster { needed_to, complete_to });
        assert_eq!(one.and(other), AskedRoster { needed_to: 7, complete_to: 8 });
    }

    #[test]
    fn no_more_is_kept_than_there_is_room_for() {
        let change = MembershipChange { place: 1, is_member: true, at: EventTime::from_millis(1) };
        let by_user = (0..100).map(|user| (format!("user-{user}"), vec![change])).collect();
        let history = Arc::new(RosterHistory::new(by_user));
        assert!(history.bytes() > 100 * (6 + size_of::<MembershipChange>()));
        let rosters = known_rosters(50 * history.bytes() as u64);
        for group in 0..1_000 {
            rosters.insert(format!("o#a/g/{group}"), KnownRoster { history: Arc::clone(&history), ..known(1) });
        }
        assert!((1..50).contains(&rosters.len()), "{}", rosters.len());
        let none = known_rosters(0);
        none.insert("o#a/g/1".to_owned(), KnownRoster { history, ..known(1) });
        assert_eq!(none.len(), 0);
    }
}
