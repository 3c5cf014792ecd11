"""LiteLLM's price map (``model_prices_and_context_window.json``) as rows of the ``prices`` contract."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation, localcontext
from pathlib import Path
from typing import Any

import polars as pl

from finops_lab.contracts import dtypes
from finops_lab.errors import InputError
from finops_lab.money import SCALE
from finops_lab.pricing.cards import MAX_RATE

__all__ = ["from_litellm"]

# What one of LiteLLM's amounts pays for, the unit it becomes and how many of them that unit holds.
_AMOUNTS = {
    "input_cost_per_token": ("input_mtok", 6),
    "output_cost_per_token": ("output_mtok", 6),
    "cache_read_input_token_cost": ("cache_read_mtok", 6),
    "cache_creation_input_token_cost": ("cache_write_mtok", 6),
    "cache_creation_input_token_cost_above_1hr": ("cache_write_1h_mtok", 6),
    "output_cost_per_reasoning_token": ("output_reasoning_mtok", 6),
    "input_cost_per_audio_token": ("input_audio_mtok", 6),
    "output_cost_per_audio_token": ("output_audio_mtok", 6),
    "input_cost_per_image_token": ("input_image_mtok", 6),
    "output_cost_per_image_token": ("output_image_mtok", 6),
    "input_cost_per_character": ("input_mchars", 6),
    "input_cost_per_request": ("requests_kcount", 3),
    "input_cost_per_query": ("requests_kcount", 3),
    "search_cost_per_query": ("web_searches_kcount", 3),
    "ocr_cost_per_page": ("input_document_kpages", 3),
}
_KEY = re.compile(
    rf"(?P<amount>{'|'.join(sorted(_AMOUNTS, key=len, reverse=True))})"
    r"(?:_above_(?P<above>\d+)k_tokens)?(?:_(?P<context>[a-z]+))?"
)
_HINT = "give LiteLLM's model_prices_and_context_window.json"


def from_litellm(path: str | Path, *, valid_from: datetime | None = None) -> pl.LazyFrame:
    """Read LiteLLM's price map.

    The map holds what its maintainers knew on one day, without dates: pass that day as
    `valid_from`, or the prices hold since ever. Amounts are USD per token or call and are turned
    into the book's units by moving the decimal point, from the literal text.

    Parameters
    ----------
    path : str or pathlib.Path
        ``model_prices_and_context_window.json`` of LiteLLM's repository or package.
    valid_from : datetime.datetime, optional
        Moment (with a time zone) from which the prices hold.

    Returns
    -------
    polars.LazyFrame
        The ``prices`` contract, origin ``litellm``: ``_above_200k_tokens`` and the like become
        ``tier_above_tokens``, ``_batches``, ``_flex``, ``_priority`` and other last words the
        ``context``, ``_above_1hr`` the unit ``cache_write_1h_mtok``, ``tiered_pricing`` its tiers.
        ``provider`` is LiteLLM's; a model's name loses it as prefix, unless another has that name
        (of names alike but for case the first is kept). ``source_row`` counts the
        models from 1. Left out: amounts per image, pixel, second and session, per search where it
        depends on the size, and hours of lower price.

    Notes
    -----
    ``pl.concat([price_book(), from_litellm(path)])`` is a book in which LiteLLM's prices fill what
    the built-in list does not know.

    Raises
    ------
    InputError
        When the file cannot be read, is no such map, or an amount is no number from 0 up.
    """
    path = Path(path)
    if valid_from is not None and valid_from.tzinfo is None:
        raise InputError("valid_from has no time zone", hint="add tzinfo=timezone.utc")
    schema = dtypes("prices")
    fixed = {"valid_from": valid_from, "origin": "litellm", "source_file": path.name}
    rows: list[dict[str, Any]] = []
    taken: set[tuple[str, str]] = set()
    for number, (key, model) in enumerate(_load(path).items(), 1):
        if key == "sample_spec":
            continue
        provider = model.get("litellm_provider") if isinstance(model, dict) else None
        if not isinstance(provider, str):
            raise InputError(f"model {key!r} has no litellm_provider", file=path, row=number, hint=_HINT)
        for name in (key.removeprefix(f"{provider}/"), key):
            known = (provider.lower(), name.lower())
            if known not in taken:
                taken.add(known)
                who = {"provider": provider.lower(), "model": name, "source_row": number}
                rows += [{**fixed, **who, **row} for row in _model(path, number, key, model)]
                break
    return pl.LazyFrame(rows, schema=schema)


def _load(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"), parse_float=Decimal)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", file=path, hint=_HINT) from None
    except (ValueError, RecursionError, ArithmeticError) as error:
        raise InputError(f"is not JSON: {error}", file=path, hint=_HINT) from None
    priced = isinstance(found, dict) and any(
        isinstance(model, dict) and "litellm_provider" in model for model in found.values()
    )
    if not priced:
        raise InputError("is no price map of LiteLLM", file=path, hint=_HINT)
    return dict(found)


def _model(path: Path, row: int, name: str, model: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    found: dict[tuple[str, int, str], Decimal] = {}
    for key, value in _amounts(model):
        matched = _KEY.fullmatch(key)
        if matched is None or value is None:
            continue
        unit, places = _AMOUNTS[matched["amount"]]
        context = {None: "standard", "batches": "batch"}.get(matched["context"], matched["context"])
        rate = _usd(path, row, f"{name}.{key}", value, places)
        found[unit, int(matched["above"] or 0) * 1000, str(context)] = rate
    for band in _bands(model):
        above = int(band["range"][0])
        for key, value in _amounts(band):
            matched = _KEY.fullmatch(key)
            if matched is not None and value is not None and not matched["above"] and not matched["context"]:
                unit, places = _AMOUNTS[matched["amount"]]
                found[unit, above, "standard"] = _usd(path, row, f"{name}.{key}", value, places)
    for (unit, above, context), rate in found.items():
        yield {"unit": unit, "tier_above_tokens": above, "context": context, "rate_usd_per_unit": rate}


def _amounts(model: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield from model.items()
    searches = model.get("search_context_cost_per_query")
    if isinstance(searches, dict) and searches and len({str(cost) for cost in searches.values()}) == 1:
        yield "search_cost_per_query", next(iter(searches.values()))


def _bands(model: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    bands = model.get("tiered_pricing")
    return [
        band
        for band in (bands if isinstance(bands, list) else [])
        if isinstance(band, dict)
        and isinstance(band.get("range"), list)
        and band["range"]
        and isinstance(band["range"][0], int | Decimal)
    ]


def _usd(path: Path, row: int, where: str, value: Any, places: int) -> Decimal:
    try:
        amount = Decimal(str(value)) if not isinstance(value, bool) else Decimal("nan")
    except InvalidOperation:
        amount = Decimal("nan")
    if not amount.is_finite() or not 0 <= amount <= Decimal(MAX_RATE).scaleb(-places):
        raise InputError(f"{where}: {value!r} is no amount", file=path, row=row, hint=_HINT)
    with localcontext(prec=60):
        return amount.scaleb(places).quantize(Decimal(1).scaleb(-SCALE))
