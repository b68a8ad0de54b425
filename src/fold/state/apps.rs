//! The tenants met, with their policies.

use std::collections::BTreeSet;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::hash_of;
use super::slots::{Slot, Slots};
use crate::event::EventTime;
use crate::policy::{Policy, PolicyHistory, PolicyVersion};

/// A tenant, and what its control records said so far in this partition's log.
#[derive(Clone, Debug)]
pub(crate) struct App {
    /// `org#name`; "" stands for malformed records.
    pub(crate) name: Box<str>,
    history: PolicyHistory,
    versions: BTreeSet<u64>,
    erasures: u32,
}

impl App {
    /// The policy in force for an event at `at`.
    pub(crate) fn policy_at(&self, at: EventTime) -> &Policy {
        self.history.in_force(at)
    }

    /// The policies met, each with from when it is in force and its version.
    pub(crate) fn policies(&self) -> impl Iterator<Item = (EventTime, u64, &Policy)> {
        self.history.versions()
    }

    /// How many erasures were met.
    pub(crate) fn erasures(&self) -> u32 {
        self.erasures
    }

    /// The version numbers met, ascending.
    pub(crate) fn versions(&self) -> &BTreeSet<u64> {
        &self.versions
    }
}

/// All tenants met. They are few and stay.
#[derive(Clone, Debug, Default)]
pub(crate) struct Apps {
    slots: Slots<App>,
    by_name: HashTable<Slot<App>>,
    hasher: FixedState,
    /// Bytes of names, version numbers and policies, as the entries' own.
    heap_bytes: usize,
}

impl Apps {
    /// The app of a name, new where it was not met before.
    pub(crate) fn intern(&mut self, name: &str) -> Slot<App> {
        let hash = hash_of(&self.hasher, name);
        if let Some(known) = self.by_name.find(hash, |&slot| *self.slots.get(slot).name == *name) {
            return *known;
        }
        let app = App { name: name.into(), history: PolicyHistory::default(), versions: BTreeSet::new(), erasures: 0 };
        let slot = self.slots.insert(app);
        self.heap_bytes += name.len();
        let Self { slots, by_name, hasher, .. } = self;
        by_name.insert_unique(hash, slot, |&other| hash_of(hasher, &slots.get(other).name));
        slot
    }

    /// A known app.
    pub(crate) fn get(&self, slot: Slot<App>) -> &App {
        self.slots.get(slot)
    }

    /// Notes a version number of an app, which policies and erasures share; false where it was met before.
    pub(crate) fn meet_version(&mut self, slot: Slot<App>, version: u64) -> bool {
        let is_new = self.slots.get_mut(slot).versions.insert(version);
        self.heap_bytes += if is_new { size_of::<u64>() } else { 0 };
        is_new
    }

    /// Takes a policy whose version was not met before.
    pub(crate) fn add_policy(&mut self, slot: Slot<App>, version: &PolicyVersion) {
        self.slots.get_mut(slot).history.add(version);
        self.heap_bytes += size_of::<(EventTime, u64)>() + size_of::<Policy>();
    }

    /// Notes an erasure whose version was not met before.
    pub(crate) fn note_erasure(&mut self, slot: Slot<App>) {
        self.slots.get_mut(slot).erasures += 1;
    }

    /// Takes a policy to be in force for events of every time, whatever versions are met.
    pub(crate) fn assume_policy(&mut self, slot: Slot<App>, policy: Policy) {
        self.slots.get_mut(slot).history.assume(policy);
    }

    /// All apps.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &App> {
        self.slots.iter().map(|(_, app)| app)
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> usize {
        self.slots.bytes() + self.by_name.allocation_size() + self.heap_bytes
    }
}
