"""The configuration of Sphinx for the documentation site; scripts/site.sh says how it is built."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = tomllib.loads((ROOT / "Cargo.toml").read_text(encoding="utf-8"))["package"]

project = "downhill"
version = release = PACKAGE["version"]
copyright = "the authors of downhill, MIT or Apache-2.0"
root_doc = "index"

extensions = ["myst_parser"]
# Anchors by the rule of GitHub, where the same links must work.
myst_heading_anchors = 6
# Text that is Markdown on GitHub stays what it is there.
myst_disable_syntax = ["myst_role", "myst_line_comment", "myst_block_break", "myst_target"]
# Levels of headings may be left out; blocks of code may be fragments.
suppress_warnings = ["myst.header", "misc.highlighting_failure"]

smartquotes = False

html_theme = "furo"
html_title = f"downhill {version}"
html_favicon = "icon.svg"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_use_index = html_copy_source = html_show_sourcelink = html_show_sphinx = False
# The theme's fonts are those of the system, its search is a file of the site: no page requests another host.
html_theme_options = {
    "top_of_page_buttons": [],
    "footer_icons": [],
    "light_css_variables": {"color-brand-primary": "#0b57d0", "color-brand-content": "#0b57d0"},
    "dark_css_variables": {"color-brand-primary": "#58a6ff", "color-brand-content": "#58a6ff"},
}
pygments_style, pygments_dark_style = "a11y-light", "github-dark"
