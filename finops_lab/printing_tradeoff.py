"""What the command line prints of a decision between variants."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from decimal import Decimal

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from finops_lab.errors import printable
from finops_lab.tradeoffs.decide import Decision
from finops_lab.tradeoffs.explaining import least, name_of
from finops_lab.tradeoffs.points import extras

__all__ = ["print_decision"]

_MOST = 30


def print_decision(decision: Decision) -> None:
    """Print what was decided and why: the variants, what limits cost, where the choice flips.

    Parameters
    ----------
    decision : Decision
        From `finops_lab.tradeoffs.decide`.
    """
    console = Console() if sys.stdout.isatty() else Console(width=160, soft_wrap=True)
    _say(console, decision.explain())
    _variants(console, decision)
    if decision.constraints.height:
        # Known where a month's volume is: what a limit costs by the month.
        monthly = decision.constraints["monthly_shadow_price"].count() > 0
        rows = [
            (
                row["constraint"].replace("_", " "),
                row["text"],
                "yes" if row["binding"] else "no",
                _name(row, "_without") if row["binding"] else "the same",
                _number(row["shadow_price"]),
                *([_money(row["monthly_shadow_price"])] if monthly else []),
                row["next_text"] or ("" if row["next_limit"] is None else least(row["next_limit"])),
                _name({"model_": row["next_model"], "variant_": row["next_variant"]}, "_"),
            )
            for row in decision.constraints.iter_rows(named=True)
        ]
        unit_of = decision.unit.partition(" ")[0]
        costs = [f"it costs ({decision.unit})", *([f"a month ({unit_of})"] if monthly else [])]
        heads = ("limit", "value", "decides", "without it", *costs, "flips at", "to")
        _table(console, "What each limit costs", heads, rows)
    for title, frame, unit in (
        ("Which variant at which P95 in ms", decision.slo_ranges, "ms"),
        (f"Which variant at which loss of {decision.metric}", decision.loss_ranges, "loss"),
    ):
        if frame.height > 1:
            spans = [
                (
                    _span(row[f"from_{unit}"], row[f"to_{unit}"]),
                    _name(row, "") or "none",
                    _number(row["objective_value"]),
                )
                for row in frame.iter_rows(named=True)
            ]
            _table(console, title, ("at most", "run", decision.unit), spans)


def _variants(console: Console, decision: Decision) -> None:
    apart = extras(decision.table)
    table = decision.table.sort("rank", "model", "variant", nulls_last=True)
    heads = [
        "variant",
        decision.unit,
        decision.metric or "quality",
        "lost",
        "P95 ms",
        "saved",
        "rank",
        "why not",
    ]
    rows = [
        (
            name_of(row, apart),
            _number(row["objective_value"]),
            _number(row["quality"]),
            _number(row["quality_loss"]),
            _number(row["slo_ms"]),
            "" if row["saving_share"] is None else f"{row['saving_share']:.1%}",
            "" if row["rank"] is None else str(row["rank"]),
            row["misses"] or "",
        )
        for row in table.head(_MOST).iter_rows(named=True)
    ]
    _table(console, "Variants", tuple(heads), rows)
    if table.height > _MOST:
        _say(console, f"{table.height - _MOST:,} more variants; --json writes all")


def _name(row: dict[str, object], suffix: str) -> str:
    names = (row.get(f"model{suffix}"), row.get(f"variant{suffix}"))
    return " ".join(str(part) for part in names if part)


def _span(low: float, high: float | None) -> str:
    return f"{least(low)} and more" if high is None else f"{least(low)} to below {least(high)}"


def _number(value: object) -> str:
    return (
        ""
        if value is None
        else f"{value:,.4g}"
        if isinstance(value, float) and abs(value) < 1000
        else f"{value:,.0f}"
    )


def _money(value: Decimal | None) -> str:
    return "" if value is None else f"{value:,.2f}"


def _table(console: Console, title: str, heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    table = Table(title=escape(printable(title)), title_justify="left")
    for n, head in enumerate(heads):
        number = n and head not in ("run", "without it", "to", "why not", "decides", "value")
        table.add_column(escape(head), justify="right" if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*[escape(printable(text)) for text in row])
    console.print(table)


def _say(console: Console, text: str) -> None:
    console.print(printable(text), markup=False, highlight=False)
