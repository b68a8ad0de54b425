//! How many more messages of a group may ask for receipts, and whether one would be opened now.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use chrono::NaiveDate;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::access::Access;
use super::as_of::AsOf;
use super::description::Id;
use super::error::{ApiError, CommonProblems, Problem};
use super::in_path::{GroupPath, InPath};
use super::json_body::JsonBody;
use super::query_string::{ID_RULE, invalid, set_once, unknown};
use crate::config::is_id;
use crate::event::{ConversationKey, EventTime, Role, UserId};
use crate::fold::{Asker, judge_request};
use crate::policy::QuotaDay;

/// The quota of a group on one day. All limits are those of the policy in force now.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Quota {
    /// The group's id.
    group: String,
    /// The date, as `2026-03-29`.
    day: String,
    /// The IANA zone on whose clocks the day begins and ends.
    timezone: &'static str,
    /// The day's first instant, in ms since 1970.
    begins_at: i64,
    /// The first instant behind it, in ms since 1970: 23 or 25 hours later where clocks change.
    ends_at: i64,
    /// Messages of the group that were opened on this date; zones share a date's limit.
    used: u64,
    /// How many may be.
    limit: u32,
    /// How many still may be.
    remaining: u64,
    /// How far the answer is complete; `null` before the first flush of the group's partition.
    #[schema(required)]
    as_of: Option<AsOf>,
}

/// Which day.
#[derive(Clone, Debug, Default, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct QuotaQuery {
    /// A date as `2026-03-29`; absent: today on the clocks of the policy's zone.
    #[param(required = false, value_type = String, format = Date, pattern = "^(1969-12-31|19[7-9][0-9]-[0-9]{2}-[0-9]{2}|20[0-9]{2}-[0-9]{2}-[0-9]{2}|2100-01-01)$")]
    day: Option<QuotaDay>,
}

/// Who would ask.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReceiptCheck {
    /// The sender.
    #[schema(value_type = Id)]
    from: String,
    /// His role as the message would tell it; absent or null: the one that the group's roster gives him.
    role: Option<CheckedRole>,
}

/// A role in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CheckedRole {
    /// The owner.
    Owner,
    /// An administrator.
    Admin,
    /// An ordinary member.
    Member,
}

/// What would become of a message that asks for receipts.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ReceiptVerdict {
    /// Whether it would be open for receipts.
    would_open: bool,
    /// `opened`, `not_open`, `permission_denied` or `quota_exceeded`.
    outcome: &'static str,
    /// What the vendor's client shows; `null` where it would be opened.
    #[schema(required)]
    words: Option<&'static str>,
    /// The vendor's number of it; `null` where it would be opened.
    #[schema(required)]
    code: Option<u16>,
    /// How far the answer is complete; `null` before the first flush of the group's partition.
    #[schema(required)]
    as_of: Option<AsOf>,
}

/// How many more messages of a group may ask for receipts on a day.
#[utoipa::path(
    get,
    path = "/v1/{org}/{app}/groups/{group}/quota",
    tag = "groups",
    params(GroupPath, QuotaQuery),
    responses((status = 200, description = "The quota of the day.", body = Quota), CommonProblems),
    security(("bearer" = []))
)]
pub(crate) async fn quota(
    State(state): State<Arc<ApiState>>,
    access: Access,
    InPath(path): InPath<GroupPath>,
    RawQuery(query): RawQuery,
) -> Result<Json<Quota>, ApiError> {
    access.require_service()?;
    let query = QuotaQuery::parse(query.as_deref().unwrap_or_default())?;
    let conversation = path.conversation_key();
    let as_of = state.queries.frontier(&conversation).await?.map(AsOf::from);
    let now = super::now();
    let policy = state.queries.policy_in_force(access.app(), now).await?.group;
    let day = query.day.unwrap_or_else(|| QuotaDay::of(now, policy.timezone));
    let used = state.queries.opened_on(access.app(), ConversationKey::trusted(&conversation), day).await?;
    Ok(Json(Quota {
        group: path.group,
        day: day.date().map(|date| date.to_string()).unwrap_or_default(),
        timezone: policy.timezone.name(),
        begins_at: day.begins(policy.timezone).millis(),
        ends_at: day.ends(policy.timezone).millis(),
        used,
        limit: policy.messages_per_day,
        remaining: u64::from(policy.messages_per_day).saturating_sub(used),
        as_of,
    }))
}

