"""The budget of a feature that has no history: drivers, ranges, and what they come to.

The point estimate has every driver at its likely value and is exact. P10, P50 and P90 are statistics
of simulated draws: the sum of likely values is not the likely sum, and where a product of ranges
leans to one side, neither is the point the median.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from fractions import Fraction
from typing import Any

import polars as pl

from finops_lab.config.feature_plan import FeaturePlan, PlannedModel
from finops_lab.errors import InputError
from finops_lab.money import MONEY, exact_sum
from finops_lab.planning.drivers import adoption, drivers
from finops_lab.planning.figures import Figures, Served, figures
from finops_lab.planning.formula import basis, months_of, rounded
from finops_lab.planning.point import point
from finops_lab.planning.sensitivity import sobol, tornado
from finops_lab.planning.simulation import simulate
from finops_lab.pricing import price_book
from finops_lab.pricing.ahead import TokenRates, indexed, rates_ahead
from finops_lab.pricing.cards import Book

__all__ = ["FeatureBudget", "budget_of", "served"]

_MODELS: dict[str, pl.DataType | type[pl.DataType]] = {
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
_PRICES: dict[str, pl.DataType | type[pl.DataType]] = {
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
class FeatureBudget:
    """What a feature is going to cost. Amounts are USD.

    Attributes
    ----------
    plan : FeaturePlan
        What it was made of.
    served : dict
        What the formula needs of each model, or why it has no price.
    figures : Figures
        `months`, `horizon`, `units` and the chance that the point estimate is exceeded.
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
    served: dict[str, Served | str]
    figures: Figures
    tornado: pl.DataFrame
    indices: pl.DataFrame
    models: pl.DataFrame
    prices: pl.DataFrame
    analogues: pl.DataFrame | None = None

    @property
    def months(self) -> pl.DataFrame:
        """What each month costs, by component."""
        return self.figures.months

    @property
    def horizon(self) -> pl.DataFrame:
        """What all months cost together, by component."""
        return self.figures.horizon

    @property
    def units(self) -> pl.DataFrame:
        """What a call, a session and a customer's month cost: the revenue that breaks even."""
        return self.figures.units

    def what_if(self, values: Mapping[str, Decimal | int | str], model: str | None = None) -> Figures:
        """Hold drivers at values of one's own, or take another of the plan's models.

        Parameters
        ----------
        values : mapping
            By key of a driver, as in `tornado`: Decimal, whole numbers or text; floats are not exact.
        model : str, optional
            Title of a model of the plan.

        Raises
        ------
        InputError
            When a driver or the model is not known, or the model is unpriced.
        """
        title = model or self.plan.models[0].title
        one = self.served.get(title, "it is none of the plan's models")
        if isinstance(one, str):
            raise InputError(
                f"{title!r} cannot be worked out: {one}", hint=f"models: {', '.join(self.served)}"
            )
        if wrong := [key for key, value in values.items() if isinstance(value, float)]:
            raise InputError(f"{wrong[0]} is a float, which is not exact", hint="write a Decimal or text")
        return figures(self.plan, one, {key: Decimal(value) for key, value in values.items()})

    def __repr__(self) -> str:
        total = self.figures.total
        return (
            f"FeatureBudget({self.plan.name!r}, {self.plan.months} months from {self.plan.first:%Y-%m}: "
            f"{total['amount']:,.2f} USD, P10 {total['p10']:,.0f}, P90 {total['p90']:,.0f})"
        )


def served(plan: FeaturePlan, book: pl.LazyFrame | None = None) -> dict[str, Served | str]:
    """Look up the prices of each model of a plan.

    Returns
    -------
    dict
        By title of a model: what its formula needs, or why it has no price.
    """
    # A tier goes by the input of a call.
    tokens = plan.usage.input_tokens.likely
    found: dict[str, Served | str] = {}
    known: Book | None = None
    for model in plan.models:
        rates: list[TokenRates] | str | None = _own(model, plan.months)
        if rates is None:
            # Only what needs the book pays for reading it.
            known = known or indexed(price_book() if book is None else book)
            size = int((tokens * model.input_tokens_factor).to_integral_value(ROUND_CEILING))
            names = model.provider, model.model
            rates = rates_ahead(known, *names, months_of(plan), context=model.context, input_tokens=size)
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
    every = served(plan, book)
    main = every[plan.models[0].title]
    if isinstance(main, str):
        raise InputError(
            f"the plan's model {plan.models[0].title!r} is unpriced: {main}",
            hint="write input_usd_per_mtok and output_usd_per_mtok, or the name the price book knows",
        )
    curve = adoption(plan)
    return FeatureBudget(
        plan,
        every,
        figures(plan, main),
        tornado(main.basis, main.drivers, curve),
        sobol(main.basis, main.drivers, curve, seed=plan.seed),
        _compared(plan, every),
        pl.DataFrame(list(_prices(every)), schema=_PRICES, orient="row"),
        analogues,
    )


def _compared(plan: FeaturePlan, every: dict[str, Served | str]) -> pl.DataFrame:
    curve = adoption(plan)
    likely = [one.likely for one in curve]
    planned: Decimal | None = None
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
        planned = total if planned is None else planned
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
