//! The one configuration type: a TOML file, and the environment over it (`SEENBY__KAFKA__BROKERS`).
//!
//! Every field's doc comment is its meaning in `seenby config` (`settings` reads it from the derived schema); a default
//! stands in [`Default`].

mod auth;
mod check;
mod export;
mod load;
mod print;
mod secret;
mod settings;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize, Serializer};
use utoipa::ToSchema;

pub use auth::{AuthConfig, JwtConfig, LEAST_TOKEN_BYTES, TokenConfig, TokenRole};
pub(crate) use check::{is_app, is_id};
pub use export::ExportConfig;
pub use load::ConfigError;
pub use secret::Secret;

/// Everything that can be set.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where events come from and effects go.
    pub kafka: KafkaConfig,
    /// Where rows go and answers come from.
    pub clickhouse: ClickHouseConfig,
    /// How workers work.
    pub worker: WorkerConfig,
    /// The query endpoint.
    pub api: ApiConfig,
    /// The metrics endpoint of a worker.
    pub metrics: MetricsConfig,
    /// Who may ask.
    pub auth: AuthConfig,
    /// What is logged, and how.
    pub log: LogConfig,
}

/// Where events come from and effects go.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct KafkaConfig {
    /// Bootstrap servers, `host:port` separated by commas.
    pub brokers: String,
    /// Names of the topics.
    pub topics: TopicsConfig,
    /// Consumer group of the workers; also the prefix of their transactional ids.
    pub group: String,
    /// Generation of the events topic, 0 to 65535; raised with a new topic.
    pub epoch: u16,
    /// How many partitions a topic gets where seenby creates it; an events topic that exists keeps its own count.
    pub partitions: u32,
    /// Replication factor of topics that seenby creates; -1 takes the broker's default.
    pub replication: i32,
    /// Any librdkafka property, for consumer and producer alike; wins over seenby's own choices.
    #[serde(serialize_with = "serialize_properties")]
    pub properties: BTreeMap<String, String>,
}

/// Names of the topics.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TopicsConfig {
    /// Input: events and control records.
    pub events: String,
    /// Output: who is to be told of which receipt.
    pub notifications: String,
    /// Output: records refused, with their reason.
    pub rejections: String,
}

/// Where rows go and answers come from.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClickHouseConfig {
    /// HTTP address.
    pub url: String,
    /// User name.
    pub user: String,
    /// Password.
    #[schema(value_type = String)]
    pub password: Secret,
    /// Database that holds the tables; created by `seenby migrate`.
    pub database: String,
    /// Cluster name for `ON CLUSTER` and replicated engines; empty for a single server.
    pub cluster: String,
    /// Whether request and response bodies are compressed with LZ4.
    pub compression: bool,
    /// How long one statement may take, in ms, before it counts as failed.
    pub timeout_ms: u64,
    /// Niceness of the threads that insert a worker's rows in ClickHouse, from -20 to 19, 0 for none of its own (its setting
    /// `os_thread_priority`): above 0 inserts step back behind questions where processors are scarce. ClickHouse needs
    /// the capability CAP_SYS_NICE for it, and does without where it has not got it.
    pub insert_niceness: i8,
}

/// How exactly effects are delivered to Kafka.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// Notifications, rejections and offsets in one transaction.
    ExactlyOnce,
    /// Plain produce, then commit: for brokers without transactions. A crash or a rebalance between the two, and a record
    /// that is not acknowledged in time, repeat notifications and rejections of that flush; a commit that is repeated by
    /// itself does not.
    AtLeastOnce,
}

/// Where a worker takes the state of a partition from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RecoveryMode {
    /// From ClickHouse; where rows are missing there, from before them, folding the log again from there on.
    Hydrate,
    /// From the log, as far back as it reaches, and from ClickHouse what was before; rows are written once more.
    Replay,
}

