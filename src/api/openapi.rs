//! The description of the API, made from its handlers.

use std::sync::LazyLock;

use axum::http::HeaderMap;
use axum::response::Response;
use utoipa::openapi::path::{Operation, ParameterIn};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{PathItem, Ref, RefOr};
use utoipa::{Modify, OpenApi, ToSchema as _};

use super::conditional::Unchanging;
use super::description::{Id, PageCursor};
use super::error::ApiError;
use super::latency::LatencyKind;
use super::parameters::{ListOrder, ReadStatus};
use super::time_range::Step;

use super::{
    development_tokens, docs, easemob, export, group_quota, latency, outcomes, policies, readers, rejections,
    statistics, unread, what_if,
};
use super::{receipts_query, singles, user_data};
use crate::observe::routes as operation;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "seenby",
        description = "Who has read which message. Times are integers in ms since 1970, ids are strings. Errors are \
                       problem documents (RFC 9457) with a `code`; under the vendor's path they are the vendor's. \
                       Beside what each endpoint tells, any path may answer 404 `not_found`, 405 `method_not_allowed` \
                       with `Allow`, 413 `payload_too_large`, 431 `headers_too_large` and, at a defect, 500 `internal`; \
                       every answer carries `x-request-id`, under which the server's log speaks of it.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    paths(
        readers::list_readers,
        group_quota::quota,
        group_quota::receipt_check,
        unread::unread,
        statistics::statistics,
        user_data::user_data,
        user_data::erase_user_data,
        latency::latency,
        outcomes::outcomes,
        policies::policy_in_force,
        policies::policy_history,
        policies::put_policy,
        what_if::policy_what_if,
        rejections::rejections,
        export::export,
        receipts_query::query_receipts,
        singles::single_message,
        easemob::list_acks,
        development_tokens::grant_token,
        operation::livez,
        operation::readyz,
        operation::metrics,
        openapi,
        docs::docs,
    ),
    tags(
        (name = "readers", description = "Reader lists."),
        (name = "groups", description = "What concerns one group."),
        (name = "users", description = "What concerns one user."),
        (name = "app", description = "What concerns a whole app."),
        (name = "policy", description = "The limits of an app."),
        (name = "rejections", description = "Refused records."),
        (name = "export", description = "Whole tables."),
        (name = "singles", description = "Messages of single chats."),
        (name = "easemob", description = "The path that the vendor's SDKs call."),
        (name = "operation", description = "Health, metrics, and this description."),
    ),
    components(schemas(Id, PageCursor, Step, LatencyKind, ReadStatus, ListOrder)),
    modifiers(&BearerTokens, &NamesInPaths)
)]
struct Document;

/// `auth` of the configuration: static and signed tokens.
struct BearerTokens;

impl Modify for BearerTokens {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    }
}

/// In seenby's own paths every name is an id, which [`super::access::Access`] sees to. The vendor's path takes whatever is
/// asked for.
struct NamesInPaths;

impl Modify for NamesInPaths {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let own = document.paths.paths.iter_mut().filter(|(path, _)| path.starts_with("/v1/"));
        let parameters = own.flat_map(|(_, item)| operations(item)).flat_map(|operation| &mut operation.parameters);
        for parameter in parameters.flatten() {
            if let RefOr::T(parameter) = parameter
                && parameter.parameter_in == ParameterIn::Path
            {
                parameter.schema = Some(Ref::from_schema_name(Id::name()).into());
            }
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch].into_iter().flatten()
}

/// The document, made once.
static DOCUMENT: LazyLock<Option<Unchanging>> =
    LazyLock::new(|| Some(Unchanging::new("application/json", openapi_json().ok()?)));

/// This document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "operation",
    params(("if-none-match" = Option<String>, Header, description = "The tag of the document that the client has.")),
    responses(
        (status = 200, description = "The description of the API (OpenAPI 3.1).", body = Object,
            headers(("etag" = String, description = "Tag of the document."))),
        (status = 304, description = "The document is the one whose tag is in `If-None-Match`."),
    )
)]
pub(crate) async fn openapi(headers: HeaderMap) -> Result<Response, ApiError> {
    Ok(DOCUMENT.as_ref().ok_or(ApiError::Internal)?.answer(&headers))
}

/// The document as it stands in schemas/openapi.json.
///
/// # Errors
/// Never in practice: the document is made of texts and numbers.
pub fn openapi_json() -> Result<String, serde_json::Error> {
    // utoipa spells the formats of unsigned integers otherwise than the registry of formats does.
    let mut text = serde_json::to_string_pretty(&Document::openapi())?.replace("\"u-int", "\"uint");
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;

    /// `SEENBY_UPDATE=1 cargo test --lib openapi` writes the file anew.
    #[test]
    fn the_checked_in_document_is_the_one_served() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schemas/openapi.json");
        let made = openapi_json().unwrap();
        if std::env::var_os("SEENBY_UPDATE").is_some() {
            std::fs::write(path, &made).unwrap();
        }
        let checked_in = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            made == checked_in,
            "schemas/openapi.json is not what the handlers say: run SEENBY_UPDATE=1 cargo test --lib openapi"
        );
    }

    #[test]
    fn the_document_is_openapi_3_1_and_names_every_path() {
        let document = serde_json::to_value(Document::openapi()).unwrap();
        let version = document.get("openapi").and_then(serde_json::Value::as_str).unwrap();
        assert!(version.starts_with("3.1"), "{version}");
        let paths = document.get("paths").and_then(serde_json::Value::as_object).unwrap();
        for path in [
            "/v1/{org}/{app}/groups/{group}/messages/{message}/readers",
            "/v1/{org}/{app}/groups/{group}/quota",
            "/v1/{org}/{app}/groups/{group}/receipt-check",
            "/v1/{org}/{app}/users/{user}/unread",
            "/v1/{org}/{app}/users/{user}/statistics",
            "/v1/{org}/{app}/users/{user}/data",
            "/v1/{org}/{app}/latency",
            "/v1/{org}/{app}/outcomes",
            "/v1/{org}/{app}/policy",
            "/v1/{org}/{app}/policy/history",
            "/v1/{org}/{app}/policy/what-if",
            "/v1/{org}/{app}/rejections",
            "/v1/{org}/{app}/export",
            "/v1/{org}/{app}/receipts/query",
            "/v1/{org}/{app}/singles/{a}/{b}/messages/{message}",
            "/{org}/{app}/chatgroups/{group}/acks/{message}",
            "/{org}/{app}/token",
            "/livez",
            "/readyz",
            "/metrics",
            "/openapi.json",
            "/docs",
        ] {
            assert!(paths.contains_key(path), "{path}");
        }
        assert_eq!(paths.len(), 22);
    }
}
