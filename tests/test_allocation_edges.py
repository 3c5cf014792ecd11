"""Allocation at its edges: odd periods, refunds, currencies, hostile names, and a random bill."""

from __future__ import annotations

import random
import shutil
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from helpers import cost_row, put, write_lab
from test_splits import GATEWAY, HOUR, RULES, START, bill, owners, requests, samples
from typer.testing import CliRunner

import finops_lab as fl
from finops_lab import bookkeeping
from finops_lab.allocation import UNALLOCATED, allocate
from finops_lab.cli import app
from finops_lab.config import Dimensions, Override, Shared, Split, TokenWeights
from finops_lab.contracts import Ledger
from finops_lab.errors import ConfigError, InputError
from finops_lab.money import exact_sum

DAY = datetime(2026, 10, 5, tzinfo=UTC)
TAX = {"name": "tax", "where": {"ChargeCategory": "Tax"}}


def gateway(**row: Any) -> dict[str, Any]:
    return {"SubAccountName": "gateway", **row}


def paid(hours: str, **row: Any) -> dict[str, Any]:
    return gateway(ConsumedQuantity=Decimal(hours), ConsumedUnit="Hours", x_GpuCount=1.0, **row)


def used(*teams: str | None) -> pl.LazyFrame:
    return requests(*[{"team": team, "output_tokens": 1} for team in teams])


@pytest.mark.parametrize("minutes", [0, 15, 60])
def test_charges_within_an_hour_go_by_the_use_of_the_hour(minutes: int) -> None:
    end = START + timedelta(minutes=minutes)
    rows = [gateway(ChargePeriodEnd=end), gateway(ChargePeriodEnd=end)]
    done = allocate(bill(*rows), RULES, splits=[GATEWAY], requests=used("ads", "ads", "ads", "search"))
    assert owners(done.entries) == {
        ("ads", "telemetry"): Decimal("1.5"),
        ("search", "telemetry"): Decimal("0.5"),
    }
    assert done.entries["x_Rows"].sum() == 2


def test_a_month_long_row_is_divided_by_the_month_and_no_hour_more() -> None:
    first, end = datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)
    moments = {"before": first - HOUR / 2, "first": first, "last": end - HOUR / 2, "after": end}
    use = requests(*[{"team": t, "ts_start": at, "output_tokens": 1} for t, at in moments.items()])
    row = gateway(ChargePeriodStart=first, ChargePeriodEnd=end)
    done = allocate(bill(row), RULES, splits=[GATEWAY], requests=use)
    assert owners(done.entries) == {
        ("first", "telemetry"): Decimal("0.5"),
        ("last", "telemetry"): Decimal("0.5"),
    }


def test_a_refund_of_a_pool_is_divided_as_the_charge_was() -> None:
    rows = [gateway(amount="0.1"), gateway(amount="-0.1"), gateway(amount="-0.000000000000000001")]
    done = allocate(bill(*rows), RULES, splits=[GATEWAY], requests=used("ads", "search", "web"))
    assert exact_sum(done.entries["EffectiveCost"]) == Decimal("-0.000000000000000001")
    assert set(done.entries["x_team"]) == {"ads", "search", "web"}


def test_currencies_of_a_pool_stay_apart() -> None:
    rows = [paid("1", amount="3"), paid("1", amount="7", BillingCurrency="EUR")]
    split = Split(
        name="g", where={"SubAccountName": ("gateway",)}, by="gpu_seconds", idle_pool="p", idle="pool"
    )
    use = samples({"team": "ads", "util": 0.3}, {"team": "search", "util": 0.6})
    done = allocate(bill(*rows), RULES, splits=[split], gpu_samples=use)
    sums = done.entries.group_by("BillingCurrency").agg(pl.col("EffectiveCost").sum())
    assert dict(sums.iter_rows()) == {"USD": 3, "EUR": 7}
    teams = done.entries.filter(BillingCurrency="EUR").group_by("x_team").agg(pl.col("EffectiveCost").sum())
    # Idle goes by use: 1 to 2.
    assert {t: round(c, 9) for t, c in teams.iter_rows()} == {
        "ads": Decimal("2.333333333"),
        "search": Decimal("4.666666667"),
    }


