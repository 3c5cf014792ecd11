"""Spend against load, batching curves, and machines of one's own against an API."""

from __future__ import annotations

import math
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from finops_lab.errors import InputError, NoDataError
from finops_lab.lab import open_lab
from finops_lab.routes import hosting_break_even as of_lab
from finops_lab.tradeoffs.batching import batch_curve, fit_batching, largest_batch
from finops_lab.tradeoffs.hosting_break_even import HostingBreakEven, hosting_break_even
from finops_lab.tradeoffs.load import against_load, load_total, measured_capacity

# ---------------------------------------------------------------- load

SWEEP = pl.DataFrame(
    {
        "model": ["m"] * 5 + ["n"],
        "variant": ["int8"] * 5 + [None],
        "workload": ["short"] * 6,
        "offered_per_s": [40.0, 10.0, 20.0, 30.0, 50.0, 5.0],
        "served_per_s": [39.9, 10.0, 20.0, 29.8, 41.0, 5.0],
        "p95_ms": [45.0, 20.0, 90.0, 40.0, 900.0, 9.0],
    }
)


def test_capacity_is_where_every_lower_load_held() -> None:
    # At 20 a second the P95 was over the limit: 30 and 40 held again, by chance.
    found = measured_capacity(SWEEP, max_p95_ms=50).row(0, named=True)
    assert (found["capacity_per_s"], found["fails_at_per_s"], found["note"]) == (10.0, 20.0, "P95 over 50 ms")
    loose = measured_capacity(SWEEP, max_p95_ms=100)
    assert loose.row(0)[3:] == (39.9, 40.0, 45.0, 50.0, "falls behind, P95 over 100 ms")
    assert loose.row(1)[:4] == ("n", None, "short", 5.0)
    assert loose.row(1)[-1] == "nothing failed: the capacity is at least this"
    unbound = measured_capacity(SWEEP).row(0, named=True)
    assert (unbound["capacity_per_s"], unbound["note"]) == (39.9, "falls behind")
    assert measured_capacity(SWEEP, least_served_share=0.5).row(0, named=True)["capacity_per_s"] == 41.0
    none = measured_capacity(SWEEP, max_p95_ms=5).row(0, named=True)
    assert none["capacity_per_s"] is None and none["fails_at_per_s"] == 10.0


def test_a_latency_that_is_not_known_does_not_hold() -> None:
    blind = SWEEP.with_columns(pl.lit(None, pl.Float64).alias("p95_ms"))
    assert measured_capacity(blind, max_p95_ms=50)["capacity_per_s"].to_list() == [None, None]
    assert measured_capacity(blind)["capacity_per_s"].to_list() == [39.9, 5.0]


def test_load_by_hand() -> None:
    found = against_load(
        pl.DataFrame({"hour": [1, 2, 3, 4], "offered_per_s": [0.0, 4.0, 25.0, 90.0]}),
        rate_per_hour=Decimal("2.50"),
        capacity_per_s=10.0,
        least_replicas=2,
        most_replicas=6,
        target_utilization=0.5,
    )
    assert found["replicas"].to_list() == [2, 2, 5, 6]
    assert found["served_per_s"].to_list() == [0.0, 4.0, 25.0, 60.0]
    assert found["dropped_per_s"].to_list() == [0.0, 0.0, 0.0, 30.0]
    assert found["utilization"].to_list() == [0.0, 0.2, 0.5, 1.0]
    assert found["penalty"].to_list() == [None, 5.0, 2.0, 1.0]
    # 2.50 an hour for 36,000 units is 69.44 a million in full use.
    assert found["per_1m_units"].to_list()[1:] == pytest.approx([347.2222, 138.8889, 69.4444], abs=1e-4)
    assert found["amount_per_hour"].to_list() == [Decimal(5), Decimal(5), Decimal("12.5"), Decimal(15)]
    total = load_total(found, hours=2)
    assert total["amount"] == Decimal(75)
    assert total["served"] == 89 * 7200 and total["dropped"] == 30 * 7200
    assert total["utilization"] == pytest.approx(89 / 150)
    assert total["penalty"] == pytest.approx(150 / 89)
    assert float(total["idle_amount"] or 0) == pytest.approx(75 * 61 / 150)
    assert load_total(found.with_columns(h=pl.lit(2.0)), hours="h") == total


