//! The consumer group in memory: members, generations and sessions, with cooperative rebalances as librdkafka serves
//! them. A member hears of a rebalance when it polls or its background thread does; while it owes an answer to one it
//! is given no other, and it rejoins only afterwards.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rand::{Rng, RngExt as _};
use seenby::event::PartitionId;
use seenby::log::{AssignmentChange, CommittedPosition, RebalanceNote};

use super::world::{Invariant, Shared, partitions};

/// One consumer of one start of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClientId(u64);

/// Who a member says it is when it commits.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    client: ClientId,
    generation: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Member,
    /// Its session ended.
    Out,
    /// Another consumer has taken its name.
    Fenced,
}

/// A consumer: what the coordinator knows of it, and what it knows of the group.
struct Client {
    instance: usize,
    standing: Standing,
    /// Whether its process is there; the coordinator learns that it is not by the session alone.
    is_gone: bool,
    /// Whether it knows that it is fenced.
    knows_of_fence: bool,
    /// As the consumer knows it; `None` while it is in no group.
    generation: Option<u64>,
    /// The coordinator's answer to its joining, on the way.
    joined: Option<Joined>,
    notes: VecDeque<RebalanceNote>,
    unanswered: Vec<RebalanceNote>,
    last_note: u64,
    /// What the consumer was given, as far as it knows.
    given: BTreeSet<PartitionId>,
}

struct Joined {
    generation: u64,
    revoked: Vec<PartitionId>,
    assigned: Vec<PartitionId>,
}

#[derive(Default)]
pub struct Coordinator {
    /// Whether consumers join by the name of their worker, and find their partitions again after a restart.
    pub is_static: bool,
    generation: u64,
    is_rebalance_due: bool,
    clients: BTreeMap<ClientId, Client>,
    last_client: u64,
    /// Who was given a partition and has not given it back; nobody else is given it.
    holders: BTreeMap<PartitionId, ClientId>,
    committed: BTreeMap<PartitionId, CommittedPosition>,
    /// Which worker committed for a partition in a generation.
    committers: BTreeMap<(u64, PartitionId), usize>,
}

impl Client {
    fn new(instance: usize) -> Self {
        Self {
            instance,
            standing: Standing::Member,
            is_gone: false,
            knows_of_fence: false,
            generation: None,
            joined: None,
            notes: VecDeque::new(),
            unanswered: Vec::new(),
            last_note: 0,
            given: BTreeSet::new(),
        }
    }

    fn note(&mut self, change: AssignmentChange, partitions: Vec<PartitionId>) {
        self.last_note += 1;
        self.notes.push_back(RebalanceNote { number: self.last_note, change, partitions });
    }

    fn owes_answer(&self) -> bool {
        !self.notes.is_empty() || !self.unanswered.is_empty()
    }

    /// Partitions that it was told, or is being told, to give back.
    fn revoked(&self) -> BTreeSet<PartitionId> {
        let told = self.notes.iter().chain(&self.unanswered);
        let told = told.filter(|note| note.change == AssignmentChange::Revoked).flat_map(|note| &note.partitions);
        told.chain(self.joined.iter().flat_map(|joined| &joined.revoked)).copied().collect()
    }
}

impl Coordinator {
    /// A consumer that is in no group yet.
    pub fn new_client(&mut self) -> ClientId {
        self.last_client += 1;
        ClientId(self.last_client)
    }

    pub fn join(&mut self, id: ClientId, instance: usize) {
        let mut client = Client::new(instance);
        match self.predecessor(instance) {
            // A static member that comes back goes on in the same generation, with what it had.
            Some(old) => self.replace(old, id, &mut client),
            None => self.is_rebalance_due = true,
        }
        self.clients.insert(id, client);
    }

    /// A static member's request to join arrives a second time: for the group that is another consumer of its name, of
    /// whom nobody will ever hear again.
    pub fn join_again(&mut self, id: ClientId) -> bool {
        let Some(client) = self.clients.get(&id) else { return false };
        let instance = client.instance;
        let joins = self.is_static && client.standing == Standing::Member && !client.is_gone;
        if joins {
            let ghost = self.new_client();
            self.join(ghost, instance);
            self.crash(ghost);
        }
        joins
    }

    fn predecessor(&self, instance: usize) -> Option<ClientId> {
        let is_it = |client: &Client| client.instance == instance && client.standing == Standing::Member;
        self.clients.iter().find(|(_, client)| self.is_static && is_it(client)).map(|(id, _)| *id)
    }

