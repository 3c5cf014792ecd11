"""The variants table: cost from the bill, quality from evaluations, latency from requests."""

from __future__ import annotations

from datetime import UTC, date, datetime

import polars as pl

from finops_lab.calendar import add_months, format_month
from finops_lab.contracts import AMOUNTS
from finops_lab.errors import InputError
from finops_lab.money import MONEY, one_currency
from finops_lab.tradeoffs.front import pareto

__all__ = ["variants"]

_KEYS = ["model", "variant"]
_FAILED = ("error", "timeout")
# Weights such as 0.1 do not add up exactly; this much of the total decides no percentile.
_SLACK = 1e-12


def variants(
    ledger: pl.LazyFrame,
    requests: pl.LazyFrame,
    evaluations: pl.LazyFrame,
    *,
    first: date,
    last: date,
    metric: str = "EffectiveCost",
    quality: str = "accuracy",
) -> pl.DataFrame:
    """Put cost, quality and latency of every model variant side by side.

    Parameters
    ----------
    ledger, requests, evaluations : polars.LazyFrame
        Rows of the contracts `ledger`, `inference_requests` and `accuracy_samples`.
    first, last : datetime.date
        First days of the first and last month, both included. Costs by month of use.
    metric : str
        The cost column: ``BilledCost``, ``EffectiveCost``, ``ListCost`` or ``ContractedCost``.
    quality : str
        The evaluations' metric; its own direction (``higher_is_better``) is obeyed.

    Returns
    -------
    polars.DataFrame
        One row per model and variant (null: not told apart) on the bill or in the requests, sorted.
        ``model``, ``variant``, ``BillingCurrency`` (String); ``amount`` (Decimal); ``requests``
        (finished calls), ``successes`` (status ``ok``), both weighted by ``n_requests`` x
        ``sample_weight``; ``per_1000_inferences`` (per 1,000 successes); ``quality`` and
        ``quality_n``: plain mean over the data sets of the newest sample of each before the period's
        end, and its items; ``higher_is_better``; ``p95_ms``, ``p50_ms`` of successes: the smallest
        latency that reaches the share of the weight (inverse CDF); ``input_tokens`` (all input
        buckets) and ``output_tokens`` of the finished calls that report them; ``error_rate`` (errors
        and timeouts per finished call; a cancelled call is no error); ``on_front`` over all variants and
        ``on_model_front`` within the model: cost, quality, P95; ``note``: what is unknown and why.
        Float64 unless said; unknown is null, and null figures never reach a front.

    Raises
    ------
    InputError
        Unknown `metric` or `quality`, days that start no month, or evaluations that disagree on
        whether a higher value is better.
    CurrencyError
        Models billed in more than one currency.

    Notes
    -----
    The front over all variants means something only among models that could do the same work and
    were evaluated alike; the library cannot know that, hence the front within each model.

    Examples
    --------
    >>> from decimal import Decimal
    >>> ledger = pl.LazyFrame({"x_model": ["m"], "x_variant": ["int8"], "x_ChargeMonth": ["2026-10"],
    ...     "BillingCurrency": ["USD"], "EffectiveCost": [Decimal("0.5")]})
    >>> requests = pl.LazyFrame({"model": ["m"] * 2, "variant": ["int8"] * 2, "status": ["ok", "error"],
    ...     "n_requests": [200, 50], "sample_weight": [1.0, 1.0], "latency_ms": [80.0, None],
    ...     "input_uncached_tokens": [10, None], "cache_read_tokens": [5, None],
    ...     "cache_write_tokens": [None, None], "output_tokens": [3, None], "day": [date(2026, 10, 7)] * 2})
    >>> evaluations = pl.LazyFrame({"model": ["m"], "variant": ["int8"], "dataset": ["d"],
    ...     "metric": ["accuracy"], "value": [0.9], "n": [1000], "higher_is_better": [True],
    ...     "ts": [datetime(2026, 9, 1, tzinfo=UTC)], "source_file": ["e"], "source_row": [1]})
    >>> table = variants(ledger, requests, evaluations, first=date(2026, 10, 1), last=date(2026, 10, 1))
    >>> table.select("per_1000_inferences", "quality", "p95_ms", "error_rate", "on_front").row(0)
    (2.5, 0.9, 80.0, 0.2, True)
    """
    if first.day != 1 or last.day != 1 or last < first:
        raise InputError(f"{first} to {last} are not first days of months in order")
    if metric not in AMOUNTS:
        raise InputError(f"no cost column {metric!r}", hint=f"known: {', '.join(AMOUNTS)}")
    end = add_months(last, 1)
    spend, currency = _spend(ledger, format_month(first), format_month(last), metric)
    called, timed = _calls(requests.filter(pl.col("day") >= first, pl.col("day") < end))
    table = (
        spend.join(called, on=_KEYS, how="full", coalesce=True, nulls_equal=True)
        .join(timed, on=_KEYS, how="left", nulls_equal=True)
        .join(_quality(evaluations, quality, end), on=_KEYS, how="left", nulls_equal=True)
        .with_columns(
            pl.lit(currency, dtype=pl.String).alias("BillingCurrency"),
            pl.when(pl.col("successes") > 0)
            .then(pl.col("amount").cast(pl.Float64) / pl.col("successes") * 1000)
            .alias("per_1000_inferences"),
            pl.when(pl.col("requests") > 0).then(pl.col("failures") / pl.col("requests")).alias("error_rate"),
            _note(metric, quality),
        )
        .sort(_KEYS)
    )
    # A metric has one direction (`_quality` saw to it), so any row tells it.
    high = ["quality"] if table["higher_is_better"].all() else []
    low = ["per_1000_inferences", "p95_ms", *([] if high else ["quality"])]
    return table.select(
        *_KEYS,
        *("BillingCurrency", "amount", "requests", "successes", "per_1000_inferences"),
        *("quality", "quality_n", "higher_is_better", "p95_ms", "p50_ms"),
        *("input_tokens", "output_tokens", "error_rate"),
        pareto(table, minimise=low, maximise=high),
        pareto(table, minimise=low, maximise=high, by=["model"]).alias("on_model_front"),
        "note",
    )


