//! Erasures: what is about a user in front of his erasure is taken out of the tables.
//!
//! The fold has forgotten him at the record; rows in front of it count as not there from then on, whether they were
//! deleted yet or not ([`crate::fold::Restore`]). So this may happen at any time behind the record, be cut anywhere and
//! run again, and whatever a dead worker writes late is taken out by the next run.

use std::time::Duration;

use clickhouse::query::Query;
use clickhouse::{Client, Row};
use serde::Deserialize;

use super::connection::{Attempt, connect, statement_timeout};
use super::fact_text::message_key;
use super::{StoreError, Table};
use crate::config::ClickHouseConfig;
use crate::event::{Epoch, Offset, PartitionId};

/// Deletes go through every part of a table: they may take so many times as long as another statement.
const WHOLE_TABLES_TIMEOUTS: u32 = 10;

/// Messages of which receipts and recalls are deleted at a time: bounds the statement.
const MESSAGES_AT_ONCE: u64 = 1_000;

/// An erasure, and where its copies stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Erasure {
    /// The tenant.
    pub app: String,
    /// Who is forgotten.
    pub user: String,
    /// Its number among the control records of the app: the writer's clock in ms.
    pub version: u64,
    /// The generation in whose log it stands.
    pub epoch: Epoch,
    /// The copy of each partition that has met it.
    pub copies: Vec<(PartitionId, Offset)>,
    /// When ClickHouse was asked for it, in ms of its clock.
    pub looked_at: i64,
}

/// Rows of a table about a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Row, Deserialize)]
pub struct RowsAbout {
    /// All of them.
    pub rows: u64,
    /// Those in front of the erasure.
    pub in_front: u64,
}

/// Takes rows out of the tables of one database.
#[derive(Clone, Debug)]
pub struct Eraser {
    client: Client,
    timeout: Duration,
}

/// How a table names whom its rows are about, and where the record of a row stands.
#[derive(Clone, Copy, Debug)]
struct Subject {
    table: Table,
    /// The column of the user, or what tells him from a text.
    user: &'static str,
    /// Whether the record may stand elsewhere than the row: then it has columns of its own.
    has_own_place: bool,
}

impl Subject {
    const fn of(table: Table, user: &'static str) -> Self {
        Self { table, user, has_own_place: false }
    }

    const fn with_own_place(table: Table, user: &'static str) -> Self {
        Self { table, user, has_own_place: true }
    }

    /// A statement about this table, of parts whose columns are not named yet.
    fn statement(self, parts: &[&str]) -> String {
        let (own_epoch, own_partition, own_offset) = if self.has_own_place {
            ("own_epoch", "own_partition", "own_offset")
        } else {
            ("epoch", "partition", "offset")
        };
        let [app, conversation, message, sent_at_millis] =
            if self.table == Table::MessageFacts { FIELDS_OF_FACTS } else { COLUMNS };
        let names = [
            ("${table}", self.table.name()),
            ("${user}", self.user),
            ("${own_epoch}", own_epoch),
            ("${own_partition}", own_partition),
            ("${own_offset}", own_offset),
            ("${app}", app),
            ("${conversation}", conversation),
            ("${message}", message),
            ("${sent_at_millis}", sent_at_millis),
        ];
        names.into_iter().fold(parts.concat(), |statement, (part, name)| statement.replace(part, name))
    }
}

/// App, conversation, message and its time of sending in ms.
const COLUMNS: [&str; 4] = ["app", "conversation", "message", "toUnixTimestamp64Milli(sent_at)"];
/// The same in the texts of `message_facts`.
const FIELDS_OF_FACTS: [&str; 4] = [
    "substringIndex(fact, '/', 1)",
    r"splitByChar('\t', fact)[1]",
    r"splitByChar('\t', fact)[2]",
    r"toInt64(splitByChar('\t', fact)[3])",
];

