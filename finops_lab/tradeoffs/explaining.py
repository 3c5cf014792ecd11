"""A decision in sentences that a product lead can read."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from decimal import ROUND_CEILING, Context
from typing import TYPE_CHECKING, Any

import polars as pl

from finops_lab.tradeoffs.break_even import BreakEven
from finops_lab.tradeoffs.points import extras

if TYPE_CHECKING:
    from finops_lab.tradeoffs.decide import Decision

__all__ = ["causes", "explanation", "least", "name_of"]

_WHOLE_FROM = 1000
_LIMITS = {
    "max_p95_ms": "a P95 of at most {}",
    "max_quality_loss": "a quality loss of at most {}",
    "max_memory_mib": "at most {} of memory",
    "max_monthly_amount": "at most {} a month",
    "regions": "only {}",
}


def explanation(decision: Decision) -> str:
    """Say what was chosen, what it is against the baseline, what limits cost and when it flips.

    Parameters
    ----------
    decision : Decision
        What `decide` returned.

    Returns
    -------
    str
        Sentences, plain text.
    """
    chosen, apart = decision.chosen, extras(decision.table)
    if chosen is None:
        lines = [f"No variant qualifies: {causes(decision.table)}."]
    else:
        lines = [
            f"Run {name_of(chosen, apart)}: {_figure(chosen['objective_value'])} {decision.unit}"
            f"{_against(decision, apart)}."
        ]
        if decision.runner_up is not None:
            other = decision.runner_up
            lines.append(f"Next best is {name_of(other, apart)}, at {_figure(other['objective_value'])}.")
    lines += [_limit(decision, row) for row in decision.constraints.iter_rows(named=True) if row["binding"]]
    if decision.break_even is not None:
        lines.append(_pays(decision.break_even))
    return " ".join([*lines, *decision.notes])


def name_of(row: dict[str, Any], apart: Sequence[str] = ()) -> str:
    """Return model and variant, and what else tells a row apart: see `finops_lab.tradeoffs.points.extras`."""
    parts = [row.get(key) for key in ("model", "variant", *apart)]
    return " ".join(str(part) for part in parts if part is not None) or "the variant without a name"


def causes(table: pl.DataFrame) -> str:
    """Count why rows do not qualify: ``cost unknown for 1, P95 over 50 ms for 3``.

    Parameters
    ----------
    table : polars.DataFrame
        Column ``misses``, as in `Decision.table`.

    Examples
    --------
    >>> causes(pl.DataFrame({"misses": ["P95 90 ms over 50 ms", "cost unknown; P95 60 ms over 50 ms", None]}))
    'P95 over 50 ms for 2, cost unknown for 1'
    """
    counted: dict[str, int] = {}
    for text in table["misses"].drop_nulls().to_list():
        for part in text.split("; "):
            # A row's own value is left out, so that equal reasons can be counted.
            cause = re.sub(r" -?[\d,.e+-]+( \w+)?(?= over )", "", part)
            counted[cause] = counted.get(cause, 0) + 1
    return ", ".join(f"{cause} for {count}" for cause, count in counted.items()) or "there are none"


def least(value: float) -> str:
    """Write a limit in four digits, rounded up: what is written lets in what needs the value.

    Examples
    --------
    >>> least(0.00278164), least(2578.2), least(120.0)
    ('0.002782', '2,579', '120')
    """
    if abs(value) >= _WHOLE_FROM:
        return f"{math.ceil(value):,}"
    return f"{float(Context(prec=4, rounding=ROUND_CEILING).create_decimal(repr(value))):.4g}"


def _against(decision: Decision, apart: Sequence[str]) -> str:
    chosen, base = decision.chosen, decision.reference
    if chosen is None or base is None:
        return ""
    parts = []
    saving, loss = chosen["saving_share"], chosen["quality_loss"]
    if _same(chosen, base):
        parts.append("it is the baseline")
    elif saving is not None:
        parts.append(
            f"{abs(saving):.0%} {'less' if saving >= 0 else 'more'} than the baseline {name_of(base, apart)}"
        )
    if loss and decision.metric:
        parts.append(f"with {abs(loss):.4g} {'worse' if loss > 0 else 'better'} {decision.metric}")
    if chosen["slo_ms"] is not None:
        parts.append(f"P95 {_figure(chosen['slo_ms'])} ms in the {chosen['slo_basis']}")
    return "".join(f", {part}" for part in parts)


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(
        one[key] == other[key] for key in ("model", "variant", "precision", "hardware", "serving", "region")
    )


def _limit(decision: Decision, row: dict[str, Any]) -> str:
    limit = _LIMITS[row["constraint"]].format(row["text"])
    other = " ".join(part for part in (row["model_without"], row["variant_without"]) if part)
    if row["shadow_price"] is None:
        said = f"Without the limit of {limit}, {other} would be chosen"
    else:
        said = (
            f"The limit of {limit} costs {_figure(row['shadow_price'])} {decision.unit}: "
            f"without it {other} would be chosen"
        )
    step = row["next_text"] or (least(row["next_limit"]) if row["next_limit"] is not None else None)
    if step is not None:
        who = " ".join(part for part in (row["next_model"], row["next_variant"]) if part)
        unit = f" {row['unit']}" if row["unit"] else ""
        said += f"; the choice changes at {step}{unit}, to {who}"
    return said + "."


def _pays(paid: BreakEven) -> str:
    if paid.inferences is None:
        return f"The move does not pay back: {paid.note}."
    said = f"The move pays back after {paid.inferences:,} inferences"
    if paid.inferences_low is not None and paid.inferences_high is not None:
        said += f" ({paid.inferences_low:,} to {paid.inferences_high:,} with {paid.coverage:.0%} confidence)"
    if paid.months is not None:
        said += f", {paid.months:,.1f} months" if paid.months >= 1 else f", {paid.months:.2g} months"
        said += " of the traffic"
    return said + (f"; {paid.note}." if paid.note else ".")


def _figure(value: float | None) -> str:
    if value is None:
        return "unknown"
    return f"{value:,.0f}" if abs(value) >= _WHOLE_FROM else f"{value:.4g}"
