"""A lab's commitments: what is held, and what to commit to next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import polars as pl

from finops_lab.calendar import add_months, first_of, months_between
from finops_lab.config import Commitment
from finops_lab.errors import InputError, NoDataError
from finops_lab.forecasting import forecast
from finops_lab.lab import Lab
from finops_lab.money import MONEY, divided, exact_sum, product
from finops_lab.planning import demand
from finops_lab.planning.commitments import Plan, of_what, plan, terms_of
from finops_lab.planning.confidence import Rule
from finops_lab.planning.holdings import BurnDown, burn_down, coverage, held
from finops_lab.planning.ladder import ladder

__all__ = ["OFFERS", "Commitments", "commitments"]

OFFERS: dict[str, pl.DataType | type[pl.DataType]] = {
    "commitment": pl.String,
    "kind": pl.String,
    "term_months": pl.Int64,
    "break_even": MONEY,
    "level": MONEY,
    "committed": MONEY,
    "saving": MONEY,
    "saving_lo": MONEY,
    "saving_hi": MONEY,
    "utilization": pl.Float64,
    "coverage": pl.Float64,
    "hindsight_level": MONEY,
    "regret": MONEY,
    "recommended": pl.Boolean,
    "reason": pl.String,
}


@dataclass(frozen=True)
class Commitments:
    """What is held, and what is offered.

    Attributes
    ----------
    month : datetime.date
        The last month that was looked at.
    held : polars.DataFrame
        `finops_lab.planning.holdings.HELD` of all months.
    coverage : polars.DataFrame
        From `finops_lab.planning.holdings.coverage`.
    offers : polars.DataFrame
        `OFFERS`: every offer with its best level, amounts of the whole term, ``regret`` (mean of the
        backtest) and whether it is recommended. Offers are judged one by one: two for the same use
        are alternatives.
    plans : dict of str to Plan
        What is behind each offer.
    ladders : dict of str to polars.DataFrame
        Of recommended offers with a step: tranches of which a quarter ends in one month at most.
    burn_downs : dict of str to dict of str to BurnDown
        Of prepaid units that are held: as ``expected``, with ``little`` and with ``much`` use (the
        80 % bounds of the forecast).
    notes : tuple of str
        What to know beside.
    """

    month: date
    held: pl.DataFrame
    coverage: pl.DataFrame
    offers: pl.DataFrame
    plans: dict[str, Plan]
    ladders: dict[str, pl.DataFrame]
    burn_downs: dict[str, dict[str, BurnDown]]
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        good = self.offers["recommended"].sum() if self.offers.height else 0
        return (
            f"Commitments({self.month:%Y-%m}: {self.held['commitment'].n_unique()} held, {self.offers.height} "
            f"offers, {good} recommended; .held .coverage .offers .plans .ladders .burn_downs .notes)"
        )


def commitments(
    lab: Lab,
    month: str | date,
    *,
    offers: Sequence[Commitment] | None = None,
    rule: Rule | None = None,
) -> Commitments:
    """Tell what the lab's commitments bring, and what to commit to next.

    Parameters
    ----------
    lab : Lab
        An opened lab.
    month : str or datetime.date
        Last whole month of the bill, such as ``2026-10``: nothing after it is looked at.
    offers : sequence of Commitment, optional
        In the place of ``[[commitments]]`` of `finops.toml`, held ones among them.
    rule : Rule, optional
        When an offer is recommended.

    Returns
    -------
    Commitments

    Raises
    ------
    NoDataError
        No use on the bill fits an offer.
    InputError
        The use of an offer is counted in several units, or its price is not known.
    """
    last = first_of(month)
    end = datetime.combine(add_months(last, 1), datetime.min.time(), UTC)
    costs = lab.costs().filter(pl.col("ChargePeriodStart") < end)
    said = lab.config.commitments if offers is None else offers
    mine = [one for one in said if one.status == "held"]
    on_bill = held(costs)
    notes = _unknown(on_bill, mine, last)
    plans: dict[str, Plan] = {}
    ladders: dict[str, pl.DataFrame] = {}
    for offer in said:
        if offer.status != "offered":
            continue
        slots = _slots(costs, offer, end)
        done = plan(slots, offer, held=_cover(costs, offer, mine, end), rule=rule)
        plans[offer.name] = done
        if done.recommended and offer.step is not None and offer.kind != "prepaid":
            try:
                ladders[offer.name] = ladder(
                    done.best.level,
                    {offer.term_months: Decimal(1)},
                    start=add_months(last, 1),
                    step=offer.step,
                )
            except InputError as error:
                notes.append(f"{offer.name}: no ladder, {error.message}")
    burns = {
        one.name: _burns(_slots(costs, one, end), one, add_months(last, 1))
        for one in mine
        if one.kind == "prepaid" and one.last is not None and one.last >= end.date()
    }
    rows = [_row(done) for done in plans.values()]
    table = pl.DataFrame(rows, schema=OFFERS, orient="row")
    return Commitments(last, on_bill, coverage(costs), table, plans, ladders, burns, tuple(notes))


def _slots(costs: pl.LazyFrame, offer: Commitment, end: datetime) -> pl.DataFrame:
    try:
        found = demand.slots(costs, offer.where, of=of_what(offer))
    except (NoDataError, InputError) as error:
        raise type(error)(f"commitment {offer.name!r}: {error.message}", hint=error.hint) from None
    if max(found["start"]) + timedelta(hours=int(found["hours"][0])) < end:
        raise NoDataError(
            f"commitment {offer.name!r}: no use fits in {end - timedelta(days=1):%Y-%m}",
            hint="its use has ended, or the month is not on the bill",
        )
    return found


def _unknown(on_bill: pl.DataFrame, mine: Sequence[Commitment], last: date) -> list[str]:
    now = on_bill.filter(pl.col("month") == last, pl.col("paid") > 0)["commitment"].unique().sort()
    known = {one.id for one in mine}
    return [
        f"{name} is on the bill and not in [[commitments]] as held: what it covers is not taken off the demand"
        for name in now
        if name not in known
    ]


def _cover(costs: pl.LazyFrame, offer: Commitment, mine: Sequence[Commitment], end: datetime) -> pl.DataFrame:
    """Return what is held for the same use, in units of the offer's demand."""
    rows = []
    for one in mine:
        ended = one.last is not None and one.last < end.date()
        if dict(one.where) != dict(offer.where) or one.kind == "prepaid" or ended:
            continue
        assert one.level is not None
        slots = _slots(costs, one, end)
        covers = Fraction(one.level) * terms_of(one, demand.price_of(slots)).covers
        if of_what(one) != of_what(offer):
            units = slots if of_what(one) == "quantity" else _slots(costs, offer, end)
            price = demand.price_of(units)
            if not price:
                raise InputError(f"commitment {one.name!r}: what a unit of its use costs is not known")
            covers *= Fraction(price) if of_what(one) == "quantity" else 1 / Fraction(price)
        rows.append((divided(Decimal(covers.numerator), covers.denominator), one.last))
    return pl.DataFrame(rows, schema={"covers": MONEY, "last": pl.Date}, orient="row")