/// How workers work.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WorkerConfig {
    /// Pipelines in this process; each is a member of the group.
    pub threads: u16,
    /// Name of this process in the group: the static member's name. Unique among running workers; kept over restarts.
    pub instance: String,
    /// How exactly effects are delivered to Kafka.
    pub delivery: Delivery,
    /// Where the state of a partition comes from: "hydrate" reads ClickHouse, and folds the log again only where rows are
    /// missing there; "replay" always folds the log again, as far back as it reaches.
    pub recovery: RecoveryMode,
    /// The longest time between two flushes, in ms.
    pub flush_interval_ms: u64,
    /// The most records in one flush.
    pub flush_records: u64,
    /// The most bytes of encoded rows in one flush.
    pub flush_bytes: u64,
    /// Bytes of state and unflushed rows in this process at which the input pauses.
    pub memory_limit_bytes: u64,
    /// Group session time-out in ms: how long a dead worker's partitions wait.
    pub session_timeout_ms: u32,
    /// The longest a flush may take with all its retries before the worker leaves the group, in ms.
    pub max_poll_interval_ms: u32,
    /// Days of event time for which counts and reader lists stay after they can no longer change; 0 keeps them for ever.
    pub retention_days: u32,
    /// Days for which every flush boundary stays in the ledger, 1 to 365: so far back workers can go to build their state
    /// again and `seenby verify` can begin anywhere. Of older hours one boundary is kept each; their totals stay exact.
    pub ledger_detail_days: u32,
    /// How often the worker that owns partition 0 looks for erasures to carry out in the tables, in ms.
    pub erasure_interval_ms: u64,
}

/// The query endpoint.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ApiConfig {
    /// Address to listen on.
    #[schema(value_type = String)]
    pub listen: SocketAddr,
    /// How long a request may take, in ms.
    pub timeout_ms: u64,
    /// The largest request body, in bytes.
    pub max_body_bytes: usize,
    /// Origin that browsers may call from; `*` for any.
    pub cors_origin: String,
    /// Requests a second that one caller may send for ever; 0 for no limit. A caller is a static token, or whom a signed
    /// one stands for; all requests without a good token are one caller together.
    pub rate_limit_per_second: u32,
    /// Requests that one caller may send at once, after having been quiet.
    pub rate_limit_burst: u32,
    /// Requests a second that all callers of one app may send together; 0 for no limit.
    pub app_rate_limit_per_second: u32,
    /// Requests that all callers of one app may send at once.
    pub app_rate_limit_burst: u32,
    /// Statements that run in ClickHouse at once; further ones wait, for as long as their request may take.
    pub max_concurrent_statements: u32,
    /// How old `as_of` of an answer may be, in ms: questions that come so shortly after one another ask for it once, and who
    /// finds it half as old as that has it asked for again without waiting. It then says less than the answer knows, never
    /// more. 0 asks with every question.
    pub as_of_max_age_ms: u64,
    /// Bytes of memory for who was a member of which group when. What is kept saves a statement a list; who was asked to read
    /// a message does not change any more. 0 keeps nothing.
    pub roster_cache_bytes: u64,
    /// Limits sent with every statement.
    pub query: StatementLimitsConfig,
    /// How much of this process folding a range under another policy may take.
    pub what_if: WhatIfConfig,
    /// What exports of whole tables may take. They do not count among api.max_concurrent_statements.
    pub export: ExportConfig,
    /// Whether `POST /{org}/{app}/token` gives whoever asks a token of any user of any app, whatever the password: for
    /// development on one's own machine, and never anywhere else. Needs auth.jwt.hs256_secret.
    pub development_tokens: bool,
    /// Whether the Easemob path gives its user list as plain user names instead of objects.
    pub easemob_string_lists: bool,
    /// Delays in groups of fewer members are counted and not shown: they would tell of single persons.
    pub latency_min_group_size: u32,
}

/// Limits sent with every statement of the API. What goes beyond one is cut by ClickHouse, and its request answered with
/// 503.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StatementLimitsConfig {
    /// How long a statement may run, in ms; 0 for no limit. Below api.timeout_ms, so that the answer says why.
    pub max_execution_time_ms: u64,
    /// Rows that a statement may read from tables; 0 for no limit.
    pub max_rows_to_read: u64,
    /// Bytes, uncompressed, that a statement may read from tables; 0 for no limit.
    pub max_bytes_to_read: u64,
    /// Bytes of memory that a statement may use; 0 for no limit.
    pub max_memory_bytes: u64,
    /// Rows that a statement may answer with; 0 for no limit.
    pub max_result_rows: u64,
    /// Bytes, uncompressed, that a statement may answer with, which the API holds in memory; 0 for no limit.
    pub max_result_bytes: u64,
    /// Niceness of the threads that run a question about messages in ClickHouse, from -20 to 19, 0 for none of its own (its
    /// setting `os_thread_priority`): below 0 such questions go before everything else where processors are scarce.
    /// ClickHouse needs the capability CAP_SYS_NICE for it, and does without where it has not got it; some hosts refuse
    /// what is below 0.
    pub thread_niceness: i8,
}

