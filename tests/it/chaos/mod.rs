//! Chaos with real processes: Kafka, ClickHouse, three workers and traffic, while a seeded schedule kills, stalls and cuts
//! whatever there is. Afterwards everything that seenby gave out is compared with the plain fold of the log.
//!
//! `make test` runs one short schedule; `make chaos SEED=… RUNS=… KILLS=…` runs long ones of the same kind.

mod agreement;
mod outage;
mod parts;
mod schedule;
mod traffic;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parts::{Cluster, PARTITIONS, Servers};
use schedule::{Action, WORKERS, schedule};

/// Records a second.
const RATE: u32 = 1_500;

/// How long everything may take to be read, written and committed once nothing goes wrong any more.
const CALM: Duration = Duration::from_secs(180);

/// How many differences a failure prints.
const SHOWN: usize = 40;

/// What happened in a run.
#[derive(Debug, Default)]
struct Report {
    done: BTreeMap<&'static str, u64>,
    kills: u64,
    records: u64,
    notifications: u64,
    rejections: u64,
    connections_cut: u64,
    /// From the end of the schedule until everything was committed.
    seconds_to_calm: u64,
    failed_workers: Vec<String>,
    differences: Vec<String>,
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

#[test]
#[allow(clippy::print_stderr)]
fn whatever_is_killed_stalled_or_cut_nothing_is_lost_and_nothing_is_doubled() {
    let first_seed = number("SEENBY_CHAOS_SEED", 1);
    let runs = number("SEENBY_CHAOS_RUNS", 1);
    let kills = number("SEENBY_CHAOS_KILLS", 3) as usize;
    let mut folder = tempfile::Builder::new().prefix("seenby-chaos-").tempdir().unwrap();
    // Data and logs are what a failure is understood from.
    folder.disable_cleanup(true);
    eprintln!("data and logs of the parts: {}", folder.path().display());
    let mut servers = Servers::start(folder.path());
    let mut totals = Report::default();
    for seed in first_seed..first_seed + runs {
        let begun = Instant::now();
        let report = run(&mut servers, &folder.path().join(format!("seed-{seed}")), seed, kills);
        eprintln!("seed {seed}, {} s: {report:#?}", begun.elapsed().as_secs());
        assert_eq!(report.differences, [""; 0], "seed {seed}");
        // A worker that starts while its broker is away says so and ends, to be started again.
        let unexpected: Vec<&String> =
            report.failed_workers.iter().filter(|failed| !failed.contains("is Kafka up")).collect();
        assert_eq!(unexpected, [""; 0], "seed {seed}");
        totals.add(report);
    }
    folder.disable_cleanup(false);
    eprintln!("in all, from seed {first_seed} on: {totals:#?}");
}

fn run(servers: &mut Servers, folder: &Path, seed: u64, kills: usize) -> Report {
    let mut cluster = Cluster::new(servers, folder.to_path_buf());
    let deployment = Arc::clone(&cluster.deployment);
    let mut report = Report::default();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| traffic::send(&deployment, seed, RATE, &is_over));
        // The traffic has to end as well where this fails.
        let _over = SetAtEnd(&is_over);
        let mut now = Duration::ZERO;
        for step in schedule(seed, kills) {
            let wait = step.at - now;
            let begun = Instant::now();
            while begun.elapsed() < wait {
                cluster.supervise();
                thread::sleep(Duration::from_millis(20).min(wait.saturating_sub(begun.elapsed())));
            }
            // What takes long moves all that follows: nothing is done in a burst to parts that have just come back.
            cluster.apply(step.action);
            report.note(step.action);
            now = step.at;
        }
        cluster.calm();
    });
    let ended = Instant::now();
    deployment.wait_for_delivery();
    let begun = Instant::now();
    while let Some(behind) = deployment.behind() {
        cluster.supervise();
        assert!(begun.elapsed() < CALM, "seed {seed}: {behind}; logs in {folder:?}");
        thread::sleep(Duration::from_millis(100));
    }
    report.seconds_to_calm = ended.elapsed().as_secs();
    cluster.stop();

    let events = deployment.events();
    let plain = agreement::plain_fold_of(&events, PARTITIONS);
    report.records = plain.records;
    report.notifications = plain.notifications.len() as u64;
    report.rejections = plain.rejections.len() as u64;
    report.differences = agreement::differences(&deployment, &plain);
    report.differences.truncate(SHOWN);
    report.differences.extend(cluster.found_by_verify());
    // A row that nobody wrote is noticed: the comparison above sees what it looks at.
    if report.differences.is_empty() {
        deployment.execute("INSERT INTO receipts SELECT * REPLACE ('nobody' AS reader) FROM receipts LIMIT 1");
        let found = agreement::differences(&deployment, &plain);
        assert!(found.iter().any(|difference| difference.contains("nobody")), "{found:?}");
    }
    report.connections_cut = cluster.gate.cuts();
    // Every schedule cuts; one that never met a connection would prove nothing about them.
    assert!(report.connections_cut > 0, "seed {seed}: no connection was cut: {report:#?}");
    report.failed_workers = std::mem::take(&mut cluster.failed_workers);
    report
}

