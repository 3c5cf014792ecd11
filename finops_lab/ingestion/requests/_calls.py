"""What readers of requests share: how they name a status, a tier, a host, and count tokens."""

from __future__ import annotations

import re
from typing import Any

from finops_lab.ingestion._json import count, text

TABLE = "inference_requests"
SELF_HOSTED = frozenset({"vllm", "hosted_vllm", "sglang", "tgi", "triton", "self_hosted"})

# OpenTelemetry's error.type may be an HTTP status: 408 and 504 are the two that mean "too late".
_TIMEOUT = re.compile(r"time.?out|timed.?out|deadline|^(408|504)$", re.IGNORECASE)
_CANCELLED = re.compile(r"cancel", re.IGNORECASE)
# Parts of API paths, the longer ones first where one contains another.
_PATHS = (
    ("/chat/completions", "chat"),
    ("/responses", "chat"),
    ("/messages", "chat"),
    ("generatecontent", "chat"),
    ("/converse", "chat"),
    ("/embed", "embedding"),
    ("embedcontent", "embedding"),
    ("/images/", "image"),
    ("/audio/", "audio"),
    ("/rerank", "rerank"),
    ("/completions", "completion"),
    ("mcp", "tool"),
)


def failure(error_type: str | None) -> str:
    """Return the request status that an error type stands for."""
    if error_type and _TIMEOUT.search(error_type):
        return "timeout"
    return "cancelled" if error_type and _CANCELLED.search(error_type) else "error"


def tier(value: Any) -> str | None:
    """Return a service tier; OpenAI calls the standard tier "default"."""
    said = text(value)
    return said and ("standard" if said.lower() == "default" else said.lower())


def hosting(provider: str | None) -> str | None:
    """Tell who runs the model, from the provider; unknown without one."""
    return provider and ("self_hosted" if provider.lower() in SELF_HOSTED else "api")


def token_buckets(
    total: Any, read: Any, write: Any, output: Any, reasoning: Any, faults: list[str]
) -> dict[str, int | None]:
    """Turn token counts whose input includes cached tokens into exclusive buckets.

    The OpenTelemetry GenAI conventions and LiteLLM count cache reads and writes inside the input,
    and reasoning inside the output. Counts that contradict this come from a source with another
    convention: clamping them would hide a wrong bill, so the row gets a fault instead.
    """
    found: dict[str, int | None] = {
        "input_uncached_tokens": count(total, "input_uncached_tokens", faults),
        "cache_read_tokens": count(read, "cache_read_tokens", faults),
        "cache_write_tokens": count(write, "cache_write_tokens", faults),
        "output_tokens": count(output, "output_tokens", faults),
        "reasoning_tokens": count(reasoning, "reasoning_tokens", faults),
    }
    whole, cached = found["input_uncached_tokens"], found["cache_read_tokens"] or 0
    written = found["cache_write_tokens"] or 0
    if whole is not None and cached + written > whole:
        faults.append(
            f"input_uncached_tokens: {cached} tokens read from and {written} written to the cache"
            f" are more than the {whole} input tokens"
        )
        found["input_uncached_tokens"] = None
    elif whole is not None:
        found["input_uncached_tokens"] = whole - cached - written
    inside, out = found["reasoning_tokens"], found["output_tokens"]
    if inside is not None and out is not None and inside > out:
        faults.append(f"reasoning_tokens: {inside} are more than the {out} output tokens they are part of")
        found["reasoning_tokens"] = None
    return found


def exclusive_buckets(
    uncached: Any, read: Any, write: Any, output: Any, reasoning: Any, faults: list[str], write_1h: Any = None
) -> dict[str, int | None]:
    """Return token counts whose input excludes cached tokens already, as exclusive buckets.

    Anthropic and Helicone count so. ``output`` includes ``reasoning``, ``write`` includes
    ``write_1h``; where they contradict this the row gets a fault.
    """
    found = {
        "input_uncached_tokens": count(uncached, "input_uncached_tokens", faults),
        "cache_read_tokens": count(read, "cache_read_tokens", faults),
        "cache_write_tokens": count(write, "cache_write_tokens", faults),
        "cache_write_1h_tokens": count(write_1h, "cache_write_1h_tokens", faults),
        "output_tokens": count(output, "output_tokens", faults),
        "reasoning_tokens": count(reasoning, "reasoning_tokens", faults),
    }
    inside, out = found["reasoning_tokens"], found["output_tokens"]
    if inside is not None and out is not None and inside > out:
        faults.append(f"reasoning_tokens: {inside} are more than the {out} output tokens they are part of")
        found["reasoning_tokens"] = None
    return found


def operation(path: str | None) -> str:
    """Return the operation that an API path stands for, such as ``/v1/chat/completions``.

    Examples
    --------
    >>> [operation(p) for p in ("/v1/chat/completions", "https://api.example.com/v1/embeddings", None)]
    ['chat', 'embedding', 'other']
    """
    said = (path or "").lower()
    return next((name for part, name in _PATHS if part in said), "other")
