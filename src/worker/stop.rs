//! Asking a worker to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

const RUNNING: u8 = 0;
const STOPPING: u8 = 1;
const LEAVING: u8 = 2;

/// How a worker is asked to end; clones share it.
#[derive(Clone, Debug, Default)]
pub struct StopSignal {
    state: Arc<AtomicU8>,
}

impl StopSignal {
    /// Asks to finish the flush and end. With `leave` the group gives the partitions to others at once; without, they
    /// wait for this worker's return until its session ends. Asking to leave stands over asking to stay.
    pub fn request(&self, leave: bool) {
        self.state.fetch_max(if leave { LEAVING } else { STOPPING }, Ordering::AcqRel);
    }

    /// Whether the end was asked for.
    pub fn is_requested(&self) -> bool {
        self.state.load(Ordering::Acquire) != RUNNING
    }

    /// Whether the group is to be left.
    pub fn is_leaving(&self) -> bool {
        self.state.load(Ordering::Acquire) == LEAVING
    }
}
