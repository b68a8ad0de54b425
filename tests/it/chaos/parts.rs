//! The parts of a run as processes, and what is done to them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use seenby::config::Delivery;

use super::schedule::{Action, WORKERS};
use crate::support::gate::{Gate, Passage};
use crate::support::process::{Part, free_port};
use crate::support::worker::Deployment;

/// Of the events topic.
pub const PARTITIONS: u32 = 6;

/// How long a broker has to end the transactions that were to end.
const TRANSACTIONS_END: Duration = Duration::from_secs(2);

/// How long a worker that is asked to end may take. It is generous: its broker may just be away.
const STOP: Duration = Duration::from_secs(90);

/// Kafka and ClickHouse, each in a process of its own that can be killed and comes back as what it was.
pub struct Servers {
    folder: PathBuf,
    kafka_port: u16,
    clickhouse_port: u16,
    kafka: Option<Part>,
    clickhouse: Option<Part>,
}

impl Servers {
    pub fn start(folder: &Path) -> Self {
        let mut servers = Self {
            folder: folder.to_path_buf(),
            kafka_port: free_port(),
            clickhouse_port: free_port(),
            kafka: None,
            clickhouse: None,
        };
        servers.start_kafka();
        servers.start_clickhouse();
        servers
    }

    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.kafka_port)
    }

    pub fn clickhouse_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.clickhouse_port)
    }

    /// A gate before ClickHouse.
    pub fn gate(&self) -> Gate {
        Gate::before(([127, 0, 0, 1], self.clickhouse_port).into())
    }

    pub fn kill_clickhouse(&mut self) {
        if let Some(part) = self.clickhouse.take() {
            part.kill();
        }
    }

    pub fn start_clickhouse(&mut self) {
        let folder = self.folder.join("clickhouse");
        self.clickhouse.get_or_insert_with(|| Part::start_at("clickhouse", &folder, self.clickhouse_port));
    }

    fn kill_kafka(&mut self) {
        if let Some(part) = self.kafka.take() {
            part.kill();
        }
    }

    fn start_kafka(&mut self) {
        let folder = self.folder.join("kafka");
        self.kafka.get_or_insert_with(|| Part::start_at("kafka", &folder, self.kafka_port));
    }
}

impl Drop for Servers {
    /// At once: an orderly end would go on writing to a folder that goes as well.
    fn drop(&mut self) {
        self.kill_clickhouse();
        self.kill_kafka();
    }
}

/// One run's deployment: its topics and tables, a gate before ClickHouse, and workers behind it.
pub struct Cluster<'a> {
    pub servers: &'a mut Servers,
    pub deployment: Arc<Deployment>,
    pub gate: Gate,
    workers: [Option<Child>; WORKERS],
    /// How long their output was when they were started.
    outputs_before: [u64; WORKERS],
    is_stalled: [bool; WORKERS],
    folder: PathBuf,
    /// Workers that ended unasked or with a failure, with the last line each of them wrote.
    pub failed_workers: Vec<String>,
}

impl<'a> Cluster<'a> {
    /// `folder` takes the workers' output.
    pub fn new(servers: &'a mut Servers, folder: PathBuf) -> Self {
        let (bootstrap, clickhouse_url) = (servers.bootstrap(), servers.clickhouse_url());
        let mut deployment = Deployment::on(&bootstrap, &clickhouse_url, "chaos", PARTITIONS, Delivery::ExactlyOnce);
        let gate = servers.gate();
        let config = &mut deployment.config;
        config.clickhouse.url = format!("http://{}", gate.address());
        config.clickhouse.timeout_ms = 5_000;
        // Many small flushes: whatever happens then falls anywhere between rows, notifications and commit.
        config.worker.flush_interval_ms = 20;
        fs::create_dir_all(&folder).unwrap();
        let mut cluster = Self {
            servers,
            deployment: Arc::new(deployment),
            gate,
            workers: [const { None }; WORKERS],
            outputs_before: [0; WORKERS],
            is_stalled: [false; WORKERS],
            folder,
            failed_workers: Vec::new(),
        };
        for worker in 0..WORKERS {
            cluster.start_worker(worker);
        }
        cluster
    }

    pub fn apply(&mut self, action: Action) {
        match action {
            Action::KillWorker(worker) => {
                if let Some(mut process) = self.workers[worker].take() {
                    process.kill().unwrap();
                    process.wait().unwrap();
                }
            }
            Action::StallWorker(worker) => {
                self.signal(worker, "STOP");
                self.is_stalled[worker] = true;
            }
            Action::ResumeWorker(worker) => {
                self.signal(worker, "CONT");
                self.is_stalled[worker] = false;
            }
            Action::StopWorker(worker) => self.end(worker, "TERM"),
            Action::LeaveWorker(worker) => self.end(worker, "USR1"),
            Action::StartWorker(worker) => self.start_worker(worker),
            Action::KillClickHouse => self.servers.kill_clickhouse(),
            Action::StartClickHouse => self.servers.start_clickhouse(),
            Action::KillKafka => self.kill_kafka(),
            Action::StartKafka => self.servers.start_kafka(),
            Action::BlockGate => self.gate.set(Passage::Blocked),
            Action::DelayGate(millis) => self.gate.set(Passage::Delayed(Duration::from_millis(millis))),
            Action::CutGate(bytes) => self.gate.set(Passage::CutAfter(bytes)),
            Action::OpenGate => self.gate.set(Passage::Open),
        }
    }

