//! What a request to ClickHouse's HTTP interface asks for.
//!
//! The statement stands in the `query` parameter, in the body, or begins in the one and goes on in the other; settings,
//! `param_x` values and the database are URL parameters, and a multipart form may carry statement and values instead.

use super::session::Exception;

/// Parameters of ClickHouse's HTTP interface that are no settings and mean nothing here: this front has one user, no
/// sessions, no query log, and sends error texts without stack traces.
const IGNORED: [&str; 12] = [
    "user",
    "password",
    "quota_key",
    "query_id",
    "role",
    "session_id",
    "session_timeout",
    "session_check",
    "close_session",
    "buffer_size",
    "stacktrace",
    "client_protocol_version",
];

/// The parameters of a request, sorted out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Parameters {
    /// The statement, or its beginning.
    pub(super) query: Option<String>,
    /// The database unqualified names stand in.
    pub(super) database: Option<String>,
    /// Format of the answer where the statement names none.
    pub(super) default_format: Option<String>,
    /// Whether the answer is to be held back until it is whole.
    pub(super) wait_end_of_query: bool,
    /// Values for `{name:Type}`.
    pub(super) values: Vec<(String, String)>,
    /// Settings of the statement.
    pub(super) settings: Vec<(String, String)>,
}

impl Parameters {
    /// Sorts URL parameters.
    ///
    /// # Errors
    /// Where block compression is asked for.
    pub(super) fn sort(pairs: Vec<(String, String)>) -> Result<Self, Exception> {
        let mut sorted = Self::default();
        for (name, value) in pairs {
            sorted.add(name, value)?;
        }
        Ok(sorted)
    }

    /// Adds one parameter; an empty database or format is none.
    pub(super) fn add(&mut self, name: String, value: String) -> Result<(), Exception> {
        match name.as_str() {
            "query" => self.query = Some(value),
            "database" => self.database = (!value.is_empty()).then_some(value),
            "default_format" => self.default_format = (!value.is_empty()).then_some(value),
            "wait_end_of_query" => self.wait_end_of_query = value == "1",
            "compress" | "decompress" => {
                if value != "0" {
                    return Err(Exception::new(
                        48,
                        "NOT_IMPLEMENTED",
                        &format!("{name}=1 is not supported by this front: set clickhouse.compression = false."),
                    ));
                }
            }
            other if IGNORED.contains(&other) => {}
            other => match other.strip_prefix("param_") {
                Some(parameter) => self.values.push((parameter.to_owned(), value)),
                None => self.settings.push((name, value)),
            },
        }
        Ok(())
    }
}

impl Parameters {
    /// Whether the statement is to end when its client goes away: `cancel_http_readonly_queries_on_client_close`, which a
    /// server heeds for statements that may only read.
    pub(super) fn ends_with_its_client(&self) -> bool {
        let setting =
            |name| self.settings.iter().rev().find(|(found, _)| found == name).map(|(_, value)| value.as_str());
        setting("cancel_http_readonly_queries_on_client_close") == Some("1")
            && setting("readonly").is_some_and(|readonly| readonly != "0")
    }
}

/// The boundary of a multipart form's content type.
pub(super) fn multipart_boundary(content_type: &str) -> Option<&str> {
    let (kind, rest) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let (_, boundary) = rest.split_once("boundary=")?;
    Some(boundary.split(';').next()?.trim().trim_matches('"'))
}

