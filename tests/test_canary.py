"""Canaries: checks by hand, planted faults that must be found, clean ones that must not be, a lab's own."""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from helpers import write_lab
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from test_cli import refused, run
from typer.testing import CliRunner

from finops_lab.cli import app
from finops_lab.errors import InputError, NoDataError
from finops_lab.lab import Lab, open_lab
from finops_lab.tradeoffs.canary import CanaryVerdict, canary_check
from finops_lab.tradeoffs.canary_plan import canary_plan
from finops_lab.tradeoffs.canary_verdict import alphas, verdict
from finops_lab.tradeoffs.checks import CHECKS, check, checks_of
from finops_lab.tradeoffs.evaluated import evaluated
from finops_lab.tradeoffs.guardrails import burn_guard, error_guard, latency_guard, least_calls
from finops_lab.tradeoffs.representative import mix, mix_needs, reweighted
from finops_lab.tradeoffs.slicing import sliced, slices
from finops_lab.tradeoffs.streams import alike, as_outcomes, blocked, paired
from finops_lab.trying import canary_of, plan_of

BEGIN = datetime(2026, 10, 5, tzinfo=UTC)
ARMS = {"baseline": "bf16", "canary": "int8"}


# ---------------------------------------------------------------- a canary with planted faults


def world(
    seed: int,
    *,
    loss: float = 0.0,
    missing: str | None = None,
    slower: float = 1.0,
    failing: float = 0.0,
    n: int = 2_000,
) -> dict[str, Any]:
    """Return a synthetic canary of a week: outcomes by item, calls of both arms, the whole traffic."""
    rng = np.random.default_rng(seed)
    customers = rng.choice(["acme", "birch", "cedar", "delta"], p=[0.4, 0.3, 0.2, 0.1], size=4 * n)
    seconds = np.sort(rng.integers(0, 7 * 86_400, 4 * n))
    traffic = pl.DataFrame(
        {
            "request_id": pl.int_range(4 * n, eager=True).cast(pl.String),
            "ts_start": BEGIN + pl.Series(seconds * 1_000_000).cast(pl.Duration("us")),
            "customer": customers,
            "region": rng.choice(["eu", "us"], 4 * n),
            "input_uncached_tokens": rng.lognormal(6, 1, 4 * n).astype(int),
            "arm": rng.choice(["other", "bf16", "int8"], p=[0.5, 0.25, 0.25], size=4 * n),
            "status": "ok",
            "latency_ms": rng.lognormal(6, 0.4, 4 * n),
        }
    )
    of_canary = pl.col("arm") == "int8"
    fails = pl.Series(rng.random(4 * n) < 0.01)
    more = pl.Series(rng.random(4 * n) < failing)
    traffic = traffic.with_columns(
        pl.when(fails | (more & of_canary)).then(pl.lit("error")).otherwise("status").alias("status"),
        pl.when(of_canary).then(pl.col("latency_ms") * slower).otherwise("latency_ms").alias("latency_ms"),
    )
    calls = traffic.filter(pl.col("arm") != "other")
    if missing is not None:
        calls = calls.filter(~of_canary | (pl.col("customer") != missing))
    items = calls.filter(of_canary).with_row_index("item")
    right = rng.random(items.height) < 0.8
    draw = rng.random(items.height)
    # Two of a hundred answers change at random, and of the rest the loss turns right ones wrong.
    other = np.where(draw < 0.02, rng.random(items.height) < 0.8, right & (draw > 0.02 + loss / 0.8))
    outcomes = items.select("item", pl.col("ts_start").alias("ts"), "customer").with_columns(
        pl.Series("bf16", right.astype(int)), pl.Series("int8", other.astype(int))
    )
    edges = [150.0, 400.0, 1_000.0]
    return {
        "outcomes": outcomes,
        "calls": sliced(calls, edges=edges),
        "traffic": sliced(traffic, edges=edges),
    }


def judged(seed: int, **faults: Any) -> CanaryVerdict:
    return canary_check(
        **world(seed, **faults),
        **ARMS,
        margin=0.02,
        discordance=0.02,
        p95_slack=0.25,
        max_error_increase=0.03,
    )


def test_twenty_clean_canaries_are_not_rolled_back_and_nearly_all_promoted() -> None:
    said = [judged(seed) for seed in range(20)]
    verdicts = [found.verdict for found in said]
    assert verdicts.count("roll back") == 0
    assert verdicts.count("promote") >= 18
    assert sum("mix" in set(v.checks.filter(pl.col("status") == "breached")["kind"]) for v in said) <= 1


@pytest.mark.parametrize(
    ("faults", "kind"),
    [({"loss": 0.06}, "quality"), ({"slower": 1.7}, "latency"), ({"failing": 0.09}, "errors")],
)
def test_planted_faults_are_rolled_back_for_what_was_planted(faults: dict[str, float], kind: str) -> None:
    for seed in range(4):
        found = judged(100 + seed, **faults)
        breached = found.checks.filter(pl.col("status") == "breached")
        assert found.verdict == "roll back", (seed, found.sentence)
        assert set(breached["kind"]) == {kind}
        assert breached["check"][0] in found.sentence


