"""A plain table of invoice lines: SaaS, colocation, depreciation of own machines, anything else.

Source: this library's own format, one line of an invoice per row, CSV (plain or gzip; any of ``, ; tab |``
between the columns) or Parquet. Headers are recognised without letter case, blanks and signs:

- needed: ``vendor`` (vendor name, supplier, seller, payee), ``amount`` (net amount, line amount, line
  total, invoice amount, amount billed, amount due, total amount, total), ``currency`` (currency code,
  billing currency, invoice currency), and ``invoice_id`` (invoice number, invoice no, invoice, document
  number, bill number) or ``invoice_date`` (bill date, billing date, issue date, document date, posting
  date, date)
- when: ``period_start`` (service period start, service start, start date, start, from), ``period_end``
  (service period end, service end, end date, end, to)
- what: ``description`` (line description, item description, item, memo, details), ``category`` (charge
  category, charge type, line type: usage, purchase, tax, credit or adjustment), ``service`` (service
  name, product, product name), ``service_category``, ``quantity`` (qty), ``unit`` (unit of measure, uom),
  ``unit_price`` (price per unit), ``resource`` (resource id, asset, asset id, serial number), ``region``
  (location, site)
- whose: ``account`` (account id, account number, customer number, contract, contract id),
  ``account_name``, ``tags`` (labels: a JSON object), and ``team``, ``owner``, ``department``,
  ``cost_center``, ``business_unit``, ``project``, ``application``, ``environment``, ``feature``,
  ``customer``, which become tags
- ``effective_amount`` (effective cost, amortized amount, depreciation, depreciation amount): what the
  period used up, where that is not the amount; a month's depreciation has amount 0

Dates are ISO 8601, such as 2026-10-31; 3/4/26 means two days and is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl

from finops_lab.errors import InputError
from finops_lab.ingestion import _json, _rows
from finops_lab.ingestion._moments import microseconds
from finops_lab.ingestion._scan import ROW, scan_table, table_batches
from finops_lab.ingestion.bills._bills import free_names
from finops_lab.ingestion.bills._cost_pages import month_of
from finops_lab.ingestion.bills._invoice_columns import TAGS, find
from finops_lab.ingestion.registry import ReadSettings, Sample, unreadable
from finops_lab.money import parse, split

__all__ = ["FORMAT", "TABLE", "matches", "read"]

FORMAT = "Invoice CSV"
SOURCE = "this library's own columns; from documentation"
TABLE = "costs"

_CATEGORIES = {name.lower(): name for name in ("Usage", "Purchase", "Tax", "Credit", "Adjustment")}
_DAY = 86_400_000_000
_LAST_DAY = 253_402_214_400_000_000  # of the year 9999
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_LONGEST = 600  # months
_BATCH = 10_000
_KIND = "x_Amortization"
_WHOLE_MONTHS = (
    "period_end: taken as the day after the last, being the day of the month on which the period starts"
)


def matches(sample: Sample) -> bool:
    """Tell whether a table is one of invoice lines."""
    found = find(sample.columns)
    dated = "invoice_id" in found or "invoice_date" in found
    return sample.kind != "jsonl" and {"vendor", "amount"} <= set(found) and dated


def read(path: Path, settings: ReadSettings) -> pl.LazyFrame:
    """Read invoice lines as rows of the `costs` contract.

    A line within one calendar month (UTC) is one row. A line whose period touches several months is
    amortised: one row bills the amount in the invoice's month with an EffectiveCost of 0 (a
    ``Purchase``, unless the line is a tax, credit or adjustment), and one row per month has the
    month's share by days as EffectiveCost and a BilledCost of 0 (``Usage``). Shares are rounded to
    the decimals of the amount, at least two, by largest remainder, and add up to it exactly; they keep
    the invoice's billing month, as the cash was spent there. ``x_Amortization`` says ``billed`` or
    ``amortized``.

    A ``period_end`` that is a date is the last day, which counts (unless it is the same day of a later
    month as ``period_start``: then it is the day after, and noted); one with a time is the moment of
    the end. Without a period a line is charged on the invoice's day; without ``invoice_date`` it is
    billed in the month the period starts in; both are noted. Without ``category`` a line is usage.
    BillingAccountId is the account, or the vendor where no account is given. A line without a currency
    is refused: none is assumed.

    Parameters
    ----------
    path : pathlib.Path
        CSV (plain or gzip) or Parquet.
    settings : ReadSettings
        `tag_keys` become ``x_tag_<key>`` columns.

    Returns
    -------
    polars.LazyFrame
        The contract without ``x_SourceFile``, ``x_Amortization``, columns not known here with ``x_`` in
        front, and `RAW`, `REASONS`, `NOTES`.

    Raises
    ------
    InputError
        When the file cannot be read, or has no column for vendor or amount.
    """
    try:
        schema = [name for name in scan_table(path).collect_schema() if name != ROW]
    except (pl.exceptions.PolarsError, OSError, EOFError) as error:
        raise unreadable(path, error) from None
    names = find(schema)
    for needed in ("vendor", "amount"):
        if needed not in names:
            hint = "name the columns as the README's invoice format does"
            raise InputError(f"has no column {needed}", file=path, column=needed, hint=hint)
    tags = [f"x_tag_{key}" for key in settings.tag_keys]
    others = free_names([n for n in schema if n not in names.values()], taken=[_KIND, *tags])
    return _rows.frame(
        TABLE,
        lambda: _charges(path, names, others),
        extra=[_KIND, *others.values()],
        tag_keys=settings.tag_keys,
    )


def _charges(path: Path, names: Mapping[str, str], others: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    code = pl.col(names["currency"]).str.strip_chars().str.to_uppercase() if "currency" in names else None
    money = [name for name in ("amount", "effective_amount") if name in names]
    read = [parse(pl.col(names[name]), code).alias(f"_{name}") for name in money]
    try:
        for batch in table_batches(path):
            amounts = batch.select(read).iter_rows(named=True)
            for delivered, known in zip(batch.iter_rows(named=True), amounts, strict=True):
                number = delivered.pop(ROW)
                cells = {name: _json.text(delivered[header]) for name, header in names.items()}
                kept = {new: delivered[old] for old, new in others.items()}
                line = _json.compact(delivered)
                for row in _rows_of(cells, known.get("_amount"), known.get("_effective_amount")):
                    yield {**row, **kept, "source_row": number, "line": line}
    except (pl.exceptions.PolarsError, OSError, EOFError) as error:
        raise unreadable(path, error) from None


def _rows_of(
    cells: Mapping[str, str | None], amount: Decimal | None, effective: Decimal | None
) -> Iterator[dict[str, Any]]:
    own = cells.get
    faults: list[str] = []
    notes: list[str] = []
    currency = own("currency")
    if currency is None:
        faults.append("currency: missing, write the ISO 4217 code of every amount")
    category = _CATEGORIES.get((own("category") or "usage").lower())
    if category is None:
        faults.append(f"category: '{_json.short(own('category'))}' is not {', '.join(_CATEGORIES)}")
    if own("effective_amount") and effective is None:
        faults.append(f"effective_amount: '{_json.short(own('effective_amount'))}' is not a number")
    issued = _moment(own("invoice_date"), "invoice_date", faults)
    since, until = _period(own("period_start"), own("period_end"), issued, faults, notes)
    if issued is None and since is not None and not own("invoice_date"):
        notes.append("invoice_date: missing, billed in the month the period starts in")
    billed_in = month_of(since if issued is None else issued)
    vendor = own("vendor")
    common = {
        "BillingCurrency": currency and currency.upper(),
        "BillingAccountId": own("account") or vendor,
        "BillingAccountName": own("account_name"),
        "BillingPeriodStart": billed_in[0],
        "BillingPeriodEnd": billed_in[1],
        "ChargeCategory": category,
        "ChargeDescription": own("description"),
        "InvoiceId": own("invoice_id"),
        "InvoiceIssuerName": vendor,
        "ProviderName": vendor,
        "PublisherName": vendor,
        "ServiceCategory": own("service_category"),
        "ServiceName": own("service"),
        "RegionId": own("region"),
        "ResourceId": own("resource"),
        "Tags": _tags(cells, notes),
    }
    line = {
        **common,
        "BilledCost": own("amount"),
        "EffectiveCost": own("effective_amount") or own("amount"),
        "ChargePeriodStart": since,
        "ChargePeriodEnd": until,
        "ConsumedQuantity": own("quantity"),
        "ConsumedUnit": own("unit"),
        "PricingQuantity": own("quantity"),
        "PricingUnit": own("unit"),
        "ContractedUnitPrice": own("unit_price"),
        "reasons": faults,
        "notes": notes,
    }
    parts = _months(since, until, faults)
    total = amount if effective is None else effective
    if faults or amount is None or total is None or len(parts) < 2:
        yield line
        return
    priced = category in ("Usage", "Purchase")
    notes.append(f"period: spread by days over {len(parts)} months")
    yield {
        **line,
        "EffectiveCost": "0",
        "ChargeCategory": "Purchase" if priced else category,
        "ChargeFrequency": "One-Time" if priced else None,
        _KIND: "billed",
    }
    shares = split(total, [end - start for start, end in parts], scale=max(2, _decimals(total)))
    for (start, end), share in zip(parts, shares, strict=True):
        yield {
            **common,
            "BilledCost": "0",
            "EffectiveCost": str(share),
            "ChargePeriodStart": start,
            "ChargePeriodEnd": end,
            "ChargeCategory": "Usage" if priced else category,
            _KIND: "amortized",
            "reasons": [],
        }


def _period(
    start: str | None, end: str | None, issued: int | None, faults: list[str], notes: list[str]
) -> tuple[int | None, int | None]:
    """Return the two ends of a line's period, the second exclusive."""
    if start is None and end is None:
        if issued is None:
            faults.append("period_start: missing, as are period_end and invoice_date")
            return None, None
        notes.append("period_start: missing, charged on the invoice's day")
        day = issued - issued % _DAY
        return day, day + _DAY
    since = _moment(start, "period_start", faults)
    until = _moment(end, "period_end", faults)
    for name, given in (("period_start", start), ("period_end", end)):
        if given is None:
            faults.append(f"{name}: missing")
    if until is not None and end and _DATE.fullmatch(end):
        monthly = start is not None and _DATE.fullmatch(start) and start[8:] == end[8:] and start < end
        if monthly:
            notes.append(_WHOLE_MONTHS)
        elif until >= _LAST_DAY:
            faults.append(f"period_end: '{end}' has no day after it")
        else:
            until += _DAY
    if since is not None and until is not None and until <= since:
        faults.append("period_end: is before period_start")
    return since, until


