#!/usr/bin/env bash
# Runs fuzz targets for a bounded time each:
#   tools/fuzz.sh SECONDS [decode|fold|query]...
# Fails at the first input that breaks something; it is kept in fuzz/artifacts, and the output says how to run it again.
# What was found worth keeping stays in fuzz/corpus, so that the next run goes on from there.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:?how many seconds each target runs}
shift
targets=("$@")
[ "${#targets[@]}" -gt 0 ] || targets=(decode fold query)

if ! cargo fuzz --version >/dev/null 2>&1; then
    echo "cargo-fuzz is missing: it runs the fuzz targets; cargo install cargo-fuzz --locked" >&2
    exit 1
fi

# The versions that the package itself is built with; cargo adds what only fuzzing needs.
[ fuzz/Cargo.lock -nt Cargo.lock ] || cp Cargo.lock fuzz/Cargo.lock

mkdir -p fuzz/corpus/decode fuzz/corpus/fold fuzz/corpus/query

# Records begin with the examples of the schemas. The first byte says what header a record has, and \036 stands between
# those of one log: see fuzz/fuzz_targets/decode.rs.
rm -f fuzz/corpus/decode/log-of-*
for example in schemas/examples/*/*/*.json; do
    folder=$(dirname "$example")
    kind=$(basename "$(dirname "$folder")")
    case "$kind" in
        notification | rejection) continue ;;
        policy) header=p ;;
        erase) header=e ;;
        *) header=- ;;
    esac
    { printf '%s' "$header"; cat "$example"; } >"fuzz/corpus/decode/$kind-$(basename "$folder")-$(basename "$example")"
    { printf '%s' "$header"; cat "$example"; printf '\036'; } >>"fuzz/corpus/decode/log-of-$(basename "$folder")"
done

# Any bytes stand for some log; compressed text is as good as random, and of about the right length in pieces.
gzip -nc schemas/openapi.json | split -b 600 - fuzz/corpus/fold/log-

number=0
while IFS= read -r query; do
    number=$((number + 1))
    printf '%s' "$query" >"fuzz/corpus/query/$number"
done <<'QUERIES'
status=unread&limit=20
status=all&order=oldest&limit=500&user=a&user=b%2Bc
cursor=eyJsIjoiZTNiMGM0NDI5OGZjMWMxNCJ9&order=newest
limit=500&key=undefined&_v=1
limit=20&key=920022%2Falice
{"l":"e3b0c44298fc1c14","a":[1772366400000,"ack","alice"],"f":[1772366399000,"ack0","bob"]}
{"l":"e3b0c44298fc1c14","u":"alice","s":42}
QUERIES

# Stable compilers take the flags of coverage with this variable only. Memory is checked by the compiler: what is outside
# of src/dev has no unsafe code, so that no sanitizer, which would need a nightly one, is missed.
export RUSTC_BOOTSTRAP=1
for target in "${targets[@]}"; do
    options=(-max_total_time="$seconds" -max_len=4096 -timeout=10 -print_final_stats=1)
    [ -f "fuzz/$target.dict" ] && options+=(-dict="fuzz/$target.dict")
    echo "fuzzing $target for $seconds s" >&2
    if ! cargo fuzz run --sanitizer none "$target" -- "${options[@]}" 2>&1 | grep -vE '^#[0-9]+\s+(NEW|REDUCE|RELOAD)'; then
        echo "$target has found something: fuzz/artifacts/$target" >&2
        exit 1
    fi
done
