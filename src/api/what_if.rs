//! What would have become of a past range of the log under another policy.
//!
//! The range is read and folded within this process, on a thread of its own: few at once, each within the limits of
//! `api.what_if`, and none for longer than somebody waits for the answer.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::runtime::Handle;
use utoipa::ToSchema;

use super::ApiState;
use super::access::Access;
use super::as_of::AppAsOf;
use super::description::Id;
use super::error::{ApiError, CommonProblems, Problem};
use super::in_path::AppPath;
use super::json_body::require_json;
use super::query_string::{invalid, parse_time};
use crate::config::is_id;
use crate::event::{EventTime, Malformed, RecordTime, decode_limits};
use crate::policy::{DAY_MILLIS, Policy};
use crate::replay::{
    Comparison, DifferingMessage, Interest, MissingSpan, OutcomeLine, WhatIfError, WhatIfQuestion, what_if,
};
use crate::store::query::Frontiers;

/// Where it is asked: the one path that may take longer than `api.timeout_ms`.
pub(super) const WHAT_IF_PATH: &str = "/v1/{org}/{app}/policy/what-if";

/// The longest range, in days: as that of the outcomes by the hour.
const MOST_DAYS: i64 = 31;

/// Which range, and under which policy.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read by the derived description alone")]
pub(crate) struct WhatIfBody {
    /// Records written at or after this time, in ms since 1970; absent: a day before `to`.
    #[schema(required = false, minimum = 0, maximum = 4_102_444_799_999_i64)]
    from: Option<i64>,
    /// Records written before this time; absent: now. At most 31 days after `from`.
    #[schema(required = false, minimum = 0, maximum = 4_102_444_799_999_i64)]
    to: Option<i64>,
    /// Those limits that differ from the defaults, as a change of the policy takes them, without `effective_from`: it is
    /// taken to be in force for every record of the range.
    policy: Policy,
    /// Only records of this group.
    #[schema(required = false, value_type = Option<Id>)]
    group: Option<String>,
}

/// What became of the records of the range, and what would have become of them.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct WhatIfAnswer {
    /// The first time of records that is counted, in ms since 1970.
    from: i64,
    /// The first time behind it, in ms since 1970.
    to: i64,
    /// The only group; `null` for the whole app.
    group: Option<String>,
    /// The policy that was tried, every limit of it.
    policy: Policy,
    /// Records by what became of them when they came. Those that cannot be read belong to no app.
    records: Vec<WhatIfCount>,
    /// Records that had been `parked` and whose wait ended within the range, by what it ended with.
    settled: Vec<WhatIfCount>,
    /// How many records would have had another outcome when they came.
    differing: u64,
    /// Messages that would have had another outcome, at most 20.
    messages: Vec<WhatIfMessage>,
    /// Parts of the range of which records may be missing here: the log does not reach back to them, or the tables have
    /// not come to them. Without any, the range is covered as a whole.
    missing: Vec<WhatIfMissing>,
    /// How far the answer is complete; `null` before the first flush of all.
    as_of: Option<AppAsOf>,
}

/// How many records of a type had an outcome, and would have had it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct WhatIfCount {
    /// The type; empty for unknown types.
    #[serde(rename = "type")]
    event_type: &'static str,
    /// The outcome.
    outcome: &'static str,
    /// As it was.
    actual: u64,
    /// Under the policy.
    what_if: u64,
}

/// A message that would have had another outcome.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct WhatIfMessage {
    /// The key of its conversation.
    conversation: String,
    /// Its id.
    message: String,
    /// When it was sent, in ms since 1970.
    sent_at: i64,
    /// The outcome that it had.
    actual: &'static str,
    /// The outcome that it would have had.
    what_if: &'static str,
}

/// A part of the range of which a partition's records may be missing.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct WhatIfMissing {
    /// The partition of the events topic.
    partition: u32,
    /// The first time of which they may be missing, in ms since 1970.
    from: i64,
    /// The first time of which none is, in ms since 1970.
    to: i64,
}

