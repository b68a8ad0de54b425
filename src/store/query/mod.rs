//! What the API asks: every statement in a file of its own beside this one, values bound, never glued.
//!
//! What is known of a message is read from one table, `message_facts`, whatever part of it is asked for; nothing by `FINAL`.

mod conversation_frontiers;
mod count_changes;
mod delays;
mod export;
mod frontiers;
mod group_quota;
mod known_rosters;
mod ledger_outcomes;
mod message_facts;
mod policy;
mod rejections;
mod roster_history;
mod selection;
mod shared_statements;
mod single_state;
mod statements;
mod unread_conversations;
mod user_data;

use std::sync::Arc;
use std::time::Duration;

use clickhouse::Client;
use futures_util::FutureExt as _;
use prometheus::{Histogram, IntGauge};
use serde::Deserialize;
use tokio::sync::OnceCell;

pub use count_changes::{CountChange, CountChanges, LogPosition};
pub use delays::{AskedGroups, AudienceDelays, Quantiles, StepDelays, TimeSteps};
pub use export::{ExportFormat, ExportPlace, ExportPosition, ExportRows, ExportSelection, ExportTable};
pub use frontiers::Frontiers;
pub use known_rosters::AskedRoster;
pub use ledger_outcomes::StepOutcome;
pub use message_facts::{MessageFacts, MessageKey, MessageReceipts, StoredMessage, StoredRecall, StoredReceipt};
pub use policy::StoredPolicyVersion;
pub use rejections::{RejectedRecord, RejectedRecords, RejectionPosition, RejectionSelection};
pub use roster_history::{MembershipChange, RosterHistory};
pub use selection::{ReaderPosition, ReaderRow, Snapshot};
pub use single_state::{CoveringMarks, ReadSource, SingleMarks, SingleState};
pub use unread_conversations::UnreadConversation;
pub use user_data::MetErasure;

use self::conversation_frontiers::RecentFrontiers;
use self::export::Exports;
use self::frontiers::FrontierSource;
use self::known_rosters::{KnownRosters, known_rosters};
use self::shared_statements::SharedStatements;
use self::statements::{Reading, StatementGate, limited};
use super::connection::{Attempt, connect, statement_timeout, with_niceness};
use super::{StoreError, StoredRows, TopicIdentity};
use crate::config::Config;
use crate::event::{Epoch, EventTime, Offset, PartitionId};

/// Answers questions about messages from ClickHouse. Shared by all requests; each statement is bounded by
/// `clickhouse.timeout_ms` and the limits of `api.query`, and `api.max_concurrent_statements` run at once. They may read
/// and nothing else. A question that is dropped ends in ClickHouse, too.
#[derive(Debug)]
pub struct Queries {
    statements: Statements,
    exports: Exports,
    epoch: Epoch,
    topic: String,
    /// Fixed for the life of a topic, so it is asked for until it is known, and then never again.
    partitions: OnceCell<u32>,
    recent_frontiers: Arc<RecentFrontiers>,
    known_rosters: KnownRosters,
    shared_facts: SharedStatements<MessageKey, Option<MessageFacts>>,
    sizes: Histogram,
}

/// How statements reach ClickHouse: what runs beside the requests that wait for it.
#[derive(Clone, Debug)]
struct Statements {
    client: Client,
    /// For questions about messages, which somebody looks at while he waits.
    hurried: Client,
    /// The same, for statements that one thread of ClickHouse's does best.
    hurried_by_a_thread: Client,
    timeout: Duration,
    gate: Arc<StatementGate>,
}

/// A statement about so few messages or groups is done sooner by one thread than two threads agree who reads what.
const MOST_KEYS_OF_A_THREAD: usize = 20;

impl Statements {
    /// For a question about so many messages or groups.
    fn hurried_for(&self, keys: usize) -> &Client {
        if keys > MOST_KEYS_OF_A_THREAD { &self.hurried } else { &self.hurried_by_a_thread }
    }

