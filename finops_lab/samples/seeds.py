"""Random numbers and rounding: one stream per part, so that parts do not disturb each other."""

from __future__ import annotations

import zlib
from datetime import date

import numpy as np
import numpy.typing as npt

__all__ = ["Days", "Floats", "Ints", "days", "index_of", "rounded", "stream"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Days = npt.NDArray[np.datetime64]


def stream(seed: int, part: str) -> np.random.Generator:
    """Return the random stream of a part of the sample.

    Examples
    --------
    >>> int(stream(1, "bills").integers(1000)) == int(stream(1, "bills").integers(1000))
    True
    """
    entropy = np.random.SeedSequence([seed, zlib.crc32(part.encode())])
    return np.random.Generator(np.random.PCG64(entropy))


def days(first: date, last: date) -> Days:
    """Return every day from `first` to `last`, both included.

    Examples
    --------
    >>> len(days(date(2026, 2, 1), date(2026, 3, 1)))
    29
    """
    return np.arange(np.datetime64(first), np.datetime64(last) + np.timedelta64(1, "D"))


def index_of(day: date, first: date) -> int:
    """Return the position of a day in a series that starts on `first`."""
    return (day - first).days


def rounded(values: Floats, step: int = 1) -> Ints:
    """Round to multiples of `step`, never below zero.

    Coarse steps also keep the bytes the same on machines whose exp and log differ in the last bit.

    Examples
    --------
    >>> rounded(np.array([1249.0, -3.0]), 500).tolist()
    [1000, 0]
    """
    return (np.maximum(np.rint(values / step), 0) * step).astype(np.int64)
