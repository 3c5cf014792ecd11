"""Charges spelled as FOCUS 1.0 and 1.2 exports, with the dirt that real exports have."""

from __future__ import annotations

import zlib
from datetime import date
from pathlib import Path

import polars as pl

from finops_lab.samples.charges import decimal_text
from finops_lab.samples.plants import RESTATED, Plants
from finops_lab.samples.seeds import stream

__all__ = ["PROVIDERS", "write_bills"]

PROVIDERS = {
    "aws": ("AWS", "Amazon Web Services, Inc.", "100000000001", "Synthetic Sample Company payer"),
    "gcp": ("Google Cloud", "Google LLC", "SYNTH-000000-000001", "Synthetic Sample Company billing"),
    "vendor": (
        "Example Models API",
        "Example Models (synthetic)",
        "org-synthetic-1",
        "Synthetic Sample Company",
    ),
}
_REGION_NAMES = {
    "us-east-1": "US East (N. Virginia)",
    "eu-west-1": "Europe (Ireland)",
    "ap-southeast-1": "Asia Pacific (Singapore)",
    "us-central1": "Iowa",
    "europe-west4": "Netherlands",
    "asia-southeast1": "Singapore",
}
_ORDER = (
    "billing_month", "start", "service", "account", "resource_name", "sku", "sku_price", "category",
    "commitment_status",
)  # fmt: skip
# The 43 columns of FOCUS 1.0.
_V1_0 = [
    "AvailabilityZone",
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargeFrequency",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "CommitmentDiscountCategory",
    "CommitmentDiscountId",
    "CommitmentDiscountName",
    "CommitmentDiscountStatus",
    "CommitmentDiscountType",
    "ConsumedQuantity",
    "ConsumedUnit",
    "ContractedCost",
    "ContractedUnitPrice",
    "EffectiveCost",
    "InvoiceIssuerName",
    "ListCost",
    "ListUnitPrice",
    "PricingCategory",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "RegionId",
    "RegionName",
    "ResourceId",
    "ResourceName",
    "ResourceType",
    "ServiceCategory",
    "ServiceName",
    "SkuId",
    "SkuPriceId",
    "SubAccountId",
    "SubAccountName",
    "Tags",
]
_ADDED_1_2 = [
    "CapacityReservationId",
    "CapacityReservationStatus",
    "CommitmentDiscountQuantity",
    "CommitmentDiscountUnit",
    "ServiceSubcategory",
    "SkuMeter",
    "SkuPriceDetails",
    "BillingAccountType",
    "SubAccountType",
    "InvoiceId",
    "PricingCurrency",
    "PricingCurrencyContractedUnitPrice",
    "PricingCurrencyEffectiveCost",
    "PricingCurrencyListUnitPrice",
]
_V1_2 = tuple(sorted((*_V1_0, *_ADDED_1_2)))
_COSTS = {
    "BilledCost": "billed10",
    "EffectiveCost": "effective10",
    "ListCost": "list10",
    "ContractedCost": "contracted10",
    "PricingCurrencyEffectiveCost": "effective10",
}
_PRICES = {
    "ListUnitPrice": "list4",
    "ContractedUnitPrice": "contracted4",
    "PricingCurrencyListUnitPrice": "list4",
    "PricingCurrencyContractedUnitPrice": "contracted4",
}
_QUANTITIES = {"PricingQuantity": "quantity6", "ConsumedQuantity": "consumed6"}
_TEXTS = {
    "ChargeCategory": "category",
    "ChargeClass": "charge_class",
    "ChargeDescription": "description",
    "ChargeFrequency": "frequency",
    "CommitmentDiscountId": "commitment",
    "CommitmentDiscountStatus": "commitment_status",
    "ConsumedUnit": "consumed_unit",
    "PricingCategory": "pricing_category",
    "PricingUnit": "unit",
    "RegionId": "region",
    "ResourceId": "resource_id",
    "ResourceName": "resource_name",
    "ResourceType": "resource_type",
    "ServiceCategory": "service_category",
    "ServiceName": "service",
    "ServiceSubcategory": "service_subcategory",
    "SkuId": "sku",
    "SkuMeter": "meter",
    "SkuPriceDetails": "price_details",
    "SkuPriceId": "sku_price",
}
_MOMENTS = ("BillingPeriodStart", "BillingPeriodEnd", "ChargePeriodStart", "ChargePeriodEnd")


