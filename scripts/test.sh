#!/bin/sh
# Runs the tests, on the adapter of this machine or on lavapipe:
#   sh scripts/test.sh                 all of them
#   sh scripts/test.sh --quick         without those that take seconds (tests/slow.txt)
#   sh scripts/test.sh --wide          the kernels alone, at vectors of 512 bits, on a processor with AVX-512
#   sh scripts/test.sh [ARGUMENT ...]  what cargo nextest, or cargo test, makes of the arguments
# With cargo-nextest where it is installed (one summary, parallel), with cargo test otherwise.
set -eu
cd "$(dirname "$0")/.."

nextest() {
    sh scripts/with-adapter.sh cargo nextest run --all-features --no-fail-fast "$@"
}

# A test that waits for another process, or for a shader, leaves its core to one more.
[ -n "${RUST_TEST_THREADS:-}" ] || RUST_TEST_THREADS=$(($(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1) + 1))
export RUST_TEST_THREADS

has_nextest() {
    cargo nextest --version >/dev/null 2>&1
}

case ${1:-} in
    --quick)
        shift
        slow=$(sed -e '/^#/d' -e '/^$/d' tests/slow.txt)
        if has_nextest; then
            # shellcheck disable=SC2086 # one word a test
            nextest --tests -E "not test(/^($(printf '%s|' $slow | sed 's/|$//'))\$/)" "$@"
        else
            # shellcheck disable=SC2046
            sh scripts/with-adapter.sh cargo test --all-features --no-fail-fast --tests "$@" -- \
                $(printf -- '--skip %s ' $slow)
        fi
        ;;
    --wide)
        # On llvmpipe the program chooses vectors of 512 bits where the processor has them; a test that computes in
        # its process takes the driver's 256. Mesa's cache does not keep widths apart, so this one has a folder.
        if ! grep -q avx512vl /proc/cpuinfo 2>/dev/null; then
            echo "the processor has no vectors of 512 bits: nothing to test" >&2
            exit 0
        fi
        LP_NATIVE_VECTOR_WIDTH=512 MESA_SHADER_CACHE_DIR="${CARGO_TARGET_DIR:-$PWD/target}/mesa-512"
        export LP_NATIVE_VECTOR_WIDTH MESA_SHADER_CACHE_DIR
        if has_nextest; then
            nextest --test engine --test networks \
                -E 'test(/^(attention|kernels|kernels_source|kernels_winograd|unet)::/)'
        else
            sh scripts/with-adapter.sh cargo test --all-features --no-fail-fast --test engine --test networks -- \
                attention:: kernels:: kernels_source:: kernels_winograd:: unet::
        fi
        ;;
    *)
        # Examples are compiled by the lints.
        all=no
        [ $# -gt 0 ] || { all=yes && set -- --tests; }
        if has_nextest; then
            nextest "$@"
        else
            sh scripts/with-adapter.sh cargo test --all-features --no-fail-fast "$@"
        fi
        [ $all = no ] || sh scripts/with-adapter.sh cargo test --doc --all-features --quiet
        ;;
esac
