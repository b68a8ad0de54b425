//! What a laptop and the tests need: the ClickHouse engine in process, brokers, the simulator.

pub mod clickhouse;
pub mod foreground;
pub mod simulator;

use std::env;
use std::path::PathBuf;

/// Folders from which `.tools` is looked for, upwards.
fn search_starts() -> Vec<PathBuf> {
    let program_folder = env::current_exe().ok().and_then(|program| program.parent().map(PathBuf::from));
    env::current_dir().ok().into_iter().chain(program_folder).collect()
}