def test_whole_steps_are_not_overshot_by_rounding() -> None:
    # 0.3 / 0.1 is above 3 in binary; three replicas do.
    assert against_load([0.3], rate_per_hour=Decimal(1), capacity_per_s=0.1)["replicas"].to_list() == [3]
    fixed = against_load([1.0, 99.0], rate_per_hour=Decimal(1), capacity_per_s=10.0, replicas=3)
    assert fixed["replicas"].to_list() == [3, 3] and fixed["served_per_s"].to_list() == [1.0, 30.0]
    idle = against_load([0.0], rate_per_hour=Decimal(1), capacity_per_s=10.0, least_replicas=0)
    assert idle.select("replicas", "utilization", "penalty").row(0) == (0, None, None)
    assert load_total(idle)["amount"] == 0 and load_total(idle)["utilization"] is None


@given(
    st.lists(st.integers(0, 1000), min_size=1, max_size=20),
    st.integers(1, 50),
    st.sampled_from([0.25, 0.5, 0.8, 1.0]),
)
def test_no_replica_is_above_its_target_and_none_is_spare(
    loads: list[int], capacity: int, target: float
) -> None:
    found = against_load(
        [float(x) for x in loads],
        rate_per_hour=Decimal("0.1"),
        capacity_per_s=float(capacity),
        target_utilization=target,
    )
    for row in found.iter_rows(named=True):
        assert row["dropped_per_s"] == 0
        assert row["offered_per_s"] <= row["replicas"] * capacity * target + 1e-6
        one_less = (row["replicas"] - 1) * capacity * target
        assert row["replicas"] == 1 or row["offered_per_s"] > one_less - 1e-6
        if row["penalty"] is not None:
            # What is paid is what is served at the price of full use, times the penalty.
            full = 0.1 / (3600 * capacity)
            assert row["penalty"] * full * row["served_per_s"] * 3600 == pytest.approx(
                float(row["amount_per_hour"])
            )
    # A larger fleet takes at least as much for the same work.
    more = against_load(
        [float(x) for x in loads],
        rate_per_hour=Decimal("0.1"),
        capacity_per_s=float(capacity),
        least_replicas=3,
        target_utilization=target,
    )
    assert (more["amount_per_hour"] >= found["amount_per_hour"]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"load": [-1.0]}, "row 1, column offered_per_s"),
        ({"load": [1.0, math.nan]}, "row 2, column offered_per_s"),
        ({"load": pl.DataFrame({"x": [1]})}, "no such column"),
        ({"rate_per_hour": 2.5}, "is a Decimal"),
        ({"rate_per_hour": Decimal("NaN")}, "is a Decimal"),
        ({"capacity_per_s": 0.0}, "above 0"),
        ({"target_utilization": 1.5}, "at most 1"),
        ({"replicas": 0}, "no fleet"),
        ({"least_replicas": 3, "most_replicas": 2}, "no fleet"),
    ],
)
def test_loads_that_cannot_be_meant_are_refused(options: dict[str, Any], message: str) -> None:
    given = {"load": [1.0], "rate_per_hour": Decimal(1), "capacity_per_s": 1.0} | options
    with pytest.raises(InputError, match=message):
        against_load(given.pop("load"), **given)


