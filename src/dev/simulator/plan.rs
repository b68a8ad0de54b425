//! What happens: first actions chosen at random, and what follows from each, each at its time.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, LogNormal};

use super::world::{Group, USERS_PER_APP, World};
use crate::event::{MemberChange, Role};
use crate::policy::Senders;

const SECOND: f64 = 1_000.0;
const HOUR: i64 = 60 * 60 * 1_000;

/// Where something happens.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// In a group, by its number.
    Group(u32),
    /// Between two users of an app; the actor and the peer.
    Single { app: u32, peer: u32 },
}

/// What happens.
#[derive(Clone, Copy, Debug)]
pub(super) enum Action {
    Message { message: u64, asks_receipts: bool, role: Option<Role> },
    Delivered { message: u64 },
    Read { message: u64, has_content: bool },
    ConversationRead,
    Recall { message: u64 },
    Member { user: u32, change: MemberChange },
    Roster,
}

/// Something that will happen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Planned {
    /// When it reaches the topic, in ms. Not before `at`.
    pub(super) due: i64,
    /// Ties are broken by the order of planning; also the number of receipts.
    pub(super) sequence: u64,
    /// The event's time in ms.
    pub(super) at: i64,
    pub(super) place: Place,
    pub(super) actor: u32,
    pub(super) action: Action,
}

/// Turned round: the heap gives its greatest first, and the earliest is due first.
impl Ord for Planned {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.due, other.sequence).cmp(&(self.due, self.sequence))
    }
}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Planned {}

/// How long people and devices take, in ms: medians with the long tail of a logarithmic normal distribution.
#[derive(Debug)]
struct Delays {
    delivery: LogNormal<f64>,
    single_read: LogNormal<f64>,
    group_read: LogNormal<f64>,
}

/// The schedule of all that is to come.
#[derive(Debug)]
pub(super) struct Plan {
    random: ChaCha8Rng,
    delays: Delays,
    due: BinaryHeap<Planned>,
    sequence: u64,
    messages: u64,
}

impl Plan {
    pub(super) fn new(seed: u64) -> Result<Self, rand_distr::NormalError> {
        let delay = |median_millis: f64, sigma: f64| LogNormal::new(median_millis.ln(), sigma);
        Ok(Self {
            random: ChaCha8Rng::seed_from_u64(seed),
            delays: Delays {
                delivery: delay(0.4 * SECOND, 1.0)?,
                single_read: delay(25.0 * SECOND, 1.5)?,
                group_read: delay(90.0 * SECOND, 1.7)?,
            },
            due: BinaryHeap::new(),
            sequence: 0,
            messages: 0,
        })
    }

    /// What is due by `now`, or else something new that happens now.
    pub(super) fn next(&mut self, now: i64, world: &mut World) -> Planned {
        loop {
            if let Some(next) = self.due.peek()
                && next.due <= now
                && let Some(planned) = self.due.pop()
            {
                return planned;
            }
            self.start(now, world);
        }
    }

    /// Whether something happens that does in so many of a thousand cases.
    pub(super) fn in_a_thousand(&mut self, cases: u32) -> bool {
        self.random.random_range(0..1_000) < cases
    }

    /// A number below `limit`, which is at least 1.
    pub(super) fn below(&mut self, limit: u32) -> u32 {
        self.random.random_range(0..limit.max(1))
    }

    fn start(&mut self, now: i64, world: &mut World) {
        match self.below(1_000) {
            0..400 => self.single_message(now, world),
            400..900 => self.group_message(now, world),
            900..940 => self.member_change(now, world),
            940..943 => self.roster(now, world),
            943..975 => self.group_conversation_read(now, world),
            _ => self.receipt_of_nothing(now, world),
        }
    }

    fn group_message(&mut self, now: i64, world: &mut World) {
        let number = self.below(world.groups.len() as u32);
        let Some(group) = world.groups.get_mut(number as usize) else { return };
        let place = Place::Group(number);
        if group.has_roster && !group.is_roster_sent {
            group.is_roster_sent = true;
            self.plan(now, now, place, group.user(0), Action::Roster);
        }

        let policy = world.apps.get(group.app as usize).and_then(|app| app.policy.as_ref());
        let admins_only = policy.is_some_and(|policy| policy.group.senders == Senders::Admins);
        let sender =
            if admins_only && self.in_a_thousand(700) { self.below(group.admins()) } else { self.below(group.size) };
        let asks_receipts = self.in_a_thousand(800);
        let role = self.in_a_thousand(500).then(|| Group::role(sender));
        let sent_at = self.sent_at(now);
        let message = self.send(now, sent_at, place, group.user(sender), asks_receipts, role);

        // Where receipts are refused, clients hardly send any.
        let may_ask = !admins_only || sender < group.admins();
        let is_opened = asks_receipts && may_ask && policy.is_some_and(|policy| policy.group.open);
        let readers = if is_opened { group.size * (20 + self.below(70)) / 100 } else { self.below(3) };
        let first = self.below(group.size);
        for reader in 0..readers {
            let member = (first + reader) % group.size;
            if member == sender && !self.in_a_thousand(100) {
                continue; // mostly not one's own message
            }
            // One reader in 300 has left the group, or never was in it.
            let user = if self.in_a_thousand(3) { group.user(group.size + self.below(50)) } else { group.user(member) };
            let at = now + self.delays.group_read.sample(&mut self.random) as i64;
            let has_content = self.in_a_thousand(50);
            self.read(at, place, user, message, has_content);
        }
        if self.in_a_thousand(5) {
            let at = now + 1 + i64::from(self.below(120_000));
            self.plan(at, at, place, group.user(sender), Action::Recall { message });
        }
    }

