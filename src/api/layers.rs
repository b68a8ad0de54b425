//! What every request passes through, outermost first: an id, the record of the request, CORS, bodies for errors, the
//! header limit, panics, the time-out, the body limit.

use std::any::Any;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tracing::Instrument as _;

use super::conditional::AS_OF;
use super::error::ApiError;
use super::export::NEXT_CURSOR;
use super::metrics::RequestMetrics;
use super::what_if::WHAT_IF_PATH;
use crate::config::ApiConfig;
use crate::observe::Telemetry;

/// The most bytes of header names and values that are read.
const MAX_HEADER_BYTES: usize = 16 * 1024;

/// How long a browser may remember what a preflight allowed.
const PREFLIGHT_MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Lays all of them around the routes.
pub(super) fn apply(routes: Router, config: &ApiConfig, telemetry: &Telemetry) -> Router {
    let usual = Duration::from_millis(config.timeout_ms);
    // It ends by itself and says why; what is around it may take as long as elsewhere.
    let what_if = usual + Duration::from_millis(config.what_if.timeout_ms);
    let time_limits = TimeLimits { usual, what_if };
    let layers = ServiceBuilder::new()
        .layer(SetRequestIdLayer::new(REQUEST_ID, MakeRequestUuid))
        .layer(PropagateRequestIdLayer::new(REQUEST_ID))
        .layer(from_fn_with_state(RequestMetrics::new(telemetry), record))
        .layer(cors(&config.cors_origin))
        .layer(CompressionLayer::new().compress_when(large()))
        .layer(from_fn(write_errors))
        .layer(from_fn(refuse_large_headers))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(time_limits, bound_time))
        .layer(RequestBodyLimitLayer::new(config.max_body_bytes));
    routes.layer(layers)
}

/// Below this many bytes, an answer fits into one packet whether compressed or not.
const LEAST_COMPRESSED_BYTES: u64 = 1_400;

/// What is worth compressing, with gzip or zstd as the client takes it: large answers that are not compressed already.
fn large() -> impl Predicate {
    SizeAbove::new(LEAST_COMPRESSED_BYTES)
        .and(NotForContentType::IMAGES)
        .and(NotForContentType::const_new("application/vnd.apache.parquet"))
}

/// Browsers ask first (OPTIONS) because of the authorization header.
fn cors(origin: &str) -> CorsLayer {
    let allowed_origin = match HeaderValue::from_str(origin) {
        Ok(origin) if origin != "*" => AllowOrigin::exact(origin),
        _ => AllowOrigin::any(),
    };
    CorsLayer::new()
        .allow_origin(allowed_origin)
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE])
        // What the page wants to send is allowed as asked: the SDK's versions differ, and none of it opens anything.
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([REQUEST_ID, header::ETAG, header::RETRY_AFTER, AS_OF, NEXT_CURSOR])
        .max_age(PREFLIGHT_MAX_AGE)
}

/// Counts and logs the request, under its id.
async fn record(State(metrics): State<RequestMetrics>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    // Paths hold ids of people and messages: metrics get the route alone.
    let route = request.extensions().get::<MatchedPath>().map_or("none", |path| path.as_str()).to_owned();
    let request_id = request.headers().get(&REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default();
    let span = tracing::info_span!("request", id = request_id, method = %request.method(), route);
    let mut response = next.run(request).instrument(span.clone()).await;
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));

    let status = response.status();
    let elapsed = started.elapsed();
    metrics.answered(&route, status, elapsed);
    tracing::debug!(parent: &span, status = status.as_u16(), seconds = elapsed.as_secs_f64(), "answered");
    response
}

/// Gives every refusal a body, the framework's own among them, in the form that the path speaks.
async fn write_errors(request: Request, next: Next) -> Response {
    let started = Instant::now();
    // The route where there is one: only names stand in a path that leads nowhere.
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let is_easemob = is_easemob_path(route.unwrap_or(request.uri().path()));
    let mut response = next.run(request).await;
    let status = response.status();
    let error = match response.extensions_mut().remove::<ApiError>() {
        Some(error) => error,
        None if (status.is_client_error() || status.is_server_error()) && !is_json(response.headers()) => {
            ApiError::from_status(status)
        }
        None => return response,
    };
    let mut written = if is_easemob {
        error.clone().into_easemob_response(u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX))
    } else {
        error.clone().into_problem_response()
    };
    let headers = written.headers_mut();
    if let Some(allowed_methods) = response.headers_mut().remove(header::ALLOW) {
        headers.insert(header::ALLOW, allowed_methods);
    }
    if error == ApiError::Unauthorized {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Some(seconds) = error.retry_after_seconds() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    written
}

