//! Readers of a message: where they stand in its list, and which of them a list knows.

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
