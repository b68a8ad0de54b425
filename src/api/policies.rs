//! The limits of an app: what is in force, every version there was, and a new one.
//!
//! A version is written to the log, and comes to the tables as the workers meet it there. So two writers who read the
//! same tables could both believe to be the next: whoever writes names the version he started from, and the log's own
//! note of what was written last decides.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::access::Access;
use super::as_of::AppAsOf;
use super::cursor::{ListFingerprint, decode_position, encode_position};
use super::description::PageCursor;
use super::error::{ApiError, CommonProblems, Problem};
use super::in_path::AppPath;
use super::json_body::require_json;
use super::parameters::{DEFAULT_LIMIT, parse_limit};
use super::query_string::{set_once, unknown};
use crate::event::decode_policy_file;
use crate::log::control::{ControlError, ControlWriter};
use crate::policy::command::{PolicyCommandError, append};
use crate::policy::{GroupPolicy, Policy, SinglePolicy};
use crate::store::query::StoredPolicyVersion;

/// How long a change waits for workers to meet the version written last.
const PENDING_PATIENCE: Duration = Duration::from_secs(5);
const PENDING_PAUSE: Duration = Duration::from_millis(100);

/// The limits in force now.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct PolicyInForce {
    /// Its version; 0 where none is in force and the defaults hold.
    version: u64,
    /// From which event time on, in ms since 1970; `null` of the defaults.
    #[schema(required)]
    effective_from: Option<i64>,
    /// The limits.
    policy: Policy,
    /// The greatest version there is, be it in force or not: what `If-Match` of a change has to name. 0 where there is
    /// none.
    latest_version: u64,
    /// How far the answer is complete; `null` before the first flush of all.
    #[schema(required)]
    as_of: Option<AppAsOf>,
}

/// A page of the versions of an app's policy.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct PolicyHistoryPage {
    /// In the order in which they come into force.
    versions: Vec<PolicyVersionView>,
    /// Give it as `cursor` to get the next page; `null` on the last one.
    #[schema(required)]
    next_cursor: Option<String>,
    /// How far the answer is complete; `null` before the first flush of all.
    #[schema(required)]
    as_of: Option<AppAsOf>,
}

/// A version of an app's policy.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct PolicyVersionView {
    /// Its number: the writer's clock in ms.
    version: u64,
    /// From which event time on, in ms since 1970.
    effective_from: i64,
    /// Whether it is in force now.
    in_force: bool,
    /// In how many partitions' logs workers have met it.
    partitions_met: u64,
    /// The limits.
    policy: Policy,
}

/// What was written.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct PolicyWritten {
    /// Its number: what `If-Match` of the next change has to name.
    version: u64,
    /// From which event time on, in ms since 1970.
    effective_from: i64,
    /// The limits.
    policy: Policy,
    /// How many partitions have a copy. Each takes it for the events behind it; the history tells how many have.
    partitions: u32,
}

/// A new version: what differs from the defaults.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the description of what the decoder of control records reads")]
pub(crate) struct PolicyChange {
    /// From which event time on, in ms since 1970; the time of writing where it is absent.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 4_102_444_799_999_i64)]
    effective_from: i64,
    /// Limits of group chats.
    #[serde(default)]
    group: GroupPolicy,
    /// Limits of single chats.
    #[serde(default)]
    single: SinglePolicy,
    /// How long a receipt waits for its message, in hours of event time.
    #[serde(default)]
    #[schema(maximum = 4_294_967_295_i64, default = 24)]
    parking_hours: u32,
    /// Whether notifications are written.
    #[serde(default)]
    notify: bool,
}

/// Which page of the history.
#[derive(Clone, Debug, Default, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct HistoryQuery {
    /// How many versions in one answer.
    #[param(required = false, minimum = 1, maximum = 500, default = 100)]
    limit: Option<usize>,
    /// The `next_cursor` of the page before.
    #[param(required = false, value_type = PageCursor)]
    cursor: Option<String>,
}

/// Place of a version in the history.
type HistoryPosition = (i64, u64);

/// The limits in force now.
#[utoipa::path(
    get,
    path = "/v1/{org}/{app}/policy",
    tag = "policy",
    params(AppPath),
    responses(
        (status = 200, description = "The limits in force.", body = PolicyInForce,
            headers(("etag" = String, description = "The latest version, for `If-Match`."))),
        CommonProblems,
    ),
    security(("bearer" = []))
)]
pub(crate) async fn policy_in_force(State(state): State<Arc<ApiState>>, access: Access) -> Result<Response, ApiError> {
    access.require_service()?;
    let as_of = AppAsOf::of(&state.queries.frontiers().await?);
    let versions = state.queries.policy_versions(access.app()).await?;
    let latest_version = latest_version(&versions);
    let in_force = position_in_force(&versions).and_then(|position| versions.into_iter().nth(position));
    let answer = match in_force.map(|stored| stored.version) {
        Some(version) => PolicyInForce {
            version: version.version,
            effective_from: Some(version.effective_from.millis()),
            policy: version.policy,
            latest_version,
            as_of,
        },
        None => PolicyInForce { version: 0, effective_from: None, policy: Policy::DEFAULT, latest_version, as_of },
    };
    Ok(([(header::ETAG, entity_tag(latest_version))], Json(answer)).into_response())
}

