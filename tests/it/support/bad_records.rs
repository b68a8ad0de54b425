//! Hand-made bad records: everything that producers have been seen to send, each with the outcome that it must get.

use seenby::event::{MAX_RECORD_BYTES, PartitionId, partition_of};
use seenby::fold::Outcome;
use serde_json::json;

use super::events::{
    DAY, EventBuilder, HOUR, MINUTE, OwnedRecord, delivered, group_message, group_read, in_group, in_single, member,
    roster, single_message, single_read,
};

/// One bad record.
#[derive(Clone, Debug)]
pub struct BadRecord {
    /// What is wrong with it.
    pub name: &'static str,
    pub record: OwnedRecord,
    /// Whether it must be produced to a partition that is not its key's.
    pub to_wrong_partition: bool,
    /// What it is counted under, in a partition whose watermark is at `now`.
    pub outcome: Outcome,
    /// Of a malformed one the field that the reason names.
    pub field: &'static str,
}

impl BadRecord {
    /// The partition that the record must be produced to. Without a key it stands in the first one.
    pub fn partition(&self, partitions: u32) -> PartitionId {
        let own = self.record.key.as_deref().map_or(PartitionId::new(0), |key| partition_of(key, partitions));
        if self.to_wrong_partition { PartitionId::new((own.get() + 1) % partitions) } else { own }
    }
}

/// The table. `now` is the time in ms of the good records around them, and close to the broker's clock.
pub fn bad_records(now: i64) -> Vec<BadRecord> {
    let mut table = Table { records: Vec::new() };
    table.not_json(now);
    table.fields(now);
    table.ids(now);
    table.times(now);
    table.repetitions(now);
    table.kinds(now);
    table.routes(now);
    table.control_records();
    table.records
}

struct Table {
    records: Vec<BadRecord>,
}

impl Table {
    fn malformed(&mut self, name: &'static str, field: &'static str, value: impl Into<Vec<u8>>) {
        let record = OwnedRecord { key: Some(b"org#app/g/g1".to_vec()), value: value.into(), control: None };
        self.records.push(BadRecord { name, record, to_wrong_partition: false, outcome: Outcome::Malformed, field });
    }

    /// A valid event that another rule refuses.
    fn refused(&mut self, name: &'static str, outcome: Outcome, event: &EventBuilder) {
        self.records.push(BadRecord { name, record: event.record(), to_wrong_partition: false, outcome, field: "" });
    }

    fn misrouted(&mut self, name: &'static str, event: &EventBuilder, key: Option<&str>, to_wrong_partition: bool) {
        let record = OwnedRecord { key: key.map(|key| key.as_bytes().to_vec()), ..event.record() };
        self.records.push(BadRecord { name, record, to_wrong_partition, outcome: Outcome::Misrouted, field: "" });
    }

    fn control(&mut self, name: &'static str, control_type: &str, value: &str, field: &'static str) {
        let record = OwnedRecord { key: None, value: value.into(), control: Some(control_type.to_owned()) };
        self.records.push(BadRecord { name, record, to_wrong_partition: false, outcome: Outcome::Malformed, field });
    }

    fn not_json(&mut self, now: i64) {
        let good = group_message("bad").at(now).value();
        let spelled = String::from_utf8(good.clone()).unwrap();
        self.malformed("a tombstone", "record", "");
        self.malformed("bad UTF-8 in an id", "record", replaced(&good, b"alice", b"al\xffce"));
        self.malformed("bad UTF-8 in an ignored field", "record", replaced(&good, b"{", b"{\"x\":\"\xc3\x28\","));
        self.malformed("an encoded surrogate", "record", replaced(&good, b"alice", b"al\xed\xa0\x80"));
        self.malformed("truncated JSON", "record", &good[..good.len() / 2]);
        self.malformed("without its last brace", "record", &good[..good.len() - 1]);
        self.malformed("two objects", "record", [good.as_slice(), &good].concat());
        self.malformed("a trailing comma", "record", replaced(&good, b"}", b",}"));
        self.malformed("single quotes", "record", spelled.replace('"', "'"));
        self.malformed("an array of one event", "record", format!("[{spelled}]"));
        self.malformed("a string that holds the event", "record", serde_json::to_string(&spelled).unwrap());
        self.malformed("plain text", "record", "message m1 from alice");
        self.malformed("zero bytes", "record", vec![0_u8; 64]);
        self.malformed("a byte-order mark", "record", format!("\u{feff}{spelled}"));
        self.malformed("UTF-16", "record", spelled.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>());
        self.malformed("NaN", "record", spelled.replace(&now.to_string(), "NaN"));
        self.malformed("a raw line break in a string", "record", spelled.replace("alice", "al\nce"));
        self.malformed("600 KiB", "record", group_message("bad").at(now).with("x", "x".repeat(600 * 1024)).value());
        self.malformed(
            "one byte too long",
            "record",
            spelled.clone() + &" ".repeat(MAX_RECORD_BYTES + 1 - spelled.len()),
        );
        self.malformed("1 MB of spaces", "record", " ".repeat(1_000_000));
        self.malformed("half a mebibyte of brackets", "record", "[".repeat(MAX_RECORD_BYTES));
    }

