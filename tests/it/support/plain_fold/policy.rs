//! Section 3, as the plain fold reads it.

use chrono::{DateTime, NaiveDate};
use chrono_tz::Tz;
use serde_json::Value;

/// One version of an app's policy.
#[derive(Clone, Debug)]
pub struct PlainPolicy {
    pub version: u64,
    pub effective_from: i64,
    pub open: bool,
    pub senders: String,
    pub unknown_sender: String,
    pub group_validity_days: i64,
    pub readers_per_message: usize,
    pub messages_per_day: u64,
    pub timezone: Tz,
    pub single_validity_days: i64,
    pub parking_hours: i64,
    pub notify: bool,
}

impl Default for PlainPolicy {
    fn default() -> Self {
        Self {
            version: 0,
            effective_from: 0,
            open: false,
            senders: "admins".to_owned(),
            unknown_sender: "member".to_owned(),
            group_validity_days: 3,
            readers_per_message: 500,
            messages_per_day: 500,
            timezone: Tz::UTC,
            single_validity_days: 7,
            parking_hours: 24,
            notify: true,
        }
    }
}

impl PlainPolicy {
    /// From a control record's fields; `None` where a field is unknown, null or out of range.
    pub fn read(record: &serde_json::Map<String, Value>, version: u64) -> Option<Self> {
        let mut policy = Self { version, effective_from: i64::try_from(version).ok()?, ..Self::default() };
        for (name, value) in record {
            match name.as_str() {
                "type" | "app" | "version" => {}
                "effective_from" => policy.effective_from = number(value, 0, 4_102_444_799_999)?,
                "parking_hours" => policy.parking_hours = number(value, 0, i64::from(u32::MAX))?,
                "notify" => policy.notify = value.as_bool()?,
                "group" => {
                    for (name, value) in value.as_object()? {
                        policy.read_group(name, value)?;
                    }
                }
                "single" => {
                    for (name, value) in value.as_object()? {
                        match name.as_str() {
                            "validity_days" => policy.single_validity_days = number(value, 1, 90)?,
                            _ => return None,
                        }
                    }
                }
                _ => return None,
            }
        }
        Some(policy)
    }

    fn read_group(&mut self, name: &str, value: &Value) -> Option<()> {
        match name {
            "open" => self.open = value.as_bool()?,
            "senders" => self.senders = one_of(value, &["admins", "members"])?,
            "unknown_sender" => self.unknown_sender = one_of(value, &["member", "allow"])?,
            "validity_days" => self.group_validity_days = number(value, 1, 90)?,
            "readers_per_message" => {
                self.readers_per_message = usize::try_from(number(value, 1, i64::from(u32::MAX))?).ok()?;
            }
            "messages_per_day" => {
                self.messages_per_day = u64::try_from(number(value, 0, i64::from(u32::MAX))?).ok()?;
            }
            "timezone" => self.timezone = value.as_str()?.parse().ok()?,
            "viewers" => drop(one_of(value, &["sender", "members", "app"])?),
            _ => return None,
        }
        Some(())
    }

    /// The date of an instant on the clocks of the policy's zone, in days since 1970.
    pub fn local_day(&self, at: i64) -> i64 {
        let local = DateTime::from_timestamp_millis(at).unwrap().with_timezone(&self.timezone);
        (local.date_naive() - NaiveDate::default()).num_days()
    }
}

fn number(value: &Value, least: i64, most: i64) -> Option<i64> {
    value.as_i64().filter(|number| (least..=most).contains(number))
}

fn one_of(value: &Value, names: &[&str]) -> Option<String> {
    value.as_str().filter(|name| names.contains(name)).map(str::to_owned)
}
