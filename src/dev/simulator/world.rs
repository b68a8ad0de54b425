//! Who there is: apps with their policies, groups with their members, and everybody's names.

use chrono_tz::Tz;

use crate::event::{EventTime, Role};
use crate::policy::{DAY_MILLIS, GroupPolicy, Policy, PolicyVersion, Senders, SinglePolicy, Viewers};

/// Users of an app, of whom groups and pairs are made.
pub(super) const USERS_PER_APP: u32 = 5_000;

/// Members of the largest group; the others are smaller by their rank, as words are rarer in a language.
const LARGEST_GROUP: f64 = 500.0;
const SMALLEST_GROUP: u32 = 3;
const SIZE_EXPONENT: f64 = 0.6;

/// The first members of a group are its owner and its administrators.
const ADMINS: u32 = 3;

#[derive(Debug)]
pub(super) struct World {
    pub(super) apps: Vec<App>,
    pub(super) groups: Vec<Group>,
}

#[derive(Debug)]
pub(super) struct App {
    pub(super) name: String,
    /// What its control record says; `None` for an app that never opened receipts.
    pub(super) policy: Option<Policy>,
}

#[derive(Debug)]
pub(super) struct Group {
    pub(super) app: u32,
    pub(super) id: String,
    pub(super) size: u32,
    first_member: u32,
    /// Whether the platform ever sends this group's roster.
    pub(super) has_roster: bool,
    /// Whether it was sent.
    pub(super) is_roster_sent: bool,
}

impl World {
    pub(super) fn new(apps: u32, groups: u32) -> Self {
        let apps = apps.max(1);
        Self {
            apps: (0..apps).map(|index| App { name: format!("sim#app-{index}"), policy: policy_of(index) }).collect(),
            groups: (0..groups.max(1)).map(|rank| Group::new(rank, apps)).collect(),
        }
    }

    /// The policies that apps set before their first event at `start_at`, in force for older messages too.
    pub(super) fn policies(&self, start_at: EventTime) -> Vec<PolicyVersion> {
        let versions = self.apps.iter().filter_map(|app| {
            app.policy.clone().map(|policy| PolicyVersion {
                app: app.name.clone(),
                version: start_at.millis().unsigned_abs(),
                effective_from: start_at.plus_millis(-7 * DAY_MILLIS).max(EventTime::default()),
                policy,
            })
        });
        versions.collect()
    }
}

impl Group {
    fn new(rank: u32, apps: u32) -> Self {
        let by_rank = (LARGEST_GROUP / f64::from(rank + 1).powf(SIZE_EXPONENT)) as u32;
        Self {
            app: rank % apps,
            id: format!("{}", 250_000_000_000_000_u64 + u64::from(rank) * 65_537),
            size: by_rank.max(SMALLEST_GROUP),
            first_member: rank.wrapping_mul(2_654_435_761) % USERS_PER_APP,
            has_roster: rank % 5 != 3,
            is_roster_sent: false,
        }
    }

    /// The user of a member's number, which counts from 0; beyond the size come people who are no members.
    pub(super) fn user(&self, member: u32) -> u32 {
        (self.first_member + member) % USERS_PER_APP
    }

    pub(super) fn role(member: u32) -> Role {
        match member {
            0 => Role::Owner,
            1..ADMINS => Role::Admin,
            _ => Role::Member,
        }
    }

    /// How many members may ask for receipts in an app that lets administrators ask.
    pub(super) fn admins(&self) -> u32 {
        self.size.min(ADMINS)
    }
}

/// Five kinds of apps in turn: open to members, to administrators, with tight limits, with everything shown, and closed.
fn policy_of(app: u32) -> Option<Policy> {
    let group = GroupPolicy { open: true, senders: Senders::Members, ..GroupPolicy::DEFAULT };
    let group = match app % 5 {
        0 => group,
        1 => GroupPolicy { senders: Senders::Admins, validity_days: 1, timezone: Tz::Asia__Shanghai, ..group },
        2 => GroupPolicy { readers_per_message: 50, messages_per_day: 30, timezone: Tz::Europe__Berlin, ..group },
        3 => GroupPolicy { viewers: Viewers::App, timezone: Tz::America__New_York, validity_days: 7, ..group },
        _ => return None,
    };
    Some(Policy { group, single: SinglePolicy { validity_days: 7 }, ..Policy::DEFAULT })
}
