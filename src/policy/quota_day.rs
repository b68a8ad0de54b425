//! The day on which an opened message is counted.

use chrono::{DateTime, Days, MappedLocalTime, NaiveDate, NaiveTime, TimeZone};
use chrono_tz::Tz;

use super::DAY_MILLIS;
use crate::event::EventTime;

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

    /// The date on the clocks of `timezone` at this time.
    pub fn of(at: EventTime, timezone: Tz) -> Self {
        // The clocks' reading as if it were UTC; within the accepted range of times chrono knows every one.
        let offset_millis = DateTime::from_timestamp_millis(at.millis()).map_or(0, |instant| {
            let local = instant.with_timezone(&timezone).naive_local();
            local.and_utc().timestamp_millis() - at.millis()
        });
        Self((at.millis() + offset_millis).div_euclid(DAY_MILLIS) as i32)
    }

    /// The first instant of this date on the clocks of `timezone`: mostly midnight, but where clocks go forward at
    /// midnight it is later, and where a zone skipped the date altogether it is the next date's first instant.
    pub fn begins(self, timezone: Tz) -> EventTime {
        let nominal = i64::from(self.0) * DAY_MILLIS;
        match self.date().map(|date| timezone.from_local_datetime(&date.and_time(NaiveTime::MIN))) {
            Some(MappedLocalTime::Single(instant) | MappedLocalTime::Ambiguous(instant, _)) => {
                EventTime::from_millis(instant.timestamp_millis())
            }
            // Clocks jump over midnight: they pass it in one step, which lies within 24 hours of it in UTC.
            _ => self.first_instant_between(nominal - DAY_MILLIS, nominal + DAY_MILLIS, timezone),
        }
    }

    /// The first instant of the next date.
    pub fn ends(self, timezone: Tz) -> EventTime {
        Self(self.0 + 1).begins(timezone)
    }

    /// The date as `2026-03-29`.
    pub fn date(self) -> Option<NaiveDate> {
        let days = Days::new(u64::from(self.0.unsigned_abs()));
        if self.0 < 0 {
            NaiveDate::default().checked_sub_days(days)
        } else {
            NaiveDate::default().checked_add_days(days)
        }
    }

    /// Bisects for the first ms on this date or a later one; the date must not go back in between.
    fn first_instant_between(self, mut before: i64, mut after: i64, timezone: Tz) -> EventTime {
        while after - before > 1 {
            let middle = before.midpoint(after);
            if Self::of(EventTime::from_millis(middle), timezone) < self {
                before = middle;
            } else {
                after = middle;
            }
        }
        EventTime::from_millis(after)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    const HOUR: i64 = 60 * 60 * 1000;

    fn at(text: &str) -> EventTime {
        EventTime::from_millis(DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis())
    }

    fn day(text: &str) -> QuotaDay {
        let date: NaiveDate = text.parse().unwrap();
        QuotaDay::from_days((date - NaiveDate::default()).num_days() as i32)
    }

    fn hours(day: QuotaDay, timezone: Tz) -> i64 {
        day.ends(timezone).since(day.begins(timezone)) / HOUR
    }

    #[test]
    fn a_day_is_the_date_on_the_zones_clocks() {
        let instant = at("2026-03-01T23:30:00Z");
        assert_eq!(QuotaDay::of(instant, Tz::UTC), day("2026-03-01"));
        assert_eq!(QuotaDay::of(instant, Tz::Asia__Shanghai), day("2026-03-02"));
        assert_eq!(QuotaDay::of(instant, Tz::America__New_York), day("2026-03-01"));
        assert_eq!(day("2026-03-02").date().unwrap().to_string(), "2026-03-02");
    }

    #[test]
    fn west_of_greenwich_time_0_is_in_1969() {
        let day = QuotaDay::of(EventTime::from_millis(0), Tz::America__New_York);
        assert_eq!(day.days(), -1);
        assert_eq!(day.date().unwrap().to_string(), "1969-12-31");
    }

    #[test]
    fn days_of_a_clock_change_have_23_and_25_hours() {
        let berlin = Tz::Europe__Berlin;
        assert_eq!(hours(day("2026-03-29"), berlin), 23);
        assert_eq!(hours(day("2026-10-25"), berlin), 25);
        assert_eq!(hours(day("2026-10-26"), berlin), 24);
        assert_eq!(day("2026-03-29").begins(berlin), at("2026-03-28T23:00:00Z"));
        assert_eq!(day("2026-03-29").ends(berlin), at("2026-03-29T22:00:00Z"));
    }

    #[test]
    fn a_day_without_midnight_begins_when_its_clocks_do() {
        // Beirut's clocks go from 24:00 to 01:00.
        assert_eq!(day("2024-03-31").begins(Tz::Asia__Beirut), at("2024-03-31T01:00:00+03:00"));
        assert_eq!(hours(day("2024-03-31"), Tz::Asia__Beirut), 23);
    }

    #[test]
    fn a_date_that_a_zone_skipped_has_no_time() {
        let apia = Tz::Pacific__Apia;
        assert_eq!(day("2011-12-30").begins(apia), at("2011-12-31T00:00:00+14:00"));
        assert_eq!(hours(day("2011-12-30"), apia), 0);
        assert_eq!(hours(day("2011-12-29"), apia), 24);
    }

    proptest! {
        #[test]
        fn an_instant_lies_within_its_day(
            millis in 0..=EventTime::MAX.millis(),
            timezone in proptest::sample::select(vec![Tz::UTC, Tz::Europe__Berlin, Tz::America__Sao_Paulo, Tz::Asia__Kathmandu,
                Tz::Australia__Lord_Howe, Tz::Pacific__Kiritimati, Tz::America__Santiago, Tz::Africa__Casablanca]),
        ) {
            let instant = EventTime::from_millis(millis);
            let day = QuotaDay::of(instant, timezone);
            prop_assert!(day.begins(timezone) <= instant && instant < day.ends(timezone));
            prop_assert_eq!(QuotaDay::of(day.begins(timezone), timezone), day);
        }
    }
}
