"""Faults that an adversarial reading of allocation found: each broke once."""

from __future__ import annotations

import random
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from helpers import cost_row, put, write_lab
from test_allocation_edges import POOLG, gateway, paid, used
from test_bookkeeping import CALL, TOML, month
from test_splits import GATEWAY, HOUR, RULES, START, bill, owners, requests, samples

import finops_lab as fl
from finops_lab import config
from finops_lab.allocation import UNALLOCATED, Policy, allocate, trace
from finops_lab.config import Dimensions, Override, Shared
from finops_lab.errors import ConfigError, InputError
from finops_lab.money import exact_sum

# --- nobody, however it is spelled ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Unallocated", "UNALLOCATED", " unallocated "])
def test_a_tag_that_says_unallocated_names_no_owner(name: str) -> None:
    rules = Dimensions.model_validate(
        {"team": [{"name": "t", "tag": "team"}, {"name": "s", "column": "SubAccountName"}]}
    )
    rows = [{"x_tag_team": name}, {"x_tag_team": name, "SubAccountName": "web"}]
    assert owners(allocate(bill(*rows), rules).entries) == {
        (UNALLOCATED, "unallocated"): 1,
        ("web", "rule"): 1,
    }
    use = allocate(bill(gateway()), RULES, splits=[GATEWAY], requests=used(name)).entries
    assert owners(use) == {(UNALLOCATED, "unallocated"): 1}


def test_a_rule_or_person_that_says_unallocated_means_the_ledgers_word() -> None:
    rules = Dimensions.model_validate({"team": [{"name": "v", "value": "Unallocated"}]})
    assert owners(allocate(bill({}), rules).entries) == {(UNALLOCATED, "rule"): 1}
    told = {"author": "c", "reason": "r", "date": "2026-10-09", "where": {"x_team": "a"}}
    away = Override.model_validate({**told, "set": {"team": "Unallocated"}})
    done = allocate(bill({"x_tag_team": "a"}), RULES, overrides=[away])
    assert owners(done.entries) == {(UNALLOCATED, "override"): 1}
    tier = Shared(name="s", where={"x_team": "Unallocated"}, by="even")
    done = allocate(bill({"x_tag_team": "a"}, {}), RULES, shared=[tier])
    assert owners(done.entries) == {("a", "tag"): 1, ("a", "shared"): 1}
    with pytest.raises(ValueError, match="cannot carry a share"):
        Shared(name="s", where={"ServiceName": "x"}, among="Unallocated")


# --- costs that go round --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [("~^plat", "data"), ("platform", "~^(data|lake)$"), ("~^plat", "~^data"), ("~(?i)^PLAT", "data")],
)
def test_a_circle_through_a_pattern_is_refused_by_name(tmp_path: Path, one: str, other: str) -> None:
    tiers = f"""
[[shared]]
name = "one"
where = {{ x_team = '{one}' }}
among = ["data", "search"]

[[shared]]
name = "other"
where = {{ x_team = '{other}' }}
by = "fixed"
shares = {{ platform = "1" }}
"""
    folder = write_lab(tmp_path, {}, '[lab]\nname = "Circle (synthetic)"\n' + tiers)
    with pytest.raises(
        ConfigError, match=r"circle, (platform > data > platform|data > platform > data)"
    ) as told:
        config.load(folder)
    assert "key ''" not in str(told.value)  # it is of the whole file, not of one key


@pytest.mark.parametrize("table", ["splits", "shared"])
def test_weights_by_which_nothing_counts_are_refused(tmp_path: Path, table: str) -> None:
    none = 'weights = { input = "0", cached_input = "0", output = "0" }'
    rule = f'[[{table}]]\nname = "one"\nwhere = {{ ServiceName = "X" }}\nby = "weighted_tokens"\n{none}\n'
    folder = write_lab(tmp_path, {}, '[lab]\nname = "Weights (synthetic)"\n' + rule)
    with pytest.raises(ConfigError, match=r"a weight above 0 is needed"):
        config.load(folder)


