//! Control records: policy versions and erase orders, which seenby itself writes to every partition.
//!
//! Stricter than events: they are ours, so an unknown field is a mistake and not somebody's extension.

use std::str::FromStr;

use bumpalo::Bump;
use chrono_tz::Tz;

use super::encode::ObjectWriter;
use super::json::{Object, Value};
use super::rules::{
    broken, integer, lone_surrogate, millis, missing, no_object, not_one_of, null, parse_app, parse_id, record_text,
    shortened, string, syntax, twice, wrong_kind,
};
use super::{Control, Erase, EventTime, EventType, Malformed};
use crate::policy::{
    GroupPolicy, MAX_VALIDITY_DAYS, MIN_VALIDITY_DAYS, Policy, PolicyVersion, Senders, SinglePolicy, UnknownSender,
    Viewers,
};

/// Decodes a control record of the type that its header [`super::CONTROL_HEADER`] gives.
///
/// # Errors
/// The first rule that it breaks: a type that does not exist or is not the header's, an unknown field, null, a field
/// that is missing, there twice or out of range, an unknown time zone.
pub fn decode_control(control_type: &[u8], value: &[u8], arena: &Bump) -> Result<Control, Malformed> {
    let event_type = EventType::CONTROLS
        .into_iter()
        .find(|known| known.name().as_bytes() == control_type)
        .ok_or_else(|| not_one_of("seenby-control", "policy or erase", &String::from_utf8_lossy(control_type)))?;
    let text = record_text(value)?;
    let mut fields = ControlFields::default();
    fields.read(text, arena)?;

    let named_type = fields.r#type.ok_or_else(|| missing("type"))?;
    if named_type != event_type.name() {
        return Err(not_one_of("type", event_type.name(), named_type));
    }
    let app = fields.app.ok_or_else(|| missing("app"))?;
    let version = fields.version.ok_or_else(|| missing("version"))?;
    if event_type == EventType::Erase {
        fields.refuse_those_of_a_policy()?;
        let user = fields.user.ok_or_else(|| missing("user"))?;
        return Ok(Control::Erase(Erase { app: app.to_owned(), version, user: user.to_owned() }));
    }
    if fields.user.is_some() {
        return Err(unknown("user"));
    }
    Ok(Control::Policy(fields.into_version(app, version)))
}

/// Decodes what an operator writes: an object of `effective_from` and those limits that differ from the default.
///
/// # Errors
/// As [`decode_control`]; `type`, `app`, `version` and `user` are unknown fields here. `app` and `version` must obey the
/// rules too.
pub fn decode_policy_file(app: &str, version: u64, file: &[u8]) -> Result<PolicyVersion, Malformed> {
    let arena = Bump::new();
    parse_app(app)?;
    if version > MAX_VERSION {
        return Err(broken("version", format!("must be an integer from 0 to {MAX_VERSION}, got {version}")));
    }
    let mut fields = ControlFields::default();
    fields.read(record_text(file)?, &arena)?;
    fields.refuse_those_of_a_record()?;
    Ok(fields.into_version(app, version))
}

/// Decodes limits alone: an object of those that differ from the default.
///
/// # Errors
/// As [`decode_policy_file`]; `effective_from` is an unknown field here.
pub fn decode_limits(limits: &[u8]) -> Result<Policy, Malformed> {
    let arena = Bump::new();
    let mut fields = ControlFields::default();
    fields.read(record_text(limits)?, &arena)?;
    fields.refuse_those_of_a_record()?;
    match fields.effective_from {
        Some(_) => Err(unknown("effective_from")),
        None => Ok(fields.policy),
    }
}

