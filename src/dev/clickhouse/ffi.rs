//! The C interface of the engine's shared library, loaded by name at run time.
//!
//! Only what the front calls is declared. Signatures follow the library's own header, `chdb.h` of version 26.7.

// The one foreign-function boundary of the project: the engine is a C library.
#![allow(unsafe_code)]

use std::ffi::{c_char, c_int, c_void};
use std::path::Path;

use libloading::Library;

/// What the library hands out behind `chdb_connection`.
pub(super) type Connection = *mut c_void;
/// A result, owned by the caller until `destroy_result`.
pub(super) type QueryResult = *mut c_void;
/// An open streaming insert.
pub(super) type InsertStream = *mut c_void;

/// `chdb_state` of a call that succeeded.
pub(super) const SUCCESS: c_int = 0;

/// `chdb_query_analysis_v1`.
#[repr(C)]
#[derive(Default)]
pub(super) struct QueryAnalysis {
    pub(super) struct_size: u32,
    pub(super) statement_count: u32,
    pub(super) flags: u32,
    pub(super) query_class: u32,
}

/// Query, format and named parameters, each with an explicit length.
pub(super) type WithParameters<R> = unsafe extern "C" fn(
    Connection,
    *const c_char,
    usize,
    *const c_char,
    usize,
    *const *const c_char,
    *const usize,
    *const *const c_char,
    *const usize,
    usize,
) -> R;

macro_rules! functions {
    ($($(#[$doc:meta])* $field:ident: $symbol:literal => $signature:ty;)*) => {
        /// The functions of a loaded library.
        pub(super) struct Functions {
            $($(#[$doc])* pub(super) $field: $signature,)*
        }

        impl Functions {
            /// Loads the library and looks every function up. The library stays loaded for the life of the process:
            /// the engine's own threads run in it.
            pub(super) fn load(path: &Path) -> Result<Self, libloading::Error> {
                // SAFETY: the file is the engine named by the user or found in .tools; its initialisers are its own.
                let library: &'static Library = Box::leak(Box::new(unsafe { Library::new(path)? }));
                Ok(Self {
                    // SAFETY: the signatures above are those of the library's header.
                    $($field: *unsafe { library.get::<$signature>($symbol.as_bytes())? },)*
                })
            }
        }
    };
}

functions! {
    /// Opens a connection; the first one boots the engine.
    connect: "chdb_connect" => unsafe extern "C" fn(c_int, *mut *mut c_char) -> *mut Connection;
    /// Closes a connection.
    close: "chdb_close_conn" => unsafe extern "C" fn(*mut Connection);
    /// Runs a statement, whole answer at once.
    query: "chdb_query_with_params_n" => WithParameters<QueryResult>;
    /// Starts a SELECT whose answer is fetched in chunks.
    stream_query: "chdb_stream_query_with_params_n" => WithParameters<QueryResult>;
    /// The next chunk.
    stream_fetch: "chdb_stream_fetch_result" => unsafe extern "C" fn(Connection, QueryResult) -> QueryResult;
    /// Gives a streamed SELECT up.
    stream_cancel: "chdb_stream_cancel_query" => unsafe extern "C" fn(Connection, QueryResult);
    /// Starts an INSERT whose rows are appended in chunks.
    insert: "chdb_stream_insert_with_params_n" => WithParameters<InsertStream>;
    /// Appends bytes; they may be cut anywhere.
    insert_append: "chdb_stream_append" => unsafe extern "C" fn(InsertStream, *const c_void, usize) -> c_int;
    /// Ends the rows and commits.
    insert_done: "chdb_stream_done" => unsafe extern "C" fn(InsertStream) -> QueryResult;
    /// Gives an INSERT up without committing.
    insert_cancel: "chdb_stream_cancel_insert" => unsafe extern "C" fn(InsertStream);
    /// Why an INSERT failed; null if it did not.
    insert_error: "chdb_stream_insert_error" => unsafe extern "C" fn(InsertStream) -> *const c_char;
    /// Frees an INSERT.
    insert_destroy: "chdb_destroy_insert_stream" => unsafe extern "C" fn(InsertStream);
    /// Says how many statements a text holds, without running it.
    classify: "chdb_classify_query_n" =>
        unsafe extern "C" fn(Connection, *const c_char, usize, *const c_char, usize, *mut QueryAnalysis) -> c_int;
    /// Why a statement failed; null if it did not.
    result_error: "chdb_result_error" => unsafe extern "C" fn(QueryResult) -> *const c_char;
    /// The answer's bytes; null if there are none.
    result_buffer: "chdb_result_buffer" => unsafe extern "C" fn(QueryResult) -> *const c_char;
    /// The answer's length in bytes.
    result_length: "chdb_result_length" => unsafe extern "C" fn(QueryResult) -> usize;
    /// Rows of the answer.
    result_rows: "chdb_result_rows_read" => unsafe extern "C" fn(QueryResult) -> u64;
    /// Rows read from tables.
    rows_read: "chdb_result_storage_rows_read" => unsafe extern "C" fn(QueryResult) -> u64;
    /// Bytes read from tables.
    bytes_read: "chdb_result_storage_bytes_read" => unsafe extern "C" fn(QueryResult) -> u64;
    /// Rows written.
    rows_written: "chdb_result_rows_written" => unsafe extern "C" fn(QueryResult) -> u64;
    /// Bytes written.
    bytes_written: "chdb_result_bytes_written" => unsafe extern "C" fn(QueryResult) -> u64;
    /// Frees a result.
    destroy_result: "chdb_destroy_query_result" => unsafe extern "C" fn(QueryResult);
    /// Keeps the engine from installing signal handlers of its own, if 0.
    set_signal_handlers: "chdb_set_signal_handlers_enabled" => unsafe extern "C" fn(c_int);
}

/// Ends the process at once: no destructors of the engine run, which would race its threads.
pub(super) fn exit_at_once(code: c_int) -> ! {
    // SAFETY: takes no pointers and does not return.
    unsafe { libc::_exit(code) }
}
