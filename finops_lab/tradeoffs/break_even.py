"""After how many inferences a cheaper variant has paid for the move to it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

import polars as pl

from finops_lab.errors import InputError
from finops_lab.money import divided, exact_sum
from finops_lab.tradeoffs.ratios import total_ratio

__all__ = ["BreakEven", "break_even", "exact", "paired_ratio", "storable"]

_THOUSAND = 1000
_LARGEST = 1e20  # of money with 18 decimals


@dataclass(frozen=True)
class BreakEven:
    """When a move pays back.

    Attributes
    ----------
    fixed_amount : Decimal
        Migration and evaluation together.
    saving_per_inference : Decimal or None
        Old less new unit cost; None when one is unknown, below zero when the new one costs more.
    inferences : int or None
        The volume after which the move has paid back, rounded up; None: never, or unknown.
    inferences_low, inferences_high : int or None
        Its interval from the measured cost ratio. No high end: it may never pay back.
    coverage : float or None
        Of the interval; None when there is no interval.
    months, months_low, months_high : float or None
        The same in months of the given traffic.
    note : str or None
        Why something is unknown.
    """

    fixed_amount: Decimal
    saving_per_inference: Decimal | None
    inferences: int | None
    inferences_low: int | None
    inferences_high: int | None
    coverage: float | None
    months: float | None
    months_low: float | None
    months_high: float | None
    note: str | None


def break_even(
    old_per_1000: float | None,
    new_per_1000: float | None,
    *,
    migration_amount: Decimal | int | None = None,
    evaluation_amount: Decimal | int | None = None,
    monthly_inferences: float | None = None,
    ratio: tuple[float, float] | None = None,
    coverage: float = 0.90,
) -> BreakEven:
    """Return the volume after which the saving has paid for migration and evaluation.

    ``V* = (migration + evaluation) / (old - new)``, both per inference.

    Parameters
    ----------
    old_per_1000, new_per_1000 : float, optional
        Money per 1,000 inferences before and after, in one currency.
    migration_amount, evaluation_amount : Decimal or int, optional
        Money spent once, in that currency; left out counts as none.
    monthly_inferences : float, optional
        Traffic of a month, to say the volume in months.
    ratio : tuple of float, optional
        Interval of new over old cost, such as `paired_ratio` returns.
    coverage : float
        Of the interval, to be kept with it.

    Returns
    -------
    BreakEven
        The point is exact arithmetic on decimals. A ratio whose upper end is 1 or more leaves the
        volume without an upper end.

    Raises
    ------
    InputError
        A negative amount or traffic.

    Examples
    --------
    >>> found = break_even(4.0, 1.5, migration_amount=Decimal(1000), monthly_inferences=200_000)
    >>> found.inferences, found.months
    (400000, 2.0)
    """
    amounts = [Decimal(a) for a in (migration_amount, evaluation_amount) if a is not None]
    if any(not a.is_finite() or a < 0 for a in amounts):
        raise InputError("migration and evaluation amounts must be 0 or more")
    if monthly_inferences is not None and not 0 <= monthly_inferences < math.inf:
        raise InputError(f"monthly_inferences must be a number from 0 up, not {monthly_inferences}")
    fixed = exact_sum(amounts)
    old, new = exact(old_per_1000), exact(new_per_1000)
    # Fractions: what is tiny must not round to nothing before it is divided by.
    saving = None if old is None or new is None else (Fraction(old) - Fraction(new)) / _THOUSAND
    volume = _volume(fixed, saving)
    low = high = None
    if ratio is not None and old is not None:
        # A ratio without an upper end saves nothing at worst.
        ends = [Fraction(end) if math.isfinite(end) else Fraction(1) for end in ratio]
        low, high = (_volume(fixed, Fraction(old) / _THOUSAND * (1 - end)) for end in ends)
    note = None
    if saving is None:
        note = "a unit cost is unknown"
    elif saving <= 0:
        note = "it saves nothing, so it never pays back"
    elif ratio is None:
        note = "no interval: no paired timings"
    elif high is None:
        note = "it may never pay back: the cost ratio may be 1 or more"
    return BreakEven(
        fixed_amount=fixed,
        saving_per_inference=None if saving is None else _money(saving),
        inferences=volume,
        inferences_low=low,
        inferences_high=high,
        coverage=coverage if ratio is not None else None,
        months=_months(volume, monthly_inferences),
        months_low=_months(low, monthly_inferences),
        months_high=_months(high, monthly_inferences),
        note=note,
    )


def paired_ratio(
    old: pl.DataFrame, new: pl.DataFrame, *, clock: str = "cpu_ms", coverage: float = 0.90
) -> tuple[float, float] | None:
    """Return an interval of the cost ratio of two variants from rounds that ran both.

    Parameters
    ----------
    old, new : polars.DataFrame
        Rows of `measurement.TIMINGS`, each of one variant and workload.
    clock : str
        The column that costs money: ``cpu_ms``, ``gpu_ms`` or ``wall_ms``.
    coverage : float
        How often the interval should hold the truth.

    Returns
    -------
    tuple of (float, float) or None
        Of new over old time per inference, as `ratios.total_ratio` finds it; the high end may be
        infinite. None with fewer than two pairs, or without time spent.

    Notes
    -----
    The ratio is one of totals, as a bill is, not of medians. Rounds count in pairs, so what slowed
    both down cancels out. It tells the noise of measuring, not whether the bill follows the clock.

    Examples
    --------
    >>> old = pl.DataFrame({"round": [1, 2, 3], "items": [1, 1, 1], "cpu_ms": [4.0, 8.0, 4.0]})
    >>> paired_ratio(old, old.with_columns(pl.col("cpu_ms") / 2))
    (0.5, 0.5)
    """
    each = [pl.col(clock) / pl.col("items"), pl.col(f"{clock}_new") / pl.col("items_new")]
    pairs = (
        old.join(new, on="round", suffix="_new")
        .sort("round")
        .select(name.alias(str(i)) for i, name in enumerate(each))
        .filter(pl.all_horizontal(pl.all().is_finite()))
    )
    if pairs.height < 2 or not pairs["0"].sum() > 0:
        return None
    found = total_ratio(pairs["1"].to_numpy(), pairs["0"].to_numpy(), coverage=coverage)
    return found.low, found.high


def exact(value: float | None) -> Decimal | None:
    """Return a unit cost as the decimal it is written as; None where money cannot hold it.

    Examples
    --------
    >>> exact(0.1), exact(float("nan"))
    (Decimal('0.1'), None)
    """
    if value is None or not math.isfinite(value) or abs(value) >= _LARGEST:
        return None
    return Decimal(repr(float(value)))


def storable(amount: Decimal | None) -> Decimal | None:
    """Return an amount, None where money cannot hold it.

    Examples
    --------
    >>> storable(Decimal(3)), storable(Decimal("1e30"))
    (Decimal('3'), None)
    """
    return amount if amount is not None and abs(amount) < _LARGEST else None


def _volume(fixed: Decimal, saving: Fraction | None) -> int | None:
    return math.ceil(Fraction(fixed) / saving) if saving is not None and saving > 0 else None


def _money(value: Fraction) -> Decimal | None:
    return divided(Decimal(value.numerator), Decimal(value.denominator))


def _months(volume: int | None, monthly: float | None) -> float | None:
    return volume / monthly if volume is not None and monthly else None
