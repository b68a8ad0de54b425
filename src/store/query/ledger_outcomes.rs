//! What became of an app's records, from the ledger.

use clickhouse::Row;
use serde::Deserialize;

use super::{Queries, TimeSteps};
use crate::event::{AppId, EventTime};
use crate::store::StoreError;

/// How many records of one kind had one outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepOutcome {
    /// When the step begins.
    pub start: EventTime,
    /// Whether it is what a wait ended with; else what became of a record when it came.
    pub is_settled: bool,
    /// The type's name; empty for unknown types.
    pub event_type: String,
    /// The outcome's name.
    pub outcome: String,
    /// How many.
    pub records: u64,
}

#[derive(Row, Deserialize)]
struct OutcomeRow {
    start_ms: i64,
    is_settled: u8,
    #[serde(rename = "type")]
    event_type: String,
    outcome: String,
    records: u64,
}

impl Queries {
    /// What became of an app's records, exact, by step of record time and then by type and outcome. Steps are whole hours.
    ///
    /// # Errors
    /// What ClickHouse said.
    pub async fn ledger_outcomes(&self, app: AppId<'_>, steps: TimeSteps) -> Result<Vec<StepOutcome>, StoreError> {
        let query = self
            .statements
            .client
            .query(include_str!("ledger_outcomes.sql"))
            .bind(steps.step_millis)
            .bind(app.as_str())
            .bind(steps.from.millis())
            .bind(steps.until.millis());
        let rows = self.statements.reading("ledger").bounded(query.fetch_all::<OutcomeRow>()).await?;
        let outcomes = rows.into_iter().map(|row| {
            let OutcomeRow { start_ms, is_settled, event_type, outcome, records } = row;
            let start = EventTime::from_millis(start_ms);
            StepOutcome { start, is_settled: is_settled == 1, event_type, outcome, records }
        });
        Ok(outcomes.collect())
    }
}
