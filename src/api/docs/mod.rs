//! `/docs`: the description as a page for people, made on the server, without a script and without anything from
//! elsewhere.
//!
//! The page is made once, of the very document that `/openapi.json` serves, so that neither can say what the other does
//! not.

mod operation;
mod page;
mod schema;

use std::sync::LazyLock;

use askama::Template as _;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use self::page::Page;
use super::conditional::Unchanging;
use super::error::ApiError;

/// The look of the page, which stands in it.
const STYLE: &str = include_str!("../../../templates/docs.css");

/// The page and its policy.
struct Docs {
    page: Unchanging,
    security_policy: HeaderValue,
}

static DOCS: LazyLock<Option<Docs>> = LazyLock::new(|| {
    let document = serde_json::from_str(&super::openapi_json().ok()?).ok()?;
    let text = Page::of(&document, STYLE).render().ok()?;
    Some(Docs {
        page: Unchanging::new("text/html; charset=utf-8", text),
        security_policy: HeaderValue::from_str(&security_policy()).ok()?,
    })
});

/// Lets the browser do nothing but show the page in its own style.
fn security_policy() -> String {
    let hash = STANDARD.encode(Sha256::digest(STYLE));
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

/// This document as a page for people.
#[utoipa::path(
    get,
    path = "/docs",
    tag = "operation",
    params(("if-none-match" = Option<String>, Header, description = "The tag of the page that the client has.")),
    responses(
        (status = 200, description = "The page.", body = String, content_type = "text/html",
            headers(("etag" = String, description = "Tag of the page."))),
        (status = 304, description = "The page is the one whose tag is in `If-None-Match`."),
    )
)]
pub(crate) async fn docs(request_headers: HeaderMap) -> Result<Response, ApiError> {
    let docs = DOCS.as_ref().ok_or(ApiError::Internal)?;
    let mut response = docs.page.answer(&request_headers);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, docs.security_policy.clone());
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(HeaderName::from_static("referrer-policy"), HeaderValue::from_static("no-referrer"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::Value;

    use super::*;

    fn document() -> Value {
        serde_json::from_str(&crate::api::openapi_json().unwrap()).unwrap()
    }

    fn text() -> String {
        Page::of(&document(), STYLE).render().unwrap()
    }

    /// Every text of the document, at whatever depth, that stands under a name.
    fn texts<'a>(value: &'a Value, name: &str, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get(name).and_then(Value::as_str));
                fields.values().for_each(|field| texts(field, name, found));
            }
            Value::Array(items) => items.iter().for_each(|item| texts(item, name, found)),
            _ => {}
        }
    }

    #[test]
    fn every_operation_and_every_schema_has_its_place() {
        let (document, page) = (document(), text());
        let paths = document.get("paths").and_then(Value::as_object).unwrap();
        let mut operations = 0;
        for (path, item) in paths {
            for (method, operation) in item.as_object().unwrap() {
                let id = operation.get("operationId").and_then(Value::as_str).unwrap();
                assert!(page.contains(&format!("<article id=\"{id}\"")), "{method} {path}");
                assert!(page.contains(&format!("href=\"#{id}\"")), "{method} {path} is not in the contents");
                let responses = operation.get("responses").and_then(Value::as_object).unwrap();
                let article = page.split(&format!("<article id=\"{id}\"")).nth(1).unwrap();
                let article = article.split("</article>").next().unwrap();
                assert!(article.contains(path.as_str()) && article.contains("curl "), "{method} {path}");
                assert!(responses.keys().all(|status| article.contains(&format!(">{status}<"))), "{method} {path}");
                operations += 1;
            }
        }
        assert!(operations >= 20, "{operations}");
        let schemas = document.pointer("/components/schemas").and_then(Value::as_object).unwrap();
        for name in schemas.keys() {
            assert!(page.contains(&format!("<article id=\"schema-{name}\"")), "{name}");
        }
        for link in page.split("href=\"#").skip(1).map(|rest| rest.split('"').next().unwrap()) {
            assert!(page.contains(&format!("id=\"{link}\"")), "#{link} leads nowhere");
        }
    }

    #[test]
    fn every_description_is_told() {
        let (document, page) = (document(), text());
        let told: String = page.replace("<code>", "").replace("</code>", "");
        let plain = |text: &str| text.replace('`', "").split_whitespace().collect::<Vec<_>>().join(" ");
        let told =
            plain(&told.replace("&#39;", "'").replace("&#34;", "\"").replace("&#60;", "<").replace("&#62;", ">"));
        let mut descriptions = Vec::new();
        texts(&document, "description", &mut descriptions);
        assert!(descriptions.len() > 200);
        for description in descriptions {
            assert!(told.contains(&plain(description)), "{description}");
        }
    }

    #[test]
    fn nothing_is_fetched_and_nothing_runs() {
        let page = text();
        for foreign in
            ["<script", "<link", "<img", "<iframe", " src=", "http://", "https://", "url(", "@import", " style="]
        {
            assert!(!page.contains(foreign), "{foreign}");
        }
        assert!(page.contains(&format!("<style>{STYLE}</style>")), "the policy's hash is of another style");
    }
}
