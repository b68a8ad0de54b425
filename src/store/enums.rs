//! The numbers of the Enum8 columns in `schemas/clickhouse`: one table an enum, for writing and reading alike.

use crate::event::{Chat, EventType, MemberChange, Role};
use crate::fold::fact::{Measure, MessageStatus, ReceiptKind, RosterChange};

/// An enum that stands in an Enum8 column.
pub(super) trait Enum8: Copy + PartialEq + 'static {
    /// Every variant with its number.
    const NUMBERS: &'static [(Self, i8)];

    /// The number in the column; 0 for a variant that no column has (the fold makes no such row): reading it back is an
    /// error, as RowBinary takes any number.
    fn number(self) -> u8 {
        let entry = Self::NUMBERS.iter().find(|(variant, _)| *variant == self);
        entry.map_or(0, |&(_, number)| number.unsigned_abs())
    }

    /// The name in the column.
    fn label(self) -> &'static str;

    /// The name of a number read back.
    fn name_of(number: i8) -> Option<&'static str> {
        Self::from_number(number).map(Self::label)
    }

    /// The variant of a number read back.
    fn from_number(number: i8) -> Option<Self> {
        Self::NUMBERS.iter().find(|(_, of_variant)| *of_variant == number).map(|&(variant, _)| variant)
    }
}

impl Enum8 for Chat {
    const NUMBERS: &'static [(Self, i8)] = &[(Self::Single, 1), (Self::Group, 2)];

    fn label(self) -> &'static str {
        Self::name(self)
    }
}

impl Enum8 for MessageStatus {
    const NUMBERS: &'static [(Self, i8)] = &[
        (Self::Stored, 1),
        (Self::Opened, 2),
        (Self::NotOpen, 3),
        (Self::PermissionDenied, 4),
        (Self::QuotaExceeded, 5),
    ];

    fn label(self) -> &'static str {
        self.outcome().name()
    }
}

impl Enum8 for ReceiptKind {
    const NUMBERS: &'static [(Self, i8)] = &[(Self::Delivered, 1), (Self::Read, 2)];

    fn label(self) -> &'static str {
        Self::name(self)
    }
}

impl Enum8 for Role {
    const NUMBERS: &'static [(Self, i8)] = &[(Self::Member, 1), (Self::Admin, 2), (Self::Owner, 3)];

    fn label(self) -> &'static str {
        Self::name(self)
    }
}

impl Enum8 for RosterChange {
    const NUMBERS: &'static [(Self, i8)] = &[
        (Self::Roster, 1),
        (Self::GroupDestroyed, 2),
        (Self::ByRoster, 3),
        (Self::Member(MemberChange::Join), 4),
        (Self::Member(MemberChange::Leave), 5),
        (Self::Member(MemberChange::Role(Role::Owner)), 6),
        (Self::Member(MemberChange::Role(Role::Admin)), 7),
        (Self::Member(MemberChange::Role(Role::Member)), 8),
    ];

    fn label(self) -> &'static str {
        Self::name(self)
    }
}

impl Enum8 for Measure {
    const NUMBERS: &'static [(Self, i8)] =
        &[(Self::Records, 1), (Self::Settled, 2), (Self::Delays, 3), (Self::Watermark, 4)];

    fn label(self) -> &'static str {
        Self::name(self)
    }
}

/// Which type waits, in `parked` and `settlements`, or was applied, in `policies`.
impl Enum8 for EventType {
    const NUMBERS: &'static [(Self, i8)] =
        &[(Self::Delivered, 1), (Self::Read, 2), (Self::Recall, 3), (Self::Policy, 4), (Self::Erase, 5)];

    fn label(self) -> &'static str {
        Self::name(self)
    }
}

#[cfg(test)]
mod tests {
    use super::{Chat, Enum8, EventType, Measure, MessageStatus, ReceiptKind, Role, RosterChange};

    const MESSAGES: &str = include_str!("../../schemas/clickhouse/0001_messages.sql");
    const RECEIPTS: &str = include_str!("../../schemas/clickhouse/0002_receipts.sql");
    const ROSTER_CHANGES: &str = include_str!("../../schemas/clickhouse/0004_roster_changes.sql");
    const PARKED: &str = include_str!("../../schemas/clickhouse/0006_parked.sql");
    const SETTLEMENTS: &str = include_str!("../../schemas/clickhouse/0007_settlements.sql");
    const POLICIES: &str = include_str!("../../schemas/clickhouse/0008_policies.sql");
    const LEDGER: &str = include_str!("../../schemas/clickhouse/0010_ledger.sql");

    /// The column type that the numbers of an enum make.
    fn column_type<E: Enum8>(variants: &[(E, i8)]) -> String {
        let entries: Vec<String> =
            variants.iter().map(|&(variant, number)| format!("'{}' = {number}", variant.label())).collect();
        format!("Enum8({})", entries.join(", "))
    }

    #[test]
    fn numbers_are_those_of_the_columns() {
        for (sql, column) in [
            (MESSAGES, column_type(Chat::NUMBERS)),
            (MESSAGES, column_type(MessageStatus::NUMBERS)),
            (RECEIPTS, column_type(ReceiptKind::NUMBERS)),
            (ROSTER_CHANGES, column_type(Role::NUMBERS)),
            (ROSTER_CHANGES, column_type(RosterChange::NUMBERS)),
            (PARKED, column_type(&EventType::NUMBERS[..3])),
            (SETTLEMENTS, column_type(&EventType::NUMBERS[..3])),
            (POLICIES, column_type(&EventType::NUMBERS[3..])),
            (LEDGER, column_type(Measure::NUMBERS)),
        ] {
            assert!(sql.contains(&column), "{column} in {sql}");
        }
    }

    #[test]
    fn numbers_read_back_as_what_they_were_written_for() {
        for &(change, _) in RosterChange::NUMBERS {
            assert_eq!(RosterChange::from_number(change.number() as i8), Some(change));
        }
        assert_eq!(Chat::from_number(0), None);
        assert_eq!(EventType::Message.number(), 0, "a message never waits");
    }
}
