//! What has become of many messages, asked for at once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use serde::Serialize;
use utoipa::ToSchema;

use super::ApiState;
use super::access::Access;
use super::as_of::AsOf;
use super::cursor::Cursor;
use super::error::{ApiError, CommonProblems, ItemProblem, Problem};
use super::reader_page::{GroupMessageFacts, ReaderPage};
use super::readers::{ReaderList, asked_rosters};
use super::receipts_question::{Question, ReceiptsQuery, read_questions};
use super::singles::SingleMessageStatus;
use crate::event::Chat;
use crate::store::query::{Frontier, MessageFacts, RosterHistory, SingleMarks, SingleState, StoredMessage};

/// The answers, one an item, in the order of the items.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ReceiptsAnswer {
    items: Vec<ItemAnswer>,
}

/// What became of one item.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum ItemAnswer {
    /// A page of the readers of a group message, as its own path answers.
    Group(ReaderList),
    /// What has become of a message of a single chat, as its own path answers.
    Single(SingleMessageStatus),
    /// Why there is no answer; the other items have theirs.
    Refused {
        /// What the message's own path would have said.
        error: ItemProblem,
    },
}

/// Readers of up to 100 messages of groups, and the state of messages of single chats. Each item is answered as its own
/// path answers it, or with an error of its own; each with the freshness of its message's partition.
#[utoipa::path(
    post,
    path = "/v1/{org}/{app}/receipts/query",
    tag = "readers",
    params(
        ("org" = String, Path, description = "First half of the app's name."),
        ("app" = String, Path, description = "Second half of the app's name."),
    ),
    request_body(content = ReceiptsQuery, content_type = "application/json", example = json!({"items": [
        {"group": "g1", "message": "m1", "status": "all", "limit": 20}, {"single": ["alice", "bob"], "message": "s1"},
    ]})),
    responses(
        (status = 200, description = "An answer or an error for each item.", body = ReceiptsAnswer),
        CommonProblems,
        (status = 413, description = "The body is larger than `api.max_body_bytes` (`payload_too_large`).",
            body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "The body is not `application/json` (`unsupported_media_type`).", body = Problem,
            content_type = "application/problem+json"),
    ),
    security(("bearer" = []))
)]
pub(crate) async fn query_receipts(
    State(state): State<Arc<ApiState>>,
    access: Access,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<ReceiptsAnswer>, ApiError> {
    if !is_json(&headers) {
        return Err(ApiError::UnsupportedMediaType);
    }
    let questions: Vec<Result<Question, ApiError>> = read_questions(access.app(), &body)?
        .into_iter()
        .map(|question| question.and_then(|question| question.check_asker(&access).map(|()| question)))
        .collect();

    let asked: Vec<&Question> = questions.iter().filter_map(|question| question.as_ref().ok()).collect();
    let conversations: Vec<&str> = asked.iter().map(|question| question.key().conversation.as_str()).collect();
    let as_of = state.queries.conversation_frontiers(&conversations).await?;
    let keys: Vec<_> = asked.iter().map(|question| question.key().clone()).collect();
    let groups = asked.iter().zip(&as_of).filter_map(|(question, as_of)| match question {
        Question::Group { key, .. } => Some((key.conversation.as_str(), state.queries.complete_to(as_of.as_ref()))),
        Question::Single { .. } => None,
    });
    let groups: BTreeMap<&str, u64> = groups.collect();
    let of_chats = keys.iter().map(|key| key.conversation.as_str());
    let single_chats: BTreeSet<&str> = of_chats.filter(|conversation| !groups.contains_key(conversation)).collect();
    let (found, (), marks_ahead) = tokio::join!(
        state.queries.message_facts(&keys),
        state.queries.read_rosters_ahead(access.app(), &groups),
        state.queries.single_marks_ahead(access.app(), &single_chats),
    );
    let found = found?;
    let viewing = state.viewing(&access, found.values().map(|facts| &facts.message)).await?;
    let is_visible = |message: &&StoredMessage| viewing.check(&access, message).is_ok();
    let group_lists = asked.iter().zip(&as_of).filter_map(|(question, as_of)| match question {
        Question::Group { key, query, .. } => {
            let message = found.get(key).map(|facts| &facts.message).filter(is_visible)?;
            Some((message, query.status, state.queries.complete_to(as_of.as_ref())))
        }
        Question::Single { .. } => None,
    });
    let rosters = asked_rosters(group_lists);
    let messages = found.values().map(|facts| &facts.message).filter(is_visible);
    let singles: Vec<&StoredMessage> = messages.filter(|message| message.chat == Chat::Single).collect();
    let (rosters, marks) = tokio::try_join!(
        state.queries.rosters(access.app(), &rosters),
        state.queries.single_marks(access.app(), &singles, marks_ahead),
    )?;
    let surroundings = Surroundings { rosters, marks };

    let mut as_of = as_of.into_iter();
    let answer = |question: Result<Question, ApiError>| -> Result<ItemAnswer, ApiError> {
        let question = question?;
        let as_of = as_of.next().flatten();
        let facts = found.get(question.key()).ok_or(ApiError::NotFound)?;
        viewing.check(&access, &facts.message)?;
        surroundings.answer(facts, question, as_of)
    };
    let refused = |error: ApiError| ItemAnswer::Refused { error: error.item_problem() };
    let items = questions.into_iter().map(answer).map(|answer| answer.unwrap_or_else(refused)).collect();
    Ok(Json(ReceiptsAnswer { items }))
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    media_type.eq_ignore_ascii_case("application/json")
}

/// What it takes beside the facts of a message to answer.
struct Surroundings {
    rosters: HashMap<String, Arc<RosterHistory>>,
    marks: SingleMarks,
}

impl Surroundings {
    /// What is answered about one message.
    fn answer(
        &self,
        facts: &MessageFacts,
        question: Question,
        frontier: Option<Frontier>,
    ) -> Result<ItemAnswer, ApiError> {
        let MessageFacts { message, receipts, recall } = facts;
        let as_of = frontier.map(AsOf::from);
        match question {
            Question::Single { .. } => {
                let became = SingleState::of(message, receipts, *recall, self.marks.covering(message));
                Ok(ItemAnswer::Single(SingleMessageStatus::new(message, *recall, became, as_of)))
            }
            Question::Group { query, list, .. } => {
                let cursor = query.cursor.as_deref().map(|text| Cursor::decode(text, list)).transpose()?;
                let roster = self.rosters.get(&message.key.conversation).map(Arc::as_ref);
                let facts = GroupMessageFacts { message, recall: *recall, receipts, roster };
                Ok(ItemAnswer::Group(ReaderList { page: ReaderPage::of(&facts, &query, cursor)?, as_of }))
            }
        }
    }
}
