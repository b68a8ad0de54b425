//! The API over a deployment's tables, asked without a socket.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, header};
use seenby::api;
use seenby::config::{TokenConfig, TokenRole};
use seenby::observe::Telemetry;
use serde_json::Value;
use tower::ServiceExt as _;

use super::events::APP;
use super::worker::Deployment;

/// What a service of [`APP`] is answered.
pub struct Answers {
    router: Router,
    runtime: tokio::runtime::Runtime,
}

impl Answers {
    pub fn of(deployment: &Deployment) -> Self {
        let mut config = deployment.config.clone();
        config.auth.tokens = vec![TokenConfig::new(APP, "crm", TokenRole::Service, "token-of-a-service")];
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { router: api::router(&config, &Telemetry::default()).unwrap(), runtime }
    }

    /// The answer to a path, which must succeed.
    pub fn get(&self, path: &str) -> Value {
        let request = Request::get(path).header(header::AUTHORIZATION, "Bearer token-of-a-service");
        self.runtime.block_on(async {
            let response = self.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
            let status = response.status();
            let body = to_bytes(response.into_body(), 16 << 20).await.unwrap();
            assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(&body));
            serde_json::from_slice(&body).unwrap()
        })
    }
}

/// The readers of a page, in its order.
pub fn names(page: &Value) -> Vec<String> {
    let readers = page["readers"].as_array().unwrap();
    readers.iter().map(|reader| reader["user"].as_str().unwrap().to_owned()).collect()
}
