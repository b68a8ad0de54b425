//! The rules that a configuration must keep beyond the kinds of its values.

use super::auth::MASK_RULE;
use super::secret::{MASK, is_secret_property};
use super::{Config, ConfigError};
use crate::event::MAX_ID_BYTES;

/// The longest name that Kafka takes for a topic.
const MAX_TOPIC_BYTES: usize = 249;

/// Below the 30 s that the API's last answer on a connection has.
const MAX_WHAT_IF_TIMEOUT_MILLIS: u64 = 25_000;

/// Properties of librdkafka that exactly-once counting stands on, why each is fixed, and what is set instead.
const FIXED_PROPERTIES: [(&[&str], &str); 14] = [
    (&["isolation.level"], "is always read_committed: records of aborted transactions must not be counted"),
    (
        &["enable.auto.commit", "auto.commit.enable", "enable.auto.offset.store"],
        "is always false: an offset is committed together with what was counted up to it",
    ),
    (
        &["auto.offset.reset"],
        "is always error: a position that is gone must stop the worker, not skip or repeat events",
    ),
    (&["enable.partition.eof"], "is always false: seenby learns of a partition's end from librdkafka's statistics"),
    (&["group.id"], "would move offsets to another group: use kafka.group"),
    (&["group.instance.id"], "must differ between the members of one process: use worker.instance"),
    (&["group.protocol"], "is always classic: the worker answers its rebalances"),
    (&["partition.assignment.strategy"], "is always cooperative-sticky: the worker gives partitions up one by one"),
    (&["session.timeout.ms"], "is set by worker.session_timeout_ms"),
    (&["max.poll.interval.ms"], "is set by worker.max_poll_interval_ms, which other time-outs follow"),
    (
        &["transactional.id"],
        "must be of one thread alone: use worker.instance, and worker.delivery for no transactions",
    ),
    (&["transaction.timeout.ms"], "is fixed: seenby tells from it who ended a transaction"),
    (&["enable.idempotence"], "is always true: a record sent again must not be written twice"),
    (
        &["message.timeout.ms", "delivery.timeout.ms"],
        "is fixed: records must be acknowledged or given up before their transaction ends",
    ),
];

impl Config {
    /// Checks every rule; the first one broken is told with its key.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`].
    pub fn check(&self) -> Result<(), ConfigError> {
        self.check_masks()?;
        self.check_kafka()?;
        self.check_clickhouse()?;
        self.check_worker()?;
        self.check_api()?;
        self.auth.check()
    }

    /// Those of `auth` are checked there.
    fn check_masks(&self) -> Result<(), ConfigError> {
        let given = |key: &str, secret: &str| require(secret != MASK, key, MASK_RULE);
        for (name, value) in &self.kafka.properties {
            if is_secret_property(name) {
                given(&format!("kafka.properties.{name}"), value)?;
            }
        }
        given("clickhouse.password", self.clickhouse.password.expose())
    }

    fn check_kafka(&self) -> Result<(), ConfigError> {
        let kafka = &self.kafka;
        require(!kafka.brokers.trim().is_empty(), "kafka.brokers", "must name at least one broker as host:port")?;
        require(!kafka.group.is_empty(), "kafka.group", "must not be empty")?;
        for name in kafka.properties.keys() {
            let fixed = FIXED_PROPERTIES.iter().find(|(names, _)| names.contains(&name.as_str()));
            let rule = fixed.map_or("", |(_, rule)| *rule);
            require(fixed.is_none(), &format!("kafka.properties.{name}"), rule)?;
        }
        require(kafka.partitions >= 1, "kafka.partitions", "must be at least 1")?;
        require(
            kafka.replication == -1 || (1..=i32::from(i16::MAX)).contains(&kafka.replication),
            "kafka.replication",
            "must be -1 (the broker's default) or from 1 to 32767",
        )?;
        let topics = &kafka.topics;
        for (key, name) in [
            ("kafka.topics.events", &topics.events),
            ("kafka.topics.notifications", &topics.notifications),
            ("kafka.topics.rejections", &topics.rejections),
        ] {
            let is_topic_name = (1..=MAX_TOPIC_BYTES).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
            require(is_topic_name, key, "must be 1 to 249 of the characters a-z, A-Z, 0-9, '.', '_' and '-'")?;
        }
        require(
            topics.events != topics.notifications && topics.events != topics.rejections,
            "kafka.topics.events",
            "must differ from the output topics: a worker would read what it writes",
        )?;
        require(
            topics.notifications != topics.rejections,
            "kafka.topics.notifications",
            "must differ from kafka.topics.rejections: their records have different shapes",
        )
    }

