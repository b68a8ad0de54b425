//! Who has read a group message, and who has not.

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::ApiState;
use super::access::Access;
use super::as_of::AsOf;
use super::conditional;
use super::cursor::{Cursor, ListFingerprint};
use super::error::{ApiError, CommonProblems, Problem};
use super::parameters::{MessagePath, ReadStatus, ReadersQuery};
use crate::event::{ConversationKey, MessageId};
use crate::fold::Outcome;
use crate::store::query::{
    GroupMessage, ReaderCounts, ReaderPosition, ReaderRow, ReaderSelection, Snapshot, Start, UnreadSelection,
};

/// A page of the readers of a message.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ReaderList {
    message: MessageView,
    counts: CountsView,
    readers: Vec<ReaderView>,
    /// Give it as `cursor` to get the next page; `null` on the last one.
    next_cursor: Option<String>,
    /// How far the answer is complete; `null` before the first flush of the message's partition.
    as_of: Option<AsOf>,
}

/// The message.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct MessageView {
    /// Its id.
    id: String,
    /// The group's id.
    group: String,
    /// Who sent it.
    sender: String,
    /// When, in ms since 1970.
    sent_at: i64,
    /// `opened`; or why it is not: `not_requested`, `not_open`, `permission_denied`, `quota_exceeded`.
    receipts: &'static str,
    /// When it was taken back, in ms since 1970: always `null`, as a recalled message answers 410.
    recalled_at: Option<i64>,
}

/// How many have read, of how many.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct CountsView {
    /// Readers that are retained: the newest, at most as many as the app's policy said when the message was sent.
    retained: u64,
    /// Every reader.
    distinct: u64,
    /// Readers that newer ones pushed out of the list.
    evicted: u64,
    /// Whether any was.
    truncated: bool,
    /// Members when it was sent, without the sender; `null` where they were not known.
    audience: Option<u32>,
    /// Those of the audience who have not read; `null` where there is no known audience.
    unread: Option<u64>,
}

/// One user of the list.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ReaderView {
    /// Who.
    user: String,
    /// When he read, in ms since 1970; `null` where he has not.
    read_at: Option<i64>,
    /// The id of his receipt; `null` where he has not read.
    ack_id: Option<String>,
    /// Text sent along with the receipt.
    content: Option<String>,
    /// He has read, but newer readers pushed him out of the list. Absent where not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    evicted: bool,
}

/// Who has read a group message, and who has not.
#[utoipa::path(
    get,
    path = "/v1/{org}/{app}/groups/{group}/messages/{message}/readers",
    tag = "readers",
    params(
        MessagePath,
        ReadersQuery,
        ("if-none-match" = Option<String>, Header, description = "Tags of lists that the client has, or `*`."),
    ),
    responses(
        (status = 200, description = "A page of the list.", body = ReaderList, headers(
            ("etag" = String, description = "Tag of what the list says, apart from `as_of`."),
            ("seenby-as-of" = String, description = "`as_of` as JSON, also with 304."),
        )),
        (status = 304, description = "The list is as the tag in `If-None-Match` names it; `seenby-as-of` says as of when."),
        CommonProblems,
        (status = 409, description = "Who has not read is unknown (`audience_unknown`).", body = Problem,
            content_type = "application/problem+json"),
        (status = 410, description = "The message was taken back (`recalled`).", body = Problem,
            content_type = "application/problem+json"),
    ),
    security(("bearer" = []))
)]
pub(crate) async fn list_readers(
    State(state): State<Arc<ApiState>>,
    access: Access,
    path: MessagePath,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let query = ReadersQuery::parse(query.as_deref().unwrap_or_default())?;
    let fingerprint = fingerprint(&path, &query);
    let cursor = query.cursor.as_deref().map(|text| Cursor::decode(text, fingerprint)).transpose()?;

    let conversation = path.conversation_key();
    let as_of = state.queries.frontier(&conversation).await?.map(AsOf::from);
    let message = state
        .queries
        .message(access.app(), ConversationKey::trusted(&conversation), MessageId::trusted(&path.message))
        .await?
        .ok_or(ApiError::NotFound)?;
    state.check_viewer(access.caller(), &message).await?;
    if state.queries.recalled_at(&message).await?.is_some() {
        return Err(ApiError::Recalled);
    }
    if query.status == ReadStatus::Unread && message.audience.is_none() {
        return Err(ApiError::AudienceUnknown);
    }

    let (counts, unread) =
        tokio::try_join!(state.queries.reader_counts(&message), state.queries.unread_count(&message))?;
    let (readers, next) = state.page(&message, &query, &counts, cursor).await?;
    let retained = counts.distinct.min(u64::from(message.reader_cap));
    let list = ReaderList {
        counts: CountsView {
            retained,
            distinct: counts.distinct,
            evicted: counts.distinct - retained,
            truncated: counts.distinct > retained,
            audience: message.audience,
            unread,
        },
        message: MessageView::new(message, path.group),
        readers,
        next_cursor: next.map(|cursor| cursor.encode(fingerprint)),
        as_of,
    };
    let content = (&list.message, &list.counts, &list.readers, &list.next_cursor);
    conditional::answer(&headers, &content, as_of, &list).map_err(|error| {
        tracing::error!(%error, "a reader list cannot be written as JSON");
        ApiError::Internal
    })
}

