"""Google Cloud's usage cost export out of BigQuery, standard and detailed: JSON lines and Parquet.

Source: Cloud Billing documentation, schemas of the standard and the detailed usage cost export, and
Google's FOCUS view over the detailed export. What the view does with credits is followed in part:

- Google's view adds every credit to the row it stands on (BilledCost = EffectiveCost = cost + credits).
  Here credits that are prices by another name (sustained use, committed use, contract discounts, free
  tier, ...) are added so; a promotion, and a credit of a type not known here, is a row of its own with
  ChargeCategory ``Credit``, because it ends one day and a forecast must see the spend without it. Both
  ways the sum of BilledCost is the sum of cost and credits, which is the invoice.
- A commitment's fee stays ``Usage`` priced ``Committed``, as in Google's view: Google moves no fee to the
  usage it covers, so its EffectiveCost is what is billed.
- ChargeClass is ``Correction`` where ``adjustment_info`` corrects usage from before the invoice's month;
  Google's view says so of every adjustment, FOCUS only of months that were invoiced already.
- SubAccountId is the project. Invoice months begin at midnight in Los Angeles.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl

from finops_lab.errors import InputError
from finops_lab.ingestion import _json, _rows
from finops_lab.ingestion._scan import parquet_batches
from finops_lab.ingestion.bills._gcp_skus import Sku, machine, sku_of, unit_name
from finops_lab.ingestion.bills._gcp_values import decimal, first, invoice_month, items, moment, part, says
from finops_lab.ingestion.registry import ReadSettings, Sample, unreadable
from finops_lab.money import exact_sum

__all__ = ["FORMAT", "TABLE", "matches", "read"]

FORMAT = "GCP billing export"
SOURCE = (
    "Cloud Billing documentation, standard and detailed usage cost export, FOCUS view; from documentation"
)
TABLE = "costs"

_MARKERS = frozenset({"billing_account_id", "cost", "usage_start_time"})
_NEEDED = ("billing_account_id", "cost", "currency", "invoice", "usage_start_time")
_CATEGORIES = {
    "regular": "Usage",
    "tax": "Tax",
    "adjustment": "Adjustment",
    "rounding_error": "Adjustment",
}
_COMMITTED = {
    "COMMITTED_USAGE_DISCOUNT": "Usage",
    "COMMITTED_USAGE_DISCOUNT_DOLLAR_BASE": "Spend",
    "FEE_UTILIZATION_OFFSET": "Spend",
}
# Google's own reports call these discounts, and everything else "promotions and others".
_DISCOUNTS = frozenset(
    {
        *_COMMITTED,
        "DISCOUNT",
        "FREE_TIER",
        "RESELLER_MARGIN",
        "SPENDING_BASED_DISCOUNT",
        "SUBSCRIPTION_BENEFIT",
        "SUSTAINED_USAGE_DISCOUNT",
    }
)
_MACHINE = "compute.googleapis.com/machine_spec"
_PART_UNITS = {"gpu": "GPU-Hours", "core": "vCPU-Hours", "ram": "Hours"}
_EXTRA = (
    "x_ServiceId",
    "x_CostType",
    "x_Credits",
    "x_CreditId",
    "x_CreditType",
    "x_AdjustmentInfo",
    "x_CurrencyConversionRate",
    "x_CostAtEffectivePriceDefault",
    "x_ConsumptionModel",
    "x_ExportTime",
    "x_Location",
    "x_ProjectNumber",
)

Record = Mapping[str, Any]


def matches(sample: Sample) -> bool:
    """Tell whether a file holds rows of Google Cloud's usage cost export."""
    if sample.kind == "parquet":
        return _is_charge(sample.columns)
    return any(_is_charge(record) for record in _json.beginnings(sample))


def _is_charge(names: Any) -> bool:
    return set(names) >= _MARKERS and ("sku" in names or "service" in names)


