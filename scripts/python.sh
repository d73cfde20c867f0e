#!/bin/sh
# Builds the wheel of the Python package, and tests it in a fresh virtual environment:  sh scripts/python.sh
#   sh scripts/python.sh wheel [ARGUMENT ...]    only builds it, into target/wheels; the arguments are maturin's
#   sh scripts/python.sh source                  makes the source distribution instead, in target/wheels
# Needs what scripts/with-adapter.sh installs, and Python 3.10 or newer with venv. The peers that the tests run against
# (PyTorch, diffusers and others, some 6 GB) are in python/tests/requirements.txt.
set -eu
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
if ! "$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
    if [ -z "${PYTHON:-}" ] && command -v apt-get >/dev/null 2>&1; then
        echo "installing python3 python3-venv" >&2
        sudo=''
        [ "$(id -u)" -eq 0 ] || sudo=sudo
        { $sudo apt-get update -qq && $sudo apt-get install -y -qq --no-install-recommends python3 python3-venv; } >/dev/null
    else
        echo "error: $python is not Python 3.10 or newer with venv" >&2
        echo "hint: install it, or name another one: PYTHON=python3.12 sh scripts/python.sh" >&2
        exit 3
    fi
fi

action=${1:-test}
[ $# -eq 0 ] || shift
target="${CARGO_TARGET_DIR:-$PWD/target}"
tools="$target/python/tools"
# The folder of programs in a virtual environment.
bin=bin
case $(uname -s) in MINGW* | MSYS* | CYGWIN*) bin=Scripts ;; esac
"$tools/$bin/maturin" --version >/dev/null 2>&1 || {
    "$python" -m venv "$tools"
    "$tools/$bin/pip" install -q --disable-pip-version-check 'maturin>=1.9,<2'
}
# For `--zig`: the wheels that are handed out are linked against an old glibc, as in scripts/release.sh.
case " $* " in *" --zig "*) "$tools/$bin/pip" install -q --disable-pip-version-check ziglang==0.13.0 ;; esac
rm -rf "$target/wheels"
if [ "$action" = source ]; then
    exec "$tools/$bin/maturin" sdist --manifest-path python/Cargo.toml --out "$target/wheels"
fi
sh scripts/with-adapter.sh "$tools/$bin/maturin" build --release --locked -q \
    --manifest-path python/Cargo.toml --out "$target/wheels" "$@"
wheel=$(echo "$target"/wheels/downhill-*.whl)
bytes=$(wc -c <"$wheel")
echo "$(basename "$wheel"): $bytes bytes"
if [ "$bytes" -ge 15000000 ]; then
    echo "error: the wheel is larger than 15 MB" >&2
    exit 1
fi
[ "$action" != wheel ] || exit 0

# The program, whose pictures the package must make bit for bit.
program="$target/debug/downhill"
[ -x "$program" ] || cargo build --all-features --locked
place="$target/python/venv"
rm -rf "$place"
"$python" -m venv "$place"
"$place/bin/pip" install -q --disable-pip-version-check -r python/tests/requirements.txt
# k-diffusion names packages for training that its samplers do not import.
[ ! -f python/tests/requirements-no-deps.txt ] ||
    "$place/bin/pip" install -q --disable-pip-version-check --no-deps -r python/tests/requirements-no-deps.txt
"$place/bin/pip" install -q --disable-pip-version-check "$wheel"
# Away from the checkout's own copy of the package, which has no compiled part.
# With its variable, scikit-learn's checks of other array libraries run, too. A cell of a notebook takes up to ten
# seconds on two idle cores; machines of continuous integration are slower, and busy.
(cd python/tests &&
    DOWNHILL_PROGRAM="$program" SCIPY_ARRAY_API=1 DOWNHILL_SLOWNESS="${DOWNHILL_SLOWNESS:-4}" \
        "$place/bin/python" -m pytest -q -p no:cacheprovider .)
"$place/bin/pyright" --project python --pythonpath "$place/bin/python"
