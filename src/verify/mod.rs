//! `seenby verify`: folds a range of the log again, and compares all that the fold says with ClickHouse.
//!
//! Per partition the fold begins with the state that is read back at an end of a flush (or with nothing, at the log's
//! beginning), goes on chunk by chunk, and ends every flush where the ledger says that one ended. Of each chunk every
//! fact, total and count is compared in every column, as RowBinary on both sides; at the end the digest of the state
//! folded must be that of the state read back. Rows of dead workers are the same facts, or lie behind what is committed.
//! Rows that are of no log are named; of older epochs, whose logs are gone, the numbers of rows are compared with the
//! ledger's totals.

mod checkpoint;
mod counts;
mod difference;
mod elsewhere;
mod error;
mod facts;
mod forgotten;
mod ledger;
mod partition;
pub(crate) mod patience;
mod place;
mod range;
mod report;
mod tables;

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use tokio::runtime::Handle;

pub use difference::{ColumnDifference, Difference, DifferenceKind};
pub use error::VerifyError;
pub use place::Place;
pub use report::{Format, Report};

use self::checkpoint::Checkpoint;
use self::forgotten::Forgotten;
use self::partition::Verification;
use self::patience::patiently;
use self::range::Bounds;
use self::report::Findings;
use self::tables::Tables;
use crate::config::Config;
use crate::event::{Epoch, PartitionId};
use crate::log::KafkaLogReader;
use crate::observe::Progress;
use crate::store::{
    ClickHouseStore, Eraser, LedgerFrontier, OffsetRange, Store as _, StoredRows, TopicIdentity, check_schema, connect,
};

/// What `seenby verify` is asked for.
#[derive(Clone, Debug, clap::Args)]
pub struct VerifyArgs {
    /// Only this partition; may be given several times
    #[arg(long = "partition", value_name = "NUMBER")]
    pub partitions: Vec<u32>,
    /// Begin at the last flush that ended at or before this offset or time of records (2026-01-31T12:00:00Z); what lies
    /// before is taken as right [default: the beginning of the log]
    #[arg(long, value_name = "OFFSET|TIME")]
    pub from: Option<Place>,
    /// End at the last flush that ended at or before this [default: what the workers have committed]
    #[arg(long, value_name = "OFFSET|TIME")]
    pub to: Option<Place>,
    /// Note in this file what is verified, and go on there where it exists; what differed is verified again
    #[arg(long, value_name = "FILE")]
    pub checkpoint: Option<PathBuf>,
    /// The form of the report
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// How many differences are named
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    pub differences: usize,
    /// Records that are folded and compared at a time, not fewer than a worker's flush holds: bounds the memory
    #[arg(long, value_name = "RECORDS", default_value_t = 250_000)]
    pub chunk: u64,
}

/// How much is folded before it is compared.
#[derive(Clone, Copy, Debug)]
struct ChunkLimits {
    records: u64,
    bytes: usize,
}

/// Rows of a chunk take no more memory than this, one batch of records and, where a flush ends, its totals.
const CHUNK_BYTES: usize = 128 * 1024 * 1024;

/// Verifies, writes the report to standard output, and returns whether log and tables agree. SIGINT and SIGTERM end it
/// after the chunk at hand.
///
/// # Errors
/// [`VerifyError`]: nothing, or not all that was asked for, can be said, and nothing that was looked at differs.
pub fn run(config: &Config, arguments: &VerifyArgs) -> Result<bool, VerifyError> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))
            .map_err(|source| VerifyError::System { doing: "listening for signals", source })?;
    }
    let (report, cut_short) = verify(config, arguments, &stop)?;
    let mut out = std::io::stdout();
    match arguments.format {
        Format::Text => write!(out, "{report}")?,
        Format::Json => {
            serde_json::to_writer_pretty(&mut out, &report).map_err(std::io::Error::from)?;
            writeln!(out)?;
        }
    }
    match cut_short {
        Some(error) if report.is_clean() => Err(error),
        Some(error) => {
            tracing::error!(%error, "not everything was verified");
            Ok(false)
        }
        None => Ok(report.is_clean()),
    }
}

