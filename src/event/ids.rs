//! Names with a meaning: ids, the app, the conversation key, and the times and offsets that order everything.
//!
//! All of them are cheap copies: ids borrow from the record's payload, so that decoding an event allocates nothing.

use std::fmt;

/// The longest id, and the longest `org#name` in all, in bytes (DESIGN.md section 2).
pub const MAX_ID_BYTES: usize = 128;

macro_rules! borrowed_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name<'a>(&'a str);

        impl<'a> $name<'a> {
            /// Takes a string that is known to be valid: checked by the decoder, or read back from our own tables.
            pub const fn trusted(text: &'a str) -> Self {
                Self(text)
            }

            /// The text itself.
            pub const fn as_str(self) -> &'a str {
                self.0
            }
        }

        impl fmt::Debug for $name<'_> {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self.0, formatter)
            }
        }

        impl fmt::Display for $name<'_> {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self.0, formatter)
            }
        }
    };
}

borrowed_id! {
    /// A tenant: `org#name`, two ids, [`MAX_ID_BYTES`] in all.
    AppId
}
borrowed_id! {
    /// A user within an app.
    UserId
}
borrowed_id! {
    /// A message within a conversation. Exceeds 2^53 at some vendors: text everywhere, never a JSON number.
    MessageId
}
borrowed_id! {
    /// The id of a receipt or a recall itself (the vendor's ack id).
    AckId
}
borrowed_id! {
    /// `{app}/g/{group}` or `{app}/u/{a}/{b}` with `a <= b` bytewise: the record key, and the unit of ordering.
    ConversationKey
}

/// Server's receive time of an event in ms since 1970 UTC, from 0 to [`EventTime::MAX`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventTime(i64);

impl EventTime {
    /// The last instant accepted: the end of the year 2099.
    pub const MAX: Self = Self(4_102_444_799_999);

    /// From milliseconds since 1970 UTC, trusted to be in range.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since 1970 UTC.
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Milliseconds from `earlier` to `self`; negative where `self` is the earlier one.
    pub const fn since(self, earlier: Self) -> i64 {
        self.0 - earlier.0
    }

    /// This time moved by `millis`; may leave the accepted range (deadlines do).
    pub const fn plus_millis(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }
}

/// The broker's time of a record (LogAppendTime), in ms since 1970 UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordTime(i64);

impl RecordTime {
    /// From milliseconds since 1970 UTC.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since 1970 UTC.
    pub const fn millis(self) -> i64 {
        self.0
    }
}

/// Position of a record in its partition of the events topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(u64);

impl Offset {
    /// From Kafka's number, which is never negative for a record.
    pub const fn new(offset: u64) -> Self {
        Self(offset)
    }

    /// Kafka's number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The offset after this one: what is committed once this record is done.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Number of a partition of the events topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId(u32);

impl PartitionId {
    /// From Kafka's number.
    pub const fn new(partition: u32) -> Self {
        Self(partition)
    }

    /// Kafka's number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

/// Generation of the events topic, from configuration; raised with a new topic. Fits 16 bits, so that
/// `epoch << 48 | offset` orders rows of all generations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(u16);

impl Epoch {
    /// From the configured number.
    pub const fn new(epoch: u16) -> Self {
        Self(epoch)
    }

    /// The configured number.
    pub const fn get(self) -> u16 {
        self.0
    }

    /// `epoch << 48 | offset`: the order of all rows of a partition through all generations.
    pub const fn order(self, offset: Offset) -> u64 {
        (self.0 as u64) << 48 | offset.get()
    }

    /// The generation and the offset that [`Epoch::order`] put together.
    pub const fn and_offset_of(order: u64) -> (Self, Offset) {
        (Self((order >> 48) as u16), Offset::new(order & ((1 << 48) - 1)))
    }
}
