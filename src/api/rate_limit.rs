//! How much one caller, and one app, may ask.
//!
//! A bucket of so many requests, refilled at a steady rate. What is kept of it is one number, the time at which it is full
//! again (the generic cell rate algorithm): whoever's time has come needs no place in memory. A crate for this (governor)
//! keeps a place for every key ever met until told to look through all of them, and has no upper bound.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus::{IntCounterVec, Opts};

use super::auth::{Caller, Credential};
use super::error::ApiError;
use super::metrics::register;
use crate::config::ApiConfig;
use crate::observe::Telemetry;

/// The most buckets that are remembered: 100,000 callers who have asked within the time that a bucket takes to fill.
const MOST_BUCKETS: usize = 100_000;

/// Fewer buckets are not worth looking through.
const FEWEST_BEFORE_SWEEP: usize = 1_024;

/// The limits of this process.
#[derive(Debug)]
pub(crate) struct RateLimits {
    tokens: Option<Buckets>,
    apps: Option<Buckets>,
    keys: RandomState,
    limited: IntCounterVec,
}

impl RateLimits {
    pub(crate) fn new(config: &ApiConfig, telemetry: &Telemetry) -> Self {
        let limited = Opts::new(
            "seenby_api_rate_limited_total",
            "Requests refused with 429, by the limit: token, app, or unauthenticated (those without a good token).",
        );
        let limited = register(telemetry, IntCounterVec::new(limited, &["limit"]));
        for limit in ["token", "app", "unauthenticated"] {
            limited.with_label_values(&[limit]).reset();
        }
        Self {
            tokens: Buckets::new(config.rate_limit_per_second, config.rate_limit_burst),
            apps: Buckets::new(config.app_rate_limit_per_second, config.app_rate_limit_burst),
            keys: RandomState::new(),
            limited,
        }
    }

    /// Takes a request of a caller from his own bucket, then from his app's: who has asked too much takes nothing from
    /// the others of his app.
    ///
    /// # Errors
    /// [`ApiError::RateLimited`].
    pub(crate) fn admit(&self, caller: &Caller, credential: Credential) -> Result<(), ApiError> {
        let token = match credential {
            Credential::Static(digest) => self.keys.hash_one(digest),
            // Issuers give new tokens for the asking, so a signed one is known by whom it stands for.
            Credential::Signed => self.keys.hash_one(caller),
        };
        self.take("token", self.tokens.as_ref(), token)?;
        self.take("app", self.apps.as_ref(), self.keys.hash_one(&caller.app))
    }

    /// Takes a request without a good token from the bucket that all of those share.
    ///
    /// # Errors
    /// [`ApiError::RateLimited`].
    pub(crate) fn admit_unauthenticated(&self) -> Result<(), ApiError> {
        self.take("unauthenticated", self.tokens.as_ref(), self.keys.hash_one("unauthenticated"))
    }

    fn take(&self, limit: &str, buckets: Option<&Buckets>, key: u64) -> Result<(), ApiError> {
        let Some(wait) = buckets.and_then(|buckets| buckets.take(key)) else { return Ok(()) };
        self.limited.with_label_values(&[limit]).inc();
        let whole_seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        Err(ApiError::RateLimited { retry_after_seconds: whole_seconds.max(1) })
    }
}

/// Buckets of one size.
#[derive(Debug)]
struct Buckets {
    /// From one request to the next at the steady rate, in ns.
    interval: u64,
    /// What an empty bucket takes to fill, in ns.
    time_to_fill: u64,
    begun: Instant,
    filling: Mutex<Filling>,
}

/// The buckets that are not full.
#[derive(Debug)]
struct Filling {
    /// When each is full, in ns since the process began counting.
    full_at: HashMap<u64, u64>,
    /// So many are looked through for full ones.
    sweep_at: usize,
}

impl Buckets {
    /// `None` where the rate is 0: no limit.
    fn new(per_second: u32, burst: u32) -> Option<Self> {
        let interval = 1_000_000_000_u64.checked_div(u64::from(per_second))?;
        Some(Self {
            interval,
            time_to_fill: interval * u64::from(burst.max(1)),
            begun: Instant::now(),
            filling: Mutex::new(Filling { full_at: HashMap::new(), sweep_at: FEWEST_BEFORE_SWEEP }),
        })
    }

