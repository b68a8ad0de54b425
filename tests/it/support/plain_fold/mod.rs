//! A second fold, written from the contract alone (DESIGN.md sections 2 to 4 and the readings in ARCHITECTURE.md): strings,
//! hash maps and whole-state scans. It shares no code with `seenby::fold`, `seenby::event` or `seenby::policy`, so that a
//! mistake in one of the two shows as a difference.
//!
//! Feed it the records of the events topic, each partition in log order; what it holds afterwards is what every other part
//! of seenby has to agree with.

#![allow(dead_code)] // a vocabulary: not every word is in use at any time

mod erasing;
pub mod policy;
pub mod reading;
mod rules;

use std::collections::{BTreeMap, HashMap, HashSet};

use policy::PlainPolicy;
use reading::{PlainControl, PlainEvent};

const HOUR: i64 = 60 * 60 * 1000;
const DAY: i64 = 24 * HOUR;
const LATENESS: i64 = 72 * HOUR;
const MOST_SKEW: i64 = 5 * 60 * 1000;
const MOST_PARKED: usize = 1_000;

/// One record of the events topic as it came.
#[derive(Clone, Copy, Debug)]
pub struct LogRecord<'a> {
    pub partition: u32,
    pub offset: u64,
    /// The broker's time in ms, where it gave one.
    pub time: Option<i64>,
    pub key: Option<&'a [u8]>,
    pub value: &'a [u8],
    /// The value of the header that makes it a control record.
    pub control: Option<&'a [u8]>,
}

/// App, type and outcome, or what a wait ended with.
pub type OutcomeKey = (String, String, &'static str);

/// One life of a message: from where it was accepted on. Lives stay here after they have left the state.
#[derive(Clone, Debug)]
pub struct Life {
    pub app: String,
    pub conversation: String,
    pub message: String,
    pub sent_at: i64,
    pub is_group: bool,
    pub sender: String,
    pub to: String,
    pub status: &'static str,
    pub validity: i64,
    pub reader_cap: usize,
    /// The local date, as days since 1970; of opened messages.
    pub quota_day: Option<i64>,
    /// Members without the sender, bytewise; of opened messages with a known roster.
    pub audience: Option<Vec<String>>,
    /// Receipts that counted, in log order.
    pub receipts: Vec<Receipt>,
    /// Recalled by whom, when and under which id.
    pub recalled: Option<(String, i64, String)>,
    /// When the mark was set that read it.
    pub read_by_mark: Option<i64>,
    /// Its sender was forgotten since, or a side of its single chat.
    pub is_forgotten: bool,
    pub partition: u32,
    pub offset: u64,
}

/// A receipt that counted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Receipt {
    /// delivered or read.
    pub kind: &'static str,
    pub at: i64,
    pub ack_id: String,
    pub reader: String,
    pub content: Option<String>,
    /// The offset of its own record.
    pub own_offset: u64,
    /// Its reader was forgotten since.
    pub is_forgotten: bool,
    /// The counts of its message hold it: what had left the state when its reader was forgotten is not counted anew.
    pub is_counted: bool,
}

/// Somebody to be told of one receipt or mark, exactly once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Notification {
    pub kind: &'static str,
    pub conversation: String,
    pub message: Option<String>,
    pub reader: String,
    /// Key of the record: `{app}/{user}` of the person told.
    pub key: String,
    pub at: i64,
    pub ack_id: String,
    pub content: Option<String>,
    pub partition: u32,
    pub own_offset: u64,
    /// Readers of the message with this one, in groups.
    pub group_read_count: Option<usize>,
}

/// A refused record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rejection {
    pub outcome: &'static str,
    pub partition: u32,
    pub own_offset: u64,
    /// Refused at the end of a wait.
    pub is_settled: bool,
}

/// An applied mark.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    pub conversation: String,
    pub reader: String,
    pub at: i64,
    pub ack_id: String,
    pub partition: u32,
    pub offset: u64,
    /// Its reader was forgotten since, or a side of its single chat.
    pub is_forgotten: bool,
}

/// Everything that follows from a log.
#[derive(Debug)]
pub struct PlainFold {
    partition_count: u32,
    partitions: BTreeMap<u32, Partition>,
    pub records: u64,
    pub outcomes: BTreeMap<OutcomeKey, u64>,
    pub settled: BTreeMap<OutcomeKey, u64>,
    /// Receipts and messages read by mark, each with its delay in ms, by app and type.
    pub delays: BTreeMap<(String, &'static str), Vec<i64>>,
    pub lives: Vec<Life>,
    pub notifications: Vec<Notification>,
    pub rejections: Vec<Rejection>,
    pub marks: Vec<Mark>,
}

#[derive(Debug, Default)]
struct Partition {
    watermark: i64,
    versions: HashSet<(String, u64)>,
    policies: HashMap<String, Vec<PlainPolicy>>,
    conversations: HashMap<String, Conversation>,
    /// By own offset: log order.
    waiting: BTreeMap<u64, Waiting>,
}

#[derive(Debug, Default)]
struct Conversation {
    /// The newest life of each message id: where it stands in [`PlainFold::lives`].
    messages: HashMap<String, usize>,
    marks: HashMap<String, i64>,
    /// The `at` of the last roster; `None` while the roster is unknown.
    roster_at: Option<i64>,
    users: HashMap<String, GroupUser>,
    opened: HashMap<i64, u64>,
}

#[derive(Clone, Debug, Default)]
struct GroupUser {
    role: Option<String>,
    /// The `at` of the last single change.
    changed_at: Option<i64>,
    joined_at: Option<i64>,
}

#[derive(Clone, Debug)]
struct Waiting {
    conversation: String,
    event: PlainEvent,
    deadline: i64,
}

impl PlainFold {
    pub fn new(partition_count: u32) -> Self {
        Self {
            partition_count,
            partitions: BTreeMap::new(),
            records: 0,
            outcomes: BTreeMap::new(),
            settled: BTreeMap::new(),
            delays: BTreeMap::new(),
            lives: Vec::new(),
            notifications: Vec::new(),
            rejections: Vec::new(),
            marks: Vec::new(),
        }
    }