    fn replace(&mut self, old: ClientId, new: ClientId, client: &mut Client) {
        let Some(replaced) = self.clients.get_mut(&old) else { return };
        replaced.standing = Standing::Fenced;
        let has_joined = replaced.generation.is_some() || replaced.joined.is_some();
        let revoked = replaced.revoked();
        if replaced.is_gone {
            self.clients.remove(&old);
        }
        let held = self.held_by(old);
        for partition in &held {
            self.holders.remove(partition);
        }
        if !has_joined {
            return;
        }
        let kept: Vec<PartitionId> = held.difference(&revoked).copied().collect();
        self.holders.extend(kept.iter().map(|partition| (*partition, new)));
        self.is_rebalance_due |= self.holders.len() < partitions().count();
        client.joined = Some(Joined { generation: self.generation, revoked: Vec::new(), assigned: kept });
    }

    fn held_by(&self, client: ClientId) -> BTreeSet<PartitionId> {
        self.holders.iter().filter(|(_, holder)| **holder == client).map(|(partition, _)| *partition).collect()
    }

    fn free(&mut self, client: ClientId) {
        self.holders.retain(|_, holder| *holder != client);
        self.is_rebalance_due = true;
    }

    /// Consumers in the group, those whose process is gone among them.
    pub fn members(&self) -> Vec<ClientId> {
        self.clients.iter().filter(|(_, client)| client.standing == Standing::Member).map(|(id, _)| *id).collect()
    }

    /// Every consumer that has a process.
    pub fn clients(&self) -> Vec<ClientId> {
        self.clients.iter().filter(|(_, client)| !client.is_gone).map(|(id, _)| *id).collect()
    }

    /// Whether a consumer went on at once with what its predecessor had.
    pub fn has_place(&self, id: ClientId) -> bool {
        self.clients.get(&id).is_some_and(|client| client.joined.is_some())
    }

    /// Members whose process is gone.
    pub fn ghosts(&self) -> Vec<ClientId> {
        self.members().into_iter().filter(|id| self.clients[id].is_gone).collect()
    }

    /// Ends a session: the partitions are free, whatever the consumer believes.
    pub fn expire(&mut self, client: ClientId) {
        let Some(expired) = self.clients.get_mut(&client) else { return };
        expired.standing = Standing::Out;
        if expired.is_gone {
            self.clients.remove(&client);
        }
        self.free(client);
    }

    /// The process is gone without a word.
    pub fn crash(&mut self, client: ClientId) {
        let Some(crashed) = self.clients.get_mut(&client) else { return };
        crashed.is_gone = true;
        if crashed.standing != Standing::Member {
            self.clients.remove(&client);
        }
    }

    pub fn close(&mut self, client: ClientId, leave: bool) {
        let Some(closed) = self.clients.get(&client) else { return };
        if closed.standing == Standing::Member && (leave || !self.is_static) {
            self.free(client);
            self.clients.remove(&client);
        } else {
            self.crash(client);
        }
    }

    /// Whether everybody has joined whom a rebalance waits for.
    pub fn can_rebalance(&self) -> bool {
        let mut members = self.clients.values().filter(|client| client.standing == Standing::Member).peekable();
        let is_ready = |client: &Client| !client.is_gone && !client.owes_answer() && client.joined.is_none();
        self.is_rebalance_due && members.peek().is_some() && members.all(is_ready)
    }

    /// Ends a rebalance: a new generation with a new assignment, of which a partition that another member holds is first
    /// taken from that one. With `moves` partitions go anywhere, else they stay where they are.
    pub fn rebalance(&mut self, random: &mut impl Rng, moves: bool) {
        self.generation += 1;
        self.is_rebalance_due = false;
        let members = self.members();
        let mut loads: BTreeMap<ClientId, usize> =
            members.iter().map(|member| (*member, self.held_by(*member).len())).collect();
        let mut target = BTreeMap::new();
        for partition in partitions() {
            let holder = self.holders.get(&partition).copied();
            let stays = holder.filter(|_| !moves || random.random_bool(0.5));
            let least_loaded = loads.iter().min_by_key(|(_, load)| **load).map(|(member, _)| *member);
            let anybody = members[random.random_range(0..members.len())];
            let chosen = stays.unwrap_or(if moves { anybody } else { least_loaded.unwrap_or(anybody) });
            *loads.entry(chosen).or_default() += usize::from(holder != Some(chosen));
            target.insert(partition, chosen);
        }
        for member in members {
            let held = self.held_by(member);
            let is_others = |partition: &&PartitionId| target.get(partition) != Some(&member);
            let revoked: Vec<PartitionId> = held.iter().filter(is_others).copied().collect();
            let is_free = |partition: &PartitionId| !self.holders.contains_key(partition);
            let mut assigned = Vec::new();
            if revoked.is_empty() {
                assigned = partitions().filter(|it| is_free(it) && target.get(it) == Some(&member)).collect();
            }
            self.holders.extend(assigned.iter().map(|partition| (*partition, member)));
            if let Some(client) = self.clients.get_mut(&member) {
                client.joined = Some(Joined { generation: self.generation, revoked, assigned });
            }
        }
        // What waits for a revocation, or was passed over by one, comes with the next.
        self.is_rebalance_due |= self.holders.len() < partitions().count();
    }

