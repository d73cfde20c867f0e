# shellcheck shell=sh disable=SC2034,SC2154 # read by the tests of the recipes, which set `root`

fail() {
    echo "error: $*" >&2
    exit 1
}

# The path of the program: DOWNHILL, or the built release program.
the_program() {
    program=${DOWNHILL:-${CARGO_TARGET_DIR:-$root/target}/release/downhill}
    program=$(command -v "$program") || fail "no program: build it with cargo build --release, or set DOWNHILL=path"
    (cd "$(dirname "$program")" && echo "$PWD/$(basename "$program")")
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

# Installs packages of Debian whose commands are missing: install_missing COMMAND PACKAGE [COMMAND PACKAGE]...
install_missing() {
    wanted=''
    while [ $# -gt 0 ]; do
        PATH="$PATH:/usr/sbin:/sbin" command -v "$1" >/dev/null 2>&1 || wanted="$wanted $2"
        shift 2
    done
    [ -n "$wanted" ] || return 0
    command -v apt-get >/dev/null 2>&1 || fail "missing:$wanted, and no apt-get to install them with"
    echo "installing$wanted" >&2
    {
        as_root apt-get update -qq
        # shellcheck disable=SC2086 # one word per package
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $wanted
    } >/dev/null
}

# Waits until a command succeeds:  await SECONDS "what" COMMAND...
await() {
    limit=$(($(date +%s) + $1)) awaited=$2
    shift 2
    until "$@"; do
        [ "$(date +%s)" -lt "$limit" ] || fail "waited in vain for $awaited"
        sleep 0.2
    done
}

# A number of a report in JSON:  value FIELD FILE
value() {
    sed -n 's/^ *"'"$1"'": *\([^,]*\),\{0,1\}$/\1/p' "$2"
}

# A Python with a module, from a package of Debian where none has it:  python_with MODULE PACKAGE
python_with() {
    for python in "${PYTHON:-python3}" /usr/bin/python3; do
        if "$python" -c "import $1" >/dev/null 2>&1; then
            echo "$python"
            return
        fi
    done
    install_missing /nonexistent "python3 $2"
    /usr/bin/python3 -c "import $1" || fail "no Python with $1"
    echo /usr/bin/python3
}