def test_a_sample_that_lacks_a_customer_is_held_and_the_customer_is_named() -> None:
    for seed, customer in enumerate(["birch", "cedar", "delta", "delta"]):
        found = judged(200 + seed, missing=customer)
        assert found.verdict == "hold", (seed, found.sentence)
        assert "not representative" in found.sentence and f"'{customer}'" in found.sentence
        row = found.mix.filter(dimension="customer").row(0, named=True)
        assert (row["status"], row["slice"], row["canary_share"]) == ("not representative", customer, 0.0)
        others = found.mix.filter(pl.col("dimension") != "customer")
        assert "not representative" not in set(others["status"])
        (estimate,) = found.checks.filter(kind="estimate").iter_rows(named=True)
        assert customer in estimate["reason"] and not estimate["required"] and estimate["status"] == "unknown"


def test_the_same_data_in_another_order_gives_the_same_verdict_and_evidence() -> None:
    data = world(1, n=600)
    turned = {name: frame[::-1] for name, frame in data.items()}
    one, other = (canary_check(**d, **ARMS, margin=0.05) for d in (data, turned))
    assert_frame_equal(one.checks, other.checks)
    assert_frame_equal(one.path, other.path)
    assert one.sentence == other.sentence


def test_too_little_data_is_held_with_what_is_still_needed() -> None:
    found = judged(3, n=80)
    assert found.verdict == "hold"
    quality = found.checks.filter(kind="quality").row(0, named=True)
    assert quality["status"] == "unknown" and quality["n_needed"] > quality["n"]
    assert f"about {quality['n_needed']:,} needed" in found.sentence


# ---------------------------------------------------------------- verdicts


def seen(status: str, kind: str = "errors", required: bool = True, **more: Any) -> pl.DataFrame:
    return check(f"the {kind}", kind, status, reason="why", required=required, **more)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([seen("ok", "quality"), seen("ok")], "promote"),
        ([seen("ok", "quality"), seen("unknown")], "hold"),
        ([seen("ok", "quality"), seen("unknown", required=False)], "promote"),
        ([seen("ok", "quality"), seen("breached", required=False)], "roll back"),
        ([seen("unknown", "quality"), seen("breached")], "roll back"),
        ([seen("ok", "quality"), seen("breached", "mix")], "hold"),
        ([seen("breached", "quality"), seen("breached", "mix")], "roll back"),
        ([seen("ok", "quality"), seen("breached", "estimate", required=False)], "promote"),
        ([seen("ok")], "hold"),
        ([], "hold"),
    ],
)
def test_what_follows_from_checks(parts: list[pl.DataFrame], said: str) -> None:
    decided, sentence = verdict(checks_of(parts), "int8")
    assert decided == said and sentence.startswith(f"{said.capitalize()} int8")


def test_the_chance_of_a_wrong_roll_back_is_shared_and_that_of_a_promotion_is_not() -> None:
    assert alphas(0.05) == (0.05, 0.0125) and alphas(0.05, 5) == (0.05, 0.0025)
    with pytest.raises(InputError, match=r"between 0 and 0\.5"):
        alphas(0.5)


def test_without_any_quality_nothing_is_promoted() -> None:
    data = world(4)
    found = canary_check(calls=data["calls"], **ARMS, p95_slack=0.25, max_error_increase=0.03)
    assert found.verdict == "hold" and "no outcomes by item and no evaluations" in found.sentence
    assert set(found.checks.filter(pl.col("kind") != "quality")["status"]) == {"ok"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "nothing to judge"),
        (
            {"outcomes": pl.DataFrame({"item": [1], "bf16": [1], "int8": [0]}), "margin": 0.0},
            "the margin must be",
        ),
        (
            {"outcomes": pl.DataFrame({"item": [1], "bf16": [1], "int8": [0]}), "discordance": 2.0},
            "at most 1, not 2",
        ),
        ({"outcomes": pl.DataFrame({"item": [1], "a": [1]})}, "item, bf16 and int8"),
        ({"calls": pl.DataFrame({"ts_start": [BEGIN], "arm": ["int8"]})}, "calls have no column 'status'"),
        ({"more": [seen("ok")], "traffic": pl.DataFrame({"region": ["eu", "us"]})}, "mix cannot be told"),
    ],
)
def test_what_cannot_be_judged_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        canary_check(**options, **ARMS)


# ---------------------------------------------------------------- outcomes and blocks


def test_both_forms_of_outcomes_give_the_same_differences() -> None:
    wide = pl.DataFrame(
        {"item": ["a", "b", "c"], "int8": [1, 0, None], "bf16": [0.5, 1, 1], "topic": ["x", "y", "y"]}
    )
    long = wide.unpivot(["int8", "bf16"], index=["item", "topic"], variable_name="arm", value_name="value")
    one, other = (
        as_outcomes(f, **ARMS).sort("item", "arm").select(sorted(as_outcomes(f, **ARMS).columns))
        for f in (wide, long)
    )
    assert_frame_equal(one, other)
    assert sorted(paired(one).rows()) == [("a", 0.5), ("b", -1.0)]  # c was not answered by both


