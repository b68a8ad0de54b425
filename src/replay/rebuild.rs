//! `seenby replay rebuild`: folds the whole log into a new database, as workers would have.
//!
//! Rows are facts of the log, so those of the new tables are those of the old ones. Nothing goes to Kafka: no
//! notifications, no rejections, no commits. The last flush of each partition ends at what the workers have committed, so
//! that a worker told to use the new database goes on there.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::ReplayError;
use crate::config::Config;
use crate::event::{Epoch, Offset, PartitionId};
use crate::fold::FOLD_VERSION;
use crate::log::{CommittedPosition, KafkaLogReader, LogReader as _};
use crate::observe::Progress;
use crate::store::{
    ClickHouseStore, HydrationRequest, OffsetRange, RowBatch, Store as _, StoredRows, Table, TopicIdentity, migrate,
};
use crate::verify::Place;
use crate::verify::patience::patiently;
use crate::worker::Replay;

/// What `seenby replay rebuild` is asked for.
#[derive(Clone, Debug, clap::Args)]
pub struct RebuildArgs {
    /// The new database; it is created, and must not hold rows
    #[arg(long, value_name = "NAME")]
    pub database: String,
    /// End before this offset or time of records [default: what the workers have committed, or the log's end]
    #[arg(long, value_name = "OFFSET|TIME")]
    pub to: Option<Place>,
    /// Go on although the beginning of the log is gone, or older epochs are: what was there will be missing
    #[arg(long)]
    pub partial: bool,
    /// Fold by this version's rules also what another version's folded: outcomes, counts and quotas may come out otherwise
    #[arg(long)]
    pub accept_fold_version: bool,
}

/// What was built.
#[derive(Debug)]
pub struct Rebuilt {
    database: String,
    records: u64,
    elapsed: Duration,
    partitions: Vec<OffsetRange>,
    rows: BTreeMap<Table, u64>,
}

/// Builds the tables. Not to be called within an asynchronous runtime.
///
/// # Errors
/// [`ReplayError`]. What was written by then stays: drop the database before the next try.
pub fn rebuild(config: &Config, arguments: &RebuildArgs) -> Result<Rebuilt, ReplayError> {
    let mut target = config.clone();
    target.clickhouse.database.clone_from(&arguments.database);
    target.check()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|source| ReplayError::System { doing: "making a runtime", source })?;
    let mut log = KafkaLogReader::new(&config.kafka)?;
    let topic = TopicIdentity {
        topic: config.kafka.topics.events.clone(),
        epoch: Epoch::new(config.kafka.epoch),
        partitions: log.partition_count()?,
    };
    let partitions: Vec<PartitionId> = (0..topic.partitions).map(PartitionId::new).collect();
    let committed = patiently(|| log.committed(&partitions))?;
    let ranges = ranges(&mut log, partitions.into_iter().zip(&committed), arguments.to)?;
    if !arguments.accept_fold_version {
        require_these_rules(&ranges, &committed)?;
    }
    if !arguments.partial {
        let original = StoredRows::new(&config.clickhouse, topic.clone());
        require_complete(&ranges, runtime.block_on(original.has_older_epochs()))?;
    }
    runtime.block_on(migrate(&target.clickhouse))?;
    let written = StoredRows::new(&target.clickhouse, topic.clone());
    for table in Table::ALL {
        let rows = runtime.block_on(written.row_count(table))?;
        if rows > 0 {
            let database = arguments.database.clone();
            return Err(ReplayError::NotEmpty { database, table: table.name(), rows });
        }
    }

    let offsets = ranges.iter().map(|range| range.until.get() - range.from.get()).sum();
    let mut building = Building {
        log,
        store: ClickHouseStore::new(target.clickhouse.clone(), runtime.handle().clone()),
        topic,
        flush_records: config.worker.flush_records,
        flush_bytes: usize::try_from(config.worker.flush_bytes).unwrap_or(usize::MAX),
        progress: Progress::new(offsets),
        records: 0,
        rows: BTreeMap::new(),
    };
    for range in &ranges {
        building.fold(*range)?;
    }
    building.progress.finish();
    Ok(Rebuilt {
        database: arguments.database.clone(),
        records: building.records,
        elapsed: building.progress.elapsed(),
        partitions: ranges,
        rows: building.rows,
    })
}

/// What of each partition is folded.
fn ranges<'a>(
    log: &mut KafkaLogReader,
    partitions: impl Iterator<Item = (PartitionId, &'a Option<CommittedPosition>)>,
    to: Option<Place>,
) -> Result<Vec<OffsetRange>, ReplayError> {
    let mut ranges = Vec::new();
    for (partition, committed) in partitions {
        let (from, end) = log.log_range(partition)?;
        let until = match (to, committed) {
            (Some(Place::Offset(to)), _) => to.min(end),
            (Some(Place::Time(to)), _) => log.offset_at(partition, to)?,
            (None, Some(committed)) => committed.next_offset.min(end),
            (None, None) => end,
        };
        ranges.push(OffsetRange { partition, from, until: until.max(from) });
    }
    Ok(ranges)
}