def write_bills(out: Path, seed: int, charges: pl.DataFrame, plants: Plants) -> None:
    """Write the three providers' exports below `out`.

    AWS delivers FOCUS 1.0 as CSV.gz, a file a month. Google Cloud delivers FOCUS 1.2 as Parquet, a
    file a quarter and for 2026-07 on a month. The model vendor delivers FOCUS 1.2 as CSV.gz a
    quarter; its newest month is a plain CSV.
    """
    for provider in PROVIDERS:
        rows = charges.filter(pl.col("provider") == provider).sort(
            _ORDER, nulls_last=True, maintain_order=True
        )
        rows = _with_tags(rows, seed, provider)
        folder = out / ("model-vendor" if provider == "vendor" else provider)
        for name, part in _files(provider, rows):
            if provider == "gcp" and plants.on and name == f"focus_{RESTATED[0]:%Y-%m}":
                _write_restated(folder, name, part)
            else:
                _write(folder / name, provider, part, plain=name.endswith("2026-10"))


def _files(provider: str, rows: pl.DataFrame) -> list[tuple[str, pl.DataFrame]]:
    month = pl.col("billing_month")
    quarter = pl.format("{}-Q{}", month.dt.year(), month.dt.quarter())
    each = month.dt.strftime("%Y-%m")
    since = {"aws": date(2000, 1, 1), "gcp": date(2026, 7, 1), "vendor": date(2026, 10, 1)}[provider]
    keyed = rows.with_columns(pl.when(month >= since).then(each).otherwise(quarter).alias("file"))
    return [
        (f"focus_{key[0]}", part.drop("file"))
        for key, part in keyed.partition_by("file", maintain_order=True, as_dict=True).items()
    ]


def _write_restated(folder: Path, name: str, part: pl.DataFrame) -> None:
    _, since, region, first, second = RESTATED
    late = (pl.col("start") >= since) & pl.col("region").eq(region).fill_null(False)
    _write(folder / f"delivered={first}" / name, "gcp", part.filter(~late), plain=False)
    _write(folder / f"delivered={second}" / name, "gcp", part, plain=False)


def _write(stem: Path, provider: str, part: pl.DataFrame, *, plain: bool) -> None:
    stem.parent.mkdir(parents=True, exist_ok=True)
    frame = _spell(part, provider)
    if provider == "gcp":
        typed = frame.with_columns(
            *[
                pl.col(name).cast(pl.Decimal(38, 10))
                for name in (*_COSTS, *_PRICES, *_QUANTITIES, "CommitmentDiscountQuantity")
                if name in frame.columns
            ],
            *[
                pl.col(name).str.to_datetime("%Y-%m-%dT%H:%M:%SZ", time_unit="us").dt.replace_time_zone("UTC")
                for name in _MOMENTS
            ],
        )
        typed.write_parquet(f"{stem}.parquet", compression="zstd", compression_level=15)
    elif plain and provider == "vendor":
        frame.write_csv(f"{stem}.csv")
    else:
        # polars' own gzip: no time and no name in the header, the same bytes on every machine.
        frame.write_csv(f"{stem}.csv.gz", compression="gzip", compression_level=9)


