"""Attribute names of model calls in the dialects of traces, each list in the order of preference.

Dialects: the GenAI semantic conventions, now and in their older spellings; OpenInference
(``llm.token_count.*``, ``openinference.span.kind``); OpenLLMetry (``llm.usage.*``,
``traceloop.*``); vLLM; OpenLIT's ``gen_ai.usage.cost``. All of them count cached tokens inside the
input and reasoning inside the output.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from finops_lab.ingestion.registry import ReadSettings

OPERATION = "gen_ai.operation.name"
KIND = "openinference.span.kind"
TASK = "traceloop.span.kind"
REQUEST_TYPE = "llm.request.type"
OPERATIONS = {
    "chat": "chat",
    "generate_content": "chat",
    "text_completion": "completion",
    "completion": "completion",
    "embeddings": "embedding",
    "embedding": "embedding",
    "image_generation": "image",
    "rerank": "rerank",
    "LLM": "chat",
    "EMBEDDING": "embedding",
    "RERANKER": "rerank",
}
CALLS = frozenset({"chat", "generate_content", "text_completion", "embeddings"})
# Spans around model calls. An agent's span may repeat the tokens of the calls inside it.
AROUND = frozenset(
    {"create_agent", "invoke_agent", "execute_tool", "invoke_workflow", "retrieval", "plan", "agent", "tool"}
)
CALL_KINDS = frozenset({"LLM", "EMBEDDING", "RERANKER"})
CALL_TYPES = frozenset({"chat", "completion", "embedding", "rerank"})

INPUT = (
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.prompt_tokens",
    "llm.token_count.prompt",
    "llm.usage.prompt_tokens",
)
OUTPUT = (
    "gen_ai.usage.output_tokens",
    "gen_ai.usage.completion_tokens",
    "llm.token_count.completion",
    "llm.usage.completion_tokens",
)
TOTAL = ("gen_ai.usage.total_tokens", "llm.token_count.total", "llm.usage.total_tokens")
CACHE_READ = (
    "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.usage.cache_read_input_tokens",
    "llm.token_count.prompt_details.cache_read",
)
CACHE_WRITE = (
    "gen_ai.usage.cache_creation.input_tokens",
    "gen_ai.usage.cache_creation_input_tokens",
    "llm.token_count.prompt_details.cache_write",
)
REASONING = (
    "gen_ai.usage.reasoning.output_tokens",
    "gen_ai.usage.reasoning_tokens",
    "llm.token_count.completion_details.reasoning",
)
FIRST_CHUNK = ("gen_ai.response.time_to_first_chunk", "gen_ai.latency.time_to_first_token")
# vLLM tells where the time of a call went, in seconds.
QUEUE = ("gen_ai.latency.time_in_queue",)
PREFILL = ("gen_ai.latency.time_in_model_prefill",)
DECODE = ("gen_ai.latency.time_in_model_decode",)
SECONDS = {"ttft_ms": FIRST_CHUNK, "queue_ms": QUEUE, "prefill_ms": PREFILL, "decode_ms": DECODE}
REQUEST_BYTES = ("http.request.body.size",)
RESPONSE_BYTES = ("http.response.body.size",)
TIER = (
    "openai.response.service_tier",
    "gen_ai.openai.response.service_tier",
    "openai.request.service_tier",
    "gen_ai.openai.request.service_tier",
)
COST = ("llm.cost.total", "gen_ai.usage.cost")
RETRIES = "http.request.resend_count"
HOSTING = "finops.hosting"
POOL = "finops.pool"
# Only of a server: on a call to an outside API this is the deployment of the caller.
SERVER_POOL = "k8s.deployment.name"

MODEL = (
    "gen_ai.request.model",
    "llm.request.model_name",
    "llm.request.model",
    "llm.model_name",
    "embedding.model_name",
    "reranker.model_name",
)
RESPONSE_MODEL = ("gen_ai.response.model", "llm.response.model_name", "llm.response.model")
PROVIDER = ("gen_ai.provider.name", "gen_ai.system", "llm.provider", "llm.system", "llm.vendor")
RESPONSE_ID = ("gen_ai.response.id",)
SESSION = ("gen_ai.conversation.id", "session.id", "traceloop.association.properties.session_id")
ERROR = ("error.type",)

_STANDARD = {
    "feature": ("gen_ai.workflow.name", "traceloop.workflow.name", "traceloop.entity.name"),
    "environment": ("deployment.environment.name", "deployment.environment"),
    "region": ("cloud.region",),
}
_CONTEXT = ("team", "feature", "customer", "environment", "region", "variant")


def lookups(settings: ReadSettings) -> Mapping[str, Sequence[str]]:
    """Return the names of every column that is looked up in the span and then in its resource."""
    names: dict[str, Sequence[str]] = {
        column: (
            *settings.attributes.get(column, ()),
            f"finops.{column}",
            f"traceloop.association.properties.{column}",
            *_STANDARD.get(column, ()),
        )
        for column in _CONTEXT
    }
    names["model"] = (*settings.attributes.get("model", ()), *MODEL, *RESPONSE_MODEL)
    names["service_tier"] = settings.attributes.get("service_tier", ())  # before those of `TIER`
    names["project_id"] = ("finops.project_id", "openinference.project.name")
    names["api_key_id"] = ("finops.api_key_id",)
    return names
