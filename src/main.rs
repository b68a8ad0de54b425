//! The command line only: each command calls one function of the part it belongs to.

use std::error::Error;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use seenby::config::Config;
use seenby::observe::init_log;

/// Event-sourced message-receipt analytics: from receipt events in Kafka to reader lists in ClickHouse.
#[derive(Parser)]
#[command(version, about, propagate_version = true)]
struct CommandLine {
    /// Configuration file (TOML); variables such as SEENBY__KAFKA__BROKERS stand over it
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print the configuration in force, secrets masked, and every key with its meaning
    Config,
}

fn main() -> ExitCode {
    match run(CommandLine::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to tell it to where standard error is closed.
            let _ = writeln!(io::stderr(), "seenby: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command_line: CommandLine) -> Result<(), Box<dyn Error + Send + Sync>> {
    let config = Config::load(command_line.config.as_deref())?;
    init_log(&config.log)?;
    match command_line.command {
        Command::Config => io::stdout().write_all(config.to_documented_toml().as_bytes())?,
    }
    Ok(())
}
