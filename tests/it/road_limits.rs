//! The whole way, from events on a topic to answers over HTTP: the limits of group receipts as a reader meets them.

use chrono::{TimeZone as _, Utc};
use seenby::config::Delivery;

use crate::support::answers::{Answers, names};
use crate::support::events::{DAY, MINUTE, NOON, OwnedRecord, group_message, group_read, policy};
use crate::support::worker::Deployment;

/// Reader number `number` reads m1 at a minute of his own; who reads later has the larger number.
fn read_by(number: usize) -> OwnedRecord {
    let reader = format!("reader-{number:04}");
    group_read("m1").from(&reader).at(NOON + MINUTE * number as i64).record()
}

#[test]
fn of_six_hundred_readers_the_newest_five_hundred_are_paged_whole_while_more_arrive() {
    let deployment = Deployment::new("six_hundred", 2, Delivery::ExactlyOnce);
    let worker = deployment.start();
    let mut records = vec![
        policy(1, |policy| policy.group.open = true),
        group_message("m1").role("owner").asking_receipts().record(),
    ];
    records.extend((0..600).map(read_by));
    deployment.produce(&records);
    // The policy stands in each of the two partitions.
    let mut consumed = 603;
    assert_eq!(deployment.wait_for_records(consumed)["read counted"], 600);

    let answers = Answers::of(&deployment);
    let list = "/v1/org/app/groups/g1/messages/m1/readers?limit=50";
    let mut page = answers.get(list);
    let counts = &page["counts"];
    assert_eq!(
        (&counts["retained"], &counts["distinct"], &counts["evicted"], &counts["truncated"]),
        (&500.into(), &600.into(), &100.into(), &true.into())
    );
    let mut shown = names(&page);
    let mut pages = 1;
    while let Some(cursor) = page["next_cursor"].as_str().map(str::to_owned) {
        // Ten more between any two pages: each pushes one of the list out.
        let late = 600 + pages * 10;
        let more: Vec<_> = (late..late + 10).map(read_by).collect();
        deployment.produce(&more);
        consumed += 10;
        deployment.wait_for_records(consumed);
        page = answers.get(&format!("{list}&cursor={cursor}"));
        shown.extend(names(&page));
        pages += 1;
    }
    let newest_first: Vec<String> = (100..600).rev().map(|number| format!("reader-{number:04}")).collect();
    assert_eq!(shown, newest_first);
    assert_eq!(pages, 10);

    let asked_for = answers.get("/v1/org/app/groups/g1/messages/m1/readers?user=reader-0003");
    assert_eq!(asked_for["readers"][0]["evicted"], true);
    worker.stop(true).unwrap();
}

/// Fills a group's local day and asks once more at its last instant, then at the first of the next.
fn fill_day(group: &str, begin: i64, end: i64) -> Vec<OwnedRecord> {
    let asks = |id: String, at: i64| {
        group_message(&format!("{group}-{id}")).to(group).role("admin").asking_receipts().at(at).record()
    };
    let mut records = vec![asks("day-before".to_owned(), begin - 1)];
    let step = (end - begin) / 500;
    records.extend((0..500).map(|number| asks(format!("{number}"), begin + step * number)));
    records.push(asks("one-too-many".to_owned(), end - 1));
    records.push(asks("day-after".to_owned(), end));
    records
}

#[test]
fn the_501st_message_of_a_local_day_is_refused_on_days_of_23_and_of_25_hours() {
    let midnight =
        |year, month, day, hour| Utc.with_ymd_and_hms(year, month, day, hour, 0, 0).unwrap().timestamp_millis();
    // Europe/Berlin moves its clocks on 2025-03-30 and on 2025-10-26.
    let short = (midnight(2025, 3, 29, 23), midnight(2025, 3, 30, 22));
    let long = (midnight(2025, 10, 25, 22), midnight(2025, 10, 26, 23));
    assert_eq!((short.1 - short.0, long.1 - long.0), (DAY - 60 * MINUTE, DAY + 60 * MINUTE));

    let deployment = Deployment::new("quota_days", 1, Delivery::ExactlyOnce);
    let worker = deployment.start();
    let mut records = vec![policy(1, |policy| {
        policy.group.open = true;
        policy.group.timezone = chrono_tz::Europe::Berlin;
    })];
    records.extend(fill_day("spring", short.0, short.1));
    records.extend(fill_day("autumn", long.0, long.1));
    deployment.produce(&records);
    let outcomes = deployment.wait_for_records(records.len() as u64);
    assert_eq!((outcomes["message opened"], outcomes["message quota_exceeded"]), (2 * 502, 2));
    deployment.wait_for_commit();

    let rejections = deployment.rejections();
    let refused: Vec<serde_json::Value> =
        rejections.iter().map(|record| serde_json::from_slice(&record.value).unwrap()).collect();
    assert_eq!(
        refused.iter().map(|event| event["id"].as_str().unwrap()).collect::<Vec<_>>(),
        ["spring-one-too-many", "autumn-one-too-many"]
    );
    for rejection in &rejections {
        assert_eq!(rejection.headers["words"], "limit send group ack msg");
        assert_eq!(rejection.headers["code"], "4");
    }
    let answers = Answers::of(&deployment);
    for (group, id, receipts) in [
        ("spring", "day-before", "opened"),
        ("spring", "499", "opened"),
        ("spring", "one-too-many", "quota_exceeded"),
        ("spring", "day-after", "opened"),
        ("autumn", "one-too-many", "quota_exceeded"),
        ("autumn", "day-after", "opened"),
    ] {
        let answer = answers.get(&format!("/v1/org/app/groups/{group}/messages/{group}-{id}/readers"));
        assert_eq!(answer["message"]["receipts"], receipts, "{group}-{id}");
    }
    worker.stop(true).unwrap();
}
