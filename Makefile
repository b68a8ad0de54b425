# What a developer runs. `make help` lists it.

SHELL := /bin/bash
.DEFAULT_GOAL := help
ARGS ?=

.PHONY: help
help: ## List the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

.PHONY: setup
setup: ## Check what is needed for everything, and fetch engine, Kafka and test packages into .tools
	tools/setup.sh test

.PHONY: demo
demo: ## Run everything in one process; ARGS="--events 200000 --exit" proves that it adds up
	tools/setup.sh demo
	cargo build --release --locked --bin seenby
	target/release/seenby demo $(ARGS)

.PHONY: test
test: setup lint ## Formatting, lints, documentation, then all tests on the real parts
	cargo test --locked

SEED ?= 1
RUNS ?= 1
KILLS ?= 20
.PHONY: chaos
chaos: setup ## Kill, stall and cut real processes: SEED=1 RUNS=10 KILLS=20 (a run); compares all output with a plain fold
	SEENBY_CHAOS_SEED=$(SEED) SEENBY_CHAOS_RUNS=$(RUNS) SEENBY_CHAOS_KILLS=$(KILLS) \
		cargo test --locked --test it -- --nocapture chaos::whatever

OUTAGE ?= 60
.PHONY: outage
outage: setup ## ClickHouse away under load for OUTAGE=60 seconds: pause, lag and memory, in figures
	SEENBY_CHAOS_OUTAGE=$(OUTAGE) cargo test --locked --test it -- --nocapture chaos::outage

REQUESTS ?= 10000
.PHONY: schemathesis
schemathesis: setup ## Ask the real API REQUESTS=10000 things that its description allows, and does not: every answer must be as described
	SEENBY_SCHEMATHESIS_REQUESTS=$(REQUESTS) cargo test --locked --test it -- --nocapture api_schemathesis

FUZZ_SECONDS ?= 120
.PHONY: fuzz
fuzz: ## Fuzz decoder, fold and query parsers for FUZZ_SECONDS=120 each; fails at a finding; needs cargo-fuzz
	tools/fuzz.sh $(FUZZ_SECONDS)

.PHONY: lint
lint: ## Formatting, lints and documentation alone
	cargo fmt --check
	cargo fmt --check --manifest-path fuzz/Cargo.toml
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps

.PHONY: bench
bench: ## Decoding and folding on simulated traffic, in events/s on one core
	cargo bench --locked --bench decode --bench fold

.PHONY: load
load: setup ## Questions and exports under load on the real parts; ARGS="--seconds 30 --dir D" (see benches/README.md)
	cargo bench --locked --bench queries -- $(ARGS)
