//! The API on a socket: readiness with reasons, clients that misbehave, and an end that cuts nobody off.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use seenby::api;
use seenby::config::Config;
use seenby::observe::Telemetry;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::support::api::{ACKS, READERS, SERVICE, TestApi, tokens};
use crate::support::store::empty_database;

const WITHIN: Duration = Duration::from_secs(20);

/// Serves a configuration until the sender is used or dropped.
fn serve(runtime: &Runtime, config: Config) -> (SocketAddr, oneshot::Sender<()>, tokio::task::JoinHandle<()>) {
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let served = runtime.spawn(async move {
        api::serve(&config, Telemetry::default(), listener, async move { drop(stopped.await) }).await.unwrap();
    });
    (address, stop, served)
}

fn fetch(runtime: &Runtime, address: SocketAddr, path: &str, token: &str) -> (u16, Value) {
    runtime.block_on(async {
        let request = reqwest::Client::new().get(format!("http://{address}{path}")).bearer_auth(token);
        let answer = request.timeout(WITHIN).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
    })
}

/// Asks until a condition has been reported to be in this state, and gives its reason.
fn reason(runtime: &Runtime, address: SocketAddr, condition: &str, met: bool) -> String {
    let begun = Instant::now();
    loop {
        let (status, report) = fetch(runtime, address, "/readyz", "");
        let state = &report["conditions"][condition];
        let reason = state["reason"].as_str().unwrap_or_default();
        if state["met"] == met && reason != "not reported yet" {
            assert_eq!(report["ready"], status == 200, "{report}");
            return reason.to_owned();
        }
        assert!(begun.elapsed() < WITHIN, "{condition} did not become {met}: {report}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn readiness_says_what_is_missing() {
    let runtime = Runtime::new().unwrap();
    let unmigrated = Config { clickhouse: empty_database("server_readiness"), ..Config::default() };
    let (address, _stop, _) = serve(&runtime, unmigrated.clone());
    assert!(reason(&runtime, address, "schema_current", false).contains("seenby migrate"));
    assert_eq!(reason(&runtime, address, "clickhouse_answers", true), "");
    assert_eq!(fetch(&runtime, address, "/readyz", "").0, 503);
    assert_eq!(fetch(&runtime, address, "/livez", ""), (200, json!({"live": true})));
    runtime.block_on(seenby::store::migrate(&unmigrated.clickhouse)).unwrap();
    assert_eq!(reason(&runtime, address, "schema_current", true), "");
    assert_eq!(fetch(&runtime, address, "/readyz", "").0, 200);

    let mut unreachable = unmigrated;
    unreachable.clickhouse.url = "http://127.0.0.1:1".to_owned();
    unreachable.auth.tokens = tokens();
    let (address, _stop, _) = serve(&runtime, unreachable);
    assert!(reason(&runtime, address, "clickhouse_answers", false).contains("not available"));
    let (status, problem) = fetch(&runtime, address, READERS, SERVICE);
    assert_eq!((status, &problem["code"]), (503, &json!("unavailable")));
    let (status, envelope) = fetch(&runtime, address, ACKS, SERVICE);
    assert_eq!((status, &envelope["error"]), (503, &json!("unavailable")));
}

#[test]
fn the_description_and_the_metrics_are_served() {
    let api = TestApi::new("server_description");
    assert!(api.ok("/openapi.json")["openapi"].as_str().unwrap().starts_with("3.1"));
    let page = api.get("/docs", "");
    assert_eq!((page.status, &page.headers["content-type"]), (200, &"text/html; charset=utf-8".parse().unwrap()));
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    for path in ["/docs", "/openapi.json"] {
        let tag = api.get(path, "").headers["etag"].to_str().unwrap().to_owned();
        let again = axum::http::Request::get(path).header("if-none-match", tag);
        assert_eq!(api.send(again.body(axum::body::Body::empty()).unwrap()).status, 304, "{path}");
    }
    let address = api.listen();
    let text = api.store.runtime.block_on(async {
        let url = format!("http://{address}");
        reqwest::get(format!("{url}/nowhere")).await.unwrap();
        reqwest::get(format!("{url}/metrics")).await.unwrap().text().await.unwrap()
    });
    assert!(text.contains(r#"seenby_api_requests_total{route="none",status="404"} 1"#), "{text}");
}

#[test]
fn a_client_that_misbehaves_costs_itself_alone() {
    let api = TestApi::new("server_clients");
    let address = api.listen();
    let answer_to = |request: &[u8]| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(WITHIN)).unwrap();
        stream.write_all(request).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    };
    assert!(answer_to(b"no HTTP at all\r\n\r\n").starts_with("HTTP/1.1 400 "));
    let long_header = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "x".repeat(100_000));
    assert!(answer_to(long_header.as_bytes()).starts_with("HTTP/1.1 431 "));
    // One that never sends its whole head is let go in bounded time.
    let begun = Instant::now();
    answer_to(b"GET / HTTP/1.1\r\nhost: a\r\n");
    assert!(begun.elapsed() < WITHIN, "a client that sends nothing more holds its connection");
    assert_eq!(fetch(&api.store.runtime, address, "/livez", "").0, 200);
}

#[test]
fn stopping_ends_idle_connections_and_refuses_new_ones() {
    let runtime = Runtime::new().unwrap();
    let config = Config { clickhouse: empty_database("server_stop"), ..Config::default() };
    let (address, stop, served) = serve(&runtime, config);
    let mut idle = TcpStream::connect(address).unwrap();
    idle.set_read_timeout(Some(WITHIN)).unwrap();
    idle.write_all(b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    let mut first = [0; 16];
    idle.read_exact(&mut first).unwrap();
    stop.send(()).unwrap();
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).unwrap();
    runtime.block_on(async { tokio::time::timeout(WITHIN, served).await }).unwrap().unwrap();
    assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
}
