//! What a flush tells the world: notifications grouped per message, and rejections (DESIGN.md section 6).

use std::collections::HashMap;

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::event::{Chat, Epoch, encode_event};
use crate::fold::fact::{NotificationFact, RejectionFact};

/// The longest key or value of a rejection that is passed on whole, in bytes.
const MAX_REJECTED_BYTES: usize = 64 * 1024;

/// The longest reason in a header, in bytes. Headers count towards the broker's limit of a record, too, and a record
/// that the broker refuses would hold up its whole partition.
const MAX_DETAIL_BYTES: usize = 1024;

/// The readers of one notification record are cut into several records beyond this many bytes, far below the broker's
/// usual limit of a megabyte a record.
const MAX_READERS_BYTES: usize = 256 * 1024;

/// Notifications and rejections of one partition in one flush.
#[derive(Debug, Default)]
pub struct Outbox {
    groups: Vec<NotificationGroup>,
    /// Position in `groups` of the record that still takes readers, by kind, conversation, message and person told.
    open_groups: HashMap<String, usize>,
    lookup: String,
    notifications: Vec<Notification>,
    rejections: Vec<Rejection>,
    bytes: usize,
}

/// One record of the notifications topic.
#[derive(Debug, PartialEq, Eq)]
pub struct Notification {
    /// `{app}/{user}` of the person told.
    pub key: String,
    /// JSON.
    pub value: Vec<u8>,
}

/// One record of the rejections topic.
#[derive(Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The key as it came, cut to 64 KiB.
    pub key: Option<Vec<u8>>,
    /// The value as it came, cut to 64 KiB; of a settled record its event encoded again.
    pub value: Vec<u8>,
    /// Reason and origin.
    pub headers: Vec<(&'static str, String)>,
}

#[derive(Debug)]
struct NotificationGroup {
    key: String,
    /// JSON up to and without the end of the readers' list.
    json: Vec<u8>,
    group_read_count: Option<u32>,
}

#[derive(Serialize)]
struct Reader<'a> {
    user: &'a str,
    at: i64,
    ack_id: &'a str,
    content: Option<&'a str>,
    event_id: EventId,
}

/// By which consumers of notifications tell repetitions: the receipt's own place in the log.
#[derive(Serialize)]
struct EventId {
    epoch: u16,
    partition: u32,
    offset: u64,
}

impl Outbox {
    /// Adds one reader to the record about that message, or begins one.
    pub fn notification(&mut self, fact: &NotificationFact<'_>) {
        let reader = Reader {
            user: fact.reader.as_str(),
            at: fact.at.millis(),
            ack_id: fact.ack_id.as_str(),
            content: fact.content,
            event_id: EventId {
                epoch: fact.position.own_epoch.get(),
                partition: fact.position.own_partition.get(),
                offset: fact.position.own_offset.get(),
            },
        };
        let index = self.open_group(fact);
        let Some(group) = self.groups.get_mut(index) else { return };
        let length_before = group.json.len();
        if group.json.last() != Some(&b'[') {
            group.json.push(b',');
        }
        append_json(&mut group.json, &reader);
        group.group_read_count = group.group_read_count.max(fact.group_read_count);
        self.bytes += group.json.len() - length_before;
    }

