"""What telemetry says was used, at three prices of the book: naive, with cache rates, with tiers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction
from typing import NamedTuple

import polars as pl

from finops_lab.contracts import dtypes
from finops_lab.errors import InputError
from finops_lab.pricing.cards import index
from finops_lab.pricing.names import match
from finops_lab.pricing.rates import Group, Layout, Rates
from finops_lab.reconciliation._names import called, model_key, provider_key, tier_key

__all__ = ["BUCKETS", "Asked", "Bucket", "Part", "Rated", "Seen", "Usage", "around", "countable", "seen"]


class Bucket(NamedTuple):
    """A direction of tokens: its count, the part of it that is priced apart, and both rates' columns."""

    direction: str
    cache: str | None
    tokens: str
    part: str | None
    rate: str
    part_rate: str | None
    missing: int


# The last number is the bit of `missing` in a card of rates.
BUCKETS = (
    Bucket("Input", None, "input_uncached_tokens", None, "input", None, 1),
    Bucket("Input", "Read", "cache_read_tokens", None, "read", None, 2),
    Bucket("Input", "Write", "cache_write_tokens", "cache_write_1h_tokens", "write", "write_1h", 4),
    Bucket("Output", None, "output_tokens", "reasoning_tokens", "output", "reasoning", 16),
)
_COUNTS = tuple(name for bucket in BUCKETS for name in (bucket.tokens, bucket.part) if name)
_NAMES = ("provider", "model", "response_model", "service_tier")
_READ = (
    *_NAMES,
    *_COUNTS,
    "ts_start",
    "n_requests",
    "hosting",
    "served_from_cache",
    "status",
    "is_retry",
    "day",
)
_MOST = 10**12  # tokens of a row, as in pricing
_UNIT = 10**24  # rates are in 1e-24 USD a token


class Seen(NamedTuple):
    """Where tokens of telemetry belong."""

    provider: str
    model: str
    day: date
    direction: str
    cache: str | None
    tier: str


class Part(NamedTuple):
    """Tokens that one set of prices holds for. Amounts are USD at the book's prices.

    ``naive`` prices every token at the standard price of its direction, ``cached`` at the standard
    price of its bucket, ``tiered`` at that of its bucket and service tier. Without a price
    (`priced` false) they are 0.
    """

    tokens: int
    raw: int
    naive: Fraction
    cached: Fraction
    tiered: Fraction
    priced: bool
    failed: bool
    sampled: bool
    variance: Fraction


class Asked(NamedTuple):
    """A price to look up for a charge of the bill: names, tier, bucket, begin of its day."""

    provider: str
    model: str
    tier: str
    direction: str
    cache: str | None
    day: date


@dataclass(frozen=True)
class Usage:
    """Tokens of telemetry, the names that they go by there, and the models whose tiers it knows.

    ``wrong`` counts the calls of each day that are left out, as their counts are out of range.
    """

    parts: dict[Seen, list[Part]]
    names: dict[tuple[str, str], list[tuple[str | None, str]]]
    tiered: frozenset[tuple[str, str]]
    wrong: dict[date, int]


class Rated:
    """The book, laid out to be asked for rates."""

    def __init__(self, book: pl.LazyFrame) -> None:
        missing = sorted(set(dtypes("prices")) - set(book.collect_schema().names()))
        if missing:
            raise InputError(f"prices lack the columns {', '.join(missing)}", hint="see finops_lab.pricing")
        table = book.select(list(dtypes("prices"))).collect()
        self.rates = Rates(index(table))
        self._sellers: dict[str, set[str]] = {}
        for name in table["provider"].drop_nulls().unique():
            self._sellers.setdefault(provider_key(name), set()).add(name)

    def ask(
        self, asked: Iterable[Asked], names: dict[tuple[str, str], list[tuple[str | None, str]]]
    ) -> dict[Asked, Fraction | None]:
        """Return the USD a token costs by the book; None where it has no price."""
        wanted = list(dict.fromkeys(asked))
        groups = [Group(*self._named(one, names), None, False, one.tier, None) for one in wanted]
        if not wanted:
            return {}
        numbers, layout = self.rates.layout(groups)
        starts = pl.Series([one.day for one in wanted], dtype=pl.Date).cast(pl.Datetime("us"))
        cards = layout.find(
            pl.Series(numbers, dtype=pl.Int64),
            starts.to_physical(),
            pl.Series([1] * len(wanted), dtype=pl.Int64),
        )
        known = _cards(layout)
        return {one: _bucket_rate(known[card], one) for one, card in zip(wanted, cards, strict=True)}

    def ever(
        self, asked: Iterable[Asked], names: dict[tuple[str, str], list[tuple[str | None, str]]]
    ) -> dict[Asked, frozenset[Fraction]]:
        """Return all that a token ever cost by the book, in its tier or the standard one."""
        wanted = list(dict.fromkeys(asked))
        if not wanted:
            return {}
        groups = [
            Group(*self._named(one, names), None, False, tier, None)
            for one in wanted
            for tier in (one.tier, "standard")
        ]
        numbers, layout = self.rates.layout(groups)
        known, times = _cards(layout), layout.moments.len()
        found: dict[Asked, frozenset[Fraction]] = {}
        for one, pair in zip(wanted, zip(numbers[::2], numbers[1::2], strict=True), strict=True):
            group = pl.Series([number for number in pair for _ in range(times)], dtype=pl.Int64)
            size = pl.Series([1], dtype=pl.Int64).new_from_index(0, 2 * times)
            cards = layout.find(group, pl.concat([layout.moments, layout.moments]), size).unique()
            rates = (_bucket_rate(known[card], one) for card in cards)
            found[one] = frozenset(rate for rate in rates if rate is not None)
        return found

    def _named(
        self, one: Asked, names: dict[tuple[str, str], list[tuple[str | None, str]]]
    ) -> tuple[str | None, str]:
        told = names.get((one.provider, model_key(one.provider, one.model)))
        if told:
            return told[0]
        # A bill's own name of a provider need not be the book's.
        return min(self._sellers.get(one.provider, {one.provider})), one.model


