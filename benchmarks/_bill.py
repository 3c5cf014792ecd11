"""A synthetic FOCUS 1.0 bill of any size, made by seed: CSV.gz and Parquet, one file per month.

Shape: 43 FOCUS 1.0 columns and one `x_` column, three providers, hourly charges, resources drawn
by Zipf's law (few cause most rows), tags as JSON per resource (8 % without, 0.5 % cut off, 5 % with
`Team` for `team`), costs with 10 decimals, one bad row in a thousand. Everything in it is made up.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

COSTS = ("BilledCost", "EffectiveCost", "ListCost", "ContractedCost")
MONEY = (*COSTS, "ContractedUnitPrice", "ListUnitPrice", "ConsumedQuantity", "PricingQuantity")
TIMES = ("BillingPeriodStart", "BillingPeriodEnd", "ChargePeriodStart", "ChargePeriodEnd")
# Where the contract lets no row go without.
REQUIRED = (
    "BilledCost",
    "EffectiveCost",
    "BillingCurrency",
    "BillingAccountId",
    "BillingPeriodStart",
    "ChargePeriodStart",
    "ChargeCategory",
    "ProviderName",
)
TEAMS = ("search", "ads", "support", "growth", "platform", "risk", "mobile", "data")
MODELS = ("larch-7b", "larch-70b", "alder-13b", "alder-34b", "quill-small", "quill-large")
_PROVIDERS = ("CloudOne", "Nimbus", "TokenWorks")
# service, category, resource type, unit, price in 1e-10 USD
_SERVICES = (
    ("Virtual Machines", "Compute", "Instance", "Hours", 1_920_000_000),
    ("GPU Instances", "Compute", "GPU Instance", "Hours", 32_770_000_000),
    ("Managed Kubernetes", "Compute", "Cluster", "Hours", 1_000_000_000),
    ("Object Storage", "Storage", "Bucket", "GB-Months", 230_000_000),
    ("Block Storage", "Storage", "Volume", "GB-Months", 800_000_000),
    ("Model API", "AI and Machine Learning", "Model Endpoint", "1M tokens", 15_000_000_000),
    ("Managed Inference", "AI and Machine Learning", "Endpoint", "Hours", 14_080_000_000),
    ("Data Transfer", "Networking", "Gateway", "GB", 900_000_000),
    ("Relational Database", "Databases", "Database", "Hours", 3_410_000_000),
    ("Message Queue", "Integration", "Queue", "Requests", 4_000),
)
_REGIONS = ("us-east-1", "us-west-2", "eu-west-1", "eu-central-1", "ap-south-1")
_PRODUCTS = ("assist", "discover", "checkout", "core")
_SERVICES_WITH_MODELS = [
    name in ("GPU Instances", "Model API", "Managed Inference") for name, *_ in _SERVICES
]
_FIRST = datetime(2025, 1, 1)


@dataclass(frozen=True)
class Bill:
    """A written bill: its files, how many of its rows are bad, and the BilledCost of the others."""

    csv: tuple[Path, ...]
    parquet: tuple[Path, ...]
    rows: int
    bad: int
    billed: Decimal


def write(folder: Path, rows: int, *, seed: int = 11, files: int = 12, text: bool = True) -> Bill:
    """Write the bill below `folder`, as ``csv/*.csv.gz`` and the same rows as ``parquet/*.parquet``.

    What is bad in the CSV is null in the typed Parquet, so both hold the same bad rows. Without
    `text` only the Parquet is written.
    """
    for kind in ("csv", "parquet") if text else ("parquet",):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    resources = _resources(rng, max(20, min(300_000, rows // 50)))
    weights = np.arange(1, resources.height + 1) ** -1.05
    cumulated = np.cumsum(weights) / weights.sum()
    counts = np.diff(np.linspace(0, rows, files + 1).astype(int))
    csv, parquet, bad, billed = [], [], 0, 0
    for number, count in enumerate(counts):
        drawn = np.searchsorted(cumulated, rng.random(count))
        month, spoiled, amount = _month(rng, resources[drawn], _months_later(number))
        bad += spoiled
        billed += amount
        name = f"focus-{_months_later(number):%Y-%m}"
        if text:
            csv.append(folder / "csv" / f"{name}.csv.gz")
            month.lazy().sink_csv(csv[-1], compression="gzip", compression_level=4)
        parquet.append(folder / "parquet" / f"{name}.parquet")
        typed(month).write_parquet(parquet[-1])
    return Bill(tuple(csv), tuple(parquet), rows, bad, Decimal(billed).scaleb(-10))


def typed(month: pl.DataFrame) -> pl.DataFrame:
    """Give text the dtypes of a Parquet export; what does not fit becomes null."""
    return month.with_columns(
        pl.col(MONEY).cast(pl.Decimal(38, 10), strict=False),
        pl.col(TIMES).str.to_datetime("%Y-%m-%dT%H:%M:%SZ", strict=False, time_zone="UTC"),
    )


def _months_later(number: int) -> datetime:
    return _FIRST.replace(year=_FIRST.year + number // 12, month=number % 12 + 1)


def _pick(rng: np.random.Generator, values: tuple[str, ...], size: int) -> pl.Series:
    return pl.Series(values).gather(rng.integers(0, len(values), size))


def _resources(rng: np.random.Generator, size: int) -> pl.DataFrame:
    """One row per resource: all columns that do not change from charge to charge."""
    service = rng.integers(0, len(_SERVICES), size)
    # A team has its product, two models and two regions; only services that run models know one.
    owner = rng.integers(0, len(TEAMS), size)
    either = rng.integers(0, 2, size)
    runs_model = pl.Series(_SERVICES_WITH_MODELS).gather(service)
    names = ("ServiceName", "ServiceCategory", "ResourceType", "PricingUnit", "price")
    columns = zip(names, zip(*_SERVICES, strict=True), strict=True)
    made = pl.DataFrame(
        {
            "number": pl.Series(rng.permutation(size)).cast(pl.String).str.zfill(7),
            "draw": rng.random(size),
            **{name: pl.Series(values).gather(service) for name, values in columns},
            "ProviderName": _pick(rng, _PROVIDERS, size),
            "team": pl.Series(TEAMS).gather(owner),
            "model": pl.Series(MODELS).gather((owner + either) % len(MODELS)),
            "runs_model": runs_model,
            "env": _pick(rng, ("prod", "prod", "prod", "staging", "dev"), size),
            "product": pl.Series(_PRODUCTS).gather(owner % len(_PRODUCTS)),
            "RegionId": pl.Series(_REGIONS).gather((owner + 2 * either) % len(_REGIONS)),
            "zone": _pick(rng, ("a", "b", "c"), size),
        }
    )
    key = pl.when(pl.col("draw") < 0.13).then(pl.lit("Team")).otherwise(pl.lit("team"))
    tags = pl.concat_str(
        pl.lit('{"'), key, pl.lit('": "'), "team", pl.lit('", "env": "'), "env",
        pl.lit('", "product": "'), "product",
        pl.when("runs_model").then(pl.concat_str(pl.lit('", "model": "'), "model")).otherwise(pl.lit("")),
        pl.lit('", "owner": "'), "team", pl.lit('-oncall@example.com"}'),
    )  # fmt: skip
    covered = pl.col("draw") > 0.9
    sku = pl.col("ServiceName").str.replace_all(" ", "").str.to_uppercase()
    return made.select(
        "price",
        covered.alias("covered"),
        pl.concat_str("RegionId", "zone").alias("AvailabilityZone"),
        pl.concat_str(pl.lit("payer-"), pl.col("ProviderName").str.to_lowercase()).alias("BillingAccountId"),
        pl.concat_str("ProviderName", pl.lit(" main account")).alias("BillingAccountName"),
        pl.concat_str(
            pl.lit("Charge for "), "ServiceName", pl.lit(", per "), "PricingUnit", pl.lit(" in "), "RegionId"
        ).alias("ChargeDescription"),
        pl.when(covered).then(pl.lit("Spend")).alias("CommitmentDiscountCategory"),
        pl.when(covered).then(pl.lit("commitment-0001")).alias("CommitmentDiscountId"),
        pl.when(covered).then(pl.lit("One year, no upfront")).alias("CommitmentDiscountName"),
        pl.when(covered).then(pl.lit("Used")).alias("CommitmentDiscountStatus"),
        pl.when(covered).then(pl.lit("Savings Plan")).alias("CommitmentDiscountType"),
        pl.col("PricingUnit").alias("ConsumedUnit"),
        pl.concat_str("ProviderName", pl.lit(" Inc.")).alias("InvoiceIssuerName"),
        pl.when(covered).then(pl.lit("Committed")).otherwise(pl.lit("Standard")).alias("PricingCategory"),
        "PricingUnit",
        "ProviderName",
        pl.concat_str("ProviderName", pl.lit(" Inc.")).alias("PublisherName"),
        "RegionId",
        pl.concat_str(pl.lit("Region "), "RegionId").alias("RegionName"),
        pl.concat_str(pl.lit("arn:"), sku, pl.lit(":"), "RegionId", pl.lit(":resource/"), "number").alias(
            "ResourceId"
        ),
        pl.concat_str(
            pl.when("runs_model").then("model").otherwise(pl.lit("node")), "env", "number", separator="-"
        ).alias("ResourceName"),
        "ResourceType",
        "ServiceCategory",
        "ServiceName",
        pl.concat_str(sku, pl.lit("-"), "RegionId").alias("SkuId"),
        pl.concat_str(sku, pl.lit("-"), "RegionId", pl.lit("-HRS")).alias("SkuPriceId"),
        pl.concat_str(pl.lit("sub-"), "team", pl.lit("-"), "env").alias("SubAccountId"),
        pl.concat_str("team", "env", separator="-").alias("SubAccountName"),
        pl.when(pl.col("draw").is_between(0.2, 0.205))
        .then(tags.str.head(40))
        .when(pl.col("draw") >= 0.08)
        .then(tags)
        .alias("Tags"),
        pl.concat_str(pl.lit("CC-"), pl.col("number").str.tail(3)).alias("x_CostCenter"),
    )


def _month(rng: np.random.Generator, drawn: pl.DataFrame, first: datetime) -> tuple[pl.DataFrame, int, int]:
    """Make one month's rows as text; also the number of bad rows and the others' cost in 1e-10."""
    size = drawn.height
    end = (first + timedelta(days=32)).replace(day=1)
    hours = rng.integers(0, int((end - first).total_seconds()) // 3600, size)
    # Quantities in millionths; a product below 1e-10 is cut, as vendors do.
    quantity = np.maximum(1, rng.lognormal(0, 2, size) * 1e6).astype(np.int64)
    price = drawn["price"].to_numpy().astype(np.int64)
    listed = (quantity * (price // 1_000)) // 1_000
    covered = drawn["covered"].to_numpy()
    effective = np.where(covered, listed * 7 // 10, listed)
    billed = np.where(covered, 0, listed)
    kind = rng.random(size)
    sign = np.where(kind < 0.01, -1, 1)
    bad = rng.random(size) < 0.001
    bad[0] = True
    fault = np.where(bad, rng.integers(0, 4, size), -1)
    start = pl.lit(first) + pl.duration(hours="hour")
    frame = drawn.with_columns(
        pl.Series("hour", hours),
        pl.Series("kind", kind),
        pl.Series("fault", fault),
        *[
            _decimal_text(f"{name}", values, digits)
            for name, values, digits in (
                ("BilledCost", billed * sign, 10),
                ("EffectiveCost", effective * sign, 10),
                ("ListCost", listed * sign, 10),
                ("ContractedCost", listed * sign, 10),
                ("ContractedUnitPrice", price, 10),
                ("ListUnitPrice", price, 10),
                ("ConsumedQuantity", quantity, 6),
                ("PricingQuantity", quantity, 6),
            )
        ],
    ).with_columns(
        start.dt.strftime("%Y-%m-%dT%H:%M:%SZ").alias("ChargePeriodStart"),
        (start + pl.duration(hours=1)).dt.strftime("%Y-%m-%dT%H:%M:%SZ").alias("ChargePeriodEnd"),
        pl.lit(f"{first:%Y-%m-%dT%H:%M:%SZ}").alias("BillingPeriodStart"),
        pl.lit(f"{end:%Y-%m-%dT%H:%M:%SZ}").alias("BillingPeriodEnd"),
        pl.lit("USD").alias("BillingCurrency"),
        pl.lit("Usage-Based").alias("ChargeFrequency"),
        pl.when(pl.col("kind") < 0.01)
        .then(pl.lit("Credit"))
        .otherwise(pl.lit("Usage"))
        .alias("ChargeCategory"),
        pl.when(pl.col("kind") > 0.999).then(pl.lit("Correction")).alias("ChargeClass"),
    )
    spoilt = frame.with_columns(
        pl.when(pl.col("fault") == 0).then(pl.lit("12,5O")).otherwise("BilledCost").alias("BilledCost"),
        pl.when(pl.col("fault") == 1)
        .then(pl.lit("soon"))
        .otherwise("ChargePeriodStart")
        .alias("ChargePeriodStart"),
        pl.when(pl.col("fault") != 2).then("BillingCurrency").alias("BillingCurrency"),
        pl.when(pl.col("fault") != 3).then("EffectiveCost").alias("EffectiveCost"),
    )
    rows = spoilt.select(sorted(set(spoilt.columns) - {"price", "covered", "hour", "kind", "fault"}))
    return rows, int(bad.sum()), int((billed * sign)[~bad].sum())


def _decimal_text(name: str, values: NDArray[np.int64], digits: int) -> pl.Series:
    """Spell whole numbers of 10**-digits as plain decimals, without going through floats."""
    texts = pl.Series(name, np.abs(values)).cast(pl.String).str.zfill(digits + 1).to_frame()
    signs = pl.Series(np.where(values < 0, "-", ""))
    return texts.select(
        pl.concat_str(
            signs, pl.col(name).str.head(-digits), pl.lit("."), pl.col(name).str.tail(digits)
        ).alias(name)
    ).to_series()
