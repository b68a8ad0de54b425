//! One connection: its requests, and how long it may live.
//!
//! A connection serves requests for a while, then its last one. An answer may take as long as its client reads it at some
//! pace: exports are long, and whoever reads nothing would hold a place for ever.

use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;
use tower::ServiceExt as _;

use crate::config::Config;

/// How long a client may take to send the head of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// The most bytes of a request's head. Larger ones get 431 without a body from the protocol layer itself; between the
/// API's own limit and this one the answer is a document.
const HEAD_BYTES: usize = 64 * 1024;

/// The longest that any bound of a connection is, whatever is configured.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a connection lives.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lifetime {
    /// How long it may serve requests; then it ends with the one under way.
    pub(super) requests: Duration,
    /// Within each such time the client has to take some of that last answer.
    pub(super) patience: Duration,
    /// So many bytes of it.
    pub(super) least_bytes: u64,
    /// How long the last answer may take in all.
    pub(super) last_answer: Duration,
}

impl Lifetime {
    /// A client that takes less than 8 KiB/s for half a minute is let go. What it waits for itself, an answer in the making
    /// and the next rows of an export, is not held against it.
    pub(super) fn of(config: &Config) -> Self {
        let millis = |millis: u64| Duration::from_millis(millis).min(LONGEST);
        let own_time = millis(config.api.timeout_ms.max(config.clickhouse.timeout_ms));
        Self {
            requests: Duration::from_secs(60),
            patience: Duration::from_secs(30) + own_time,
            least_bytes: 256 * 1024,
            last_answer: millis(config.api.export.max_execution_time_ms.max(config.api.timeout_ms)),
        }
    }
}

/// Serves a connection for its life, or until the server stops, then its last request.
pub(super) async fn serve_connection(
    stream: TcpStream,
    router: Router,
    mut stopped: watch::Receiver<bool>,
    lifetime: Lifetime,
    _permit: OwnedSemaphorePermit,
) {
    let service = router.map_request(|request: Request<hyper::body::Incoming>| request.map(Body::new));
    let service = TowerToHyperService::new(service.map_err(|never: Infallible| never));
    let mut protocol = http1::Builder::new();
    // A client that sends its request byte by byte, or none at all, does not hold the connection.
    protocol.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(HEAD_BYTES);
    let taken = Arc::new(AtomicU64::new(0));
    let stream = CountedStream { inner: stream, taken: Arc::clone(&taken) };
    let mut connection = pin!(protocol.serve_connection(TokioIo::new(stream), service));
    // The guard that the channel gives must not be held while the connection ends.
    let ending =
        tokio::time::timeout(lifetime.requests, async move { drop(stopped.wait_for(|stopped| *stopped).await) });
    let result = tokio::select! {
        result = connection.as_mut() => Some(result),
        _ = ending => {
            connection.as_mut().graceful_shutdown();
            while_it_is_read(connection, &taken, lifetime).await
        }
    };
    match result {
        Some(Ok(())) => {}
        Some(Err(error)) => tracing::debug!(%error, "a connection ended early"),
        None => tracing::debug!("a connection was cut: its client did not read the answer, or took too long"),
    }
}

/// Waits for an end for as long as the client takes enough of what it is sent; `None` where it does not.
async fn while_it_is_read<T>(
    mut connection: Pin<&mut impl Future<Output = T>>,
    taken: &AtomicU64,
    lifetime: Lifetime,
) -> Option<T> {
    let deadline = Instant::now() + lifetime.last_answer;
    while Instant::now() < deadline {
        let before = taken.load(Ordering::Relaxed);
        let next_look = (Instant::now() + lifetime.patience).min(deadline);
        if let Ok(result) = tokio::time::timeout_at(next_look, connection.as_mut()).await {
            return Some(result);
        }
        if taken.load(Ordering::Relaxed) - before < lifetime.least_bytes {
            return None;
        }
    }
    None
}

/// A stream that counts the bytes that its other end takes. The buffers of both ends are in between: they delay what is
/// seen, and change nothing of it.
struct CountedStream {
    inner: TcpStream,
    taken: Arc<AtomicU64>,
}

