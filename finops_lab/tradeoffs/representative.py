"""Whether the calls of a canary are a sample of the traffic, which slices lack, and what that changes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from finops_lab.errors import InputError, each_name
from finops_lab.tradeoffs.slicing import UNKNOWN, slices

__all__ = ["DIMENSIONS", "MIX", "mix", "mix_needs", "reweighted"]

DIMENSIONS = ("customer", "feature", "region", "input_tokens", "hour")
_RARE = "(rare)"
_LEAST_EXPECTED = 5

MIX: dict[str, pl.DataType | type[pl.DataType]] = {
    "dimension": pl.String,
    "status": pl.String,  # `ok`, `not representative` or `unknown`
    "n": pl.Int64,  # independent units of the canary
    "n_needed": pl.Int64,  # of them, to tell
    "slices": pl.Int64,  # compared, rare ones taken together
    "distance": pl.Float64,  # total variation: the share of calls that would have to be elsewhere
    "psi": pl.Float64,  # population stability index
    "g": pl.Float64,  # statistic of the G-test
    "p_value": pl.Float64,  # corrected by Holm over the dimensions
    "slice": pl.String,  # the one that the canary lacks most
    "traffic_share": pl.Float64,  # of it
    "canary_share": pl.Float64,
    "reason": pl.String,
}


def mix(
    canary: pl.DataFrame,
    traffic: pl.DataFrame,
    *,
    by: str | Sequence[str] = DIMENSIONS,
    unit: str | None = None,
    max_distance: float = 0.1,
    alpha: float = 0.05,
) -> pl.DataFrame:
    """Tell whether a canary saw the traffic's mix of customers, features, sizes, regions and hours.

    A mix is not representative where it differs by more than chance (G-test of the canary against the
    traffic, Holm over the dimensions; slices of fewer than five expected units are taken together) *and*
    by enough to matter: a total variation distance of `max_distance`, or a slice of half that share of
    the traffic of which the canary saw nothing. With many calls the first alone would find every
    trifle. Where so few units were seen that half that distance is to be expected by chance, the answer
    is unknown.

    Parameters
    ----------
    canary, traffic : polars.DataFrame
        Calls, from `finops_lab.tradeoffs.slicing.sliced`. The traffic is whole days of all variants, also
        of before the canary.
    by : str or sequence of str
        Dimensions. Those that are no column, or of one value in all of the traffic, are left out.
    unit : str, optional
        As in `finops_lab.tradeoffs.slicing.slices`.
    max_distance : float
        Share of calls that may be in other slices than they should.
    alpha : float
        Chance of calling a fair sample not representative, over all dimensions.

    Returns
    -------
    polars.DataFrame
        `MIX`, one row per dimension, in their order. ``psi`` counts half a call in an empty slice;
        0.1 is usually called a small and 0.25 a large shift.

    Raises
    ------
    InputError
        When no dimension can be compared, or the distance is not between 0 and 1.

    Examples
    --------
    >>> whole = pl.DataFrame({"region": ["eu"] * 600 + ["us"] * 400})
    >>> mix(whole.filter(region="eu"), whole, by=["region"]).select("status", "slice", "distance").row(0)
    ('not representative', 'us', 0.4)
    """
    by = each_name(by)
    if not 0 < max_distance < 1:
        raise InputError(f"the largest distance of two mixes must be between 0 and 1, not {max_distance}")
    known = [name for name in by if name in traffic.columns and traffic[name].n_unique() > 1]
    if not known or any(name not in canary.columns for name in known):
        raise InputError(
            f"no way to compare canary and traffic by {', '.join(by)}",
            hint="both need the columns, and the traffic two values or more in one of them",
        )
    rows = [_compared(slices(canary, traffic, name, unit=unit), name, max_distance) for name in known]
    order = sorted(range(len(rows)), key=lambda k: rows[k]["p_value"])
    least = 0.0
    for place, k in enumerate(order):
        least = max(least, min(rows[k]["p_value"] * (len(rows) - place), 1.0))
        rows[k]["p_value"] = least
    for row in rows:
        row["status"], row["reason"] = _judged(row, max_distance, alpha)
    return pl.DataFrame(rows, schema=MIX)


def mix_needs(shares: pl.Series, max_distance: float = 0.1) -> int:
    """Return how many independent calls tell a mix of these shares from one that is off.

    Parameters
    ----------
    shares : polars.Series
        Of the traffic's slices, adding up to 1.
    max_distance : float
        As in `mix`.

    Returns
    -------
    int
        So many that chance alone is expected to give half the distance: a fair sample of n has a
        total variation distance of sum of sqrt(p (1 - p)) / sqrt(2 pi n).

    Examples
    --------
    >>> mix_needs(pl.Series([0.5, 0.5]))
    64
    """
    spread = float((shares * (1 - shares)).sqrt().sum())
    return max(math.ceil(spread**2 / (2 * math.pi * (max_distance / 2) ** 2)), 1)


def reweighted(
    values: pl.DataFrame,
    traffic: pl.DataFrame,
    by: str,
    *,
    value: str = "difference",
    confidence: float = 0.9,
) -> pl.DataFrame:
    """Estimate a mean as if the sample had the traffic's mix: post-stratification.

    Parameters
    ----------
    values : polars.DataFrame
        Items with a value and the dimension.
    traffic : polars.DataFrame
        Calls with the dimension.
    by : str
        The dimension.
    value : str
        The column to estimate the mean of.
    confidence : float
        Of the interval (normal, of one look).

    Returns
    -------
    polars.DataFrame
        One row: ``dimension``, ``mean`` (as sampled), ``reweighted``, ``low``, ``high``, ``covered``
        (share of the traffic whose slices have two items or more; the estimate speaks of it alone),
        ``missing`` (list of the other slices, largest first). Null where nothing is covered.

    Examples
    --------
    >>> seen = pl.DataFrame({"region": ["eu"] * 3 + ["us"] * 2, "difference": [0.0, 0.0, 0.0, -1.0, -1.0]})
    >>> whole = pl.DataFrame({"region": ["eu"] * 20 + ["us"] * 80})
    >>> reweighted(seen, whole, "region").select("mean", "reweighted", "covered").row(0)
    (-0.4, -0.8, 1.0)
    """
    from scipy.stats import norm

    key = pl.col(by).cast(pl.String).fill_null(UNKNOWN).alias("slice")
    own = values.select(key, pl.col(value).cast(pl.Float64).alias("value")).drop_nulls("value")
    stats = own.group_by("slice").agg(
        pl.len().alias("n"), pl.col("value").mean().alias("mean"), pl.col("value").var().alias("var")
    )
    whole = (
        traffic.select(key).group_by("slice").len().with_columns(share=pl.col("len") / pl.col("len").sum())
    )
    both = whole.join(stats, on="slice", how="left").sort("share", "slice", descending=[True, False])
    seen = both.filter(pl.col("n") >= 2)
    covered = float(seen["share"].sum())
    estimate = spread = None
    if covered:
        weights = seen["share"] / covered
        estimate = float((weights * seen["mean"]).sum())
        spread = float(norm.ppf((1 + confidence) / 2)) * math.sqrt(
            float((weights**2 * seen["var"] / seen["n"]).sum())
        )
    return pl.DataFrame(
        {
            "dimension": [by],
            "mean": [own["value"].mean()],
            "reweighted": [estimate],
            "low": [None if estimate is None or spread is None else estimate - spread],
            "high": [None if estimate is None or spread is None else estimate + spread],
            "covered": [covered],
            "missing": [both.filter(pl.col("n").fill_null(0) < 2)["slice"].to_list()],
        },
        schema={"dimension": pl.String}
        | dict.fromkeys(("mean", "reweighted", "low", "high", "covered"), pl.Float64)
        | {"missing": pl.List(pl.String)},
    )


def _compared(counts: pl.DataFrame, dimension: str, max_distance: float) -> dict[str, Any]:
    """Compare one dimension: statistics of a row of `MIX`, the p-value not yet corrected."""
    from scipy.stats import chi2_contingency

    n = int(counts["canary"].sum())
    share_of_traffic = counts["traffic_share"]
    lacks = pl.col("traffic_share") - pl.col("canary_share")
    # What is missing altogether before what there is too little of, where it is large enough to matter.
    absent = (pl.col("canary") == 0) & (pl.col("traffic_share") >= max_distance / 2)
    most = counts.sort(absent, lacks, "slice", descending=[True, True, False]).row(0, named=True)
    pooled = counts.with_columns(
        pl.when(pl.col("traffic_share") * n < _LEAST_EXPECTED)
        .then(pl.lit(_RARE))
        .otherwise("slice")
        .alias("slice")
    )
    pooled = pooled.group_by("slice").agg(pl.col("canary", "traffic").sum()).sort("slice")
    table = pooled.select("canary", "traffic").to_numpy().T
    g, p_value = 0.0, 1.0
    if n and table.shape[1] > 1:
        g, p_value, *_ = chi2_contingency(table, correction=False, lambda_="log-likelihood")
    # Half a call where there is none, or the index has no end.
    ours, theirs = (np.maximum(pooled[name].to_numpy(), 0.5) for name in ("canary", "traffic"))
    ours, theirs = ours / ours.sum(), theirs / theirs.sum()
    return {
        "dimension": dimension,
        "n": n,
        "n_needed": mix_needs(share_of_traffic, max_distance),
        "slices": pooled.height,
        "distance": float(counts.select(lacks.abs().sum()).item()) / 2 if n else None,
        "psi": float(((ours - theirs) * np.log(ours / theirs)).sum()) if n else None,
        "g": float(g),
        "p_value": float(p_value),
        "slice": most["slice"],
        "traffic_share": most["traffic_share"],
        "canary_share": most["canary_share"] if n else None,
    }


def _judged(row: dict[str, Any], max_distance: float, alpha: float) -> tuple[str, str]:
    n, needed, distance = row["n"], row["n_needed"], row["distance"]
    if not n:
        return "unknown", "the canary has no calls"
    shares = f"{row['canary_share']:.1%} of the canary and {row['traffic_share']:.1%} of the traffic"
    what = f"{row['dimension']} {row['slice']!r} is {shares}"
    absent = row["canary_share"] == 0 and row["traffic_share"] >= max_distance / 2
    if (distance >= max_distance or absent) and row["p_value"] < alpha:
        missing = " (missing)" if row["canary_share"] == 0 else ""
        return (
            "not representative",
            f"{what}{missing}: {distance:.0%} of calls are in other slices than they should",
        )
    if n < needed:
        return "unknown", f"{n:,} independent calls tell little: {needed:,} are needed"
    return "ok", f"{distance:.1%} of calls in other slices; {what}"
