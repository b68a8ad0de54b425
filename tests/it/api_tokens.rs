//! Which bearer tokens are good: static ones, hashed or not, and signed ones by secret, file and address.

use std::time::{Duration, Instant};

use seenby::api;
use seenby::config::{Config, Secret, TokenConfig, TokenRole};
use seenby::observe::Telemetry;
use serde_json::json;
use tokio::runtime::Runtime;

use crate::support::api::READERS;
use crate::support::door::Door;
use crate::support::events::APP;
use crate::support::issuer::{Key, KeyServer, SECRET, Token, key_set, rsa_public_key_as_secrets, seconds, token};
use crate::support::process::free_port;

const WITHIN: Duration = Duration::from_secs(20);

fn with_secret(change: impl FnOnce(&mut Config)) -> Door {
    Door::new(|config| {
        config.auth.jwt.hs256_secret = Secret::new(SECRET);
        change(config);
    })
}

fn key_file(keys: &[&Key]) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), key_set(keys)).unwrap();
    file
}

#[test]
fn a_static_token_is_good_hashed_and_not() {
    let random = "q7Yy0Zk3l5bq2mJm6xX1vW8uT4sR9nPa";
    let door = Door::new(|config| {
        let hash = TokenConfig::hash_of(random).unwrap();
        let hashed = TokenConfig { token_sha256: hash, ..TokenConfig::new(APP, "crm", TokenRole::Service, "") };
        config.auth.tokens = vec![hashed, TokenConfig::new(APP, "bob", TokenRole::User, "token-of-bob")];
    });
    assert!(door.lets_in(random) && door.lets_in("token-of-bob"));
    assert!(!door.lets_in(&TokenConfig::hash_of(random).unwrap()), "the hash is no token");
    assert!(!door.lets_in(&random[1..]));
    assert!(!door.lets_in(&token().signed(&Key::secret(SECRET))), "no signed token without a key");
}

#[test]
fn every_algorithm_is_accepted_by_its_own_key() {
    let (rsa, ec) = (Key::rsa(), Key::ec("ec"));
    let file = key_file(&[&rsa, &ec]);
    let door = with_secret(|config| config.auth.jwt.jwks_file = file.path().display().to_string());
    for key in [&Key::secret(SECRET), &rsa, &ec] {
        assert!(door.lets_in(&token().signed(key)), "{:?}", key.algorithm);
        let unnamed = key.clone().named(None);
        assert!(door.lets_in(&token().signed(&unnamed)), "{:?} without a key's name", key.algorithm);
    }
    for stranger in [&Key::secret("another secret of thirty-two bytes!!"), &Key::ec("ec"), &Key::ec("other")] {
        assert!(!door.lets_in(&token().signed(stranger)), "{:?}", stranger.algorithm);
    }
    let wrong_name = rsa.clone().named(Some("ec"));
    assert!(!door.lets_in(&token().signed(&wrong_name)), "a key is good under its own name alone");
}

#[test]
fn a_public_key_is_no_secret_and_no_algorithm_is_none() {
    let rsa = Key::rsa();
    let file = key_file(&[&rsa]);
    for has_secret in [false, true] {
        let door = Door::new(|config| {
            config.auth.jwt.jwks_file = file.path().display().to_string();
            if has_secret {
                config.auth.jwt.hs256_secret = Secret::new(SECRET);
            }
        });
        for public in rsa_public_key_as_secrets() {
            for name in [None, Some("rsa")] {
                assert!(!door.lets_in(&token().signed_with_secret(&public, name)));
            }
        }
        for algorithm in ["none", "None", "NONE", "", "HS256", "RS256", "ES256"] {
            assert!(!door.lets_in(&token().unsigned(algorithm)), "{algorithm}");
        }
        // The signature is right, and the header says that it was made otherwise.
        for algorithm in ["HS256", "HS512", "RS512", "PS256", "ES256", "none"] {
            assert!(!door.lets_in(&token().header("alg", algorithm).signed(&rsa)), "{algorithm}");
        }
        // A key that the token itself brings is nobody's.
        let stranger = Key::ec("mine");
        assert!(!door.lets_in(&token().header("jwk", stranger.jwk()).signed(&stranger)));
    }
}