/// The named fields of a multipart form.
///
/// # Errors
/// Where a part has no name or is not UTF-8: statements and values are text.
pub(super) fn multipart_fields(body: &[u8], boundary: &str) -> Result<Vec<(String, String)>, Exception> {
    let refused = |words: &str| Exception::new(36, "BAD_ARGUMENTS", words);
    let text = str::from_utf8(body).map_err(|_| refused("The multipart form is not UTF-8."))?;
    let delimiter = format!("--{boundary}");
    let mut fields = Vec::new();
    // Before the first delimiter stands nothing, after the last one `--`.
    for part in text.split(delimiter.as_str()).skip(1) {
        let Some(part) = part.strip_prefix("\r\n") else { break };
        let (head, value) =
            part.split_once("\r\n\r\n").ok_or_else(|| refused("A part of the multipart form has no end of header."))?;
        let name = head
            .split_once("name=\"")
            .and_then(|(_, rest)| rest.split_once('"'))
            .map(|(name, _)| name.to_owned())
            .ok_or_else(|| refused("A part of the multipart form has no name."))?;
        fields.push((name, value.strip_suffix("\r\n").unwrap_or(value).to_owned()));
    }
    Ok(fields)
}

/// An INSERT whose rows follow in the body: the statement without its FORMAT clause, and the format.
/// `None` for every other statement.
pub(super) fn insert_of_rows(query: &str) -> Option<(&str, &str)> {
    let query = query.trim().trim_end_matches(';').trim_end();
    if !first_word(query).eq_ignore_ascii_case("insert") {
        return None;
    }
    let (before_format, format) = query.rsplit_once(char::is_whitespace)?;
    let (statement, keyword) = before_format.trim_end().rsplit_once(|c: char| c.is_whitespace() || c == ')')?;
    if !keyword.eq_ignore_ascii_case("format") {
        return None;
    }
    // A parenthesis that touched the keyword belongs to the statement.
    let length = statement.len() + usize::from(query.as_bytes().get(statement.len()) == Some(&b')'));
    Some((query.get(..length)?.trim_end(), format))
}

/// How the chunks of a streamed answer make one document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chunking {
    /// One after the other.
    Plain,
    /// One after the other, without the names and types that every chunk begins with, but for the first.
    NamesAndTypes,
}

/// Whether an answer can be sent as it is made; `None` where it must be whole, as formats with a head and a foot.
pub(super) fn chunking(sql: &str, default_format: &str) -> Option<Chunking> {
    let first = first_word(sql);
    let is_select = first.eq_ignore_ascii_case("select") || first.eq_ignore_ascii_case("with");
    let names_format = sql.as_bytes().windows(6).any(|word| word.eq_ignore_ascii_case(b"format"));
    if !is_select || names_format {
        return None;
    }
    match default_format {
        "RowBinary" | "TabSeparated" | "TSV" | "JSONEachRow" | "CSV" | "Native" => Some(Chunking::Plain),
        "RowBinaryWithNamesAndTypes" => Some(Chunking::NamesAndTypes),
        _ => None,
    }
}

/// Length of the head of a RowBinaryWithNamesAndTypes document: the number of columns, their names, their types.
pub(super) fn names_and_types_length(document: &[u8]) -> Option<usize> {
    let mut at = 0;
    let columns = variable_integer(document, &mut at)?;
    for _ in 0..columns.checked_mul(2)? {
        let length = variable_integer(document, &mut at)?;
        at = at.checked_add(length)?;
    }
    (at <= document.len()).then_some(at)
}

