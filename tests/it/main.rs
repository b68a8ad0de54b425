//! The integration tests: one binary, one behaviour a file.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub
)]

mod api_conditional;
mod api_development_tokens;
mod api_easemob;
mod api_examples;
mod api_export;
mod api_group_quota;
mod api_latency;
mod api_long_ids;
mod api_outcomes;
mod api_paging;
mod api_past_lists;
mod api_policy;
mod api_policy_command;
mod api_preflight;
mod api_rate_limits;
mod api_readers;
mod api_receipts_query;
mod api_rejections;
mod api_roles;
mod api_schemathesis;
mod api_server;
mod api_singles;
mod api_statements;
mod api_statistics;
mod api_tokens;
mod api_unread;
mod api_user_data;
mod api_viewers;
mod api_what_if;
mod chaos;
mod dev_brokers;
mod dev_clickhouse;
mod dev_demo;
mod dev_simulator;
mod docs;
mod erasure_tables;
mod event_bad_records;
mod event_schemas;
mod fold_checks;
mod fold_control;
mod fold_erasures;
mod fold_leaving;
mod fold_marks;
mod fold_messages;
mod fold_parking;
mod fold_parts;
mod fold_properties;
mod fold_receipts;
mod fold_replaying;
mod fold_restoring;
mod fold_rosters;
mod hydration_at_size;
mod log_membership;
mod log_plain_commit;
mod log_reader;
mod log_transaction;
mod plain_fold;
mod replay_rebuild;
mod replay_rejections;
mod road_limits;
mod sdk;
mod simulation;
mod store_completeness;
mod store_faults;
mod store_hydration;
mod store_janitor;
mod store_ledger;
mod store_migrations;
mod store_writing;
mod support;
mod verify_differences;
mod verify_runs;
mod worker_bad_records;
mod worker_crash;
mod worker_cut;
mod worker_delivery;
mod worker_epochs;
mod worker_fail_points;
mod worker_faults;
mod worker_markers;
mod worker_policy;
mod worker_rebalances;
mod worker_refusals;
mod worker_replay;
mod worker_sharing;
mod worker_stop;
mod worker_upgrade;
