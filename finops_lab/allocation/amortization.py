"""Amortization of training: what a model version cost to make, spread over the time it served."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Literal, TypeVar

import polars as pl

from finops_lab.allocation._lives import Life, lives, named, need, served
from finops_lab.calendar import add_months, days_in_month
from finops_lab.errors import InputError, ReconciliationError
from finops_lab.money import MONEY, divided, exact_sum, one_currency, split

__all__ = ["Amortization", "amortize", "cost_per_inference"]

_FAILED = ("failed", "cancelled", "timeout", "preempted")
# Requests may be a sample: each stands for a number of real ones, which need not be whole.
_SAMPLED = 1_000
_ZERO = Decimal(0)
_MOMENT = pl.Datetime("us", "UTC")
_SCHEDULE: dict[str, pl.DataType | type[pl.DataType]] = {
    "model": pl.String,
    "model_version": pl.String,
    "BillingCurrency": pl.String,
    "month": pl.Date,
    "amount": MONEY,
    "basis": pl.String,
    "weight": pl.Int64,
}
_CAPITALISED: dict[str, pl.DataType | type[pl.DataType]] = {
    "model": pl.String,
    "model_version": pl.String,
    "BillingCurrency": pl.String,
    "attempts": pl.Int64,
    "failed_attempts": pl.Int64,
    "unpriced_attempts": pl.Int64,
    "amount": MONEY,
    "serving_from": _MOMENT,
    "serving_to": _MOMENT,
    "basis": pl.String,
    "amortised": MONEY,
    "remaining": MONEY,
    "never_served": MONEY,
}
_MADE = list(_CAPITALISED)[:7]
_Count = TypeVar("_Count", int, pl.Expr)
_Frame = TypeVar("_Frame", pl.DataFrame, pl.LazyFrame)


@dataclass(frozen=True)
class Amortization:
    """What model versions cost to make, and the months that this cost belongs to.

    Attributes
    ----------
    schedule : polars.DataFrame
        Per ``model``, ``model_version``, ``BillingCurrency`` and ``month`` (Date, its first day) of
        serving: ``amount`` (Decimal), and the ``weight`` (Int64) it was spread by, which ``basis``
        names: ``inferences`` or ``days`` served in the month.
    capitalised : polars.DataFrame
        One row per model version and currency: ``attempts`` and among them ``failed_attempts`` (null
        where the input tells amounts only), ``unpriced_attempts`` without a known amount (not in the
        amounts), ``amount``, ``serving_from``, ``serving_to`` (null while it serves), ``basis``, and
        the amount's three parts: ``amortised`` to date, ``remaining`` for the life to come, and
        ``never_served`` of versions that were not deployed, which is spread over nothing. All
        amounts are null where no attempt has one.
    """

    schedule: pl.DataFrame
    capitalised: pl.DataFrame

    @property
    def never_served(self) -> pl.DataFrame:
        """The rows of `capitalised` whose versions were never deployed."""
        return self.capitalised.filter(pl.col("serving_from").is_null())

    def __repr__(self) -> str:
        rows, idle = self.capitalised.height, self.never_served.height
        return (
            f"Amortization({rows} model versions, {idle} never served; .schedule .capitalised .never_served)"
        )


def amortize(
    training: pl.LazyFrame,
    deploys: pl.LazyFrame,
    requests: pl.LazyFrame | None = None,
    *,
    by: Literal["inferences", "time"] = "inferences",
    last: date,
    life_months: int = 12,
) -> Amortization:
    """Spread what each model version cost to make over its serving life.

    A version serves from a successful deploy (or a rollback, which names the version it goes back
    to) to the next one of another version of the same model on the same service and environment, or
    to the end of data. It may serve on several services and more than once: its life is every UTC
    day on which it served somewhere. A model that a service gives up for another serves on, as far
    as deploys tell.

    Parameters
    ----------
    training : polars.LazyFrame
        Rows of `training_jobs`, priced by ``cost_usd``; or, where a bill carries the money, rows of
        ``model``, ``model_version``, ``BillingCurrency`` and ``amount`` (Decimal). Every row counts,
        whatever its kind or state: leave out what is no making of a model, such as evaluations.
    deploys : polars.LazyFrame
        Rows of `deploys`. A change of configuration, a failed or running deploy, and one that names
        no version begin nothing; one of unknown status counts as succeeded. Leave out environments
        in which serving should not count, such as staging.
    requests : polars.LazyFrame, optional
        Rows of `inference_requests`; needed to spread by inferences. Each row stands for
        ``n_requests`` x ``sample_weight`` inferences; a month's are rounded to whole ones.
    by : {"inferences", "time"}
        What an ended life is spread by: the model's inferences on the days the version served, per
        month, or those days themselves.
    last : datetime.date
        Last day of data. Later deploys and requests are not seen.
    life_months : int
        Planned life of a version that still serves.

    Returns
    -------
    Amortization
        Sorted by model, version, currency and month. Per row of `capitalised`, ``amount`` =
        ``amortised`` + ``remaining`` + ``never_served``, exactly.

    Raises
    ------
    InputError
        A column is missing, money is no Decimal, `by` is unknown or lacks its requests, or
        `life_months` is below 1.
    ReconciliationError
        When the parts of an amount do not add up to it: a defect, never a fault of the data.

    Notes
    -----
    - Of a version that still serves nobody knows the inferences to come. It is spread straight-line
      over `life_months` from its first day, by days, whatever `by` says: what belongs to the days
      after `last` is ``remaining``. When it is replaced, its whole amount falls on the life it had,
      so that the months of that life are restated.
    - An ended life is spread by days, too, where requests do not reach over all of it, or hold none
      of the model: months without telemetry are unknown, not idle. ``basis`` tells.
    - Requests name no model version: on a day on which two versions served, both count its requests.
    - A model that a job or a deploy does not name is taken from the other table where that knows
      one model only for the version.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> jobs = pl.LazyFrame({"model": ["m"] * 2, "model_version": ["m-1"] * 2, "state": ["failed", "completed"],
    ...     "cost_usd": [Decimal(10), Decimal(21)]})
    >>> deploys = pl.LazyFrame({"ts": [datetime(2026, 9, 30, 8, tzinfo=UTC), datetime(2026, 10, 31, tzinfo=UTC)],
    ...     "service": ["chat"] * 2, "model": ["m"] * 2, "model_version": ["m-1", "m-2"]})
    >>> found = amortize(jobs, deploys, by="time", last=date(2026, 10, 31))
    >>> [(str(month), int(amount), days) for month, amount, days in
    ...     found.schedule.select("month", "amount", "weight").rows()]
    [('2026-09-01', 1, 1), ('2026-10-01', 30, 30)]
    """
    if by not in ("inferences", "time"):
        raise InputError(f"there is no way to spread by {by!r}", hint="ways: inferences, time")
    if by == "inferences" and requests is None:
        raise InputError("spreading by inferences needs requests", hint='hand them in, or use by="time"')
    if life_months < 1:
        raise InputError("a planned life is 1 month at least")
    trained, deployed = _trained(training), served(deploys, last)
    found = lives(named(deployed, trained), last)
    calls = _Calls.of(requests) if by == "inferences" and requests is not None else None
    schedule: list[tuple[object, ...]] = []
    capitalised: list[tuple[object, ...]] = []
    for row in _added_up(named(trained, deployed)).iter_rows():
        model, version, currency, *_, amount = row
        life = found.get((model, version))
        if life is None:
            nothing = None if amount is None else _ZERO
            capitalised.append((*row, None, None, None, nothing, nothing, amount))
            continue
        months, basis, left = _spread(life, model, calls, last, life_months)
        if amount is None:
            capitalised.append((*row, life.start, life.end, basis, None, None, None))
            continue
        *parts, remaining = split(amount, [*months.values(), left])
        schedule += [
            (model, version, currency, month, part, basis, weight)
            for (month, weight), part in zip(months.items(), parts, strict=True)
        ]
        amortised = exact_sum(parts)
        if exact_sum([amortised, remaining]) != amount:
            raise ReconciliationError(f"the parts of the training of {version} do not add up to {amount}")
        capitalised.append((*row, life.start, life.end, basis, amortised, remaining, _ZERO))
    keys = ["model", "model_version", "BillingCurrency"]
    return Amortization(
        pl.DataFrame(schedule, schema=_SCHEDULE, orient="row").sort(*keys, "month", nulls_last=True),
        pl.DataFrame(capitalised, schema=_CAPITALISED, orient="row").sort(keys, nulls_last=True),
    )


def cost_per_inference(
    amounts: pl.LazyFrame,
    requests: pl.LazyFrame,
    schedule: pl.DataFrame | pl.LazyFrame,
    *,
    metric: str = "EffectiveCost",
) -> pl.DataFrame:
    """Compare the cost per inference without training (marginal) and with it (fully loaded).

    Parameters
    ----------
    amounts : polars.LazyFrame
        What serving cost: rows of the `ledger` contract, or ``model``, ``month`` (Date, its first
        day), ``BillingCurrency`` and ``amount`` (Decimal). Leave training charges out: they come
        in by `schedule`, and would count twice.
    requests : polars.LazyFrame
        Rows of `inference_requests`. Every row counts; filter before where failed calls should not.
    schedule : polars.DataFrame or LazyFrame
        The ``schedule`` of an `Amortization`.
    metric : str
        The cost column of ledger rows.

    Returns
    -------
    polars.DataFrame
        Per ``model``, ``month`` and ``BillingCurrency``: ``inferences`` (Int64; null where no row of
        requests tells), ``serving_amount`` (Decimal; null where none is known), ``training_amount``
        (Decimal; 0 where the schedule has none), ``marginal_per_inference`` and
        ``fully_loaded_per_inference`` (Decimal; null where there are no inferences or no serving
        amount). Sorted.

    Raises
    ------
    InputError
        A column is missing.
    CurrencyError
        When the amounts and the schedule are in more than one currency.

    Notes
    -----
    The division is Python's decimal, rounded once, half to even, to 18 decimals.

    Examples
    --------
    >>> month = [date(2026, 10, 1)]
    >>> serving = pl.LazyFrame({"model": ["m"], "month": month, "BillingCurrency": ["USD"], "amount": [Decimal(6)]})
    >>> calls = pl.LazyFrame({"model": ["m"], "day": month, "n_requests": [4], "sample_weight": [1.0]})
    >>> plan = pl.LazyFrame({"model": ["m"], "month": month, "BillingCurrency": ["USD"], "amount": [Decimal(3)]})
    >>> found = cost_per_inference(serving, calls, plan)
    >>> found.select("marginal_per_inference", "fully_loaded_per_inference").cast(pl.Float64).row(0)
    (1.5, 2.25)
    """
    keys = ["model", "month", "BillingCurrency"]
    serving = _monthly(amounts, metric)
    plan = schedule.lazy().group_by(keys).agg(pl.col("amount").sum().alias("training_amount")).collect()
    calls = _per_day(requests).group_by("model", pl.col("day").dt.month_start().alias("month"))
    inferences = calls.agg(_whole(pl.col("calls").sum()).alias("inferences")).collect()
    table = serving.join(plan, on=keys, how="full", coalesce=True, nulls_equal=True)
    currency = one_currency(table["BillingCurrency"])
    table = table.join(inferences, on=["model", "month"], how="full", coalesce=True).with_columns(
        pl.col("BillingCurrency").fill_null(pl.lit(currency, pl.String)),
        pl.col("training_amount").fill_null(_ZERO).cast(MONEY),
    )
    loaded = (pl.col("serving_amount") + pl.col("training_amount")).cast(MONEY)
    rows = table.select("inferences", "serving_amount", loaded.alias("loaded")).rows()
    each = {
        "marginal_per_inference": [divided(serving, n) for n, serving, _ in rows],
        "fully_loaded_per_inference": [divided(whole, n) for n, _, whole in rows],
    }
    return (
        table.with_columns(pl.Series(name, values, dtype=MONEY) for name, values in each.items())
        .select(*keys, "inferences", "serving_amount", "training_amount", *each)
        .sort(keys, nulls_last=True)
    )


def _money(schema: pl.Schema, name: str) -> None:
    if not isinstance(schema[name], pl.Decimal):
        raise InputError(f"is {schema[name]}, but money is Decimal", column=name)


def _monthly(amounts: pl.LazyFrame, metric: str) -> pl.DataFrame:
    ledger = "x_model" in amounts.collect_schema()
    amount = metric if ledger else "amount"
    month = "x_ChargeDate" if ledger else "month"
    schema = need(amounts, ["x_model" if ledger else "model", month, "BillingCurrency", amount], "amounts")
    _money(schema, amount)
    keys = [
        pl.col("x_model" if ledger else "model").alias("model"),
        pl.col(month).dt.month_start().alias("month"),
        pl.col("BillingCurrency"),
    ]
    total = pl.when(pl.col(amount).count() > 0).then(pl.col(amount).sum()).cast(MONEY)
    return amounts.group_by(keys).agg(total.alias("serving_amount")).collect(engine="streaming")


def _per_day(requests: pl.LazyFrame) -> pl.LazyFrame:
    """Count inferences per model and day, in thousandths: each row is rounded by itself."""
    moment = "day" if "day" in requests.collect_schema() else "ts_start"
    need(requests, ["model", "n_requests", "sample_weight", moment], "requests")
    day = pl.col(moment).dt.date()
    calls = (pl.col("n_requests") * pl.col("sample_weight") * _SAMPLED).round(0).cast(pl.Int64)
    return requests.group_by("model", day.alias("day")).agg(calls.sum().alias("calls"))


def _whole(calls: _Count) -> _Count:
    return (calls + _SAMPLED // 2) // _SAMPLED


@dataclass(frozen=True)
class _Calls:
    """Inferences in thousandths per model and day, and the days that telemetry reaches over."""

    per_day: dict[str, dict[date, int]]
    first: date | None
    last: date | None

    @classmethod
    def of(cls, requests: pl.LazyFrame) -> _Calls:
        per_day: dict[str, dict[date, int]] = defaultdict(dict)
        table = _per_day(requests).collect(engine="streaming")
        for model, day, calls in table.select("model", "day", "calls").iter_rows():
            per_day[model][day] = calls
        days = table["day"]
        return cls(per_day, days.min(), days.max())  # type: ignore[arg-type]

    def months(self, model: str | None, days: tuple[date, ...]) -> dict[date, int] | None:
        """Return whole inferences per month of the days; None where telemetry cannot tell."""
        if self.first is None or self.last is None or days[0] < self.first or days[-1] > self.last:
            return None
        calls, found = self.per_day.get(model or "", {}), Counter[date]()
        for day in days:
            found[day.replace(day=1)] += calls.get(day, 0)
        whole = {month: _whole(n) for month, n in sorted(found.items())}
        return whole if any(whole.values()) else None


def _spread(
    life: Life, model: str | None, calls: _Calls | None, last: date, life_months: int
) -> tuple[dict[date, int], str, int]:
    """Return the weight of each month, what is weighed, and the weight of the days to come."""
    counted = calls.months(model, life.days) if calls is not None and life.end is not None else None
    if counted is not None:
        return counted, "inferences", 0
    months = Counter(day.replace(day=1) for day in life.days)
    if life.end is not None:
        return dict(sorted(months.items())), "days", 0
    first = life.days[0]
    month = add_months(first.replace(day=1), life_months)
    planned = month.replace(day=min(first.day, days_in_month(month)))
    for day in life.days:
        if day >= planned:
            months[day.replace(day=1)] -= 1
    return dict(sorted(months.items())), "days", max((planned - last).days - 1, 0)


def _trained(training: pl.LazyFrame) -> pl.DataFrame:
    amounts = "amount" in training.collect_schema()
    amount = "amount" if amounts else "cost_usd"
    more = ["BillingCurrency"] if amounts else ["state"]
    schema = need(training, ["model", "model_version", *more, amount], "training rows")
    _money(schema, amount)
    none = pl.lit(None, pl.Int64)
    return (
        training.select(
            *_MADE[:2],
            pl.col("BillingCurrency") if amounts else pl.lit("USD").alias("BillingCurrency"),
            (none if amounts else pl.lit(1, pl.Int64)).alias("attempts"),
            (none if amounts else pl.col("state").is_in(_FAILED).cast(pl.Int64)).alias("failed_attempts"),
            pl.col(amount).is_null().cast(pl.Int64).alias("unpriced_attempts"),
            pl.col(amount).cast(MONEY).alias("amount"),
        )
        .pipe(_added_up)
        .collect(engine="streaming")
    )


def _added_up(made: _Frame) -> _Frame:
    # The sum of nothing but nulls is unknown, not zero.
    sums = [
        pl.when(pl.col(name).count() > 0).then(pl.col(name).sum()).cast(_CAPITALISED[name]).alias(name)
        for name in _MADE[3:]
    ]
    return made.group_by(_MADE[:3]).agg(*sums).select(_MADE)
