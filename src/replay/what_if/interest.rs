//! Somebody waits for the answer; when he does not any more, nothing goes on.

use std::future::Future;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::WhatIfError;
use crate::store::{StoreError, StoredRows};

/// Whether anybody still waits for an answer.
#[derive(Debug)]
pub struct Interest(oneshot::Receiver<()>);

impl Interest {
    /// Interest, and what keeps it: it is lost where that is dropped.
    pub fn pair() -> (impl Send + 'static, Self) {
        let (waiting, lost) = oneshot::channel::<()>();
        (waiting, Self(lost))
    }

    /// Lets nothing go on that nobody waits for.
    pub(super) fn check(&mut self) -> Result<(), WhatIfError> {
        match self.0.try_recv() {
            Err(oneshot::error::TryRecvError::Empty) => Ok(()),
            _ => Err(WhatIfError::Abandoned),
        }
    }
}

/// ClickHouse, asked for as long as somebody waits. Blocks.
pub(super) struct Tables<'a> {
    pub(super) stored: &'a StoredRows,
    pub(super) interest: Interest,
    runtime: &'a Handle,
}

impl<'a> Tables<'a> {
    pub(super) fn new(stored: &'a StoredRows, runtime: &'a Handle, interest: Interest) -> Self {
        Self { stored, interest, runtime }
    }

    /// Waits for an answer. The question ends in ClickHouse as soon as nobody waits for what it is part of.
    pub(super) fn ask<T>(&mut self, question: impl Future<Output = Result<T, StoreError>>) -> Result<T, WhatIfError> {
        self.interest.check()?;
        let lost = &mut self.interest.0;
        self.runtime.block_on(async {
            tokio::select! {
                _ = lost => Err(WhatIfError::Abandoned),
                answer = question => answer.map_err(|error| error.of_limited_statement().into()),
            }
        })
    }
}
