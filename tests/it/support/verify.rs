//! `seenby verify` against a deployment.

#![allow(dead_code)] // a vocabulary: not every word is in use at any time

use std::path::Path;
use std::process::Output;

use super::worker::Deployment;

/// What `seenby verify --format json` said.
#[derive(Debug)]
pub struct Verified {
    pub code: i32,
    pub report: serde_json::Value,
    pub complaints: String,
}

impl Deployment {
    /// Runs `seenby` with the deployment's configuration.
    pub fn run(&self, arguments: &[&str]) -> Output {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_seenby"));
        command.args(arguments).envs(self.environment("verify")).output().unwrap()
    }

    /// Verifies with further arguments.
    pub fn verify(&self, arguments: &[&str]) -> Verified {
        let output = self.run(&[&["verify", "--format", "json"], arguments].concat());
        let complaints = String::from_utf8(output.stderr).unwrap();
        let report = serde_json::from_slice(&output.stdout).unwrap_or_default();
        Verified { code: output.status.code().unwrap(), report, complaints }
    }

    /// Asserts that log and tables agree over everything committed, and returns how many rows of each table were
    /// compared.
    pub fn assert_verified(&self) -> Verified {
        let verified = self.verify(&[]);
        assert_eq!(verified.code, 0, "{verified:#?}");
        verified
    }

    /// Verifies with a checkpoint in a file.
    pub fn verify_from_checkpoint(&self, file: &Path) -> Verified {
        self.verify(&["--checkpoint", file.to_str().unwrap()])
    }
}

impl Verified {
    /// Differences as `kind table`, with the key and the columns that differ.
    pub fn differences(&self) -> Vec<(String, serde_json::Value, serde_json::Value)> {
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let named = self.report["named"].as_array().unwrap_or_else(|| panic!("no report: {self:#?}"));
        let difference = |difference: &serde_json::Value| {
            let what = format!("{} {}", text(&difference["kind"]), text(&difference["table"]));
            (what, difference["key"].clone(), difference["columns"].clone())
        };
        named.iter().map(difference).collect()
    }

    /// Asserts that it found differences, and returns those of one table.
    pub fn differences_of(&self, table: &str) -> Vec<(String, serde_json::Value, serde_json::Value)> {
        assert_eq!(self.code, 1, "{self:#?}");
        self.differences().into_iter().filter(|(what, _, _)| what.ends_with(&format!(" {table}"))).collect()
    }

    /// Rows of a table that were compared.
    pub fn rows(&self, table: &str) -> u64 {
        let tables = self.report["tables"].as_array().unwrap_or_else(|| panic!("no report: {self:#?}"));
        tables.iter().find(|of| of["table"] == table).unwrap()["rows"].as_u64().unwrap()
    }

    /// Records that were folded.
    pub fn records(&self) -> u64 {
        self.report["records"].as_u64().unwrap_or_else(|| panic!("no report: {self:#?}"))
    }
}
