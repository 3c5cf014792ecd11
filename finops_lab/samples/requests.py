"""Sampled calls as platforms export them: LiteLLM spend logs and OTLP/JSON traces.

LiteLLM 1.109.1, `LiteLLM_SpendLogs` of litellm/proxy/schema.prisma. OpenTelemetry GenAI semantic
conventions (v1.42.0) in OTLP/JSON, one export request a line.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl

from finops_lab.samples.charges import decimal
from finops_lab.samples.company import API_PRICES, DIRECTIONS, FEATURES, REGIONS, SERVING, TEAMS
from finops_lab.samples.compute import pool_name
from finops_lab.samples.demand import Route
from finops_lab.samples.plants import Plants
from finops_lab.samples.tokens import price
from finops_lab.samples.traffic import sampling_bits

__all__ = ["write_lines", "write_litellm", "write_otlp"]

# vLLM's names of the time a call spends in the engine.
_ENGINE = (
    ("gen_ai.latency.time_in_queue", "queue_ms"),
    ("gen_ai.latency.time_in_model_prefill", "prefill_ms"),
    ("gen_ai.latency.time_in_model_decode", "decode_ms"),
)
_OF_CALL = (
    ("http.request.body.size", "request_bytes"),
    ("http.response.body.size", "response_bytes"),
    ("http.request.resend_count", "resent"),
)


def write_lines(path: Path, lines: Sequence[str]) -> None:
    """Write lines as gzip whose bytes depend on nothing but the lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pl.DataFrame({"line": lines}, schema={"line": pl.String}).write_csv(
        path,
        compression="gzip",
        compression_level=9,
        check_extension=False,
        include_header=False,
        quote_style="never",
    )


def write_litellm(folder: Path, calls: pl.DataFrame, plants: Plants) -> None:
    """Write calls to the model vendor as LiteLLM spend logs, a file a month.

    ``prompt_tokens`` include the cached ones; ``spend`` is at list price, as the gateway knows it.
    """
    for month, part in _months(calls):
        lines = [
            _compact(_spend_log(f"chatcmpl-{month}-{number:06d}", row, plants))
            for number, row in enumerate(part.iter_rows(named=True))
        ]
        write_lines(folder / f"{month}.jsonl.gz", lines)


def _spend_log(request_id: str, row: dict[str, Any], plants: Plants) -> dict[str, Any]:
    feature = FEATURES[row["feature"]]
    failed, known = row["error"] is not None, row["context"]
    uncached = row["input_tokens"] - row["cached_tokens"]
    tags = [f"variant:{row['variant']}", f"env:{row['environment']}"]
    if known:
        tags = [f"feature:{feature.name}", f"team:{feature.team}", *tags]
    metadata: dict[str, Any] = {"status": "failure" if failed else "success"}
    if failed:
        metadata["error_information"] = {"error_class": row["error"]}
    else:
        metadata["usage_object"] = {
            "prompt_tokens": row["input_tokens"],
            "completion_tokens": row["output_tokens"],
            "total_tokens": row["input_tokens"] + row["output_tokens"],
            "prompt_tokens_details": {"cached_tokens": row["cached_tokens"]},
        }
    free = failed or row["cache_hit"]
    tokens = dict(zip(DIRECTIONS, (uncached, row["cached_tokens"], row["output_tokens"]), strict=True))
    cost = 0 if free else _cost(row["model"], row["variant"], _day(row["start_ms"]), tokens, plants)
    end = row["start_ms"] + row["latency_ms"]
    return {
        "request_id": request_id,
        "call_type": "acompletion",
        "api_key": f"hash-{feature.name if known else 'shared'}",
        "spend": float(decimal(cost)),
        "total_tokens": row["input_tokens"] + row["output_tokens"],
        "prompt_tokens": row["input_tokens"],
        "completion_tokens": row["output_tokens"],
        "startTime": _iso(row["start_ms"]),
        "endTime": _iso(end),
        "completionStartTime": _iso(end if failed else row["start_ms"] + row["ttft_ms"]),
        "model": row["model"],
        "model_group": row["model"],
        "custom_llm_provider": "example_models",
        "cache_hit": "True" if row["cache_hit"] else "False",
        "request_tags": tags,
        "team_id": feature.team if known else None,
        "end_user": row["customer"] if known else None,
        "status": "failure" if failed else "success",
        "metadata": metadata,
    }


