//! From a record's bytes to an [`Event`]: every rule of DESIGN.md section 2, in one pass over the text.
//!
//! Which fields are known depends on `type` and `chat`, which may stand behind them. So the pass only notes where each
//! field's value stands and whether a name came twice; the fields are judged once the type and the chat are known.

use std::ops::{Index, IndexMut};

use bumpalo::Bump;

use super::control::decode_control;
use super::fields::{Field, further_fields};
use super::json::{Array, Object, Value};
use super::rules::{
    self, millis, missing, not_one_of, null, parse_app, parse_id, record_text, string, syntax, twice, wrong_kind,
};
use super::{
    AckId, Body, Chat, Event, EventTime, EventType, Input, MAX_CONTENT_BYTES, Malformed, MemberChange, MessageId, Role,
    UserId,
};

/// Decodes any record of the events topic; what broke a rule is an [`Input`] too.
///
/// `control_header` is the value of the header [`super::CONTROL_HEADER`], if the record has one: it alone decides what is
/// a control record. The result borrows from `value`, and from `arena` where the value spelled a string with escapes
/// or held a roster.
pub fn decode_record<'a>(value: &'a [u8], control_header: Option<&[u8]>, arena: &'a Bump) -> Input<'a> {
    match control_header {
        None => match decode_event(value, arena) {
            Ok(event) => Input::Event(event),
            Err(reason) => Input::Malformed { control: false, reason },
        },
        Some(control_type) => match decode_control(control_type, value, arena) {
            Ok(control) => Input::Control(control),
            Err(reason) => Input::Malformed { control: true, reason },
        },
    }
}

/// Decodes an event. An unknown type is no error: its common fields are an event with [`Body::Unsupported`].
///
/// # Errors
/// The first rule that the record breaks: of the record as a whole, then of the common fields, then of the type's own.
pub fn decode_event<'a>(value: &'a [u8], arena: &'a Bump) -> Result<Event<'a>, Malformed> {
    let text = record_text(value)?;
    let fields = Fields::read(text, arena)?;

    let type_name = fields.required_string(Field::Type, arena)?;
    let app = parse_app(fields.required_string(Field::App, arena)?)?;
    let chat_name = fields.required_string(Field::Chat, arena)?;
    let chat = Chat::from_name(chat_name).ok_or_else(|| not_one_of("chat", "single or group", chat_name))?;
    let id = fields.required_id(Field::Id, arena)?;
    let from = UserId::trusted(fields.required_id(Field::From, arena)?);
    let to = fields.required_id(Field::To, arena)?;
    let at = fields.at()?;

    // A policy or an erase order without its header is no control record, and no event either.
    let known_type = EventType::from_name(type_name).filter(|known| EventType::EVENTS.contains(known));
    let body = match known_type.and_then(|known| further_fields(known, chat).map(|further| (known, further))) {
        None => Body::Unsupported { known_type },
        Some((event_type, further)) => {
            if fields.twice != 0
                && let Some(again) = further.iter().find(|known| fields.twice & known.field.bit() != 0)
            {
                return Err(twice(again.field.name()));
            }
            fields.body(event_type, chat, arena)?
        }
    };
    Ok(Event { app, chat, id: AckId::trusted(id), from, to, at, body })
}

/// Where each field's value stands, the first one where there are several.
struct Fields<'a> {
    values: [Option<Value<'a>>; Field::COUNT],
    /// Fields that came more than once, by [`Field::bit`].
    twice: u16,
}

#[expect(clippy::indexing_slicing, reason = "the array has one place for each field")]
impl<'a> Index<Field> for Fields<'a> {
    type Output = Option<Value<'a>>;

    #[inline]
    fn index(&self, field: Field) -> &Self::Output {
        &self.values[field as usize]
    }
}

#[expect(clippy::indexing_slicing, reason = "as above")]
impl IndexMut<Field> for Fields<'_> {
    #[inline]
    fn index_mut(&mut self, field: Field) -> &mut Self::Output {
        &mut self.values[field as usize]
    }
}

impl<'a> Fields<'a> {
    #[inline]
    fn read(text: &'a str, arena: &'a Bump) -> Result<Self, Malformed> {
        let mut fields = Self { values: [None; Field::COUNT], twice: 0 };
        let mut object = Object::open(text).ok_or_else(rules::no_object)?;
        while let Some((key, value)) = object.next_member().map_err(syntax)? {
            // A name with half a surrogate pair is none of ours.
            let Some(field) = key.resolve(arena).and_then(Field::from_name) else { continue };
            if fields[field].is_some() {
                fields.twice |= field.bit();
            } else {
                fields[field] = Some(value);
            }
        }
        Ok(fields)
    }

