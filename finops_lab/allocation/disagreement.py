"""Rule disagreement: one pool split by several rules, and what the choice of a rule costs whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from finops_lab import contracts
from finops_lab.allocation.pooling import UNALLOCATED
from finops_lab.allocation.splitting import split_amounts
from finops_lab.allocation.usage import MEASURES, counting, hourly, measures
from finops_lab.config import Measure, TokenWeights
from finops_lab.errors import InputError, ReconciliationError
from finops_lab.money import MONEY

__all__ = ["RULES", "Disagreement", "disagreement"]

RULES: tuple[Measure, ...] = (
    "tokens",
    "weighted_tokens",
    "requests",
    "engine_seconds",
    "gpu_seconds",
    "even",
)
_WEIGHTED: Measure = "weighted_tokens"
_MOST = 2**63 - 1
_NOUNS = {"requests": "requests", "engine_seconds": "engine time", "gpu_seconds": "GPU time"}
_POOL = ["pool", "BillingCurrency"]
_NO_WEIGHTS = pl.DataFrame(
    schema={"pool": pl.String, "consumer": pl.String, "rule": pl.String, "weight": pl.Int128}
)
_Named = dict[str, tuple[Measure, TokenWeights]]


@dataclass(frozen=True)
class Disagreement:
    """The same pools split by several rules, side by side.

    Attributes
    ----------
    shares : polars.DataFrame
        Per ``pool``, ``BillingCurrency``, ``rule`` and ``consumer``: ``weight`` (Int64, what the rule
        counted: thousandths of requests or tokens, scaled where weights of tokens are decimals;
        microseconds; or 1 each), ``share`` (Float64) and ``amount`` (Decimal). The amounts of a pool
        and rule add up to the pool. Where a rule cannot be computed all three are null and
        ``reason`` says why; ``consumer`` is null for a pool that nobody used.
    range : polars.DataFrame
        Per ``pool``, ``BillingCurrency`` and ``consumer``: ``lowest`` and ``highest`` amount of any
        rule, ``spread`` between them, ``spread_share`` of the pool (Float64; null of a pool of 0),
        ``cheapest`` and ``dearest`` rule (of equals, the one named first).
    moves : polars.DataFrame
        Per ``pool``, ``BillingCurrency`` and pair ``rule_a``, ``rule_b``: ``moved``, the money that
        changes hands when b replaces a (the sum of what some pay more, which others pay less);
        ``pays_more`` by ``more`` and ``pays_less`` by ``less``, the consumers whose bill changes most
        (of equals, the first by name). Null where either rule cannot be computed.
    measured : polars.DataFrame
        Per ``pool`` and ``rule``: ``rows`` of usage, and ``unmeasured_rows`` among them that lack
        what the rule counts. These weigh nothing, so consumers with many of them pay too little.
    without_pool : polars.DataFrame
        ``pool`` (null where a row names none) and ``rows`` of usage that no pool's amount pays for.
    """

    shares: pl.DataFrame
    range: pl.DataFrame
    moves: pl.DataFrame
    measured: pl.DataFrame
    without_pool: pl.DataFrame

    def __repr__(self) -> str:
        pools, rules = self.shares["pool"].n_unique(), self.shares["rule"].n_unique()
        return f"Disagreement({pools} pools by {rules} rules; .shares .range .moves .measured .without_pool)"


def disagreement(
    usage: pl.LazyFrame,
    pools: pl.LazyFrame,
    *,
    rules: Sequence[Measure | TokenWeights] = RULES,
    consumer: str = "team",
    pool: str = "pool_id",
    gpu_samples: pl.LazyFrame | None = None,
) -> Disagreement:
    """Split the same pools by several rules and compare what each consumer would pay.

    Parameters
    ----------
    usage : polars.LazyFrame
        Rows of `inference_requests`, or of anything with `pool`, `consumer` and some of its columns
        of counts and durations; columns that are absent are unknown, ``n_requests`` and
        ``sample_weight`` are 1. Every row counts, failed calls too: filter before where they should
        not. A null consumer is ``unallocated``.
    pools : polars.LazyFrame
        The pool's key, ``BillingCurrency`` and ``amount`` (Decimal): one row per pool and currency.
    rules : sequence of str or TokenWeights
        ``tokens`` (all alike), ``weighted_tokens`` (1 per uncached input token, 0.1 per cached one, 4
        per output token), `TokenWeights` for others, ``requests``, ``engine_seconds`` (prefill and
        decode time where measured, latency otherwise), ``gpu_seconds`` (busy time of `gpu_samples`)
        and ``even`` (each consumer that used the pool alike, ``unallocated`` too).
    consumer, pool : str
        Columns of usage: who used it, and which pool it used.
    gpu_samples : polars.LazyFrame, optional
        Rows of `gpu_samples` with the same two columns, for ``gpu_seconds``.

    Returns
    -------
    Disagreement
        Sorted by pool, currency, rule in the order given, and consumer.

    Raises
    ------
    InputError
        A column is missing, a rule is given twice or unknown, an amount is no Decimal or null, a pool
        stands twice, or counts or weights add up beyond 2^63.
    ReconciliationError
        When the parts of a pool do not add up to it: a defect, never a fault of the data.

    Notes
    -----
    Counts are those of the usage split (`finops_lab.allocation.usage`): whole numbers, each row rounded
    by itself, so that the order of rows does not matter. Amounts are split by largest remainder.

    Examples
    --------
    >>> from decimal import Decimal
    >>> calls = pl.LazyFrame({"pool_id": ["gpu"] * 2, "team": ["chat", "code"],
    ...     "input_uncached_tokens": [100, 300], "output_tokens": [300, 100]})
    >>> pools = pl.LazyFrame({"pool_id": ["gpu"], "BillingCurrency": ["USD"], "amount": [Decimal(10)]})
    >>> found = disagreement(calls, pools, rules=["requests", TokenWeights(output=3)])
    >>> found.moves.select("rule_a", "rule_b", pl.col("moved").cast(pl.Float64), "pays_more", "pays_less").rows()
    [('requests', 'tokens 1:0.1:3', 1.25, 'chat', 'code')]
    """
    named = _named(rules)
    paid = _paid(pools, pool)
    by_gpu = {name: rule for name, rule in named.items() if rule[0] == "gpu_seconds"}
    by_call = {name: rule for name, rule in named.items() if rule[0] != "gpu_seconds"}
    found = [_counted(usage, by_call, pool, consumer)]
    if by_gpu and gpu_samples is not None:
        found.append(_counted(gpu_samples, by_gpu, pool, consumer, gpu=True))
    users, weights, seen = (pl.concat(frames) for frames in zip(*found, strict=True))
    table = _table(paid, users.unique(), weights, seen, named)
    shares = _shares(table)
    rows = seen.filter(pl.col("rule").is_null()).group_by("pool").agg(pl.col("rows").sum())
    return Disagreement(
        shares=shares.drop("place", "whole"),
        range=_range(shares),
        moves=_moves(shares),
        measured=_measured(table),
        without_pool=rows.join(paid, on="pool", how="anti").sort("pool", nulls_last=True),
    )


def _named(rules: Sequence[Measure | TokenWeights]) -> _Named:
    named: _Named = {}
    for rule in rules:
        if isinstance(rule, TokenWeights):
            parts = [format(w.normalize(), "f") for w in (rule.input, rule.cached_input, rule.output)]
            if not any(rule.model_dump().values()):
                raise InputError("a rule that weighs every token 0 cannot split a pool")
            name, kind, weights = f"tokens {':'.join(parts)}", _WEIGHTED, rule
        elif rule in RULES:
            name, kind, weights = rule, rule, TokenWeights()
        else:
            raise InputError(f"there is no rule {rule!r}", hint=f"rules: {', '.join(RULES)}, or TokenWeights")
        if name in named:
            raise InputError(f"the rule {name} is given twice")
        named[name] = (kind, weights)
    if not named:
        raise InputError("there is no rule to split by")
    return named


def _paid(pools: pl.LazyFrame, pool: str) -> pl.DataFrame:
    schema = pools.collect_schema()
    for name in (pool, "BillingCurrency", "amount"):
        if name not in schema:
            raise InputError(f"the pools have no column {name!r}", column=name)
    if not isinstance(schema["amount"], pl.Decimal):
        raise InputError(f"is {schema['amount']}, but money is Decimal", column="amount")
    paid = pools.select(
        pl.col(pool).cast(pl.String).alias("pool"), "BillingCurrency", pl.col("amount").cast(MONEY)
    ).collect()
    for name in paid.columns:
        if paid[name].null_count():
            raise InputError("a pool's key, currency or amount is unknown", column=name)
    if paid.select(_POOL).is_duplicated().any():
        raise InputError("a pool stands twice in one currency", column=pool, hint="add up its amounts first")
    return paid


def _counted(
    rows: pl.LazyFrame, named: _Named, pool: str, consumer: str, *, gpu: bool = False
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Return who used which pool, how much by each rule, and how many rows tell nothing of it."""
    contract = contracts.dtypes("gpu_samples" if gpu else "inference_requests")
    have = rows.collect_schema().names()
    for name in (pool, consumer):
        if name not in have:
            raise InputError(f"the usage has no column {name!r}", column=name)
    ones = {"n_requests": 1, "sample_weight": 1.0}
    whole = rows.with_columns(
        *[pl.lit(ones.get(n)).cast(t).alias(n) for n, t in contract.items() if n not in have],
        pl.col(pool).cast(pl.String).alias("pool"),
        pl.col(consumer).cast(pl.String).fill_null(UNALLOCATED).alias("consumer"),
        pl.lit(datetime(2000, 1, 1, tzinfo=UTC)).alias("_all"),
    )
    # The counts of the usage split, all in one hour: both rooms count alike.
    with counting(None if gpu else whole):
        use, told = pl.collect_all(
            [
                hourly(whole, ["pool", "consumer"], gpu=gpu, moment="_all").drop("hour"),
                whole.group_by("pool").agg(
                    pl.len().cast(pl.Int64).alias("rows"),
                    *[_untold(*rule).cast(pl.Int64).sum().alias(name) for name, rule in named.items()],
                ),
            ],
            engine="streaming",
        )
    # In 128 bits, since a count times what a token weighs may leave 64.
    wide = use.with_columns(pl.col(MEASURES).cast(pl.Int128))
    weights = [
        wide.select("pool", "consumer", rule=pl.lit(name), weight=measures(*rule).cast(pl.Int128))
        for name, rule in named.items()
    ]
    seen = [
        told.select("pool", "rows", rule=pl.lit(name, pl.String), unmeasured_rows=pl.col(name or "rows"))
        for name in (None, *named)
    ]
    return use.select("pool", "consumer"), pl.concat([_NO_WEIGHTS, *weights]), pl.concat(seen)


