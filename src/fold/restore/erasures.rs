//! Which facts are about somebody in front of his erasure: they count as not there, deleted already or not.

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::event::{AppId, Conversation, ConversationKey, Epoch, Offset, PartitionId, UserId};
use crate::fold::fact::Position;

type Map<K, V> = HashMap<K, V, FixedState>;

/// Where a copy of an erasure stands.
#[derive(Clone, Copy, Debug)]
struct Copy {
    epoch: Epoch,
    partition: PartitionId,
    offset: Offset,
}

impl Copy {
    /// Whether a record stands in front of the erasure: in the same partition before its copy, or in an older
    /// generation, all of which is in front.
    fn is_behind(self, position: Position) -> bool {
        let is_before_copy = position.own_epoch == self.epoch
            && position.own_partition == self.partition
            && position.own_offset < self.offset;
        position.own_epoch < self.epoch || is_before_copy
    }
}

/// The erasures met, by app and user.
#[derive(Debug, Default)]
pub(super) struct Erasures {
    by_app: Map<Box<str>, Map<Box<str>, Vec<Copy>>>,
}

impl Erasures {
    /// Notes an erasure that stands at `position`.
    pub(super) fn add(&mut self, app: AppId<'_>, user: UserId<'_>, position: Position) {
        let copy = Copy { epoch: position.own_epoch, partition: position.own_partition, offset: position.own_offset };
        let users = self.by_app.entry(app.as_str().into()).or_default();
        users.entry(user.as_str().into()).or_default().push(copy);
    }

    /// Whether an app has any.
    pub(super) fn concern(&self, app: AppId<'_>) -> bool {
        self.by_app.contains_key(app.as_str())
    }

    /// Whether what a user did, or what is in a single chat of somebody forgotten, is in front of an erasure.
    pub(super) fn is_forgotten(
        &self,
        app: AppId<'_>,
        user: UserId<'_>,
        conversation: ConversationKey<'_>,
        position: Position,
    ) -> bool {
        let Some(users) = self.by_app.get(app.as_str()) else { return false };
        let is_in_front = |user: UserId<'_>| {
            users.get(user.as_str()).is_some_and(|copies| copies.iter().any(|copy| copy.is_behind(position)))
        };
        is_in_front(user)
            || match Conversation::parse(conversation.as_str()) {
                Some(Conversation::Single { first, second, .. }) => is_in_front(first) || is_in_front(second),
                _ => false,
            }
    }
}
