//! Rows of one flush, encoded once from borrowed facts; a retry sends the same bytes.

use sha2::{Digest, Sha256};

use super::enums::Enum8 as _;
use super::fact_text::{FactWriter, message_key};
use super::row_binary::RowBinary;
use super::table::Table;
use crate::event::{
    Body, Chat, ConversationKey, Epoch, Event, EventTime, EventType, MessageId, PartitionId, encode_event,
};
use crate::fold::fact::{
    ControlFact, CountsFact, LedgerFact, MarkFact, MessageFact, NotificationFact, ParkedFact, PolicyFact, Position,
    RecallFact, ReceiptFact, RejectionFact, RosterFact, SettlementFact, Sink,
};

/// Longest key and value of a refused record that is kept, in bytes; of the rest length and SHA-256 tell (DESIGN.md
/// section 6).
const MAX_REJECTED_BYTES: usize = 64 * 1024;

/// Which events topic rows are of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicIdentity {
    /// Its name.
    pub topic: String,
    /// Its generation.
    pub epoch: Epoch,
    /// How many partitions it has, fixed for its life.
    pub partitions: u32,
}

/// The rows of one flush, by table.
#[derive(Debug)]
pub struct RowBatch {
    topic: TopicIdentity,
    tables: [TableRows; Table::ALL.len()],
    /// Whose the rows of the ledger are, in their order: runs of so many rows.
    totals: Vec<(PartitionId, usize)>,
    facts: FactWriter,
}

impl RowBatch {
    /// An empty batch for rows of this topic.
    pub fn new(topic: TopicIdentity) -> Self {
        Self {
            topic,
            tables: std::array::from_fn(|_| TableRows::default()),
            totals: Vec::new(),
            facts: FactWriter::default(),
        }
    }

    /// Takes facts of one partition, in log order.
    pub fn partition(&mut self, partition: PartitionId) -> PartitionRows<'_> {
        PartitionRows { batch: self, partition }
    }

    /// The rows of a table.
    pub fn table(&self, table: Table) -> &TableRows {
        // `Table::ALL` holds the variants in the order of declaration, so the discriminant is an index of the array.
        #[expect(clippy::indexing_slicing, reason = "one element a variant")]
        &self.tables[table as usize]
    }

    fn table_mut(&mut self, table: Table) -> &mut TableRows {
        #[expect(clippy::indexing_slicing, reason = "one element a variant")]
        &mut self.tables[table as usize]
    }

    /// Rows of all tables.
    pub fn rows(&self) -> usize {
        self.tables.iter().map(TableRows::rows).sum()
    }

    /// Bytes of all encoded rows: what back-pressure counts.
    pub fn bytes(&self) -> usize {
        self.tables.iter().map(TableRows::bytes_len).sum()
    }

    /// Whether nothing was encoded.
    pub fn is_empty(&self) -> bool {
        self.rows() == 0
    }

    /// Drops the rows and keeps the memory for the next flush.
    pub fn clear(&mut self) {
        self.tables.iter_mut().for_each(TableRows::clear);
        self.totals.clear();
    }

    /// Drops the totals of a partition; its facts stay.
    pub fn drop_totals(&mut self, partition: PartitionId) {
        let runs = std::mem::take(&mut self.totals);
        let mut is_kept = runs.iter().flat_map(|(of, rows)| std::iter::repeat_n(*of != partition, *rows));
        self.table_mut(Table::Ledger).retain(|| is_kept.next().unwrap_or(true));
        self.totals = runs.into_iter().filter(|(of, _)| *of != partition).collect();
    }
}

/// Encoded rows of one table.
#[derive(Debug, Default)]
pub struct TableRows {
    encoded: RowBinary,
    /// Week and length of each row: what a split by table partition needs.
    marks: Vec<RowMark>,
}

/// One encoded row.
#[derive(Clone, Copy, Debug)]
pub(super) struct RowMark {
    /// The week that a table with weeks is partitioned by, counted from 1970; 0 where the row is of none.
    pub(super) week: u16,
    /// Bytes of the row.
    pub(super) length: u32,
}

impl TableRows {
    /// How many rows.
    pub fn rows(&self) -> usize {
        self.marks.len()
    }

