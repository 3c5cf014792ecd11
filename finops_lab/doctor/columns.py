"""Do columns hold what their name says: shifted values, regions, services, AI spend."""

from __future__ import annotations

import polars as pl

from finops_lab.doctor._model import Look, Tables, Told, check, total
from finops_lab.doctor._rows import examples, flagged
from finops_lab.doctor._words import amount, listed, place, share, shown, span
from finops_lab.wording import plural

__all__ = ["CHECKS"]

AI = "AI and Machine Learning"
_NUMBER = r"^\s*-?(?:\d+[.,]\d+|\d{2,}|\d+(?:\.\d+)?[eE][+-]?\d+)\s*$"
_DATE = r"^\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d|$)"
# Names and places; ids may well be numbers. Azure numbers its zones 1, 2, 3, which one digit allows.
_NAMES = (
    "AvailabilityZone",
    "RegionId",
    "RegionName",
    "ProviderName",
    "PublisherName",
    "InvoiceIssuerName",
    "ServiceCategory",
    "ServiceName",
    "ResourceType",
    "PricingCategory",
    "ConsumedUnit",
)
_PRICES = ("ListUnitPrice", "ContractedUnitPrice", "ListCost", "BilledCost", "PricingQuantity")
# What machine types look like in descriptions and SKUs of AWS, Google Cloud, Oracle and Azure.
_MACHINE = (
    r"(?i)\b((?:ml\.)?(?:p\d\w*|g\d\w*|trn\d\w*|inf\d\w*)(?:-[a-z0-9]+)?\.(?:\d*xlarge|metal)"
    r"|a\d\w?-(?:highgpu|megagpu|ultragpu|edgegpu)-\d+g|g[24]-standard-\d+"
    r"|(?:bm|vm)\.gpu[\w.-]*\.\d+"
    r"|(?:standard_)?n[cdv]\d+[a-z]*(?:[_ ][a-z0-9]+)*?[_ ]v\d)\b"
)
_ACCELERATOR = (
    r"(?i)\b(?:H100|H200|A100|B200|B300|GB200|L40S|A10G?|V100|T4|L4|MI300X|TPU|Trainium|Inferentia|GPU)\b"
)
_AI_SERVICE = (
    r"(?i)bedrock|sagemaker|vertex|openai|anthropic|gemini|cognitive services|azure ai|machine learning"
    r"|generative ai|model api"
)


@check(
    "shifted column",
    table="costs",
    severity="error",
    meaning="A column of names holds numbers or dates: the values of another column stand there.",
    fix="compare the file's header with its rows: a column is shifted or mapped wrongly; do not group by it",
)
def _shifted_column(tables: Tables) -> Look:
    parts = []
    for name in _NAMES:
        text = pl.col(name)
        number = text.cast(pl.Float64, strict=False)
        same = [
            (number == pl.col(price).cast(pl.Float64)).sum().cast(pl.Int64).alias(price) for price in _PRICES
        ]
        sure = text.str.contains(_NUMBER) | text.str.contains(_DATE)
        # A single digit may be a zone: it counts beside values that cannot be one.
        digit = number == pl.col("ListUnitPrice").cast(pl.Float64)
        parts.append(
            flagged(
                tables.costs,
                sure | digit if name == "AvailabilityZone" else sure,
                value=text.min(),
                sure=sure.sum(),
                more=same,
            ).with_columns(pl.lit(name).alias("column"))
        )
    found = yield pl.concat(parts)
    told = []
    for row in found.filter(pl.col("sure") > 0).iter_rows(named=True):
        near = max(_PRICES, key=lambda price: row[price])
        said = f", {row[near]:,} of them the row's {near}" if row[near] else ""
        told.append(
            Told(
                place(row["ProviderName"], row["BillingAccountId"], row["column"]),
                f"{row['column']} holds numbers or dates, such as {shown(row['value'])}, in "
                f"{plural(row['rows'], 'row')}{said}",
                row["rows"],
                row["BillingCurrency"],
                row["money"],
                examples(row),
            )
        )
    return told


