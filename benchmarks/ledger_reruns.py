"""The ledger of a lab worked out again: with nothing changed, and with one month changed.

A lab of twelve months with rules and three tiers of shared costs, and one of six months of the same
size. One process opens a lab, works its ledger out, asks for it again, replaces one month's export
by another of the same size and by one of twice the size, and works the ledger out after each; the
ingest in between is not measured. What is kept must equal what a fresh run over everything gives.

A rerun brings the ledger in the lake up to date, for queries to read what they ask for. To have all
its entries in memory is measured apart: that is reading history, and grows with it by nature.
"""

from __future__ import annotations

import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import _bill
import _form
import allocation as rules
import shared_costs
from _form import Figure, Run

# Targets. A month changed may cost 1.2 times its share of a full run (aim 1.0); history must not show.
UNCHANGED_MS = 100
OF_SHARE = 1.2
MONTHS = 12
ASKED = 9
CHANGED = 2  # March


def make(folder: Path, rows: int, months: int) -> None:
    """Write bills: a lab's exports, and what replaces one month of them."""
    bill = _bill.write(folder / "bill", rows * months // MONTHS, files=months, text=False)
    # Another draw of the same month; the months before it are made for their dates only.
    for name, factor in (("again", 1), ("twice", 2)):
        size = factor * rows * (CHANGED + 1) // MONTHS
        more = _bill.write(folder / name, size, seed=13, files=CHANGED + 1, text=False)
        shutil.copy(more.parquet[CHANGED], folder / f"{name}.parquet")
        shutil.rmtree(folder / name)
    shared_costs.fee(folder / "bill" / "parquet")
    (folder / "lab" / "exports").mkdir(parents=True)
    for file in sorted((folder / "bill" / "parquet").glob("*")):
        file.rename(folder / "lab" / "exports" / file.name)
    (folder / "lab" / "finops.toml").write_text(rules.TOML + shared_costs.TOML, encoding="utf-8")
    (folder / "changed").write_text(bill.parquet[CHANGED].name, encoding="utf-8")


def life(folder: Path, answer: Path) -> None:
    """Live through the changes in one process; every step is measured by itself."""
    from finops_lab import bookkeeping
    from finops_lab.lab import Lab, open_lab

    lab, spent = open_lab(folder / "lab", progress=False), dict[str, Any]()
    changed = folder / "lab" / "exports" / (folder / "changed").read_text(encoding="utf-8")

    def step(name: str, work: Callable[[Lab], object] = bookkeeping.scan) -> None:
        wall, cpu = time.perf_counter(), _cpu()
        work(lab)
        spent[name] = {"cpu": _cpu() - cpu, "wall": time.perf_counter() - wall}

    def in_memory(lab: Lab) -> None:
        spent["entries"] = bookkeeping.ledger(lab).entries.height

    step("full")
    for number in range(ASKED):
        step(f"unchanged {number}")
    for name in ("again", "twice"):
        shutil.copy(folder / f"{name}.parquet", changed)
        lab = open_lab(folder / "lab", progress=False)
        step(name)
    # Last, since giving so much memory back is work that would be counted to what comes after it.
    for number in range(ASKED):
        step(f"in memory {number}", in_memory)
    _form.timed(lambda: spent, answer)
    bookkeeping.verify(lab)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def steps(runs: Mapping[str, list[Run]], name: str) -> list[Run]:
    """Return one step of every round as a run of its own."""
    return [
        Run(run.said[name]["cpu"], run.said[name]["wall"], run.peak_mb, run.said[name])
        for run in runs[next(iter(runs))]
    ]


def main() -> int:
    """Make two labs, live through the changes, report."""
    parser = _form.arguments(__doc__, rows=2_000_000, rounds=2)
    parser.add_argument("--case", help="live through the changes in this folder (used by the script itself)")
    parser.add_argument("--answer", type=Path)
    args = parser.parse_args()
    if args.case:
        life(Path(args.case), args.answer)
        return 0
    histories = {"12 months": MONTHS, "6 months": MONTHS // 2}
    with tempfile.TemporaryDirectory(prefix="bench-ledger-reruns-") as name:
        for history, months in histories.items():
            make(Path(name) / history, args.rows, months)

        def run(history: str) -> Run:
            copy = Path(name) / "copy"
            shutil.copytree(Path(name) / history, copy)
            done = _form.case(__file__, "--case", str(copy))
            shutil.rmtree(copy)
            return done

        runs = _form.interleaved({h: lambda h=h: run(h) for h in histories}, args.rounds)
    shown: dict[str, list[Run]] = {}
    for history in histories:
        one = {history: runs[history]}
        shown |= {f"{history}, {n}": steps(one, n) for n in ("full", "again", "twice")}
        for several in ("unchanged", "in memory"):
            shown[f"{history}, {several}"] = [r for n in range(ASKED) for r in steps(one, f"{several} {n}")]
    entries = runs["12 months"][0].said["entries"]
    _form.print_runs(f"ledger of {args.rows:,} bill rows in {MONTHS} months, {entries:,} entries", shown)
    cpu = {name: _form.middle(several).cpu for name, several in shown.items()}
    full, again, twice = (cpu[f"12 months, {n}"] for n in ("full", "again", "twice"))
    waited = median(run.wall for run in shown["12 months, unchanged"])
    ratio = "ratio of CPU"
    _form.report(
        [
            Figure("ledger_reruns/unchanged", 1000 * waited, "ms", "lower", UNCHANGED_MS),
            Figure("ledger_reruns/unchanged_cpu", 1000 * cpu["12 months, unchanged"], "CPU ms", "lower"),
            Figure("ledger_reruns/in_memory_cpu", 1000 * cpu["12 months, in memory"], "CPU ms", "lower"),
            Figure(
                "ledger_reruns/month_of_full", again / full, ratio, "lower", OF_SHARE / MONTHS, "full run"
            ),
            Figure(
                "ledger_reruns/month_of_shorter_history",
                again / cpu["6 months, again"],
                ratio,
                "lower",
                OF_SHARE,
                "6 months",
            ),
            Figure(
                "ledger_reruns/twice_the_rows", twice / again, ratio, "lower", 2 * OF_SHARE, "half the rows"
            ),
        ],
        args.json,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
