//! Random traffic over few ids, so that everything meets everything: receipts before, after and without their message,
//! duplicates, recalls, rosters, marks, policies, ids used again, and time that jumps until things leave the state.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use seenby::policy::Senders;

use super::events::{DAY, EventBuilder, HOUR, MINUTE, NOON, OwnedRecord, erase, in_group, in_single, policy_from};

/// A seeded source of records.
pub struct Traffic {
    random: ChaCha8Rng,
    now: i64,
    version: u64,
    made: u64,
}

const USERS: [&str; 5] = ["alice", "bob", "carol", "dave", "erin"];
const GROUPS: [&str; 3] = ["g1", "g2", "g3"];
const CHANGES: [&str; 5] = ["join", "leave", "owner", "admin", "member"];
const ROLES: [&str; 3] = ["owner", "admin", "member"];

impl Traffic {
    pub fn new(seed: u64) -> Self {
        Self::starting_at(seed, NOON)
    }

    /// The same from another time on, in ms.
    pub fn starting_at(seed: u64, now: i64) -> Self {
        Self { random: ChaCha8Rng::seed_from_u64(seed), now, version: 0, made: 0 }
    }

    /// The next event; of any conversation.
    pub fn event(&mut self) -> OwnedRecord {
        self.made += 1;
        self.now += match self.random.random_range(0..100) {
            0 => self.random.random_range(0..5 * DAY),
            1..10 => self.random.random_range(0..6 * HOUR),
            _ => self.random.random_range(0..5 * MINUTE),
        };
        let is_late = self.random.random_range(0..10) == 0;
        let late = if is_late { self.random.random_range(0..4 * DAY) } else { 0 };
        self.some_event().at(self.now - late).record()
    }

    /// The next control record; it goes to every partition.
    pub fn control(&mut self) -> OwnedRecord {
        if self.random.random_range(0..4) != 0 || self.version == 0 {
            self.version += 1;
        }
        if self.version > 1 && self.random.random_range(0..5) == 0 {
            return erase(self.version, "bob");
        }
        let effective_from = if self.version == 1 { 0 } else { self.now };
        let [validity, cap, quota, hours] = [3, 5, 4, 30].map(|most| self.random.random_range(1..=most));
        let senders = if self.random.random() { Senders::Members } else { Senders::Admins };
        policy_from(self.version, effective_from, |policy| {
            policy.group.open = true;
            policy.group.senders = senders;
            policy.group.validity_days = validity;
            policy.group.readers_per_message = cap;
            policy.group.messages_per_day = 3 * quota;
            policy.single.validity_days = validity;
            policy.parking_hours = hours;
        })
    }

    /// The next control record that is no erasure, where tables are compared as they stand: rows in front of one count as
    /// not there, and stay until they are taken out.
    pub fn policy(&mut self) -> OwnedRecord {
        loop {
            let control = self.control();
            if control.control.as_deref() != Some("erase") {
                return control;
            }
        }
    }

    fn some_event(&mut self) -> EventBuilder {
        let message = format!("m{}", self.random.random_range(0..12));
        let id = format!("a{}", self.made);
        match self.random.random_range(0..100) {
            0..12 => {
                let role = self.pick(&ROLES);
                let message = self.group("message").id(&message).with("receipt", self.random.random_range(0..5) != 0);
                if self.random.random() { message.role(role) } else { message }
            }
            12..22 => self.single("message").id(&message),
            22..50 => self.group("read").id(&id).with("message", message),
            50..62 => self.single("read").id(&id).with("message", message),
            62..70 => self.single("delivered").id(&id).with("message", message),
            70..75 => self.single("conversation_read").id(&id),
            75..78 => self.group("conversation_read").id(&id),
            78..81 => self.group("recall").id(&id).with("message", message),
            81..84 => self.single("recall").id(&id).with("message", message),
            84..92 => {
                let (user, change) = (self.pick(&USERS), self.pick(&CHANGES));
                self.group("member").id(&id).with("user", user).with("change", change)
            }
            92..95 => self.roster(&id),
            95 => self.group("group_destroyed").id(&id),
            96 => self.group("delivered").id(&id).with("message", message),
            97 => self.group("read").id(&id),
            98 => self.group("of another kind").id(&id),
            _ => self.group("read").id("two words").with("message", message),
        }
    }

    fn roster(&mut self, id: &str) -> EventBuilder {
        let size = self.random.random_range(0..=USERS.len());
        let members: Vec<serde_json::Value> =
            USERS[..size].iter().map(|user| serde_json::json!({"user": user, "role": self.pick(&ROLES)})).collect();
        self.group("roster").id(id).with("members", members)
    }

    fn group(&mut self, event_type: &str) -> EventBuilder {
        let (user, group) = (self.pick(&USERS), self.pick(&GROUPS));
        in_group(event_type, user).to(group)
    }

    fn single(&mut self, event_type: &str) -> EventBuilder {
        let (from, to) = (self.pick(&USERS[..3]), self.pick(&USERS[..3]));
        in_single(event_type, from, to)
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.random.random_range(0..of.len())]
    }
}
