//! Statements of the API: so many at once, each within its limits, and none that nobody waits for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Query;
use axum::http::{Request, StatusCode, header};
use seenby::config::Config;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tower::ServiceExt as _;

use crate::support::api::{ACKS, Answer, READERS, SERVICE, TestApi, open_policy, tokens};
use crate::support::door::Door;
use crate::support::events::{MINUTE, NOON, group_message, group_read, single_message, single_read};
use crate::support::store::{ENDLESS_FACTS, FACTS_AGAIN, RUNNING, eventually};

type Settings = BTreeMap<String, String>;

/// An API before something that answers each statement with the same exception, and the settings of all statements.
fn before_exception(
    status: u16,
    text: &'static str,
    change: impl FnOnce(&mut Config),
) -> (Door, Arc<Mutex<Vec<Settings>>>) {
    let runtime = Runtime::new().unwrap();
    let met = Arc::new(Mutex::new(Vec::new()));
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let statements = Arc::clone(&met);
    let answer = move |Query(settings): Query<Settings>| async move {
        statements.lock().unwrap().push(settings);
        (StatusCode::from_u16(status).unwrap(), text)
    };
    runtime.spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    let door = Door::within(runtime, |config| {
        config.auth.tokens = tokens();
        change(config);
        config.clickhouse.url = url;
    });
    (door, met)
}

#[test]
fn every_statement_brings_its_limits_and_may_only_read() {
    let (door, met) = before_exception(500, "Code: 60. DB::Exception: no table", |config| {
        config.api.query.max_execution_time_ms = 1_500;
        config.api.query.max_rows_to_read = 11;
        config.api.query.max_bytes_to_read = 12;
        config.api.query.max_memory_bytes = 13;
        config.api.query.max_result_rows = 14;
        config.api.query.max_result_bytes = 15;
        config.api.query.thread_niceness = -16;
    });
    for path in [READERS, ACKS] {
        assert_eq!(door.ask(path, SERVICE).status, 500);
    }
    let met = met.lock().unwrap();
    assert!(met.len() >= 2);
    for settings in met.iter() {
        for (name, value) in [
            ("max_execution_time", "1.500"),
            ("max_rows_to_read", "11"),
            ("max_bytes_to_read", "12"),
            ("max_memory_usage", "13"),
            ("max_result_rows", "14"),
            ("max_result_bytes", "15"),
            ("os_thread_priority", "-16"),
            ("max_query_size", "2097152"),
            ("readonly", "2"),
            ("cancel_http_readonly_queries_on_client_close", "1"),
        ] {
            assert_eq!(settings.get(name).map(String::as_str), Some(value), "{name}");
        }
    }
}

#[test]
fn a_statement_that_was_cut_says_so_and_when_to_try_again() {
    for (text, code, retry_after) in [
        ("Code: 158. DB::Exception: Limit for rows exceeded. (TOO_MANY_ROWS)", "query_too_expensive", "30"),
        ("Code: 307. DB::Exception: Limit for bytes exceeded. (TOO_MANY_BYTES)", "query_too_expensive", "30"),
        ("Code: 396. DB::Exception: Limit for result exceeded. (TOO_MANY_ROWS_OR_BYTES)", "query_too_expensive", "30"),
        ("Code: 241. DB::Exception: Query memory limit exceeded. (MEMORY_LIMIT_EXCEEDED)", "query_too_expensive", "30"),
        ("Code: 241. DB::Exception: (total) memory limit exceeded. (MEMORY_LIMIT_EXCEEDED)", "unavailable", "1"),
        ("Code: 159. DB::Exception: Timeout exceeded. (TIMEOUT_EXCEEDED)", "timed_out", "1"),
        ("Code: 202. DB::Exception: Too many queries. (TOO_MANY_SIMULTANEOUS_QUERIES)", "unavailable", "1"),
    ] {
        let (door, _) = before_exception(500, text, |_| {});
        let answer = door.ask(READERS, SERVICE);
        assert_eq!((answer.status, &answer.body["code"]), (503, &json!(code)), "{text}");
        assert_eq!(answer.headers[header::RETRY_AFTER], retry_after, "{text}");
        let answer = door.ask(ACKS, SERVICE);
        assert_eq!((answer.status, &answer.body["error"]), (503, &json!(code)), "{text}");
    }
}

fn read_by_bob(test: &str, change: impl FnOnce(&mut Config)) -> TestApi {
    let mut api = TestApi::with_config(test, change);
    api.flush(&[
        open_policy(1, |_| {}),
        group_message("m1").asking_receipts().record(),
        group_message("m2").asking_receipts().record(),
        group_read("m1").from("bob").after(MINUTE).record(),
    ]);
    api
}

#[test]
fn the_engine_cuts_what_reads_holds_or_takes_too_much() {
    let api = read_by_bob("statements_rows", |config| config.api.query.max_rows_to_read = 1);
    let answer = api.get(READERS, SERVICE);
    assert_eq!((answer.status, &answer.body["code"]), (503, &json!("query_too_expensive")), "{}", answer.body);
    let api = read_by_bob("statements_memory", |config| config.api.query.max_memory_bytes = 1);
    let answer = api.get(READERS, SERVICE);
    assert_eq!((answer.status, &answer.body["code"]), (503, &json!("query_too_expensive")), "{}", answer.body);
    let api = read_by_bob("statements_result", |config| config.api.query.max_result_bytes = 1);
    let answer = api.get(READERS, SERVICE);
    assert_eq!((answer.status, &answer.body["code"]), (503, &json!("query_too_expensive")), "{}", answer.body);
    let api = read_by_bob("statements_time", |config| {
        unlimited(config, 60_000);
        config.api.query.max_execution_time_ms = 500;
    });
    without_end(&api);
    let answer = api.get(READERS, SERVICE);
    assert_eq!((answer.status, &answer.body["code"]), (503, &json!("timed_out")), "{}", answer.body);
    assert!(answer.body["detail"].as_str().unwrap().contains("in time"));
}

