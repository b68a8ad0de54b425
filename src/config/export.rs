//! What exports of whole tables may take.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ConfigError;
use super::check::require;

const DAY_MILLIS: u64 = 24 * 60 * 60 * 1_000;

/// What exports of whole tables may take. They do not count among api.max_concurrent_statements.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ExportConfig {
    /// Exports under way at once; further ones wait for a moment, and are then answered with 503.
    pub at_once: u32,
    /// How many of them may be of one app, so that none keeps the others out.
    pub at_once_per_app: u32,
    /// How long an export may take until its client has read it, in ms; what takes longer is cut, and has to be asked for
    /// in smaller slices.
    pub max_execution_time_ms: u64,
    /// Bytes of memory that the statement of an export may use; 0 for no limit.
    pub max_memory_bytes: u64,
}

impl Default for ExportConfig {
    fn default() -> Self {
        Self {
            at_once: 4,
            at_once_per_app: 1,
            max_execution_time_ms: 60 * 60 * 1000,
            max_memory_bytes: 2 * 1024 * 1024 * 1024,
        }
    }
}

impl ExportConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        require(self.at_once >= 1, "api.export.at_once", "must be at least 1")?;
        require(
            (1..=self.at_once).contains(&self.at_once_per_app),
            "api.export.at_once_per_app",
            "must be from 1 to api.export.at_once",
        )?;
        require(
            (1..=DAY_MILLIS).contains(&self.max_execution_time_ms),
            "api.export.max_execution_time_ms",
            "must be from 1 to 86400000, a day: an export holds a place for as long as it may take",
        )
    }
}
