//! Fold of simulated traffic in events a second on one core, decoding left out: `cargo bench --bench fold`.
//!
//! One iteration folds all records into a new partition and ends a batch every 10,000 records, as a worker does; what
//! is given out goes nowhere. The next day meets the tables of the first, in their size and with cold caches.

#![allow(clippy::expect_used, missing_docs)]

use std::hint::black_box;

use bumpalo::Bump;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use seenby::dev::simulator::{SimulatedRecord, Simulator, SimulatorConfig};
use seenby::event::{Epoch, EventTime, Offset, PartitionId, Record, RecordTime, decode_record};
use seenby::fold::fact::{
    CountsFact, LedgerFact, MarkFact, MessageFact, NotificationFact, ParkedFact, PolicyFact, RecallFact, ReceiptFact,
    RejectionFact, RosterFact, SettlementFact, Sink,
};
use seenby::fold::{Partition, PartitionIdentity};

const EVENTS: u64 = 500_000;
const RECORDS_PER_FLUSH: usize = 10_000;
const DAY_MILLIS: u32 = 24 * 60 * 60 * 1000;
const END: EventTime = EventTime::from_millis(1_772_366_400_000);

/// Takes facts and keeps nothing.
struct Nowhere;

impl Sink for Nowhere {
    fn message(&mut self, fact: &MessageFact<'_>) {
        black_box(fact);
    }
    fn receipt(&mut self, fact: &ReceiptFact<'_>) {
        black_box(fact);
    }
    fn recall(&mut self, fact: &RecallFact<'_>) {
        black_box(fact);
    }
    fn roster(&mut self, fact: &RosterFact<'_>) {
        black_box(fact);
    }
    fn mark(&mut self, fact: &MarkFact<'_>) {
        black_box(fact);
    }
    fn parked(&mut self, fact: &ParkedFact<'_>) {
        black_box(fact);
    }
    fn settlement(&mut self, fact: &SettlementFact<'_>) {
        black_box(fact);
    }
    fn policy(&mut self, fact: &PolicyFact<'_>) {
        black_box(fact);
    }
    fn rejection(&mut self, fact: &RejectionFact<'_>) {
        black_box(fact);
    }
    fn notification(&mut self, fact: &NotificationFact<'_>) {
        black_box(fact);
    }
    fn counts(&mut self, fact: &CountsFact<'_>) {
        black_box(fact);
    }
    fn ledger(&mut self, fact: &LedgerFact<'_>) {
        black_box(fact);
    }
}

/// A day of traffic of many groups that ends at `end`.
fn simulated(seed: u64, end: EventTime) -> Vec<SimulatedRecord> {
    let config =
        SimulatorConfig { seed, groups: 2_000, apps: 20, ..SimulatorConfig::ending_at(end, DAY_MILLIS, EVENTS) };
    Simulator::new(config).expect("the simulator's fixed parameters are valid").collect()
}

/// The records decoded, at ascending offsets from `first_offset` on.
fn decoded<'a>(records: &'a [SimulatedRecord], first_offset: u64, end: EventTime, arena: &'a Bump) -> Vec<Record<'a>> {
    let start = end.millis() - i64::from(DAY_MILLIS);
    let time_of = |number: u64| start + (number as f64 / EVENTS as f64 * f64::from(DAY_MILLIS)) as i64;
    let numbered = records.iter().zip(0_u64..);
    numbered
        .map(|(record, number)| Record {
            offset: Offset::new(first_offset + number),
            time: RecordTime::from_millis(time_of(number)),
            key: record.key.as_deref(),
            value: &record.value,
            input: decode_record(&record.value, record.control_type().map(str::as_bytes), arena),
        })
        .collect()
}

fn fold_all(partition: &mut Partition, records: &[Record<'_>]) {
    for batch in records.chunks(RECORDS_PER_FLUSH) {
        for record in batch {
            black_box(partition.apply(record, &mut Nowhere));
        }
        partition.end_flush(partition.next_offset(), &mut Nowhere);
    }
}

fn new_partition() -> Partition {
    let identity = PartitionIdentity { epoch: Epoch::new(1), partition: PartitionId::new(0), partitions: 1 };
    Partition::new(identity)
}

fn bench_fold(criterion: &mut Criterion) {
    let arena = Bump::new();
    let first_day = simulated(1, END);
    let next_end = END.plus_millis(i64::from(DAY_MILLIS));
    let next_day = simulated(2, next_end);
    let first = decoded(&first_day, 0, END, &arena);
    let next = decoded(&next_day, first.len() as u64, next_end, &arena);

    let mut group = criterion.benchmark_group("fold");
    group.sample_size(10);
    group.throughput(Throughput::Elements(first.len() as u64));
    group.bench_function("first day", |bencher| {
        bencher.iter_batched_ref(new_partition, |partition| fold_all(partition, &first), BatchSize::PerIteration);
    });
    group.throughput(Throughput::Elements(next.len() as u64));
    let with_first_day = || {
        let mut partition = new_partition();
        fold_all(&mut partition, &first);
        partition
    };
    group.bench_function("next day, in the state of the first", |bencher| {
        bencher.iter_batched_ref(with_first_day, |partition| fold_all(partition, &next), BatchSize::PerIteration);
    });
    group.finish();
}

criterion_group!(benches, bench_fold);
criterion_main!(benches);