/// Everything that makes a list what it is, but for where a page of it begins and ends.
fn fingerprint(path: &MessagePath, query: &ReadersQuery) -> ListFingerprint {
    let named = [&path.org, &path.app, &path.group, &path.message].map(String::as_str);
    let chosen = [query.status.name(), query.order.name()];
    ListFingerprint::of(named.into_iter().chain(chosen).chain(query.user.iter().map(String::as_str)))
}

impl ApiState {
    /// One page, and where the next begins. Readers come first; where they end and the rest is asked for too, those
    /// who have not read follow.
    async fn page(
        &self,
        message: &GroupMessage,
        query: &ReadersQuery,
        counts: &ReaderCounts,
        cursor: Option<Cursor>,
    ) -> Result<(Vec<ReaderView>, Option<Cursor>), ApiError> {
        // Users asked for by name are found among the evicted too.
        let first_floor = if query.user.is_empty() { counts.floor.clone() } else { None };
        // Who reads between two pages must stand on one side of a list of both.
        let first_snapshot = if query.status == ReadStatus::All { counts.snapshot } else { Snapshot::ALL };
        let (readers_from, mut after_user, snapshot) = match (cursor, query.status) {
            (None, ReadStatus::Read | ReadStatus::All) => {
                (Some((Start::First, first_floor)), String::new(), first_snapshot)
            }
            (None, ReadStatus::Unread) => (None, String::new(), first_snapshot),
            (Some(Cursor::Readers { after, floor, snapshot }), _) => {
                (Some((Start::After(after), floor)), String::new(), snapshot)
            }
            (Some(Cursor::Unread { after_user, snapshot }), _) => (None, after_user, snapshot),
        };

        let mut page = Vec::new();
        if let Some((start, floor)) = readers_from {
            let selection = ReaderSelection {
                order: query.order.into(),
                start,
                floor: floor.as_ref(),
                snapshot,
                users: &query.user,
                limit: query.limit + 1,
            };
            let mut rows = self.queries.readers(message, &selection).await?;
            let has_more = rows.len() > query.limit;
            rows.truncate(query.limit);
            let last = rows.last().map(|row| row.position.clone());
            page.extend(rows.into_iter().map(|row| ReaderView::read(row, counts.floor.as_ref())));
            if let Some(after) = last.filter(|_| has_more) {
                return Ok((page, Some(Cursor::Readers { after, floor, snapshot })));
            }
        }
        if query.status == ReadStatus::Read || message.audience.is_none() {
            return Ok((page, None));
        }

        let room = query.limit - page.len();
        let selection = UnreadSelection { after_user: &after_user, snapshot, users: &query.user, limit: room + 1 };
        let mut users = self.queries.unread(message, &selection).await?;
        let has_more = users.len() > room;
        users.truncate(room);
        if let Some(last) = users.last() {
            after_user.clone_from(last);
        }
        page.extend(users.into_iter().map(ReaderView::unread));
        Ok((page, has_more.then_some(Cursor::Unread { after_user, snapshot })))
    }
}

impl MessageView {
    fn new(message: GroupMessage, group: String) -> Self {
        let receipts = match message.status {
            Outcome::Stored => Outcome::NotRequested.name(),
            status => status.name(),
        };
        let GroupMessage { id, sender, sent_at, .. } = message;
        Self { id, group, sender, sent_at: sent_at.millis(), receipts, recalled_at: None }
    }
}

impl ReaderView {
    fn read(row: ReaderRow, floor: Option<&ReaderPosition>) -> Self {
        let evicted = floor.is_some_and(|floor| row.position < *floor);
        let ReaderPosition { at, ack_id, reader } = row.position;
        Self { user: reader, read_at: Some(at), ack_id: Some(ack_id), content: row.content, evicted }
    }

    fn unread(user: String) -> Self {
        Self { user, read_at: None, ack_id: None, content: None, evicted: false }
    }
}
