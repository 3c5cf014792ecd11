"""What-if re-pricing: the calls of a month at other prices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal, localcontext

import polars as pl

from finops_lab.errors import InputError, each_name
from finops_lab.money import MONEY, divided, exact_sum, product
from finops_lab.pricing import price

__all__ = ["BUCKETS", "REPRICED", "Scenario", "against_bill", "reprice"]

BUCKETS = ("input_uncached_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens")
_INPUT = BUCKETS[:3]
_THOUSAND = 1_000
_Schema = dict[str, pl.DataType | type[pl.DataType]]
_AMOUNTS: _Schema = {
    "calls": MONEY,
    **dict.fromkeys(BUCKETS, MONEY),
    "actual_list_usd": MONEY,
    "actual_unpriced_tokens": MONEY,
    "repriced_usd": MONEY,
    "unpriced_tokens": MONEY,
    "unpriced_calls": MONEY,
    "compared_tokens": MONEY,
    "difference_usd": MONEY,
    "reason": pl.String,
}
REPRICED: _Schema = {"scenario": pl.String, **_AMOUNTS}
_NO_BATCH = "the price list has no batch price of it"


@dataclass(frozen=True)
class Scenario:
    """What would be different.

    Attributes
    ----------
    name : str
        What results call it.
    model : str or None
        Another model for all calls; None leaves every call with its own.
    provider : str or None
        Who sells that model.
    batch : bool
        All calls at the batch price, for answers that can wait.
    batch_factor : Decimal or None
        What batch costs of the standard price where the list has no batch price, such as
        ``Decimal("0.5")``: an assumption. Without it such calls are not priced.
    cached_share : Decimal or None
        Share of input tokens read from the cache, 0 to 1; None leaves it as observed. What is written
        to the cache stays as observed as far as there is room.
    prices_on : datetime.date or None
        The day whose prices hold for all calls, at their time of day; None is the day of each call.
        Variants such as batch begin in the price list on the day they were recorded.
    """

    name: str
    model: str | None = None
    provider: str | None = None
    batch: bool = False
    batch_factor: Decimal | None = None
    cached_share: Decimal | None = None
    prices_on: date | None = None

    def __post_init__(self) -> None:
        if self.provider is not None and self.model is None:
            raise InputError(f"scenario {self.name!r} names a provider and no model")
        if self.cached_share is not None and not 0 <= self.cached_share <= 1:
            raise InputError(f"scenario {self.name!r}: a share read from the cache is 0 to 1")
        if self.batch_factor is not None and (not self.batch or not 0 < self.batch_factor <= 1):
            raise InputError(f"scenario {self.name!r}: a batch factor is above 0, at most 1, and of a batch")


def reprice(
    requests: pl.LazyFrame | pl.DataFrame,
    book: pl.LazyFrame,
    scenarios: Sequence[Scenario],
    *,
    by: str | Sequence[str] = (),
) -> pl.DataFrame:
    """Price the same calls as they were made, and as they would be in scenarios.

    Every row is priced by `finops_lab.pricing.price` and then stands for its ``sample_weight``:
    the sum of rows alike in weight is multiplied by it once, weights kept to thousandths.

    Parameters
    ----------
    requests : polars.LazyFrame or polars.DataFrame
        `inference_requests`, such as those of a month.
    book : polars.LazyFrame
        ``prices``, such as from `finops_lab.pricing.price_book`. The price is that of the moment of
        each call.
    scenarios : sequence of Scenario
        What would be different.
    by : str or sequence of str
        Columns of the requests to keep apart, such as ``feature`` or ``team``.

    Returns
    -------
    polars.DataFrame
        `REPRICED` with the columns of `by` after ``scenario``, in the order of the scenarios, then
        sorted: ``calls`` and tokens by bucket (in the scenario's cache shares); ``actual_list_usd``
        (the calls as made, at list price; null where none has one) and ``actual_unpriced_tokens``;
        ``repriced_usd``, ``unpriced_tokens`` and ``unpriced_calls`` (those that succeeded) of the
        scenario; ``difference_usd`` = repriced -
        actual of the calls that both know, and the ``compared_tokens`` of those; ``reason`` of what
        is unpriced. Money is Decimal(38, 18).

    Raises
    ------
    InputError
        No scenario, two of one name, or a missing column.

    Notes
    -----
    The same tokens are billed on another model as if it counted and wrote as many. Whether it answers
    as well or as fast is not judged.

    Examples
    --------
    >>> from finops_lab.pricing import price_book
    >>> own = pl.LazyFrame({"provider": ["x", "x"], "model": ["big", "small"], "unit": ["input_mtok"] * 2,
    ...     "rate_usd_per_unit": [Decimal(3), Decimal(1)]})
    >>> from finops_lab.contracts import dtypes
    >>> from datetime import UTC, datetime
    >>> call = {"provider": "x", "model": "big", "ts_start": datetime(2026, 10, 1, tzinfo=UTC), "n_requests": 1,
    ...     "sample_weight": 10.0, "input_uncached_tokens": 1_000_000, "output_tokens": 0}
    >>> calls = pl.DataFrame([call], schema=dtypes("inference_requests"))
    >>> found = reprice(calls, price_book(own), [Scenario("small", model="small", provider="x")])
    >>> found.select(pl.col("actual_list_usd", "repriced_usd", "difference_usd").cast(pl.Int64)).row(0)
    (30, 10, -20)
    """
    by = each_name(by)
    names = [one.name for one in scenarios]
    if not names or len(set(names)) < len(names):
        raise InputError("name one scenario and more, each once")
    rows = requests.lazy()
    known = rows.collect_schema()
    if missing := [name for name in (*by, "sample_weight", "status", *BUCKETS) if name not in known]:
        raise InputError(f"requests lack the columns {', '.join(missing)}")
    actual = price(rows, book).select(pl.all().exclude("price_context"))
    actual = actual.rename({"cost_computed_usd": "_actual", "unpriced_reason": "_actual_reason"}).drop(
        "price_origin", "price_valid_from"
    )
    parts = [_scenario(actual, book, one, list(by)) for one in scenarios]
    return pl.concat(parts)


def _scenario(actual: pl.LazyFrame, book: pl.LazyFrame, one: Scenario, by: list[str]) -> pl.DataFrame:
    # What the rows are kept apart by is as the calls were made, also where the model is another.
    rows = actual.with_columns(pl.col(name).alias(f"_by_{name}") for name in by)
    rows = rows.with_columns(*_changed(one))
    priced = price(rows, book).with_columns(_batch(one))
    weight = (pl.col("sample_weight") * _THOUSAND).round(0).cast(pl.Int64).alias("_weight")
    tokens = pl.sum_horizontal(pl.col(name).fill_null(0) for name in BUCKETS)
    was, now = pl.col("_actual").is_not_null(), pl.col("_now").is_not_null()
    calls = pl.col("n_requests").fill_null(1)
    # A call that failed may have used nothing: one that succeeded did, told or not.
    meant = (pl.col("status") == "ok").fill_null(True) | (pl.col("_tokens") > 0)
    keys = [f"_by_{name}" for name in by]
    sums = (
        priced.with_columns(weight, tokens.alias("_tokens"))
        .group_by(*keys, "_weight")
        .agg(
            calls.sum().alias("calls"),
            *[pl.col(name).fill_null(0).sum() for name in BUCKETS],
            pl.col("_tokens").filter(~was).sum().alias("actual_unpriced_tokens"),
            pl.col("_tokens").filter(~now).sum().alias("unpriced_tokens"),
            calls.filter(~now & meant).sum().alias("unpriced_calls"),
            pl.col("_tokens").filter(was & now).sum().alias("compared_tokens"),
            pl.col("_actual").sum().alias("actual_list_usd"),
            pl.col("_now").sum().alias("repriced_usd"),
            (pl.col("_now").filter(was & now).sum() - pl.col("_actual").filter(was & now).sum())
            .cast(MONEY)
            .alias("difference_usd"),
            was.any().alias("_was"),
            now.any().alias("_is"),
            (was & now).any().alias("_both"),
            pl.col("_why").filter(meant).drop_nulls().unique().alias("_why"),
        )
        .sort(*keys, "_weight", nulls_last=True)
        .collect()
    )
    told = []
    groups = sums.partition_by(keys, maintain_order=True) if keys else [sums]
    for part in groups if sums.height else []:
        row: dict[str, Decimal | None] = {name: _times(part, name) for name in _AMOUNTS if name != "reason"}
        for name, flag in (("actual_list_usd", "_was"), ("repriced_usd", "_is"), ("difference_usd", "_both")):
            row[name] = row[name] if part[flag].any() else None
        reasons = sorted(set(part["_why"].explode().drop_nulls()))
        told.append(
            {"scenario": one.name}
            | dict(zip(by, part.select(keys).row(0) if keys else (), strict=True))
            | row
            | {"reason": "; ".join(reasons) or None}
        )
    schema = {"scenario": pl.String, **{name: sums.schema[f"_by_{name}"] for name in by}, **_AMOUNTS}
    return pl.DataFrame(told, schema=schema)


def _times(part: pl.DataFrame, name: str) -> Decimal:
    amounts = part.select(pl.col(name).cast(MONEY), "_weight").iter_rows()
    return exact_sum(product(amount, Decimal(weight) / _THOUSAND) or Decimal(0) for amount, weight in amounts)


def _changed(one: Scenario) -> list[pl.Expr]:
    """Return the columns of requests that a scenario changes."""
    changed: list[pl.Expr] = []
    if one.model is not None:
        changed += [
            pl.lit(one.model).alias("model"),
            pl.lit(one.provider, pl.String).alias("provider"),
            pl.lit(None, pl.String).alias("response_model"),
            pl.lit("api").alias("hosting"),
        ]
    if one.prices_on is not None:
        day = pl.lit(datetime.combine(one.prices_on, time(), UTC), pl.Datetime("us", "UTC"))
        changed.append((day + (pl.col("ts_start") - pl.col("ts_start").dt.truncate("1d"))).alias("ts_start"))
    if one.model is not None or one.batch:
        # The tiers of one vendor are no tiers of another.
        changed.append(pl.lit("batch" if one.batch else None, pl.String).alias("service_tier"))
    if one.cached_share is not None:
        share = pl.lit(one.cached_share)
        whole = pl.sum_horizontal(pl.col(name).fill_null(0) for name in _INPUT)
        read = (whole.cast(pl.Decimal(38, 6)) * share.cast(pl.Decimal(38, 6))).floor().cast(pl.Int64)
        written = pl.min_horizontal(pl.col("cache_write_tokens").fill_null(0), whole - read)
        told = pl.any_horizontal(pl.col(name).is_not_null() for name in _INPUT)
        hour = pl.min_horizontal("cache_write_1h_tokens", written)
        changed += [
            pl.when(told).then(read).alias("cache_read_tokens"),
            pl.when(told).then(written).alias("cache_write_tokens"),
            pl.when(told).then(whole - read - written).alias("input_uncached_tokens"),
            pl.when(pl.col("cache_write_1h_tokens").is_not_null()).then(hour).alias("cache_write_1h_tokens"),
        ]
    return changed


def _batch(one: Scenario) -> list[pl.Expr]:
    """Return the cost in the scenario and why there is none; a list without batch prices has none."""
    cost, reason = pl.col("cost_computed_usd"), pl.col("unpriced_reason")
    if not one.batch:
        return [cost.alias("_now"), reason.alias("_why")]
    # A call that the gateway's cache answered costs nothing and has no context.
    other = cost.is_not_null() & (pl.col("price_context").fill_null("batch") != "batch")
    if one.batch_factor is not None:
        factor = one.batch_factor
        part = cost.map_elements(lambda amount: product(amount, factor), return_dtype=MONEY)
        return [pl.when(other).then(part).otherwise(cost).alias("_now"), reason.alias("_why")]
    return [
        pl.when(~other).then(cost).alias("_now"),
        pl.when(other).then(pl.lit(_NO_BATCH)).otherwise(reason).alias("_why"),
    ]


def against_bill(
    repriced: pl.DataFrame, bill: pl.DataFrame, *, by: str | Sequence[str] = ("model",)
) -> pl.DataFrame:
    """Bring scenarios to the volume of the bill, and compare them with what was billed.

    Logs may be a sample. Where the bill tells the list price of the same calls, their volume is the
    bill's: the list price of the calls as made is multiplied by ``factor`` = list price on the bill
    / list price of the logs, and so is the scenario.

    Parameters
    ----------
    repriced : polars.DataFrame
        From `reprice`, by at least `by`.
    bill : polars.DataFrame
        `by`, ``list_usd`` and ``billed_usd`` (Decimal; null where unknown), each key once: what was
        paid to vendors for these calls, in USD.
    by : str or sequence of str
        What both tell.

    Returns
    -------
    polars.DataFrame
        Per ``scenario`` and `by`: ``list_usd`` and ``billed_usd`` of the bill, ``logged_list_usd``,
        ``factor``, ``repriced_usd`` (scaled by the factor), ``difference_usd`` (that - list_usd),
        ``difference_to_billed_usd`` (that - billed_usd), ``reason`` where they are null. Decimal.

    Raises
    ------
    InputError
        A column is missing.

    Examples
    --------
    >>> row = {"scenario": "s", "model": "m", "actual_list_usd": Decimal(50), "repriced_usd": Decimal(20),
    ...     "actual_unpriced_tokens": Decimal(0), "unpriced_tokens": Decimal(0)}
    >>> bill = pl.DataFrame({"model": ["m"], "list_usd": [Decimal(55)], "billed_usd": [Decimal(52)]})
    >>> found = against_bill(pl.DataFrame([row]), bill)
    >>> found.select(pl.col("repriced_usd", "difference_to_billed_usd").cast(pl.Int64)).row(0)
    (22, -30)
    """
    by = each_name(by)
    for name in (*by, "list_usd", "billed_usd"):
        if name not in bill.columns:
            raise InputError("the bill has no such column", column=name)
    keys = ["scenario", *by]
    names = ["actual_list_usd", "repriced_usd", "actual_unpriced_tokens", "unpriced_tokens"]
    sums = [pl.when(pl.col(n).null_count() == 0).then(pl.col(n).sum()).cast(MONEY).alias(n) for n in names]
    table = (
        repriced.lazy()
        .group_by(keys, maintain_order=True)
        .agg(*sums)
        .join(bill.lazy(), on=list(by), how="left", nulls_equal=True, maintain_order="left")
        .collect()
    )
    told = []
    for row in table.to_dicts():
        reason = _not_compared(row)
        factor = divided(row["list_usd"], row["actual_list_usd"]) if reason is None else None
        # At once, so that only the amount is rounded.
        scaled = _scaled(row) if reason is None else None
        told.append(
            {name: row[name] for name in (*keys, "list_usd", "billed_usd")}
            | {
                "logged_list_usd": row["actual_list_usd"],
                "factor": factor,
                "repriced_usd": scaled,
                "difference_usd": None if scaled is None else exact_sum([scaled, -row["list_usd"]]),
                "difference_to_billed_usd": None
                if scaled is None or row["billed_usd"] is None
                else exact_sum([scaled, -row["billed_usd"]]),
                "reason": reason,
            }
        )
    money = ("list_usd", "billed_usd", "logged_list_usd", "factor", "repriced_usd")
    schema: _Schema = {name: table.schema[name] for name in keys}
    schema |= dict.fromkeys((*money, "difference_usd", "difference_to_billed_usd"), MONEY)
    return pl.DataFrame(told, schema=schema | {"reason": pl.String})


def _scaled(row: dict[str, Decimal]) -> Decimal | None:
    with localcontext(prec=120):
        return divided(row["repriced_usd"] * row["list_usd"], row["actual_list_usd"])


def _not_compared(row: dict[str, object]) -> str | None:
    if row["list_usd"] is None:
        return "the bill has no list price of these calls"
    if not row["actual_list_usd"] or row["actual_unpriced_tokens"]:
        return "not all logged calls have a list price"
    if row["repriced_usd"] is None or row["unpriced_tokens"]:
        return "the scenario does not price all of them"
    return None
