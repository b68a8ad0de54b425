//! What a partition remembers: compact tables at stable slots. Nothing here knows an outcome; `rules` does.
//!
//! Memory is given back lazily, at the end of a flush. A look-up therefore checks by the watermark whether what it
//! found has left the state, so that outcomes never depend on when memory is given back.

pub(super) mod apps;
pub(super) mod conversation;
pub(super) mod members;
pub(super) mod message;
pub(super) mod parked;
pub(super) mod quota;
pub(super) mod readers;
pub(super) mod single;
pub(super) mod slots;

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;

use crate::event::EventTime;

/// A time before all others, for what has not happened yet: half the size of an `Option`.
pub(crate) const NEVER: EventTime = EventTime::from_millis(i64::MIN);

/// Hash of a name. Seeds are fixed: a state is the same on every machine, and nothing is given out in hash order.
pub(crate) fn hash_of(hasher: &FixedState, name: &str) -> u64 {
    let mut hash = hasher.build_hasher();
    hash.write(name.as_bytes());
    hash.finish()
}