/// Every version of the app's policy.
#[utoipa::path(
    get,
    path = "/v1/{org}/{app}/policy/history",
    tag = "policy",
    params(AppPath, HistoryQuery),
    responses((status = 200, description = "A page of the versions.", body = PolicyHistoryPage), CommonProblems),
    security(("bearer" = []))
)]
pub(crate) async fn policy_history(
    State(state): State<Arc<ApiState>>,
    access: Access,
    RawQuery(query): RawQuery,
) -> Result<Json<PolicyHistoryPage>, ApiError> {
    access.require_service()?;
    let query = HistoryQuery::parse(query.as_deref().unwrap_or_default())?;
    let list = ListFingerprint::of(["policy_history", access.app().as_str()]);
    let after: Option<HistoryPosition> =
        query.cursor.as_deref().map(|cursor| decode_position(cursor, list)).transpose()?;
    let as_of = AppAsOf::of(&state.queries.frontiers().await?);
    let stored = state.queries.policy_versions(access.app()).await?;
    let in_force = position_in_force(&stored);
    let views = stored.into_iter().enumerate().map(|(position, stored)| PolicyVersionView {
        version: stored.version.version,
        effective_from: stored.version.effective_from.millis(),
        in_force: Some(position) == in_force,
        partitions_met: stored.partitions_met,
        policy: stored.version.policy,
    });
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    let mut versions: Vec<PolicyVersionView> =
        views.filter(|view| after.is_none_or(|after| view.position() > after)).take(limit + 1).collect();
    let has_more = versions.len() > limit;
    versions.truncate(limit);
    let last = versions.last().filter(|_| has_more).map(PolicyVersionView::position);
    Ok(Json(PolicyHistoryPage { versions, next_cursor: last.map(|last| encode_position(&last, list)), as_of }))
}

/// Writes a new version of the app's policy.
#[utoipa::path(
    put,
    path = "/v1/{org}/{app}/policy",
    tag = "policy",
    params(
        AppPath,
        ("if-match" = String, Header, example = "\"0\"", pattern = r#"^(\*|"[0-9]{1,19}"(, "[0-9]{1,19}")*)$"#, description = "The \
            `latest_version` that the change was made from, in quotes; `*` to write whatever there is."),
    ),
    request_body(content = PolicyChange, example = json!({"group": {"open": true, "senders": "members"}})),
    responses(
        (status = 200, description = "It stands in the log of every partition.", body = PolicyWritten,
            headers(("etag" = String, description = "The version, for `If-Match` of the next change."))),
        (status = 412, description = "Another version was written since (`precondition_failed`).", body = Problem,
            content_type = "application/problem+json"),
        (status = 413, description = "The body is too large (`payload_too_large`).", body = Problem,
            content_type = "application/problem+json"),
        (status = 415, description = "The body is no JSON (`unsupported_media_type`).", body = Problem,
            content_type = "application/problem+json"),
        (status = 428, description = "`If-Match` is missing (`precondition_required`).", body = Problem,
            content_type = "application/problem+json"),
        CommonProblems,
    ),
    security(("bearer" = []))
)]
pub(crate) async fn put_policy(
    State(state): State<Arc<ApiState>>,
    access: Access,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    access.require_admin()?;
    require_json(&headers)?;
    // Before anything is asked of Kafka, and whatever version it was made from.
    decode_policy_file(access.app().as_str(), 0, &body).map_err(PolicyCommandError::from)?;
    let expected = Precondition::of(&headers)?;
    // Before anything is asked of Kafka: mistakes are told without it.
    decode_policy_file(access.app().as_str(), 0, &body).map_err(PolicyCommandError::Malformed)?;
    let config = state.config.clone();
    let connect = move || {
        let writer = ControlWriter::connect(&config.kafka, config.worker.delivery)?;
        Ok((writer.last_version()?, config))
    };
    let (last, config) = blocking(connect).await?;
    if expected != Precondition::Any {
        state.wait_until_met(last).await?;
        let latest = latest_version(&state.queries.policy_versions(access.app()).await?);
        if !expected.holds(latest) {
            return Err(ApiError::PreconditionFailed(latest));
        }
    }
    let app = access.app().as_str().to_owned();
    let write = move || {
        let writer = ControlWriter::connect(&config.kafka, config.worker.delivery)?;
        append(&writer, &app, &body, last)
    };
    let written = blocking(write).await?;
    tracing::info!(
        app = access.app().as_str(),
        by = access.caller().subject,
        version = written.version.version,
        "policy"
    );
    let answer = PolicyWritten {
        version: written.version.version,
        effective_from: written.version.effective_from.millis(),
        policy: written.version.policy,
        partitions: written.partitions,
    };
    Ok(([(header::ETAG, entity_tag(answer.version))], Json(answer)).into_response())
}

