//! Commands that run until they are told to stop.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tempfile::TempDir;

/// The folder of a part's data: the one named, which stays, or a temporary one that goes with this value.
#[derive(Debug)]
pub enum Folder {
    /// Named by the user.
    Named(PathBuf),
    /// Removed at the end.
    Temporary(TempDir),
}

impl Folder {
    /// Makes the named folder if it is missing, or a temporary one.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn new(named: Option<&Path>) -> io::Result<Self> {
        match named {
            Some(path) => {
                fs::create_dir_all(path)?;
                Ok(Self::Named(path.canonicalize()?))
            }
            None => Ok(Self::Temporary(tempfile::Builder::new().prefix("seenby-").tempdir()?)),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Named(path) => path,
            Self::Temporary(folder) => folder.path(),
        }
    }
}

/// Waits for SIGINT or SIGTERM, or with `exit_with_stdin` for the end of standard input. The latter ties a process to
/// the one that started it: a parent that is gone, killed or not, has closed the pipe.
///
/// # Errors
/// Where the signals cannot be watched.
pub fn wait_until_told(exit_with_stdin: bool) -> io::Result<()> {
    let (told, until_told) = mpsc::channel();
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let by_signal = told.clone();
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        if signals.forever().next().is_some() {
            // Told already, where nobody receives.
            let _ = by_signal.send(());
        }
    })?;
    if exit_with_stdin {
        let by_stdin = told.clone();
        thread::Builder::new().name("stdin".to_owned()).spawn(move || {
            // Whatever is written there means nothing; an error means the pipe is gone as well.
            let _ = io::copy(&mut io::stdin(), &mut io::sink());
            let _ = by_stdin.send(());
        })?;
    }
    // `told` lives, so this ends with a message only.
    let _ = until_told.recv();
    drop(told);
    Ok(())
}
