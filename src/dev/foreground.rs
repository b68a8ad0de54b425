//! Commands that run until they are told to stop.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver};
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

/// Watches for SIGINT and SIGTERM, and with `or_stdin_ends` for the end of standard input; each is a message. The end of
/// standard input ties a process to the one that started it: a parent that is gone, killed or not, has closed the pipe.
///
/// # Errors
/// Where the signals cannot be watched.
pub fn watch(or_stdin_ends: bool) -> io::Result<Receiver<()>> {
    let (teller, told) = mpsc::channel();
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let by_stdin = teller.clone();
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for _ in signals.forever() {
            // Who watches may have seen enough.
            let _ = teller.send(());
        }
    })?;
    if or_stdin_ends {
        thread::Builder::new().name("stdin".to_owned()).spawn(move || {
            // Whatever is written there means nothing; an error means the pipe is gone as well.
            let _ = io::copy(&mut io::stdin(), &mut io::sink());
            let _ = by_stdin.send(());
        })?;
    }
    Ok(told)
}

/// Waits for what [`watch`] watches.
///
/// # Errors
/// As there.
pub fn wait_until_told(or_stdin_ends: bool) -> io::Result<()> {
    // The watching thread holds the other end for the life of the process, so this ends with a message only.
    let _ = watch(or_stdin_ends)?.recv();
    Ok(())
}
