"""Queries for routers from evaluations: each item's score, and what the variant takes for one."""

from __future__ import annotations

import polars as pl

from finops_lab.errors import InputError
from finops_lab.tradeoffs.queries import OPTION, as_queries, name_of
from finops_lab.tradeoffs.senses import sense_of

__all__ = ["answered_queries"]


def answered_queries(outcomes: pl.DataFrame, points: pl.DataFrame) -> pl.DataFrame:
    """Put the scores of evaluated items beside what their variants take, as routers and cascades read it.

    Parameters
    ----------
    outcomes : polars.DataFrame
        One row per variant and item: ``model``, ``variant``, ``dataset``, ``metric``, ``item``, ``value``,
        ``higher_is_better``, such as `finops_lab.tradeoffs.measurement.Measurement.outcomes`; one metric.
    points : polars.DataFrame
        A points frame, of which ``model``, ``variant`` and ``per_1000_inferences`` are read; one row per
        variant.

    Returns
    -------
    polars.DataFrame
        See `finops_lab.tradeoffs.queries.as_queries`: ``query`` (data set and item), ``feature`` (the data
        set), ``model``, ``variant``, ``quality``, ``quality_metric``, ``amount`` (Float64, alike for all
        items of a variant). Sorted by data set and item. Variants without outcomes are left out.

    Raises
    ------
    InputError
        No outcomes, several metrics or one where lower is better, or a variant of which the points tell
        nothing, nothing of its spend, or several rows.

    Examples
    --------
    >>> outcomes = pl.DataFrame({"model": ["m", "m"], "variant": ["fp32", "int8"], "dataset": ["d"] * 2,
    ...     "metric": ["accuracy"] * 2, "item": [7, 7], "value": [1.0, 0.0], "higher_is_better": [True] * 2})
    >>> points = pl.DataFrame({"model": ["m", "m"], "variant": ["fp32", "int8"], "per_1000_inferences": [4.0, 2.0]})
    >>> answered_queries(outcomes, points).select("query", "variant", "quality", "amount").rows()
    [('d 7', 'fp32', 1.0, 0.004), ('d 7', 'int8', 0.0, 0.002)]
    """
    metrics = outcomes["metric"].unique().sort().to_list()
    if len(metrics) != 1:
        said = ", ".join(str(name) for name in metrics) or "none"
        raise InputError(
            f"a router adds up one metric, not {said}", column="metric", hint="filter the outcomes"
        )
    if not outcomes["higher_is_better"].fill_null(True).all() or sense_of(metrics[0]) is False:
        raise InputError(
            f"lower is better in {metrics[0]!r}, and a router adds up quality",
            column="metric",
            hint="turn it into one where higher is better, such as 1 - error",
        )
    used = outcomes.select(OPTION).unique().sort(OPTION, nulls_last=True)
    spent = points.select(*OPTION, "per_1000_inferences").join(used, on=OPTION, how="semi", nulls_equal=True)
    told = used.join(spent, on=OPTION, how="left", nulls_equal=True, maintain_order="left")
    for row in told.iter_rows(named=True):
        if row["per_1000_inferences"] is None:
            raise InputError(
                f"the points do not tell what {name_of(row)} takes", column="per_1000_inferences"
            )
    if told.height > used.height:
        row = told.filter(pl.struct(OPTION).is_duplicated()).row(0, named=True)
        raise InputError(
            f"the points tell {name_of(row)} several times", hint="filter them to one workload and metric"
        )
    rows = outcomes.sort("dataset", "item", *OPTION, nulls_last=True).join(
        told, on=OPTION, how="left", nulls_equal=True, maintain_order="left"
    )
    return as_queries(
        rows.select(
            pl.format("{} {}", "dataset", "item").alias("query"),
            pl.col("dataset").alias("feature"),
            *OPTION,
            pl.col("value").alias("quality"),
            pl.col("metric").alias("quality_metric"),
            (pl.col("per_1000_inferences").cast(pl.Float64) / 1000).alias("amount"),
        )
    )
