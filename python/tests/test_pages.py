"""The pages of docs/ whose figures come from commands: tools/pages.py writes them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "pages.py"
PAGES = sorted(path.stem for path in (ROOT / "docs" / "pages").glob("*.toml"))


def run(*words, program=None):
    named = {"DOWNHILL_PROGRAM": program} if program else {}
    return subprocess.run([sys.executable, str(TOOL), *words], capture_output=True, text=True, env=os.environ | named)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_what_its_text_and_its_figures_make(page):
    done = run("check", page)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES)
def test_every_figure_is_in_the_files_of_its_command(page, tmp_path, program):
    done = run("small", str(tmp_path), page, program=program)
    assert done.returncode == 0, done.stderr


def test_a_figure_that_no_file_holds_is_named(tmp_path, monkeypatch):
    sys.path.insert(0, str(TOOL.parent))
    import pages

    page = pages.Page("sampling-is-descent")
    assert page.text(page.kept()) != page.text({name: 0.5 for name in page.figures()})
    (tmp_path / "norms").mkdir()
    (tmp_path / "norms" / "report.json").write_text('{"norms": {"median": 0.25}}')
    (tmp_path / "norms" / "norms.csv").write_text("sigma,norm_median\n40,0.5\n1,0.75\n")
    norms = page.runs["norms"]
    norms.folder = tmp_path / "norms"
    assert norms.value("norms.median") == 0.25
    assert norms.value('near(rows("norms.csv"), "sigma", 2).norm_median') == 0.75
    with pytest.raises(AttributeError, match="no field `mean`"):
        norms.value("norms.mean")
    with pytest.raises(LookupError, match="no row of norms.csv"):
        norms.value('rows("norms.csv", sigma=3.0)')
    page.template += "\nA stray 12.75, one in code `1.5` and one of a command {{norms norms.median|.2f}}.\n"
    assert page.strays() == ["12.75"]


def lines(picture):
    """Returns the points of the lines of a picture."""
    return [[float(x) for x in re.split("[ ,]", line)] for line in re.findall(r'<polyline points="([^"]*)"', picture)]


def test_the_picture_of_the_readme_is_what_the_program_draws(tmp_path, program):
    made, kept = tmp_path / "descent.svg", (ROOT / "docs" / "descent.svg").read_text()
    tool = [sys.executable, str(ROOT / "tools" / "picture.py"), str(made)]
    subprocess.run(tool, check=True, env=os.environ | ({"DOWNHILL_PROGRAM": program} if program else {}))
    new, old = lines(made.read_text()), lines(kept)
    # Sigma, and for states and predictions a line per digit and their median.
    assert len(new) == len(old) == 1 + 2 * 7
    # Adapters round differently: a pixel of the card is 3 % of a distance.
    assert max(abs(a - b) for one, other in zip(new, old, strict=True) for a, b in zip(one, other, strict=True)) < 1
