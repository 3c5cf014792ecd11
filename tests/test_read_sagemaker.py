"""SageMaker's training jobs: billed GPU-seconds, and what the final metrics say."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from finops_lab import contracts
from finops_lab.errors import InputError
from finops_lab.ingestion import registry
from finops_lab.ingestion.platform.sagemaker import READERS
from finops_lab.ingestion.registry import NOTES, RAW, REASONS, ReadSettings

EXAMPLE = Path(__file__).parent / "formats" / "sagemaker_training_job.json"
JOBS, SAMPLES = READERS
BASE = {
    "TrainingJobName": "j",
    "TrainingJobStatus": "Completed",
    "ResourceConfig": {"InstanceType": "ml.g5.xlarge", "InstanceCount": 1},
    "TrainingEndTime": "2026-10-01T10:00:00Z",
}


def both(tmp_path: Path, *jobs: Any, **settings: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    path = tmp_path / "jobs.json"
    path.write_text("\n".join(json.dumps(job) for job in jobs))
    jobs_, samples = (r.read(path, ReadSettings(**settings)).collect().rows(named=True) for r in READERS)
    return jobs_, samples


def one(tmp_path: Path, changes: dict[str, Any], **settings: Any) -> dict[str, Any]:
    (row,), _ = both(tmp_path, {**BASE, **changes}, **settings)
    return row


@pytest.mark.parametrize("reader", READERS, ids=lambda r: r.TABLE)
def test_frame_has_the_contract_in_order_and_in_its_dtypes(reader: Any) -> None:
    schema = dict(reader.read(EXAMPLE, ReadSettings()).collect_schema())
    wanted = {n: t for n, t in contracts.dtypes(reader.TABLE).items() if n != "source_file"}
    assert list(schema) == [*wanted, RAW, REASONS, NOTES]
    assert {name: schema[name] for name in wanted} == wanted


def test_only_this_format_knows_the_file_and_fills_two_tables() -> None:
    sample = registry.inspect(EXAMPLE)
    assert [(r.FORMAT, r.TABLE) for r in registry.readers() if r.matches(sample)] == [
        ("SageMaker training job", "training_jobs"),
        ("SageMaker training job", "accuracy_samples"),
    ]


@pytest.mark.parametrize("reader", READERS, ids=lambda r: r.TABLE)
def test_the_example_keeps_every_contract_rule(reader: Any) -> None:
    frame = reader.read(EXAMPLE, ReadSettings()).with_columns(pl.lit("f").alias("source_file")).collect()
    assert frame.select(contracts.reasons(reader.TABLE).alias("r"))["r"].null_count() == frame.height > 0
    assert frame[REASONS].null_count() == frame.height


def test_golden_jobs() -> None:
    frame = JOBS.read(EXAMPLE, ReadSettings()).collect()
    columns = (
        "job_id",
        "kind",
        "state",
        "gpu_model",
        "gpu_count",
        "node_count",
        "purchase",
        "wall_s",
        "billable_s",
    )
    assert frame.select(columns).rows() == [
        ("example-finetune-1", "finetune", "completed", "NVIDIA A100 40GB", 16.0, 2, "spot", 7200.0, 2160.0),
        ("example-train-2", "train", "failed", "NVIDIA A10G", 1.0, 1, "on_demand", 600.0, 1200.0),
        ("example-mixed-3", "train", "timeout", "NVIDIA V100 16GB", 8.0, 3, None, 3600.0, 3600.0),
        ("example-train-4", "train", "running", "NVIDIA H100", 32.0, 4, "capacity_block", None, None),
        ("example-eval-5", "eval", "cancelled", None, None, 1, None, None, None),
    ]
    assert frame["instance_type"].to_list() == [
        "ml.p4d.24xlarge",
        "ml.g5.xlarge",
        "ml.c5.18xlarge, ml.p3.16xlarge",
        "ml.p5.48xlarge",
        "ml.future9.xlarge",
    ]
    assert (frame["team"][0], frame["model"][0], frame["model"][1]) == ("search", "example-7b", None)
    assert frame["model_version"].to_list() == frame["job_id"].to_list()
    # 2160 x 16 + 1200 x 1 + 3600 x 8
    assert (frame["billable_s"] * frame["gpu_count"]).sum() == 64_560.0
    assert frame["ts_start"].to_list()[:3] == [
        datetime(2026, 10, 1, 8, 5, 0, 250000, tzinfo=UTC),
        datetime(2026, 10, 1, 22, 1, tzinfo=UTC),
        datetime(2026, 10, 4, 7, 47, 40, tzinfo=UTC),
    ]
    assert frame["source_row"].to_list() == [1, 2, 3, 4, 5]
    assert frame[NOTES].to_list() == [
        ["interrupted and resumed, spot capacity was lost: 1 times"],
        ["billable_s: with 600 s for which the warm pool's machines were kept"],
        None,
        ["the job still ran when it was described"],
        ["gpu_count: the GPUs of the instance type are not known"],
    ]


def test_golden_accuracy() -> None:
    frame = SAMPLES.read(EXAMPLE, ReadSettings()).collect()
    columns = ("model", "dataset", "metric", "value", "split", "higher_is_better", "source_row")
    assert frame.select(columns).rows() == [
        ("example-7b", "example-qa", "accuracy", 0.9125, "validation", True, 1),
        ("example-7b", "example-qa", "loss", 0.31, "train", False, 1),
        ("example-mixed-3", "s3://example-bucket/test/", "f1", 0.875, "test", True, 3),
    ]
    assert frame["ts"][0] == datetime(2026, 10, 1, 10, 4, tzinfo=UTC)
    assert frame["model_version"].to_list() == ["example-finetune-1", "example-finetune-1", "example-mixed-3"]
    assert frame[NOTES].to_list() == [
        None,
        None,
        ["metrics that are no known measure of quality, left out: tokens_per_second"],
    ]


def test_trap_billed_seconds_are_of_one_instance_and_gpus_of_all(tmp_path: Path) -> None:
    config = {"InstanceType": "ml.p4d.24xlarge", "InstanceCount": 3}
    row = one(tmp_path, {"ResourceConfig": config, "BillableTimeInSeconds": 10, "TrainingTimeInSeconds": 40})
    # BillableTimeInSeconds x InstanceCount x 8 GPUs
    assert row["billable_s"] * row["gpu_count"] == 10 * 3 * 8
    assert row["wall_s"] == 40.0


def test_trap_warm_pool_is_billed_on_top(tmp_path: Path) -> None:
    pool = {"Status": "Reused", "ResourceRetainedBillableTimeInSeconds": 30}
    row = one(tmp_path, {"BillableTimeInSeconds": 10, "WarmPoolStatus": pool})
    assert (row["billable_s"], len(row[NOTES])) == (40.0, 1)
    # Without the job's own seconds the whole is not known.
    assert one(tmp_path, {"WarmPoolStatus": pool})["billable_s"] is None


@pytest.mark.parametrize(
    ("status", "secondary", "state"),
    [
        ("Completed", "Completed", "completed"),
        ("Failed", "Failed", "failed"),
        ("Stopped", "Stopped", "cancelled"),
        ("Stopped", "MaxWaitTimeExceeded", "timeout"),
        ("Stopped", "Interrupted", "preempted"),
        ("Stopping", "Stopping", "running"),
        ("InProgress", "Starting", "running"),
    ],
)
def test_states(tmp_path: Path, status: str, secondary: str, state: str) -> None:
    assert one(tmp_path, {"TrainingJobStatus": status, "SecondaryStatus": secondary})["state"] == state


def test_unknown_states_and_values_are_reasons(tmp_path: Path) -> None:
    row = one(tmp_path, {"TrainingJobStatus": "Lost", "BillableTimeInSeconds": "soon", "CreationTime": "x"})
    assert row[REASONS] == [
        "billable_s: 'soon' is not a number",
        "state: 'Lost' is no status of a training job",
        "ts_submit: 'x' is not a date and time",
    ]


def test_machines_without_gpus_are_zero_and_unknown_ones_unknown(tmp_path: Path) -> None:
    def gpus(kind: str) -> float | None:
        found: float | None = one(tmp_path, {"ResourceConfig": {"InstanceType": kind, "InstanceCount": 2}})[
            "gpu_count"
        ]
        return found

    assert [gpus(k) for k in ("ml.m5.large", "ml.c7i.xlarge", "ml.g5.12xlarge", "ml.x.y")] == [0, 0, 8, None]


def test_the_list_of_jobs_tells_no_machines(tmp_path: Path) -> None:
    summary = {k: v for k, v in BASE.items() if k != "ResourceConfig"} | {"TrainingPlanArn": "arn"}
    (row,), _ = both(tmp_path, {"TrainingJobSummaries": [summary]})
    assert (row["gpu_count"], row["node_count"], row["state"]) == (None, None, "completed")
    assert row["purchase"] == "capacity_block"
    assert row[NOTES] == ["the answer tells no machines; export DescribeTrainingJob of the job"]


def test_context_comes_from_named_tags_first(tmp_path: Path) -> None:
    tags = [{"Key": "squad", "Value": "ads"}, {"Key": "team", "Value": "search"}]
    changes = {"Tags": tags, "HyperParameters": {"base": '"b"', "model_name": "m"}}
    plain = one(tmp_path, changes)
    named = one(tmp_path, changes, attributes={"team": ("squad",), "model": ("base",)})
    assert [(r["team"], r["model"]) for r in (plain, named)] == [("search", "m"), ("ads", "b")]


@pytest.mark.parametrize(
    ("name", "metric", "split", "higher"),
    [
        ("validation:accuracy", "accuracy", "validation", True),
        ("eval_acc", "accuracy", "validation", True),
        ("test/rougeL", "rougel", "test", True),
        ("pass@1", "pass@1", None, True),
        ("ndcg_at_10", "ndcg_at_10", None, True),
        ("perplexity", "perplexity", None, False),
        ("f1_test", "f1", "test", True),
    ],
)
def test_known_measures_of_quality(tmp_path: Path, name: str, metric: str, split: str, higher: bool) -> None:
    entry = {"MetricName": name, "Value": 0.5, "Timestamp": 1791103600}
    _, (row,) = both(tmp_path, {**BASE, "FinalMetricDataList": [entry]})
    assert (row["metric"], row["split"], row["higher_is_better"]) == (metric, split, higher)
    assert (row["dataset"], row["model"]) == ("j", "j")
    assert row[NOTES] == ["dataset: not told, the job's name stands for it"]


def test_a_metric_that_is_no_number_is_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "jobs.json"
    path.write_text(
        json.dumps({**BASE, "FinalMetricDataList": [{"MetricName": "f1", "Value": float("nan")}]})
    )
    (row,) = SAMPLES.read(path, ReadSettings()).collect().rows(named=True)
    assert row[REASONS] == ["value: 'NaN' is not a number"]
    # The end of the job stands for the missing time of the metric.
    assert row["ts"] == datetime(2026, 10, 1, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    "keep",
    [
        lambda jobs: json.dumps(jobs, indent=4),
        lambda jobs: json.dumps({"TrainingJobs": jobs}),
        lambda jobs: "\n".join(json.dumps(job) for job in jobs),
    ],
    ids=["array", "wrapped", "lines"],
)
def test_jobs_are_found_however_they_were_kept(tmp_path: Path, keep: Any) -> None:
    decoder, text, jobs = json.JSONDecoder(), EXAMPLE.read_text(), []
    while text:
        job, end = decoder.raw_decode(text)
        jobs.append(job)
        text = text[end:].lstrip()
    path = tmp_path / "jobs.json.gz"
    path.write_bytes(gzip.compress(keep(jobs).encode()))
    sample = registry.inspect(path)
    assert {r.FORMAT for r in registry.readers() if r.matches(sample)} == {"SageMaker training job"}
    for reader in READERS:
        wanted = reader.read(EXAMPLE, ReadSettings()).collect().drop(RAW)
        assert reader.read(path, ReadSettings()).collect().drop(RAW).equals(wanted)


def test_broken_records_are_told_once(tmp_path: Path) -> None:
    jobs, samples = both(tmp_path, BASE, 5, {"a": 1})
    assert [r[REASONS] for r in jobs] == [
        None,
        ["line: is not a training job"],
        ["line: is not a training job"],
    ]
    assert samples == []


def test_cut_file_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "cut.json"
    path.write_text(json.dumps({"TrainingJobs": [BASE] * 3}, indent=2)[:-30])
    with pytest.raises(InputError, match=r"cut\.json: is not JSON"):
        JOBS.read(path, ReadSettings()).collect()


@pytest.mark.parametrize(
    "key", ["ResourceConfig", "FinalMetricDataList", "Tags", "HyperParameters", "WarmPoolStatus"]
)
@pytest.mark.parametrize(
    "value", [None, 5, "x", [], [None], [[1]], {"InstanceGroups": [3]}, {"a": {"b": []}}]
)
def test_odd_values_never_fail(tmp_path: Path, key: str, value: Any) -> None:
    jobs, _ = both(tmp_path, {**BASE, key: value})
    assert [r["job_id"] for r in jobs] == ["j"]
