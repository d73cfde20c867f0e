"""Tests of the installers against releases on this machine:  python3 scripts/test_install.py [FOLDER]

FOLDER has an archive of scripts/release.sh for this machine, its checksum and VERSION; target/dist by default. A server on
the loopback address stands for the releases. On Windows install.ps1 is tested, elsewhere install.sh.
"""

import functools
import http.server
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WINDOWS = os.name == "nt"


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


class Releases:
    """A server of releases, in a folder that may be changed."""

    def __init__(self, place: Path, dist: Path) -> None:
        ending = "-pc-windows-msvc.zip" if WINDOWS else ".tar.gz"
        processor = {"AMD64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())
        self.version = (dist / "VERSION").read_text().strip()
        found = list(dist.glob(f"downhill-{self.version}-{processor}-*{ending}"))
        if sys.platform == "linux":
            found = [file for file in found if "-linux-" in file.name]
        if not found:
            sys.exit(f"error: no archive for this machine in {dist}\nhint: sh scripts/release.sh makes it")
        self.folder = place / "releases"
        self.assets = self.folder / "download" / f"v{self.version}"
        latest = self.folder / "latest" / "download"
        self.assets.mkdir(parents=True)
        latest.mkdir(parents=True)
        self.archive = self.assets / found[0].name
        shutil.copy(found[0], self.archive)
        shutil.copy(f"{found[0]}.sha256", self.assets)
        shutil.copy(dist / "VERSION", latest)
        handler = functools.partial(Quiet, directory=str(place))
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self.server.server_port}/releases"


def install(releases: Releases, home: Path, *arguments: str, **changes: str) -> tuple[int, str]:
    """Runs the installer and returns its exit code and all that it printed."""
    if WINDOWS:
        shell = "powershell" if shutil.which("powershell") else "pwsh"
        command = [shell, "-ExecutionPolicy", "Bypass", "-File", str(ROOT / "scripts/install.ps1")]
        command += [{"--to": "-To", "--version": "-Version"}.get(argument, argument) for argument in arguments]
    else:
        command = [shutil.which("sh"), str(ROOT / "scripts/install.sh"), *arguments]
    variables = {"HOME": str(home), "LOCALAPPDATA": str(home), "DOWNHILL_RELEASES": releases.address, **changes}
    ran = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, check=False)
    return ran.returncode, ran.stdout + ran.stderr


def check(what: str, result: tuple[int, str], code: int, *parts: str) -> None:
    """Checks an exit code, and that each part was printed."""
    faults = [f"no `{part}`" for part in parts if part not in result[1]]
    if result[0] != code:
        faults.insert(0, f"exit code {result[0]} instead of {code}")
    if faults:
        sys.exit(f"failed: {what}: {', '.join(faults)}\n{result[1]}")
    print(f"ok: {what}")


def tools(folder: Path, names: list[str], **scripts: str) -> str:
    """Makes a folder of links to programs of this machine, and of shell scripts in their place, for PATH."""
    folder.mkdir()
    for name in names:
        if found := shutil.which(name):
            (folder / name).symlink_to(found)
    for name, body in scripts.items():
        (folder / name).unlink(missing_ok=True)
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    return str(folder)


