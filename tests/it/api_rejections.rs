//! Refused records of an app, filtered and paged.

use serde_json::{Value, json};

use crate::support::api::{SERVICE, TestApi, open_policy};
use crate::support::events::{NOON, OwnedRecord, group_message, group_read, in_group};

const REJECTIONS: &str = "/v1/org/app/rejections";

fn refused() -> Vec<OwnedRecord> {
    let mut records = vec![open_policy(1, |policy| policy.group.messages_per_day = 1)];
    records.push(group_message("m1").asking_receipts().record());
    for number in 0..5 {
        records.push(group_message(&format!("late{number}")).asking_receipts().at(NOON + number).record());
    }
    records.push(in_group("applause", "carol").record());
    records.push(group_message("m1").app("org#other").to("g9").asking_receipts().record());
    records.push(OwnedRecord { value: b"\xff\xfe".to_vec(), ..group_message("broken").record() });
    records
}

/// With the whole time that the log of a test stands for.
fn ever(api: &TestApi, query: &str) -> Value {
    api.ok(&format!("{REJECTIONS}?from=0&to=4102444799999{query}"))
}

#[test]
fn what_was_refused_is_told_with_reason_and_place_as_it_came() {
    let mut api = TestApi::new("rejections");
    api.flush(&refused());
    let page = ever(&api, "");
    let all = page["rejections"].as_array().unwrap();
    assert_eq!(all.len(), 6, "not those of another app, nor of none: {page:#}");
    let unsupported = &all[0];
    assert_eq!((&unsupported["outcome"], &unsupported["type"]), (&json!("unsupported"), &Value::Null));
    let latest = &all[1];
    assert_eq!(latest["outcome"], "quota_exceeded");
    assert_eq!((&latest["words"], &latest["number"]), (&json!("limit send group ack msg"), &json!(4)));
    assert_eq!((&latest["user"], &latest["at"]), (&json!("alice"), &json!(NOON + 4)));
    assert_eq!(latest["record"], json!({"epoch": 1, "partition": 0, "offset": 6}));
    let sent: Value = serde_json::from_str(latest["value"]["content"].as_str().unwrap()).unwrap();
    assert_eq!((&sent["id"], &latest["value"]["encoding"]), (&json!("late4"), &json!("utf-8")));
    assert_eq!(latest["key"]["content"], "org#app/g/g1");
    assert_eq!(page["as_of"]["next_offsets"], json!([10]));
    assert_eq!(page["next_cursor"], Value::Null);
}

#[test]
fn filters_narrow_and_pages_have_no_gap_and_no_repeat() {
    let mut api = TestApi::new("rejections_paged");
    api.flush(&refused());
    let count = |query: &str| ever(&api, query)["rejections"].as_array().unwrap().len();
    assert_eq!(count("&outcome=quota_exceeded"), 5);
    assert_eq!(count("&outcome=expired"), 0);
    assert_eq!((count("&group=g1"), count("&group=g2")), (6, 0));
    assert_eq!((count("&user=alice"), count("&user=carol"), count("&user=alice&outcome=unsupported")), (5, 1, 0));
    let first = ever(&api, "")["rejections"][5]["recorded_at"].as_i64().unwrap();
    assert_eq!(api.ok(&format!("{REJECTIONS}?from=0&to={first}"))["rejections"], json!([]));

    // Written once more by a worker that took over.
    api.store.execute("INSERT INTO rejections SELECT * FROM rejections");
    let mut offsets = Vec::new();
    let mut page = ever(&api, "&limit=2");
    loop {
        let places = page["rejections"].as_array().unwrap().iter();
        offsets.extend(places.map(|rejection| rejection["record"]["offset"].as_u64().unwrap()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        let mut path = format!("{REJECTIONS}?from=0&to=4102444799999&limit=2&cursor=");
        path.push_str(cursor);
        // What is refused meanwhile is later than what is shown.
        api.flush(&[group_message(&format!("more{}", offsets.len())).asking_receipts().record()]);
        page = api.ok(&path);
    }
    assert_eq!(offsets, [7, 6, 5, 4, 3, 2]);
}

#[test]
fn a_page_of_long_records_ends_early_and_goes_on() {
    let mut api = TestApi::new("rejections_long");
    let long = "x".repeat(70_000);
    let mut records = vec![open_policy(1, |policy| policy.group.messages_per_day = 0)];
    records.extend(
        (0..150)
            .map(|number| group_message(&format!("m{number}")).asking_receipts().with("text", long.as_str()).record()),
    );
    api.flush(&records);
    api.store.execute("INSERT INTO rejections SELECT * FROM rejections");
    let mut pages = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = ever(&api, &format!("&limit=500{cursor}"));
        let shown = page["rejections"].as_array().unwrap();
        let offsets: Vec<u64> = shown.iter().map(|shown| shown["record"]["offset"].as_u64().unwrap()).collect();
        let bytes: usize = shown.iter().map(|shown| shown["value"]["content"].as_str().unwrap().len()).sum();
        assert!(!offsets.is_empty() && bytes <= (4 << 20) + 65_536, "{bytes} bytes in {} records", offsets.len());
        pages.push(offsets);
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert!(pages.len() > 2, "{pages:?}");
    assert_eq!(pages.concat(), (1..=150).rev().collect::<Vec<u64>>());
    assert_eq!(ever(&api, "&limit=7")["rejections"].as_array().unwrap().len(), 7);
}

#[test]
fn mistakes_are_named_and_users_may_not_ask() {
    let mut api = TestApi::new("rejections_mistakes");
    api.flush(&[group_read("m1").record()]);
    for (query, parameter) in [
        ("outcome=counted", "outcome"),
        ("outcome=", "outcome"),
        ("from=2&to=1", "from"),
        ("from=-1", "from"),
        ("group=", "group"),
        ("limit=501", "limit"),
        ("cursor=e30", "cursor"),
        ("users=a", "users"),
    ] {
        let refused = api.get(&format!("{REJECTIONS}?{query}"), SERVICE);
        assert_eq!((refused.status, &refused.body["code"]), (400, &json!("invalid_request")), "{query}");
        assert!(refused.body["detail"].as_str().unwrap().starts_with(&format!("{parameter}: ")), "{}", refused.body);
    }
    for (token, status) in [("token-of-alice", 403), ("token-of-root", 200), ("token-of-another-app", 404)] {
        assert_eq!(api.get(REJECTIONS, token).status, status, "{token}");
    }
}
