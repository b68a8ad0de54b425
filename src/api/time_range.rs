//! Ranges of time in steps, as `from`, `to` and `step` give them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::ApiError;
use super::query_string::invalid;
use crate::event::EventTime;
use crate::store::query::TimeSteps;

const MINUTE_MILLIS: i64 = 60 * 1000;
const HOUR_MILLIS: i64 = 60 * MINUTE_MILLIS;
const DAY_MILLIS: i64 = 24 * HOUR_MILLIS;

/// How finely time is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Step {
    /// Minutes.
    Minute,
    /// Hours.
    Hour,
    /// Days of UTC.
    Day,
}

impl Step {
    /// Every step under its name.
    pub(crate) const WORDS: [(&'static str, Self); 3] =
        [("minute", Self::Minute), ("hour", Self::Hour), ("day", Self::Day)];

    /// Those of what is kept by the hour.
    pub(crate) const WORDS_OF_HOURS: [(&'static str, Self); 2] = [("hour", Self::Hour), ("day", Self::Day)];

    const fn millis(self) -> i64 {
        match self {
            Self::Minute => MINUTE_MILLIS,
            Self::Hour => HOUR_MILLIS,
            Self::Day => DAY_MILLIS,
        }
    }

    /// How many steps there are where nothing is said.
    const fn usual_steps(self) -> i64 {
        match self {
            Self::Minute => 60,
            Self::Hour => 24,
            Self::Day => 30,
        }
    }

    /// The longest range in it, in days.
    pub(crate) const fn longest_days(self) -> i64 {
        match self {
            Self::Minute => 1,
            Self::Hour => 31,
            Self::Day => 400,
        }
    }
}

/// A range of whole steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeRange {
    /// How it is divided.
    pub(crate) step: Step,
    /// Its first instant.
    pub(crate) from: EventTime,
    /// The instant behind it.
    pub(crate) to: EventTime,
}

impl TimeRange {
    /// The steps in which the range that was asked for lies, its first and last one whole. `to` is the present where it is
    /// not given, and `from` 60 minutes, 24 hours or 30 days before `to`, or `most_days` where those are fewer.
    ///
    /// # Errors
    /// [`ApiError::InvalidRequest`] where `from` is not before `to`, or the range is longer than `most_days`.
    pub(crate) fn new(
        step: Step,
        most_days: i64,
        from: Option<EventTime>,
        to: Option<EventTime>,
        now: EventTime,
    ) -> Result<Self, ApiError> {
        let millis = step.millis();
        let to = to.unwrap_or(now).millis();
        let usual_millis = (step.usual_steps() * millis).min(most_days * DAY_MILLIS);
        let from = from.map_or(to - usual_millis, EventTime::millis).max(0);
        if from >= to {
            return Err(invalid("from", "must be before to"));
        }
        let range = Self {
            step,
            from: EventTime::from_millis(from - from % millis),
            to: EventTime::from_millis((to + millis - 1) / millis * millis),
        };
        // The first and last step may be there in part only.
        if range.to.since(range.from) > most_days * DAY_MILLIS + millis {
            return Err(invalid("from", &format!("of this question a range of at most {most_days} days is answered")));
        }
        Ok(range)
    }

    /// As the queries take it.
    pub(crate) fn steps(&self) -> TimeSteps {
        TimeSteps { from: self.from, until: self.to, step_millis: self.step.millis() }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const NOW: i64 = 1_772_366_400_000;

    fn range(step: Step, from: Option<i64>, to: Option<i64>) -> Result<(i64, i64), ApiError> {
        range_within(step, step.longest_days(), from, to)
    }

    fn range_within(step: Step, most_days: i64, from: Option<i64>, to: Option<i64>) -> Result<(i64, i64), ApiError> {
        let time = |millis: Option<i64>| millis.map(EventTime::from_millis);
        let range = TimeRange::new(step, most_days, time(from), time(to), EventTime::from_millis(NOW + 1))?;
        Ok((range.from.millis() - NOW, range.to.millis() - NOW))
    }

    #[test]
    fn a_range_is_of_whole_steps_and_ends_now_where_nothing_is_said() {
        assert_eq!(range(Step::Hour, None, None), Ok((-24 * HOUR_MILLIS, HOUR_MILLIS)));
        assert_eq!(range(Step::Minute, Some(NOW + 1), Some(NOW + 60_000)), Ok((0, 60_000)));
        assert_eq!(range(Step::Minute, Some(NOW + 59_999), Some(NOW + 60_001)), Ok((0, 120_000)));
        // Noon.
        assert_eq!(range(Step::Day, Some(NOW), Some(NOW + 1)), Ok((-12 * HOUR_MILLIS, 12 * HOUR_MILLIS)));
    }

    #[test]
    fn without_a_beginning_no_more_is_asked_than_is_answered() {
        let noon = 12 * HOUR_MILLIS;
        assert_eq!(range(Step::Day, None, None), Ok((-30 * DAY_MILLIS - noon, noon)));
        assert_eq!(range_within(Step::Day, 7, None, None), Ok((-7 * DAY_MILLIS - noon, noon)));
        assert_eq!(range_within(Step::Hour, 7, None, None), Ok((-24 * HOUR_MILLIS, HOUR_MILLIS)));
        assert!(range_within(Step::Day, 7, Some(NOW - 9 * DAY_MILLIS), None).is_err());
    }

    #[test]
    fn an_empty_range_and_one_too_long_for_its_step_are_refused() {
        assert!(range(Step::Hour, Some(NOW), Some(NOW)).is_err());
        assert!(range(Step::Hour, Some(NOW + 1), Some(NOW)).is_err());
        assert!(range(Step::Minute, Some(NOW), Some(NOW + DAY_MILLIS)).is_ok());
        assert!(range(Step::Minute, Some(NOW), Some(NOW + DAY_MILLIS + 2 * MINUTE_MILLIS)).is_err());
        assert!(range(Step::Hour, Some(NOW - 32 * DAY_MILLIS), None).is_err());
        assert!(range(Step::Day, Some(NOW - 32 * DAY_MILLIS), None).is_ok());
        assert!(range(Step::Day, Some(0), None).is_err());
    }
}
