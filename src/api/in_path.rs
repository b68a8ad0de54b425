//! What a path names, read in whole.

use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use super::error::ApiError;
use super::query_string::require_id_length;

/// The parts of a path as `T`, none of them longer than an id; what cannot be read is refused as every other mistake in a
/// request.
#[derive(Clone, Debug)]
pub(crate) struct InPath<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for InPath<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path: Result<axum::extract::Path<T>, PathRejection> =
            axum::extract::Path::from_request_parts(parts, state).await;
        // What cannot be read at all is told below.
        if let Ok(ids) = RawPathParams::from_request_parts(parts, state).await {
            ids.iter().try_for_each(|(name, id)| require_id_length(name, id))?;
        }
        path.map(|axum::extract::Path(path)| Self(path))
            .map_err(|rejection| ApiError::InvalidRequest(rejection.body_text()))
    }
}

/// An app.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "the caller's access knows the app; here it is described")]
pub(crate) struct AppPath {
    /// First half of the app's name.
    org: String,
    /// Second half of the app's name.
    app: String,
}

/// A user of an app.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "the caller's access knows the app; here it is described")]
pub(crate) struct UserPath {
    /// First half of the app's name.
    org: String,
    /// Second half of the app's name.
    app: String,
    /// The user's id.
    pub(crate) user: String,
}

/// A group of an app.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct GroupPath {
    /// First half of the app's name.
    pub(crate) org: String,
    /// Second half of the app's name.
    pub(crate) app: String,
    /// The group's id.
    pub(crate) group: String,
}

impl GroupPath {
    /// Key of the group's conversation.
    pub(crate) fn conversation_key(&self) -> String {
        format!("{}#{}/g/{}", self.org, self.app, self.group)
    }
}
