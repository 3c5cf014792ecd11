"""KPIs of sampled logs: bounds that hold as often as they say, and a status that waits for proof."""

from __future__ import annotations

import random
from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pytest

from finops_lab import contracts
from finops_lab.config import KpiTarget
from finops_lab.money import MONEY, divided
from finops_lab.unit_economics import requests
from finops_lab.unit_economics._sampled import count_bounds, money_bounds, share_bounds
from finops_lab.unit_economics.failures import DEFINITIONS, error_rates
from finops_lab.unit_economics.features import feature_cost
from finops_lab.unit_economics.inference_cost import inference_cost
from finops_lab.unit_economics.kpis import HEADLINES, kpis
from finops_lab.unit_economics.scaling import money_per_qps
from finops_lab.unit_economics.schemas import REQUEST_MONTHS, VARIANCES
from finops_lab.unit_economics.targets import with_targets

OCT = date(2026, 10, 1)
Row = dict[str, Any]


def calls(status: str, n: int, weight: float = 1.0, **more: Any) -> list[Row]:
    row = {"day": OCT, "model": "m", "status": status, "n_requests": 1, "sample_weight": weight}
    return [row | more] * n


def months(*rows: list[Row]) -> pl.DataFrame:
    frame = pl.LazyFrame(
        [row for part in rows for row in part], schema=contracts.dtypes("inference_requests")
    )
    return requests.months(requests.roll_up(frame).days.lazy()).collect()


def entries(money: int, *, currency: str = "USD") -> pl.DataFrame:
    names = ("CommitmentDiscountStatus", *(f"x_{n}" for n in ("team", "variant", "feature", "customer")))
    row = dict.fromkeys((*names, "x_environment", "x_PoolId")) | {
        "x_ChargeMonth": "2026-10", "BillingCurrency": currency, "ServiceCategory": "Compute", "x_model": "m",
        "ServiceName": "Machines", "ChargeCategory": "Usage", "x_AllocationMethod": "tag",
        "EffectiveCost": Decimal(money),
    }  # fmt: skip
    return pl.DataFrame([row])


def one(figures: pl.DataFrame, measure: str) -> Row:
    return figures.filter(pl.col("measure") == measure, pl.col("dimension").is_null()).row(0, named=True)


def test_variances_of_sampled_calls_by_hand() -> None:
    """A row of weight w adds n^2 w (w - 1), a row of every call nothing, whatever it weighs below 1."""
    tokens = {"input_uncached_tokens": 100, "cache_read_tokens": 20, "output_tokens": 7}
    found = months(
        calls("ok", 3, 11.0, **tokens),
        calls("error", 1, 11.0, is_retry=True),
        calls("cancelled", 2, 2.5, n_requests=4),
        calls("ok", 5, 1.0, is_retry=False),
        calls("ok", 1, 0.5),
    ).row(0, named=True)
    expected = {
        "variance_ok": 3 * 110,
        "variance_failed": 110,
        "variance_cancelled": Decimal(2 * 16) * Decimal("3.75"),
        "variance_retried": 110,
        "variance_retry_told": 110,
        "variance_input_tokens": 3 * 110 * 120**2,
        "variance_output_tokens": 3 * 110 * 49,
    }
    assert {name: found[name] for name in VARIANCES} == expected


def test_a_log_of_every_call_has_no_bounds() -> None:
    counted = months(calls("ok", 3, output_tokens=5), calls("error", 1))
    assert counted.select(pl.sum_horizontal(list(VARIANCES))).item() == 0
    told = pl.concat([error_rates(counted), inference_cost(entries(6), counted)])
    assert one(told, "error_rate")["value"] == Decimal("0.25")
    assert told["lower"].null_count() == told["upper"].null_count() == told.height


def test_bounds_of_a_sampled_month_by_hand() -> None:
    """Garwood's and Clopper and Pearson's limits of the rows, as tables of them have it."""
    # Of very heavy rows the sampled part of the log is nearly none: bounds are those of the rows.
    heavy = 1e6
    counted = months(calls("ok", 98, heavy), calls("error", 2, heavy))
    rate = one(error_rates(counted), "error_rate")
    assert rate["value"] == Decimal("0.02")
    # 2 of 100 at 95 %: 0.0024 to 0.0704.
    assert (round(rate["lower"], 4), round(rate["upper"], 4)) == (Decimal("0.0024"), Decimal("0.0704"))
    price = one(inference_cost(entries(98), counted), "allocated_per_call")
    # 98 at 95 %: 79.56 to 119.43 (Garwood).
    assert price["value"] == Decimal("0.000001")
    assert round(98 / price["upper"] / Decimal(heavy), 2) == Decimal("79.56")
    assert round(98 / price["lower"] / Decimal(heavy), 2) == Decimal("119.43")


