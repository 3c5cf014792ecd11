"""The budget of a planned feature: its months with their doubt, and what the doubt comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from finops_lab.calendar import month_name
from finops_lab.charts.frames import checked, iso, known
from finops_lab.charts.labels import amount_axis, compact, measure
from finops_lab.charts.theme import INK, ORANGE, PALETTE, finish
from finops_lab.errors import InputError
from finops_lab.wording import plural

if TYPE_CHECKING:
    import altair as alt

__all__ = ["planned_months", "tornado_bars"]

_BARS = 25


def planned_months(
    months: pl.DataFrame | pl.LazyFrame, *, title: str, unit: str = "USD", description: str | None = None
) -> alt.LayerChart:
    """Draw a bar per month at the point estimate, and a line from P10 to P90.

    Parameters
    ----------
    months : polars.DataFrame or polars.LazyFrame
        ``month`` (Date), ``amount`` (Decimal or float), ``p10``, ``p90`` (floats); one row a month, such
        as ``months`` of a `FeatureBudget` where ``component`` is ``total``.
    title, unit, description : str
        As in `finops_lab.charts.spend_trend`.

    Returns
    -------
    altair.LayerChart

    Raises
    ------
    InputError
        No rows, more than 5,000, or a column missing or of another kind.

    Examples
    --------
    >>> from datetime import date
    >>> months = pl.DataFrame({"month": [date(2026, 11, 1)], "amount": [900.0], "p10": [800.0], "p90": [1500.0]})
    >>> planned_months(months, title="Plan").to_dict()["description"]
    'Planned spend of 1 month. November 2026: $900, from $800 (P10) to $1.5k (P90).'
    """
    import altair as alt

    numbers = ("amount", "p10", "p90")
    rows, _ = known(checked(months, {"month": "date"} | dict.fromkeys(numbers, "number")), numbers)
    rows.sort(key=lambda row: row["month"])
    drawn = [
        {
            **row,
            "month": iso(row["month"]),
            "name": month_name(row["month"]),
            "label": compact(row["amount"], unit),
            "range": f"{compact(row['p10'], unit)} to {compact(row['p90'], unit)}",
        }
        for row in rows
    ]
    base = alt.Chart(alt.Data(values=drawn)).encode(
        x=alt.X(
            "month:O",
            title=None,
            scale=alt.Scale(domain=[row["month"] for row in drawn], paddingInner=0.3, paddingOuter=0.15),
            axis=alt.Axis(
                labelExpr="utcFormat(toDate(datum.value), '%b %Y')",
                labelAngle=0,
                labelOverlap=True,
                labelSeparation=6,
                ticks=False,
                domain=False,
            ),
        ),
        tooltip=[
            alt.Tooltip("name:N", title="Month"),
            alt.Tooltip("label:N", title="At the values set"),
            alt.Tooltip("range:N", title="P10 to P90"),
        ],
    )
    bars = base.mark_bar(color=PALETTE[4]).encode(
        y=alt.Y(
            "amount:Q",
            title=f"Planned spend ({unit} per month)",
            axis=alt.Axis(labelExpr=amount_axis(unit), tickCount=6),
        )
    )
    spans = base.mark_rule(color=INK, strokeWidth=2).encode(y="p10:Q", y2="p90:Q")
    ends = rows[:1] if len(rows) == 1 else [rows[0], rows[-1]]
    told = "; ".join(
        f"{month_name(row['month'])}: {measure(row['amount'], unit)}, from {measure(row['p10'], unit)} (P10) "
        f"to {measure(row['p90'], unit)} (P90)"
        for row in ends
    )
    return finish(
        [bars, spans],
        title=title,
        subtitle=f"{unit} per month; bar: every driver at its value, line: from P10 to P90",
        description=description or f"Planned spend of {plural(len(rows), 'month')}. {told}.",
        height=340,
    )


def tornado_bars(
    tornado: pl.DataFrame | pl.LazyFrame, *, title: str, unit: str = "USD", description: str | None = None
) -> alt.LayerChart:
    """Draw what the total is with each driver at its low and at its high, the most telling first.

    Parameters
    ----------
    tornado : polars.DataFrame or polars.LazyFrame
        ``label`` (String, one row each), ``at_low``, ``at_high`` (Decimal or float); at most 25 rows.
    title, unit, description : str
        As in `finops_lab.charts.spend_trend`.

    Returns
    -------
    altair.LayerChart

    Raises
    ------
    InputError
        No rows, more than 25, a label twice, or a column missing or of another kind.

    Examples
    --------
    >>> rows = pl.DataFrame({"label": ["Tokens", "Growth"], "at_low": [80.0, 95.0], "at_high": [140.0, 110.0]})
    >>> tornado_bars(rows, title="Sensitivity").to_dict()["description"]
    'The total with 2 drivers at their low and high, one at a time. Most: Tokens, $80.00 to $140.'
    """
    import altair as alt

    rows = checked(tornado, {"label": "text", "at_low": "number", "at_high": "number"})
    if len(rows) > _BARS:
        raise InputError(f"{len(rows)} bars do not fit: draw at most {_BARS}", hint="keep the largest")
    if len({row["label"] for row in rows}) < len(rows):
        raise InputError("a label occurs twice", column="label")
    rows.sort(key=lambda row: (-abs(row["at_high"] - row["at_low"]), row["label"]))
    bars = [
        row
        | {
            "text": f"{compact(row['at_low'], unit)} to {compact(row['at_high'], unit)}",
            "way": "grows with the driver" if row["at_high"] >= row["at_low"] else "falls with the driver",
            "most": max(row["at_low"], row["at_high"]),
        }
        for row in rows
    ]
    ways = ["grows with the driver", "falls with the driver"]
    base = alt.Chart(alt.Data(values=bars)).encode(
        y=alt.Y(
            "label:N",
            sort=[row["label"] for row in rows],
            title=None,
            axis=alt.Axis(labelColor=INK, ticks=False, domain=False, labelLimit=260),
        ),
        tooltip=[alt.Tooltip("label:N", title="Driver"), alt.Tooltip("text:N", title="Total")],
    )
    ends = [row[end] for row in rows for end in ("at_low", "at_high")]
    space = (max(ends) - min(ends)) * 0.35 or 1.0
    drawn = base.mark_bar(height={"band": 0.6}).encode(
        x=alt.X(
            "at_low:Q",
            title=f"Total ({unit})",
            scale=alt.Scale(domain=[min(ends), max(ends) + space], nice=False, zero=False),
            axis=alt.Axis(labelExpr=amount_axis(unit), tickCount=6),
        ),
        x2="at_high:Q",
        color=alt.Color("way:N", sort=ways, scale=alt.Scale(domain=ways, range=[PALETTE[4], ORANGE])),
    )
    text = base.mark_text(align="left", dx=6, color=INK, fontSize=11).encode(x="most:Q", text="text:N")
    first = rows[0]
    told = f"{first['label']}, {measure(first['at_low'], unit)} to {measure(first['at_high'], unit)}"
    return finish(
        [drawn, text],
        title=title,
        subtitle=f"{unit}; one driver from its low to its high, the others at likely",
        description=description
        or f"The total with {plural(len(rows), 'driver')} at their low and high, one at a time. Most: {told}.",
        height=120 + 26 * len(bars),
    )
