"""Request logs read into Parquet: LiteLLM's spend logs and OTLP traces against DuckDB's JSON reader.

finops_lab: its readers, every record checked, straight into Parquet. DuckDB: `read_json` with
explicit columns, the same columns of the contract computed in plain SQL (the context looked up in
the places LiteLLM writes it to, tokens made exclusive, money cast to DECIMAL(38,18)), nothing
checked. Of the SQL tried for the attributes of spans, positions in a list of keys took the least
CPU. Two shapes of OTLP: batches of 500 spans a line as a collector writes them under load, and a
span a line. Both results must hold the same rows, tokens, milliseconds and spend.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import _form
from _form import Figure, Run

TARGET = 1.0
MODELS = (
    ("example-large", "openai", "azure/example-large-eu"),
    ("example-medium", "anthropic", "anthropic/example-medium"),
    ("example-self", "hosted_vllm", "hosted_vllm/example-self"),
)
FORMATS = ("litellm", "otlp", "otlp_lines")
CONTEXT = ("team", "feature", "customer", "environment", "region", "variant")
CHECKED = """
    SELECT count(*), sum(cost_reported_usd)::VARCHAR, sum(input_uncached_tokens)::VARCHAR,
        sum(cache_read_tokens)::VARCHAR, sum(output_tokens)::VARCHAR, sum(reasoning_tokens)::VARCHAR,
        round(sum(latency_ms)), round(sum(ttft_ms)), count(DISTINCT request_id), count(DISTINCT model),
        count(DISTINCT team), count(DISTINCT feature), count(DISTINCT customer), count(environment),
        count(variant), count(region), count(session_id), count(*) FILTER (status = 'ok'),
        count(*) FILTER (operation = 'chat'), count(*) FILTER (hosting = 'self_hosted'),
        sum(epoch_us(ts_start))::VARCHAR, sum(epoch_us(ts_end))::VARCHAR, min(day)::VARCHAR
    FROM '{}'
