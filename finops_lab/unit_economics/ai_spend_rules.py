"""The built-in rules that find AI spend on a bill, in the order in which they are tried."""

from __future__ import annotations

from collections.abc import Mapping

from finops_lab.config import AiSpendRule

__all__ = ["AI_CATEGORY", "DEFAULTS", "NAMED", "NAMED_IN", "NOT_AI", "TEXTS"]

NOT_AI = "not AI"
AI_CATEGORY = "AI and Machine Learning"
# Columns that say what was bought, where a rule does not name its own.
TEXTS = (
    "ServiceName",
    "ServiceSubcategory",
    "ChargeDescription",
    "SkuId",
    "SkuMeter",
    "SkuPriceDetails",
    "ResourceName",
    "ResourceType",
    "CommitmentDiscountName",
    "x_InstanceType",
    "x_GpuModel",
)
_SELLERS = ("ProviderName", "ServiceProviderName", "PublisherName", "InvoiceIssuerName")
_PRODUCT = ("ServiceName", "ServiceSubcategory", "ChargeDescription", "SkuMeter", "SkuId")
_MODEL = ("x_model", "x_tag_model", "x_ModelId")
_FEATURE = ("x_feature", "x_tag_feature")
_SOMETHING = (r"\S",)
# Most buckets have no other name than their identifier.
NAMED = ("ResourceId",)
NAMED_IN = ("Storage", "Networking")

# GPUs and machines that are made for training and inference. Those of the g, NV and NG families
# serve graphics and desktops as well, so they alone make a charge only possible AI spend.
_AI_CHIPS = (
    r"\b(?:A100|A800|H100|H200|H800|B100|B200|B300|GB200|GB300|V100|P100|L40S|MI2\d0X?|MI3\d\dX?)\b",
    r"\b(?:gaudi|trainium|inferentia)\d?\b",
    r"\bTPUs?\b",
    r"\bct[3-6]\w*-",
)
_AI_MACHINES = (
    r"\b(?:p[2-6][a-z]{0,2}(?:-[a-z]+\d+)?|trn\d[a-z]?|inf\d|dl[12][a-z]?)\.(?:\d*x?large|metal)\b",
    r"(?:\b|_)N[CD]C?\d+\w*",
    r"\ba[2-4]x?-\w*gpu",
)
_GRAPHICS = (
    r"\bg(?:[2-7][a-z]{0,2}|r6f?)\.(?:\d*x?large|metal)\b",
    r"(?:\b|_)N[VG]\d+\w*",
    r"\bg[24]-standard",
    r"\bGPU\d*s?\b",
    r"\bnvidia\b",
)
_VENDORS = (
    r"\b(?:open ?ai|anthropic|cohere|mistral(?: ai)?|deepseek|x\.?ai|perplexity|ai21(?: labs)?|stability ai)\b",
    r"\b(?:together(?: ai| computer)|fireworks(?: ai|\.ai)|groq|replicate|hugging ?face|openrouter|cerebras)\b",
    r"\b(?:eleven ?labs|assembly ?ai|deepgram|voyage ai|sambanova|jina ai|runway ?ml)\b",
)
_SERVICES = (
    r"\b(?:bedrock|sagemaker|vertex ai|azure (?:open ?ai|machine learning|ai foundry)|open ?ai|cognitive services)\b",
    r"\b(?:anthropic|claude|gemini (?:api|pro|flash|ultra|\d)\S*|model serving|generative ai)\b",
)
_CLOUDS = (
    r"\b(?:coreweave|lambda (?:labs|cloud)|run ?pod|vast\.ai|crusoe|nebius|paperspace|voltage park|fluidstack)\b",
)
_VECTORS = (r"\b(?:pinecone|weaviate|qdrant|milvus|zilliz|chroma ?db|chroma cloud|turbopuffer|lancedb)\b",)
_TRACING = (
    r"\b(?:langfuse|langsmith|langchain|helicone|arize|braintrust|humanloop|traceloop|promptlayer|portkey)\b",
    r"\b(?:weights (?:&|and) biases|wandb|comet ml|llm observability)\b",
)
_NAMES = (
    r"(?:^|[\W_])(?:checkpoints?|embeddings?|llms?|mlflow|hugging-?face|vector-?(?:store|db|index))(?:$|[\W_])",
    r"(?:^|[\W_])(?:model-?(?:weights|artifacts?|registry|store)|training-?(?:data|sets?)|fine-?tun\w*)(?:$|[\W_])",
)
_MACHINES = ("Compute", "Other")
# Kind of a charge that names a model, by its category.
_BESIDE = {
    "compute": ("Compute",),
    "storage": ("Storage",),
    "egress": ("Networking",),
    "database": ("Databases", "Analytics"),
    "observability": ("Management and Governance",),
}


