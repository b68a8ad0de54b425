//! One start of a worker: the real intake, effects and hydration on the parts in memory, driven the way
//! `worker::Pipeline` drives them.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TryRecvError, bounded, unbounded};
use prometheus::Registry;
use seenby::config::RecoveryMode;
use seenby::event::{Offset, PartitionId};
use seenby::fold::Partition;
use seenby::log::{LogReader, RecordBatch, Source as _, SourceError};
use seenby::worker::{
    Effects, HydrationSettings, Hydrator, Intake, IntakeLimits, IntakeQueues, Ownership, Recovery, WorkerError,
    WorkerMetrics,
};

use super::coroutine::{self, Coroutine};
use super::group::ClientId;
use super::store::{HeldBack, MemoryStore};
use super::topic::MemorySource;
use super::transactions::MemoryCommitter;
use super::world::{SimulatedClock, World, topic};

/// Nobody looks at them, so all workers of all runs share one set.
static METRICS: LazyLock<WorkerMetrics> = LazyLock::new(|| WorkerMetrics::register(&Registry::new()).unwrap());

/// The log outside of the group. No order of events makes a worker's own tables lack what it committed, so that nobody
/// ever asks: folding again would heal what these runs are to find.
struct NothingToFoldAgain;

impl LogReader for NothingToFoldAgain {
    fn log_range(&mut self, _: PartitionId) -> Result<(Offset, Offset), SourceError> {
        Err(SourceError::OutOfRange { topic: topic().topic })
    }

    fn begin(&mut self, _: PartitionId, _: Offset) -> Result<(), SourceError> {
        Err(SourceError::OutOfRange { topic: topic().topic })
    }

    fn read(&mut self, _: Offset, _: &mut RecordBatch) -> Result<Offset, SourceError> {
        Err(SourceError::OutOfRange { topic: topic().topic })
    }
}

/// How the flushes of a run are cut.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub intake: IntakeLimits,
    pub flush_deadline: Duration,
}

/// What moves by itself in a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Intake,
    Effects,
    Hydration,
}

impl Part {
    pub const ALL: [Self; 3] = [Self::Intake, Self::Effects, Self::Hydration];
}

pub struct Process {
    pub instance: usize,
    pub client: ClientId,
    stalls: [u32; Part::ALL.len()],
    phase: Phase,
    effects: Coroutine,
    /// Where the effects are once their loop is over.
    ended_effects: EndedEffects,
    hydration: Coroutine,
}

type EndedEffects = Arc<Mutex<Option<Effects<MemoryStore, MemoryCommitter, SimulatedClock>>>>;

enum Phase {
    Running {
        intake: Box<Intake<MemorySource, SimulatedClock>>,
        ownership: Ownership,
        /// Asked to stop: whether it leaves the group.
        stopping: Option<bool>,
    },
    /// The intake is gone; what was on its way runs to its end.
    Ending {
        source: MemorySource,
        leaves: bool,
        error: Option<WorkerError>,
    },
    Ended(Option<WorkerError>),
}

impl Process {
    /// Starts a worker: takes its transactional id over, then joins the group.
    pub fn start(world: &World, instance: usize, limits: Limits) -> Result<Self, SourceError> {
        let mut source = MemorySource::create(world, instance);
        let client = source.client();
        let held_back = HeldBack::default();
        let committer = MemoryCommitter::create(world, instance, source.group(), held_back.clone())?;
        source.join()?;
        let clock = SimulatedClock(world.clone());
        let ownership = Ownership::default();
        let mut effects = Effects::new(
            MemoryStore::new(world, held_back.clone()),
            committer,
            clock.clone(),
            ownership.clone(),
            METRICS.clone(),
            instance.to_string(),
            limits.flush_deadline,
        );
        let mut hydrator = Hydrator::new(
            MemoryStore::new(world, held_back),
            source.group(),
            NothingToFoldAgain,
            HydrationSettings {
                topic: topic(),
                group: "seenby".to_owned(),
                recovery: RecoveryMode::Hydrate,
                flush_records: limits.intake.flush_records,
                flush_bytes: limits.intake.flush_bytes,
                accepts_fold_version: false,
            },
            clock.clone(),
            ownership.clone(),
            METRICS.clone(),
        );
        let (flush_sender, flushes) = bounded(1);
        let (flush_answer_sender, flush_answers) = unbounded();
        let (hydration_sender, hydrations) = unbounded();
        let (hydration_answer_sender, hydration_answers) = unbounded();
        let queues =
            IntakeQueues { flushes: flush_sender, flush_answers, hydrations: hydration_sender, hydration_answers };
        let intake = Intake::new(
            source,
            clock,
            limits.intake,
            queues,
            ownership.clone(),
            topic(),
            METRICS.clone(),
            instance.to_string(),
        );
        let ended_effects = EndedEffects::default();
        let place = Arc::clone(&ended_effects);
        let effects = Coroutine::new(move || {
            serve(&flushes, &flush_answer_sender, |flush| {
                let answer = effects.write(flush);
                let goes_on = answer.result.is_ok();
                (answer, goes_on)
            });
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(effects);
        });
        let hydration = Coroutine::new(move || {
            serve(&hydrations, &hydration_answer_sender, |job| (hydrator.hydrate(job), true));
        });
        let phase = Phase::Running { intake: Box::new(intake), ownership, stopping: None };
        Ok(Self { instance, client, stalls: [0; Part::ALL.len()], phase, effects, ended_effects, hydration })
    }

