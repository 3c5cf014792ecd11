"""Bill rows of a pool divided by metered use: hand-computed cases, and a reference in plain Python."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finops_lab import contracts
from finops_lab.allocation import UNALLOCATED, Policy, allocate, on_basis, trace, treatment
from finops_lab.allocation.splitting import split_amounts
from finops_lab.config import Dimensions, Override, Shared, Split
from finops_lab.contracts import AMOUNTS, Ledger
from finops_lab.errors import ConfigError, InputError
from finops_lab.money import MONEY, exact_sum, split

START = datetime(2026, 10, 5, 8, tzinfo=UTC)
HOUR = timedelta(hours=1)
RULES = Dimensions.model_validate({"team": [{"name": "team tag", "tag": "team"}]})
COSTS = {**contracts.dtypes("costs"), "x_tag_team": pl.String()}
GATEWAY = Split(name="gateway", where={"SubAccountName": "gateway"}, by="tokens")


def bill(*rows: dict[str, Any]) -> pl.LazyFrame:
    made = []
    for number, row in enumerate(rows):
        amount = row.pop("amount", "1")
        start = row.get("ChargePeriodStart", START)
        made.append(
            {
                **dict.fromkeys(COSTS),
                **dict.fromkeys(AMOUNTS, Decimal(amount)),
                "BillingCurrency": "USD",
                "BillingAccountId": "1",
                "BillingPeriodStart": datetime(2026, 10, 1, tzinfo=UTC),
                "ChargePeriodStart": start,
                "ChargePeriodEnd": start + HOUR,
                "ChargeCategory": "Usage",
                "ProviderName": "CloudOne",
                "x_BillingMonth": "2026-10",
                "x_SourceFile": "a.csv",
                "x_SourceRow": number,
                **row,
            }
        )
    return pl.DataFrame(made, schema=COSTS).lazy()


def requests(*rows: dict[str, Any]) -> pl.LazyFrame:
    schema = contracts.dtypes("inference_requests")
    made = [
        {
            **dict.fromkeys(schema),
            "ts_start": START,
            "model": "m",
            "operation": "chat",
            "n_requests": 1,
            "sample_weight": 1.0,
            "status": "ok",
            "source_file": "r",
            "source_row": number,
            **row,
        }
        for number, row in enumerate(rows)
    ]
    return pl.DataFrame(made, schema=schema).with_columns(pl.col("ts_start").dt.date().alias("day")).lazy()


def samples(*rows: dict[str, Any]) -> pl.LazyFrame:
    schema = contracts.dtypes("gpu_samples")
    made = [
        {
            **dict.fromkeys(schema),
            "ts": START,
            "interval_s": 3600.0,
            "gpu_uuid": f"gpu-{number}",
            "util_kind": "sm_active",
            "pool_id": "p",
            "source_file": "g",
            "source_row": number,
            **row,
        }
        for number, row in enumerate(rows)
    ]
    return pl.DataFrame(made, schema=schema).with_columns(pl.col("ts").dt.date().alias("day")).lazy()


def owners(entries: pl.DataFrame, *more: str) -> dict[Any, Decimal]:
    """Return the effective cost by team and method (and more)."""
    sums = entries.group_by("x_team", "x_AllocationMethod", *more).agg(pl.col("EffectiveCost").sum())
    return {row[:-1]: row[-1] for row in sums.iter_rows()}


# --- splitting ---------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.decimals(-(10**19), 10**19, places=18),
            st.lists(st.integers(0, 10**15) | st.just(0), min_size=1, max_size=6),
        ),
        min_size=1,
        max_size=5,
    ),
    st.randoms(),
)
def test_many_amounts_are_split_as_one_by_one(pools: list[tuple[Decimal, list[int]]], chance: Any) -> None:
    rows = [
        (number, part, weight, total)
        for number, (total, weights) in enumerate(pools)
        for part, weight in enumerate(weights)
    ]
    chance.shuffle(rows)
    names = {"pool": pl.Int64, "part": pl.Int64, "weight": pl.Int64, "BilledCost": MONEY}
    frame = pl.LazyFrame(rows, schema=names, orient="row")
    done = split_amounts(frame, ["pool"], order=["part"], amounts=["BilledCost"]).collect()
    expected = [part for total, weights in pools for part in split(total, weights)]
    assert done["BilledCost"].to_list() == expected


@pytest.mark.parametrize(
    ("weights", "said"), [([1, -1], "negative"), ([1, None], "missing"), ([2**62, 2**62, 2**62], "2\\^63")]
)
def test_weights_that_cannot_be_used_are_refused(weights: list[int | None], said: str) -> None:
    schema = {"pool": pl.Int64, "weight": pl.Int64, "BilledCost": MONEY}
    frame = pl.LazyFrame([(1, weight, Decimal(1)) for weight in weights], schema=schema, orient="row")
    with pytest.raises(InputError, match=said):
        split_amounts(frame, ["pool"], order=["weight"], amounts=["BilledCost"])


# --- pools -------------------------------------------------------------------------------------------


def test_a_pool_is_divided_hour_by_hour() -> None:
    costs = bill(
        {"SubAccountName": "gateway", "amount": "10"},
        {"SubAccountName": "gateway", "amount": "1", "ChargePeriodStart": START + HOUR},
        {"SubAccountName": "other", "x_tag_team": "ads", "amount": "5"},
    )
    used = requests(
        {"team": "search", "feature": "answers", "input_uncached_tokens": 30},
        {"team": "ads", "output_tokens": 10},
        {"team": "ads", "cache_read_tokens": 7, "ts_start": START + HOUR},
    )
    done = allocate(costs, RULES, splits=[GATEWAY], requests=used)
    Ledger.validate(done.entries)
    assert owners(done.entries, "x_feature") == {
        ("search", "telemetry", "answers"): Decimal("7.5"),
        ("ads", "telemetry", None): Decimal("3.5"),
        ("ads", "tag", None): Decimal(5),
    }
    pool = done.entries.filter(pl.col("x_AllocationMethod") == "telemetry")
    assert set(pool["x_PoolId"]) == set(pool["x_AllocationRule"]) == {"gateway"}
    assert done.entries["x_Rows"].sum() == 3
    assert done.steps.select("kind", "name", "EffectiveCost").rows() == [
        ("rules", "dimension rules", Decimal(5)),
        ("split", "gateway", Decimal(11)),
    ]


def test_what_no_telemetry_explains_is_dark() -> None:
    costs = bill(
        {"SubAccountName": "gateway", "amount": "10"},
        {"SubAccountName": "gateway", "amount": "3", "ChargePeriodStart": START + 5 * HOUR},
    )
    used = requests({"team": None, "input_uncached_tokens": 1}, {"team": "ads", "input_uncached_tokens": 1})
    done = allocate(costs, RULES, splits=[GATEWAY], requests=used)
    assert owners(done.entries) == {
        ("ads", "telemetry"): Decimal(5),
        (UNALLOCATED, "unallocated"): Decimal(5),
        (UNALLOCATED, "dark"): Decimal(3),
    }
    assert owners(allocate(costs, RULES, splits=[GATEWAY]).entries) == {(UNALLOCATED, "dark"): Decimal(13)}


def test_a_daily_row_is_divided_by_the_whole_day() -> None:
    day = {"ChargePeriodStart": START.replace(hour=0), "ChargePeriodEnd": START.replace(hour=0) + 24 * HOUR}
    used = requests(
        {"team": "a", "input_uncached_tokens": 1, "ts_start": START.replace(hour=0)},
        {"team": "b", "input_uncached_tokens": 3, "ts_start": START.replace(hour=23, minute=59)},
        {"team": "b", "input_uncached_tokens": 100, "ts_start": START.replace(hour=0) + 24 * HOUR},
    )
    done = allocate(
        bill({"SubAccountName": "gateway", "amount": "4", **day}), RULES, splits=[GATEWAY], requests=used
    )
    assert owners(done.entries) == {("a", "telemetry"): Decimal(1), ("b", "telemetry"): Decimal(3)}


def test_a_row_of_one_direction_goes_by_the_tokens_of_that_direction() -> None:
    rows = [
        {"x_TokenDirection": "Input"},
        {"x_TokenDirection": "Input", "x_TokenCacheAction": "Read"},
        {"x_TokenDirection": "Output"},
        {},
    ]
    costs = bill(*[{"SubAccountName": "gateway", "amount": "8", **row} for row in rows])
    used = requests(
        {"team": "a", "input_uncached_tokens": 1, "cache_read_tokens": 3, "output_tokens": 2},
        {"team": "b", "input_uncached_tokens": 3, "cache_read_tokens": 1, "output_tokens": 6},
    )
    weighted = GATEWAY.model_copy(update={"by": "weighted_tokens"})
    done = allocate(costs, RULES, splits=[weighted], requests=used)
    # input 1:3, cached 3:1, output 2:6; all: 1 + 0.3 + 8 = 9.3 against 3 + 0.1 + 24 = 27.1
    whole = split(Decimal(8), [93, 271])
    assert owners(done.entries) == {
        ("a", "telemetry"): exact_sum([Decimal(2), Decimal(6), Decimal(2), whole[0]]),
        ("b", "telemetry"): exact_sum([Decimal(6), Decimal(2), Decimal(6), whole[1]]),
    }


def test_sampled_calls_count_for_those_they_stand_for() -> None:
    by_requests = GATEWAY.model_copy(update={"by": "requests"})
    used = requests({"team": "a", "sample_weight": 2.5}, {"team": "b", "n_requests": 10})
    done = allocate(
        bill({"SubAccountName": "gateway", "amount": "5"}), RULES, splits=[by_requests], requests=used
    )
    assert owners(done.entries) == {("a", "telemetry"): Decimal(1), ("b", "telemetry"): Decimal(4)}


def test_pairs_of_columns_must_match() -> None:
    matched = GATEWAY.model_copy(update={"match": {"x_ModelId": "model"}})
    costs = bill(
        {"SubAccountName": "gateway", "amount": "6", "x_ModelId": "m1"},
        {"SubAccountName": "gateway", "amount": "1", "x_ModelId": "m2"},
    )
    used = requests(
        {"team": "a", "model": "m1", "output_tokens": 1}, {"team": "b", "model": "m1", "output_tokens": 2}
    )
    done = allocate(costs, RULES, splits=[matched], requests=used)
    assert owners(done.entries, "x_model") == {
        ("a", "telemetry", "m1"): Decimal(2),
        ("b", "telemetry", "m1"): Decimal(4),
        (UNALLOCATED, "dark", None): Decimal(1),
    }


def test_a_virtual_tag_finds_the_team_of_a_feature() -> None:
    rules = Dimensions.model_validate(
        {"team": [{"name": "team of the feature", "dimension": "feature", "map": {"answers": "search"}}]}
    )
    used = requests({"feature": "answers", "output_tokens": 1})
    done = allocate(bill({"SubAccountName": "gateway"}), rules, splits=[GATEWAY], requests=used)
    assert owners(done.entries) == {("search", "telemetry"): Decimal(1)}


# --- idle --------------------------------------------------------------------------------------------

GPUS = Split(
    name="gpus", where={"SubAccountName": "gpus"}, by="gpu_seconds", usage={"pool_id": "p"}, idle_pool="p"
)
NODE = {"SubAccountName": "gpus", "x_tag_team": "ml", "amount": "8"}


def test_idle_is_a_line_of_its_own_and_the_two_bases_differ_by_it() -> None:
    used = samples({"team": "a", "util": 0.5}, {"team": "b", "util": 0.25}, {"util": 0.0})
    done = allocate(bill(dict(NODE)), RULES, splits=[GPUS], gpu_samples=used)
    busy = {
        ("a", "telemetry"): split(Decimal(2), [2, 1])[0],
        ("b", "telemetry"): split(Decimal(2), [2, 1])[1],
    }
    assert owners(done.entries) == {**busy, ("ml", "idle"): Decimal(6)}


def test_paid_time_without_samples_is_dark_and_more_samples_than_paid_are_signed() -> None:
    paid = {"ConsumedQuantity": Decimal(1), "ConsumedUnit": "Hours", "x_GpuCount": 4.0}
    half = samples({"team": "a", "util": 0.5}, {"team": "a", "util": 0.5})
    done = allocate(bill({**NODE, **paid}), RULES, splits=[GPUS], gpu_samples=half)
    assert owners(done.entries) == {
        ("a", "telemetry"): Decimal(2),
        ("ml", "idle"): Decimal(2),
        (UNALLOCATED, "dark"): Decimal(4),
    }
    more = samples(*[{"team": "a", "util": 1.0}] * 5)
    done = allocate(bill({**NODE, **paid}), RULES, splits=[GPUS], gpu_samples=more)
    assert owners(done.entries) == {
        ("a", "telemetry"): Decimal(10),
        ("ml", "idle"): Decimal(0),
        (UNALLOCATED, "dark"): Decimal(-2),
    }


@pytest.mark.parametrize("unit", ["GPU-Hours", "gpu hours", "GPU Hour"])
def test_hours_of_gpus_are_paid_time_whatever_the_machine(unit: str) -> None:
    # As Google and Oracle sell them: 4 GPU hours, of a machine of 8 or of one that nobody names.
    paid = {"ConsumedQuantity": Decimal(4), "ConsumedUnit": unit}
    half = samples({"team": "a", "util": 0.5}, {"team": "a", "util": 0.5})
    fees = [
        {"amount": "0", "ChargeCategory": "Purchase"},
        {"amount": "0", "ChargeFrequency": "Recurring", "CommitmentDiscountId": "c"},
    ]
    for count in (None, 8.0):
        rows = [{**NODE, **paid, "x_GpuCount": count}, *[{**NODE, **paid, **fee} for fee in fees]]
        done = allocate(bill(*rows), RULES, splits=[GPUS], gpu_samples=half)
        sums = done.entries.group_by("x_team", "x_AllocationMethod").agg(pl.sum("EffectiveCost"))
        assert {row[:2]: row[2] for row in sums.rows()} == {
            ("a", "telemetry"): Decimal(2),
            ("ml", "idle"): Decimal(2),
            (UNALLOCATED, "dark"): Decimal(4),
        }


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ({"idle": "pool"}, {("a", "idle"): Decimal("4.5"), ("b", "idle"): Decimal("1.5")}),
        ({"idle": "owner", "idle_owner": "platform"}, {("platform", "idle"): Decimal(6)}),
        ({"idle": "keep"}, {("ml", "idle"): Decimal(6)}),
        ({"idle": "cluster", "cluster": "c"}, {("a", "idle"): Decimal("4.5"), ("b", "idle"): Decimal("1.5")}),
    ],
)
def test_idle_goes_where_the_policy_says(policy: dict[str, Any], expected: dict[Any, Decimal]) -> None:
    used = samples({"team": "a", "util": 0.75}, {"team": "b", "util": 0.25}, {"util": 0.0}, {"util": 0.0})
    pool = Split.model_validate({**GPUS.model_dump(), **policy})
    done = allocate(bill(dict(NODE)), RULES, splits=[pool], gpu_samples=used)
    found = owners(done.entries)
    assert found == {("a", "telemetry"): Decimal("1.5"), ("b", "telemetry"): Decimal("0.5"), **expected}


def test_one_kind_of_utilization_counts() -> None:
    used = samples(
        {"team": "a", "gpu_uuid": "x", "util": 1.0, "util_kind": "gpu_util"},
        {"team": "a", "gpu_uuid": "x", "util": 0.25, "util_kind": "sm_active"},
    )
    done = allocate(bill(dict(NODE)), RULES, splits=[GPUS], gpu_samples=used)
    assert owners(done.entries) == {("a", "telemetry"): Decimal(2), ("ml", "idle"): Decimal(6)}


# --- shared costs and overrides ------------------------------------------------------------------------


def teams(**amounts: str) -> list[dict[str, Any]]:
    return [{"x_tag_team": team, "amount": amount} for team, amount in amounts.items()]


def test_tiers_run_in_order() -> None:
    costs = bill(
        *teams(a="30", b="10", platform="4"),
        {"amount": "8", "ServiceName": "Support"},
        {"amount": "2", "ChargeCategory": "Tax"},
        {"amount": "-1", "ChargeCategory": "Credit"},
    )
    tiers = [
        Shared(name="support", where={"ServiceName": "Support"}),
        Shared(name="platform", where={"x_team": "platform"}),
        Shared(name="tax", where={"ChargeCategory": "Tax"}, by="even", among=["a", "b"]),
    ]
    done = allocate(costs, RULES, shared=tiers)
    # support over 30:10:4, then platform's 4 and its part of support over what a and b have by then
    support = split(Decimal(8), [30_000_000, 10_000_000, 4_000_000])
    a, b = exact_sum([Decimal(30), support[0]]), exact_sum([Decimal(10), support[1]])
    weights = [int(a * 10**6), int(b * 10**6)]
    shared = [
        exact_sum(pair) for pair in zip(split(Decimal(4), weights), split(support[2], weights), strict=True)
    ]
    assert owners(done.entries) == {
        ("a", "tag"): Decimal(30),
        ("b", "tag"): Decimal(10),
        ("a", "shared"): exact_sum([support[0], shared[0], Decimal(1)]),
        ("b", "shared"): exact_sum([support[1], shared[1], Decimal(1)]),
        (UNALLOCATED, "unallocated"): Decimal(-1),
    }
    rules = set(done.entries["x_AllocationRule"].drop_nulls())
    assert rules == {"team tag", "support", "team tag > platform", "support > platform", "tax"}
    assert done.steps.select("kind", "name", "EffectiveCost").rows()[1:] == [
        ("shared", "support", Decimal(8)),
        ("shared", "platform", exact_sum([Decimal(4), support[2]])),
        ("shared", "tax", Decimal(2)),
    ]


def test_fixed_shares_and_costs_that_nobody_carries() -> None:
    costs = bill({"amount": "10", "ServiceName": "Support"}, {"amount": "1", "ProviderName": "Other"})
    fixed = Shared(name="s", where={"ServiceName": "Support"}, by="fixed", shares={"a": "0.25", "b": "0.75"})
    assert owners(allocate(costs, RULES, shared=[fixed]).entries) == {
        ("a", "shared"): Decimal("2.5"),
        ("b", "shared"): Decimal("7.5"),
        (UNALLOCATED, "unallocated"): Decimal(1),
    }
    direct = Shared(name="s", where={"ServiceName": "Support"}, within=["ProviderName"])
    assert owners(allocate(costs, RULES, shared=[direct]).entries) == {
        (UNALLOCATED, "unallocated"): Decimal(11)
    }


def test_shared_costs_by_use() -> None:
    costs = bill(*teams(a="1", b="1"), {"amount": "4", "ServiceName": "Egress"})
    used = requests({"team": "a"}, {"team": "b", "n_requests": 3}, {"team": "nobody else"})
    tier = Shared(name="egress", where={"ServiceName": "Egress"}, by="requests")
    done = allocate(costs, RULES, shared=[tier], requests=used)
    assert owners(done.entries) == {
        ("a", "tag"): Decimal(1),
        ("b", "tag"): Decimal(1),
        ("a", "shared"): Decimal(1),
        ("b", "shared"): Decimal(3),
    }


def test_egress_goes_by_the_bytes_of_responses() -> None:
    costs = bill(*teams(a="1", b="1", c="1"), {"amount": "4", "ServiceName": "Egress"})
    used = requests(
        {"team": "a", "response_bytes": 500, "request_bytes": 10**9, "sample_weight": 2.0},
        {"team": "b", "response_bytes": 3000},
        {"team": "c", "n_requests": 1000},  # tells no bytes
    )
    tier = Shared(name="egress", where={"ServiceName": "Egress"}, by="response_bytes")
    done = allocate(costs, RULES, shared=[tier], requests=used)
    shared = done.entries.filter(x_AllocationMethod="shared")
    assert dict(shared.select("x_team", "EffectiveCost").rows()) == {"a": Decimal(1), "b": Decimal(3)}
    unused = allocate(costs, RULES, shared=[tier], requests=requests({"team": "c"}))
    assert owners(unused.entries)[UNALLOCATED, "unallocated"] == 4


def test_a_business_unit_follows_its_team() -> None:
    rules = Dimensions.model_validate(
        {
            "team": [{"name": "tag", "tag": "team"}],
            "business_unit": [{"name": "unit", "tag": "team", "map": {"a": "consumer", "b": "corporate"}}],
        }
    )
    costs = bill(*teams(a="1", b="1"))
    tier = Shared(name="all", where={"x_team": "b"})
    done = allocate(costs, rules, shared=[tier])
    assert owners(done.entries, "x_business_unit") == {
        ("a", "tag", "consumer"): Decimal(1),
        ("a", "shared", "consumer"): Decimal(1),
    }


def test_an_override_comes_last_and_is_listed() -> None:
    decision = Override.model_validate(
        {
            "author": "A. Controller",
            "reason": "the job ran for b",
            "date": "2026-11-02",
            "where": {"x_team": "a"},
            "from": "2026-10",
            "to": "2026-10",
            "set": {"team": "b", "product": "jobs"},
        }
    )
    done = allocate(bill(*teams(a="2", b="1")), RULES, overrides=[decision])
    assert owners(done.entries, "x_product") == {
        ("b", "tag", None): Decimal(1),
        ("b", "override", "jobs"): Decimal(2),
    }
    assert done.steps.rows(named=True)[-1]["policy"] == "A. Controller, 2026-11-02: the job ran for b"
    assert "team tag > override of 2026-11-02 by A. Controller" in set(done.entries["x_AllocationRule"])
    earlier = decision.model_copy(update={"last": datetime(2026, 9, 1).date(), "first": None})
    assert ("b", "override") not in owners(allocate(bill(*teams(a="2")), RULES, overrides=[earlier]).entries)


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ({"splits": [GATEWAY.model_copy(update={"usage": {"tem": ("x",)}})]}, "'tem', which the use"),
        (
            {"splits": [GATEWAY.model_copy(update={"where": {"SubAcount": ("x",)}})]},
            "'SubAcount', which bills",
        ),
        ({"shared": [Shared(name="s", where={"team": "a"})]}, "'team', which the ledger"),
        (
            {
                "overrides": [
                    Override(
                        author="A", reason="r", date="2026-01-01", where={"team": "a"}, set={"team": "b"}
                    )
                ]
            },
            "'team', which the ledger",
        ),
    ],
)
def test_columns_that_are_not_there_are_told(policy: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        allocate(bill({"SubAccountName": "gateway"}), RULES, requests=requests({}), **policy)


# --- against a reference in plain Python ---------------------------------------------------------------

_TEAMS = [None, "a", "b", "c"]
_amounts = st.decimals(-1000, 1000, places=4)
_bills = st.lists(
    st.fixed_dictionaries(
        {
            "SubAccountName": st.sampled_from(["gateway", "own"]),
            "x_tag_team": st.sampled_from(_TEAMS),
            "ChargeCategory": st.sampled_from(["Usage", "Tax", "Credit"]),
            "hour": st.integers(0, 3),
            "amount": _amounts,
        }
    ),
    min_size=1,
    max_size=12,
)
_uses = st.lists(st.tuples(st.sampled_from(_TEAMS), st.integers(0, 3), st.integers(0, 50)), max_size=12)


def reference(rows: list[dict[str, Any]], used: list[tuple[Any, int, int]]) -> dict[Any, Fraction]:
    """Divide the gateway by tokens, then tax by what teams have: exact shares, nothing rounded."""
    found: dict[Any, Fraction] = {}

    def book(team: str, method: str, category: str, amount: Fraction) -> None:
        found[team, method, category] = found.get((team, method, category), Fraction(0)) + amount

    for row in rows:
        amount, category = Fraction(row["amount"]), row["ChargeCategory"]
        if row["SubAccountName"] != "gateway":
            team = row["x_tag_team"]
            book(team or UNALLOCATED, "tag" if team else "unallocated", category, amount)
            continue
        here = [(team, tokens) for team, hour, tokens in used if hour == row["hour"]]
        whole = sum(tokens for _, tokens in here)
        for team, tokens in here if whole else ():
            book(
                team or UNALLOCATED, "telemetry" if team else "unallocated", category, amount * tokens / whole
            )
        if not whole:
            book(UNALLOCATED, "dark", category, amount)
    own: dict[str, Fraction] = {}
    for (team, _, category), amount in found.items():
        if category == "Usage" and team != UNALLOCATED:
            own[team] = own.get(team, Fraction(0)) + amount
    weights = {team: amount for team, amount in own.items() if amount > 0}
    pot = {key: amount for key, amount in found.items() if key[2] == "Tax"}
    if weights:
        for key, amount in pot.items():
            del found[key]
            for team, weight in weights.items():
                book(team, "shared", "Tax", amount * weight / sum(weights.values()))
    return found


@settings(max_examples=60, deadline=None)
@given(_bills, _uses, st.randoms())
def test_the_ledger_is_the_references(
    rows: list[dict[str, Any]], used: list[tuple[Any, int, int]], chance: Any
) -> None:
    def made(order: list[dict[str, Any]]) -> pl.LazyFrame:
        return bill(
            *[
                {
                    **{k: v for k, v in row.items() if k != "hour"},
                    "ChargePeriodStart": START + row["hour"] * HOUR,
                }
                for row in order
            ]
        )

    calls = [
        {"team": team, "ts_start": START + hour * HOUR, "output_tokens": tokens}
        for team, hour, tokens in used
    ]
    tax = Shared(name="tax", where={"ChargeCategory": "Tax"})
    metered = requests(*calls) if calls else None
    done = allocate(made(rows), RULES, splits=[GATEWAY], shared=[tax], requests=metered)
    found = {
        row[:3]: Fraction(row[3])
        for row in done.entries.group_by("x_team", "x_AllocationMethod", "ChargeCategory")
        .agg(pl.col("EffectiveCost").sum())
        .iter_rows()
    }
    expected = reference(rows, used)
    # Direct weights are counted in millionths, parts in 1e-18.
    for key in found.keys() | expected.keys():
        assert abs(found.get(key, Fraction(0)) - expected.get(key, Fraction(0))) < Fraction(1, 10), key
        exact = key[1] != "shared"
        assert not exact or abs(found.get(key, 0) - expected.get(key, 0)) < Fraction(1, 10**15), key
    assert exact_sum(done.entries["EffectiveCost"]) == exact_sum(row["amount"] for row in rows)
    assert done.entries["x_Rows"].sum() == len(rows)
    chance.shuffle(rows)
    chance.shuffle(calls)
    metered = requests(*calls) if calls else None
    again = allocate(made(rows), RULES, splits=[GATEWAY], shared=[tax], requests=metered)
    assert again.entries.equals(done.entries)
    assert again.receipt.equals(done.receipt)


# --- views -----------------------------------------------------------------------------------------------


def test_the_two_bases_and_what_became_of_each_kind_of_charge() -> None:
    used = samples({"team": "a", "util": 0.25})
    costs = bill(
        dict(NODE),
        {"x_tag_team": "a", "CommitmentDiscountStatus": "Unused", "amount": "3"},
        {"ChargeCategory": "Tax", "amount": "1"},
        {"x_tag_team": "a", "ChargeClass": "Correction", "amount": "-2"},
        {"x_tag_team": "a", "amount": "-1"},
    )
    tax = Shared(name="tax", where={"ChargeCategory": "Tax"}, by="even", among="a")
    done = allocate(costs, RULES, splits=[GPUS], shared=[tax], gpu_samples=used)
    sums = [
        exact_sum(on_basis(done.entries.lazy(), b).collect()["EffectiveCost"]) for b in ("allocated", "usage")
    ]
    assert sums == [9, 0]  # 2 of the node, 1 of tax, less 3
    found = treatment(done.entries)
    assert found.select("charge", "x_AllocationMethod", "EffectiveCost").rows() == [
        ("commitment, unused", "tag", Decimal(3)),
        ("correction", "tag", Decimal(-2)),
        ("refund", "tag", Decimal(-1)),
        ("tax", "shared", Decimal(1)),
        ("usage", "idle", Decimal(6)),
        ("usage", "telemetry", Decimal(2)),
    ]
    with pytest.raises(InputError, match="allocated or usage"):
        on_basis(done.entries.lazy(), "used")  # type: ignore[arg-type]


def test_an_amount_is_traced_to_the_rows_of_the_bill() -> None:
    costs = bill(
        {"x_tag_team": "a", "amount": "5"},
        {"x_tag_team": "b", "amount": "7"},
        {"SubAccountName": "gateway", "amount": "2"},
        {"ChargeCategory": "Tax", "amount": "1"},
        {"x_tag_team": "a", "amount": "9", "ChargePeriodStart": START - timedelta(days=30)},
    )
    tax = Shared(name="tax", where={"ChargeCategory": "Tax"}, by="even", among=["a", "b"])
    policy = Policy(RULES, (GATEWAY,), (tax,))
    metered = requests({"team": "a", "output_tokens": 1})
    entries = allocate(costs, RULES, splits=[GATEWAY], shared=[tax], requests=metered).entries
    found = trace(costs, entries, policy, team="a", month="2026-10").collect()
    assert found.select("via", "x_AllocationRule", "x_SourceRow", "EffectiveCost").rows() == [
        ("own", "team tag", 0, Decimal(5)),
        ("pool gateway", None, 2, Decimal(2)),
        ("shared tax", None, 3, Decimal(1)),
    ]
    others = trace(costs, entries, policy, team="b", month="2026-10").collect()
    assert others["via"].to_list() == ["own", "shared tax"]


def test_a_team_with_a_tax_row_of_its_own_carries_shared_tax_too() -> None:
    september = {"x_BillingMonth": "2026-09", "ChargeCategory": "Tax", "x_tag_team": "a", "amount": "2"}
    costs = bill(*teams(a="1", b="1"), {"ChargeCategory": "Tax", "amount": "4"}, september)
    tax = Shared(name="tax", where={"ChargeCategory": "Tax"})
    done = allocate(costs, RULES, shared=[tax])
    assert owners(done.entries) == {
        ("a", "tag"): Decimal(3),  # nobody has costs of September to carry its tax by
        ("b", "tag"): Decimal(1),
        ("a", "shared"): Decimal(2),
        ("b", "shared"): Decimal(2),
    }


def test_who_is_without_carries_nothing() -> None:
    costs = bill(*teams(a="1", b="1", c="1"), {"ServiceName": "Support", "amount": "4"})
    tier = {"name": "s", "where": {"ServiceName": "Support"}, "by": "even", "without": "c"}
    for among in ({}, {"among": ["a", "b", "c"]}):
        done = allocate(costs, RULES, shared=[Shared.model_validate({**tier, **among})])
        assert owners(done.entries)["a", "shared"] == owners(done.entries)["b", "shared"] == 2
    with pytest.raises(ValueError, match="leave among and without out"):
        Shared.model_validate({**tier, "by": "fixed", "shares": {"a": "1"}})
