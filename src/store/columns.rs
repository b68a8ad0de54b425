//! The columns of every table in the order in which rows are encoded: one list for inserting and for reading back.

use super::column::ColumnKind::{
    Bool, Date32, DateTime64, Enum8, String, UInt16, UInt16Array, UInt32, UInt64, UInt64Array,
};
use super::column::{Column, ColumnKind};
use super::enums::Enum8 as _;
use crate::event::{Chat, EventType, Role};
use crate::fold::fact::{Measure, MessageStatus, ReceiptKind, RosterChange};

const CHAT: ColumnKind = Enum8(Chat::name_of);
const WAITING: ColumnKind = Enum8(EventType::name_of);

pub(super) const MESSAGES: &[Column] = &[
    Column::key("app", String),
    Column::key("conversation", String),
    Column::key("message", String),
    Column::key("sent_at", DateTime64),
    Column::key("erasures", UInt32),
    Column::plain("chat", CHAT),
    Column::plain("sender", String),
    Column::plain("recipient", String),
    Column::plain("status", Enum8(MessageStatus::name_of)),
    Column::plain("validity_ms", UInt64),
    Column::plain("reader_cap", UInt32),
    Column::nullable("quota_day", Date32),
    Column::nullable("audience", UInt32),
    Column::naming("epoch", UInt16),
    Column::naming("partition", UInt32),
    Column::naming("offset", UInt64),
    Column::plain("own_offset", UInt64),
    Column::plain("record_time", DateTime64),
];

pub(super) const RECEIPTS: &[Column] = &[
    Column::key("app", String),
    Column::key("conversation", String),
    Column::key("message", String),
    Column::key("sent_at", DateTime64),
    Column::key("kind", Enum8(ReceiptKind::name_of)),
    Column::key("reader", String),
    Column::key("erasures", UInt32),
    Column::plain("at", DateTime64),
    Column::plain("ack_id", String),
    Column::nullable("content", String),
    Column::plain("own_epoch", UInt16),
    Column::plain("own_partition", UInt32),
    Column::naming("epoch", UInt16),
    Column::naming("partition", UInt32),
    Column::naming("offset", UInt64),
    Column::plain("own_offset", UInt64),
    Column::plain("record_time", DateTime64),
];

pub(super) const RECALLS: &[Column] = &[
    Column::key("app", String),
    Column::key("conversation", String),
    Column::key("message", String),
    Column::key("sent_at", DateTime64),
    Column::key("erasures", UInt32),
    Column::plain("recalled_by", String),
    Column::plain("at", DateTime64),
    Column::plain("recall_id", String),
    Column::plain("own_epoch", UInt16),
    Column::plain("own_partition", UInt32),
    Column::naming("epoch", UInt16),
    Column::naming("partition", UInt32),
    Column::naming("offset", UInt64),
    Column::plain("own_offset", UInt64),
    Column::plain("record_time", DateTime64),
];

pub(super) const ROSTER_CHANGES: &[Column] = &[
    Column::key("app", String),
    Column::key("conversation", String),
    Column::key("user", String),
    Column::plain("change", Enum8(RosterChange::name_of)),
    Column::nullable("role", Enum8(Role::name_of)),
    Column::plain("at", DateTime64),
    Column::nullable("joined_at", DateTime64),
    Column::key("epoch", UInt16),
    Column::key("partition", UInt32),
    Column::key("offset", UInt64),
    Column::key("own_offset", UInt64),
    Column::plain("record_time", DateTime64),
];

pub(super) const MARKS: &[Column] = &[
    Column::key("app", String),
    Column::key("conversation", String),
    Column::plain("chat", CHAT),
    Column::naming("reader", String),
    Column::plain("at", DateTime64),
    Column::plain("ack_id", String),
    Column::key("epoch", UInt16),
    Column::key("partition", UInt32),
    Column::key("offset", UInt64),
    Column::key("own_offset", UInt64),
    Column::plain("record_time", DateTime64),
];

pub(super) const PARKED: &[Column] = &[
    Column::key("app", String),
    Column::key("conversation", String),
    Column::naming("type", WAITING),
    Column::plain("chat", CHAT),
    Column::naming("message", String),
    Column::naming("user", String),
    Column::plain("recipient", String),
    Column::plain("event_id", String),
    Column::plain("at", DateTime64),
    Column::nullable("content", String),
    Column::plain("deadline", DateTime64),
    Column::plain("own_epoch", UInt16),
    Column::plain("own_partition", UInt32),
    Column::key("epoch", UInt16),
    Column::key("partition", UInt32),
    Column::key("offset", UInt64),
    Column::key("own_offset", UInt64),
    Column::plain("record_time", DateTime64),
];