def test_nothing_that_failed_among_sampled_calls_is_not_zero_for_sure() -> None:
    counted = months(calls("ok", 300, 1e6))
    rate = one(error_rates(counted), "error_rate")
    assert rate["value"] == rate["lower"] == 0
    # 1 - 0.025 ** (1 / 300), and not the rule of three, which is one-sided.
    assert float(rate["upper"]) == pytest.approx(1 - 0.025 ** (1 / 300), rel=1e-4)
    nothing_else = one(error_rates(months(calls("error", 300, 1e6))), "error_rate")
    assert (nothing_else["value"], nothing_else["upper"]) == (1, 1)
    assert 0.98 < nothing_else["lower"] < 1


def test_heavy_rows_without_a_failure_widen_what_light_rows_say() -> None:
    """Ten errors of a full log beside ten rows of a thousand calls: what fails among those may be unseen."""
    light = months(calls("ok", 9_990), calls("error", 10))
    mixed = months(calls("ok", 9_990), calls("error", 10), calls("ok", 10, 1000.0))
    assert one(error_rates(light), "error_rate")["upper"] is None
    rate = one(error_rates(mixed), "error_rate")
    assert rate["value"] == Decimal("0.0005")
    assert rate["upper"] > Decimal("0.05")


def test_a_target_between_the_bounds_is_unclear() -> None:
    targets = [KpiTarget(kpi="M5", at_most=Decimal("0.05")), KpiTarget(kpi="M1", at_most=Decimal("0.0011"))]

    def statuses(counted: pl.DataFrame, money: int) -> dict[str, str]:
        told = pl.concat([error_rates(counted), inference_cost(entries(money), counted)])
        heads = with_targets(told, targets, HEADLINES).filter(pl.col("dimension").is_null())
        wanted = heads.filter(pl.col("measure").is_in(["error_rate", "allocated_per_call"]))
        return dict(wanted.select("kpi", "status").iter_rows())

    # Two of a hundred rows: 0.2 % to 7 %.
    assert statuses(months(calls("ok", 98, 1000.0), calls("error", 2, 1000.0)), 98) == {
        "M5": "unclear", "M1": "unclear",
    }  # fmt: skip
    # As many calls with a row each: no doubt is left.
    assert statuses(months(calls("ok", 98_000), calls("error", 2_000)), 98) == {"M5": "met", "M1": "met"}
    # A hundred times as many rows of the sample show it too.
    assert statuses(months(calls("ok", 9_800, 10.0), calls("error", 200, 10.0)), 98) == {
        "M5": "met", "M1": "met",
    }  # fmt: skip


def test_what_stands_for_bounds_is_said() -> None:
    counted = months(calls("ok", 98, 1000.0), calls("error", 2, 1000.0))
    told = with_targets(error_rates(counted), [], HEADLINES)
    lines = dict(kpis(told, OCT, DEFINITIONS).explain("M5").iter_rows())
    assert lines["bounds"].startswith("0.0024") and "of 100 such samples 95" in lines["bounds"]
    row = kpis(told, OCT, DEFINITIONS).table.filter(pl.col("kpi") == "M5").row(0, named=True)
    assert row["lower"] < row["value"] < row["upper"]


def test_every_denominator_of_money_that_is_sampled_has_bounds() -> None:
    tokens = {"input_uncached_tokens": 1000, "cache_read_tokens": 100, "output_tokens": 50}
    counted = months(calls("ok", 40, 50.0, **tokens))
    told = inference_cost(entries(10), counted, by=())
    known = told.filter(pl.col("value").is_not_null())
    assert known.height >= 8
    assert known.filter(pl.col("lower").is_null() | pl.col("upper").is_null()).height == 0
    assert known.filter(~pl.col("value").is_between("lower", "upper")).height == 0
    # Calls alike: tokens are as uncertain as calls, and both directions together are no surer.
    price, tokens_of = one(told, "allocated_per_call"), one(told, "per_1m_tokens")
    for end in ("lower", "upper"):
        assert float(price[end] / price["value"]) == pytest.approx(float(tokens_of[end] / tokens_of["value"]))
    # Outcomes that something else counted are not sampled.
    outcomes = pl.DataFrame({"month": [OCT], "outcomes": [7]})
    own = one(
        inference_cost(entries(10), counted, outcomes=outcomes, by=()), "allocated_per_successful_outcome"
    )
    assert own["value"] is not None and own["lower"] is None


