//! Whole tables of an app, in slices that together are the table.

use std::collections::BTreeSet;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, Response, header};
use seenby::config::{TokenConfig, TokenRole};
use seenby::store::Table;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::support::api::{READERS, SERVICE, TestApi, open_policy};
use crate::support::clickhouse;
use crate::support::events::{MINUTE, NOON, group_message, group_read};
use crate::support::faulty_clickhouse::FaultyClickHouse;
use crate::support::traffic::Traffic;

const EXPORT: &str = "/v1/org/app/export";
const TABLES: [&str; 8] =
    ["messages", "receipts", "recalls", "marks", "roster_changes", "settlements", "rejections", "message_counts"];

/// Whatever the format: head and body of an answer that must succeed.
fn export(api: &TestApi, query: &str) -> (HeaderMap, Vec<u8>) {
    let request = Request::get(format!("{EXPORT}?{query}")).header(header::AUTHORIZATION, "Bearer token-of-root");
    api.store.runtime.block_on(async {
        let response = api.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let body = to_bytes(response.into_body(), 64 << 20).await.unwrap();
        assert_eq!(status, 200, "{query}: {}", String::from_utf8_lossy(&body));
        (headers, body.to_vec())
    })
}

/// The body as a client on a socket reads it, to its end, asking for a compression.
fn read_to_the_end(api: &TestApi, query: &str, encoding: &str) -> (Option<String>, Vec<u8>) {
    let url = format!("http://{}{EXPORT}?{query}", api.listen());
    api.store.runtime.block_on(async {
        let request = reqwest::Client::new().get(url).bearer_auth("token-of-root");
        let answer = request.header("accept-encoding", encoding).send().await.unwrap();
        let used = answer.headers().get("content-encoding").map(|used| used.to_str().unwrap().to_owned());
        (used, answer.bytes().await.unwrap().to_vec())
    })
}

fn lines(body: &[u8]) -> Vec<Value> {
    std::str::from_utf8(body).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Mixed traffic of one app, whose rows are there twice.
fn filled(test: &str) -> TestApi {
    let mut api = TestApi::new(test);
    let mut traffic = Traffic::new(91);
    for _ in 0..4 {
        let records: Vec<_> = std::iter::once(traffic.control()).chain((0..400).map(|_| traffic.event())).collect();
        api.flush(&records);
    }
    for table in TABLES {
        api.store.execute(&format!("INSERT INTO {table} SELECT * FROM {table} WHERE offset % 2 = 0"));
    }
    api
}

#[test]
fn a_compressed_export_ends_as_a_plain_one() {
    let api = filled("export_compressed");
    let plain = export(&api, "table=messages").1;
    let (encoding, zipped) = read_to_the_end(&api, "table=messages", "gzip");
    assert_eq!(encoding.as_deref(), Some("gzip"));
    let mut read = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(zipped.as_slice()), &mut read).unwrap();
    assert!(read == plain, "{} bytes and {}", read.len(), plain.len());
    let (encoding, zipped) = read_to_the_end(&api, "table=messages", "zstd");
    assert_eq!(encoding.as_deref(), Some("zstd"));
    assert!(zstd::decode_all(zipped.as_slice()).unwrap() == plain);
}

#[test]
fn slices_of_any_length_are_together_the_table_each_row_once() {
    let api = filled("export_slices");
    for table in TABLES {
        let expected = api.store.number(&format!("SELECT count() FROM {table} FINAL WHERE app = 'org#app'"));
        assert!(expected > 3, "{table}: {expected} rows");
        let whole = lines(&export(&api, &format!("table={table}")).1);
        assert_eq!(whole.len() as u64, expected, "{table}");
        let limit = expected / 3 + 1;
        let mut sliced = Vec::new();
        let mut cursor = String::new();
        for slice in 0..4 {
            let (headers, body) = export(&api, &format!("table={table}&limit={limit}{cursor}"));
            let rows = lines(&body);
            // Whoever was cut off asks once more.
            assert_eq!(lines(&export(&api, &format!("table={table}&limit={limit}{cursor}")).1), rows, "{table}");
            sliced.extend(rows);
            match headers.get("seenby-next-cursor") {
                Some(next) => cursor = format!("&cursor={}", next.to_str().unwrap()),
                None => break,
            }
            assert!(slice < 3, "{table} does not end");
        }
        assert_eq!(sliced, whole, "{table}");
        let distinct: BTreeSet<String> = whole.iter().map(Value::to_string).collect();
        assert_eq!(distinct.len(), whole.len(), "{table}");
    }
}