    /// Where the fact's reader belongs. A conversation read names no message and stands alone.
    fn open_group(&mut self, fact: &NotificationFact<'_>) -> usize {
        if let Some(message) = fact.message {
            self.lookup.clear();
            // '/' and '#' are in no id, so the joined text is unambiguous.
            for part in [fact.kind.name(), "#", fact.conversation.as_str(), "#", message.as_str(), "#"] {
                self.lookup.push_str(part);
            }
            self.lookup.push_str(fact.told.as_str());
            let open = self.open_groups.get(self.lookup.as_str()).copied();
            if let Some(index) = open
                && self.groups.get(index).is_some_and(|group| group.json.len() < MAX_READERS_BYTES)
            {
                return index;
            }
            self.open_groups.insert(self.lookup.clone(), self.groups.len());
        }
        let mut json = Vec::with_capacity(256);
        json.extend_from_slice(br#"{"kind":"#);
        append_json(&mut json, fact.kind.name());
        json.extend_from_slice(br#","conversation":"#);
        append_json(&mut json, fact.conversation.as_str());
        if let Some(message) = fact.message {
            json.extend_from_slice(br#","message":"#);
            append_json(&mut json, message.as_str());
        }
        json.extend_from_slice(br#","readers":["#);
        let key = format!("{}/{}", fact.app, fact.told);
        self.bytes += key.len() + json.len();
        self.groups.push(NotificationGroup { key, json, group_read_count: None });
        self.groups.len() - 1
    }

    /// Adds a rejection. `topic` is that of `epoch`, the current one; of a record that waited since an older one the
    /// header is empty, as the name of its topic is in the ledger alone.
    pub fn rejection(&mut self, topic: &str, epoch: Epoch, fact: &RejectionFact<'_>) {
        let mut encoded = Vec::new();
        let (key, value) = match (fact.received, fact.event) {
            (Some((key, value)), _) => (key, value),
            (None, Some(event)) => {
                encode_event(event, &mut encoded);
                (fact.conversation.map(|conversation| conversation.as_str().as_bytes()), encoded.as_slice())
            }
            (None, None) => {
                debug_assert!(false, "a rejection has the record or its event");
                (None, encoded.as_slice())
            }
        };

        let mut headers = vec![("outcome", fact.outcome.name().to_owned())];
        if let (Some(Chat::Group), Some(error)) = (fact.event.map(|event| event.chat), fact.outcome.client_error()) {
            headers.push(("words", error.words.to_owned()));
            headers.push(("code", error.code.to_string()));
        }
        if !fact.detail.is_empty() {
            let mut end = fact.detail.len().min(MAX_DETAIL_BYTES);
            while !fact.detail.is_char_boundary(end) {
                end -= 1;
            }
            headers.push(("detail", fact.detail.get(..end).unwrap_or_default().to_owned()));
        }
        let own_topic = if fact.position.own_epoch == epoch { topic } else { "" };
        headers.push(("topic", own_topic.to_owned()));
        headers.push(("partition", fact.position.own_partition.get().to_string()));
        headers.push(("offset", fact.position.own_offset.get().to_string()));

        let key = key.map(|key| cut(key, "key_length", "key_hash", &mut headers));
        let value = cut(value, "length", "hash", &mut headers);
        self.bytes += value.len() + key.as_ref().map_or(0, Vec::len) + 128;
        self.rejections.push(Rejection { key, value, headers });
    }

    /// Ends the flush: no reader joins a record any more.
    pub fn finish(&mut self) {
        self.open_groups = HashMap::new();
        self.notifications.reserve_exact(self.groups.len());
        for group in self.groups.drain(..) {
            let mut value = group.json;
            value.push(b']');
            if let Some(count) = group.group_read_count {
                value.extend_from_slice(br#","groupReadCount":"#);
                value.extend_from_slice(itoa::Buffer::new().format(count).as_bytes());
            }
            value.push(b'}');
            self.notifications.push(Notification { key: group.key, value });
        }
    }

    /// The notification records, after [`Outbox::finish`].
    pub fn notifications(&self) -> &[Notification] {
        debug_assert!(self.groups.is_empty(), "finish comes first");
        &self.notifications
    }

    /// The rejection records.
    pub fn rejections(&self) -> &[Rejection] {
        &self.rejections
    }

    /// Bytes it holds, roughly.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Copies `bytes`, or the start of them with the whole's length and SHA-256 in headers.
fn cut(
    bytes: &[u8],
    length_header: &'static str,
    hash_header: &'static str,
    headers: &mut Vec<(&'static str, String)>,
) -> Vec<u8> {
    match bytes.get(..MAX_REJECTED_BYTES) {
        Some(start) if bytes.len() > MAX_REJECTED_BYTES => {
            headers.push((length_header, bytes.len().to_string()));
            headers.push((hash_header, hex::encode(Sha256::digest(bytes))));
            start.to_vec()
        }
        _ => bytes.to_vec(),
    }
}

fn append_json(json: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    let written = serde_json::to_writer(json, value);
    debug_assert!(written.is_ok(), "strings and numbers into memory");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::event::{AckId, AppId, ConversationKey, EventTime, MessageId, Offset, PartitionId, RecordTime, UserId};
    use crate::fold::Outcome;
    use crate::fold::fact::{NotificationKind, Position};

    const EPOCH: Epoch = Epoch::new(1);
    const PARTITION: PartitionId = PartitionId::new(2);

    fn position(own_offset: u64) -> Position {
        Position {
            offset: Offset::new(99),
            own_offset: Offset::new(own_offset),
            own_partition: PARTITION,
            own_epoch: EPOCH,
            record_time: RecordTime::from_millis(5),
        }
    }

    fn group_read<'a>(message: &'a str, reader: &'a str, count: u32) -> NotificationFact<'a> {
        NotificationFact {
            kind: NotificationKind::Read,
            app: AppId::trusted("o#a"),
            conversation: ConversationKey::trusted("o#a/g/g1"),
            told: UserId::trusted("alice"),
            message: Some(MessageId::trusted(message)),
            reader: UserId::trusted(reader),
            at: EventTime::from_millis(1000),
            ack_id: AckId::trusted("ack"),
            content: None,
            group_read_count: Some(count),
            position: position(u64::from(count)),
        }
    }

    fn finished(mut outbox: Outbox) -> Vec<(String, serde_json::Value)> {
        outbox.finish();
        let parse = |record: &Notification| (record.key.clone(), serde_json::from_slice(&record.value).unwrap());
        outbox.notifications().iter().map(parse).collect()
    }

    #[test]
    fn readers_of_one_message_share_a_record_with_the_count_after_them() {
        let mut outbox = Outbox::default();
        outbox.notification(&group_read("m1", "bob", 1));
        outbox.notification(&group_read("m2", "bob", 1));
        outbox.notification(&NotificationFact { content: Some("\"ok\""), ..group_read("m1", "eve", 2) });

        let records = finished(outbox);
        assert_eq!(records.len(), 2);
        assert_eq!(records[0].0, "o#a/alice");
        assert_eq!(
            records[0].1,
            serde_json::json!({
                "kind": "read", "conversation": "o#a/g/g1", "message": "m1", "groupReadCount": 2,
                "readers": [
                    {"user": "bob", "at": 1000, "ack_id": "ack", "content": null,
                     "event_id": {"epoch": 1, "partition": 2, "offset": 1}},
                    {"user": "eve", "at": 1000, "ack_id": "ack", "content": "\"ok\"",
                     "event_id": {"epoch": 1, "partition": 2, "offset": 2}},
                ]
            })
        );
        assert_eq!(records[1].1["message"], "m2");
    }

    #[test]
    fn conversation_reads_stand_alone_and_name_no_message_and_no_count() {
        let fact = NotificationFact {
            kind: NotificationKind::ConversationRead,
            message: None,
            group_read_count: None,
            ..group_read("", "bob", 0)
        };
        let mut outbox = Outbox::default();
        outbox.notification(&fact);
        outbox.notification(&fact);
        let records = finished(outbox);
        assert_eq!(records.len(), 2);
        assert!(records[0].1.get("message").is_none());
        assert!(records[0].1.get("groupReadCount").is_none());
    }

    #[test]
    fn a_message_with_very_many_readers_is_cut_into_records_the_broker_takes() {
        let content = "x".repeat(1000);
        let mut outbox = Outbox::default();
        for count in 1..=1000 {
            outbox.notification(&NotificationFact { content: Some(&content), ..group_read("m1", "bob", count) });
        }
        let records = finished(outbox);
        assert!(records.len() > 1);
        let readers: usize = records.iter().map(|(_, json)| json["readers"].as_array().unwrap().len()).sum();
        assert_eq!(readers, 1000);
        assert_eq!(records.last().unwrap().1["groupReadCount"], 1000);
    }

    #[test]
    fn what_is_too_long_is_cut_with_its_length_and_hash() {
        let value = vec![b' '; MAX_REJECTED_BYTES + 1];
        let mut outbox = Outbox::default();
        outbox.rejection(
            "events",
            EPOCH,
            &RejectionFact {
                outcome: Outcome::Malformed,
                detail: "record: too long",
                event: None,
                event_type: None,
                conversation: None,
                received: Some((None, &value)),
                position: position(7),
            },
        );
        let rejection = &outbox.rejections()[0];
        assert_eq!(rejection.key, None);
        assert_eq!(rejection.value.len(), MAX_REJECTED_BYTES);
        let header = |name| rejection.headers.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str());
        assert_eq!(header("outcome"), Some("malformed"));
        assert_eq!(header("detail"), Some("record: too long"));
        assert_eq!((header("topic"), header("partition"), header("offset")), (Some("events"), Some("2"), Some("7")));
        assert_eq!(header("length"), Some((MAX_REJECTED_BYTES + 1).to_string().as_str()));
        assert_eq!(header("hash"), Some(hex::encode(Sha256::digest(&value)).as_str()));
        assert_eq!(header("words"), None);
    }

    #[test]
    fn a_reason_is_cut_before_it_makes_the_record_too_large() {
        let detail = "é".repeat(MAX_DETAIL_BYTES);
        let mut outbox = Outbox::default();
        outbox.rejection(
            "events",
            EPOCH,
            &RejectionFact {
                outcome: Outcome::Malformed,
                detail: &detail,
                event: None,
                event_type: None,
                conversation: None,
                received: Some((None, b"")),
                position: position(7),
            },
        );
        let (_, passed_on) = &outbox.rejections()[0].headers[1];
        assert_eq!(passed_on, &"é".repeat(MAX_DETAIL_BYTES / 2));
    }

    #[test]
    fn what_waited_since_an_older_epoch_goes_by_its_own_place() {
        let since_older = Position { own_epoch: Epoch::new(0), own_partition: PartitionId::new(5), ..position(7) };
        let mut outbox = Outbox::default();
        outbox.notification(&NotificationFact { position: since_older, ..group_read("m1", "bob", 1) });
        outbox.rejection(
            "events",
            EPOCH,
            &RejectionFact {
                outcome: Outcome::NotFound,
                detail: "",
                event: None,
                event_type: None,
                conversation: None,
                received: Some((None, b"{}")),
                position: since_older,
            },
        );
        let rejection = &outbox.rejections()[0];
        let header = |name| rejection.headers.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_str());
        assert_eq!((header("topic"), header("partition"), header("offset")), (Some(""), Some("5"), Some("7")));
        let records = finished(outbox);
        let event_id = serde_json::json!({"epoch": 0, "partition": 5, "offset": 7});
        assert_eq!(records[0].1["readers"][0]["event_id"], event_id);
    }
}