def test_pairs_come_in_order_of_time_or_drawn_from_the_seed() -> None:
    long = as_outcomes(
        pl.DataFrame({"item": [3, 1, 2], "ts": [1, 2, 3], "bf16": [0, 0, 0], "int8": [1, 0, 1]}), **ARMS
    )
    assert paired(long)["item"].to_list() == [3, 1, 2]
    many = as_outcomes(pl.DataFrame({"item": range(50), "bf16": [0] * 50, "int8": [1] * 50}), **ARMS)
    drawn = paired(many)["item"].to_list()
    assert drawn == paired(many[::-1])["item"].to_list() != sorted(drawn)
    assert drawn != paired(many, seed=1)["item"].to_list()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"item": [1, 1], "arm": ["bf16", "int8"], "value": [1, 2]}, "item 1: 2.0 is not between 0 and 1"),
        ({"item": [1, 1], "arm": ["bf16", "int4"], "value": [1, 0]}, "no outcome of 'int8'"),
        ({"item": [1, 1, 1], "arm": ["bf16", "int8", "int8"], "value": [1, 0, 0]}, "item 1 stands twice"),
        ({"id": [1], "value": [1]}, "outcomes have the columns id, value"),
        ({"item": [1], "bf16": ["right"], "int8": ["wrong"]}, "values are String, not numbers"),
    ],
)
def test_outcomes_that_cannot_be_are_refused(rows: dict[str, list[Any]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        as_outcomes(pl.DataFrame(rows), **ARMS)


def test_one_name_for_both_arms_is_refused() -> None:
    with pytest.raises(InputError, match="name two arms"):
        as_outcomes(pl.DataFrame({"item": [1], "x": [1]}), baseline="x", canary="x")


@settings(max_examples=40)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 1)), max_size=40))
def test_blocks_are_pairs_of_runs(rows: list[tuple[bool, int]]) -> None:
    runs: list[list[tuple[bool, int]]] = []
    for row in rows:
        if runs and runs[-1][-1][0] == row[0]:
            runs[-1].append(row)
        else:
            runs.append([row])
    want = []
    # A pair of runs is closed by the begin of the next.
    for k in range(0, len(runs) - 2, 2):
        sides = {run[0][0]: [value for _, value in run] for run in runs[k : k + 2]}
        want.append((np.mean(sides[True]) - np.mean(sides[False]), len(sides[True]), len(sides[False])))
    calls = pl.DataFrame(
        {
            "ts": range(len(rows)),
            "arm": ["canary" if is_canary else "baseline" for is_canary, _ in rows],
            "value": [value for _, value in rows],
        },
        schema={"ts": pl.Int64, "arm": pl.String, "value": pl.Int64},
    )
    found = blocked(calls).rows()
    assert [row[1:] for row in found] == [row[1:] for row in want]
    assert [row[0] for row in found] == pytest.approx([row[0] for row in want])


def test_outcomes_of_different_items_are_compared_in_blocks_of_time() -> None:
    rng = np.random.default_rng(5)
    n = 3_000
    rows = pl.DataFrame({"item": range(n), "ts": range(n), "arm": rng.choice(["bf16", "int8"], n)})
    rows = rows.with_columns(
        pl.Series("value", rng.random(n)) < pl.when(pl.col("arm") == "int8").then(0.5).otherwise(0.9)
    )
    found = canary_check(rows, **ARMS)
    assert found.verdict == "roll back" and "no item was answered by both" in found.checks["reason"][0]
    with pytest.raises(InputError, match="items have no ts"):
        canary_check(rows.drop("ts"), **ARMS)


def test_a_metric_where_lower_is_better_turns_the_verdict() -> None:
    items = pl.DataFrame({"item": range(400), "bf16": [0.1] * 400, "int8": [0.4] * 400})
    assert canary_check(items, **ARMS, higher_is_better=False).verdict == "roll back"
    assert canary_check(items, **ARMS).verdict == "promote"


def test_rows_of_unequal_weight_are_thinned_to_what_they_stand_for() -> None:
    rows = pl.DataFrame({"sample_weight": [1.0] * 10_000 + [10.0] * 1_000, "k": range(11_000)})
    kept = alike(rows)
    assert kept.filter(sample_weight=10.0).height == 1_000
    assert kept.filter(sample_weight=1.0).height == pytest.approx(1_000, abs=150)
    assert_frame_equal(kept, alike(rows))
    with pytest.raises(InputError, match="several calls in one row"):
        alike(pl.DataFrame({"n_requests": [1, 4], "sample_weight": [1.0, 1.0]}))


# ---------------------------------------------------------------- guardrails


def test_the_p95_is_judged_by_calls_above_the_limit_with_its_floor() -> None:
    quick = pl.Series([100.0] * 400)
    found = latency_guard(quick, 200).row(0, named=True)
    assert (found["status"], found["value"], found["n"]) == ("ok", 0.0, 400)
    assert found["reason"] == "P95 100 ms, limit 200 ms" and found["high"] < 0.05
    assert latency_guard(pl.Series([100.0] * 3 + [500.0] * 47), 200)["status"].item() == "breached"
    few = latency_guard(quick.head(58), 200).row(0, named=True)
    assert few["status"] == "unknown" and few["n_needed"] >= 59
    none = latency_guard(pl.Series([None], dtype=pl.Float64), 200).row(0, named=True)
    assert none["status"] == "unknown" and none["n"] == 0 and "no call has a latency" in none["reason"]
    assert (least_calls(0.95), least_calls(0.5)) == (59, 5)
    with pytest.raises(InputError, match="a limit above 0 ms"):
        latency_guard(quick, 0)