def _spell(part: pl.DataFrame, provider: str) -> pl.DataFrame:
    name, issuer, account, account_name = PROVIDERS[provider]
    columns = _V1_0 if provider == "aws" else _V1_2
    text = pl.String
    made = {
        **{focus: decimal_text(pl.col(ours), 10) for focus, ours in _COSTS.items()},
        **{focus: decimal_text(pl.col(ours), 4) for focus, ours in _PRICES.items()},
        **{focus: decimal_text(pl.col(ours), 6) for focus, ours in _QUANTITIES.items()},
        **{focus: pl.col(ours) for focus, ours in _TEXTS.items()},
        "BillingAccountId": pl.lit(account),
        "BillingAccountName": pl.lit(account_name),
        "BillingAccountType": pl.lit("Organization"),
        "BillingCurrency": pl.lit("USD"),
        "PricingCurrency": pl.lit("USD"),
        "ProviderName": pl.lit(name),
        "PublisherName": pl.lit(name),
        "InvoiceIssuerName": pl.lit(issuer),
        "InvoiceId": pl.format(f"{provider.upper()}-{{}}", pl.col("billing_month").dt.strftime("%Y%m")),
        "BillingPeriodStart": _moment(pl.col("billing_month")),
        "BillingPeriodEnd": _moment(pl.col("billing_month").dt.offset_by("1mo")),
        "ChargePeriodStart": _moment(pl.col("start")),
        "ChargePeriodEnd": _moment(pl.col("end")),
        "SubAccountName": pl.col("account"),
        "SubAccountId": _account_id(provider),
        "SubAccountType": pl.when(pl.col("account").is_not_null()).then(
            pl.lit("Project" if provider != "aws" else "Account")
        ),
        "RegionName": pl.col("region").replace_strict(_REGION_NAMES, default=None, return_dtype=text),
        "CommitmentDiscountCategory": _committed("Spend"),
        "CommitmentDiscountName": _committed("Compute commitment"),
        "CommitmentDiscountType": _committed("Savings Plan"),
        "Tags": pl.col("tags"),
    }
    return part.select(made.get(column, pl.lit(None, text)).alias(column) for column in columns)


def _moment(day: pl.Expr) -> pl.Expr:
    return day.dt.strftime("%Y-%m-%dT00:00:00Z")


def _committed(value: str) -> pl.Expr:
    return pl.when(pl.col("commitment").is_not_null()).then(pl.lit(value))


def _account_id(provider: str) -> pl.Expr:
    def numbered(name: str) -> str:
        number = zlib.crc32(f"{provider}/{name}".encode())
        return f"{200_000_000_000 + number}" if provider == "aws" else f"synthetic-{name}"

    return pl.col("account").map_batches(
        lambda s: pl.Series([None if v is None else numbered(v) for v in s], dtype=pl.String),
        return_dtype=pl.String,
    )


def _with_tags(rows: pl.DataFrame, seed: int, provider: str) -> pl.DataFrame:
    """Write the tags, one row in twenty with ``Team`` for ``team``, one in fifty without any."""
    dirt = stream(seed, f"tags/{provider}").random(rows.height)
    keys = {
        "team": "team",
        "feature": "project" if provider == "vendor" else "feature",
        "product": "product",
        "model": "model",
        "variant": "variant",
        "environment": "env",
        "customer": "customer",
    }
    rows = rows.with_columns(pl.Series("dirt", dirt))
    key_of_team = pl.when(pl.col("dirt") < 0.05).then(pl.lit("Team")).otherwise(pl.lit("team"))
    pairs = [
        pl.when(pl.col(column).is_not_null()).then(
            pl.format('"{}":"{}"', key_of_team if column == "team" else pl.lit(key), pl.col(column))
        )
        for column, key in keys.items()
    ]
    joined = pl.concat_str(pairs, separator=",", ignore_nulls=True)
    tagged = (joined != "") & (pl.col("dirt") < 0.98)
    braced = pl.concat_str(pl.lit("{"), joined, pl.lit("}"))
    return rows.with_columns(pl.when(tagged).then(braced).alias("tags")).drop("dirt")
