//! Why nothing was sent again, or built.

use crate::config::ConfigError;
use crate::fold::Outcome;
use crate::log::SourceError;
use crate::store::StoreError;

/// A replay that did not come to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The log cannot be read or written.
    #[error(transparent)]
    Log(#[from] SourceError),
    /// The tables cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The name of the database.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Records of this outcome are not sent again.
    #[error(
        "records refused as {} are not sent again: the decision is part of the log, and the same record would only be a \
         duplicate of it or be refused again; malformed, misrouted, skewed and unsupported ones can be sent after a repair",
        outcome.name()
    )]
    Decided {
        /// Asked for.
        outcome: Outcome,
    },
    /// No outcome has this name.
    #[error("there is no outcome `{name}`; malformed, misrouted, skewed and unsupported records can be sent again")]
    UnknownOutcome {
        /// Asked for.
        name: String,
    },
    /// Rows would be mixed.
    #[error("the database {database} is not empty: table {table} has {rows} rows; name a new one")]
    NotEmpty {
        /// The database.
        database: String,
        /// A table.
        table: &'static str,
        /// Its rows.
        rows: u64,
    },
    /// Part of what the tables should hold is not in the log.
    #[error(
        "the log does not hold everything: {missing}; with --partial the tables are built without it, and counts, quotas \
         and readers lack what was there"
    )]
    Incomplete {
        /// What is missing.
        missing: String,
    },
    /// Part of the log was folded by other rules.
    #[error(
        "other rules folded part of the log: {parts}. These rules may count and refuse otherwise what was answered and \
         told already; with --accept-fold-version the tables are built by them all the same"
    )]
    OtherRules {
        /// What of which partition.
        parts: String,
    },
    /// The system refused something.
    #[error("{doing}: {source}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}
