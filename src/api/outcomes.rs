//! What became of an app's records, by type, outcome and time: the ledger's sums.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::access::Access;
use super::as_of::AppAsOf;
use super::description::StepOfHours;
use super::error::{ApiError, CommonProblems};
use super::in_path::AppPath;
use super::query_string::{parse_time, parse_word, set_once, unknown};
use super::time_range::{Step, TimeRange};
use crate::event::EventTime;
use crate::store::query::StepOutcome;

/// What became of an app's records.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Outcomes {
    /// How time is divided.
    step: Step,
    /// The first instant that is counted, in ms since 1970: the start of a step.
    from: i64,
    /// The instant behind the last one that is counted, in ms since 1970: the end of a step.
    to: i64,
    /// Steps in which something was counted.
    buckets: Vec<OutcomeBucket>,
    /// How far the answer is complete; `null` before the first flush of all.
    #[schema(required)]
    as_of: Option<AppAsOf>,
}

/// What became of the records of one step.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct OutcomeBucket {
    /// When the step begins, in ms since 1970.
    start: i64,
    /// Records by what became of them when they came; the counts add up to the records consumed. Records that cannot be
    /// read belong to no app and are not among them.
    records: Vec<OutcomeCount>,
    /// Records that had been `parked`, by what they ended with. They were counted when they came, too.
    settled: Vec<OutcomeCount>,
}

/// How many records of a type had an outcome.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct OutcomeCount {
    /// The type; empty for unknown types.
    #[serde(rename = "type")]
    event_type: String,
    /// The outcome.
    outcome: String,
    /// How many.
    count: u64,
}

/// Which time.
#[derive(Clone, Debug, Default, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct OutcomesQuery {
    /// The first instant, in ms since 1970, rounded down to a full step; absent: 24 hours or 30 days before `to`.
    #[param(required = false, value_type = Option<i64>, minimum = 0, maximum = 4102444799999_i64)]
    from: Option<EventTime>,
    /// The instant behind the last one, in ms since 1970, rounded up to a full step; absent: now.
    #[param(required = false, value_type = Option<i64>, minimum = 0, maximum = 4102444799999_i64)]
    to: Option<EventTime>,
    /// `hour` (at most 31 days are answered) or `day`, of UTC (at most 400 days).
    #[param(required = false, inline, value_type = StepOfHours)]
    step: Option<Step>,
}

/// What became of an app's records, by type, outcome and hour of the broker's time. Exact, for as long as the ledger is
/// kept, which is for ever.
#[utoipa::path(
    get,
    path = "/v1/{org}/{app}/outcomes",
    tag = "app",
    params(AppPath, OutcomesQuery),
    responses((status = 200, description = "Sums by outcome.", body = Outcomes), CommonProblems),
    security(("bearer" = []))
)]
pub(crate) async fn outcomes(
    State(state): State<Arc<ApiState>>,
    access: Access,
    RawQuery(query): RawQuery,
) -> Result<Json<Outcomes>, ApiError> {
    access.require_service()?;
    let query = OutcomesQuery::parse(query.as_deref().unwrap_or_default())?;
    let step = query.step.unwrap_or(Step::Hour);
    let range = TimeRange::new(step, step.longest_days(), query.from, query.to, super::now())?;
    let as_of = AppAsOf::of(&state.queries.frontiers().await?);
    let found = state.queries.ledger_outcomes(access.app(), range.steps()).await?;
    Ok(Json(Outcomes {
        step: range.step,
        from: range.from.millis(),
        to: range.to.millis(),
        buckets: found.chunk_by(|one, next| one.start == next.start).map(OutcomeBucket::of).collect(),
        as_of,
    }))
}

impl OutcomeBucket {
    /// Of the outcomes of one step.
    fn of(found: &[StepOutcome]) -> Self {
        let counts = |is_settled: bool| {
            let of_them = found.iter().filter(|count| count.is_settled == is_settled);
            of_them
                .map(|count| OutcomeCount {
                    event_type: count.event_type.clone(),
                    outcome: count.outcome.clone(),
                    count: count.records,
                })
                .collect()
        };
        Self {
            start: found.first().map_or(0, |first| first.start.millis()),
            records: counts(false),
            settled: counts(true),
        }
    }
}

impl OutcomesQuery {
    fn parse(query: &str) -> Result<Self, ApiError> {
        let mut read = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match name.as_ref() {
                "from" => set_once(&mut read.from, "from", parse_time("from", &value)?)?,
                "to" => set_once(&mut read.to, "to", parse_time("to", &value)?)?,
                "step" => set_once(&mut read.step, "step", parse_word("step", &value, &Step::WORDS_OF_HOURS)?)?,
                _ => return Err(unknown(&name, "from, to and step")),
            }
        }
        Ok(read)
    }
}
