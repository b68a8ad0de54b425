//! A digest of the logical state: equal where two states give the same outcomes from here on.

use std::hash::{BuildHasher, Hash, Hasher};

use foldhash::quality::FixedState;

use super::Partition;
use super::state::NEVER;
use super::state::apps::App;
use super::state::conversation::{Conversation, ConversationKind, GroupChat, Sender};
use super::state::message::Message;
use super::state::single::{Side, SingleChat};
use crate::event::{AppId, UserId};
use crate::policy::Policy;

/// Two independent sums over the parts of a state, so that their order does not matter.
struct Digest {
    hashers: [FixedState; 2],
    sums: [u64; 2],
}

impl Digest {
    /// Adds one part of the state. `part` keeps parts of different kinds apart.
    fn add(&mut self, part: &str, content: impl Hash) {
        for (hasher, sum) in self.hashers.iter().zip(self.sums.iter_mut()) {
            let mut hash = hasher.build_hasher();
            part.hash(&mut hash);
            content.hash(&mut hash);
            *sum = sum.wrapping_add(hash.finish());
        }
    }
}

impl Partition {
    /// A digest of the logical state: what is in it by the rules of DESIGN.md section 4, however and wherever it is
    /// held in memory. A state restored as of an offset has the digest of the state folded up to it, of one machine
    /// and one build; it is no format to be kept. Totals of ledger cells that are not given out yet are part of it, so
    /// compare at the end of a flush.
    pub fn digest(&self) -> [u64; 2] {
        let hashers = [FixedState::with_seed(1), FixedState::with_seed(2)];
        let mut digest = Digest { hashers, sums: [0; 2] };
        digest.add("position", (self.next_offset, self.watermark));
        self.apps.iter().for_each(|app| add_app(&mut digest, app));
        self.conversations.iter().for_each(|(_, conversation)| self.add_conversation(&mut digest, conversation));
        self.messages.iter(self.watermark).for_each(|(_, message)| self.add_message(&mut digest, message));
        let (hour, cells) = self.ledger.current();
        for (key, total, buckets) in cells {
            let app = &self.apps.get(key.app).name;
            digest.add("cell", (hour, app, key.event_type, key.measure, key.outcome, total, buckets));
        }
        digest.sums
    }

    fn add_conversation(&self, digest: &mut Digest, conversation: &Conversation) {
        let key = conversation.key();
        let app = &self.apps.get(conversation.app).name;
        for parked in conversation.waiting.iter() {
            // Events hold types of others' making without a hash; their debug form says all of them.
            let event = format!("{:?}", parked.event(AppId::trusted(app), conversation.chat()));
            digest.add("parked", (key, parked.order, parked.deadline, event));
        }
        match &conversation.kind {
            ConversationKind::Single(single) => self.add_single(digest, conversation, single),
            ConversationKind::Group(group) => self.add_group(digest, conversation, group),
        }
    }

    fn add_single(&self, digest: &mut Digest, conversation: &Conversation, single: &SingleChat) {
        for reader in [Side::First, Side::Second] {
            if let Some(mark) = single.mark_in_state(reader, self.watermark) {
                digest.add("single mark", (conversation.key(), reader, mark));
            }
        }
    }

    fn add_group(&self, digest: &mut Digest, conversation: &Conversation, group: &GroupChat) {
        let key = conversation.key();
        for (day, opened) in group.quota.days(self.watermark) {
            digest.add("quota", (key, day, opened));
        }
        let roster_at = group.members.roster_at();
        if roster_at.is_some() {
            digest.add("roster", (key, roster_at));
        }
        if group.members.count() > 0 {
            digest.add("members", (key, group.members.count()));
        }
        for (_, user) in group.members.iter() {
            let change = user.change_after(roster_at.unwrap_or(NEVER));
            if user.role().is_some() || change.is_some() {
                digest.add("user", (key, user.id(), user.role(), user.joined_at(), change));
            }
            if let Some(mark) = user.mark_at(self.watermark) {
                digest.add("group mark", (key, user.id(), mark));
            }
        }
    }

    fn add_message(&self, digest: &mut Digest, message: &Message) {
        let conversation = self.conversations.get(message.conversation);
        let key = conversation.key();
        let sender = match (message.sender, conversation.group()) {
            (Sender::Member(user), Some(group)) => group.members.get(user).id(),
            (Sender::Side(Side::First), _) => UserId::trusted("first"),
            _ => UserId::trusted("second"),
        };
        let limits = (message.sent_at, message.validity_millis, message.reader_cap, message.status);
        let receipts = (message.is_recalled, message.peer, message.readers.len());
        digest.add("message", (key, &message.id, sender, limits, receipts));
        if let Some(group) = conversation.group() {
            for reader in message.readers.iter() {
                digest.add("reader", (key, &message.id, group.members.get(reader).id()));
            }
        }
    }
}

fn add_app(digest: &mut Digest, app: &App) {
    if app.erasures() > 0 {
        digest.add("erasures", (&app.name, app.erasures()));
    }
    for version in app.versions() {
        digest.add("version", (&app.name, version));
    }
    for (effective_from, version, policy) in app.policies() {
        let policy: &Policy = policy;
        digest.add("policy", (&app.name, effective_from, version, format!("{policy:?}")));
    }
}
