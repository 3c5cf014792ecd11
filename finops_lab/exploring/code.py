"""A view as code: what to paste into a cell to get the same figures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from finops_lab.exploring.views import View, column

__all__ = ["as_code"]


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
        Python that runs as it is: ``table`` is what `spend` returns, ``sums`` the same amounts by
        polars alone.

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
    sums = (
        fl.entries(lab)
        .filter(pl.col("x_ChargeMonth") >= "2026-09", pl.col("x_ChargeMonth") <= "2026-10")
        .filter(pl.col("x_team").is_in(["search"]))
        .group_by("x_team")
        .agg(pl.col("EffectiveCost").sum().alias("amount"))
        .sort("amount", descending=True, nulls_last=True)
        .collect()
    )
    """
    told = [_text(view.first), _text(view.last)]
    told += [f"metric={_text(view.metric)}"] if view.metric != "effective" else []
    told += [f"by={_text(view.by)}"] if view.by != "team" else []
    told += [f"against=({', '.join(map(_text, view.against))})"] if view.against else []
    wanted = ", ".join(f"{_text(name)}: {_texts(values)}" for name, values in view.where.items())
    told += [f"where={{{wanted}}}"] if wanted else []
    key = column(view.by)
    month = 'pl.col("x_ChargeMonth")'
    steps = [f".filter({month} >= {_text(view.first)}, {month} <= {_text(view.last)})"]
    if view.metric == "allocated":
        steps.append('.filter(pl.col("x_team") != "unallocated")')
    steps += [f".filter({_is(column(name), values)})" for name, values in view.where.items()]
    steps += [
        f'.group_by("{key}")',
        f'.agg(pl.col("{view.amount}").sum().alias("amount"))',
        '.sort("amount", descending=True, nulls_last=True)',
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
        "sums = (",
        "    fl.entries(lab)",
        *(f"    {step}" for step in steps),
        ")",
    ]
    return "\n".join(lines)


def _is(name: str, values: Sequence[str | None]) -> str:
    known = [value for value in values if value is not None]
    text = f'pl.col("{name}")' + (".cast(pl.String)" if name == "x_ChargeDate" else "")
    parts = [f"{text}.is_in({_texts(known)})"] if known else []
    parts += [f"{text}.is_null()"] if None in values else []
    return " | ".join(parts) or "pl.lit(False)"


def _texts(values: Sequence[str | None]) -> str:
    return f"[{', '.join('None' if value is None else _text(value) for value in values)}]"


def _text(value: str) -> str:
    """Write a text as Python does, in double quotes."""
    return json.dumps(value, ensure_ascii=False)
