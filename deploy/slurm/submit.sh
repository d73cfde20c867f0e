#!/bin/sh
# Submits a run as three jobs of Slurm, each after the one before:  sh submit.sh [OPTIONS OF SBATCH]
# an array that samples, an array that measures moments of features, and a job that merges these and compares.
# The settings are variables of the environment:  COUNT=50000 SHARDS=64 sh submit.sh --partition=gpu
set -eu

OUT=${OUT:-run}                     # a folder that all nodes see
COUNT=${COUNT:-2000}                # images
SHARDS=${SHARDS:-8}                 # tasks of each array
MODEL=${MODEL:-}                    # a folder, a file or a hub id; empty for the embedded network of digits
SAMPLE=${SAMPLE:---steps 10}        # more options of `downhill sample`
FEATURES=${FEATURES:-digits}        # `digits`, or weights of InceptionV3
AGAINST=${AGAINST:-digits}          # the data to compare with, or a file of their statistics
TRIES=${TRIES:-3}                   # times that a task which was killed is put back into the queue
DOWNHILL=${DOWNHILL:-downhill}      # the program, on all nodes

recipe=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$OUT/images" "$OUT/parts" "$OUT/logs"
OUT=$(cd "$OUT" && pwd)
RECIPE=$recipe
export OUT COUNT MODEL SAMPLE FEATURES AGAINST TRIES DOWNHILL RECIPE

# A later job whose dependency has failed leaves the queue instead of waiting for ever.
submit() {
    sbatch --parsable --export=ALL --kill-on-invalid-dep=yes "$@" | cut -d ';' -f 1
}
after=--dependency=afterok
array="--array=0-$((SHARDS - 1))"
sample=$(submit "$array" --output="$OUT/logs/sample-%a.txt" "$@" "$recipe/sample.sbatch")
moments=$(submit "$array" --output="$OUT/logs/moments-%a.txt" "$after:$sample" "$@" "$recipe/moments.sbatch")
merge=$(submit --output="$OUT/logs/merge.txt" "$after:$moments" "$@" "$recipe/merge.sbatch")
echo "sample $sample, moments $moments, merge $merge; results in $OUT"
