//! The limits of an app over HTTP: read, changed by one writer at a time, and met by workers.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, header};
use seenby::api;
use seenby::config::Delivery;
use seenby::observe::Telemetry;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::support::api::{Answer, SERVICE, TestApi, open_policy, tokens};
use crate::support::events::policy_from;
use crate::support::worker::Deployment;

const POLICY: &str = "/v1/org/app/policy";
const ADMIN: &str = "token-of-root";

/// The API over a deployment's log and tables.
struct PolicyApi {
    router: Router,
    runtime: tokio::runtime::Runtime,
}

impl PolicyApi {
    fn of(deployment: &Deployment) -> Self {
        let mut config = deployment.config.clone();
        config.auth.tokens = tokens();
        // Several writers start at once, each with clients of its own, on whatever machine.
        config.api.timeout_ms = 60_000;
        let router = api::router(&config, &Telemetry::default()).unwrap();
        Self { router, runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap() }
    }

    fn send(&self, request: Request<Body>) -> Answer {
        self.runtime.block_on(async {
            let response = self.router.clone().oneshot(request).await.unwrap();
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
            Answer { status, headers, body: serde_json::from_slice(&body).unwrap_or(Value::Null) }
        })
    }

    fn get(&self, path: &str) -> Answer {
        let request = Request::get(path).header(header::AUTHORIZATION, format!("Bearer {SERVICE}"));
        self.send(request.body(Body::empty()).unwrap())
    }

    fn put(&self, precondition: Option<&str>, limits: &str) -> Answer {
        let mut request = Request::put(POLICY)
            .header(header::AUTHORIZATION, format!("Bearer {ADMIN}"))
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(precondition) = precondition {
            request = request.header(header::IF_MATCH, precondition);
        }
        self.send(request.body(Body::from(limits.to_owned())).unwrap())
    }
}

#[test]
fn a_change_is_made_from_the_version_it_names_and_from_no_other() {
    let deployment = Deployment::new("policy_put", 3, Delivery::ExactlyOnce);
    let api = PolicyApi::of(&deployment);
    let before = api.get(POLICY);
    assert_eq!((before.status, &before.body["version"], &before.body["latest_version"]), (200, &json!(0), &json!(0)));
    assert_eq!(
        (&before.headers[header::ETAG], &before.body["policy"]["group"]["open"]),
        (&"\"0\"".parse().unwrap(), &json!(false))
    );

    assert_eq!(api.put(None, "{}").body["code"], "precondition_required");
    // What cannot be a policy is refused whatever it was made from.
    for precondition in [Some("\"0\""), Some("\"7\""), Some("7"), Some("*"), None] {
        let refused = api.put(precondition, r#"{"group": {"validity_days": 91}}"#);
        assert_eq!((refused.status, &refused.body["code"]), (400, &json!("invalid_request")), "{precondition:?}");
        assert!(refused.body["detail"].as_str().unwrap().contains("validity_days"), "{}", refused.body);
    }
    let written = api.put(Some("\"0\""), r#"{"effective_from": 5, "group": {"open": true}}"#);
    assert_eq!((written.status, &written.body["partitions"]), (200, &json!(3)), "{}", written.body);
    assert_eq!(written.body["effective_from"], 5);
    let tag = written.headers[header::ETAG].to_str().unwrap().to_owned();
    assert_eq!(tag, format!("\"{}\"", written.body["version"]));

    // No worker has met it: the tables, which know nothing, do not decide.
    let too_early = api.put(Some("\"0\""), "{}");
    assert_eq!((too_early.status, &too_early.body["code"]), (503, &json!("policy_pending")), "{}", too_early.body);
    let worker = deployment.start();
    deployment.wait_for_records(3);
    let overtaken = api.put(Some("\"0\""), "{}");
    assert_eq!((overtaken.status, &overtaken.body["code"]), (412, &json!("precondition_failed")));
    assert!(overtaken.body["detail"].as_str().unwrap().contains(&tag), "{}", overtaken.body);
    let second = api.put(Some(&tag), r#"{"group": {"open": true, "viewers": "app"}}"#);
    assert_eq!(second.status, 200, "{}", second.body);
    assert!(second.body["version"].as_u64() > written.body["version"].as_u64());
    deployment.wait_for_records(6);

    let now = api.get(POLICY);
    assert_eq!((&now.body["version"], &now.body["policy"]), (&second.body["version"], &second.body["policy"]));
    let history = api.get("/v1/org/app/policy/history").body;
    let versions = history["versions"].as_array().unwrap();
    let told: Vec<_> = versions.iter().map(|version| (&version["in_force"], &version["partitions_met"])).collect();
    assert_eq!(told, [(&json!(false), &json!(3)), (&json!(true), &json!(3))], "{history:#}");
    worker.stop(true).unwrap();
}

#[test]
fn of_writers_at_the_same_moment_one_succeeds() {
    let deployment = Deployment::new("policy_race", 2, Delivery::ExactlyOnce);
    let results: Vec<Answer> = std::thread::scope(|scope| {
        let writers: Vec<_> =
            (0..3).map(|_| scope.spawn(|| PolicyApi::of(&deployment).put(Some("\"0\""), "{}"))).collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    let succeeded = results.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(succeeded, 1, "{results:#?}");
    let worker = deployment.start();
    assert_eq!(deployment.wait_for_records(2)["policy applied"], 2, "one version, in every partition");
    worker.stop(true).unwrap();
}

#[test]
fn the_history_pages_in_the_order_of_force_and_a_later_version_may_not_be_in_force_yet() {
    let mut api = TestApi::new("policy_history");
    api.flush(&[
        open_policy(3, |_| {}),
        policy_from(5, 4_000_000_000_000, |policy| policy.notify = false),
        policy_from(4, 1, |policy| policy.parking_hours = 7),
    ]);
    let now = api.ok(POLICY);
    assert_eq!((&now["version"], &now["latest_version"], &now["effective_from"]), (&json!(4), &json!(5), &json!(1)));
    let mut versions = Vec::new();
    let mut path = "/v1/org/app/policy/history?limit=1".to_owned();
    loop {
        let page = api.ok(&path);
        versions.extend(page["versions"].as_array().unwrap().iter().map(|version| version["version"].clone()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/org/app/policy/history?limit=1&cursor={cursor}");
    }
    assert_eq!(versions, [3, 4, 5]);
    for (path, token, status) in [
        (POLICY, "token-of-alice", 403),
        ("/v1/org/app/policy/history", "token-of-alice", 403),
        (POLICY, "token-of-another-app", 404),
        ("/v1/org/app/policy/history?limit=0", SERVICE, 400),
        ("/v1/org/app/policy/history?cursor=x", SERVICE, 400),
    ] {
        assert_eq!(api.get(path, token).status, status, "{path} {token}");
    }
    let as_service = Request::put(POLICY).header(header::AUTHORIZATION, format!("Bearer {SERVICE}"));
    assert_eq!(api.send(as_service.body(Body::empty()).unwrap()).status, 403);
    let as_admin = Request::put(POLICY).header(header::AUTHORIZATION, format!("Bearer {ADMIN}"));
    assert_eq!(api.send(as_admin.body(Body::from("{}")).unwrap()).status, 415);
}
