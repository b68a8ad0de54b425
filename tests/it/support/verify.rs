//! `seenby verify` against a deployment.

#![allow(dead_code)] // a vocabulary: not every word is in use at any time

use std::path::Path;
use std::process::Output;

use seenby::config::Delivery;

use super::traffic::Traffic;
use super::worker::Deployment;

/// Partitions of mixed traffic.
const PARTITIONS: u32 = 3;

/// A deployment whose worker has counted `events` of mixed traffic, with policies and erasures between, in many flushes.
pub fn counted(test: &str, events: usize) -> (Deployment, Traffic) {
    let mut deployment = Deployment::new(test, PARTITIONS, Delivery::ExactlyOnce);
    deployment.config.worker.flush_interval_ms = 5;
    deployment.config.worker.flush_records = 100;
    let mut traffic = Traffic::new(1);
    count(&deployment, &mut traffic, events);
    (deployment, traffic)
}

/// Piece by piece, so that there are many flushes.
pub fn count(deployment: &Deployment, traffic: &mut Traffic, events: usize) {
    let worker = deployment.start();
    for piece in 0..events / 200 {
        if piece % 2 == 0 {
            deployment.produce(&[traffic.control()]);
        }
        let events: Vec<_> = (0..200).map(|_| traffic.event()).collect();
        deployment.produce(&events);
        deployment.wait_for_commit();
    }
    worker.stop(false).unwrap();
}

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
