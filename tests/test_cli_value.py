"""`finops-lab kpis` and `dashboard`: what they print and write, and one clear line for every mistake."""

from __future__ import annotations

import csv
import json
from datetime import date
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from helpers import PLAIN_TOML, focus_row, write_lab
from test_cli import refused, run, run_program

import finops_lab as fl
from finops_lab.config._kpi_measures import MEASURES
from finops_lab.errors import InputError

TOML = PLAIN_TOML + '[[dimensions.feature]]\nname = "f"\ntag = ["feature"]\n'
# Ten calls in a hundred fail, and 90 answers cost $9.00.
CALLS = "ts_start,model,operation,status,feature,latency_ms,output_tokens\n" + "".join(
    f"2026-10-{day:02d}T10:{minute:02d}:00Z,m,chat,{'ok' if minute else 'error'},chat,{100 + minute},5\n"
    for day in range(1, 11)
    for minute in range(10)
)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    row = focus_row(month="2026-10", Tags='{"feature": "chat"}', EffectiveCost="9")
    folder = tmp_path_factory.mktemp("value") / "lab"
    return write_lab(folder, {"bill.csv": [row], "inference_requests.csv": CALLS}, TOML)


def test_kpis_prints_the_scorecard_writes_figures_and_fails_only_when_asked(
    lab: Path, tmp_path: Path
) -> None:
    out = tmp_path / "new" / "kpis.csv"
    done = run("kpis", "--lab", lab, "--month", "2026-10", "--out", out, "--fail-on", "missed")
    assert done.returncode == 3, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "KPIs of 2026-10 (known up to 2026-10-10)"
    (first,) = [line for line in lines if "M1 Cost per inference" in line]
    assert "$0.100 per call" in first and "at most $0.10" in first and "met" in first
    assert "M6 has no value: too few days of bills before to judge its days by" in lines
    assert "M10 has no value: finops.toml has no [[slos]]" in lines
    assert any("M10 Error-budget burn" in line and "at most 40.0%" in line for line in lines)
    with out.open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["dimension"] == ""]
    (error,) = [row for row in rows if row["measure"] == "error_rate"]
    assert Decimal(error["value"]) == Decimal("0.1")
    assert Decimal(error["numerator"]) == 10


def test_kpis_by_a_dimension_and_as_parquet(lab: Path, tmp_path: Path) -> None:
    out = tmp_path / "kpis.parquet"
    done = run("kpis", "--lab", lab, "--month", "2026-10", "--by", "feature", "--out", out)
    assert done.returncode == 0, done.stderr
    assert any("chat" in line and "$0.100 per call" in line for line in done.stdout.splitlines())
    written = pl.read_parquet(out)
    assert f"wrote {written.height:,} figures: {out}" in done.stdout
    october = written.filter(pl.col("month") == date(2026, 10, 1), kpi="M1", measure="allocated_per_call")
    assert october.filter(dimension="feature", key="chat")["value"].to_list() == [Decimal("0.1")]
    assert not list(tmp_path.glob(".*"))


def test_kpis_up_to_a_moment(lab: Path) -> None:
    done = run("kpis", "--lab", lab, "--month", "2026-10", "--at", "2026-10-06")
    assert done.stdout.splitlines()[0] == "KPIs of 2026-10 (known up to 2026-10-05)"
    assert "$0.200 per call" in done.stdout  # the month's charge of the 1st, over 45 answers


def test_kpis_explains_where_a_figure_comes_from(lab: Path) -> None:
    done = run_program("kpis", "--lab", lab, "--month", "2026-10", "--explain", "M5")
    assert done.returncode == 0, done.stderr
    for said in ("numerator: 10 calls", "denominator: 100 calls", "tables: inference_requests", "rows: 100"):
        assert said in done.stdout


def test_mistakes_are_one_line(lab: Path, tmp_path: Path) -> None:
    asked = ("kpis", "--lab", lab, "--month")
    refused(run(*asked, "2025-01"), "no charges for 2025-01", "from 2026-10 to 2026-10")
    refused(run(*asked, "10/2026"), "month must be written like 2026-10, not '10/2026'")
    refused(run(*asked, "2026-10", "--out", tmp_path / "kpis.xlsx"), "must end in .csv or .parquet")
    assert run(*asked, "2026-10", "--fail-on", "met").returncode == 2
    refused(run(*asked, "2026-10", "--at", "noon"), "at must be written like 2026-10-17")
    refused(run(*asked, "2026-10", "--at", "2026-09-30"), "2026-10 has not begun at 2026-09-30")


def test_unknown_kpis_measures_and_dimensions_are_refused_with_those_there_are(lab: Path) -> None:
    found = fl.kpis(fl.open_lab(lab, progress=False), "2026-10")
    told = found.figures.select("kpi", "measure", "dimension").drop_nulls().unique()
    assert all(by in MEASURES[kpi][measure] for kpi, measure, by in told.iter_rows())
    with pytest.raises(InputError, match=r"no KPI 'M13'\. Hint: KPIs: M1, M2, .* M12$"):
        found.explain("M13")
    with pytest.raises(InputError, match=r"no measure M5 rate\. Hint: measures: error_rate, "):
        found.explain("M5", "rate")
    with pytest.raises(InputError, match=r"'teem'\. Hint: dimensions: .*team"):
        found.by("teem")


def test_dashboard_refuses_before_anything_runs(lab: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    refused(
        run("dashboard", "oncall", "--lab", lab, "--month", "2025-01", "--out", out), "no charges for 2025-01"
    )
    assert not out.exists()
    done = run("dashboard", "ops", "--lab", lab, "--month", "2026-10")
    assert done.returncode == 2
    assert "executive" in done.stderr and "optimization" in done.stderr


def test_dashboard_writes_page_notebook_and_figures(lab: Path, tmp_path: Path) -> None:
    arguments = ("--month", "2026-10", "--at", "2026-10-06", "--out", tmp_path)
    done = run_program("dashboard", "debug", "--lab", lab, *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    made = tmp_path / "2026-10"
    assert sorted(path.name for path in made.iterdir()) == [
        "dashboard-debug.html",
        "dashboard-debug.ipynb",
        "dashboard-debug.json",
    ]
    assert f"debug dashboard of 2026-10: {made / 'dashboard-debug.html'}" in done.stdout
    assert json.loads((made / "dashboard-debug.json").read_text())["latency"]["models"][0]["key"] == "m"
    assert "days 1 to 5 of 31" in (made / "dashboard-debug.html").read_text()


def test_help_teaches() -> None:
    shown = [run(command, "--help") for command in ("kpis", "dashboard")]
    assert [done.returncode for done in shown] == [0, 0]
    kpis, dashboard = (" ".join(done.stdout.split()) for done in shown)
    assert "finops-lab kpis --month 2026-10 --by team" in kpis
    assert "--fail-on" in kpis and "Exit with 3" in kpis
    assert "finops-lab dashboard executive" in dashboard
    for name in ("executive", "oncall", "debug", "optimization"):
        assert name in dashboard
