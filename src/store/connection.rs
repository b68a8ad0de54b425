//! How statements reach ClickHouse: the client with its settings, and a bound on every wait.

use std::future::Future;
use std::time::Duration;

use clickhouse::{Client, Compression};

use super::StoreError;
use crate::config::ClickHouseConfig;

/// A client with connections of its own, for statements on the configured database. After a failure take a new one: a
/// connection that failed once is not to be used again.
pub fn connect(config: &ClickHouseConfig) -> Client {
    let mut client = connect_server(config).with_database(&config.database);
    if !config.cluster.is_empty() {
        // A row counts as written once a majority of replicas has it, and is read only where all such rows are. The
        // second works with serial quorum inserts alone.
        client = client
            .with_setting("insert_quorum", "auto")
            .with_setting("insert_quorum_parallel", "0")
            .with_setting("select_sequential_consistency", "1");
    }
    client
}

/// A client that names no database, which may not be there yet.
pub(super) fn connect_server(config: &ClickHouseConfig) -> Client {
    Client::default()
        .with_url(&config.url)
        .with_user(&config.user)
        .with_password(config.password.expose())
        .with_compression(if config.compression { Compression::Lz4 } else { Compression::None })
        // An answer means that rows are in the table, not in a buffer.
        .with_setting("async_insert", "0")
}

/// What is being done, to what, and how long it may take: what an error says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt<'a> {
    /// As a participle: "writing".
    pub(super) doing: &'static str,
    /// The table or address.
    pub(super) target: &'a str,
    /// The longest wait for an answer, or for the next row of one.
    pub(super) timeout: Duration,
}

impl Attempt<'_> {
    /// Waits for a statement's end or its next row: without a bound a dead peer would hold the caller for the 15
    /// minutes that TCP takes to give up.
    pub(super) async fn bounded<T>(
        self,
        answer: impl Future<Output = Result<T, clickhouse::error::Error>>,
    ) -> Result<T, StoreError> {
        match tokio::time::timeout(self.timeout, answer).await {
            Ok(answer) => answer.map_err(|error| self.failed(&error)),
            Err(_) => Err(self.failed(&clickhouse::error::Error::TimedOut)),
        }
    }

    /// The error of this attempt.
    pub(super) fn failed(self, error: &clickhouse::error::Error) -> StoreError {
        StoreError::classify(self.doing, self.target, error)
    }
}

/// The configured bound of one statement.
pub(super) fn statement_timeout(config: &ClickHouseConfig) -> Duration {
    Duration::from_millis(config.timeout_ms)
}

/// The client with a niceness for the threads that run its statements; 0 for none of their own.
pub(super) fn with_niceness(client: Client, niceness: i8) -> Client {
    if niceness == 0 { client } else { client.with_setting("os_thread_priority", niceness.to_string()) }
}
