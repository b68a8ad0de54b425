//! What is kept about a user, and forgetting him.
//!
//! An erasure is a record in the log: every partition's fold forgets the user where it meets it, states read back do the
//! same, and the worker that owns partition 0 takes what is in front of it out of the tables. What the user does later is
//! not touched.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::ApiState;
use super::access::Access;
use super::as_of::AppAsOf;
use super::error::{ApiError, CommonProblems};
use super::in_path::{InPath, UserPath};
use crate::config::Config;
use crate::event::{Control, Erase, EventType, UserId, encode_control};
use crate::log::SourceError;
use crate::log::control::{ControlError, ControlRecord, ControlWriter, next_version};
use crate::log::topics::{TopicRetention, retentions};
use crate::store::Erasure;

/// How often writing is tried again where other writers are first.
const WRITE_ATTEMPTS: u32 = 5;

/// What was asked for.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ErasureRequested {
    /// Who is forgotten.
    user: String,
    /// Number of the erasure among the app's control records: the writer's clock in ms.
    version: u64,
    /// How many partitions have a copy of the record.
    partitions: u32,
}

/// What is kept about a user.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct UserData {
    /// The user's id.
    user: String,
    /// His erasures that workers have met, the latest last.
    erasures: Vec<ErasureState>,
    /// Rows about him by table. Recalls that he made of other people's messages stay without his name; the record of an
    /// erasure names him for as long as there is one.
    rows: Vec<RowsKept>,
    /// What the topics still hold of what they were given before the last erasure; `null` where there was none, or the
    /// broker does not tell.
    topics: Option<Vec<TopicKept>>,
    /// How far the answer is complete; `null` before the first flush of all.
    as_of: Option<AppAsOf>,
}

/// An erasure.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct ErasureState {
    /// Its number among the app's control records: the writer's clock in ms.
    version: u64,
    /// In how many partitions' logs workers have met it.
    partitions_met: usize,
    /// When what was in front of it was taken out of the tables, in ms since 1970; `null` where that is still to come.
    swept_at: Option<i64>,
}

/// Rows of one table.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct RowsKept {
    /// The table.
    table: &'static str,
    /// Those in front of the last erasure: 0 once it is carried out.
    in_front: u64,
    /// All others: what came after it, or everything where there was none.
    behind: u64,
}

/// A topic, which forgets by its age alone.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct TopicKept {
    /// Its name.
    topic: String,
    /// How long it keeps records, in ms; `null` for ever.
    retention_ms: Option<u64>,
    /// When the last record from before the erasure is gone at the latest, in ms since 1970: retention and the age of a
    /// segment behind it; `null` never.
    gone_by: Option<u64>,
}

/// Forgets a user: everything from before is taken out of the tables.
#[utoipa::path(
    delete,
    path = "/v1/{org}/{app}/users/{user}/data",
    tag = "users",
    params(UserPath),
    responses(
        (status = 202, description = "The erasure stands in the log of every partition; `GET` of the same path tells how \
            far it is.", body = ErasureRequested,
            headers(("location" = String, description = "Where its progress is told."))),
        CommonProblems,
    ),
    security(("bearer" = []))
)]
pub(crate) async fn erase_user_data(
    State(state): State<Arc<ApiState>>,
    access: Access,
    InPath(path): InPath<UserPath>,
) -> Result<Response, ApiError> {
    access.require_admin()?;
    let (config, app, user) = (state.config.clone(), access.app().as_str().to_owned(), path.user.clone());
    let written = tokio::task::spawn_blocking(move || write_erasure(&config, &app, &user)).await;
    let written = written.map_err(|error| {
        tracing::error!(%error, "writing an erasure met a defect");
        ApiError::Internal
    })??;
    tracing::info!(
        app = access.app().as_str(),
        by = access.caller().subject,
        version = written.version,
        "erasure of a user"
    );
    let location = access.app().as_str().replace('#', "/");
    let location = HeaderValue::from_str(&format!("/v1/{location}/users/{}/data", path.user));
    let mut answer = (StatusCode::ACCEPTED, Json(written)).into_response();
    // Ids may hold what a header may not.
    if let Ok(location) = location {
        answer.headers_mut().insert(header::LOCATION, location);
    }
    Ok(answer)
}

