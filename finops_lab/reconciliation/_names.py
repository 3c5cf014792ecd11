"""One spelling for providers, models and service tiers, which bills and telemetry write differently."""

from __future__ import annotations

import re
from functools import cache

from finops_lab.pricing.names import match, provider_id

__all__ = ["called", "model_key", "provider_key", "tier_key"]

# Names of bills that are another name in telemetry; the rest is told by the built-in price list.
_PROVIDERS = {
    "microsoft": "azure",
    "microsoft azure": "azure",
    "azure openai": "azure",
    "amazon bedrock": "aws",
    "amazon": "aws",
    "google llc": "google",
    "vertex ai": "google",
}
# What companies put after their names.
_SUFFIXES = {"api", "inc", "llc", "ltd", "pbc"}
_AREA = re.compile(r"^(?:regional|us-gov|us|eu|apac|jp|au|global)\.")
_VENDOR = re.compile(r"^(?:anthropic|amazon|meta|mistral|cohere|ai21|deepseek|openai|qwen|stability)\.")
_EDITION = re.compile(r"(?:[-@]\d{8})?-v\d+(?::\d+)?$")
_DATE = re.compile(r"(?:[-@]\d{8}|-\d{4}-\d{2}-\d{2}|-latest)$")
_STANDARD = {"", "standard", "default", "auto", "on_demand", "standard_only"}


@cache
def provider_key(provider: str | None) -> str:
    """Return one name for a provider; an empty text where nobody said.

    Examples
    --------
    >>> [provider_key(name) for name in ("Microsoft", "azure.ai.openai", "AWS", "aws.bedrock", None)]
    ['azure', 'azure', 'aws', 'aws', '']
    >>> provider_key("Example Models API") == provider_key("example_models")
    True
    """
    said = " ".join((provider or "").lower().replace(",", " ").split())
    known = provider_id(_PROVIDERS.get(said, said)) if said else ""
    words = [word for word in re.split(r"[^a-z0-9]+", known) if word]
    while len(words) > 1 and words[-1] in _SUFFIXES:
        words.pop()
    return "_".join(words)


@cache
def model_key(provider: str, model: str | None) -> str:
    """Return one spelling for a model of a provider: as pricing matches it, else without ornaments.

    Examples
    --------
    >>> model_key("anthropic", "claude-sonnet-4-5-20250929") == model_key("anthropic", "claude-sonnet-4-5")
    True
    >>> model_key("aws", "us.anthropic.claude-sonnet-4-5-20250929-v1:0") == model_key("aws", "Claude Sonnet 4.5")
    True
    >>> model_key("openai", "gpt-4o-2024-05-13") == model_key("openai", "gpt-4o")  # priced differently
    False
    """
    if not model or not model.strip():
        return ""
    found = match(provider or None, model.strip().lower())
    name = found.model.lower() if found else model.strip().lower().rpartition("/")[2]
    name = _EDITION.sub("", _VENDOR.sub("", _AREA.sub("", name)))
    return re.sub(r"[^a-z0-9]+", "", name if found else _DATE.sub("", name)) or name


@cache
def called(provider: str | None, model: str) -> tuple[str, str]:
    """Return the keys of a model that telemetry names; the provider may stand before it.

    Examples
    --------
    >>> called(None, "bedrock/claude-opus-5"), called("openai", "gpt-4o")
    (('aws', 'claudeopus5'), ('openai', 'gpt4o'))
    """
    seller, _, rest = model.partition("/")
    if not (provider or "").strip() and rest and match(None, model.strip().lower()):
        return provider_key(seller), model_key(provider_key(seller), rest)
    return provider_key(provider), model_key(provider_key(provider), model)


def tier_key(tier: str | None) -> str:
    """Return the name of a service tier as pricing understands it.

    Examples
    --------
    >>> tier_key(None), tier_key("Default"), tier_key(" Batch ")
    ('standard', 'standard', 'batch')
    """
    said = (tier or "").strip().lower()
    return "standard" if said in _STANDARD else said
