"""What capacity costs by its load, and how well it is packed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import polars as pl

from finops_lab.charts.frames import MAX_ROWS, Row, checked, fold, iso, known, totals
from finops_lab.charts.labels import amount_axis, compact, log_ticks, measure, percent
from finops_lab.charts.theme import BLUE, INK, MUTED, ORANGE, PALETTE, SHAPES, colours, finish
from finops_lab.errors import InputError
from finops_lab.wording import plural

if TYPE_CHECKING:
    import altair as alt

__all__ = ["load_curve", "packing_bars"]

_KEYS = 7
_LOG_FROM = 8
_POOLS = 25
_THERE = "#d3d9e0"
# Wide to narrow: each bar lies on the one before.
_STATES = (("there", _THERE, 0.82), ("held by a workload", PALETTE[4], 0.56), ("in use", BLUE, 0.28))


def load_curve(
    points: pl.DataFrame | pl.LazyFrame,
    lines: pl.DataFrame | pl.LazyFrame | None = None,
    *,
    title: str,
    unit: str = "USD",
    subtitle: str | None = None,
    description: str | None = None,
) -> alt.LayerChart:
    """Draw money per million tokens against load: a point per period, the fitted line of each key.

    Parameters
    ----------
    points : polars.DataFrame or polars.LazyFrame
        ``key`` (String, such as a model), ``period`` (Date or Datetime), ``tokens_per_hour`` and
        ``money_per_mtok`` (Decimal or float), such as `LoadCurve.points`. A point with an unknown
        value is left out, and the text says so. Past seven keys those with the fewest tokens are
        drawn as one, or left out where all would be more than 5,000 points.
    lines : polars.DataFrame or polars.LazyFrame, optional
        ``key``, ``tokens_per_hour``, ``money_per_mtok``, such as `LoadCurve.lines`; those of keys
        that are drawn as one are left out.
    title : str
        What the chart shows.
    unit : str
        ISO 4217 code of the money.
    subtitle, description : str, optional
        Second line of the title, alt text (computed when not given).

    Returns
    -------
    altair.LayerChart

    Raises
    ------
    InputError
        No rows, more than 5,000 of seven keys, a column missing or of another kind, nothing known,
        or a load that is not above zero.

    Examples
    --------
    >>> from datetime import date
    >>> days = pl.DataFrame({"key": ["chat"] * 2, "period": [date(2026, 10, 1), date(2026, 10, 2)],
    ...     "tokens_per_hour": [1e6, 2e6], "money_per_mtok": [10.0, 5.0]})
    >>> load_curve(days, title="Chat").to_dict()["description"].partition(". ")[2]
    'chat: from $10.00 at 1.0M tokens per hour to $5.00 at 2.0M.'
    """
    import altair as alt

    numbers = ("tokens_per_hour", "money_per_mtok")
    columns = {"key": "text", "period": "date", **dict.fromkeys(numbers, "number")}
    kept, left = _most_used(points)
    rows, unknown = known(checked(kept, columns), numbers)
    if any(row["tokens_per_hour"] <= 0 for row in rows):
        raise InputError("a load is not above zero", column="tokens_per_hour")
    place, order = fold(list(totals(rows, "key", "tokens_per_hour")), _KEYS)
    dots = [
        row
        | {
            "key": place[row["key"]],
            "period": iso(row["period"]),
            "text": measure(row["money_per_mtok"], unit),
            "load": compact(row["tokens_per_hour"], "tokens per hour"),
        }
        for row in rows
    ]
    fitted = _lines(lines, order)
    x = alt.X(
        "tokens_per_hour:Q",
        title="Load (tokens per hour)",
        **_scaled([row["tokens_per_hour"] for row in [*rows, *fitted]], "tokens"),
    )
    y = alt.Y(
        "money_per_mtok:Q",
        title=f"{unit} per 1M tokens",
        **_scaled([row["money_per_mtok"] for row in [*rows, *fitted]], unit),
    )
    colour = alt.Color("key:N", sort=order, scale=alt.Scale(domain=order, range=colours(order)))
    shape = alt.Shape("key:N", sort=order, scale=alt.Scale(domain=order, range=list(SHAPES[: len(order)])))
    drawn = (
        alt.Chart(alt.Data(values=dots))
        .mark_point(filled=True, opacity=0.55, size=34)
        .encode(
            x=x,
            y=y,
            color=colour,
            shape=shape,
            tooltip=[
                alt.Tooltip("key:N", title="Name"),
                alt.Tooltip("period:N", title="Period"),
                alt.Tooltip("load:N", title="Tokens per hour"),
                alt.Tooltip("text:N", title="Per 1M tokens"),
            ],
        )
    )
    layers = [drawn]
    if fitted:
        line = alt.Chart(alt.Data(values=fitted)).mark_line(strokeWidth=2)
        layers.append(line.encode(x=x, y=y, color=colour, order=alt.Order("tokens_per_hour:Q")))
    fixed = "; lines: what fixed and variable money per hour give" if fitted else ""
    return finish(
        layers,
        title=title,
        subtitle=subtitle if subtitle is not None else f"A point per period{fixed}",
        description=description or _describe_load(rows, place, order, unit, unknown) + left,
        height=400,
    )


def _most_used(points: pl.DataFrame | pl.LazyFrame) -> tuple[pl.DataFrame, str]:
    """Keep the keys with the most tokens where all are too many points, and say how many were left out."""
    frame = points.lazy().collect()
    if frame.height <= MAX_ROWS or not {"key", "tokens_per_hour"} <= set(frame.columns):
        return frame, ""
    used = frame.group_by("key").agg(pl.col("tokens_per_hour").cast(pl.Float64).sum().round(3))
    order = used.sort("tokens_per_hour", "key", descending=[True, False], nulls_last=True)
    names = order["key"].head(_KEYS)
    left = plural(order.height - names.len(), "name")
    return frame.filter(pl.col("key").is_in(names.implode())), f" {left} with fewer tokens not drawn."


def _lines(lines: pl.DataFrame | pl.LazyFrame | None, order: list[str]) -> list[Row]:
    if lines is None or lines.lazy().head(1).collect().is_empty():
        return []
    columns = {"key": "text", "tokens_per_hour": "number", "money_per_mtok": "number"}
    drawn = lines.lazy().filter(pl.col("key").cast(pl.String).is_in(order)).collect()
    rows = checked(drawn, columns) if drawn.height else []
    return sorted(rows, key=lambda row: (order.index(row["key"]), row["tokens_per_hour"]))


def _scaled(values: list[float], unit: str) -> dict[str, Any]:
    """Return a logarithmic scale and its axis where values are many times each other, else one from zero."""
    import altair as alt

    low, high = min(values), max(values)
    labels: dict[str, Any] = {"labelExpr": amount_axis(unit), "labelOverlap": "greedy", "labelSeparation": 6}
    if low > 0 and high / low >= _LOG_FROM:
        ends = [low / 1.15, high * 1.15]
        scale = alt.Scale(type="log", domain=ends, nice=False)
        return {"scale": scale, "axis": alt.Axis(values=log_ticks(*ends), **labels)}
    scale = alt.Scale(domain=[min(0.0, low), high * 1.08 or 1.0], nice=False)
    return {"scale": scale, "axis": alt.Axis(tickCount=6, **labels)}


def _describe_load(rows: list[Row], place: dict[str, str], order: list[str], unit: str, unknown: int) -> str:
    lines = [f"Points of money per 1M tokens against load, {plural(len(rows), 'period')}, by name"]
    said = []
    for name in order:
        mine = sorted(
            (row for row in rows if place[row["key"]] == name), key=lambda row: row["tokens_per_hour"]
        )
        least, most = mine[0], mine[-1]
        said.append(
            f"{name}: from {measure(least['money_per_mtok'], unit)} at "
            f"{measure(least['tokens_per_hour'], 'tokens per hour')} to {measure(most['money_per_mtok'], unit)}"
            f" at {compact(most['tokens_per_hour'], 'tokens')}"
        )
    lines.append("; ".join(said))
    text = ". ".join(lines) + "."
    return text + (f" {plural(unknown, 'period')} with unknown values not drawn." if unknown else "")


def packing_bars(
    frame: pl.DataFrame | pl.LazyFrame,
    *,
    title: str,
    subtitle: str | None = None,
    description: str | None = None,
) -> alt.LayerChart:
    """Draw how much of each pool's GPU time was there, held by a workload, and in use.

    Parameters
    ----------
    frame : polars.DataFrame or polars.LazyFrame
        One month and kind of utilization: ``pool_id`` (String, one row each), ``gpu_hours``,
        ``allocated_gpu_hours``, ``active_gpu_hours`` and ``requested_gpu_hours`` (Decimal or float;
        null where nobody knows), such as `finops_lab.unit_economics.capacity.packing`. Past 25 pools
        the smallest are left out, and the text says so.
    title, subtitle, description
        As in `load_curve`.

    Returns
    -------
    altair.LayerChart

    Raises
    ------
    InputError
        No rows, more than 5,000, a pool twice, or a column missing or of another kind.

    Examples
    --------
    >>> pools = pl.DataFrame({"pool_id": ["chat"], "gpu_hours": [100.0], "allocated_gpu_hours": [80.0],
    ...     "active_gpu_hours": [60.0], "requested_gpu_hours": [None]})
    >>> packing_bars(pools, title="Packing").to_dict()["description"].partition(": ")[2]
    'chat 100 GPU-hours, 80% held, 60% in use.'
    """
    import altair as alt

    names = ("gpu_hours", "allocated_gpu_hours", "active_gpu_hours")
    columns = {"pool_id": "text", "requested_gpu_hours": "number", **dict.fromkeys(names, "number")}
    rows, unknown = known(checked(frame, columns), names)
    if len({row["pool_id"] for row in rows}) < len(rows):
        raise InputError("a pool occurs twice", column="pool_id", hint="choose one month and util_kind")
    rows.sort(key=lambda row: (-row["gpu_hours"], row["pool_id"]))
    shown, left = rows[:_POOLS], len(rows) - len(rows[:_POOLS])
    order = [row["pool_id"] for row in shown]
    bars = [
        {"pool_id": row["pool_id"], "state": state, "hours": row[name], "text": _share(row, name)}
        for row in shown
        for name, (state, _, _) in zip(names, _STATES, strict=True)
    ]
    asked = [
        {"pool_id": row["pool_id"], "hours": row["requested_gpu_hours"], "state": "asked for"}
        for row in shown
        if row["requested_gpu_hours"] is not None
    ]
    top = max(bar["hours"] for bar in [*bars, *asked])
    states = [state for state, _, _ in _STATES] + (["asked for"] if asked else [])
    tones = [tone for _, tone, _ in _STATES] + ([ORANGE] if asked else [])
    y = alt.Y("pool_id:N", sort=order, title=None, axis=alt.Axis(labelColor=INK, ticks=False, domain=False))
    x = alt.X(
        "hours:Q",
        title="GPU-hours",
        scale=alt.Scale(domain=[0, top * 1.16 or 1.0], nice=False),
        axis=alt.Axis(labelExpr=amount_axis("GPU-hours"), tickCount=6),
    )
    colour = alt.Color("state:N", sort=states, scale=alt.Scale(domain=states, range=tones))
    tooltip = [
        alt.Tooltip("pool_id:N", title="Pool"),
        alt.Tooltip("state:N", title="GPU time"),
        alt.Tooltip("text:N", title="GPU-hours"),
    ]
    layers = [
        alt.Chart(alt.Data(values=[bar for bar in bars if bar["state"] == state]))
        .mark_bar(height={"band": band})
        .encode(x=x, y=y, color=colour, tooltip=tooltip)
        for state, _, band in _STATES
    ]
    if asked:
        ticks = alt.Chart(alt.Data(values=asked)).mark_tick(thickness=3, height={"band": 0.9})
        layers.append(ticks.encode(x=x, y=y, color=colour))
    ends = [
        {"pool_id": row["pool_id"], "hours": row["gpu_hours"], "text": f"{_part(row)} in use"}
        for row in shown
    ]
    words = alt.Chart(alt.Data(values=ends)).mark_text(align="left", dx=6, fontSize=10, color=MUTED)
    layers.append(words.encode(x=x, y=y, text="text:N"))
    text = _describe_packing(shown, left, unknown)
    return finish(
        layers,
        title=title,
        subtitle=subtitle if subtitle is not None else "GPU-hours that samples tell of",
        description=description or text,
        height=120 + 28 * len(shown),
    )


def _part(row: Row) -> str:
    return percent(row["active_gpu_hours"] / row["gpu_hours"]) if row["gpu_hours"] else "0%"


def _share(row: Row, name: str) -> str:
    if name == "gpu_hours" or not row["gpu_hours"]:
        return compact(row[name], "GPU-hours")
    return f"{compact(row[name], 'GPU-hours')} ({percent(row[name] / row['gpu_hours'])})"


def _describe_packing(rows: list[Row], left: int, unknown: int) -> str:
    def words(row: Row) -> str:
        there = f"{row['pool_id']} {measure(row['gpu_hours'], 'GPU-hours')}"
        if not row["gpu_hours"]:
            return there
        return f"{there}, {percent(row['allocated_gpu_hours'] / row['gpu_hours'])} held, {_part(row)} in use"

    hours = math.fsum(row["gpu_hours"] for row in rows)
    used = math.fsum(row["active_gpu_hours"] for row in rows)
    many = f"together {percent(used / hours)} in use; " if len(rows) > 1 and hours else ""
    text = f"Bars of GPU time of {plural(len(rows), 'pool')}: {many}{'; '.join(map(words, rows[:5]))}."
    text += f" {plural(left, 'smaller pool')} not drawn." if left else ""
    return text + (f" {plural(unknown, 'pool')} with unknown values not drawn." if unknown else "")
