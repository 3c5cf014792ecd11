"""What every benchmark shares: fresh processes measured in CPU seconds, medians, one form of result.

CPU seconds (user and system) are what targets speak of, since machines are shared; wall time is
printed beside them. Rounds are interleaved and every second round runs in reverse order, so that
a slow minute hits all peers alike.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import runpy
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Literal

_HERE = "--here"


@dataclass(frozen=True)
class Run:
    """One measured run: CPU and wall seconds, peak memory in MB, and what the run itself said."""

    cpu: float
    wall: float
    peak_mb: float
    said: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Figure:
    """One result. Without a target it informs only, and `holds` is null."""

    name: str
    value: float
    unit: str
    better: Literal["lower", "higher"]
    target: float | None = None
    peer: str | None = None

    @property
    def holds(self) -> bool | None:
        if self.target is None:
            return None
        return self.value <= self.target if self.better == "lower" else self.value >= self.target

    def record(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "value": float(f"{self.value:.4g}"),
            "unit": self.unit,
            "target": self.target,
            "better": self.better,
            "holds": self.holds,
            "peer": self.peer,
        }


def arguments(doc: str | None, *, rows: int | None = None, rounds: int) -> argparse.ArgumentParser:
    """Return the parser with the options every benchmark has."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--rounds", type=int, default=rounds, help=f"interleaved rounds (default {rounds})")
    parser.add_argument(
        _HERE,
        action="store_true",
        help="run all cases in this process, to see that they agree: no fair figures",
    )
    if rows is not None:
        parser.add_argument("--rows", type=int, default=rows, help=f"rows of the bill (default {rows:,})")
    return parser


def process(command: Sequence[str]) -> Run:
    """Run a command in a fresh process and measure all of it, start to end."""
    with tempfile.TemporaryFile() as output:
        start = time.perf_counter()
        child = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read().decode(errors="replace")
    if child.returncode:
        raise SystemExit(f"{' '.join(command)} failed with code {child.returncode}:\n{text}")
    return Run(usage.ru_utime + usage.ru_stime, wall, _megabytes(usage.ru_maxrss))


def case(script: str, *options: str) -> Run:
    """Run one case of a script in a fresh process; it measures itself with `timed`.

    Where the script was called with ``--here``, the case runs in this process.
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        answer = Path(folder) / "answer.json"
        command = [script, *options, "--answer", str(answer)]
        if _HERE in sys.argv:
            _here(command)
        else:
            process([sys.executable, *command])
        return Run(**json.loads(answer.read_text(encoding="utf-8")))


def _here(command: list[str]) -> None:
    before, sys.argv = sys.argv, command
    try:
        runpy.run_path(command[0], run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise
    finally:
        sys.argv = before


def timed(work: Callable[[], Mapping[str, Any]], answer: Path) -> None:
    """Measure `work` alone, imports and preparation before it left out, and write the answer."""
    before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    said = work()
    after, wall = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter() - start
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    found = {"cpu": cpu, "wall": wall, "peak_mb": _high_water(), "said": dict(said)}
    answer.write_text(json.dumps(found), encoding="utf-8")


def interleaved(cases: Mapping[str, Callable[[], Run]], rounds: int) -> dict[str, list[Run]]:
    """Run every case once a round, in turn; every second round backwards."""
    runs: dict[str, list[Run]] = {name: [] for name in cases}
    for number in range(rounds):
        names = list(cases) if number % 2 == 0 else list(reversed(cases))
        for name in names:
            runs[name].append(cases[name]())
    return runs


def middle(runs: Sequence[Run]) -> Run:
    """Return the medians of some runs, with what the first of them said."""
    return Run(
        median(run.cpu for run in runs),
        median(run.wall for run in runs),
        median(run.peak_mb for run in runs),
        runs[0].said,
    )


def print_runs(title: str, runs: Mapping[str, Sequence[Run]], rows: int | None = None) -> None:
    """Print what was measured: medians per case."""
    width = max(len(name) for name in runs)
    rates = f"{'rows/s':>12}" if rows else ""
    print(f"\n{title}\n{'':<{width}} {'CPU s':>9} {'wall s':>9} {'peak MB':>9}{rates}")
    for name, several in runs.items():
        run = middle(several)
        rate = f"{rows / run.wall:>12,.0f}" if rows else ""
        print(f"{name:<{width}} {run.cpu:>9.3f} {run.wall:>9.3f} {run.peak_mb:>9,.0f}{rate}", flush=True)


def report(figures: Sequence[Figure], path: Path | None) -> None:
    """Print the figures beside their targets and write them where asked."""
    width = max(len(figure.name) for figure in figures)
    print(f"\n{'figure':<{width}} {'value':>10} {'target':>10}  {'holds':<6} unit")
    for figure in figures:
        sign = "<=" if figure.better == "lower" else ">="
        target = "-" if figure.target is None else f"{sign} {figure.target:g}"
        holds = {True: "yes", False: "NO", None: "-"}[figure.holds]
        value = f"{figure.value:,.0f}" if figure.value >= 1000 else f"{figure.value:.3g}"
        against = f" (against {figure.peer})" if figure.peer else ""
        print(f"{figure.name:<{width}} {value:>10} {target:>10}  {holds:<6} {figure.unit}{against}")
    if path:
        records = [figure.record() for figure in figures]
        path.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")


def _high_water() -> float:
    """Peak memory of this process; unlike ru_maxrss it does not count the parent before exec."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return _megabytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def _megabytes(maxrss: int) -> float:
    return maxrss / (2**20 if sys.platform == "darwin" else 2**10)
