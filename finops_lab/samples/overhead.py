"""Everything around the models: storage, traffic, managed services, support, tax, credits."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl

from finops_lab.calendar import months_from
from finops_lab.samples.charges import concat, decimal, lump, usage
from finops_lab.samples.company import FIRST_DAY, LAST_DAY, PLATFORM, REGIONS, TEAMS
from finops_lab.samples.demand import Demand
from finops_lab.samples.plants import ANOMALIES, CORRECTION, CREDIT_CENTS, CREDITS_END, Plants
from finops_lab.samples.seeds import Floats, Ints, index_of, rounded, stream

__all__ = ["daily", "monthly"]

_CENT = 10**8  # in units of 10^-10


def daily(seed: int, demand: Demand, plants: Plants) -> pl.DataFrame:
    """Return storage, data transfer, logs and managed models: one charge a day each."""
    traffic = np.sum(list(demand.calls.values()), axis=0).astype(np.float64)
    load = traffic / traffic[-60:].mean()
    trend = np.linspace(0.35, 1.0, len(load))
    frames = [
        _storage(seed, demand, plants, trend),
        _egress(seed, demand, plants, load),
        _simple(
            seed,
            demand,
            "logs",
            210.0 * load,
            (5000, 4600),
            provider="aws",
            service_category="Management and Governance",
            service_subcategory="Observability",
            service="AmazonCloudWatch",
            account="platform-prod",
            region="us-east-1",
            resource_name="logs",
            resource_id="arn:aws:logs:synthetic:log-group/all",
            resource_type="Log Group",
            sku="CW-DataProcessing-Bytes",
            meter="DataProcessing-Bytes",
            description="Log data ingested",
            unit="GB",
            consumed_unit="GB",
            team=PLATFORM.name,
            environment="prod",
        ),
        _simple(
            seed,
            demand,
            "bedrock",
            5200.0 * load,
            (1100, 1040),
            provider="aws",
            service_category="AI and Machine Learning",
            service_subcategory="Generative AI",
            service="Amazon Bedrock",
            account="search-prod",
            region="us-east-1",
            resource_name="search-embeddings",
            resource_id="arn:aws:bedrock:synthetic:profile/search",
            resource_type="Inference Profile",
            sku="Bedrock-embed-input-tokens",
            meter="embed-input-tokens",
            description="Input tokens of a managed embedding model",
            unit="1000000 Tokens",
            consumed_unit="Tokens",
            per=1_000_000,
            team="search",
            product="Search",
            environment="prod",
        ),
        _simple(
            seed,
            demand,
            "vertex",
            3.3e3 * load,
            (1500, 1350),
            provider="gcp",
            service_category="AI and Machine Learning",
            service_subcategory="Generative AI",
            service="Vertex AI",
            account="assistants-prod",
            region="us-central1",
            resource_name="assistants-speech",
            resource_id="//aiplatform.example/models/speech",
            resource_type="Model",
            sku="Vertex-speech-minutes",
            meter="Speech minutes",
            description="Speech input of the assistants, minutes",
            unit="Minutes",
            consumed_unit="Minutes",
            team="assistants",
            product="Workspace",
            environment="prod",
        ),
    ]
    return concat(frames)


def _simple(
    seed: int,
    demand: Demand,
    part: str,
    volume: Floats,
    prices: tuple[int, int],
    *,
    per: int = 1,
    **texts: str,
) -> pl.DataFrame:
    noise = np.exp(stream(seed, f"overhead/{part}").normal(0, 0.03, len(volume)))
    quantity = rounded(volume * noise * 1_000_000, 1000)
    return usage(
        demand.days,
        quantity,
        prices,
        {
            "sku_price": f"{texts['sku']}.OnDemand",
            **texts,
        },
        per=per,
    )


def _storage(seed: int, demand: Demand, plants: Plants, trend: Floats) -> pl.DataFrame:
    month = demand.days.astype("datetime64[M]")
    length = ((month + 1).astype("datetime64[D]") - month.astype("datetime64[D]")).astype(np.int64)
    frames = []
    for owner, gigabytes, cloud in (
        ("platform", 420_000.0, "aws"),
        ("search", 380_000.0, "aws"),
        ("research", 640_000.0, "gcp"),
        ("assistants", 150_000.0, "gcp"),
    ):
        team = TEAMS.get(owner, PLATFORM)
        aws = cloud == "aws"
        # Priced per GB-month: a day of a short month costs more.
        frames.append(
            _simple(
                seed,
                demand,
                f"storage/{owner}",
                gigabytes * trend / length,
                (210, 200) if aws else (200, 190),
                provider=cloud,
                service_category="Storage",
                service_subcategory="Object Storage",
                service="Amazon Simple Storage Service" if aws else "Cloud Storage",
                account=f"{owner}-prod",
                region=REGIONS[cloud][team.region],
                resource_name=f"{owner}-data",
                resource_type="Bucket",
                resource_id=f"arn:aws:s3:::synthetic-{owner}-data"
                if aws
                else f"//storage.example/buckets/synthetic-{owner}-data",
                sku="S3-TimedStorage-ByteHrs" if aws else "GCS-Standard-Storage",
                meter="TimedStorage-ByteHrs" if aws else "Standard Storage",
                description="Object storage, standard",
                unit="GB-Months",
                consumed_unit="GB-Months",
                team=owner,
                environment="prod",
            )
        )
    extra: Ints = np.zeros(len(trend), dtype=np.int64)
    plant = ANOMALIES["storage-requests"]
    base = rounded(
        24_000.0
        * trend
        * np.exp(stream(seed, "overhead/s3-requests").normal(0, 0.04, len(trend)))
        * 1_000_000,
        10_000_000,
    )
    if plants.on:
        for day in plant.days():
            extra[index_of(day, FIRST_DAY)] = 380_000 * 1_000_000
    frames.append(
        usage(
            demand.days,
            base + extra,
            (50, 48),
            {
                "provider": "aws",
                "service_category": "Storage",
                "service_subcategory": "Object Storage",
                "service": "Amazon Simple Storage Service",
                "account": "platform-prod",
                "region": "us-east-1",
                "resource_name": "platform-data",
                "resource_id": "arn:aws:s3:::synthetic-platform-data",
                "resource_type": "Bucket",
                "sku": "S3-Requests-Tier1",
                "sku_price": "S3-Requests-Tier1.OnDemand",
                "meter": "Requests-Tier1",
                "description": "PUT, COPY, POST, or LIST requests",
                "unit": "1000 Requests",
                "consumed_unit": "Requests",
                "team": "platform",
                "environment": "prod",
            },
            extra6=extra,
            plant=plant.id,
            per=1000,
        )
    )
    return concat(frames)


def _egress(seed: int, demand: Demand, plants: Plants, load: Floats) -> pl.DataFrame:
    frames = []
    for cloud, region, gigabytes in (
        ("aws", "us-east-1", 3400.0),
        ("aws", "eu-west-1", 1300.0),
        ("gcp", "us-central1", 1500.0),
    ):
        aws = cloud == "aws"
        noise = np.exp(stream(seed, f"overhead/egress/{region}").normal(0, 0.05, len(load)))
        quantity = rounded(gigabytes * load * noise * 1_000_000, 1_000_000)
        extra = np.zeros(len(load), dtype=np.int64)
        plant = ANOMALIES["egress"]
        if plants.on and region == "us-east-1":
            for day in plant.days():
                at = index_of(day, FIRST_DAY)
                extra[at] = quantity[at] * 9
        # Data transfer carries no tags and no resource: it belongs to nobody by itself.
        frames.append(
            usage(
                demand.days,
                quantity + extra,
                (900, 850),
                {
                    "provider": cloud,
                    "service_category": "Networking",
                    "service_subcategory": "Network Connectivity",
                    "service": "AWS Data Transfer" if aws else "Networking",
                    "account": "network",
                    "region": region,
                    "sku": "DataTransfer-Out-Bytes" if aws else "Network-Internet-Egress",
                    "sku_price": "DataTransfer-Out-Bytes.Tier1" if aws else "Network-Internet-Egress.Tier1",
                    "meter": "DataTransfer-Out-Bytes" if aws else "Internet Egress",
                    "description": f"Data transfer out of {region} to the internet",
                    "unit": "GB",
                    "consumed_unit": "GB",
                },
                extra6=extra,
                plant=plant.id,
            )
        )
    return concat(frames)


def monthly(billed: pl.DataFrame, plants: Plants) -> pl.DataFrame:
    """Return support, tax, credits and a correction, from the month's other charges.

    Parameters
    ----------
    billed : polars.DataFrame
        All other charges: support is 3 % of AWS's usage, tax 4 % of AWS's and the model vendor's
        bill, rounded to cents.
    """
    sums = {
        (row[0], row[1]): int(row[2])
        for row in billed.group_by("provider", "billing_month").agg(pl.col("billed10").sum()).rows()
    }
    frames = []
    for month in months_from(date(FIRST_DAY.year, FIRST_DAY.month, 1), LAST_DAY.replace(day=1)):
        support = _percent(sums["aws", month], 3)
        frames.append(
            lump(
                month,
                support,
                provider="aws",
                category="Usage",
                service_category="Other",
                service_subcategory="Other (Other)",
                service="AWS Support (Business)",
                account="network",
                sku="AWSSupportBusiness",
                description="3% of monthly AWS usage",
            )
        )
        for provider, base in (("aws", sums["aws", month] + support), ("vendor", sums["vendor", month])):
            frames.append(
                lump(
                    month,
                    _percent(base, 4),
                    provider=provider,
                    category="Tax",
                    service_category="Other",
                    service_subcategory="Other (Other)",
                    account="network" if provider == "aws" else None,
                    service="Tax" if provider == "aws" else "Example Models API",
                    description="Sales tax 4%",
                )
            )
        if not plants.on or month < CREDITS_END:
            frames.append(
                lump(
                    month,
                    -CREDIT_CENTS * _CENT,
                    provider="gcp",
                    category="Credit",
                    account="network",
                    service_category="Other",
                    service_subcategory="Other (Other)",
                    service="Credits",
                    description=f"Promotional credit, ends {CREDITS_END}"
                    if plants.on
                    else "Promotional credit",
                    plant="credits-that-end" if plants.on else None,
                )
            )
    if plants.on:
        day, billed_in, team, cents = CORRECTION
        frames.append(
            lump(
                day,
                -cents * _CENT,
                provider="vendor",
                category="Usage",
                charge_class="Correction",
                frequency="One-Time",
                service_category="AI and Machine Learning",
                service_subcategory="Generative AI",
                service="Example Models API",
                account="reply-drafts",
                sku="quill-large-standard-output",
                meter="Output Tokens",
                description=f"Refund of output tokens billed twice on {day}",
                team=team,
                feature="reply-drafts",
                environment="prod",
                plant="correction",
            ).with_columns(
                pl.lit(billed_in).alias("billing_month"),
                (pl.col("start") + pl.duration(days=1)).alias("end"),
                pl.col("effective10").alias("plant10"),
            )
        )
    return concat(frames)


def _percent(amount10: int, percent: int) -> int:
    """Round a percentage of an amount to cents, half up."""
    return (amount10 * percent + 50 * _CENT) // (100 * _CENT) * _CENT


def credit_amount() -> str:
    """Return the monthly credit as a decimal string."""
    return decimal(-CREDIT_CENTS * _CENT)
