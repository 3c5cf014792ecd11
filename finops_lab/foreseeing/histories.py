"""What a lab's forecast is made from: monthly spend per leaf of a hierarchy, and daily spend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from difflib import get_close_matches
from functools import cached_property

import polars as pl

from finops_lab import bookkeeping, config
from finops_lab.allocation import Ledger, convert
from finops_lab.calendar import add_months, first_of, format_month
from finops_lab.contracts import DIMENSIONS
from finops_lab.errors import InputError, NoDataError, each_name
from finops_lab.forecasting.components import ended
from finops_lab.forecasting.events import events_frame
from finops_lab.forecasting.hierarchy import TOTAL, Tree, add_up, tree
from finops_lab.lab import Lab
from finops_lab.money import MONEY, one_currency

__all__ = ["BY", "Panels", "ledger_of", "node_events", "panels", "strangers"]

BY = ("team", "model")
_UNKNOWN = "unknown"
_KIND = ("ChargeCategory", "ProviderName", "ServiceName")
_NO_AMOUNT = pl.lit(None, pl.Float64)
_USUAL_MONTHS = 3  # whose days tell whether charges come every day
_USUAL_DAYS = 20  # of such a month with charges


@dataclass(frozen=True)
class Panels:
    """Monthly spend of a lab, as forecasting takes it, at levels that add up.

    Attributes
    ----------
    month : datetime.date
        The last whole month: the history's end.
    running : datetime.date or None
        The month after it, where the lab has its first days only.
    through : datetime.date
        The last day with charges.
    by : tuple of str
        The dimensions.
    currency : str
        ISO 4217 code of all amounts.
    metric : str
        The cost column.
    nodes : polars.DataFrame
        ``unique_id`` (of a node), ``ds`` (first of month), ``y`` (Decimal; null where the cost of
        every charge is unknown): the history of the total, of each value of each dimension and of
        each combination. A month without charges since a leaf's first one is 0 where others have
        charges, and absent where nobody has.
    going_on : polars.DataFrame
        The same months without charges that ended, by `finops_lab.forecasting.components.ended`: what
        is forecast.
    ended : polars.DataFrame
        ``ChargeCategory, ProviderName, ServiceName, ds, y``: those charges, per month; sorted.
    hierarchy : Tree or None
        Which nodes add up to which; None where `by` is empty.
    days : polars.DataFrame
        ``unique_id`` (the total and the values of the first dimension), ``day``, ``y`` of the running
        month and the 14 before it; empty where none runs.
    """

    month: date
    running: date | None
    through: date
    by: tuple[str, ...]
    currency: str
    metric: str
    nodes: pl.DataFrame
    going_on: pl.DataFrame
    ended: pl.DataFrame
    hierarchy: Tree | None
    days: pl.DataFrame

    @cached_property
    def names(self) -> pl.DataFrame:
        """``unique_id``, ``level``, a column per dimension and ``name``: what a level calls a node."""
        if self.hierarchy is None:
            made = {"unique_id": [TOTAL], "level": [TOTAL], "name": [TOTAL]}
            return pl.DataFrame(made, schema=dict.fromkeys(made, pl.String))
        words = pl.concat_str([pl.col(name) for name in self.by], separator=", ", ignore_nulls=True)
        name = pl.when(pl.col("level") == TOTAL).then(pl.lit(TOTAL)).otherwise(words)
        return self.hierarchy.nodes.with_columns(name.alias("name"))

    @property
    def kinds_ended(self) -> pl.DataFrame:
        """What ended, largest first: its kind, ``last`` (month with a charge), ``months``, ``y`` in all."""
        charged = pl.col("ds").filter(pl.col("y") != 0)
        return (
            self.ended.group_by(_KIND)
            .agg(charged.max().alias("last"), charged.n_unique().alias("months"), pl.col("y").sum())
            .sort(-pl.col("y").abs(), *_KIND, nulls_last=True)
        )

    def of(self, dimension: str | None = None) -> pl.DataFrame:
        """Return the panel of a dimension, or of the total: `unique_id` is then its value.

        Raises
        ------
        InputError
            When the panels were not made by this dimension.
        """
        return self.named(self.nodes, dimension)

    def named(self, frame: pl.DataFrame, level: str | None = None) -> pl.DataFrame:
        """Return a level's rows of a frame of nodes, each called by its value."""
        level = level or TOTAL
        mine = self.names.filter(pl.col("level") == level).select("unique_id", _name="name")
        if mine.is_empty():
            raise InputError(f"the forecast is not by {level!r}", hint=f"it is by {', '.join(self.by)}")
        return (
            frame.join(mine, on="unique_id")
            .with_columns(unique_id=pl.col("_name"))
            .drop("_name")
            .sort("unique_id", frame.columns[1])
        )


