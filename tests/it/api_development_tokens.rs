//! The vendor's token endpoint: off, and on a development machine.

use axum::body::Body;
use axum::http::{Request, header};
use seenby::config::{Config, ConfigError, Secret};
use serde_json::{Value, json};

use crate::support::api::{Answer, READERS};
use crate::support::door::Door;
use crate::support::issuer::SECRET;

fn on(config: &mut Config) {
    config.api.development_tokens = true;
    config.auth.jwt.hs256_secret = Secret::new(SECRET);
}

fn grant(username: &str) -> Value {
    json!({"grant_type": "password", "username": username, "password": "any", "timestamp": 1_631_774_325_918_u64})
}

fn log_in(door: &Door, body: &str) -> Answer {
    door.send(Request::post("/org/app/token").body(Body::from(body.to_owned())).unwrap())
}

#[test]
fn it_is_off_unless_turned_on_and_then_needs_a_secret() {
    let door = Door::new(|config| config.auth.jwt.hs256_secret = Secret::new(SECRET));
    let refused = log_in(&door, &grant("alice").to_string());
    assert_eq!((refused.status, &refused.body["error"]), (404, &json!("not_found")));
    assert!(refused.body["exception"].is_string() && refused.body["error_description"].is_string());

    let mut config = Config::default();
    config.api.development_tokens = true;
    let Err(ConfigError::Invalid { key, .. }) = config.check() else { panic!("it signs with nothing") };
    assert_eq!(key, "api.development_tokens");
}

#[test]
fn a_token_is_a_users_of_the_apps_whose_path_was_asked() {
    let door = Door::new(|config| {
        on(config);
        config.auth.jwt.issuer = "https://localhost".to_owned();
        config.auth.jwt.audience = "seenby".to_owned();
    });
    let granted = log_in(&door, &grant("alice").to_string());
    assert_eq!(granted.status, 200, "{}", granted.body);
    assert_eq!(granted.body["expires_in"], 86_400);
    assert_eq!(granted.body["user"], json!({"username": "alice", "activated": true}));
    assert_eq!(granted.headers[header::CACHE_CONTROL], "no-store");
    let token = granted.body["access_token"].as_str().unwrap();
    assert!(door.lets_in(token));
    assert_eq!(door.ask(&READERS.replace("/app/", "/other/"), token).status, 404);
}

#[test]
fn a_body_that_breaks_a_rule_is_refused_in_the_vendors_form() {
    let door = Door::new(on);
    let mut other_grant = grant("alice");
    other_grant["grant_type"] = "client_credentials".into();
    let mut no_password = grant("alice");
    no_password["password"] = "".into();
    for (body, named) in [
        (String::new(), "body"),
        ("{".to_owned(), "body"),
        (json!({"grant_type": "password", "username": "alice"}).to_string(), "password"),
        (other_grant.to_string(), "grant_type"),
        (no_password.to_string(), "password"),
        (grant("a b").to_string(), "username"),
        (grant("").to_string(), "username"),
    ] {
        let refused = log_in(&door, &body);
        assert_eq!((refused.status, &refused.body["error"]), (400, &json!("invalid_request")), "{body}");
        let description = refused.body["error_description"].as_str().unwrap();
        assert!(description.contains(named), "{body}: {description}");
    }
}
