"""The public series that forecasts are learned from and measured on, and the core run on them.

The series carry no dates: a value is taken as the mean daily rate of its month.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from finops_lab.forecasting.core import centres

Floats = NDArray[np.float64]
FOLDER = Path(__file__).resolve().parents[2] / "shared" / "data" / "forecast"
SETS = {"m4": "m4_monthly", "m3": "m3_monthly"}
YEAR = 12


@dataclass(frozen=True)
class Sample:
    """Histories of one length, what came after them, and the scale of MASE: a row per series."""

    history: Floats
    truth: Floats
    scale: Floats


def path(name: str) -> Path:
    """Return the file of a set."""
    return FOLDER / SETS[name] / "dev.parquet"


def sample(name: str, length: int, months: int, *, take: int = 1, back: int = 0) -> Sample:
    """Cut histories that end `back` months before the official test begins.

    The scale is the mean absolute year-on-year change of all the history there is, so that it is the
    same for every length.
    """
    rows = []
    for _, past, test in pl.read_parquet(path(name))[::take].iter_rows():
        end = len(past) - back
        if end >= length:
            whole = np.array([*past, *test])
            scale = float(np.abs(whole[YEAR : len(past)] - whole[: len(past) - YEAR]).mean())
            rows.append((whole[end - length : end], whole[end : end + months], scale))
    return Sample(*(np.array(column) for column in zip(*rows, strict=True)))


def run(history: Floats, months: int) -> tuple[Floats, Floats]:
    """Return point (series, months) and half widths (series, bounds, months) of the core."""
    size = np.abs(history).mean(1)
    found = centres(list(np.round(history / size[:, None], 10)), months)
    point = np.array([centre.point for centre in found]) * size[:, None]
    halves = np.array([centre.halves for centre in found]) * size[:, None, None]
    return point, halves


def there() -> Iterator[str]:
    """Yield the sets that are there."""
    for name in SETS:
        if path(name).exists():
            yield name
        else:
            print(f"skipped: {SETS[name]} is not there")
