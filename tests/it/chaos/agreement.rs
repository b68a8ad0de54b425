//! What is compared after a run: everything that seenby gave out, with the plain fold of the log.

use std::collections::BTreeMap;

use crate::support::plain_fold::{LogRecord, Notification, OutcomeKey, PlainFold};
use crate::support::worker::{Deployment, TopicRecord};

/// The plain fold of the events topic as it stands.
pub fn plain_fold_of(events: &[TopicRecord], partitions: u32) -> PlainFold {
    let mut fold = PlainFold::new(partitions);
    for event in events {
        fold.take(&LogRecord {
            partition: event.partition,
            offset: event.offset,
            time: event.time,
            key: event.key.as_deref(),
            value: &event.value,
            control: event.headers.get(seenby::event::CONTROL_HEADER).map(|header| header.as_bytes()),
        });
    }
    fold
}

/// Everything that differs between what seenby gave out and the plain fold; each line is one difference.
pub fn differences(deployment: &Deployment, plain: &PlainFold) -> Vec<String> {
    let mut differences = Vec::new();
    let mut compare = |what: &str, expected: Vec<String>, found: Vec<String>| {
        let mut counts: BTreeMap<String, (i64, i64)> = BTreeMap::new();
        expected.into_iter().for_each(|line| counts.entry(line).or_default().0 += 1);
        found.into_iter().for_each(|line| counts.entry(line).or_default().1 += 1);
        let differing = counts.into_iter().filter(|(_, (expected, found))| expected != found);
        differences.extend(differing.map(|(line, (expected, found))| {
            format!("{what}: there {found} times instead of {expected}: {}", line.replace('\t', " | "))
        }));
    };

    let topic = deployment.config.kafka.topics.events.clone();
    compare("outcomes", sums(&plain.outcomes), ledger(deployment, "records"));
    compare("settled", sums(&plain.settled), ledger(deployment, "settled"));
    compare(
        "delays",
        plain.delays.iter().map(|((app, event_type), delays)| line(&[app, event_type, &delays.len()])).collect(),
        deployment.lines(DELAYS),
    );
    compare("notifications", notifications_expected(plain), notifications_found(deployment));
    compare("counts told", counts_expected(deployment, plain), counts_found(deployment));
    compare(
        "rejections topic",
        plain.rejections.iter().map(|it| line(&[&it.outcome, &topic, &it.partition, &it.own_offset])).collect(),
        rejections_found(deployment),
    );
    compare(
        "rejections table",
        plain.rejections.iter().map(|it| line(&[&it.outcome, &it.partition, &it.own_offset, &it.is_settled])).collect(),
        deployment.lines(REJECTIONS),
    );
    compare("messages", messages_expected(plain), deployment.lines(MESSAGES));
    compare("receipts", receipts_expected(plain), deployment.lines(RECEIPTS));
    compare("recalls", recalls_expected(plain), deployment.lines(RECALLS));
    // What the three tables before say, told once more.
    compare(
        "message_facts",
        facts_told_again(deployment),
        deployment.lines(&MESSAGE_FACTS.replace("{table}", "message_facts")),
    );
    let counts = message_counts_expected(plain);
    compare("message_counts", counts.clone(), deployment.lines(&MESSAGE_COUNTS.replace("{table}", "message_counts")));
    compare("sender_counts", counts, deployment.lines(&MESSAGE_COUNTS.replace("{table}", "sender_counts")));
    compare("reader lists", reader_lists_expected(plain), deployment.lines(READER_LISTS));
    compare(
        "marks",
        plain
            .marks
            .iter()
            .map(|mark| {
                line(&[&mark.conversation, &mark.reader, &mark.at, &mark.ack_id, &mark.partition, &mark.offset])
            })
            .collect(),
        deployment.lines(MARKS),
    );
    compare(
        "members",
        plain.members().iter().map(|(group, user, role, since)| line(&[group, user, role, since])).collect(),
        deployment.lines(MEMBERS),
    );
    compare("still parked", vec![plain.still_parked().to_string()], deployment.lines(STILL_PARKED));
    differences
}

/// Lines are columns with tabs between them, as the statements below give them.
fn line(columns: &[&dyn std::fmt::Display]) -> String {
    columns.iter().map(ToString::to_string).collect::<Vec<_>>().join("\t")
}

fn or_dash<T: std::fmt::Display>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

fn sums(outcomes: &BTreeMap<OutcomeKey, u64>) -> Vec<String> {
    outcomes.iter().map(|((app, event_type, outcome), count)| line(&[app, event_type, outcome, count])).collect()
}

fn ledger(deployment: &Deployment, measure: &str) -> Vec<String> {
    let totals = deployment.totals().into_iter().filter(|total| total.measure == measure);
    totals.map(|total| line(&[&total.app, &total.event_type, &total.outcome, &total.total])).collect()
}

fn notifications_expected(plain: &PlainFold) -> Vec<String> {
    let told = |it: &Notification| {
        line(&[
            &it.kind,
            &it.conversation,
            &or_dash(it.message.as_ref()),
            &it.key,
            &it.reader,
            &it.at,
            &it.ack_id,
            &or_dash(it.content.as_ref()),
            &it.partition,
            &it.own_offset,
        ])
    };
    plain.notifications.iter().map(told).collect()
}