def everywhere(releases: Releases, place: Path) -> None:
    home = place / "home"
    usual = home / ("downhill/bin/downhill.exe" if WINDOWS else ".local/bin/downhill")
    installed = f"installed downhill {releases.version}"
    check("the latest version", install(releases, home), 0, installed, str(usual), "is not in PATH")
    check("the same again", install(releases, home), 0, installed)
    there = str(place / "a folder")
    check("another folder", install(releases, home, "--to", there), 0, installed, there)
    check("a version by name", install(releases, home, "--version", f"v{releases.version}"), 0, installed)
    check("an unknown version", install(releases, home, "--version", "99.0.0"), 1, "99.0.0", "cannot be downloaded")
    nowhere = "http://127.0.0.1:9/releases"
    check("no server", install(releases, home, DOWNHILL_RELEASES=nowhere), 1, nowhere, "hint:")
    check("no address", install(releases, home, DOWNHILL_RELEASES="https://example.com/x"), 1, "names no repository")
    (place / "file").write_text("")
    if not WINDOWS:
        check("no folder", install(releases, home, "--to", str(place / "file/x")), 1, "cannot be created", "--to DIR")

    usual.unlink()
    whole = releases.archive.read_bytes()
    releases.archive.write_bytes(whole[: len(whole) // 2] + b"?" + whole[len(whole) // 2 + 1 :])
    check("a damaged archive", install(releases, home), 1, "the checksum of", "is damaged or was changed")
    releases.archive.unlink()
    check("no archive", install(releases, home), 1, f"{releases.archive.name}` cannot be downloaded", "hint:")
    releases.archive.write_bytes(whole)
    checksum = Path(f"{releases.archive}.sha256")
    line = checksum.read_text()
    checksum.unlink()
    check("no checksum", install(releases, home), 1, f"{checksum.name}` cannot be downloaded")
    checksum.write_text(line)
    latest = releases.folder / "latest/download/VERSION"
    latest.write_text("<html>not found</html>")
    check("a page in place of the version", install(releases, home), 1, "not a version")
    latest.write_text(releases.version)
    if usual.exists():
        sys.exit("failed: a refused download was installed")


def unix(releases: Releases, place: Path) -> None:
    home = place / "home"
    needed = "sh cat chmod cp getconf gzip mkdir mktemp mv rm sha256sum shasum sysctl tar uname sort".split()
    installed = f"installed downhill {releases.version}"
    check("a wrong option", install(releases, home, "--too", "x"), 2, "`--too` is not an option")
    check("no value", install(releases, home, "--to"), 2, "--to has no value")
    path = tools(place / "bare", needed)
    check("no curl, no wget", install(releases, home, PATH=path), 1, "neither curl nor wget")
    for name in ("curl", "wget"):
        if shutil.which(name):
            path = tools(place / name, [*needed, name])
            check(f"{name} alone", install(releases, home, PATH=path), 0, installed)
        else:
            print(f"skipped: {name} alone: it is not installed")
    path = tools(place / "openssl", [name for name in [*needed, "curl", "wget", "openssl"] if "sha" not in name])
    if shutil.which("openssl"):
        check("openssl for the checksum", install(releases, home, PATH=path), 0, installed)
        (Path(path) / "openssl").unlink()
    check("nothing for the checksum", install(releases, home, PATH=path), 1, "no sha256sum")

    def machine(name: str, system: str, processor: str, library: str) -> tuple[int, str]:
        uname = f'case $1 in -s) echo {system} ;; *) echo {processor} ;; esac'
        path = tools(place / name, [*needed, "curl", "wget"], uname=uname, getconf=library, sysctl="echo 0")
        return install(releases, home, PATH=path)

    glibc = "echo glibc 2.36"
    source = "builds it from source"
    check("a processor", machine("riscv", "Linux", "riscv64", glibc), 3, "no program for Linux on riscv64", source)
    check("a system", machine("bsd", "FreeBSD", "amd64", glibc), 3, "no program for FreeBSD on x86_64", source)
    check("an old Mac", machine("mac", "Darwin", "x86_64", glibc), 3, "no program for Darwin on x86_64", source)
    check("Windows", machine("msys", "MINGW64_NT-10.0", "x86_64", glibc), 3, "this is Windows", "install.ps1")
    check("no glibc", machine("musl", "Linux", "x86_64", "exit 1"), 3, "this system has no glibc", source)
    check("an old glibc", machine("old", "Linux", "aarch64", "echo glibc 2.17"), 3, "has glibc 2.17", source)
    other = "x86_64" if platform.machine() in ("aarch64", "arm64") else "aarch64"
    asked = f"{other}-unknown-linux-gnu.tar.gz.sha256` cannot be downloaded"
    check("another processor", machine("other", "Linux", other, glibc), 1, asked)
    if sys.platform == "linux":
        check("no driver", install(releases, home, WGPU_BACKEND="dx12"), 0, "it needs a Vulkan driver")


def main() -> None:
    dist = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "target/dist"
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        releases = Releases(place, dist)
        everywhere(releases, place)
        if not WINDOWS:
            unix(releases, place)
        releases.server.shutdown()
    print("the installer passes")


if __name__ == "__main__":
    main()
