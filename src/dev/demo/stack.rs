//! The parts of the demo, started in order and stopped in order.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use clickhouse::{Client, Row};
use serde::Deserialize;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use super::DemoError;
use crate::api;
use crate::config::{Config, Delivery, TokenConfig, TokenRole};
use crate::dev::broker::Broker;
use crate::dev::clickhouse::ClickHouse;
use crate::event::Epoch;
use crate::observe::Telemetry;
use crate::store::{self, TopicIdentity};
use crate::worker::{StopSignal, Worker};

/// Tenants of the demo.
pub(super) const APPS: u32 = 5;

/// Partitions of the events topic: several, as the broker keeps little of each.
const EVENT_PARTITIONS: i32 = 16;

/// Partitions of the topics that the worker writes.
const EFFECT_PARTITIONS: i32 = 8;

/// Short, as the broker's small memory bounds what is between simulator and commit.
const FLUSH_INTERVAL_MS: u64 = 200;

/// How long the API may take for the demo's own questions.
const API_TIMEOUT: Duration = Duration::from_secs(10);

/// Readers of the list that is printed.
const READERS_SHOWN: usize = 5;

/// Everything that runs.
pub(super) struct Stack {
    /// The configuration that worker and API run with.
    pub(super) config: Config,
    /// Reads the tables.
    pub(super) client: Client,
    /// For everything that waits for ClickHouse or HTTP.
    pub(super) runtime: Runtime,
    api_address: SocketAddr,
    telemetry: Telemetry,
    worker: Worker,
    stop_worker: StopSignal,
    stop_api: oneshot::Sender<()>,
    clickhouse: ClickHouse,
    broker: Broker,
    folder: TempDir,
}

/// A group message worth asking for.
#[derive(Row, Deserialize)]
struct Example {
    app: String,
    group: String,
    message: String,
    readers: u64,
}

impl Stack {
    /// Starts all parts on free ports, with `config` for what the demo does not set itself.
    pub(super) fn start(config: &Config) -> Result<Self, DemoError> {
        let folder = tempfile::Builder::new()
            .prefix("seenby-demo-")
            .tempdir()
            .map_err(DemoError::io("making the demo's folder"))?;
        let clickhouse = ClickHouse::start(folder.path(), 0)?;
        let topics = &config.kafka.topics;
        let broker = Broker::start(&[
            (topics.events.as_str(), EVENT_PARTITIONS),
            (topics.notifications.as_str(), EFFECT_PARTITIONS),
            (topics.rejections.as_str(), EFFECT_PARTITIONS),
        ])?;
        let config = demo_config(config, broker.bootstrap(), &clickhouse.url());

        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("demo")
            .enable_all()
            .build()
            .map_err(DemoError::io("starting the demo's runtime"))?;
        runtime.block_on(store::migrate(&config.clickhouse))?;
        let telemetry = Telemetry::default();
        let worker = Worker::start(&config, &telemetry)?;

        let listener = runtime
            .block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
            .map_err(DemoError::io("listening for the API"))?;
        let api_address = listener.local_addr().map_err(DemoError::io("asking for the API's port"))?;
        let (stop_api, api_stopped) = oneshot::channel();
        let api_config = config.clone();
        runtime.spawn(async move {
            let served = api::serve(&api_config, Telemetry::default(), listener, async {
                // The sender going away says the same.
                let _ = api_stopped.await;
            });
            if let Err(error) = served.await {
                tracing::error!(%error, "the API does not start");
            }
        });
        Ok(Self {
            client: store::connect(&config.clickhouse),
            stop_worker: worker.stop_signal(),
            config,
            runtime,
            api_address,
            telemetry,
            worker,
            stop_api,
            clickhouse,
            broker,
            folder,
        })
    }

    /// Stops the parts, those first that need the others, and removes the folder.
    pub(super) fn stop(self) -> Result<(), DemoError> {
        self.stop_worker.request(true);
        self.worker.join()?;
        // The API may have ended by itself.
        let _ = self.stop_api.send(());
        self.runtime.shutdown_timeout(Duration::from_secs(1));
        drop(self.clickhouse);
        drop(self.broker);
        self.folder.close().map_err(DemoError::io("removing the demo's folder"))
    }

    /// Records committed, by outcome.
    pub(super) fn outcomes(&self) -> BTreeMap<String, u64> {
        let mut outcomes = BTreeMap::new();
        for family in self.telemetry.registry.gather() {
            if family.name() != "seenby_records_total" {
                continue;
            }
            for metric in family.get_metric() {
                let outcome = metric.get_label().iter().find(|label| label.name() == "outcome");
                if let Some(outcome) = outcome {
                    *outcomes.entry(outcome.value().to_owned()).or_default() += metric.get_counter().get_value() as u64;
                }
            }
        }
        outcomes
    }

    /// Whether the worker was asked to stop by a pipeline that cannot go on.
    pub(super) fn has_worker_ended(&self) -> bool {
        self.stop_worker.is_requested()
    }

