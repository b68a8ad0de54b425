//! The conversation key: the record key of every event, and through murmur2 its partition.

use std::fmt;

use super::{AppId, Chat, ConversationKey, Event, PartitionId, UserId};

/// A conversation, taken apart: `{app}/g/{group}` or `{app}/u/{a}/{b}`. [`fmt::Display`] writes the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Conversation<'a> {
    /// A group chat.
    Group {
        /// The tenant.
        app: AppId<'a>,
        /// The group's id.
        group: &'a str,
    },
    /// A chat of two users, or of one with himself.
    Single {
        /// The tenant.
        app: AppId<'a>,
        /// The user whose id comes first bytewise.
        first: UserId<'a>,
        /// The other one.
        second: UserId<'a>,
    },
}

impl<'a> Conversation<'a> {
    /// The conversation between two users, in either order.
    pub fn single(app: AppId<'a>, one: UserId<'a>, other: UserId<'a>) -> Self {
        Self::Single { app, first: one.min(other), second: one.max(other) }
    }

    /// Takes a key apart; `None` where it has not the form of one. The ids are not checked beyond that.
    pub fn parse(key: &'a str) -> Option<Self> {
        let mut parts = key.split('/');
        let app = AppId::trusted(parts.next()?);
        let conversation = match parts.next()? {
            "g" => Self::Group { app, group: parts.next()? },
            "u" => {
                let (first, second) = (UserId::trusted(parts.next()?), UserId::trusted(parts.next()?));
                (first <= second).then_some(Self::Single { app, first, second })?
            }
            _ => return None,
        };
        parts.next().is_none().then_some(conversation)
    }

    /// The tenant.
    pub const fn app(&self) -> AppId<'a> {
        match self {
            Self::Group { app, .. } | Self::Single { app, .. } => *app,
        }
    }

    /// Kind of conversation.
    pub const fn chat(&self) -> Chat {
        match self {
            Self::Group { .. } => Chat::Group,
            Self::Single { .. } => Chat::Single,
        }
    }

    /// The key's pieces, in order.
    fn parts(&self) -> [&'a str; 5] {
        match self {
            Self::Group { app, group } => [app.as_str(), "/g/", group, "", ""],
            Self::Single { app, first, second } => [app.as_str(), "/u/", first.as_str(), "/", second.as_str()],
        }
    }
}

impl fmt::Display for Conversation<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts().into_iter().try_for_each(|part| formatter.write_str(part))
    }
}

impl<'a> Event<'a> {
    /// The conversation that the event belongs to.
    #[inline]
    pub fn conversation(&self) -> Conversation<'a> {
        match self.chat {
            Chat::Group => Conversation::Group { app: self.app, group: self.to },
            Chat::Single => Conversation::single(self.app, self.from, UserId::trusted(self.to)),
        }
    }

    /// The record key as this event's conversation key, if it is that. Allocates nothing.
    #[inline]
    pub fn matches_key<'k>(&self, key: &'k [u8]) -> Option<ConversationKey<'k>> {
        let mut rest = key;
        for part in self.conversation().parts() {
            rest = rest.strip_prefix(part.as_bytes())?;
        }
        let is_whole_key = rest.is_empty();
        // Pieces of text are text: this conversion cannot fail, it only spares an unchecked one.
        is_whole_key.then(|| simdutf8::basic::from_utf8(key).ok().map(ConversationKey::trusted))?
    }
}

/// The partition of a key, as Java's default partitioner and librdkafka's `murmur2_random` have it.
/// `partitions` is the topic's count; with 0 the answer is partition 0.
#[inline]
pub fn partition_of(key: &[u8], partitions: u32) -> PartitionId {
    let positive = murmur2(key) & 0x7fff_ffff;
    PartitionId::new(positive.checked_rem(partitions).unwrap_or(0))
}

