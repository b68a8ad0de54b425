//! From a planned event to the bytes of its record.

use bumpalo::Bump;
use bumpalo::collections::String as ArenaString;

use super::plan::{Action, Place, Planned};
use super::world::{Group, World};
use crate::event::{AckId, AppId, Body, Chat, Event, EventTime, MessageId, UserId, encode_event};

/// Message ids as the vendor makes them: 19 digits, beyond 2^53.
const FIRST_MESSAGE: u64 = 1_100_000_000_000_000_000;
const MESSAGE_STEP: u64 = 4_093;

/// The ids of receipts and other events, apart from those of messages.
const FIRST_ACK: u64 = 2_100_000_000_000_000_000;

/// Writes the record of a planned event. `None` where it names an app or a group that does not exist.
pub(super) fn spell(
    planned: &Planned,
    world: &World,
    arena: &Bump,
    key: &mut Vec<u8>,
    value: &mut Vec<u8>,
) -> Option<()> {
    let event = event(planned, world, arena)?;
    key.clear();
    value.clear();
    let mut text = ArenaString::new_in(arena);
    // Writing to a string in memory cannot fail.
    let _ = std::fmt::Write::write_fmt(&mut text, format_args!("{}", event.conversation()));
    key.extend_from_slice(text.as_bytes());
    encode_event(&event, value);
    Some(())
}

fn event<'a>(planned: &Planned, world: &'a World, arena: &'a Bump) -> Option<Event<'a>> {
    let (app, chat, to) = match planned.place {
        Place::Group(number) => {
            let group = world.groups.get(number as usize)?;
            (group.app, Chat::Group, group.id.as_str())
        }
        Place::Single { app, peer } => (app, Chat::Single, user(peer, arena).as_str()),
    };
    let own_id = number(FIRST_ACK + planned.sequence, arena);
    let (id, body) = match planned.action {
        Action::Message { message, asks_receipts, role } => {
            (message_id(message, arena).as_str(), Body::Message { asks_receipts, role })
        }
        Action::Delivered { message } => (own_id, Body::Delivered { message: message_id(message, arena) }),
        Action::Read { message, has_content } => {
            (own_id, Body::Read { message: message_id(message, arena), content: has_content.then_some("ok, seen") })
        }
        Action::ConversationRead => (own_id, Body::ConversationRead),
        Action::Recall { message } => (own_id, Body::Recall { message: message_id(message, arena) }),
        Action::Member { user: changed, change } => (own_id, Body::Member { user: user(changed, arena), change }),
        Action::Roster => (own_id, Body::Roster { members: members(planned.place, world, arena)? }),
    };
    Some(Event {
        app: AppId::trusted(&world.apps.get(app as usize)?.name),
        chat,
        id: AckId::trusted(id),
        from: user(planned.actor, arena),
        to,
        at: EventTime::from_millis(planned.at.clamp(0, EventTime::MAX.millis())),
        body,
    })
}

fn members<'a>(place: Place, world: &World, arena: &'a Bump) -> Option<&'a [(UserId<'a>, crate::event::Role)]> {
    let Place::Group(number) = place else { return None };
    let group = world.groups.get(number as usize)?;
    Some(
        arena.alloc_slice_fill_iter(
            (0..group.size).map(|member| (user(group.user(member), arena), Group::role(member))),
        ),
    )
}

fn message_id(message: u64, arena: &Bump) -> MessageId<'_> {
    MessageId::trusted(number(FIRST_MESSAGE + message * MESSAGE_STEP, arena))
}

fn user(number: u32, arena: &Bump) -> UserId<'_> {
    let mut name = ArenaString::with_capacity_in(16, arena);
    name.push_str("user-");
    name.push_str(itoa::Buffer::new().format(number));
    UserId::trusted(name.into_bump_str())
}

fn number(number: u64, arena: &Bump) -> &str {
    arena.alloc_str(itoa::Buffer::new().format(number))
}
