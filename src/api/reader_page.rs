//! A page of the readers of a group message, made of its receipts and its group's roster.
//!
//! Lists are made here and not in the database: one statement brings the receipts of any number of messages, each of
//! which is asked for with a position, order and limit of its own, and analysing a statement that does all of that costs
//! more than reading what it asks for.

use std::collections::HashSet;

use serde::Serialize;
use utoipa::ToSchema;

use super::cursor::{Cursor, ListFingerprint};
use super::error::ApiError;
use super::parameters::{ListOrder, ReadStatus, ReadersQuery};
use crate::event::EventTime;
use crate::fold::Outcome;
use crate::store::query::{
    MessageReceipts, ReaderPosition, ReaderRow, RosterHistory, Snapshot, StoredMessage, StoredRecall, StoredReceipt,
};

/// What is known of a group message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GroupMessageFacts<'a> {
    /// The message.
    pub(crate) message: &'a StoredMessage,
    /// Whether and when it was taken back.
    pub(crate) recall: Option<StoredRecall>,
    /// Its receipts.
    pub(crate) receipts: &'a MessageReceipts,
    /// Its group's history; of a message with an audience.
    pub(crate) roster: Option<&'a RosterHistory>,
}

/// What all answers about the readers of one message say.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ReaderPage {
    message: GroupMessageView,
    counts: CountsView,
    readers: Vec<ReaderView>,
    /// Give it as `cursor` to get the next page; `null` on the last one.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// The message.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = MessageView)]
pub(crate) struct GroupMessageView {
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
    /// When it was taken back, in ms since 1970: always `null`, as a recalled message answers `recalled`.
    #[schema(required)]
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
    #[schema(required)]
    audience: Option<u32>,
    /// Those of the audience who have not read; `null` where there is no known audience.
    #[schema(required)]
    unread: Option<u64>,
}

/// One user of the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct ReaderView {
    /// Who.
    user: String,
    /// When he read, in ms since 1970; `null` where he has not.
    #[schema(required)]
    read_at: Option<i64>,
    /// The id of his receipt; `null` where he has not read.
    #[schema(required)]
    ack_id: Option<String>,
    /// Text sent along with the receipt.
    #[schema(required)]
    content: Option<String>,
    /// He has read, but newer readers pushed him out of the list. Absent where not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    evicted: bool,
    /// He has not read, and is no member any more. Absent where not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    left: bool,
    /// When he left, in ms since 1970. Absent where he did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = i64)]
    left_at: Option<i64>,
}

/// Everything that makes a list what it is, but for where a page of it begins and ends.
pub(crate) fn fingerprint(conversation: &str, message: &str, query: &ReadersQuery) -> ListFingerprint {
    let as_of = query.as_of.map(|as_of| as_of.millis().to_string()).unwrap_or_default();
    let chosen = [conversation, message, query.status.name(), query.order.name(), &as_of];
    ListFingerprint::of(chosen.into_iter().chain(query.user.iter().map(String::as_str)))
}

/// The receipts of a message as of a time, the newest reader first.
pub(crate) struct KnownReaders<'a> {
    newest_first: Vec<&'a StoredReceipt>,
    /// How many are retained.
    cap: usize,
    /// Position of the last one retained; `None` while none was evicted.
    floor: Option<&'a ReaderPosition>,
}

impl<'a> KnownReaders<'a> {
    /// Of those that there are, the ones that say "read" by then.
    pub(crate) fn new(message: &StoredMessage, receipts: &'a MessageReceipts, as_of: EventTime) -> Self {
        let is_known = |receipt: &&StoredReceipt| receipt.row.position.at <= as_of.millis();
        let mut newest_first: Vec<&StoredReceipt> = receipts.reads.iter().filter(is_known).collect();
        newest_first.sort_unstable_by(|one, other| other.row.position.cmp(&one.row.position));
        let cap = message.reader_cap as usize;
        let is_any_evicted = newest_first.len() > cap;
        let last_retained = cap.checked_sub(1).and_then(|last| newest_first.get(last)).filter(|_| is_any_evicted);
        let floor = last_retained.map(|receipt| &receipt.row.position);
        Self { newest_first, cap, floor }
    }

