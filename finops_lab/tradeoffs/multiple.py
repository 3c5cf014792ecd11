"""Several variants tested at once: the more are tried, the more one of them passes by luck."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from finops_lab.errors import InputError

__all__ = ["Adjusted", "holm"]


class Adjusted(NamedTuple):
    """A p-value adjusted for the tests beside it.

    Parameters
    ----------
    p_value : float
        Adjusted p-value: compare it with ``1 - level`` as if it stood alone.
    tests : int
        By how many tests the p-value was multiplied: those that were not more certain.
    """

    p_value: float
    tests: int


def holm(p_values: Sequence[float | None]) -> list[Adjusted | None]:
    """Adjust p-values so that one false proof among all of them stays as rare as in a single test.

    Parameters
    ----------
    p_values : sequence of float or None
        One for each test; None was not tested and counts for nothing.

    Returns
    -------
    list of Adjusted or None
        In the order given. Equal p-values are taken in the order given.

    Raises
    ------
    InputError
        A p-value outside 0 to 1.

    Notes
    -----
    S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
    Statistics 6, 1979: the smallest p-value times all tests, the next times one less, never falling. It holds
    whatever the tests have in common.

    Examples
    --------
    >>> [one and (round(one.p_value, 6), one.tests) for one in holm([0.01, 0.04, None, 0.03])]
    [(0.03, 3), (0.06, 1), None, (0.06, 2)]
    """
    order = sorted((p, at) for at, p in enumerate(p_values) if p is not None)
    found: list[Adjusted | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, at) in enumerate(order):
        if not 0 <= p <= 1:
            raise InputError(f"a p-value lies between 0 and 1, not {p}")
        largest = max(largest, min(1.0, p * (len(order) - rank)))
        found[at] = Adjusted(largest, len(order) - rank)
    return found