/// murmur2 with Kafka's seed, as `org.apache.kafka.common.utils.Utils.murmur2` has it.
#[inline]
pub fn murmur2(bytes: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const MULTIPLIER: u32 = 0x5bd1_e995;
    const SHIFT: u32 = 24;

    let (words, tail) = bytes.as_chunks::<4>();
    // Java's array lengths are 32-bit integers: keys beyond that do not exist.
    let mut hash = SEED ^ bytes.len() as u32;
    for word in words {
        let mut mixed = u32::from_le_bytes(*word).wrapping_mul(MULTIPLIER);
        mixed ^= mixed >> SHIFT;
        hash = hash.wrapping_mul(MULTIPLIER) ^ mixed.wrapping_mul(MULTIPLIER);
    }
    if !tail.is_empty() {
        let last = tail.iter().rev().fold(0, |last: u32, &byte| last << 8 | u32::from(byte));
        hash = (hash ^ last).wrapping_mul(MULTIPLIER);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MULTIPLIER);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::event::{AckId, Body, EventTime};

    fn event<'a>(chat: Chat, from: &'a str, to: &'a str) -> Event<'a> {
        Event {
            app: AppId::trusted("org#app"),
            chat,
            id: AckId::trusted("1"),
            from: UserId::trusted(from),
            to,
            at: EventTime::from_millis(1),
            body: Body::ConversationRead,
        }
    }

    // The vectors of Kafka's own UtilsTest.testMurmur2.
    #[test]
    fn murmur2_gives_kafkas_numbers() {
        for (key, hash) in [
            ("21", -973_932_308_i32),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()) as i32, hash, "{key}");
        }
    }

    #[test]
    fn the_partition_is_the_positive_hash_modulo_the_count() {
        assert_eq!(partition_of(b"foobar", 8).get(), (-790_332_482_i32 & 0x7fff_ffff) as u32 % 8);
        assert_eq!(partition_of(b"foobar", 1).get(), 0);
        assert_eq!(partition_of(b"foobar", 0).get(), 0);
    }

    #[test]
    fn a_groups_key_names_the_group() {
        let event = event(Chat::Group, "alice", "g1");
        assert_eq!(event.conversation().to_string(), "org#app/g/g1");
        assert_eq!(event.matches_key(b"org#app/g/g1").unwrap().as_str(), "org#app/g/g1");
        for wrong in
            ["org#app/g/g2", "org#app/g/g11", "org#app/g/g", "org#app/u/g1", "org#ap/g/g1", "", "org#app/g/g1/"]
        {
            assert_eq!(event.matches_key(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn a_single_chats_key_is_the_same_from_both_sides() {
        for (from, to) in [("bob", "alice"), ("alice", "bob")] {
            let event = event(Chat::Single, from, to);
            assert_eq!(event.conversation().to_string(), "org#app/u/alice/bob");
            assert!(event.matches_key(b"org#app/u/alice/bob").is_some());
            assert!(event.matches_key(b"org#app/u/bob/alice").is_none());
        }
        assert!(event(Chat::Single, "alice", "alice").matches_key(b"org#app/u/alice/alice").is_some());
    }

    #[test]
    fn users_of_a_key_are_ordered_bytewise() {
        // Z before a before é: bytes, not letters.
        assert_eq!(event(Chat::Single, "a", "Z").conversation().to_string(), "org#app/u/Z/a");
        assert_eq!(event(Chat::Single, "é", "z").conversation().to_string(), "org#app/u/z/é");
    }

    #[test]
    fn a_key_is_taken_apart_again() {
        for key in ["org#app/g/g1", "org#app/u/a/b", "org#app/u/a/a"] {
            let conversation = Conversation::parse(key).unwrap();
            assert_eq!(conversation.to_string(), key);
            assert_eq!(conversation.app().as_str(), "org#app");
        }
        for wrong in ["", "org#app", "org#app/g", "org#app/u/a", "org#app/u/b/a", "org#app/x/a", "org#app/g/a/b"] {
            assert_eq!(Conversation::parse(wrong), None, "{wrong}");
        }
    }
}
