"""What levels of commitment cost, and the bill when credits end."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import polars as pl

from finops_lab.calendar import days_in_month, month_name
from finops_lab.charts.frames import Row, checked, iso, known
from finops_lab.charts.labels import amount_axis, compact, measure
from finops_lab.charts.theme import BLUE, INK, MUTED, ORANGE, VERMILLION, finish, month_axis

if TYPE_CHECKING:
    import altair as alt

__all__ = ["cliff_bars", "commitment_cost"]

_EXPECTED, _HINDSIGHT = "Expected", "Of the last months"
_PALE = "#9ecbe6"
_PARTS = {"Billed, after credits": BLUE, "Forecast, after credits": _PALE, "Paid by credits": ORANGE}


def commitment_cost(
    curve: pl.DataFrame | pl.LazyFrame,
    *,
    title: str,
    unit: str = "USD",
    level_title: str = "Level of commitment",
    per: str = "a month of 730 hours",
    subtitle: str | None = None,
    description: str | None = None,
) -> alt.LayerChart:
    """Draw the cost of levels of commitment, as expected and in hindsight, with the lowest point of each.

    Parameters
    ----------
    curve : polars.DataFrame or polars.LazyFrame
        ``level``, ``cost``, ``hindsight`` (Decimal or float), such as the ``curve`` of a
        `finops_lab.planning.commitments.Plan`.
    title : str
        What the chart shows.
    unit : str
        ISO 4217 code of the money.
    level_title, per : str
        What the level is counted in, and what the cost is of.
    subtitle, description : str, optional
        Second line of the title, alt text (computed when not given).

    Returns
    -------
    altair.LayerChart

    Raises
    ------
    InputError
        A frame without rows, with more than 5,000, or with a column missing or of another kind.

    Examples
    --------
    >>> curve = pl.DataFrame({"level": [0, 2, 10], "cost": [1600, 1200, 2000], "hindsight": [1000, 1100, 2000]})
    >>> commitment_cost(curve, title="GPUs").to_dict()["description"].partition(". ")[2]
    'Expected it is lowest at 2: $1.2k, against $1.6k without. Of the last months it is lowest at 0: $1.0k.'
    """
    import altair as alt

    names = {"cost": _EXPECTED, "hindsight": _HINDSIGHT}
    rows, _ = known(checked(curve, {"level": "number", **dict.fromkeys(names, "number")}), names)
    rows = sorted(rows, key=lambda row: row["level"])
    best = {name: min(rows, key=lambda row: (row[column], row["level"])) for column, name in names.items()}
    lines = [
        {
            "series": name,
            "level": row["level"],
            "cost": row[column],
            "text": measure(row[column], unit),
            "best": row is best[name],
            "label": f"{compact(row['level'], '')}: {compact(row[column], unit)}"
            if row is best[name]
            else "",
        }
        for column, name in names.items()
        for row in rows
    ]
    order = list(names.values())
    base = alt.Chart(alt.Data(values=lines)).encode(
        x=alt.X(
            "level:Q", title=level_title, axis=alt.Axis(labelExpr=amount_axis(""), tickCount=8, grid=False)
        ),
        y=alt.Y(
            "cost:Q",
            title=f"Cost ({unit}, {per})",
            scale=alt.Scale(zero=True),
            axis=alt.Axis(labelExpr=amount_axis(unit), tickCount=6),
        ),
        color=alt.Color("series:N", sort=order, scale=alt.Scale(domain=order, range=[BLUE, VERMILLION])),
    )
    line = base.mark_line(strokeWidth=2).encode(
        strokeDash=alt.StrokeDash(
            "series:N", sort=order, scale=alt.Scale(domain=order, range=[[1, 0], [5, 4]])
        )
    )
    lowest = base.transform_filter("datum.best").mark_point(filled=True, size=90, opacity=1).encode(
        shape=alt.Shape("series:N", sort=order, scale=alt.Scale(domain=order, range=["circle", "square"])),
        tooltip=[
            alt.Tooltip("series:N", title="Cost"),
            alt.Tooltip("level:Q", title=level_title),
            alt.Tooltip("text:N", title="Lowest"),
        ],
    )  # fmt: skip
    said = (
        base.transform_filter("datum.best")
        .mark_text(dy=18, fontSize=11, fontWeight="bold")
        .encode(text="label:N")
    )
    one, other = best[_EXPECTED], best[_HINDSIGHT]
    without = min(rows, key=lambda row: abs(row["level"]))
    return finish(
        [line, lowest, said],
        title=title,
        subtitle=subtitle
        if subtitle is not None
        else "The level that costs least, expected and in hindsight",
        description=description
        or f"Cost of {len(rows)} levels of commitment. Expected it is lowest at {compact(one['level'], '')}: "
        f"{measure(one['cost'], unit)}, against {measure(without['cost'], unit)} without. Of the last months it is "
        f"lowest at {compact(other['level'], '')}: {measure(other['hindsight'], unit)}.",
        height=360,
    )


def cliff_bars(
    months: pl.DataFrame | pl.LazyFrame,
    ends: pl.DataFrame | pl.LazyFrame | None = None,
    *,
    title: str,
    unit: str = "USD",
    subtitle: str | None = None,
    description: str | None = None,
) -> alt.LayerChart:
    """Draw the bill month by month: what is paid, what credits pay, and where credits end.

    Parameters
    ----------
    months : polars.DataFrame or polars.LazyFrame
        ``month`` (Date), ``kind`` (``billed`` or ``forecast``), ``gross``, ``lo_80``, ``hi_80``,
        ``credits``, ``net``, such as the ``months`` of a `finops_lab.planning.credits.Cliff`. Months of
        which the net is not known are left out.
    ends : polars.DataFrame or polars.LazyFrame, optional
        ``month`` (the first without) and ``a_month``: a line is drawn there.
    title, unit, subtitle, description
        As for `commitment_cost`.

    Returns
    -------
    altair.LayerChart

    Raises
    ------
    InputError
        As for `commitment_cost`.

    Examples
    --------
    >>> from datetime import date
    >>> months = pl.DataFrame({"month": [date(2026, 6, 1), date(2026, 7, 1)], "kind": ["billed", "forecast"],
    ...     "gross": [50.0, 52.0], "lo_80": [None, 48.0], "hi_80": [None, 60.0], "credits": [-12, 0],
    ...     "net": [38.0, 52.0]})
    >>> ends = pl.DataFrame({"month": [date(2026, 7, 1)], "a_month": [12]})
    >>> cliff_bars(months, ends, title="Bill").to_dict()["description"].partition(". ")[2]
    'Credits end: from July 2026 on the bill of a month is $12.00 higher.'
    """
    import altair as alt

    numbers = dict.fromkeys(("gross", "lo_80", "hi_80", "credits", "net"), "number")
    rows, _ = known(checked(months, {"month": "date", "kind": "text", **numbers}), ["net"])
    rows = sorted(rows, key=lambda row: row["month"])
    drops: list[Row] = []
    if ends is not None and ends.lazy().select(pl.len()).collect().item():
        drops = sorted(checked(ends, {"month": "date", "a_month": "number"}), key=lambda row: row["month"])
    bars = [bar for row in rows for bar in _bars(row, unit)]
    order = [part for part in _PARTS if any(bar["part"] == part for bar in bars)]
    body = (
        alt.Chart(alt.Data(values=bars))
        .mark_bar(stroke="white", strokeWidth=1)
        .encode(
            x=alt.X("from:T", title=None, axis=month_axis(len(rows)), scale=alt.Scale(type="utc")),
            x2="to:T",
            y=alt.Y(
                "low:Q",
                title=f"Bill ({unit} per month)",
                axis=alt.Axis(labelExpr=amount_axis(unit), tickCount=6),
            ),
            y2="high:Q",
            color=alt.Color(
                "part:N", sort=order, scale=alt.Scale(domain=order, range=[_PARTS[part] for part in order])
            ),
            tooltip=[
                alt.Tooltip("name:N", title="Month"),
                alt.Tooltip("part:N", title="Part"),
                alt.Tooltip("text:N", title="Amount"),
            ],
        )
    )
    spans = [
        {"at": bar["middle"], "lo": row["lo_80"], "hi": row["hi_80"]}
        for row in rows
        if row["lo_80"] is not None and row["hi_80"] is not None
        for bar in _bars(row, unit)[:1]
    ]
    layers = [body]
    if spans:
        layers.append(
            alt.Chart(alt.Data(values=spans))
            .mark_rule(color=MUTED, strokeWidth=1.5)
            .encode(x="at:T", y="lo:Q", y2="hi:Q")
        )
    marks = [
        {"at": iso(row["month"]), "text": f"credits end: +{compact(row['a_month'], unit)} a month"}
        for row in drops
    ]
    if marks:
        rule = alt.Chart(alt.Data(values=marks)).encode(x="at:T")
        layers.append(rule.mark_rule(color=VERMILLION, strokeDash=[5, 4], strokeWidth=2))
        layers.append(
            rule.mark_text(align="right", dx=-6, fontSize=11, color=INK).encode(y=alt.value(8), text="text:N")
        )
    told = (
        "; ".join(
            f"from {month_name(row['month'])} on the bill of a month is {measure(row['a_month'], unit)} higher"
            for row in drops
        )
        or "none is known to end"
    )
    return finish(
        layers,
        title=title,
        subtitle=subtitle
        if subtitle is not None
        else f"{unit} per month; lines: 80% interval of the forecast before credits",
        description=description
        or f"Bill of {len(rows)} months with and without credits. Credits end: {told}.",
        height=380,
    )


def _bars(row: Row, unit: str) -> list[Row]:
    """Return the bars of a month: what is paid, and on top what credits pay."""
    days = days_in_month(row["month"])
    place = {
        "from": iso(row["month"] + timedelta(days=2)),
        "middle": iso(row["month"] + timedelta(days=days // 2)),
        "to": iso(row["month"] + timedelta(days=days - 2)),
        "name": month_name(row["month"]),
    }
    paid, _, covered = _PARTS
    part = paid if row["kind"] == "billed" else list(_PARTS)[1]
    found = [place | {"part": part, "low": 0, "high": row["net"], "text": measure(row["net"], unit)}]
    if row["credits"]:
        more = {
            "part": covered,
            "low": row["net"],
            "high": row["gross"],
            "text": measure(-row["credits"], unit),
        }
        found.append(place | more)
    return found