    fn fields(&mut self, now: i64) {
        let message = group_message("bad").at(now);
        self.malformed("an empty object", "type", "{}");
        self.malformed("without a type", "type", message.clone().without("type").value());
        self.malformed("without an app", "app", message.clone().without("app").value());
        self.malformed("without a chat", "chat", message.clone().without("chat").value());
        self.malformed("without an id", "id", message.clone().without("id").value());
        self.malformed("without a sender", "from", message.clone().without("from").value());
        self.malformed("without a time", "at", message.clone().without("at").value());
        self.malformed("a read without a message", "message", group_read("m").at(now).without("message").value());
        self.malformed("null for a sender", "from", message.clone().with("from", ()).value());
        self.malformed("null for a message", "message", group_read("m").at(now).with("message", ()).value());
        self.malformed("null for members", "members", roster(&[]).at(now).with("members", ()).value());
        self.malformed("a chat room", "chat", message.clone().with("chat", "room").value());
        self.malformed("a number as a type", "type", message.clone().with("type", 7).value());
        self.malformed(
            "a word for whether receipts are asked",
            "receipt",
            message.clone().with("receipt", "yes").value(),
        );
        self.malformed("an unknown role", "role", message.role("boss").value());
        self.malformed("an unknown change", "change", member("bob", "kick").at(now).value());
        self.malformed("content of 1025 bytes", "content", group_read("m").at(now).content(&"x".repeat(1025)).value());
        self.malformed("half of a surrogate pair", "from", {
            let spelled = String::from_utf8(group_message("bad").at(now).value()).unwrap();
            spelled.replace("alice", "\\ud83d")
        });
        self.malformed("members as names", "members", roster(&[]).at(now).with("members", json!(["bob"])).value());
    }

    fn ids(&mut self, now: i64) {
        let message = group_message("bad").at(now);
        self.malformed("a group with '/'", "to", message.clone().to("g/1").value());
        self.malformed("a user with '#'", "from", message.clone().from("al#ce").value());
        self.malformed("a user with a space", "from", message.clone().from("alice smith").value());
        self.malformed("a user with a control character", "from", message.clone().from("al\u{7}ce").value());
        self.malformed("an empty user", "from", message.clone().from("").value());
        self.malformed("an id of 129 bytes", "id", message.clone().id(&"m".repeat(129)).value());
        self.malformed("a number as an id", "id", message.clone().with("id", 907_199_254_740_993_i64).value());
        self.malformed("a number as a message", "message", group_read("m").at(now).with("message", 12).value());
        self.malformed("a list as a receiver", "to", message.clone().with("to", json!(["g1"])).value());
        self.malformed("an app without an organisation", "app", message.clone().app("app").value());
        self.malformed(
            "an app of 129 bytes",
            "app",
            message.app(&format!("{}#{}", "o".repeat(64), "a".repeat(64))).value(),
        );
    }