    /// Each row as it is encoded, in the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.with_weeks().map(|(row, _)| row)
    }

    /// Each row with its week, counted from 1970, by which tables with weeks are partitioned; 0 where it is of none.
    pub fn with_weeks(&self) -> impl Iterator<Item = (&[u8], u16)> {
        let mut rest = self.bytes();
        self.marks.iter().map(move |mark| {
            let (row, after) = rest.split_at(mark.length as usize);
            rest = after;
            (row, mark.week)
        })
    }

    /// The rows in RowBinary.
    pub fn bytes(&self) -> &[u8] {
        self.encoded.bytes()
    }

    pub(super) fn marks(&self) -> &[RowMark] {
        &self.marks
    }

    fn bytes_len(&self) -> usize {
        self.encoded.len() + std::mem::size_of_val(self.marks.as_slice())
    }

    fn clear(&mut self) {
        self.encoded.clear();
        self.marks.clear();
    }

    /// Keeps the rows for which `is_kept`, asked once a row in their order, says so.
    fn retain(&mut self, mut is_kept: impl FnMut() -> bool) {
        let whole = std::mem::take(self);
        for (row, mark) in whole.iter().zip(whole.marks()) {
            if is_kept() {
                self.encoded.encoded(row);
                self.marks.push(*mark);
            }
        }
    }

    /// Encodes one row of the week that `time` lies in.
    fn row(&mut self, time: Option<EventTime>, encode: impl FnOnce(&mut RowBinary)) {
        let start = self.encoded.len();
        encode(&mut self.encoded);
        // A row is at most two values of 64 KiB and a few ids; only a policy or roster could be larger, by far not 4 GiB.
        let length = u32::try_from(self.encoded.len() - start).unwrap_or(u32::MAX);
        self.marks.push(RowMark { week: time.map_or(0, week_of), length });
    }
}

/// Number of the week, from Monday on, that `toMonday` puts a time in. ClickHouse clamps what its dates cannot hold.
fn week_of(time: EventTime) -> u16 {
    week_of_day(time.millis().div_euclid(crate::policy::DAY_MILLIS))
}

/// Number of the week of a day since 1970.
pub(super) fn week_of_day(days: i64) -> u16 {
    // 1970-01-01 was a Thursday: three days into its week.
    u16::try_from(days.saturating_add(3).max(0) / 7).unwrap_or(u16::MAX)
}

/// The first instant behind a week of that number.
pub(super) fn end_of_week(week: u16) -> EventTime {
    EventTime::from_millis((i64::from(week) * 7 + 4) * crate::policy::DAY_MILLIS)
}

/// Takes the facts of one partition as rows; notifications are none.
#[derive(Debug)]
pub struct PartitionRows<'a> {
    batch: &'a mut RowBatch,
    partition: PartitionId,
}