#[test]
fn a_token_that_was_changed_is_refused() {
    let door = with_secret(|_| {});
    let good = token().signed(&Key::secret(SECRET));
    let admin = token().with("role", "admin").signed(&Key::secret(SECRET));
    let parts = |token: &str| token.split('.').map(str::to_owned).collect::<Vec<_>>();
    let (good_parts, admin_parts) = (parts(&good), parts(&admin));
    assert!(door.lets_in(&good));
    for changed in [
        format!("{}.{}.{}", good_parts[0], admin_parts[1], good_parts[2]),
        format!("{}.{}.", good_parts[0], good_parts[1]),
        format!("{}.{}", good_parts[0], good_parts[1]),
        format!("{good}.{}", good_parts[2]),
        format!("{good}A"),
        good_parts[1].clone(),
        "..".to_owned(),
    ] {
        assert!(!door.lets_in(&changed), "{changed}");
    }
    for header in [("crit", json!(["exp"])), ("typ", json!("logout+jwt"))] {
        assert!(!door.lets_in(&token().header(header.0, header.1).signed(&Key::secret(SECRET))), "{}", header.0);
    }
    assert!(door.lets_in(&token().header("typ", "at+JWT").signed(&Key::secret(SECRET))));
}

#[test]
fn times_are_honoured_within_the_leeway() {
    let door = with_secret(|config| config.auth.jwt.leeway_seconds = 60);
    let lets_in = |token: Token| door.lets_in(&token.signed(&Key::secret(SECRET)));
    let now = seconds();
    assert!(lets_in(token().with("exp", now - 30)));
    assert!(!lets_in(token().with("exp", now - 90)));
    assert!(lets_in(token().with("nbf", now + 30)));
    assert!(!lets_in(token().with("nbf", now + 90)));
    assert!(lets_in(token().with("exp", (now + 30) as f64 + 0.5)), "a time may have a fraction");
    let strict = with_secret(|config| config.auth.jwt.leeway_seconds = 0);
    assert!(!strict.lets_in(&token().with("exp", now - 1).signed(&Key::secret(SECRET))));
}

#[test]
fn a_claim_that_is_missing_or_of_another_kind_refuses_the_token() {
    let door = with_secret(|_| {});
    let lets_in = |token: Token| door.lets_in(&token.signed(&Key::secret(SECRET)));
    for claim in ["app", "sub", "role", "exp"] {
        assert!(!lets_in(token().without(claim)), "without {claim}");
        for other_kind in [json!(null), json!([]), json!({}), json!(true), json!("")] {
            assert!(!lets_in(token().with(claim, other_kind.clone())), "{claim} = {other_kind}");
        }
    }
    for (claim, value) in [
        ("app", json!("org")),
        ("app", json!("org#app#x")),
        ("app", json!(["org#app"])),
        ("sub", json!("a b")),
        ("sub", json!("a/b")),
        ("sub", json!(7)),
        ("role", json!("root")),
        ("role", json!("Admin")),
        ("role", json!(["admin"])),
        ("exp", json!((seconds() + 3_600).to_string())),
        ("exp", json!(-1)),
        ("nbf", json!("0")),
        ("nbf", json!(null)),
    ] {
        assert!(!lets_in(token().with(claim, value.clone())), "{claim} = {value}");
    }
    assert!(lets_in(token().with("anything", json!({"else": [1]}))));
}

#[test]
fn issuer_and_audience_must_be_named_where_they_are_configured() {
    let key = Key::secret(SECRET);
    let door = with_secret(|config| {
        config.auth.jwt.issuer = "https://id.example.com".to_owned();
        config.auth.jwt.audience = "seenby".to_owned();
    });
    let good = || token().with("iss", "https://id.example.com").with("aud", "seenby");
    assert!(door.lets_in(&good().signed(&key)));
    assert!(door.lets_in(&good().with("aud", json!(["other", "seenby"])).signed(&key)));
    for bad in [
        good().without("iss"),
        good().without("aud"),
        good().with("iss", "https://id.example.com/"),
        good().with("iss", 7),
        good().with("aud", "other"),
        good().with("aud", json!([])),
        good().with("aud", json!({"seenby": 1})),
    ] {
        assert!(!door.lets_in(&bad.signed(&key)));
    }
    let without = with_secret(|_| {});
    assert!(without.lets_in(&token().with("iss", "anybody").signed(&key)));
    assert!(!without.lets_in(&token().with("aud", "other").signed(&key)), "it is for somebody else");
}