/// `/{org}/{app}/chatgroups/…` and `/{org}/{app}/token`: what the vendor's SDKs call; but not `/v1/{org}/{app}/groups/…` of
/// an app of that name.
fn is_easemob_path(path: &str) -> bool {
    let mut parts = path.split('/').skip(1);
    let is_own = parts.next() == Some("v1");
    let (collection, next) = (parts.nth(1), parts.next());
    match collection {
        Some("chatgroups") => !(is_own && matches!(next, None | Some("groups"))),
        Some("token") => next.is_none(),
        _ => false,
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|value| value.starts_with("application/json"))
}

async fn refuse_large_headers(request: Request, next: Next) -> Response {
    let header_bytes = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>();
    if header_bytes > MAX_HEADER_BYTES {
        return ApiError::HeadersTooLarge.into_response();
    }
    next.run(request).await
}

/// How long requests may take.
#[derive(Clone, Copy, Debug)]
struct TimeLimits {
    usual: Duration,
    what_if: Duration,
}

async fn bound_time(State(limits): State<TimeLimits>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let limit = if route == Some(WHAT_IF_PATH) { limits.what_if } else { limits.usual };
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::TimedOut.into_response(),
    }
}

fn panicked(payload: Box<dyn Any + Send + 'static>) -> Response {
    let message = payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    tracing::error!(panic = message, "a request met a defect");
    ApiError::Internal.into_response()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

    use axum::body::{Body, to_bytes};
    use axum::http::StatusCode;
    use axum::routing::{get, post};
    use serde_json::Value;
    use tower::ServiceExt as _;

    use super::*;

    fn app() -> Router {
        let routes = Router::new()
            .route("/fine", get(|| async { "fine" }))
            .route(
                "/bare/{status}",
                get(|path: axum::extract::Path<u16>| async move {
                    (StatusCode::from_u16(path.0).unwrap(), "<html>plain words</html>")
                }),
            )
            .route(
                "/o/a/chatgroups/panic",
                get(|| async {
                    if true {
                        panic!("on purpose")
                    }
                }),
            )
            .route(
                "/panic",
                get(|| async {
                    if true {
                        panic!("on purpose")
                    }
                }),
            )
            .route("/slow", get(|| async { tokio::time::sleep(Duration::from_secs(60)).await }))
            .route("/o/a/chatgroups/slow", get(|| async { tokio::time::sleep(Duration::from_secs(60)).await }))
            .route("/v1/{org}/{app}/groups/{group}", get(|| async { StatusCode::BAD_REQUEST }))
            .route("/json", post(|body: axum::Json<Value>| async move { body }));
        let config = ApiConfig { timeout_ms: 50, max_body_bytes: 100, ..ApiConfig::default() };
        apply(routes, &config, &Telemetry::default())
    }

    async fn send(request: Request) -> (StatusCode, HeaderMap, Value) {
        let response = app().oneshot(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, headers, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    async fn get_path(path: &str) -> (StatusCode, HeaderMap, Value) {
        send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    fn assert_problem(answer: &(StatusCode, HeaderMap, Value), status: u16, code: &str) {
        let (answered, headers, body) = answer;
        assert_eq!(answered.as_u16(), status);
        assert_eq!(headers[header::CONTENT_TYPE], "application/problem+json");
        assert_eq!(body["status"], status);
        assert_eq!(body["code"], code);
        assert!(body["title"].is_string() && body["detail"].is_string() && body["type"].is_string(), "{body}");
        assert!(headers.contains_key("x-request-id"));
    }

    fn assert_envelope(answer: &(StatusCode, HeaderMap, Value), status: u16, error: &str) {
        let (answered, headers, body) = answer;
        assert_eq!(answered.as_u16(), status);
        assert_eq!(headers[header::CONTENT_TYPE], "application/json");
        assert_eq!(body["error"], error);
        assert!(body["timestamp"].is_i64() && body["duration"].is_u64(), "{body}");
        assert!(body["exception"].is_string() && body["error_description"].is_string(), "{body}");
        assert!(headers.contains_key("x-request-id"));
    }

    #[tokio::test]
    async fn the_frameworks_refusals_are_problem_documents() {
        assert_problem(&get_path("/nowhere").await, 404, "not_found");
        let wrong_method = send(Request::post("/fine").body(Body::empty()).unwrap()).await;
        assert_problem(&wrong_method, 405, "method_not_allowed");
        assert_eq!(wrong_method.1[header::ALLOW], "GET,HEAD");
        let no_content_type = Request::post("/json").body(Body::from("{}")).unwrap();
        assert_problem(&send(no_content_type).await, 415, "unsupported_media_type");
        let request = || Request::post("/json").header(header::CONTENT_TYPE, "application/json");
        assert_problem(&send(request().body(Body::from("{")).unwrap()).await, 400, "invalid_request");
        let large = request().header(header::CONTENT_LENGTH, "101").body(Body::from("1".repeat(101))).unwrap();
        assert_problem(&send(large).await, 413, "payload_too_large");
        let unannounced = request().body(Body::from("1".repeat(101))).unwrap();
        assert_problem(&send(unannounced).await, 413, "payload_too_large");
    }

    #[tokio::test]
    async fn panics_and_time_outs_are_answered_in_json() {
        assert_problem(&get_path("/panic").await, 500, "internal");
        assert_problem(&get_path("/slow").await, 503, "timed_out");
        assert_envelope(&get_path("/o/a/chatgroups/panic").await, 500, "internal");
        assert_envelope(&get_path("/o/a/chatgroups/slow").await, 503, "timed_out");
        assert_envelope(&get_path("/o/a/chatgroups/nowhere").await, 404, "not_found");
        assert_envelope(
            &send(Request::put("/o/a/chatgroups/slow").body(Body::empty()).unwrap()).await,
            405,
            "method_not_allowed",
        );
    }

    #[tokio::test]
    async fn an_app_may_have_the_name_of_the_vendors_collection() {
        assert_problem(&get_path("/v1/o/chatgroups/groups/g").await, 400, "invalid_request");
        assert_problem(&get_path("/v1/o/chatgroups/groups/g/nowhere").await, 404, "not_found");
        assert_envelope(&get_path("/v1/a/chatgroups/g/nowhere").await, 404, "not_found");
        assert_envelope(&get_path("/o/a/token").await, 404, "not_found");
        assert_problem(&get_path("/v1/o/token/groups").await, 404, "not_found");
    }

    #[tokio::test]
    async fn oversized_headers_are_refused_in_json() {
        let request = Request::get("/fine").header("x-large", "a".repeat(17 * 1024)).body(Body::empty()).unwrap();
        assert_problem(&send(request).await, 431, "headers_too_large");
    }

    #[tokio::test]
    async fn no_bare_refusal_keeps_its_words_and_none_is_406() {
        for status in [400, 401, 402, 403, 404, 406, 408, 409, 418, 429, 451, 500, 501, 502, 503, 504] {
            let (answered, headers, body) = get_path(&format!("/bare/{status}")).await;
            assert!(body["code"].is_string(), "{status}: {body}");
            assert_eq!(headers[header::CONTENT_TYPE], "application/problem+json", "{status}");
            assert_ne!(answered.as_u16(), 406);
        }
    }

    #[tokio::test]
    async fn an_answer_stays_as_it_is_and_keeps_the_callers_request_id() {
        let request = Request::get("/fine")
            .header("x-request-id", "mine")
            .header(header::ACCEPT, "text/html")
            .body(Body::empty())
            .unwrap();
        let response = app().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["x-request-id"], "mine");
        assert_eq!(to_bytes(response.into_body(), 100).await.unwrap(), "fine");
    }

    #[tokio::test]
    async fn a_preflight_allows_what_the_page_wants_to_send() {
        let request = Request::options("/fine")
            .header(header::ORIGIN, "https://chat.example.com")
            .header(header::ACCESS_CONTROL_REQUEST_METHOD, "GET")
            .header(header::ACCESS_CONTROL_REQUEST_HEADERS, "authorization,content-type")
            .body(Body::empty())
            .unwrap();
        let (status, headers, _) = send(request).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_HEADERS], "authorization,content-type");
        let refused = Request::get("/nowhere").header(header::ORIGIN, "https://x").body(Body::empty()).unwrap();
        let (_, headers, _) = send(refused).await;
        assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*", "errors are readable for pages too");
    }
}