impl ApiState {
    /// Waits until the tables have the version written last, of whatever app.
    async fn wait_until_met(&self, last: u64) -> Result<(), ApiError> {
        let deadline = Instant::now() + PENDING_PATIENCE;
        while self.queries.latest_control_version().await? < last {
            if Instant::now() >= deadline {
                return Err(ApiError::PolicyPending);
            }
            tokio::time::sleep(PENDING_PAUSE).await;
        }
        Ok(())
    }
}

/// Runs what waits for Kafka where it may block.
async fn blocking<T: Send + 'static>(
    run: impl FnOnce() -> Result<T, PolicyCommandError> + Send + 'static,
) -> Result<T, ApiError> {
    match tokio::task::spawn_blocking(run).await {
        Ok(result) => Ok(result?),
        Err(error) => {
            tracing::error!(%error, "writing a policy met a defect");
            Err(ApiError::Internal)
        }
    }
}

impl From<PolicyCommandError> for ApiError {
    fn from(error: PolicyCommandError) -> Self {
        match error {
            PolicyCommandError::Malformed(malformed) => {
                // Whoever asks has sent a body, of which the record is made.
                let field = if malformed.field == "record" { "body" } else { malformed.field };
                Self::InvalidRequest(format!("{field}: {}", malformed.rule))
            }
            PolicyCommandError::Control(ControlError::Overtaken { last }) => Self::PreconditionFailed(last),
            PolicyCommandError::Store(error) => error.into(),
            PolicyCommandError::Log(error) | PolicyCommandError::Control(ControlError::Log(error))
                if error.is_transient() =>
            {
                tracing::warn!(%error, "a policy may not have been written");
                Self::Unavailable
            }
            error => {
                tracing::error!(%error, "a policy cannot be written");
                Self::Internal
            }
        }
    }
}

/// What a change says of the version it was made from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Precondition {
    /// Whatever there is.
    Any,
    /// One of these.
    OneOf(Vec<u64>),
}

impl Precondition {
    fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        let invalid = || {
            let rule = "If-Match: must be a version in quotes, as in \"1772366400000\", or *";
            ApiError::InvalidRequest(rule.to_owned())
        };
        let mut versions = Vec::new();
        for value in headers.get_all(header::IF_MATCH) {
            for tag in value.to_str().map_err(|_| invalid())?.split(',').map(str::trim) {
                if tag == "*" {
                    return Ok(Self::Any);
                }
                let version = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
                versions.push(version.and_then(|version| version.parse().ok()).ok_or_else(invalid)?);
            }
        }
        if versions.is_empty() { Err(ApiError::PreconditionRequired) } else { Ok(Self::OneOf(versions)) }
    }

    fn holds(&self, latest: u64) -> bool {
        match self {
            Self::Any => true,
            Self::OneOf(versions) => versions.contains(&latest),
        }
    }
}

impl PolicyVersionView {
    fn position(&self) -> HistoryPosition {
        (self.effective_from, self.version)
    }
}

impl HistoryQuery {
    fn parse(query: &str) -> Result<Self, ApiError> {
        let mut read = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match name.as_ref() {
                "limit" => set_once(&mut read.limit, "limit", parse_limit(&value)?)?,
                "cursor" => set_once(&mut read.cursor, "cursor", value.into_owned())?,
                _ => return Err(unknown(&name, "limit and cursor")),
            }
        }
        Ok(read)
    }
}

/// Versions come in the order in which they come into force.
fn position_in_force(versions: &[StoredPolicyVersion]) -> Option<usize> {
    let present = super::now();
    versions.iter().rposition(|stored| stored.version.effective_from <= present)
}

fn latest_version(versions: &[StoredPolicyVersion]) -> u64 {
    versions.iter().map(|stored| stored.version.version).max().unwrap_or_default()
}

fn entity_tag(version: u64) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{version}\"")).unwrap_or(HeaderValue::from_static("\"0\""))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn precondition(values: &[&str]) -> Result<Precondition, ApiError> {
        let value = |value: &&str| (header::IF_MATCH, HeaderValue::from_str(value).unwrap());
        let mut headers = HeaderMap::new();
        values.iter().map(value).for_each(|(name, value)| {
            headers.append(name, value);
        });
        Precondition::of(&headers)
    }

    #[test]
    fn a_change_names_the_version_it_was_made_from() {
        assert_eq!(precondition(&[]), Err(ApiError::PreconditionRequired));
        assert_eq!(precondition(&["*"]), Ok(Precondition::Any));
        assert_eq!(precondition(&["\"5\""]), Ok(Precondition::OneOf(vec![5])));
        assert_eq!(precondition(&["\"5\", \"6\"", "\"7\""]), Ok(Precondition::OneOf(vec![5, 6, 7])));
        for refused in ["5", "W/\"5\"", "\"5", "\"x\"", "\"-1\"", ""] {
            assert!(matches!(precondition(&[refused]), Err(ApiError::InvalidRequest(_))), "{refused}");
        }
        assert!(precondition(&["\"5\", \"6\""]).unwrap().holds(6));
        assert!(!precondition(&["\"5\""]).unwrap().holds(6));
    }
}
