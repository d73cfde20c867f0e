#!/usr/bin/env python3
"""Kills runs of the program at random moments, and checks what they leave behind.

    cargo build --release --all-features
    sh scripts/with-adapter.sh python3 tools/kill.py                     # 320 kills over eight commands
    sh scripts/with-adapter.sh python3 tools/kill.py --only sample,tune --kills 20 --seed 3
    sh scripts/with-adapter.sh python3 tools/kill.py --only shard,moments,merge --kills 40

Each command is first run to its end: the reference. Then it is started again and again with the same outputs, and
killed with SIGKILL after a random time, until it ends by itself; that is one cycle. At each kill, no output may be
half-written: a file under its final name has the bytes of the reference, or is at least whole where its content is
not determined (timings, measured algorithms) or grows (the sums of a part of the images). After the last run of a cycle, every file must be that of the
reference, bit for bit. Temporary files (`.part`, `.incomplete`) may be left at a kill.

`download` fetches the embedded network from a hub that this script serves on this machine, slowly. The exit code is 0
if nothing was at fault.
"""

import argparse
import hashlib
import http.server
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
TEMPORARY = (".part", ".incomplete", ".lock")
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def tree(folder):
    """Returns the digest of every whole file below a folder, by its path. A dangling link has none."""
    found = {}
    for place, _, names in os.walk(folder):
        for name in names:
            path = pathlib.Path(place, name)
            if not name.endswith(TEMPORARY):
                content = path.read_bytes() if path.exists() else b"dangling"
                found[str(path.relative_to(folder))] = hashlib.sha256(content).hexdigest()
    return found


def is_json(path):
    try:
        json.loads(path.read_text())
        return True
    except ValueError:
        return False


def is_archive(path):
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except zipfile.BadZipFile:
        return False


class Campaign:
    """A command, and what is known about its outputs.

    `free` are patterns of files whose content is not determined, `growing` of those that hold a part of it until the
    command has ended. `before` are commands that make its input, in a folder of their own."""

    def __init__(self, name, arguments, environment=None, free=(), growing=(), before=lambda folder: ()):
        self.name = name
        self.arguments = arguments
        self.environment = environment or (lambda folder: {})
        self.free = free
        self.growing = growing
        self.before = before

    def is_free(self, file):
        """True for a file whose content is not determined; it must be whole JSON."""
        return any(pathlib.PurePath(file).match(pattern) for pattern in self.free)


def start(program, campaign, folder):
    environment = {**os.environ, **campaign.environment(folder)}
    command = [program, *campaign.arguments(folder)]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def finish(process):
    _, stderr = process.communicate()
    return process.returncode, stderr[-500:]


def faults_of(campaign, folder, reference, is_over):
    """Returns what is wrong with the files in a folder, at a kill or after the last run."""
    found = tree(folder)
    for file, digest in found.items():
        if campaign.is_free(file):
            if file.endswith(".json") and not is_json(pathlib.Path(folder, file)):
                yield f"{file} is not whole"
        elif file not in reference:
            yield f"{file} is not in the reference"
        elif not is_over and any(pathlib.PurePath(file).match(pattern) for pattern in campaign.growing):
            if not is_archive(pathlib.Path(folder, file)):
                yield f"{file} is not whole"
        elif digest != reference[file]:
            yield f"{file} differs from the reference"
    if is_over:
        yield from (f"{file} is missing" for file in reference if file not in found)


def run(program, campaign, kills, scratch):
    """Kills a command `kills` times; returns the number of cycles and the faults."""
    folder = scratch / campaign.name / "reference"
    folder.mkdir(parents=True)
    inputs = scratch / "inputs" / campaign.name
    inputs.mkdir(parents=True)
    for command in campaign.before(inputs):
        subprocess.run([program, *command], cwd=ROOT, check=True, stderr=subprocess.DEVNULL)
    began = time.monotonic()
    code, stderr = finish(start(program, campaign, folder))
    length = time.monotonic() - began
    if code != 0:
        return 0, 0, [f"the reference ended with {code}: {stderr}"]
    reference = tree(folder)
    done = cycles = left = 0
    faults = []
    while done < kills:
        folder = scratch / campaign.name / str(cycles)
        folder.mkdir()
        cycles += 1
        is_over = False
        while not is_over:
            process = start(program, campaign, folder)
            try:
                # The last runs of a campaign are left alone, so that it ends.
                process.wait(random.uniform(0.02, 1.2 * length) if done < kills else None)
                is_over = True
            except subprocess.TimeoutExpired:
                process.kill()
                done += 1
            code, stderr = finish(process)
            if code not in (0, -9):
                faults.append(f"cycle {cycles}, kill {done}: exit code {code}: {stderr}")
                is_over = True
            moment = f"cycle {cycles}, " + ("at the end" if is_over else f"at kill {done}")
            faults += [f"{moment}: {fault}" for fault in faults_of(campaign, folder, reference, is_over)]
        left += sum(name.endswith(TEMPORARY) for _, _, names in os.walk(folder) for name in names)
        shutil.rmtree(folder)
    print(f"{campaign.name:10} {done:4} kills in {cycles} cycles of {len(reference)} files, {left} temporary files "
          f"left at the end, {len(faults)} faults", flush=True)
    return done, cycles, faults


