//! What a client has already is not sent again, and what is large is sent compressed.

use std::io::Read as _;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, HeaderValue, Request, header};
use seenby::policy::Viewers;
use serde_json::Value;
use tower::ServiceExt as _;

use crate::support::api::{Answer, READERS, SERVICE, TestApi, open_for, open_policy};
use crate::support::events::{HOUR, MINUTE, group_message, group_read, group_recall};

fn read_by_bob(test: &str) -> TestApi {
    let mut api = TestApi::new(test);
    api.flush(&[
        open_for(1, Viewers::Sender),
        group_message("m1").asking_receipts().record(),
        group_read("m1").from("bob").after(MINUTE).record(),
    ]);
    api
}

fn ask(api: &TestApi, path: &str, token: &str, tags: &[&str]) -> Answer {
    let mut request = Request::get(path).header(header::AUTHORIZATION, format!("Bearer {token}"));
    for tag in tags {
        request = request.header(header::IF_NONE_MATCH, *tag);
    }
    api.send(request.body(Body::empty()).unwrap())
}

fn tag(answer: &Answer) -> String {
    answer.headers[header::ETAG].to_str().unwrap().to_owned()
}

fn as_of(answer: &Answer) -> Value {
    serde_json::from_str(answer.headers["seenby-as-of"].to_str().unwrap()).unwrap()
}

#[test]
fn an_unchanged_list_is_not_sent_again_and_a_changed_one_is() {
    let mut api = read_by_bob("conditional_change");
    let first = ask(&api, READERS, SERVICE, &[]);
    let tag_of_one = tag(&first);
    assert!(tag_of_one.starts_with("W/\""), "{tag_of_one}");
    assert_eq!(first.headers[header::CACHE_CONTROL], "private, no-cache");
    assert_eq!(as_of(&first), first.body["as_of"]);

    let unchanged = ask(&api, READERS, SERVICE, &[&tag_of_one]);
    assert_eq!((unchanged.status, &unchanged.body), (304, &Value::Null));
    assert_eq!(tag(&unchanged), tag_of_one);
    assert_eq!(unchanged.headers[header::CACHE_CONTROL], "private, no-cache");
    assert!(!unchanged.headers.contains_key(header::CONTENT_TYPE));

    api.flush(&[group_read("m1").from("carol").after(2 * MINUTE).record()]);
    let changed = ask(&api, READERS, SERVICE, &[&tag_of_one]);
    assert_eq!(changed.status, 200);
    assert_eq!(changed.body["counts"]["distinct"], 2);
    assert_ne!(tag(&changed), tag_of_one);
}

#[test]
fn a_list_is_unchanged_while_the_log_moves_on_and_says_how_far() {
    let mut api = read_by_bob("conditional_watermark");
    let first = ask(&api, READERS, SERVICE, &[]);
    api.flush(&[group_message("m2").after(HOUR).record()]);
    let later = ask(&api, READERS, SERVICE, &[&tag(&first)]);
    assert_eq!(later.status, 304);
    let (before, after) = (as_of(&first), as_of(&later));
    for field in ["watermark", "next_offset"] {
        assert!(after[field].as_i64().unwrap() > before[field].as_i64().unwrap(), "{field}: {before} {after}");
    }
}

#[test]
fn every_form_of_if_none_match_is_understood() {
    let api = read_by_bob("conditional_forms");
    let tag = tag(&ask(&api, READERS, SERVICE, &[]));
    let strong = tag.trim_start_matches("W/");
    let listed = format!("\"other\", {tag}");
    for tags in [&[tag.as_str()][..], &[strong], &[&listed], &["\"other\"", &tag], &["*"]] {
        assert_eq!(ask(&api, READERS, SERVICE, tags).status, 304, "{tags:?}");
    }
    for tags in [&["\"other\""][..], &["nonsense"], &["\"*\""], &[""]] {
        assert_eq!(ask(&api, READERS, SERVICE, tags).status, 200, "{tags:?}");
    }
}

#[test]
fn different_lists_of_a_message_have_different_tags() {
    let api = read_by_bob("conditional_lists");
    let all = tag(&ask(&api, READERS, SERVICE, &[]));
    let nobody = ask(&api, &format!("{READERS}?user=nobody"), SERVICE, &[&all]);
    assert_eq!(nobody.status, 200);
    assert_ne!(tag(&nobody), all);
}

