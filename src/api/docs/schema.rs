//! What a schema says, in words; and a value that keeps to it.

use serde_json::{Map, Value, json};

/// A piece of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Words.
    Text(String),
    /// What is typed or sent.
    Code(String),
    /// Name of a schema.
    Schema(String),
}

/// A line of pieces.
pub(super) type Line = Vec<Piece>;

/// A field of an object.
#[derive(Clone, Debug)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) is_required: bool,
    pub(super) kind: Line,
    pub(super) rules: Line,
    pub(super) meaning: Line,
}

/// A schema by name.
#[derive(Clone, Debug)]
pub(super) struct NamedSchema {
    pub(super) name: String,
    pub(super) kind: Line,
    pub(super) rules: Line,
    pub(super) meaning: Line,
    pub(super) fields: Vec<Field>,
    /// The schemas of which it is one, or that it has all the fields of.
    pub(super) variants: Vec<NamedSchema>,
}

impl NamedSchema {
    pub(super) fn new(name: &str, schema: &Value) -> Self {
        let variants = ["oneOf", "anyOf", "allOf"].into_iter().filter_map(|of| schema.get(of)?.as_array()).flatten();
        Self {
            name: name.to_owned(),
            kind: kind_of(schema),
            rules: rules_of(schema),
            meaning: meaning_of(schema),
            fields: fields_of(schema),
            variants: variants.map(|variant| Self::new("", variant)).collect(),
        }
    }
}

fn fields_of(schema: &Value) -> Vec<Field> {
    let required = strings(schema, "required");
    let properties = schema.get("properties").and_then(Value::as_object);
    let field = |(name, property): (&String, &Value)| Field {
        name: name.clone(),
        is_required: required.contains(&name.as_str()),
        kind: kind_of(property),
        rules: rules_of(property),
        meaning: meaning_of(property),
    };
    properties.into_iter().flatten().map(field).collect()
}

/// Its description; of one that may be null that of the other.
pub(super) fn meaning_of(schema: &Value) -> Line {
    let own = schema.get("description").and_then(Value::as_str);
    let of_part = || schema.get("oneOf")?.as_array()?.iter().find_map(|part| part.get("description")?.as_str());
    prose(own.or_else(of_part).unwrap_or_default())
}

/// Words, of which those between backticks are code.
pub(super) fn prose(text: &str) -> Line {
    let piece = |(index, part): (usize, &str)| match index % 2 {
        0 => Piece::Text(part.to_owned()),
        _ => Piece::Code(part.to_owned()),
    };
    text.split('`').enumerate().map(piece).filter(|piece| *piece != Piece::Text(String::new())).collect()
}

/// What kind of value it is.
pub(super) fn kind_of(schema: &Value) -> Line {
    if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
        return vec![Piece::Schema(name.rsplit('/').next().unwrap_or(name).to_owned())];
    }
    if let Some(parts) = schema.get("allOf").and_then(Value::as_array) {
        return joined(parts, " with ");
    }
    if let Some(parts) = schema.get("oneOf").or_else(|| schema.get("anyOf")).and_then(Value::as_array) {
        return joined(parts, " or ");
    }
    let mut line = Line::new();
    for (index, kind) in types_of(schema).into_iter().enumerate() {
        if index > 0 {
            line.push(Piece::Text(" or ".to_owned()));
        }
        line.push(Piece::Text(if kind == "array" { "list of ".to_owned() } else { kind.to_owned() }));
        if kind == "array" {
            line.extend(schema.get("items").map(kind_of).unwrap_or_default());
        }
        if let Some(values) = schema.get("additionalProperties").filter(|values| kind == "object" && values.is_object())
        {
            line.push(Piece::Text(" of ".to_owned()));
            line.extend(kind_of(values));
        }
    }
    line
}

fn joined(parts: &[Value], word: &str) -> Line {
    let mut line = Line::new();
    for part in parts {
        if !line.is_empty() {
            line.push(Piece::Text(word.to_owned()));
        }
        line.extend(kind_of(part));
    }
    line
}

fn types_of(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(kind)) => vec![kind],
        Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

