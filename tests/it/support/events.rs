//! Events in one line: `group_message("m1").from("alice").asking_receipts().at(1_000)`.
//!
//! Every builder starts valid: app `org#app`, group `g1` or the users alice and bob, time [`NOON`]. A receipt's own id is
//! made of its type, message, reader and time, so that two different receipts never share one.

#![allow(dead_code)] // a vocabulary: not every word is in use at any time

use bumpalo::Bump;
use seenby::event::{Control, Erase, EventTime, Offset, Record, RecordTime, decode_record, encode_control};
use seenby::policy::{Policy, PolicyVersion};
use serde_json::{Map, Value, json};

/// 2026-03-01 12:00 UTC in ms, the time of events that are given none.
pub const NOON: i64 = 1_772_366_400_000;

/// The app of events that are given none.
pub const APP: &str = "org#app";

/// One minute in ms.
pub const MINUTE: i64 = 60_000;

/// One hour in ms.
pub const HOUR: i64 = 60 * MINUTE;

/// One day in ms.
pub const DAY: i64 = 24 * HOUR;

/// An event in the making: its fields as they will stand in the JSON.
#[derive(Clone, Debug, PartialEq)]
pub struct EventBuilder {
    fields: Map<String, Value>,
    left_out: Vec<String>,
}

/// A message of alice in the group g1.
pub fn group_message(id: &str) -> EventBuilder {
    in_group("message", "alice").with("id", id)
}

/// A message of alice to bob.
pub fn single_message(id: &str) -> EventBuilder {
    in_single("message", "alice", "bob").with("id", id)
}

/// Bob has read a message in the group g1.
pub fn group_read(message: &str) -> EventBuilder {
    in_group("read", "bob").with("message", message)
}

/// Bob has read a message of alice.
pub fn single_read(message: &str) -> EventBuilder {
    in_single("read", "bob", "alice").with("message", message)
}

/// A message of alice reached bob.
pub fn delivered(message: &str) -> EventBuilder {
    in_single("delivered", "bob", "alice").with("message", message)
}

/// Bob has read what alice sent, up to now.
pub fn single_conversation_read() -> EventBuilder {
    in_single("conversation_read", "bob", "alice")
}

/// Bob has read the group g1 up to now.
pub fn group_conversation_read() -> EventBuilder {
    in_group("conversation_read", "bob")
}

/// Alice takes back a message in the group g1.
pub fn group_recall(message: &str) -> EventBuilder {
    in_group("recall", "alice").with("message", message)
}

/// Alice takes back a message to bob.
pub fn single_recall(message: &str) -> EventBuilder {
    in_single("recall", "alice", "bob").with("message", message)
}

/// A change of one member of the group g1: join, leave, owner, admin or member.
pub fn member(user: &str, change: &str) -> EventBuilder {
    in_group("member", "alice").with("user", user).with("change", change)
}

/// The whole roster of the group g1, as (user, role).
pub fn roster(members: &[(&str, &str)]) -> EventBuilder {
    let members: Vec<Value> = members.iter().map(|(user, role)| json!({"user": user, "role": role})).collect();
    in_group("roster", "alice").with("members", members)
}

/// The end of the group g1.
pub fn group_destroyed() -> EventBuilder {
    in_group("group_destroyed", "alice")
}

/// Any type in the group g1.
pub fn in_group(event_type: &str, from: &str) -> EventBuilder {
    EventBuilder { fields: Map::new(), left_out: Vec::new() }
        .with("type", event_type)
        .with("app", APP)
        .with("chat", "group")
        .with("from", from)
        .with("to", "g1")
        .with("at", NOON)
}

/// Any type between two users.
pub fn in_single(event_type: &str, from: &str, to: &str) -> EventBuilder {
    in_group(event_type, from).with("chat", "single").with("to", to)
}