/// Every reader told, one a line.
fn notifications_found(deployment: &Deployment) -> Vec<String> {
    let mut told = Vec::new();
    for record in deployment.notifications() {
        let key = String::from_utf8(record.key.unwrap()).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&record.value).unwrap();
        for reader in json["readers"].as_array().unwrap() {
            told.push(line(&[
                &json["kind"].as_str().unwrap(),
                &json["conversation"].as_str().unwrap(),
                &or_dash(json["message"].as_str()),
                &key,
                &reader["user"].as_str().unwrap(),
                &reader["at"],
                &reader["ack_id"].as_str().unwrap(),
                &or_dash(reader["content"].as_str()),
                &reader["event_id"]["partition"],
                &reader["event_id"]["offset"],
            ]));
        }
    }
    told
}

/// How many readers the plain fold had, by the place of the receipt.
fn count_by_place(plain: &PlainFold) -> BTreeMap<(u64, u64), usize> {
    let counts = plain
        .notifications
        .iter()
        .filter_map(|it| it.group_read_count.map(|count| ((u64::from(it.partition), it.own_offset), count)));
    counts.collect()
}

/// For each notification in a group: the count that its last reader makes, whichever flush it came in.
fn counts_expected(deployment: &Deployment, plain: &PlainFold) -> Vec<String> {
    let by_place = count_by_place(plain);
    let expected = |places: Vec<(u64, u64)>| {
        let most = places.iter().filter_map(|place| by_place.get(place)).max().copied().unwrap_or(0);
        line(&[&format!("{places:?}"), &most])
    };
    group_notifications(deployment).into_iter().map(|(places, _)| expected(places)).collect()
}

fn counts_found(deployment: &Deployment) -> Vec<String> {
    let found = |(places, count)| line(&[&format!("{places:?}"), &count]);
    group_notifications(deployment).into_iter().map(found).collect()
}

/// Of every notification in a group: where its receipts stand, and the count it tells.
fn group_notifications(deployment: &Deployment) -> Vec<(Vec<(u64, u64)>, u64)> {
    let mut found = Vec::new();
    for record in deployment.notifications() {
        let json: serde_json::Value = serde_json::from_slice(&record.value).unwrap();
        if let Some(count) = json["groupReadCount"].as_u64() {
            let readers = json["readers"].as_array().unwrap().iter();
            let place = |reader: &serde_json::Value| {
                let event_id = &reader["event_id"];
                (event_id["partition"].as_u64().unwrap(), event_id["offset"].as_u64().unwrap())
            };
            found.push((readers.map(place).collect(), count));
        }
    }
    found
}

fn rejections_found(deployment: &Deployment) -> Vec<String> {
    let rejections = deployment.rejections().into_iter();
    rejections
        .map(|it| {
            let header = |name: &str| it.headers[name].clone();
            line(&[&header("outcome"), &header("topic"), &header("partition"), &header("offset")])
        })
        .collect()
}

fn messages_expected(plain: &PlainFold) -> Vec<String> {
    let row = |life: &crate::support::plain_fold::Life| {
        line(&[
            &life.app,
            &life.conversation,
            &life.message,
            &life.sent_at,
            &if life.is_group { "group" } else { "single" },
            &life.sender,
            &life.to,
            &life.status,
            &life.validity,
            &life.reader_cap,
            &or_dash(life.quota_day),
            &or_dash(life.audience.as_ref().map(Vec::len)),
            &life.partition,
            &life.offset,
        ])
    };
    plain.lives.iter().map(row).collect()
}

fn receipts_expected(plain: &PlainFold) -> Vec<String> {
    let of_life = |life: &crate::support::plain_fold::Life| {
        let row = |it: &crate::support::plain_fold::Receipt| {
            let content = or_dash(it.content.as_ref());
            let life_columns = line(&[&life.conversation, &life.message, &life.sent_at]);
            line(&[&life_columns, &it.kind, &it.reader, &it.at, &it.ack_id, &content, &life.partition, &it.own_offset])
        };
        life.receipts.iter().map(row).collect::<Vec<_>>()
    };
    plain.lives.iter().flat_map(of_life).collect()
}

fn recalls_expected(plain: &PlainFold) -> Vec<String> {
    let row = |life: &crate::support::plain_fold::Life| {
        let (by, at, id) = life.recalled.as_ref()?;
        Some(line(&[&life.conversation, &life.message, &life.sent_at, by, at, id]))
    };
    plain.lives.iter().filter_map(row).collect()
}

fn message_counts_expected(plain: &PlainFold) -> Vec<String> {
    let with_receipts = plain.lives.iter().filter(|life| !life.receipts.is_empty());
    let row = |life: &crate::support::plain_fold::Life| {
        let (distinct, retained) = (life.distinct(), life.retained().len());
        let delivered = life.of_kind("delivered").count();
        let life_columns = line(&[&life.conversation, &life.message, &life.sent_at, &life.sender]);
        line(&[&life_columns, &distinct, &retained, &delivered])
    };
    with_receipts.map(row).collect()
}

