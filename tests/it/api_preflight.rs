//! A page of another origin reads a list, in a real browser that asks for leave first.

use axum::Router;
use axum::body::Body;
use axum::http::{Request, header};
use axum::response::Html;
use serde_json::json;
use tokio::net::TcpListener;

use crate::support::api::{ACKS, READERS, SERVICE, TestApi, open_policy};
use crate::support::events::{MINUTE, group_message, group_read};
use crate::support::node;

fn with_a_reader(test: &str, change: impl FnOnce(&mut seenby::config::Config)) -> TestApi {
    let mut api = TestApi::with_config(test, change);
    api.flush(&[
        open_policy(1, |_| {}),
        group_message("m1").asking_receipts().record(),
        group_read("m1").from("bob").after(MINUTE).record(),
    ]);
    api
}

/// An empty page on a port of its own: another origin than the API's.
fn empty_page(api: &TestApi) -> String {
    let listener = api.store.runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    let page = Router::new().fallback(|| async { Html("<!doctype html><title>a chat</title>") });
    api.store.runtime.spawn(async move { axum::serve(listener, page).await });
    format!("http://{address}")
}

#[test]
fn a_browser_lets_a_page_of_another_origin_read_lists_and_refusals() {
    let api = with_a_reader("preflight_browser", |_| {});
    let address = api.listen();
    let request = |path: &str, token: &str| json!({"url": format!("http://{address}{path}"), "token": token});
    let answers = node::answers(
        "browser.js",
        &json!({
            "chromium": node::chromium(),
            "page": empty_page(&api),
            "requests": [request(READERS, SERVICE), request(ACKS, SERVICE), request(READERS, "wrong"), request(ACKS, "wrong")],
        }),
    );
    let [readers, acks, refused, refused_acks] = answers.as_slice() else { panic!("{answers:?}") };
    assert_eq!((&readers["status"], &readers["body"]["readers"][0]["user"]), (&json!(200), &json!("bob")), "{readers}");
    assert!(readers["requestId"].is_string(), "pages may read the request's id: {readers}");
    assert_eq!(acks["body"]["data"]["userlist"][0]["username"], "bob", "{acks}");
    assert_eq!((&refused["status"], &refused["body"]["code"]), (&json!(401), &json!("unauthorized")), "{refused}");
    assert_eq!(refused_acks["body"]["error_description"], "Unable to authenticate (OAuth)", "{refused_acks}");
}

#[test]
fn a_browser_keeps_answers_from_origins_that_are_not_allowed() {
    let api =
        with_a_reader("preflight_origin", |config| config.api.cors_origin = "https://chat.example.com".to_owned());
    let address = api.listen();
    let answers = node::answers(
        "browser.js",
        &json!({
            "chromium": node::chromium(),
            "page": empty_page(&api),
            "requests": [{"url": format!("http://{address}{READERS}"), "token": SERVICE}],
        }),
    );
    assert!(answers[0]["error"].as_str().unwrap().contains("Failed to fetch"), "{answers:?}");
}

#[test]
fn a_preflight_is_answered_without_a_token() {
    let api = with_a_reader("preflight_plain", |_| {});
    for path in [READERS, ACKS] {
        let preflight = Request::options(format!("{path}?limit=500&key=undefined&_v=1"))
            .header(header::ORIGIN, "https://chat.example.com")
            .header(header::ACCESS_CONTROL_REQUEST_METHOD, "GET")
            .header(header::ACCESS_CONTROL_REQUEST_HEADERS, "authorization,content-type");
        let answer = api.send(preflight.body(Body::empty()).unwrap());
        assert_eq!(answer.status, 200);
        assert_eq!(answer.headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        assert_eq!(answer.headers[header::ACCESS_CONTROL_ALLOW_HEADERS], "authorization,content-type");
        assert_eq!(answer.headers[header::ACCESS_CONTROL_ALLOW_METHODS], "GET,HEAD,POST,PUT,DELETE");
    }
}
