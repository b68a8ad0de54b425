//! Whether a message of a single chat was delivered and read, and when.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::access::Access;
use super::as_of::AsOf;
use super::error::{ApiError, CommonProblems};
use super::in_path::InPath;
use crate::event::{AppId, Conversation, EventTime, UserId};
use crate::store::query::{MessageFacts, MessageKey, ReadSource, SingleState, StoredMessage, StoredRecall};

/// What has become of a message of a single chat.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct SingleMessageStatus {
    message: SingleMessageView,
    /// The furthest it came: `read` where it was read, also where its delivery was never reported.
    state: SingleMessageState,
    /// When it was sent, in ms since 1970.
    sent_at: i64,
    /// When its delivery was reported, in ms since 1970; `null` also where it was read without that.
    #[schema(required)]
    delivered_at: Option<i64>,
    /// When it was read, in ms since 1970: by its own receipt, or at the time of the mark that read it.
    #[schema(required)]
    read_at: Option<i64>,
    /// By what it was read.
    #[schema(required)]
    read_source: Option<ReadSourceName>,
    /// From sending to delivery, in ms; 0 where clocks say it was delivered before.
    #[schema(required)]
    delivered_after_ms: Option<i64>,
    /// From sending to reading, in ms; 0 where clocks say it was read before.
    #[schema(required)]
    read_after_ms: Option<i64>,
    counts: SingleCounts,
    /// How far the answer is complete; `null` before the first flush of the message's partition.
    #[schema(required)]
    as_of: Option<AsOf>,
}

/// The message.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct SingleMessageView {
    /// Its id.
    id: String,
    /// Who sent it.
    sender: String,
    /// To whom.
    recipient: String,
    /// When, in ms since 1970.
    sent_at: i64,
    /// When it was taken back, in ms since 1970; `null` where it was not.
    #[schema(required)]
    recalled_at: Option<i64>,
}

/// How far a message came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SingleMessageState {
    /// Stored, no more is known.
    Sent,
    /// Reached its recipient.
    Delivered,
    /// Read by its recipient, and so delivered.
    Read,
}

/// By what a message was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ReadSourceName {
    /// A receipt of this message.
    Message,
    /// A mark that the conversation was read up to some time.
    Conversation,
}

/// How many of the one recipient.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct SingleCounts {
    /// Recipients that it reached: 0 or 1. Reading implies it.
    #[schema(minimum = 0, maximum = 1)]
    delivered: u8,
    /// Recipients who read it: 0 or 1.
    #[schema(minimum = 0, maximum = 1)]
    read: u8,
}

/// The message that a path names.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct SingleMessagePath {
    /// First half of the app's name.
    #[expect(dead_code, reason = "the caller's access knows it; here it is described")]
    org: String,
    /// Second half of the app's name.
    #[expect(dead_code, reason = "as above")]
    app: String,
    /// One of the two users.
    a: String,
    /// The other one; the order does not matter.
    b: String,
    /// The message's id.
    message: String,
}

/// Whether a message between two users was delivered and read, when, and by what. A message that was taken back is
/// answered, too: `recalled_at` says so, and what became of it before stays as it was.
#[utoipa::path(
    get,
    path = "/v1/{org}/{app}/singles/{a}/{b}/messages/{message}",
    tag = "singles",
    params(SingleMessagePath),
    responses(
        (status = 200, description = "What has become of the message.", body = SingleMessageStatus),
        CommonProblems,
    ),
    security(("bearer" = []))
)]
pub(crate) async fn single_message(
    State(state): State<Arc<ApiState>>,
    access: Access,
    InPath(path): InPath<SingleMessagePath>,
    RawQuery(query): RawQuery,
) -> Result<Json<SingleMessageStatus>, ApiError> {
    if let Some((name, _)) = form_urlencoded::parse(query.unwrap_or_default().as_bytes()).next() {
        return Err(ApiError::InvalidRequest(format!("{name}: there is no such parameter; this path takes none")));
    }
    access.require_one_of(&[&path.a, &path.b])?;

    let conversation = conversation_key(access.app(), &path.a, &path.b);
    let as_of = state.queries.frontier(&conversation).await?.map(AsOf::from);
    let key = MessageKey { conversation, message: path.message };
    let single_chat = BTreeSet::from([key.conversation.as_str()]);
    let (found, marks_ahead) = tokio::join!(
        state.queries.message_facts(std::slice::from_ref(&key)),
        state.queries.single_marks_ahead(access.app(), &single_chat),
    );
    let MessageFacts { message, receipts, recall } = found?.remove(&key).ok_or(ApiError::NotFound)?;
    let marks = state.queries.single_marks(access.app(), &[&message], marks_ahead).await?;
    let became = SingleState::of(&message, &receipts, recall, marks.covering(&message));
    Ok(Json(SingleMessageStatus::new(&message, recall, became, as_of)))
}

/// Key of the conversation of two users, in either order.
pub(crate) fn conversation_key(app: AppId<'_>, one: &str, other: &str) -> String {
    Conversation::single(app, UserId::trusted(one), UserId::trusted(other)).to_string()
}

impl SingleMessageStatus {
    /// What is told of a message.
    pub(crate) fn new(
        message: &StoredMessage,
        recall: Option<StoredRecall>,
        became: SingleState,
        as_of: Option<AsOf>,
    ) -> Self {
        let SingleState { delivered_at, read } = became;
        let state = match (read, delivered_at) {
            (Some(_), _) => SingleMessageState::Read,
            (None, Some(_)) => SingleMessageState::Delivered,
            (None, None) => SingleMessageState::Sent,
        };
        let after = |at: EventTime| at.since(message.sent_at).max(0);
        Self {
            state,
            sent_at: message.sent_at.millis(),
            delivered_at: delivered_at.map(EventTime::millis),
            read_at: read.map(|(at, _)| at.millis()),
            read_source: read.map(|(_, source)| source.into()),
            delivered_after_ms: delivered_at.map(after),
            read_after_ms: read.map(|(at, _)| after(at)),
            counts: SingleCounts {
                delivered: u8::from(state != SingleMessageState::Sent),
                read: u8::from(state == SingleMessageState::Read),
            },
            message: SingleMessageView {
                id: message.key.message.clone(),
                sender: message.sender.clone(),
                recipient: message.recipient.clone(),
                sent_at: message.sent_at.millis(),
                recalled_at: recall.map(|recall| recall.at.millis()),
            },
            as_of,
        }
    }
}

impl From<ReadSource> for ReadSourceName {
    fn from(source: ReadSource) -> Self {
        match source {
            ReadSource::Message => Self::Message,
            ReadSource::Conversation => Self::Conversation,
        }
    }
}