def read(path: Path, settings: ReadSettings) -> pl.LazyFrame:
    """Read one export file as rows of the `costs` contract.

    A row of the export becomes one row, and one more for each promotion on it; both carry the number
    of the export's row. BilledCost and EffectiveCost are cost and discounts, ContractedCost is cost,
    ListCost is ``cost_at_list``. Tags are labels, tags, labels of the project and system labels; of
    equal keys the first named wins. ``x_InstanceType`` is the machine of a core, memory or GPU row;
    such rows count ``vCPU-Hours`` or ``GPU-Hours``, never hours of machines.

    Parameters
    ----------
    path : pathlib.Path
        JSON, an object per line or one array, plain or gzip; or Parquet with nested columns.
    settings : ReadSettings
        `tag_keys` become ``x_tag_<key>`` columns.

    Returns
    -------
    polars.LazyFrame
        The contract without ``x_SourceFile``, ``x_`` columns of the export, `RAW`, `REASONS`, `NOTES`.

    Raises
    ------
    InputError
        When the file cannot be read, or a Parquet file lacks a column that every bill needs.
    """
    with path.open("rb") as stream:
        parquet = stream.read(4) == b"PAR1"
    if parquet:
        _demand(path)
    return _rows.frame(
        TABLE,
        lambda: _charges(_parquet(path) if parquet else _lines(path)),
        extra=_EXTRA,
        tag_keys=settings.tag_keys,
    )


