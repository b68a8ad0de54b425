//! Rows as they are read back, and the facts they are.

use clickhouse::Row;
use serde::Deserialize;

use super::super::StoreError;
use super::super::enums::Enum8;
use crate::event::{
    AckId, AppId, Body, ConversationKey, Epoch, Event, EventTime, EventType, MessageId, Offset, PartitionId,
    RecordTime, UserId,
};
use crate::fold::fact::{
    ControlFact, LedgerFact, MarkFact, MessageFact, ParkedFact, Position, RecallFact, ReceiptFact, RosterFact,
};
use crate::policy::{PolicyVersion, QuotaDay};

/// What routes a row to its partition's state.
pub(super) trait FactRow {
    /// The table it is read from.
    const TABLE: &'static str;
    /// The generation it was written in.
    fn epoch(&self) -> u16;
    /// The partition of the current epoch that it belongs to.
    fn home(&self) -> u32;
}

macro_rules! fact_row {
    // The record stands where the row was written.
    ($row:ident of $table:literal) => {
        fact_row!($row of $table, own epoch epoch, own partition partition);
    };
    // The record may have waited since another generation.
    ($row:ident of $table:literal with own place) => {
        fact_row!($row of $table, own epoch own_epoch, own partition own_partition);
    };
    ($row:ident of $table:literal, own epoch $own_epoch:ident, own partition $own_partition:ident) => {
        impl FactRow for $row<'_> {
            const TABLE: &'static str = $table;

            fn epoch(&self) -> u16 {
                self.epoch
            }

            fn home(&self) -> u32 {
                self.home
            }
        }

        impl $row<'_> {
            fn position(&self) -> Position {
                Position {
                    offset: Offset::new(self.offset),
                    own_offset: Offset::new(self.own_offset),
                    own_partition: PartitionId::new(self.$own_partition),
                    own_epoch: Epoch::new(self.$own_epoch),
                    record_time: RecordTime::from_millis(self.record_time),
                }
            }
        }
    };
}

#[derive(Row, Deserialize)]
pub(super) struct MessageRow<'a> {
    app: &'a str,
    conversation: &'a str,
    message: &'a str,
    sent_at: i64,
    erasures: u32,
    chat: i8,
    sender: &'a str,
    recipient: &'a str,
    status: i8,
    validity_ms: u64,
    reader_cap: u32,
    quota_day: Option<i32>,
    audience: Option<u32>,
    epoch: u16,
    partition: u32,
    offset: u64,
    own_offset: u64,
    record_time: i64,
    home: u32,
}
fact_row!(MessageRow of "messages");

impl MessageRow<'_> {
    pub(super) fn fact(&self) -> Result<MessageFact<'_>, StoreError> {
        Ok(MessageFact {
            app: AppId::trusted(self.app),
            conversation: ConversationKey::trusted(self.conversation),
            chat: variant(Self::TABLE, self.chat)?,
            message: MessageId::trusted(self.message),
            sent_at: EventTime::from_millis(self.sent_at),
            sender: UserId::trusted(self.sender),
            to: self.recipient,
            status: variant(Self::TABLE, self.status)?,
            validity_millis: i64::try_from(self.validity_ms).unwrap_or(i64::MAX),
            reader_cap: self.reader_cap,
            quota_day: self.quota_day.map(QuotaDay::from_days),
            audience: self.audience,
            erasures: self.erasures,
            position: self.position(),
        })
    }
}

#[derive(Row, Deserialize)]
pub(super) struct ReceiptRow<'a> {
    app: &'a str,
    conversation: &'a str,
    message: &'a str,
    sent_at: i64,
    kind: i8,
    reader: &'a str,
    erasures: u32,
    at: i64,
    ack_id: &'a str,
    content: Option<&'a str>,
    own_epoch: u16,
    own_partition: u32,
    epoch: u16,
    offset: u64,
    own_offset: u64,
    record_time: i64,
    home: u32,
}
fact_row!(ReceiptRow of "receipts" with own place);

