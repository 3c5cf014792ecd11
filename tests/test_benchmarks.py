"""Benchmarks run and write their form. Nothing here asserts a time: a tiny bill says nothing about speed."""

from __future__ import annotations

import io
import json
import runpy
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
FORM = {"name", "value", "unit", "target", "better", "holds", "peer"}


def in_a_process(name: str, *options: str) -> str:
    """Run a benchmark as people do: every case of it is a fresh process."""
    command = [sys.executable, str(FOLDER / f"{name}.py"), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def in_this_process(name: str, *options: str) -> str:
    """Run a benchmark with all its cases here: the same checks, without the imports."""
    script, said = str(FOLDER / f"{name}.py"), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said), pytest.raises(SystemExit) as end:
        patch.syspath_prepend(FOLDER)
        patch.setattr(sys, "argv", [script, *options, "--here"])
        runpy.run_path(script, run_name="__main__")
    assert not end.value.code, said.getvalue()
    return said.getvalue()


@pytest.mark.parametrize(
    ("name", "options", "peers"),
    [
        ("ingest", ["--rows", "600"], {"DuckDB", "unzip and write"}),
        ("allocation", ["--rows", "600"], {"DuckDB", "DuckDB, grouped first", "reading"}),
        ("pool_split", ["--rows", "3000"], {"DuckDB", "DuckDB, cents"}),
        ("shared_costs", ["--rows", "600"], {"DuckDB", "DuckDB, grouped first"}),
        ("usage_split", ["--rows", "1350"], {"DuckDB"}),
        ("ledger_reruns", ["--rows", "2400"], {"full run", "6 months", "half the rows"}),
        ("front_door", [], {"import polars"}),
        ("pricing", ["--rows", "3000"], {"DuckDB"}),
        ("request_logs", ["--rows", "600"], {"DuckDB"}),
        ("explore", ["--rows", "3000"], {"DuckDB"}),
        (
            "kpi_rollup",
            ["--rows", "6000", "--days", "3", "--samples", "6000", "--no-table"],
            {"DuckDB", "reading", "without"},
        ),
    ],
)
def test_a_benchmark_checks_its_sums_and_writes_the_form(
    name: str, options: list[str], peers: set[str], tmp_path: Path
) -> None:
    pytest.importorskip("duckdb", reason="DuckDB, the peer, is a development dependency")
    path = tmp_path / "figures.json"
    called = in_a_process if name in ("ingest", "front_door") else in_this_process
    said = called(name, "--rounds", "1", "--json", str(path), *options)
    records: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    assert all(record["name"] in said for record in records)
    assert {record["peer"] for record in records} - {None} == peers
    assert any(record["target"] is not None for record in records)
    for record in records:
        assert set(record) == FORM
        assert record["name"].startswith(f"{name}/") and record["unit"]
        assert record["value"] > 0 and record["better"] in ("lower", "higher")
        if record["target"] is None:
            assert record["holds"] is None
        elif record["better"] == "lower":
            assert record["holds"] == (record["value"] <= record["target"])


def test_the_bill_of_the_benchmarks_is_made_by_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(FOLDER)
    import _bill
    import polars as pl

    first = _bill.write(tmp_path / "a", 1_200, seed=3)
    again = _bill.write(tmp_path / "b", 1_200, seed=3)
    other = _bill.write(tmp_path / "c", 1_200, seed=4)
    assert [f.read_bytes() for f in first.csv] == [f.read_bytes() for f in again.csv]
    assert first.csv[0].read_bytes() != other.csv[0].read_bytes()
    assert first.rows == 1_200 and first.bad >= 12

    # The planted truth, counted by other means: whole numbers of 1e-10 from the text itself.
    text = pl.concat(pl.read_csv(f, infer_schema=False) for f in first.csv)
    assert text.width == 44 and text.height == 1_200
    good = text.filter(
        pl.col("BilledCost").str.contains(r"^-?\d+\.\d{10}$"),
        pl.col("ChargePeriodStart").str.starts_with("20"),
        pl.col("BillingCurrency").is_not_null(),
        pl.col("EffectiveCost").is_not_null(),
    )
    assert good.height == first.rows - first.bad
    assert sum(int(v.replace(".", "")) for v in good["BilledCost"]) == int(first.billed.scaleb(10))

    typed = pl.concat(pl.read_parquet(f) for f in first.parquet)
    needed = [pl.col(name).is_not_null() for name in _bill.REQUIRED]
    assert typed.filter(needed)["BilledCost"].sum() == first.billed
    assert typed.filter(needed).height == good.height
