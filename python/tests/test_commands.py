"""The commands of README.md, docs/ and deploy/: the program knows their subcommands, flags and values.

They run in an empty folder, where no file that they name exists, and without an adapter, so that nothing is computed.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "deploy").rglob("*.md"))]
FENCE = re.compile(r"^ *```(?:sh|yaml|powershell)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)`(downhill [^`]*)`")
COMMAND = re.compile(r"(?:^|[\s|])downhill (.*)$")
# Of clap, at the end of every complaint about the words of a command.
COMPLAINT = "For more information, try '--help'"
# A command within a sentence may leave out what it must have, and have `N` or `I/N` for a number.
UNFINISHED = re.compile(
    r"error: (the following required arguments|a value is required|(invalid value|unrecognized subcommand) '[A-Z/]+')"
)
VARIABLE = r"(?:\$\{\{.*?\}\}|\$\w+)"
MOST_SECONDS = 5


def commands(text: str) -> list[tuple[str, bool]]:
    """Returns the commands of a page without the name of the program, and `True` for those within sentences."""
    blocks = "\n".join(FENCE.findall(text)).replace("\\\n", " ")
    lines = [(re.sub(r"(^|\s)#.*", "", line).split("cargo ")[0], False) for line in blocks.splitlines()]
    lines += [(" ".join(inline.split()), True) for inline in INLINE.findall(text)]
    return [(found[1], inside) for line, inside in lines if (found := COMMAND.search(line))]


def words(command: str) -> list[str]:
    """Returns the words of a command up to the next command, a redirection or an omission."""
    command = re.sub(VARIABLE, "1", re.sub(f"{VARIABLE}/{VARIABLE}", "1/2", command))
    lexer = shlex.shlex(command, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    taken = []
    for word in lexer:
        if word[0] in "|&;<>[" or word.endswith("...") or word == ":::":
            break
        taken += shlex.split(word)
    return taken


def complaint(program: str, folder: Path, command: list[str]) -> str | None:
    """Returns the first line of the program's complaint about the words of a command."""
    environment = {**os.environ, "VK_DRIVER_FILES": os.devnull, "HF_HUB_OFFLINE": "1", "DOWNHILL_SHARDS": "2"}
    try:
        done = subprocess.run(
            [program, *command],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=MOST_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return None
    return done.stderr.splitlines()[0] if COMPLAINT in done.stderr else None


def test_the_program_knows_every_command(program: str | None, tmp_path: Path) -> None:
    if program is None:
        pytest.skip("the program is not built")
    found: dict[tuple[str, bool], Path] = {}
    for page in PAGES:
        for command in commands(page.read_text("utf-8")):
            found.setdefault(command, page.relative_to(ROOT))
    assert len(found) > 200, "the commands are not found"
    with ThreadPoolExecutor() as pool:
        said = list(pool.map(lambda command: complaint(program, tmp_path, words(command[0])), found))
    faults = [
        f"{page}: downhill {command}\n  {line}"
        for ((command, inside), page), line in zip(found.items(), said, strict=True)
        if line and not ((inside or "..." in command) and UNFINISHED.match(line))
    ]
    assert not faults, "\n".join(faults)
    assert complaint(program, tmp_path, ["sample", "--no-such-flag"]) is not None


def test_commands_are_taken_from_blocks_and_sentences() -> None:
    block = "```sh\nX=1 downhill sample -p 'a <b>' \\\n  -n $N > x   # downhill nothing\n```\n"
    page = f"{block}and `downhill linear\npca -k 2`."
    found = commands(page)
    assert [inside for _, inside in found] == [False, True]
    split = [words(command) for command, _ in found]
    assert split == [["sample", "-p", "a <b>", "-n", "1"], ["linear", "pca", "-k", "2"]]
