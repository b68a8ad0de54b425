//! Lifelike traffic: the same seed gives the same records, byte for byte.
//!
//! People write in groups of very different sizes and in pairs; receipts follow after delays with a long tail, from
//! several devices, sometimes before their message; some messages may not ask for receipts, some records are spoilt.
//! Events are spread evenly over event time up to a given instant and never lie ahead of it, so that no event is
//! skewed by accident.

mod command;
mod file;
mod mishap;
mod plan;
mod produce;
mod spell;
mod world;

use bumpalo::Bump;

pub use command::{SimulateArgs, SimulateError, run};
pub use file::{FileError, write_file};
pub use produce::{ProduceError, Produced, Progress, produce};

use crate::event::{Control, EventTime, EventType, encode_control};
use plan::Plan;
use world::World;

/// How many records of a hundred thousand are spoilt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Not valid records.
    pub malformed: u32,
    /// Under another conversation's key.
    pub misrouted: u32,
    /// Decades ahead of the broker's clock.
    pub skewed: u32,
    /// Of an unknown type.
    pub unsupported: u32,
}

impl Default for Shares {
    fn default() -> Self {
        Self { malformed: 100, misrouted: 30, skewed: 30, unsupported: 50 }
    }
}

impl Shares {
    /// No record is spoilt.
    pub const NONE: Self = Self { malformed: 0, misrouted: 0, skewed: 0, unsupported: 0 };
}

/// What traffic to make.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SimulatorConfig {
    /// Records in all, policies not counted; `None` for an endless stream.
    pub events: Option<u64>,
    /// Tenants, at least 1. Every fifth keeps group receipts closed.
    pub apps: u32,
    /// Groups of all tenants, at least 1.
    pub groups: u32,
    /// Start of the random numbers.
    pub seed: u64,
    /// Event time of the first record.
    pub start_at: EventTime,
    /// Event time from one record to the next, in ms.
    pub pace_millis: f64,
    /// Records that are spoilt.
    pub shares: Shares,
}

impl SimulatorConfig {
    /// So many records spread over the `span_millis` of event time that end at `end`.
    pub fn ending_at(end: EventTime, span_millis: u32, events: u64) -> Self {
        Self {
            events: Some(events),
            start_at: EventTime::from_millis(end.millis() - i64::from(span_millis)),
            pace_millis: f64::from(span_millis) / events.max(1) as f64,
            ..Self::live(end, 1)
        }
    }

    /// An endless stream whose event time starts at `now` and keeps step with a clock at `rate` records a second.
    pub fn live(now: EventTime, rate: u32) -> Self {
        Self {
            events: None,
            apps: 5,
            groups: 200,
            seed: 1,
            start_at: now,
            pace_millis: 1_000.0 / f64::from(rate.max(1)),
            shares: Shares::default(),
        }
    }
}

/// What a record was made as. What becomes of it depends on the state it meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordKind {
    /// A control record; a copy of it belongs in every partition.
    Policy,
    /// A valid event under its own key.
    Event,
    /// A spoilt record: not valid.
    Malformed,
    /// A spoilt record: under another key.
    Misrouted,
    /// A spoilt record: far ahead of the broker's clock.
    Skewed,
    /// A spoilt record: of an unknown type.
    Unsupported,
}

/// One record to be produced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimulatedRecord {
    /// What it was made as.
    pub kind: RecordKind,
    /// The record key; `None` for control records.
    pub key: Option<Vec<u8>>,
    /// The record value.
    pub value: Vec<u8>,
}

impl SimulatedRecord {
    /// The value of the header that makes it a control record, if it is one.
    pub const fn control_type(&self) -> Option<&'static str> {
        match self.kind {
            RecordKind::Policy => Some(EventType::Policy.name()),
            _ => None,
        }
    }
}

/// The records in the order in which they reach the topic: the apps' policies, then events.
#[derive(Debug)]
pub struct Simulator {
    config: SimulatorConfig,
    world: World,
    plan: Plan,
    policies: std::vec::IntoIter<Control>,
    arena: Bump,
    given: u64,
}

impl Simulator {
    /// Starts the stream.
    ///
    /// # Errors
    /// Where the delays' distribution cannot be made, which its fixed parameters rule out.
    pub fn new(config: SimulatorConfig) -> Result<Self, rand_distr::NormalError> {
        let world = World::new(config.apps, config.groups);
        let policies: Vec<Control> = world.policies(config.start_at).into_iter().map(Control::Policy).collect();
        Ok(Self {
            plan: Plan::new(config.seed)?,
            policies: policies.into_iter(),
            world,
            config,
            arena: Bump::new(),
            given: 0,
        })
    }

    /// How many control records come first; each belongs in every partition.
    pub fn policies(&self) -> usize {
        self.policies.len()
    }

    /// Makes the next event; `false` at the end of the stream.
    fn next_event(&mut self, record: &mut SimulatedRecord) -> bool {
        if self.config.events.is_some_and(|events| self.given >= events) {
            return false;
        }
        let elapsed_millis = (self.given as f64 * self.config.pace_millis) as i64;
        let now = self.config.start_at.millis() + elapsed_millis;
        self.given += 1;
        let planned = self.plan.next(now, &mut self.world);
        let key = record.key.get_or_insert_default();
        self.arena.reset();
        if spell::spell(&planned, &self.world, &self.arena, key, &mut record.value).is_none() {
            return false;
        }
        record.kind = mishap::kind_of_next(&mut self.plan, &self.config.shares);
        mishap::spoil(record.kind, &mut self.plan, planned.at, key, &mut record.value);
        true
    }

