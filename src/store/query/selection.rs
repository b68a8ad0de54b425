//! Which readers are asked for.

/// Place of a reader in the list of a message: by time, then receipt id, then user, ids bytewise. Unique, and it never
/// changes, so a page that begins after one stays right while newer readers arrive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReaderPosition {
    /// When he read, in ms since 1970.
    pub at: i64,
    /// The id of his receipt.
    pub ack_id: String,
    /// Who.
    pub reader: String,
}

impl ReaderPosition {
    /// Before every reader.
    pub fn lowest() -> Self {
        Self { at: i64::MIN, ack_id: String::new(), reader: String::new() }
    }

    /// After every reader.
    pub fn highest() -> Self {
        Self { at: i64::MAX, ack_id: String::new(), reader: String::new() }
    }
}

/// One reader of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReaderRow {
    /// Who, when, by which receipt.
    pub position: ReaderPosition,
    /// Text sent along.
    pub content: Option<String>,
}

/// Which receipts a list knows: those up to a place in the log. What arrives later changes nothing in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot(u64);

impl Snapshot {
    /// Every receipt there is.
    pub const ALL: Self = Self(0);

    /// Takes the number that [`Self::version`] gave.
    pub const fn from_version(version: u64) -> Self {
        Self(version)
    }

    /// The version of the latest receipt known; versions of rows fall from receipt to receipt.
    pub const fn version(self) -> u64 {
        self.0
    }
}

/// Which end of the list comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReaderOrder {
    /// The latest reader.
    Newest,
    /// The earliest reader.
    Oldest,
}

/// Where a page begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// At the end that the order puts first.
    First,
    /// With the reader who follows this position.
    After(ReaderPosition),
    /// With the reader at this position.
    At(ReaderPosition),
}

/// A page of readers.
#[derive(Clone, Debug)]
pub struct ReaderSelection<'a> {
    /// Which end comes first.
    pub order: ReaderOrder,
    /// Where it begins.
    pub start: Start,
    /// Readers before this position are not shown; `None` shows all.
    pub floor: Option<&'a ReaderPosition>,
    /// Receipts that are known.
    pub snapshot: Snapshot,
    /// Of these users only; empty for all.
    pub users: &'a [String],
    /// At most so many.
    pub limit: usize,
}
