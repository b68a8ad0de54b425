//! The schemas under `schemas/` and the types in `event` say the same, held together in both directions.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use bumpalo::Bump;
use jsonschema::{Registry, Validator};
use seenby::event::{
    AckId, AppId, Chat, Control, ConversationKey, Epoch, Erase, EventTime, EventType, Field, MemberChange, MessageId,
    Offset, PartitionId, RecordTime, Role, UserId, decode_control, decode_event, encode_control, encode_event,
    further_fields,
};
use seenby::fold::Outcome;
use seenby::fold::fact::{NotificationFact, NotificationKind, Position, RejectionFact};
use seenby::log::Outbox;
use seenby::policy::{Policy, PolicyVersion, Senders, UnknownSender, Viewers};
use serde_json::{Map, Value, json};

fn schemas_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas")
}

fn read_json(path: &Path) -> Value {
    let text = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn schema(name: &str) -> Value {
    read_json(&schemas_folder().join(format!("{name}.schema.json")))
}

fn event_names() -> [&'static str; 8] {
    EventType::EVENTS.map(EventType::name)
}

fn control_names() -> [&'static str; 2] {
    EventType::CONTROLS.map(EventType::name)
}

/// Compiles a schema; those that it refers to are all at hand, none is fetched.
fn validator(name: &str) -> Validator {
    let names = event_names().into_iter().chain(["common"]);
    let registry = names
        .fold(Registry::new(), |registry, name| {
            registry.add(format!("urn:seenby:schema:{name}"), schema(name)).unwrap()
        })
        .prepare()
        .unwrap();
    jsonschema::options().with_registry(&registry).build(&schema(name)).unwrap()
}

/// The files of a kind of examples of a schema: name and bytes.
fn examples(name: &str, kind: &str) -> Vec<(String, Vec<u8>)> {
    let folder = schemas_folder().join("examples").join(name).join(kind);
    let Ok(files) = fs::read_dir(&folder) else { return Vec::new() };
    let files = files.map(|file| file.unwrap().path());
    files.map(|path| (path.display().to_string(), fs::read(&path).unwrap())).collect()
}

/// Whether the decoder takes the bytes for a record of that type.
fn decodes(name: &str, bytes: &[u8]) -> Result<(), String> {
    let arena = Bump::new();
    if control_names().contains(&name) {
        return decode_control(name.as_bytes(), bytes, &arena).map(drop).map_err(|error| error.to_string());
    }
    match decode_event(bytes, &arena) {
        Err(error) => Err(error.to_string()),
        Ok(event) if matches!(event.body, seenby::event::Body::Unsupported { .. }) => Err("unsupported".to_owned()),
        Ok(event) if event.body.event_type().map(EventType::name) != Some(name) => Err("another type".to_owned()),
        Ok(_) => Ok(()),
    }
}

fn keys(object: &Value) -> BTreeSet<String> {
    object.as_object().into_iter().flat_map(Map::keys).cloned().collect()
}

fn texts(list: &Value) -> BTreeSet<&str> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

#[test]
fn every_schema_has_examples_and_every_folder_of_examples_a_schema() {
    let folders: BTreeSet<String> = fs::read_dir(schemas_folder().join("examples"))
        .unwrap()
        .map(|folder| folder.unwrap().file_name().into_string().unwrap())
        .collect();
    let names = event_names().into_iter().chain(control_names()).chain(["notification", "rejection"]);
    let names: BTreeSet<String> = names.map(str::to_owned).collect();
    assert_eq!(folders, names);
    for name in names {
        assert!(!examples(&name, "valid").is_empty(), "{name}");
        assert!(!examples(&name, "invalid").is_empty(), "{name}");
    }
}

#[test]
fn schemas_tell_valid_examples_from_invalid_ones() {
    for name in event_names().into_iter().chain(control_names()).chain(["notification", "rejection"]) {
        let validator = validator(name);
        for (file, bytes) in examples(name, "valid") {
            let value = serde_json::from_slice(&bytes).unwrap();
            if let Err(error) = validator.validate(&value) {
                panic!("{file}: {error}");
            }
        }
        for (file, bytes) in examples(name, "invalid") {
            assert!(!validator.is_valid(&serde_json::from_slice(&bytes).unwrap()), "{file}");
        }
        // What a schema cannot express, by its description: the decoder alone refuses it.
        for (file, bytes) in examples(name, "beyond_schema") {
            assert!(validator.is_valid(&serde_json::from_slice(&bytes).unwrap()), "{file}");
        }
    }
}

#[test]
fn the_decoder_takes_valid_examples_and_refuses_all_others() {
    for name in event_names().into_iter().chain(control_names()) {
        for (file, bytes) in examples(name, "valid") {
            assert_eq!(decodes(name, &bytes), Ok(()), "{file}");
        }
        for kind in ["invalid", "beyond_schema"] {
            for (file, bytes) in examples(name, kind) {
                assert!(decodes(name, &bytes).is_err(), "{file}");
            }
        }
    }
}

#[test]
fn the_schema_of_events_takes_what_one_of_the_types_takes() {
    let any_event = validator("event");
    for name in event_names() {
        for (file, bytes) in examples(name, "valid") {
            assert!(any_event.is_valid(&serde_json::from_slice(&bytes).unwrap()), "{file}");
        }
        for (file, bytes) in examples(name, "invalid") {
            assert!(!any_event.is_valid(&serde_json::from_slice(&bytes).unwrap()), "{file}");
        }
    }
}

/// Every field of every valid example replaced by every one of these: schema and decoder must still agree.
#[test]
fn schema_and_decoder_agree_on_spoilt_examples() {
    let replacements = [
        json!(null),
        json!(true),
        json!(0),
        json!(1),
        json!(90),
        json!(91),
        json!(-1),
        json!(0.5),
        json!(4_102_444_799_999_u64),
        json!(4_102_444_800_000_u64),
        json!(""),
        json!("a"),
        json!("a/b"),
        json!("a b"),
        json!("a\u{85}"),
        json!("a\u{200b}"),
        json!("x".repeat(128)),
        json!("x".repeat(129)),
        json!("org#app"),
        json!("org#app#app"),
        json!("member"),
        json!("members"),
        json!("owner"),
        json!("join"),
        json!("allow"),
        json!("single"),
        json!("group"),
        json!([]),
        json!([{"user": "a", "role": "member"}]),
        json!([{"user": "a", "role": "member", "x": null}, {"user": "b", "role": null}]),
        json!({}),
        json!({"open": true}),
        json!({"validity_days": 1}),
        json!({"validity_days": 0}),
    ];
    let mut taken = 0;
    for name in event_names().into_iter().chain(control_names()) {
        let validator = validator(name);
        for (file, bytes) in examples(name, "valid") {
            let original: Value = serde_json::from_slice(&bytes).unwrap();
            for pointer in pointers(&original) {
                let removed = without(&original, &pointer);
                let replaced = replacements.iter().map(|replacement| {
                    let mut spoilt = original.clone();
                    *spoilt.pointer_mut(&pointer).unwrap() = replacement.clone();
                    spoilt
                });
                for spoilt in replaced.chain([removed]) {
                    if spoilt.pointer("/group/timezone") != original.pointer("/group/timezone") {
                        continue; // which zones there are is beyond the schema
                    }
                    let in_schema = validator.is_valid(&spoilt);
                    let decoded = decodes(name, &serde_json::to_vec(&spoilt).unwrap());
                    assert_eq!(in_schema, decoded.is_ok(), "{file}, {pointer}: {decoded:?} of {spoilt}");
                    taken += usize::from(in_schema);
                }
            }
        }
    }
    assert!(taken > 500, "{taken}"); // not all of them are refused
}

/// The places of all fields of an object and of the objects in it.
fn pointers(value: &Value) -> Vec<String> {
    let Value::Object(fields) = value else { return Vec::new() };
    let own = fields.keys().map(|name| format!("/{name}"));
    let inner = fields
        .iter()
        .flat_map(|(name, field)| pointers(field).into_iter().map(move |pointer| format!("/{name}{pointer}")));
    own.chain(inner).collect()
}

fn without(value: &Value, pointer: &str) -> Value {
    let mut value = value.clone();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    value.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name);
    value
}

