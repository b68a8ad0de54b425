//! A past range of the log under another policy: folded once as it was and once with the policy, in one pass.
//!
//! Per partition the state is read back at an end of a flush in front of the range, or begins with nothing where the log is
//! whole. It is folded up to the range, and then goes on twice by the real fold: as it was, and with the policy in force for
//! every event of the app. Nothing is written; what is counted is what became of the app's records.
//!
//! Only conversations of the app (or the one that is asked for) are kept: they touch those of other apps by the watermark
//! alone, which the records of the others move all the same ([`crate::fold::Partition::pass_over`]).

mod comparison;
mod error;
mod interest;
mod stretch;

use std::ops::ControlFlow;

use tokio::runtime::Handle;

pub use comparison::{Comparison, DifferingMessage, MissingSpan, OutcomeLine};
pub use error::WhatIfError;
pub use interest::Interest;

use self::comparison::{Counted, Side};
use self::interest::Tables;
use self::stretch::Stretch;
use crate::config::{KafkaConfig, WhatIfConfig};
use crate::event::{AppId, Chat, ConversationKey, EventTime, Input, PartitionId, Record, RecordTime, partition_of};
use crate::fold::fact::Sink;
use crate::fold::{Outcome, Partition};
use crate::log::KafkaLogReader;
use crate::policy::Policy;
use crate::store::query::{Frontiers, Queries};
use crate::store::{HydrationRequest, StateScope, StoreError, Table};
use crate::worker::LogRange;

/// What is asked.
#[derive(Clone, Debug)]
pub struct WhatIfQuestion {
    /// The tenant.
    pub app: String,
    /// The only group; `None` for all conversations of the app.
    pub group: Option<String>,
    /// The policy that is tried.
    pub policy: Policy,
    /// The first time of records that counts.
    pub from: RecordTime,
    /// The first time behind it.
    pub until: RecordTime,
}

/// Folds the range twice, as far as the tables are complete by `frontiers`. Blocks; `runtime` drives the questions to
/// ClickHouse and must not be driven by this thread.
///
/// # Errors
/// [`WhatIfError`]; of a run that is cut nothing is told.
pub fn what_if(
    question: &WhatIfQuestion,
    limits: &WhatIfConfig,
    kafka: &KafkaConfig,
    queries: &Queries,
    frontiers: &Frontiers,
    (runtime, interest): (&Handle, Interest),
) -> Result<Comparison, WhatIfError> {
    let mut log = KafkaLogReader::new(kafka)?;
    let partitions = log.partition_count()?;
    let stored = queries.stored_rows(partitions);
    let mut tables = Tables::new(&stored, runtime, interest);
    let scope = Scope::of(question);
    let stretches = stretch::stretches(question, scope.partition(partitions), frontiers, &mut log, &mut tables)?;
    let records = stretches.iter().map(Stretch::offsets).sum();
    if records > limits.max_records {
        return Err(WhatIfError::TooManyRecords { records: Some(records), most: limits.max_records });
    }
    let mut run = Run { question, scope, limits, log, tables, counted: Counted::default() };
    for stretch in &stretches {
        run.fold(stretch)?;
    }
    Ok(run.counted.into_comparison())
}

/// Whose records count.
struct Scope<'a> {
    app: AppId<'a>,
    /// A group and the key of its conversation.
    group: Option<(&'a str, String)>,
}

impl<'a> Scope<'a> {
    fn of(question: &'a WhatIfQuestion) -> Self {
        let group = question.group.as_deref().map(|group| (group, format!("{}/g/{group}", question.app)));
        Self { app: AppId::trusted(&question.app), group }
    }

    /// The only partition that matters, where there is one.
    fn partition(&self, partitions: u32) -> Option<PartitionId> {
        self.group.as_ref().map(|(_, key)| partition_of(key.as_bytes(), partitions))
    }

