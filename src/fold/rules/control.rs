//! Control records: policies and erasures, numbered together per app.

use crate::event::{AppId, Control, Erase, UserId};
use crate::fold::fact::{ControlFact, PolicyFact, Position, Sink};
use crate::fold::{Outcome, Partition};

impl Partition {
    /// Takes a control record: `duplicate` where its app and version were met, else `applied`.
    pub(in crate::fold) fn apply_control(
        &mut self,
        control: &Control,
        position: Position,
        sink: &mut impl Sink,
    ) -> Outcome {
        let version = match control {
            Control::Policy(policy) => policy.version,
            Control::Erase(erase) => erase.version,
        };
        let app = self.apps.intern(control.app());
        let outcome = if self.apps.meet_version(app, version) {
            match control {
                Control::Policy(policy) => self.apps.add_policy(app, policy),
                Control::Erase(erase) => {
                    self.forget(app, UserId::trusted(&erase.user), position, sink);
                    self.apps.note_erasure(app);
                }
            }
            sink.policy(&PolicyFact { control: fact_of(control), position });
            Outcome::Applied
        } else {
            Outcome::Duplicate
        };
        self.ledger.count_record(app, Some(control.event_type()), outcome);
        outcome
    }
}

fn fact_of(control: &Control) -> ControlFact<'_> {
    match control {
        Control::Policy(policy) => ControlFact::Policy(policy),
        Control::Erase(Erase { app, version, user }) => {
            ControlFact::Erase { app: AppId::trusted(app), version: *version, user: UserId::trusted(user) }
        }
    }
}
