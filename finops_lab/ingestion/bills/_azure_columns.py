"""Columns of Azure cost files: one key each, whatever agreement, version, case or language spells them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import polars as pl

from finops_lab.ingestion._scan import as_text

__all__ = ["Columns", "find", "plain", "schema_of", "spelled"]

# Spellings over the years, newest first: letters only, lower case.
_NAMES: Mapping[str, tuple[str, ...]] = {
    "cost": ("costinbillingcurrency", "pretaxcost", "extendedcost", "cost"),
    "currency": ("billingcurrencycode", "billingcurrency", "currency", "currencycode"),
    "date": ("date", "usagedatetime", "usagedate"),
    "period_start": ("billingperiodstartdate", "billingperiodstart"),
    "period_end": ("billingperiodenddate", "billingperiodend"),
    "account": ("billingaccountid",),
    "account_name": ("billingaccountname",),
    "profile": ("billingprofileid",),
    "profile_name": ("billingprofilename",),
    "subscription": ("subscriptionid", "subscriptionguid"),
    "subscription_name": ("subscriptionname",),
    "charge_type": ("chargetype",),
    "pricing_model": ("pricingmodel",),
    "frequency": ("frequency",),
    "quantity": ("quantity", "usagequantity", "consumedquantity"),
    "unit": ("unitofmeasure",),
    "effective_price": ("effectiveprice", "resourcerate"),
    "list_price": ("paygprice",),
    "unit_price": ("unitprice",),
    "list_cost": ("paygcostinbillingcurrency",),
    "pricing_currency": ("pricingcurrency", "pricingcurrencycode"),
    "pricing_cost": ("costinpricingcurrency",),
    "product": ("productname", "product"),
    "product_id": ("productid",),
    "meter_category": ("metercategory",),
    "meter_subcategory": ("metersubcategory",),
    "meter": ("metername",),
    "service": ("consumedservice",),
    "location": ("resourcelocation", "location"),
    "resource": ("resourceid", "instanceid", "instancename"),
    "resource_name": ("resourcename",),
    "zone": ("availabilityzone",),
    "tags": ("tags",),
    "info": ("additionalinfo",),
    "publisher": ("publishername",),
    "publisher_type": ("publishertype",),
    "partner": ("partnername",),
    "invoice": ("invoiceid",),
    "reservation": ("reservationid",),
    "reservation_name": ("reservationname",),
    "benefit": ("benefitid",),
    "benefit_name": ("benefitname",),
}
_MCA = {"exchangeratepricingtobilling", "costinpricingcurrency", "costinusd", "pricingcurrency"}
_EA = {"partnumber", "accountownerid", "departmentname", "offerid", "accountname"}
_PAY_AS_YOU_GO = {"subscriptionguid", "usagedatetime", "pretaxcost"}
_SPELLED = {name.lower(): name for name in ("MeterId", "MeterSubCategory", "UnitOfMeasure", "PayGPrice")}
# Older exports head a column in the reader's language and give the field's own name in brackets.
_IN_BRACKETS = re.compile(r".*\(\s*([A-Za-z][A-Za-z0-9 ]*)\s*\)\s*")


def plain(name: str) -> str:
    """Return a header's field name, lower case without blanks and marks.

    Examples
    --------
    >>> plain("MeterCategory"), plain("Kategorie der Verbrauchseinheit (MeterCategory)")
    ('metercategory', 'metercategory')
    """
    found = _IN_BRACKETS.fullmatch(name)
    return re.sub(r"[^a-z0-9]", "", (found[1] if found else name).lower())


def spelled(name: str) -> str:
    """Return a column's field name in one spelling, as agreements differ in case and Delta does not.

    Examples
    --------
    >>> spelled("costCenter"), spelled("MeterSubcategory"), spelled("Kostenstelle (CostCenter)")
    ('CostCenter', 'MeterSubCategory', 'CostCenter')
    """
    found = _IN_BRACKETS.fullmatch(name)
    own = (found[1] if found else name).strip()
    return _SPELLED.get(plain(name), own[:1].upper() + own[1:])


def find(names: Iterable[str]) -> dict[str, str]:
    """Tell which column of a file holds what; the newest spelling wins, then the first column.

    Examples
    --------
    >>> find(["Cost", "costInBillingCurrency", "Datum (Date)", "x"])
    {'cost': 'costInBillingCurrency', 'date': 'Datum (Date)'}
    """
    given: dict[str, str] = {}
    for name in names:
        given.setdefault(plain(name), name)
    found = {}
    for key, spellings in _NAMES.items():
        first = next((given[s] for s in spellings if s in given), None)
        if first is not None:
            found[key] = first
    return found


def schema_of(names: Iterable[str]) -> str:
    """Tell the agreement that a file's columns belong to: EA, MCA (also partners) or pay-as-you-go."""
    given = {plain(name) for name in names}
    if given & _MCA:
        return "MCA"
    if given & _EA:
        return "EA"
    return "pay-as-you-go" if given & _PAY_AS_YOU_GO else "unknown"


class Columns:
    """The columns of one export by key, absent ones as nulls."""

    def __init__(self, schema: Mapping[str, pl.DataType]) -> None:
        self.schema = schema
        self.names = find(schema)

    def has(self, *keys: str) -> bool:
        """Tell whether the export has one of these columns."""
        return any(key in self.names for key in keys)

    def present(self, keys: Sequence[str]) -> list[str]:
        """Return the export's names of those keys that it has."""
        return [self.names[key] for key in keys if key in self.names]

    def text(self, key: str) -> pl.Expr:
        """Return a column as stripped text, blank as null."""
        if key not in self.names:
            return pl.lit(None, dtype=pl.String)
        name = self.names[key]
        text = as_text(pl.col(name), self.schema[name]).str.strip_chars()
        return pl.when(text != "").then(text)

    def value(self, key: str, dtype: pl.DataType) -> pl.Expr:
        """Return a column that was read in place (an amount or a moment)."""
        return pl.col(self.names[key]) if key in self.names else pl.lit(None, dtype=dtype)
