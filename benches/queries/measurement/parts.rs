//! Broker, engine, worker and API, each in a process of its own.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use clickhouse::{Client, Compression, Row};
use serde::Deserialize;
use tokio::runtime::Runtime;

use super::Settings;

/// Tenants of the simulator; each has a token of an administrator, which is its name.
pub(super) const APPS: u32 = 5;

/// How long a part may take to start, or to end.
const PATIENCE: Duration = Duration::from_secs(200);

const PAUSE: Duration = Duration::from_millis(100);

/// A process that ends with this value.
#[derive(Debug)]
pub(super) struct Part {
    process: Child,
    /// What `seenby dev` watches: it stops in order when this closes.
    lifeline: Option<ChildStdin>,
}

/// Everything that runs but for the traffic.
#[derive(Debug)]
pub(super) struct Parts {
    /// Whether the store is still empty.
    pub(super) is_new: bool,
    // Those that use others end before them.
    pub(super) api: Part,
    pub(super) worker: Part,
    pub(super) clickhouse: Part,
    pub(super) kafka: Part,
    /// Reads the tables.
    pub(super) tables: Client,
    /// Asks the API.
    pub(super) client: reqwest::Client,
    /// Beginning of the API's addresses.
    pub(super) api_url: String,
    pub(super) runtime: Runtime,
    metrics_url: String,
    program: PathBuf,
    config: PathBuf,
    seed: u64,
    niceness: u8,
    /// Says that the folder is loaded.
    loaded_mark: PathBuf,
    /// Removed at the end, where none was named.
    _folder: Option<tempfile::TempDir>,
}

/// What a store holds.
#[derive(Clone, Copy, Debug, Row, Deserialize)]
pub(crate) struct Loaded {
    /// Messages.
    pub(crate) messages: u64,
    /// Receipts, one a message, kind and reader.
    pub(crate) receipts: u64,
    /// Days from the first message to the last.
    pub(crate) days: u64,
}

impl Part {
    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Runs a command of seenby until it ends by itself.
    fn start(command: &mut Command) -> Self {
        let mut process = command.spawn().expect("the program starts");
        Self { lifeline: process.stdin.take(), process }
    }

