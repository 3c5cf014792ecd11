"""Money per token by load: capacity that stands still costs as much, so each token costs more."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import polars as pl

from finops_lab.errors import InputError
from finops_lab.money import MONEY, divided, exact_sum, product

__all__ = ["TOKENS", "LoadCurve", "daily_load", "load_curve"]

# Exclusive buckets: together all tokens that went in and out.
TOKENS = ("input_uncached_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens")
_MTOK = 1_000_000
_REFERENCE = 0.95
_LEAST_PERIODS = 5
# So many periods of a weekday (and hour) make a mean of them worth more than each.
_LEAST_OF_A_KIND = 4
# Loads whose standard deviation is below this share of their mean do not show what is fixed.
_LEAST_SPREAD = 0.05
_DIGITS = 12
_LINE = 25

_Schema = dict[str, pl.DataType | type[pl.DataType]]
_RATES: _Schema = {"tokens_per_hour": MONEY, "money_per_hour": MONEY, "money_per_mtok": MONEY}
_FITS: _Schema = {
    "key": pl.String,
    "periods": pl.Int64,
    "basis": pl.String,
    "fixed_per_hour": MONEY,
    "variable_per_mtok": MONEY,
    "fixed_share": pl.Float64,
    "reference_tokens_per_hour": MONEY,
    "reference_per_mtok": MONEY,
    "penalty": MONEY,
    "extra_money": MONEY,
    "reason": pl.String,
}
_LINES: _Schema = {"key": pl.String, "tokens_per_hour": pl.Float64, "money_per_mtok": pl.Float64}


@dataclass(frozen=True)
class LoadCurve:
    """What tokens cost at the load that there was.

    Attributes
    ----------
    points : polars.DataFrame
        One row per ``key`` and ``period``: ``hours``, ``tokens``, ``money``, ``tokens_per_hour``,
        ``money_per_hour``, ``money_per_mtok`` (per million tokens), ``penalty`` (money per token
        over money per token at the reference load), all Decimal but ``hours``; ``reason`` where
        they are null.
    fits : polars.DataFrame
        One row per ``key``: ``periods``; ``basis`` (what the line goes through: ``periods``, or means
        of ``weekdays`` or ``hours of the week``); ``fixed_per_hour`` and ``variable_per_mtok`` of the
        line money per hour = fixed + variable x tokens per hour; ``fixed_share`` of the money at the
        mean load; ``reference_tokens_per_hour``, ``reference_per_mtok``; ``penalty`` of all periods
        together; ``extra_money``, what was paid above the rate at the reference load; ``reason``
        where they are null. Fitted amounts are estimates, exact to 12 digits.
    lines : polars.DataFrame
        The fitted line for charts: ``key``, ``tokens_per_hour``, ``money_per_mtok`` (Float64).
    """

    points: pl.DataFrame
    fits: pl.DataFrame
    lines: pl.DataFrame


def daily_load(
    entries: pl.DataFrame | pl.LazyFrame,
    days: pl.DataFrame | pl.LazyFrame,
    *,
    key: str = "model",
    metric: str = "EffectiveCost",
) -> pl.DataFrame:
    """Put the money and the tokens of each day side by side.

    Parameters
    ----------
    entries : polars.DataFrame or polars.LazyFrame
        The `ledger` contract, such as its entries of inference; in one currency. Only usage counts:
        credits, fees and corrections are not of the day that they stand on.
    days : polars.DataFrame or polars.LazyFrame
        `finops_lab.unit_economics.schemas.REQUEST_DAYS`.
    key : str
        ``pool_id`` or a dimension such as ``model``: what tells capacities apart.
    metric : str
        The amount.

    Returns
    -------
    polars.DataFrame
        ``key``, ``period`` (Date), ``hours`` (24), ``money``, ``tokens`` (Decimal; null where the
        day has none): every day of which there are calls or, between the first and the last such
        day of the key, money. Sorted. What names no key is left out.
    """
    column = "x_PoolId" if key == "pool_id" else f"x_{key}"
    # A correction is booked on one day and of many: it says nothing of that day's load.
    used_then = (pl.col("ChargeCategory") == "Usage") & pl.col("ChargeClass").is_null()
    money = (
        entries.lazy()
        .filter(pl.col(column).is_not_null(), used_then)
        .group_by(pl.col(column).alias("key"), pl.col("x_ChargeDate").alias("period"))
        .agg(pl.col(metric).sum().alias("money"))
    )
    known = pl.any_horizontal(pl.col(TOKENS).is_not_null())
    tokens = pl.when(known).then(pl.sum_horizontal(pl.col(TOKENS).fill_null(0))).cast(MONEY)
    used = (
        days.lazy()
        .filter(pl.col(key).is_not_null())
        .group_by(pl.col(key).alias("key"), pl.col("day").alias("period"))
        .agg(pl.when(tokens.count() > 0).then(tokens.sum()).alias("tokens"))
    )
    span = used.group_by("key").agg(
        pl.col("period").min().alias("first"), pl.col("period").max().alias("last")
    )
    both = money.join(used, on=["key", "period"], how="full", coalesce=True).join(span, on="key")
    return (
        both.filter(pl.col("period").is_between("first", "last"))
        .select("key", "period", pl.lit(24.0).alias("hours"), "money", "tokens")
        .sort("key", "period")
        .collect()
    )


def load_curve(
    loads: pl.DataFrame | pl.LazyFrame, *, reference: Mapping[str, float] | None = None
) -> LoadCurve:
    """Tell what tokens cost at each load, and what too little load costs.

    Parameters
    ----------
    loads : polars.DataFrame or polars.LazyFrame
        ``key``, ``period`` (Date or Datetime), ``hours`` (length of the period), ``money`` and
        ``tokens`` (Decimal), such as `daily_load`.
    reference : mapping of str to float, optional
        Tokens per hour at which a key's capacity is well used; by default the load that 95 % of what
        the line goes through does not exceed.

    Returns
    -------
    LoadCurve
        Sorted by key and period. The line is the least squares one with neither part below zero. A
        key with fewer than 5 periods, or whose load hardly changed, has no line and says so.

    Raises
    ------
    InputError
        When a column is missing.

    Notes
    -----
    Capacity that is paid by the hour costs fixed / (tokens per hour) for each token: at half the
    load a token costs double. The penalty is money per token over money per token at the reference
    load, (fixed + variable x reference) / reference.

    Tokens of sampled calls are off by chance, which flattens a line through single periods and makes
    money look fixed that is not (regression dilution). Where each weekday (of days) or hour of the
    week (of shorter periods) is there at least 4 times, the line goes through their means instead,
    from which chance has mostly gone: Wald's method of grouping (Wald, 1940, Annals of Mathematical
    Statistics 11). A single period's penalty keeps the chance of its sample.

    Examples
    --------
    >>> from datetime import date
    >>> days = pl.DataFrame({"key": ["chat"] * 5, "period": [date(2026, 10, d) for d in range(1, 6)],
    ...     "hours": [24.0] * 5, "money": [Decimal(240)] * 5,
    ...     "tokens": [Decimal(n) * 12_000_000 for n in (1, 2, 2, 2, 2)]})
    >>> found = load_curve(days)
    >>> found.fits.select(pl.col("fixed_per_hour", "variable_per_mtok", "reference_per_mtok").cast(pl.Float64)).row(0)
    (10.0, 0.0, 10.0)
    >>> found.points["penalty"].cast(pl.Float64).to_list()
    [2.0, 1.0, 1.0, 1.0, 1.0]
    """
    frame = loads.lazy().collect()
    if missing := [n for n in ("key", "period", "hours", "money", "tokens") if n not in frame.columns]:
        raise InputError(f"loads have no column {', '.join(missing)}")
    points = _points(frame.sort("key", "period"))
    fits, lines = [], []
    for group in points.partition_by("key", maintain_order=True):
        fit, line = _fitted(group, (reference or {}).get(group["key"][0]))
        fits.append(fit)
        lines += line
    found = pl.DataFrame(fits, schema=_FITS, orient="row")
    rates = dict(found.select("key", "reference_per_mtok").iter_rows())
    why = dict(found.select("key", "reason").iter_rows())
    paid = points.select("key", "money_per_mtok").iter_rows()
    penalty = [divided(money, rates[key]) for key, money in paid]
    told = points.with_columns(pl.Series("penalty", penalty, MONEY)).with_columns(
        pl.coalesce("reason", pl.when(pl.col("penalty").is_null()).then(pl.col("key").replace_strict(why)))
        if why
        else pl.col("reason")
    )
    columns = [*told.columns[:-2], "penalty", "reason"]
    return LoadCurve(told.select(columns), found, pl.DataFrame(lines, schema=_LINES, orient="row"))


def _points(frame: pl.DataFrame) -> pl.DataFrame:
    rows: list[tuple[Decimal | None, Decimal | None, Decimal | None, str | None]] = []
    exact = frame.select(
        pl.col("hours").cast(MONEY), pl.col("money").cast(MONEY), pl.col("tokens").cast(MONEY)
    )
    for hours, money, tokens in exact.iter_rows():
        reason = (
            "the period's money is not known"
            if money is None
            else "no tokens are known of the period"
            if not tokens
            else None
        )
        reason = "the period has no length" if not hours else reason
        rate = divided(money, tokens, _MTOK) if hours else None
        rows.append((divided(tokens, hours), divided(money, hours), rate, reason))
    found = pl.DataFrame(rows, schema={**_RATES, "reason": pl.String}, orient="row")
    return frame.select("key", "period", "hours", "tokens", "money").hstack(found)


def _fitted(
    points: pl.DataFrame, reference: float | None
) -> tuple[dict[str, Any], list[tuple[str, float, float]]]:
    known = points.filter(pl.col("money_per_mtok").is_not_null())
    key = points["key"][0]
    load = known["tokens_per_hour"].cast(pl.Float64).to_list()
    money = known["money_per_hour"].cast(pl.Float64).to_list()
    told: dict[str, Any] = dict.fromkeys(_FITS) | {"key": key, "periods": known.height}
    if known.height < _LEAST_PERIODS:
        return told | {"reason": f"fewer than {_LEAST_PERIODS} periods tell money and tokens"}, []
    basis, load, money = _grouped(known, load, money)
    mean = math.fsum(load) / len(load)
    spread = math.sqrt(math.fsum((x - mean) ** 2 for x in load) / len(load))
    if spread < _LEAST_SPREAD * mean:
        return told | {"reason": "the load hardly changed: what is fixed cannot be told"}, []
    fixed, variable = _line(load, money)
    at = reference or sorted(load)[math.ceil(_REFERENCE * len(load)) - 1]
    if (rate := _decimal((fixed + variable * at) / at * _MTOK)) <= 0:
        return told | {"reason": "the money is not above zero"}, []
    spent, tokens = exact_sum(known["money"]), exact_sum(known["tokens"])
    due = product(rate, divided(tokens, Decimal(_MTOK)))
    told |= {
        "basis": basis,
        "fixed_per_hour": _decimal(fixed),
        "variable_per_mtok": _decimal(variable * _MTOK),
        "fixed_share": fixed / (fixed + variable * mean),
        "reference_tokens_per_hour": _decimal(at),
        "reference_per_mtok": rate,
        "penalty": divided(divided(spent, tokens, _MTOK), rate),
        "extra_money": None if due is None else exact_sum([spent, -due]),
    }
    loads = known["tokens_per_hour"].cast(pl.Float64)
    low, high = min(loads), max(*loads, at)
    steps = [low * (high / low) ** (n / (_LINE - 1)) for n in range(_LINE)]
    return told, [(key, x, (fixed / x + variable) * _MTOK) for x in steps]


def _grouped(
    points: pl.DataFrame, load: list[float], money: list[float]
) -> tuple[str, list[float], list[float]]:
    """Return the means of weekdays or hours of the week where there are enough of each; else the periods."""
    period = points["period"]
    hourly = isinstance(period.dtype, pl.Datetime) and (points["hours"].cast(pl.Float64) < 24).all()
    kinds = (period.dt.weekday().cast(pl.Int64) * 24 + (period.dt.hour() if hourly else 0)).to_list()
    groups: dict[int, list[int]] = {}
    for place, kind in enumerate(kinds):
        groups.setdefault(kind, []).append(place)
    if len(groups) < _LEAST_PERIODS or min(map(len, groups.values())) < _LEAST_OF_A_KIND:
        return "periods", load, money
    means = [
        [math.fsum(values[place] for place in places) / len(places) for _, places in sorted(groups.items())]
        for values in (load, money)
    ]
    return "hours of the week" if hourly else "weekdays", means[0], means[1]


def _line(load: Sequence[float], money: Sequence[float]) -> tuple[float, float]:
    """Return fixed and variable money of the least squares line, neither below zero."""
    n = len(load)
    mean_x, mean_y = math.fsum(load) / n, math.fsum(money) / n
    over = math.fsum((x - mean_x) ** 2 for x in load)
    slope = math.fsum((x - mean_x) * (y - mean_y) for x, y in zip(load, money, strict=True)) / over
    if slope < 0:
        return max(mean_y, 0.0), 0.0
    if (fixed := mean_y - slope * mean_x) < 0:
        through = math.fsum(x * y for x, y in zip(load, money, strict=True)) / math.fsum(x * x for x in load)
        return 0.0, max(through, 0.0)
    return fixed, slope


def _decimal(value: float) -> Decimal:
    return Decimal(f"{value:.{_DIGITS}g}")
