//! Who may ask: static tokens, and the keys of signed ones.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;

use super::check::{is_app, is_id, require};
use super::secret::MASK;
use super::{ConfigError, Secret};

/// Fewer visible ASCII characters (6.5 bits each) cannot hold the 128 random bits of a static token.
pub const LEAST_TOKEN_BYTES: usize = 20;

/// The shortest secret of HS256: RFC 7518 asks for as many bits as the hash has.
const LEAST_SECRET_BYTES: usize = 32;

/// The most leeway: whoever's clock is further off than this has no use for a time of expiry.
const MOST_LEEWAY_SECONDS: u32 = 3_600;

/// Who may ask.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AuthConfig {
    /// Bearer tokens.
    pub tokens: Vec<TokenConfig>,
    /// Signed bearer tokens (JWT) with the claims app (`org#name`), sub, role (user, service or admin) and exp.
    pub jwt: JwtConfig,
}

/// One bearer token.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenConfig {
    /// The app it is for: `org#name`.
    pub app: String,
    /// The user or service it stands for.
    pub subject: String,
    /// What it may do.
    pub role: TokenRole,
    /// The secret itself, of at least 128 random bits (`openssl rand -base64 32`); or token_sha256 instead.
    #[serde(default)]
    #[schema(value_type = String)]
    pub token: Secret,
    /// SHA-256 of the secret in hexadecimal, as `seenby config hash-token` prints it. The hash has no salt and is quick
    /// to try: only a random secret of at least 128 bits is safe behind it.
    #[serde(default)]
    pub token_sha256: String,
}

/// What a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TokenRole {
    /// An end user: sees what the policy's viewers rule allows.
    User,
    /// A service of the app: sees the app's data.
    Service,
    /// An administrator of the app: sees and changes.
    Admin,
}

/// Keys and rules of signed tokens. Without a secret and a source of keys none is accepted.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct JwtConfig {
    /// Secret of HS256 tokens, at least 32 bytes; empty: none is accepted.
    #[schema(value_type = String)]
    pub hs256_secret: Secret,
    /// File of the public keys of RS256 and ES256 tokens, a JWK set; empty for none. Read again at every refresh.
    pub jwks_file: String,
    /// Address of the same, in place of a file. Redirects are not followed.
    pub jwks_url: String,
    /// How old the keys may become before they are fetched again, in ms. The old ones stay in use meanwhile, and for as
    /// long as fetching fails.
    pub jwks_refresh_interval_ms: u64,
    /// The least time between two fetches, in ms, also where tokens name keys that are not known yet.
    pub jwks_min_interval_ms: u64,
    /// How long one fetch may take, in ms.
    pub jwks_timeout_ms: u64,
    /// The issuer (iss) that a token must name; empty: any or none.
    pub issuer: String,
    /// The audience (aud) that a token must name. Empty: a token that names any is for somebody else and refused.
    pub audience: String,
    /// How far the clocks of issuer and API may differ, in seconds: for exp and nbf.
    pub leeway_seconds: u32,
}

impl Default for JwtConfig {
    fn default() -> Self {
        Self {
            hs256_secret: Secret::default(),
            jwks_file: String::new(),
            jwks_url: String::new(),
            jwks_refresh_interval_ms: 600_000,
            jwks_min_interval_ms: 30_000,
            jwks_timeout_ms: 5_000,
            issuer: String::new(),
            audience: String::new(),
            leeway_seconds: 60,
        }
    }
}

impl TokenConfig {
    /// An entry with its secret in clear.
    pub fn new(app: impl Into<String>, subject: impl Into<String>, role: TokenRole, token: impl Into<String>) -> Self {
        Self { app: app.into(), subject: subject.into(), role, token: Secret::new(token), token_sha256: String::new() }
    }

    /// What stands in `token_sha256` for a token, with its rules: visible ASCII characters, [`LEAST_TOKEN_BYTES`] of them.
    ///
    /// # Errors
    /// The rule that is broken, as a sentence.
    pub fn hash_of(token: &str) -> Result<String, &'static str> {
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("a token must be of visible ASCII characters, as it travels in a header");
        }
        if token.len() < LEAST_TOKEN_BYTES {
            return Err(
                "a token shorter than 20 characters cannot hold 128 random bits; `openssl rand -base64 32` makes one",
            );
        }
        Ok(hex::encode(Sha256::digest(token)))
    }

    /// SHA-256 of the secret, however it is given; `None` where it is given in neither way.
    pub(crate) fn digest(&self) -> Option<[u8; 32]> {
        if !self.token.is_empty() {
            return Some(Sha256::digest(self.token.expose()).into());
        }
        let mut digest = [0; 32];
        hex::decode_to_slice(&self.token_sha256, &mut digest).ok().map(|()| digest)
    }
}

impl JwtConfig {
    /// Whether any signed token can be accepted.
    pub(crate) fn is_on(&self) -> bool {
        !self.hs256_secret.is_empty() || !self.jwks_file.is_empty() || !self.jwks_url.is_empty()
    }