/// What became of the records of a past range, and what would have become of them under another policy.
///
/// The range is folded once as it was and once with the policy in force for all of it. Nothing is written and nobody is
/// told. Messages sent before the range keep what they were given then. For administrators: it costs this process more than
/// any other question. 503 `busy` where `api.what_if.max_concurrent` run already, and `timed_out` where one takes longer
/// than `api.what_if.timeout_ms`.
#[utoipa::path(
    post,
    path = "/v1/{org}/{app}/policy/what-if",
    tag = "policy",
    params(AppPath),
    request_body = WhatIfBody,
    responses(
        (status = 200, description = "Both, side by side.", body = WhatIfAnswer),
        (status = 409, description = "What was in front of the range has been removed after the retention time \
            (`history_gone`).", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The body is too large (`payload_too_large`).", body = Problem,
            content_type = "application/problem+json"),
        (status = 415, description = "The body is no JSON (`unsupported_media_type`).", body = Problem,
            content_type = "application/problem+json"),
        (status = 422, description = "The range takes more than `api.what_if.max_records` or \
            `api.what_if.max_state_bytes` (`range_too_large`).", body = Problem,
            content_type = "application/problem+json"),
        CommonProblems,
    ),
    security(("bearer" = []))
)]
pub(crate) async fn policy_what_if(
    State(state): State<Arc<ApiState>>,
    access: Access,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<WhatIfAnswer>, ApiError> {
    access.require_admin()?;
    require_json(&headers)?;
    let question = read_question(access.app().as_str(), &body, super::now())?;
    let time_limit = Duration::from_millis(state.config.api.what_if.timeout_ms);
    let answer = tokio::time::timeout(time_limit, state.compare(question));
    Ok(Json(answer.await.unwrap_or(Err(ApiError::WhatIfTimedOut))?))
}

impl ApiState {
    /// Runs the comparison where it may block. Its place is free when the run has ended, which it does soon after nobody
    /// waits for this.
    async fn compare(self: &Arc<Self>, question: WhatIfQuestion) -> Result<WhatIfAnswer, ApiError> {
        let place = Arc::clone(&self.what_if_places).try_acquire_owned().map_err(|_| ApiError::WhatIfBusy)?;
        let frontiers = self.queries.frontiers().await?;
        let (_waiting, interest) = Interest::pair();
        let (state, runtime) = (Arc::clone(self), Handle::current());
        let run = move || {
            let _place = place;
            let limits = &state.config.api.what_if;
            let (kafka, queries) = (&state.config.kafka, &state.queries);
            let compared = what_if(&question, limits, kafka, queries, &frontiers, (&runtime, interest));
            compared.map(|comparison| WhatIfAnswer::of(question, comparison, &frontiers))
        };
        match tokio::task::spawn_blocking(run).await {
            Ok(answer) => Ok(answer?),
            Err(error) => {
                tracing::error!(%error, "folding under another policy met a defect");
                Err(ApiError::Internal)
            }
        }
    }
}

impl WhatIfAnswer {
    fn of(question: WhatIfQuestion, comparison: Comparison, frontiers: &Frontiers) -> Self {
        Self {
            from: question.from.millis(),
            to: question.until.millis(),
            group: question.group,
            policy: question.policy,
            records: comparison.records.into_iter().map(WhatIfCount::from).collect(),
            settled: comparison.settled.into_iter().map(WhatIfCount::from).collect(),
            differing: comparison.differing,
            messages: comparison.messages.into_iter().map(WhatIfMessage::from).collect(),
            missing: comparison.missing.into_iter().map(WhatIfMissing::from).collect(),
            as_of: AppAsOf::of(frontiers),
        }
    }
}

impl From<OutcomeLine> for WhatIfCount {
    fn from(line: OutcomeLine) -> Self {
        let OutcomeLine { event_type, outcome, actual, what_if } = line;
        Self { event_type, outcome, actual, what_if }
    }
}

impl From<DifferingMessage> for WhatIfMessage {
    fn from(differing: DifferingMessage) -> Self {
        let DifferingMessage { conversation, message, sent_at, actual, what_if } = differing;
        Self { conversation, message, sent_at: sent_at.millis(), actual: actual.name(), what_if: what_if.name() }
    }
}

impl From<MissingSpan> for WhatIfMissing {
    fn from(span: MissingSpan) -> Self {
        Self { partition: span.partition.get(), from: span.from.millis(), to: span.until.millis() }
    }
}

impl From<WhatIfError> for ApiError {
    fn from(error: WhatIfError) -> Self {
        const SMALLER: &str = "ask for a shorter range, or for one group";
        match error {
            WhatIfError::Store(error) => error.into(),
            WhatIfError::TooManyRecords { .. } => {
                Self::RangeTooLarge(format!("{error} (api.what_if.max_records): {SMALLER}"))
            }
            WhatIfError::TooMuchState { .. } => {
                Self::RangeTooLarge(format!("{error} (api.what_if.max_state_bytes): {SMALLER}"))
            }
            WhatIfError::HistoryGone => Self::HistoryGone,
            // Nobody reads it.
            WhatIfError::Abandoned => Self::WhatIfTimedOut,
            WhatIfError::Log(error) if error.is_transient() => {
                tracing::warn!(%error, "the log could not be read");
                Self::Unavailable
            }
            error => {
                tracing::error!(%error, "a range cannot be folded under another policy");
                Self::Internal
            }
        }
    }
}

/// The body as it came.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawQuestion<'a> {
    #[serde(borrow, default)]
    from: Option<&'a RawValue>,
    #[serde(borrow, default)]
    to: Option<&'a RawValue>,
    #[serde(borrow)]
    policy: &'a RawValue,
    #[serde(borrow, default)]
    group: Option<&'a RawValue>,
}

