#![allow(clippy::unwrap_used)]

use super::*;

fn policy(value: &str) -> PolicyVersion {
    match decode_control(b"policy", value.as_bytes(), &Bump::new()).unwrap() {
        Control::Policy(version) => version,
        other => unreachable!("{other:?}"),
    }
}

/// What is wrong with a policy that has these fields beside type, app and version.
fn why(further: &str) -> String {
    let value = format!(r#"{{"type":"policy","app":"org#app","version":7{further}}}"#);
    decode_control(b"policy", value.as_bytes(), &Bump::new()).unwrap_err().to_string()
}

fn why_erase(value: &str) -> String {
    decode_control(b"erase", value.as_bytes(), &Bump::new()).unwrap_err().to_string()
}

#[test]
fn absent_limits_are_the_defaults_and_absent_effective_from_is_the_version() {
    let version = policy(r#"{"type":"policy","app":"org#app","version":1700000000000}"#);
    assert_eq!(version.policy, Policy::DEFAULT);
    assert_eq!(version.effective_from.millis(), 1_700_000_000_000);
    assert_eq!((version.app.as_str(), version.version), ("org#app", 1_700_000_000_000));
}

#[test]
fn every_limit_is_taken() {
    let version = policy(
        r#"{"notify":false,"parking_hours":0,"single":{"validity_days":90},"group":{"viewers":"app",
        "timezone":"Asia/Shanghai","messages_per_day":0,"readers_per_message":1,"validity_days":1,
        "unknown_sender":"allow","senders":"members","open":true},"effective_from":5,"version":7,"app":"org#app",
        "type":"policy"}"#,
    );
    let group = GroupPolicy {
        open: true,
        senders: Senders::Members,
        unknown_sender: UnknownSender::Allow,
        validity_days: 1,
        readers_per_message: 1,
        messages_per_day: 0,
        timezone: Tz::Asia__Shanghai,
        viewers: Viewers::App,
    };
    let expected = Policy { group, single: SinglePolicy { validity_days: 90 }, parking_hours: 0, notify: false };
    assert_eq!(version.policy, expected);
    assert_eq!(version.effective_from.millis(), 5);
}

#[test]
fn what_is_encoded_decodes_to_the_same_record() {
    let mut changed =
        policy(r#"{"type":"policy","app":"o#\"a\\","version":7,"group":{"open":true,"timezone":"Europe/Berlin"}}"#);
    changed.effective_from = EventTime::from_millis(9);
    for control in [
        Control::Policy(changed),
        Control::Erase(Erase { app: "org#app".to_owned(), version: 1, user: "alice".to_owned() }),
    ] {
        let mut encoded = Vec::new();
        encode_control(&control, &mut encoded);
        let control_type = if matches!(control, Control::Policy(_)) { "policy" } else { "erase" };
        assert_eq!(decode_control(control_type.as_bytes(), &encoded, &Bump::new()).unwrap(), control);
    }
}

#[test]
fn the_encoded_limits_are_those_of_the_derived_form() {
    // Tables and files hold the form that serde derives: the two must not drift.
    let version = PolicyVersion {
        app: "org#app".to_owned(),
        version: 7,
        effective_from: EventTime::from_millis(7),
        policy: Policy::DEFAULT,
    };
    let mut encoded = Vec::new();
    encode_control(&Control::Policy(version), &mut encoded);
    let mut fields: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&encoded).unwrap();
    for name in ["type", "app", "version", "effective_from"] {
        fields.remove(name).unwrap();
    }
    assert_eq!(serde_json::Value::from(fields), serde_json::to_value(Policy::DEFAULT).unwrap());
}

