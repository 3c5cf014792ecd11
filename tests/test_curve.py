"""Curves: from measurements, tables, files and a lab, by hand and with good errors."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import finops_lab as fl
from finops_lab import choosing
from finops_lab.errors import InputError
from finops_lab.tradeoffs import curve, decide
from finops_lab.tradeoffs.measurement import Measurement, write_measurement
from finops_lab.tradeoffs.points import POINTS

POINTS_FILE = pl.DataFrame(
    {
        "model": ["m", "m"],
        "variant": ["fp16", "int8"],
        "BillingCurrency": ["USD", "USD"],
        "per_1000_inferences": [4.0, 1.0],
        "quality_metric": ["accuracy", "accuracy"],
        "quality": [0.9, 0.895],
        "p95_ms": [90.0, 60.0],
    }
)


def times(variant: str, workload: str, cpu: list[float], **more: Any) -> pl.DataFrame:
    rows = {"model": "m", "variant": variant, "workload": workload, "round": list(range(len(cpu)))}
    rows |= {"items": 2, "tokens": 100, "cpu_ms": cpu, "wall_ms": [2 * x for x in cpu], "energy_j": 3.0}
    return pl.DataFrame(rows | more, schema_overrides={"energy_j": pl.Float64})


def graded(variant: str, dataset: str, values: list[float], metric: str = "accuracy") -> pl.DataFrame:
    items = list(range(len(values)))
    rows = {"model": "m", "variant": variant, "dataset": dataset, "metric": metric, "item": items}
    return pl.DataFrame(rows | {"value": values, "higher_is_better": metric == "accuracy"})


def measurement(**parts: Any) -> Measurement:
    held: dict[str, Any] = {
        "variants": pl.DataFrame(
            {"model": ["m", "m"], "variant": ["fp32", "int8"], "size_mib": [86.0, 22.0]}
        ),
        "timings": pl.concat(
            [
                times("fp32", "short", [10.0] * 56 + [20.0, 20.0, 20.0, 40.0]),
                times("int8", "short", [5.0] * 60),
                times("int8", "long", [50.0, 70.0]),
            ]
        ),
        "outcomes": pl.concat(
            [
                graded("fp32", "quiz", [1.0, 1.0, 1.0, 0.0]),
                graded("fp32", "exam", [1.0, 0.0]),
                graded("int8", "quiz", [1.0, 1.0, 0.0, 0.0]),
                graded("int8", "exam", [1.0, 1.0]),
            ]
        ),
    }
    return Measurement(**(held | parts))


# ---------------------------------------------------------------- measurements


def test_a_measurement_by_hand() -> None:
    found = curve(measurement())
    assert found.points.select("variant", "workload").rows() == [
        ("fp32", "short"), ("int8", "long"), ("int8", "short"),
    ]  # fmt: skip
    row = found.points.row(0, named=True)
    assert row["cost_basis"] == "measured" and row["BillingCurrency"] is None
    # 660 ms of CPU over 120 inferences and 6,000 tokens.
    assert row["per_1000_inferences"] == pytest.approx(5.5)
    assert row["per_1m_tokens"] == pytest.approx(110.0)
    assert row["throughput_per_s"] == pytest.approx(120 / 1.32)
    assert row["energy_j"] == pytest.approx(1.5)
    assert (row["p50_ms"], row["p95_ms"], row["p99_ms"]) == (20.0, 40.0, None)  # the 57th of 60 is 40
    assert row["quality"] == pytest.approx((0.75 + 0.5) / 2) and row["quality_n"] == 6
    assert (row["size_mib"], row["memory_mib"], row["worst_p95_ms"]) == (86.0, None, None)
    assert row["note"] == "no P99: 60 rounds of 459 needed"
    assert found.points["note"][1] == "no P95: 2 rounds of 59 needed"
    told = found.qualities.filter(variant="int8")
    assert told.select("dataset", "quality", "n").rows() == [("exam", 1.0, 2), ("quiz", 0.5, 4)]
    assert found.clock == "cpu_ms" and found.timings.height == 122 and found.outcomes.height == 12


def test_a_rate_turns_seconds_into_money_and_a_workload_leaves_one_choice() -> None:
    found = curve(measurement(), workload="short", rate_usd_per_hour=Decimal("7.2"))
    assert found.points["per_1000_inferences"].to_list() == pytest.approx([5.5 * 0.002, 2.5 * 0.002])
    assert found.points["BillingCurrency"].to_list() == ["USD", "USD"]
    assert found.timings["workload"].unique().to_list() == ["short"]
    # A curve may be narrowed later, too.
    assert_frame_equal(
        curve(curve(measurement()), workload="short").points, curve(measurement(), workload="short").points
    )
    best = decide(found, baseline="fp32", evaluation_amount=100)
    assert best.chosen is not None and best.chosen["variant"] == "int8"
    assert best.break_even is not None and best.break_even.inferences_low is not None
    with pytest.raises(InputError, match="workloads long and short cannot be compared"):
        decide(curve(measurement()))


def test_the_clock_is_the_gpu_where_all_rounds_have_it() -> None:
    timings = pl.concat(
        [times("fp32", "short", [10.0] * 3, gpu_ms=1.0), times("int8", "short", [5.0] * 3, gpu_ms=2.0)]
    )
    found = curve(measurement(timings=timings))
    assert found.clock == "gpu_ms" and found.points["per_1000_inferences"].to_list() == [0.5, 1.0]
    assert curve(measurement(timings=timings), clock="wall_ms").points["per_1000_inferences"].to_list() == [
        10.0,
        5.0,
    ]
    with pytest.raises(InputError, match="column gpu_ms: not all rounds"):
        curve(measurement(), clock="gpu_ms")


def test_what_was_not_measured_is_unknown_and_said() -> None:
    bare = curve(
        measurement(timings=times("fp32", "short", [1.0] * 500), outcomes=graded("fp32", "quiz", [1.0]))
    )
    row = bare.points.filter(variant="int8").row(0, named=True)
    assert [row[n] for n in ("per_1000_inferences", "quality", "p95_ms", "throughput_per_s")] == [None] * 4
    assert row["note"] == "not timed; not evaluated"
    assert bare.points.filter(variant="fp32")["p99_ms"][0] == 2.0
    partly = pl.concat(
        [times("int8", "short", [1.0] * 60, energy_j=None), times("fp32", "short", [1.0] * 60)]
    )
    assert curve(measurement(timings=partly)).points["energy_j"].to_list() == [1.5, None]
    uneven = pl.concat([graded("fp32", "quiz", [1.0]), graded("int8", "exam", [1.0])])
    assert "other data sets" in curve(measurement(outcomes=uneven)).points["note"][0]


def test_one_metric_is_chosen_among_several() -> None:
    outcomes = pl.concat(
        [graded("fp32", "quiz", [1.0, 0.0]), graded("fp32", "text", [3.5, 4.5], "perplexity")]
    )
    both = measurement(outcomes=outcomes)
    assert curve(both).points["quality_metric"].to_list()[0] == "accuracy"
    row = curve(both, quality="perplexity").points.row(0, named=True)
    assert (row["quality"], row["higher_is_better"], row["quality_n"]) == (4.0, False, 2)
    assert curve(both).qualities["metric"].to_list() == ["accuracy", "perplexity"]
    with pytest.raises(InputError, match=r"no quality 'f1'\. Hint: known: accuracy, perplexity"):
        curve(both, quality="f1")
    neither = pl.concat([graded("fp32", "a", [1.0], "loss"), graded("fp32", "a", [1.0], "wer")])
    with pytest.raises(InputError, match=r"one quality must be named\. Hint: quality= one of loss, wer"):
        curve(measurement(outcomes=neither))


# ---------------------------------------------------------------- tables and files


@pytest.mark.parametrize("ending", ["csv", "parquet", "json", "measurement.json"])
def test_files_give_what_frames_give(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"points.{ending}"
    if ending == "measurement.json":
        want = curve(measurement())
        write_measurement(measurement(), file)
        renamed = tmp_path / "renamed.json"
        renamed.write_bytes(file.read_bytes())
        assert_frame_equal(curve(renamed).points, want.points)
    else:
        want = curve(POINTS_FILE)
        getattr(POINTS_FILE, f"write_{ending}")(file)
    found = curve(str(file))
    assert_frame_equal(found.points, want.points)
    assert_frame_equal(found.qualities, want.qualities)


def test_a_table_is_checked_and_filled() -> None:
    found = curve(POINTS_FILE)
    assert found.points.columns == list(POINTS)
    assert found.qualities.select("variant", "metric", "quality", "dataset").row(1) == (
        "int8",
        "accuracy",
        0.895,
        None,
    )
    assert found.timings.is_empty() and found.outcomes.is_empty()


@pytest.mark.parametrize(
    ("name", "text", "options", "message"),
    [
        ("gone.csv", None, {}, "gone.csv: no such file"),
        ("points.xlsx", "x", {}, "nothing reads .xlsx"),
        ("points", "x", {}, "nothing reads a file without an ending"),
        ("points.json", "[{", {}, "cannot be read as json"),
        ("points.json", "{}", {}, "is no measurement"),
        ("points.parquet", "x", {}, "cannot be read as parquet"),
        ("points.csv", "variant,p95_ms\na,1\nb,fast\n", {}, r"points.csv, row 2, column p95_ms: 'fast'"),
        (
            "points.csv",
            "variant,p95ms\na,1\n",
            {},
            "column p95ms: no such column. Hint: did you mean 'p95_ms'",
        ),
        ("points.csv", "name,p95_ms\na,1\n", {}, "needs the column 'variant'"),
        (
            "points.csv",
            "variant,p95_ms\na,1\n",
            {"workload": "short"},
            "no workload 'short'. Hint: known: none",
        ),
        ("points.csv", "variant,p95_ms\na,1\n", {"quality": "f1"}, "no quality 'f1'. Hint: known: none"),
        ("points.csv", "variant,p95_ms\na,1\n", {"rate_usd_per_hour": 2}, "there are none"),
        ("points.csv", "variant,cost_basis\na,measured\n", {"rate_usd_per_hour": -2}, "from 0 up"),
        ("points.csv", "variant,quality_metric\na,f1\na,wer\n", {}, "quality= one of f1, wer"),
    ],
)
def test_what_cannot_be_read_is_named(
    tmp_path: Path, name: str, text: str | None, options: dict[str, Any], message: str
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        curve(tmp_path / name, **options)


# ---------------------------------------------------------------- a lab


@pytest.fixture(scope="module")
def lab() -> fl.Lab:
    """Open the sample lab, which the session has read in already."""
    return fl.open_lab(progress=False)


def test_a_lab_is_a_curve_and_a_decision(lab: fl.Lab) -> None:
    found = choosing.curve(lab, "2026-08", date(2026, 10, 1))
    row = found.points.filter(model="larch-7b", variant="int8").row(0, named=True)
    assert row["cost_basis"] == "EffectiveCost" and row["windows_judged"] == 0 and row["region"] is None
    assert found.points.filter(model="larch-70b", variant="int8")["region"].to_list() == ["us"]
    of_row = found.qualities.filter(model="larch-7b", variant="int8")
    assert of_row.height == 2 and of_row["quality"].mean() == pytest.approx(row["quality"])
    decided = choosing.decide(lab, "2026-08", "2026-10", model="larch-7b", max_quality_loss=0.01)
    assert decided.chosen is not None and decided.chosen["variant"] == "int8"
    # Its own calls of the last month are the traffic, and what each month costs is exact money.
    calls = found.points.filter(pl.col("model") == "larch-7b")["last_successes"].sum()
    want = Decimal(repr(decided.chosen["per_1000_inferences"])) * Decimal(repr(calls)) / 1000
    assert abs(decided.chosen["monthly_amount"] - want) < Decimal("1e-12")
    with pytest.raises(
        InputError, match=r"several that can do the same work\. Hint: model= one or a list of alder-13b"
    ):
        choosing.decide(lab, "2026-08", "2026-10")
    both = choosing.decide(lab, "2026-10", model=["larch-7b", "larch-70b"], monthly_inferences=1000)
    assert both.chosen is not None and both.chosen["model"] == "larch-7b" and both.reference is not None
    assert both.reference["model"] == "larch-70b"


def test_a_lab_retires_nothing_where_nothing_is_beaten(lab: fl.Lab) -> None:
    found = choosing.retire(lab, "2026-10", evaluation_amount=100)
    assert found.listed.is_empty() and found.unsure.is_empty()
