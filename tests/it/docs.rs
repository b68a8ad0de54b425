//! What the pages for operators name is there.

use std::collections::BTreeSet;

use prometheus::Registry;
use seenby::config::Config;
use seenby::observe::Telemetry;
use seenby::worker::WorkerMetrics;

const PAGE: &str = include_str!("../../docs/operations.md");

fn words_that_begin_with<'a>(text: &'a str, prefix: &str) -> BTreeSet<&'a str> {
    let is_part = |character: char| character.is_ascii_alphanumeric() || character == '_' || character == '.';
    text.split(|character| !is_part(character))
        .map(|word| word.trim_end_matches('.'))
        .filter(|word| word.starts_with(prefix))
        .collect()
}

#[test]
fn every_metric_of_the_page_is_one() {
    let registry = Registry::new();
    let metrics = WorkerMetrics::register(&registry).unwrap();
    // Families without a member are not gathered.
    metrics.flush_refused.with_label_values(&["0"]).set(0);
    metrics.intake_paused.with_label_values(&["0"]).set(0);
    metrics.state_bytes.with_label_values(&["0"]).set(0);
    metrics.lag_records.with_label_values(&["0"]).set(0);
    metrics.lag_seconds.with_label_values(&["0"]).set(0);
    metrics.rebalances.with_label_values(&["lost"]).inc();
    metrics.retries.with_label_values(&["insert"]).inc();
    metrics.janitor_runs.with_label_values(&["failed"]).inc();
    metrics.erasures.with_label_values(&["failed"]).inc();
    metrics.records.with_label_values(&["read", "counted"]).inc();
    metrics.settled.with_label_values(&["read", "counted"]).inc();
    let telemetry = Telemetry { registry, ..Telemetry::default() };
    drop(seenby::api::router(&Config::default(), &telemetry).unwrap());
    let requests = ["seenby_api_requests_total", "seenby_api_request_seconds"];
    let families = telemetry.registry.gather();
    // Those of requests have a member with the first one.
    let known: BTreeSet<&str> = families.iter().map(|family| family.name()).chain(requests).collect();
    let named = words_that_begin_with(PAGE, "seenby_");
    assert!(named.len() >= 10, "{named:?}");
    assert!(named.is_subset(&known), "{:?}", named.difference(&known));
}

#[test]
fn every_setting_of_the_page_is_one() {
    let printed = seenby::config::Config::default().to_documented_toml();
    let named: BTreeSet<&str> =
        ["worker.", "kafka.", "api."].into_iter().flat_map(|table| words_that_begin_with(PAGE, table)).collect();
    assert!(named.len() >= 6, "{named:?}");
    for name in named {
        let key = name.rsplit('.').next().unwrap();
        assert!(printed.lines().any(|line| line.starts_with(&format!("{key} ="))), "{name} is no setting");
    }
}
