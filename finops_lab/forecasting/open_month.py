"""The month that still runs: what it will come to, from its days so far and the days before it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl

from finops_lab.calendar import add_months, days_in_month, months_between
from finops_lab.errors import InputError
from finops_lab.forecasting.panel import VALUES, Floats

__all__ = ["SCHEMA", "estimate"]

_WEEK, _PROFILE_DAYS = 7, 28
_SMOOTHING = 2 / (_WEEK + 1)
_ALONE = 3.0
_LEAST_PROFILE = 14  # days; under it all weekdays are alike
_FEE_DAYS = 3  # of a month on which fees are charged
_FEE = 0.5  # of a usual day: what the first days must be above it to hold a fee
_FEE_MONTHS, _FEE_SEEN = 3, 2  # a fee was there in so many of so many months before
_JUDGED = 12  # past months whose errors give the bounds
_BOUNDS = tuple(name for name in VALUES if name != "yhat")
SCHEMA: dict[str, pl.DataType] = {
    "unique_id": pl.String(),
    "ds": pl.Date(),
    "through": pl.Date(),
    "to_date": pl.Float64(),
    "fees": pl.Float64(),
    "run_rate": pl.Float64(),
    **{name: pl.Float64() for name in VALUES},
    "judged": pl.Int64(),
}


def estimate(
    daily: pl.DataFrame | pl.LazyFrame,
    through: date | None = None,
    *,
    completeness: pl.DataFrame | None = None,
    age_days: int = 1,
) -> pl.DataFrame:
    """Estimate what a running month will come to, per series.

    The days so far, plus a level times a weekday profile for each day to come: the profile is each
    weekday's median share of the week around it over the last 28 days, the level an exponentially
    weighted mean of the days over their profile that is as young as a mean of the last 7 days, without
    single days above three times both their neighbours.
    Fees of the first three days of a month that were there in two of the three months before are no
    part of either, and are not charged again; one that has not come yet is expected. Bounds are the
    errors that the same estimate had on the same day of up to 12 past months, on the part to come,
    times Student's t for so few of them.

    Parameters
    ----------
    daily : polars.DataFrame or polars.LazyFrame
        ``unique_id: String``, ``day: Date``, ``y``: any number. An absent or null day between a
        series' first and last is unknown, and estimated; a day without spend must be 0, not absent.
    through : datetime.date, optional
        The last day that is known; later rows are not looked at. Default: the last day of the frame.
    completeness : polars.DataFrame, optional
        How much of an amount is known so many days later: ``age_days`` (Int64) and ``share_median``,
        ``share_min``, ``share_max`` (Float64), as `finops_lab.reconciliation.maturity.maturity_curve`
        gives. The days so far are divided by the median, the bounds by the extremes: bills that were
        restated before widen them.
    age_days : int
        Days between `through` and the day on which the bill was read.

    Returns
    -------
    polars.DataFrame
        One row per series, sorted: ``unique_id``, ``ds`` (the running month), ``through``,
        ``to_date`` (Float64, units of `y`; what is known of the month), ``fees`` (of it, or still
        expected), ``run_rate`` (the days so far over their number times all days), ``yhat``,
        ``lo_80, hi_80, lo_95, hi_95`` and ``judged`` (Int64; past months behind the bounds, which are
        null without any). A bound is never below what is charged already where nothing was ever
        negative. All null where no day of the month is known; on its last day the estimate is the sum.

    Raises
    ------
    InputError
        A column is missing or of a wrong type, a day comes twice, or an age or share is wrong.

    Examples
    --------
    >>> days = pl.DataFrame({"day": pl.date_range(date(2026, 8, 1), date(2026, 10, 10), eager=True)})
    >>> flat = days.select(pl.lit("a").alias("unique_id"), "day", pl.lit(5.0).alias("y"))
    >>> estimate(flat).select("ds", "to_date", "yhat", "judged").rows()
    [(datetime.date(2026, 10, 1), 50.0, 155.0, 2)]
    """
    frame = _checked(daily)
    last = through if through is not None else frame["day"].max() if frame.height else None
    if last is None:
        return pl.DataFrame(schema=SCHEMA)
    assert isinstance(last, date)
    shares = _shares(completeness, age_days)
    rows = []
    for (uid,), part in (
        frame.filter(pl.col("day") <= last)
        .partition_by("unique_id", as_dict=True, maintain_order=True)
        .items()
    ):
        first = part["day"].to_list()[0]
        amounts = np.full((last - first).days + 1, np.nan)
        amounts[[(day - first).days for day in part["day"]]] = part["y"].fill_null(float("nan")).to_numpy()
        rows.append({"unique_id": uid, **_of_series(_Days(first, amounts), shares)})
    return pl.DataFrame(rows, schema=SCHEMA)


@dataclass(frozen=True)
class _Days:
    """Amounts of days in a row, NaN where unknown."""

    first: date
    amounts: Floats

    @property
    def last(self) -> date:
        return self.first + timedelta(days=len(self.amounts) - 1)

    @property
    def month(self) -> date:
        return self.last.replace(day=1)

    def until(self, day: date) -> _Days:
        return _Days(self.first, self.amounts[: (day - self.first).days + 1])

    def of(self, month: date) -> Floats:
        """Return the days of a month that are there."""
        start = max((month - self.first).days, 0)
        return self.amounts[start : max((add_months(month, 1) - self.first).days, 0)]

    def weekdays(self) -> np.ndarray:
        return (np.arange(len(self.amounts)) + self.first.weekday()) % 7


def _of_series(days: _Days, shares: tuple[float, float, float]) -> dict[str, Any]:
    month, known = days.month, days.of(days.month)
    row: dict[str, Any] = {"ds": month, "through": days.last}
    if np.isnan(known).all():
        return row
    to_date = float(np.nansum(known))
    so_far, to_come, fees = _parts(days)
    errors = _errors(days)
    usual, least, most = shares
    row |= {
        "to_date": to_date,
        "fees": fees,
        "run_rate": to_date / int((~np.isnan(known)).sum()) * days_in_month(month),
        "yhat": so_far / usual + to_come,
        "judged": len(errors),
    }
    over = days.last == add_months(month, 1) - timedelta(days=1) and not np.isnan(known).any()
    if not len(errors) and not over:
        return row
    never_below = not (days.amounts < 0).any()
    for name in _BOUNDS:
        lower = name.startswith("lo")
        wide = 0.0 if over else _t(int(name[3:]), len(errors)) * float(np.sqrt(np.mean(errors**2)))
        rest = to_come - wide * abs(to_come) if lower else to_come + wide * abs(to_come)
        part = so_far / (most if lower == (so_far >= 0) else least)
        row[name] = part + (max(rest, 0.0) if never_below else rest)
    return row


def _parts(days: _Days) -> tuple[float, float, float]:
    """Return the month so far with unknown days estimated, the days to come, and the month's fees."""
    usual, fee = _without_fees(days)
    clean, weekdays = usual.amounts, usual.weekdays()
    profile = _profile(clean[-_PROFILE_DAYS:], weekdays[-_PROFILE_DAYS:])
    level = _level(clean / profile[weekdays])
    known = days.of(days.month)
    here = profile[weekdays[len(weekdays) - len(known) :]] * level
    so_far = float(np.where(np.isnan(known), here, known).sum())
    # Days before the series began are no unknown days: it starts in this month.
    ahead = days_in_month(days.month) - days.last.day
    coming = profile[(days.last.weekday() + 1 + np.arange(ahead)) % _WEEK].sum() * level
    with_fee = np.isnan(usual.of(days.month)) & ~np.isnan(known)
    seen = float((known - here)[with_fee].sum())
    late = max(fee - seen, 0.0) if days.last.day < _FEE_DAYS else 0.0
    return so_far, float(coming) + late, seen + late