impl Sink for PartitionRows<'_> {
    fn message(&mut self, fact: &MessageFact<'_>) {
        let place = self.place(fact.position);
        self.batch.table_mut(Table::Messages).row(Some(fact.sent_at), |row| {
            row.string(fact.app.as_str())
                .string(fact.conversation.as_str())
                .string(fact.message.as_str())
                .event_time(fact.sent_at)
                .uint32(fact.erasures)
                .uint8(fact.chat.number())
                .string(fact.sender.as_str())
                .string(fact.to)
                .uint8(fact.status.number())
                .uint64(fact.validity_millis.max(0).unsigned_abs())
                .uint32(fact.reader_cap)
                .nullable_date32(fact.quota_day.map(|day| day.days()))
                .nullable_uint32(fact.audience);
            place.encode(row);
        });
        self.message_fact((fact.conversation, fact.message, fact.sent_at), place, |facts| {
            facts.message(fact, place.epoch)
        });
    }

    fn receipt(&mut self, fact: &ReceiptFact<'_>) {
        let place = self.place(fact.position);
        self.batch.table_mut(Table::Receipts).row(Some(fact.sent_at), |row| {
            row.string(fact.app.as_str())
                .string(fact.conversation.as_str())
                .string(fact.message.as_str())
                .event_time(fact.sent_at)
                .uint8(fact.kind.number())
                .string(fact.reader.as_str())
                .uint32(fact.erasures)
                .event_time(fact.at)
                .string(fact.ack_id.as_str())
                .nullable_string(fact.content);
            place.encode_with_own(row);
        });
        self.message_fact((fact.conversation, fact.message, fact.sent_at), place, |facts| {
            facts.receipt(fact, place.epoch)
        });
    }

    fn recall(&mut self, fact: &RecallFact<'_>) {
        let place = self.place(fact.position);
        self.batch.table_mut(Table::Recalls).row(Some(fact.sent_at), |row| {
            row.string(fact.app.as_str())
                .string(fact.conversation.as_str())
                .string(fact.message.as_str())
                .event_time(fact.sent_at)
                .uint32(fact.erasures)
                .string(fact.recalled_by.as_str())
                .event_time(fact.at)
                .string(fact.recall_id.as_str());
            place.encode_with_own(row);
        });
        self.message_fact((fact.conversation, fact.message, fact.sent_at), place, |facts| {
            facts.recall(fact, place.epoch)
        });
    }

    fn roster(&mut self, fact: &RosterFact<'_>) {
        let place = self.place(fact.position);
        self.batch.table_mut(Table::RosterChanges).row(None, |row| {
            row.string(fact.app.as_str())
                .string(fact.conversation.as_str())
                .string(fact.user.map_or("", |user| user.as_str()))
                .uint8(fact.change.number());
            match fact.role {
                Some(role) => row.uint8(0).uint8(role.number()),
                None => row.uint8(1),
            };
            row.event_time(fact.at).nullable_event_time(fact.joined_at);
            place.encode(row);
        });
    }

    fn mark(&mut self, fact: &MarkFact<'_>) {
        let place = self.place(fact.position);
        self.batch.table_mut(Table::Marks).row(Some(fact.at), |row| {
            row.string(fact.app.as_str())
                .string(fact.conversation.as_str())
                .uint8(fact.chat.number())
                .string(fact.reader.as_str())
                .event_time(fact.at)
                .string(fact.ack_id.as_str());
            place.encode(row);
        });
    }

    fn parked(&mut self, fact: &ParkedFact<'_>) {
        let place = self.place(fact.position);
        self.batch.table_mut(Table::Parked).row(Some(fact.event.at), |row| {
            encode_waiting(row, &fact.event, fact.conversation.as_str());
            row.event_time(fact.deadline);
            place.encode_with_own(row);
        });
    }

    fn settlement(&mut self, fact: &SettlementFact<'_>) {
        let place = self.place(fact.position);
        self.batch.table_mut(Table::Settlements).row(Some(fact.event.at), |row| {
            encode_waiting(row, &fact.event, fact.conversation.as_str());
            row.string(fact.outcome.name());
            place.encode_with_own(row);
        });
    }

    fn policy(&mut self, fact: &PolicyFact<'_>) {
        let place = self.place(fact.position);
        self.batch.table_mut(Table::Policies).row(None, |row| {
            match fact.control {
                ControlFact::Policy(version) => {
                    // A policy is a plain struct with string keys: serialisation has nothing to fail on.
                    let policy = serde_json::to_vec(&version.policy).unwrap_or_default();
                    row.string(&version.app)
                        .uint8(EventType::Policy.number())
                        .uint64(version.version)
                        .nullable_event_time(Some(version.effective_from))
                        .string(policy)
                        .string("");
                }
                ControlFact::Erase { app, version, user } => {
                    row.string(app.as_str())
                        .uint8(EventType::Erase.number())
                        .uint64(version)
                        .nullable_event_time(None)
                        .string("")
                        .string(user.as_str());
                }
            }
            place.encode(row);
        });
    }

    fn rejection(&mut self, fact: &RejectionFact<'_>) {
        let place = self.place(fact.position);
        let at = fact.event.map(|event| event.at);
        let week = at.unwrap_or(EventTime::from_millis(fact.position.record_time.millis()));
        let in_group = fact.event.is_some_and(|event| event.chat == Chat::Group);
        let client_error = fact.outcome.client_error().filter(|_| in_group);
        let mut encoded_again = Vec::new();
        if let (None, Some(event)) = (fact.received, fact.event) {
            encode_event(event, &mut encoded_again);
        }
        let conversation_key = fact.conversation.map(|conversation| conversation.as_str().as_bytes());
        let (key, value) = fact.received.unwrap_or((conversation_key, &encoded_again));
        self.batch.table_mut(Table::Rejections).row(Some(week), |row| {
            row.string(fact.event.map_or("", |event| event.app.as_str()))
                .string(fact.conversation.map_or("", |conversation| conversation.as_str()))
                .string(fact.event_type.map_or("", |event_type| event_type.name()))
                .string(fact.outcome.name())
                .string(client_error.map_or("", |error| error.words))
                .uint16(client_error.map_or(0, |error| error.code))
                .string(fact.detail)
                .string(fact.event.map_or("", |event| event.from.as_str()))
                .nullable_event_time(at)
                .uint8(u8::from(fact.received.is_none()));
            let kept_key = key.map(Kept::of);
            row.nullable_string(kept_key.as_ref().map(|kept| kept.bytes))
                .uint64(kept_key.as_ref().map_or(0, |kept| kept.whole_bytes))
                .string(kept_key.as_ref().map_or(&[][..], |kept| &kept.sha256));
            let kept_value = Kept::of(value);
            row.string(kept_value.bytes).uint64(kept_value.whole_bytes).string(&kept_value.sha256);
            place.encode_with_own(row);
        });
    }

    fn notification(&mut self, _fact: &NotificationFact<'_>) {}

    fn counts(&mut self, fact: &CountsFact<'_>) {
        let (epoch, partition) = (self.batch.topic.epoch, self.partition);
        for table in [Table::MessageCounts, Table::SenderCounts] {
            self.batch.table_mut(table).row(Some(fact.sent_at), |row| {
                row.string(fact.app.as_str())
                    .string(fact.conversation.as_str())
                    .string(fact.message.as_str())
                    .event_time(fact.sent_at)
                    .uint8(fact.chat.number())
                    .string(fact.sender.as_str())
                    .uint32(fact.distinct)
                    .uint32(fact.retained)
                    .uint32(fact.delivered)
                    .uint16(epoch.get())
                    .uint32(partition.get())
                    .uint64(fact.offset.get());
            });
        }
    }

    fn ledger(&mut self, fact: &LedgerFact<'_>) {
        let RowBatch { topic, .. } = &*self.batch;
        let (epoch, partitions, topic) = (topic.epoch, topic.partitions, topic.topic.clone());
        let partition = self.partition;
        match self.batch.totals.last_mut() {
            Some((of, rows)) if *of == partition => *rows += 1,
            _ => self.batch.totals.push((partition, 1)),
        }
        self.batch.table_mut(Table::Ledger).row(None, |row| {
            row.uint16(epoch.get())
                .string(topic)
                .uint32(partition.get())
                .uint32(partitions)
                .string(fact.app)
                .string(fact.event_type)
                .string(fact.outcome)
                .uint8(fact.measure.number())
                .record_time(fact.hour)
                .uint64(fact.next_offset.get())
                .uint64(fact.total)
                .array(fact.buckets.iter(), |row, &(bucket, _)| {
                    row.uint16(bucket);
                })
                .array(fact.buckets.iter(), |row, &(_, total)| {
                    row.uint64(total);
                });
        });
    }
}

