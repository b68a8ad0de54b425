//! A seeded run: at every step one of the things that may happen next does; then a calm, in which everything left is
//! consumed, and the comparison.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use rand::RngExt as _;
use rand::distr::Distribution as _;
use rand::distr::weighted::WeightedIndex;
use seenby::event::PartitionId;
use seenby::log::{CommitError, SourceError};
use seenby::worker::{IntakeLimits, Recovery, WorkerError};

use super::group::ClientId;
use super::invariants;
use super::process::{Limits, Part, Process};
use super::world::{Event, Invariant, Mishaps, Mistake, Violation, World, partitions};
use crate::support::random_log::{Content, TimedRecord, drawn};

const WORKERS: usize = 2;

/// How long the calm may last, in rounds: many times what a run needs.
const CALM_ROUNDS: usize = 5_000;

/// What a run came to.
pub struct Report {
    pub violations: Vec<Violation>,
    pub met: BTreeMap<Event, u32>,
    pub trace: Vec<String>,
}

/// What may happen at a step of the scheduler.
#[derive(Clone, Copy, Debug)]
enum Action {
    StepIntake,
    ResumeEffects,
    ResumeHydration,
    Produce,
    Background,
    Rebalance,
    Start,
    Crash,
    Stall,
    ExpireSession,
    JoinAgain,
    Stop,
    TakeName,
    Merge,
    LandInsert,
    LoseInsert,
    LandLateCommit,
    TimeTransactionOut,
    ToggleClickHouse,
}

/// How likely each is, and whether it is a disturbance, of which runs have fewer or more.
const WEIGHTS: [(Action, u32, bool); 19] = [
    (Action::StepIntake, 800, false),
    (Action::ResumeEffects, 1000, false),
    (Action::ResumeHydration, 600, false),
    (Action::Produce, 100, false),
    (Action::Background, 240, false),
    (Action::Rebalance, 240, false),
    (Action::Start, 120, false),
    (Action::Merge, 60, false),
    (Action::LandInsert, 40, false),
    (Action::LoseInsert, 16, false),
    (Action::LandLateCommit, 50, false),
    (Action::TimeTransactionOut, 12, false),
    (Action::ToggleClickHouse, 4, false),
    (Action::Crash, 2, true),
    (Action::Stall, 2, true),
    (Action::ExpireSession, 2, true),
    (Action::JoinAgain, 1, true),
    (Action::Stop, 1, true),
    (Action::TakeName, 1, true),
];

struct Run {
    world: World,
    limits: Limits,
    processes: Vec<Process>,
    /// Records still to be produced.
    feed: VecDeque<TimedRecord>,
    /// Consumers whose worker's name somebody else has taken.
    usurped: BTreeSet<ClientId>,
}

/// Runs one seed.
pub fn run(seed: u64, mistake: Mistake, is_traced: bool) -> Report {
    let world = World::new(seed, mistake, is_traced);
    let mut run = Run::new(world.clone());
    run.disturbed();
    run.calm();
    let states = run.processes.iter().flat_map(Process::states);
    let states: Vec<_> =
        states.map(|state| ((state.identity().partition, state.next_offset()), state.digest())).collect();
    world.with(|shared| {
        // A run that ended early has broken an invariant already.
        if shared.violations.is_empty() {
            invariants::check(shared, &states);
        }
        Report {
            violations: std::mem::take(&mut shared.violations),
            met: std::mem::take(&mut shared.met),
            trace: shared.take_trace(),
        }
    })
}

impl Run {
    fn new(world: World) -> Self {
        let (feed, limits) = world.with(|shared| {
            shared.group.is_static = shared.chance(70);
            let mut percent = |choices: [u32; 3]| choices[shared.random.random_range(0..choices.len())];
            shared.mishaps = Mishaps {
                statement: percent([0, 5, 20]),
                transaction: percent([0, 3, 10]),
                commit: percent([0, 10, 40]),
                request: percent([0, 2, 10]),
                delay: percent([0, 5, 25]),
                is_clickhouse_down: false,
            };
            let length = shared.random.random_range(10..=80);
            let mut millis =
                |choices: [u64; 3]| Duration::from_millis(choices[shared.random.random_range(0..choices.len())]);
            let (flush_interval, revoke_timeout) = (millis([0, 50, 500]), millis([0, 100, 15_000]));
            let flush_deadline = millis([1_000, 30_000, 300_000]);
            let intake = IntakeLimits {
                flush_interval,
                flush_records: shared.random.random_range(1..=20),
                flush_bytes: usize::MAX,
                memory_bytes: usize::MAX,
                stall_wait: Duration::ZERO,
                revoke_timeout,
            };
            (drawn(&mut shared.random, Content::All, length), Limits { intake, flush_deadline })
        });
        Self { world, limits, processes: Vec::new(), feed: feed.into(), usurped: BTreeSet::new() }
    }

