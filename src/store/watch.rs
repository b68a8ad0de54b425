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
pub async fn watch_clickhouse(config: &ClickHouseConfig, readiness: &Readiness) {
    let answers = readiness.condition("clickhouse_answers");
    let schema = readiness.condition("schema_current");
    let mut config = config.clone();
    config.timeout_ms = config.timeout_ms.min(LONGEST_ANSWER_MILLIS);
    loop {
        // A connection that failed once is not asked again.
        match check_schema(&config, &connect(&config)).await {
            Ok(()) => {
                answers.met();
                schema.met();
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
