//! seenby: event-sourced message-receipt analytics.
//!
//! Workers read message and receipt events from Kafka, fold them into read state and write per-message counts and
//! reader lists to ClickHouse; a query endpoint answers from those tables. The parts, in the order a receipt meets them:
//!
//! 1. [`event`]: the input contract: types, decoding, validation, the conversation key;
//! 2. [`policy`]: per-app limits and their versions;
//! 3. [`fold`]: the pure core: the state of a partition and the outcome of every event;
//! 4. [`log`]: Kafka: source, committers, topics, control records;
//! 5. [`store`]: ClickHouse: migrations, rows, writer, hydration, ledger, queries;
//! 6. [`worker`]: the loop that joins log, fold and store;
//! 7. [`verify`]: folds ranges of the log again and compares them with ClickHouse;
//! 8. [`replay`]: sends refused records again, and builds the tables anew from the log;
//! 9. [`api`]: the HTTP endpoints, the Easemob-compatible path among them;
//! 10. [`observe`]: metrics, tracing, health;
//! 11. [`dev`]: what a laptop and the tests need: engine and broker in process, the simulator;
//! 12. [`config`]: the one documented configuration type.

pub mod api;
pub mod config;
pub mod dev;
pub mod event;
pub mod fold;
pub mod log;
pub mod observe;
pub mod policy;
pub mod replay;
pub mod store;
pub mod verify;
pub mod worker;
