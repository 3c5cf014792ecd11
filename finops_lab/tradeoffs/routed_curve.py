"""Quality against spend as more of the traffic goes to the stronger variant: APGR and CPT."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from finops_lab.errors import InputError
from finops_lab.tradeoffs.multiple_choice import climb
from finops_lab.tradeoffs.queries import OPTION, as_grid, as_queries, name_of, option_of

__all__ = ["FIGURES", "best_split_curve", "quality_cost_curve", "routed_figures"]

Floats = npt.NDArray[np.float64]
Option = str | tuple[str, str | None]
_RESERVED = ("random", "oracle")
_CURVE: dict[str, pl.DataType | type[pl.DataType]] = {
    "router": pl.String,
    "strong_share": pl.Float64,
    "quality": pl.Float64,
    "recovered": pl.Float64,
    "per_1000_queries": pl.Float64,
}
FIGURES: dict[str, pl.DataType | type[pl.DataType]] = {
    "router": pl.String,
    "queries": pl.Int64,
    "weak_quality": pl.Float64,
    "strong_quality": pl.Float64,
    "best_quality": pl.Float64,
    "apgr": pl.Float64,
    "cpt_50": pl.Float64,
    "cpt_80": pl.Float64,
}


@dataclass(frozen=True)
class _Line:
    """Corners of a router's curve: share sent to the strong variant, mean quality, mean amount."""

    router: str
    share: Floats
    quality: Floats
    amount: Floats


def quality_cost_curve(
    queries: pl.DataFrame | pl.LazyFrame,
    *,
    weak: Option,
    strong: Option,
    scores: Sequence[str] = (),
    points: int = 101,
) -> pl.DataFrame:
    """Draw quality and spend of routers between a weak and a strong variant.

    Parameters
    ----------
    queries : polars.DataFrame or polars.LazyFrame
        See `finops_lab.tradeoffs.queries.as_queries`; every query with both variants.
    weak, strong : str or tuple
        Model, or model and variant.
    scores : sequence of str
        Columns, each a router: the higher a query's score, the sooner it goes to the strong variant.
    points : int
        Shares from 0 to 1 that are drawn.

    Returns
    -------
    polars.DataFrame
        ``router`` (``random``, ``oracle``: by what the strong variant really gains, then `scores`),
        ``strong_share`` of the traffic, ``quality`` (mean), ``recovered`` (share of the gap between weak
        and strong that is closed, PGR; above 1 where the mix is better than the strong one alone),
        ``per_1000_queries`` (amount). Float64. Queries of equal score go together: what is drawn is
        the mean over their orders, so no order of rows matters.

    Raises
    ------
    InputError
        A query without one of the variants or a score, or a strong variant that is no better.

    Notes
    -----
    Ong et al., "RouteLLM: Learning to Route LLMs with Preference Data", arXiv 2406.18665, 2024,
    section 3: PGR = (quality - weak) / (strong - weak).

    Examples
    --------
    >>> queries = pl.DataFrame({"query": [1, 1, 2, 2], "model": ["small", "large"] * 2,
    ...     "quality": [1, 1, 0, 1], "amount": [1.0, 5.0] * 2})
    >>> found = quality_cost_curve(queries, weak="small", strong="large", points=3)
    >>> found.filter(router="oracle").select("strong_share", "recovered", "per_1000_queries").rows()
    [(0.0, 0.0, 1000.0), (0.5, 1.0, 3000.0), (1.0, 1.0, 5000.0)]
    """
    if points < 2:
        raise InputError(f"a curve needs 2 points at least, not {points}")
    shares = np.linspace(0.0, 1.0, points)
    parts = []
    for line in _lines(queries, weak, strong, scores):
        quality = np.interp(shares, line.share, line.quality)
        gap = line.quality[-1] - line.quality[0]
        parts.append(
            pl.DataFrame(
                {
                    "router": [line.router] * points,
                    "strong_share": shares,
                    "quality": quality,
                    "recovered": (quality - line.quality[0]) / gap,
                    "per_1000_queries": np.interp(shares, line.share, line.amount) * 1000,
                },
                schema=_CURVE,
            )
        )
    return pl.concat(parts)


