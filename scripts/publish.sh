#!/bin/sh
# Makes the release of a tag from the files of target/dist, as a draft that a person publishes:
#   sh scripts/publish.sh vVERSION
# Run by .github/workflows/release.yml. Needs the program gh, and GH_TOKEN.
set -eu
cd "$(dirname "$0")/.."
tag=$1
dist="${CARGO_TARGET_DIR:-$PWD/target}/dist"
notes=$(mktemp)
trap 'rm -f "$notes"' EXIT
# The section of this version in CHANGELOG.md.
awk -v version="[${tag#v}]" '/^## / { on = $2 == version } on && !/^## /' CHANGELOG.md >"$notes"
if ! grep -q . "$notes"; then
    echo "error: CHANGELOG.md has no section \`## [${tag#v}]\`" >&2
    echo "hint: rename \`## [Unreleased]\`, as docs/RELEASING.md says" >&2
    exit 1
fi
[ "${2:-}" != --dry-run ] || exit 0
(cd "$dist" && tar --sort=name --owner=0 --group=0 --numeric-owner -czf "downhill-${tag#v}-packaging.tar.gz" packaging)
gh release create "$tag" --draft --verify-tag --title "downhill ${tag#v}" --notes-file "$notes" \
    "$dist"/downhill-"${tag#v}"-* "$dist/VERSION" scripts/install.sh scripts/install.ps1
