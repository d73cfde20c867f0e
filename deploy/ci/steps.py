"""Runs the shell steps of samples.yml, as a runner of GitHub does, and the comparison again on changed pictures.

python3 steps.py CHECKOUT FOLDER PROGRAM
"""

import os
import pathlib
import shutil
import subprocess
import sys

import yaml

root, folder, program = (pathlib.Path(name) for name in sys.argv[1:])
build = bool(os.environ.get("BUILD"))
workflow = yaml.safe_load((root / "deploy/ci/samples.yml").read_text())
(job,) = workflow["jobs"].values()

place, home = folder / "repository", folder / "home"
(home / ".cargo/bin").mkdir(parents=True)
environment = {**os.environ, **{name: str(value) for name, value in workflow["env"].items()}}
environment["PATH"] = f"{home}/.cargo/bin:{environment['PATH']}"
environment["XDG_CACHE_HOME"] = f"{folder}/cache"
if build:
    head = subprocess.run(["git", "-C", root, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    environment |= {
        "DOWNHILL_REPOSITORY": root.as_uri(),
        "DOWNHILL_COMMIT": head.stdout.strip(),
        "CARGO_INSTALL_ROOT": f"{home}/.cargo",
    }


def shell(step):
    """Runs a step by the shell that runners take where a step names none; returns its exit code."""
    print(f"  {step['name']}", flush=True)
    return subprocess.run(["bash", "-e", "-c", step["run"]], cwd=place, env=environment).returncode


def use(step):
    """Stands for an action."""
    action = step["uses"].split("@")[0]
    if action == "actions/checkout":
        (place / "tests").mkdir(parents=True)
        shutil.copy(root / "deploy/ci/golden.png", place / "tests")
    elif action == "actions/cache":
        assert step["with"]["path"] == "~/.cargo/bin/downhill", step
        if not build:
            shutil.copy(program, home / ".cargo/bin/downhill")
    else:
        assert step["if"] == "failure()", step


compare = None
for step in job["steps"]:
    if "uses" in step:
        use(step)
        continue
    if "if" in step:
        assert step["if"] == "steps.cache.outputs.cache-hit != 'true'", step
        if not build:
            print(f"  {step['name']}: passed over, as with a cache", flush=True)
            continue
    if shell(step) != 0:
        sys.exit(f"the step `{step['name']}` failed")
    if "downhill compare" in step["run"]:
        compare = step
if compare is None:
    sys.exit("no step compares with the golden picture")

# One pixel, changed by so much.
CHANGE = """
import sys
from PIL import Image
picture = Image.open("samples.png")
x, y = next((x, y) for y in range(picture.height) for x in range(picture.width) if 60 < picture.getpixel((x, y)) < 190)
picture.putpixel((x, y), picture.getpixel((x, y)) + int(sys.argv[1]))
picture.save("samples.png")
"""
shutil.copy(place / "tests/golden.png", folder / "golden.png")
for change, passes in [(1, True), (-1, True), (2, False), (-2, False)]:
    shutil.copy(folder / "golden.png", place / "samples.png")
    subprocess.run([sys.executable, "-c", CHANGE, str(change)], cwd=place, check=True)
    if (shell(compare) == 0) != passes:
        sys.exit(f"a pixel changed by {change} {'fails' if passes else 'passes'}")
print("a pixel changed by 1 passes, a pixel changed by 2 fails")