const MESSAGES: Subject = Subject::of(Table::Messages, "sender");
const RECEIPTS: Subject = Subject::with_own_place(Table::Receipts, "reader");
const RECALLS: Subject = Subject::with_own_place(Table::Recalls, "recalled_by");
const MESSAGE_FACTS: Subject = Subject::with_own_place(Table::MessageFacts, r"splitByChar('\t', fact)[5]");
const REJECTIONS: Subject = Subject::with_own_place(Table::Rejections, "user");

/// Tables whose rows go by the user that they name, and by his single chats; messages last, as what is about them is found
/// by them.
const BY_USER: [Subject; 10] = [
    RECEIPTS,
    RECALLS,
    Subject::of(Table::RosterChanges, "user"),
    Subject::of(Table::Marks, "reader"),
    Subject::with_own_place(Table::Parked, "user"),
    Subject::with_own_place(Table::Settlements, "user"),
    Subject::of(Table::MessageCounts, "sender"),
    Subject::of(Table::SenderCounts, "sender"),
    MESSAGE_FACTS,
    MESSAGES,
];

const IN_FRONT: &str = include_str!("sql/erasures_in_front.sql");
const ABOUT_USER: &str = include_str!("sql/erasures_about_user.sql");
const ABOUT_MESSAGES: &str = include_str!("sql/erasures_about_messages.sql");
const ABOUT_REJECTIONS: &str = include_str!("sql/erasures_about_rejections.sql");
const SENT: &str = include_str!("sql/erasures_sent.sql");
const OF_MESSAGES: &str = include_str!("sql/erasures_of_messages.sql");
const COUNT: &str = include_str!("sql/erasures_count.sql");
const DELETE: &str = "DELETE FROM ${table} WHERE\n";

/// The ledger counts a whole roster by its head, which names nobody; rows of the users that it changed are in no total.
const WITHOUT_ROSTERS: &str = "AND change != 'by_roster'\n";

#[derive(Row, Deserialize)]
struct ErasureRow {
    app: String,
    version: u64,
    user: String,
    epoch: u16,
    partitions: Vec<u32>,
    offsets: Vec<u64>,
    looked_at: i64,
}

#[derive(Row, Deserialize)]
struct SentRow {
    conversation: String,
    message: String,
    sent_at: i64,
}

impl Eraser {
    /// Connects on the first question.
    pub fn new(config: &ClickHouseConfig) -> Self {
        Self { client: connect(config), timeout: statement_timeout(config) }
    }

    /// Erasures that workers have met and whose rows are to be taken out. They may be as soon as every partition has
    /// committed its copy, and no state in front of it is read back any more: the caller looks to that.
    ///
    /// # Errors
    /// What ClickHouse said.
    pub async fn pending(&self) -> Result<Vec<Erasure>, StoreError> {
        let query = self.client.query(include_str!("sql/erasures_pending.sql"));
        let attempt = Attempt { doing: "reading", target: "policies", timeout: self.timeout };
        let rows: Vec<ErasureRow> = attempt.bounded(query.fetch_all()).await?;
        Ok(rows.into_iter().map(Erasure::from).collect())
    }

    /// Every erasure that workers have met.
    ///
    /// # Errors
    /// What ClickHouse said.
    pub async fn known(&self) -> Result<Vec<Erasure>, StoreError> {
        let query = self.client.query(include_str!("sql/erasures_known.sql"));
        let attempt = Attempt { doing: "reading", target: "policies", timeout: self.timeout };
        let rows: Vec<ErasureRow> = attempt.bounded(query.fetch_all()).await?;
        Ok(rows.into_iter().map(Erasure::from).collect())
    }