def panels(
    source: Lab | Ledger,
    month: str | date,
    by: str | Sequence[str] = BY,
    *,
    metric: str = "EffectiveCost",
) -> Panels:
    """Add up a lab's spend per month and node, up to a month.

    Parameters
    ----------
    source : Lab or Ledger
        An opened lab, or its ledger in one currency.
    month : str or datetime.date
        The last month to look at, such as ``2026-10``. Where charges come every day and stop before
        its end, it still runs: the history ends a month earlier.
    by : str or sequence of str
        Dimensions such as ``team``, or ledger columns such as ``ProviderName``; none for the total.
    metric : str
        The cost column.

    Raises
    ------
    InputError
        When the month, the metric or a dimension is none.
    CurrencyError
        When the bills are in several currencies and `finops.toml` has no rates.
    NoDataError
        When there are no charges up to the month.
    """
    by = each_name(by)
    entries = ledger_of(source).entries
    asked = first_of(month)
    columns = {name: f"x_{name}" if name in DIMENSIONS else name for name in by}
    for name in (metric, *columns.values()):
        if name not in entries.columns:
            raise InputError(
                f"the ledger has no column {name!r}", hint=f"dimensions: {', '.join(DIMENSIONS)}"
            )
    if len(set(by)) != len(by):
        raise InputError("a dimension is named twice", hint=f"by = {', '.join(by)}")
    if not (entries["x_ChargeMonth"] <= format_month(asked)).any():
        raise NoDataError(f"there are no charges up to {format_month(asked)}")
    currency = one_currency(entries["BillingCurrency"].unique()) or "unknown"
    charges = entries.lazy().select(
        pl.col(_KIND).name.prefix("_"),  # a dimension may have the same name
        pl.col("x_ChargeDate").alias("day"),
        pl.col(metric).alias("y"),
        *[pl.col(column).cast(pl.String).fill_null(_UNKNOWN).alias(name) for name, column in columns.items()],
    )
    through, running = _running(charges.select(pl.col("day").drop_nulls().unique().sort()).collect(), asked)
    last = add_months(running, -1) if running == asked else asked
    gone = ended(entries, last, metric).collect().select(pl.all().name.prefix("_"), gone=True)
    kind = [f"_{name}" for name in _KIND]
    daily = (
        charges.join(gone.lazy(), on=kind, how="left", nulls_equal=True)
        .group_by("day", *by)
        .agg(_sum(), _going_on())
        .collect()
    )
    monthly = (
        daily.filter(pl.col("day") < add_months(last, 1))
        .group_by(*by, ds=pl.col("day").dt.month_start())
        .agg(_sum(), _sum("going_on"))
    )
    if monthly.is_empty():
        raise NoDataError(f"{format_month(asked)} is not over, and there is no month before it")
    keys = monthly.select(by).unique().sort(by) if by else None
    hierarchy = tree(keys) if keys is not None else None
    nodes = _nodes(monthly, by, hierarchy, "ds")
    going_on = _nodes(monthly.with_columns(y="going_on"), by, hierarchy, "ds")
    apart = (
        charges.join(gone.lazy(), on=kind, nulls_equal=True)
        .filter(pl.col("day") < add_months(last, 1))
        .group_by(*[pl.col(f"_{name}").alias(name) for name in _KIND], ds=pl.col("day").dt.month_start())
        .agg(_sum())
        .sort(*_KIND, "ds")
        .collect()
    )
    days = pl.DataFrame(schema={"unique_id": pl.String, "day": pl.Date, "y": MONEY})
    if running is not None:
        recent = daily.filter(
            pl.col("day") >= add_months(running, -14), pl.col("day") < add_months(running, 1)
        )
        first = by[:1]
        days_tree = tree(recent.select(first).unique().sort(first)) if first else None
        rolled = recent.group_by("day", *first).agg(_sum())
        days = _nodes(rolled, first, days_tree, "day")
    return Panels(
        last, running, through, tuple(by), currency, metric, nodes, going_on, apart, hierarchy, days
    )


