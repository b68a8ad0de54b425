//! Per-app limits and their versions (DESIGN.md section 3).

pub mod command;
mod history;
mod quota_day;

use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use history::PolicyHistory;
pub use quota_day::QuotaDay;

use crate::event::EventTime;

/// One day of validity, in ms: validity days are days of 24 hours.
pub const DAY_MILLIS: i64 = 24 * 60 * 60 * 1000;

/// The shortest validity of a message's receipts, in days.
pub const MIN_VALIDITY_DAYS: u32 = 1;

/// The longest validity of a message's receipts, in days.
pub const MAX_VALIDITY_DAYS: u32 = 90;

/// The limits of an app. The defaults are those of section 3.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Limits of group chats.
    pub group: GroupPolicy,
    /// Limits of single chats.
    pub single: SinglePolicy,
    /// How long a receipt waits for its message, in hours of event time.
    #[schema(maximum = 4_294_967_295_i64)]
    pub parking_hours: u32,
    /// Whether notifications are written.
    pub notify: bool,
}

/// Limits of group chats.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GroupPolicy {
    /// Whether group receipts are open at all.
    pub open: bool,
    /// Who may ask for receipts.
    pub senders: Senders,
    /// What a sender without a known role is taken for, where the roster is unknown.
    pub unknown_sender: UnknownSender,
    /// How long receipts of a message are accepted, in days of 24 hours, 1 to 90.
    #[schema(minimum = 1, maximum = 90)]
    pub validity_days: u32,
    /// How many of the newest readers a message retains, at least 1.
    #[schema(minimum = 1, maximum = 4_294_967_295_i64)]
    pub readers_per_message: u32,
    /// How many opened messages a group has a local day.
    #[schema(maximum = 4_294_967_295_i64)]
    pub messages_per_day: u32,
    /// IANA zone in which a quota day begins.
    #[schema(value_type = String, example = "Europe/Berlin")]
    pub timezone: Tz,
    /// Who may read a reader list.
    pub viewers: Viewers,
}

/// Limits of single chats.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SinglePolicy {
    /// How long receipts of a message are accepted, in days of 24 hours, 1 to 90.
    #[schema(minimum = 1, maximum = 90)]
    pub validity_days: u32,
}

/// Who may ask for receipts in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Senders {
    /// Owner and administrators.
    Admins,
    /// Every member.
    Members,
}

impl Senders {
    /// Every one, in the order of declaration.
    pub const ALL: [Self; 2] = [Self::Admins, Self::Members];

    /// The name in control records and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Admins => "admins",
            Self::Members => "members",
        }
    }

    /// The one of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }
}

/// What a sender without a known role is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum UnknownSender {
    /// An ordinary member.
    Member,
    /// Somebody allowed to ask: the platform decided already.
    Allow,
}

impl UnknownSender {
    /// Every one, in the order of declaration.
    pub const ALL: [Self; 2] = [Self::Member, Self::Allow];

    /// The name in control records and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Allow => "allow",
        }
    }

    /// The one of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }
}

/// Who may read a reader list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Viewers {
    /// The sender of the message.
    Sender,
    /// Every member of the group.
    Members,
    /// Everybody in the app.
    App,
}

impl Viewers {
    /// Every one, in the order of declaration.
    pub const ALL: [Self; 3] = [Self::Sender, Self::Members, Self::App];

    /// The name in control records and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sender => "sender",
            Self::Members => "members",
            Self::App => "app",
        }
    }

    /// The one of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }
}

impl Policy {
    /// The limits of an app that has set none.
    pub const DEFAULT: Self = Self {
        group: GroupPolicy::DEFAULT,
        single: SinglePolicy { validity_days: 7 },
        parking_hours: 24,
        notify: true,
    };
}

impl Default for Policy {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl GroupPolicy {
    /// The limits of groups in an app that has set none.
    pub const DEFAULT: Self = Self {
        open: false,
        senders: Senders::Admins,
        unknown_sender: UnknownSender::Member,
        validity_days: 3,
        readers_per_message: 500,
        messages_per_day: 500,
        timezone: Tz::UTC,
        viewers: Viewers::Sender,
    };
}

impl Default for GroupPolicy {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Default for SinglePolicy {
    fn default() -> Self {
        Policy::DEFAULT.single
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
