#!/usr/bin/env python3
"""Measures how runs in shards grow, and simulates more of them than there are machines here.

    cargo build --release --all-features
    sh scripts/with-adapter.sh python3 tools/scale.py measure               # minutes; the tables of docs/scale.md
    sh scripts/with-adapter.sh python3 tools/scale.py measure --quick       # the same with a tenth of the work
    python3 tools/scale.py simulate                                         # seconds; the model beside a simulation

`measure` starts 1, 2, 4 and 8 processes at once, each with `--shard I/N`, waits for all of them, and prints the wall
time, the work per second, the processor's time, the bytes that the largest process held and the bytes that all of them
read and wrote, by the system's counters. Then it times `downhill merge` over the files of 1 to 128 shards.

`simulate` draws the speeds of shards, their failures and their starts, lets them share one file system, and requeues
those that fail: a simulation of events. Beside it stands the closed form of `docs/scale.md`; both are of the same
numbers, which the flags set.
"""

import argparse
import heapq
import math
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROCESSES = (1, 2, 4, 8)
MIB = 1 << 20


def io_bytes(pid):
    """Returns the bytes that a process has asked its files for, and those that it has handed to them."""
    fields = dict(line.split(": ") for line in pathlib.Path(f"/proc/{pid}/io").read_text().splitlines())
    return int(fields["rchar"]), int(fields["wchar"])


