//! Whole tables of an app, streamed slice by slice.
//!
//! A slice is as long as asked for, and the answer's head tells where the next one begins: whoever is cut off asks for the
//! same slice again, and nothing is held in memory on the way, whatever the length.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt as _, stream};
use utoipa::IntoParams;

use super::ApiState;
use super::access::Access;
use super::as_of::AppAsOf;
use super::conditional::AS_OF;
use super::cursor::{ListFingerprint, decode_position, encode_position};
use super::description::{ExportFormatWord, ExportTableWord, PageCursor};
use super::error::{ApiError, CommonProblems};
use super::in_path::AppPath;
use super::query_string::{invalid, parse_integer, parse_time, parse_word, set_once, unknown};
use crate::event::EventTime;
use crate::store::query::{ExportFormat, ExportPosition, ExportRows, ExportSelection, ExportTable};

/// Where the next slice begins.
pub(super) const NEXT_CURSOR: HeaderName = HeaderName::from_static("seenby-next-cursor");

/// Rows of a slice where nothing is said, and at most.
const DEFAULT_ROWS: i64 = 100_000;
const MAX_ROWS: i64 = 1_000_000;

/// How long a request waits for a place: a client that was cut off asks again before the end of its last request is known
/// here.
const PLACE_PATIENCE: Duration = Duration::from_secs(3);

/// Behind every row: the last second that a ClickHouse time can tell.
const END_OF_TIME: EventTime = EventTime::from_millis(10_413_791_999_000);

/// Which rows, in which form.
#[derive(Clone, Debug, Default, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ExportQuery {
    /// One of `messages`, `receipts`, `recalls`, `marks`, `roster_changes`, `settlements`, `rejections` and
    /// `message_counts`.
    #[param(required = true, inline, value_type = ExportTableWord)]
    table: Option<ExportTable>,
    /// One of `ndjson`, `csv` and `parquet`.
    #[param(required = false, inline, value_type = ExportFormatWord)]
    format: Option<ExportFormat>,
    /// Rows of this time or later, in ms since 1970: by when messages were sent (`messages`, `message_counts`), refused
    /// records written (`rejections`), else by their own time.
    #[param(required = false, value_type = i64, minimum = 0, maximum = 4_102_444_799_999_i64)]
    from: Option<EventTime>,
    /// Rows before this time.
    #[param(required = false, value_type = i64, minimum = 0, maximum = 4_102_444_799_999_i64)]
    to: Option<EventTime>,
    /// How many rows a slice has.
    #[param(required = false, value_type = i64, minimum = 1, maximum = 1_000_000, default = 100_000)]
    limit: Option<i64>,
    /// The header `seenby-next-cursor` of the slice before.
    #[param(required = false, value_type = PageCursor)]
    cursor: Option<String>,
}

/// A slice of a table.
#[utoipa::path(
    get,
    path = "/v1/{org}/{app}/export",
    tag = "export",
    params(AppPath, ExportQuery),
    responses(
        (status = 200, description = "The rows of the slice, by the table's key.",
            content((String = "application/x-ndjson"), (String = "text/csv"), (Vec<u8> = "application/vnd.apache.parquet")),
            headers(
                ("seenby-next-cursor" = Option<String>, description = "Give it as `cursor` to get the next slice; absent \
                    of the last one."),
                ("seenby-as-of" = Option<String>, description = "How far the slice is complete, as other answers' `as_of`."),
            )),
        CommonProblems,
    ),
    security(("bearer" = []))
)]
pub(crate) async fn export(
    State(state): State<Arc<ApiState>>,
    access: Access,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    access.require_admin()?;
    let query = ExportQuery::parse(query.as_deref().unwrap_or_default())?;
    let table = query.table.ok_or_else(|| invalid("table", "must be given"))?;
    let list = query.fingerprint(access.app().as_str(), table);
    let after: Option<ExportPosition> =
        query.cursor.as_deref().map(|cursor| decode_position(cursor, list)).transpose()?;
    if after.as_ref().is_some_and(|position| !table.has_place(position)) {
        return Err(invalid("cursor", "must be the seenby-next-cursor of a slice of the same table"));
    }
    let format = query.format.unwrap_or(ExportFormat::Ndjson);
    let (from, until) = (query.from.unwrap_or_default(), query.to.unwrap_or(END_OF_TIME));
    let selection = ExportSelection { table, from, until, after };
    let place = tokio::time::timeout(PLACE_PATIENCE, state.queries.export_place(access.app()))
        .await
        .map_err(|_| ApiError::ExportsBusy)?;
    let as_of = AppAsOf::of(&state.queries.frontiers().await?);
    let limit = query.limit.unwrap_or(DEFAULT_ROWS).unsigned_abs();
    let last = state.queries.slice_end(&place, access.app(), &selection, limit).await?;
    let rows = state.queries.export(place, access.app(), &selection, last.as_ref(), format)?;

    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.media_type()));
    let as_of = as_of.and_then(|as_of| serde_json::to_string(&as_of).ok());
    let next_cursor = last.map(|last| encode_position(&last, list));
    for (name, value) in [(AS_OF, as_of), (NEXT_CURSOR, next_cursor)] {
        if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
            headers.insert(name, value);
        }
    }
    Ok((headers, body_of(rows).await?).into_response())
}

/// Streams rows. What fails before the first of them is an answer like any other; later the connection is cut, and the
/// client knows that the slice is not whole.
async fn body_of(mut rows: ExportRows) -> Result<Body, ApiError> {
    let Some(first) = rows.next().await? else { return Ok(Body::empty()) };
    let pieces = stream::unfold(Some((first, rows)), |state| async move {
        let (piece, mut rows) = state?;
        match rows.next().await {
            Ok(Some(next)) => Some((Ok(piece), Some((next, rows)))),
            Ok(None) => Some((Ok(piece), None)),
            Err(error) => {
                tracing::warn!(%error, "an export was cut");
                Some((Err(error), None))
            }
        }
    });
    // Compression asks once more behind the end.
    Ok(Body::from_stream(pieces.fuse()))
}

impl ExportQuery {
    fn parse(query: &str) -> Result<Self, ApiError> {
        let mut read = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match name.as_ref() {
                "table" => set_once(&mut read.table, "table", parse_word("table", &value, &ExportTable::WORDS)?)?,
                "format" => set_once(&mut read.format, "format", parse_word("format", &value, &ExportFormat::WORDS)?)?,
                "from" => set_once(&mut read.from, "from", parse_time("from", &value)?)?,
                "to" => set_once(&mut read.to, "to", parse_time("to", &value)?)?,
                "limit" => set_once(&mut read.limit, "limit", parse_integer("limit", &value, 1..=MAX_ROWS)?)?,
                "cursor" => set_once(&mut read.cursor, "cursor", value.into_owned())?,
                _ => return Err(unknown(&name, "table, format, from, to, limit and cursor")),
            }
        }
        if let (Some(from), Some(to)) = (read.from, read.to)
            && from > to
        {
            return Err(invalid("from", "must not be after to"));
        }
        Ok(read)
    }

    /// Everything that makes the table what it is, but for where a slice of it begins, how long it is, and its form.
    fn fingerprint(&self, app: &str, table: ExportTable) -> ListFingerprint {
        let time = |time: Option<EventTime>| time.map(|time| time.millis().to_string()).unwrap_or_default();
        ListFingerprint::of(["export", app, table.name(), &time(self.from), &time(self.to)])
    }
}
