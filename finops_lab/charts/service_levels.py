"""Error budgets by day, how a budget went down, and how fast it burned."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

import polars as pl

from finops_lab.charts.budget_days import as_csv, budget_heat_map
from finops_lab.charts.frames import Row, checked, known
from finops_lab.charts.labels import percent
from finops_lab.charts.theme import BLUE, GREY, INK, MUTED, ORANGE, PALETTE, VERMILLION, finish
from finops_lab.errors import InputError
from finops_lab.wording import plural

if TYPE_CHECKING:
    import altair as alt

__all__ = ["budget_burn_down", "budget_heat_map", "burn_rate_lines"]

_SEVERITIES = {"page": VERMILLION, "ticket": ORANGE}
_LEVELS = [{"left": 0.6, "text": "ticket: 40% spent"}, {"left": 0.2, "text": "page: 80% spent"}]


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
        alt.Chart(as_csv(line, at="date", left="number"))
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
    parts += ["dotted: deploys, rollbacks, changes of configuration"] if marks else []
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
        axis=alt.Axis(values=ticks, format=",d"),
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
        alt.Chart(as_csv(lines, at="date", rate="number"))
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