def _untold(kind: Measure, weights: TokenWeights) -> pl.Expr:
    """Tell which rows lack all that a rule counts."""
    buckets = {
        "input_uncached_tokens": weights.input,
        "cache_write_tokens": weights.input,
        "cache_read_tokens": weights.cached_input,
        "output_tokens": weights.output,
    }
    columns = {
        "tokens": list(buckets),
        "weighted_tokens": [name for name, weight in buckets.items() if weight],
        "requests": ["n_requests"],
        "engine_seconds": ["prefill_ms", "decode_ms", "latency_ms"],
        "gpu_seconds": ["util"],
    }
    return pl.lit(False) if kind == "even" else pl.all_horizontal(pl.col(columns[kind]).is_null())


def _table(
    paid: pl.DataFrame, users: pl.DataFrame, weights: pl.DataFrame, seen: pl.DataFrame, named: _Named
) -> pl.DataFrame:
    """Return every pool by every rule and consumer, with its weight or the reason why there is none."""
    rules = pl.DataFrame(
        {
            "rule": list(named),
            "place": range(len(named)),
            "noun": [_NOUNS.get(kind, "tokens") for kind, _ in named.values()],
        }
    )
    counted = pl.col("rows") - pl.col("unmeasured_rows")
    table = (
        paid.join(users, on="pool", how="left")
        .join(rules, how="cross")
        .join(weights, on=["pool", "consumer", "rule"], how="left")
        .join(seen, on=["pool", "rule"], how="left")
        .with_columns(
            pl.col("rows", "unmeasured_rows").fill_null(0),
            pl.when(pl.col("rule") == "even")
            .then(1)
            .otherwise(pl.col("weight").fill_null(0))
            .alias("weight"),
        )
        .with_columns(pl.col("weight").sum().over([*_POOL, "rule"]).alias("whole"))
    )
    if table.filter(pl.col("whole") > _MOST).height:
        raise InputError("the weights of one pool add up beyond 2^63", hint="compare a shorter period")
    if table.filter(pl.col("weight") < 0).height:
        raise InputError("a consumer's use of a pool is negative")
    reason = (
        pl.when(pl.col("consumer").is_null())
        .then(pl.lit("nobody used the pool"))
        .when(pl.col("rule") == "even")
        .then(pl.lit(None, pl.String))
        .when(counted <= 0)
        .then(pl.format("no {} measured", "noun"))
        .when(pl.col("whole") == 0)
        .then(pl.format("the {} counted are 0", "noun"))
    )
    return table.with_columns(pl.col("weight", "whole").cast(pl.Int64), reason.alias("reason"))


