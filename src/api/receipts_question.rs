//! The items of a question about many messages: read one by one, so that a mistake in one leaves the others theirs.

use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::access::Access;
use super::cursor::{Cursor, ListFingerprint};
use super::description::{Id, PageCursor};
use super::error::ApiError;
use super::parameters::{DEFAULT_LIMIT, ListOrder, MAX_LIMIT, MAX_USERS, ReadStatus, ReadersQuery};
use super::query_string::{invalid, parse_id, parse_word};
use super::reader_page::fingerprint;
use super::singles::conversation_key;
use crate::event::{AppId, EventTime};
use crate::store::query::MessageKey;

/// The most items of one question.
const MAX_ITEMS: usize = 100;

/// Which messages, and what of them.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read by the derived description alone: items are read one by one")]
pub(crate) struct ReceiptsQuery {
    /// Answered in this order.
    #[schema(min_items = 1, max_items = 100)]
    items: Vec<ReceiptsItem>,
}

/// One message: of a group (`group`), or between two users (`single`).
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "as above")]
pub(crate) struct ReceiptsItem {
    /// The group that the message was sent to.
    #[schema(required = false, value_type = Option<Id>)]
    group: Option<String>,
    /// The two users between whom it was sent, in either order.
    #[schema(required = false, value_type = Option<Vec<Id>>, min_items = 2, max_items = 2)]
    single: Option<Vec<String>>,
    /// The message's id.
    #[schema(value_type = Id)]
    message: String,
    /// Whom the list holds; of a group, as everything that follows.
    #[schema(required = false, default = "read")]
    status: Option<ReadStatus>,
    /// Which reader comes first.
    #[schema(required = false, default = "newest")]
    order: Option<ListOrder>,
    /// How many in the answer.
    #[schema(required = false, minimum = 1, maximum = 500, default = 100)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before, whether it came from here or from the message's own path.
    #[schema(required = false, value_type = Option<PageCursor>)]
    cursor: Option<String>,
    /// Only these users; at most 500 in all items together.
    #[schema(required = false, value_type = Option<Vec<Id>>, max_items = 500)]
    users: Option<Vec<String>>,
    /// The list as it stood then, in ms since 1970.
    #[schema(required = false, minimum = 0, maximum = 4_102_444_799_999_i64)]
    as_of: Option<i64>,
}

/// An item understood.
#[derive(Clone, Debug)]
pub(crate) enum Question {
    /// The readers of a group message.
    Group {
        /// Which message.
        key: MessageKey,
        /// What of its readers.
        query: ReadersQuery,
        /// The list that its cursors belong to.
        list: ListFingerprint,
    },
    /// What has become of a message between two users.
    Single {
        /// Which message.
        key: MessageKey,
        /// The two.
        users: [String; 2],
    },
}

impl Question {
    /// The message asked for.
    pub(crate) fn key(&self) -> &MessageKey {
        match self {
            Self::Group { key, .. } | Self::Single { key, .. } => key,
        }
    }

    /// Refuses what a caller may not ask, whether there is such a message or not: of a single chat only its two users may
    /// know.
    ///
    /// # Errors
    /// [`ApiError::Forbidden`].
    pub(crate) fn check_asker(&self, access: &Access) -> Result<(), ApiError> {
        match self {
            // Who may see a group's message depends on the message.
            Self::Group { .. } => Ok(()),
            Self::Single { users: [one, other], .. } => access.require_one_of(&[one, other]),
        }
    }
}

/// Reads a body. Of each item that breaks a rule the refusal is returned, naming field and rule: `items[3].limit: …`.
///
/// # Errors
/// [`ApiError::InvalidRequest`] for the body as a whole: no JSON, no object, an unknown field, no items or too many.
pub(crate) fn read_questions(app: AppId<'_>, body: &[u8]) -> Result<Vec<Result<Question, ApiError>>, ApiError> {
    let body: Value =
        serde_json::from_slice(body).map_err(|error| invalid("body", &format!("must be JSON: {error}")))?;
    let Value::Object(mut fields) = body else { return Err(invalid("body", "must be a JSON object")) };
    let items = fields.remove("items");
    if let Some(unknown) = fields.keys().next() {
        return Err(invalid(unknown, "there is no such field; the known field is items"));
    }
    let Some(Value::Array(items)) = items else { return Err(invalid("items", "must be a list of 1 to 100 items")) };
    if items.is_empty() || items.len() > MAX_ITEMS {
        return Err(invalid("items", &format!("must be 1 to {MAX_ITEMS} items, got {}", items.len())));
    }

    let mut users_left = MAX_USERS;
    let read = |(index, item)| read_item(app, item, &mut users_left).map_err(|error| in_item(index, error));
    Ok(items.into_iter().enumerate().map(read).collect())
}