/// Limits of `POST policy/what-if`, which reads a range of the log and folds it twice.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WhatIfConfig {
    /// How many run at once; a further one is answered with 503.
    pub max_concurrent: u32,
    /// How long one may take, in ms, whatever api.timeout_ms says; at most 25000, as a connection that is to end waits no
    /// longer for its last answer.
    pub timeout_ms: u64,
    /// Records that one may read from the log, and rows that it may read back for the state in front of them.
    pub max_records: u64,
    /// Bytes that its two states may take together.
    pub max_state_bytes: u64,
}

impl Default for WhatIfConfig {
    fn default() -> Self {
        Self { max_concurrent: 1, timeout_ms: 25_000, max_records: 5_000_000, max_state_bytes: 512 * 1024 * 1024 }
    }
}

impl Default for StatementLimitsConfig {
    fn default() -> Self {
        Self {
            max_execution_time_ms: 8_000,
            max_rows_to_read: 500_000_000,
            max_bytes_to_read: 64 * 1024 * 1024 * 1024,
            max_memory_bytes: 2 * 1024 * 1024 * 1024,
            max_result_rows: 1_000_000,
            max_result_bytes: 128 * 1024 * 1024,
            thread_niceness: 0,
        }
    }
}

/// The metrics endpoint of a worker.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MetricsConfig {
    /// Address to listen on, for /metrics, /livez and /readyz.
    #[schema(value_type = String)]
    pub listen: SocketAddr,
}

/// What is logged, and how.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// Levels, as a word or by module: `info`, or `warn,seenby=debug`.
    pub filter: String,
    /// Form of the lines on standard error.
    pub format: LogFormat,
}

/// Form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// `human` on a terminal, `json` elsewhere.
    Auto,
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// Properties may hold secrets, which no log line and no printed configuration may give away.
fn serialize_properties<S: Serializer>(
    properties: &BTreeMap<String, String>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    secret::shown_properties(properties).serialize(serializer)
}

impl fmt::Debug for KafkaConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { brokers, topics, group, epoch, partitions, replication, properties } = self;
        formatter
            .debug_struct("KafkaConfig")
            .field("brokers", brokers)
            .field("topics", topics)
            .field("group", group)
            .field("epoch", epoch)
            .field("partitions", partitions)
            .field("replication", replication)
            .field("properties", &secret::shown_properties(properties))
            .finish()
    }
}

impl Default for KafkaConfig {
    fn default() -> Self {
        Self {
            brokers: "127.0.0.1:9092".to_owned(),
            topics: TopicsConfig::default(),
            group: "seenby".to_owned(),
            epoch: 1,
            partitions: 8,
            replication: -1,
            properties: BTreeMap::new(),
        }
    }
}

impl Default for TopicsConfig {
    fn default() -> Self {
        Self {
            events: "seenby.events".to_owned(),
            notifications: "seenby.notifications".to_owned(),
            rejections: "seenby.rejections".to_owned(),
        }
    }
}

impl Default for ClickHouseConfig {
    fn default() -> Self {
        Self {
            url: "http://127.0.0.1:8123".to_owned(),
            user: "default".to_owned(),
            password: Secret::default(),
            database: "seenby".to_owned(),
            cluster: String::new(),
            compression: true,
            timeout_ms: 30_000,
            insert_niceness: 10,
        }
    }
}

impl Default for WorkerConfig {
    fn default() -> Self {
        Self {
            threads: 1,
            instance: "worker-1".to_owned(),
            delivery: Delivery::ExactlyOnce,
            recovery: RecoveryMode::Hydrate,
            flush_interval_ms: 1_000,
            flush_records: 200_000,
            flush_bytes: 64 * 1024 * 1024,
            memory_limit_bytes: 4 * 1024 * 1024 * 1024,
            session_timeout_ms: 45_000,
            max_poll_interval_ms: 300_000,
            retention_days: 180,
            ledger_detail_days: 7,
            erasure_interval_ms: 5_000,
        }
    }
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            timeout_ms: 10_000,
            max_body_bytes: 1024 * 1024,
            cors_origin: "*".to_owned(),
            rate_limit_per_second: 500,
            rate_limit_burst: 1_000,
            app_rate_limit_per_second: 0,
            app_rate_limit_burst: 4_000,
            max_concurrent_statements: 32,
            as_of_max_age_ms: 500,
            roster_cache_bytes: 64 * 1024 * 1024,
            query: StatementLimitsConfig::default(),
            what_if: WhatIfConfig::default(),
            export: ExportConfig::default(),
            development_tokens: false,
            easemob_string_lists: false,
            latency_min_group_size: 5,
        }
    }
}

impl Default for MetricsConfig {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 9464)) }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { filter: "info".to_owned(), format: LogFormat::Auto }
    }
}
