//! Columns of the tables, and how their values stand in RowBinary: what an insert names, and what tells rows apart that
//! are read back as they were encoded.

use std::borrow::Cow;

/// One column, in the order in which a flush encodes it.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    name: &'static str,
    kind: ColumnKind,
    is_nullable: bool,
    part: Part,
}

/// The type of a column, without `Nullable` and `LowCardinality`.
#[derive(Clone, Copy, Debug)]
pub(super) enum ColumnKind {
    /// Any bytes.
    String,
    /// One byte.
    Bool,
    /// A number with a name.
    Enum8(fn(i8) -> Option<&'static str>),
    UInt16,
    UInt32,
    UInt64,
    /// Milliseconds since 1970.
    DateTime64,
    /// Days since 1970.
    Date32,
    UInt16Array,
    UInt64Array,
}

/// What a column is to its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// Part of the table's sorting key: rows of equal keys are one.
    Key,
    /// Names the row to a reader.
    Name,
    /// What the row says.
    Content,
}

impl Column {
    /// A column of the sorting key.
    pub(super) const fn key(name: &'static str, kind: ColumnKind) -> Self {
        Self { name, kind, is_nullable: false, part: Part::Key }
    }

    /// A column outside of the sorting key by which people find the row.
    pub(super) const fn naming(name: &'static str, kind: ColumnKind) -> Self {
        Self { name, kind, is_nullable: false, part: Part::Name }
    }

    /// Any other column.
    pub(super) const fn plain(name: &'static str, kind: ColumnKind) -> Self {
        Self { name, kind, is_nullable: false, part: Part::Content }
    }

    /// Any other column, `Nullable`.
    pub(super) const fn nullable(name: &'static str, kind: ColumnKind) -> Self {
        Self { name, kind, is_nullable: true, part: Part::Content }
    }

    /// Its name.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Whether rows that agree in all such columns are one row to the table.
    pub fn is_key(&self) -> bool {
        self.part == Part::Key
    }

    /// Whether it helps to find the row: the key, and a little more.
    pub fn is_naming(&self) -> bool {
        self.part != Part::Content
    }

    /// Takes one value off the start of `bytes`; `None` where they end before it does.
    fn take<'a>(&self, bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
        let is_null = self.is_nullable && *bytes.first()? == 1;
        let prefix = usize::from(self.is_nullable);
        let length = if is_null { 1 } else { prefix + self.kind.length(bytes.get(prefix..)?)? };
        let (value, rest) = bytes.split_at_checked(length)?;
        *bytes = rest;
        Some(value)
    }
}

impl ColumnKind {
    /// Bytes of the value at the start of `bytes`; `None` where its length is not in them yet.
    fn length(self, bytes: &[u8]) -> Option<usize> {
        let counted = |width: usize| {
            let (count, after) = leb128(bytes)?;
            count.checked_mul(width)?.checked_add(after)
        };
        match self {
            Self::Bool | Self::Enum8(_) => Some(1),
            Self::UInt16 => Some(2),
            Self::UInt32 | Self::Date32 => Some(4),
            Self::UInt64 | Self::DateTime64 => Some(8),
            Self::String => counted(1),
            Self::UInt16Array => counted(2),
            Self::UInt64Array => counted(8),
        }
    }
}

/// A length as LEB128, and the bytes it takes.
fn leb128(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0;
    for (place, byte) in bytes.iter().enumerate().take(9) {
        value |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some((value, place + 1));
        }
    }
    None
}

/// One value of a row.
#[derive(Clone, Copy, Debug)]
pub struct Value<'a> {
    /// Its column.
    pub column: &'static Column,
    /// As it stands in RowBinary: equal where the values are.
    pub encoded: &'a [u8],
}