@check(
    "zone outside its region",
    table="costs",
    severity="warning",
    meaning="AvailabilityZone does not belong to RegionId, where the provider's names tell.",
    fix="check RegionId and AvailabilityZone of the export before grouping by place",
)
def _zone_outside_its_region(tables: Tables) -> Look:
    zone, region = pl.col("AvailabilityZone"), pl.col("RegionId")
    named = pl.col("ProviderName").is_in(["AWS", "Google Cloud"]) & zone.str.contains(r"^[a-z]+-[a-z]+")
    found = yield flagged(tables.costs, named & ~zone.str.starts_with(region), zone=zone.min())
    return [
        Told(
            place(row["ProviderName"], row["BillingAccountId"], "AvailabilityZone"),
            f"{plural(row['rows'], 'row')} in a zone of another region, such as {shown(row['zone'])}",
            row["rows"],
            row["BillingCurrency"],
            row["money"],
            examples(row),
        )
        for row in found.iter_rows(named=True)
    ]


@check(
    "service in several categories",
    table="costs",
    severity="info",
    meaning="One ServiceName has several ServiceCategory values, so that sums by service cross categories.",
    fix="group by ServiceName or ServiceCategory, not by both as if one followed from the other",
)
def _service_in_several_categories(tables: Tables) -> Look:
    found = yield (
        tables.costs.group_by("ProviderName", "BillingCurrency", "ServiceName", "ServiceCategory")
        .agg(pl.len().cast(pl.Int64).alias("rows"), pl.col("BilledCost").abs().sum().alias("money"))
        .sort("rows", descending=True)
    )
    told = []
    keys = ["ProviderName", "BillingCurrency", "ServiceName"]
    for (provider, currency, service), rows in found.group_by(keys, maintain_order=True):
        if rows.height > 1:
            parts = [f"{c or 'none'} {n:,}" for c, n in rows.select("ServiceCategory", "rows").rows()]
            told.append(
                Told(
                    place(provider, service),
                    f"{shown(service)} stands in {rows.height} categories: {listed(parts)} rows",
                    int(rows["rows"].sum()),
                    str(currency),
                    total(rows["money"]),
                )
            )
    return told


@check(
    "AI spend outside the AI category",
    table="costs",
    severity="info",
    meaning="GPU machines and model services that FOCUS does not file under AI and Machine Learning.",
    fix=f"do not take ServiceCategory {AI!r} for AI spend: add what matched by rules in [[dimensions]]",
)
def _ai_spend_outside_its_category(tables: Tables) -> Look:
    spelled = [pl.col(name) for name in ("x_InstanceType", "SkuPriceDetails", "SkuId", "ChargeDescription")]
    machine = pl.coalesce(text.str.extract(_MACHINE, 1) for text in spelled).str.to_lowercase()
    named = pl.coalesce(pl.col(n).str.extract(_ACCELERATOR, 0) for n in ("SkuMeter", "ChargeDescription"))
    service = pl.when(pl.col("ServiceName").str.contains(_AI_SERVICE)).then(pl.col("ServiceName"))
    outside = (pl.col("ServiceCategory").is_null() | (pl.col("ServiceCategory") != AI)) & pl.col(
        "ChargeCategory"
    ).is_in(["Usage", "Purchase", "Adjustment"])
    by = ["BillingCurrency", "ProviderName", "ServiceCategory"]
    looked_at = ["x_GpuModel", "x_InstanceType", "SkuPriceDetails", "SkuId", "SkuMeter", "ChargeDescription"]
    # Patterns are tried once per distinct text, not once per charge.
    distinct = flagged(
        tables.costs, outside, by=[*by, *looked_at, "ServiceName"], net=pl.col("BilledCost").sum()
    )
    parts = (
        distinct.with_columns(pl.coalesce(pl.col("x_GpuModel"), machine, named, service).alias("_matched"))
        .filter(pl.col("_matched").is_not_null())
        .group_by(*by, "_matched")
        .agg(pl.col("rows", "net").sum(), pl.col("_first").min(), pl.col("_last").max())
    )
    bills = tables.costs.group_by("BillingCurrency").agg(
        pl.col("BilledCost").sum().alias("bill"),
        pl.when(pl.col("ServiceCategory") == AI).then(pl.col("BilledCost")).sum().alias("inside"),
    )
    found = yield parts.join(bills, on="BillingCurrency", how="left")
    told = []
    for (currency,), part in found.sort("BillingCurrency").group_by("BillingCurrency", maintain_order=True):
        code, bill = str(currency), part["bill"][0]
        largest = part.sort("net", "_matched", descending=[True, False])
        net = total(largest["net"])
        names = [
            f"{row['_matched']} ({row['ProviderName']}, {row['ServiceCategory'] or 'no category'}: "
            f"{plural(row['rows'], 'row')}, {amount(row['net'], code)}, {share(row['net'], bill)})"
            for row in largest.iter_rows(named=True)
        ]
        told.append(
            Told(
                code,
                f"{amount(net, code)} of AI machines and services, {share(net, bill)} of the net bill, are "
                f"outside ServiceCategory {AI!r} (which holds {amount(part['inside'][0], code)}). "
                f"Matched: {listed(names)}",
                int(part["rows"].sum()),
                code,
                net,
                [e for row in largest.head(3).iter_rows(named=True) for e in examples(row)[:1]],
            )
        )
    return told