def test_credits_turn_the_bounds_of_money_round() -> None:
    amount, least, most = (pl.Series([number]) for number in (-6, 2, 3))
    low, high = money_bounds(amount, least, most)
    assert (low.item(), high.item()) == (-3, -2)
    # Of a call they are no price, and so have no bounds.
    price = one(inference_cost(entries(-10), months(calls("ok", 40, 50.0)), by=()), "allocated_per_call")
    assert (price["value"], price["lower"], price["upper"]) == (None, None, None)
    assert price["reason"] == "its credits are above its charges"


def test_frames_without_variances_count_as_logged() -> None:
    counted = months(calls("ok", 98, 1000.0), calls("error", 2, 1000.0)).drop(list(VARIANCES))
    assert one(error_rates(counted), "error_rate")["lower"] is None
    assert one(inference_cost(entries(98), counted), "allocated_per_call")["lower"] is None


def test_variances_add_up_in_any_order() -> None:
    draw = random.Random(5)
    rows = [
        calls("ok" if draw.random() < 0.9 else "error", 1, draw.choice([1.0, 2.5, 333.3]))[0]
        | {"n_requests": draw.randint(1, 9), "output_tokens": draw.choice([None, 10, 12_345])}
        for _ in range(300)
    ]
    whole = months(rows).select(list(VARIANCES))
    for _ in range(3):
        draw.shuffle(rows)
        assert months(rows).select(list(VARIANCES)).equals(whole)
    halves = [months(part) for part in (rows[:140], rows[140:])]
    added = pl.concat(halves).select(pl.col(name).sum() for name in VARIANCES)
    assert added.equals(whole)


@pytest.mark.parametrize(("weight", "rate"), [(20.0, 0.02), (3.0, 0.1), (200.0, 0.3), (200.0, 0.005)])
def test_bounds_hold_for_as_many_samples_as_they_say(weight: float, rate: float) -> None:
    """Brute force: known calls are sampled again and again; some 95 of 100 bounds have the truth."""
    n, rounds = int(120 * weight), 1500
    failing = int(n * rate)
    draw = np.random.default_rng(int(weight + 1000 * rate))
    seen = {
        "good": draw.binomial(n - failing, 1 / weight, rounds),
        "bad": draw.binomial(failing, 1 / weight, rounds),
    }
    frame = pl.DataFrame(seen).select(
        pl.col("good", "bad") * weight, whole=(pl.col("good") + pl.col("bad")) * weight
    )
    spread = weight - 1
    low, high = share_bounds(frame, "bad", "whole", pl.col("bad") * spread, pl.col("good") * spread)
    truth = failing / n
    held = sum(a <= truth <= b for a, b in zip(low.cast(pl.Float64), high.cast(pl.Float64), strict=True))
    assert held / rounds > 0.93
    low, high = count_bounds(frame, "good", pl.col("good") * spread)
    counted = sum(
        a <= n - failing <= b for a, b in zip(low.cast(pl.Float64), high.cast(pl.Float64), strict=True)
    )
    assert counted / rounds > 0.93
    # And they are no wider than they need to be: the mean width is that of two standard errors each way.
    error = weight * (120 * (1 - rate) * (1 - 1 / weight)) ** 0.5
    assert (high.cast(pl.Float64) - low.cast(pl.Float64)).mean() < 5 * error


def test_bounds_of_nothing_and_of_hostile_numbers() -> None:
    frame = pl.DataFrame({"n": [0.0, 10.0, None, 1e25], "v": [5.0, 0.0, 1.0, 1e48]})
    low, high = count_bounds(frame, "n", pl.col("v"))
    assert low.to_list()[:3] == high.to_list()[:3] == [None] * 3
    low, high = share_bounds(pl.DataFrame(schema={"n": pl.Float64}), "n", "n", pl.lit(1.0), pl.lit(1.0))
    assert low.is_empty() and high.is_empty()


def test_sums_of_enormous_rows_still_fit() -> None:
    counted = months(calls("ok", 3, 1e9, output_tokens=10**9))
    assert counted["variance_output_tokens"].item() > 0
    assert set(REQUEST_MONTHS) == set(counted.columns)


def of_feature(requests: pl.DataFrame, key: str | None = None) -> Row:
    named = entries(6).with_columns(x_feature=pl.lit("chat"), x_model=pl.lit(None, pl.String))
    value = pl.DataFrame(schema=contracts.dtypes("feature_value"))
    found = feature_cost(named, value, requests)
    asked = pl.col("measure") == "allocated_over_all_calls", pl.col("key").eq_missing(pl.lit(key))
    return found.filter(*asked).row(0, named=True)


