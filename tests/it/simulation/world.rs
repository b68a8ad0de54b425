//! All that outlives a worker: the log, the group, ClickHouse, time and chance, behind one lock.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use seenby::event::{Epoch, Offset, PartitionId};
use seenby::store::TopicIdentity;
use seenby::worker::Clock;

use super::clickhouse::ClickHouse;
use super::coroutine;
use super::group::{ClientId, Coordinator};
use super::topic::Topic;
use super::transactions::Transactions;

/// Two, so that a worker may keep one while it gives up the other.
pub const PARTITIONS: u32 = 2;

pub fn topic() -> TopicIdentity {
    TopicIdentity { topic: "seenby.events".to_owned(), epoch: Epoch::new(1), partitions: PARTITIONS }
}

pub fn partitions() -> impl Iterator<Item = PartitionId> {
    (0..PARTITIONS).map(PartitionId::new)
}

/// What must hold of every run; the table in ARCHITECTURE.md says it in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    Rows,
    Ledger,
    Notifications,
    Rejections,
    Hydration,
    FinalState,
    CommitsGoOn,
    OneOwner,
    NobodyIsNeeded,
    NewerStays,
    EverythingIsConsumed,
}

/// An invariant that did not hold.
#[derive(Clone, Debug)]
pub struct Violation {
    pub invariant: Invariant,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:?}: {}", self.invariant, self.what)
    }
}

/// A deliberate mistake, made by the simulation's own parts around the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    None,
    /// The store says "written" and keeps the rows until the commit is done.
    RowsAfterCommit,
    /// Ledger rows hold what was added since the row before.
    LedgerOfDifferences,
    /// A settled receipt's row stands at the receipt's own offset instead of its message's.
    OwnOffsetOnSettledRows,
    /// The committer asks who it is after it asked what is owned.
    IdentityAfterOwnership,
    /// The committer does not tell a producer whose name was taken from one whose commit has an unknown end.
    FencedIsUnknown,
    /// The committer says that a member whom the group has fenced was fenced by a second worker each time.
    EveryFenceIsBelieved,
    /// The committer says that it never was.
    NoFenceIsBelieved,
    /// Committed offsets are answered while a transaction that holds newer ones is open.
    UnstableCommits,
}

/// What a simulation is about; runs that never met it would prove little.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    InsertUnanswered,
    InsertInPart,
    InsertLeftOnItsWay,
    InsertLandedLate,
    CrashDuringTransaction,
    Committed,
    CommitAborted,
    CommitOfStaleMember,
    CommitDoneButUnknown,
    CommitNotDoneAndUnknown,
    CommitLandedLate,
    TransactionTimedOut,
    CommittedOffsetsAwaited,
    RevokedAndReassigned,
    SessionLost,
    RestartedInSession,
    FencedByName,
    FencedByItself,
    StoppedByRequest,
    Rebuilt,
}

impl Event {
    pub const ALL: [Self; 20] = [
        Self::InsertUnanswered,
        Self::InsertInPart,
        Self::InsertLeftOnItsWay,
        Self::InsertLandedLate,
        Self::CrashDuringTransaction,
        Self::Committed,
        Self::CommitAborted,
        Self::CommitOfStaleMember,
        Self::CommitDoneButUnknown,
        Self::CommitNotDoneAndUnknown,
        Self::CommitLandedLate,
        Self::TransactionTimedOut,
        Self::CommittedOffsetsAwaited,
        Self::RevokedAndReassigned,
        Self::SessionLost,
        Self::RestartedInSession,
        Self::FencedByName,
        Self::FencedByItself,
        Self::StoppedByRequest,
        Self::Rebuilt,
    ];
}

/// How likely mishaps are, in percent unless said otherwise.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mishaps {
    /// A statement to ClickHouse goes wrong in one way or another.
    pub statement: u32,
    /// A step of a transaction goes wrong in one way or another.
    pub transaction: u32,
    /// The end of a transaction goes wrong in one way or another.
    pub commit: u32,
    /// A request to the log or the group goes unanswered.
    pub request: u32,
    /// An answer takes long; of a thousand.
    pub delay: u32,
    /// ClickHouse answers nobody.
    pub is_clickhouse_down: bool,
}