def test_errors_are_compared_with_the_baseline_of_the_same_time() -> None:
    # Everything fails in the second half, of both arms alike: no increase.
    half = [0] * 500 + [1] * 500
    calls = pl.DataFrame({"ts": range(1_000), "arm": ["baseline", "canary"] * 500, "value": half})
    alike_ = error_guard(calls, max_increase=0.05).row(0, named=True)
    assert alike_["status"] == "ok" and alike_["value"] == pytest.approx(0, abs=0.01)
    worse = calls.with_columns(pl.when(pl.col("arm") == "canary").then(1).otherwise(0).alias("value"))
    found = error_guard(worse).row(0, named=True)
    assert found["status"] == "breached" and "canary 100.00% of 500 calls, baseline 0.00%" in found["reason"]
    alone = error_guard(calls.filter(arm="canary")).row(0, named=True)
    assert (alone["status"], alone["n"]) == ("unknown", 0) and "baseline no calls" in alone["reason"]
    with pytest.raises(InputError, match="between 0 and 1"):
        error_guard(calls, max_increase=1)


BURN = {"window": "1 h / 5 m", "severity": "page", "status": "burning", "long_rate": 20.0, "at": BEGIN}


def test_a_burning_window_rolls_back_and_windows_with_few_rows_do_not_hide_it() -> None:
    failed = pl.Series([0.0] * 200)
    rows = [BURN | {"status": "too few rows", "long_rate": None}, BURN]
    found = burn_guard(pl.DataFrame(rows), failed, 0.999, slo="chat: availability").row(0, named=True)
    assert found["status"] == "breached"
    assert found["reason"] == "1 h / 5 m burned 20.0 times as fast as allowed at 2026-10-05 00:00"
    ticket = pl.DataFrame([BURN | {"severity": "ticket"}])
    assert (
        burn_guard(ticket, failed, 0.9, slo="s")["status"].item() == "ok"
    )  # 200 good calls of a target of 90 %
    few = burn_guard(pl.DataFrame(rows[:1]), failed, 0.999, slo="s").row(0, named=True)
    assert few["status"] == "unknown" and "1 of them with too few rows" in few["reason"]
    # No window burned, and still 5 % fail where 1 % may.
    slow = burn_guard(pl.DataFrame(rows[:1]), pl.Series(([0.0] * 19 + [1.0]) * 60), 0.99, slo="s").row(
        0, named=True
    )
    assert (slow["status"], slow["value"], slow["limit"]) == ("breached", pytest.approx(5), pytest.approx(1))
    with pytest.raises(InputError, match="cannot be burned 20 times"):
        burn_guard(ticket, failed, 0.9, slo="s", max_burn=20)


# ---------------------------------------------------------------- the mix of traffic


def test_the_distance_and_statistic_of_two_mixes_by_hand() -> None:
    whole = pl.DataFrame({"region": ["eu"] * 500 + ["us"] * 500})
    sample = pl.DataFrame({"region": ["eu"] * 80 + ["us"] * 20})
    row = mix(sample, whole, by=["region"]).row(0, named=True)
    assert (row["distance"], row["slice"], row["n_needed"]) == (pytest.approx(0.3), "us", 64)
    ours, theirs = np.array([0.8, 0.2]), np.array([0.5, 0.5])
    assert row["psi"] == pytest.approx(float(((ours - theirs) * np.log(ours / theirs)).sum()))
    table = np.array([[80, 20], [500, 500]])
    expected = table.sum(1, keepdims=True) * table.sum(0) / table.sum()
    assert row["g"] == pytest.approx(float(2 * (table * np.log(table / expected)).sum()))
    assert row["status"] == "not representative" and row["p_value"] < 1e-6


def test_a_difference_must_be_both_proven_and_large() -> None:
    whole = pl.DataFrame({"region": ["eu", "us"] * 50_000})
    trifle = pl.DataFrame({"region": ["eu"] * 10_600 + ["us"] * 10_000})
    row = mix(trifle, whole, by=["region"]).row(0, named=True)
    assert row["p_value"] < 0.01 and row["status"] == "ok"  # 1.5 % of calls: proven and small
    few = mix(trifle.head(8), whole, by=["region"]).row(0, named=True)
    assert few["status"] == "unknown" and few["n_needed"] == mix_needs(pl.Series([0.5, 0.5])) == 64


def test_a_slice_that_is_missing_altogether_matters_where_it_is_a_twentieth_of_the_traffic() -> None:
    whole = pl.DataFrame({"customer": ["a"] * 900 + ["b"] * 60 + ["c"] * 40})
    without = whole.filter(pl.col("customer") != "b")
    row = mix(without, whole, by=["customer"]).row(0, named=True)
    assert (row["status"], row["slice"], row["distance"]) == ("not representative", "b", pytest.approx(0.06))
    assert "(missing)" in row["reason"]
    rare = mix(whole.filter(pl.col("customer") != "c"), whole, by=["customer"]).row(0, named=True)
    assert rare["status"] == "ok" and rare["p_value"] < 0.05
    few = mix(without.sample(30, seed=1), whole, by=["customer"])  # by chance, and too few to tell
    assert few["status"].item() == "unknown"


def test_holm_corrects_over_dimensions_and_constant_ones_are_left_out() -> None:
    rng = np.random.default_rng(2)
    whole = pl.DataFrame({name: rng.choice(["x", "y"], 2_000) for name in "abc"} | {"d": "z"})
    sample = whole[:300].with_columns(pl.lit("x").alias("a"))
    found = mix(sample, whole, by=list("abcd"))
    assert found["dimension"].to_list() == list("abc")
    single = {name: mix(sample, whole, by=[name])["p_value"].item() for name in "abc"}
    assert found["p_value"][0] == pytest.approx(min(3 * single["a"], 1))
    with pytest.raises(InputError, match="no way to compare"):
        mix(sample, whole, by=["d"])
    with pytest.raises(InputError, match="distance of two mixes"):
        mix(sample, whole, by=["a"], max_distance=0)


