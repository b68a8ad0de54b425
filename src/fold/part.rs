//! Folding a part of a partition's conversations, and under a policy that was not in force: for asking what would have
//! become of a log.
//!
//! Conversations touch each other by the watermark and by the policy of their app, and by nothing else. So what becomes of
//! some of them can be told without the state of the rest, as long as the rest moves the watermark.

use super::fact::Sink;
use super::partition::check_first;
use super::state::apps::App;
use super::{LATENESS_MILLIS, Partition};
use crate::event::{AppId, EventTime, Input, Record};
use crate::policy::{DAY_MILLIS, Policy};

const HOUR_MILLIS: i64 = 60 * 60 * 1000;

impl Partition {
    /// Takes the next record of the log without judging or keeping it: it moves the watermark where [`Partition::apply`]
    /// would have moved it, and waits end. A state of some conversations, to which their own records and the control
    /// records of their app are applied, and which passes over all others, gives of those conversations the outcomes and
    /// facts that the whole would have given; its ledger counts theirs alone.
    pub fn pass_over(&mut self, record: &Record<'_>, sink: &mut impl Sink) {
        let position = self.move_to(record);
        let Input::Event(event) = &record.input else { return };
        let key = record.key.and_then(|key| event.matches_key(key)).filter(|key| self.is_routed_here(*key));
        if check_first(event, key, record.time).is_ok() {
            self.move_watermark(event.at, position, sink);
        }
    }

    /// Takes a policy to be in force for every event of an app from here on, whatever the event's time. The app's control
    /// records are judged and counted as ever, and are without effect. What is in the state already keeps what it was
    /// given.
    ///
    /// Such a state tells what would have become of the log: it is never written, and never committed.
    pub fn assume_policy(&mut self, app: AppId<'_>, policy: Policy) {
        let app = self.apps.intern(app.as_str());
        self.apps.assume_policy(app, policy);
    }

    /// A time before which no message and no waiting record of an app is held, by the policies that were met.
    pub fn holds_nothing_before(&self, app: AppId<'_>) -> EventTime {
        // Of quota days: the default validity of a single message alone is longer.
        let reach = |policy: &Policy| {
            let validity_days = policy.group.validity_days.max(policy.single.validity_days);
            let validity = i64::from(validity_days) * DAY_MILLIS + LATENESS_MILLIS;
            validity.max(i64::from(policy.parking_hours) * HOUR_MILLIS)
        };
        let met = self.apps.iter().filter(|known| *known.name == *app.as_str()).flat_map(App::policies);
        let longest = met.map(|(_, _, policy)| reach(policy)).fold(reach(&Policy::DEFAULT), i64::max);
        self.watermark.plus_millis(-longest)
    }
}