def together(commands):
    """Runs commands at the same time; returns wall seconds, processor seconds, the most bytes held by one, read,
    written."""
    began = time.monotonic()
    # Each process has one thread for the device and one for the host, as on a node with a core for each.
    environment = {**os.environ, "LP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}
    running = [subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
               for command in commands]
    processor = most = read = written = 0
    for process in running:
        # The counters of a process can be read until it is waited for.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        of_read, of_written = io_bytes(process.pid)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"{' '.join(map(str, process.args))}: {process.stderr.read().decode()}")
        processor += usage.ru_utime + usage.ru_stime
        most = max(most, usage.ru_maxrss * 1024)
        read += of_read
        written += of_written
    return time.monotonic() - began, processor, most, read, written


def table(title, unit, count, rows):
    print(f"\n{title}\n")
    print(f"| processes | seconds | {unit}/s | processor s | largest process, MiB | read, MiB | written, MiB |")
    print("|---|---|---|---|---|---|---|")
    for processes, (wall, processor, most, read, written) in rows:
        print(f"| {processes} | {wall:.1f} | {count / wall:,.0f} | {processor:.1f} | {most / MIB:.0f} | "
              f"{read / MIB:,.0f} | {written / MIB:.1f} |")


def measure(arguments):
    program = str(arguments.downhill)
    scale = 10 if arguments.quick else 1
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        images, rows = 256 // scale, 200_000 // scale
        works = [
            ("Images in 5 steps, as PNG files (`downhill sample --shard I/N`)", "images", images,
             lambda out, i, n: ["sample", "-n", images, "--steps", 5, "-o", out / "%05d.png"]),
            ("The same, as moments of features, nothing stored (`downhill moments --model`)", "images", images,
             lambda out, i, n: ["moments", "--model", "-n", images, "--steps", 5, "--features", "digits",
                                "-o", out / f"{i}.npz"]),
            ("Moments of rows of 784 values, generated (`downhill moments spiked:`)", "rows", rows,
             lambda out, i, n: ["moments", f"spiked:n={rows},p=784", "-o", out / f"{i}.npz"]),
            ("Moments of the digits' features (`downhill moments digits --features digits`)", "images", 10_000,
             lambda out, i, n: ["moments", "digits", "--features", "digits", "-o", out / f"{i}.npz"]),
        ]
        for title, unit, count, command in works:
            found = []
            for processes in PROCESSES:
                rounds = []
                for _ in range(arguments.rounds):
                    out = pathlib.Path(tempfile.mkdtemp(dir=scratch))
                    rounds.append(together([
                        [program, *map(str, command(out, i, processes)), "--shard", f"{i}/{processes}"]
                        for i in range(processes)]))
                found.append((processes, tuple(statistics.median(column) for column in zip(*rounds))))
            table(title, unit, count, found)
        merges(program, scratch)


def merges(program, scratch):
    print("\nMerging files of 784 values (`downhill merge`)\n")
    print("| files | MiB | seconds | largest process, MiB |")
    print("|---|---|---|---|")
    for shards in (1, 8, 32, 128):
        out = pathlib.Path(tempfile.mkdtemp(dir=scratch))
        for i in range(shards):
            together([[program, "moments", "spiked:n=16384,p=784", "--shard", f"{i}/{shards}",
                       "-o", str(out / f"{i}.npz")]])
        files = sorted(out.iterdir())
        wall, _, most, _, _ = together([[program, "merge", *map(str, files), "-o", str(scratch / "all.npz")]])
        size = sum(file.stat().st_size for file in files)
        print(f"| {shards} | {size / MIB:.0f} | {wall:.2f} | {most / MIB:.0f} |")


def expected_largest(count, spread):
    """Returns the expected largest of `count` factors exp(spread z), by Blom's quantile of the normal distribution."""
    quantile = statistics.NormalDist().inv_cdf((count - 0.375) / (count + 0.25)) if count > 1 else 0.0
    return math.exp(spread * quantile)


class Work:
    """The numbers of a work that is cut into shards; times in seconds, sizes in bytes."""

    def __init__(self, arguments, items, shards):
        self.items, self.shards = items, shards
        self.start, self.item, self.spread = arguments.start, arguments.item_seconds, arguments.spread
        self.bytes, self.bandwidth = arguments.item_bytes, arguments.bandwidth
        self.file, self.node_bandwidth = arguments.file_bytes, arguments.node_bandwidth
        self.failures, self.requeue, self.kept = arguments.failures / 3600, arguments.requeue, arguments.kept
        self.add = arguments.add_seconds

    def share(self):
        return self.items / self.shards

    def read_seconds(self):
        """The seconds in which a shard's bytes arrive while all shards read."""
        return self.share() * self.bytes / min(self.node_bandwidth, self.bandwidth / self.shards)

    def merge(self):
        return self.shards * (self.file / self.node_bandwidth + self.add)

    def model(self):
        """Returns the expected seconds until the merged file is there: the slowest shard, and what failures cost."""
        computing = self.share() * self.item * expected_largest(self.shards, self.spread)
        busy = self.start + max(computing, self.read_seconds())
        # A failure costs the wait, a new start and half of what is done between two writes. One shard that fails late
        # holds all up, so the chance of one among all counts, or the number in one shard where that is larger.
        of_one = self.failures * busy
        lost = max(of_one, -math.expm1(-self.shards * of_one)) * (self.requeue + self.start + 0.5 * self.kept)
        return busy + lost + self.merge()

    def simulate(self, random):
        """Returns the seconds of one draw. Shards share the file system's bandwidth equally while they read."""
        # The events: (time, number, what, shard). A shard reads a piece, computes on it, and keeps it.
        pieces = max(1, math.ceil(max(self.share() * self.item, self.read_seconds()) / self.kept))
        speeds = [self.item * math.exp(random.gauss(0.0, self.spread)) for _ in range(self.shards)]
        done = [0] * self.shards
        last = 0.0
        events = [(self.start, shard, "begin") for shard in range(self.shards)]
        heapq.heapify(events)
        active = self.shards
        while events:
            now, shard, what = heapq.heappop(events)
            if what == "end":
                active -= 1
                last = max(last, now)
                continue
            items = self.share() / pieces
            rate = min(self.node_bandwidth, self.bandwidth / active)
            # The next piece is read while this one is computed.
            length = max(items * speeds[shard], items * self.bytes / rate)
            failure = random.expovariate(self.failures) if self.failures else math.inf
            if failure < length:
                heapq.heappush(events, (now + failure + self.requeue + self.start, shard, "begin"))
                continue
            done[shard] += 1
            heapq.heappush(events, (now + length, shard, "end" if done[shard] == pieces else "begin"))
        return last + self.merge()


def simulate(arguments):
    generator = random.Random(arguments.seed)
    print(f"{arguments.items:,.0f} items of {arguments.item_seconds:g} s and {arguments.item_bytes:,.0f} bytes; a "
          f"start of {arguments.start:g} s, speeds spread by {arguments.spread:g}, {arguments.failures:g} failures an "
          f"hour and shard, {arguments.bandwidth / 1e9:g} GB/s for all, {arguments.node_bandwidth / 1e9:g} GB/s for "
          f"one; files of {arguments.file_bytes / 1e6:g} MB\n")
    print("| shards | model, s | simulation, s | ratio | items/s | efficiency | merging, s | bound by |")
    print("|---|---|---|---|---|---|---|---|")
    alone = None
    for shards in arguments.shards:
        work = Work(arguments, arguments.items, shards)
        draws = [work.simulate(generator) for _ in range(arguments.draws)]
        mean = statistics.fmean(draws)
        alone = alone or mean * shards
        bound = "reading" if work.read_seconds() > work.share() * work.item else "computing"
        bound = "merging" if work.merge() > 0.5 * mean else bound
        print(f"| {shards:,} | {work.model():,.0f} | {mean:,.0f} | {work.model() / mean:.2f} | "
              f"{arguments.items / mean:,.0f} | {alone / (mean * shards):.2f} | {work.merge():,.1f} | {bound} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="what", required=True)
    measuring = parts.add_parser("measure", help="time 1 to 8 processes on this machine")
    measuring.add_argument("--downhill", type=pathlib.Path, default=ROOT / "target/release/downhill", metavar="FILE")
    measuring.add_argument("--quick", action="store_true", help="a tenth of the work")
    measuring.add_argument("--rounds", type=int, default=3, metavar="N", help="of which medians are printed (3)")
    simulating = parts.add_parser("simulate", help="the model beside a simulation of events")
    number = lambda name, usual, text: simulating.add_argument(name, type=float, default=usual, metavar="X",
                                                               help=f"{text} ({usual:g})")
    number("--items", 1e6, "images or rows")
    number("--item-seconds", 0.06, "of computing for an item")
    number("--item-bytes", 0, "read for an item")
    number("--start", 2.0, "seconds from the start of a process to its first item")
    number("--spread", 0.05, "standard deviation of the logarithm of a shard's speed")
    number("--failures", 0.01, "an hour and shard")
    number("--requeue", 60, "seconds until a failed shard starts again")
    number("--kept", 30, "seconds between two writes of what is done")
    number("--bandwidth", 1e10, "bytes a second of the file system, for all")
    number("--node-bandwidth", 1e9, "bytes a second of the file system, for one process")
    number("--file-bytes", 1e6, "of the file of a shard")
    number("--add-seconds", 0.003, "of merging the file of a shard, beside reading")
    simulating.add_argument("--shards", type=int, nargs="+", default=[1, 8, 64, 512, 4096], metavar="N")
    simulating.add_argument("--draws", type=int, default=20, metavar="N")
    simulating.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    {"measure": measure, "simulate": simulate}[arguments.what](arguments)


if __name__ == "__main__":
    main()
