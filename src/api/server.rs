//! Where connections come from, how many there are, and how all of them end.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use super::KeySourceError;
use super::connection::{Lifetime, serve_connection};
use crate::config::{Config, LEAST_TOKEN_BYTES};
use crate::observe::Telemetry;
use crate::store::watch_clickhouse;

/// How many connections are open at once; further ones wait to be accepted.
const MAX_CONNECTIONS: usize = 10_000;

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
        () = accept(listener, router, Lifetime::of(config), stop) => {}
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
async fn accept(listener: TcpListener, router: Router, lifetime: Lifetime, stop: impl Future<Output = ()>) {
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
                tokio::spawn(serve_connection(stream, router.clone(), stopped.clone(), lifetime, permit));
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
