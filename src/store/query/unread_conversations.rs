//! What a user has not read, by conversation.

use clickhouse::Row;
use serde::Deserialize;

use super::Queries;
use crate::event::{AppId, UserId};
use crate::store::StoreError;

/// How much of a conversation a user has not read.
#[derive(Clone, Debug, PartialEq, Eq, Row, Deserialize)]
pub struct UnreadConversation {
    /// The conversation's key.
    pub conversation: String,
    /// Messages that he has neither sent nor read; at least one.
    pub unread: u64,
}

impl Queries {
    /// The keys of conversations that concern a user, in their order: single ones in which somebody wrote to him, and
    /// groups whose roster names him or in which he has sent, read or marked. At most `limit`, behind the key `after`.
    ///
    /// # Errors
    /// What ClickHouse said.
    pub async fn conversations_of(
        &self,
        app: AppId<'_>,
        user: UserId<'_>,
        after: &str,
        limit: usize,
    ) -> Result<Vec<String>, StoreError> {
        let query = self
            .statements
            .client
            .query(include_str!("user_conversations.sql"))
            .bind(app.as_str())
            .bind(user.as_str())
            .bind(after)
            .bind(limit as u64);
        self.statements.reading("messages").bounded(query.fetch_all::<String>()).await
    }

    /// Which of these conversations hold something that a user has not read, and how much (DESIGN.md section 4), by key.
    ///
    /// # Errors
    /// What ClickHouse said.
    pub async fn unread_conversations(
        &self,
        app: AppId<'_>,
        user: UserId<'_>,
        conversations: &[String],
    ) -> Result<Vec<UnreadConversation>, StoreError> {
        if conversations.is_empty() {
            return Ok(Vec::new());
        }
        let query = self
            .statements
            .client
            .query(include_str!("unread_conversations.sql"))
            .bind(app.as_str())
            .bind(user.as_str())
            .bind(conversations);
        self.statements.reading("messages").bounded(query.fetch_all::<UnreadConversation>()).await
    }
}