/// Puts the place of the item in front of what is wrong with it.
fn in_item(index: usize, error: ApiError) -> ApiError {
    match error {
        ApiError::InvalidRequest(detail) if detail.starts_with(ITEM) => {
            ApiError::InvalidRequest(format!("items[{index}]{}", detail.trim_start_matches(ITEM)))
        }
        ApiError::InvalidRequest(detail) => ApiError::InvalidRequest(format!("items[{index}].{detail}")),
        other => other,
    }
}

/// Stands for the item itself in refusals.
const ITEM: &str = "item";

fn read_item(app: AppId<'_>, item: Value, users_left: &mut usize) -> Result<Question, ApiError> {
    let Value::Object(mut fields) = item else { return Err(invalid(ITEM, "must be an object")) };
    let message = match fields.remove("message") {
        Some(message) => id("message", message)?,
        None => return Err(invalid("message", "must be there")),
    };
    let question = match (optional(&mut fields, "group"), optional(&mut fields, "single")) {
        (Some(group), None) => {
            let conversation = format!("{}/g/{}", app.as_str(), id("group", group)?);
            let key = MessageKey { conversation, message };
            let query = read_list(&mut fields, users_left)?;
            let list = fingerprint(&key.conversation, &key.message, &query);
            // A cursor of another list is this item's mistake, whether or not there is such a message.
            query.cursor.as_deref().map(|cursor| Cursor::decode(cursor, list)).transpose()?;
            Question::Group { key, query, list }
        }
        (None, Some(single)) => {
            let users = two_users(single)?;
            let [one, other] = &users;
            Question::Single { key: MessageKey { conversation: conversation_key(app, one, other), message }, users }
        }
        (Some(_), Some(_)) | (None, None) => return Err(invalid(ITEM, "must have either group or single")),
    };
    match (fields.keys().next(), &question) {
        (None, _) => Ok(question),
        (Some(unknown), Question::Single { .. }) => {
            Err(invalid(unknown, "there is no such field of a single chat's message; known are single and message"))
        }
        (Some(unknown), Question::Group { .. }) => Err(invalid(
            unknown,
            "there is no such field; known are group, single, message, status, order, limit, cursor, users and as_of",
        )),
    }
}

/// What an item says of the list that it wants; every field may be absent, or null.
fn read_list(fields: &mut Map<String, Value>, users_left: &mut usize) -> Result<ReadersQuery, ApiError> {
    let status = optional(fields, "status")
        .map(|value| parse_word("status", &text("status", value)?, &ReadStatus::WORDS))
        .transpose()?;
    let order = optional(fields, "order")
        .map(|value| parse_word("order", &text("order", value)?, &ListOrder::WORDS))
        .transpose()?;
    let limit = optional(fields, "limit").map(|value| integer("limit", &value, 1, MAX_LIMIT as i64)).transpose()?;
    let cursor = optional(fields, "cursor").map(|value| text("cursor", value)).transpose()?;
    let as_of = optional(fields, "as_of")
        .map(|value| integer("as_of", &value, 0, EventTime::MAX.millis()).map(EventTime::from_millis))
        .transpose()?;
    let mut user = match optional(fields, "users") {
        Some(users) => list_of_ids("users", users)?,
        None => Vec::new(),
    };
    user.sort_unstable();
    user.dedup();
    *users_left = users_left
        .checked_sub(user.len())
        .ok_or_else(|| invalid("users", "at most 500 users can be asked for in all items together"))?;
    Ok(ReadersQuery {
        status: status.unwrap_or_default(),
        order: order.unwrap_or_default(),
        limit: limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(DEFAULT_LIMIT),
        cursor,
        user,
        as_of,
    })
}

/// A field that is there and not null.
fn optional(fields: &mut Map<String, Value>, field: &str) -> Option<Value> {
    fields.remove(field).filter(|value| !value.is_null())
}

fn text(field: &str, value: Value) -> Result<String, ApiError> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err(invalid(field, "must be a string")),
    }
}

fn id(field: &str, value: Value) -> Result<String, ApiError> {
    parse_id(field, &text(field, value)?)
}

fn integer(field: &str, value: &Value, least: i64, most: i64) -> Result<i64, ApiError> {
    let number = value.as_i64().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| invalid(field, &format!("must be an integer from {least} to {most}")))
}

fn list_of_ids(field: &str, value: Value) -> Result<Vec<String>, ApiError> {
    let Value::Array(ids) = value else { return Err(invalid(field, "must be a list of strings")) };
    ids.into_iter().enumerate().map(|(index, value)| id(&format!("{field}[{index}]"), value)).collect()
}

