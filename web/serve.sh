#!/bin/sh
# Serves the page on this machine:  sh web/serve.sh [PORT]
# Builds it first where it has not been built. Beside the documentation site (sh scripts/site.sh) its links lead there.
set -eu
cd "$(dirname "$0")/.."
port=${1:-8000}

[ -f web/dist/downhill.js ] || sh web/build.sh
sh web/build.sh static

# As on the host: the site at `/`, the page at `/play/`.
root="$PWD/target/web/root"
rm -rf "$root"
mkdir -p "$root"
if [ -d target/site ]; then
    for entry in target/site/*; do ln -s "$PWD/$entry" "$root/"; done
fi
rm -f "$root/play"
ln -s "$PWD/web/dist" "$root/play"

echo "http://localhost:$port/play/"
if command -v python3 >/dev/null 2>&1; then
    exec python3 -m http.server --bind 127.0.0.1 --directory "$root" "$port" 2>/dev/null
elif command -v node >/dev/null 2>&1; then
    exec node web/test/serve.js "$root" "$port"
fi
echo "error: neither python3 nor node is there to serve $root" >&2
echo "hint: install one of them, or serve web/dist with any web server" >&2
exit 3
