//! What is kept about a user, and what was erased.

use clickhouse::Row;
use serde::Deserialize;

use super::Queries;
use crate::event::{AppId, Epoch, Offset, PartitionId, UserId};
use crate::store::erasures::counting_statements;
use crate::store::{Erasure, RowsAbout, StoreError, Table};

/// An erasure, as far as workers have met it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetErasure {
    /// Where it stands.
    pub erasure: Erasure,
    /// When what was in front of it was taken out of the tables, by ClickHouse's clock, in ms since 1970; `None` where
    /// that has not been done since the record was written last.
    pub swept_at_millis: Option<i64>,
}

#[derive(Row, Deserialize)]
struct MetErasureRow {
    version: u64,
    epoch: u16,
    partitions: Vec<u32>,
    offsets: Vec<u64>,
    written_at_ms: i64,
    swept_at_ms: i64,
}

impl Queries {
    /// The erasures of a user, the latest last.
    ///
    /// # Errors
    /// What ClickHouse said.
    pub async fn erasures(&self, app: AppId<'_>, user: UserId<'_>) -> Result<Vec<MetErasure>, StoreError> {
        let query = self.statements.client.query(include_str!("user_erasures.sql"));
        let query = query.bind(app.as_str()).bind(user.as_str()).bind(app.as_str());
        let rows: Vec<MetErasureRow> = self.statements.reading("policies").bounded(query.fetch_all()).await?;
        let met = |row: MetErasureRow| MetErasure {
            erasure: Erasure {
                app: app.as_str().to_owned(),
                user: user.as_str().to_owned(),
                version: row.version,
                epoch: Epoch::new(row.epoch),
                copies: row
                    .partitions
                    .into_iter()
                    .map(PartitionId::new)
                    .zip(row.offsets.into_iter().map(Offset::new))
                    .collect(),
                looked_at: 0,
            },
            swept_at_millis: (row.swept_at_ms > row.written_at_ms).then_some(row.swept_at_ms),
        };
        Ok(rows.into_iter().map(met).collect())
    }

    /// How many rows of each table are about the user of an erasure, and how many of those are in front of it.
    ///
    /// # Errors
    /// What ClickHouse said.
    pub async fn rows_about(&self, erasure: &Erasure) -> Result<Vec<(Table, RowsAbout)>, StoreError> {
        let mut about = Vec::new();
        for (table, statement) in counting_statements() {
            let query = erasure.bind(self.statements.client.query(&statement));
            about.push((table, self.statements.reading(table.name()).bounded(query.fetch_one()).await?));
        }
        Ok(about)
    }
}
