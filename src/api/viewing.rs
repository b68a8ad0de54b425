//! Who may see what of which messages, decided for any number of messages at once.

use std::collections::{BTreeSet, HashSet};

use super::ApiState;
use super::access::Access;
use super::error::ApiError;
use crate::config::TokenRole;
use crate::event::Chat;
use crate::policy::Viewers;
use crate::store::query::StoredMessage;

/// What decides whether a caller may see messages of his app.
#[derive(Debug)]
pub(crate) struct Viewing {
    /// The rule for reader lists in force now; `None` where it does not matter.
    viewers: Option<Viewers>,
    /// Conversation keys of the groups asked for that the caller is a member of; where that matters.
    memberships: HashSet<String>,
}

impl ApiState {
    /// What decides about these messages for a caller: nothing is asked for services, administrators and senders.
    ///
    /// # Errors
    /// What ClickHouse said.
    pub(crate) async fn viewing<'a>(
        &self,
        access: &Access,
        messages: impl IntoIterator<Item = &'a StoredMessage>,
    ) -> Result<Viewing, ApiError> {
        let caller = access.caller();
        let is_in_question = |message: &&StoredMessage| message.chat == Chat::Group && message.sender != caller.subject;
        let groups: BTreeSet<&str> = match caller.role {
            TokenRole::Service | TokenRole::Admin => BTreeSet::new(),
            TokenRole::User => {
                messages.into_iter().filter(is_in_question).map(|message| message.key.conversation.as_str()).collect()
            }
        };
        if groups.is_empty() {
            return Ok(Viewing { viewers: None, memberships: HashSet::new() });
        }
        let viewers = self.queries.policy_in_force(access.app(), super::now()).await?.group.viewers;
        let memberships = match viewers {
            Viewers::Members => self.queries.memberships(access.app(), &groups, &caller.subject).await?,
            Viewers::Sender | Viewers::App => HashSet::new(),
        };
        Ok(Viewing { viewers: Some(viewers), memberships })
    }
}

impl Viewing {
    /// Whether the caller may see this message's readers, or what became of it in a single chat. Each wider rule of
    /// `group.viewers` includes the narrower: a sender who left the group still sees his own list.
    ///
    /// # Errors
    /// [`ApiError::NotSender`], [`ApiError::NotMember`] or [`ApiError::Forbidden`].
    pub(crate) fn check(&self, access: &Access, message: &StoredMessage) -> Result<(), ApiError> {
        let caller = access.caller();
        if message.chat == Chat::Single {
            return access.require_one_of(&[&message.sender, &message.recipient]);
        }
        if caller.role != TokenRole::User || caller.subject == message.sender {
            return Ok(());
        }
        match self.viewers {
            Some(Viewers::App) => Ok(()),
            Some(Viewers::Members) if self.memberships.contains(&message.key.conversation) => Ok(()),
            Some(Viewers::Members) => Err(ApiError::NotMember),
            Some(Viewers::Sender) | None => Err(ApiError::NotSender),
        }
    }
}
