"""The variants table: cost from the bill, quality from evaluations, latency from requests."""

from __future__ import annotations

from datetime import UTC, date, datetime

import polars as pl

from finops_lab.calendar import add_months, format_month
from finops_lab.contracts import AMOUNTS
from finops_lab.errors import InputError
from finops_lab.money import MONEY, one_currency
from finops_lab.tradeoffs.front import pareto
from finops_lab.tradeoffs.ratios import quantile_floor

__all__ = ["WINDOW_CALLS", "qualities", "variants"]

# The smallest number of calls whose slowest is above P95 with 95 % confidence: 59.
WINDOW_CALLS = quantile_floor(0.95)
_KEYS = ["model", "variant"]
_FAILED = ("error", "timeout")
# Weights such as 0.1 do not add up exactly; this much of the total decides no percentile.
_SLACK = 1e-12
_SHARES = (("p50_ms", 0.5), ("p95_ms", 0.95), ("p99_ms", 0.99))


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
        ``model``, ``variant``, ``region`` (where all calls were in one), ``BillingCurrency``,
        ``cost_basis`` (`metric`), ``quality_metric`` (`quality`): String. ``amount`` (Decimal);
        ``requests`` (finished calls), ``successes`` (status ``ok``), both weighted by ``n_requests`` x
        ``sample_weight``; ``last_amount`` and ``last_successes``: those of the last month alone;
        ``per_1000_inferences`` (per 1,000 successes); ``per_1m_tokens`` (per million tokens of input
        and output), both of the months that ledger and requests tell of; ``quality`` and ``quality_n``:
        plain mean over the data sets of the newest sample of each before the period's end, and its
        items; ``higher_is_better``; ``p50_ms``, ``p95_ms``, ``p99_ms`` of successes: the smallest
        latency that reaches the share of the weight (inverse CDF); ``worst_p95_ms``: the largest P95 of
        a clock hour (UTC) with at least `WINDOW_CALLS` timed successes, sampling weights not counted;
        ``windows`` (hours with timed successes) and ``windows_judged`` (those with enough; Int64);
        ``throughput_per_s``: successes per second of the busiest hour, which is what the variant
        served, not what it could; ``input_tokens`` (all input buckets) and ``output_tokens`` of the
        finished calls that report them; ``error_rate`` (errors and timeouts per finished call; a
        cancelled call is no error); ``on_front`` over all variants and ``on_model_front`` within the
        model: cost, quality, P95; ``note``: what is unknown and why. Float64 unless said; unknown is
        null, and null figures never reach a front.

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
    ...     "input_uncached_tokens": [10, None], "cache_read_tokens": [5, None], "region": ["eu"] * 2,
    ...     "cache_write_tokens": [None, None], "output_tokens": [3, None], "day": [date(2026, 10, 7)] * 2,
    ...     "ts_start": [datetime(2026, 10, 7, 9, tzinfo=UTC)] * 2})
    >>> evaluations = pl.LazyFrame({"model": ["m"], "variant": ["int8"], "dataset": ["d"],
    ...     "metric": ["accuracy"], "value": [0.9], "n": [1000], "higher_is_better": [True],
    ...     "ts": [datetime(2026, 9, 1, tzinfo=UTC)], "source_file": ["e"], "source_row": [1]})
    >>> table = variants(ledger, requests, evaluations, first=date(2026, 10, 1), last=date(2026, 10, 1))
    >>> table.select("per_1000_inferences", "quality", "worst_p95_ms", "error_rate", "on_front").row(0)
    (2.5, 0.9, 80.0, 0.2, True)
    """
    if first.day != 1 or last.day != 1 or last < first:
        raise InputError(f"{first} to {last} are not first days of months in order")
    if metric not in AMOUNTS:
        raise InputError(f"no cost column {metric!r}", hint=f"known: {', '.join(AMOUNTS)}")
    end = add_months(last, 1)
    monthly, currency = _spend(ledger, format_month(first), format_month(last), metric)
    billed = monthly["month"].unique()
    called, timed, told = _calls(requests.filter(pl.col("day") >= first, pl.col("day") < end), last, billed)
    spend = _billed(monthly, last, metric, told)
    table = (
        spend.join(called, on=_KEYS, how="full", coalesce=True, nulls_equal=True)
        .join(timed, on=_KEYS, how="left", nulls_equal=True)
        .join(_quality(evaluations, quality, end), on=_KEYS, how="left", nulls_equal=True)
        .with_columns(
            pl.lit(currency, dtype=pl.String).alias("BillingCurrency"),
            pl.lit(metric).alias("cost_basis"),
            pl.lit(quality).alias("quality_metric"),
            (_each(pl.col("paid_successes")) * 1000).alias("per_1000_inferences"),
            # A model that writes no tokens, such as an embedding, reports none.
            (_each(pl.col("paid_input_tokens") + pl.col("paid_output_tokens").fill_null(0)) * 1e6).alias(
                "per_1m_tokens"
            ),
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
        *("region", "BillingCurrency", "cost_basis", "amount", "requests", "successes"),
        *("last_amount", "last_successes", "per_1000_inferences", "per_1m_tokens"),
        *("quality_metric", "quality", "quality_n", "higher_is_better"),
        *("p50_ms", "p95_ms", "p99_ms", "worst_p95_ms", "windows", "windows_judged"),
        *("throughput_per_s", "input_tokens", "output_tokens", "error_rate"),
        pareto(table, minimise=low, maximise=high),
        pareto(table, minimise=low, maximise=high, by=["model"]).alias("on_model_front"),
        "note",
    )


def _each(count: pl.Expr) -> pl.Expr:
    """Divide the amount by what it paid for; credits above the charges are no price of anything."""
    return pl.when(count > 0, pl.col("paid") >= 0).then(pl.col("paid").cast(pl.Float64) / count)


def _spend(ledger: pl.LazyFrame, first: str, last: str, metric: str) -> tuple[pl.DataFrame, str | None]:
    month = pl.col("x_ChargeMonth")
    monthly = (
        ledger.filter(month.is_between(pl.lit(first), pl.lit(last)), pl.col("x_model").is_not_null())
        .group_by(
            pl.col("x_model").alias("model"),
            pl.col("x_variant").alias("variant"),
            "BillingCurrency",
            (month + "-01").str.to_date().alias("month"),
        )
        .agg(_whole(pl.col(metric)))
        .collect(engine="streaming")
    )
    return monthly, one_currency(monthly["BillingCurrency"].unique())


def _billed(monthly: pl.DataFrame, last: date, metric: str, told: pl.Series) -> pl.DataFrame:
    """Add months up: ``amount`` all of them, ``paid`` those that the log of requests tells of.

    Money of a month without a log over calls of another one would be no price of anything.
    """
    amount, both = pl.col(metric), pl.col("month").is_in(told.implode())
    return monthly.group_by(_KEYS).agg(
        _whole(amount).alias("amount"),
        pl.when(both.any()).then(_whole(amount.filter(both))).alias("paid"),
        amount.filter(pl.col("month") == last).first().alias("last_amount"),
        pl.len().alias("months_billed"),
    )


def _whole(amount: pl.Expr) -> pl.Expr:
    """Add up; a sum that leaves out charges without an amount would look cheaper than it is."""
    return pl.when(~amount.has_nulls()).then(amount.sum()).cast(MONEY)


def _calls(
    requests: pl.LazyFrame, last: date, billed: pl.Series
) -> tuple[pl.DataFrame, pl.DataFrame, pl.Series]:
    """Count calls and tokens, and take percentiles, per variant; and tell which months the log tells of.

    Counts called ``paid_`` are those of months that the ledger tells of.

    The scan adds up integers only and keeps weights apart; weights come in afterwards, in one order,
    because float sums of the streaming engine differ between runs.
    """
    n, ok = pl.col("n_requests"), pl.col("status") == "ok"
    buckets = ("input_uncached_tokens", "cache_read_tokens", "cache_write_tokens")
    # A cache bucket that the source does not report counts as none, beside one that it reports.
    taken = pl.when(~pl.all_horizontal(pl.col(*buckets).is_null())).then(pl.sum_horizontal(*buckets))
    counts = requests.group_by(
        *_KEYS, "region", "status", "sample_weight", pl.col("day").dt.month_start()
    ).agg(
        n.sum(),
        *[
            pl.when(tokens.count() > 0).then((tokens * n).sum()).alias(name)
            for name, tokens in (("input_tokens", taken), ("output_tokens", pl.col("output_tokens")))
        ],
    )
    latencies = (
        requests.filter(ok, pl.col("sample_weight") > 0)
        .group_by(*_KEYS, "latency_ms", "sample_weight", pl.col("ts_start").dt.truncate("1h").alias("hour"))
        .agg(n.sum())
    )
    counted, timed = pl.collect_all([counts, latencies], engine="streaming")
    mass, finished = n * pl.col("sample_weight"), pl.col("status") != "pending"
    paid = pl.col("day").is_in(billed.implode())
    called = (
        counted.sort(pl.all())
        .group_by(_KEYS, maintain_order=True)
        .agg(
            _total(mass.filter(finished)).fill_null(0.0).alias("requests"),
            _total(mass.filter(ok)).fill_null(0.0).alias("successes"),
            _total(mass.filter(ok, pl.col("day") == last)).fill_null(0.0).alias("last_successes"),
            _total(mass.filter(pl.col("status").is_in(_FAILED))).fill_null(0.0).alias("failures"),
            _total(mass.filter(ok, paid)).fill_null(0.0).alias("paid_successes"),
            *[
                _total((pl.col(name) * pl.col("sample_weight")).filter(finished, counts)).alias(prefix + name)
                for name in ("input_tokens", "output_tokens")
                for prefix, counts in (("", pl.lit(True)), ("paid_", paid))
            ],
            pl.col("day").filter(ok).n_unique().alias("months_called"),
            pl.when(pl.col("region").n_unique() == 1).then(pl.col("region").first()).alias("region"),
        )
    )
    return called, _latency(timed.sort(pl.all())), counted["day"].unique()


def _latency(timed: pl.DataFrame) -> pl.DataFrame:
    """Take percentiles of the whole and of each hour; rows are sorted by latency and weight."""
    n, reached = pl.col("n_requests"), (pl.col("n_requests") * pl.col("sample_weight")).cum_sum()
    percentiles = [
        pl.col("latency_ms").filter(reached >= share * (1 - _SLACK) * reached.last()).first().alias(name)
        for name, share in _SHARES
    ]
    known = timed.filter(pl.col("latency_ms").is_not_null())
    whole = known.group_by(_KEYS, maintain_order=True).agg(*percentiles)
    hours = known.group_by(*_KEYS, "hour", maintain_order=True).agg(percentiles[1], n.sum())
    enough = n >= WINDOW_CALLS
    worst = hours.group_by(_KEYS, maintain_order=True).agg(
        pl.col("p95_ms").filter(enough).max().alias("worst_p95_ms"),
        pl.len().cast(pl.Int64).alias("windows"),
        enough.sum().cast(pl.Int64).alias("windows_judged"),
    )
    served = (
        timed.group_by(*_KEYS, "hour", maintain_order=True)
        .agg(reached.last().alias("mass"))
        .group_by(_KEYS, maintain_order=True)
        .agg((pl.col("mass").max() / 3600).alias("throughput_per_s"))
    )
    parts = (whole, worst)
    for part in parts:
        served = served.join(part, on=_KEYS, how="left", nulls_equal=True)
    return served


def _total(values: pl.Expr) -> pl.Expr:
    """Add floats in the order of the rows; null where nothing is known."""
    return values.drop_nulls().cum_sum().last()


def qualities(evaluations: pl.LazyFrame, before: date) -> pl.DataFrame:
    """Return the newest evaluation of every variant on every data set, one row per metric.

    Parameters
    ----------
    evaluations : polars.LazyFrame
        Rows of the contract `accuracy_samples`.
    before : datetime.date
        Evaluations from this day on do not count.

    Returns
    -------
    polars.DataFrame
        ``model``, ``variant``, ``dataset``, ``metric`` (String), ``quality`` (Float64, in the metric's
        unit), ``n`` (Int64, items), ``higher_is_better`` (Boolean); sorted.

    Raises
    ------
    InputError
        Evaluations that disagree on whether a higher value of a metric is better.

    Examples
    --------
    >>> rows = pl.LazyFrame({"model": ["m"], "variant": ["int8"], "dataset": ["d"], "metric": ["f1"],
    ...     "value": [0.9], "n": [10], "higher_is_better": [True], "ts": [datetime(2026, 9, 1, tzinfo=UTC)],
    ...     "source_file": ["e"], "source_row": [1]})
    >>> qualities(rows, date(2026, 10, 1)).select("metric", "quality").row(0)
    ('f1', 0.9)
    """
    until = datetime(before.year, before.month, before.day, tzinfo=UTC)
    samples = evaluations.filter(pl.col("ts") < until).collect()
    senses = samples.group_by("metric").agg(pl.col("higher_is_better").n_unique()).sort("metric")
    if (senses["higher_is_better"] > 1).any():
        metric = senses.filter(pl.col("higher_is_better") > 1)["metric"][0]
        raise InputError(
            f"evaluations disagree on whether a higher {metric!r} is better",
            column="higher_is_better",
            hint="give the metrics different names",
        )
    return (
        samples.sort("ts", "source_file", "source_row")
        .group_by(*_KEYS, "dataset", "metric")
        .last()
        .select(*_KEYS, "dataset", "metric", pl.col("value").alias("quality"), "n", "higher_is_better")
        .sort(*_KEYS, "metric", "dataset")
    )


def _quality(evaluations: pl.LazyFrame, quality: str, end: date) -> pl.DataFrame:
    names = evaluations.select(pl.col("metric").unique().sort()).collect()["metric"].to_list()
    if names and quality not in names:
        raise InputError(f"no evaluation measures {quality!r}", hint=f"known: {', '.join(names)}")
    return (
        qualities(evaluations.filter(pl.col("metric") == quality), end)
        .group_by(_KEYS, maintain_order=True)
        .agg(
            pl.col("quality").mean(),
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
        (pl.col("amount") < 0, pl.lit("credits above the charges")),
        (called.is_null(), pl.lit("no requests in the period")),
        (pl.col("successes") == 0, pl.lit("no successful call")),
        (
            (billed != called) & (called > 0),
            pl.format("months billed: {}, months called: {}", billed, called),
        ),
        (
            pl.col("paid").ne_missing(pl.col("amount")) & pl.col("amount").is_not_null() & (called > 0),
            pl.lit("unit costs are of the months that bill and requests both tell of"),
        ),
        (pl.col("quality").is_null(), pl.lit(f"no evaluation of {quality}")),
        ((pl.col("successes") > 0) & pl.col("p95_ms").is_null(), pl.lit("no latency recorded")),
        (pl.col("sets_differ"), pl.lit("evaluated on other data sets than other variants of the model")),
    ]
    texts = [pl.when(found).then(text) for found, text in findings]
    joined = pl.concat_str(texts, separator="; ", ignore_nulls=True)
    return pl.when(joined != "").then(joined).alias("note")
