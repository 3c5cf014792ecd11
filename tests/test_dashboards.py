"""Dashboards: planted truths found and shown, offline pages, honest words where there are no data."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from browser import open_page
from helpers import PLAIN_TOML, cost_row, focus_row, write_lab

import finops_lab as fl
from finops_lab.errors import InputError
from finops_lab.lab import packaged
from finops_lab.reporting.dashboards import DASHBOARDS, Board, run_dashboard
from finops_lab.reporting.dashboards.happened import dear_days, releases
from finops_lab.reporting.executing import KINDS, ReportFiles
from finops_lab.reporting.section import Section
from finops_lab.tables import Table

TRUTH = json.loads((packaged("samples") / "truth.json").read_text())
PHONE = 390
Ran = Callable[[str], ReportFiles]
every_dashboard = pytest.mark.parametrize("name", DASHBOARDS)


@pytest.fixture(scope="session")
def ran(sample_copy: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """Run a dashboard of 2026-10 on the copy of the sample lab: each once, since they are slow."""
    out, done = tmp_path_factory.mktemp("dashboards"), dict[str, ReportFiles]()

    def run(name: str) -> ReportFiles:
        if name not in done:
            done[name] = run_dashboard(name, fl.open_lab(sample_copy, progress=False), "2026-10", out)
        return done[name]

    return run


def figures(files: ReportFiles) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(files.json.read_text())
    return found


@every_dashboard
def test_the_page_is_offline_accessible_and_drawn(ran: Ran, name: str) -> None:
    with open_page(ran(name).html) as visit:
        visit.page.wait_for_function("document.documentElement.dataset.charts === 'live'", timeout=30_000)
        marks = ", ".join(f"svg .mark-{kind}" for kind in ("rect", "line", "symbol", "rule"))
        drawn = f"[...document.querySelectorAll('figure')].every(f => f.querySelector('{marks}'))"
        visit.page.wait_for_function(drawn, timeout=20_000)
        pictures = visit.page.locator("figure .picture").all()
        assert len(pictures) >= 2
        assert [p for p in pictures if len(p.get_attribute("aria-label") or "") <= 20] == []
        assert visit.page.locator("h1").count() == 1
        assert visit.page.title().startswith(f"{DASHBOARDS[name][0]} dashboard 2026-10")
        assert visit.texts_over_texts() == []
        assert visit.violations() == []
        # On a phone tables scroll by themselves; the page does not.
        visit.page.set_viewport_size({"width": PHONE, "height": 844})
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= PHONE
        assert visit.outside == []
        assert visit.errors == []


@every_dashboard
def test_no_path_or_clock_in_the_files(ran: Ran, sample_copy: Path, name: str) -> None:
    for kind in ("ipynb", "json"):
        text = getattr(ran(name), kind).read_text()
        assert str(sample_copy) not in text
        assert "start_time" not in text


def test_another_run_gives_the_same_bytes(ran: Ran, first_debug: Path) -> None:
    # One of the two runs kept roll-ups in the lake, the other one found them there.
    for kind in KINDS:
        (first,) = first_debug.rglob(f"*.{kind}")
        assert first.read_bytes() == getattr(ran("debug"), kind).read_bytes(), kind


def test_on_call_sees_the_incident_its_deploy_and_what_to_do(ran: Ran) -> None:
    files, incident = ran("oncall"), TRUTH["incident"]
    found = figures(files)
    begin, end = incident["deploy"]["ts"], incident["rollback"]["ts"]
    slo = f"{incident['feature']}: availability"
    pages = [
        alert
        for alert in found["alerts"]["alerts"]
        if (alert["slo"], alert["severity"], alert["status"]) == (slo, "page", "proved")
        and begin <= alert["begin"].replace("+00:00", "Z") <= end
    ]
    assert pages
    todo = [a for a in found["alerts"]["actions"] if (a["slo"], a["begin"]) == (slo, pages[0]["begin"])]
    assert any(incident["deploy"]["model_version"] in (a["coincides"] or "") for a in todo)
    assert any("Roll back" in a["action"] for a in todo)
    page = files.html.read_text()
    # What is spent whole and calls for no page has the reason beside it.
    held = [b for b in found["budgets"]["budgets"] if Decimal(b["spent"]) >= 1 and b["severity"] != "page"]
    table = page[page.index('id="error-budget-doubts"') :].partition("</table>")[0]
    assert held and all("within chance" in b["reason"] and b["reason"] in table for b in held)
    assert f"No page for {max(held, key=lambda b: Decimal(b['spent']))['slo']}" in page
    assert f"<strong>Worst: {slo}</strong>" in page
    assert f"Error budget left: {slo}" in page
    deploys = {
        (row["kind"], row["begin"].replace("+00:00", "Z"), row["version"], row["pools"])
        for row in found["deploys"]["deploys"]
        if row["service"] == incident["service"]
    }
    for kind in ("deploy", "rollback"):
        told = incident[kind]
        assert (kind, told["ts"], told["model_version"], len(incident["pools"])) in deploys


def test_on_call_sees_the_days_of_the_runaway_retrain(ran: Ran) -> None:
    retrain = TRUTH["runaway_retrain"]
    days = sorted(figures(ran("oncall"))["money"]["days"], key=lambda day: -Decimal(day["amount"]))
    assert retrain["first_day"] <= days[0]["day"] <= retrain["last_day"]
    assert days[0]["what"] == f"{retrain['team']} · {retrain['service']}"


def test_debug_names_the_runaway_retrain_and_draws_a_trace(ran: Ran) -> None:
    found = figures(ran("debug"))
    retrain = TRUTH["runaway_retrain"]
    attempts = [row for row in found["retrains"]["nothing"] if row["job_id"] == retrain["job_id"]]
    assert len(attempts) == len(retrain["resources"])
    cost = sum(Decimal(row["cost_usd"]) for row in attempts)
    assert abs(cost - Decimal(retrain["excess_effective_cost"])) < 1
    assert f"{retrain['job_id']} alone {len(attempts)} times" in ran("debug").html.read_text()
    spans = found["trace"]["spans"]
    assert len({span["call"] for span in spans}) >= 3
    assert {span["phase"] for span in spans} >= {"queue", "prefill", "decode"}
    slowest = max(found["latency"]["models"], key=lambda row: float(row["p95"]))
    assert slowest["key"] == "larch-70b"


def test_optimization_names_the_pools_that_do_not_follow_their_load(ran: Ran) -> None:
    pools = figures(ran("optimization"))["autoscaling"]["pools"]

    def most(measure: str) -> str:
        told = [row for row in pools if row["measure"] == measure and row["value"] is not None]
        return str(max(told, key=lambda row: Decimal(row["value"]))["key"])

    assert most("over_provisioned_hours") == TRUTH["over_provisioned_pool"]["pool_id"]
    assert most("thrash_share") == most("scale_events_per_day") == TRUTH["thrashing_pool"]["pool_id"]


def test_optimization_advises_no_batch_to_who_waits_for_an_answer(ran: Ran) -> None:
    page = ran("optimization").html.read_text()
    choices = page[page.index('id="choices"') :].partition("</table>")[0]
    assert ">standard<" in choices and ">batch<" not in choices
    assert "Batches answer in hours and are left out" in choices


def test_optimization_says_whose_bytes_left_what_prices_ask_and_what_the_practice_returned(ran: Ran) -> None:
    told = figures(ran("optimization"))
    egress = [row for row in told["traffic"]["egress"] if row["reason"] is None]
    paid = [r for r in told["traffic"]["kinds"] if r["kind"] in ("internet egress", "cross-region")]
    assert len(egress) > 5
    # Split to the last decimal.
    assert sum(Decimal(row["money"]) for row in egress) == sum(Decimal(row["money"]) for row in paid)
    listed = [row for row in told["teams"]["reference"] if row["times_reference"] is not None]
    assert {row["model"] for row in listed} == {
        "quill-large",
        "quill-small",
    }  # no price list names the others
    useful = [r for r in told["idle"]["pools"] if r["measure"] == "money_per_useful_gpu_hour"]
    assert len(useful) > 5 and all(row["value"] is not None for row in useful)
    assert sum(Decimal(row["avoided_spend"]) for row in told["practice"]["work"]) == 18_800


def test_executive_has_the_true_total_and_names_the_largest_change(ran: Ran) -> None:
    found = figures(ran("executive"))
    expected = TRUTH["totals_by_charge_month"]["2026-10"]["EffectiveCost"]
    assert Decimal(found["headline"]["spend"]) == Decimal(expected)
    largest, retrain = found["changes"]["changes"][0], TRUTH["runaway_retrain"]
    assert (largest["x_team"], largest["ServiceName"]) == (retrain["team"], retrain["service"])
    status = {row["kpi"]: row["status"] for row in found["kpis"]["scorecard"]}
    assert status["M8"] == "missed"
    assert "Retrains that came to nothing cost $50,099" in ran("executive").html.read_text()
    (now,) = [row for row in found["value"]["months"] if row["month"] == "2026-10-01"]
    assert 0 < float(now["ratio"]) < 1


def test_executive_shows_ai_spend_beside_the_rest_of_the_same_bill(ran: Ran) -> None:
    found = figures(ran("executive"))["headline"]["ai_spend"]
    totals, parts = TRUTH["totals_by_charge_month"], dict[str, Decimal]()
    for row in found:
        parts[row["month"][:7]] = parts.get(row["month"][:7], Decimal(0)) + Decimal(row["amount"])
    assert len(parts) == 12
    assert parts == {month: Decimal(totals[month]["EffectiveCost"]) for month in parts}
    now = {row["group"]: Decimal(row["amount"]) for row in found if row["month"] == "2026-10-01"}
    assert set(now) == {"billed as AI", "other AI", "possibly AI", "not AI"}
    assert f"AI spend was ${now['billed as AI'] + now['other AI']:,.0f}" in ran("executive").html.read_text()
    hidden = [r for r in figures(ran("optimization"))["hidden"]["lines"] if r["certain"]]
    assert now["other AI"] == sum(Decimal(r["EffectiveCost"]) for r in hidden if not r["in_ai_category"])


def bill(month: str = "2026-10", **overrides: str) -> list[dict[str, str | None]]:
    """Return a bill of three charges."""
    return [focus_row(month=month, SkuId=str(n), **overrides) for n in range(3)]


CALLS = "ts_start,model,operation,status,feature,latency_ms,output_tokens\n" + "".join(
    f"2026-10-{day:02d}T10:{minute:02d}:00Z,m,chat,{'ok' if minute % 9 else 'error'},chat,{100 + minute},5\n"
    for day in range(1, 20)
    for minute in range(30)
)
AT_ONCE = (
    "ts_start,model,operation,status,trace_id,latency_ms,response_bytes\n"
    "2026-10-01T10:00:00Z,m,chat,ok,a,,\n2026-10-01T10:00:01Z,m,chat,ok,b,0,2000000\n"
)
EVICTED = (
    "ts_lost,kind,lost_work_s,restart_s,price_usd_per_hour\n"
    "2026-10-05T10:00:00Z,interruption,3600,1800,10\n2026-10-06T10:00:00Z,interruption,,,\n"
)
VALUE = (
    "period_start,period_end,feature,customer,revenue_usd,units,unit_name\n"
    "2026-10-01T00:00:00Z,2026-11-01T00:00:00Z,chat,,100,10,answers\n"
)
PRACTICE = """
[[practice]]
month = "2026-10"
what = "int8"
realised_savings = "100"
hours = "2"
rate_per_hour = "10"
currency = "EUR"

