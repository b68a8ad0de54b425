//! Reading: the file, then the environment over it, then the checks.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::Config;
use super::settings::{Kind, Setting, nearest_path, settings};

/// Prefix of the variables that set keys; two underscores stand between the levels.
const VARIABLE_PREFIX: &str = "SEENBY__";

/// Why there is no configuration to work with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file named by `--config` cannot be read.
    #[error("cannot read the configuration file {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file or a variable is not TOML.
    #[error("{origin} is not valid TOML: {source}")]
    Syntax {
        /// The file or the variable.
        origin: String,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// No such key.
    #[error("unknown key `{key}` in {origin}; the nearest key is `{nearest}`, and `seenby config` lists all of them")]
    UnknownKey {
        /// The key as given.
        key: String,
        /// The file or the variable.
        origin: String,
        /// The known key that looks most like it.
        nearest: String,
    },
    /// A key holds a value of the wrong kind.
    #[error("a value of the configuration is of the wrong kind: {0}")]
    WrongKind(#[source] Box<toml::de::Error>),
    /// A value breaks a rule.
    #[error("configuration key `{key}` {rule}")]
    Invalid {
        /// The key.
        key: String,
        /// The rule, as the end of a sentence that begins with the key.
        rule: String,
    },
}

impl Config {
    /// Reads the file, where one is given, and the process's environment over it, and checks the result.
    ///
    /// # Errors
    /// Any [`ConfigError`]; the message names the key and the rule.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let text = match file {
            None => None,
            Some(path) => Some((
                path.display().to_string(),
                std::fs::read_to_string(path)
                    .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?,
            )),
        };
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())));
        Self::merge(text.as_ref().map(|(name, text)| (name.as_str(), text.as_str())), variables)
    }

    /// [`Config::load`] without the file system and the process's environment: a file's name and text, and variables.
    ///
    /// # Errors
    /// As [`Config::load`], but for unreadable files.
    pub fn merge(
        file: Option<(&str, &str)>,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let settings = settings();
        let mut table = Table::new();
        if let Some((name, text)) = file {
            let reader = Reader { settings: &settings, origin: format!("configuration file {name}") };
            table = text.parse().map_err(|source| reader.syntax_error(source))?;
            reader.normalise(&mut table, "", &settings)?;
        }
        for (name, value) in variables {
            let Some(path) = name.strip_prefix(VARIABLE_PREFIX) else { continue };
            let reader = Reader { settings: &settings, origin: format!("environment variable {name}") };
            let lower_case_path = path.to_lowercase();
            let parts = lower_case_path.split("__").collect::<Vec<_>>();
            let mut from_variable = reader.variable(&parts, &parts, &value, &settings)?;
            reader.normalise(&mut from_variable, "", &settings)?;
            overlay(&mut table, from_variable);
        }
        let config = Self::deserialize_table(table)?;
        config.check()?;
        Ok(config)
    }

    fn deserialize_table(table: Table) -> Result<Self, ConfigError> {
        Value::Table(table).try_into().map_err(|source| ConfigError::WrongKind(Box::new(source)))
    }
}

/// Reads one source: a file or a variable.
struct Reader<'a> {
    /// Every key there is.
    settings: &'a [Setting],
    /// The source's name in messages.
    origin: String,
}

impl Reader<'_> {
    /// The table that a variable stands for. Text is taken as it is, so that a password of digits stays a text; all
    /// else is TOML.
    fn variable(
        &self,
        parts: &[&str],
        all_parts: &[&str],
        value: &str,
        level: &[Setting],
    ) -> Result<Table, ConfigError> {
        let unknown_key = || self.unknown_key(&all_parts.join("."));
        let (name, rest) = parts.split_first().ok_or_else(unknown_key)?;
        let setting = level.iter().find(|setting| setting.name == *name).ok_or_else(unknown_key)?;
        let inner = match &setting.kind {
            Kind::Text(_) if rest.is_empty() => Value::String(value.to_owned()),
            _ if rest.is_empty() => value.parse().map_err(|source| self.syntax_error(source))?,
            Kind::Table(keys) => Value::Table(self.variable(rest, all_parts, value, keys)?),
            // The names of librdkafka's properties have dots, which most shells refuse in a variable's name.
            Kind::Map => {
                let property = rest.join("__").replace('_', ".");
                Value::Table(Table::from_iter([(property, Value::String(value.to_owned()))]))
            }
            _ => return Err(unknown_key()),
        };
        Ok(Table::from_iter([((*name).to_owned(), inner)]))
    }

    /// Refuses keys that do not exist, and brings maps into the form `name = "text"`.
    fn normalise(&self, table: &mut Table, parent: &str, level: &[Setting]) -> Result<(), ConfigError> {
        for (name, value) in table.iter_mut() {
            let path = if parent.is_empty() { name.clone() } else { format!("{parent}.{name}") };
            let setting = level.iter().find(|setting| setting.name == *name).ok_or_else(|| self.unknown_key(&path))?;
            match (&setting.kind, value) {
                (Kind::Table(keys), Value::Table(inner)) => self.normalise(inner, &path, keys)?,
                (Kind::List(keys), Value::Array(items)) => {
                    for item in items.iter_mut().filter_map(Value::as_table_mut) {
                        self.normalise(item, &path, keys)?;
                    }
                }
                (Kind::Map, Value::Table(inner)) => *inner = flat_text_map(inner, ""),
                // Another kind than expected is told by the deserializer, which names key and kind.
                _ => {}
            }
        }
        Ok(())
    }

    fn unknown_key(&self, key: &str) -> ConfigError {
        ConfigError::UnknownKey {
            key: key.to_owned(),
            origin: self.origin.clone(),
            nearest: nearest_path(key, self.settings),
        }
    }

    fn syntax_error(&self, source: toml::de::Error) -> ConfigError {
        ConfigError::Syntax { origin: self.origin.clone(), source: Box::new(source) }
    }
}

