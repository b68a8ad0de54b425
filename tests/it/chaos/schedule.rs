//! What goes wrong, and when: drawn from a seed.

use std::time::Duration;

use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// How many workers there are.
pub const WORKERS: usize = 3;

/// How long a broker that came back is left alone: until transactions left open by the dead have timed out, and have
/// been marked as such (see `Cluster::kill_kafka`).
const KAFKA_SETTLES: Duration = Duration::from_secs(20);

/// One thing done to the parts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Action {
    /// SIGKILL.
    KillWorker(usize),
    /// SIGSTOP, for longer than the session.
    StallWorker(usize),
    /// SIGCONT.
    ResumeWorker(usize),
    /// SIGTERM: it finishes its flush and stays a member.
    StopWorker(usize),
    /// SIGUSR1: it finishes its flush and leaves the group.
    LeaveWorker(usize),
    /// Starts it again.
    StartWorker(usize),
    /// SIGKILL.
    KillClickHouse,
    StartClickHouse,
    /// SIGKILL.
    KillKafka,
    StartKafka,
    /// Nothing passes between workers and ClickHouse.
    BlockGate,
    /// Every piece takes so many ms.
    DelayGate(u64),
    /// So many more bytes pass, then connections break.
    CutGate(u64),
    OpenGate,
}

/// An action at its time from the start of the run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    pub at: Duration,
    pub action: Action,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    KillWorker,
    StallWorker,
    StopWorker,
    LeaveWorker,
    KillClickHouse,
    KillKafka,
    BlockGate,
    DelayGate,
    CutGate,
}

/// Each kind once, in an order of the seed's; what follows is drawn by weight.
const KINDS: [(Fault, u32); 9] = [
    (Fault::KillWorker, 40),
    (Fault::StallWorker, 6),
    (Fault::StopWorker, 8),
    (Fault::LeaveWorker, 6),
    (Fault::KillClickHouse, 12),
    (Fault::KillKafka, 4),
    (Fault::BlockGate, 6),
    (Fault::DelayGate, 6),
    (Fault::CutGate, 20),
];

impl Action {
    /// Whether it ends a process without warning.
    pub fn is_kill(self) -> bool {
        matches!(self, Self::KillWorker(_) | Self::KillClickHouse | Self::KillKafka)
    }

    /// What it is counted as in the report; `None` for the ends of faults.
    pub fn kind(self) -> Option<&'static str> {
        Some(match self {
            Self::KillWorker(_) => "worker killed",
            Self::StallWorker(_) => "worker stalled",
            Self::StopWorker(_) => "worker stopped",
            Self::LeaveWorker(_) => "worker left",
            Self::KillClickHouse => "ClickHouse killed",
            Self::KillKafka => "Kafka killed",
            Self::BlockGate => "gate blocked",
            Self::DelayGate(_) => "gate slow",
            Self::CutGate(_) => "connections cut",
            Self::ResumeWorker(_)
            | Self::StartWorker(_)
            | Self::StartClickHouse
            | Self::StartKafka
            | Self::OpenGate => return None,
        })
    }
}

/// The steps of a run with so many kills, in order of time. Whatever is taken away comes back before its turn comes
/// again, but different parts are away at the same time.
pub fn schedule(seed: u64, kills: usize) -> Vec<Step> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut first: Vec<Fault> = KINDS.iter().map(|(fault, _)| *fault).collect();
    first.shuffle(&mut random);
    let mut workers_back = [Duration::ZERO; WORKERS];
    let [mut clickhouse_back, mut kafka_back, mut gate_back] = [Duration::ZERO; 3];
    let mut steps: Vec<Step> = Vec::new();
    let mut now = Duration::from_secs(2);
    while steps.iter().filter(|step| step.action.is_kill()).count() < kills || !first.is_empty() {
        now += Duration::from_millis(random.random_range(200..1_400));
        let fault =
            first.last().copied().unwrap_or_else(|| KINDS.choose_weighted(&mut random, |kind| kind.1).unwrap().0);
        let worker = random.random_range(0..WORKERS);
        let (back, begin, end) = match fault {
            Fault::KillWorker => (&mut workers_back[worker], Action::KillWorker(worker), Action::StartWorker(worker)),
            Fault::StallWorker => {
                (&mut workers_back[worker], Action::StallWorker(worker), Action::ResumeWorker(worker))
            }
            Fault::StopWorker => (&mut workers_back[worker], Action::StopWorker(worker), Action::StartWorker(worker)),
            Fault::LeaveWorker => (&mut workers_back[worker], Action::LeaveWorker(worker), Action::StartWorker(worker)),
            Fault::KillClickHouse => (&mut clickhouse_back, Action::KillClickHouse, Action::StartClickHouse),
            Fault::KillKafka => (&mut kafka_back, Action::KillKafka, Action::StartKafka),
            Fault::BlockGate => (&mut gate_back, Action::BlockGate, Action::OpenGate),
            Fault::DelayGate => (&mut gate_back, Action::DelayGate(random.random_range(1..60)), Action::OpenGate),
            Fault::CutGate => (&mut gate_back, Action::CutGate(random.random_range(0..20_000)), Action::OpenGate),
        };
        if *back > now {
            continue;
        }
        let away = match fault {
            // Sometimes within the session, sometimes after it.
            Fault::KillWorker if random.random_range(0..4) == 0 => random.random_range(6_500..9_000),
            Fault::KillWorker | Fault::StopWorker | Fault::LeaveWorker => random.random_range(50..2_000),
            Fault::StallWorker => random.random_range(8_000..11_000),
            Fault::KillClickHouse | Fault::KillKafka => random.random_range(100..3_000),
            Fault::BlockGate | Fault::DelayGate | Fault::CutGate => random.random_range(500..4_000),
        };
        let away = Duration::from_millis(away);
        steps.push(Step { at: now, action: begin });
        steps.push(Step { at: now + away, action: end });
        // It shall have worked for a moment before its turn comes again.
        *back = now + away + Duration::from_millis(random.random_range(300..3_000));
        if fault == Fault::KillKafka {
            *back += KAFKA_SETTLES;
        }
        first.pop();
    }
    steps.sort_by_key(|step| step.at);
    steps
}
