//! What holds after every run, compared with one uninterrupted fold of the same log.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use seenby::event::Offset;
use seenby::store::Table;
use serde_json::Value as Json;

use super::clickhouse::{Columns, Row, deduplicated};
use super::hydration::{Cell, cell_of, outcome_totals};
use super::reference::{Place, Reference};
use super::transactions::{NotificationRecord, Outputs};
use super::world::{Invariant, Shared, partitions};

/// Compares what a run left behind. `states` are the last owners' by where they stand.
pub fn check(shared: &mut Shared, states: &[(Place, [u64; 2])]) {
    let hydrated = shared.hydrated.iter().map(|hydrated| (hydrated.partition, hydrated.committed));
    let wanted: BTreeSet<Place> = hydrated.chain(states.iter().map(|(place, _)| *place)).collect();
    let reference = Reference::fold(&shared.topic, &wanted);
    let mut found = Vec::new();
    let mut require = |invariant, difference: Option<String>| found.extend(difference.map(|it| (invariant, it)));

    for table in Table::ALL.into_iter().filter(|table| *table != Table::Ledger) {
        let have = deduplicated(table, shared.clickhouse.rows(table));
        let expected = deduplicated(table, &reference.rows(table));
        require(Invariant::Rows, difference(&have, &expected).map(|it| format!("{}: {it}", table.name())));
    }
    let (ledger, expected_ledger) = (shared.clickhouse.rows(Table::Ledger), reference.rows(Table::Ledger));
    require(Invariant::Ledger, difference(&last_totals(ledger), &last_totals(&expected_ledger)));
    require(Invariant::Ledger, inexact_total(ledger, &expected_ledger));
    let counted: u64 = outcome_totals(ledger, Offset::new(u64::MAX))
        .iter()
        .filter(|(cell, _)| cell.measure == "records")
        .map(|(_, total)| total)
        .sum();
    let is_all = counted == reference.records;
    require(Invariant::Ledger, (!is_all).then(|| format!("{counted} of {} records counted", reference.records)));

    let (have, expected) = (&shared.transactions.committed, &reference.outputs);
    require(Invariant::Notifications, difference(&readers_told(have), &readers_told(expected)));
    require(Invariant::Notifications, wrong_read_count(have, expected));
    require(Invariant::Rejections, difference(&counts(&have.rejections), &counts(&expected.rejections)));

    for hydrated in &shared.hydrated {
        let place = (hydrated.partition, hydrated.committed);
        let is_equal = reference.digests.get(&place) == Some(&hydrated.digest);
        require(Invariant::Hydration, (!is_equal).then(|| format!("another state as of {place:?}")));
    }
    for (place, digest) in states {
        let is_equal = reference.digests.get(place) == Some(digest);
        require(Invariant::FinalState, (!is_equal).then(|| format!("another state as of {place:?}")));
    }
    for partition in partitions() {
        let owners = states.iter().filter(|((owned, _), _)| *owned == partition).count();
        require(Invariant::FinalState, (owners != 1).then(|| format!("{owners} owners of {partition:?}")));
    }
    for (invariant, what) in found {
        shared.violated(invariant, what);
    }
}

/// The first entry in which two maps differ.
fn difference<K: Ord + Debug, V: PartialEq + Debug>(
    have: &BTreeMap<K, V>,
    expected: &BTreeMap<K, V>,
) -> Option<String> {
    let keys: BTreeSet<&K> = have.keys().chain(expected.keys()).collect();
    let key = keys.into_iter().find(|key| have.get(key) != expected.get(key))?;
    Some(format!("{key:?} is {:?} instead of {:?}", have.get(key), expected.get(key)))
}

fn counts<T: Debug>(all: &[T]) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    for one in all {
        *counts.entry(format!("{one:?}")).or_default() += 1;
    }
    counts
}

/// A cell's total and histogram.
type Total = (i64, Vec<i64>, Vec<i64>);

fn total_of(row: &Columns<'_>) -> Total {
    (row.number("total"), row.numbers("buckets"), row.numbers("bucket_totals"))
}

/// Every cell's totals by the offset that they are as of.
fn totals(ledger: &[Row]) -> BTreeMap<Cell<'_>, BTreeMap<Offset, Total>> {
    let mut totals: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
    for row in ledger.iter().map(|row| Columns::of(Table::Ledger, row)) {
        let next_offset = Offset::new(row.number("next_offset") as u64);
        totals.entry(cell_of(&row)).or_default().insert(next_offset, total_of(&row));
    }
    totals
}

fn last_totals(ledger: &[Row]) -> BTreeMap<Cell<'_>, Option<Total>> {
    totals(ledger).into_iter().map(|(cell, totals)| (cell, totals.into_values().next_back())).collect()
}

/// A boundary, be it an orphan's, as of which a total is not what it was: a row that says something else, or none.
fn inexact_total(ledger: &[Row], expected: &[Row]) -> Option<String> {
    let (have, exact) = (totals(ledger), totals(expected));
    let mut boundaries: BTreeMap<i64, BTreeSet<Offset>> = BTreeMap::new();
    for (cell, totals) in &have {
        boundaries.entry(cell.partition).or_default().extend(totals.keys());
    }
    let as_of = |totals: &BTreeMap<Cell<'_>, BTreeMap<Offset, Total>>, cell: &Cell<'_>, boundary: &Offset| {
        totals.get(cell)?.range(..=boundary).next_back().map(|(_, total)| total.clone())
    };
    let cells: BTreeSet<&Cell<'_>> = have.keys().chain(exact.keys()).collect();
    cells.into_iter().find_map(|cell| {
        boundaries.get(&cell.partition)?.iter().find_map(|boundary| {
            let (total, expected) = (as_of(&have, cell, boundary), as_of(&exact, cell, boundary));
            (total != expected).then(|| format!("{cell:?} as of {boundary:?} is {total:?} instead of {expected:?}"))
        })
    })
}

fn parsed((key, value): &NotificationRecord) -> (String, Json) {
    (key.clone(), serde_json::from_slice(value).unwrap())
}

/// The readers that a record tells of, each with all that the record says about it but the count.
fn told((key, record): &(String, Json)) -> Vec<String> {
    let about = format!("{key} {} {} {}", record["kind"], record["conversation"], record["message"]);
    record["readers"].as_array().unwrap().iter().map(|reader| format!("{about} {reader}")).collect()
}

/// How often every reader is told of; records hold as many as came in one flush.
fn readers_told(outputs: &Outputs) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    for reader in outputs.notifications.iter().map(parsed).flat_map(|record| told(&record)) {
        *counts.entry(reader).or_default() += 1;
    }
    counts
}

/// A record whose count is not that after the last of its readers.
fn wrong_read_count(have: &Outputs, expected: &Outputs) -> Option<String> {
    let mut count_after = BTreeMap::new();
    for record in expected.notifications.iter().map(parsed) {
        for reader in told(&record) {
            count_after.insert(reader, record.1["groupReadCount"].as_u64());
        }
    }
    have.notifications.iter().map(parsed).find_map(|record| {
        let last = told(&record).iter().filter_map(|reader| count_after.get(reader).copied().flatten()).max();
        (record.1["groupReadCount"].as_u64() != last).then(|| format!("{record:?}: not {last:?} readers"))
    })
}
