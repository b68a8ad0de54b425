//! Who may see the reader list of a message.

use super::Caller;
use crate::api::ApiState;
use crate::api::error::ApiError;
use crate::config::TokenRole;
use crate::event::{AppId, ConversationKey};
use crate::policy::Viewers;
use crate::store::query::GroupMessage;

impl ApiState {
    /// Whether the caller may see the reader list of this message, by the policy in force now (DESIGN.md section 3,
    /// `group.viewers`). Each wider rule includes the narrower: a sender who left the group still sees his own list.
    ///
    /// # Errors
    /// [`ApiError::NotSender`] or [`ApiError::NotMember`]; or what ClickHouse said.
    pub(crate) async fn check_viewer(&self, caller: &Caller, message: &GroupMessage) -> Result<(), ApiError> {
        if caller.role != TokenRole::User || caller.subject == message.sender {
            return Ok(());
        }
        let app = AppId::trusted(&message.app);
        match self.queries.policy_in_force(app, crate::api::now()).await?.group.viewers {
            Viewers::App => Ok(()),
            Viewers::Sender => Err(ApiError::NotSender),
            Viewers::Members => {
                let group = ConversationKey::trusted(&message.conversation);
                let is_member = self.queries.is_member(app, group, &caller.subject).await?;
                if is_member { Ok(()) } else { Err(ApiError::NotMember) }
            }
        }
    }
}