impl EventBuilder {
    /// Sets any field to any JSON value.
    pub fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(field.to_owned(), value.into());
        self
    }

    /// Leaves a field out.
    pub fn without(mut self, field: &str) -> Self {
        self.left_out.push(field.to_owned());
        self
    }

    pub fn app(self, app: &str) -> Self {
        self.with("app", app)
    }

    pub fn id(self, id: &str) -> Self {
        self.with("id", id)
    }

    pub fn from(self, user: &str) -> Self {
        self.with("from", user)
    }

    /// The peer, or the group.
    pub fn to(self, to: &str) -> Self {
        self.with("to", to)
    }

    pub fn at(self, millis: i64) -> Self {
        self.with("at", millis)
    }

    /// Later than it is by so many ms.
    pub fn after(self, millis: i64) -> Self {
        let at = self.fields["at"].as_i64().unwrap();
        self.at(at + millis)
    }

    pub fn asking_receipts(self) -> Self {
        self.with("receipt", true)
    }

    pub fn role(self, role: &str) -> Self {
        self.with("role", role)
    }

    pub fn content(self, content: &str) -> Self {
        self.with("content", content)
    }

    /// Whether an id has been given.
    pub fn has_id(&self) -> bool {
        self.fields.contains_key("id")
    }

    /// The record's value.
    pub fn value(&self) -> Vec<u8> {
        let mut fields = self.fields.clone();
        if !fields.contains_key("id") {
            let made_of = ["type", "message", "from", "at"].map(|field| match fields.get(field) {
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
                None => String::new(),
            });
            fields.insert("id".to_owned(), made_of.join("-").into());
        }
        for field in &self.left_out {
            fields.remove(field);
        }
        serde_json::to_vec(&fields).unwrap()
    }

    /// The record with its right key.
    pub fn record(&self) -> OwnedRecord {
        OwnedRecord { key: Some(self.key().into_bytes()), value: self.value(), control: None }
    }

    /// The record's key: the conversation key of the fields as they are.
    pub fn key(&self) -> String {
        let text = |field: &str| self.fields.get(field).and_then(Value::as_str).unwrap_or_default();
        let (app, from, to) = (text("app"), text("from"), text("to"));
        if text("chat") == "group" {
            format!("{app}/g/{to}")
        } else {
            format!("{app}/u/{}/{}", from.min(to), from.max(to))
        }
    }
}

/// A record as a producer sends it.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnedRecord {
    pub key: Option<Vec<u8>>,
    pub value: Vec<u8>,
    /// The value of the header that makes it a control record.
    pub control: Option<String>,
}

impl OwnedRecord {
    /// The record decoded, as the fold takes it, standing at `offset`; `time` is the broker's, in ms.
    pub fn at_offset<'a>(&'a self, offset: u64, time: i64, arena: &'a Bump) -> Record<'a> {
        Record {
            offset: Offset::new(offset),
            time: RecordTime::from_millis(time),
            key: self.key.as_deref(),
            value: &self.value,
            input: decode_record(&self.value, self.control.as_deref().map(str::as_bytes), arena),
        }
    }
}

/// A version of the policy of [`APP`], in force from the beginning of time: `policy(1, |policy| policy.group.open = true)`.
pub fn policy(version: u64, change: impl FnOnce(&mut Policy)) -> OwnedRecord {
    policy_from(version, 0, change)
}

/// A version of the policy of [`APP`], in force from a time in ms.
pub fn policy_from(version: u64, effective_from: i64, change: impl FnOnce(&mut Policy)) -> OwnedRecord {
    let mut policy = Policy::DEFAULT;
    change(&mut policy);
    let effective_from = EventTime::from_millis(effective_from);
    control("policy", &Control::Policy(PolicyVersion { app: APP.to_owned(), version, effective_from, policy }))
}

/// The order to forget a user of [`APP`].
pub fn erase(version: u64, user: &str) -> OwnedRecord {
    control("erase", &Control::Erase(Erase { app: APP.to_owned(), version, user: user.to_owned() }))
}

fn control(control_type: &str, control: &Control) -> OwnedRecord {
    let mut value = Vec::new();
    encode_control(control, &mut value);
    OwnedRecord { key: None, value, control: Some(control_type.to_owned()) }
}
