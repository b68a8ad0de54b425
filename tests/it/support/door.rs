//! The API's door: who is let in, without anything behind it.

#![allow(dead_code)] // a vocabulary: not every word is in use at any time

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, header};
use seenby::api;
use seenby::config::Config;
use seenby::observe::Telemetry;
use serde_json::Value;
use tokio::runtime::Runtime;
use tower::ServiceExt as _;

use super::api::{Answer, READERS};
use super::process::free_port;

/// An API whose ClickHouse does not listen: who is let in is told that the database does not answer.
pub struct Door {
    pub router: Router,
    pub runtime: Runtime,
}

impl Door {
    pub fn new(change: impl FnOnce(&mut Config)) -> Self {
        Self::within(Runtime::new().unwrap(), change)
    }

    /// In a runtime that other servers run in, too.
    pub fn within(runtime: Runtime, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        config.clickhouse.url = format!("http://127.0.0.1:{}", free_port());
        change(&mut config);
        config.check().unwrap();
        let router = api::router(&config, &Telemetry::default()).unwrap();
        Self { router, runtime }
    }

    pub fn ask(&self, path: &str, token: &str) -> Answer {
        let request = Request::get(path).header(header::AUTHORIZATION, format!("Bearer {token}"));
        self.send(request.body(Body::empty()).unwrap())
    }

    pub fn send(&self, request: Request<Body>) -> Answer {
        let (status, headers, body) = self.raw(request);
        Answer { status, headers, body: serde_json::from_slice(&body).unwrap_or(Value::Null) }
    }

    /// What `/metrics` says.
    pub fn metrics(&self) -> String {
        String::from_utf8(self.raw(Request::get("/metrics").body(Body::empty()).unwrap()).2).unwrap()
    }

    fn raw(&self, request: Request<Body>) -> (u16, axum::http::HeaderMap, Vec<u8>) {
        self.runtime.block_on(async {
            let response = self.router.clone().oneshot(request).await.unwrap();
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            (status, headers, to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec())
        })
    }

    /// Whether a token is good.
    pub fn lets_in(&self, token: &str) -> bool {
        let Answer { status, body, .. } = self.ask(READERS, token);
        match (status, body["code"].as_str().unwrap()) {
            (503, "unavailable") if body["detail"].as_str().unwrap().contains("database") => true,
            (401, "unauthorized") => false,
            _ => panic!("{body}"),
        }
    }
}
