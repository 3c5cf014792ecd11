"""Idle policies and shared costs against a slow reference: random small bills, summed up row by row."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

import polars as pl
import pytest
from test_splits import HOUR, RULES, START, bill, requests, samples

from finops_lab.allocation import UNALLOCATED, allocate
from finops_lab.config import Shared, Split
from finops_lab.contracts import AMOUNTS
from finops_lab.money import exact_sum

HOURS = 6
TEAMS = ("a", "b", "c", "plat")
POOLS = ("p1", "p2", "gw")


@dataclass
class Entry:
    """A part of the bill with an owner."""

    month: str
    currency: str
    category: str
    team: str
    method: str
    pool: str | None
    amount: Fraction


@dataclass
class Small:
    """A random lab, as plain lists."""

    rows: list[dict[str, Any]]
    calls: list[dict[str, Any]]
    gpus: list[dict[str, Any]]
    splits: list[Split]
    tiers: list[Shared]


def small(seed: int, idle: str) -> Small:
    some = random.Random(f"{seed} {idle}")
    rows = []
    for _ in range(some.randint(2, 14)):
        start, hours = some.randrange(HOURS), some.choice([1, 1, 1, 2, 4])
        rows.append(
            {
                "amount": str(Decimal(some.randint(-400, 900)) / some.choice([1, 10, 100])),
                "ChargePeriodStart": START + HOUR * start,
                "ChargePeriodEnd": START + HOUR * (start + hours),
                "SubAccountName": some.choice([*POOLS, *POOLS, None]),
                "x_tag_team": some.choice([*TEAMS, None]),
                "ChargeCategory": some.choice(["Usage"] * 4 + ["Credit", "Tax"]),
                "BillingCurrency": some.choice(["USD", "USD", "USD", "EUR"]),
                "x_BillingMonth": some.choice(["2026-10", "2026-10", "2026-11"]),
                "ConsumedQuantity": some.choice([None, Decimal(0), Decimal(hours), Decimal(4 * hours)]),
                "ConsumedUnit": "Hours",
                "x_GpuCount": some.choice([1.0, 2.0]),
            }
        )
    calls = [
        {
            "ts_start": START + HOUR * some.randrange(HOURS + 3),
            "team": some.choice([*TEAMS[:3], None]),
            "output_tokens": some.choice([0, 1, 5, 100]),
        }
        for _ in range(some.randint(0, 10))
    ]
    gpus = [
        {
            "ts": START + HOUR * hour,
            "gpu_uuid": f"{pool}-{n}",
            "pool_id": pool,
            "team": some.choice([*TEAMS[:3], None]),
            "util": some.choice([0.0, 0.0, 0.25, 0.5, 1.0]),
        }
        for pool in POOLS[:2]
        for hour in range(HOURS + 3)
        for n in range(some.choice([0, 1, 1, 2]))
    ]
    splits = []
    for pool in POOLS[:2]:
        # The second pool may have another policy than the first.
        kind = idle if pool == "p1" else some.choice([idle, idle, "pool", "cluster", "owner", "keep"])
        by = some.choice(["gpu_seconds", "even", "tokens"])
        policy: dict[str, Any] = {"idle": kind, "idle_pool": pool, "by": by}
        policy |= {"idle_owner": "plat"} if kind == "owner" else {}
        policy |= {"cluster": "one"} if kind == "cluster" or some.random() < 0.8 else {}
        splits.append(Split.model_validate({"name": pool, "where": {"SubAccountName": pool}, **policy}))
    splits.append(
        Split(name="gw", where={"SubAccountName": "gw"}, by=some.choice(["tokens", "requests", "even"]))
    )
    wheres: list[dict[str, Any]] = [
        {"ChargeCategory": "Tax"},
        {"x_team": "plat"},
        {"x_team": UNALLOCATED},
        {"x_AllocationMethod": ["idle", "dark"]},
        {"x_team": ["a", "b"], "ChargeCategory": "Credit"},
        {"x_PoolId": "p1", "x_AllocationMethod": "idle"},
    ]
    tiers = []
    for number in range(some.randint(0, 4)):
        how: dict[str, Any] = some.choice(
            [
                {},
                {"by": "direct", "among": ["a", "c"]},
                {"by": "even"},
                {"by": "even", "among": ["b", "new"]},
                {"by": "tokens"},
                {"by": "requests", "among": ["a", "b", "new"]},
                {"by": "fixed", "shares": {"a": "0.25", "c": "0.75", "b": "0"}},
                {"by": "direct", "without": ["a"]},
            ]
        )
        months = some.choice([{}, {}, {"from": "2026-11"}, {"to": "2026-10"}])
        tiers.append(
            Shared.model_validate({"name": f"t{number}", "where": some.choice(wheres), **how, **months})
        )
    return Small(rows, calls, gpus, splits, tiers)


# --- the reference --------------------------------------------------------------------------------------


def hours_of(row: dict[str, Any]) -> range:
    first, last = ((row[name] - START) // HOUR for name in ("ChargePeriodStart", "ChargePeriodEnd"))
    return range(first, last)


def paid_of(row: dict[str, Any]) -> Fraction | None:
    if row["ConsumedQuantity"] is None or Decimal(row["amount"]) < 0:
        return None
    return Fraction(row["ConsumedQuantity"]) * Fraction(row["x_GpuCount"])


def used_in(lab: Small, split: Split, hours: Iterable[int]) -> dict[str | None, Fraction]:
    found: dict[str | None, Fraction] = defaultdict(Fraction)
    if split.by == "gpu_seconds":
        for sample in lab.gpus:
            if (sample["ts"] - START) // HOUR in hours and sample["pool_id"] == split.idle_pool:
                found[sample["team"]] += Fraction(sample["util"])
    else:
        for call in lab.calls:
            if (call["ts_start"] - START) // HOUR in hours:
                found[call["team"]] += call["output_tokens"] if split.by == "tokens" else 1
    if split.by == "even":
        return {team: Fraction(1) for team in found}
    return {team: weight for team, weight in found.items() if weight > 0}


def parts_of(lab: Small, split: Split, row: dict[str, Any]) -> tuple[Fraction, Fraction]:
    """Return which part of a row was paid for busy, and which for idle time."""
    pool = [other for other in lab.rows if other["SubAccountName"] == split.name]
    paid: dict[range, Fraction | None] = {}
    for other in pool:
        hours, time = hours_of(other), paid_of(other)
        known = paid.get(hours)
        paid[hours] = known if time is None else (known or Fraction(0)) + time
    mine, hours = paid[hours_of(row)], hours_of(row)
    here = [
        [s for s in lab.gpus if s["pool_id"] == split.name and s["ts"] == START + HOUR * h] for h in hours
    ]
    if not any(here) or (mine is not None and mine <= 0):
        return Fraction(1), Fraction(0)
    if mine is None:
        mine = Fraction(sum(map(len, here)))
        shares = [Fraction(1)] * len(hours)
    else:
        rates = {period: time / len(period) for period, time in paid.items() if time is not None and time > 0}
        shares = [rates[hours] / sum(r for period, r in rates.items() if h in period) for h in hours]
    each = list(zip(here, shares, strict=True))
    busy = sum((Fraction(s["util"]) * share for found, share in each for s in found), Fraction(0))
    idle = sum(((1 - Fraction(s["util"])) * share for found, share in each for s in found), Fraction(0))
    return busy / mine, idle / mine


def divided(lab: Small) -> list[Entry]:
    done = []
    for row in lab.rows:
        own = row["x_tag_team"]

        def booked(team: str | None, method: str, amount: Fraction, pool: str | None, row: Any = row) -> None:
            kind = "unallocated" if team is None and method == "telemetry" else method
            told = (row["x_BillingMonth"], row["BillingCurrency"], row["ChargeCategory"])
            done.append(Entry(*told, team or UNALLOCATED, kind, pool, amount))

        amount = Fraction(row["amount"])
        split = next((split for split in lab.splits if split.name == row["SubAccountName"]), None)
        if split is None:
            booked(own, "tag" if own else "unallocated", amount, None)
            continue
        busy, idle = parts_of(lab, split, row) if split.idle_pool else (Fraction(1), Fraction(0))
        users = used_in(lab, split, hours_of(row))
        whole = sum(users.values())

        def among_users(
            method: str,
            part: Fraction,
            users: Any = users,
            whole: Any = whole,
            say: Any = booked,
            name: str = split.name,
        ) -> None:
            for team, weight in users.items():
                say(team, method, part * weight / whole, name)
            if not users:
                say(None, "idle" if method == "idle" else "dark", part, name)

        among_users("telemetry", amount * busy)
        booked(None, "dark", amount * (1 - busy - idle), split.name)
        if split.idle == "pool":
            among_users("idle", amount * idle)
        else:
            booked(split.idle_owner if split.idle == "owner" else own, "idle", amount * idle, split.name)
    return done


def direct(entries: Iterable[Entry]) -> dict[str, Fraction]:
    found: dict[str, Fraction] = defaultdict(Fraction)
    for entry in entries:
        if entry.category not in ("Tax", "Credit"):
            found[entry.team] += entry.amount
    # Weights are whole millionths; what is smaller weighs nothing.
    return {team: Fraction(int(cost * 10**6)) for team, cost in found.items() if cost >= Fraction(1, 10**6)}


def carried(pot: list[Entry], method: str, weights: Callable[[str, str], dict[str, Fraction]]) -> list[Entry]:
    done = []
    for entry in pot:
        found = weights(entry.month, entry.currency)
        whole = sum(found.values())
        for team, weight in found.items():
            changed = {**vars(entry), "team": team, "method": method, "amount": entry.amount * weight / whole}
            done.append(Entry(**changed))
        if not found:
            done.append(entry)
    return done


def picks(tier: Shared, entry: Entry) -> bool:
    told = {
        "x_team": entry.team,
        "ChargeCategory": entry.category,
        "x_AllocationMethod": entry.method,
        "x_PoolId": entry.pool,
    }
    return (
        all(told[name] in values for name, values in tier.where.items())
        and (tier.first is None or entry.month >= tier.first.strftime("%Y-%m"))
        and (tier.last is None or entry.month <= tier.last.strftime("%Y-%m"))
    )


def shared(lab: Small, entries: list[Entry], tier: Shared) -> list[Entry]:
    pot = [entry for entry in entries if picks(tier, entry)]
    others = [entry for entry in entries if not picks(tier, entry)]
    not_carrying = {UNALLOCATED, *tier.without, *tier.where.get("x_team", ())}

    def weights(month: str, currency: str) -> dict[str, Fraction]:
        own = [
            entry
            for entry in others
            if (entry.month, entry.currency) == (month, currency)
            and entry.team not in not_carrying
            and (not tier.among or entry.team in tier.among)
        ]
        if tier.by == "direct":
            return direct(own)
        if tier.by == "fixed":
            return {team: Fraction(share) for team, share in tier.shares.items() if share}
        costs: dict[str, Fraction] = defaultdict(Fraction)
        for entry in own:
            costs[entry.team] += entry.amount
        having = {team for team, cost in costs.items() if cost}
        teams = set(tier.among) - set(tier.without) if tier.among else having
        if tier.by == "even":
            return dict.fromkeys(teams, Fraction(1))
        found: dict[str, Fraction] = defaultdict(Fraction)
        for call in lab.calls:
            if call["team"] in teams and call["ts_start"].strftime("%Y-%m") == month:
                found[call["team"]] += call["output_tokens"] if tier.by == "tokens" else 1
        return {team: weight for team, weight in found.items() if weight}

    return others + carried(pot, "shared", weights)


def expected(lab: Small) -> dict[Any, Fraction]:
    entries = divided(lab)
    giving = {split.name for split in lab.splits if split.idle == "cluster"}
    if giving:
        pot = [entry for entry in entries if entry.method == "idle" and entry.pool in giving]
        others = [entry for entry in entries if not (entry.method == "idle" and entry.pool in giving)]
        pools = {split.name for split in lab.splits if split.cluster}
        users = [entry for entry in others if entry.method == "telemetry" and entry.pool in pools]

        def weights(month: str, currency: str) -> dict[str, Fraction]:
            return direct(e for e in users if (e.month, e.currency) == (month, currency))

        entries = others + carried(pot, "idle", weights)
    for tier in lab.tiers:
        entries = shared(lab, entries, tier)
    found: dict[Any, Fraction] = defaultdict(Fraction)
    for entry in entries:
        found[entry.month, entry.currency, entry.category, entry.team, entry.method] += entry.amount
    return found


@pytest.mark.parametrize("idle", ["pool", "cluster", "owner", "keep"])
@pytest.mark.parametrize("seed", range(6))
def test_random_bills_agree_with_the_reference(seed: int, idle: str) -> None:
    compare(small(seed, idle))


def compare(lab: Small) -> None:
    months = sorted({row["x_BillingMonth"] for row in lab.rows})
    keys = ["x_BillingMonth", "BillingCurrency", "ChargeCategory", "x_team", "x_AllocationMethod"]
    wanted, parts = defaultdict(Fraction), []
    for month in months:  # a month is allocated by itself
        one = Small(
            [r for r in lab.rows if r["x_BillingMonth"] == month], lab.calls, lab.gpus, lab.splits, lab.tiers
        )
        wanted |= expected(one)
        costs = bill(*[dict(row) for row in one.rows])
        done = allocate(
            costs,
            RULES,
            splits=one.splits,
            shared=one.tiers,
            requests=requests(*lab.calls),
            gpu_samples=samples(*lab.gpus),
        )
        assert done.entries["x_Rows"].sum() == len(one.rows)
        for name in AMOUNTS:
            assert exact_sum(done.entries[name]) == sum(Decimal(row["amount"]) for row in one.rows)
        parts.append(done.entries)
    got = {
        row[:-1]: row[-1]
        for row in pl.concat(parts).group_by(keys).agg(pl.col("EffectiveCost").sum()).iter_rows()
    }
    size = max(abs(Fraction(row["amount"])) for row in lab.rows) + 1
    for key in {*got, *wanted}:
        assert abs(Fraction(got.get(key, 0)) - wanted.get(key, Fraction(0))) < size / 10**4, (
            key,
            got,
            dict(wanted),
        )
