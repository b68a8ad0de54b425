//! The input contract (DESIGN.md section 2): what stands on the events topic, and what is accepted of it.

mod control;
mod decode;
mod encode;
mod fields;
mod ids;
mod json;
mod key;
mod rules;

pub use control::{decode_control, decode_limits, decode_policy_file, encode_control};
pub use decode::{decode_event, decode_record};
pub use encode::encode_event;
pub use fields::{Field, FurtherField, further_fields};
pub use ids::{
    AckId, AppId, ConversationKey, Epoch, EventTime, MAX_ID_BYTES, MessageId, Offset, PartitionId, RecordTime, UserId,
};
pub use key::{Conversation, murmur2, partition_of};

use crate::policy::PolicyVersion;

/// The largest record value that is read, in bytes.
pub const MAX_RECORD_BYTES: usize = 512 * 1024;

/// The longest `content` of a read receipt, in bytes of UTF-8.
pub const MAX_CONTENT_BYTES: usize = 1024;

/// Header that makes a record a control record; its value is the control type.
pub const CONTROL_HEADER: &str = "seenby-control";

/// Kind of conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Chat {
    /// Two users, or one with himself.
    Single,
    /// A group.
    Group,
}

impl Chat {
    /// The name used on the wire and in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Single => "single",
            Self::Group => "group",
        }
    }

    /// The kind of a name on the wire or in a table.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Single, Self::Group].into_iter().find(|chat| chat.name() == name)
    }
}

/// Role of a member of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// An ordinary member.
    Member,
    /// An administrator.
    Admin,
    /// The owner.
    Owner,
}

impl Role {
    /// The name used on the wire and in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }

    /// The role of a name on the wire or in a table.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Member, Self::Admin, Self::Owner].into_iter().find(|role| role.name() == name)
    }
}

/// What happened to one member of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MemberChange {
    /// Became a member; keeps the role he may already have.
    Join,
    /// Is no member any more.
    Leave,
    /// Has this role from now on, and is a member.
    Role(Role),
}

impl MemberChange {
    /// The name used on the wire and in tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Leave => "leave",
            Self::Role(role) => role.name(),
        }
    }

    /// The change of a name on the wire or in a table.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "join" => Some(Self::Join),
            "leave" => Some(Self::Leave),
            _ => Role::from_name(name).map(Self::Role),
        }
    }
}

/// One valid record of the events topic. Ids borrow from the payload, or from the decoder's arena where the payload
/// spelled them with escapes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Event<'a> {
    /// The tenant.
    pub app: AppId<'a>,
    /// Kind of conversation.
    pub chat: Chat,
    /// The event's own id: of a message the message id, of a receipt or recall the ack id.
    pub id: AckId<'a>,
    /// Who acts.
    pub from: UserId<'a>,
    /// The peer (single) or the group's id (group).
    pub to: &'a str,
    /// When the server received it.
    pub at: EventTime,
    /// What happened.
    pub body: Body<'a>,
}

/// What happened, with the fields of that type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Body<'a> {
    /// A message was sent; its id is the event's.
    Message {
        /// Readers are asked to acknowledge (group; always false in a single chat).
        asks_receipts: bool,
        /// Role of the sender at that time, where the platform said it (group).
        role: Option<Role>,
    },
    /// A message reached `from`'s device (single).
    Delivered {
        /// The message delivered.
        message: MessageId<'a>,
    },
    /// `from` has read a message.
    Read {
        /// The message read.
        message: MessageId<'a>,
        /// Text sent along with the receipt (group).
        content: Option<&'a str>,
    },
    /// `from` has read the conversation up to `at`.
    ConversationRead,
    /// A message was taken back.
    Recall {
        /// The message taken back.
        message: MessageId<'a>,
    },
    /// One member of a group changed.
    Member {
        /// Who changed.
        user: UserId<'a>,
        /// How.
        change: MemberChange,
    },
    /// The whole roster as of `at`; no user stands in it twice.
    Roster {
        /// Every member with his role, in the order given.
        members: &'a [(UserId<'a>, Role)],
    },
    /// The group is gone: an empty roster.
    GroupDestroyed,
    /// The common fields are valid, but the type is unknown or not for this kind of chat.
    Unsupported {
        /// The type as it was given, where it is one of the known types in the wrong kind of chat; else `None`.
        known_type: Option<EventType>,
    },
}

/// The types of section 2, as they are named on the wire and counted in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventType {
    /// A message.
    Message,
    /// A delivery receipt.
    Delivered,
    /// A read receipt.
    Read,
    /// A conversation read up to a time.
    ConversationRead,
    /// A recall.
    Recall,
    /// A change of one member.
    Member,
    /// A whole roster.
    Roster,
    /// A destroyed group.
    GroupDestroyed,
    /// Control record: a policy version.
    Policy,
    /// Control record: forget a user.
    Erase,
}