def _burns(slots: pl.DataFrame, one: Commitment, first: date) -> dict[str, BurnDown]:
    """Use up what is left of prepaid units, as forecast and at the bounds of the forecast."""
    assert one.level is not None and one.last is not None
    since = pl.lit(True) if one.first is None else pl.col("start").dt.date() >= one.first
    used = exact_sum(slots.filter(since)["quantity"])
    balance = max(exact_sum([one.level, -used]), Decimal(0))
    months = months_between(first, one.last) + 1
    ahead = forecast(demand.monthly_panel(slots), months, nonnegative=True)
    price = demand.price_of(slots)
    paid = one.rate if one.rate is not None else product(price, 1 - (one.discount or Decimal(0)))
    found = {}
    for name, column in (("expected", "yhat"), ("little", "lo_80"), ("much", "hi_80")):
        amounts = ahead[column].fill_null(ahead["yhat"]).round(6).cast(pl.Decimal(38, 6)).cast(MONEY)
        use = list(zip(ahead["ds"], amounts, strict=True))
        found[name] = burn_down(balance, use, first=first, expires=one.last, price=paid)
    return found


def _row(done: Plan) -> tuple[object, ...]:
    best, offer = done.best, done.offer
    regrets = done.backtest["regret"].to_list()
    return (
        offer.name,
        offer.kind,
        offer.term_months,
        best.break_even,
        best.level,
        best.committed,
        best.saving,
        done.saving_lo,
        done.saving_hi,
        best.utilization,
        best.coverage,
        done.hindsight.level,
        divided(exact_sum(regrets), len(regrets)),
        done.recommended,
        done.reason,
    )
