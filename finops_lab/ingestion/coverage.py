"""What two sources both say is counted once: the coverage plan of `finops.toml`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

import polars as pl

from finops_lab.config import Coverage, holds
from finops_lab.contracts import DIMENSIONS
from finops_lab.errors import ConfigError
from finops_lab.money import MONEY

__all__ = ["acting", "covered", "overlap_report"]

_PLAN = "_coverage"
_REPORT: dict[str, pl.DataType] = {
    "plan": pl.String(),
    "table": pl.String(),
    "source_file": pl.String(),
    "estimate": pl.Boolean(),
    "rows": pl.Int64(),
    "BillingCurrency": pl.String(),
    "BilledCost": MONEY,
    "EffectiveCost": MONEY,
}


def acting(plans: Sequence[Coverage], table: str, files: Iterable[str]) -> list[Coverage]:
    """Return the plans of a table whose authority is there: without it nothing overlaps.

    Parameters
    ----------
    plans : sequence of Coverage
        ``[[coverage]]``.
    table : str
        ``costs`` or ``inference_requests``.
    files : iterable of str
        Files that the table holds rows of.
    """
    names = list(files)
    return [
        plan
        for plan in plans
        if plan.table == table
        and (plan.estimate or any(fnmatchcase(name, p) for name in names for p in plan.authoritative))
    ]


def covered(rows: pl.LazyFrame, table: str, plans: Sequence[Coverage]) -> pl.LazyFrame:
    """Keep the rows that count: those no plan calls an overlap.

    Parameters
    ----------
    rows : polars.LazyFrame
        Rows of `table`, with their source file.
    table : str
        ``costs`` or ``inference_requests``.
    plans : sequence of Coverage
        ``[[coverage]]``; those of other tables are passed over.

    Returns
    -------
    polars.LazyFrame
        The same columns.

    Raises
    ------
    ConfigError
        When a plan's `where` names a column that the rows do not have.

    Examples
    --------
    >>> plan = Coverage(name="gateway", authoritative="vendor/*", overlap="gateway/*")
    >>> rows = pl.LazyFrame({"x_SourceFile": ["vendor/a.csv", "gateway/b.csv"], "BilledCost": [1, 1]})
    >>> covered(rows, "costs", [plan]).collect()["x_SourceFile"].to_list()
    ['vendor/a.csv']
    """
    mine = [plan for plan in plans if plan.table == table]
    if not mine:
        return rows
    return _marked(rows, table, mine).filter(pl.col(_PLAN).is_null()).drop(_PLAN)


def overlap_report(rows: pl.LazyFrame, table: str, plans: Sequence[Coverage]) -> pl.DataFrame:
    """Report what the plans leave out, by plan and file.

    Parameters
    ----------
    rows, table, plans
        As for `covered`.

    Returns
    -------
    polars.DataFrame
        ``plan``, ``table``, ``source_file`` (String), ``estimate`` (Boolean), ``rows`` (Int64),
        ``BillingCurrency`` (String), ``BilledCost``, ``EffectiveCost`` (Decimal); for requests the
        currency is USD, ``BilledCost`` null and ``EffectiveCost`` what the source said they cost.
    """
    mine = [plan for plan in plans if plan.table == table]
    if not mine:
        return pl.DataFrame(schema=_REPORT)
    source = "x_SourceFile" if table == "costs" else "source_file"
    estimates = [plan.name for plan in mine if plan.estimate]
    amounts = (
        [pl.col("BillingCurrency"), pl.col("BilledCost"), pl.col("EffectiveCost")]
        if table == "costs"
        else [
            pl.lit("USD").alias("BillingCurrency"),
            pl.lit(None, dtype=MONEY).alias("BilledCost"),
            pl.col("cost_reported_usd").alias("EffectiveCost"),
        ]
    )
    return (
        _marked(rows, table, mine)
        .filter(pl.col(_PLAN).is_not_null())
        .select(pl.col(_PLAN).alias("plan"), pl.col(source).alias("source_file"), *amounts)
        .group_by("plan", "source_file", "BillingCurrency")
        .agg(
            pl.len().cast(pl.Int64).alias("rows"),
            *[
                pl.when(pl.col(name).count() > 0).then(pl.col(name).sum()).alias(name)
                for name in ("BilledCost", "EffectiveCost")
            ],
        )
        .with_columns(pl.lit(table).alias("table"), pl.col("plan").is_in(estimates).alias("estimate"))
        .select(*_REPORT)
        .sort("plan", "source_file", "BillingCurrency")
        .collect()
    )


def _marked(rows: pl.LazyFrame, table: str, plans: Sequence[Coverage]) -> pl.LazyFrame:
    """Add the first plan that calls a row an overlap; null for a row that counts."""
    known = rows.collect_schema().names()
    file = pl.col("x_SourceFile" if table == "costs" else "source_file")
    found = []
    for plan in plans:
        for name in plan.where:
            if name not in known:
                hint = f"columns: {', '.join(n for n in known if n not in DIMENSIONS)[:200]}"
                raise ConfigError(f"[[coverage]] {plan.name!r}: {table} has no column {name!r}", hint=hint)
        # The same file never overlaps with itself, should both patterns match it.
        here = _matches(file, plan.overlap) & ~_matches(file, plan.authoritative)
        found.append(pl.when(here & holds(plan.where)).then(pl.lit(plan.name)))
    return rows.with_columns(pl.coalesce(found).alias(_PLAN))


def _matches(file: pl.Expr, patterns: Sequence[str]) -> pl.Expr:
    # Not `fnmatch.translate`: it writes atomic groups, which polars' regular expressions lack.
    spelled = [re.escape(p).replace(r"\*", ".*").replace(r"\?", ".") for p in patterns]
    return pl.any_horizontal(pl.lit(False), *[file.str.contains(f"^(?s:{text})$") for text in spelled])
