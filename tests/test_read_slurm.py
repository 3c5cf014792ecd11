"""Slurm's accounting becomes training jobs: one row per attempt, no GPU counted twice."""

from __future__ import annotations

import gzip
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finops_lab import contracts
from finops_lab.errors import InputError
from finops_lab.ingestion import registry
from finops_lab.ingestion.platform import slurm
from finops_lab.ingestion.registry import NOTES, RAW, REASONS, ReadSettings

EXAMPLE = Path(__file__).parent / "formats" / "slurm_sacct.txt"
HEADER = "JobID|JobName|Account|State|Submit|Start|End|ElapsedRaw|AllocTRES"
TIMES = "2026-10-01T00:00:00|2026-10-01T00:01:00|2026-10-01T01:01:00|3600"


def rows(tmp_path: Path, *lines: str, header: str = HEADER, **settings: Any) -> list[dict[str, Any]]:
    path = tmp_path / "jobs.txt"
    path.write_text("\n".join([header, *lines]) + "\n")
    return slurm.read(path, ReadSettings(**settings)).collect().rows(named=True)


def tres(tmp_path: Path, said: str) -> tuple[float | None, str | None]:
    (row,) = rows(tmp_path, f"1|n|a|COMPLETED|{TIMES}|{said}")
    assert row[REASONS] is None
    return row["gpu_count"], row["gpu_model"]


def test_frame_has_the_contract_in_order_and_in_its_dtypes() -> None:
    schema = dict(slurm.read(EXAMPLE, ReadSettings()).collect_schema())
    wanted = {n: t for n, t in contracts.dtypes("training_jobs").items() if n != "source_file"}
    assert list(schema) == [*wanted, RAW, REASONS, NOTES]
    assert {name: schema[name] for name in wanted} == wanted


def test_only_this_reader_knows_the_file() -> None:
    sample = registry.inspect(EXAMPLE)
    assert [r.FORMAT for r in registry.readers() if r.matches(sample)] == ["Slurm sacct"]


def test_golden_example_keeps_every_contract_rule() -> None:
    frame = slurm.read(EXAMPLE, ReadSettings()).with_columns(pl.lit("f").alias("source_file")).collect()
    assert frame.select(contracts.reasons("training_jobs").alias("r"))["r"].null_count() == frame.height
    columns = ("job_id", "attempt", "kind", "team", "state", "gpu_model", "gpu_count", "node_count", "wall_s")
    assert frame.select(columns).rows() == [
        ("1001", 1, "train", "nlp", "completed", "h100", 8.0, 2, 7200.0),
        ("1002", 1, "finetune", "search", "failed", "l20", 1.0, 1, 600.0),
        ("1003", 1, "eval", "search", "cancelled", None, None, None, 0.0),
        ("1004", 1, "train", "search", "failed", None, 2.0, 1, 3600.0),
        ("1004", 2, "train", "search", "completed", None, 2.0, 1, 14400.0),
        ("1005", 1, "train", "data", "completed", None, 0.0, 1, 1800.0),
        ("1006_3", 1, "tune", "nlp", "timeout", "a100", 1.0, 1, 14400.0),
        ("1007", 1, "train", "nlp", "running", "h100", 64.0, 8, 86400.0),
        ("1009", 3, "train", "search", "preempted", None, 1.0, 1, 1200.0),
    ]
    # GPU-hours: 16 + 1/6 + 0 + 2 + 8 + 0 + 4 + 1536 + 1/3
    assert (frame["gpu_count"] * frame["wall_s"]).sum() / 3600 == pytest.approx(1566.5)
    assert frame["source_row"].to_list() == [1, 5, 6, 7, 8, 9, 10, 11, 13]
    assert frame[REASONS].null_count() == frame.height
    assert frame["ts_start"][0] == datetime(2026, 10, 1, 8, 10, tzinfo=UTC)
    assert [frame["ts_end"][7], frame["ts_start"][2]] == [None, None]
    for unknown in ("cost_usd", "billable_s", "purchase", "instance_type", "model", "lost_work_s"):
        assert frame[unknown].null_count() == frame.height
    assert [n for n in frame[NOTES].to_list() if n] == [
        ["JobName: holds the separator |, joined again"],
        [
            "Restarts: earlier attempts are not in the export; ask sacct for --duplicates",
            "rows of job steps, which repeat their jobs' resources, left out: 3",
            "jobs that had not started, left out: 1",
            "Start, End: no offset, read as UTC; export with TZ=UTC or SLURM_TIME_FORMAT=%s",
        ],
    ]


