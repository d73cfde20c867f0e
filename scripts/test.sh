#!/bin/sh
# Runs all tests, on the adapter of this machine or on lavapipe:  sh scripts/test.sh [ARGUMENTS]
# With cargo-nextest where it is installed (one summary, parallel), with cargo test otherwise.
set -eu
cd "$(dirname "$0")/.."

if cargo nextest --version >/dev/null 2>&1; then
    sh scripts/with-adapter.sh cargo nextest run --all-features --no-fail-fast "$@"
    exec cargo test --doc --all-features --quiet
fi
exec sh scripts/with-adapter.sh cargo test --all-features --no-fail-fast "$@"
