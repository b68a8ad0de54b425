//! One real ClickHouse engine for all tests, a database for each.

use std::sync::OnceLock;

use clickhouse::{Client, Compression};

use super::process::Part;

static ENGINE: OnceLock<Part> = OnceLock::new();

/// The address of the engine's HTTP interface; starts it at the first call.
pub fn url() -> &'static str {
    &ENGINE.get_or_init(|| Part::start("clickhouse")).address
}

/// A client without a database of its own.
pub fn client() -> Client {
    client_of(url())
}

/// The same of another engine.
pub fn client_of(url: &str) -> Client {
    Client::default().with_url(url).with_compression(Compression::None)
}

/// A new, empty database under a name no other test has, and a client in it. `test` is part of the name, for reading.
pub async fn database(test: &str) -> (String, Client) {
    let name = format!("{test}_{}", uuid::Uuid::new_v4().simple());
    client().query("CREATE DATABASE {name:Identifier}").param("name", &name).execute().await.unwrap();
    let client = client().with_database(&name);
    (name, client)
}