def test_a_long_session_counts_once() -> None:
    whole = pl.DataFrame({"session": [f"s{k}" for k in range(1_000)], "region": ["eu", "us"] * 500})
    chatty = pl.DataFrame(
        {"session": ["s0"] * 500 + [f"s{k}" for k in range(100)], "region": ["eu"] * 500 + ["eu", "us"] * 50}
    )
    assert mix(chatty, whole, by=["region"])["status"].item() == "not representative"
    row = mix(chatty, whole, by=["region"], unit="session").row(0, named=True)
    assert (row["status"], row["n"]) == ("ok", 100)
    unknown = chatty.with_columns(session=pl.lit(None, pl.String))
    assert slices(unknown, whole, "region", unit="session")["canary"].sum() == 600


def test_unknown_values_are_a_slice_and_so_are_sizes_and_hours() -> None:
    calls = pl.DataFrame(
        {
            "ts_start": [datetime(2026, 10, 1, h) for h in range(6)],
            "input_uncached_tokens": [1, 2, 3, 4, None, 600],
            "cache_read_tokens": [None, 0, 0, 0, None, 400],
        }
    )
    found = sliced(calls)
    assert found["hour"].to_list() == ["00", "01", "02", "03", "04", "05"]
    assert found["input_tokens"].to_list() == ["0 to 1", "2 to 2", "3 to 3", "4 to 4", None, "5 and more"]
    assert sliced(calls.drop("input_uncached_tokens", "cache_read_tokens")).columns == ["ts_start", "hour"]
    assert sliced(calls, edges=[])["input_tokens"].to_list()[3:5] == ["0 and more", None]
    assert slices(found, found, "input_tokens")["slice"].to_list()[0] == "(unknown)"


def test_reweighting_by_hand_and_what_it_does_not_cover() -> None:
    seen_ = pl.DataFrame(
        {"c": ["a"] * 4 + ["b"] * 4 + ["z"], "difference": [0.0, 0, 0, -1, -1, -1, -1, 0, 0]}
    )
    whole = pl.DataFrame({"c": ["a"] * 20 + ["b"] * 60 + ["c"] * 20})
    row = reweighted(seen_, whole, "c").row(0, named=True)
    assert row["mean"] == pytest.approx(-4 / 9)
    assert row["reweighted"] == pytest.approx(0.25 * -0.25 + 0.75 * -0.75)
    spread = math.sqrt(0.25**2 * 0.25 / 4 + 0.75**2 * 0.25 / 4)
    assert row["high"] - row["reweighted"] == pytest.approx(1.6448536 * spread)
    assert (row["covered"], row["missing"]) == (pytest.approx(0.8), ["c"])
    nothing = reweighted(seen_, pl.DataFrame({"c": ["q"]}), "c").row(0, named=True)
    assert (nothing["reweighted"], nothing["covered"], nothing["missing"]) == (None, 0.0, ["q"])


# ---------------------------------------------------------------- quality from evaluations


def grades(
    *rows: tuple[str, float, int | None, int], metric: str = "accuracy", up: bool = True
) -> pl.DataFrame:
    """Return evaluations: variant, value, n, day of October (negative: of September)."""
    return pl.DataFrame(
        [
            {
                "ts": datetime(2026, 10, 1, tzinfo=UTC) + timedelta(days=day - 1),
                "model": "m",
                "variant": variant,
                "dataset": "exam",
                "metric": metric,
                "value": value,
                "n": n,
                "higher_is_better": up,
            }
            for variant, value, n, day in rows
        ]
    )


def quality(samples: pl.DataFrame, **options: Any) -> list[tuple[Any, ...]]:
    found = evaluated(samples, model="m", since=BEGIN, **ARMS, **options)
    assert found.schema == pl.Schema(CHECKS)
    return found.select("check", "status", "required").rows()


def test_a_loss_against_the_baseline_and_one_after_the_deployment() -> None:
    against, itself = "accuracy on exam", "accuracy on exam, before and after"
    good = grades(("bf16", 0.8, 20_000, 2), ("int8", 0.8, 20_000, 2), ("int8", 0.8, 20_000, 20))
    assert quality(good) == [(against, "ok", True), (itself, "ok", False)]
    dropped = grades(("bf16", 0.8, 5_000, 2), ("int8", 0.8, 5_000, 2), ("int8", 0.7, 5_000, 20))
    assert quality(dropped) == [(against, "breached", True), (itself, "breached", False)]
    assert quality(dropped, until=datetime(2026, 10, 10, tzinfo=UTC)) == [(against, "unknown", True)]
    # The baseline fell with it: only the comparison with itself tells.
    both = grades(("bf16", 0.7, 20_000, 20), ("int8", 0.8, 20_000, 2), ("int8", 0.7, 20_000, 20))
    assert quality(both) == [(against, "ok", True), (itself, "breached", False)]
    assert quality(grades(("bf16", 0.8, 9, 2))) == []


