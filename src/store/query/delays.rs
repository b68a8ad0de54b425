//! How long it took until messages were delivered and read.
//!
//! Of whole apps the ledger keeps histograms by the hour of record time, exact to a thirty-second of the delay; the tables
//! hold every receipt with its own time.

use clickhouse::Row;
use serde::Deserialize;

use super::Queries;
use crate::event::{AppId, ConversationKey, EventTime, EventType};
use crate::fold::delay;
use crate::fold::fact::ReceiptKind;
use crate::store::StoreError;

/// A range of time in steps of equal length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeSteps {
    /// Its first instant: a multiple of the step.
    pub from: EventTime,
    /// The instant behind it.
    pub until: EventTime,
    /// The step, in ms.
    pub step_millis: i64,
}

/// How long something took, in ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantiles {
    /// The median.
    pub p50: u64,
    /// Nine of ten took less.
    pub p90: u64,
    /// 95 of 100 took less.
    pub p95: u64,
    /// 99 of 100 took less.
    pub p99: u64,
}

/// Delays of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepDelays {
    /// When the step begins.
    pub start: EventTime,
    /// How many delays.
    pub count: u64,
    /// `None` where there are none.
    pub quantiles: Option<Quantiles>,
    /// How many more are in groups too small to be shown.
    pub withheld: u64,
}

/// How long it took until parts of the audience had read the messages of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudienceDelays {
    /// When the step begins.
    pub start: EventTime,
    /// Messages with a known audience.
    pub messages: u64,
    /// Messages that 50, 80 and 100 % of their audience have read, and how long that took.
    pub parts: [(u64, Option<Quantiles>); 3],
    /// How many more messages are in groups too small to be shown.
    pub withheld: u64,
}

/// Which groups' delays are asked for.
#[derive(Clone, Copy, Debug)]
pub struct AskedGroups<'a> {
    /// The app.
    pub app: AppId<'a>,
    /// One group; `None` for all of the app.
    pub group: Option<ConversationKey<'a>>,
    /// Members below which a group is not shown.
    pub smallest_shown: u32,
}

#[derive(Row, Deserialize)]
struct HistogramRow {
    #[serde(rename = "type")]
    event_type: String,
    start_ms: i64,
    histogram: (Vec<u16>, Vec<u64>),
}

#[derive(Row, Deserialize)]
struct ReceiptsRow {
    start_ms: i64,
    receipts: u64,
    quantiles: Vec<i64>,
}

#[derive(Row, Deserialize)]
struct ReadsRow {
    start_ms: i64,
    receipts: u64,
    quantiles: Vec<i64>,
    withheld: u64,
}

#[derive(Row, Deserialize)]
struct AudienceRow {
    start_ms: i64,
    messages: u64,
    half_messages: u64,
    half_quantiles: Vec<i64>,
    most_messages: u64,
    most_quantiles: Vec<i64>,
    all_messages: u64,
    all_quantiles: Vec<i64>,
    withheld: u64,
}

impl Queries {
    /// Delays of whole types of an app from the ledger, by type and hour of record time; each quantile is the middle of its
    /// bucket, at most [`delay::RELATIVE_ERROR`] off. Steps are whole hours.
    ///
    /// # Errors
    /// What ClickHouse said.
    pub async fn ledger_delays(
        &self,
        app: AppId<'_>,
        types: &[EventType],
        steps: TimeSteps,
    ) -> Result<Vec<(EventType, StepDelays)>, StoreError> {
        if types.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<&str> = types.iter().map(|event_type| event_type.name()).collect();
        let query = self
            .statements
            .client
            .query(include_str!("ledger_delays.sql"))
            .bind(steps.step_millis)
            .bind(app.as_str())
            .bind(steps.from.millis())
            .bind(steps.until.millis())
            .bind(&names)
            .bind(&names);
        let rows = self.statements.reading("ledger").bounded(query.fetch_all::<HistogramRow>()).await?;
        let delays = rows.into_iter().filter_map(|row| {
            let (buckets, totals) = row.histogram;
            let histogram: Vec<(u16, u64)> = buckets.into_iter().zip(totals).collect();
            let delays = StepDelays {
                start: EventTime::from_millis(row.start_ms),
                count: histogram.iter().map(|(_, total)| total).sum(),
                quantiles: quantiles_of_histogram(&histogram),
                withheld: 0,
            };
            Some((EventType::from_name(&row.event_type)?, delays))
        });
        Ok(delays.collect())
    }

    /// Delays of receipts in an app's single chats by their own time, exact.
    ///
    /// # Errors
    /// What ClickHouse said.
    pub async fn single_delays(
        &self,
        app: AppId<'_>,
        kind: ReceiptKind,
        steps: TimeSteps,
    ) -> Result<Vec<StepDelays>, StoreError> {
        let query = self
            .statements
            .client
            .query(include_str!("single_delays.sql"))
            .bind(steps.step_millis)
            .bind(steps.from.millis())
            .bind(steps.until.millis())
            .bind(app.as_str())
            .bind(format!("{app}/u/"))
            .bind(kind.name());
        let rows = self.statements.reading("receipts").bounded(query.fetch_all::<ReceiptsRow>()).await?;
        let delays = rows.into_iter().map(|row| StepDelays {
            start: EventTime::from_millis(row.start_ms),
            count: row.receipts,
            quantiles: quantiles(row.receipts, &row.quantiles),
            withheld: 0,
        });
        Ok(delays.collect())
    }

