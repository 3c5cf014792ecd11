"""Oracle Cloud cost reports: CSV and CSV.gz, one row per resource and hour, one column per tag.

Source: Oracle Cloud Infrastructure documentation, Cost Reports (proprietary schema, and its mapping
to FOCUS); a real report of 2023 (finopsfoundation/focus_converters, read for its columns).

A report has no invoice: the billing period is the calendar month of the usage, as in Oracle's own
FOCUS report, and billed and effective cost are both ``cost/myCost`` (Oracle has no reservations).
Taxes are not in it. ``cost/attributedCost`` shares out the cost of a database cluster once more and
is only kept beside it. A quantity counts blocks: 0.000002 of ``1000000 NONE NONE DATAPOINTS`` are 2.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from finops_lab.errors import InputError
from finops_lab.ingestion._lookup import looked_up
from finops_lab.ingestion._moments import MOMENT
from finops_lab.ingestion._scan import ROW, as_text, scan_table
from finops_lab.ingestion.bills._bills import bill, free_names
from finops_lab.ingestion.bills._distinct import each_distinct
from finops_lab.ingestion.bills._gpus import gpu_of
from finops_lab.ingestion.registry import RAW, ReadSettings, Sample
from finops_lab.money import MONEY

__all__ = ["FORMAT", "SOURCE", "TABLE", "matches", "read"]

FORMAT = "OCI cost report"
TABLE = "costs"
SOURCE = "Oracle Cloud Infrastructure documentation, Cost Reports; rows of a real report of 2023"

_MARKERS = frozenset(
    {
        "lineitem/referenceno",
        "lineitem/tenantid",
        "lineitem/intervalusagestart",
        "usage/billedquantity",
        "cost/mycost",
        "cost/productsku",
        "cost/billingunitreadable",
        "product/service",
    }
)
_NEEDED = ("cost/myCost", "cost/currencyCode", "lineItem/intervalUsageStart")
_AMOUNTS = ("cost/mycost", "usage/billedquantity", "cost/unitprice")
_TIMES = ("lineitem/intervalusagestart", "lineitem/intervalusageend")
_CARRIED = (
    *_AMOUNTS,
    *_TIMES,
    "cost/currencycode",
    "lineitem/tenantid",
    "product/service",
    "product/description",
    "product/region",
    "product/availabilitydomain",
    "product/resourceid",
    "cost/productsku",
)
_TAG = "tags/"
_COUNTS = {"ONE": 1, "TEN": 10, "HUNDRED": 100, "THOUSAND": 1000, "MILLION": 10**6}
_TIME = {"HOUR": "Hours", "MONTH": "Months", "SECOND": "Seconds", "MINUTE": "Minutes", "DAY": "Days"}
_WHOLE = {"INSTANCE", "NODE", "NONE", ""}
_CATEGORIES = {
    "AI and Machine Learning": "GENERATIVE_AI GENERATIVEAI DATA_SCIENCE DATASCIENCE AI_LANGUAGE AI_VISION "
    "AI_SPEECH AI_DOCUMENT ANOMALY_DETECTION DIGITAL_ASSISTANT",
    "Analytics": "ANALYTICS ORACLE_ANALYTICS_CLOUD BIG_DATA DATA_FLOW DATAFLOW DATA_CATALOG",
    "Compute": "COMPUTE CONTAINER_ENGINE CONTAINER_INSTANCES FUNCTIONS VMWARE OKE",
    "Databases": "DATABASE MYSQL NOSQL POSTGRESQL REDIS OPENSEARCH",
    "Integration": "ORACLE_STREAMING_SERVICE STREAMING INTEGRATION QUEUE API_GATEWAY ONS NOTIFICATIONS EVENTS",
    "Management and Governance": "TELEMETRY MONITORING LOGGING LOGGING_ANALYTICS APM",
    "Networking": "NETWORK NETWORKING LOAD_BALANCER LOADBALANCER LBAAS FASTCONNECT DNS VPN NETWORK_FIREWALL",
    "Security": "KMS KEY_MANAGEMENT VAULT WAF CLOUD_GUARD",
    "Storage": "OBJECTSTORE OBJECT_STORAGE BLOCK_STORAGE BLOCKSTORAGE FILE_STORAGE ARCHIVE_STORAGE",
}
_SERVICE_CATEGORY = {
    service: category for category, services in _CATEGORIES.items() for service in services.split()
}
# Columns made on the way. They end in a blank, which `scan_table` leaves no column of a file.
_BLOCK, _NAME, _TAGS = "_block ", "_unit ", "_tags "
_UNIT: dict[str, pl.DataType] = {_BLOCK: pl.Int64(), _NAME: pl.String()}
_LAST_MONTH = datetime(9999, 12, 1, tzinfo=UTC)
# GPU products that are named after a generation of machines instead of the GPU.
_GENERATIONS = {"e4": "gpu4", "e3": "gpu3"}


def matches(sample: Sample) -> bool:
    """Tell whether a file is an Oracle cost (or usage) report: half of its telling columns are there."""
    names = {name.lower() for name in sample.columns}
    return sample.kind != "jsonl" and len(_MARKERS & names) >= len(_MARKERS) // 2


def read(path: Path, settings: ReadSettings) -> pl.LazyFrame:
    """Read one Oracle cost report as rows of the `costs` contract.

    Parameters
    ----------
    path : pathlib.Path
        CSV (plain or gzip) or Parquet.
    settings : ReadSettings
        `tag_keys` become ``x_tag_<key>``; a key is the name of the tag column behind ``tags/``.

    Returns
    -------
    polars.LazyFrame
        The `costs` contract without ``x_SourceFile``; the report's further columns with ``x_`` in
        front; and the reader's `RAW`, `REASONS` and `NOTES`. Tag columns become the JSON text of
        ``Tags``. ``PricingQuantity`` counts ``PricingUnit`` blocks, ``ConsumedQuantity`` single units.

    Raises
    ------
    InputError
        When a column that every bill needs is missing.
    """
    raw = scan_table(path)
    schema = {name: dtype for name, dtype in raw.collect_schema().items() if name != ROW}
    names: dict[str, str] = {}
    for name in schema:
        names.setdefault(name.lower(), name)
    _complete(names, path)
    tags = {name: f"_tag{number}" for number, name in enumerate(n for n in schema if n.startswith(_TAG))}

    def text(*keys: str) -> pl.Expr:
        found = [as_text(pl.col(names[key]), schema[names[key]]) for key in keys if key in names]
        stripped = [expr.str.strip_chars() for expr in found]
        filled = [pl.when(expr != "").then(expr) for expr in stripped]
        return pl.coalesce(filled) if filled else pl.lit(None, dtype=pl.String)

    def value(key: str, dtype: pl.DataType) -> pl.Expr:
        return pl.col(names[key]) if key in names else pl.lit(None, dtype=dtype)

    raw = raw.with_columns(each_distinct(text("cost/billingunitreadable"), unit_of, _UNIT).alias("_u "))
    if tags:
        struct = pl.struct(as_text(pl.col(name), schema[name]).alias(short) for name, short in tags.items())
        raw = raw.with_columns(_tags_json(struct, [n.removeprefix(_TAG) for n in tags]).alias(_TAGS))
    else:
        raw = raw.with_columns(pl.lit(None, dtype=pl.String).alias(_TAGS))
    raw = raw.unnest("_u ")

    start = value("lineitem/intervalusagestart", MOMENT)
    month = start.dt.truncate("1mo")
    cost = value("cost/mycost", MONEY)
    about, service = text("product/description"), text("product/service")
    currency = text("cost/currencycode").str.to_uppercase()
    corrected = text("lineitem/iscorrection").str.to_lowercase().is_in(["true", "y", "yes", "1"])
    carried = {names[key] for key in _CARRIED if key in names} | set(tags)
    done = bill(
        raw,
        {
            "BilledCost": cost,
            "EffectiveCost": cost,
            "ContractedCost": cost,
            "ContractedUnitPrice": value("cost/unitprice", MONEY),
            "BillingCurrency": currency,
            "BillingAccountId": text("cost/subscriptionid", "lineitem/tenantid"),
            "BillingAccountType": pl.lit("Subscription"),
            "SubAccountId": text("lineitem/tenantid"),
            "SubAccountType": pl.lit("Tenancy"),
            "BillingPeriodStart": month,
            "BillingPeriodEnd": pl.when(month < pl.lit(_LAST_MONTH).cast(MOMENT)).then(
                month.dt.offset_by("1mo")
            ),
            "ChargePeriodStart": start,
            "ChargePeriodEnd": value("lineitem/intervalusageend", MOMENT),
            "ChargeCategory": pl.lit("Usage"),
            "ChargeClass": pl.when(corrected).then(pl.lit("Correction")),
            "ChargeDescription": about,
            "ChargeFrequency": pl.lit("Usage-Based"),
            "InvoiceIssuerName": pl.lit("Oracle"),
            "ProviderName": pl.lit("Oracle"),
            "PublisherName": pl.lit("Oracle"),
            "ServiceName": service,
            "ServiceCategory": looked_up(service.str.to_uppercase(), _SERVICE_CATEGORY, pl.String()),
            "RegionId": text("product/region"),
            "AvailabilityZone": text("product/availabilitydomain"),
            "ResourceId": text("product/resourceid"),
            "ResourceType": text("product/resourceid").str.extract(r"^ocid1\.([a-z0-9]+)\."),
            "SkuId": text("cost/productsku"),
            "SkuMeter": about,
            "Tags": pl.col(_TAGS),
            **_quantities(value("usage/billedquantity", MONEY), text("cost/skuunitdescription")),
            **_tokens(about),
            **_machine(about, text("product/resource", "product/resourceid")),
        },
        amounts=[names[key] for key in _AMOUNTS if key in names],
        times=[names[key] for key in _TIMES if key in names],
        currency=currency,
        keep=free_names(
            (n for n in schema if n not in carried), taken=[f"x_tag_{k}" for k in settings.tag_keys]
        ),
        tag_keys=settings.tag_keys,
    )
    return done.with_columns(pl.struct(pl.col(RAW).struct.field(name) for name in schema).alias(RAW))


def _complete(names: dict[str, str], path: Path) -> None:
    missing = [name for name in _NEEDED if name.lower() not in names]
    if not {"cost/subscriptionid", "lineitem/tenantid"} & set(names):
        missing.append("cost/subscriptionId (or lineItem/tenantId)")
    if not missing:
        return
    usage = "usage/consumedquantity" in names and "cost/mycost" not in names
    raise InputError(
        f"the Oracle report has no column {' and no column '.join(missing)}",
        file=path,
        column=missing[0],
        hint="this is a usage report, which holds no money; deliver the cost report of the same days"
        if usage
        else "deliver the cost report with all of its columns",
    )


def unit_of(text: str) -> tuple[int, str]:
    """Read a billing unit: how many units the price is for, and the unit.

    Examples
    --------
    >>> unit_of("1000000 NONE NONE DATAPOINTS"), unit_of("1 GiB MONTHS STORAGE_SIZE")
    ((1000000, 'Datapoints'), (1, 'GiB-Months'))
    >>> unit_of("1 NONE HOURS INSTANCE"), unit_of("1 NONE HOURS OCPU")
    ((1, 'Hours'), (1, 'OCPU-Hours'))
    """
    words = text.split()
    block = 1
    if words and re.fullmatch(r"[0-9]{1,15}", words[0]):
        block = max(int(words.pop(0)), 1)
    elif words and words[0].upper() in _COUNTS:
        block = _COUNTS[words.pop(0).upper()]
    if len(words) < 2:
        return block, text
    size, time, measure = words[0], words[1].upper(), "_".join(words[2:]).upper()
    span = _TIME.get(time.removesuffix("S"), "Milliseconds" if time.startswith("MILLI") else "")
    spelled = (
        measure if measure.endswith("CPU") or measure == "GPU" else measure.replace("_", " ").capitalize()
    )
    if size.upper() != "NONE":
        return block, f"{size}-{span}" if span and measure != "DATA_TRANSFERRED" else size
    if span:
        return block, span if measure in _WHOLE else f"{spelled}-{span}"
    return block, "Units" if measure in _WHOLE else spelled


def _tags_json(tags: pl.Expr, keys: list[str]) -> pl.Expr:
    """Write the tag columns of a row as one JSON object; null where the row has no tag."""

    def batch(values: pl.Series) -> pl.Series:
        frame = values.struct.unnest()
        distinct = frame.unique()
        texts = []
        for row in distinct.iter_rows():
            pairs = {key: tag for key, tag in zip(keys, row, strict=True) if tag}
            texts.append(json.dumps(pairs, ensure_ascii=False) if pairs else None)
        table = distinct.with_columns(pl.Series("json", texts, dtype=pl.String))
        joined = frame.join(table, on=frame.columns, how="left", maintain_order="left", nulls_equal=True)
        return joined["json"].alias(values.name)

    return tags.map_batches(batch, return_dtype=pl.String, is_elementwise=True)


def _quantities(quantity: pl.Expr, described: pl.Expr) -> dict[str, pl.Expr]:
    block = pl.col(_BLOCK).fill_null(1)
    # A product beyond 20 digits would fail the whole file: such a quantity stays unknown.
    size = quantity.cast(pl.Float64).abs() * block
    by_gpu = (pl.col(_NAME) == "Hours") & described.str.contains(r"(?i)^gpu\b.*hour")
    unit = pl.when(by_gpu).then(pl.lit("GPU-Hours")).otherwise(pl.col(_NAME))
    return {
        "PricingQuantity": quantity,
        "PricingUnit": pl.when(block == 1)
        .then(unit)
        .otherwise(pl.concat_str(block.cast(pl.String), pl.lit(" "), unit)),
        "ConsumedQuantity": pl.when(size < 1e19).then(quantity) * block.cast(MONEY),
        "ConsumedUnit": unit,
    }


def _tokens(about: pl.Expr) -> dict[str, pl.Expr]:
    """Read a generative AI product: "OCI Generative AI - xAI - Grok 4 - Cached Input Tokens"."""
    tokens = about.str.contains(r"(?i)generative ai\b.*\btokens?\b").fill_null(False)
    way = about.str.extract(r"(?i)\b(input|output)\s+tokens?\b").str.to_lowercase()
    cached = about.str.contains(r"(?i)\bcached?\b").fill_null(False)
    name = (
        about.str.replace(r"(?i)[\s-]*\b(cached?\s+)?(input|output)?\s*tokens?\b.*$", "")
        .str.split(" - ")
        .list.last()
        .str.strip_chars()
        .str.to_lowercase()
        .str.replace_all(r"\s+", "-")
    )
    return {
        "ServiceSubcategory": pl.when(tokens).then(pl.lit("Generative AI")),
        "x_ModelId": pl.when(tokens).then(name),
        "x_TokenDirection": pl.when(tokens & (way == "input"))
        .then(pl.lit("Input"))
        .when(tokens & (way == "output"))
        .then(pl.lit("Output")),
        "x_TokenCacheAction": pl.when(tokens & cached & (way == "input")).then(pl.lit("Read")),
    }


def _machine(about: pl.Expr, resource: pl.Expr) -> dict[str, pl.Expr]:
    """Read a machine's shape, or the GPU of a product that is priced per GPU ("Compute - GPU - H100")."""
    shape = pl.coalesce(
        text.str.extract(r"(?i)\b((?:BM|VM)\.(?:GPU|Standard|DenseIO|Optimized)[\w.-]*\w)")
        for text in (about, resource)
    )
    family = about.str.extract(r"(?i)\bcompute - gpu - ([a-z]+[0-9]+[a-z]?(?: - v[0-9])?)\s*$")
    slug = family.str.to_lowercase().str.replace(" - ", "-", literal=True)
    named = pl.coalesce(looked_up(slug, _GENERATIONS, pl.String()), "gpu." + slug)
    priced = pl.concat_str(pl.lit("bm."), named, pl.lit(".1"))
    return {
        "x_InstanceType": shape,
        "x_GpuModel": gpu_of(pl.coalesce(shape, priced)).struct.field("x_GpuModel"),
        "x_GpuCount": gpu_of(shape).struct.field("x_GpuCount"),
    }
