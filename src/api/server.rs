//! Connections, their limits and their end.

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

use super::KeySourceError;
use crate::config::{Config, LEAST_TOKEN_BYTES};
use crate::observe::Telemetry;
use crate::store::watch_clickhouse;

/// How long a client may take to send the head of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// The most bytes of a request's head. Larger ones get 431 without a body from the protocol layer itself; between the
/// API's own limit and this one the answer is a document.
const HEAD_BYTES: usize = 64 * 1024;

/// How many connections are open at once; further ones wait to be accepted.
const MAX_CONNECTIONS: usize = 10_000;

/// How long a connection may serve requests; then it ends with the one under way.
const CONNECTION_LIFE: Duration = Duration::from_secs(60);

/// How long the last request of a connection may take, its answer read: a client that reads nothing would hold the
/// connection for ever.
const LAST_REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// How long requests that are under way may take to end when the server stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

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
    /// The keys of signed tokens cannot be used.
    #[error(transparent)]
    Keys(#[from] KeySourceError),
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
        serve(config, Telemetry::default(), listener, stop).await?;
        tracing::info!("the API has stopped");
        Ok(())
    })
}

/// Serves the API on a listener until `stop` ends, and keeps the conditions `clickhouse_answers` and `schema_current`
/// of the process's readiness up to date.
///
/// # Errors
/// [`ServerError::Keys`], before anything is served.
pub async fn serve(
    config: &Config,
    telemetry: Telemetry,
    listener: TcpListener,
    stop: impl Future<Output = ()>,
) -> Result<(), ServerError> {
    let router = super::router(config, &telemetry)?;
    warn_of_weak_settings(config);
    tokio::select! {
        () = accept(listener, router, stop) => {}
        () = watch_clickhouse(&config.clickhouse, &telemetry.readiness) => {}
    }
    Ok(())
}

/// What is allowed, but hardly ever meant.
fn warn_of_weak_settings(config: &Config) {
    let auth = &config.auth;
    if auth.tokens.is_empty() && !auth.jwt.is_on() {
        tracing::warn!("auth.tokens is empty and auth.jwt has no keys: every question for data is answered with 401");
    }
    for (index, token) in auth.tokens.iter().enumerate() {
        if !token.token.is_empty() && token.token.len() < LEAST_TOKEN_BYTES {
            tracing::warn!(
                "auth.tokens[{index}].token is shorter than {LEAST_TOKEN_BYTES} characters, which cannot hold the 128 \
                 random bits of a safe token"
            );
        }
    }
    if config.api.development_tokens {
        tracing::warn!(
            "api.development_tokens is on: whoever reaches this address gets a token of any user of any app, whatever his \
             password; turn it off anywhere but on your own machine"
        );
    }
    if auth.jwt.fetches_in_clear() {
        tracing::warn!("auth.jwt.jwks_url is http: whoever is on the way can put keys of his own in the answer");
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
                // The end of an answer must not wait for the acknowledgement of its beginning. Where this cannot be set,
                // answers are only slower.
                let _ = stream.set_nodelay(true);
                let bounds = (CONNECTION_LIFE, LAST_REQUEST_TIMEOUT);
                tokio::spawn(serve_connection(stream, router.clone(), stopped.clone(), bounds, permit));
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

/// Serves a connection for its life, or until the server stops, then its last request for no longer than the second bound.
async fn serve_connection(
    stream: TcpStream,
    router: Router,
    mut stopped: watch::Receiver<bool>,
    (life, last_request): (Duration, Duration),
    _permit: OwnedSemaphorePermit,
) {
    let service = router.map_request(|request: Request<hyper::body::Incoming>| request.map(Body::new));
    let service = TowerToHyperService::new(service.map_err(|never: Infallible| never));
    let mut protocol = http1::Builder::new();
    // A client that sends its request byte by byte, or none at all, does not hold the connection.
    protocol.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(HEAD_BYTES);
    let mut connection = pin!(protocol.serve_connection(TokioIo::new(stream), service));
    // The guard that the channel gives must not be held while the connection ends.
    let ending = tokio::time::timeout(life, async move { drop(stopped.wait_for(|stopped| *stopped).await) });
    let result = tokio::select! {
        result = connection.as_mut() => result,
        _ = ending => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(last_request, connection).await {
                Ok(result) => result,
                Err(_) => {
                    tracing::debug!("a connection was cut: its client did not read the answer");
                    return;
                }
            }
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended early");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::{Read as _, Write as _};

    use axum::routing::get;

    use super::*;

    const LIFE: Duration = Duration::from_millis(500);

    /// A client's end of a served connection, and the connections that are left: one, and none while it is open.
    async fn connected(router: Router) -> (std::net::TcpStream, Arc<Semaphore>, watch::Sender<bool>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (served, _) = listener.accept().await.unwrap();
        let connections = Arc::new(Semaphore::new(1));
        let permit = Arc::clone(&connections).acquire_owned().await.unwrap();
        let (stopping, stopped) = watch::channel(false);
        tokio::spawn(serve_connection(served, router, stopped, (LIFE, LIFE), permit));
        (client, connections, stopping)
    }

    #[tokio::test]
    async fn a_client_that_never_reads_does_not_keep_its_connection() {
        // More than the buffers of both ends hold.
        let large = Router::new().route("/", get(|| async { vec![b'a'; 64 << 20] }));
        let (mut client, connections, _stopping) = connected(large).await;
        client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        tokio::time::timeout(Duration::from_secs(10), connections.acquire()).await.unwrap().unwrap().forget();
    }

    #[tokio::test]
    async fn a_request_under_way_is_answered_beyond_the_connections_life() {
        let slow = Router::new().route(
            "/",
            get(|| async {
                tokio::time::sleep(LIFE * 5 / 4).await;
                "fine"
            }),
        );
        let (mut client, _connections, _stopping) = connected(slow).await;
        client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        let reading = tokio::task::spawn_blocking(move || {
            let mut answer = String::new();
            client.read_to_string(&mut answer).map(|_| answer)
        });
        let answer = reading.await.unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("fine"), "{answer}");
    }
}
