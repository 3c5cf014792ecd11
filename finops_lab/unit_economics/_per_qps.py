"""Money of pools per call a second that they answer within the target latency."""

from __future__ import annotations

from datetime import date

import polars as pl

from finops_lab.unit_economics._by_dimension import engine_for
from finops_lab.unit_economics._dividing import quotients
from finops_lab.unit_economics._grouping import share_of
from finops_lab.unit_economics._sampled import WORDS, count_bounds, money_bounds
from finops_lab.unit_economics._telling import asked
from finops_lab.unit_economics.figures import Definition, together
from finops_lab.unit_economics.schemas import FIGURES

__all__ = ["PER_QPS", "PER_QPS_SAMPLED", "money_per_qps", "sampled_money"]

PER_QPS = Definition(
    "M11", "money_per_qps", "Billed money per QPS at the target latency", "{currency} per QPS",
    "{currency}", "calls per second within the target",
    "money of the pool over the time looked at / (calls answered within the target latency / that time)",
    ("ledger", "inference_requests"), "lower", "no call was answered within the target latency",
    bounds=f"of the bucket of durations that the target lies in all calls or none are within it; where {WORDS}",
)  # fmt: skip
PER_QPS_SAMPLED = Definition(
    "M11", "money_per_qps_by_samples", "Money per QPS at the target latency, by GPU samples", "USD per QPS",
    "USD", "calls per second within the target",
    "GPU time of the pool on the days that calls are known of, at the samples' own rates / (calls answered"
    " within the target latency / that time)",
    ("gpu_samples", "inference_requests"), "lower", "no call was answered within the target latency",
    bounds=PER_QPS.bounds,
)  # fmt: skip
_NO_SPLIT = (
    "the ledger tells the money of no pool: split its bill by use with [[splits]] in finops.toml;"
    " money_per_qps_by_samples needs no split"
)
_UNSAMPLED = "no GPU sample tells of the pool"
_NO_RATE = (
    "the GPU time of no pool has money: gpu_samples need pool_id and rate_usd_per_gpu_hour on the days that"
    " calls are known of"
)


