"""Results as lines, as a picture and as the table of a page.

    python -m benchmarks.report runs/bench.json [runs/again.json ...] [--page docs/performance.md]

writes the tables between the page's markers anew, and its picture. Rows of later files take the
place of earlier ones.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import rows

ROOT = Path(__file__).resolve().parents[1]
PAGE, PICTURE = ROOT / "docs/performance.md", "images/performance.svg"
MARKERS = ("<!-- measured: by python -m benchmarks.report -->", "<!-- end of measured -->")
COLOURS = {"pytorch": "#b03a2e", "eager": "#d68910", "jax": "#14457e", "autograd": "#1e8449"}
TITLES = {"pytorch": "PyTorch", "eager": "PyTorch, eager", "jax": "JAX", "mygrad": "MyGrad"}
Results = dict[str, Any]


def called(label: str) -> str:
    """Its name in the page: ``ours+TINYGRAD_SEQ_KERNELS=numpy`` is "ours, numpy"."""
    peer, *settings = label.split("+")
    return ", ".join([TITLES.get(peer, peer), *(each.partition("=")[2] for each in settings)])


def lines(name: str, found: Results) -> str:
    """What one row has come to."""
    sizes = ", ".join(f"{k} {v}" for k, v in zip(rows.Sizes._fields, found["sizes"], strict=True))
    text = [f"{name}  ({sizes}; {found['unit']}; load {found['load'][0]:.1f})"]
    for label, each in found["contestants"].items():
        low, high = each["quartiles"]
        line = f"  {label:22} {each['median']:9.3g}  [{low:.3g}, {high:.3g}]"
        if "ratio" in each:
            low, high = each["ratio_quartiles"]
            line += f"   ratio {each['ratio']:.2f}  [{low:.2f}, {high:.2f}]"
        if "cores" in each:
            line += f"   processor {each['processor']:.3g}, "
            line += f"cores {each['cores']:.1f}, others {each['others']:.1f}"
        text.append(line)
    text += [f"  {label} DISAGREES: {'; '.join(bad)}" for label, bad in found["disagree"].items()]
    return "\n".join(text)


def derived(results: Results) -> list[tuple[str, str, str, float]]:
    """(what, of which row or size, contestant, number) that follow from several rows."""
    found = []
    medians = {
        name: {label: each["median"] for label, each in row["contestants"].items()}
        for name, row in results["rows"].items()
    }
    peak = next(iter(medians.get("product:lstm:square", {}).values()), 0.0)
    if peak:
        peak = rows.flops(rows.row("product:lstm:square")) / peak / 1e6
        found.append(("GFLOP/s of a large product", "2048 x 2048", "ours", peak))
    for name, each in medians.items():
        row = rows.row(name)
        quiet = medians.get(row._replace(condition="").name, {})
        for label, median in each.items():
            if peak and (row.job, row.size, row.condition) == ("step", "big", ""):
                share = rows.flops(row) / median / 1e6 / peak
                found.append(("share of the roofline", name, label, share))
            if row.condition and label in quiet:
                found.append(("time / time without", name, label, median / quiet[label]))
    for axis, names in rows.scaled().items():
        there = [name for name in names if name in medians]
        for label in medians[there[0]] if len(there) > 1 else ():
            sizes = [getattr(rows.row(name).sizes, axis) for name in there]
            times = [medians[name][label] for name in there]
            slope = float(np.polyfit(np.log(sizes), np.log(times), 1)[0])
            found.append(("log-log slope", f"{axis} {sizes[0]} to {sizes[-1]}", label, slope))
    return found


def derived_text(results: Results) -> str:
    """The same, a line each."""
    return "\n".join(
        f"{what}, {of}: {label} {number:.2f}" for what, of, label, number in derived(results)
    )


def markdown(results: Results) -> str:
    """The tables of the page."""
    found, about = results["rows"], results["machine"]
    base = next(iter(next(iter(found.values()))["contestants"]))
    peers = dict.fromkeys(label for row in found.values() for label in row["contestants"])
    versions = {}
    for row in found.values():
        versions |= {label: each["version"] for label, each in row["contestants"].items()}
    peers.pop(base)
    told = ", ".join(f"{called(label)} {versions[label]}" for label in peers)
    loads = [row["load"][0] for row in found.values()]
    quiet = [row for name, row in found.items() if rows.row(name).condition != "busy"]
    others = max(each.get("others", 0.0) for row in quiet for each in row["contestants"].values())
    threads = ", ".join(f"{k}={v}" for k, v in about["threads"].items()) or "each library's choice"
    text = [
        f"{about['date']}: {about['cpu']}, {about['cores']} cores; Python {about['python']}, NumPy "
        f"{about['numpy']}, {told}; threads: {threads}; load before a row {min(loads):.1f} to "
        f"{max(loads):.1f}; during turns that count others kept {others:.2f} cores busy at most.",
    ]
    known = {name for group in rows.GROUPS.values() for name in group}
    groups = {**rows.GROUPS, "Other rows": [name for name in found if name not in known]}
    for title, group in groups.items():
        names = [name for name in group if found.get(name, {}).get("contestants")]
        if not names:
            continue
        there = [p for p in peers if any(p in found[name]["contestants"] for name in names)]
        heads = ["row", called(base), *(f"{called(p)} / {called(base)}" for p in there)]
        text += ["", f"**{title}.**", "", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
        for name in names:
            cells = [spread(found[name], label) for label in (base, *there)]
            text.append(f"| `{name}` | {' | '.join(cells)} |")
        jobs = dict.fromkeys(rows.row(name).job for name in names)
        text += ["", *(f"- `{job}`: {rows.JOBS[job]}" for job in jobs)]
    follows = derived(results)
    if follows:
        who = dict.fromkeys(label for *_, label, _ in follows)
        text += ["", "**What follows from them.**", ""]
        text += [f"| | | {' | '.join(called(label) for label in who)} |"]
        text += ["|---" * (2 + len(who)) + "|"]
        for what, of in dict.fromkeys((what, of) for what, of, *_ in follows):
            numbers = {label: f"{n:.2f}" for *which, label, n in follows if which == [what, of]}
            text.append(f"| {what} | {of} | {' | '.join(numbers.get(w, '') for w in who)} |")
    return "\n".join(text)


def spread(row: Results, label: str) -> str:
    """A median or a ratio, with its quartiles."""
    each = row["contestants"].get(label)
    if each is None:
        return ""
    if "ratio" not in each:
        low, high = each["quartiles"]
        return f"{each['median']:.3g} {row['unit']} ({low:.3g} to {high:.3g})"
    low, high = each["ratio_quartiles"]
    return f"{each['ratio']:.2f} ({low:.2f} to {high:.2f})"


def plot(results: Results, path: Path) -> bool:
    """Draw the ratios by row, if matplotlib is there; whether there is a picture now."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        print("no picture: matplotlib is not installed")
        return False
    found = {
        name: [(label, each) for label, each in row["contestants"].items() if "ratio" in each]
        for name, row in results["rows"].items()
    }
    names = [name for name, ratios in found.items() if ratios][::-1]
    if not names:
        return False
    figure = Figure(figsize=(8, 1.2 + 0.2 * len(names)), layout="constrained")
    axes = figure.subplots()
    seen = set()
    for y, name in enumerate(names):
        for label, each in found[name]:
            colour = COLOURS.get(label.split("@")[0].split("+")[0], "#5d6d7e")
            axes.plot(each["ratio_quartiles"], [y, y], color=colour, lw=1.5)
            title = None if label in seen else called(label)
            axes.plot(each["ratio"], y, "o", color=colour, ms=4, label=title)
            seen.add(label)
    axes.axvline(1, color="0.5", lw=1, ls=":")
    axes.set_xscale("log")
    ticks = [0.25, 0.5, 1, 2, 4, 8, 16]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks], minor=False)
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.set(xlabel="time of the contestant / ours (right of 1: ours is faster)")
    axes.set_ylim(-1, len(names))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    figure.savefig(path, metadata={"Date": None})
    return True


def refresh(page: str, text: str) -> str:
    """A page with new text between its markers."""
    start, end = map(re.escape, MARKERS)
    if not re.search(f"{start}.*{end}", page, re.DOTALL):
        raise SystemExit(f"the page lacks its markers, {' and '.join(MARKERS)}")
    new = f"{MARKERS[0]}\n\n{text}\n\n{MARKERS[1]}"
    return re.sub(f"{start}.*{end}", lambda _: new, page, flags=re.DOTALL)


def main() -> None:
    """Write the tables into the page."""
    parser = argparse.ArgumentParser("python -m benchmarks.report", description=main.__doc__)
    parser.add_argument("results", nargs="+", type=Path, help="what benchmarks.run has written")
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    results, *later = (json.loads(file.read_text("utf-8")) for file in options.results)
    for more in later:
        results["rows"] |= more["rows"]
    text = markdown(results)
    if plot(results, options.page.parent / PICTURE):
        text += f"\n\n![Ratios of medians, by row and contestant]({PICTURE})"
    page = options.page.read_text("utf-8")
    options.page.write_text(refresh(page, text), "utf-8")


if __name__ == "__main__":
    main()
