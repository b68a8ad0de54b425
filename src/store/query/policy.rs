//! The versions of an app's policy that stand in its log.

use clickhouse::Row;
use serde::Deserialize;

use super::Queries;
use crate::event::{AppId, EventTime};
use crate::policy::{Policy, PolicyVersion};
use crate::store::StoreError;

/// A version as it was applied.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredPolicyVersion {
    /// What it says.
    pub version: PolicyVersion,
    /// In how many partitions' logs it was met; those of all epochs.
    pub partitions_met: u64,
}

#[derive(Row, Deserialize)]
struct VersionRow {
    version: u64,
    effective_from_ms: i64,
    limits: String,
    partitions_met: u64,
}

impl Queries {
    /// The policy of an app in force at a time; the defaults where no version is.
    ///
    /// # Errors
    /// What ClickHouse said; [`StoreError::Unreadable`] for limits that this version of seenby does not know.
    pub async fn policy_in_force(&self, app: AppId<'_>, at: EventTime) -> Result<Policy, StoreError> {
        let query =
            self.statements.client.query(include_str!("policy_in_force.sql")).bind(app.as_str()).bind(at.millis());
        let limits = self.statements.reading("policies").bounded(query.fetch_optional::<String>()).await?;
        limits.map_or_else(|| Ok(Policy::default()), |limits| parse_limits(&limits))
    }

    /// The greatest version of a control record that workers have met, of whatever app; 0 where there is none.
    ///
    /// # Errors
    /// What ClickHouse said.
    pub async fn latest_control_version(&self) -> Result<u64, StoreError> {
        let query = self.statements.client.query(include_str!("latest_control_version.sql"));
        self.statements.reading("policies").bounded(query.fetch_one::<u64>()).await
    }

    /// Every version of an app's policy, in the order in which they come into force.
    ///
    /// # Errors
    /// As [`Queries::policy_in_force`].
    pub async fn policy_versions(&self, app: AppId<'_>) -> Result<Vec<StoredPolicyVersion>, StoreError> {
        let query = self.statements.client.query(include_str!("policy_versions.sql")).bind(app.as_str());
        let rows = self.statements.reading("policies").bounded(query.fetch_all::<VersionRow>()).await?;
        rows.into_iter()
            .map(|row| {
                let version = PolicyVersion {
                    app: app.as_str().to_owned(),
                    version: row.version,
                    effective_from: EventTime::from_millis(row.effective_from_ms),
                    policy: parse_limits(&row.limits)?,
                };
                Ok(StoredPolicyVersion { version, partitions_met: row.partitions_met })
            })
            .collect()
    }
}

fn parse_limits(limits: &str) -> Result<Policy, StoreError> {
    serde_json::from_str(limits)
        .map_err(|error| StoreError::Unreadable { table: "policies", reason: error.to_string() })
}
