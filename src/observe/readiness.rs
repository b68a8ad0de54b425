//! Whether a process can do its work, and if not, why.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use utoipa::ToSchema;

/// The conditions that a process needs, each reported by the part that knows. Clones share the conditions.
#[derive(Clone, Debug, Default)]
pub struct Readiness {
    conditions: Arc<Mutex<BTreeMap<String, ConditionState>>>,
}

/// How one condition stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct ConditionState {
    /// Whether it holds.
    pub met: bool,
    /// Why it does not, or what an operator should know although it does; mostly `null` where it does.
    #[schema(required)]
    pub reason: Option<String>,
}

/// How all conditions stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Report {
    /// Whether all of them hold.
    pub ready: bool,
    /// Each by its name.
    pub conditions: BTreeMap<String, ConditionState>,
}

/// The side of one condition that its part reports to.
#[derive(Clone, Debug)]
pub struct Condition {
    name: String,
    readiness: Readiness,
}

impl Readiness {
    /// A condition that is not met until its part says so. The same name gives the same condition.
    pub fn condition(&self, name: impl Into<String>) -> Condition {
        let name = name.into();
        let state = ConditionState { met: false, reason: Some("not reported yet".to_owned()) };
        self.lock().entry(name.clone()).or_insert(state);
        Condition { name, readiness: self.clone() }
    }

    /// How all conditions stand now.
    pub fn report(&self) -> Report {
        let conditions = self.lock().clone();
        Report { ready: conditions.values().all(|state| state.met), conditions }
    }

    /// Every change is a single insert, so a panic elsewhere cannot have left the map half changed.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, ConditionState>> {
        self.conditions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Condition {
    /// It holds.
    pub fn met(&self) {
        self.readiness.lock().insert(self.name.clone(), ConditionState { met: true, reason: None });
    }

    /// It holds; the reason says what an operator has still to do.
    pub fn met_for_now(&self, reason: impl Into<String>) {
        self.readiness.lock().insert(self.name.clone(), ConditionState { met: true, reason: Some(reason.into()) });
    }

    /// It does not hold; the reason says what an operator can do.
    pub fn unmet(&self, reason: impl Into<String>) {
        self.readiness.lock().insert(self.name.clone(), ConditionState { met: false, reason: Some(reason.into()) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_only_while_every_condition_holds() {
        let readiness = Readiness::default();
        assert!(readiness.report().ready, "nothing is needed");
        let kafka = readiness.condition("kafka_assigned");
        let clickhouse = readiness.condition("clickhouse_answers");
        assert!(!readiness.report().ready, "nothing was reported");
        kafka.met();
        clickhouse.met();
        assert!(readiness.report().ready);
        clickhouse.unmet("no answer within 2 s");
        let report = readiness.report();
        assert!(!report.ready);
        let reason =
            |report: Report| report.conditions.get("clickhouse_answers").and_then(|state| state.reason.clone());
        assert_eq!(reason(report).as_deref(), Some("no answer within 2 s"));
        clickhouse.met_for_now("it is to be replaced soon");
        assert!(readiness.report().ready);
        assert_eq!(reason(readiness.report()).as_deref(), Some("it is to be replaced soon"));
    }

    #[test]
    fn asking_for_a_condition_again_keeps_its_state() {
        let readiness = Readiness::default();
        readiness.condition("kafka_assigned").met();
        let _again = readiness.condition("kafka_assigned");
        assert!(readiness.report().ready);
    }
}
