//! What goes away with time: weeks behind the retention, and flush boundaries within hours that are long closed.
//!
//! Time is the log's own, never the wall clock's: a backfill of a month ago lives as long as it would have then. Rosters
//! and policies stay; what is left of everything else is as exact as before.

use std::time::Duration;

use chrono::{DateTime, Datelike, Days, NaiveDate};
use clickhouse::sql::Identifier;
use clickhouse::{Client, Row};
use serde::Deserialize;

use super::connection::{Attempt, connect, statement_timeout};
use super::{StoreError, Table, TopicIdentity, completeness};
use crate::config::{Config, WorkerConfig};
use crate::event::EventTime;
use crate::fold::LATENESS_MILLIS;
use crate::policy::DAY_MILLIS;

/// Tables by the week of the message.
const BY_MESSAGE: [Table; 6] = [
    Table::Receipts,
    Table::Recalls,
    Table::Marks,
    Table::MessageCounts,
    Table::SenderCounts,
    // Last: without its message nothing else of a week is found.
    Table::Messages,
];

/// Tables by the week of the receipt, which may have waited for its message.
const BY_RECEIPT: [Table; 3] = [Table::Parked, Table::Settlements, Table::Rejections];

/// Stretches of the ledger that are thinned at a time: bounds what a statement holds.
const STRETCHES_AT_ONCE: usize = 500;

/// Cleans the tables of one topic.
#[derive(Clone, Debug)]
pub struct Janitor {
    client: Client,
    topic: TopicIdentity,
    retention_days: u32,
    ledger_detail_days: u32,
    timeout: Duration,
}

/// What a cleaning took away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Weeks dropped, by table and Monday.
    pub weeks: Vec<(Table, String)>,
    /// Flush boundaries taken out of the ledger.
    pub boundaries: u64,
}

#[derive(Row, Deserialize)]
struct LongestRow {
    validity_ms: u64,
    wait_ms: u64,
}

/// What lies between two boundaries of the ledger that are kept.
#[derive(Row, Deserialize)]
struct StretchRow {
    partition: u32,
    /// Starts of the hours that end with it, ms since 1970.
    hours: Vec<i64>,
    /// The boundary kept before it; 0 for the first.
    boundary_before: u64,
    /// The boundary kept at its end.
    boundary: u64,
    /// Boundaries within it, which are not kept.
    boundaries_over: u64,
}

impl Janitor {
    /// For the tables of the configured database.
    pub fn new(config: &Config, topic: TopicIdentity) -> Self {
        let WorkerConfig { retention_days, ledger_detail_days, .. } = config.worker;
        Self {
            client: connect(&config.clickhouse),
            topic,
            retention_days,
            ledger_detail_days,
            timeout: statement_timeout(&config.clickhouse),
        }
    }

    /// Takes away what is over; can be cut anywhere and run again.
    ///
    /// # Errors
    /// What ClickHouse said. What was not taken away is taken the next time; weeks that cannot be dropped do not keep the
    /// ledger from being thinned.
    pub async fn clean(&self) -> Result<Cleaned, StoreError> {
        let (weeks, boundaries) = (self.drop_weeks().await, self.thin_ledger().await);
        Ok(Cleaned { weeks: weeks?, boundaries: boundaries? })
    }

    async fn drop_weeks(&self) -> Result<Vec<(Table, String)>, StoreError> {
        let mut dropped = Vec::new();
        // For ever.
        if self.retention_days == 0 {
            return Ok(dropped);
        }
        let query = self.client.query(include_str!("sql/janitor_watermark.sql"));
        let query = query.bind(self.topic.epoch.get()).bind(&self.topic.topic);
        let watermark: Option<u64> = self.reading("ledger").bounded(query.fetch_optional()).await?;
        let Some(watermark) = watermark.and_then(|millis| i64::try_from(millis).ok()) else { return Ok(dropped) };
        let query = self.client.query(include_str!("sql/janitor_longest.sql"));
        let longest: LongestRow = self.reading("messages").bounded(query.fetch_one()).await?;

        let held = |longest: u64| {
            let longest = i64::try_from(longest).unwrap_or(i64::MAX);
            longest.saturating_add(LATENESS_MILLIS + i64::from(self.retention_days) * DAY_MILLIS)
        };
        let message_floor = EventTime::from_millis(watermark.saturating_sub(held(longest.validity_ms)).max(0));
        let longest_either = longest.validity_ms.max(longest.wait_ms);
        let receipt_floor = EventTime::from_millis(watermark.saturating_sub(held(longest_either)).max(0));
        for (tables, floor) in [(&BY_MESSAGE[..], message_floor), (&BY_RECEIPT[..], receipt_floor)] {
            let Some(first_kept) = week_of(floor) else { continue };
            for table in tables {
                dropped.extend(self.drop_weeks_of(*table, &first_kept, !dropped.is_empty()).await?);
            }
        }
        Ok(dropped)
    }