fn two_users(value: Value) -> Result<[String; 2], ApiError> {
    <[String; 2]>::try_from(list_of_ids("single", value)?)
        .map_err(|_| invalid("single", "must be the two users between whom the message was sent"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

    use serde_json::json;

    use super::*;

    const APP: AppId<'static> = AppId::trusted("o#a");

    fn read(body: &Value) -> Vec<Result<Question, ApiError>> {
        read_questions(APP, body.to_string().as_bytes()).unwrap()
    }

    fn refusal(item: &Value) -> String {
        let good = json!({"group": "g", "message": "m"});
        match read(&json!({"items": [good, item]})).remove(1) {
            Err(ApiError::InvalidRequest(detail)) => detail,
            other => panic!("{item}: {other:?}"),
        }
    }

    #[test]
    fn an_item_says_what_the_path_and_its_parameters_say() {
        let read = read(&json!({"items": [
            {"group": "g", "message": "m"},
            {"single": ["zoe", "adam"], "message": "m"},
            {"group": "g", "message": "m", "status": "all", "order": "oldest", "limit": 7, "users": ["b", "a", "b"],
             "as_of": 12, "cursor": null},
        ]}));
        let [Ok(group), Ok(single), Ok(chosen)] = read.as_slice() else { panic!("{read:?}") };
        assert_eq!(group.key().conversation, "o#a/g/g");
        assert_eq!(single.key().conversation, "o#a/u/adam/zoe");
        let Question::Group { query, .. } = chosen else { panic!("{chosen:?}") };
        let path = ReadersQuery::parse("status=all&order=oldest&limit=7&user=b&user=a&as_of=12").unwrap();
        assert_eq!(*query, path);
    }

    #[test]
    fn a_broken_item_is_named_with_its_field_and_does_not_break_the_others() {
        for (item, place) in [
            (json!(7), "items[1]: "),
            (json!({"message": "m"}), "items[1]: "),
            (json!({"group": "g", "single": ["a", "b"], "message": "m"}), "items[1]: "),
            (json!({"group": "g"}), "items[1].message: "),
            (json!({"group": 7, "message": "m"}), "items[1].group: "),
            (json!({"group": "", "message": "m"}), "items[1].group: "),
            (json!({"group": "g".repeat(129), "message": "m"}), "items[1].group: must be at most 128 bytes"),
            (json!({"group": "g", "message": "m".repeat(300_000)}), "items[1].message: must be at most 128 bytes"),
            (
                json!({"group": "g", "message": "m", "users": ["u", "u".repeat(129)]}),
                "items[1].users[1]: must be at most",
            ),
            (
                json!({"single": ["a", "b".repeat(129)], "message": "m"}),
                "items[1].single[1]: must be at most 128 bytes",
            ),
            (json!({"single": ["a"], "message": "m"}), "items[1].single: "),
            (json!({"single": ["a", 7], "message": "m"}), "items[1].single[1]: "),
            (json!({"single": ["a", "b"], "message": "m", "limit": 7}), "items[1].limit: "),
            (json!({"group": "g", "message": "m", "limit": 0}), "items[1].limit: "),
            (json!({"group": "g", "message": "m", "limit": 501}), "items[1].limit: "),
            (json!({"group": "g", "message": "m", "limit": 1.5}), "items[1].limit: "),
            (json!({"group": "g", "message": "m", "status": "seen"}), "items[1].status: "),
            (json!({"group": "g", "message": "m", "order": 1}), "items[1].order: "),
            (json!({"group": "g", "message": "m", "cursor": "nonsense"}), "items[1].cursor: "),
            (json!({"group": "g", "message": "m", "as_of": -1}), "items[1].as_of: "),
            (json!({"group": "g", "message": "m", "limt": 1}), "items[1].limt: "),
        ] {
            let refusal = refusal(&item);
            assert!(refusal.starts_with(place), "{item}: {refusal}");
        }
    }

    #[test]
    fn five_hundred_users_may_be_named_in_all_items_together() {
        let names = |count: usize| (0..count).map(|number| format!("u{number}")).collect::<Vec<_>>();
        let item = |count| json!({"group": "g", "message": "m", "users": names(count)});
        let read = read(&json!({"items": [item(300), item(200), item(1), item(0)]}));
        assert_eq!(read.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, true, false, true]);
    }

    #[test]
    fn a_body_that_cannot_have_answers_is_refused_as_a_whole() {
        let item = json!({"group": "g", "message": "m"});
        for body in [
            "".to_owned(),
            "{".to_owned(),
            "[]".to_owned(),
            "{}".to_owned(),
            json!({"items": []}).to_string(),
            json!({"items": {}}).to_string(),
            json!({"items": vec![item.clone(); 101]}).to_string(),
            json!({"items": [item], "limit": 7}).to_string(),
        ] {
            assert!(matches!(read_questions(APP, body.as_bytes()), Err(ApiError::InvalidRequest(_))), "{body}");
        }
        let most = json!({"items": vec![item; 100]});
        assert_eq!(read(&most).len(), 100);
    }
}
