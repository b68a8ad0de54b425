//! Why nothing, or no more, can be said about the tables.

use std::io;
use std::path::PathBuf;

use crate::log::SourceError;
use crate::store::StoreError;

/// A verification that did not come to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] SourceError),
    /// The tables cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The rows were made by other rules.
    #[error(
        "partition {partition} was folded by fold version {found}, this seenby folds by {known}: verify with the seenby \
         that the workers run"
    )]
    FoldVersion {
        /// The partition.
        partition: u32,
        /// In the commit.
        found: u32,
        /// Of this build.
        known: u32,
    },
    /// Rows, but no commit.
    #[error(
        "partition {partition} has rows up to offset {frontier}, but the group has committed nothing: is kafka.group the \
         workers'? Nothing says how far the rows count"
    )]
    NotCommitted {
        /// The partition.
        partition: u32,
        /// Where the ledger ends.
        frontier: u64,
    },
    /// A partition that the topic does not have.
    #[error("the events topic has {partitions} partitions, there is no partition {asked}")]
    NoSuchPartition {
        /// Asked for.
        asked: u32,
        /// How many there are.
        partitions: u32,
    },
    /// The checkpoint is of no use.
    #[error("the checkpoint {}: {reason}; name another file with --checkpoint, or remove it to begin anew", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Stopped by a signal.
    #[error("stopped by a signal: nothing is said about the rest; with --checkpoint another run goes on from here")]
    Interrupted,
    /// The system refused something.
    #[error("{doing}: {source}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The report cannot be written.
    #[error("writing the report: {0}")]
    Report(#[from] io::Error),
}