def _moment(text: str | None, column: str, faults: list[str]) -> int | None:
    # Numbers are refused: 20261031 and 45961 are dates to some, seconds to others.
    found = microseconds(text)
    if found is None and text is not None:
        faults.append(f"{column}: '{_json.short(text)}' is not a date like 2026-10-31")
    return found


def _months(since: int | None, until: int | None, faults: list[str]) -> list[tuple[int, int]]:
    """Cut a period at the ends of calendar months."""
    found: list[tuple[int, int]] = []
    while since is not None and until is not None and since < until:
        end = month_of(since)[1]
        if end is None or len(found) == _LONGEST:
            faults.append(f"period_end: more than {_LONGEST} months after period_start")
            return []
        found.append((since, min(end, until)))
        since = end
    return found


def _decimals(amount: Decimal) -> int:
    return len(f"{amount:f}".partition(".")[2].rstrip("0"))


def _tags(cells: Mapping[str, str | None], notes: list[str]) -> str | None:
    tags: dict[str, Any] = {}
    if text := cells.get("tags"):
        try:
            given = _json.decode(text)
        except ValueError:
            given = None
        if isinstance(given, dict):
            tags = given
        else:
            notes.append("Tags: not JSON, left unread")
    tags.update({name: value for name in TAGS if (value := cells.get(name))})
    return _json.compact(tags) if tags else None
