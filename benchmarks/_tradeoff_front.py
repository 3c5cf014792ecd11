"""The front: equal to brute force, and its speed against moocore and optuna on the same points.

Ours is the public function on a frame, theirs the bare call on an array; all answers must be equal.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import _form
import _peers
import numpy as np
import polars as pl
from _form import Figure, Run

from finops_lab.tradeoffs.front import pareto
from finops_lab.tradeoffs.hypervolume import hypervolume
from finops_lab.tradeoffs.membership import membership

NAMES = list("abcdefg")
CASES = 1000
SECONDS = 0.5  # for a million rows in four objectives
OF_MOOCORE, OF_OPTUNA = 1.0, 5.0
Points = np.ndarray[Any, np.dtype[np.float64]]


def figures(quick: bool, rounds: int = 5) -> list[Figure]:
    """Return what must hold of fronts; quick: small, and without peers that need an environment."""
    found = [_exactness(100 if quick else CASES)]
    python = None if quick else _peers.environment("tradeoffs")
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        for name, points in _points(quick):
            found += _speed(name, points, python, rounds, Path(folder))
        found += _volume(quick, python, rounds, Path(folder))
    return [*found, _membership(quick)]


def _exactness(cases: int) -> Figure:
    """Count cases full of ties and duplicates in which the front is that of comparing all with all."""
    rng = np.random.default_rng(7)
    equal = 0
    for number in range(cases):
        d, n = int(rng.integers(1, 8)), int(rng.integers(1, 1200 if number % 20 == 0 else 150))
        points = rng.integers(0, int(rng.integers(1, 25)), (n, d)).astype(float)
        if number % 4 == 0 and d > 1:
            points[:, -1] = -points[:, :-1].sum(axis=1)
        if number % 4 == 1:
            points = points[rng.integers(0, n, n)]
        below, less = np.ones((n, n), dtype=bool), np.zeros((n, n), dtype=bool)
        for column in points.T:
            below &= column[:, None] <= column
            less |= column[:, None] < column
        found = pareto(pl.DataFrame(points, schema=NAMES[:d]), minimise=NAMES[:d]).to_numpy()
        equal += bool((found == ~(below & less).any(axis=0)).all())
    return Figure("tradeoffs/front/equal_to_brute_force", equal, "cases", "higher", cases, "brute force")


def _points(quick: bool) -> Iterator[tuple[str, Points]]:
    rng = np.random.default_rng(20)
    many, few = (20_000, 1_000) if quick else (1_000_000, 10_000)
    for d in (4, 3):
        yield f"iid_{d}", rng.random((many, d))
    # Variants as they are measured: figures that go together, rounded as tables round them.
    together = rng.normal(size=(many, 1))
    yield "config_4", np.round(np.exp(0.8 * together + 0.6 * rng.normal(size=(many, 4))), 2)
    for d in (3, 4):
        simplex = rng.random((few, d))
        yield f"all_on_front_{d}", simplex / simplex.sum(axis=1, keepdims=True)


def _speed(name: str, points: Points, python: Path | None, rounds: int, folder: Path) -> Iterator[Figure]:
    d = points.shape[1]
    frame = pl.DataFrame(points, schema=NAMES[:d])
    work = {"finops_lab": lambda: _own(lambda: pareto(frame, minimise=NAMES[:d]).to_numpy())}
    if python:
        np.save(folder / "points.npy", points)
        for peer in ("moocore", "optuna"):
            work[peer] = lambda peer=peer: _peer(python, peer, folder)
    runs = _form.interleaved(work, rounds)
    for peer, several in runs.items():
        if not np.array_equal(several[0].said["found"], runs["finops_lab"][0].said["found"]):
            raise SystemExit(f"{name}: the fronts of finops_lab and {peer} differ")
    cpu = {case: _form.middle(several).cpu for case, several in runs.items()}
    front = int(runs["finops_lab"][0].said["found"].sum())
    shown = ", ".join(f"{case} {seconds:.4f}" for case, seconds in cpu.items())
    print(f"front of {len(points):,} x {d}, {name}, {front:,} points: {shown} CPU s", flush=True)
    first = name == "iid_4"
    yield Figure(
        f"tradeoffs/front/{name}/cpu", cpu["finops_lab"], "CPU s", "lower", SECONDS if first else None
    )
    for peer, target in (("moocore", OF_MOOCORE), ("optuna", OF_OPTUNA)):
        if peer in cpu:
            # On an all-front set the promise is only that the time does not explode.
            held = target if name.startswith("iid") else None
            yield Figure(
                f"tradeoffs/front/{name}/speed_of_{peer}",
                cpu[peer] / cpu["finops_lab"],
                "times its speed",
                "higher",
                held,
                peer,
            )


def _volume(quick: bool, python: Path | None, rounds: int, folder: Path) -> Iterator[Figure]:
    rng = np.random.default_rng(21)
    for d, n in ((3, 500 if quick else 5_000), (4, 50 if quick else 300)):
        points = rng.random((n, d))
        points /= points.sum(axis=1, keepdims=True)
        names = NAMES[:d]
        frame, reference = pl.DataFrame(points, schema=names), dict.fromkeys(names, 1.0)
        work = {
            "finops_lab": lambda f=frame, m=names, r=reference: _own(
                lambda: hypervolume(f, minimise=m, reference=r).value
            )
        }
        if python:
            np.save(folder / "points.npy", points)
            work["moocore"] = lambda: _peer(python, "hypervolume", folder)
        runs = _form.interleaved(work, rounds)
        cpu = {case: _form.middle(several).cpu for case, several in runs.items()}
        shown = ", ".join(f"{case} {seconds:.4f}" for case, seconds in cpu.items())
        print(f"hypervolume of {n:,} x {d}: {shown} CPU s", flush=True)
        yield Figure(f"tradeoffs/hypervolume/{d}_objectives_{n}/cpu", cpu["finops_lab"], "CPU s", "lower")
        if python:
            ours, theirs = (float(runs[case][0].said["found"]) for case in ("finops_lab", "moocore"))
            if abs(ours - theirs) > 1e-9 * theirs:
                raise SystemExit(f"hypervolumes differ: {ours} and {theirs} (moocore)")


def _membership(quick: bool) -> Figure:
    """Time 2,000 draws of 81 variants, as many as one published table has."""
    rng = np.random.default_rng(22)
    quality = 0.6 + 0.2 * rng.random(81)
    frame = pl.DataFrame(
        {
            "variant": [f"v{i:02}" for i in range(81)],
            "quality": quality,
            "quality_metric": ["top1"] * 81,
            "quality_n": [50_000] * 81,
            "p95_ms": 5 + 50 * (quality - 0.6) * rng.lognormal(0, 0.5, 81),
        }
    )
    draws = 100 if quick else 2000
    run = _own(
        lambda: membership(frame, objectives=["quality", "p95_ms"], noise={"p95_ms": 0.03}, draws=draws)
    )
    return Figure(f"tradeoffs/membership/81_variants_{draws}_draws/cpu", run.cpu, "CPU s", "lower")


def _own(work: Callable[[], Any]) -> Run:
    start = time.process_time()
    found = work()
    return Run(time.process_time() - start, 0.0, 0.0, {"found": found})


def _peer(python: Path, case: str, folder: Path) -> Run:
    answer = folder / "answer.npz"
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [python, _peers.FOLDER / "run_fronts.py", case, folder / "points.npy", answer]
    subprocess.run(command, check=True, env={**os.environ, **threads})
    said = np.load(answer)
    return Run(float(said["seconds"]), 0.0, 0.0, {"found": said["found"]})
