#!/bin/sh
# Runs a command on a machine with everything it needs:  sh scripts/with-adapter.sh cargo run -- sample
# Installs what is missing: Rust, a C compiler, and where there is no Vulkan driver, Mesa's software adapter (lavapipe).
# Rust goes to the user's home. The others take root or sudo; without either, Debian's lavapipe is unpacked into the
# user's cache folder, and a missing compiler is named with the ways to do without.
# Exit code 3: something is missing that this script cannot install.
set -eu
. "$(dirname "$0")/mesa-packages.sh"

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

can_install() {
    [ "$(id -u)" -eq 0 ] || has sudo
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

# lavapipe and the loader from Debian's archive, unpacked once into the user's cache folder, for a user without root.
unpack_adapter() {
    . /etc/os-release
    unpacked="${DOWNHILL_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/downhill}/mesa-$VERSION_CODENAME"
    if [ ! -d "$unpacked" ]; then
        echo "unpacking Mesa's software adapter into $unpacked, for want of root" >&2
        mkdir -p "$(dirname "$unpacked")"
        fetch_packages "$unpacked" "$VERSION_CODENAME" "$VERSION_CODENAME" mesa-vulkan-drivers libvulkan1 >&2
    fi
    LD_LIBRARY_PATH=$unpacked/usr/lib/$(uname -m)-linux-gnu${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
    VK_DRIVER_FILES=$(lavapipe_manifest "$unpacked")
    VK_ICD_FILENAMES=$VK_DRIVER_FILES
    export LD_LIBRARY_PATH VK_DRIVER_FILES VK_ICD_FILENAMES
}

# What is missing, by the names of Debian's, Fedora's and Arch's packages.
debian='' fedora='' arch=''
missing() {
    debian="$debian $1" fedora="$fedora $2" arch="$arch $3"
}

if [ "$(uname -s)" = Linux ]; then
    has cc || missing 'gcc libc6-dev' 'gcc glibc-devel' 'gcc'
    has_rust || has curl || missing 'curl ca-certificates' 'curl ca-certificates' 'curl ca-certificates'
    if ! { has_driver && has_loader; }; then
        if ! can_install && grep -q '^ID=debian' /etc/os-release 2>/dev/null; then
            [ -n "$debian" ] || unpack_adapter
        else
            missing 'mesa-vulkan-drivers libvulkan1' 'mesa-vulkan-drivers vulkan-loader' 'vulkan-swrast vulkan-icd-loader'
        fi
    fi
fi

# The lists are split into their words on purpose.
if [ -n "$debian" ]; then
    if ! can_install; then
        echo "error: missing:$debian (names of Debian's packages), and neither root nor sudo to install them" >&2
        echo "hint: ask who administers this machine for them; or take the program of a release, which needs no" \
            "compiler and no root: sh scripts/install.sh" >&2
        exit 3
    fi
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
        echo "hint: install your distribution's packages for them: a C compiler, the Vulkan loader, Mesa's Vulkan drivers" >&2
        exit 3
    fi
fi

if ! has cargo; then
    if ! has_rust; then
        echo "installing Rust with rustup" >&2
        { curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs || echo false; } |
            sh -s -- -y --profile minimal --no-modify-path >/dev/null || true
    fi
    PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
    export PATH
    if ! has cargo; then
        echo "error: Rust cannot be installed: rustup was not reached, or failed" >&2
        echo "hint: check the network, or install Rust 1.89 or newer as https://rustup.rs says, then try again" >&2
        exit 3
    fi
fi

# Files for building again in parts take more than 2 GB and a while to write. CARGO_INCREMENTAL=1 keeps them.
CARGO_INCREMENTAL=${CARGO_INCREMENTAL:-0}
export CARGO_INCREMENTAL
exec "$@"
