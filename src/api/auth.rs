//! Bearer tokens, and who may see which list.

use axum::http::{HeaderMap, header};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::ApiState;
use super::error::ApiError;
use crate::config::{TokenConfig, TokenRole};
use crate::event::{AppId, ConversationKey};
use crate::policy::Viewers;
use crate::store::query::GroupMessage;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The app whose data he may ask for.
    pub(crate) app: String,
    /// The user or service.
    pub(crate) subject: String,
    /// What he may do.
    pub(crate) role: TokenRole,
}

/// The known tokens. Only their digests are kept.
pub(crate) struct Tokens(Vec<([u8; 32], Caller)>);

impl std::fmt::Debug for Tokens {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} tokens", self.0.len())
    }
}

impl Tokens {
    /// Those of the configuration.
    pub(crate) fn new(tokens: &[TokenConfig]) -> Self {
        let known = tokens.iter().map(|token| {
            let caller = Caller { app: token.app.clone(), subject: token.subject.clone(), role: token.role };
            (digest(token.token.expose()), caller)
        });
        Self(known.collect())
    }

    /// The caller whose token the request carries.
    ///
    /// # Errors
    /// [`ApiError::Unauthorized`].
    pub(crate) fn authenticate(&self, headers: &HeaderMap) -> Result<&Caller, ApiError> {
        let token = bearer_token(headers).ok_or(ApiError::Unauthorized)?;
        let presented = digest(token);
        // Digests are of one length and all of them are compared to the end: the time taken tells nothing of a token.
        let mut caller = None;
        for (known, candidate) in &self.0 {
            if bool::from(known.ct_eq(&presented)) {
                caller = Some(candidate);
            }
        }
        caller.ok_or(ApiError::Unauthorized)
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

impl ApiState {
    /// The caller whose token the request carries.
    ///
    /// # Errors
    /// [`ApiError::Unauthorized`].
    #[expect(clippy::unused_async, reason = "tokens whose keys are fetched are waited for")]
    pub(crate) async fn authenticate(&self, headers: &HeaderMap) -> Result<Caller, ApiError> {
        self.tokens.authenticate(headers).cloned()
    }

    /// Whether the caller may see the reader list of this message, by the policy in force now (DESIGN.md section 3,
    /// `group.viewers`). Each wider rule includes the narrower: a sender who left the group still sees his own list.
    ///
    /// # Errors
    /// [`ApiError::NotSender`] or [`ApiError::NotMember`]; or what ClickHouse said.
    pub(crate) async fn check_viewer(&self, caller: &Caller, message: &GroupMessage) -> Result<(), ApiError> {
        if caller.role != TokenRole::User || caller.subject == message.sender {
            return Ok(());
        }
        let app = AppId::trusted(&message.app);
        match self.queries.policy_in_force(app, super::now()).await?.group.viewers {
            Viewers::App => Ok(()),
            Viewers::Sender => Err(ApiError::NotSender),
            Viewers::Members => {
                let group = ConversationKey::trusted(&message.conversation);
                let is_member = self.queries.is_member(app, group, &caller.subject).await?;
                if is_member { Ok(()) } else { Err(ApiError::NotMember) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use axum::http::HeaderValue;

    use super::*;
    use crate::config::Secret;

    fn tokens() -> Tokens {
        let token = |subject: &str, secret: &str| TokenConfig {
            app: "o#a".to_owned(),
            subject: subject.to_owned(),
            role: TokenRole::User,
            token: Secret::new(secret),
        };
        Tokens::new(&[token("alice", "secret-of-alice"), token("bob", "secret-of-bob")])
    }

    fn authenticated(header_value: &str) -> Option<String> {
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_str(header_value).unwrap())]);
        tokens().authenticate(&headers).ok().map(|caller| caller.subject.clone())
    }

    #[test]
    fn only_a_whole_known_token_is_accepted() {
        assert_eq!(authenticated("Bearer secret-of-alice").as_deref(), Some("alice"));
        assert_eq!(authenticated("bearer secret-of-bob").as_deref(), Some("bob"));
        for refused in [
            "Bearer secret-of-alic",
            "Bearer secret-of-alicee",
            "Bearer ",
            "Bearer",
            "Basic secret-of-alice",
            "secret-of-alice",
            "Bearer undefined",
        ] {
            assert_eq!(authenticated(refused), None, "{refused}");
        }
        assert_eq!(tokens().authenticate(&HeaderMap::new()), Err(ApiError::Unauthorized));
    }

    #[test]
    fn tokens_cannot_be_read_back() {
        assert_eq!(format!("{:?}", tokens()), "2 tokens");
    }
}