def _cost(model: str, variant: str, day: date, tokens: dict[str, int], plants: Plants) -> int:
    assert (model, variant) in API_PRICES
    return sum(n * price(model, variant, direction, day, plants)[0] for direction, n in tokens.items())


def write_otlp(folder: Path, calls: pl.DataFrame) -> None:
    """Write calls to self-hosted models as OTLP/JSON lines, a file a month.

    A line holds the spans of one service and day. The sampling probability is in each span's
    ``traceState`` as ``ot=th:``, the rejection threshold of OpenTelemetry's consistent sampling.
    `calls` are those of `finops_lab.samples.traces.traced`.
    """
    for month, part in _months(calls):
        resources: dict[tuple[Any, ...], list[str]] = {}
        for row in part.iter_rows(named=True):
            known = row["context"]
            key = (
                _day(row["start_ms"]),
                row["feature"] if known else None,
                row["model"],
                row["variant"],
                row["gateway"],
                row["environment"],
                _team_region(row),
                row["feature"] if not row["gateway"] else "gateway",
            )
            spans = resources.setdefault(key, [])
            if row["root_start_ms"] is not None:
                spans += _around(month, row)
            spans.append(_span(month, row))
        lines = [
            _batch(key, spans) for key, spans in sorted(resources.items(), key=lambda item: str(item[0]))
        ]
        write_lines(folder / f"{month}.jsonl.gz", lines)


def _team_region(row: dict[str, Any]) -> str:
    # The gateway runs in one region; a pool runs where its team is at home.
    return "us" if row["gateway"] else TEAMS[FEATURES[row["feature"]].team].region


def _batch(key: tuple[Any, ...], spans: Iterable[str]) -> str:
    _, feature, model, variant, gateway, environment, region, owner = key
    cloud = SERVING[model].cloud
    attributes = [
        ("service.name", "shared-gateway" if gateway else feature or "unknown_service"),
        ("deployment.environment.name", environment),
        ("cloud.provider", cloud),
        ("cloud.region", REGIONS[cloud][region]),
        ("finops.region", region),
        ("k8s.deployment.name", pool_name(Route(owner, model, variant, gateway))),
        ("finops.variant", variant),
    ]
    if feature:
        attributes += [("finops.team", FEATURES[feature].team), ("finops.feature", feature)]
    resource = _compact({"attributes": [_text(name, value) for name, value in attributes]})
    return (
        f'{{"resourceSpans":[{{"resource":{resource},"scopeSpans":[{{"scope":{{"name":"synthetic.serving"}},'
        f'"spans":[{",".join(spans)}]}}]}}]}}'
    )


def _serial(month: str, number: int) -> int:
    return int(month.replace("-", "")) * 1_000_000 + number


def _ids(month: str, row: dict[str, Any], bits: int) -> dict[str, str]:
    """Return the trace of a call and the state that says how it was sampled."""
    # Kept spans have randomness (the last 56 bits of the trace id) at or above the threshold.
    number = row["number"] if row["trace_number"] is None else row["trace_number"]
    least = _threshold(row["trace_bits"] or bits) + number
    return {
        "traceId": f"{_serial(month, number):018x}{least:014x}",
        "traceState": f"ot=th:{_threshold(bits):014x}".rstrip("0"),
    }


def _threshold(bits: int) -> int:
    return (1 << 56) - (1 << (56 - bits))


def _root(month: str, row: dict[str, Any]) -> str:
    return f"f{_serial(month, row['root']):015x}"


