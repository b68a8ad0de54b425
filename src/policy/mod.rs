//! Per-app limits and their versions (DESIGN.md section 3).

use std::collections::BTreeMap;

use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use crate::event::EventTime;

/// One day of validity, in ms: validity days are days of 24 hours.
pub const DAY_MILLIS: i64 = 24 * 60 * 60 * 1000;

/// The limits of an app. The defaults are those of section 3.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Limits of group chats.
    pub group: GroupPolicy,
    /// Limits of single chats.
    pub single: SinglePolicy,
    /// How long a receipt waits for its message, in hours of event time.
    pub parking_hours: u32,
    /// Whether notifications are written.
    pub notify: bool,
}

/// Limits of group chats.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GroupPolicy {
    /// Whether group receipts are open at all.
    pub open: bool,
    /// Who may ask for receipts.
    pub senders: Senders,
    /// What a sender without a known role is taken for, where the roster is unknown.
    pub unknown_sender: UnknownSender,
    /// How long receipts of a message are accepted, in days of 24 hours, 1 to 90.
    pub validity_days: u32,
    /// How many of the newest readers a message retains, at least 1.
    pub readers_per_message: u32,
    /// How many opened messages a group has a local day.
    pub messages_per_day: u32,
    /// IANA zone in which a quota day begins.
    pub timezone: Tz,
    /// Who may read a reader list.
    pub viewers: Viewers,
}

/// Limits of single chats.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SinglePolicy {
    /// How long receipts of a message are accepted, in days of 24 hours, 1 to 90.
    pub validity_days: u32,
}

/// Who may ask for receipts in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Senders {
    /// Owner and administrators.
    Admins,
    /// Every member.
    Members,
}

/// What a sender without a known role is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownSender {
    /// An ordinary member.
    Member,
    /// Somebody allowed to ask: the platform decided already.
    Allow,
}

/// Who may read a reader list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Viewers {
    /// The sender of the message.
    Sender,
    /// Every member of the group.
    Members,
    /// Everybody in the app.
    App,
}

impl Default for Policy {
    fn default() -> Self {
        Self { group: GroupPolicy::default(), single: SinglePolicy::default(), parking_hours: 24, notify: true }
    }
}

impl Default for GroupPolicy {
    fn default() -> Self {
        Self {
            open: false,
            senders: Senders::Admins,
            unknown_sender: UnknownSender::Member,
            validity_days: 3,
            readers_per_message: 500,
            messages_per_day: 500,
            timezone: Tz::UTC,
            viewers: Viewers::Sender,
        }
    }
}

impl Default for SinglePolicy {
    fn default() -> Self {
        Self { validity_days: 7 }
    }
}

/// One version of an app's policy, as a control record carries it.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyVersion {
    /// The tenant.
    pub app: String,
    /// The writer's clock in ms; shared with the app's erase orders.
    pub version: u64,
    /// From which event time on it is in force; the version itself where the record did not say.
    pub effective_from: EventTime,
    /// The limits.
    pub policy: Policy,
}

/// Calendar day of a zone, in days since 1970-01-01. A day is a date: zones share a date's quota.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QuotaDay(i32);

impl QuotaDay {
    /// From days since 1970-01-01.
    pub const fn from_days(days: i32) -> Self {
        Self(days)
    }

    /// Days since 1970-01-01; -1 for the last day of 1969, which zones west of Greenwich have at time 0.
    pub const fn days(self) -> i32 {
        self.0
    }
}

/// The versions met so far in one partition's log for one app.
#[derive(Clone, Debug, Default)]
pub struct PolicyHistory {
    versions: BTreeMap<(EventTime, u64), Policy>,
}
