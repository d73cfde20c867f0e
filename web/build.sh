#!/bin/sh
# Makes web/dist, the package and the page for browsers:  sh web/build.sh [static|fast]
#   static  copies only the files that are not compiled
#   fast    compiles without the passes that make the file small
set -eu
cd "$(dirname "$0")/.."
dist=web/dist
target=wasm32-unknown-unknown
build="${CARGO_TARGET_DIR:-$PWD/target}"

copy() {
    mkdir -p "$dist"
    cp web/downhill.js web/downhill.d.ts "$dist/"
    if [ -f web/index.html ]; then cp web/index.html "$dist/"; fi
    if [ -d web/page ]; then
        rm -rf "$dist/page"
        cp -R web/page "$dist/page"
    fi
}

if [ "${1:-}" = static ]; then
    copy
    exit
fi

if command -v rustup >/dev/null 2>&1 && ! rustup target list --installed | grep -qx "$target"; then
    rustup target add "$target" >&2
fi
profile=web
if [ "${1:-}" = fast ]; then profile=web-fast; fi
cargo build --quiet --locked --package downhill-web --target "$target" --profile "$profile"
cargo build --quiet --locked --manifest-path web/glue/Cargo.toml --target-dir "$build/web-glue"
copy
"$build/web-glue/debug/downhill-web-glue" "$build/$target/$profile/downhill_web.wasm" downhill_engine "$dist"
mv "$dist/downhill_engine_bg.wasm" "$dist/downhill_bg.wasm"
if [ "$profile" = web ]; then
    [ -x web/node_modules/.bin/wasm-opt ] || npm ci --silent --prefix web </dev/null
    web/node_modules/.bin/wasm-opt -O2 --enable-simd --enable-bulk-memory --enable-nontrapping-float-to-int \
        --enable-sign-ext --enable-mutable-globals --enable-reference-types --enable-multivalue \
        "$dist/downhill_bg.wasm" -o "$dist/downhill_bg.opt"
    mv "$dist/downhill_bg.opt" "$dist/downhill_bg.wasm"
fi
# The text is JavaScript, not the shell's.
# shellcheck disable=SC2016
node -e '
const { readFileSync } = require("fs");
const { brotliCompressSync, gzipSync } = require("zlib");
const sum = (of) => process.argv.slice(1).reduce((sum, file) => sum + of(readFileSync(file)).length, 0);
const mib = (bytes) => `${(bytes / 2 ** 20).toFixed(2)} MiB`;
const gzip = (file) => gzipSync(file, { level: 9 });
console.log(`engine: ${mib(sum((file) => file))}, gzip ${mib(sum(gzip))}, brotli ${mib(sum(brotliCompressSync))}`);
' "$dist/downhill_bg.wasm" "$dist/downhill_engine.js" "$dist/downhill.js"