    /// What a consumer's background thread does: takes the coordinator's answers, notices the end of its session, and
    /// joins again.
    pub fn background(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        match client.standing {
            Standing::Member => {
                let Some(joined) = client.joined.take() else { return };
                client.generation = Some(joined.generation);
                if joined.revoked.is_empty() {
                    client.given.extend(&joined.assigned);
                    client.note(AssignmentChange::Assigned, joined.assigned);
                } else {
                    client.note(AssignmentChange::Revoked, joined.revoked);
                }
            }
            Standing::Out => {
                client.generation = None;
                client.joined = None;
                if client.owes_answer() {
                    return;
                }
                let lost: Vec<PartitionId> = std::mem::take(&mut client.given).into_iter().collect();
                if lost.is_empty() {
                    client.standing = Standing::Member;
                    self.is_rebalance_due = true;
                } else {
                    client.note(AssignmentChange::Lost, lost);
                }
            }
            Standing::Fenced => {}
        }
    }

    /// The same, and its heartbeat, whose answer alone tells it that its name was taken.
    pub fn heartbeat(&mut self, id: ClientId) {
        self.background(id);
        if let Some(client) = self.clients.get_mut(&id) {
            client.knows_of_fence = client.standing == Standing::Fenced;
        }
    }

    pub fn knows_of_fence(&self, id: ClientId) -> bool {
        self.clients.get(&id).is_some_and(|client| client.knows_of_fence)
    }

    pub fn has_notes(&self, id: ClientId) -> bool {
        self.clients.get(&id).is_some_and(|client| !client.notes.is_empty())
    }

    pub fn take_note(&mut self, id: ClientId) -> Option<RebalanceNote> {
        let client = self.clients.get_mut(&id)?;
        let note = client.notes.pop_front()?;
        client.unanswered.push(note.clone());
        Some(note)
    }

    pub fn answer_assignment(&mut self, id: ClientId) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.unanswered.retain(|note| note.change != AssignmentChange::Assigned);
        }
    }

    pub fn answer_revocation(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        let answered = client.unanswered.extract_if(.., |note| note.change != AssignmentChange::Assigned);
        for note in answered.filter(|note| note.change == AssignmentChange::Revoked) {
            for partition in note.partitions {
                client.given.remove(&partition);
                if self.holders.get(&partition) == Some(&id) {
                    self.holders.remove(&partition);
                }
            }
            // It joins again, so that somebody else gets them.
            self.is_rebalance_due |= client.standing == Standing::Member;
        }
    }

    /// Who a consumer is at this moment.
    pub fn identity(&self, id: ClientId) -> Option<Identity> {
        let generation = self.clients.get(&id)?.generation?;
        Some(Identity { client: id, generation })
    }

    /// Whether the coordinator takes offsets from it: not where it is of a generation that is over, fenced, or nobody in the
    /// group.
    pub fn takes_offsets_of(&self, identity: Identity) -> bool {
        let is_member = |client: &Client| client.standing == Standing::Member;
        identity.generation == self.generation && self.clients.get(&identity.client).is_some_and(is_member)
    }

    pub fn committed(&self, partition: PartitionId) -> Option<&CommittedPosition> {
        self.committed.get(&partition)
    }
}

impl Shared {
    /// Notes that the coordinator accepted an offset from a member, to be committed now or with its transaction.
    pub fn accept_offset(&mut self, identity: Identity, partition: PartitionId) {
        let group = &mut self.group;
        let Some(instance) = group.clients.get(&identity.client).map(|client| client.instance) else { return };
        let holder = group.holders.get(&partition).copied();
        let first = *group.committers.entry((identity.generation, partition)).or_insert(instance);
        if holder.is_some_and(|holder| holder != identity.client) || first != instance {
            let what = format!("{identity:?} commits partition {}, which {holder:?} holds", partition.get());
            self.violated(Invariant::OneOwner, what);
        }
    }

    /// Makes a position the committed one.
    pub fn commit_offset(&mut self, partition: PartitionId, position: CommittedPosition) {
        self.trace(|| format!("partition {} committed to {}", partition.get(), position.next_offset.get()));
        let before = self.group.committed.insert(partition, position.clone());
        let before = before.map_or(0, |before| before.next_offset.get());
        if position.next_offset.get() < before {
            let what = format!("partition {} from {before} to {}", partition.get(), position.next_offset.get());
            self.violated(Invariant::CommitsGoOn, what);
        }
    }
}
