//! What was measured, as tables.

use std::collections::BTreeMap;
use std::fmt;

use super::Settings;
use super::export::Exported;
use super::parts::Loaded;
use super::phase::{Kind, Measured};
use super::usage::Usage;

/// Everything that was measured.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    settings: Settings,
    /// What the store held before the live traffic.
    pub(crate) loaded: Loaded,
    /// By phase and kind, in order.
    pub(crate) phases: Vec<(&'static str, BTreeMap<Kind, Measured>, Usage)>,
    /// By format.
    pub(crate) exports: Vec<Exported>,
}

impl Report {
    pub(super) fn new(settings: &Settings, loaded: Loaded) -> Self {
        Self { settings: settings.clone(), loaded, phases: Vec::new(), exports: Vec::new() }
    }

    pub(super) fn add_phase(&mut self, name: &'static str, measured: BTreeMap<Kind, Measured>, usage: Usage) {
        self.phases.push((name, measured, usage));
    }

    pub(super) fn add_export(&mut self, exported: Exported) {
        self.exports.push(exported);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Loaded { messages, receipts, days } = self.loaded;
        writeln!(formatter, "store: {messages} messages, {receipts} receipts over {days} days\n")?;
        writeln!(
            formatter,
            "| phase | asked | answers | a second | p50 ms | p90 ms | p99 ms | max ms | KiB an answer | others |"
        )?;
        writeln!(formatter, "|---|---|---|---|---|---|---|---|---|---|")?;
        for (name, measured, _) in &self.phases {
            for (kind, measured) in measured {
                self.write_measured(formatter, name, *kind, measured)?;
            }
        }
        writeln!(formatter)?;
        self.write_usage(formatter)?;
        self.write_exports(formatter)
    }
}

impl Report {
    fn write_measured(
        &self,
        formatter: &mut fmt::Formatter<'_>,
        phase: &str,
        kind: Kind,
        measured: &Measured,
    ) -> fmt::Result {
        let kind = match kind {
            Kind::List => "list".to_owned(),
            Kind::Batch => format!("batch of {}", self.settings.batch_items),
        };
        let millis = |micros: u64| micros as f64 / 1_000.0;
        let at = |quantile| millis(measured.latency.value_at_quantile(quantile));
        let others: Vec<String> = measured.others.iter().map(|(name, count)| format!("{count} × {name}")).collect();
        writeln!(
            formatter,
            "| {phase} | {kind} | {} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} | {} |",
            measured.answers,
            measured.latency.len() as f64 / self.settings.seconds as f64,
            at(0.5),
            at(0.9),
            at(0.99),
            millis(measured.latency.max()),
            measured.bytes as f64 / 1_024.0 / measured.answers.max(1) as f64,
            if others.is_empty() { "none".to_owned() } else { others.join(", ") },
        )
    }

    fn write_usage(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "| phase | worker, records a second | most lag, records | most lag, s | cores |")?;
        writeln!(formatter, "|---|---|---|---|---|")?;
        for (name, _, usage) in &self.phases {
            let cores: Vec<String> = usage.cores.iter().map(|(part, cores)| format!("{part} {cores:.2}")).collect();
            let Usage { records_per_second, most_lag_records, most_lag_seconds, .. } = usage;
            writeln!(
                formatter,
                "| {name} | {records_per_second:.0} | {most_lag_records:.0} | {most_lag_seconds:.1} | {} |",
                cores.join(", ")
            )?;
        }
        writeln!(formatter)
    }

    fn write_exports(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.exports.is_empty() {
            return Ok(());
        }
        writeln!(
            formatter,
            "| export of receipts | rows | in ClickHouse | slices | MiB | s | API resident before, least, most, after, MiB |"
        )?;
        writeln!(formatter, "|---|---|---|---|---|---|---|")?;
        for exported in &self.exports {
            let (least, most) = exported.memory_meanwhile;
            writeln!(
                formatter,
                "| {} | {} | {} | {} | {:.0} | {:.1} | {:.1}, {least:.1}, {most:.1}, {:.1} |",
                exported.format,
                exported.rows,
                exported.expected_rows,
                exported.slices,
                exported.bytes as f64 / 1_048_576.0,
                exported.elapsed.as_secs_f64(),
                exported.memory_before,
                exported.memory_after,
            )?;
        }
        Ok(())
    }
}
