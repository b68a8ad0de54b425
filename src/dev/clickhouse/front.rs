//! ClickHouse's HTTP interface before the engine.

use std::mem;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::{Body, BodyDataStream};
use axum::extract::{Query, State};
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Router, body};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::engine::Engine;
use super::request::{self, Chunking, Parameters};
use super::session::{Answer, Exception, Session, Statement};

/// Statements that run at once; more of them wait. Each holds a thread.
const MOST_STATEMENTS: usize = 32;

/// Chunks of an answer, or of an insert's rows, that may wait for the other side.
const CHUNKS_IN_FLIGHT: usize = 4;

/// How long a refusal waits for the end of what is refused.
const MOST_PATIENCE: Duration = Duration::from_secs(5);

/// How often killing a statement is tried, and how long it waits in between.
const KILL_ATTEMPTS: u32 = 100;
const KILL_PAUSE: Duration = Duration::from_millis(100);

/// Mark by which a reader finds an exception after part of an answer; any 16 characters rare in data do.
const EXCEPTION_TAG: &str = "seenbydevengine0";

#[derive(Clone)]
struct Front {
    engine: &'static Engine,
    statements: Arc<Semaphore>,
}

/// The routes of the interface.
pub(super) fn router(engine: &'static Engine) -> Router {
    let front = Front { engine, statements: Arc::new(Semaphore::new(MOST_STATEMENTS)) };
    Router::new().route("/ping", get(|| async { "Ok.\n" })).route("/", get(statement).post(statement)).with_state(front)
}

async fn statement(
    State(front): State<Front>,
    Query(pairs): Query<Vec<(String, String)>>,
    method: Method,
    headers: HeaderMap,
    body: Body,
) -> Response {
    match understood(pairs, &headers) {
        Ok(parameters) => {
            run(front, parameters, &method, &headers, body).await.unwrap_or_else(|exception| refusal(&exception))
        }
        Err(exception) => {
            read_to_its_end(body.into_data_stream()).await;
            refusal(&exception)
        }
    }
}

/// What a request's head asks for.
fn understood(pairs: Vec<(String, String)>, headers: &HeaderMap) -> Result<Parameters, Exception> {
    if headers.get(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        let words = "Compressed request bodies are not supported by this front.";
        return Err(Exception::new(48, "NOT_IMPLEMENTED", words));
    }
    Parameters::sort(pairs)
}

/// Reads what a client still sends: one whose connection ends while it does so never sees why it is refused. One that waits
/// for an answer before it ends gets it after a while.
async fn read_to_its_end(mut body: BodyDataStream) {
    let reading = async { while let Some(Ok(_)) = body.next().await {} };
    // Either is the end of waiting.
    let _ = tokio::time::timeout(MOST_PATIENCE, reading).await;
}

async fn run(
    front: Front,
    mut parameters: Parameters,
    method: &Method,
    headers: &HeaderMap,
    body: Body,
) -> Result<Response, Exception> {
    if let Some((sql, format)) = parameters.query.as_deref().and_then(request::insert_of_rows) {
        let (sql, format) = (sql.to_owned(), format.to_owned());
        return insert(front, parameters, sql, format, body).await;
    }

    let body = body::to_bytes(body, usize::MAX).await.map_err(|error| broken_body(&error))?;
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut sql = Vec::new();
    if let Some(boundary) = request::multipart_boundary(content_type) {
        for (name, value) in request::multipart_fields(&body, boundary)? {
            parameters.add(name, value)?;
        }
        sql.extend_from_slice(parameters.query.take().unwrap_or_default().as_bytes());
    } else {
        if let Some(beginning) = &parameters.query {
            sql.extend_from_slice(beginning.as_bytes());
            sql.push(b'\n');
        }
        sql.extend_from_slice(&body);
    }
    if sql.is_empty() {
        return Ok("Ok.\n".into_response());
    }
    if method == Method::GET {
        // As a server has it: GET never changes anything.
        parameters.settings.push(("readonly".to_owned(), "2".to_owned()));
    }
    query(front, parameters, sql).await
}