def node_events(made: Panels, labelled: Sequence[config.Event]) -> pl.DataFrame:
    """Say which nodes the events of `finops.toml` touch.

    An event of everything touches every node, and one of a value its node and the combinations that
    hold it; with its amount only the node that it was written for, since nobody said how it divides.
    The total bears the amounts of all, whatever dimension they are of: what a team did once, the total
    did too.

    Parameters
    ----------
    made : Panels
        The nodes.
    labelled : sequence of Event
        ``[[events]]``.

    Returns
    -------
    polars.DataFrame
        As `finops_lab.forecasting.events.read_events` takes, by `unique_id` of nodes.
    """
    names = made.names
    parts = [events_frame(labelled, None).with_columns(unique_id=pl.lit(TOTAL))]
    # Also of dimensions that the panel is not by; two alike are two, so nothing is made unique.
    for dimension in DIMENSIONS:
        known = events_frame(labelled, dimension).filter(
            pl.col("unique_id").is_not_null(), pl.col("amount").is_not_null()
        )
        parts.append(known.with_columns(unique_id=pl.lit(TOTAL)))
    for level in made.by:
        frame = events_frame(labelled, level)
        here = names.filter(pl.col("level") == level).select("unique_id", value="name")
        mine = frame.filter(pl.col("unique_id").is_not_null()).rename({"unique_id": "value"})
        parts.append(mine.join(here, on="value").select(frame.columns))
        everyone = frame.filter(pl.col("unique_id").is_null()).drop("unique_id")
        parts.append(here.select("unique_id").join(everyone, how="cross").select(frame.columns))
        if len(made.by) > 1:
            cells = names.filter(pl.col("level") == ", ".join(made.by)).select("unique_id", value=level)
            parts.append(mine.join(cells, on="value").select(frame.columns).with_columns(amount=_NO_AMOUNT))
            if level == made.by[0]:
                parts.append(cells.select("unique_id").join(everyone, how="cross").select(frame.columns))
    return pl.concat(parts)


def strangers(made: Panels, labelled: Sequence[config.Event]) -> list[str]:
    """Say which events are of a value that nothing was ever charged to, and which value may be meant.

    Parameters
    ----------
    made : Panels
        The history; events of dimensions that it is not by are not looked at.
    labelled : sequence of Event
        ``[[events]]``.
    """
    said = []
    for event in labelled:
        if event.by not in made.by or event.value is None:
            continue
        known = made.names.filter(pl.col("level") == event.by)["name"].to_list()
        if event.value not in known:
            close = get_close_matches(event.value, known, n=1)
            meant = f": is it {close[0]!r}?" if close else ""
            said.append(
                f"the event {event.name!r} is of {event.by} {event.value!r}, which has no charges{meant}"
            )
    return said


def ledger_of(source: Lab | Ledger) -> Ledger:
    """Return the ledger of a lab in the lab's currency, or the ledger that is given."""
    if isinstance(source, Ledger):
        return source
    from dataclasses import replace

    made = bookkeeping.ledger(source)
    return (
        replace(made, entries=convert(made.entries, source.config.rates, source.currency))
        if (source.config.rates)
        else made
    )


def _sum(name: str = "y") -> pl.Expr:
    y = pl.col(name)
    return pl.when(y.count() > 0).then(y.sum()).cast(MONEY).alias(name)


def _going_on() -> pl.Expr:
    """Sum what did not end: 0 where all of it did, and unknown where the cost of all the rest is."""
    y, rest = pl.col("y"), pl.col("y").filter(pl.col("gone").is_null())
    unknown = (y.count() == 0) | ((rest.len() > 0) & (rest.count() == 0))
    return pl.when(~unknown).then(rest.sum()).cast(MONEY).alias("going_on")


def _nodes(frame: pl.DataFrame, by: Sequence[str], hierarchy: Tree | None, moment: str) -> pl.DataFrame:
    """Return the sums of all nodes; leaves are 0 from their first charge on where others have some."""
    if hierarchy is None:
        return frame.select(pl.lit(TOTAL).alias("unique_id"), moment, "y").sort(moment)
    names = pl.concat_str([pl.lit(f"{name}=") + pl.col(name) for name in by], separator=", ")
    leaves = frame.select(names.alias("unique_id"), moment, "y", pl.lit(True).alias("charged"))
    first = leaves.group_by("unique_id").agg(pl.col(moment).min().alias("first"))
    grid = first.join(leaves.select(moment).unique(), how="cross").filter(pl.col(moment) >= pl.col("first"))
    filled = grid.join(leaves, on=["unique_id", moment], how="left", validate="1:1").select(
        "unique_id",
        moment,
        # A null before the join is an unknown cost, and stays one.
        pl.when("charged").then("y").otherwise(pl.lit(0).cast(MONEY)).alias("y"),
    )
    return add_up(filled, hierarchy, (moment,))


def _running(daily: pl.DataFrame, asked: date) -> tuple[date, date | None]:
    """Return the last day with charges, and the month that still runs.

    No clock is asked. The newest month runs where the months before it had charges on most days and
    up to their end, and it stops earlier. One that is neither `asked` nor the month after does not
    matter: the history ends long before.
    """
    days = daily.to_series()
    through: date = days[-1]
    newest = through.replace(day=1)
    if newest not in (asked, add_months(asked, 1)) or through == add_months(newest, 1) - timedelta(days=1):
        return through, None
    starts = days.dt.month_start()
    for n in range(1, _USUAL_MONTHS + 1):
        month = add_months(newest, -n)
        mine = days.filter(starts == month)
        if n > 1 and month <= days[0].replace(day=1):
            break  # the lab's first month may have begun late
        if mine.len() < _USUAL_DAYS or mine[-1] < add_months(month, 1) - timedelta(days=2):
            return through, None
    return through, newest
