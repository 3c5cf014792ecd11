"""Exact pricing of requests as of their moment, in whole units of 1e-24 USD."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from finops_lab.contracts import dtypes
from finops_lab.errors import InputError
from finops_lab.money import MONEY
from finops_lab.pricing.cards import MAX_RATE, index
from finops_lab.pricing.rates import BUCKETS, OTHER_MISSING, Group, Layout, Rates

__all__ = ["price", "unpriced"]

NO_USAGE = "no usage counted"
OUT_OF_RANGE = "counts out of range"

_TOKENS = (
    "input_uncached_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "output_tokens",
    "reasoning_tokens",
)
_NAMES = ("provider", "model", "response_model", "hosting", "service_tier", "other_unit")
_READ = (*_NAMES, "ts_start", "n_requests", "served_from_cache", "other_units", *_TOKENS)
_PRICED: dict[str, pl.DataType | type[pl.DataType]] = {
    "cost_computed_usd": MONEY,
    "price_origin": pl.String,
    "price_valid_from": pl.Datetime("us", "UTC"),
    "price_context": pl.String,
    "unpriced_reason": pl.String,
}
_TOLD = ("price_origin", "price_valid_from", "price_context")
# What is multiplied by what; the parts of a bucket carry the difference to the bucket's rate.
_CHARGED = (
    ("input_uncached_tokens", "input"),
    ("cache_read_tokens", "read"),
    ("cache_write_tokens", "write"),
    ("cache_write_1h_tokens", "write_1h"),
    ("output_tokens", "output"),
    ("reasoning_tokens", "reasoning"),
    ("n_requests", "calls"),
    ("units", "other"),
)
_STANDARD = ("standard", "default", "auto", "on_demand", "standard_only")

# Counts and rates are bounded, so that no sum of the eight products leaves 128 bits or the 20 digits
# that money has before its point: six counts of tokens, calls and other units, at 1e7 USD a unit
# of the book, which holds a million tokens and no less than a thousand calls.
_MAX_COUNT = 10**12
_MAX_CALLS = 10**9
assert (6 * _MAX_COUNT + 2 * 1_000 * _MAX_CALLS) * MAX_RATE * 10**18 < 2**127
assert 8 * _MAX_COUNT * MAX_RATE // 10**6 < 10**20
_STEP = 10**6


def price(requests: pl.LazyFrame, book: pl.LazyFrame) -> pl.LazyFrame:
    """Price requests with the prices that held when each began.

    The cost of a row is the sum over its exclusive buckets of tokens x rate / 1,000,000: input not
    cached, read from cache, written to cache (the part kept an hour at its own rate), output (the
    part spent on reasoning at its own rate, where it has one), plus ``n_requests`` and
    ``other_units`` (searches, storage searches, pages, characters) where the book prices them. It
    is summed in integers and rounded once, half to even, to 18 decimals.

    Rules, those of genai-prices where it has one:

    - The price is the one in force at ``ts_start`` (UTC), of the model served
      (``response_model``) if the book knows it, else of ``model``; see `price_book` on which row of
      the book wins. A row with ``hosting`` ``self_hosted`` takes prices of origin user and billing
      only.
    - Tokens without a price of their own cost what the wider unit costs: a cache read or write the
      input price, an hour's cache write that of a write, reasoning that of output.
    - A tier is chosen by the whole input of a call, cached tokens included, when it is *above* the
      tier's start, and holds for all tokens. Rows of many calls are judged by their average call.
    - ``service_tier`` names the context. Where the book has no price of it, the standard price is
      taken, unit by unit: ``price_context`` says which was used.
    - A row that a gateway answered from its own cache (``served_from_cache``) costs 0.
    - A bucket that is null counts nothing, but a row without input or output tokens is priced only
      if it counts `other_units`, or the model has no price for them (embeddings have no output).
    - Requests do not tell audio and image tokens apart: they cost what text does. Images, seconds
      and what else `other_units` may count are unpriced.
    - Costs are of the rows given: ``sample_weight`` is not applied.

    Parameters
    ----------
    requests : polars.LazyFrame
        ``inference_requests``. Rows and their order stay as they are.
    book : polars.LazyFrame
        ``prices``, such as from `price_book`. It is read at once.

    Returns
    -------
    polars.LazyFrame
        The requests with ``cost_computed_usd`` (``Decimal(38, 18)``; null where unknown, never 0),
        ``price_origin`` (of all prices of the model then, such as ``user, genai_prices``),
        ``price_valid_from`` (the latest start among them; null if they hold since ever),
        ``price_context`` and ``unpriced_reason`` (null for a priced row).

    Raises
    ------
    InputError
        When a column is missing, or the book contradicts itself.
    """
    _columns(requests, _READ, "requests")
    _columns(book, tuple(dtypes("prices")), "prices")
    rates = Rates(index(book.select(list(dtypes("prices"))).collect()))

    def batch(columns: Sequence[pl.Series]) -> pl.Series:
        frame = pl.DataFrame(dict(zip(_READ, columns, strict=True)))
        return _price(frame, rates).to_struct("priced")

    dtype = pl.Struct(_PRICED)
    priced = pl.map_batches(list(_READ), batch, return_dtype=dtype, is_elementwise=True)
    return requests.drop(*_PRICED, strict=False).with_columns(priced.alias("__priced")).unnest("__priced")


def _columns(frame: pl.LazyFrame, wanted: Sequence[str], table: str) -> None:
    missing = sorted(set(wanted) - set(frame.collect_schema().names()))
    if missing:
        raise InputError(
            f"{table} lack the columns {', '.join(missing)}", hint="see the contract of the table"
        )


def _price(frame: pl.DataFrame, rates: Rates) -> pl.DataFrame:
    frame, layout = _grouped(frame, rates)
    calls = pl.col("n_requests")
    whole = pl.col("input_uncached_tokens") + pl.col("cache_read_tokens") + pl.col("cache_write_tokens")
    # The average call is above a size if the sum is above as many sizes as there are calls.
    size = pl.when(calls > 1).then((whole - 1) // calls + 1).otherwise(whole)
    moment = pl.col("ts_start").cast(pl.Datetime("us", "UTC")).dt.epoch("us").fill_null(0)
    frame = frame.with_columns(_counts())
    keys = frame.select("group", moment=moment, size=size)
    card = layout.find(keys["group"], keys["moment"], keys["size"])
    frame = frame.hstack(layout.cards.select(pl.all().gather(card)))
    total = pl.lit(0, dtype=pl.Int128)
    for count, rate in _CHARGED:
        # Most columns of rates are all zero: nothing pays for reasoning apart, or for calls.
        if (layout.cards[rate] != 0).any():
            total += pl.col(count).cast(pl.Int128) * pl.col(rate)
    frame = frame.select("served_from_cache", *_TOLD, unpriced_reason=_reason(), total=total)
    served, reason = pl.col("served_from_cache").fill_null(False), pl.col("unpriced_reason")
    exact = (
        pl.when(served)
        .then(pl.lit(0, dtype=pl.Int128))
        .when(reason.is_null())
        .then(_rounded(pl.col("total")))
    )
    told = [pl.when(~served & reason.is_null()).then(pl.col(name)).alias(name) for name in _TOLD]
    return frame.select(exact.reinterpret(dtype=MONEY).alias("cost_computed_usd"), *told, reason)


def _grouped(frame: pl.DataFrame, rates: Rates) -> tuple[pl.DataFrame, Layout]:
    """Give each row the number of what decides its prices."""
    names = frame.select(_NAMES).unique()
    groups = [
        Group(provider, model, response, hosting == "self_hosted", _context(tier), other)
        for provider, model, response, hosting, tier, other in names.iter_rows()
    ]
    numbers, layout = rates.layout(groups)
    names = names.with_columns(pl.Series("group", numbers, dtype=pl.Int64))
    return frame.join(names, on=_NAMES, how="left", nulls_equal=True, maintain_order="left"), layout


def _context(tier: str | None) -> str:
    said = (tier or "").strip().lower()
    return "standard" if not said or said in _STANDARD else said


def _counts() -> list[pl.Expr]:
    """Return the counts without nulls, and what was null or wrong about them."""
    tokens = {name: pl.col(name).cast(pl.Int64) for name in _TOKENS}
    hour, output = tokens["cache_write_1h_tokens"], tokens["output_tokens"]
    write = pl.coalesce(tokens["cache_write_tokens"], hour)
    other, calls = pl.col("other_units"), pl.col("n_requests").fill_null(1)
    wrong = [(count < 0) | (count > _MAX_COUNT) for count in tokens.values()]
    wrong += [
        hour > write,
        tokens["reasoning_tokens"] > output.fill_null(0),
        (calls < 1) | (calls > _MAX_CALLS),
    ]
    wrong += [(other < 0) | (other > _MAX_CALLS) | (other != other.floor())]
    return [
        *(tokens[name].fill_null(0) for name in _TOKENS if name != "cache_write_tokens"),
        write.fill_null(0).alias("cache_write_tokens"),
        calls.alias("n_requests"),
        other.cast(pl.Int64, strict=False).fill_null(0).alias("units"),
        (tokens["input_uncached_tokens"].is_null() & other.is_null()).alias("no_input"),
        (output.is_null() & other.is_null()).alias("no_output"),
        pl.all_horizontal(count.is_null() for count in (*tokens.values(), other)).alias("no_usage"),
        pl.any_horizontal(check.fill_null(False) for check in wrong).alias("wrong"),
    ]


def _reason() -> pl.Expr:
    hour = pl.col("cache_write_1h_tokens")
    checks = [
        (pl.col("served_from_cache"), pl.lit(None, dtype=pl.String)),
        (pl.col("unknown").is_not_null(), pl.col("unknown")),
        (pl.col("ts_start").is_null(), pl.lit("ts_start unknown")),
        (pl.col("wrong"), pl.lit(OUT_OF_RANGE)),
        (pl.col("no_usage"), pl.lit(NO_USAGE)),
        (pl.col("no_input") & (pl.col("input") != 0), pl.lit("input_uncached_tokens unknown")),
        (pl.col("no_output") & (pl.col("output") != 0), pl.lit("output_tokens unknown")),
    ]
    charged = [
        pl.col("input_uncached_tokens"),
        pl.col("cache_read_tokens"),
        pl.col("cache_write_tokens") - hour,
    ]
    charged += [hour, pl.col("output_tokens")]
    for bit, count in enumerate(charged):
        checks.append(((count > 0) & _bit(1 << bit), pl.lit(f"no price for {BUCKETS[bit][0]}")))
    named = pl.format("no price for {}", pl.col("other_unit").fill_null("other units"))
    checks.append(((pl.col("units") > 0) & _bit(OTHER_MISSING), named))
    return pl.coalesce(pl.when(check).then(said) for check, said in checks[1:]).pipe(
        lambda found: pl.when(checks[0][0].fill_null(False)).then(checks[0][1]).otherwise(found)
    )


def _bit(mask: int) -> pl.Expr:
    return (pl.col("missing") & mask) != 0


def _rounded(total: pl.Expr) -> pl.Expr:
    """Turn 1e-24 USD into 1e-18 USD, half to even."""
    step, half = pl.lit(_STEP, dtype=pl.Int128), pl.lit(_STEP // 2, dtype=pl.Int128)
    whole, rest = total // step, total % step
    odd = whole % pl.lit(2, dtype=pl.Int128) == 1
    return whole + ((rest > half) | ((rest == half) & odd)).cast(pl.Int128)


def unpriced(priced: pl.LazyFrame) -> pl.DataFrame:
    """List what has no cost, and how much of it there is.

    Parameters
    ----------
    priced : polars.LazyFrame
        The result of `price`.

    Returns
    -------
    polars.DataFrame
        Per ``provider``, ``model``, ``service_tier`` and ``unpriced_reason``: ``requests`` and
        ``tokens`` (all buckets; unknown ones count nothing), the most tokens first. Rows, not
        weighted by ``sample_weight``.
    """
    keys = ["provider", "model", "service_tier", "unpriced_reason"]
    buckets = [
        pl.col(n).cast(pl.Int64).fill_null(0)
        for n in _TOKENS
        if n not in ("cache_write_1h_tokens", "reasoning_tokens")
    ]
    return (
        priced.filter(pl.col("unpriced_reason").is_not_null())
        .group_by(keys)
        .agg(
            pl.col("n_requests").cast(pl.Int64).sum().alias("requests"),
            pl.sum_horizontal(buckets).sum().alias("tokens"),
        )
        .sort("tokens", "requests", *keys, descending=[True, True, *[False] * len(keys)], nulls_last=True)
        .collect()
    )
