#!/bin/sh
# Runs the commands of the pages in docs/pages and writes their figures, plots and pages anew.
#
#   sh scripts/regenerate-docs.sh            # every page, and the picture of the README
#   sh scripts/regenerate-docs.sh PAGE ...   # docs/PAGE.md alone
#
# Needs NumPy. Commands that have run stay in target/pages and are not run again; remove a folder there to measure anew.
set -eu
cd "$(dirname "$0")/.."
cargo build --release --all-features --locked
[ $# -gt 0 ] || sh scripts/with-adapter.sh python3 tools/picture.py docs/descent.svg
sh scripts/with-adapter.sh python3 tools/pages.py run "$@"
