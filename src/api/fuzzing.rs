//! What the fuzz targets ask of the parsers of query strings: what they read must come back from its own spelling.
//! Compiled by cargo-fuzz alone.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::cursor::{Cursor, ListFingerprint};
use super::easemob::AckQuery;
use super::error::ApiError;
use super::parameters::{MAX_LIMIT, ReadersQuery};

/// Reads the query string of a reader list, and reads it again from its own spelling.
///
/// # Errors
/// The refusal's detail.
///
/// # Panics
/// Where the two differ, or are beyond the bounds.
pub fn readers_query(text: &str) -> Result<(), String> {
    let query = ReadersQuery::parse(text).map_err(detail)?;
    assert!((1..=MAX_LIMIT).contains(&query.limit) && query.user.len() <= MAX_LIMIT, "{query:?}");
    let mut spelled = form_urlencoded::Serializer::new(String::new());
    spelled.append_pair("status", query.status.name()).append_pair("order", query.order.name());
    spelled.append_pair("limit", &query.limit.to_string());
    if let Some(cursor) = &query.cursor {
        spelled.append_pair("cursor", cursor);
    }
    for user in &query.user {
        spelled.append_pair("user", user);
    }
    assert_eq!(ReadersQuery::parse(&spelled.finish()).map_err(detail), Ok(query));
    Ok(())
}

/// Reads the query string of the vendor's path, which refuses nothing, and reads it again from its own spelling.
///
/// # Panics
/// Where the two differ, or are beyond the bounds.
pub fn ack_query(text: &str) {
    let query = AckQuery::parse(text);
    assert!((1..=MAX_LIMIT).contains(&query.limit), "{query:?}");
    let mut spelled = form_urlencoded::Serializer::new(String::new());
    spelled.append_pair("limit", &query.limit.to_string());
    if let Some(key) = &query.key {
        spelled.append_pair("key", key);
    }
    assert_eq!(AckQuery::parse(&spelled.finish()), query);
}

/// A cursor that holds this, whatever it is.
pub fn cursor_of(json: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(json)
}

/// Reads a cursor of the list whose fingerprint is that of nothing (`e3b0c44298fc1c14`), and reads it again from its own
/// spelling.
///
/// # Panics
/// Where the two differ.
pub fn cursor(text: &str) {
    let list = ListFingerprint::of([]);
    if let Ok(cursor) = Cursor::decode(text, list) {
        assert_eq!(Cursor::decode(&cursor.encode(list), list).map_err(detail), Ok(cursor));
    }
}

fn detail(error: ApiError) -> String {
    match error {
        ApiError::InvalidRequest(detail) => detail,
        other => format!("{other:?}"),
    }
}