def _shares(table: pl.DataFrame) -> pl.DataFrame:
    """Split each pool by each rule that can be computed, and prove that nothing was lost."""
    can = table.filter(pl.col("reason").is_null())
    parts = split_amounts(can.lazy(), [*_POOL, "rule"], order=["consumer"], amounts=["amount"]).collect()
    whole = can.group_by(*_POOL, "rule").agg(pl.col("amount").first())
    again = parts.group_by(*_POOL, "rule").agg(pl.col("amount").sum().alias("sum"))
    lost = whole.join(again, on=[*_POOL, "rule"], how="full").filter(
        pl.col("amount").ne_missing(pl.col("sum"))
    )
    if lost.height:
        raise ReconciliationError(f"the parts of {lost.height} pools do not add up to them")
    nothing = [pl.lit(None).cast(table.schema[name]).alias(name) for name in ("weight", "whole", "amount")]
    cannot = table.filter(pl.col("reason").is_not_null()).with_columns(nothing)
    share = pl.col("weight").cast(pl.Float64) / pl.col("whole").cast(pl.Float64)
    return (
        pl.concat([parts.select(table.columns), cannot])
        .sort(*_POOL, "place", "consumer", nulls_last=True)
        .select(
            *_POOL, "place", "rule", "consumer", "weight", "whole", share.alias("share"), "amount", "reason"
        )
    )


