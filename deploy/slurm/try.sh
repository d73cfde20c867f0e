#!/bin/sh
# Runs a command as a step of this job of Slurm:  sh try.sh COMMAND...
# Puts the job back into the queue if the command was killed, was stopped or lost its device. Other failures, such as a
# file that is missing, would be the same again: they fail the job.
set -eu

# Threads as the job has cores, for nodes without a GPU: lavapipe and the program would take every core of the node.
threads=${SLURM_CPUS_PER_TASK:-1}
export LP_NUM_THREADS="${LP_NUM_THREADS:-$threads}" RAYON_NUM_THREADS="${RAYON_NUM_THREADS:-$threads}"

code=0
srun --cpus-per-task="$threads" "$@" || code=$?
case $code in
    0) exit 0 ;;
    1 | 2 | 3 | 4 | 5 | 7) exit "$code" ;;
esac
if [ "${SLURM_RESTART_COUNT:-0}" -ge "${TRIES:-3}" ]; then
    echo "ended with $code, after ${SLURM_RESTART_COUNT:-0} restarts" >&2
    exit "$code"
fi
echo "ended with $code: back into the queue" >&2
scontrol requeue "$SLURM_JOB_ID" || exit "$code"
# Slurm ends this script; its exit code would otherwise count as the outcome of the job.
sleep 300
exit "$code"
