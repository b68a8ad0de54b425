//! The watch over ClickHouse that readiness shows.

use std::time::Duration;

use super::{StoreError, check_schema, connect};
use crate::config::ClickHouseConfig;
use crate::observe::Readiness;

/// How often ClickHouse is asked.
const INTERVAL: Duration = Duration::from_secs(2);

/// How long it may take to answer, in ms: who asks for readiness wants to know sooner than a large insert may take.
const LONGEST_ANSWER_MILLIS: u64 = 2_500;

/// Asks ClickHouse again and again whether it answers, and with the tables that this binary was made for, and keeps the
/// conditions `clickhouse_answers` and `schema_current` up to date. Never ends.
///
/// Tables that become newer meanwhile are those of a version that is being rolled out, which only adds to what this one
/// uses: it goes on until it is replaced.
pub async fn watch_clickhouse(config: &ClickHouseConfig, readiness: &Readiness) {
    let answers = readiness.condition("clickhouse_answers");
    let schema = readiness.condition("schema_current");
    let mut config = config.clone();
    config.timeout_ms = config.timeout_ms.min(LONGEST_ANSWER_MILLIS);
    let mut was_current = false;
    let mut warned_of = None;
    loop {
        // A connection that failed once is not asked again.
        match check_schema(&config, &connect(&config)).await {
            Ok(()) => {
                was_current = true;
                answers.met();
                schema.met();
            }
            Err(error @ StoreError::SchemaNewer { found, .. }) if was_current => {
                if warned_of.replace(found) != Some(found) {
                    tracing::warn!(%error, "the tables were migrated; this process goes on until it is replaced");
                }
                answers.met();
                schema.met_for_now(error.to_string());
            }
            Err(
                error @ (StoreError::SchemaOlder { .. }
                | StoreError::SchemaNewer { .. }
                | StoreError::SchemaDiffers { .. }),
            ) => {
                answers.met();
                schema.unmet(error.to_string());
            }
            Err(error) => {
                answers.unmet(error.to_string());
                schema.unmet("unknown while ClickHouse does not answer");
            }
        }
        tokio::time::sleep(INTERVAL).await;
    }
}
