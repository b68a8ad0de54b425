//! Sessions of the engine: one connection with a database and settings in force, as they come with a statement over HTTP to
//! a server.

// Calls through the C interface of `ffi`.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ops::ControlFlow;
use std::{ptr, slice};

use bytes::Bytes;

use super::ffi::{Connection, Functions, InsertStream, QueryAnalysis, QueryResult, SUCCESS, WithParameters};

/// A statement failed: ClickHouse's own words, beginning with `Code: N. DB::Exception:`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Exception {
    /// ClickHouse's error number.
    pub code: i32,
    /// The whole text.
    pub message: String,
}

impl Exception {
    /// An exception with the words put as ClickHouse puts them.
    pub(super) fn new(code: i32, name: &str, words: &str) -> Self {
        Self { code, message: format!("Code: {code}. DB::Exception: {words} ({name})") }
    }

    fn from_engine(message: String) -> Self {
        let code = message
            .strip_prefix("Code: ")
            .and_then(|rest| rest.split_once('.'))
            .and_then(|(digits, _)| digits.parse().ok())
            .unwrap_or(UNKNOWN_EXCEPTION);
        Self { code, message }
    }
}

/// ClickHouse's number for an exception it cannot name.
const UNKNOWN_EXCEPTION: i32 = 1002;

/// What a statement gave back, or a chunk of it.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// The rows in the format asked for.
    pub(super) body: Bytes,
    /// Rows in `body`.
    pub(super) result_rows: u64,
    /// Rows read from tables.
    pub(super) read_rows: u64,
    /// Bytes read from tables.
    pub(super) read_bytes: u64,
    /// Rows written.
    pub(super) written_rows: u64,
    /// Bytes written.
    pub(super) written_bytes: u64,
}

/// A statement as the engine takes it.
#[derive(Debug)]
pub(super) struct Statement<'a> {
    /// SQL; for an insert with rows of its own, without its FORMAT clause.
    pub(super) sql: &'a [u8],
    /// Format of the answer, or of the rows inserted.
    pub(super) format: &'a str,
    /// Values for `{name:Type}`.
    pub(super) parameters: &'a [(String, String)],
}

impl<'a> Statement<'a> {
    /// One that is asked for nothing.
    pub(super) fn plain(sql: &'a str) -> Self {
        Self { sql: sql.as_bytes(), format: "Null", parameters: &[] }
    }
}

/// By which the statements of a marked session are found: the engine numbers them itself.
pub(super) const MARK_SETTING: &str = "log_comment";

/// What is in force in a session.
#[derive(Debug)]
struct Scope {
    database: Option<String>,
    settings: Vec<(String, String)>,
    /// Whether its statements can be found among those that run.
    is_marked: bool,
}

/// One connection, for one statement at a time.
pub(super) struct Session {
    functions: &'static Functions,
    connection: *mut Connection,
    scope: Scope,
    mark: Option<String>,
}

// SAFETY: a connection is bound to no thread; its owner alone uses it.
unsafe impl Send for Session {}

impl Session {
    /// A session in `database` with `settings` in force, of the engine that runs in the folder named.
    ///
    /// # Errors
    /// ClickHouse's exception where the database, a setting or its value is unknown.
    pub(super) fn open(
        functions: &'static Functions,
        path_argument: &CStr,
        database: Option<&str>,
        settings: &[(String, String)],
        is_marked: bool,
    ) -> Result<Self, Exception> {
        let connection = connect(functions, path_argument)
            .ok_or_else(|| Exception::new(210, "NETWORK_ERROR", "The engine gave no connection."))?;
        let scope = Scope { database: database.map(str::to_owned), settings: settings.to_vec(), is_marked };
        let mark = is_marked.then(|| uuid::Uuid::new_v4().simple().to_string());
        let mut session = Self { functions, connection, scope, mark };
        if let Some(database) = database {
            session.execute(&Statement::plain(&format!("USE {}", quoted_name(database))))?;
        }
        let mark = session.mark.as_deref().map(|mark| (MARK_SETTING, mark));
        let settings = settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let assignments: Vec<String> = settings
            .chain(mark)
            .map(|(name, value)| format!("{} = {}", quoted_name(name), quoted_text(value)))
            .collect();
        if !assignments.is_empty() {
            session.execute(&Statement::plain(&format!("SET {}", assignments.join(", "))))?;
        }
        Ok(session)
    }

    /// Whether just this is in force in it.
    pub(super) fn fits(&self, database: Option<&str>, settings: &[(String, String)], is_marked: bool) -> bool {
        let Scope { database: own_database, settings: own_settings, is_marked: is_own_marked } = &self.scope;
        *is_own_marked == is_marked && own_database.as_deref() == database && own_settings == settings
    }