/// Verifies until it is told to stop. What was found by then is reported also where it could not go on, with the reason.
///
/// # Errors
/// [`VerifyError`] where it could not begin.
pub fn verify(
    config: &Config,
    arguments: &VerifyArgs,
    stop: &AtomicBool,
) -> Result<(Report, Option<VerifyError>), VerifyError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|source| VerifyError::System { doing: "making a runtime", source })?;
    let (mut verification, ranges) = prepare(config, arguments, runtime.handle())?;
    let mut cut_short = None;
    for range in ranges {
        cut_short = match verification.verify(range, stop) {
            Ok(()) if stop.load(Ordering::Relaxed) => Some(VerifyError::Interrupted),
            Ok(()) => None,
            Err(error) => Some(error),
        };
        if cut_short.is_some() {
            break;
        }
    }
    // Who asks for certain partitions does not wait for a look at all tables.
    if cut_short.is_none() && arguments.partitions.is_empty() {
        cut_short = verification.verify_elsewhere().err();
    }
    verification.progress.finish();
    let seconds = verification.progress.elapsed().as_secs_f64();
    Ok((verification.findings.report(cut_short.is_none(), seconds), cut_short))
}

/// Finds out what there is to verify.
fn prepare(
    config: &Config,
    arguments: &VerifyArgs,
    runtime: &Handle,
) -> Result<(Verification, Vec<OffsetRange>), VerifyError> {
    runtime.block_on(check_schema(&config.clickhouse, &connect(&config.clickhouse)))?;
    let mut log = KafkaLogReader::new(&config.kafka)?;
    let topic = TopicIdentity {
        topic: config.kafka.topics.events.clone(),
        epoch: Epoch::new(config.kafka.epoch),
        partitions: log.partition_count()?,
    };
    let stored = StoredRows::new(&config.clickhouse, topic.clone());
    let mut tables = Tables {
        topic: topic.clone(),
        store: ClickHouseStore::new(config.clickhouse.clone(), runtime.clone()),
        stored,
        eraser: Eraser::new(&config.clickhouse),
        forgotten: Forgotten::default(),
        runtime: runtime.clone(),
    };
    // Rows of another topic under this epoch, or of another number of partitions, cannot be compared with this log.
    let frontiers = tables.store.frontiers(&topic)?;

    let checkpoint = arguments.checkpoint.as_deref();
    let checkpoint = checkpoint.map(|path| Checkpoint::open(path, &topic, &config.clickhouse.database)).transpose()?;
    let mut findings = Findings::new(arguments.differences);
    let mut ranges = ranges(arguments, &frontiers, &mut log, &mut tables, &mut findings)?;
    if let Some(checkpoint) = &checkpoint {
        for range in &mut ranges {
            let asked = *range;
            *range = checkpoint.rest_of(asked);
            // The janitor may have taken that end of a flush out of the ledger since: the one before it still is one.
            let noted = tables.end_before(range.partition, range.from)?.unwrap_or(range.from);
            // What is in front of an erasure cannot be read back: the range is verified anew.
            range.from = if noted < tables.erased_until(range.partition)? { asked.from } else { noted };
        }
        ranges.retain(|range| range.from < range.until);
    }
    let offsets = ranges.iter().map(|range| range.until.get() - range.from.get()).sum();
    let verification = Verification {
        log,
        tables,
        limits: ChunkLimits {
            records: arguments.chunk.max(config.worker.flush_records),
            bytes: CHUNK_BYTES.max(usize::try_from(config.worker.flush_bytes).unwrap_or(usize::MAX)),
        },
        checkpoint,
        findings,
        progress: Progress::new(offsets),
    };
    Ok((verification, ranges))
}

/// The range of each partition asked for; of those without one the findings tell.
fn ranges(
    arguments: &VerifyArgs,
    frontiers: &[LedgerFrontier],
    log: &mut KafkaLogReader,
    tables: &mut Tables,
    findings: &mut Findings,
) -> Result<Vec<OffsetRange>, VerifyError> {
    let count = tables.topic.partitions;
    if let Some(asked) = arguments.partitions.iter().find(|asked| **asked >= count) {
        return Err(VerifyError::NoSuchPartition { asked: *asked, partitions: count });
    }
    let is_asked_for = |partition: &u32| arguments.partitions.is_empty() || arguments.partitions.contains(partition);
    let partitions: Vec<PartitionId> = (0..count).filter(is_asked_for).map(PartitionId::new).collect();
    let committed = patiently(|| log.committed(&partitions))?;
    let bounds = Bounds { from: arguments.from, to: arguments.to };
    let mut ranges = Vec::new();
    for (partition, committed) in partitions.into_iter().zip(&committed) {
        let frontier = frontiers.iter().find(|frontier| frontier.partition == partition);
        let frontier = frontier.map(|frontier| frontier.next_offset);
        match bounds.of_partition(partition, committed.as_ref(), frontier, log, tables)? {
            Some(range) => ranges.push(range),
            None => findings.nothing_to_verify(partition),
        }
    }
    Ok(ranges)
}
