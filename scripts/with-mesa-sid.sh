#!/bin/sh
# Runs a program on the lavapipe of Debian's newest packages (sid: Mesa 26, which has matrix units) without installing it, on
# any Debian:  sh scripts/with-mesa-sid.sh target/release/downhill devices
#
# Everything it needs, the C library too, is unpacked into DOWNHILL_CACHE_DIR (or downhill in the user's cache folder), once;
# delete mesa-sid there to have it fetched anew. The program is started by the loader of that C library.
set -eu
. "$(dirname "$0")/mesa-packages.sh"

[ $# -gt 0 ] || { echo "usage: $0 PROGRAM [ARGUMENT ...]" >&2; exit 2; }
command -v apt-get >/dev/null || { echo "error: the packages are Debian's, and there is no apt-get" >&2; exit 3; }
program=$(command -v "$1") || { echo "error: no program \`$1\`" >&2; exit 2; }
shift
cache="${DOWNHILL_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/downhill}/mesa-sid"
if [ ! -d "$cache" ]; then
    STATUS=/dev/null fetch_packages "$cache" sid sid mesa-vulkan-drivers libvulkan1 libc6 libstdc++6 >&2
fi

libraries=$cache/usr/lib/$(uname -m)-linux-gnu
# The manifest with the place of its library: not every loader of Vulkan looks where the C library does.
sed "s#\"library_path\": *\"[^\"]*\"#\"library_path\": \"$libraries/libvulkan_lvp.so\"#" "$(lavapipe_manifest "$cache")" >"$cache/lavapipe.json"
VK_DRIVER_FILES=$cache/lavapipe.json
VK_ICD_FILENAMES=$VK_DRIVER_FILES
export VK_DRIVER_FILES VK_ICD_FILENAMES
exec "$(find "$cache/usr" "$cache/lib" "$cache/lib64" -name 'ld-linux-*' 2>/dev/null | head -n 1)" --library-path "$libraries" "$program" "$@"
