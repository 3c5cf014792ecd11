"""Break-even: what two ways of serving cost in all, by how much is served."""

from __future__ import annotations

from typing import TYPE_CHECKING

from finops_lab.charts.labels import amount_axis, compact, measure
from finops_lab.charts.theme import GREY, INK, MUTED, PALETTE, finish
from finops_lab.errors import InputError

if TYPE_CHECKING:
    import altair as alt

__all__ = ["break_even_lines"]

_HEIGHT = 340


def break_even_lines(
    *,
    stay: tuple[str, float],
    move: tuple[str, float],
    once: float,
    title: str,
    interval: tuple[float, float] | None = None,
    expected: float | None = None,
    unit: str = "USD",
    what: str = "inferences",
    description: str | None = None,
) -> alt.LayerChart:
    """Draw what staying and moving cost in all, and where they cross.

    Parameters
    ----------
    stay, move : tuple of str and float
        Name of the variant and what 1,000 of `what` cost, in `unit`.
    once : float
        What the move itself costs, in `unit`: migration and evaluation.
    title : str
        Title of the chart.
    interval : tuple of float, optional
        Low and high end of the break-even volume; shaded.
    expected : float, optional
        The volume that is expected; drawn as a line.
    unit : str
        ISO 4217 code.
    what : str
        What is served.
    description : str, optional
        Alt text; by default a sentence with the figures.

    Returns
    -------
    altair.LayerChart
        Ends at twice the break-even volume, or at what is expected if that is more.

    Raises
    ------
    InputError
        A negative amount, or nothing to draw: moving never pays and no volume is expected.

    Examples
    --------
    >>> chart = break_even_lines(stay=("fp16", 1.0), move=("int8", 0.5), once=100, title="When it pays")
    >>> chart.to_dict()["description"]
    'Moving from fp16 to int8 costs $100 once and pays from 200.0k inferences on.'
    """
    import altair as alt

    if min(stay[1], move[1], once) < 0:
        raise InputError("an amount is below zero")
    saved = stay[1] - move[1]
    volume = once / saved * 1000 if saved > 0 else None
    reach = max(
        value for value in ((volume or 0) * 2, (expected or 0) * 1.15, interval[1] if interval else 0)
    )
    if reach == 0:
        raise InputError("moving never pays, and no volume is expected: there is nothing to draw")
    names = [f"Stay on {stay[0]}", f"Move to {move[0]}"]
    ends = [
        {"way": name, "volume": at, "amount": fixed + at / 1000 * each}
        for name, fixed, each in ((names[0], 0.0, stay[1]), (names[1], once, move[1]))
        for at in (0.0, reach)
    ]
    x = alt.X(
        "volume:Q",
        title=f"Volume ({what})",
        scale=alt.Scale(domain=[0, reach], nice=False),
        axis=alt.Axis(labelExpr=amount_axis(what), tickCount=6, labelOverlap=True),
    )
    y = alt.Y("amount:Q", title=f"In all ({unit})", axis=alt.Axis(labelExpr=amount_axis(unit), tickCount=6))
    colour = alt.Color(
        "way:N", sort=names, scale=alt.Scale(domain=names, range=[PALETTE[1], PALETTE[0]]), title=None
    )
    layers = []
    if interval is not None:
        band = alt.Chart(alt.Data(values=[{"volume": interval[0], "to": interval[1]}]))
        layers.append(band.mark_rect(color=GREY, opacity=0.25).encode(x=x, x2="to:Q"))
    layers.append(
        alt.Chart(alt.Data(values=ends))
        .mark_line(strokeWidth=2)
        .encode(x=x, y=y, color=colour, detail="way:N")
    )
    if expected is not None:
        rule = alt.Chart(
            alt.Data(values=[{"volume": expected, "text": f"expected: {compact(expected, what)}"}])
        )
        layers += [
            rule.mark_rule(color=MUTED, strokeDash=[6, 4]).encode(x=x),
            rule.mark_text(align="right", dx=-4, dy=-8, color=MUTED, fontSize=10).encode(
                x=x, y=alt.value("height"), text="text:N"
            ),
        ]
    if volume is not None:
        spot = {
            "volume": volume,
            "amount": volume / 1000 * stay[1],
            "text": f"pays from {compact(volume, what)}",
        }
        point = alt.Chart(alt.Data(values=[spot])).encode(x=x, y=y)
        layers += [
            point.mark_point(filled=True, size=80, color=INK),
            point.mark_text(align="left", dx=8, dy=12, color=INK, fontSize=11).encode(text="text:N"),
        ]
    return finish(
        layers,
        title=title,
        subtitle=f"{unit}; moving costs {measure(once, unit)} once"
        + ("; shaded: where the break-even may lie" if interval else ""),
        description=description or _describe(stay[0], move[0], once, volume, interval, unit, what),
        height=_HEIGHT,
    )


def _describe(
    stay: str,
    move: str,
    once: float,
    volume: float | None,
    interval: tuple[float, float] | None,
    unit: str,
    what: str,
) -> str:
    text = f"Moving from {stay} to {move} costs {measure(once, unit)} once and "
    text += f"pays from {compact(volume, what)} {what} on" if volume is not None else "never pays"
    if interval:
        text += f", between {compact(interval[0], what)} and {compact(interval[1], what)}"
    return text + "."
