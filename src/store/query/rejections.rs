//! Refused records, as they came.

use clickhouse::Row;
use serde::{Deserialize, Serialize};

use super::Queries;
use crate::event::{AppId, EventTime};
use crate::store::StoreError;

/// Which refused records of an app are asked for.
#[derive(Clone, Debug)]
pub struct RejectionSelection<'a> {
    /// Written at or after this time.
    pub from: EventTime,
    /// Written before this time.
    pub until: EventTime,
    /// Only those of this outcome.
    pub outcome: Option<&'a str>,
    /// Only those of this conversation, by its key.
    pub conversation: Option<&'a str>,
    /// Only those that this user caused.
    pub user: Option<&'a str>,
    /// Only those behind this one.
    pub after: Option<RejectionPosition>,
    /// At most so many.
    pub limit: usize,
    /// No more behind those whose keys and values, as far as they are kept, take so many bytes.
    pub most_bytes: u64,
}

/// Some of them.
#[derive(Clone, Debug)]
pub struct RejectedRecords {
    /// The latest first; at least one where there is one.
    pub records: Vec<RejectedRecord>,
    /// Whether there are others behind them.
    pub has_more: bool,
}

/// How much of a key, and of a value, is kept.
const KEPT_BYTES: u64 = 64 * 1024;

/// Place of a refused record in the list: by the time it was written, then by its place in the log. It never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectionPosition {
    record_time: i64,
    epoch: u16,
    partition: u32,
    offset: u64,
    own_epoch: u16,
    own_partition: u32,
    own_offset: u64,
}

impl RejectionPosition {
    /// In front of all.
    const FIRST: Self = Self {
        record_time: i64::MAX,
        epoch: u16::MAX,
        partition: u32::MAX,
        offset: u64::MAX,
        own_epoch: u16::MAX,
        own_partition: u32::MAX,
        own_offset: u64::MAX,
    };
}

/// A refused record.
#[derive(Clone, Debug, Row, Deserialize)]
pub struct RejectedRecord {
    /// When it was written, in ms since 1970; of one that waited when its wait ended.
    pub record_time_ms: i64,
    epoch: u16,
    partition: u32,
    offset: u64,
    /// Generation of the log it stands in.
    pub own_epoch: u16,
    /// Partition it stands in.
    pub own_partition: u32,
    /// Its offset.
    pub own_offset: u64,
    /// Its type; empty where that is unknown.
    #[serde(rename = "type")]
    pub event_type: String,
    /// Why it was refused.
    pub outcome: String,
    /// What the vendor's client shows; empty where it shows nothing.
    pub words: String,
    /// The vendor's number; 0 where there is none.
    pub code: u16,
    /// Of a malformed record the field and the rule.
    pub detail: String,
    /// The conversation's key; empty of misrouted records.
    pub conversation: String,
    /// Who acted.
    pub user: String,
    /// Its own time, in ms since 1970.
    pub at_ms: Option<i64>,
    /// Whether it waited for its message first.
    pub settled: bool,
    /// Whether its key is text; else it is given in base64.
    pub is_key_text: u8,
    /// At most 64 KiB of its key.
    pub key_text: Option<String>,
    /// How long its key is.
    pub key_bytes: u64,
    /// Whether its value is text; else it is given in base64. Where 64 KiB end within a character it is none.
    pub is_value_text: u8,
    /// At most 64 KiB of its value.
    pub value_text: String,
    /// How long its value is.
    pub value_bytes: u64,
    /// SHA-256 of the whole value in hexadecimal; empty where nothing was cut.
    pub value_hash: String,
}

impl RejectedRecord {
    /// Bytes of key and value that are kept.
    fn bytes(&self) -> u64 {
        self.key_bytes.min(KEPT_BYTES) + self.value_bytes.min(KEPT_BYTES)
    }

    /// Its place in the list.
    pub fn position(&self) -> RejectionPosition {
        let Self { record_time_ms, epoch, partition, offset, own_epoch, own_partition, own_offset, .. } = *self;
        RejectionPosition {
            record_time: record_time_ms,
            epoch,
            partition,
            offset,
            own_epoch,
            own_partition,
            own_offset,
        }
    }
}

impl Queries {
    /// Refused records of an app, the latest first.
    ///
    /// # Errors
    /// What ClickHouse said.
    pub async fn rejections(
        &self,
        app: AppId<'_>,
        selection: &RejectionSelection<'_>,
    ) -> Result<RejectedRecords, StoreError> {
        let after = selection.after.unwrap_or(RejectionPosition::FIRST);
        let query = self.statements.client.query(include_str!("rejections.sql")).bind(app.as_str());
        let mut query = query.bind(selection.from.millis()).bind(selection.until.millis());
        // No outcome, conversation or user is empty.
        for filter in [selection.outcome, selection.conversation, selection.user] {
            let filter = filter.unwrap_or_default();
            query = query.bind(filter);
        }
        let query = query.bind(selection.most_bytes);
        let query = query.bind(after.record_time).bind(after.epoch).bind(after.partition).bind(after.offset);
        let query = query.bind(after.own_epoch).bind(after.own_partition).bind(after.own_offset);
        let query = query.bind(selection.limit as u64 + 1);
        let found = self.statements.reading("rejections").bounded(query.fetch_all()).await?;
        Ok(RejectedRecords::of(found, selection.limit, selection.most_bytes))
    }
}

impl RejectedRecords {
    /// Those that may be, and whether one is left.
    fn of(mut records: Vec<RejectedRecord>, limit: usize, most_bytes: u64) -> Self {
        let found = records.len();
        let mut bytes = 0;
        let page = records.iter().take(limit).take_while(|record| {
            let has_room = bytes < most_bytes;
            bytes += record.bytes();
            has_room
        });
        let page = page.count();
        records.truncate(page);
        Self { records, has_more: found > page }
    }
}