def test_a_pattern_that_picks_no_carrier_makes_no_circle() -> None:
    tiers = [
        Shared(name="a", where={"x_team": "~^plat"}, among=["data"]),
        Shared(name="b", where={"x_team": "data"}, among=["search"]),
        Shared(name="c", where={"x_team": "~^unalloc"}, among=["search", "platform"]),
    ]
    config.Config.model_validate({"lab": {"name": "x"}, "shared": tiers})


# --- books as of a date ---------------------------------------------------------------------------------


def then(folder: Path) -> fl.allocation.Ledger:
    return fl.allocate(fl.open_lab(folder, progress=False, as_of="2026-11-01"))


def test_the_digest_of_books_as_of_a_date_does_not_know_the_future(tmp_path: Path) -> None:
    plan = '\n[[coverage]]\nname = "p"\nauthoritative = "*new.csv"\noverlap = "*bill.csv"\n'
    folder = write_lab(tmp_path, {"delivered=2026-10-05/bill.csv": month("2026-09", "10")}, TOML + plan)
    before = then(folder)
    exports = folder / "exports"
    put(exports / "delivered=2026-11-08" / "bill.csv", month("2026-09", "30"))
    put(exports / "delivered=2026-11-08" / "new.csv", [cost_row("5", month="2026-10", BillingAccountId="2")])
    put(exports / "delivered=2026-11-08" / "calls.csv", CALL.format(day="2026-09-03", team="search"))
    after = then(folder)
    assert after.entries.equals(before.entries)
    assert after.inputs_sha256 == before.inputs_sha256
    now = fl.allocate(fl.open_lab(folder, progress=False))
    assert now.inputs_sha256 != before.inputs_sha256
    assert not now.entries.equals(before.entries)


# --- names that telemetry gives -------------------------------------------------------------------------

SPELLED = Dimensions.model_validate(
    {
        "team": [
            {
                "name": "sub",
                "where": {"SubAccountName": "x"},
                "column": "SubAccountName",
                "map": {"web": "no"},
            },
            {"name": "team tag", "tag": "team", "fold": True, "map": {"srch": "search", "gone": "n/a"}},
            {"name": "owner", "tag": "owner", "map": {"Bob": "ads", "srch": "no"}},
        ],
        "feature": [{"name": "f", "tag": "feature", "fold": True}],
        "business_unit": [{"name": "u", "dimension": "team", "map": {"search": "consumer"}}],
    }
)


@pytest.mark.parametrize(
    ("told", "owner"),
    [
        ("Search", "search"),
        (" SRCH ", "search"),
        ("Bob", "ads"),
        ("web", "web"),
        ("Gone", UNALLOCATED),
        ("N/A", UNALLOCATED),
    ],
)
def test_telemetry_and_bill_mean_the_same_owner(told: str, owner: str) -> None:
    done = allocate(bill(gateway()), SPELLED, splits=[GATEWAY], requests=used(told)).entries
    assert done["x_team"].to_list() == [owner]
    unit = {"search": "consumer", UNALLOCATED: None}.get(owner, owner)
    assert done["x_business_unit"].to_list() == [unit]


def test_one_owner_of_two_spellings_is_one_user() -> None:
    even = GATEWAY.model_copy(update={"by": "even"})
    done = allocate(bill(gateway()), SPELLED, splits=[even], requests=used("Search", "srch", "ads"))
    assert owners(done.entries) == {
        ("search", "telemetry"): Decimal("0.5"),
        ("ads", "telemetry"): Decimal("0.5"),
    }
    use = requests({"team": "a", "feature": "Chat", "output_tokens": 1})
    assert allocate(bill(gateway()), SPELLED, splits=[GATEWAY], requests=use).entries[
        "x_feature"
    ].to_list() == ["chat"]
    gpus = samples({"team": "SRCH", "util": 1.0}, {"team": "search", "util": 0.5})
    done = allocate(bill(paid("2", amount="2")), SPELLED, splits=[POOLG], gpu_samples=gpus)
    assert owners(done.entries)["search", "telemetry"] == Decimal("1.5")


