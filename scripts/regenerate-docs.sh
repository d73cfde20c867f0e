#!/bin/sh
# Runs the commands of the pages in docs/pages and writes their figures, plots and pages anew.
#
#   sh scripts/regenerate-docs.sh            # every page
#   sh scripts/regenerate-docs.sh PAGE ...   # docs/PAGE.md alone
#
# Commands that have run stay in target/pages and are not run again; remove a folder there to measure anew.
set -eu
cd "$(dirname "$0")/.."
cargo build --release --all-features --locked
sh scripts/with-adapter.sh python3 tools/pages.py run "$@"