    /// Every reader, the newest first.
    pub(crate) fn newest_first(&self) -> &[&'a StoredReceipt] {
        &self.newest_first
    }

    /// Those that newer ones have not pushed out.
    pub(crate) fn retained(&self) -> &[&'a StoredReceipt] {
        self.newest_first.get(..self.cap).unwrap_or(&self.newest_first)
    }

    fn users(&self, snapshot: Snapshot) -> HashSet<&'a str> {
        let known = self.newest_first.iter().filter(|receipt| receipt.is_known_to(snapshot));
        known.map(|receipt| receipt.row.position.reader.as_str()).collect()
    }
}

impl ReaderPage {
    /// The page that `query` asks for.
    ///
    /// # Errors
    /// [`ApiError::NotFound`] where the message was sent after the time asked for, [`ApiError::Recalled`],
    /// [`ApiError::AudienceUnknown`].
    pub(crate) fn of(
        facts: &GroupMessageFacts<'_>,
        query: &ReadersQuery,
        cursor: Option<Cursor>,
    ) -> Result<Self, ApiError> {
        let message = facts.message;
        let as_of = query.as_of.unwrap_or(EventTime::MAX);
        if message.sent_at > as_of {
            return Err(ApiError::NotFound);
        }
        if facts.recall.is_some_and(|recall| recall.at <= as_of) {
            return Err(ApiError::Recalled);
        }
        if query.status == ReadStatus::Unread && message.audience.is_none() {
            return Err(ApiError::AudienceUnknown);
        }

        let known = KnownReaders::new(message, facts.receipts, as_of);
        let (readers, next) = page(facts, &known, query, cursor);
        let list = fingerprint(&message.key.conversation, &message.key.message, query);
        Ok(Self {
            counts: CountsView::new(facts, &known),
            message: GroupMessageView::new(message),
            readers,
            next_cursor: next.map(|cursor| cursor.encode(list)),
        })
    }
}

/// One page, and where the next begins. Readers come first; where they end and the rest is asked for too, those who have
/// not read follow.
fn page(
    facts: &GroupMessageFacts<'_>,
    known: &KnownReaders<'_>,
    query: &ReadersQuery,
    cursor: Option<Cursor>,
) -> (Vec<ReaderView>, Option<Cursor>) {
    // Users asked for by name are found among the evicted too.
    let first_floor = known.floor.filter(|_| query.user.is_empty()).cloned();
    // Who reads between two pages must stand on one side of a list of both.
    let first_snapshot = if query.status == ReadStatus::All { facts.receipts.snapshot() } else { Snapshot::ALL };
    let (readers_from, after_user, snapshot) = match (cursor, query.status) {
        (None, ReadStatus::Read | ReadStatus::All) => (Some((None, first_floor)), String::new(), first_snapshot),
        (None, ReadStatus::Unread) => (None, String::new(), first_snapshot),
        (Some(Cursor::Readers { after, floor, snapshot }), _) => (Some((Some(after), floor)), String::new(), snapshot),
        (Some(Cursor::Unread { after_user, snapshot }), _) => (None, after_user, snapshot),
    };

    let mut page = Vec::new();
    if let Some((after, floor)) = readers_from {
        let (rows, has_more) = readers(known, query, after.as_ref(), floor.as_ref(), snapshot);
        let last = rows.last().map(|row| row.position.clone());
        page.extend(rows.into_iter().map(|row| ReaderView::read(row, known.floor)));
        if let Some(after) = last.filter(|_| has_more) {
            return (page, Some(Cursor::Readers { after, floor, snapshot }));
        }
    }
    if query.status == ReadStatus::Read || facts.message.audience.is_none() {
        return (page, None);
    }

    let room = query.limit - page.len();
    let as_of = query.as_of.unwrap_or(EventTime::MAX);
    let (not_read, next_user) = non_readers(facts, &known.users(snapshot), query, &after_user, room);
    page.extend(not_read.into_iter().map(|user| {
        let left_at = facts.roster.and_then(|roster| roster.left_at(facts.message, user, as_of));
        ReaderView::unread(user, left_at)
    }));
    (page, next_user.map(|after_user| Cursor::Unread { after_user, snapshot }))
}