impl ReceiptRow<'_> {
    pub(super) fn fact(&self) -> Result<ReceiptFact<'_>, StoreError> {
        Ok(ReceiptFact {
            app: AppId::trusted(self.app),
            conversation: ConversationKey::trusted(self.conversation),
            message: MessageId::trusted(self.message),
            sent_at: EventTime::from_millis(self.sent_at),
            kind: variant(Self::TABLE, self.kind)?,
            reader: UserId::trusted(self.reader),
            at: EventTime::from_millis(self.at),
            ack_id: AckId::trusted(self.ack_id),
            content: self.content,
            erasures: self.erasures,
            position: self.position(),
        })
    }
}

#[derive(Row, Deserialize)]
pub(super) struct RecallRow<'a> {
    app: &'a str,
    conversation: &'a str,
    message: &'a str,
    sent_at: i64,
    erasures: u32,
    recalled_by: &'a str,
    at: i64,
    recall_id: &'a str,
    own_epoch: u16,
    own_partition: u32,
    epoch: u16,
    offset: u64,
    own_offset: u64,
    record_time: i64,
    home: u32,
}
fact_row!(RecallRow of "recalls" with own place);

impl RecallRow<'_> {
    pub(super) fn fact(&self) -> Result<RecallFact<'_>, StoreError> {
        Ok(RecallFact {
            app: AppId::trusted(self.app),
            conversation: ConversationKey::trusted(self.conversation),
            message: MessageId::trusted(self.message),
            sent_at: EventTime::from_millis(self.sent_at),
            recalled_by: UserId::trusted(self.recalled_by),
            at: EventTime::from_millis(self.at),
            recall_id: AckId::trusted(self.recall_id),
            erasures: self.erasures,
            position: self.position(),
        })
    }
}

#[derive(Row, Deserialize)]
pub(super) struct RosterRow<'a> {
    app: &'a str,
    conversation: &'a str,
    user: &'a str,
    home: u32,
    change: i8,
    role: Option<i8>,
    at: i64,
    joined_at: Option<i64>,
    epoch: u16,
    partition: u32,
    offset: u64,
    own_offset: u64,
    record_time: i64,
}
fact_row!(RosterRow of "roster_changes");

impl RosterRow<'_> {
    pub(super) fn fact(&self) -> Result<RosterFact<'_>, StoreError> {
        Ok(RosterFact {
            app: AppId::trusted(self.app),
            conversation: ConversationKey::trusted(self.conversation),
            change: variant(Self::TABLE, self.change)?,
            user: Some(self.user).filter(|user| !user.is_empty()).map(UserId::trusted),
            role: self.role.map(|role| variant(Self::TABLE, role)).transpose()?,
            at: EventTime::from_millis(self.at),
            joined_at: self.joined_at.map(EventTime::from_millis),
            position: self.position(),
        })
    }
}

#[derive(Row, Deserialize)]
pub(super) struct MarkRow<'a> {
    app: &'a str,
    conversation: &'a str,
    chat: i8,
    reader: &'a str,
    at: i64,
    ack_id: &'a str,
    epoch: u16,
    partition: u32,
    offset: u64,
    own_offset: u64,
    record_time: i64,
    home: u32,
}
fact_row!(MarkRow of "marks");

impl MarkRow<'_> {
    pub(super) fn fact(&self) -> Result<MarkFact<'_>, StoreError> {
        Ok(MarkFact {
            app: AppId::trusted(self.app),
            conversation: ConversationKey::trusted(self.conversation),
            chat: variant(Self::TABLE, self.chat)?,
            reader: UserId::trusted(self.reader),
            at: EventTime::from_millis(self.at),
            ack_id: AckId::trusted(self.ack_id),
            position: self.position(),
        })
    }
}

#[derive(Row, Deserialize)]
pub(super) struct ParkedRow<'a> {
    app: &'a str,
    conversation: &'a str,
    #[serde(rename = "type")]
    waiting: i8,
    chat: i8,
    message: &'a str,
    user: &'a str,
    recipient: &'a str,
    event_id: &'a str,
    at: i64,
    content: Option<&'a str>,
    deadline: i64,
    own_epoch: u16,
    own_partition: u32,
    epoch: u16,
    offset: u64,
    own_offset: u64,
    record_time: i64,
    home: u32,
}
fact_row!(ParkedRow of "parked" with own place);

