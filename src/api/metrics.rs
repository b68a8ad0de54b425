//! Metrics of the API: how they are registered, and those of every request.

use std::time::Duration;

use axum::http::StatusCode;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts};

use crate::observe::Telemetry;

/// Requests by route and status, and how long they took.
#[derive(Clone, Debug)]
pub(crate) struct RequestMetrics {
    requests: IntCounterVec,
    seconds: HistogramVec,
}

impl RequestMetrics {
    pub(crate) fn new(telemetry: &Telemetry) -> Self {
        let requests = Opts::new("seenby_api_requests_total", "Requests answered, by route and status.");
        let seconds = HistogramOpts::new("seenby_api_request_seconds", "Time to answer a request, by route.")
            .buckets(vec![0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]);
        Self {
            requests: register(telemetry, IntCounterVec::new(requests, &["route", "status"])),
            seconds: register(telemetry, HistogramVec::new(seconds, &["route"])),
        }
    }

    /// Counts an answer.
    pub(crate) fn answered(&self, route: &str, status: StatusCode, elapsed: Duration) {
        self.requests.with_label_values(&[route, status.as_str()]).inc();
        self.seconds.with_label_values(&[route]).observe(elapsed.as_secs_f64());
    }
}

/// Registers a metric.
///
/// # Panics
/// Where the metric's name or labels are wrong, or it was registered before: a defect that every start would show.
#[expect(clippy::panic, reason = "at start-up only, from constants")]
pub(crate) fn register<M: prometheus::core::Collector + Clone + 'static>(
    telemetry: &Telemetry,
    metric: Result<M, prometheus::Error>,
) -> M {
    let registered = metric.and_then(|metric| {
        telemetry.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    });
    match registered {
        Ok(metric) => metric,
        Err(error) => panic!("a metric of the API cannot be registered: {error}"),
    }
}
