//! Time as the worker sees it; a simulation brings its own.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Tells and spends time.
pub trait Clock: Clone + Send + 'static {
    /// Time since some fixed moment; never goes back.
    fn now(&self) -> Duration;

    /// Wall-clock time in ms since 1970; for lag only, no decision depends on it.
    fn unix_millis(&self) -> i64;

    /// Lets time pass.
    fn sleep(&self, time: Duration);
}

/// The machine's own clock.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn unix_millis(&self) -> i64 {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX)
    }

    fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
    }
}
