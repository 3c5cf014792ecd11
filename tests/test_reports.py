"""The weekly review and the post-mortem: planted truths told, offline pages, clear words for bad parameters."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from browser import open_page
from test_cli import refused, run
from test_watching import TRUTH, small_lab

import finops_lab as fl
from finops_lab.errors import InputError, RunError
from finops_lab.lab import packaged
from finops_lab.reporting.executing import ReportFiles, Run, run_notebook
from finops_lab.reporting.incidents import run_postmortem
from finops_lab.reporting.weeks import run_weekly

RETRAIN = TRUTH["runaway_retrain"]
SCOPE = f"team={RETRAIN['team']}"
Ran = Callable[[str], ReportFiles]
every_report = pytest.mark.parametrize("name", ["weekly", "postmortem"])


@pytest.fixture(scope="module")
def ran(sample_copy: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """Run a report on the copy of the sample lab: each once, since they are slow."""
    out, done = tmp_path_factory.mktemp("reports"), dict[str, ReportFiles]()

    def run(name: str) -> ReportFiles:
        if name not in done:
            lab = fl.open_lab(sample_copy, progress=False)
            first, last = RETRAIN["first_day"], RETRAIN["last_day"]
            done[name] = (
                run_weekly(lab, "2026-10-18", out)
                if name == "weekly"
                else run_postmortem(lab, first, last, out, scope=SCOPE, currency="USD")
            )
        return done[name]

    return run


def figures(files: ReportFiles) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(files.json.read_text())
    return found


@every_report
def test_the_page_is_offline_and_accessible_and_tells_no_path(ran: Ran, sample_copy: Path, name: str) -> None:
    with open_page(ran(name).html) as visit:
        if name == "postmortem":
            visit.page.wait_for_function("document.documentElement.dataset.charts === 'live'", timeout=30_000)
        assert visit.page.locator("h1").count() == 1
        assert visit.page.locator("table").count() >= 4
        assert visit.violations() == []
        visit.page.set_viewport_size({"width": 390, "height": 844})
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= 390
        assert visit.outside == []
        assert visit.errors == []
    for kind in ("ipynb", "json"):
        assert str(sample_copy) not in getattr(ran(name), kind).read_text()


def test_the_week_of_the_runaway_retrain_names_it_and_pages(ran: Ran) -> None:
    found = figures(ran("weekly"))
    top = found["anomalies"]["events"][0]
    assert abs(float(top["excess_amount"]) / float(RETRAIN["excess_effective_cost"]) - 1) < 0.1
    assert RETRAIN["job_id"] in top["sentence"]
    page = found["alerts"]["alerts"][0]
    assert (page["severity"], page["rule"]) == ("page", "runaway against the budget")
    spent = [row for row in found["spenders"]["spenders"] if row["dimension"] == "team"]
    amounts = [Decimal(row["amount"]) for row in spent]
    assert spent[0]["value"] == RETRAIN["team"] and amounts == sorted(amounts, reverse=True)
    assert all(Decimal(r["amount"]) - Decimal(r["before"]) == Decimal(r["change"]) for r in spent)
    (total,) = (Decimal(r["amount"]) for r in found["spenders"]["spenders"] if r["dimension"] == "total")
    assert sum(amounts) == total, "all teams are shown, so they are the whole"


def test_the_post_mortem_tells_cost_owner_and_cause(ran: Ran) -> None:
    found, page = figures(ran("postmortem")), ran("postmortem").html.read_text()
    assert ran("postmortem").html.stem.endswith("-team-research-usd"), "of each currency a page of its own"
    row = found["cost"]["impact"]
    planted = float(RETRAIN["excess_effective_cost"])
    assert row["excess_low"] < planted < row["excess_high"]
    assert RETRAIN["job_id"] in found["cost"]["sentence"] and RETRAIN["job_id"] in page
    sums = dict[str, Decimal]()
    for part in found["damage"]["damage"]:
        sums[part["dimension"]] = sums.get(part["dimension"], Decimal(0)) + Decimal(part["excess"])
    # The cost is told in millionths of a forecast, the parts of bill rows.
    assert len(set(sums.values())) == 1 and abs(sums["team"] - Decimal(row["excess"])) < Decimal("0.01")
    assert any(cause["kind"] == "job" for cause in found["causes"]["causes"])
    assert "<strong>2 anomalies, 3 configuration changes, 6 deploys, 15 jobs</strong>" in page
    assert f"GPU-hours of job {RETRAIN['job_id']} up" in page
    assert found["checklist"]["checklist"][0]["question"] == "Training or inference?"
    assert "Root cause" in page, "the lessons are there to be filled in"
    assert found["provenance"]["lab"] in page


def test_a_quiet_week_says_so_and_bad_parameters_are_refused(tmp_path: Path) -> None:
    lab = small_lab(tmp_path / "lab", spike=999)
    week = fl.weekly(lab)
    assert (week.first, week.last) == (date(2026, 8, 23), date(2026, 8, 29))
    assert week.anomalies().finding == "**No anomaly in this week.**"
    assert "0 pages and 0 tickets" in week.alerts().finding
    assert "**$852.00** in the week, $850.00 in the week before" in week.spenders().finding
    for last, says in (("August", "must be written like"), ("2027-01-01", "no charges in the week up to")):
        with pytest.raises(InputError, match=says):
            fl.weekly(lab, last)
    with pytest.raises(InputError, match="1 at the least"):
        fl.weekly(lab, top=0)
    told = fl.alerts(lab, "2026-08-01")
    assert repr(told) == "Told(0 pages, 0 tickets, 0 held back)"
    assert f"{told.at:%Y-%m-%d %H:%M}" == "2026-08-30 00:00", "after the last day with charges"
    with pytest.raises(InputError, match="since 2026-09-01 lies after 2026-08-30"):
        fl.alerts(lab, "2026-09-01")
    asked = ("--lab", lab.folder, "--out", tmp_path / "reports")
    refused(run("weekly", *asked, "--last", "2020-01-01"), "no charges in the week up to 2020-01-01")
    refused(run("postmortem", *asked, "--start", "2026-08-02", "--end", "2026-08-01"), "lies before start")
    refused(
        run("postmortem", *asked, "--start", "2026-08-01", "--end", "2026-08-02", "--scope", "team"),
        "scope must be written like team=research",
    )
    refused(
        run("postmortem", *asked, "--start", "2026-08-20", "--end", "2026-08-20", "--currency", "EUR"),
        "everything has no charges in EUR. Hint: known are: USD",
    )
    assert not (tmp_path / "reports").exists(), "nothing was run"


def test_spend_of_a_small_lab_is_drawn_whatever_is_known(tmp_path: Path) -> None:
    lab = small_lab(tmp_path / "lab")
    mortem = fl.postmortem(lab, "2026-08-20", "2026-08-20", "service:Compute")
    chart = mortem.cost().parts[0].to_dict()
    assert "Of the incident 1 day: at most $510 on 2026-08-20, with $101 expected." in chart["description"]
    # After the incident the expectation has seen it.
    told = [row["day"] for row in chart["layer"][2]["data"]["values"]]
    assert max(told) == "2026-08-20" and len(chart["layer"][0]["data"]["values"]) > len(told)
    assert mortem.timeline().values["missing"].startswith("**No deploy")
    assert mortem.causes().finding.startswith("**Nothing that is known coincides.**")


def test_a_misspelt_parameter_is_refused_by_the_notebook(sample_copy: Path, tmp_path: Path) -> None:
    lab = fl.open_lab(sample_copy, progress=False)
    wrong = Run("weekly_review.ipynb", "x", "X", "weekly review", {"lst": "2026-10-18"})
    with pytest.raises(RunError, match="unknown parameter 'lst'"):
        run_notebook(lab, wrong, tmp_path)


def test_their_notebooks_have_the_defaults_that_are_run_here() -> None:
    for name, said in (
        ("weekly_review", 'last: str = \\"2026-10-18\\"'),
        ("postmortem", '\\"team:research\\"'),
    ):
        assert said in (packaged("notebooks") / f"{name}.ipynb").read_text(encoding="utf-8")


def test_a_band_needs_the_days_set_apart() -> None:
    from finops_lab.charts.expected import expected_days

    with pytest.raises(InputError, match="no column inside"):
        expected_days(pl.DataFrame({"day": [date(2026, 1, 1)]}), title="Spend")
