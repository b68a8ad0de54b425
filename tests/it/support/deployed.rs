//! The API over a deployment's log and tables, asked without a socket.

#![allow(dead_code)] // a vocabulary: not every word is in use at any time

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, header};
use seenby::api;
use seenby::config::Config;
use seenby::observe::Telemetry;
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tower::ServiceExt as _;

use super::api::{Answer, tokens};
use super::worker::Deployment;

/// The API in process, with the tokens of [`tokens`].
pub struct DeployedApi {
    pub router: Router,
    pub runtime: Runtime,
}

impl DeployedApi {
    pub fn of(deployment: &Deployment) -> Self {
        Self::with_config(deployment, |_| {})
    }

    pub fn with_config(deployment: &Deployment, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = deployment.config.clone();
        config.auth.tokens = tokens();
        // Several ask at once, each with clients of its own, on whatever machine.
        config.api.timeout_ms = 60_000;
        change(&mut config);
        config.check().unwrap();
        Self { router: api::router(&config, &Telemetry::default()).unwrap(), runtime: Runtime::new().unwrap() }
    }

    pub fn send(&self, request: Request<Body>) -> Answer {
        self.runtime.block_on(answer(self.router.clone(), request))
    }

    /// Sends in the background; whoever aborts it is gone.
    pub fn begin(&self, request: Request<Body>) -> JoinHandle<Answer> {
        self.runtime.spawn(answer(self.router.clone(), request))
    }

    /// Asks with a token.
    pub fn get(&self, path: &str, token: &str) -> Answer {
        let request = Request::get(path).header(header::AUTHORIZATION, format!("Bearer {token}"));
        self.send(request.body(Body::empty()).unwrap())
    }
}

async fn answer(router: Router, request: Request<Body>) -> Answer {
    let response = router.oneshot(request).await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = to_bytes(response.into_body(), 16 << 20).await.unwrap();
    Answer { status, headers, body: serde_json::from_slice(&body).unwrap_or(Value::Null) }
}
