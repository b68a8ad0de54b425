//! The texts of the table `message_facts`: what is known of a message, a text each row. Its fields stand in
//! `schemas/clickhouse/0025_message_facts.sql`; ids hold neither tabs nor line ends, and contents, which may, stand last.

use std::hash::Hasher as _;

use twox_hash::XxHash64;

use super::enums::Enum8 as _;
use crate::event::{Epoch, EventTime};
use crate::fold::fact::{MessageFact, MessageStatus, Position, RecallFact, ReceiptFact, ReceiptKind};

/// Between the fields.
const TAB: char = '\t';

/// The kinds of texts that are no receipts.
const MESSAGE: &str = "message";
const RECALL: &str = "recall";

/// By what everything about a message is found, as ClickHouse's `xxHash64` gives it: rows of another message may have the
/// same, if hardly ever.
pub(super) fn message_key(conversation: &str, message: &str) -> u64 {
    let mut hasher = XxHash64::with_seed(0);
    for part in [conversation, "\t", message] {
        hasher.write(part.as_bytes());
    }
    hasher.finish()
}

/// Writes one text after the other into the same memory.
#[derive(Debug, Default)]
pub(super) struct FactWriter {
    text: Vec<u8>,
}

impl FactWriter {
    /// The text of a message.
    pub(super) fn message(&mut self, fact: &MessageFact<'_>, epoch: Epoch) -> &[u8] {
        let MessageFact { conversation, message, sent_at, sender, position, .. } = fact;
        self.begin(conversation.as_str(), message.as_str(), *sent_at, MESSAGE, sender.as_str());
        self.place(epoch, *position);
        self.field(fact.status.label()).number(fact.validity_millis.max(0).unsigned_abs()).number(fact.reader_cap);
        match fact.audience {
            Some(audience) => self.number(audience),
            None => self.field(""),
        };
        &self.text
    }

    /// The text of a receipt.
    pub(super) fn receipt(&mut self, fact: &ReceiptFact<'_>, epoch: Epoch) -> &[u8] {
        let ReceiptFact { conversation, message, sent_at, reader, kind, position, .. } = fact;
        self.begin(conversation.as_str(), message.as_str(), *sent_at, kind.name(), reader.as_str());
        self.place(epoch, *position);
        self.number(fact.at.millis()).field(fact.ack_id.as_str());
        if let Some(content) = fact.content {
            self.field(content);
        }
        &self.text
    }

    /// The text of a recall.
    pub(super) fn recall(&mut self, fact: &RecallFact<'_>, epoch: Epoch) -> &[u8] {
        let RecallFact { conversation, message, sent_at, position, .. } = fact;
        self.begin(conversation.as_str(), message.as_str(), *sent_at, RECALL, "");
        self.place(epoch, *position);
        self.number(fact.at.millis());
        &self.text
    }

    fn begin(&mut self, conversation: &str, message: &str, sent_at: EventTime, kind: &str, user: &str) {
        self.text.clear();
        self.text.extend_from_slice(conversation.as_bytes());
        self.field(message).number(sent_at.millis()).field(kind).field(user);
    }

    fn place(&mut self, epoch: Epoch, position: Position) {
        self.number(epoch.get()).number(position.offset.get());
    }

    fn field(&mut self, value: &str) -> &mut Self {
        self.text.push(TAB as u8);
        self.text.extend_from_slice(value.as_bytes());
        self
    }

    fn number(&mut self, value: impl itoa::Integer) -> &mut Self {
        self.field(itoa::Buffer::new().format(value))
    }
}

/// A text read back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FactText<'a> {
    /// The conversation's key.
    pub conversation: &'a str,
    /// The message's id.
    pub message: &'a str,
    /// When the message was sent.
    pub sent_at: EventTime,
    /// Who sent or read it; nobody where it was taken back.
    pub user: &'a str,
    /// Where the fold produced it in the log, through all generations: `epoch << 48 | offset`.
    pub place: u64,
    /// What it says of the message.
    pub says: FactSays<'a>,
}

/// What a text says of its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FactSays<'a> {
    /// It was sent.
    Sent {
        /// Whether it is open for group receipts.
        status: MessageStatus,
        /// For how long receipts count, in ms.
        validity_millis: u64,
        /// How many readers are retained.
        reader_cap: u32,
        /// How many were asked to read, where that is known.
        audience: Option<u32>,
    },
    /// A receipt counted.
    Receipt {
        /// Which kind.
        kind: ReceiptKind,
        /// Its time.
        at: EventTime,
        /// Its id.
        ack_id: &'a str,
        /// Text sent along.
        content: Option<&'a str>,
    },
    /// It was taken back.
    Recalled {
        /// When.
        at: EventTime,
    },
}

impl<'a> FactText<'a> {
    /// Takes a text apart; `None` where it is none.
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut fields = text.splitn(8, TAB);
        let (conversation, message) = (fields.next()?, fields.next()?);
        let sent_at = time(fields.next()?)?;
        let (kind, user) = (fields.next()?, fields.next()?);
        let epoch: u16 = number(fields.next()?)?;
        let offset: u64 = number(fields.next()?)?;
        let says = FactSays::parse(kind, fields.next()?)?;
        Some(Self { conversation, message, sent_at, user, place: u64::from(epoch) << 48 | offset, says })
    }

    /// The tenant.
    pub fn app(&self) -> &'a str {
        self.conversation.split_once('/').map_or("", |(app, _)| app)
    }
}

