#!/bin/sh
# Runs the recipe on a Slurm that this script starts on this machine (a controller and two nodes) and compares its
# result, to the last bit, with that of one process:  sh deploy/slurm/test.sh
# Two tasks of the array of samples are interrupted in the middle. Some five minutes on two cores. Installs Slurm and
# munge where they are missing (Debian's packages); leaves neither processes nor files.
#   DOWNHILL=path   the program; otherwise target/release/downhill of this checkout
#   COUNT=2000 STEPS=3 SHARDS=8   the run
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
# shellcheck source=deploy/common.sh
. "$root/deploy/common.sh"
program=$(the_program)
COUNT=${COUNT:-2000} STEPS=${STEPS:-3} SHARDS=${SHARDS:-8}

install_missing slurmctld slurmctld slurmd slurmd sbatch slurm-client munged munge
# Debian's place for daemons is not on everyone's path.
PATH="$PATH:/usr/sbin:/sbin"

folder=$(mktemp -d)
# From here on, the commands of Slurm speak to none but the one that is started below.
SLURM_CONF="$folder/slurm.conf"
export SLURM_CONF
daemons=''
finish() {
    code=$?
    trap - EXIT INT TERM
    if [ "$code" -ne 0 ]; then
        tail -n 5 "$folder"/slurmctld.log "$folder"/node?.log "$folder"/run/logs/* >&2 2>/dev/null || true
    fi
    scancel --user="$(id -un)" 2>/dev/null || true
    # shellcheck disable=SC2086 # one word per process
    kill $daemons 2>/dev/null || true
    sleep 2
    # shellcheck disable=SC2086
    kill -9 $daemons 2>/dev/null || true
    rm -rf "$folder"
    exit "$code"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Slurm, as the user who runs this script.
mkdir -p "$folder/state" "$folder/node1" "$folder/node2"
host=$(uname -n | cut -d . -f 1) user=$(id -un) port=$((20000 + $$ % 20000))
cat >"$SLURM_CONF" <<CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
# Slurm starts a job again no sooner than its credentials have expired.
AuthInfo=socket=$folder/munge.socket,cred_expire=8
StateSaveLocation=$folder/state
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd-%n.pid
SlurmdSpoolDir=$folder/%n
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
JobRequeue=1
ReturnToService=2
KillWait=5
SchedulerParameters=sched_interval=2,batch_sched_delay=1
NodeName=node1 NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + 1)) CPUs=1 RealMemory=4000
NodeName=node2 NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + 2)) CPUs=1 RealMemory=4000
PartitionName=all Nodes=node1,node2 Default=YES MaxTime=INFINITE
CONF
chmod 700 "$folder"
head -c 1024 /dev/urandom >"$folder/munge.key"
chmod 400 "$folder/munge.key"

start() {
    log=$1
    shift
    "$@" >"$folder/$log.log" 2>&1 &
    daemons="$daemons $!"
}
start munged munged --foreground --force --socket="$folder/munge.socket" --key-file="$folder/munge.key" \
    --pid-file="$folder/munge.pid" --log-file="$folder/munge.log" --seed-file="$folder/munge.seed"
await 20 "munged" test -S "$folder/munge.socket"
start slurmctld slurmctld -D
start node1 slurmd -D -N node1
start node2 slurmd -D -N node2
idle() { [ "$(sinfo -h -N -o %T 2>/dev/null | grep -c '^idle$')" = 2 ]; }
await 60 "two idle nodes" idle
echo "slurm $(sinfo -V | cut -d ' ' -f 2): a controller and two nodes"

# The program, in a script that notes each start with the number of its process.
mkdir "$folder/starts"
cat >"$folder/downhill" <<WRAPPER
#!/bin/sh
echo "\$1" >"$folder/starts/\$1.\${SLURM_ARRAY_TASK_ID:-one}.\${SLURM_RESTART_COUNT:-0}.\$\$"
exec "$program" "\$@"
WRAPPER
chmod +x "$folder/downhill"
# Where nodes differ in their processors, widths of vectors are fixed so that all make the same bits.
export DOWNHILL="$folder/downhill" LP_NATIVE_VECTOR_WIDTH=256
# A first start compiles the shaders.
"$program" sample -q -n 1 --steps 1 -o "$folder/first.png"

begin=$(date +%s)
OUT="$folder/run" COUNT=$COUNT SHARDS=$SHARDS SAMPLE="--steps $STEPS" sh "$root/deploy/slurm/submit.sh" --time=30
sample=$(squeue -h -o %F --name=downhill-sample | head -n 1)

# Images of a task until now: every SHARDS-th from the number of the task on.
images() {
    made=0 image=$1
    while [ -e "$folder/run/images/$(printf %05d "$image").png" ]; do made=$((made + 1)) image=$((image + SHARDS)); done
    echo "$made"
}
part=$((COUNT / SHARDS))
started() { [ "$(images "$1")" -ge $((part / 4)) ]; }
in_the_middle() {
    made=$(images "$1")
    [ "$made" -lt "$part" ] || fail "task $1 was done before it could be interrupted"
    echo "task $1 $2 after $made of $part images"
}
await 300 "images of task 1" started 1
process=$(echo "$folder"/starts/sample.1.0.* | sed 's/.*\.//')
in_the_middle 1 "is killed"
kill -9 "$process"
kept=$(printf %05d 2).png
await 300 "images of task 2" started 2
in_the_middle 2 "is requeued"
scontrol requeue "${sample}_2"
before=$(stat -c '%i %y' "$folder/run/images/$kept")

ended() { [ -z "$(squeue -h -o %A)" ]; }
await 900 "the end of all jobs" ended
seconds=$(($(date +%s) - begin))
[ -e "$folder/run/frechet.json" ] || fail "the jobs have ended without a result"
for task in 1 2; do
    [ -n "$(find "$folder/starts" -name "sample.$task.1.*")" ] || fail "task $task was not started again"
done
[ "$(find "$folder/starts" -name 'sample.*' | wc -l)" = $((SHARDS + 2)) ] || fail "other tasks were started again, too"
[ "$(stat -c '%i %y' "$folder/run/images/$kept")" = "$before" ] || fail "task 2 has made its first image again"
echo "$SHARDS tasks, two of which were started again: $seconds s"

# The same by one process.
one="$folder/one"
mkdir "$one"
"$program" sample -q -n "$COUNT" --steps "$STEPS" -o "$one/images/%05d.png"
diff -r "$one/images" "$folder/run/images" >/dev/null || fail "the images are not those of one process"
# Files of moments name their data.
"$program" moments -q "$folder/run/images" --features digits -o "$one/all.npz"
cmp "$one/all.npz" "$folder/run/all.npz" || fail "the moments are not those of one process"
"$program" inspect frechet -q "$one/images" --against digits --json "$one/frechet.json"
merged=$(value frechet "$folder/run/frechet.json")
whole=$(value frechet "$one/frechet.json")
echo "Frechet distance of $COUNT digits: $merged by $SHARDS tasks, $whole by one process"
[ -n "$whole" ] || fail "no distance by one process"
[ "$merged" = "$whole" ] || fail "the distances differ"
