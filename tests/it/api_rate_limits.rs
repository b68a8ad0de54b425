//! How much one caller, one app, and all who have no good token may ask.

use seenby::config::{Config, Secret, TokenConfig, TokenRole};
use serde_json::json;

use crate::support::api::{ACKS, READERS, SERVICE, tokens};
use crate::support::door::Door;
use crate::support::issuer::{Key, SECRET, seconds, token};

/// So few a second that nothing is refilled while a test runs.
fn slow(config: &mut Config) {
    config.auth.tokens = tokens();
    config.api.rate_limit_per_second = 1;
    config.api.rate_limit_burst = 100;
}

fn statuses(door: &Door, path: &str, token: &str, times: usize) -> Vec<u16> {
    (0..times).map(|_| door.ask(path, token).status).collect()
}

#[test]
fn who_asks_too_much_is_told_when_to_go_on_and_others_are_not_troubled() {
    let door = Door::new(|config| {
        slow(config);
        config.api.rate_limit_burst = 3;
    });
    assert_eq!(statuses(&door, READERS, SERVICE, 3), [503; 3], "let in: the database does not answer");
    let refused = door.ask(READERS, SERVICE);
    assert_eq!((refused.status, &refused.body["code"]), (429, &json!("rate_limited")));
    assert_eq!(refused.headers["content-type"], "application/problem+json");
    assert_eq!(refused.headers["retry-after"], "1");
    let refused = door.ask(ACKS, SERVICE);
    assert_eq!((refused.status, &refused.body["error"]), (429, &json!("rate_limited")));
    assert_eq!(refused.body["error_description"], "The request has reached the maximum limit");
    assert_eq!(refused.headers["retry-after"], "1");

    assert_eq!(statuses(&door, READERS, "token-of-bob", 1), [503], "another token of the same app");
    assert_eq!(statuses(&door, READERS, "token-of-another-app", 1), [404], "another app");
    let metrics = door.metrics();
    assert!(metrics.contains(r#"seenby_api_rate_limited_total{limit="token"} 2"#), "{metrics}");
}

#[test]
fn a_path_that_tells_nothing_is_limited_too() {
    let door = Door::new(|config| {
        slow(config);
        config.api.rate_limit_burst = 2;
    });
    assert_eq!(statuses(&door, READERS, "token-of-another-app", 3), [404, 404, 429]);
}

#[test]
fn whoever_shows_signed_tokens_is_one_caller_however_many_he_has() {
    let door = Door::new(|config| {
        slow(config);
        config.api.rate_limit_burst = 2;
        config.auth.jwt.hs256_secret = Secret::new(SECRET);
    });
    let new_token = |number: u64| token().with("exp", seconds() + 100 + number).signed(&Key::secret(SECRET));
    let answered: Vec<u16> = (0..3).map(|number| door.ask(READERS, &new_token(number)).status).collect();
    assert_eq!(answered, [503, 503, 429]);
    let bob = token().with("sub", "bob").signed(&Key::secret(SECRET));
    assert_eq!(door.ask(READERS, &bob).status, 503);
}

#[test]
fn an_apps_callers_share_the_apps_limit() {
    let door = Door::new(|config| {
        slow(config);
        config.api.app_rate_limit_per_second = 1;
        config.api.app_rate_limit_burst = 3;
        let other = TokenConfig::new("org#other", "dora", TokenRole::User, "token-of-dora");
        config.auth.tokens.push(other);
    });
    let ask = |token: &str| door.ask(READERS, token).status;
    assert_eq!([SERVICE, "token-of-alice", "token-of-bob", "token-of-carol"].map(ask), [503, 503, 503, 429]);
    assert_eq!(["token-of-another-app", "token-of-dora"].map(ask), [404, 404]);
    assert!(door.metrics().contains(r#"seenby_api_rate_limited_total{limit="app"} 1"#));
}

#[test]
fn without_a_good_token_all_are_one_caller_who_shuts_nobody_out() {
    let door = Door::new(|config| {
        slow(config);
        config.api.rate_limit_burst = 3;
    });
    let ask = |token: &str| door.ask(READERS, token).status;
    assert_eq!(["wrong", "also wrong", ""].map(ask), [401; 3]);
    assert_eq!(["wrong", "a new one", ""].map(ask), [429; 3]);
    let refused = door.ask(ACKS, "wrong");
    assert_eq!(refused.body["error_description"], "The request has reached the maximum limit");
    assert_eq!(statuses(&door, READERS, SERVICE, 3), [503; 3], "good tokens have their own allowance");
    assert!(door.metrics().contains(r#"seenby_api_rate_limited_total{limit="unauthenticated"} 4"#));
}

#[test]
fn a_limit_of_none_is_no_limit_and_health_has_none() {
    let door = Door::new(|config| {
        slow(config);
        config.api.rate_limit_per_second = 0;
        config.api.rate_limit_burst = 1;
    });
    assert_eq!(statuses(&door, READERS, "wrong", 50), [401; 50]);
    let limited = Door::new(|config| {
        slow(config);
        config.api.rate_limit_burst = 1;
    });
    assert_eq!(statuses(&limited, "/livez", "wrong", 5), [200; 5]);
}
