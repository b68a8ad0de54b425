//! What tests share: builders that say in one line what a test is about, and the real parts started once.

pub mod answers;
pub mod api;
pub mod bad_records;
pub mod both_folds;
pub mod both_readers;
pub mod clickhouse;
pub mod committing;
pub mod deployed;
pub mod door;
pub mod endpoints;
pub mod events;
pub mod faulty_clickhouse;
pub mod fold;
pub mod gate;
pub mod issuer;
pub mod kafka;
pub mod memory_log;
pub mod node;
pub mod plain_fold;
pub mod process;
pub mod random_log;
pub mod store;
pub mod traffic;
pub mod verify;
pub mod worker;
