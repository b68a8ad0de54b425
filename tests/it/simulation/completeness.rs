//! Whether the tables hold the rows that the ledger counts: completeness_rows.sql and completeness_totals.sql said again.

use std::collections::{BTreeMap, BTreeSet};

use seenby::event::{EventTime, Offset};
use seenby::fold::Outcome;
use seenby::store::{Completeness, HydrationRequest, RowDifference, Table, TopicIdentity};

use super::clickhouse::{Columns, Row};
use super::hydration::{Cell, last_boundary, outcome_totals};

/// Tables of which the ledger counts the records with rows.
const COUNTED: [Table; 10] = [
    Table::Messages,
    Table::Receipts,
    Table::Recalls,
    Table::RosterChanges,
    Table::Marks,
    Table::Parked,
    Table::Settlements,
    Table::Policies,
    Table::Rejections,
    Table::MessageFacts,
];

pub fn of(tables: &BTreeMap<Table, Vec<Row>>, topic: &TopicIdentity, request: HydrationRequest) -> Completeness {
    let HydrationRequest { partition, committed } = request;
    let ledger = &tables[&Table::Ledger];
    let Some((boundary, watermark)) = last_boundary(ledger, partition, committed) else {
        return Completeness {
            boundary: None,
            watermark: EventTime::default(),
            differences: Vec::new(),
            erased_until: Offset::default(),
        };
    };
    let totals = outcome_totals(ledger, boundary);
    let difference = |table: Table| {
        let is_counted = |cell: &Cell<'_>| cell.partition == i64::from(partition.get()) && makes_a_row(table, cell);
        let expected = totals.iter().filter(|(cell, _)| is_counted(cell)).map(|(_, total)| total).sum();
        let found = records_with_rows(table, &tables[&table], i64::from(partition.get()), boundary);
        let difference = RowDifference { epoch: topic.epoch, partition, table, expected, found, dropped: 0 };
        (expected != found).then_some(difference)
    };
    let differences = COUNTED.into_iter().filter_map(difference).collect();
    Completeness { boundary: Some(boundary), watermark, differences, erased_until: Offset::default() }
}

fn records_with_rows(table: Table, rows: &[Row], partition: i64, boundary: Offset) -> u64 {
    let is_seen =
        |row: &Columns<'_>| row.number("partition") == partition && row.number("offset") < boundary.get() as i64;
    let is_of_a_roster = |row: &Columns<'_>| table == Table::RosterChanges && row.text("change") == "by_roster";
    let rows = rows.iter().map(|row| Columns::of(table, row)).filter(|row| is_seen(row) && !is_of_a_roster(row));
    rows.map(|row| row.number("own_offset")).collect::<BTreeSet<_>>().len() as u64
}

/// Whether every record of an outcome has a row in a table.
fn makes_a_row(table: Table, cell: &Cell<'_>) -> bool {
    let is_settled = cell.measure == "settled";
    match table {
        Table::Rejections => Outcome::from_name(cell.outcome).is_some_and(Outcome::is_rejected),
        Table::Settlements => is_settled,
        Table::Receipts => matches!(cell.event_type, "delivered" | "read") && cell.outcome == "counted",
        Table::Recalls => cell.event_type == "recall" && cell.outcome == "applied",
        Table::Parked => cell.outcome == "parked",
        Table::Messages => {
            cell.event_type == "message" && !matches!(cell.outcome, "duplicate" | "too_late" | "misrouted" | "skewed")
        }
        Table::RosterChanges => {
            matches!(cell.event_type, "member" | "roster" | "group_destroyed")
                && matches!(cell.outcome, "applied" | "no_change")
        }
        Table::Marks => cell.event_type == "conversation_read" && cell.outcome == "applied",
        Table::Policies => matches!(cell.event_type, "policy" | "erase") && cell.outcome == "applied",
        Table::MessageFacts => {
            [Table::Messages, Table::Receipts, Table::Recalls].iter().any(|table| makes_a_row(*table, cell))
        }
        Table::MessageCounts | Table::SenderCounts | Table::Ledger => false,
    }
}