/// Runs a statement that is whole, sending its answer as it is made where the format allows that.
async fn query(front: Front, parameters: Parameters, sql: Vec<u8>) -> Result<Response, Exception> {
    let permit = permit(&front).await?;
    let abandonment = parameters.ends_with_its_client().then(|| Abandonment::new(front.engine));
    let progress = abandonment.as_ref().map(|abandonment| Arc::clone(&abandonment.progress));
    let (head_sender, head) = oneshot::channel();
    let (chunk_sender, chunks) = mpsc::channel(CHUNKS_IN_FLIGHT);
    let thread = tokio::task::spawn_blocking(move || {
        run_query(front.engine, &parameters, &sql, progress.as_deref(), head_sender, &chunk_sender);
        drop(permit);
    });
    match head.await {
        Ok(head) => {
            let head = head?;
            let rest = stream::unfold((chunks, abandonment), |(mut chunks, abandonment)| async move {
                let chunk = chunks.recv().await?;
                Some((Ok::<_, std::convert::Infallible>(chunk), (chunks, abandonment)))
            });
            Ok(success(&head, Body::from_stream(rest)))
        }
        // The thread ended without a head: it panicked.
        Err(_) => Err(lost_thread(thread.await.err())),
    }
}

/// Ends a statement whose client goes away, as a server does where the client asked for that: dropped with the request, it
/// kills the statement unless that has ended.
struct Abandonment {
    engine: &'static Engine,
    progress: Arc<Mutex<Progress>>,
}

/// How far a statement is that ends with its client.
enum Progress {
    /// It has no session yet.
    Waiting,
    /// It runs, and is found by this mark.
    Running(String),
    /// Nobody waits for it any more.
    Abandoned,
    /// It has ended.
    Ended,
}

impl Abandonment {
    fn new(engine: &'static Engine) -> Self {
        Self { engine, progress: Arc::new(Mutex::new(Progress::Waiting)) }
    }
}

/// Moves a statement on to `next`; `false` where nobody waits for it any more.
fn advance(progress: Option<&Mutex<Progress>>, next: Progress) -> bool {
    let Some(progress) = progress else { return true };
    let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
    let is_wanted = !matches!(*progress, Progress::Abandoned);
    // What was abandoned is at its end, or does not begin.
    *progress = if is_wanted { next } else { Progress::Ended };
    is_wanted
}

impl Drop for Abandonment {
    fn drop(&mut self) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let mark = match mem::replace(&mut *progress, Progress::Abandoned) {
            Progress::Running(mark) => mark,
            Progress::Waiting | Progress::Abandoned => return,
            Progress::Ended => {
                *progress = Progress::Ended;
                return;
            }
        };
        drop(progress);
        let (engine, progress) = (self.engine, Arc::clone(&self.progress));
        // Killing asks the engine, which takes its time. A statement that has not begun yet is met by the next attempt.
        std::thread::spawn(move || {
            for _ in 0..KILL_ATTEMPTS {
                // Its session, and so its mark, is nobody else's: what was abandoned is not kept.
                if matches!(*progress.lock().unwrap_or_else(PoisonError::into_inner), Progress::Ended) {
                    return;
                }
                if let Err(error) = engine.kill(&mark) {
                    tracing::debug!(%error, "a statement that nobody waits for could not be killed");
                }
                std::thread::sleep(KILL_PAUSE);
            }
        });
    }
}

/// What is known when the answer begins.
struct Head {
    format: String,
    summary: String,
}

