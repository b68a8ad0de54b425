//! Places for exports: each reads a table from end to end, and lives for as long as its client reads.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::ExportConfig;

/// Lets so many exports be under way, and of one app so many. Who waits comes in the order of asking; an app that has all
/// the places it may have waits for its own, and takes nobody else's.
#[derive(Debug)]
pub(super) struct ExportPlaces {
    all: Arc<Semaphore>,
    most_per_app: usize,
    /// Of apps with an export under way or waiting.
    per_app: Mutex<HashMap<String, Weak<Semaphore>>>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub struct ExportPlace {
    // The semaphores are never closed.
    _of_all: Option<OwnedSemaphorePermit>,
    _of_app: Option<OwnedSemaphorePermit>,
}

impl ExportPlaces {
    pub(super) fn new(config: &ExportConfig) -> Self {
        let permits = |most: u32| usize::try_from(most).unwrap_or(Semaphore::MAX_PERMITS).max(1);
        Self {
            all: Arc::new(Semaphore::new(permits(config.at_once))),
            most_per_app: permits(config.at_once_per_app),
            per_app: Mutex::default(),
        }
    }

    /// Waits for a place.
    pub(super) async fn take(&self, app: &str) -> ExportPlace {
        let of_app = self.of_app(app).acquire_owned().await.ok();
        let of_all = Arc::clone(&self.all).acquire_owned().await.ok();
        ExportPlace { _of_all: of_all, _of_app: of_app }
    }

    fn of_app(&self, app: &str) -> Arc<Semaphore> {
        let mut per_app = self.per_app.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = per_app.get(app).and_then(Weak::upgrade) {
            return known;
        }
        per_app.retain(|_, places| places.strong_count() > 0);
        let places = Arc::new(Semaphore::new(self.most_per_app));
        per_app.insert(app.to_owned(), Arc::downgrade(&places));
        places
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn places(at_once: u32, at_once_per_app: u32) -> ExportPlaces {
        ExportPlaces::new(&ExportConfig { at_once, at_once_per_app, ..ExportConfig::default() })
    }

    /// What is ready without waiting.
    fn now<T>(waiting: impl Future<Output = T>) -> Option<T> {
        match pin!(waiting).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        }
    }

    #[test]
    fn one_app_takes_no_more_than_its_own_and_gives_back_what_it_had() {
        let places = places(3, 2);
        let first = now(places.take("o#a")).unwrap();
        let _second = now(places.take("o#a")).unwrap();
        assert!(now(places.take("o#a")).is_none());
        let _other = now(places.take("o#b")).unwrap();
        assert!(now(places.take("o#c")).is_none(), "three are under way");
        drop(first);
        assert!(now(places.take("o#c")).is_some());
    }

    #[test]
    fn who_waits_is_let_in_before_who_comes_later() {
        let places = places(1, 1);
        let running = now(places.take("o#a")).unwrap();
        let mut context = Context::from_waker(Waker::noop());
        let mut first = pin!(places.take("o#b"));
        assert!(first.as_mut().poll(&mut context).is_pending());
        assert!(now(places.take("o#a")).is_none());
        drop(running);
        assert!(now(places.take("o#a")).is_none(), "it has had its turn");
        assert!(first.as_mut().poll(&mut context).is_ready());
    }

    #[test]
    fn apps_without_exports_are_forgotten() {
        let places = places(1, 1);
        for number in 0..100 {
            drop(now(places.take(&format!("o#{number}"))).unwrap());
        }
        assert_eq!(places.per_app.lock().unwrap().len(), 1);
    }
}
