# Read by with-mesa-*.sh: fetch_packages FOLDER "SUITES" DEFAULT_SUITE PACKAGE... unpacks packages and what they need from Debian's
# archive into FOLDER, which appears whole or not at all. Lists and sources are its own: what the system knows of packages
# stays as it is. With STATUS=/dev/null nothing counts as installed, and everything is fetched, the C library too.
fetch_packages() {
    folder=$1 suites=$2 suite=$3
    shift 3
    wanted_packages=$*
    # The archive that the system itself takes its packages from.
    archive=$(sed -n -e 's#^URIs: *\([^ ]*/debian\)/*$#\1#p' -e 's#^deb .*\(http[^ ]*/debian\)/* .*#\1#p' \
        /etc/apt/sources.list.d/*.sources /etc/apt/sources.list 2>/dev/null | head -n 1)
    [ -n "$archive" ] || { echo "error: the sources of apt name no archive of Debian" >&2; exit 3; }
    rm -rf "$folder.part"
    mkdir -p "$folder.part/sources" "$folder.part/lists/partial" "$folder.part/archives/partial" "$folder.part/debs"
    cat >"$folder.part/sources/debian.sources" <<SOURCES
Types: deb
URIs: $archive
Suites: $suites
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
SOURCES
    set -- -qq -o APT::Sandbox::User=root -o Dir::Etc::SourceList=/dev/null -o "Dir::Etc::SourceParts=$folder.part/sources" \
        -o "Dir::State::Lists=$folder.part/lists" -o "Dir::Cache=$folder.part" ${STATUS:+-o Dir::State::status=$STATUS}
    apt-get "$@" update
    # shellcheck disable=SC2086 # one word a package
    wanted=$(apt-get "$@" -t "$suite" install --reinstall --no-install-recommends --print-uris --yes $wanted_packages |
        sed -n 's/^[^ ]* \([^_ ]*\)_.*/\1/p' | sort -u)
    # shellcheck disable=SC2086
    (cd "$folder.part/debs" && apt-get "$@" -t "$suite" download $wanted)
    for package in "$folder.part/debs"/*.deb; do dpkg -x "$package" "$folder.part"; done
    rm -rf "$folder.part/lists" "$folder.part/archives" "$folder.part/debs" "$folder.part"/*.bin
    mv "$folder.part" "$folder"
}

# The manifest of lavapipe in an unpacked tree.
lavapipe_manifest() {
    for manifest in "$1/usr/share/vulkan/icd.d/lvp_icd.json" "$1/usr/share/vulkan/icd.d/lvp_icd.$(uname -m).json"; do
        if [ -e "$manifest" ]; then echo "$manifest"; fi
    done
}
