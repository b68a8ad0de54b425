//! Where a range begins or ends, as it is given on the command line.

use std::str::FromStr;

use chrono::DateTime;

use crate::event::{Offset, RecordTime};

/// An offset in every partition, or a time of the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// An offset.
    Offset(Offset),
    /// The first record of that time or later.
    Time(RecordTime),
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(offset) = text.parse() {
            return Ok(Self::Offset(Offset::new(offset)));
        }
        DateTime::parse_from_rfc3339(text)
            .map(|time| Self::Time(RecordTime::from_millis(time.timestamp_millis())))
            .map_err(|_| "neither an offset nor a time like 2026-01-31T12:00:00Z".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_an_offset_and_dates_a_time() {
        assert_eq!("1767225600".parse(), Ok(Place::Offset(Offset::new(1_767_225_600))));
        let new_year = Ok(Place::Time(RecordTime::from_millis(1_767_225_600_000)));
        assert_eq!("2026-01-01T00:00:00Z".parse(), new_year);
        assert_eq!("2026-01-01T08:00:00+08:00".parse(), new_year);
        assert!("yesterday".parse::<Place>().is_err());
    }
}
