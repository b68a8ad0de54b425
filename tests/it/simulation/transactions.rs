//! Transactional producers in memory, their coordinator, and what readers of committed records see.

use std::collections::BTreeMap;

use rand::RngExt as _;
use seenby::event::PartitionId;
use seenby::log::{CommitError, CommitMetadata, CommittedPosition, Committer, Outbox, PartitionEffects, SourceError};

use super::coroutine;
use super::group::Identity;
use super::group_handle::MemoryGroup;
use super::store::HeldBack;
use super::world::{Event, Mistake, Shared, World};

/// A record of the notifications topic: key and value.
pub type NotificationRecord = (String, Vec<u8>);

/// A record of the rejections topic: key, value and headers.
pub type RejectionRecord = (Option<Vec<u8>>, Vec<u8>, Vec<(&'static str, String)>);

/// What both topics hold for those who read committed records only.
#[derive(Default)]
pub struct Outputs {
    pub notifications: Vec<NotificationRecord>,
    pub rejections: Vec<RejectionRecord>,
}

impl Outputs {
    pub fn add(&mut self, outbox: &Outbox) {
        let notifications = outbox.notifications().iter();
        self.notifications.extend(notifications.map(|record| (record.key.clone(), record.value.clone())));
        let rejections = outbox.rejections().iter();
        self.rejections
            .extend(rejections.map(|record| (record.key.clone(), record.value.clone(), record.headers.clone())));
    }
}

#[derive(Default)]
pub struct Transactions {
    producers: BTreeMap<usize, Producer>,
    pub committed: Outputs,
}

/// What the coordinator knows of a transactional id.
#[derive(Default)]
struct Producer {
    epoch: u64,
    /// The epoch that the coordinator ended by itself, as a transaction had been open for too long.
    timed_out: Option<u64>,
    open: Option<Open>,
    /// A request to commit that is still on its way, sent in this epoch.
    late_commit: Option<u64>,
}

#[derive(Default)]
struct Open {
    outputs: Outputs,
    offsets: Vec<(PartitionId, CommittedPosition)>,
}

impl Transactions {
    /// Takes a transactional id over: whatever an earlier owner left open is aborted, and that owner fenced.
    fn init(&mut self, instance: usize) -> u64 {
        let producer = self.producers.entry(instance).or_default();
        producer.epoch += 1;
        producer.open = None;
        producer.epoch
    }

    pub fn holds_offsets_of(&self, partitions: &[PartitionId]) -> bool {
        let open = self.producers.values().filter_map(|producer| producer.open.as_ref());
        open.flat_map(|open| &open.offsets).any(|(partition, _)| partitions.contains(partition))
    }

    /// Aborts what has been open for too long; the producer is fenced by that.
    pub fn time_out(&mut self, instance: usize) {
        if let Some(producer) = self.producers.get_mut(&instance)
            && producer.open.take().is_some()
        {
            producer.timed_out = Some(producer.epoch);
            producer.epoch += 1;
        }
    }

    pub fn is_open(&self, instance: usize) -> bool {
        self.producers.get(&instance).is_some_and(|producer| producer.open.is_some())
    }
}

impl Shared {
    /// Lets a request to commit arrive that its sender has given up.
    pub fn land_late_commit(&mut self, instance: usize) {
        let Some(producer) = self.transactions.producers.get_mut(&instance) else { return };
        if producer.late_commit.take() == Some(producer.epoch) {
            self.meet(Event::CommitLandedLate);
            self.end_transaction(instance);
        }
    }

    fn end_transaction(&mut self, instance: usize) {
        let open = self.transactions.producers.get_mut(&instance).and_then(|producer| producer.open.take());
        let Some(open) = open else { return };
        self.transactions.committed.notifications.extend(open.outputs.notifications);
        self.transactions.committed.rejections.extend(open.outputs.rejections);
        for (partition, position) in open.offsets {
            self.commit_offset(partition, position);
        }
    }
}

/// One transactional producer of one start of a worker.
pub struct MemoryCommitter {
    world: World,
    instance: usize,
    epoch: u64,
    group: MemoryGroup,
    held_back: HeldBack,
    /// Whether there is a transaction whose end is not known.
    is_unsettled: bool,
}

/// How a commit's request ends.
#[derive(Clone, Copy)]
enum End {
    Answered,
    AnswerLost,
    RequestLost,
    RequestLate,
    Refused,
}

const ENDS_OF_A_BAD_COMMIT: [End; 4] = [End::AnswerLost, End::RequestLost, End::RequestLate, End::Refused];

impl MemoryCommitter {
    pub fn create(
        world: &World,
        instance: usize,
        group: MemoryGroup,
        held_back: HeldBack,
    ) -> Result<Self, SourceError> {
        let epoch = world.with(|shared| shared.transactions.init(instance));
        Ok(Self { world: world.clone(), instance, epoch, group, held_back, is_unsettled: false })
    }

    /// One request of a transaction; `act` happens unless the request fails or the producer is fenced.
    fn step(&self, doing: &'static str, act: impl FnOnce(&mut Open)) -> Result<(), CommitError> {
        self.world.pause();
        self.world.with(|shared| {
            let percent = shared.mishaps.transaction;
            let fails = shared.chance(percent);
            let open = self.open(shared, doing)?;
            if fails {
                return Err(CommitError::Aborted { doing, reason: "timed out".to_owned() });
            }
            act(open);
            Ok(())
        })
    }

    /// The producer's transaction, begun where there is none. A producer whose name was taken ends, whatever it was
    /// doing; one whose transaction had been open for too long does not know who ended it.
    fn open<'a>(&self, shared: &'a mut Shared, doing: &'static str) -> Result<&'a mut Open, CommitError> {
        let producer = shared.transactions.producers.entry(self.instance).or_default();
        if producer.epoch != self.epoch {
            let reason = "the producer is fenced".to_owned();
            if producer.timed_out == Some(self.epoch) {
                return Err(CommitError::Unknown { doing, reason });
            }
            shared.name_taken.insert(self.group.client());
            return Err(match shared.mistake {
                Mistake::FencedIsUnknown => CommitError::Unknown { doing, reason },
                _ => CommitError::Fenced { doing, reason },
            });
        }
        let producer = shared.transactions.producers.entry(self.instance).or_default();
        Ok(producer.open.get_or_insert_default())
    }

    fn abort(&self, error: CommitError) -> CommitError {
        self.world.pause();
        self.world.with(|shared| match self.open(shared, "aborting") {
            Ok(_) => {
                shared.meet(Event::CommitAborted);
                shared.transactions.producers.entry(self.instance).or_default().open = None;
                error
            }
            Err(fenced) => fenced,
        })
    }

    fn send_offsets(&self, identity: Identity, effects: &[&PartitionEffects]) -> Result<(), CommitError> {
        let doing = "adding offsets to the transaction";
        self.step(doing, |_| {})?;
        self.world.with(|shared| {
            if !shared.group.takes_offsets_of(identity) {
                shared.meet(Event::CommitOfStaleMember);
                return Err(CommitError::Aborted { doing, reason: "illegal generation".to_owned() });
            }
            for effects in effects {
                shared.accept_offset(identity, effects.partition);
                let metadata = Some(CommitMetadata::of(effects.watermark));
                let position = CommittedPosition { next_offset: effects.next_offset, metadata };
                self.open(shared, doing)?.offsets.push((effects.partition, position));
            }
            Ok(())
        })
    }

    /// A request to commit may take long, while others take the partitions over.
    fn wait_for_coordinator(&self) {
        let turns = self.world.with(|shared| {
            let percent = shared.mishaps.commit;
            if shared.chance(percent) { shared.random.random_range(10..100) } else { 0 }
        });
        coroutine::pause_for(turns);
    }

    fn end(&self) -> Result<(), CommitError> {
        let doing = "committing the transaction";
        self.step(doing, |_| {})?;
        self.wait_for_coordinator();
        let end = self.world.with(|shared| {
            self.open(shared, doing)?;
            let percent = shared.mishaps.commit;
            let end = match shared.chance(percent) {
                true => ENDS_OF_A_BAD_COMMIT[shared.random.random_range(0..ENDS_OF_A_BAD_COMMIT.len())],
                false => End::Answered,
            };
            match end {
                End::Answered => {
                    shared.meet(Event::Committed);
                    shared.end_transaction(self.instance);
                }
                End::AnswerLost => {
                    shared.meet(Event::CommitDoneButUnknown);
                    shared.end_transaction(self.instance);
                }
                End::RequestLate => {
                    shared.meet(Event::CommitNotDoneAndUnknown);
                    let producer = shared.transactions.producers.entry(self.instance).or_default();
                    producer.late_commit = Some(self.epoch);
                }
                End::RequestLost => shared.meet(Event::CommitNotDoneAndUnknown),
                End::Refused => {}
            }
            Ok(end)
        });
        self.world.pause();
        match end? {
            End::Answered => Ok(()),
            End::Refused => Err(CommitError::Aborted { doing, reason: "concurrent transactions".to_owned() }),
            _ => Err(CommitError::Unknown { doing, reason: "timed out".to_owned() }),
        }
    }

    fn identity(&self) -> Result<Identity, CommitError> {
        let reason = "not in the group";
        let error = || CommitError::Aborted { doing: "asking who we are", reason: reason.to_owned() };
        self.group.identity().ok_or_else(error)
    }
}

impl Committer for MemoryCommitter {
    fn commit(
        &mut self,
        effects: &[PartitionEffects],
        is_owned: &dyn Fn(PartitionId) -> bool,
    ) -> Result<(), CommitError> {
        let mut identity = self.identity()?;
        self.world.pause();
        let owned: Vec<&PartitionEffects> = effects.iter().filter(|effects| is_owned(effects.partition)).collect();
        if owned.is_empty() {
            return Ok(());
        }
        self.world.pause();
        if self.world.with(|shared| shared.mistake) == Mistake::IdentityAfterOwnership {
            identity = self.identity()?;
        }
        let run = || {
            for effects in &owned {
                self.step("writing notifications and rejections", |open| open.outputs.add(&effects.outbox))?;
            }
            self.send_offsets(identity, &owned)?;
            self.end()
        };
        let result = run().map_err(|error| match error {
            CommitError::Aborted { .. } => self.abort(error),
            other => other,
        });
        self.is_unsettled = matches!(result, Err(CommitError::Unknown { .. } | CommitError::Fenced { .. }));
        result?;
        self.held_back.release(&self.world);
        Ok(())
    }

    fn is_name_taken(&mut self) -> bool {
        self.world.with(|shared| {
            let client = self.group.client();
            let producer = shared.transactions.producers.entry(self.instance).or_default();
            let is_fenced = producer.epoch != self.epoch;
            if self.is_unsettled || producer.timed_out == Some(self.epoch) {
                shared.in_doubt.insert(client);
            } else if is_fenced {
                shared.name_taken.insert(client);
            }
            let is_taken = self.is_unsettled || is_fenced;
            match shared.mistake {
                Mistake::EveryFenceIsBelieved => true,
                Mistake::NoFenceIsBelieved => false,
                _ => is_taken,
            }
        })
    }
}