def test_sweeps_and_hours_that_cannot_be_meant_are_refused() -> None:
    with pytest.raises(InputError, match="column p95_ms"):
        measured_capacity(SWEEP.drop("p95_ms"))
    with pytest.raises(InputError, match="at most 1"):
        measured_capacity(SWEEP, least_served_share=0)
    with pytest.raises(InputError, match="finite"):
        measured_capacity(SWEEP, max_p95_ms=math.inf)
    with pytest.raises(InputError, match="hours are no number"):
        load_total(against_load([1.0], rate_per_hour=Decimal(1), capacity_per_s=1.0), hours=-1)


# ---------------------------------------------------------------- batching


def timings(batches: list[int], times: list[float], **more: Any) -> pl.DataFrame:
    return pl.DataFrame({"model": "m", "variant": "v", "items": batches, "wall_ms": times, **more})


def test_a_line_is_found_again_with_its_energy() -> None:
    sizes = [1, 2, 4, 8, 16, 64]
    frame = timings(sizes, [7 + 0.5 * b for b in sizes], energy_j=[2 + 0.25 * b for b in sizes])
    found = fit_batching(frame.reverse()).row(0, named=True)
    line = ("fixed_ms", "per_item_ms", "fixed_j", "per_item_j", "most_per_s", "half_batch")
    assert [found[name] for name in line] == pytest.approx([7, 0.5, 2, 0.25, 2000, 14])
    errors = [value for name, value in found.items() if name.endswith("_ape")]
    assert len(errors) == 8 and errors == pytest.approx([0.0] * 8, abs=1e-9)
    drawn = batch_curve(fit_batching(frame), [8, 128], rate_per_hour=Decimal("7.2"))
    assert drawn["time_ms"].to_list() == pytest.approx([11, 71])
    assert drawn["throughput_per_s"].to_list() == pytest.approx([8000 / 11, 128000 / 71])
    assert drawn["energy_j"].to_list() == pytest.approx([0.5, 0.25 + 2 / 128])
    assert drawn["per_1m_items"].to_list() == pytest.approx(
        [7.2 / 3600 * 1e6 * 11 / 8000, 2000 * 71 / 128000]
    )
    assert drawn["measured"].to_list() == [True, False]


@given(st.lists(st.tuples(st.sampled_from([1, 2, 4, 8, 32]), st.floats(0.5, 50)), min_size=2, max_size=10))
def test_no_other_line_of_the_kind_has_a_smaller_relative_error(rows: list[tuple[int, float]]) -> None:
    batch, time = np.array([r[0] for r in rows], float), np.array([r[1] for r in rows])
    found = fit_batching(timings([r[0] for r in rows], [r[1] for r in rows])).row(0, named=True)
    if len(set(batch)) < 2:
        assert found["fixed_ms"] is None and "one size" in found["note"]
        return

    def error(a: float, b: float) -> float:
        return float((((a + b * batch) / time - 1) ** 2).sum())

    a, b = found["fixed_ms"], found["per_item_ms"]
    assert a >= 0 and b >= 0
    # Convex: no step to a neighbour that is not negative helps.
    for da in (-1e-3, 0, 1e-3):
        for db in (-1e-3, 0, 1e-3):
            assert error(a, b) <= error(max(a + da, 0), max(b + db, 0)) + 1e-9


def test_sizes_left_out_are_foretold_from_the_others() -> None:
    sizes, times = [1, 1, 4, 16], [10.0, 12.0, 13.0, 40.0]
    found = fit_batching(timings(sizes, times)).row(0, named=True)
    missed = []
    for gone in (1, 4, 16):
        kept = [(b, t) for b, t in zip(sizes, times, strict=True) if b != gone]
        fit = fit_batching(timings([b for b, _ in kept], [t for _, t in kept])).row(0, named=True)
        missed += [
            abs((fit["fixed_ms"] + fit["per_item_ms"] * b) / t - 1)
            for b, t in zip(sizes, times, strict=True)
            if b == gone
        ]
    assert found["left_out_median_ape"] == pytest.approx(np.median(missed))
    assert found["left_out_p90_ape"] == pytest.approx(np.quantile(missed, 0.9))
    assert found["left_out_median_ape"] > found["median_ape"]