def test_shared_costs_by_use_know_the_owner_by_either_spelling() -> None:
    tier = Shared.model_validate({"name": "tax", "where": {"ChargeCategory": "Tax"}, "by": "requests"})
    rows = [{"x_tag_team": "search"}, {"x_tag_team": "ads"}, {"ChargeCategory": "Tax", "amount": "4"}]
    done = allocate(bill(*rows), SPELLED, shared=[tier], requests=used("Srch", "SEARCH", "search", "Ads"))
    assert owners(done.entries)["search", "shared"] == 3


def test_a_name_changes_on_the_day_that_its_rule_says() -> None:
    rules = Dimensions.model_validate(
        {"team": [{"name": "old", "tag": "team", "to": "2026-10-04", "map": {"vision": "research"}}]}
    )
    days = [START - 24 * HOUR, START]
    use = requests(*[{"team": "vision", "ts_start": at, "output_tokens": 1} for at in days])
    rows = [gateway(ChargePeriodStart=at) for at in days]
    done = allocate(bill(*rows), rules, splits=[GATEWAY], requests=use)
    assert owners(done.entries) == {("research", "telemetry"): 1, ("vision", "telemetry"): 1}


# --- match ------------------------------------------------------------------------------------------------


def matched(column: str, name: str, values: list[Any], use: pl.LazyFrame) -> pl.DataFrame:
    split = GATEWAY.model_copy(update={"match": {column: name}})
    rows = bill(*[gateway() for _ in values]).with_columns(pl.Series(values).alias(column))
    return allocate(rows, SPELLED, splits=[split], requests=use).entries


@pytest.mark.parametrize(
    "column", ["x_team", "x_model", "x_feature", "x_Rows", "x_PoolId", "x_AllocationRule"]
)
def test_a_bills_column_may_be_matched_whatever_it_is_called(column: str) -> None:
    use = requests(
        {"team": "a", "model": "m1", "output_tokens": 1}, {"team": "b", "model": "m2", "output_tokens": 9}
    )
    done = matched(column, "model", ["m1", "m2", None], use)
    assert owners(done, "x_model") == {
        ("a", "telemetry", "m1"): 1,
        ("b", "telemetry", "m2"): 1,
        (UNALLOCATED, "dark", None): 1,
    }


def test_what_is_matched_is_compared_as_it_was_told() -> None:
    use = requests({"team": "SRCH", "output_tokens": 1}, {"team": "search", "output_tokens": 1})
    done = matched("x_owner", "team", ["SRCH", "ads"], use)
    assert owners(done) == {("search", "telemetry"): 1, (UNALLOCATED, "dark"): 1}
    numbers = requests({"team": "a", "output_tokens": 7}, {"team": "b", "output_tokens": 8})
    assert owners(matched("x_size", "output_tokens", [7, 8], numbers)) == {
        ("a", "telemetry"): 1,
        ("b", "telemetry"): 1,
    }


@pytest.mark.parametrize(
    ("values", "name", "types"),
    [
        ([1.5], "model", "Float64.*String"),
        ([START], "team", "Datetime.*String"),
        ([["m"]], "model", "List"),
        (["7"], "output_tokens", "String.*Int64"),
        ([7.0], "output_tokens", "Float64.*Int64"),
    ],
)
def test_columns_that_cannot_match_are_told(values: list[Any], name: str, types: str) -> None:
    with pytest.raises(ConfigError, match=f"split 'gateway' matches 'x_own' of bills.*{types}.*same type"):
        matched("x_own", name, values, used("a"))


@pytest.mark.parametrize("column", ["EffectiveCost", "ChargePeriodStart", "BillingCurrency"])
def test_a_column_of_the_contract_may_be_matched(column: str) -> None:
    split = GATEWAY.model_copy(update={"match": {column: "mine"}})
    costs = bill(gateway(amount="2"), gateway(amount="3"))
    use = used("a").with_columns(costs.select(column).collect()[column][:1].alias("mine"))
    whole = {"EffectiveCost": 2}.get(column, 5)
    done = owners(allocate(costs, RULES, splits=[split], requests=use).entries)
    assert done["a", "telemetry"] == whole