impl<'a> Value<'a> {
    /// The bytes of a string; `None` for null, and for what is no string.
    pub fn bytes(&self) -> Option<&'a [u8]> {
        let text = if self.column.is_nullable { self.encoded.strip_prefix(&[0])? } else { self.encoded };
        match self.column.kind {
            ColumnKind::String => leb128(text).and_then(|(_, start)| text.get(start..)),
            _ => None,
        }
    }

    /// The value as people read it: names of enums, times in ms since 1970, `null`, bytes that are no text in
    /// hexadecimal.
    pub fn show(&self) -> Cow<'static, str> {
        let mut bytes = self.encoded;
        if self.column.is_nullable {
            let (is_null, rest) = bytes.split_first().unwrap_or((&1, &[]));
            if *is_null == 1 {
                return Cow::Borrowed("null");
            }
            bytes = rest;
        }
        match self.column.kind {
            ColumnKind::Bool => Cow::Borrowed(if unsigned(bytes) == 1 { "true" } else { "false" }),
            ColumnKind::Enum8(name) => {
                let number = bytes.first().map_or(0, |byte| byte.cast_signed());
                name(number).map_or_else(|| Cow::Owned(number.to_string()), Cow::Borrowed)
            }
            ColumnKind::UInt16 | ColumnKind::UInt32 | ColumnKind::UInt64 => Cow::Owned(unsigned(bytes).to_string()),
            ColumnKind::DateTime64 => Cow::Owned(unsigned(bytes).cast_signed().to_string()),
            ColumnKind::Date32 => Cow::Owned(days_as_date(unsigned(bytes) as u32)),
            ColumnKind::String => {
                let text = leb128(bytes).and_then(|(_, start)| bytes.get(start..)).unwrap_or_default();
                Cow::Owned(str::from_utf8(text).map_or_else(|_| hex::encode(text), str::to_owned))
            }
            ColumnKind::UInt16Array => Cow::Owned(show_array(bytes, 2)),
            ColumnKind::UInt64Array => Cow::Owned(show_array(bytes, 8)),
        }
    }
}

