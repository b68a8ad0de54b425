//! How statements of the API run: so many at once, each within limits that travel with it, none for longer than its
//! question is of interest.

use std::future::Future;

use clickhouse::Client;
use prometheus::IntGauge;
use tokio::sync::Semaphore;

use crate::config::{ExportConfig, StatementLimitsConfig};
use crate::store::StoreError;
use crate::store::connection::Attempt;

/// Lets so many statements run at once; the others wait, in the order in which they came. Nobody waits for longer than he
/// likes: whoever stops waiting (a request's time-out drops it) leaves the queue.
#[derive(Debug)]
pub(super) struct StatementGate {
    permits: Semaphore,
    running: IntGauge,
    waiting: IntGauge,
}

/// A statement that may run.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    pub(super) attempt: Attempt<'a>,
    pub(super) gate: &'a StatementGate,
}

/// One more of a gauge for as long as this lives: also where a question is dropped in the middle.
struct Counted<'a>(&'a IntGauge);

impl<'a> Counted<'a> {
    fn new(gauge: &'a IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl StatementGate {
    /// Lets at most so many run, and at least one.
    pub(super) fn new(most: u32) -> Result<Self, prometheus::Error> {
        Ok(Self {
            permits: Semaphore::new(usize::try_from(most).unwrap_or(Semaphore::MAX_PERMITS).max(1)),
            running: IntGauge::new(
                "seenby_api_statements_running",
                "Statements of the API that ClickHouse is running.",
            )?,
            waiting: IntGauge::new(
                "seenby_api_statements_waiting",
                "Statements that wait for a place, and questions that wait for a share in one.",
            )?,
        })
    }

    /// How many run, and how many wait.
    pub(super) fn gauges(&self) -> [IntGauge; 2] {
        [self.running.clone(), self.waiting.clone()]
    }
}

impl Reading<'_> {
    /// Waits for a place, then for a statement's end. The statement's own time begins with its place.
    pub(super) async fn bounded<T>(
        self,
        answer: impl Future<Output = Result<T, clickhouse::error::Error>>,
    ) -> Result<T, StoreError> {
        let waiting = Counted::new(&self.gate.waiting);
        // The semaphore is never closed; without a place a statement runs all the same.
        let _place = self.gate.permits.acquire().await.ok();
        drop(waiting);
        let _running = Counted::new(&self.gate.running);
        match tokio::time::timeout(self.attempt.timeout, answer).await {
            Ok(Err(error)) => Err(failed_or_cut(self.attempt, &error)),
            Ok(Ok(answer)) => Ok(answer),
            Err(_) => Err(self.attempt.failed(&clickhouse::error::Error::TimedOut)),
        }
    }
}

/// The error of a statement that was sent with limits of its own.
pub(super) fn failed_or_cut(attempt: Attempt<'_>, error: &clickhouse::error::Error) -> StoreError {
    StoreError::cut(attempt.doing, attempt.target, error).unwrap_or_else(|| attempt.failed(error))
}

/// The longest statement, in bytes. ClickHouse's own default, 256 KiB, is less than the keys of 500 conversations take,
/// each 388 bytes of which any may need an escape.
const STATEMENT_BYTES: u64 = 2 * 1024 * 1024;

/// The client with limits on every statement.
pub(super) fn limited(client: Client, limits: &StatementLimitsConfig) -> Client {
    let settings = [
        ("max_rows_to_read", limits.max_rows_to_read),
        ("max_bytes_to_read", limits.max_bytes_to_read),
        ("max_memory_usage", limits.max_memory_bytes),
        ("max_result_rows", limits.max_result_rows),
        ("max_result_bytes", limits.max_result_bytes),
    ];
    let client =
        settings.into_iter().fold(client, |client, (name, value)| client.with_setting(name, value.to_string()));
    reading_alone(client)
        .with_setting("max_execution_time", seconds(limits.max_execution_time_ms))
        // Threads that write an answer beside one another are made for each answer: for a few rows that costs more than
        // writing them.
        .with_setting("output_format_parallel_formatting", "0")
}

/// Rows of an export's answer: twice what a slice may have, as the last one has what is written meanwhile, too.
const EXPORTED_ROWS: u64 = 2_000_000;

/// The client for the rows of exports. How many they read is not bounded: that is their table's length, whatever part of
/// it a slice is.
pub(super) fn limited_export(client: Client, limits: &ExportConfig) -> Client {
    reading_alone(client)
        .with_setting("max_execution_time", seconds(limits.max_execution_time_ms))
        .with_setting("max_memory_usage", limits.max_memory_bytes.to_string())
        .with_setting("max_result_rows", EXPORTED_ROWS.to_string())
}

/// The client for where slices end, which is answered within a request's time: the last row of a slice and the next.
pub(super) fn limited_slice_end(client: Client, export: &ExportConfig, limits: &StatementLimitsConfig) -> Client {
    limited_export(client, export)
        .with_setting("max_execution_time", seconds(limits.max_execution_time_ms))
        .with_setting("max_result_rows", "2")
}

/// As settings tell times.
fn seconds(millis: u64) -> String {
    format!("{}.{:03}", millis / 1_000, millis % 1_000)
}

/// The client for statements that read, and end with whoever waits for them.
fn reading_alone(client: Client) -> Client {
    client
        // Reading alone, settings allowed: those above and those of the protocol itself come with each statement.
        .with_setting("readonly", "2")
        .with_setting("max_query_size", STATEMENT_BYTES.to_string())
        // A question that nobody waits for any more must not go on: dropping it closes its connection.
        .with_setting("cancel_http_readonly_queries_on_client_close", "1")
}