    /// What `Engine::kill` finds its statement by, where it is marked.
    pub(super) fn mark(&self) -> Option<&str> {
        self.mark.as_deref()
    }

    /// Runs a statement and gives its whole answer.
    ///
    /// # Errors
    /// ClickHouse's exception.
    pub(super) fn execute(&mut self, statement: &Statement<'_>) -> Result<Answer, Exception> {
        let arguments = Arguments::of(statement);
        // SAFETY: the connection is open and all pointers live over the call.
        let result = unsafe { arguments.call(self.functions.query, self.raw()) };
        self.take(result)
    }

    /// Runs a SELECT and hands its answer over in chunks, each a document of its own (with its format's header).
    /// At least one chunk comes, if only an empty one. Stops early where `on_chunk` breaks.
    ///
    /// # Errors
    /// ClickHouse's exception, before or between chunks.
    pub(super) fn stream(
        &mut self,
        statement: &Statement<'_>,
        mut on_chunk: impl FnMut(Answer) -> ControlFlow<()>,
    ) -> Result<(), Exception> {
        let arguments = Arguments::of(statement);
        // SAFETY: the connection is open and all pointers live over the call.
        let stream = unsafe { arguments.call(self.functions.stream_query, self.raw()) };
        let stream = OwnedResult { functions: self.functions, result: stream };
        stream.check()?;
        let mut is_first = true;
        loop {
            // SAFETY: connection and stream are open, and this thread alone uses them.
            let chunk = unsafe { (self.functions.stream_fetch)(self.raw(), stream.result) };
            let chunk = self.take(chunk)?;
            let is_last = chunk.body.is_empty();
            if is_last && !is_first {
                return Ok(());
            }
            is_first = false;
            if on_chunk(chunk).is_break() {
                // SAFETY: as above.
                unsafe { (self.functions.stream_cancel)(self.raw(), stream.result) };
                return Ok(());
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// Inserts the rows that `next_rows` gives piece by piece until `Ok(None)`; pieces may be cut anywhere.
    ///
    /// # Errors
    /// ClickHouse's exception; that of `next_rows`, after which nothing of the last block is committed.
    pub(super) fn insert(
        &mut self,
        statement: &Statement<'_>,
        mut next_rows: impl FnMut() -> Result<Option<Bytes>, Exception>,
    ) -> Result<Answer, Exception> {
        let arguments = Arguments::of(statement);
        // SAFETY: the connection is open and all pointers live over the call.
        let stream = unsafe { arguments.call(self.functions.insert, self.raw()) };
        let stream = OwnedInsert { functions: self.functions, stream };
        stream.check()?;
        loop {
            match next_rows() {
                Ok(Some(rows)) => {
                    // SAFETY: the stream is open; the bytes are copied before the call returns.
                    let state = unsafe {
                        (self.functions.insert_append)(stream.stream, rows.as_ptr().cast::<c_void>(), rows.len())
                    };
                    if state != SUCCESS {
                        break;
                    }
                }
                Ok(None) => break,
                Err(exception) => {
                    // SAFETY: the stream is open and not finished.
                    unsafe { (self.functions.insert_cancel)(stream.stream) };
                    return Err(exception);
                }
            }
        }
        // SAFETY: the stream is open; finishing it after a failed append gives that failure's exception.
        let result = unsafe { (self.functions.insert_done)(stream.stream) };
        let answer = self.take(result)?;
        stream.check()?;
        Ok(answer)
    }

    /// How many statements a text holds; 0 where it does not parse.
    pub(super) fn statement_count(&mut self, sql: &[u8]) -> u32 {
        let mut analysis = QueryAnalysis {
            struct_size: u32::try_from(size_of::<QueryAnalysis>()).unwrap_or(u32::MAX),
            ..QueryAnalysis::default()
        };
        // SAFETY: the connection is open, the text and the analysis live over the call, and no database is named.
        let state = unsafe {
            (self.functions.classify)(
                self.raw(),
                sql.as_ptr().cast::<c_char>(),
                sql.len(),
                ptr::null(),
                0,
                &raw mut analysis,
            )
        };
        if state == SUCCESS { analysis.statement_count } else { 0 }
    }

    fn raw(&self) -> Connection {
        // SAFETY: the pointer came from `connect` and is closed only by `drop`.
        unsafe { *self.connection }
    }

    fn take(&self, result: QueryResult) -> Result<Answer, Exception> {
        let owned = OwnedResult { functions: self.functions, result };
        owned.check()?;
        Ok(owned.answer())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // SAFETY: the connection is open, and every result and stream of it is gone: none outlives a call above.
        unsafe { (self.functions.close)(self.connection) };
    }
}

/// A result that frees itself.
struct OwnedResult {
    functions: &'static Functions,
    result: QueryResult,
}

impl OwnedResult {
    fn check(&self) -> Result<(), Exception> {
        if self.result.is_null() {
            return Err(Exception::new(UNKNOWN_EXCEPTION, "UNKNOWN_EXCEPTION", "The engine gave no result."));
        }
        // SAFETY: the result is live.
        text(unsafe { (self.functions.result_error)(self.result) })
            .map_or(Ok(()), |message| Err(Exception::from_engine(message)))
    }

    fn answer(&self) -> Answer {
        let functions = self.functions;
        // SAFETY: the result is live, and buffer and length belong together; the bytes are copied out.
        unsafe {
            let buffer = (functions.result_buffer)(self.result);
            let length = (functions.result_length)(self.result);
            let body = if buffer.is_null() {
                Bytes::new()
            } else {
                Bytes::copy_from_slice(slice::from_raw_parts(buffer.cast::<u8>(), length))
            };
            Answer {
                body,
                result_rows: (functions.result_rows)(self.result),
                read_rows: (functions.rows_read)(self.result),
                read_bytes: (functions.bytes_read)(self.result),
                written_rows: (functions.rows_written)(self.result),
                written_bytes: (functions.bytes_written)(self.result),
            }
        }
    }
}

impl Drop for OwnedResult {
    fn drop(&mut self) {
        if !self.result.is_null() {
            // SAFETY: the result is live and freed once.
            unsafe { (self.functions.destroy_result)(self.result) };
        }
    }
}

/// An insert that frees itself.
struct OwnedInsert {
    functions: &'static Functions,
    stream: InsertStream,
}

impl OwnedInsert {
    fn check(&self) -> Result<(), Exception> {
        // SAFETY: the stream is live; the header says it is never null.
        text(unsafe { (self.functions.insert_error)(self.stream) })
            .map_or(Ok(()), |message| Err(Exception::from_engine(message)))
    }
}

impl Drop for OwnedInsert {
    fn drop(&mut self) {
        // SAFETY: the stream is live and freed once.
        unsafe { (self.functions.insert_destroy)(self.stream) };
    }
}

/// A statement's texts as the pointer arrays that the interface takes.
struct Arguments<'a> {
    statement: &'a Statement<'a>,
    names: Vec<*const c_char>,
    name_lengths: Vec<usize>,
    values: Vec<*const c_char>,
    value_lengths: Vec<usize>,
}

impl<'a> Arguments<'a> {
    fn of(statement: &'a Statement<'a>) -> Self {
        let parameters = statement.parameters;
        Self {
            statement,
            names: parameters.iter().map(|(name, _)| name.as_ptr().cast()).collect(),
            name_lengths: parameters.iter().map(|(name, _)| name.len()).collect(),
            values: parameters.iter().map(|(_, value)| value.as_ptr().cast()).collect(),
            value_lengths: parameters.iter().map(|(_, value)| value.len()).collect(),
        }
    }

    /// # Safety
    /// The connection must be open, and nothing else may use it during the call.
    unsafe fn call<R>(&self, function: WithParameters<R>, connection: Connection) -> R {
        // SAFETY: the caller's promise; pointers and lengths come from live slices.
        unsafe {
            function(
                connection,
                self.statement.sql.as_ptr().cast(),
                self.statement.sql.len(),
                self.statement.format.as_ptr().cast(),
                self.statement.format.len(),
                self.names.as_ptr(),
                self.name_lengths.as_ptr(),
                self.values.as_ptr(),
                self.value_lengths.as_ptr(),
                self.names.len(),
            )
        }
    }
}

/// Threads that merge take the processor only where nobody else wants it: who asks does not wait for housekeeping. Without
/// the right to change the niceness of threads (`CAP_SYS_NICE`) it changes nothing.
const MERGES_STEP_BACK: &CStr = c"--os_threads_nice_value_merge_mutate=15";

/// Opens a connection to the engine in the folder named, and starts it with the first one.
pub(super) fn connect(functions: &Functions, path_argument: &CStr) -> Option<*mut Connection> {
    let arguments = [c"clickhouse", path_argument, MERGES_STEP_BACK];
    let mut arguments = arguments.map(|argument| argument.as_ptr().cast_mut());
    let count = c_int::try_from(arguments.len()).unwrap_or(c_int::MAX);
    // SAFETY: the strings end in NUL and live over the call, which does not write to them.
    let connection = unsafe { (functions.connect)(count, arguments.as_mut_ptr()) };
    (!connection.is_null()).then_some(connection)
}

/// The text of a C string that is not null.
fn text(pointer: *const c_char) -> Option<String> {
    if pointer.is_null() {
        return None;
    }
    // SAFETY: the interface's error texts end in NUL and live as long as their handle.
    Some(unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned())
}

fn quoted_name(name: &str) -> String {
    format!("`{}`", name.replace('\\', "\\\\").replace('`', "\\`"))
}

pub(super) fn quoted_text(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}
