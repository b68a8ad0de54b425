//! The running totals of a partition: every record by outcome, every end of a wait, every delay.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::Outcome;
use super::delay;
use super::fact::{LedgerFact, Measure, Sink};
use super::state::apps::{App, Apps};
use super::state::slots::Slot;
use crate::event::{EventTime, EventType, Offset, RecordTime};

pub(crate) const HOUR_MILLIS: i64 = 60 * 60 * 1000;

/// What one cell of the current hour counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CellKey {
    pub(crate) app: Slot<App>,
    /// `None` for malformed records and unknown types.
    pub(crate) event_type: Option<EventType>,
    pub(crate) measure: Measure,
    /// `None` for delays.
    pub(crate) outcome: Option<Outcome>,
}

/// A cell with its total and, of delays, the non-empty buckets.
pub(crate) type CellTotal<'a> = (CellKey, u64, &'a [(u16, u64)]);

#[derive(Clone, Debug)]
struct Cell {
    key: CellKey,
    hour: i64,
    total: u64,
    /// Of delays: the non-empty buckets, ascending.
    buckets: Vec<(u16, u64)>,
    is_changed: bool,
}

/// The cells of the current hour, and those of earlier hours that have not been given out yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    /// Start of the largest hour of record time so far, in ms since 1970.
    hour: i64,
    cells: Vec<Cell>,
    by_key: HashTable<u32>,
    hasher: FixedState,
    /// Cells of the current hour that changed since the last flush, in the order of their first change.
    changed: Vec<u32>,
    /// Changed cells of earlier hours.
    closed: Vec<Cell>,
    /// Bytes of the buckets of all these cells.
    bucket_bytes: usize,
}

impl Ledger {
    /// Moves on to the hour of a record's time. Hours never go back, and a record without a time keeps the hour.
    pub(crate) fn move_to(&mut self, record_time: RecordTime) {
        if record_time.millis() < self.hour + HOUR_MILLIS {
            return;
        }
        self.hour = record_time.millis() - record_time.millis() % HOUR_MILLIS;
        let changed = std::mem::take(&mut self.changed);
        let cells = std::mem::take(&mut self.cells);
        self.closed.extend(changed.iter().filter_map(|&number| cells.get(number as usize).cloned()));
        self.by_key.clear();
        self.bucket_bytes = self.closed.iter().map(Cell::bucket_bytes).sum();
    }

    /// Counts a record consumed.
    pub(crate) fn count_record(&mut self, app: Slot<App>, event_type: Option<EventType>, outcome: Outcome) {
        let key = CellKey { app, event_type, measure: Measure::Records, outcome: Some(outcome) };
        self.changed_cell(key).total += 1;
    }

    /// Counts the end of a wait.
    pub(crate) fn count_settled(&mut self, app: Slot<App>, event_type: Option<EventType>, outcome: Outcome) {
        let key = CellKey { app, event_type, measure: Measure::Settled, outcome: Some(outcome) };
        self.changed_cell(key).total += 1;
    }

    /// Counts the delay from a message to its receipt in ms; one that came before the message has none.
    pub(crate) fn count_delay(&mut self, app: Slot<App>, event_type: EventType, delay_millis: i64) {
        let key = CellKey { app, event_type: Some(event_type), measure: Measure::Delays, outcome: None };
        let bucket = delay::bucket_of(u64::try_from(delay_millis).unwrap_or(0));
        let cell = self.changed_cell(key);
        let bytes_before = cell.bucket_bytes();
        cell.total += 1;
        match cell.buckets.binary_search_by_key(&bucket, |(number, _)| *number) {
            Ok(place) => {
                if let Some((_, total)) = cell.buckets.get_mut(place) {
                    *total += 1;
                }
            }
            Err(place) => cell.buckets.insert(place, (bucket, 1)),
        }
        let bytes = cell.bucket_bytes();
        self.bucket_bytes += bytes - bytes_before;
    }

    /// Gives out the total of every cell that changed since the last time, then the watermark's.
    pub(crate) fn give_out(&mut self, apps: &Apps, watermark: EventTime, next_offset: Offset, sink: &mut impl Sink) {
        for cell in self.closed.drain(..) {
            sink.ledger(&cell.fact(apps, next_offset));
            self.bucket_bytes -= cell.bucket_bytes();
        }
        for number in self.changed.drain(..) {
            if let Some(cell) = self.cells.get_mut(number as usize) {
                cell.is_changed = false;
                sink.ledger(&cell.fact(apps, next_offset));
            }
        }
        sink.ledger(&LedgerFact {
            app: "",
            event_type: "",
            measure: Measure::Watermark,
            outcome: "",
            hour: RecordTime::from_millis(0),
            total: watermark.millis().unsigned_abs(),
            buckets: &[],
            next_offset,
        });
    }

