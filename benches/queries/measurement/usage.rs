//! What the parts use meanwhile, and how far the worker comes: from /proc and from its metrics.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::parts::{Part, Parts, series};

const SAMPLE: Duration = Duration::from_millis(500);

/// Clock ticks a second in /proc, on every Linux.
const TICKS: f64 = 100.0;

/// Watches a phase.
pub(super) struct Watch {
    begun: Instant,
    processes: Vec<(&'static str, u32)>,
    ticks: BTreeMap<&'static str, u64>,
    busy: u64,
    stopped: Arc<AtomicBool>,
    worker: JoinHandle<WorkerSeen>,
}

/// What was seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Usage {
    /// Processor time a second by part, in cores; `others` are processes that are none of the measurement's.
    pub(crate) cores: BTreeMap<&'static str, f64>,
    /// Records that the worker committed, a second.
    pub(crate) records_per_second: f64,
    /// The most records that waited in the log, of all partitions.
    pub(crate) most_lag_records: f64,
    /// The greatest age of a record folded last while others waited, in seconds.
    pub(crate) most_lag_seconds: f64,
}

#[derive(Default)]
struct WorkerSeen {
    first: Option<(Instant, f64)>,
    last: Option<(Instant, f64)>,
    most_lag_records: f64,
    most_lag_seconds: f64,
}

impl Watch {
    pub(super) fn begin(parts: &Parts, live: Option<&Part>) -> Self {
        let mut processes = vec![
            ("kafka", parts.kafka.id()),
            ("clickhouse", parts.clickhouse.id()),
            ("worker", parts.worker.id()),
            ("api", parts.api.id()),
            ("asking", std::process::id()),
        ];
        processes.extend(live.map(|live| ("simulate", live.id())));
        let stopped = Arc::new(AtomicBool::new(false));
        let (url, client, is_stopped) = (parts.metrics_url(), parts.client.clone(), Arc::clone(&stopped));
        let runtime = parts.runtime.handle().clone();
        let worker = thread::spawn(move || {
            let mut seen = WorkerSeen::default();
            loop {
                let is_last = is_stopped.load(Ordering::Relaxed);
                let text = runtime.block_on(async { client.get(&url).send().await.ok()?.text().await.ok() });
                seen.take(&text.unwrap_or_default());
                if is_last {
                    return seen;
                }
                thread::sleep(SAMPLE);
            }
        });
        let ticks = ticks_of(&processes);
        Self { begun: Instant::now(), processes, ticks, busy: busy_ticks(), stopped, worker }
    }

    pub(super) fn end(self) -> Usage {
        let seconds = self.begun.elapsed().as_secs_f64();
        let busy = busy_ticks().saturating_sub(self.busy);
        let mut cores = BTreeMap::new();
        let mut ours = 0;
        for (name, ticks) in ticks_of(&self.processes) {
            let used = ticks.saturating_sub(self.ticks.get(name).copied().unwrap_or(0));
            ours += used;
            cores.insert(name, used as f64 / TICKS / seconds);
        }
        cores.insert("others", busy.saturating_sub(ours) as f64 / TICKS / seconds);
        self.stopped.store(true, Ordering::Relaxed);
        let seen = self.worker.join().unwrap_or_default();
        let rate = |first: (Instant, f64), last: (Instant, f64)| {
            let between = (last.0 - first.0).as_secs_f64();
            if between > 0.0 { (last.1 - first.1) / between } else { 0.0 }
        };
        Usage {
            cores,
            records_per_second: seen.first.zip(seen.last).map_or(0.0, |(first, last)| rate(first, last)),
            most_lag_records: seen.most_lag_records,
            most_lag_seconds: seen.most_lag_seconds,
        }
    }
}

impl WorkerSeen {
    fn take(&mut self, metrics: &str) {
        let records: f64 = series(metrics, "seenby_records_total").sum();
        if records > 0.0 {
            self.last = Some((Instant::now(), records));
            self.first = self.first.or(self.last);
        }
        let lag: f64 = series(metrics, "seenby_lag_records").sum();
        self.most_lag_records = self.most_lag_records.max(lag);
        self.most_lag_seconds = series(metrics, "seenby_lag_seconds").fold(self.most_lag_seconds, f64::max);
    }
}

/// Resident memory of a process, in MiB.
pub(super) fn resident_mebibytes(process: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    let kibibytes = line.split_whitespace().next().and_then(|number| number.parse::<f64>().ok());
    kibibytes.unwrap_or(0.0) / 1024.0
}

fn ticks_of(processes: &[(&'static str, u32)]) -> BTreeMap<&'static str, u64> {
    let own = std::process::id();
    let with_children = |id: u32| if id == own { ticks(id) } else { ticks(id) + children(id).map(ticks).sum::<u64>() };
    processes.iter().map(|(name, id)| (*name, with_children(*id))).collect()
}

/// Processor time that a process has used so far.
fn ticks(process: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The name of the program stands in parentheses and may hold anything; user and system time are the 12th and 13th
    // behind it.
    let behind_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    behind_name.split_whitespace().skip(11).take(2).filter_map(|number| number.parse::<u64>().ok()).sum()
}

/// Those that a process has started: the broker's Java.
fn children(process: u32) -> impl Iterator<Item = u32> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<u32>>())
}

/// Processor time that the whole machine was not idle, and not taken by its host.
fn busy_ticks() -> u64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = stat.lines().next().unwrap_or_default();
    let times: Vec<u64> = line.split_whitespace().skip(1).filter_map(|number| number.parse().ok()).collect();
    // user, nice, system, (idle, waiting,) interrupts, soft interrupts
    [0, 1, 2, 5, 6].iter().filter_map(|index| times.get(*index)).sum()
}
