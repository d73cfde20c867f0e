"""Writes tests/slow.txt, the tests that `sh scripts/test.sh --quick` leaves out, from the output of a whole run:

    cargo nextest run --all-features 2>&1 | tee run.log; python3 tools/slow_tests.py run.log [SECONDS]

Those of SECONDS (1) or more, by name. Times are of a machine with nothing else to do, and with the driver's cache of
compiled shaders filled by an earlier run.
"""

import pathlib
import re
import sys

HEAD = """\
# Tests that `sh scripts/test.sh --quick` leaves out, for they take a second or more. Written by tools/slow_tests.py.
"""


def main():
    log = pathlib.Path(sys.argv[1]).read_text(errors="replace")
    limit = float(sys.argv[2]) if len(sys.argv) > 2 else 1.0
    times = {}
    for line in log.splitlines():
        # Ten columns of state, seconds, perhaps a count, the binary, the test.
        found = re.search(r"\b(?:PASS|SLOW|FAIL)\s*\[\s*([\d.]+)s\]\s*(?:\(.*?\)\s*)?(downhill\S*)\s+(\S+)", line)
        if found:
            times[found[3]] = float(found[1])
    if not times:
        sys.exit(f"error: {sys.argv[1]} has no line of a test\nhint: give the output of cargo nextest run")
    slow = sorted(name for name, seconds in times.items() if seconds >= limit)
    root = pathlib.Path(__file__).resolve().parent.parent
    (root / "tests" / "slow.txt").write_text(HEAD + "".join(f"{name}\n" for name in slow))
    left = sum(seconds for seconds in times.values() if seconds < limit)
    print(f"{len(slow)} of {len(times)} tests take {limit:g} s or more; the others take {left:.0f} s together")


if __name__ == "__main__":
    main()