def routed_figures(
    queries: pl.DataFrame | pl.LazyFrame, *, weak: Option, strong: Option, scores: Sequence[str] = ()
) -> pl.DataFrame:
    """Tell how well routers choose which queries go to the strong variant.

    Parameters
    ----------
    queries, weak, strong, scores
        As for `quality_cost_curve`.

    Returns
    -------
    polars.DataFrame
        `FIGURES`, one row per router: ``queries``; ``weak_quality``, ``strong_quality`` of one variant
        alone, ``best_quality`` where each query has the better one; ``apgr`` (area under PGR over the
        share sent to the strong variant: 0.5 for a random router, 1 where every query that gains
        something comes first and loses nothing); ``cpt_50``, ``cpt_80``: the least share of strong
        calls with which half, and 80 %, of the gap is closed. Exact, not from drawn points.

    Raises
    ------
    InputError
        As `quality_cost_curve`.

    Notes
    -----
    RouteLLM (arXiv 2406.18665, section 3) averages PGR over ten shares; the area is its limit. CPT is
    its call-performance threshold.

    Examples
    --------
    >>> queries = pl.DataFrame({"query": [1, 1, 2, 2], "model": ["small", "large"] * 2,
    ...     "quality": [1, 1, 0, 1], "amount": [1.0, 5.0] * 2})
    >>> routed_figures(queries, weak="small", strong="large").select("router", "apgr", "cpt_50").rows()
    [('random', 0.5, 0.5), ('oracle', 0.75, 0.25)]
    """
    rows = []
    for line in _lines(queries, weak, strong, scores):
        low, high = float(line.quality[0]), float(line.quality[-1])
        recovered = (line.quality - low) / (high - low)
        rows.append((line.router, low, high, float(np.trapezoid(recovered, line.share)),
                     *(_first(line.share, recovered, goal) for goal in (0.5, 0.8))))  # fmt: skip
    table = as_grid(_both(queries, weak, strong)[0])
    best = float((table.quality.max(axis=1) * table.weight).sum() / table.weight.sum())
    return pl.DataFrame(
        [(name, table.queries.len(), low, high, best, *more) for name, low, high, *more in rows],
        schema=FIGURES,
        orient="row",
    )


def best_split_curve(queries: pl.DataFrame | pl.LazyFrame, *, points: int = 101) -> pl.DataFrame:
    """Draw the best mean quality against spend, over any number of variants.

    Parameters
    ----------
    queries : polars.DataFrame or polars.LazyFrame
        See `finops_lab.tradeoffs.queries.as_queries`.
    points : int
        Spends that are drawn, evenly from the least to the one where no more quality can be bought.

    Returns
    -------
    polars.DataFrame
        ``per_1000_queries`` (amount), ``quality`` (mean), ``per_point`` (spend per 1,000 queries for one
        more hundredth of quality, null at the end). Float64. What `route` finds for each budget: no
        router does better.

    Raises
    ------
    InputError
        The queries are refused.

    Examples
    --------
    >>> queries = pl.DataFrame({"query": [1, 1, 2, 2], "model": ["small", "large"] * 2,
    ...     "quality": [1, 1, 0, 1], "amount": [1.0, 5.0] * 2})
    >>> best_split_curve(queries, points=2).rows()
    [(1000.0, 0.5, 40.0), (3000.0, 1.0, None)]
    """
    if points < 2:
        raise InputError(f"a curve needs 2 points at least, not {points}")
    grid = as_grid(as_queries(queries))
    weight = float(grid.weight.sum())
    steps = climb(grid.amount, grid.quality * grid.weight[:, None])
    spent = np.concatenate([[0.0], np.cumsum(steps.takes)]) + steps.least
    gained = np.concatenate([[0.0], np.cumsum(steps.gains)]) + steps.low
    drawn = np.linspace(spent[0], spent[-1], points if len(spent) > 1 else 1)
    place = np.searchsorted(spent, drawn, side="right") - 1
    worth = np.append(steps.worth, np.nan)[np.minimum(place, len(steps.worth))]
    return pl.DataFrame(
        {
            "per_1000_queries": drawn / weight * 1000,
            "quality": np.interp(drawn, spent, gained) / weight,
            # A point is 0.01 of the mean, so 0.01 x weight of the sum.
            "per_point": pl.Series(10.0 / worth).fill_nan(None),
        }
    )


