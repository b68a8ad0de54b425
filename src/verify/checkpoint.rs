//! How far a verification has come, in a file, so that another run goes on there.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::VerifyError;
use crate::event::Offset;
use crate::fold::FOLD_VERSION;
use crate::store::{OffsetRange, TopicIdentity};

/// What is verified: where the log and the tables agree without a gap.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Verified {
    topic: String,
    epoch: u16,
    database: String,
    fold_version: u32,
    /// By partition: from the first offset to the second, exclusive.
    partitions: BTreeMap<u32, (u64, u64)>,
}

impl Verified {
    fn is_of(&self) -> (&str, u16, &str, u32) {
        (&self.topic, self.epoch, &self.database, self.fold_version)
    }
}

/// The file.
#[derive(Debug)]
pub(super) struct Checkpoint {
    path: PathBuf,
    verified: Verified,
}

impl Checkpoint {
    /// Reads the file, or begins it.
    ///
    /// # Errors
    /// Where it cannot be read, or was written for another topic, database or version of the fold.
    pub(super) fn open(path: &Path, topic: &TopicIdentity, database: &str) -> Result<Self, VerifyError> {
        let empty = Verified {
            topic: topic.topic.clone(),
            epoch: topic.epoch.get(),
            database: database.to_owned(),
            fold_version: FOLD_VERSION,
            partitions: BTreeMap::new(),
        };
        let failed = |reason: String| VerifyError::Checkpoint { path: path.to_owned(), reason };
        let verified = match std::fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => empty,
            Err(error) => return Err(failed(error.to_string())),
            Ok(text) => {
                let verified: Verified = serde_json::from_slice(&text).map_err(|error| failed(error.to_string()))?;
                if verified.is_of() != empty.is_of() {
                    return Err(failed("it is of another topic, epoch, database or version of the fold".to_owned()));
                }
                verified
            }
        };
        Ok(Self { path: path.to_owned(), verified })
    }

    /// What of a range is left to verify, where the beginning of it is done.
    pub(super) fn rest_of(&self, range: OffsetRange) -> OffsetRange {
        match self.verified.partitions.get(&range.partition.get()) {
            Some(&(from, until)) if from <= range.from.get() && range.from.get() <= until => {
                OffsetRange { from: Offset::new(until).min(range.until), ..range }
            }
            _ => range,
        }
    }

    /// Notes that a range is verified, and writes the file.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub(super) fn note(&mut self, range: OffsetRange) -> Result<(), VerifyError> {
        let noted = self.verified.partitions.entry(range.partition.get()).or_insert((range.from.get(), 0));
        if range.from.get() < noted.0 || range.from.get() > noted.1 {
            noted.0 = range.from.get();
        }
        noted.1 = range.until.get();
        self.write().map_err(|error| VerifyError::Checkpoint { path: self.path.clone(), reason: error.to_string() })
    }

    /// Writes beside the file and takes its place: whoever dies in between leaves the old one whole.
    fn write(&self) -> io::Result<()> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        serde_json::to_writer(&mut file, &self.verified)?;
        file.persist(&self.path)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Epoch, PartitionId};

    fn topic(name: &str) -> TopicIdentity {
        TopicIdentity { topic: name.to_owned(), epoch: Epoch::new(1), partitions: 4 }
    }

    fn range(from: u64, until: u64) -> OffsetRange {
        OffsetRange { partition: PartitionId::new(3), from: Offset::new(from), until: Offset::new(until) }
    }

    #[test]
    fn a_range_goes_on_where_what_is_verified_ends_and_never_over_a_gap() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint.json");
        let mut checkpoint = Checkpoint::open(&path, &topic("events"), "seenby").unwrap();
        assert_eq!(checkpoint.rest_of(range(0, 100)), range(0, 100));
        checkpoint.note(range(10, 50)).unwrap();
        checkpoint.note(range(50, 60)).unwrap();

        let checkpoint = Checkpoint::open(&path, &topic("events"), "seenby").unwrap();
        assert_eq!(checkpoint.rest_of(range(10, 100)), range(60, 100));
        assert_eq!(checkpoint.rest_of(range(40, 55)), range(55, 55));
        assert_eq!(checkpoint.rest_of(range(0, 100)), range(0, 100), "0 to 10 is not verified");
        assert_eq!(checkpoint.rest_of(range(70, 100)), range(70, 100), "60 to 70 is not verified");
    }

    #[test]
    fn what_lies_behind_a_gap_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint.json");
        let mut checkpoint = Checkpoint::open(&path, &topic("events"), "seenby").unwrap();
        checkpoint.note(range(0, 50)).unwrap();
        checkpoint.note(range(70, 80)).unwrap();
        assert_eq!(checkpoint.rest_of(range(0, 100)), range(0, 100));
        assert_eq!(checkpoint.rest_of(range(70, 100)), range(80, 100));
    }

    #[test]
    fn a_file_of_another_topic_or_database_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint.json");
        Checkpoint::open(&path, &topic("events"), "seenby").unwrap().note(range(0, 50)).unwrap();
        assert!(Checkpoint::open(&path, &topic("others"), "seenby").is_err());
        assert!(Checkpoint::open(&path, &topic("events"), "copy").is_err());
        std::fs::write(&path, "{}").unwrap();
        assert!(Checkpoint::open(&path, &topic("events"), "seenby").is_err());
    }
}
