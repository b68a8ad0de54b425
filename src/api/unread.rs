//! What a user has not read, by conversation.

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
use crate::event::{Conversation, UserId};
use crate::store::query::UnreadConversation;

/// A page of a user's conversations with something unread.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct UnreadPage {
    /// By conversation; those without anything unread are left out, so that a page may be shorter than asked for, or
    /// empty, and not be the last.
    conversations: Vec<UnreadView>,
    /// Give it as `cursor` to get the next page; `null` on the last one.
    #[schema(required)]
    next_cursor: Option<String>,
    /// How far the answer is complete; `null` before the first flush of all.
    #[schema(required)]
    as_of: Option<AppAsOf>,
}

/// A conversation with something unread.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct UnreadView {
    /// `single` or `group`.
    chat: &'static str,
    /// The peer, or the group's id.
    to: String,
    /// Messages that the user has neither sent nor read, that nobody recalled, after his last conversation read; in
    /// groups whose roster is known, since he became a member.
    #[schema(minimum = 1)]
    unread: u64,
}

/// Which page.
#[derive(Clone, Debug, Default, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct UnreadQuery {
    /// How many conversations are looked through for one answer.
    #[param(required = false, minimum = 1, maximum = 500, default = 100)]
    limit: Option<usize>,
    /// The `next_cursor` of the page before.
    #[param(required = false, value_type = PageCursor)]
    cursor: Option<String>,
}

/// The JSON inside of a cursor.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    /// The list.
    l: String,
    /// The last conversation looked through.
    c: String,
}

/// What a user has not read, by conversation, single and group.
#[utoipa::path(
    get,
    path = "/v1/{org}/{app}/users/{user}/unread",
    tag = "users",
    params(UserPath, UnreadQuery),
    responses((status = 200, description = "A page of conversations.", body = UnreadPage), CommonProblems),
    security(("bearer" = []))
)]
pub(crate) async fn unread(
    State(state): State<Arc<ApiState>>,
    access: Access,
    InPath(path): InPath<UserPath>,
    RawQuery(query): RawQuery,
) -> Result<Json<UnreadPage>, ApiError> {
    access.require_one_of(&[&path.user])?;
    let query = UnreadQuery::parse(query.as_deref().unwrap_or_default())?;
    let list = ListFingerprint::of(["unread", access.app().as_str(), &path.user]);
    let after = query.cursor.as_deref().map(|text| decode(text, list)).transpose()?.unwrap_or_default();
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    let user = UserId::trusted(&path.user);

    let as_of = AppAsOf::of(&state.queries.frontiers().await?);
    let mut conversations = state.queries.conversations_of(access.app(), user, &after, limit + 1).await?;
    let has_more = conversations.len() > limit;
    conversations.truncate(limit);
    let found = state.queries.unread_conversations(access.app(), user, &conversations).await?;
    let last = conversations.last().filter(|_| has_more);
    Ok(Json(UnreadPage {
        conversations: found.into_iter().filter_map(|found| UnreadView::new(&path.user, found)).collect(),
        next_cursor: last.map(|last| encode(last, list)),
        as_of,
    }))
}

impl UnreadView {
    /// `None` for what is no conversation's key: none is ever written.
    fn new(user: &str, found: UnreadConversation) -> Option<Self> {
        let conversation = Conversation::parse(&found.conversation)?;
        let to = match conversation {
            Conversation::Group { group, .. } => group,
            Conversation::Single { first, second, .. } if first.as_str() == user => second.as_str(),
            Conversation::Single { first, .. } => first.as_str(),
        };
        Some(Self { chat: conversation.chat().name(), to: to.to_owned(), unread: found.unread })
    }
}

impl UnreadQuery {
    fn parse(query: &str) -> Result<Self, ApiError> {
        let mut read = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match name.as_ref() {
                "limit" => set_once(&mut read.limit, "limit", parse_limit(&value)?)?,
                "cursor" => set_once(&mut read.cursor, "cursor", value.into_owned())?,
                _ => return Err(unknown(&name, "limit and cursor")),
            }
        }
        Ok(read)
    }
}

fn encode(last: &str, list: ListFingerprint) -> String {
    let wire = Wire { l: list.to_hex(), c: last.to_owned() };
    // Texts always serialise.
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(&wire).unwrap_or_default())
}

fn decode(text: &str, list: ListFingerprint) -> Result<String, ApiError> {
    let json = URL_SAFE_NO_PAD.decode(text).ok();
    let wire: Option<Wire> = json.and_then(|json| serde_json::from_slice(&json).ok());
    wire.filter(|wire| wire.l == list.to_hex())
        .map(|wire| wire.c)
        .ok_or_else(|| invalid("cursor", "not a next_cursor of this user's conversations"))
}
