"""What a Google Cloud SKU buys: tokens of which model and direction, GPUs, cores; how units are named.

Source: SKU descriptions as the Cloud Billing catalog and public billing reports spell them, such as
"Gemini 2.5 Flash GA Text Output (Thinking On) - Predictions" and "Generate content cached input
token count gemini 2.5 flash text". What a description does not say stays null.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

import polars as pl

from finops_lab.ingestion.bills._gpus import gpu_of

__all__ = ["Sku", "machine", "sku_of", "unit_name"]

# Vertex AI and the Gemini API.
_AI_SERVICES = frozenset({"C7E2-9256-1C43", "AEFD-7695-64FA"})
_AI = "AI and Machine Learning"
# Words in a service's name, the first that fits counts; the names of FOCUS's categories.
_CATEGORIES = (
    (r"vertex|gemini|cloud ai|automl|machine learning|notebooks|dialogflow|vision|speech|natural language"
     r"|translat|document ai|recommendations|generative|claude|llama|mistral|tpu", _AI),
    (r"bigquery|dataflow|dataproc|dataplex|looker|composer|data fusion|analytics", "Analytics"),
    (r"sql|spanner|firestore|datastore|bigtable|memorystore|alloydb|redis", "Databases"),
    (r"networking|dns|cdn|load balanc|interconnect|nat\b|vpn|network|armor", "Networking"),
    (r"compute engine|kubernetes|cloud run|functions|app engine|batch\b|vmware", "Compute"),
    (r"storage|filestore|backup|netapp", "Storage"),
    (r"pub/sub|tasks|scheduler|workflows|eventarc|apigee|api gateway|integration", "Integration"),
    (r"logging|monitoring|trace|operations|deployment manager|asset", "Management and Governance"),
    (r"security|key management|secret|identity|iam\b|recaptcha|certificate", "Security"),
    (r"build|artifact|container registry|source repositories|firebase|workstations", "Developer Tools"),
)  # fmt: skip
# Compute Engine also sells disks and traffic.
_DISK = re.compile(r"(?i)^storage\b|\bPD\b|snapshot|hyperdisk|image storage")
_TRAFFIC = re.compile(r"(?i)^network\b|egress|data transfer|external ip|static ip")

_TOKEN_COUNT = re.compile(r"(?i)\b(input|output) token")
_WAY = re.compile(r"(?i)\b(input|output)\b")
_CACHE = re.compile(r"(?i)cach(?:e|ed|ing)\b")
_CACHE_WRITE = re.compile(r"(?i)cach\w*[\s-]+(?:write|creation)")
_STORED = re.compile(r"(?i)\bstorage\b|token.hour")
_GEMINI = re.compile(
    r"(?i)\bgemini[ -]+(?:embedding[ -]?\d*|\d+(?:\.\d+)?[ -]+(?:flash[ -]lite|flash|pro|ultra|nano))(?![a-z])"
)
_CLAUDE = re.compile(r"(?i)\bclaude[ -]+(?:[a-z]+[ -]+\d+(?:\.\d+)?|\d+(?:\.\d+)?[ -]+[a-z]+)(?![a-z0-9])")

_GPU = re.compile(r"(?i)\bnvidia (?:tesla )?([a-z]+\d+)(?: (\d+)GB)?")
_TPU = re.compile(r"(?i)\btpu[ -]?(v\d+[a-z]*)\b")
_TWO_SIZES = {"A100": "NVIDIA A100 40GB", "V100": "NVIDIA V100 16GB"}
_CORE = re.compile(r"(?i)\bcore\b")
_RAM = re.compile(r"(?i)\bram\b")
_SPOT = re.compile(r"(?i)\b(?:spot|preemptible)\b")

_UNITS = {
    "second": "Seconds",
    "minute": "Minutes",
    "hour": "Hours",
    "day": "Days",
    "month": "Months",
    "byte": "Bytes",
    "byte-second": "Byte-Seconds",
    "count": "Count",
    "request": "Requests",
    "token": "Tokens",
}
_SIZES = {"kibi": "KiB", "mebi": "MiB", "gibi": "GiB", "tebi": "TiB", "pebi": "PiB",
          "kilo": "KB", "mega": "MB", "giga": "GB", "tera": "TB", "peta": "PB"}  # fmt: skip
_SIZE = re.compile(r"(kibi|mebi|gibi|tebi|pebi|kilo|mega|giga|tera|peta)bytes?(?: (hour|day|month))?")


class Sku(NamedTuple):
    """What a SKU's description says.

    `kind` is "gpu", "core" or "ram" where the SKU is such a part of a machine; `pricing` is FOCUS's
    PricingCategory.
    """

    category: str | None
    subcategory: str | None
    tokens: bool
    model: str | None
    direction: str | None
    cache: str | None
    kind: str | None
    gpu: str | None
    pricing: str


@lru_cache(maxsize=20_000)
def sku_of(service_id: str | None, service: str | None, description: str | None) -> Sku:
    """Read a SKU off its service and description.

    Examples
    --------
    >>> sku = sku_of("C7E2-9256-1C43", "Vertex AI", "Gemini 2.5 Flash GA Text Output (Thinking On)")
    >>> sku.model, sku.direction, sku.cache
    ('gemini-2.5-flash', 'Output', None)
    >>> sku_of("6F81-5844-456A", "Compute Engine", "Nvidia Tesla T4 GPU running in Americas").gpu
    'NVIDIA T4'
    """
    said = (description or "").strip()
    model = _model(said)
    ai = service_id in _AI_SERVICES
    direction = _direction(said) if ai or model or _TOKEN_COUNT.search(said) else None
    tokens = direction is not None
    cached = tokens and bool(_CACHE.search(said))
    cache = ("Write" if _CACHE_WRITE.search(said) else "Read") if cached else None
    gpu = _gpu(said)
    kind = "gpu" if gpu else "core" if _CORE.search(said) else "ram" if _RAM.search(said) else None
    category = _AI if ai or tokens else _category(service or "", said)
    pricing = "Dynamic" if _SPOT.search(said) else "Standard"
    return Sku(
        category,
        "Generative AI" if model or tokens else None,
        tokens,
        model,
        direction,
        cache,
        kind if category == "Compute" else None,
        gpu,
        "Committed" if said.lower().startswith("commitment") else pricing,
    )


def _model(said: str) -> str | None:
    if found := _GEMINI.search(said):
        return re.sub(r"[ -]+", "-", found[0].lower())
    if found := _CLAUDE.search(said):
        # Anthropic's own ids write the version with a dash.
        return re.sub(r"[ .-]+", "-", found[0].lower())
    return None


def _direction(said: str) -> str | None:
    """Return what is counted: "output token count ... short input text" counts output."""
    if _STORED.search(said):
        return None
    if found := _TOKEN_COUNT.search(said):
        return found[1].capitalize()
    ways = {way.capitalize() for way in _WAY.findall(said)}
    return ways.pop() if len(ways) == 1 else None


def _gpu(said: str) -> str | None:
    if found := _TPU.search(said):
        return f"Google TPU {found[1].lower()}"
    found = _GPU.search(said)
    if found is None:
        return None
    name, size = found[1].upper(), found[2]
    if name == "A100" and size == "80":
        return "NVIDIA A100 80GB"
    return _TWO_SIZES.get(name, f"NVIDIA {name}")


def _category(service: str, said: str) -> str | None:
    found = next((name for words, name in _CATEGORIES if re.search(words, service.lower())), None)
    if found == "Compute" and "compute engine" in service.lower():
        return "Storage" if _DISK.search(said) else "Networking" if _TRAFFIC.search(said) else found
    return found


@lru_cache(maxsize=1_000)
def machine(spec: str) -> tuple[str | None, float | None]:
    """Return the accelerator of a machine type and how many one machine has.

    Examples
    --------
    >>> machine("a2-highgpu-4g"), machine("n2-standard-8")
    (('NVIDIA A100 40GB', 4.0), (None, None))
    """
    found = pl.select(gpu_of(pl.lit(spec)).alias("gpu")).unnest("gpu")
    return found["x_GpuModel"][0], found["x_GpuCount"][0]


@lru_cache(maxsize=1_000)
def unit_name(unit: str) -> str:
    """Spell a unit as FOCUS does; an unknown one stays as it is.

    Examples
    --------
    >>> unit_name("seconds"), unit_name("gibibyte month"), unit_name("1000 pages")
    ('Seconds', 'GiB-Months', '1000 pages')
    """
    said = unit.strip().lower()
    if found := _SIZE.fullmatch(said):
        size, time = _SIZES[found[1]], found[2]
        return f"{size}-{_UNITS[time]}" if time else size
    return _UNITS.get(said.removesuffix("s"), unit.strip())
