//! Who asks.
//!
//! A bearer token is one of the configuration's (`static_tokens`), or one that an issuer signed (`signed_tokens`, with
//! the public keys of `key_set`, which `key_source` brings and keeps fresh).

mod key_set;
mod key_source;
mod signed_tokens;
mod static_tokens;

use axum::http::{HeaderMap, header};

pub use self::key_set::KeySetError;
pub use self::key_source::KeySourceError;
pub(crate) use self::signed_tokens::SignedTokens;
pub(crate) use self::static_tokens::StaticTokens;

use super::ApiState;
use super::error::ApiError;
use crate::config::{AuthConfig, TokenRole};

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Caller {
    /// The app whose data he may ask for.
    pub(crate) app: String,
    /// The user or service.
    pub(crate) subject: String,
    /// What he may do.
    pub(crate) role: TokenRole,
}

/// What he showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Credential {
    /// The token of the configuration with this digest.
    Static([u8; 32]),
    /// A signed token. Issuers give one caller as many as he asks for, so no single one of them tells him from others.
    Signed,
}

/// Why a request has no caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AuthError {
    /// There is no token, or it is not good; the reason is for the log alone.
    Refused(&'static str),
    /// The keys that it would be checked with cannot be had.
    NoKeys,
}

impl From<AuthError> for ApiError {
    fn from(error: AuthError) -> Self {
        match error {
            AuthError::Refused(reason) => {
                tracing::debug!(reason, "a token was refused");
                Self::Unauthorized
            }
            AuthError::NoKeys => Self::KeysUnavailable,
        }
    }
}

/// Tells callers by their tokens.
#[derive(Debug)]
pub(crate) struct Authenticator {
    static_tokens: StaticTokens,
    signed_tokens: Option<SignedTokens>,
}

impl Authenticator {
    /// Reads the key file, where one is configured; keys at an address are fetched with the first token that needs them.
    ///
    /// # Errors
    /// [`KeySourceError`] where the file cannot be used.
    pub(crate) fn new(config: &AuthConfig) -> Result<Self, KeySourceError> {
        let signed_tokens = config.jwt.is_on().then(|| SignedTokens::new(&config.jwt)).transpose()?;
        Ok(Self { static_tokens: StaticTokens::new(&config.tokens), signed_tokens })
    }

    /// The caller whose token the request carries.
    ///
    /// # Errors
    /// [`AuthError`].
    pub(crate) async fn authenticate(&self, headers: &HeaderMap) -> Result<(Caller, Credential), AuthError> {
        let token = bearer_token(headers).ok_or(AuthError::Refused("there is no bearer token"))?;
        match (self.static_tokens.caller(token), &self.signed_tokens) {
            (Some((caller, digest)), _) => Ok((caller.clone(), Credential::Static(digest))),
            (None, Some(signed_tokens)) => Ok((signed_tokens.caller(token).await?, Credential::Signed)),
            (None, None) => Err(AuthError::Refused("it is none of auth.tokens")),
        }
    }

    /// What signed tokens are made with on a development machine; `None` without `auth.jwt`.
    pub(crate) fn signed_tokens(&self) -> Option<&SignedTokens> {
        self.signed_tokens.as_ref()
    }
}

fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

impl ApiState {
    /// The caller whose token the request carries, and who has not asked for too much.
    ///
    /// # Errors
    /// [`ApiError::Unauthorized`], [`ApiError::KeysUnavailable`] or [`ApiError::RateLimited`].
    pub(crate) async fn authenticate(&self, headers: &HeaderMap) -> Result<Caller, ApiError> {
        match self.authenticator.authenticate(headers).await {
            Ok((caller, credential)) => {
                self.rate_limits.admit(&caller, credential)?;
                Ok(caller)
            }
            Err(error) => {
                // After looking at the token: taking from a bucket before would let strangers lock good callers out.
                self.rate_limits.admit_unauthenticated()?;
                Err(error.into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use axum::http::HeaderValue;

    use super::*;
    use crate::config::TokenConfig;

    async fn authenticated(header_value: &str) -> Option<String> {
        let token = |subject: &str, secret: &str| TokenConfig::new("o#a", subject, TokenRole::User, secret);
        let tokens = vec![token("alice", "secret-of-alice"), token("bob", "secret-of-bob")];
        let authenticator = Authenticator::new(&AuthConfig { tokens, ..AuthConfig::default() }).unwrap();
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_str(header_value).unwrap())]);
        authenticator.authenticate(&headers).await.ok().map(|(caller, _)| caller.subject)
    }

    #[tokio::test]
    async fn only_a_whole_known_token_is_accepted() {
        assert_eq!(authenticated("Bearer secret-of-alice").await.as_deref(), Some("alice"));
        assert_eq!(authenticated("bearer secret-of-bob").await.as_deref(), Some("bob"));
        for refused in [
            "Bearer secret-of-alic",
            "Bearer secret-of-alicee",
            "Bearer ",
            "Bearer",
            "Basic secret-of-alice",
            "secret-of-alice",
            "Bearer undefined",
        ] {
            assert_eq!(authenticated(refused).await, None, "{refused}");
        }
        let nobody = Authenticator::new(&AuthConfig::default()).unwrap();
        let refused = nobody.authenticate(&HeaderMap::new()).await;
        assert_eq!(refused, Err(AuthError::Refused("there is no bearer token")));
    }
}
