"""Daily spend, judged: which days of which slices depart from what was to be expected."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date

import numpy as np
import polars as pl

from finops_lab.anomalies import calibrate
from finops_lab.anomalies.calibrate import JUDGED, SHIPPED, Calibration
from finops_lab.anomalies.event import SCOPES
from finops_lab.anomalies.expected import expect
from finops_lab.anomalies.panel import Panel
from finops_lab.anomalies.rules import incomplete_days, without_incomplete
from finops_lab.money import MONEY

__all__ = ["STATES", "detect"]

_HIGHEST = 690.0  # log of the largest amounts that are numbers
STATES = ("judged", "no charges yet", "not enough history", "export incomplete", "no data", "holiday")


def detect(
    panel: Panel,
    *,
    false_alarms_per_month: float = 1.0,
    calibration: Calibration = SHIPPED,
    holidays: Collection[date] = (),
) -> pl.DataFrame:
    """Judge every day of every slice from the days before it.

    Parameters
    ----------
    panel : Panel
        From `daily_panel`.
    false_alarms_per_month : float
        How many false alarms a clean slice may raise in a month. More than 0.4 are never spent.
    calibration : Calibration
        What is passed how often on clean days: shipped, or learned by `calibrate.learn` from own days.
    holidays : collection of datetime.date
        Days that are known to be unlike others: they are not judged, and teach nothing.

    Returns
    -------
    polars.DataFrame
        One row per slice and day, in the panel's order: ``slice``, ``dimension``, ``value``,
        ``BillingCurrency``, ``x_provider`` to ``x_feature``, ``metric``, ``day``, ``state`` (of `STATES`),
        ``amount`` (Decimal(38, 18), exact; null where unknown), ``actual``, ``expected``, ``low``,
        ``high`` (Float64, in the currency; bounds of a single day), ``level`` and ``spread`` (of the log
        of spend), ``score``, ``threshold`` (minus the log, base 10, of false alarms per month),
        ``direction`` (up or down) and ``alarm``. A day that is not judged has null there, never False.

    Raises
    ------
    InputError
        A budget of no false alarm at all.

    Examples
    --------
    >>> from finops_lab.anomalies.panel import panel_of
    >>> spend = 100 * np.exp(np.random.default_rng(1).normal(0, 0.03, (1, 80)))
    >>> spend[0, 70] *= 3
    >>> days = detect(panel_of(spend, date(2026, 8, 1)))
    >>> days.filter("alarm").select("day", "direction").rows()
    [(datetime.date(2026, 10, 10), 'up')]
    """
    free = np.array([day in holidays for day in panel.days], dtype=np.bool_)
    unknown = without_incomplete(panel, incomplete_days(panel)) | free
    limit = calibrate.threshold(false_alarms_per_month)
    found = expect(panel.values, unknown, panel.days)
    score, side = calibrate.scores(found, calibration)
    alarm = score > limit
    # How far a single day may be off before its own distance is an alarm.
    reach = calibrate.reach(limit, calibration) * found.spread
    before = ~unknown & (found.age <= JUDGED)
    state = np.select(
        [found.age == 0, unknown & free & ~panel.missing, unknown & ~panel.missing, unknown, before],
        ["no charges yet", "holiday", "export incomplete", "no data", "not enough history"],
        "judged",
    )
    rows, columns = panel.values.shape
    frame = pl.DataFrame(
        {
            "slice": np.repeat(np.arange(rows, dtype=np.int64), columns),
            "at": np.tile(np.arange(columns, dtype=np.int64), rows),
            "state": state.ravel(),
            "actual": np.where(panel.missing, np.nan, panel.values).ravel(),
            "expected": np.exp(found.log).ravel(),
            "low": np.exp(found.log - reach).ravel(),
            "high": np.exp(np.minimum(found.log + reach, _HIGHEST)).ravel(),
            "level": found.level.ravel(),
            "spread": found.spread.ravel(),
            "score": score.ravel(),
            "direction": np.where(side > 0, "up", "down").ravel(),
            "alarm": alarm.ravel(),
        }
    )
    judged = pl.col("state") == "judged"
    frame = frame.with_columns(
        pl.col(pl.Float64).fill_nan(None),
        (pl.lit(panel.days[0]) + pl.duration(days="at")).cast(pl.Date).alias("day"),
        pl.lit(panel.metric).alias("metric"),
        pl.lit(limit).alias("threshold"),
    ).with_columns(pl.when(judged).then(pl.col(name)).alias(name) for name in ("score", "direction", "alarm"))
    frame = frame.join(panel.amounts, on=["slice", "day"], how="left", maintain_order="left")
    known = pl.col("actual").is_not_null()
    frame = frame.with_columns(
        pl.when(known).then(pl.col("amount").fill_null(pl.lit(0, MONEY))).alias("amount")
    )
    frame = frame.join(panel.names, on="slice", how="left", maintain_order="left")
    rest = ("amount", "actual", "expected", "low", "high", "level", "spread", "score", "threshold")
    return frame.select(
        "slice",
        "dimension",
        "value",
        "BillingCurrency",
        *SCOPES.values(),
        "metric",
        "day",
        "state",
        *rest,
        "direction",
        "alarm",
    )