"""


def litellm_records(path: Path, rows: int, seed: int = 7) -> None:
    """Write spend logs of the size that LiteLLM writes, about 1.6 KB a record."""
    draw = random.Random(seed)
    first = datetime(2026, 8, 3, tzinfo=UTC)
    with path.open("w", encoding="utf-8") as out:
        for n in range(rows):
            group, provider, model = MODELS[n % 3]
            start = first + timedelta(milliseconds=700 * n + draw.randrange(700))
            took = draw.randrange(300, 9000)
            prompt, completion = draw.randrange(50, 8000), draw.randrange(1, 900)
            details = {"cached_tokens": draw.randrange(prompt) if n % 2 else 0, "audio_tokens": None}
            failed = n % 50 == 7
            metadata: dict[str, Any] = {
                "status": "failure" if failed else "success",
                "user_api_key": f"{n % 20:064x}",
                "user_api_key_alias": f"key-{n % 20}",
                "user_api_key_team_id": f"team-{n % 9}",
                "applied_guardrails": [],
                "spend_logs_metadata": {"feature": f"feature-{n % 12}", "environment": "prod"},
                "mcp_tool_call_metadata": None,
                "usage_object": {
                    "prompt_tokens": prompt,
                    "completion_tokens": completion,
                    "total_tokens": prompt + completion,
                    "prompt_tokens_details": details,
                    "completion_tokens_details": {"reasoning_tokens": completion // 3, "audio_tokens": None},
                },
                "cost_breakdown": None,
                "additional_usage_values": {},
            }
            if failed:
                metadata["error_information"] = {"error_class": "RateLimitError", "error_code": "429"}
            record = {
                "request_id": f"chatcmpl-{draw.getrandbits(96):024x}",
                "call_type": "acompletion",
                "api_key": f"{n % 20:064x}",
                "spend": "@",
                "total_tokens": prompt + completion,
                "prompt_tokens": prompt,
                "completion_tokens": completion,
                "startTime": _moment(start),
                "endTime": _moment(start + timedelta(milliseconds=took)),
                "completionStartTime": _moment(start + timedelta(milliseconds=took // 4)),
                "model": model,
                "model_id": f"{draw.getrandbits(256):064x}",
                "model_group": group,
                "custom_llm_provider": provider,
                "api_base": "https://gateway.example/v1",
                "user": f"user-{n % 50}",
                "metadata": metadata,
                "cache_hit": "False",
                "cache_key": "Cache OFF",
                "request_tags": [f"variant:v{n % 3}", "User-Agent: example/1.0"],
                "team_id": f"team-{n % 9}",
                "organization_id": None,
                "end_user": f"c-{n % 400}",
                "session_id": f"s-{n // 5}",
                "status": metadata["status"],
                "messages": {},
                "response": {},
            }
            small = n % 50 == 0
            spend = f"{draw.randrange(1, 10**9)}e-11" if small else f"0.{draw.randrange(10**12):012d}"
            out.write(json.dumps(record).replace('"@"', spend, 1) + "\n")


def _moment(when: datetime) -> str:
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def otlp_spans(path: Path, rows: int, per_line: int, seed: int = 7) -> None:
    """Write traces of which nine spans of ten are model calls, about 1.5 KB a span."""
    draw = random.Random(seed)
    resource = {
        "service.name": "example-assistant",
        "deployment.environment.name": "production",
        "cloud.region": "eu-west-1",
        "k8s.deployment.name": "assistant",
    }
    held = {"attributes": [_attribute(*pair) for pair in resource.items()]}
    spans: list[dict[str, Any]] = []
    with path.open("w", encoding="utf-8") as out:
        for n in range(rows):
            spans.append(_span(n, draw))
            if len(spans) == per_line or n == rows - 1:
                scopes = [{"scope": {"name": "example.instrumentation"}, "spans": spans}]
                line = {"resourceSpans": [{"resource": held, "scopeSpans": scopes}]}
                out.write(json.dumps(line, separators=(",", ":")) + "\n")
                spans = []


def _span(n: int, draw: random.Random) -> dict[str, Any]:
    group, provider, model = MODELS[n % 3]
    start, took = 1_790_000_000_000_000_000 + n * 700_000_000, draw.randrange(300, 9000) * 1_000_000
    prompt, completion = draw.randrange(50, 8000), draw.randrange(1, 900)
    call = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": provider,
        "gen_ai.request.model": group,
        "gen_ai.response.model": model,
        "gen_ai.response.id": f"chatcmpl-{draw.getrandbits(96):024x}",
        "gen_ai.request.temperature": 0.2,
        "gen_ai.request.max_tokens": 1024,
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": prompt,
        "gen_ai.usage.cache_read.input_tokens": draw.randrange(prompt) if n % 2 else 0,
        "gen_ai.usage.output_tokens": completion,
        "gen_ai.usage.reasoning.output_tokens": completion // 3,
        "gen_ai.response.time_to_first_chunk": took / 4e9,
        "server.address": "gateway.example",
        "server.port": 443,
        "gen_ai.conversation.id": f"s-{n // 5}",
        "finops.team": f"team-{n % 9}",
        "finops.feature": f"feature-{n % 12}",
        "finops.customer": f"c-{n % 400}",
    }
    web = {"http.request.method": "POST", "url.path": "/v1", "http.response.status_code": 200}
    failed = n % 40 == 5
    said: dict[str, Any] = web if n % 10 == 9 else call | ({"error.type": "RateLimitError"} if failed else {})
    return {
        "traceId": f"{draw.getrandbits(128):032x}",
        "spanId": f"{draw.getrandbits(64):016x}",
        "parentSpanId": f"{draw.getrandbits(64):016x}",
        "name": f"chat {group}",
        "kind": 3,
        "startTimeUnixNano": str(start),
        "endTimeUnixNano": str(start + took),
        "attributes": [_attribute(*pair) for pair in said.items()],
        "status": {"code": 2, "message": "rate limited"} if failed else {},
    }


def _attribute(key: str, value: object) -> dict[str, Any]:
    if isinstance(value, list):
        return {"key": key, "value": {"arrayValue": {"values": [{"stringValue": v} for v in value]}}}
    kind = (
        "intValue" if isinstance(value, int) else "doubleValue" if isinstance(value, float) else "stringValue"
    )
    return {"key": key, "value": {kind: str(value) if isinstance(value, int) else value}}


def ours(kind: str, source: Path, out: Path, answer: Path) -> None:
    """Read with the format's reader, write all columns of the contract."""
    from finops_lab.ingestion.registry import NOTES, RAW, REASONS, ReadSettings
    from finops_lab.ingestion.requests import litellm, otlp

    reader = litellm if kind == "litellm" else otlp

    def work() -> Mapping[str, Any]:
        rows = reader.read(source, ReadSettings()).drop(RAW, REASONS, NOTES)
        rows.sink_parquet(out, compression="lz4", statistics=False)
        return {}

    _form.timed(work, answer)