impl CountedStream {
    fn counted(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(bytes)) = &written {
            self.taken.fetch_add(*bytes as u64, Ordering::Relaxed);
        }
        written
    }
}

impl AsyncRead for CountedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl AsyncWrite for CountedStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.counted(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(context, pieces);
        self.counted(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use std::io::{Read as _, Write as _};

    use axum::routing::get;
    use tokio::net::TcpListener;
    use tokio::sync::Semaphore;

    use super::*;

    const LIFE: Duration = Duration::from_millis(500);

    const LONG: Duration = Duration::from_secs(3_600);

    const LIFETIME: Lifetime = Lifetime { requests: LIFE, patience: LIFE, least_bytes: 1, last_answer: LONG };

    /// More than the buffers of both ends hold.
    const LARGE: usize = 64 << 20;

    fn large() -> Router {
        Router::new().route("/", get(|| async { vec![b'a'; LARGE] }))
    }

    /// A client's end of a served connection, and the connections that are left: one, and none while it is open.
    async fn connected(
        router: Router,
        lifetime: Lifetime,
    ) -> (std::net::TcpStream, Arc<Semaphore>, watch::Sender<bool>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (served, _) = listener.accept().await.unwrap();
        let connections = Arc::new(Semaphore::new(1));
        let permit = Arc::clone(&connections).acquire_owned().await.unwrap();
        let (stopping, stopped) = watch::channel(false);
        tokio::spawn(serve_connection(served, router, stopped, lifetime, permit));
        (client, connections, stopping)
    }

    async fn is_given_back(connections: &Semaphore) {
        tokio::time::timeout(Duration::from_secs(20), connections.acquire()).await.unwrap().unwrap().forget();
    }

    /// Reads in pieces, resting before each, and counts the bytes.
    fn read_slowly(client: std::net::TcpStream, rest: Duration) -> usize {
        let mut bytes = 0;
        loop {
            std::thread::sleep(rest);
            let mut piece = Vec::new();
            let read = (&client).take(4 << 20).read_to_end(&mut piece);
            bytes += piece.len();
            if read.is_err() || piece.is_empty() {
                return bytes;
            }
        }
    }

    #[tokio::test]
    async fn a_client_that_never_reads_does_not_keep_its_connection() {
        let (mut client, connections, _stopping) = connected(large(), LIFETIME).await;
        client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        is_given_back(&connections).await;
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
        let lifetime = Lifetime { patience: Duration::from_secs(20), ..LIFETIME };
        let (mut client, _connections, _stopping) = connected(slow, lifetime).await;
        client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        let reading = tokio::task::spawn_blocking(move || {
            let mut answer = String::new();
            client.read_to_string(&mut answer).map(|_| answer)
        });
        let answer = reading.await.unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("fine"), "{answer}");
    }

    #[tokio::test]
    async fn who_goes_on_reading_is_answered_to_the_end_however_long_it_takes() {
        let lifetime = Lifetime { requests: Duration::from_millis(1), patience: Duration::from_secs(4), ..LIFETIME };
        let (mut client, connections, _stopping) = connected(large(), lifetime).await;
        client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        let reading = tokio::task::spawn_blocking(move || read_slowly(client, Duration::from_millis(600)));
        assert!(reading.await.unwrap() > LARGE, "the head stands in front of it");
        is_given_back(&connections).await;
    }

    #[tokio::test]
    async fn who_reads_too_little_or_for_too_long_is_let_go() {
        for lifetime in [
            Lifetime { least_bytes: LARGE as u64, ..LIFETIME },
            Lifetime { patience: Duration::from_millis(50), last_answer: LIFE, least_bytes: 0, ..LIFETIME },
        ] {
            let (mut client, connections, _stopping) = connected(large(), lifetime).await;
            client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
            let reading = tokio::task::spawn_blocking(move || read_slowly(client, Duration::from_millis(500)));
            is_given_back(&connections).await;
            assert!(reading.await.unwrap() < LARGE, "{lifetime:?}");
        }
    }
}