[[practice]]
month = "2026-10"
what = "idle pools"
realised_savings = "70"
hours = "2"
"""
FEATURE = '[[dimensions.feature]]\nname = "f"\ntag = ["feature"]\n'
SLO = '[[slos]]\nservice = "chat"\nobjective = "availability"\ntarget = 0.99\n'


def shown(folder: Path, exports: Mapping[str, Any], toml: str = PLAIN_TOML) -> dict[str, Section]:
    """Build and draw every section of every dashboard of a small lab, without a notebook."""
    review = fl.review(str(write_lab(folder / "lab", exports, toml)), "2026-10")
    found = {}
    for name in DASHBOARDS:
        kind: type[Board] = import_module(f"finops_lab.reporting.dashboards.{name}").Dashboard
        board = kind(name, name, review)
        for method in [n for n in vars(kind) if not n.startswith("_")]:
            section = getattr(board, method)()
            assert isinstance(section, Section) and section.finding.strip(), method
            for part in section.parts:
                # A chart is checked by altair when it becomes a specification.
                assert part.to_dict() if hasattr(part, "to_dict") else part.html
            found[f"{name} {method}"] = section
    return found


def test_a_bill_alone_says_what_is_missing(tmp_path: Path) -> None:
    found = shown(tmp_path, {"bill.csv": bill()})
    said = {key: section.finding for key, section in found.items() if "missing" in section.values}
    assert said["oncall budgets"] == "**No objectives are set**: write `[[slos]]` into `finops.toml`."
    assert said["oncall deploys"].startswith("**No deployments are known**")
    assert said["oncall gpus"] == "**No GPU samples** in this month."
    assert said["debug trace"].startswith("**No traces are known**")
    assert said["optimization autoscaling"].startswith("**No capacity is known**")
    assert said["executive value"].startswith("**No revenue is known**")
    assert (
        said["executive changes"]
        == "**Nothing to compare with**: the lab has no charges of September 2026, days 1 to 3."
    )
    assert {key.split()[0] for key in said} == set(DASHBOARDS)
    # What the bill does tell is told.
    assert found["oncall money"].finding.startswith("**2026-10-03 was the dearest day**: $3.00 for use")


def test_ai_spend_in_another_currency_is_converted_and_its_share_is_of_charges(tmp_path: Path) -> None:
    euro = {"month": "2026-10", "BillingCurrency": "EUR"}
    rows = [
        cost_row("8", ServiceCategory="AI and Machine Learning", **euro),
        cost_row("4", ChargeDescription="p5.48xlarge hour", ServiceCategory="Compute", **euro),
        cost_row("4", ChargeDescription="g5.4xlarge hour", ServiceCategory="Compute", **euro),
        cost_row("4", ServiceCategory="Networking", ServiceName="Lines", **euro),
        cost_row("-2", ServiceCategory="AI and Machine Learning", ChargeCategory="Credit", **euro),
    ]
    rate = '[[rates]]\nmonth = "2026-10"\nfrom = "EUR"\nto = "USD"\nrate = "1.5"\n'
    found = shown(tmp_path, {"bill.csv": rows}, PLAIN_TOML + rate)
    # 8 - 2 + 4 euros, of 20 charged: 12 for certain and 4 perhaps.
    said = found["executive spend"].finding.partition("**AI spend")[2]
    assert said.startswith(" was $15.00 so far**: 60.0% of the charges above zero; $6.00 more may be AI")
    assert said.endswith("at most 80.0%. Of AI spend $6.00 is billed as something else, such as compute.")
    assert found["optimization hidden"].finding.startswith("**$6.00 of AI spend is not billed as AI**")
    assert "60.0 % of the bill" in found["optimization hidden"].finding


def test_credits_alone_are_no_use(tmp_path: Path) -> None:
    credit = cost_row("-5", month="2026-10", ChargeCategory="Credit")
    found = shown(tmp_path, {"bill.csv": [credit]})
    assert "-$5.00" in found["executive spend"].finding
    assert found["oncall money"].finding == "**Nothing was charged for use** in this month."


def test_revenue_in_another_currency_and_calls_without_deploys(tmp_path: Path) -> None:
    tags = '{"feature": "chat"}'
    euro = [row for month in ("2026-09", "2026-10") for row in bill(month, BillingCurrency="EUR", Tags=tags)]
    exports = {"bill.csv": euro, "feature_value.csv": VALUE, "inference_requests.csv": CALLS}
    found = shown(tmp_path, exports, PLAIN_TOML.replace("USD", "EUR") + FEATURE + SLO)
    assert found["executive value"].finding == (
        "**Cost cannot be held against revenue**: revenue is in USD and costs are in EUR."
    )
    assert "€3.00" in found["oncall money"].finding
    # One month of history makes no forecast, in neither section.
    assert found["executive spend"].values["forecast_made_a_month_ago"] is None
    assert "needs at least 3 earlier months" in found["executive spend"].parts[0].html
    assert found["executive forecast"].finding.startswith("**No forecast**")
    assert found["executive changes"].finding.startswith("**Nothing changed**")
    # One call in nine or ten failed where one in a hundred may: nothing coincides, and there is work to do.
    assert found["oncall budgets"].finding == "**1 error budget spent whole**: chat: availability."
    assert "**Worst: chat: availability**" in found["oncall alerts"].finding
    assert "coincides" not in found["oncall alerts"].finding
    assert found["debug resources"].finding == "**A call of m takes longest**, 115 ms on average."


def test_durations_of_nothing_are_not_drawn(tmp_path: Path) -> None:
    exports = {"bill.csv": bill(), "inference_requests.csv": AT_ONCE, "spot_evictions.csv": EVICTED}
    found = shown(tmp_path, exports, PLAIN_TOML + PRACTICE)
    # Each currency has its own return, and euros are no dollars.
    practice = found["optimization practice"]
    assert practice.finding == (
        "**The practice saved €100.00 for €20.00 of hours and tools**, 5.00 times its cost. "
        "**What the practice returned in USD is not known**: hours have no rate."
    )
    euro, dollar = practice.parts
    assert isinstance(euro, Table) and "€100" in euro.html and "$" not in euro.html
    assert isinstance(dollar, Table) and "$70" in dollar.html
    assert found["debug latency"].finding == "**No latency is known** in this month."
    assert found["debug trace"].finding == "**Trace b** took 0 ms in 1 call."
    # 1.5 hours at $10; what the other eviction cost nobody tells.
    assert found["debug evictions"].finding == "**2 evictions in October 2026**, $15.00 or more extra."
    # Bytes are told of a bill that charges nothing for moving them, small ones too.
    assert found["optimization traffic"].finding == "**Nothing was charged for moving or keeping data.**"
    (table,) = found["optimization traffic"].parts
    assert isinstance(table, Table) and "0.0020" in table.html and "Egress" not in table.html


def test_an_unknown_dashboard_is_refused() -> None:
    with pytest.raises(InputError, match=r"no dashboard 'ops'.*executive, oncall, debug, optimization"):
        fl.dashboard("ops")


def test_a_chosen_trace_that_is_not_there_is_said(sample_copy: Path) -> None:
    found = fl.dashboard("debug", str(sample_copy), "2026-10").trace("nowhere")
    assert found.finding.startswith("**there is no trace 'nowhere'")


def deploy(minute: int, kind: str, version: str | None, pool: str | None, **other: Any) -> dict[str, Any]:
    return {
        "ts": datetime(2026, 10, 21, 9 + minute // 60, minute % 60, tzinfo=UTC), "service": "chat", "kind": kind,
        "model_version": version, "commit": "c1", "status": "succeeded", "pool_id": pool,
    } | other  # fmt: skip


def test_changes_of_pools_that_belong_together_are_one_release() -> None:
    rows = [
        deploy(0, "deploy", "v2", "a"),
        deploy(59, "deploy", "v2", "b"),
        deploy(58, "deploy", "v2", "a", service="search"),
        deploy(119, "deploy", "v2", "c"),  # an hour later: another one
        deploy(120, "rollback", "v1", "a"),
        deploy(121, "deploy", "v2", "a"),  # again, after the rollback
        deploy(122, "deploy", "v2", "b", status="failed"),
        deploy(123, "config", None, None),
    ]
    schema = {"model_version": pl.String, "pool_id": pl.String}
    told = releases(pl.DataFrame(rows, schema_overrides=schema).reverse()).filter(service="chat")
    assert told.select("kind", "version", "status", "pools").rows() == [
        ("deploy", "v2", "succeeded", 2),
        ("deploy", "v2", "succeeded", 1),
        ("rollback", "v1", "succeeded", 1),
        ("deploy", "v2", "succeeded", 1),
        ("deploy", "v2", "failed", 1),
        ("config", "c1", "succeeded", 0),
    ]


def test_the_dearest_day_and_what_rose_most() -> None:
    days = [date(2026, 10, n) for n in (1, 2, 3)]
    rows = [
        *[(day, "ads", "GPU", Decimal(n)) for day, n in zip(days, (10, 10, 30), strict=True)],
        *[(day, "ops", None, Decimal(n)) for day, n in zip(days, (5, 5, 15), strict=True)],
        (days[2], None, "Training", Decimal(12)),
    ]
    names = ["x_ChargeDate", "x_team", "ServiceName", "EffectiveCost"]
    entries = pl.DataFrame(rows, schema=names, orient="row")
    found = dear_days(entries, "EffectiveCost")
    assert found.select("day", "amount", "usual", "times", "what", "above").row(0) == (
        days[2], Decimal(57), 15.0, 3.8, "ads · GPU", 20.0,
    )  # fmt: skip
    assert found.select("day", "above").rows()[1:] == [(days[0], 0.0), (days[1], 0.0)]
    free = dear_days(entries.with_columns(pl.lit(Decimal(0)).alias("EffectiveCost")), "EffectiveCost")
    assert free["times"].null_count() == 3