class Hub(http.server.BaseHTTPRequestHandler):
    """A hub with one model, whose files come slowly."""

    protocol_version = "HTTP/1.1"
    files = {path.name: path.read_bytes() for path in sorted((ROOT / "weights/digits").iterdir()) if path.is_file()}

    def log_message(self, *_):
        pass

    def answer(self, code, body, headers=(), begin=0):
        self.send_response(code)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) - begin))
        self.end_headers()
        if self.command == "GET":
            for at in range(begin, len(body), 1 << 16):
                self.wfile.write(body[at:min(at + (1 << 16), len(body))])
                time.sleep(0.01)

    def do_GET(self):
        if self.path.startswith("/api/models/"):
            listing = {"sha": COMMIT, "siblings": [{"rfilename": name} for name in self.files]}
            return self.answer(200, json.dumps(listing).encode())
        body = self.files.get(self.path.rsplit("/", 1)[-1])
        if body is None:
            return self.answer(404, b"")
        etag = {"ETag": f'"{hashlib.sha256(body).hexdigest()}"'}
        begin = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-")
        try:
            return self.answer(206 if "Range" in self.headers else 200, body, etag, int(begin))
        except OSError:
            return None

    do_HEAD = do_GET


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """Ignores clients that were killed."""


def campaigns(hub):
    hub_environment = lambda folder: {
        "HF_ENDPOINT": hub, "HF_HUB_CACHE": str(folder), "no_proxy": "127.0.0.1"
    }
    return [
        Campaign(
            "sample",
            lambda folder: ["sample", "-n", "64", "-b", "4", "--steps", "2", "--resume", "-o", f"{folder}/%05d.png"],
        ),
        Campaign(
            "compare",
            lambda folder: ["inspect", "compare", "--samplers", "ge", "--steps", "1", "-n", "64", "--seeds", "3",
                            "--no-ablation", "-o", str(folder)],
            # They hold times.
            free=("report.json", "times.json", "compare.*"),
        ),
        Campaign(
            "energy",
            lambda folder: ["linear", "energy", "--steps", "5,10", "--draws", "2", "-k", "4", "--samples", "200",
                            "-o", str(folder)],
            free=("report.json",),
        ),
        Campaign(
            "shard",
            lambda folder: ["sample", "-n", "96", "-b", "4", "--steps", "2", "--shard", "1/3", "--resume",
                            "-o", f"{folder}/%05d.png"],
        ),
        Campaign(
            "moments",
            lambda folder: ["moments", "--model", "-n", "192", "-b", "8", "--steps", "2", "--features",
                            "digits", "--shard", "1/3", "--resume", "-o", f"{folder}/part.npz"],
            growing=("*.npz",),
        ),
        Campaign(
            "merge",
            lambda folder: ["merge", f"{folder.parent.parent}/inputs/merge", "-o", f"{folder}/all.npz"],
            before=lambda folder: [["moments", "spiked:n=4096,p=784", "--shard", f"{shard}/8",
                                    "-o", f"{folder}/{shard}.npz"] for shard in range(8)],
        ),
        Campaign("download", lambda folder: ["download", "org/digits"], hub_environment),
        Campaign(
            "tune",
            lambda folder: ["tune", "--again", "--seconds", "3"],
            lambda folder: {"DOWNHILL_CACHE_DIR": str(folder)},
            # What is fastest differs from run to run; the self-test and the driver's pipelines may be there or not.
            free=("*",),
        ),
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", default=str(ROOT / "target/release/downhill"))
    parser.add_argument("--kills", type=int, default=40, help="kills per command")
    parser.add_argument("--only", default="", help="names of commands with commas between them")
    parser.add_argument("--seed", type=int, default=0, help="seed of the moments")
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    os.environ.pop("HF_HUB_OFFLINE", None)
    server = Server(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    every = campaigns(f"http://127.0.0.1:{server.server_port}")
    names = arguments.only.split(",") if arguments.only else [campaign.name for campaign in every]
    unknown = set(names) - {campaign.name for campaign in every}
    if unknown:
        parser.error(f"no commands {', '.join(sorted(unknown))}")
    kills, faults = 0, []
    with tempfile.TemporaryDirectory(prefix="downhill-kill-") as scratch:
        for campaign in every:
            if campaign.name in names:
                done, _, found = run(arguments.program, campaign, arguments.kills, pathlib.Path(scratch))
                kills += done
                faults += [f"{campaign.name}: {fault}" for fault in found]
    print(f"{kills} kills, {len(faults)} faults")
    for fault in faults[:20]:
        print(fault)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
