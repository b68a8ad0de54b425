//! The pure core (DESIGN.md section 4): the state of a partition, and the outcome of every event.
//!
//! No I/O, no clock, no randomness: the same state and the same record always give the same outcome and the same rows,
//! on any machine, at any time. [`FOLD_VERSION`] is raised when a rule changes.

pub mod delay;
mod digest;
pub mod fact;
mod ledger;
mod opening;
mod outcome;
mod part;
mod partition;
mod restore;
mod rules;
mod state;

pub use opening::{Asker, judge_request};
pub use outcome::{ClientError, Outcome};
pub use partition::{MAX_SKEW_MILLIS, Partition, PartitionIdentity};
pub use restore::Restore;
pub use state::parked::MAX_PARKED_PER_CONVERSATION;

use crate::event::EventTime;
use crate::policy::{DAY_MILLIS, QuotaDay};

/// Version of the rules in this module. A worker does not take over state of another version without being told to.
pub const FOLD_VERSION: u32 = 2;

/// The edition of the IANA time zone data that quota days are counted by. Another edition may put an event on another
/// day: it is a change of the rules, with a [`FOLD_VERSION`] of its own.
pub const TIME_ZONE_DATA: &str = "2025b";

/// How far events may be out of order, in ms of event time: the one bound on disorder (DESIGN.md section 4).
pub const LATENESS_MILLIS: i64 = 72 * 60 * 60 * 1000;

/// A quota day leaves the state when the watermark is past 00:00 UTC of its date plus so many days. No accepted message
/// can be of an earlier date by then: LATENESS, and a zone's at most 14 hours, are less.
const QUOTA_DAY_LIFE_MILLIS: i64 = 5 * DAY_MILLIS;

/// The longest validity that a policy can give a message, in ms.
const MAX_VALIDITY_MILLIS: i64 = 90 * DAY_MILLIS;

/// The last watermark at which a message is in the state.
const fn leaves_at(sent_at: EventTime, validity_millis: i64) -> EventTime {
    sent_at.plus_millis(validity_millis.saturating_add(LATENESS_MILLIS))
}

/// Whether hydration needs a message's row at this watermark: it is still in the state, or its quota day is. Its
/// receipts and its recall are needed with it.
pub fn is_message_needed(
    sent_at: EventTime,
    validity_millis: i64,
    quota_day: Option<QuotaDay>,
    watermark: EventTime,
) -> bool {
    watermark <= leaves_at(sent_at, validity_millis) || quota_day.is_some_and(|day| is_quota_day_needed(day, watermark))
}

/// Whether hydration may need a mark's row at this watermark: it is still in the state, or it may have read a message
/// that is. A mark from before all of a conversation's messages in the state covers none of them.
pub fn is_mark_needed(at: EventTime, watermark: EventTime) -> bool {
    watermark <= leaves_at(at, MAX_VALIDITY_MILLIS)
}

/// Whether a quota day is in the state at this watermark.
fn is_quota_day_needed(day: QuotaDay, watermark: EventTime) -> bool {
    watermark <= quota_day_leaves_at(day)
}

/// The last watermark at which a quota day is in the state.
const fn quota_day_leaves_at(day: QuotaDay) -> EventTime {
    EventTime::from_millis(day.days() as i64 * DAY_MILLIS + QUOTA_DAY_LIFE_MILLIS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_zone_data_are_those_of_this_fold_version() {
        assert_eq!((FOLD_VERSION, TIME_ZONE_DATA), (2, chrono_tz::IANA_TZDB_VERSION));
    }
}