impl PartitionRows<'_> {
    /// A row of `message_facts`, with the text that `write` gives.
    fn message_fact(
        &mut self,
        (conversation, message, sent_at): (ConversationKey<'_>, MessageId<'_>, EventTime),
        place: Place,
        write: impl for<'w> FnOnce(&'w mut FactWriter) -> &'w [u8],
    ) {
        let RowBatch { tables, facts, .. } = &mut *self.batch;
        let text = write(facts);
        #[expect(clippy::indexing_slicing, reason = "one element a variant")]
        tables[Table::MessageFacts as usize].row(Some(sent_at), |row| {
            row.uint64(message_key(conversation.as_str(), message.as_str())).string(text);
            place.encode_own(row);
            place.encode_offsets(row);
        });
    }

    fn place(&self, position: Position) -> Place {
        Place { epoch: self.batch.topic.epoch, partition: self.partition, position }
    }
}

/// The columns that end every row of a fact.
#[derive(Clone, Copy)]
struct Place {
    epoch: Epoch,
    partition: PartitionId,
    position: Position,
}

impl Place {
    fn encode(&self, row: &mut RowBinary) {
        self.encode_offsets(row);
        row.record_time(self.position.record_time);
    }

    fn encode_offsets(&self, row: &mut RowBinary) {
        row.uint16(self.epoch.get())
            .uint32(self.partition.get())
            .uint64(self.position.offset.get())
            .uint64(self.position.own_offset.get());
    }

    /// Of facts about records that may have waited since another generation: those name that place as well.
    fn encode_with_own(&self, row: &mut RowBinary) {
        self.encode_own(row);
        self.encode(row);
    }

    fn encode_own(&self, row: &mut RowBinary) {
        row.uint16(self.position.own_epoch.get()).uint32(self.position.own_partition.get());
    }
}

/// The columns that `parked` and `settlements` share.
fn encode_waiting(row: &mut RowBinary, event: &Event<'_>, conversation: &str) {
    let (message, content) = match event.body {
        Body::Read { message, content } => (message.as_str(), content),
        Body::Delivered { message } | Body::Recall { message } => (message.as_str(), None),
        // Nothing else names a message that it could wait for.
        _ => ("", None),
    };
    row.string(event.app.as_str())
        .string(conversation)
        .uint8(event.body.event_type().map_or(0, |waiting| waiting.number()))
        .uint8(event.chat.number())
        .string(message)
        .string(event.from.as_str())
        .string(event.to)
        .string(event.id.as_str())
        .event_time(event.at)
        .nullable_string(content);
}

/// What is kept of a key or value, and of what was cut the length and hash of the whole.
struct Kept<'a> {
    bytes: &'a [u8],
    whole_bytes: u64,
    sha256: Vec<u8>,
}

impl<'a> Kept<'a> {
    fn of(whole: &'a [u8]) -> Self {
        let bytes = whole.get(..MAX_REJECTED_BYTES).unwrap_or(whole);
        let is_cut = bytes.len() < whole.len();
        let sha256 = if is_cut { Sha256::digest(whole).to_vec() } else { Vec::new() };
        Self { bytes, whole_bytes: whole.len() as u64, sha256 }
    }
}
