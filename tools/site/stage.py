"""Gathers the pages of the documentation site in a folder:  python3 stage.py FOLDER

README.md becomes the front page. Links to files of the repository that are not pages become links to its address,
`repository` in Cargo.toml. A link to a file that does not exist is an error.
"""

import re
import shutil
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REPOSITORY = tomllib.loads((ROOT / "Cargo.toml").read_text(encoding="utf-8"))["package"]["repository"]
PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/**/*.md", "deploy/**/*.md", "weights/**/README.md"]
# The navigation, by what people come for. A page of docs/ that is not named here stands under "More".
NAVIGATION = {
    "Begin": ["docs/install", "Sampling <docs/USAGE>", "docs/stable-diffusion", "docs/models", "docs/DOWNLOADS"],
    "Play": ["docs/web"],
    "Program": ["docs/python", "docs/rust"],
    "Measure": ["docs/benchmarks", "docs/results/README", "docs/lab-notes"],
    "Run elsewhere": [
        "docs/ci",
        "deploy/README",
        "deploy/slurm/README",
        "deploy/kubernetes/README",
        "A workflow that builds <deploy/ci/README>",
        "docs/scale",
    ],
    "Theory": [
        "docs/theory",
        "docs/sampling-is-descent",
        "docs/linear-diffusion",
        "docs/score-theory",
        "docs/jacobian-bases",
        "docs/guidance",
        "docs/inverse-problems",
        "docs/fid",
    ],
    "Project": [
        "CONTRIBUTING",
        "docs/ARCHITECTURE",
        "docs/EXTENDING",
        "docs/STYLE",
        "docs/RELEASING",
        "docs/pages/README",
        "The embedded network <weights/digits/README>",
        "CLIP's vocabulary <weights/clip-tokenizer/README>",
        "CHANGELOG",
        f"Source <{REPOSITORY}>",
    ],
}
# The text of a link, and its target; pictures within links are left alone.
LINK = re.compile(r"\[([^\]\[]*)\]\(([^)\s]+)\)")
FENCE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)


def pages() -> dict[Path, Path]:
    """Returns the files of the repository that are pages, with their places on the site."""
    found = {file.relative_to(ROOT) for pattern in PAGES for file in ROOT.glob(pattern)}
    return {file: Path("index.md") if file == Path("README.md") else file for file in sorted(found)}


def title(page: Path) -> str:
    """Returns the title of a page."""
    return re.search(r"^# (.*)$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)[1]


def linked(page: Path, link: str, places: dict[Path, Path]) -> str:
    """Returns a link of a page as it is on the site."""
    target, mark, anchor = link.partition("#")
    if not target or re.match(r"[a-z]+:", target):
        return link
    file = (ROOT / page.parent / target).resolve()
    if not file.exists():
        sys.exit(f"error: {page} links to `{link}`, which does not exist")
    inside = file.relative_to(ROOT)
    if inside / "README.md" in places:
        inside /= "README.md"
    if inside in places:
        up = "../" * len(places[page].parent.parts)
        return f"{up}{places[inside]}{mark}{anchor}"
    if file.suffix in {".png", ".svg"}:
        return link
    return f"{REPOSITORY}/{'tree' if file.is_dir() else 'blob'}/main/{inside.as_posix()}{mark}{anchor}"


def staged(page: Path, places: dict[Path, Path]) -> str:
    """Returns the text of a page as it is on the site."""
    text = (ROOT / page).read_text(encoding="utf-8")
    # A comment before the title would keep it from being one.
    text = re.sub(r"\A(<!--.*?-->\n)+", "", text, flags=re.DOTALL)

    def replaced(link: re.Match[str]) -> str:
        words, target = link[1], link[2]
        file = (ROOT / page.parent / target.partition("#")[0]).resolve()
        # On the site, the name of a page is its title.
        if words.endswith(".md") and file.name == Path(words).name:
            words = title(file.relative_to(ROOT))
        return f"[{words}]({linked(page, target, places)})"

    parts, end = [], 0
    for fence in [*FENCE.finditer(text), None]:
        begin = fence.start() if fence else len(text)
        parts.append(LINK.sub(replaced, text[end:begin]))
        if fence:
            parts.append(fence[0])
            end = fence.end()
    return "".join(parts)


def navigation(places: dict[Path, Path]) -> str:
    """Returns the navigation, for the end of the front page."""
    there = {place.with_suffix("").as_posix() for place in places.values()} - {"index"}
    name = re.compile(r"(?:.* <)?([^<>]*?)>?$")
    named = {name.match(entry)[1] for entries in NAVIGATION.values() for entry in entries}
    parts = {**NAVIGATION, "More": sorted(there - named)}
    blocks = []
    for caption, entries in parts.items():
        entries = [entry for entry in entries if name.match(entry)[1] in there | {REPOSITORY}]
        if entries:
            blocks.append("\n".join(["```{toctree}", ":hidden:", f":caption: {caption}", "", *entries, "```", ""]))
    return "\n" + "\n".join(blocks)


def with_play(front: str) -> str:
    """Returns the front page with a link to the web page, where that is built."""
    if not (ROOT / "web/dist/index.html").is_file():
        return front
    # As HTML: the web page is not a page of Sphinx.
    link = '<p><a href="play/index.html">Draw digits in this browser</a>, by WebGPU and without installing.</p>'
    before, heading, after = front.partition("\n## Quick start\n")
    return f"{before}\n{link}\n{heading}{after}" if heading else f"{front}\n{link}\n"


def main() -> None:
    folder = Path(sys.argv[1])
    shutil.rmtree(folder, ignore_errors=True)
    places = pages()
    for page, place in places.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        text = staged(page, places)
        if place == Path("index.md"):
            text = with_play(text) + navigation(places)
        (folder / place).write_text(text, encoding="utf-8", newline="\n")
    for file in [*ROOT.glob("docs/**/*.png"), *ROOT.glob("docs/**/*.svg")]:
        place = folder / file.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, place)


if __name__ == "__main__":
    main()