def duckdb(kind: str, source: Path, out: Path, answer: Path) -> None:
    """Do the same in plain SQL."""
    import duckdb as db

    query = litellm_sql(source) if kind == "litellm" else otlp_sql(source)
    con = db.connect()

    def work() -> Mapping[str, Any]:
        con.sql(f"COPY ({query}) TO '{out}' (FORMAT parquet, COMPRESSION lz4_raw)")
        return {}

    _form.timed(work, answer)


def litellm_sql(source: Path) -> str:
    """Return the columns of the contract out of spend logs."""
    names = ", ".join(f"{name} VARCHAR" for name in (*CONTEXT, "pool"))
    usage = (
        "STRUCT(prompt_tokens_details STRUCT(cached_tokens BIGINT, cache_creation_tokens BIGINT),"
        " completion_tokens_details STRUCT(reasoning_tokens BIGINT),"
        " cache_read_input_tokens BIGINT, cache_creation_input_tokens BIGINT)"
    )
    metadata = (
        f"STRUCT(usage_object {usage}, additional_usage_values {usage}, status VARCHAR,"
        " error_information STRUCT(error_class VARCHAR), cost_breakdown STRUCT(service_tier VARCHAR),"
        f" spend_logs_metadata STRUCT({names}), requester_metadata STRUCT({names}), {names})"
    )
    texts = (
        "request_id session_id api_key custom_llm_provider model_group model startTime endTime"
        " completionStartTime call_type team_id end_user status cache_hit spend"
    )
    columns = {
        **dict.fromkeys(texts.split(), "VARCHAR"),
        **dict.fromkeys(("prompt_tokens", "completion_tokens", "request_duration_ms"), "BIGINT"),
        "request_tags": "VARCHAR[]",
        "metadata": metadata,
    }
    explicit = ", ".join(f"{name}: '{kind}'" for name, kind in columns.items())

    def tag(name: str) -> str:
        return f"substr(list_filter(request_tags, lambda t: starts_with(t, '{name}:'))[1], {len(name) + 2})"

    def looked_up(name: str) -> str:
        holders = (f"m.{name}", f"m.spend_logs_metadata.{name}", f"m.requester_metadata.{name}")
        return ", ".join(f"nullif(trim({place}), '')" for place in (tag(name), *holders))

    own = {"team": "nullif(trim(team_id), ''), ", "customer": "nullif(trim(end_user), ''), "}
    context = ", ".join(f"coalesce({own.get(n, '')}{looked_up(n)}) AS {n}" for n in CONTEXT)
    first, last = "m.additional_usage_values", "m.usage_object"

    def usages(*fields: str) -> str:
        return f"coalesce({', '.join(f'{usage}.{field}' for field in fields for usage in (first, last))})"

    read = usages("prompt_tokens_details.cached_tokens", "cache_read_input_tokens")
    written = usages("cache_creation_input_tokens", "prompt_tokens_details.cache_creation_tokens")
    return f"""
        WITH raw AS (
            SELECT *, CAST(startTime AS TIMESTAMPTZ) AS a, CAST(endTime AS TIMESTAMPTZ) AS b,
                CAST(completionStartTime AS TIMESTAMPTZ) AS f, {read} AS read, {written} AS written,
                coalesce(lower(status), lower(m.status), 'success') AS said
            FROM (
                SELECT *, metadata AS m
                FROM read_json('{source}', format='newline_delimited', columns={{{explicit}}})
            )
        )
        SELECT a AS ts_start, b AS ts_end, CAST(a AS DATE) AS day, trim(request_id) AS request_id,
            trim(session_id) AS session_id, api_key AS api_key_id, custom_llm_provider AS provider,
            coalesce(nullif(model_group, ''), model) AS model,
            CASE WHEN model_group <> '' THEN model END AS response_model,
            CASE WHEN call_type IN ('completion', 'acompletion', 'aresponses') THEN 'chat'
                WHEN call_type IN ('embedding', 'aembedding') THEN 'embedding' ELSE 'other' END AS operation,
            CASE WHEN custom_llm_provider IN ('vllm', 'hosted_vllm', 'sglang', 'tgi', 'triton')
                THEN 'self_hosted' ELSE 'api' END AS hosting,
            {context}, coalesce({looked_up("pool")}) AS pool_id, 1 AS n_requests, 1.0 AS sample_weight,
            prompt_tokens - coalesce(read, 0) - coalesce(written, 0) AS input_uncached_tokens,
            read AS cache_read_tokens, written AS cache_write_tokens, completion_tokens AS output_tokens,
            {usages("completion_tokens_details.reasoning_tokens")} AS reasoning_tokens,
            lower(m.cost_breakdown.service_tier) AS service_tier,
            coalesce(request_duration_ms, (epoch_us(b) - epoch_us(a)) / 1000) AS latency_ms,
            CASE WHEN a <= f AND f < b THEN (epoch_us(f) - epoch_us(a)) / 1000 END AS ttft_ms,
            CASE WHEN said = 'success' THEN 'ok' WHEN m.error_information.error_class ILIKE '%timeout%'
                THEN 'timeout' ELSE 'error' END AS status,
            CASE WHEN said = 'failure' THEN m.error_information.error_class END AS error_type,
            CASE lower(cache_hit) WHEN 'true' THEN true WHEN 'false' THEN false END AS served_from_cache,
            CAST(spend AS DECIMAL(38, 18)) AS cost_reported_usd
        FROM raw
    """


