//! What can be seen from outside: log lines, metrics, health.
//!
//! A process makes one [`Telemetry`] at its start and hands clones of it to its parts. A part registers its metrics in
//! [`Telemetry::registry`] and reports what it needs to work as a [`Condition`] of [`Telemetry::readiness`]. Both are
//! served by [`routes`]: inside the query endpoint, and alone at a worker's `metrics.listen` by [`serve_in_background`].

mod fail_points;
mod log_lines;
mod progress;
mod readiness;
pub(crate) mod routes;

pub(crate) use fail_points::reach;
pub use fail_points::{FailPoint, arm_fail_points};
pub use log_lines::{LogError, init_log};
pub use progress::Progress;
pub use readiness::{Condition, ConditionState, Readiness, Report};
pub use routes::{BackgroundServer, Liveness, ServeError, routes, serve_in_background};

/// What a process shows of itself. Clones share everything.
#[derive(Clone, Debug, Default)]
pub struct Telemetry {
    /// Where metrics are registered, named `seenby_*` with their unit.
    pub registry: prometheus::Registry,
    /// What this process needs to work, and whether it has it.
    pub readiness: Readiness,
}
