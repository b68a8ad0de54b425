//! Where the keys of signed tokens come from, and when they are read anew.
//!
//! A set is read with the first token that needs it, then again once it is older than the refresh interval (in the
//! background: the old one is used meanwhile), and ahead of time where a token names a key that is not in it, or names none
//! and is signed by none of them. Whatever the reason, two reads never begin within the least interval: a flood of tokens that name unknown keys is no flood of
//! reads. Where reading fails, the old set stays.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use super::key_set::{KeySet, KeySetError};
use crate::config::JwtConfig;

/// The longest document that is read: 64 keys of 4096 bits with their certificates take less.
const MOST_BYTES: usize = 1024 * 1024;

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeySourceError {
    /// The file cannot be read.
    #[error("cannot read the keys in {}: {source}; set auth.jwt.jwks_file", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The address does not answer as it should.
    #[error("cannot fetch the keys at {url}: {reason}")]
    Unreachable {
        /// The address, without what might be secret in its query.
        url: String,
        /// What was met.
        reason: String,
    },
    /// What was read is no set of keys.
    #[error("the keys in {origin} cannot be used: {source}")]
    Unusable {
        /// The file or address.
        origin: String,
        /// Why.
        source: KeySetError,
    },
    /// No client for HTTP could be made.
    #[error("cannot prepare fetching keys: {0}")]
    Client(String),
}

/// Brings the keys.
#[derive(Debug)]
pub(crate) struct KeySource {
    origin: Origin,
    refresh_interval: Duration,
    least_interval: Duration,
    known: RwLock<Known>,
    /// Held while keys are read, so that one reads and the others wait for what it brings.
    reading: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
enum Origin {
    File(PathBuf),
    Url { client: reqwest::Client, url: reqwest::Url },
}

#[derive(Debug, Default)]
struct Known {
    set: Option<Arc<KeySet>>,
    /// When the last read that brought a set began.
    read_at: Option<Instant>,
    /// When the last read began, whatever it brought.
    attempted_at: Option<Instant>,
}

impl KeySource {
    /// The source that is configured, if any. A file is read at once, so that a mistake shows at the start; an address
    /// may answer later than this process starts.
    ///
    /// # Errors
    /// [`KeySourceError`].
    pub(crate) fn new(config: &JwtConfig) -> Result<Option<Self>, KeySourceError> {
        let origin = if !config.jwks_file.is_empty() {
            Origin::File(PathBuf::from(&config.jwks_file))
        } else if !config.jwks_url.is_empty() {
            let client = reqwest::Client::builder()
                .timeout(Duration::from_millis(config.jwks_timeout_ms))
                // A redirect could lead from https to http, or to whoever once had the address.
                .redirect(reqwest::redirect::Policy::none())
                .user_agent(concat!("seenby/", env!("CARGO_PKG_VERSION")))
                .build()
                .map_err(|error| KeySourceError::Client(error.to_string()))?;
            let url = config.jwks_url.parse().map_err(|_| KeySourceError::Unreachable {
                url: config.jwks_url.clone(),
                reason: "auth.jwt.jwks_url is no address".to_owned(),
            })?;
            Origin::Url { client, url }
        } else {
            return Ok(None);
        };
        let mut known = Known::default();
        if let Origin::File(path) = &origin {
            let now = Instant::now();
            let set = Some(Arc::new(read_file(path)?));
            known = Known { set, read_at: Some(now), attempted_at: Some(now) };
        }
        Ok(Some(Self {
            origin,
            refresh_interval: Duration::from_millis(config.jwks_refresh_interval_ms),
            least_interval: Duration::from_millis(config.jwks_min_interval_ms),
            known: RwLock::new(known),
            reading: tokio::sync::Mutex::new(()),
        }))
    }

    /// The set to look for a key of this name in; `None` while no set could be read. Waits for a read only where there is
    /// nothing to go on with: no set, or none with this name.
    pub(crate) async fn set_for(self: &Arc<Self>, name: Option<&str>) -> Option<Arc<KeySet>> {
        let (set, is_old) = self.current();
        if let Some(set) = set.filter(|set| name.is_none_or(|name| set.names(name))) {
            if is_old && self.may_read() {
                tokio::spawn(Arc::clone(self).read_again());
            }
            return Some(set);
        }
        self.read_in_a_task().await;
        self.current().0
    }

