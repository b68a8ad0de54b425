//! ClickHouse in memory: tables as their definitions in `schemas/clickhouse` say, holding rows as they were inserted,
//! some of which a merge drops at any time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use rand::{Rng, RngExt as _};
use seenby::store::Table;

/// A value as a column holds it: times and enums of numbers as numbers, enums by their names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    Null,
    Number(i64),
    Text(Vec<u8>),
    List(Vec<Value>),
}

/// A row, with the columns in the order of its table's insert.
pub type Row = Arc<[Value]>;

enum ColumnType {
    /// An integer of so many bytes.
    Number {
        bytes: usize,
        is_signed: bool,
    },
    Text,
    Choice(BTreeMap<i64, String>),
    Nullable(Box<ColumnType>),
    List(Box<ColumnType>),
}

/// Which of several rows of one key a merge keeps.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keeps {
    First,
    Last,
    Any,
}

/// A table's definition.
pub struct Definition {
    columns: Vec<(String, ColumnType)>,
    key: Vec<usize>,
    keeps: Keeps,
}

static DEFINITIONS: LazyLock<Vec<Definition>> = LazyLock::new(|| Table::ALL.map(Definition::of).into());

const SCHEMAS: [&str; Table::ALL.len()] = [
    concat!(
        include_str!("../../../schemas/clickhouse/0001_messages.sql"),
        include_str!("../../../schemas/clickhouse/0019_messages_erasures.sql"),
    ),
    concat!(
        include_str!("../../../schemas/clickhouse/0002_receipts.sql"),
        include_str!("../../../schemas/clickhouse/0020_receipts_erasures.sql"),
    ),
    concat!(
        include_str!("../../../schemas/clickhouse/0003_recalls.sql"),
        include_str!("../../../schemas/clickhouse/0021_recalls_erasures.sql"),
    ),
    include_str!("../../../schemas/clickhouse/0004_roster_changes.sql"),
    include_str!("../../../schemas/clickhouse/0005_marks.sql"),
    include_str!("../../../schemas/clickhouse/0006_parked.sql"),
    include_str!("../../../schemas/clickhouse/0007_settlements.sql"),
    include_str!("../../../schemas/clickhouse/0008_policies.sql"),
    include_str!("../../../schemas/clickhouse/0009_rejections.sql"),
    include_str!("../../../schemas/clickhouse/0011_message_counts.sql"),
    include_str!("../../../schemas/clickhouse/0012_sender_counts.sql"),
    include_str!("../../../schemas/clickhouse/0025_message_facts.sql"),
    include_str!("../../../schemas/clickhouse/0010_ledger.sql"),
];

impl Definition {
    fn of(table: Table) -> Self {
        let schema = SCHEMAS[table as usize];
        assert!(schema.contains(&format!("${{database}}.{} ", table.name())), "the schema of {}", table.name());
        let column = |line: &'static str| {
            let (name, definition) = line.trim().trim_start_matches("ADD COLUMN IF NOT EXISTS ").split_once(' ')?;
            Some((name, definition.split(" AFTER ").next()?))
        };
        let types: BTreeMap<&str, &str> = schema.lines().filter_map(column).collect();
        let insert = table.insert();
        let names = list_after(&insert, table.name());
        let columns: Vec<_> =
            names.iter().map(|name| ((*name).to_owned(), ColumnType::parse(types[name].trim()))).collect();
        let place = |name: &&str| names.iter().position(|column| column == name).unwrap();
        let order_by = if schema.contains("MODIFY ORDER BY") { "MODIFY ORDER BY" } else { "ORDER BY" };
        let key = list_after(schema, order_by).iter().map(place).collect();
        let keeps = match schema {
            _ if schema.contains("MATERIALIZED bitNot(bitOr(bitShiftLeft(toUInt64(epoch), 48), offset))") => {
                Keeps::First
            }
            _ if schema.contains("MATERIALIZED bitOr(bitShiftLeft(toUInt64(epoch), 48), offset)") => Keeps::Last,
            _ => Keeps::Any,
        };
        assert_eq!(keeps != Keeps::Any, schema.contains("MergeTree(version)"));
        Self { columns, key, keeps }
    }

    fn place(&self, column: &str) -> usize {
        self.columns.iter().position(|(name, _)| name == column).unwrap_or_else(|| panic!("no column {column}"))
    }

    fn key_of(&self, row: &Row) -> Vec<Value> {
        self.key.iter().map(|place| row[*place].clone()).collect()
    }

    /// The version that a merge goes by; the larger one stays.
    fn version_of(&self, row: &Row) -> i64 {
        let number = |column| match row[self.place(column)] {
            Value::Number(number) => number,
            ref other => panic!("{other:?} in {column}"),
        };
        match self.keeps {
            Keeps::Any => 0,
            Keeps::First => !(number("epoch") << 48 | number("offset")),
            Keeps::Last => number("epoch") << 48 | number("offset"),
        }
    }
}

