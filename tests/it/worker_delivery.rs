//! From events on a topic to rows, notifications and rejections, with both kinds of delivery.

use seenby::config::Delivery;

use crate::support::events::{
    NOON, OwnedRecord, delivered, group_message, group_read, policy, single_conversation_read, single_message,
    single_read,
};
use crate::support::worker::Deployment;

/// A little of everything: opened, read twice by one device too many, refused, settled, read as a conversation.
fn traffic() -> Vec<OwnedRecord> {
    vec![
        policy(1, |policy| policy.group.open = true),
        group_message("m1").role("owner").asking_receipts().record(),
        group_read("m1").from("bob").at(NOON + 1).content("ok").record(),
        group_read("m1").from("bob").at(NOON + 2).record(),
        group_read("m1").from("carol").at(NOON + 3).record(),
        group_message("m2").role("member").asking_receipts().record(),
        group_read("m2").from("bob").at(NOON + 4).record(),
        single_read("s1").at(NOON + 5).record(),
        single_message("s1").record(),
        delivered("s1").at(NOON + 6).record(),
        single_message("s2").at(NOON + 7).record(),
        single_conversation_read().at(NOON + 8).record(),
    ]
}

fn whole_way(deployment: &Deployment) {
    let worker = deployment.start();
    worker.wait_until_ready();
    deployment.produce(&traffic());
    // The policy stands in each of the two partitions.
    let outcomes = deployment.wait_for_records(13);
    let expected = [
        ("conversation_read applied", 1),
        ("delivered counted", 1),
        ("message opened", 1),
        ("message permission_denied", 1),
        ("message stored", 2),
        ("policy applied", 2),
        ("read counted", 2),
        ("read duplicate", 1),
        ("read not_requested", 1),
        ("read parked", 1),
    ];
    let expected = expected.into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
    assert_eq!(outcomes, expected);
    let settled: Vec<_> = deployment.totals().into_iter().filter(|total| total.measure == "settled").collect();
    assert_eq!(settled.len(), 1);
    assert_eq!((settled[0].outcome.as_str(), settled[0].total), ("counted", 1));
    deployment.wait_for_commit();

    let told = deployment.told();
    let told = told.iter().map(|(kind, message, reader)| (kind.as_str(), message.as_str(), reader.as_str()));
    let told = told.collect::<Vec<_>>();
    assert_eq!(
        told,
        [
            ("conversation_read", "", "bob"),
            ("delivered", "s1", "bob"),
            ("read", "m1", "bob"),
            ("read", "m1", "carol"),
            ("read", "s1", "bob"),
        ]
    );
    let rejections = deployment.rejections();
    assert_eq!(rejections.len(), 1);
    assert_eq!(rejections[0].headers["outcome"], "permission_denied");
    assert_eq!(rejections[0].headers["words"], "group ack msg permission denied");
    assert_eq!(rejections[0].headers["code"], "603");
    assert_eq!(rejections[0].value, traffic()[5].value);
    assert_eq!(deployment.number("SELECT count() FROM receipts"), 4);
    assert_eq!(deployment.number("SELECT count() FROM rejections"), 1);
    assert_eq!(worker.metric("seenby_records_total") as u64, 13);
    worker.stop(false).unwrap();

    // A restart takes the state over: what was counted is known, and nothing is told again.
    let worker = deployment.start();
    deployment.produce(&[
        group_read("m1").from("carol").at(NOON + 20).record(),
        group_read("m1").from("dave").at(NOON + 21).record(),
    ]);
    let outcomes = deployment.wait_for_records(15);
    assert_eq!(outcomes["read duplicate"], 2);
    assert_eq!(outcomes["read counted"], 3);
    deployment.wait_for_commit();
    assert_eq!(deployment.told().len(), 6);
    let last = deployment.notifications().pop().unwrap();
    assert_eq!(last.key.as_deref(), Some(b"org#app/alice".as_slice()));
    worker.stop(true).unwrap();
}

#[test]
fn exactly_once_brings_every_event_to_its_row_and_its_notification() {
    whole_way(&Deployment::new("exactly_once", 2, Delivery::ExactlyOnce));
}

#[test]
fn at_least_once_does_the_same_while_nothing_fails() {
    whole_way(&Deployment::new("at_least_once", 2, Delivery::AtLeastOnce));
}
