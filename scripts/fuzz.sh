#!/bin/sh
# Feeds mutated bytes to every parser, guided by coverage:  sh scripts/fuzz.sh SECONDS [TARGET...]
# SECONDS is the time for all targets together; a processor core runs one at a time. Prints the executions of each. A
# fault leaves its input in fuzz/artifacts/, and the exit code is 1. Inputs that reach new branches stay in fuzz/corpus/.
#   FUZZER=PATH  a fuzzer that is built already
#   RUNS=N       ends a target after so many executions, however much of its time is left
set -eu
cd "$(dirname "$0")/.."

if [ "${1:-}" = --one ]; then
    name=$2 longest=$3
    corpus=fuzz/corpus/$name
    TMPDIR=$(mktemp -d -p "$([ -w /dev/shm ] && echo /dev/shm || echo /tmp)" downhill-fuzz.XXXXXX)
    # A backtrace takes longer than a thousand executions.
    export TMPDIR RUST_BACKTRACE=0
    trap 'rm -rf "$TMPDIR"' EXIT
    mkdir -p "$corpus" fuzz/artifacts
    export DOWNHILL_FUZZ="$name" DOWNHILL_FUZZ_SEEDS="$corpus" DOWNHILL_FUZZ_WORDS="$TMPDIR/words"
    code=0
    # 20 seconds by the clock, which goes on while other processes have the core.
    "$FUZZER" "$corpus" -dict="$TMPDIR/words" -max_total_time="$SECONDS_EACH" -runs="${RUNS:--1}" -max_len="$longest" -timeout=20 \
        -rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix="fuzz/artifacts/$name-" \
        >"$TMPDIR/log" 2>&1 || code=$?
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$TMPDIR/log")
    rate=$(sed -n 's/^stat::average_exec_per_sec: *//p' "$TMPDIR/log")
    printf '%-18s %10s executions %8s per second  %s\n' "$name" "${runs:-none}" "${rate:-0}" \
        "$([ "$code" -eq 0 ] && echo 'no fault' || echo FAULT)"
    [ "$code" -eq 0 ] || {
        grep -E 'panicked|ERROR|SUMMARY|Test unit written' -A 1 "$TMPDIR/log" | sed 's/^/    /'
        exit 1
    }
    exit 0
fi

seconds=${1:?"usage: sh scripts/fuzz.sh SECONDS [TARGET...]"}
shift
if [ -z "${FUZZER:-}" ]; then
    host=$(rustc -vV | sed -n 's/^host: //p')
    folder=${CARGO_TARGET_DIR:-$PWD/fuzz/target}
    RUSTC_WRAPPER=$PWD/fuzz/rustc.sh CARGO_TARGET_DIR=$folder CARGO_INCREMENTAL=0 \
        cargo build --manifest-path fuzz/Cargo.toml --release --locked --target "$host"
    FUZZER=$folder/$host/release/fuzz
fi
cores=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
all=$("$FUZZER" 2>/dev/null)
wanted=$all
[ $# -eq 0 ] || wanted=$(for name in "$@"; do echo "$all" | grep "^$name "; done)
count=$(echo "$wanted" | wc -l)
SECONDS_EACH=$((seconds * cores / count))
[ "$SECONDS_EACH" -gt 0 ] || SECONDS_EACH=1
export FUZZER SECONDS_EACH
echo "$wanted" | xargs -n 2 -P "$cores" sh scripts/fuzz.sh --one