def _bucket_rate(card: dict[str, int], one: Asked) -> Fraction | None:
    bucket = next(b for b in BUCKETS if (b.direction, b.cache) == (one.direction, one.cache))
    return None if card["missing"] & bucket.missing else Fraction(card[bucket.rate], _UNIT)


def _cards(layout: Layout) -> list[dict[str, int]]:
    names = {name for bucket in BUCKETS for name in (bucket.rate, bucket.part_rate) if name}
    return layout.cards.select(*sorted(names), "missing").to_dicts()


def seen(requests: pl.LazyFrame, rated: Rated, first: date | None, last: date | None) -> Usage:
    """Add up the tokens of calls that a vendor served, per day, bucket, tier and set of prices."""
    known = requests.collect_schema().names()
    missing = sorted({*_READ, "sample_weight"} - set(known))
    if missing:
        raise InputError(
            f"requests lack the columns {', '.join(missing)}", hint="see the contract inference_requests"
        )
    calls = requests.filter(countable()[0])
    if first is not None and last is not None:
        calls = calls.filter(pl.col("day").is_between(first, last))
    names = calls.select(_NAMES).unique().sort(_NAMES, nulls_last=True).collect()
    groups = [
        Group(provider, model, response, False, context, None)
        for provider, model, response, tier in names.iter_rows()
        for context in ("standard", tier_key(tier))
    ]
    numbers, layout = rated.rates.layout(groups) if groups else ([], None)
    grouped = _grouped(calls, names, numbers, layout)
    rows = grouped.collect(engine="streaming").sort(pl.all().exclude(pl.Int128), nulls_last=True)
    return _usage(rows, _cards(layout) if layout is not None else [])


def _counts() -> dict[str, pl.Expr]:
    count = {name: pl.col(name).cast(pl.Int64).fill_null(0) for name in _COUNTS}
    write = pl.coalesce("cache_write_tokens", "cache_write_1h_tokens", pl.lit(0))
    return count | {"cache_write_tokens": write.cast(pl.Int64)}


def countable() -> tuple[pl.Expr, pl.Expr, pl.Expr]:
    """Return what says that a vendor served a call, that its counts are wrong, and its tokens."""
    count = _counts()
    own = pl.col("hosting").eq_missing("self_hosted") | pl.col("served_from_cache").eq_missing(True)
    wrong = [(tokens < 0) | (tokens > _MOST) for tokens in count.values()]
    wrong += [
        count["cache_write_1h_tokens"] > count["cache_write_tokens"],
        count["reasoning_tokens"] > count["output_tokens"],
        pl.col("n_requests").fill_null(1) < 1,
        ~pl.col("sample_weight").fill_null(1.0).is_between(0, 1e12),
    ]
    return ~own, pl.any_horizontal(wrong), pl.sum_horizontal(count[bucket.tokens] for bucket in BUCKETS)


