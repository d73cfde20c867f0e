"""The machine, and how much of it others used meanwhile.

Used by `tools/compare_peers.py`; has no command of its own.
"""

import os
import platform
import resource
from pathlib import Path


def processor():
    """The processor's name and how many cores of it there are."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), name)
    except OSError:
        pass
    return f"{name}, {os.cpu_count()} cores"


def own_seconds():
    """Seconds of processor time of this process and of those that it has waited for."""
    usages = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def busy_and_all_seconds():
    """Seconds that the processors were busy, stolen ones among them, and all their seconds; None where unknown."""
    try:
        fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    except OSError:
        return None
    user, nice, system, idle, iowait, irq, softirq, steal = (int(each) / os.sysconf("SC_CLK_TCK") for each in fields)
    busy = user + nice + system + irq + softirq + steal
    return busy, busy + idle + iowait


class Others:
    """The share of the processors that went to processes which are not ours, from its making to the asking."""

    def __init__(self):
        self.own, self.machine = own_seconds(), busy_and_all_seconds()

    def share(self):
        """From 0 to 1, when all processes started since have been waited for; None where the system does not say."""
        if self.machine is None:
            return None
        (busy, every), own = busy_and_all_seconds(), own_seconds() - self.own
        return max(0.0, busy - self.machine[0] - own) / (every - self.machine[1])
