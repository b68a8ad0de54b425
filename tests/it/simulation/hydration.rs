//! What the queries of `src/store/sql` select, said again over rows in memory; the fold's own `Restore` does the rest.

use std::collections::{BTreeMap, BTreeSet};

use seenby::event::{
    AckId, AppId, Body, Chat, ConversationKey, Epoch, Event, EventTime, EventType, MemberChange, MessageId, Offset,
    PartitionId, RecordTime, Role, UserId,
};
use seenby::fold::fact::{
    ControlFact, LedgerFact, MarkFact, Measure, MessageFact, MessageStatus, ParkedFact, PolicyFact, Position,
    RecallFact, ReceiptFact, ReceiptKind, RosterChange, RosterFact,
};
use seenby::fold::{LATENESS_MILLIS, Outcome, Partition, PartitionIdentity, Restore, is_message_needed};
use seenby::policy::{DAY_MILLIS, PolicyVersion, QuotaDay};
use seenby::store::{HydrationRequest, StoreError, Table, TopicIdentity};

use super::clickhouse::{Columns, Row};
use super::store::MemoryStore;

/// A cell of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell<'a> {
    pub partition: i64,
    pub app: &'a str,
    pub event_type: &'a str,
    pub outcome: &'a str,
    pub measure: &'a str,
    pub hour: i64,
}

pub fn cell_of<'a>(row: &Columns<'a>) -> Cell<'a> {
    Cell {
        partition: row.number("partition"),
        app: row.text("app"),
        event_type: row.text("type"),
        outcome: row.text("outcome"),
        measure: row.text("measure"),
        hour: row.number("hour"),
    }
}

/// Every flush boundary of a partition with the watermark as of it.
pub fn boundaries(ledger: &[Row], partition: PartitionId) -> impl Iterator<Item = (Offset, EventTime)> {
    let rows = ledger.iter().map(|row| Columns::of(Table::Ledger, row));
    rows.filter(move |row| row.number("partition") == i64::from(partition.get()) && row.text("measure") == "watermark")
        .map(|row| (next_offset(&row), EventTime::from_millis(row.number("total"))))
}

/// hydrate_watermarks.sql and ledger_frontiers.sql.
pub fn last_boundary(ledger: &[Row], partition: PartitionId, committed: Offset) -> Option<(Offset, EventTime)> {
    boundaries(ledger, partition).filter(|(offset, _)| *offset <= committed).max_by_key(|(offset, _)| *offset)
}

pub fn next_offset(row: &Columns<'_>) -> Offset {
    Offset::new(row.number("next_offset") as u64)
}

/// The state as of a committed offset; tables are read one after the other, as the real store does.
pub fn restore(
    store: &MemoryStore,
    topic: &TopicIdentity,
    request: HydrationRequest,
    watermark: EventTime,
) -> Result<Partition, StoreError> {
    let HydrationRequest { partition, committed } = request;
    let epoch = topic.epoch;
    let identity = PartitionIdentity { epoch, partition, partitions: topic.partitions };
    let mut restore = Restore::new(identity, committed, watermark);
    let read = |table| store.read(table).map(|rows| Seen { table, rows, partition, committed });

    let policies = read(Table::Policies)?;
    let mut met = BTreeSet::new();
    for row in policies.in_log_order() {
        if met.insert((row.text("app"), row.number("version"))) {
            give_policy(&mut restore, epoch, &row);
        }
    }
    let rosters = read(Table::RosterChanges)?;
    let mut last_rows = BTreeMap::new();
    for row in rosters.in_log_order() {
        last_rows.insert((row.text("conversation"), row.text("user")), row);
    }
    last_rows.values().for_each(|row| restore.roster(epoch, &roster(row)));

    let mut needed_from: Option<EventTime> = None;
    let oldest = watermark.plus_millis(-90 * DAY_MILLIS - LATENESS_MILLIS);
    for row in read(Table::Messages)?.rows() {
        let fact = message(&row);
        let is_needed = is_message_needed(fact.sent_at, fact.validity_millis, fact.quota_day, watermark);
        if fact.sent_at >= oldest && is_needed {
            needed_from = Some(needed_from.unwrap_or(fact.sent_at).min(fact.sent_at));
            restore.message(epoch, &fact);
        }
    }
    restore.messages_complete();
    let is_recent = |row: &Columns<'_>| needed_from.is_some_and(|from| time(row, "sent_at") >= from);
    for row in read(Table::Receipts)?.rows().filter(is_recent) {
        restore.receipt(epoch, &receipt(&row));
    }
    for row in read(Table::Recalls)?.rows().filter(is_recent) {
        restore.recall(epoch, &recall(&row));
    }
    let held_from = watermark.plus_millis(-LATENESS_MILLIS);
    let marks_from = needed_from.map_or(held_from, |from| from.min(held_from));
    for row in read(Table::Marks)?.rows().filter(|row| time(row, "at") >= marks_from) {
        restore.mark(epoch, &mark(&row));
    }
    let settlements = read(Table::Settlements)?;
    let settled: BTreeSet<i64> = settlements.rows().map(|row| row.number("own_offset")).collect();
    for row in read(Table::Parked)?.rows() {
        if time(&row, "deadline") >= watermark && !settled.contains(&row.number("own_offset")) {
            restore.parked(epoch, &parked(&row));
        }
    }
    give_ledger(&mut restore, &store.read(Table::Ledger)?, request);
    Ok(restore.finish())
}

