//! The caller of an endpoint and the app that its path names.

use std::sync::Arc;

use axum::extract::{FromRequestParts, MatchedPath, RawPathParams};
use axum::http::request::Parts;

use super::ApiState;
use super::auth::Caller;
use super::error::ApiError;
use super::query_string::parse_id;
use crate::config::TokenRole;
use crate::event::AppId;

/// A caller whose token is good, asking for his own app's data. Handlers take it before any other part of the request:
/// who may not ask learns nothing from how the rest is judged, and another app's data answers exactly like data that is
/// not there.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    caller: Caller,
}

impl Access {
    /// A caller's to the data of an app (`org#name`); `None` where it is not his.
    pub(crate) fn to(app: &str, caller: Caller) -> Option<Self> {
        (caller.app == app).then_some(Self { caller })
    }

    /// Who asks.
    pub(crate) fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The app that he asks for, which is his.
    pub(crate) fn app(&self) -> AppId<'_> {
        AppId::trusted(&self.caller.app)
    }

    /// Lets services and administrators pass.
    ///
    /// # Errors
    /// [`ApiError::Forbidden`].
    pub(crate) fn require_service(&self) -> Result<(), ApiError> {
        match self.caller.role {
            TokenRole::Service | TokenRole::Admin => Ok(()),
            TokenRole::User => Err(ApiError::Forbidden("this is for services and administrators of the app")),
        }
    }

    /// Lets administrators pass.
    ///
    /// # Errors
    /// [`ApiError::Forbidden`].
    pub(crate) fn require_admin(&self) -> Result<(), ApiError> {
        match self.caller.role {
            TokenRole::Admin => Ok(()),
            TokenRole::Service | TokenRole::User => Err(ApiError::Forbidden("this is for administrators of the app")),
        }
    }

    /// Lets pass whoever is one of these users, and services and administrators.
    ///
    /// # Errors
    /// [`ApiError::Forbidden`].
    pub(crate) fn require_one_of(&self, users: &[&str]) -> Result<(), ApiError> {
        match self.caller.role {
            TokenRole::Service | TokenRole::Admin => Ok(()),
            TokenRole::User if users.contains(&self.caller.subject.as_str()) => Ok(()),
            TokenRole::User => Err(ApiError::Forbidden("a user sees only what is his own here")),
        }
    }
}

impl FromRequestParts<Arc<ApiState>> for Access {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<ApiState>) -> Result<Self, ApiError> {
        let caller = state.authenticate(&parts.headers).await?;
        let path = RawPathParams::from_request_parts(parts, state)
            .await
            .map_err(|rejection| ApiError::InvalidRequest(rejection.body_text()))?;
        let part = |name| path.iter().find(|(found, _)| *found == name).map_or("", |(_, value)| value);
        let is_own = caller.app.split_once('#') == Some((part("org"), part("app")));
        if is_own {
            path.iter().try_for_each(|(name, value)| parse_id(name, value).map(drop))?;
            return Ok(Self { caller });
        }
        let route = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
        Err(if route.contains("/messages/{message}") { ApiError::NotFound } else { ApiError::UnknownApp })
    }
}
