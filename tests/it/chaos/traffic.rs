//! What is sent during a run: first random traffic over few ids, in which everything meets everything, then lifelike
//! traffic, both from the seed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use seenby::dev::simulator::{Simulator, SimulatorConfig};
use seenby::event::EventTime;

use crate::support::events::{DAY, OwnedRecord};
use crate::support::traffic::Traffic;
use crate::support::worker::Deployment;

/// Records over few ids, and how many of them there are to one control record.
const TANGLED: usize = 3_000;
const TO_ONE_CONTROL: usize = 150;

/// Lifelike records are spread over the last day, so that none is ahead of now; enough of them for a run of some minutes.
const LIFELIKE: u64 = 600_000;

/// Sends so many records a second until it is told to stop; what waited for a broker is made up for.
pub fn send(deployment: &Deployment, seed: u64, rate: u32, is_over: &AtomicBool) {
    let begun = Instant::now();
    let mut records = records(seed);
    let mut sent = 0.0;
    while !is_over.load(Ordering::Relaxed) {
        while sent < begun.elapsed().as_secs_f64() * f64::from(rate) {
            let Some(record) = records.next() else { return };
            deployment.hand_over(&record);
            sent += 1.0;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn records(seed: u64) -> impl Iterator<Item = OwnedRecord> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    // Time jumps in it, by some months in all.
    let mut traffic = Traffic::starting_at(seed, now - 300 * DAY);
    let tangled = (0..TANGLED)
        .map(move |number| if number.is_multiple_of(TO_ONE_CONTROL) { traffic.policy() } else { traffic.event() });
    let config =
        SimulatorConfig { seed, ..SimulatorConfig::ending_at(EventTime::from_millis(now), DAY as u32, LIFELIKE) };
    let lifelike = Simulator::new(config).unwrap().map(|record| {
        let control = record.control_type().map(str::to_owned);
        OwnedRecord { key: record.key, value: record.value, control }
    });
    tangled.chain(lifelike)
}