    /// Writes the next record over `record`, whose buffers are used again; `false` at the end of the stream.
    pub fn next_into(&mut self, record: &mut SimulatedRecord) -> bool {
        let Some(policy) = self.policies.next() else { return self.next_event(record) };
        record.kind = RecordKind::Policy;
        record.key = None;
        record.value.clear();
        encode_control(&policy, &mut record.value);
        true
    }
}

impl Iterator for Simulator {
    type Item = SimulatedRecord;

    fn next(&mut self) -> Option<SimulatedRecord> {
        let mut record = SimulatedRecord { kind: RecordKind::Event, key: None, value: Vec::with_capacity(256) };
        self.next_into(&mut record).then_some(record)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::event::{Body, Input, decode_record};

    const END: EventTime = EventTime::from_millis(1_772_366_400_000);
    const DAY: u32 = 24 * 60 * 60 * 1_000;

    fn config(events: u64) -> SimulatorConfig {
        SimulatorConfig::ending_at(END, DAY, events)
    }

    fn simulate(config: SimulatorConfig) -> Vec<SimulatedRecord> {
        Simulator::new(config).unwrap().collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_records_and_another_seed_others() {
        assert_eq!(simulate(config(2_000)), simulate(config(2_000)));
        assert_ne!(simulate(config(2_000)), simulate(SimulatorConfig { seed: 2, ..config(2_000) }));
    }

    #[test]
    fn policies_come_first_and_are_not_counted_among_the_events() {
        let simulator = Simulator::new(config(100)).unwrap();
        let policies = simulator.policies();
        let records: Vec<_> = simulator.collect();
        assert_eq!(policies, 4); // of five apps one never opened receipts
        assert_eq!(records.len(), policies + 100);
        let arena = Bump::new();
        for (index, record) in records.iter().enumerate() {
            assert_eq!(record.kind == RecordKind::Policy, index < policies);
            let input = decode_record(&record.value, record.control_type().map(str::as_bytes), &arena);
            assert_eq!(matches!(input, Input::Control(_)), index < policies);
        }
    }

    #[test]
    fn records_are_what_they_were_made_as_and_none_is_ahead_of_the_end() {
        let shares = Shares { malformed: 2_000, misrouted: 1_000, skewed: 1_000, unsupported: 1_000 };
        let mut met = BTreeMap::new();
        for record in simulate(SimulatorConfig { shares, ..config(30_000) }) {
            *met.entry(record.kind).or_insert(0) += 1;
            let arena = Bump::new();
            let input = decode_record(&record.value, record.control_type().map(str::as_bytes), &arena);
            let Input::Event(event) = input else {
                assert!(matches!(record.kind, RecordKind::Policy | RecordKind::Malformed), "{record:?}");
                continue;
            };
            assert_ne!(record.kind, RecordKind::Malformed, "{}", String::from_utf8_lossy(&record.value));
            let has_its_key = event.matches_key(record.key.as_deref().unwrap()).is_some();
            assert_eq!(has_its_key, record.kind != RecordKind::Misrouted);
            assert_eq!(event.at > END, record.kind == RecordKind::Skewed);
            let is_unsupported = matches!(event.body, Body::Unsupported { .. });
            assert_eq!(is_unsupported, record.kind == RecordKind::Unsupported);
        }
        for (kind, expected) in [
            (RecordKind::Malformed, 600),
            (RecordKind::Misrouted, 300),
            (RecordKind::Skewed, 300),
            (RecordKind::Unsupported, 300),
        ] {
            assert!((expected * 2 / 3..expected * 3 / 2).contains(&met[&kind]), "{met:?}");
        }
    }

    #[test]
    fn every_type_of_event_comes_and_receipts_are_most_of_them() {
        let mut met = BTreeMap::new();
        let (mut early, mut messages) = (0, BTreeSet::new());
        for record in simulate(SimulatorConfig { shares: Shares::NONE, ..config(100_000) }) {
            let arena = Bump::new();
            if let Input::Event(event) = decode_record(&record.value, record.control_type().map(str::as_bytes), &arena)
            {
                *met.entry(event.body.event_type().unwrap().name()).or_insert(0) += 1;
                match event.body {
                    Body::Message { .. } => _ = messages.insert(event.id.as_str().to_owned()),
                    Body::Read { message, .. } => early += i32::from(!messages.contains(message.as_str())),
                    _ => {}
                }
            }
        }
        for name in ["message", "delivered", "read", "conversation_read", "recall", "member", "roster"] {
            assert!(met.contains_key(name), "{name}: {met:?}");
        }
        assert!(met["read"] > 50_000 && met["message"] > 2_000, "{met:?}");
        assert!(early > 100, "{early}");
    }

    #[test]
    fn event_time_ends_close_to_the_given_end() {
        let last = simulate(SimulatorConfig { shares: Shares::NONE, ..config(20_000) }).pop().unwrap();
        let arena = Bump::new();
        let Input::Event(event) = decode_record(&last.value, None, &arena) else { unreachable!() };
        assert!((0..i64::from(DAY) / 4).contains(&END.since(event.at)), "{:?}", event.at);
    }
}
