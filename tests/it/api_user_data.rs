//! Forgetting a user, from the request to the proof, on a real Kafka and the real engine.

use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, header};
use seenby::api;
use seenby::config::Delivery;
use seenby::observe::Telemetry;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::support::api::{Answer, SERVICE, TestApi, open_policy, tokens, users};
use crate::support::events::{group_message, group_read, single_message, single_read};
use crate::support::worker::Deployment;

const ADMIN: &str = "token-of-root";
const DATA: &str = "/v1/org/app/users/bob/data";
const READERS: &str = "/v1/org/app/groups/g1/messages/m1/readers";

struct Asking {
    router: Router,
    runtime: tokio::runtime::Runtime,
}

impl Asking {
    fn of(deployment: &Deployment) -> Self {
        let mut config = deployment.config.clone();
        config.auth.tokens = tokens();
        let router = api::router(&config, &Telemetry::default()).unwrap();
        Self { router, runtime: tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap() }
    }

    fn send(&self, method: &str, path: &str, token: &str) -> Answer {
        let request =
            Request::builder().method(method).uri(path).header(header::AUTHORIZATION, format!("Bearer {token}"));
        self.runtime.block_on(async {
            let response = self.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
            Answer { status, headers, body: serde_json::from_slice(&body).unwrap_or(Value::Null) }
        })
    }

    fn ok(&self, path: &str) -> Value {
        let answer = self.send("GET", path, SERVICE);
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body
    }

    /// Waits until the last erasure is carried out.
    fn wait_until_swept(&self) -> Value {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let data = self.ok(DATA);
            if data["erasures"].as_array().unwrap().last().is_some_and(|last| last["swept_at"].is_i64()) {
                return data;
            }
            assert!(Instant::now() < deadline, "not carried out: {data:#}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn rows(data: &Value, place: &str) -> u64 {
    data["rows"].as_array().unwrap().iter().map(|rows| rows[place].as_u64().unwrap()).sum()
}

#[test]
fn a_user_is_forgotten_proved_by_count_and_what_he_does_later_is_kept() {
    let mut deployment = Deployment::new("user_data", 2, Delivery::ExactlyOnce);
    deployment.config.worker.erasure_interval_ms = 100;
    let api = Asking::of(&deployment);
    let worker = deployment.start();
    deployment.produce(&[open_policy(1, |_| {})]);
    deployment.produce(&[
        group_message("m1").asking_receipts().record(),
        group_message("of-bob").from("bob").asking_receipts().record(),
        group_read("m1").from("bob").after(1).record(),
        group_read("m1").from("carol").after(2).record(),
        single_message("s1").record(),
        single_read("s1").from("bob").record(),
    ]);
    deployment.wait_for_commit();
    assert_eq!(users(&api.ok(READERS)), ["carol", "bob"]);
    let before = api.ok(DATA);
    assert_eq!((before["erasures"].as_array().unwrap().len(), rows(&before, "in_front")), (0, 0));
    assert!(rows(&before, "behind") >= 6, "{before:#}");

    let requested = api.send("DELETE", DATA, ADMIN);
    assert_eq!((requested.status, &requested.body["partitions"]), (202, &json!(2)), "{}", requested.body);
    assert_eq!(requested.headers[header::LOCATION], DATA);
    let after = api.wait_until_swept();
    assert_eq!(after["erasures"][0]["version"], requested.body["version"]);
    assert_eq!(after["erasures"][0]["partitions_met"], 2);
    assert_eq!((rows(&after, "in_front"), rows(&after, "behind")), (0, 0), "{after:#}");
    let topics: Vec<&str> =
        after["topics"].as_array().unwrap().iter().map(|kept| kept["topic"].as_str().unwrap()).collect();
    assert_eq!(topics.len(), 3);
    assert!(topics.contains(&deployment.config.kafka.topics.events.as_str()));
    assert!(after["topics"][0]["gone_by"].as_u64() > requested.body["version"].as_u64(), "{after:#}");
    assert_eq!(users(&api.ok(READERS)), ["carol"]);
    assert_eq!(api.send("GET", &READERS.replace("m1", "of-bob"), SERVICE).status, 404);
    assert_eq!(api.send("GET", "/v1/org/app/singles/alice/bob/messages/s1", SERVICE).status, 404);

    // Verify knows what is gone, from the log's start on, and a new worker what is left.
    deployment.assert_verified();
    worker.stop(false).unwrap();
    let worker = deployment.start();
    deployment.produce(&[
        group_read("m1").from("bob").after(1_000).record(),
        group_read("m1").from("carol").after(1_000).record(),
        group_message("of-bob").from("bob").asking_receipts().record(),
    ]);
    deployment.wait_for_commit();
    assert_eq!(users(&api.ok(READERS)), ["bob", "carol"], "carol's is a duplicate");
    assert_eq!(api.ok(&READERS.replace("m1", "of-bob"))["counts"]["distinct"], 0);
    let later = api.ok(DATA);
    assert_eq!(rows(&later, "in_front"), 0);
    assert!(rows(&later, "behind") >= 2, "{later:#}");
    deployment.assert_verified();
    worker.stop(false).unwrap();
}

#[test]
fn a_worker_sent_back_in_front_of_an_erasure_folds_the_log_from_its_start() {
    let mut deployment = Deployment::new("user_data_back", 1, Delivery::ExactlyOnce);
    deployment.config.worker.erasure_interval_ms = 100;
    let api = Asking::of(&deployment);
    let worker = deployment.start();
    deployment.produce(&[open_policy(1, |_| {})]);
    deployment.produce(&[group_message("m1").asking_receipts().record(), group_read("m1").from("bob").record()]);
    deployment.wait_for_commit();
    let (position, metadata) = deployment.committed(0);
    assert_eq!(api.send("DELETE", DATA, ADMIN).status, 202);
    api.wait_until_swept();
    deployment.produce(&[group_read("m1").from("carol").record()]);
    deployment.wait_for_commit();
    worker.stop(true).unwrap();

    // Whoever set it by hand finds the state there gone; the log still has it.
    deployment.commit_by_hand(0, position, &metadata);
    let worker = deployment.start();
    deployment.wait_for_commit();
    assert!(worker.metric("seenby_replays_total") >= 1.0);
    api.wait_until_swept();
    assert_eq!(users(&api.ok(READERS)), ["carol"]);
    deployment.assert_verified();
    worker.stop(false).unwrap();
}

#[test]
fn only_administrators_erase_and_mistakes_are_named() {
    let api = TestApi::new("user_data_access");
    let too_long = format!("/v1/org/app/users/{}/data", "u".repeat(129));
    for (method, path, token, status) in [
        ("GET", DATA, SERVICE, 200),
        ("GET", DATA, ADMIN, 200),
        ("GET", DATA, "token-of-bob", 403),
        ("GET", DATA, "token-of-another-app", 404),
        ("GET", too_long.as_str(), SERVICE, 400),
        ("DELETE", DATA, SERVICE, 403),
        ("DELETE", DATA, "token-of-bob", 403),
        ("DELETE", DATA, "token-of-another-app", 404),
        ("DELETE", too_long.as_str(), ADMIN, 400),
    ] {
        let request = Request::builder().method(method).uri(path);
        let request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        let answer = api.send(request.body(Body::empty()).unwrap());
        assert_eq!(answer.status, status, "{method} {path} {token}: {}", answer.body);
    }
}
