"""A view as code: what to paste into a cell to get the same figures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from finops_lab.allocation import UNALLOCATED
from finops_lab.exploring.views import View, column

__all__ = ["as_code"]

_PERIODS = (("amount", "now"), ("before", "before"))


def as_code(view: View, lab: str | Path | None = None) -> str:
    """Write the finops_lab call that gives a view, and the polars query that it is.

    Parameters
    ----------
    view : View
        What is looked at.
    lab : str or pathlib.Path, optional
        The lab's folder; the sample lab by default.

    Returns
    -------
    str
        Python that runs as it is: ``table`` is what `spend` returns, ``sums`` its group,
        ``amount`` and ``before`` by polars alone, in the same order.

    Examples
    --------
    >>> print(as_code(View("2026-09", "2026-10", where={"team": ("search",)})))
    import polars as pl
    <BLANKLINE>
    import finops_lab as fl
    <BLANKLINE>
    lab = fl.open_lab()
    table = fl.spend(lab, "2026-09", "2026-10", where={"team": ["search"]})
    <BLANKLINE>
    # The same amounts, asked of the ledger with polars.
    month = pl.col("x_ChargeMonth")
    sums = (
        fl.entries(lab)
        .filter((month >= "2026-09") & (month <= "2026-10"))
        .filter(pl.col("x_team").is_in(["search"]))
        .group_by("x_team")
        .agg(pl.col("EffectiveCost").sum().alias("amount"))
        .sort("amount", "x_team", descending=[True, False], nulls_last=True)
        .collect()
    )
    """
    told = [_text(view.first)]
    told += [_text(view.last)] if view.last != view.first else []
    told += [f"metric={_text(view.metric)}"] if view.metric != "effective" else []
    told += [f"by={_text(view.by)}"] if view.by != "team" else []
    told += [f"against=({', '.join(map(_text, view.against))})"] if view.against else []
    wanted = ", ".join(f"{_text(name)}: {_texts(values)}" for name, values in view.where.items())
    told += [f"where={{{wanted}}}"] if wanted else []
    key, amount = column(view.by), f'pl.col("{view.amount}")'
    now = _within(view.first, view.last)
    # List and contracted costs may be unknown: the sum of nothing that is known is not 0.
    open_ended = view.amount not in ("EffectiveCost", "BilledCost")
    if view.against:
        periods = [f"now = {now}", f"before = {_within(*view.against)}"]
        steps = [".filter(now | before)"]
        sums = [f'{_sum(amount, when, open_ended)}.alias("{name}"),' for name, when in _PERIODS]
        added = [".agg(", *(f"    {line}" for line in sums), ")"]
    else:
        periods, steps = [], [f".filter({now})"]
        added = [f'.agg({_sum(amount, None, open_ended)}.alias("amount"))']
    if view.metric == "allocated":
        steps.append(f'.filter(pl.col("x_team") != {_text(UNALLOCATED)})')
    steps += [f".filter({_is(column(name), values)})" for name, values in view.where.items()]
    steps += [
        f'.group_by("{key}")',
        *added,
        f'.sort("amount", "{key}", descending=[True, False], nulls_last=True)',
        ".collect()",
    ]
    lines = [
        "import polars as pl",
        "",
        "import finops_lab as fl",
        "",
        f"lab = fl.open_lab({'' if lab is None else _text(str(lab))})",
        f"table = fl.spend(lab, {', '.join(told)})",
        "",
        "# The same amounts, asked of the ledger with polars.",
        'month = pl.col("x_ChargeMonth")',
        *periods,
        "sums = (",
        "    fl.entries(lab)",
        *(f"    {step}" for step in steps),
        ")",
    ]
    return "\n".join(lines)


def _within(first: str, last: str) -> str:
    if first == last:
        return f"(month == {_text(first)})"
    return f"(month >= {_text(first)}) & (month <= {_text(last)})"


def _sum(amount: str, when: str | None, open_ended: bool) -> str:
    there = f"{amount}.filter({when})" if when else amount
    if not open_ended:
        return f"{there}.sum()"
    known = f"({there}.count() > 0) | ~{when}.any()" if when else f"{amount}.count() > 0"
    return f"pl.when({known}).then({there}.sum())"


def _is(name: str, values: Sequence[str | None]) -> str:
    known = [value for value in values if value is not None]
    text = f'pl.col("{name}")' + (".cast(pl.String)" if name == "x_ChargeDate" else "")
    parts = [f"{text}.is_in({_texts(known)})"] if known else []
    parts += [f"{text}.is_null()"] if None in values else []
    # Nothing is in an empty list.
    return " | ".join(parts) or "pl.lit(False)"


def _texts(values: Sequence[str | None]) -> str:
    return f"[{', '.join('None' if value is None else _text(value) for value in values)}]"


def _text(value: str) -> str:
    """Write a text as Python does, in double quotes."""
    return json.dumps(value, ensure_ascii=False)
