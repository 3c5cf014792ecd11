"""Decisions: by hand, against trying everything, and what limits cost when they are dropped."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from finops_lab.errors import CurrencyError, InputError
from finops_lab.printing_tradeoff import print_decision
from finops_lab.tradeoffs import Curve, curve, decide, decisions
from finops_lab.tradeoffs.break_even import break_even, paired_ratio
from finops_lab.tradeoffs.points import as_points, extras

CANDIDATES = pl.DataFrame(
    {
        "model": ["m"] * 4,
        "variant": ["bf16", "fp8", "int4", "int8"],
        "BillingCurrency": "USD",
        "per_1000_inferences": [8.0, 6.0, 1.0, 2.0],
        "quality_metric": "accuracy",
        "quality": [0.9, 0.9, 0.8, 0.895],
        "p95_ms": [100.0, 70.0, 40.0, 120.0],
        "memory_mib": [64.0, 32.0, None, 20.0],
        "region": ["eu", "us", "us", "ap"],
    }
)


# ---------------------------------------------------------------- by hand


@pytest.mark.parametrize(
    ("limits", "variant", "saving", "loss"),
    [
        ({}, "int4", 5 / 6, 0.1),  # against fp8: equal quality to bf16, and cheaper
        ({"max_quality_loss": 0.005}, "int8", 4 / 6, 0.005),
        ({"max_quality_loss": 0.005, "max_p95_ms": 100}, "fp8", 0.0, 0.0),
        ({"max_quality_loss": 0.0}, "fp8", 0.0, 0.0),
        ({"max_p95_ms": 40}, "int4", 5 / 6, 0.1),
        ({"max_memory_mib": 32}, "int8", 4 / 6, 0.005),  # memory of int4 is unknown
        ({"regions": ["eu", "us"], "max_quality_loss": 0.05}, "fp8", 0.0, 0.0),
        ({"baseline": "bf16", "regions": ["eu"]}, "bf16", 0.0, 0.0),
        ({"baseline": "m/int8"}, "int4", 0.5, 0.095),
        # 2,000,000 calls at 2 per 1,000 are 4,000.
        (
            {"max_monthly_amount": 4000, "monthly_inferences": 2e6, "max_quality_loss": 0.01},
            "int8",
            4 / 6,
            0.005,
        ),
        (
            {"objective": "cost_per_success", "max_quality_loss": 0.01},
            "int8",
            1 - (2 / 0.895) / (6 / 0.9),
            0.005,
        ),
    ],
)
def test_the_cheapest_within_the_limits(
    limits: dict[str, Any], variant: str, saving: float, loss: float
) -> None:
    found = decide(CANDIDATES.reverse(), **limits)
    assert found.chosen is not None and found.chosen["variant"] == variant
    assert (found.chosen["saving_share"], found.chosen["quality_loss"]) == pytest.approx((saving, loss))
    if set(limits) <= {"max_p95_ms", "max_quality_loss"}:
        same = decisions(CANDIDATES, **limits).row(0, named=True)
        assert (same["variant"], same["reference"], same["note"]) == (variant, "fp8", None)
        assert (same["saving_share"], same["quality_loss"]) == pytest.approx((saving, loss))


def test_every_row_says_what_it_misses_and_where_it_stands() -> None:
    found = decide(
        CANDIDATES, max_p95_ms=100, max_quality_loss=0.05, max_memory_mib=40, monthly_inferences=5000
    )
    table = found.table
    assert table["misses"].to_list() == [
        "memory 64 MiB over 40 MiB",
        None,
        "accuracy loss 0.1 over 0.05; memory unknown",
        "P95 120 ms over 100 ms",
    ]
    assert table["qualifies"].to_list() == [False, True, False, False]
    assert table["rank"].to_list() == [None, 1, None, None]
    assert table["monthly_amount"].to_list() == [Decimal(40), Decimal(30), Decimal(5), Decimal(10)]
    assert found.chosen == table.row(1, named=True) and found.runner_up is None
    assert found.unit == "USD per 1,000 inferences" and found.metric == "accuracy"


def test_what_each_limit_costs_and_where_the_choice_changes() -> None:
    found = decide(
        CANDIDATES, max_p95_ms=100, max_quality_loss=0.05, regions=["eu", "us"], monthly_inferences=5000
    )
    rows = {row["constraint"]: row for row in found.constraints.iter_rows(named=True)}
    # Without the P95 int8 is still in a region that is not allowed, and the other way round.
    assert [rows[n]["shadow_price"] for n in ("max_p95_ms", "regions")] == [0.0, 0.0]
    assert not rows["max_p95_ms"]["binding"] and rows["max_p95_ms"]["next_limit"] is None
    loss = rows["max_quality_loss"]
    assert (loss["variant_without"], loss["shadow_price"], loss["binding"]) == ("int4", 5.0, True)
    assert loss["monthly_shadow_price"] == Decimal(25)
    assert (loss["next_limit"], loss["next_variant"], loss["next_saving"]) == (0.1, "int4", 5.0)
    alone = decide(CANDIDATES, max_quality_loss=0.05, regions=["eu", "us"]).constraints.row(1, named=True)
    assert (alone["next_text"], alone["next_variant"], alone["shadow_price"]) == ("ap", "int8", 4.0)
    nobody = decide(CANDIDATES, max_p95_ms=30).constraints.row(0, named=True)
    assert (nobody["binding"], nobody["shadow_price"], nobody["variant_without"]) == (True, None, "int4")
    assert (nobody["next_limit"], nobody["next_variant"]) == (40.0, "int4")


def test_ranges_of_the_slo_and_of_the_loss() -> None:
    found = decide(CANDIDATES, max_p95_ms=100, max_quality_loss=0.05)
    assert found.slo_ranges.rows() == [
        (0.0, 70.0, None, None, None),
        (70.0, 120.0, "m", "fp8", 6.0),
        (120.0, None, "m", "int8", 2.0),
    ]
    assert found.loss_ranges.rows() == [(0.0, 0.1, "m", "fp8", 6.0), (0.1, None, "m", "int4", 1.0)]


def test_the_worst_window_is_held_against_the_slo_where_it_is_known() -> None:
    frame = CANDIDATES.with_columns(worst_p95_ms=pl.Series([None, None, 900.0, 130.0]))
    found = decide(frame, max_p95_ms=125)
    assert found.chosen is not None and found.chosen["variant"] == "fp8"
    assert found.table["slo_ms"].to_list() == [100.0, 70.0, 900.0, 130.0]
    assert found.table["slo_basis"].to_list() == [
        "whole period",
        "whole period",
        "worst window",
        "worst window",
    ]
    assert "P95 is that of the worst window, but of the whole period for 2 of 4." in found.notes


def test_equal_objectives_fall_to_quality_then_speed_then_name() -> None:
    frame = pl.DataFrame(
        {
            "variant": ["c", "b", "a", "d"],
            "per_1000_inferences": [1.0] * 4,
            "quality_metric": "perplexity",
            "quality": [5.0, 4.0, 4.0, 4.0],
            "p95_ms": [1.0, 9.0, 8.0, 8.0],
        }
    )
    assert decide(frame).table.sort("rank")["variant"].to_list() == ["a", "d", "b", "c"]


def test_a_metric_where_lower_is_better() -> None:
    frame = pl.DataFrame(
        {
            "variant": ["fp16", "int4"],
            "per_1000_inferences": [2.0, 1.0],
            "quality_metric": "perplexity",
            "quality": [5.0, 6.0],
        }
    )
    found = decide(frame, max_quality_loss=0.5)
    assert found.chosen is not None and found.chosen["variant"] == "fp16"
    assert found.table["quality_loss"].to_list() == [0.0, 1.0]
    mixed = frame.with_columns(quality_metric=pl.Series(["accuracy", "perplexity"]))
    with pytest.raises(InputError, match="different metrics cannot be compared"):
        decide(mixed)
    with pytest.raises(InputError, match="share from 0 to 1"):
        decide(frame, objective="cost_per_success")


def test_a_choice_in_sentences() -> None:
    found = decide(
        CANDIDATES,
        max_p95_ms=100,
        max_quality_loss=0.005,
        monthly_inferences=1e6,
        baseline="bf16",
        migration_amount=8000,
    )
    assert found.explain() == (
        "Run m fp8: 6 USD per 1,000 inferences, 25% less than the baseline m bf16, P95 70 ms in the whole period. "
        "Next best is m bf16, at 8. "
        "The limit of a P95 of at most 100 ms costs 4 USD per 1,000 inferences: without it m int8 would be chosen; "
        "the choice changes at 120 ms, to m int8. "
        "The limit of a quality loss of at most 0.005 costs 5 USD per 1,000 inferences: without it m int4 would be "
        "chosen; the choice changes at 0.1, to m int4. "
        "The move pays back after 4,000,000 inferences, 4.0 months of the traffic; no interval: no paired timings. "
        "P95 is that of the whole period: no worst window is known. "
        "Losses are point values: one within the limit may be chance, as nothing here tests it."
    )
    assert repr(found) == f"Decision: {found.explain()}"
    nobody = decide(CANDIDATES, max_p95_ms=30)
    assert nobody.explain().startswith(
        "No variant qualifies: P95 over 30 ms for 4. Without the limit of a P95 of at most 30 ms, m int4 would be "
        "chosen; the choice changes at 40 ms, to m int4."
    )


def test_what_is_written_of_a_flip_flips() -> None:
    thirds = CANDIDATES.with_columns(
        quality=pl.Series([0.9, 0.9, 2 / 3, 0.8971111]), p95_ms=pl.Series([0.2, 0.1, 0.3, 0.4])
    )
    found = decide(thirds, max_quality_loss=0.001)
    assert "the choice changes at 0.002889, to m int8" in found.explain()
    assert "P95 0.1 ms in the whole period" in found.explain()
    flipped = decide(thirds, max_quality_loss=0.002889).chosen
    assert flipped is not None and flipped["variant"] == "int8"


def test_twins_are_named_by_what_they_differ_in() -> None:
    twins = CANDIDATES.head(2).with_columns(variant=pl.lit("a"), precision=pl.Series(["bf16", "fp8"]))
    twins = twins.with_columns(hardware=pl.Series(["h100", "a100"]), region=pl.lit("eu"))
    assert "Run m a a100: 6 USD" in decide(twins, baseline=None).explain()
    alike = twins.with_columns(hardware=pl.lit("a100"))
    assert "Run m a fp8" in decide(alike).explain() and "Next best is m a bf16" in decide(alike).explain()
    assert extras(as_points(CANDIDATES)) == []


def test_frames_and_limits_of_other_kinds() -> None:
    want = decide(CANDIDATES, max_monthly_amount=7.5, monthly_inferences=1000)
    assert_frame_equal(
        decide(CANDIDATES.lazy(), max_monthly_amount=7.5, monthly_inferences=1000).table, want.table
    )
    assert_frame_equal(curve(CANDIDATES.lazy()).points, as_points(CANDIDATES))
    assert decisions(CANDIDATES.lazy()).equals(decisions(CANDIDATES))
    asked: dict[str, Any] = {"max_monthly_amount": np.float64(7.5), "monthly_inferences": np.int64(1000)}
    assert_frame_equal(decide(CANDIDATES, **asked).table, want.table)
    with pytest.raises(InputError, match="monthly_inferences must be a number from 0 up, not inf"):
        decide(CANDIDATES, monthly_inferences=math.inf)


def test_a_month_that_money_cannot_hold_is_unknown() -> None:
    dear = CANDIDATES.with_columns(per_1000_inferences=pl.Series([1e19, 1e18, 1.0, None]))
    found = decide(dear, monthly_inferences=1e18, max_p95_ms=50)
    assert found.table["monthly_amount"].to_list() == [None, None, Decimal(10) ** 15, None]


def test_a_table_without_costs_says_which_column_is_wanted() -> None:
    frame = CANDIDATES.drop("per_1000_inferences").with_columns(cost=1.0)
    assert "Costs are read from the column per_1000_inferences" in decide(frame).explain()


# ---------------------------------------------------------------- unknown and refused


def test_no_variant_qualifies_and_why() -> None:
    frame = CANDIDATES.with_columns(
        per_1000_inferences=pl.Series([None, 6.0, 1.0, 2.0]), p95_ms=pl.Series([None, 70.0, 40.0, math.nan])
    )
    found = decisions(frame, max_p95_ms=50, max_quality_loss=0.01).row(0, named=True)
    assert found["variant"] is None and found["per_1000_inferences"] is None and found["saving_share"] is None
    assert found["note"] == (
        "none of 4 variants qualifies: cost unknown for 1, P95 unknown for 2, P95 over 50 ms for 1, "
        "accuracy loss over 0.01 for 1"
    )


def test_choices_that_cannot_be_compared_say_so() -> None:
    blind = CANDIDATES.with_columns(quality=pl.lit(None, dtype=pl.Float64))
    found = decisions(blind).row(0, named=True)
    assert (found["variant"], found["reference"], found["quality_loss"]) == ("int4", None, None)
    assert found["note"] == "quality unknown, nothing to compare with"
    assert decide(blind).reference is None
    assert decide(blind, max_quality_loss=1).chosen is None
    costs = pl.Series([None, None, 1.0, 2.0])
    found = decisions(CANDIDATES.with_columns(per_1000_inferences=costs)).row(0, named=True)
    assert (found["variant"], found["saving_share"]) == ("int4", None)
    assert found["note"] == "the reference has no cost to compare with"
    assert decide(CANDIDATES.clear()).chosen is None and decisions(CANDIDATES.clear()).is_empty()


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({}, {"max_p95_ms": -1.0}, "max_p95_ms must be a number from 0 up"),
        ({}, {"max_quality_loss": math.nan}, "from 0 up"),
        ({}, {"monthly_inferences": -1}, "from 0 up"),
        ({}, {"max_monthly_amount": 5}, "needs monthly_inferences"),
        ({}, {"model": "n"}, "no model 'n'. Hint: known: m"),
        ({}, {"baseline": "int2"}, "no variants are called 'int2'"),
        ({}, {"regions": []}, "at least one name"),
        ({}, {"regions": "eu"}, "must be a list"),
        ({}, {"objective": "speed"}, "known: cost, cost_per_success"),
        ({"workload": pl.Series(["a", "a", "b", "b"])}, {}, "workloads a and b cannot be compared"),
        ({"cost_basis": pl.Series(["measured"] * 3 + ["ListCost"])}, {}, "ListCost and measured cannot"),
        ({"BillingCurrency": pl.lit(None, pl.String)}, {"migration_amount": 5}, "without a currency"),
        ({"quality": pl.col("quality") * 100}, {"objective": "cost_per_success"}, "share from 0 to 1"),
        ({"higher_is_better": pl.lit(False)}, {}, "marked the other way"),
    ],
)
def test_questions_without_an_answer_are_refused(change: dict[str, Any], options: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        decide(CANDIDATES.with_columns(**change), **options)


def test_two_currencies_are_refused() -> None:
    with pytest.raises(CurrencyError, match="EUR, USD"):
        decide(CANDIDATES.with_columns(BillingCurrency=pl.Series(["EUR", "USD", "USD", "USD"])))


# ---------------------------------------------------------------- against trying everything

FEW = st.sampled_from([None, 0.0, 1.0, 2.0, 3.0])
LEVELS = st.sampled_from([None, 0.0, 0.5, 1.0, 2.0, 5.0])
ROWS = st.lists(st.tuples(FEW, FEW, FEW, FEW, FEW, st.sampled_from(["eu", "us", None])), max_size=9)
Row = tuple[Any, ...]  # cost, quality, P95, worst P95, memory, region


def points_of(rows: list[Row], up: bool) -> pl.DataFrame:
    names = ("per_1000_inferences", "quality", "p95_ms", "worst_p95_ms", "memory_mib")
    schema = dict.fromkeys(names, pl.Float64) | {"region": pl.String}
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    return frame.select(
        pl.format("v{}", pl.int_range(pl.len(), 0, -1)).alias("variant"),
        pl.lit("score").alias("quality_metric"),
        pl.lit(up).alias("higher_is_better"),
        pl.all(),
    )


def tried(rows: list[Row], up: bool, limits: dict[str, Any]) -> int | None:
    """Return the best row by looking at every pair of them."""
    sign = -1 if up else 1
    graded = [r[1] for r in rows if r[1] is not None]
    top = min((sign * q for q in graded), default=None)

    def within(r: Row) -> bool:
        slo = r[3] if r[3] is not None else r[2]
        checks = {
            "max_p95_ms": lambda x: slo is not None and slo <= x,
            "max_quality_loss": lambda x: r[1] is not None and sign * r[1] - top <= x,
            "max_memory_mib": lambda x: r[4] is not None and r[4] <= x,
            "regions": lambda x: r[5] in x,
        }
        return r[0] is not None and all(checks[k](x) for k, x in limits.items() if x is not None)

    def beats(i: int, j: int) -> bool:
        for part in (
            lambda k: rows[k][0],
            lambda k: math.inf if rows[k][1] is None else sign * rows[k][1],
            lambda k: next((x for x in (rows[k][3], rows[k][2]) if x is not None), math.inf),
            lambda k: f"v{len(rows) - k}",
        ):
            if part(i) != part(j):
                return bool(part(i) < part(j))
        return False

    inside = [i for i, r in enumerate(rows) if within(r)]
    return next((i for i in inside if not any(beats(j, i) for j in inside)), None)


def name(rows: list[Row], row: int | None) -> str | None:
    return None if row is None else f"v{len(rows) - row}"


@given(
    ROWS, st.booleans(), LEVELS, LEVELS, LEVELS, st.sampled_from([None, ["eu"], ["us", "eu"]]), LEVELS, LEVELS
)
def test_decisions_ranges_and_prices_equal_trying_everything(
    rows: list[Row], up: bool, p95: Any, loss: Any, memory: Any, regions: Any, slo: Any, other: Any
) -> None:
    limits = {"max_p95_ms": p95, "max_quality_loss": loss, "max_memory_mib": memory, "regions": regions}
    points = points_of(rows, up)
    found = decide(points, **limits)
    best = tried(rows, up, limits)
    assert (found.chosen and found.chosen["variant"]) == name(rows, best)
    # The runner-up is the choice when the chosen one is gone; its quality stays the reference.
    if best is not None and found.reference is not None and found.reference["variant"] != name(rows, best):
        left = decide(points.filter(pl.col("variant") != name(rows, best)), **limits)
        assert (left.chosen and left.chosen["variant"]) == (found.runner_up and found.runner_up["variant"])
    for limit, value, frame, ends in (
        ("max_p95_ms", slo, found.slo_ranges, "ms"),
        ("max_quality_loss", other, found.loss_ranges, "loss"),
    ):
        asked = 1.5 if value is None else value
        low, high = pl.col(f"from_{ends}"), pl.col(f"to_{ends}")
        hit = frame.filter(low <= asked, (asked < high) | high.is_null())
        assert hit.height == 1
        assert hit["variant"][0] == name(rows, tried(rows, up, limits | {limit: asked}))
        assert frame[f"to_{ends}"].to_list()[:-1] == frame[f"from_{ends}"].to_list()[1:]
    for row in found.constraints.iter_rows(named=True):
        without = tried(rows, up, limits | {row["constraint"]: None})
        assert row["variant_without"] == name(rows, without)
        if best is not None and without is not None:
            assert row["shadow_price"] == rows[best][0] - rows[without][0]
        # The least loosening that changes the choice, by trying all values that occur.
        if row["constraint"] != "regions":
            steps = [x / 2 for x in range(11) if x / 2 > row["limit"]]
            changed = [(x, tried(rows, up, limits | {row["constraint"]: x})) for x in steps]
            first = next(((x, i) for x, i in changed if i != best), (None, None))
            assert (row["next_limit"], row["next_variant"]) == (first[0], name(rows, first[1]))


# ---------------------------------------------------------------- break-even


def test_break_even_by_hand() -> None:
    found = break_even(
        3.0,
        1.0,
        migration_amount=Decimal("500.01"),
        evaluation_amount=100,
        monthly_inferences=150_000,
        ratio=(0.25, 0.5),
    )
    assert found.fixed_amount == Decimal("600.01")
    assert found.saving_per_inference == Decimal("0.002")
    assert found.inferences == 300_005
    # A saving of 0.00225 to 0.0015 each.
    assert (found.inferences_low, found.inferences_high) == (266_672, 400_007)
    assert found.months == pytest.approx(2.0, abs=0.001) and found.note is None
    never = break_even(1.0, 1.0, migration_amount=1)
    assert (never.inferences, never.months, never.note) == (
        None,
        None,
        "it saves nothing, so it never pays back",
    )
    maybe = break_even(3.0, 2.9, migration_amount=1, ratio=(0.9, 1.02))
    assert maybe.inferences == 10_000 and maybe.inferences_high is None and maybe.inferences_low == 3334
    assert maybe.note == "it may never pay back: the cost ratio may be 1 or more"
    assert break_even(None, 1.0, migration_amount=1).note == "a unit cost is unknown"
    with pytest.raises(InputError, match="0 or more"):
        break_even(2.0, 1.0, migration_amount=-1)


def timed(variant: str, times: list[float]) -> pl.DataFrame:
    rounds = list(range(len(times)))
    return pl.DataFrame(
        {"model": "m", "variant": variant, "workload": "short", "round": rounds, "items": 10, "cpu_ms": times}
    )


def test_the_interval_of_a_paired_ratio_ignores_what_slowed_both_down() -> None:
    noise = [10.0, 30.0, 12.0, 90.0, 11.0] * 20
    old, new = timed("fp32", noise), timed("int8", [x / 2 for x in noise])
    assert paired_ratio(old, new) == pytest.approx((0.5, 0.5))
    uneven = timed("int8", [x / 2 + (i % 7) for i, x in enumerate(noise)])
    low, high = paired_ratio(old, uneven) or (0, 0)
    point = uneven["cpu_ms"].sum() / old["cpu_ms"].sum()
    assert low < point < high and high - low < 0.05
    assert paired_ratio(old, uneven) == (low, high)
    assert paired_ratio(old, uneven.sample(fraction=1, shuffle=True, seed=3)) == (low, high)
    assert paired_ratio(old, uneven.with_columns(round=pl.col("round") + 1000)) is None


def test_a_curve_with_timings_gives_the_break_even_an_interval() -> None:
    noise = [10.0, 30.0, 12.0, 90.0, 11.0] * 20
    timings = pl.concat([timed("fp32", noise), timed("int8", [x / 2 + (i % 7) for i, x in enumerate(noise)])])
    points = as_points(
        pl.DataFrame(
            {
                "model": "m",
                "variant": ["fp32", "int8"],
                "workload": "short",
                "BillingCurrency": "USD",
                "per_1000_inferences": [3.0, 1.8],
                "quality_metric": "accuracy",
                "quality": [0.9, 0.9],
            }
        )
    )
    found = decide(Curve(points, timings=timings), baseline="fp32", migration_amount=1200).break_even
    assert found is not None and found.inferences == 1_000_000
    assert found.inferences_low is not None and found.inferences_high is not None
    assert found.inferences_low < 1_000_000 < found.inferences_high
    assert decide(points, migration_amount=1200, max_p95_ms=1).break_even is None


def test_what_a_limit_costs_by_the_month_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """Five USD per 1,000 of 5,000 inferences; without a volume there is no such column."""
    print_decision(decide(CANDIDATES, max_p95_ms=100, max_quality_loss=0.05, monthly_inferences=5000))
    out = capsys.readouterr().out
    assert "a month (USD)" in out and "25.00" in out
    print_decision(decide(CANDIDATES, max_p95_ms=100, max_quality_loss=0.05))
    assert "a month" not in capsys.readouterr().out
