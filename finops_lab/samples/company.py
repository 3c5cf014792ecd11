"""The synthetic company: its teams, features, models, prices and calendar. Nothing here is real.

Cloud product names and instance types are real so that rules read like rules on real exports; the
prices beside them are illustrative, the model vendor and its models are made up.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date

__all__ = [
    "API_LATENCY",
    "API_MODELS",
    "API_PRICES",
    "API_VARIANTS",
    "BURSTINESS",
    "CUSTOMERS",
    "DIRECTIONS",
    "FEATURES",
    "FIRST_DAY",
    "GATEWAY_DAILY",
    "GATEWAY_SINCE",
    "GPU_UTIL_BUSY",
    "IDLE_SHARE",
    "LAST_DAY",
    "MODELS",
    "PLATFORM",
    "PRICE_CUT",
    "REGIONS",
    "SERVING",
    "SERVING_VARIANTS",
    "SM_ACTIVE_BUSY",
    "TEAMS",
    "TELEMETRY_FIRST_DAY",
    "TOKEN_SHAPES",
    "UTILIZATION",
    "VARIANTS",
    "VARIANT_STARTS",
    "WEEK",
    "Feature",
    "Serving",
    "Team",
]

FIRST_DAY, LAST_DAY = date(2024, 5, 1), date(2026, 10, 31)
TELEMETRY_FIRST_DAY = date(2026, 8, 1)


@dataclass(frozen=True)
class Team:
    """A team with its home region ("us", "eu", "apac") and business unit."""

    name: str
    region: str
    business_unit: str
    dev_cloud: str


TEAMS = {
    team.name: team
    for team in (
        Team("search", "us", "consumer", "aws"),
        Team("assistants", "us", "enterprise", "gcp"),
        Team("support", "eu", "enterprise", "aws"),
        Team("growth", "apac", "consumer", "aws"),
        Team("research", "us", "corporate", "gcp"),
    )
}
PLATFORM = Team("platform", "us", "corporate", "aws")
REGIONS = {
    "aws": {"us": "us-east-1", "eu": "eu-west-1", "apac": "ap-southeast-1"},
    "gcp": {"us": "us-central1", "eu": "europe-west4", "apac": "asia-southeast1"},
}
CUSTOMERS = tuple(f"customer-{number:02d}" for number in range(1, 11))


@dataclass(frozen=True)
class Feature:
    """A product feature and the traffic it sends to models.

    `daily` calls a day at the end of the period, grown by `growth` times since the start. `weekly`
    is how strongly the week is felt (1: as strongly as launches on mybinder.org). `tokens` picks
    the token length shape, `input_scale` stretches its input. `cached` is the share of input
    tokens read from a prompt cache. `self_hosted` and `api` are shares of calls per model;
    `api_variants` splits the latter.
    """

    name: str
    team: str
    product: str
    daily: int
    growth: float
    weekly: float
    tokens: str
    input_scale: float
    cached: float
    self_hosted: dict[str, float]
    api: dict[str, float]
    api_variants: dict[str, float]
    has_customers: bool = True
    launched: date | None = None
    unit_name: str = "answers"
    revenue_per_1000: str = "1.00"
    dedicated_to: dict[str, str] = field(default_factory=dict)


FEATURES = {
    feature.name: feature
    for feature in (
        Feature("search-answers", "search", "Search", 1_240_000, 2.2, 0.7, "conv", 1.0, 0.30,
                {"larch-70b": 0.12, "larch-7b": 0.68}, {"quill-small": 0.20},
                {"standard": 0.7, "mini": 0.3}, unit_name="answers", revenue_per_1000="4.10"),
        Feature("semantic-index", "search", "Search", 1_400_000, 1.8, 0.3, "code", 0.6, 0.0,
                {"larch-7b": 0.55, "alder-13b": 0.35}, {"quill-small": 0.10}, {"batch": 1.0},
                has_customers=False, unit_name="documents", revenue_per_1000="0.90"),
        Feature("chat-assistant", "assistants", "Workspace", 520_000, 2.8, 1.0, "conv", 1.4, 0.45,
                {"larch-70b": 0.40, "alder-34b": 0.30}, {"quill-large": 0.30},
                {"standard": 0.75, "mini": 0.25}, unit_name="conversations", revenue_per_1000="13.50"),
        Feature("doc-summaries", "assistants", "Workspace", 280_000, 1.6, 1.1, "code", 1.6, 0.10,
                {"alder-34b": 0.70}, {"quill-large": 0.30}, {"batch": 0.8, "standard": 0.2},
                launched=date(2026, 3, 3), unit_name="summaries", revenue_per_1000="11.00"),
        Feature("ticket-triage", "support", "Helpdesk", 660_000, 2.0, 0.9, "code", 0.7, 0.20,
                {"larch-7b": 0.45, "alder-13b": 0.40}, {"quill-small": 0.15},
                {"mini": 0.9, "batch": 0.1}, unit_name="tickets", revenue_per_1000="2.40"),
        Feature("reply-drafts", "support", "Helpdesk", 240_000, 2.4, 1.0, "conv", 1.2, 0.35,
                {"alder-34b": 0.60}, {"quill-large": 0.40}, {"standard": 0.8, "mini": 0.2},
                unit_name="drafts", revenue_per_1000="15.00", dedicated_to={"alder-34b": "customer-03"}),
        Feature("product-copy", "growth", "Storefront", 200_000, 2.0, 0.6, "conv", 0.8, 0.15,
                {"alder-34b": 0.50, "larch-7b": 0.20}, {"quill-large": 0.30},
                {"batch": 0.7, "standard": 0.3}, unit_name="texts", revenue_per_1000="12.00"),
        Feature("code-helper", "research", "Internal tools", 180_000, 3.0, 1.3, "code", 1.3, 0.50,
                {"larch-70b": 0.50, "alder-13b": 0.20}, {"quill-large": 0.30}, {"standard": 1.0},
                has_customers=False, unit_name="completions", revenue_per_1000="0.00"),
    )
}  # fmt: skip
# Calls a day that each feature sends through the shared gateway, spread over every model and variant.
GATEWAY_DAILY = 30_000
GATEWAY_SINCE = date(2025, 1, 1)


@dataclass(frozen=True)
class Serving:
    """Where a self-hosted model runs and how fast each variant is.

    Prices are in units of 0.0001 USD an instance hour. `gpu_seconds` a call, `per_token_ms` and
    `first_token_ms` are per variant, in the order of `VARIANTS`.
    """

    cloud: str
    instance: str
    gpu_model: str
    gpus: int
    gpu_memory_gib: int
    list_price: int
    contracted_price: int
    gpu_seconds: tuple[float, float, float]
    per_token_ms: tuple[float, float, float]
    first_token_ms: tuple[float, float, float]
    sampling_bits: int


SERVING = {
    "larch-7b": Serving("aws", "g6e.2xlarge", "NVIDIA L40S", 1, 48, 22421, 19730,
                        (0.65, 0.43, 0.34), (9.0, 7.0, 5.5), (120.0, 95.0, 85.0), 14),
    "larch-70b": Serving("aws", "p5.48xlarge", "NVIDIA H100 80GB HBM3", 8, 80, 550400, 484352,
                         (3.1, 2.0, 1.6), (28.0, 20.0, 16.0), (420.0, 310.0, 270.0), 12),
    "alder-13b": Serving("gcp", "a2-highgpu-1g", "NVIDIA A100-SXM4-40GB", 1, 40, 36731, 32323,
                         (0.95, 0.66, 0.53), (14.0, 11.0, 9.0), (180.0, 140.0, 125.0), 14),
    "alder-34b": Serving("gcp", "a2-ultragpu-1g", "NVIDIA A100-SXM4-80GB", 1, 80, 50688, 44605,
                         (2.4, 1.6, 1.25), (22.0, 16.0, 13.0), (290.0, 220.0, 190.0), 12),
}  # fmt: skip
SERVING_VARIANTS = ("bf16", "int8", "int4")
# First day and, in days, the time until the variant has its full share of a model's calls.
VARIANT_STARTS = {"int8": (date(2024, 9, 2), 240, 0.70), "int4": (date(2025, 6, 2), 300, 0.35)}
UTILIZATION = 0.55

API_MODELS = ("quill-large", "quill-small")
API_VARIANTS = ("standard", "batch", "mini")
# Units of 0.0001 USD per million tokens: (list, contracted) of uncached input, cached input, output.
API_PRICES = {
    ("quill-large", "standard"): ((30000, 28500), (3000, 2850), (150000, 142500)),
    ("quill-large", "batch"): ((15000, 14250), (1500, 1425), (75000, 71250)),
    ("quill-large", "mini"): ((8000, 7600), (800, 760), (40000, 38000)),
    ("quill-small", "standard"): ((6000, 5700), (600, 570), (24000, 22800)),
    ("quill-small", "batch"): ((3000, 2850), (300, 285), (12000, 11400)),
    ("quill-small", "mini"): ((1500, 1425), (200, 190), (6000, 5700)),
}
DIRECTIONS = ("input", "cached-input", "output")
PRICE_CUT = (date(2026, 9, 1), "quill-large", "standard", "output", (120000, 114000))
API_LATENCY = {  # first token ms, ms per output token
    ("quill-large", "standard"): (520.0, 14.0),
    ("quill-large", "batch"): (900_000.0, 30.0),
    ("quill-large", "mini"): (260.0, 8.0),
    ("quill-small", "standard"): (240.0, 8.0),
    ("quill-small", "batch"): (600_000.0, 20.0),
    ("quill-small", "mini"): (150.0, 5.0),
}

MODELS = (*SERVING, *API_MODELS)
VARIANTS = {**dict.fromkeys(SERVING, SERVING_VARIANTS), **dict.fromkeys(API_MODELS, API_VARIANTS)}

# Token lengths: medians and the lognormal sigma that reaches the 95th percentile, of the Azure LLM
# inference traces 2023 (Azure/AzurePublicDataset, CC BY 4.0): input median and sigma, output median
# and sigma. conv: 1,020 (P95 4,083) and 129 (451); code: 1,469 (7,303) and 13 (90).
TOKEN_SHAPES = {"conv": (1020.0, 0.843, 129.0, 0.761), "code": (1469.0, 0.975, 13.0, 1.176)}
# Coefficient of variation of calls per minute in the conversation trace.
BURSTINESS = 0.284
# Mean launches by weekday, Monday first, against the mean day of mybinder.org in 2019
# (jupyterhub/binder-billing, MIT).
WEEK = (1.135, 1.218, 1.210, 1.206, 1.011, 0.611, 0.599)
# GPU utilization when busy, and the share of idle samples, of the AcmeTrace clusters
# (InternLM/AcmeTrace, CC BY 4.0): GPU_UTIL median 99 %, SM_ACTIVE median 50 % (75th percentile
# 73 %), 30 % of the samples are 0.
GPU_UTIL_BUSY, SM_ACTIVE_BUSY, IDLE_SHARE = 0.985, 0.62, 0.30
