//! The front before the engine answers the `clickhouse` crate as a server does.

use clickhouse::Row;
use clickhouse::error::Error;
use serde::{Deserialize, Serialize};

use crate::support::clickhouse::{client, database, url};

#[derive(Debug, PartialEq, Row, Serialize, Deserialize)]
struct Reader {
    user: String,
    at: u64,
}

#[tokio::test]
async fn rows_come_back_as_they_were_inserted() {
    let (_, client) = database("round_trip").await;
    client
        .query("CREATE TABLE readers (user String, at UInt64) ENGINE = MergeTree ORDER BY at")
        .execute()
        .await
        .unwrap();
    let mut insert = client.insert::<Reader>("readers").await.unwrap();
    for at in 0..200_000 {
        insert.write(&Reader { user: format!("user{at}"), at }).await.unwrap();
    }
    insert.end().await.unwrap();

    // More than one chunk of the engine's: each begins with names and types, and a client may see only the first.
    let readers = client.query("SELECT user, at FROM readers ORDER BY at").fetch_all::<Reader>().await.unwrap();
    assert_eq!(readers.len(), 200_000);
    assert!(readers.iter().zip(0..).all(|(reader, at)| *reader == Reader { user: format!("user{at}"), at }));
    let none = client.query("SELECT user, at FROM readers WHERE at > 1000000").fetch_all::<Reader>().await.unwrap();
    assert_eq!(none, []);
}

#[tokio::test]
async fn values_are_bound_not_glued() {
    let text = "it's a \\ tab\t, a line\n and {x:String}";
    let bound = client().query("SELECT {text:String}").param("text", text).fetch_one::<String>().await.unwrap();
    assert_eq!(bound, text);
}

#[tokio::test]
async fn settings_and_database_end_with_their_statement() {
    let (name, in_database) = database("settings").await;
    const IN_FORCE: &str = "SELECT currentDatabase(), toUInt64(getSetting('max_block_size'))";
    let with_setting = in_database.query(IN_FORCE).with_setting("max_block_size", "1234");
    assert_eq!(with_setting.fetch_one::<(String, u64)>().await.unwrap(), (name, 1234));
    for _ in 0..40 {
        let (database, block_size) = client().query(IN_FORCE).fetch_one::<(String, u64)>().await.unwrap();
        assert_eq!(database, "default");
        assert_ne!(block_size, 1234);
    }
}

#[tokio::test]
async fn errors_carry_the_status_code_and_words_of_a_server() {
    let http = reqwest::Client::new();
    for (sql, status, code, words) in [
        ("SELECT * FROM no_such_table", 404, "60", "UNKNOWN_TABLE"),
        ("SELEC 1", 400, "62", "SYNTAX_ERROR"),
        ("SELECT 1; SELECT 2", 400, "62", "SYNTAX_ERROR"),
        ("SELECT throwIf(1)", 500, "395", "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO"),
    ] {
        let response = http.post(url()).body(sql).send().await.unwrap();
        assert_eq!(response.status(), status, "{sql}");
        assert_eq!(response.headers()["x-clickhouse-exception-code"], code, "{sql}");
        let text = response.text().await.unwrap();
        assert!(text.starts_with(&format!("Code: {code}. DB::Exception: ")) && text.contains(words), "{text}");
    }
}

#[tokio::test]
async fn an_error_after_part_of_the_answer_is_not_taken_for_its_end() {
    let late = "SELECT throwIf(number = 2000000) FROM numbers(3000000) SETTINGS max_block_size = 1000, max_threads = 1";
    let error = client().query(late).fetch_all::<u8>().await.unwrap_err();
    assert!(matches!(&error, Error::BadResponse(words) if words.contains("Code: 395.")), "{error:?}");
}

#[tokio::test]
async fn a_refused_row_is_an_error_and_nothing_is_inserted() {
    let (name, client) = database("refused_row").await;
    client.query("CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a").execute().await.unwrap();
    let response = reqwest::Client::new()
        .post(format!("{}/?database={name}&query=INSERT+INTO+t+FORMAT+TSV", url()))
        .body("1\nnot a number\n")
        .send()
        .await
        .unwrap();
    assert!(response.headers().contains_key("x-clickhouse-exception-code"), "{response:?}");
    assert_eq!(client.query("SELECT count() FROM t").fetch_one::<u64>().await.unwrap(), 0);
}

#[tokio::test]
async fn compressed_rows_are_refused_with_the_setting_to_change() {
    let (_, client) = database("compression").await;
    client.query("CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a").execute().await.unwrap();
    let compressing = client.with_compression(clickhouse::Compression::Lz4).with_validation(false);
    #[derive(Row, Serialize)]
    struct Single {
        a: u8,
    }
    let mut insert = compressing.insert::<Single>("t").await.unwrap();
    let written = insert.write(&Single { a: 1 }).await;
    let error = match written {
        Ok(()) => insert.end().await.unwrap_err(),
        Err(error) => error,
    };
    assert!(error.to_string().contains("clickhouse.compression"), "{error}");
}
