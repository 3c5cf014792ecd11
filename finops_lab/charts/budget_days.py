"""Error budgets by day: a cell for every objective and day of a month."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import polars as pl

from finops_lab.charts.frames import Row, checked, iso, known
from finops_lab.charts.labels import percent
from finops_lab.charts.theme import INK, MUTED, VERMILLION, finish
from finops_lab.wording import plural

if TYPE_CHECKING:
    import altair as alt

__all__ = ["as_csv", "budget_heat_map"]

_CELLS = {"none": "#eef1f4", "low": "#d6e9f5", "steady": "#9ecbe6", "fast": "#f3b95f", "spent": VERMILLION}
_NAME = 200  # pixels of an objective's name


def budget_heat_map(
    calendar: pl.DataFrame | pl.LazyFrame,
    *,
    title: str,
    subtitle: str | None = None,
    description: str | None = None,
) -> alt.LayerChart:
    """Draw how much of its error budget every objective spent on every day of a month.

    Parameters
    ----------
    calendar : polars.DataFrame or polars.LazyFrame
        ``slo`` (String), ``day`` (Date), ``spent`` and ``cumulated`` (share of the month's budget,
        Decimal or float), as from `finops_lab.service_levels.budgets.budget_calendar`. A day of
        which nothing is known has no cell.
    title, subtitle, description
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
    >>> days = pl.DataFrame({"slo": ["chat: availability"] * 2, "spent": [0.25, 0.05],
    ...     "day": [date(2026, 10, 1), date(2026, 10, 2)], "cumulated": [0.25, 0.3]})
    >>> budget_heat_map(days, title="October").to_dict()["description"].partition(". ")[2]
    'Most is spent of chat: availability: 30%. The day that spent most is 1 October: 25% of chat: availability.'
    """
    import altair as alt

    columns = {"slo": "text", "day": "date", "spent": "number", "cumulated": "number"}
    rows, _ = known(checked(calendar, columns), ["spent"])
    days = sorted({row["day"] for row in rows})
    month_days = max(day.day for day in days)
    last: dict[str, float] = {}
    for row in sorted(rows, key=lambda row: (row["day"], row["slo"])):
        if row["cumulated"] is not None:
            last[row["slo"]] = row["cumulated"]
    order = sorted(last, key=lambda slo: (-last[slo], slo))
    # A day's even part of the budget: up to it the month can go on like this.
    even = 1 / month_days
    looks = _looks(even)
    cells = [
        {
            "slo": row["slo"],
            "day": row["day"].day,
            "look": _look(row["spent"], even, looks),
            "date": iso(row["day"]),
            "text": percent(row["spent"]),
            "total": percent(row["cumulated"]) if row["cumulated"] is not None else "",
            # Written into the cell where it is worth a look; a tenth of the budget in a day.
            "label": f"{row['spent']:.0%}".rstrip("%") if row["spent"] >= 0.0995 else "",
            "dark": _look(row["spent"], even, looks) == looks[4],
        }
        for row in rows
    ]
    base = alt.Chart(as_csv(cells, day="number", dark="boolean")).encode(
        x=alt.X(
            "day:O",
            title="Day of the month (UTC)",
            scale=alt.Scale(domain=list(range(1, month_days + 1)), padding=0),
            axis=alt.Axis(labelAngle=0, labelOverlap=True, ticks=False, domain=False),
        ),
        y=alt.Y(
            "slo:N",
            sort=order,
            title=None,
            axis=alt.Axis(labelColor=INK, ticks=False, domain=False, labelLimit=_NAME),
        ),
        tooltip=[
            alt.Tooltip("slo:N", title="Objective"),
            alt.Tooltip("date:N", title="Day"),
            alt.Tooltip("text:N", title="Spent that day"),
            alt.Tooltip("total:N", title="Spent so far"),
        ],
    )
    body = base.mark_rect(stroke="white", strokeWidth=1.5).encode(
        color=alt.Color("look:N", sort=looks, scale=alt.Scale(domain=looks, range=list(_CELLS.values())))
    )
    text = base.mark_text(fontSize=9).encode(
        text="label:N", color=alt.condition("datum.dark", alt.value("white"), alt.value(INK))
    )
    ends = [{"slo": slo, "text": percent(last[slo]), "over": last[slo] >= 1} for slo in order]
    total = (
        alt.Chart(alt.Data(values=ends))
        .mark_text(align="left", dx=6, fontSize=11)
        .encode(
            y=alt.Y("slo:N", sort=order),
            x=alt.value("width"),
            text="text:N",
            color=alt.condition("datum.over", alt.value(VERMILLION), alt.value(MUTED)),
        )
    )
    return finish(
        [body, text, total],
        title=title,
        subtitle=subtitle
        if subtitle is not None
        else "Share of the month's error budget spent that day; at the right, of the month so far",
        description=description or _describe_days(rows, last, order),
        height=130 + 24 * len(order),
        right=40,
    )


def as_csv(rows: list[Row], **parse: Any) -> alt.InlineData:
    """Return rows as CSV within the chart, for those with hundreds of them.

    Altair checks every value of a list against its schema, at seconds a chart.

    Parameters
    ----------
    rows : list of dict
        Rows alike, of plain values.
    **parse : str
        Columns that are no text: ``number``, ``date`` or ``boolean``.

    Returns
    -------
    altair.InlineData

    Examples
    --------
    >>> as_csv([{"day": 1, "text": "3%"}], day="number").to_dict()["values"].split()
    ['day,text', '1,3%']
    """
    import altair as alt

    text = pl.DataFrame(rows).write_csv()
    return alt.InlineData(values=text, format=alt.CsvDataFormat(type="csv", parse=parse))


def _looks(even: float) -> list[str]:
    return [
        "none",
        f"up to {even:.1%} (an even part)",
        f"up to {3 * even:.1%}",
        f"up to {6 * even:.1%}",
        "more",
    ]


def _look(spent: float, even: float, looks: list[str]) -> str:
    if spent <= 0:
        return looks[0]
    return next(
        (look for times, look in zip((1, 3, 6), looks[1:], strict=False) if spent <= times * even), looks[4]
    )


def _day(day: date) -> str:
    return f"{day.day} {day:%B}"


def _describe_days(rows: list[Row], last: dict[str, float], order: list[str]) -> str:
    worst = max(rows, key=lambda row: (row["spent"], -row["day"].toordinal(), row["slo"]))
    days = {row["day"] for row in rows}
    return (
        f"Calendar of {plural(len(order), 'error budget')} from {_day(min(days))} to {_day(max(days))}. "
        f"Most is spent of {order[0]}: {percent(last[order[0]])}. "
        f"The day that spent most is {_day(worst['day'])}: {percent(worst['spent'])} of {worst['slo']}."
    )
