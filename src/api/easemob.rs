//! The vendor's own path for the readers of a group message, as its SDKs call it (WIRE.md section 1).
//!
//! What is not known here, was taken back or is not open for receipts is an empty list, never an error.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::as_of::AsOf;
use super::auth::Caller;
use super::conditional::set_as_of;
use super::description::VendorLimit;
use super::error::{ApiError, EasemobError};
use super::parameters::{MAX_LIMIT, MessagePath};
use crate::event::{AppId, ConversationKey, MAX_ID_BYTES, MessageId};
use crate::store::query::{GroupMessage, ReaderOrder, ReaderPosition, ReaderRow, ReaderSelection, Snapshot, Start};

/// The vendor's answer.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct AckAnswer {
    /// Always `group_read_ack`.
    action: &'static str,
    data: AckPage,
    /// When the request was taken, in ms since 1970.
    timestamp: i64,
    /// How long it took, in ms.
    duration: u64,
}

/// The page of readers in it.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub(crate) struct AckPage {
    /// The message's id.
    ackmid: String,
    /// Readers, the newest first.
    userlist: Vec<AckUser>,
    /// How many readers are retained.
    total: u64,
    /// Give it as `key` to get the next page; empty on the last one. A receipt id, followed by `/` and the reader where
    /// several readers' receipts have that id.
    next_key: String,
    /// Whether this is the last page.
    is_last: bool,
    /// When the answer was made, in ms since 1970.
    timestamp: i64,
}

/// A reader, in the form that `api.easemob_string_lists` chooses.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum AckUser {
    /// As the native clients read it.
    Object {
        /// Who.
        username: String,
        /// The id of his receipt.
        meta_id: String,
        /// When he read, in ms since 1970.
        timestamp: i64,
        /// Text sent along with the receipt.
        ack_content: String,
    },
    /// As the web SDK's typings say it.
    Name(String),
}

/// Paging as the native clients do it.
#[derive(Clone, Debug, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct AckQuery {
    /// How many in one answer; whatever is no number from 1 to 500 counts as 500.
    #[param(required = false, inline, value_type = VendorLimit)]
    pub(super) limit: usize,
    /// The receipt id to begin with, or receipt id, `/` and reader: the `next_key` of the page before. The word `undefined` counts as absent.
    pub(super) key: Option<String>,
}

impl AckQuery {
    /// Never fails: the vendor's clients send what they like, `limit=500&key=undefined&_v=…` among it.
    pub(super) fn parse(query: &str) -> Self {
        let mut limit = MAX_LIMIT;
        let mut key = None;
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match name.as_ref() {
                "limit" => {
                    limit = value.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit)).unwrap_or(MAX_LIMIT);
                }
                "key" => key = (!["", "undefined", "null"].contains(&value.as_ref())).then(|| value.into_owned()),
                _ => {}
            }
        }
        Self { limit, key }
    }
}

/// Readers of a group message, in the vendor's form.
#[utoipa::path(
    get,
    path = "/{org}/{app}/chatgroups/{group}/acks/{message}",
    tag = "easemob",
    params(MessagePath, AckQuery),
    responses(
        (status = 200, description = "A page of readers; empty where the message is not known or not open.",
            body = AckAnswer, headers(("seenby-as-of" = String, description = "As other answers' `as_of`, as JSON."))),
        (status = 400, description = "The path is no UTF-8.", body = EasemobError),
        (status = 401, description = "No known bearer token: the SDK's type 52.", body = EasemobError),
        (status = 403, description = "Only the sender may see it (60002): the SDK's type 603.", body = EasemobError),
        (status = 404, description = "Only members may see it (60003): the SDK's type 602.", body = EasemobError),
        (status = 429, description = "Too many requests: the SDK's type 50.", body = EasemobError),
        (status = 503, description = "The database does not answer in time: the SDK's type 500.", body = EasemobError),
    ),
    security(("bearer" = []))
)]
pub(crate) async fn list_acks(
    State(state): State<Arc<ApiState>>,
    Path(path): Path<MessagePath>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let started = Instant::now();
    let timestamp = super::now().millis();
    let caller = state.authenticate(&headers).await?;
    let query = AckQuery::parse(query.as_deref().unwrap_or_default());
    // Of whichever app: how far a partition is tells nothing of what is in it, and its absence would tell whose it is not.
    let as_of = state.queries.frontier(&path.conversation_key()).await?.map(AsOf::from);
    let page = state.ack_page(&caller, &path, &query).await?.unwrap_or_else(|| AckPage::empty(&path.message));
    let duration = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let mut response = Json(AckAnswer { action: "group_read_ack", data: page, timestamp, duration }).into_response();
    // The body is the vendor's.
    set_as_of(response.headers_mut(), as_of);
    Ok(response)
}

