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
use super::access::Access;
use super::as_of::AsOf;
use super::auth::Caller;
use super::conditional::set_as_of;
use super::description::VendorLimit;
use super::error::{ApiError, EasemobError};
use super::parameters::{MAX_LIMIT, MessagePath};
use super::reader_page::KnownReaders;
use crate::event::EventTime;
use crate::fold::Outcome;
use crate::store::query::{MessageFacts, MessageKey, ReaderPosition, ReaderRow, StoredReceipt};

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
    let page = state.ack_page(caller, &path, &query).await?.unwrap_or_else(|| AckPage::empty(&path.message));
    let duration = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let mut response = Json(AckAnswer { action: "group_read_ack", data: page, timestamp, duration }).into_response();
    // The body is the vendor's.
    set_as_of(response.headers_mut(), as_of);
    Ok(response)
}

impl ApiState {
    /// The page; `None` where there is no such message for this caller, it is not open, or it was taken back. Only a list
    /// that is there has viewers.
    async fn ack_page(
        &self,
        caller: Caller,
        path: &MessagePath,
        query: &AckQuery,
    ) -> Result<Option<AckPage>, ApiError> {
        if !path.may_exist() {
            return Ok(None);
        }
        // Another app's data answers exactly like data that is not there.
        let Some(access) = Access::to(&path.app_id(), caller) else { return Ok(None) };
        let key = MessageKey { conversation: path.conversation_key(), message: path.message.clone() };
        let found = self.queries.message_facts(std::slice::from_ref(&key)).await?.remove(&key);
        let is_list = |facts: &MessageFacts| facts.message.status == Outcome::Opened && facts.recall.is_none();
        let Some(MessageFacts { message, receipts, .. }) = found.filter(is_list) else { return Ok(None) };
        self.viewing(&access, [&message]).await?.check(&access, &message)?;

        let readers = KnownReaders::new(&message, &receipts, EventTime::MAX);
        Ok(Some(AckPage::of(&readers, query, path.message.clone(), self.easemob_string_lists)))
    }
}

/// The place of the reader with this key among all readers, the newest first; of those who share a receipt id the newest
/// one, unless the key names another. Clients choose receipt ids.
fn place_of(readers: &[&StoredReceipt], key: &str) -> Option<usize> {
    let (ack_id, user) = key.split_once('/').map_or((key, None), |(ack_id, user)| (ack_id, Some(user)));
    readers.iter().position(|receipt| {
        let ReaderPosition { ack_id: own, reader, .. } = &receipt.row.position;
        own == ack_id && user.is_none_or(|user| user == reader)
    })
}

/// The key of the page that begins with the reader at a place. A bare receipt id that several share would lead back to
/// the newest of them, for ever.
fn key_of(readers: &[&StoredReceipt], place: usize) -> Option<String> {
    let ReaderPosition { ack_id, reader, .. } = &readers.get(place)?.row.position;
    let is_unambiguous = place_of(readers, ack_id) == Some(place);
    Some(if is_unambiguous { ack_id.clone() } else { format!("{ack_id}/{reader}") })
}

impl AckPage {
    /// A page of the readers retained; an empty last one where nobody has the key that it begins with.
    fn of(readers: &KnownReaders<'_>, query: &AckQuery, ackmid: String, as_names: bool) -> Self {
        let retained = readers.retained();
        let all = readers.newest_first();
        let start = query.key.as_deref().map_or(Some(0), |key| place_of(all, key)).unwrap_or(all.len());
        let end = start.saturating_add(query.limit).min(retained.len());
        let page = retained.get(start..end).unwrap_or_default();
        let next_key = if end < retained.len() { key_of(all, end) } else { None };
        Self {
            ackmid,
            userlist: page.iter().map(|receipt| AckUser::new(&receipt.row, as_names)).collect(),
            total: retained.len() as u64,
            is_last: next_key.is_none(),
            next_key: next_key.unwrap_or_default(),
            timestamp: super::now().millis(),
        }
    }

    fn empty(message: &str) -> Self {
        let timestamp = super::now().millis();
        Self { ackmid: message.to_owned(), is_last: true, timestamp, ..Self::default() }
    }
}

impl AckUser {
    fn new(row: &ReaderRow, as_name: bool) -> Self {
        let ReaderPosition { at, ack_id, reader } = &row.position;
        if as_name {
            return Self::Name(reader.clone());
        }
        Self::Object {
            username: reader.clone(),
            meta_id: ack_id.clone(),
            timestamp: *at,
            ack_content: row.content.clone().unwrap_or_default(),
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