def test_trap_gpu_typed_and_untyped_is_one_gpu(tmp_path: Path) -> None:
    assert tres(tmp_path, "gres/gpu:l20=1,gres/gpu=1") == (1.0, "l20")
    assert tres(tmp_path, "gres/gpu:h100:2,gres/gpu=2") == (2.0, "h100")
    assert tres(tmp_path, "gres/gpu:h100=2") == (2.0, "h100")
    assert tres(tmp_path, "gres/gpu:a100=1,gres/gpu:v100=3,gres/gpu=4") == (4.0, "a100, v100")


def test_trap_gpu_counts_that_differ_are_told_not_added(tmp_path: Path) -> None:
    (row,) = rows(tmp_path, f"1|n|a|COMPLETED|{TIMES}|gres/gpu:h100:2,gres/gpu=1")
    assert row["gpu_count"] == 2.0
    assert "gpu_count: 1 GPUs in all and 2 by type; the larger is kept" in row[NOTES]


def test_no_gpu_among_the_resources_is_zero_and_no_resources_are_unknown(tmp_path: Path) -> None:
    assert tres(tmp_path, "billing=8,cpu=8,node=1") == (0.0, None)
    assert tres(tmp_path, "gres/gpumem=80G,gres/gpuutil=50,gres/shard=4") == (0.0, None)
    assert tres(tmp_path, "") == (None, None)


def test_a_gpu_count_that_is_no_number_is_a_reason(tmp_path: Path) -> None:
    (row,) = rows(tmp_path, f"1|n|a|COMPLETED|{TIMES}|gres/gpu=many")
    assert row[REASONS] == ["gpu_count: 'gres/gpu=many' is no number of GPUs"]


def test_trap_billing_is_no_money(tmp_path: Path) -> None:
    (row,) = rows(tmp_path, f"1|n|a|COMPLETED|{TIMES}|billing=5000,gres/gpu=1")
    assert (row["cost_usd"], row["billable_s"]) == (None, None)


def test_trap_step_rows_are_dropped_and_counted(tmp_path: Path) -> None:
    job = f"|n|a|COMPLETED|{TIMES}|gres/gpu=4"
    (row,) = rows(tmp_path, f"7{job}", f"7.batch{job}", f"7.extern{job}", f"7.0{job}")
    assert (row["job_id"], row["gpu_count"]) == ("7", 4.0)
    assert "rows of job steps, which repeat their jobs' resources, left out: 3" in row[NOTES]


def test_steps_without_their_job_are_not_lost_silently(tmp_path: Path) -> None:
    job = f"|n|a|COMPLETED|{TIMES}|gres/gpu=4"
    (row,) = rows(tmp_path, f"7.batch{job}", f"7.0{job}")
    assert row[REASONS] == ["JobID: 7 has rows of steps and none of its own"]


def test_trap_cancelled_by_somebody(tmp_path: Path) -> None:
    (row,) = rows(tmp_path, f"1|n|a|CANCELLED by 50001|{TIMES}|gres/gpu=1")
    assert row["state"] == "cancelled"


def test_unknown_state_is_a_reason(tmp_path: Path) -> None:
    (row,) = rows(tmp_path, f"1|n|a|LOST|{TIMES}|gres/gpu=1")
    assert row[REASONS] == ["state: 'LOST' is no job state of Slurm"]


