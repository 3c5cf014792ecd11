"""Faults that an adversarial reading of allocation found: each broke once."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
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
from finops_lab.config import Dimensions, Override, Shared, Split
from finops_lab.errors import ConfigError, InputError

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
    with pytest.raises(ConfigError, match="circle, (platform > data > platform|data > platform > data)"):
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
