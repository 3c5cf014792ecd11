"""Headers of invoice tables: which column is which, whatever it is called."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

__all__ = ["TAGS", "find", "plain"]

# The first alias that a file has counts; letter case, blanks and signs do not.
_ALIASES: Mapping[str, tuple[str, ...]] = {
    "vendor": ("vendor", "vendor name", "supplier", "supplier name", "seller", "payee"),
    "amount": (
        "amount",
        "net amount",
        "line amount",
        "line total",
        "invoice amount",
        "amount billed",
        "amount due",
        "total amount",
        "total",
    ),
    "currency": ("currency", "currency code", "billing currency", "invoice currency"),
    "invoice_id": ("invoice id", "invoice number", "invoice no", "invoice", "document number", "bill number"),
    "invoice_date": (
        "invoice date",
        "bill date",
        "billing date",
        "issue date",
        "document date",
        "posting date",
        "date",
    ),
    "period_start": ("period start", "service period start", "service start", "start date", "start", "from"),
    "period_end": ("period end", "service period end", "service end", "end date", "end", "to"),
    "description": ("description", "line description", "item description", "item", "memo", "details"),
    "category": ("category", "charge category", "charge type", "line type"),
    "service": ("service", "service name", "product", "product name"),
    "service_category": ("service category",),
    "account": ("account", "account id", "account number", "customer number", "contract", "contract id"),
    "account_name": ("account name",),
    "quantity": ("quantity", "qty"),
    "unit": ("unit", "unit of measure", "uom"),
    "unit_price": ("unit price", "price per unit"),
    "effective_amount": (
        "effective amount",
        "effective cost",
        "amortized amount",
        "amortised amount",
        "depreciation",
        "depreciation amount",
    ),
    "resource": ("resource", "resource id", "asset", "asset id", "serial number"),
    "region": ("region", "location", "site"),
    "tags": ("tags", "labels"),
}
# Columns that say who owns a charge become tags of their name.
TAGS = (
    "team",
    "owner",
    "department",
    "cost_center",
    "business_unit",
    "project",
    "application",
    "environment",
    "feature",
    "customer",
)


def plain(header: str) -> str:
    """Bring a header to the letters and digits it is recognised by.

    Examples
    --------
    >>> plain("Invoice No."), plain("CostCenter")
    ('invoiceno', 'costcenter')
    """
    return re.sub(r"[^a-z0-9]", "", header.lower())


def find(headers: Iterable[str]) -> dict[str, str]:
    """Return the header of each known column that is there, ours in front.

    Examples
    --------
    >>> find(["Supplier", "Invoice No", "Total", "Cost Center"])
    {'vendor': 'Supplier', 'amount': 'Total', 'invoice_id': 'Invoice No', 'cost_center': 'Cost Center'}
    """
    known: dict[str, str] = {}
    for header in headers:
        known.setdefault(plain(header), header)
    wanted = {**_ALIASES, **{name: (name,) for name in TAGS}}
    found = {
        name: next((known[plain(alias)] for alias in aliases if plain(alias) in known), None)
        for name, aliases in wanted.items()
    }
    return {name: header for name, header in found.items() if header is not None}