@pytest.mark.parametrize("nothing", ["Unknown", "None", "", "N/A", "0"])
def test_trap_times_that_are_none(tmp_path: Path, nothing: str) -> None:
    line = f"1|n|a|RUNNING|{nothing}|2026-10-01T00:00:00|{nothing}|60|gres/gpu=1"
    (row,) = rows(tmp_path, line)
    assert (row["ts_submit"], row["ts_end"], row[REASONS]) == (None, None, None)


def test_times_may_be_seconds_since_1970(tmp_path: Path) -> None:
    (row,) = rows(tmp_path, "900|n|a|COMPLETED|1791100000|1791100060|1791100560|500|gres/gpu=1")
    assert row["ts_start"] == datetime(2026, 10, 4, 7, 47, 40, tzinfo=UTC)
    assert row[NOTES] is None


def test_times_with_an_offset_are_moved_to_utc(tmp_path: Path) -> None:
    (row,) = rows(tmp_path, "9|n|a|RUNNING|Unknown|2026-10-01T02:00:00+02:00|Unknown|5|gres/gpu=1")
    assert row["ts_start"] == datetime(2026, 10, 1, tzinfo=UTC)
    assert row[NOTES] is None


def test_a_time_that_is_none_of_these_is_a_reason(tmp_path: Path) -> None:
    (row,) = rows(tmp_path, "9|n|a|RUNNING|Unknown|yesterday|Unknown|5|gres/gpu=1")
    assert row[REASONS] == ["ts_start: 'yesterday' is not a date and time"]


def test_trap_separator_in_a_job_name(tmp_path: Path) -> None:
    (row,) = rows(tmp_path, f"1|a|b||c|team|FAILED|{TIMES}|gres/gpu=1")
    assert (row["state"], row["team"], row["gpu_count"]) == ("failed", "team", 1.0)
    assert row[NOTES][0] == "JobName: holds the separator |, joined again"


def test_separator_that_could_be_in_two_texts_goes_to_quarantine(tmp_path: Path) -> None:
    header = "JobID|JobName|Comment|State|Start|End|AllocTRES"
    (row,) = rows(tmp_path, "1|a|b|c|FAILED|Unknown|Unknown|gres/gpu=1", header=header)
    assert row[REASONS] == ["line: has 8 fields, 7 are named; which one holds a | is unclear"]
    assert row[RAW] == {"line": "1|a|b|c|FAILED|Unknown|Unknown|gres/gpu=1"}


def test_a_separator_that_only_one_text_can_hold_is_joined(tmp_path: Path) -> None:
    header = "JobID|JobName|State|Start|End|Comment|AllocTRES"
    (row,) = rows(tmp_path, "1|a|FAILED|Unknown|Unknown|so|far|gres/gpu=1", header=header)
    assert (row["state"], row["gpu_count"]) == ("failed", 1.0)
    assert row[NOTES] == ["Comment: holds the separator |, joined again"]


def test_missing_fields_go_to_quarantine(tmp_path: Path) -> None:
    (row,) = rows(tmp_path, "1|a|b")
    assert row[REASONS] == ["line: has 3 of 9 fields"]


def test_trap_requeued_jobs_repeat_the_id(tmp_path: Path) -> None:
    late = "5|n|a|COMPLETED|2026-10-01T00:00:00|2026-10-01T05:00:00|2026-10-01T06:00:00|3600|gres/gpu=1"
    early = "5|n|a|NODE_FAIL|2026-10-01T00:00:00|2026-10-01T00:00:00|2026-10-01T01:00:00|3600|gres/gpu=1"
    found = rows(tmp_path, late, f"6|n|a|FAILED|{TIMES}|gres/gpu=1", early)
    assert [(r["job_id"], r["attempt"], r["state"]) for r in found] == [
        ("5", 2, "completed"),
        ("6", 1, "failed"),
        ("5", 1, "failed"),
    ]


def test_restarts_tell_attempts_that_are_not_in_the_file(tmp_path: Path) -> None:
    (row,) = rows(tmp_path, f"5|n|a|COMPLETED|{TIMES}|gres/gpu=1|2", header=f"{HEADER}|Restarts")
    assert row["attempt"] == 3
    assert "ask sacct for --duplicates" in row[NOTES][0]


