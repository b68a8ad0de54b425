//! The fold and the plain fold beside each other.

use std::collections::BTreeMap;

use bumpalo::Bump;
use seenby::fold::fact::{ControlFact, Measure};

use super::fold::{Fact, Fold};
use super::plain_fold::{LogRecord, Notification, PlainFold, Rejection};
use super::random_log::TimedRecord;

/// What both folds say of a log, in one form.
#[derive(Debug, Default, PartialEq)]
pub struct Findings {
    outcomes: BTreeMap<(String, String, String), u64>,
    settled: BTreeMap<(String, String, String), u64>,
    still_parked: usize,
    watermark: i64,
    /// How many delays were measured, by app and type.
    delays: BTreeMap<(String, String), u64>,
    lives: BTreeMap<LifeKey, FoundLife>,
    notifications: Vec<Notification>,
    rejections: Vec<Rejection>,
    marks: Vec<(String, String, i64, String, u64)>,
    members: Vec<(String, String, String, i64)>,
}

/// Conversation, message and time of sending.
type LifeKey = (String, String, i64);

#[derive(Debug, Default, PartialEq)]
struct FoundLife {
    sender: String,
    status: String,
    validity: i64,
    quota_day: Option<i64>,
    audience: Option<usize>,
    /// Kind, at, ack id, reader, content and own offset, in log order.
    receipts: Vec<(String, i64, String, String, Option<String>, u64)>,
    recalled: Option<(String, i64, String)>,
    /// Distinct and retained readers, and receivers of a delivery.
    counts: (usize, usize, usize),
}

impl Findings {
    /// What the fold gave out, of the facts kept, and holds.
    pub fn by_the_fold(fold: &Fold<'_>) -> Self {
        let mut found = Self {
            still_parked: fold.partition.parked(),
            watermark: fold.partition.watermark().millis(),
            ..Self::default()
        };
        let mut cells = BTreeMap::new();
        let mut has_erasures = false;
        let mut members: BTreeMap<(String, String), Option<(String, i64)>> = BTreeMap::new();
        for fact in &fold.recorder.facts {
            match fact {
                Fact::Message(fact) => {
                    let life = FoundLife {
                        sender: fact.sender.to_string(),
                        status: fact.status.outcome().name().to_owned(),
                        validity: fact.validity_millis,
                        quota_day: fact.quota_day.map(|day| i64::from(day.days())),
                        audience: fact.audience.map(|audience| audience as usize),
                        ..FoundLife::default()
                    };
                    let key = (fact.conversation.to_string(), fact.message.to_string(), fact.sent_at.millis());
                    let earlier = found.lives.insert(key, life);
                    assert!(earlier.is_none() || has_erasures, "one life a place");
                }
                Fact::Receipt(fact) => {
                    let key = (fact.conversation.to_string(), fact.message.to_string(), fact.sent_at.millis());
                    found.lives.get_mut(&key).unwrap().receipts.push((
                        fact.kind.name().to_owned(),
                        fact.at.millis(),
                        fact.ack_id.to_string(),
                        fact.reader.to_string(),
                        fact.content.map(str::to_owned),
                        fact.position.own_offset.get(),
                    ));
                }
                Fact::Recall(fact) => {
                    let key = (fact.conversation.to_string(), fact.message.to_string(), fact.sent_at.millis());
                    let recall = (fact.recalled_by.to_string(), fact.at.millis(), fact.recall_id.to_string());
                    found.lives.get_mut(&key).unwrap().recalled = Some(recall);
                }
                Fact::Counts(fact) => {
                    let key = (fact.conversation.to_string(), fact.message.to_string(), fact.sent_at.millis());
                    found.lives.get_mut(&key).unwrap().counts =
                        (fact.distinct as usize, fact.retained as usize, fact.delivered as usize);
                }
                Fact::Roster(fact) => {
                    if let Some(user) = fact.user {
                        let standing = fact.role.map(|role| (role.name().to_owned(), fact.joined_at.unwrap().millis()));
                        members.insert((fact.conversation.to_string(), user.to_string()), standing);
                    }
                }
                Fact::Mark(fact) => found.marks.push((
                    fact.conversation.to_string(),
                    fact.reader.to_string(),
                    fact.at.millis(),
                    fact.ack_id.to_string(),
                    fact.position.offset.get(),
                )),
                Fact::Rejection(fact) => found.rejections.push(Rejection {
                    outcome: fact.outcome.name(),
                    partition: fact.position.own_partition.get(),
                    own_offset: fact.position.own_offset.get(),
                    is_settled: fact.received.is_none(),
                }),
                Fact::Notification(fact) => found.notifications.push(Notification {
                    kind: fact.kind.name(),
                    conversation: fact.conversation.to_string(),
                    message: fact.message.map(|message| message.to_string()),
                    reader: fact.reader.to_string(),
                    key: format!("{}/{}", fact.app, fact.told),
                    at: fact.at.millis(),
                    ack_id: fact.ack_id.to_string(),
                    content: fact.content.map(str::to_owned),
                    partition: fact.position.own_partition.get(),
                    own_offset: fact.position.own_offset.get(),
                    group_read_count: fact.group_read_count.map(|count| count as usize),
                }),
                Fact::Ledger(fact) => {
                    let cell = (fact.measure, fact.app, fact.event_type, fact.outcome);
                    cells.insert((cell, fact.hour), fact.total);
                }
                Fact::Policy(fact) => {
                    if let ControlFact::Erase { app, user, .. } = fact.control {
                        has_erasures = true;
                        let groups = format!("{app}/g/");
                        members.retain(|(key, member), _| !key.starts_with(&groups) || member != user.as_str());
                    }
                }
                Fact::Parked(_) | Fact::Settlement(_) => {}
            }
        }
        for (((measure, app, event_type, outcome), _), total) in cells {
            let (app, event_type, outcome) = (app.to_owned(), event_type.to_owned(), outcome.to_owned());
            match measure {
                Measure::Records => *found.outcomes.entry((app, event_type, outcome)).or_default() += total,
                Measure::Settled => *found.settled.entry((app, event_type, outcome)).or_default() += total,
                Measure::Delays => *found.delays.entry((app, event_type)).or_default() += total,
                Measure::Watermark => {}
            }
        }
        found.members = members
            .into_iter()
            .filter_map(|((conversation, user), standing)| {
                standing.map(|(role, since)| (conversation, user, role, since))
            })
            .collect();
        found.sorted()
    }

