//! Reader lists and batches under load, and an export of everything, on the real parts in processes of their own:
//! `make load`; see benches/README.md.

#![allow(clippy::expect_used, clippy::print_stdout, missing_docs)]

mod measurement;

use std::path::Path;

use clap::Parser as _;

fn main() {
    let settings = measurement::Settings::parse();
    let report = measurement::run(&settings, Path::new(env!("CARGO_BIN_EXE_seenby")));
    println!("{report}");
}