@pytest.mark.parametrize("key", [None, "chat"])
def test_cost_of_a_feature_has_the_bounds_of_its_calls(key: str | None) -> None:
    """100 rows of 11 calls: between 904 and 1,326 calls, so that 6 USD are 0.45 to 0.66 cents a call."""
    found = of_feature(months(calls("ok", 100, 11.0, feature="chat")), key)
    low, high = count_bounds(pl.DataFrame({"n": [1100], "v": [100 * 11 * 10]}), "n", pl.col("v"))
    assert (found["lower"], found["upper"]) == tuple(divided(Decimal(6), n) for n in (high[0], low[0]))
    assert found["lower"] < found["value"] < found["upper"]
    logged = of_feature(months(calls("ok", 100, feature="chat")), key)
    assert (logged["value"], logged["lower"], logged["upper"]) == (Decimal("0.06"), None, None)


def per_qps(counted: Row, money: int = 480) -> list[Row]:
    month = {"month": [OCT], "pool_id": ["chat"]}
    day = pl.DataFrame(month | {name: [value] for name, value in counted.items()} | {"seconds": [86_400]})
    return money_per_qps(pl.DataFrame(month | {"money": [Decimal(money)]}), day).rows(named=True)


def test_money_per_qps_lies_between_the_ends_of_its_calls() -> None:
    """Half of 864,000 calls lie in the bucket of the target; a sample of them is further off."""
    for found in per_qps({"calls": 864_000, "lower": 432_000, "upper": 864_000}):
        assert (found["value"], found["lower"], found["upper"]) == (48, 48, 96)
    for found in per_qps({"calls": 864_000}):
        assert (found["value"], found["lower"], found["upper"]) == (48, None, None)
    # Nothing is within the target for sure: there is no upper end.
    for found in per_qps({"calls": 864_000, "lower": 0, "upper": 864_000}):
        assert (found["value"], found["lower"], found["upper"]) == (48, 48, None)
    frame = pl.DataFrame({"n": [864_000], "v": [864_000 * 100]})
    low, high = count_bounds(frame, "n", pl.col("v"))
    for found in per_qps({"calls": 864_000, "variance": 864_000 * 100}):
        assert found["lower"] == pytest.approx(Decimal(480) * 86_400 / high[0])
        assert found["upper"] == pytest.approx(Decimal(480) * 86_400 / low[0])
    # Credits above charges turn the ends round.
    for found in per_qps({"calls": 864_000, "variance": 864_000 * 100}, money=-480):
        assert found["lower"] < found["value"] < found["upper"]


def test_pools_watched_for_unlike_times_have_no_bounds_together() -> None:
    keys = {"month": [OCT] * 2, "pool_id": ["a", "b"]}
    counted = pl.DataFrame(keys | {"calls": [100, 100], "variance": [500, 500], "seconds": [100, 50]})
    found = money_per_qps(pl.DataFrame(keys | {"money": [Decimal(3)] * 2}), counted).rows(named=True)
    assert [row["lower"] is not None for row in found] == [False, True, True]
    assert found[0]["value"] == 2


def test_bounds_of_money_per_qps_hold_for_as_many_samples_as_they_say() -> None:
    """One call in 20 is kept, 1,000 times over: the truth, 4,000 calls, is within bounds 95 times in 100."""
    kept = np.random.default_rng(5).binomial(4000, 0.05, 1000)
    keys = {"month": [OCT] * 1000, "pool_id": [f"p{i}" for i in range(1000)]}
    counted = {"calls": 20 * kept, "variance": 20 * 19 * kept, "seconds": [86_400] * 1000}
    money = pl.DataFrame(keys | {"money": [Decimal(480)] * 1000})
    found = money_per_qps(money, pl.DataFrame(keys | counted)).filter(pl.col("key").is_not_null())
    held = found.filter(pl.lit(Decimal(480 * 86_400) / 4000).is_between("lower", "upper"))
    assert 940 <= held.height <= 985


def test_pools_without_money_are_undefined_with_a_reason() -> None:
    calls = pl.DataFrame({"month": [OCT], "pool_id": ["a"], "calls": [100], "seconds": [100]})
    nothing = pl.DataFrame(schema={"month": pl.Date, "pool_id": pl.String, "money": MONEY})
    found = money_per_qps(nothing, calls).rows(named=True)
    assert [row["value"] for row in found] == [None, None]
    assert found[0]["reason"].startswith("the ledger tells the money of no pool: split its bill")
    assert found[1]["reason"] == "the money of the pool is not known"
