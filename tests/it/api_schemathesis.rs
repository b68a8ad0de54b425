//! schemathesis asks whatever the description of the API allows and does not allow, of the real API on the real parts, and
//! finds every answer as the description says.
//!
//! `make test` runs a short while; `make schemathesis REQUESTS=10000` as long as it takes for so many requests.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use seenby::api;
use seenby::config::{Delivery, Secret};
use seenby::observe::Telemetry;
use seenby::policy::Viewers;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use crate::support::api::{open_policy, tokens};
use crate::support::events::{
    HOUR, MINUTE, NOON, OwnedRecord, delivered, group_message, group_read, group_recall, in_group, member, roster,
    single_conversation_read, single_message, single_read, single_recall,
};
use crate::support::issuer::SECRET;
use crate::support::worker::{Deployment, RunningWorker};

/// Folder of the configuration and the hooks.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/schemathesis");

/// Where `tools/setup.sh test` puts what the requirements name.
fn python() -> PathBuf {
    let requirements = include_str!("../../tools/schemathesis/requirements.in");
    let version = requirements.lines().find_map(|line| line.strip_prefix("schemathesis==")).unwrap();
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools");
    let python = tools.join(format!("schemathesis-{version}/bin/python3"));
    assert!(python.exists(), "{} is missing: run tools/setup.sh test", python.display());
    python
}

/// Messages, receipts and conversations in every state that an answer knows; the ids are those that tests/schemathesis
/// names.
fn everything() -> Vec<OwnedRecord> {
    let members = [("alice", "owner"), ("bob", "member"), ("carol", "member"), ("dave", "member")];
    let mut records = vec![
        open_policy(1, |policy| {
            policy.group.readers_per_message = 3;
            policy.group.messages_per_day = 5;
            policy.group.viewers = Viewers::Members;
        }),
        roster(&members).at(NOON - HOUR).record(),
        group_message("m1").asking_receipts().record(),
        group_message("recalled").asking_receipts().record(),
        group_message("plain").record(),
        // Its roster is not known.
        group_message("m1").to("g2").from("bob").asking_receipts().record(),
        group_recall("recalled").after(MINUTE).record(),
        group_read("m1").to("g2").from("carol").after(MINUTE).record(),
        member("dave", "leave").after(3 * HOUR).record(),
        member("erin", "join").after(4 * HOUR).record(),
        // Never sent: waits.
        group_read("unsent").from("bob").after(MINUTE).record(),
        // An unknown type is refused.
        in_group("applause", "carol").record(),
        single_message("s1").record(),
        single_message("s2").after(HOUR).record(),
        single_message("s3").after(HOUR).record(),
        single_message("s4").from("bob").to("alice").after(6 * HOUR).record(),
        delivered("s1").after(MINUTE).record(),
        single_read("s1").after(2 * MINUTE).record(),
        single_recall("s3").after(2 * HOUR).record(),
        single_conversation_read().after(3 * HOUR).record(),
    ];
    for (minute, reader) in (1..).zip(["bob", "carol", "alice", "erin", "frank", "grace"]) {
        records.push(group_read("m1").from(reader).after(minute * MINUTE).content("seen").record());
    }
    // More than a day's quota: the last ones are refused.
    for number in 0..8 {
        let message = format!("more{number}");
        records.push(group_message(&message).asking_receipts().after(HOUR + number).record());
        records.push(group_read(&message).from("bob").after(HOUR + MINUTE).record());
    }
    records
}

/// The whole of seenby: a worker, and the API on a socket. An administrator's token answers everything.
struct Served {
    deployment: Deployment,
    worker: RunningWorker,
    telemetry: Telemetry,
    address: SocketAddr,
    _runtime: Runtime,
}

impl Served {
    fn new() -> Self {
        let deployment = Deployment::new("schemathesis", 2, Delivery::ExactlyOnce);
        let worker = deployment.start();
        let records = everything();
        deployment.produce(&records);
        // A control record comes to both partitions.
        deployment.wait_for_records(records.len() as u64 + 1);

        let mut config = deployment.config.clone();
        config.auth.tokens = tokens();
        config.auth.jwt.hs256_secret = Secret::new(SECRET);
        config.api.development_tokens = true;
        config.api.latency_min_group_size = 1;
        // A machine that is busy with other tests answers late, which is no finding.
        config.api.timeout_ms = 110_000;
        config.api.query.max_execution_time_ms = 100_000;
        config.clickhouse.timeout_ms = 105_000;
        config.api.rate_limit_per_second = 0;
        config.api.app_rate_limit_per_second = 0;
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let telemetry = Telemetry::default();
        let served = telemetry.clone();
        runtime.spawn(async move { api::serve(&config, served, listener, std::future::pending()).await.unwrap() });
        Self { deployment, worker, telemetry, address, _runtime: runtime }
    }
}

/// How many requests the API has answered.
fn requests_of(telemetry: &Telemetry) -> u64 {
    let families = telemetry.registry.gather();
    let requests = families.iter().filter(|family| family.name() == "seenby_api_requests_total");
    requests.flat_map(|family| family.get_metric()).map(|metric| metric.get_counter().get_value() as u64).sum()
}

/// Runs schemathesis and gives whether it is content, and what it says. It is ended with this process's patience.
fn run(address: SocketAddr, examples: u64, patience: Duration) -> (bool, String) {
    // Whatever it may write goes here, and away.
    let folder = tempfile::tempdir().unwrap();
    let report = tempfile::NamedTempFile::new().unwrap();
    let mut process = Command::new(python())
        .args(["-m", "schemathesis.cli", "--config-file", &format!("{FOLDER}/schemathesis.toml"), "run"])
        .arg(format!("http://{address}/openapi.json"))
        .args(["--no-color", "--max-examples", &examples.to_string()])
        .env("PYTHONPATH", FOLDER)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("SEENBY_TOKEN", "token-of-root")
        .current_dir(&folder)
        .stdin(Stdio::null())
        .stdout(report.reopen().unwrap())
        .stderr(report.reopen().unwrap())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = process.try_wait().unwrap() {
            break status;
        }
        if begun.elapsed() > patience {
            process.kill().unwrap();
            process.wait().unwrap();
            let told = std::fs::read_to_string(report.path()).unwrap();
            panic!("schemathesis did not end within {patience:?}:\n{told}");
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    (status.success(), String::from_utf8_lossy(&std::fs::read(report.path()).unwrap()).into_owned())
}

#[test]
#[allow(clippy::print_stderr)]
fn every_answer_is_as_the_description_says() {
    let asked_for: u64 = std::env::var("SEENBY_SCHEMATHESIS_REQUESTS").map_or(200, |text| text.parse().unwrap());
    let served = Served::new();
    let document: serde_json::Value = serde_json::from_str(&api::openapi_json().unwrap()).unwrap();
    let operations = document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap()).count();
    // Examples of each operation. Some have fewer different questions than that; a thousand that try the bounds of every
    // parameter come on top.
    let examples = (asked_for + asked_for / 2).div_ceil(operations as u64);
    let patience = Duration::from_secs(900 + asked_for / 2);
    let (is_content, told) = run(served.address, examples, patience);
    assert!(is_content, "{told}");
    let requests = requests_of(&served.telemetry);
    eprintln!("{requests} requests\n{told}");
    assert!(requests >= asked_for, "{requests} requests are less than {asked_for}:\n{told}");
    // Policies were among what it wrote, and came to the tables.
    let history = served.deployment.outcomes();
    assert!(history["policy applied"] > 2, "{history:?}");
    served.worker.stop(true).unwrap();
}
