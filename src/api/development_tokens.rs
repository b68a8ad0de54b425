//! The vendor's token endpoint, for development alone: it believes everybody who he says he is.
//!
//! An application that logs in with the vendor's SDK by user name and password can so be pointed at a seenby on the same
//! machine. Off (`api.development_tokens = false`, the default), the path answers as if it were not there.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use super::description::Id;
use super::error::{ApiError, EasemobError};
use super::query_string::{ID_RULE, invalid};
use crate::config::{is_app, is_id};

/// How long a token is good, in seconds.
const LIFE_SECONDS: u64 = 24 * 60 * 60;

/// The app that the path names.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct AppPath {
    /// First half of the app's name.
    org: String,
    /// Second half of the app's name.
    app: String,
}

/// What the SDK sends. Other fields, `timestamp` among them, are ignored.
#[derive(Clone, Debug, Deserialize, ToSchema)]
pub(crate) struct PasswordGrant {
    /// Always `password`.
    #[schema(pattern = "^password$")]
    grant_type: String,
    /// The user whose token it is to be.
    #[schema(value_type = Id)]
    username: String,
    /// Any text but an empty one: it is not checked.
    #[schema(min_length = 1)]
    password: String,
}

/// The vendor's answer.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct GrantedToken {
    /// The token: a signed one of the role `user`.
    access_token: String,
    /// How long it is good, in seconds.
    expires_in: u64,
    user: GrantedUser,
}

/// Whose token it is.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct GrantedUser {
    /// His name.
    username: String,
    /// Always true.
    activated: bool,
}

/// A token for a user, whatever the password: for development alone, and off by default.
#[utoipa::path(
    post,
    path = "/{org}/{app}/token",
    tag = "easemob",
    params(AppPath),
    request_body(content = PasswordGrant, description = "User and password; the password is not checked.",
        example = json!({"grant_type": "password", "username": "alice", "password": "any"})),
    responses(
        (status = 200, description = "The token.", body = GrantedToken),
        (status = 400, description = "The body breaks a rule.", body = EasemobError),
        (status = 413, description = "The body is larger than `api.max_body_bytes`.", body = EasemobError),
        (status = 404, description = "The endpoint is off, as it is by default.", body = EasemobError),
        (status = 429, description = "Too many requests: the SDK's type 50.", body = EasemobError),
        (status = 503, description = "The answer was not ready in time.", body = EasemobError),
    )
)]
pub(crate) async fn grant_token(
    State(state): State<Arc<ApiState>>,
    Path(AppPath { org, app }): Path<AppPath>,
    body: Bytes,
) -> Result<Json<GrantedToken>, ApiError> {
    if !state.development_tokens {
        return Err(ApiError::NoSuchPath);
    }
    state.rate_limits.admit_unauthenticated()?;
    let app = format!("{org}#{app}");
    if !is_app(&app) {
        return Err(invalid("path", "must name an app as /{org}/{app}: two ids, 128 bytes in all"));
    }
    // The SDK's versions name different content types, so none is asked for.
    let grant: PasswordGrant =
        serde_json::from_slice(&body).map_err(|error| ApiError::InvalidRequest(format!("body: {error}")))?;
    if grant.grant_type != "password" {
        return Err(invalid("grant_type", "must be password"));
    }
    if !is_id(&grant.username) {
        return Err(invalid("username", ID_RULE));
    }
    if grant.password.is_empty() {
        return Err(invalid("password", "must not be empty"));
    }
    let signed_tokens = state.authenticator.signed_tokens();
    let access_token = signed_tokens
        .and_then(|signed_tokens| signed_tokens.user_token(&app, &grant.username, LIFE_SECONDS))
        // The configuration is checked for a secret where the endpoint is on.
        .ok_or(ApiError::Internal)?;
    let user = GrantedUser { username: grant.username, activated: true };
    Ok(Json(GrantedToken { access_token, expires_in: LIFE_SECONDS, user }))
}
