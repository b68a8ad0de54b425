//! Connections, and the watch over ClickHouse.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tower::ServiceExt as _;

use crate::config::Config;
use crate::observe::Telemetry;
use crate::store::{StoreError, check_schema, connect};

/// How long a client may take to send the head of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// The most bytes of a request's head. Larger ones get 431 without a body from the protocol layer itself; between the
/// API's own limit and this one the answer is a document.
const HEAD_BYTES: usize = 64 * 1024;

/// How many connections are open at once; further ones wait to be accepted.
const MAX_CONNECTIONS: usize = 10_000;

/// How long requests that are under way may take to end when the server stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// How often ClickHouse is asked whether it answers.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);

/// How long to wait where no connection can be accepted: out of file descriptors, mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why the API cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; is another process there? set api.listen")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The process cannot set itself up.
    #[error("cannot start the API: {0}")]
    Start(#[source] io::Error),
}

/// `seenby api`: serves until SIGTERM or SIGINT, then ends what is under way.
///
/// # Errors
/// [`ServerError`], before anything is served.
pub fn run(config: &Config) -> Result<(), ServerError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(ServerError::Start)?;
    runtime.block_on(async {
        let address = config.api.listen;
        let listener = TcpListener::bind(address).await.map_err(|source| ServerError::Listen { address, source })?;
        let mut terminated =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).map_err(ServerError::Start)?;
        tracing::info!(address = %listener.local_addr().unwrap_or(address), "the API listens");
        let stop = async move {
            tokio::select! {
                _ = terminated.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
        };
        serve(config, Telemetry::default(), listener, stop).await;
        tracing::info!("the API has stopped");
        Ok(())
    })
}

/// Serves the API on a listener until `stop` ends, and keeps the conditions `clickhouse_answers` and `schema_current`
/// of the process's readiness up to date.
pub async fn serve(config: &Config, telemetry: Telemetry, listener: TcpListener, stop: impl Future<Output = ()>) {
    let router = super::router(config, &telemetry);
    tokio::select! {
        () = accept(listener, router, stop) => {}
        () = watch_clickhouse(config, &telemetry) => {}
    }
}

/// Accepts connections until `stop` ends, then waits for requests under way, but no longer than [`DRAIN_TIMEOUT`].
async fn accept(listener: TcpListener, router: Router, stop: impl Future<Output = ()>) {
    let mut stop = pin!(stop);
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let (stopping, stopped) = watch::channel(false);
    loop {
        let next = async {
            let permit = Arc::clone(&connections).acquire_owned().await;
            (listener.accept().await, permit)
        };
        let (accepted, permit) = tokio::select! {
            () = &mut stop => break,
            next = next => next,
        };
        match (accepted, permit) {
            (Ok((stream, _)), Ok(permit)) => {
                tokio::spawn(serve_connection(stream, router.clone(), stopped.clone(), permit));
            }
            (Err(error), _) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
            // The semaphore is never closed.
            (_, Err(_)) => break,
        }
    }
    drop(listener);
    let _ = stopping.send(true);
    let all = u32::try_from(MAX_CONNECTIONS).unwrap_or(u32::MAX);
    if tokio::time::timeout(DRAIN_TIMEOUT, connections.acquire_many(all)).await.is_err() {
        tracing::warn!("some requests were cut: they did not end within {} s", DRAIN_TIMEOUT.as_secs());
    }
}

async fn serve_connection(
    stream: TcpStream,
    router: Router,
    mut stopped: watch::Receiver<bool>,
    _permit: OwnedSemaphorePermit,
) {
    let service = router.map_request(|request: Request<hyper::body::Incoming>| request.map(Body::new));
    let service = TowerToHyperService::new(service.map_err(|never: Infallible| never));
    let mut protocol = http1::Builder::new();
    // A client that sends its request byte by byte, or none at all, does not hold the connection.
    protocol.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(HEAD_BYTES);
    let mut connection = pin!(protocol.serve_connection(TokioIo::new(stream), service));
    // The guard that the channel gives must not be held while the connection ends.
    let stopping = async move { drop(stopped.wait_for(|stopped| *stopped).await) };
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = stopping => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Asks ClickHouse again and again whether it answers with the schema that this binary was made for. Never ends.
async fn watch_clickhouse(config: &Config, telemetry: &Telemetry) {
    let answers = telemetry.readiness.condition("clickhouse_answers");
    let schema = telemetry.readiness.condition("schema_current");
    loop {
        match check_schema(&config.clickhouse, &connect(&config.clickhouse)).await {
            Ok(()) => {
                answers.met();
                schema.met();
            }
            Err(
                error @ (StoreError::SchemaOlder { .. }
                | StoreError::SchemaNewer { .. }
                | StoreError::SchemaDiffers { .. }),
            ) => {
                answers.met();
                schema.unmet(error.to_string());
            }
            Err(error) => {
                answers.unmet(error.to_string());
                schema.unmet("unknown while ClickHouse does not answer");
            }
        }
        tokio::time::sleep(WATCH_INTERVAL).await;
    }
}
