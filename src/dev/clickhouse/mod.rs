//! The real ClickHouse engine in this process, behind ClickHouse's own HTTP interface.
//!
//! Package registries have no server binary, but they have the engine as a shared library. With this front before it,
//! clients cannot tell it from a server, but for what it refuses: compressed bodies and server-side sessions.

mod engine;
mod ffi;
mod front;
mod request;
mod session;

use std::fs;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use axum::serve::ListenerExt as _;
use tokio::sync::oneshot;

use self::engine::Engine;
pub use self::engine::EngineError;
pub use self::session::Exception;
use super::tools;

/// The version of the engine that seenby is tested with, as its package names it.
pub const ENGINE_VERSION: &str = "26.7.3-stable.1";

/// The engine could not be made to listen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClickHouseError {
    /// The engine itself.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The data folder, the port or the thread.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done, to what.
        doing: String,
        /// Why it failed.
        source: io::Error,
    },
}

/// A listening engine. Dropping it stops listening; the engine itself runs until [`exit`].
#[derive(Debug)]
pub struct ClickHouse {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ClickHouse {
    /// Starts the engine with its data in `folder` (made if missing) and listens on the loopback address; port 0 is a
    /// free one. One process has one engine: a second start must name the same folder.
    ///
    /// # Errors
    /// Where the engine is not installed, its folder is in use, or the port is taken.
    pub fn start(folder: &Path, port: u16) -> Result<Self, ClickHouseError> {
        let failed = |doing: String| move |source| ClickHouseError::Io { doing, source };
        fs::create_dir_all(folder).map_err(failed(format!("making the data folder {}", folder.display())))?;
        let folder =
            folder.canonicalize().map_err(failed(format!("looking up the data folder {}", folder.display())))?;
        // The port comes first: an engine that cannot be reached would stay until the process ends.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
            .map_err(failed(format!("listening on 127.0.0.1:{port} for ClickHouse")))?;
        let address = listener.local_addr().map_err(failed("asking for ClickHouse's port".to_owned()))?;
        let engine = Engine::start(&find_library()?, &folder)?;

        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .thread_name("clickhouse-front")
            .build()
            .map_err(failed("starting ClickHouse's front".to_owned()))?;
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new()
            .name("clickhouse".to_owned())
            .spawn(move || {
                let served = runtime.block_on(serve(listener, engine, stopped));
                if let Err(error) = served {
                    tracing::error!(%error, "the ClickHouse front stopped; start it again");
                }
                // Statements in progress hold threads that only the engine can end.
                runtime.shutdown_background();
            })
            .map_err(failed("starting ClickHouse's thread".to_owned()))?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens: `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for ClickHouse {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // The front may have stopped by itself.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(listener: TcpListener, engine: &'static Engine, stopped: oneshot::Receiver<()>) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?.tap_io(|stream| {
        // Head and rows of an answer are written apart: without this the second waits up to 40 ms for the first one's
        // acknowledgement. Where it cannot be set, answers are only slower.
        let _ = stream.set_nodelay(true);
    });
    let serving = async { axum::serve(listener, front::router(engine)).await };
    tokio::select! {
        served = serving => served,
        _ = stopped => Ok(()),
    }
}

/// Ends a process in which the engine ran: closes its last connection and exits at once. The engine has no orderly
/// shutdown while tables exist, and destructors would race its threads.
pub fn exit(code: i32) -> ! {
    // Nothing is left to tell it to where standard output is closed.
    let _ = io::stdout().flush();
    let _ = io::stderr().flush();
    Engine::close_for_exit();
    ffi::exit_at_once(code)
}

/// The engine's library: `SEENBY_CHDB`, or in `.tools` of the current folder, the program's folder, or one above either.
fn find_library() -> Result<PathBuf, EngineError> {
    let below = Path::new(&format!("chdb-{ENGINE_VERSION}")).join("libchdb.so");
    tools::find("SEENBY_CHDB", &below).map_err(|searched| EngineError::NotFound { searched: searched.0 })
}
