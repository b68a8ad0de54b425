//! Log lines on standard error: for people on a terminal, JSON elsewhere.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{LogConfig, LogFormat};

/// Why nothing can be logged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// `log.filter` is not a filter.
    #[error(
        "configuration key `log.filter` is not understood: {0}; it is a level, or module=level with commas between"
    )]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// Another part of the process set one up before.
    #[error("log lines were set up twice in this process: {0}")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// Sets log lines up for the whole process; once, at its start.
///
/// # Errors
/// [`LogError`].
pub fn init_log(config: &LogConfig) -> Result<(), LogError> {
    let filter = EnvFilter::try_new(&config.filter)?;
    let is_terminal = io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match config.format {
        LogFormat::Human => lines.with_ansi(is_terminal).finish().try_init()?,
        LogFormat::Auto if is_terminal => lines.finish().try_init()?,
        LogFormat::Auto | LogFormat::Json => {
            lines.json().flatten_event(true).with_current_span(true).with_span_list(false).finish().try_init()?;
        }
    }
    Ok(())
}
