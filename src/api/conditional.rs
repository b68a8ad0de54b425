//! Answers that a client need not be sent again: entity tags and `If-None-Match` (RFC 9110, 13.1.2).
//!
//! A tag is over what an answer says, but not over how fresh it is: a list stays what it is while the log moves on. As a
//! tag of that kind does not promise the same bytes, and answers are compressed besides, it is a weak one. How fresh the
//! list is travels in a header of its own, so that a 304 says it too.

use axum::Json;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::as_of::AsOf;

/// The answer's `as_of` as JSON; `null` before the first flush.
pub(crate) const AS_OF: HeaderName = HeaderName::from_static("seenby-as-of");

/// Whoever keeps an answer asks each time whether it still holds, and no cache that others share keeps it.
const CACHE_CONTROL: HeaderValue = HeaderValue::from_static("private, no-cache");

/// Bytes of a tag's hash: enough that two answers never share one.
const TAG_BYTES: usize = 16;

/// The answer, or 304 where the client has it already.
pub(crate) fn answer<T: Serialize>(
    request_headers: &HeaderMap,
    content: &impl Serialize,
    as_of: Option<AsOf>,
    whole: T,
) -> Result<Response, serde_json::Error> {
    let tag = entity_tag(content)?;
    let mut response = if is_met(request_headers, &tag) {
        (StatusCode::NOT_MODIFIED, Body::empty()).into_response()
    } else {
        Json(whole).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, CACHE_CONTROL);
    // Of visible ASCII characters: a hash in hexadecimal.
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    set_as_of(headers, as_of);
    Ok(response)
}

/// What is the same for as long as the process runs.
pub(super) struct Unchanging {
    content_type: HeaderValue,
    tag: HeaderValue,
    body: Bytes,
}

impl Unchanging {
    /// With its media type.
    pub(super) fn new(content_type: &'static str, body: String) -> Self {
        let tag = tag_of(body.as_bytes());
        // A tag is of visible ASCII characters.
        let tag = HeaderValue::from_str(&tag).unwrap_or(HeaderValue::from_static("W/\"\""));
        Self { content_type: HeaderValue::from_static(content_type), tag, body: body.into() }
    }

    /// The whole, or 304 where the client has it already.
    pub(super) fn answer(&self, request_headers: &HeaderMap) -> Response {
        let mut response = if is_met(request_headers, self.tag.to_str().unwrap_or_default()) {
            (StatusCode::NOT_MODIFIED, Body::empty()).into_response()
        } else {
            ([(header::CONTENT_TYPE, self.content_type.clone())], self.body.clone()).into_response()
        };
        let headers = response.headers_mut();
        // A newer seenby has another one, so that who keeps it asks each time.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(header::ETAG, self.tag.clone());
        response
    }
}

/// Says how fresh an answer is without its body.
pub(crate) fn set_as_of(headers: &mut HeaderMap, as_of: Option<AsOf>) {
    // Numbers always serialise, in visible ASCII characters.
    let text = serde_json::to_string(&as_of).unwrap_or_default();
    if let Ok(value) = HeaderValue::from_str(&text) {
        headers.insert(AS_OF, value);
    }
}

fn entity_tag(content: &impl Serialize) -> Result<String, serde_json::Error> {
    Ok(tag_of(&serde_json::to_vec(content)?))
}

fn tag_of(content: &[u8]) -> String {
    let hash = Sha256::digest(content);
    let hash = hex::encode(hash.get(..TAG_BYTES).unwrap_or_default());
    format!("W/\"{hash}\"")
}

/// Whether `If-None-Match` names the tag, or `*`: anything that is there.
fn is_met(headers: &HeaderMap, tag: &str) -> bool {
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.trim() == "*" || tags(value).any(|named| named == opaque(tag)))
}

/// The tags of a list, without the mark of weak ones: both kinds are compared alike here. A comma may stand in a tag.
fn tags(list: &str) -> impl Iterator<Item = &str> {
    list.split('"').skip(1).step_by(2)
}

fn opaque(tag: &str) -> &str {
    tag.trim_start_matches("W/").trim_matches('"')
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn met(values: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::IF_NONE_MATCH, HeaderValue::from_str(value).unwrap());
        }
        is_met(&headers, "W/\"abc\"")
    }

    #[test]
    fn a_tag_is_found_alone_in_lists_and_by_the_star() {
        for values in [
            &["W/\"abc\""][..],
            &["\"abc\""],
            &["\"x\", W/\"abc\""],
            &["W/\"x\",\"abc\",W/\"y\""],
            &["\"a,b\" , \"abc\""],
            &["\"x\"", "W/\"abc\""],
            &["*"],
            &[" * "],
        ] {
            assert!(met(values), "{values:?}");
        }
        for values in [&[][..], &["\"x\""], &["abc"], &["\"abcd\""], &["\"ab\",\"c\""], &["\"*\""], &["W/\"x, abc\""]] {
            assert!(!met(values), "{values:?}");
        }
    }

    #[test]
    fn a_tag_follows_from_the_content_alone() {
        assert_eq!(entity_tag(&[1, 2]).unwrap(), entity_tag(&[1, 2]).unwrap());
        assert_ne!(entity_tag(&[1, 2]).unwrap(), entity_tag(&[2, 1]).unwrap());
        assert!(entity_tag(&"a").unwrap().starts_with("W/\""));
    }
}
