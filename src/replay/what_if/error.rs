//! Why a range was not folded under another policy.

use crate::log::SourceError;
use crate::store::StoreError;

/// A run that came to no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WhatIfError {
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] SourceError),
    /// The tables cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The workers fold by other rules.
    #[error(
        "partition {partition} was folded by fold version {found}, this seenby folds by {known}: run the API with the \
         seenby that the workers run"
    )]
    FoldVersion {
        /// The partition.
        partition: u32,
        /// In the commit.
        found: u32,
        /// Of this build.
        known: u32,
    },
    /// More is to be read than may be.
    #[error("the range takes {}records of the log or rows of the state in front of it, {most} may be read", count(*records))]
    TooManyRecords {
        /// Offsets of the log; `None` where it is the state that is too large.
        records: Option<u64>,
        /// How many may be read.
        most: u64,
    },
    /// The states grew larger than they may.
    #[error("the states take more than {most} bytes")]
    TooMuchState {
        /// How many they may take.
        most: u64,
    },
    /// Rows that the state in front of the range needs were removed after the retention time.
    #[error("rows that the state in front of the range needs have been removed after the retention time")]
    HistoryGone,
    /// Nobody waits for the answer any more.
    #[error("nobody waits for the answer any more")]
    Abandoned,
}

fn count(records: Option<u64>) -> String {
    records.map_or_else(|| "more ".to_owned(), |records| format!("{records} "))
}
