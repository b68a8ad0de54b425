//! The tables that rows are written to, with the columns an insert names. The definitions stand in `schemas/clickhouse`.

/// A table that a flush writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Messages accepted.
    Messages,
    /// Receipts that count.
    Receipts,
    /// Messages taken back.
    Recalls,
    /// Rosters and changes of members.
    RosterChanges,
    /// Applied conversation reads.
    Marks,
    /// Records that wait for their message.
    Parked,
    /// Ends of waits.
    Settlements,
    /// Control records applied.
    Policies,
    /// Refused records.
    Rejections,
    /// Counts, found by message.
    MessageCounts,
    /// Counts, found by sender.
    SenderCounts,
    /// Running totals: written last, so that its frontier says how far answers are complete.
    Ledger,
}

impl Table {
    /// Every table, the ledger last.
    pub const ALL: [Self; 12] = [
        Self::Messages,
        Self::Receipts,
        Self::Recalls,
        Self::RosterChanges,
        Self::Marks,
        Self::Parked,
        Self::Settlements,
        Self::Policies,
        Self::Rejections,
        Self::MessageCounts,
        Self::SenderCounts,
        Self::Ledger,
    ];

    /// Its name in ClickHouse.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Receipts => "receipts",
            Self::Recalls => "recalls",
            Self::RosterChanges => "roster_changes",
            Self::Marks => "marks",
            Self::Parked => "parked",
            Self::Settlements => "settlements",
            Self::Policies => "policies",
            Self::Rejections => "rejections",
            Self::MessageCounts => "message_counts",
            Self::SenderCounts => "sender_counts",
            Self::Ledger => "ledger",
        }
    }

    /// The insert whose body are rows in RowBinary; [`super::RowBatch`] encodes the columns in this order.
    pub const fn insert(self) -> &'static str {
        match self {
            Self::Messages => {
                "INSERT INTO messages (app, conversation, message, sent_at, chat, sender, recipient, status, \
                 validity_ms, reader_cap, quota_day, audience, epoch, partition, offset, own_offset, record_time) \
                 FORMAT RowBinary"
            }
            Self::Receipts => {
                "INSERT INTO receipts (app, conversation, message, sent_at, kind, reader, at, ack_id, content, \
                 own_epoch, own_partition, epoch, partition, offset, own_offset, record_time) FORMAT RowBinary"
            }
            Self::Recalls => {
                "INSERT INTO recalls (app, conversation, message, sent_at, recalled_by, at, recall_id, \
                 own_epoch, own_partition, epoch, partition, offset, own_offset, record_time) FORMAT RowBinary"
            }
            Self::RosterChanges => {
                "INSERT INTO roster_changes (app, conversation, user, change, role, at, joined_at, \
                 epoch, partition, offset, own_offset, record_time) FORMAT RowBinary"
            }
            Self::Marks => {
                "INSERT INTO marks (app, conversation, chat, reader, at, ack_id, \
                 epoch, partition, offset, own_offset, record_time) FORMAT RowBinary"
            }
            Self::Parked => {
                "INSERT INTO parked (app, conversation, type, chat, message, user, recipient, event_id, at, content, \
                 deadline, own_epoch, own_partition, epoch, partition, offset, own_offset, record_time) FORMAT RowBinary"
            }
            Self::Settlements => {
                "INSERT INTO settlements (app, conversation, type, chat, message, user, recipient, event_id, at, \
                 content, outcome, own_epoch, own_partition, epoch, partition, offset, own_offset, record_time) FORMAT RowBinary"
            }
            Self::Policies => {
                "INSERT INTO policies (app, type, version, effective_from, policy, user, \
                 epoch, partition, offset, own_offset, record_time) FORMAT RowBinary"
            }
            Self::Rejections => {
                "INSERT INTO rejections (app, conversation, type, outcome, words, code, detail, user, at, settled, \
                 key, key_bytes, key_sha256, value, value_bytes, value_sha256, \
                 own_epoch, own_partition, epoch, partition, offset, own_offset, record_time) FORMAT RowBinary"
            }
            Self::MessageCounts => {
                "INSERT INTO message_counts (app, conversation, message, sent_at, chat, sender, distinct_readers, \
                 retained_readers, delivered, epoch, partition, offset) FORMAT RowBinary"
            }
            Self::SenderCounts => {
                "INSERT INTO sender_counts (app, conversation, message, sent_at, chat, sender, distinct_readers, \
                 retained_readers, delivered, epoch, partition, offset) FORMAT RowBinary"
            }
            Self::Ledger => {
                "INSERT INTO ledger (epoch, topic, partition, partitions, app, type, outcome, measure, hour, \
                 next_offset, total, buckets, bucket_totals) FORMAT RowBinary"
            }
        }
    }
}
