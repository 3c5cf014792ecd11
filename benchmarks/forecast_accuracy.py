"""Error, coverage and speed of the forecast against its peers, on M4 and M3 monthly dev series.

MASE ratios and seconds against AutoETS and AutoARIMA (statsforecast, in an environment of its own),
Prophet (LBFGS) and the least-squares trend; coverage of the bounds; how often 12-month budgets at the
80 and 90 % quantile are overrun; and what normalising, cleaning, the open month and the hierarchy bring.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import _forecast_data as data
import _forecast_peers as peers
import _form
import _peers
import numpy as np
import polars as pl
from _forecast_data import Floats, Sample
from _form import Figure

from finops_lab.forecasting.chances import MONTHS_TOGETHER, over_months, quantile_at
from finops_lab.forecasting.widths import HALVES

# What must hold of the ratios of MASE, by peer, set and months of history. On M4 at 24 months the best
# combination of published models has .85 on these series.
RATIOS = {
    "AutoETS": {"m4": {24: 0.80, 36: 0.93, 60: 0.94}, "m3": {24: 0.91, 36: 1.00, 60: 0.98}},
    "trend": {"m4": {24: 0.76, 36: 0.74, 60: 0.61}, "m3": {}},
    "Prophet": {"m4": {24: 0.78, 36: 0.83}, "m3": {}},
}
LENGTHS = (24, 36, 60)
AHEAD = {"m4": 12, "m3": 18}
COVERAGE = {"50": (0.46, 0.54), "80": (0.77, 0.83), "95": (0.935, 0.96)}
OVERRUN = {0.8: (0.17, 0.24), 0.9: (0.08, 0.13)}
SECONDS = 0.25  # of AutoARIMA and of Prophet
SLOW = 30  # series that the slow peers are timed on
OTHERS = ("_forecast_prepare", "_forecast_panel")


def mase(point: Floats, sample: Sample) -> float:
    """Return the mean absolute error over the scale of each series."""
    return float((np.abs(point - sample.truth) / sample.scale[:, None]).mean())


def errors(name: str, length: int, take: int, python: Path | None) -> Iterator[Figure]:
    """Yield the ratios of MASE to the peers, same series and same run."""
    months = AHEAD[name]
    sample = data.sample(name, length, months, take=take)
    point, halves = data.run(sample.history, months)
    own = mase(point, sample)
    found = {"trend": mase(peers.trend(sample.history, months)[0], sample)}
    if python:
        found["AutoETS"] = mase(peers.statsforecast(python, "AutoETS", sample.history, months)[0], sample)
    if length in RATIOS["Prophet"][name]:
        found["Prophet"] = mase(peers.prophet(sample.history, months)[0], sample)
    print(f"{name} {length:>3} months, {len(point)} series: ours {own:.4f}", found, flush=True)
    for peer, value in found.items():
        target = RATIOS[peer][name].get(length)
        yield Figure(
            f"forecast_accuracy/{name}/{length}m/mase_to_{peer}", own / value, "ratio", "lower", target, peer
        )
    yield from _coverage(f"forecast_accuracy/{name}/{length}m", sample, point[:, :12], halves[:, :, :12])


def _coverage(name: str, sample: Sample, point: Floats, halves: Floats) -> Iterator[Figure]:
    truth = sample.truth[:, :12]
    width = {bound: halves[:, i] for i, bound in enumerate(HALVES)}
    for p, (low, high) in COVERAGE.items():
        share = ((truth >= point - width[f"lo_{p}"]) & (truth <= point + width[f"hi_{p}"])).mean()
        yield _within(f"{name}/coverage_{p}", float(share), low, high)
    frame = pl.DataFrame(
        {
            "unique_id": np.repeat([f"{i:05}" for i in range(len(point))], 12),
            "yhat": point.ravel(),
            **{n: (point + w * (-1 if n.startswith("lo") else 1)).ravel() for n, w in width.items()},
        }
    )
    year = over_months(frame, together=MONTHS_TOGETHER)
    for p, (low, high) in OVERRUN.items():
        budget = quantile_at(year, p)["amount"].to_numpy()
        yield _within(
            f"{name}/overrun_p{p:.0%}".rstrip("%"), float((truth.sum(1) > budget).mean()), low, high
        )


def _within(name: str, value: float, low: float, high: float) -> Figure:
    """A share that must lie in a range, as its distance from the middle of the range."""
    print(f"  {name}: {value:.3f} wanted {low:g} to {high:g}", flush=True)
    middle = (low + high) / 2
    # Rounded as the range is written, so that a value on its edge counts as inside.
    distance = round(abs(value - middle), 6)
    return Figure(
        name, distance, f"distance of the share from {middle:.4g}", "lower", round(high - middle, 6)
    )


def speed(python: Path | None) -> Iterator[Figure]:
    """Yield seconds per series as ratios, the slowest single fit, and a panel of 500 series."""
    sample = data.sample("m4", 36, 12)
    _, own = peers.ours(sample.history, 12)
    slow = sample.history[:: len(sample.history) // SLOW]
    seconds = {"Prophet": peers.prophet(slow, 12)[1]}
    if python:
        seconds["AutoARIMA"] = peers.statsforecast(python, "AutoARIMA", slow, 12)[1]
        seconds["AutoETS"] = peers.statsforecast(python, "AutoETS", slow, 12)[1]
    print(f"CPU seconds per series at 36 months: ours {own:.5f}", seconds, flush=True)
    for peer, value in seconds.items():
        yield Figure(
            f"forecast_accuracy/speed/36m_to_{peer}",
            own / value,
            "CPU ratio",
            "lower",
            None if peer == "AutoETS" else SECONDS,
            peer,
        )
    history = data.sample("m4", 60, 12).history[:20]
    # A horizon of its own, so that the first fit also solves what its length needs.
    times = [peers.ours(row[None], 11)[1] for row in history]
    yield Figure("forecast_accuracy/speed/slowest_fit_60m", max(times), "CPU s", "lower", 1.0)
    rows = np.tile(sample.history, (2, 1))[:500]
    start = time.perf_counter()
    data.run(rows, 12)
    yield Figure("forecast_accuracy/speed/panel_500x36", time.perf_counter() - start, "s", "lower", 20.0)


def others(take: int) -> Iterator[Figure]:
    """Yield the figures of the files beside this one that measure what lies above the core."""
    for name in OTHERS:
        if (Path(__file__).parent / f"{name}.py").exists():
            yield from importlib.import_module(name).figures(take)


def main() -> int:
    """Run, print, write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument(
        "--take", type=int, default=1, help="use each n-th series; few are noisy (default: all)"
    )
    args = parser.parse_args()
    names, python = list(data.there()), _peers.environment("statsforecast")
    figures = [f for name in names for length in LENGTHS for f in errors(name, length, args.take, python)]
    figures += speed(python) if "m4" in names else ()
    figures += others(args.take)
    if figures:
        _form.report(figures, args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