/// Makes every look at `message_facts` run for ever.
fn without_end(api: &TestApi) {
    ENDLESS_FACTS.iter().for_each(|statement| api.store.execute(statement));
}

/// A question in the background.
fn asking(api: &TestApi, path: &'static str) -> JoinHandle<u16> {
    let router = api.router.clone();
    api.store.runtime.spawn(async move {
        let request = Request::get(path).header(header::AUTHORIZATION, format!("Bearer {SERVICE}"));
        router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap().status().as_u16()
    })
}

/// How many statements run in the test's database, this one aside.
fn running(api: &TestApi) -> u64 {
    api.store.number(RUNNING)
}

fn unlimited(config: &mut Config, timeout_ms: u64) {
    config.api.timeout_ms = timeout_ms;
    config.api.query.max_execution_time_ms = 0;
    config.api.query.max_rows_to_read = 0;
    config.api.query.max_bytes_to_read = 0;
}

#[test]
fn a_question_that_timed_out_ends_in_the_engine_too() {
    let api = read_by_bob("statements_time_out", |config| unlimited(config, 4_000));
    without_end(&api);
    let question = asking(&api, READERS);
    eventually("the statement does not begin", || running(&api) == 1);
    assert_eq!(api.store.runtime.block_on(question).unwrap(), 503);
    eventually("the statement goes on though nobody waits for it", || running(&api) == 0);
}

#[test]
fn a_question_whose_client_is_gone_ends_in_the_engine_too() {
    let api = read_by_bob("statements_gone", |config| unlimited(config, 60_000));
    without_end(&api);
    let question = asking(&api, READERS);
    eventually("the statement does not begin", || running(&api) == 1);
    question.abort();
    eventually("the statement goes on though nobody waits for it", || running(&api) == 0);
}

fn metric(api: &TestApi, line: &str) -> bool {
    metrics(api).lines().any(|found| found == line)
}

fn metrics(api: &TestApi) -> String {
    api.store.runtime.block_on(async {
        let response = api.router.clone().oneshot(Request::get("/metrics").body(Body::empty()).unwrap()).await.unwrap();
        String::from_utf8(to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap()
    })
}

#[test]
fn no_more_statements_run_than_may_and_nobody_waits_longer_than_his_request_may_take() {
    let api = read_by_bob("statements_gate", |config| {
        unlimited(config, 4_000);
        config.api.max_concurrent_statements = 1;
        // Asked for once, so that only statements about the message are in the way of each other.
        config.api.as_of_max_age_ms = 60_000;
    });
    // What is asked first, the ledger's frontier, takes a place for a moment.
    assert_eq!(api.get(READERS, SERVICE).status, 200);
    without_end(&api);
    let begun = Instant::now();
    let questions: Vec<JoinHandle<u16>> = (0..5).map(|_| asking(&api, READERS)).collect();
    // One at least waits for its place, and whoever came too late for that statement for a share in the next.
    eventually("one runs and others wait", || {
        metric(&api, "seenby_api_statements_running 1") && !metric(&api, "seenby_api_statements_waiting 0")
    });
    assert!(running(&api) <= 1);
    for question in questions {
        assert_eq!(api.store.runtime.block_on(question).unwrap(), 503);
    }
    assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
    eventually("places are given back", || {
        metric(&api, "seenby_api_statements_running 0") && metric(&api, "seenby_api_statements_waiting 0")
    });
    FACTS_AGAIN.iter().for_each(|statement| api.store.execute(statement));
    let Answer { status, body, .. } = api.get(READERS, SERVICE);
    assert_eq!(status, 200, "{body}");
}

#[test]
fn apps_that_share_a_statement_get_what_is_their_own() {
    let apps = ["org#000", "org#001", "org#002"];
    let mut api = TestApi::with_tokens_of_numbered_apps("statements_shared");
    for (number, app) in (1..).zip(apps) {
        api.flush(&[single_message("m").app(app).after(number).record()]);
        if number > 1 {
            api.flush(&[single_read("m").app(app).after(number * MINUTE).record()]);
        }
    }
    let ask = |app: &str| {
        let path = format!("/v1/{}/singles/alice/bob/messages/m", app.replace('#', "/"));
        let request = Request::get(path).header(header::AUTHORIZATION, format!("Bearer token-of-{app}"));
        let asking = api.router.clone().oneshot(request.body(Body::empty()).unwrap());
        api.store.runtime.spawn(async move {
            let body = to_bytes(asking.await.unwrap().into_body(), 1 << 20).await.unwrap();
            serde_json::from_slice::<Value>(&body).unwrap()
        })
    };
    for _ in 0..20 {
        let asked: Vec<_> = apps.iter().zip(1..).cycle().take(12).map(|(app, number)| (number, ask(app))).collect();
        for (number, asking) in asked {
            let answer = api.store.runtime.block_on(asking).unwrap();
            let read_at = (number > 1).then_some(NOON + number * MINUTE);
            assert_eq!((&answer["sent_at"], &answer["read_at"]), (&json!(NOON + number), &json!(read_at)), "{answer}");
        }
    }
    let count = |name: &str| -> u64 {
        let name = format!("seenby_api_questions_per_statement_{name} ");
        metrics(&api).lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap()
    };
    let (statements, questions) = (count("count"), count("sum"));
    assert_eq!(questions, 20 * 12, "one of every request");
    assert!(statements < questions, "none was shared");
}