def _spend(ledger: pl.LazyFrame, first: str, last: str, metric: str) -> tuple[pl.DataFrame, str | None]:
    billed = (
        ledger.filter(
            pl.col("x_ChargeMonth").is_between(pl.lit(first), pl.lit(last)), pl.col("x_model").is_not_null()
        )
        .group_by(pl.col("x_model").alias("model"), pl.col("x_variant").alias("variant"), "BillingCurrency")
        .agg(
            # A sum that leaves out charges without an amount would look cheaper than it is.
            pl.when(~pl.col(metric).has_nulls()).then(pl.col(metric).sum()).cast(MONEY).alias("amount"),
            pl.col("x_ChargeMonth").n_unique().alias("months_billed"),
        )
        .collect(engine="streaming")
    )
    return billed.drop("BillingCurrency"), one_currency(billed["BillingCurrency"])


def _calls(requests: pl.LazyFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Count calls and tokens, and take percentiles, per variant.

    The scan adds up integers only and keeps weights apart; weights come in afterwards, in one order,
    because float sums of the streaming engine differ between runs.
    """
    n, ok = pl.col("n_requests"), pl.col("status") == "ok"
    buckets = ("input_uncached_tokens", "cache_read_tokens", "cache_write_tokens")
    # A cache bucket that the source does not report counts as none, beside one that it reports.
    taken = pl.when(~pl.all_horizontal(pl.col(*buckets).is_null())).then(pl.sum_horizontal(*buckets))
    counts = requests.group_by(*_KEYS, "status", "sample_weight", pl.col("day").dt.month_start()).agg(
        n.sum(),
        *[
            pl.when(tokens.count() > 0).then((tokens * n).sum()).alias(name)
            for name, tokens in (("input_tokens", taken), ("output_tokens", pl.col("output_tokens")))
        ],
    )
    latencies = (
        requests.filter(ok, pl.col("latency_ms").is_not_null(), pl.col("sample_weight") > 0)
        .group_by(*_KEYS, "latency_ms", "sample_weight")
        .agg(n.sum())
    )
    counted, timed = pl.collect_all([counts, latencies], engine="streaming")
    mass, finished = n * pl.col("sample_weight"), pl.col("status") != "pending"
    called = (
        counted.sort(pl.all())
        .group_by(_KEYS, maintain_order=True)
        .agg(
            _total(mass.filter(finished)).fill_null(0.0).alias("requests"),
            _total(mass.filter(ok)).fill_null(0.0).alias("successes"),
            _total(mass.filter(pl.col("status").is_in(_FAILED))).fill_null(0.0).alias("failures"),
            *[
                _total((pl.col(name) * pl.col("sample_weight")).filter(finished)).alias(name)
                for name in ("input_tokens", "output_tokens")
            ],
            pl.col("day").filter(ok).n_unique().alias("months_called"),
        )
    )
    reached = mass.cum_sum()
    percentiles = (
        timed.sort(pl.all())
        .group_by(_KEYS, maintain_order=True)
        .agg(
            pl.col("latency_ms").filter(reached >= share * (1 - _SLACK) * reached.last()).first().alias(name)
            for name, share in (("p95_ms", 0.95), ("p50_ms", 0.5))
        )
    )
    return called, percentiles


def _total(values: pl.Expr) -> pl.Expr:
    """Add floats in the order of the rows; null where nothing is known."""
    return values.drop_nulls().cum_sum().last()


def _quality(evaluations: pl.LazyFrame, quality: str, end: date) -> pl.DataFrame:
    names = evaluations.select(pl.col("metric").unique().sort()).collect()["metric"].to_list()
    if names and quality not in names:
        raise InputError(f"no evaluation measures {quality!r}", hint=f"known: {', '.join(names)}")
    before = datetime(end.year, end.month, end.day, tzinfo=UTC)
    samples = evaluations.filter(pl.col("metric") == quality, pl.col("ts") < before).collect()
    if samples["higher_is_better"].n_unique() > 1:
        raise InputError(
            f"evaluations disagree on whether a higher {quality!r} is better",
            column="higher_is_better",
            hint="give the metrics different names",
        )
    return (
        samples.sort("ts", "source_file", "source_row")
        .group_by(*_KEYS, "dataset")
        .last()
        .sort("dataset")
        .group_by(_KEYS, maintain_order=True)
        .agg(
            pl.col("value").mean().alias("quality"),
            pl.when(~pl.col("n").has_nulls()).then(pl.col("n").sum()).alias("quality_n"),
            pl.col("higher_is_better").first(),
            pl.col("dataset").alias("datasets"),
        )
        .with_columns((pl.col("datasets").n_unique().over("model") > 1).alias("sets_differ"))
    )


def _note(metric: str, quality: str) -> pl.Expr:
    billed, called = pl.col("months_billed"), pl.col("months_called")
    findings = [
        (billed.is_null(), pl.lit("not on the bill")),
        (billed.is_not_null() & pl.col("amount").is_null(), pl.lit(f"{metric} unknown for some charges")),
        (called.is_null(), pl.lit("no requests in the period")),
        (pl.col("successes") == 0, pl.lit("no successful call")),
        (
            (billed != called) & (called > 0),
            pl.format("months billed: {}, months called: {}", billed, called),
        ),
        (pl.col("quality").is_null(), pl.lit(f"no evaluation of {quality}")),
        ((pl.col("successes") > 0) & pl.col("p95_ms").is_null(), pl.lit("no latency recorded")),
        (pl.col("sets_differ"), pl.lit("evaluated on other data sets than other variants of the model")),
    ]
    texts = [pl.when(found).then(text) for found, text in findings]
    joined = pl.concat_str(texts, separator="; ", ignore_nulls=True)
    return pl.when(joined != "").then(joined).alias("note")
