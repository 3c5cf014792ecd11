"""Labs that an adversary would open: what is missing, foreign or huge breaks no figure and falsifies none."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from helpers import cost_row, put, write_lab

import finops_lab as fl
from finops_lab.errors import NoDataError
from finops_lab.reporting.dashboards import DASHBOARDS, dashboard

DIMENSIONS = "".join(
    f'[[dimensions.{name}]]\nname = "{name}"\ntag = ["{name}"]\n' for name in ("team", "model", "feature")
)
CALLS = (
    "ts_start,model,operation,status,team,feature,pool_id,input_uncached_tokens,output_tokens,latency_ms,"
    "sample_weight\n"
)
OCTOBER = date(2026, 10, 1)
TAGS = '{"team": "ads", "model": "m", "feature": "chat"}'


def toml(*more: str, currency: str = "USD") -> str:
    return "\n".join([f'[lab]\nname = "Odd (synthetic)"\ncurrency = "{currency}"', DIMENSIONS, *more])


def call(
    day: str, model: str = "m", team: str = "ads", pool: str = "", tokens: int = 100, weight: int = 1
) -> str:
    return f"{day}T10:00:00Z,{model},chat,ok,{team},chat,{pool},{tokens},50,120,{weight}\n"


def bill(month: str, amount: str = "40", **row: str | None) -> dict[str, str | None]:
    return cost_row(amount, **{"month": month, "Tags": TAGS, **row})


def opened(folder: Path, exports: Mapping[str, Any], text: str | None = None, **how: Any) -> fl.Lab:
    return fl.open_lab(write_lab(folder / "lab", exports, text or toml()), progress=False, **how)


def told(found: Any, kpi: str, column: str = "value", measure: str | None = None) -> Any:
    if measure is None:
        return found.table.filter(kpi=kpi)[column].item()
    whole = found.figures.filter(pl.col("dimension").is_null(), kpi=kpi, measure=measure, month=found.month)
    return whole[column].item()


def test_a_lab_with_telemetry_alone_tells_what_telemetry_knows(tmp_path: Path) -> None:
    found = fl.kpis(opened(tmp_path, {"requests.csv": CALLS + call("2026-10-03")}), "2026-10")
    assert told(found, "M5") == 0 and round(told(found, "M4")) == 120
    assert (
        told(found, "M1") is None and told(found, "M1", "reason") == "the ledger has no inference money of it"
    )
    assert told(found, "M7") is None


JOBS = (
    "job_id,kind,state,model,model_version,team,ts_start,ts_end,gpu_count,cost_usd\n"
    "j,train,completed,m,v1,ads,2026-08-03T00:00:00Z,2026-08-04T00:00:00Z,1,100\n"
)
DEPLOYS = (
    "ts,service,pool_id,model,model_version,commit,kind,status\n"
    "2026-08-05T00:00:00Z,api,,m,v1,abc,deploy,succeeded\n"
)


def test_bills_in_euros_beside_training_in_dollars_still_have_kpis(tmp_path: Path) -> None:
    exports = {
        "bill.csv": [bill("2026-10", BillingCurrency="EUR")],
        "requests.csv": CALLS + call("2026-10-03"),
        "training.csv": JOBS,
        "deploys.csv": DEPLOYS,
    }
    found = fl.kpis(opened(tmp_path, exports, toml(currency="EUR")), "2026-10")
    assert (told(found, "M1"), told(found, "M1", "unit")) == (40, "EUR per call")
    # The usual target is in dollars.
    assert (told(found, "M1", "status"), told(found, "M1", "at_most")) == ("no target", None)
    assert told(found, "M1", "status_reason").endswith("[[rates]] has none to EUR for 2026-10")
    assert told(found, "M1", "value", "fully_loaded_per_call") is None
    assert (
        told(found, "M1", "reason", "fully_loaded_per_call")
        == "no training amortized to the month is known in EUR"
    )


COST_SLO = """
[[slos]]
service = "chat"
objective = "cost_per_inference"
target = 0.9
threshold_usd = "1"
"""


def test_an_objective_in_dollars_cannot_be_judged_by_euros_and_breaks_nothing(tmp_path: Path) -> None:
    exports = {
        "bill.csv": [bill("2026-10", BillingCurrency="EUR")],
        "requests.csv": CALLS + call("2026-10-03"),
    }
    lab = opened(tmp_path, exports, toml(COST_SLO, currency="EUR"))
    found = fl.kpis(lab, "2026-10")
    assert told(found, "M1") == 40
    assert told(found, "M10") is None
    assert told(found, "M10", "reason") == "none of the period's events can be judged"
    (budget,) = fl.levels(lab, "2026-10").budgets.to_dicts()
    assert (budget["spent"], budget["unknown"]) == (None, 1)


def test_objectives_of_cost_go_by_the_activities_of_the_lab(tmp_path: Path) -> None:
    exports = {
        "bill.csv": [bill("2026-10"), bill("2026-10", "900", ServiceName="Labelling")],
        "requests.csv": CALLS + call("2026-10-03", weight=50),
    }
    rule = '[[activities]]\nname = "labels"\nactivity = "other"\nwhere = { ServiceName = "Labelling" }\n'
    lab = opened(tmp_path, exports, toml(COST_SLO, rule))
    found = fl.kpis(lab, "2026-10")
    assert told(found, "M1") == Decimal("0.8")  # 40 / 50: what the objective of 1 is kept by
    assert told(found, "M10") == 0


def test_days_to_come_are_not_stale(tmp_path: Path) -> None:
    stale = """