    /// Takes out what is about the user in front of the erasure, and notes it. Returns how many rows were there by table.
    ///
    /// # Errors
    /// What ClickHouse said; what was not taken out is taken out the next time.
    pub async fn sweep(&self, erasure: &Erasure) -> Result<Vec<(Table, u64)>, StoreError> {
        let found = self.rows_in_front(erasure).await?;
        if found.iter().any(|(_, rows)| *rows > 0) {
            // First, or a hydration would miss the rows.
            self.run("dropped", erasure, include_str!("sql/erasures_begin.sql")).await?;
            self.count(erasure).await?;
            self.delete_about_messages(erasure).await?;
            self.unname_recalls(erasure).await?;
            let is_found = |table: Table| found.iter().any(|(found, rows)| *found == table && *rows > 0);
            for subject in BY_USER.into_iter().filter(|subject| is_found(subject.table)) {
                self.delete(erasure, subject, &[ABOUT_USER]).await?;
            }
            if is_found(Table::Rejections) {
                self.delete(erasure, REJECTIONS, &[ABOUT_REJECTIONS]).await?;
            }
        }
        self.note_swept(erasure).await?;
        Ok(found)
    }

    /// How many rows about the user stand in front of the erasure, by table.
    async fn rows_in_front(&self, erasure: &Erasure) -> Result<Vec<(Table, u64)>, StoreError> {
        let mut found = Vec::new();
        for (table, statement) in counting_statements() {
            let attempt = self.attempt("counting", table.name());
            let about: RowsAbout = attempt.bounded(self.query(&statement, erasure).fetch_one()).await?;
            found.push((table, about.in_front));
        }
        Ok(found)
    }

    /// Counts what is about to go: the check of totals lets so many records be without rows.
    async fn count(&self, erasure: &Erasure) -> Result<(), StoreError> {
        for subject in BY_USER {
            let is_counted = !matches!(subject.table, Table::MessageCounts | Table::SenderCounts | Table::MessageFacts);
            let of_roster = if subject.table == Table::RosterChanges { WITHOUT_ROSTERS } else { "" };
            let group_by = "GROUP BY epoch, partition";
            let parts: &[&str] = match subject.table {
                Table::Receipts => {
                    &[COUNT, "((", ABOUT_USER, ") OR (", ABOUT_MESSAGES, "))\nAND\n", IN_FRONT, group_by]
                }
                // Those of other people's messages stay, without a name.
                Table::Recalls => &[
                    COUNT,
                    "(",
                    ABOUT_MESSAGES,
                    "OR startsWith(conversation, concat({app:String}, '/u/'))\nAND ",
                    ABOUT_USER,
                    ")\nAND\n",
                    IN_FRONT,
                    group_by,
                ],
                _ => &[COUNT, ABOUT_USER, of_roster, "AND\n", IN_FRONT, group_by],
            };
            if is_counted {
                self.run(subject.table.name(), erasure, &subject.statement(parts)).await?;
            }
        }
        let statement =
            REJECTIONS.statement(&[COUNT, ABOUT_REJECTIONS, "AND\n", IN_FRONT, "GROUP BY epoch, partition"]);
        self.run(Table::Rejections.name(), erasure, &statement).await
    }

    /// Deletes the group messages he sent with their receipts and recalls, some at a time: where it is cut, the rest is
    /// still found by its messages.
    async fn delete_about_messages(&self, erasure: &Erasure) -> Result<(), StoreError> {
        let select =
            "SELECT DISTINCT conversation, message, toUnixTimestamp64Milli(sent_at) AS sent_at FROM messages WHERE\n";
        let limit = format!("LIMIT {MESSAGES_AT_ONCE}");
        let statement = MESSAGES.statement(&[select, SENT, "AND\n", IN_FRONT, &limit]);
        loop {
            let attempt = self.attempt("reading", "messages");
            let sent: Vec<SentRow> = attempt.bounded(self.query(&statement, erasure).fetch_all()).await?;
            if sent.is_empty() {
                return Ok(());
            }
            for subject in [RECEIPTS, RECALLS, MESSAGE_FACTS, MESSAGES] {
                // By its key alone that table is found without going through all of it.
                let of_keys =
                    if subject.table == Table::MessageFacts { "key IN {keys:Array(UInt64)}\nAND " } else { "" };
                let statement = subject.statement(&[DELETE, of_keys, OF_MESSAGES, "AND\n", IN_FRONT]);
                let query = self
                    .query(&statement, erasure)
                    .param("conversations", sent.iter().map(|row| row.conversation.as_str()).collect::<Vec<_>>())
                    .param("messages", sent.iter().map(|row| row.message.as_str()).collect::<Vec<_>>())
                    .param(
                        "keys",
                        sent.iter().map(|row| message_key(&row.conversation, &row.message)).collect::<Vec<_>>(),
                    )
                    .param("sent_at", sent.iter().map(|row| row.sent_at).collect::<Vec<_>>());
                self.attempt("erasing", subject.table.name()).bounded(query.execute()).await?;
            }
        }
    }