#[test]
fn a_tag_opens_nothing() {
    let mut api = read_by_bob("conditional_rights");
    let tag = tag(&ask(&api, READERS, SERVICE, &[]));
    for (token, status) in [("token-of-mallory", 403), ("wrong", 401), ("token-of-another-app", 404)] {
        for tags in [&[tag.as_str()][..], &["*"]] {
            let refused = ask(&api, READERS, token, tags);
            assert_eq!(refused.status, status, "{token}");
            assert!(!refused.headers.contains_key(header::ETAG));
            assert_eq!(refused.headers[header::CACHE_CONTROL], "no-store");
        }
    }
    assert_eq!(ask(&api, &READERS.replace("m1", "never-sent"), SERVICE, &["*"]).status, 404);
    api.flush(&[group_recall("m1").after(HOUR).record()]);
    assert_eq!(ask(&api, READERS, SERVICE, &[&tag]).status, 410);
}

#[test]
fn pages_of_other_origins_may_read_the_tag_and_send_it() {
    let api = read_by_bob("conditional_cors");
    let request = Request::get(READERS)
        .header(header::AUTHORIZATION, format!("Bearer {SERVICE}"))
        .header(header::ORIGIN, "https://chat.example.com");
    let answer = api.send(request.body(Body::empty()).unwrap());
    let exposed = answer.headers[header::ACCESS_CONTROL_EXPOSE_HEADERS].to_str().unwrap();
    for name in ["etag", "retry-after", "x-request-id", "seenby-as-of"] {
        assert!(exposed.split(',').any(|found| found.trim() == name), "{name} in {exposed}");
    }
    let preflight = Request::options(READERS)
        .header(header::ORIGIN, "https://chat.example.com")
        .header(header::ACCESS_CONTROL_REQUEST_METHOD, "GET")
        .header(header::ACCESS_CONTROL_REQUEST_HEADERS, "authorization,if-none-match");
    let allowed = api.send(preflight.body(Body::empty()).unwrap());
    assert_eq!(allowed.headers[header::ACCESS_CONTROL_ALLOW_HEADERS], "authorization,if-none-match");
}

/// An answer's headers and its body as it travels.
fn travelling(api: &TestApi, path: &str, accepted: &'static str) -> (HeaderMap, Vec<u8>) {
    let request = Request::get(path)
        .header(header::AUTHORIZATION, format!("Bearer {SERVICE}"))
        .header(header::ACCEPT_ENCODING, HeaderValue::from_static(accepted));
    api.store.runtime.block_on(async {
        let response = api.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), 200);
        let headers = response.headers().clone();
        (headers, to_bytes(response.into_body(), 16 << 20).await.unwrap().to_vec())
    })
}

#[test]
fn large_answers_travel_compressed_and_small_ones_do_not() {
    let mut api = TestApi::new("conditional_compression");
    let mut records = vec![open_policy(1, |_| {}), group_message("m1").asking_receipts().record()];
    records.extend((0..200).map(|reader| group_read("m1").from(&format!("reader-{reader}")).after(MINUTE).record()));
    api.flush(&records);

    let large = format!("{READERS}?limit=500");
    let (headers, plain) = travelling(&api, &large, "identity");
    assert!(!headers.contains_key(header::CONTENT_ENCODING));
    let mut unpacked = Vec::new();
    for (accepted, encoding) in [("gzip", "gzip"), ("zstd", "zstd"), ("gzip, deflate, br, zstd", "zstd")] {
        let (headers, packed) = travelling(&api, &large, accepted);
        assert_eq!(headers[header::CONTENT_ENCODING], encoding, "{accepted}");
        let varies =
            headers.get_all(header::VARY).iter().any(|vary| vary.to_str().unwrap().contains("accept-encoding"));
        assert!(varies, "{headers:?}");
        assert!(packed.len() * 3 < plain.len(), "{} of {} bytes", packed.len(), plain.len());
        unpacked.clear();
        match encoding {
            "gzip" => drop(flate2::read::GzDecoder::new(packed.as_slice()).read_to_end(&mut unpacked).unwrap()),
            _ => unpacked = zstd::decode_all(packed.as_slice()).unwrap(),
        }
        assert_eq!(unpacked, plain, "{accepted}");
    }

    let (headers, small) = travelling(&api, &format!("{READERS}?limit=1"), "gzip, zstd");
    assert!(!headers.contains_key(header::CONTENT_ENCODING), "{} bytes", small.len());
    assert!(serde_json::from_slice::<Value>(&small).unwrap()["readers"].is_array());
}
