#!/bin/sh
# Tests the page and its engine in a headless browser, beside the program:  sh web/test.sh
# Needs node, npm, a Chromium and what the program needs; installs what is missing where it is root on Debian or Ubuntu.
#   CHROMIUM=/path/to/chrome   another browser
#   DOWNHILL=/path/to/downhill another program than the one that is built here
# Screenshots are written to target/web.
set -eu
cd "$(dirname "$0")/.."

has() {
    command -v "$1" >/dev/null 2>&1
}

browser() {
    for name in chromium chromium-browser google-chrome google-chrome-stable; do
        if has "$name"; then
            command -v "$name"
            return
        fi
    done
    return 1
}

packages=''
{ has node && has npm; } || packages="$packages nodejs npm"
[ -n "${CHROMIUM:-}" ] || browser >/dev/null || packages="$packages chromium"
if [ -n "$packages" ]; then
    if [ "$(id -u)" -eq 0 ] && has apt-get; then
        echo "installing$packages" >&2
        {
            apt-get update -qq
            # The names are split into words on purpose.
            # shellcheck disable=SC2086
            DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages
        } >/dev/null
    else
        echo "error: missing:$packages" >&2
        echo "hint: install node 18 or newer with npm, and Chromium or Chrome; CHROMIUM=PATH names a browser" >&2
        exit 3
    fi
fi
CHROMIUM=${CHROMIUM:-$(browser)}

npm ci --silent --prefix web </dev/null
sh web/build.sh
if [ -z "${DOWNHILL:-}" ]; then
    cargo build --quiet --locked --bin downhill
    DOWNHILL="${CARGO_TARGET_DIR:-$PWD/target}/debug/downhill"
fi
export CHROMIUM DOWNHILL
mkdir -p target/web
node --test --test-concurrency=1 web/test/unit.test.js web/test/page.test.js
