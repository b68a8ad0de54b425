//! Where the next page begins.
//!
//! A cursor is a position, not a count: (time, receipt id, user) among readers, a user among those who have not read.
//! Positions never change, so pages have no gap and no repeat while newer readers arrive. The last reader retained when
//! the list was first asked for travels along as the floor: readers whom newer ones push out between two pages are
//! still shown, so the pages together hold at least the list as it was at the first.
//!
//! Where those who have not read follow the readers (`status=all`), somebody may read between two pages and would then be
//! on none, or on two. There the latest receipt known at the first page travels along too, and the pages together are
//! exactly the list as it was at the first.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::error::ApiError;
use crate::store::query::{ReaderPosition, Snapshot};

/// A cursor read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cursor {
    /// Goes on after this reader.
    Readers {
        /// The last one shown.
        after: ReaderPosition,
        /// The last one retained at the first page; `None` where all were.
        floor: Option<ReaderPosition>,
        /// The receipts that the list knows.
        snapshot: Snapshot,
    },
    /// Goes on after this user among those who have not read.
    Unread {
        /// The last one shown; empty where the readers just ended.
        after_user: String,
        /// The receipts that the list knows.
        snapshot: Snapshot,
    },
}

/// Spells a position in a list that knows no other kind of cursor.
pub(crate) fn encode_position<P: Serialize>(position: &P, list: ListFingerprint) -> String {
    let wire = WireOf { l: list.to_hex(), p: position };
    // Numbers and texts always serialise.
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&wire).unwrap_or_default())
}

/// Reads back what [`encode_position`] spelled.
///
/// # Errors
/// [`ApiError::InvalidRequest`] for anything else, and for a cursor of another list.
pub(crate) fn decode_position<P: DeserializeOwned>(text: &str, list: ListFingerprint) -> Result<P, ApiError> {
    let json = URL_SAFE_NO_PAD.decode(text).ok();
    let wire: Option<WireOf<P>> = json.and_then(|json| serde_json::from_slice(&json).ok());
    wire.filter(|wire| wire.l == list.to_hex()).map(|wire| wire.p).ok_or_else(|| {
        ApiError::InvalidRequest("cursor: must be the next_cursor of a page of the same list".to_owned())
    })
}

/// The JSON inside of such a cursor.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireOf<P> {
    /// The list.
    l: String,
    /// The position.
    p: P,
}

/// Which list a cursor belongs to. One of another list would point anywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ListFingerprint([u8; 8]);

type WirePosition = (i64, String, String);

/// The JSON inside: short names, as it travels in every address.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    /// The list.
    l: String,
    /// The last reader shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    a: Option<WirePosition>,
    /// The floor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    f: Option<WirePosition>,
    /// The last user shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    u: Option<String>,
    /// The snapshot, where it is not of all receipts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    s: Option<u64>,
}

impl ListFingerprint {
    /// Of everything that makes a list what it is.
    pub(crate) fn of<'a>(parts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let digest: [u8; 32] = hash.finalize().into();
        let [a, b, c, d, e, f, g, h, ..] = digest;
        Self([a, b, c, d, e, f, g, h])
    }

    /// As it travels in cursors.
    pub(crate) fn to_hex(self) -> String {
        hex::encode(self.0)
    }
}

impl Cursor {
    /// The text that stands in `next_cursor`.
    pub(crate) fn encode(&self, list: ListFingerprint) -> String {
        let wire = |position: &ReaderPosition| (position.at, position.ack_id.clone(), position.reader.clone());
        let (after, floor, user, snapshot) = match self {
            Self::Readers { after, floor, snapshot } => (Some(wire(after)), floor.as_ref().map(wire), None, snapshot),
            Self::Unread { after_user, snapshot } => (None, None, Some(after_user.clone()), snapshot),
        };
        let version = (*snapshot != Snapshot::ALL).then(|| snapshot.version());
        let wire = Wire { l: hex::encode(list.0), a: after, f: floor, u: user, s: version };
        // Numbers and texts always serialise.
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&wire).unwrap_or_default())
    }

    /// Reads the text back.
    ///
    /// # Errors
    /// [`ApiError::InvalidRequest`] where it is none of ours, or of another list.
    pub(crate) fn decode(text: &str, list: ListFingerprint) -> Result<Self, ApiError> {
        let invalid = || ApiError::InvalidRequest("cursor: not a next_cursor of this list".to_owned());
        let json = URL_SAFE_NO_PAD.decode(text).map_err(|_| invalid())?;
        let wire: Wire = serde_json::from_slice(&json).map_err(|_| invalid())?;
        if wire.l != hex::encode(list.0) {
            return Err(invalid());
        }
        let position = |(at, ack_id, reader): WirePosition| ReaderPosition { at, ack_id, reader };
        let snapshot = wire.s.map_or(Snapshot::ALL, Snapshot::from_version);
        match (wire.a, wire.f, wire.u) {
            (Some(after), floor, None) => {
                Ok(Self::Readers { after: position(after), floor: floor.map(position), snapshot })
            }
            (None, None, Some(after_user)) => Ok(Self::Unread { after_user, snapshot }),
            _ => Err(invalid()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn positions() -> impl Strategy<Value = ReaderPosition> {
        (0..4_102_444_799_999_i64, ".{1,20}", ".{1,20}").prop_map(|(at, ack_id, reader)| ReaderPosition {
            at,
            ack_id,
            reader,
        })
    }

    fn cursors() -> impl Strategy<Value = Cursor> {
        prop_oneof![
            (positions(), proptest::option::of(positions()), any::<u64>()).prop_map(|(after, floor, version)| {
                Cursor::Readers { after, floor, snapshot: Snapshot::from_version(version) }
            }),
            (".{0,20}", any::<u64>()).prop_map(|(after_user, version)| {
                Cursor::Unread { after_user, snapshot: Snapshot::from_version(version) }
            }),
        ]
    }

    proptest! {
        #[test]
        fn a_cursor_reads_back_as_it_was(cursor in cursors()) {
            let list = ListFingerprint::of(["o#a", "g", "m"]);
            let text = cursor.encode(list);
            prop_assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
            prop_assert_eq!(Cursor::decode(&text, list).unwrap(), cursor);
        }

        #[test]
        fn no_text_breaks_the_reader(text in ".{0,60}") {
            prop_assert!(Cursor::decode(&text, ListFingerprint::of(["x"])).is_err());
        }
    }

    #[test]
    fn a_cursor_of_another_list_is_refused() {
        let cursor = Cursor::Unread { after_user: "u".to_owned(), snapshot: Snapshot::ALL };
        let text = cursor.encode(ListFingerprint::of(["ab", "c"]));
        assert!(Cursor::decode(&text, ListFingerprint::of(["a", "bc"])).is_err());
    }
}
