//! What can be set, and what it means: read from the schema that is derived from the configuration types, so that no
//! second list can drift from them.

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::{PartialSchema, ToSchema};

use super::Config;

/// One key of the configuration.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    /// Dotted path from the top; items of a list stand under the list's own path.
    pub(super) path: String,
    /// The last part of the path.
    pub(super) name: String,
    /// The field's doc comment.
    pub(super) meaning: String,
    /// What it holds.
    pub(super) kind: Kind,
}

/// What a key holds.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    /// Text; with the words it may be, where those are fixed.
    Text(Vec<String>),
    /// A number or a flag.
    Scalar,
    /// Further keys.
    Table(Vec<Setting>),
    /// A list of tables of these keys.
    List(Vec<Setting>),
    /// Free names with a text each.
    Map,
}

/// All keys, in alphabetical order on every level.
pub(super) fn settings() -> Vec<Setting> {
    let mut named_schemas = Vec::new();
    Config::schemas(&mut named_schemas);
    let definitions = named_schemas
        .into_iter()
        .filter_map(|(name, schema)| Some((name, serde_json::to_value(schema).ok()?)))
        .collect::<BTreeMap<String, Value>>();
    let root = serde_json::to_value(Config::schema()).unwrap_or_default();
    keys_of(&root, "", &definitions)
}

fn keys_of(schema: &Value, parent: &str, definitions: &BTreeMap<String, Value>) -> Vec<Setting> {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return Vec::new() };
    properties
        .iter()
        .map(|(name, property)| {
            let path = if parent.is_empty() { name.clone() } else { format!("{parent}.{name}") };
            let meaning = property.get("description").and_then(Value::as_str).unwrap_or_default().to_owned();
            let kind = kind_of(resolve(property, definitions), &path, definitions);
            Setting { path, name: name.clone(), meaning, kind }
        })
        .collect()
}

fn kind_of(schema: &Value, path: &str, definitions: &BTreeMap<String, Value>) -> Kind {
    match schema.get("type").and_then(Value::as_str) {
        Some("object") if schema.get("properties").is_some() => Kind::Table(keys_of(schema, path, definitions)),
        Some("object") => Kind::Map,
        Some("array") => {
            let item = schema.get("items").map_or(&Value::Null, |item| resolve(item, definitions));
            Kind::List(keys_of(item, path, definitions))
        }
        Some("string") => {
            let words = schema.get("enum").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            Kind::Text(words.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        }
        _ => Kind::Scalar,
    }
}

fn resolve<'a>(schema: &'a Value, definitions: &'a BTreeMap<String, Value>) -> &'a Value {
    schema
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|reference| reference.rsplit('/').next())
        .and_then(|name| definitions.get(name))
        .unwrap_or(schema)
}

/// The known path that looks most like `path`.
pub(super) fn nearest_path(path: &str, settings: &[Setting]) -> String {
    all_paths(settings)
        .into_iter()
        .max_by(|left, right| likeness(path, left).total_cmp(&likeness(path, right)))
        .unwrap_or_default()
}

/// A key under the wrong table is as likely a mistake as a misspelt one, so the last parts alone count too.
fn likeness(given: &str, known: &str) -> f64 {
    let last_part = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    let whole = strsim::normalized_damerau_levenshtein(given, known);
    let last = strsim::normalized_damerau_levenshtein(&last_part(given), &last_part(known));
    whole + last / 2.0
}

fn all_paths(settings: &[Setting]) -> Vec<String> {
    let mut paths = Vec::new();
    for setting in settings {
        paths.push(setting.path.clone());
        if let Kind::Table(keys) | Kind::List(keys) = &setting.kind {
            paths.extend(all_paths(keys));
        }
    }
    paths
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn assert_documented(settings: &[Setting]) {
        assert!(!settings.is_empty());
        for setting in settings {
            assert!(!setting.meaning.trim().is_empty(), "`{}` has no doc comment", setting.path);
            if let Kind::Table(keys) | Kind::List(keys) = &setting.kind {
                assert_documented(keys);
            }
        }
    }

    #[test]
    fn every_key_has_a_meaning() {
        assert_documented(&settings());
    }

    #[test]
    fn every_key_of_the_default_configuration_is_known() {
        fn paths_of(value: &Value, parent: &str, paths: &mut Vec<String>) {
            for (name, child) in value.as_object().into_iter().flatten() {
                let path = if parent.is_empty() { name.clone() } else { format!("{parent}.{name}") };
                paths_of(child, &path, paths);
                paths.push(path);
            }
        }
        let mut expected = Vec::new();
        paths_of(&serde_json::to_value(Config::default()).unwrap(), "", &mut expected);
        let known = all_paths(&settings());
        for path in expected {
            assert!(known.contains(&path), "`{path}` is missing");
        }
        assert!(known.contains(&"auth.tokens.role".to_owned()));
    }

    #[test]
    fn the_nearest_key_is_found_for_misspelt_and_misplaced_ones() {
        let settings = settings();
        for (given, nearest) in [
            ("kafka.broker", "kafka.brokers"),
            ("kafka.topics.event", "kafka.topics.events"),
            ("clickhous", "clickhouse"),
            ("worker.flush_interval", "worker.flush_interval_ms"),
            ("worker.brokers", "kafka.brokers"),
            ("auth.tokens.rol", "auth.tokens.role"),
        ] {
            assert_eq!(nearest_path(given, &settings), nearest);
        }
    }
}
