"""The traffic split over variants that meets quality and latency at least spend."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

import numpy as np
import numpy.typing as npt
import polars as pl

from finops_lab.errors import InputError
from finops_lab.money import exact_sum, product
from finops_lab.tradeoffs.multiple_choice import Solved, climb, reach, spend, total, under_both
from finops_lab.tradeoffs.queries import OPTION, Grid, as_grid, as_queries, known_latency

__all__ = ["Route", "route"]

Floats = npt.NDArray[np.float64]
_SLOW_SHARE = 0.05  # what a P95 leaves above it
_SLACK = 1e-12


@dataclass(frozen=True)
class Route:
    """Which query goes to which variant, and what that takes and gives.

    Attributes
    ----------
    split : polars.DataFrame
        One row per variant, sorted: ``model``, ``variant`` (String), ``queries`` (weight that it
        serves), ``share`` of the traffic, ``quality`` (mean of what it serves; Float64), ``amount``.
    choices : polars.DataFrame
        One row per query and variant that it goes to: ``query``, ``model``, ``variant``, ``share``
        (Float64: 1, or the part of its traffic), ``quality`` (Float64), ``amount`` (of that share).
    amount : Decimal or float
        Spend in all; a Decimal where the queries tell Decimals.
    quality : float
        Mean over the traffic.
    slow_share : float or None
        Share of the traffic above `max_p95_ms`; None without that limit.
    whole : polars.DataFrame or None
        As `choices`, each query wholly on one variant and still within the limits: the best one beside
        the optimum. None where there is none, which only `max_p95_ms` can cause.
    whole_amount : Decimal, float or None
        What `whole` spends; exact where the queries tell Decimals.
    whole_quality : float or None
        Its mean quality.
    gap : float or None
        What `whole` loses against the optimum: spend (given `min_quality`) or mean quality (given a
        budget). No division into whole queries is better than the optimum, so the best one loses at
        most this.
    per_point : float or None
        Shadow price: spend for one more hundredth of mean quality. None where no more can be had.
    """

    split: pl.DataFrame
    choices: pl.DataFrame
    amount: Decimal | float
    quality: float
    slow_share: float | None
    whole: pl.DataFrame | None
    whole_amount: Decimal | float | None
    whole_quality: float | None
    gap: float | None
    per_point: float | None

    def __repr__(self) -> str:
        shares = ", ".join(
            f"{row['model']}{'' if row['variant'] is None else '/' + row['variant']} {row['share']:.1%}"
            for row in self.split.to_dicts()
        )
        return f"Route({shares}; quality {self.quality:.4f}; .split .choices .amount .whole .gap .per_point)"


def route(
    queries: pl.DataFrame | pl.LazyFrame,
    *,
    min_quality: float | None = None,
    budget: Decimal | float | None = None,
    max_latency_ms: float | None = None,
    max_p95_ms: float | None = None,
) -> Route:
    """Send every query to the variant that together meet quality and latency at least spend.

    What is known of each query must have been measured: this is the best that any router could do with
    these variants, and what a router reaches that has to guess is told by `routing_table`, `cascade`
    and `quality_cost_curve`. Rows may also be whole groups of queries, such as features, with their
    ``weight``: then the split is one that can be put into a gateway as it is.

    Parameters
    ----------
    queries : polars.DataFrame or polars.LazyFrame
        One row per query and variant, see `finops_lab.tradeoffs.queries.as_queries`: ``query``,
        ``model``, ``variant``, ``quality`` (higher is better), ``amount``, and where they are known
        ``latency_ms`` and ``weight``.
    min_quality : float, optional
        Least mean quality; the spend is made least.
    budget : Decimal or float, optional
        Most to spend in all; the mean quality is made best. One of the two is given.
    max_latency_ms : float, optional
        No query goes to a variant that takes longer for it (milliseconds).
    max_p95_ms : float, optional
        At most 5 % of the traffic takes longer than this (milliseconds).

    Returns
    -------
    Route

    Raises
    ------
    InputError
        The queries are refused, not one of `min_quality` and `budget` is given, a latency limit
        without latencies, or limits that cannot be met: the message says the best possible.

    Notes
    -----
    The optimum of the linear program in which a query may be divided. For one limit each query's
    options are reduced to their concave hull, and all steps up the hulls are taken in order of quality
    per spend until the limit: the greedy is exact, and one query at most is divided (Sinha and
    Zoltners, 1979; Kellerer, Pferschy and Pisinger, "Knapsack Problems", 2004, section 11.2). With
    `max_p95_ms` the price of slowness is searched, and the two solutions beside the best price are
    mixed. Money is compared in binary floating point; the amounts of the answer are exact sums.

    Examples
    --------
    >>> queries = pl.DataFrame({"query": [1, 1, 2, 2, 3, 3], "model": ["small", "large"] * 3,
    ...     "quality": [1, 1, 0, 1, 0, 0], "amount": [Decimal(1), Decimal(10)] * 3})
    >>> found = route(queries, min_quality=0.66)
    >>> found.whole.select("query", "model").rows()
    [(1, 'small'), (2, 'large'), (3, 'small')]
    >>> int(found.whole_amount), round(found.gap, 6)
    (12, 0.18)
    """
    if (min_quality is None) == (budget is None):
        raise InputError("give min_quality or budget, one of them")
    for name, limit in (
        ("min_quality", min_quality),
        ("budget", budget),
        ("max_latency_ms", max_latency_ms),
        ("max_p95_ms", max_p95_ms),
    ):
        if limit is not None and (not np.isfinite(float(limit)) or (limit < 0 and name != "min_quality")):
            raise InputError(f"{name} must be a finite number from 0 up, not {limit}")
    table = as_queries(queries)
    if max_latency_ms is not None or max_p95_ms is not None:
        known_latency(table)
    if max_latency_ms is not None:
        table = _quick(table, max_latency_ms)
    grid = as_grid(table)
    value = grid.quality * grid.weight[:, None]
    slow = None
    if max_p95_ms is not None:
        late = (grid.latency_ms > max_p95_ms) * grid.weight[:, None]
        slow = np.where(np.isnan(grid.amount), np.nan, late)
    weight = float(grid.weight.sum())
    # What the limits hold, and what they are: every one from below.
    limits = [] if slow is None else [(slow, _SLOW_SHARE * weight)]
    if min_quality is not None:
        solved = _least_spend(grid, value, min_quality, slow)
        limits.append((-value, -min_quality * weight))
        return _told(table, grid, solved, value, slow, limits, grid.amount)
    spent = float(budget or 0)
    solved = _best_quality(grid, value, spent, slow)
    limits.append((grid.amount, spent))
    return _told(table, grid, solved, value, slow, limits, -value / weight)


def _quick(table: pl.DataFrame, limit: float) -> pl.DataFrame:
    kept = table.filter(pl.col("latency_ms") <= limit)
    lost = table.join(kept.select("query").unique(), on="query", how="anti")
    if lost.height:
        best = lost.group_by("query").agg(pl.col("latency_ms").min()).sort("latency_ms", "query").row(-1)
        raise InputError(
            f"{lost['query'].n_unique()} queries have no variant within {limit:g} ms",
            hint=f"the quickest variant for query {best[0]!r} takes {best[1]:g} ms",
        )
    return kept


def _least_spend(grid: Grid, value: Floats, wanted: float, slow: Floats | None) -> Solved:
    goal = wanted * float(grid.weight.sum())
    if slow is None:
        found = reach(climb(grid.amount, value), goal)
        if found is not None:
            return found
        best = float(np.nanmax(value, axis=1).sum() / grid.weight.sum())
        raise InputError(
            f"a mean quality of {wanted:g} cannot be reached", hint=f"the best possible is {best:.6g}"
        )
    limit = _SLOW_SHARE * float(grid.weight.sum())
    quick = _within(spend(climb(slow, value), limit), slow, grid)
    best = total(quick.mix, value)
    if best < goal - _SLACK * abs(goal):
        raise InputError(
            f"a mean quality of {wanted:g} cannot be reached with at most {_SLOW_SHARE:.0%} of the traffic slow",
            hint=f"the best possible is {best / grid.weight.sum():.6g}",
        )

    def solve(price: float) -> Solved:
        found = reach(climb(grid.amount + price * slow, value), min(goal, best))
        assert found is not None
        return found

    return under_both(solve, grid.amount, slow, limit, quick)


def _best_quality(grid: Grid, value: Floats, budget: float, slow: Floats | None) -> Solved:
    if slow is None:
        found = spend(climb(grid.amount, value), budget)
        if found is not None:
            return found
        least = float(np.nanmin(grid.amount, axis=1).sum())
        raise InputError(
            f"a budget of {budget:g} is too small", hint=f"the least possible spend is {least:.6g}"
        )
    limit = _SLOW_SHARE * float(grid.weight.sum())
    quick = _within(spend(climb(slow, -grid.amount), limit), slow, grid)
    least = total(quick.mix, grid.amount)
    if least > budget + _SLACK * abs(budget):
        raise InputError(
            f"a budget of {budget:g} is too small with at most {_SLOW_SHARE:.0%} of the traffic slow",
            hint=f"the least possible spend is {least:.6g}",
        )

    def solve(price: float) -> Solved:
        found = spend(climb(grid.amount, value - price * slow), max(budget, least))
        assert found is not None
        return found

    return under_both(solve, -value, slow, limit, quick)


def _within(quick: Solved | None, slow: Floats, grid: Grid) -> Solved:
    if quick is None:
        least = float(np.nanmin(slow, axis=1).sum() / grid.weight.sum())
        raise InputError(
            "the P95 cannot be met: no split is fast enough",
            hint=f"at least {least:.2%} of the traffic is slower, and 5 % may be",
        )
    return quick


def _told(
    table: pl.DataFrame,
    grid: Grid,
    solved: Solved,
    value: Floats,
    slow: Floats | None,
    limits: list[tuple[Floats, float]],
    aim: Floats,
) -> Route:
    weight = float(grid.weight.sum())
    mix = solved.mix
    choices = _choices(table, grid, mix)
    # Of the whole divisions beside the optimum the best one that is within the limits.
    fits = [
        (total(one, aim), i, one)
        for i, one in enumerate(((1.0, option),) for _, option in mix)
        if all(total(one, of) <= limit + _SLACK * abs(limit) for of, limit in limits)
    ]
    best = min(fits)[1:] if fits else None
    whole = None if best is None else _choices(table, grid, best[1])
    return Route(
        split=_split(choices, weight),
        choices=choices.drop("weight"),
        amount=_sum(choices["amount"]),
        quality=total(mix, value) / weight,
        slow_share=None if slow is None else total(mix, slow) / weight,
        whole=None if whole is None else whole.drop("weight"),
        whole_amount=None if whole is None else _sum(whole["amount"]),
        whole_quality=None if best is None else total(best[1], value) / weight,
        gap=None if best is None else max(total(best[1], aim) - total(mix, aim), 0.0),
        per_point=None if not solved.worth else weight / 100 / solved.worth,
    )


def _choices(
    table: pl.DataFrame, grid: Grid, mix: tuple[tuple[float, npt.NDArray[np.int64]], ...]
) -> pl.DataFrame:
    first = mix[0][1]
    everyone = np.arange(len(first))
    divided = np.flatnonzero(np.any([option != first for _, option in mix], axis=0))
    cells, shares = everyone * grid.options.height + first, np.ones(len(first))
    if divided.size:
        # Whoever goes two ways has a row for each, in the order of the options.
        parts = np.concatenate([divided * grid.options.height + option[divided] for _, option in mix])
        parts, place = np.unique(parts, return_inverse=True)
        cells = np.concatenate([np.delete(cells, divided), parts])
        weights = np.repeat([share for share, _ in mix], divided.size)
        shares = np.concatenate([np.ones(len(cells) - len(parts)), np.bincount(place, weights)])
        order = np.argsort(cells, kind="stable")
        cells, shares = cells[order], shares[order]
    picked: pl.DataFrame = table[grid.rows.reshape(-1)[cells]].with_columns(pl.Series("share", shares))
    amounts = pl.col("amount") * pl.col("share")
    if table.schema["amount"].is_decimal():
        some = np.flatnonzero(shares < 1.0)
        exact = [product(picked["amount"][int(i)], Decimal(float(shares[i]))) for i in some]
        amounts = pl.lit(picked["amount"].scatter(some, pl.Series(exact, dtype=table.schema["amount"])))
    return picked.select("query", *OPTION, "share", "quality", amounts.alias("amount"), "weight")


def _split(choices: pl.DataFrame, weight: float) -> pl.DataFrame:
    queries = pl.col("share") * pl.col("weight")
    return (
        choices.group_by(OPTION, maintain_order=True)
        .agg(
            queries.sum().alias("queries"),
            (queries.sum() / weight).alias("share"),
            ((queries * pl.col("quality")).sum() / queries.sum()).alias("quality"),
            pl.col("amount").sum(),
        )
        .sort(OPTION, nulls_last=True)
    )


def _sum(amounts: pl.Series) -> Decimal | float:
    return exact_sum(amounts) if amounts.dtype.is_decimal() else float(amounts.sum())