    fn disturbed(&mut self) {
        let steps = self.random(300..=1_500);
        let disturbance = self.random(1..=4) as u32;
        let weights = WEIGHTS.map(|(_, weight, disturbs)| if disturbs { weight * disturbance } else { weight });
        let chances = WeightedIndex::new(weights).unwrap();
        for _ in 0..steps {
            let (action, ..) = WEIGHTS[self.world.with(|shared| chances.sample(&mut shared.random))];
            self.act(action);
            self.pass_time();
            if self.is_broken() {
                return;
            }
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::StepIntake => self.with_any_process(|run, place| run.move_part(place, Part::Intake)),
            Action::ResumeEffects => self.with_any_process(|run, place| run.move_part(place, Part::Effects)),
            Action::ResumeHydration => self.with_any_process(|run, place| run.move_part(place, Part::Hydration)),
            Action::Produce => {
                let count = self.random(1..=4);
                self.produce(count);
            }
            Action::Background => self.world.with(|shared| {
                let members = shared.group.clients();
                if !members.is_empty() {
                    let member = members[shared.random.random_range(0..members.len())];
                    shared.group.heartbeat(member);
                }
            }),
            Action::Rebalance => self.rebalance(true),
            Action::Start => self.start_missing(),
            Action::Crash => self.with_any_process(Self::crash),
            Action::Stall => {
                let steps = self.random(10..=100) as u32;
                // The whole process, or one of its threads.
                let chosen = self.random(0..=Part::ALL.len());
                let parts = Part::ALL.get(chosen).map_or(&Part::ALL[..], std::slice::from_ref);
                self.with_any_process(|run, place| {
                    parts.iter().for_each(|part| run.processes[place].stall(*part, steps));
                });
            }
            Action::ExpireSession => self.world.with(|shared| {
                let members = shared.group.members();
                if !members.is_empty() {
                    let member = members[shared.random.random_range(0..members.len())];
                    shared.trace(|| format!("the session of {member:?} ends"));
                    shared.group.expire(member);
                }
            }),
            Action::JoinAgain => self.with_any_process(|run, place| {
                let client = run.processes[place].client;
                run.world.with(|shared| {
                    if shared.group.join_again(client) {
                        shared.trace(|| format!("{client:?} joins twice"));
                    }
                });
            }),
            Action::Stop => {
                let leaves = self.world.with(|shared| shared.chance(50));
                self.with_any_process(|run, place| {
                    run.world.with(|shared| shared.meet(Event::StoppedByRequest));
                    run.processes[place].begin_stop(leaves);
                });
            }
            Action::TakeName => self.with_any_process(|run, place| {
                // The older one finds out when it next polls or commits.
                let instance = run.processes[place].instance;
                if run.processes.len() <= WORKERS {
                    run.start(instance);
                }
            }),
            Action::Merge => self.world.with(|shared| shared.clickhouse.merge(&mut shared.random)),
            Action::LandInsert => self.world.with(|shared| {
                if let Some(number) = shared.clickhouse.any_in_flight(&mut shared.random) {
                    shared.meet(Event::InsertLandedLate);
                    let _ = shared.clickhouse.land(number);
                }
            }),
            Action::LoseInsert => self.world.with(|shared| {
                if let Some(number) = shared.clickhouse.any_in_flight(&mut shared.random) {
                    shared.clickhouse.lose(number);
                }
            }),
            Action::LandLateCommit => (0..WORKERS).for_each(|instance| {
                self.world.with(|shared| shared.land_late_commit(instance));
            }),
            Action::TimeTransactionOut => {
                let instance = self.random(0..=WORKERS - 1);
                self.world.with(|shared| {
                    if shared.transactions.is_open(instance) {
                        shared.meet(Event::TransactionTimedOut);
                        shared.transactions.time_out(instance);
                    }
                });
            }
            Action::ToggleClickHouse => self.world.with(|shared| {
                shared.mishaps.is_clickhouse_down ^= shared.mishaps.statement > 0;
            }),
        }
    }

    /// Nothing goes wrong any more: every record is consumed, written and committed.
    fn calm(&mut self) {
        self.world.with(|shared| shared.mishaps = Mishaps::default());
        for _ in 0..CALM_ROUNDS {
            if self.is_broken() {
                return;
            }
            if self.is_everything_consumed() {
                self.act(Action::LandInsert);
                self.act(Action::Merge);
                return;
            }
            self.produce(4);
            self.start_missing();
            self.world.with(|shared| {
                for ghost in shared.group.ghosts() {
                    shared.group.expire(ghost);
                }
                for client in shared.group.clients() {
                    shared.group.heartbeat(client);
                }
                for instance in 0..WORKERS {
                    // A transaction whose producer is gone for good would hold readers of offsets up.
                    if shared.random.random_range(0..200) == 0 {
                        shared.transactions.time_out(instance);
                    }
                }
            });
            self.rebalance(false);
            for place in 0..self.processes.len() {
                Part::ALL.iter().for_each(|part| self.move_part(place, *part));
            }
            self.pass_time();
        }
        let what = format!("not within {CALM_ROUNDS} rounds");
        self.world.with(|shared| shared.violated(Invariant::EverythingIsConsumed, what));
    }

