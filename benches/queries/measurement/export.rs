//! All receipts of all apps, slice by slice, while the server's memory is looked at.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;

use super::parts::{APPS, Parts, app_name, token_of};
use super::usage::resident_mebibytes;

const SAMPLE: Duration = Duration::from_millis(50);

/// What came.
#[derive(Clone, Debug)]
pub(crate) struct Exported {
    /// In which format.
    pub(crate) format: String,
    /// Rows that came.
    pub(crate) rows: u64,
    /// Rows that ClickHouse counts.
    pub(crate) expected_rows: u64,
    /// Answers that it took.
    pub(crate) slices: u64,
    /// Bytes of all of them.
    pub(crate) bytes: u64,
    /// How long it took.
    pub(crate) elapsed: Duration,
    /// Memory of the API's process before, in MiB.
    pub(crate) memory_before: f64,
    /// The least and the most of it meanwhile.
    pub(crate) memory_meanwhile: (f64, f64),
    /// Afterwards.
    pub(crate) memory_after: f64,
}

/// Counts rows in a format whose rows are lines, but for line breaks in quotes.
struct Lines {
    has_head: bool,
    in_quotes: bool,
    lines: u64,
}

impl Lines {
    fn of(format: &str) -> Self {
        assert!(matches!(format, "ndjson" | "csv"), "rows of {format} cannot be counted here; choose ndjson or csv");
        Self { has_head: format == "csv", in_quotes: false, lines: 0 }
    }

    fn add(&mut self, piece: &[u8]) {
        for byte in piece {
            match byte {
                // In NDJSON a line break never stands inside of a text.
                b'"' if self.has_head => self.in_quotes = !self.in_quotes,
                b'\n' if !self.in_quotes => self.lines += 1,
                _ => {}
            }
        }
    }

    fn rows(&self) -> u64 {
        self.lines.saturating_sub(u64::from(self.has_head))
    }
}

pub(super) fn run(parts: &Parts, format: &str, slice: u64) -> Exported {
    let count = parts.tables.query(include_str!("exported.sql"));
    let expected_rows = parts.runtime.block_on(count.fetch_one::<u64>()).expect("ClickHouse counts");
    let process = parts.api.id();
    let memory_before = resident_mebibytes(process);
    let is_done = Arc::new(AtomicBool::new(false));
    let is_done_there = Arc::clone(&is_done);
    let memory = thread::spawn(move || {
        let mut seen = (f64::INFINITY, 0.0_f64);
        while !is_done_there.load(Ordering::Relaxed) {
            let now = resident_mebibytes(process);
            seen = (seen.0.min(now), seen.1.max(now));
            thread::sleep(SAMPLE);
        }
        seen
    });

    let begun = Instant::now();
    let (mut rows, mut slices, mut bytes) = (0, 0, 0);
    for app in (0..APPS).map(app_name) {
        let mut cursor = None;
        loop {
            let (of_slice, bytes_of_slice, next) = parts.runtime.block_on(fetch(parts, &app, format, slice, cursor));
            (rows, slices, bytes) = (rows + of_slice, slices + 1, bytes + bytes_of_slice);
            let Some(next) = next else { break };
            cursor = Some(next);
        }
    }
    let elapsed = begun.elapsed();
    is_done.store(true, Ordering::Relaxed);
    let memory_meanwhile = memory.join().expect("the sampling ends");
    let memory_after = resident_mebibytes(process);
    Exported {
        format: format.to_owned(),
        rows,
        expected_rows,
        slices,
        bytes,
        elapsed,
        memory_before,
        memory_meanwhile,
        memory_after,
    }
}

/// Rows and bytes of a slice, and where the next begins.
async fn fetch(
    parts: &Parts,
    app: &str,
    format: &str,
    slice: u64,
    cursor: Option<String>,
) -> (u64, u64, Option<String>) {
    let mut url =
        format!("{}/v1/{}/export?table=receipts&format={format}&limit={slice}", parts.api_url, app.replace('#', "/"));
    if let Some(cursor) = cursor {
        url.push_str("&cursor=");
        url.push_str(&cursor);
    }
    let response = parts.client.get(&url).bearer_auth(token_of(app)).send().await.expect("the API answers");
    assert!(response.status().is_success(), "{url}: {}", response.status());
    let next = response.headers().get("seenby-next-cursor").and_then(|next| next.to_str().ok()).map(str::to_owned);
    let (mut lines, mut bytes) = (Lines::of(format), 0);
    let mut pieces = response.bytes_stream();
    while let Some(piece) = pieces.next().await {
        let piece = piece.expect("the slice is whole");
        lines.add(&piece);
        bytes += piece.len() as u64;
    }
    (lines.rows(), bytes, next)
}
