//! Rows about users in front of their erasures: they may be gone, and what is left of them is no mistake.

use std::collections::HashSet;

use foldhash::fast::FixedState;

use crate::event::{Conversation, Offset, PartitionId};
use crate::store::{Erasure, FactText, Table, TableRows, number_of, value_of};

/// The erasures that workers have met, and the group messages that erased users sent, as far as they were folded.
#[derive(Debug, Default)]
pub(super) struct Forgotten {
    erasures: Vec<Erasure>,
    sent: HashSet<NamedMessage, FixedState>,
}

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
        let subjects = rows.iter().map(|row| Subject::of(Table::Messages, row));
        let his: Vec<NamedMessage> =
            subjects.filter(|subject| self.is_about_user(subject)).map(|subject| subject.message).collect();
        self.sent.extend(his);
    }

    /// Whether a row that the fold gave may be gone, or without a name.
    pub(super) fn may_be_gone(&self, table: Table, row: &[u8]) -> bool {
        if self.erasures.is_empty() || matches!(table, Table::Policies | Table::Ledger) {
            return false;
        }
        let subject = Subject::of(table, row);
        let is_about_message = matches!(table, Table::Receipts | Table::Recalls | Table::MessageFacts);
        self.is_about_user(&subject)
            || (table == Table::Rejections && self.is_named_in(&subject, row))
            || (is_about_message && self.sent.contains(&subject.message) && self.is_in_front(&subject))
    }

    /// Whether a row is in front of any erasure of its app.
    fn is_in_front(&self, subject: &Subject) -> bool {
        self.erasures.iter().any(|erasure| erasure.app == subject.app && subject.is_in_front_of(erasure))
    }

    /// Whether a row is of an erased user, or of a chat with him, and in front of his erasure.
    fn is_about_user(&self, subject: &Subject) -> bool {
        let is_side = |erased: &str| match Conversation::parse(&subject.message.conversation) {
            Some(Conversation::Single { first, second, .. }) => first.as_str() == erased || second.as_str() == erased,
            _ => false,
        };
        self.erasures.iter().any(|erasure| {
            subject.app == erasure.app
                && (subject.user == erasure.user || is_side(&erasure.user))
                && subject.is_in_front_of(erasure)
        })
    }

    /// Whether the value of a refused record names an erased user, as the sweep looks for him.
    fn is_named_in(&self, subject: &Subject, row: &[u8]) -> bool {
        let value = text(Table::Rejections, row, "value");
        let names = |text: &str| value.contains(&serde_json::Value::from(text).to_string());
        self.erasures.iter().any(|erasure| {
            let is_of_app = subject.app == erasure.app || (subject.app.is_empty() && names(&erasure.app));
            is_of_app && names(&erasure.user) && subject.is_in_front_of(erasure)
        })
    }
}

/// One life of a message.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
struct NamedMessage {
    conversation: String,
    message: String,
    sent_at: i64,
}

/// Whom and what a row is about; what it does not name is empty.
#[derive(Debug, Default)]
struct Subject {
    app: String,
    user: String,
    message: NamedMessage,
    /// Generation, partition and offset of its record.
    record: (u64, u64, u64),
}

impl Subject {
    fn of(table: Table, row: &[u8]) -> Self {
        let has = |name: &str| table.columns().iter().any(|column| column.name() == name);
        let own_or = |own: &str, other: &str| number_of(table.columns(), row, if has(own) { own } else { other });
        let record =
            (own_or("own_epoch", "epoch"), own_or("own_partition", "partition"), own_or("own_offset", "offset"));
        if table == Table::MessageFacts {
            return Self::of_fact(&text(table, row, "fact"), record);
        }
        let user = match table {
            Table::Messages | Table::MessageCounts | Table::SenderCounts => "sender",
            Table::Receipts | Table::Marks => "reader",
            Table::Recalls => "recalled_by",
            _ => "user",
        };
        Self {
            app: text(table, row, "app"),
            user: text(table, row, user),
            message: NamedMessage {
                conversation: text(table, row, "conversation"),
                message: text(table, row, "message"),
                sent_at: number_of(table.columns(), row, "sent_at").cast_signed(),
            },
            record,
        }
    }

    /// Of a text that is none, whatever is named is empty.
    fn of_fact(text: &str, record: (u64, u64, u64)) -> Self {
        let Some(fact) = FactText::parse(text) else { return Self { record, ..Self::default() } };
        Self {
            app: fact.app().to_owned(),
            user: fact.user.to_owned(),
            message: NamedMessage {
                conversation: fact.conversation.to_owned(),
                message: fact.message.to_owned(),
                sent_at: fact.sent_at.millis(),
            },
            record,
        }
    }

    /// Whether its record stands in front of the erasure.
    fn is_in_front_of(&self, erasure: &Erasure) -> bool {
        let (epoch, partition, offset) = self.record;
        let is_before = |(copy, at): &(PartitionId, Offset)| u64::from(copy.get()) == partition && offset < at.get();
        let erased_in = u64::from(erasure.epoch.get());
        epoch < erased_in || (epoch == erased_in && erasure.copies.iter().any(is_before))
    }
}

fn text(table: Table, row: &[u8], name: &str) -> String {
    value_of(table.columns(), row, name).map_or(String::new(), |value| value.show().into_owned())
}
