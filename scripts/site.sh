#!/bin/sh
# Builds the documentation site from README.md and docs/ into target/site, and checks it:  sh scripts/site.sh
# Half a minute. Needs Python 3.11 or newer with venv; the packages of tools/site/requirements.txt are fetched from PyPI,
# as wheels, into target/site-tools. The site needs no server: open target/site/index.html. Where sh web/build.sh has made
# the web page, the site has it at play/ and its front page names it.
#   PYTHON=python3.12   another Python
set -eu
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
"$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
    echo "error: $python is not Python 3.11 or newer with venv" >&2
    echo "hint: install it, or name another one: PYTHON=python3.12 sh scripts/site.sh" >&2
    exit 3
}
build="${CARGO_TARGET_DIR:-$PWD/target}"
tools="$build/site-tools"
# A fresh environment whenever the list of packages is another one.
cmp -s tools/site/requirements.txt "$tools/requirements.txt" || {
    rm -rf "$tools"
    "$python" -m venv "$tools"
    "$tools/bin/pip" install -q --disable-pip-version-check --only-binary :all: -r tools/site/requirements.txt
    cp tools/site/requirements.txt "$tools/"
}
rm -rf "$build/site"
"$tools/bin/python" tools/site/stage.py "$build/site-source"
# Strict: a warning is a fault.
"$tools/bin/python" -m sphinx -q -E -n -W --keep-going -b html -c tools/site -d "$build/site-cache" \
    "$build/site-source" "$build/site"
[ ! -f web/dist/index.html ] || cp -R web/dist "$build/site/play"
"$tools/bin/python" tools/site/check.py "$build/site"
