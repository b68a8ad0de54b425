//! The API in process, over a log folded into a real store.

#![allow(dead_code)] // a vocabulary: not every word is in use at any time

use std::net::SocketAddr;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, header};
use seenby::api;
use seenby::config::{Config, TokenConfig, TokenRole};
use seenby::fold::Outcome;
use seenby::observe::Telemetry;
use seenby::policy::{Policy, Senders, Viewers};
use serde_json::Value;
use tokio::net::TcpListener;
use tower::ServiceExt as _;

use super::events::{APP, OwnedRecord, policy};
use super::store::{Log, TestStore, topic};

/// A service's token for [`APP`].
pub const SERVICE: &str = "token-of-a-service";

/// Path of the reader list of m1 in g1.
pub const READERS: &str = "/v1/org/app/groups/g1/messages/m1/readers";

/// The same in the vendor's API.
pub const ACKS: &str = "/org/app/chatgroups/g1/acks/m1";

/// A store, a log of one partition that is folded into it, and the API before it.
pub struct TestApi {
    pub store: TestStore,
    pub config: Config,
    pub log: Log,
    pub router: Router,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    /// Null where the body is no JSON.
    pub body: Value,
}

impl TestApi {
    /// With the tokens of [`tokens`].
    pub fn new(test: &str) -> Self {
        Self::with_config(test, |_| {})
    }

    pub fn with_config(test: &str, change: impl FnOnce(&mut Config)) -> Self {
        let store = TestStore::new(test);
        let mut config = Config { clickhouse: store.config.clone(), ..Config::default() };
        config.auth.tokens = tokens();
        // Tests ask right after a flush.
        config.api.as_of_max_age_ms = 0;
        change(&mut config);
        let router = api::router(&config, &Telemetry::default()).unwrap();
        let log = Log::new(&topic(config.kafka.epoch, 1), 0);
        Self { store, config, log, router }
    }

    /// With tokens of services of the apps `org#000` to `org#999`, called `token-of-{app}`.
    pub fn with_tokens_of_numbered_apps(test: &str) -> Self {
        Self::with_config(test, |config| {
            config.auth.tokens.extend((0..1_000).map(|number| {
                TokenConfig::new(
                    format!("org#{number:03}"),
                    "crm",
                    TokenRole::Service,
                    format!("token-of-org#{number:03}"),
                )
            }));
        })
    }

    /// Folds one flush and writes it.
    pub fn flush(&mut self, records: &[OwnedRecord]) -> Vec<Outcome> {
        self.log.flush(records, &mut self.store.store)
    }

    /// Asks with a token.
    pub fn get(&self, path: &str, token: &str) -> Answer {
        let request = Request::get(path).header(header::AUTHORIZATION, format!("Bearer {token}"));
        self.send(request.body(Body::empty()).unwrap())
    }

    /// Posts JSON with a token.
    pub fn post(&self, path: &str, token: &str, body: &Value) -> Answer {
        let request = Request::post(path)
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .header(header::CONTENT_TYPE, "application/json");
        self.send(request.body(Body::from(body.to_string())).unwrap())
    }

    /// Asks with [`SERVICE`] and expects an answer.
    pub fn ok(&self, path: &str) -> Value {
        let answer = self.get(path, SERVICE);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.body
    }

    /// Serves the same on a socket for as long as this lives, with readiness, and gives its address.
    pub fn listen(&self) -> SocketAddr {
        let listener = self.store.runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let config = self.config.clone();
        self.store.runtime.spawn(async move {
            api::serve(&config, Telemetry::default(), listener, std::future::pending()).await.unwrap();
        });
        address
    }

    pub fn send(&self, request: Request<Body>) -> Answer {
        self.store.runtime.block_on(async {
            let response = self.router.clone().oneshot(request).await.unwrap();
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            let body = to_bytes(response.into_body(), 16 << 20).await.unwrap();
            Answer { status, headers, body: serde_json::from_slice(&body).unwrap_or(Value::Null) }
        })
    }
}

/// `SERVICE`, an administrator, a service of another app, and the users alice, bob, carol and mallory, whose tokens are
/// `token-of-{name}`.
pub fn tokens() -> Vec<TokenConfig> {
    let mut tokens = vec![
        TokenConfig::new(APP, "crm", TokenRole::Service, SERVICE),
        TokenConfig::new(APP, "root", TokenRole::Admin, "token-of-root"),
        TokenConfig::new("org#other", "crm", TokenRole::Service, "token-of-another-app"),
    ];
    for user in ["alice", "bob", "carol", "mallory"] {
        tokens.push(TokenConfig::new(APP, user, TokenRole::User, format!("token-of-{user}")));
    }
    tokens
}

/// A policy under which every member may ask for receipts, with further changes.
pub fn open_policy(version: u64, change: impl FnOnce(&mut Policy)) -> OwnedRecord {
    policy(version, |policy| {
        policy.group.open = true;
        policy.group.senders = Senders::Members;
        change(policy);
    })
}

/// The same with a viewers rule.
pub fn open_for(version: u64, viewers: Viewers) -> OwnedRecord {
    open_policy(version, |policy| policy.group.viewers = viewers)
}

/// The users of a list, in its order.
pub fn users(list: &Value) -> Vec<String> {
    let readers = list["readers"].as_array().unwrap();
    readers.iter().map(|reader| reader["user"].as_str().unwrap().to_owned()).collect()
}
