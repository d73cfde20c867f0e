"""Tests of scripts/packaging.py and of the files that it fills in:  python3 scripts/test_packaging.py

The archives are stand-ins with checksums of their names. Needs PyYAML; the formula is checked where Ruby is installed.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
TARGETS = {
    "x86_64-unknown-linux-gnu": "tar.gz",
    "aarch64-unknown-linux-gnu": "tar.gz",
    "aarch64-apple-darwin": "tar.gz",
    "x86_64-pc-windows-msvc": "zip",
}
FILES = "downhill README.md LICENSE-MIT THIRD-PARTY.txt completions/downhill.bash completions/_downhill completions/downhill.fish"
VERSION = "1.2.3"


def packaging(root: Path, *arguments: str, **variables: str) -> tuple[int, str]:
    command = [sys.executable, str(root / "scripts/packaging.py"), *arguments]
    ran = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, check=False)
    return ran.returncode, ran.stdout + ran.stderr


def digest(target: str) -> str:
    return hashlib.sha256(target.encode()).hexdigest()


def bash(script: str, **variables: str) -> str:
    command = ["bash", "-euc", script]
    return subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, check=True).stdout


def aur(build: Path, place: Path) -> None:
    bash('bash -n "$FILE"', FILE=str(build))
    names = ["pkgver", "source_x86_64", "sha256sums_x86_64", "source_aarch64", "sha256sums_aarch64"]
    values = bash(f'. "$FILE"; printf "%s\\n" {" ".join(f"${name}" for name in names)}', FILE=str(build)).split()
    version, source, checksum, source_arm, checksum_arm = values
    assert version == VERSION
    assert source.endswith(f"/releases/download/v{VERSION}/downhill-{VERSION}-x86_64-unknown-linux-gnu.tar.gz")
    assert source_arm.endswith(f"/releases/download/v{VERSION}/downhill-{VERSION}-aarch64-unknown-linux-gnu.tar.gz")
    assert [checksum, checksum_arm] == [digest("x86_64-unknown-linux-gnu"), digest("aarch64-unknown-linux-gnu")]
    unpacked, installed = place / f"downhill-{VERSION}-x86_64-unknown-linux-gnu", place / "installed"
    for name in FILES.split():
        (unpacked / name).parent.mkdir(parents=True, exist_ok=True)
        (unpacked / name).write_text(name)
    bash('. "$FILE"; cd "$PLACE"; package', FILE=str(build), PLACE=str(place), CARCH="x86_64", pkgdir=str(installed))
    assert os.access(installed / "usr/bin/downhill", os.X_OK)
    assert len([file for file in installed.rglob("*") if file.is_file()]) == len(FILES.split())


def winget(folder: Path) -> None:
    files = {file.name: yaml.safe_load(file.read_text()) for file in sorted(folder.iterdir())}
    assert len(files) == 3
    for name, content in files.items():
        assert content["PackageIdentifier"] == "Downhill.Downhill", name
        assert content["PackageVersion"] == VERSION, name
        assert content["ManifestVersion"] == "1.6.0", name
    kinds = sorted(content["ManifestType"] for content in files.values())
    assert kinds == ["defaultLocale", "installer", "version"]
    installer = files["Downhill.Downhill.installer.yaml"]
    [one] = installer["Installers"]
    assert one["InstallerSha256"] == digest("x86_64-pc-windows-msvc")
    folder_in_archive = one["InstallerUrl"].rsplit("/", 1)[1].removesuffix(".zip")
    assert installer["NestedInstallerFiles"][0]["RelativeFilePath"] == f"{folder_in_archive}\\downhill.exe"


def homebrew(formula: Path) -> None:
    content = formula.read_text()
    assert "@" not in content
    for target in TARGETS:
        assert (digest(target) in content) == ("windows" not in target), target
    if shutil.which("ruby"):
        subprocess.run(["ruby", "-c", str(formula)], check=True, capture_output=True)
    else:
        print("skipped: the formula is not parsed: there is no Ruby")


def addresses(place: Path) -> None:
    copy = place / "copy"
    for name in ["Cargo.toml", "README.md", "scripts", "docs/install.md", "docs/ci.md"]:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, copy / name)
    version = next(line for line in (copy / "Cargo.toml").read_text().splitlines() if line.startswith("version"))
    version = version.split('"')[1]
    url = "https://forge.example/some-one/downhill"
    assert packaging(copy, "address", "not an address")[0] == 1
    assert packaging(copy, "address", url + ".git")[0] == 0
    assert packaging(copy, "check", f"v{version}") == (0, "")
    assert packaging(copy, "check", "v99.0.0")[0] == 1
    for name in ["Cargo.toml", "README.md", "docs/install.md", "scripts/install.sh", "scripts/install.ps1"]:
        assert url in (copy / name).read_text(), name
    assert "uses: some-one/downhill@v" in (copy / "docs/ci.md").read_text()
    assert "some-one/tap/downhill" in (copy / "docs/install.md").read_text()
    # The notes of a release are its section of the changes.
    (copy / "CHANGELOG.md").write_text("## [Unreleased]\n\n## [2.0.0]\n\n- new\n\n## [1.0.0]\n")
    for tag, code in [("v2.0.0", 0), ("v1.0.0", 1), ("v3.0.0", 1)]:
        command = ["sh", str(copy / "scripts/publish.sh"), tag, "--dry-run"]
        assert subprocess.run(command, capture_output=True, check=False).returncode == code, tag
    # The address can be changed again, and a placeholder is refused.
    assert packaging(copy, "address", "https://example.com/OWNER/downhill")[0] == 0
    code, said = packaging(copy, "check", version)
    assert code == 1 and "placeholder" in said, said


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        dist = place / "dist"
        dist.mkdir()
        for target, ending in TARGETS.items():
            code, said = packaging(ROOT, VERSION, DIST=str(dist))
            assert code == 1 and "has no `downhill-1.2.3-" in said, said
            archive = f"downhill-{VERSION}-{target}.{ending}"
            (dist / f"{archive}.sha256").write_text(f"{digest(target)}  {archive}\n")
        code, said = packaging(ROOT, f"v{VERSION}", DIST=str(dist))
        assert code == 0, said
        for file in (dist / "packaging").rglob("*"):
            assert file.is_dir() or not any(mark in file.read_text() for mark in ("@VERSION", "@SHA", "@REPO")), file
        aur(dist / "packaging/aur/PKGBUILD", place)
        winget(dist / "packaging/winget")
        homebrew(dist / "packaging/homebrew/downhill.rb")
        addresses(place)
    print("the packages pass")


if __name__ == "__main__":
    main()