    /// A common field's value: there, once, and not null.
    #[inline]
    fn common(&self, field: Field) -> Result<Value<'a>, Malformed> {
        if self.twice & field.bit() != 0 {
            return Err(twice(field.name()));
        }
        self.required(field)
    }

    #[inline]
    fn required(&self, field: Field) -> Result<Value<'a>, Malformed> {
        match self[field] {
            None => Err(missing(field.name())),
            Some(Value::Null) => Err(null(field.name())),
            Some(value) => Ok(value),
        }
    }

    /// An optional field's value; null is absence.
    fn optional(&self, field: Field) -> Option<Value<'a>> {
        self[field].filter(|value| *value != Value::Null)
    }

    #[inline]
    fn required_string(&self, field: Field, arena: &'a Bump) -> Result<&'a str, Malformed> {
        string(field.name(), self.common(field)?, arena)
    }

    #[inline]
    fn required_id(&self, field: Field, arena: &'a Bump) -> Result<&'a str, Malformed> {
        parse_id(field.name(), self.required_string(field, arena)?)
    }

    fn at(&self) -> Result<EventTime, Malformed> {
        millis(Field::At.name(), self.common(Field::At)?)
    }

    fn message(&self, arena: &'a Bump) -> Result<MessageId<'a>, Malformed> {
        self.required_id(Field::Message, arena).map(MessageId::trusted)
    }

    /// The type's own fields; the pair of type and chat is one of the table's.
    #[inline]
    fn body(&self, event_type: EventType, chat: Chat, arena: &'a Bump) -> Result<Body<'a>, Malformed> {
        Ok(match event_type {
            EventType::Message => match chat {
                Chat::Single => Body::Message { asks_receipts: false, role: None },
                Chat::Group => Body::Message { asks_receipts: self.receipt()?, role: self.role(arena)? },
            },
            EventType::Delivered => Body::Delivered { message: self.message(arena)? },
            EventType::Read => Body::Read {
                message: self.message(arena)?,
                content: match chat {
                    Chat::Single => None,
                    Chat::Group => self.content(arena)?,
                },
            },
            EventType::ConversationRead => Body::ConversationRead,
            EventType::Recall => Body::Recall { message: self.message(arena)? },
            EventType::Member => Body::Member {
                user: UserId::trusted(self.required_id(Field::User, arena)?),
                change: self.change(arena)?,
            },
            EventType::Roster => Body::Roster { members: self.members(arena)? },
            EventType::GroupDestroyed => Body::GroupDestroyed,
            EventType::Policy | EventType::Erase => Body::Unsupported { known_type: None },
        })
    }

    fn receipt(&self) -> Result<bool, Malformed> {
        match self.optional(Field::Receipt) {
            None => Ok(false),
            Some(Value::Bool(asks)) => Ok(asks),
            Some(other) => Err(wrong_kind("receipt", "true or false", other)),
        }
    }

    fn role(&self, arena: &'a Bump) -> Result<Option<Role>, Malformed> {
        self.optional(Field::Role).map(|value| role(Field::Role.name(), value, arena)).transpose()
    }

    fn content(&self, arena: &'a Bump) -> Result<Option<&'a str>, Malformed> {
        let Some(value) = self.optional(Field::Content) else { return Ok(None) };
        let content = string(Field::Content.name(), value, arena)?;
        if content.len() > MAX_CONTENT_BYTES {
            return Err(rules::too_long("content", MAX_CONTENT_BYTES, content.len()));
        }
        Ok(Some(content))
    }

    fn change(&self, arena: &'a Bump) -> Result<MemberChange, Malformed> {
        let name = self.required_string(Field::Change, arena)?;
        MemberChange::from_name(name).ok_or_else(|| not_one_of("change", "join, leave, owner, admin or member", name))
    }

    fn members(&self, arena: &'a Bump) -> Result<&'a [(UserId<'a>, Role)], Malformed> {
        let text = match self.required(Field::Members)? {
            Value::Array(text) => text,
            other => return Err(wrong_kind("members", "an array of {user, role}", other)),
        };
        let mut members = bumpalo::collections::Vec::new_in(arena);
        let mut array = Array::open(text);
        while let Some(element) = array.next_element().map_err(syntax)? {
            members.push(member(element, arena)?);
        }
        let members = members.into_bump_slice();
        match repeated_user(members, arena) {
            Some(user) => Err(rules::broken("members", format!("must not name a user twice, got {user:?} again"))),
            None => Ok(members),
        }
    }
}

fn role(field: &'static str, value: Value<'_>, arena: &Bump) -> Result<Role, Malformed> {
    let name = match value {
        Value::String(raw) => raw.resolve(arena).ok_or_else(|| rules::lone_surrogate(field))?,
        other => return Err(wrong_kind(field, "a string", other)),
    };
    Role::from_name(name).ok_or_else(|| not_one_of(field, "owner, admin or member", name))
}

/// One element of a roster. Its fields obey the rules of an event's: unknown ones are ignored, the two known ones must
/// be there once.
fn member<'a>(element: Value<'a>, arena: &'a Bump) -> Result<(UserId<'a>, Role), Malformed> {
    const USER: &str = "members.user";
    const ROLE: &str = "members.role";

    let Value::Object(text) = element else {
        return Err(wrong_kind("members", "an array of {user, role}", element));
    };
    let mut object = Object::open(text).ok_or_else(rules::no_object)?;
    let (mut user, mut its_role) = (None, None);
    while let Some((key, value)) = object.next_member().map_err(syntax)? {
        let (name, place) = match key.resolve(arena) {
            Some("user") => (USER, &mut user),
            Some("role") => (ROLE, &mut its_role),
            _ => continue,
        };
        if place.replace(value).is_some() {
            return Err(twice(name));
        }
    }
    let user = string(USER, rules::present(USER, user)?, arena)?;
    let its_role = role(ROLE, rules::present(ROLE, its_role)?, arena)?;
    Ok((UserId::trusted(parse_id(USER, user)?), its_role))
}

/// A user that stands in the roster more than once.
fn repeated_user<'a>(members: &[(UserId<'a>, Role)], arena: &Bump) -> Option<UserId<'a>> {
    let users = arena.alloc_slice_fill_iter(members.iter().map(|(user, _)| *user));
    users.sort_unstable();
    users.windows(2).find_map(|pair| match pair {
        [first, second] if first == second => Some(*first),
        _ => None,
    })
}

#[cfg(test)]
mod tests;
