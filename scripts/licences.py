"""Prints the licences of all crates that are in the program for a target:  python3 scripts/licences.py TARGET

Each text once, below the crates that it is of. A crate without a text is named with the licence that it declares.
"""

import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

NAMES = ("license", "licence", "copying", "notice", "unlicense", "copyright")


def packages(target: str) -> list[dict]:
    """Returns what cargo knows of the crates that the program is linked from."""
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--all-features", "--filter-platform", target]
    metadata = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    root = metadata["workspace_default_members"][0]
    reached, ahead = {root}, [root]
    while ahead:
        for dependency in nodes[ahead.pop()]["deps"]:
            linked = any(kind["kind"] is None for kind in dependency["dep_kinds"])
            if linked and dependency["pkg"] not in reached:
                reached.add(dependency["pkg"])
                ahead.append(dependency["pkg"])
    found = [package for package in metadata["packages"] if package["id"] in reached - {root}]
    return sorted(found, key=lambda package: (package["name"], package["version"]))


def main() -> None:
    sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    texts: dict[str, list[str]] = defaultdict(list)
    for package in packages(sys.argv[1]):
        name = f"{package['name']} {package['version']} ({package['license'] or 'unspecified'})"
        folder = Path(package["manifest_path"]).parent
        files = sorted(file for file in folder.iterdir() if file.is_file() and file.name.lower().startswith(NAMES))
        for file in files:
            text = file.read_text(encoding="utf-8", errors="replace").replace("\r\n", "\n").strip()
            if name not in texts[text]:
                texts[text].append(name)
        if not files:
            texts[f"Under {package['license']}. The crate has no text of it."].append(name)
    print("The program downhill contains the following crates.")
    for text, names in texts.items():
        print("\n" + "=" * 80 + "\n" + "\n".join(names) + "\n" + "-" * 80 + "\n" + text)


if __name__ == "__main__":
    main()
