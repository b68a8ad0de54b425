//! How long it took until messages were delivered and read, and until parts of a group had read them.
//!
//! Two sources: of a whole app the ledger's histograms, by the hour of the broker's time; of single chats, of groups and by
//! the minute the receipts themselves, by their own time, which cost a look at each of them. Which one a series comes from
//! is told with it.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::access::Access;
use super::as_of::AppAsOf;
use super::description::{ChatWord, Id};
use super::error::{ApiError, CommonProblems};
use super::in_path::AppPath;
use super::query_string::{invalid, parse_id, parse_time, parse_word, set_once, unknown};
use super::time_range::{Step, TimeRange};
use crate::event::{AppId, Chat, ConversationKey, EventTime, EventType};
use crate::fold::fact::ReceiptKind;
use crate::store::query::{AskedGroups, AudienceDelays, Quantiles, StepDelays};

/// The longest range for which all receipts of an app are looked at, in days: a week of 1.4 million receipts takes one to
/// two seconds, a month of six million nine, which is more than a statement may take.
const LONGEST_DAYS_OF_RECEIPTS: i64 = 7;

/// Delays by step of time.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct Latency {
    /// How time is divided.
    step: Step,
    /// The first instant, in ms since 1970: the start of a step.
    from: i64,
    /// The instant behind the last one, in ms since 1970: the end of a step.
    to: i64,
    /// One a kind.
    series: Vec<LatencySeries>,
    /// How long parts of the audience took, by the time of the message; `null` where groups were not asked for.
    #[schema(required)]
    audience: Option<Vec<AudienceBucket>>,
    /// What is in groups of fewer members than `api.latency_min_group_size`, and not shown.
    withheld: Withheld,
    /// How far the answer is complete; `null` before the first flush of all.
    #[schema(required)]
    as_of: Option<AppAsOf>,
}

/// Delays of one kind.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct LatencySeries {
    /// From sending to what.
    kind: LatencyKind,
    /// `ledger`: by the broker's time of the receipt, each percentile within a thirty-second of its value; `receipts`: by
    /// the receipt's own time, exact.
    source: &'static str,
    /// Steps with any.
    buckets: Vec<LatencyBucket>,
}

/// Delays of one step, in ms.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct LatencyBucket {
    /// When the step begins, in ms since 1970.
    start: i64,
    /// How many delays.
    count: u64,
    /// The median.
    p50: u64,
    /// Nine of ten are shorter.
    p90: u64,
    /// 95 of 100 are shorter.
    p95: u64,
    /// 99 of 100 are shorter.
    p99: u64,
}

/// How long parts of the audience took to read the messages sent within one step.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct AudienceBucket {
    /// When the step begins, in ms since 1970.
    start: i64,
    /// Messages open for receipts whose audience is known and not empty.
    messages: u64,
    /// Until half of the audience had read.
    by_50_percent: PartOfAudience,
    /// Until four of five had.
    by_80_percent: PartOfAudience,
    /// Until everybody had.
    by_100_percent: PartOfAudience,
}

/// Over the messages that so many have read: how long that took, in ms; `null` where there are none.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct PartOfAudience {
    /// Messages that so many have read.
    messages: u64,
    /// The median.
    #[schema(required)]
    p50: Option<u64>,
    /// Nine of ten are shorter.
    #[schema(required)]
    p90: Option<u64>,
    /// 95 of 100 are shorter.
    #[schema(required)]
    p95: Option<u64>,
    /// 99 of 100 are shorter.
    #[schema(required)]
    p99: Option<u64>,
}

/// What is not shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Withheld {
    /// Receipts in the series.
    receipts: u64,
    /// Messages in the audience's part.
    messages: u64,
}

/// From sending to what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LatencyKind {
    /// To its receipt of delivery; single chats.
    Delivered,
    /// To its own receipt of reading.
    Read,
    /// To the conversation read that covered it; single chats.
    ConversationRead,
}

