"""Benchmarks: teams beside each other for the same work, and all beside published prices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import polars as pl

from finops_lab.errors import InputError, each_name
from finops_lab.money import MONEY, divided, exact_sum, product
from finops_lab.unit_economics._grouping import known_sum, monthly, share_of
from finops_lab.unit_economics.activity import currency_of, month_of
from finops_lab.unit_economics.load import TOKENS
from finops_lab.unit_economics.schemas import COUNTED

__all__ = ["OWN_MODEL", "against_reference", "as_reference", "between_teams", "money_and_use"]

_MTOK = 1_000_000
_Schema = dict[str, pl.DataType | type[pl.DataType]]
# A model of one's own keeps its name here while it is priced as another one.
OWN_MODEL = "own_model"
_FEW_CALLS = 1_000


def money_and_use(
    entries: pl.DataFrame | pl.LazyFrame,
    requests: pl.DataFrame | pl.LazyFrame,
    *,
    by: str | Sequence[str] = ("team", "model", "feature"),
    metric: str = "EffectiveCost",
) -> pl.DataFrame:
    """Put money of the ledger beside calls and tokens of the same owner and work.

    Parameters
    ----------
    entries : polars.DataFrame or polars.LazyFrame
        The `ledger` contract, such as its entries of inference; in one currency.
    requests : polars.DataFrame or polars.LazyFrame
        `finops_lab.unit_economics.schemas.REQUEST_MONTHS`, or ``REQUEST_DAYS``.
    by : str or sequence of str
        Dimensions that both tell.
    metric : str
        The amount.

    Returns
    -------
    polars.DataFrame
        ``month``, `by`, ``currency``, ``money``, ``calls`` (that succeeded), ``tokens`` (Decimal; null
        where one side has nothing); sorted. Only months of which there are calls.

    Raises
    ------
    CurrencyError
        When the entries are in several currencies.
    """
    by = each_name(by)
    currency = currency_of(entries)
    owner = pl.col("x_team").replace("unallocated", None)
    dimensions = [(owner if name == "team" else pl.col(f"x_{name}")).alias(name) for name in by]
    money = (
        entries.lazy()
        .group_by(month_of().alias("month"), *dimensions)
        .agg(pl.col(metric).sum().alias("money"))
    )
    known = pl.any_horizontal(pl.col(TOKENS).is_not_null())
    tokens = pl.when(known).then(pl.sum_horizontal(pl.col(TOKENS).fill_null(0))).alias("tokens")
    use = monthly(requests).with_columns(tokens).group_by("month", *by).agg(
        pl.col("calls_ok").sum().cast(MONEY).alias("calls"), known_sum("tokens").cast(MONEY)
    )  # fmt: skip
    keys = ["month", *by]
    both = money.join(use, on=keys, how="full", coalesce=True, nulls_equal=True)
    both = both.join(use.select("month").unique(), on="month", how="semi")
    return (
        both.select(*keys, pl.lit(currency).alias("currency"), "money", "calls", "tokens")
        .sort(keys, nulls_last=True)
        .collect()
    )


def between_teams(
    rows: pl.DataFrame | pl.LazyFrame,
    *,
    same: Sequence[str] = ("model",),
    kinds: Mapping[str, str] | None = None,
    least_calls: int = _FEW_CALLS,
) -> pl.DataFrame:
    """Compare what teams pay for the same work.

    Parameters
    ----------
    rows : polars.DataFrame or polars.LazyFrame
        ``month``, ``team``, the columns of `same`, ``feature`` where `kinds` are given, ``currency``,
        ``money``, ``calls``, ``tokens``, such as `money_and_use`. Rows alike are added up.
    same : sequence of str
        What makes work the same: only teams alike in these are compared.
    kinds : mapping of str to str, optional
        The kind of each feature, such as ``{"search-answers": "search"}``: work must be alike in it
        too (column ``kind``). A feature that is not named is a kind of its own.
    least_calls : int
        A team with fewer calls is not compared: a few stray calls are no benchmark.

    Returns
    -------
    polars.DataFrame
        ``month``, `same` (and ``kind``), ``team``, ``currency``, ``money``, ``calls``, ``tokens``,
        ``money_per_call``, ``money_per_mtok`` (per million tokens); of the latter ``rank`` (1 is the
        cheapest), ``teams`` compared, ``percentile`` (share of the other teams that pay more, 0 to 1;
        equal ones count half), ``best_team``, ``best_per_mtok``, ``times_best``, ``above_best`` (money
        beyond the best team's rate), ``reason`` where they are null; sorted.

    Raises
    ------
    InputError
        When a column is missing.

    Examples
    --------
    >>> from datetime import date
    >>> rows = pl.DataFrame({"month": [date(2026, 10, 1)] * 2, "team": ["a", "b"], "model": ["m"] * 2,
    ...     "currency": ["USD"] * 2, "money": [10, 30], "calls": [5000, 5000], "tokens": [1_000_000] * 2})
    >>> found = between_teams(rows).with_columns(pl.col("above_best").cast(pl.Float64))
    >>> found.select("team", "rank", "percentile", "best_team", "above_best").rows()
    [('a', 1, 1.0, 'a', 0.0), ('b', 2, 0.0, 'a', 20.0)]
    """
    frame = rows.lazy()
    if kinds is not None:
        frame = frame.with_columns(pl.col("feature").replace(dict(kinds)).alias("kind"))
        same = [*same, "kind"]
    group = ["month", "currency", *same]
    known = frame.collect_schema()
    if missing := [name for name in (*group, "team", "money", "calls", "tokens") if name not in known]:
        raise InputError(f"the rows have no column {', '.join(missing)}")
    sums = (
        frame.group_by(*group, "team")
        .agg(known_sum(name).cast(MONEY) for name in ("money", "calls", "tokens"))
        .sort(*group, "team", nulls_last=True)
        .collect()
    )
    told = []
    for part in sums.partition_by(group, maintain_order=True):
        told += list(_ranked(part.to_dicts(), least_calls))
    schema: _Schema = {name: sums.schema[name] for name in (*group, "team", "money", "calls", "tokens")}
    return pl.DataFrame(told, schema=schema | _RANKS).select(
        "month", *same, "team", "currency", "money", "calls", "tokens", *_RANKS
    )


_RANKS: _Schema = {
    "money_per_call": MONEY,
    "money_per_mtok": MONEY,
    "rank": pl.Int64,
    "teams": pl.Int64,
    "percentile": pl.Float64,
    "best_team": pl.String,
    "best_per_mtok": MONEY,
    "times_best": MONEY,
    "above_best": MONEY,
    "reason": pl.String,
}


def _ranked(rows: list[dict[str, Any]], least_calls: int) -> Iterator[dict[str, Any]]:
    for row in rows:
        row["money_per_call"] = divided(row["money"], row["calls"])
        row["money_per_mtok"] = divided(row["money"], row["tokens"], _MTOK)
        row["reason"] = _not_compared(row, least_calls)
    compared = [row for row in rows if row["reason"] is None]
    rates = sorted(row["money_per_mtok"] for row in compared)
    best = min(compared, key=lambda row: (row["money_per_mtok"], row["team"]), default=None)
    for row in rows:
        if row["reason"] is not None or best is None:
            yield row
            continue
        rate, others = row["money_per_mtok"], len(rates) - 1
        dearer = sum(other > rate for other in rates)
        equal = rates.count(rate) - 1
        paid_best = product(best["money_per_mtok"], divided(row["tokens"], Decimal(_MTOK)))
        yield row | {
            "rank": 1 + sum(other < rate for other in rates),
            "teams": len(rates),
            "percentile": (dearer + equal / 2) / others if others else None,
            "best_team": best["team"],
            "best_per_mtok": best["money_per_mtok"],
            "times_best": divided(rate, best["money_per_mtok"]),
            "above_best": exact_sum([row["money"], -(paid_best or Decimal(0))])
            if row is not best
            else Decimal(0),
            "reason": None if others else "no other team does the same work",
        }


def _not_compared(row: dict[str, Any], least_calls: int) -> str | None:
    if row["team"] is None:
        return "the work has no known team"
    if row["money"] is None:
        return "no money is known for these calls"
    if row["money"] <= 0:
        return "the money is not above zero"
    if not row["calls"] or not row["tokens"]:
        return "no calls or no tokens are known for this money"
    if row["calls"] < least_calls:
        return f"fewer than {least_calls:,} calls"
    return None


def as_reference(
    requests: pl.DataFrame | pl.LazyFrame, references: Mapping[str, tuple[str, str]]
) -> pl.LazyFrame:
    """Let requests be priced as those of another, published model.

    Parameters
    ----------
    requests : polars.DataFrame or polars.LazyFrame
        `inference_requests`.
    references : mapping of str to (str, str)
        For a model of one's own, the provider and the model that it is compared with, such as
        ``{"larch-70b": ("groq", "llama-3.3-70b-versatile")}``. Other models stay as they are.

    Returns
    -------
    polars.LazyFrame
        The requests for `finops_lab.pricing.price`, their own model's name in ``own_model``.

    Examples
    --------
    >>> calls = pl.DataFrame({"model": ["larch-70b"], "provider": ["self"], "response_model": [None],
    ...     "hosting": ["self_hosted"]}, schema_overrides={"response_model": pl.String})
    >>> as_reference(calls, {"larch-70b": ("groq", "llama")}).collect().row(0)
    ('llama', 'groq', None, 'api', 'larch-70b')
    """
    named = {own: {"provider": one[0], "model": one[1]} for own, one in references.items()}
    own = pl.col("model")
    swapped = own.is_in(list(named)).fill_null(False)

    def told(name: str) -> pl.Expr:
        values = {key: value[name] for key, value in named.items()}
        return pl.when(swapped).then(own.replace(values)).otherwise(pl.col(name)).alias(name)

    return requests.lazy().with_columns(
        told("provider"),
        told("model"),
        pl.when(~swapped).then("response_model").alias("response_model"),
        pl.when(swapped).then(pl.lit("api")).otherwise("hosting").alias("hosting"),
        own.alias(OWN_MODEL),
    )


def against_reference(
    rows: pl.DataFrame | pl.LazyFrame,
    priced: pl.DataFrame | pl.LazyFrame,
    *,
    by: str | Sequence[str] = ("team", "model"),
) -> pl.DataFrame:
    """Compare what was paid for tokens with what published prices ask for the same calls.

    Failed calls are on both sides, in the tokens and in the price, as their money is in the bill.

    Parameters
    ----------
    rows : polars.DataFrame or polars.LazyFrame
        ``month``, `by`, ``currency``, ``money``, ``calls``, ``tokens``, such as `money_and_use`.
    priced : polars.DataFrame or polars.LazyFrame
        `inference_requests` with ``cost_computed_usd``: what `finops_lab.pricing.price` says that
        each call cost by the dated price book when it was made, of `as_reference` where models of
        one's own are compared with published ones.
    by : str or sequence of str
        Dimensions that both tell.

    Returns
    -------
    polars.DataFrame
        ``month``, `by`, ``currency``, ``money``, ``calls``, ``tokens``, ``money_per_mtok``,
        ``reference_per_mtok`` (USD per million tokens of the calls that have a price, failed ones
        included), ``times_reference``, ``reference_money`` (all tokens at that rate), ``above_reference``
        (money - reference money), ``coverage`` (share of the tokens that have a price), ``reason``
        where they are null; sorted.

    Examples
    --------
    >>> from datetime import date
    >>> month = {"month": [date(2026, 10, 1)], "model": ["m"]}
    >>> paid = pl.DataFrame(month | {"currency": ["USD"], "money": [30], "calls": [10], "tokens": [2_000_000]})
    >>> calls = pl.DataFrame({"day": [date(2026, 10, 2)], "model": ["m"], "sample_weight": [10.0], "status": ["ok"],
    ...     "input_uncached_tokens": [200_000], "cache_read_tokens": [0], "cache_write_tokens": [0],
    ...     "output_tokens": [0], "cost_computed_usd": [Decimal(1)]})
    >>> found = against_reference(paid, calls, by=["model"])
    >>> found.select(pl.col("times_reference", "above_reference").cast(pl.Float64), "coverage").row(0)
    (3.0, 20.0, 1.0)
    """
    by = each_name(by)
    listed = _listed(monthly(priced), list(by))
    keys = ["month", *by]
    sums = (
        rows.lazy()
        .group_by(*keys, "currency")
        .agg(known_sum(name).cast(MONEY) for name in ("money", "calls", "tokens"))
        .join(listed, on=keys, how="left", nulls_equal=True)
        .sort(*keys, "currency", nulls_last=True)
        .collect()
    )
    told = []
    for row in sums.to_dicts():
        paid = divided(row["money"], row["tokens"], _MTOK)
        asked = divided(row["reference"], row["priced_tokens"], _MTOK)
        reason = (
            "no price of the calls is known"
            if not asked
            else "no money is known for these calls"
            if row["money"] is None
            else "no tokens are known for this money"
            if paid is None
            else "published prices are in USD"
            if row["currency"] != "USD"
            else None
        )
        due = product(asked, divided(row["tokens"], Decimal(_MTOK))) if reason is None else None
        told.append(
            {name: row[name] for name in (*keys, "currency", "money", "calls", "tokens", "coverage")}
            | {
                "money_per_mtok": paid,
                "reference_per_mtok": asked,
                "times_reference": divided(paid, asked) if reason is None else None,
                "reference_money": due,
                "above_reference": None if due is None else exact_sum([row["money"], -due]),
                "reason": reason,
            }
        )
    first = (*keys, "currency", "money", "calls", "tokens")
    schema: _Schema = {name: sums.schema[name] for name in first}
    return pl.DataFrame(told, schema=schema | _REFERENCES)


_REFERENCES: _Schema = {
    "money_per_mtok": MONEY,
    "reference_per_mtok": MONEY,
    "times_reference": MONEY,
    "reference_money": MONEY,
    "above_reference": MONEY,
    "coverage": pl.Float64,
    "reason": pl.String,
}


def _listed(priced: pl.LazyFrame, by: list[str]) -> pl.LazyFrame:
    """Add up the published price and the tokens of all calls, per month and key."""
    own = [pl.col(OWN_MODEL).alias("model")] if OWN_MODEL in priced.collect_schema() else []
    thousandths = (pl.col("sample_weight") * 1000).round(0).cast(pl.Int64)
    known = pl.any_horizontal(pl.col(TOKENS).is_not_null())
    tokens = pl.when(known).then(pl.sum_horizontal(pl.col(TOKENS).fill_null(0)))
    has = pl.col("cost_computed_usd").is_not_null()
    # Rows of one weight are added up first: money times a weight is worked out once for each.
    sums = (
        priced.with_columns(own)
        .with_columns(thousandths.alias("_weight"), tokens.alias("_tokens"))
        .group_by("month", *by, "_weight")
        .agg(
            pl.col("cost_computed_usd").sum().alias("_usd"),
            pl.col("_tokens").filter(has).sum().alias("_priced"),
            pl.col("_tokens").sum().alias("_all"),
            has.any().alias("_has"),
        )
        .collect()
    )
    usd = [
        product(amount, Decimal(weight) / 1000) if any_has else None
        for amount, weight, any_has in sums.select("_usd", "_weight", "_has").iter_rows()
    ]
    whole = [
        (pl.col(name).cast(pl.Int128) * pl.col("_weight").cast(pl.Int128))
        .reinterpret(dtype=COUNTED)
        .alias(name)
        for name in ("_priced", "_all")
    ]
    return (
        sums.lazy()
        .with_columns(pl.Series("reference", usd, MONEY), *whole)
        .group_by("month", *by)
        .agg(
            known_sum("reference"),
            pl.col("_priced").sum().cast(MONEY).alias("priced_tokens"),
            share_of(pl.col("_priced").sum(), pl.col("_all").sum()).alias("coverage"),
        )
    )