def _rule(
    name: str,
    kind: str,
    *text: str,
    look_in: tuple[str, ...] = (),
    certain: bool = True,
    where: Mapping[str, tuple[str, ...]] | None = None,
    **columns: tuple[str, ...],
) -> AiSpendRule:
    picked = columns | dict(where or {})
    return AiSpendRule(
        name=f"default: {name}", kind=kind, certain=certain, where=picked, text=text, look_in=look_in
    )


DEFAULTS: tuple[AiSpendRule, ...] = (
    _rule("AI category", "AI service", ServiceCategory=(AI_CATEGORY,)),
    _rule("tokens", "model vendor", x_TokenDirection=("~.",)),
    _rule("model vendor", "model vendor", *_VENDORS, look_in=_SELLERS),
    _rule("AI service outside its category", "AI service", *_SERVICES, look_in=_PRODUCT),
    _rule("GPU cloud", "GPU", *_CLOUDS, look_in=_SELLERS),
    _rule("AI accelerator", "GPU", *_AI_CHIPS, look_in=("x_GpuModel",)),
    _rule("AI accelerator by its text", "GPU", *_AI_CHIPS, *_AI_MACHINES, ServiceCategory=_MACHINES),
    _rule(
        "commitment for accelerators",
        "GPU",
        r"\b(?:p[3-6][a-z]{0,2}|trn\d|inf\d)\b",
        look_in=("CommitmentDiscountName", "ResourceName", "ChargeDescription"),
        ServiceCategory=("Compute",),
        CommitmentDiscountId=("~.",),
    ),
    _rule("GPU machine that names a model", "GPU", *_SOMETHING, look_in=_MODEL, x_GpuCount=("~[1-9]",)),
    *(
        _rule(
            f"GPU machine by its text, {column}",
            "GPU",
            *_GRAPHICS,
            ServiceCategory=_MACHINES,
            where={column: (r"~\S",)},
        )
        for column in _MODEL
    ),
    _rule("GPU machine", "GPU", certain=False, x_GpuCount=("~[1-9]",)),
    _rule("GPU machine by its text", "GPU", *_GRAPHICS, certain=False, ServiceCategory=_MACHINES),
    _rule("vector database", "vector database", *_VECTORS, look_in=(*_SELLERS, *_PRODUCT)),
    _rule("observability of models", "observability", *_TRACING, look_in=(*_SELLERS, *_PRODUCT)),
    *(
        _rule(f"{kind} that names a model", kind, *_SOMETHING, look_in=_MODEL, ServiceCategory=categories)
        for kind, categories in _BESIDE.items()
    ),
    _rule(
        "vector search",
        "vector database",
        r"\b(?:pgvector|s3 vectors|vector (?:search|store|index|engine|bucket)s?)\b",
        look_in=_PRODUCT,
        certain=False,
    ),
    *(
        _rule(
            f"{kind} named after model data",
            kind,
            *_NAMES,
            look_in=(*TEXTS, *NAMED),
            certain=False,
            ServiceCategory=(category,),
        )
        for kind, category in zip(("storage", "egress"), NAMED_IN, strict=True)
    ),
    *(
        _rule(
            f"{kind} that names a feature",
            kind,
            *_SOMETHING,
            look_in=_FEATURE,
            certain=False,
            ServiceCategory=categories,
        )
        for kind, categories in _BESIDE.items()
    ),
)