def _range(shares: pl.DataFrame) -> pl.DataFrame:
    amount, key = pl.col("amount"), [*_POOL, "consumer"]
    computed = shares.filter(amount.is_not_null())
    size = computed.group_by(*_POOL, "rule").agg(amount.sum().abs().alias("size")).drop("rule").unique()
    found = computed.sort("place").group_by(key, maintain_order=True).agg(
        amount.min().alias("lowest"),
        amount.max().alias("highest"),
        pl.col("rule").filter(amount == amount.min()).first().alias("cheapest"),
        pl.col("rule").filter(amount == amount.max()).first().alias("dearest"),
    )  # fmt: skip
    spread = (pl.col("highest") - pl.col("lowest")).cast(MONEY)
    return (
        shares.select(key)
        .unique()
        .join(found, on=key, how="left")
        .join(size, on=_POOL, how="left")
        .with_columns(spread.alias("spread"))
        .with_columns(
            pl.when(pl.col("size") > 0)
            .then(pl.col("spread").cast(pl.Float64) / pl.col("size").cast(pl.Float64))
            .alias("spread_share")
        )
        .select(*key, "lowest", "highest", "spread", "spread_share", "cheapest", "dearest")
        .sort(key, nulls_last=True)
    )


def _moves(shares: pl.DataFrame) -> pl.DataFrame:
    names = ("place", "rule", "amount")
    one = shares.select(*_POOL, "consumer", *[pl.col(name).alias(f"{name}_a") for name in names])
    other = shares.select(*_POOL, "consumer", *[pl.col(name).alias(f"{name}_b") for name in names])
    key = [*_POOL, "place_a", "place_b", "rule_a", "rule_b"]
    change, zero = pl.col("change"), pl.lit(0).cast(MONEY)
    up, down = change == change.max(), change == change.min()
    known, some = change.null_count() == 0, change.max() > 0
    return (
        one.join(other, on=[*_POOL, "consumer"], nulls_equal=True)
        .filter(pl.col("place_a") < pl.col("place_b"))
        .with_columns((pl.col("amount_b") - pl.col("amount_a")).cast(MONEY).alias("change"))
        .sort("consumer")
        .group_by(key, maintain_order=True)
        .agg(
            pl.when(known).then(change.filter(change > zero).sum()).alias("moved"),
            pl.when(known & some).then(pl.col("consumer").filter(up).first()).alias("pays_more"),
            pl.when(known & some).then(change.max()).alias("more"),
            pl.when(known & some).then(pl.col("consumer").filter(down).first()).alias("pays_less"),
            pl.when(known & some).then(-change.min()).alias("less"),
        )
        .sort(key)
        .drop("place_a", "place_b")
    )


def _measured(table: pl.DataFrame) -> pl.DataFrame:
    return (
        table.select("pool", "place", "rule", "rows", "unmeasured_rows")
        .unique()
        .sort("pool", "place")
        .drop("place")
    )
