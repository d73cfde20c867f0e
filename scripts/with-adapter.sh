#!/bin/sh
# Runs a command on a machine with everything it needs:  sh scripts/with-adapter.sh cargo run --release -- sample
# Installs what is missing: Rust, a C compiler, git, and where there is no Vulkan driver, Mesa's software adapter (lavapipe).
set -eu

has() {
    command -v "$1" >/dev/null 2>&1
}

has_driver() {
    [ -n "${VK_DRIVER_FILES:-}${VK_ICD_FILENAMES:-}" ] && return 0
    for folder in /usr/share/vulkan/icd.d /usr/local/share/vulkan/icd.d /etc/vulkan/icd.d "$HOME/.local/share/vulkan/icd.d"; do
        for manifest in "$folder"/*.json; do [ -e "$manifest" ] && return 0; done
    done
    return 1
}

has_loader() {
    { ldconfig -p 2>/dev/null || /sbin/ldconfig -p 2>/dev/null; } | grep -q 'libvulkan\.so\.1'
}

has_rust() {
    has cargo || [ -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ]
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

# What is missing, by the names of Debian's, Fedora's and Arch's packages.
debian='' fedora='' arch=''
missing() {
    debian="$debian $1" fedora="$fedora $2" arch="$arch $3"
}

if [ "$(uname -s)" = Linux ]; then
    has cc || missing 'gcc libc6-dev' 'gcc glibc-devel' 'gcc'
    has git || missing git git git
    has_rust || has curl || missing 'curl ca-certificates' 'curl ca-certificates' 'curl ca-certificates'
    { has_driver && has_loader; } ||
        missing 'mesa-vulkan-drivers libvulkan1' 'mesa-vulkan-drivers vulkan-loader' 'vulkan-swrast vulkan-icd-loader'
fi

# The lists are split into their words on purpose.
if [ -n "$debian" ]; then
    if has apt-get; then
        echo "installing$debian" >&2
        {
            as_root apt-get update -qq
            as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $debian
        } >/dev/null
    elif has dnf; then
        echo "installing$fedora" >&2
        as_root dnf install -y -q $fedora >/dev/null
    elif has pacman; then
        echo "installing$arch" >&2
        as_root pacman -S --noconfirm --needed $arch >/dev/null
    else
        echo "error: missing:$debian, and no package manager this script knows" >&2
        echo "hint: install your distribution's packages for them: a C compiler, git, the Vulkan loader, Mesa's Vulkan drivers" >&2
        exit 3
    fi
fi

if ! has cargo; then
    if ! has_rust; then
        echo "installing Rust with rustup" >&2
        curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal --no-modify-path >/dev/null
    fi
    PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
    export PATH
fi

exec "$@"