def _profile(amounts: Floats, weekdays: np.ndarray) -> Floats:
    """Return each weekday's median share of the week around it; ones where too little is known."""
    flat = np.ones(_WEEK)
    if (~np.isnan(amounts)).sum() < _LEAST_PROFILE or (np.nan_to_num(amounts) < 0).any():
        return flat
    around = np.lib.stride_tricks.sliding_window_view(amounts, _WEEK)
    known = ~np.isnan(around)
    # Shares of the week around a day, not of all days: a level that moves is no weekday.
    weeks = np.where(known, around, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    half = _WEEK // 2
    shares = np.where(weeks > 0, amounts[half:-half] / np.where(weeks > 0, weeks, 1.0), np.nan)
    days = weekdays[half:-half]
    found = [shares[(days == day) & ~np.isnan(shares)] for day in range(_WEEK)]
    medians = np.array([np.median(part) if part.size else np.nan for part in found])
    # A weekday without spend has no level to tell, nor has a week without any.
    return medians / medians.mean() if (medians > 0).all() else flat


def _level(usual: Floats) -> float:
    """Return the smoothed level: weights halve every 2.4 days, on average as old as a mean of 7 days.

    A day above three times both its neighbours is left out: a charge of its own, and no level.
    """
    around = np.maximum(usual[:-2], usual[2:])
    alone = np.zeros(len(usual), dtype=bool)
    alone[1:-1] = (around > 0) & (usual[1:-1] > _ALONE * around)
    known = np.flatnonzero(~np.isnan(usual) & ~alone)
    weights = (1 - _SMOOTHING) ** (len(usual) - 1 - known)
    return float((usual[known] * weights).sum() / weights.sum())


def _without_fees(days: _Days) -> tuple[_Days, float]:
    """Leave out days with a fee; return also what the running month's fees should be."""
    amounts = days.amounts.copy()
    above: dict[date, float] = {}
    fee, month = 0.0, days.first.replace(day=1)
    while month <= days.month:
        start = max((month - days.first).days, 0)
        end = max((month - days.first).days + _FEE_DAYS, 0)
        part, rest = days.amounts[start:end], days.of(month)[end - start :]
        if (~np.isnan(rest)).sum() < _WEEK:
            rest = np.concatenate([amounts[:start][-_PROFILE_DAYS:], rest])
        usual = float(np.nanmedian(rest)) if not np.isnan(rest).all() else 0.0
        over = float(np.clip(part - usual, 0.0, None)[~np.isnan(part)].sum())
        above[month] = over if over > _FEE * abs(usual) else 0.0
        past = [above.get(add_months(month, -n), 0.0) for n in range(1, _FEE_MONTHS + 1)]
        held = [amount for amount in past if amount]
        fee = float(np.median(held)) if len(held) >= _FEE_SEEN else 0.0
        if fee and above[month]:
            amounts[start:end] = np.where(part > usual, np.nan, part)
        month = add_months(month, 1)
    return _Days(days.first, amounts), fee


def _errors(days: _Days) -> Floats:
    """Return what past estimates of the same day missed, relative to the part that was to come."""
    found: list[tuple[int, float]] = []
    for n in range(1, _JUDGED + 1):
        month = add_months(days.month, -n)
        whole = days.of(month)
        if month < days.first or len(whole) < days_in_month(month) or np.isnan(whole).any():
            continue
        day = min(days.last.day, days_in_month(month) - 1)
        _, to_come, _ = _parts(days.until(month.replace(day=day)))
        if to_come:
            before = months_between(days.first, month)
            found.append((before, (float(whole[day:].sum()) - to_come) / abs(to_come)))
    # A series' first months could not know its fees, nor its weekdays: they count where there is little else.
    for least, enough in ((_FEE_SEEN, _FEE_MONTHS), (1, _FEE_SEEN), (0, 0)):
        errors = [missed for before, missed in found if before >= least]
        if len(errors) >= enough:
            break
    return np.array(errors)


def _t(percent: int, n: int) -> float:
    from scipy.stats import t

    # The bias is taken as none, so every month counts: n degrees of freedom.
    return float(t.ppf(0.5 + percent / 200, n))


def _shares(completeness: pl.DataFrame | None, age_days: int) -> tuple[float, float, float]:
    """Return the usual, the smallest and the largest share that is known at an age."""
    if completeness is None:
        return 1.0, 1.0, 1.0
    names = ("share_median", "share_min", "share_max")
    for name in ("age_days", *names):
        if name not in completeness.columns:
            raise InputError("the completeness curve has no such column", column=name)
    if age_days < 0:
        raise InputError(f"an age is 0 days or more, not {age_days}")
    # Of an age between two, what the younger one says: nothing was delivered since.
    at = completeness.drop_nulls(names).filter(pl.col("age_days") <= age_days).sort("age_days").tail(1)
    if at.is_empty():
        return 1.0, 1.0, 1.0
    usual, least, most = at.select(names).row(0)
    if least <= 0:
        raise InputError(f"a share of {least} is known after {age_days} days", column="share_min")
    return float(usual), min(float(least), 1.0), max(float(most), 1.0)


def _checked(daily: pl.DataFrame | pl.LazyFrame) -> pl.DataFrame:
    schema = daily.lazy().collect_schema()
    for column, wanted in (("unique_id", pl.String), ("day", pl.Date), ("y", None)):
        if column not in schema:
            raise InputError(
                "the daily frame has no such column", column=column, hint="it needs unique_id, day, y"
            )
        if not (schema[column].is_numeric() if wanted is None else schema[column] == wanted):
            raise InputError(f"{schema[column]} where {wanted or 'a number'} is needed", column=column)
    frame = (
        daily.lazy()
        .select("unique_id", "day", pl.col("y").cast(pl.Float64).fill_nan(None))
        .sort("unique_id", "day")
        .collect()
    )
    twice = frame.filter(pl.struct("unique_id", "day").is_duplicated())
    if twice.height:
        uid, day = twice.row(0)[:2]
        raise InputError(
            f"series {uid!r}: day {day} comes twice", column="day", hint="sum the rows of a day first"
        )
    return frame