@check(
    "price changed",
    table="costs",
    severity="info",
    meaning="The list price of a SKU changed between two days.",
    fix="nothing is wrong: name the price change in the review before explaining a change of spend by usage",
)
def _price_changed(tables: Tables) -> Look:
    rows = tables.costs.filter(
        (pl.col("ChargeCategory") == "Usage")
        & pl.col("ChargeClass").is_null()
        & pl.col("SkuId").is_not_null()
        & (pl.col("ListUnitPrice") > 0)
    )
    keys = ["ProviderName", "BillingCurrency", "SkuId", "PricingCategory", "PricingUnit", "RegionId"]
    found = yield (
        rows.group_by(*keys, "ListUnitPrice")
        .agg(
            pl.col("ChargePeriodStart").min().dt.date().alias("first"),
            pl.col("ChargePeriodStart").max().dt.date().alias("last"),
            pl.len().cast(pl.Int64).alias("rows"),
            pl.col("ListCost").sum().alias("money"),
        )
        .sort(*keys, "first", "ListUnitPrice", nulls_last=True)
        .with_columns(
            pl.col("ListUnitPrice").shift().over(keys).alias("before"),
            pl.col("last").shift().over(keys).alias("until"),
        )
        # Prices that hold on the same days are tiers or contracts, not a change.
        .filter(pl.col("first") > pl.col("until"))
        .group_by("ProviderName", "BillingCurrency", "SkuId", "first", "before", "ListUnitPrice")
        .agg(pl.col("rows").sum(), pl.col("money").sum())
        .sort("first", "SkuId")
    )
    return [
        Told(
            place(row["ProviderName"], row["SkuId"], row["first"]),
            f"the list price of {shown(row['SkuId'])} went from {row['before'].normalize():f} to "
            f"{row['ListUnitPrice'].normalize():f} on {row['first']}; since then "
            f"{amount(row['money'], row['BillingCurrency'])} at the new price (or a volume tier was reached)",
            row["rows"],
            row["BillingCurrency"],
            row["money"],
        )
        for row in found.iter_rows(named=True)
    ]


@check(
    "spelling off the specification",
    table="costs",
    severity="warning",
    meaning="A category is written in another case or with blanks, so that comparing it misses rows.",
    fix="bring the values to FOCUS's spelling in the export, or compare them without case",
)
def _category_spelling(tables: Tables) -> Look:
    allowed = {
        "ServiceCategory": _CATEGORIES,
        "PricingCategory": ("Standard", "Dynamic", "Committed", "Other"),
        "CommitmentDiscountStatus": ("Used", "Unused"),
        "CommitmentDiscountCategory": ("Spend", "Usage"),
        "ChargeFrequency": ("One-Time", "Recurring", "Usage-Based"),
    }
    parts = []
    for name, values in allowed.items():
        text = pl.col(name)
        near = text.str.strip_chars().str.to_lowercase().is_in([value.lower() for value in values])
        parts.append(
            flagged(
                tables.costs, near & ~text.is_in(values), by=["ProviderName", "BillingCurrency", name]
            ).select(pl.lit(name).alias("column"), pl.col(name).alias("value"), pl.all().exclude(name))
        )
    found = yield pl.concat(parts)
    return [
        Told(
            place(row["ProviderName"], row["column"], span(row["first"], row["last"])),
            f"{row['column']} is spelled {shown(row['value'])} in {plural(row['rows'], 'row')}",
            row["rows"],
            row["BillingCurrency"],
            row["money"],
            examples(row),
        )
        for row in found.iter_rows(named=True)
    ]


_CATEGORIES = (
    AI,
    "Analytics",
    "Business Applications",
    "Compute",
    "Databases",
    "Developer Tools",
    "Multicloud",
    "Identity",
    "Integration",
    "Internet of Things",
    "Management and Governance",
    "Media",
    "Migration",
    "Mobile",
    "Networking",
    "Security",
    "Storage",
    "Web",
    "Other",
)

CHECKS = (
    _shifted_column,
    _zone_outside_its_region,
    _service_in_several_categories,
    _ai_spend_outside_its_category,
    _price_changed,
    _category_spelling,
)
