"""Which model of the built-in price list a request means: genai-prices' own matching, once per name.

The matching reads names that genai-prices keeps out of its ``__all__`` (``data.providers``,
``data_snapshot.DataSnapshot``, ``find_provider_by_id``), so its version is pinned.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import polars as pl

if TYPE_CHECKING:
    from genai_prices.data_snapshot import DataSnapshot

__all__ = ["match_models"]

# Names of OpenTelemetry and LiteLLM that genai-prices does not know, or takes for another vendor.
_PROVIDERS = {
    "azure.ai.openai": "azure",
    "az.ai.openai": "azure",
    "azure.ai.inference": "azure",
    "az.ai.inference": "azure",
    "azure_ai": "azure",
    "azure_text": "azure",
    "gcp.gen_ai": "google",
    "vertex_ai-anthropic_models": "google",
    "vertex_ai-mistral_models": "google",
    "vertex_ai-deepseek_models": "google",
    "x_ai": "x-ai",
    "togetherai": "together",
    "fireworks_ai": "fireworks",
}
_MATCHED = {
    "provider": pl.String,
    "model": pl.String,
    "price_provider": pl.String,
    "price_model": pl.String,
    "has_variants": pl.Boolean,
}


class Match(NamedTuple):
    """A model of the built-in list; `own` is false where it is another provider's, fallen back on."""

    provider: str
    model: str
    own: bool


@cache
def _snapshot() -> DataSnapshot:
    from genai_prices import data
    from genai_prices.data_snapshot import DataSnapshot

    # The bundled list, never one that was updated at run time: same inputs, same prices.
    return DataSnapshot(providers=data.providers, from_auto_update=False)


@cache
def provider_id(provider: str) -> str:
    """Return the built-in list's name of a provider; the name itself, lower case, if it has none."""
    from genai_prices.data_snapshot import find_provider_by_id

    name = provider.strip().lower()
    found = find_provider_by_id(_snapshot().providers, _PROVIDERS.get(name, name)) if name else None
    return found.id if found else name


@cache
def match(provider: str | None, model: str) -> Match | None:
    """Find the built-in model that a provider and a model name mean."""
    name = (provider or "").strip().lower()
    prefix, _, rest = model.partition("/")
    found = _find(_PROVIDERS.get(name, name) or None, model)
    if found is None and rest and not name:
        # "openai/gpt-4o": genai-prices reads such names when they come from LiteLLM.
        found = _find("litellm", model)
    if found is None and rest and name and provider_id(prefix) == provider_id(name):
        found = _find(_PROVIDERS.get(name, name), rest)
    return found


def _find(provider: str | None, model: str) -> Match | None:
    snapshot = _snapshot()
    try:
        asked, info = snapshot.find_provider_model(model, None, provider, None)
    except LookupError:
        return None
    if any(info is own for own in asked.models):
        return Match(asked.id, info.id, True)
    owner = next(p for p in snapshot.providers if any(info is own for own in p.models))
    return Match(owner.id, info.id, False)


def match_models(distinct: pl.DataFrame) -> pl.DataFrame:
    """Match model names with the built-in price list, by the rules of genai-prices.

    Aliases, dated names and names with a prefix are found as genai-prices finds them. A provider
    that sells another vendor's models (Azure, Google) falls back on that vendor's prices.

    Parameters
    ----------
    distinct : polars.DataFrame
        Columns ``provider`` (may be null) and ``model``; further columns are left out.

    Returns
    -------
    polars.DataFrame
        One row per distinct pair, sorted: ``provider``, ``model``, ``price_provider`` and
        ``price_model`` (both null without a match), ``has_variants`` (false where the prices are
        another vendor's: batch and other variants are then not used).

    Examples
    --------
    >>> names = pl.DataFrame({"provider": ["azure", None], "model": ["gpt-4.1-nano", "my-own-model"]})
    >>> match_models(names).select("model", "price_model").rows()
    [('my-own-model', None), ('gpt-4.1-nano', 'gpt-4.1-nano')]
    """
    pairs = distinct.select(pl.col("provider", "model").cast(pl.String)).unique().sort("provider", "model")
    rows = []
    for provider, model in pairs.iter_rows():
        found = match(provider, model) if model else None
        rows.append((provider, model, *(found or (None, None, None))))
    return pl.DataFrame(rows, schema=_MATCHED, orient="row")
