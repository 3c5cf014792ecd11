"""OpenAI's organization costs: pages of ``/v1/organization/costs``, amounts in dollars.

Source: ``types/admin/organization`` of openai-python and the API reference, Costs; line items as public
code that parses real reports quotes them, such as ``gpt-4o-mini-2024-07-18, cached input`` and
``priority | gpt-5.6-sol, output, long context``. An amount is a number or text of one, in units of
its currency (never cents). ``line_item``, ``project_id`` and ``api_key_id`` are null unless the report
was grouped by them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from finops_lab.ingestion import _json, _rows
from finops_lab.ingestion.bills import _cost_pages
from finops_lab.ingestion.registry import ReadSettings, Sample

__all__ = ["FORMAT", "TABLE", "matches", "read"]

FORMAT = "OpenAI costs page"
SOURCE = "API reference, Costs; line items quoted by public code; from documentation"
TABLE = "costs"

_OBJECT = re.compile(r'"object"\s*:\s*"organization\.costs\.result"')
_EXTRA = ("x_LineItem", "x_ServiceTier", "x_ApiKeyId")
# After the model a line item may name what its tokens are of.
_MODALITY = re.compile(r"\s+(?:text|audio|image|video)$")
_MODEL = re.compile(r"[A-Za-z][\w.:/-]*\d[\w.:/-]*|[A-Za-z][\w.]*(?:-[\w.:/]+)+")
_WAYS = {"input": "Input", "output": "Output", "cached input": "Input"}


class _Item(NamedTuple):
    model: str | None = None
    direction: str | None = None
    cache: str | None = None
    tier: str | None = None


def matches(sample: Sample) -> bool:
    """Tell whether a file holds pages of OpenAI's costs."""
    return sample.kind == "jsonl" and bool(_OBJECT.search(_json.beginning(sample.path)))


def read(path: Path, settings: ReadSettings) -> pl.LazyFrame:
    """Read costs pages as rows of the `costs` contract.

    BilledCost and EffectiveCost are the amount. SubAccountId is the project. BillingAccountId is
    ``organization_id``, or "unknown organization" with a note where the page does not name it: put the
    pages of two organizations into two folders then. ``quantity`` of a line item of tokens counts
    tokens, of any other it is in ``quantity_unit``.

    Parameters
    ----------
    path : pathlib.Path
        One page, an array of pages, a page per line, or pages one behind the other; plain or gzip.
    settings : ReadSettings
        `tag_keys` become ``x_tag_<key>`` columns; the report has no tags.

    Returns
    -------
    polars.LazyFrame
        The contract without ``x_SourceFile``, ``x_LineItem``, ``x_ServiceTier``, ``x_ApiKeyId``, and
        `RAW`, `REASONS`, `NOTES`. ``x_SourceRow`` counts the results of the file from 1.

    Raises
    ------
    InputError
        When the file cannot be read.
    """
    return _rows.frame(
        TABLE,
        lambda: _cost_pages.rows(path, "start_time", "end_time", _charge),
        extra=_EXTRA,
        tag_keys=settings.tag_keys,
    )


def _charge(result: Mapping[str, Any], faults: list[str], notes: list[str]) -> dict[str, Any]:
    amount = result.get("amount")
    if not isinstance(amount, dict):
        faults.append(f"amount: '{_json.short(amount)}' is not an object with value and currency")
        amount = {}
    if amount.get("value") is None:
        faults.append("amount.value: missing")
    said = _json.text(result.get("line_item"))
    item = _line_item(said or "")
    quantity, unit = result.get("quantity"), _json.text(result.get("quantity_unit"))
    currency = _json.text(amount.get("currency"))
    return {
        "BilledCost": amount.get("value"),
        "EffectiveCost": amount.get("value"),
        "BillingCurrency": currency and currency.upper(),
        "SubAccountId": _json.text(result.get("project_id")),
        "SubAccountName": _json.text(result.get("project_name")),
        "SubAccountType": "Project" if _json.text(result.get("project_id")) else None,
        "ChargeDescription": said,
        "InvoiceIssuerName": "OpenAI",
        "ProviderName": "OpenAI",
        "PublisherName": "OpenAI",
        "ServiceName": "OpenAI API",
        "SkuId": said,
        "SkuMeter": said,
        "ConsumedQuantity": quantity,
        "ConsumedUnit": None if quantity is None else "Tokens" if item.direction else unit,
        "x_ModelId": item.model,
        "x_TokenDirection": item.direction,
        "x_TokenCacheAction": item.cache,
        "x_LineItem": said,
        "x_ServiceTier": item.tier,
        "x_ApiKeyId": _json.text(result.get("api_key_id")),
    }


def _line_item(text: str) -> _Item:
    """Read model, direction and tier off a line item; what it does not say is null.

    Examples
    --------
    >>> tuple(_line_item("priority | gpt-5.6, cached input"))
    ('gpt-5.6', 'Input', 'Read', 'priority')
    >>> tuple(_line_item("web search tool calls"))
    (None, None, None, None)
    """
    before, bar, rest = text.rpartition(" | ")
    tier = before.strip() or None if bar else None
    name, *words = (part.strip() for part in rest.split(","))
    way = next((word.lower() for word in words if word.lower() in _WAYS), None)
    model = _MODALITY.sub("", name) if words else name
    if not _MODEL.fullmatch(model):
        return _Item(tier=tier)
    cache = "Read" if way == "cached input" else None
    return _Item(model, _WAYS.get(way or ""), cache, tier)
