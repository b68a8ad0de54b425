//! Section 2, as the plain fold reads it: `None` is malformed.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::policy::PlainPolicy;

const LATEST: i64 = 4_102_444_799_999;
const MOST_BYTES: usize = 512 * 1024;

/// An event with the fields that its type and chat give it.
#[derive(Clone, Debug)]
pub struct PlainEvent {
    pub event_type: String,
    pub app: String,
    pub is_group: bool,
    pub id: String,
    pub from: String,
    pub to: String,
    pub at: i64,
    pub is_supported: bool,
    pub receipt: bool,
    pub role: Option<String>,
    pub message: String,
    pub content: Option<String>,
    pub user: String,
    pub change: String,
    pub members: Vec<(String, String)>,
}

const TYPES: [&str; 8] =
    ["message", "delivered", "read", "conversation_read", "recall", "member", "roster", "group_destroyed"];

impl PlainEvent {
    /// The conversation key.
    pub fn conversation(&self) -> String {
        let Self { app, from, to, .. } = self;
        match (self.is_group, from <= to) {
            (true, _) => format!("{app}/g/{to}"),
            (false, true) => format!("{app}/u/{from}/{to}"),
            (false, false) => format!("{app}/u/{to}/{from}"),
        }
    }

    /// The type it is counted under.
    pub fn counted_type(&self) -> &str {
        if TYPES.contains(&self.event_type.as_str()) { &self.event_type } else { "" }
    }
}

/// A control record.
#[derive(Clone, Debug)]
pub enum PlainControl {
    Policy { app: String, version: u64, policy: PlainPolicy },
    Erase { app: String, version: u64, user: String },
}

pub fn read_event(value: &[u8]) -> Option<PlainEvent> {
    if value.len() > MOST_BYTES {
        return None;
    }
    let fields: Fields = serde_json::from_slice(value).ok()?;
    let event_type = fields.string("type")?;
    let app = fields.string("app").filter(|app| is_app(app))?;
    let is_group = match fields.string("chat")?.as_str() {
        "group" => true,
        "single" => false,
        _ => return None,
    };
    let mut event = PlainEvent {
        app,
        is_group,
        id: fields.id("id")?,
        from: fields.id("from")?,
        to: fields.id("to")?,
        at: fields.time("at")?,
        is_supported: true,
        receipt: false,
        role: None,
        message: String::new(),
        content: None,
        user: String::new(),
        change: String::new(),
        members: Vec::new(),
        event_type,
    };
    match (event.event_type.as_str(), is_group) {
        ("message", true) => {
            event.receipt = match fields.optional("receipt")? {
                None => false,
                Some(receipt) => serde_json::from_str(receipt).ok()?,
            };
            event.role = match fields.optional("role")? {
                None => None,
                Some(role) => Some(read_role(role)?),
            };
        }
        ("message" | "conversation_read", _) | ("group_destroyed", true) => {}
        ("delivered", false) | ("recall", _) | ("read", false) => event.message = fields.id("message")?,
        ("read", true) => {
            event.message = fields.id("message")?;
            event.content = match fields.optional("content")? {
                None => None,
                Some(content) => {
                    Some(serde_json::from_str(content).ok().filter(|content: &String| content.len() <= 1_024)?)
                }
            };
        }
        ("member", true) => {
            event.user = fields.id("user")?;
            event.change = fields
                .string("change")
                .filter(|change| matches!(change.as_str(), "join" | "leave" | "owner" | "admin" | "member"))?;
        }
        ("roster", true) => {
            let members: Vec<Fields> = serde_json::from_str(fields.once("members")?).ok()?;
            for member in members {
                event.members.push((member.id("user")?, read_role(member.once("role")?)?));
            }
            let users: HashSet<&String> = event.members.iter().map(|(user, _)| user).collect();
            if users.len() < event.members.len() {
                return None;
            }
        }
        _ => event.is_supported = false,
    }
    Some(event)
}

