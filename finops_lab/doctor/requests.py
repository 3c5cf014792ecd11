"""Are calls to models complete: prices, context, ids, cached answers, sampling."""

from __future__ import annotations

from decimal import Decimal

import polars as pl

from finops_lab.doctor._model import Look, Tables, Told, check
from finops_lab.doctor._rows import examples, key
from finops_lab.doctor._words import amount, place, share, shown, span
from finops_lab.pricing import price
from finops_lab.wording import plural

__all__ = ["CHECKS"]

_KEY = key("source_file", "source_row")
_ENDS = (_KEY.min().alias("_first"), _KEY.max().alias("_last"))
_CALLS = (pl.col("sample_weight") * pl.col("n_requests")).sum().alias("calls")
_ROWS = pl.len().cast(pl.Int64).alias("rows")
# What the source says the real calls behind the rows cost: an estimate, from which nothing is booked.
_REPORTED = pl.col("cost_reported_usd").cast(pl.Float64) * pl.col("sample_weight")
_LACKING = 0.05
_SOURCE = ("provider", "model", "hosting")


def _about(estimate: float) -> Decimal:
    """Round an estimate to cents."""
    return Decimal(f"{estimate:.2f}")


@check(
    "unpriced requests",
    table="inference_requests",
    severity="warning",
    meaning="Calls whose cost cannot be computed: a model, tier or count that the price book does not know.",
    fix="add the model's agreed prices as [[prices]] in finops.toml; self-hosted models are paid for by their "
    "machines: name their pools in [[pools]]",
)
def _unpriced_requests(tables: Tables) -> Look:
    if tables.prices is None:
        return []
    tokens = pl.sum_horizontal(
        pl.col(n).fill_null(0)
        for n in ("input_uncached_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens")
    )
    by = [*_SOURCE, "unpriced_reason"]
    found = yield (
        price(tables.requests, tables.prices)
        .filter(pl.col("unpriced_reason").is_not_null() & (pl.col("status") == "ok"))
        .group_by(by)
        .agg(
            _ROWS,
            _CALLS,
            (tokens * pl.col("sample_weight")).sum().alias("tokens"),
            pl.col("cost_reported_usd").count().cast(pl.Int64).alias("reported"),
            _REPORTED.sum().alias("money"),
            *_ENDS,
        )
        .sort(by, nulls_last=True)
    )
    told = []
    for row in found.iter_rows(named=True):
        money = _about(row["money"]) if row["reported"] else None
        own = row["hosting"] == "self_hosted"
        said = (
            f"about {row['calls']:,.0f} calls ({row['tokens']:,.0f} tokens, {plural(row['rows'], 'row')}) to "
            f"{shown(row['model'])} have no computed cost: {row['unpriced_reason']}"
        )
        if row["reported"]:
            said += f"; their source reports about {amount(money, 'USD')} for them"
        told.append(
            Told(
                place(row["provider"], row["model"], row["hosting"]),
                said,
                row["rows"],
                "USD" if row["reported"] else None,
                money,
                examples(row),
                severity="info" if own else None,
            )
        )
    return told


@check(
    "requests without context",
    table="inference_requests",
    severity="warning",
    meaning="Calls that carry no team, feature or customer: their cost cannot be given to an owner.",
    fix="let the gateway or SDK send it (finops.* attributes, or names of your own in [telemetry.attributes])",
)
def _requests_without_context(tables: Tables) -> Look:
    weight = pl.col("sample_weight") * pl.col("n_requests")
    found = yield tables.requests.select(
        _ROWS,
        weight.sum().alias("calls"),
        *[
            aggregate
            for name in ("team", "feature", "customer")
            for missing in [pl.col(name).is_null()]
            for aggregate in (
                missing.sum().cast(pl.Int64).alias(name),
                pl.when(missing).then(weight).sum().alias(f"{name}_calls"),
                pl.when(missing).then(_REPORTED).sum().alias(f"{name}_money"),
                pl.when(missing).then(_KEY).min().alias(f"{name}_first"),
                pl.when(missing).then(_KEY).max().alias(f"{name}_last"),
            )
        ],
    )
    row = found.row(0, named=True)
    told = []
    for name in ("team", "feature", "customer"):
        if not row[name]:
            continue
        calls = row[f"{name}_calls"]
        never = row[name] == row["rows"]
        few = calls < _LACKING * row["calls"]
        told.append(
            Told(
                name,
                f"{share(calls, row['calls'])} of calls (about {calls:,.0f}, {plural(row[name], 'row')}) have no "
                f"{name}" + (": none has one" if never else ""),
                row[name],
                "USD" if row[f"{name}_money"] else None,
                _about(row[f"{name}_money"]) if row[f"{name}_money"] else None,
                examples({"_first": row[f"{name}_first"], "_last": row[f"{name}_last"]}),
                severity="info" if few or name == "customer" else None,
            )
        )
    return told


