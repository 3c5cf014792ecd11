"""A decision that follows its sliders without Python: for an offline page, bound in Vega itself."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import polars as pl

from finops_lab.charts.frames import Row, checked, known
from finops_lab.charts.labels import amount_axis, currency_symbol
from finops_lab.charts.theme import GREY, INK, MUTED, PALETTE, finish_above
from finops_lab.errors import InputError
from finops_lab.wording import plural

if TYPE_CHECKING:
    import altair as alt

__all__ = ["slider_end", "variant_decider"]

_STEPS = 100
# 0.9 - 0.895 is a little more than 0.005 in binary: a loss at the limit is within it.
_SLACK = 1e-12


def variant_decider(
    frame: pl.DataFrame | pl.LazyFrame,
    *,
    title: str,
    unit: str = "USD",
    quality_title: str = "Accuracy",
    max_p95_ms: float | None = None,
    max_quality_loss: float | None = None,
    monthly_inferences: float = 1e6,
    max_monthly: float | None = None,
    once: float = 0.0,
    description: str | None = None,
) -> alt.VConcatChart:
    """Draw which variant to run, with sliders for latency, quality loss, traffic and the cost of moving.

    The chart decides again whenever a slider moves: among the variants within the limits the first in
    the order given. So it says what `finops_lab.tradeoffs.decide` says at the same limits.

    Parameters
    ----------
    frame : polars.DataFrame or polars.LazyFrame
        ``model`` and ``variant`` (String), ``order`` (number: place among the variants of the model,
        cheapest first; below zero is never run, whatever the sliders say), ``x`` (Decimal or float, per
        1,000 inferences in `unit`), ``quality_loss`` (float, against the model's reference, in the unit
        of the quality), ``p95_ms`` (float, milliseconds), ``reference`` (Boolean: what the model is
        compared with). A variant with an unknown figure cannot be chosen; it is left out, and the alt
        text says so.
    title, description : str
        As in `finops_lab.charts.spend_trend`.
    unit : str
        ISO 4217 code of the costs.
    quality_title : str
        Name of the quality.
    max_p95_ms, max_quality_loss : float, optional
        Where the sliders begin; by default at their right ends, where every variant is within.
    monthly_inferences : float
        Where the slider of traffic begins.
    max_monthly : float, optional
        Most to spend in a month, in `unit`. It has no slider.
    once : float
        Where the slider of migration and evaluation begins, in `unit`.

    Returns
    -------
    altair.VConcatChart

    Raises
    ------
    InputError
        No rows, more than 5,000, a model without its reference, traffic that is not above zero, or a
        column missing or of another kind.

    Examples
    --------
    >>> variants = pl.DataFrame({"model": ["m", "m"], "variant": ["fp16", "int8"], "order": [1, 0],
    ...     "x": [1.0, 0.5], "quality_loss": [0.0, 0.004], "p95_ms": [120.0, 80.0], "reference": [True, False]})
    >>> chart = variant_decider(variants, title="Which variant")
    >>> [param["name"] for param in chart.to_dict()["params"] if "bind" in param]
    ['model', 'max_p95_ms', 'max_quality_loss', 'monthly_inferences', 'once']
    """
    import altair as alt

    if not (math.isfinite(monthly_inferences) and monthly_inferences > 0) or not once >= 0:
        raise InputError("traffic must be above zero, and what the move costs not below it")
    rows, unknown = _rows(frame)
    models = sorted({row["model"] for row in rows})
    losses = [row["quality_loss"] for row in rows]
    most_ms = slider_end(max(max_p95_ms or 0, *(row["p95_ms"] for row in rows)) or 1.0)
    most_lost = slider_end(max(max_quality_loss or 0, *losses, 0.001))
    # A gain lies below zero; a little room keeps what loses nothing off the axis.
    lowest = min(*losses, 0.0) - 0.04 * most_lost
    model = alt.param(name="model", value=models[0], bind=alt.binding_select(options=models, name="Model "))
    params = [
        model,
        _slider("max_p95_ms", "P95 latency at most (ms) ", max_p95_ms, most_ms),
        _slider("max_quality_loss", f"{quality_title} lost at most ", max_quality_loss, most_lost),
        _slider("monthly_inferences", "Inferences a month ", monthly_inferences, 10 * monthly_inferences),
        _slider("once", f"Migration and evaluation ({unit}, once) ", once, slider_end(10 * once or 100_000)),
    ]
    within = (
        f"datum.order >= 0 && datum.p95_ms <= max_p95_ms && datum.quality_loss <= max_quality_loss + {_SLACK}"
    )
    if max_monthly is not None:
        within += f" && datum.monthly <= {max_monthly * (1 + _SLACK)!r}"
    base = (
        alt.Chart(alt.Data(values=rows))
        .transform_filter("datum.model === model")
        .transform_calculate(monthly="datum.x / 1000 * monthly_inferences")
        .transform_calculate(within=within)
        .transform_calculate(
            place="datum.within ? datum.order : 1e9", paid="datum.reference ? datum.monthly : 0"
        )
        .transform_joinaggregate(first="min(place)", was="sum(paid)")
        .transform_calculate(
            state="datum.within ? (datum.order === datum.first ? 'run this' : 'within the limits') : 'outside'"
        )
    )
    states = ["run this", "within the limits", "outside"]
    colour = alt.Color(
        "state:N",
        sort=states,
        scale=alt.Scale(domain=states, range=[PALETTE[2], PALETTE[0], GREY]),
        legend=alt.Legend(title=None),
    )
    tooltip = [
        alt.Tooltip("variant:N", title="Variant"),
        alt.Tooltip("p95_ms:Q", title="P95 latency (ms)", format=",.1f"),
        alt.Tooltip("quality_loss:Q", title=f"{quality_title} lost", format=".4f"),
        alt.Tooltip("monthly:Q", title=f"{unit} a month", format=",.2f"),
        alt.Tooltip("state:N", title="Decision"),
    ]
    said = alt.layer(
        base.transform_filter("datum.state === 'run this'")
        .transform_calculate(text=_sentence(unit))
        .mark_text(align="left", fontSize=15, fontWeight="bold", color=INK)
        .encode(x=alt.value(0), y=alt.value(8), text="text:N"),
        base.transform_filter("datum.state === 'run this'")
        .transform_calculate(text=_payback(unit))
        .mark_text(align="left", fontSize=12, color=MUTED)
        .encode(x=alt.value(0), y=alt.value(28), text="text:N"),
        base.transform_filter("datum.first > 1e8 && datum.reference")
        .mark_text(align="left", fontSize=15, fontWeight="bold", color=PALETTE[5])
        .encode(x=alt.value(0), y=alt.value(8), text=alt.value("No variant is within these limits.")),
    ).properties(width=_WIDTH, height=38, view=alt.ViewBackground(stroke=None))
    across = alt.X("p95_ms:Q", title="P95 latency (ms)", scale=alt.Scale(domain=[0, most_ms], nice=False))
    up = alt.Y(
        "quality_loss:Q",
        title=f"{quality_title} lost against the reference",
        # Less is better: the best corner is at the bottom left, where the shaded limits begin.
        scale=alt.Scale(domain=[lowest, 1.04 * most_lost], nice=False),
        axis=alt.Axis(format="~g", tickCount=5),
    )
    limits = (
        alt.Chart(alt.Data(values=[{}]))
        .transform_calculate(fast="max_p95_ms", good="max_quality_loss", none="0", least=f"{lowest}")
        .mark_rect(color=PALETTE[2], opacity=0.1)
        .encode(x=alt.X("none:Q"), x2="fast:Q", y=alt.Y("least:Q"), y2="good:Q")
    )
    spots = base.encode(x=across, y=up)
    plane = alt.layer(
        limits,
        spots.mark_point(filled=True, size=130, opacity=0.9).encode(color=colour, tooltip=tooltip),
        spots.mark_text(align="left", dx=9, dy=-7, fontSize=10, color=MUTED).encode(text="variant:N"),
    ).properties(width=_WIDTH // 2 - 60, height=260)
    bars = base.encode(y=alt.Y("variant:N", sort=alt.SortField("order"), title=None))
    amounts = alt.layer(
        bars.mark_bar(height={"band": 0.65}).encode(
            x=alt.X(
                "monthly:Q", title=f"{unit} a month", axis=alt.Axis(labelExpr=amount_axis(unit), tickCount=4)
            ),
            color=colour,
            tooltip=tooltip,
        )
    ).properties(width=_WIDTH // 2 - 90, height=260)
    text = (
        f"{plural(len(rows), 'variant')} of {plural(len(models), 'model')}: which one to run, by sliders for "
    )
    text += "P95 latency, quality lost, traffic and the cost of moving."
    return finish_above(
        [said, alt.hconcat(plane, amounts, spacing=30)],
        params,
        title=title,
        subtitle="Shaded: within the limits. Among those the cheapest is run; move the sliders below",
        description=description
        or text + (f" {plural(unknown, 'variant')} with unknown values not offered." if unknown else ""),
    )


_WIDTH = 760


def _rows(frame: pl.DataFrame | pl.LazyFrame) -> tuple[list[Row], int]:
    kinds = {"model": "text", "variant": "text", "reference": "flag"}
    numbers = dict.fromkeys(("order", "x", "quality_loss", "p95_ms"), "number")
    rows, unknown = known(checked(frame, kinds | numbers), list(numbers))
    rows.sort(key=lambda row: (row["model"], row["order"]))
    reference = {row["model"] for row in rows if row["reference"]}
    lacking = sorted({row["model"] for row in rows} - reference)
    if lacking:
        raise InputError(
            f"{lacking[0]} has no reference to compare with", hint="one variant of each model has to be it"
        )
    name = {row["model"]: row["variant"] for row in rows if row["reference"]}
    return [row | {"against": name[row["model"]]} for row in rows], unknown


def _slider(name: str, label: str, value: float | None, most: float) -> alt.Parameter:
    import altair as alt

    bind = alt.binding_range(
        min=0 if name != "monthly_inferences" else most / _STEPS, max=most, step=most / _STEPS, name=label
    )
    return alt.param(name=name, value=most if value is None else value, bind=bind)


def slider_end(value: float) -> float:
    """Return the next 1, 2 or 5 times a power of ten, so that a slider ends on a round number.

    Examples
    --------
    >>> slider_end(220), slider_end(0.016), slider_end(500)
    (500.0, 0.02, 500.0)
    """
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value * (1 - 1e-9))


def _amount(value: str, unit: str) -> str:
    symbol = json.dumps(currency_symbol(unit), ensure_ascii=False)
    return f"{symbol} + format({value}, ',.0f')"


def _sentence(unit: str) -> str:
    """Return the Vega expression that says which variant to run."""
    less = "format(abs(datum.was - datum.monthly) / datum.was, '.0%')"
    than = "(datum.monthly > datum.was ? ' more than ' : ' less than ')"
    return (
        f"'Run ' + datum.variant + ': ' + {_amount('datum.monthly', unit)} + ' a month' + "
        f"(datum.reference || !(datum.was > 0) ? '' : ', ' + {less} + {than} + datum.against)"
    )


def _payback(unit: str) -> str:
    """Return the Vega expression that says when the move pays."""
    saved = "(datum.was - datum.monthly)"
    return (
        f"datum.reference ? 'It is the reference: nothing to move.' : {saved} <= 0 ? 'The move never pays.' : "
        f"'The move costs ' + {_amount('once', unit)} + ' once and pays after ' + "
        f"format(once / {saved}, once < {saved} ? '.2~r' : ',.1f') + ' months.'"
    )
