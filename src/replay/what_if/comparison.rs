//! What became of records, and what would have become of them, side by side.

use std::collections::BTreeMap;

use super::WhatIfQuestion;
use super::stretch::Stretch;
use crate::event::{Body, EventTime, EventType, Input, PartitionId, Record, RecordTime};
use crate::fold::Outcome;
use crate::fold::fact::{
    CountsFact, LedgerFact, MarkFact, MessageFact, NotificationFact, ParkedFact, PolicyFact, RecallFact, ReceiptFact,
    RejectionFact, RosterFact, SettlementFact, Sink,
};

/// How many messages of another outcome are named.
const MOST_EXAMPLES: usize = 20;

/// What became of the records of a range, and what would have become of them under the policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Records by type and what became of them when they came, in the order of the names.
    pub records: Vec<OutcomeLine>,
    /// Waits that ended within the range, by type and what with.
    pub settled: Vec<OutcomeLine>,
    /// Records whose outcome would have been another one.
    pub differing: u64,
    /// Messages of another outcome, the first of them.
    pub messages: Vec<DifferingMessage>,
    /// Parts of the time asked for of which records may be missing.
    pub missing: Vec<MissingSpan>,
}

/// How many records of a type have an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutcomeLine {
    /// The type's name; empty for unknown types.
    pub event_type: &'static str,
    /// The outcome's name.
    pub outcome: &'static str,
    /// As it was.
    pub actual: u64,
    /// Under the policy.
    pub what_if: u64,
}

/// A message that would have had another outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DifferingMessage {
    /// The key of its conversation.
    pub conversation: String,
    /// Its id.
    pub message: String,
    /// Its `at`.
    pub sent_at: EventTime,
    /// As it was.
    pub actual: Outcome,
    /// Under the policy.
    pub what_if: Outcome,
}

/// A part of the time asked for of which a partition's records may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissingSpan {
    /// The partition.
    pub partition: PartitionId,
    /// The first time of which they may be.
    pub from: RecordTime,
    /// The first time of which none is.
    pub until: RecordTime,
}

/// One of the two folds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Actual,
    WhatIf,
}

/// Counts by type and outcome, as it was and under the policy.
#[derive(Debug, Default)]
struct Lines(BTreeMap<(Option<EventType>, Outcome), [u64; 2]>);

impl Lines {
    fn count(&mut self, event_type: Option<EventType>, outcome: Outcome, side: Side) {
        let [actual, what_if] = self.0.entry((event_type, outcome)).or_default();
        match side {
            Side::Actual => *actual += 1,
            Side::WhatIf => *what_if += 1,
        }
    }

    fn by_name(self) -> Vec<OutcomeLine> {
        let line = |((event_type, outcome), [actual, what_if]): ((Option<EventType>, Outcome), [u64; 2])| OutcomeLine {
            event_type: event_type.map_or("", EventType::name),
            outcome: outcome.name(),
            actual,
            what_if,
        };
        let mut lines: Vec<OutcomeLine> = self.0.into_iter().map(line).collect();
        lines.sort_unstable_by_key(|line| (line.event_type, line.outcome));
        lines
    }
}

/// What was counted so far.
#[derive(Debug, Default)]
pub(super) struct Counted {
    records: Lines,
    settled: Lines,
    differing: u64,
    messages: Vec<DifferingMessage>,
    missing: Vec<MissingSpan>,
    /// Times of the first and the last record of the stretch at hand, of whatever app.
    times: Option<(RecordTime, RecordTime)>,
}

impl Counted {
    /// Takes a record of the range, with what became of it and would have where it counts.
    pub(super) fn take(&mut self, record: &Record<'_>, outcomes: Option<(Outcome, Outcome)>) {
        let (first, _) = self.times.unwrap_or((record.time, record.time));
        self.times = Some((first, record.time));
        let Some((actual, what_if)) = outcomes else { return };
        let event_type = record.input.event_type();
        self.records.count(event_type, actual, Side::Actual);
        self.records.count(event_type, what_if, Side::WhatIf);
        if actual == what_if {
            return;
        }
        self.differing += 1;
        if let Input::Event(event) = &record.input
            && matches!(event.body, Body::Message { .. })
            && self.messages.len() < MOST_EXAMPLES
        {
            let key = record.key.unwrap_or_default();
            self.messages.push(DifferingMessage {
                conversation: String::from_utf8_lossy(key).into_owned(),
                message: event.id.as_str().to_owned(),
                sent_at: event.at,
                actual,
                what_if,
            });
        }
    }

    /// Takes the ends of waits of one of the folds.
    pub(super) fn settled(&mut self, side: Side) -> impl Sink {
        Settlements { lines: Some(&mut self.settled), side }
    }

    /// Takes nothing: what comes in front of the range, and totals.
    pub(super) fn muted(&self) -> impl Sink + use<> {
        Settlements { lines: None, side: Side::Actual }
    }

    /// Notes which times the stretch that has been folded leaves out.
    pub(super) fn end_stretch(&mut self, question: &WhatIfQuestion, stretch: &Stretch) {
        let (asked_from, asked_until) = (question.from, question.until);
        let span = |from, until| MissingSpan { partition: stretch.partition, from, until };
        match self.times.take() {
            None if stretch.may_lack_before || stretch.lacks_behind => self.missing.push(span(asked_from, asked_until)),
            None => {}
            Some((first, last)) => {
                let before = stretch.may_lack_before.then(|| span(asked_from, first));
                let behind = stretch.lacks_behind.then(|| span(last, asked_until));
                self.missing.extend(before.into_iter().chain(behind));
            }
        }
    }

    pub(super) fn into_comparison(self) -> Comparison {
        Comparison {
            records: self.records.by_name(),
            settled: self.settled.by_name(),
            differing: self.differing,
            messages: self.messages,
            missing: self.missing,
        }
    }
}

/// Counts the ends of waits; whatever else a fold says has no effect.
struct Settlements<'a> {
    lines: Option<&'a mut Lines>,
    side: Side,
}

impl Sink for Settlements<'_> {
    fn settlement(&mut self, fact: &SettlementFact<'_>) {
        if let Some(lines) = &mut self.lines {
            lines.count(fact.event.body.event_type(), fact.outcome, self.side);
        }
    }

    fn message(&mut self, _: &MessageFact<'_>) {}
    fn receipt(&mut self, _: &ReceiptFact<'_>) {}
    fn recall(&mut self, _: &RecallFact<'_>) {}
    fn roster(&mut self, _: &RosterFact<'_>) {}
    fn mark(&mut self, _: &MarkFact<'_>) {}
    fn parked(&mut self, _: &ParkedFact<'_>) {}
    fn policy(&mut self, _: &PolicyFact<'_>) {}
    fn rejection(&mut self, _: &RejectionFact<'_>) {}
    fn notification(&mut self, _: &NotificationFact<'_>) {}
    fn counts(&mut self, _: &CountsFact<'_>) {}
    fn ledger(&mut self, _: &LedgerFact<'_>) {}
}