#[test]
fn schemas_of_events_have_exactly_the_fields_of_the_table() {
    for event_type in EventType::EVENTS {
        let schema = schema(event_type.name());
        for chat in [Chat::Single, Chat::Group] {
            let is_allowed = schema["properties"]["chat"]["const"].as_str().is_none_or(|only| only == chat.name());
            let further = further_fields(event_type, chat);
            assert_eq!(is_allowed, further.is_some(), "{} in {}", event_type.name(), chat.name());
            let Some(further) = further else { continue };

            let mut in_schema = keys(&schema["properties"]);
            if chat == Chat::Group {
                in_schema.append(&mut keys(&schema["then"]["properties"]));
            }
            let known = Field::COMMON.into_iter().chain(further.iter().map(|known| known.field));
            let known: BTreeSet<String> = known.map(|field| field.name().to_owned()).collect();
            assert_eq!(in_schema, known, "{} in {}", event_type.name(), chat.name());

            let required = further.iter().filter(|known| known.is_required).map(|known| known.field);
            let required: BTreeSet<&str> = Field::COMMON.into_iter().chain(required).map(Field::name).collect();
            assert_eq!(texts(&schema["required"]), required, "{} in {}", event_type.name(), chat.name());
        }
    }
}

#[test]
fn schemas_of_events_have_exactly_the_names_of_the_enumerations() {
    let common = schema("common");
    let roles = [Role::Member, Role::Admin, Role::Owner];
    assert_eq!(texts(&common["$defs"]["chat"]["enum"]), [Chat::Single, Chat::Group].map(Chat::name).into());
    assert_eq!(texts(&common["$defs"]["role"]["enum"]), roles.map(Role::name).into());
    let changes = [MemberChange::Join, MemberChange::Leave].into_iter().chain(roles.map(MemberChange::Role));
    let changes: BTreeSet<&str> = changes.map(MemberChange::name).collect();
    assert_eq!(texts(&schema("member")["properties"]["change"]["enum"]), changes);
}