    fn is_everything_consumed(&self) -> bool {
        let is_committed = |partition: PartitionId| {
            self.world.with(|shared| {
                let committed = shared.group.committed(partition).map(|position| position.next_offset);
                committed.unwrap_or_default() >= shared.topic.end_of_records(partition)
            })
        };
        let owned = self.processes.iter().flat_map(Process::states).count();
        self.feed.is_empty()
            && partitions().all(is_committed)
            && owned == partitions().count()
            && self.processes.iter().all(Process::is_drained)
    }

    fn is_broken(&self) -> bool {
        self.world.with(|shared| !shared.violations.is_empty())
    }

    fn random(&self, range: std::ops::RangeInclusive<usize>) -> usize {
        self.world.with(|shared| shared.random.random_range(range))
    }

    fn with_any_process(&mut self, act: impl FnOnce(&mut Self, usize)) {
        if self.processes.is_empty() {
            return;
        }
        let place = self.random(0..=self.processes.len() - 1);
        act(self, place);
    }

    fn move_part(&mut self, place: usize, part: Part) {
        let process = &mut self.processes[place];
        match part {
            _ if process.is_stalled(part) => {}
            Part::Intake => self.step_intake(place),
            Part::Effects => process.resume_effects(),
            Part::Hydration => process.resume_hydration(),
        }
    }

    fn pass_time(&mut self) {
        self.world.with(|shared| shared.now += Duration::from_millis(shared.random.random_range(0..20)));
        self.processes.iter_mut().for_each(Process::pass_step);
        let ended: Vec<Process> = self.processes.extract_if(.., |process| process.is_ended()).collect();
        for process in ended {
            if let Some(error) = process.error() {
                self.take_end(process.instance, process.client, error);
            }
        }
    }

    /// A worker has ended by itself.
    fn take_end(&mut self, instance: usize, client: ClientId, error: &WorkerError) {
        if error.recovery() != Recovery::Stop {
            self.world.with(|shared| {
                shared.meet(Event::Rebuilt);
                if matches!(error, WorkerError::Source(SourceError::JoinedTwice { .. })) {
                    shared.meet(Event::FencedByItself);
                    shared.comes_back(client);
                }
            });
            self.start(instance);
            return;
        }
        self.world.with(|shared| {
            if is_fenced(error) && (self.usurped.contains(&client) || shared.in_doubt.contains(&client)) {
                shared.meet(Event::FencedByName);
            } else {
                shared.violated(Invariant::NobodyIsNeeded, format!("{client:?} stops: {error}"));
            }
        });
    }

    fn produce(&mut self, count: usize) {
        let count = count.min(self.feed.len());
        self.world.with(|shared| {
            for record in self.feed.drain(..count) {
                shared.topic.append(&record);
                if shared.chance(5) {
                    let partition = PartitionId::new(shared.random.random_range(0..2));
                    shared.topic.append_marker(partition);
                }
            }
        });
    }

    fn rebalance(&self, moves: bool) {
        self.world.with(|shared| {
            if shared.group.can_rebalance() {
                shared.group.rebalance(&mut shared.random, moves);
            }
        });
    }

    fn start_missing(&mut self) {
        for instance in 0..WORKERS {
            if self.processes.iter().all(|process| process.instance != instance) {
                self.start(instance);
            }
        }
    }

    /// Starts a worker; whoever has its name already is the older one from here on.
    fn start(&mut self, instance: usize) {
        let older = self.processes.iter().filter(|process| process.instance == instance);
        self.usurped.extend(older.map(|process| process.client));
        if let Ok(process) = Process::start(&self.world, instance, self.limits) {
            let client = process.client;
            self.world.with(|shared| {
                shared.trace(|| format!("worker {instance} starts as {client:?}"));
                if shared.group.has_place(client) {
                    shared.meet(Event::RestartedInSession);
                }
            });
            self.processes.push(process);
        }
    }

    fn step_intake(&mut self, place: usize) {
        let process = &mut self.processes[place];
        let ended_before = process.error().is_some();
        process.step_intake();
        if !ended_before && process.error().is_some_and(|error| error.recovery() != Recovery::Stop) {
            self.world.with(|shared| shared.comes_back(process.client));
        }
    }

    fn crash(&mut self, place: usize) {
        let process = self.processes.remove(place);
        let (instance, client) = (process.instance, process.client);
        self.world.with(|shared| {
            shared.trace(|| format!("worker {instance} crashes, {client:?}"));
            if shared.transactions.is_open(instance) {
                shared.meet(Event::CrashDuringTransaction);
            }
        });
        drop(process);
        self.world.with(|shared| shared.group.crash(client));
    }
}

fn is_fenced(error: &WorkerError) -> bool {
    matches!(error, WorkerError::Source(SourceError::Fenced { .. }) | WorkerError::Commit(CommitError::Fenced { .. }))
}
