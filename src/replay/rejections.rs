//! `seenby replay rejections`: sends records again that were refused on arrival, after a repair.
//!
//! Read from the table and not from the topic: it finds outcome, app and time without reading everything, it stays as
//! long as the retention says, and a repeated delivery shows as one row. Each record is judged anew by what can be said
//! without its conversation: what would be refused as before is left out, so that repairs that repaired nothing do not
//! go round in circles.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use bumpalo::Bump;
use chrono::DateTime;

use super::ReplayError;
use crate::config::Config;
use crate::event::{Body, Epoch, EventTime, Offset, PartitionId, RecordTime, decode_event, partition_of};
use crate::fold::{MAX_SKEW_MILLIS, Outcome};
use crate::log::{EventProducer, KafkaLogReader, SourceError};
use crate::store::{RefusedSelection, StoredRows, Table, TopicIdentity, number_of, value_of};
use crate::verify::patience::patiently;

/// What may be otherwise after a repair: of the bytes, of the producer's routing, of a clock, of this program.
const REPAIRABLE: [Outcome; 4] = [Outcome::Malformed, Outcome::Misrouted, Outcome::Skewed, Outcome::Unsupported];

/// Records that are shown one by one.
const SHOWN: usize = 20;

/// What `seenby replay rejections` is asked for.
#[derive(Clone, Debug, clap::Args)]
pub struct RejectionsArgs {
    /// Refused as this: malformed, misrouted, skewed or unsupported; may be given several times [default: all four]
    #[arg(long = "outcome", value_name = "OUTCOME")]
    pub outcomes: Vec<String>,
    /// Of this app; malformed records are of the app '' [default: all]
    #[arg(long, value_name = "ORG#APP")]
    pub app: Option<String>,
    /// Written to the log at or after this time (2026-01-31T12:00:00Z)
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub from: Option<RecordTime>,
    /// Written to the log before this time
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub to: Option<RecordTime>,
    /// Send them; without this it is only told what would be sent
    #[arg(long)]
    pub send: bool,
}

fn parse_time(text: &str) -> Result<RecordTime, String> {
    DateTime::parse_from_rfc3339(text)
        .map(|time| RecordTime::from_millis(time.timestamp_millis()))
        .map_err(|_| "not a time like 2026-01-31T12:00:00Z".to_owned())
}

/// What was sent again, or would be.
#[derive(Debug, Default)]
pub struct Resent {
    is_sent: bool,
    by_outcome_and_app: BTreeMap<(String, String), Tally>,
    /// The first records, in words.
    shown: Vec<String>,
    /// Records that have arrived.
    delivered: u64,
}

/// Records by what becomes of them.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    sent: u64,
    /// Longer than what is kept of a refused record.
    cut: u64,
    /// Would be refused as before.
    refused_again: u64,
}

/// What becomes of a refused record.
enum Verdict {
    Send { key: String, partition: PartitionId },
    Cut,
    RefusedAgain,
}

/// Sends refused records again where it is told to, each once, in the order in which they were written.
///
/// # Errors
/// [`ReplayError`]. Where sending fails some have arrived; sending them again makes duplicates, which are no harm.
pub fn resend(config: &Config, arguments: &RejectionsArgs) -> Result<Resent, ReplayError> {
    let outcomes = outcomes(&arguments.outcomes)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|source| ReplayError::System { doing: "making a runtime", source })?;
    let log = KafkaLogReader::new(&config.kafka)?;
    let topic = TopicIdentity {
        topic: config.kafka.topics.events.clone(),
        epoch: Epoch::new(config.kafka.epoch),
        partitions: log.partition_count()?,
    };
    let partitions: Vec<PartitionId> = (0..topic.partitions).map(PartitionId::new).collect();
    let committed = patiently(|| log.committed(&partitions))?;
    let committed = partitions.iter().zip(committed);
    let selection = RefusedSelection {
        outcomes,
        app: arguments.app.clone(),
        from: arguments.from.unwrap_or(RecordTime::from_millis(0)),
        until: arguments.to.unwrap_or(RecordTime::from_millis(EventTime::MAX.millis())),
        committed: committed
            .map(|(partition, at)| (*partition, at.map_or_else(Offset::default, |at| at.next_offset)))
            .collect(),
    };

    let producer = arguments.send.then(|| EventProducer::new(&config.kafka)).transpose()?;
    let mut resent = Resent { is_sent: arguments.send, ..Resent::default() };
    let mut failure: Option<SourceError> = None;
    let (now, mut arena) = (now(), Bump::new());
    let stored = StoredRows::new(&config.clickhouse, topic.clone());
    let reading = stored.refused_records(&selection, |row| {
        let verdict = judge(row, topic.partitions, now, &arena);
        resent.note(row, &verdict);
        if let (Some(producer), Verdict::Send { key, partition }, None) = (&producer, &verdict, &failure) {
            failure = producer.send(*partition, key.as_bytes(), bytes_of(row, "value")).err();
        }
        arena.reset();
        Ok(())
    });
    runtime.block_on(reading)?;
    if let Some(producer) = producer {
        resent.delivered = producer.finish()?;
    }
    match failure {
        Some(failure) => Err(failure.into()),
        None => Ok(resent),
    }
}