    /// Whether keys come over a line that anybody between can change: they would be whose tokens he likes.
    pub(crate) fn fetches_in_clear(&self) -> bool {
        let is_local = ["http://127.0.0.1", "http://localhost", "http://[::1]"]
            .iter()
            .any(|local| self.jwks_url.strip_prefix(local).is_some_and(|rest| rest.starts_with([':', '/'])));
        self.jwks_url.starts_with("http://") && !is_local
    }
}

impl AuthConfig {
    /// Checks the rules of tokens and keys.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`].
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let mut met = HashSet::new();
        for (index, token) in self.tokens.iter().enumerate() {
            token.check(&|name| format!("auth.tokens[{index}].{name}"), &mut met)?;
        }
        self.jwt.check()
    }
}

impl TokenConfig {
    fn check(&self, key: &dyn Fn(&str) -> String, met: &mut HashSet<[u8; 32]>) -> Result<(), ConfigError> {
        require(is_app(&self.app), &key("app"), "must be `org#name`: two ids, 128 bytes in all")?;
        require(is_id(&self.subject), &key("subject"), "must be an id: no '/', '#', white space, at most 128 bytes")?;
        let is_hashed = !self.token_sha256.is_empty();
        require(
            self.token.is_empty() || !is_hashed,
            &key("token_sha256"),
            "stands beside `token`: give the secret or its hash, not both",
        )?;
        require(self.token.as_bytes() != MASK.as_bytes(), &key("token"), MASK_RULE)?;
        let is_bearer = is_hashed || (!self.token.is_empty() && self.token.bytes().all(|byte| byte.is_ascii_graphic()));
        require(
            is_bearer,
            &key("token"),
            "must be of visible ASCII characters, as it travels in a header; or give `token_sha256` instead",
        )?;
        let digest = self.digest();
        require(digest.is_some(), &key("token_sha256"), "must be the SHA-256 of a token: 64 hexadecimal digits")?;
        let last_named = if is_hashed { "token_sha256" } else { "token" };
        require(digest.is_some_and(|digest| met.insert(digest)), &key(last_named), "stands for another entry already")
    }
}

/// What `seenby config` prints in place of a secret would be taken for the secret itself.
pub(super) const MASK_RULE: &str = "is the mask that `seenby config` prints: put the secret itself in its place";

