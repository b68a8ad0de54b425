//! The page: endpoints by tag, then schemas.

use askama::Template;
use serde_json::Value;

use super::operation::OperationView;
use super::schema::{Line, NamedSchema, Piece, prose};

/// The whole page.
#[derive(Clone, Debug, Template)]
#[template(path = "docs.html")]
pub(super) struct Page<'a> {
    style: &'a str,
    title: String,
    version: String,
    description: Line,
    sections: Vec<Section>,
    schemas: Vec<NamedSchema>,
}

/// The endpoints of a tag.
#[derive(Clone, Debug)]
struct Section {
    name: String,
    meaning: Line,
    operations: Vec<OperationView>,
}

impl<'a> Page<'a> {
    /// Of a description, in a style.
    pub(super) fn of(document: &Value, style: &'a str) -> Self {
        let info = |name: &str| {
            document.pointer(&format!("/info/{name}")).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let tags = document.get("tags").and_then(Value::as_array).into_iter().flatten();
        let schemas = document.pointer("/components/schemas").and_then(Value::as_object).into_iter().flatten();
        Self {
            style,
            title: info("title"),
            version: info("version"),
            description: prose(&info("description")),
            sections: tags.map(|tag| Section::new(tag, document)).collect(),
            schemas: schemas.map(|(name, schema)| NamedSchema::new(name, schema)).collect(),
        }
    }
}

impl Section {
    fn new(tag: &Value, document: &Value) -> Self {
        let text = |name: &str| tag.get(name).and_then(Value::as_str).unwrap_or_default();
        let paths = document.get("paths").and_then(Value::as_object).into_iter().flatten();
        let operations = paths.flat_map(|(path, item)| {
            item.as_object().into_iter().flatten().map(move |(method, operation)| (path, method, operation))
        });
        let is_of_tag = |operation: &Value| operation.pointer("/tags/0").and_then(Value::as_str) == Some(text("name"));
        Self {
            name: text("name").to_owned(),
            meaning: prose(text("description")),
            operations: operations
                .filter(|(_, _, operation)| is_of_tag(operation))
                .map(|(path, method, operation)| OperationView::new(method, path, operation, document))
                .collect(),
        }
    }
}