pub(super) const SETTLEMENTS: &[Column] = &[
    Column::key("app", String),
    Column::key("conversation", String),
    Column::naming("type", WAITING),
    Column::plain("chat", CHAT),
    Column::naming("message", String),
    Column::naming("user", String),
    Column::plain("recipient", String),
    Column::plain("event_id", String),
    Column::plain("at", DateTime64),
    Column::nullable("content", String),
    Column::plain("outcome", String),
    Column::key("own_epoch", UInt16),
    Column::key("own_partition", UInt32),
    Column::key("epoch", UInt16),
    Column::key("partition", UInt32),
    Column::key("offset", UInt64),
    Column::key("own_offset", UInt64),
    Column::plain("record_time", DateTime64),
];

pub(super) const POLICIES: &[Column] = &[
    Column::key("app", String),
    Column::naming("type", WAITING),
    Column::naming("version", UInt64),
    Column::nullable("effective_from", DateTime64),
    Column::plain("policy", String),
    Column::plain("user", String),
    Column::key("epoch", UInt16),
    Column::key("partition", UInt32),
    Column::key("offset", UInt64),
    Column::key("own_offset", UInt64),
    Column::plain("record_time", DateTime64),
];

pub(super) const REJECTIONS: &[Column] = &[
    Column::key("app", String),
    Column::key("conversation", String),
    Column::plain("type", String),
    Column::naming("outcome", String),
    Column::plain("words", String),
    Column::plain("code", UInt16),
    Column::plain("detail", String),
    Column::naming("user", String),
    Column::nullable("at", DateTime64),
    Column::plain("settled", Bool),
    Column::nullable("key", String),
    Column::plain("key_bytes", UInt64),
    Column::plain("key_sha256", String),
    Column::plain("value", String),
    Column::plain("value_bytes", UInt64),
    Column::plain("value_sha256", String),
    Column::key("own_epoch", UInt16),
    Column::key("own_partition", UInt32),
    Column::key("epoch", UInt16),
    Column::key("partition", UInt32),
    Column::key("offset", UInt64),
    Column::key("own_offset", UInt64),
    Column::plain("record_time", DateTime64),
];

pub(super) const MESSAGE_COUNTS: &[Column] = &[
    Column::key("app", String),
    Column::key("conversation", String),
    Column::key("message", String),
    Column::key("sent_at", DateTime64),
    Column::plain("chat", CHAT),
    Column::plain("sender", String),
    Column::plain("distinct_readers", UInt32),
    Column::plain("retained_readers", UInt32),
    Column::plain("delivered", UInt32),
    Column::naming("epoch", UInt16),
    Column::naming("partition", UInt32),
    Column::naming("offset", UInt64),
];

pub(super) const SENDER_COUNTS: &[Column] = &[
    Column::key("app", String),
    Column::key("conversation", String),
    Column::key("message", String),
    Column::key("sent_at", DateTime64),
    Column::plain("chat", CHAT),
    Column::key("sender", String),
    Column::plain("distinct_readers", UInt32),
    Column::plain("retained_readers", UInt32),
    Column::plain("delivered", UInt32),
    Column::naming("epoch", UInt16),
    Column::naming("partition", UInt32),
    Column::naming("offset", UInt64),
];

pub(super) const MESSAGE_FACTS: &[Column] = &[
    Column::key("key", UInt64),
    Column::key("fact", String),
    Column::plain("own_epoch", UInt16),
    Column::plain("own_partition", UInt32),
    Column::naming("epoch", UInt16),
    Column::naming("partition", UInt32),
    Column::naming("offset", UInt64),
    Column::plain("own_offset", UInt64),
];

pub(super) const LEDGER: &[Column] = &[
    Column::key("epoch", UInt16),
    Column::key("topic", String),
    Column::key("partition", UInt32),
    Column::plain("partitions", UInt32),
    Column::key("app", String),
    Column::key("type", String),
    Column::key("outcome", String),
    Column::key("measure", Enum8(Measure::name_of)),
    Column::key("hour", DateTime64),
    Column::key("next_offset", UInt64),
    Column::plain("total", UInt64),
    Column::plain("buckets", UInt16Array),
    Column::plain("bucket_totals", UInt64Array),
];
