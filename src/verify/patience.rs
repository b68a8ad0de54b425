//! Asking again: work of hours does not end because ClickHouse or Kafka did not answer once.

use std::thread;
use std::time::Duration;

use crate::log::SourceError;
use crate::store::StoreError;

/// How often something is asked that nobody answers, and the first pause between, doubled each time.
const ATTEMPTS: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// Something that may pass.
pub(crate) trait MayPass: std::fmt::Display {
    /// Whether asking again may help.
    fn may_pass(&self) -> bool;
}

impl MayPass for StoreError {
    fn may_pass(&self) -> bool {
        self.is_retryable()
    }
}

impl MayPass for SourceError {
    fn may_pass(&self) -> bool {
        self.is_transient()
    }
}

/// Asks again where nobody answered.
pub(crate) fn patiently<T, E: MayPass>(mut ask: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    let mut pause = FIRST_PAUSE;
    for _ in 1..ATTEMPTS {
        match ask() {
            Err(error) if error.may_pass() => {
                tracing::warn!(%error, pause_ms = pause.as_millis() as u64, "asking again");
                thread::sleep(pause);
                pause *= 2;
            }
            answer => return answer,
        }
    }
    ask()
}