# --- absurd weights -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"sample_weight": 1e16}, "row 1, column sample_weight: inference_requests: 1e.16"),
        ({"sample_weight": float("inf")}, "column sample_weight: .*inf"),
        ({"sample_weight": float("nan")}, "column sample_weight: .*nan"),
        ({"output_tokens": 10**18}, "column output_tokens: .*1e.18"),
        ({"sample_weight": 1e4, "n_requests": 10**15}, "column n_requests: .*1e.15"),
    ],
)
def test_a_weight_that_cannot_be_counted_is_told(row: dict[str, Any], said: str) -> None:
    use = requests({"team": "a", "output_tokens": 1}, {"team": "a", "output_tokens": 5, **row})
    tier = Shared(name="t", where={"x_team": UNALLOCATED}, by="requests")
    with pytest.raises(
        InputError, match=f"(?s)r, {said if said.startswith('row') else '.*' + said}.*rate of sampling"
    ):
        allocate(bill(gateway()), RULES, splits=[GATEWAY], requests=use)
    if "output_tokens" not in row:
        with pytest.raises(InputError, match="sample_weight is how many"):
            allocate(bill({"x_tag_team": "a"}, {}), RULES, shared=[tier], requests=use)
    with pytest.raises(InputError, match="sample_weight is how many"):
        fl.allocation.disagreement(
            use.with_columns(pool_id=pl.lit("p")),
            pl.LazyFrame({"pool_id": ["p"], "BillingCurrency": ["USD"], "amount": [Decimal(1)]}),
        )


def test_counts_that_leave_64_bits_together_do_not_turn_negative() -> None:
    rows = [{"team": "a", "output_tokens": 1, "sample_weight": 5e15}] * 2
    hours = [{**row, "ts_start": START + HOUR * n} for n in range(2) for row in rows]
    day = gateway(ChargePeriodEnd=START + 24 * HOUR)
    for use in (rows * 2, hours):
        with pytest.raises(InputError, match=r"sample_weight: inference_requests: 5e\+15"):
            allocate(bill(day), RULES, splits=[GATEWAY], requests=requests(*use))


# --- trace --------------------------------------------------------------------------------------------------


def traced(
    costs: pl.LazyFrame, policy: Policy, team: str, month: str = "2026-10", **use: Any
) -> list[tuple[Any, ...]]:
    done = allocate(
        costs,
        policy.dimensions,
        splits=policy.splits,
        shared=policy.shared,
        overrides=policy.overrides,
        **use,
    )
    found = trace(costs, done.entries, policy, team=team, month=month).collect()
    return found.select("via", "x_SourceRow").rows()


def test_a_tier_is_traced_in_the_months_that_it_acts_in() -> None:
    september = {"ChargeCategory": "Tax", "x_BillingMonth": "2026-09"}  # billed late: used in October
    costs = bill({"x_tag_team": "a"}, {"ChargeCategory": "Tax"}, september, {"x_tag_team": "a", **september})
    tax = Shared.model_validate(
        {"name": "tax", "where": {"ChargeCategory": "Tax", "x_team": UNALLOCATED}, "from": "2026-10"}
    )
    policy = Policy(RULES, (), (tax,))
    assert traced(costs, policy, "a") == [("own", 0), ("shared tax", 1), ("own", 3)]
    assert traced(costs, policy, UNALLOCATED) == [("own", 2)]


