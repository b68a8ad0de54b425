//! Rosters and changes of single members.

use super::Turn;
use crate::event::{Body, EventTime, MemberChange, Role, UserId};
use crate::fold::fact::{RosterChange, RosterFact, Sink};
use crate::fold::state::members::{Members, User};
use crate::fold::state::slots::Slot;
use crate::fold::{Outcome, Partition};

impl Partition {
    pub(in crate::fold) fn judge_member(
        &mut self,
        turn: &mut Turn<'_, '_>,
        user: UserId<'_>,
        change: MemberChange,
        sink: &mut impl Sink,
    ) -> Outcome {
        let at = turn.event.at;
        let watermark = self.watermark;
        let conversation = self.known_conversation(turn);
        let Some(group) = self.conversations.get_mut(conversation).group_mut() else { return Outcome::Unsupported };
        let members = &mut group.members;

        let slot = members.intern(user, watermark);
        if at < members.last_change(slot) {
            return Outcome::Stale;
        }
        let role = match change {
            MemberChange::Join => members.get(slot).role().or(Some(Role::Member)),
            MemberChange::Leave => None,
            MemberChange::Role(role) => Some(role),
        };
        let is_changed = members.set_role(slot, role, at);
        give_out(turn, RosterChange::Member(change), Some(members.get(slot)), sink);
        if is_changed { Outcome::Applied } else { Outcome::NoChange }
    }

    /// Judges a whole roster; a destroyed group's is empty.
    pub(in crate::fold) fn judge_roster(
        &mut self,
        turn: &mut Turn<'_, '_>,
        roster: &[(UserId<'_>, Role)],
        sink: &mut impl Sink,
    ) -> Outcome {
        let at = turn.event.at;
        let watermark = self.watermark;
        let conversation = self.known_conversation(turn);
        let Some(group) = self.conversations.get_mut(conversation).group_mut() else { return Outcome::Unsupported };
        let members = &mut group.members;

        if members.roster_at().is_some_and(|last_roster| at < last_roster) {
            return Outcome::Stale;
        }
        let head = match turn.event.body {
            Body::GroupDestroyed => RosterChange::GroupDestroyed,
            _ => RosterChange::Roster,
        };
        give_out(turn, head, None, sink);
        let was_known = members.is_roster_known();
        let changed_by_name = set_named(members, roster, at, watermark);
        for &slot in &changed_by_name.changed {
            give_out(turn, RosterChange::ByRoster, Some(members.get(slot)), sink);
        }
        let unnamed = end_unnamed(members, &changed_by_name.is_named, at);
        for &slot in &unnamed {
            give_out(turn, RosterChange::ByRoster, Some(members.get(slot)), sink);
        }
        // Last, as who left before this roster may be dropped from now on.
        members.set_roster_at(at);
        let is_changed = !was_known || !changed_by_name.changed.is_empty() || !unnamed.is_empty();
        if is_changed { Outcome::Applied } else { Outcome::NoChange }
    }
}

/// What the users named in a roster came to.
struct Named {
    /// Those whose membership or role changed, in the order of the roster.
    changed: Vec<Slot<User>>,
    /// By number of slot, whether the roster names the user.
    is_named: Vec<bool>,
}

/// Sets the users that a roster names, but for those changed after it.
fn set_named(members: &mut Members, roster: &[(UserId<'_>, Role)], at: EventTime, watermark: EventTime) -> Named {
    let mut named = Named { changed: Vec::new(), is_named: vec![false; members.places()] };
    for &(user, role) in roster {
        let slot = members.intern(user, watermark);
        let number = slot.number() as usize;
        if named.is_named.len() <= number {
            named.is_named.resize(number + 1, false);
        }
        if let Some(is_named) = named.is_named.get_mut(number) {
            *is_named = true;
        }
        if !members.is_changed_after(slot, at) && members.set_role(slot, Some(role), at) {
            named.changed.push(slot);
        }
    }
    named
}

/// Ends the membership of the users that a roster does not name, but for those changed after it. They are returned by
/// name: the numbers of slots may differ between a state that was folded and one that was restored.
fn end_unnamed(members: &mut Members, is_named: &[bool], at: EventTime) -> Vec<Slot<User>> {
    let is_unnamed = |slot: Slot<User>| !is_named.get(slot.number() as usize).copied().unwrap_or(false);
    let mut ended: Vec<Slot<User>> = members
        .iter()
        .filter(|(slot, user)| user.role().is_some() && is_unnamed(*slot) && !members.is_changed_after(*slot, at))
        .map(|(slot, _)| slot)
        .collect();
    ended.sort_unstable_by(|one, other| members.get(*one).id().cmp(&members.get(*other).id()));
    for &slot in &ended {
        members.set_role(slot, None, at);
    }
    ended
}

fn give_out(turn: &Turn<'_, '_>, change: RosterChange, user: Option<&User>, sink: &mut impl Sink) {
    sink.roster(&RosterFact {
        app: turn.event.app,
        conversation: turn.conversation,
        change,
        user: user.map(User::id),
        role: user.and_then(User::role),
        at: turn.event.at,
        joined_at: user.and_then(User::joined_at),
        position: turn.position,
    });
}
