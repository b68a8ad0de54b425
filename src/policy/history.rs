//! Which version of an app's policy is in force.

use std::collections::BTreeMap;

use super::{Policy, PolicyVersion};
use crate::event::EventTime;

/// The versions met so far in one partition's log for one app.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PolicyHistory {
    versions: BTreeMap<(EventTime, u64), Policy>,
    /// Taken to be in force whatever the versions say.
    assumed: Option<Policy>,
}

impl PolicyHistory {
    /// Adds a version. Whether its number was met before is the fold's to decide: app and version are unique here.
    pub fn add(&mut self, version: &PolicyVersion) {
        self.versions.insert((version.effective_from, version.version), version.policy.clone());
    }

    /// Takes a policy to be in force for events of every time, whatever versions were or will be added.
    pub fn assume(&mut self, policy: Policy) {
        self.assumed = Some(policy);
    }

    /// The limits for an event of this time: of the versions whose `effective_from` is not after it, the one with the
    /// greatest (`effective_from`, version); the defaults where there is none.
    pub fn in_force(&self, at: EventTime) -> &Policy {
        if let Some(assumed) = &self.assumed {
            return assumed;
        }
        self.versions.range(..=(at, u64::MAX)).next_back().map_or(&Policy::DEFAULT, |(_, policy)| policy)
    }

    /// The versions and from when they are in force, ascending by (`effective_from`, version).
    pub fn versions(&self) -> impl Iterator<Item = (EventTime, u64, &Policy)> {
        self.versions.iter().map(|((effective_from, version), policy)| (*effective_from, *version, policy))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(version: u64, effective_from: i64) -> PolicyVersion {
        let policy = Policy { parking_hours: version as u32, ..Policy::DEFAULT };
        PolicyVersion {
            app: "org#app".to_owned(),
            version,
            effective_from: EventTime::from_millis(effective_from),
            policy,
        }
    }

    fn in_force(history: &PolicyHistory, at: i64) -> u32 {
        history.in_force(EventTime::from_millis(at)).parking_hours
    }

    #[test]
    fn without_versions_the_defaults_are_in_force() {
        assert_eq!(PolicyHistory::default().in_force(EventTime::MAX), &Policy::DEFAULT);
    }

    #[test]
    fn a_version_is_in_force_from_its_time_on_and_the_defaults_before() {
        let mut history = PolicyHistory::default();
        history.add(&version(1, 100));
        assert_eq!(in_force(&history, 99), Policy::DEFAULT.parking_hours);
        assert_eq!(in_force(&history, 100), 1);
        assert_eq!(in_force(&history, EventTime::MAX.millis()), 1);
    }

    #[test]
    fn the_later_effective_from_wins_whatever_the_version_and_the_order_of_arrival() {
        let mut history = PolicyHistory::default();
        history.add(&version(3, 100));
        history.add(&version(1, 200));
        history.add(&version(2, 150));
        assert_eq!([in_force(&history, 120), in_force(&history, 199), in_force(&history, 200)], [3, 2, 1]);
    }

    #[test]
    fn an_assumed_policy_is_in_force_at_every_time_whatever_is_added() {
        let mut history = PolicyHistory::default();
        history.add(&version(1, 100));
        history.assume(Policy { parking_hours: 9, ..Policy::DEFAULT });
        history.add(&version(2, 200));
        assert_eq!([in_force(&history, 0), in_force(&history, 150), in_force(&history, 200)], [9, 9, 9]);
        assert_eq!(history.versions().count(), 2, "the versions are met all the same");
    }

    #[test]
    fn of_the_same_effective_from_the_greatest_version_wins() {
        let mut history = PolicyHistory::default();
        history.add(&version(7, 100));
        history.add(&version(5, 100));
        assert_eq!(in_force(&history, 100), 7);
        assert_eq!(history.versions().map(|(_, version, _)| version).collect::<Vec<_>>(), [5, 7]);
    }
}
