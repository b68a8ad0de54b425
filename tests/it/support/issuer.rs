//! An issuer of signed tokens: keys made in this process, and the address at which it publishes them.

#![allow(dead_code)] // a vocabulary: not every word is in use at any time

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use p256::pkcs8::EncodePrivateKey as _;
use rsa::pkcs1::{EncodeRsaPrivateKey as _, EncodeRsaPublicKey as _};
use rsa::rand_core::OsRng;
use rsa::traits::PublicKeyParts as _;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use super::events::APP;

/// The secret of HS256 tokens.
pub const SECRET: &str = "a secret of at least thirty-two bytes";

/// A key that signs.
#[derive(Clone)]
pub struct Key {
    pub algorithm: Algorithm,
    pub name: Option<String>,
    signing: EncodingKey,
    /// Its public half as a JWK without a name; null for a secret.
    public: Value,
}

impl Key {
    pub fn secret(secret: &str) -> Self {
        let signing = EncodingKey::from_secret(secret.as_bytes());
        Self { algorithm: Algorithm::HS256, name: None, signing, public: Value::Null }
    }

    /// The one RSA key of the test run: making one takes a second.
    pub fn rsa() -> Self {
        let private = rsa_key();
        Self {
            algorithm: Algorithm::RS256,
            name: Some("rsa".to_owned()),
            signing: EncodingKey::from_rsa_der(private.to_pkcs1_der().unwrap().as_bytes()),
            public: json!({
                "kty": "RSA",
                "n": URL_SAFE_NO_PAD.encode(private.n().to_bytes_be()),
                "e": URL_SAFE_NO_PAD.encode(private.e().to_bytes_be()),
            }),
        }
    }

    /// A new key on P-256.
    pub fn ec(name: &str) -> Self {
        let private = p256::ecdsa::SigningKey::random(&mut OsRng);
        let point = private.verifying_key().to_encoded_point(false);
        Self {
            algorithm: Algorithm::ES256,
            name: Some(name.to_owned()),
            signing: EncodingKey::from_ec_der(private.to_pkcs8_der().unwrap().as_bytes()),
            public: json!({
                "kty": "EC",
                "crv": "P-256",
                "x": URL_SAFE_NO_PAD.encode(point.x().unwrap()),
                "y": URL_SAFE_NO_PAD.encode(point.y().unwrap()),
            }),
        }
    }

    pub fn named(mut self, name: Option<&str>) -> Self {
        self.name = name.map(str::to_owned);
        self
    }

    /// The public half as it stands in a set.
    pub fn jwk(&self) -> Value {
        let mut jwk = self.public.clone();
        if let Some(name) = &self.name {
            jwk["kid"] = name.as_str().into();
        }
        jwk
    }
}

fn rsa_key() -> &'static rsa::RsaPrivateKey {
    static KEY: OnceLock<rsa::RsaPrivateKey> = OnceLock::new();
    KEY.get_or_init(|| rsa::RsaPrivateKey::new(&mut OsRng, 2048).unwrap())
}

/// The public half of [`Key::rsa`] in the forms that a careless verifier might take for a secret.
pub fn rsa_public_key_as_secrets() -> Vec<Vec<u8>> {
    let der = rsa_key().to_public_key().to_pkcs1_der().unwrap().into_vec();
    let modulus = rsa_key().n().to_bytes_be();
    let pem = rsa_key().to_public_key().to_pkcs1_pem(rsa::pkcs1::LineEnding::LF).unwrap();
    let jwk_modulus = URL_SAFE_NO_PAD.encode(&modulus).into_bytes();
    vec![der, modulus, pem.into_bytes(), jwk_modulus]
}

/// A token in the making: starts as alice's of [`APP`], good for an hour.
#[derive(Clone)]
pub struct Token {
    claims: Map<String, Value>,
    header: Map<String, Value>,
}

pub fn token() -> Token {
    let claims = json!({"app": APP, "sub": "alice", "role": "user", "exp": seconds() + 3_600});
    Token { claims: claims.as_object().unwrap().clone(), header: Map::new() }
}

/// Seconds since 1970.
pub fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

impl Token {
    pub fn with(mut self, claim: &str, value: impl Into<Value>) -> Self {
        self.claims.insert(claim.to_owned(), value.into());
        self
    }

    pub fn without(mut self, claim: &str) -> Self {
        self.claims.remove(claim);
        self
    }

    /// Sets a field of the header to whatever.
    pub fn header(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.header.insert(field.to_owned(), value.into());
        self
    }

    pub fn signed(&self, key: &Key) -> String {
        if self.header.is_empty() {
            let header = Header { kid: key.name.clone(), ..Header::new(key.algorithm) };
            return encode(&header, &self.claims, &key.signing).unwrap();
        }
        let mut header = json!({"typ": "JWT", "alg": format!("{:?}", key.algorithm)});
        if let Some(name) = &key.name {
            header["kid"] = name.as_str().into();
        }
        for (field, value) in &self.header {
            header[field] = value.clone();
        }
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(&header), part(&Value::Object(self.claims.clone())));
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key.signing, key.algorithm).unwrap();
        format!("{message}.{signature}")
    }

    /// With an algorithm in its header and no signature at all.
    pub fn unsigned(&self, algorithm: &str) -> String {
        let header = URL_SAFE_NO_PAD.encode(json!({"typ": "JWT", "alg": algorithm}).to_string());
        format!("{header}.{}.", URL_SAFE_NO_PAD.encode(Value::Object(self.claims.clone()).to_string()))
    }

    /// Signed with bytes as the secret of HS256, whatever they are.
    pub fn signed_with_secret(&self, secret: &[u8], name: Option<&str>) -> String {
        let header = Header { kid: name.map(str::to_owned), ..Header::new(Algorithm::HS256) };
        encode(&header, &self.claims, &EncodingKey::from_secret(secret)).unwrap()
    }
}

/// A set of public keys.
pub fn key_set(keys: &[&Key]) -> String {
    json!({"keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>()}).to_string()
}

/// The address of a key set, which counts who asks.
pub struct KeyServer {
    pub url: String,
    asked: Arc<AtomicU64>,
    answer: Arc<Mutex<(u16, String)>>,
}

impl KeyServer {
    pub fn start(runtime: &Runtime, set: String) -> Self {
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let (asked, answer) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new((200, set))));
        let (counter, answers) = (Arc::clone(&asked), Arc::clone(&answer));
        let keys = get(move || async move {
            counter.fetch_add(1, Ordering::SeqCst);
            let (status, body) = answers.lock().unwrap().clone();
            (StatusCode::from_u16(status).unwrap(), body).into_response()
        });
        runtime.spawn(async move { axum::serve(listener, Router::new().route("/jwks", keys)).await });
        Self { url: format!("http://{address}/jwks"), asked, answer }
    }

    /// What it answers from now on.
    pub fn set(&self, status: u16, set: String) {
        *self.answer.lock().unwrap() = (status, set);
    }

    /// How often it was asked.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }
}