/// A little-endian number of up to eight bytes.
fn unsigned(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn days_as_date(days: u32) -> String {
    let days = chrono::Duration::days(i64::from(days.cast_signed()));
    chrono::NaiveDate::default().checked_add_signed(days).map_or_else(|| days.to_string(), |date| date.to_string())
}

fn show_array(bytes: &[u8], width: usize) -> String {
    let elements = leb128(bytes).and_then(|(_, start)| bytes.get(start..)).unwrap_or_default();
    let shown: Vec<String> = elements.chunks(width).map(|element| unsigned(element).to_string()).collect();
    format!("[{}]", shown.join(","))
}

/// The values of one encoded row in the order of its columns.
pub fn values<'a>(columns: &'static [Column], row: &'a [u8]) -> impl Iterator<Item = Value<'a>> {
    let mut rest = row;
    columns.iter().map_while(move |column| column.take(&mut rest).map(|encoded| Value { column, encoded }))
}

/// The values of the sorting key, one behind the other: equal where two rows are one to the table.
pub fn key_of(columns: &'static [Column], row: &[u8]) -> Vec<u8> {
    let keys = values(columns, row).filter(|value| value.column.is_key());
    keys.flat_map(|value| value.encoded.iter().copied()).collect()
}

/// The value of a column by its name.
pub fn value_of<'a>(columns: &'static [Column], row: &'a [u8], name: &str) -> Option<Value<'a>> {
    values(columns, row).find(|value| value.column.name == name)
}

/// The number in a column that is not nullable; of a time its milliseconds. 0 where there is no such column.
pub fn number_of(columns: &'static [Column], row: &[u8], name: &str) -> u64 {
    value_of(columns, row, name).map_or(0, |value| unsigned(value.encoded))
}

/// Bytes of the row at the start of `bytes`; `None` where they end before it does.
pub(super) fn row_length(columns: &[Column], bytes: &[u8]) -> Option<usize> {
    let mut rest = bytes;
    for column in columns {
        column.take(&mut rest)?;
    }
    Some(bytes.len() - rest.len())
}

#[cfg(test)]
mod tests {
    use super::super::Table;
    use super::super::enums::Enum8;
    use super::*;
    use crate::event::Chat;

    const COLUMNS: &[Column] = &[
        Column::key("id", ColumnKind::String),
        Column::plain("chat", ColumnKind::Enum8(Chat::name_of)),
        Column::nullable("day", ColumnKind::Date32),
        Column::nullable("content", ColumnKind::String),
        Column::plain("buckets", ColumnKind::UInt16Array),
    ];

    fn row() -> Vec<u8> {
        let mut row = super::super::row_binary::RowBinary::default();
        row.string("m1").uint8(2).nullable_date32(Some(-1)).nullable_string(None::<&str>);
        row.array([1_u16, 515].into_iter(), |row, value| {
            row.uint16(value);
        });
        row.bytes().to_vec()
    }

    #[test]
    fn a_row_is_split_into_its_values_as_they_were_encoded() {
        let row = row();
        let shown: Vec<_> = values(COLUMNS, &row).map(|value| (value.column.name(), value.show())).collect();
        let expected =
            [("id", "m1"), ("chat", "group"), ("day", "1969-12-31"), ("content", "null"), ("buckets", "[1,515]")];
        assert_eq!(shown, expected.map(|(name, value)| (name, Cow::Borrowed(value))));
        assert_eq!(values(COLUMNS, &row).map(|value| value.encoded.len()).sum::<usize>(), row.len());
    }

    #[test]
    fn the_end_of_a_row_is_found_as_soon_as_it_is_there_and_not_before() {
        let row = row();
        for length in 0..row.len() {
            assert_eq!(row_length(COLUMNS, &row[..length]), None, "of {length} bytes");
        }
        assert_eq!(row_length(COLUMNS, &row), Some(row.len()));
        assert_eq!(row_length(COLUMNS, &[row.as_slice(), b"next"].concat()), Some(row.len()));
    }

    /// The type of a column as the migrations spell it.
    fn type_name(column: &Column) -> String {
        let plain = match column.kind {
            ColumnKind::String => "String",
            ColumnKind::Bool => "Bool",
            ColumnKind::Enum8(_) => "Enum8(",
            ColumnKind::UInt16 => "UInt16",
            ColumnKind::UInt32 => "UInt32",
            ColumnKind::UInt64 => "UInt64",
            ColumnKind::DateTime64 => "DateTime64(3, 'UTC')",
            ColumnKind::Date32 => "Date32",
            ColumnKind::UInt16Array => "Array(UInt16)",
            ColumnKind::UInt64Array => "Array(UInt64)",
        };
        if column.is_nullable { format!("Nullable({plain}") } else { plain.to_owned() }
    }

    #[test]
    fn columns_are_those_of_the_migrations() {
        for table in Table::ALL {
            let sql = super::super::schema::migration_of(table);
            let (definitions, engine) = sql.split_once("ENGINE").unwrap();
            let changes: Vec<&str> = super::super::schema::changes_of(table).collect();
            let added = changes
                .iter()
                .flat_map(|sql| sql.lines())
                .filter_map(|line| line.trim().strip_prefix("ADD COLUMN IF NOT EXISTS "));
            let lines: Vec<&str> = definitions.lines().map(str::trim).chain(added).collect();
            let defined = lines.iter().filter(|line| !line.starts_with("--")).filter_map(|line| {
                let (name, of_type) = line.split_once(' ')?;
                let is_written = !["MATERIALIZED", "DEFAULT"].iter().any(|word| of_type.contains(word));
                let is_column = !["CREATE", "INDEX"].contains(&name);
                (is_written && is_column)
                    .then(|| (name, of_type.trim_start().replace("LowCardinality(String)", "String")))
            });
            let mut defined: Vec<(&str, String)> = defined.collect();
            for column in table.columns() {
                let place = defined.iter().position(|(name, _)| *name == column.name());
                let (name, of_type) = defined.remove(place.unwrap_or_else(|| panic!("{} of {table:?}", column.name())));
                assert!(of_type.starts_with(&type_name(column)), "{name} of {table:?} is {of_type}");
            }
            assert_eq!(defined, [], "columns of {table:?} that are not written");

            let extended = changes.iter().rev().find_map(|sql| sql.split_once("MODIFY ORDER BY ("));
            let (_, sorting) = extended.or(engine.split_once("ORDER BY (")).unwrap();
            let (sorting, _) = sorting.split_once(')').unwrap();
            let mut sorting: Vec<&str> = sorting.split(", ").collect();
            let mut keys: Vec<&str> =
                table.columns().iter().filter(|column| column.is_key()).map(|column| column.name()).collect();
            sorting.sort_unstable();
            keys.sort_unstable();
            assert_eq!(keys, sorting, "the sorting key of {table:?}");
        }
    }
}
