//! Whether a group message that asks for receipts is opened (DESIGN.md section 4): the one rule, for the fold and for
//! whoever wants to know beforehand.

use super::fact::MessageStatus;
use crate::event::{EventTime, Role};
use crate::policy::{GroupPolicy, QuotaDay, Senders, UnknownSender};

/// What is known of who asks for receipts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// The role in the event, else the one that roster changes gave him.
    pub role: Option<Role>,
    /// Whether the group's roster is known.
    pub is_roster_known: bool,
}

/// Decides on a message of this time; `opened_on` tells how many of the group were opened on a day. Returns the day on
/// which an opened message is counted, too.
pub fn judge_request(
    policy: &GroupPolicy,
    asker: Asker,
    at: EventTime,
    opened_on: impl FnOnce(QuotaDay) -> u32,
) -> (MessageStatus, Option<QuotaDay>) {
    if !policy.open {
        return (MessageStatus::NotOpen, None);
    }
    if !is_permitted(policy, asker) {
        return (MessageStatus::PermissionDenied, None);
    }
    let day = QuotaDay::of(at, policy.timezone);
    if opened_on(day) >= policy.messages_per_day {
        return (MessageStatus::QuotaExceeded, None);
    }
    (MessageStatus::Opened, Some(day))
}

/// Who has no known role counts as a member; where the roster is unknown, as the policy says of unknown senders.
fn is_permitted(policy: &GroupPolicy, asker: Asker) -> bool {
    let is_unknown_allowed = !asker.is_roster_known && policy.unknown_sender == UnknownSender::Allow;
    match (asker.role, policy.senders) {
        (None, _) if is_unknown_allowed => true,
        (_, Senders::Members) => true,
        (role, Senders::Admins) => matches!(role, Some(Role::Owner | Role::Admin)),
    }
}
