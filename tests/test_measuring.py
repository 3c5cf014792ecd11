"""The kept roll-ups of a lab: only what changed is worked out again, and nothing kept is trusted blindly."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from helpers import put, write_lab
from polars.testing import assert_frame_equal

import finops_lab as fl
from finops_lab import measuring
from finops_lab.unit_economics import gpus, histogram, requests
from finops_lab.unit_economics.schemas import GPU_DAYS, HISTOGRAMS, REQUEST_DAYS, REQUEST_MONTHS

TOML = '[lab]\nname = "Measured (synthetic)"\n'
CALLS = "ts_start,model,operation,status,team,output_tokens,latency_ms\n"
SAMPLES = "ts,interval_s,gpu_uuid,util_kind,util\n"
Reader = Callable[..., pl.LazyFrame]
READERS: dict[str, Reader] = {
    "request_days": measuring.request_days,
    "request_months": measuring.request_months,
    "histogram_months": measuring.histograms,
    "gpu_days": measuring.gpu_days,
}


def calls(*days: str, team: str = "ads", latency: int = 120) -> str:
    return CALLS + "".join(f"{day}T10:00:00Z,m,chat,ok,{team},5,{latency}\n" for day in days)


def samples(*days: str, util: float = 0.5) -> str:
    return SAMPLES + "".join(f"{day}T10:00:00Z,60,g0,sm_active,{util}\n" for day in days)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    exports = {
        "requests_a.csv": calls("2026-08-30", "2026-08-31"),
        "requests_b.csv": calls("2026-09-01"),
        "gpu_a.csv": samples("2026-08-31"),
        "gpu_b.csv": samples("2026-09-01", util=0.25),
    }
    return write_lab(tmp_path / "lab", exports, TOML)


def opened(folder: Path, as_of: str | None = None) -> fl.Lab:
    return fl.open_lab(folder, progress=False, as_of=as_of)


def all_of(lab: fl.Lab, *, store: bool = True) -> dict[str, pl.DataFrame]:
    return {name: read(lab, store=store).collect() for name, read in READERS.items()}


def kept(folder: Path) -> dict[str, int]:
    """Return the kept files, and when each was written."""
    home = folder / "lake" / measuring.FOLDER
    return {path.relative_to(home).as_posix(): path.stat().st_mtime_ns for path in home.glob("*/*")}


def names(files: dict[str, int], kind: str) -> set[str]:
    return {Path(name).name[:-25] for name in files if name.startswith(f"{kind}/")}


def same(left: dict[str, pl.DataFrame], right: dict[str, pl.DataFrame]) -> None:
    for name in READERS:
        assert_frame_equal(left[name], right[name])


def test_roll_ups_are_those_of_the_tables_and_are_kept(folder: Path) -> None:
    lab = opened(folder)
    first = all_of(lab)
    rolled = requests.roll_up(lab.table("inference_requests"))
    assert_frame_equal(first["request_days"], rolled.days)
    assert_frame_equal(first["request_months"], requests.months(rolled.days.lazy()).collect())
    assert_frame_equal(first["histogram_months"], rolled.histograms)
    assert_frame_equal(first["gpu_days"], gpus.roll_up(lab.table("gpu_samples")))
    assert first["request_months"]["calls"].to_list() == [2, 1]
    assert first["gpu_days"]["peak_util"].to_list() == [0.5, 0.25]
    files = kept(folder)
    assert names(files, "request_days") == {"2026-08-30", "2026-08-31", "2026-09-01"}
    assert names(files, "histogram_days") == names(files, "request_days")
    assert names(files, "request_months") == names(files, "histogram_months") == {"2026-08", "2026-09"}
    assert names(files, "gpu_days") == {"2026-08-31", "2026-09-01"}
    same(all_of(opened(folder)), first)
    assert kept(folder) == files
    found = histogram.quantiles(
        measuring.histograms(lab).filter(metric="latency"), ["month"], [0.5]
    ).collect()
    assert found["value"].round(0).to_list() == [120.0, 120.0]


def test_only_the_day_that_changed_is_worked_out_again(folder: Path) -> None:
    all_of(opened(folder))
    before = kept(folder)
    put(folder / "exports" / "requests_c.csv", calls("2026-08-31", team="search"))
    done = all_of(opened(folder))
    after = kept(folder)
    assert done["request_months"]["team"].to_list() == ["ads", "search", "ads"]
    new = {name: time for name, time in after.items() if before.get(name) != time}
    assert {name.partition("/")[0] for name in new} == {
        "request_days",
        "histogram_days",
        "request_months",
        "histogram_months",
    }
    assert names(new, "request_days") == {"2026-08-31"} and names(new, "request_months") == {"2026-08"}
    assert len(after) == len(before)
    same(done, all_of(opened(folder), store=False))


def test_days_that_are_gone_are_forgotten(folder: Path) -> None:
    all_of(opened(folder))
    put(folder / "exports" / "requests_b.csv", calls("2026-08-30", team="search"))
    done = all_of(opened(folder))
    files = kept(folder)
    assert names(files, "request_days") == {"2026-08-30", "2026-08-31"}
    assert names(files, "request_months") == names(files, "histogram_months") == {"2026-08"}
    assert done["request_months"]["calls"].to_list() == [2, 1]


@pytest.mark.parametrize("damage", [b"", b"PAR1", None])
def test_a_broken_file_is_worked_out_again(folder: Path, damage: bytes | None) -> None:
    first = all_of(opened(folder))
    for name in kept(folder):
        path = folder / "lake" / measuring.FOLDER / name
        path.write_bytes(path.read_bytes()[:-20] if damage is None else damage)
    same(all_of(opened(folder)), first)
    same(all_of(opened(folder)), first)


def test_a_file_of_another_form_is_worked_out_again(folder: Path) -> None:
    first = all_of(opened(folder))
    for name in kept(folder):
        pl.DataFrame({"day": [date(2026, 9, 1)]}).write_parquet(folder / "lake" / measuring.FOLDER / name)
    same(all_of(opened(folder)), first)


def test_where_nothing_can_be_written_everything_is_worked_out(folder: Path) -> None:
    lab = opened(folder)
    put(folder / "lake" / measuring.FOLDER, "a file, not a folder")
    same(all_of(lab), all_of(lab, store=False))
    assert (folder / "lake" / measuring.FOLDER).is_file()


def test_nothing_is_kept_without_store(folder: Path) -> None:
    all_of(opened(folder), store=False)
    assert kept(folder) == {}


def test_a_lab_as_of_a_date_is_rolled_up_as_it_was(tmp_path: Path) -> None:
    exports = {
        "log/delivered=2026-09-02/requests.csv": calls("2026-09-01"),
        "gpu/delivered=2026-09-02/gpu.csv": samples("2026-09-01"),
    }
    folder = write_lab(tmp_path / "lab", exports, TOML)
    first = all_of(opened(folder))
    put(
        folder / "exports" / "log" / "delivered=2026-09-05" / "requests.csv",
        calls("2026-09-01", team="search"),
    )
    put(folder / "exports" / "gpu" / "delivered=2026-09-05" / "gpu.csv", samples("2026-09-03"))
    now = all_of(opened(folder))
    assert now["request_days"].height == 2 and now["gpu_days"].height == 2
    before = kept(folder)
    same(all_of(opened(folder, "2026-09-03")), first)
    assert kept(folder) == before
    same(all_of(opened(folder, "2026-09-05")), now)


def test_what_a_plan_leaves_out_is_not_rolled_up(folder: Path) -> None:
    assert measuring.request_days(opened(folder)).collect()["calls"].sum() == 3
    plan = '[[coverage]]\nname = "a is authoritative"\ntable = "inference_requests"\n'
    plan += 'authoritative = "requests_a*"\noverlap = "requests_b*"\n'
    (folder / "finops.toml").write_text(TOML + plan)
    done = all_of(opened(folder))
    assert done["request_days"]["calls"].sum() == 2
    assert done["request_months"]["calls"].sum() == 2
    assert done["histogram_months"]["calls"].sum() == 2


def test_what_a_crash_left_is_removed_and_what_another_run_writes_is_not(folder: Path) -> None:
    all_of(opened(folder))
    home = folder / "lake" / measuring.FOLDER / "gpu_days"
    gone = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    dead = put(home / f".2026-08-31-0.parquet.{gone.stdout.decode().strip()}", b"half")
    alive = put(home / ".2026-08-31-0.parquet.1", b"half")
    measuring.gpu_days(opened(folder))
    assert alive.exists() and not dead.exists()


def test_a_lab_without_telemetry_has_empty_roll_ups(tmp_path: Path) -> None:
    lab = opened(write_lab(tmp_path / "lab", {}, TOML))
    found = all_of(lab)
    schemas = (REQUEST_DAYS, REQUEST_MONTHS, HISTOGRAMS, GPU_DAYS)
    for frame, schema in zip(found.values(), schemas, strict=True):
        assert frame.is_empty() and frame.schema == pl.Schema(schema)
    assert kept(lab.folder) == {}