/// Reads a body.
///
/// # Errors
/// [`ApiError::InvalidRequest`], naming field and rule.
fn read_question(app: &str, body: &[u8], now: EventTime) -> Result<WhatIfQuestion, ApiError> {
    let raw: RawQuestion<'_> = serde_json::from_slice(body).map_err(|error| invalid("body", &error.to_string()))?;
    let time = |name, value: Option<&RawValue>| value.map(|value| parse_time(name, value.get())).transpose();
    let (from, to) = (time("from", raw.from)?, time("to", raw.to)?);
    let until = to.unwrap_or(now).millis();
    let from = from.map_or(until - DAY_MILLIS, EventTime::millis).max(0);
    if from >= until {
        return Err(invalid("from", "must be before to"));
    }
    if until - from > MOST_DAYS * DAY_MILLIS {
        return Err(invalid("from", &format!("must be at most {MOST_DAYS} days before to")));
    }
    let policy = decode_limits(raw.policy.get().as_bytes()).map_err(in_policy)?;
    let group = raw.group.map(read_group).transpose()?;
    let (from, until) = (RecordTime::from_millis(from), RecordTime::from_millis(until));
    Ok(WhatIfQuestion { app: app.to_owned(), group, policy, from, until })
}

fn read_group(value: &RawValue) -> Result<String, ApiError> {
    let group: Option<String> = serde_json::from_str(value.get()).ok();
    group.filter(|group| is_id(group)).ok_or_else(|| {
        invalid("group", "must be an id: 1 to 128 bytes without '/', '#', white space and control characters")
    })
}

/// A limit's place in the body.
fn in_policy(malformed: Malformed) -> ApiError {
    match malformed.field {
        "record" => invalid("policy", &malformed.rule),
        field => invalid(&format!("policy.{field}"), &malformed.rule),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const NOW: i64 = 1_772_366_400_000;

    fn read(body: &str) -> Result<WhatIfQuestion, ApiError> {
        read_question("org#app", body.as_bytes(), EventTime::from_millis(NOW))
    }

    #[test]
    fn a_question_is_about_the_last_day_where_nothing_is_said() {
        let question = read(r#"{"policy": {"group": {"open": true}}}"#).unwrap();
        assert_eq!((question.from.millis(), question.until.millis()), (NOW - DAY_MILLIS, NOW));
        assert!(question.policy.group.open && question.group.is_none());
        let question = read(r#"{"from": 5, "to": 7, "group": "g1", "policy": {}}"#).unwrap();
        assert_eq!((question.from.millis(), question.until.millis(), question.group.as_deref()), (5, 7, Some("g1")));
        assert_eq!(question.policy, Policy::DEFAULT);
        let question = read(r#"{"from": null, "to": 7, "group": null, "policy": {}}"#).unwrap();
        assert_eq!((question.from.millis(), question.group), (0, None), "null is absence");
    }

    #[test]
    fn a_refusal_names_field_and_rule() {
        for (body, expected) in [
            ("", "body: EOF"),
            ("[]", "body: "),
            ("{}", "body: missing field `policy`"),
            (r#"{"policy": {}, "polcy": {}}"#, "body: unknown field `polcy`"),
            (r#"{"policy": {}, "policy": {}}"#, "body: duplicate field `policy`"),
            (r#"{"policy": {}, "from": "5"}"#, "from: must be an integer"),
            (r#"{"policy": {}, "to": 1e12}"#, "to: must be an integer"),
            (r#"{"policy": {}, "from": 5, "to": 5}"#, "from: must be before to"),
            (r#"{"policy": {}, "from": 5, "to": 2678400006}"#, "from: must be at most 31 days before to"),
            (r#"{"policy": {}, "group": 5}"#, "group: must be an id"),
            (r#"{"policy": {}, "group": "a/b"}"#, "group: must be an id"),
            (r#"{"policy": 5}"#, "policy: must be a JSON object"),
            (r#"{"policy": {"groop": {}}}"#, "policy: must have known fields only"),
            (r#"{"policy": {"effective_from": 5}}"#, "policy.effective_from: must not be there"),
            (r#"{"policy": {"group": {"opn": true}}}"#, "policy.group: must have known fields only"),
            (r#"{"policy": {"group": {"validity_days": 91}}}"#, "policy.group.validity_days: must be an integer"),
        ] {
            let refusal = match read(body) {
                Err(ApiError::InvalidRequest(detail)) => detail,
                other => format!("{other:?}"),
            };
            assert!(refusal.starts_with(expected), "{body}: {refusal}");
        }
        assert!(read(r#"{"policy": {}, "from": 5, "to": 2678400005}"#).is_ok(), "31 days");
    }
}