/// Rows of a table of which one partition has seen some.
struct Seen {
    table: Table,
    rows: Vec<Row>,
    partition: PartitionId,
    committed: Offset,
}

impl Seen {
    fn rows(&self) -> impl Iterator<Item = Columns<'_>> {
        let is_seen = |row: &Columns<'_>| {
            row.number("partition") == i64::from(self.partition.get())
                && row.number("offset") < self.committed.get() as i64
        };
        self.rows.iter().map(|row| Columns::of(self.table, row)).filter(is_seen)
    }

    fn in_log_order(&self) -> Vec<Columns<'_>> {
        let mut rows: Vec<_> = self.rows().collect();
        rows.sort_by_key(|row| (row.number("offset"), row.number("own_offset")));
        rows
    }
}

/// hydrate_ledger.sql.
fn give_ledger(restore: &mut Restore, ledger: &[Row], request: HydrationRequest) {
    let is_seen = |row: &Columns<'_>| {
        row.number("partition") == i64::from(request.partition.get())
            && row.text("measure") != "watermark"
            && next_offset(row) <= request.committed
    };
    let seen: Vec<_> = ledger.iter().map(|row| Columns::of(Table::Ledger, row)).filter(is_seen).collect();
    let Some(last_hour) = seen.iter().map(|row| row.number("hour")).max() else { return };
    let mut last_rows = BTreeMap::new();
    for row in seen.iter().filter(|row| row.number("hour") == last_hour) {
        let last = last_rows.entry(cell_of(row)).or_insert(row);
        if next_offset(row) > next_offset(last) {
            *last = row;
        }
    }
    for (cell, row) in last_rows {
        let numbers = row.numbers("buckets").into_iter().zip(row.numbers("bucket_totals"));
        let buckets: Vec<(u16, u64)> = numbers.map(|(bucket, total)| (bucket as u16, total as u64)).collect();
        restore.ledger(&LedgerFact {
            app: cell.app,
            event_type: cell.event_type,
            measure: named(MEASURES, Measure::name, cell.measure),
            outcome: cell.outcome,
            hour: RecordTime::from_millis(cell.hour),
            total: row.number("total") as u64,
            buckets: &buckets,
            next_offset: next_offset(row),
        });
    }
}

const MEASURES: [Measure; 3] = [Measure::Records, Measure::Settled, Measure::Delays];
const KINDS: [ReceiptKind; 2] = [ReceiptKind::Delivered, ReceiptKind::Read];
const STATUSES: [MessageStatus; 5] = [
    MessageStatus::Stored,
    MessageStatus::Opened,
    MessageStatus::NotOpen,
    MessageStatus::PermissionDenied,
    MessageStatus::QuotaExceeded,
];
const CHANGES: [RosterChange; 8] = [
    RosterChange::Roster,
    RosterChange::GroupDestroyed,
    RosterChange::ByRoster,
    RosterChange::Member(MemberChange::Join),
    RosterChange::Member(MemberChange::Leave),
    RosterChange::Member(MemberChange::Role(Role::Owner)),
    RosterChange::Member(MemberChange::Role(Role::Admin)),
    RosterChange::Member(MemberChange::Role(Role::Member)),
];

fn named<T: Copy, const N: usize>(all: [T; N], name: fn(T) -> &'static str, wanted: &str) -> T {
    all.into_iter().find(|it| name(*it) == wanted).unwrap_or_else(|| panic!("no {wanted}"))
}

fn time(row: &Columns<'_>, column: &str) -> EventTime {
    EventTime::from_millis(row.number(column))
}

fn chat(row: &Columns<'_>) -> Chat {
    Chat::from_name(row.text("chat")).unwrap()
}

fn app<'a>(row: &Columns<'a>) -> AppId<'a> {
    AppId::trusted(row.text("app"))
}

fn conversation<'a>(row: &Columns<'a>) -> ConversationKey<'a> {
    ConversationKey::trusted(row.text("conversation"))
}

/// The place of a row; whatever waits in a simulation does so within one generation and partition.
fn position(row: &Columns<'_>) -> Position {
    Position {
        offset: Offset::new(row.number("offset") as u64),
        own_offset: Offset::new(row.number("own_offset") as u64),
        own_partition: PartitionId::new(row.number("partition") as u32),
        own_epoch: Epoch::new(row.number("epoch") as u16),
        record_time: RecordTime::from_millis(row.number("record_time")),
    }
}

