//! What a worker tells Prometheus. Names begin with `seenby_` and end with their unit.

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use crate::event::EventType;
use crate::fold::Outcome;

/// All metrics of the workers of one process; a cheap copy.
#[derive(Clone, Debug)]
pub struct WorkerMetrics {
    /// Records whose flush is committed, by type and outcome.
    pub records: IntCounterVec,
    /// Waits that ended, by type and outcome.
    pub settled: IntCounterVec,
    /// Duration of the stages of a flush: insert, commit, total (from its first record on).
    pub flush_seconds: HistogramVec,
    /// Records a flush.
    pub flush_records: Histogram,
    /// Bytes of rows a flush.
    pub flush_bytes: Histogram,
    /// From a message's sending to its reading, of counted reads.
    pub send_to_read_seconds: Histogram,
    /// Records in the log behind what is folded, by partition.
    pub lag_records: IntGaugeVec,
    /// Age of the record folded last while there is lag, else 0, by partition.
    pub lag_seconds: IntGaugeVec,
    /// Bytes of state, by pipeline.
    pub state_bytes: IntGaugeVec,
    /// Whether the input is paused, by pipeline.
    pub intake_paused: IntGaugeVec,
    /// Whether a flush is refused and somebody must act, by pipeline.
    pub flush_refused: IntGaugeVec,
    /// Rebalances, by change.
    pub rebalances: IntCounterVec,
    /// Repetitions, by stage: insert, commit, hydrate.
    pub retries: IntCounterVec,
    /// Pipelines started again after a failure.
    pub restarts: IntCounter,
    /// Rows read back.
    pub hydration_rows: IntCounter,
    /// Duration of hydrations.
    pub hydration_seconds: Histogram,
    /// Partitions that are being read back.
    pub hydrating_partitions: IntGauge,
    /// Partitions whose log was folded again because the tables lagged behind what is committed.
    pub replays: IntCounter,
    /// Records folded again so.
    pub replayed_records: IntCounter,
    /// Partitions that are read.
    pub partitions: IntGauge,
    /// Cleanings of the tables, by `result`: `ok` or `failed`.
    pub janitor_runs: IntCounterVec,
    /// Weeks dropped, by `table`.
    pub janitor_weeks: IntCounterVec,
    /// Flush boundaries taken out of the ledger.
    pub janitor_boundaries: IntCounter,
    /// Erasures carried out in the tables, by `result`: `ok` or `failed`.
    pub erasures: IntCounterVec,
    /// Rows about erased users that were found in front of their erasures.
    pub erased_rows: IntCounter,
}

impl WorkerMetrics {
    /// Makes and registers them.
    ///
    /// # Errors
    /// A name that is registered already: one process has one set.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counters = |name: &str, help: &str, labels: &[&str]| -> prometheus::Result<IntCounterVec> {
            let metric = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let counter = |name: &str, help: &str| -> prometheus::Result<IntCounter> {
            let metric = IntCounter::new(name, help)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let gauges = |name: &str, help: &str, labels: &[&str]| -> prometheus::Result<IntGaugeVec> {
            let metric = IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let histogram = |name: &str, help: &str, buckets: Vec<f64>| -> prometheus::Result<Histogram> {
            let metric = Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets))?;
            registry.register(Box::new(metric.clone()))?;
            Ok(metric)
        };
        let flush_seconds = HistogramVec::new(
            HistogramOpts::new("seenby_flush_seconds", "Duration of a flush by stage: insert, commit, total")
                .buckets(prometheus::exponential_buckets(0.002, 2.0, 15)?),
            &["stage"],
        )?;
        registry.register(Box::new(flush_seconds.clone()))?;
        let partitions = IntGauge::new("seenby_partitions", "Partitions that this process reads")?;
        registry.register(Box::new(partitions.clone()))?;
        let hydrating_partitions =
            IntGauge::new("seenby_hydrating_partitions", "Partitions whose state is being read back")?;
        registry.register(Box::new(hydrating_partitions.clone()))?;
        Ok(Self {
            records: counters(
                "seenby_records_total",
                "Records consumed and committed, by type and outcome",
                &["type", "outcome"],
            )?,
            settled: counters(
                "seenby_settled_total",
                "Parked records settled, by type and outcome",
                &["type", "outcome"],
            )?,
            flush_seconds,
            flush_records: histogram(
                "seenby_flush_records",
                "Records in a flush",
                prometheus::exponential_buckets(1.0, 4.0, 10)?,
            )?,
            flush_bytes: histogram(
                "seenby_flush_bytes",
                "Bytes of rows in a flush",
                prometheus::exponential_buckets(1024.0, 4.0, 10)?,
            )?,
            // A second to a quarter: reads come within seconds or after days.
            send_to_read_seconds: histogram(
                "seenby_send_to_read_seconds",
                "From sending to reading, of counted reads",
                prometheus::exponential_buckets(1.0, 2.0, 23)?,
            )?,
            lag_records: gauges("seenby_lag_records", "Records of the log not folded yet", &["partition"])?,
            lag_seconds: gauges(
                "seenby_lag_seconds",
                "Age of the record folded last while others wait",
                &["partition"],
            )?,
            state_bytes: gauges("seenby_state_bytes", "Bytes of read state in memory", &["thread"])?,
            intake_paused: gauges("seenby_intake_paused", "1 while the input is paused", &["thread"])?,
            flush_refused: gauges(
                "seenby_flush_refused",
                "1 while ClickHouse or Kafka refuses a flush and somebody must act",
                &["thread"],
            )?,
            rebalances: counters("seenby_rebalances_total", "Rebalances, by change", &["change"])?,
            retries: counters("seenby_retries_total", "Repetitions, by stage", &["stage"])?,
            restarts: counter("seenby_pipeline_restarts_total", "Pipelines started again after a failure")?,
            hydration_rows: counter("seenby_hydration_rows_total", "Rows read back into state")?,
            hydration_seconds: histogram(
                "seenby_hydration_seconds",
                "Duration of a hydration",
                prometheus::exponential_buckets(0.01, 2.0, 15)?,
            )?,
            hydrating_partitions,
            replays: counter(
                "seenby_replays_total",
                "Partitions whose log was folded again, as ClickHouse lagged behind what is committed",
            )?,
            replayed_records: counter("seenby_replayed_records_total", "Records folded again up to what is committed")?,
            partitions,
            janitor_runs: counters("seenby_janitor_runs_total", "Cleanings of the tables, by result", &["result"])?,
            janitor_weeks: counters("seenby_janitor_weeks_total", "Weeks dropped behind the retention", &["table"])?,
            janitor_boundaries: counter(
                "seenby_janitor_boundaries_total",
                "Flush boundaries taken out of closed hours of the ledger",
            )?,
            erasures: counters("seenby_erasures_total", "Erasures carried out in the tables, by result", &["result"])?,
            erased_rows: counter("seenby_erased_rows_total", "Rows taken out in front of erasures")?,
        })
    }
}

