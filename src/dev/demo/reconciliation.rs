//! The proof: what was produced, what became of it, and what the tables and topics hold.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use clickhouse::Row;
use serde::Deserialize;

use super::DemoError;
use super::effects::{Effects, EffectsReader};
use super::stack::Stack;
use crate::dev::simulator::Produced;
use crate::event::EventType;
use crate::fold::Outcome;
use crate::store::ledger::{self, LedgerTotal};

const TIMEOUT: Duration = Duration::from_secs(30);

/// How long the last notifications may take to be read back.
const LAST_EFFECTS: Duration = Duration::from_secs(10);

/// What becomes of a message that has a row.
const ACCEPTED: [Outcome; 5] =
    [Outcome::Stored, Outcome::Opened, Outcome::NotOpen, Outcome::PermissionDenied, Outcome::QuotaExceeded];

/// Facts in the tables.
#[derive(Row, Deserialize)]
struct Rows {
    messages: u64,
    receipts: u64,
    recalls: u64,
    roster_changes: u64,
    policies: u64,
    marks: u64,
    rejections: u64,
    parked: u64,
    settlements: u64,
    single_marks: u64,
}

/// One figure that stands in two places.
struct Check {
    what: &'static str,
    left: u64,
    right: u64,
}

/// Everything beside everything.
pub(super) struct Reconciliation {
    /// Records and ends of waits by outcome.
    by_outcome: BTreeMap<String, (u64, u64)>,
    checks: Vec<Check>,
    notifications: u64,
}

impl Reconciliation {
    /// Gathers the figures. All records are committed, so their rows and effects are there; only reading the last
    /// effects back may take a moment.
    pub(super) fn gather(
        stack: &Stack,
        effects: &EffectsReader,
        produced: &Produced,
        committed: u64,
    ) -> Result<Self, DemoError> {
        let totals = stack.runtime.block_on(ledger::totals(&stack.client, &stack.topic(), TIMEOUT))?;
        let rows: Rows = stack
            .runtime
            .block_on(stack.client.query(include_str!("sql/rows.sql")).fetch_one())
            .map_err(DemoError::tables)?;
        let mut by_outcome: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for total in &totals {
            let (records, settled) = by_outcome.entry(total.outcome.clone()).or_default();
            match total.measure.as_str() {
                "records" => *records += total.total,
                _ => *settled += total.total,
            }
        }
        let both = |wanted: &dyn Fn(Outcome) -> bool| -> u64 {
            by_outcome
                .iter()
                .filter(|(name, _)| Outcome::from_name(name).is_some_and(wanted))
                .map(|(_, (records, settled))| records + settled)
                .sum()
        };
        let of = |types: &[EventType], outcomes: &[Outcome]| -> u64 {
            let is_meant = |total: &&LedgerTotal| {
                EventType::from_name(&total.event_type).is_some_and(|event_type| types.contains(&event_type))
                    && Outcome::from_name(&total.outcome).is_some_and(|outcome| outcomes.contains(&outcome))
            };
            totals.iter().filter(is_meant).map(|total| total.total).sum()
        };
        let accepted = of(&[EventType::Message], &ACCEPTED);
        let recalled = of(&[EventType::Recall], &[Outcome::Applied]);
        let roster_types = [EventType::Member, EventType::Roster, EventType::GroupDestroyed];
        let moved = of(&roster_types, &[Outcome::Applied, Outcome::NoChange]);
        let policies = of(&[EventType::Policy], &[Outcome::Applied]);
        let marked = of(&[EventType::ConversationRead], &[Outcome::Applied]);
        let counted = both(&|outcome| outcome == Outcome::Counted);
        let rejected = both(&Outcome::is_rejected);
        let parked = by_outcome.get(Outcome::Parked.name()).map_or(0, |(records, _)| *records);
        let settled = by_outcome.values().map(|(_, settled)| settled).sum();

        let effects = wait_for(effects, counted + rows.single_marks, rejected);
        let told = |kinds: &[&str]| -> u64 { kinds.iter().filter_map(|kind| effects.readers.get(*kind)).sum() };
        let checks = vec![
            Check { what: "produced = committed by the worker", left: produced.records, right: committed },
            Check {
                what: "produced = outcomes in the ledger",
                left: produced.records,
                right: by_outcome.values().map(|(records, _)| records).sum(),
            },
            Check { what: "messages accepted = messages in the table", left: accepted, right: rows.messages },
            Check { what: "recalls applied = recalls in the table", left: recalled, right: rows.recalls },
            Check { what: "roster events = changes in the table", left: moved, right: rows.roster_changes },
            Check { what: "policies applied = copies in the table", left: policies, right: rows.policies },
            Check { what: "marks applied = marks in the table", left: marked, right: rows.marks },
            Check { what: "counted = receipts in the table", left: counted, right: rows.receipts },
            Check { what: "counted = readers in notifications", left: counted, right: told(&["delivered", "read"]) },
            Check {
                what: "single marks = marks in notifications",
                left: rows.single_marks,
                right: told(&["conversation_read"]),
            },
            Check { what: "refused = rejections in the table", left: rejected, right: rows.rejections },
            Check {
                what: "refused = records of the rejections topic",
                left: rejected,
                right: effects.rejections.values().sum(),
            },
            Check { what: "parked = waits in the table", left: parked, right: rows.parked },
            Check { what: "settled = ends of waits in the table", left: settled, right: rows.settlements },
            Check { what: "unreadable effects = none", left: effects.unreadable, right: 0 },
        ];
        Ok(Self { by_outcome, checks, notifications: effects.notifications })
    }

    /// Whether every figure is the same in both places.
    pub(super) fn adds_up(&self) -> bool {
        self.checks.iter().all(Check::holds)
    }
}

impl Check {
    fn holds(&self) -> bool {
        self.left == self.right
    }
}

impl fmt::Display for Reconciliation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{:<20} {:>12} {:>12}", "outcome", "records", "settled")?;
        for (outcome, (records, settled)) in &self.by_outcome {
            writeln!(out, "{outcome:<20} {records:>12} {settled:>12}")?;
        }
        let records: u64 = self.by_outcome.values().map(|(records, _)| records).sum();
        let settled: u64 = self.by_outcome.values().map(|(_, settled)| settled).sum();
        writeln!(out, "{:<20} {records:>12} {settled:>12}\n", "sum")?;
        for check in &self.checks {
            let verdict = if check.holds() { "ok" } else { "DIFFERS" };
            writeln!(out, "{:<44} {:>12} {:>12}  {verdict}", check.what, check.left, check.right)?;
        }
        writeln!(out, "{:<44} {:>12}", "records of the notifications topic", self.notifications)?;
        let verdict = if self.adds_up() { "everything adds up" } else { "IT DOES NOT ADD UP" };
        writeln!(out, "{verdict}\n")
    }
}

/// Waits until the expected effects have been read back, or no longer than [`LAST_EFFECTS`].
fn wait_for(reader: &EffectsReader, readers: u64, rejections: u64) -> Effects {
    let begun = Instant::now();
    loop {
        let effects = reader.so_far();
        let is_complete =
            effects.readers.values().sum::<u64>() >= readers && effects.rejections.values().sum::<u64>() >= rejections;
        if is_complete || begun.elapsed() > LAST_EFFECTS {
            return effects;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