/// What a hydration came to.
pub struct HydratedState {
    pub partition: PartitionId,
    pub committed: Offset,
    pub digest: [u64; 2],
}

/// A handle on everything; clones share it.
#[derive(Clone)]
pub struct World {
    shared: Arc<Mutex<Shared>>,
}

pub struct Shared {
    pub random: ChaCha8Rng,
    pub now: Duration,
    pub mistake: Mistake,
    pub mishaps: Mishaps,
    pub topic: Topic,
    pub group: Coordinator,
    pub transactions: Transactions,
    pub clickhouse: ClickHouse,
    pub hydrated: Vec<HydratedState>,
    /// Consumers whose worker was told, through the transactions' coordinator, that its name was taken.
    pub name_taken: BTreeSet<ClientId>,
    /// Consumers whose worker cannot tell whether its name was taken.
    pub in_doubt: BTreeSet<ClientId>,
    pub violations: Vec<Violation>,
    pub met: BTreeMap<Event, u32>,
    trace: Option<Vec<String>>,
}

impl World {
    pub fn new(seed: u64, mistake: Mistake, is_traced: bool) -> Self {
        let shared = Shared {
            random: ChaCha8Rng::seed_from_u64(seed),
            now: Duration::from_secs(1),
            mistake,
            mishaps: Mishaps::default(),
            topic: Topic::new(),
            group: Coordinator::default(),
            transactions: Transactions::default(),
            clickhouse: ClickHouse::default(),
            hydrated: Vec::new(),
            name_taken: BTreeSet::new(),
            in_doubt: BTreeSet::new(),
            violations: Vec::new(),
            met: BTreeMap::new(),
            trace: is_traced.then(Vec::new),
        };
        Self { shared: Arc::new(Mutex::new(shared)) }
    }

    /// Does something at one moment. Nothing in it may pause: the lock is held.
    pub fn with<T>(&self, act: impl FnOnce(&mut Shared) -> T) -> T {
        act(&mut self.shared.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A place where other things may happen before the caller goes on.
    pub fn pause(&self) {
        let turns = self.with(|shared| match shared.random.random_range(0..1_000) {
            0..400 => Some(0),
            drawn if drawn >= 1_000 - shared.mishaps.delay => Some(shared.random.random_range(10..100)),
            _ => None,
        });
        if let Some(turns) = turns {
            coroutine::pause_for(turns);
        }
    }
}

impl Shared {
    pub fn chance(&mut self, percent: u32) -> bool {
        self.random.random_range(0..100) < percent
    }

    pub fn violated(&mut self, invariant: Invariant, what: String) {
        self.trace(|| format!("VIOLATED {invariant:?}: {what}"));
        self.violations.push(Violation { invariant, what });
    }

    /// A worker is about to begin anew under its name.
    pub fn comes_back(&mut self, client: ClientId) {
        if self.name_taken.contains(&client) {
            self.violated(
                Invariant::NewerStays,
                format!("{client:?} knows that its name was taken, and takes it back"),
            );
        }
    }

    /// Counts what the run has met.
    pub fn meet(&mut self, event: Event) {
        self.trace(|| format!("{event:?}"));
        *self.met.entry(event).or_default() += 1;
    }

    /// Notes what happened, where somebody looks for it.
    pub fn trace(&mut self, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(what());
        }
    }

    pub fn take_trace(&mut self) -> Vec<String> {
        self.trace.take().unwrap_or_default()
    }
}

/// Time that passes when somebody waits or the scheduler says so.
#[derive(Clone)]
pub struct SimulatedClock(pub World);

impl Clock for SimulatedClock {
    fn now(&self) -> Duration {
        self.0.with(|shared| shared.now)
    }

    fn unix_millis(&self) -> i64 {
        0
    }

    fn sleep(&self, time: Duration) {
        self.0.with(|shared| shared.now += time);
        coroutine::pause();
    }
}
