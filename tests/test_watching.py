"""A lab watched: what is found, kept, judged by people, told apart by month, and explained."""

from __future__ import annotations

import importlib
import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from helpers import PLAIN_TOML, cost_row, put, write_lab
from test_cli import refused, run

import finops_lab as fl
from finops_lab.errors import InputError
from finops_lab.lab import Lab, open_lab
from finops_lab.watching import DAYS, Watched, anomalies, incident, spend, spenders

TRUTH = json.loads((Path(__file__).parents[1] / "data/samples/truth.json").read_text(encoding="utf-8"))
PLANTED = [*TRUTH["anomalies"], TRUTH["runaway_retrain"]]


@pytest.fixture(scope="module")
def sample(sample_copy: Path) -> Watched:
    return anomalies(open_lab(sample_copy, progress=False))


def small_lab(folder: Path, *, days: int = 90, spike: int = 80, toml: str = "") -> Lab:
    """Write a lab of two services that cost about the same every day, and one that leaps once."""
    first, rows = date(2026, 6, 1), []
    for n in range(days):
        begin, end = first + timedelta(days=n), first + timedelta(days=n + 1)
        for service, amount in (("Compute", 100 + n % 3), ("Storage", 20 + n % 2)):
            amount *= 5 if service == "Compute" and n == spike else 1
            rows.append(
                cost_row(
                    str(amount),
                    ServiceName=service,
                    ChargePeriodStart=f"{begin}T00:00:00Z",
                    ChargePeriodEnd=f"{end}T00:00:00Z",
                    BillingPeriodStart=f"{begin:%Y-%m}-01T00:00:00Z",
                    BillingPeriodEnd=f"{(begin.replace(day=1) + timedelta(days=32)).replace(day=1)}T00:00:00Z",
                )
            )
    write_lab(folder, {"bills.csv": rows}, PLAIN_TOML + toml)
    return open_lab(folder, progress=False)


@pytest.mark.parametrize("planted", PLANTED, ids=lambda one: one["id"])
def test_what_was_planted_in_the_sample_is_found_on_its_days_with_its_money(
    sample: Watched, planted: dict[str, str]
) -> None:
    first = datetime.fromisoformat(planted["first_day"]).replace(tzinfo=UTC)
    last = datetime.fromisoformat(planted["last_day"]).replace(tzinfo=UTC)
    spent = sample.events.filter(
        pl.col("kind") == "spend",
        pl.col("first").is_between(first - timedelta(days=1), last),
        pl.any_horizontal(
            pl.col(f"x_{name}") == planted[name] for name in ("service", "team", "feature") if planted[name]
        ),
    )
    truth = float(planted["excess_effective_cost"])
    near = spent.filter((pl.col("excess_amount").cast(pl.Float64) / truth).is_between(0.75, 1.3))
    assert near.height


