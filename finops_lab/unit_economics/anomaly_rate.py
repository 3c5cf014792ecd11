"""M6, cost anomaly rate: confirmed anomalies per month and per week."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date
from decimal import Decimal

import polars as pl

from finops_lab.calendar import days_in_month
from finops_lab.errors import InputError, each_name
from finops_lab.money import MONEY, divided
from finops_lab.unit_economics._by_dimension import PLACE, added_up
from finops_lab.unit_economics._telling import asked, told
from finops_lab.unit_economics.figures import Asked, Definition, together, whole_and_by

__all__ = ["CONFIRMED", "DEFINITIONS", "DISMISSED", "anomaly_rate"]

CONFIRMED = ("confirmed",)
DISMISSED = ("dismissed", "false_positive", "expected")
_NOT_RUN = "anomaly detection has not run"


def _defined(measure: str, title: str, unit: str, formula: str) -> Definition:
    return Definition(
        "M6", measure, title, f"anomalies per {unit}", "anomalies", f"{unit}s", formula, ("anomalies",)
    )


MONTHLY = _defined(
    "anomalies_per_month", "Cost anomalies per month", "month", "confirmed anomalies that began in the month"
)
WEEKLY = _defined(
    "anomalies_per_week",
    "Cost anomalies per week",
    "week",
    "confirmed anomalies that began in the month x 7 / its days, where it is not over those known",
)
DEFINITIONS: tuple[Definition, ...] = (MONTHLY, WEEKLY)


def anomaly_rate(
    anomalies: pl.LazyFrame | pl.DataFrame | None,
    months: Sequence[date],
    *,
    by: str | Sequence[str] = (),
    confirmed: Collection[str] = CONFIRMED,
    dismissed: Collection[str] = DISMISSED,
    up_to: date | None = None,
) -> pl.DataFrame:
    """Count confirmed cost anomalies per month and week.

    Parameters
    ----------
    anomalies : polars.LazyFrame or polars.DataFrame, optional
        ``ts`` (Datetime) or ``day`` (Date), ``status`` (String) and the dimensions of `by`. None
        where anomaly detection has not run: then nothing is known, not zero.
    months : sequence of datetime.date
        Months that detection looked at: without an anomaly, they had none.
    by : str or sequence of str
        Dimensions; a value of one is told in months in which it has an anomaly.
    confirmed, dismissed : collection of str
        What ``status`` says of those that count and those that do not. All others are not judged
        yet: they are in ``upper``, and ``coverage`` is the share that is judged.
    up_to : datetime.date, optional
        The last day known of a month that is not over: its weeks are those of the days known.

    Returns
    -------
    polars.DataFrame
        `FIGURES` of the measures in `DEFINITIONS`.

    Raises
    ------
    InputError
        When there is neither ``ts`` nor ``day``, or another column is missing.

    Examples
    --------
    >>> october = date(2026, 10, 1)
    >>> found = pl.DataFrame({"day": [date(2026, 10, 5)] * 2, "status": ["confirmed", "open"]})
    >>> anomaly_rate(found, [october]).select("measure", "value", "upper").row(0)
    ('anomalies_per_month', Decimal('1.000000000000000000'), Decimal('2.000000000000000000'))
    >>> anomaly_rate(None, [october])["reason"][0]
    'anomaly detection has not run'
    """
    by = tuple(dict.fromkeys(each_name(by)))
    if anomalies is None:
        rows = pl.DataFrame({"month": list(months)}, schema={"month": pl.Date}).with_columns(
            pl.lit(None, pl.Int64).alias("numerator"),
            pl.lit(1).alias("denominator"),
            pl.lit(_NOT_RUN).alias("reason"),
        )
        return pl.concat([told(rows, one) for one in DEFINITIONS])
    found = _read(anomalies, by)
    status = pl.col("status")
    yes = status.is_in(list(confirmed)).fill_null(False)
    no = status.is_in(list(dismissed)).fill_null(False)
    sums = added_up(
        found,
        whole_and_by(by),
        yes.cast(pl.Int64).sum().alias("yes"),
        (~no).cast(pl.Int64).sum().alias("most"),
        (yes | no).cast(pl.Int64).sum().alias("judged"),
        pl.len().cast(pl.Int64).alias("rows"),
    )
    whole = sums.filter(pl.col("dimension").is_null())["month"].to_list()
    calm = [{"month": month} for month in dict.fromkeys(months) if month not in whole]
    sums = pl.concat([sums, pl.DataFrame(calm, schema=sums.schema)])
    sums = sums.with_columns(
        pl.col("yes", "most", "judged", "rows").fill_null(0),
        pl.Series("days", [_days(month, up_to) for month in sums["month"]], pl.Int64),
    )
    return together([_told(sums, one) for one in DEFINITIONS], whole_and_by(by))


def _days(month: date, up_to: date | None) -> int:
    """Return the days of a month that anomalies can be known of."""
    if up_to is not None and up_to.replace(day=1) == month:
        return up_to.day
    return days_in_month(month)


def _read(anomalies: pl.LazyFrame | pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    frame = anomalies.lazy()
    known = frame.collect_schema()
    moment = "day" if "day" in known else "ts"
    for name in (moment, "status", *by):
        if name not in known:
            raise InputError(f"anomalies have no column {name!r}", hint="they need ts or day, and status")
    month = pl.col(moment).dt.date().dt.month_start().alias("month")
    return frame.select(month, pl.col("status").cast(pl.String), *by).collect()


def _told(sums: pl.DataFrame, one: Definition) -> Asked:
    days = [Decimal(n) if one is WEEKLY else Decimal(1) for n in sums["days"]]
    times = 7 if one is WEEKLY else 1

    def rate(counts: pl.Series) -> list[Decimal | None]:
        return [divided(Decimal(n), below, times) for n, below in zip(counts, days, strict=True)]

    some = pl.col("rows") > 0
    rows = sums.select(
        *PLACE,
        pl.col("yes").alias("numerator"),
        pl.Series("denominator", [divided(below, Decimal(times)) for below in days], MONEY),
        pl.Series("value", rate(sums["yes"]), MONEY),
        pl.when(pl.col("most") > pl.col("yes"))
        .then(pl.Series(rate(sums["most"]), dtype=MONEY))
        .alias("upper"),
        "rows",
        pl.when(some).then(pl.col("judged") / pl.col("rows")).alias("coverage"),
        pl.lit(None, pl.String).alias("reason"),
    )
    return asked(rows, one)
