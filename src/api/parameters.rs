//! What stands in paths and query strings.

use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::description::{Id, PageCursor};
use super::error::ApiError;
use super::query_string::{invalid, parse_id, parse_integer, parse_time, parse_word, set_once, unknown};
use crate::event::{EventTime, MAX_ID_BYTES};

/// The most readers in one answer.
pub(crate) const MAX_LIMIT: usize = 500;

/// The most users that one request may ask for by name.
pub(crate) const MAX_USERS: usize = 500;

/// Readers in one answer where nothing is said.
pub(crate) const DEFAULT_LIMIT: usize = 100;

/// The message that a path names.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct MessagePath {
    /// First half of the app's name.
    pub(crate) org: String,
    /// Second half of the app's name.
    pub(crate) app: String,
    /// The group's id.
    pub(crate) group: String,
    /// The message's id.
    pub(crate) message: String,
}

impl MessagePath {
    /// The app: `org#name`.
    pub(crate) fn app_id(&self) -> String {
        format!("{}#{}", self.org, self.app)
    }

    /// Key of the group's conversation.
    pub(crate) fn conversation_key(&self) -> String {
        format!("{}#{}/g/{}", self.org, self.app, self.group)
    }

    /// Whether group and message are no longer than ids are: of nothing else there is anything.
    pub(crate) fn may_exist(&self) -> bool {
        self.group.len() <= MAX_ID_BYTES && self.message.len() <= MAX_ID_BYTES
    }
}

/// Whom a list holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ReadStatus {
    /// Those who have read.
    #[default]
    Read,
    /// Those who were asked to and have not.
    Unread,
    /// Those who have, then those who have not.
    All,
}

impl ReadStatus {
    /// Every status under its name.
    pub(crate) const WORDS: [(&'static str, Self); 3] =
        [("read", Self::Read), ("unread", Self::Unread), ("all", Self::All)];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Unread => "unread",
            Self::All => "all",
        }
    }
}

/// Which reader comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ListOrder {
    /// The latest.
    #[default]
    Newest,
    /// The earliest.
    Oldest,
}

impl ListOrder {
    /// Every order under its name.
    pub(crate) const WORDS: [(&'static str, Self); 2] = [("newest", Self::Newest), ("oldest", Self::Oldest)];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Newest => "newest",
            Self::Oldest => "oldest",
        }
    }
}

/// What of a reader list is asked for.
#[derive(Clone, Debug, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ReadersQuery {
    /// Whom the list holds.
    #[param(required = false, default = "read")]
    pub(crate) status: ReadStatus,
    /// Which reader comes first. Those who have not read always go by user.
    #[param(required = false, default = "newest")]
    pub(crate) order: ListOrder,
    /// How many in one answer.
    #[param(required = false, minimum = 1, maximum = 500, default = 100)]
    pub(crate) limit: usize,
    /// The `next_cursor` of the page before.
    #[param(required = false, value_type = PageCursor)]
    pub(crate) cursor: Option<String>,
    /// Only this user; may be given up to 500 times. Finds readers who are not retained any more.
    #[param(required = false, value_type = Vec<Id>, max_items = 500)]
    pub(crate) user: Vec<String>,
    /// The list as it stood then, in ms since 1970: readers with `read_at` up to this time, and counts and those who had
    /// not read as of it. Receipts that came in late are told by their own time.
    #[param(value_type = Option<i64>, required = false, minimum = 0, maximum = 4_102_444_799_999_i64)]
    pub(crate) as_of: Option<EventTime>,
}

impl ReadersQuery {
    /// Reads a query string. Unknown and repeated parameters are refused: a mistyped filter would silently give the
    /// wrong list.
    ///
    /// # Errors
    /// [`ApiError::InvalidRequest`], naming parameter and rule.
    pub(crate) fn parse(query: &str) -> Result<Self, ApiError> {
        let mut status = None;
        let mut order = None;
        let mut limit = None;
        let mut cursor = None;
        let mut user = Vec::new();
        let mut as_of = None;
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match name.as_ref() {
                "status" => set_once(&mut status, "status", parse_word("status", &value, &ReadStatus::WORDS)?)?,
                "order" => set_once(&mut order, "order", parse_word("order", &value, &ListOrder::WORDS)?)?,
                "limit" => set_once(&mut limit, "limit", parse_limit(&value)?)?,
                "cursor" => set_once(&mut cursor, "cursor", value.into_owned())?,
                "user" => user.push(parse_id("user", &value)?),
                "as_of" => set_once(&mut as_of, "as_of", parse_time("as_of", &value)?)?,
                _ => return Err(unknown(&name, "status, order, limit, cursor, user and as_of")),
            }
        }
        user.sort_unstable();
        user.dedup();
        if user.len() > MAX_USERS {
            return Err(invalid("user", "at most 500 users can be asked for at once"));
        }
        Ok(Self {
            status: status.unwrap_or_default(),
            order: order.unwrap_or_default(),
            limit: limit.unwrap_or(DEFAULT_LIMIT),
            cursor,
            user,
            as_of,
        })
    }
}

/// Reads how many items one answer may have.
///
/// # Errors
/// [`ApiError::InvalidRequest`].
pub(crate) fn parse_limit(value: &str) -> Result<usize, ApiError> {
    let limit = parse_integer("limit", value, 1..=MAX_LIMIT as i64)?;
    Ok(usize::try_from(limit).unwrap_or(MAX_LIMIT))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn defaults_are_the_newest_hundred_readers() {
        let query = ReadersQuery::parse("").unwrap();
        assert_eq!((query.status, query.order, query.limit), (ReadStatus::Read, ListOrder::Newest, 100));
        assert_eq!((query.cursor, query.user), (None, Vec::new()));
    }

    #[test]
    fn users_may_be_repeated_and_encoded() {
        let query = ReadersQuery::parse("user=b%2Bc&user=a&user=a&status=all&order=oldest&limit=500").unwrap();
        assert_eq!(query.user, ["a", "b+c"]);
        assert_eq!((query.status, query.order, query.limit), (ReadStatus::All, ListOrder::Oldest, 500));
    }

    #[test]
    fn a_broken_parameter_is_named() {
        for (query, parameter) in [
            ("limit=0", "limit"),
            ("limit=501", "limit"),
            ("limit=", "limit"),
            ("limit=-1", "limit"),
            ("limit=1.0", "limit"),
            ("limit=99999999999999999999", "limit"),
            ("limit=1&limit=1", "limit"),
            ("status=seen", "status"),
            ("order=", "order"),
            ("cursor=a&cursor=b", "cursor"),
            ("user=", "user"),
            ("as_of=yesterday", "as_of"),
            ("as_of=1&as_of=1", "as_of"),
            ("statu=read", "statu"),
        ] {
            let named = matches!(
                ReadersQuery::parse(query),
                Err(ApiError::InvalidRequest(detail)) if detail.starts_with(&format!("{parameter}: "))
            );
            assert!(named, "{query}");
        }
    }
}