def test_a_bill_row_without_its_match_is_dark() -> None:
    split = GATEWAY.model_copy(update={"match": {"SubAccountId": "project_id"}})
    done = allocate(bill(gateway()), RULES, splits=[split], requests=used("ads"))
    assert owners(done.entries) == {(UNALLOCATED, "dark"): Decimal(1)}


def test_of_two_pools_the_first_takes_the_row() -> None:
    second = Split(name="second", where={"ProviderName": ("CloudOne",)}, by="even")
    rows = [gateway(), {"SubAccountName": "other"}]
    done = allocate(bill(*rows), RULES, splits=[GATEWAY, second], requests=used("ads"))
    assert owners(done.entries, "x_PoolId") == {
        ("ads", "telemetry", "gateway"): Decimal(1),
        ("ads", "telemetry", "second"): Decimal(1),
    }


def test_columns_of_a_bill_named_like_ours_do_no_harm() -> None:
    taken = [
        "_split",
        "_start",
        "_end",
        "_case",
        "_owner",
        "_seen",
        "_paid_us",
        "x_Rows",
        "x_PoolId",
        "x_team",
    ]
    rows = bill(gateway(), {"x_tag_team": "web"}).with_columns(pl.lit("z").alias(name) for name in taken)
    done = allocate(rows, RULES, splits=[GATEWAY], requests=used("ads"))
    assert owners(done.entries) == {("ads", "telemetry"): Decimal(1), ("web", "tag"): Decimal(1)}
    assert done.entries["x_Rows"].sum() == 2


def test_weights_of_nothing_leave_the_pool_dark() -> None:
    nothing = TokenWeights.model_validate({"input": "0", "cached_input": "0", "output": "0"})
    split = GATEWAY.model_copy(update={"by": "weighted_tokens", "weights": nothing})
    done = allocate(bill(gateway()), RULES, splits=[split], requests=used("ads"))
    assert owners(done.entries) == {(UNALLOCATED, "dark"): Decimal(1)}


@pytest.mark.parametrize(
    "tier",
    [
        {"within": "ServiceName"},  # null on the tax
        {"without": ["ads", "web"]},
        {"by": "even", "among": "ads", "without": "ads"},
        {"by": "tokens"},  # nobody used anything
        {"to": "2026-09"},
    ],
)
def test_a_tier_that_nobody_carries_leaves_its_costs_in_sight(tier: dict[str, Any]) -> None:
    rows = bill({"x_tag_team": "ads"}, {"x_tag_team": "web"}, {"ChargeCategory": "Tax", "amount": "9"})
    done = allocate(rows, RULES, shared=[Shared.model_validate({**TAX, **tier})])
    assert owners(done.entries)[(UNALLOCATED, "unallocated")] == 9
    assert done.steps.filter(kind="shared")["entries"].to_list() == [0]


def test_nobody_carries_the_tax_of_another_currency() -> None:
    rows = bill({"x_tag_team": "ads"}, {"ChargeCategory": "Tax", "BillingCurrency": "EUR"})
    done = allocate(rows, RULES, shared=[Shared.model_validate(TAX)])
    assert owners(done.entries, "BillingCurrency") == {
        ("ads", "tag", "USD"): Decimal(1),
        (UNALLOCATED, "unallocated", "EUR"): Decimal(1),
    }


def test_conditions_may_ask_for_a_day() -> None:
    day = {"x_ChargeDate": "2026-10-05"}
    split = GATEWAY.model_copy(update={"where": {"x_ChargeDate": ("~^2026-10-05",)}})
    later = gateway(ChargePeriodStart=START + timedelta(days=1))
    told = {"author": "cfo", "reason": "r", "date": "2026-10-09", "where": day, "set": {"team": "web"}}
    done = allocate(
        bill(gateway(), later),
        RULES,
        splits=[split],
        requests=used("ads"),
        overrides=[Override.model_validate(told)],
    )
    assert owners(done.entries) == {("web", "override"): Decimal(1), (UNALLOCATED, "unallocated"): Decimal(1)}