def test_elapsed_in_days_and_hours_where_there_are_no_seconds(tmp_path: Path) -> None:
    header = "JobID|State|Elapsed|AllocTRES"
    lines = ["1|FAILED|1-02:03:04|cpu=1", "2|FAILED|05:06|cpu=1", "3|FAILED|long|cpu=1", "4|FAILED||cpu=1"]
    found = rows(tmp_path, *lines, header=header)
    assert [r["wall_s"] for r in found] == [93784.0, 306.0, None, None]
    assert [r[REASONS] for r in found] == [None, None, ["wall_s: 'long' is no elapsed time"], None]


def test_requested_resources_where_the_allocated_are_not_exported(tmp_path: Path) -> None:
    (row,) = rows(tmp_path, "1|FAILED|05:06|gres/gpu=2", header="JobID|State|Elapsed|ReqTRES")
    assert row["gpu_count"] == 2.0
    assert row[NOTES] == ["gpu_count: as requested, the export has no AllocTRES"]


def test_old_generic_resources(tmp_path: Path) -> None:
    header = "JobID|State|Elapsed|AllocGRES"
    found = rows(tmp_path, "1|FAILED|05:06|gpu:tesla:2", "2|FAILED|05:06|gpu:4", header=header)
    assert [(r["gpu_count"], r["gpu_model"]) for r in found] == [(2.0, "tesla"), (4.0, None)]


def test_context_comes_from_named_fields_first(tmp_path: Path) -> None:
    header = f"{HEADER}|WCKey|Comment"
    line = f"1|n|acc|FAILED|{TIMES}|cpu=1|search|llama"
    (row,) = rows(tmp_path, line, header=header, attributes={"team": ("WCKey",), "model": ("Comment",)})
    assert (row["team"], row["model"]) == ("search", "llama")


def test_raw_job_ids_serve_where_there_are_no_others(tmp_path: Path) -> None:
    (row,) = rows(tmp_path, "12|FAILED|05:06|cpu=1", header="JobIDRaw|State|Elapsed|AllocTRES")
    assert row["job_id"] == "12"


def test_parsable_with_a_separator_at_the_end(tmp_path: Path) -> None:
    (row,) = rows(tmp_path, f"1|n|a|FAILED|{TIMES}|gres/gpu=1|", header=f"{HEADER}|")
    assert (row["gpu_count"], row[REASONS]) == (1.0, None)


def test_gzip_and_byte_order_mark_and_windows_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "jobs.gz"
    text = "﻿" + EXAMPLE.read_text().replace("\n", "\r\n")
    path.write_bytes(gzip.compress(text.encode()))
    assert slurm.matches(registry.inspect(path))
    # RAW has the line without its end, so that all columns are equal.
    assert slurm.read(path, ReadSettings()).collect().equals(slurm.read(EXAMPLE, ReadSettings()).collect())


def test_cut_gzip_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "jobs.gz"
    path.write_bytes(gzip.compress(EXAMPLE.read_bytes() * 50)[:-20])
    with pytest.raises(InputError, match=r"jobs\.gz: cannot be read"):
        slurm.read(path, ReadSettings()).collect()


def test_missing_state_names_the_field(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no field State"):
        rows(tmp_path, "1|05:06", header="JobID|Elapsed")


def test_commas_between_fields_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--parsable2"):
        rows(tmp_path, "1,FAILED,cpu=1", header="JobID,State,AllocTRES")


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), max_size=80), max_size=5))
@settings(max_examples=50, deadline=None)
def test_any_lines_become_rows_or_are_told(lines: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "jobs.txt"
        good = f"1|n|a|FAILED|{TIMES}|gres/gpu=1"
        path.write_text("\n".join([HEADER, *lines, good]) + "\n", newline="")
        frame = slurm.read(path, ReadSettings()).collect()
    assert frame.filter(pl.col(REASONS).is_null())["gpu_count"].sum() == 1.0
    assert frame.height == 1 + sum(bool(line.strip()) for line in lines)