def test_a_small_evaluation_says_how_many_items_it_takes() -> None:
    (row,) = evaluated(
        grades(("bf16", 0.8, 500, 2), ("int8", 0.8, 500, 2)), model="m", since=BEGIN, **ARMS
    ).iter_rows(named=True)
    assert row["status"] == "unknown" and row["low"] < -0.01 < row["high"]
    # (1.645 + 0.842)^2 x 2 x 0.16 / 0.01^2
    assert row["n_needed"] == pytest.approx(19_784, rel=0.001)
    assert row["reason"] == "0.8 of 500 items (2026-10-02), bf16 0.8 of 500 items (2026-10-02)"


def test_lower_is_better_and_metrics_whose_spread_nobody_knows() -> None:
    rates = grades(("bf16", 0.1, 5_000, 2), ("int8", 0.2, 5_000, 2), metric="error_rate", up=False)
    assert quality(rates, metric="error_rate") == [("error_rate on exam", "breached", True)]
    mild = grades(("bf16", 9.0, 5_000, 2), ("int8", 9.5, 5_000, 2), metric="perplexity", up=False)
    assert quality(mild, metric="perplexity") == [("perplexity on exam", "unknown", True)]
    assert quality(grades(("bf16", 0.8, None, 2), ("int8", 0.2, None, 2))) == [
        ("accuracy on exam", "unknown", True)
    ]
    with pytest.raises(InputError, match="disagree on whether"):
        quality(pl.concat([grades(("bf16", 0.8, 9, 2)), grades(("int8", 0.8, 9, 2), up=False)]))
    with pytest.raises(InputError, match="the margin must be"):
        quality(rates, margin=1)


def test_twenty_fair_evaluations_raise_no_alarm_and_twenty_losses_are_found() -> None:
    rng = np.random.default_rng(11)
    for loss, status in ((0.0, "breached"), (0.06, "ok")):
        shares = rng.binomial(4_000, [0.8, 0.8 - loss], size=(20, 2)) / 4_000
        said = [
            quality(grades(("bf16", old, 4_000, 2), ("int8", new, 4_000, 20)), alpha=alphas(0.05))[0][1]
            for old, new in shares
        ]
        assert status not in said
        assert loss == 0 or said.count("breached") >= 19


# ---------------------------------------------------------------- plans


def test_a_plan_by_hand() -> None:
    day = [BEGIN + timedelta(minutes=k) for k in range(1_440)]
    calls = pl.DataFrame(
        {
            "ts_start": day,
            "status": ["ok"] * 1_368 + ["error"] * 72,
            "latency_ms": [100.0] * 1_440,
            "sample_weight": 5.0,
            "customer": ["a", "b"] * 720,
        }
    )
    plan = canary_plan(
        calls, days=1, shares=[0.5, 0.1], margin=0.005, discordance=0.0093, by=["customer"], graded_share=0.01
    )
    items = dict(plan.needs.select("check", "items").iter_rows())
    assert items["quality"] == 2_745 and items["mix of customer"] == 64
    assert dict(plan.needs.select("check", "fixed_items").iter_rows())["quality"] == 2_300
    # 5 % fail, half of the calls are the canary's: variance 0.0475 x 2.
    assert items["error rate"] == math.ceil(2 * 0.095 * math.log(200) / 0.01**2)
    first = plan.shares.row(0, named=True)
    assert (first["share"], first["calls_per_day"], first["logged_per_day"]) == (0.1, 720.0, 144.0)
    assert first["days"] == pytest.approx(2_745 / (7_200 * 0.01 * 0.1)) and first["decides_last"] == "quality"
    assert plan.shares["advised_days"].to_list() == [385, 77]
    assert plan.sentence.startswith("Give the canary 50% of traffic for 77 days")
    assert plan.slices.rows() == [("customer", "a", 0.5), ("customer", "b", 0.5)]


def test_a_limit_that_does_not_hold_now_cannot_be_planned_for() -> None:
    calls = world(1, n=100)["traffic"]
    plan = canary_plan(calls, days=7, max_p95_ms=100)
    assert "cannot be proven" in plan.needs.filter(check="P95 latency")["why"].item()
    assert plan.shares["days"].null_count() == plan.shares.height
    assert plan.sentence == "No share of traffic decides it: P95 latency cannot be proven."
    silent = canary_plan(calls.with_columns(latency_ms=pl.lit(None, pl.Float64)), days=7)
    assert silent.needs.filter(check="P95 latency")["why"].item() == "no call has a latency"
    for options, error in (
        ({"shares": [1.0]}, InputError),
        ({"loss": 0.01}, InputError),
        ({"max_error_increase": 0.0}, InputError),
    ):
        with pytest.raises(error):
            canary_plan(calls, days=7, **options)
    with pytest.raises(NoDataError, match="no finished calls"):
        canary_plan(calls.clear(), days=7)


# ---------------------------------------------------------------- real outcomes and a lab


def test_real_answers_of_two_models_are_told_apart_at_once(shared_data: Path) -> None:
    folder = shared_data / "tradeoff" / "routellm" / "mmlu"
    names = {"mistralai/Mixtral-8x7B-Instruct-v0.1": "small", "gpt-4-1106-preview": "large"}
    parts = [pl.read_csv(path).select(list(names)) for path in sorted(folder.glob("*.csv"))]
    items = pl.concat(parts).rename(names).cast(pl.Int64).with_row_index("item")
    assert items.height == 14_042
    worse = canary_check(items, baseline="large", canary="small", margin=0.005)
    row = worse.checks.row(0, named=True)
    assert worse.verdict == "roll back" and row["n"] == 14_042
    shares = items.select("small", "large").mean().row(0)
    assert row["value"] == pytest.approx(shares[0] - shares[1])
    assert row["low"] < row["value"] < row["high"] < -0.005
    better = canary_check(items, baseline="small", canary="large", margin=0.005)
    assert better.verdict == "promote"
    # The path shows it long before the end.
    assert better.path.filter(pl.col("low") > -0.005)["n"].min() < 1_000  # type: ignore[operator]