    /// Delays of reading in groups by the receipts' own time, exact; those of single chats may be among them, and those of
    /// small groups never are.
    ///
    /// # Errors
    /// What ClickHouse said.
    pub async fn read_delays(
        &self,
        asked: AskedGroups<'_>,
        with_singles: bool,
        steps: TimeSteps,
    ) -> Result<Vec<StepDelays>, StoreError> {
        let query = asked.bind(self.statements.client.query(include_str!("read_delays.sql")), steps).bind(with_singles);
        let rows = self.statements.reading("receipts").bounded(query.fetch_all::<ReadsRow>()).await?;
        let delays = rows.into_iter().map(|row| StepDelays {
            start: EventTime::from_millis(row.start_ms),
            count: row.receipts,
            quantiles: quantiles(row.receipts, &row.quantiles),
            withheld: row.withheld,
        });
        Ok(delays.collect())
    }

    /// How long it took until parts of the audience had read group messages, by the messages' time.
    ///
    /// # Errors
    /// What ClickHouse said.
    pub async fn audience_delays(
        &self,
        asked: AskedGroups<'_>,
        steps: TimeSteps,
    ) -> Result<Vec<AudienceDelays>, StoreError> {
        let query = asked.bind(self.statements.client.query(include_str!("audience_delays.sql")), steps);
        let rows = self.statements.reading("receipts").bounded(query.fetch_all::<AudienceRow>()).await?;
        let delays = rows.into_iter().map(|row| AudienceDelays {
            start: EventTime::from_millis(row.start_ms),
            messages: row.messages,
            parts: [
                (row.half_messages, quantiles(row.half_messages, &row.half_quantiles)),
                (row.most_messages, quantiles(row.most_messages, &row.most_quantiles)),
                (row.all_messages, quantiles(row.all_messages, &row.all_quantiles)),
            ],
            withheld: row.withheld,
        });
        Ok(delays.collect())
    }
}

impl AskedGroups<'_> {
    fn bind(&self, query: clickhouse::query::Query, steps: TimeSteps) -> clickhouse::query::Query {
        query
            .bind(steps.step_millis)
            .bind(steps.from.millis())
            .bind(steps.until.millis())
            .bind(self.app.as_str())
            .bind(format!("{}/g/", self.app))
            // No key is empty.
            .bind(self.group.map_or("", |group| group.as_str()))
            .bind(self.smallest_shown)
    }
}

/// Takes the quantiles that a statement gives, which gives zeros for nothing.
fn quantiles(count: u64, found: &[i64]) -> Option<Quantiles> {
    let [p50, p90, p95, p99] = found.iter().map(|delay| delay.unsigned_abs()).collect::<Vec<_>>().try_into().ok()?;
    (count > 0).then_some(Quantiles { p50, p90, p95, p99 })
}

/// The quantiles of a histogram with ascending buckets; `None` where it is empty.
fn quantiles_of_histogram(histogram: &[(u16, u64)]) -> Option<Quantiles> {
    let count: u64 = histogram.iter().map(|(_, total)| total).sum();
    let at = |percent: u64| {
        let rank = count * percent / 100;
        let mut passed = 0;
        let bucket = histogram.iter().find(|(_, total)| {
            passed += total;
            rank < passed
        });
        bucket.map(|(number, _)| {
            let (lower, upper) = delay::bounds(*number);
            lower.midpoint(upper - 1)
        })
    };
    Some(Quantiles { p50: at(50)?, p90: at(90)?, p95: at(95)?, p99: at(99)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_a_histogram_are_those_of_its_delays_within_the_stated_error() {
        let delays: Vec<u64> = (0..1_000).map(|number| number * number).collect();
        let mut histogram = std::collections::BTreeMap::<u16, u64>::new();
        for delay in &delays {
            *histogram.entry(delay::bucket_of(*delay)).or_default() += 1;
        }
        let histogram: Vec<(u16, u64)> = histogram.into_iter().collect();
        let Some(found) = quantiles_of_histogram(&histogram) else { unreachable!("there are delays") };
        for (found, rank) in [(found.p50, 500), (found.p90, 900), (found.p95, 950), (found.p99, 990)] {
            let exact = delays[rank];
            assert!(found.abs_diff(exact) as f64 <= delay::RELATIVE_ERROR * exact as f64, "{found} for {exact}");
        }
        assert_eq!(quantiles_of_histogram(&[]), None);
        let one = quantiles_of_histogram(&[(7, 1)]);
        assert_eq!(one, Some(Quantiles { p50: 7, p90: 7, p95: 7, p99: 7 }));
    }
}
