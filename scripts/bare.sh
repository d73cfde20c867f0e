#!/bin/sh
# Measures how long the first image takes in a bare Debian 12 that has nothing but the archive of scripts/release.sh:
#   sudo sh scripts/bare.sh [ARCHIVE]
# Checks first that the program, without a driver, exits with 3 and says what to install; then installs the software
# adapter, and checks that the image is on disk within LIMIT seconds (15) of the beginning of unpacking.
# Needs root for chroot, and installs mmdebstrap if it is missing. A minute or two.
set -eu
cd "$(dirname "$0")/.."

fail() {
    echo "error: $1" >&2
    exit 1
}

# The part that mmdebstrap calls with the new root file system, while /proc and /dev are mounted there.
if [ "${1:-}" = --inside ]; then
    root=$2
    if [ ! -d "$root/root" ] || [ "$(cd "$root" && pwd -P)" = / ]; then fail "\`$root\` is not a new root file system"; fi
    inside() {
        chroot "$root" env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive "$@"
    }
    # By the apt of the new root file system. That of the host, given mmdebstrap's configuration in a hook, hands the
    # packages to the host's dpkg.
    install() {
        inside apt-get install -y -qq --no-install-recommends "$1" >/dev/null
    }
    cp "$ARCHIVE" "$root/root/downhill.tar.gz"

    inside sh -c 'mkdir /root/first && cd /root/first && tar -xzf ../downhill.tar.gz'
    for missing in 'the loader' 'a driver'; do
        code=0
        said=$(inside sh -c 'cd /root/first && downhill-*/downhill sample' 2>&1) || code=$?
        [ "$code" -eq 3 ] || fail "without $missing, the program exits with $code, not with 3: $said"
        echo "$said" | grep -q 'apt-get install mesa-vulkan-drivers libvulkan1' ||
            fail "without $missing, the program does not say what to install: $said"
        if [ "$missing" = 'the loader' ]; then
            echo "$said" >&2
            install libvulkan1
        fi
    done
    install mesa-vulkan-drivers
    rm -r "$root/root/first"

    begun=$(date +%s%N)
    inside sh -c 'cd /root && tar -xzf downhill.tar.gz && downhill-*/downhill sample' >&2
    ended=$(date +%s%N)
    [ -s "$root/root/samples.png" ] || fail "there is no image"
    took=$(((ended - begun) / 1000000))
    # The same again, with what the first run has kept.
    begun=$(date +%s%N)
    inside sh -c 'cd /root && downhill-*/downhill sample -o again.png' >&2
    ended=$(date +%s%N)
    cmp "$root/root/samples.png" "$root/root/again.png" || fail "the second image is another one"
    again=$(((ended - begun) / 1000000))
    printf 'first image %d.%03d s after the beginning of unpacking; the second run takes %d.%03d s\n' \
        $((took / 1000)) $((took % 1000)) $((again / 1000)) $((again % 1000))
    [ "$took" -le $((${LIMIT:-15} * 1000)) ] || fail "the first image took longer than ${LIMIT:-15} s"
    exit 0
fi

target=$(uname -m)-unknown-linux-gnu
ARCHIVE=${1:-$(echo "${CARGO_TARGET_DIR:-target}"/dist/downhill-*-"$target".tar.gz)}
[ -f "$ARCHIVE" ] || fail "there is no archive \`$ARCHIVE\`: sh scripts/release.sh makes it"
[ "$(id -u)" -eq 0 ] || fail "not root: sudo sh scripts/bare.sh"
command -v mmdebstrap >/dev/null 2>&1 || {
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends mmdebstrap
} >/dev/null
keys=/usr/share/keyrings/debian-archive-keyring.gpg
[ -f "$keys" ] || DEBIAN_FRONTEND=noninteractive apt-get install -y -qq debian-archive-keyring >/dev/null
export ARCHIVE
# The whole root file system is in a temporary folder of mmdebstrap, which it removes.
mmdebstrap --quiet --mode=root --variant=minbase --format=null --keyring="$keys" \
    --customize-hook="sh '$PWD/scripts/bare.sh' --inside \"\$1\"" bookworm -