pub fn read_control(header: &[u8], value: &[u8]) -> Option<PlainControl> {
    let header = std::str::from_utf8(header).ok().filter(|name| matches!(*name, "policy" | "erase"))?;
    if value.len() > MOST_BYTES || names_a_field_twice(value)? {
        return None;
    }
    let record: serde_json::Map<String, Value> = serde_json::from_slice(value).ok()?;
    if record.get("type")?.as_str()? != header {
        return None;
    }
    let app = record.get("app")?.as_str().filter(|app| is_app(app))?.to_owned();
    let version = record.get("version")?.as_u64().filter(|version| *version <= LATEST as u64)?;
    if header == "policy" {
        return Some(PlainControl::Policy { policy: PlainPolicy::read(&record, version)?, app, version });
    }
    let is_known = |name: &String| matches!(name.as_str(), "type" | "app" | "version" | "user");
    let user = record.get("user")?.as_str().filter(|user| is_id(user))?.to_owned();
    record.keys().all(is_known).then_some(PlainControl::Erase { app, version, user })
}

/// Whether a control record, or an object of limits in it, has two fields of one name. A map keeps the last of them.
fn names_a_field_twice(value: &[u8]) -> Option<bool> {
    let record: Fields = serde_json::from_slice(value).ok()?;
    let limits = record.0.iter().filter_map(|(_, limits)| serde_json::from_str::<Fields>(limits.get()).ok());
    Some(limits.chain([record.clone()]).any(|fields| {
        let names: HashSet<_> = fields.0.iter().map(|(name, _)| name).collect();
        names.len() < fields.0.len()
    }))
}

fn read_role(json: &str) -> Option<String> {
    serde_json::from_str(json).ok().filter(|role: &String| matches!(role.as_str(), "owner" | "admin" | "member"))
}

fn is_id(text: &str) -> bool {
    let is_allowed = |letter: char| !(letter == '/' || letter == '#' || letter.is_whitespace() || letter.is_control());
    (1..=128).contains(&text.len()) && text.chars().all(is_allowed)
}

fn is_app(text: &str) -> bool {
    text.len() <= 128 && text.split_once('#').is_some_and(|(org, name)| is_id(org) && is_id(name))
}

/// An object's members as they came, repeated ones too. A name with half a surrogate pair is no text, and no field's.
#[derive(Clone)]
struct Fields(Vec<(Option<String>, Box<RawValue>)>);

impl Fields {
    /// The JSON of a field that must be there once.
    fn once(&self, name: &str) -> Option<&str> {
        let mut values = self.0.iter().filter(|(field, _)| field.as_deref() == Some(name));
        match (values.next(), values.next()) {
            (Some((_, value)), None) => Some(value.get()),
            _ => None,
        }
    }

    /// The JSON of a field that may be absent or null, but not twice.
    fn optional(&self, name: &str) -> Option<Option<&str>> {
        if self.0.iter().any(|(field, _)| field.as_deref() == Some(name)) {
            Some(Some(self.once(name)?).filter(|value| *value != "null"))
        } else {
            Some(None)
        }
    }

    fn string(&self, name: &str) -> Option<String> {
        serde_json::from_str(self.once(name)?).ok()
    }

    fn id(&self, name: &str) -> Option<String> {
        self.string(name).filter(|id| is_id(id))
    }

    fn time(&self, name: &str) -> Option<i64> {
        let digits = self.once(name)?;
        let is_integer = digits.bytes().all(|byte| byte.is_ascii_digit());
        digits.parse().ok().filter(|time| is_integer && (0..=LATEST).contains(time))
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Fields;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Fields, A::Error> {
                let mut members = Vec::new();
                while let Some((name, value)) = object.next_entry::<Box<RawValue>, _>()? {
                    members.push((serde_json::from_str(name.get()).ok(), value));
                }
                Ok(Fields(members))
            }
        }

        deserializer.deserialize_map(Members)
    }
}
