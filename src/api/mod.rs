//! The HTTP endpoints: reader lists in seenby's own form and in the vendor's (DESIGN.md section 8).
//!
//! One file a resource; what all of them share:
//! - `auth`: static and signed bearer tokens; `access`: what every handler of an app's data takes first; `viewing`: who may
//!   see which messages, for any number of them;
//! - `error`: one enum of everything that can go wrong, and its two forms: problem documents (RFC 9457), and the
//!   vendor's envelope under the vendor's path. Handlers only name the error; `layers` writes it, the framework's own
//!   refusals among them, so that no body is ever anything but JSON: on any other the vendor's SDK never settles;
//! - `rate_limit`: how much one caller and one app may ask;
//! - `layers`: request ids, limits, time-outs, CORS, panics; `metrics`: what is counted of requests;
//! - `viewing`: who may see which messages, for any number of them; `reader_page`: what is told of one;
//! - `query_string`, `parameters`, `receipts_question`: how requests are read; `cursor`: where the next page begins;
//!   `as_of`: how fresh an answer is; `conditional`: what a client has already is not sent again;
//! - `openapi`, `description`: what the handlers say of themselves; `docs`: the same as a page for people;
//! - `server`: accepts connections; `connection`: how long each lives.

mod access;
mod as_of;
mod auth;
mod conditional;
mod connection;
mod cursor;
mod description;
mod development_tokens;
mod docs;
mod easemob;
mod error;
mod export;
#[cfg(fuzzing)]
pub mod fuzzing;
mod group_quota;
mod in_path;
mod json_body;
mod latency;
mod layers;
mod metrics;
mod openapi;
mod outcomes;
mod parameters;
mod policies;
mod query_string;
mod rate_limit;
mod reader_page;
mod readers;
mod receipts_query;
mod receipts_question;
mod rejections;
mod server;
mod singles;
mod statistics;
mod time_range;
mod unread;
mod user_data;
mod viewing;
mod what_if;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::routing::{get, post};
use tokio::sync::Semaphore;

use crate::config::Config;
use crate::event::EventTime;
use crate::observe::{self, Telemetry};
use crate::store::query::Queries;

pub use auth::{KeySetError, KeySourceError};
pub use openapi::openapi_json;
pub use server::{ServerError, run, serve};

/// What all handlers share.
#[derive(Debug)]
pub(crate) struct ApiState {
    queries: Queries,
    authenticator: auth::Authenticator,
    rate_limits: rate_limit::RateLimits,
    what_if_places: Arc<Semaphore>,
    easemob_string_lists: bool,
    latency_min_group_size: u32,
    config: Arc<Config>,
    development_tokens: bool,
}

/// The whole API as one service.
///
/// # Errors
/// [`KeySourceError`] where the keys of signed tokens stand in a file that cannot be used.
pub fn router(config: &Config, telemetry: &Telemetry) -> Result<Router, KeySourceError> {
    let queries = Queries::new(config);
    for gauge in queries.gauges() {
        metrics::register(telemetry, Ok(gauge));
    }
    metrics::register(telemetry, Ok(queries.questions_per_statement()));
    let state = Arc::new(ApiState {
        queries,
        authenticator: auth::Authenticator::new(&config.auth)?,
        rate_limits: rate_limit::RateLimits::new(&config.api, telemetry),
        what_if_places: Arc::new(Semaphore::new(config.api.what_if.max_concurrent as usize)),
        easemob_string_lists: config.api.easemob_string_lists,
        latency_min_group_size: config.api.latency_min_group_size,
        config: Arc::new(config.clone()),
        development_tokens: config.api.development_tokens,
    });
    let routes = Router::new()
        .route("/v1/{org}/{app}/groups/{group}/messages/{message}/readers", get(readers::list_readers))
        .route("/v1/{org}/{app}/groups/{group}/quota", get(group_quota::quota))
        .route("/v1/{org}/{app}/groups/{group}/receipt-check", post(group_quota::receipt_check))
        .route("/v1/{org}/{app}/users/{user}/unread", get(unread::unread))
        .route("/v1/{org}/{app}/users/{user}/statistics", get(statistics::statistics))
        .route("/v1/{org}/{app}/users/{user}/data", get(user_data::user_data).delete(user_data::erase_user_data))
        .route("/v1/{org}/{app}/latency", get(latency::latency))
        .route("/v1/{org}/{app}/outcomes", get(outcomes::outcomes))
        .route("/v1/{org}/{app}/policy", get(policies::policy_in_force).put(policies::put_policy))
        .route("/v1/{org}/{app}/policy/history", get(policies::policy_history))
        .route(what_if::WHAT_IF_PATH, post(what_if::policy_what_if))
        .route("/v1/{org}/{app}/export", get(export::export))
        .route("/v1/{org}/{app}/rejections", get(rejections::rejections))
        .route("/v1/{org}/{app}/receipts/query", post(receipts_query::query_receipts))
        .route("/v1/{org}/{app}/singles/{a}/{b}/messages/{message}", get(singles::single_message))
        .route("/{org}/{app}/chatgroups/{group}/acks/{message}", get(easemob::list_acks))
        .route("/{org}/{app}/token", post(development_tokens::grant_token))
        .with_state(state)
        .route("/openapi.json", get(openapi::openapi))
        .route("/docs", get(docs::docs))
        .merge(observe::routes(telemetry.clone()));
    Ok(layers::apply(routes, &config.api, telemetry))
}

/// The present by this machine's clock.
fn now() -> EventTime {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    EventTime::from_millis(i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX))
}
