"""A forecast as a fan: what was, what is expected, and how sure that is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from finops_lab.calendar import month_name
from finops_lab.charts.frames import Row, checked, iso, known
from finops_lab.charts.labels import amount_axis, compact, measure
from finops_lab.charts.theme import BLUE, INK, VERMILLION, finish, month_axis
from finops_lab.wording import plural

if TYPE_CHECKING:
    import altair as alt

__all__ = ["forecast_fan"]

_ACTUAL, _FORECAST = "Actual", "Forecast"
_SHADED = "shaded: 80% and 95% prediction intervals"
_BOUNDS = ("lo_80", "hi_80", "lo_95", "hi_95")
# Tints of the forecast's blue, light enough for the lines and dark enough to tell from white.
_BANDS = {"80% interval": "#9ecbe6", "95% interval": "#d6e9f5"}


def forecast_fan(
    history: pl.DataFrame | pl.LazyFrame,
    forecast: pl.DataFrame | pl.LazyFrame,
    baseline: pl.DataFrame | pl.LazyFrame | None = None,
    *,
    title: str,
    unit: str = "USD",
    subtitle: str | None = None,
    value_title: str = "Spend",
    baseline_name: str = "Baseline (same month last year)",
    description: str | None = None,
) -> alt.LayerChart:
    """Draw the history, the forecast with its 80 and 95 % intervals, and a dashed baseline.

    Parameters
    ----------
    history : polars.DataFrame or polars.LazyFrame
        ``ds`` (Date, first of the month), ``y`` (Decimal or float).
    forecast : polars.DataFrame or polars.LazyFrame
        ``ds``, ``yhat``, ``lo_80``, ``hi_80``, ``lo_95``, ``hi_95``. A row with an unknown bound is
        drawn without bands.
    baseline : polars.DataFrame or polars.LazyFrame, optional
        ``ds``, ``yhat`` of the baseline model.
    title, unit, subtitle, value_title, description
        As in `spend_trend`.
    baseline_name : str
        How the legend calls the baseline.

    Returns
    -------
    altair.LayerChart

    Raises
    ------
    InputError
        A frame without rows, with more than 5,000, or with a column missing or of another kind.

    Examples
    --------
    >>> from datetime import date
    >>> past = pl.DataFrame({"ds": [date(2026, 10, 1)], "y": [400.0]})
    >>> ahead = pl.DataFrame({"ds": [date(2026, 11, 1)], "yhat": [420.0], "lo_80": [400.0],
    ...     "hi_80": [440.0], "lo_95": [390.0], "hi_95": [450.0]})
    >>> forecast_fan(past, ahead, title="Forecast").to_dict()["description"].partition(". ")[2]
    'November 2026: $420, with 80% between $400 and $440.'
    """
    import altair as alt

    past, _ = known(_sorted(history, {"ds": "date", "y": "number"}), ["y"])
    ahead, _ = known(
        _sorted(forecast, {"ds": "date", "yhat": "number"} | dict.fromkeys(_BOUNDS, "number")),
        ["yhat"],
    )
    naive: list[Row] = []
    if baseline is not None:
        naive, _ = known(_sorted(baseline, {"ds": "date", "yhat": "number"}), ["yhat"])
    names = [_ACTUAL, _FORECAST, *([baseline_name] if naive else [])]
    lines = _lines(past, ahead, naive, baseline_name, unit)
    y = alt.Y(
        "y:Q",
        title=f"{value_title} ({unit} per month)",
        scale=alt.Scale(zero=True),
        axis=alt.Axis(labelExpr=amount_axis(unit), tickCount=6),
    )
    x = alt.X(
        "ds:T", scale=alt.Scale(type="utc"), title=None, axis=month_axis(len({line["ds"] for line in lines}))
    )
    band = (
        alt.Chart(alt.Data(values=_bands(past, ahead)))
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
    styles = {
        "color": alt.Scale(domain=names, range=[INK, BLUE, VERMILLION][: len(names)]),
        "dash": alt.Scale(domain=names, range=[[1, 0], [1, 0], [5, 4]][: len(names)]),
        "shape": alt.Scale(domain=names, range=["circle", "square", "triangle-up"][: len(names)]),
    }
    base = alt.Chart(alt.Data(values=lines)).encode(
        x=x, y=y, color=alt.Color("series:N", sort=names, scale=styles["color"])
    )
    line = base.mark_line(strokeWidth=2).encode(
        strokeDash=alt.StrokeDash("series:N", sort=names, scale=styles["dash"])
    )
    points = (
        base.transform_filter("datum.real")
        .mark_point(filled=True, size=26, opacity=1)
        .encode(
            shape=alt.Shape("series:N", sort=names, scale=styles["shape"]),
            tooltip=[
                alt.Tooltip("ds:T", format="%B %Y", formatType="utc", title="Month"),
                alt.Tooltip("series:N", title="Series"),
                alt.Tooltip("label:N", title=value_title),
            ],
        )
    )
    return finish(
        [band, line, points],
        title=title,
        subtitle=subtitle if subtitle is not None else f"{unit} per month; {_SHADED}",
        description=description or _describe(past, ahead, unit, value_title),
        height=380,
    )


def _sorted(frame: pl.DataFrame | pl.LazyFrame, columns: dict[str, str]) -> list[Row]:
    return sorted(checked(frame, columns), key=lambda row: row["ds"])


def _lines(past: list[Row], ahead: list[Row], naive: list[Row], naive_name: str, unit: str) -> list[Row]:
    lines = [(_ACTUAL, row["ds"], row["y"], True) for row in past]
    if past[-1]["ds"] < ahead[0]["ds"]:
        # Only for the eye: the fan opens at the last actual. No point is drawn there.
        lines.append((_FORECAST, past[-1]["ds"], past[-1]["y"], False))
    lines += [(_FORECAST, row["ds"], row["yhat"], True) for row in ahead]
    lines += [(naive_name, row["ds"], row["yhat"], True) for row in naive]
    return [
        {"series": name, "ds": iso(ds), "y": y, "real": real, "label": compact(y, unit)}
        for name, ds, y, real in lines
    ]


def _bands(past: list[Row], ahead: list[Row]) -> list[Row]:
    bands: list[Row] = []
    # The wide band first, so that the narrow one is drawn on top of it.
    for name, lo, hi in (("95% interval", "lo_95", "hi_95"), ("80% interval", "lo_80", "hi_80")):
        if past[-1]["ds"] < ahead[0]["ds"]:
            bands.append({"band": name, "ds": iso(past[-1]["ds"]), "lo": past[-1]["y"], "hi": past[-1]["y"]})
        bands += [
            {"band": name, "ds": iso(row["ds"]), "lo": row[lo], "hi": row[hi]}
            for row in ahead
            if row[lo] is not None and row[hi] is not None
        ]
    return bands


def _describe(past: list[Row], ahead: list[Row], unit: str, value_title: str) -> str:
    last, first = past[-1], ahead[0]
    text = (
        f"{value_title} until {month_name(last['ds'])} ({measure(last['y'], unit)}) "
        f"and its forecast for {plural(len(ahead), 'month')}. "
    )
    ends = [first] if len(ahead) == 1 else [first, ahead[-1]]
    return text + "; ".join(_expected(row, unit) for row in ends) + "."


def _expected(row: Row, unit: str) -> str:
    text = f"{month_name(row['ds'])}: {measure(row['yhat'], unit)}"
    if row["lo_80"] is None or row["hi_80"] is None:
        return text
    return f"{text}, with 80% between {measure(row['lo_80'], unit)} and {measure(row['hi_80'], unit)}"
