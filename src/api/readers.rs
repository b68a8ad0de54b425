//! Who has read a group message, and who has not.

use std::collections::BTreeMap;
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
use super::cursor::Cursor;
use super::error::{ApiError, CommonProblems, Problem};
use super::in_path::InPath;
use super::parameters::{MessagePath, ReadStatus, ReadersQuery};
use super::reader_page::{GroupMessageFacts, ReaderPage, fingerprint};
use crate::store::query::{AskedRoster, MessageFacts, MessageKey, StoredMessage};

/// A page of the readers of a message.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ReaderList {
    #[serde(flatten)]
    pub(crate) page: ReaderPage,
    /// How far the answer is complete; `null` before the first flush of the message's partition.
    #[schema(required)]
    pub(crate) as_of: Option<AsOf>,
}

/// Who has read a group message, and who has not; now, or as of a time.
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
    InPath(path): InPath<MessagePath>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let query = ReadersQuery::parse(query.as_deref().unwrap_or_default())?;
    let conversation = path.conversation_key();
    let fingerprint = fingerprint(&conversation, &path.message, &query);
    let cursor = query.cursor.as_deref().map(|text| Cursor::decode(text, fingerprint)).transpose()?;

    let frontier = state.queries.frontier(&conversation).await?;
    let complete_to = state.queries.complete_to(frontier.as_ref());
    let as_of = frontier.map(AsOf::from);
    let key = MessageKey { conversation, message: path.message };
    let group = BTreeMap::from([(key.conversation.as_str(), complete_to)]);
    let (found, ()) = tokio::join!(
        state.queries.message_facts(std::slice::from_ref(&key)),
        state.queries.read_rosters_ahead(access.app(), &group),
    );
    let mut found = found?;
    let MessageFacts { message, receipts, recall } = found.remove(&key).ok_or(ApiError::NotFound)?;
    state.viewing(&access, [&message]).await?.check(&access, &message)?;

    let rosters = asked_rosters([(&message, query.status, complete_to)]);
    let rosters = state.queries.rosters(access.app(), &rosters).await?;
    let facts = GroupMessageFacts {
        message: &message,
        recall,
        receipts: &receipts,
        roster: rosters.get(&message.key.conversation).map(Arc::as_ref),
    };
    let list = ReaderList { page: ReaderPage::of(&facts, &query, cursor)?, as_of };
    conditional::answer(&headers, &list.page, as_of, &list).map_err(|error| {
        tracing::error!(%error, "a reader list cannot be written as JSON");
        ApiError::Internal
    })
}

/// What of which groups' histories is needed to say who has not read these messages: who was asked to, and in lists of those
/// who have not, who has left since. A message comes with where the rows of its partition are complete.
pub(crate) fn asked_rosters<'a>(
    messages: impl IntoIterator<Item = (&'a StoredMessage, ReadStatus, u64)>,
) -> BTreeMap<&'a str, AskedRoster> {
    let mut rosters: BTreeMap<&str, AskedRoster> = BTreeMap::new();
    for (message, status, complete_to) in messages {
        if message.audience.is_none() {
            continue;
        }
        let needed_to = match status {
            ReadStatus::Read => message.place,
            ReadStatus::Unread | ReadStatus::All => message.place.max(complete_to),
        };
        let asked = AskedRoster { needed_to, complete_to };
        let of_group = rosters.entry(&message.key.conversation).or_insert(asked);
        *of_group = of_group.and(asked);
    }
    rosters
}