def test_curves_that_tell_little_say_so() -> None:
    flat = fit_batching(timings([1, 8, 64], [9.0, 9.0, 9.0]))
    assert flat.select("per_item_ms", "most_per_s").row(0) == (pytest.approx(0, abs=1e-9), None)
    assert "no part of the time grows" in flat["note"][0]
    assert largest_batch(flat, max_ms=10).select("batch", "capacity_per_s").row(0) == (
        64,
        pytest.approx(64000 / 9),
    )
    assert largest_batch(flat, max_ms=5)["note"][0] == "not even one item is done within 5 ms"
    two = fit_batching(timings([1, 8], [2.0, 9.0]))
    assert two["left_out_median_ape"][0] is None and "nor checked" in two["note"][0]
    one = fit_batching(timings([4, 4], [2.0, 9.0]))
    assert largest_batch(one, max_ms=5).select("batch", "note").row(0) == (
        None,
        "one size of batch tells no curve",
    )
    assert fit_batching(timings([1, 8], [2.0, 9.0]).clear()).height == 0
    partly = fit_batching(timings([1, 8, 16], [2.0, 9.0, 17.0], energy_j=[None, 4.0, 8.0]))
    assert partly.select("fixed_j", "per_item_j").row(0) == pytest.approx((0.0, 0.5))


