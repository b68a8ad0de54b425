//! A set of public keys (RFC 7517), of which those are taken that signatures can be checked with here.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

/// The most keys of a set: a token without a key's name is tried with each.
const MOST_KEYS: usize = 64;

/// Bytes of an RSA modulus: what is shorter than 2048 bits can be factored some day soon, and the arithmetic takes no more
/// than 4096.
const MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=512;

/// The most bytes of an RSA exponent: a long one would only cost time.
const MOST_EXPONENT_BYTES: usize = 4;

/// Bytes of a coordinate on P-256.
const COORDINATE_BYTES: usize = 32;

/// Why a set of keys cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeySetError {
    /// It is no JWK set.
    #[error("it is no JWK set, an object with a list `keys`: {0}")]
    Syntax(#[from] serde_json::Error),
    /// It has more keys than are looked through.
    #[error("it has {0} keys, and at most {MOST_KEYS} are looked through")]
    TooMany(usize),
    /// No key of it is of use.
    #[error("it has no key for RS256 (RSA of 2048 to 4096 bits) or ES256 (P-256) signatures: {0}")]
    NoneUsable(String),
}

/// The keys that tokens are checked with.
#[derive(Debug)]
pub(crate) struct KeySet(Vec<PublicKey>);

/// A key, and the one algorithm that it is for. A signature by another algorithm is never checked with it: otherwise a
/// public RSA key would be a good HS256 secret to everybody.
#[derive(Debug)]
struct PublicKey {
    name: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

#[derive(Deserialize)]
struct SetDocument {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct KeyDocument {
    kty: String,
    #[serde(rename = "use")]
    intended_use: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    n: Option<String>,
    e: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    /// Reads a JWK set. Keys for other purposes may stand in it and are passed over.
    ///
    /// # Errors
    /// [`KeySetError`].
    pub(crate) fn parse(text: &[u8]) -> Result<Self, KeySetError> {
        let document: SetDocument = serde_json::from_slice(text)?;
        if document.keys.len() > MOST_KEYS {
            return Err(KeySetError::TooMany(document.keys.len()));
        }
        let mut keys = Vec::new();
        let mut reasons = Vec::new();
        for (index, key) in document.keys.into_iter().enumerate() {
            let parsed = serde_json::from_value(key).map_err(|error| error.to_string());
            match parsed.and_then(|key: KeyDocument| PublicKey::new(key).map_err(str::to_owned)) {
                Ok(key) => keys.push(key),
                Err(reason) => {
                    tracing::debug!(index, reason, "a key of the set is passed over");
                    reasons.push(format!("keys[{index}]: {reason}"));
                }
            }
        }
        if keys.is_empty() { Err(KeySetError::NoneUsable(reasons.join("; "))) } else { Ok(Self(keys)) }
    }

    /// The keys that a token of this algorithm may be signed with: those of the name that it gives, or all of them.
    pub(crate) fn candidates(&self, algorithm: Algorithm, name: Option<&str>) -> impl Iterator<Item = &DecodingKey> {
        let is_candidate = move |key: &&PublicKey| {
            key.algorithm == algorithm && name.is_none_or(|name| key.name.as_deref() == Some(name))
        };
        self.0.iter().filter(is_candidate).map(|key| &key.key)
    }

    /// Whether some key has this name.
    pub(crate) fn names(&self, name: &str) -> bool {
        self.0.iter().any(|key| key.name.as_deref() == Some(name))
    }

    /// How many keys it has.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

impl PublicKey {
    fn new(document: KeyDocument) -> Result<Self, &'static str> {
        if document.intended_use.as_deref().is_some_and(|intended_use| intended_use != "sig") {
            return Err("it is not for signatures (use)");
        }
        if document.key_ops.as_deref().is_some_and(|operations| !operations.iter().any(|name| name == "verify")) {
            return Err("it is not for checking signatures (key_ops)");
        }
        let (algorithm, name, key) = match document.kty.as_str() {
            "RSA" => (Algorithm::RS256, "RS256", rsa_key(document.n.as_deref(), document.e.as_deref())?),
            "EC" if document.crv.as_deref() == Some("P-256") => {
                (Algorithm::ES256, "ES256", ec_key(document.x.as_deref(), document.y.as_deref())?)
            }
            "EC" => return Err("its curve is not P-256"),
            // A secret in a set of public keys is none any more.
            "oct" => return Err("a secret has no place among public keys: use auth.jwt.hs256_secret"),
            _ => return Err("its kind is neither RSA nor EC"),
        };
        if document.alg.as_deref().is_some_and(|intended| intended != name) {
            return Err("it is for an algorithm that is not taken here (alg)");
        }
        // Finds out whether the numbers are a key at all: a point that is not on the curve, an even modulus.
        jsonwebtoken::crypto::verify("", b"", &key, algorithm).map_err(|_| "its numbers are no key")?;
        Ok(Self { name: document.kid, algorithm, key })
    }
}

fn rsa_key(modulus: Option<&str>, exponent: Option<&str>) -> Result<DecodingKey, &'static str> {
    let modulus = number(modulus).ok_or("n is missing or not in base64url")?;
    let exponent = number(exponent).ok_or("e is missing or not in base64url")?;
    if !MODULUS_BYTES.contains(&modulus.len()) {
        return Err("its modulus is not of 2048 to 4096 bits");
    }
    if exponent.len() > MOST_EXPONENT_BYTES {
        return Err("its exponent is longer than 32 bits");
    }
    Ok(DecodingKey::from_rsa_raw_components(&modulus, &exponent))
}

/// Coordinates keep their leading zeros.
fn ec_key(x: Option<&str>, y: Option<&str>) -> Result<DecodingKey, &'static str> {
    let coordinate = |text: Option<&str>| {
        let bytes = URL_SAFE_NO_PAD.decode(text?).ok()?;
        (bytes.len() == COORDINATE_BYTES).then_some(bytes)
    };
    let (Some(x), Some(y)) = (coordinate(x), coordinate(y)) else {
        return Err("x or y is missing, or not of 32 bytes in base64url");
    };
    // The form of a point without compression (SEC 1).
    Ok(DecodingKey::from_ec_der(&[&[0x04], x.as_slice(), y.as_slice()].concat()))
}

