"""A routing table by feature, learnt on one half of the queries and judged on the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import polars as pl

from finops_lab.errors import InputError
from finops_lab.tradeoffs.queries import OPTION, Grid, as_grid, as_queries, name_of, option_of
from finops_lab.tradeoffs.routing import route

__all__ = ["RoutingTable", "routing_table"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
_FIGURES: dict[str, pl.DataType | type[pl.DataType]] = {
    "queries": pl.Int64,
    "quality": pl.Float64,
    "quality_loss": pl.Float64,
    "loss_lo": pl.Float64,
    "loss_hi": pl.Float64,
    "per_1000_queries": pl.Float64,
    "saving_share": pl.Float64,
}


@dataclass(frozen=True)
class RoutingTable:
    """Which variant serves which feature.

    Attributes
    ----------
    table : polars.DataFrame
        One row per feature and variant it goes to (two where a feature's traffic is divided), sorted:
        ``feature``, ``model``, ``variant``, ``share`` of the feature's traffic; ``pooled`` (Boolean:
        too few queries of its own, learnt with others of that kind); ``learnt_queries``,
        ``learnt_quality`` (of that variant, on the half that was learnt on); and on the other half
        ``queries``, ``quality`` of that variant, ``quality_loss`` against the baseline with its
        interval ``loss_lo`` to ``loss_hi`` (paired by query), ``per_1000_queries`` (amount),
        ``saving_share`` against the baseline. Null where the other half has no such query.
    scores : polars.DataFrame
        What the whole table brings: ``half`` (``learnt`` or ``held out``), ``router`` (``routing
        table``, each variant alone, and ``best possible``, which knows every answer) and the same
        figures. The learnt half flatters the table: the held-out rows are the ones to believe.
    baseline : str
        What losses and savings are against.
    """

    table: pl.DataFrame
    scores: pl.DataFrame
    baseline: str

    def __repr__(self) -> str:
        held = self.scores.filter(half="held out", router="routing table").row(0, named=True)
        saved = "unknown" if held["saving_share"] is None else f"{held['saving_share']:.1%}"
        return (
            f"RoutingTable({self.table['feature'].n_unique()} features; held out: saves {saved}, loses "
            f"{held['quality_loss']:.4f} of quality against {self.baseline}; .table .scores)"
        )


def routing_table(
    queries: pl.DataFrame | pl.LazyFrame,
    *,
    feature: str = "feature",
    min_quality: float | None = None,
    max_quality_loss: float | None = None,
    budget_per_query: float | None = None,
    baseline: str | tuple[str, str | None] | None = None,
    least_queries: int = 20,
    level: float = 0.9,
    seed: int = 0,
) -> RoutingTable:
    """Learn which variant should serve each feature, and tell what that brings on other queries.

    Parameters
    ----------
    queries : polars.DataFrame or polars.LazyFrame
        See `finops_lab.tradeoffs.queries.as_queries`; every query with every variant.
    feature : str
        Column to route by: a feature, subject, customer. Null is a feature too.
    min_quality, max_quality_loss, budget_per_query : float, optional
        What must hold on the half that is learnt on; one of them. `max_quality_loss` is absolute,
        against the baseline. `budget_per_query` is the mean amount.
    baseline : str or tuple, optional
        Model, or model and variant, to compare with; the best one on the learnt half without it (of
        equals the cheapest).
    least_queries : int
        Features with fewer learnt queries are learnt together.
    level : float
        Of the intervals.
    seed : int
        Of the halves: each feature's queries are divided at random.

    Returns
    -------
    RoutingTable

    Raises
    ------
    InputError
        Not one limit, an unknown column, a query without one of the variants, features that differ
        within a query, or a limit that cannot be met.

    Examples
    --------
    >>> rows = [(q, feature, model, quality, amount) for q in range(80) for feature in [("chat", "math")[q % 2]]
    ...     for model, quality, amount in [("small", q % 2 == 0, 1.0), ("large", 1, 9.0)]]
    >>> queries = pl.DataFrame(rows, schema=["query", "feature", "model", "quality", "amount"], orient="row",
    ...     strict=False)
    >>> found = routing_table(queries, max_quality_loss=0.0)
    >>> found.table.select("feature", "model", "share", "quality_loss").rows()
    [('chat', 'small', 1.0, 0.0), ('math', 'large', 1.0, 0.0)]
    >>> round(found.scores.filter(half="held out", router="routing table")["saving_share"][0], 3)
    0.444
    """
    limits = {"min_quality": min_quality, "max_quality_loss": max_quality_loss, "budget": budget_per_query}
    if sum(limit is not None for limit in limits.values()) != 1:
        raise InputError("give min_quality, max_quality_loss or budget_per_query, one of them")
    if not 0 < level < 1:
        raise InputError(f"level is between 0 and 1, not {level}")
    table = as_queries(queries)
    grid = as_grid(table)
    _complete(grid)
    names = _features(table, grid, feature)
    codes = names.rank("dense").fill_null(0).cast(pl.Int64).to_numpy()
    learnt = _half(codes, seed)
    base = _baseline(grid, learnt) if baseline is None else option_of(grid.options, baseline)
    counts = np.bincount(codes, learnt)
    # -1 holds all features that are too small to be learnt alone.
    groups = np.where(counts[codes] >= least_queries, codes, -1)
    if max_quality_loss is not None:
        min_quality = _mean(grid.quality[learnt, base], grid.weight[learnt]) - max_quality_loss
    budget = None if budget_per_query is None else budget_per_query * float(grid.weight[learnt].sum())
    shares = _learn(grid, groups, learnt, min_quality, budget)
    z = NormalDist().inv_cdf(0.5 + level / 2)
    rows = _told(grid, names, codes, groups, learnt, shares, base, z)
    schema = {
        "feature": names.dtype,
        **dict.fromkeys(OPTION, pl.String),
        "share": pl.Float64,
        "pooled": pl.Boolean,
        "learnt_queries": pl.Int64,
        "learnt_quality": pl.Float64,
        **_FIGURES,
    }
    told = pl.DataFrame(list(rows), schema=schema, orient="row").sort("feature", *OPTION, nulls_last=True)
    scores = _scores(table, grid, learnt, shares[groups], base, z, limits | {"min_quality": min_quality})
    return RoutingTable(told, scores, name_of(grid.options.row(base, named=True)))


def _complete(grid: Grid) -> None:
    gone = np.argwhere(np.isnan(grid.amount))
    if len(gone):
        query, name = grid.queries[int(gone[0][0])], name_of(grid.options.row(int(gone[0][1]), named=True))
        raise InputError(
            f"query {query!r} has no row for {name}",
            hint="features are compared on the same queries: keep those that all variants answered",
        )


def _features(table: pl.DataFrame, grid: Grid, feature: str) -> pl.Series:
    if feature not in table.columns:
        raise InputError("the queries have no such column", column=feature)
    pairs = table.select("query", pl.col(feature).alias("feature")).unique()
    if pairs.height != grid.queries.len():
        query = pairs.filter(pl.col("query").is_duplicated())["query"].sort()[0]
        raise InputError(f"query {query!r} has more than one value", column=feature)
    return pairs.sort("query")["feature"]


def _half(codes: Ints, seed: int) -> npt.NDArray[np.bool_]:
    """Take every second query of each feature, in a random order."""
    order = np.random.default_rng(seed).permutation(len(codes))
    order = order[np.argsort(codes[order], kind="stable")]
    starts = np.searchsorted(codes[order], codes[order], side="left")
    half = np.zeros(len(codes), dtype=np.bool_)
    half[order] = (np.arange(len(codes)) - starts) % 2 == 0
    return half


def _baseline(grid: Grid, learnt: npt.NDArray[np.bool_]) -> int:
    weight = grid.weight[learnt]
    ranked = [
        (-_mean(grid.quality[learnt, i], weight), float(grid.amount[learnt, i].sum()), i)
        for i in range(grid.options.height)
    ]
    return min(ranked)[2]


def _learn(
    grid: Grid, groups: Ints, learnt: npt.NDArray[np.bool_], min_quality: float | None, budget: float | None
) -> Floats:
    """Return the share of each option by group; the last row is the group -1."""
    rows = []
    for group in np.unique(groups[learnt]):
        mine = learnt & (groups == group)
        weight = grid.weight[mine]
        rows += [
            {
                "query": int(group),
                **grid.options.row(i, named=True),
                "quality": _mean(grid.quality[mine, i], weight),
                "amount": float(grid.amount[mine, i].sum()),
                "weight": float(weight.sum()),
                "option": i,
            }
            for i in range(grid.options.height)
        ]
    frame = pl.DataFrame(rows, schema_overrides=dict.fromkeys(OPTION, pl.String))
    found = route(frame, min_quality=min_quality, budget=budget).choices
    joined = found.join(grid.options.with_row_index("option"), on=OPTION, nulls_equal=True)
    shares = np.zeros((int(groups.max()) + 2, grid.options.height))
    shares[joined["query"].to_numpy(), joined["option"].to_numpy()] = joined["share"].to_numpy()
    return shares


def _told(
    grid: Grid,
    names: pl.Series,
    codes: Ints,
    groups: Ints,
    learnt: npt.NDArray[np.bool_],
    shares: Floats,
    base: int,
    z: float,
) -> Iterator[tuple[object, ...]]:
    for code in np.unique(codes):
        mine = codes == code
        at = int(mine.argmax())
        on, off = mine & learnt, mine & ~learnt
        for option in np.flatnonzero(shares[groups[at]]):
            alone = np.zeros(grid.options.height)
            alone[option] = 1.0
            yield (
                names[at],
                *grid.options.row(int(option)),
                float(shares[groups[at], option]),
                bool(groups[at] == -1),
                int(on.sum()),
                _mean(grid.quality[on, option], grid.weight[on]),
                *_figures(grid, off, np.broadcast_to(alone, grid.amount.shape), base, z),
            )


def _scores(
    table: pl.DataFrame,
    grid: Grid,
    learnt: npt.NDArray[np.bool_],
    shares: Floats,
    base: int,
    z: float,
    limits: dict[str, float | None],
) -> pl.DataFrame:
    rows: list[tuple[object, ...]] = []
    for half, mine in (("learnt", learnt), ("held out", ~learnt)):
        if not mine.any():
            continue
        rows.append((half, "routing table", *_figures(grid, mine, shares, base, z)))
        for i in range(grid.options.height):
            alone = np.zeros(grid.options.height)
            alone[i] = 1.0
            name = name_of(grid.options.row(i, named=True))
            rows.append((half, name, *_figures(grid, mine, np.broadcast_to(alone, shares.shape), base, z)))
        rows += _best(table, grid, half, mine, base, z, limits)
    schema = {"half": pl.String, "router": pl.String, **_FIGURES}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _best(
    table: pl.DataFrame,
    grid: Grid,
    half: str,
    mine: npt.NDArray[np.bool_],
    base: int,
    z: float,
    limits: dict[str, float | None],
) -> Iterator[tuple[object, ...]]:
    """Yield what a router would reach that knows every answer; nothing where even that one cannot."""
    kept = table.filter(pl.col("query").is_in(grid.queries.filter(pl.Series(mine)).implode()))
    per_query = limits["budget"]
    budget = None if per_query is None else per_query * float(grid.weight[mine].sum())
    wanted = None if per_query is not None else limits["min_quality"]
    try:
        found = route(kept, min_quality=wanted, budget=budget).choices
    except InputError:
        return
    joined = found.join(grid.options.with_row_index("option"), on=OPTION, nulls_equal=True)
    shares = np.zeros(grid.amount.shape)
    place = grid.queries.search_sorted(joined["query"]).to_numpy()
    shares[place, joined["option"].to_numpy()] = joined["share"].to_numpy()
    yield half, "best possible", *_figures(grid, mine, shares, base, z)


def _figures(
    grid: Grid, mine: npt.NDArray[np.bool_], shares: Floats, base: int, z: float
) -> tuple[object, ...]:
    """Return the figures of sending each query by `shares`, against the baseline."""
    n, weight = int(mine.sum()), grid.weight[mine]
    if n == 0:
        return 0, *[None] * (len(_FIGURES) - 1)
    quality = (grid.quality[mine] * shares[mine]).sum(axis=1)
    amount = float((grid.amount[mine] * shares[mine]).sum(axis=1).sum())
    loss = grid.quality[mine, base] - quality
    mean = _mean(loss, weight)
    # One query tells nothing about how much they differ.
    spread = float((weight**2 * (loss - mean) ** 2).sum())
    half = z * (spread * n / (n - 1)) ** 0.5 / float(weight.sum()) if n > 1 else None
    paid = float(grid.amount[mine, base].sum())
    return (
        n,
        _mean(quality, weight),
        mean,
        None if half is None else mean - half,
        None if half is None else mean + half,
        amount / float(weight.sum()) * 1000,
        1 - amount / paid if paid > 0 else None,
    )


def _mean(values: Floats, weight: Floats) -> float:
    return float((values * weight).sum() / weight.sum())
