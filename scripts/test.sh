#!/bin/sh
# Runs all tests, on the adapter of this machine or on lavapipe:  sh scripts/test.sh [ARGUMENTS]
# With cargo-nextest where it is installed (one summary, parallel), with cargo test otherwise.
set -eu
cd "$(dirname "$0")/.."

if cargo nextest --version >/dev/null 2>&1; then
    # On llvmpipe the program chooses vectors of 512 bits where the processor has them, a test that computes in its own process takes the
    # driver's 256: the kernels are tested with both. Mesa's cache does not keep widths apart, so each has its own.
    wide=0
    if [ $# -eq 0 ] && grep -q avx512vl /proc/cpuinfo 2>/dev/null; then
        LP_NATIVE_VECTOR_WIDTH=512 MESA_SHADER_CACHE_DIR="${CARGO_TARGET_DIR:-$PWD/target}/mesa-512" \
            sh scripts/with-adapter.sh cargo nextest run --all-features --no-fail-fast \
            --test engine --test networks \
            -E 'test(/^(attention|kernels|kernels_source|kernels_winograd|unet)::/)' || wide=$?
    fi
    sh scripts/with-adapter.sh cargo nextest run --all-features --no-fail-fast "$@"
    cargo test --doc --all-features --quiet
    exit "$wide"
fi
exec sh scripts/with-adapter.sh cargo test --all-features --no-fail-fast "$@"
