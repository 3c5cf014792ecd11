"""Azure cost exports: EA, MCA (and partners), pay-as-you-go; actual and amortized; CSV, CSV.gz, Parquet.

Source: Microsoft Cost Management, cost and usage details file schemas (EA 2024-08-01, MCA, MPA
2023-12-01-preview, pay-as-you-go 2019-11-01) and its guidance on converting them to FOCUS.

What a file does not say, and how it is read:

- **Actual or amortized.** Both datasets have the same columns. Rows decide, row by row: a purchase or
  refund of a reservation or savings plan is billed and has no effective cost; usage covered by one,
  and its unused rest, has an effective cost and is not billed (it shares out that purchase); any
  other row costs the same in both. ``x_AzureDataset`` says what the file was found to be (null when
  it has no commitments, and is the same either way). An actual export has covered usage at 0: its
  effective cost is 0 with a note, as the column may not be null. Delivering both datasets counts
  every other row twice.
- **Units or blocks.** Whether 5 of "1M" are 5 tokens or 5 million is told by each row's prices
  (`finops_lab.ingestion.bills._azure_meters.in_blocks`); where nothing tells, units, as documented.
- **Language.** A header in the reader's language has the field's name in brackets behind it, which
  is read. Dates are ISO 8601 or m/d/yyyy.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import polars as pl

from finops_lab.errors import InputError
from finops_lab.ingestion._moments import MOMENT
from finops_lab.ingestion._scan import ROW, scan_table
from finops_lab.ingestion.bills._azure_charges import category_of, charges, dataset_of, kind_of
from finops_lab.ingestion.bills._azure_columns import Columns, find, plain, schema_of, spelled
from finops_lab.ingestion.bills._azure_meters import BLOCK, TOKENS, meters, units
from finops_lab.ingestion.bills._azure_usage import blocks, used
from finops_lab.ingestion.bills._bills import bill, free_names
from finops_lab.ingestion.registry import RAW, ReadSettings, Sample
from finops_lab.money import MONEY

__all__ = ["FORMAT", "SOURCE", "TABLE", "matches", "read"]

FORMAT = "Azure cost export"
TABLE = "costs"
SOURCE = (
    "Microsoft Cost Management cost and usage details schemas (EA, MCA, MPA, pay-as-you-go) and FOCUS "
    "conversion guidance; a real EA export, real headers of partner and German exports"
)

_MARKERS = (
    "meter_category",
    "meter_subcategory",
    "meter",
    "unit",
    "service",
    "charge_type",
    "effective_price",
    "info",
    "cost",
)
# One of each is needed; the words are the usual spellings.
_NEEDED = (
    (("cost",), "CostInBillingCurrency (or PreTaxCost, Cost)"),
    (("currency",), "BillingCurrency (or BillingCurrencyCode, Currency)"),
    (("date",), "Date (or UsageDateTime)"),
    (("account", "profile", "subscription"), "BillingAccountId (or BillingProfileId, SubscriptionId)"),
)
_AMOUNTS = (
    "cost",
    "quantity",
    "effective_price",
    "list_price",
    "unit_price",
    "list_cost",
    "pricing_cost",
)
_TIMES = ("date", "period_start", "period_end")
# Carried whole by a column of the contract; everything else is kept beside it.
_CARRIED = (
    "currency",
    "date",
    "period_start",
    "period_end",
    "subscription",
    "subscription_name",
    "product",
    "product_id",
    "meter",
    "tags",
    "resource",
    "invoice",
    "zone",
    "list_cost",
    "pricing_currency",
    "frequency",
)
_OURS = ("x_AzureDataset", "x_AzureSchema")


def matches(sample: Sample) -> bool:
    """Tell whether a file is an Azure cost export: meters, and four more of its columns."""
    if sample.kind == "jsonl" or {"BilledCost", "EffectiveCost"} & set(sample.columns):
        return False
    found = find(sample.columns)
    meter = {"meter_category", "meter"} & set(found) or "meterid" in map(plain, sample.columns)
    return bool(meter) and sum(key in found for key in _MARKERS) >= 4


def read(path: Path, settings: ReadSettings) -> pl.LazyFrame:
    """Read one Azure cost export as rows of the `costs` contract.

    Parameters
    ----------
    path : pathlib.Path
        CSV (plain or gzip) or Parquet.
    settings : ReadSettings
        `tag_keys` become ``x_tag_<key>`` columns.

    Returns
    -------
    polars.LazyFrame
        The `costs` contract without ``x_SourceFile``; the export's further columns with ``x_`` in
        front; ``x_AzureDataset`` (``actual``, ``amortized``, ``actual and amortized``, null where
        nothing tells) and ``x_AzureSchema`` (``EA``, ``MCA``, ``pay-as-you-go``, ``unknown``); and
        the reader's `RAW`, `REASONS` and `NOTES`. ``PricingQuantity`` counts ``PricingUnit``, the
        block a price is for; ``ConsumedQuantity`` counts single units.

    Raises
    ------
    InputError
        When a column that every bill needs is missing; the columns found are named.
    """
    raw = scan_table(path)
    schema = {name: dtype for name, dtype in raw.collect_schema().items() if name != ROW}
    export = Columns(schema)
    _complete(export, path)
    agreement = schema_of(schema)
    dataset = dataset_of(raw, export, path)
    raw = raw.with_columns(
        units(export.text("unit")).alias("_u "), meters(export.text("meter")).alias("_m ")
    ).unnest("_u ", "_m ")
    kind = kind_of(export)
    carried = {export.names[key] for key in _CARRIED if export.has(key)}
    tags = [f"x_tag_{key}" for key in settings.tag_keys]
    done = bill(
        raw,
        {**charges(export, kind, agreement), **used(export, kind["usage"])},
        amounts=export.present(_AMOUNTS),
        times=export.present(_TIMES),
        currency=export.text("currency").str.to_uppercase(),
        keep=_kept((name for name in schema if name not in carried), [*_OURS, *tags]),
        tag_keys=settings.tag_keys,
        notes=_notes(export, kind, dataset),
    )
    delivered = pl.struct(pl.col(RAW).struct.field(name) for name in schema)
    return done.with_columns(
        pl.lit(dataset, dtype=pl.String).alias("x_AzureDataset"),
        pl.lit(agreement).alias("x_AzureSchema"),
        delivered.alias(RAW),
    )


def _kept(names: Iterable[str], taken: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in names:
        own = spelled(name)
        found[name] = free_names([own], taken=[*taken, *found.values()])[own]
    return found


def _complete(export: Columns, path: Path) -> None:
    missing = [words for keys, words in _NEEDED if not export.has(*keys)]
    if missing:
        seen = ", ".join(list(export.schema)[:12])
        raise InputError(
            f"the Azure export has no column {' and no column '.join(missing)}; its columns are {seen}"
            + (" ..." if len(export.schema) > 12 else ""),
            file=path,
            hint="export the cost and usage details with all columns; headers must be English, or have "
            "the English name in brackets",
        )


def _notes(export: Columns, kind: dict[str, pl.Expr], dataset: str | None) -> list[tuple[pl.Expr, pl.Expr]]:
    cost, quantity = export.value("cost", MONEY), export.value("quantity", MONEY)
    assumed = (
        pl.col(TOKENS).fill_null(False) & (pl.col(BLOCK) > 1) & (quantity != 0) & blocks(export).is_null()
    )
    notes = [
        (
            category_of(kind).is_null() & kind["charge"].is_not_null(),
            pl.format("ChargeType: '{}' is not known, read as Adjustment", kind["charge"].fill_null("")),
        ),
        (
            kind["covered"] & (cost == 0) & (quantity != 0) & pl.lit(dataset == "actual"),
            pl.lit(
                "EffectiveCost: an actual export holds no amortised cost of covered usage, 0 is read; "
                "deliver the amortized export"
            ),
        ),
        (
            assumed,
            pl.format(
                "Quantity: nothing tells tokens from blocks of '{}', read as tokens",
                export.text("unit").fill_null(""),
            ),
        ),
    ]
    if not export.has("period_start"):
        notes.append(
            (
                export.value("date", MOMENT).is_not_null(),
                pl.lit("BillingPeriodStart: not in the export, the date's calendar month is taken"),
            )
        )
    return notes
