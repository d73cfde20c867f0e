#!/bin/sh
# Validates the manifests against the schemas of Kubernetes, and then runs the commands of their pods on this machine,
# with the variables that a cluster would set; the result is compared, to the last bit, with that of one process:
#   sh deploy/kubernetes/test.sh
# A minute on two cores. Needs Python with venv; kubernetes-validate comes from PyPI. Where there is a kubectl or a
# kustomize that knows replacements (4.2 or newer), what they render is validated and run, too.
#   DOWNHILL=path   the program; otherwise target/release/downhill of this checkout
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
# shellcheck source=deploy/common.sh
. "$root/deploy/common.sh"
program=$(the_program)
python=$(python_with ensurepip python3-venv)

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
manifests="$root/deploy/kubernetes"

"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check 'kubernetes-validate>=1.31'
validate() { "$folder/venv/bin/kubernetes-validate" --strict "$@"; }
sed 's/completionMode/completionsMode/' "$manifests/moments.yaml" >"$folder/fault.yaml"
if validate "$folder/fault.yaml" >/dev/null 2>&1; then fail "a manifest with a fault is valid"; fi

mkdir "$folder/files"
cp "$manifests"/*.yaml "$folder/files"
rm "$folder/files/kustomization.yaml"
for file in "$folder/files"/*.yaml; do validate "$file"; done

render() { kubectl kustomize "$1" 2>/dev/null || kustomize build "$1" 2>/dev/null; }
mkdir "$folder/rendered" "$folder/changed"
if render "$manifests" >"$folder/rendered/all.yaml"; then
    validate "$folder/rendered/all.yaml"
    # One number is changed, and all that follow from it change.
    cp "$manifests"/*.yaml "$folder/changed"
    sed -i 's/completions: 8$/completions: 5/' "$folder/changed/moments.yaml"
    render "$folder/changed" >"$folder/changed.yaml"
    [ "$(grep -cE '^ *(completions|parallelism|value): "?5"?$' "$folder/changed.yaml")" = 3 ] ||
        fail "the number of pods is not the same throughout"
    manifests="$folder/rendered"
else
    echo "no kubectl and no kustomize that renders the kustomization: the files are run as they are"
    manifests="$folder/files"
fi
mkdir "$folder/run"
"$folder/venv/bin/python" "$root/deploy/kubernetes/pods.py" "$manifests" "$folder/run" "$program"
