//! The command line only: each command calls one function of the part it belongs to.

use std::error::Error;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use seenby::config::Config;
use seenby::dev;
use seenby::dev::clickhouse::ClickHouse;
use seenby::dev::foreground::{self, Folder};
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
    /// Read events, fold them and write rows, notifications and rejections, until a signal
    Worker {
        /// Leave the group when stopping, so that other workers take the partitions over at once
        #[arg(long)]
        leave: bool,
    },
    /// Print the configuration in force, secrets masked, and every key with its meaning
    Config,
    /// Run a real part that development and tests need, in the foreground
    Dev {
        #[command(subcommand)]
        part: DevPart,
    },
}

#[derive(Subcommand)]
enum DevPart {
    /// The ClickHouse engine, behind ClickHouse's HTTP interface
    Clickhouse(PartArguments),
}

#[derive(Args)]
struct PartArguments {
    /// Folder for its data; without it a temporary one, removed at the end
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Port on the loopback address; 0 for a free one
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Stop when standard input ends, so that it never outlives the process that started it
    #[arg(long)]
    exit_with_stdin: bool,
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
        Command::Worker { leave } => seenby::worker::run(&config, leave)?,
        Command::Config => io::stdout().write_all(config.to_documented_toml().as_bytes())?,
        Command::Dev { part } => run_dev(&part)?,
    }
    Ok(())
}

fn run_dev(part: &DevPart) -> Result<(), Box<dyn Error + Send + Sync>> {
    match part {
        DevPart::Clickhouse(arguments) => {
            let folder = Folder::new(arguments.dir.as_deref())?;
            let clickhouse = ClickHouse::start(folder.path(), arguments.port)?;
            writeln!(io::stdout(), "ClickHouse listens on {}", clickhouse.url())?;
            foreground::wait_until_told(arguments.exit_with_stdin)?;
            drop(clickhouse);
            drop(folder);
            dev::clickhouse::exit(0)
        }
    }
}
