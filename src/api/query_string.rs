//! The words in which query strings are read: strictly, each refusal naming the parameter and its rule.

use std::ops::RangeInclusive;

use super::error::ApiError;
use crate::config::is_id;
use crate::event::{EventTime, MAX_ID_BYTES};

/// Times that events can have, in ms since 1970 (DESIGN.md section 2).
const TIMES: RangeInclusive<i64> = 0..=4_102_444_799_999;

/// The refusal of a parameter.
pub(crate) fn invalid(parameter: &str, rule: &str) -> ApiError {
    ApiError::InvalidRequest(format!("{parameter}: {rule}"))
}

/// The refusal of a parameter that is none: a mistyped filter would silently give the wrong answer.
pub(crate) fn unknown(parameter: &str, known: &str) -> ApiError {
    ApiError::InvalidRequest(format!("{parameter}: there is no such parameter; the known parameters are {known}"))
}

/// Takes a parameter that may be given once.
///
/// # Errors
/// [`ApiError::InvalidRequest`] where it was given before.
pub(crate) fn set_once<T>(slot: &mut Option<T>, parameter: &str, value: T) -> Result<(), ApiError> {
    if slot.replace(value).is_some() { Err(invalid(parameter, "must be given once")) } else { Ok(()) }
}

/// Reads one of several words.
///
/// # Errors
/// [`ApiError::InvalidRequest`], listing the words.
pub(crate) fn parse_word<T: Copy>(parameter: &str, value: &str, words: &[(&str, T)]) -> Result<T, ApiError> {
    words.iter().find(|(word, _)| *word == value).map(|(_, meant)| *meant).ok_or_else(|| {
        let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let listed = match words.as_slice() {
            [others @ .., last] if !others.is_empty() => format!("{} or {last}", others.join(", ")),
            _ => words.concat(),
        };
        invalid(parameter, &format!("must be {listed}"))
    })
}

/// Reads an integer of digits alone.
///
/// # Errors
/// [`ApiError::InvalidRequest`], telling the range.
pub(crate) fn parse_integer(parameter: &str, value: &str, range: RangeInclusive<i64>) -> Result<i64, ApiError> {
    let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    is_number
        .then(|| value.parse().ok())
        .flatten()
        .filter(|number| range.contains(number))
        .ok_or_else(|| invalid(parameter, &format!("must be an integer from {} to {}", range.start(), range.end())))
}

/// Reads a time in ms since 1970.
///
/// # Errors
/// [`ApiError::InvalidRequest`].
pub(crate) fn parse_time(parameter: &str, value: &str) -> Result<EventTime, ApiError> {
    parse_integer(parameter, value, TIMES).map(EventTime::from_millis)
}

/// What an id has to be, for people.
pub(crate) const ID_RULE: &str = "must be an id: 1 to 128 bytes without '/', '#', white space and control characters";

/// Reads the id of something: a user, a group.
///
/// # Errors
/// [`ApiError::InvalidRequest`].
pub(crate) fn parse_id(parameter: &str, value: &str) -> Result<String, ApiError> {
    require_id_length(parameter, value)?;
    if is_id(value) { Ok(value.to_owned()) } else { Err(invalid(parameter, ID_RULE)) }
}

/// Refuses what is longer than any id: nothing has it, and statements are bounded by what stands in them.
///
/// # Errors
/// [`ApiError::InvalidRequest`].
pub(crate) fn require_id_length(parameter: &str, value: &str) -> Result<(), ApiError> {
    if value.len() <= MAX_ID_BYTES {
        return Ok(());
    }
    Err(invalid(parameter, &format!("must be at most {MAX_ID_BYTES} bytes, as every id is; it has {}", value.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detail(error: ApiError) -> String {
        match error {
            ApiError::InvalidRequest(detail) => detail,
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn a_refusal_names_parameter_and_rule() {
        let words = [("hour", 1), ("day", 2), ("week", 3)];
        assert_eq!(parse_word("step", "day", &words), Ok(2));
        assert_eq!(parse_word("step", "", &words).map_err(detail), Err("step: must be hour, day or week".to_owned()));
        assert_eq!(parse_word("a", "x", &[("b", ())]).map_err(detail), Err("a: must be b".to_owned()));
        assert_eq!(parse_integer("limit", "7", 1..=9), Ok(7));
        for refused in ["", "0", "10", "-1", "1.0", "+1", " 1", "99999999999999999999"] {
            let refusal = parse_integer("limit", refused, 1..=9).map_err(detail);
            assert_eq!(refusal, Err("limit: must be an integer from 1 to 9".to_owned()), "{refused}");
        }
        assert!(parse_time("from", "4102444800000").is_err());
        for refused in ["", "a/b", "a#b", "a b"] {
            assert_eq!(parse_id("user", refused).map_err(detail), Err(format!("user: {ID_RULE}")), "{refused}");
        }
        assert_eq!(parse_id("user", &"é".repeat(64)), Ok("é".repeat(64)));
        let too_long = "user: must be at most 128 bytes, as every id is; it has 129".to_owned();
        assert_eq!(parse_id("user", &"a".repeat(129)).map_err(detail), Err(too_long));
        assert_eq!(
            detail(unknown("limt", "limit")),
            "limt: there is no such parameter; the known parameters are limit"
        );
    }
}
