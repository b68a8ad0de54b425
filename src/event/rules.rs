//! The rules that events and control records share, and the words for what breaks them.

use bumpalo::Bump;

use super::json::{SyntaxError, Value};
use super::{AppId, EventTime, MAX_ID_BYTES, MAX_RECORD_BYTES, Malformed};

/// The record as text: its size, UTF-8 anywhere in it, no byte-order mark.
#[inline]
pub(super) fn record_text(value: &[u8]) -> Result<&str, Malformed> {
    if value.is_empty() {
        return Err(broken(RECORD, "must have a value, got none"));
    }
    if value.len() > MAX_RECORD_BYTES {
        return Err(too_long(RECORD, MAX_RECORD_BYTES, value.len()));
    }
    if value.starts_with("\u{feff}".as_bytes()) {
        return Err(broken(RECORD, "must not start with a byte-order mark"));
    }
    simdutf8::basic::from_utf8(value).map_err(|_| match std::str::from_utf8(value) {
        Err(error) => broken(RECORD, format!("must be UTF-8, is not at byte {}", error.valid_up_to())),
        Ok(_) => broken(RECORD, "must be UTF-8"),
    })
}

/// Checks an id: not empty, at most [`MAX_ID_BYTES`], no '/', '#', white space or control character.
#[inline]
pub(super) fn parse_id<'a>(field: &'static str, text: &'a str) -> Result<&'a str, Malformed> {
    if text.is_empty() {
        return Err(broken(field, "must not be empty"));
    }
    if text.len() > MAX_ID_BYTES {
        return Err(too_long(field, MAX_ID_BYTES, text.len()));
    }
    match forbidden_character(text) {
        None => Ok(text),
        Some(character) => Err(broken(
            field,
            format!("must be without '/', '#', white space and control characters, got {character:?}"),
        )),
    }
}

/// Checks an app: two ids with '#' between them, [`MAX_ID_BYTES`] in all.
#[inline]
pub(super) fn parse_app(text: &str) -> Result<AppId<'_>, Malformed> {
    if text.len() > MAX_ID_BYTES {
        return Err(too_long("app", MAX_ID_BYTES, text.len()));
    }
    let Some((org, name)) = text.split_once('#') else {
        return Err(broken("app", "must be org#name, got no '#'"));
    };
    parse_id("app", org)?;
    parse_id("app", name)?;
    Ok(AppId::trusted(text))
}

#[inline]
fn forbidden_character(text: &str) -> Option<char> {
    // Ids are nearly always plain ASCII. Without an early exit the compiler tests many bytes at once.
    let is_plain = |byte: u8| byte.is_ascii_graphic() & (byte != b'/') & (byte != b'#');
    if text.bytes().fold(true, |all_plain, byte| all_plain & is_plain(byte)) {
        return None;
    }
    text.chars()
        .find(|&character| matches!(character, '/' | '#') || character.is_whitespace() || character.is_control())
}

/// Checks a time: an integer of milliseconds from 0 to [`EventTime::MAX`], written as one.
#[inline]
pub(super) fn millis(field: &'static str, value: Value<'_>) -> Result<EventTime, Malformed> {
    integer(field, value, 0, EventTime::MAX.millis() as u64, " of milliseconds")
        .map(|millis| EventTime::from_millis(millis as i64))
}

/// Checks an integer from `least` to `most`, written as one: not 1.0, not 1e3, not -0.
#[inline]
pub(super) fn integer(
    field: &'static str,
    value: Value<'_>,
    least: u64,
    most: u64,
    unit: &str,
) -> Result<u64, Malformed> {
    if let Value::Number(digits) = value
        && digits.len() <= 19
        && let Some(number) = decimal(digits)
        && (least..=most).contains(&number)
    {
        return Ok(number);
    }
    let got = match value {
        Value::Number(digits) => shortened(digits).to_owned(),
        other => other.kind().to_owned(),
    };
    Err(broken(field, format!("must be an integer{unit} from {least} to {most}, got {got}")))
}

/// At most 19 digits, which fit; `None` at any other character.
#[inline]
fn decimal(digits: &str) -> Option<u64> {
    digits.bytes().try_fold(0_u64, |number, byte| {
        let digit = byte.wrapping_sub(b'0');
        (digit < 10).then(|| number * 10 + u64::from(digit))
    })
}

/// Checks a string: no other kind of value, no half of a surrogate pair.
#[inline]
pub(super) fn string<'a>(field: &'static str, value: Value<'a>, arena: &'a Bump) -> Result<&'a str, Malformed> {
    match value {
        Value::String(raw) => raw.resolve(arena).ok_or_else(|| lone_surrogate(field)),
        other => Err(wrong_kind(field, "a string", other)),
    }
}

/// Checks that a field is there and not null.
pub(super) fn present<'a>(field: &'static str, value: Option<Value<'a>>) -> Result<Value<'a>, Malformed> {
    match value {
        None => Err(missing(field)),
        Some(Value::Null) => Err(null(field)),
        Some(value) => Ok(value),
    }
}

const RECORD: &str = "record";

#[cold]
pub(super) fn broken(field: &'static str, rule: impl Into<String>) -> Malformed {
    Malformed { field, rule: rule.into() }
}

#[cold]
pub(super) fn syntax(error: SyntaxError) -> Malformed {
    broken(RECORD, format!("must be JSON, expected {} at byte {}", error.expected, error.position))
}

#[cold]
pub(super) fn no_object() -> Malformed {
    broken(RECORD, "must be a JSON object")
}

#[cold]
pub(super) fn missing(field: &'static str) -> Malformed {
    broken(field, "must be there")
}

#[cold]
pub(super) fn null(field: &'static str) -> Malformed {
    broken(field, "must not be null")
}

#[cold]
pub(super) fn twice(field: &'static str) -> Malformed {
    broken(field, "must not be there twice")
}

#[cold]
pub(super) fn lone_surrogate(field: &'static str) -> Malformed {
    broken(field, "must be text, got half of a surrogate pair")
}

#[cold]
pub(super) fn too_long(field: &'static str, most: usize, got: usize) -> Malformed {
    broken(field, format!("must be at most {most} bytes, got {got}"))
}

#[cold]
pub(super) fn wrong_kind(field: &'static str, expected: &str, got: Value<'_>) -> Malformed {
    broken(field, format!("must be {expected}, got {}", got.kind()))
}

#[cold]
pub(super) fn not_one_of(field: &'static str, names: &str, got: &str) -> Malformed {
    broken(field, format!("must be {names}, got {:?}", shortened(got)))
}

/// Enough of a text to recognise it; a rule that was broken by half a mebibyte need not repeat it.
pub(super) fn shortened(text: &str) -> &str {
    let end = text.char_indices().nth(40).map_or(text.len(), |(position, _)| position);
    text.get(..end).unwrap_or(text)
}