@pytest.fixture(scope="module")
def lab() -> Lab:
    return open_lab(progress=False)  # canaries only read


def test_the_samples_bad_deployment_is_rolled_back_by_its_error_budget(lab: Lab) -> None:
    found = canary_of(
        lab,
        model="alder-34b",
        feature="reply-drafts",
        **ARMS,
        since="2026-10-21T09:00",
        until=datetime(2026, 10, 21, 15, tzinfo=UTC),
    )
    assert found.verdict == "roll back"
    assert "burn rate of reply-drafts: availability" in found.sentence
    # Both variants got the bad deployment: only the promise tells.
    assert set(found.checks.filter(kind="errors")["status"]) == {"unknown"}


def test_a_variant_of_the_sample_is_held_for_its_evaluations_alone(lab: Lab) -> None:
    found = canary_of(lab, model="larch-7b", **ARMS, since=date(2026, 10, 1))
    assert found.verdict == "hold"
    open_ = found.checks.filter(pl.col("required") & (pl.col("status") != "ok"))
    assert open_["check"].to_list() == ["accuracy on synthetic-qa-v2", "accuracy on synthetic-triage-v1"]
    items = pl.DataFrame({"item": range(3_000), "bf16": [1, 0, 1] * 1_000, "int8": [1, 0, 1] * 1_000})
    graded = canary_of(lab, model="larch-7b", **ARMS, since="2026-10-01", outcomes=items)
    assert graded.verdict == "promote" and graded.path.height > 0


def test_the_last_deployment_is_where_a_canary_begins(lab: Lab) -> None:
    newest = (
        lab.table("deploys")
        .filter(pl.col("model") == "larch-7b", pl.col("kind") == "deploy", pl.col("status") != "failed")
        .select(pl.col("ts").max())
        .collect()
        .item()
    )
    one, other = (canary_of(lab, model="larch-7b", **ARMS, since=since) for since in (None, newest))
    assert_frame_equal(one.checks, other.checks)


def planted(folder: Path, after: float) -> Path:
    """Write a synthetic lab: int8 deployed on October 5, evaluated before and after, called for a week."""
    rng = np.random.default_rng(13)
    n = 3_000
    moments = BEGIN + pl.Series(np.sort(rng.integers(0, 7 * 86_400, n)) * 1_000_000).cast(pl.Duration("us"))
    calls = pl.DataFrame(
        {
            "ts_start": moments,
            "model": "m",
            "operation": "chat",
            "variant": rng.choice(["bf16", "int8"], n),
            "region": rng.choice(["eu", "us"], n),
            "status": rng.choice(["ok", "error"], n, p=[0.995, 0.005]),
            "latency_ms": rng.lognormal(6, 0.3, n),
        }
    )
    shares = (("bf16", 0.8, 2), ("int8", 0.8, 2), ("bf16", 0.8, 8), ("int8", after, 8))
    scores = "ts,model,variant,dataset,metric,value,n,higher_is_better\n" + "".join(
        f"2026-10-{day:02d}T04:00:00Z,m,{variant},exam,accuracy,{value},30000,true\n"
        for variant, value, day in shares
    )
    deploys = "ts,service,model,kind,status\n" + "".join(
        f"2026-10-{day:02d}T00:00:00Z,chat,m,deploy,{status}\n"
        for day, status in ((1, "succeeded"), (5, "succeeded"), (6, "failed"))
    )
    return write_lab(
        folder,
        {"inference_requests.parquet": calls, "accuracy_samples.csv": scores, "deploys.csv": deploys},
    )


