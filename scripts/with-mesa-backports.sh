#!/bin/sh
# Runs a command on the lavapipe of Debian's backports (Mesa 25) without installing it, to compare with the one of the
# system:  sh scripts/with-mesa-backports.sh target/release/downhill bench unet
#
# The packages are unpacked into DOWNHILL_CACHE_DIR (or downhill in the user's cache folder), once; delete mesa-backports
# there to have them fetched anew. For Debian 12: the packages want its libraries.
set -eu

suite=bookworm-backports
[ $# -gt 0 ] || { echo "usage: $0 COMMAND [ARGUMENT ...]" >&2; exit 2; }
if ! grep -q '^VERSION_CODENAME=bookworm' /etc/os-release 2>/dev/null; then
    echo "error: the packages of $suite are for Debian 12" >&2
    exit 3
fi
cache="${DOWNHILL_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/downhill}/mesa-backports"

fetch() {
    rm -rf "$cache.part"
    mkdir -p "$cache.part/sources" "$cache.part/lists/partial" "$cache.part/archives/partial" "$cache.part/debs"
    cat >"$cache.part/sources/debian.sources" <<SOURCES
Types: deb
URIs: http://deb.debian.org/debian
Suites: bookworm $suite
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
SOURCES
    # Lists and sources of its own: what the system knows of packages stays as it is.
    set -- -qq -o APT::Sandbox::User=root -o Dir::Etc::SourceList=/dev/null -o "Dir::Etc::SourceParts=$cache.part/sources" \
        -o "Dir::State::Lists=$cache.part/lists" -o "Dir::Cache=$cache.part"
    apt-get "$@" update
    wanted=$(apt-get "$@" -t "$suite" install --reinstall --no-install-recommends --print-uris --yes mesa-vulkan-drivers |
        sed -n 's/^[^ ]* \([^_ ]*\)_.*/\1/p' | sort -u)
    # shellcheck disable=SC2086 # one word a package
    (cd "$cache.part/debs" && apt-get "$@" -t "$suite" download $wanted)
    for package in "$cache.part/debs"/*.deb; do dpkg -x "$package" "$cache.part"; done
    rm -rf "$cache.part/lists" "$cache.part/archives" "$cache.part/debs" "$cache.part"/*.bin
    mv "$cache.part" "$cache"
}

[ -d "$cache" ] || fetch >&2
manifest=$cache/usr/share/vulkan/icd.d/lvp_icd.json
[ -e "$manifest" ] || manifest=$cache/usr/share/vulkan/icd.d/lvp_icd.$(uname -m).json

# The manifest names its library without a folder. Older loaders know the second variable only.
LD_LIBRARY_PATH=$cache/usr/lib/$(uname -m)-linux-gnu${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
VK_DRIVER_FILES=$manifest
VK_ICD_FILENAMES=$manifest
export LD_LIBRARY_PATH VK_DRIVER_FILES VK_ICD_FILENAMES
exec "$@"
