"""Time the same work in downhill, PyTorch on the CPU or a GPU and burn on downhill's adapter, and print the ratios.

    cargo build --release
    cargo build --release --manifest-path benches/peers/Cargo.toml
    python tools/compare_peers.py                          # everything, Markdown on stdout
    python tools/compare_peers.py --no-burn --only conv    # burn is slow on software adapters
    python tools/compare_peers.py -o json > peers.json     # every sample
    python tools/compare_peers.py --device cuda            # PyTorch on the GPU, larger cases beside the others

In each round every peer does every case of a suite, one peer after the other and another one first each time, so that
whatever else the machine does falls on all alike. A round's figure is the median of its samples, a table's figure the
median of the rounds, a ratio the median of the rounds' ratios. Versions are pinned in `tools/requirements.txt` and `benches/peers/Cargo.lock`.
"""

import argparse
import json
import os
import platform
import sys
from datetime import datetime, timezone
from pathlib import Path
from statistics import median

from peers import cases, machine, running, table

# Share of the processors that others may take before the ratios are in doubt.
QUIET = 0.03
# Why, by PyTorch's device.
SUFFERS = {"cpu": "PyTorch's threads wait for one another and suffer more than downhill",
           "cuda": "the host launches PyTorch's kernels one by one, and small ones wait for it"}


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=cases.SUITES, default=list(cases.SUITES), metavar="SUITE",
                        help=f"suites, of {', '.join(cases.SUITES)}")
    parser.add_argument("--device", choices=tuple(cases.CASES), default="cpu", help="PyTorch's (default: cpu)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="rounds (default: 5)")
    parser.add_argument("--burn-rounds", type=int, default=3, metavar="N", help="rounds that burn takes part in (3)")
    parser.add_argument("--downhill", type=Path, metavar="FILE", help="its binary (default: the release build)")
    parser.add_argument("--burn", type=Path, metavar="FILE", help="the binary of benches/peers (the release build)")
    parser.add_argument("--adapter", help="downhill's adapter, as its `--adapter` has it")
    parser.add_argument("--burn-device", help="burn's: default, cpu, discrete or integrated (beside cuda: discrete)")
    parser.add_argument("--channels-last", action="store_true", help="PyTorch's tensors as NHWC")
    for peer in ("torch", "avx2", "burn"):
        parser.add_argument(f"--no-{peer}", action="store_true", help=f"leave {peer} out")
    parser.add_argument("-o", "--format", choices=("md", "json"), default="md")
    arguments = parser.parse_args()
    if arguments.rounds < 1 or arguments.burn_rounds < 1:
        parser.error("there is no median of no rounds")
    if arguments.device == "cuda":
        # Vectors are the processor's.
        arguments.no_avx2 = True
    arguments.burn_device = arguments.burn_device or {"cpu": "default", "cuda": "discrete"}[arguments.device]
    return arguments


def binary(given, folder, name, command):
    """A binary as given, or where `command` has put it."""
    built = Path(os.environ.get("CARGO_TARGET_DIR", folder / "target")) / "release" / name
    path = (given or built).resolve()
    if not path.is_file():
        sys.exit(f"error: `{path}` is not there\nhint: {command}")
    return path


def start(arguments):
    """The peers that were asked for, in the order of the table's columns."""
    downhill = binary(arguments.downhill, running.ROOT, "downhill", "cargo build --release")
    if not arguments.no_burn:
        command = "cargo build --release --manifest-path benches/peers/Cargo.toml, or --no-burn"
        burn = binary(arguments.burn, running.BURN, "peers", command)
    peers = [running.Downhill(downhill, arguments.adapter, running.SAMPLES[arguments.device])]
    for title, variables, left_out in (
            (table.TORCH, {}, arguments.no_torch), (table.AVX2, running.AVX2, arguments.no_avx2)):
        if not left_out:
            peers.append(running.Torch(title, variables, arguments.device, arguments.channels_last))
    if not arguments.no_burn:
        peers.append(running.Burn(burn, arguments.burn_device))
    return peers


def measure(peers, arguments):
    """{(suite, case): [{peer: outcome} of each round]}"""
    named = cases.CASES[arguments.device]
    if "sample" in arguments.only:
        # Once beforehand: its job begins with caches of files and shaders that are warm.
        play(peers, "sample", named["sample"], "beforehand")
    found = {(suite, case): [] for suite in arguments.only for case in named[suite]}
    for at in range(arguments.rounds):
        first = at % len(peers)
        present = [peer for peer in peers[first:] + peers[:first]
                   if at < arguments.burn_rounds or not isinstance(peer, running.Burn)]
        for suite in arguments.only:
            outcomes = play(present, suite, named[suite], f"round {at + 1} of {arguments.rounds}")
            for case in named[suite]:
                found[suite, case].append({peer: of[case] for peer, of in outcomes.items() if case in of})
    return found


def play(peers, suite, asked, when):
    """{peer: {case: outcome}} of one round of a suite."""
    outcomes = {}
    for peer in peers:
        if suite in peer.suites:
            print(f"{when}: {suite}, {peer.title}", file=sys.stderr)
            outcomes[peer.title] = peer.round(suite, asked)
    return outcomes


def header(peers, arguments, others):
    """What the figures depend on."""
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "device": arguments.device,
        "gpu": next((peer.about["GPU"] for peer in peers if "GPU" in peer.about), None),
        "processor": machine.processor(),
        "others": others,
        "python": platform.python_version(),
        "rounds": arguments.rounds,
        "burn_rounds": None if arguments.no_burn else min(arguments.rounds, arguments.burn_rounds),
        "roof": median(peers[0].roofs) if peers[0].roofs else None,
        "peers": {peer.title: peer.about for peer in peers},
    }


def header_lines(head):
    """The header in words."""
    rounds = f"{head['rounds']} rounds" + (f", burn {head['burn_rounds']}" if head["burn_rounds"] else "")
    computers = "; ".join(filter(None, (head["gpu"], head["processor"])))
    lines = [f"{head['date']}; {computers}; Python {head['python']}; {rounds}.", ""]
    for title, about in head["peers"].items():
        lines.append(f"- {title}: " + (", ".join(f"{key} {value}" for key, value in about.items()) or "`sample` alone"))
    if head["roof"]:
        lines.append(f"- arithmetic roof of the adapter, median of all runs: {head['roof']:.0f} GFLOP/s")
    if head["others"] is not None:
        lines.append(f"- other processes took {head['others']:.0%} of the processors meanwhile")
    return lines


def main():
    arguments = parse()
    others = machine.Others()
    peers = start(arguments)
    found = measure(peers, arguments)
    for peer in peers:
        if isinstance(peer, running.Torch):
            peer.close()
    head = header(peers, arguments, others.share())
    if (head["others"] or 0) > QUIET:
        print(f"warning: other processes took {head['others']:.0%} of the processors: {SUFFERS[arguments.device]}; "
              "run this on an idle machine", file=sys.stderr)
    rows = [table.row(suite, case, rounds) for (suite, case), rounds in found.items()]
    if arguments.format == "json":
        json.dump({**head, "rows": rows}, sys.stdout, indent=1)
        print()
    else:
        print("\n".join(header_lines(head)), end="\n\n")
        print(table.markdown(rows, [peer.title for peer in peers]))
    wrong = [f"{row['case']}: {reason}" for row in rows if (reason := table.disagreements(row))]
    wrong += [f"{row['case']}: {peer} failed" for row in rows for peer, each in row["peers"].items() if each["reasons"]]
    if wrong:
        sys.exit("error: " + "\nerror: ".join(wrong))


if __name__ == "__main__":
    main()
