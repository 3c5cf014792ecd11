"""The doctor's checks of requests, clocks, GPUs, jobs and of sources that overlap."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from doctor_bills import Row, at, bill, charge, clean, loud, named, table

from finops_lab import doctor
from finops_lab.doctor import Tables
from finops_lab.ingestion.lake import FileEntry
from finops_lab.money import MONEY
from finops_lab.pricing import price_book

TODAY = date(2026, 10, 5)
DAYS = 30


def call(n: int, **over: Any) -> Row:
    """Return one priced call of an hour of September."""
    start = at("2026-09-01") + timedelta(hours=n)
    return {
        "ts_start": start,
        "ts_end": start + timedelta(seconds=2),
        "latency_ms": 2000.0,
        "request_id": f"r-{n}",
        "provider": "openai",
        "model": "gpt-4o",
        "operation": "chat",
        "hosting": "api",
        "team": "search",
        "feature": "answers",
        "customer": "c-1",
        "n_requests": 1,
        "sample_weight": 1.0,
        "input_uncached_tokens": 100,
        "cache_read_tokens": 0,
        "output_tokens": 10,
        "status": "ok",
        "pool_id": "pool-1",
        **over,
    }


def calls() -> list[Row]:
    return [call(n) for n in range(24 * DAYS)]


def sample(n: int, **over: Any) -> Row:
    """Return one GPU sample of an hour."""
    return {
        "ts": at("2026-09-01") + timedelta(hours=n),
        "interval_s": 3600.0,
        "cluster": "c",
        "gpu_uuid": "GPU-1",
        "util_kind": "sm_active",
        "util": 0.5,
        "pool_id": "pool-1",
        **over,
    }


def samples() -> list[Row]:
    return [sample(n) for n in range(24 * DAYS)]


def job(n: int, **over: Any) -> Row:
    """Return one attempt of a job that completed."""
    return {
        "job_id": f"job-{n}",
        "attempt": 1,
        "kind": "train",
        "ts_start": at("2026-09-02"),
        "ts_end": at("2026-09-03"),
        "state": "completed",
        "cost_usd": Decimal("10.5"),
        **over,
    }


def examined(
    requests: list[Row] | None = None,
    gpus: list[Row] | None = None,
    jobs: list[Row] | None = None,
    costs: list[Row] | None = None,
    **more: Any,
) -> pl.DataFrame:
    tables = Tables(
        bill(clean() if costs is None else costs),
        table("inference_requests", calls() if requests is None else requests),
        table("gpu_samples", samples() if gpus is None else gpus),
        table("training_jobs", [job(1)] if jobs is None else jobs),
        **{"today": TODAY, "prices": price_book(), **more},
    )
    return doctor.examine(tables)


def test_clean_telemetry_is_silent() -> None:
    found = examined()
    assert loud(found) == []
    assert set(found["check"]) == {"tag coverage"}


def each(count: int, **over: Any) -> Callable[[list[Row]], list[Row]]:
    return lambda rows: [{**row, **over} if n < count else row for n, row in enumerate(rows)]


CALLS: list[tuple[str, Callable[[list[Row]], list[Row]], str, int | None, str | None]] = [
    (
        "unpriced requests",
        each(3, model="nobody-knows", cost_reported_usd=Decimal("0.5")),
        "warning",
        3,
        "1.5",
    ),
    ("unpriced requests", each(3, model="nobody-knows", hosting="self_hosted"), "info", 3, None),
    ("requests without context", each(100, team=None), "warning", 100, None),
    (
        "requests without context",
        each(3, team=None, cost_reported_usd=Decimal(2), sample_weight=10.0),
        "info",
        3,
        "60",
    ),
    ("requests without context", each(300, customer=None), "info", 300, None),
    ("request id twice", each(2, request_id="same", cost_reported_usd=Decimal(1)), "warning", 1, "1"),
    (
        "cost of cached answers",
        each(2, served_from_cache=True, cost_reported_usd=Decimal("0.25")),
        "warning",
        2,
        "0.5",
    ),
    ("sampled requests", each(4, sample_weight=10.0), "info", 4, None),
    ("clock far off", each(1, ts_start=at("2026-10-06"), ts_end=None), "error", 1, None),
    ("clock far off", each(1, ts_start=at("1970-01-20"), ts_end=None), "error", 1, None),
    ("latency against clock", each(2, latency_ms=9000.0), "warning", 2, None),
    ("requests without a bill", each(2, ts_start=at("2026-07-06"), ts_end=None), "info", 2, None),
]


@pytest.mark.parametrize(
    ("name", "spoil", "severity", "rows", "money"), CALLS, ids=[f"{n}-{i}" for i, (n, *_) in enumerate(CALLS)]
)
def test_one_fault_of_requests_is_found(
    name: str, spoil: Callable[[list[Row]], list[Row]], severity: str, rows: int | None, money: str | None
) -> None:
    found = named(examined(spoil(calls())), name)
    assert [(row["severity"], row["rows"]) for row in found] == [(severity, rows)]
    assert found[0]["money_at_stake"] == (None if money is None else Decimal(money))


@pytest.mark.parametrize(
    ("name", "vary"),
    [
        ("unpriced requests", each(3, model="nobody-knows", status="error", input_uncached_tokens=None)),
        ("cost of cached answers", each(3, served_from_cache=True, cost_reported_usd=Decimal(0))),
        ("cost of cached answers", each(3, served_from_cache=None, cost_reported_usd=Decimal(1))),
        ("request id twice", each(3, request_id=None)),
        ("latency against clock", each(3, latency_ms=None)),
        ("latency against clock", each(3, latency_ms=2500.0)),
        ("clock far off", each(1, ts_start=at("2026-10-05", 23), ts_end=None)),
    ],
)
def test_what_looks_like_a_fault_of_requests_is_none(
    name: str, vary: Callable[[list[Row]], list[Row]]
) -> None:
    assert named(examined(vary(calls())), name) == []


def test_a_request_in_two_files_is_an_error() -> None:
    rows = [*calls(), call(5, source_file="other.csv")]
    row = named(examined(rows), "request id twice")[0]
    assert (row["severity"], row["where"]) == ("error", "log.csv and other.csv")


def test_without_today_nothing_is_compared_with_a_clock() -> None:
    found = examined(each(1, ts_start=at("2036-10-06"), ts_end=None)(calls()), today=None)
    assert named(found, "clock far off") == []


def test_requests_in_another_time_zone_than_gpu_samples() -> None:
    late = [{**row, "ts_start": row["ts_start"] + timedelta(hours=5), "ts_end": None} for row in calls()]
    row = named(examined(late), "clocks of requests and GPUs")[0]
    assert "+5.0 h from GPU samples at both ends" in row["finding"]
    apart = [{**row, "ts": row["ts"] - timedelta(days=60)} for row in samples()]
    row = named(examined(gpus=apart), "clocks of requests and GPUs")[0]
    assert "no time in common" in row["finding"]


def test_trap_gpu_util_kinds_are_told_apart() -> None:
    both = [*samples(), *[sample(n, util_kind="gpu_util", util=0.9) for n in range(24 * DAYS)]]
    row = named(examined(gpus=both), "kinds of GPU utilization")[0]
    assert "gpu_util 720 rows, mean 90.0 %" in row["finding"] and "mean 50.0 %" in row["finding"]


def test_gaps_and_doubles_of_gpu_samples() -> None:
    gone = [row for n, row in enumerate(samples()) if n % 10]
    row = named(examined(gpus=gone), "gaps in GPU samples")[0]
    assert (row["severity"], row["rows"]) == ("warning", 71)
    row = named(examined(gpus=[*samples(), sample(3), sample(4)]), "GPU samples twice")[0]
    assert (row["severity"], row["rows"]) == ("error", 2)
    assert named(examined(gpus=[*samples(), sample(3, mig_id="1")]), "GPU samples twice") == []


def test_jobs_without_end() -> None:
    lost = job(2, ts_end=None, state="failed")
    stuck = job(3, ts_end=None, state="running")
    young = job(4, ts_start=at("2026-10-01"), ts_end=None, state="running")
    found = named(examined(jobs=[job(1), lost, stuck, young]), "jobs without end")
    assert [(row["where"].split(" / ")[0], row["rows"]) for row in found] == [("failed", 1), ("running", 1)]


def test_jobs_that_never_complete() -> None:
    futile = [job(2, attempt=n, state="failed") for n in (1, 2, 3)]
    row = named(examined(jobs=futile), "job that never completes")[0]
    assert row["money_at_stake"] == Decimal("31.5")
    assert "failed 3 times (2026-09-02 to 2026-09-03)" in row["finding"]
    assert named(examined(jobs=futile[:2]), "job that never completes") == []
    assert named(examined(jobs=[*futile, job(2, attempt=4)]), "job that never completes") == []


def entry(path: str, format: str) -> FileEntry:
    return FileEntry(path, "0", "", format, "", None, 1, 1, 0)


def test_trap_18_one_bill_in_two_formats() -> None:
    other = [{**row, "x_SourceFile": "cur.csv"} for row in clean()]
    log = [("costs", entry("bill.csv", "FOCUS 1.0")), ("costs", entry("cur.csv", "AWS CUR 2.0"))]
    row = named(examined(costs=[*clean(), *other], log=log), "bill in two formats")[0]
    assert row["severity"] == "warning"
    assert row["money_at_stake"] == sum((r["BilledCost"] for r in clean()), Decimal(0))
    assert "AWS CUR 2.0: 90 rows" in row["finding"] and "FOCUS: 90 rows" in row["finding"]
    alike = [("costs", entry("bill.csv", "FOCUS 1.0")), ("costs", entry("cur.csv", "FOCUS 1.2"))]
    assert named(examined(costs=[*clean(), *other], log=alike), "bill in two formats") == []


def test_trap_18_modelled_costs_beside_bills() -> None:
    modelled = [
        charge(n["ChargePeriodStart"].strftime("%Y-%m-%d"), x_SourceFile="oc.json") for n in clean()[:4]
    ]
    log = [("costs", entry("bill.csv", "FOCUS 1.0")), ("costs", entry("oc.json", "OpenCost allocation"))]
    row = named(examined(costs=[*clean(), *modelled], log=log), "modelled costs beside bills")[0]
    assert (row["rows"], row["money_at_stake"], row["where"]) == (4, Decimal(12), "2026-09")
    assert named(examined(costs=modelled, log=log[1:]), "modelled costs beside bills") == []


def test_trap_18_calls_in_two_sources() -> None:
    other = [{**row, "source_file": "usage.json", "request_id": None} for row in calls()[:24]]
    log = [
        ("inference_requests", entry("log.csv", "LiteLLM spend log")),
        ("inference_requests", entry("usage.json", "OpenAI usage")),
    ]
    row = named(examined([*calls(), *other], log=log), "calls in two sources")[0]
    assert "LiteLLM spend log 720 calls" in row["finding"] and "OpenAI usage 24 calls" in row["finding"]
    assert row["rows"] == 24
    elsewhere = [{**row, "model": "gpt-4.1"} for row in other]
    assert named(examined([*calls(), *elsewhere], log=log), "calls in two sources") == []


def test_trap_18_gateway_cost_beside_the_vendors_bill() -> None:
    costly = [{**row, "cost_reported_usd": Decimal("0.5"), "sample_weight": 2.0} for row in calls()]
    vendor = [charge(f"2026-09-{n:02}", "19", ProviderName="OpenAI") for n in range(1, 31)]
    row = named(examined(costly, costs=vendor), "gateway cost beside a bill")[0]
    assert row["money_at_stake"] == Decimal(684)
    assert "about USD 720.00 (weighted)" in row["finding"] and "105.3 % of it" in row["finding"]
    assert named(examined(costly), "gateway cost beside a bill") == []


def test_trap_21_cents_read_as_dollars_stand_out() -> None:
    costly = [{**row, "cost_reported_usd": Decimal("95")} for row in calls()]
    vendor = [charge(f"2026-09-{n:02}", "19", ProviderName="OpenAI") for n in range(1, 31)]
    row = named(examined(costly, costs=vendor), "gateway cost beside a bill")[0]
    assert row["severity"] == "warning" and "cents for dollars" in row["finding"]


def test_trap_12_a_report_that_is_not_final() -> None:
    log = [("costs", entry("bill.csv", "Anthropic cost report"))]
    row = named(examined(log=log, today=date(2026, 10, 15)), "bill not final")[0]
    assert (row["severity"], row["rows"]) == ("info", 45)
    assert named(examined(log=log, today=date(2026, 11, 15)), "bill not final") == []
    assert named(examined(log=[("costs", entry("bill.csv", "FOCUS 1.0"))]), "bill not final") == []


def test_a_model_billed_by_cloud_and_vendor() -> None:
    bills = [
        charge(f"2026-09-{n:02}", x_ModelId="Claude", ProviderName=p)
        for p in ("AWS", "Anthropic")
        for n in (1, 2)
    ]
    row = named(examined(costs=bills), "model billed by two providers")[0]
    assert "AWS $6.00, Anthropic $6.00" in row["finding"]
    assert named(examined(costs=bills[:2]), "model billed by two providers") == []


def test_trap_30_a_billed_model_without_calls() -> None:
    bills = [charge(f"2026-09-{n:02}", x_ModelId=model) for model in ("gpt-4o", "o-3") for n in (1, 2)]
    found = named(examined(costs=bills), "billed model without calls")
    assert [(row["where"], row["money_at_stake"]) for row in found] == [("o-3 / 2026-09", Decimal(6))]
    assert named(examined([], costs=bills), "billed model without calls") == []


def test_tables_alone_are_enough() -> None:
    found = doctor.examine(Tables(bill(clean())))
    assert loud(found) == []
    overlap = pl.DataFrame(
        {
            "plan": ["p"], "table": ["costs"], "source_file": ["b"], "estimate": [True], "rows": [3],
            "BillingCurrency": ["USD"], "BilledCost": [None], "EffectiveCost": [Decimal(2)],
        },
        schema_overrides={"EffectiveCost": MONEY, "BilledCost": MONEY},
    )  # fmt: skip
    row = named(doctor.examine(Tables(bill(clean()), overlap=overlap)), "covered overlap")[0]
    assert "modelled and not billed" in row["finding"]
