"""The budget of a feature that has no history: drivers, ranges, and what they come to.

The point estimate has every driver at its likely value and is exact. P10, P50 and P90 are statistics
of simulated draws: the sum of likely values is not the likely sum, and where a product of ranges
leans to one side, neither is the point the median.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from fractions import Fraction
from typing import Any

import polars as pl

from finops_lab.config.feature_plan import FeaturePlan, PlannedModel
from finops_lab.errors import InputError
from finops_lab.money import MONEY, exact_sum
from finops_lab.planning.drivers import Driver, adoption, drivers
from finops_lab.planning.formula import COMPONENTS, Basis, basis, months_of, rounded
from finops_lab.planning.point import Point, point
from finops_lab.planning.sensitivity import sobol, tornado
from finops_lab.planning.simulation import Simulated, simulate
from finops_lab.pricing import price_book
from finops_lab.pricing.ahead import TokenRates, indexed, rates_ahead
from finops_lab.pricing.cards import Book

__all__ = ["FeatureBudget", "Served", "budget_of", "served"]

_STATISTICS = {"p10": pl.Float64, "p50": pl.Float64, "p90": pl.Float64, "mean": pl.Float64}
_MONTHS = {"month": pl.Date, "component": pl.String, "amount": MONEY, **_STATISTICS}
_UNITS = {
    "month": pl.Date,
    "unit": pl.String,
    "amount": MONEY,
    **_STATISTICS,
    "revenue": MONEY,
    "chance_covered": pl.Float64,
}
_MODELS = {
    "model": pl.String,
    "provider": pl.String,
    "price_model": pl.String,
    "context": pl.String,
    "amount": MONEY,
    "p10": pl.Float64,
    "p50": pl.Float64,
    "p90": pl.Float64,
    "per_call": MONEY,
    "difference": MONEY,
    "status": pl.String,
}
_PRICES = {
    "model": pl.String,
    "month": pl.Date,
    "input_usd_per_mtok": MONEY,
    "cached_input_usd_per_mtok": MONEY,
    "cache_write_usd_per_mtok": MONEY,
    "output_usd_per_mtok": MONEY,
    "usd_per_call": MONEY,
    "context": pl.String,
    "origin": pl.String,
}


@dataclass(frozen=True)
class Served:
    """A plan served by one of its models: what its formula needs.

    Attributes
    ----------
    model : PlannedModel
        The model.
    basis : Basis
        What is no driver; its prices among it.
    drivers : list of Driver
        What is.
    """

    model: PlannedModel
    basis: Basis
    drivers: list[Driver]

    @property
    def likely(self) -> dict[str, Decimal]:
        """Every driver at its likely value."""
        return {one.key: one.likely for one in self.drivers}


@dataclass(frozen=True)
class FeatureBudget:
    """What a feature is going to cost. Amounts are USD.

    Attributes
    ----------
    plan : FeaturePlan
        What it was made of.
    months : polars.DataFrame
        ``month`` (Date), ``component`` (``input``, ``cached_input``, ``output``, ``calls``, ``training``,
        ``capacity`` and their sum ``total``), ``amount`` (Decimal, the point estimate), ``p10``,
        ``p50``, ``p90``, ``mean`` (Float64). Components without any amount are left out.
    horizon : polars.DataFrame
        The same of all months together, without ``month``.
    units : polars.DataFrame
        What a ``call``, ``session`` and ``customer`` (a customer's month) costs, which is the revenue
        that breaks even: ``month`` (null is the whole horizon), ``unit``, ``amount``, ``p10``, ``p50``, ``p90``,
        ``mean``, ``revenue`` (Decimal; null where the plan has none for the unit), ``chance_covered``
        (Float64: share of draws in which revenue covers the cost).
    tornado, indices : polars.DataFrame
        From `finops_lab.planning.sensitivity`.
    models : polars.DataFrame
        The same drivers on each model, cheapest first: ``model``, ``provider``, ``price_model``,
        ``context`` (of the prices), ``amount``, ``p10``, ``p50``, ``p90``, ``per_call``, ``difference`` (to the
        plan's model), ``status`` (``planned``, ``priced``, or ``unpriced: `` and why; amounts are then
        null, never 0).
    prices : polars.DataFrame
        The prices used, by model and month, before the assumed yearly change.
    analogues : polars.DataFrame or None
        From `finops_lab.planning.analogues.usage_curve`, where the plan takes its adoption from other
        features.
    """

    plan: FeaturePlan
    months: pl.DataFrame
    horizon: pl.DataFrame
    units: pl.DataFrame
    tornado: pl.DataFrame
    indices: pl.DataFrame
    models: pl.DataFrame
    prices: pl.DataFrame
    analogues: pl.DataFrame | None = None

    def __repr__(self) -> str:
        (total,) = self.horizon.filter(component="total").iter_rows(named=True)
        return (
            f"FeatureBudget({self.plan.name!r}, {self.plan.months} months from {self.plan.first:%Y-%m}: "
            f"{total['amount']:,.2f} USD, P10 {total['p10']:,.0f}, P90 {total['p90']:,.0f})"
        )


def served(plan: FeaturePlan, book: Book) -> dict[str, Served | str]:
    """Look up the prices of each model of a plan.

    Returns
    -------
    dict
        By title of a model: what its formula needs, or why it has no price.
    """
    # A tier goes by the input of a call.
    tokens = plan.usage.input_tokens.likely
    found: dict[str, Served | str] = {}
    for model in plan.models:
        size = int((tokens * model.input_tokens_factor).to_integral_value(ROUND_CEILING))
        rates = _own(model, plan.months) or rates_ahead(
            book, model.provider, model.model, months_of(plan), context=model.context, input_tokens=size
        )
        found[model.title] = (
            rates
            if isinstance(rates, str)
            else Served(model, basis(plan, model, rates), drivers(plan, model))
        )
    return found


def _own(model: PlannedModel, months: int) -> list[TokenRates] | None:
    plain, output = model.input_usd_per_mtok, model.output_usd_per_mtok
    if plain is None or output is None:
        return None
    cached, written = model.cached_input_usd_per_mtok, model.cache_write_usd_per_mtok
    rates = TokenRates(
        plain,
        plain if cached is None else cached,
        plain if written is None else written,
        output,
        model.usd_per_call or Decimal(0),
        model.context,
        "plan",
    )
    return [rates] * months


def budget_of(
    plan: FeaturePlan, book: pl.LazyFrame | None = None, *, analogues: pl.DataFrame | None = None
) -> FeatureBudget:
    """Budget a feature from its drivers.

    Parameters
    ----------
    plan : FeaturePlan
        From `finops_lab.config.feature_plan`, its adoption resolved.
    book : polars.LazyFrame, optional
        ``prices``; the built-in list by default.
    analogues : polars.DataFrame, optional
        Where the adoption is from, to be shown.

    Returns
    -------
    FeatureBudget

    Raises
    ------
    InputError
        When the plan's own model has no price, or its usage is to come from analogues and does not.

    Examples
    --------
    >>> from finops_lab.config import feature_plan
    >>> usage = {"sessions_per_day": 1000, "input_tokens": 500, "output_tokens": {"likely": 50, "high": 90}}
    >>> model = {"model": "m", "input_usd_per_mtok": 2, "output_usd_per_mtok": 8}
    >>> plan = feature_plan({"name": "x", "from": "2026-11", "months": 1, "usage": usage, "models": [model]})
    >>> budget_of(plan).horizon.filter(component="total")["amount"].item().normalize()
    Decimal('42')
    """
    if plan.usage.analogues and not plan.usage.adoption:
        raise InputError(
            "the plan takes its adoption from other features: it needs the lab that knows them",
            hint="give lab=, or write adoption",
        )
    every = served(plan, indexed(price_book() if book is None else book))
    main = every[plan.models[0].title]
    if isinstance(main, str):
        raise InputError(
            f"the plan's model {plan.models[0].title!r} is unpriced: {main}",
            hint="write input_usd_per_mtok and output_usd_per_mtok, or the name the price book knows",
        )
    curve = adoption(plan)
    likely = [one.likely for one in curve]
    exact = point(main.basis, main.likely, likely)
    revenue = plan.revenue.per if plan.revenue else None
    drawn = simulate(main.basis, main.drivers, curve, seed=plan.seed, draws=plan.draws, revenue=revenue)
    months = pl.DataFrame(list(_months(main, exact, drawn)), schema=_MONTHS, orient="row")
    horizon = pl.DataFrame(list(_horizon(exact, drawn)), schema=_MONTHS, orient="row").drop("month")
    used = horizon.filter((pl.col("p90") != 0) | (pl.col("mean") != 0) | (pl.col("amount") != 0))["component"]
    kept = pl.col("component").is_in([*used, "total"])
    return FeatureBudget(
        plan,
        months.filter(kept),
        horizon.filter(kept),
        pl.DataFrame(list(_units(plan, main, exact, drawn)), schema=_UNITS, orient="row"),
        tornado(main.basis, main.drivers, curve),
        sobol(main.basis, main.drivers, curve, seed=plan.seed),
        _compared(plan, every, exact),
        pl.DataFrame(list(_prices(every)), schema=_PRICES, orient="row"),
        analogues,
    )


def _months(main: Served, exact: list[Point], drawn: Simulated) -> Iterator[tuple[Any, ...]]:
    for month, amounts, figures in zip(main.basis.months, exact, drawn.months, strict=True):
        for name in COMPONENTS:
            yield month, name, amounts.amounts[name], *figures[name]
        yield month, "total", amounts.total, *figures["total"]


def _horizon(exact: list[Point], drawn: Simulated) -> Iterator[tuple[Any, ...]]:
    for name in COMPONENTS:
        yield None, name, exact_sum(month.amounts[name] for month in exact), *drawn.whole[name]
    yield None, "total", exact_sum(month.total for month in exact), *drawn.whole["total"]


def _units(
    plan: FeaturePlan, main: Served, exact: list[Point], drawn: Simulated
) -> Iterator[tuple[Any, ...]]:
    revenue = plan.revenue.per if plan.revenue else {}
    calls = sum((month.calls for month in exact), Fraction(0))
    sessions = None if exact[0].sessions is None else sum((m.sessions or Fraction(0) for m in exact), Fraction(0))
    whole = exact_sum(month.total for month in exact)
    told = [
        (month, amounts.total, amounts.calls, amounts.sessions, figures)
        for month, amounts, figures in zip(main.basis.months, exact, drawn.months, strict=True)
    ]
    for (month, total, made, held, figures), covered in zip(
        [*told, (None, whole, calls, sessions, drawn.whole)], drawn.covered, strict=True
    ):
        counts = {"call": made, "session": held}
        if plan.usage.sessions_per_customer is not None and held is not None:
            counts["customer"] = held / Fraction(plan.usage.sessions_per_customer.likely)
        for unit, count in counts.items():
            if count is None:
                continue
            amount = rounded(Fraction(total) / count) if count else None
            statistics = figures.get(f"per {unit}", (None,) * len(_STATISTICS))
            chance = covered if unit in revenue else None
            yield month, unit, amount, *statistics, revenue.get(unit), chance


def _compared(plan: FeaturePlan, every: dict[str, Served | str], exact: list[Point]) -> pl.DataFrame:
    curve = adoption(plan)
    likely = [one.likely for one in curve]
    planned = exact_sum(month.total for month in exact)
    rows: list[tuple[Any, ...]] = []
    for model in plan.models:
        names = (model.title, model.provider, model.model)
        one = every[model.title]
        if isinstance(one, str):
            rows.append((*names, model.context, *[None] * 6, f"unpriced: {one}"))
            continue
        months = point(one.basis, one.likely, likely)
        total = exact_sum(month.total for month in months)
        drawn = simulate(one.basis, one.drivers, curve, seed=plan.seed, draws=plan.draws).whole["total"]
        calls = sum((month.calls for month in months), Fraction(0))
        per_call = rounded(Fraction(total) / calls) if calls else None
        status = "planned" if model is plan.models[0] else "priced"
        context = one.basis.rates[0].context
        rows.append((*names, context, total, *drawn[:3], per_call, total - planned, status))
    return pl.DataFrame(rows, schema=_MODELS, orient="row").sort("amount", "model", nulls_last=True)


def _prices(every: dict[str, Served | str]) -> Iterator[tuple[Any, ...]]:
    for title, one in every.items():
        if isinstance(one, str):
            continue
        for month, rates in zip(one.basis.months, one.basis.rates, strict=True):
            amounts = (rates.input, rates.cached_input, rates.cache_write, rates.output, rates.call)
            yield title, month, *amounts, rates.context, rates.origin
