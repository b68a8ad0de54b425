//! What a writer meets: a fault that passes is told from one that needs a person, each in bounded time.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use seenby::config::ClickHouseConfig;
use seenby::store::{ClickHouseStore, RowBatch, Store as _, StoreError, TRANSIENT_CODES};
use tokio::runtime::Runtime;

use crate::support::events::group_message;
use crate::support::store::{Log, TestStore, topic};

/// The rows of one message.
fn one_message() -> RowBatch {
    let topic = topic(1, 1);
    let mut batch = RowBatch::new(topic.clone());
    Log::new(&topic, 0).fold(&[group_message("m1").record()], &mut batch);
    batch
}

#[test]
fn a_missing_table_is_refused_for_a_person_to_see() {
    let mut store = TestStore::new("missing_table");
    store.execute("DROP TABLE messages");
    let error = store.store.write(&one_message()).unwrap_err();
    assert!(!error.is_retryable(), "{error}");
    let StoreError::Rejected { target, .. } = &error else { panic!("{error}") };
    assert_eq!(target, "messages");
    assert_eq!(store.rows("ledger"), 0, "the ledger must not say that the flush is complete");
}

#[test]
fn a_changed_column_is_refused_for_a_person_to_see() {
    let mut store = TestStore::new("changed_column");
    store.execute("ALTER TABLE messages DROP COLUMN reader_cap");
    let error = store.store.write(&one_message()).unwrap_err();
    assert!(matches!(error, StoreError::Rejected { .. }), "{error}");
}

#[test]
fn codes_that_are_waited_out_are_those_that_clickhouse_means() {
    let store = TestStore::new("transient_codes");
    for (code, name) in TRANSIENT_CODES {
        let query = store.client().query("SELECT toString(errorCodeToName(?))").bind(code);
        let known: String = store.runtime.block_on(query.fetch_one()).unwrap();
        assert_eq!(known, name, "{code}");
    }
}

#[test]
fn nobody_listening_is_tried_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = write_to(&format!("http://{address}"), 5_000).unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
}

#[test]
fn a_server_that_never_answers_is_given_up_in_bounded_time() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let started = Instant::now();
    let error = write_to(&format!("http://{address}"), 300).unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[test]
fn a_proxy_in_trouble_is_tried_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut peer, _) = listener.accept().unwrap();
        let _ = peer.read(&mut [0; 4096]);
        peer.write_all(b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 7\r\nconnection: close\r\n\r\nsorry!\n").unwrap();
    });
    let error = write_to(&format!("http://{address}"), 5_000).unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error}");
}

#[test]
fn the_same_rows_arrive_once_the_server_is_back() {
    let up = TestStore::new("back_again");
    let gone = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = gone.local_addr().unwrap();
    let config = ClickHouseConfig { url: format!("http://{address}"), timeout_ms: 500, ..up.config.clone() };
    let mut store = ClickHouseStore::new(config, up.runtime.handle().clone());
    let rows = one_message();
    assert!(store.write(&rows).unwrap_err().is_retryable());
    drop(gone);
    // The server takes its old address again: a relay to the engine.
    let relay = TcpListener::bind(address).unwrap();
    let engine = up.config.url.trim_start_matches("http://").to_owned();
    thread::spawn(move || {
        for client in relay.incoming() {
            let (mut client, mut server) = (client.unwrap(), TcpStream::connect(&engine).unwrap());
            let (mut from_client, mut to_client) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            thread::spawn(move || std::io::copy(&mut from_client, &mut server));
            thread::spawn(move || std::io::copy(&mut to_client, &mut client));
        }
    });
    let deadline = Instant::now() + Duration::from_secs(10);
    while let Err(error) = store.write(&rows) {
        assert!(error.is_retryable() && Instant::now() < deadline, "{error}");
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(up.number("SELECT uniqExact(message) FROM messages"), 1);
}

fn write_to(url: &str, timeout_ms: u64) -> Result<(), StoreError> {
    let config =
        ClickHouseConfig { url: url.to_owned(), timeout_ms, compression: false, ..ClickHouseConfig::default() };
    let runtime = Runtime::new().unwrap();
    ClickHouseStore::new(config, runtime.handle().clone()).write(&one_message())
}
