#!/bin/sh
# Carries out the steps of ../Containerfile in a fresh root file system of Debian, samples in it as the user of the
# image, and compares the picture with that of the program outside:  sh deploy/container/test.sh
# As root. Some two minutes; needs 700 MB in TMPDIR and Debian's archive. Installs mmdebstrap if missing.
#   DOWNHILL=path   the program; otherwise target/release/downhill of this checkout
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
# shellcheck source=deploy/common.sh
. "$root/deploy/common.sh"
program=$(the_program)
[ "$(id -u)" -eq 0 ] || fail "not root: chroot needs it"
install_missing mmdebstrap mmdebstrap

folder=$(mktemp -d)
finish() {
    code=$?
    umount "$folder/system/proc" 2>/dev/null || true
    rm -rf --one-file-system "$folder"
    exit "$code"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
system="$folder/system"

# The steps of a Containerfile, one per line.
sed -e :a -e '/\\$/{N;s/\\\n/ /;ta' -e '}' -e '/^ *#/d' -e '/^ *$/d' "$root/deploy/Containerfile" >"$folder/steps"
user=0:0 place=/
: >"$folder/environment"
while read -r step rest <&3; do
    echo "$step $rest" | cut -c 1-120
    case $step in
        FROM)
            suite=${rest#debian:} suite=${suite%-slim}
            [ "debian:$suite-slim" = "$rest" ] || fail "not an image that this script knows: $rest"
            mmdebstrap --quiet --variant=minbase "$suite" "$system" 2>"$folder/mmdebstrap.log" ||
                { cat "$folder/mmdebstrap.log" >&2; fail "no root file system of Debian"; }
            mount -t proc proc "$system/proc" ;;
        RUN)
            chroot "$system" /bin/sh -c "$rest" >"$folder/run.log" 2>&1 ||
                { cat "$folder/run.log" >&2; fail "RUN failed"; } ;;
        COPY)
            from=${rest% *} to=${rest##* }
            # The program of this test stands for the built one.
            if [ "$from" = target/release/downhill ]; then from=$program; else from=$root/$from; fi
            cp "$from" "$system$to" ;;
        ENV) for pair in $rest; do echo "$pair" >>"$folder/environment"; done ;;
        USER) user=$rest ;;
        WORKDIR) place=$rest ;;
        ENTRYPOINT) entry=$(echo "$rest" | sed 's/^\["\(.*\)"\]$/\1/') ;;
        *) fail "a step that this script does not know: $step" ;;
    esac
done 3<"$folder/steps"

# As the image's entry point.
inside() {
    # shellcheck disable=SC2046,SC2016 # one word per variable; $0 is that of the inner shell
    chroot --userspec="$user" --groups= "$system" \
        env -i PATH=/usr/local/bin:/usr/bin:/bin $(cat "$folder/environment") \
        sh -c 'cd "$0" && exec "$@"' "$place" "$entry" "$@"
}
# Nothing but the places for work and caches is to be written.
chmod 755 "$system/tmp"
begin=$(date +%s)
inside sample -q -n 16 --steps 10 -o picture.png --json report.json
echo "sampled as $user: $(($(date +%s) - begin)) s, with shaders compiled; $(du -smx "$system" | cut -f 1) MB in all"
driver=$(sed -n 's/^ *"driver": "\(.*\)",$/\1/p' "$system$place/report.json")
[ "${driver#llvmpipe}" != "$driver" ] || fail "not the software adapter: $driver"
[ "$(stat -c %u:%g "$system$place/picture.png")" = "$user" ] || fail "the picture belongs to another user"
[ -n "$(ls "$system/var/cache/downhill")" ] || fail "nothing was kept in the folder of caches"
if inside sample -q -o /etc/picture.png 2>/dev/null; then fail "the user of the image writes to /etc"; fi

# shellcheck disable=SC2046 # one word per variable
env $(cat "$folder/environment") XDG_CACHE_HOME="$folder/cache" \
    "$program" sample -q -n 16 --steps 10 -o "$folder/picture.png" --json "$folder/report.json"
outside=$(sed -n 's/^ *"driver": "\(.*\)",$/\1/p' "$folder/report.json")
echo "inside $driver, outside $outside"
"$program" compare "$system$place/picture.png" "$folder/picture.png" --tolerance 1
if [ "$driver" = "$outside" ]; then
    cmp "$system$place/picture.png" "$folder/picture.png" || fail "one driver, and other bits"
    echo "the pictures have the same bytes"
fi
