//! What decides whether a group message that asks for receipts is opened.

use clickhouse::Row;
use serde::Deserialize;

use super::Queries;
use crate::event::{AppId, ConversationKey, Role, UserId};
use crate::fold::Asker;
use crate::policy::{DAY_MILLIS, QuotaDay};
use crate::store::StoreError;

#[derive(Row, Deserialize)]
struct StandingRow {
    role_name: String,
    is_roster_known: u8,
}

impl Queries {
    /// How many messages of a group were opened on a day.
    ///
    /// # Errors
    /// What ClickHouse said.
    pub async fn opened_on(
        &self,
        app: AppId<'_>,
        group: ConversationKey<'_>,
        day: QuotaDay,
    ) -> Result<u64, StoreError> {
        let midnight = i64::from(day.days()) * DAY_MILLIS;
        let query = self
            .statements
            .client
            .query(include_str!("opened_on.sql"))
            .bind(app.as_str())
            .bind(group.as_str())
            .bind((midnight - DAY_MILLIS).max(0))
            .bind(midnight + 2 * DAY_MILLIS)
            .bind(day.days());
        self.statements.reading("messages").bounded(query.fetch_one::<u64>()).await
    }

    /// What is known of a user in a group now.
    ///
    /// # Errors
    /// What ClickHouse said.
    pub async fn standing(
        &self,
        app: AppId<'_>,
        group: ConversationKey<'_>,
        user: UserId<'_>,
    ) -> Result<Asker, StoreError> {
        let query = self
            .statements
            .client
            .query(include_str!("standing.sql"))
            .bind(user.as_str())
            .bind(app.as_str())
            .bind(group.as_str());
        let row = self.statements.reading("roster_changes").bounded(query.fetch_one::<StandingRow>()).await?;
        Ok(Asker { role: Role::from_name(&row.role_name), is_roster_known: row.is_roster_known == 1 })
    }
}
