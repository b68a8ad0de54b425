//! What producers get wrong: a good record spoilt.

use super::plan::Plan;
use super::{RecordKind, Shares};
use crate::event::EventTime;

/// Which records of a hundred thousand are spoilt, and how.
pub(super) fn kind_of_next(plan: &mut Plan, shares: &Shares) -> RecordKind {
    let mut drawn = plan.below(100_000);
    for (kind, share) in [
        (RecordKind::Malformed, shares.malformed),
        (RecordKind::Misrouted, shares.misrouted),
        (RecordKind::Skewed, shares.skewed),
        (RecordKind::Unsupported, shares.unsupported),
    ] {
        match drawn.checked_sub(share) {
            None => return kind,
            Some(rest) => drawn = rest,
        }
    }
    RecordKind::Event
}

/// Spoils a good record so that it is of this kind.
pub(super) fn spoil(kind: RecordKind, plan: &mut Plan, at: i64, key: &mut Vec<u8>, value: &mut Vec<u8>) {
    match kind {
        RecordKind::Event | RecordKind::Policy => {}
        RecordKind::Misrouted => key.extend_from_slice(b"-elsewhere"),
        RecordKind::Unsupported => replace(value, b"{\"type\":\"", b"{\"type\":\"x-"),
        RecordKind::Skewed => {
            let in_the_year_2099 = EventTime::MAX.millis() - i64::from(plan.below(1_000_000));
            replace_number(value, at, &in_the_year_2099.to_string());
        }
        RecordKind::Malformed => match plan.below(8) {
            0 => value.truncate(value.len() / 2),
            1 => replace(value, b"\"chat\":\"", b"\"chat\":\"\xff"),
            2 => replace_number(value, at, "null"),
            3 => replace_number(value, at, &format!("{at}.5")),
            4 => replace(value, b"\"id\":\"", b"\"id\":7,\"old_id\":\""),
            5 => replace(value, b"{", b"{\"from\":\"somebody\","),
            6 => replace(value, b"\"to\":\"", b"\"to\":\"a/b"),
            _ => value.clear(),
        },
    }
}

fn replace_number(value: &mut Vec<u8>, at: i64, by: &str) {
    replace(value, format!("\"at\":{at}").as_bytes(), format!("\"at\":{by}").as_bytes());
}

/// Replaces the first `from`, if there is one.
fn replace(value: &mut Vec<u8>, from: &[u8], to: &[u8]) {
    if let Some(start) = value.windows(from.len()).position(|window| window == from) {
        value.splice(start..start + from.len(), to.iter().copied());
    }
}