    /// Runs `seenby dev NAME` and gives the address that it listens on.
    fn dev(program: &Path, niceness: u8, name: &str, folder: &Path) -> (Self, String) {
        let mut command = at_niceness(program, niceness);
        command.args(["dev", name, "--exit-with-stdin", "--dir"]).arg(folder.join(name));
        let mut part = Self::start(command.stdin(Stdio::piped()).stdout(Stdio::piped()));
        let output = part.process.stdout.take().expect("standard output is piped");
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).expect("the part says where it listens");
        let address = line.trim_end().rsplit(' ').next().unwrap_or_default().to_owned();
        assert!(!address.is_empty(), "seenby dev {name} ended before it listened; its reason stands above");
        (part, address)
    }

    /// Asks it to end as an operator does, and waits.
    fn terminate(&mut self) {
        if self.lifeline.take().is_none() {
            let id = self.id().to_string();
            Command::new("kill").args(["-TERM", &id]).status().expect("the signal is sent");
        }
        let begun = Instant::now();
        while self.process.try_wait().expect("the process is ours").is_none() {
            assert!(begun.elapsed() < PATIENCE, "process {} does not end", self.id());
            std::thread::sleep(PAUSE);
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // A part of `seenby dev` has processes of its own, which it ends when its input closes.
        if self.lifeline.take().is_some() {
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_secs(20) && matches!(self.process.try_wait(), Ok(None)) {
                std::thread::sleep(PAUSE);
            }
        }
        // Both fail only where it has ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Parts {
    pub(super) fn start(settings: &Settings, program: &Path) -> Self {
        let temporary = match settings.dir {
            Some(_) => None,
            None => Some(tempfile::Builder::new().prefix("seenby-load-").tempdir().expect("a temporary folder")),
        };
        let folder = settings.dir.as_deref().or(temporary.as_ref().map(tempfile::TempDir::path)).expect("one of two");
        fs::create_dir_all(folder).expect("the folder can be made");
        let folder = folder.canonicalize().expect("the folder is there");
        let loaded_mark = folder.join("loaded");

        let (kafka, brokers) = Part::dev(program, settings.niceness, "kafka", &folder);
        let (clickhouse, clickhouse_url) = Part::dev(program, 0, "clickhouse", &folder);
        let (api_port, metrics_port) = free_ports();
        let config = folder.join("seenby.toml");
        fs::write(&config, configuration(&brokers, &clickhouse_url, api_port, metrics_port)).expect("a file");
        let seenby = |niceness, command: &str| {
            let mut process = at_niceness(program, niceness);
            process.arg("--config").arg(&config).arg(command).stdin(Stdio::null());
            process
        };
        assert!(seenby(0, "migrate").stdout(Stdio::null()).status().expect("the program starts").success(), "migrate");
        let parts = Self {
            is_new: !loaded_mark.exists(),
            worker: Part::start(&mut seenby(settings.niceness, "worker")),
            api: Part::start(&mut seenby(0, "api")),
            kafka,
            clickhouse,
            tables: Client::default()
                .with_url(clickhouse_url)
                .with_database("seenby")
                .with_compression(Compression::None),
            client: reqwest::Client::builder().no_proxy().build().expect("a client"),
            api_url: format!("http://127.0.0.1:{api_port}"),
            metrics_url: format!("http://127.0.0.1:{metrics_port}"),
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .expect("a runtime"),
            program: program.to_owned(),
            config: config.clone(),
            seed: settings.seed,
            niceness: settings.niceness,
            loaded_mark,
            _folder: temporary,
        };
        // A worker that has partitions has made the topics.
        parts.wait("the worker reads", || parts.metric("seenby_partitions").is_some_and(|partitions| partitions > 0.0));
        parts.wait("the API is ready", || parts.get(&format!("{}/readyz", parts.api_url)).is_some());
        parts
    }

    /// Loads traffic of the past: as fast as Kafka takes it; the worker writes it.
    pub(super) fn simulate_history(&mut self, settings: &Settings) {
        let (events, days, groups) = (settings.events, settings.days, settings.groups);
        let mut simulating = self.simulate(0, events, days, groups, self.seed);
        assert!(simulating.process.wait().expect("the process is ours").success(), "seenby simulate failed");
        self.wait_until_drained();
        fs::write(&self.loaded_mark, "").expect("a file");
        self.is_new = false;
    }

    /// Begins traffic that lasts for so many seconds, loading and warming up not counted.
    pub(super) fn simulate_live(&self, settings: &Settings, measured_seconds: u64) -> Option<Part> {
        // More than it takes: it is ended with the last phase. Another seed at each start, so that no message comes twice.
        let events = u64::from(settings.live_rate) * (measured_seconds * 3 / 2 + settings.warm_up * 3 + 60);
        let since_1970 = std::time::UNIX_EPOCH.elapsed().expect("a clock behind 1970");
        (events > 0).then(|| self.simulate(settings.live_rate, events, 1, settings.live_groups, since_1970.as_secs()))
    }

    fn simulate(&self, rate: u32, events: u64, days: u32, groups: u32, seed: u64) -> Part {
        let mut command = at_niceness(&self.program, self.niceness);
        command.arg("--config").arg(&self.config).arg("simulate").stdin(Stdio::null());
        for (name, number) in [
            ("--rate", u64::from(rate)),
            ("--events", events),
            ("--days", u64::from(days)),
            ("--apps", u64::from(APPS)),
            ("--groups", u64::from(groups)),
            ("--seed", seed),
        ] {
            command.arg(name).arg(number.to_string());
        }
        Part::start(&mut command)
    }

    /// Waits until the worker has folded and committed everything that is in the log.
    pub(super) fn wait_until_drained(&self) {
        let mut committed = -1.0;
        self.wait("the worker has caught up", || {
            let before = committed;
            let (lag, records) = (self.metric("seenby_lag_records"), self.metric("seenby_records_total"));
            committed = records.unwrap_or(-1.0);
            // Lag is told for what was polled; a second without anything new says that nothing is left.
            std::thread::sleep(Duration::from_secs(1));
            lag == Some(0.0) && committed == before
        });
    }

    /// A metric of the worker, the sum of its series.
    pub(super) fn metric(&self, name: &str) -> Option<f64> {
        let text = self.get(&format!("{}/metrics", self.metrics_url))?;
        Some(series(&text, name).sum())
    }

    /// All metrics of the worker.
    pub(super) fn metrics_url(&self) -> String {
        format!("{}/metrics", self.metrics_url)
    }

    pub(super) fn loaded(&self) -> Loaded {
        let sql = include_str!("loaded.sql");
        self.runtime.block_on(self.tables.query(sql).fetch_one()).expect("ClickHouse counts")
    }

    /// Ends everything in order, so that a folder that stays can be taken up again.
    pub(super) fn stop(mut self) {
        for part in [&mut self.api, &mut self.worker, &mut self.clickhouse, &mut self.kafka] {
            part.terminate();
        }
    }

    fn get(&self, url: &str) -> Option<String> {
        self.runtime.block_on(async {
            let response = self.client.get(url).timeout(Duration::from_secs(2)).send().await.ok()?;
            response.error_for_status().ok()?.text().await.ok()
        })
    }

    /// Waits for something that comes within [`PATIENCE`] of the last sign of the worker's life.
    fn wait(&self, what: &str, mut is_there: impl FnMut() -> bool) {
        let (mut since, mut last) = (Instant::now(), None);
        while !is_there() {
            let records = self.metric("seenby_records_total");
            if records != last {
                (since, last) = (Instant::now(), records);
            }
            assert!(since.elapsed() < PATIENCE, "waited too long until {what}");
            std::thread::sleep(PAUSE);
        }
    }
}

/// A program that others go before where processors are scarce, unless it is 0.
fn at_niceness(program: &Path, niceness: u8) -> Command {
    let mut command = Command::new("nice");
    command.args(["-n", &niceness.to_string()]).arg(program);
    command
}

/// The values of a metric's series.
pub(super) fn series<'a>(text: &'a str, name: &'a str) -> impl Iterator<Item = f64> + 'a {
    let series = text.lines().filter_map(move |line| line.strip_prefix(name));
    let series = series.filter(|rest| rest.starts_with(['{', ' ']));
    series.filter_map(|rest| rest.rsplit(' ').next()?.parse().ok())
}

/// Two ports that nobody listens on at the moment.
fn free_ports() -> (u16, u16) {
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let port = |listener: &TcpListener| listener.local_addr().expect("it is bound").port();
    let (one, other) = (bind(), bind());
    (port(&one), port(&other))
}

/// Everything as by default, but for addresses, tokens, the limits that would stop a measurement, and who goes first where all
/// parts share the processors.
fn configuration(brokers: &str, clickhouse_url: &str, api_port: u16, metrics_port: u16) -> String {
    use std::fmt::Write as _;

    let mut text = format!(
        r#"[kafka]
brokers = "{brokers}"
[clickhouse]
url = "{clickhouse_url}"
compression = false
[api]
listen = "127.0.0.1:{api_port}"
rate_limit_per_second = 0
[api.query]
thread_niceness = -10
[metrics]
listen = "127.0.0.1:{metrics_port}"
[log]
filter = "warn"
"#
    );
    for app in (0..APPS).map(app_name) {
        let token = token_of(&app);
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "[[auth.tokens]]\napp = \"{app}\"\nsubject = \"load\"\nrole = \"admin\"\ntoken = \"{token}\"\n"
        );
    }
    text
}

/// A tenant of the simulator.
pub(super) fn app_name(number: u32) -> String {
    format!("sim#app-{number}")
}

/// What is asked with on behalf of an app.
pub(super) fn token_of(app: &str) -> String {
    format!("token-of-an-administrator-of-{app}")
}