fn run_query(
    engine: &'static Engine,
    parameters: &Parameters,
    sql: &[u8],
    progress: Option<&Mutex<Progress>>,
    head: oneshot::Sender<Result<Head, Exception>>,
    chunks: &mpsc::Sender<Bytes>,
) {
    let started = Instant::now();
    let format = parameters.default_format.clone().unwrap_or_else(|| "TabSeparated".to_owned());
    let statement = Statement { sql, format: &format, parameters: &parameters.values };
    let chunking = str::from_utf8(sql)
        .ok()
        .and_then(|sql| request::chunking(sql, &format))
        .filter(|_| !parameters.wait_end_of_query);

    let mut head = Some(head);
    let mut begin = |answer: &Answer| {
        if let Some(sender) = head.take() {
            // The client may be gone; the next chunk tells.
            let _ = sender.send(Ok(Head { format: format.clone(), summary: summary(answer, started) }));
        }
    };
    let mut run = |session: &mut Session| {
        if session.statement_count(sql) > 1 {
            return Err(Exception::new(62, "SYNTAX_ERROR", "Syntax error (Multi-statements are not allowed)."));
        }
        let Some(chunking) = chunking else {
            let answer = session.execute(&statement)?;
            begin(&answer);
            // A client that is gone does not mind.
            let _ = chunks.blocking_send(answer.body);
            return Ok(true);
        };
        let (mut is_first, mut is_whole) = (true, true);
        session.stream(&statement, |answer| {
            begin(&answer);
            let rows = if is_first { answer.body } else { without_head(answer.body, chunking) };
            is_first = false;
            is_whole = chunks.blocking_send(rows).is_ok();
            if is_whole { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        Ok(is_whole)
    };
    let is_marked = progress.is_some();
    let opened = engine.session(parameters.database.as_deref(), &parameters.settings, is_marked);
    let outcome = opened.and_then(|mut session| {
        let running = Progress::Running(session.mark().unwrap_or_default().to_owned());
        if !advance(progress, running) {
            return Err(Exception::new(394, "QUERY_WAS_CANCELLED", "Nobody waits for the statement any more."));
        }
        let outcome = run(&mut session);
        let was_wanted = advance(progress, Progress::Ended);
        if was_wanted && outcome.as_ref().is_ok_and(|is_whole| *is_whole) && request::leaves_session_alone(sql) {
            engine.keep(session);
        }
        outcome
    });
    if let Err(exception) = outcome {
        match head.take() {
            Some(sender) => {
                // As above: nobody may be listening.
                let _ = sender.send(Err(exception));
            }
            None => {
                let _ = chunks.blocking_send(exception_in_body(&exception));
            }
        }
    }
}

/// A later chunk without the head that the first one brought.
fn without_head(mut chunk: Bytes, chunking: Chunking) -> Bytes {
    if chunking == Chunking::NamesAndTypes
        && let Some(length) = request::names_and_types_length(&chunk)
    {
        return chunk.split_off(length);
    }
    chunk
}

/// Runs an INSERT whose rows are the body, appending them as they come.
async fn insert(
    front: Front,
    parameters: Parameters,
    sql: String,
    format: String,
    body: Body,
) -> Result<Response, Exception> {
    let permit = permit(&front).await?;
    let (row_sender, mut rows) = mpsc::channel::<Result<Bytes, Exception>>(CHUNKS_IN_FLIGHT);
    let mut reading = tokio::spawn(hand_over(body.into_data_stream(), row_sender));
    let thread = tokio::task::spawn_blocking(move || {
        let started = Instant::now();
        let statement = Statement { sql: sql.as_bytes(), format: &format, parameters: &parameters.values };
        let outcome = engine_insert(front.engine, &parameters, &statement, &mut rows);
        drop(permit);
        outcome.map(|answer| Head { format: format.clone(), summary: summary(&answer, started) })
    });
    let outcome = thread.await.map_err(|error| lost_thread(Some(error)))?;
    // Also after a refusal the rows are read to their end, or until no more come.
    if tokio::time::timeout(MOST_PATIENCE, &mut reading).await.is_err() {
        reading.abort();
    }
    outcome.map(|head| success(&head, Body::empty()))
}

fn engine_insert(
    engine: &'static Engine,
    parameters: &Parameters,
    statement: &Statement<'_>,
    rows: &mut mpsc::Receiver<Result<Bytes, Exception>>,
) -> Result<Answer, Exception> {
    let mut session = engine.session(parameters.database.as_deref(), &parameters.settings, false)?;
    let answer = session.insert(statement, || rows.blocking_recv().transpose())?;
    engine.keep(session);
    Ok(answer)
}

async fn hand_over(mut body: BodyDataStream, rows: mpsc::Sender<Result<Bytes, Exception>>) {
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|error| broken_body(&error));
        let is_last = piece.is_err();
        if rows.send(piece).await.is_err() {
            return read_to_its_end(body).await;
        }
        if is_last {
            return;
        }
    }
}

async fn permit(front: &Front) -> Result<OwnedSemaphorePermit, Exception> {
    Arc::clone(&front.statements)
        .acquire_owned()
        .await
        .map_err(|_| Exception::new(439, "CANNOT_SCHEDULE_TASK", "The engine is stopping."))
}

fn broken_body(error: &axum::Error) -> Exception {
    Exception::new(210, "NETWORK_ERROR", &format!("The request body broke off: {error}."))
}

fn lost_thread(error: Option<tokio::task::JoinError>) -> Exception {
    let words = error.map_or_else(|| "The statement's thread ended.".to_owned(), |error| error.to_string());
    Exception::new(49, "LOGICAL_ERROR", &words)
}

fn success(head: &Head, body: Body) -> Response {
    let content_type = match head.format.as_str() {
        "RowBinary" | "RowBinaryWithNamesAndTypes" | "Native" => "application/octet-stream",
        "JSON" | "JSONCompact" => "application/json; charset=UTF-8",
        "JSONEachRow" => "application/x-ndjson; charset=UTF-8",
        _ => "text/plain; charset=UTF-8",
    };
    (
        [
            ("content-type", content_type),
            ("x-clickhouse-format", head.format.as_str()),
            ("x-clickhouse-summary", head.summary.as_str()),
            ("x-clickhouse-exception-tag", EXCEPTION_TAG),
        ],
        body,
    )
        .into_response()
}

/// The answer to a statement that failed before any of its rows went out.
fn refusal(exception: &Exception) -> Response {
    (
        status_of(exception.code),
        [
            ("content-type", "text/plain; charset=UTF-8"),
            ("x-clickhouse-exception-code", exception.code.to_string().as_str()),
        ],
        format!("{}\n", exception.message),
    )
        .into_response()
}

/// What ends a body whose statement failed after some of its rows went out.
fn exception_in_body(exception: &Exception) -> Bytes {
    let message = format!("{}\n", exception.message);
    let length = message.len();
    Bytes::from(format!(
        "\r\n__exception__\r\n{EXCEPTION_TAG}\r\n{message}{length} {EXCEPTION_TAG}\r\n__exception__\r\n"
    ))
}

/// The status a server gives an exception of this number.
fn status_of(code: i32) -> StatusCode {
    match code {
        // UNKNOWN_FUNCTION, _IDENTIFIER, _TYPE, _STORAGE, _TABLE, _AGGREGATE_FUNCTION, _FORMAT, _TYPE_OF_QUERY,
        // _DATABASE, _DIRECTION_OF_SORTING, _SETTING, _DATABASE_ENGINE
        46 | 47 | 50 | 56 | 60 | 63 | 73 | 78 | 81 | 99 | 115 | 336 => StatusCode::NOT_FOUND,
        // CANNOT_PARSE_TEXT to _DATETIME, THERE_IS_NO_COLUMN, DUPLICATE_COLUMN, CANNOT_PARSE_INPUT_ASSERTION_FAILED,
        // BAD_ARGUMENTS, CANNOT_PARSE_DATE and _DATETIME, ILLEGAL_COLUMN, TYPE_MISMATCH, SYNTAX_ERROR,
        // VALUE_IS_OUT_OF_RANGE, CANNOT_PARSE_NUMBER, INCORRECT_DATA, CANNOT_PARSE_UUID, CANNOT_COMPILE_REGEXP
        6 | 8 | 15 | 25..=27 | 36 | 38 | 41 | 44 | 53 | 62 | 69 | 72 | 117 | 376 | 427 => StatusCode::BAD_REQUEST,
        48 => StatusCode::NOT_IMPLEMENTED,
        159 => StatusCode::REQUEST_TIMEOUT,
        76 | 209 | 439 => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// ClickHouse's summary header: numbers as JSON strings.
fn summary(answer: &Answer, started: Instant) -> String {
    serde_json::json!({
        "read_rows": answer.read_rows.to_string(),
        "read_bytes": answer.read_bytes.to_string(),
        "written_rows": answer.written_rows.to_string(),
        "written_bytes": answer.written_bytes.to_string(),
        "result_rows": answer.result_rows.to_string(),
        "elapsed_ns": started.elapsed().as_nanos().to_string(),
    })
    .to_string()
}
