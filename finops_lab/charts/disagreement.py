"""What each consumer of a pool would pay by different rules."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import polars as pl

from finops_lab.charts.frames import Row, checked
from finops_lab.charts.labels import amount_axis, compact, measure, percent
from finops_lab.charts.theme import GREY, INK, PALETTE, SHAPES, finish
from finops_lab.errors import InputError
from finops_lab.wording import plural

if TYPE_CHECKING:
    import altair as alt

__all__ = ["disagreement_ranges"]

_BARS = 40
_RULES = len(PALETTE)


def disagreement_ranges(
    frame: pl.DataFrame | pl.LazyFrame,
    *,
    title: str,
    unit: str = "USD",
    subtitle: str | None = None,
    value_title: str = "Share of the pool",
    noun: str = "team",
    description: str | None = None,
) -> alt.LayerChart:
    """Draw a line per consumer from what it would pay at least to at most, with a dot per rule.

    Consumers whose amount depends most on the rule come first. Rules differ in colour and in shape.

    Parameters
    ----------
    frame : polars.DataFrame or polars.LazyFrame
        ``consumer`` and ``rule`` (String, each pair once) and ``amount`` (Decimal or float): the
        ``shares`` of a `finops_lab.allocation.disagreement.Disagreement`, of one pool in one currency.
        Rules without amounts are not drawn, and the text names them. At most 40 consumers and 7 rules;
        rules stand in the order of the frame.
    title, unit, subtitle, value_title, description
        As in `spend_trend`.
    noun : str
        What a consumer is, in the alt text.

    Returns
    -------
    altair.LayerChart

    Raises
    ------
    InputError
        No amount, more than 40 consumers or 7 rules, a pair of consumer and rule twice, or a column
        missing or of another kind.

    Examples
    --------
    >>> shares = pl.DataFrame({"consumer": ["chat"] * 2, "rule": ["requests", "tokens"], "amount": [70, 60]})
    >>> disagreement_ranges(shares, title="Rules").to_dict()["description"]
    'Share of the pool of 1 team by 2 rules, the most disputed first: chat from $60.00 (tokens) to $70.00 (requests).'
    """
    import altair as alt

    every = checked(frame, {"consumer": "text", "rule": "text", "amount": "number"})
    every = [row | {"rule": row["rule"].replace("_", " ")} for row in every]
    rows = [row for row in every if row["amount"] is not None]
    if not rows:
        raise InputError("there is nothing to draw: no rule could be computed")
    rules = list(dict.fromkeys(row["rule"] for row in rows))
    left_out = list(dict.fromkeys(row["rule"] for row in every if row["rule"] not in rules))
    consumers = _ranges(rows)
    if len(consumers) > _BARS or len(rules) > _RULES:
        raise InputError(
            f"{plural(len(consumers), noun)} and {plural(len(rules), 'rule')} do not fit: "
            f"draw at most {_BARS} and {_RULES}"
        )
    pool = math.fsum(row["amount"] for row in rows if row["rule"] == rules[0])
    lines = [row | _spoken(row, pool, unit) for row in consumers]
    order = [row["consumer"] for row in lines]
    low, high = min(0.0, *(row["low"] for row in lines)), max(0.0, *(row["high"] for row in lines))
    rank = {rule: place for place, rule in enumerate(rules)}
    dots = [
        row | {"paid": measure(row["amount"], unit)}
        for row in sorted(rows, key=lambda row: (order.index(row["consumer"]), rank[row["rule"]]))
    ]
    y = alt.Y(
        "consumer:N",
        sort=order,
        title=None,
        axis=alt.Axis(labelColor=INK, ticks=False, domain=False),
    )
    scale = alt.Scale(domain=[low, (high - low) * 1.3 + low or 1.0], nice=False)
    axis = alt.Axis(labelExpr=amount_axis(unit), tickCount=6)
    base = alt.Chart(alt.Data(values=lines)).encode(y=y)
    line = base.mark_rule(color=GREY, strokeWidth=3).encode(
        x=alt.X("low:Q", title=f"{value_title} ({unit})", scale=scale, axis=axis), x2="high:Q"
    )
    dot = (
        alt.Chart(alt.Data(values=dots))
        .mark_point(filled=True, size=90, opacity=1)
        .encode(
            y=y,
            x=alt.X("amount:Q", scale=scale),
            color=alt.Color(
                "rule:N", sort=rules, scale=alt.Scale(domain=rules, range=list(PALETTE[: len(rules)]))
            ),
            shape=alt.Shape(
                "rule:N", sort=rules, scale=alt.Scale(domain=rules, range=list(SHAPES[: len(rules)]))
            ),
            tooltip=[
                alt.Tooltip("consumer:N", title="Name"),
                alt.Tooltip("rule:N", title="Rule"),
                alt.Tooltip("paid:N", title=value_title),
            ],
        )
    )
    text = base.mark_text(align="left", dx=10, color=INK).encode(
        x=alt.X("high:Q", scale=scale), text="text:N"
    )
    return finish(
        [line, dot, text],
        title=title,
        subtitle=subtitle if subtitle is not None else f"{unit}; a dot per rule, the line from least to most",
        description=description or _describe(lines, len(rules), left_out, unit, value_title, noun),
        height=130 + 28 * len(lines),
    )


def _ranges(rows: list[Row]) -> list[Row]:
    by: dict[str, dict[str, float]] = {}
    for row in rows:
        if row["rule"] in by.setdefault(row["consumer"], {}):
            raise InputError(
                f"{row['consumer']} stands twice with the rule {row['rule']}",
                hint="draw one pool in one currency at a time",
            )
        by[row["consumer"]][row["rule"]] = row["amount"]
    found = []
    for consumer, paid in by.items():
        cheapest, dearest = min(paid, key=paid.__getitem__), max(paid, key=paid.__getitem__)
        ends = {"low": paid[cheapest], "high": paid[dearest]}
        found.append({"consumer": consumer, "cheapest": cheapest, "dearest": dearest, **ends})
    # Of two consumers one pays what the other saves: their spreads differ in the last bits only.
    return sorted(
        found, key=lambda row: (-float(f"{row['high'] - row['low']:.9g}"), -row["high"], row["consumer"])
    )


def _spoken(row: Row, pool: float, unit: str) -> Row:
    spread = row["high"] - row["low"]
    share = f" ({percent(spread / abs(pool))} of the pool)" if pool else ""
    return {"text": f"{compact(spread, unit)} apart{share}" if spread else "all rules agree"}


def _describe(
    lines: list[Row], rules: int, left_out: list[str], unit: str, value_title: str, noun: str
) -> str:
    named = "; ".join(
        f"{row['consumer']} from {measure(row['low'], unit)} ({row['cheapest']}) "
        f"to {measure(row['high'], unit)} ({row['dearest']})"
        for row in lines[:3]
    )
    more = f"; and {len(lines) - 3} more" if len(lines) > 3 else ""
    missing = f" Not measured, so not drawn: {', '.join(left_out)}." if left_out else ""
    return (
        f"{value_title} of {plural(len(lines), noun)} by {plural(rules, 'rule')}, "
        f"the most disputed first: {named}{more}.{missing}"
    )