/// Appends a control record's value as JSON, every limit spelled out: a later change of a default changes no record.
pub fn encode_control(control: &Control, out: &mut Vec<u8>) {
    let mut object = ObjectWriter::open(out);
    match control {
        Control::Policy(PolicyVersion { app, version, effective_from, policy }) => {
            object.string("type", EventType::Policy.name());
            object.string("app", app);
            object.integer("version", *version);
            object.integer("effective_from", effective_from.millis());
            write_limits(policy, &mut object);
        }
        Control::Erase(Erase { app, version, user }) => {
            object.string("type", EventType::Erase.name());
            object.string("app", app);
            object.integer("version", *version);
            object.string("user", user);
        }
    }
    object.close();
}

fn write_limits(policy: &Policy, object: &mut ObjectWriter<'_>) {
    object.object("group", |group| {
        let limits = &policy.group;
        group.boolean("open", limits.open);
        group.string("senders", limits.senders.name());
        group.string("unknown_sender", limits.unknown_sender.name());
        group.integer("validity_days", limits.validity_days);
        group.integer("readers_per_message", limits.readers_per_message);
        group.integer("messages_per_day", limits.messages_per_day);
        group.string("timezone", limits.timezone.name());
        group.string("viewers", limits.viewers.name());
    });
    object.object("single", |single| single.integer("validity_days", policy.single.validity_days));
    object.integer("parking_hours", policy.parking_hours);
    object.boolean("notify", policy.notify);
}

/// A version is a time in ms, and the default of `effective_from`.
const MAX_VERSION: u64 = EventTime::MAX.millis() as u64;

/// The fields of all control records. Limits start at their defaults.
#[derive(Default)]
struct ControlFields<'a> {
    r#type: Option<&'a str>,
    app: Option<&'a str>,
    version: Option<u64>,
    user: Option<&'a str>,
    effective_from: Option<EventTime>,
    policy: Policy,
    /// The first limit met, if any.
    limit: Option<&'static str>,
}

impl<'a> ControlFields<'a> {
    fn read(&mut self, text: &'a str, arena: &'a Bump) -> Result<(), Malformed> {
        const NAMES: [&str; 9] =
            ["type", "app", "version", "user", "effective_from", "group", "single", "parking_hours", "notify"];

        each_member(text, "record", &NAMES, arena, |name, value| {
            if matches!(name, "effective_from" | "group" | "single" | "parking_hours" | "notify") {
                self.limit.get_or_insert(name);
            }
            match name {
                "type" => self.r#type = Some(string(name, value, arena)?),
                "app" => self.app = Some(parse_app(string(name, value, arena)?)?.as_str()),
                "version" => self.version = Some(integer(name, value, 0, MAX_VERSION, "")?),
                "user" => self.user = Some(parse_id(name, string(name, value, arena)?)?),
                "effective_from" => self.effective_from = Some(millis(name, value)?),
                "group" => read_group(&mut self.policy.group, value, arena)?,
                "single" => read_single(&mut self.policy.single, value, arena)?,
                "parking_hours" => self.policy.parking_hours = count(name, value, 0)?,
                _ => self.policy.notify = boolean(name, value)?,
            }
            Ok(())
        })
    }

