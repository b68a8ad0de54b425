//! The command line only: each command calls one function of the part it belongs to.

use std::error::Error;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use seenby::config::{Config, TokenConfig};
use seenby::dev::clickhouse::ClickHouse;
use seenby::dev::demo::{self, DemoArgs};
use seenby::dev::foreground::{self, Folder};
use seenby::dev::kafka::Kafka;
use seenby::dev::simulator::{self, SimulateArgs};
use seenby::observe::{arm_fail_points, init_log};
use seenby::replay::{self, RebuildArgs, RejectionsArgs};
use seenby::verify::{self, VerifyArgs};
use seenby::worker::StartOptions;
use seenby::{api, dev, policy, store, worker};

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
        /// Go on from what a seenby of other rules has counted: what is counted stays, these rules hold from here on
        #[arg(long)]
        accept_fold_version: bool,
    },
    /// Answer queries over HTTP until SIGTERM or SIGINT
    Api,
    /// Create the tables in ClickHouse, or bring them up to date
    Migrate {
        /// Print the statements instead of running them
        #[arg(long)]
        print: bool,
    },
    /// Produce lifelike traffic to the events topic, or write it to a file
    Simulate(SimulateArgs),
    /// Write or show the limits of an app
    Policy {
        #[command(subcommand)]
        action: PolicyAction,
    },
    /// Fold a range of the log again and compare all it says with ClickHouse: exit 0 where they agree, 1 where they
    /// differ (each difference is named), 2 where that cannot be said
    Verify(VerifyArgs),
    /// Send refused records again, or build the tables anew from the log
    Replay {
        #[command(subcommand)]
        what: ReplayPart,
    },
    /// Print the configuration in force, secrets masked, and every key with its meaning
    Config {
        #[command(subcommand)]
        action: Option<ConfigAction>,
    },
    /// Run everything in one process: broker, ClickHouse engine, worker, API and simulator
    Demo(DemoArgs),
    /// Run a real part that development and tests need, in the foreground
    Dev {
        #[command(subcommand)]
        part: DevPart,
    },
}

#[derive(Subcommand)]
enum ConfigAction {
    /// Read a static token from standard input and print what stands in auth.tokens as token_sha256
    HashToken,
}

#[derive(Subcommand)]
enum PolicyAction {
    /// Append a version to the log, from a JSON file of effective_from and the limits that differ from the defaults
    Set {
        /// The app: org#name
        #[arg(long)]
        app: String,
        /// The file
        file: PathBuf,
    },
    /// Show every version that workers have met
    Get {
        /// The app: org#name
        #[arg(long)]
        app: String,
    },
}

#[derive(Subcommand)]
enum ReplayPart {
    /// Send records again that were malformed, misrouted, skewed or unsupported, after a repair; a dry run without --send
    Rejections(RejectionsArgs),
    /// Fold the whole log into a new database: its rows are those that the workers wrote; nothing goes to Kafka
    Rebuild(RebuildArgs),
}

#[derive(Subcommand)]
enum DevPart {
    /// The ClickHouse engine, behind ClickHouse's HTTP interface
    Clickhouse(PartArguments),
    /// An Apache Kafka broker of one node
    Kafka(PartArguments),
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
    let command_line = CommandLine::parse();
    // Of `verify` 1 is an answer.
    let failure = if matches!(command_line.command, Command::Verify(_)) { 2 } else { 1 };
    match run(command_line) {
        Ok(code) => code,
        Err(error) => {
            complain(error.as_ref());
            ExitCode::from(failure)
        }
    }
}

fn complain(error: &dyn Error) {
    // Nothing is left to tell it to where standard error is closed.
    let _ = writeln!(io::stderr(), "seenby: {error}");
}