/// The retained readers of each group message that has any, newest first.
fn reader_lists_expected(plain: &PlainFold) -> Vec<String> {
    let read = plain.lives.iter().filter(|life| life.is_group && life.distinct() > 0);
    let row = |life: &crate::support::plain_fold::Life| {
        let readers: Vec<&str> = life.retained().iter().map(|receipt| receipt.reader.as_str()).collect();
        line(&[&life.conversation, &life.message, &life.sent_at, &readers.join(",")])
    };
    read.map(row).collect()
}

const MESSAGES: &str = r"
SELECT concatWithSeparator('\t', app, conversation, message, toString(toUnixTimestamp64Milli(sent_at)), toString(chat),
    sender, recipient, toString(status), toString(validity_ms), toString(reader_cap),
    ifNull(toString(toInt32(quota_day)), '-'), ifNull(toString(audience), '-'), toString(partition), toString(offset))
FROM messages FINAL";

const RECEIPTS: &str = r"
SELECT concatWithSeparator('\t', conversation, message, toString(toUnixTimestamp64Milli(sent_at)), toString(kind),
    reader, toString(toUnixTimestamp64Milli(at)), ack_id, ifNull(content, '-'), toString(own_partition),
    toString(own_offset))
FROM receipts FINAL";

const RECALLS: &str = r"
SELECT concatWithSeparator('\t', conversation, message, toString(toUnixTimestamp64Milli(sent_at)), recalled_by,
    toString(toUnixTimestamp64Milli(at)), recall_id)
FROM recalls FINAL";

/// What makes rows of `message_facts` of those that stood there before it.
const MESSAGE_FACTS_OF: [&str; 3] = [
    include_str!("../../../schemas/clickhouse/0026_message_facts_of_messages.sql"),
    include_str!("../../../schemas/clickhouse/0027_message_facts_of_receipts.sql"),
    include_str!("../../../schemas/clickhouse/0028_message_facts_of_recalls.sql"),
];

const MESSAGE_FACTS: &str = "SELECT toString((key, fact, own_epoch, own_partition, epoch, partition, offset, own_offset)) \
                             FROM {table} FINAL";

/// The rows that those migrations write.
fn facts_told_again(deployment: &Deployment) -> Vec<String> {
    deployment.execute("DROP TABLE IF EXISTS told_again");
    deployment.execute("CREATE TABLE told_again AS message_facts");
    for migration in MESSAGE_FACTS_OF {
        let insert = migration.replace("${database}.message_facts", "told_again").replace("${database}.", "");
        deployment.execute(&insert);
    }
    deployment.lines(&MESSAGE_FACTS.replace("{table}", "told_again"))
}

const MESSAGE_COUNTS: &str = r"
SELECT concatWithSeparator('\t', conversation, message, toString(toUnixTimestamp64Milli(sent_at)), sender,
    toString(distinct_readers), toString(retained_readers), toString(delivered))
FROM {table} FINAL";

const READER_LISTS: &str = r"
SELECT concatWithSeparator('\t', conversation, message, toString(sent_at_ms),
    arrayStringConcat(arrayMap(it -> it.3, arraySlice(readers, 1, cap)), ','))
FROM
(
    SELECT conversation, message, toUnixTimestamp64Milli(receipts.sent_at) AS sent_at_ms, any(messages.reader_cap) AS cap,
        arrayReverseSort(groupUniqArray((toUnixTimestamp64Milli(receipts.at), ack_id, reader))) AS readers
    FROM (SELECT * FROM receipts FINAL) AS receipts
    INNER JOIN (SELECT * FROM messages FINAL) AS messages USING (app, conversation, message, sent_at)
    WHERE kind = 'read' AND chat = 'group'
    GROUP BY conversation, message, sent_at_ms
)";

const MARKS: &str = r"
SELECT concatWithSeparator('\t', conversation, reader, toString(toUnixTimestamp64Milli(at)), ack_id,
    toString(partition), toString(offset))
FROM marks FINAL";

const MEMBERS: &str = r"
SELECT concatWithSeparator('\t', conversation, user, toString(assumeNotNull(last.1)),
    toString(toUnixTimestamp64Milli(assumeNotNull(last.2))))
FROM
(
    SELECT conversation, user, argMax((role, joined_at), (epoch, offset)) AS last
    FROM roster_changes
    WHERE user != ''
    GROUP BY conversation, user
)
WHERE last.1 IS NOT NULL";

const STILL_PARKED: &str = r"
SELECT toString((SELECT count() FROM parked FINAL) - (SELECT count() FROM settlements FINAL))";

const REJECTIONS: &str = r"
SELECT concatWithSeparator('\t', outcome, toString(own_partition), toString(own_offset), toString(settled))
FROM rejections FINAL";

const DELAYS: &str = r"
SELECT concatWithSeparator('\t', app, type, toString(sum(latest)))
FROM
(
    SELECT app, type, argMax(total, next_offset) AS latest
    FROM ledger
    WHERE measure = 'delays'
    GROUP BY partition, app, type, hour
)
GROUP BY app, type";