/// What is kept about a user, and how far his erasures are.
#[utoipa::path(
    get,
    path = "/v1/{org}/{app}/users/{user}/data",
    tag = "users",
    params(UserPath),
    responses((status = 200, description = "Counts by table, and erasures.", body = UserData), CommonProblems),
    security(("bearer" = []))
)]
pub(crate) async fn user_data(
    State(state): State<Arc<ApiState>>,
    access: Access,
    InPath(path): InPath<UserPath>,
) -> Result<Json<UserData>, ApiError> {
    access.require_service()?;
    let as_of = AppAsOf::of(&state.queries.frontiers().await?);
    let met = state.queries.erasures(access.app(), UserId::trusted(&path.user)).await?;
    let none = Erasure { app: access.app().as_str().to_owned(), user: path.user.clone(), ..Erasure::default() };
    let last = met.last().map(|met| &met.erasure);
    let rows = state.queries.rows_about(last.unwrap_or(&none)).await?;
    let topics = match last {
        Some(last) => topics_kept(&state.config, last.version).await,
        None => None,
    };
    let kept = |(table, about): (crate::store::Table, crate::store::RowsAbout)| RowsKept {
        table: table.name(),
        in_front: about.in_front,
        behind: about.rows.saturating_sub(about.in_front),
    };
    Ok(Json(UserData {
        user: path.user,
        erasures: met
            .iter()
            .map(|met| ErasureState {
                version: met.erasure.version,
                partitions_met: met.erasure.copies.len(),
                swept_at: met.swept_at_millis,
            })
            .collect(),
        rows: rows.into_iter().map(kept).collect(),
        topics,
        as_of,
    }))
}

/// Writes the record to every partition, behind whatever other writers write meanwhile.
fn write_erasure(config: &Config, app: &str, user: &str) -> Result<ErasureRequested, ApiError> {
    for _ in 0..WRITE_ATTEMPTS {
        let writer = ControlWriter::connect(&config.kafka, config.worker.delivery)?;
        let last = writer.last_version()?;
        let version = next_version(last);
        let mut value = Vec::new();
        let erase = Erase { app: app.to_owned(), version, user: user.to_owned() };
        encode_control(&Control::Erase(erase), &mut value);
        match writer.write(&ControlRecord { kind: EventType::Erase, version, value: &value }, last) {
            Ok(()) => {
                return Ok(ErasureRequested { user: user.to_owned(), version, partitions: writer.partitions() });
            }
            Err(ControlError::Overtaken { .. }) => {}
            Err(ControlError::Log(error)) => return Err(error.into()),
        }
    }
    Err(ApiError::Unavailable)
}

impl From<SourceError> for ApiError {
    fn from(error: SourceError) -> Self {
        if error.is_transient() {
            tracing::warn!(%error, "an erasure may not have been written");
            Self::Unavailable
        } else {
            tracing::error!(%error, "an erasure cannot be written");
            Self::Internal
        }
    }
}

/// What the topics still hold of what they were given before a time.
async fn topics_kept(config: &Arc<Config>, erased_at_millis: u64) -> Option<Vec<TopicKept>> {
    let config = Arc::clone(config);
    let asked = tokio::task::spawn_blocking(move || retentions(&config.kafka)).await;
    let kept = |TopicRetention { topic, retention_millis, segment_millis }| TopicKept {
        topic,
        retention_ms: retention_millis,
        gone_by: retention_millis
            .map(|retention| erased_at_millis.saturating_add(retention).saturating_add(segment_millis)),
    };
    match asked {
        Ok(Ok(topics)) => Some(topics.into_iter().map(kept).collect()),
        Ok(Err(error)) => {
            tracing::warn!(%error, "the broker does not tell what its topics keep");
            None
        }
        Err(error) => {
            tracing::error!(%error, "asking what topics keep met a defect");
            None
        }
    }
}
