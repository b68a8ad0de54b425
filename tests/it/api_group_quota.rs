//! The quota of a group's day, and whether a message that asks for receipts would be opened: as the fold decides.

use std::time::UNIX_EPOCH;

use axum::body::Body;
use axum::http::{Request, header};
use seenby::policy::{Policy, Senders, UnknownSender};
use serde_json::{Value, json};

use crate::support::api::{SERVICE, TestApi, open_policy};
use crate::support::events::{DAY, HOUR, MINUTE, NOON, group_message, policy, roster};

const QUOTA: &str = "/v1/org/app/groups/g1/quota";
const CHECK: &str = "/v1/org/app/groups/g1/receipt-check";

fn now() -> i64 {
    i64::try_from(UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap()
}

fn limits(answer: &Value) -> (u64, u64, u64) {
    let number = |field: &str| answer[field].as_u64().unwrap();
    (number("used"), number("limit"), number("remaining"))
}

#[test]
fn a_day_counts_the_messages_opened_on_its_date() {
    let mut api = TestApi::new("quota_day");
    let records = [
        open_policy(1, |policy| policy.group.messages_per_day = 2),
        group_message("m1").asking_receipts().record(),
        group_message("plain").record(),
        group_message("m2").asking_receipts().after(MINUTE).record(),
        group_message("refused").asking_receipts().after(2 * MINUTE).record(),
        group_message("m3").asking_receipts().after(DAY).record(),
        group_message("elsewhere").to("g2").asking_receipts().record(),
    ];
    api.flush(&records);
    assert_eq!(limits(&api.ok(&format!("{QUOTA}?day=2026-03-01"))), (2, 2, 0));
    assert_eq!(limits(&api.ok(&format!("{QUOTA}?day=2026-03-02"))), (1, 2, 1));
    assert_eq!(limits(&api.ok(&format!("{QUOTA}?day=2026-03-03"))), (0, 2, 2));

    // The same rows once more, as a dead worker leaves them.
    let mut again = TestApi::new("quota_day_again");
    std::mem::swap(&mut api.log, &mut again.log);
    api.flush(&records);
    assert_eq!(limits(&api.ok(&format!("{QUOTA}?day=2026-03-01"))), (2, 2, 0));

    api.flush(&[open_policy(2, |policy| policy.group.messages_per_day = 1)]);
    assert_eq!(limits(&api.ok(&format!("{QUOTA}?day=2026-03-01"))), (2, 1, 0), "a limit lowered meanwhile");
}

#[test]
fn a_day_begins_and_ends_on_the_clocks_of_the_policys_zone() {
    let mut api = TestApi::new("quota_zone");
    let berlin = |policy: &mut Policy| policy.group.timezone = chrono_tz::Europe::Berlin;
    let late = NOON + 11 * HOUR + 30 * MINUTE;
    api.flush(&[open_policy(1, berlin), group_message("m1").asking_receipts().at(late).record()]);
    let answer = api.ok(&format!("{QUOTA}?day=2026-03-29"));
    assert_eq!(answer["begins_at"], NOON + 27 * DAY + 11 * HOUR);
    assert_eq!(answer["ends_at"], NOON + 28 * DAY + 10 * HOUR, "clocks go forward: 23 hours");
    assert_eq!((&answer["timezone"], &answer["day"]), (&json!("Europe/Berlin"), &json!("2026-03-29")));
    assert_eq!(limits(&api.ok(&format!("{QUOTA}?day=2026-03-01"))).0, 0);
    assert_eq!(limits(&api.ok(&format!("{QUOTA}?day=2026-03-02"))).0, 1, "half past midnight in Berlin");

    let before = now();
    let today = api.ok(QUOTA);
    let (begins_at, ends_at) = (today["begins_at"].as_i64().unwrap(), today["ends_at"].as_i64().unwrap());
    assert!(begins_at <= now() && before < ends_at, "{today}");
    assert_eq!(today["as_of"]["next_offset"], 2);
}

#[test]
fn a_check_says_what_the_fold_decides() {
    let mut api = TestApi::new("quota_check");
    let versions: [fn(&mut Policy); 6] = [
        |policy| policy.group.open = false,
        |policy| policy.group.senders = Senders::Admins,
        |policy| policy.group.senders = Senders::Members,
        |policy| {
            policy.group.senders = Senders::Admins;
            policy.group.unknown_sender = UnknownSender::Allow;
        },
        |policy| policy.group.messages_per_day = 0,
        |policy| policy.group.messages_per_day = 1,
    ];
    let mut met = std::collections::BTreeSet::new();
    for (version, change) in (1..).zip(versions) {
        let mut records = vec![open_policy(version, change)];
        let mut cases = Vec::new();
        for (is_roster_known, used) in [(false, 0), (false, 1), (true, 0), (true, 1)] {
            for from in ["alice", "bob", "carol"] {
                for role in [None, Some("owner"), Some("admin"), Some("member")] {
                    let group = format!("g{version}-{}", cases.len());
                    let at = now() - MINUTE;
                    if is_roster_known {
                        let members = roster(&[("alice", "admin"), ("bob", "member")]);
                        records.push(members.to(&group).at(at - HOUR).record());
                    }
                    for number in 0..used {
                        let id = format!("before{number}");
                        let message = group_message(&id).to(&group).role("owner").asking_receipts();
                        records.push(message.at(at).record());
                    }
                    cases.push((group, from, role));
                }
            }
        }
        api.flush(&records);
        let told: Vec<Value> = cases
            .iter()
            .map(|(group, from, role)| {
                let path = CHECK.replace("g1", group);
                let answer = api.post(&path, SERVICE, &json!({"from": from, "role": role}));
                assert_eq!(answer.status, 200, "{}", answer.body);
                answer.body
            })
            .collect();
        let messages = cases.iter().map(|(group, from, role)| {
            let message = group_message("now").to(group).from(from).asking_receipts().at(now());
            role.map_or_else(|| message.clone(), |role| message.clone().role(role)).record()
        });
        let outcomes = api.flush(&messages.collect::<Vec<_>>());
        for ((case, told), outcome) in cases.iter().zip(told).zip(outcomes) {
            assert_eq!(told["outcome"], outcome.name(), "{case:?} under policy {version}");
            let refusal = outcome.client_error();
            assert_eq!(told["would_open"], refusal.is_none());
            assert_eq!(told["words"], json!(refusal.map(|refusal| refusal.words)));
            assert_eq!(told["code"], json!(refusal.map(|refusal| refusal.code)));
            met.insert(outcome.name());
        }
    }
    assert_eq!(met.into_iter().collect::<Vec<_>>(), ["not_open", "opened", "permission_denied", "quota_exceeded"]);
}

#[test]
fn an_administrator_of_the_roster_may_ask_where_members_may_not() {
    let mut api = TestApi::new("quota_check_roster");
    api.flush(&[
        policy(1, |policy| policy.group.open = true),
        roster(&[("alice", "admin"), ("bob", "member")]).record(),
    ]);
    let check = |from: &str| api.post(CHECK, SERVICE, &json!({"from": from})).body;
    assert_eq!(check("alice")["would_open"], true);
    let refused = check("bob");
    assert_eq!(refused["would_open"], false);
    assert_eq!((&refused["words"], &refused["code"]), (&json!("group ack msg permission denied"), &json!(603)));
}

#[test]
fn a_quota_is_for_services_and_a_check_also_for_the_sender_himself() {
    let mut api = TestApi::new("quota_access");
    api.flush(&[open_policy(1, |_| {})]);
    let of_alice = json!({"from": "alice"});
    for (token, quota, check) in [
        (SERVICE, 200, 200),
        ("token-of-root", 200, 200),
        ("token-of-alice", 403, 200),
        ("token-of-bob", 403, 403),
        ("token-of-another-app", 404, 404),
        ("wrong", 401, 401),
    ] {
        assert_eq!(api.get(QUOTA, token).status, quota, "{token}");
        assert_eq!(api.post(CHECK, token, &of_alice).status, check, "{token}");
    }
}

#[test]
fn a_mistake_is_named() {
    let api = TestApi::new("quota_mistakes");
    for (query, parameter) in [("day=2026-02-30", "day"), ("day=", "day"), ("days=2026-02-01", "days")] {
        let refused = api.get(&format!("{QUOTA}?{query}"), SERVICE);
        assert_eq!(refused.status, 400, "{query}");
        assert!(refused.body["detail"].as_str().unwrap().starts_with(&format!("{parameter}: ")), "{}", refused.body);
    }
    for (body, named) in [
        (json!({}), "from"),
        (json!({"from": ""}), "from"),
        (json!({"from": "a/b"}), "from"),
        (json!({"from": 7}), "from"),
        (json!({"from": "alice", "role": "king"}), "role"),
        (json!({"from": "alice", "rol": "owner"}), "rol"),
        (json!(["alice"]), "ReceiptCheck"),
    ] {
        let refused = api.post(CHECK, SERVICE, &body);
        assert_eq!((refused.status, &refused.body["code"]), (400, &json!("invalid_request")), "{body}");
        assert!(refused.body["detail"].as_str().unwrap().contains(named), "{body}: {}", refused.body);
    }
    let text = Request::post(CHECK).header(header::AUTHORIZATION, format!("Bearer {SERVICE}"));
    let refused = api.send(text.body(Body::from("{\"from\": \"alice\"}")).unwrap());
    assert_eq!((refused.status, &refused.body["code"]), (415, &json!("unsupported_media_type")));
}
