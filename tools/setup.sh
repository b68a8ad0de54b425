#!/usr/bin/env bash
# Checks what is needed and fetches what registries have, into .tools/<name>-<version>/. Quick when all is there.
#   tools/setup.sh demo   cargo and npm: the ClickHouse engine
#   tools/setup.sh test   also Java and Maven (a real Kafka), Python (schemathesis) and the packages of the SDK and browser
#                         tests
set -euo pipefail
cd "$(dirname "$0")/.."

CHDB_VERSION=26.7.3-stable.1
CHDB_SHA256=36ad4e999882821ef13cf2d0f52c93f48e6ee1b4498b35a201c23ce4b8d15bf5
KAFKA_VERSION=4.3.0
SCHEMATHESIS_VERSION=4.32.5
RUST_AT_LEAST=1.90
NODE_AT_LEAST=20
PYTHON_AT_LEAST=3.11

purpose=${1:-test}
missing=()

need() { # command, what for, how to get it
    command -v "$1" >/dev/null 2>&1 || missing+=("$1: $2; $3")
}
at_least() { # version found, version wanted
    [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

need cargo "builds seenby" "install Rust $RUST_AT_LEAST or newer (rustup)"
need cc "builds librdkafka" "Debian: apt-get install build-essential"
need make "builds librdkafka" "Debian: apt-get install build-essential"
need npm "fetches the ClickHouse engine" "install Node.js $NODE_AT_LEAST or newer"
need sha256sum "verifies what was fetched" "part of GNU coreutils"
if command -v rustc >/dev/null 2>&1; then
    rust=$(rustc --version | cut -d ' ' -f 2)
    at_least "$rust" "$RUST_AT_LEAST" || missing+=("rustc $rust: too old; install Rust $RUST_AT_LEAST or newer (rustup update)")
fi
if command -v node >/dev/null 2>&1; then
    node=$(node --version)
    at_least "${node#v}" "$NODE_AT_LEAST" || missing+=("node $node: too old; install Node.js $NODE_AT_LEAST or newer")
fi
if [ "$purpose" = test ]; then
    need java "runs Kafka for the tests" "Debian: apt-get install openjdk-17-jre-headless"
    need mvn "fetches Kafka" "Debian: apt-get install maven"
    need curl "runs the examples of docs/api" "Debian: apt-get install curl"
    need node "runs the SDK tests" "install Node.js $NODE_AT_LEAST or newer"
    if command -v java >/dev/null 2>&1; then
        java=$(java -version 2>&1 | sed -nE '1s/.*"([0-9]+).*/\1/p')
        [ "${java:-0}" -ge 17 ] || missing+=("java $java: too old; Kafka needs 17 or newer")
    fi
    need python3 "runs schemathesis" "install Python $PYTHON_AT_LEAST or newer (Debian: apt-get install python3-venv)"
    if command -v python3 >/dev/null 2>&1; then
        python=$(python3 -c 'import platform; print(platform.python_version())')
        at_least "$python" "$PYTHON_AT_LEAST" || missing+=("python3 $python: too old; install Python $PYTHON_AT_LEAST or newer")
        python3 -c 'import ensurepip, venv' >/dev/null 2>&1 \
            || missing+=("Python's venv: keeps schemathesis apart; Debian: apt-get install python3-venv")
    fi
    command -v chromium >/dev/null 2>&1 || command -v chromium-browser >/dev/null 2>&1 \
        || missing+=("chromium: runs the browser tests; Debian: apt-get install chromium")
fi
if [ "$(uname -sm)" != "Linux x86_64" ] && [ -z "${SEENBY_CHDB:-}" ]; then
    missing+=("the ClickHouse engine is fetched for Linux on x86-64; elsewhere name a libchdb.so of $CHDB_VERSION in SEENBY_CHDB")
fi
if [ "${#missing[@]}" -gt 0 ]; then
    echo "seenby cannot be set up, missing:" >&2
    printf '  %s\n' "${missing[@]}" >&2
    exit 1
fi

mkdir -p .tools
# Work happens in a folder of its own and ends with a rename, so that a broken-off run leaves nothing half done.
work=$(mktemp -d .tools/setup.XXXXXX)
trap 'rm -rf "$work"' EXIT

chdb=.tools/chdb-$CHDB_VERSION
if [ -z "${SEENBY_CHDB:-}" ] && [ ! -f "$chdb/verified" ]; then
    echo "fetching the ClickHouse engine $CHDB_VERSION"
    cp -r tools/chdb "$work/chdb"
    (cd "$work/chdb" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
    mkdir "$work/engine"
    mv "$work/chdb/node_modules/@chdb/lib-linux-x64-gnu/libchdb.so" "$work/engine/"
    echo "$CHDB_SHA256  $work/engine/libchdb.so" | sha256sum --check --quiet
    touch "$work/engine/verified"
    rm -rf "$chdb"
    mv "$work/engine" "$chdb"
fi

kafka=.tools/kafka-$KAFKA_VERSION
if [ "$purpose" = test ] && [ -z "${SEENBY_KAFKA:-}" ] && [ ! -f "$kafka/verified" ]; then
    echo "fetching Apache Kafka $KAFKA_VERSION"
    mkdir -p "$work/kafka/libs"
    mvn --batch-mode --quiet --file tools/kafka/pom.xml dependency:copy-dependencies \
        -DoutputDirectory="$PWD/$work/kafka/libs" -DincludeScope=runtime
    (cd "$work/kafka/libs" && sha256sum --check --quiet --strict) < tools/kafka/SHA256SUMS
    # A jar that the list does not name would be loaded all the same.
    jars=("$work"/kafka/libs/*)
    listed=$(wc -l < tools/kafka/SHA256SUMS)
    if [ "${#jars[@]}" -ne "$listed" ]; then
        echo "Maven fetched ${#jars[@]} files for Kafka, tools/kafka/SHA256SUMS lists $listed" >&2
        exit 1
    fi
    touch "$work/kafka/verified"
    rm -rf "$kafka"
    mv "$work/kafka" "$kafka"
fi

schemathesis=.tools/schemathesis-$SCHEMATHESIS_VERSION
if [ "$purpose" = test ]; then
    lock=$(sha256sum tools/schemathesis/requirements.txt | cut -d ' ' -f 1)
    if [ "$(cat "$schemathesis/.seenby-lock" 2>/dev/null)" != "$lock" ]; then
        echo "fetching schemathesis $SCHEMATHESIS_VERSION"
        python3 -m venv "$work/schemathesis"
        "$work/schemathesis/bin/python3" -m pip install --quiet --disable-pip-version-check --no-input \
            --require-hashes --only-binary :all: --requirement tools/schemathesis/requirements.txt
        echo "$lock" > "$work/schemathesis/.seenby-lock"
        rm -rf "$schemathesis"
        # Its scripts name the folder that they were made in; `bin/python3 -m schemathesis.cli` does not.
        mv "$work/schemathesis" "$schemathesis"
    fi
fi

if [ "$purpose" = test ] && [ -f tests/sdk/package-lock.json ]; then
    lock=$(sha256sum tests/sdk/package-lock.json | cut -d ' ' -f 1)
    if [ "$(cat tests/sdk/node_modules/.seenby-lock 2>/dev/null)" != "$lock" ]; then
        echo "fetching the packages of the SDK tests"
        (cd tests/sdk && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
        echo "$lock" > tests/sdk/node_modules/.seenby-lock
    fi
fi
