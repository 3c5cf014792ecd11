"""A closer look at some days of a lab: what the wrappers hand on, and what they refuse."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest
from helpers import write_lab

import finops_lab as fl
from finops_lab import measuring, valuing
from finops_lab.errors import InputError
from finops_lab.unit_economics import failures, latency, utilization

TOML = """[lab]
name = "A few days (synthetic)"
[[slos]]
service = "chat"
objective = "availability"
target = 0.9
"""
CALLS = "ts_start,model,operation,status,feature,latency_ms,sample_weight\n"
GPUS = "ts,interval_s,gpu_uuid,cluster,util_kind,util\n"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> fl.Lab:
    """Ten calls a day of 100 to 1,000 ms; on the 3rd all fail from 10:00 to 11:00."""
    calls = "".join(
        f"2026-10-0{day}T09:{n:02}:00Z,m,chat,ok,chat,{100 * n + 100},1\n"
        for day in (1, 2, 3)
        for n in range(10)
    )
    calls += "".join(f"2026-10-03T10:{n:02}:00Z,m,chat,error,chat,,1\n" for n in range(60))
    gpus = "".join(
        f"2026-10-0{day}T0{hour}:00:00Z,3600,g0,east,gpu_util,{day / 10}\n"
        for day in (1, 2)
        for hour in (1, 2)
    )
    exports = {"calls.csv": CALLS + calls, "gpus.csv": GPUS + gpus}
    return fl.open_lab(write_lab(tmp_path_factory.mktemp("days") / "lab", exports, TOML), progress=False)


def test_latency_of_some_days_is_exact(lab: fl.Lab) -> None:
    found = valuing.exact_latency(lab, "2026-10-01", date(2026, 10, 2))
    told = found.filter(pl.col("dimension").is_null(), measure="p50").row(0, named=True)
    assert (told["value"], told["denominator"], told["lower"]) == (500, 20, None)
    assert found.filter(key="m", measure="p95")["value"].item() == 1000
    assert valuing.exact_latency(lab, "2026-11-01").is_empty()


def test_gpus_by_the_hour(lab: fl.Lab) -> None:
    found = valuing.gpu_hours(lab, "2026-10-02", by=["cluster"])
    assert found.select("hour", "cluster", "util").rows() == [
        (datetime(2026, 10, 2, hour, tzinfo=UTC), "east", 0.2) for hour in (1, 2)
    ]


def test_burn_rates_at_a_moment(lab: fl.Lab) -> None:
    """All of the last hour's calls failed, of a promise that lets one in ten: ten times the allowed rate."""
    found = valuing.burn_rates(lab, datetime(2026, 10, 3, 11, tzinfo=UTC))
    assert dict(found.select("window", "long_rate").iter_rows())["1 h / 5 m"] == pytest.approx(10)
    calm = valuing.burn_rates(lab, datetime(2026, 10, 3, 10, tzinfo=UTC))
    assert dict(calm.select("window", "long_rate").iter_rows())["1 h / 5 m"] == 0
    # Three days back, not further: of the last of them 60 of 90 calls failed.
    assert dict(found.select("window", "long_total").iter_rows())["3 d / 6 h"] == 90


@pytest.mark.parametrize(
    ("first", "last", "says"),
    [
        ("2026-10", None, "the first day must be written like 2026-10-05, not '2026-10'"),
        ("2026-10-02", "2026-10-01", "lies before the first"),
    ],
)
def test_days_that_are_none(lab: fl.Lab, first: str, last: str | None, says: str) -> None:
    with pytest.raises(InputError, match=says):
        valuing.exact_latency(lab, first, last)
    with pytest.raises(InputError, match="no time zone"):
        valuing.burn_rates(lab, datetime(2026, 10, 3, 11))


def test_a_lab_without_objectives_has_no_burn_rates(tmp_path: Path) -> None:
    bare = fl.open_lab(
        write_lab(tmp_path / "lab", {"gpus.csv": GPUS}, "[lab]\nname = 'bare'\n"), progress=False
    )
    assert valuing.burn_rates(bare, datetime(2026, 10, 3, tzinfo=UTC)).is_empty()


def test_one_name_is_told_by_as_a_list_of_it_is(lab: fl.Lab) -> None:
    day = ("2026-10-01", "2026-10-02")
    assert fl.gpu_hours(lab, *day, by="cluster").equals(fl.gpu_hours(lab, *day, by=["cluster"]))
    assert fl.exact_latency(lab, *day, by="model").equals(fl.exact_latency(lab, *day, by=["model"]))
    calls = measuring.request_months(lab).collect()
    assert failures.error_rates(calls, by="model").equals(failures.error_rates(calls, by=["model"]))
    waits = measuring.histograms(lab).collect()
    assert latency.latency(waits, by="feature").equals(latency.latency(waits, by=["feature"]))
    gpus = measuring.gpu_days(lab).collect()
    told = utilization.gpu_utilization(gpus, by="cluster")
    assert told["dimension"].unique().drop_nulls().to_list() == ["cluster"]
    assert told.equals(utilization.gpu_utilization(gpus, by=["cluster"]))


def test_a_dimension_that_the_rows_do_not_have_is_refused_by_name(lab: fl.Lab) -> None:
    with pytest.raises(InputError, match=r"calls have no column 'modell'.*did you mean 'model'"):
        fl.exact_latency(lab, "2026-10-01", by="modell")
    with pytest.raises(InputError, match=r"GPU days have no column 'clustr'.*did you mean 'cluster'"):
        utilization.gpu_utilization(measuring.gpu_days(lab), by=["clustr"])


def test_exact_latency_asks_for_the_day(lab: fl.Lab) -> None:
    with pytest.raises(InputError, match="neither the column 'day' nor 'month'"):
        latency.exact_latency(measuring.requests_of(lab).drop("day"), by="model")
