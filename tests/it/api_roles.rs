//! Who may ask what, endpoint by endpoint, and what somebody of another app learns: nothing.

use std::collections::BTreeSet;

use axum::body::{Body, to_bytes};
use axum::http::Request;
use seenby::config::{TokenConfig, TokenRole};
use seenby::policy::Viewers;
use serde_json::Value;
use tower::ServiceExt as _;

use crate::support::api::{SERVICE, TestApi, open_for};
use crate::support::endpoints::{Answers, ENDPOINTS, Endpoint, Statuses};
use crate::support::events::{APP, HOUR, MINUTE, NOON, group_message, group_read, roster, single_message, single_read};

const OTHER_APP: &str = "org#other";

/// Tokens of [`OTHER_APP`], one of each role; the user has the name of one in [`APP`].
const STRANGERS: [&str; 3] = ["token-of-another-app", "token-of-another-root", "token-of-another-alice"];

fn with_messages(test: &str) -> TestApi {
    let mut api = TestApi::with_config(test, |config| {
        config.auth.tokens.push(TokenConfig::new(OTHER_APP, "root", TokenRole::Admin, STRANGERS[1]));
        config.auth.tokens.push(TokenConfig::new(OTHER_APP, "alice", TokenRole::User, STRANGERS[2]));
    });
    api.flush(&[
        open_for(1, Viewers::Sender),
        roster(&[("alice", "owner"), ("bob", "member")]).at(NOON - HOUR).record(),
        group_message("m1").asking_receipts().record(),
        group_read("m1").from("bob").after(MINUTE).record(),
        single_message("m1").record(),
        single_read("m1").after(MINUTE).record(),
    ]);
    api
}

#[test]
fn every_endpoint_of_the_description_stands_in_the_table() {
    let document: Value = serde_json::from_str(&seenby::api::openapi_json().unwrap()).unwrap();
    let described: BTreeSet<String> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, operations)| {
            let methods = operations.as_object().unwrap().keys();
            methods.map(move |method| format!("{} {path}", method.to_uppercase()))
        })
        .collect();
    let in_table: BTreeSet<String> = ENDPOINTS.iter().map(|endpoint| endpoint.name.to_owned()).collect();
    assert_eq!(described, in_table, "give each endpoint one row in support/endpoints.rs");
    assert_eq!(ENDPOINTS.len(), in_table.len(), "an endpoint has two rows");
}

#[test]
fn each_role_is_answered_as_the_table_says() {
    let api = with_messages("roles_table");
    let status = |endpoint: &Endpoint, token| api.send(endpoint.request(APP, token, None, None)).status;
    for endpoint in ENDPOINTS {
        match endpoint.answers {
            Answers::Public(expected) => assert_eq!(status(endpoint, None), expected, "{}", endpoint.name),
            Answers::Roles(Statuses { own, other, service, admin }) => {
                let answered = ["token-of-alice", "token-of-mallory", SERVICE, "token-of-root"]
                    .map(|token| status(endpoint, Some(token)));
                assert_eq!(answered, [own, other, service, admin], "{}", endpoint.name);
                for nobody in [None, Some("wrong")] {
                    assert_eq!(status(endpoint, nobody), 401, "{}", endpoint.name);
                }
            }
        }
    }
}

/// All that an answer tells but for when it was made, byte for byte.
#[derive(Debug, PartialEq)]
struct Told {
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

fn told(api: &TestApi, request: Request<Body>, is_vendors: bool) -> Told {
    api.store.runtime.block_on(async {
        let response = api.router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let of_its_making: &[&str] =
            // The vendor's bodies tell times, of which one may have a digit more than another.
            if is_vendors { &["x-request-id", "date", "content-length"] } else { &["x-request-id", "date"] };
        let mut headers: Vec<(String, Vec<u8>)> = response
            .headers()
            .iter()
            .filter(|(name, _)| !of_its_making.contains(&name.as_str()))
            .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
            .collect();
        headers.sort();
        let mut body = to_bytes(response.into_body(), 16 << 20).await.unwrap().to_vec();
        if is_vendors {
            body = without_times(String::from_utf8(body).unwrap()).into_bytes();
        }
        Told { status, headers, body }
    })
}

fn without_times(mut body: String) -> String {
    for field in ["\"timestamp\":", "\"duration\":"] {
        let mut from = 0;
        while let Some(found) = body[from..].find(field) {
            let begin = from + found + field.len();
            let length = body[begin..].bytes().take_while(u8::is_ascii_digit).count();
            body.replace_range(begin..begin + length, "");
            from = begin;
        }
    }
    body
}

#[test]
fn another_apps_endpoint_answers_byte_for_byte_like_an_unknown_app() {
    let api = with_messages("roles_other_app");
    let mut compared = 0;
    for endpoint in ENDPOINTS.iter().filter(|endpoint| matches!(endpoint.answers, Answers::Roles(_))) {
        let is_vendors = endpoint.name.contains("/chatgroups/");
        let questions: [(Option<&str>, Option<&str>); 4] = [
            (None, None),
            // Nothing of the question is judged before who asks.
            (Some("limit=0&nonsense=1"), None),
            (None, Some("{")),
            (Some("limit=0"), Some(r#"{"items": []}"#)),
        ];
        for stranger in STRANGERS {
            for (query, body) in questions {
                let ask = |app| told(&api, endpoint.request(app, Some(stranger), query, body), is_vendors);
                let (there, nowhere) = (ask(APP), ask("nobody#nothing"));
                assert_eq!(there, nowhere, "{} with {query:?} {body:?}", endpoint.name);
                assert!(there.status == 404 || is_vendors, "{}: {}", endpoint.name, there.status);
                compared += 1;
            }
            // Where an id that is not there answers 404 in one's own app, it is the same 404.
            let ask = |app| told(&api, endpoint.request(app, Some(stranger), None, None), is_vendors);
            let (there, unknown_ids) = (ask(APP), ask(OTHER_APP));
            if unknown_ids.status == 404 || is_vendors {
                assert_eq!(there, unknown_ids, "{}", endpoint.name);
            }
        }
    }
    assert!(compared >= 2 * 3 * 4, "{compared}");
}

#[test]
fn the_vendors_path_tells_a_stranger_of_an_empty_list_for_every_message() {
    let api = with_messages("roles_vendor");
    let endpoint = ENDPOINTS.iter().find(|endpoint| endpoint.name.contains("/acks/")).unwrap();
    let answer = api.send(endpoint.request(APP, Some(STRANGERS[1]), None, None));
    assert_eq!((answer.status, &answer.body["data"]["userlist"]), (200, &serde_json::json!([])));
    assert_eq!(answer.body["data"]["total"], 0);
}
