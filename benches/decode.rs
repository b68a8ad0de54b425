//! Decoding on one core: 100,000 records of the simulator's mix, from bytes to events, as a worker does it: into one
//! arena that is emptied after every batch.

#![allow(clippy::expect_used)] // a bench that cannot be set up must fail

use std::hint::black_box;

use bumpalo::Bump;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use seenby::dev::simulator::{SimulatedRecord, Simulator, SimulatorConfig};
use seenby::event::{EventTime, decode_record};

const EVENTS: u64 = 100_000;
const BATCH: usize = 1_000;

/// Noon of 2026-03-01 UTC, and a day in ms.
const END: EventTime = EventTime::from_millis(1_772_366_400_000);
const SPAN_MILLIS: u32 = 24 * 60 * 60 * 1_000;

fn simulated() -> Vec<SimulatedRecord> {
    let config = SimulatorConfig::ending_at(END, SPAN_MILLIS, EVENTS);
    let records: Vec<_> = Simulator::new(config).expect("the configuration is valid").collect();
    assert!(records.len() as u64 >= EVENTS, "{} records", records.len());
    records
}

fn decode(criterion: &mut Criterion) {
    let records = simulated();
    let bytes: u64 = records.iter().map(|record| record.value.len() as u64).sum();

    let mut group = criterion.benchmark_group("decode");
    for (name, throughput) in
        [("events", Throughput::Elements(records.len() as u64)), ("bytes", Throughput::Bytes(bytes))]
    {
        group.throughput(throughput);
        group.bench_function(name, |bencher| {
            let mut arena = Bump::new();
            bencher.iter(|| {
                for batch in records.chunks(BATCH) {
                    for record in batch {
                        let control_type = record.control_type().map(str::as_bytes);
                        black_box(decode_record(black_box(&record.value), control_type, &arena));
                    }
                    arena.reset();
                }
            });
        });
    }
    group.finish();
}

fn simulate(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("simulate");
    group.throughput(Throughput::Elements(EVENTS));
    group.sample_size(10);
    group.bench_function("events", |bencher| bencher.iter(simulated));
    group.finish();
}

criterion_group!(benches, decode, simulate);
criterion_main!(benches);
