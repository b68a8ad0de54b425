//! ClickHouse's RowBinary: values one after another, in the order of the insert's columns, little-endian.

use crate::event::{EventTime, RecordTime};

/// Appends values of one row to a buffer.
#[derive(Debug, Default)]
pub(super) struct RowBinary {
    bytes: Vec<u8>,
}

impl RowBinary {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Values that are encoded already.
    pub(super) fn encoded(&mut self, values: &[u8]) {
        self.bytes.extend_from_slice(values);
    }

    /// String, also in LowCardinality: its length as LEB128, then the bytes; they need not be UTF-8.
    pub(super) fn string(&mut self, value: impl AsRef<[u8]>) -> &mut Self {
        let value = value.as_ref();
        self.leb128(value.len());
        self.bytes.extend_from_slice(value);
        self
    }

    /// Nullable(String).
    pub(super) fn nullable_string(&mut self, value: Option<impl AsRef<[u8]>>) -> &mut Self {
        match value {
            Some(value) => self.uint8(0).string(value),
            None => self.uint8(1),
        }
    }

    /// UInt8, Bool, and Enum8 of numbers below 128.
    pub(super) fn uint8(&mut self, value: u8) -> &mut Self {
        self.bytes.push(value);
        self
    }

    /// UInt16.
    pub(super) fn uint16(&mut self, value: u16) -> &mut Self {
        self.bytes.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// UInt32.
    pub(super) fn uint32(&mut self, value: u32) -> &mut Self {
        self.bytes.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// UInt64.
    pub(super) fn uint64(&mut self, value: u64) -> &mut Self {
        self.bytes.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// Int64, and DateTime64(3) as milliseconds since 1970.
    pub(super) fn int64(&mut self, value: i64) -> &mut Self {
        self.bytes.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// DateTime64(3) of an event.
    pub(super) fn event_time(&mut self, time: EventTime) -> &mut Self {
        self.int64(time.millis())
    }

    /// Nullable(DateTime64(3)).
    pub(super) fn nullable_event_time(&mut self, time: Option<EventTime>) -> &mut Self {
        match time {
            Some(time) => self.uint8(0).event_time(time),
            None => self.uint8(1),
        }
    }

    /// DateTime64(3) of a record.
    pub(super) fn record_time(&mut self, time: RecordTime) -> &mut Self {
        self.int64(time.millis())
    }

    /// Nullable(UInt32).
    pub(super) fn nullable_uint32(&mut self, value: Option<u32>) -> &mut Self {
        match value {
            Some(value) => self.uint8(0).uint32(value),
            None => self.uint8(1),
        }
    }

    /// Nullable(Date32): days since 1970, negative before.
    pub(super) fn nullable_date32(&mut self, days: Option<i32>) -> &mut Self {
        match days {
            Some(days) => {
                self.uint8(0);
                self.bytes.extend_from_slice(&days.to_le_bytes());
                self
            }
            None => self.uint8(1),
        }
    }

    /// Array: its length as LEB128, then the elements, each by `element`.
    pub(super) fn array<T>(
        &mut self,
        elements: impl ExactSizeIterator<Item = T>,
        element: impl Fn(&mut Self, T),
    ) -> &mut Self {
        self.leb128(elements.len());
        for value in elements {
            element(self, value);
        }
        self
    }

    fn leb128(&mut self, mut value: usize) {
        while value >= 0x80 {
            self.bytes.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::RowBinary;

    #[test]
    fn strings_carry_their_length_in_groups_of_seven_bits() {
        let mut row = RowBinary::default();
        row.string("ab").string("").string(vec![7_u8; 300]);
        assert_eq!(row.bytes()[..4], [2, b'a', b'b', 0]);
        assert_eq!(row.bytes()[4..6], [0xac, 0x02], "300 = 0b10_0101100");
        assert_eq!(row.len(), 3 + 1 + 2 + 300);
    }

    #[test]
    fn an_absent_value_is_one_byte() {
        let mut row = RowBinary::default();
        row.nullable_string(None::<&str>).nullable_uint32(None).nullable_date32(None).nullable_event_time(None);
        assert_eq!(row.bytes(), [1, 1, 1, 1]);
        row.clear();
        row.nullable_string(Some("")).nullable_date32(Some(-1));
        assert_eq!(row.bytes(), [0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
    }

    #[test]
    fn arrays_carry_their_length() {
        let mut row = RowBinary::default();
        row.array([1_u16, 515].into_iter(), |row, value| {
            row.uint16(value);
        });
        assert_eq!(row.bytes(), [2, 1, 0, 3, 2]);
    }
}
