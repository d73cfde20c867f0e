#!/bin/sh
# Runs a command on the lavapipe of Debian's backports (Mesa 25) without installing it, to compare with the one of the
# system:  sh scripts/with-mesa-backports.sh target/release/downhill bench unet
#
# The packages are unpacked into DOWNHILL_CACHE_DIR (or downhill in the user's cache folder), once; delete mesa-backports
# there to have them fetched anew. For Debian 12: the packages want its libraries.
set -eu
. "$(dirname "$0")/mesa-packages.sh"

suite=bookworm-backports
[ $# -gt 0 ] || { echo "usage: $0 COMMAND [ARGUMENT ...]" >&2; exit 2; }
if ! grep -q '^VERSION_CODENAME=bookworm' /etc/os-release 2>/dev/null; then
    echo "error: the packages of $suite are for Debian 12" >&2
    exit 3
fi
cache="${DOWNHILL_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/downhill}/mesa-backports"
[ -d "$cache" ] || fetch_packages "$cache" "bookworm $suite" "$suite" mesa-vulkan-drivers >&2

# The manifest names its library without a folder. Older loaders know the second variable only.
LD_LIBRARY_PATH=$cache/usr/lib/$(uname -m)-linux-gnu${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
VK_DRIVER_FILES=$(lavapipe_manifest "$cache")
VK_ICD_FILENAMES=$VK_DRIVER_FILES
export LD_LIBRARY_PATH VK_DRIVER_FILES VK_ICD_FILENAMES
exec "$@"
