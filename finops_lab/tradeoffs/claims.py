"""What is claimed of a variant: so much cheaper, at most so much worse, at most so much slower."""

from __future__ import annotations

import math
from dataclasses import dataclass

import polars as pl

from finops_lab.errors import InputError
from finops_lab.tradeoffs.points import as_points
from finops_lab.tradeoffs.ratios import quantile_floor
from finops_lab.tradeoffs.senses import sense_of

__all__ = ["Claim", "claim_points"]

# What must be the same of two points before they are compared.
_SAME = ["model", "hardware", "serving", "region", "workload", "quality_metric", "cost_basis"]
_MONEY = "BillingCurrency"


@dataclass(frozen=True)
class Claim:
    """A claim against a baseline; None leaves a part out.

    Parameters
    ----------
    min_saving_share : float, optional
        Smallest saving, as a share of the baseline's cost: 0.30 is "at least 30 % cheaper". Below 1.
    max_quality_loss : float, optional
        The loss of quality stays below this, in the metric's unit (0.005 of an accuracy from 0 to 1 is
        half a percentage point), not negative. The metric's own direction is obeyed.
    relative_loss : bool
        `max_quality_loss` is a share of the baseline's quality: 0.005 is half a percent of it.
    max_latency_ratio : float, optional
        Largest latency, as a multiple of the baseline's: 1.0 is "no slower". Above 0.
    latency_quantile : float
        Which latency: 0.95 is P95, 0.5 the median.

    Raises
    ------
    InputError
        Nothing is claimed, or a limit outside its range.

    Examples
    --------
    >>> Claim(min_saving_share=0.30, max_quality_loss=0.005).parts
    ('cost', 'quality')
    """

    min_saving_share: float | None = None
    max_quality_loss: float | None = None
    relative_loss: bool = False
    max_latency_ratio: float | None = None
    latency_quantile: float = 0.95

    def __post_init__(self) -> None:
        saving, loss, ratio = self.min_saving_share, self.max_quality_loss, self.max_latency_ratio
        if saving is None and loss is None and ratio is None:
            raise InputError(
                "nothing is claimed", hint="Claim(min_saving_share=0.30, max_quality_loss=0.005)"
            )
        if saving is not None and not -math.inf < saving < 1:
            raise InputError(f"min_saving_share is a share below 1, not {saving}", hint="0.30 is 30 %")
        if loss is not None and not 0 <= loss < (1 if self.relative_loss else math.inf):
            raise InputError(f"max_quality_loss is a number from 0 up, not {loss}", hint="0.005 is 0.5 %")
        if ratio is not None and not 0 < ratio < math.inf:
            raise InputError(f"max_latency_ratio is a number above 0, not {ratio}", hint="1.0: no slower")
        quantile_floor(self.latency_quantile)

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts that are claimed: ``cost``, ``quality``, ``latency``."""
        limits = {
            "cost": self.min_saving_share,
            "quality": self.max_quality_loss,
            "latency": self.max_latency_ratio,
        }
        return tuple(part for part, limit in limits.items() if limit is not None)


def claim_points(points: pl.DataFrame, claim: Claim, *, baseline: str) -> pl.DataFrame:
    """Hold point values against a claim: published pairs that do not say how many items were scored.

    This counts; it proves nothing. `verdicts` proves, from items and rounds.

    Parameters
    ----------
    points : polars.DataFrame
        `POINTS`: ``per_1000_inferences`` (for another basis of cost, put it there), ``quality`` and
        ``higher_is_better``, and ``p50_ms``, ``p95_ms`` or ``p99_ms`` for what is claimed.
    claim : Claim
        What is claimed. A saving at the limit meets it, a loss must stay below it.
    baseline : str
        The variant to compare with. It and the others must agree in model, hardware, serving, region,
        workload, metric, basis of cost and currency.

    Returns
    -------
    polars.DataFrame
        One row per pair, in the order of the points: the keys above, ``variant``, then Float64
        ``saving_share`` (1 - cost over the baseline's), ``quality_loss`` (positive is worse in the
        metric's own direction; a share of the baseline's when the claim is relative),
        ``latency_ratio``, and ``meets`` (Boolean; null where a figure that is claimed is unknown).

    Raises
    ------
    InputError
        No point of the baseline, two that cannot be told apart, a latency quantile that points do not
        have, or a metric whose direction is missing.

    Examples
    --------
    >>> points = pl.DataFrame({"model": ["m"] * 2, "variant": ["fp32", "int8"],
    ...     "per_1000_inferences": [2.0, 1.0], "quality": [31.0, 31.1], "quality_metric": ["perplexity"] * 2,
    ...     "higher_is_better": [False] * 2})
    >>> claim = Claim(min_saving_share=0.30, max_quality_loss=0.005, relative_loss=True)
    >>> claim_points(points, claim, baseline="fp32").select("saving_share", "meets").row(0)
    (0.5, True)
    """
    latency = f"p{100 * claim.latency_quantile:g}_ms"
    table = as_points(points)
    if "latency" in claim.parts and latency not in table.columns:
        raise InputError(f"points have no {latency}", hint="they have p50_ms, p95_ms and p99_ms")
    keys = [*_SAME, _MONEY]
    figures = ["per_1000_inferences", "quality", "higher_is_better"]
    figures += [latency] if "latency" in claim.parts else []
    base = table.filter(variant=baseline).select(*keys, pl.col(figures).name.suffix("_base"))
    if base.is_empty():
        known = ", ".join(sorted(str(name) for name in table["variant"].unique()))
        raise InputError(f"no variant {baseline!r} to compare with", hint=f"known: {known}")
    twice = base.filter(pl.struct(keys).is_duplicated())
    if twice.height:
        raise InputError(
            f"{twice.item(0, 'model')} has more than one {baseline!r}: which one is the baseline?"
        )
    pairs = table.filter(pl.col("variant").ne_missing(baseline)).join(
        base, on=keys, how="left", nulls_equal=True, maintain_order="left"
    )
    up = pl.col("up")
    pairs = pairs.with_columns(pl.coalesce("higher_is_better", "higher_is_better_base").alias("up"))
    pairs = _directed(pairs, strict="quality" in claim.parts)
    loss = (pl.col("quality_base") - pl.col("quality")) * pl.when(up).then(1.0).when(~up).then(-1.0)
    positive = {name: pl.when(pl.col(f"{name}_base") > 0).then(f"{name}_base") for name in figures[:2]}
    ratio = (
        pl.col(latency) / pl.col(f"{latency}_base") if "latency" in claim.parts else pl.lit(None, pl.Float64)
    )
    meets = {
        "cost": pl.col("saving_share") >= pl.lit(claim.min_saving_share, pl.Float64),
        "quality": pl.col("quality_loss") < pl.lit(claim.max_quality_loss, pl.Float64),
        "latency": pl.col("latency_ratio") <= pl.lit(claim.max_latency_ratio, pl.Float64),
    }
    return pairs.select(
        *keys,
        "variant",
        (1 - pl.col("per_1000_inferences") / positive["per_1000_inferences"]).alias("saving_share"),
        (loss / positive["quality"] if claim.relative_loss else loss).alias("quality_loss"),
        ratio.alias("latency_ratio"),
    ).with_columns(pl.all_horizontal(*[meets[part] for part in claim.parts]).alias("meets"))


def _directed(pairs: pl.DataFrame, *, strict: bool) -> pl.DataFrame:
    """Complete directions by the metric's name; what is unsaid, or said both ways, is refused or unknown."""
    known = {name: sense_of(name) for name in pairs["quality_metric"].drop_nulls().unique()}
    names = pl.DataFrame(
        {"quality_metric": list(known), "known": list(known.values())},
        schema={"quality_metric": pl.String, "known": pl.Boolean},
    )
    pairs = pairs.join(names, on="quality_metric", how="left", maintain_order="left")
    pairs = pairs.with_columns(pl.coalesce("up", "known").alias("up"))
    both_ways = (pl.col("higher_is_better") != pl.col("higher_is_better_base")) | (
        pl.col("up") != pl.col("known")
    )
    compared = pl.col("quality").is_not_null() & pl.col("quality_base").is_not_null()
    wrong = pairs.filter(compared, pl.col("up").is_null() | both_ways.fill_null(False))
    if not strict:
        return pairs.with_columns(pl.when(~both_ways.fill_null(False)).then("up").alias("up"))
    if wrong.height:
        raise InputError(
            f"whether a higher {wrong.item(0, 'quality_metric') or 'quality'} of "
            f"{wrong.item(0, 'model')} is better is not said, or said both ways",
            column="higher_is_better",
        )
    return pairs