    /// Lets a part stand still for so many steps of the scheduler.
    pub fn stall(&mut self, part: Part, steps: u32) {
        self.stalls[part as usize] = steps;
    }

    pub fn is_stalled(&self, part: Part) -> bool {
        self.stalls[part as usize] > 0
    }

    pub fn pass_step(&mut self) {
        self.stalls = self.stalls.map(|steps| steps.saturating_sub(1));
    }

    pub fn is_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended(_))
    }

    /// What ended it, where it was not asked to.
    pub fn error(&self) -> Option<&WorkerError> {
        match &self.phase {
            Phase::Running { .. } => None,
            Phase::Ending { error, .. } | Phase::Ended(error) => error.as_ref(),
        }
    }

    /// The states of the partitions that it reads.
    pub fn states(&self) -> Vec<&Partition> {
        match &self.phase {
            Phase::Running { intake, .. } => intake.states().collect(),
            _ => Vec::new(),
        }
    }

    /// Whether whatever it folded is written and committed.
    pub fn is_drained(&self) -> bool {
        match &self.phase {
            Phase::Running { intake, .. } => intake.is_assigned() && intake.is_drained(),
            _ => false,
        }
    }

    /// One turn of the intake; ends it on failure, and on a stop once everything is flushed.
    pub fn step_intake(&mut self) {
        self.effects.wake();
        self.hydration.wake();
        let Phase::Running { intake, stopping, .. } = &mut self.phase else { return };
        if let Some(leaves) = *stopping
            && intake.is_drained()
        {
            self.end(leaves, None);
        } else if let Err(error) = intake.step() {
            self.end(error.recovery() == Recovery::LeaveAndRebuild, Some(error));
        }
    }

    pub fn resume_effects(&mut self) {
        self.effects.resume();
        self.close_if_over();
    }

    pub fn resume_hydration(&mut self) {
        self.hydration.resume();
        self.close_if_over();
    }

    /// Asks it to finish its flush and end.
    pub fn begin_stop(&mut self, leaves: bool) {
        if let Phase::Running { intake, stopping, .. } = &mut self.phase {
            intake.begin_stop();
            *stopping = Some(leaves);
        }
    }

    fn end(&mut self, leaves: bool, error: Option<WorkerError>) {
        if let Phase::Running { intake, ownership, .. } = std::mem::replace(&mut self.phase, Phase::Ended(None)) {
            self.effects.wake();
            self.hydration.wake();
            ownership.abandon();
            self.phase = Phase::Ending { source: intake.into_source(), leaves, error };
        }
    }

    fn close_if_over(&mut self) {
        let is_over = matches!(self.phase, Phase::Ending { .. }) && self.effects.is_over() && self.hydration.is_over();
        if !is_over {
            return;
        }
        if let Phase::Ending { source, leaves, error } = std::mem::replace(&mut self.phase, Phase::Ended(None)) {
            let effects = self.ended_effects.lock().unwrap_or_else(PoisonError::into_inner).take();
            let error = match (effects, error) {
                (Some(effects), Some(error)) => Some(effects.verdict(error)),
                (_, error) => error,
            };
            source.close(leaves);
            self.phase = Phase::Ended(error);
        }
    }
}

/// A thread of the pipeline: answers jobs until its queue closes.
fn serve<J, A>(jobs: &Receiver<J>, answers: &Sender<A>, mut work: impl FnMut(&mut J) -> (A, bool)) {
    loop {
        match jobs.try_recv() {
            Ok(mut job) => {
                let (answer, goes_on) = work(&mut job);
                if answers.send(answer).is_err() || !goes_on {
                    return;
                }
            }
            Err(TryRecvError::Empty) => coroutine::wait_for_work(),
            Err(TryRecvError::Disconnected) => return,
        }
    }
}