def otlp_sql(source: Path) -> str:
    """Return the columns of the contract out of traces."""
    pairs = "STRUCT(key VARCHAR, value STRUCT(stringValue VARCHAR, intValue VARCHAR, doubleValue DOUBLE))[]"
    span = (
        "STRUCT(traceId VARCHAR, spanId VARCHAR, parentSpanId VARCHAR, startTimeUnixNano VARCHAR,"
        f" endTimeUnixNano VARCHAR, traceState VARCHAR, status STRUCT(code INTEGER), attributes {pairs})"
    )
    line = f"STRUCT(resource STRUCT(attributes {pairs}), scopeSpans STRUCT(spans {span}[])[])[]"

    def own(key: str, kind: str = "stringValue") -> str:
        return f"v[list_position(k, '{key}')].{kind}"

    def held(key: str) -> str:
        return f"rv[list_position(rk, '{key}')].stringValue"

    def count(key: str) -> str:
        return f"CAST({own(key, 'intValue')} AS BIGINT)"

    usage = "gen_ai.usage."
    return f"""
        WITH lines AS (
            SELECT unnest(resourceSpans) AS r
            FROM read_json('{source}', format='newline_delimited', columns={{resourceSpans: '{line}'}})
        ), scopes AS (SELECT r.resource.attributes AS ra, unnest(r.scopeSpans) AS c FROM lines
        ), spans AS (SELECT ra, unnest(c.spans) AS s FROM scopes
        ), keyed AS (
            SELECT s, list_transform(s.attributes, lambda x: x.key) AS k,
                list_transform(s.attributes, lambda x: x.value) AS v,
                list_transform(ra, lambda x: x.key) AS rk, list_transform(ra, lambda x: x.value) AS rv,
                CAST(s.startTimeUnixNano AS BIGINT) AS a, CAST(s.endTimeUnixNano AS BIGINT) AS b
            FROM spans
        ), read AS (
            SELECT *, {own("gen_ai.operation.name")} AS said, {own("gen_ai.provider.name")} AS provider,
                {own("error.type")} AS error_type, {count(usage + "cache_read.input_tokens")} AS read,
                {count(usage + "cache_creation.input_tokens")} AS written
            FROM keyed
        )
        SELECT make_timestamp(a // 1000) AS ts_start, make_timestamp(b // 1000) AS ts_end,
            CAST(make_timestamp(a // 1000) AS DATE) AS day,
            coalesce({own("gen_ai.response.id")}, lower(s.spanId)) AS request_id,
            lower(s.traceId) AS trace_id, lower(s.parentSpanId) AS parent_id,
            {own("gen_ai.conversation.id")} AS session_id, provider,
            {own("gen_ai.request.model")} AS model, {own("gen_ai.response.model")} AS response_model,
            CASE said WHEN 'embeddings' THEN 'embedding' WHEN 'text_completion' THEN 'completion'
                ELSE 'chat' END AS operation,
            CASE WHEN provider IN ('vllm', 'hosted_vllm', 'sglang', 'tgi', 'triton')
                THEN 'self_hosted' ELSE 'api' END AS hosting,
            coalesce({own("finops.team")}, {held("finops.team")}) AS team,
            coalesce({own("finops.feature")}, {held("finops.feature")}) AS feature,
            coalesce({own("finops.customer")}, {held("finops.customer")}) AS customer,
            coalesce({own("finops.variant")}, {held("finops.variant")}) AS variant,
            coalesce({held("deployment.environment.name")}, {held("deployment.environment")}) AS environment,
            {held("cloud.region")} AS region, {held("k8s.deployment.name")} AS pool_id,
            1 AS n_requests, 1.0 AS sample_weight,
            {count(usage + "input_tokens")} - coalesce(read, 0) - coalesce(written, 0) AS input_uncached_tokens,
            read AS cache_read_tokens, written AS cache_write_tokens,
            {count(usage + "output_tokens")} AS output_tokens,
            {count(usage + "reasoning.output_tokens")} AS reasoning_tokens,
            {own("openai.response.service_tier")} AS service_tier, (b - a) / 1e6 AS latency_ms,
            {own("gen_ai.response.time_to_first_chunk", "doubleValue")} * 1000 AS ttft_ms,
            CASE WHEN s.status.code = 2 OR error_type IS NOT NULL THEN 'error' ELSE 'ok' END AS status,
            error_type, CAST({own("llm.cost.total", "doubleValue")} AS DECIMAL(38, 18)) AS cost_reported_usd
        FROM read WHERE said IN ('chat', 'generate_content', 'text_completion', 'embeddings')
    """