/// The names in the parentheses that follow `word`.
fn list_after<'a>(text: &'a str, word: &str) -> Vec<&'a str> {
    let (_, after) = text.split_once(&format!("\n{word} (")).or_else(|| text.split_once(&format!("{word} ("))).unwrap();
    after.split_once(')').unwrap().0.split(',').map(str::trim).collect()
}

impl ColumnType {
    fn parse(text: &str) -> Self {
        let inner = |prefix: &str| text.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('('));
        if let Some(rest) = inner("LowCardinality") {
            return Self::parse(rest);
        }
        if let Some(rest) = inner("Nullable") {
            return Self::Nullable(Box::new(Self::parse(rest)));
        }
        if let Some(rest) = inner("Array") {
            return Self::List(Box::new(Self::parse(rest)));
        }
        if let Some(rest) = inner("Enum8") {
            let entry = |entry: &str| {
                let (name, number) = entry.split_once(" = ").unwrap();
                (number.parse().unwrap(), name.trim().trim_matches('\'').to_owned())
            };
            return Self::Choice(rest.split_once(')').unwrap().0.split(',').map(entry).collect());
        }
        let end = text.find(|character: char| !character.is_ascii_alphanumeric()).unwrap_or(text.len());
        let (bytes, is_signed) = match &text[..end] {
            "String" => return Self::Text,
            "Bool" => (1, false),
            "UInt16" => (2, false),
            "UInt32" => (4, false),
            "UInt64" => (8, false),
            "Date32" => (4, true),
            "DateTime64" => (8, true),
            other => panic!("a column of type {other}"),
        };
        Self::Number { bytes, is_signed }
    }

    /// Takes one value off the front of RowBinary.
    fn decode(&self, bytes: &mut &[u8]) -> Value {
        match self {
            Self::Number { bytes: width, is_signed } => Value::Number(number(bytes, *width, *is_signed)),
            Self::Text => {
                let length = leb128(bytes);
                Value::Text(take(bytes, length).to_vec())
            }
            Self::Choice(names) => {
                let chosen = number(bytes, 1, true);
                Value::Text(names.get(&chosen).unwrap_or_else(|| panic!("no choice {chosen}")).clone().into_bytes())
            }
            Self::Nullable(inner) => match take(bytes, 1) {
                [0] => inner.decode(bytes),
                _ => Value::Null,
            },
            Self::List(inner) => {
                let length = leb128(bytes);
                Value::List((0..length).map(|_| inner.decode(bytes)).collect())
            }
        }
    }
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(count);
    *bytes = rest;
    taken
}

fn number(bytes: &mut &[u8], width: usize, is_signed: bool) -> i64 {
    let taken = take(bytes, width);
    let is_negative = is_signed && taken[width - 1] >= 0x80;
    let mut filled = [if is_negative { 0xff } else { 0 }; 8];
    filled[..width].copy_from_slice(taken);
    i64::from_le_bytes(filled)
}

fn leb128(bytes: &mut &[u8]) -> usize {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let byte = take(bytes, 1)[0];
        value |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}

/// The rows of an insert's body.
pub fn decode(table: Table, mut bytes: &[u8]) -> Vec<Row> {
    let definition = &DEFINITIONS[table as usize];
    let mut rows = Vec::new();
    while !bytes.is_empty() {
        rows.push(definition.columns.iter().map(|(_, column)| column.decode(&mut bytes)).collect());
    }
    rows
}

/// A row with its columns by name.
#[derive(Clone, Copy)]
pub struct Columns<'a> {
    definition: &'static Definition,
    row: &'a Row,
}

impl<'a> Columns<'a> {
    pub fn of(table: Table, row: &'a Row) -> Self {
        Self { definition: &DEFINITIONS[table as usize], row }
    }