impl EventType {
    /// The types of events; the others are those of control records.
    pub const EVENTS: [Self; 8] = [
        Self::Message,
        Self::Delivered,
        Self::Read,
        Self::ConversationRead,
        Self::Recall,
        Self::Member,
        Self::Roster,
        Self::GroupDestroyed,
    ];

    /// The types of control records.
    pub const CONTROLS: [Self; 2] = [Self::Policy, Self::Erase];

    /// The type of a name on the wire or in a table.
    #[inline]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "message" => Self::Message,
            "delivered" => Self::Delivered,
            "read" => Self::Read,
            "conversation_read" => Self::ConversationRead,
            "recall" => Self::Recall,
            "member" => Self::Member,
            "roster" => Self::Roster,
            "group_destroyed" => Self::GroupDestroyed,
            "policy" => Self::Policy,
            "erase" => Self::Erase,
            _ => return None,
        })
    }

    /// The name used on the wire, in tables and in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Delivered => "delivered",
            Self::Read => "read",
            Self::ConversationRead => "conversation_read",
            Self::Recall => "recall",
            Self::Member => "member",
            Self::Roster => "roster",
            Self::GroupDestroyed => "group_destroyed",
            Self::Policy => "policy",
            Self::Erase => "erase",
        }
    }
}

impl Body<'_> {
    /// The type this body is counted under; `None` for an unknown type, which is counted as "".
    pub const fn event_type(&self) -> Option<EventType> {
        match self {
            Self::Message { .. } => Some(EventType::Message),
            Self::Delivered { .. } => Some(EventType::Delivered),
            Self::Read { .. } => Some(EventType::Read),
            Self::ConversationRead => Some(EventType::ConversationRead),
            Self::Recall { .. } => Some(EventType::Recall),
            Self::Member { .. } => Some(EventType::Member),
            Self::Roster { .. } => Some(EventType::Roster),
            Self::GroupDestroyed => Some(EventType::GroupDestroyed),
            Self::Unsupported { known_type } => *known_type,
        }
    }
}

/// A valid control record (DESIGN.md section 2): written by seenby itself, one copy in every partition.
#[derive(Clone, Debug, PartialEq)]
pub enum Control {
    /// A version of an app's policy.
    Policy(PolicyVersion),
    /// Forget a user from here on.
    Erase(Erase),
}

/// The order to forget one user of an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erase {
    /// The tenant.
    pub app: String,
    /// Number shared with the app's policy versions: the writer's clock in ms.
    pub version: u64,
    /// Who is to be forgotten.
    pub user: String,
}

/// Why a record was not accepted: the field and the rule it broke, for the log, the rejection's header and the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {rule}")]
pub struct Malformed {
    /// The field at fault, or `record` for the whole.
    pub field: &'static str,
    /// The rule it broke, as a sentence without a full stop.
    pub rule: String,
}

/// One record of the events topic, as the fold takes it.
#[derive(Debug)]
pub struct Record<'a> {
    /// Where it stands.
    pub offset: Offset,
    /// The broker's time.
    pub time: RecordTime,
    /// The record key as it came.
    pub key: Option<&'a [u8]>,
    /// The record value as it came; a tombstone is an empty value.
    pub value: &'a [u8],
    /// What the decoder made of it.
    pub input: Input<'a>,
}

/// What the decoder made of a record.
#[derive(Debug)]
pub enum Input<'a> {
    /// A valid event.
    Event(Event<'a>),
    /// A valid control record.
    Control(Control),
    /// Neither: an event or a control record that broke a rule.
    Malformed {
        /// Whether the control header was there; such records are exempt from nothing else, but count alike.
        control: bool,
        /// The rule it broke.
        reason: Malformed,
    },
}

impl Input<'_> {
    /// The type that the record is counted under; `None` for malformed records and unknown types, which are counted as "".
    pub const fn event_type(&self) -> Option<EventType> {
        match self {
            Self::Event(event) => event.body.event_type(),
            Self::Control(control) => Some(control.event_type()),
            Self::Malformed { .. } => None,
        }
    }
}

impl Control {
    /// The tenant.
    pub fn app(&self) -> &str {
        match self {
            Self::Policy(version) => &version.app,
            Self::Erase(order) => &order.app,
        }
    }

    /// The type that it is counted under.
    pub const fn event_type(&self) -> EventType {
        match self {
            Self::Policy(_) => EventType::Policy,
            Self::Erase(_) => EventType::Erase,
        }
    }
}
