//! The records of an app that were refused, as they came, with the reason.
//!
//! Malformed records are of no app: which one they were meant for cannot be told. They stand in the topic and the table.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::access::Access;
use super::as_of::AppAsOf;
use super::cursor::{ListFingerprint, decode_position, encode_position};
use super::description::{Id, PageCursor, Refusal};
use super::error::{ApiError, CommonProblems};
use super::in_path::AppPath;
use super::parameters::{DEFAULT_LIMIT, parse_limit};
use super::query_string::{invalid, parse_id, parse_time, set_once, unknown};
use crate::event::EventTime;
use crate::fold::Outcome;
use crate::policy::DAY_MILLIS;
use crate::store::query::{RejectedRecord, RejectionPosition, RejectionSelection};

/// A page ends with the record that fills so many bytes of keys and values: 500 of the longest would be 64 MB, several
/// times over on their way.
const PAGE_BYTES: u64 = 4 * 1024 * 1024;

/// A page of refused records.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct RejectionPage {
    /// The latest first; fewer than asked for, also where more follow, where keys and values are long.
    rejections: Vec<RejectionView>,
    /// Give it as `cursor` to get the next page; `null` on the last one.
    #[schema(required)]
    next_cursor: Option<String>,
    /// How far the answer is complete; `null` before the first flush of all.
    #[schema(required)]
    as_of: Option<AppAsOf>,
}

/// A refused record.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct RejectionView {
    /// Why.
    outcome: String,
    /// What the vendor's client shows; `null` where it shows nothing.
    #[schema(required)]
    words: Option<String>,
    /// The vendor's number of it.
    #[schema(required)]
    number: Option<u16>,
    /// Its type; `null` where that is unknown.
    #[serde(rename = "type")]
    #[schema(required)]
    event_type: Option<String>,
    /// Who acted.
    user: String,
    /// Key of its conversation; `null` where the record's key is not that of its conversation.
    #[schema(required)]
    conversation: Option<String>,
    /// Its own time, in ms since 1970.
    #[schema(required)]
    at: Option<i64>,
    /// When it was written to the log, in ms since 1970; of one that waited for its message when the wait ended.
    recorded_at: i64,
    /// Whether it waited for its message first; its value is spelled anew then.
    settled: bool,
    /// Where it stands.
    record: RecordPlace,
    /// Its key.
    #[schema(required)]
    key: Option<Content>,
    /// Its value.
    value: Content,
}

/// Where a record stands.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(crate) struct RecordPlace {
    /// Generation of the log.
    epoch: u16,
    /// Partition of that generation.
    partition: u32,
    /// Offset.
    offset: u64,
}

/// What a record holds.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Content {
    /// Its first 64 KiB.
    content: String,
    /// `utf-8`; or `base64` where it is no text.
    encoding: &'static str,
    /// How long the whole is.
    bytes: u64,
    /// SHA-256 of the whole in hexadecimal, where it is longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
}

/// Which refused records.
#[derive(Clone, Debug, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct RejectionsQuery {
    /// Recorded at or after this time, in ms since 1970; a day before `to` where it is absent.
    #[param(required = false, value_type = i64, minimum = 0, maximum = 4_102_444_799_999_i64)]
    from: Option<EventTime>,
    /// Recorded before this time, in ms since 1970; now where it is absent.
    #[param(required = false, value_type = i64, minimum = 0, maximum = 4_102_444_799_999_i64)]
    to: Option<EventTime>,
    /// Refused for this reason.
    #[param(required = false, inline, value_type = Refusal)]
    outcome: Option<String>,
    /// Of this group.
    #[param(required = false, value_type = Id)]
    group: Option<String>,
    /// Caused by this user.
    #[param(required = false, value_type = Id)]
    user: Option<String>,
    /// How many in one answer.
    #[param(required = false, minimum = 1, maximum = 500, default = 100)]
    limit: Option<usize>,
    /// The `next_cursor` of the page before.
    #[param(required = false, value_type = PageCursor)]
    cursor: Option<String>,
}

/// Where a page goes on: the times travel along, as "now" moves.
type Continued = (i64, i64, RejectionPosition);