def _around(month: str, row: dict[str, Any]) -> list[str]:
    """Return the server's span around the calls of a trace, and the retrieval that came before them."""
    ids = _ids(month, row, row["trace_bits"])
    root = {
        "traceId": ids["traceId"],
        "spanId": _root(month, row),
        "traceState": ids["traceState"],
        "name": f"POST /v1/{row['feature']}",
        "kind": 2,
        **_times(row["root_start_ms"], row["root_end_ms"]),
        "attributes": [_text("http.request.method", "POST"), _text("url.path", f"/v1/{row['feature']}")],
        "status": {},
    }
    if row["retrieval_end_ms"] is None:
        return [_compact(root)]
    retrieval = {
        **root,
        "spanId": f"e{_root(month, row)[1:]}",
        "parentSpanId": root["spanId"],
        "name": "retrieval",
        "kind": 3,
        **_times(row["root_start_ms"] + 1, row["retrieval_end_ms"]),
        "attributes": [_text("gen_ai.operation.name", "retrieval")],
    }
    return [_compact(root), _compact(retrieval)]


def _times(start_ms: int, end_ms: int) -> dict[str, str]:
    return {"startTimeUnixNano": f"{start_ms}000000", "endTimeUnixNano": f"{end_ms}000000"}


def _span(month: str, row: dict[str, Any]) -> str:
    ids = _ids(month, row, row["bits"] or sampling_bits(row["model"]))
    attributes = [
        _text("gen_ai.operation.name", "chat"),
        _text("gen_ai.provider.name", "self_hosted"),
        _text("gen_ai.request.model", row["model"]),
    ]
    if row["customer"] and row["context"]:
        attributes.append(_text("finops.customer", row["customer"]))
    if row["error"]:
        attributes.append(_text("error.type", row["error"]))
    else:
        attributes += [
            _text("gen_ai.response.model", row["model"]),
            _count("gen_ai.usage.input_tokens", row["input_tokens"]),
            _count("gen_ai.usage.output_tokens", row["output_tokens"]),
            _count("gen_ai.usage.cache_read.input_tokens", row["cached_tokens"]),
            _seconds("gen_ai.response.time_to_first_chunk", row["ttft_ms"]),
        ]
    attributes += [_seconds(name, row[column]) for name, column in _ENGINE if row[column] is not None]
    attributes += [_count(name, row[column]) for name, column in _OF_CALL if row[column] is not None]
    return _compact(
        {
            "traceId": ids["traceId"],
            "spanId": f"{_serial(month, row['number']):016x}",
            **({} if row["root"] is None else {"parentSpanId": _root(month, row)}),
            "traceState": ids["traceState"],
            "name": f"chat {row['model']}",
            "kind": 3,
            **_times(row["start_ms"], row["start_ms"] + row["latency_ms"]),
            "attributes": attributes,
            "status": {"code": 2} if row["error"] else {},
        }
    )


def _text(name: str, value: str) -> dict[str, Any]:
    return {"key": name, "value": {"stringValue": value}}


def _count(name: str, value: int) -> dict[str, Any]:
    return {"key": name, "value": {"intValue": str(value)}}


def _seconds(name: str, value_ms: int) -> dict[str, Any]:
    return {"key": name, "value": {"doubleValue": value_ms / 1000}}


def _months(calls: pl.DataFrame) -> list[tuple[str, pl.DataFrame]]:
    month = pl.from_epoch("start_ms", time_unit="ms").dt.strftime("%Y-%m").alias("month")
    parts = calls.with_columns(month).partition_by(
        "month", maintain_order=True, as_dict=True, include_key=False
    )
    return [(str(key[0]), part) for key, part in parts.items()]


def _moment(ms: int) -> datetime:
    return datetime.fromtimestamp(ms // 1000, UTC).replace(microsecond=ms % 1000 * 1000)


def _day(ms: int) -> date:
    return _moment(ms).date()


def _iso(ms: int) -> str:
    return _moment(ms).strftime("%Y-%m-%dT%H:%M:%S.") + f"{ms % 1000:03d}Z"


_ENCODER = json.JSONEncoder(separators=(",", ":"))


def _compact(value: object) -> str:
    return _ENCODER.encode(value)