    /// Kills the broker while no transaction is between its decision and its markers; open ones there may be.
    ///
    /// Kafka 4.3.0 breaks its promise in between where the partitions written to have no other broker: the restarted
    /// coordinator finds them without a leader, takes them for deleted (`KRaftMetadataCache.getPartitionLeaderEndpoint`
    /// is empty then) and calls the transaction complete without marking it. The next transaction of the same producer
    /// then carries the records of the aborted one with it.
    fn kill_kafka(&mut self) {
        let running: Vec<usize> = (0..WORKERS).filter(|worker| !self.is_stalled[*worker]).collect();
        running.iter().for_each(|worker| self.signal(*worker, "STOP"));
        std::thread::sleep(TRANSACTIONS_END);
        self.servers.kill_kafka();
        running.iter().for_each(|worker| self.signal(*worker, "CONT"));
    }

    /// Everything is there again, and stays; but where nobody was sending while connections were to be cut, one is cut
    /// in the middle of what is written now.
    pub fn calm(&mut self) {
        self.gate.set(if self.gate.cuts() == 0 { Passage::CutAfter(0) } else { Passage::Open });
        self.servers.start_kafka();
        self.servers.start_clickhouse();
        self.supervise();
        for worker in 0..WORKERS {
            self.start_worker(worker);
        }
    }

    /// Starts workers again that ended by themselves, as whatever runs them in production does.
    pub fn supervise(&mut self) {
        for worker in 0..WORKERS {
            let Some(process) = &mut self.workers[worker] else { continue };
            if let Some(status) = process.try_wait().unwrap() {
                self.note_failure(worker, &format!("by itself with {status}"));
                self.workers[worker] = None;
                self.start_worker(worker);
            }
        }
    }

    /// Ends all workers in order; each has to end well.
    pub fn stop(&mut self) {
        for worker in 0..WORKERS {
            self.end(worker, "TERM");
        }
    }

    /// What `seenby verify` says of this run, where it does not find that log and tables agree.
    pub fn found_by_verify(&self) -> Option<String> {
        let mut verify = Command::new(env!("CARGO_BIN_EXE_seenby"));
        verify.arg("verify").envs(self.deployment.environment("verify"));
        let verified = verify.stdin(Stdio::null()).output().unwrap();
        let said = |output: &[u8]| String::from_utf8_lossy(output).into_owned();
        let is_clean = verified.status.success();
        (!is_clean).then(|| format!("seenby verify: {} {}", said(&verified.stdout), said(&verified.stderr)))
    }

    fn log_of(&self, worker: usize) -> PathBuf {
        self.folder.join(format!("{}.log", name_of(worker)))
    }

    fn start_worker(&mut self, worker: usize) {
        if self.workers[worker].is_some() {
            return;
        }
        let log = File::options().create(true).append(true).open(self.log_of(worker)).unwrap();
        self.outputs_before[worker] = log.metadata().unwrap().len();
        let mut command = Command::new(env!("CARGO_BIN_EXE_seenby"));
        command.arg("worker").envs(self.deployment.environment(&name_of(worker)));
        command.env("SEENBY__METRICS__LISTEN", "127.0.0.1:0").env("SEENBY__LOG__FORMAT", "json");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.workers[worker] = Some(command.spawn().unwrap());
    }

    fn signal(&self, worker: usize, signal: &str) {
        let Some(process) = &self.workers[worker] else { return };
        let id = process.id().to_string();
        // It may have ended by itself a moment ago.
        let _ = Command::new("kill").args(["-s", signal, &id]).stderr(Stdio::null()).status().unwrap();
    }

    /// Asks a worker to end and waits for it.
    fn end(&mut self, worker: usize, signal: &str) {
        let begun = Instant::now();
        // Before its first line a process need not listen for signals yet: it would die of this one, as any program does.
        while self.workers[worker].is_some() && !self.has_written(worker) && begun.elapsed() < STOP {
            std::thread::sleep(Duration::from_millis(10));
        }
        self.signal(worker, signal);
        let Some(mut process) = self.workers[worker].take() else { return };
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = process.try_wait().unwrap() {
                break status;
            }
            if begun.elapsed() > STOP {
                process.kill().unwrap();
                process.wait().unwrap();
                panic!(
                    "{} did not end within {STOP:?} of SIG{signal}: {}",
                    name_of(worker),
                    self.log_of(worker).display()
                );
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        if !status.success() {
            self.note_failure(worker, &format!("at SIG{signal} with {status}"));
        }
    }

    fn has_written(&self, worker: usize) -> bool {
        fs::metadata(self.log_of(worker)).unwrap().len() > self.outputs_before[worker]
    }

    fn note_failure(&mut self, worker: usize, how: &str) {
        let output = fs::read_to_string(self.log_of(worker)).unwrap();
        let last_line = output.lines().last().unwrap_or_default();
        self.failed_workers.push(format!("{} ended {how}: {last_line}", name_of(worker)));
    }
}

impl Drop for Cluster<'_> {
    fn drop(&mut self) {
        for process in self.workers.iter_mut().flatten() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn name_of(worker: usize) -> String {
    format!("worker-{}", worker + 1)
}
