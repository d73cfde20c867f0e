"""What the peers took, as rows and as a table in Markdown.

Used by `tools/compare_peers.py`; has no command of its own.
"""

from statistics import median

TORCH, AVX2 = "PyTorch", "PyTorch AVX2"
# Time of the first over that of the second.
RATIOS = (("downhill", TORCH), ("downhill", AVX2), ("burn", "downhill"))


def row(suite, case, rounds):
    """The row of a case from its rounds, each {peer: outcome}: medians of the rounds' medians, in seconds."""
    result = {"suite": suite, "case": case, "peers": {}, "ratios": {}}
    for peer in dict.fromkeys(peer for outcomes in rounds for peer in outcomes):
        outcomes = [outcomes[peer] for outcomes in rounds if peer in outcomes]
        samples = [outcome["samples"] for outcome in outcomes if "samples" in outcome]
        found = result["peers"][peer] = {"rounds": samples, "reasons": []}
        found["reasons"] = sorted({outcome["reason"] for outcome in outcomes if "reason" in outcome})
        found["parameters"] = next((each["parameters"] for each in outcomes if each.get("parameters")), None)
        if samples:
            found["median"] = median(median(each) for each in samples)
        result["work"] = result.get("work") or next((each["work"] for each in outcomes if "work" in each), None)
    for above, below in RATIOS:
        ratio = ratio_of(rounds, above, below)
        if ratio:
            result["ratios"][f"{above} / {below}"] = ratio
    return result


def ratio_of(rounds, above, below):
    """The median of the quotients within each round, and the least and the greatest of them."""
    both = [(each[above], each[below]) for each in rounds if above in each and below in each]
    within = [median(a["samples"]) / median(b["samples"]) for a, b in both if "samples" in a and "samples" in b]
    return {"value": median(within), "least": min(within), "greatest": max(within)} if within else None


def disagreements(row):
    """Why a row compares different networks, if it does."""
    counts = {peer: found["parameters"] for peer, found in row["peers"].items() if found["parameters"]}
    return f"parameters differ: {counts}" if len(set(counts.values())) > 1 else None


def digits(value):
    """Three significant digits."""
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def markdown(rows, peers):
    """One table a suite. A peer has two columns, milliseconds and GFLOP/s, where it was asked."""
    lines = []
    for suite in dict.fromkeys(row["suite"] for row in rows):
        chosen = [row for row in rows if row["suite"] == suite]
        asked = [peer for peer in peers if any(peer in row["peers"] for row in chosen)]
        rated = suite != "sample"
        ratios = [name for name in (f"{a} / {b}" for a, b in RATIOS) if any(name in row["ratios"] for row in chosen)]
        head = ["case", *(f"{peer} ms" for peer in asked), *(f"{peer} GFLOP/s" for peer in asked if rated), *ratios]
        lines += [f"### {suite}", "", *aligned([head, *(cells(row, asked, rated, ratios) for row in chosen)]), ""]
        failures = [(row["case"], peer, reason) for row in chosen for peer, found in row["peers"].items()
                    for reason in found["reasons"]]
        lines += [f"- {case}: {peer} failed: {reason}" for case, peer, reason in failures] + [""] * bool(failures)
    return "\n".join(lines)


def cells(row, asked, rated, ratios):
    medians = [row["peers"].get(peer, {}).get("median") for peer in asked]
    line = [row["case"], *(digits(each * 1e3) if each else "-" for each in medians)]
    if rated:
        work = row["work"]
        line += [digits(work / each * 1e-9) if work and each else "-" for each in medians]
    for name in ratios:
        ratio = row["ratios"].get(name)
        line.append("-" if ratio is None else f"{digits(ratio['value'])}{between(ratio)}")
    return line


def between(ratio):
    """The quotients within rounds, where there are several."""
    if ratio["least"] == ratio["greatest"]:
        return ""
    return f" ({digits(ratio['least'])} to {digits(ratio['greatest'])})"


def aligned(table):
    widths = [max(len(line[at]) for line in table) for at in range(len(table[0]))]
    rule = ["---"] * len(widths)
    return ["| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |"
            for line in (table[0], rule, *table[1:])]