def test_a_tier_of_idle_and_dark_cost_is_traced_to_its_pool() -> None:
    costs = bill({"x_tag_team": "a", "amount": "9"}, paid("2"), {"x_tag_team": "b"})
    tiers = [
        Shared(name="idle", where={"x_AllocationMethod": ("idle", "dark")}, among=("a",)),
        Shared(name="odd", where={"x_PoolId": "none"}, among=("b",)),
    ]
    use = samples({"team": "c", "util": 0.5})
    policy = Policy(RULES, (POOLG,), tuple(tiers))
    assert traced(costs, policy, "a", gpu_samples=use) == [("own", 0), ("pool g", 1)]
    assert traced(costs, policy, "b", gpu_samples=use) == [("own", 2)]
    assert traced(costs, policy, "c", gpu_samples=use) == [("pool g", 1)]


def test_costs_are_traced_through_tier_after_tier() -> None:
    names = {"p": "platform", "d": "data"}
    costs = bill(*[{"x_tag_team": t, "ServiceName": "EC2"} for t in ("platform", "data", "a", "b")])
    tiers = (
        Shared(name="> p", where={"x_team": names["p"]}, by="even", among=("data", "b")),
        Shared(name="d", where={"x_team": names["d"]}, by="even", among=("a",)),
    )
    policy = Policy(RULES, (), tiers)
    assert traced(costs, policy, "a") == [("shared > p", 0), ("shared d", 1), ("own", 2)]
    assert traced(costs, policy, "b") == [("shared > p", 0), ("own", 3)]
    assert traced(costs, policy, "platform") == []  # all of it was given away
    late = Shared.model_validate(
        {"name": "p", "where": {"x_team": "platform"}, "among": "a", "from": "2026-11"}
    )
    assert traced(costs, Policy(RULES, (), (late,)), "a") == [("own", 2)]
    assert traced(costs, Policy(RULES, (), (late,)), "platform") == [("own", 0)]


def test_what_a_person_decided_is_traced_as_it_was_before() -> None:
    told = {
        "author": "c",
        "reason": "r",
        "date": "2026-10-09",
        "where": {"x_team": "a"},
        "set": {"team": "b"},
    }
    policy = Policy(RULES, (), (), (Override.model_validate(told),))
    costs = bill({"x_tag_team": "a"}, {"x_tag_team": "b"})
    assert traced(costs, policy, "a") == [("own", 0)]
    assert traced(costs, policy, "b") == [("own", 1)]


# --- paid time of periods that overlap --------------------------------------------------------------------


def span(first: float, hours: float, paid_hours: str, amount: str = "1") -> dict[str, Any]:
    start = START + HOUR * first
    return paid(paid_hours, amount=amount, ChargePeriodStart=start, ChargePeriodEnd=start + HOUR * hours)


def gpu(first: int, hours: int, team: str, util: float) -> list[dict[str, Any]]:
    return [
        {"ts": START + HOUR * (first + n), "gpu_uuid": team, "team": team, "util": util} for n in range(hours)
    ]


def test_an_hour_and_its_day_pay_for_a_gpu_each() -> None:
    # One GPU is billed by the day, another by the hour, and runs for two hours of it.
    costs = bill(span(0, 24, "24", "24"), span(3, 1, "1"), span(4, 1, "1"))
    use = samples(*gpu(0, 24, "a", 0.5), *gpu(3, 2, "b", 1.0))
    done = allocate(costs, RULES, splits=[POOLG], gpu_samples=use)
    found = owners(done.entries)
    assert (UNALLOCATED, "dark") not in found
    # 12 + 2 of 26 paid hours were busy, at 1.00 each.
    assert found[UNALLOCATED, "idle"] == 12
    assert found["a", "telemetry"] + found["b", "telemetry"] == 14


def test_what_nobody_sampled_is_dark_on_the_rows_that_paid_for_it() -> None:
    costs = bill(span(0, 24, "24", "24"), span(3, 1, "1", "7"))
    done = allocate(costs, RULES, splits=[POOLG], gpu_samples=samples(*gpu(3, 1, "a", 1.0)))
    # Of two GPU hours paid for from 3 to 4 one was sampled: half of each row's time.
    assert owners(done.entries) == {
        ("a", "telemetry"): Decimal("4.0"),
        (UNALLOCATED, "idle"): 0,
        (UNALLOCATED, "dark"): Decimal("27.0"),
    }
    more = samples(*gpu(3, 1, "a", 1.0), *gpu(3, 1, "b", 1.0), *gpu(3, 1, "c", 1.0))
    done = allocate(bill(span(3, 1, "1"), span(3, 0.5, "0.5")), RULES, splits=[POOLG], gpu_samples=more)
    # Three were sampled where one and a half (two, then one) were paid for: still shown, not clamped.
    assert owners(done.entries)[UNALLOCATED, "dark"] < 0