fn outcomes(names: &[String]) -> Result<Vec<Outcome>, ReplayError> {
    if names.is_empty() {
        return Ok(REPAIRABLE.to_vec());
    }
    let outcome_of = |name: &String| {
        let outcome = Outcome::from_name(name).ok_or_else(|| ReplayError::UnknownOutcome { name: name.clone() })?;
        if REPAIRABLE.contains(&outcome) { Ok(outcome) } else { Err(ReplayError::Decided { outcome }) }
    };
    names.iter().map(outcome_of).collect()
}

/// What would become of a refused record if it came now, under the key of its conversation, as far as that can be said
/// without the conversation.
fn judge(row: &[u8], partitions: u32, now: EventTime, arena: &Bump) -> Verdict {
    let value = bytes_of(row, "value");
    if number(row, "value_bytes") > value.len() as u64 {
        return Verdict::Cut;
    }
    match decode_event(value, arena) {
        Err(_) => Verdict::RefusedAgain,
        Ok(event) if matches!(event.body, Body::Unsupported { .. }) => Verdict::RefusedAgain,
        Ok(event) if event.at.millis() - now.millis() > MAX_SKEW_MILLIS => Verdict::RefusedAgain,
        Ok(event) => {
            let key = event.conversation().to_string();
            let partition = partition_of(key.as_bytes(), partitions);
            Verdict::Send { key, partition }
        }
    }
}

fn bytes_of<'a>(row: &'a [u8], column: &str) -> &'a [u8] {
    value_of(Table::Rejections.columns(), row, column).and_then(|value| value.bytes()).unwrap_or_default()
}

fn number(row: &[u8], column: &str) -> u64 {
    number_of(Table::Rejections.columns(), row, column)
}

fn now() -> EventTime {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    EventTime::from_millis(i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX))
}

impl Resent {
    fn note(&mut self, row: &[u8], verdict: &Verdict) {
        let text = |column| String::from_utf8_lossy(bytes_of(row, column)).into_owned();
        let outcome = text("outcome");
        if let Verdict::Send { key, partition } = verdict
            && self.shown.len() < SHOWN
        {
            let (own_partition, own_offset) = (number(row, "own_partition"), number(row, "own_offset"));
            let to = partition.get();
            self.shown
                .push(format!("{outcome} at partition {own_partition} offset {own_offset}: {key} to partition {to}"));
        }
        let tally = self.by_outcome_and_app.entry((outcome, text("app"))).or_default();
        match verdict {
            Verdict::Send { .. } => tally.sent += 1,
            Verdict::Cut => tally.cut += 1,
            Verdict::RefusedAgain => tally.refused_again += 1,
        }
    }
}

impl fmt::Display for Resent {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sent = if self.is_sent { "sent" } else { "would be sent" };
        for line in &self.shown {
            writeln!(out, "{line}")?;
        }
        let all: u64 = self.by_outcome_and_app.values().map(|tally| tally.sent).sum();
        if all > self.shown.len() as u64 {
            writeln!(out, "and {} more", all - self.shown.len() as u64)?;
        }
        writeln!(out, "\n{:<12} {:<32} {sent:>14} {:>14} {:>14}", "refused as", "app", "too long", "refused again")?;
        for ((outcome, app), Tally { sent, cut, refused_again }) in &self.by_outcome_and_app {
            writeln!(out, "{outcome:<12} {app:<32} {sent:>14} {cut:>14} {refused_again:>14}")?;
        }
        writeln!(out)?;
        if self.is_sent {
            writeln!(out, "{} records sent again; their refusals stay in the tables", self.delivered)?;
            return writeln!(
                out,
                "sending them another time makes duplicates, which count nothing: narrow --from and --to"
            );
        }
        writeln!(out, "nothing was sent; --send does")
    }
}
