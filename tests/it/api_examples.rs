//! The examples of docs/api and of the README run as they stand there, and each endpoint has one.

use std::path::PathBuf;
use std::process::Command;

use seenby::api;
use seenby::config::{Delivery, Secret};
use seenby::observe::Telemetry;
use serde_json::Value;

use crate::support::api::{open_policy, tokens};
use crate::support::events::{APP, MINUTE, delivered, group_message, group_read, roster, single_message, single_read};
use crate::support::issuer::SECRET;
use crate::support::worker::Deployment;

/// The lines of the fenced blocks of a page that a shell runs.
fn examples(page: &str) -> String {
    let mut script = String::new();
    let mut is_example = false;
    for line in page.lines() {
        match line.trim_end() {
            "```sh" => is_example = true,
            "```" => is_example = false,
            line if is_example => {
                script.push_str(line);
                script.push('\n');
            }
            _ => {}
        }
    }
    script
}

/// The README, then the pages of docs/api, with what they say.
fn pages() -> Vec<(PathBuf, String)> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let folder = std::fs::read_dir(root.join("docs/api")).unwrap();
    let mut paths: Vec<PathBuf> = folder.map(|page| page.unwrap().path()).collect();
    paths.sort();
    paths.insert(0, root.join("README.md"));
    paths.into_iter().map(|path| (path.clone(), std::fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn the_readme_has_three_examples_and_leads_to_every_page() {
    let pages = pages();
    let [(_, readme), others @ ..] = pages.as_slice() else { panic!("there is a README") };
    assert!(examples(readme).matches("$API/").count() >= 3, "{}", examples(readme));
    assert!(!others.is_empty());
    for (path, _) in others {
        let link = format!("(docs/api/{})", path.file_name().unwrap().to_str().unwrap());
        assert!(readme.contains(&link), "{link}");
    }
}

#[test]
fn every_endpoint_has_an_example() {
    let document: Value = serde_json::from_str(&api::openapi_json().unwrap()).unwrap();
    let scripts: String = pages().iter().map(|(_, page)| examples(page)).collect();
    for path in document["paths"].as_object().unwrap().keys() {
        let rest = path.strip_prefix("/v1").unwrap_or(path);
        let rest = rest.strip_prefix("/{org}/{app}").unwrap_or(rest);
        // What stands between the names, in its order.
        let pieces: Vec<&str> =
            rest.split('{').map(|piece| piece.split_once('}').map_or(piece, |(_, rest)| rest)).collect();
        let has_all = |line: &str| {
            let end =
                pieces.iter().try_fold(0, |from, piece| line[from..].find(piece).map(|at| from + at + piece.len()));
            end.is_some()
        };
        assert!(scripts.lines().any(has_all), "{path}: no page has an example");
    }
}

#[test]
fn every_example_of_the_pages_is_answered() {
    let deployment = Deployment::new("examples", 2, Delivery::ExactlyOnce);
    let worker = deployment.start();
    deployment.produce(&[
        open_policy(1, |policy| policy.group.viewers = seenby::policy::Viewers::App),
        roster(&[("alice", "owner"), ("bob", "member"), ("carol", "member")]).record(),
        group_message("m1").from("alice").asking_receipts().record(),
        group_read("m1").from("bob").after(MINUTE).record(),
        single_message("s1").record(),
        delivered("s1").after(MINUTE).record(),
        single_read("s1").after(2 * MINUTE).record(),
    ]);
    deployment.wait_for_records(8);

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut config = deployment.config.clone();
    config.auth.tokens = tokens();
    config.auth.jwt.hs256_secret = Secret::new(SECRET);
    config.api.development_tokens = true;
    let clickhouse = format!("{}/?database={}", config.clickhouse.url, config.clickhouse.database);
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(
        async move { api::serve(&config, Telemetry::default(), listener, std::future::pending()).await.unwrap() },
    );

    for (path, page) in pages() {
        let script = examples(&page);
        assert!(script.contains("curl"), "{}: no examples", path.display());
        let output = Command::new("bash")
            .args(["-euo", "pipefail", "-c", &script])
            .env("API", format!("http://{address}/v1/org/app"))
            .env("SERVER", format!("http://{address}"))
            .env("APP", APP)
            .env("CLICKHOUSE", &clickhouse)
            .env("TOKEN", "token-of-a-service")
            .env("ADMIN", "token-of-root")
            .output()
            .unwrap();
        let (said, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{}:\n{said}\n{told}", path.display());
    }
    worker.stop(true).unwrap();
}