    fn check_clickhouse(&self) -> Result<(), ConfigError> {
        let clickhouse = &self.clickhouse;
        let host = clickhouse.url.strip_prefix("http://").or_else(|| clickhouse.url.strip_prefix("https://"));
        require(
            host.is_some_and(|host| !host.is_empty()),
            "clickhouse.url",
            "must begin with http:// or https:// and name a host",
        )?;
        require(
            !clickhouse.url.contains('@'),
            "clickhouse.url",
            "must not hold credentials: use clickhouse.user and clickhouse.password, which are never shown",
        )?;
        require(
            is_identifier(&clickhouse.database),
            "clickhouse.database",
            "must be of letters, digits and '_' and not begin with a digit",
        )?;
        require(
            clickhouse.cluster.is_empty() || is_identifier(&clickhouse.cluster),
            "clickhouse.cluster",
            "must be empty, or of letters, digits and '_' and not begin with a digit",
        )?;
        require_niceness(clickhouse.insert_niceness, "clickhouse.insert_niceness")?;
        require(clickhouse.timeout_ms >= 1, "clickhouse.timeout_ms", "must be at least 1")
    }

    fn check_worker(&self) -> Result<(), ConfigError> {
        let worker = &self.worker;
        require(worker.threads >= 1, "worker.threads", "must be at least 1")?;
        require(!worker.instance.is_empty(), "worker.instance", "must not be empty")?;
        require(worker.flush_interval_ms >= 1, "worker.flush_interval_ms", "must be at least 1")?;
        require(worker.flush_records >= 1, "worker.flush_records", "must be at least 1")?;
        require(worker.flush_bytes >= 1, "worker.flush_bytes", "must be at least 1")?;
        require(worker.memory_limit_bytes >= 1, "worker.memory_limit_bytes", "must be at least 1")?;
        require(worker.retention_days <= 36_500, "worker.retention_days", "must be at most 36500, or 0 for ever")?;
        require(worker.erasure_interval_ms > 0, "worker.erasure_interval_ms", "must be at least 1")?;
        let is_in_range = (1..=365).contains(&worker.ledger_detail_days);
        require(is_in_range, "worker.ledger_detail_days", "must be from 1 to 365")?;
        require(worker.session_timeout_ms >= 1, "worker.session_timeout_ms", "must be at least 1")?;
        require(
            worker.max_poll_interval_ms >= worker.session_timeout_ms,
            "worker.max_poll_interval_ms",
            "must be at least worker.session_timeout_ms: librdkafka refuses anything else",
        )
    }

    fn check_api(&self) -> Result<(), ConfigError> {
        let api = &self.api;
        require(api.timeout_ms >= 1, "api.timeout_ms", "must be at least 1")?;
        require(api.latency_min_group_size >= 1, "api.latency_min_group_size", "must be at least 1")?;
        require(
            !api.development_tokens || !self.auth.jwt.hs256_secret.is_empty(),
            "api.development_tokens",
            "needs auth.jwt.hs256_secret, which its tokens are signed with",
        )?;
        require(api.max_concurrent_statements >= 1, "api.max_concurrent_statements", "must be at least 1")?;
        require_niceness(api.query.thread_niceness, "api.query.thread_niceness")?;
        require(
            api.query.max_execution_time_ms <= api.timeout_ms,
            "api.query.max_execution_time_ms",
            "must be at most api.timeout_ms: nobody waits for the answer after that",
        )?;
        let is_in_range = |timeout_ms: u64| (1..=MAX_WHAT_IF_TIMEOUT_MILLIS).contains(&timeout_ms);
        require(is_in_range(api.what_if.timeout_ms), "api.what_if.timeout_ms", "must be from 1 to 25000")?;
        require(api.what_if.max_concurrent >= 1, "api.what_if.max_concurrent", "must be at least 1")?;
        require(api.what_if.max_records >= 1, "api.what_if.max_records", "must be at least 1")?;
        require(api.what_if.max_state_bytes >= 1, "api.what_if.max_state_bytes", "must be at least 1")?;
        api.export.check()?;
        require(api.rate_limit_burst >= 1, "api.rate_limit_burst", "must be at least 1")?;
        require(api.app_rate_limit_burst >= 1, "api.app_rate_limit_burst", "must be at least 1")?;
        let is_header_value =
            !api.cors_origin.is_empty() && api.cors_origin.bytes().all(|byte| byte.is_ascii_graphic());
        require(is_header_value, "api.cors_origin", "must be `*` or an origin such as https://chat.example.com")
    }
}

pub(super) fn require(holds: bool, key: &str, rule: &str) -> Result<(), ConfigError> {
    if holds { Ok(()) } else { Err(ConfigError::Invalid { key: key.to_owned(), rule: rule.to_owned() }) }
}

fn require_niceness(niceness: i8, key: &str) -> Result<(), ConfigError> {
    require((-20..=19).contains(&niceness), key, "must be from -20 to 19")
}