    fn refuse_those_of_a_record(&self) -> Result<(), Malformed> {
        let foreign = [
            ("type", self.r#type.is_some()),
            ("app", self.app.is_some()),
            ("version", self.version.is_some()),
            ("user", self.user.is_some()),
        ];
        foreign.into_iter().find(|(_, is_there)| *is_there).map_or(Ok(()), |(name, _)| Err(unknown(name)))
    }

    fn refuse_those_of_a_policy(&self) -> Result<(), Malformed> {
        self.limit.map_or(Ok(()), |name| Err(unknown(name)))
    }

    fn into_version(self, app: &str, version: u64) -> PolicyVersion {
        PolicyVersion {
            app: app.to_owned(),
            version,
            effective_from: self.effective_from.unwrap_or(EventTime::from_millis(version as i64)),
            policy: self.policy,
        }
    }
}

fn read_group(limits: &mut GroupPolicy, value: Value<'_>, arena: &Bump) -> Result<(), Malformed> {
    const NAMES: [&str; 8] = [
        "group.open",
        "group.senders",
        "group.unknown_sender",
        "group.validity_days",
        "group.readers_per_message",
        "group.messages_per_day",
        "group.timezone",
        "group.viewers",
    ];

    each_member(object_text("group", value)?, "group", &NAMES, arena, |field, value| {
        match field {
            "group.open" => limits.open = boolean(field, value)?,
            "group.senders" => {
                let name = string(field, value, arena)?;
                limits.senders =
                    Senders::from_name(name).ok_or_else(|| not_one_of(field, "admins or members", name))?;
            }
            "group.unknown_sender" => {
                let name = string(field, value, arena)?;
                limits.unknown_sender =
                    UnknownSender::from_name(name).ok_or_else(|| not_one_of(field, "member or allow", name))?;
            }
            "group.validity_days" => limits.validity_days = days(field, value)?,
            "group.readers_per_message" => limits.readers_per_message = count(field, value, 1)?,
            "group.messages_per_day" => limits.messages_per_day = count(field, value, 0)?,
            "group.timezone" => {
                let name = string(field, value, arena)?;
                limits.timezone =
                    Tz::from_str(name).map_err(|_| not_one_of(field, "the name of an IANA zone", name))?;
            }
            _ => {
                let name = string(field, value, arena)?;
                limits.viewers =
                    Viewers::from_name(name).ok_or_else(|| not_one_of(field, "sender, members or app", name))?;
            }
        }
        Ok(())
    })
}

fn read_single(limits: &mut SinglePolicy, value: Value<'_>, arena: &Bump) -> Result<(), Malformed> {
    each_member(object_text("single", value)?, "single", &["single.validity_days"], arena, |field, value| {
        limits.validity_days = days(field, value)?;
        Ok(())
    })
}

/// Gives every member of an object that is one of `names`, there once and not null, to `take`. Names are those of the
/// whole record: of `group.open` the object holds `open`.
fn each_member<'a>(
    text: &'a str,
    whole: &'static str,
    names: &[&'static str],
    arena: &'a Bump,
    mut take: impl FnMut(&'static str, Value<'a>) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    let mut object = Object::open(text).ok_or_else(no_object)?;
    let mut met = 0_u32;
    while let Some((key, value)) = object.next_member().map_err(syntax)? {
        let name = key.resolve(arena).ok_or_else(|| lone_surrogate(whole))?;
        let is_named = |known: &str| known.rsplit('.').next() == Some(name);
        let Some((index, &known)) = names.iter().enumerate().find(|(_, known)| is_named(known)) else {
            return Err(broken(whole, format!("must have known fields only, got {:?}", shortened(name))));
        };
        if met & 1 << index != 0 {
            return Err(twice(known));
        }
        met |= 1 << index;
        if value == Value::Null {
            return Err(null(known));
        }
        take(known, value)?;
    }
    Ok(())
}

fn unknown(name: &'static str) -> Malformed {
    broken(name, "must not be there: not a field of this record")
}

fn object_text<'a>(field: &'static str, value: Value<'a>) -> Result<&'a str, Malformed> {
    match value {
        Value::Object(text) => Ok(text),
        other => Err(wrong_kind(field, "an object", other)),
    }
}

fn boolean(field: &'static str, value: Value<'_>) -> Result<bool, Malformed> {
    match value {
        Value::Bool(is_set) => Ok(is_set),
        other => Err(wrong_kind(field, "true or false", other)),
    }
}

fn days(field: &'static str, value: Value<'_>) -> Result<u32, Malformed> {
    let days = integer(field, value, u64::from(MIN_VALIDITY_DAYS), u64::from(MAX_VALIDITY_DAYS), " of days")?;
    Ok(days as u32)
}

/// A number of hours, readers or messages, from `least` to the largest of 32 bits.
fn count(field: &'static str, value: Value<'_>, least: u32) -> Result<u32, Malformed> {
    integer(field, value, u64::from(least), u64::from(u32::MAX), "").map(|count| count as u32)
}

#[cfg(test)]
mod tests;
