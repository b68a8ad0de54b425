//! Printing: every key with its meaning and the value in force, as TOML that can be read back where it holds no
//! secret: a masked one is refused, as it would be taken for the secret itself.

use std::fmt::Write as _;

use toml::{Table, Value};

use super::Config;
use super::settings::{Kind, Setting, settings};

/// The widest line of a comment.
const COMMENT_WIDTH: usize = 100;

impl Config {
    /// The configuration in force as TOML: every key under a comment with its meaning, secrets masked.
    pub fn to_documented_toml(&self) -> String {
        let mut text = String::from(
            "# The configuration in force. Variables of the environment stand over the file: kafka.brokers is\n\
             # SEENBY__KAFKA__BROKERS. Secrets are masked: put them in again to use this as a file.\n",
        );
        // A type of plain fields always serialises; an empty table would still list every key.
        let values = Table::try_from(self).unwrap_or_default();
        write_table(&mut text, &settings(), &values);
        text
    }
}

/// Keys with values come before tables, as TOML would count them to the table above otherwise.
fn write_table(text: &mut String, keys: &[Setting], values: &Table) {
    let is_plain = |setting: &&Setting| matches!(setting.kind, Kind::Text(_) | Kind::Scalar);
    for setting in keys.iter().filter(is_plain) {
        write_meaning(text, setting);
        let value = values.get(&setting.name).cloned().unwrap_or_else(|| Value::String(String::new()));
        line(text, &format!("{} = {value}", setting.name));
    }
    for setting in keys.iter().filter(|setting| !is_plain(setting)) {
        let value = values.get(&setting.name);
        text.push('\n');
        write_meaning(text, setting);
        match &setting.kind {
            Kind::Table(inner_keys) => {
                line(text, &format!("[{}]", setting.path));
                write_table(text, inner_keys, value.and_then(Value::as_table).unwrap_or(&Table::new()));
            }
            Kind::List(item_keys) => {
                let items = value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
                write_list(text, setting, item_keys, items);
            }
            _ => {
                line(text, &format!("[{}]", setting.path));
                write_map(text, value.and_then(Value::as_table).unwrap_or(&Table::new()));
            }
        }
    }
}

fn write_list(text: &mut String, list: &Setting, item_keys: &[Setting], items: &[Value]) {
    line(text, "# Each entry has these keys:");
    for key in item_keys {
        line(text, &format!("#   {}: {}{}", key.name, one_line(&key.meaning), words_of(key)));
    }
    for item in items {
        line(text, &format!("[[{}]]", list.path));
        for key in item_keys {
            if let Some(value) = item.get(&key.name) {
                line(text, &format!("{} = {value}", key.name));
            }
        }
    }
}

fn write_map(text: &mut String, map: &Table) {
    for (name, value) in map {
        line(text, &format!("{} = {value}", Value::String(name.clone())));
    }
}

fn write_meaning(text: &mut String, setting: &Setting) {
    let meaning = format!("{}{}", one_line(&setting.meaning), words_of(setting));
    let mut comment = String::from("#");
    for word in meaning.split_whitespace() {
        if comment.len() + 1 + word.len() > COMMENT_WIDTH {
            line(text, &comment);
            comment = String::from("#");
        }
        comment.push(' ');
        comment.push_str(word);
    }
    line(text, &comment);
}

fn words_of(setting: &Setting) -> String {
    match &setting.kind {
        Kind::Text(words) if !words.is_empty() => format!(" One of: {}.", words.join(", ")),
        _ => String::new(),
    }
}

fn one_line(meaning: &str) -> String {
    meaning.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn line(text: &mut String, content: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{content}");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::config::secret::MASK;
    use crate::config::{Secret, TokenConfig, TokenRole};

    #[test]
    fn what_is_printed_reads_back_as_the_same_configuration() {
        let mut config = Config::default();
        config.kafka.properties.insert("linger.ms".to_owned(), "5".to_owned());
        config.clickhouse.user = "a \"quoted\" name".to_owned();
        let printed = config.to_documented_toml();
        let read_back = Config::merge(Some(("printed", &printed)), []).unwrap();
        assert_eq!(Table::try_from(&read_back).unwrap(), Table::try_from(&config).unwrap());
    }

    #[test]
    fn every_key_is_printed_with_its_meaning() {
        fn assert_printed(printed: &str, keys: &[Setting]) {
            for setting in keys {
                match &setting.kind {
                    Kind::Table(inner) => {
                        assert!(printed.contains(&format!("[{}]", setting.path)));
                        assert_printed(printed, inner);
                    }
                    Kind::List(inner) => {
                        for key in inner {
                            assert!(printed.contains(&format!("#   {}: {}", key.name, one_line(&key.meaning))));
                        }
                    }
                    Kind::Map => assert!(printed.contains(&format!("[{}]", setting.path))),
                    Kind::Text(_) | Kind::Scalar => assert!(printed.contains(&format!("\n{} = ", setting.name))),
                }
            }
        }
        let printed = Config::default().to_documented_toml();
        assert_printed(&printed, &settings());
        assert!(printed.contains("# Bootstrap servers, `host:port` separated by commas.\nbrokers = "), "{printed}");
    }

    #[test]
    fn secrets_are_masked_in_print_and_debug_output() {
        let mut config = Config::default();
        config.clickhouse.password = Secret::new("hunter2");
        for property in ["sasl.password", "ssl.key.password", "SSL.Private.Key.Passphrase", "ssl.private.key.x"] {
            config.kafka.properties.insert(property.to_owned(), "hunter2".to_owned());
        }
        config.auth.tokens.push(TokenConfig::new("o#a", "s", TokenRole::Admin, "hunter2"));
        config.auth.jwt.hs256_secret = Secret::new("hunter2");
        let printed = config.to_documented_toml();
        assert!(!printed.contains("hunter2"), "{printed}");
        assert_eq!(printed.matches(MASK).count(), 7, "{printed}");
        assert!(!format!("{config:?}").contains("hunter2"));
        assert!(!serde_json::to_string(&config).unwrap().contains("hunter2"));
    }
}
