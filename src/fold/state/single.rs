//! What is kept of a single chat: the marks of both sides, and the messages that a mark may still read.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::NEVER;
use super::members::is_mark_in_state;
use super::message::Message;
use super::slots::Slot;
use crate::event::{Conversation as Participants, ConversationKey, EventTime, UserId};

/// A side of a single chat. The key `{app}/u/{a}/{b}` has the bytewise smaller user first; who writes to himself is
/// on the first side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Side {
    /// `a` of the key.
    First,
    /// `b` of the key.
    Second,
}

impl Side {
    /// The side of `user` in his conversation with `peer`.
    pub(crate) fn of(user: UserId<'_>, peer: &str) -> Self {
        if user.as_str() <= peer { Self::First } else { Self::Second }
    }

    /// The user on this side of the conversation of a key; "" where the key is not a single chat's.
    pub(crate) fn user(self, key: ConversationKey<'_>) -> UserId<'_> {
        match (Participants::parse(key.as_str()), self) {
            (Some(Participants::Single { first, .. }), Self::First) => first,
            (Some(Participants::Single { second, .. }), Self::Second) => second,
            _ => UserId::trusted(""),
        }
    }

    /// The other side.
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }
}

/// The state of one side.
#[derive(Clone, Debug)]
struct ReaderState {
    /// Up to when he has read the conversation; [`NEVER`] without a mark.
    mark: EventTime,
    /// Messages to him that a later mark may read, earliest first. Marks only grow, so each is looked at once. What has
    /// been read or recalled meanwhile stays until a mark passes it or the message leaves.
    unread: BinaryHeap<Reverse<(EventTime, Slot<Message>)>>,
}

/// What is kept of a single chat beside its messages.
#[derive(Clone, Debug)]
pub(crate) struct SingleChat {
    first: ReaderState,
    second: ReaderState,
}

impl Default for SingleChat {
    fn default() -> Self {
        let unread_so_far = || ReaderState { mark: NEVER, unread: BinaryHeap::new() };
        Self { first: unread_so_far(), second: unread_so_far() }
    }
}

impl SingleChat {
    /// The largest mark of a reader that was applied, also where it has left the state; [`NEVER`] without one. No
    /// accepted mark and no accepted message can tell a mark that has left from none (LATENESS sees to it).
    pub(crate) fn mark(&self, reader: Side) -> EventTime {
        self.side(reader).mark
    }

    /// A reader's mark, while it is in the state.
    pub(crate) fn mark_in_state(&self, reader: Side, watermark: EventTime) -> Option<EventTime> {
        let mark = self.mark(reader);
        is_mark_in_state(mark, watermark).then_some(mark)
    }

    /// Moves a reader's mark to `at` where that is later; returns whether it moved.
    pub(crate) fn move_mark(&mut self, reader: Side, at: EventTime) -> bool {
        let side = self.side_mut(reader);
        let moves = side.mark < at;
        side.mark = side.mark.max(at);
        moves
    }

    /// Notes a message to `reader` that his mark does not cover; one that no later mark can cover either is left out.
    pub(crate) fn note_unread(&mut self, reader: Side, sent_at: EventTime, message: Slot<Message>) {
        let side = self.side_mut(reader);
        if sent_at > side.mark {
            side.unread.push(Reverse((sent_at, message)));
        }
    }

    /// Takes the next noted message to `reader` that was sent at or before `at`. Its slot may have been freed or used
    /// again since.
    pub(crate) fn take_unread(&mut self, reader: Side, at: EventTime) -> Option<(EventTime, Slot<Message>)> {
        let side = self.side_mut(reader);
        let Reverse((sent_at, _)) = *side.unread.peek()?;
        if sent_at > at {
            return None;
        }
        side.unread.pop().map(|Reverse(noted)| noted)
    }

    /// Drops noted messages from the front for as long as they are over.
    pub(crate) fn drop_unread_while(&mut self, reader: Side, is_over: impl Fn(EventTime, Slot<Message>) -> bool) {
        let side = self.side_mut(reader);
        while let Some(&Reverse((sent_at, message))) = side.unread.peek()
            && is_over(sent_at, message)
        {
            side.unread.pop();
        }
        if side.unread.is_empty() {
            side.unread.shrink_to_fit();
        }
    }

    /// Bytes outside the value's own.
    pub(crate) fn heap_bytes(&self) -> usize {
        (self.first.unread.capacity() + self.second.unread.capacity())
            * size_of::<Reverse<(EventTime, Slot<Message>)>>()
    }

    fn side(&self, side: Side) -> &ReaderState {
        match side {
            Side::First => &self.first,
            Side::Second => &self.second,
        }
    }

    fn side_mut(&mut self, side: Side) -> &mut ReaderState {
        match side {
            Side::First => &mut self.first,
            Side::Second => &mut self.second,
        }
    }
}