def test_a_later_override_has_the_last_word_and_moves_no_money() -> None:
    def decision(source: str, target: str) -> Override:
        told = {"author": "cfo", "reason": "r", "date": "2026-10-09"}
        return Override.model_validate({**told, "where": {"x_team": source}, "set": {"team": target}})

    rows = bill({"x_tag_team": "ads", "amount": "3"}, {"x_tag_team": "web"})
    done = allocate(rows, RULES, overrides=[decision("ads", "web"), decision("web", "ads")])
    assert owners(done.entries) == {("ads", "override"): Decimal(4)}
    assert done.steps.filter(kind="override")["entries"].to_list() == [1, 2]


@pytest.mark.parametrize("seed", range(12))
def test_random_bills_lose_nothing_and_know_no_order(seed: int) -> None:
    some = random.Random(seed)
    rows = []
    for _ in range(some.randint(1, 12)):
        start = DAY + timedelta(minutes=some.choice([0, 15, 30, 60]) * some.randint(0, 20))
        hours = some.choice([0, 0.25, 1, 1, 24, 744])
        amount = some.choice([1, -1]) * Decimal(some.randint(0, 10**9)) / Decimal(10 ** some.randint(0, 12))
        rows.append(
            {
                "amount": str(amount),
                "ListCost": some.choice([None, Decimal(1)]),
                "ChargePeriodStart": start,
                "ChargePeriodEnd": start + timedelta(hours=hours),
                "SubAccountName": some.choice(["gateway", "gpu", "x", None]),
                "x_tag_team": some.choice(["a", "b", "plat", None]),
                "BillingCurrency": some.choice(["USD", "USD", "EUR"]),
                "ChargeCategory": some.choice(["Usage", "Usage", "Tax", "Credit"]),
                "ConsumedQuantity": some.choice([None, Decimal(1), Decimal("0.25"), Decimal(-1), Decimal(0)]),
                "ConsumedUnit": some.choice([None, "Hrs", "GB"]),
                "x_GpuCount": some.choice([None, 1.0, 8.0]),
                "x_TokenDirection": some.choice([None, "Input", "Output"]),
                "x_BillingMonth": some.choice(["2026-10", "2026-11"]),
            }
        )
    calls = requests(
        *[
            {
                "ts_start": DAY + timedelta(hours=some.randint(0, 30)),
                "team": some.choice(["a", "b", "c", None]),
                "feature": some.choice(["f", None]),
                "input_uncached_tokens": some.choice([None, 0, 5, 10**6]),
                "output_tokens": some.choice([None, 0, 7]),
                "sample_weight": some.choice([1.0, 0.3, 0.0, 12.5]),
            }
            for _ in range(some.randint(1, 15))
        ]
    )
    # A GPU that is sampled all the time.
    gpus = samples(
        *[
            {"ts": DAY + timedelta(hours=h), "gpu_uuid": "g", "team": some.choice(["a", None]), "util": 0.3}
            for h in range(24 * 34)
        ]
    )
    idle = some.choice(
        [{}, {"idle": "pool"}, {"idle": "cluster", "cluster": "c"}, {"idle": "owner", "idle_owner": "plat"}]
    )
    pool = {"name": "gpu", "where": {"SubAccountName": "gpu"}, "by": "gpu_seconds", "idle_pool": "p", **idle}
    shared = [
        Shared.model_validate(TAX),
        Shared(name="plat", where={"x_team": ("plat",)}, by=some.choice(["direct", "even"])),
        Shared(name="rest", where={"x_team": (UNALLOCATED,)}, within=some.choice([(), ("ProviderName",)])),
    ]
    costs = bill(*rows).collect()
    policy: dict[str, Any] = {"splits": [GATEWAY, Split.model_validate(pool)], "shared": shared}
    done = allocate(costs.lazy(), RULES, requests=calls, gpu_samples=gpus, **policy)
    Ledger.validate(done.entries)
    for metric in ("BilledCost", "ListCost"):
        for currency in ("USD", "EUR"):
            sums = [
                exact_sum(f.filter(BillingCurrency=currency)[metric].drop_nulls())
                for f in (done.entries, costs)
            ]
            assert sums[0] == sums[1]
    assert done.entries["x_Rows"].sum() == len(rows)
    turned = [frame.collect().reverse().lazy() for frame in (calls, gpus)]
    again = allocate(costs.reverse().lazy(), RULES, requests=turned[0], gpu_samples=turned[1], **policy)
    assert again.entries.equals(done.entries)