CASES = {"finops_lab": ours, "DuckDB": duckdb}


def main() -> int:
    """Write the files, run the cases in turn, compare the sums, report."""
    parser = _form.arguments(__doc__, rows=200_000, rounds=3)
    parser.add_argument("--case", choices=CASES, help="run one case on --source (used by the script itself)")
    parser.add_argument("--kind", choices=FORMATS)
    parser.add_argument("--source", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--answer", type=Path)
    args = parser.parse_args()
    if args.case:
        CASES[args.case](args.kind, args.source, args.out, args.answer)
        return 0
    import duckdb as db

    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="bench-requests-") as name:
        folder = Path(name)
        for kind in FORMATS:
            source, out = folder / f"{kind}.jsonl", folder / "out.parquet"
            if kind == "litellm":
                litellm_records(source, args.rows)
            else:
                otlp_spans(source, args.rows, 500 if kind == "otlp" else 1)
            sums: dict[str, Any] = {}

            def run(case: str, kind: str = kind, source: Path = source, out: Path = out) -> Run:
                options = ["--case", case, "--kind", kind, "--source", str(source), "--out", str(out)]
                done = _form.case(__file__, *options)
                sums[case] = db.sql(CHECKED.format(out)).fetchall()[0]  # noqa: B023
                return done

            runs = _form.interleaved({case: lambda case=case: run(case) for case in CASES}, args.rounds)
            if sums["finops_lab"] != sums["DuckDB"]:
                raise SystemExit(f"{kind}: finops_lab found {sums['finops_lab']}, DuckDB {sums['DuckDB']}")
            size = source.stat().st_size / 2**20
            _form.print_runs(f"{args.rows:,} {kind} records, {size:,.0f} MB", runs, args.rows)
            mine, peer = (_form.middle(runs[case]) for case in CASES)
            speed, rate = peer.cpu / mine.cpu, args.rows / mine.cpu
            of = f"request_logs/{kind}"
            figures += [
                Figure(f"{of}_speed_of_duckdb", speed, "x DuckDB's speed in CPU", "higher", TARGET, "DuckDB"),
                Figure(f"{of}_per_cpu_second", rate, "records/CPU s", "higher"),
                Figure(f"{of}_peak_memory", mine.peak_mb, "MB", "lower"),
            ]
            source.unlink()
    _form.report(figures, args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
