"""What holds for every ledger: months apart or together, rows in memory or on disk, a million of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_splits import GATEWAY, HOUR, RULES, START, bill, requests

from finops_lab import contracts
from finops_lab.allocation import Policy, allocate, partial, put_together
from finops_lab.allocation.splitting import split_amounts
from finops_lab.config import Shared
from finops_lab.contracts import AMOUNTS
from finops_lab.money import MONEY, exact_sum

TIERS = (
    Shared(name="support", where={"ServiceName": "Support"}),
    Shared(name="platform", where={"x_team": "platform"}),
    Shared(name="tax", where={"ChargeCategory": "Tax"}, by="even", within=["ProviderName"]),
)
MONTHS = ("2026-09", "2026-10")
ROW = st.fixed_dictionaries(
    {
        "x_BillingMonth": st.sampled_from(MONTHS),
        "SubAccountName": st.sampled_from(["gateway", "own", None]),
        "x_tag_team": st.sampled_from([None, "a", "b", "platform"]),
        "ChargeCategory": st.sampled_from(["Usage", "Tax", "Credit", "Purchase"]),
        "ServiceName": st.sampled_from(["Compute", "Support"]),
        "ProviderName": st.sampled_from(["CloudOne", "Nimbus"]),
        "BillingCurrency": st.sampled_from(["USD", "EUR"]),
        "ChargePeriodStart": st.sampled_from([START, START + HOUR, START - timedelta(days=20)]),
        "amount": st.decimals(-(10**6), 10**6, places=10) | st.sampled_from([Decimal("0.01"), Decimal(0)]),
    }
)
USE = requests(
    {"team": "a", "feature": "f", "output_tokens": 3},
    {"team": "b", "output_tokens": 4},
    {"output_tokens": 1, "ts_start": START + HOUR},
)


@settings(max_examples=30, deadline=None)
@given(st.lists(ROW, min_size=1, max_size=15), st.randoms(use_true_random=False))
def test_months_apart_or_together_in_any_order(rows: list[dict[str, Any]], chance: Any) -> None:
    policy = Policy(RULES, (GATEWAY,), TIERS)
    whole = allocate(bill(*map(dict, rows)), RULES, splits=[GATEWAY], shared=TIERS, requests=USE)
    costs = (
        bill(*map(dict, rows)).collect().sample(fraction=1, shuffle=True, seed=chance.randrange(99)).lazy()
    )
    months = sorted({row["x_BillingMonth"] for row in rows}, reverse=True)
    parts = [partial(costs.filter(x_BillingMonth=month), policy, USE) for month in months]
    together = put_together(parts, policy)
    for name in ("entries", "receipt", "rules"):
        assert getattr(together, name).equals(getattr(whole, name)), name
    for currency in ("USD", "EUR"):
        mine = [row["amount"] for row in rows if row["BillingCurrency"] == currency]
        booked = whole.entries.filter(BillingCurrency=currency)
        for metric in AMOUNTS:
            assert exact_sum(booked[metric].drop_nulls()) == exact_sum(mine)
    keys = ("BillingCurrency", "x_BillingMonth", "ChargeCategory", "ProviderName")
    before = bill(*map(dict, rows)).group_by(keys).agg(pl.col("BilledCost").sum()).sort(keys).collect()
    after = whole.entries.group_by(keys).agg(pl.col("BilledCost").sum()).sort(keys)
    assert before.equals(after), "no step moves money between months, providers or kinds of charge"


def test_rows_on_disk_give_the_same_ledger(tmp_path: Path) -> None:
    costs = bill(*[{"x_tag_team": t, "amount": a} for t, a in (("a", "1.1"), ("b", "2"), (None, "-3"))])
    costs.sink_parquet(tmp_path / "costs.parquet")
    in_memory, scanned = (allocate(f, RULES, shared=TIERS) for f in (costs, pl.scan_parquet(tmp_path)))
    assert in_memory.entries.equals(scanned.entries)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 10**9)), min_size=1, max_size=9), st.integers()
)
def test_splitting_finely_and_adding_up_is_splitting_coarsely(
    parts: list[tuple[str, int]], cents: int
) -> None:
    whole = Decimal(cents % 10**12).scaleb(-2)
    schema = {"pool": pl.Int64, "team": pl.String, "n": pl.Int64, "weight": pl.Int64, "BilledCost": MONEY}
    rows = [(1, team, n, weight, whole) for n, (team, weight) in enumerate(parts)]
    fine = pl.LazyFrame(rows, schema=schema, orient="row")
    coarse = fine.group_by("pool", "team").agg(pl.col("weight").sum(), pl.col("BilledCost").first())
    if not any(weight for _, weight in parts):
        return  # nothing to go by is split evenly, over other parts
    apart = split_amounts(fine, ["pool"], order=["n"], amounts=["BilledCost"]).collect()
    added = {team: exact_sum(part["BilledCost"]) for (team,), part in apart.group_by("team")}
    done = split_amounts(coarse, ["pool"], order=["team"], amounts=["BilledCost"]).collect()
    for team, amount in done.select("team", "BilledCost").iter_rows():
        # Each part is less than a unit of the last decimal away from its exact share.
        assert abs(amount - added[team]) <= Decimal(len(parts) + 1).scaleb(-18)


def test_a_million_rows_add_up() -> None:
    rng = np.random.default_rng(5)
    size = 1_000_000

    def drawn(values: list[str | None]) -> pl.Series:
        return pl.Series(values, dtype=pl.String).gather(rng.integers(0, len(values), size))

    units = pl.Series(rng.integers(-(10**9), 10**12, size))
    amount = units.cast(pl.Decimal(38, 0)).cast(pl.Int128).reinterpret(dtype=pl.Decimal(38, 10)).cast(MONEY)
    start = datetime(2026, 10, 1, tzinfo=UTC)
    hour = pl.Series(rng.integers(0, 24 * 31, size))
    begin = pl.lit(start) + pl.duration(hours=pl.col("hour"))
    made = {
        "hour": hour,
        **dict.fromkeys(AMOUNTS, amount),
        "SubAccountName": drawn(["gateway", "own", "own"]),
        "x_tag_team": drawn([None, "a", "b", "platform"]),
        "ChargeCategory": drawn(["Usage", "Usage", "Usage", "Tax", "Credit"]),
        "ServiceName": drawn(["Compute", "Support"]),
    }
    costs = pl.DataFrame(made).lazy().with_columns(
        begin.alias("ChargePeriodStart"),
        (begin + HOUR).alias("ChargePeriodEnd"),
        pl.lit("USD").alias("BillingCurrency"),
        pl.lit("CloudOne").alias("ProviderName"),
        pl.lit("2026-10").alias("x_BillingMonth"),
        *[
            pl.lit(None, dtype=dtype).alias(name)
            for name, dtype in contracts.dtypes("costs").items()
            if name in ("ServiceCategory", "ChargeClass", "CommitmentDiscountStatus")
        ],
    )  # fmt: skip
    calls = [
        {"team": team, "ts_start": start + n * HOUR, "output_tokens": int(rng.integers(1, 10**6))}
        for n in range(24 * 31)
        for team in ("a", "b", "c")
        if (n + len(team)) % 50
    ]
    done = allocate(costs, RULES, splits=[GATEWAY], shared=TIERS, requests=requests(*calls))
    assert exact_sum(done.entries["EffectiveCost"]) == Decimal(int(units.sum())).scaleb(-10)
    assert done.entries["x_Rows"].sum() == size
    assert set(done.receipt["residual"]) == {Decimal(0)}
    assert {"telemetry", "dark", "shared", "tag"} <= set(done.entries["x_AllocationMethod"])


@pytest.mark.parametrize("name", ["entries", "receipt", "rules", "steps"])
def test_a_ledger_of_one_part_is_the_part(name: str) -> None:
    costs = bill({"x_tag_team": "a"}, {"SubAccountName": "gateway"})
    policy = Policy(RULES, (GATEWAY,), TIERS)
    again = put_together([partial(costs, policy, USE)], policy)
    whole = allocate(costs, RULES, splits=[GATEWAY], shared=TIERS, requests=USE)
    assert getattr(again, name).equals(getattr(whole, name))