impl ApiState {
    /// The page; `None` where there is no such message for this caller, or it was taken back.
    async fn ack_page(
        &self,
        caller: &Caller,
        path: &MessagePath,
        query: &AckQuery,
    ) -> Result<Option<AckPage>, ApiError> {
        let app = path.app_id();
        if caller.app != app || !path.may_exist() {
            // Another app's data answers exactly like data that is not there.
            return Ok(None);
        }
        let conversation = path.conversation_key();
        let found = self
            .queries
            .message(AppId::trusted(&app), ConversationKey::trusted(&conversation), MessageId::trusted(&path.message))
            .await?;
        let Some(message) = found else { return Ok(None) };
        self.check_viewer(caller, &message).await?;
        if self.queries.recalled_at(&message).await?.is_some() {
            return Ok(None);
        }

        let counts = self.queries.reader_counts(&message).await?;
        let start = match &query.key {
            None => Some(Start::First),
            Some(key) => match split_key(key) {
                Some((ack_id, user)) => {
                    self.queries.reader_by_ack_id(&message, ack_id, user).await?.map(|row| Start::At(row.position))
                }
                None => None,
            },
        };
        let mut rows = Vec::new();
        if let Some(start) = start {
            let floor = counts.floor.as_ref();
            let limit = query.limit + 1;
            let order = ReaderOrder::Newest;
            let selection = ReaderSelection { order, start, floor, snapshot: Snapshot::ALL, users: &[], limit };
            rows = self.queries.readers(&message, &selection).await?;
        }
        let next_key = match rows.get(query.limit) {
            Some(row) => Some(self.key_of(&message, &row.position).await?),
            None => None,
        };
        rows.truncate(query.limit);
        Ok(Some(AckPage {
            ackmid: message.id,
            userlist: rows.into_iter().map(|row| AckUser::new(row, self.easemob_string_lists)).collect(),
            total: counts.distinct.min(u64::from(message.reader_cap)),
            is_last: next_key.is_none(),
            next_key: next_key.unwrap_or_default(),
            timestamp: super::now().millis(),
        }))
    }
}

impl ApiState {
    /// The key of the page that begins with this reader. Clients choose receipt ids, so several readers may share one: a
    /// bare id would lead back to the newest of them, for ever.
    async fn key_of(&self, message: &GroupMessage, position: &ReaderPosition) -> Result<String, ApiError> {
        let ReaderPosition { ack_id, reader, .. } = position;
        let found = self.queries.reader_by_ack_id(message, ack_id, None).await?;
        let is_unambiguous = found.is_some_and(|row| row.position == *position);
        Ok(if is_unambiguous { ack_id.clone() } else { format!("{ack_id}/{reader}") })
    }
}

/// Receipt id and reader of a key; `/` stands in no id. `None` where either is longer than an id.
fn split_key(key: &str) -> Option<(&str, Option<&str>)> {
    let (ack_id, user) = key.split_once('/').map_or((key, None), |(ack_id, user)| (ack_id, Some(user)));
    let may_exist = ack_id.len().max(user.map_or(0, str::len)) <= MAX_ID_BYTES;
    may_exist.then_some((ack_id, user))
}

impl AckPage {
    fn empty(message: &str) -> Self {
        let timestamp = super::now().millis();
        Self { ackmid: message.to_owned(), is_last: true, timestamp, ..Self::default() }
    }
}

impl AckUser {
    fn new(row: ReaderRow, as_name: bool) -> Self {
        let username = row.position.reader;
        if as_name {
            return Self::Name(username);
        }
        Self::Object {
            username,
            meta_id: row.position.ack_id,
            timestamp: row.position.at,
            ack_content: row.content.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_sdks_send_is_understood() {
        let all = AckQuery { limit: 500, key: None };
        for query in ["", "limit=500&key=undefined&_v=1631774325918", "limit=abc", "limit=0&key=", "limit=501&key=null"]
        {
            assert_eq!(AckQuery::parse(query), all, "{query}");
        }
        assert_eq!(AckQuery::parse("limit=20&key=920022"), AckQuery { limit: 20, key: Some("920022".to_owned()) });
    }
}