    /// Takes one request; how long to wait where the bucket is empty.
    fn take(&self, key: u64) -> Option<Duration> {
        let now = u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.take_at(key, now)
    }

    fn take_at(&self, key: u64, now: u64) -> Option<Duration> {
        let mut filling = self.filling.lock().unwrap_or_else(PoisonError::into_inner);
        let full_at = filling.full_at.get(&key).copied().unwrap_or(now).max(now) + self.interval;
        let latest = now + self.time_to_fill;
        if full_at > latest {
            return Some(Duration::from_nanos(full_at - latest));
        }
        filling.full_at.insert(key, full_at);
        if filling.full_at.len() >= filling.sweep_at {
            filling.sweep(now);
        }
        None
    }
}

impl Filling {
    /// Forgets full buckets, and if too many are left the half that is nearest to being full: those callers get a little
    /// more than their share, and nobody less.
    fn sweep(&mut self, now: u64) {
        self.full_at.retain(|_, full_at| *full_at > now);
        if self.full_at.len() >= MOST_BUCKETS {
            let mut times: Vec<u64> = self.full_at.values().copied().collect();
            let middle = times.len() / 2;
            let (_, median, _) = times.select_nth_unstable(middle);
            let median = *median;
            self.full_at.retain(|_, full_at| *full_at > median);
        }
        self.sweep_at = (self.full_at.len() * 2).clamp(FEWEST_BEFORE_SWEEP, MOST_BUCKETS);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn buckets(per_second: u32, burst: u32) -> Buckets {
        Buckets::new(per_second, burst).unwrap()
    }

    /// How many of so many requests at once are let through.
    fn admitted(buckets: &Buckets, key: u64, now: u64, asked: u32) -> u32 {
        (0..asked).map(|_| u32::from(buckets.take_at(key, now).is_none())).sum()
    }

    #[test]
    fn a_burst_is_let_through_and_then_the_steady_rate() {
        let buckets = buckets(10, 5);
        assert_eq!(admitted(&buckets, 1, 0, 100), 5);
        assert_eq!(buckets.take_at(1, 0), Some(Duration::from_millis(100)));
        assert_eq!(buckets.take_at(1, SECOND / 20), Some(Duration::from_millis(50)));
        assert_eq!(admitted(&buckets, 1, SECOND / 10, 100), 1);
        assert_eq!(admitted(&buckets, 1, 10 * SECOND, 100), 5, "no more than a full bucket, however long it filled");
        let steady: u32 =
            (0..100).map(|tenth| admitted(&buckets, 1, (20 + tenth) * SECOND / 10 + 10 * SECOND, 3)).sum();
        assert_eq!(steady, 5 + 99);
    }

    #[test]
    fn one_callers_haste_is_nobody_elses() {
        let buckets = buckets(1, 2);
        assert_eq!(admitted(&buckets, 1, 0, 10), 2);
        assert_eq!(admitted(&buckets, 2, 0, 10), 2);
    }

    #[test]
    fn a_rate_of_none_is_no_limit() {
        assert!(Buckets::new(0, 5).is_none());
        assert_eq!(admitted(&buckets(1, 0), 1, 0, 10), 1, "a bucket holds one request at least");
    }

    #[test]
    fn full_buckets_are_forgotten() {
        let buckets = buckets(1_000, 1);
        for second in 0..20 {
            for key in 0..1_000 {
                assert_eq!(buckets.take_at(second * 1_000 + key, second * SECOND), None);
            }
        }
        assert!(buckets.filling.lock().unwrap().full_at.len() <= 2 * FEWEST_BEFORE_SWEEP);
    }

    #[test]
    fn however_many_callers_there_are_memory_is_bounded_and_the_busiest_stay_limited() {
        let buckets = buckets(1, 10);
        assert_eq!(admitted(&buckets, u64::MAX, 0, 10), 10);
        for key in 0..3 * MOST_BUCKETS as u64 {
            assert_eq!(buckets.take_at(key, key), None);
            assert!(buckets.filling.lock().unwrap().full_at.len() <= MOST_BUCKETS);
        }
        assert!(buckets.take_at(u64::MAX, SECOND / 2).is_some());
    }
}
