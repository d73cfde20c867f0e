#!/bin/sh
# The compiler of the fuzzer's build: `RUSTC_WRAPPER` is called with the path of rustc and its arguments. Adds what
# libFuzzer needs to every crate that may read foreign bytes. Those of the engine read none, and the counters of their
# branches would be searched after each execution.
set -eu
rustc=$1
shift
coverage="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1"
case " $* " in
    *" --crate-name wgpu"* | *" --crate-name naga "* | *" --crate-name ash "* | *" --crate-name gpu_"* | \
        *" --crate-name faer"* | *" --crate-name gemm"* | *" --crate-name plotters"* | \
        *" --crate-name libfuzzer_sys "*) coverage= ;;
    # The decoder passes over checksums, which no mutation would hit.
    *" --crate-name png "*) coverage="$coverage --cfg fuzzing" ;;
esac
# Without `--target` it is a build script or a macro.
case " $* " in
    *" --target "*) ;;
    *) coverage= ;;
esac
# Unquoted, to be several arguments.
# shellcheck disable=SC2086
exec "$rustc" "$@" $coverage