def money_per_qps(
    money: pl.DataFrame | pl.LazyFrame,
    calls: pl.DataFrame | pl.LazyFrame,
    *,
    currency: str = "USD",
    up_to: date | None = None,
    by_samples: bool = False,
) -> pl.DataFrame:
    """Divide the money of pools by the calls a second that they answered within the target latency.

    Parameters
    ----------
    money : polars.DataFrame or polars.LazyFrame
        ``month``, ``pool_id``, ``money`` (Decimal, in one currency) of the time that `calls` are of;
        where it is there, ``why``: the reason that it is not known.
    calls : polars.DataFrame or polars.LazyFrame
        ``month``, ``pool_id``, ``calls`` answered within the target, such as
        `finops_lab.unit_economics.latency.calls_within`, and ``seconds`` that they were counted over;
        where they are there, ``lower`` and ``upper`` that the true number lies between, and its
        ``variance`` by sampling.
    currency : str
        ISO 4217 code of the money.
    up_to : datetime.date, optional
        The last day known of a month that is not over. The rate of its calls is that of the days
        known, its money that of part of a month: it would look cheap beside whole months, and has
        no value.
    by_samples : bool
        The money is that of GPU samples (`sampled_money`): ``money_per_qps_by_samples``.

    Returns
    -------
    polars.DataFrame
        FIGURES of M11, ``money_per_qps`` or ``money_per_qps_by_samples``, for the whole (pools of which
        both are known) and by ``pool_id``. A pool with money and no calls, or with calls and no money, is null and says
        which is missing. Where the number of calls is known between ends, so is the value; of a
        sampled log the ends hold for 95 of 100 samples
        (`finops_lab.unit_economics._sampled.count_bounds`).

    Examples
    --------
    >>> from datetime import date
    >>> month = {"month": [date(2026, 10, 1)], "pool_id": ["chat"]}
    >>> day = pl.DataFrame(month | {"calls": [864_000], "seconds": [86_400]})
    >>> money_per_qps(pl.DataFrame(month | {"money": [480]}), day)["value"].cast(pl.Float64).to_list()
    [48.0, 48.0]
    """
    keys = ["month", "pool_id"]
    told = calls.collect() if isinstance(calls, pl.LazyFrame) else calls
    told = told.with_columns(
        (pl.col(name) if name in told.columns else pl.col(otherwise) if otherwise else pl.lit(0))
        .cast(FIGURES["numerator"])
        .alias(name)
        for name, otherwise in (("calls", None), ("lower", "calls"), ("upper", "calls"), ("variance", None))
    )
    definition = PER_QPS_SAMPLED if by_samples else PER_QPS
    paid_for = money.lazy()
    if "why" not in paid_for.collect_schema():
        paid_for = paid_for.with_columns(pl.lit(None, pl.String).alias("why"))
    both = told.lazy().join(paid_for.select(*keys, "money", "why"), on=keys, how="full", coalesce=True)
    rows = both.collect(engine=engine_for(told))
    paid = rows.filter(pl.col("money").is_not_null() & pl.col("calls").is_not_null())
    sums = ("money", "calls", "lower", "upper", "variance")
    added = paid.group_by("month", "seconds").agg(pl.col(sums).sum(), pl.len().alias("counted"))
    rated = _rated(pl.concat([rows, added], how="diagonal_relaxed"))
    partly = f"the month is known up to {up_to} only: its money is not that of a month" if up_to else ""
    running = pl.lit(up_to is not None) & (pl.col("month") == pl.lit(up_to and up_to.replace(day=1)))
    pools = rated.head(rows.height).select(
        "month",
        pl.col("pool_id").alias("key"),
        pl.col("money").alias("numerator"),
        pl.col("qps").alias("denominator"),
        "lower",
        "upper",
        pl.when(running)
        .then(pl.lit(partly))
        .when(pl.col("money").is_null())
        .then(pl.coalesce("why", pl.lit(_UNSAMPLED if by_samples else "the money of the pool is not known")))
        .when(pl.col("qps").is_null())
        .then(pl.lit("the calls of the pool are not known"))
        .alias("reason"),
    )
    of_all = rows.lazy().group_by("month").agg(pl.col("money").count().alias("pools"))
    # Of pools that were watched for unlike times there are rates, and no bounds of their sum.
    alike = pl.len().over("month") == 1
    spans = (
        rated.tail(added.height)
        .lazy()
        .with_columns(pl.when(alike).then(pl.col("lower", "upper")))
        .group_by("month")
        .agg(pl.col("money", "qps", "counted").sum(), pl.col("lower", "upper").first())
    )
    whole = of_all.join(spans, on="month", how="left").select(
        "month",
        pl.col("money").alias("numerator"),
        pl.col("qps").alias("denominator"),
        "lower",
        "upper",
        share_of(pl.col("counted").fill_null(0), pl.col("pools")).alias("coverage"),
        pl.when(running)
        .then(pl.lit(partly))
        .when(pl.col("pools") == 0)
        .then(pl.lit(_NO_RATE if by_samples else _NO_SPLIT))
        .alias("reason"),
    )
    found = together(
        [
            asked(whole.collect(engine="in-memory"), definition, currency=currency),
            asked(pools, definition, dimension="pool_id", currency=currency),
        ]
    )
    ends = [pl.when(pl.col("value").is_not_null()).then(name).alias(name) for name in ("lower", "upper")]
    return found.with_columns(ends)