@pytest.mark.parametrize("seed", range(25))
def test_paid_time_agrees_with_minutes_counted_one_by_one(seed: int) -> None:
    some = random.Random(seed)
    rows = []
    for number in range(some.randint(1, 7)):
        first = some.randrange(0, 10 * 60, some.choice([1, 15, 60]))
        size = some.choice([10, 15, 45, 60, 60, 120, 480])
        rows.append((first, first + size, Fraction(some.randint(1, 99), some.choice([1, 10])), number + 1))
    sampled = {hour: (some.randint(0, 4), some.choice([0, 0.25, 1])) for hour in range(24)}
    costs = [span(a / 60, (b - a) / 60, str(float(hours)), str(amount)) for a, b, hours, amount in rows]
    use = [
        {"ts": START + HOUR * hour, "gpu_uuid": f"{n}", "team": "a", "util": util}
        for hour, (count, util) in sampled.items()
        for n in range(count)
    ]
    done = allocate(bill(*costs), RULES, splits=[POOLG], gpu_samples=samples(*use))
    expected = {"telemetry": Fraction(0), "idle": Fraction(0)}
    for a, b, _, amount in rows:
        for minute in range(a, b):
            count, util = sampled[minute // 60]
            # Paid hours of a minute, all rows together; each row's money goes by the time it paid for.
            here = sum(hours / (d - c) for c, d, hours, _ in rows if c <= minute < d)
            part = Fraction(amount, b - a) * Fraction(count, 60) / here
            expected["telemetry"] += part * Fraction(util)
            expected["idle"] += part * (1 - Fraction(util))
    expected["dark"] = sum(row[-1] for row in rows) - sum(expected.values())
    found = owners(done.entries)
    assert exact_sum(done.entries["EffectiveCost"]) == sum(row[-1] for row in rows)
    for method, amount in expected.items():
        got = sum((cost for (_, how), cost in found.items() if how == method), Decimal(0))
        assert abs(Fraction(got) - amount) < Fraction(1, 10**6)


def test_a_charge_without_an_end_goes_by_the_hour_it_starts_in() -> None:
    rows = [paid("1", ChargePeriodEnd=None), gateway(ChargePeriodEnd=None, amount="2")]
    done = allocate(bill(rows[1]), RULES, splits=[GATEWAY], requests=used("ads"))
    assert owners(done.entries) == {("ads", "telemetry"): 2}
    done = allocate(bill(rows[0]), RULES, splits=[POOLG], gpu_samples=samples(*gpu(0, 1, "a", 0.5)))
    assert owners(done.entries) == {
        ("a", "telemetry"): Decimal("0.5"),
        (UNALLOCATED, "idle"): Decimal("0.5"),
    }


def test_overlapping_periods_are_the_same_a_little_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    costs = bill(span(0, 72, "72", "72"), *[span(h, 1, "1", "3") for h in range(0, 70, 7)], span(1, 2.5, "5"))
    use = samples(*gpu(0, 72, "a", 0.5), *gpu(5, 60, "b", 1.0))
    at_once = allocate(costs, RULES, splits=[POOLG], gpu_samples=use)
    monkeypatch.setattr("finops_lab.allocation.pooling._USE_AT_ONCE", 1)
    monkeypatch.setattr("finops_lab.allocation.periods._PIECES_AT_ONCE", 1)
    assert allocate(costs, RULES, splits=[POOLG], gpu_samples=use).entries.equals(at_once.entries)