    async fn unname_recalls(&self, erasure: &Erasure) -> Result<(), StoreError> {
        let statement = RECALLS.statement(&[include_str!("sql/erasures_unname_recalls.sql"), IN_FRONT]);
        self.run(Table::Recalls.name(), erasure, &statement).await
    }

    async fn delete(&self, erasure: &Erasure, subject: Subject, about: &[&str]) -> Result<(), StoreError> {
        let statement = subject.statement(&[DELETE, &about.concat(), "AND\n", IN_FRONT]);
        self.run(subject.table.name(), erasure, &statement).await
    }

    async fn note_swept(&self, erasure: &Erasure) -> Result<(), StoreError> {
        let statement = "INSERT INTO erasure_sweeps (app, version, swept_at)\n\
            SELECT {app:String}, {version:UInt64}, fromUnixTimestamp64Milli({looked_at:Int64}, 'UTC')";
        let query = self.query(statement, erasure).param("looked_at", erasure.looked_at);
        self.attempt("writing", "erasure_sweeps").bounded(query.execute()).await
    }

    async fn run(&self, target: &'static str, erasure: &Erasure, statement: &str) -> Result<(), StoreError> {
        self.attempt("erasing", target).bounded(self.query(statement, erasure).execute()).await
    }

    fn query(&self, statement: &str, erasure: &Erasure) -> Query {
        erasure.bind(self.client.query(statement))
    }

    fn attempt(&self, doing: &'static str, target: &'static str) -> Attempt<'static> {
        Attempt { doing, target, timeout: self.timeout * WHOLE_TABLES_TIMEOUTS }
    }
}

/// For each table that names users, the statement that counts a user's rows as [`RowsAbout`].
pub(super) fn counting_statements() -> impl Iterator<Item = (Table, String)> {
    const HEAD: &str = "SELECT count() AS rows, countIf(\n";
    const FROM: &str = ") AS in_front\nFROM ${table}\nWHERE\n";
    let by_user = BY_USER.into_iter().map(|subject| (subject, ABOUT_USER));
    by_user
        .chain([(REJECTIONS, ABOUT_REJECTIONS)])
        .map(|(subject, about)| (subject.table, subject.statement(&[HEAD, IN_FRONT, FROM, about])))
}

impl Erasure {
    /// Gives a statement the parameters that say which erasure.
    pub(super) fn bind(&self, query: Query) -> Query {
        let as_json = |text: &str| serde_json::Value::from(text).to_string();
        query
            .param("app", &self.app)
            .param("user", &self.user)
            .param("spelled_app", as_json(&self.app))
            .param("spelled_user", as_json(&self.user))
            .param("version", self.version)
            .param("epoch", self.epoch.get())
            .param("partitions", self.copies.iter().map(|(partition, _)| partition.get()).collect::<Vec<_>>())
            .param("offsets", self.copies.iter().map(|(_, offset)| offset.get()).collect::<Vec<_>>())
    }
}

impl From<ErasureRow> for Erasure {
    fn from(row: ErasureRow) -> Self {
        let copies = row.partitions.into_iter().map(PartitionId::new).zip(row.offsets.into_iter().map(Offset::new));
        Self {
            app: row.app,
            user: row.user,
            version: row.version,
            epoch: Epoch::new(row.epoch),
            copies: copies.collect(),
            looked_at: row.looked_at,
        }
    }
}