const TYPES: usize = 11;
const OUTCOMES: usize = Outcome::ALL.len();

/// Outcomes by type, gathered while folding and published when the flush is committed: what is folded again after a
/// failure is not counted twice.
#[derive(Clone, Debug)]
pub struct OutcomeTally {
    counts: [[u64; OUTCOMES]; TYPES],
}

impl Default for OutcomeTally {
    fn default() -> Self {
        Self { counts: [[0; OUTCOMES]; TYPES] }
    }
}

impl OutcomeTally {
    /// Counts one.
    pub fn add(&mut self, event_type: Option<EventType>, outcome: Outcome) {
        let row = event_type.map_or(0, |event_type| event_type as usize + 1);
        if let Some(count) = self.counts.get_mut(row).and_then(|counts| counts.get_mut(outcome as usize)) {
            *count += 1;
        }
    }

    /// Adds them to a counter with the labels type and outcome.
    pub fn publish(&self, counter: &IntCounterVec) {
        let types = std::iter::once("").chain(EVERY_TYPE.iter().map(|event_type| event_type.name()));
        for (event_type, counts) in types.zip(&self.counts) {
            for (outcome, count) in Outcome::ALL.iter().zip(counts) {
                if *count > 0 {
                    counter.with_label_values(&[event_type, outcome.name()]).inc_by(*count);
                }
            }
        }
    }
}

/// In the order of declaration, which is that of the tally's rows.
const EVERY_TYPE: [EventType; TYPES - 1] = [
    EventType::Message,
    EventType::Delivered,
    EventType::Read,
    EventType::ConversationRead,
    EventType::Recall,
    EventType::Member,
    EventType::Roster,
    EventType::GroupDestroyed,
    EventType::Policy,
    EventType::Erase,
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_tally_publishes_each_count_under_its_own_labels() {
        let registry = Registry::new();
        let metrics = WorkerMetrics::register(&registry).unwrap();
        let mut tally = OutcomeTally::default();
        for event_type in std::iter::once(None).chain(EVERY_TYPE.map(Some)) {
            for outcome in Outcome::ALL {
                tally.add(event_type, outcome);
            }
        }
        tally.add(Some(EventType::Erase), Outcome::Stale);
        tally.add(None, Outcome::Malformed);
        tally.publish(&metrics.records);
        assert_eq!(metrics.records.with_label_values(&["erase", "stale"]).get(), 2);
        assert_eq!(metrics.records.with_label_values(&["", "malformed"]).get(), 2);
        assert_eq!(metrics.records.with_label_values(&["read", "counted"]).get(), 1);
        assert_eq!(metrics.records.with_label_values(&["message", "malformed"]).get(), 1);
    }
}
