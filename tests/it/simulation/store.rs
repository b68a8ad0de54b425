//! The store on the ClickHouse in memory: statements that fail before, after or in the middle of their effect, or arrive
//! when nobody waits for them any more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use rand::RngExt as _;
use rand::seq::SliceRandom as _;
use seenby::event::{EventTime, Offset, PartitionId};
use seenby::store::{
    Completeness, HydratedPartition, HydrationProgress, HydrationRequest, LedgerFrontier, RowBatch, Store, StoreError,
    Table, TopicIdentity,
};

use super::clickhouse::{Columns, Row, Statement, decode};
use super::world::{Event, HydratedState, Mistake, World, partitions};
use super::{completeness, hydration};

/// Rows that a mistaken store keeps until the commit; they die with their worker.
#[derive(Clone, Default)]
pub struct HeldBack {
    statements: Arc<Mutex<Vec<Statement>>>,
}

impl HeldBack {
    fn keep(&self, statement: Statement) {
        self.statements.lock().unwrap_or_else(PoisonError::into_inner).push(statement);
    }

    pub fn release(&self, world: &World) {
        world.pause();
        let statements = std::mem::take(&mut *self.statements.lock().unwrap_or_else(PoisonError::into_inner));
        world.with(|shared| statements.iter().for_each(|statement| shared.clickhouse.insert(statement)));
    }
}

/// One worker's connection to ClickHouse.
pub struct MemoryStore {
    world: World,
    held_back: HeldBack,
    /// The totals that a mistaken ledger was given last, by cell.
    totals: BTreeMap<String, i64>,
}

impl MemoryStore {
    pub fn new(world: &World, held_back: HeldBack) -> Self {
        Self { world: world.clone(), held_back, totals: BTreeMap::new() }
    }

    fn insert(&mut self, table: Table, rows: &RowBatch) -> Result<(), StoreError> {
        let rows = decode(table, rows.table(table).bytes());
        if rows.is_empty() {
            return Ok(());
        }
        let mistake = self.world.with(|shared| shared.mistake);
        let rows = self.with_mistake(mistake, table, rows);
        let statement = Statement { table, rows };
        if mistake == Mistake::RowsAfterCommit {
            self.held_back.keep(statement);
            return Ok(());
        }
        let number = self.world.with(|shared| shared.clickhouse.send(statement));
        // A worker that dies here leaves it on its way.
        self.world.pause();
        self.world.with(|shared| {
            let percent = if shared.mishaps.is_clickhouse_down { 100 } else { shared.mishaps.statement };
            if !shared.chance(percent) && shared.clickhouse.land(number) {
                return Ok(());
            }
            match shared.random.random_range(0..4) {
                0 => shared.clickhouse.lose(number),
                1 => {
                    shared.meet(Event::InsertUnanswered);
                    let _ = shared.clickhouse.land(number);
                }
                2 => {
                    shared.meet(Event::InsertInPart);
                    shared.clickhouse.land_partly(number, &mut shared.random);
                }
                _ => shared.meet(Event::InsertLeftOnItsWay),
            }
            Err(unavailable("writing", table.name()))
        })
    }

    /// An insert that nobody waits for any more.
    fn leave_in_flight(&mut self, table: Table, rows: &RowBatch) {
        let rows = decode(table, rows.table(table).bytes());
        let mistake = self.world.with(|shared| shared.mistake);
        if mistake != Mistake::RowsAfterCommit {
            let rows = self.with_mistake(mistake, table, rows);
            self.world.with(|shared| {
                let number = shared.clickhouse.send(Statement { table, rows });
                if shared.chance(50) {
                    shared.clickhouse.lose(number);
                }
            });
        }
    }

    fn with_mistake(&mut self, mistake: Mistake, table: Table, rows: Vec<Row>) -> Vec<Row> {
        match mistake {
            Mistake::LedgerOfDifferences if table == Table::Ledger => {
                rows.iter().map(|row| self.as_difference(row)).collect()
            }
            Mistake::OwnOffsetOnSettledRows
                if matches!(table, Table::Receipts | Table::Recalls | Table::Settlements) =>
            {
                let at_own_offset = |row| {
                    let columns = Columns::of(table, row);
                    columns.with_number("offset", columns.number("own_offset"))
                };
                rows.iter().map(at_own_offset).collect()
            }
            _ => rows,
        }
    }

