//! The vendor's real web SDK reads a list through the vendor's path, and nothing makes it hang.

use std::net::SocketAddr;

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use seenby::config::Secret;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::api::{ACKS, Answer, SERVICE, TestApi, open_policy};
use crate::support::events::{MINUTE, NOON, group_message, group_read};
use crate::support::{issuer, node};

/// A read message, served on a socket.
fn serving(test: &str, change: impl FnOnce(&mut seenby::config::Config)) -> (TestApi, SocketAddr) {
    let mut api = TestApi::with_config(test, change);
    api.flush(&[
        open_policy(1, |_| {}),
        group_message("m1").asking_receipts().record(),
        group_read("m1").from("bob").after(MINUTE).with("id", "101").content("ok").record(),
        group_read("m1").from("carol").after(2 * MINUTE).with("id", "102").record(),
    ]);
    let address = api.listen();
    (api, address)
}

fn case(name: &str, api_url: String, token: &str) -> Value {
    json!({"name": name, "apiUrl": api_url, "token": token, "group": "g1", "message": "m1"})
}

/// Serves each answer again, status, content type and body, to whoever asks under `/{its index}`.
fn replaying(api: &TestApi, answers: Vec<Answer>) -> SocketAddr {
    let replay = Router::new().route(
        "/{index}/{*path}",
        axum::routing::any(move |Path((index, _)): Path<(usize, String)>, headers: HeaderMap| async move {
            let answer = &answers[index];
            let mut replayed = HeaderMap::new();
            replayed.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            if let Some(asked) = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
                replayed.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
                return (StatusCode::OK, replayed, String::new());
            }
            replayed.insert(header::CONTENT_TYPE, answer.headers[header::CONTENT_TYPE].clone());
            (StatusCode::from_u16(answer.status).unwrap(), replayed, answer.body.to_string())
        }),
    );
    let listener = api.store.runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    api.store.runtime.spawn(async move { axum::serve(listener, replay).await });
    address
}

#[test]
fn the_sdk_resolves_with_the_readers_and_says_52_for_a_wrong_token() {
    let (_api, address) = serving("sdk_readers", |_| {});
    let url = format!("http://{address}");
    let mut unknown = case("unknown", url.clone(), SERVICE);
    unknown["message"] = "920022907831190548".into();
    let answers = node::answers(
        "sdk.js",
        &json!([
            case("readers", url.clone(), SERVICE),
            unknown,
            case("wrong token", url.clone(), "wrong"),
            case("not the sender", url, "token-of-bob"),
        ]),
    );
    let [readers, unknown, wrong_token, not_sender] = answers.as_slice() else { panic!("{answers:?}") };

    assert_eq!((&readers["settled"], &readers["type"]), (&json!("resolved"), &json!(0)), "{readers}");
    assert_eq!(
        readers["data"]["userlist"],
        json!([
            {"username": "carol", "meta_id": "102", "timestamp": NOON + 2 * MINUTE, "ack_content": ""},
            {"username": "bob", "meta_id": "101", "timestamp": NOON + MINUTE, "ack_content": "ok"},
        ])
    );
    assert_eq!((&readers["data"]["total"], &readers["data"]["is_last"]), (&json!(2), &json!(true)));
    assert_eq!((&unknown["settled"], &unknown["data"]["userlist"]), (&json!("resolved"), &json!([])), "{unknown}");
    assert_eq!((&wrong_token["settled"], &wrong_token["type"]), (&json!("rejected"), &json!(52)), "{wrong_token}");
    assert_eq!((&not_sender["settled"], &not_sender["type"]), (&json!("rejected"), &json!(603)), "{not_sender}");
    assert_eq!(not_sender["message"], "group ack msg permission denied");
}

#[test]
fn the_sdk_says_50_where_too_much_is_asked() {
    let (_api, address) = serving("sdk_limited", |config| {
        config.api.rate_limit_per_second = 1;
        config.api.rate_limit_burst = 1;
    });
    let url = format!("http://{address}");
    let cases: Vec<Value> = (0..6).map(|number| case(&number.to_string(), url.clone(), SERVICE)).collect();
    let answers = node::answers("sdk.js", &Value::from(cases));
    let of_type = |wanted: Value| answers.iter().filter(|answer| answer["type"] == wanted).count();
    assert!(of_type(json!(0)) >= 1, "{answers:?}");
    assert!(of_type(json!(50)) >= 1, "{answers:?}");
    assert_eq!(of_type(json!(0)) + of_type(json!(50)), answers.len(), "{answers:?}");
}

#[test]
fn the_sdk_logs_in_by_password_on_a_development_machine() {
    let (_api, address) = serving("sdk_login", |config| {
        config.api.development_tokens = true;
        config.auth.jwt.hs256_secret = Secret::new(issuer::SECRET);
    });
    let (_off, off) = serving("sdk_login_off", |_| {});
    let login = |address: SocketAddr| json!({"name": "login", "apiUrl": format!("http://{address}"), "password": "any", "group": "g1", "message": "m1"});
    let answers = node::answers("sdk.js", &json!([login(address), login(off)]));
    let [read, refused] = answers.as_slice() else { panic!("{answers:?}") };
    assert_eq!((&read["settled"], &read["type"]), (&json!("resolved"), &json!(0)), "{read}");
    assert_eq!(read["data"]["userlist"][0]["username"], "carol", "alice sent it and sees who has read it: {read}");
    assert_eq!(refused["settled"], "rejected", "{refused}");
}

#[test]
fn no_refusal_makes_the_sdk_hang() {
    let (api, address) = serving("sdk_refusals", |_| {});
    let (_slow, slow) = serving("sdk_slow", |config| {
        config.api.timeout_ms = 1;
        config.api.query.max_execution_time_ms = 1;
    });
    let (no_tables, broken) = serving("sdk_broken", |_| {});
    no_tables.store.execute("DROP TABLE message_facts");
    let (_unreachable, unreachable) = serving_without_clickhouse(&api);

    let authorized = || Request::builder().uri(ACKS).header(header::AUTHORIZATION, format!("Bearer {SERVICE}"));
    let wrong_method = api.send(authorized().method("POST").body(Body::empty()).unwrap());
    let too_large = api.send(authorized().header(header::CONTENT_LENGTH, (1 << 20) + 1).body(Body::empty()).unwrap());
    assert_eq!((wrong_method.status, too_large.status), (405, 413));
    let replay = replaying(&api, vec![wrong_method, too_large]);

    let answers = node::answers(
        "sdk.js",
        &json!([
            case("404", format!("http://{address}/nowhere"), SERVICE),
            case("405", format!("http://{replay}/0"), SERVICE),
            case("413", format!("http://{replay}/1"), SERVICE),
            case("431", format!("http://{address}"), &"x".repeat(20_000)),
            case("500", format!("http://{broken}"), SERVICE),
            case("time-out", format!("http://{slow}"), SERVICE),
            case("503", format!("http://{unreachable}"), SERVICE),
        ]),
    );
    assert_eq!(answers.len(), 7);
    for answer in answers {
        assert_eq!(answer["settled"], "rejected", "{answer}");
    }
}

/// The API before an address where no ClickHouse listens.
fn serving_without_clickhouse(api: &TestApi) -> (tokio::task::JoinHandle<()>, SocketAddr) {
    let mut config = api.config.clone();
    config.clickhouse.url = "http://127.0.0.1:1".to_owned();
    let listener = api.store.runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let served = api.store.runtime.spawn(async move {
        seenby::api::serve(&config, seenby::observe::Telemetry::default(), listener, std::future::pending())
            .await
            .unwrap();
    });
    (served, address)
}
