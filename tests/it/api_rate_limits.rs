//! How much one caller, one app, and all who have no good token may ask.

use seenby::config::{Config, Secret};

use crate::support::api::{ACKS, Answer, READERS, SERVICE, tokens};
use crate::support::door::Door;
use crate::support::issuer::{Key, SECRET, seconds, token};

/// So few a second that hardly any is refilled while a test runs.
fn slow(config: &mut Config, burst: u32) {
    config.auth.tokens = tokens();
    config.api.rate_limit_per_second = 1;
    config.api.rate_limit_burst = burst;
}

/// Asks until it is too much, and gives the statuses before and the refusal. A machine that stands still for a second
/// refills one.
fn until_limited(door: &Door, path: &str, mut token: impl FnMut(u64) -> String) -> (Vec<u16>, Answer) {
    let mut statuses = Vec::new();
    for number in 0..50 {
        let answer = door.ask(path, &token(number));
        if answer.status == 429 {
            return (statuses, answer);
        }
        statuses.push(answer.status);
    }
    panic!("nothing was too much: {statuses:?}");
}

fn always(token: &str) -> impl FnMut(u64) -> String {
    let token = token.to_owned();
    move |_| token.clone()
}

fn limited(door: &Door, limit: &str) -> u64 {
    let metrics = door.metrics();
    let name = format!("seenby_api_rate_limited_total{{limit=\"{limit}\"}} ");
    metrics.lines().find_map(|line| line.strip_prefix(&name)).expect(&metrics).parse().unwrap()
}

#[test]
fn who_asks_too_much_is_told_when_to_go_on_and_others_are_not_troubled() {
    let door = Door::new(|config| slow(config, 3));
    let (before, refused) = until_limited(&door, READERS, always(SERVICE));
    assert!(before.len() >= 3 && before.iter().all(|status| *status == 503), "let in, to no database: {before:?}");
    assert_eq!(refused.body["code"], "rate_limited");
    assert_eq!(refused.headers["content-type"], "application/problem+json");
    assert_eq!(refused.headers["retry-after"], "1");
    let (_, refused) = until_limited(&door, ACKS, always(SERVICE));
    assert_eq!(refused.body["error"], "rate_limited");
    assert_eq!(refused.body["error_description"], "The request has reached the maximum limit");
    assert_eq!(refused.headers["retry-after"], "1");

    assert_eq!(door.ask(READERS, "token-of-bob").status, 503, "another token of the same app");
    assert_eq!(door.ask(READERS, "token-of-another-app").status, 404, "another app");
    assert_eq!([limited(&door, "token"), limited(&door, "app"), limited(&door, "unauthenticated")], [2, 0, 0]);
}

#[test]
fn a_path_that_tells_nothing_is_limited_too() {
    let door = Door::new(|config| slow(config, 2));
    let (before, _) = until_limited(&door, READERS, always("token-of-another-app"));
    assert!(before.iter().all(|status| *status == 404), "{before:?}");
}

#[test]
fn whoever_shows_signed_tokens_is_one_caller_however_many_he_has() {
    let door = Door::new(|config| {
        slow(config, 2);
        config.auth.jwt.hs256_secret = Secret::new(SECRET);
    });
    let new_token = |number| token().with("exp", seconds() + 100 + number).signed(&Key::secret(SECRET));
    let (before, _) = until_limited(&door, READERS, new_token);
    assert!(before.len() >= 2 && before.iter().all(|status| *status == 503), "{before:?}");
    let bob = token().with("sub", "bob").signed(&Key::secret(SECRET));
    assert_eq!(door.ask(READERS, &bob).status, 503);
}

#[test]
fn an_apps_callers_share_the_apps_limit() {
    let door = Door::new(|config| {
        slow(config, 100);
        config.api.app_rate_limit_per_second = 1;
        config.api.app_rate_limit_burst = 3;
    });
    let callers = [SERVICE, "token-of-alice", "token-of-bob", "token-of-carol", "token-of-root"];
    let (before, _) = until_limited(&door, READERS, |number| callers[number as usize % callers.len()].to_owned());
    assert!(before.len() >= 3 && before.iter().all(|status| *status == 503), "{before:?}");
    assert_eq!(door.ask(READERS, "token-of-another-app").status, 404, "another app has its own");
    assert_eq!([limited(&door, "token"), limited(&door, "app")], [0, 1]);
}

#[test]
fn without_a_good_token_all_are_one_caller_who_shuts_nobody_out() {
    let door = Door::new(|config| slow(config, 3));
    let (before, _) = until_limited(&door, READERS, |number| format!("wrong-{number}"));
    assert!(before.len() >= 3 && before.iter().all(|status| *status == 401), "{before:?}");
    let (_, refused) = until_limited(&door, ACKS, always(""));
    assert_eq!(refused.body["error_description"], "The request has reached the maximum limit");
    let (before, _) = until_limited(&door, READERS, always(SERVICE));
    assert!(before.len() >= 3, "good tokens have their own allowance: {before:?}");
    assert_eq!(limited(&door, "unauthenticated"), 2);
}

#[test]
fn a_limit_of_none_is_no_limit_and_health_has_none() {
    let unlimited = Door::new(|config| {
        slow(config, 1);
        config.api.rate_limit_per_second = 0;
    });
    let limited = Door::new(|config| slow(config, 1));
    for _ in 0..50 {
        assert_eq!(unlimited.ask(READERS, "wrong").status, 401);
        assert_eq!(limited.ask("/livez", "wrong").status, 200);
    }
}
