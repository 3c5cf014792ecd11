"""Which accelerator a rented machine has, and how many: read off the name of its type.

Sources, vendors' documentation: Amazon EC2 instance types, accelerated computing; Amazon SageMaker
AI pricing (``ml.`` types); Azure virtual machine sizes, GPU accelerated; Google Compute Engine GPU
machine types; Oracle Cloud Infrastructure compute shapes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import polars as pl

from finops_lab.ingestion._lookup import looked_up

__all__ = ["gpu_of"]

# Sizes of one family, and how many accelerators each has.
_P3 = {"2xlarge": 1, "8xlarge": 4, "16xlarge": 8}
_G4AD = {"xlarge": 1, "2xlarge": 1, "4xlarge": 1, "8xlarge": 2, "16xlarge": 4}
_ONE = {f"{n}xlarge": 1 for n in ("", "2", "4", "8", "16")}
_G5 = {**_ONE, "12xlarge": 4, "24xlarge": 4, "48xlarge": 8}
_G7E = {"2xlarge": 1, "4xlarge": 1, "8xlarge": 1, "12xlarge": 2, "24xlarge": 4, "48xlarge": 8}
_WHOLE_48 = {"48xlarge": 8}

_AWS: Mapping[str, tuple[str, Mapping[str, float]]] = {
    "p2": ("NVIDIA K80", {"xlarge": 1, "8xlarge": 8, "16xlarge": 16}),
    "p3": ("NVIDIA V100 16GB", _P3),
    "p3dn": ("NVIDIA V100 32GB", {"24xlarge": 8}),
    "p4d": ("NVIDIA A100 40GB", {"24xlarge": 8}),
    "p4de": ("NVIDIA A100 80GB", {"24xlarge": 8}),
    "p5": ("NVIDIA H100", {"4xlarge": 1, **_WHOLE_48}),
    "p5e": ("NVIDIA H200", _WHOLE_48),
    "p5en": ("NVIDIA H200", _WHOLE_48),
    "p6-b200": ("NVIDIA B200", _WHOLE_48),
    "p6-b300": ("NVIDIA B300", _WHOLE_48),
    "p6e-gb200": ("NVIDIA GB200", {"36xlarge": 4}),
    "g3": ("NVIDIA M60", {"4xlarge": 1, "8xlarge": 2, "16xlarge": 4}),
    "g3s": ("NVIDIA M60", {"xlarge": 1}),
    "g4dn": ("NVIDIA T4", {**_ONE, "12xlarge": 4, "metal": 8}),
    "g4ad": ("AMD Radeon Pro V520", _G4AD),
    "g5": ("NVIDIA A10G", _G5),
    "g5g": ("NVIDIA T4G", {**_ONE, "16xlarge": 2, "metal": 2}),
    "g6": ("NVIDIA L4", _G5),
    "g6f": ("NVIDIA L4", {"large": 0.125, "xlarge": 0.125, "2xlarge": 0.25, "4xlarge": 0.5}),
    "gr6": ("NVIDIA L4", {"4xlarge": 1, "8xlarge": 1}),
    "gr6f": ("NVIDIA L4", {"4xlarge": 0.5}),
    "g6e": ("NVIDIA L40S", _G5),
    "g7e": ("NVIDIA RTX PRO 6000", _G7E),
    "trn1": ("AWS Trainium", {"2xlarge": 1, "32xlarge": 16}),
    "trn1n": ("AWS Trainium", {"32xlarge": 16}),
    "trn2": ("AWS Trainium2", {"3xlarge": 1, "48xlarge": 16}),
    "trn2u": ("AWS Trainium2", {"48xlarge": 16}),
    "inf1": ("AWS Inferentia", {"xlarge": 1, "2xlarge": 1, "6xlarge": 4, "24xlarge": 16}),
    "inf2": ("AWS Inferentia2", {"xlarge": 1, "8xlarge": 1, "24xlarge": 6, "48xlarge": 12}),
}

# Azure sizes without ``Standard_``, in lower case. A share is a partition of one GPU.
_AZURE: Mapping[str, Mapping[str, float]] = {
    "NVIDIA K80": {"nc6": 1, "nc12": 2, "nc24": 4, "nc24r": 4},
    "NVIDIA P100": {"nc6s_v2": 1, "nc12s_v2": 2, "nc24s_v2": 4, "nc24rs_v2": 4},
    "NVIDIA P40": {"nd6s": 1, "nd12s": 2, "nd24s": 4, "nd24rs": 4},
    "NVIDIA V100 16GB": {"nc6s_v3": 1, "nc12s_v3": 2, "nc24s_v3": 4, "nc24rs_v3": 4},
    "NVIDIA V100 32GB": {"nd40rs_v2": 8},
    "NVIDIA T4": {"nc4as_t4_v3": 1, "nc8as_t4_v3": 1, "nc16as_t4_v3": 1, "nc64as_t4_v3": 4},
    "NVIDIA A100 40GB": {"nd96asr_v4": 8, "nd96asr_a100_v4": 8},
    "NVIDIA A100 80GB": {
        "nc24ads_a100_v4": 1,
        "nc48ads_a100_v4": 2,
        "nc96ads_a100_v4": 4,
        "nd96amsr_a100_v4": 8,
    },
    "NVIDIA H100 NVL": {"nc40ads_h100_v5": 1, "nc80adis_h100_v5": 2, "ncc40ads_h100_v5": 1},
    "NVIDIA H100": {"nd96isr_h100_v5": 8, "nd96is_h100_v5": 8},
    "NVIDIA H200": {"nd96isr_h200_v5": 8, "nd96is_h200_v5": 8},
    "AMD MI300X": {"nd96isr_mi300x_v5": 8, "nd96is_mi300x_v5": 8},
    "NVIDIA GB200": {"nd128isr_ndr_gb200_v6": 4, "nd128isr_gb200_v6": 4},
    "NVIDIA GB300": {"nd128isr_ndr_gb300_v6": 4, "nd128isr_gb300_v6": 4},
    "NVIDIA M60": {"nv6": 1, "nv12": 2, "nv24": 4, "nv12s_v3": 1, "nv24s_v3": 2, "nv48s_v3": 4},
    "AMD MI25": {"nv4as_v4": 0.125, "nv8as_v4": 0.25, "nv16as_v4": 0.5, "nv32as_v4": 1},
    "NVIDIA A10": {
        "nv6ads_a10_v5": 1 / 6,
        "nv12ads_a10_v5": 1 / 3,
        "nv18ads_a10_v5": 0.5,
        "nv36ads_a10_v5": 1,
        "nv36adms_a10_v5": 1,
        "nv72ads_a10_v5": 2,
    },
    "AMD V620": {
        "ng8ads_v620_v1": 0.25,
        "ng16ads_v620_v1": 0.5,
        "ng32ads_v620_v1": 1,
        "ng32adms_v620_v1": 1,
    },
}

# Families of Google whose type ends in the number of GPUs (``-8g``), and those where it does not.
_GOOGLE = {
    "a2-highgpu": "NVIDIA A100 40GB",
    "a2-megagpu": "NVIDIA A100 40GB",
    "a2-ultragpu": "NVIDIA A100 80GB",
    "a3-highgpu": "NVIDIA H100",
    "a3-edgegpu": "NVIDIA H100",
    "a3-megagpu": "NVIDIA H100",
    "a3-ultragpu": "NVIDIA H200",
    "a4-highgpu": "NVIDIA B200",
    "a4x-highgpu": "NVIDIA GB200",
}
_GOOGLE_G: Mapping[str, Mapping[str, float]] = {
    "NVIDIA L4": {"4": 1, "8": 1, "12": 1, "16": 1, "32": 1, "24": 2, "48": 4, "96": 8},
    "NVIDIA RTX PRO 6000": {"48": 1, "96": 2, "192": 4, "384": 8},
}

# Shapes of Oracle end in the number of GPUs (``.8``).
_ORACLE = {
    "gpu2": "NVIDIA P100",
    "gpu3": "NVIDIA V100 16GB",
    "gpu4": "NVIDIA A100 40GB",
    "gpu.b4": "NVIDIA A100 40GB",
    "gpu.a100-v2": "NVIDIA A100 80GB",
    "gpu.a10": "NVIDIA A10",
    "gpu.l40s": "NVIDIA L40S",
    "gpu.h100": "NVIDIA H100",
    "gpu.h200": "NVIDIA H200",
    "gpu.b200": "NVIDIA B200",
    "gpu.b300": "NVIDIA B300",
    "gpu.gb200": "NVIDIA GB200",
    "gpu.gb300": "NVIDIA GB300",
    "gpu.mi300x": "AMD MI300X",
    "gpu.mi355x": "AMD MI355X",
}


def gpu_of(instance_type: pl.Expr) -> pl.Expr:
    """Name the accelerator of a machine type and say how many one machine has.

    Known are AWS (also SageMaker's ``ml.`` types), Azure (with or without ``Standard_``, words
    joined by ``_`` or blanks, in any case), Google Cloud and Oracle Cloud. AWS's own accelerators
    are named (``AWS Trainium``, ``AWS Inferentia``) and counted in chips: they are bought for the
    same work, and the name tells them from GPUs. A partition of a GPU is a share of one. What is
    not known here stays null, never 0.

    Parameters
    ----------
    instance_type : polars.Expr
        Text.

    Returns
    -------
    polars.Expr
        Struct of ``x_GpuModel`` (String; the memory is named only where a GPU came with two sizes)
        and ``x_GpuCount`` (Float64).

    Examples
    --------
    >>> types = pl.Series(["ml.p4d.24xlarge", "NC24ads A100 v4", "g2-standard-96", "m5.large"])
    >>> pl.select(gpu_of(pl.lit(types)).alias("gpu")).unnest("gpu").rows()
    [('NVIDIA A100 40GB', 8.0), ('NVIDIA A100 80GB', 1.0), ('NVIDIA L4', 8.0), (None, None)]
    """
    # One spelling per machine: lower case; no vendor's prefix, purchase or use at the end.
    name = (
        instance_type.cast(pl.String)
        .str.strip_chars()
        .str.to_lowercase()
        .str.replace_all(r"[\s_]+", "_")
        .str.replace(r"^(standard_|ml\.)", "")
        .str.replace(r"(_spot|_low_priority|_promo|-nolssd|-lowmem|(xlarge|metal)-[a-z]+)$", "${2}")
    )
    known = dict(_known())
    models = {key: model for key, (model, _) in known.items()}
    counts = {key: float(count) for key, (_, count) in known.items()}
    return pl.struct(
        looked_up(name, models, pl.String()).alias("x_GpuModel"),
        looked_up(name, counts, pl.Float64()).alias("x_GpuCount"),
    )


def _known() -> Iterator[tuple[str, tuple[str, float]]]:
    for family, (model, sizes) in _AWS.items():
        yield from ((f"{family}.{size}", (model, count)) for size, count in sizes.items())
    for model, sizes in _AZURE.items():
        yield from ((size, (model, count)) for size, count in sizes.items())
    for family, model in _GOOGLE.items():
        yield from ((f"{family}-{count}g", (model, count)) for count in (1, 2, 4, 8, 16))
    for series, (model, sizes) in zip(("g2", "g4"), _GOOGLE_G.items(), strict=True):
        yield from ((f"{series}-standard-{size}", (model, count)) for size, count in sizes.items())
    for shape, model in _ORACLE.items():
        for kind in ("bm", "vm"):
            yield from ((f"{kind}.{shape}.{count}", (model, count)) for count in (1, 2, 4, 8))
