//! The examples of docs/api run as they stand there.

use std::process::Command;

use seenby::api;
use seenby::config::Delivery;
use seenby::observe::Telemetry;

use crate::support::api::{open_policy, tokens};
use crate::support::events::{MINUTE, delivered, group_message, group_read, roster, single_message, single_read};
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
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(
        async move { api::serve(&config, Telemetry::default(), listener, std::future::pending()).await.unwrap() },
    );

    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/api");
    let mut pages = 0;
    for page in std::fs::read_dir(folder).unwrap() {
        let path = page.unwrap().path();
        let script = examples(&std::fs::read_to_string(&path).unwrap());
        assert!(script.contains("curl"), "{}: no examples", path.display());
        let output = Command::new("bash")
            .args(["-euo", "pipefail", "-c", &script])
            .env("API", format!("http://{address}/v1/org/app"))
            .env("SERVER", format!("http://{address}"))
            .env("TOKEN", "token-of-a-service")
            .env("ADMIN", "token-of-root")
            .output()
            .unwrap();
        let (said, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{}:\n{said}\n{told}", path.display());
        pages += 1;
    }
    assert!(pages > 0);
    worker.stop(true).unwrap();
}
