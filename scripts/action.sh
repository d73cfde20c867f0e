#!/bin/sh
# The shell step of action.yml: installs the program and, with ADAPTER=software on Linux, lavapipe; names the folder of
# compiled shaders for later steps. VERSION may be empty. GitHub sets RUNNER_TEMP and the files GITHUB_*.
set -eu
scripts=$(cd "$(dirname "$0")" && pwd)
bin="$RUNNER_TEMP/downhill/bin" cache="$RUNNER_TEMP/downhill/cache" adapter=none
case ${ADAPTER:-software} in
    software | none) ;;
    *)
        echo "error: \`$ADAPTER\` is not an adapter" >&2
        echo "hint: \`software\` or \`none\`" >&2
        exit 2
        ;;
esac
if [ "${ADAPTER:-software}" = software ] && [ "$(uname -s)" = Linux ]; then
    sudo=''
    [ "$(id -u)" -eq 0 ] || sudo=sudo
    {
        $sudo apt-get update -qq
        $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
            libvulkan1 mesa-vulkan-drivers
    } >/dev/null
    adapter=$(dpkg-query -W -f '${Version}' mesa-vulkan-drivers)
fi
case $(uname -s) in
    MINGW* | MSYS* | CYGWIN*)
        bin=$(cygpath -w "$bin") cache=$(cygpath -w "$cache")
        powershell -ExecutionPolicy Bypass -File "$scripts/install.ps1" -To "$bin" ${VERSION:+-Version "$VERSION"}
        program="$bin\\downhill.exe"
        ;;
    *)
        sh "$scripts/install.sh" --to "$bin" ${VERSION:+--version "$VERSION"}
        program=$bin/downhill
        ;;
esac
mkdir -p "$cache"
# Compiled shaders are of one version, one driver and one kind of processor.
processor=$(sed -n 's/^flags[^:]*: //p' /proc/cpuinfo 2>/dev/null | head -n 1 | cksum | cut -d ' ' -f 1)
version=$("$program" --version)
{
    echo "program=$program"
    echo "cache=$cache"
    echo "key=$(echo "$version-$(uname -s)-$(uname -m)-$processor-$adapter" | tr -c 'A-Za-z0-9.\n' -)"
} >>"$GITHUB_OUTPUT"
echo "$bin" >>"$GITHUB_PATH"
{
    echo "DOWNHILL_CACHE_DIR=$cache"
    # Mesa keeps what it compiles itself.
    echo "MESA_SHADER_CACHE_DIR=$cache"
} >>"$GITHUB_ENV"