/// What ClickHouse takes as a name without quotes, so that no statement needs quoting rules.
fn is_identifier(name: &str) -> bool {
    let begins_well = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    begins_well && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Whether a text may be the name of a user, a group or a message (DESIGN.md section 2).
pub(crate) fn is_id(text: &str) -> bool {
    let has_forbidden = text.chars().any(|c| c == '/' || c == '#' || c.is_whitespace() || c.is_control());
    (1..=MAX_ID_BYTES).contains(&text.len()) && !has_forbidden
}

/// Whether a text is `org#name`.
pub(crate) fn is_app(text: &str) -> bool {
    text.len() <= MAX_ID_BYTES && text.split_once('#').is_some_and(|(org, name)| is_id(org) && is_id(name))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::config::Secret;

    fn broken_key(change: impl FnOnce(&mut Config)) -> String {
        let mut config = Config::default();
        change(&mut config);
        match config.check() {
            Err(ConfigError::Invalid { key, .. }) => key,
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn a_mask_is_no_secret() {
        let masked_property = |config: &mut Config| {
            config.kafka.properties.insert("ssl.key.passphrase".to_owned(), MASK.to_owned());
        };
        assert_eq!(broken_key(masked_property), "kafka.properties.ssl.key.passphrase");
        assert_eq!(broken_key(|config| config.clickhouse.password = Secret::new(MASK)), "clickhouse.password");
    }

    #[test]
    fn the_defaults_keep_every_rule() {
        Config::default().check().unwrap();
    }

    #[test]
    fn a_broken_rule_names_its_key() {
        assert_eq!(broken_key(|config| config.kafka.brokers = " ".to_owned()), "kafka.brokers");
        assert_eq!(broken_key(|config| config.kafka.topics.events = "a b".to_owned()), "kafka.topics.events");
        let same = |config: &mut Config| config.kafka.topics.rejections = config.kafka.topics.events.clone();
        assert_eq!(broken_key(same), "kafka.topics.events");
        assert_eq!(broken_key(|config| config.clickhouse.url = "clickhouse:8123".to_owned()), "clickhouse.url");
        assert_eq!(broken_key(|config| config.clickhouse.url = "http://u:p@h".to_owned()), "clickhouse.url");
        assert_eq!(broken_key(|config| config.clickhouse.database = "a-b".to_owned()), "clickhouse.database");
        assert_eq!(broken_key(|config| config.worker.threads = 0), "worker.threads");
        assert_eq!(broken_key(|config| config.worker.max_poll_interval_ms = 9), "worker.max_poll_interval_ms");
        assert_eq!(broken_key(|config| config.api.latency_min_group_size = 0), "api.latency_min_group_size");
        assert_eq!(broken_key(|config| config.api.development_tokens = true), "api.development_tokens");
        for niceness in [-21, 20] {
            let broken = broken_key(|config| config.api.query.thread_niceness = niceness);
            assert_eq!(broken, "api.query.thread_niceness");
            let broken = broken_key(|config| config.clickhouse.insert_niceness = niceness);
            assert_eq!(broken, "clickhouse.insert_niceness");
        }
        assert_eq!(broken_key(|config| config.api.max_concurrent_statements = 0), "api.max_concurrent_statements");
        assert_eq!(broken_key(|config| config.api.timeout_ms = 7_999), "api.query.max_execution_time_ms");
        assert_eq!(broken_key(|config| config.api.what_if.timeout_ms = 25_001), "api.what_if.timeout_ms");
        assert_eq!(broken_key(|config| config.api.what_if.max_concurrent = 0), "api.what_if.max_concurrent");
        assert_eq!(broken_key(|config| config.api.what_if.max_records = 0), "api.what_if.max_records");
        assert_eq!(broken_key(|config| config.api.what_if.max_state_bytes = 0), "api.what_if.max_state_bytes");
        assert_eq!(broken_key(|config| config.api.export.at_once = 0), "api.export.at_once");
        assert_eq!(broken_key(|config| config.api.export.at_once_per_app = 5), "api.export.at_once_per_app");
        let unbounded = |config: &mut Config| config.api.export.max_execution_time_ms = 0;
        assert_eq!(broken_key(unbounded), "api.export.max_execution_time_ms");
        assert_eq!(broken_key(|config| config.api.rate_limit_burst = 0), "api.rate_limit_burst");
        assert_eq!(broken_key(|config| config.api.app_rate_limit_burst = 0), "api.app_rate_limit_burst");
        assert_eq!(broken_key(|config| config.api.cors_origin = "a b".to_owned()), "api.cors_origin");
    }

    #[test]
    fn properties_that_counting_stands_on_are_fixed() {
        for (names, _) in FIXED_PROPERTIES {
            for name in names {
                let overridden = |config: &mut Config| {
                    config.kafka.properties.insert((*name).to_owned(), "true".to_owned());
                };
                assert_eq!(broken_key(overridden), format!("kafka.properties.{name}"));
            }
        }
        let mut config = Config::default();
        config.kafka.properties.insert("linger.ms".to_owned(), "1".to_owned());
        config.check().unwrap();
    }
}
