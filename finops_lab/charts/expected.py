"""Spend by day against what was expected, with the days of an incident set apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from finops_lab.charts.frames import Row, checked, iso, known
from finops_lab.charts.labels import amount_axis, measure
from finops_lab.charts.theme import BLUE, GREY, VERMILLION, finish
from finops_lab.errors import InputError
from finops_lab.wording import plural

if TYPE_CHECKING:
    import altair as alt

__all__ = ["expected_days"]

_COLUMNS = {"day": "date", "amount": "number", "expected": "number", "low": "number", "high": "number"}
_INSIDE, _OTHER, _EXPECTED = "Actual, days of the incident", "Actual, other days", "Expected"
_COLOURS = {_INSIDE: VERMILLION, _OTHER: BLUE, _EXPECTED: GREY}
_HEIGHT = 320
_BARS = 480  # pixels that all bars fill together


def expected_days(
    frame: pl.DataFrame | pl.LazyFrame,
    *,
    title: str,
    unit: str = "USD",
    value_title: str = "Spend",
    subtitle: str | None = None,
    description: str | None = None,
) -> alt.LayerChart:
    """Draw bars of each day's spend, and what was expected as a line in its band.

    Parameters
    ----------
    frame : polars.DataFrame or polars.LazyFrame
        ``day`` (Date, each once), ``amount``, ``expected``, ``low``, ``high`` (Decimal or float; null
        where unknown) and ``inside`` (Boolean): whether the day belongs to the incident.
    title, unit, subtitle, value_title, description
        As in `finops_lab.charts.spend.spend_trend`.

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
    >>> days = pl.DataFrame({"day": [date(2026, 10, 1), date(2026, 10, 2)], "amount": [100.0, 300.0],
    ...     "expected": [101.0, 102.0], "low": [90.0, 91.0], "high": [110.0, 111.0], "inside": [False, True]})
    >>> expected_days(days, title="Spend").to_dict()["description"].partition(". ")[2]
    'Of the incident 1 day: at most $300 on 2026-10-02, with $102 expected.'
    """
    import altair as alt

    whole = frame.lazy().collect()
    if "inside" not in whole.columns or whole.schema["inside"] != pl.Boolean:
        raise InputError("the frame has no column inside of true and false", hint="it sets the days apart")
    inside = dict(whole.filter(pl.col("day").is_not_null()).select("day", "inside").iter_rows())
    rows = sorted(checked(whole, _COLUMNS), key=lambda row: row["day"])
    paid, unknown = known(rows, ["amount"])
    told, _ = known(rows, ["expected"])
    banded, _ = known(told, ["low", "high"])
    x = alt.X(
        "day:T",
        title=None,
        scale=alt.Scale(type="utc"),
        axis=alt.Axis(format="%-d %b", grid=False, labelOverlap=True, labelSeparation=8),
    )
    scale = alt.Scale(domain=list(_COLOURS), range=list(_COLOURS.values()))
    y = alt.Y(
        "value:Q",
        title=f"{value_title} ({unit} per day)",
        axis=alt.Axis(labelExpr=amount_axis(unit), tickCount=6),
    )
    colour = alt.Color("series:N", sort=list(_COLOURS), scale=scale)
    tooltip = [
        alt.Tooltip("day:T", title="Day", format="%d %b %Y"),
        alt.Tooltip("series:N", title="Series"),
        alt.Tooltip("label:N", title=value_title),
    ]
    bars = (
        alt.Chart(
            alt.Data(
                values=[_point(r, "amount", _INSIDE if inside[r["day"]] else _OTHER, unit) for r in paid]
            )
        )
        .mark_bar(size=max(1.0, _BARS / max(len(rows), 1)), opacity=0.85)
        .encode(x=x, y=y, color=colour, tooltip=tooltip)
    )
    band = (
        alt.Chart(
            alt.Data(values=[{"day": iso(r["day"]), "low": r["low"], "high": r["high"]} for r in banded])
        )
        .mark_area(color=GREY, opacity=0.35)
        .encode(x=x, y="low:Q", y2="high:Q")
    )
    line = (
        alt.Chart(alt.Data(values=[_point(r, "expected", _EXPECTED, unit) for r in told]))
        .mark_line(strokeWidth=2, strokeDash=[5, 3])
        .encode(x=x, y=y, color=colour, tooltip=tooltip)
    )
    return finish(
        [bars, band, line],
        title=title,
        subtitle=subtitle if subtitle is not None else f"{unit} by day (UTC); the band is what was expected",
        description=description or _describe(paid, inside, unit, value_title, unknown),
        height=_HEIGHT,
    )


def _point(row: Row, column: str, series: str, unit: str) -> Row:
    value = row[column]
    return {"day": iso(row["day"]), "series": series, "value": value, "label": measure(value, unit)}


def _describe(paid: list[Row], inside: dict[object, bool], unit: str, value_title: str, unknown: int) -> str:
    if not paid:
        return f"Bars of {value_title.lower()} by day: nothing is known of any day."
    text = f"Bars of {value_title.lower()} by day from {iso(paid[0]['day'])} to {iso(paid[-1]['day'])}. "
    mine = [row for row in paid if inside[row["day"]]]
    if mine:
        top = max(mine, key=lambda row: row["amount"])
        text += f"Of the incident {plural(len(mine), 'day')}: at most {measure(top['amount'], unit)} "
        text += f"on {iso(top['day'])}"
        text += f", with {measure(top['expected'], unit)} expected." if top["expected"] is not None else "."
    return text + (f" {plural(unknown, 'unknown value')} not drawn." if unknown else "")