    fn reading<'a>(&'a self, table: &'a str) -> Reading<'a> {
        Reading { attempt: Attempt { doing: "reading", target: table, timeout: self.timeout }, gate: &self.gate }
    }
}

/// How far the rows of a partition are complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frontier {
    /// The partition of the events topic.
    pub partition: PartitionId,
    /// Rows are complete up to this offset, exclusive.
    pub next_offset: Offset,
    /// The largest event time as of it.
    pub watermark: EventTime,
    /// When ClickHouse took the rows, by its clock, in ms since 1970.
    pub committed_at_millis: i64,
}

#[derive(clickhouse::Row, Deserialize)]
struct FrontierRow {
    partition: u32,
    next_offset: u64,
    watermark_ms: i64,
    inserted_at_ms: i64,
}

impl Queries {
    /// Connects on the first question.
    ///
    /// # Panics
    /// Where a metric's name is wrong: a defect that every start would show.
    #[expect(clippy::expect_used, reason = "at start-up only, from constants")]
    pub fn new(config: &Config) -> Self {
        let sizes = shared_statements::sizes().expect("metrics have valid names");
        let gate = StatementGate::new(config.api.max_concurrent_statements).expect("metrics have valid names");
        let [_, waiting] = gate.gauges();
        let client = limited(connect(&config.clickhouse), &config.api.query);
        let hurried = with_niceness(client.clone(), config.api.query.thread_niceness);
        let statements = Statements {
            hurried_by_a_thread: hurried.clone().with_setting("max_threads", "1"),
            hurried,
            client,
            timeout: statement_timeout(&config.clickhouse),
            gate: Arc::new(gate),
        };
        let of_facts = statements.clone();
        let (epoch, topic) = (Epoch::new(config.kafka.epoch), config.kafka.topics.events.clone());
        let frontiers = FrontierSource::new(statements.clone(), epoch, topic.clone());
        let recent_frontiers = RecentFrontiers::new(frontiers, Duration::from_millis(config.api.as_of_max_age_ms));
        Self {
            statements,
            exports: Exports::new(config),
            epoch,
            topic,
            partitions: OnceCell::new(),
            recent_frontiers: Arc::new(recent_frontiers),
            known_rosters: known_rosters(config.api.roster_cache_bytes),
            shared_facts: SharedStatements::new(&waiting, &sizes, move |asked| {
                of_facts.clone().message_facts(asked).boxed()
            }),
            sizes,
        }
    }

    /// Reads rows and states back for one question, a statement at a time, within the same limits; whoever asks sees to it
    /// that few do at once. What is dropped in the middle ends in ClickHouse, too.
    pub fn stored_rows(&self, partitions: u32) -> StoredRows {
        let topic = TopicIdentity { topic: self.topic.clone(), epoch: self.epoch, partitions };
        StoredRows::over(self.statements.client.clone(), self.statements.timeout, topic)
    }

    /// How many statements run, and how many wait for a place, to be registered.
    pub fn gauges(&self) -> [IntGauge; 2] {
        self.statements.gate.gauges()
    }

    /// How many questions share a statement, to be registered.
    pub fn questions_per_statement(&self) -> Histogram {
        self.sizes.clone()
    }

    async fn partition_count(&self) -> Result<Option<u32>, StoreError> {
        if let Some(partitions) = self.partitions.get() {
            return Ok(Some(*partitions));
        }
        let query = self
            .statements
            .hurried_by_a_thread
            .query(include_str!("partition_count.sql"))
            .bind(self.epoch.get())
            .bind(&self.topic);
        let found = self.statements.reading("ledger").bounded(query.fetch_optional::<u32>()).await?;
        if let Some(partitions) = found {
            // Another request may have been first, with the same number.
            let _ = self.partitions.set(partitions);
        }
        Ok(found)
    }
}
