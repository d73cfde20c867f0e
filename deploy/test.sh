#!/bin/sh
# Runs the commands for GNU parallel and Open MPI in README.md, compares their results, and runs all recipes' tests:
#   sh deploy/test.sh         some eight minutes on two cores
#   sh deploy/test.sh lines   only the commands in README.md
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=deploy/common.sh
. "$root/deploy/common.sh"
program=$(the_program)
export DOWNHILL="$program"
install_missing parallel parallel mpirun openmpi-bin

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
mkdir "$folder/tools" "$folder/one" "$folder/parallel" "$folder/mpi"
ln -s "$program" "$folder/tools/downhill"

# The block of commands under a heading.
# shellcheck disable=SC2016 # backticks of Markdown
block() { sed -n "/^## $1\$/,/^## /p" "$root/deploy/README.md" | sed -n '/^```sh$/,/^```$/p' | grep -v '^```'; }
run() {
    echo "== $1"
    (
        cd "$folder/$2"
        PATH="$folder/tools:$PATH"
        # Open MPI refuses to start as root, as which containers often run, unless both are set.
        export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
        block "$1" >../commands
        [ "$(wc -l <../commands)" -eq 3 ] || fail "not three lines"
        sh -eux ../commands </dev/null >../log 2>&1 || { cat ../log >&2; exit 1; }
        grep -E '^(\+|Frechet)' ../log
    )
}
(cd "$folder/one" && "$program" sample -q -n 64 --steps 5 -o images/%05d.png)
number() { sed -n 's/^Frechet distance  *//p' "$1"; }
"$program" inspect frechet "$folder/one/images" --against digits >"$folder/distance" 2>/dev/null
echo "Frechet distance by one process: $(number "$folder/distance")"
for recipe in "GNU parallel:parallel" "Open MPI:mpi"; do
    run "${recipe%:*}" "${recipe#*:}"
    diff -r "$folder/one/images" "$folder/${recipe#*:}/images" >/dev/null || fail "other images than by one process"
    [ "$(number "$folder/distance")" = "$(number "$folder/log")" ] || fail "another distance than by one process"
done
[ "${1:-}" != lines ] || exit 0

for test in container ci kubernetes slurm; do
    echo "== $test"
    sh "$root/deploy/$test/test.sh"
done