    fn single_message(&mut self, now: i64, world: &World) {
        let app = self.below(world.apps.len() as u32);
        let sender = self.below(USERS_PER_APP);
        // People have few others they write to; one in a hundred writes to himself.
        let peer = if self.in_a_thousand(10) { sender } else { (sender + 1 + self.below(8)) % USERS_PER_APP };
        let to_peer = Place::Single { app, peer };
        let to_sender = Place::Single { app, peer: sender };
        let sent_at = self.sent_at(now);
        let message = self.send(now, sent_at, to_peer, sender, false, None);

        let delivered_at = now + self.delays.delivery.sample(&mut self.random) as i64;
        if self.in_a_thousand(930) {
            self.plan(delivered_at, delivered_at, to_sender, peer, Action::Delivered { message });
        }
        let read_at = delivered_at + self.delays.single_read.sample(&mut self.random) as i64;
        match self.below(1_000) {
            0..550 => self.read(read_at, to_sender, peer, message, false),
            550..800 => self.plan(read_at, read_at, to_sender, peer, Action::ConversationRead),
            _ => {}
        }
        if self.in_a_thousand(10) {
            let at = now + 1 + i64::from(self.below(120_000));
            self.plan(at, at, to_peer, sender, Action::Recall { message });
        }
    }

    /// Sends a message; one in 200 reaches the topic after its first receipts, one in 300 is sent twice.
    fn send(&mut self, now: i64, at: i64, place: Place, sender: u32, asks_receipts: bool, role: Option<Role>) -> u64 {
        self.messages += 1;
        let message = self.messages;
        let action = Action::Message { message, asks_receipts, role };
        let due = if self.in_a_thousand(5) { now + i64::from(self.below(90_000)) } else { now };
        self.plan(due, at, place, sender, action);
        if self.in_a_thousand(3) {
            self.plan(due + 2_000, at, place, sender, action);
        }
        message
    }

    /// When a message was sent that comes now: mostly now; three in 1,000 waited on a device for days.
    fn sent_at(&mut self, now: i64) -> i64 {
        if self.in_a_thousand(3) { now - (20 + i64::from(self.below(70))) * HOUR } else { now }
    }

    /// Reads a message; one in 25 has a second device that says it again.
    fn read(&mut self, at: i64, place: Place, reader: u32, message: u64, has_content: bool) {
        let action = Action::Read { message, has_content };
        self.plan(at, at, place, reader, action);
        if self.in_a_thousand(40) {
            let again = at + i64::from(self.below(30_000));
            self.plan(again, again, place, reader, action);
        }
    }

    fn member_change(&mut self, now: i64, world: &World) {
        let number = self.below(world.groups.len() as u32);
        let Some(group) = world.groups.get(number as usize) else { return };
        let change = match self.below(10) {
            0..5 => MemberChange::Join,
            5..8 => MemberChange::Leave,
            8 => MemberChange::Role(Role::Admin),
            _ => MemberChange::Role(Role::Member),
        };
        let newcomer = if change == MemberChange::Join { self.below(50) } else { 0 };
        let user = group.user(self.below(group.size) + newcomer);
        // Some changes are told late, when the user may have changed again.
        let at = if self.in_a_thousand(50) { now - i64::from(self.below(12)) * HOUR } else { now };
        self.plan(now, at, Place::Group(number), group.user(0), Action::Member { user, change });
    }

    fn roster(&mut self, now: i64, world: &World) {
        let number = self.below(world.groups.len() as u32);
        if let Some(group) = world.groups.get(number as usize).filter(|group| group.is_roster_sent) {
            self.plan(now, now, Place::Group(number), group.user(0), Action::Roster);
        }
    }

    fn group_conversation_read(&mut self, now: i64, world: &World) {
        let number = self.below(world.groups.len() as u32);
        if let Some(group) = world.groups.get(number as usize) {
            let reader = group.user(self.below(group.size));
            self.plan(now, now, Place::Group(number), reader, Action::ConversationRead);
        }
    }

    /// A receipt whose message never comes.
    fn receipt_of_nothing(&mut self, now: i64, world: &World) {
        self.messages += 1;
        let app = self.below(world.apps.len() as u32);
        let reader = self.below(USERS_PER_APP);
        let peer = (reader + 1 + self.below(8)) % USERS_PER_APP;
        self.read(now, Place::Single { app, peer }, reader, self.messages, false);
    }

    fn plan(&mut self, due: i64, at: i64, place: Place, actor: u32, action: Action) {
        self.sequence += 1;
        self.due.push(Planned { due, sequence: self.sequence, at, place, actor, action });
    }
}
