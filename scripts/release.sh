#!/bin/sh
# Builds the program to hand out, and packs it:  sh scripts/release.sh [TARGET]
# Makes target/dist/downhill-VERSION-TARGET.tar.gz (.zip for Windows) and its .sha256; TARGET is this machine by default.
# Some five minutes on two cores. Needs Rust and Python 3 with venv; for Linux also objdump.
#   DOWNHILL=path   a program that runs here, to print the completions where TARGET's own does not run
#
# Programs for Linux are linked by zig against the symbols of an old C library, not in a container of an old Debian: that
# needs no container engine, makes the program for arm64 on x86-64 as well, and reaches 2.28 (Debian 10, Ubuntu 20.04,
# RHEL 8), older than the 2.31 of the oldest Debian image that is still kept.
set -eu
cd "$(dirname "$0")/.."

glibc=2.28
zigbuild=0.24.1
zig=0.13.0
python=${PYTHON:-python3}
profile=packed

fail() {
    echo "error: $1" >&2
    echo "hint: $2" >&2
    exit 1
}

host=$(rustc -vV | sed -n 's/^host: //p')
target=${1:-$host}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
build="${CARGO_TARGET_DIR:-$PWD/target}"
if command -v rustup >/dev/null 2>&1; then rustup target add "$target" >/dev/null 2>&1 ||
    fail "rustup has no target \`$target\`" "\`rustup target list\` prints those that it has"; fi

# No folder of the machine that builds is left in the program.
home="${CARGO_HOME:-$HOME/.cargo}"
RUSTFLAGS="${RUSTFLAGS:-} --remap-path-prefix=$home=cargo --remap-path-prefix=$PWD=downhill"
case $target in
    # Windows has the C library that MSVC links only where a developer installed it.
    *-windows-msvc) RUSTFLAGS="$RUSTFLAGS -C target-feature=+crt-static" ;;
esac
export RUSTFLAGS

case $target in
    *-linux-gnu)
        command -v objdump >/dev/null 2>&1 || fail "no objdump" "install binutils"
        tools="$build/release-tools"
        [ -x "$tools/bin/cargo-zigbuild" ] || {
            "$python" -m venv "$tools"
            "$tools/bin/pip" install -q --disable-pip-version-check "cargo-zigbuild==$zigbuild" "ziglang==$zig"
        }
        PATH="$tools/bin:$PATH" cargo zigbuild --profile "$profile" --all-features --locked --bin downhill \
            --target "$target.$glibc"
        ;;
    *) cargo build --profile "$profile" --all-features --locked --bin downhill --target "$target" ;;
esac

case $target in
    *-windows-*) ending=.exe form=zip ;;
    *) ending='' form=tar.gz ;;
esac
program="$build/$target/$profile/downhill$ending"

case $target in
    *-linux-gnu)
        needs=$(objdump -T "$program" | grep -o 'GLIBC_[0-9.]*' | sort -Vu | tail -n 1)
        newest=$(printf '%s\n' "$needs" "GLIBC_$glibc" | sort -V | tail -n 1)
        if [ -z "$needs" ] || [ "$newest" != "GLIBC_$glibc" ]; then
            fail "the program needs ${needs:-a C library that objdump does not show}" "it must not exceed GLIBC_$glibc"
        fi
        echo "$target: no symbol newer than $needs" >&2
        ;;
esac

prints=$program
if ! "$program" --version >/dev/null 2>&1; then
    prints=${DOWNHILL:-$build/$host/$profile/downhill}
    "$prints" --version >/dev/null 2>&1 || fail "the program for $target does not run here, and \`$prints\` neither" \
        "name one that does, to print the completions: DOWNHILL=PATH sh scripts/release.sh $target"
fi
[ "$("$prints" --version)" = "downhill $version" ] || fail "\`$prints\` is not version $version" "build it again"

mkdir -p "$build/dist"
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
name=downhill-$version-$target
mkdir -p "$stage/$name/completions"
cp "$program" README.md CHANGELOG.md LICENSE-APACHE LICENSE-MIT "$stage/$name/"
# The names under which the shells look for them.
"$prints" completions bash >"$stage/$name/completions/downhill.bash"
"$prints" completions zsh >"$stage/$name/completions/_downhill"
"$prints" completions fish >"$stage/$name/completions/downhill.fish"
"$prints" completions powershell >"$stage/$name/completions/downhill.ps1"
"$python" scripts/licences.py "$target" >"$stage/$name/THIRD-PARTY.txt"
echo "$version" >"$build/dist/VERSION"
time=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 315532800)}
"$python" scripts/archive.py "$stage/$name" "$build/dist/$name.$form" "$time"
