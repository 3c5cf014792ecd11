"""The forecast of a lab: coherent at every level, with baseline, backtest and what was said before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from finops_lab import config
from finops_lab.allocation import Ledger
from finops_lab.calendar import add_months, format_month, months_between, months_from
from finops_lab.errors import each_name
from finops_lab.forecasting import backtest, cleaned, forecast, seasonal_naive
from finops_lab.forecasting.combination import at_least_one
from finops_lab.forecasting.hierarchy import TOTAL, reconcile, tree
from finops_lab.forecasting.open_month import estimate
from finops_lab.forecasting.panel import VALUES
from finops_lab.forecasting.tracking import said
from finops_lab.foreseeing.histories import BY, Panels, ledger_of, node_events, panels
from finops_lab.lab import Lab
from finops_lab.reconciliation.maturity import maturity_curve
from finops_lab.reconciling import delivery_days, matured

__all__ = ["MONTHS", "Outlook", "completeness", "expected", "foresee", "months_of", "of_ledger"]

MONTHS = 6
_OWN = 100  # combinations with a forecast of their own; smaller ones get the level of their last months
_FLAT = 7  # months: the longest history that is forecast flat
_SIZED = 12  # months that tell how large a combination is
_MATURED = 6  # past months that tell how soon an amount is known


@dataclass(frozen=True)
class Outlook:
    """What a lab's spend will come to.

    Attributes
    ----------
    panels : Panels
        What the forecast was made from; `panels.of("team")` is a team's history.
    events : polars.DataFrame
        ``[[events]]`` of `finops.toml` as the nodes see them: see `node_events`.
    cleaned : polars.DataFrame
        ``level``, and what `finops_lab.forecasting.cleaned` gives: months of the total and of the values
        of each dimension that were not taken as billed, and why.
    nodes : polars.DataFrame
        ``unique_id`` (of a node of `panels.hierarchy`), ``ds``, the values and ``model``: adds up at
        every level, to float rounding. Leaves whose cost is unknown in every month are not in it.
    baseline : polars.DataFrame
        The total's months of last year, as `finops_lab.forecasting.seasonal_naive` gives.
    backtest : polars.DataFrame
        ``level``, and what `finops_lab.forecasting.backtest` gives of the total and of the values of
        the first dimension, each forecast on its own.
    accuracy : polars.DataFrame
        ``level``, and what `finops_lab.forecasting.tracking.said` gives: of the last 6 months for the
        total, of the last one for the values of the first dimension.
    open_month : polars.DataFrame
        ``level``, and what `finops_lab.forecasting.open_month.estimate` gives of the total and the
        values of the first dimension, made to add up; empty where no month runs.
    """

    panels: Panels
    events: pl.DataFrame
    cleaned: pl.DataFrame
    nodes: pl.DataFrame
    baseline: pl.DataFrame
    backtest: pl.DataFrame
    accuracy: pl.DataFrame
    open_month: pl.DataFrame

    @property
    def total(self) -> pl.DataFrame:
        """The forecast of all spend: ``unique_id`` (``total``), ``ds``, values, ``model``."""
        return self.of()

    @property
    def teams(self) -> pl.DataFrame:
        """The forecast per team; the teams add up to the total."""
        return self.of("team")

    @property
    def models(self) -> pl.DataFrame:
        """The forecast per model; the models add up to the total."""
        return self.of("model")

    def of(self, level: str | None = None) -> pl.DataFrame:
        """Return the forecast of a level: a dimension, ``team, model`` for the combinations, or the total.

        Raises
        ------
        InputError
            When the forecast has no such level.
        """
        return self.panels.named(self.nodes, level)

    def __repr__(self) -> str:
        ahead = self.total
        span = f"{format_month(ahead['ds'][0])} to {format_month(ahead['ds'][-1])}"
        return f"Outlook({span}, total {ahead['yhat'].sum():,.0f} {self.panels.currency})"


def foresee(
    lab: Lab,
    month: str | date,
    months: int = MONTHS,
    by: str | Sequence[str] = BY,
    *,
    metric: str = "EffectiveCost",
) -> Outlook:
    """Forecast a lab's spend after a month, in total, per team and per model, so that all add up.

    Every node is forecast on its own history and all are moved until they add up: see
    `finops_lab.forecasting.hierarchy.reconcile`. Of the combinations the 100 largest are; smaller
    ones get the level of their last months. Where a month still runs, its end is estimated from its
    days, wider by what late deliveries changed of past months.

    Parameters
    ----------
    lab : Lab
        An opened lab.
    month : str or datetime.date
        The last month to look at, such as ``2026-10``.
    months : int
        Months ahead.
    by : str or sequence of str
        Dimensions such as ``team``, or ledger columns such as ``ProviderName``; none for the total.
    metric : str
        The cost column.

    Returns
    -------
    Outlook

    Raises
    ------
    InputError
        When the month, `months`, the metric or a dimension is none.
    CurrencyError
        When the bills are in several currencies and `finops.toml` has no rates.
    NoDataError
        When there are no charges up to the month.
    """
    by = each_name(by)
    made = panels(ledger_of(lab), month, by, metric=metric)
    curve, age = completeness(lab, made) if made.running else (None, 1)
    return _outlook(made, months, curve, age, lab.config.events)


def of_ledger(
    ledger: Ledger,
    month: str | date,
    months: int = MONTHS,
    by: str | Sequence[str] = BY,
    *,
    metric: str = "EffectiveCost",
    lab: Lab | None = None,
) -> Outlook:
    """Forecast the spend of a ledger in one currency: see `foresee`.

    With `lab` the running month knows of late deliveries, and the forecast of ``[[events]]``.
    """
    by = each_name(by)
    made = panels(ledger, month, by, metric=metric)
    curve, age = completeness(lab, made) if lab is not None and made.running else (None, 1)
    return _outlook(made, months, curve, age, lab.config.events if lab is not None else ())


def expected(lab: Lab, made: Panels, months: int) -> pl.DataFrame:
    """Return what `foresee` expects of every level, without judging how good that is.

    Parameters
    ----------
    lab : Lab
        Whose events and late deliveries count.
    made : Panels
        The history.
    months : int
        Months ahead.

    Returns
    -------
    polars.DataFrame
        As `months_of` gives.
    """
    curve, age = completeness(lab, made) if made.running else (None, 1)
    nodes = _ahead(made, months, node_events(made, lab.config.events))
    return months_of(made, nodes, _open(made, curve, age))


def months_of(made: Panels, nodes: pl.DataFrame, open_month: pl.DataFrame) -> pl.DataFrame:
    """Return the months ahead per level and value, the running one as its days let expect.

    Parameters
    ----------
    made : Panels
        The history.
    nodes, open_month : polars.DataFrame
        As in an `Outlook`.

    Returns
    -------
    polars.DataFrame
        ``level``, ``unique_id``, ``ds``, ``yhat`` and its bounds, sorted.
    """
    columns = ["level", "unique_id", "ds", *VALUES]
    levels = [level for level in (TOTAL, *made.by) if level in set(made.names["level"])]
    ahead = pl.concat([_at(level, made.named(nodes, level)).select(columns) for level in levels])
    running = open_month.filter(pl.all_horizontal(pl.col(VALUES).is_not_null())).select(columns)
    rest = ahead.join(running, on=["level", "unique_id", "ds"], how="anti")
    return pl.concat([rest, running]).sort("level", "unique_id", "ds")


def completeness(lab: Lab, made: Panels) -> tuple[pl.DataFrame | None, int]:
    """Return how much of an amount is known so many days later, and how old the running month's is.

    Of all providers together, over the six months before; None where no bill of the lab has a date
    of delivery, or bills are in several currencies.
    """
    dated = delivery_days(lab)
    if not dated:
        return None, 1
    past = [format_month(m) for m in months_from(add_months(made.month, 1 - _MATURED), made.month)]
    found = matured(lab, past, metric=made.metric)
    if found["BillingCurrency"].n_unique() != 1:
        return None, 1
    keys = ("x_ChargeMonth", "age_days", "metric", "observed_days")
    sums = found.group_by(keys).agg(
        (pl.col("known").sum().cast(pl.Float64) / pl.col("final").sum().cast(pl.Float64)).alias("share"),
        pl.col("share").null_count().alias("holes"),
    )
    curve = maturity_curve(sums.filter(pl.col("holes") == 0, pl.col("share").is_finite()), by=())
    return curve, max((max(dated) - made.through).days, 0)


def _outlook(
    made: Panels, months: int, curve: pl.DataFrame | None, age_days: int, labelled: Sequence[config.Event]
) -> Outlook:
    at_least_one(months=months)
    events = node_events(made, labelled)
    total, first = made.named(made.going_on), made.by[:1]
    levels = [(TOTAL, total), *((name, made.named(made.going_on, name)) for name in first)]
    judged, tracked = [], []
    for level, panel in levels:
        mine = made.named(events, level)
        judged.append(_at(level, backtest(panel, months=min(months, MONTHS), events=mine)))
        tracked.append(_at(level, said(panel, months=MONTHS if level == TOTAL else 1, events=mine)))
    seen = cleaned(made.going_on, events=events)
    dimensions = [level for level in (TOTAL, *made.by) if level in set(made.names["level"])]
    return Outlook(
        made,
        events,
        pl.concat([_at(level, made.named(seen, level)) for level in dimensions]),
        _ahead(made, months, events),
        seasonal_naive(total, months=months),
        pl.concat(judged),
        pl.concat(tracked),
        _open(made, curve, age_days),
    )


def _at(level: str, frame: pl.DataFrame) -> pl.DataFrame:
    return frame.select(pl.lit(level).alias("level"), pl.all())


def _ahead(made: Panels, months: int, events: pl.DataFrame) -> pl.DataFrame:
    """Forecast every node and make them add up."""
    known = made.going_on.group_by("unique_id").agg(
        pl.col("y").count().alias("n"),
        (pl.col("y").min() >= 0).alias("never_below"),
        pl.col("ds").filter(pl.col("y").is_not_null()).max().alias("last"),
        pl.col("y").filter(pl.col("ds") > add_months(made.month, -_SIZED)).abs().sum().alias("size"),
    )
    floored = set(known.filter(pl.col("never_below").fill_null(False))["unique_id"])
    there = known.filter(pl.col("n") > 0)
    late = max((months_between(last, made.month) for last in there["last"]), default=0)
    panel = _shortened(made, known)
    base = forecast(panel, months + late, events=events)
    base = base.filter(pl.col("ds").is_between(add_months(made.month, 1), add_months(made.month, months)))
    if made.hierarchy is None or there.is_empty():
        clip = [pl.col(name).clip(lower_bound=0.0) for name in VALUES]
        return base.with_columns(clip) if TOTAL in floored else base
    leaves = there.join(made.names, on="unique_id").filter(pl.col("unique_id").is_in(made.hierarchy.leaves))
    whole = made.hierarchy if leaves.height == len(made.hierarchy.leaves) else tree(leaves.select(made.by))
    base = base.filter(pl.col("unique_id").is_in(whole.nodes["unique_id"].to_list()))
    return reconcile(base, whole, nonnegative=floored & set(whole.leaves))


def _shortened(made: Panels, known: pl.DataFrame) -> pl.DataFrame:
    """Leave small combinations the months that a flat forecast looks at."""
    if len(made.by) < 2:
        return made.going_on
    cells = made.names.filter(pl.col("level") == ", ".join(made.by)).join(known, on="unique_id")
    small = cells.sort("size", "unique_id", descending=[True, False]).slice(_OWN)["unique_id"]
    recent = pl.col("ds") > add_months(made.month, -_FLAT)
    return made.going_on.filter(~pl.col("unique_id").is_in(small.to_list()) | recent)


def _open(made: Panels, curve: pl.DataFrame | None, age_days: int) -> pl.DataFrame:
    """Estimate the running month, its parts adding up to the total."""
    if curve is not None:  # at an age at which nothing was known of some month, days tell nothing of all
        curve = curve.filter(pl.col("share_min") > 0)
    found = estimate(made.days, made.through, completeness=curve, age_days=age_days)
    names = pl.col("unique_id").str.replace(r"^\w+=", "")
    level = pl.when(pl.col("unique_id") == TOTAL).then(pl.lit(TOTAL)).otherwise(pl.lit("".join(made.by[:1])))
    known = found.filter(pl.col("yhat").is_not_null())
    leaves = known.filter(pl.col("unique_id") != TOTAL).select(names.alias("name"))
    if leaves.height:
        # A part without a past month to judge by has no bounds: it gives way most, and gets none.
        unsure = pl.col("judged") == 0
        filled = known.with_columns(
            pl.when(pl.col(name).is_null())
            .then(pl.col("yhat") + (-1 if name.startswith("lo") else 1) * pl.col("yhat").abs())
            .otherwise(pl.col(name))
            .alias(name)
            for name in VALUES
        )
        below = made.days.filter(pl.col("y") < 0)["unique_id"].unique()
        floored = set(known["unique_id"]) - set(below) - {TOTAL}
        done = reconcile(filled, tree(leaves.sort("name").rename({"name": made.by[0]})), nonnegative=floored)
        rest = found.drop(VALUES)
        found = (
            rest.join(done.select("unique_id", *VALUES), on="unique_id", how="left")
            .with_columns(pl.when(~unsure | pl.lit(name == "yhat")).then(name).alias(name) for name in VALUES)
            .select(found.columns)
            .sort("unique_id")
        )
    return found.select(level.alias("level"), names.alias("unique_id"), pl.exclude("unique_id"))
