//! Every endpoint of the description with a sample question, and who is answered what: one row an endpoint. A new endpoint
//! without a row fails the tests of `api_roles`.

use axum::body::Body;
use axum::http::{Request, header};

/// An endpoint.
pub struct Endpoint {
    /// Method and path as in schemas/openapi.json.
    pub name: &'static str,
    /// The sample's query string.
    pub query: &'static str,
    /// The sample's body, JSON; empty for none.
    pub body: &'static str,
    /// Further headers of the sample.
    pub headers: &'static [(&'static str, &'static str)],
    /// Who is answered what.
    pub answers: Answers,
}

/// Who is answered what.
#[derive(Clone, Copy)]
pub enum Answers {
    /// Everybody the same, without a token: no app's data are in it.
    Public(u16),
    /// By role.
    Roles(Statuses),
}

/// The status that each role is answered with in his own app.
#[derive(Clone, Copy)]
pub struct Statuses {
    /// Alice, a user whose own it is: she sent the message, is one of the two, is the user asked for.
    pub own: u16,
    /// Mallory, a user whose it is not.
    pub other: u16,
    /// A service.
    pub service: u16,
    /// An administrator.
    pub admin: u16,
}

/// A row without query, body and headers; give those with `..`.
const fn endpoint(name: &'static str, answers: Answers) -> Endpoint {
    Endpoint { name, query: "", body: "", headers: &[], answers }
}

/// Statuses in the order of the table: own, other user, service, administrator.
const fn roles(own: u16, other: u16, service: u16, admin: u16) -> Answers {
    Answers::Roles(Statuses { own, other, service, admin })
}

/// The table. Alice sent `m1` in the group `g1` and `m1` to bob; mallory has nothing to do with either; the policy lets the
/// sender alone see a reader list.
pub const ENDPOINTS: &[Endpoint] = &[
    endpoint("GET /livez", Answers::Public(200)),
    endpoint("GET /readyz", Answers::Public(200)),
    endpoint("GET /metrics", Answers::Public(200)),
    endpoint("GET /openapi.json", Answers::Public(200)),
    endpoint("GET /docs", Answers::Public(200)),
    // Off, as it is by default.
    endpoint("POST /{org}/{app}/token", Answers::Public(404)),
    endpoint("GET /v1/{org}/{app}/groups/{group}/messages/{message}/readers", roles(200, 403, 200, 200)),
    endpoint("GET /{org}/{app}/chatgroups/{group}/acks/{message}", roles(200, 403, 200, 200)),
    Endpoint {
        // Who may not see a message is told so in its item.
        body: r#"{"items": [{"group": "g1", "message": "m1"}]}"#,
        ..endpoint("POST /v1/{org}/{app}/receipts/query", roles(200, 200, 200, 200))
    },
    endpoint("GET /v1/{org}/{app}/singles/{a}/{b}/messages/{message}", roles(200, 403, 200, 200)),
    endpoint("GET /v1/{org}/{app}/users/{user}/unread", roles(200, 403, 200, 200)),
    endpoint("GET /v1/{org}/{app}/users/{user}/statistics", roles(200, 403, 200, 200)),
    endpoint("GET /v1/{org}/{app}/users/{user}/data", roles(403, 403, 200, 200)),
    // There is no broker to write it to.
    endpoint("DELETE /v1/{org}/{app}/users/{user}/data", roles(403, 403, 403, 503)),
    endpoint("GET /v1/{org}/{app}/groups/{group}/quota", roles(403, 403, 200, 200)),
    Endpoint {
        body: r#"{"from": "alice", "role": "owner"}"#,
        ..endpoint("POST /v1/{org}/{app}/groups/{group}/receipt-check", roles(200, 403, 200, 200))
    },
    endpoint("GET /v1/{org}/{app}/latency", roles(403, 403, 200, 200)),
    endpoint("GET /v1/{org}/{app}/outcomes", roles(403, 403, 200, 200)),
    endpoint("GET /v1/{org}/{app}/policy", roles(403, 403, 200, 200)),
    endpoint("GET /v1/{org}/{app}/policy/history", roles(403, 403, 200, 200)),
    // Without the version that the change was made from.
    Endpoint { body: "{}", ..endpoint("PUT /v1/{org}/{app}/policy", roles(403, 403, 403, 428)) },
    Endpoint {
        // No time at all: nothing of the log is read.
        body: r#"{"from": 5, "to": 5, "policy": {}}"#,
        ..endpoint("POST /v1/{org}/{app}/policy/what-if", roles(403, 403, 403, 400))
    },
    endpoint("GET /v1/{org}/{app}/rejections", roles(403, 403, 200, 200)),
    Endpoint { query: "table=messages", ..endpoint("GET /v1/{org}/{app}/export", roles(403, 403, 403, 200)) },
];

/// What stands for the names in a path.
const IDS: &[(&str, &str)] =
    &[("{group}", "g1"), ("{message}", "m1"), ("{user}", "alice"), ("{a}", "alice"), ("{b}", "bob")];

impl Endpoint {
    /// The sample for an app, `org#name`, with another query string or body where one is given.
    pub fn request(&self, app: &str, token: Option<&str>, query: Option<&str>, body: Option<&str>) -> Request<Body> {
        let (method, path) = self.name.split_once(' ').unwrap();
        let (org, name) = app.split_once('#').unwrap();
        let mut path = path.replace("{org}", org).replace("{app}", name);
        for (placeholder, id) in IDS {
            path = path.replace(placeholder, id);
        }
        assert!(!path.contains('{'), "{path}: give the name an id in IDS");
        let query = query.unwrap_or(self.query);
        let separator = if query.is_empty() { "" } else { "?" };
        let mut request = Request::builder().method(method).uri(format!("{path}{separator}{query}"));
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        for (name, value) in self.headers {
            request = request.header(*name, *value);
        }
        let body = body.unwrap_or(self.body);
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        request.body(Body::from(body.to_owned())).unwrap()
    }
}
