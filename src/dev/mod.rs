//! What a laptop and the tests need: the ClickHouse engine in process, brokers, the simulator.

pub mod broker;
pub mod clickhouse;
pub mod demo;
pub mod foreground;
pub mod kafka;
pub mod simulator;
mod tools;