/// At most `query.limit` readers after a position and down to a floor, and whether more follow.
fn readers<'a>(
    known: &KnownReaders<'a>,
    query: &ReadersQuery,
    after: Option<&ReaderPosition>,
    floor: Option<&ReaderPosition>,
    snapshot: Snapshot,
) -> (Vec<&'a ReaderRow>, bool) {
    let is_asked_for = |receipt: &&'a StoredReceipt| {
        let position = &receipt.row.position;
        let is_after = after.is_none_or(|after| match query.order {
            ListOrder::Newest => position < after,
            ListOrder::Oldest => position > after,
        });
        is_after
            && floor.is_none_or(|floor| position >= floor)
            && receipt.is_known_to(snapshot)
            && is_named(query, &position.reader)
    };
    let newest_first = known.newest_first.iter().copied();
    let first = |receipts: &mut dyn Iterator<Item = &'a StoredReceipt>| -> Vec<&'a ReaderRow> {
        receipts.filter(is_asked_for).map(|receipt| &receipt.row).take(query.limit + 1).collect()
    };
    let mut rows = match query.order {
        ListOrder::Newest => first(&mut newest_first.into_iter()),
        ListOrder::Oldest => first(&mut newest_first.rev()),
    };
    let has_more = rows.len() > query.limit;
    rows.truncate(query.limit);
    (rows, has_more)
}

/// At most `room` users of the audience who have not read, by user, and after whom more follow.
fn non_readers<'a>(
    facts: &GroupMessageFacts<'a>,
    readers: &HashSet<&str>,
    query: &ReadersQuery,
    after_user: &str,
    room: usize,
) -> (Vec<&'a str>, Option<String>) {
    let audience = facts.roster.into_iter().flat_map(|roster| roster.audience(facts.message));
    let mut users: Vec<&str> = audience
        .filter(|user| *user > after_user && !readers.contains(user) && is_named(query, user))
        .take(room + 1)
        .collect();
    let has_more = users.len() > room;
    users.truncate(room);
    // Where the readers filled the page to the last place, this list begins with the next one.
    let last = users.last().copied().unwrap_or(after_user).to_owned();
    (users, has_more.then_some(last))
}

/// Whether a user is asked for: by name, or as everybody is.
fn is_named(query: &ReadersQuery, user: &str) -> bool {
    query.user.is_empty() || query.user.binary_search_by(|named| named.as_str().cmp(user)).is_ok()
}

impl CountsView {
    fn new(facts: &GroupMessageFacts<'_>, known: &KnownReaders<'_>) -> Self {
        let message = facts.message;
        let distinct = known.newest_first.len() as u64;
        let retained = distinct.min(u64::from(message.reader_cap));
        let unread = message.audience.map(|_| {
            let readers = known.users(Snapshot::ALL);
            let audience = facts.roster.into_iter().flat_map(|roster| roster.audience(message));
            audience.filter(|user| !readers.contains(user)).count() as u64
        });
        Self {
            retained,
            distinct,
            evicted: distinct - retained,
            truncated: distinct > retained,
            audience: message.audience,
            unread,
        }
    }
}

impl GroupMessageView {
    fn new(message: &StoredMessage) -> Self {
        let receipts = match message.status {
            Outcome::Stored => Outcome::NotRequested.name(),
            status => status.name(),
        };
        Self {
            id: message.key.message.clone(),
            group: message.recipient.clone(),
            sender: message.sender.clone(),
            sent_at: message.sent_at.millis(),
            receipts,
            recalled_at: None,
        }
    }
}

impl ReaderView {
    fn read(row: &ReaderRow, floor: Option<&ReaderPosition>) -> Self {
        let ReaderRow { position, content } = row;
        Self {
            user: position.reader.clone(),
            read_at: Some(position.at),
            ack_id: Some(position.ack_id.clone()),
            content: content.clone(),
            evicted: floor.is_some_and(|floor| position < floor),
            left: false,
            left_at: None,
        }
    }

    fn unread(user: &str, left_at: Option<EventTime>) -> Self {
        Self {
            user: user.to_owned(),
            read_at: None,
            ack_id: None,
            content: None,
            evicted: false,
            left: left_at.is_some(),
            left_at: left_at.map(EventTime::millis),
        }
    }
}