impl LatencyKind {
    const WORDS: [(&'static str, Self); 3] =
        [("delivered", Self::Delivered), ("read", Self::Read), ("conversation_read", Self::ConversationRead)];

    const fn event_type(self) -> EventType {
        match self {
            Self::Delivered => EventType::Delivered,
            Self::Read => EventType::Read,
            Self::ConversationRead => EventType::ConversationRead,
        }
    }
}

/// Which delays.
#[derive(Clone, Debug, Default, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct LatencyQuery {
    /// `single` or `group`; absent: both.
    #[param(required = false, inline, value_type = ChatWord)]
    chat: Option<Chat>,
    /// `delivered`, `read` or `conversation_read`; absent: all that the chat and the step have. Groups have `read` alone;
    /// by the minute there are no conversation reads.
    #[param(required = false, value_type = LatencyKind)]
    kind: Option<LatencyKind>,
    /// The id of one group; includes `chat=group`.
    #[param(required = false, value_type = Id)]
    group: Option<String>,
    /// The first instant, in ms since 1970, rounded down to a full step; absent: 60 minutes, 24 hours or 30 days before
    /// `to`, or 7 days where no more are answered.
    #[param(required = false, value_type = Option<i64>, minimum = 0, maximum = 4102444799999_i64)]
    from: Option<EventTime>,
    /// The instant behind the last one, in ms since 1970, rounded up to a full step; absent: now.
    #[param(required = false, value_type = Option<i64>, minimum = 0, maximum = 4102444799999_i64)]
    to: Option<EventTime>,
    /// `minute` (at most one day is answered), `hour` (31 days) or `day`, of UTC (400 days). Where all receipts of the app
    /// have to be looked at (a chat without a group, or minutes), at most 7 days.
    #[param(required = false, value_type = Step)]
    step: Option<Step>,
}

/// Where a series comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Ledger,
    Receipts,
}

/// How long it took until messages were delivered and read.
#[utoipa::path(
    get,
    path = "/v1/{org}/{app}/latency",
    tag = "app",
    params(AppPath, LatencyQuery),
    responses((status = 200, description = "Delays by step of time.", body = Latency), CommonProblems),
    security(("bearer" = []))
)]
pub(crate) async fn latency(
    State(state): State<Arc<ApiState>>,
    access: Access,
    RawQuery(query): RawQuery,
) -> Result<Json<Latency>, ApiError> {
    access.require_service()?;
    let query = LatencyQuery::parse(query.as_deref().unwrap_or_default())?;
    let step = query.step.unwrap_or(Step::Hour);
    let kinds = query.kinds(step)?;
    let is_of_receipts = kinds.iter().any(|kind| query.source(*kind, step) == Source::Receipts);
    let looks_at_all = is_of_receipts && query.group.is_none();
    let most_days = if looks_at_all { LONGEST_DAYS_OF_RECEIPTS } else { step.longest_days() };
    let range = TimeRange::new(step, most_days, query.from, query.to, super::now())?;

    let as_of = AppAsOf::of(&state.queries.frontiers().await?);
    let (series, mut withheld) = state.series(access.app(), &query, &kinds, range).await?;
    let mut audience = None;
    if query.chat == Some(Chat::Group) {
        let conversation = query.conversation(access.app());
        let found = state.queries.audience_delays(state.groups(access.app(), conversation.as_deref()), range.steps());
        let found = found.await?;
        withheld.messages = found.iter().map(|step| step.withheld).sum();
        audience = Some(found.iter().filter(|step| step.messages > 0).map(AudienceBucket::of).collect());
    }
    Ok(Json(Latency {
        step: range.step,
        from: range.from.millis(),
        to: range.to.millis(),
        series,
        audience,
        withheld,
        as_of,
    }))
}

impl ApiState {
    fn groups<'a>(&self, app: AppId<'a>, conversation: Option<&'a str>) -> AskedGroups<'a> {
        let group = conversation.map(ConversationKey::trusted);
        AskedGroups { app, group, smallest_shown: self.latency_min_group_size }
    }

    /// One series a kind, and how much of them is not shown.
    async fn series(
        &self,
        app: AppId<'_>,
        query: &LatencyQuery,
        kinds: &[LatencyKind],
        range: TimeRange,
    ) -> Result<(Vec<LatencySeries>, Withheld), ApiError> {
        let from_ledger = kinds.iter().filter(|kind| query.source(**kind, range.step) == Source::Ledger);
        let types: Vec<EventType> = from_ledger.map(|kind| kind.event_type()).collect();
        let ledger = self.queries.ledger_delays(app, &types, range.steps()).await?;
        let conversation = query.conversation(app);
        let mut withheld = Withheld::default();
        let mut series = Vec::new();
        for &kind in kinds {
            let steps: Vec<StepDelays> = match (query.source(kind, range.step), query.chat, kind) {
                (Source::Ledger, _, _) => {
                    let of_kind = ledger.iter().filter(|(event_type, _)| *event_type == kind.event_type());
                    of_kind.map(|(_, delays)| *delays).collect()
                }
                // Nothing is delivered in groups.
                (Source::Receipts, _, LatencyKind::Delivered) => {
                    self.queries.single_delays(app, ReceiptKind::Delivered, range.steps()).await?
                }
                (Source::Receipts, Some(Chat::Single), _) => {
                    self.queries.single_delays(app, ReceiptKind::Read, range.steps()).await?
                }
                // What single chats are taken off from must not hold small groups either.
                (Source::Receipts, chat, _) => {
                    let groups = self.groups(app, conversation.as_deref());
                    self.queries.read_delays(groups, chat.is_none(), range.steps()).await?
                }
            };
            withheld.receipts += steps.iter().map(|step| step.withheld).sum::<u64>();
            series.push(LatencySeries {
                kind,
                source: query.source(kind, range.step).name(),
                buckets: steps.iter().filter_map(LatencyBucket::of).collect(),
            });
        }
        Ok((series, withheld))
    }
}