/// An unsigned LEB128 number at `at`, which moves behind it.
fn variable_integer(bytes: &[u8], at: &mut usize) -> Option<usize> {
    let mut value = 0_usize;
    for shift in (0..usize::BITS).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Whether a statement leaves its session as it was: it sets nothing and makes nothing that lives in it.
pub(super) fn leaves_session_alone(sql: &[u8]) -> bool {
    let Ok(sql) = str::from_utf8(sql) else { return false };
    let mut rest = sql.trim_start();
    while rest.starts_with("--") {
        rest = rest.split_once('\n').map_or("", |(_, rest)| rest).trim_start();
    }
    ["select", "with"].iter().any(|word| first_word(rest).eq_ignore_ascii_case(word))
}

fn first_word(sql: &str) -> &str {
    let sql = sql.trim_start_matches(|c: char| c.is_whitespace() || c == '(');
    sql.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn parameters_are_told_from_settings() {
        let pairs = [
            ("query", "SELECT 1"),
            ("database", "d"),
            ("param_x", "v"),
            ("max_threads", "2"),
            ("query_id", "q"),
            ("decompress", "0"),
        ];
        let sorted = Parameters::sort(pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect()).unwrap();
        assert_eq!(
            sorted,
            Parameters {
                query: Some("SELECT 1".to_owned()),
                database: Some("d".to_owned()),
                values: vec![("x".to_owned(), "v".to_owned())],
                settings: vec![("max_threads".to_owned(), "2".to_owned())],
                ..Parameters::default()
            }
        );
    }

    #[test]
    fn block_compression_is_refused_with_a_reason() {
        let refused = Parameters::sort(vec![("decompress".to_owned(), "1".to_owned())]).unwrap_err();
        assert_eq!(refused.code, 48);
        assert!(refused.message.contains("clickhouse.compression"));
    }

    #[test]
    fn inserts_of_rows_are_recognised() {
        let cases = [
            ("INSERT INTO t FORMAT RowBinary", Some(("INSERT INTO t", "RowBinary"))),
            ("insert into t(a, b)format\nTSV ;\n", Some(("insert into t(a, b)", "TSV"))),
            (
                "INSERT INTO t (a) SETTINGS async_insert=0 FORMAT Native",
                Some(("INSERT INTO t (a) SETTINGS async_insert=0", "Native")),
            ),
            ("INSERT INTO t VALUES (1)", None),
            ("INSERT INTO t SELECT 1", None),
            ("SELECT 1 FORMAT TSV", None),
        ];
        for (query, expected) in cases {
            assert_eq!(insert_of_rows(query), expected, "{query}");
        }
    }

    #[test]
    fn only_answers_that_can_be_cut_are_streamed() {
        assert_eq!(chunking("SELECT 1", "RowBinary"), Some(Chunking::Plain));
        assert_eq!(
            chunking("with x as (select 1) select *", "RowBinaryWithNamesAndTypes"),
            Some(Chunking::NamesAndTypes)
        );
        assert_eq!(chunking("SELECT 1 FORMAT JSON", "RowBinary"), None);
        assert_eq!(chunking("SELECT 1", "JSON"), None);
        assert_eq!(chunking("SHOW TABLES", "TSV"), None);
    }

    #[test]
    fn questions_alone_leave_a_session_as_it_was() {
        for question in ["SELECT 1", "-- Why.\n  -- And how.\nselect 1", "\nWITH 1 AS x SELECT x", "(SELECT 1)"] {
            assert!(leaves_session_alone(question.as_bytes()), "{question}");
        }
        for other in ["SET a = 1", "USE d", "CREATE TEMPORARY TABLE t (x UInt8)", "-- SELECT 1", "", "SYSTEM SYNC"] {
            assert!(!leaves_session_alone(other.as_bytes()), "{other}");
        }
        assert!(!leaves_session_alone(b"SELECT '\xff'"), "no text");
    }

    #[test]
    fn the_head_of_a_document_is_measured() {
        assert_eq!(names_and_types_length(b"\x01\x01a\x05UInt8\x07"), Some(9));
        assert_eq!(names_and_types_length(b"\x01\x01a\x05UIn"), None);
        assert_eq!(names_and_types_length(b""), None);
    }

    #[test]
    fn multipart_forms_are_taken_apart() {
        let boundary = multipart_boundary("multipart/form-data; boundary=abc").unwrap();
        let body = b"--abc\r\nContent-Disposition: form-data; name=\"query\"\r\n\r\nSELECT {x:String}\r\n\
                     --abc\r\nContent-Disposition: form-data; name=\"param_x\"\r\n\r\n\r\n--abc--\r\n";
        let fields = multipart_fields(body, boundary).unwrap();
        assert_eq!(
            fields,
            [("query".to_owned(), "SELECT {x:String}".to_owned()), ("param_x".to_owned(), String::new())]
        );
    }
}
