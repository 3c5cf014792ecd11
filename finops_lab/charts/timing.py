"""Where time goes: durations by model, and the calls of one trace."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from finops_lab.charts.frames import checked, known, totals
from finops_lab.charts.labels import percent
from finops_lab.charts.theme import PALETTE, colours, finish
from finops_lab.errors import InputError
from finops_lab.wording import plural

if TYPE_CHECKING:
    import altair as alt

__all__ = ["duration_steps", "trace_waterfall"]

_GROUPS, _CALLS = 7, 40
_TENS = [part * 10**power for power in range(-3, 9) for part in (1, 3)]


def duration_steps(
    frame: pl.DataFrame | pl.LazyFrame,
    *,
    title: str,
    subtitle: str | None = None,
    description: str | None = None,
) -> alt.LayerChart:
    """Draw how long calls took: the share of a group's calls in each range of durations.

    Parameters
    ----------
    frame : polars.DataFrame or polars.LazyFrame
        ``group`` (String), ``from_ms`` and ``share`` (numbers): the share of the group's calls in
        the range that begins there, up to the next. Past seven groups the smallest are left out.
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
    >>> calls = pl.DataFrame({"group": ["m", "m"], "from_ms": [100.0, 200.0], "share": [0.9, 0.1]})
    >>> duration_steps(calls, title="Durations").to_dict()["description"]
    'Share of calls by duration, 1 group. Most often: m from 100 ms.'
    """
    import altair as alt

    rows, _ = known(
        checked(frame, {"group": "text", "from_ms": "number", "share": "number"}), ["share", "from_ms"]
    )
    rows = [row for row in rows if row["from_ms"] > 0]
    if not rows:
        raise InputError("there is nothing to draw: no duration is above 0")
    names = sorted(totals(rows, "group", "share"))
    kept = names[:_GROUPS]
    points = sorted(
        ({**row, "label": percent(row["share"])} for row in rows if row["group"] in kept),
        key=lambda row: (row["group"], row["from_ms"]),
    )
    base = alt.Chart(alt.Data(values=points)).encode(
        x=alt.X(
            "from_ms:Q",
            title="Latency (ms, logarithmic)",
            scale=alt.Scale(type="log"),
            axis=alt.Axis(grid=False, values=_TENS, format=",~r"),
        ),
        y=alt.Y("share:Q", title="Share of calls", axis=alt.Axis(format="%")),
        color=alt.Color("group:N", sort=kept, scale=alt.Scale(domain=kept, range=colours(kept))),
        tooltip=[
            alt.Tooltip("group:N", title="Group"),
            alt.Tooltip("from_ms:Q", title="From ms", format=",.0f"),
            alt.Tooltip("label:N", title="Share"),
        ],
    )
    tops = [max((p for p in points if p["group"] == name), key=lambda p: p["share"]) for name in kept]
    said = "; ".join(f"{top['group']} from {top['from_ms']:,.0f} ms" for top in tops)
    return finish(
        [base.mark_line(interpolate="step-after", strokeWidth=2)],
        title=title,
        subtitle=subtitle if subtitle is not None else "Share of a model's calls in each range of durations",
        description=description
        or f"Share of calls by duration, {plural(len(kept), 'group')}. Most often: {said}.",
        height=320,
    )


def trace_waterfall(
    frame: pl.DataFrame | pl.LazyFrame,
    *,
    title: str,
    subtitle: str | None = None,
    description: str | None = None,
) -> alt.LayerChart:
    """Draw the calls of a trace one below the other, each from begin to end, by phase.

    Parameters
    ----------
    frame : polars.DataFrame or polars.LazyFrame
        ``call`` (number), ``label``, ``phase``, ``status`` (String), ``start_ms``, ``end_ms``: what
        `finops_lab.unit_economics.traces.trace_spans` returns; at most 40 calls.
    title, subtitle, description
        As in `finops_lab.charts.spend.spend_trend`.

    Returns
    -------
    altair.LayerChart

    Raises
    ------
    InputError
        No rows, more than 40 calls, or a column missing or of another kind.

    Examples
    --------
    >>> spans = pl.DataFrame({"call": [1], "label": ["1 chat m"], "phase": ["whole"], "status": ["ok"],
    ...     "start_ms": [0.0], "end_ms": [12.0]})
    >>> trace_waterfall(spans, title="A trace").to_dict()["description"]
    'A trace of 1 call, 12 ms from begin to end. 1 chat m: 0 to 12 ms, ok.'
    """
    import altair as alt

    kinds = {
        "call": "number",
        "label": "text",
        "phase": "text",
        "status": "text",
        "start_ms": "number",
        "end_ms": "number",
    }
    rows = checked(frame, kinds)
    labels = list(dict.fromkeys(row["label"] for row in sorted(rows, key=lambda row: row["call"])))
    if len(labels) > _CALLS:
        raise InputError(f"a trace is drawn with at most {_CALLS} calls, it has {len(labels)}")
    phases = [name for name in _ORDER if any(row["phase"] == name for row in rows)]
    phases += sorted({row["phase"] for row in rows} - set(phases))
    bars = [{**row, "took": f"{row['end_ms'] - row['start_ms']:,.0f} ms"} for row in rows]
    y = alt.Y("label:N", sort=labels, title=None, axis=alt.Axis(labelLimit=280))
    base = alt.Chart(alt.Data(values=bars)).encode(
        y=y,
        x=alt.X(
            "start_ms:Q",
            title="Milliseconds from the begin of the trace",
            axis=alt.Axis(tickCount=6, labelOverlap=True),
        ),
        x2="end_ms:Q",
        color=alt.Color(
            "phase:N", sort=phases, scale=alt.Scale(domain=phases, range=list(PALETTE[: len(phases)]))
        ),
        tooltip=[
            alt.Tooltip("label:N", title="Call"),
            alt.Tooltip("phase:N", title="Phase"),
            alt.Tooltip("took:N", title="Took"),
            alt.Tooltip("status:N", title="Status"),
        ],
    )
    ends = [
        {
            "label": label,
            "end_ms": max(row["end_ms"] for row in rows if row["label"] == label),
            "status": next(row["status"] for row in rows if row["label"] == label),
        }
        for label in labels
    ]
    beside = alt.Chart(alt.Data(values=ends)).mark_text(align="left", dx=4, fontSize=10)
    said = [
        f"{end['label']}: {min(r['start_ms'] for r in rows if r['label'] == end['label']):,.0f} to "
        f"{end['end_ms']:,.0f} ms, {end['status']}"
        for end in ends
    ]
    last = max(end["end_ms"] for end in ends)
    return finish(
        [base.mark_bar(), beside.encode(y=y, x="end_ms:Q", text="status:N")],
        title=title,
        subtitle=subtitle if subtitle is not None else "Each bar is a call; colours are its phases",
        description=description
        or f"A trace of {plural(len(labels), 'call')}, {last:,.0f} ms from begin to end. {'; '.join(said)}.",
        height=110 + 26 * len(labels),
        right=48,
    )


_ORDER = ("queue", "prefill", "first token", "decode", "rest", "whole", "other")
