//! The janitor of the tables: once an hour, in the one process of the group that owns partition 0.

use std::time::Duration;

use super::metrics::WorkerMetrics;
use super::ownership::CleaningDuty;
use crate::store::{Cleaned, Janitor};

/// How often it looks.
const INTERVAL: Duration = Duration::from_secs(60 * 60);

/// How soon it looks for the first time, and again after a failure or where the duty was another's: also a worker that is
/// restarted every hour gets there.
const FIRST_LOOK: Duration = Duration::from_secs(5 * 60);

/// Cleans again and again while the duty is this process's. Never ends; may be dropped at any time.
pub(super) async fn keep_clean(janitor: Janitor, duty: CleaningDuty, metrics: WorkerMetrics) {
    let mut pause = FIRST_LOOK;
    loop {
        tokio::time::sleep(pause).await;
        pause = FIRST_LOOK;
        if !duty.is_ours() {
            continue;
        }
        let result = match janitor.clean().await {
            Ok(cleaned) => {
                report(&cleaned, &metrics);
                pause = INTERVAL;
                "ok"
            }
            Err(error) => {
                tracing::warn!(%error, "the tables were not cleaned; nothing else waits for it");
                "failed"
            }
        };
        metrics.janitor_runs.with_label_values(&[result]).inc();
    }
}

fn report(cleaned: &Cleaned, metrics: &WorkerMetrics) {
    for (table, week) in &cleaned.weeks {
        metrics.janitor_weeks.with_label_values(&[table.name()]).inc();
        tracing::info!(table = table.name(), week, "dropped a week behind the retention");
    }
    metrics.janitor_boundaries.inc_by(cleaned.boundaries);
    if cleaned.boundaries > 0 {
        tracing::info!(boundaries = cleaned.boundaries, "thinned closed hours of the ledger");
    }
}
