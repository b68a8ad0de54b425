//! Tokens that an issuer signed (JWT, RFC 7519): HS256 by a shared secret, RS256 and ES256 by keys of a set.

use std::sync::Arc;

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode};
use serde::{Deserialize, Serialize};

use super::key_source::{KeySource, KeySourceError};
use super::{AuthError, Caller};
use crate::config::{JwtConfig, Secret, TokenRole, is_app, is_id};

/// Kinds of token (typ) that are taken; one that is made for another purpose names another kind (RFC 8725, 3.11).
const KINDS: [&str; 3] = ["JWT", "at+jwt", "application/at+jwt"];

/// Tells the callers of signed tokens.
pub(crate) struct SignedTokens {
    /// For HS256, and for nothing else.
    secret: Option<DecodingKey>,
    /// For RS256 and ES256.
    keys: Option<Arc<KeySource>>,
    /// The rules of claims, but for the algorithm.
    rules: Validation,
    config: JwtConfig,
}

impl std::fmt::Debug for SignedTokens {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Of the configuration the secret is masked.
        formatter.debug_struct("SignedTokens").field("config", &self.config).finish_non_exhaustive()
    }
}

/// What a token has to say. Times, issuer and audience are judged before this is looked at.
#[derive(Deserialize)]
struct Claims {
    app: String,
    sub: String,
    role: TokenRole,
}

/// What a token that is made here says.
#[derive(Serialize)]
struct MadeClaims<'a> {
    app: &'a str,
    sub: &'a str,
    role: TokenRole,
    iat: u64,
    exp: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    iss: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    aud: &'a str,
}

impl SignedTokens {
    /// Reads the key file, where one is configured.
    ///
    /// # Errors
    /// [`KeySourceError`].
    pub(crate) fn new(config: &JwtConfig) -> Result<Self, KeySourceError> {
        let secret = config.hs256_secret.expose();
        Ok(Self {
            secret: (!secret.is_empty()).then(|| DecodingKey::from_secret(secret.as_bytes())),
            keys: KeySource::new(config)?.map(Arc::new),
            rules: rules(config),
            config: config.clone(),
        })
    }

    /// Who shows this token.
    ///
    /// # Errors
    /// [`AuthError`].
    pub(crate) async fn caller(&self, token: &str) -> Result<Caller, AuthError> {
        // Fails for algorithms that are none, `none` itself among them.
        let header = decode_header(token).map_err(|_| AuthError::Refused("it is no signed token"))?;
        if header.crit.is_some() {
            return Err(AuthError::Refused("it demands extensions that are not known here (crit)"));
        }
        if header.typ.as_deref().is_some_and(|typ| !KINDS.iter().any(|kind| kind.eq_ignore_ascii_case(typ))) {
            return Err(AuthError::Refused("it is made for another purpose (typ)"));
        }
        let caller = match (header.alg, &self.secret, &self.keys) {
            (Algorithm::HS256, Some(secret), _) => self.check(token, Algorithm::HS256, [secret])?,
            (Algorithm::RS256 | Algorithm::ES256, _, Some(keys)) => {
                self.check_with_keys(token, header.alg, header.kid.as_deref(), keys).await?
            }
            _ => return Err(AuthError::Refused("its algorithm is not in use here")),
        };
        caller.ok_or(AuthError::Refused("no known key made its signature"))
    }

    /// Checks with the keys of a set. A token that names its key says so when the set is too old for it; one that names none
    /// may be signed by a new key where none that is known made its signature.
    async fn check_with_keys(
        &self,
        token: &str,
        algorithm: Algorithm,
        name: Option<&str>,
        keys: &Arc<KeySource>,
    ) -> Result<Option<Caller>, AuthError> {
        let set = keys.set_for(name).await.ok_or(AuthError::NoKeys)?;
        let caller = self.check(token, algorithm, set.candidates(algorithm, name))?;
        if caller.is_some() || name.is_some() {
            return Ok(caller);
        }
        let Some(newer) = keys.set_after(&set).await else { return Ok(None) };
        self.check(token, algorithm, newer.candidates(algorithm, None))
    }

    /// Checks signature and claims with whichever of the keys made the signature; `None` where none of them did.
    fn check<'a>(
        &self,
        token: &str,
        algorithm: Algorithm,
        keys: impl IntoIterator<Item = &'a DecodingKey>,
    ) -> Result<Option<Caller>, AuthError> {
        let rules = Validation { algorithms: vec![algorithm], ..self.rules.clone() };
        for key in keys {
            match decode::<Claims>(token, key, &rules) {
                Ok(decoded) => return caller_of(decoded.claims).map(Some),
                Err(error) if *error.kind() == ErrorKind::InvalidSignature => {}
                Err(error) => return Err(AuthError::Refused(reason(error.kind()))),
            }
        }
        Ok(None)
    }

    /// Makes a user's token that [`Self::caller`] accepts for so many seconds; `None` without a secret.
    pub(crate) fn user_token(&self, app: &str, user: &str, seconds: u64) -> Option<String> {
        let secret = Some(&self.config.hs256_secret).filter(|secret| !secret.is_empty()).map(Secret::expose)?;
        let now = u64::try_from(crate::api::now().millis() / 1_000).ok()?;
        let claims = MadeClaims {
            app,
            sub: user,
            role: TokenRole::User,
            iat: now,
            exp: now + seconds,
            iss: &self.config.issuer,
            aud: &self.config.audience,
        };
        encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(secret.as_bytes())).ok()
    }
}

fn rules(config: &JwtConfig) -> Validation {
    let mut rules =
        Validation { leeway: u64::from(config.leeway_seconds), validate_nbf: true, ..Validation::default() };
    // A claim that is asked for must be there, and not only be right where it is.
    let mut required = vec!["exp", "sub"];
    if !config.issuer.is_empty() {
        rules.set_issuer(&[&config.issuer]);
        required.push("iss");
    }
    // Without an audience of our own, a token that names one is refused (RFC 7519, 4.1.3): the library's default.
    if !config.audience.is_empty() {
        rules.set_audience(&[&config.audience]);
        required.push("aud");
    }
    rules.set_required_spec_claims(&required);
    rules
}

fn caller_of(claims: Claims) -> Result<Caller, AuthError> {
    let Claims { app, sub, role } = claims;
    if !is_app(&app) {
        return Err(AuthError::Refused("its claim app is no `org#name`"));
    }
    if !is_id(&sub) {
        return Err(AuthError::Refused("its claim sub is no id"));
    }
    Ok(Caller { app, subject: sub, role })
}

fn reason(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::ExpiredSignature => "it has expired (exp)",
        ErrorKind::ImmatureSignature => "it is not valid yet (nbf)",
        ErrorKind::InvalidIssuer => "it is of another issuer (iss)",
        ErrorKind::InvalidAudience => "it is for another audience (aud)",
        ErrorKind::MissingRequiredClaim(_) => "a required claim is missing or of another kind (exp, sub, iss or aud)",
        ErrorKind::InvalidClaimFormat(_) => "a claim is of another kind (exp or nbf)",
        ErrorKind::Json(_) => "its claims app, sub and role are not what they have to be",
        _ => "it cannot be read",
    }
}