def _grouped(
    calls: pl.LazyFrame, names: pl.DataFrame, numbers: Sequence[int], layout: Layout | None
) -> pl.LazyFrame:
    names = names.with_columns(
        pl.Series("_standard", numbers[::2], dtype=pl.Int64),
        pl.Series("_tiered", numbers[1::2], dtype=pl.Int64),
    )
    count, wrong = _counts(), countable()[1]
    calls_of = pl.col("n_requests").fill_null(1).clip(1)
    whole = count["input_uncached_tokens"] + count["cache_read_tokens"] + count["cache_write_tokens"]
    # The size that pricing judges tiers by: of rows of many calls, that of the average call.
    size = pl.when(calls_of > 1).then((whole - 1) // calls_of + 1).otherwise(whole)
    moment = pl.col("ts_start").cast(pl.Datetime("us", "UTC")).dt.epoch("us")

    def find(columns: Sequence[pl.Series]) -> pl.Series:
        assert layout is not None
        return layout.find(columns[0], columns[1], columns[2])

    def card(group: str) -> pl.Expr:
        columns = [pl.col(group), moment, size]
        return pl.map_batches(columns, find, return_dtype=pl.Int64, is_elementwise=True)

    counted = calls.join(names.lazy(), on=_NAMES, how="left", nulls_equal=True).select(
        *_NAMES,
        "day",
        wrong.alias("_wrong"),
        (pl.col("status").ne_missing("ok") | pl.col("is_retry").eq_missing(True)).alias("_failed"),
        pl.col("sample_weight").fill_null(1.0),
        card("_standard").alias("_standard_card"),
        card("_tiered").alias("_tiered_card"),
        *(tokens.alias(name) for name, tokens in count.items()),
    )
    keys = [*_NAMES, "day", "_wrong", "_failed", "sample_weight", "_standard_card", "_tiered_card"]
    squares = [
        (pl.col(bucket.tokens).cast(pl.Int128) * pl.col(bucket.tokens))
        .sum()
        .alias(f"{bucket.tokens}_squared")
        for bucket in BUCKETS
    ]
    return counted.group_by(keys).agg(
        pl.len().cast(pl.Int64).alias("_rows"), *(pl.col(name).sum() for name in _COUNTS), *squares
    )


class _Exact:
    """Weighted sums of one set of prices, before they are rounded to whole tokens."""

    __slots__ = ("part", "raw", "sampled", "tokens", "variance")

    def __init__(self) -> None:
        self.tokens = self.part = self.variance = Fraction(0)
        self.raw = 0
        self.sampled = False


def _usage(rows: pl.DataFrame, cards: list[dict[str, int]]) -> Usage:
    exact: dict[tuple[Seen, bool, int, int], _Exact] = {}
    names: dict[tuple[str, str], set[tuple[str | None, str]]] = {}
    tiered: set[tuple[str, str]] = set()
    wrong: dict[date, int] = {}
    for row in rows.iter_rows(named=True):
        if row["_wrong"]:
            wrong[row["day"]] = wrong.get(row["day"], 0) + row["_rows"]
            continue
        weight = Fraction(row["sample_weight"])
        served = _served(row["provider"], row["response_model"], row["model"])
        key = called(row["provider"], served)
        names.setdefault(key, set()).add((row["provider"], served))
        if row["service_tier"] is not None:
            tiered.add(key)
        for bucket in BUCKETS:
            raw = row[bucket.tokens]
            if not raw:
                continue
            where = Seen(*key, row["day"], bucket.direction, bucket.cache, tier_key(row["service_tier"]))
            one = exact.setdefault(
                (where, row["_failed"], row["_standard_card"], row["_tiered_card"]), _Exact()
            )
            one.tokens += weight * raw
            one.part += weight * (row[bucket.part] if bucket.part else 0)
            one.raw += raw
            one.sampled |= weight != 1
            # Horvitz and Thompson's estimate for rows that were kept with probability 1 / weight each.
            one.variance += max(weight * (weight - 1), Fraction(0)) * row[f"{bucket.tokens}_squared"]
    parts: dict[Seen, list[Part]] = {}
    for (where, failed, standard, tier), one in exact.items():
        parts.setdefault(where, []).append(_part(where, one, failed, cards[standard], cards[tier]))
    ordered = {key: sorted(found, key=str) for key, found in names.items()}
    return Usage(parts, ordered, frozenset(tiered), wrong)


def _served(provider: str | None, response: str | None, model: str) -> str:
    """Return the model that answered; the one asked for where only that name is known to the list."""
    if not response or (match(provider, model.lower()) and not match(provider, response.lower())):
        return model
    return response


def _part(where: Seen, one: _Exact, failed: bool, standard: dict[str, int], tier: dict[str, int]) -> Part:
    bucket = next(b for b in BUCKETS if (b.direction, b.cache) == (where.direction, where.cache))
    plain = bucket if bucket.cache is None else BUCKETS[0]
    tokens, part = round(one.tokens), round(one.part)
    priced = not (standard["missing"] & (bucket.missing | plain.missing) or tier["missing"] & bucket.missing)

    def worth(card: dict[str, int], of: Bucket) -> Fraction:
        if not priced:
            return Fraction(0)
        apart = part * card[of.part_rate] if of.part_rate else 0
        return Fraction(tokens * card[of.rate] + apart, _UNIT)

    amounts = (worth(standard, plain), worth(standard, bucket), worth(tier, bucket))
    return Part(tokens, one.raw, *amounts, priced, failed, one.sampled, one.variance)


def around(month: tuple[date, date]) -> tuple[date, date]:
    """Return the days of a month and one on either side, in which lag is looked for.

    Examples
    --------
    >>> around((date(2026, 10, 1), date(2026, 10, 31)))
    (datetime.date(2026, 9, 30), datetime.date(2026, 11, 1))
    """
    return month[0] - timedelta(days=1), month[1] + timedelta(days=1)