    /// What of the tables it is about.
    fn of_state(&self) -> StateScope<'_> {
        let conversation = self.group.as_ref().map(|(_, key)| ConversationKey::trusted(key));
        StateScope { app: self.app, conversation }
    }

    /// Folds a record; its outcome where it counts. Of a group the app's control records set the policy, and count for no
    /// group. What cannot be read belongs to no app.
    fn fold(&self, state: &mut Partition, record: &Record<'_>, sink: &mut impl Sink) -> Option<Outcome> {
        let (is_folded, is_counted) = match (&record.input, &self.group) {
            (Input::Control(control), group) => (control.app() == self.app.as_str(), group.is_none()),
            (Input::Event(event), None) => (event.app == self.app, true),
            (Input::Event(event), Some((group, _))) => {
                (event.app == self.app && event.chat == Chat::Group && event.to == *group, true)
            }
            (Input::Malformed { .. }, _) => (false, false),
        };
        if is_folded {
            let outcome = state.apply(record, sink);
            is_counted.then_some(outcome)
        } else {
            state.pass_over(record, sink);
            None
        }
    }
}

/// A question on its way through the partitions.
struct Run<'a> {
    question: &'a WhatIfQuestion,
    scope: Scope<'a>,
    limits: &'a WhatIfConfig,
    log: KafkaLogReader,
    tables: Tables<'a>,
    counted: Counted,
}

impl Run<'_> {
    /// Folds a stretch of the log twice.
    fn fold(&mut self, stretch: &Stretch) -> Result<(), WhatIfError> {
        if stretch.is_empty() {
            self.counted.end_stretch(self.question, stretch);
            return Ok(());
        }
        let mut actual = self.read_back(stretch)?;
        let Self { question, scope, limits, log, tables, counted } = self;
        let mut range = LogRange::begin(log, stretch.partition, stretch.state_at, stretch.until)?;
        while range.position() < stretch.from {
            tables.interest.check()?;
            let mut nothing = counted.muted();
            range.read_batch(stretch.from, |record| {
                scope.fold(&mut actual, record, &mut nothing);
            })?;
            actual.end_flush(range.position(), &mut nothing);
            require_room(limits, 2 * actual.state_bytes())?;
        }

        let mut imagined = actual.clone();
        imagined.assume_policy(scope.app, question.policy.clone());
        while !range.is_done() {
            tables.interest.check()?;
            range.read_batch(stretch.until, |record| {
                let was = scope.fold(&mut actual, record, &mut counted.settled(Side::Actual));
                let would_be = scope.fold(&mut imagined, record, &mut counted.settled(Side::WhatIf));
                counted.take(record, was.zip(would_be));
            })?;
            for state in [&mut actual, &mut imagined] {
                state.end_flush(range.position(), &mut counted.muted());
            }
            require_room(limits, actual.state_bytes() + imagined.state_bytes())?;
        }
        counted.end_stretch(question, stretch);
        Ok(())
    }

    /// The state in front of a stretch.
    fn read_back(&mut self, stretch: &Stretch) -> Result<Partition, WhatIfError> {
        let Self { scope, limits, tables, .. } = self;
        let most = limits.max_records;
        let mut rows = 0;
        let mut progress = |_: &'static str, more: u64| {
            rows += more;
            if rows > most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let request = HydrationRequest { partition: stretch.partition, committed: stretch.state_at };
        let stored = tables.stored;
        let hydrated = match tables.ask(stored.state(request, scope.of_state(), &mut progress)) {
            Err(WhatIfError::Store(StoreError::Stopped)) => {
                return Err(WhatIfError::TooManyRecords { records: None, most });
            }
            hydrated => hydrated?,
        };
        // The janitor may have taken that end of a flush out of the ledger since: the watermark would be an older one's.
        if hydrated.boundary.unwrap_or_default() != stretch.state_at {
            let reason = format!("the end of a flush at {} is gone", stretch.state_at.get());
            let target = "ledger".to_owned();
            return Err(StoreError::Unavailable { doing: "reading", target, reason }.into());
        }
        require_room(limits, 2 * hydrated.state.state_bytes())?;
        let dropped = tables.ask(stored.dropped_weeks())?;
        let dropped_until = dropped.end_of_last(&[Table::Messages, Table::Parked]).unwrap_or_default();
        let is_fresh = hydrated.watermark == EventTime::default();
        if !is_fresh && dropped_until > hydrated.state.holds_nothing_before(scope.app) {
            return Err(WhatIfError::HistoryGone);
        }
        Ok(hydrated.state)
    }
}

fn require_room(limits: &WhatIfConfig, state_bytes: usize) -> Result<(), WhatIfError> {
    let most = limits.max_state_bytes;
    if state_bytes as u64 > most { Err(WhatIfError::TooMuchState { most }) } else { Ok(()) }
}
