"""What a Langfuse observation says of tokens and money."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from finops_lab.ingestion import _json
from finops_lab.ingestion.requests import _calls, _records

__all__ = ["cost", "usage"]

_TOTAL = "total"
_TOKEN_UNITS = ("", "tokens")
_INCLUSIVE = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens")
# Which bucket a key of usage_details belongs to, by what it contains, first match first.
_BUCKETS = (
    (("search",), "searches"),
    (("cache_creation", "cache_write", "ephemeral"), "write"),
    (("cache",), "read"),
    (("reasoning", "thought", "thinking"), "reasoning"),
    (("output", "completion", "candidates"), "output"),
    (("input", "prompt"), "input"),
)
_MODALITIES = ("audio", "image", "video")


def usage(
    observation: Mapping[str, Any], spoken: Mapping[str, Any], faults: list[str], notes: list[str]
) -> dict[str, Any]:
    """Return the token columns, with faults where a source counted tokens twice.

    Parameters
    ----------
    observation : mapping
        The observation, its keys in snake case.
    spoken : mapping
        Attributes of the OpenTelemetry span it came from; their input includes cached tokens.
    faults, notes : list of str
        Reasons and notes are appended.
    """
    details = _records.mapping(observation.get("usage_details"), "usage_details", faults)
    if not details:
        details, other = _legacy(observation, faults)
        if other:
            return other
    sums: dict[str, int] = {}
    hour: int | None = None
    for key, value in details.items():
        counted = _json.count(value, f"usage_details.{_json.short(key)}", faults)
        if counted is None or key == _TOTAL:
            continue
        bucket = _bucket(key)
        if bucket is None:
            notes.append(f"usage_details: no column for '{_json.short(key)}', left out")
            continue
        if counted and any(kind in key for kind in _MODALITIES):
            notes.append(f"usage_details: '{_json.short(key)}' has a price of its own, counted as {bucket}")
        sums[bucket] = sums.get(bucket, 0) + counted
        if bucket == "write" and "1h" in key:
            hour = (hour or 0) + counted
    _refuse_doubles(details, sums, spoken, faults)
    outputs = [sums[name] for name in ("output", "reasoning") if name in sums]
    searches = sums.get("searches")
    return {
        **_calls.exclusive_buckets(
            sums.get("input"),
            sums.get("read"),
            sums.get("write"),
            sum(outputs) if outputs else None,
            sums.get("reasoning"),
            faults,
            write_1h=hour,
        ),
        "other_units": None if searches is None else float(searches),
        "other_unit": None if searches is None else "searches",
    }


def _legacy(
    observation: Mapping[str, Any], faults: list[str]
) -> tuple[Mapping[str, Any], dict[str, Any] | None]:
    """Return the counts of the older API: tokens as details, or another unit as columns."""
    said = _records.mapping(observation.get("usage"), "usage", faults)
    unit = (_json.text(said.get("unit")) or "").lower()
    found = {
        "input": said.get("input", observation.get("promptTokens")),
        "output": said.get("output", observation.get("completionTokens")),
        _TOTAL: said.get(_TOTAL, observation.get("totalTokens")),
    }
    if unit in _TOKEN_UNITS:
        return {key: value for key, value in found.items() if value is not None}, None
    units = _json.number(found[_TOTAL], "other_units", faults)
    return {}, {"other_units": units, "other_unit": unit}


def _bucket(key: str) -> str | None:
    lowered = key.lower()
    return next((name for parts, name in _BUCKETS if any(part in lowered for part in parts)), None)


def _refuse_doubles(
    details: Mapping[str, Any], sums: Mapping[str, int], spoken: Mapping[str, Any], faults: list[str]
) -> None:
    """Refuse counts that hold some tokens twice: the total, or the span, gives them away."""
    tokens = sum(count for name, count in sums.items() if name != "searches")
    total = _json.count(details.get(_TOTAL), "usage_details.total", [])
    cached = sums.get("read", 0) + sums.get("write", 0)
    inclusive = next((c for n in _INCLUSIVE if (c := _json.count(spoken.get(n), n, [])) is not None), None)
    if total and tokens > total:
        faults.append(
            f"input_uncached_tokens: the buckets add up to {tokens}, their total is {total}:"
            " cached or reasoning tokens are counted twice"
        )
    elif cached and inclusive is not None and sums.get("input") == inclusive:
        faults.append(
            f"input_uncached_tokens: {inclusive} are all the input tokens of the span, the {cached} cached"
            " ones among them: counted twice"
        )


def cost(observation: Mapping[str, Any], faults: list[str], notes: list[str]) -> str | None:
    """Return the reported cost as its literal text; a zero that means "no price known" is null."""
    details = _records.mapping(observation.get("cost_details"), "cost_details", faults)
    said = _json.text(observation.get("total_cost"))
    if said is None:
        return _json.text(details.get(_TOTAL))
    if _records.is_zero(said) and "cost_details" in observation and not details:
        notes.append("cost_reported_usd: 0 without cost details, no price was known")
        return None
    return said
