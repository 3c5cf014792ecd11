"""A commitment that is offered: its best level, what it saves, how sure that is, and what it would have done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction

import polars as pl

from finops_lab.calendar import add_months, days_in_month
from finops_lab.config import Commitment
from finops_lab.errors import InputError
from finops_lab.forecasting import forecast as _forecast
from finops_lab.money import MONEY, divided, exact_sum, product
from finops_lab.planning import demand as _demand
from finops_lab.planning.confidence import Rule, checks, verdict
from finops_lab.planning.levels import Level, Terms, best_level, cost_curve

__all__ = ["BACKTEST", "Plan", "of_what", "plan", "regret", "terms_of"]

Forecaster = Callable[[pl.DataFrame, int], pl.DataFrame]

BACKTEST: dict[str, pl.DataType | type[pl.DataType]] = {
    "decided": pl.Date,
    "months": pl.Int64,
    "level": MONEY,
    "hindsight_level": MONEY,
    "cost": MONEY,
    "cost_hindsight": MONEY,
    "cost_without": MONEY,
    "saving": MONEY,
    "regret": MONEY,
}
_ORIGINS = 3
_LEAST = 12  # months before a decision
_STEPS, _PLACES = 40, 6  # points of a curve, and their decimals


@dataclass(frozen=True)
class Plan:
    """What is known of an offer.

    Attributes
    ----------
    offer : Commitment
        The offer.
    terms : Terms
        Its prices.
    best : Level
        The level with the least expected cost over the term, and its amounts.
    saving_lo, saving_hi : Decimal
        What that level saves if demand comes out at its lower and upper 80 % bound in all months.
    hindsight : Level
        The level that would have cost least in the last months, as many as the term at most, had what
        is held now been held then.
    recommended : bool
        Whether all checks hold and there is something to commit to.
    reason : str
        Why, or why not.
    checks : polars.DataFrame
        The rule: see `finops_lab.planning.confidence.CHECKS`.
    backtest : polars.DataFrame
        `BACKTEST`: decisions made on the past alone, and what came.
    curve : polars.DataFrame
        Expected cost of levels, and with ``hindsight`` that of the last months, a month of 730 hours
        (the term, where prepaid).
    """

    offer: Commitment
    terms: Terms
    best: Level
    saving_lo: Decimal
    saving_hi: Decimal
    hindsight: Level
    recommended: bool
    reason: str
    checks: pl.DataFrame
    backtest: pl.DataFrame
    curve: pl.DataFrame

    def __repr__(self) -> str:
        return (
            f"Plan({self.offer.name!r}: level {self.best.level:f}, {self.reason}; .checks .backtest .curve)"
        )


def of_what(offer: Commitment) -> str:
    """Return what demand for a commitment is counted by: ``money`` or ``quantity``."""
    return "money" if offer.kind == "savings_plan" else "quantity"


def terms_of(offer: Commitment, on_demand: Decimal | None) -> Terms:
    """Return the prices of an offer, given what a unit of use costs without it.

    Raises
    ------
    InputError
        The bill does not tell that price.

    Examples
    --------
    >>> offer = Commitment(name="a", kind="reserved", where={"SkuId": ("gpu",)}, discount=Decimal("0.4"))
    >>> terms_of(offer, Decimal(10)).critical
    Fraction(3, 5)
    """
    if offer.kind == "savings_plan":
        assert offer.discount is not None
        return Terms.savings_plan(offer.discount)
    if not on_demand:
        raise InputError(
            f"commitment {offer.name!r}: the bill does not say what this use costs without it",
            hint="ContractedCost is empty there",
        )
    if offer.kind == "provisioned":
        assert offer.rate is not None and offer.tokens_per_hour is not None
        return Terms(Fraction(offer.rate), Fraction(on_demand), Fraction(offer.tokens_per_hour))
    return Terms.units(on_demand, discount=offer.discount, rate=offer.rate)


def plan(
    slots: pl.DataFrame,
    offer: Commitment,
    *,
    held: pl.DataFrame | None = None,
    rule: Rule | None = None,
    forecast: Forecaster | None = None,
) -> Plan:
    """Find the level of an offer, and say whether to take it.

    Parameters
    ----------
    slots : polars.DataFrame
        `finops_lab.planning.demand.SLOTS` of whole months: what the offer could pay for.
    offer : Commitment
        Of ``[[commitments]]``.
    held : polars.DataFrame, optional
        ``covers`` and ``last`` of what is held, as for `finops_lab.planning.demand.without_held`:
        the offer is for what is above it. The backtest judges the offer alone.
    rule : Rule, optional
        When it is recommended.
    forecast : callable, optional
        From a panel and a number of months to a forecast; `finops_lab.forecasting.forecast`, never
        below 0, without it.

    Returns
    -------
    Plan

    Raises
    ------
    InputError
        The history is empty or negative, or its price is not known.

    Notes
    -----
    Demand ahead is the shape of the last three months times the forecast of each month of the term.
    Its expected cost over ten equally likely forecasts is the cost over all their hours together, so
    that the newsvendor's quantile of those hours is the level with the least expected cost.
    """
    ahead_of = forecast or _nonnegative
    terms = terms_of(offer, _demand.price_of(slots))
    panel = _demand.monthly_panel(slots)
    ahead = ahead_of(panel, offer.term_months)
    hours = _hours(ahead["ds"].to_list()) if offer.kind != "prepaid" else 1

    def future(p: float | None) -> pl.DataFrame:
        demand = _future(slots, offer, ahead, p)
        return demand if held is None or offer.kind == "prepaid" else _demand.without_held(demand, held)

    best = best_level(future(None), terms, hours=hours, step=offer.step)
    low, high = (best_level(future(p), terms, hours=hours, at=best.level).saving for p in (0.1, 0.9))
    past = _past(slots, offer, offer.term_months)
    if held is not None and offer.kind != "prepaid":
        past = _rest(past, held)
    hindsight = best_level(past, terms, step=offer.step)
    tried = regret(slots, offer, terms, forecast=ahead_of)
    worst = float(tried["saving"].min()) if tried.height else None  # type: ignore[arg-type]
    found = checks(
        panel, ahead, term_months=offer.term_months, saving_lo=float(low), worst_backtest=worst, rule=rule
    )
    good, reason = verdict(found)
    if best.level == 0:
        good, reason = False, "not recommended: no level costs less than use on demand"
    curve = _curve(future(None), past, terms, best, hindsight, offer)
    return Plan(offer, terms, best, low, high, hindsight, good, reason, found, tried, curve)


def regret(
    slots: pl.DataFrame,
    offer: Commitment,
    terms: Terms,
    *,
    forecast: Forecaster | None = None,
    origins: int = _ORIGINS,
) -> pl.DataFrame:
    """Decide at earlier months on what was known then, and judge by what came.

    Parameters
    ----------
    slots, offer, forecast
        As for `plan`.
    terms : Terms
        Prices, today's: only the level is in question.
    origins : int
        Decisions, a month apart; the newest has the whole term after it, or what there is of it.

    Returns
    -------
    polars.DataFrame
        `BACKTEST`. ``regret`` is the cost beyond that of the best level in hindsight, never below
        0. Empty where 12 months before a decision and one after it are not there.
    """
    ahead_of = forecast or _nonnegative
    month = pl.col("start").dt.date().dt.month_start()
    months: list[date] = slots.select(month.unique().sort()).to_series().to_list()
    judged = min(offer.term_months, len(months) - _LEAST - origins + 1)
    if judged < 1:
        origins, judged = 1, min(offer.term_months, len(months) - _LEAST)
    rows = []
    for back in reversed(range(origins)):
        at = len(months) - judged - back
        if judged < 1 or at < _LEAST:
            continue
        before = slots.filter(month < months[at])
        after = slots.filter(month.is_between(months[at], months[at + judged - 1]))
        ahead = ahead_of(_demand.monthly_panel(before), judged)
        decided = best_level(_future(before, offer, ahead, None), terms, step=offer.step).level
        came = _past(after, offer, judged)
        best, done = best_level(came, terms, step=offer.step), best_level(came, terms, at=decided)
        beyond = exact_sum([done.cost, -best.cost])
        rows.append(
            (
                months[at],
                judged,
                decided,
                best.level,
                done.cost,
                best.cost,
                done.cost_without,
                done.saving,
                beyond,
            )
        )
    return pl.DataFrame(rows, schema=BACKTEST, orient="row")


def _nonnegative(panel: pl.DataFrame, months: int) -> pl.DataFrame:
    return _forecast(panel, months, nonnegative=True)


def _future(slots: pl.DataFrame, offer: Commitment, ahead: pl.DataFrame, p: float | None) -> pl.DataFrame:
    return _demand.ahead_totals(ahead, p=p) if offer.kind == "prepaid" else _demand.ahead(slots, ahead, p=p)


def _past(slots: pl.DataFrame, offer: Commitment, months: int) -> pl.DataFrame:
    """Return the demand of the last months: every hour, or what is used up in all of them."""
    last = slots["start"].dt.date().dt.month_start().max()
    some = slots.filter(pl.col("start").dt.date() >= add_months(last, 1 - months))  # type: ignore[arg-type]
    if offer.kind != "prepaid":
        return _demand.rates_of(some)
    return some.select(pl.col("quantity").sum().cast(MONEY), pl.lit(1, pl.Int64).alias("weight"))


def _rest(past: pl.DataFrame, held: pl.DataFrame) -> pl.DataFrame:
    """Take what is held now off the past."""
    covers = exact_sum(held["covers"])
    rest = [
        max(exact_sum([quantity, -(product(covers, Decimal(hours)) or Decimal(0))]), Decimal(0))
        for quantity, hours in past.select("quantity", "weight").iter_rows()
    ]
    return past.with_columns(pl.Series("quantity", rest, MONEY))


def _hours(months: list[date]) -> int:
    return sum(24 * days_in_month(month) for month in months)


def _curve(
    ahead: pl.DataFrame, past: pl.DataFrame, terms: Terms, best: Level, hindsight: Level, offer: Commitment
) -> pl.DataFrame:
    """Return expected cost and that of the past by level, with the two best levels among them."""
    peak = past.select(pl.col("quantity").cast(pl.Float64) / pl.col("weight")).to_series().max()
    edge = Fraction(max(float(ahead["demand"].max()), float(peak))) / terms.covers  # type: ignore[arg-type]
    top = round(Decimal(float(edge)), _PLACES) or Decimal(1)
    even = [divided(top * n, _STEPS) or Decimal(0) for n in range(_STEPS + 1)]
    levels = sorted({*even, best.level, hindsight.level})
    size = 1 if offer.kind == "prepaid" else 730
    expected = cost_curve(ahead, terms, levels, hours=size)
    before = cost_curve(past, terms, levels, hours=size).select("level", pl.col("cost").alias("hindsight"))
    return expected.join(before, on="level").sort("level")
