//! Rows about users in front of their erasures: they may be gone, and what is left of them is no mistake.

use std::collections::HashSet;

use foldhash::fast::FixedState;

use crate::event::Conversation;
use crate::store::{Erasure, Table, TableRows, number_of, value_of};

/// The erasures that workers have met, and the group messages that erased users sent, as far as they were folded.
#[derive(Debug, Default)]
pub(super) struct Forgotten {
    erasures: Vec<Erasure>,
    /// By conversation, message and time of sending, as they are encoded.
    sent: HashSet<Vec<u8>, FixedState>,
}

/// Columns that name a message.
const MESSAGE: [&str; 3] = ["conversation", "message", "sent_at"];

impl Forgotten {
    /// From here on these are known.
    pub(super) fn know(&mut self, erasures: Vec<Erasure>) {
        self.erasures = erasures;
    }

    /// Notes which of the messages that the fold gave are gone with their senders: what others said of them is, too.
    pub(super) fn note_messages(&mut self, rows: &TableRows) {
        if self.erasures.is_empty() {
            return;
        }
        let his = rows.iter().filter(|row| self.is_about_user(Table::Messages, row));
        let names: Vec<Vec<u8>> = his.map(|row| message_of(Table::Messages, row)).collect();
        self.sent.extend(names);
    }

    /// Whether a row that the fold gave may be gone, or without a name.
    pub(super) fn may_be_gone(&self, table: Table, row: &[u8]) -> bool {
        let is_about_message = matches!(table, Table::Receipts | Table::Recalls);
        !self.erasures.is_empty()
            && (self.is_about_user(table, row)
                || (is_about_message && self.sent.contains(&message_of(table, row)) && self.is_in_front(table, row)))
    }

    /// Whether a row is in front of any erasure of its app.
    fn is_in_front(&self, table: Table, row: &[u8]) -> bool {
        let app = text(table, row, "app");
        self.erasures.iter().any(|erasure| erasure.app == app && is_in_front_of(erasure, table, row))
    }

    fn is_about_user(&self, table: Table, row: &[u8]) -> bool {
        let column = match table {
            Table::Messages | Table::MessageCounts | Table::SenderCounts => "sender",
            Table::Receipts | Table::Marks => "reader",
            Table::Recalls => "recalled_by",
            Table::RosterChanges | Table::Parked | Table::Settlements | Table::Rejections => "user",
            Table::Policies | Table::Ledger => return false,
        };
        let app = text(table, row, "app");
        let user = text(table, row, column);
        let conversation = text(table, row, "conversation");
        let is_side = |erased: &str| match Conversation::parse(&conversation) {
            Some(Conversation::Single { first, second, .. }) => first.as_str() == erased || second.as_str() == erased,
            _ => false,
        };
        self.erasures.iter().any(|erasure| {
            let is_his = app == erasure.app && (user == erasure.user || is_side(&erasure.user));
            (is_his || (table == Table::Rejections && is_named_in(erasure, &app, row)))
                && is_in_front_of(erasure, table, row)
        })
    }
}

/// Whether the value of a refused record names the user, as the sweep looks for him.
fn is_named_in(erasure: &Erasure, app: &str, row: &[u8]) -> bool {
    let value = text(Table::Rejections, row, "value");
    let names = |text: &str| value.contains(&serde_json::Value::from(text).to_string());
    (app == erasure.app || (app.is_empty() && names(&erasure.app))) && names(&erasure.user)
}

/// Whether the record of a row stands in front of the erasure.
fn is_in_front_of(erasure: &Erasure, table: Table, row: &[u8]) -> bool {
    let own_or = |own: &str, other: &str| {
        let has_own = table.columns().iter().any(|column| column.name() == own);
        number_of(table.columns(), row, if has_own { own } else { other })
    };
    let epoch = own_or("own_epoch", "epoch");
    let partition = own_or("own_partition", "partition");
    let offset = own_or("own_offset", "offset");
    let is_before = |(copy, at): &(crate::event::PartitionId, crate::event::Offset)| {
        u64::from(copy.get()) == partition && offset < at.get()
    };
    let erased_in = u64::from(erasure.epoch.get());
    epoch < erased_in || (epoch == erased_in && erasure.copies.iter().any(is_before))
}

fn message_of(table: Table, row: &[u8]) -> Vec<u8> {
    let values = MESSAGE.map(|name| value_of(table.columns(), row, name).map_or(&[][..], |value| value.encoded));
    values.concat()
}

fn text(table: Table, row: &[u8], name: &str) -> String {
    value_of(table.columns(), row, name).map_or(String::new(), |value| value.show().into_owned())
}
