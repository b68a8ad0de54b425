//! The vendor's path, as its SDKs call it and read it.

use serde_json::{Value, json};

use crate::support::api::{ACKS, SERVICE, TestApi, open_policy};
use crate::support::events::{HOUR, MINUTE, NOON, group_message, group_read, group_recall, roster};

fn read_by_three(api: &mut TestApi) {
    api.flush(&[
        open_policy(1, |_| {}),
        roster(&[("alice", "owner"), ("bob", "member"), ("carol", "member"), ("dave", "member")])
            .at(NOON - HOUR)
            .record(),
        group_message("m1").asking_receipts().record(),
        group_read("m1").from("bob").after(MINUTE).with("id", "101").content("ok").record(),
        group_read("m1").from("carol").after(2 * MINUTE).with("id", "102").record(),
        group_read("m1").from("dave").after(3 * MINUTE).with("id", "103").record(),
    ]);
}

#[test]
fn a_list_has_the_vendors_shape() {
    let mut api = TestApi::new("easemob_shape");
    read_by_three(&mut api);
    let mut answer = api.ok(&format!("{ACKS}?limit=500&key=undefined&_v=1631774325918"));
    for timestamp in [answer["timestamp"].take(), answer["data"]["timestamp"].take()] {
        assert!(timestamp.as_i64().unwrap() > NOON);
    }
    assert!(answer["duration"].take().is_u64());
    let headers = api.get(ACKS, SERVICE).headers;
    let as_of: Value = serde_json::from_str(headers["seenby-as-of"].to_str().unwrap()).unwrap();
    assert_eq!(as_of["next_offset"], 6, "how fresh it is stands beside the vendor's body");
    let user = |name: &str, ack: &str, at: i64, content: &str| json!({"username": name, "meta_id": ack, "timestamp": at, "ack_content": content});
    assert_eq!(
        answer,
        json!({
            "action": "group_read_ack",
            "data": {
                "ackmid": "m1",
                "userlist": [
                    user("dave", "103", NOON + 3 * MINUTE, ""),
                    user("carol", "102", NOON + 2 * MINUTE, ""),
                    user("bob", "101", NOON + MINUTE, "ok"),
                ],
                "total": 3,
                "next_key": "",
                "is_last": true,
                "timestamp": null,
            },
            "timestamp": null,
            "duration": null,
        })
    );
}

#[test]
fn native_clients_page_by_the_receipt_id_to_start_from() {
    let mut api = TestApi::new("easemob_paging");
    read_by_three(&mut api);
    let page = |path: &str| {
        let data = api.ok(path)["data"].take();
        let names =
            data["userlist"].as_array().unwrap().iter().map(|user| user["username"].as_str().unwrap().to_owned());
        (names.collect::<Vec<_>>(), data["next_key"].as_str().unwrap().to_owned(), data["is_last"].as_bool().unwrap())
    };
    assert_eq!(page(&format!("{ACKS}?limit=2")), (vec!["dave".into(), "carol".into()], "101".into(), false));
    assert_eq!(page(&format!("{ACKS}?limit=2&key=101")), (vec!["bob".into()], String::new(), true));
    assert_eq!(page(&format!("{ACKS}?limit=2&key=102")), (vec!["carol".into(), "bob".into()], String::new(), true));
    assert_eq!(page(&format!("{ACKS}?limit=2&key=999")), (vec![], String::new(), true));
}

#[test]
fn readers_who_share_a_receipt_id_are_paged_to_the_end() {
    let mut api = TestApi::new("easemob_shared_ids");
    let readers = ["bob", "carol", "dave", "erin"];
    let mut records = vec![open_policy(1, |_| {}), group_message("m1").asking_receipts().record()];
    records.extend(
        readers
            .iter()
            .zip(1..)
            .map(|(reader, minutes)| group_read("m1").from(reader).after(minutes * MINUTE).with("id", "1").record()),
    );
    api.flush(&records);

    let (mut met, mut key) = (Vec::new(), String::new());
    for _ in 0..10 {
        let data = api.ok(&format!("{ACKS}?limit=1&key={key}"))["data"].take();
        met.push(data["userlist"][0]["username"].as_str().unwrap().to_owned());
        if data["is_last"] == true {
            break;
        }
        data["next_key"].as_str().unwrap().clone_into(&mut key);
    }
    assert_eq!(met, ["erin", "dave", "carol", "bob"]);
    assert_eq!(key, "1/bob");
    assert_eq!(api.ok(&format!("{ACKS}?key=1"))["data"]["userlist"].as_array().unwrap().len(), 4);
    assert_eq!(api.ok(&format!("{ACKS}?key=1/nobody"))["data"]["userlist"], json!([]));
}

#[test]
fn readers_whom_newer_ones_pushed_out_are_on_no_page() {
    let mut api = TestApi::new("easemob_evicted");
    let mut records = vec![open_policy(1, |policy| policy.group.readers_per_message = 2)];
    records.push(group_message("m1").asking_receipts().record());
    records.extend(["bob", "carol", "dave"].into_iter().zip(1..).map(|(reader, minutes)| {
        group_read("m1").from(reader).after(minutes * MINUTE).with("id", format!("10{minutes}")).record()
    }));
    api.flush(&records);
    let page = |path: &str| {
        let data = api.ok(path)["data"].take();
        let first = data["userlist"][0]["username"].as_str().map(str::to_owned);
        (first, data["userlist"].as_array().unwrap().len(), data["total"].clone(), data["is_last"].clone())
    };
    assert_eq!(page(ACKS), (Some("dave".into()), 2, json!(2), json!(true)));
    assert_eq!(page(&format!("{ACKS}?limit=1")), (Some("dave".into()), 1, json!(2), json!(false)));
    assert_eq!(page(&format!("{ACKS}?limit=1&key=102")), (Some("carol".into()), 1, json!(2), json!(true)));
    assert_eq!(page(&format!("{ACKS}?key=101")), (None, 0, json!(2), json!(true)), "bob was pushed out meanwhile");
}

#[test]
fn a_setting_gives_plain_names() {
    let mut api = TestApi::with_config("easemob_names", |config| config.api.easemob_string_lists = true);
    read_by_three(&mut api);
    assert_eq!(api.ok(ACKS)["data"]["userlist"], json!(["dave", "carol", "bob"]));
}

#[test]
fn what_is_unknown_not_open_or_recalled_is_an_empty_list() {
    let mut api = TestApi::new("easemob_empty");
    read_by_three(&mut api);
    api.flush(&[group_message("plain").record(), group_recall("m1").after(HOUR).record()]);
    // For whomever: an empty list tells nothing that its viewers alone may know.
    for token in [SERVICE, "token-of-alice", "token-of-bob", "token-of-mallory"] {
        for message in ["m1", "plain", "920022907831190548"] {
            let answer = api.get(&ACKS.replace("m1", message), token);
            assert_eq!(answer.status, 200, "{token} {message}: {answer:?}");
            let data = &answer.body["data"];
            assert_eq!(data["ackmid"], message);
            assert_eq!((&data["userlist"], &data["total"]), (&json!([]), &json!(0)));
            assert_eq!((&data["next_key"], &data["is_last"]), (&json!(""), &json!(true)));
        }
    }
    assert_eq!(api.get(ACKS, SERVICE).body["error"], Value::Null);
}