    fn times(&mut self, now: i64) {
        let message = group_message("bad").at(now);
        self.malformed("a time with a fraction", "at", message.clone().with("at", now as f64 + 0.5).value());
        self.malformed("a time in text", "at", message.clone().with("at", now.to_string()).value());
        self.malformed("a date", "at", message.clone().with("at", "2026-03-01T12:00:00Z").value());
        self.malformed("a negative time", "at", message.clone().at(-1).value());
        self.malformed("a time in microseconds", "at", message.clone().at(now * 1000).value());
        self.malformed("a time in scientific notation", "at", {
            let spelled = String::from_utf8(message.value()).unwrap();
            spelled.replace(&now.to_string(), "1e12")
        });
        // Valid as such: a message of January 1970, far behind the watermark.
        self.refused("a time in seconds", Outcome::TooLate, &message.clone().at(now / 1000));
        self.refused("a time long past", Outcome::TooLate, &message.clone().at(now - 4 * DAY));
        self.refused("a time ten minutes ahead", Outcome::Skewed, &message.clone().at(now + 10 * MINUTE));
        self.refused("a receipt an hour ahead", Outcome::Skewed, &group_read("m").at(now + HOUR));
        self.refused("a time in the far future", Outcome::Skewed, &message.at(4_102_444_799_999));
    }

    fn repetitions(&mut self, now: i64) {
        let spelled = String::from_utf8(group_message("bad").at(now).value()).unwrap();
        let with_again = |again: &str| format!("{},{again}}}", spelled.strip_suffix('}').unwrap());
        self.malformed("a sender twice", "from", with_again(r#""from":"bob""#));
        self.malformed("the same time twice", "at", with_again(&format!("\"at\":{now}")));
        self.malformed("a type twice, spelled with an escape", "type", with_again(r#""typ\u0065":"message""#));
        let twice = roster(&[("bob", "owner"), ("carol", "member"), ("bob", "member")]).at(now);
        self.malformed("a member twice", "members", twice.value());
    }

    fn kinds(&mut self, now: i64) {
        self.refused("an unknown type", Outcome::Unsupported, &in_group("typing", "alice").at(now));
        self.refused("an empty type", Outcome::Unsupported, &in_group("", "alice").at(now));
        self.refused("delivered in a group", Outcome::Unsupported, &delivered("m").with("chat", "group").at(now));
        self.refused(
            "a member of a single chat",
            Outcome::Unsupported,
            &member("bob", "join").with("chat", "single").at(now),
        );
        self.refused("a roster of a single chat", Outcome::Unsupported, &roster(&[]).with("chat", "single").at(now));
        self.refused("the end of a single chat", Outcome::Unsupported, &in_single("group_destroyed", "a", "b").at(now));
        self.refused("a policy without the header", Outcome::Unsupported, &in_group("policy", "alice").at(now));
    }

    fn routes(&mut self, now: i64) {
        let message = group_message("bad").at(now);
        self.misrouted("without a key", &message, None, false);
        self.misrouted("an empty key", &message, Some(""), false);
        self.misrouted("the key of another group", &message, Some("org#app/g/g2"), false);
        self.misrouted("the key of another app", &message, Some("org#other/g/g1"), false);
        self.misrouted("a group's id alone as key", &message, Some("g1"), false);
        self.misrouted(
            "users of a key in the wrong order",
            &single_message("bad").at(now),
            Some("org#app/u/bob/alice"),
            false,
        );
        self.misrouted("a receipt with its reader's key", &single_read("m").at(now), Some("org#app/bob"), false);
        self.misrouted("the wrong partition", &message, Some("org#app/g/g1"), true);
    }

    fn control_records(&mut self) {
        let policy = r#"{"type":"policy","app":"org#app","version":1"#;
        self.control("a control record of an unknown type", "quota", "{}", "seenby-control");
        self.control("a policy cut off", "policy", policy, "record");
        self.control("a policy with an unknown field", "policy", &format!("{policy},\"open\":true}}"), "record");
        self.control("a policy with null", "policy", &format!("{policy},\"notify\":null}}"), "notify");
        let hundred_days = format!("{policy},\"single\":{{\"validity_days\":100}}}}");
        self.control("a policy of 100 days", "policy", &hundred_days, "single.validity_days");
        let on_mars = format!("{policy},\"group\":{{\"timezone\":\"Mars/Olympus\"}}}}");
        self.control("a policy in an unknown zone", "policy", &on_mars, "group.timezone");
        self.control(
            "an erase order without a user",
            "erase",
            &policy.replace("policy", "erase").replace("1", "1}"),
            "user",
        );
    }
}

/// The bytes with the first `from` replaced.
fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let position = bytes.windows(from.len()).position(|window| window == from).unwrap();
    [&bytes[..position], to, &bytes[position + from.len()..]].concat()
}