impl<'a> FactSays<'a> {
    fn parse(kind: &str, rest: &'a str) -> Option<Self> {
        let receipt = |kind| {
            let mut fields = rest.splitn(3, TAB);
            let at = time(fields.next()?)?;
            Some(Self::Receipt { kind, at, ack_id: fields.next()?, content: fields.next() })
        };
        match kind {
            MESSAGE => {
                let mut fields = rest.split(TAB);
                let status = fields.next()?;
                let numbers = MessageStatus::NUMBERS.iter().map(|(status, _)| *status);
                let status = numbers.into_iter().find(|known| known.label() == status)?;
                let (validity_millis, reader_cap) = (number(fields.next()?)?, number(fields.next()?)?);
                let audience = fields.next()?;
                let audience = if audience.is_empty() { None } else { Some(number(audience)?) };
                Some(Self::Sent { status, validity_millis, reader_cap, audience })
            }
            RECALL => Some(Self::Recalled { at: time(rest)? }),
            kind if kind == ReceiptKind::Read.name() => receipt(ReceiptKind::Read),
            kind if kind == ReceiptKind::Delivered.name() => receipt(ReceiptKind::Delivered),
            _ => None,
        }
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

fn time(text: &str) -> Option<EventTime> {
    number(text).map(EventTime::from_millis)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::event::{AckId, AppId, Chat, ConversationKey, MessageId, Offset, PartitionId, RecordTime, UserId};

    const POSITION: Position = Position {
        offset: Offset::new(70),
        own_offset: Offset::new(60),
        own_partition: PartitionId::new(5),
        own_epoch: Epoch::new(2),
        record_time: RecordTime::from_millis(0),
    };
    const GROUP: &str = "o#a/g/team";

    const EPOCH: Epoch = Epoch::new(3);

    fn message(audience: Option<u32>) -> MessageFact<'static> {
        MessageFact {
            app: AppId::trusted("o#a"),
            conversation: ConversationKey::trusted(GROUP),
            chat: Chat::Group,
            message: MessageId::trusted("m1"),
            sent_at: EventTime::from_millis(1_000),
            sender: UserId::trusted("alice"),
            to: "team",
            status: MessageStatus::QuotaExceeded,
            validity_millis: 9,
            reader_cap: 500,
            quota_day: None,
            audience,
            erasures: 0,
            position: POSITION,
        }
    }

    fn receipt(content: Option<&str>) -> ReceiptFact<'_> {
        ReceiptFact {
            app: AppId::trusted("o#a"),
            conversation: ConversationKey::trusted(GROUP),
            message: MessageId::trusted("m1"),
            sent_at: EventTime::from_millis(1_000),
            kind: ReceiptKind::Read,
            reader: UserId::trusted("bob"),
            at: EventTime::from_millis(2_000),
            ack_id: AckId::trusted("k1"),
            content,
            erasures: 0,
            position: POSITION,
        }
    }

    fn read_back(text: &[u8]) -> FactText<'_> {
        FactText::parse(str::from_utf8(text).unwrap()).unwrap()
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut writer = FactWriter::default();
        let common = FactText {
            conversation: GROUP,
            message: "m1",
            sent_at: EventTime::from_millis(1_000),
            user: "alice",
            place: 3 << 48 | 70,
            says: FactSays::Recalled { at: EventTime::from_millis(0) },
        };
        for audience in [None, Some(0), Some(12)] {
            let says =
                FactSays::Sent { status: MessageStatus::QuotaExceeded, validity_millis: 9, reader_cap: 500, audience };
            let text = writer.message(&message(audience), EPOCH);
            assert_eq!(read_back(text), FactText { says, ..common });
        }
        for content in [None, Some(""), Some("seen"), Some("\ta\tb\n\t")] {
            let (at, kind) = (EventTime::from_millis(2_000), ReceiptKind::Read);
            let says = FactSays::Receipt { kind, at, ack_id: "k1", content };
            let text = writer.receipt(&receipt(content), EPOCH);
            assert_eq!(read_back(text), FactText { user: "bob", says, ..common });
        }
        let recall = RecallFact {
            app: AppId::trusted("o#a"),
            conversation: ConversationKey::trusted(GROUP),
            message: MessageId::trusted("m1"),
            sent_at: EventTime::from_millis(1_000),
            recalled_by: UserId::trusted("carol"),
            at: EventTime::from_millis(3_000),
            recall_id: AckId::trusted("k2"),
            erasures: 0,
            position: POSITION,
        };
        let text = writer.recall(&recall, EPOCH);
        let says = FactSays::Recalled { at: EventTime::from_millis(3_000) };
        assert_eq!(read_back(text), FactText { user: "", says, ..common });
        assert_eq!(read_back(text).app(), "o#a");
    }

    #[test]
    fn what_is_no_fact_is_refused() {
        let mut writer = FactWriter::default();
        let whole = String::from_utf8(writer.receipt(&receipt(None), EPOCH).to_vec()).unwrap();
        let fields: Vec<&str> = whole.split(TAB).collect();
        for cut in 0..fields.len() {
            assert_eq!(FactText::parse(&fields[..cut].join("\t")), None, "{cut} fields");
        }
        // Times, kind, places.
        for broken in [2, 3, 5, 6, 7] {
            let mut fields = fields.clone();
            fields[broken] = "x";
            assert_eq!(FactText::parse(&fields.join("\t")), None, "field {broken}");
        }
    }

    #[test]
    fn keys_are_those_of_xxh64() {
        // As ClickHouse answers `SELECT xxHash64('o#a/g/team\tm1')`.
        assert_eq!(message_key(GROUP, "m1"), 13_381_695_472_267_245_384);
        assert_ne!(message_key(GROUP, "m1"), message_key(GROUP, "m2"));
    }
}