@pytest.mark.parametrize(("after", "said"), [(0.8, "promote"), (0.76, "roll back")])
def test_quality_lost_by_an_optimization_is_found_in_a_labs_evaluations(
    after: float, said: str, tmp_path: Path
) -> None:
    opened = open_lab(planted(tmp_path / "lab", after), progress=False)
    found = canary_of(opened, model="m", **ARMS, margin=0.01, p95_slack=0.3, max_error_increase=0.02)
    assert found.verdict == said, found.sentence
    breached = found.checks.filter(pl.col("status") == "breached")["check"].to_list()
    both = ["accuracy on exam", "accuracy on exam, before and after"]
    assert breached == (both if said == "roll back" else [])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "nope"}, "'nope' has no calls.*models with calls: alder-13b"),
        ({"feature": "nope"}, "no calls of the feature 'nope'"),
        ({"since": "yesterday"}, "a moment is written like"),
        ({"since": "2027-01-01"}, "the canary begins at 2027-01-01"),
        ({"canary": "int2"}, "no calls of the variant 'int2'.*variants with calls: bf16, int4, int8"),
        (
            {"model": "quill-large", "baseline": "standard", "canary": "batch", "since": None},
            "knows no deployment",
        ),
    ],
)
def test_canaries_of_a_lab_that_cannot_be_are_refused(
    lab: Lab, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        canary_of(lab, **({"model": "larch-7b", **ARMS, "since": "2026-10-01"} | options))


def test_a_plan_of_the_sample_counts_calls_and_what_the_log_keeps(lab: Lab) -> None:
    plan = plan_of(lab, model="larch-7b", until="2026-10-29", days=14, shares=[0.1])
    rows = lab.table("inference_requests").filter(pl.col("model") == "larch-7b")
    first = datetime(2026, 10, 15, tzinfo=UTC)
    seen_ = rows.filter(
        pl.col("ts_start").is_between(first, first + timedelta(days=14), closed="left")
    ).collect()
    row = plan.shares.row(0, named=True)
    assert row["calls_per_day"] == pytest.approx(seen_["sample_weight"].sum() / 14 * 0.1)
    assert row["logged_per_day"] == pytest.approx(seen_.height / 14 * 0.1)
    assert {"customer", "feature", "region", "hour", "input_tokens"} == set(plan.slices["dimension"])
    with pytest.raises(InputError, match="a day of calls at least"):
        plan_of(lab, model="larch-7b", days=0)


# ---------------------------------------------------------------- the command line


def test_the_command_line_plans_and_judges_and_fails_only_when_asked(
    tmp_path: Path,
) -> None:
    def told(*arguments: str | Path) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["canary", *map(str, arguments)])
        return done.exit_code, done.stdout

    code, text = told("plan", "--model", "larch-7b", "--share", "0.5")
    assert code == 0 and "Give the canary 50% of traffic for" in text and "mix of customer" in text
    check_ = ("check", "--model", "larch-7b", "--baseline", "bf16", "--canary", "int8")
    code, text = told(
        *check_, "--since", "2026-10-01", "--fail-on", "hold", "--out", tmp_path / "c" / "checks.csv"
    )
    assert code == 3 and "Hold int8: accuracy on synthetic-qa-v2 is not known yet" in text
    written = pl.read_csv(tmp_path / "c" / "checks.csv")
    assert written.columns == list(CHECKS) and f"wrote {written.height} checks" in text
    assert told(*check_, "--since", "2026-10-01", "--fail-on", "roll-back")[0] == 0
    graded = world(1)["outcomes"]
    graded.write_parquet(tmp_path / "graded.parquet")
    alone = ("check", "--outcomes", tmp_path / "graded.parquet", "--margin", "0.02")
    code, text = told(*alone, "--baseline", "bf16", "--canary", "int8", "--fail-on", "hold")
    assert code == 0 and "Promote int8: its check is ok" in text.replace("\n", " ")
    # The first half point of a score comes after what polars looks at to tell the kind.
    late = pl.DataFrame({"item": range(400), "bf16": [1] * 400, "int8": ["1"] * 399 + ["0.5"]})
    late.write_csv(tmp_path / "late.csv")
    code, text = told("check", "--outcomes", tmp_path / "late.csv", "--baseline", "bf16", "--canary", "int8")
    assert code == 0 and "int8" in text


def test_mistakes_on_the_command_line_end_in_one_line(tmp_path: Path) -> None:
    arms = ("--baseline", "a", "--canary", "b")
    refused(run("canary", "check", *arms), "say what to judge", "Hint: give --model")
    (tmp_path / "x.txt").write_text("item,a,b\n1,1,1\n")
    (tmp_path / "bad.parquet").write_text("no parquet")
    for arguments, said in (
        (("--outcomes", tmp_path / "x.txt"), "must end in .parquet, .csv or .jsonl"),
        (("--outcomes", tmp_path / "none.csv"), "there is no such file"),
        (("--outcomes", tmp_path / "bad.parquet"), "cannot be read"),
        (("--outcomes", tmp_path / "x.txt", "--since", "2026-10-01"), "must end in"),
        (("--outcomes", tmp_path / "x.txt", "--out", tmp_path / "x.xlsx"), "must end in .csv or .parquet"),
    ):
        done = CliRunner().invoke(app, ["canary", "check", *arms, *map(str, arguments)])
        assert isinstance(done.exception, InputError) and said in str(done.exception)
    (tmp_path / "x.csv").write_text("item,a,b\n1,1,1\n")
    done = CliRunner().invoke(
        app, ["canary", "check", *arms, "--outcomes", str(tmp_path / "x.csv"), "--feature", "f"]
    )
    assert "--feature needs --model" in str(done.exception)


@settings(max_examples=20)
@given(st.lists(st.sampled_from(["ok", "breached", "unknown"]), min_size=1, max_size=6), st.randoms())
def test_the_order_of_checks_does_not_matter_and_worse_never_helps(statuses: list[str], random: Any) -> None:
    rank = {"promote": 2, "hold": 1, "roll back": 0}
    parts = [seen("ok", "quality"), *(seen(status) for status in statuses)]
    decided = verdict(checks_of(parts))[0]
    random.shuffle(parts)
    assert verdict(checks_of(parts))[0] == decided
    for worse in ("unknown", "breached"):
        assert rank[verdict(checks_of([*parts, seen(worse)]))[0]] <= rank[decided]


def test_the_examples_of_the_page_run_and_hold() -> None:
    text = (Path(__file__).parents[1] / "docs" / "canary.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.S)
    assert len(blocks) == 2
    for block in blocks:
        exec(compile(block, "canary.md", "exec"), {})
