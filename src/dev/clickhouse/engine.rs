//! The engine in this process, and the sessions that wait for statements: opening one and putting its settings in force are
//! statements of their own that cost as much as a small question.

// Calls through the C interface of `ffi`.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use super::ffi::{Connection, Functions};
use super::session::{Exception, MARK_SETTING, Session, Statement, connect, quoted_text};

/// The engine could not be found, loaded or started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// No library in the places looked at.
    #[error("no ClickHouse engine in {searched}; run `make setup`, or name the library in SEENBY_CHDB")]
    NotFound {
        /// The places, for people.
        searched: String,
    },
    /// The library is not loadable, or lacks a function.
    #[error("loading the ClickHouse engine {path}: {source}; run `make setup` to install the version seenby knows")]
    Load {
        /// The library.
        path: PathBuf,
        /// What the loader said.
        source: libloading::Error,
    },
    /// The engine did not start.
    #[error("starting the ClickHouse engine in {path}: no connection; is another process using that folder?")]
    Connect {
        /// The data folder.
        path: PathBuf,
    },
    /// One process has one engine, and an engine one folder.
    #[error("this process already runs a ClickHouse engine in {running}, so none can start in {asked}")]
    AlreadyRunning {
        /// The folder in use.
        running: PathBuf,
        /// The folder asked for.
        asked: PathBuf,
    },
    /// The folder's name cannot be handed to the engine.
    #[error("the data folder {path} holds a NUL byte in its name; choose another")]
    FolderName {
        /// The folder.
        path: PathBuf,
    },
}

/// The engine of this process.
pub(super) struct Engine {
    functions: Functions,
    folder: PathBuf,
    path_argument: CString,
    /// Keeps the engine up between sessions: with the last connection it would shut down.
    keeper: SharedConnection,
    /// Sessions that wait for a statement, the one used last at the end.
    idle: Mutex<Vec<Session>>,
}

/// Sessions that wait: more than the statements that run at once in one process's tests, each a few KiB.
const MOST_IDLE: usize = 48;

/// The pointer of a connection that is only ever closed.
struct SharedConnection(*mut Connection);

// SAFETY: the pointer is not used but for keeping the connection; sessions open their own.
unsafe impl Send for SharedConnection {}
// SAFETY: as above.
unsafe impl Sync for SharedConnection {}

static ENGINE: OnceLock<Engine> = OnceLock::new();
/// Held while the engine starts, so that it starts once.
static BOOTING: Mutex<()> = Mutex::new(());

impl Engine {
    /// Starts the engine, or gives the one that runs in the same folder.
    ///
    /// # Errors
    /// Where the library does not load, the folder is in use, or this process has an engine in another folder.
    pub(super) fn start(library: &Path, folder: &Path) -> Result<&'static Self, EngineError> {
        let booting = BOOTING.lock().unwrap_or_else(PoisonError::into_inner);
        let engine = match ENGINE.get() {
            Some(engine) => engine,
            None => {
                let started = Self::boot(library, folder)?;
                ENGINE.get_or_init(|| started)
            }
        };
        drop(booting);
        if engine.folder == folder {
            Ok(engine)
        } else {
            Err(EngineError::AlreadyRunning { running: engine.folder.clone(), asked: folder.to_path_buf() })
        }
    }

    fn boot(library: &Path, folder: &Path) -> Result<Self, EngineError> {
        let functions =
            Functions::load(library).map_err(|source| EngineError::Load { path: library.to_path_buf(), source })?;
        // SAFETY: called before the first connection, as the header asks. The process handles its own signals.
        unsafe { (functions.set_signal_handlers)(0) };
        let path_argument = CString::new(format!("--path={}", folder.display()))
            .map_err(|_| EngineError::FolderName { path: folder.to_path_buf() })?;
        let keeper =
            connect(&functions, &path_argument).ok_or_else(|| EngineError::Connect { path: folder.to_path_buf() })?;
        let keeper = SharedConnection(keeper);
        Ok(Self { functions, folder: folder.to_path_buf(), path_argument, keeper, idle: Mutex::default() })
    }

    /// A session in `database` with `settings` in force, whose statements can be killed where it is marked.
    ///
    /// # Errors
    /// ClickHouse's exception where the database, a setting or its value is unknown.
    pub(super) fn session(
        &'static self,
        database: Option<&str>,
        settings: &[(String, String)],
        is_marked: bool,
    ) -> Result<Session, Exception> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = idle.iter().rposition(|session| session.fits(database, settings, is_marked)) {
            return Ok(idle.remove(found));
        }
        drop(idle);
        Session::open(&self.functions, &self.path_argument, database, settings, is_marked)
    }

    /// Takes a session back whose statement has ended well and has left everything in it as it was.
    pub(super) fn keep(&self, session: Session) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push(session);
        // The one that nobody has wanted for the longest time.
        let superfluous = (idle.len() > MOST_IDLE).then(|| idle.remove(0));
        drop(idle);
        drop(superfluous);
    }

    /// Asks the engine to end the statement of the session with this mark.
    ///
    /// # Errors
    /// ClickHouse's exception.
    pub(super) fn kill(&'static self, mark: &str) -> Result<(), Exception> {
        let mut session = self.session(None, &[], false)?;
        let kill = format!("KILL QUERY WHERE Settings['{MARK_SETTING}'] = {} ASYNC", quoted_text(mark));
        session.execute(&Statement::plain(&kill))?;
        self.keep(session);
        Ok(())
    }

    /// Closes the connection that keeps the engine up. For the way out of the process only.
    pub(super) fn close_for_exit() {
        if let Some(engine) = ENGINE.get() {
            drop(mem::take(&mut *engine.idle.lock().unwrap_or_else(PoisonError::into_inner)));
            // SAFETY: the pointer came from `connect` and nothing uses it after this; the process ends next.
            unsafe { (engine.functions.close)(engine.keeper.0) };
        }
    }
}
