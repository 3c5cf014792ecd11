"""The monthly review: totals to the last decimal, same bytes, offline, readable."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import nbformat
import pytest
from browser import open_page
from helpers import PLAIN_TOML, binder_focus, focus_row, write_lab

import finops_lab as fl
from finops_lab.errors import CurrencyError, InputError, NoDataError, RunError
from finops_lab.lab import packaged
from finops_lab.reporting.run import ReportFiles, run_review

SAMPLES = packaged("samples")
SECTIONS = [
    "allocation",
    "causes",
    "data_quality",
    "doctor",
    "forecast",
    "headline",
    "kpis",
    "owners",
    "provenance",
    "receipt",
    "reconciliation",
    "tradeoffs",
]
KINDS = ("html", "ipynb", "json")


def bill(month: str = "2026-10", **overrides: str) -> list[dict[str, str | None]]:
    """Return a bill of three charges."""
    return [focus_row(month=month, SkuId=str(n), **overrides) for n in range(3)]


def copy_samples(target: Path) -> Path:
    shutil.copytree(SAMPLES, target, ignore=shutil.ignore_patterns("lake", "quarantine"))
    return target


@pytest.fixture(scope="session")
def sample_review(sample_copy: Path, tmp_path_factory: pytest.TempPathFactory) -> ReportFiles:
    """Review 2026-10 of a copy of the sample lab: shared, since it is the slow part."""
    lab = fl.open_lab(sample_copy, progress=False)
    return run_review(lab, "2026-10", tmp_path_factory.mktemp("first") / "reports")


def test_the_sample_review_has_every_section_and_the_true_total(sample_review: ReportFiles) -> None:
    found = json.loads(sample_review.json.read_text())
    assert sorted(found) == SECTIONS
    truth = json.loads((SAMPLES / "truth.json").read_text())
    expected = truth["totals_by_charge_month"]["2026-10"]["EffectiveCost"]
    assert Decimal(found["headline"]["spend"]) == Decimal(expected)
    assert all(Decimal(row["residual"]) == 0 for row in found["receipt"]["all_months"])
    assert "missing" not in found["forecast"]
    assert "missing" not in found["tradeoffs"]


def test_two_runs_give_the_same_bytes_also_elsewhere(sample_review: ReportFiles, tmp_path: Path) -> None:
    lab = fl.open_lab(copy_samples(tmp_path / "another place" / "lab"), progress=False)
    again = run_review(lab, "2026-10", tmp_path / "out")
    for kind in KINDS:
        assert getattr(again, kind).read_bytes() == getattr(sample_review, kind).read_bytes(), kind


def test_no_path_or_clock_in_the_report(sample_review: ReportFiles, sample_copy: Path) -> None:
    for kind in ("ipynb", "json"):
        text = getattr(sample_review, kind).read_text()
        assert str(sample_review.json.parents[2]) not in text
        assert str(sample_copy) not in text
        assert "start_time" not in text


def test_the_page_is_offline_accessible_and_drawn(sample_review: ReportFiles) -> None:
    with open_page(sample_review.html) as visit:
        visit.page.wait_for_selector("figure svg", timeout=20_000)
        marks = ", ".join(f"svg .mark-{kind}" for kind in ("rect", "line", "symbol", "rule"))
        drawn = f"[...document.querySelectorAll('figure')].every(f => f.querySelector('{marks}'))"
        visit.page.wait_for_function(drawn, timeout=20_000)
        figures = visit.page.locator("figure").count()
        titles = visit.page.locator("h2").all_inner_texts()
        assert figures >= 5
        assert len(titles) == 12
        assert visit.page.locator("h1").count() == 1
        assert visit.page.title().startswith("Monthly review October 2026")
        for figure in visit.page.locator("figure [aria-label], figure[aria-label]").all()[:figures]:
            assert len(figure.get_attribute("aria-label")) > 20
        assert visit.texts_over_texts() == []
        assert visit.violations() == []
        assert visit.outside == []
        assert visit.errors == []


def test_real_focus_sample(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "billing" / "focus_sample" / "focus_1_0_sample_1000.csv"
    lab = tmp_path / "lab"
    (lab / "exports").mkdir(parents=True)
    shutil.copyfile(source, lab / "exports" / "anything.txt.csv")
    (lab / "finops.toml").write_text(
        '[lab]\nname = "Real FOCUS 1.0 sample"\n[[dimensions.team]]\nname = "org"\ntag = "org"\n'
    )
    done = run_review(fl.open_lab(lab, progress=False), "2024-09", tmp_path / "out", metric="BilledCost")
    with source.open(newline="") as stream:
        total = sum((Decimal(row["BilledCost"]) for row in csv.DictReader(stream)), Decimal(0))
    assert total == Decimal("20.52022672899")
    assert Decimal(done.results["headline"]["spend"]) == total
    (receipt,) = done.results["receipt"]["all_months"]
    assert (Decimal(receipt["amount_in"]), Decimal(receipt["residual"]), receipt["rows_in"]) == (
        total,
        0,
        1000,
    )
    assert done.results["forecast"]["missing"] == "history"
    assert done.results["tradeoffs"]["missing"] == ["inference_requests", "accuracy_samples"]
    # A rerun over an existing report writes it again, unchanged.
    before = done.html.read_bytes()
    opened = fl.open_lab(lab, progress=False)
    assert run_review(opened, "2024-09", tmp_path / "out", metric="BilledCost").html.read_bytes() == before


def test_real_daily_bill_of_mybinder(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "telemetry" / "binder_billing" / "gcp_daily_cost.csv"
    lab = write_lab(tmp_path / "lab", {"bill.csv": binder_focus(source)})
    done = run_review(fl.open_lab(lab, progress=False), "2019-09", tmp_path / "out")
    with source.open(newline="") as stream:
        rows = [r for r in csv.DictReader(stream) if r["dimension"] == "project"]
    month = sum((Decimal(r["cost_usd"]) for r in rows if r["date"].startswith("2019-09")), Decimal(0))
    assert Decimal(done.results["headline"]["spend"]) == month
    (receipt,) = done.results["receipt"]["all_months"]
    assert Decimal(receipt["amount_in"]) == sum((Decimal(r["cost_usd"]) for r in rows), Decimal(0))
    assert Decimal(receipt["residual"]) == 0
    assert len([m for m in done.results["forecast"]["months"] if m["unique_id"] == "total"]) == 6


def test_a_team_that_ended_is_not_forecast_from_where_it_stopped(tmp_path: Path) -> None:
    months = [f"2025-{m:02d}" for m in range(1, 13)]
    toml = PLAIN_TOML + '[[dimensions.team]]\nname = "account"\ncolumn = "SubAccountId"\n'
    rows = [focus_row(month=m, SubAccountId="total", EffectiveCost="100") for m in months]
    rows += [focus_row(month=m, SubAccountId="ended", EffectiveCost="900") for m in months[:4]]
    review = fl.review(write_lab(tmp_path / "lab", {"a.csv": rows}, toml).as_posix(), "2025-12")
    values = review.forecast().values
    ahead = [m for m in values["teams"] if m["unique_id"] == "ended"]
    assert [m["ds"].isoformat()[:7] for m in ahead] == [f"2026-{m:02d}" for m in range(1, 7)]
    assert all(abs(m["yhat"]) < 90 for m in ahead)
    assert {m["unique_id"] for m in values["teams"]} == {"ended", "total"}
    assert [m["unique_id"] for m in values["months"]] == ["total"] * 6


def test_parameters_are_refused_before_anything_runs(tmp_path: Path) -> None:
    lab = fl.open_lab(write_lab(tmp_path / "lab", {"bill.csv": bill()}), progress=False)
    with pytest.raises(InputError, match="month must be written like 2026-10, not 202610"):
        fl.review(lab, 202610)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="metric must be one of EffectiveCost, BilledCost"):
        fl.review(lab, "2026-10", "Cost")
    with pytest.raises(NoDataError, match=r"no charges for 2020-01.*it has charges from"):
        fl.review(lab, "2020-01")


def test_two_currencies_need_rates(tmp_path: Path) -> None:
    rows = {"usd.csv": bill(month="2026-10"), "eur.csv": bill(month="2026-10", BillingCurrency="EUR")}
    folder = write_lab(tmp_path / "lab", rows)
    with pytest.raises(CurrencyError, match="EUR, USD cannot be added"):
        fl.review(folder.as_posix(), "2026-10")
    rate = '\n[[rates]]\nmonth = "2026-10"\nfrom = "EUR"\nto = "USD"\nrate = "1.25"\n'
    with (folder / "finops.toml").open("a") as stream:
        stream.write(rate)
    costs = fl.open_lab(folder, progress=False).costs().collect()
    euro, dollar = (costs.filter(BillingCurrency=c)["EffectiveCost"].sum() for c in ("EUR", "USD"))
    assert euro == dollar == 3
    spend = fl.review(folder.as_posix(), "2026-10").headline().values["spend"]
    assert spend == dollar + euro * Decimal("1.25")


def test_a_failing_cell_keeps_the_notebook_and_says_where(tmp_path: Path) -> None:
    toml = PLAIN_TOML + '[[budgets]]\nfrom = "2026-10"\nto = "2026-10"\namount = "5"\ncurrency = "EUR"\n'
    lab = fl.open_lab(write_lab(tmp_path / "lab", {"bill.csv": bill(month="2026-10")}, toml), progress=False)
    with pytest.raises(
        RunError, match=r"the budget of [a-z ]+ is in EUR, the lab in USD, and there is no rate for 2026-10"
    ) as failed:
        run_review(lab, "2026-10", tmp_path / "out")
    kept = tmp_path / "out" / "2026-10" / "monthly-review.failed.ipynb"
    assert str(kept) in str(failed.value)
    assert "CurrencyError" in kept.read_text()
    assert sorted(p.name for p in (tmp_path / "out").rglob("*") if p.is_file()) == [kept.name]


def papermill(out: Path, *parameters: str) -> subprocess.CompletedProcess[str]:
    notebook = packaged("notebooks") / "monthly_review.ipynb"
    command = [sys.executable, "-m", "papermill", str(notebook), str(out), *parameters]
    return subprocess.run(command, capture_output=True, text=True, cwd=out.parent)


def test_bare_papermill_runs_and_checks_its_parameters(tmp_path: Path) -> None:
    lab = write_lab(tmp_path / "lab", {"bill.csv": bill(month="2026-10")})
    done = papermill(tmp_path / "out.ipynb", "-p", "lab", str(lab), "-p", "month", "2026-10")
    assert done.returncode == 0, done.stderr
    cells = nbformat.read(tmp_path / "out.ipynb", as_version=4).cells
    assert all(c.metadata["papermill"]["status"] == "completed" for c in cells if c.cell_type == "code")


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        (["-p", "montth", "2026-09"], "unknown parameter 'montth'"),
        (["-p", "month", "202610"], "month must be written like 2026-10, not 202610"),
    ],
)
def test_bare_papermill_refuses_mistakes(tmp_path: Path, parameters: list[str], said: str) -> None:
    lab = write_lab(tmp_path / "lab", {"bill.csv": bill(month="2026-10")})
    done = papermill(tmp_path / "out.ipynb", "-p", "lab", str(lab), *parameters)
    assert done.returncode == 1
    assert said in done.stderr


def test_planted_truths_are_found_and_shown(sample_review: ReportFiles) -> None:
    found = json.loads(sample_review.json.read_text())
    truth = json.loads((SAMPLES / "truth.json").read_text())
    (late,) = found["reconciliation"]["restatements"]
    restated = truth["restated_month"]
    assert (late["x_BillingMonth"], late["ProviderName"]) == (restated["month"], restated["provider"])
    assert (late["change"], late["rows"], late["then"]) == (
        "added",
        restated["late_rows"],
        restated["first_delivery"],
    )
    assert Decimal(late["EffectiveCost_change"]) == Decimal(restated["late_effective_cost"])
    waiting = [row for row in found["allocation"]["backlog"] if row["action"] == "tag"]
    assert waiting[0]["SubAccountName"] == truth["gateway_without_team"]["sub_account"]
    moved = [row for row in found["doctor"]["findings"] if row["check"] == "owner of a resource changed"]
    assert any(truth["mis_tagged_team"]["resource_name"] in json.dumps(row) for row in moved)
    assert "gateway cost beside a bill" in {row["check"] for row in found["doctor"]["findings"]}


def test_figures_of_one_name_agree_and_nothing_is_not_zero(sample_review: ReportFiles) -> None:
    found = json.loads(sample_review.json.read_text())
    (said,) = (
        row
        for row in found["forecast"]["accuracy"]
        if (row["level"], row["lead"], row["ds"]) == ("total", 1, "2026-10-01")
    )
    headline = found["headline"]["forecast_made_a_month_ago"]
    assert (headline["yhat"], headline["lo_80"]) == (said["yhat"], said["lo_80"])
    # Training of a model has no calls that its change could come of.
    page = sample_review.html.read_text()
    row = re.search(
        r"<tr[^>]*>(?:(?!</tr>).)*?>larch-70b<.*?</tr>", page[page.index('id="bridge-cells"') :], re.S
    )
    assert row is not None and row[0].count("—") == 6 and "$0<" not in row[0]
    # What the terms of a variant leave stands beside them: a line adds up to its change, but for rounding.
    cells = page[page.index('id="bridge-cells"') :].partition("</table>")[0]
    lines = [
        [Decimal(re.sub(r"[$,]", "", cell)) for cell in re.findall(r">(-?\$[\d,]+)</td>", line)]
        for line in cells.split("</tr>")
    ]
    whole = [line for line in lines if len(line) == 9]
    assert len(whole) > 5 and all(abs(sum(line[3:]) - line[2]) <= 3 for line in whole)