    /// Takes the next record of its partition and returns what became of it.
    pub fn take(&mut self, record: &LogRecord<'_>) -> &'static str {
        self.records += 1;
        let (app, event_type, outcome) = if let Some(header) = record.control {
            match reading::read_control(header, record.value) {
                Some(control) => self.control(record, control),
                None => (String::new(), String::new(), "malformed"),
            }
        } else {
            match reading::read_event(record.value) {
                Some(event) => {
                    let outcome = self.event(record, &event);
                    (event.app.clone(), event.counted_type().to_owned(), outcome)
                }
                None => (String::new(), String::new(), "malformed"),
            }
        };
        if is_rejected(outcome) {
            let (partition, own_offset) = (record.partition, record.offset);
            self.rejections.push(Rejection { outcome, partition, own_offset, is_settled: false });
        }
        *self.outcomes.entry((app, event_type, outcome)).or_default() += 1;
        outcome
    }

    fn control(&mut self, record: &LogRecord<'_>, control: PlainControl) -> (String, String, &'static str) {
        let partition = self.partitions.entry(record.partition).or_default();
        let (app, event_type, version) = match &control {
            PlainControl::Policy { app, version, .. } => (app.clone(), "policy", *version),
            PlainControl::Erase { app, version, .. } => (app.clone(), "erase", *version),
        };
        if !partition.versions.insert((app.clone(), version)) {
            return (app, event_type.to_owned(), "duplicate");
        }
        match control {
            PlainControl::Policy { policy, .. } => {
                partition.policies.entry(app.clone()).or_default().push(policy);
            }
            PlainControl::Erase { user, .. } => self.erase(record.partition, &app, &user),
        }
        (app, event_type.to_owned(), "applied")
    }

    /// How many records wait for their message.
    pub fn still_parked(&self) -> usize {
        self.partitions.values().map(|partition| partition.waiting.len()).sum()
    }

    /// The largest `at` of a partition.
    pub fn watermark(&self, partition: u32) -> i64 {
        self.partitions.get(&partition).map_or(0, |partition| partition.watermark)
    }

    /// Who is a member of which group now: conversation, user, role and since when.
    pub fn members(&self) -> Vec<(String, String, String, i64)> {
        let mut members = Vec::new();
        for partition in self.partitions.values() {
            for (key, conversation) in &partition.conversations {
                for (user, standing) in &conversation.users {
                    if let (Some(role), Some(joined_at)) = (&standing.role, standing.joined_at) {
                        members.push((key.clone(), user.clone(), role.clone(), joined_at));
                    }
                }
            }
        }
        members.sort();
        members
    }
}

/// What is known of a user in a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    pub is_roster_known: bool,
    /// A change or a roster has named him.
    pub is_named: bool,
    /// The change that last made him a member, where he is one.
    pub joined_at: Option<i64>,
}

impl PlainFold {
    /// What is known of a user in a group now.
    pub fn standing(&self, key: &str, user: &str) -> Standing {
        let Some(conversation) = self.partitions.values().find_map(|partition| partition.conversations.get(key)) else {
            return Standing::default();
        };
        let standing = conversation.users.get(user);
        Standing {
            is_roster_known: conversation.roster_at.is_some(),
            is_named: standing.is_some(),
            joined_at: standing.filter(|standing| standing.role.is_some()).and_then(|standing| standing.joined_at),
        }
    }
}

impl Life {
    /// Receipts of a kind that are counted, in log order.
    pub fn of_kind(&self, kind: &str) -> impl Iterator<Item = &Receipt> {
        self.receipts.iter().filter(move |receipt| receipt.kind == kind && receipt.is_counted)
    }

    /// How many readers have a receipt of their own.
    pub fn distinct(&self) -> usize {
        self.of_kind("read").count()
    }

    /// The newest readers up to the cap, by (at, ack id, user), newest first.
    pub fn retained(&self) -> Vec<&Receipt> {
        let mut readers: Vec<&Receipt> = self.of_kind("read").collect();
        readers.sort_by(|one, other| (other.at, &other.ack_id, &other.reader).cmp(&(one.at, &one.ack_id, &one.reader)));
        readers.truncate(self.reader_cap);
        readers
    }
}

/// Section 6: what goes to the rejections.
fn is_rejected(outcome: &str) -> bool {
    matches!(
        outcome,
        "malformed"
            | "misrouted"
            | "skewed"
            | "unsupported"
            | "too_late"
            | "not_open"
            | "permission_denied"
            | "quota_exceeded"
            | "expired"
            | "not_found"
            | "not_member"
            | "recalled"
    )
}

/// Java's murmur2 as Kafka's default partitioner uses it.
fn partition_of(key: &[u8], partitions: u32) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash: u32 = 0x9747_b28c ^ key.len() as u32;
    let chunks = key.chunks_exact(4);
    let rest = chunks.remainder();
    for chunk in chunks {
        let mut word = u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]).wrapping_mul(M);
        word ^= word >> 24;
        hash = hash.wrapping_mul(M) ^ word.wrapping_mul(M);
    }
    if !rest.is_empty() {
        for (place, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * place);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^= hash >> 15;
    (hash & 0x7fff_ffff) % partitions
}