/// What the workers answered and told followed from the rules that each commit names. `committed` is of the same
/// partitions as `ranges`.
fn require_these_rules(ranges: &[OffsetRange], committed: &[Option<CommittedPosition>]) -> Result<(), ReplayError> {
    let of_other_rules = |(range, committed): (&OffsetRange, &Option<CommittedPosition>)| {
        let metadata = committed.as_ref()?.metadata?;
        let partition = range.partition.get();
        if metadata.fold_version != FOLD_VERSION {
            let (found, known) = (metadata.fold_version, FOLD_VERSION);
            return Some(format!("partition {partition} under fold version {found}, this seenby has {known}"));
        }
        let since = Offset::new(metadata.since?);
        (range.from < since).then(|| format!("partition {partition} before offset {}", since.get()))
    };
    let parts: Vec<String> = ranges.iter().zip(committed).filter_map(of_other_rules).collect();
    if parts.is_empty() { Ok(()) } else { Err(ReplayError::OtherRules { parts: parts.join(", ") }) }
}

/// The tables follow from the log alone where it is whole.
fn require_complete(
    ranges: &[OffsetRange],
    has_older_epochs: Result<bool, crate::store::StoreError>,
) -> Result<(), ReplayError> {
    let cut = ranges.iter().filter(|range| range.from > Offset::default());
    let mut missing: Vec<String> =
        cut.map(|range| format!("partition {} begins at offset {}", range.partition.get(), range.from.get())).collect();
    match has_older_epochs {
        Ok(true) => missing.push("older epochs stood in other topics".to_owned()),
        Ok(false) => {}
        // The old tables may be what is to be replaced.
        Err(error) => tracing::warn!(%error, "whether there were older epochs is not known"),
    }
    if missing.is_empty() { Ok(()) } else { Err(ReplayError::Incomplete { missing: missing.join(", ") }) }
}

/// Tables being built.
struct Building {
    log: KafkaLogReader,
    store: ClickHouseStore,
    topic: TopicIdentity,
    flush_records: u64,
    flush_bytes: usize,
    progress: Progress,
    records: u64,
    rows: BTreeMap<Table, u64>,
}

impl Building {
    /// Folds one partition, flush by flush.
    fn fold(&mut self, range: OffsetRange) -> Result<(), ReplayError> {
        let OffsetRange { partition, from, until } = range;
        // Of empty tables: the state before the first record, standing where the log begins.
        let request = HydrationRequest { partition, committed: from };
        let hydrated =
            patiently(|| self.store.hydrate(&self.topic, &[request], &mut |_, _| std::ops::ControlFlow::Continue(())))?;
        let Some(hydrated) = hydrated.into_iter().next() else { return Ok(()) };
        let mut rows = RowBatch::new(self.topic.clone());
        let mut replay = Replay::begin(&mut self.log, hydrated.state, until)?;
        let mut flushed = 0;
        while !replay.is_done() {
            replay.fold_batch(until, &mut rows.partition(partition))?;
            let records = replay.records() - flushed;
            if replay.is_done() || records >= self.flush_records || rows.bytes() >= self.flush_bytes {
                replay.end_flush(&mut rows.partition(partition));
                patiently(|| self.store.write(&rows))?;
                for table in Table::ALL {
                    *self.rows.entry(table).or_default() += rows.table(table).rows() as u64;
                }
                rows.clear();
                flushed = replay.records();
                self.records += records;
                self.progress.add(records, &format!("partition {}", partition.get()));
            }
        }
        Ok(())
    }
}

impl fmt::Display for Rebuilt {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{:<10} {:>14} {:>14}", "partition", "from offset", "to offset")?;
        for OffsetRange { partition, from, until } in &self.partitions {
            writeln!(out, "{:<10} {:>14} {:>14}", partition.get(), from.get(), until.get())?;
        }
        writeln!(out, "\n{:<16} {:>14}", "table", "rows")?;
        for (table, rows) in &self.rows {
            writeln!(out, "{:<16} {rows:>14}", table.name())?;
        }
        let (seconds, database) = (self.elapsed.as_secs_f64(), &self.database);
        writeln!(out, "\n{} records folded into {database} in {seconds:.1} s", self.records)?;
        writeln!(
            out,
            "check it with SEENBY__CLICKHOUSE__DATABASE={database} seenby verify, then set clickhouse.database"
        )
    }
}
