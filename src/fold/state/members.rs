//! The users of a group: its roster, and everybody whom a message, a receipt or a mark refers to.

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::slots::{Slot, Slots};
use super::{NEVER, hash_of};
use crate::event::{EventTime, Role, UserId};
use crate::fold::LATENESS_MILLIS;

/// A user within one group.
#[derive(Clone, Debug)]
pub(crate) struct User {
    name: Box<str>,
    /// Messages he sent and reader sets he is in, of those in memory.
    references: u32,
    role: Option<Role>,
    /// When a change of his own, or a roster that changed him, last set his membership; [`NEVER`] where none did.
    changed_at: EventTime,
    /// The change that last made him a member, where he is one.
    joined_at: EventTime,
    /// Up to when he has read the conversation; [`NEVER`] without a mark.
    mark: EventTime,
}

impl User {
    /// His id.
    pub(crate) fn id(&self) -> UserId<'_> {
        UserId::trusted(&self.name)
    }

    /// His role; `None` where he is no member, or nothing is known of him.
    pub(crate) fn role(&self) -> Option<Role> {
        self.role
    }

    /// The change that last made him a member; `None` where he is none.
    pub(crate) fn joined_at(&self) -> Option<EventTime> {
        self.role.map(|_| self.joined_at)
    }

    /// Up to when he has read, while the mark is in the state.
    pub(crate) fn mark_at(&self, watermark: EventTime) -> Option<EventTime> {
        is_mark_in_state(self.mark, watermark).then_some(self.mark)
    }

    /// The time of the last single change that is newer than the last roster.
    pub(crate) fn change_after(&self, roster_at: EventTime) -> Option<EventTime> {
        (self.changed_at > roster_at).then_some(self.changed_at)
    }

    fn is_needed(&self, roster_at: EventTime, watermark: EventTime) -> bool {
        self.references > 0
            || self.role.is_some()
            || self.changed_at > roster_at
            || is_mark_in_state(self.mark, watermark)
    }
}

/// Whether a mark is still in the state (DESIGN.md section 4, "Leaving the state").
pub(crate) fn is_mark_in_state(mark: EventTime, watermark: EventTime) -> bool {
    mark != NEVER && watermark <= mark.plus_millis(LATENESS_MILLIS)
}

/// The users of one group.
#[derive(Clone, Debug)]
pub(crate) struct Members {
    users: Slots<User>,
    by_name: HashTable<Slot<User>>,
    hasher: FixedState,
    /// `at` of the last whole roster; [`NEVER`] while the roster is unknown.
    roster_at: EventTime,
    /// Users with a role.
    count: u32,
    /// At this many users those that nothing refers to any more are dropped, before one more is added.
    drop_at: usize,
    name_bytes: usize,
}

/// Below this many users it does not pay to look for droppable ones.
const FIRST_DROP: usize = 16;

impl Default for Members {
    fn default() -> Self {
        Self {
            users: Slots::default(),
            by_name: HashTable::new(),
            hasher: FixedState::default(),
            roster_at: NEVER,
            count: 0,
            drop_at: FIRST_DROP,
            name_bytes: 0,
        }
    }
}

impl Members {
    /// The slot of a user, where anything is known of him.
    pub(crate) fn find(&self, user: UserId<'_>) -> Option<Slot<User>> {
        let hash = hash_of(&self.hasher, user.as_str());
        self.by_name.find(hash, |&slot| *self.users.get(slot).name == *user.as_str()).copied()
    }

    /// The slot of a user, new where nothing was known of him. The caller refers to it, or gives it a role or a mark,
    /// before it asks for the next one: a user without any of these may be dropped then.
    pub(crate) fn intern(&mut self, user: UserId<'_>, watermark: EventTime) -> Slot<User> {
        if let Some(known) = self.find(user) {
            return known;
        }
        if self.users.len() >= self.drop_at {
            self.drop_unneeded(watermark);
            self.drop_at = (self.users.len() * 2).max(FIRST_DROP);
        }
        let slot = self.users.insert(User {
            name: user.as_str().into(),
            references: 0,
            role: None,
            changed_at: NEVER,
            joined_at: NEVER,
            mark: NEVER,
        });
        self.name_bytes += user.as_str().len();
        let Self { users, by_name, hasher, .. } = self;
        let hash = hash_of(hasher, user.as_str());
        by_name.insert_unique(hash, slot, |&other| hash_of(hasher, &users.get(other).name));
        slot
    }

    /// A known user.
    pub(crate) fn get(&self, slot: Slot<User>) -> &User {
        self.users.get(slot)
    }

