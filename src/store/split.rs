//! Keeps an insert within the table partitions that ClickHouse takes at once.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::rows::TableRows;

/// ClickHouse refuses an insert that touches more table partitions than this (max_partitions_per_insert_block).
pub(super) const MAX_TABLE_PARTITIONS: usize = 100;

/// The inserts that a table's rows make: none for no rows, one in all but backfills over years. Rows of more weeks are
/// put together by week, so that no two of the inserts write to the same table partition.
pub(super) fn inserts(rows: &TableRows) -> Vec<Cow<'_, [u8]>> {
    if rows.rows() == 0 {
        return Vec::new();
    }
    let weeks: BTreeSet<u16> = rows.marks().iter().map(|mark| mark.week).collect();
    if weeks.len() <= MAX_TABLE_PARTITIONS {
        return vec![Cow::Borrowed(rows.bytes())];
    }
    let mut rows_by_week: BTreeMap<u16, Vec<u8>> = BTreeMap::new();
    let mut rest = rows.bytes();
    for mark in rows.marks() {
        let (row, after) = rest.split_at(mark.length as usize);
        rows_by_week.entry(mark.week).or_default().extend_from_slice(row);
        rest = after;
    }
    let weeks: Vec<Vec<u8>> = rows_by_week.into_values().collect();
    weeks.chunks(MAX_TABLE_PARTITIONS).map(|weeks| Cow::Owned(weeks.concat())).collect()
}
