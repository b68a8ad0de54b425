//! The [`Store`] on a real ClickHouse.

use std::time::Duration;

use clickhouse::Client;
use futures_util::future::try_join_all;
use tokio::runtime::Handle;

use super::connection::{Attempt, connect, statement_timeout, with_niceness};
use super::split::inserts;
use super::{
    Completeness, HydratedPartition, HydrationProgress, HydrationRequest, LedgerFrontier, RowBatch, Store, StoreError,
    Table, TopicIdentity, completeness, hydrate, ledger,
};
use crate::config::ClickHouseConfig;
use crate::event::{Offset, PartitionId};
use crate::observe::{FailPoint, reach};

/// Rows are handed to the connection in pieces of this size.
const CHUNK_BYTES: usize = 1024 * 1024;

/// How often a statement on its way asks whether somebody still waits for it.
const WANTED_INTERVAL: Duration = Duration::from_millis(50);

/// A ClickHouse server. Blocks its thread; the connections are driven by the given runtime.
pub struct ClickHouseStore {
    config: ClickHouseConfig,
    runtime: Handle,
    client: Client,
    is_wanted: Box<dyn Fn() -> bool + Send>,
}

impl ClickHouseStore {
    /// Connects lazily: the first statement finds out whether anybody answers. The calls of [`Store`] must be made from
    /// threads that are none of `runtime`'s own.
    pub fn new(config: ClickHouseConfig, runtime: Handle) -> Self {
        let client = connect(&config);
        Self { config, runtime, client, is_wanted: Box::new(|| true) }
    }

    /// Lets statements end with [`StoreError::Stopped`] once nobody waits for them any more, however long they might take.
    #[must_use]
    pub fn while_wanted(self, is_wanted: impl Fn() -> bool + Send + 'static) -> Self {
        Self { is_wanted: Box::new(is_wanted), ..self }
    }

    /// Runs statements to their end; after a failure the next ones find a fresh connection.
    fn run<T>(
        &mut self,
        statements: impl AsyncFnOnce(&Client, Duration) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let unwanted = async {
            while (self.is_wanted)() {
                tokio::time::sleep(WANTED_INTERVAL).await;
            }
        };
        let result = self.runtime.block_on(async {
            tokio::select! {
                result = statements(&self.client, statement_timeout(&self.config)) => result,
                () = unwanted => Err(StoreError::Stopped),
            }
        });
        if result.is_err() {
            self.client = connect(&self.config);
        }
        result
    }
}

impl Store for ClickHouseStore {
    fn write(&mut self, rows: &RowBatch) -> Result<(), StoreError> {
        let niceness = self.config.insert_niceness;
        self.run(async |client, timeout| {
            let client = &with_niceness(client.clone(), niceness);
            let facts = Table::ALL.into_iter().filter(|table| *table != Table::Ledger);
            try_join_all(facts.map(|table| write_table(client, rows, table, timeout))).await?;
            reach(FailPoint::RowsLedger);
            write_table(client, rows, Table::Ledger, timeout).await
        })
    }

    fn frontiers(&mut self, topic: &TopicIdentity) -> Result<Vec<LedgerFrontier>, StoreError> {
        self.run(async |client, timeout| {
            ledger::check_topic(client, topic, timeout).await?;
            ledger::frontiers(client, topic, timeout).await
        })
    }

    fn completeness(
        &mut self,
        topic: &TopicIdentity,
        requests: &[HydrationRequest],
    ) -> Result<Vec<Completeness>, StoreError> {
        self.run(async |client, timeout| completeness::completeness(client, topic, requests, timeout).await)
    }

    fn boundaries(
        &mut self,
        topic: &TopicIdentity,
        partition: PartitionId,
        from: Offset,
        to: Offset,
    ) -> Result<Vec<Offset>, StoreError> {
        self.run(async |client, timeout| completeness::boundaries(client, topic, partition, (from, to), timeout).await)
    }

    fn hydrate(
        &mut self,
        topic: &TopicIdentity,
        requests: &[HydrationRequest],
        progress: &mut HydrationProgress<'_>,
    ) -> Result<Vec<HydratedPartition>, StoreError> {
        self.run(async |client, timeout| hydrate::hydrate(client, topic, requests, None, timeout, progress).await)
    }
}

/// Writes the rows of one table, in one insert but for backfills over years.
async fn write_table(client: &Client, rows: &RowBatch, table: Table, timeout: Duration) -> Result<(), StoreError> {
    for body in inserts(rows.table(table)) {
        insert(client, table, &body, timeout).await?;
    }
    Ok(())
}

/// One insert of encoded rows, to its acknowledgement.
async fn insert(client: &Client, table: Table, mut rows: &[u8], timeout: Duration) -> Result<(), StoreError> {
    let attempt = Attempt { doing: "writing", target: table.name(), timeout };
    let acknowledged = async {
        let mut insert = client.insert_formatted_with(table.insert()).buffered_with_capacity(CHUNK_BYTES);
        while !rows.is_empty() {
            let taken = insert.write(rows).await?;
            rows = rows.get(taken..).unwrap_or_default();
        }
        insert.end().await
    };
    attempt.bounded(acknowledged).await
}
