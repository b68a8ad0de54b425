//! Random logs of one partition: few users, ids and groups, so that everything meets everything, and a clock that
//! creeps, jumps and lags, so that things are early, late and over.

use proptest::prelude::*;
use rand::Rng;
use seenby::policy::{Senders, UnknownSender};

use super::events::{DAY, EventBuilder, HOUR, MINUTE, NOON, OwnedRecord, erase, in_group, in_single, policy_from};

/// One record in the making: small numbers, so that failures shrink to small logs.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    kind: u8,
    user: u8,
    peer: u8,
    message: u8,
    clock: u8,
    lag: u8,
    twist: u8,
}

/// A record with the broker's time.
#[derive(Clone, Debug)]
pub struct TimedRecord {
    pub record: OwnedRecord,
    pub time: i64,
}

/// Which records a log may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Everything.
    All,
    /// Messages and receipts under one policy.
    MessagesAndReceipts,
}

/// A log of at most `length` records.
pub fn log(content: Content, length: usize) -> impl Strategy<Value = Vec<TimedRecord>> {
    let step = (0..100_u8, 0..4_u8, 0..4_u8, 0..4_u8, 0..100_u8, 0..40_u8, 0..60_u8).prop_map(
        |(kind, user, peer, message, clock, lag, twist)| Step { kind, user, peer, message, clock, lag, twist },
    );
    proptest::collection::vec(step, 1..length).prop_map(move |steps| records(content, NOON, &steps))
}

/// A log of so many records, drawn from a generator of the caller's.
pub fn drawn(random: &mut impl Rng, content: Content, length: usize) -> Vec<TimedRecord> {
    let mut bytes = vec![0; length.saturating_sub(1) * BYTES_PER_STEP];
    random.fill_bytes(&mut bytes);
    of_bytes(content, NOON, &bytes)
}

/// What decides one record.
pub const BYTES_PER_STEP: usize = 7;

/// The log that bytes stand for, whatever they are, from `start` in ms on.
pub fn of_bytes(content: Content, start: i64, bytes: &[u8]) -> Vec<TimedRecord> {
    let step = |bytes: &[u8; BYTES_PER_STEP]| Step {
        kind: bytes[0] % 100,
        user: bytes[1] % 4,
        peer: bytes[2] % 4,
        message: bytes[3] % 4,
        clock: bytes[4] % 100,
        lag: bytes[5] % 40,
        twist: bytes[6] % 60,
    };
    let (steps, _) = bytes.as_chunks();
    records(content, start, &steps.iter().map(step).collect::<Vec<_>>())
}

const USERS: [&str; 4] = ["ada", "bo", "cy", "di"];
const MESSAGES: [&str; 4] = ["m0", "m1", "m2", "m0"];
const ROLES: [&str; 3] = ["member", "admin", "owner"];
const CHANGES: [&str; 5] = ["join", "leave", "owner", "admin", "member"];

fn records(content: Content, start: i64, steps: &[Step]) -> Vec<TimedRecord> {
    let opening = policy_from(1, 0, |policy| {
        policy.group.open = true;
        policy.group.senders = Senders::Members;
    });
    let mut now = start;
    let mut records = vec![TimedRecord { record: opening, time: now }];
    for (number, step) in steps.iter().enumerate() {
        now += match (content, step.clock) {
            (_, 0..75) => i64::from(step.clock) * 1_000,
            (_, 75..92) => HOUR,
            (Content::MessagesAndReceipts, _) => 2 * HOUR,
            (_, 92..95) => 20 * HOUR,
            (_, 95..98) => 2 * DAY,
            (_, 98) => 8 * DAY,
            (_, _) => {
                if step.lag < 20 {
                    100 * DAY
                } else {
                    DAY
                }
            }
        };
        let record = match content {
            Content::All => any_record(*step, number, now),
            Content::MessagesAndReceipts => message_or_receipt(*step, number).at(now).record(),
        };
        let time = if step.twist == 59 && content == Content::All { now - 4 * DAY } else { now };
        records.push(TimedRecord { record, time });
    }
    records
}

