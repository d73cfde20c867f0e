"""Checks the built documentation site:  python3 check.py FOLDER

Every link inside the site must lead to a file and an anchor that exist, and no page, style or script may request
another host. A copy of the site with faults shows that each kind of fault is found.
"""

import re
import shutil
import sys
import tempfile
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# The attributes that make a browser request something by itself, by element; links are followed by people alone.
REQUESTS = {
    "img": ["src", "srcset"],
    "script": ["src"],
    "link": ["href"],
    "source": ["src", "srcset"],
    "video": ["src", "poster"],
    "audio": ["src"],
    "iframe": ["src"],
    "embed": ["src"],
    "object": ["data"],
    "input": ["src"],
    "form": ["action"],
    "image": ["href", "xlink:href"],
    "use": ["href", "xlink:href"],
}
ELSEWHERE = re.compile(r"(?:https?:)?//", re.IGNORECASE)
IN_STYLES = re.compile(r"""(?:url\(|@import)\s*['"]?((?:https?:)?//[^'")\s]+)""", re.IGNORECASE)
# A script's call with an address of another host.
IN_SCRIPTS = re.compile(
    r"""(?:fetch|import|importScripts|open|WebSocket|EventSource|Worker|\.src\s*=|\.href\s*=)\s*\(?\s*['"`]"""
    r"""(?:GET['"`],\s*['"`])?((?:https?:|wss?:)?//[^'"`]+)"""
)


class Page(HTMLParser):
    """The anchors, links and requests of a page, and the text of its styles and scripts."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.anchors: set[str] = {""}
        self.links: list[str] = []
        self.requests: list[str] = []
        self.text = {"style": "", "script": ""}
        self.inside = ""
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        self.inside = tag if tag in self.text else ""
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        self.text["style"] += given.get("style", "") + "\n"
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        for name in REQUESTS.get(tag, []):
            if name in given:
                addresses = given[name].split(",") if name == "srcset" else [given[name]]
                self.requests += [address.strip().split(" ")[0] for address in addresses]

    handle_startendtag = handle_starttag

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.text[self.inside] += data


def without_comments(script: str) -> str:
    return re.sub(r"/\*.*?\*/", "", script, flags=re.DOTALL)


def faults(site: Path) -> list[str]:
    """Returns a line for each fault of the site."""
    found = []
    pages = {file: Page(file) for file in sorted(site.rglob("*.html"))}
    for file, page in pages.items():
        name = file.relative_to(site)
        for address in page.links + page.requests:
            parts = urlsplit(address)
            if address.startswith("data:") or parts.scheme or parts.netloc:
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            if parts.path.startswith("/") or not target.is_relative_to(site.resolve()):
                found.append(f"{name}: `{address}` leads out of the site")
                continue
            if target.is_dir():
                target /= "index.html"
            if not target.is_file():
                found.append(f"{name}: `{address}` leads to no file")
            elif target.suffix == ".html" and unquote(parts.fragment) not in pages[target].anchors:
                found.append(f"{name}: `{address}` leads to no anchor")
        found += [f"{name}: requests `{address}`" for address in page.requests if ELSEWHERE.match(address)]
        found += [f"{name}: a style requests `{address}`" for address in IN_STYLES.findall(page.text["style"])]
        scripts = without_comments(page.text["script"])
        found += [f"{name}: a script requests `{address}`" for address in IN_SCRIPTS.findall(scripts)]
    for kind, pattern in [("css", IN_STYLES), ("svg", IN_STYLES), ("js", IN_SCRIPTS)]:
        for file in sorted(site.rglob(f"*.{kind}")):
            text = without_comments(file.read_text(encoding="utf-8"))
            found += [f"{file.relative_to(site)}: requests `{address}`" for address in pattern.findall(text)]
    if len(pages) < 20:
        found.append(f"the site has {len(pages)} pages")
    return found


FAULTS = {
    '<a href="docs/no-such-page.html">x</a>': "leads to no file",
    '<a href="docs/install.html#no-such-anchor">x</a>': "leads to no anchor",
    '<a href="../elsewhere.html">x</a>': "leads out of the site",
    '<img src="https://example.org/a.png" alt="">': "requests `https://example.org/a.png`",
    '<link rel="stylesheet" href="//example.org/a.css">': "requests `//example.org/a.css`",
    "<style>body { background: url('https://example.org/b.png') }</style>": "a style requests",
    '<script>fetch("https://example.org/c.json")</script>': "a script requests",
}


def main() -> None:
    site = Path(sys.argv[1])
    if found := faults(site):
        sys.exit("\n".join(f"failed: {fault}" for fault in found))
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "site"
        shutil.copytree(site, copy)
        text = (site / "index.html").read_text(encoding="utf-8")
        for fault, said in FAULTS.items():
            (copy / "index.html").write_text(text.replace("</body>", f"{fault}</body>"), encoding="utf-8")
            found = faults(copy)
            if len(found) != 1 or said not in found[0]:
                sys.exit(f"failed: the fault `{fault}` is found as {found}")
    print(f"{len(list(site.rglob('*.html')))} pages: each link leads somewhere, and no other host is requested")


if __name__ == "__main__":
    main()
