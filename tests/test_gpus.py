"""Accelerators by machine type: names and numbers as the vendors document them."""

from __future__ import annotations

import polars as pl
import pytest

from finops_lab.ingestion.bills._gpus import gpu_of


def gpus(*types: str | None) -> list[tuple[str | None, float | None]]:
    frame = pl.DataFrame({"type": types}, schema={"type": pl.String})
    return frame.select(gpu_of(pl.col("type")).alias("gpu")).unnest("gpu").rows()


@pytest.mark.parametrize(
    ("type_", "model", "count"),
    [
        # AWS: EC2 instance types, accelerated computing
        ("p3.16xlarge", "NVIDIA V100 16GB", 8),
        ("p3dn.24xlarge", "NVIDIA V100 32GB", 8),
        ("p4d.24xlarge", "NVIDIA A100 40GB", 8),
        ("p4de.24xlarge", "NVIDIA A100 80GB", 8),
        ("p5.4xlarge", "NVIDIA H100", 1),
        ("p5.48xlarge", "NVIDIA H100", 8),
        ("p5en.48xlarge", "NVIDIA H200", 8),
        ("p6-b200.48xlarge", "NVIDIA B200", 8),
        ("p6e-gb200.36xlarge", "NVIDIA GB200", 4),
        ("g4dn.16xlarge", "NVIDIA T4", 1),
        ("g4dn.12xlarge", "NVIDIA T4", 4),
        ("g4dn.metal", "NVIDIA T4", 8),
        ("g4ad.16xlarge", "AMD Radeon Pro V520", 4),
        ("g5.16xlarge", "NVIDIA A10G", 1),
        ("g5.48xlarge", "NVIDIA A10G", 8),
        ("g5g.16xlarge", "NVIDIA T4G", 2),
        ("g6.24xlarge", "NVIDIA L4", 4),
        ("gr6.8xlarge", "NVIDIA L4", 1),
        ("g6e.48xlarge", "NVIDIA L40S", 8),
        ("g6f.2xlarge", "NVIDIA L4", 0.25),
        ("trn1.32xlarge", "AWS Trainium", 16),
        ("inf2.48xlarge", "AWS Inferentia2", 12),
        ("ml.p4d.24xlarge", "NVIDIA A100 40GB", 8),
        ("ml.g5.2xlarge-Hosting", "NVIDIA A10G", 1),
        # Azure: sizes, GPU accelerated
        ("Standard_NC24ads_A100_v4", "NVIDIA A100 80GB", 1),
        ("NC64as T4 v3", "NVIDIA T4", 4),
        ("ND96isr H100 v5 Spot", "NVIDIA H100", 8),
        ("standard_nd96amsr_a100_v4", "NVIDIA A100 80GB", 8),
        ("Standard_NC80adis_H100_v5", "NVIDIA H100 NVL", 2),
        ("Standard_NV6ads_A10_v5", "NVIDIA A10", 1 / 6),
        # Google Cloud: GPU machine types
        ("a2-megagpu-16g", "NVIDIA A100 40GB", 16),
        ("a2-ultragpu-1g", "NVIDIA A100 80GB", 1),
        ("a3-highgpu-8g-nolssd", "NVIDIA H100", 8),
        ("a3-ultragpu-8g", "NVIDIA H200", 8),
        ("a4-highgpu-8g", "NVIDIA B200", 8),
        ("g2-standard-32", "NVIDIA L4", 1),
        ("g2-standard-24", "NVIDIA L4", 2),
        # Oracle: compute shapes
        ("BM.GPU.H100.8", "NVIDIA H100", 8),
        ("VM.GPU.A10.2", "NVIDIA A10", 2),
        ("VM.GPU3.1", "NVIDIA V100 16GB", 1),
        ("BM.GPU4.8", "NVIDIA A100 40GB", 8),
        ("BM.GPU.MI300X.8", "AMD MI300X", 8),
    ],
)
def test_a_machine_has_the_documented_accelerators(type_: str, model: str, count: float) -> None:
    assert gpus(type_) == [(model, count)]


def test_what_is_not_known_stays_null_and_is_never_zero() -> None:
    types = ("m5.large", "g5.3xlarge", "p9.48xlarge", "Standard_D4s_v5", "n2-standard-8", "VM.Standard3.Flex")
    assert gpus(*types, "", "GPU", None) == [(None, None)] * 9


def test_the_result_is_a_struct_of_the_contract_s_columns() -> None:
    frame = pl.LazyFrame({"type": ["p5.48xlarge"]}).select(gpu_of(pl.col("type")).alias("gpu")).unnest("gpu")
    assert frame.collect_schema() == {"x_GpuModel": pl.String, "x_GpuCount": pl.Float64}


def test_spellings_of_one_machine_are_one_machine() -> None:
    assert len(set(gpus("Standard_NC6s_v3", " NC6s v3 ", "STANDARD_NC6S_V3", "NC6s_v3 Low Priority"))) == 1