#[test]
fn schemas_of_control_records_have_exactly_the_fields_and_defaults_of_the_types() {
    let version = PolicyVersion {
        app: "org#app".to_owned(),
        version: 1,
        effective_from: EventTime::default(),
        policy: Policy::DEFAULT,
    };
    let erase = Erase { app: "org#app".to_owned(), version: 1, user: "alice".to_owned() };
    for control in [Control::Policy(version), Control::Erase(erase)] {
        let mut encoded = Vec::new();
        encode_control(&control, &mut encoded);
        let encoded: Value = serde_json::from_slice(&encoded).unwrap();
        let name = encoded["type"].as_str().unwrap();
        let schema = schema(name);
        assert!(validator(name).is_valid(&encoded));
        assert_eq!(keys(&schema["properties"]), keys(&encoded));
        for whole in ["group", "single"] {
            let limits = &schema["properties"][whole]["properties"];
            assert_eq!(keys(limits), keys(&encoded[whole]));
            for limit in keys(limits) {
                assert_eq!(limits[&limit]["default"], encoded[whole][&limit], "{whole}.{limit}");
            }
        }
        for limit in ["parking_hours", "notify"].into_iter().filter(|_| name == "policy") {
            assert_eq!(schema["properties"][limit]["default"], encoded[limit], "{limit}");
        }
    }

    let policy = schema("policy");
    let group = &policy["properties"]["group"]["properties"];
    assert_eq!(texts(&group["senders"]["enum"]), Senders::ALL.map(Senders::name).into());
    assert_eq!(texts(&group["unknown_sender"]["enum"]), UnknownSender::ALL.map(UnknownSender::name).into());
    assert_eq!(texts(&group["viewers"]["enum"]), Viewers::ALL.map(Viewers::name).into());
}

#[test]
fn encoded_events_obey_their_schemas() {
    for name in event_names() {
        let validator = validator(name);
        for (file, bytes) in examples(name, "valid") {
            let arena = Bump::new();
            let event = decode_event(&bytes, &arena).unwrap();
            let mut encoded = Vec::new();
            encode_event(&event, &mut encoded);
            assert!(validator.is_valid(&serde_json::from_slice(&encoded).unwrap()), "{file}");
            assert_eq!(decode_event(&encoded, &arena).unwrap(), event, "{file}");
        }
    }
}