/// A number without its leading zeros.
fn number(text: Option<&str>) -> Option<Vec<u8>> {
    let bytes = URL_SAFE_NO_PAD.decode(text?).ok()?;
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.get(zeros..).map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    /// The key of RFC 7517's first example, on P-256.
    fn ec() -> Value {
        json!({
            "kty": "EC",
            "crv": "P-256",
            "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
            "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
            "kid": "1",
        })
    }

    fn with(changes: Value) -> Value {
        let mut key = ec();
        for (name, value) in changes.as_object().unwrap() {
            key[name] = value.clone();
        }
        key
    }

    fn parse(keys: Value) -> Result<KeySet, KeySetError> {
        KeySet::parse(json!({ "keys": keys }).to_string().as_bytes())
    }

    #[test]
    fn a_key_is_found_by_its_name_and_for_its_algorithm_alone() {
        let set = parse(json!([ec(), with(json!({"kid": "2"})), {"kty": "OKP", "crv": "Ed25519", "x": "a"}])).unwrap();
        assert_eq!(set.len(), 2);
        assert_eq!(set.candidates(Algorithm::ES256, Some("1")).count(), 1);
        assert_eq!(set.candidates(Algorithm::ES256, None).count(), 2);
        assert_eq!(set.candidates(Algorithm::ES256, Some("3")).count(), 0);
        for other in [Algorithm::HS256, Algorithm::RS256, Algorithm::ES384, Algorithm::PS256] {
            assert_eq!(set.candidates(other, Some("1")).count(), 0, "{other:?}");
            assert_eq!(set.candidates(other, None).count(), 0, "{other:?}");
        }
        assert!(set.names("2") && !set.names("3"));
    }

    #[test]
    fn keys_of_no_use_are_passed_over_with_their_reason() {
        for (key, reason) in [
            (with(json!({"use": "enc"})), "(use)"),
            (with(json!({"key_ops": ["sign"]})), "(key_ops)"),
            (with(json!({"alg": "ES384"})), "(alg)"),
            (with(json!({"alg": "HS256"})), "(alg)"),
            (with(json!({"crv": "P-384"})), "P-256"),
            (with(json!({"x": "AAAA"})), "32 bytes"),
            (with(json!({"y": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4"})), "no key"),
            (json!({"kty": "oct", "k": "c2VjcmV0"}), "secret"),
            (json!({"kty": "RSA", "n": "AQAB", "e": "AQAB"}), "2048"),
            (json!({"kty": "RSA", "e": "AQAB"}), "n is missing"),
            (json!({"kty": "RSA", "n": URL_SAFE_NO_PAD.encode([0xff; 256]), "e": "AQABAQAB"}), "exponent"),
            (json!({"x": "a"}), "kty"),
        ] {
            let message = parse(json!([key])).unwrap_err().to_string();
            assert!(message.contains("keys[0]") && message.contains(reason), "{message}");
            assert_eq!(parse(json!([key, ec()])).unwrap().len(), 1);
        }
    }

    #[test]
    fn what_is_no_set_is_refused() {
        for text in ["", "[]", "{}", r#"{"keys": 1}"#, "<html>"] {
            assert!(matches!(KeySet::parse(text.as_bytes()), Err(KeySetError::Syntax(_))), "{text}");
        }
        assert!(matches!(parse(json!([])), Err(KeySetError::NoneUsable(_))));
        assert!(matches!(parse(json!(vec![ec(); 65])), Err(KeySetError::TooMany(65))));
    }
}