impl JwtConfig {
    fn check(&self) -> Result<(), ConfigError> {
        let secret = self.hs256_secret.expose();
        require(secret != MASK, "auth.jwt.hs256_secret", MASK_RULE)?;
        require(
            secret.is_empty() || secret.len() >= LEAST_SECRET_BYTES,
            "auth.jwt.hs256_secret",
            "must be of at least 32 bytes: whoever guesses it signs tokens of his own",
        )?;
        let url = &self.jwks_url;
        let host = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
        require(
            url.is_empty() || host.is_some_and(|host| !host.is_empty()),
            "auth.jwt.jwks_url",
            "must begin with http:// or https:// and name a host",
        )?;
        require(
            !url.starts_with("https://") || cfg!(feature = "tls"),
            "auth.jwt.jwks_url",
            "is an https address, which this binary cannot open: it was built without the feature `tls`",
        )?;
        require(
            url.is_empty() || self.jwks_file.is_empty(),
            "auth.jwt.jwks_url",
            "stands beside `auth.jwt.jwks_file`: keys come from one of them",
        )?;
        require(self.jwks_timeout_ms >= 1, "auth.jwt.jwks_timeout_ms", "must be at least 1")?;
        require(
            self.jwks_min_interval_ms >= self.jwks_timeout_ms,
            "auth.jwt.jwks_min_interval_ms",
            "must be at least auth.jwt.jwks_timeout_ms: a fetch would begin before the last one has ended",
        )?;
        require(
            self.jwks_refresh_interval_ms >= self.jwks_min_interval_ms,
            "auth.jwt.jwks_refresh_interval_ms",
            "must be at least auth.jwt.jwks_min_interval_ms",
        )?;
        require(self.leeway_seconds <= MOST_LEEWAY_SECONDS, "auth.jwt.leeway_seconds", "must be at most 3600")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::config::Config;

    const SHA256_OF_ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn broken_key(change: impl FnOnce(&mut AuthConfig)) -> String {
        let mut config = Config::default();
        change(&mut config.auth);
        match config.check() {
            Err(ConfigError::Invalid { key, .. }) => key,
            other => format!("{other:?}"),
        }
    }

    fn token(app: &str, subject: &str, secret: &str) -> TokenConfig {
        TokenConfig::new(app, subject, TokenRole::User, secret)
    }

    fn hashed(token_sha256: &str) -> TokenConfig {
        TokenConfig { token_sha256: token_sha256.to_owned(), ..token("o#a", "s", "") }
    }

    #[test]
    fn tokens_are_whole_and_unique() {
        assert_eq!(broken_key(|auth| auth.tokens = vec![token("o", "s", "t")]), "auth.tokens[0].app");
        assert_eq!(broken_key(|auth| auth.tokens = vec![token("o#a", "", "t")]), "auth.tokens[0].subject");
        assert_eq!(broken_key(|auth| auth.tokens = vec![token("o#a", "s", "")]), "auth.tokens[0].token");
        assert_eq!(broken_key(|auth| auth.tokens = vec![token("o#a", "s", MASK)]), "auth.tokens[0].token");
        let twice = vec![token("o#a", "s", "t"), token("o#b", "s", "t")];
        assert_eq!(broken_key(|auth| auth.tokens = twice), "auth.tokens[1].token");
    }

    #[test]
    fn a_token_is_given_in_clear_or_hashed_and_never_in_both_ways() {
        assert_eq!(hashed(SHA256_OF_ABC).digest(), token("o#a", "s", "abc").digest());
        assert_eq!(hashed(&SHA256_OF_ABC.to_uppercase()).digest(), token("o#a", "s", "abc").digest());
        assert_eq!(broken_key(|auth| auth.tokens = vec![hashed(SHA256_OF_ABC)]), "Ok(())");
        for no_hash in ["ba7816", "abc", &SHA256_OF_ABC.replace('b', "x"), &format!("{SHA256_OF_ABC}00")] {
            assert_eq!(broken_key(|auth| auth.tokens = vec![hashed(no_hash)]), "auth.tokens[0].token_sha256");
        }
        let both = TokenConfig { token: Secret::new("abc"), ..hashed(SHA256_OF_ABC) };
        assert_eq!(broken_key(|auth| auth.tokens = vec![both]), "auth.tokens[0].token_sha256");
        let same = vec![token("o#a", "s", "abc"), hashed(SHA256_OF_ABC)];
        assert_eq!(broken_key(|auth| auth.tokens = same), "auth.tokens[1].token_sha256");
    }

    #[test]
    fn keys_of_signed_tokens_keep_their_rules() {
        let with = |change: fn(&mut JwtConfig)| broken_key(|auth| change(&mut auth.jwt));
        assert_eq!(with(|jwt| jwt.hs256_secret = Secret::new("a".repeat(31))), "auth.jwt.hs256_secret");
        assert_eq!(with(|jwt| jwt.hs256_secret = Secret::new(MASK)), "auth.jwt.hs256_secret");
        assert_eq!(with(|jwt| jwt.hs256_secret = Secret::new("a".repeat(32))), "Ok(())");
        assert_eq!(with(|jwt| jwt.jwks_url = "ftp://a".to_owned()), "auth.jwt.jwks_url");
        let both = with(|jwt| {
            jwt.jwks_url = "http://a/jwks".to_owned();
            jwt.jwks_file = "jwks.json".to_owned();
        });
        assert_eq!(both, "auth.jwt.jwks_url");
        assert_eq!(with(|jwt| jwt.jwks_timeout_ms = 0), "auth.jwt.jwks_timeout_ms");
        assert_eq!(with(|jwt| jwt.jwks_min_interval_ms = 4_999), "auth.jwt.jwks_min_interval_ms");
        assert_eq!(with(|jwt| jwt.jwks_refresh_interval_ms = 29_999), "auth.jwt.jwks_refresh_interval_ms");
        assert_eq!(with(|jwt| jwt.leeway_seconds = 3_601), "auth.jwt.leeway_seconds");
    }

    #[test]
    fn a_token_too_short_to_be_random_is_not_hashed() {
        assert_eq!(TokenConfig::hash_of(&"a".repeat(20)).map(|hash| hash.len()), Ok(64));
        assert!(TokenConfig::hash_of(&"a".repeat(19)).is_err());
        assert!(TokenConfig::hash_of("twenty characters with spaces").is_err());
        let token = "a".repeat(32);
        let entry = hashed(&TokenConfig::hash_of(&token).unwrap());
        assert_eq!(entry.digest(), super::TokenConfig::new("o#a", "s", TokenRole::User, token).digest());
    }

    #[test]
    #[cfg(not(feature = "tls"))]
    fn an_address_that_this_binary_cannot_open_is_refused() {
        let key = broken_key(|auth| auth.jwt.jwks_url = "https://a/jwks".to_owned());
        assert_eq!(key, "auth.jwt.jwks_url");
    }

    #[test]
    fn keys_in_clear_are_told_but_for_this_machines_own() {
        let fetches_in_clear =
            |url: &str| JwtConfig { jwks_url: url.to_owned(), ..JwtConfig::default() }.fetches_in_clear();
        assert!(fetches_in_clear("http://keys.example.com/jwks"));
        assert!(fetches_in_clear("http://localhost.example.com/jwks"));
        for fine in ["", "https://keys.example.com/jwks", "http://127.0.0.1:80/jwks", "http://localhost/jwks"] {
            assert!(!fetches_in_clear(fine), "{fine}");
        }
    }
}
