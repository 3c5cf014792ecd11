"""What an Azure row used: service, place, resource, machine, tokens, prices and quantities."""

from __future__ import annotations

import polars as pl

from finops_lab.ingestion.bills._azure_columns import Columns
from finops_lab.ingestion.bills._azure_meters import (
    BLOCK,
    CACHE,
    DIRECTION,
    MODEL,
    TOKENS,
    UNIT,
    in_blocks,
)
from finops_lab.ingestion.bills._azure_services import service_category
from finops_lab.ingestion.bills._gpus import gpu_of
from finops_lab.money import MONEY

__all__ = ["blocks", "used"]


def used(export: Columns, usage: pl.Expr) -> dict[str, pl.Expr]:
    """Return the contract's columns that say what was used, and at which price."""
    return {**_what(export), **_prices(export), **_quantities(export, usage)}


def _what(export: Columns) -> dict[str, pl.Expr]:
    resource, meter = export.text("resource"), export.text("meter")
    family = pl.concat_str(
        export.text("meter_category"), export.text("meter_subcategory"), separator=" ", ignore_nulls=True
    ).str.to_lowercase()
    model = pl.col(MODEL)
    # Meters of newer models leave the family out: "5 mini", "5.4", "V3.1".
    named = (
        pl.when(model.str.contains(r"^\d+(\.\d+)?(-|$)") & family.str.contains("openai|gpt"))
        .then(pl.concat_str(pl.lit("gpt-"), model))
        .when(model.str.contains(r"^[rv]\d") & family.str.contains("deepseek"))
        .then(pl.concat_str(pl.lit("deepseek-"), model))
        .otherwise(model)
    )
    # The size of a machine: told by AdditionalInfo, else by a meter that means one size only.
    size = pl.when(
        (export.text("meter_category") == "Virtual Machines") & ~meter.str.contains("/", literal=True)
    ).then(
        pl.concat_str(
            pl.lit("Standard_"),
            meter.str.replace(r"(?i)\s+(spot|low priority)$", "").str.replace_all(" ", "_"),
        )
    )
    told = export.text("info").str.extract(r'"ServiceType"\s*:\s*"(\w+)"')
    machine = pl.coalesce(told, size)
    location = export.text("location")
    return {
        "ServiceName": pl.coalesce(export.text("meter_category"), export.text("service")),
        "ServiceCategory": service_category(export.text("meter_category"), export.text("service")),
        "ServiceSubcategory": pl.when(pl.col(TOKENS).fill_null(False)).then(pl.lit("Generative AI")),
        "RegionId": location.str.to_lowercase().str.replace_all(" ", ""),
        "RegionName": location,
        "AvailabilityZone": export.text("zone"),
        "ResourceId": resource,
        "ResourceName": pl.coalesce(
            export.text("resource_name"), resource.str.strip_chars_end("/").str.split("/").list.last()
        ),
        "ResourceType": resource.str.to_lowercase().str.extract(r"/providers/([^/]+/[^/]+)"),
        "SkuId": export.text("product_id"),
        "SkuMeter": meter,
        "Tags": _braced(export.text("tags")),
        "x_ModelId": named,
        "x_TokenDirection": pl.col(DIRECTION),
        "x_TokenCacheAction": pl.col(CACHE),
        "x_InstanceType": machine,
        "x_GpuModel": gpu_of(machine).struct.field("x_GpuModel"),
        "x_GpuCount": gpu_of(machine).struct.field("x_GpuCount"),
    }


def _braced(tags: pl.Expr) -> pl.Expr:
    """EA writes tags without the braces around them."""
    bare = tags.str.starts_with('"')
    return pl.when(bare).then(pl.concat_str(pl.lit("{"), tags, pl.lit("}"))).otherwise(tags)


def blocks(export: Columns) -> pl.Expr:
    """Tell whether a row's quantity counts blocks; null where nothing tells (`in_blocks`)."""
    listed = pl.coalesce(
        *[
            pl.when(price != 0).then(price)
            for price in (export.value("list_price", MONEY), export.value("unit_price", MONEY))
        ]
    )
    return in_blocks(
        export.value("quantity", MONEY),
        export.value("cost", MONEY),
        export.value("effective_price", MONEY),
        listed,
    )


def _quantities(export: Columns, usage: pl.Expr) -> dict[str, pl.Expr]:
    quantity, block = export.value("quantity", MONEY), pl.col(BLOCK).fill_null(1)
    in_block = blocks(export).fill_null(False)
    # A product beyond 20 digits would fail the whole file: such a quantity stays unknown.
    size = quantity.cast(pl.Float64).abs() * block
    single = pl.when(size < 1e19).then(quantity) * block.cast(MONEY)
    tokens = pl.col(TOKENS).fill_null(False) & (pl.col(UNIT) == "Units")
    unit = pl.when(tokens).then(pl.lit("Tokens")).otherwise(pl.col(UNIT))
    return {
        "PricingQuantity": pl.when(in_block | (block == 1))
        .then(quantity)
        .otherwise(quantity / block.cast(MONEY)),
        "PricingUnit": pl.when(block == 1)
        .then(unit)
        .otherwise(pl.concat_str(block.cast(pl.String), pl.lit(" "), unit)),
        "ConsumedQuantity": pl.when(usage).then(pl.when(in_block).then(single).otherwise(quantity)),
        "ConsumedUnit": pl.when(usage).then(unit),
    }


def _prices(export: Columns) -> dict[str, pl.Expr]:
    listed, agreed = export.value("list_price", MONEY), export.value("unit_price", MONEY)
    # An MCA's prices are in the pricing currency; without one they are in the billing currency.
    priced, billed = export.text("pricing_currency"), export.text("currency")
    same = priced.is_null() | (priced.str.to_uppercase() == billed.str.to_uppercase())
    return {
        "ListUnitPrice": pl.when(same).then(listed),
        "ContractedUnitPrice": pl.when(same).then(agreed),
        "PricingCurrencyListUnitPrice": pl.when(priced.is_not_null()).then(listed),
        "PricingCurrencyContractedUnitPrice": pl.when(priced.is_not_null()).then(agreed),
    }
