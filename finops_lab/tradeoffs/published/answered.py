"""Sets that tell every query's answer, such as RouteLLM's: points are their averages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from finops_lab.tradeoffs.published.results import Findings, Published, published

__all__ = ["Answered"]


@dataclass(frozen=True)
class Answered:
    """A reader of points for a module that reads queries.

    Attributes
    ----------
    KIND, LAYOUT : str
        The kind of set, and which files it is.
    recognises : callable
        Tells whether a path is of this set.
    queries : callable
        Gives a row for each query and model: ``model``, ``variant``, ``quality``, ``quality_metric``,
        ``input_tokens``, ``output_tokens``, ``amount`` (Decimal, USD).
    LICENCE : str
        Under which licence it is published.
    """

    KIND: str
    LAYOUT: str
    recognises: Callable[[Path], bool]
    queries: Callable[[Path], pl.DataFrame]
    LICENCE: str = "see its repository"

    def read(self, path: Path) -> Published:
        """Read queries and average them.

        Parameters
        ----------
        path : pathlib.Path
            A file or folder of the set.

        Returns
        -------
        Published
            A point for each model: mean quality, how many queries it is of, and what a thousand of them
            cost at the module's prices and token counts, which are assumptions (finding ``assumed``).
            Who routes needs the queries themselves: the module's ``queries``.

        Examples
        --------
        >>> from decimal import Decimal
        >>> rows = pl.DataFrame({"model": ["m", "m"], "variant": [None, None], "quality": [1.0, 0.0],
        ...     "quality_metric": ["accuracy"] * 2, "input_tokens": [90, 70], "output_tokens": [10, 30],
        ...     "amount": [Decimal("0.001"), Decimal("0.003")]})
        >>> reader = Answered("kind", "files", lambda path: True, lambda path: rows)
        >>> reader.read(Path("a.csv")).points.select("quality", "per_1000_inferences", "quality_n").row(0)
        (0.5, 2.0, 2)
        """
        totals = (
            self.queries(path)
            .group_by("model", "variant", "quality_metric", maintain_order=True)
            .agg(
                pl.col("quality").mean(),
                pl.len().cast(pl.Int64).alias("quality_n"),
                pl.col("amount").sum().cast(pl.Float64),
                (pl.col("input_tokens") + pl.col("output_tokens")).sum().alias("tokens"),
            )
        )
        tokens = pl.when(pl.col("tokens") > 0).then("tokens")
        points = totals.select(
            *("model", "variant", "quality_metric", "quality", "quality_n"),
            pl.lit(path.stem).alias("workload"),
            pl.lit("USD").alias("BillingCurrency"),
            pl.lit("ListCost").alias("cost_basis"),
            (1000 * pl.col("amount") / pl.col("quality_n")).alias("per_1000_inferences"),
            (1e6 * pl.col("amount") / tokens).alias("per_1m_tokens"),
            pl.lit(True).alias("higher_is_better"),
            pl.lit("prices and tokens are assumed").alias("note"),
        )
        findings = Findings(path.name)
        findings.add("assumed", "the set tells no money: prices and counts of tokens are assumptions")
        return published(
            points,
            kind=self.KIND,
            files=[path],
            origin=self.LAYOUT,
            licence=self.LICENCE,
            findings=findings,
        )
