//! The pure core (DESIGN.md section 4): the state of a partition, and the outcome of every event.
//!
//! No I/O, no clock, no randomness: the same state and the same record always give the same outcome and the same rows,
//! on any machine, at any time. [`FOLD_VERSION`] is raised when a rule changes.

pub mod fact;
mod outcome;
mod partition;

pub use outcome::{ClientError, Outcome};
pub use partition::{Partition, PartitionIdentity, Restore, is_message_needed};

/// Version of the rules in this module. A worker does not take over state of another version without being told to.
pub const FOLD_VERSION: u32 = 1;

/// The one bound on disorder: 72 hours of event time, in ms.
pub const LATENESS_MILLIS: i64 = 72 * 60 * 60 * 1000;

/// How far an event may be ahead of its record's time, in ms.
pub const MAX_SKEW_MILLIS: i64 = 5 * 60 * 1000;

/// How many records may wait for their message in one conversation.
pub const MAX_PARKED_PER_CONVERSATION: usize = 1000;
