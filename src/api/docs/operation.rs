//! One endpoint on the page.

use serde_json::Value;

use super::schema::{Line, kind_of, meaning_of, prose, rules_of, sample};

/// An endpoint.
#[derive(Clone, Debug)]
pub(super) struct OperationView {
    pub(super) id: String,
    /// In capitals.
    pub(super) method: String,
    pub(super) path: String,
    /// The first sentences.
    pub(super) summary: Line,
    /// Whatever follows them.
    pub(super) details: Line,
    pub(super) needs_token: bool,
    pub(super) parameters: Vec<ParameterView>,
    pub(super) body: Option<BodyView>,
    pub(super) responses: Vec<ResponseView>,
    /// A command to copy.
    pub(super) curl: String,
}

/// A parameter.
#[derive(Clone, Debug)]
pub(super) struct ParameterView {
    pub(super) name: String,
    /// `path`, `query` or `header`.
    pub(super) place: String,
    pub(super) is_required: bool,
    pub(super) kind: Line,
    pub(super) rules: Line,
    pub(super) meaning: Line,
}

/// What is sent along.
#[derive(Clone, Debug)]
pub(super) struct BodyView {
    pub(super) media_type: String,
    pub(super) kind: Line,
    pub(super) meaning: Line,
}

/// What is answered.
#[derive(Clone, Debug)]
pub(super) struct ResponseView {
    pub(super) status: String,
    /// `good`, `same` or `refused`.
    pub(super) mood: &'static str,
    pub(super) meaning: Line,
    pub(super) contents: Vec<ContentView>,
    pub(super) headers: Vec<HeaderView>,
}

/// A form of an answer.
#[derive(Clone, Debug)]
pub(super) struct ContentView {
    pub(super) media_type: String,
    pub(super) kind: Line,
}

/// A header of an answer.
#[derive(Clone, Debug)]
pub(super) struct HeaderView {
    pub(super) name: String,
    pub(super) meaning: Line,
}

impl OperationView {
    pub(super) fn new(method: &str, path: &str, operation: &Value, document: &Value) -> Self {
        let text = |name: &str| operation.get(name).and_then(Value::as_str).unwrap_or_default();
        let parameters = operation.get("parameters").and_then(Value::as_array).into_iter().flatten();
        let responses = operation.get("responses").and_then(Value::as_object).into_iter().flatten();
        Self {
            id: text("operationId").to_owned(),
            method: method.to_uppercase(),
            path: path.to_owned(),
            summary: prose(text("summary")),
            details: prose(text("description")),
            needs_token: operation.get("security").is_some(),
            parameters: parameters.map(ParameterView::new).collect(),
            body: operation.get("requestBody").and_then(BodyView::new),
            responses: responses.map(|(status, response)| ResponseView::new(status, response)).collect(),
            curl: curl(method, path, operation, document),
        }
    }
}

impl ParameterView {
    fn new(parameter: &Value) -> Self {
        let text = |name: &str| parameter.get(name).and_then(Value::as_str).unwrap_or_default();
        let schema = parameter.get("schema").unwrap_or(&Value::Null);
        Self {
            name: text("name").to_owned(),
            place: text("in").to_owned(),
            is_required: is_required(parameter),
            kind: kind_of(schema),
            rules: rules_of(schema),
            meaning: meaning_of(parameter),
        }
    }
}

impl BodyView {
    fn new(body: &Value) -> Option<Self> {
        let (media_type, content) = body.get("content")?.as_object()?.iter().next()?;
        let kind = content.get("schema").map(kind_of).unwrap_or_default();
        Some(Self { media_type: media_type.clone(), kind, meaning: meaning_of(body) })
    }
}

impl ResponseView {
    fn new(status: &str, response: &Value) -> Self {
        let contents = response.get("content").and_then(Value::as_object).into_iter().flatten();
        let headers = response.get("headers").and_then(Value::as_object).into_iter().flatten();
        Self {
            status: status.to_owned(),
            mood: match status.bytes().next() {
                Some(b'2') => "good",
                Some(b'3') => "same",
                _ => "refused",
            },
            meaning: meaning_of(response),
            contents: contents
                .map(|(media_type, content)| ContentView {
                    media_type: media_type.clone(),
                    kind: content.get("schema").map(kind_of).unwrap_or_default(),
                })
                .collect(),
            headers: headers
                .map(|(name, header)| HeaderView { name: name.clone(), meaning: meaning_of(header) })
                .collect(),
        }
    }
}

fn is_required(parameter: &Value) -> bool {
    parameter.get("required") == Some(&Value::Bool(true))
}

/// What stands for the names in paths, as in the examples of docs/api.
const NAMES: &[(&str, &str)] = &[
    ("org", "org"),
    ("app", "app"),
    ("group", "g1"),
    ("message", "m1"),
    ("user", "alice"),
    ("a", "alice"),
    ("b", "bob"),
];

/// A command that asks with what must be given.
fn curl(method: &str, path: &str, operation: &Value, document: &Value) -> String {
    let parameters = || operation.get("parameters").and_then(Value::as_array).into_iter().flatten();
    let required = |place: &'static str| {
        parameters()
            .filter(move |parameter| is_required(parameter) && parameter.get("in").is_some_and(|found| found == place))
            .filter_map(|parameter| Some((parameter.get("name")?.as_str()?, parameter)))
    };
    let value = |parameter: &Value| {
        let example = parameter.get("example").cloned();
        let value = example.unwrap_or_else(|| sample(parameter.get("schema").unwrap_or(&Value::Null), document));
        value.as_str().map_or_else(|| value.to_string(), str::to_owned)
    };

    let mut address = path.to_owned();
    for (name, _) in required("path") {
        let known = NAMES.iter().find(|(known, _)| *known == name).map_or(name, |(_, example)| example);
        address = address.replace(&format!("{{{name}}}"), known);
    }
    for (index, (name, parameter)) in required("query").enumerate() {
        let separator = if index == 0 { '?' } else { '&' };
        address.push_str(&format!("{separator}{name}={}", value(parameter)));
    }
    let mut command = String::from("curl");
    if !matches!(method, "get" | "post") {
        command.push_str(&format!(" -X {}", method.to_uppercase()));
    }
    if operation.get("security").is_some() {
        command.push_str(" -H \"Authorization: Bearer $TOKEN\"");
    }
    for (name, parameter) in required("header") {
        command.push_str(&format!(" -H '{name}: {}'", value(parameter)));
    }
    command.push_str(&format!(" \\\n  \"$SERVER{address}\""));
    let content = operation.pointer("/requestBody/content").and_then(Value::as_object);
    if let Some((media_type, content)) = content.and_then(|contents| contents.iter().next()) {
        let schema = content.get("schema").unwrap_or(&Value::Null);
        let body = content.get("example").cloned().unwrap_or_else(|| sample(schema, document));
        command.push_str(&format!(" \\\n  -H 'Content-Type: {media_type}' -d '{body}'"));
    }
    command
}
