#![allow(clippy::indexing_slicing, clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::event::{MAX_ID_BYTES, MAX_RECORD_BYTES, encode_event};

const COMMON: &str = r#""app":"org#app","id":"1","from":"alice","at":1700000000000"#;

fn decode<T>(value: impl AsRef<[u8]>, check: impl FnOnce(Result<Event<'_>, Malformed>) -> T) -> T {
    let arena = Bump::new();
    check(decode_event(value.as_ref(), &arena))
}

/// The body of an event in a group with these fields beside the common ones.
fn in_group<T>(further: &str, check: impl FnOnce(Result<Body<'_>, Malformed>) -> T) -> T {
    let value = format!(r#"{{{COMMON},"chat":"group","to":"g1",{further}}}"#);
    decode(value, |event| check(event.map(|event| event.body)))
}

fn in_single<T>(further: &str, check: impl FnOnce(Result<Body<'_>, Malformed>) -> T) -> T {
    let value = format!(r#"{{{COMMON},"chat":"single","to":"bob",{further}}}"#);
    decode(value, |event| check(event.map(|event| event.body)))
}

fn why(value: impl AsRef<[u8]>) -> String {
    decode(value, |event| event.unwrap_err().to_string())
}

fn why_in_group(further: &str) -> String {
    in_group(further, |body| body.unwrap_err().to_string())
}

/// A message whose field `name` is `json`.
fn message_with(name: &str, json: &str) -> String {
    let mut fields = vec![
        ("type", r#""message""#),
        ("app", r#""org#app""#),
        ("chat", r#""group""#),
        ("id", r#""m1""#),
        ("from", r#""alice""#),
        ("to", r#""g1""#),
        ("at", "1"),
    ];
    fields.retain(|(known, _)| *known != name);
    fields.push((name, json));
    let fields: Vec<String> = fields.iter().map(|(name, json)| format!("\"{name}\":{json}")).collect();
    format!("{{{}}}", fields.join(","))
}

#[test]
fn every_type_has_its_fields() {
    in_group(r#""type":"message""#, |body| {
        assert_eq!(body.unwrap(), Body::Message { asks_receipts: false, role: None });
    });
    in_group(r#""type":"message","receipt":true,"role":"admin""#, |body| {
        assert_eq!(body.unwrap(), Body::Message { asks_receipts: true, role: Some(Role::Admin) });
    });
    in_single(r#""type":"delivered","message":"m1""#, |body| {
        assert_eq!(body.unwrap(), Body::Delivered { message: MessageId::trusted("m1") });
    });
    in_single(r#""type":"read","message":"m1""#, |body| {
        assert_eq!(body.unwrap(), Body::Read { message: MessageId::trusted("m1"), content: None });
    });
    in_group(r#""type":"read","message":"m1","content":"seen""#, |body| {
        assert_eq!(body.unwrap(), Body::Read { message: MessageId::trusted("m1"), content: Some("seen") });
    });
    in_single(r#""type":"conversation_read""#, |body| assert_eq!(body.unwrap(), Body::ConversationRead));
    in_group(r#""type":"recall","message":"m1""#, |body| {
        assert_eq!(body.unwrap(), Body::Recall { message: MessageId::trusted("m1") });
    });
    for (name, change) in [
        ("join", MemberChange::Join),
        ("leave", MemberChange::Leave),
        ("owner", MemberChange::Role(Role::Owner)),
        ("admin", MemberChange::Role(Role::Admin)),
        ("member", MemberChange::Role(Role::Member)),
    ] {
        in_group(&format!(r#""type":"member","user":"bob","change":"{name}""#), |body| {
            assert_eq!(body.unwrap(), Body::Member { user: UserId::trusted("bob"), change });
        });
    }
    in_group(
        r#""type":"roster","members":[{"user":"b","role":"owner"},{"role":"member","user":"a","x":[1]}]"#,
        |body| {
            let members = &[(UserId::trusted("b"), Role::Owner), (UserId::trusted("a"), Role::Member)];
            assert_eq!(body.unwrap(), Body::Roster { members });
        },
    );
    in_group(r#""type":"roster","members":[ ]"#, |body| assert_eq!(body.unwrap(), Body::Roster { members: &[] }));
    in_group(r#""type":"group_destroyed""#, |body| assert_eq!(body.unwrap(), Body::GroupDestroyed));
}

#[test]
fn common_fields_are_read_wherever_they_stand() {
    let value =
        r#" { "at" : 0 , "to":"bob","from":"alice","id":"1","chat":"single","app":"org#app","type":"message" } "#;
    decode(value, |event| {
        let event = event.unwrap();
        assert_eq!((event.app.as_str(), event.chat, event.id.as_str()), ("org#app", Chat::Single, "1"));
        assert_eq!((event.from.as_str(), event.to, event.at.millis()), ("alice", "bob", 0));
    });
}

#[test]
fn unknown_types_and_types_of_the_other_chat_are_unsupported() {
    in_group(r#""type":"typing""#, |body| assert_eq!(body.unwrap(), Body::Unsupported { known_type: None }));
    in_group(r#""type":"policy""#, |body| assert_eq!(body.unwrap(), Body::Unsupported { known_type: None }));
    in_group(r#""type":"delivered""#, |body| {
        assert_eq!(body.unwrap(), Body::Unsupported { known_type: Some(EventType::Delivered) });
    });
    for event_type in [EventType::Member, EventType::Roster, EventType::GroupDestroyed] {
        in_single(&format!(r#""type":"{}""#, event_type.name()), |body| {
            assert_eq!(body.unwrap(), Body::Unsupported { known_type: Some(event_type) });
        });
    }
}

#[test]
fn of_unsupported_records_only_the_common_fields_are_read() {
    in_group(r#""type":"typing","message":null,"message":1,"members":5,"content":"\ud800""#, |body| {
        assert_eq!(body.unwrap(), Body::Unsupported { known_type: None });
    });
    assert_eq!(why(message_with("type", "\"typing\"").replace("\"at\":1,", "")), "at: must be there");
}

#[test]
fn unknown_fields_are_ignored_whatever_they_hold() {
    let junk = [
        "null",
        "1e999",
        "123456789012345678901234567890",
        r#""\ud800""#,
        r#"{"type":"read","type":null}"#,
        &format!("{}{}", "[".repeat(10_000), "]".repeat(10_000)),
    ];
    for json in junk {
        in_group(&format!(r#""type":"message","x":{json},"x":{json},"\ud800":{json}"#), |body| {
            assert_eq!(body.unwrap(), Body::Message { asks_receipts: false, role: None }, "{json}");
        });
    }
}

#[test]
fn fields_of_other_types_and_chats_are_unknown() {
    in_group(
        r#""type":"message","message":null,"content":7,"members":{},"user":"\ud800","change":0,"user":1"#,
        |body| {
            assert!(body.is_ok());
        },
    );
    in_single(r#""type":"message","receipt":"yes","receipt":null,"role":7"#, |body| {
        assert_eq!(body.unwrap(), Body::Message { asks_receipts: false, role: None });
    });
    in_single(r#""type":"read","message":"m1","content":7,"content":8"#, |body| {
        assert_eq!(body.unwrap(), Body::Read { message: MessageId::trusted("m1"), content: None });
    });
}

#[test]
fn null_in_an_optional_field_is_absence() {
    in_group(r#""type":"message","receipt":null,"role":null"#, |body| {
        assert_eq!(body.unwrap(), Body::Message { asks_receipts: false, role: None });
    });
    in_group(r#""type":"read","message":"m1","content":null"#, |body| {
        assert_eq!(body.unwrap(), Body::Read { message: MessageId::trusted("m1"), content: None });
    });
}

#[test]
fn null_in_a_required_field_is_malformed() {
    for field in Field::COMMON {
        assert_eq!(why(message_with(field.name(), "null")), format!("{}: must not be null", field.name()));
    }
    assert_eq!(why_in_group(r#""type":"read","message":null"#), "message: must not be null");
    assert_eq!(why_in_group(r#""type":"member","user":"a","change":null"#), "change: must not be null");
    assert_eq!(why_in_group(r#""type":"roster","members":null"#), "members: must not be null");
}

#[test]
fn a_missing_field_is_malformed() {
    for field in Field::COMMON {
        let value = message_with(field.name(), "0").replace(&format!(",\"{}\":0", field.name()), "");
        assert_eq!(why(value), format!("{}: must be there", field.name()));
    }
    assert_eq!(why_in_group(r#""type":"read""#), "message: must be there");
    assert_eq!(why_in_group(r#""type":"member","change":"join""#), "user: must be there");
    assert_eq!(why_in_group(r#""type":"roster""#), "members: must be there");
}

#[test]
fn a_known_field_twice_is_malformed_in_any_order_and_spelling() {
    assert_eq!(why(r#"{"type":"message","type":"message"}"#), "type: must not be there twice");
    for (further, field) in [
        (r#""receipt":true,"type":"message","receipt":true"#, "receipt"),
        (r#""type":"message","role":null,"role":null"#, "role"),
        (r#""type":"read","message":"m1","content":"a","c\u006fntent":"a""#, "content"),
        (r#""message":"m1","message":"m1","type":"recall""#, "message"),
        (r#""type":"roster","members":[],"members":[]"#, "members"),
        (r#""type":"message","at":1700000000000"#, "at"),
    ] {
        assert_eq!(why_in_group(further), format!("{field}: must not be there twice"));
    }
}

#[test]
fn a_name_spelled_with_escapes_is_the_same_name() {
    in_group(r#""t\u0079pe":"m\u0065ssage""#, |body| assert!(matches!(body.unwrap(), Body::Message { .. })));
}

#[test]
fn escaped_ids_are_what_they_spell() {
    decode(message_with("from", r#""\u00e9\ud83d\ude00\"\\""#), |event| {
        assert_eq!(event.unwrap().from.as_str(), "é😀\"\\");
    });
    assert!(why(message_with("from", r#""a\/b""#)).starts_with("from: must be without"));
    assert!(why(message_with("from", r#""a\nb""#)).starts_with("from: must be without"));
}

#[test]
fn a_lone_surrogate_in_a_known_field_is_malformed() {
    for field in ["type", "app", "chat", "id", "from", "to"] {
        assert_eq!(
            why(message_with(field, r#""a\udc00""#)),
            format!("{field}: must be text, got half of a surrogate pair")
        );
    }
    assert!(why_in_group(r#""type":"read","message":"m1","content":"\ud83d""#).starts_with("content: "));
    assert!(
        why_in_group(r#""type":"roster","members":[{"user":"\ud83d","role":"member"}]"#).starts_with("members.user: ")
    );
}

#[test]
fn ids_are_nonempty_strings_of_at_most_128_bytes() {
    let longest = "é".repeat(MAX_ID_BYTES / 2);
    for field in ["id", "from", "to"] {
        assert!(decode(message_with(field, &format!("\"{longest}\"")), |event| event.is_ok()));
        assert_eq!(
            why(message_with(field, &format!("\"{longest}x\""))),
            format!("{field}: must be at most 128 bytes, got 129")
        );
        assert_eq!(why(message_with(field, "\"\"")), format!("{field}: must not be empty"));
        assert_eq!(why(message_with(field, "7")), format!("{field}: must be a string, got a number"));
        assert_eq!(why(message_with(field, "[\"a\"]")), format!("{field}: must be a string, got an array"));
    }
}

#[test]
fn ids_are_without_separators_white_space_and_control_characters() {
    for character in ["/", "#", " ", "\\t", "\u{7f}", "\u{85}", "\u{a0}", "\u{2028}", "\u{3000}", "\\u0000"] {
        assert!(
            why(message_with("to", &format!("\"a{character}b\""))).starts_with("to: must be without"),
            "{character:?}"
        );
    }
    for character in ["@", ":", "\u{200b}", "\u{feff}", "漢", "\\\""] {
        assert!(decode(message_with("to", &format!("\"a{character}b\"")), |event| event.is_ok()), "{character:?}");
    }
}

#[test]
fn an_app_is_two_ids_of_128_bytes_in_all() {
    let longest = format!("{}#{}", "o".repeat(63), "n".repeat(64));
    decode(message_with("app", &format!("\"{longest}\"")), |event| assert_eq!(event.unwrap().app.as_str(), longest));
    for wrong in ["", "org", "#name", "org#", "#", "org#a#b", "org#a/b", "or g#a", &format!("{longest}x")] {
        assert!(why(message_with("app", &format!("\"{wrong}\""))).starts_with("app: "), "{wrong}");
    }
}

#[test]
fn at_is_an_integer_in_range_written_as_one() {
    for (json, millis) in [("0", 0), ("1", 1), ("4102444799999", 4_102_444_799_999)] {
        decode(message_with("at", json), |event| assert_eq!(event.unwrap().at.millis(), millis));
    }
    let huge = "9".repeat(400);
    for wrong in [
        "1.5",
        "1.0",
        "1e3",
        "1E3",
        "-0",
        "-1",
        "4102444800000",
        "18446744073709551617",
        &huge,
        "\"1\"",
        "true",
        "[1]",
        "{}",
    ] {
        let reason = why(message_with("at", wrong));
        assert!(reason.starts_with("at: must be an integer of milliseconds from 0 to 4102444799999, got "), "{reason}");
        assert!(reason.len() < 150, "{reason}");
    }
    assert!(why(message_with("at", "1.5")).ends_with("got 1.5"));
}

#[test]
fn enumerations_know_their_names_only() {
    assert_eq!(why(message_with("chat", "\"room\"")), "chat: must be single or group, got \"room\"");
    assert_eq!(why(message_with("chat", "\"Group\"")), "chat: must be single or group, got \"Group\"");
    assert_eq!(why_in_group(r#""type":"message","role":"boss""#), "role: must be owner, admin or member, got \"boss\"");
    assert!(why_in_group(r#""type":"member","user":"a","change":"kick""#).starts_with("change: must be "));
    assert_eq!(why(message_with("type", "7")), "type: must be a string, got a number");
    for wrong in ["1", "\"true\"", "[]"] {
        assert!(why_in_group(&format!(r#""type":"message","receipt":{wrong}"#)).starts_with("receipt: must be true"));
    }
}

#[test]
fn content_is_counted_in_bytes() {
    let longest = "é".repeat(512);
    in_group(&format!(r#""type":"read","message":"m1","content":"{longest}""#), |body| {
        assert_eq!(body.unwrap(), Body::Read { message: MessageId::trusted("m1"), content: Some(&longest) });
    });
    // Bytes of the text, not of its spelling.
    in_group(&format!(r#""type":"read","message":"m1","content":"{}""#, "\\u0061".repeat(1024)), |body| {
        assert!(body.is_ok());
    });
    assert_eq!(
        why_in_group(&format!(r#""type":"read","message":"m1","content":"{longest}x""#)),
        "content: must be at most 1024 bytes, got 1025"
    );
    in_group(r#""type":"read","message":"m1","content":"""#, |body| {
        assert_eq!(body.unwrap(), Body::Read { message: MessageId::trusted("m1"), content: Some("") });
    });
}

#[test]
fn a_roster_is_a_list_of_users_with_roles_none_twice() {
    for (members, reason) in [
        (r#"{}"#, "members: must be an array of {user, role}, got an object"),
        (r#"["a"]"#, "members: must be an array of {user, role}, got a string"),
        (r#"[null]"#, "members: must be an array of {user, role}, got null"),
        (r#"[{"user":"a"}]"#, "members.role: must be there"),
        (r#"[{"role":"owner"}]"#, "members.user: must be there"),
        (r#"[{"user":null,"role":"owner"}]"#, "members.user: must not be null"),
        (r#"[{"user":"a","role":null}]"#, "members.role: must not be null"),
        (r#"[{"user":"a","role":"owner","role":"owner"}]"#, "members.role: must not be there twice"),
        (r#"[{"user":"a/b","role":"owner"}]"#, "members.user: must be without"),
        (r#"[{"user":"a","role":"boss"}]"#, "members.role: must be owner, admin or member, got \"boss\""),
        (r#"[{"user":"a","role":7}]"#, "members.role: must be a string, got a number"),
        (
            r#"[{"user":"a","role":"owner"},{"user":"b","role":"owner"},{"user":"\u0061","role":"member"}]"#,
            "members: must not name a user twice, got \"a\" again",
        ),
    ] {
        let got = why_in_group(&format!(r#""type":"roster","members":{members}"#));
        assert!(got.starts_with(reason), "{members}: {got}");
    }
}

#[test]
fn a_record_is_one_json_object_in_utf_8() {
    let good = message_with("id", "\"m1\"");
    assert!(decode(&good, |event| event.is_ok()));
    assert_eq!(why(""), "record: must have a value, got none");
    assert_eq!(why(format!("\u{feff}{good}")), "record: must not start with a byte-order mark");
    assert_eq!(why("[]"), "record: must be a JSON object");
    assert_eq!(why("null"), "record: must be a JSON object");
    assert_eq!(why("  "), "record: must be a JSON object");
    assert!(why(format!("{good}x")).starts_with("record: must be JSON, expected the end of the record at byte"));
    assert!(why(&good[..good.len() - 1]).starts_with("record: must be JSON"));
    assert!(why(good.replace("\"m1\"", "NaN")).starts_with("record: must be JSON"));
    // UTF-16, as some producers send it.
    assert!(why(good.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>()).starts_with("record: "));
}

#[test]
fn bad_utf_8_is_malformed_anywhere() {
    let in_an_ignored_field = [br#"{"x":""#.as_slice(), b"\xff", br#""}"#].concat();
    assert_eq!(why(in_an_ignored_field), "record: must be UTF-8, is not at byte 6");
    // An encoded surrogate, and an overlong slash.
    for bytes in [b"\xed\xa0\x80".as_slice(), b"\xc0\xaf"] {
        assert!(why([b"{\"", bytes, b"\":1}"].concat()).starts_with("record: must be UTF-8"));
    }
}

#[test]
fn a_record_has_at_most_512_kibibytes() {
    let mut value = message_with("id", "\"m1\"");
    value.push_str(&" ".repeat(MAX_RECORD_BYTES - value.len()));
    assert!(decode(&value, |event| event.is_ok()));
    value.push(' ');
    assert_eq!(why(&value), "record: must be at most 524288 bytes, got 524289");
}

#[test]
fn the_header_alone_decides_what_is_a_control_record() {
    let arena = Bump::new();
    let policy = br#"{"type":"policy","app":"org#app","version":1}"#;
    assert!(matches!(decode_record(policy, Some(b"policy"), &arena), Input::Control(_)));
    assert!(matches!(decode_record(policy, None, &arena), Input::Malformed { control: false, .. }));
    let message = message_with("id", "\"m1\"");
    assert!(matches!(decode_record(message.as_bytes(), None, &arena), Input::Event(_)));
    assert!(matches!(
        decode_record(message.as_bytes(), Some(b"policy"), &arena),
        Input::Malformed { control: true, .. }
    ));
}

prop_compose! {
    fn id()(text in "[^/#\\s\\p{Cc}]{1,20}") -> String { text }
}

fn role_of(index: u8) -> Role {
    [Role::Member, Role::Admin, Role::Owner][usize::from(index % 3)]
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_to_the_same_event(
        ids in proptest::array::uniform5(id()),
        content in proptest::option::of("\\PC{0,40}|[\\x00-\\x1f\"\\\\]{0,9}"),
        at in 0..=EventTime::MAX.millis(),
        kind in 0..12_u8,
        members in proptest::collection::btree_map(id(), 0..3_u8, 0..6),
    ) {
        let [from, to, own, message, user] = &ids;
        let message = MessageId::trusted(message);
        let user = UserId::trusted(user);
        let members: Vec<_> = members.iter().map(|(user, role)| (UserId::trusted(user), role_of(*role))).collect();
        let (chat, body) = match kind {
            0 => (Chat::Single, Body::Message { asks_receipts: false, role: None }),
            1 => (Chat::Group, Body::Message { asks_receipts: at % 2 == 0, role: (at % 3 == 0).then(|| role_of(kind)) }),
            2 => (Chat::Single, Body::Delivered { message }),
            3 => (Chat::Single, Body::Read { message, content: None }),
            4 => (Chat::Group, Body::Read { message, content: content.as_deref() }),
            5 => (Chat::Single, Body::ConversationRead),
            6 => (Chat::Group, Body::ConversationRead),
            7 => (Chat::Single, Body::Recall { message }),
            8 => (Chat::Group, Body::Member { user, change: MemberChange::Join }),
            9 => (Chat::Group, Body::Member { user, change: MemberChange::Role(role_of((at % 3) as u8)) }),
            10 => (Chat::Group, Body::Roster { members: &members }),
            _ => (Chat::Group, Body::GroupDestroyed),
        };
        let event = Event {
            app: crate::event::AppId::trusted("org#app"),
            chat,
            id: AckId::trusted(own),
            from: UserId::trusted(from),
            to,
            at: EventTime::from_millis(at),
            body,
        };
        let mut encoded = Vec::new();
        encode_event(&event, &mut encoded);
        let arena = Bump::new();
        prop_assert_eq!(decode_event(&encoded, &arena).unwrap(), event);
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let arena = Bump::new();
        let is_malformed = matches!(decode_record(&bytes, None, &arena), Input::Malformed { control: false, .. });
        prop_assert!(is_malformed);
        let is_malformed = matches!(decode_record(&bytes, Some(b"policy"), &arena), Input::Malformed { control: true, .. });
        prop_assert!(is_malformed);
    }

    #[test]
    fn a_record_cut_anywhere_is_malformed(length in 0_usize..90) {
        let value = message_with("id", "\"m1\"");
        let cut = &value[..length.min(value.len() - 1)];
        prop_assert!(decode(cut, |event| event.is_err()));
    }
}
