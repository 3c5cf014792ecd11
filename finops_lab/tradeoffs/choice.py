"""The cheapest variant that is still good enough and fast enough."""

from __future__ import annotations

import math

import polars as pl

from finops_lab.errors import InputError

__all__ = ["best"]

# 0.9 - 0.895 is 0.005000000000000004 in binary: a loss at the limit is within it.
_SLACK = 1e-12


def best(
    frame: pl.DataFrame, *, max_p95_ms: float | None = None, max_quality_loss: float | None = None
) -> pl.DataFrame:
    """Choose, per model, the cheapest variant within the limits.

    This compares point values and proves nothing statistically yet: a quality loss within the limit
    may be noise of a small evaluation, and so may one beyond it. See ``quality_n`` of `variants`, and
    its ``note`` where variants were evaluated on different data sets.

    Parameters
    ----------
    frame : polars.DataFrame
        Columns ``model``, ``variant``, ``per_1000_inferences``, ``quality``, ``p95_ms`` as made by
        `variants`; ``higher_is_better`` too, or higher quality is better.
    max_p95_ms : float, optional
        Largest P95 latency in milliseconds.
    max_quality_loss : float, optional
        Largest loss against the model's best quality, absolute, in the metric's unit (0.005 of an
        accuracy from 0 to 1 is half a percentage point).

    Returns
    -------
    polars.DataFrame
        One row per model, sorted: ``model``, ``variant`` (chosen), ``per_1000_inferences`` of it (null
        when nothing qualifies), ``reference`` (the variant of the best quality, the cheapest of equals),
        ``saving_share`` (Float64, 1 - cost over the reference's), ``quality_loss`` (Float64, against
        the reference), ``note`` (why nothing was chosen or compared). A variant whose cost, or whose
        figure under a limit, is unknown does not qualify. Equal costs: the better quality, then the
        smaller P95, then the name.

    Raises
    ------
    InputError
        A limit that is negative or no number.

    Examples
    --------
    >>> frame = pl.DataFrame({"model": ["m", "m"], "variant": ["fp16", "int8"],
    ...     "per_1000_inferences": [4.0, 1.0], "quality": [0.9, 0.895], "p95_ms": [90.0, 60.0]})
    >>> best(frame, max_p95_ms=100, max_quality_loss=0.005).select("variant", "saving_share").row(0)
    ('int8', 0.75)
    """
    for name, limit in (("max_p95_ms", max_p95_ms), ("max_quality_loss", max_quality_loss)):
        if limit is not None and (math.isnan(limit) or limit < 0):
            raise InputError(f"{name} must be a number from 0 up, not {limit}")
    down = ~pl.col("higher_is_better") if "higher_is_better" in frame.columns else pl.lit(False)
    cost, p95, loss = pl.col("per_1000_inferences"), pl.col("p95_ms"), pl.col("quality_loss")
    ranked = (
        frame.with_columns(
            *[pl.col(name).fill_nan(None) for name in ("per_1000_inferences", "p95_ms", "quality")]
        )
        .with_columns(pl.when(down).then(-pl.col("quality")).otherwise("quality").alias("score"))
        .sort("model", "score", cost, "variant", descending=[False, True, False, False], nulls_last=True)
    )
    compared = ranked.with_columns(
        (pl.col("score").first().over("model") - pl.col("score")).alias("quality_loss"),
        *[
            pl.when(pl.col("score").first().over("model").is_not_null())
            .then(pl.col(name).first().over("model"))
            .alias(alias)
            for name, alias in (("variant", "reference"), ("per_1000_inferences", "reference_cost"))
        ],
    )
    misses = {"cost unknown": cost.is_null()}
    if max_p95_ms is not None:
        misses[f"P95 over {max_p95_ms:g} ms or unknown"] = ~(p95 <= max_p95_ms).fill_null(False)
    if max_quality_loss is not None:
        misses[f"quality loss over {max_quality_loss:g} or unknown"] = ~(
            loss <= max_quality_loss + _SLACK
        ).fill_null(False)
    chosen = (
        compared.filter(~pl.any_horizontal(*misses.values()))
        .sort("model", cost, loss, p95, "variant", nulls_last=True)
        .unique("model", keep="first")
        .select("model", "variant", cost, loss)
    )
    counts = [
        pl.when(miss.any()).then(pl.format("{} for {}", pl.lit(why), miss.sum()))
        for why, miss in misses.items()
    ]
    reasons = compared.group_by("model").agg(
        pl.col("reference", "reference_cost").first(),
        pl.len().alias("count"),
        pl.concat_str(counts, separator=", ", ignore_nulls=True).alias("why"),
    )
    saving = pl.when(pl.col("reference_cost") > 0).then(1 - cost / pl.col("reference_cost"))
    note = (
        pl.when(cost.is_null())
        .then(pl.format("none of {} variants qualifies: {}", "count", "why"))
        .when(loss.is_null())
        .then(pl.lit("quality unknown, nothing to compare with"))
        .when(saving.is_null())
        .then(pl.lit("the reference has no cost to compare with"))
    )
    return (
        reasons.join(chosen, on="model", how="left")
        .select(
            *("model", "variant", cost, "reference"),
            saving.alias("saving_share"),
            loss,
            note.alias("note"),
        )
        .sort("model")
    )
