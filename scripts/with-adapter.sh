#!/bin/sh
# Runs a command on a machine that has a Vulkan adapter, installing Mesa's software adapter (lavapipe) first where there
# is none:  sh scripts/with-adapter.sh cargo run --release -- sample
set -eu

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

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

# Elsewhere the system brings its own: Metal, DX12.
if [ "$(uname -s)" = Linux ] && ! { has_driver && has_loader; }; then
    if command -v apt-get >/dev/null; then
        echo "no Vulkan adapter found: installing the software adapter (mesa-vulkan-drivers)" >&2
        {
            as_root apt-get update -qq
            as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends mesa-vulkan-drivers libvulkan1
        } >/dev/null
    elif command -v dnf >/dev/null; then
        as_root dnf install -y -q mesa-vulkan-drivers vulkan-loader >/dev/null
    elif command -v pacman >/dev/null; then
        as_root pacman -S --noconfirm --needed vulkan-swrast vulkan-icd-loader >/dev/null
    else
        echo "error: no Vulkan adapter, and no package manager this script knows" >&2
        echo "hint: install your distribution's Mesa Vulkan drivers (lavapipe) and the Vulkan loader" >&2
        exit 3
    fi
fi

exec "$@"
