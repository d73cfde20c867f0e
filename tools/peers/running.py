"""The peers as processes: how each is asked for samples, and what it says of itself.

Used by `tools/compare_peers.py`; has no command of its own. A peer's `round(suite, cases)` answers {case: outcome},
where an outcome is {"samples": [seconds of a call, ...]} and, where it knows, "work" and "parameters"; or
{"reason": why there are none}.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from . import cases

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
# burn keeps what it has tuned under the folder of the manifest that it is started below.
BURN = ROOT / "benches" / "peers"
# 256-bit vectors for oneDNN, ATen and MKL: as wide as lavapipe's.
AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
# Samples a round by PyTorch's device; on a processor a network's call lasts long enough by itself. On a GPU the first
# ones may fall on a clock that is still rising.
SAMPLES = {"cpu": {"matmul": 3, "conv": 3, "unet": 1}, "cuda": {"matmul": 7, "conv": 7, "unet": 7}}


def seconds_of(command, environment=None):
    """Seconds from the start of a process to its end, as the outcome of the one case of `sample`."""
    begin = time.perf_counter()
    done = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    taken = time.perf_counter() - begin
    outcome = {"samples": [taken]} if done.returncode == 0 else {"reason": complaint(done.stderr, done.returncode)}
    return {cases.SAMPLE: outcome}


def complaint(said, code):
    """The line of an error, else the last that was said."""
    lines = said.strip().splitlines() or [f"exit code {code}"]
    return next((line for line in lines if line.startswith("error")), lines[-1])


def rows_of(command, suite):
    """The report that a benchmark wrote, and {case: outcome}; a run that wrote none is a reason for every case."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=BURN)
    try:
        report = json.loads(done.stdout)
    except json.JSONDecodeError:
        return {}, complaint(done.stderr, done.returncode)
    outcomes = {}
    for row in report["rows"]:
        if row["suite"] != suite:
            continue
        if row["status"] != "measured":
            outcomes[row["case"]] = {"reason": row["reason"]}
            continue
        outcomes[row["case"]] = {"samples": row["timing"]["samples"], "work": row["rate"]["work"]}
        if row.get("call"):
            outcomes[row["case"]]["parameters"] = row["call"]["parameters"]
    return report, outcomes


class Downhill:
    """downhill: a run of `downhill bench` or `downhill sample` a round."""

    title = "downhill"
    suites = cases.SUITES

    def __init__(self, binary, adapter, samples):
        self.binary, self.samples, self.about, self.roofs = str(binary), samples, {}, []
        self.everywhere = ["--quiet"] + (["--adapter", adapter] if adapter else [])

    def round(self, suite, asked):
        if suite == "sample":
            with tempfile.TemporaryDirectory() as folder:
                job = ["sample", "--count", str(cases.IMAGES), "--sampler", "ge", "--steps", str(cases.STEPS)]
                return seconds_of([self.binary, *job, "--output", f"{folder}/digits.png", *self.everywhere])
        sizes = ["--sizes", cases.sizes(suite, asked)]
        command = [self.binary, "bench", suite, *sizes, "-r", str(self.samples[suite]), "-o", "json", *self.everywhere]
        report, outcomes = rows_of(command, suite)
        if not report:
            return {case: {"reason": outcomes} for case in asked}
        self.about = {key: report[key] for key in ("version", "wgpu", "adapter", "driver", "family")}
        self.roofs.append(report["roofs"]["arithmetic"])
        return outcomes


class Torch:
    """PyTorch and diffusers on the CPU or a GPU: a process that stays, but for the whole job, which starts its own."""

    suites = cases.SUITES

    def __init__(self, title, variables, device, channels_last):
        self.title, self.environment, self.device = title, dict(os.environ, **variables), device
        command = [sys.executable, HERE / "torch_worker.py", "--device", device] + ["--channels-last"] * channels_last
        self.worker = subprocess.Popen(
            command, env=self.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.about = self.answer()

    def answer(self):
        line = self.worker.stdout.readline()
        if not line:
            sys.exit(f"error: the process of {self.title} ended with code {self.worker.wait()}")
        return json.loads(line)

    def ask(self, suite, case):
        self.worker.stdin.write(json.dumps({"suite": suite, "case": case, "samples": SAMPLES[self.device][suite]}) + "\n")
        self.worker.stdin.flush()
        return self.answer()

    def round(self, suite, asked):
        if suite == "sample":
            with tempfile.TemporaryDirectory() as folder:
                command = [sys.executable, HERE / "diffusers_sample.py", f"{folder}/digits.png", self.device]
                return seconds_of(command, self.environment)
        return {case: self.ask(suite, case) for case in asked}

    def close(self):
        self.worker.stdin.close()
        self.worker.wait()


class Burn:
    """burn on the same adapter: one sample a case in each of its rounds."""

    title = "burn"
    suites = ("matmul", "conv")

    def __init__(self, binary, device):
        self.binary, self.device, self.about = str(binary), device, {}

    def round(self, suite, asked):
        command = [self.binary, suite, "--sizes", cases.sizes(suite, asked), "--repeats", "1", "--device", self.device]
        report, outcomes = rows_of(command, suite)
        if not report:
            return {case: {"reason": outcomes} for case in asked}
        self.about = {key: value for key, value in report.items() if key != "rows"}
        return {case: outcomes[cases.burn_case(suite, case)] for case in asked}