def _demand(path: Path) -> None:
    try:
        columns = pl.read_parquet_schema(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise unreadable(path, error) from None
    for name in _NEEDED:
        if name not in columns:
            raise InputError(
                f"the bill has no column {name}",
                file=path,
                column=name,
                hint="export the whole table gcp_billing_export_v1 or gcp_billing_export_resource_v1",
            )


def _lines(path: Path) -> Iterator[tuple[str | None, Any, str | None]]:
    for document in _json.documents(path):
        if isinstance(document.value, list):
            yield from ((None, record, None) for record in document.value)
        else:
            yield document.text, document.value, document.fault


def _parquet(path: Path) -> Iterator[tuple[str | None, Any, str | None]]:
    try:
        for batch in parquet_batches(pl.scan_parquet(path)):
            yield from ((None, record, None) for record in batch.iter_rows(named=True))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise unreadable(path, error) from None


def _charges(records: Iterator[tuple[str | None, Any, str | None]]) -> Iterator[dict[str, Any]]:
    for number, (text, record, fault) in enumerate(records, 1):
        line = _json.compact(record) if text is None else text
        if fault is None and not isinstance(record, dict):
            fault = "line: is not a row of the export"
        if fault is not None:
            yield _rows.broken(number, line, fault)
        else:
            yield from _rows_of(number, line, record)


def _rows_of(number: int, line: str, record: Record) -> Iterator[dict[str, Any]]:
    faults: list[str] = []
    notes: list[str] = []
    shared = _shared(record, faults, notes)
    credits = [c for c in items(record, "credits", faults) if says(c)]
    for credit in credits:
        if not isinstance(credit, dict):
            faults.append(f"credits: '{_json.short(credit)}' is not an object")
    credits = [credit for credit in credits if isinstance(credit, dict)]
    lowered = [credit for credit in credits if _is_discount(credit)]
    others = [credit for credit in credits if not _is_discount(credit)]
    reasons = [*faults]
    cost = record.get("cost")
    billed = _net(cost, lowered, reasons)
    project, adjustment = part(record, "project", []), part(record, "adjustment_info", [])
    common = {
        **shared,
        "source_row": number,
        "line": line,
        "x_ProjectNumber": _json.text(project.get("number")),
        "x_AdjustmentInfo": _json.compact(adjustment) if says(adjustment) else None,
    }
    yield {
        **common,
        **_use(record, lowered, notes),
        "BilledCost": billed,
        "EffectiveCost": billed,
        "ContractedCost": cost,
        "ListCost": record.get("cost_at_list"),
        "x_Credits": _json.compact(credits) if credits else None,
        "x_CostAtEffectivePriceDefault": record.get("cost_at_effective_price_default"),
        "reasons": reasons,
        "notes": notes,
    }
    for credit in others:
        # FOCUS: the costs of a charge without a price, such as a credit, are all what is billed.
        amount = credit.get("amount")
        costs = dict.fromkeys(("BilledCost", "EffectiveCost", "ContractedCost", "ListCost"), amount)
        yield {
            **common,
            **costs,
            "ChargeCategory": "Credit",
            "ChargeDescription": first(credit, "full_name", "name", "id"),
            "x_CreditId": _json.text(credit.get("id")),
            "x_CreditType": _json.text(credit.get("type")),
            "reasons": [*faults],
        }


def _shared(record: Record, faults: list[str], notes: list[str]) -> dict[str, Any]:
    """Return what a charge and the credits on it have in common."""
    service, sku = part(record, "service", notes), part(record, "sku", notes)
    project, place = part(record, "project", notes), part(record, "location", notes)
    resource = part(record, "resource", notes)
    start, end = invoice_month(part(record, "invoice", notes).get("month"), faults)
    since = moment(record.get("usage_start_time"), "usage_start_time", faults)
    kind = _json.text(record.get("cost_type"))
    category = _CATEGORIES.get((kind or "regular").lower())
    if kind is None:
        notes.append("cost_type: missing, taken as regular")
    elif category is None:
        faults.append(f"cost_type: '{_json.short(kind)}' is not {', '.join(_CATEGORIES)}")
    known = sku_of(*(_json.text(v) for v in (service.get("id"), service.get("description"))), _describe(sku))
    earlier = since is not None and start is not None and since < start
    owner = _json.text(record.get("seller_name"))
    own = _json.text(record.get("transaction_type")) in (None, "GOOGLE")
    name = _json.text(resource.get("global_name"))
    currency = _json.text(record.get("currency"))
    rate = record.get("currency_conversion_rate")
    return {
        "BillingCurrency": currency and currency.upper(),
        "BillingAccountId": _json.text(record.get("billing_account_id")),
        "SubAccountId": _json.text(project.get("id")),
        "SubAccountName": _json.text(project.get("name")),
        "SubAccountType": "Project" if _json.text(project.get("id")) else None,
        "BillingPeriodStart": start,
        "BillingPeriodEnd": end,
        "ChargePeriodStart": since,
        "ChargePeriodEnd": moment(record.get("usage_end_time"), "usage_end_time", faults),
        "ChargeCategory": category,
        "ChargeClass": "Correction" if earlier and says(record.get("adjustment_info")) else None,
        "ChargeDescription": _describe(sku),
        "InvoiceIssuerName": "Google Cloud",
        "ProviderName": "Google Cloud",
        "PublisherName": "Google Cloud" if own else owner,
        "ServiceCategory": known.category,
        "ServiceSubcategory": known.subcategory,
        "ServiceName": _json.text(service.get("description")),
        "RegionId": _json.text(place.get("region")),
        "AvailabilityZone": _json.text(place.get("zone")),
        "ResourceId": name or _json.text(resource.get("name")),
        "ResourceName": _json.text(resource.get("name")),
        "ResourceType": name.split("/")[-2] if name and name.count("/") > 3 else None,
        "SkuId": _json.text(sku.get("id")),
        "Tags": _tags(record, project, notes),
        "x_ModelId": known.model,
        "x_ServiceId": _json.text(service.get("id")),
        "x_CostType": kind,
        "x_CurrencyConversionRate": rate,
        "x_ConsumptionModel": _json.text(part(record, "consumption_model", notes).get("description")),
        "x_ExportTime": _json.text(record.get("export_time")),
        "x_Location": _json.text(place.get("location")),
    }


def _use(record: Record, lowered: list[Record], notes: list[str]) -> dict[str, Any]:
    """Return what was used and how it was priced; only regular charges have that."""
    if (_json.text(record.get("cost_type")) or "regular").lower() != "regular":
        return {}
    service, sku = part(record, "service", []), part(record, "sku", [])
    known = sku_of(*(_json.text(v) for v in (service.get("id"), service.get("description"))), _describe(sku))
    committed = [c for c in lowered if _json.text(c.get("type")) in _COMMITTED]
    found: dict[str, Any] = {
        "SkuMeter": _describe(sku),
        "PricingCategory": "Committed" if committed else known.pricing,
        "ChargeFrequency": "Recurring" if known.pricing == "Committed" else "Usage-Based",
        "x_TokenDirection": known.direction,
        "x_TokenCacheAction": known.cache,
        **_measures(record, known, notes),
    }
    # The fee of a commitment names it by its subscription, covered usage by its credit.
    subscription = _json.text(part(record, "subscription", notes).get("instance_id"))
    if committed:
        kind = _json.text(committed[0].get("type")) or ""
        found["CommitmentDiscountCategory"] = _COMMITTED[kind]
        found["CommitmentDiscountName"] = first(committed[0], "full_name", "name")
        found["CommitmentDiscountType"] = "Committed use discount"
    if subscription:
        found["CommitmentDiscountId"] = subscription
    if known.kind is not None:
        spec = _label(record, _MACHINE)
        model, count = machine(spec) if spec else (None, None)
        found["x_InstanceType"] = spec
        found["x_GpuModel"], found["x_GpuCount"] = model or known.gpu, count
    return found


def _measures(record: Record, sku: Sku, notes: list[str]) -> dict[str, Any]:
    usage, price = part(record, "usage", notes), part(record, "price", notes)
    unit, priced = _json.text(usage.get("unit")), _json.text(usage.get("pricing_unit"))
    used, sold = usage.get("amount"), usage.get("amount_in_pricing_units")
    names = [text and ("Tokens" if sku.tokens else unit_name(text)) for text in (unit, priced)]
    if names[1] == "Hours" and sku.kind is not None:
        names[1] = _PART_UNITS[sku.kind]
    found = {
        "ConsumedQuantity": used,
        "ConsumedUnit": names[0],
        "PricingQuantity": sold,
        "PricingUnit": names[1],
    }
    if unit in ("seconds", "byte-seconds") and sold is not None and priced:
        # Seconds are how Google meters; hours, which it sells, are what people reckon in.
        found["ConsumedQuantity"], found["ConsumedUnit"] = sold, names[1]
    block = decimal(price.get("pricing_unit_quantity"))
    count = decimal(sold)
    if block is not None and block > 1:
        digits = Decimal(block).normalize().as_tuple()
        if digits.digits != (1,) or count is None or not isinstance(digits.exponent, int):
            return found
        sign, figures, exponent = count.as_tuple()
        assert isinstance(exponent, int)  # a finite number's
        found["PricingQuantity"] = str(Decimal((sign, figures, exponent - digits.exponent)))
        found["PricingUnit"] = f"{int(block)} {names[1]}" if names[1] else None
    return {
        **found,
        "ListUnitPrice": price.get("list_price"),
        "ContractedUnitPrice": price.get("effective_price"),
    }


def _net(cost: Any, credits: list[Record], faults: list[str]) -> Any:
    """Return a cost with the discounts on it; its own text where there are none."""
    if not credits:
        return cost
    amounts = [decimal(cost)]
    for credit in credits:
        amounts.append(decimal(credit.get("amount")))
        if amounts[-1] is None:
            faults.append(f"credits: amount '{_json.short(credit.get('amount'))}' is not a number")
    known = [amount for amount in amounts if amount is not None]
    return str(exact_sum(known)) if len(known) == len(amounts) else cost


def _is_discount(credit: Record) -> bool:
    kind = _json.text(credit.get("type"))
    # Before September 2020 credits had a name only.
    return kind in _DISCOUNTS if kind else "discount" in (first(credit, "name", "id") or "").lower()


def _tags(record: Record, project: Record, notes: list[str]) -> str | None:
    tags: dict[str, str] = {}
    for holder, name in (
        (record, "system_labels"),
        (project, "labels"),
        (record, "tags"),
        (record, "labels"),
    ):
        for pair in items(holder, name, notes):
            if isinstance(pair, dict) and (key := _json.text(pair.get("key"))):
                tags[key] = _json.text(pair.get("value")) or ""
    return _json.compact(tags) if tags else None


def _label(record: Record, key: str) -> str | None:
    pairs = (p for p in items(record, "system_labels", []) if isinstance(p, dict) and p.get("key") == key)
    return next((_json.text(pair.get("value")) for pair in pairs), None)


def _describe(sku: Record) -> str | None:
    return _json.text(sku.get("description"))
