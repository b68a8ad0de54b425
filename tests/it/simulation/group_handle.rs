//! What a worker's threads ask the group and the log in memory.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use seenby::event::{Offset, PartitionId};
use seenby::log::{CommitMetadata, CommittedPosition, Group, SourceError};

use super::coroutine;
use super::group::{ClientId, Identity};
use super::world::{Event, Mistake, Shared, World};

/// The handle on the group for a worker's other threads.
#[derive(Clone)]
pub struct MemoryGroup {
    world: World,
    client: ClientId,
}

impl MemoryGroup {
    pub fn new(world: &World, client: ClientId) -> Self {
        Self { world: world.clone(), client }
    }

    pub fn client(&self) -> ClientId {
        self.client
    }

    pub fn identity(&self) -> Option<Identity> {
        self.world.with(|shared| shared.group.identity(self.client))
    }

    /// A request that may go unanswered.
    fn request(&self, doing: &str) -> Result<(), SourceError> {
        self.world.pause();
        let is_lost = self.world.with(|shared| {
            let percent = shared.mishaps.request;
            shared.chance(percent)
        });
        if is_lost { Err(unavailable(doing)) } else { Ok(()) }
    }
}

fn unavailable(doing: &str) -> SourceError {
    let source = KafkaError::Global(RDKafkaErrorCode::OperationTimedOut);
    SourceError::Unavailable { doing: doing.to_owned(), source }
}

impl Group for MemoryGroup {
    fn committed(&self, partitions: &[PartitionId]) -> Result<Vec<Option<CommittedPosition>>, SourceError> {
        self.request("asking what is committed")?;
        let is_stable = |shared: &mut Shared| {
            shared.mistake == Mistake::UnstableCommits || !shared.transactions.holds_offsets_of(partitions)
        };
        // A reader of committed offsets waits for the transactions that hold some, up to its time-out.
        let mut patience = 10;
        while !self.world.with(is_stable) {
            if patience == 0 {
                return Err(unavailable("asking what is committed"));
            }
            self.world.with(|shared| shared.meet(Event::CommittedOffsetsAwaited));
            patience -= 1;
            coroutine::pause();
        }
        let answer = |shared: &mut Shared| {
            partitions.iter().map(|partition| shared.group.committed(*partition).cloned()).collect()
        };
        let answer = self.world.with(answer);
        self.world.pause();
        Ok(answer)
    }

    fn log_range(&self, partition: PartitionId) -> Result<(Offset, Offset), SourceError> {
        self.request("asking for the range")?;
        Ok((Offset::default(), self.world.with(|shared| shared.topic.end(partition))))
    }

    fn commit(&self, positions: &[(PartitionId, Offset, CommitMetadata)]) -> Result<(), SourceError> {
        self.request("committing offsets")?;
        let Some(identity) = self.identity() else { return Err(unavailable("committing offsets")) };
        self.world.pause();
        self.world.with(|shared| {
            if !shared.group.takes_offsets_of(identity) {
                return Err(unavailable("committing offsets"));
            }
            for &(partition, next_offset, metadata) in positions {
                shared.accept_offset(identity, partition);
                shared.commit_offset(partition, CommittedPosition { next_offset, metadata: Some(metadata) });
            }
            Ok(())
        })?;
        // Done, though nobody may hear of it.
        self.request("committing offsets")
    }
}
