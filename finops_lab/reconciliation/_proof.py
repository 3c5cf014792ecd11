"""The proof of a reconciliation: both sides added up again by themselves."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import polars as pl

from finops_lab.errors import ReconciliationError
from finops_lab.money import MONEY, exact_sum
from finops_lab.reconciliation._bill import token_line
from finops_lab.reconciliation._cases import Key
from finops_lab.reconciliation._causes import CAUSES, Case
from finops_lab.reconciliation._telemetry import Usage, countable

__all__ = ["prove"]


def prove(
    lines: pl.DataFrame,
    usage: Usage,
    found: dict[Key, list[Case]],
    requests: pl.LazyFrame,
    costs: pl.LazyFrame,
    metric: str,
    span: tuple[date, date] | None,
) -> pl.DataFrame:
    """Compare lines with what requests and bill add up to, or raise."""
    day = pl.col("ChargePeriodStart").dt.date()
    bill = costs.filter(token_line(costs.collect_schema().names())[0])
    served, wrong, tokens = countable()
    calls = requests.filter(served)
    if span is not None:
        bill, calls = bill.filter(day.is_between(*span)), calls.filter(pl.col("day").is_between(*span))
    paid = bill.select(pl.col(metric).sum(), pl.len().cast(pl.Int64).alias("rows")).collect()
    used = calls.select(
        pl.when(~wrong).then(tokens).sum().alias("tokens"), wrong.sum().cast(pl.Int64).alias("wrong")
    ).collect()
    cases = [case for several in found.values() for case in several]
    left_out = sum(n for at, n in usage.wrong.items() if span is None or span[0] <= at <= span[1])
    explained = exact_sum(
        value for name in ("calculated_usd", *CAUSES, "unexplained") for value in lines[name].to_list()
    )
    checks: list[tuple[str, str, int | Decimal, int | Decimal]] = [
        ("billed amount of the token lines", "USD", paid[metric][0], exact_sum(lines["billed"].to_list())),
        ("calculated and causes", "USD", exact_sum(lines["billed"].to_list()), explained),
        ("token lines", "rows", paid["rows"][0], sum(line.rows for case in cases for line in case.lines)),
        ("tokens logged", "tokens", used["tokens"][0], sum(p.raw for case in cases for p in case.parts)),
        ("calls left out, counts out of range", "calls", used["wrong"][0], left_out),
    ]
    rows = [
        (name, unit, Decimal(a), Decimal(b), exact_sum([Decimal(b), -Decimal(a)]))
        for name, unit, a, b in checks
    ]
    off = [f"{row[0]} by {row[4].normalize():f} {row[1]}" for row in rows if row[4]]
    if off:
        raise ReconciliationError(f"reconciliation does not add up: {'; '.join(off)}")
    schema: dict[str, pl.DataType | type[pl.DataType]] = {
        "check": pl.String,
        "unit": pl.String,
        **dict.fromkeys(("expected", "found", "residual"), MONEY),
    }
    return pl.DataFrame(rows, schema=schema, orient="row")
