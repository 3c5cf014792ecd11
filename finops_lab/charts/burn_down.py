"""A budget burning down: what was spent, what was planned, and where the forecast leads."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import polars as pl

from finops_lab.charts.budget_days import as_csv
from finops_lab.charts.frames import Row, checked, iso
from finops_lab.charts.labels import amount_axis, compact, measure, percent
from finops_lab.charts.theme import BLUE, GREY, INK, VERMILLION, finish, month_axis
from finops_lab.errors import InputError

if TYPE_CHECKING:
    import altair as alt

__all__ = ["burn_down_chart"]

_SPENT, _EXPECTED, _PLANNED = "Spent", "Expected", "Planned"
_BANDS = {"80% interval": "#9ecbe6", "95% interval": "#d6e9f5"}
_NUMBERS = ("spent", "planned", "budget", "yhat", "lo_80", "hi_80", "lo_95", "hi_95")


def burn_down_chart(
    frame: pl.DataFrame | pl.LazyFrame,
    *,
    title: str,
    used_up: date | None = None,
    unit: str = "USD",
    subtitle: str | None = None,
    description: str | None = None,
) -> alt.LayerChart:
    """Draw cumulated spend against its plan and its budget, with the forecast to the period's end.

    Parameters
    ----------
    frame : polars.DataFrame or polars.LazyFrame
        ``day`` (Date), ``spent``, ``planned``, ``budget`` (Decimal or float) and the forecast's ``yhat``,
        ``lo_80``, ``hi_80``, ``lo_95``, ``hi_95``, cumulated: as from
        `finops_lab.planning.burn_down.burn_down`. A forecast with an unknown bound has no bands.
    title, unit, subtitle, description
        As in `finops_lab.charts.spend.spend_trend`.
    used_up : datetime.date, optional
        The day on which more than the budget is spent: marked.

    Returns
    -------
    altair.LayerChart

    Raises
    ------
    InputError
        No rows, more than 5,000, or a column missing or of another kind.

    Examples
    --------
    >>> days = pl.DataFrame({"day": [date(2026, 10, 1), date(2026, 10, 2)], "spent": [10.0, 30.0],
    ...     "planned": [10.0, 20.0], "budget": 310.0})
    >>> days = days.with_columns(pl.lit(None).alias(n) for n in ("yhat", "lo_80", "hi_80", "lo_95", "hi_95"))
    >>> burn_down_chart(days, title="October").to_dict()["description"]
    'Cumulated spend up to 2026-10-02: $30.00 of a budget of $310, 9.7%; planned up to then were $20.00.'
    """
    import altair as alt

    rows = sorted(
        checked(frame, {"day": "date"} | dict.fromkeys(_NUMBERS, "number")), key=lambda row: row["day"]
    )
    past = [row for row in rows if row["spent"] is not None]
    if not past or rows[0]["budget"] is None:
        raise InputError("there is nothing to draw: neither spend nor a budget is known")
    ahead = [row for row in rows if row["yhat"] is not None]
    budget = rows[0]["budget"]
    lines = [
        {"series": name, "day": iso(row["day"]), "y": row[column], "label": compact(row[column], unit)}
        for name, column in ((_SPENT, "spent"), (_EXPECTED, "yhat"), (_PLANNED, "planned"))
        for row in rows
        if row[column] is not None
    ]
    names = [_SPENT, *([_EXPECTED] if ahead else []), _PLANNED]
    months = len({row["day"].replace(day=1) for row in rows[1:]}) or 1
    axis = month_axis(months) if months > 1 else alt.Axis(format="%-d %b", grid=False, labelOverlap=True)
    x = alt.X("day:T", title=None, scale=alt.Scale(type="utc"), axis=axis)
    y = alt.Y(
        "y:Q",
        title=f"Cumulated spend ({unit})",
        scale=alt.Scale(zero=True),
        axis=alt.Axis(labelExpr=amount_axis(unit), tickCount=6),
    )
    looks = {_SPENT: (INK, [1, 0]), _EXPECTED: (BLUE, [1, 0]), _PLANNED: (GREY, [5, 4])}
    line = (
        alt.Chart(as_csv(lines, day="date", y="number"))
        .mark_line(strokeWidth=2)
        .encode(
            x=x,
            y=y,
            color=alt.Color(
                "series:N", sort=names, scale=alt.Scale(domain=names, range=[looks[n][0] for n in names])
            ),
            strokeDash=alt.StrokeDash(
                "series:N", sort=names, scale=alt.Scale(domain=names, range=[looks[n][1] for n in names])
            ),
            tooltip=[
                alt.Tooltip("day:T", title="Up to", format="%d %b %Y", formatType="utc"),
                alt.Tooltip("series:N", title="Series"),
                alt.Tooltip("label:N", title="Amount"),
            ],
        )
    )
    rule = alt.Chart(alt.Data(values=[{"y": budget, "text": f"budget {compact(budget, unit)}"}])).encode(
        y="y:Q"
    )
    layers = [
        line,
        rule.mark_rule(color=VERMILLION, strokeWidth=1.5),
        rule.mark_text(align="left", dx=4, dy=-7, color=VERMILLION, fontSize=11).encode(
            x=alt.value(0), text="text:N"
        ),
    ]
    if shaded := _bands(ahead):
        band = (
            alt.Chart(alt.Data(values=shaded))
            .mark_area(interpolate="linear")
            .encode(
                x=x,
                y=alt.Y("lo:Q", stack=None),
                y2="hi:Q",
                fill=alt.Fill(
                    "band:N",
                    scale=alt.Scale(domain=list(_BANDS), range=list(_BANDS.values())),
                    legend=alt.Legend(symbolType="square"),
                ),
            )
        )
        layers.insert(0, band)
    if used_up is not None:
        mark = alt.Chart(
            alt.Data(values=[{"day": iso(used_up), "y": budget, "text": f"used up {used_up}"}])
        ).encode(x="day:T", y="y:Q")
        layers.append(mark.mark_point(filled=True, size=70, color=VERMILLION, opacity=1))
        layers.append(
            mark.mark_text(align="right", dx=-8, dy=-14, color=INK, fontSize=11).encode(text="text:N")
        )
    return finish(
        layers,
        title=title,
        subtitle=subtitle if subtitle is not None else _subtitle(unit, bool(ahead)),
        description=description or _describe(past[-1], ahead, budget, used_up, unit),
        height=340,
    )


def _bands(ahead: list[Row]) -> list[Row]:
    # The wide band first, so that the narrow one is drawn on top of it.
    return [
        {"band": name, "day": iso(row["day"]), "lo": row[lo], "hi": row[hi]}
        for name, lo, hi in (("95% interval", "lo_95", "hi_95"), ("80% interval", "lo_80", "hi_80"))
        for row in ahead
        if row[lo] is not None and row[hi] is not None
    ]


def _subtitle(unit: str, forecast: bool) -> str:
    return f"{unit}, cumulated" + ("; shaded: 80% and 95% prediction intervals" if forecast else "")


def _describe(last: Row, ahead: list[Row], budget: float, used_up: date | None, unit: str) -> str:
    share = f", {percent(last['spent'] / budget)}" if budget > 0 else ""
    text = (
        f"Cumulated spend up to {iso(last['day'])}: {measure(last['spent'], unit)} of a budget of "
        f"{measure(budget, unit)}{share}; planned up to then were {measure(last['planned'], unit)}."
    )
    if ahead:
        end = ahead[-1]
        text += f" Expected by {iso(end['day'])}: {measure(end['yhat'], unit)}"
        if end["lo_80"] is not None and end["hi_80"] is not None:
            text += f", with 80% between {measure(end['lo_80'], unit)} and {measure(end['hi_80'], unit)}"
        text += "."
    return text + (f" The budget is used up on {iso(used_up)}." if used_up is not None else "")
