"""How other features were taken up since their launch: the adoption of a feature without history."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from statistics import median

import polars as pl

from finops_lab.calendar import days_in_month, format_month, months_from
from finops_lab.config.feature_plan import AmountRange
from finops_lab.errors import InputError

__all__ = ["usage_curve"]

_FEWEST = 4
_LEVEL = 3
_CHOICE: dict[str, pl.DataType | type[pl.DataType]] = {
    "feature": pl.String,
    "launched": pl.Date,
    "months": pl.Int64,
    "level_per_day": pl.Float64,
    "used": pl.Boolean,
    "why": pl.String,
}
_PLACES = Decimal("0.000001")


def usage_curve(
    history: pl.DataFrame | pl.LazyFrame, features: Sequence[str] = ("*",)
) -> tuple[tuple[AmountRange, ...], pl.DataFrame]:
    """Take the curve of adoption from features that were launched within the history.

    A month's use is told per day, since months differ in length, and divided by the feature's level:
    the mean of its last three months. The launch is the first month with any use. A feature counts
    when its launch was seen (it is after the history's first month) and at least four months are
    known. Per month since launch the range goes from the lowest to the highest of the features,
    with their median as likely; of a single feature there is no range.

    Parameters
    ----------
    history : polars.DataFrame or polars.LazyFrame
        ``feature`` (String), ``month`` (Date, the first), ``value`` (number: calls, units or money);
        a month at most once per feature. Nulls are unknown, months left out are without use.
    features : sequence of str
        Names to take; ``*`` takes all that count.

    Returns
    -------
    tuple
        The curve, and the choice: ``feature``, ``launched`` (Date), ``months`` (Int64, since launch),
        ``level_per_day`` (Float64), ``used`` (Boolean), ``why``.

    Raises
    ------
    InputError
        When a named feature is not there or does not count, or none counts.

    Examples
    --------
    >>> months = [date(2026, n, 1) for n in range(1, 7)]
    >>> use = pl.DataFrame({"feature": "new", "month": months, "value": [0, 31 * 2, 30 * 4, 31 * 6, 30 * 6, 31 * 6]})
    >>> use = use.with_columns(month=pl.col("month").dt.offset_by("1mo"))
    >>> curve, choice = usage_curve(use)
    >>> [str(month.likely) for month in curve], choice["launched"].item()
    (['0.333333', '0.666667', '1.000000', '1.000000', '1.000000'], datetime.date(2026, 3, 1))
    """
    table = history.lazy().select("feature", "month", pl.col("value").cast(pl.Float64)).collect()
    if table.is_empty():
        raise InputError("no use of any feature is known to take the adoption from")
    first, last = table["month"].min(), table["month"].max()
    assert isinstance(first, date) and isinstance(last, date)
    wanted = None if "*" in features else set(features)
    known = sorted(table["feature"].drop_nulls().unique())
    missing = sorted((wanted or set()) - set(known))
    if missing:
        raise InputError(f"no use of {', '.join(missing)} is known", hint=f"known are {', '.join(known)}")
    rows, curves = [], []
    for feature in known:
        use = dict(table.filter(feature=feature).drop_nulls("value").select("month", "value").iter_rows())
        launched = min((month for month, value in use.items() if value > 0), default=None)
        if launched is None:
            rows.append((feature, None, 0, None, False, "it was never used"))
            continue
        daily = [use.get(month, 0.0) / days_in_month(month) for month in months_from(launched, last)]
        level = sum(daily[-_LEVEL:]) / len(daily[-_LEVEL:])
        why = _why(launched, first, len(daily), level)
        if why is None and (wanted is None or feature in wanted):
            curves.append([value / level for value in daily])
            why, used = f"launched in {format_month(launched)}, {len(daily)} months known", True
        else:
            why, used = why or "not named", False
        rows.append((feature, launched, len(daily), level, used, why))
    choice = pl.DataFrame(rows, schema=_CHOICE, orient="row")
    refused = choice.filter(~pl.col("used"))
    if wanted is not None and (bad := refused.filter(pl.col("feature").is_in(sorted(wanted)))).height:
        told = "; ".join(f"{row['feature']}: {row['why']}" for row in bad.iter_rows(named=True))
        raise InputError(f"cannot take the adoption from {told}", hint='name others, or "*" for all that can')
    if not curves:
        told = "; ".join(f"{row['feature']}: {row['why']}" for row in refused.iter_rows(named=True))
        raise InputError(f"no feature can tell of its adoption: {told}", hint="write adoption yourself")
    return tuple(_range([c[n] for c in curves if n < len(c)]) for n in range(max(map(len, curves)))), choice


def _why(launched: date, first: date, months: int, level: float) -> str | None:
    if launched <= first:
        return "its launch was before the history begins"
    if months < _FEWEST:
        return f"only {months} months are known, {_FEWEST} are needed"
    return None if level > 0 else "it is no longer used"


def _range(shares: list[float]) -> AmountRange:
    low, likely, high = (
        Decimal(repr(share)).quantize(_PLACES) for share in (min(shares), median(shares), max(shares))
    )
    return AmountRange(low=low, likely=likely, high=high)
