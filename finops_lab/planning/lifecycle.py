"""What a model version costs from its training to its end: train, serve, retrain, retire."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import polars as pl

from finops_lab.allocation._lives import lives, served
from finops_lab.calendar import add_months, days_in_month, months_between
from finops_lab.errors import InputError, ReconciliationError
from finops_lab.money import MONEY, divided, exact_sum, product, split

__all__ = [
    "LIFE",
    "SERVED",
    "TRAINED",
    "Assumptions",
    "Lifecycle",
    "lifecycle",
    "served_money",
    "trained_money",
]

_Schema = dict[str, pl.DataType | type[pl.DataType]]
_Key = tuple[str | None, str | None, date]
_VERSION: _Schema = {"model": pl.String, "model_version": pl.String, "month": pl.Date}
SERVED: _Schema = {**_VERSION, "days": pl.Int64, "amount": MONEY, "inferences": MONEY}
TRAINED: _Schema = {**_VERSION, "phase": pl.String, "attempts": pl.Int64, "amount": MONEY}
LIFE: _Schema = {
    "month": pl.Date,
    "phase": pl.String,
    "basis": pl.String,
    "amount": MONEY,
    "inferences": MONEY,
}
PHASES = ("train", "evaluate", "serve", "retrain", "retire")
_KINDS = {"eval": "evaluate"}
_RECENT = 3


@dataclass(frozen=True)
class Assumptions:
    """What is assumed of the months to come.

    Attributes
    ----------
    serving_a_month : Decimal or None
        Money for serving the version a month; None takes the pace of the days that it served in its
        last three months of serving.
    inferences_a_month : Decimal or None
        Inferences a month; None takes that pace as well.
    retrain_every_months : int or None
        Months between retrainings; None is none.
    retrain_amount : Decimal or None
        Money for one; None takes what the version itself cost to make, failed attempts and all.
    retire_amount : Decimal
        Money to take it out of service: storage kept, traffic moved, in the last month.
    """

    serving_a_month: Decimal | None = None
    inferences_a_month: Decimal | None = None
    retrain_every_months: int | None = None
    retrain_amount: Decimal | None = None
    retire_amount: Decimal = Decimal(0)

    def __post_init__(self) -> None:
        if self.retrain_every_months is not None and self.retrain_every_months < 1:
            raise InputError("a retraining comes every month or less often")


@dataclass(frozen=True)
class Lifecycle:
    """The life of a model version.

    Attributes
    ----------
    months : polars.DataFrame
        `LIFE`: money by month, phase and ``basis`` (``ledger``, ``jobs`` or ``assumption``).
    phases : polars.DataFrame
        Per ``phase``: ``known`` and ``assumed`` (Decimal), ``amount`` (both).
    total : Decimal
        All of it.
    inferences : Decimal or None
        Known and assumed; None where neither tells.
    per_1000 : Decimal or None
        Money for 1,000 inferences: the total over all inferences.
    """

    months: pl.DataFrame
    phases: pl.DataFrame
    total: Decimal
    inferences: Decimal | None
    per_1000: Decimal | None


def served_money(
    money: pl.DataFrame, deploys: pl.LazyFrame | pl.DataFrame, calls: pl.DataFrame, *, last: date
) -> pl.DataFrame:
    """Give the money for serving a model to its versions, day by day.

    Parameters
    ----------
    money : polars.DataFrame
        ``model``, ``day`` (Date), ``amount`` (Decimal): what serving the model cost.
    deploys : polars.LazyFrame or polars.DataFrame
        Rows of `deploys`.
    calls : polars.DataFrame
        ``model``, ``day``, ``calls`` (number): inferences of the model; days without are not known.
    last : datetime.date
        Last day of data.

    Returns
    -------
    polars.DataFrame
        `SERVED`, sorted; ``days`` with money or calls. A day on which several versions of a model
        served is divided evenly among them; money and calls of days on which none did have no
        version (null). The amounts add up to the money exactly.

    Raises
    ------
    ReconciliationError
        When they do not: a defect, never a fault of the data.
    """
    on: dict[tuple[str | None, date], list[str | None]] = defaultdict(list)
    for (model, version), life in sorted(lives(served(deploys.lazy(), last), last).items(), key=str):
        for day in life.days:
            on[model, day].append(version)
    amounts: dict[_Key, list[Decimal]] = defaultdict(list)
    counts: dict[_Key, list[Decimal]] = defaultdict(list)
    seen: dict[_Key, set[date]] = defaultdict(set)
    for frame, name, into in ((money, "amount", amounts), (calls, "calls", counts)):
        sums = (
            frame.group_by("model", "day")
            .agg(pl.col(name).sum().cast(MONEY))
            .sort("model", "day", nulls_last=True)
        )
        for model, day, amount in sums.iter_rows():
            versions = on.get((model, day), [None])
            for version, part in zip(versions, split(amount, [1] * len(versions)), strict=True):
                key = (model, version, day.replace(day=1))
                into[key].append(part)
                seen[key].add(day)
    rows = [
        (
            *key,
            len(seen[key]),
            exact_sum(amounts.get(key, [])),
            exact_sum(counts[key]) if key in counts else None,
        )
        for key in sorted(seen, key=lambda key: (key[0] or "", key[1] or "", key[2]))
    ]
    if exact_sum(row[4] for row in rows) != exact_sum(money["amount"].drop_nulls().cast(MONEY)):
        raise ReconciliationError("the money of versions does not add up to that of their models")
    return pl.DataFrame(rows, schema=SERVED, orient="row")


def trained_money(jobs: pl.LazyFrame | pl.DataFrame) -> pl.DataFrame:
    """Add up what making each version cost: every attempt counts, whatever became of it.

    Parameters
    ----------
    jobs : polars.LazyFrame or polars.DataFrame
        Rows of `training_jobs`.

    Returns
    -------
    polars.DataFrame
        `TRAINED`, by model, version and month in which the attempt began: ``phase`` is ``evaluate``
        for evaluations and ``train`` for all else; ``amount`` in USD, null where an attempt has none.
    """
    cost = pl.col("cost_usd")
    phase = pl.col("kind").replace_strict(_KINDS, default="train", return_dtype=pl.String)
    return (
        jobs.lazy()
        .group_by(
            "model",
            "model_version",
            pl.col("ts_start").dt.date().dt.month_start().alias("month"),
            phase.alias("phase"),
        )
        .agg(
            pl.len().cast(pl.Int64).alias("attempts"),
            pl.when(cost.null_count() == 0).then(cost.sum()).cast(MONEY).alias("amount"),
        )
        .select(list(TRAINED))
        .sort("model", "model_version", "month", "phase", nulls_last=True)
        .collect()
    )


def lifecycle(
    trained: pl.DataFrame,
    serving: pl.DataFrame,
    *,
    model: str,
    version: str,
    last: date,
    months: int = 12,
    assumptions: Assumptions | None = None,
) -> Lifecycle:
    """Tell what a version costs in its first months: what is known, and what is assumed.

    Parameters
    ----------
    trained, serving : polars.DataFrame
        From `trained_money` and `served_money`.
    model, version : str
        The version.
    last : datetime.date
        Last month of data (its first day); months after it are assumed: the version, or what a
        retraining makes of it, goes on serving, also where another has taken its place.
    months : int
        Months from the first one in which it cost something.
    assumptions : Assumptions, optional
        Of the months after `last`.

    Returns
    -------
    Lifecycle

    Raises
    ------
    InputError
        Nothing is known of the version, an attempt to make it has no cost, or `months` is below 1.

    Examples
    --------
    >>> trained = pl.DataFrame([("m", "m-1", date(2026, 9, 1), "train", 2, Decimal(100))], schema=TRAINED, orient="row")
    >>> days = [("m", "m-1", date(2026, 10, 1), 31, Decimal(31), Decimal(1000))]
    >>> serving = pl.DataFrame(days, schema=SERVED, orient="row")
    >>> found = lifecycle(trained, serving, model="m", version="m-1", last=date(2026, 10, 1), months=4,
    ...     assumptions=Assumptions(retrain_every_months=2, retire_amount=Decimal(7)))
    >>> [(phase, int(amount)) for phase, amount in found.phases.select("phase", "amount").iter_rows()]
    [('train', 100), ('serve', 92), ('retrain', 100), ('retire', 7)]
    """
    if months < 1:
        raise InputError(f"a life is told for a month and more, not for {months}")
    assumed = assumptions or Assumptions()
    mine = (pl.col("model") == model) & (pl.col("model_version") == version)
    made, use = trained.filter(mine), serving.filter(mine)
    if made.is_empty() and use.is_empty():
        names = serving.filter(pl.col("model") == model)["model_version"].drop_nulls().unique().sort()
        hint = f"versions that served: {', '.join(names[-3:])}" if names.len() else None
        raise InputError(f"nothing is known of version {version!r} of {model!r}", hint=hint)
    if made["amount"].null_count():
        raise InputError(
            f"an attempt to make {version} has no cost_usd", hint="price the training jobs first"
        )
    first = min([*made["month"], *use["month"]])
    end = add_months(first, months - 1)
    rows: list[tuple[object, ...]] = [
        (month, phase, "jobs", amount, None)
        for month, phase, amount in made.select("month", "phase", "amount").iter_rows()
        if month <= end
    ]
    rows += [
        (month, "serve", "ledger", amount, calls)
        for month, amount, calls in use.select("month", "amount", "inferences").iter_rows()
        if month <= end
    ]
    own = exact_sum(made.filter(pl.col("phase") == "train")["amount"])
    ahead = [add_months(last, n) for n in range(1, months) if add_months(last, n) <= end]
    rows += _assumed(ahead, use, assumed, own, first)
    frame = pl.DataFrame(rows, schema=LIFE, orient="row").sort("month", "phase", "basis")
    return _told(frame)


def _assumed(
    ahead: Sequence[date], use: pl.DataFrame, assumed: Assumptions, own: Decimal, first: date
) -> list[tuple[object, ...]]:
    recent = use.sort("month").tail(_RECENT)
    days = int(recent["days"].sum())
    rows: list[tuple[object, ...]] = []
    for month in ahead:
        share = Decimal(days_in_month(month))
        money, calls = assumed.serving_a_month, assumed.inferences_a_month
        if money is None and days:
            money = product(share, divided(exact_sum(recent["amount"]), days))
        if calls is None and days and not recent["inferences"].null_count():
            calls = product(share, divided(exact_sum(recent["inferences"]), days))
        if money is not None:
            rows.append((month, "serve", "assumption", money, calls))
        every = assumed.retrain_every_months
        age = months_between(first, month)
        if every is not None and age % every == 0:
            amount = assumed.retrain_amount if assumed.retrain_amount is not None else own
            rows.append((month, "retrain", "assumption", amount, None))
    if ahead and assumed.retire_amount:
        rows.append((ahead[-1], "retire", "assumption", assumed.retire_amount, None))
    return rows


def _told(frame: pl.DataFrame) -> Lifecycle:
    phases = []
    for phase in PHASES:
        some = frame.filter(pl.col("phase") == phase)
        if some.height:
            sure = exact_sum(some.filter(pl.col("basis") != "assumption")["amount"])
            guess = exact_sum(some.filter(pl.col("basis") == "assumption")["amount"])
            phases.append((phase, sure, guess, exact_sum([sure, guess])))
    table = pl.DataFrame(
        phases,
        schema={"phase": pl.String, "known": MONEY, "assumed": MONEY, "amount": MONEY},
        orient="row",
    )
    total = exact_sum(table["amount"])
    serving = frame.filter(pl.col("phase") == "serve")
    calls = (
        None if serving["inferences"].null_count() or serving.is_empty() else exact_sum(serving["inferences"])
    )
    return Lifecycle(frame, table, total, calls, divided(total, calls, 1000))