/// Whether a message that asks for receipts would be opened now: by the policy in force now, the sender's role and what
/// is left of today's quota.
#[utoipa::path(
    post,
    path = "/v1/{org}/{app}/groups/{group}/receipt-check",
    tag = "groups",
    params(GroupPath),
    request_body(content = ReceiptCheck, example = json!({"from": "alice", "role": "owner"})),
    responses(
        (status = 200, description = "What would become of it.", body = ReceiptVerdict),
        CommonProblems,
        (status = 413, description = "The body is too large (`payload_too_large`).", body = Problem,
            content_type = "application/problem+json"),
        (status = 415, description = "The body is no JSON (`unsupported_media_type`).", body = Problem,
            content_type = "application/problem+json"),
    ),
    security(("bearer" = []))
)]
pub(crate) async fn receipt_check(
    State(state): State<Arc<ApiState>>,
    access: Access,
    InPath(path): InPath<GroupPath>,
    JsonBody(check): JsonBody<ReceiptCheck>,
) -> Result<Json<ReceiptVerdict>, ApiError> {
    if !is_id(&check.from) {
        return Err(invalid("from", ID_RULE));
    }
    access.require_one_of(&[&check.from])?;
    let conversation = path.conversation_key();
    let as_of = state.queries.frontier(&conversation).await?.map(AsOf::from);
    let group = ConversationKey::trusted(&conversation);
    let now = super::now();
    let policy = state.queries.policy_in_force(access.app(), now).await?.group;
    let today = QuotaDay::of(now, policy.timezone);
    let (used, known) = tokio::try_join!(
        state.queries.opened_on(access.app(), group, today),
        state.queries.standing(access.app(), group, UserId::trusted(&check.from)),
    )?;
    let asker = Asker { role: check.role.map(Role::from).or(known.role), ..known };
    let opened = u32::try_from(used).unwrap_or(u32::MAX);
    let (status, _) = judge_request(&policy, asker, now, |_| opened);
    let outcome = status.outcome();
    let refusal = outcome.client_error();
    Ok(Json(ReceiptVerdict {
        would_open: refusal.is_none(),
        outcome: outcome.name(),
        words: refusal.map(|refusal| refusal.words),
        code: refusal.map(|refusal| refusal.code),
        as_of,
    }))
}

impl From<CheckedRole> for Role {
    fn from(role: CheckedRole) -> Self {
        match role {
            CheckedRole::Owner => Self::Owner,
            CheckedRole::Admin => Self::Admin,
            CheckedRole::Member => Self::Member,
        }
    }
}

impl QuotaQuery {
    fn parse(query: &str) -> Result<Self, ApiError> {
        let mut read = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match name.as_ref() {
                "day" => set_once(&mut read.day, "day", parse_day(&value)?)?,
                _ => return Err(unknown(&name, "day")),
            }
        }
        Ok(read)
    }
}

/// Reads a date on which some zone has an instant that events can have.
fn parse_day(value: &str) -> Result<QuotaDay, ApiError> {
    let last = QuotaDay::of(EventTime::MAX, chrono_tz::Tz::Pacific__Kiritimati);
    let written = |date: &NaiveDate| date.to_string() == value;
    NaiveDate::parse_from_str(value, "%Y-%m-%d")
        .ok()
        .filter(written)
        .and_then(|date| i32::try_from((date - NaiveDate::default()).num_days()).ok())
        .map(QuotaDay::from_days)
        .filter(|day| (-1..=last.days()).contains(&day.days()))
        .ok_or_else(|| invalid("day", "must be a date from 1969-12-31 to 2100-01-01, as 2026-03-29"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_written_in_one_way() {
        let day = |text| parse_day(text).ok().map(QuotaDay::days);
        assert_eq!(day("1970-01-01"), Some(0));
        assert_eq!(day("1969-12-31"), Some(-1));
        assert_eq!(day("2100-01-01"), Some(47_482));
        for refused in ["", "1969-12-30", "2100-01-02", "2026-3-1", "2026-02-30", "2026-03-01 ", "+2026-03-01", "today"]
        {
            assert_eq!(day(refused), None, "{refused}");
        }
    }
}