    fn value(&self, column: &str) -> &'a Value {
        &self.row[self.definition.place(column)]
    }

    pub fn optional_text(&self, column: &str) -> Option<&'a str> {
        match self.value(column) {
            Value::Text(text) => Some(std::str::from_utf8(text).unwrap()),
            _ => None,
        }
    }

    pub fn text(&self, column: &str) -> &'a str {
        self.optional_text(column).unwrap_or_else(|| panic!("no text in {column}"))
    }

    pub fn optional_number(&self, column: &str) -> Option<i64> {
        match self.value(column) {
            Value::Number(number) => Some(*number),
            _ => None,
        }
    }

    pub fn number(&self, column: &str) -> i64 {
        self.optional_number(column).unwrap_or_else(|| panic!("no number in {column}"))
    }

    pub fn numbers(&self, column: &str) -> Vec<i64> {
        let Value::List(list) = self.value(column) else { panic!("no list in {column}") };
        list.iter().map(|value| if let Value::Number(number) = value { *number } else { panic!("{value:?}") }).collect()
    }

    /// The row with one of its numbers changed.
    pub fn with_number(&self, column: &str, number: i64) -> Row {
        let mut values = self.row.to_vec();
        values[self.definition.place(column)] = Value::Number(number);
        values.into()
    }
}

/// An insert on its way.
pub struct Statement {
    pub table: Table,
    pub rows: Vec<Row>,
}

#[derive(Default)]
pub struct ClickHouse {
    tables: BTreeMap<Table, Vec<Row>>,
    /// Inserts whose end nobody has seen. They may arrive whenever, also after their worker's death.
    in_flight: BTreeMap<u64, Statement>,
    lost: BTreeSet<u64>,
    last_statement: u64,
}

impl ClickHouse {
    pub fn rows(&self, table: Table) -> &[Row] {
        self.tables.get(&table).map_or(&[], Vec::as_slice)
    }

    pub fn insert(&mut self, statement: &Statement) {
        self.tables.entry(statement.table).or_default().extend(statement.rows.iter().cloned());
    }

    /// Sends an insert; [`ClickHouse::land`] makes it arrive.
    pub fn send(&mut self, statement: Statement) -> u64 {
        self.last_statement += 1;
        self.in_flight.insert(self.last_statement, statement);
        self.last_statement
    }

    /// Makes an insert arrive, once; returns whether it has, now or before.
    pub fn land(&mut self, number: u64) -> bool {
        if let Some(statement) = self.in_flight.remove(&number) {
            self.insert(&statement);
        }
        !self.lost.contains(&number)
    }

    /// Makes the first rows of an insert arrive. The ledger's are one block, which is inserted whole or not at all.
    pub fn land_partly(&mut self, number: u64, random: &mut impl Rng) {
        if let Some(mut statement) = self.in_flight.remove(&number)
            && statement.table != Table::Ledger
        {
            statement.rows.truncate(random.random_range(0..=statement.rows.len()));
            self.insert(&statement);
        }
    }

    /// Forgets an insert: it never arrives.
    pub fn lose(&mut self, number: u64) {
        self.in_flight.remove(&number);
        self.lost.insert(number);
    }

    /// One of the inserts on their way.
    pub fn any_in_flight(&self, random: &mut impl Rng) -> Option<u64> {
        let chosen = random.random_range(0..self.in_flight.len().max(1));
        self.in_flight.keys().nth(chosen).copied()
    }

    /// Merges some rows of a table, which stand for a few parts.
    pub fn merge(&mut self, random: &mut impl Rng) {
        let table = Table::ALL[random.random_range(0..Table::ALL.len())];
        let Some(rows) = self.tables.get_mut(&table) else { return };
        let start = random.random_range(0..=rows.len());
        let end = random.random_range(start..=rows.len());
        let merged = deduplicated(table, &rows[start..end]);
        rows.splice(start..end, merged.into_values());
    }
}

/// What is left of rows when all are merged, by their keys.
pub fn deduplicated(table: Table, rows: &[Row]) -> BTreeMap<Vec<Value>, Row> {
    let definition = &DEFINITIONS[table as usize];
    let mut kept: BTreeMap<Vec<Value>, Row> = BTreeMap::new();
    for row in rows {
        let key = definition.key_of(row);
        let is_newer = |before: &Row| definition.version_of(row) >= definition.version_of(before);
        if kept.get(&key).is_none_or(is_newer) {
            kept.insert(key, row.clone());
        }
    }
    kept
}