/// Sets the flag when it goes out of scope, by panic too.
struct SetAtEnd<'a>(&'a AtomicBool);

impl Drop for SetAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Report {
    fn note(&mut self, action: Action) {
        if let Some(kind) = action.kind() {
            *self.done.entry(kind).or_default() += 1;
        }
        self.kills += u64::from(action.is_kill());
    }

    fn add(&mut self, other: Self) {
        other.done.into_iter().for_each(|(kind, count)| *self.done.entry(kind).or_default() += count);
        self.kills += other.kills;
        self.records += other.records;
        self.notifications += other.notifications;
        self.rejections += other.rejections;
        self.connections_cut += other.connections_cut;
        self.seconds_to_calm = self.seconds_to_calm.max(other.seconds_to_calm);
        self.failed_workers.extend(other.failed_workers);
    }
}

#[test]
fn a_gate_breaks_a_connection_after_so_many_bytes_and_holds_one_back() {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};

    use crate::support::gate::{Gate, Passage};

    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let gate = Gate::before(server.local_addr().unwrap());
    gate.set(Passage::CutAfter(70_000));
    let mut client = TcpStream::connect(gate.address()).unwrap();
    let (mut accepted, _) = server.accept().unwrap();
    // Where the connection breaks before all is sent, so much the better.
    let sender = thread::spawn(move || _ = client.write_all(&[7; 1_000_000]));
    let mut received = Vec::new();
    let _ = accepted.read_to_end(&mut received);
    sender.join().unwrap();
    assert_eq!((received.len(), gate.cuts()), (70_000, 1));

    gate.set(Passage::Blocked);
    let mut client = TcpStream::connect(gate.address()).unwrap();
    let (mut accepted, _) = server.accept().unwrap();
    client.write_all(b"late").unwrap();
    accepted.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut received = [0; 4];
    assert!(accepted.read_exact(&mut received).is_err());
    accepted.set_read_timeout(None).unwrap();
    gate.set(Passage::Open);
    accepted.read_exact(&mut received).unwrap();
    assert_eq!(&received, b"late");
}

#[test]
fn a_schedule_follows_from_its_seed_and_takes_nothing_away_that_is_away() {
    for seed in 0..200 {
        let steps = schedule(seed, 12);
        assert_eq!(steps, schedule(seed, 12));
        assert!(steps.iter().filter(|step| step.action.is_kill()).count() >= 12);
        let (mut workers, mut clickhouse, mut kafka, mut gate) = ([true; WORKERS], true, true, true);
        for step in steps {
            let (is_there, comes_back) = match step.action {
                Action::KillWorker(worker)
                | Action::StallWorker(worker)
                | Action::StopWorker(worker)
                | Action::LeaveWorker(worker) => (&mut workers[worker], false),
                Action::ResumeWorker(worker) | Action::StartWorker(worker) => (&mut workers[worker], true),
                Action::KillClickHouse => (&mut clickhouse, false),
                Action::StartClickHouse => (&mut clickhouse, true),
                Action::KillKafka => (&mut kafka, false),
                Action::StartKafka => (&mut kafka, true),
                Action::BlockGate | Action::DelayGate(_) | Action::CutGate(_) => (&mut gate, false),
                Action::OpenGate => (&mut gate, true),
            };
            assert_eq!(*is_there, !comes_back, "seed {seed}: {step:?}");
            *is_there = comes_back;
        }
        assert!(workers.iter().all(|is_there| *is_there) && clickhouse && kafka && gate);
    }
    assert_ne!(schedule(1, 12), schedule(2, 12));
}
