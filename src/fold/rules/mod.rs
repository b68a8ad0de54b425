//! What each event does: the rules of DESIGN.md section 4, a file for each kind of event.

mod about_message;
mod control;
mod erase;
mod mark;
mod message;
mod parking;
mod roster;

use super::fact::Position;
use super::state::apps::App;
use super::state::conversation::Conversation;
use super::state::slots::Slot;
use super::{LATENESS_MILLIS, Partition};
use crate::event::{ConversationKey, Event, EventTime};

/// An event that is being judged: the record's own, or one that waited and is judged when its message comes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn<'e, 'a> {
    pub(super) event: &'e Event<'a>,
    pub(super) conversation: ConversationKey<'e>,
    pub(super) app: Slot<App>,
    /// The conversation's slot, where anything is kept of it.
    pub(super) known: Option<Slot<Conversation>>,
    pub(super) position: Position,
}

impl Partition {
    /// Whether an event came so late that the state no longer holds what it could meet.
    fn is_too_late(&self, at: EventTime) -> bool {
        self.watermark > at.plus_millis(LATENESS_MILLIS)
    }

    /// The conversation of a turn, put into the state where nothing was kept of it.
    fn known_conversation(&mut self, turn: &mut Turn<'_, '_>) -> Slot<Conversation> {
        let conversations = &mut self.conversations;
        *turn.known.get_or_insert_with(|| conversations.insert(turn.conversation, turn.app, turn.event.chat))
    }
}
