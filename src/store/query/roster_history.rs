//! Who was a member of which group when.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use clickhouse::Row;
use serde::Deserialize;

use super::{Queries, StoredMessage};
use crate::event::{AppId, Epoch, EventTime, Offset};
use crate::store::StoreError;

/// What became of a membership by one change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MembershipChange {
    /// Where in the log, as in [`StoredMessage::place`].
    pub place: u64,
    /// Whether the user is a member after it.
    pub is_member: bool,
    /// When.
    pub at: EventTime,
}

/// The changes of every user of a group, each in log order.
#[derive(Clone, Debug, Default)]
pub struct RosterHistory {
    by_user: BTreeMap<String, Vec<MembershipChange>>,
}

#[derive(Row, Deserialize)]
struct HistoryRow {
    conversation: String,
    user: String,
    epoch: u16,
    offset: u64,
    role: Option<i8>,
    at: i64,
}

impl RosterHistory {
    /// The history that these changes make.
    pub fn new(by_user: BTreeMap<String, Vec<MembershipChange>>) -> Self {
        Self { by_user }
    }

    /// Bytes of memory that it takes, about.
    pub(super) fn bytes(&self) -> usize {
        // The tree's nodes are two thirds full at best, and each of the two allocations has a head.
        let entry = size_of::<(String, Vec<MembershipChange>)>() * 3 / 2 + 2 * size_of::<usize>();
        let of_user = |(user, changes): (&String, &Vec<MembershipChange>)| {
            entry + user.capacity() + changes.capacity() * size_of::<MembershipChange>()
        };
        self.by_user.iter().map(of_user).sum()
    }

    /// Whom a message asked to read, by user: the members at its place in the log, without its sender.
    pub fn audience<'a>(&'a self, message: &'a StoredMessage) -> impl Iterator<Item = &'a str> {
        let was_asked = |(user, changes): (&'a String, &'a Vec<MembershipChange>)| {
            let before = changes.get(..changes.partition_point(|change| change.place < message.place));
            let is_member = before.and_then(<[_]>::last).is_some_and(|change| change.is_member);
            (is_member && *user != message.sender).then_some(user.as_str())
        };
        self.by_user.iter().filter_map(was_asked)
    }

    /// When one whom a message asked has left the group, as of a time; `None` where he is in it. Who left, came back and
    /// left again left when he did so for the last time.
    pub fn left_at(&self, message: &StoredMessage, user: &str, as_of: EventTime) -> Option<EventTime> {
        let changes = self.by_user.get(user)?;
        let mut left_at = None;
        for change in changes.iter().filter(|change| change.place > message.place && change.at <= as_of) {
            left_at = match (change.is_member, left_at) {
                (true, _) => None,
                // Leaving again changes nothing.
                (false, Some(earlier)) => Some(earlier),
                (false, None) => Some(change.at),
            };
        }
        left_at
    }
}

impl Queries {
    /// The histories of groups of an app, by conversation; those that there are.
    ///
    /// # Errors
    /// What ClickHouse said.
    pub(super) async fn roster_histories(
        &self,
        app: AppId<'_>,
        conversations: &BTreeSet<&str>,
    ) -> Result<HashMap<String, RosterHistory>, StoreError> {
        let mut histories: HashMap<String, RosterHistory> = HashMap::new();
        if conversations.is_empty() {
            return Ok(histories);
        }
        let client = self.statements.hurried_for(conversations.len());
        let query = client.query(include_str!("roster_histories.sql")).bind(app.as_str()).bind(conversations);
        for row in self.statements.reading("roster_changes").bounded(query.fetch_all::<HistoryRow>()).await? {
            let change = MembershipChange {
                place: Epoch::new(row.epoch).order(Offset::new(row.offset)),
                is_member: row.role.is_some(),
                at: EventTime::from_millis(row.at),
            };
            histories.entry(row.conversation).or_default().by_user.entry(row.user).or_default().push(change);
        }
        let of_users = histories.values_mut().flat_map(|history| history.by_user.values_mut());
        of_users.for_each(|changes| {
            changes.sort_unstable();
            changes.shrink_to_fit();
        });
        Ok(histories)
    }

    /// Of which of these groups a user is a member now, as far as their roster rows tell.
    ///
    /// # Errors
    /// What ClickHouse said.
    pub async fn memberships(
        &self,
        app: AppId<'_>,
        conversations: &BTreeSet<&str>,
        user: &str,
    ) -> Result<HashSet<String>, StoreError> {
        if conversations.is_empty() {
            return Ok(HashSet::new());
        }
        let query = self
            .statements
            .client
            .query(include_str!("memberships.sql"))
            .bind(app.as_str())
            .bind(conversations)
            .bind(user);
        Ok(self.statements.reading("roster_changes").bounded(query.fetch_all::<String>()).await?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::event::Chat;
    use crate::fold::Outcome;
    use crate::store::query::MessageKey;

    fn message(place: u64) -> StoredMessage {
        StoredMessage {
            key: MessageKey { conversation: "o#a/g/g".to_owned(), message: "m".to_owned() },
            chat: Chat::Group,
            sender: "alice".to_owned(),
            recipient: "g".to_owned(),
            sent_at: EventTime::from_millis(0),
            status: Outcome::Opened,
            validity_millis: 0,
            reader_cap: 1,
            audience: Some(0),
            place,
        }
    }

    /// Place, whether he is a member after it, and time.
    type Change = (u64, bool, i64);

    fn history(users: &[(&str, &[Change])]) -> RosterHistory {
        let change =
            |&(place, is_member, at): &Change| MembershipChange { place, is_member, at: EventTime::from_millis(at) };
        RosterHistory::new(
            users.iter().map(|(user, changes)| ((*user).to_owned(), changes.iter().map(change).collect())).collect(),
        )
    }

    #[test]
    fn the_audience_is_who_was_a_member_in_front_of_the_message() {
        let history = history(&[
            ("alice", &[(1, true, 1)]),
            ("bob", &[(1, true, 1), (9, false, 9)]),
            ("carol", &[(1, true, 1), (3, false, 3)]),
            ("dave", &[(7, true, 7)]),
        ]);
        let audience = |place| history.audience(&message(place)).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(audience(5), ["bob"]);
        assert_eq!(audience(2), ["bob", "carol"]);
        assert_eq!(audience(10), ["dave"]);
    }

    #[test]
    fn one_who_left_and_came_back_has_not_left() {
        let bob: &[Change] = &[(1, true, 10), (6, false, 60), (7, true, 70), (8, false, 80), (9, false, 90)];
        let history = history(&[("bob", bob)]);
        let left_at = |as_of| history.left_at(&message(5), "bob", EventTime::from_millis(as_of)).map(EventTime::millis);
        assert_eq!([59, 60, 69, 75, 80, 100].map(left_at), [None, Some(60), Some(60), None, Some(80), Some(80)]);
        assert_eq!(history.left_at(&message(5), "nobody", EventTime::from_millis(100)), None);
    }
}
