"""Egress and storage: bytes of calls, and what moving, keeping and scanning data costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from finops_lab.errors import InputError, columns_of, each_name
from finops_lab.money import MONEY, divided, one_currency, split
from finops_lab.unit_economics._grouping import known_sum, monthly, share_of
from finops_lab.unit_economics.schemas import COUNTED

__all__ = [
    "RULES",
    "TrafficRule",
    "egress_by_bytes",
    "traffic_bytes",
    "traffic_costs",
]

_BYTES = ("request_bytes", "response_bytes")
# Where a bill row says what it is for, the most telling first.
_SAID = ("SkuMeter", "SkuId", "ChargeDescription")
_OF_BYTES = ("calls", *_BYTES, "response_bytes_per_call", "coverage", "reason")
_CATEGORIES = ("Networking", "Storage")


@dataclass(frozen=True)
class TrafficRule:
    """A pattern that tells what a bill row is for.

    Attributes
    ----------
    kind : str
        What it is, such as ``cross-region``.
    pattern : str
        Regular expression, looked for in ``SkuMeter``, ``SkuId`` and ``ChargeDescription``.
    categories : tuple of str
        ``ServiceCategory`` that the rule holds in; without any it holds everywhere, since machines
        and databases are billed with their traffic.
    """

    kind: str
    pattern: str
    categories: tuple[str, ...] = ()


# The first that fits counts. Spellings of AWS usage types (USE1-EUW1-AWS-Out-Bytes,
# DataTransfer-Regional-Bytes), Google Cloud SKUs (Network Inter Region Data Transfer Out) and Azure
# meters (Inter-Region, Data Transfer Out).
RULES: tuple[TrafficRule, ...] = (
    TrafficRule("cross-region", r"(?i)\b[A-Z]{3}\d?-[A-Z]{3}\d?-AWS-(?:Out|In)-Bytes\b"),
    TrafficRule("cross-region", r"(?i)\binter[- ]?(?:region|continent)|\bcross[- ]region"),
    TrafficRule("cross-zone", r"(?i)DataTransfer-Regional-Bytes|\binter[- ]?(?:zone|availability zone|az)\b"),
    TrafficRule("data scanned", r"(?i)data[- ]?scanned|bytes scanned|\bscanned\b"),
    TrafficRule("NAT", r"(?i)nat[- ]?gateway|cloud nat\b"),
    TrafficRule("private links", r"(?i)vpcendpoint|private ?link|transitgateway|\bpeering\b"),
    TrafficRule("content delivery", r"(?i)\bcdn\b|cloudfront|-Out-OBytes|front door", ("Networking",)),
    TrafficRule(
        "internet egress",
        r"(?i)DataTransfer-Out|internet[- ](?:egress|data transfer)|data transfer out|\begress\b",
    ),
    TrafficRule("data in", r"(?i)DataTransfer-In-|data transfer in\b|\bingress\b"),
    TrafficRule(
        "storage requests",
        r"(?i)requests-tier|class [ab] (?:operation|request)|\b(?:put|get)\b.*requests",
        ("Storage",),
    ),
    TrafficRule("storage read back", r"(?i)retrieval", ("Storage",)),
    TrafficRule("storage kept", r"(?i)timedstorage|storage|data stored|volumeusage|snapshot|capacity", ("Storage",)),
)  # fmt: skip

_COSTS: dict[str, pl.DataType | type[pl.DataType]] = {
    "money": MONEY,
    "quantity": MONEY,
    "rows": pl.Int64,
}


def traffic_costs(
    costs: pl.DataFrame | pl.LazyFrame,
    *,
    rules: Sequence[TrafficRule] = RULES,
    metric: str = "EffectiveCost",
    by: str | Sequence[str] = (),
) -> pl.DataFrame:
    """Find what a bill charges for moving, keeping and scanning data.

    Parameters
    ----------
    costs : polars.DataFrame or polars.LazyFrame
        The `costs` contract, with any columns of `by` (such as dimensions that rules added).
    rules : sequence of TrafficRule
        Rules; the first that fits counts, in each of its columns before the next rule.
    metric : str
        The amount.
    by : str or sequence of str
        Further columns to keep apart.

    Returns
    -------
    polars.DataFrame
        ``month`` (of use), ``kind``, ``matched`` (the column that said so, and its words),
        ``ServiceCategory``, ``ServiceName``, ``SkuId``, ``RegionId``, ``BillingCurrency``, `by`,
        ``money``, ``quantity`` (of ``ConsumedUnit``), ``ConsumedUnit``, ``rows``; sorted. Rows of
        Networking and Storage that no rule fits are ``other networking`` and ``other storage``.

    Raises
    ------
    InputError
        When a column of `by` is missing.

    Examples
    --------
    >>> from datetime import datetime
    >>> bill = pl.DataFrame({"ChargePeriodStart": [datetime(2026, 10, 3)], "ServiceCategory": ["Networking"],
    ...     "ServiceName": ["AWS Data Transfer"], "SkuMeter": [None], "SkuId": ["USE1-EUW1-AWS-Out-Bytes"],
    ...     "ChargeDescription": [None], "RegionId": ["us-east-1"], "BillingCurrency": ["USD"],
    ...     "EffectiveCost": [2], "ConsumedQuantity": [100], "ConsumedUnit": ["GB"]})
    >>> traffic_costs(bill).select("kind", "money", "quantity").row(0)
    ('cross-region', Decimal('2.000000000000000000'), Decimal('100.000000000000000000'))
    """
    by = each_name(by)
    frame = costs.lazy()
    known = frame.collect_schema()
    if missing := [name for name in by if name not in known]:
        raise InputError(f"the bill rows have no column {', '.join(missing)}")
    month = pl.col("ChargePeriodStart").dt.date().dt.month_start().alias("month")
    keys = ["ServiceCategory", "ServiceName", "SkuId", "RegionId", "BillingCurrency", "ConsumedUnit"]
    texts = [name for name in dict.fromkeys([*keys, *_SAID]) if name not in by]
    amounts = [
        pl.col(metric).cast(MONEY).alias("money"),
        pl.col("ConsumedQuantity").cast(MONEY).alias("quantity"),
    ]
    # Bill rows alike in all that rules look at are added up first: there are few kinds of them.
    sums = (
        frame.select(month, *(pl.col(name).cast(pl.String) for name in texts), *by, *amounts)
        .group_by("month", *texts, *by)
        .agg(pl.col("money").sum(), known_sum("quantity"), pl.len().cast(pl.Int64).alias("rows"))
    )
    kind, matched = _named(rules)
    found = sums.with_columns(kind.alias("kind"), matched.alias("matched")).filter(
        pl.col("kind").is_not_null()
    )
    final = ["month", "kind", "matched", *dict.fromkeys([*keys, *by])]
    return (
        found.group_by(final)
        .agg(pl.col("money").sum(), known_sum("quantity"), pl.col("rows").sum())
        .select(*final, *_COSTS)
        .sort(final, nulls_last=True)
        .collect()
    )


def _named(rules: Sequence[TrafficRule]) -> tuple[pl.Expr, pl.Expr]:
    category = pl.col("ServiceCategory")
    inside = category.is_in(_CATEGORIES).fill_null(False)
    kinds, why = [], []
    for rule in rules:
        scope = category.is_in(rule.categories).fill_null(False) if rule.categories else pl.lit(True)
        for name in _SAID:
            fits = scope & pl.col(name).str.contains(rule.pattern).fill_null(False)
            kinds.append(pl.when(fits).then(pl.lit(rule.kind)))
            found = pl.col(name).str.extract(rule.pattern, 0)
            why.append(pl.when(fits).then(pl.concat_str(pl.lit(f"{name}: "), found)))
    rest = pl.concat_str(pl.lit("other "), category.str.to_lowercase())
    kinds.append(pl.when(inside).then(rest))
    why.append(pl.when(inside).then(pl.concat_str(pl.lit("ServiceCategory: "), category)))
    return pl.coalesce(kinds), pl.coalesce(why)


def traffic_bytes(
    requests: pl.DataFrame | pl.LazyFrame, *, by: str | Sequence[str] = ("model", "feature")
) -> pl.DataFrame:
    """Add up the bytes that calls sent and received.

    Parameters
    ----------
    requests : polars.DataFrame or polars.LazyFrame
        `inference_requests`, with ``request_bytes`` and ``response_bytes`` where the source tells
        them: of all calls of a row, as tokens are.
    by : str or sequence of str
        Columns that tell uses apart.

    Returns
    -------
    polars.DataFrame
        ``month``, `by`, ``calls``, ``request_bytes``, ``response_bytes`` (Decimal, of calls that tell
        them; sampled calls stand for the real ones), ``response_bytes_per_call`` of these calls,
        ``coverage`` (share of the calls that tell their response's bytes), ``reason`` where bytes are
        null; sorted.

    Examples
    --------
    >>> from datetime import date
    >>> calls = pl.DataFrame({"day": [date(2026, 10, 1)] * 2, "model": ["m"] * 2, "n_requests": [1, 1],
    ...     "sample_weight": [10.0, 10.0], "request_bytes": [100, None], "response_bytes": [400, None]})
    >>> traffic_bytes(calls, by=["model"]).select(pl.col("calls", "response_bytes").cast(pl.Int64), "coverage").row(0)
    (20, 4000, 0.5)
    """
    by = columns_of(by, requests, "calls")
    frame = monthly(requests)
    told = frame.collect_schema()
    sizes = [
        (pl.col(name).cast(pl.Float64) if name in told else pl.lit(None, pl.Float64)).alias(name)
        for name in _BYTES
    ]
    stands_for = pl.col("sample_weight")

    def counted(amount: pl.Expr) -> pl.Expr:
        return (amount * stands_for).round(3).cast(COUNTED)

    calls = counted(pl.col("n_requests"))
    rows = frame.select("month", *by, calls.alias("calls"), *sizes, stands_for).with_columns(
        counted(pl.col(name)) for name in _BYTES
    )
    telling = pl.when(pl.col("response_bytes").is_not_null()).then("calls").otherwise(0).sum()
    sums = (
        rows.group_by("month", *by)
        .agg(pl.col("calls").sum(), *(known_sum(name) for name in _BYTES), telling.alias("telling"))
        .sort("month", *by, nulls_last=True)
        .collect()
    )
    each = [
        divided(size, n)
        for size, n in sums.select(pl.col("response_bytes", "telling").cast(MONEY)).iter_rows()
    ]
    no_bytes = pl.when(pl.col("response_bytes").is_null()).then(pl.lit("the calls do not tell their bytes"))
    return sums.with_columns(
        pl.Series("response_bytes_per_call", each, MONEY),
        share_of(pl.col("telling"), pl.col("calls")).alias("coverage"),
        no_bytes.alias("reason"),
    ).drop("telling")


def egress_by_bytes(
    traffic: pl.DataFrame | pl.LazyFrame,
    used: pl.DataFrame | pl.LazyFrame,
    *,
    kinds: Sequence[str] = ("internet egress", "cross-region"),
) -> pl.DataFrame:
    """Split the money of egress by the bytes of responses: an estimate, since bills do not name uses.

    Parameters
    ----------
    traffic : polars.DataFrame or polars.LazyFrame
        What `traffic_costs` returns, in one currency.
    used : polars.DataFrame or polars.LazyFrame
        What `traffic_bytes` returns.
    kinds : sequence of str
        Kinds of traffic whose money is split.

    Returns
    -------
    polars.DataFrame
        The months, keys and ``response_bytes`` of `used` with ``money``, which adds up to the egress
        of each month exactly, and ``coverage``. Egress of a month whose calls tell no bytes stands
        in a row without keys, with the ``reason``.

    Raises
    ------
    CurrencyError
        When the money is in several currencies.
    """
    paid = traffic.lazy().filter(pl.col("kind").is_in(list(kinds))).collect()
    one_currency(paid["BillingCurrency"].unique())
    totals = paid.group_by("month").agg(pl.col("money").sum()).sort("month")
    frame = used.lazy().collect()
    keys = [name for name in frame.columns if name not in ("month", *_OF_BYTES)]
    parts = []
    columns: dict[str, pl.DataType | type[pl.DataType]] = {"month": pl.Date}
    columns |= {name: frame.schema[name] for name in keys}
    columns |= {"response_bytes": COUNTED, "money": MONEY, "coverage": pl.Float64, "reason": pl.String}
    for month, money in totals.iter_rows():
        mine = frame.filter(pl.col("month") == month, pl.col("response_bytes") > 0)
        if mine.is_empty():
            why = "no call of the month tells its bytes"
            parts.append(pl.DataFrame([{"month": month, "money": money, "reason": why}], schema=columns))
            continue
        amounts = split(money, mine["response_bytes"].to_list())
        told = mine.with_columns(pl.Series("money", amounts, MONEY), pl.lit(None, pl.String).alias("reason"))
        parts.append(told.select(list(columns)))
    return pl.concat(parts) if parts else pl.DataFrame(schema=columns)