fn run(command_line: CommandLine) -> Result<ExitCode, Box<dyn Error + Send + Sync>> {
    // Needs no configuration: it is what one is made with.
    if let Command::Config { action: Some(ConfigAction::HashToken) } = command_line.command {
        print(&hash_token(io::stdin())?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut config = Config::load(command_line.config.as_deref())?;
    if matches!(command_line.command, Command::Demo(_)) {
        demo::quieten(&mut config.log);
    }
    init_log(&config.log)?;
    let _fail_points = arm_fail_points();
    match command_line.command {
        Command::Worker { leave, accept_fold_version } => {
            worker::run(&config, leave, StartOptions { accept_fold_version })?;
        }
        Command::Api => api::run(&config)?,
        Command::Migrate { print: true } => print(&store::schema_script(&config.clickhouse))?,
        Command::Migrate { print: false } => {
            let applied = event_loop()?.block_on(store::migrate(&config.clickhouse))?;
            print(&match applied.as_slice() {
                [] => "the schema is current\n".to_owned(),
                names => format!("applied {}\n", names.join(", ")),
            })?;
        }
        Command::Policy { action: PolicyAction::Set { app, file } } => {
            let written = policy::command::set(&config, &app, &file)?;
            let (version, partitions) = (written.version, written.partitions);
            print(&format!(
                "version {} of {app}, in force from {}, written to {partitions} partitions\n",
                version.version,
                version.effective_from.millis(),
            ))?;
        }
        Command::Policy { action: PolicyAction::Get { app } } => {
            print(&event_loop()?.block_on(policy::command::get(&config, &app))?)?;
        }
        Command::Config { .. } => print(&config.to_documented_toml())?,
        Command::Simulate(arguments) => simulator::run(&arguments, &config)?,
        Command::Demo(arguments) => {
            let code = match demo::run(&arguments, &config) {
                Ok(adds_up) => i32::from(!adds_up),
                Err(error) => {
                    complain(&error);
                    1
                }
            };
            dev::clickhouse::exit(code)
        }
        Command::Verify(arguments) => {
            let agree = verify::run(&config, &arguments)?;
            return Ok(if agree { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Command::Replay { what: ReplayPart::Rejections(arguments) } => {
            print(&replay::resend(&config, &arguments)?.to_string())?;
        }
        Command::Replay { what: ReplayPart::Rebuild(arguments) } => {
            print(&replay::rebuild(&config, &arguments)?.to_string())?;
        }
        Command::Dev { part } => run_dev(&part)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn run_dev(part: &DevPart) -> Result<(), Box<dyn Error + Send + Sync>> {
    match part {
        DevPart::Clickhouse(arguments) => {
            let folder = Folder::new(arguments.dir.as_deref())?;
            let clickhouse = ClickHouse::start(folder.path(), arguments.port)?;
            print(&format!("ClickHouse listens on {}\n", clickhouse.url()))?;
            foreground::wait_until_told(arguments.exit_with_stdin)?;
            drop(clickhouse);
            drop(folder);
            dev::clickhouse::exit(0)
        }
        DevPart::Kafka(arguments) => {
            let folder = Folder::new(arguments.dir.as_deref())?;
            let kafka = Kafka::start(folder.path(), arguments.port)?;
            print(&format!("Kafka listens on {}\n", kafka.bootstrap()))?;
            foreground::wait_until_told(arguments.exit_with_stdin)?;
            // What goes with its folder needs no orderly end.
            if matches!(folder, Folder::Named(_)) {
                kafka.stop()?;
            }
            Ok(())
        }
    }
}

/// The hash of a token that stands on a line of its own, as pipes and terminals give it.
fn hash_token(input: impl io::Read) -> Result<String, Box<dyn Error + Send + Sync>> {
    let text = io::read_to_string(input)?;
    let token = text.strip_suffix('\n').unwrap_or(&text);
    let token = token.strip_suffix('\r').unwrap_or(token);
    Ok(format!("{}\n", TokenConfig::hash_of(token)?))
}

fn print(text: &str) -> io::Result<()> {
    io::stdout().write_all(text.as_bytes())
}

/// For commands of a few statements.
fn event_loop() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}