def test_the_benchmark_of_planted_truths_finds_all_of_the_sample(
    sample: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    bench = importlib.import_module("planted_truths")
    told = bench.found(sample, TRUTH)
    assert len(told) == len(PLANTED) + 4 and all(told.values()), told
    # With nothing found nothing is counted as found, and days without alarms are counted.
    none = Watched(sample.lab, sample.events.clear(), sample.days, sample.every.clear())
    assert not any(bench.found(none, TRUTH).values())
    onsets, months, modes, runaways = bench.false_alarms(none)
    assert onsets > 0 and months > 500 and (modes, runaways) == (0, 0)


def test_the_runaway_retrain_is_seen_in_telemetry_within_half_an_hour_and_named(sample: Watched) -> None:
    planted = TRUTH["runaway_retrain"]
    (job,) = sample.events.filter(detector="runaway job", value=planted["job_id"]).rows(named=True)
    assert job["detected"] - job["first"] <= timedelta(minutes=30)
    (team,) = sample.events.filter(
        pl.col("first") == datetime(2026, 10, 12, tzinfo=UTC), dimension="team", value="research"
    ).rows(named=True)
    why = sample.explain(team)
    assert "retrain-larch-70b-*-v2-*" in why.sentence
    assert planted["job_id"] in why.sentence
    assert why is sample.explain(team["id"])
    # Parts and the bridge add up to the whole, to the last decimal.
    assert why.excess is not None
    assert sum(why.bridge["amount"], Decimal(0)) == sum(why.found.filter(rank=1)["excess"], Decimal(0))


def test_days_and_events_of_a_span_only(sample: Watched) -> None:
    lab = sample.lab
    october = anomalies(lab, since="2026-10-01", until="2026-10-31", with_telemetry=False)
    assert set(october.days["day"].dt.month()) == {10}
    assert october.days.schema == pl.Schema(DAYS)
    assert october.events["last"].min() >= datetime(2026, 10, 1, tzinfo=UTC)
    # One that began in September and goes on is told; what explains may lie outside.
    assert october.events["first"].min() < datetime(2026, 10, 1, tzinfo=UTC)
    assert october.every.height > october.events.height
    amounts = october.roots["excess_amount"].abs().to_list()
    assert amounts == sorted(amounts, reverse=True)


def test_a_rerun_reads_what_is_kept_and_new_data_is_looked_at(tmp_path: Path) -> None:
    lab = small_lab(tmp_path)
    one = anomalies(lab)
    kept = tmp_path / "lake" / "anomalies"
    before = {path.name: path.stat().st_mtime_ns for path in kept.iterdir()}
    again = anomalies(lab)
    assert again.events.equals(one.events)
    assert again.days.equals(one.days)
    assert {path.name: path.stat().st_mtime_ns for path in kept.iterdir()} == before
    assert anomalies(lab, store=False).events.equals(one.events)
    # Another budget is kept beside it; what is broken is worked out again.
    anomalies(lab, budget=0.05)
    assert len(list(kept.glob("spend-*.days.parquet"))) == 2
    for path in kept.iterdir():
        path.write_bytes(b"torn")
    assert anomalies(lab).events.equals(one.events)
    text = (tmp_path / "exports/bills.csv").read_text(encoding="utf-8")
    (tmp_path / "exports/bills.csv").write_text(text.replace("101,", "102,"), encoding="utf-8")
    anomalies(open_lab(tmp_path, progress=False))
    assert len(list(kept.glob("spend-*.days.parquet"))) == 2, "what was kept of older data is gone"


def test_the_spike_is_one_event_with_its_money_and_feedback_judges_it(tmp_path: Path) -> None:
    lab = small_lab(tmp_path)
    found = anomalies(lab)
    (root,) = found.roots.rows(named=True)
    assert (root["first"], root["last"]) == (datetime(2026, 8, 20, tzinfo=UTC),) * 2
    assert root["excess_amount"] == pytest.approx(Decimal(408), abs=10)
    assert found.explain(root).sentence.startswith(
        "Effective cost in Compute was $409 above the $101 expected"
    )
    put(
        tmp_path / "feedback.csv",
        f"id,verdict,by,on,comment\n{root['id']},Expected,ana,2026-09-01,load test\n",
    )
    judged = anomalies(lab)
    assert set(judged.events["status"]) == {"expected"}, "the parts of an event share its verdict"
    put(tmp_path / "feedback.csv", f"id,verdict\n{root['id']},perhaps\n")
    with pytest.raises(InputError, match="perhaps"):
        anomalies(lab)


def test_days_that_are_not_over_are_not_judged(tmp_path: Path) -> None:
    lab = small_lab(tmp_path, days=81, spike=80)
    assert anomalies(lab).events.height
    early = anomalies(lab, at=datetime(2026, 8, 20, 23, 59, tzinfo=UTC))
    assert early.events.is_empty()
    assert early.days["day"].max() == date(2026, 8, 19)


def test_holidays_are_neither_judged_nor_learned_from(tmp_path: Path) -> None:
    holidays = '\n[anomalies]\nholidays = [2026-08-20]\nbudgets = { "daily spend" = 0.5 }\n'
    lab = small_lab(tmp_path, toml=holidays)
    found = anomalies(lab)
    assert found.events.is_empty()
    free = found.days.filter(day=date(2026, 8, 20))
    assert (
        set(free["state"]) == {"holiday"} and free["alarm"].is_null().all() and free["score"].is_null().all()
    )
    after = found.days.filter(pl.col("day") > date(2026, 8, 20), value="Compute")
    assert after["expected"].max() < 104, "what the holiday cost is no part of what is usual"  # type: ignore[operator]
    # Without the line it is an anomaly, and what was kept of the one is not read for the other.
    toml = tmp_path / "finops.toml"
    toml.write_text(toml.read_text(encoding="utf-8").replace("2026-08-20", "2026-08-21"), encoding="utf-8")
    assert anomalies(open_lab(tmp_path, progress=False)).roots.height == 1
    toml.write_text(toml.read_text(encoding="utf-8").replace("daily spend", "daily"), encoding="utf-8")
    with pytest.raises(InputError, match="no detector 'daily' has a budget"):
        open_lab(tmp_path, progress=False)


def test_months_are_looked_at_from_the_first_whole_one_that_could_be_judged(tmp_path: Path) -> None:
    found = anomalies(small_lab(tmp_path))
    judged = found.days.filter(state="judged")["day"].min()
    assert date(2026, 6, 1) < judged < date(2026, 7, 31)
    assert found.looked_at[-1] == date(2026, 8, 1)
    assert all(month >= judged for month in found.looked_at)


def test_a_lab_without_bills_has_no_anomalies_and_no_days(tmp_path: Path) -> None:
    write_lab(tmp_path, {})
    found = anomalies(open_lab(tmp_path, progress=False))
    assert found.events.is_empty()
    assert found.days.schema == pl.Schema(DAYS)
    assert found.looked_at == []
    assert not (tmp_path / "lake" / "anomalies").exists()


def test_a_lab_of_a_date_keeps_nothing(tmp_path: Path) -> None:
    small_lab(tmp_path)
    lab = open_lab(tmp_path, progress=False, as_of="2999-01-01")
    events, days = spend(lab)
    assert (events.height > 0, days.height > 0) == (True, True)
    assert not (tmp_path / "lake" / "anomalies").exists()
    with pytest.raises(InputError):
        spend(lab, budget=0)


def test_the_samples_spend_is_cut_as_asked_and_its_tokens_keep_their_budget_of_false_alarms(
    sample: Watched,
) -> None:
    cuts = {"total", "provider", "service", "team", "model", "feature"}
    assert set(sample.days["dimension"]) == cuts
    calls = sample.lab.table("inference_requests")
    values = calls.select(pl.col("team", "model", "feature").drop_nulls().n_unique()).collect().row(0)
    days = calls.select(pl.col("ts_start").dt.date().n_unique()).collect().item() - 21
    # Nothing of tokens was planted in the days that are judged: the log holds one call in thousands.
    found = sample.events.filter(detector="hour of week", metric="tokens")
    assert found.height <= 0.1 * (1 + sum(values)) * days / 30.4375


def test_tokens_gpu_hours_and_training_are_watched_by_the_hour(tmp_path: Path) -> None:
    """Prompts ten times as long at as many calls; twelve jobs where one is usual, and GPUs that nobody held."""
    begin, rng = datetime(2026, 9, 7, tzinfo=UTC), np.random.default_rng(2)
    surge = begin + timedelta(days=21, hours=14)
    calls, jobs, samples = [], [], []
    for n in range(22 * 24):
        at = begin + timedelta(hours=n)
        usual = at != surge
        stamp = f"{at:%Y-%m-%dT%H}"
        sizes = rng.lognormal(7, 0.5, rng.poisson(30)) * (1 if usual else 10)
        calls += [f"{stamp}:{m % 60:02d}:00Z,m,chat,ok,search,{size:.0f}" for m, size in enumerate(sizes)]
        for job in range(n % 4 == 2 if usual else 12):
            ends = f"{at + timedelta(hours=1):%Y-%m-%dT%H}"
            jobs.append(f"j{n}-{job},eval,completed,m,research,{stamp}:00:00Z,{ends}:00:00Z,1,2.50")
        # Each second machine tells another kind alone, the others two kinds half an hour apart.
        for gpu in range(4 if usual else 24):
            kind = "duty_cycle" if gpu % 2 else "gpu_util"
            samples.append(f"{stamp}:00:00Z,3600,g{gpu},H100,p,{kind},0.5")
            samples += [] if gpu % 2 else [f"{stamp}:30:00Z,3600,g{gpu},H100,p,sm_active,0.4"]
    write_lab(
        tmp_path,
        {
            "inference_requests.csv": "\n".join(
                ["ts_start,model,operation,status,team,input_uncached_tokens", *calls]
            ),
            "training_jobs.csv": "\n".join(
                ["job_id,kind,state,model,team,ts_start,ts_end,gpu_count,cost_usd", *jobs]
            ),
            "gpu_samples.csv": "\n".join(
                ["ts,interval_s,gpu_uuid,gpu_model,pool_id,util_kind,util", *samples]
            ),
        },
    )
    found = anomalies(open_lab(tmp_path, progress=False))
    hourly = found.events.filter(grain="hour", detector="hour of week")
    assert set(hourly["first"]) == {surge} and set(hourly["last"]) == {surge}
    assert set(hourly["detected"]) == {surge + timedelta(hours=1)}
    slices = {
        metric: set(part["dimension"]) for (metric,), part in hourly.group_by("metric", maintain_order=True)
    }
    assert slices == {
        "tokens": {"total", "team", "model"},
        "gpu_hours": {"total", "pool"},
        "training_gpu_hours": {"total", "team", "model", "kind"},
        "training_usd": {"total", "team", "model", "kind"},
    }
    assert hourly.filter(metric="gpu_hours", dimension="total")["actual"].to_list() == [24.0]
    # Dollars of the jobs are those of their GPU-hours: one thing happened, with its money.
    dollars = hourly.filter(metric="training_usd", dimension="total").row(0, named=True)
    assert dollars["excess_amount"] == pytest.approx(Decimal("27.50"), abs=1)
    roots = found.roots.filter(grain="hour", detector="hour of week")
    assert dollars["cause_of"] in roots.filter(metric="training_gpu_hours")["id"].to_list()
    # All are of one model or one pool: that is told once, and the rest as parts of it.
    assert sorted(roots.select("metric", "dimension").rows()) == [
        ("gpu_hours", "pool"), ("tokens", "model"), ("training_gpu_hours", "model"),
    ]  # fmt: skip
    assert set(hourly["cause_of"].drop_nulls()) == set(roots["id"])


def test_what_is_asked_must_make_sense(sample: Watched) -> None:
    with pytest.raises(InputError, match="until 2026-09-01 lies before"):
        anomalies(sample.lab, since="2026-10-01", until="2026-09-01")
    with pytest.raises(InputError, match="since must be written like"):
        anomalies(sample.lab, since="October")
    with pytest.raises(InputError, match="no event 'x'"):
        sample.explain("x")


def test_the_command_line_prints_anomalies_with_money_and_a_sentence_and_writes_json(tmp_path: Path) -> None:
    lab = small_lab(tmp_path / "lab")
    out = tmp_path / "new" / "anomalies.json"
    done = run("anomalies", "--lab", lab.folder, "--since", "2026-08-01", "--json", out)
    assert done.returncode == 0, done.stderr
    (row,) = [line for line in done.stdout.splitlines() if "2026-08-20" in line]
    assert "Effective cost of service Compute" in row
    assert all(text in row for text in ("$510", "$101", "+$409", "open"))
    assert "Effective cost in Compute was $409 above the $101 expected on 20 August 2026" in done.stdout
    written = json.loads(out.read_text(encoding="utf-8"))
    assert (written["since"], written["until"]) == ("2026-08-01", "2026-08-29")
    assert len(written["events"]) == anomalies(lab).events.height
    (root,) = [event for event in written["events"] if event["cause_of"] is None]
    assert Decimal(root["excess_amount"]) == anomalies(lab).roots["excess_amount"][0]
    assert root["sentence"].startswith("Effective cost in Compute was $409 above")
    first = out.read_bytes()
    run("anomalies", "--lab", lab.folder, "--since", "2026-08-01", "--json", out, "--now", written["at"][:-1])
    assert out.read_bytes() == first


def test_alerts_go_to_sinks_only_when_asked_and_once(tmp_path: Path) -> None:
    toml = """
[[budgets]]
from = "2026-08"
to = "2026-08"
amount = "3800"

[[sinks]]
name = "log"
kind = "file"
path = "alerts.jsonl"
"""
    lab, out = small_lab(tmp_path / "lab", days=82, toml=toml), tmp_path / "alerts.json"
    asked = ("alerts", "--lab", lab.folder, "--since", "2026-08-01", "--now", "2026-08-21", "--json", out)
    done = run(*asked)
    assert done.returncode == 0, done.stderr
    (row,) = [line for line in done.stdout.splitlines() if "2026-08-20" in line]
    assert "page" in row and "runaway against the budget" in row, "4.0 times expected, 409 of 3,800 a day"
    (alert,) = json.loads(out.read_text(encoding="utf-8"))["alerts"]
    assert alert["state"] == "send" and alert["sentence"].startswith(
        "Effective cost in Compute was $409 above"
    )
    sent = lab.folder / "alerts.jsonl"
    assert not sent.exists()
    assert "log: 1 sent" in run(*asked, "--send").stdout
    assert "log: 1 sent before" in run(*asked, "--send").stdout
    assert len(sent.read_text(encoding="utf-8").splitlines()) == 1


def test_the_command_line_says_what_is_wrong_in_a_line(tmp_path: Path) -> None:
    lab = small_lab(tmp_path, days=10, spike=99)
    ask = ("--lab", lab.folder, "--since", "2026-06-01")
    refused(run("anomalies", *ask, "--until", "2026-05-01"), "--until 2026-05-01 lies before --since")
    refused(run("anomalies", "--lab", lab.folder, "--since", "June"), "--since must be written like")
    refused(run("alerts", *ask, "--now", "soon"), "--now must be written like")
    refused(run("alerts", *ask, "--now", "2026-05-01"), "lies after now")
    refused(run("alerts", *ask, "--send"), "finops.toml has no sinks")
    done = run("anomalies", *ask)
    assert done.returncode == 0, "ten days are too few to judge"
    assert "2026-06-01 to 2026-06-10" in done.stdout


def test_m6_counts_what_people_confirmed_and_open_ones_are_its_upper_bound(tmp_path: Path) -> None:
    lab = small_lab(tmp_path)

    def m6(month: str) -> dict[str, object]:
        table = fl.kpis(lab, month).table.filter(kpi="M6")
        return table.select("value", "upper", "status", "reason").row(0, named=True)

    assert m6("2026-08") == {"value": 0, "upper": 1, "status": "met", "reason": None}
    # Nothing is known of a month whose days had too few before them: not 0.
    assert m6("2026-06")["value"] is None
    (root,) = anomalies(lab).roots.rows(named=True)
    put(tmp_path / "feedback.csv", f"id,verdict\n{root['id']},confirmed\n")
    assert m6("2026-08") == {"value": 1, "upper": None, "status": "met", "reason": None}
    put(tmp_path / "feedback.csv", f"id,verdict\n{root['id']},false alarm\n")
    assert m6("2026-08") == {"value": 0, "upper": None, "status": "met", "reason": None}


def test_the_cost_of_the_runaway_retrain_lies_in_its_interval_and_is_the_teams(sample: Watched) -> None:
    truth = TRUTH["runaway_retrain"]
    found = incident(sample.lab, truth["first_day"], truth["last_day"], f"team={truth['team']}")
    row = found.impact.row(0, named=True)
    assert row["excess"] == row["actual"] - row["expected"]
    assert row["excess_low"] < float(truth["excess_effective_cost"]) < row["excess_high"]
    assert row["spans"] >= 20
    # Days of the incident teach the counterfactual nothing.
    inside = found.days.filter("inside")
    assert inside["expected"].sum() == pytest.approx(float(row["expected"]))
    assert inside["amount"].sum() == row["actual"]
    for _, parts in found.damage.group_by("dimension"):
        assert sum(parts["excess"], Decimal(0)) == found.explanation.excess
    resource = found.damage.filter(dimension="resource").row(0, named=True)
    assert resource["excess"] == Decimal(truth["excess_effective_cost"])
    attempts = found.happened.filter(kind="job").filter(pl.col("what").str.starts_with(truth["job_id"]))
    assert attempts.height == 7
    assert found.happened["ts"].is_sorted()
    answers = dict(found.checklist.rows())
    assert answers["Training or inference?"].startswith("against the four weeks before: training +$4")
    assert "larch-70b" in answers["Which models?"]
    assert "quotas" in answers["Temporary quota?"] and "64" not in answers["Which teams?"]


def test_an_incident_needs_days_a_scope_and_days_before(tmp_path: Path) -> None:
    lab = small_lab(tmp_path)
    found = incident(lab, "2026-08-20", "2026-08-20")
    assert found.scope == "everything"
    assert found.impact["excess"][0] == pytest.approx(Decimal(408), abs=10)
    assert "with a confidence of 90 %" in found.sentence
    for start, end, scope, said in (
        ("2026-08-20", "2026-08-19", "", "lies before start"),
        ("August", "2026-08-19", "", "start must be written like"),
        ("2026-08-20", "2026-08-20", "Compute", "scope must be written like"),
        ("2026-08-20", "2026-08-20", "service=Nothing", "nothing is known of service Nothing"),
        ("2027-01-01", "2027-01-02", "", "charges are known from"),
        ("2026-06-02", "2026-06-03", "", "nothing was expected of these days"),
    ):
        with pytest.raises(InputError, match=said):
            incident(lab, start, end, scope)


def test_spenders_are_ranked_against_the_week_before_and_what_was_expected(tmp_path: Path) -> None:
    found = anomalies(small_lab(tmp_path, toml=""))
    ranked = spenders(found, date(2026, 8, 24)).filter(dimension="service")
    assert ranked["value"].to_list() == ["Compute", "Storage"]
    compute = ranked.row(0, named=True)
    # Day 80 of 90 costs 5 x 102 instead of 102; the week before has no such day.
    assert compute["amount"] == sum(100 + n % 3 for n in range(78, 85)) + 4 * (100 + 80 % 3)
    assert compute["before"] == sum(100 + n % 3 for n in range(71, 78))
    assert compute["change"] == compute["amount"] - compute["before"]
    assert compute["expected"] == pytest.approx(7 * 101, rel=0.02), (
        "the spike does not raise what was expected"
    )


def test_failure_modes_of_the_sample_are_told_and_every_event_has_a_sentence(sample: Watched) -> None:
    modes = sample.events.filter(kind="failure_mode")
    found = set(modes.select("failure_mode", "dimension").rows())
    assert found >= {("F2", "variant"), ("F3", "pool"), ("F4", "resource"), ("F7", "release")}
    (owner,) = modes.filter(failure_mode="F4").rows(named=True)
    assert owner["value"] == TRUTH["mis_tagged_team"]["resource_name"]
    assert f"{owner['first']:%Y-%m-%d}" == TRUTH["mis_tagged_team"]["since"]
    spikes = sample.events.filter(failure_mode="F1")
    assert set(spikes["kind"]) == {"spend"} and set(spikes["direction"]) == {"up"}
    said = sample.sentences(pl.concat([modes, sample.events.filter(kind="drift")]))
    assert all(said.values())
    assert said[owner["id"]] == (
        "Allocation mismatch, resource chat-assistant-larch-70b-int8: "
        "its charges go to research instead of assistants since 2026-08-12."
    )