# --- labs --------------------------------------------------------------------------------------------

TOML = """\
[lab]
name = "Edges (synthetic)"

[[dimensions.team]]
name = "team tag"
tag = ["team"]
"""
POOL = """
[[splits]]
name = "tagged pool"
where = { x_tag_pool = "g" }
by = "requests"
"""
CALLS = """\
ts_start,model,operation,status,team,input_uncached_tokens,output_tokens
2026-09-03T10:00:00Z,m,chat,ok,search,,
"""


def opened(folder: Path) -> fl.Lab:
    return fl.open_lab(folder, progress=False)


def lab_owners(folder: Path) -> dict[Any, Decimal]:
    return owners(bookkeeping.verify(opened(folder)).entries)


def test_a_tag_that_only_a_split_names_is_read_even_when_it_is_named_later(tmp_path: Path) -> None:
    rows = [cost_row("4", Tags='{"Pool": "g"}'), cost_row("1", Tags='{"pool": "h"}')]
    folder = write_lab(tmp_path, {"bill.csv": rows, "calls.csv": CALLS}, TOML)
    assert lab_owners(folder) == {(UNALLOCATED, "unallocated"): Decimal(5)}
    (folder / "finops.toml").write_text(TOML + POOL, encoding="utf-8")
    assert lab_owners(folder) == {("search", "telemetry"): 4, (UNALLOCATED, "unallocated"): 1}


@pytest.mark.parametrize(
    ("file", "more", "owner"),
    [
        (
            "overrides.toml",
            '[[overrides]]\nauthor="a"\nreason="r"\ndate=2026-09-09\nwhere={x_team="ads"}\nset={team="web"}\n',
            ("web", "override"),
        ),
        ("finops.toml", TOML + '\n[[accounts]]\nid = "acct-1"\nteam = "web"\n', ("web", "rule")),
    ],
)
def test_what_is_decided_elsewhere_makes_another_ledger(
    tmp_path: Path, file: str, more: str, owner: tuple[str, str]
) -> None:
    rows = [cost_row("4", Tags='{"team": "ads"}'), cost_row("1")]
    folder = write_lab(tmp_path, {"bill.csv": rows}, TOML)
    before = fl.allocate(opened(folder)).inputs_sha256
    (folder / file).write_text(more, encoding="utf-8")
    assert owner in lab_owners(folder)
    assert fl.allocate(opened(folder)).inputs_sha256 != before
    if file == "overrides.toml":
        (folder / file).unlink()
        assert fl.allocate(opened(folder)).inputs_sha256 == before
        assert lab_owners(folder) == {("ads", "tag"): 4, (UNALLOCATED, "unallocated"): 1}


def test_names_cannot_paint_the_receipt_nor_compute_in_statements(tmp_path: Path) -> None:
    rows = [cost_row("4", Tags='{"team": "=1+1"}'), cost_row("1", Tags='{"team": "[bold]x[/]\\u001b[31m"}')]
    policy = POOL.replace("tagged pool", "[/red]\\u001b[31m").replace("x_tag_pool", "ServiceName")
    folder = write_lab(tmp_path / "lab", {"bill.csv": rows, "calls.csv": CALLS}, TOML + policy)
    run = CliRunner()
    shown = run.invoke(app, ["receipt", "--lab", str(folder), "--verify"])
    assert shown.exit_code == 0, shown.output
    assert "[/red]" in shown.output
    assert "\x1b" not in shown.output
    out = ["--month", "2026-09", "--out", str(tmp_path / "out")]
    done = run.invoke(app, ["chargeback", "--lab", str(folder), *out])
    assert done.exit_code == 0, done.output
    for name in ("summary", "lines"):
        text = (tmp_path / "out" / "2026-09" / "chargeback" / f"{name}.csv").read_text(encoding="utf-8")
        assert ",'=1+1," in text
        assert ",=1+1," not in text


def test_a_split_by_a_column_that_no_bill_has_is_told(tmp_path: Path) -> None:
    folder = write_lab(tmp_path, {"bill.csv": [cost_row("4")]}, TOML + POOL.replace("x_tag_pool", "Acount"))
    with pytest.raises(ConfigError, match="'Acount'"):
        fl.allocate(opened(folder))


