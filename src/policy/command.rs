//! `seenby policy set` and `seenby policy get`: a version is appended to the log, and read back from the tables.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::{Policy, PolicyVersion};
use crate::config::Config;
use crate::event::{AppId, Control, EventTime, EventType, Malformed, decode_policy_file, encode_control};
use crate::log::SourceError;
use crate::log::control::{ControlError, ControlRecord, ControlWriter, next_version};
use crate::store::StoreError;
use crate::store::query::Queries;

/// Why a policy was not written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyCommandError {
    /// The file cannot be read.
    #[error("cannot read the policy file {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file or the app breaks a rule; nothing was written.
    #[error("the policy was not written: {0}")]
    Malformed(#[from] Malformed),
    /// Kafka did not take the record.
    #[error("the policy may not have been written: {0}")]
    Log(#[from] SourceError),
    /// Another writer was first.
    #[error("the policy was not written: {0}; try again")]
    Control(#[from] ControlError),
    /// ClickHouse did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The versions cannot be shown.
    #[error("the policies cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// What `policy set` has written.
#[derive(Clone, Debug, PartialEq)]
pub struct WrittenPolicy {
    /// The version.
    pub version: PolicyVersion,
    /// The partitions of the events topic, each of which has a copy.
    pub partitions: u32,
}

/// Appends a version to the log of every partition. Its number is this machine's clock in ms, or the one after the version
/// written last where that is later.
///
/// # Errors
/// [`PolicyCommandError`].
pub fn set(config: &Config, app: &str, file: &Path) -> Result<WrittenPolicy, PolicyCommandError> {
    let limits =
        std::fs::read(file).map_err(|source| PolicyCommandError::Unreadable { path: file.to_owned(), source })?;
    // Before anything is asked of Kafka: mistakes are told without it.
    decode_policy_file(app, 0, &limits)?;
    let writer = ControlWriter::connect(&config.kafka, config.worker.delivery)?;
    append(&writer, app, &limits, writer.last_version()?)
}

/// Appends a version, unless one behind `last` was written.
///
/// # Errors
/// [`PolicyCommandError`].
pub(crate) fn append(
    writer: &ControlWriter<'_>,
    app: &str,
    limits: &[u8],
    last: u64,
) -> Result<WrittenPolicy, PolicyCommandError> {
    let number = next_version(last);
    let version = decode_policy_file(app, number, limits)?;
    let mut value = Vec::new();
    encode_control(&Control::Policy(version.clone()), &mut value);
    writer.write(&ControlRecord { kind: EventType::Policy, version: number, value: &value }, last)?;
    Ok(WrittenPolicy { version, partitions: writer.partitions() })
}

/// A version as `policy get` shows it.
#[derive(Serialize)]
struct ShownVersion {
    version: u64,
    effective_from: i64,
    in_force: bool,
    partitions_met: u64,
    policy: Policy,
}

/// Every version of an app that workers have met, as a JSON list in the order in which they come into force. Nothing in
/// force means that the defaults are.
///
/// # Errors
/// [`PolicyCommandError`].
pub async fn get(config: &Config, app: &str) -> Result<String, PolicyCommandError> {
    let present = now();
    let versions = Queries::new(config).policy_versions(AppId::trusted(app)).await?;
    let in_force = versions.iter().rposition(|stored| stored.version.effective_from <= present);
    let shown = versions.into_iter().enumerate().map(|(index, stored)| ShownVersion {
        version: stored.version.version,
        effective_from: stored.version.effective_from.millis(),
        in_force: Some(index) == in_force,
        partitions_met: stored.partitions_met,
        policy: stored.version.policy,
    });
    let mut text = serde_json::to_string_pretty(&shown.collect::<Vec<_>>())?;
    text.push('\n');
    Ok(text)
}

fn now() -> EventTime {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    EventTime::from_millis(i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX))
}
