"""Why spend changed from one month to another, drawn as a waterfall."""

from __future__ import annotations

from typing import TYPE_CHECKING

from finops_lab.calendar import month_name
from finops_lab.charts.labels import measure
from finops_lab.charts.waterfall import waterfall
from finops_lab.unit_economics.bridge import Bridge

if TYPE_CHECKING:
    import altair as alt

__all__ = ["bridge_waterfall"]


def bridge_waterfall(
    bridge: Bridge, *, title: str | None = None, subtitle: str | None = None, description: str | None = None
) -> alt.LayerChart:
    """Draw the terms of a bridge, one after the other, up to the whole change.

    The bars count from the spend of the month before, so that small terms can be seen beside
    large totals; both totals stand in the subtitle. What no telemetry sees always is drawn, terms
    of nothing are named in the alt text only.

    Parameters
    ----------
    bridge : finops_lab.unit_economics.bridge.Bridge
        What `bridge` returned.
    title, subtitle, description : str, optional
        Instead of the chart's own words; `description` is the alt text.

    Returns
    -------
    altair.LayerChart
    """
    unit = bridge.currency
    months = [month_name(month) for month in (bridge.first, bridge.last)]
    totals = [measure(float(amount), unit) for amount in (bridge.start, bridge.end)]
    known = f", days 1 to {bridge.up_to}" if bridge.up_to else ""
    error = bridge.terms.filter(term="price")["standard_error"][0]
    sampled = f"; price ± {measure(2 * error, unit)} (two standard errors of sampling)" if error else ""
    chart = waterfall(
        bridge.steps,
        title=title or f"Why spend changed from {months[0]} to {months[1]}{known}",
        unit=unit,
        subtitle=subtitle or f"{unit}; {totals[0]} became {totals[1]}{sampled}",
        value_title="Change",
    )
    chart.description = description or (
        f"{months[0]} {totals[0]}, {months[1]} {totals[1]}{sampled}. {chart.description}"
    )
    return chart