def sampled_money(days: pl.DataFrame | pl.LazyFrame, called: pl.DataFrame | pl.LazyFrame) -> pl.DataFrame:
    """Return what the GPUs of pools cost on the days that calls are known of, at the samples' own rates.

    Parameters
    ----------
    days : polars.DataFrame or polars.LazyFrame
        `finops_lab.unit_economics.schemas.GPU_DAYS`. Several kinds of utilization of a pool tell of the
        same GPUs, and one of them counts.
    called : polars.DataFrame or polars.LazyFrame
        ``day``: the days that calls are known of.

    Returns
    -------
    polars.DataFrame
        ``month``, ``pool_id``, ``money`` (Decimal, USD) and ``why``, the reason where it is not known:
        a part of the time has no rate, samples tell of fewer days than calls do, or kinds of utilization
        tell unlike money, as they do of unlike GPUs; sorted.

    Examples
    --------
    >>> from finops_lab.unit_economics.schemas import GPU_DAYS
    >>> from decimal import Decimal
    >>> day = date(2026, 10, 3)
    >>> gpus = pl.DataFrame({"day": [day] * 2, "pool_id": ["chat", "own"], "util_kind": ["gpu_util"] * 2,
    ...     "sampled_s": [86_400] * 2, "priced_s": [86_400, 0], "sampled_usd": [Decimal(48), None]},
    ...     schema_overrides=GPU_DAYS)
    >>> sampled_money(gpus, pl.DataFrame({"day": [day]})).select("pool_id", "money", "why").rows()
    [('chat', Decimal('48.000000000000000000'), None), ('own', None, 'a part of its GPU time has no rate')]
    """
    watched = called.lazy().select("day").unique()
    month, pool = pl.col("day").dt.month_start().alias("month"), ["month", "pool_id"]
    of_month = watched.group_by(month).agg(pl.len().alias("of_days"))
    spent = (
        days.lazy()
        .filter(pl.col("pool_id").is_not_null())
        .join(watched, on="day", how="semi")
        .group_by(month, "pool_id", "util_kind")
        .agg(pl.col("sampled_s", "priced_s", "sampled_usd").sum(), pl.col("day").n_unique().alias("days"))
        .group_by(pool)
        .agg(pl.all().exclude("util_kind").sort_by("sampled_s", "util_kind").last(), _unlike())
        .sort(pool)
        .join(of_month, on="month", how="left", maintain_order="left")
    )
    fewer = pl.format("its GPU samples tell of {} of the {} days that calls are known of", "days", "of_days")
    why = (
        pl.when(pl.col("priced_s") < pl.col("sampled_s"))
        .then(pl.lit("a part of its GPU time has no rate"))
        .when("unlike")
        .then(pl.lit("its kinds of utilization tell unlike money: they need not be of the same GPUs"))
        .when(pl.col("days") < pl.col("of_days"))
        .then(fewer)
        .alias("why")
    )
    known = pl.when(pl.col("why").is_null()).then("sampled_usd").alias("money")
    return spent.with_columns(why).select(*pool, known, "why").collect(engine=engine_for(days))


def _unlike() -> pl.Expr:
    return (pl.struct("sampled_s", "sampled_usd").n_unique() > 1).alias("unlike")


def _rated(rows: pl.DataFrame) -> pl.DataFrame:
    """Add calls a second as ``qps``, and the ends of money per rate in place of those of calls."""
    variance, seconds, money = pl.col("variance"), rows["seconds"], rows["money"]
    ends = rows.select(
        pl.coalesce(count_bounds(rows, "lower", variance)[0], pl.col("lower")).alias("least"),
        pl.coalesce(count_bounds(rows, "upper", variance)[1], pl.col("upper")).alias("most"),
    )
    nothing = pl.Series([None], dtype=FIGURES["lower"]).new_from_index(0, rows.height)
    # Where the number is known for sure, or the money is not, there are no ends.
    open_ones = ((ends["least"] != ends["most"]) & money.is_not_null()).fill_null(False).arg_true()
    some, over = ends[open_ones], seconds[open_ones]
    fewest, highest = (quotients(some[name], over) for name in ("least", "most"))
    low, high = money_bounds(money[open_ones], fewest, highest)
    return rows.with_columns(
        quotients(rows["calls"], seconds).alias("qps"),
        nothing.scatter(open_ones, low).alias("lower"),
        nothing.scatter(open_ones, high).alias("upper"),
    )