fn give_policy(restore: &mut Restore, epoch: Epoch, row: &Columns<'_>) {
    let position = position(row);
    let version = row.number("version") as u64;
    if row.text("type") == EventType::Erase.name() {
        let control = ControlFact::Erase { app: app(row), version, user: UserId::trusted(row.text("user")) };
        return restore.policy(epoch, &PolicyFact { control, position });
    }
    let policy = PolicyVersion {
        app: row.text("app").to_owned(),
        version,
        effective_from: time(row, "effective_from"),
        policy: serde_json::from_str(row.text("policy")).unwrap(),
    };
    restore.policy(epoch, &PolicyFact { control: ControlFact::Policy(&policy), position });
}

fn roster<'a>(row: &Columns<'a>) -> RosterFact<'a> {
    RosterFact {
        app: app(row),
        conversation: conversation(row),
        change: named(CHANGES, RosterChange::name, row.text("change")),
        user: Some(row.text("user")).filter(|user| !user.is_empty()).map(UserId::trusted),
        role: row.optional_text("role").and_then(Role::from_name),
        at: time(row, "at"),
        joined_at: row.optional_number("joined_at").map(EventTime::from_millis),
        position: position(row),
    }
}

fn message<'a>(row: &Columns<'a>) -> MessageFact<'a> {
    MessageFact {
        app: app(row),
        conversation: conversation(row),
        chat: chat(row),
        message: MessageId::trusted(row.text("message")),
        sent_at: time(row, "sent_at"),
        sender: UserId::trusted(row.text("sender")),
        to: row.text("recipient"),
        status: named(STATUSES, |status| status.outcome().name(), row.text("status")),
        validity_millis: row.number("validity_ms"),
        reader_cap: row.number("reader_cap") as u32,
        quota_day: row.optional_number("quota_day").map(|days| QuotaDay::from_days(days as i32)),
        audience: row.optional_number("audience").map(|audience| audience as u32),
        erasures: row.number("erasures") as u32,
        position: position(row),
    }
}

fn receipt<'a>(row: &Columns<'a>) -> ReceiptFact<'a> {
    ReceiptFact {
        app: app(row),
        conversation: conversation(row),
        message: MessageId::trusted(row.text("message")),
        sent_at: time(row, "sent_at"),
        kind: named(KINDS, ReceiptKind::name, row.text("kind")),
        reader: UserId::trusted(row.text("reader")),
        at: time(row, "at"),
        ack_id: AckId::trusted(row.text("ack_id")),
        content: row.optional_text("content"),
        erasures: row.number("erasures") as u32,
        position: position(row),
    }
}

fn recall<'a>(row: &Columns<'a>) -> RecallFact<'a> {
    RecallFact {
        app: app(row),
        conversation: conversation(row),
        message: MessageId::trusted(row.text("message")),
        sent_at: time(row, "sent_at"),
        recalled_by: UserId::trusted(row.text("recalled_by")),
        at: time(row, "at"),
        recall_id: AckId::trusted(row.text("recall_id")),
        erasures: row.number("erasures") as u32,
        position: position(row),
    }
}

fn mark<'a>(row: &Columns<'a>) -> MarkFact<'a> {
    MarkFact {
        app: app(row),
        conversation: conversation(row),
        chat: chat(row),
        reader: UserId::trusted(row.text("reader")),
        at: time(row, "at"),
        ack_id: AckId::trusted(row.text("ack_id")),
        position: position(row),
    }
}

fn parked<'a>(row: &Columns<'a>) -> ParkedFact<'a> {
    let message = MessageId::trusted(row.text("message"));
    let body = match EventType::from_name(row.text("type")) {
        Some(EventType::Delivered) => Body::Delivered { message },
        Some(EventType::Read) => Body::Read { message, content: row.optional_text("content") },
        Some(EventType::Recall) => Body::Recall { message },
        other => panic!("{other:?} waits"),
    };
    let event = Event {
        app: app(row),
        chat: chat(row),
        id: AckId::trusted(row.text("event_id")),
        from: UserId::trusted(row.text("user")),
        to: row.text("recipient"),
        at: time(row, "at"),
        body,
    };
    ParkedFact { event, conversation: conversation(row), deadline: time(row, "deadline"), position: position(row) }
}

/// The latest totals of every cell of outcomes before an offset: ledger_totals.sql.
pub fn outcome_totals(ledger: &[Row], until: Offset) -> BTreeMap<Cell<'_>, u64> {
    let mut latest: BTreeMap<Cell<'_>, (Offset, u64)> = BTreeMap::new();
    for row in ledger.iter().map(|row| Columns::of(Table::Ledger, row)) {
        let (cell, as_of) = (cell_of(&row), next_offset(&row));
        if Outcome::from_name(cell.outcome).is_some() && as_of <= until {
            let total = (as_of, row.number("total") as u64);
            let last = latest.entry(cell).or_default();
            *last = total.max(*last);
        }
    }
    latest.into_iter().map(|(cell, (_, total))| (cell, total)).collect()
}
