"""MLflow runs become training jobs and accuracy samples; what a run does not say stays unknown."""

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
from finops_lab.ingestion.platform.mlflow import READERS
from finops_lab.ingestion.registry import NOTES, RAW, REASONS, ReadSettings

EXAMPLE = Path(__file__).parent / "formats" / "mlflow_runs.json"
JOBS, SAMPLES = READERS
CSV = (
    "run_id,experiment_id,status,artifact_uri,start_time,end_time,metrics.accuracy,metrics.steps,"
    "params.model_name,tags.team,tags.mlflow.runName\n"
    "a1,3,FINISHED,s3://example/a1,2026-10-01 08:00:00+00:00,2026-10-01 09:30:00.500000+00:00,0.875,100,"
    "example-7b,search,retrain-9\n"
    "a2,3,FAILED,s3://example/a2,2026-10-02 08:00:00+00:00,,,,,,\n"
)


def run(data: dict[str, Any] | None = None, **info: Any) -> dict[str, Any]:
    base = {"run_id": "r", "experiment_id": "3", "status": "FINISHED", "start_time": 1790841600000}
    return {"info": {**base, "end_time": 1790845200000, **info}, "data": data or {}}


def both(tmp_path: Path, *runs: Any, **settings: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    path = tmp_path / "runs.json"
    path.write_text("\n".join(json.dumps(r) for r in runs))
    jobs, samples = (r.read(path, ReadSettings(**settings)).collect().rows(named=True) for r in READERS)
    return jobs, samples


def formats(path: Path) -> list[tuple[str, str]]:
    sample = registry.inspect(path)
    return [(r.FORMAT, r.TABLE) for r in registry.readers() if r.matches(sample)]


@pytest.mark.parametrize("reader", READERS, ids=lambda r: r.TABLE)
def test_frame_has_the_contract_in_order_and_in_its_dtypes(reader: Any) -> None:
    schema = dict(reader.read(EXAMPLE, ReadSettings()).collect_schema())
    wanted = {n: t for n, t in contracts.dtypes(reader.TABLE).items() if n != "source_file"}
    assert list(schema) == [*wanted, RAW, REASONS, NOTES]
    assert {name: schema[name] for name in wanted} == wanted


def test_only_this_format_knows_the_files_and_fills_two_tables(tmp_path: Path) -> None:
    table = tmp_path / "runs.csv"
    table.write_text(CSV)
    wanted = [("MLflow runs", "training_jobs"), ("MLflow runs", "accuracy_samples")]
    assert [formats(EXAMPLE), formats(table)] == [wanted, wanted]


@pytest.mark.parametrize("reader", READERS, ids=lambda r: r.TABLE)
def test_the_example_keeps_every_contract_rule(reader: Any) -> None:
    frame = reader.read(EXAMPLE, ReadSettings()).with_columns(pl.lit("f").alias("source_file")).collect()
    assert frame.select(contracts.reasons(reader.TABLE).alias("r"))["r"].null_count() == frame.height > 0
    assert frame[REASONS].null_count() == frame.height


def test_golden_jobs() -> None:
    frame = JOBS.read(EXAMPLE, ReadSettings()).collect()
    columns = ("kind", "state", "team", "model", "gpu_model", "gpu_count", "purchase", "wall_s", "source_row")
    assert frame.select(columns).rows() == [
        ("tune", "completed", "search", None, None, None, None, 7200.0, 1),
        ("finetune", "completed", "search", "example-7b", "H100", 4.0, None, 3600.0, 2),
        ("finetune", "failed", "search", "example-7b", None, 4.0, None, 3600.0, 3),
        ("eval", "completed", None, "example-7b", None, None, None, 600.0, 4),
        ("train", "cancelled", None, None, "NVIDIA A100 40GB", 8.0, "spot", 3600.0, 5),
        ("train", "running", None, None, None, None, None, None, 6),
    ]
    assert frame["job_id"][1] == f"{2:032x}"
    assert frame["ts_start"][0] == datetime(2026, 10, 1, 8, tzinfo=UTC)
    assert frame["model_version"].to_list() == [f"{n:032x}" if n != 4 else "12" for n in range(1, 7)]
    for unknown in ("cost_usd", "billable_s", "node_count", "ts_submit"):
        assert frame[unknown].null_count() == frame.height
    assert [n for n in frame[NOTES].to_list() if n] == [
        ["gpu_count: left to the nested runs, which lie within this one's time"],
        ["runs that had not started, left out: 1"],
    ]


def test_golden_accuracy() -> None:
    frame = SAMPLES.read(EXAMPLE, ReadSettings()).collect()
    columns = ("ts", "model", "dataset", "metric", "value", "split", "higher_is_better", "source_row")
    assert frame.select(columns).rows() == [
        (
            datetime(2026, 10, 1, 9, tzinfo=UTC),
            "example-7b",
            "example-qa",
            "accuracy",
            0.91,
            "validation",
            True,
            2,
        ),
        (
            datetime(2026, 10, 1, 9, tzinfo=UTC),
            "example-7b",
            "example-qa",
            "loss",
            0.4,
            "validation",
            False,
            2,
        ),
        (
            datetime(2026, 10, 2, 8, 8, 20, tzinfo=UTC),
            "example-7b",
            "example-news",
            "rougel",
            0.47,
            None,
            True,
            4,
        ),
        (
            datetime(2026, 10, 4, 9, tzinfo=UTC),
            "still-going",
            "experiment 7",
            "f1",
            0.5,
            "validation",
            True,
            6,
        ),
    ]
    assert frame["model_version"].to_list() == [f"{2:032x}", f"{2:032x}", "12", f"{6:032x}"]
    assert frame[NOTES].to_list()[-1] == [
        "dataset: not told, the experiment stands for it",
        "metrics that are no known measure of quality, left out: learning_rate, system/gpu_0_utilization_percentage",
    ]


def test_trap_runs_have_no_gpu_hours_unless_a_tag_says_so(tmp_path: Path) -> None:
    (bare, tagged), _ = both(
        tmp_path, run(), run({"params": [{"key": "num_gpus", "value": "2"}]}, run_id="s")
    )
    assert (bare["gpu_count"], bare["cost_usd"], tagged["gpu_count"]) == (None, None, 2.0)


def test_trap_a_parent_lies_over_its_nested_runs(tmp_path: Path) -> None:
    parent = run({"tags": {"gpu_count": "8"}}, run_id="p")
    child = run({"tags": {"gpu_count": "8", "mlflow.parentRunId": "p"}}, run_id="c")
    jobs, _ = both(tmp_path, parent, child)
    assert [(j["job_id"], j["gpu_count"]) for j in jobs] == [("p", None), ("c", 8.0)]


def test_golden_table_of_search_runs(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(CSV)
    first, second = JOBS.read(path, ReadSettings()).collect().rows(named=True)
    wanted = {
        "job_id": "a1",
        "state": "completed",
        "kind": "retrain",
        "team": "search",
        "model": "example-7b",
        "wall_s": 5400.5,
        "gpu_count": None,
        "source_row": 1,
    }
    assert {name: first[name] for name in wanted} == wanted
    assert (second["state"], second["ts_end"], second["wall_s"]) == ("failed", None, None)
    (sample,) = SAMPLES.read(path, ReadSettings()).collect().rows(named=True)
    assert (sample["metric"], sample["value"], sample["dataset"]) == ("accuracy", 0.875, "experiment 3")
    assert sample["ts"] == datetime(2026, 10, 1, 9, 30, 0, 500000, tzinfo=UTC)
    assert sample[NOTES][-1] == "metrics that are no known measure of quality, left out: steps"


def test_the_table_may_be_gzip_or_parquet(tmp_path: Path) -> None:
    plain, zipped, stored = tmp_path / "a.csv", tmp_path / "a.csv.gz", tmp_path / "a.parquet"
    plain.write_text(CSV)
    zipped.write_bytes(gzip.compress(CSV.encode()))
    pl.read_csv(plain, try_parse_dates=True).write_parquet(stored)
    for reader in READERS:
        wanted = reader.read(plain, ReadSettings()).collect().drop(RAW)
        assert reader.read(zipped, ReadSettings()).collect().drop(RAW).equals(wanted)
        assert reader.read(stored, ReadSettings()).collect().drop(RAW).equals(wanted)


@pytest.mark.parametrize("keep", [lambda r: r, lambda r: {"run": r}, lambda r: [r], lambda r: {"runs": [r]}])
def test_a_run_is_found_however_it_was_kept(tmp_path: Path, keep: Any) -> None:
    found = run({"metrics": {"f1": 0.5}, "params": {"model": "m"}, "tags": {"team": "t"}})
    (job,), (sample,) = both(tmp_path, keep(found))
    assert formats(tmp_path / "runs.json")[0][0] == "MLflow runs"
    assert (job["team"], sample["model"], sample["value"]) == ("t", "m", 0.5)


def test_context_comes_from_named_tags_first(tmp_path: Path) -> None:
    tags = {"team": "search", "squad": "ads", "family": "f", "model": "m", "finops.kind": "retrain"}
    (job,), _ = both(tmp_path, run({"tags": tags}), attributes={"team": ("squad",), "model": ("family",)})
    assert (job["team"], job["model"], job["kind"]) == ("ads", "f", "retrain")


def test_what_cannot_be_read_is_a_reason_and_told_once(tmp_path: Path) -> None:
    jobs, samples = both(
        tmp_path,
        run(status="LOST"),
        run(start_time="soon"),
        run({"tags": {"gpu_count": "many"}}),
        run({"metrics": {"f1": "high"}}),
        {"info": {}},
        "x",
    )
    assert [j[REASONS] for j in jobs] == [
        ["state: 'LOST' is no status of a run"],
        ["ts_start: 'soon' is not a date and time"],
        ["gpu_count: 'many' is not a number"],
        None,
        ["line: is not a run of MLflow"],
        ["line: is not a run of MLflow"],
    ]
    assert [s[REASONS] for s in samples] == [["value: 'high' is not a number"]]


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(CSV.replace("status", "state", 1))
    assert formats(path) == []
    with pytest.raises(InputError, match="has no column status"):
        JOBS.read(path, ReadSettings()).collect()


def test_a_row_with_too_many_fields_is_named(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(CSV + "a3,3,FAILED" + "," * 20 + "\n")
    with pytest.raises(InputError, match=r"runs\.csv, row 3: the row has more fields"):
        JOBS.read(path, ReadSettings()).collect()


def test_cut_file_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "cut.json"
    path.write_text(EXAMPLE.read_text()[:-40])
    with pytest.raises(InputError, match=r"cut\.json: is not JSON"):
        JOBS.read(path, ReadSettings()).collect()


@pytest.mark.parametrize("part", ["metrics", "params", "tags"])
@pytest.mark.parametrize(
    "value", [None, 5, "x", [None], [[1]], [{"key": None}], {"a": {"b": []}}, {"f1": []}]
)
def test_odd_values_never_fail(tmp_path: Path, part: str, value: Any) -> None:
    jobs, _ = both(tmp_path, run({part: value}))
    assert [j["job_id"] for j in jobs] == ["r"]