    fn as_difference(&mut self, row: &Row) -> Row {
        let columns = Columns::of(Table::Ledger, row);
        let cell = hydration::cell_of(&columns);
        if cell.measure == "watermark" {
            return row.clone();
        }
        let total = columns.number("total");
        let before = self.totals.insert(format!("{cell:?}"), total).unwrap_or(0);
        columns.with_number("total", total - before)
    }

    fn reading(&self, table: Table) -> Result<(), StoreError> {
        self.world.pause();
        let fails = self.world.with(|shared| {
            let percent = shared.mishaps.statement / 4;
            shared.mishaps.is_clickhouse_down || shared.chance(percent)
        });
        if fails { Err(unavailable("reading", table.name())) } else { Ok(()) }
    }

    /// The rows of a table at one moment.
    pub fn read(&self, table: Table) -> Result<Vec<Row>, StoreError> {
        self.reading(table)?;
        Ok(self.world.with(|shared| shared.clickhouse.rows(table).to_vec()))
    }
}

fn unavailable(doing: &'static str, target: &str) -> StoreError {
    StoreError::Unavailable { doing, target: target.to_owned(), reason: "timed out".to_owned() }
}

impl Store for MemoryStore {
    fn write(&mut self, rows: &RowBatch) -> Result<(), StoreError> {
        // All but the ledger are sent at once, and are not waited for after the first failure.
        let mut facts: Vec<Table> = Table::ALL.into_iter().filter(|table| *table != Table::Ledger).collect();
        self.world.with(|shared| facts.shuffle(&mut shared.random));
        let mut failed = Ok(());
        for table in facts {
            match failed {
                Ok(()) => failed = self.insert(table, rows),
                Err(_) => self.leave_in_flight(table, rows),
            }
        }
        failed?;
        self.insert(Table::Ledger, rows)
    }

    fn frontiers(&mut self, _topic: &TopicIdentity) -> Result<Vec<LedgerFrontier>, StoreError> {
        let ledger = self.read(Table::Ledger)?;
        let frontier = |partition| {
            let (next_offset, watermark) = hydration::last_boundary(&ledger, partition, Offset::new(u64::MAX))?;
            Some(LedgerFrontier { partition, next_offset, watermark, inserted_at_millis: 0 })
        };
        Ok(partitions().filter_map(frontier).collect())
    }

    fn completeness(
        &mut self,
        topic: &TopicIdentity,
        requests: &[HydrationRequest],
    ) -> Result<Vec<Completeness>, StoreError> {
        let mut tables = BTreeMap::new();
        for table in Table::ALL {
            tables.insert(table, self.read(table)?);
        }
        Ok(requests.iter().map(|request| completeness::of(&tables, topic, *request)).collect())
    }

    fn boundaries(
        &mut self,
        _topic: &TopicIdentity,
        partition: PartitionId,
        from: Offset,
        to: Offset,
    ) -> Result<Vec<Offset>, StoreError> {
        let ledger = self.read(Table::Ledger)?;
        let boundaries: BTreeSet<Offset> =
            hydration::boundaries(&ledger, partition).map(|(offset, _)| offset).collect();
        Ok(boundaries.range(from..=to).copied().collect())
    }

    fn hydrate(
        &mut self,
        topic: &TopicIdentity,
        requests: &[HydrationRequest],
        progress: &mut HydrationProgress<'_>,
    ) -> Result<Vec<HydratedPartition>, StoreError> {
        let ledger = self.read(Table::Ledger)?;
        if progress(Table::Ledger.name(), ledger.len() as u64).is_break() {
            return Err(StoreError::Stopped);
        }
        let boundaries: Vec<Option<(Offset, EventTime)>> = requests
            .iter()
            .map(|request| hydration::last_boundary(&ledger, request.partition, request.committed))
            .collect();
        let mut hydrated = Vec::new();
        for (request, boundary) in requests.iter().zip(boundaries) {
            let (boundary, watermark) = boundary.unzip();
            let watermark = watermark.unwrap_or_default();
            let state = hydration::restore(self, topic, *request, watermark)?;
            self.world.with(|shared| {
                let digest = state.digest();
                let (partition, committed) = (request.partition, request.committed);
                shared.hydrated.push(HydratedState { partition, committed, digest });
            });
            hydrated.push(HydratedPartition { state, committed: request.committed, boundary, watermark, rows: 0 });
        }
        Ok(hydrated)
    }
}
