"""Daily spend with anomalies put in: the series that detectors are measured on, and how.

A base is 240 days that hold nothing but what a bill does anyway: a weekday pattern, growth, noise that
depends on the day before and has heavy tails, fees on the first of the month, and lasting changes of
level that somebody meant. Sixty are drawn, six are windows of the real daily bill of mybinder.org.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
FOLDER = Path(__file__).resolve().parents[2] / "shared" / "data" / "forecast" / "cloud_spend"
FIRST = date(2025, 1, 6)  # a Monday; windows of the real bill keep their own dates' weekdays
DAYS = 240
WARM = 90  # days that are not judged: three months of history
STARTS = (120, 205)  # first days of what is put in, of the 240
BASES = 60
MONTH = 30.4375
QUIET = 3  # days without an alarm before one that counts
# Windows of the real bill per split: series and first day.
REAL = {
    "dev": (("total", 0), *((name, 191) for name in ("total", "binder-prod", "binder-staging")),
            ("compute-engine", 191), ("cloud-storage", 191)),
    "held-out": tuple((name, 431) for name in (
        "total", "binder-prod", "binder-staging", "compute-engine", "cloud-storage", "cloud-sql")),
}  # fmt: skip


@dataclass(frozen=True)
class Bases:
    """Clean series: a row each, with the day of the first column (bases of the real bill differ in it)."""

    values: Floats
    first: list[date]


@dataclass(frozen=True)
class Injected:
    """Series with one anomaly each: its kind, base, first day, and last day on which it can be found."""

    values: Floats
    kind: list[str]
    base: NDArray[np.int64]
    start: NDArray[np.int64]
    end: NDArray[np.int64]


def bases(split: str, seed: int) -> Bases:
    """Draw the clean series of a split."""
    rng = np.random.default_rng([seed, 0 if split == "dev" else 1])
    rows = [_synthetic(rng) for _ in range(BASES)]
    first = [FIRST] * BASES
    if FOLDER.exists():
        for name, at in REAL[split]:
            days, values = _real(name)
            rows.append(values[at : at + DAYS])
            first.append(days[at])
    return Bases(np.array(rows), first)


def _synthetic(rng: np.random.Generator) -> Floats:
    t = np.arange(DAYS)
    weekend = rng.uniform(0.4, 0.85) if rng.random() < 0.8 else rng.uniform(0.85, 1.0)
    weekday = np.exp(rng.normal(0, 0.03, 7)) * np.where(np.arange(7) >= 5, weekend, 1.0)
    growth = rng.uniform(-0.02, 0.10)
    sigma = np.exp(rng.uniform(np.log(0.015), np.log(0.20)))
    rho = rng.uniform(0, 0.6)
    shock = rng.standard_t(5, DAYS + 50) / np.sqrt(5 / 3)
    noise = np.zeros(DAYS + 50)
    for i in range(1, DAYS + 50):
        noise[i] = rho * noise[i - 1] + np.sqrt(1 - rho**2) * shock[i]
    level = np.log(100.0) + np.log1p(growth) / MONTH * t
    for _ in range(rng.poisson(0.8)):
        level = level + (t >= rng.integers(20, DAYS - 10)) * rng.choice([-1, 1]) * rng.uniform(0.08, 0.35)
    values = np.exp(level + sigma * noise[50:]) * weekday[t % 7]
    if rng.random() < 0.6:
        fee = 100.0 * np.exp(rng.uniform(np.log(0.1), np.log(1.5)))
        firsts = [(FIRST + timedelta(days=int(i))).day == 1 for i in t]
        values = values + fee * np.array(firsts)
    return values


def _real(name: str) -> tuple[list[date], Floats]:
    by = "project" if name in ("total", "binder-prod", "binder-staging") else "category"
    rows = pl.read_csv(FOLDER / f"mybinder_daily_by_{by}.csv", try_parse_dates=True)
    rows = rows if name == "total" else rows.filter(pl.col(by) == name)
    rows = rows.group_by("date").agg(pl.col("cost").sum()).sort("date")
    every = pl.DataFrame({"date": pl.date_range(date(2017, 12, 13), date(2019, 10, 15), eager=True)})
    rows = every.join(rows, on="date", how="left")
    return rows["date"].to_list(), rows["cost"].to_numpy()


def _spike(y: Floats, start: int, first: date) -> tuple[int, int]:
    y[start] *= 3
    return start, start


def _runaway(y: Floats, start: int, first: date) -> tuple[int, int]:
    y[start : start + 5] *= 1.4 + 0.6 * np.arange(5)
    return start, start + 4


def _level(y: Floats, start: int, first: date) -> tuple[int, int]:
    y[start:] *= 1.3
    return start, start + 6


def _drift(y: Floats, start: int, first: date) -> tuple[int, int]:
    y[start:] *= 1.01 ** np.minimum(np.arange(len(y) - start) + 1, 30)
    return start, start + 29


def _missing(y: Floats, start: int, first: date) -> tuple[int, int]:
    y[start] = 0.0
    return start, start


def _weekend(y: Floats, start: int, first: date) -> tuple[int, int]:
    start += (5 - (first + timedelta(days=start)).weekday()) % 7
    y[start : start + 2] = np.maximum(y[start : start + 2], np.nanmean(y[start - 5 : start]))
    return start, start + 1


KINDS: dict[str, Callable[[Floats, int, date], tuple[int, int]]] = {
    "spike x3": _spike,
    "runaway": _runaway,
    "+30 % level": _level,
    "drift 1 %/day": _drift,
    "missing day": _missing,
    "weekend left on": _weekend,
}


def weekend_share(values: Floats, first: date) -> float:
    """Return what a weekend day costs, as a share of a weekday: medians."""
    weekday = (first.weekday() + np.arange(len(values))) % 7
    return float(np.nanmedian(values[weekday >= 5]) / np.nanmedian(values[weekday < 5]))


def inject(clean: Bases, seed: int, each: int = 3) -> Injected:
    """Put every kind of anomaly into every base, `each` times at days of its own.

    A weekend can only be left on where it is clearly cheaper than the days before: by 10 % at least.
    """
    rng = np.random.default_rng([seed, 2])
    rows, kinds, base, starts, ends = [], [], [], [], []
    for i, (y, first) in enumerate(zip(clean.values, clean.first, strict=True)):
        for kind, put in KINDS.items():
            for start in rng.integers(*STARTS, size=each):
                if kind == "weekend left on" and weekend_share(y, first) > 0.9:
                    continue
                row = y.copy()
                begin, end = put(row, int(start), first)
                rows.append(row)
                kinds.append(kind)
                base.append(i)
                starts.append(begin)
                ends.append(end)
    return Injected(np.array(rows), kinds, np.array(base), np.array(starts), np.array(ends))


def together(bases: Sequence[Bases], put: Sequence[Injected]) -> tuple[Bases, Injected]:
    """Put what several seeds drew one after another."""
    at = np.cumsum([0, *(len(one.values) for one in bases)])
    return Bases(
        np.concatenate([one.values for one in bases]), [day for one in bases for day in one.first]
    ), Injected(
        np.concatenate([one.values for one in put]),
        [kind for one in put for kind in one.kind],
        np.concatenate([one.base + offset for one, offset in zip(put, at[:-1], strict=True)]),
        np.concatenate([one.start for one in put]),
        np.concatenate([one.end for one in put]),
    )


def onsets(alarm: Bools) -> Bools:
    """Return the alarm days with no alarm in the three days before: the first days of events."""
    running = np.zeros_like(alarm)
    for lag in range(1, QUIET + 1):
        running[:, lag:] |= alarm[:, :-lag]
    return alarm & ~running


def false_alarms(alarm: Bools) -> float:
    """Return the events per series and month on clean series, after the warm-up."""
    judged = onsets(alarm)[:, WARM:]
    return float(judged.sum() / judged.size * MONTH)


def recall(alarm: Bools, clean: Bools, put: Injected) -> dict[str, tuple[float, float]]:
    """Return per kind the share found, and the mean delay in days of those.

    Found is what begins an event on a day on which the base without the anomaly raises no alarm:
    with a window of weeks, a false alarm would be a find otherwise.
    """
    day = np.arange(alarm.shape[1])
    inside = (day >= put.start[:, None]) & (day <= put.end[:, None])
    new = onsets(alarm) & inside & ~clean[put.base]
    found = new.any(1)
    delay = new.argmax(1) - put.start
    out = {}
    for kind in KINDS:
        rows = np.array([k == kind for k in put.kind])
        hit = rows & found
        out[kind] = (float(found[rows].mean()), float(delay[hit].mean()) if hit.any() else np.nan)
    return out


def threshold(score: Floats, budget: float) -> float:
    """Return the least threshold whose alarms on clean series stay within a budget."""
    levels = np.unique(score[:, WARM:][np.isfinite(score[:, WARM:])])
    low, high = 0, len(levels) - 1
    while low < high:
        middle = (low + high) // 2
        if false_alarms(score > levels[middle]) <= budget:
            high = middle
        else:
            low = middle + 1
    return float(levels[low])