impl ParkedRow<'_> {
    pub(super) fn fact(&self) -> Result<ParkedFact<'_>, StoreError> {
        let message = MessageId::trusted(self.message);
        let body = match variant(Self::TABLE, self.waiting)? {
            EventType::Delivered => Body::Delivered { message },
            EventType::Read => Body::Read { message, content: self.content },
            EventType::Recall => Body::Recall { message },
            other => return Err(unreadable(Self::TABLE, format!("a record of type {} waits", other.name()))),
        };
        Ok(ParkedFact {
            event: Event {
                app: AppId::trusted(self.app),
                chat: variant(Self::TABLE, self.chat)?,
                id: AckId::trusted(self.event_id),
                from: UserId::trusted(self.user),
                to: self.recipient,
                at: EventTime::from_millis(self.at),
                body,
            },
            conversation: ConversationKey::trusted(self.conversation),
            deadline: EventTime::from_millis(self.deadline),
            position: self.position(),
        })
    }
}

#[derive(Row, Deserialize)]
pub(super) struct PolicyRow<'a> {
    app: &'a str,
    #[serde(rename = "type")]
    control: i8,
    version: u64,
    effective_from: Option<i64>,
    policy: &'a str,
    user: &'a str,
    epoch: u16,
    /// The partition of the row's own epoch.
    partition: u32,
    offset: u64,
    own_offset: u64,
    record_time: i64,
}

impl PolicyRow<'_> {
    pub(super) const TABLE: &'static str = "policies";

    pub(super) fn epoch(&self) -> u16 {
        self.epoch
    }

    pub(super) fn partition(&self) -> u32 {
        self.partition
    }

    pub(super) fn position(&self) -> Position {
        Position {
            offset: Offset::new(self.offset),
            own_offset: Offset::new(self.own_offset),
            own_partition: PartitionId::new(self.partition),
            own_epoch: Epoch::new(self.epoch),
            record_time: RecordTime::from_millis(self.record_time),
        }
    }

    /// The version of a policy; `None` for an erasure.
    pub(super) fn policy_version(&self) -> Result<Option<PolicyVersion>, StoreError> {
        if variant::<EventType>(Self::TABLE, self.control)? != EventType::Policy {
            return Ok(None);
        }
        let policy = serde_json::from_str(self.policy)
            .map_err(|error| unreadable(Self::TABLE, format!("version {} of {}: {error}", self.version, self.app)))?;
        // An absent effective_from means the version, but is written out by whoever decodes the record.
        let effective_from = self.effective_from.unwrap_or(i64::try_from(self.version).unwrap_or(i64::MAX));
        Ok(Some(PolicyVersion {
            app: self.app.to_owned(),
            version: self.version,
            effective_from: EventTime::from_millis(effective_from),
            policy,
        }))
    }

    /// The order to forget a user.
    pub(super) fn erasure(&self) -> ControlFact<'_> {
        ControlFact::Erase { app: AppId::trusted(self.app), version: self.version, user: UserId::trusted(self.user) }
    }
}

#[derive(Row, Deserialize)]
pub(super) struct LedgerRow {
    pub(super) partition: u32,
    app: String,
    #[serde(rename = "type")]
    event_type: String,
    measure: i8,
    outcome: String,
    hour: i64,
    next_offset: u64,
    total: u64,
    buckets: Vec<u16>,
    bucket_totals: Vec<u64>,
}

impl LedgerRow {
    pub(super) const TABLE: &'static str = "ledger";

    /// The buckets of a delays cell with their totals.
    pub(super) fn histogram(&self) -> Vec<(u16, u64)> {
        self.buckets.iter().copied().zip(self.bucket_totals.iter().copied()).collect()
    }

    pub(super) fn fact<'a>(&'a self, histogram: &'a [(u16, u64)]) -> Result<LedgerFact<'a>, StoreError> {
        Ok(LedgerFact {
            app: &self.app,
            event_type: &self.event_type,
            measure: variant(Self::TABLE, self.measure)?,
            outcome: &self.outcome,
            hour: RecordTime::from_millis(self.hour),
            total: self.total,
            buckets: histogram,
            next_offset: Offset::new(self.next_offset),
        })
    }
}

fn variant<E: Enum8>(table: &'static str, number: i8) -> Result<E, StoreError> {
    E::from_number(number).ok_or_else(|| unreadable(table, format!("{number} is no {}", std::any::type_name::<E>())))
}

fn unreadable(table: &'static str, reason: String) -> StoreError {
    StoreError::Unreadable { table, reason }
}