def test_curves_are_told_apart_and_stop_at_what_was_measured() -> None:
    both = pl.concat(
        [timings([1, 8], [3.0, 10.0]), timings([1, 4], [20.0, 50.0]).with_columns(variant=pl.lit("a"))]
    )
    fits = fit_batching(both)
    assert fits.select("variant", "largest_batch").rows() == [("a", 4), ("v", 8)]
    found = largest_batch(fits, max_ms=31)
    assert found.select("variant", "batch").rows() == [("a", 2), ("v", 8)]
    assert found["note"].to_list() == [None, "the largest batch that was measured is in time"]


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (timings([1], [1.0]).drop("wall_ms"), "column wall_ms"),
        (timings([0], [1.0]), "row 1, column items"),
        (timings([1, 2], [1.0, 0.0]), "row 2, column wall_ms"),
        (timings([1], [1.0], energy_j=[-1.0]), "row 1, column energy_j"),
    ],
)
def test_timings_that_cannot_be_meant_are_refused(frame: pl.DataFrame, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fit_batching(frame)
    fits = fit_batching(timings([1, 2], [1.0, 2.0]))
    with pytest.raises(InputError, match="from 1 up"):
        batch_curve(fits, [0])
    with pytest.raises(InputError, match="above 0"):
        largest_batch(fits, max_ms=0)


# ---------------------------------------------------------------- hosting

FIRST = date(2026, 8, 3)


def days(amounts: Any, tokens: Any, used: Any = None, n: int = 56) -> pl.DataFrame:
    frame = pl.DataFrame(
        {
            "day": [FIRST + timedelta(days=i) for i in range(n)],
            "amount": [Decimal(str(round(float(x), 6))) for x in np.broadcast_to(amounts, n)],
            "tokens": np.broadcast_to(tokens, n).astype(np.int64),
        }
    ).with_columns(pl.col("amount").cast(pl.Decimal(38, 18)))
    return frame if used is None else frame.with_columns(utilization=pl.Series(np.broadcast_to(used, n)))


def figure(found: HostingBreakEven, name: str) -> dict[str, Any]:
    return found.figures.filter(figure=name).row(0, named=True)


def test_break_even_by_hand() -> None:
    # 60 a day for 10 M tokens at 30 % in use; the API takes 4 a million.
    found = hosting_break_even(days(60, 10_000_000, 0.3), days(20, 5_000_000), machines=2, draws=50)
    assert figure(found, "hosted_per_mtok")["value"] == 6.0
    assert figure(found, "api_per_mtok")["value"] == 4.0
    assert figure(found, "break_even_tokens_per_month")["value"] == pytest.approx(15e6 * 30)
    assert figure(found, "utilization_needed")["value"] == pytest.approx(0.45)
    assert figure(found, "capacity_tokens_per_month")["value"] == pytest.approx(10e6 / 0.3 * 0.8 * 30)
    assert figure(found, "saving_per_month")["value"] == pytest.approx(-600)
    # Days are alike, so nothing is uncertain.
    assert all(row["lo"] == pytest.approx(row["hi"]) for row in found.figures.iter_rows(named=True))
    assert (found.verdict, found.chance_cheaper_now, found.chance_reachable) == (
        "cheaper from the break-even volume", 0.0, 1.0,
    )  # fmt: skip
    assert (found.hosted_amount, found.api_amount) == (Decimal(60 * 56), Decimal(20 * 56))
    # At the break-even volume both take the same, and beyond the capacity a third machine is added.
    even = 15e6 * 30
    below, above = (found.curve.filter(pl.col("tokens_per_month") < even), found.curve.filter(
        (pl.col("tokens_per_month") > even) & (pl.col("machines") == 2)))  # fmt: skip
    assert (below["hosted_per_month"] > below["api_per_month"]).all()
    assert above.height and (above["hosted_per_month"] < above["api_per_month"]).all()
    more = found.curve.filter(pl.col("tokens_per_month") > 10e6 / 0.3 * 0.8 * 30)
    assert more.height and (more["machines"] >= 3).all()


@pytest.mark.parametrize(
    ("api_amount", "used", "verdict"),
    [
        (40, 0.3, "cheaper now"),  # 8 a million
        (20, 0.3, "cheaper from the break-even volume"),
        (10, 0.6, "dearer at any volume"),  # would need 180 %
        (20, None, "utilization unknown"),
        (40, None, "cheaper now"),
    ],
)
def test_verdicts(api_amount: float, used: float | None, verdict: str) -> None:
    found = hosting_break_even(days(60, 10_000_000, used), days(api_amount, 5_000_000), draws=50)
    assert found.verdict == verdict
    if used is None:
        assert found.chance_reachable is None and found.curve.is_empty()
        assert figure(found, "utilization_needed")["value"] is None
        assert "utilization unknown on 56 of 56 days" in found.notes[0]


def test_noisy_days_do_not_decide_what_is_close() -> None:
    rng = np.random.default_rng(4)
    tokens = rng.lognormal(math.log(1e7), 0.6, 14)
    found = hosting_break_even(days(40, tokens, 0.5, n=14), days(20, 5_000_000, n=14), max_utilization=0.5)
    assert found.verdict == "not decided by these days"
    assert found.chance_reachable is not None and 0.05 < found.chance_reachable < 0.95
    row = figure(found, "break_even_tokens_per_month")
    assert row["lo"] == row["hi"] == pytest.approx(300e6)  # neither amount moves
    needed = figure(found, "utilization_needed")
    assert needed["lo"] < 0.5 < needed["hi"]


def test_intervals_over_days_cover() -> None:
    rng = np.random.default_rng(9)
    # Weekends have half the load; the truth is the mean of the week.
    week = np.array([1.2, 1.2, 1.2, 1.2, 1.2, 0.5, 0.5])
    truth = 60 / (1e7 * week.mean()) * 1e6
    hit = 0
    for seed in range(60):
        tokens = 1e7 * week[np.arange(56) % 7] * rng.lognormal(-0.02, 0.2, 56)
        found = hosting_break_even(days(60, tokens, 0.4), days(20, 5_000_000), draws=300, seed=seed)
        row = figure(found, "hosted_per_mtok")
        hit += row["lo"] <= truth <= row["hi"]
    assert 45 <= hit <= 59


def test_days_are_drawn_together_where_they_are_the_same() -> None:
    rng = np.random.default_rng(2)
    load = rng.lognormal(0, 0.5, 56)
    # Both bills follow one load, so their ratio is sure though each is not.
    mine, theirs = days(60 * load, 1e7 * load, 0.4), days(20 * load, 5e6 * load)
    narrow = figure(hosting_break_even(mine, theirs), "utilization_needed")
    assert narrow["hi"] - narrow["lo"] < 1e-6
    volume = figure(hosting_break_even(mine, theirs), "break_even_tokens_per_month")
    assert volume["hi"] / volume["lo"] > 1.1
    one, other = (hosting_break_even(f, theirs, seed=5) for f in (mine, mine.reverse()))
    assert_frame_equal(one.figures, other.figures)


def test_days_with_gaps_are_left_out_and_counted() -> None:
    mine = days(60, 10_000_000, 0.3)
    gaps = mine.with_columns(tokens=pl.when(pl.int_range(pl.len()) >= 3).then("tokens"))
    found = hosting_break_even(gaps, days(20, 5_000_000), draws=20)
    assert found.notes == ("3 days of hosted lack money or tokens and are left out",)
    assert found.hosted_amount == Decimal(60 * 53)
    # A day on which the machines served nothing is no gap.
    idle = mine.with_columns(tokens=pl.when(pl.int_range(pl.len()) >= 28).then("tokens").otherwise(0))
    assert figure(hosting_break_even(idle, days(20, 5_000_000), draws=20), "hosted_per_mtok")["value"] == 12.0


@pytest.mark.parametrize(
    ("mine", "theirs", "options", "error", "message"),
    [
        (days(1, 1).drop("tokens"), days(1, 1), {}, InputError, "column tokens"),
        (days(1, 1).cast({"amount": pl.Float64}), days(1, 1), {}, InputError, "so Decimals"),
        (pl.concat([days(1, 1), days(1, 1)]), days(1, 1), {}, InputError, "tell 2026-08-03 twice"),
        (days(1, 1, 1.2), days(1, 1), {}, InputError, "share from 0 to 1"),
        (days(1, 1), days(1, -1), {}, InputError, "below 0"),
        (days(1, 1), days(0, 1), {}, NoDataError, "no price"),
        (days(1, 1), days(1, 0), {}, NoDataError, "no price"),
        (
            days(1, 1).with_columns(tokens=pl.lit(None, pl.Int64)),
            days(1, 1),
            {},
            NoDataError,
            "no day of hosted",
        ),
        (days(1, 1), days(1, 1), {"max_utilization": 0}, InputError, "above 0 and at most 1"),
        (days(1, 1), days(1, 1), {"level": 1}, InputError, "between 0 and 1"),
        (days(1, 1), days(1, 1), {"draws": 0}, InputError, "from 1 up"),
    ],
)
def test_days_that_cannot_be_meant_are_refused(
    mine: pl.DataFrame, theirs: pl.DataFrame, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        hosting_break_even(mine, theirs, **options)


def test_a_lab_compares_its_machines_with_its_api() -> None:
    lab = open_lab(progress=False)
    found = of_lab(lab, "2026-10", hosted="larch-7b", api=["quill-small"], draws=200)
    assert found.currency == "USD" and found.hosted_amount > 0
    used, needed = figure(found, "utilization")["value"], figure(found, "utilization_needed")["value"]
    mine, theirs = figure(found, "hosted_per_mtok")["value"], figure(found, "api_per_mtok")["value"]
    assert 0 < used < 1 and needed == pytest.approx(used * mine / theirs, rel=1e-6)
    assert found.verdict == ("cheaper now" if mine < theirs else "dearer at any volume")
    for options, message in (
        ({"hosted": "quill-small"}, "'quill-small' is served by its own machines"),
        ({"hosted": "larch-7b", "api": ["larch-70b"]}, "'larch-70b' is served by an API"),
    ):
        with pytest.raises(InputError, match=message):
            of_lab(lab, "2026-10", **options)  # type: ignore[arg-type]