/// Refused records, the latest first.
#[utoipa::path(
    get,
    path = "/v1/{org}/{app}/rejections",
    tag = "rejections",
    params(AppPath, RejectionsQuery),
    responses((status = 200, description = "A page of them.", body = RejectionPage), CommonProblems),
    security(("bearer" = []))
)]
pub(crate) async fn rejections(
    State(state): State<Arc<ApiState>>,
    access: Access,
    RawQuery(query): RawQuery,
) -> Result<Json<RejectionPage>, ApiError> {
    access.require_service()?;
    let query = RejectionsQuery::parse(query.as_deref().unwrap_or_default())?;
    let list = query.fingerprint(access.app().as_str());
    let continued: Option<Continued> =
        query.cursor.as_deref().map(|cursor| decode_position(cursor, list)).transpose()?;
    let (from, until) = match continued {
        Some((from, until, _)) => (EventTime::from_millis(from), EventTime::from_millis(until)),
        None => query.times()?,
    };
    let as_of = AppAsOf::of(&state.queries.frontiers().await?);
    let conversation = query.group.as_ref().map(|group| format!("{}/g/{group}", access.app().as_str()));
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    let selection = RejectionSelection {
        from,
        until,
        outcome: query.outcome.as_deref(),
        conversation: conversation.as_deref(),
        user: query.user.as_deref(),
        after: continued.map(|(_, _, position)| position),
        limit,
        most_bytes: PAGE_BYTES,
    };
    let found = state.queries.rejections(access.app(), &selection).await?;
    let last = found.records.last().filter(|_| found.has_more).map(RejectedRecord::position);
    Ok(Json(RejectionPage {
        rejections: found.records.into_iter().map(RejectionView::from).collect(),
        next_cursor: last.map(|last| encode_position(&(from.millis(), until.millis(), last), list)),
        as_of,
    }))
}

impl RejectionsQuery {
    fn parse(query: &str) -> Result<Self, ApiError> {
        let mut read = Self { from: None, to: None, outcome: None, group: None, user: None, limit: None, cursor: None };
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match name.as_ref() {
                "from" => set_once(&mut read.from, "from", parse_time("from", &value)?)?,
                "to" => set_once(&mut read.to, "to", parse_time("to", &value)?)?,
                "outcome" => set_once(&mut read.outcome, "outcome", parse_outcome(&value)?)?,
                "group" => set_once(&mut read.group, "group", parse_id("group", &value)?)?,
                "user" => set_once(&mut read.user, "user", parse_id("user", &value)?)?,
                "limit" => set_once(&mut read.limit, "limit", parse_limit(&value)?)?,
                "cursor" => set_once(&mut read.cursor, "cursor", value.into_owned())?,
                _ => return Err(unknown(&name, "from, to, outcome, group, user, limit and cursor")),
            }
        }
        Ok(read)
    }

    /// From when until when.
    fn times(&self) -> Result<(EventTime, EventTime), ApiError> {
        let until = self.to.unwrap_or_else(super::now);
        let from = self.from.unwrap_or(EventTime::from_millis(until.millis().saturating_sub(DAY_MILLIS).max(0)));
        if from > until { Err(invalid("from", "must not be after to")) } else { Ok((from, until)) }
    }

    /// Everything that makes the list what it is, but for where a page of it begins and ends.
    fn fingerprint(&self, app: &str) -> ListFingerprint {
        let time = |time: Option<EventTime>| time.map(|time| time.millis().to_string()).unwrap_or_default();
        let (from, to) = (time(self.from), time(self.to));
        let chosen = [&self.outcome, &self.group, &self.user].map(|filter| filter.as_deref().unwrap_or_default());
        ListFingerprint::of(["rejections", app, &from, &to].into_iter().chain(chosen))
    }
}

fn parse_outcome(value: &str) -> Result<String, ApiError> {
    match Outcome::from_name(value).filter(|outcome| outcome.is_rejected()) {
        Some(outcome) => Ok(outcome.name().to_owned()),
        None => Err(invalid("outcome", "must be one of those that refuse a record, such as not_open or expired")),
    }
}

impl From<RejectedRecord> for RejectionView {
    fn from(row: RejectedRecord) -> Self {
        let not_empty = |text: String| (!text.is_empty()).then_some(text);
        let encoding = |is_text: u8| if is_text == 1 { "utf-8" } else { "base64" };
        let key = row.key_text.map(|content| Content {
            content,
            encoding: encoding(row.is_key_text),
            bytes: row.key_bytes,
            sha256: None,
        });
        Self {
            outcome: row.outcome,
            words: not_empty(row.words),
            number: (row.code != 0).then_some(row.code),
            event_type: not_empty(row.event_type),
            user: row.user,
            conversation: not_empty(row.conversation),
            at: row.at_ms,
            recorded_at: row.record_time_ms,
            settled: row.settled,
            record: RecordPlace { epoch: row.own_epoch, partition: row.own_partition, offset: row.own_offset },
            key,
            value: Content {
                content: row.value_text,
                encoding: encoding(row.is_value_text),
                bytes: row.value_bytes,
                sha256: not_empty(row.value_hash),
            },
        }
    }
}