    async fn drop_weeks_of(
        &self,
        table: Table,
        first_kept: &str,
        were_others_dropped: bool,
    ) -> Result<Vec<(Table, String)>, StoreError> {
        let query = self.client.query(include_str!("sql/janitor_weeks.sql")).bind(Identifier(table.name()));
        let weeks: Vec<String> = self.reading(table.name()).bounded(query.bind(first_kept).fetch_all()).await?;
        for week in &weeks {
            // First, or a hydration would miss the rows.
            completeness::count_as_dropped(&self.client, table, week, self.timeout).await?;
        }
        if table == Table::Messages && (were_others_dropped || !weeks.is_empty()) {
            self.delete_facts_before(first_kept).await?;
        }
        for week in &weeks {
            let statement = self.client.query("ALTER TABLE ? DROP PARTITION ID ?").bind(Identifier(table.name()));
            self.cleaning(table.name()).bounded(statement.bind(week).execute()).await?;
        }
        Ok(weeks.into_iter().map(|week| (table, week)).collect())
    }

    /// Takes out what is told of older messages in the table that has no weeks, while they are still found by them. ClickHouse
    /// rewrites its parts in its own time.
    async fn delete_facts_before(&self, first_kept: &str) -> Result<(), StoreError> {
        let statement = self.client.query(include_str!("sql/janitor_facts_before.sql")).bind(first_kept);
        self.cleaning("message_facts").bounded(statement.execute()).await
    }

    /// Leaves one boundary an hour of the hours before the last `ledger_detail_days`. Each flush writes every cell it
    /// changed: without this the ledger would grow by thousands of rows a minute for ever.
    async fn thin_ledger(&self) -> Result<u64, StoreError> {
        let mut thinned = 0;
        loop {
            let stretches = self.stretches_to_thin().await?;
            for of_partition in stretches.chunk_by(|left, right| left.partition == right.partition) {
                self.complete_hours(of_partition).await?;
                self.thin(of_partition).await?;
            }
            thinned += stretches.iter().map(|stretch| stretch.boundaries_over).sum::<u64>();
            if stretches.len() < STRETCHES_AT_ONCE {
                return Ok(thinned);
            }
        }
    }

    /// The next stretches of the ledger with boundaries to take out, by partition.
    async fn stretches_to_thin(&self) -> Result<Vec<StretchRow>, StoreError> {
        let (epoch, topic) = (self.topic.epoch.get(), &self.topic.topic);
        let query = self.client.query(include_str!("sql/janitor_closed_hours.sql"));
        let query = query.bind(self.ledger_detail_days * 24);
        let query = query.bind(epoch).bind(topic).bind(epoch).bind(topic).bind(epoch).bind(topic);
        self.reading("ledger").bounded(query.bind(STRETCHES_AT_ONCE as u64).fetch_all()).await
    }

    /// Makes the boundary that is kept of each stretch of one partition complete by itself.
    async fn complete_hours(&self, stretches: &[StretchRow]) -> Result<(), StoreError> {
        let Some(first) = stretches.first() else { return Ok(()) };
        let hours: Vec<i64> = stretches.iter().flat_map(|stretch| stretch.hours.iter().copied()).collect();
        let boundary_of_each = |stretch: &StretchRow| vec![stretch.boundary; stretch.hours.len()];
        let boundaries: Vec<u64> = stretches.iter().flat_map(boundary_of_each).collect();
        let query = self.client.query(include_str!("sql/janitor_complete_hours.sql")).bind(hours).bind(boundaries);
        let query = query.bind(self.topic.epoch.get()).bind(&self.topic.topic).bind(first.partition);
        self.cleaning("ledger").bounded(query.execute()).await
    }

    /// Takes out what lies within stretches of one partition.
    async fn thin(&self, stretches: &[StretchRow]) -> Result<(), StoreError> {
        let (Some(first), Some(last)) = (stretches.first(), stretches.last()) else { return Ok(()) };
        let before: Vec<u64> = stretches.iter().map(|stretch| stretch.boundary_before).collect();
        let boundaries: Vec<u64> = stretches.iter().map(|stretch| stretch.boundary).collect();
        let query = self.client.query(include_str!("sql/janitor_thin.sql"));
        let query = query.bind(self.topic.epoch.get()).bind(&self.topic.topic).bind(first.partition);
        let query = query.bind(first.boundary_before).bind(last.boundary).bind(before).bind(boundaries);
        self.cleaning("ledger").bounded(query.execute()).await
    }

    fn reading(&self, target: &'static str) -> Attempt<'static> {
        Attempt { doing: "reading", target, timeout: self.timeout }
    }

    fn cleaning(&self, target: &'static str) -> Attempt<'static> {
        Attempt { doing: "cleaning", target, timeout: self.timeout }
    }
}

/// The week of a time as ClickHouse names its partition: the Monday, as eight digits.
fn week_of(time: EventTime) -> Option<String> {
    let date: NaiveDate = DateTime::from_timestamp_millis(time.millis())?.date_naive();
    let monday = date.checked_sub_days(Days::new(u64::from(date.weekday().num_days_from_monday())))?;
    Some(monday.format("%Y%m%d").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_week_is_named_by_its_monday() {
        let week = |millis| week_of(EventTime::from_millis(millis));
        assert_eq!(week(0).as_deref(), Some("19691229"));
        // 2026-11-23 is a Monday.
        assert_eq!(week(1_795_392_000_000).as_deref(), Some("20261123"));
        assert_eq!(week(1_795_391_999_999).as_deref(), Some("20261116"));
    }
}