@check(
    "request id twice",
    table="inference_requests",
    severity="warning",
    meaning="One request id stands in several rows; across files the same call is likely counted twice.",
    fix='keep one of the sources by a [[coverage]] (table = "inference_requests"), or export the log again',
)
def _request_id_twice(tables: Tables) -> Look:
    found = yield (
        tables.requests.filter(pl.col("request_id").is_not_null())
        .group_by("request_id")
        .agg(
            _ROWS,
            pl.col("source_file").min().alias("file"),
            pl.col("source_file").max().alias("other"),
            pl.col("cost_reported_usd").sum().alias("money"),
            pl.col("cost_reported_usd").max().alias("one"),
            *_ENDS,
        )
        .filter(pl.col("rows") > 1)
        .group_by("file", "other")
        .agg(
            pl.len().cast(pl.Int64).alias("ids"),
            (pl.col("rows") - 1).sum().alias("rows"),
            (pl.col("money") - pl.col("one")).sum().alias("money"),
            pl.col("_first").min(),
            pl.col("_last").max(),
        )
        .sort("file", "other")
    )
    return [
        Told(
            row["file"] if row["file"] == row["other"] else f"{row['file']} and {row['other']}",
            f"{plural(row['ids'], 'request id')} stand in more than one row, {plural(row['rows'], 'row')} too many",
            row["rows"],
            "USD" if row["money"] else None,
            row["money"] or None,
            examples(row),
            severity="error" if row["file"] != row["other"] else None,
        )
        for row in found.iter_rows(named=True)
    ]


@check(
    "cost of cached answers",
    table="inference_requests",
    severity="warning",
    meaning="Calls that a gateway answered from its own cache, and that it reports a cost for.",
    fix="do not add cost_reported_usd of these rows: a gateway's own cache costs nothing at the vendor",
)
def _cost_of_cached_answers(tables: Tables) -> Look:
    by = ["provider", "source_file"]
    found = yield (
        tables.requests.filter(pl.col("served_from_cache") & (pl.col("cost_reported_usd") > 0))
        .group_by(by)
        .agg(_ROWS, pl.col("cost_reported_usd").sum().alias("money"), *_ENDS)
        .sort(by, nulls_last=True)
    )
    return [
        Told(
            place(row["provider"], row["source_file"]),
            f"{plural(row['rows'], 'call')} served from cache carry a cost of {amount(row['money'], 'USD')}",
            row["rows"],
            "USD",
            row["money"],
            examples(row),
        )
        for row in found.iter_rows(named=True)
    ]


@check(
    "sampled requests",
    table="inference_requests",
    severity="info",
    meaning="Rows stand for several calls each: sums of them are estimates.",
    fix="use weighted figures for shares and the bill for totals; rare variants have wide errors",
)
def _sampled_requests(tables: Tables) -> Look:
    found = yield (
        tables.requests.filter(pl.col("sample_weight") != 1)
        .group_by(pl.col("source_file").str.replace(r"/?[^/]*$", "").alias("folder"))
        .agg(
            _ROWS,
            _CALLS,
            pl.col("sample_weight").min().alias("low"),
            pl.col("sample_weight").max().alias("high"),
            *_ENDS,
        )
        .sort("folder")
    )
    return [
        Told(
            row["folder"] or "exports",
            f"{plural(row['rows'], 'row')} stand for about {row['calls']:,.0f} calls "
            f"({span(format(row['low'], ',g'), format(row['high'], ',g'))} each)",
            row["rows"],
            examples=examples(row),
        )
        for row in found.iter_rows(named=True)
    ]


CHECKS = (
    _unpriced_requests,
    _requests_without_context,
    _request_id_twice,
    _cost_of_cached_answers,
    _sampled_requests,
)