    /// The set that a read brings where nothing in `known` made a token's signature, and the token names no key that could
    /// tell whether there is a new one; `None` where there is no other set. As with unknown names, at most one read begins
    /// within the least interval.
    pub(crate) async fn set_after(self: &Arc<Self>, known: &Arc<KeySet>) -> Option<Arc<KeySet>> {
        let is_other = |set: &Arc<KeySet>| !Arc::ptr_eq(set, known);
        if let Some(set) = self.current().0.filter(is_other) {
            return Some(set);
        }
        self.read_in_a_task().await;
        self.current().0.filter(is_other)
    }

    /// The set, and whether it is due to be read again.
    fn current(&self) -> (Option<Arc<KeySet>>, bool) {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let is_old = known.read_at.is_none_or(|read_at| read_at.elapsed() >= self.refresh_interval);
        (known.set.clone(), is_old)
    }

    /// Whether the last read began long enough ago.
    fn may_read(&self) -> bool {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.attempted_at.is_none_or(|attempted_at| attempted_at.elapsed() >= self.least_interval)
    }

    /// As [`Self::read_again`], in a task of its own: a caller who goes away must not cut the read that others wait for.
    async fn read_in_a_task(self: &Arc<Self>) {
        if tokio::spawn(Arc::clone(self).read_again()).await.is_err() {
            tracing::error!("reading the keys of signed tokens met a defect");
        }
    }

    /// Waits for a read that is under way, and reads unless one has begun within the least interval.
    async fn read_again(self: Arc<Self>) {
        let _turn = self.reading.lock().await;
        if !self.may_read() {
            return;
        }
        let begun = Instant::now();
        self.known.write().unwrap_or_else(PoisonError::into_inner).attempted_at = Some(begun);
        match self.read().await {
            Ok(set) => {
                tracing::debug!(keys = set.len(), "the keys of signed tokens were read");
                let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
                known.set = Some(Arc::new(set));
                known.read_at = Some(begun);
            }
            Err(error) => tracing::warn!(%error, "the keys of signed tokens cannot be read; those known stay in use"),
        }
    }

    async fn read(&self) -> Result<KeySet, KeySourceError> {
        match &self.origin {
            Origin::File(path) => {
                let path = path.clone();
                let reading = tokio::task::spawn_blocking(move || read_file(&path));
                reading.await.map_err(|error| KeySourceError::Client(error.to_string()))?
            }
            Origin::Url { client, url } => fetch(client, url).await,
        }
    }
}

fn read_file(path: &std::path::Path) -> Result<KeySet, KeySourceError> {
    let text = std::fs::read(path).map_err(|source| KeySourceError::Unreadable { path: path.to_owned(), source })?;
    KeySet::parse(&text).map_err(|source| KeySourceError::Unusable { origin: path.display().to_string(), source })
}

async fn fetch(client: &reqwest::Client, url: &reqwest::Url) -> Result<KeySet, KeySourceError> {
    let shown = || {
        let mut shown = url.clone();
        shown.set_query(None);
        let _ = shown.set_password(None);
        shown.to_string()
    };
    let unreachable = |reason: String| KeySourceError::Unreachable { url: shown(), reason };
    let failed = |error: reqwest::Error| unreachable(error.without_url().to_string());
    let mut answer = client.get(url.clone()).send().await.map_err(failed)?;
    if !answer.status().is_success() {
        return Err(unreachable(format!("it answers {}", answer.status())));
    }
    let mut text = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(failed)? {
        text.extend_from_slice(&piece);
        if text.len() > MOST_BYTES {
            return Err(unreachable(format!("its answer is longer than {MOST_BYTES} bytes")));
        }
    }
    KeySet::parse(&text).map_err(|source| KeySourceError::Unusable { origin: shown(), source })
}
