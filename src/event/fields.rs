//! The table of section 2: which fields an event of a type and kind of chat has. Every other field is ignored.

use super::{Chat, EventType};

/// A field of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Field {
    /// `type`
    Type,
    /// `app`
    App,
    /// `chat`
    Chat,
    /// `id`
    Id,
    /// `from`
    From,
    /// `to`
    To,
    /// `at`
    At,
    /// `message`
    Message,
    /// `content`
    Content,
    /// `receipt`
    Receipt,
    /// `role`
    Role,
    /// `user`
    User,
    /// `change`
    Change,
    /// `members`
    Members,
}

impl Field {
    /// How many fields there are.
    pub const COUNT: usize = Self::Members as usize + 1;

    /// The fields that every event has, all of them required.
    pub const COMMON: [Self; 7] = [Self::Type, Self::App, Self::Chat, Self::Id, Self::From, Self::To, Self::At];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Type => "type",
            Self::App => "app",
            Self::Chat => "chat",
            Self::Id => "id",
            Self::From => "from",
            Self::To => "to",
            Self::At => "at",
            Self::Message => "message",
            Self::Content => "content",
            Self::Receipt => "receipt",
            Self::Role => "role",
            Self::User => "user",
            Self::Change => "change",
            Self::Members => "members",
        }
    }

    /// The field of a name on the wire, if it is one.
    #[inline]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "type" => Self::Type,
            "app" => Self::App,
            "chat" => Self::Chat,
            "id" => Self::Id,
            "from" => Self::From,
            "to" => Self::To,
            "at" => Self::At,
            "message" => Self::Message,
            "content" => Self::Content,
            "receipt" => Self::Receipt,
            "role" => Self::Role,
            "user" => Self::User,
            "change" => Self::Change,
            "members" => Self::Members,
            _ => return None,
        })
    }

    /// This field's bit in a set of fields.
    pub(super) const fn bit(self) -> u16 {
        1 << self as u8
    }
}

/// A field beyond the common ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FurtherField {
    /// Which.
    pub field: Field,
    /// Whether it must be there and not null.
    pub is_required: bool,
}

const fn required(field: Field) -> FurtherField {
    FurtherField { field, is_required: true }
}

const fn optional(field: Field) -> FurtherField {
    FurtherField { field, is_required: false }
}

/// The fields that an event of this type in this kind of chat has beyond the common ones; `None` where the type is
/// unsupported there.
pub const fn further_fields(event_type: EventType, chat: Chat) -> Option<&'static [FurtherField]> {
    Some(match (event_type, chat) {
        // Receipts are asked for in groups only: in a single chat `receipt` and `role` are unknown fields.
        (EventType::Message, Chat::Single) => &[],
        (EventType::Message, Chat::Group) => &const { [optional(Field::Receipt), optional(Field::Role)] },
        (EventType::Delivered, Chat::Single) => &const { [required(Field::Message)] },
        (EventType::Read, Chat::Single) => &const { [required(Field::Message)] },
        (EventType::Read, Chat::Group) => &const { [required(Field::Message), optional(Field::Content)] },
        (EventType::ConversationRead, _) => &[],
        (EventType::Recall, _) => &const { [required(Field::Message)] },
        (EventType::Member, Chat::Group) => &const { [required(Field::User), required(Field::Change)] },
        (EventType::Roster, Chat::Group) => &const { [required(Field::Members)] },
        (EventType::GroupDestroyed, Chat::Group) => &[],
        (EventType::Delivered, Chat::Group)
        | (EventType::Member | EventType::Roster | EventType::GroupDestroyed, Chat::Single)
        | (EventType::Policy | EventType::Erase, _) => return None,
    })
}