# --- once broken ---------------------------------------------------------------------------------------

POOLG = Split(name="g", where={"SubAccountName": "gateway"}, by="gpu_seconds", idle_pool="p")


def test_paid_time_of_an_hour_without_samples_does_not_stop_the_ledger():  # D1
    use = samples({"team": "ads", "util": 0.5})
    rows = [paid("1"), paid("1", ChargePeriodStart=START + HOUR)]
    done = allocate(bill(*rows), RULES, splits=[POOLG], gpu_samples=use)
    assert owners(done.entries) == {
        ("ads", "telemetry"): Decimal("0.5"),
        (UNALLOCATED, "idle"): Decimal("0.5"),
        (UNALLOCATED, "dark"): Decimal(1),
    }


def test_wide_token_weights_do_not_wrap():  # D2
    wide = TokenWeights.model_validate({"input": "0.123456789", "output": "4"})
    split = GATEWAY.model_copy(update={"by": "weighted_tokens", "weights": wide})
    use = requests({"team": "a", "output_tokens": 3_000_000}, {"team": "b", "output_tokens": 1_000_000})
    try:
        done = allocate(bill(gateway()), RULES, splits=[split], requests=use)
    except InputError:
        return  # refused is honest too
    assert owners(done.entries) == {("a", "telemetry"): Decimal("0.75"), ("b", "telemetry"): Decimal("0.25")}


def test_a_plan_begins_to_act_on_months_that_did_not_change(tmp_path):  # D3
    plan = '\n[[coverage]]\nname = "one"\nauthoritative = ["new*.csv"]\noverlap = ["bill*.csv"]\n'
    folder = write_lab(tmp_path, {"bill.csv": [cost_row("30")]}, TOML + plan)
    fl.allocate(opened(folder))
    put(folder / "exports" / "new.csv", [cost_row("5", month="2026-10", BillingAccountId="2")])
    assert lab_owners(folder) == {(UNALLOCATED, "unallocated"): Decimal(5)}


def test_a_table_built_again_is_not_taken_for_the_old_one(tmp_path):  # D4
    folder = write_lab(tmp_path, {"bill.csv": [cost_row("1")]}, TOML)
    fl.allocate(opened(folder))
    shutil.rmtree(folder / "lake" / "costs")
    put(folder / "exports" / "bill.csv", [cost_row("2")])
    assert lab_owners(folder) == {(UNALLOCATED, "unallocated"): Decimal(2)}


@pytest.mark.parametrize("minutes", [0, 30])
def test_quarter_hours_and_half_hour_zones_are_not_paid_for_twice(minutes):  # D5
    use = samples(*[{"ts": START + HOUR * h, "team": "ads", "util": 0.5, "gpu_uuid": "g"} for h in (0, 1)])
    begin = START + timedelta(minutes=minutes)
    quarters = [
        paid(
            "0.25",
            ChargePeriodStart=begin + timedelta(minutes=15 * n),
            ChargePeriodEnd=begin + timedelta(minutes=15 * n + 15),
        )
        for n in range(4)
    ]
    for rows in (quarters, [paid("1", amount="4", ChargePeriodStart=begin)]):
        done = allocate(bill(*rows), RULES, splits=[POOLG], gpu_samples=use)
        assert owners(done.entries) == {("ads", "telemetry"): Decimal(2), (UNALLOCATED, "idle"): Decimal(2)}


def _units():
    return Dimensions.model_validate(
        {
            "team": [
                {"name": "t", "tag": "team"},
                {"name": "g", "where": {"SubAccountName": "gateway"}, "value": "platform"},
            ],
            "business_unit": [
                {"name": "u", "dimension": "team", "map": {"platform": "infra", "a": "consumer", "b": "b2b"}}
            ],
        }
    )


def test_what_a_pool_gives_a_team_is_of_the_teams_business_unit():  # D6
    done = allocate(bill(gateway()), _units(), splits=[GATEWAY], requests=used("a"))
    assert done.entries["x_business_unit"].to_list() == ["consumer"]


