"""Error budgets by day, how a budget went down, and how fast it burned."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from finops_lab.charts.frames import Row, checked, iso, known
from finops_lab.charts.labels import percent, plural
from finops_lab.charts.theme import BLUE, GREY, INK, MUTED, ORANGE, PALETTE, VERMILLION, finish
from finops_lab.errors import InputError

if TYPE_CHECKING:
    import altair as alt

__all__ = ["budget_burn_down", "budget_heat_map", "burn_rate_lines"]

_SEVERITIES = {"page": VERMILLION, "ticket": ORANGE}
_CELLS = {"none": "#eef1f4", "low": "#d6e9f5", "steady": "#9ecbe6", "fast": "#f3b95f", "spent": VERMILLION}
_LEVELS = [{"left": 0.6, "text": "ticket: 40% spent"}, {"left": 0.2, "text": "page: 80% spent"}]
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
    base = alt.Chart(_table(cells, day="number", dark="boolean")).encode(
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


def _table(rows: list[Row], **parse: Any) -> alt.InlineData:
    """Return rows as CSV: Altair checks every value of a list against its schema, at seconds a chart."""
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


def budget_burn_down(
    spent: pl.DataFrame | pl.LazyFrame,
    alerts: pl.DataFrame | pl.LazyFrame | None = None,
    deploys: pl.DataFrame | pl.LazyFrame | None = None,
    *,
    title: str,
    subtitle: str | None = None,
    description: str | None = None,
) -> alt.LayerChart:
    """Draw what is left of a month's error budget, with its alerts and the deploys of the service.

    Parameters
    ----------
    spent : polars.DataFrame or polars.LazyFrame
        ``at`` (Datetime), ``spent`` (share of the budget), of one objective: ``spent`` of
        `finops_lab.service_levels.judging.judge`, filtered.
    alerts : polars.DataFrame or polars.LazyFrame, optional
        ``begin``, ``end`` (null: still lasts) and ``severity`` (``page``, ``ticket``) of the
        objective. Those whose ``status`` is not ``proved`` are not drawn.
    deploys : polars.DataFrame or polars.LazyFrame, optional
        ``ts`` and ``kind`` of the service. Those outside the span of `spent` are not drawn.
    title, subtitle, description
        As in `finops_lab.charts.spend.spend_trend`.

    Returns
    -------
    altair.LayerChart

    Raises
    ------
    InputError
        No rows, more than 5,000, or a column missing or of another kind.
    """
    import altair as alt

    rows, _ = known(checked(spent, {"at": "date", "spent": "number"}), ["spent"])
    rows.sort(key=lambda row: row["at"])
    first, last = rows[0]["at"], rows[-1]["at"]
    line = [
        {"at": _moment(row["at"]), "left": 1 - row["spent"], "text": percent(1 - row["spent"])}
        for row in rows
    ]
    low = min(0.0, *(point["left"] for point in line))
    spans = _spans(alerts, first, last)
    marks = _marks(deploys, first, last)
    x = alt.X(
        "at:T",
        scale=alt.Scale(type="utc", domain=[_moment(first), _moment(last)]),
        title=None,
        axis=alt.Axis(format="%-d %b", labelOverlap=True, grid=False, tickCount=10),
    )
    y = alt.Y(
        "left:Q",
        title="Error budget left (share of the month's)",
        scale=alt.Scale(domain=[low, 1.05], nice=False),
        axis=alt.Axis(format=".0%", tickCount=6),
    )
    layers = []
    if spans:
        kinds = [kind for kind in _SEVERITIES if any(span["severity"] == kind for span in spans)]
        layers.append(
            alt.Chart(alt.Data(values=spans))
            .mark_rect(opacity=0.28)
            .encode(
                x=alt.X("at:T"),
                x2="end:T",
                color=alt.Color(
                    "severity:N",
                    sort=kinds,
                    scale=alt.Scale(domain=kinds, range=[_SEVERITIES[k] for k in kinds]),
                ),
                tooltip=[
                    alt.Tooltip("severity:N", title="Alert"),
                    alt.Tooltip("at:T", format="%-d %b %H:%M", formatType="utc", title="From"),
                    alt.Tooltip("end:T", format="%-d %b %H:%M", formatType="utc", title="To"),
                ],
            )
        )
    nothing = alt.Chart(alt.Data(values=[{"left": 0}])).mark_rule(color=INK).encode(y=y)
    levels = alt.Chart(alt.Data(values=_LEVELS))
    layers += [
        nothing,
        levels.mark_rule(color=GREY, strokeDash=[3, 3]).encode(y=y),
        levels.mark_text(align="left", baseline="bottom", dy=-2, dx=5, fontSize=10, color=MUTED).encode(
            y=y, x=alt.value(0), text="text:N"
        ),
        alt.Chart(_table(line, at="date", left="number"))
        .mark_line(strokeWidth=2, color=BLUE, interpolate="step-after")
        .encode(
            x=x,
            y=y,
            tooltip=[
                alt.Tooltip("at:T", format="%-d %b %H:%M", formatType="utc", title="At"),
                alt.Tooltip("text:N", title="Left"),
            ],
        ),
    ]
    if marks:
        drawn = alt.Chart(alt.Data(values=marks)).encode(
            x=alt.X("at:T"),
            tooltip=[
                alt.Tooltip("kind:N", title="Change"),
                alt.Tooltip("at:T", format="%-d %b %H:%M", formatType="utc", title="At"),
            ],
        )
        layers.append(drawn.mark_rule(color=INK, strokeWidth=1, strokeDash=[2, 2]).encode(x=x))
        # Names of changes that are close to each other: left of the first, right of the second, below.
        places: tuple[tuple[Literal["top", "bottom"], int, int], ...] = (
            ("bottom", -3, 4),
            ("top", 3, 4),
            ("bottom", -3, 60),
        )
        layers += [
            drawn.transform_filter(f"datum.row == {row}")
            .mark_text(
                angle=270, align="right", baseline=places[row][0], dy=places[row][1], fontSize=10, color=INK
            )
            .encode(x=x, y=alt.value(places[row][2]), text="kind:N")
            for row in sorted({mark["row"] for mark in marks})
        ]
    return finish(
        layers,
        title=title,
        subtitle=subtitle if subtitle is not None else _below(spans, marks),
        description=description or _describe_left(line, spans, marks),
        height=360,
    )


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


def _spans(alerts: pl.DataFrame | pl.LazyFrame | None, first: datetime, last: datetime) -> list[Row]:
    if alerts is None:
        return []
    frame = alerts.lazy().collect()
    frame = frame.filter(status="proved") if "status" in frame.columns else frame
    if frame.is_empty():
        return []
    found = []
    for row in checked(frame, {"begin": "date", "end": "date", "severity": "text"}):
        if row["severity"] not in _SEVERITIES:
            raise InputError(f"there is no severity {row['severity']!r}", column="severity")
        # A moment's alert is drawn as wide as a slot, at least, to be seen at all.
        end = max(row["end"] or last, row["begin"] + timedelta(minutes=30))
        if end >= first and row["begin"] <= last:
            begin, end = max(row["begin"], first), min(end, last)
            found.append({"at": _moment(begin), "end": _moment(end), "severity": row["severity"]})
    return sorted(found, key=lambda span: (span["severity"] == "page", span["at"]))


def _marks(deploys: pl.DataFrame | pl.LazyFrame | None, first: datetime, last: datetime) -> list[Row]:
    if deploys is None or deploys.lazy().collect().is_empty():
        return []
    rows = checked(deploys, {"ts": "date", "kind": "text"})
    inside = sorted((row["ts"], row["kind"]) for row in rows if first <= row["ts"] <= last)
    marks: list[Row] = []
    taken = [first - (last - first)] * 3
    for ts, kind in inside:
        free = (row for row, before in enumerate(taken) if ts - before > (last - first) / 50)
        place = next(free, len(taken) - 1)
        taken[place] = ts
        marks.append({"at": _moment(ts), "kind": kind, "row": place})
    return marks


def _below(spans: list[Row], marks: list[Row]) -> str:
    parts = ["Share of the month's error budget (UTC)"]
    parts += ["shaded: alerts"] if spans else []
    parts += ["dashed: deploys"] if marks else []
    return "; ".join(parts)


def _describe_left(line: list[Row], spans: list[Row], marks: list[Row]) -> str:
    counts = [
        plural(count, kind)
        for kind in _SEVERITIES
        if (count := sum(span["severity"] == kind for span in spans))
    ]
    least = min(line, key=lambda point: (point["left"], point["at"]))
    return (
        f"What is left of an error budget from {line[0]['at'][:10]} to {line[-1]['at'][:10]}: {line[-1]['text']} at "
        f"the end, {least['text']} at the lowest. Alerts: {', '.join(counts) or 'none'}; deploys: {len(marks)}."
    )


def burn_rate_lines(
    burn: pl.DataFrame | pl.LazyFrame,
    *,
    title: str,
    subtitle: str | None = None,
    description: str | None = None,
) -> alt.LayerChart:
    """Draw burn rates over the long windows of an objective, with the threshold of each.

    Parameters
    ----------
    burn : polars.DataFrame or polars.LazyFrame
        ``window`` (String), ``at`` (Datetime), ``long_rate`` and ``threshold`` (numbers) of one
        objective: ``burn`` of `finops_lab.service_levels.judging.judge`, filtered. Rates are drawn on a
        square root scale.
    title, subtitle, description
        As in `finops_lab.charts.spend.spend_trend`.

    Returns
    -------
    altair.LayerChart

    Raises
    ------
    InputError
        No rows, more than 5,000, more than 6 windows, or a column missing or of another kind.

    Examples
    --------
    >>> from datetime import UTC
    >>> rates = pl.DataFrame({"window": ["1 h / 5 m"] * 2, "threshold": [14.4] * 2, "long_rate": [0.5, 20.0],
    ...     "at": [datetime(2026, 10, 1, hour, tzinfo=UTC) for hour in (8, 9)]})
    >>> burn_rate_lines(rates, title="chat").to_dict()["description"]
    'Burn rates from 2026-10-01 to 2026-10-01. 1 h / 5 m: at most 20.0, threshold 14.4.'
    """
    import altair as alt

    columns = {"window": "text", "at": "date", "long_rate": "number", "threshold": "number"}
    rows, _ = known(checked(burn, columns), ["long_rate", "threshold"])
    thresholds = {row["window"]: row["threshold"] for row in rows}
    windows = sorted(thresholds, key=lambda window: (-thresholds[window], window))
    if len(windows) > 6:
        raise InputError(f"{len(windows)} windows do not fit: draw at most 6")
    rows.sort(key=lambda row: (windows.index(row["window"]), row["at"]))
    lines = [
        {
            "window": row["window"],
            "at": _moment(row["at"]),
            "rate": row["long_rate"],
            "text": f"{row['long_rate']:.2f}",
        }
        for row in rows
    ]
    colour = alt.Color(
        "window:N", sort=windows, scale=alt.Scale(domain=windows, range=_LINES[: len(windows)])
    )
    top = max(*(line["rate"] for line in lines), *thresholds.values()) * 1.1
    ticks = [tick for tick in (0, 1, 5, 10, 20, 50, 100, 200, 500, 1000) if tick <= top]
    y = alt.Y(
        "rate:Q",
        title="Burn rate (1 spends the budget exactly in its period)",
        # Room for rates around 1 beside those of an incident; a logarithm would have no place for 0.
        scale=alt.Scale(type="sqrt", domain=[0, top], nice=False),
        axis=alt.Axis(values=ticks, format="~g"),
    )
    x = alt.X(
        "at:T",
        scale=alt.Scale(type="utc"),
        title=None,
        axis=alt.Axis(format="%-d %b", labelOverlap=True, grid=False, tickCount=10),
    )
    limits = [
        {"window": window, "rate": thresholds[window], "text": f"{thresholds[window]:g}"}
        for window in windows
    ]
    limit = alt.Chart(alt.Data(values=limits)).encode(y=y, color=colour)
    drawn = (
        alt.Chart(_table(lines, at="date", rate="number"))
        .mark_line(strokeWidth=1.3)
        .encode(
            x=x,
            y=y,
            color=colour,
            tooltip=[
                alt.Tooltip("at:T", format="%-d %b %H:%M", formatType="utc", title="Hour"),
                alt.Tooltip("window:N", title="Windows"),
                alt.Tooltip("text:N", title="Burn rate"),
            ],
        )
    )
    return finish(
        [
            drawn,
            limit.mark_rule(strokeDash=[6, 4], strokeWidth=1.6),
            limit.mark_text(align="left", dx=4, fontSize=11).encode(x=alt.value("width"), text="text:N"),
        ],
        title=title,
        subtitle=subtitle
        if subtitle is not None
        else "Highest rate of each hour over the long window, square root scale; dashed: thresholds",
        description=description or _describe_rates(rows, windows, thresholds),
        height=360,
        right=24,
    )


_LINES = [BLUE, ORANGE, PALETTE[2], PALETTE[3], PALETTE[4], VERMILLION]


def _describe_rates(rows: list[Row], windows: list[str], thresholds: dict[str, float]) -> str:
    days = [row["at"] for row in rows]
    said = []
    for window in windows:
        peak = max(row["long_rate"] for row in rows if row["window"] == window)
        said.append(f"{window}: at most {peak:.1f}, threshold {thresholds[window]:g}")
    return f"Burn rates from {min(days):%Y-%m-%d} to {max(days):%Y-%m-%d}. {'; '.join(said)}."
