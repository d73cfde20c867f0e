"""Fills in the packages of package managers, and checks what a release depends on.

    python3 scripts/packaging.py VERSION         packaging/*/*.in, with the checksums of target/dist, to target/dist/packaging
    python3 scripts/packaging.py check VERSION   is this the version in Cargo.toml, and the repository's address known?
    python3 scripts/packaging.py address URL     writes the address of the repository wherever it stands

VERSION may begin with `v`, as a tag does. `repository` in Cargo.toml is the address; the other files repeat it.
"""

import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# The files outside packaging/ that repeat the address.
REPEATED = ["Cargo.toml", "README.md", "scripts/install.sh", "scripts/install.ps1", "docs/install.md", "docs/ci.md"]
PLACEHOLDER = "https://example.com/"


def fail(message: str, hint: str) -> None:
    sys.exit(f"error: {message}\nhint: {hint}")


def field(name: str) -> str:
    """Returns a field of the package in Cargo.toml."""
    found = re.search(rf'^{name} = "(.*)"$', (ROOT / "Cargo.toml").read_text(encoding="utf-8"), re.MULTILINE)
    if not found:
        fail(f"Cargo.toml has no `{name}`", f'add `{name} = "..."` to its [package]')
    return found[1]


def check(version: str) -> None:
    """Checks that a release of `version` can be made from these files."""
    if version != field("version"):
        fail(f"`{version}` is not `{field('version')}`, the version in Cargo.toml", "tag the commit that changes it")
    repository = field("repository")
    if repository.startswith(PLACEHOLDER):
        fail("the repository in Cargo.toml is a placeholder", "python3 scripts/packaging.py address URL, and commit it")
    for name in ("scripts/install.sh", "scripts/install.ps1", "README.md"):
        if repository not in (ROOT / name).read_text(encoding="utf-8"):
            fail(f"{name} does not name {repository}", "python3 scripts/packaging.py address URL")


def address(url: str) -> None:
    """Writes the address of the repository in place of the one in Cargo.toml."""
    url = url.rstrip("/").removesuffix(".git")
    if not re.fullmatch(r"https://[\w.-]+/[\w./-]+", url):
        fail(f"`{url}` is not an address of a repository", "https://HOST/OWNER/NAME")
    old = field("repository")
    owner, name_there = url.split("/")[-2:]
    old_owner, old_name = old.split("/")[-2:]
    for name in REPEATED:
        file = ROOT / name
        content = file.read_text(encoding="utf-8")
        changed = re.sub(re.escape(old) + r"(?![\w-])", url, content)
        # The short forms: a step of a workflow, and a tap of Homebrew.
        changed = re.sub(rf"\b{re.escape(old_owner)}/{re.escape(old_name)}(?=@v)", f"{owner}/{name_there}", changed)
        changed = re.sub(rf"\b{re.escape(old_owner)}/(?=tap/)", f"{owner}/", changed)
        if changed != content:
            file.write_text(changed, encoding="utf-8", newline="\n")
            print(f"{name}: {url}")


def checksum(dist: Path, version: str, target: str) -> str:
    """Returns the checksum of the archive for a target."""
    name = f"downhill-{version}-{target}.{'zip' if 'windows' in target else 'tar.gz'}.sha256"
    if not (dist / name).is_file():
        fail(f"{dist} has no `{name}`", f"sh scripts/release.sh {target}, on a machine that can")
    digest = (dist / name).read_text(encoding="utf-8").split()[0]
    if not re.fullmatch("[0-9a-f]{64}", digest):
        fail(f"`{name}` holds no checksum", f"sh scripts/release.sh {target}")
    return digest


def fill(version: str, dist: Path) -> None:
    """Fills in all templates."""
    for template in sorted((ROOT / "packaging").rglob("*.in")):
        content = template.read_text(encoding="utf-8")
        content = content.replace("@VERSION@", version).replace("@REPOSITORY@", field("repository"))
        content = re.sub("@SHA256:([^@]+)@", lambda found: checksum(dist, version, found[1]), content)
        file = dist / template.relative_to(ROOT).with_suffix("")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8", newline="\n")
        print(file.relative_to(dist))


def main() -> None:
    build = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    match sys.argv[1:]:
        case ["address", url]:
            address(url)
        case ["check", version]:
            check(version.removeprefix("v"))
        case [version]:
            fill(version.removeprefix("v"), Path(os.environ.get("DIST") or build / "dist"))
        case _:
            fail("one version, `check VERSION` or `address URL`", "python3 scripts/packaging.py 1.2.3")


if __name__ == "__main__":
    main()