    /// What the plain fold found.
    pub fn by_the_plain_fold(plain: PlainFold) -> Self {
        let named = |sums: &BTreeMap<(String, String, &'static str), u64>| {
            let named = |((app, event_type, outcome), count): (&(String, String, &str), &u64)| {
                ((app.clone(), event_type.clone(), (*outcome).to_owned()), *count)
            };
            sums.iter().map(named).collect()
        };
        let lives = plain.lives.iter().map(|life| {
            let found = FoundLife {
                sender: life.sender.clone(),
                status: life.status.to_owned(),
                validity: life.validity,
                quota_day: life.quota_day,
                audience: life.audience.as_ref().map(Vec::len),
                receipts: life
                    .receipts
                    .iter()
                    .cloned()
                    .map(|it| (it.kind.to_owned(), it.at, it.ack_id, it.reader, it.content, it.own_offset))
                    .collect(),
                recalled: life.recalled.clone(),
                counts: (life.distinct(), life.retained().len(), life.of_kind("delivered").count()),
            };
            ((life.conversation.clone(), life.message.clone(), life.sent_at), found)
        });
        let found = Self {
            outcomes: named(&plain.outcomes),
            settled: named(&plain.settled),
            still_parked: plain.still_parked(),
            watermark: plain.watermark(0),
            delays: plain
                .delays
                .iter()
                .map(|((app, event_type), delays)| ((app.clone(), (*event_type).to_owned()), delays.len() as u64))
                .collect(),
            lives: lives.collect(),
            marks: plain
                .marks
                .iter()
                .cloned()
                .map(|mark| (mark.conversation, mark.reader, mark.at, mark.ack_id, mark.offset))
                .collect(),
            members: plain.members(),
            notifications: plain.notifications,
            rejections: plain.rejections,
        };
        found.sorted()
    }

    fn sorted(mut self) -> Self {
        self.notifications.sort();
        self.rejections.sort();
        self.marks.sort();
        self
    }
}

/// Folds a log both ways and compares what becomes of each record.
pub fn folded_both_ways<'a>(records: &[TimedRecord], arena: &'a Bump) -> (Fold<'a>, PlainFold) {
    let mut fold = Fold::new(arena);
    let mut plain = PlainFold::new(1);
    for (offset, TimedRecord { record, time }) in records.iter().enumerate() {
        fold.clock = *time;
        let by_fold = fold.take(record).name();
        let by_plain = plain.take(&LogRecord {
            partition: 0,
            offset: offset as u64,
            time: Some(*time),
            key: record.key.as_deref(),
            value: &record.value,
            control: record.control.as_deref().map(str::as_bytes),
        });
        let value = String::from_utf8_lossy(&record.value);
        assert_eq!(by_fold, by_plain, "the fold's outcome and the plain fold's of record {offset}: {value}");
        if offset % 16 == 0 {
            fold.flush();
        }
    }
    fold.flush();
    (fold, plain)
}