    /// All users.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Slot<User>, &User)> {
        self.users.iter()
    }

    /// How many users there are, and below which number their slots are.
    pub(crate) fn places(&self) -> usize {
        self.users.places()
    }

    /// Notes that a message or a reader set in memory holds the user.
    pub(crate) fn refer_to(&mut self, slot: Slot<User>) {
        self.users.get_mut(slot).references += 1;
    }

    /// Notes that such a message or set is gone.
    pub(crate) fn release(&mut self, slot: Slot<User>) {
        let user = self.users.get_mut(slot);
        debug_assert!(user.references > 0, "released more often than referred to");
        user.references = user.references.saturating_sub(1);
    }

    /// `at` of the last whole roster; `None` while the roster is unknown.
    pub(crate) fn roster_at(&self) -> Option<EventTime> {
        (self.roster_at != NEVER).then_some(self.roster_at)
    }

    /// Whether the roster is known.
    pub(crate) fn is_roster_known(&self) -> bool {
        self.roster_at != NEVER
    }

    /// From here on the roster is known, as of `at`.
    pub(crate) fn set_roster_at(&mut self, at: EventTime) {
        self.roster_at = at;
    }

    /// How many members there are without `user`.
    pub(crate) fn count_without(&self, user: Slot<User>) -> u32 {
        self.count - u32::from(self.users.get(user).role.is_some())
    }

    /// How many members there are.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// The last change of a user's membership; [`NEVER`] where none is known.
    pub(crate) fn last_change(&self, slot: Slot<User>) -> EventTime {
        self.users.get(slot).changed_at.max(self.roster_at)
    }

    /// Whether a user was changed after `at` by a change of his own.
    pub(crate) fn is_changed_after(&self, slot: Slot<User>, at: EventTime) -> bool {
        self.users.get(slot).changed_at > at
    }

    /// Sets a user's role as of `at`; `None` ends his membership. Returns whether anything but the time changed.
    pub(crate) fn set_role(&mut self, slot: Slot<User>, role: Option<Role>, at: EventTime) -> bool {
        let user = self.users.get_mut(slot);
        let previous = user.role;
        user.changed_at = at;
        user.role = role;
        if previous.is_none() {
            user.joined_at = at;
        }
        self.count = self.count + u32::from(role.is_some()) - u32::from(previous.is_some());
        previous != role
    }

    /// Takes a user's membership as it was written.
    pub(crate) fn restore_role(
        &mut self,
        slot: Slot<User>,
        role: Option<Role>,
        changed_at: EventTime,
        joined_at: Option<EventTime>,
    ) {
        self.set_role(slot, role, changed_at);
        self.users.get_mut(slot).joined_at = joined_at.unwrap_or(NEVER);
    }

    /// Forgets what is known of a user whom no message in memory refers to any more.
    pub(crate) fn forget(&mut self, slot: Slot<User>) {
        let user = self.users.get(slot);
        debug_assert!(user.references == 0, "messages and readers go first");
        self.count -= u32::from(user.role.is_some());
        self.remove(slot);
    }

    /// Moves a user's mark to `at` where that is later; returns whether it moved.
    pub(crate) fn move_mark(&mut self, slot: Slot<User>, at: EventTime) -> bool {
        let user = self.users.get_mut(slot);
        let moves = user.mark < at;
        user.mark = user.mark.max(at);
        moves
    }

    /// Drops the users whom nothing refers to any more. Those who left stay while their last change counts.
    pub(crate) fn drop_unneeded(&mut self, watermark: EventTime) {
        let roster_at = self.roster_at;
        let unneeded: Vec<Slot<User>> =
            self.users.iter().filter(|(_, user)| !user.is_needed(roster_at, watermark)).map(|(slot, _)| slot).collect();
        for slot in unneeded {
            self.remove(slot);
        }
    }

    /// Whether there may be users to drop: others than members.
    pub(crate) fn holds_others_than_members(&self) -> bool {
        self.users.len() > self.count as usize
    }

    /// Whether nothing is known of anybody.
    pub(crate) fn is_empty(&self) -> bool {
        self.users.len() == 0 && !self.is_roster_known()
    }

    /// Bytes outside the value's own.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.users.bytes() + self.by_name.allocation_size() + self.name_bytes
    }

    fn remove(&mut self, slot: Slot<User>) {
        let hash = hash_of(&self.hasher, &self.users.get(slot).name);
        if let Ok(entry) = self.by_name.find_entry(hash, |&other| other == slot) {
            entry.remove();
        }
        if let Some(user) = self.users.remove(slot) {
            self.name_bytes -= user.name.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: EventTime = EventTime::from_millis(1_000_000_000);

    #[test]
    fn users_whom_nothing_refers_to_are_dropped() {
        let mut members = Members::default();
        let admin = members.intern(UserId::trusted("admin"), NOON);
        members.set_role(admin, Some(Role::Admin), NOON);
        let reader = members.intern(UserId::trusted("reader"), NOON);
        members.refer_to(reader);
        for guest in 0..1_000 {
            let guest = members.intern(UserId::trusted(&format!("guest{guest}")), NOON);
            members.refer_to(guest);
            members.release(guest);
        }
        assert!(members.places() <= 2 * FIRST_DROP, "{} places", members.places());
        members.drop_unneeded(NOON);
        assert_eq!(members.find(UserId::trusted("admin")), Some(admin));
        assert_eq!(members.find(UserId::trusted("reader")), Some(reader));
        assert_eq!(members.find(UserId::trusted("guest999")), None);
    }

    #[test]
    fn who_left_is_kept_until_a_newer_roster() {
        let mut members = Members::default();
        let left = members.intern(UserId::trusted("left"), NOON);
        members.set_role(left, None, NOON);
        members.drop_unneeded(NOON);
        assert_eq!(members.find(UserId::trusted("left")), Some(left));
        members.set_roster_at(NOON);
        members.drop_unneeded(NOON);
        assert_eq!(members.find(UserId::trusted("left")), None);
    }

    #[test]
    fn a_mark_keeps_its_user_for_the_lateness() {
        let mut members = Members::default();
        let reader = members.intern(UserId::trusted("reader"), NOON);
        assert!(members.move_mark(reader, NOON));
        assert!(!members.move_mark(reader, NOON));
        members.drop_unneeded(NOON.plus_millis(LATENESS_MILLIS));
        assert_eq!(members.find(UserId::trusted("reader")), Some(reader));
        members.drop_unneeded(NOON.plus_millis(LATENESS_MILLIS + 1));
        assert_eq!(members.find(UserId::trusted("reader")), None);
    }
}