def _both(
    queries: pl.DataFrame | pl.LazyFrame, weak: Option, strong: Option
) -> tuple[pl.DataFrame, int, int]:
    table = as_queries(queries)
    options = table.select(OPTION).unique().sort(OPTION, nulls_last=True)
    names = [options.row(option_of(options, wanted), named=True) for wanted in (weak, strong)]
    if names[0] == names[1]:
        raise InputError("weak and strong are the same variant")
    kept = table.join(pl.DataFrame(names, schema=dict.fromkeys(OPTION, pl.String)), on=OPTION, how="semi",
                      nulls_equal=True, maintain_order="left")  # fmt: skip
    lone = kept.filter(pl.len().over("query") < 2)
    missing = table["query"].n_unique() - kept["query"].n_unique()
    if lone.height or missing:
        query = lone["query"][0] if lone.height else table.join(kept, on="query", how="anti")["query"][0]
        raise InputError(
            f"query {query!r} lacks {name_of(names[0])} or {name_of(names[1])}",
            hint="keep only queries that both answered",
        )
    columns = as_grid(kept).options
    at = [option_of(columns, (name["model"], name["variant"])) for name in names]
    return kept, at[0], at[1]


def _lines(
    queries: pl.DataFrame | pl.LazyFrame, weak: Option, strong: Option, scores: Sequence[str]
) -> Iterator[_Line]:
    kept, low, high = _both(queries, weak, strong)
    grid = as_grid(kept)
    # Sums are divided at the end: counts of right answers stay whole numbers until then.
    weight, whole = grid.weight, float(grid.weight.sum())
    gain = (grid.quality[:, high] - grid.quality[:, low]) * weight
    more = grid.amount[:, high] - grid.amount[:, low]
    start = float((grid.quality[:, low] * weight).sum())
    if gain.sum() <= 0:
        raise InputError(
            "the strong variant is no better than the weak one over these queries: there is nothing to recover",
            hint="swap weak and strong, or keep the cheaper of the two",
        )
    orders: dict[str, Floats] = {"random": np.zeros(len(gain)), "oracle": gain / weight}
    for name in scores:
        if name in _RESERVED or name not in kept.columns:
            raise InputError("no such column of scores", column=name)
        found = kept[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()[grid.rows]
        if not np.isfinite(found).all() or (found[:, 0] != found[:, 1]).any():
            query = grid.queries[
                int((~np.isfinite(found).all(axis=1) | (found[:, 0] != found[:, 1])).argmax())
            ]
            raise InputError(f"query {query!r} has no score, or several", column=name)
        orders[name] = found[:, 0]
    base = float(grid.amount[:, low].sum())
    for name, score in orders.items():
        # Equal scores make one straight piece.
        _, group = np.unique(-score, return_inverse=True)
        pieces = [
            np.concatenate([[0.0], np.cumsum(np.bincount(group, part))]) for part in (weight, gain, more)
        ]
        yield _Line(name, pieces[0] / whole, (start + pieces[1]) / whole, (base + pieces[2]) / whole)


def _first(share: Floats, recovered: Floats, goal: float) -> float | None:
    """Return the least share at which the goal is reached."""
    reached = np.flatnonzero(recovered >= goal)
    if not reached.size:
        return None
    i = int(reached[0])
    if i == 0:
        return 0.0
    part = (goal - recovered[i - 1]) / (recovered[i] - recovered[i - 1])
    return float(share[i - 1] + part * (share[i] - share[i - 1]))
