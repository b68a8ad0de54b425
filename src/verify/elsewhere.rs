//! Rows that no log of today can tell: those of no log at all, which the API would show all the same, and those of older
//! epochs, whose topics are gone.

use std::collections::BTreeMap;

use super::VerifyError;
use super::partition::Verification;
use super::report::OlderEpoch;
use crate::store::OlderEnd;

impl Verification {
    /// Names the rows of no log; of older epochs compares the numbers of rows with what their ledgers count.
    pub(super) fn verify_elsewhere(&mut self) -> Result<(), VerifyError> {
        let older_ends = self.tables.older_ends()?;
        self.tables.compare_of_no_log(&older_ends, &mut self.findings)?;
        if !older_ends.is_empty() {
            for difference in self.tables.differences_of_older_epochs()? {
                self.findings.differences.of_older_epoch(&difference);
            }
        }
        self.findings.verified_elsewhere(epochs(&older_ends));
        Ok(())
    }
}

fn epochs(ends: &[OlderEnd]) -> Vec<OlderEpoch> {
    let mut partitions = BTreeMap::new();
    for end in ends {
        *partitions.entry(end.epoch.get()).or_default() += 1;
    }
    partitions.into_iter().map(|(epoch, partitions)| OlderEpoch { epoch, partitions }).collect()
}