[[slos]]
service = "ledger"
objective = "freshness"
target = 0.5
table = "ledger"
threshold_hours = 48
"""
    exports = {"2026-10-05/bill.csv": [bill("2026-10")]}
    lab = opened(tmp_path, exports, toml(stale))
    over = datetime(2026, 11, 1, tzinfo=UTC)
    whole = fl.levels(lab, "2026-10", at=over).budgets.row(0, named=True)
    assert (whole["bad"], whole["total"]) == (26, 29)  # a row of October 3 is fresh until the 5th
    then = fl.open_lab(lab.folder, progress=False, as_of="2026-10-07")
    known = fl.levels(then, "2026-10").budgets.row(0, named=True)
    assert (known["bad"], known["total"]) == (2, 5)
    assert told(fl.kpis(then, "2026-10"), "M10", "numerator") == 2
    # Without a moment days count up to the latest that any data tells of, whatever the clock says.
    seen = fl.levels(lab, "2026-10").budgets.row(0, named=True)
    assert (seen["bad"], seen["total"]) == (0, 1)
    # Of a month that nothing is known of no day is over, however far away it is.
    for month in ("2026-11", "2027-03", "2028-10"):
        none = fl.levels(lab, month).budgets.row(0, named=True)
        assert (none["total"], none["reason"]) == (0, "no events in the period")
        assert "M10" not in fl.kpis(lab, month).figures.filter(pl.col("month") > OCTOBER)["kpi"]
    calls = "ts_start,model,operation,status,team,input_uncached_tokens,output_tokens\n"
    calls += "2026-10-20T10:00:00Z,m,chat,ok,,,\n"
    put(lab.folder / "exports" / "calls.csv", calls)
    assert told(fl.kpis(fl.open_lab(lab.folder, progress=False), "2026-10"), "M10", "numerator") == 15


def test_a_month_without_evictions_had_none_however_long_ago_the_last_was(tmp_path: Path) -> None:
    evictions = (
        "ts_lost,kind,instance_id,instance_type,gpu_count,price_usd_per_hour,requests_affected\n"
        "2025-01-03T10:00:00Z,interruption,i-1,p5.48xlarge,8,39.331,\n"
    )
    exports = {
        "bill.csv": [bill("2026-10")],
        "spot.csv": evictions,
        "training.csv": JOBS.replace("2026-08", "2026-10"),
    }
    found = fl.kpis(opened(tmp_path, exports), "2026-10")
    assert told(found, "M9", "value", "evictions") == 0
    assert told(found, "M9") == 0


POOL = """
[[splits]]
name = "GPU machines"
where = { ServiceName = "Machines" }
by = "requests"
idle_pool = "h100"
[[slos]]
service = "h100"
dimension = "pool"
objective = "cost_per_inference"
target = 0.9
threshold_usd = "20"
"""


def test_a_split_and_the_pool_whose_machines_it_pays_for_are_one(tmp_path: Path) -> None:
    machines = {
        "ServiceName": "Machines",
        "ServiceCategory": "Compute",
        "Tags": "{}",
        "BillingCurrency": "EUR",
    }
    gpus = "".join(
        f"2026-10-03T{hour:02d}:00:00Z,3600,g0,gpu_util,{0.75 if hour < 12 else 0},h100\n"
        for hour in range(24)
    )
    exports = {
        "bill.csv": [bill("2026-10", "48", **machines)],
        "requests.csv": CALLS + call("2026-10-03", pool="h100"),
        "gpu.csv": "ts,interval_s,gpu_uuid,util_kind,util,pool_id\n" + gpus,
    }
    rate = '[[rates]]\nmonth = "2026-10"\nfrom = "EUR"\nto = "USD"\nrate = "1"\n'
    lab = opened(tmp_path, exports, toml(POOL, rate))
    found = fl.kpis(lab, "2026-10", at=datetime(2026, 11, 1, tzinfo=UTC))
    assert (told(found, "M1"), told(found, "M1", measure="marginal_per_call")) == (48, 18)
    pools = found.figures.filter(month=OCTOBER, dimension="pool_id")
    assert pools["key"].unique().to_list() == ["h100"]
    idle = pools.filter(measure="idle_share_billed").row(0, named=True)
    assert idle["value"] == Decimal("0.625") and idle["numerator"] == 30
    # A call in a day of 86,400 seconds.
    assert round(pools.filter(measure="money_per_qps")["value"].item(), 6) == 48 * 86_400
    assert fl.levels(lab, "2026-10").budgets["bad"].to_list() == [1]
    # Without rates the money is in euros, and says so.
    (lab.folder / "finops.toml").write_text(toml(POOL), encoding="utf-8")
    alone = fl.kpis(fl.open_lab(lab.folder, progress=False), "2026-10")
    assert told(alone, "M11", "unit", "money_per_qps") == "EUR per QPS"


def test_sampling_errors_are_of_the_calls_that_the_ledger_calls_so(tmp_path: Path) -> None:
    folded = toml().replace('tag = ["team"]', 'tag = ["team"]\nfold = true\nmap = { "adverts" = "ads" }')
    calls = "".join(
        call(f"2026-{month}-03", team=team, weight=10)
        for month in ("09", "10")
        for team in ("Ads", "Adverts")
    )
    exports = {"bill.csv": [bill("2026-09"), bill("2026-10")], "requests.csv": CALLS + calls}
    lab = opened(tmp_path, exports, folded)

    def error(**where: str) -> float | None:
        found: float | None = (
            fl.bridge(lab, "2026-09", "2026-10", where=where)
            .terms.filter(term="price")["standard_error"]
            .item()
        )
        return found

    assert error() is not None
    assert error(team="ads") == error()


def test_a_moment_names_the_month_it_is_in(tmp_path: Path) -> None:
    lab = opened(tmp_path, {"bill.csv": [bill("2026-09"), bill("2026-10")]})
    moment = datetime(2026, 10, 17, 4, tzinfo=UTC)
    assert fl.bridge(lab, "2026-09", moment).last == fl.kpis(lab, moment).month == OCTOBER
    assert repr(fl.levels(lab, moment).month) == repr(OCTOBER)


def test_a_month_without_bills_is_no_month_of_nothing(tmp_path: Path) -> None:
    """August and October are billed: nobody knows whether September was free."""
    lab = opened(tmp_path, {"bill.csv": [bill("2026-08"), bill("2026-10")]})
    for months in (("2026-09", "2026-10"), ("2026-08", "2026-09"), ("2026-09", "2026-08")):
        with pytest.raises(NoDataError, match="no entries of 2026-09"):
            fl.bridge(lab, *months)
    with pytest.raises(NoDataError, match="no entries of 2026-07"):
        fl.bridge(lab, "2026-07", "2026-08")
    assert fl.bridge(lab, "2026-08", "2026-10").change == 0
    assert "no charges of September 2026" in fl.review(lab, "2026-10").causes().finding


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> fl.Lab:
    """Return a lab with more teams, models and features than a table has rows."""
    tags = [f'{{"team": "t{n}", "model": "m{n}", "feature": "f{n}"}}' for n in range(1, 521)]
    exports = {
        "bill.csv": [
            bill(month, str(n), Tags=text)
            for month in (f"2026-{number:02d}" for number in range(1, 11))
            for n, text in enumerate(tags, 1)
        ],
        "requests.csv": CALLS
        + "".join(
            call(f"2026-10-{day:02d}", model=f"m{n}", team=f"t{n}").replace(",chat,,", f",f{n},,")
            for n in range(1, 521)
            for day in range(1, 11)
        ),
    }
    return opened(tmp_path_factory.mktemp("crowded"), exports)


def test_the_review_takes_more_models_than_a_table_has_rows(crowded: fl.Lab) -> None:
    review = fl.review(crowded, "2026-10")
    section = review.scorecard()
    (models,) = [part.html for part in section.parts if part.title.startswith("By model")]
    assert all(f">m{n}<" in models for n in (421, 520)) and ">m420<" not in models
    assert "The 100 of 520 whose calls cost most" in models
    (teams,) = [part.html for part in review.allocation().parts if "by team" in part.title]
    assert ">t421<" in teams and ">t420<" not in teams
    assert "135,460" in teams  # the total is of all teams


@pytest.mark.parametrize("name", DASHBOARDS)
def test_dashboards_take_more_models_than_a_table_has_rows(crowded: fl.Lab, name: str) -> None:
    board = dashboard(name, crowded, "2026-10")
    # Forecasts of hundreds of teams take a minute, and are no table of theirs.
    for method in [n for n in vars(type(board)) if not n.startswith("_") and n != "forecast"]:
        section = getattr(board, method)()
        assert all(p.to_dict() if hasattr(p, "to_dict") else p.html for p in section.parts), method


def test_absurd_calls_go_to_quarantine_and_the_largest_allowed_break_no_figure(tmp_path: Path) -> None:
    absurd = [
        call("2026-10-03"),
        call("2026-10-03", weight=10**12, tokens=10**9),
        call("2026-10-03", tokens=10**18),
        call("2026-10-03", weight=10**6, tokens=10**10),
        call("2026-10-03", weight=10**6, tokens=10**9),
    ]
    september = [call("2026-09-03", weight=10**6, tokens=10**9)] * 3
    exports = {
        "bill.csv": [bill("2026-09"), bill("2026-10")],
        "requests.csv": CALLS + "".join([*absurd, *september]),
    }
    lab = opened(tmp_path, exports, toml(COST_SLO))
    assert lab.table("inference_requests").collect().height == 5
    (kept,) = (lab.folder / "quarantine").rglob("*.parquet")
    much = "sample weight times tokens above a quadrillion"
    assert pl.read_parquet(kept).select("source_file", "source_row", "reason").rows() == [
        ("requests.csv", 2, f"{much}; sample_weight: above the allowed maximum"),
        ("requests.csv", 3, much),
        ("requests.csv", 4, much),
    ]
    over = datetime(2026, 11, 1, tzinfo=UTC)
    found = fl.kpis(lab, "2026-10", at=over)
    assert round(40 / told(found, "M1")) == 1_000_001
    assert told(found, "M1", "lower") < told(found, "M1") < told(found, "M1", "upper")
    bridge = fl.bridge(lab, "2026-09", "2026-10", at=over)
    assert bridge.terms.filter(term="price")["standard_error"].item() > 0
    assert fl.levels(lab, "2026-10", at=over).budgets.height == 1
