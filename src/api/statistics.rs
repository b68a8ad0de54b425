//! What changed for a sender's group messages: what a gateway hands to his client as `onStatisticMessage` (WIRE.md
//! section 2).
//!
//! `since` is a position in the log, an offset a partition, never a time: whatever was told lies in front of it, whatever
//! was not lies behind. So nothing is told twice that has not changed again, and nothing is left out.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::access::Access;
use super::as_of::AppAsOf;
use super::cursor::ListFingerprint;
use super::description::PageCursor;
use super::error::{ApiError, CommonProblems};
use super::in_path::{InPath, UserPath};
use super::parameters::{DEFAULT_LIMIT, parse_limit};
use super::query_string::{invalid, set_once, unknown};
use crate::event::{Conversation, Epoch, UserId};
use crate::store::query::{CountChange, Frontiers, LogPosition};

/// In place of a cursor: nothing that has been so far.
const NOW: &str = "now";

/// What changed for a sender's group messages.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Statistics {
    /// Each message once, with its count of now: what the vendor's clients find in `onStatisticMessage`.
    group_ack: Vec<GroupAck>,
    /// Give it as `since` to get what changes from here on; it stays good for ever.
    cursor: String,
    /// Whether more has changed already than this answer holds: ask again at once.
    has_more: bool,
    /// How far the answer is complete; `null` before the first flush of all.
    #[schema(required)]
    as_of: Option<AppAsOf>,
}

/// A message whose count changed, under both names of each field that public clients read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GroupAck {
    /// The message's id.
    mid: String,
    /// Everybody who has read it.
    count: u32,
    /// The message's id.
    msg_id: String,
    /// Everybody who has read it.
    read_count: u32,
    /// The group's id.
    group: String,
}

/// From where on changes are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct StatisticsQuery {
    /// The `cursor` of the answer before; the word `now` for a cursor without what has been so far. Absent: everything
    /// that is kept.
    #[param(required = false, value_type = PageCursor)]
    since: Option<String>,
    /// How many messages in one answer.
    #[param(required = false, minimum = 1, maximum = 500, default = 100)]
    limit: Option<usize>,
}

/// The JSON inside of a cursor: short names, as it travels in addresses.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    /// The list.
    l: String,
    /// The generation of the log.
    e: u16,
    /// The offsets by partition.
    o: Vec<u64>,
}

/// What changed for a sender's group messages since a cursor.
#[utoipa::path(
    get,
    path = "/v1/{org}/{app}/users/{user}/statistics",
    tag = "users",
    params(UserPath, StatisticsQuery),
    responses((status = 200, description = "What changed, and where to go on.", body = Statistics), CommonProblems),
    security(("bearer" = []))
)]
pub(crate) async fn statistics(
    State(state): State<Arc<ApiState>>,
    access: Access,
    InPath(path): InPath<UserPath>,
    RawQuery(query): RawQuery,
) -> Result<Json<Statistics>, ApiError> {
    access.require_one_of(&[&path.user])?;
    let query = StatisticsQuery::parse(query.as_deref().unwrap_or_default())?;
    let list = ListFingerprint::of(["statistics", access.app().as_str(), &path.user]);
    let cursor = match query.since.as_deref() {
        None | Some(NOW) => None,
        Some(text) => Some(decode(text, list)?),
    };

    let frontiers = state.queries.frontiers().await?;
    let as_of = AppAsOf::of(&frontiers);
    if query.since.as_deref() == Some(NOW) {
        let cursor = encode(&LogPosition::of(&frontiers), list);
        return Ok(Json(Statistics { group_ack: Vec::new(), cursor, has_more: false, as_of }));
    }
    let since = cursor.unwrap_or_default();
    check_generation(&since, &frontiers)?;
    let sender = UserId::trusted(&path.user);
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    let found = state.queries.count_changes(access.app(), sender, &since, &frontiers, limit).await?;
    Ok(Json(Statistics {
        group_ack: found.changes.into_iter().map(GroupAck::from).collect(),
        cursor: encode(&found.reached, list),
        has_more: found.has_more,
        as_of,
    }))
}

impl From<CountChange> for GroupAck {
    fn from(change: CountChange) -> Self {
        let CountChange { conversation, message, distinct_readers } = change;
        let group = match Conversation::parse(&conversation) {
            Some(Conversation::Group { group, .. }) => group.to_owned(),
            _ => String::new(),
        };
        Self { mid: message.clone(), count: distinct_readers, msg_id: message, read_count: distinct_readers, group }
    }
}

impl StatisticsQuery {
    fn parse(query: &str) -> Result<Self, ApiError> {
        let mut read = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match name.as_ref() {
                "since" => set_once(&mut read.since, "since", value.into_owned())?,
                "limit" => set_once(&mut read.limit, "limit", parse_limit(&value)?)?,
                _ => return Err(unknown(&name, "since and limit")),
            }
        }
        Ok(read)
    }
}

fn encode(position: &LogPosition, list: ListFingerprint) -> String {
    let wire = Wire { l: list.to_hex(), e: position.epoch.get(), o: position.offsets.clone() };
    // Numbers and texts always serialise.
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&wire).unwrap_or_default())
}

fn decode(text: &str, list: ListFingerprint) -> Result<LogPosition, ApiError> {
    let json = URL_SAFE_NO_PAD.decode(text).ok();
    let wire: Option<Wire> = json.and_then(|json| serde_json::from_slice(&json).ok());
    wire.filter(|wire| wire.l == list.to_hex())
        .map(|wire| LogPosition { epoch: Epoch::new(wire.e), offsets: wire.o })
        .ok_or_else(|| invalid("since", "not a cursor of this user's statistics; nor is it the word now"))
}

/// A cursor of a log that this service does not know would hide changes.
fn check_generation(since: &LogPosition, frontiers: &Frontiers) -> Result<(), ApiError> {
    let is_of_later = since.epoch > frontiers.epoch;
    let has_more_partitions = since.epoch == frontiers.epoch && since.offsets.len() > frontiers.partitions.len();
    if is_of_later || has_more_partitions {
        return Err(invalid("since", "a cursor of another log than the one in use (kafka.epoch)"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_cursor_comes_back_as_it_was_and_belongs_to_one_user() {
        let of = |user| ListFingerprint::of(["statistics", "o#a", user]);
        let position = LogPosition { epoch: Epoch::new(3), offsets: vec![0, 17, 1 << 47] };
        let text = encode(&position, of("alice"));
        assert_eq!(decode(&text, of("alice")), Ok(position));
        for (text, user) in [(text.as_str(), "bob"), ("", "alice"), ("e30", "alice"), ("1772366400000", "alice")] {
            assert!(decode(text, of(user)).is_err(), "{text} of {user}");
        }
    }

    #[test]
    fn a_cursor_of_a_log_that_is_not_there_is_refused() {
        let frontiers = Frontiers { epoch: Epoch::new(2), partitions: vec![None, None] };
        let position = |epoch, offsets: &[u64]| LogPosition { epoch: Epoch::new(epoch), offsets: offsets.to_vec() };
        assert_eq!(check_generation(&position(2, &[1, 2]), &frontiers), Ok(()));
        assert_eq!(check_generation(&position(1, &[1, 2, 3]), &frontiers), Ok(()));
        assert!(check_generation(&position(2, &[1, 2, 3]), &frontiers).is_err());
        assert!(check_generation(&position(3, &[]), &frontiers).is_err());
    }
}