#[test]
fn rows_say_what_was_folded_in_each_format() {
    let mut api = TestApi::new("export_formats");
    api.flush(&[
        open_policy(1, |_| {}),
        group_message("m1").asking_receipts().record(),
        group_read("m1").from("bob").content("seen, \"thanks\"").after(MINUTE).record(),
        group_message("m1").app("org#other").to("g9").asking_receipts().record(),
    ]);
    let (headers, body) = export(&api, "table=receipts");
    assert_eq!(headers[header::CONTENT_TYPE], "application/x-ndjson");
    let [row] = <[Value; 1]>::try_from(lines(&body)).unwrap();
    for (column, value) in [
        ("conversation", json!("org#app/g/g1")),
        ("message", json!("m1")),
        ("sent_at_ms", json!(NOON)),
        ("kind_name", json!("read")),
        ("reader", json!("bob")),
        ("at_ms", json!(NOON + MINUTE)),
        ("content", json!("seen, \"thanks\"")),
    ] {
        let told = &row[column];
        // 64-bit numbers may come as texts, as JSON's own are doubles.
        assert!(*told == value || *told == json!(value.to_string()), "{column}: {row}");
    }
    let as_of: Value = serde_json::from_str(headers["seenby-as-of"].to_str().unwrap()).unwrap();
    assert_eq!(as_of["next_offsets"], json!([4]));

    let (headers, body) = export(&api, "table=receipts&format=csv");
    assert_eq!(headers[header::CONTENT_TYPE], "text/csv; charset=utf-8");
    let text = String::from_utf8(body).unwrap();
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(text.starts_with("\"conversation\",") && text.contains("\"seen, \"\"thanks\"\"\""), "{text}");

    let (headers, body) = export(&api, "table=receipts&format=parquet");
    assert_eq!(headers[header::CONTENT_TYPE], "application/vnd.apache.parquet");
    assert!(body.starts_with(b"PAR1") && body.ends_with(b"PAR1"), "{} bytes", body.len());

    assert_eq!(lines(&export(&api, &format!("table=receipts&to={}", NOON + MINUTE)).1), [Value::Null; 0]);
    assert_eq!(lines(&export(&api, &format!("table=receipts&from={}", NOON + MINUTE)).1).len(), 1);
    assert_eq!(lines(&export(&api, "table=messages").1).len(), 1, "not another app's");
}

fn ask(api: &TestApi, app: &str, token: &str) -> Response<Body> {
    let request = Request::get(format!("/v1/org/{app}/export?table=messages"));
    let request = request.header(header::AUTHORIZATION, format!("Bearer {token}")).body(Body::empty()).unwrap();
    api.store.runtime.block_on(api.router.clone().oneshot(request)).unwrap()
}

/// What is told to one who has to wait for too long.
fn assert_busy(api: &TestApi, path: &str, token: &str) {
    let refused = api.get(path, token);
    assert_eq!((refused.status, &refused.body["code"]), (503, &json!("exports_busy")), "{}", refused.body);
    assert_eq!(refused.headers[header::RETRY_AFTER], "5");
}