const POSITION: Position = Position {
    offset: Offset::new(9),
    own_offset: Offset::new(7),
    own_partition: PartitionId::new(3),
    own_epoch: Epoch::new(1),
    record_time: RecordTime::from_millis(1),
};

#[test]
fn notifications_written_obey_their_schema() {
    let fact = NotificationFact {
        kind: NotificationKind::Read,
        app: AppId::trusted("org#app"),
        conversation: ConversationKey::trusted("org#app/g/g1"),
        told: UserId::trusted("alice"),
        message: Some(MessageId::trusted("m1")),
        reader: UserId::trusted("bob"),
        at: EventTime::from_millis(5),
        ack_id: AckId::trusted("ack"),
        content: Some("ok"),
        group_read_count: Some(1),
        position: POSITION,
    };
    let in_single_chats = |kind, message| NotificationFact {
        kind,
        message,
        content: None,
        group_read_count: None,
        conversation: ConversationKey::trusted("org#app/u/alice/bob"),
        ..fact
    };
    let mut outbox = Outbox::default();
    for fact in [
        fact,
        NotificationFact { reader: UserId::trusted("carol"), content: None, group_read_count: Some(2), ..fact },
        in_single_chats(NotificationKind::Delivered, fact.message),
        in_single_chats(NotificationKind::ConversationRead, None),
    ] {
        outbox.notification(&fact);
    }
    outbox.finish();

    let validator = validator("notification");
    assert_eq!(outbox.notifications().len(), 3);
    for notification in outbox.notifications() {
        let value: Value = serde_json::from_slice(&notification.value).unwrap();
        assert!(validator.is_valid(&value), "{value}");
    }
    let kinds = [NotificationKind::Delivered, NotificationKind::Read, NotificationKind::ConversationRead];
    let kinds: BTreeSet<&str> = kinds.map(NotificationKind::name).into();
    assert_eq!(texts(&schema("notification")["properties"]["kind"]["enum"]), kinds);
}

#[test]
fn headers_of_rejections_written_obey_their_schema() {
    let validator = validator("rejection");
    let read =
        br#"{"type":"read","app":"org#app","chat":"group","id":"1","from":"bob","to":"g1","at":1,"message":"m1"}"#;
    let arena = Bump::new();
    let event = decode_event(read, &arena).unwrap();
    let long = vec![b' '; 100_000];
    let (mut met, mut outcomes) = (BTreeSet::new(), BTreeSet::new());
    for outcome in Outcome::ALL.into_iter().filter(|outcome| outcome.is_rejected()) {
        outcomes.insert(outcome.name());
        for value in [read.as_slice(), &long] {
            let is_malformed = outcome == Outcome::Malformed;
            let fact = RejectionFact {
                outcome,
                detail: if is_malformed { "at: must be there" } else { "" },
                event: (!is_malformed).then_some(&event),
                event_type: (!is_malformed).then_some(EventType::Read),
                conversation: None,
                received: Some((Some(value), value)),
                position: POSITION,
            };
            let mut outbox = Outbox::default();
            outbox.rejection("seenby.events", Epoch::new(1), &fact);
            let headers = &outbox.rejections()[0].headers;
            met.extend(headers.iter().map(|(name, _)| (*name).to_owned()));
            let headers: Map<String, Value> =
                headers.iter().map(|(name, text)| ((*name).to_owned(), Value::from(text.as_str()))).collect();
            assert!(validator.is_valid(&Value::from(headers.clone())), "{headers:?}");
        }
    }

    let properties = &schema("rejection")["properties"];
    assert_eq!(met, keys(properties), "every header is written, and every written one known");
    assert_eq!(texts(&properties["outcome"]["enum"]), outcomes);
    let errors: Vec<_> =
        Outcome::ALL.into_iter().filter(|known| known.is_rejected()).filter_map(Outcome::client_error).collect();
    assert_eq!(texts(&properties["words"]["enum"]), errors.iter().map(|error| error.words).collect());
    let codes: BTreeSet<String> = errors.iter().map(|error| error.code.to_string()).collect();
    assert_eq!(texts(&properties["code"]["enum"]), codes.iter().map(String::as_str).collect());
}