def test_what_an_override_gives_a_team_is_not_of_the_old_teams_business_unit():  # D6
    told = {
        "author": "c",
        "reason": "r",
        "date": "2026-10-09",
        "where": {"x_team": "a"},
        "set": {"team": "b"},
    }
    done = allocate(
        bill({"x_tag_team": "a"}, {"x_tag_team": "b"}), _units(), overrides=[Override.model_validate(told)]
    )
    assert set(done.entries["x_business_unit"]) == {"b2b"}


def test_busy_gpus_of_other_pools_carry_nothing():  # D7
    use = samples({"team": "a", "util": 1.0}, {"team": "z", "util": 1.0, "pool_id": "other"})
    done = allocate(bill(paid("1")), RULES, splits=[POOLG], gpu_samples=use)
    assert "z" not in done.entries["x_team"]


@pytest.mark.parametrize("name", ["n/a", "unknown", ""])
def test_use_of_nobody_has_no_owner(name):  # D8
    done = allocate(bill(gateway()), RULES, splits=[GATEWAY], requests=used(name))
    assert owners(done.entries) == {(UNALLOCATED, "unallocated"): Decimal(1)}


def test_even_is_even_among_teams():  # D9
    use = requests(*[{"team": "a", "feature": f} for f in "xyz"], {"team": "b", "feature": "x"})
    done = allocate(bill(gateway()), RULES, splits=[GATEWAY.model_copy(update={"by": "even"})], requests=use)
    assert owners(done.entries) == {("a", "telemetry"): Decimal("0.5"), ("b", "telemetry"): Decimal("0.5")}


def test_the_dimension_is_what_the_rule_made_of_the_bills_column():  # D10
    rules = Dimensions.model_validate(
        {"feature": [{"name": "f", "column": "x_feature", "map": {"raw": "chat"}}]}
    )
    rows = bill(gateway()).with_columns(x_feature=pl.lit("raw"))
    done = allocate(rows, rules, splits=[GATEWAY], requests=used("a"))
    assert done.entries["x_feature"].to_list() == ["chat"]


def test_named_carriers_without_costs_of_their_own_carry_by_use():  # D11
    tier = Shared.model_validate({**TAX, "by": "requests", "among": ["a", "c"]})
    done = allocate(
        bill({"x_tag_team": "a"}, {"ChargeCategory": "Tax"}), RULES, shared=[tier], requests=used("a", "c")
    )
    assert owners(done.entries)[("c", "shared")] == Decimal("0.5")


@pytest.mark.parametrize("within", ["BillingCurrency", "x_BillingMonth"])
def test_within_what_is_within_anyway(within):  # D12
    tier = Shared.model_validate({**TAX, "within": within})
    done = allocate(bill({"x_tag_team": "a"}, {"ChargeCategory": "Tax"}), RULES, shared=[tier])
    assert owners(done.entries) == {("a", "tag"): 1, ("a", "shared"): 1}


def test_a_kind_that_was_not_measured_is_not_idle():  # D13
    use = samples(
        {"gpu_uuid": "g", "team": "a", "util": None},
        {"gpu_uuid": "g", "team": "a", "util": 1.0, "util_kind": "gpu_util"},
    )
    done = allocate(bill(paid("1")), RULES, splits=[POOLG], gpu_samples=use)
    assert owners(done.entries)[("a", "telemetry")] == 1


def test_slices_of_one_gpu_are_one_gpu() -> None:
    slices = [{"gpu_uuid": "g", "mig_id": str(n), "team": "a", "util": 1.0} for n in range(7)]
    done = allocate(bill(paid("1", amount="7")), RULES, splits=[POOLG], gpu_samples=samples(*slices))
    found = owners(done.entries)
    assert abs(found["a", "telemetry"] - 7) < Decimal("0.000001")
    assert abs(found.get((UNALLOCATED, "dark"), Decimal(0))) < Decimal("0.000001")


def test_tags_of_a_split_are_spelled_as_anywhere() -> None:
    assert list(Split(name="s", where={"x_tag_Cost-Pool": "gpu"}).where) == ["x_tag_cost_pool"]


@pytest.mark.parametrize(
    "policy", [{"among": ["~^a"]}, {"by": "fixed", "shares": {"": "1"}}, {"among": [""]}]
)
def test_who_carries_is_named(policy: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="by name"):
        Shared.model_validate({"name": "s", "where": {"ServiceName": "x"}, **policy})
