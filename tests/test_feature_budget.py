"""The budget of a new feature: exact by hand, the same under the seed, near the closed form."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from helpers import PLAIN_TOML, focus_row, write_lab
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from test_cli import run

import finops_lab as fl
from finops_lab.budgeting.features import EXAMPLE
from finops_lab.config import FeaturePlan, feature_plan
from finops_lab.config.feature_plan import Capacity, PlannedModel, Revenue, Training, Usage
from finops_lab.errors import ConfigError, InputError
from finops_lab.lab import packaged
from finops_lab.money import MONEY
from finops_lab.planning.analogues import usage_curve
from finops_lab.planning.drivers import Driver, stream
from finops_lab.planning.feature_budget import FeatureBudget, budget_of
from finops_lab.planning.sliders import positions, steps
from finops_lab.pricing import price_book
from finops_lab.pricing.ahead import indexed, rates_ahead

EXAMPLE_FILE = packaged("samples") / EXAMPLE
MODEL = {
    "model": "m",
    "input_usd_per_mtok": 2,
    "cached_input_usd_per_mtok": "0.5",
    "output_usd_per_mtok": 8,
    "price_change_per_year": "-0.12",
}
USAGE = {
    "sessions_per_day": 1000,
    "calls_per_session": 2,
    "input_tokens": 1000,
    "output_tokens": 200,
    "cache_hit_share": "0.5",
    "growth_per_month": "0.1",
    "adoption": ["0.5", 1],
}
TRAINING = {"name": "tune", "runs_at_launch": 1, "runs_per_month": "0.5", "usd_per_run": 100}
POOL = {"name": "pool", "gpu_count": 2, "rate_usd_per_gpu_hour": "1.5"}
FIXED: dict[str, Any] = {
    "name": "Notes",
    "from": "2026-11",
    "months": 2,
    "draws": 1000,
    "usage": USAGE,
    "models": [MODEL],
    "training": [TRAINING],
    "capacity": [POOL],
}


def plan(usage: dict[str, Any] | None = None, **changes: Any) -> FeaturePlan:
    return feature_plan(FIXED | changes | {"usage": USAGE | (usage or {})})


def between(low: object, likely: object, high: object) -> dict[str, object]:
    return {"low": low, "likely": likely, "high": high}


def amounts(frame: pl.DataFrame) -> dict[str, Decimal]:
    return dict(frame.select("component", "amount").iter_rows())


def total(budget: FeatureBudget) -> Decimal:
    found = budget.figures.total["amount"]
    assert isinstance(found, Decimal)
    return found


# --- exact ------------------------------------------------------------------------------------------


def test_fixed_drivers_by_hand() -> None:
    budget = budget_of(plan())
    # November: 1,000 sessions x 30 days x half adopted x 2 = 30,000 calls; 15 M tokens fresh, 15 M
    # cached, 6 M out; 1.5 training runs; 2 GPUs x 24 h x 30.
    november = amounts(budget.months.filter(month=date(2026, 11, 1)))
    assert november == {
        "input": Decimal(30),
        "cached_input": Decimal("7.5"),
        "output": Decimal(48),
        "training": Decimal(150),
        "capacity": Decimal(2160),
        "total": Decimal("2395.5"),
    }
    # December: 31 days, all adopted, 10 % more: 68,200 calls; prices 1 % down after a month of -12 % a year.
    december = amounts(budget.months.filter(month=date(2026, 12, 1)))
    assert december == {
        "input": Decimal("67.518"),
        "cached_input": Decimal("16.8795"),
        "output": Decimal("108.0288"),
        "training": Decimal(50),
        "capacity": Decimal(2232),
        "total": Decimal("2474.4263"),
    }
    assert total(budget) == Decimal("4869.9263")
    # Without ranges every draw is the point, and nothing is left to explain.
    (row,) = budget.horizon.filter(component="total").iter_rows(named=True)
    assert [row[name] for name in ("p10", "p50", "p90", "mean")] == pytest.approx([4869.9263] * 4)
    assert budget.figures.chance_above == 0
    assert budget.tornado.is_empty() and budget.indices.is_empty()
    per = dict(budget.units.filter(pl.col("month").is_null()).select("unit", "amount").iter_rows())
    assert round(per["call"], 12) == round(Decimal("4869.9263") / 98_200, 12)
    assert round(per["session"], 12) == round(Decimal("4869.9263") / 49_100, 12)


def test_calls_per_second_cache_writes_factors_and_fees_by_hand() -> None:
    model = {
        "model": "m",
        "input_usd_per_mtok": 3,
        "cache_write_usd_per_mtok": "3.75",
        "output_usd_per_mtok": 15,
        "usd_per_call": "0.001",
        "input_tokens_factor": "1.5",
        "output_tokens_factor": 2,
    }
    usage = {
        "calls_per_second": "0.5",
        "input_tokens": 1000,
        "output_tokens": 100,
        "cache_hit_share": "0.2",
        "cache_write_share": "0.25",
    }
    budget = budget_of(
        feature_plan({**FIXED, "usage": usage, "models": [model], "training": [], "months": 1})
    )
    # 0.5 x 86,400 x 30 = 1,296,000 calls; 1,944 M tokens in: 388.8 M read (at the input price, having
    # none of its own), 388.8 M written, 1,166.4 M fresh; 259.2 M out.
    assert amounts(budget.horizon) == {
        "input": Decimal("1166.4") * 3 + Decimal("388.8") * Decimal("3.75"),
        "cached_input": Decimal("388.8") * 3,
        "output": Decimal("259.2") * 15,
        "calls": Decimal(1296),
        "capacity": Decimal(2160),
        "total": Decimal("13467.6"),
    }
    assert budget.units["unit"].unique().to_list() == ["call"]


def test_a_yearly_price_change_is_whole_at_each_anniversary_and_even_between() -> None:
    usage = USAGE | {"growth_per_month": 0, "adoption": []}
    budget = budget_of(plan(usage, months=31, training=[], capacity=[]))
    daily = {
        month: amount / (date(month.year + month.month // 12, month.month % 12 + 1, 1) - month).days
        for month, amount in budget.months.filter(component="output").select("month", "amount").iter_rows()
    }
    first = daily[date(2026, 11, 1)]
    shares = {n: daily[date(2026 + (10 + n) // 12, (10 + n) % 12 + 1, 1)] / first for n in (6, 12, 24, 30)}
    assert shares == {
        6: Decimal("0.94"),
        12: Decimal("0.88"),
        24: Decimal("0.7744"),
        30: Decimal("0.7744") * Decimal("0.94"),
    }


@settings(max_examples=15, deadline=None)
@given(times=st.integers(1, 10**6), hit=st.integers(0, 1000))
def test_twice_the_use_is_twice_the_tokens_and_no_more_capacity(times: int, hit: int) -> None:
    share = {"cache_hit_share": Decimal(hit) / 1000}
    one = amounts(budget_of(plan(share)).horizon)
    many = amounts(budget_of(plan(share | {"sessions_per_day": 1000 * times})).horizon)
    for name in ("input", "cached_input", "output"):
        assert many.get(name, 0) == one.get(name, Decimal(0)) * times
    assert (many["training"], many["capacity"]) == (one["training"], one["capacity"])
    assert many["total"] == sum(value for name, value in many.items() if name != "total")


# --- chance -----------------------------------------------------------------------------------------


def test_the_streams_are_those_of_every_platform() -> None:
    # Worked out from the definition of PCG64 with Python's integers, from the state NumPy seeds it with.
    bits = stream(1, "input_tokens")
    state, inc = (int(bits.state["state"][name]) for name in ("state", "inc"))  # type: ignore[index]
    drawn = np.random.Generator(bits).random(3)
    for found in drawn:
        state = (state * 0x2360ED051FC65DA44385DF649FCCF645 + inc) % 2**128
        mixed, turn = (state >> 64 ^ state) % 2**64, state >> 122
        out = (mixed >> turn | mixed << (64 - turn)) % 2**64
        assert found == (out >> 11) / 2**53
    assert drawn.tolist() == np.random.Generator(stream(1, "input_tokens")).random(3).tolist()
    assert drawn[0] != np.random.Generator(stream(2, "input_tokens")).random()
    assert drawn[0] != np.random.Generator(stream(1, "output_tokens")).random()


def test_the_same_seed_gives_the_same_figures_and_no_driver_disturbs_another() -> None:
    ranged = {"input_tokens": between(500, 1000, 3000)}
    one, again, other = (budget_of(plan(ranged, seed=seed)) for seed in (7, 7, 8))
    for name in ("months", "horizon", "units", "tornado", "indices", "models"):
        assert_frame_equal(getattr(one, name), getattr(again, name), check_exact=True)
    assert one.figures.total["p50"] != other.figures.total["p50"]
    more = budget_of(plan(ranged, seed=7, training=[TRAINING | {"usd_per_run": between(50, 100, 400)}]))
    pick = pl.col("component") == "input"
    assert_frame_equal(one.months.filter(pick), more.months.filter(pick), check_exact=True)
    assert more.figures.total["p90"] > one.figures.total["p90"]


@pytest.mark.parametrize(("low", "likely", "high"), [(1, 2, 9), (0, 0, 4), (3, 5, 5)])
def test_quantiles_converge_to_the_closed_form_of_a_single_range(low: int, likely: int, high: int) -> None:
    pool = POOL | {"gpu_count": between(low, likely, high), "rate_usd_per_gpu_hour": 1}
    budget = budget_of(plan(capacity=[pool], training=[], draws=100_000, months=1))
    (row,) = budget.horizon.filter(component="capacity").iter_rows(named=True)
    hours, width = 24 * 30, high - low
    for name, q in (("p10", 0.1), ("p50", 0.5), ("p90", 0.9)):
        left = q < (likely - low) / width
        end = math.sqrt(q * width * (likely - low)) if left else math.sqrt((1 - q) * width * (high - likely))
        quantile = low + end if left else high - end
        # The density there, and with it the standard error of an estimated quantile.
        density = 2 * end / (width * ((likely - low) if left else (high - likely)))
        error = math.sqrt(q * (1 - q) / 100_000) / density
        assert abs(row[name] / hours - quantile) < 4 * error
    spread = math.sqrt((low**2 + likely**2 + high**2 - low * likely - low * high - likely * high) / 18)
    assert abs(row["mean"] / hours - (low + likely + high) / 3) < 4 * spread / math.sqrt(100_000)


def test_the_mean_of_a_product_of_independent_ranges_is_the_product_of_their_means() -> None:
    usage = {"sessions_per_day": between(500, 1000, 3000), "output_tokens": between(100, 200, 600)}
    budget = budget_of(plan(usage, draws=100_000, months=1))
    (row,) = budget.horizon.filter(component="output").iter_rows(named=True)
    assert row["mean"] == pytest.approx(1500 * 30 * 0.5 * 2 * 300 * 8 / 1e6, rel=0.01)
    assert row["p10"] < row["p50"] < row["p90"]
    # Ranges reach up further than down: most draws are above the product of likely values.
    assert budget.figures.chance_above > 0.8


def test_a_slow_start_is_slow_throughout() -> None:
    curve = [between("0.1", "0.2", "0.9"), between("0.3", "0.4", "1"), 1]
    budget = budget_of(plan({"adoption": curve}, months=3, training=[], capacity=[]))
    whole = budget.figures.total
    months = budget.months.filter(component="total")
    # One chance for all months: quantiles add up, as they would not if months were drawn apart.
    for name in ("p10", "p50", "p90"):
        assert months[name].sum() == pytest.approx(whole[name])
    assert amounts(budget.months.filter(month=date(2026, 11, 1)))["output"] == Decimal("19.2")


# --- sensitivity ------------------------------------------------------------------------------------


def test_tornado_by_hand() -> None:
    usage = {"output_tokens": between(100, 200, 400), "cache_hit_share": between(0, "0.5", 1)}
    budget = budget_of(plan(usage, months=1))
    rows = {row["driver"]: row for row in budget.tornado.iter_rows(named=True)}
    assert list(rows) == ["output_tokens", "cache_hit_share"]
    assert [rows["output_tokens"][name] for name in ("low", "high", "at_low", "at_high", "swing")] == [
        Decimal(100),
        Decimal(400),
        Decimal("2371.5"),
        Decimal("2443.5"),
        Decimal(72),
    ]
    # All 30 M tokens fresh cost 60, all cached 15: more of it costs less.
    assert rows["cache_hit_share"]["at_low"] == Decimal(2418)
    assert rows["cache_hit_share"]["swing"] == Decimal(-45)


def test_sobol_indices_of_a_sum_are_the_shares_of_variance() -> None:
    training = TRAINING | {"usd_per_run": between(100, 200, 600)}
    pool = POOL | {"gpu_count": between(1, 2, 3)}
    budget = budget_of(plan(training=[training], capacity=[pool], months=1))

    def variance(a: float, b: float, c: float) -> float:
        return (a * a + b * b + c * c - a * b - a * c - b * c) / 18

    runs = 1.5**2 * variance(100, 200, 600)
    gpus = (1.5 * 24 * 30) ** 2 * variance(1, 2, 3)
    found = {row["driver"]: row for row in budget.indices.iter_rows(named=True)}
    assert list(found) == ["capacity.pool.gpu_count", "training.tune.usd_per_run"]
    for name, share in zip(found, (gpus, runs), strict=True):
        for order in ("first_order", "total_order"):
            assert found[name][order] == pytest.approx(share / (runs + gpus), abs=0.02)
    alone = budget_of(plan(capacity=[pool])).indices
    assert alone.select("first_order", "total_order").rows() == [(1.0, 1.0)]


def test_drivers_that_multiply_explain_more_together_than_alone() -> None:
    usage = {"sessions_per_day": between(0, 1000, 2000), "output_tokens": between(0, 200, 400)}
    model = MODEL | {"input_usd_per_mtok": 0, "cached_input_usd_per_mtok": 0}
    budget = budget_of(plan(usage, models=[model], training=[], capacity=[], months=1))
    # Of a product of two alike with mean 1 and variance v = 1/6: alone v / (2 v + v^2).
    share = (1 / 6) / (2 / 6 + 1 / 36)
    for row in budget.indices.iter_rows(named=True):
        assert row["first_order"] == pytest.approx(share, abs=0.02)
        assert row["total_order"] == pytest.approx(1 - share, abs=0.02)


# --- break-even, models -----------------------------------------------------------------------------


def test_break_even_and_the_chance_to_cover_it() -> None:
    usage = {"sessions_per_customer": 20, "adoption": [0, 1]}
    pool = POOL | {"gpu_count": between(1, 2, 3)}
    at = {"usd_per_customer": "1.72", "usd_per_session": None}
    budget = budget_of(plan(usage, capacity=[pool], revenue=at, training=[], draws=10_000))
    units = budget.units.filter(unit="customer")
    first, second, whole = units.iter_rows(named=True)
    # Nobody uses it in the first month: its capacity belongs to no call.
    assert [first[name] for name in ("amount", "p50", "chance_covered")] == [None, None, None]
    assert first["revenue"] == Decimal("1.72")
    # December: 34,100 sessions are 1,705 months of customers.
    assert round(second["amount"], 12) == round(Decimal("2424.4263") / 1705, 12)
    # Both months' capacity on them: at a symmetric range half of the draws cost up to the likely one.
    cost = Decimal("4584.4263") / 1705
    assert round(whole["amount"], 12) == round(cost, 12)
    assert whole["p50"] == pytest.approx(float(cost), rel=0.01)
    # 1.72 x 1,705 pays the tokens and 0.6236 of what two GPUs cost: more than 1.247 of 1 to 3 GPUs.
    gpus = (Decimal("1.72") * 1705 - Decimal("192.4263")) / Decimal(4392) * 2
    assert whole["chance_covered"] == pytest.approx((float(gpus) - 1) ** 2 / 2, abs=0.01)
    assert budget.units.filter(unit="call")["revenue"].null_count() == 3


def test_models_are_repriced_with_the_same_use_and_unpriced_ones_stay() -> None:
    cheap = {"name": "cheap", "model": "c", "input_usd_per_mtok": 1, "output_usd_per_mtok": 1}
    own = {"name": "own", "model": "o", "input_usd_per_mtok": 0, "output_usd_per_mtok": 0}
    pool = POOL | {"models": ["own"]}
    unknown = {"model": "not-yet-released"}
    listed = {"name": "listed", "provider": "openai", "model": "gpt-4o-mini-2024-07-18"}
    budget = budget_of(
        plan(models=[MODEL, unknown, own, cheap, listed], capacity=[pool], training=[], months=1)
    )
    rows = {row["model"]: row for row in budget.models.iter_rows(named=True)}
    # 15 M fresh and 15 M cached in, 6 M out: 0.15, 0.075 and 0.60 a million.
    assert {name: row["amount"] for name, row in rows.items()} == {
        "listed": Decimal("6.975"),
        "cheap": Decimal(36),
        "m": Decimal("85.5"),
        "own": Decimal(2160),
        "not-yet-released": None,
    }
    assert list(rows) == ["listed", "cheap", "m", "own", "not-yet-released"]
    assert [row["status"] for row in rows.values()] == [
        *("priced", "priced", "planned", "priced"),
        "unpriced: no price for the model",
    ]
    assert rows["cheap"]["difference"] == Decimal("-49.5")
    assert rows["not-yet-released"]["p50"] is None
    assert set(budget.prices.filter(model="listed")["origin"]) == {"genai_prices"}
    with pytest.raises(InputError, match="'not-yet-released' cannot be worked out: no price"):
        budget.what_if({}, "not-yet-released")


def test_a_price_known_to_change_does_so_and_one_s_own_goes_first() -> None:
    at = datetime(2026, 12, 1, tzinfo=UTC)
    own = pl.LazyFrame(
        {
            "provider": ["v"] * 5,
            "model": ["q"] * 5,
            "unit": ["input_mtok", "input_mtok", "output_mtok", "output_mtok", "output_mtok"],
            "rate_usd_per_unit": ["2", "1", "8", "16", "4"],
            "valid_from": [None, at, None, None, None],
            "tier_above_tokens": [0, 0, 0, 1000, 0],
            "context": ["standard"] * 4 + ["batch"],
        },
        schema_overrides={"valid_from": pl.Datetime("us", "UTC")},
    ).with_columns(pl.col("rate_usd_per_unit").cast(MONEY))
    book = price_book(own)
    model = {"provider": "v", "model": "q"}
    big = {"name": "big", **model, "input_tokens_factor": "1.001"}
    batch = {"name": "batch", **model, "context": "batch"}
    gone = {"name": "gone", "provider": "v", "model": "q", "context": "none such"}
    budget = budget_of(plan(models=[model, big, batch, gone]), book)
    prices = {
        title: budget.prices.filter(model=title)
        .select("input_usd_per_mtok", "output_usd_per_mtok", "context")
        .rows()
        for title in ("q", "big", "batch", "gone")
    }
    assert prices["q"] == [(2, 8, "standard"), (1, 8, "standard")]
    # 1,001 tokens are above 1,000, and 1,000 are not.
    assert prices["big"] == [(2, 16, "standard"), (1, 16, "standard")]
    # What the tier has no price for costs what is standard.
    assert prices["batch"] == [(2, 4, "batch"), (1, 4, "batch")]
    assert prices["gone"] == prices["q"]
    ended = own.with_columns(valid_to=pl.lit(at), valid_from=pl.lit(None, pl.Datetime("us", "UTC"))).unique(
        ["unit", "context", "tier_above_tokens"], maintain_order=True
    )
    months = [date(2026, 11, 1), date(2026, 12, 1)]
    assert rates_ahead(indexed(price_book(ended)), "v", "q", months) == "no price for input_mtok in 2026-12"


def test_a_plan_without_a_price_of_its_model_is_refused_with_what_to_do() -> None:
    with pytest.raises(
        InputError, match=r"'no-such' is unpriced: no price for the model.*input_usd_per_mtok"
    ):
        budget_of(plan(models=[{"model": "no-such"}]))


def test_what_if_holds_a_driver_and_keeps_the_others_draws() -> None:
    usage = {"output_tokens": between(100, 200, 400), "input_tokens": between(500, 1000, 3000)}
    budget = budget_of(plan(usage, months=1))
    held = budget.what_if({"input_tokens": "2000"})
    assert held.total["amount"] == Decimal("2433")  # 37.5 more for as many tokens again
    assert held.total["p90"] - held.total["p10"] < budget.figures.total["p90"] - budget.figures.total["p10"]
    pick = pl.col("component") == "output"
    assert_frame_equal(held.months.filter(pick), budget.months.filter(pick), check_exact=True)
    with pytest.raises(InputError, match=r"'inputs' is no driver.*input_tokens"):
        budget.what_if({"inputs": 1})
    with pytest.raises(InputError, match="a float, which is not exact"):
        budget.what_if({"input_tokens": 2000.5})  # type: ignore[dict-item]


# --- analogues --------------------------------------------------------------------------------------


def use(**features: list[float | None]) -> pl.DataFrame:
    """Return units by month from 2026-01 on, as many a day as given."""
    days = [31, 28, 31, 30, 31, 30, 31, 31]
    rows = [
        (name, date(2026, n + 1, 1), None if daily is None else daily * days[n])
        for name, several in features.items()
        for n, daily in enumerate(several)
    ]
    return pl.DataFrame(
        rows, schema={"feature": pl.String, "month": pl.Date, "value": pl.Float64}, orient="row"
    )


def test_adoption_of_analogues_by_hand() -> None:
    curve, choice = usage_curve(
        use(
            old=[5, 5, 5, 5, 5, 5, 5, 5],
            fast=[0, 0, 50, 100, 100, 100, 100, 100],
            slow=[0, 0, 0, 1, 2, 4, 4, 4],
            late=[0, 0, 0, 0, 0, 0, 3, 3],
            dead=[0, 9, 9, 9, 9, 0, 0, 0],
            never=[0, 0, 0, 0, 0, 0, 0, 0],
        )
    )
    ends = [(one.low, one.likely, one.high) for one in curve]
    quarter, half = Decimal("0.25"), Decimal("0.5")
    assert ends == [
        (quarter, Decimal("0.375"), half),
        (half, Decimal("0.75"), 1),
        (1, 1, 1),
        *[(1, 1, 1)] * 3,
    ]
    assert dict(choice.select("feature", "why").iter_rows()) == {
        "dead": "it is no longer used",
        "fast": "launched in 2026-03, 6 months known",
        "late": "only 2 months are known, 4 are needed",
        "never": "it was never used",
        "old": "its launch was before the history begins",
        "slow": "launched in 2026-04, 5 months known",
    }
    assert choice.filter("used")["feature"].to_list() == ["fast", "slow"]
    alone, _ = usage_curve(use(old=[5] * 8, slow=[0, 0, 0, 1, 2, 4, 4, 4]), ["slow"])
    assert [one.likely for one in alone] == [quarter, half, 1, 1, 1]
    assert all(one.low == one.high for one in alone)


def test_analogues_that_tell_nothing_are_refused() -> None:
    with pytest.raises(InputError, match="adoption from old: its launch was before"):
        usage_curve(use(old=[5] * 8, slow=[0, 1, 2, 3, 4, 4, 4, 4]), ["old"])
    with pytest.raises(InputError, match=r"no use of nw is known.*known are old"):
        usage_curve(use(old=[5] * 8), ["nw"])
    with pytest.raises(InputError, match=r"no feature can tell.*write adoption"):
        usage_curve(use(old=[5] * 8))
    with pytest.raises(InputError, match="needs the lab"):
        fl.feature_budget(FIXED | {"usage": {**USAGE, "adoption": [], "analogues": "*"}})


def test_a_lab_gives_prices_and_analogues(tmp_path: Path) -> None:
    months = [f"2026-{n:02d}-01T00:00:00Z" for n in range(1, 9)]
    values = "period_start,period_end,feature,customer,units,unit_name\n" + "".join(
        f"{months[n]},{months[n + 1]},new,{customer},{days * daily},answers\n"
        for n, (days, daily) in enumerate(
            zip((31, 28, 31, 30, 31, 30, 31), (0, 1, 2, 3, 4, 4, 4), strict=True)
        )
        for customer in ("a", "b")
    )
    prices = "".join(
        f'[[prices]]\nmodel = "quill"\nunit = "{unit}"\nrate_usd = "{rate}"\n'
        for unit, rate in (("input_mtok", 2), ("cache_read_mtok", "0.5"), ("output_mtok", 8))
    )
    folder = write_lab(
        tmp_path / "lab", {"bill.csv": [focus_row()], "feature_value.csv": values}, PLAIN_TOML + prices
    )
    lab = fl.open_lab(folder, progress=False)
    usage = {**USAGE, "adoption": [], "analogues": ["new"]}
    budget = fl.feature_budget(FIXED | {"usage": usage, "models": [{"model": "quill"}]}, lab, draws=2000)
    assert [str(one.likely) for one in budget.plan.usage.adoption] == [
        "0.250000",
        "0.500000",
        "0.750000",
        *["1.000000"] * 3,
    ]
    assert budget.analogues is not None and budget.analogues["launched"].to_list() == [date(2026, 2, 1)]
    # A quarter adopted in place of a half.
    assert amounts(budget.months.filter(month=date(2026, 11, 1)))["output"] == Decimal(24)
    assert budget.prices["origin"].unique().to_list() == ["user"]
    assert budget.plan.draws == 2000


# --- plans ------------------------------------------------------------------------------------------

TEXT = """name = "Notes"
from = "2026-11"
[usage]
sessions_per_day = { low = 0.1, likely = 0.2, high = 0.3 }
input_tokens = 1000
output_tokens = 200
[[models]]
model = "m"
input_usd_per_mtok = 0.1
output_usd_per_mtok = 0.3
[[training]]
usd_per_run = 100
"""


def test_numbers_of_a_file_are_exact(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(TEXT)
    read = feature_plan(path)
    assert read.usage.sessions_per_day is not None
    assert read.usage.sessions_per_day.high == Decimal("0.3")
    # 0.2 x 30 calls of 1,000 and 200 tokens, at 0.1 and 0.3 a million.
    assert total(fl.feature_budget(read.model_copy(update={"months": 1}))) == Decimal("0.00096")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("low = 0.1", "low = 0.4", r"line 4: key 'usage.sessions_per_day': 0.4 \(low\), 0.2.*not in order"),
        ("low = 0.1", "low = -1", "line 4: key 'usage.sessions_per_day': -1 is below 0"),
        ("low = 0.1, likely = 0.2, ", "low = 0.1, ", "key 'usage.sessions_per_day.likely' is missing"),
        ("input_tokens", "input_token", "line 5: unknown key 'usage.input_token'.*did you mean 'input_tokens'"),
        ("output_tokens = 200", "output_tokens = 200\ncache_hit_share = 1.5", "line 7: key.*between 0 and 1"),
        ("output_tokens = 200", "output_tokens = 200\ngrowth_per_month = -2", "between -1 .* and 10"),
        ("output_tokens = 200", "output_tokens = 200\ncalls_per_second = 2", "sessions_per_day or calls_per_second"),
        ("output_tokens = 200", "output_tokens = 200\nadoption = [1]\nanalogues = 'x'", "not both"),
        ("output_usd_per_mtok = 0.3", "", "belong together"),
        ("usd_per_run = 100", "usd_per_run = 100\nmodels = ['n']", "for 'n', which is none of the models"),
        ("[[training]]", "[[models]]\nmodel = 'm'\n[[training]]", "the name 'm' stands there twice"),
        ("[[training]]", "[revenue]\nusd_per_customer = 1\n[[training]]", "needs usage.sessions_per_customer"),
        ("[[training]]", "[revenue]\n[[training]]", "one of them"),
        ('from = "2026-11"', 'from = "11/2026"', "line 2: key 'from': month must be written like 2026-10"),
        ("input_tokens = 1000", "input_tokens = nan", "key 'usage.input_tokens"),
        ("input_tokens = 1000", "input_tokens = 1e99", "more than 30 digits"),
        ("name =", "name ==", "not valid TOML"),
    ],
)  # fmt: skip
def test_a_wrong_plan_is_one_error_that_names_the_place(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    path = tmp_path / "plan.toml"
    assert old in TEXT
    path.write_text(TEXT.replace(old, new, 1))
    with pytest.raises(ConfigError, match=said) as caught:
        feature_plan(path)
    assert "plan.toml" in str(caught.value)


def test_a_missing_plan_floats_and_amounts_beyond_reason_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        fl.feature_budget(tmp_path / "none.toml")
    for wrong in ({"seed": -1}, {"draws": 10}):
        with pytest.raises(InputError, match=r"seed must not|draws lie between"):
            fl.feature_budget(FIXED, **wrong)
    with pytest.raises(ConfigError, match=r"usage.cache_hit_share.*write the amount as a string"):
        plan({"cache_hit_share": 0.5})
    with pytest.raises(InputError, match="cannot be right"):
        budget_of(plan({"sessions_per_day": 10**20, "input_tokens": 10**9}))


# --- sliders ----------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["tokens", "share", "change", "USD"]),
    st.lists(st.decimals(0, 1, places=3), min_size=3, max_size=3).map(sorted),
)
def test_a_slider_stands_on_the_likely_value_and_reaches_the_ends(unit: str, ends: list[Decimal]) -> None:
    low, likely, high = ends
    one = Driver("x", "", unit, low, likely, high)
    first, step, count, start = steps(one)
    places = positions(one)
    assert places[start] == likely and len(places) == count + 1 <= 202
    assert places[0] - step < low <= high < places[-1] + step
    assert first >= (-1 if unit == "change" else 0)
    assert unit != "share" or places[-1] <= 1


def test_the_example_says_that_it_is_made_up_and_is_read() -> None:
    budget = fl.feature_budget(draws=1000)
    assert "Synthetic" in budget.plan.note and "made up" in " ".join(EXAMPLE_FILE.read_text().split())
    assert budget.models["status"].str.starts_with("unpriced").sum() == 1
    assert repr(budget).startswith("FeatureBudget('Meeting notes', 12 months from 2026-11: ")
    again = fl.feature_budget(EXAMPLE_FILE, draws=1000, seed=budget.plan.seed)
    assert_frame_equal(budget.months, again.months, check_exact=True)


def test_the_plan_of_the_documentation_is_read_and_its_keys_are_all_told(tmp_path: Path) -> None:
    text = (Path(__file__).parents[1] / "docs" / "feature-budgets.md").read_text(encoding="utf-8")
    path = tmp_path / "plan.toml"
    path.write_text("name =" + text.partition("```\nname =")[2].partition("```")[0])
    assert feature_plan(path).models[1].title == "own GPUs"
    models = (Usage, PlannedModel, Training, Capacity, Revenue)
    keys = {name for model in models for name in model.model_fields} - {"name", "model", "provider"}
    assert sorted(key for key in keys if f"`{key}`" not in text and f"{key} =" not in text) == []


def test_the_command_prints_and_writes_the_page(tmp_path: Path) -> None:
    page = tmp_path / "new" / "budget.html"
    done = run("feature-budget", EXAMPLE_FILE, "--draws", "1000", "--html", page)
    assert done.returncode == 0, done.stderr
    wanted = fl.feature_budget(EXAMPLE_FILE, draws=1000)
    assert f"total ${total(wanted):,.2f}; prices: genai_prices, plan" in done.stdout
    assert "unpriced: no price for the model" in done.stdout
    assert f"page: {page}" in done.stdout and page.read_text().startswith("<!DOCTYPE html>")
