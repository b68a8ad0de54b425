//! What a verification says: for people, and for machines.

use std::fmt;

use serde::Serialize;

use super::difference::{Difference, Differences};
use crate::event::PartitionId;
use crate::store::{OffsetRange, Table};

/// In which form the report is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object.
    Json,
}

/// What was verified and what was found.
#[derive(Debug, Serialize)]
pub struct Report {
    clean: bool,
    /// Whether all that was asked for was verified.
    complete: bool,
    records: u64,
    seconds: f64,
    partitions: Vec<VerifiedPartition>,
    /// Partitions of which nothing is committed in the range asked for.
    without_records: Vec<u32>,
    /// Whether rows of other partitions and epochs than those of the topic were looked for.
    elsewhere: bool,
    /// Epochs of which only the numbers of rows were compared, with their ledgers: their logs are gone.
    counted_epochs: Vec<OlderEpoch>,
    tables: Vec<VerifiedTable>,
    differences: u64,
    /// The first of them.
    named: Vec<Difference>,
}

#[derive(Debug, Serialize)]
struct VerifiedPartition {
    partition: u32,
    from: u64,
    until: u64,
}

/// An epoch before the current one.
#[derive(Debug, Serialize)]
pub(super) struct OlderEpoch {
    pub(super) epoch: u16,
    /// How many partitions its ledger knows.
    pub(super) partitions: u32,
}

#[derive(Debug, Serialize)]
struct VerifiedTable {
    table: &'static str,
    rows: u64,
    differences: u64,
}

/// What adds up while a verification runs.
#[derive(Debug)]
pub(super) struct Findings {
    pub(super) differences: Differences,
    /// Records folded.
    pub(super) records: u64,
    rows: Vec<(Table, u64)>,
    ranges: Vec<OffsetRange>,
    without_records: Vec<u32>,
    /// Epochs whose rows were counted, once rows of no log were looked for.
    elsewhere: Option<Vec<OlderEpoch>>,
}

impl Findings {
    pub(super) fn new(most_named: usize) -> Self {
        let rows = Table::ALL.map(|table| (table, 0)).to_vec();
        Self {
            differences: Differences::new(most_named),
            records: 0,
            rows,
            ranges: Vec::new(),
            without_records: Vec::new(),
            elsewhere: None,
        }
    }

    /// So many rows of a table were compared.
    pub(super) fn compared(&mut self, table: Table, rows: u64) {
        if let Some((_, sum)) = self.rows.iter_mut().find(|(known, _)| *known == table) {
            *sum += rows;
        }
    }

    /// A range was verified as far as it says.
    pub(super) fn verified(&mut self, range: OffsetRange) {
        self.ranges.push(range);
    }

    /// Nothing is committed of a partition in the range asked for.
    pub(super) fn nothing_to_verify(&mut self, partition: PartitionId) {
        self.without_records.push(partition.get());
    }

    /// Rows of no log were looked for, and those of older epochs counted.
    pub(super) fn verified_elsewhere(&mut self, counted: Vec<OlderEpoch>) {
        self.elsewhere = Some(counted);
    }

    /// The report.
    pub(super) fn report(self, is_complete: bool, seconds: f64) -> Report {
        let of_table = |(table, rows): (Table, u64)| VerifiedTable {
            table: table.name(),
            rows,
            differences: self.differences.of(table.name()),
        };
        let of_range = |range: &OffsetRange| VerifiedPartition {
            partition: range.partition.get(),
            from: range.from.get(),
            until: range.until.get(),
        };
        Report {
            clean: self.differences.total() == 0,
            complete: is_complete,
            records: self.records,
            seconds,
            partitions: self.ranges.iter().map(of_range).collect(),
            without_records: self.without_records,
            elsewhere: self.elsewhere.is_some(),
            counted_epochs: self.elsewhere.unwrap_or_default(),
            tables: self.rows.into_iter().map(of_table).collect(),
            differences: self.differences.total(),
            named: self.differences.kept().to_vec(),
        }
    }
}

impl Report {
    /// Whether nothing differs.
    pub fn is_clean(&self) -> bool {
        self.clean
    }

    /// The first differences, in the order in which they were met.
    pub fn differences(&self) -> &[Difference] {
        &self.named
    }
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for difference in &self.named {
            writeln!(out, "{difference}")?;
        }
        let unnamed = self.differences - self.named.len() as u64;
        if unnamed > 0 {
            writeln!(out, "and {unnamed} more; --differences names more of them")?;
        }
        if self.differences > 0 {
            writeln!(out)?;
        }
        writeln!(out, "{:<10} {:>14} {:>14}", "partition", "from offset", "to offset")?;
        for VerifiedPartition { partition, from, until } in &self.partitions {
            writeln!(out, "{partition:<10} {from:>14} {until:>14}")?;
        }
        for partition in &self.without_records {
            writeln!(out, "{partition:<10} {:>29}", "nothing is committed there")?;
        }
        for OlderEpoch { epoch, partitions } in &self.counted_epochs {
            writeln!(
                out,
                "epoch {epoch}: rows of {partitions} partitions counted and compared with its ledger's totals; what they \
                 say was not verified, as its log is not read"
            )?;
        }
        if !self.elsewhere {
            writeln!(out, "rows of other partitions and epochs were not looked for")?;
        }
        writeln!(out, "\n{:<16} {:>14} {:>12}", "table", "rows", "differences")?;
        for VerifiedTable { table, rows, differences } in &self.tables {
            writeln!(out, "{table:<16} {rows:>14} {differences:>12}")?;
        }
        let verdict = match (self.clean, self.complete) {
            (true, true) => "log and tables agree",
            (true, false) => "log and tables agree as far as this came",
            (false, _) => "LOG AND TABLES DIFFER",
        };
        writeln!(
            out,
            "\n{verdict}: {} records folded in {:.1} s, {} differences",
            self.records, self.seconds, self.differences
        )
    }
}