#[test]
fn a_signed_token_is_good_for_its_own_app_alone() {
    let door = with_secret(|_| {});
    let other = token().with("app", "org#other").with("role", "admin").signed(&Key::secret(SECRET));
    let answer = door.ask(READERS, &other);
    assert_eq!((answer.status, &answer.body["code"]), (404, &json!("not_found")));
    assert_eq!(door.ask(&READERS.replace("/app/", "/other/"), &other).status, 503);
}

/// Keys that may be fetched every 300 ms.
fn with_address(runtime: Runtime, url: &str, refresh_ms: u64) -> Door {
    Door::within(runtime, |config| {
        let jwt = &mut config.auth.jwt;
        jwt.jwks_url = url.to_owned();
        jwt.jwks_timeout_ms = 300;
        jwt.jwks_min_interval_ms = 300;
        jwt.jwks_refresh_interval_ms = refresh_ms;
    })
}

fn eventually(mut holds: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    while !holds() {
        if begun.elapsed() > WITHIN {
            return false;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    true
}

#[test]
fn a_rotated_key_is_fetched_once_however_many_tokens_name_it() {
    let (old, new) = (Key::ec("old"), Key::ec("new"));
    let runtime = Runtime::new().unwrap();
    let server = KeyServer::start(&runtime, key_set(&[&old]));
    let door = with_address(runtime, &server.url, 600_000);
    assert_eq!(server.asked(), 0, "nothing is fetched before it is needed");
    for _ in 0..5 {
        assert!(door.lets_in(&token().signed(&old)));
    }
    assert_eq!(server.asked(), 1);

    server.set(200, key_set(&[&new]));
    std::thread::sleep(Duration::from_millis(300));
    assert!(door.lets_in(&token().signed(&new)), "a key of a new name is fetched ahead of time");
    assert!(!door.lets_in(&token().signed(&old)), "a key that is gone from the set is no key any more");
    assert_eq!(server.asked(), 2);
}

#[test]
fn a_rotated_key_is_fetched_for_a_token_that_names_none_and_a_flood_of_such_is_none_of_fetches() {
    let (old, new) = (Key::ec("old").named(None), Key::ec("new").named(None));
    let runtime = Runtime::new().unwrap();
    let server = KeyServer::start(&runtime, key_set(&[&old]));
    let door = with_address(runtime, &server.url, 600_000);
    assert!(door.lets_in(&token().signed(&old)));
    assert_eq!(server.asked(), 1);

    server.set(200, key_set(&[&new]));
    std::thread::sleep(Duration::from_millis(300));
    assert!(door.lets_in(&token().signed(&new)), "none of the known keys made its signature");
    assert!(!door.lets_in(&token().without("sub").signed(&new)), "its signature is known: nothing is to be fetched");
    assert_eq!(server.asked(), 2);

    let (begun, before) = (Instant::now(), server.asked());
    for _ in 0..100 {
        assert!(!door.lets_in(&token().signed(&Key::ec("stranger").named(None))));
    }
    let most = before + 1 + u64::try_from(begun.elapsed().as_millis() / 300).unwrap();
    assert!(server.asked() <= most, "{} fetches in {:?}", server.asked(), begun.elapsed());
    assert!(door.lets_in(&token().signed(&new)));
}

#[test]
fn a_flood_of_unknown_keys_is_no_flood_of_fetches() {
    let known = Key::ec("known");
    let runtime = Runtime::new().unwrap();
    let server = KeyServer::start(&runtime, key_set(&[&known]));
    let door = with_address(runtime, &server.url, 600_000);
    let begun = Instant::now();
    for number in 0..200 {
        let stranger = known.clone().named(Some(&format!("unknown-{number}")));
        assert!(!door.lets_in(&token().signed(&stranger)));
    }
    let most = 1 + u64::try_from(begun.elapsed().as_millis() / 300).unwrap();
    assert!((1..=most).contains(&server.asked()), "{} fetches in {:?}", server.asked(), begun.elapsed());
    assert!(door.lets_in(&token().signed(&known)));
}

#[test]
fn known_keys_stay_in_use_while_the_address_does_not_answer() {
    let (old, new) = (Key::ec("old"), Key::ec("new"));
    let runtime = Runtime::new().unwrap();
    let server = KeyServer::start(&runtime, key_set(&[&old]));
    let door = with_address(runtime, &server.url, 300);
    assert!(door.lets_in(&token().signed(&old)));
    for (status, body) in [(500, key_set(&[&new])), (200, "<html>sorry</html>".to_owned()), (301, key_set(&[&new]))] {
        server.set(status, body);
        let before = server.asked();
        assert!(eventually(|| door.lets_in(&token().signed(&old)) && server.asked() > before), "{status}");
        assert!(door.lets_in(&token().signed(&old)));
        assert!(!door.lets_in(&token().signed(&new)));
    }
    server.set(200, key_set(&[&new]));
    assert!(
        eventually(|| !door.lets_in(&token().signed(&old))),
        "keys are refreshed without a token that names new ones"
    );
    assert!(door.lets_in(&token().signed(&new)));
}

#[test]
fn without_any_keys_a_signed_token_is_not_called_wrong() {
    let address = format!("http://127.0.0.1:{}/jwks", free_port());
    let door = with_address(Runtime::new().unwrap(), &address, 600_000);
    let answer = door.ask(READERS, &token().signed(&Key::ec("k")));
    assert_eq!((answer.status, &answer.body["code"]), (503, &json!("unavailable")));
    assert!(answer.body["detail"].as_str().unwrap().contains("keys"), "{}", answer.body);
    assert!(!door.lets_in(&token().signed(&Key::secret(SECRET))), "needs no keys to be refused");
}

#[test]
fn a_key_file_is_checked_at_the_start_and_read_again() {
    let (old, new) = (Key::ec("old"), Key::ec("new"));
    let file = key_file(&[&old]);
    let mut config = Config::default();
    config.auth.jwt.jwks_file = "/nowhere/jwks.json".to_owned();
    let error = api::router(&config, &Telemetry::default()).unwrap_err().to_string();
    assert!(error.contains("/nowhere/jwks.json") && error.contains("auth.jwt.jwks_file"), "{error}");

    let door = Door::new(|config| {
        let jwt = &mut config.auth.jwt;
        jwt.jwks_file = file.path().display().to_string();
        jwt.jwks_timeout_ms = 100;
        jwt.jwks_min_interval_ms = 100;
    });
    assert!(door.lets_in(&token().signed(&old)));
    std::fs::write(file.path(), key_set(&[&new])).unwrap();
    assert!(eventually(|| door.lets_in(&token().signed(&new))));
    assert!(!door.lets_in(&token().signed(&old)));
}

#[test]
fn the_command_prints_what_stands_for_a_token() {
    let hash_of = |input: &str| {
        let mut process = std::process::Command::new(env!("CARGO_BIN_EXE_seenby"))
            .args(["config", "hash-token"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut process.stdin.take().unwrap(), input.as_bytes()).unwrap();
        let output = process.wait_with_output().unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let random = "q7Yy0Zk3l5bq2mJm6xX1vW8uT4sR9nPa";
    let expected = format!("{}\n", TokenConfig::hash_of(random).unwrap());
    assert_eq!(hash_of(random), (true, expected.clone(), String::new()));
    assert_eq!(hash_of(&format!("{random}\n")), (true, expected, String::new()));
    let (succeeded, printed, words) = hash_of("choose-a-secret\n");
    assert_eq!((succeeded, printed.as_str()), (false, ""));
    assert!(words.contains("128 random bits"), "{words}");
}
