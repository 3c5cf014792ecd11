"""What was said some months before, against what came, month by month."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from finops_lab.calendar import add_months
from finops_lab.errors import InputError
from finops_lab.forecasting.combination import at_least_one, project_all
from finops_lab.forecasting.knowledge import read_knowledge
from finops_lab.forecasting.panel import VALUES, read_panel

__all__ = ["LEADS", "RECOMPUTED", "SCHEMA", "said", "variance"]

LEADS = (1, 3, 6)
RECOMPUTED = "recomputed on today's data"
_LEAST_HISTORY = 3
SCHEMA: dict[str, pl.DataType] = {
    "unique_id": pl.String(),
    "ds": pl.Date(),
    "lead": pl.Int64(),
    "said_after": pl.Date(),
    **{name: pl.Float64() for name in VALUES},
    "y": pl.Float64(),
    "off": pl.Float64(),
    "inside_80": pl.Boolean(),
    "source": pl.String(),
}


def said(
    panel: pl.DataFrame | pl.LazyFrame,
    leads: Sequence[int] = LEADS,
    *,
    months: int = 6,
    events: pl.DataFrame | pl.LazyFrame | None = None,
    price_index: pl.DataFrame | pl.LazyFrame | None = None,
) -> pl.DataFrame:
    """Forecast each of the last months as it would have been some months before.

    A forecast sees only the months up to its origin, as they are known today: what a bill was
    restated by since is in it.

    Parameters
    ----------
    panel : polars.DataFrame or polars.LazyFrame
        As for `finops_lab.forecasting.forecast`.
    leads : sequence of int
        How many months before: 1 knew everything up to the month before.
    months : int
        So many last months of each series.
    events, price_index
        As for `forecast`; of those that begin after its origin a forecast knows nothing.

    Returns
    -------
    polars.DataFrame
        One row per series, month and lead, sorted, as `variance` gives; ``source`` is
        ``recomputed on today's data``. Absent where fewer than 3 months were known by then.

    Raises
    ------
    InputError
        The panel, the events or the price index breaks its contract, or `months` or a lead is below 1.

    Examples
    --------
    >>> from datetime import date
    >>> ds = [date(2026, m, 1) for m in (1, 2, 3, 4)]
    >>> fee = pl.DataFrame({"unique_id": "fee", "ds": ds, "y": [5.0, 5.0, 5.0, 4.0]})
    >>> said(fee, leads=[1], months=1).select("ds", "said_after", "yhat", "y", "off").rows()
    [(datetime.date(2026, 4, 1), datetime.date(2026, 3, 1), 5.0, 4.0, 0.25)]
    """
    at_least_one(months=months, **{f"lead {lead}": lead for lead in leads})
    many = read_panel(panel)
    known = read_knowledge(events, price_index, len(many), foresees=False)
    wanted = [
        (series, len(series) - 1 - back - (lead - 1), lead)
        for series in many
        for back in range(months)
        for lead in leads
    ]
    wanted = [(series, cut, lead) for series, cut, lead in wanted if cut >= _LEAST_HISTORY]
    # One forecast serves all the leads that stand at the same origin.
    places = {(series.unique_id, cut): series.head(cut) for series, cut, _ in wanted}
    histories = {place: history for place, history in places.items() if len(history)}
    if not histories:
        return pl.DataFrame(schema=SCHEMA)
    # Where the last months before an origin are unknown a forecast starts earlier.
    late = max(cut - len(history) for (_, cut), history in histories.items())
    projected = project_all(list(histories.values()), max(leads) + late, known)
    made = dict(zip(histories, projected, strict=True))
    rows = []
    for series, cut, lead in wanted:
        history = histories.get((series.unique_id, cut))
        if history is None:
            continue
        _, values = made[(series.unique_id, cut)]
        step = lead - 1 + cut - len(history)
        at = cut + lead - 1
        rows.append(
            {
                "unique_id": series.unique_id,
                "ds": add_months(series.first, at),
                "lead": lead,
                "said_after": add_months(series.first, cut - 1),
                **{name: float(line[step]) for name, line in zip(VALUES, values, strict=True)},
                "y": float(series.amounts[at]) if series.known[at] else None,
                "source": RECOMPUTED,
            }
        )
    return variance(pl.DataFrame(rows, schema={n: t for n, t in SCHEMA.items() if n not in _JUDGED}))


_JUDGED = ("off", "inside_80")


def variance(rows: pl.DataFrame) -> pl.DataFrame:
    """Judge what was said by what came.

    Parameters
    ----------
    rows : polars.DataFrame
        ``unique_id``, ``ds``, ``lead`` (Int64), ``said_after`` (Date, the last month known then), the
        values of a forecast, ``y`` (what came, null where unknown) and ``source``.

    Returns
    -------
    polars.DataFrame
        `SCHEMA`: with ``off`` (Float64, said less came over came, positive when too high; null where
        nothing came) and ``inside_80`` (Boolean), sorted by series, month and lead.

    Raises
    ------
    InputError
        A column is missing.
    """
    needed = [name for name in SCHEMA if name not in _JUDGED]
    if missing := [name for name in needed if name not in rows.columns]:
        raise InputError("there is no such column in what was said", column=missing[0])
    y = pl.col("y")
    # A bound equal to the amount up to the last float digit still covers it.
    slack = y.abs() * 1e-9
    return (
        rows.with_columns(pl.col(VALUES).fill_nan(None))
        .with_columns(
            pl.when(y != 0).then((pl.col("yhat") - y) / y.abs()).alias("off"),
            ((y >= pl.col("lo_80") - slack) & (y <= pl.col("hi_80") + slack)).alias("inside_80"),
        )
        .select(pl.col(name).cast(kind) for name, kind in SCHEMA.items())
        .sort("unique_id", "ds", "lead")
    )