    /// The events topic as the ledger knows it.
    pub(super) fn topic(&self) -> TopicIdentity {
        TopicIdentity {
            topic: self.config.kafka.topics.events.clone(),
            epoch: Epoch::new(self.config.kafka.epoch),
            partitions: EVENT_PARTITIONS.unsigned_abs(),
        }
    }

    /// Where everything listens.
    pub(super) fn introduction(&self) -> String {
        format!(
            "broker      {}  (in process)\nClickHouse  {}  (in process, database {})\nAPI         http://{}\n\n",
            self.broker.bootstrap(),
            self.clickhouse.url(),
            self.config.clickhouse.database,
            self.api_address,
        )
    }

    /// Commands to copy: a reader list, counts, a refused message. `None` while there are no such messages.
    pub(super) fn commands(&self) -> Result<Option<String>, DemoError> {
        let (Some(read), Some(refused)) =
            (self.example(include_str!("sql/most_read.sql"))?, self.example(include_str!("sql/refused.sql"))?)
        else {
            return Ok(None);
        };
        let mut text = String::from("Ask, from another terminal:\n");
        let commands = [
            ("readers of a message", &read, "limit=20"),
            ("its counts, and who has not read", &read, "status=unread&limit=20"),
            ("a refused message: see \"receipts\"", &refused, "limit=1"),
        ];
        for (what, example, query) in commands {
            let (token, url) = (self.token_of(&example.app), self.readers_url(example, query));
            let _ = write!(text, "  # {what}\n  curl -s -H 'Authorization: Bearer {token}' '{url}'\n");
        }
        text.push('\n');
        Ok(Some(text))
    }

    /// Fetches the list of the message with the most readers over HTTP.
    ///
    /// # Errors
    /// Where there is none, or the answer does not count the readers that the table holds.
    pub(super) fn longest_reader_list(&self) -> Result<String, DemoError> {
        let failed = |url: &str, reason: String| DemoError::Api { url: url.to_owned(), reason };
        let Some(example) = self.example(include_str!("sql/most_read.sql"))? else {
            return Err(failed("a reader list", "no group message has readers".to_owned()));
        };
        let url = self.readers_url(&example, "limit=500");
        let (status, answer) = self
            .runtime
            .block_on(get(&url, self.token_of(&example.app)))
            .map_err(|error| failed(&url, error.to_string()))?;
        if !status.is_success() {
            return Err(failed(&url, format!("{status} {answer}")));
        }
        let list: ReaderList =
            serde_json::from_str(&answer).map_err(|error| failed(&url, format!("{error} in {answer}")))?;
        if list.counts.distinct != example.readers {
            let reason = format!("it counts {} readers, the table holds {}", list.counts.distinct, example.readers);
            return Err(failed(&url, reason));
        }
        let mut text = format!(
            "readers of message {} over HTTP: {} in all, {} on this page, newest first\n",
            example.message,
            list.counts.distinct,
            list.readers.len()
        );
        for reader in list.readers.iter().take(READERS_SHOWN) {
            let _ = writeln!(text, "  {:<24} at {}", reader.user, reader.read_at);
        }
        text.push('\n');
        Ok(text)
    }

    /// The tenant's token; every tenant of the simulator has one.
    fn token_of(&self, app: &str) -> &str {
        let of_app = self.config.auth.tokens.iter().find(|token| token.app == app);
        of_app.map_or("", |token| token.token.expose())
    }

    fn example(&self, sql: &str) -> Result<Option<Example>, DemoError> {
        self.runtime.block_on(self.client.query(sql).fetch_optional()).map_err(DemoError::tables)
    }

    fn readers_url(&self, example: &Example, query: &str) -> String {
        let app = example.app.replace('#', "/");
        format!(
            "http://{}/v1/{app}/groups/{}/messages/{}/readers?{query}",
            self.api_address, example.group, example.message
        )
    }
}

async fn get(url: &str, token: &str) -> Result<(reqwest::StatusCode, String), reqwest::Error> {
    let client = reqwest::Client::builder().timeout(API_TIMEOUT).build()?;
    let response = client.get(url).bearer_auth(token).send().await?;
    Ok((response.status(), response.text().await?))
}

/// The part of a reader list that is shown.
#[derive(Deserialize)]
struct ReaderList {
    counts: Counts,
    readers: Vec<Reader>,
}

#[derive(Deserialize)]
struct Counts {
    distinct: u64,
}

#[derive(Deserialize)]
struct Reader {
    user: String,
    read_at: i64,
}

/// The configuration given, with the demo's own parts, free ports and a token for each tenant.
fn demo_config(given: &Config, bootstrap: &str, clickhouse_url: &str) -> Config {
    let mut config = given.clone();
    config.kafka.brokers = bootstrap.to_owned();
    config.clickhouse.url = clickhouse_url.to_owned();
    config.clickhouse.compression = false;
    config.worker.delivery = Delivery::AtLeastOnce;
    config.worker.flush_interval_ms = FLUSH_INTERVAL_MS;
    config.auth.tokens = (0..APPS)
        .map(|app| {
            let secret = uuid::Uuid::new_v4().simple().to_string();
            TokenConfig::new(format!("sim#app-{app}"), "demo", TokenRole::Service, secret)
        })
        .collect();
    config
}
