//! The tokens of the configuration.

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::Caller;
use crate::config::TokenConfig;

/// The known tokens. Only their digests are kept.
pub(crate) struct StaticTokens(Vec<([u8; 32], Caller)>);

impl std::fmt::Debug for StaticTokens {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} tokens", self.0.len())
    }
}

impl StaticTokens {
    /// Those of a checked configuration; an entry without token and digest would stand for nobody.
    pub(crate) fn new(tokens: &[TokenConfig]) -> Self {
        let known = tokens.iter().filter_map(|token| {
            let caller = Caller { app: token.app.clone(), subject: token.subject.clone(), role: token.role };
            Some((token.digest()?, caller))
        });
        Self(known.collect())
    }

    /// Whose token it is, and its digest.
    pub(crate) fn caller(&self, token: &str) -> Option<(&Caller, [u8; 32])> {
        let presented: [u8; 32] = Sha256::digest(token).into();
        // Digests are of one length and all of them are compared to the end: the time taken tells nothing of a token.
        let mut caller = None;
        for (known, candidate) in &self.0 {
            if bool::from(known.ct_eq(&presented)) {
                caller = Some(candidate);
            }
        }
        caller.map(|caller| (caller, presented))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TokenRole;

    #[test]
    fn a_hashed_token_is_the_same_token() {
        let clear = TokenConfig::new("o#a", "alice", TokenRole::Service, "secret-of-alice");
        let hash = clear.digest().map(hex::encode).unwrap_or_default();
        let hashed = TokenConfig { token_sha256: hash.clone(), ..TokenConfig::new("o#a", "bob", TokenRole::User, "") };
        let tokens = StaticTokens::new(&[hashed]);
        assert_eq!(tokens.caller("secret-of-alice").map(|(caller, _)| caller.subject.as_str()), Some("bob"));
        assert_eq!(tokens.caller(&hash), None, "who reads the configuration has no token by it");
        assert_eq!(tokens.caller(""), None);
    }

    #[test]
    fn tokens_cannot_be_read_back() {
        let tokens = StaticTokens::new(&[TokenConfig::new("o#a", "alice", TokenRole::User, "secret-of-alice")]);
        assert_eq!(format!("{tokens:?}"), "1 tokens");
    }
}