#[test]
fn a_value_out_of_range_is_malformed() {
    for (further, reason) in [
        (r#","group":{"validity_days":0}"#, "group.validity_days: must be an integer of days from 1 to 90, got 0"),
        (r#","group":{"validity_days":91}"#, "group.validity_days: must be an integer of days from 1 to 90, got 91"),
        (
            r#","single":{"validity_days":3.0}"#,
            "single.validity_days: must be an integer of days from 1 to 90, got 3.0",
        ),
        (r#","group":{"readers_per_message":0}"#, "group.readers_per_message: must be an integer from 1 to 4294967295"),
        (r#","group":{"messages_per_day":-1}"#, "group.messages_per_day: must be an integer from 0 to 4294967295"),
        (r#","parking_hours":4294967296"#, "parking_hours: must be an integer from 0 to 4294967295, got 4294967296"),
        (r#","effective_from":4102444800000"#, "effective_from: must be an integer of milliseconds"),
        (r#","group":{"senders":"owners"}"#, "group.senders: must be admins or members, got \"owners\""),
        (r#","group":{"unknown_sender":"deny"}"#, "group.unknown_sender: must be member or allow, got \"deny\""),
        (r#","group":{"viewers":"all"}"#, "group.viewers: must be sender, members or app, got \"all\""),
        (r#","group":{"timezone":"Mars/Olympus"}"#, "group.timezone: must be the name of an IANA zone"),
        (r#","group":{"timezone":"+08:00"}"#, "group.timezone: must be the name of an IANA zone"),
        (r#","group":{"open":1}"#, "group.open: must be true or false, got a number"),
        (r#","notify":"yes""#, "notify: must be true or false, got a string"),
        (r#","group":[]"#, "group: must be an object, got an array"),
    ] {
        let got = why(further);
        assert!(got.starts_with(reason), "{got}");
    }
}

#[test]
fn unknown_repeated_and_null_fields_are_malformed() {
    assert_eq!(why(r#","colour":1"#), "record: must have known fields only, got \"colour\"");
    assert_eq!(why(r#","group":{"opne":true}"#), "group: must have known fields only, got \"opne\"");
    assert_eq!(why(r#","single":{"open":true}"#), "single: must have known fields only, got \"open\"");
    assert_eq!(why(r#","notify":true,"notify":true"#), "notify: must not be there twice");
    assert_eq!(why(r#","group":{"open":true,"\u006fpen":true}"#), "group.open: must not be there twice");
    assert_eq!(why(r#","notify":null"#), "notify: must not be null");
    assert_eq!(why(r#","group":null"#), "group: must not be null");
    assert_eq!(why(r#","group":{"timezone":null}"#), "group.timezone: must not be null");
    assert_eq!(why(r#","user":"alice""#), "user: must not be there: not a field of this record");
    assert_eq!(why(r#","\ud800":1"#), "record: must be text, got half of a surrogate pair");
    // A reason stands in a header: however long the name, and however much longer its escapes, it must fit.
    let long_name = format!(",\"{}\":1", "\u{7f}".repeat(100_000));
    assert!(why(&long_name).len() < 500);
}

#[test]
fn the_type_is_a_control_type_and_the_headers() {
    let arena = Bump::new();
    let value = br#"{"type":"policy","app":"org#app","version":1}"#;
    let unknown_type = decode_control(b"message", value, &arena).unwrap_err().to_string();
    assert_eq!(unknown_type, "seenby-control: must be policy or erase, got \"message\"");
    assert!(decode_control(b"\xff", value, &arena).is_err());
    assert!(decode_control(b"", value, &arena).is_err());
    assert_eq!(decode_control(b"erase", value, &arena).unwrap_err().to_string(), "type: must be erase, got \"policy\"");
}

#[test]
fn type_app_and_version_are_required() {
    let arena = Bump::new();
    for (value, reason) in [
        (r#"{"app":"org#app","version":1}"#, "type: must be there"),
        (r#"{"type":"policy","version":1}"#, "app: must be there"),
        (r#"{"type":"policy","app":"org#app"}"#, "version: must be there"),
        (r#"{"type":"policy","app":"org","version":1}"#, "app: must be org#name, got no '#'"),
        (
            r#"{"type":"policy","app":"org#app","version":"1"}"#,
            "version: must be an integer from 0 to 4102444799999, got a string",
        ),
        ("", "record: must have a value, got none"),
        ("{", "record: must be JSON, expected a field name in quotes at byte 1"),
    ] {
        assert_eq!(decode_control(b"policy", value.as_bytes(), &arena).unwrap_err().to_string(), reason);
    }
}

#[test]
fn an_erase_order_names_a_user_and_no_limits() {
    let value = br#"{"type":"erase","app":"org#app","version":3,"user":"alice"}"#;
    let expected = Erase { app: "org#app".to_owned(), version: 3, user: "alice".to_owned() };
    assert_eq!(decode_control(b"erase", value, &Bump::new()).unwrap(), Control::Erase(expected));
    assert_eq!(why_erase(r#"{"type":"erase","app":"org#app","version":3}"#), "user: must be there");
    assert!(
        why_erase(r#"{"type":"erase","app":"org#app","version":3,"user":"a b"}"#).starts_with("user: must be without")
    );
    assert_eq!(
        why_erase(r#"{"type":"erase","app":"org#app","version":3,"user":"alice","notify":true}"#),
        "notify: must not be there: not a field of this record"
    );
}

#[test]
fn a_policy_file_holds_limits_only() {
    let version = decode_policy_file("org#app", 7, br#"{"group":{"open":true}}"#).unwrap();
    assert!(version.policy.group.open);
    assert_eq!((version.version, version.effective_from.millis()), (7, 7));
    assert_eq!(decode_policy_file("org#app", 7, br#"{"effective_from":5}"#).unwrap().effective_from.millis(), 5);
    for file in [r#"{"type":"policy"}"#, r#"{"app":"org#app"}"#, r#"{"version":1}"#, r#"{"user":"a"}"#, "{}x"] {
        assert!(decode_policy_file("org#app", 7, file.as_bytes()).is_err(), "{file}");
    }
    assert!(decode_policy_file("org", 7, b"{}").is_err());
    assert!(decode_policy_file("org#app", u64::MAX, b"{}").is_err());
}

#[test]
fn limits_alone_are_of_no_time() {
    let limits = decode_limits(br#"{"group":{"open":true},"parking_hours":2}"#).unwrap();
    let expected =
        Policy { group: GroupPolicy { open: true, ..GroupPolicy::DEFAULT }, parking_hours: 2, ..Policy::DEFAULT };
    assert_eq!(limits, expected);
    assert_eq!(decode_limits(br#"{"effective_from":5}"#).unwrap_err().field, "effective_from");
    for refused in [r#"{"type":"policy"}"#, r#"{"user":"a"}"#, r#"{"groop":{}}"#, "[]", ""] {
        assert!(decode_limits(refused.as_bytes()).is_err(), "{refused}");
    }
}