impl Source {
    const fn name(self) -> &'static str {
        match self {
            Self::Ledger => "ledger",
            Self::Receipts => "receipts",
        }
    }
}

impl LatencyQuery {
    fn parse(query: &str) -> Result<Self, ApiError> {
        let chats = [("single", Chat::Single), ("group", Chat::Group)];
        let mut read = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match name.as_ref() {
                "chat" => set_once(&mut read.chat, "chat", parse_word("chat", &value, &chats)?)?,
                "kind" => set_once(&mut read.kind, "kind", parse_word("kind", &value, &LatencyKind::WORDS)?)?,
                "group" => set_once(&mut read.group, "group", parse_id("group", &value)?)?,
                "from" => set_once(&mut read.from, "from", parse_time("from", &value)?)?,
                "to" => set_once(&mut read.to, "to", parse_time("to", &value)?)?,
                "step" => set_once(&mut read.step, "step", parse_word("step", &value, &Step::WORDS)?)?,
                _ => return Err(unknown(&name, "chat, kind, group, from, to and step")),
            }
        }
        if read.group.is_some() && read.chat.replace(Chat::Group) == Some(Chat::Single) {
            return Err(invalid("group", "does not go with chat=single"));
        }
        Ok(read)
    }

    /// The key of the group's conversation.
    fn conversation(&self, app: AppId<'_>) -> Option<String> {
        self.group.as_ref().map(|group| format!("{app}/g/{group}"))
    }

    /// The kinds that are answered.
    fn kinds(&self, step: Step) -> Result<Vec<LatencyKind>, ApiError> {
        let is_in_groups = self.chat == Some(Chat::Group);
        let is_there = |kind: &LatencyKind| match kind {
            LatencyKind::Read => true,
            LatencyKind::Delivered => !is_in_groups,
            LatencyKind::ConversationRead => !is_in_groups && step != Step::Minute,
        };
        match self.kind {
            None => Ok(LatencyKind::WORDS.iter().map(|(_, kind)| *kind).filter(is_there).collect()),
            Some(kind) if is_there(&kind) => Ok(vec![kind]),
            Some(_) if is_in_groups => Err(invalid("kind", "groups have delays of read alone")),
            Some(_) => Err(invalid("kind", "delays of conversation_read are kept by the hour, not by the minute")),
        }
    }

    /// The ledger holds whole types by the hour: what single chats alone have, and reading in both kinds of chat together.
    fn source(&self, kind: LatencyKind, step: Step) -> Source {
        let is_whole_type = self.chat.is_none() || kind != LatencyKind::Read;
        if is_whole_type && step != Step::Minute { Source::Ledger } else { Source::Receipts }
    }
}

impl LatencyBucket {
    fn of(step: &StepDelays) -> Option<Self> {
        let Quantiles { p50, p90, p95, p99 } = step.quantiles?;
        Some(Self { start: step.start.millis(), count: step.count, p50, p90, p95, p99 })
    }
}

impl AudienceBucket {
    fn of(step: &AudienceDelays) -> Self {
        let [by_50_percent, by_80_percent, by_100_percent] = step.parts.map(|(messages, quantiles)| PartOfAudience {
            messages,
            p50: quantiles.map(|quantiles| quantiles.p50),
            p90: quantiles.map(|quantiles| quantiles.p90),
            p95: quantiles.map(|quantiles| quantiles.p95),
            p99: quantiles.map(|quantiles| quantiles.p99),
        });
        Self { start: step.start.millis(), messages: step.messages, by_50_percent, by_80_percent, by_100_percent }
    }
}