/// `security.protocol = "SSL"` without quotes is a table in a table to TOML, and `linger.ms = 5` a number; both mean a
/// property's name and text.
fn flat_text_map(table: &Table, parent: &str) -> Table {
    let mut flat = Table::new();
    for (name, value) in table {
        let path = if parent.is_empty() { name.clone() } else { format!("{parent}.{name}") };
        match value {
            Value::Table(inner) => flat.extend(flat_text_map(inner, &path)),
            Value::Integer(_) | Value::Float(_) | Value::Boolean(_) => {
                flat.insert(path, Value::String(value.to_string()));
            }
            _ => {
                flat.insert(path, value.clone());
            }
        }
    }
    flat
}

/// Lays one table over another; what is no table is replaced.
fn overlay(under: &mut Table, over: Table) {
    for (name, value) in over {
        match (under.get_mut(&name), value) {
            (Some(Value::Table(inner_under)), Value::Table(inner_over)) => overlay(inner_under, inner_over),
            (_, value) => {
                under.insert(name, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::config::{Delivery, TokenRole};

    fn from_file(text: &str) -> Result<Config, ConfigError> {
        Config::merge(Some(("seenby.toml", text)), [])
    }

    fn from_variables(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::merge(None, variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn defaults_hold_where_nothing_is_said() {
        let config = from_file("").unwrap();
        assert_eq!(config.kafka.topics.events, "seenby.events");
        assert_eq!(config.worker.delivery, Delivery::ExactlyOnce);
    }

    #[test]
    fn the_environment_stands_over_the_file() {
        let file = "[kafka]\nbrokers = \"a:1\"\ngroup = \"g\"\n[worker]\nthreads = 2\n";
        let variables = [("SEENBY__KAFKA__BROKERS", "b:2"), ("SEENBY__WORKER__THREADS", "3"), ("HOME", "/")];
        let config =
            Config::merge(Some(("f", file)), variables.map(|(name, value)| (name.to_owned(), value.to_owned())))
                .unwrap();
        assert_eq!(config.kafka.brokers, "b:2");
        assert_eq!(config.kafka.group, "g");
        assert_eq!(config.worker.threads, 3);
    }

    #[test]
    fn a_password_of_digits_in_a_variable_is_text() {
        let config = from_variables(&[("SEENBY__CLICKHOUSE__PASSWORD", "0042")]).unwrap();
        assert_eq!(config.clickhouse.password.expose(), "0042");
    }

    #[test]
    fn properties_of_librdkafka_are_taken_in_every_spelling() {
        let config = from_file("[kafka.properties]\n\"linger.ms\" = 5\nsecurity.protocol = \"ssl\"\n").unwrap();
        assert_eq!(config.kafka.properties.get("linger.ms").unwrap(), "5");
        assert_eq!(config.kafka.properties.get("security.protocol").unwrap(), "ssl");
        let config = from_variables(&[("SEENBY__KAFKA__PROPERTIES__SASL_PASSWORD", "12")]).unwrap();
        assert_eq!(config.kafka.properties.get("sasl.password").unwrap(), "12");
        let config = from_variables(&[("SEENBY__KAFKA__PROPERTIES", "{\"linger.ms\" = 7}")]).unwrap();
        assert_eq!(config.kafka.properties.get("linger.ms").unwrap(), "7");
    }

    #[test]
    fn tokens_come_from_file_or_variable() {
        let inline = r#"[{app = "o#a", subject = "s", role = "service", token = "secret"}]"#;
        let config = from_variables(&[("SEENBY__AUTH__TOKENS", inline)]).unwrap();
        assert_eq!(config.auth.tokens.first().unwrap().role, TokenRole::Service);
        let file = "[[auth.tokens]]\napp = \"o#a\"\nsubject = \"s\"\nrole = \"user\"\ntoken = \"t\"\n";
        assert_eq!(from_file(file).unwrap().auth.tokens.first().unwrap().token.expose(), "t");
    }

    #[test]
    fn unknown_keys_name_the_nearest_one() {
        for (text, key, nearest) in [
            ("[kafka]\nbroker = \"a\"", "kafka.broker", "kafka.brokers"),
            ("[kafak]\nbrokers = \"a\"", "kafak", "kafka"),
            ("[[auth.tokens]]\nsubjekt = \"a\"", "auth.tokens.subjekt", "auth.tokens.subject"),
        ] {
            let message = from_file(text).unwrap_err().to_string();
            assert!(message.contains(&format!("unknown key `{key}`")), "{message}");
            assert!(message.contains(&format!("nearest key is `{nearest}`")), "{message}");
        }
        let message = from_variables(&[("SEENBY__API__LISTNE", "x")]).unwrap_err().to_string();
        assert!(message.contains("SEENBY__API__LISTNE") && message.contains("`api.listen`"), "{message}");
        let message = from_variables(&[("SEENBY__API__LISTEN__PORT", "1")]).unwrap_err().to_string();
        assert!(message.contains("unknown key `api.listen.port`"), "{message}");
    }

    #[test]
    fn a_value_of_the_wrong_kind_names_its_key() {
        let message = from_file("[kafka]\nepoch = \"one\"").unwrap_err().to_string();
        assert!(message.contains("epoch"), "{message}");
        let message = from_variables(&[("SEENBY__KAFKA__EPOCH", "one")]).unwrap_err().to_string();
        assert!(message.contains("SEENBY__KAFKA__EPOCH"), "{message}");
    }
}
