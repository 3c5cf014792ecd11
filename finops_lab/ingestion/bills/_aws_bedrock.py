"""Token charges of Amazon Bedrock, as AWS's own models and as Marketplace products are billed.

Sources: Amazon Bedrock's offers in the AWS Price List (AmazonBedrock, AmazonBedrockService,
AmazonBedrockFoundationModels): usage types such as ``USE1-NovaPro-input-tokens`` in ``1K tokens``,
``USE1-MP:USE1_CacheReadInputTokenCount_Global-Units`` in ``Units`` whose description says
"Million Cache Read Input Tokens Global", ``USE1_cache_write_tokens_30m_standard-Units``.
"""

from __future__ import annotations

import polars as pl

from finops_lab.ingestion._lookup import looked_up
from finops_lab.ingestion.bills._aws_columns import Report
from finops_lab.money import MONEY, parse

__all__ = [
    "BEDROCK",
    "BLOCK",
    "CACHE",
    "DIRECTION",
    "MODEL",
    "is_bedrock",
    "product_name",
    "token_columns",
    "tokens",
]

_EDITION = r"(?i)\s*\(Amazon Bedrock Edition\)\s*$"
_NO_TOKENS = r"(?i)reserved|provisioned|TPM"
_TOKENS = r"(?i)token"
# Between the billing region and what is counted stands the model.
_FIRST_PARTY = (
    r"^(?:(?:[A-Z]{2,4}[0-9]|EU)-)?(.+?)-(?:mantle-)?(?:(?:text|image|speech|video|audio|batch)-)?"
    r"(?:input|output|cache)[-_]"
)


BEDROCK = "_aws_bedrock"
MODEL = "_aws_model"
DIRECTION = "_aws_direction"
CACHE = "_aws_cache"
BLOCK = "_aws_block"


def product_name(report: Report) -> pl.Expr:
    """Return the product's name; Marketplace rows of Bedrock have no other sign of it."""
    product = pl.col("_aws_product")
    return pl.coalesce(
        report.text("product_product_name"),
        product.struct.field("product_name"),
        report.text("product_servicename"),
        product.struct.field("servicename"),
    )


def is_bedrock(report: Report, name: pl.Expr) -> pl.Expr:
    """Return `BEDROCK`: by product code, service code or product name."""
    service = pl.coalesce(
        report.text("product_servicecode"), pl.col("_aws_product").struct.field("servicecode")
    )
    codes = [report.text("line_item_product_code"), service]
    by_code = [code.str.starts_with("AmazonBedrock").fill_null(False) for code in codes]
    return (by_code[0] | by_code[1] | name.str.contains(_EDITION).fill_null(False)).alias(BEDROCK)


def token_columns(report: Report, name: pl.Expr) -> list[pl.Expr]:
    """Return what a token charge is about: `MODEL`, and `DIRECTION`, `CACHE`, `BLOCK` where it is one.

    `MODEL` is the model as the bill names it. `BLOCK` is how many tokens one unit is.
    """
    # Other services' usage types are not looked at.
    usage = pl.when(pl.col(BEDROCK)).then(report.text("line_item_usage_type"))
    counted = usage.str.contains(_TOKENS) & ~usage.str.contains(_NO_TOKENS)
    usage = pl.when(counted).then(usage)
    sold = pl.when(name.str.contains(_EDITION)).then(name.str.replace(_EDITION, ""))
    attribute = pl.coalesce(report.text("product_model"), pl.col("_aws_product").struct.field("model"))
    model = pl.coalesce(sold, attribute, usage.str.extract(_FIRST_PARTY))
    return [
        pl.when(pl.col(BEDROCK)).then(model).alias(MODEL),
        pl.when(usage.str.contains("(?i)output"))
        .then(pl.lit("Output"))
        .when(usage.str.contains("(?i)input|cache"))
        .then(pl.lit("Input"))
        .alias(DIRECTION),
        pl.when(usage.str.contains("(?i)cache[-_]?read"))
        .then(pl.lit("Read"))
        .when(usage.str.contains("(?i)cache[-_]?write"))
        .then(pl.lit("Write"))
        .alias(CACHE),
        _block(report, usage.is_not_null()).alias(BLOCK),
    ]


def tokens(amount: pl.Expr, block: pl.Expr) -> pl.Expr:
    """Return the number of tokens in so many blocks, exactly; null where the block is unknown.

    The point is moved in the decimal text: a product of two Decimals would be rounded.
    """
    zeros = looked_up(block, {1: "e0", 1_000: "e3", 1_000_000: "e6"}, pl.String())
    moved = parse(amount.cast(pl.String) + zeros)
    return pl.when(block.is_not_null()).then(moved).otherwise(pl.lit(None, dtype=MONEY))


def _block(report: Report, counted: pl.Expr) -> pl.Expr:
    """Return how many tokens one unit is: 1, 1,000 or 1,000,000, from the row's own words.

    The unit says it for AWS's models. Marketplace products are counted in ``Units``, and the
    description of the line says of how many tokens.
    """
    unit = pl.when(counted).then(report.text("pricing_unit", "product_pricing_unit").str.to_lowercase())
    words = pl.when(counted).then(report.text("line_item_line_item_description").str.to_lowercase())
    return (
        pl.when(unit.str.contains(r"^(?:1\s*k|1,?000|thousand)\s*tokens?$"))
        .then(1_000)
        .when(unit.str.contains(r"^(?:1\s*m|1,?000,?000|million)\s*tokens?$"))
        .then(1_000_000)
        .when(unit.str.contains(r"^(?:1\s*)?tokens?$"))
        .then(1)
        .when(unit.str.contains("token"))
        .then(None)
        .when(words.str.contains(r"\bmillion\b[^|]*\btokens?\b|\b1m\b[^|]*\btokens?\b|\b1,?000,?000\b[^|]*\btokens?\b"))
        .then(1_000_000)
        .when(words.str.contains(r"\bthousand\b[^|]*\btokens?\b|\b1k\b[^|]*\btokens?\b|\b1,?000\b[^|]*\btokens?\b"))
        .then(1_000)
        .cast(pl.Int64)
    )  # fmt: skip
