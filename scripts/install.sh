#!/bin/sh
# Installs the program downhill from its releases, without root:
#   sh install.sh [--to DIR] [--version VERSION]
# DIR is ~/.local/bin by default, VERSION the latest one. Linux with glibc 2.28 or newer (x86-64, arm64), macOS (arm64).
#   DOWNHILL_RELEASES=URL   the address of the releases, where it is not that of the repository below
# Exit codes: 1 a download failed or is damaged, 2 usage, 3 no program for this machine.
set -eu

# Written by `python3 scripts/packaging.py address URL`.
repository=https://example.com/OWNER/downhill

fail() {
    echo "error: $2" >&2
    echo "hint: $3" >&2
    exit "$1"
}

has() {
    command -v "$1" >/dev/null 2>&1
}

from_source="\`cargo install --locked downhill\` builds it from source"

find_target() {
    system=$(uname -s) processor=$(uname -m)
    # A shell that macOS translates says x86_64.
    if [ "$system" = Darwin ] && [ "$(sysctl -n sysctl.proc_translated 2>/dev/null || :)" = 1 ]; then processor=arm64; fi
    case $processor in
        x86_64 | amd64) processor=x86_64 ;;
        aarch64 | arm64) processor=aarch64 ;;
    esac
    case $system-$processor in
        Linux-x86_64 | Linux-aarch64) target=$processor-unknown-linux-gnu ;;
        Darwin-aarch64) target=aarch64-apple-darwin ;;
        MINGW* | MSYS* | CYGWIN*) fail 3 "this is Windows" "install.ps1 of the same release installs it there" ;;
        *) fail 3 "there is no program for $system on $processor" "$from_source" ;;
    esac
    [ "$system" = Linux ] || return 0
    library=$(getconf GNU_LIBC_VERSION 2>/dev/null || :)
    case $library in
        'glibc '*.*) ;;
        *) fail 3 "this system has no glibc" "$from_source" ;;
    esac
    number=${library#glibc } minor=${library#glibc *.}
    if [ "${number%%.*}" -lt 2 ] || { [ "${number%%.*}" -eq 2 ] && [ "${minor%%.*}" -lt 28 ]; }; then
        fail 3 "this system has $library, and the program needs 2.28" "$from_source"
    fi
}

# download URL FILE
download() {
    if has curl; then
        curl -fsSL --retry 2 -o "$2" "$1" && return 0
    elif has wget; then
        wget -q -O "$2" "$1" && return 0
    else
        fail 1 "neither curl nor wget is there" "install one of them, or unpack the archive from $releases by hand"
    fi
    fail 1 "\`$1\` cannot be downloaded" \
        "check the network and, with --version, that this version exists: $releases; DOWNHILL_RELEASES=URL names a mirror"
}

digest_of() {
    if has sha256sum; then
        sha256sum "$1"
    elif has shasum; then
        shasum -a 256 "$1"
    elif has openssl; then
        openssl dgst -sha256 -r "$1"
    else
        fail 1 "no sha256sum, shasum or openssl to check the download with" "install one of them"
    fi
}

advise_driver() {
    code=0
    "$1" devices >/dev/null 2>&1 || code=$?
    [ "$code" -eq 3 ] || return 0
    packages="your distribution's Vulkan loader and Mesa's Vulkan drivers"
    if has apt-get; then
        packages="\`apt-get install mesa-vulkan-drivers libvulkan1\`"
    elif has dnf; then
        packages="\`dnf install mesa-vulkan-drivers vulkan-loader\`"
    elif has pacman; then
        packages="\`pacman -S vulkan-swrast vulkan-icd-loader\`"
    fi
    echo "No GPU is usable yet: it needs a Vulkan driver. The software adapter runs on any processor: $packages"
}

main() {
    to='' version=''
    while [ $# -gt 0 ]; do
        case $1 in
            --to | --version)
                [ -n "${2:-}" ] || fail 2 "$1 has no value" "sh install.sh [--to DIR] [--version VERSION]"
                case $1 in --to) to=$2 ;; *) version=${2#v} ;; esac
                shift 2
                ;;
            -h | --help)
                echo "Installs downhill: sh install.sh [--to DIR] [--version VERSION]"
                exit 0
                ;;
            *) fail 2 "\`$1\` is not an option" "sh install.sh [--to DIR] [--version VERSION]" ;;
        esac
    done
    if [ -z "$to" ]; then
        [ -n "${HOME:-}" ] || fail 2 "there is no home folder" "name a folder: --to DIR"
        to=$HOME/.local/bin
    fi
    releases=${DOWNHILL_RELEASES:-$repository/releases}
    releases=${releases%/}
    case $releases in
        https://example.com/*) fail 1 "this copy of the installer names no repository" "set DOWNHILL_RELEASES=URL" ;;
    esac
    find_target

    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    if [ -z "$version" ]; then
        download "$releases/latest/download/VERSION" "$work/VERSION"
        version=$(cat "$work/VERSION")
    fi
    case $version in
        *[!0-9A-Za-z.+-]* | '') fail 1 "the latest version is \`$version\`, which is not a version" \
            "name one: --version VERSION" ;;
    esac
    name=downhill-$version-$target
    echo "downloading $name" >&2
    download "$releases/download/v$version/$name.tar.gz.sha256" "$work/sha256"
    download "$releases/download/v$version/$name.tar.gz" "$work/archive"
    read -r expected _ <"$work/sha256" || :
    found=$(digest_of "$work/archive")
    [ "${found%% *}" = "$expected" ] || fail 1 \
        "the checksum of \`$name.tar.gz\` is ${found%% *}, not $expected" \
        "the download is damaged or was changed: try again, and report it if that does not help"
    tar -xzf "$work/archive" -C "$work" || fail 1 "\`$name.tar.gz\` cannot be unpacked" "install tar and gzip"

    mkdir -p "$to" || fail 1 "the folder \`$to\` cannot be created" "name another one: --to DIR"
    # A program that runs is replaced, not overwritten.
    {
        cp "$work/$name/downhill" "$to/.downhill.$$" && chmod 755 "$to/.downhill.$$" &&
            mv -f "$to/.downhill.$$" "$to/downhill"
    } ||
        fail 1 "\`$to/downhill\` cannot be written" "name another folder: --to DIR"
    installed=$("$to/downhill" --version) || fail 1 "\`$to/downhill\` does not run" "$from_source"
    echo "installed $installed: $to/downhill"
    case ":$PATH:" in
        *":$to:"*) ;;
        *) echo "$to is not in PATH. Add to your shell's profile: export PATH=\"$to:\$PATH\"" ;;
    esac
    [ "$system" != Linux ] || advise_driver "$to/downhill"
}

# All of it is read before any of it runs.
main "$@"