#[test]
fn an_app_whose_exports_are_not_read_keeps_no_other_app_waiting() {
    let with_two = |test: &str, at_once: u32| {
        let mut api = TestApi::with_config(test, |config| {
            config.auth.tokens.push(TokenConfig::new("org#other", "root", TokenRole::Admin, "token-of-another-root"));
            config.api.export.at_once = at_once;
        });
        let of_another = group_message("m1").app("org#other").record();
        api.flush(&[group_message("m1").record(), of_another]);
        api
    };
    let api = with_two("export_places", 2);
    // Nobody reads it: its place is taken until its connection is given up.
    let unread = ask(&api, "app", "token-of-root");
    assert_eq!(unread.status(), 200);
    assert_busy(&api, "/v1/org/app/export?table=messages", "token-of-root");
    assert_eq!(ask(&api, "other", "token-of-another-root").status(), 200);
    assert_eq!(api.get(READERS, SERVICE).status, 200, "nothing else waits for exports");
    drop(unread);
    assert_eq!(ask(&api, "app", "token-of-root").status(), 200);

    let api = with_two("export_all_places", 1);
    let unread = ask(&api, "app", "token-of-root");
    assert_busy(&api, "/v1/org/other/export?table=messages", "token-of-another-root");
    drop(unread);
    assert_eq!(ask(&api, "other", "token-of-another-root").status(), 200);
}

#[test]
fn statements_of_exports_bring_limits_of_their_own() {
    let relay = FaultyClickHouse::before(clickhouse::url());
    let with_memory = |test: &str, bytes: u64| {
        let mut api = TestApi::with_config(test, |config| {
            config.clickhouse.url.clone_from(&relay.url);
            config.api.query.max_execution_time_ms = 7_500;
            config.api.export.max_execution_time_ms = 600_000;
            config.api.export.max_memory_bytes = bytes;
        });
        api.flush(&[group_message("m1").record()]);
        api
    };
    export(&with_memory("export_limits", 1 << 30), "table=messages");
    let settings = relay.settings();
    let [slice_end, rows] = &settings[settings.len() - 2..] else { panic!("{settings:?}") };
    for (statement, time, result_rows) in [(slice_end, "7.500", "2"), (rows, "600.000", "2000000")] {
        for (name, value) in [
            ("max_execution_time", time),
            ("max_result_rows", result_rows),
            ("max_memory_usage", "1073741824"),
            ("readonly", "2"),
            ("cancel_http_readonly_queries_on_client_close", "1"),
        ] {
            assert_eq!(statement.get(name).map(String::as_str), Some(value), "{name}");
        }
    }
    let refused = with_memory("export_memory", 1).get(&format!("{EXPORT}?table=messages"), "token-of-root");
    assert_eq!((refused.status, &refused.body["code"]), (503, &json!("query_too_expensive")), "{}", refused.body);
}

#[test]
fn what_fails_is_told_before_the_first_row_and_only_administrators_may_ask() {
    let mut api = TestApi::new("export_mistakes");
    api.flush(&[open_policy(1, |_| {}), group_message("m1").asking_receipts().record()]);
    let of_messages = export(&api, "table=message_counts&limit=1").0.get("seenby-next-cursor").cloned();
    assert_eq!(of_messages, None, "one row is one slice");
    for (query, parameter) in [
        ("", "table"),
        ("table=ledgers", "table"),
        ("table=messages&format=xml", "format"),
        ("table=messages&limit=0", "limit"),
        ("table=messages&limit=1000001", "limit"),
        ("table=messages&from=2&to=1", "from"),
        ("table=messages&cursor=e30", "cursor"),
        ("table=messages&page=2", "page"),
    ] {
        let refused = api.get(&format!("{EXPORT}?{query}"), "token-of-root");
        assert_eq!((refused.status, &refused.body["code"]), (400, &json!("invalid_request")), "{query}");
        assert!(refused.body["detail"].as_str().unwrap().starts_with(&format!("{parameter}: ")), "{}", refused.body);
    }
    for (token, status) in [(SERVICE, 403), ("token-of-alice", 403), ("token-of-another-app", 404)] {
        assert_eq!(api.get(&format!("{EXPORT}?table=messages"), token).status, status, "{token}");
    }
    let name = Table::Marks.name();
    api.store.execute(&format!("DROP TABLE {name}"));
    let broken = api.get(&format!("{EXPORT}?table={name}"), "token-of-root");
    assert_eq!((broken.status, &broken.body["code"]), (500, &json!("internal")));
}
