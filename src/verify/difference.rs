//! What is not as it must be, named so that a person finds it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Serialize, Serializer};

use crate::store::{OffsetRange, RowDifference, Table, values};

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DifferenceKind {
    /// The fold gives this row, and ClickHouse does not have it.
    Missing,
    /// ClickHouse has this row, and the fold does not give it.
    Extra,
    /// ClickHouse has another row under this key.
    Differs,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What is wrong.
    pub kind: DifferenceKind,
    /// The table; `state` for what hydration makes of all of them.
    pub table: &'static str,
    /// By what the row is found: names of columns with their values.
    #[serde(serialize_with = "as_map")]
    pub key: Vec<(&'static str, String)>,
    /// What differs, of rows that do.
    pub columns: Vec<ColumnDifference>,
}

/// A column of a row that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ColumnDifference {
    /// Its name.
    pub column: &'static str,
    /// What the fold gives.
    pub expected: String,
    /// What ClickHouse has.
    pub stored: String,
}

fn as_map<S: Serializer>(key: &[(&'static str, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(key.iter().map(|(name, value)| (name, value)))
}

/// All differences: the first of them by name, and how many there are.
#[derive(Debug, Default)]
pub(super) struct Differences {
    kept: Vec<Difference>,
    most: usize,
    by_table: BTreeMap<&'static str, u64>,
}

impl Differences {
    /// None yet; `most` of those to come are kept by name.
    pub(super) fn new(most: usize) -> Self {
        Self { kept: Vec::new(), most, by_table: BTreeMap::new() }
    }

    /// A row that should be there.
    pub(super) fn missing(&mut self, table: Table, row: &[u8]) {
        self.add(table.name(), || Difference::of_row(DifferenceKind::Missing, table, row));
    }

    /// A row that should not be there.
    pub(super) fn extra(&mut self, table: Table, row: &[u8]) {
        self.add(table.name(), || Difference::of_row(DifferenceKind::Extra, table, row));
    }

    /// Rows that should not be there, beyond those that can be named.
    pub(super) fn unnamed_extras(&mut self, table: Table, rows: u64) {
        if rows > 0 {
            *self.by_table.entry(table.name()).or_default() += rows;
        }
    }

    /// A row that is another one than it should be.
    pub(super) fn differs(&mut self, table: Table, expected: &[u8], stored: &[u8]) {
        self.add(table.name(), || Difference {
            columns: values(table.columns(), expected)
                .zip(values(table.columns(), stored))
                .filter(|(expected, stored)| expected.encoded != stored.encoded)
                .map(|(expected, stored)| ColumnDifference {
                    column: expected.column.name(),
                    expected: expected.show().into_owned(),
                    stored: stored.show().into_owned(),
                })
                .collect(),
            ..Difference::of_row(DifferenceKind::Differs, table, expected)
        });
    }

    /// Something about a whole partition as of the end of a range.
    pub(super) fn of_partition(&mut self, table: &'static str, range: OffsetRange, column: ColumnDifference) {
        let OffsetRange { partition, until, .. } = range;
        let key = [("partition", u64::from(partition.get())), ("before_offset", until.get())];
        self.add(table, || Difference {
            kind: DifferenceKind::Differs,
            table,
            key: key.into_iter().map(|(name, number)| (name, number.to_string())).collect(),
            columns: vec![column],
        });
    }

    /// Another number of rows of an older epoch than its ledger counts.
    pub(super) fn of_older_epoch(&mut self, difference: &RowDifference) {
        let RowDifference { epoch, partition, table, expected, found, dropped } = difference;
        let may_be_gone = if *dropped > 0 { format!(", of which {dropped} may be gone") } else { String::new() };
        self.add(table.name(), || Difference {
            kind: DifferenceKind::Differs,
            table: table.name(),
            key: vec![("epoch", epoch.get().to_string()), ("partition", partition.get().to_string())],
            columns: vec![ColumnDifference {
                column: "records with rows",
                expected: format!("{expected}{may_be_gone}"),
                stored: found.to_string(),
            }],
        });
    }

    fn add(&mut self, table: &'static str, name: impl FnOnce() -> Difference) {
        *self.by_table.entry(table).or_default() += 1;
        if self.kept.len() < self.most {
            self.kept.push(name());
        }
    }

    /// Those that are kept by name, in the order in which they were met.
    pub(super) fn kept(&self) -> &[Difference] {
        &self.kept
    }

    /// How many there are of a table.
    pub(super) fn of(&self, table: &str) -> u64 {
        self.by_table.get(table).copied().unwrap_or_default()
    }

    /// How many there are.
    pub(super) fn total(&self) -> u64 {
        self.by_table.values().sum()
    }
}

impl Difference {
    fn of_row(kind: DifferenceKind, table: Table, row: &[u8]) -> Self {
        let naming = values(table.columns(), row).filter(|value| value.column.is_naming());
        let key = naming.map(|value| (value.column.name(), value.show().into_owned())).collect();
        Self { kind, table: table.name(), key, columns: Vec::new() }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            DifferenceKind::Missing => "missing",
            DifferenceKind::Extra => "too many",
            DifferenceKind::Differs => "differs",
        };
        write!(out, "{kind:<9} {}", self.table)?;
        for (name, value) in &self.key {
            write!(out, " {name}={value}")?;
        }
        for ColumnDifference { column, expected, stored } in &self.columns {
            write!(out, "\n          {column}: is {stored}, must be {expected}")?;
        }
        Ok(())
    }
}