/// A record of any kind; `number` makes its id its own.
fn any_record(step: Step, number: usize, now: i64) -> OwnedRecord {
    let lag = match step.lag {
        0..20 => 0,
        20..26 => HOUR,
        26..30 => 23 * HOUR,
        30..33 => 71 * HOUR,
        33..35 => 72 * HOUR,
        35..37 => 73 * HOUR,
        37 => 5 * DAY,
        38 => -MINUTE,
        _ => -6 * MINUTE,
    };
    let at = now - lag;
    let event = match step.kind {
        0..2 => return any_policy(step, now),
        2 => return erase(u64::from(step.twist % 8), USERS[usize::from(step.user)]),
        3 => return OwnedRecord { key: None, value: b"{\"type\"".to_vec(), control: None },
        4 => return OwnedRecord { key: None, value: b"{}".to_vec(), control: Some("policy".to_owned()) },
        5 => {
            let misrouted = message_or_receipt(step, number).at(at).record();
            return OwnedRecord { key: Some(b"elsewhere".to_vec()), ..misrouted };
        }
        6 => in_single("roster", user(step), peer(step)).with("id", format!("e{number}")),
        7..9 => in_group("roster", user(step)).to(group(step)).with("members", any_members(step)),
        9..15 => in_group("member", user(step))
            .to(group(step))
            .with("user", USERS[usize::from(step.peer)])
            .with("change", CHANGES[usize::from(step.twist % 5)]),
        15 if step.twist.is_multiple_of(3) => in_group("group_destroyed", user(step)).to(group(step)),
        16..21 => about_message("recall", step),
        21..30 if !step.twist.is_multiple_of(3) => in_single("conversation_read", user(step), peer(step)),
        21..30 => in_group("conversation_read", user(step)).to(group(step)),
        _ => message_or_receipt(step, number),
    };
    let event = if event.has_id() { event } else { event.id(&format!("e{number}")) };
    event.at(at).record()
}

fn message_or_receipt(step: Step, number: usize) -> EventBuilder {
    let id = MESSAGES[usize::from(step.message)];
    match step.kind {
        ..58 if step.twist.is_multiple_of(2) => in_single("message", user(step), peer(step)).id(id),
        ..58 => {
            let message = in_group("message", user(step)).to(group(step)).id(id);
            let message = if !step.twist.is_multiple_of(5) { message.asking_receipts() } else { message };
            if step.twist % 7 == 1 { message.role("admin") } else { message }
        }
        58..66 => in_single("delivered", user(step), peer(step)).with("message", id).id(&format!("r{number}")),
        _ => about_message("read", step).id(&format!("r{number}")),
    }
}

fn about_message(event_type: &str, step: Step) -> EventBuilder {
    let event = if step.twist.is_multiple_of(2) {
        in_single(event_type, user(step), peer(step))
    } else {
        in_group(event_type, user(step)).to(group(step))
    };
    event.with("message", MESSAGES[usize::from(step.message)])
}

fn any_policy(step: Step, now: i64) -> OwnedRecord {
    let effective_from = [0, now - DAY, now, now + DAY][usize::from(step.peer)];
    policy_from(u64::from(step.twist % 8) + 1, effective_from, |policy| {
        policy.group.open = !step.twist.is_multiple_of(6);
        policy.group.senders = if step.message.is_multiple_of(2) { Senders::Admins } else { Senders::Members };
        policy.group.unknown_sender =
            if step.user.is_multiple_of(2) { UnknownSender::Allow } else { UnknownSender::Member };
        policy.group.validity_days = [1, 3, 3, 90][usize::from(step.user)];
        policy.group.readers_per_message = u32::from(step.lag % 3) + 1;
        policy.group.messages_per_day = u32::from(step.lag % 4);
        policy.group.timezone =
            [chrono_tz::UTC, chrono_tz::Asia::Shanghai, chrono_tz::America::Los_Angeles][usize::from(step.lag % 3)];
        policy.single.validity_days = [1, 7, 2, 1][usize::from(step.message)];
        policy.parking_hours = [0, 1, 24, 200][usize::from(step.user)];
        policy.notify = !step.twist.is_multiple_of(5);
    })
}

fn any_members(step: Step) -> serde_json::Value {
    let named = USERS.iter().enumerate().filter(|(number, _)| step.clock >> number & 1 == 1);
    let member = |(number, user): (usize, &&str)| {
        let role = ROLES[(number + usize::from(step.message)) % ROLES.len()];
        serde_json::json!({"user": user, "role": role})
    };
    named.map(member).collect()
}

fn user(step: Step) -> &'static str {
    USERS[usize::from(step.user)]
}

/// Whom a single event goes to: mostly the other one of two, so that receipts meet messages.
fn peer(step: Step) -> &'static str {
    match (step.twist, step.user) {
        (56.., user) => USERS[usize::from(user)],
        (_, 0) => USERS[1],
        (_, _) => USERS[0],
    }
}

fn group(step: Step) -> &'static str {
    if step.peer < 3 { "g1" } else { "g2" }
}