    /// Takes a cell's total as it was given out. Of a cell given several times the largest stays, as totals only grow;
    /// cells of earlier hours than the latest are over.
    pub(crate) fn restore(&mut self, key: CellKey, hour: RecordTime, total: u64, buckets: &[(u16, u64)]) {
        if hour.millis() < self.hour {
            return;
        }
        self.move_to(hour);
        let cell = self.cell(key);
        if cell.total < total {
            let bytes_before = cell.bucket_bytes();
            cell.total = total;
            cell.buckets = buckets.to_vec();
            let bytes = cell.bucket_bytes();
            self.bucket_bytes = self.bucket_bytes + bytes - bytes_before;
        }
    }

    /// Start of the current hour, and its cells with their totals and buckets.
    pub(crate) fn current(&self) -> (i64, impl Iterator<Item = CellTotal<'_>>) {
        (self.hour, self.cells.iter().map(|cell| (cell.key, cell.total, cell.buckets.as_slice())))
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        (self.cells.capacity() + self.closed.capacity()) * size_of::<Cell>()
            + self.by_key.allocation_size()
            + self.changed.capacity() * size_of::<u32>()
            + self.bucket_bytes
    }

    fn changed_cell(&mut self, key: CellKey) -> &mut Cell {
        let number = self.number_of(key);
        let Self { cells, changed, .. } = self;
        let cell = cell_at(cells, number);
        if !cell.is_changed {
            cell.is_changed = true;
            changed.push(number);
        }
        cell
    }

    fn cell(&mut self, key: CellKey) -> &mut Cell {
        let number = self.number_of(key);
        cell_at(&mut self.cells, number)
    }

    fn number_of(&mut self, key: CellKey) -> u32 {
        let Self { cells, by_key, hasher, hour, .. } = self;
        let hash = key.hash(hasher);
        if let Some(number) = by_key.find(hash, |&number| cell_at_ref(cells, number).key == key) {
            return *number;
        }
        let number = cells.len() as u32;
        cells.push(Cell { key, hour: *hour, total: 0, buckets: Vec::new(), is_changed: false });
        by_key.insert_unique(hash, number, |&other| cell_at_ref(cells, other).key.hash(hasher));
        number
    }
}

#[expect(
    clippy::indexing_slicing,
    reason = "numbers in the table of keys are places of cells; both are cleared together"
)]
fn cell_at(cells: &mut [Cell], number: u32) -> &mut Cell {
    &mut cells[number as usize]
}

#[expect(
    clippy::indexing_slicing,
    reason = "numbers in the table of keys are places of cells; both are cleared together"
)]
fn cell_at_ref(cells: &[Cell], number: u32) -> &Cell {
    &cells[number as usize]
}

impl Cell {
    fn bucket_bytes(&self) -> usize {
        self.buckets.capacity() * size_of::<(u16, u64)>()
    }

    fn fact<'a>(&'a self, apps: &'a Apps, next_offset: Offset) -> LedgerFact<'a> {
        LedgerFact {
            app: &apps.get(self.key.app).name,
            event_type: self.key.event_type.map_or("", EventType::name),
            measure: self.key.measure,
            outcome: self.key.outcome.map_or("", Outcome::name),
            hour: RecordTime::from_millis(self.hour),
            total: self.total,
            buckets: &self.buckets,
            next_offset,
        }
    }
}

impl CellKey {
    fn hash(&self, hasher: &FixedState) -> u64 {
        // One byte each: there are fewer than 255 types and outcomes. 255 stands for none.
        let event_type = self.event_type.map_or(255, |event_type| event_type as u64);
        let outcome = self.outcome.map_or(255, |outcome| outcome as u64);
        let packed = u64::from(self.app.number()) << 32 | event_type << 16 | outcome << 8 | self.measure as u64;
        let mut hash = hasher.build_hasher();
        hash.write_u64(packed);
        hash.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_of_delays_are_in_the_books_until_their_cells_are_gone() {
        let app = Slot::from_number(0);
        let mut ledger = Ledger::default();
        ledger.count_delay(app, EventType::Read, 0);
        let with_one_bucket = ledger.bytes();
        for power in 1..40 {
            ledger.count_delay(app, EventType::Read, 1 << power);
        }
        let buckets = ledger.current().1.map(|(_, _, buckets)| buckets.len()).sum::<usize>();
        assert!(buckets > 30, "{buckets} buckets");
        assert!(ledger.bytes() >= with_one_bucket + (buckets - 4) * size_of::<(u16, u64)>());

        ledger.changed.clear();
        ledger.move_to(RecordTime::from_millis(HOUR_MILLIS));
        assert_eq!(ledger.bucket_bytes, 0);
    }
}
