//! The command line only: each command calls one function of the part it belongs to.

use std::error::Error;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use seenby::config::Config;
use seenby::observe::init_log;
use seenby::{api, store};

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
    /// Answer queries over HTTP until SIGTERM or SIGINT
    Api,
    /// Create the tables in ClickHouse, or bring them up to date
    Migrate {
        /// Print the statements instead of running them
        #[arg(long)]
        print: bool,
    },
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
        Command::Api => api::run(&config)?,
        Command::Migrate { print: true } => print(&store::schema_script(&config.clickhouse))?,
        Command::Migrate { print: false } => {
            let applied = event_loop()?.block_on(store::migrate(&config.clickhouse))?;
            print(&match applied.as_slice() {
                [] => "the schema is current\n".to_owned(),
                names => format!("applied {}\n", names.join(", ")),
            })?;
        }
        Command::Config => print(&config.to_documented_toml())?,
    }
    Ok(())
}

fn print(text: &str) -> io::Result<()> {
    io::stdout().write_all(text.as_bytes())
}

/// For commands of a few statements.
fn event_loop() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}
