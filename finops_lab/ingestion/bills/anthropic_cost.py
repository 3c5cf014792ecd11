"""Anthropic's cost report: pages of ``/v1/organizations/cost_report``, amounts in cents.

Source: the Admin API reference, "Get Cost Report". An amount is a decimal text in the smallest unit of
its currency: ``"123.45"`` in USD is 1.2345 dollars. ``description`` and what it is parsed into (model,
token type, tier, context window) are null unless the report was grouped by description,
``workspace_id`` unless grouped by workspace, and for the default workspace. Costs of the Priority Tier
are not in the report. Amounts may change for 30 days.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any

import polars as pl

from finops_lab.ingestion import _json, _rows
from finops_lab.ingestion.bills import _cost_pages
from finops_lab.ingestion.registry import NOTES, RAW, REASONS, ReadSettings, Sample

__all__ = ["FORMAT", "TABLE", "matches", "read"]

FORMAT = "Anthropic cost report"
SOURCE = "Admin API reference, Get Cost Report; from documentation"
TABLE = "costs"

_BUCKET = re.compile(r'"starting_at"\s*:')
_AMOUNT = re.compile(r'"amount"\s*:\s*["\d-]')
_CURRENCY = re.compile(r'"currency"\s*:')
# The usage report's buckets look alike, but count tokens.
_USAGE = re.compile(r'"uncached_input_tokens"\s*:')
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,5})?")
_TOKENS: Mapping[str, tuple[str, str | None]] = {
    "uncached_input_tokens": ("Input", None),
    "output_tokens": ("Output", None),
    "cache_read_input_tokens": ("Input", "Read"),
    "cache_creation.ephemeral_1h_input_tokens": ("Input", "Write"),
    "cache_creation.ephemeral_5m_input_tokens": ("Input", "Write"),
}
_EXTRA = (
    "x_CostType",
    "x_TokenType",
    "x_ServiceTier",
    "x_ContextWindow",
    "x_InferenceGeo",
    "x_Speed",
)
_FINAL_DAYS = 30
# Later moments cannot be written with 30 days added.
_LAST = 9998


def matches(sample: Sample) -> bool:
    """Tell whether a file holds pages of Anthropic's cost report."""
    if sample.kind != "jsonl":
        return False
    text = _json.beginning(sample.path)
    found = all(pattern.search(text) for pattern in (_BUCKET, _AMOUNT, _CURRENCY))
    return found and not _USAGE.search(text)


def read(path: Path, settings: ReadSettings) -> pl.LazyFrame:
    """Read cost report pages as rows of the `costs` contract.

    BilledCost and EffectiveCost are the amount in units of its currency, exactly. SubAccountId is the
    workspace. BillingAccountId is "unknown organization" with a note, unless ``organization_id`` was
    added to the pages: put the pages of two organizations into two folders then.

    Parameters
    ----------
    path : pathlib.Path
        One page, an array of pages, a page per line, or pages one behind the other; plain or gzip.
    settings : ReadSettings
        `tag_keys` become ``x_tag_<key>`` columns; the report has no tags.

    Returns
    -------
    polars.LazyFrame
        The contract without ``x_SourceFile``; ``x_`` columns of the report; ``x_FinalAfter``, the
        moment from which the amount no longer changes (30 days after the charge's end); and `RAW`,
        `REASONS`, `NOTES`. ``x_SourceRow`` counts the results of the file from 1.

    Raises
    ------
    InputError
        When the file cannot be read.
    """
    frame = _rows.frame(
        TABLE,
        lambda: _cost_pages.rows(path, "starting_at", "ending_at", _charge),
        extra=_EXTRA,
        tag_keys=settings.tag_keys,
    )
    names = [name for name in frame.collect_schema() if name not in (RAW, REASONS, NOTES)]
    end = pl.col("ChargePeriodEnd")
    final = pl.when(end.dt.year() <= _LAST).then(end + pl.duration(days=_FINAL_DAYS))
    return frame.select(*names, final.alias("x_FinalAfter"), RAW, REASONS, NOTES)


def _charge(result: Mapping[str, Any], faults: list[str], notes: list[str]) -> dict[str, Any]:
    own = result.get
    currency = _json.text(own("currency"))
    code = currency and currency.upper()
    amount = _in_units(own("amount"), code, faults)
    kind = _json.text(own("token_type"))
    direction, cache = _TOKENS.get(kind or "", (None, None))
    if kind and direction is None:
        notes.append(f"token_type: '{_json.short(kind)}' is not known, kept without a direction")
    description = _json.text(own("description"))
    return {
        "BilledCost": amount,
        "EffectiveCost": amount,
        "BillingCurrency": code,
        "SubAccountId": _json.text(own("workspace_id")),
        "SubAccountName": _json.text(own("workspace_name")),
        "SubAccountType": "Workspace" if _json.text(own("workspace_id")) else None,
        "ChargeDescription": description,
        "InvoiceIssuerName": "Anthropic",
        "ProviderName": "Anthropic",
        "PublisherName": "Anthropic",
        "ServiceName": "Claude API",
        "SkuMeter": description,
        "x_ModelId": _json.text(own("model")),
        "x_TokenDirection": direction,
        "x_TokenCacheAction": cache,
        "x_CostType": _json.text(own("cost_type")),
        "x_TokenType": kind,
        "x_ServiceTier": _json.text(own("service_tier")),
        "x_ContextWindow": _json.text(own("context_window")),
        "x_InferenceGeo": _json.text(own("inference_geo")),
        "x_Speed": _json.text(own("speed")),
    }


def _in_units(value: Any, currency: str | None, faults: list[str]) -> str | None:
    """Move the point of an amount in cents; no arithmetic, so that no digit is lost."""
    text = None if isinstance(value, bool | list | dict) else _json.text(value)
    if value is None or text is None:
        faults.append(
            "amount: missing" if value is None else f"amount: '{_json.short(value)}' is not a number"
        )
        return None
    if not _NUMBER.fullmatch(text):
        faults.append(f"amount: '{_json.short(text)}' is not a number")
        return None
    sign, digits, exponent = Decimal(text).as_tuple()
    assert isinstance(exponent, int)  # a finite number's
    return str(Decimal((sign, digits, exponent - _digits(currency or ""))))


@lru_cache(maxsize=100)
def _digits(currency: str) -> int:
    """Return how many decimals the smallest unit of a currency is."""
    from babel.numbers import get_currency_precision

    return int(get_currency_precision(currency)) if currency else 2
