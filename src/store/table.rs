//! The tables that rows are written to. The definitions stand in `schemas/clickhouse`.

use super::column::Column;
use super::columns;

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
    /// What messages, receipts and recalls say, found by message.
    MessageFacts,
    /// Running totals: written last, so that its frontier says how far answers are complete.
    Ledger,
}

impl Table {
    /// Every table, the ledger last.
    pub const ALL: [Self; 13] = [
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
        Self::MessageFacts,
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
            Self::MessageFacts => "message_facts",
            Self::Ledger => "ledger",
        }
    }

    /// Its columns in the order in which rows are encoded.
    pub const fn columns(self) -> &'static [Column] {
        match self {
            Self::Messages => columns::MESSAGES,
            Self::Receipts => columns::RECEIPTS,
            Self::Recalls => columns::RECALLS,
            Self::RosterChanges => columns::ROSTER_CHANGES,
            Self::Marks => columns::MARKS,
            Self::Parked => columns::PARKED,
            Self::Settlements => columns::SETTLEMENTS,
            Self::Policies => columns::POLICIES,
            Self::Rejections => columns::REJECTIONS,
            Self::MessageCounts => columns::MESSAGE_COUNTS,
            Self::SenderCounts => columns::SENDER_COUNTS,
            Self::MessageFacts => columns::MESSAGE_FACTS,
            Self::Ledger => columns::LEDGER,
        }
    }

    /// The insert whose body are rows in RowBinary.
    pub fn insert(self) -> String {
        format!("INSERT INTO {} ({}) FORMAT RowBinary", self.name(), self.column_list())
    }

    /// A select of rows as they were encoded, in RowBinary; what is asked for of them is to follow.
    pub(super) fn select(self) -> String {
        format!("SELECT {} FROM {}", self.column_list(), self.name())
    }

    fn column_list(self) -> String {
        let names: Vec<&str> = self.columns().iter().map(Column::name).collect();
        names.join(", ")
    }
}