/// What else it keeps to.
pub(super) fn rules_of(schema: &Value) -> Line {
    let mut rules: Vec<Line> = Vec::new();
    let words = schema.get("enum").and_then(Value::as_array);
    if let Some(words) = words {
        let mut line = Line::new();
        for word in words {
            let between = if line.is_empty() { "one of " } else { ", " };
            line.extend([Piece::Text(between.to_owned()), Piece::Code(spelled(word))]);
        }
        rules.push(line);
    }
    let number = |name: &str| schema.get(name).map(Value::to_string);
    for (least, most, unit) in
        [("minimum", "maximum", ""), ("minLength", "maxLength", " characters"), ("minItems", "maxItems", " items")]
    {
        let rule = match (number(least), number(most)) {
            (Some(least), Some(most)) if least == most => format!("{least}{unit}"),
            (Some(least), Some(most)) => format!("{least} to {most}{unit}"),
            (Some(least), None) => format!("at least {least}{unit}"),
            (None, Some(most)) => format!("at most {most}{unit}"),
            (None, None) => continue,
        };
        rules.push(vec![Piece::Text(rule)]);
    }
    for (name, word) in
        [("format", "format "), ("pattern", "pattern "), ("default", "default "), ("example", "such as ")]
    {
        if let Some(value) = schema.get(name) {
            rules.push(vec![Piece::Text(word.to_owned()), Piece::Code(spelled(value))]);
        }
    }
    rules.join(&Piece::Text("; ".to_owned()))
}

fn spelled(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn strings<'a>(schema: &'a Value, name: &str) -> Vec<&'a str> {
    schema.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

/// A value that keeps to a schema: its example, its default, or the plainest one, of an object with what it must have.
pub(super) fn sample(schema: &Value, document: &Value) -> Value {
    if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
        let named = document.pointer(name.trim_start_matches('#')).unwrap_or(&Value::Null);
        return sample(named, document);
    }
    if let Some(value) = schema.get("example").or_else(|| schema.get("default")) {
        return value.clone();
    }
    if let Some(word) = schema.get("enum").and_then(Value::as_array).and_then(|words| words.first()) {
        return word.clone();
    }
    match types_of(schema).first().copied() {
        Some("object") => {
            let required = strings(schema, "required");
            let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
            let asked = properties.filter(|(name, _)| required.contains(&name.as_str()));
            Value::Object(
                asked.map(|(name, property)| (name.clone(), sample(property, document))).collect::<Map<_, _>>(),
            )
        }
        Some("array") => schema.get("items").map_or_else(|| json!([]), |items| json!([sample(items, document)])),
        Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or_else(|| json!(1)),
        Some("boolean") => json!(true),
        _ => json!("…"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &[Piece]) -> String {
        let word = |piece: &Piece| match piece {
            Piece::Text(text) | Piece::Code(text) | Piece::Schema(text) => text.clone(),
        };
        line.iter().map(word).collect()
    }

    #[test]
    fn a_schema_is_told_in_words() {
        for (schema, kind, rules) in [
            (
                json!({"type": "integer", "minimum": 1, "maximum": 500, "default": 100}),
                "integer",
                "1 to 500; default 100",
            ),
            (json!({"type": ["string", "null"], "format": "date"}), "string or null", "format date"),
            (
                json!({"type": "array", "items": {"$ref": "#/components/schemas/Id"}, "maxItems": 2}),
                "list of Id",
                "at most 2 items",
            ),
            (json!({"oneOf": [{"$ref": "#/components/schemas/AsOf"}, {"type": "null"}]}), "AsOf or null", ""),
            (json!({"type": "string", "enum": ["a", "b"]}), "string", "one of a, b"),
            (json!({"type": "object", "additionalProperties": {"type": "boolean"}}), "object of boolean", ""),
        ] {
            assert_eq!((words(&kind_of(&schema)), words(&rules_of(&schema))), (kind.to_owned(), rules.to_owned()));
        }
        assert_eq!(
            prose("a `b` c"),
            [Piece::Text("a ".to_owned()), Piece::Code("b".to_owned()), Piece::Text(" c".to_owned()),]
        );
    }

    #[test]
    fn a_sample_has_what_must_be_there() {
        let document = json!({"components": {"schemas": {"Word": {"type": "string", "enum": ["one", "two"]}}}});
        let schema = json!({"type": "object", "required": ["a", "b"], "properties": {
            "a": {"$ref": "#/components/schemas/Word"},
            "b": {"type": "array", "items": {"type": "integer", "minimum": 3}},
            "c": {"type": "string"},
        }});
        assert_eq!(sample(&schema, &document), json!({"a": "one", "b": [3]}));
    }
}
