//! `/livez`, `/readyz` and `/metrics`.

use std::io;
use std::net::SocketAddr;
use std::thread::JoinHandle;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use prometheus::{Encoder as _, TextEncoder};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use utoipa::ToSchema;

use super::{Report, Telemetry};

/// Answer of a process that runs.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct Liveness {
    /// Always true: a process that cannot answer is told by its silence.
    pub live: bool,
}

/// The three routes, for any router.
pub fn routes(telemetry: Telemetry) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(telemetry)
}

/// Whether the process runs.
#[utoipa::path(get, path = "/livez", tag = "operation", responses((status = 200, description = "It runs.", body = Liveness)))]
pub(crate) async fn livez() -> Json<Liveness> {
    Json(Liveness { live: true })
}

/// Whether the process can do its work, and if not, why.
#[utoipa::path(get, path = "/readyz", tag = "operation", responses(
    (status = 200, description = "Every condition holds.", body = Report),
    (status = 503, description = "Some condition does not hold; its reason says why.", body = Report),
))]
pub(crate) async fn readyz(State(telemetry): State<Telemetry>) -> Response {
    let report = telemetry.readiness.report();
    let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(report)).into_response()
}

/// Metrics of the process in Prometheus's text format.
#[utoipa::path(get, path = "/metrics", tag = "operation", responses(
    (status = 200, description = "Metrics in Prometheus's text format.", body = String, content_type = "text/plain"),
))]
pub(crate) async fn metrics(State(telemetry): State<Telemetry>) -> Response {
    let encoder = TextEncoder::new();
    let mut text = Vec::new();
    match encoder.encode(&telemetry.registry.gather(), &mut text) {
        Ok(()) => ([(header::CONTENT_TYPE, encoder.format_type().to_owned())], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be written as text: two of them contradict each other");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Why the routes cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; is another process there? set metrics.listen or api.listen")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The thread or its event loop cannot be started.
    #[error("cannot start serving metrics: {0}")]
    Start(#[source] io::Error),
}

/// A running server of the three routes; it stops when this is dropped.
#[derive(Debug)]
pub struct BackgroundServer {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl BackgroundServer {
    /// Where it listens; with the port that the system chose where 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for BackgroundServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been told by the thread itself.
            let _ = thread.join();
        }
    }
}

/// Serves the three routes on a thread of their own, so that a worker needs no event loop.
///
/// # Errors
/// [`ServeError`], before anything is served.
pub fn serve_in_background(address: SocketAddr, telemetry: Telemetry) -> Result<BackgroundServer, ServeError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ServeError::Start)?;
    let listen_error = |source| ServeError::Listen { address, source };
    let listener = runtime.block_on(TcpListener::bind(address)).map_err(listen_error)?;
    let address = listener.local_addr().map_err(listen_error)?;
    let (stop, stopped) = oneshot::channel::<()>();
    let serve = move || {
        runtime.block_on(async {
            // Open connections are cut: whoever scrapes tries again.
            tokio::select! {
                result = axum::serve(listener, routes(telemetry)) => {
                    if let Err(error) = result {
                        tracing::error!(%error, "metrics are not served any more");
                    }
                }
                _ = stopped => {}
            }
        });
    };
    let thread = std::thread::Builder::new().name("metrics".to_owned()).spawn(serve).map_err(ServeError::Start)?;
    Ok(BackgroundServer { address, stop: Some(stop), thread: Some(thread) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    async fn fetch(address: SocketAddr, path: &str) -> (u16, String) {
        let answer = reqwest::get(format!("http://{address}{path}")).await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    #[tokio::test]
    async fn a_worker_without_event_loop_serves_its_metrics_and_health() {
        let telemetry = Telemetry::default();
        let counter = prometheus::IntCounter::new("seenby_things_total", "Things.").unwrap();
        telemetry.registry.register(Box::new(counter.clone())).unwrap();
        counter.inc_by(3);
        let condition = telemetry.readiness.condition("kafka_assigned");
        let free_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = tokio::task::spawn_blocking(move || serve_in_background(free_port, telemetry));
        let server = server.await.unwrap().unwrap();

        assert_eq!(fetch(server.address(), "/livez").await, (200, r#"{"live":true}"#.to_owned()));
        condition.unmet("waits for partitions");
        let (status, body) = fetch(server.address(), "/readyz").await;
        assert_eq!(status, 503);
        assert!(body.contains("waits for partitions"), "{body}");
        condition.met();
        assert_eq!(fetch(server.address(), "/readyz").await.0, 200);
        assert!(fetch(server.address(), "/metrics").await.1.contains("seenby_things_total 3"));

        let address = server.address();
        tokio::task::spawn_blocking(move || drop(server)).await.unwrap();
        assert!(reqwest::get(format!("http://{address}/livez")).await.is_err(), "it has stopped");
    }
}
