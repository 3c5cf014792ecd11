"""What the packaged measurement of a real encoder proves: verdicts on the committed file, not on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from finops_lab.tradeoffs import Claim, curve, decide, membership, read_measurement, verdicts
from finops_lab.tradeoffs.measurement import Measurement

FILE = Path(__file__).parents[1] / "data" / "samples" / "measurements" / "minilm-cpu.measurement.json"
CLAIM = Claim(min_saving_share=0.30, max_quality_loss=0.005)


@pytest.fixture(scope="module")
def measured() -> Measurement:
    return read_measurement(FILE)


def judged(measured: Measurement, dataset: str) -> dict[tuple[str, str], dict[str, Any]]:
    found = verdicts(measured, CLAIM, baseline="fp32", workload="short_b1", dataset=dataset)
    return {(row["variant"], row["part"]): row for row in found.iter_rows(named=True)}


def test_int8_is_proven_to_be_cheaper_on_short_requests(measured: Measurement) -> None:
    row = judged(measured, "mmlu-subjects")["int8-dynamic", "cost"]
    assert row["verdict"] == "PROVEN" and 1 - row["low"] <= 0.70
    # Not on long ones: a claim holds for a traffic, not for a variant.
    long = verdicts(measured, Claim(min_saving_share=0.30), baseline="fp32", workload="long_b1")
    assert dict(long.select("variant", "verdict").iter_rows())["int8-dynamic"] == "REFUTED"


def test_accuracy_is_proven_on_many_items_and_not_on_few(measured: Measurement) -> None:
    many, few = (
        judged(measured, name)["int8-dynamic", "quality"] for name in ("mmlu-subjects", "docstrings")
    )
    assert (many["verdict"], many["n"]) == ("PROVEN", 5617) and many["high"] < 0.005
    assert (few["verdict"], few["n"]) == ("NOT PROVEN", 888) and few["n_needed"] > 888


def test_static_quantization_is_refuted(measured: Measurement) -> None:
    for name in ("mmlu-subjects", "docstrings"):
        rows = judged(measured, name)
        assert rows["int8-static", "quality"]["verdict"] == "REFUTED"
        assert rows["int8-static", "overall"]["verdict"] == "REFUTED"


def test_only_two_of_six_variants_are_worth_running(measured: Measurement) -> None:
    one = curve(measured, workload="short_b1", rate_usd_per_hour=0.05)
    assert decide(one, baseline="fp32", max_quality_loss=0.005).chosen["variant"] == "int8-dynamic"  # type: ignore[index]
    chance = membership(one.points, one.outcomes, one.timings, draws=500)
    sure = chance.filter(pl.col("p_on_front") > 0.95)["variant"].to_list()
    assert sure == ["int8-dynamic"]
    assert dict(chance.select("variant", "p_on_front").iter_rows())["int8-static"] == 0.0
