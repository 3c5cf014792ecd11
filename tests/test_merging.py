"""Labs merge into a portal: what several hold counts once, rules stay with their labs, sums agree."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Collection, Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pytest
from helpers import (
    BINDER,
    FOCUS_SAMPLE,
    PLAIN_TOML,
    binder_focus,
    cost_row,
    csv_rows,
    csv_text,
    decimal_sum,
    put,
    write_lab,
)
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import finops_lab as fl
from finops_lab.config import Config, load
from finops_lab.errors import ConfigError, InputError, ReconciliationError
from finops_lab.ingestion import lake
from finops_lab.merging import MergeConflict, Merged, merge
from finops_lab.merging.configs import merged_config
from finops_lab.merging.conflicts import CONFLICTS
from finops_lab.merging.reading import read_lab
from finops_lab.merging.receipt import receipt_of
from finops_lab.merging.toml_text import written

OWNED_BY = '\n[[dimensions.team]]\nname = "everything"\nvalue = "{}"\n'


def bill(account: str, *amounts: str, **more: str | None) -> list[dict[str, str | None]]:
    return [
        cost_row(amount, BillingAccountId=account, ResourceId=f"r{n}", **more)
        for n, amount in enumerate(amounts)
    ]


def lab(folder: Path, exports: dict[str, Any], toml: str = "") -> Path:
    return write_lab(folder, exports, PLAIN_TOML + toml)


def counted(portal: Path) -> Decimal:
    """Add up what the portal counts with plain decimals, through the front door."""
    opened = fl.open_lab(portal, progress=False)
    return decimal_sum(opened.costs().select("BilledCost").collect().to_series())


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Return every file below a folder, with its content and its time."""
    return {
        path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def sums(done: Merged) -> tuple[Any, Any, Any]:
    row = done.totals().row(0)
    return row[1], row[2], row[3]


def owners(portal: Path) -> dict[str, Decimal]:
    entries = fl.allocate(fl.open_lab(portal, progress=False)).entries
    found = entries.group_by("x_team").agg(pl.col("BilledCost").sum()).rows()
    return {team: amount.normalize() for team, amount in found}


def test_labs_of_different_accounts_add_up(tmp_path: Path) -> None:
    a = lab(tmp_path / "a", {"aws/x.csv": bill("1", "1.10", "-0.10")})
    b = lab(tmp_path / "b", {"aws/x.csv": bill("2", "2.20"), "notes.md": "not data"})
    done = merge([a, b], tmp_path / "portal")
    assert done.changed
    assert sums(done) == (Decimal("3.20"), Decimal("3.20"), Decimal(0))
    assert done.receipt.select("lab", "file", "rows", "BilledCost", "counted").rows() == [
        ("a", "aws/x.csv", 2, Decimal("1.00"), Decimal("1.00")),
        ("b", "aws/x.csv", 1, Decimal("2.20"), Decimal("2.20")),
    ]
    assert done.conflicts.height == 0
    assert counted(tmp_path / "portal") == Decimal("3.20")
    assert tomllib.loads((tmp_path / "portal/finops.toml").read_text())["lab"]["name"].startswith(
        "Portal of "
    )


def test_the_labs_are_only_read(tmp_path: Path) -> None:
    a, b = (lab(tmp_path / name, {"x.csv": bill(name, "1")}) for name in "ab")
    before = [snapshot(folder) for folder in (a, b)]
    merge([a, b], tmp_path / "portal")
    assert [snapshot(folder) for folder in (a, b)] == before


def test_the_same_file_in_two_labs_counts_once_and_says_where_else_it_was(tmp_path: Path) -> None:
    shared = csv_text(bill("1", "5.00"))
    a = lab(tmp_path / "a", {"one.csv": shared})
    b = lab(tmp_path / "b", {"aws/other.csv": shared, "aws/copy.csv": shared, "own.csv": bill("2", "1")})
    done = merge([a, b], tmp_path / "portal")
    assert sums(done) == (Decimal(11), Decimal(6), Decimal(5))
    assert counted(tmp_path / "portal") == 6
    left = done.files.filter(pl.col("portal_file").is_null())
    assert left.select("lab", "file", "same_as").rows() == [
        ("b", "aws/copy.csv", "a/one.csv"),
        ("b", "aws/other.csv", "a/one.csv"),
    ]
    why = done.receipt.filter(pl.col("elsewhere") != 0).select("lab", "file", "why").rows()
    assert why == [("b", "aws/copy.csv", "same content as a/one.csv")]
    preferred = merge([a, b], tmp_path / "portal", prefer="b")
    assert sums(preferred) == (Decimal(11), Decimal(6), Decimal(5))
    assert preferred.files.filter(pl.col("lab") == "a")["same_as"].to_list() == ["b/aws/copy.csv"]


def test_a_month_in_two_labs_is_refused_with_the_money_at_stake(tmp_path: Path) -> None:
    a = lab(tmp_path / "a", {"x.csv": bill("1", "5.00", "2.50") + bill("9", "1")})
    b = lab(tmp_path / "b", {"y.csv": bill("1", "5.00") + bill("8", "10")})
    with pytest.raises(
        MergeConflict, match=r"CloudOne / 1 / 2026-09 .*a 7\.5 USD in 2 rows, b 5 USD in 1 rows"
    ) as told:
        merge([a, b], tmp_path / "portal")
    assert told.value.conflicts.select("lab", "rows", "BilledCost", "counts").rows() == [
        ("a", 2, Decimal("7.5"), None),
        ("b", 1, Decimal(5), None),
    ]
    assert "prefer = 'a' or 'b'" in str(told.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"], "nothing half-written"


@pytest.mark.parametrize(("prefer", "total"), [("a", "18.5"), ("b", "16")])
def test_the_preferred_lab_counts_where_both_bill_and_nowhere_else(
    tmp_path: Path, prefer: str, total: str
) -> None:
    a = lab(tmp_path / "a", {"x.csv": bill("1", "5.00", "2.50") + bill("9", "1")})
    b = lab(tmp_path / "b", {"y.csv": bill("1", "5.00") + bill("8", "10")})
    done = merge([a, b], tmp_path / "portal", prefer=prefer)
    assert counted(tmp_path / "portal") == Decimal(total)
    assert sums(done)[:2] == (Decimal("23.5"), Decimal(total))
    assert done.conflicts["counts"].to_list() == [prefer == "a", prefer == "b"]
    opened = fl.open_lab(tmp_path / "portal", progress=False)
    # What does not count is still there, and reported.
    assert decimal_sum(opened.delivered("costs").select("BilledCost").collect().to_series()) == Decimal(
        "23.5"
    )
    assert opened.overlap()["BilledCost"].to_list() == [Decimal("23.5") - Decimal(total)]


def test_labs_with_sub_accounts_of_their_own_share_an_account(tmp_path: Path) -> None:
    a = lab(tmp_path / "a", {"x.csv": bill("1", "5", SubAccountId="s1")})
    b = lab(tmp_path / "b", {"x.csv": bill("1", "7", SubAccountId="s2")})
    c = lab(tmp_path / "c", {"x.csv": bill("1", "1", SubAccountId="s2")})
    with pytest.raises(MergeConflict, match="sub_accounts=True: here the labs hold different"):
        merge([a, b], tmp_path / "portal")
    assert sums(merge([a, b], tmp_path / "portal", sub_accounts=True)) == (12, 12, 0)
    with pytest.raises(MergeConflict, match="CloudOne / 1 / 2026-09 / s2 is billed"):
        merge([a, b, c], tmp_path / "portal", sub_accounts=True)
    assert counted(tmp_path / "portal") == 12, "a refused merge leaves the portal"
    done = merge([a, b, c], tmp_path / "portal", sub_accounts=True, prefer="c")
    assert sums(done) == (13, 6, 7)


def test_charges_of_a_whole_account_in_two_labs_cannot_be_told_apart(tmp_path: Path) -> None:
    a, b = (
        lab(tmp_path / n, {"x.csv": bill("1", "5" if n == "a" else "6", SubAccountId=None)}) for n in "ab"
    )
    with pytest.raises(MergeConflict, match="must be delivered to one lab only"):
        merge([a, b], tmp_path / "portal", sub_accounts=True, prefer="a")


def deliveries(*days: tuple[int, str]) -> dict[str, Any]:
    return {f"aws/delivered=2026-10-0{day}/x.csv": bill("1", amount) for day, amount in days}


def test_a_lab_that_lags_behind_gives_way_to_the_newer_delivery(tmp_path: Path) -> None:
    """By hand: a counts 3 (of 1, 2, 3 in turn), b counts 2, which is a's second delivery."""
    a = lab(tmp_path / "a", deliveries((1, "1"), (2, "2"), (3, "3")))
    b = lab(tmp_path / "b", deliveries((1, "1"), (2, "2")))
    for labs in ([a, b], [b, a]):
        done = merge(labs, tmp_path / "portal")
        assert sums(done) == (5, 3, 2)
        assert counted(tmp_path / "portal") == 3
    as_of = fl.open_lab(tmp_path / "portal", progress=False, as_of="2026-10-02")
    assert decimal_sum(as_of.costs().select("BilledCost").collect().to_series()) == 2


def test_a_delivery_that_came_back_stays_in_its_stream(tmp_path: Path) -> None:
    """b went from 1 to 2 and back to 1: its last word is 1, which a holds too."""
    a = lab(tmp_path / "a", {"x.csv": bill("1", "1")})
    b = lab(tmp_path / "b", deliveries((1, "1"), (2, "2"), (3, "1")))
    for labs in ([a, b], [b, a]):
        assert sums(merge(labs, tmp_path / "portal")) == (2, 1, 1)
        assert counted(tmp_path / "portal") == 1


def test_deliveries_that_parted_are_refused_and_preferred_whole(tmp_path: Path) -> None:
    a = lab(tmp_path / "a", deliveries((1, "1"), (2, "2")))
    b = lab(tmp_path / "b", deliveries((1, "1"), (3, "4")))
    with pytest.raises(InputError, match="nothing tells whose is the newest"):
        merge([a, b], tmp_path / "portal")
    assert sums(merge([a, b], tmp_path / "portal", prefer="a")) == (6, 2, 4)
    assert sums(merge([a, b], tmp_path / "portal", prefer="b")) == (6, 4, 2)
    put(b / "exports/aws/delivered=2026-10-04/x.csv", bill("7", "9"))
    with pytest.raises(
        InputError, match=r"a is preferred for this export but lacks 1 .*CloudOne / 7 / 2026-09"
    ):
        merge([a, b], tmp_path / "portal", prefer="a")


def test_rules_do_not_leak_into_other_labs(tmp_path: Path) -> None:
    common = '\n[[dimensions.team]]\nname = "team tag"\ntag = "team"\n'
    tagged = cost_row("4", BillingAccountId="2", Tags='{"team": "ads"}')
    a = lab(tmp_path / "a", {"x.csv": bill("1", "1")}, common + OWNED_BY.format("search"))
    b = lab(tmp_path / "b", {"x.csv": [*bill("2", "2"), tagged]}, common)
    c = lab(tmp_path / "c", {"x.csv": bill("3", "8")}, OWNED_BY.format("chat") + common)
    merge([a, b, c], tmp_path / "portal")
    assert owners(tmp_path / "portal") == {"search": 1, "unallocated": 2, "ads": 4, "chat": 8}
    rules = tomllib.loads((tmp_path / "portal/finops.toml").read_text())["dimensions"]["team"]
    assert [rule["name"] for rule in rules] == ["c: everything", "team tag", "a: everything"]
    assert "where" not in rules[1], "all three say it"


def test_rules_on_paths_are_spelled_for_the_portal(tmp_path: Path) -> None:
    toml = """
[[dimensions.team]]
name = "folder"
extract = { column = "x_SourceFile", pattern = "^teams/([a-z]+)/" }

[[dimensions.team]]
name = "exact"
where = { x_SourceFile = "misc.csv" }
value = "misc"

[[dimensions.team]]
name = "anywhere"
where = { x_SourceFile = "~dep.t" }
value = "depot"

[[dimensions.product]]
name = "the file"
column = "x_SourceFile"
"""
    exports = {"teams/ads/x.csv": bill("1", "1"), "misc.csv": bill("2", "2"), "z/depot.csv": bill("3", "4")}
    a = lab(tmp_path / "a", exports, toml)
    b = lab(tmp_path / "b", {"misc.csv": bill("4", "8"), "teams/ops/x.csv": bill("5", "16")})
    merge([a, b], tmp_path / "portal")
    assert owners(tmp_path / "portal") == {"ads": 1, "misc": 2, "depot": 4, "unallocated": 24}
    entries = fl.allocate(fl.open_lab(tmp_path / "portal", progress=False)).entries
    assert set(entries["x_product"].drop_nulls()) == set(exports)
    lab(a, {}, '\n[[dimensions.team]]\nname = "odd"\nwhere = { x_SourceFile = "~^a|^b" }\nvalue = "x"\n')
    with pytest.raises(ConfigError, match="a: rule 'odd' looks for"):
        merge([a, b], tmp_path / "portal")


def test_an_account_that_one_lab_describes_is_not_described_for_another(tmp_path: Path) -> None:
    account = '\n[[accounts]]\nid = "s"\nteam = "search"\n'
    a = lab(tmp_path / "a", {"x.csv": bill("1", "1", SubAccountId="s")}, account)
    b = lab(tmp_path / "b", {"x.csv": bill("2", "2", SubAccountId="s")})
    merge([a, b], tmp_path / "portal")
    assert owners(tmp_path / "portal") == {"search": 1, "unallocated": 2}


def test_decisions_of_one_lab_are_not_taken_over_unseen(tmp_path: Path) -> None:
    a = lab(tmp_path / "a", {"x.csv": bill("1", "1")})
    b = lab(tmp_path / "b", {"x.csv": bill("2", "2")})
    merge([a, b], tmp_path / "portal")
    put(
        b / "overrides.toml",
        '[[overrides]]\nauthor = "A"\nreason = "r"\ndate = 2026-11-02\nwhere = { x_team = "s" }\nset = { team = "t" }',
    )
    with pytest.raises(ConfigError, match=r"\[\[overrides\]\] of a and b differ"):
        merge([a, b], tmp_path / "portal")


def test_coverage_plans_hold_in_the_portal_also_where_the_file_counts_in_another_lab(tmp_path: Path) -> None:
    """By hand: the bill of 10 counts once; a's gateway of 3 is on it, wherever the bill comes in from."""
    plan = '\n[[coverage]]\nname = "gateway"\nauthoritative = "bill/*"\noverlap = "gw/*"\n'
    shared = csv_text(bill("1", "10"))
    a = lab(tmp_path / "a", {"bill/x.csv": shared, "gw/y.csv": bill("gw", "3")}, plan)
    b = lab(tmp_path / "b", {"cloud.csv": shared})
    for prefer in (None, "a", "b"):
        assert sums(merge([a, b], tmp_path / "portal", prefer=prefer)) == (20, 10, 10)
        assert counted(tmp_path / "portal") == 10
    only_gateway = lab(tmp_path / "c", {"log.csv": csv_text(bill("gw", "3"))})
    done = merge([only_gateway, a], tmp_path / "portal")
    assert sums(done) == (13, 10, 3), "a says that the gateway's money is on the bill"
    assert done.receipt.filter(pl.col("lab") == "c")["elsewhere"].to_list() == [3]


def test_a_given_config_is_used_and_must_not_drop_what_keeps_money_from_counting_twice(
    tmp_path: Path,
) -> None:
    plan = '\n[[coverage]]\nname = "gateway"\nauthoritative = "{0}bill/*"\noverlap = "{0}gw/*"\n'
    exports = {"bill/x.csv": bill("1", "10"), "gw/y.csv": bill("gw", "3")}
    a = lab(tmp_path / "a", exports, plan.format(""))
    b = lab(tmp_path / "b", {"x.csv": bill("1", "11")})
    own = tmp_path / "own.toml"
    own.write_text(PLAIN_TOML + OWNED_BY.format("all"))
    with pytest.raises(InputError, match=r"a/gw/y.csv: 1 charges would count here that its lab leaves out"):
        merge([a, b], tmp_path / "portal", config=own, prefer="a")
    own.write_text(PLAIN_TOML + plan.format("a/") + OWNED_BY.format("all"))
    assert sums(merge([a, b], tmp_path / "portal", config=own, prefer="a")) == (21, 10, 11)
    assert owners(tmp_path / "portal") == {"all": 10}


def test_merging_again_changes_nothing_then_brings_new_files_and_takes_withdrawn_ones(tmp_path: Path) -> None:
    a = lab(tmp_path / "a", {"x.csv": bill("1", "1"), "old.csv": bill("3", "4")})
    b = lab(tmp_path / "b", {"x.csv": bill("2", "2")})
    portal = tmp_path / "portal"
    first = merge([a, b], portal)
    put(portal / "reports/mine.html", "kept")
    before = snapshot(portal)
    again = merge([a, b], portal)
    assert not again.changed
    assert snapshot(portal) == before
    assert again.receipt.equals(first.receipt)
    assert set(again.files["change"]) == {"unchanged"}

    put(b / "exports/new.csv", bill("5", "16"))
    put(b / "exports/x.csv", bill("2", "3"))
    (a / "exports/old.csv").unlink()
    third = merge([a, b], portal)
    assert dict(third.files.select("file", "change").filter(pl.col("file") != "x.csv").iter_rows()) == {
        "new.csv": "new",
        "old.csv": "withdrawn",
    }
    assert counted(portal) == 1 + 3 + 16
    assert fl.open_lab(portal, progress=False).withdrawn() == []
    assert (portal / "reports/mine.html").read_text() == "kept"


def test_the_portal_is_what_a_first_merge_would_make(tmp_path: Path) -> None:
    """A withdrawn delivery gives back what it had replaced; a lake that went on would not."""
    a = lab(tmp_path / "a", deliveries((1, "1"), (2, "2")))
    portal = tmp_path / "portal"
    merge([a], portal)
    assert counted(portal) == 2
    (a / "exports/aws/delivered=2026-10-02/x.csv").unlink()
    merge([a], portal)
    assert counted(portal) == 1


def test_what_a_labs_own_lake_counts_of_a_withdrawn_file_is_told(tmp_path: Path) -> None:
    a = lab(tmp_path / "a", {"x.csv": bill("1", "1"), "old.csv": bill("3", "4")})
    fl.open_lab(a, progress=False)
    (a / "exports/old.csv").unlink()
    done = merge([a], tmp_path / "portal")
    assert sums(done) == (1, 1, 0)
    assert [note for note in done.notes if "old.csv" in note and "4" in note and "not in the portal" in note]


def test_hard_links_take_no_space_and_count_alike(tmp_path: Path) -> None:
    a = lab(tmp_path / "a", {"x.csv": bill("1", "1")})
    done = merge([a], tmp_path / "portal", link=True, names=["first"])
    assert os.path.samefile(a / "exports/x.csv", tmp_path / "portal/exports/first/x.csv")
    assert sums(done) == (1, 1, 0)
    put(a / "exports/x.csv", bill("1", "2"))  # written in place: the link shows it
    again = merge([a], tmp_path / "portal", link=True, names=["first"])
    assert again.files["change"].to_list() == ["changed"]
    assert counted(tmp_path / "portal") == 2


def test_one_content_that_two_labs_read_as_different_bills_is_refused(tmp_path: Path) -> None:
    toml = """
[[columns]]
path = "*.csv"
table = "costs"
map = {{ BilledCost = "Net", ChargePeriodStart = "From", ChargePeriodEnd = "To" }}
values = {{ BillingCurrency = "USD", ProviderName = "Example Datacenter", BillingAccountId = "{}" }}
"""
    text = "Net,From,To\n10.00,2026-10-01,2026-11-01\n"
    a, b = (lab(tmp_path / name, {"x.csv": text}, toml.format(name)) for name in "ab")
    with pytest.raises(InputError, match=r"\[\[columns\]\] of b and a read it differently"):
        merge([a, b], tmp_path / "portal")
    assert sums(merge([a, lab(b, {}, toml.format("a"))], tmp_path / "portal")) == (20, 10, 10)


def test_the_order_of_the_labs_is_part_of_the_merge(tmp_path: Path) -> None:
    shared = csv_text(bill("1", "5.00"))
    a, b = (lab(tmp_path / name, {"x.csv": shared}, OWNED_BY.format(name)) for name in "ab")
    merge([a, b], tmp_path / "portal")
    assert owners(tmp_path / "portal") == {"a": 5}
    assert merge([b, a], tmp_path / "portal").changed
    assert owners(tmp_path / "portal") == {"b": 5}


def test_a_portal_can_be_a_lab_of_another_portal(tmp_path: Path) -> None:
    a, b, c = (lab(tmp_path / n, {"x.csv": bill(n, "1")}, OWNED_BY.format(f"team-{n}")) for n in "abc")
    merge([a, b], tmp_path / "inner")
    done = merge([tmp_path / "inner", c], tmp_path / "outer")
    assert sums(done) == (3, 3, 0)
    assert owners(tmp_path / "outer") == {"team-a": 1, "team-b": 1, "team-c": 1}


def test_manifests_come_along_and_whole_exports_in_two_labs_count_once(tmp_path: Path) -> None:
    """An assembly of two parts and a stale third, in both labs: by hand 3, the third is not listed."""
    keys = [f"pre/rep/20260901-20261001/rep-{n}.csv" for n in (1, 2)]
    manifest = json.dumps({"assemblyId": "a", "reportKeys": keys, "bucket": "example"})
    period = "rep/20260901-20261001"
    exports = {f"{period}/rep-{n}.csv": csv_text(bill("1", str(n), month="2026-09")) for n in (1, 2, 3)}
    labs = [lab(tmp_path / n, {**exports, f"{period}/rep-Manifest.json": manifest}) for n in "ab"]
    done = merge(labs, tmp_path / "portal")
    assert sums(done) == (6, 3, 3)
    assert counted(tmp_path / "portal") == 3


def test_copies_of_sources_come_in_as_files(tmp_path: Path) -> None:
    store = tmp_path / "store"
    put(store / "x.csv", bill("1", "5"))
    toml = f'\n[[sources]]\nname = "bucket"\nkind = "files"\nurl = "{store.as_uri()}"\n'
    a = lab(tmp_path / "a", {}, toml)
    with pytest.raises(InputError, match="'bucket' was never copied"):
        merge([a], tmp_path / "portal")
    fl.open_lab(a, progress=False)
    done = merge([a], tmp_path / "portal")
    assert done.receipt.select("file", "counted").rows() == [("fetched/bucket/x.csv", 5)]
    assert counted(tmp_path / "portal") == 5


INVOICE = """vendor,invoice_id,invoice_date,period_start,period_end,description,amount,effective_amount,currency,team
Own hardware,D-10,2026-10-31,2026-10-01,2026-10-31,Depreciation of GPU servers,0.00,812.33,USD,platform
Power,P-10,2026-10-31,2026-10-01,2026-10-31,Power of the GPU room,120.07,,USD,platform
"""


def vendor_page() -> str:
    result = {
        "object": "organization.costs.result",
        "amount": {"value": "0.895874", "currency": "usd"},
        "line_item": "gpt-5-2025-08-07, input",
        "project_id": "proj_example",
        "organization_id": "org-example",
    }
    bucket = {"object": "bucket", "start_time": 1790812800, "end_time": 1790899200, "results": [result]}
    return json.dumps({"object": "page", "data": [bucket], "has_more": False})


def test_a_hybrid_portal_shows_cloud_machines_of_ones_own_and_vendors_in_one_ledger(tmp_path: Path) -> None:
    """By hand, billed: 30 + 0 + 120.07 + 0.895874; effective: 30 + 812.33 + 120.07 + 0.895874."""
    tag = '\n[[dimensions.team]]\nname = "team"\ntag = "team"\n'
    cloud = lab(tmp_path / "cloud", {"f.csv": bill("1", "30", month="2026-10")}, OWNED_BY.format("search"))
    room = lab(tmp_path / "room", {"invoices.csv": INVOICE}, tag)
    vendor = lab(tmp_path / "vendor", {"costs.json": vendor_page()}, OWNED_BY.format("chat"))
    done = merge([cloud, room, vendor], tmp_path / "portal")
    assert sums(done)[1:] == (Decimal("150.965874"), 0)
    ledger = fl.allocate(fl.open_lab(tmp_path / "portal", progress=False))
    assert set(ledger.receipt["residual"]) == {Decimal(0)}
    found = ledger.entries.group_by("x_team").agg(pl.col("BilledCost", "EffectiveCost").sum()).sort("x_team")
    assert found.rows() == [
        ("chat", Decimal("0.895874"), Decimal("0.895874")),
        ("platform", Decimal("120.07"), Decimal("932.40")),
        ("search", Decimal(30), Decimal(30)),
    ]


def test_real_bills_of_two_labs_add_up_to_the_digit(tmp_path: Path, shared_data: Path) -> None:
    a = lab(tmp_path / "cloud", {"focus.csv": FOCUS_SAMPLE.read_bytes()})
    b = lab(tmp_path / "binder", {"binder.csv": binder_focus()})
    done = merge([a, b], tmp_path / "portal")
    one = decimal_sum(row["BilledCost"] for row in csv_rows(FOCUS_SAMPLE))
    other = decimal_sum(row["cost_usd"] for row in csv_rows(BINDER) if row["dimension"] == "project")
    kept = lake.files(tmp_path / "portal/lake", "costs")["cloud/focus.csv"]
    assert kept.rows_quarantined == 0
    # One amount of the sample has 19 decimals; the lake holds 18.
    assert abs(sums(done)[1] - one - other) < Decimal("1E-18")
    assert counted(tmp_path / "portal") == sums(done)[1]


_MONTHS = ("2026-08", "2026-09")
_FILES = st.lists(
    st.tuples(st.sampled_from("123"), st.sampled_from(_MONTHS), st.integers(-300, 300)),
    min_size=1,
    max_size=3,
)


@settings(
    max_examples=5,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@given(pool=st.lists(_FILES, min_size=2, max_size=4), picks=st.data())
def test_against_plain_sets_of_files(pool: list[list[tuple[str, str, int]]], picks: st.DataObject) -> None:
    """Brute force: each distinct file counts once; the lab that counts first, alone in its units."""
    held = [picks.draw(st.sets(st.sampled_from(range(len(pool))), min_size=1)) for _ in "ab"]

    def cents(chosen: Iterable[int], without: Collection[tuple[str, str]] = ()) -> Decimal:
        return Decimal(sum(c for n in chosen for a, m, c in pool[n] if (a, m) not in without)) / 100

    with TemporaryDirectory() as folder:
        labs = []
        for name, mine in zip("ab", held, strict=True):
            rows = {
                n: [
                    cost_row(str(Decimal(c) / 100), BillingAccountId=a, month=m, ResourceId=f"f{n}")
                    for a, m, c in pool[n]
                ]
                for n in mine
            }
            labs.append(lab(Path(folder, name), {f"x/{n}.csv": found for n, found in rows.items()}))
        for prefer in ("a", None):
            # Without a preference a lab that holds all of the other's files takes their place.
            first, second = held[::-1] if prefer is None and held[0] < held[1] else held
            taken = {(a, m) for n in first for a, m, _ in pool[n]}
            clash = any((a, m) in taken for n in second - first for a, m, _ in pool[n])
            out = Path(folder, f"portal-{prefer}")
            if clash and prefer is None:
                with pytest.raises(MergeConflict):
                    merge(labs, out)
                continue
            done = merge(labs, out, prefer=prefer)
            assert sums(done)[0] == cents(held[0]) + cents(held[1])
            assert sums(done)[1] == cents(first) + cents(second - first, taken)
            assert (done.conflicts.height > 0) == clash


FULL = r"""
[lab]
name = "All \"keys\" \\ \u0007 \u007f é"
currency = "EUR"
[[dimensions.team]]
name = "t"
tag = ["team", "owner"]
map = { "a b" = "c", "d.e" = "f" }
where = { ServiceName = ["x", "~^y\\d"] }
from = 2026-01-01
fold = true
account = "12"
[[dimensions.business_unit]]
name = "virtual"
dimension = "team"
[[accounts]]
id = "1234"
name = "prod"
region = "eu"
[[dimensions.model]]
name = "m"
extract = { column = "ResourceName", pattern = "^(a)" }
[telemetry]
attributes = { team = ["app.team"] }
[[telemetry.sampling]]
path = "r/*"
rate = 0.05
[[columns]]
path = "c/*"
table = "costs"
map = { BilledCost = "Net amount" }
[[coverage]]
name = "o"
overlap = "o/*"
estimate = true
[[budgets]]
team = "s"
from = "2026-01"
to = "2026-12"
amount = "96000.10"
approved = 2025-12-01
approved_by = "finance"
reason = "growth"

[[events]]
name = "training of the ranker"
kind = "one_off"
team = "s"
from = "2026-03"
amount = "42000"
[[commitments]]
name = "one year"
kind = "savings_plan"
where = { SkuId = "gpu" }
discount = "0.28"
status = "held"
level = "34"
to = 2027-06-30
[[credits]]
name = "promo"
where = { ChargeDescription = "~^Promotional" }
grant = "1000.10"
to = "2026-12"
[[slos]]
service = "s"
objective = "latency"
target = 0.99
threshold_ms = 2000
[[rates]]
month = "2026-10"
from = "USD"
to = "EUR"
rate = "0.9000000000000000001"
[[prices]]
model = "m"
unit = "gpu_hour"
rate_usd = "0.000000001"
from = 2026-01-01
[[pools]]
id = "p"
gpu_count = 16
rate_usd_per_gpu_hour = "2.35"
[[splits]]
name = "s"
where = { ServiceName = "x" }
weights = { output = "5" }
[[shared]]
name = "h"
where = { x_team = "platform" }
by = "fixed"
shares = { s = "0.5", t = "0.5" }
from = "2026-01"
[[overrides]]
author = "A"
reason = "r"
date = 2026-11-02
where = { x_team = "s" }
set = { team = "t" }
[[kpis]]
kpi = "M5"
measure = "error_rate"
dimension = "feature"
key = "f"
at_most = "0.015"
[[practice]]
month = "2026-10"
what = "rightsizing"
realised_savings = "1200.50"
hours = "12.5"
rate_per_hour = "90"
[[activities]]
name = "a"
activity = "training"
where = { x_environment = "research" }
[[ai_spend]]
name = "vectors"
kind = "vector database"
text = ["pinecone"]
certain = false
[adoption]
share_above = "0.2"
teams_at_least = 3
[anomalies]
false_alarms_per_month = 0.25
budgets = { "daily spend" = 0.5 }
holidays = [2026-12-25]
by = ["team"]
least_amount = "25.50"
[[alerts]]
name = "research"
severity = "page"
where = { x_team = ["research", "~^lab-"] }
per_day_at_least = "250.10"
budget_share_at_least = 0.05
minutes_at_least = 30
sinks = ["oncall"]
[[quiet]]
name = "night"
hours = "22:00-07:00"
days = ["mon", "tue"]
timezone = "Europe/Berlin"
[[quiet]]
name = "load test"
effect = "suppress"
from = 2026-10-05
to = 2026-10-06T08:30:00Z
where = { x_model = "m" }
up_to_amount = "4000"
[[sinks]]
name = "oncall"
kind = "webhook"
url_env = "ONCALL_URL"
headers_env = { Authorization = "ONCALL_TOKEN" }
severities = ["page"]
timeout_s = 5.5
"""


def test_what_is_written_as_toml_reads_as_the_same() -> None:
    config = Config.model_validate(tomllib.loads(FULL))
    assert set(tomllib.loads(FULL)) == set(Config.model_fields) - {"sources"}, "every key is tried"
    assert Config.model_validate(tomllib.loads(written(config))) == config
    assert 'from = "2026-01"' in written(config)
    assert "from = 2026-01-01" in written(config)


@given(text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_text_survives_toml(text: str) -> None:
    rule = {"name": text, "value": text, "where": {"ServiceName": [text.lstrip("~")]}, "map": {text: text}}
    config = Config.model_validate({"lab": {"name": text}, "dimensions": {"team": [rule]}})
    assert Config.model_validate(tomllib.loads(written(config))) == config


def config_of(toml: str) -> Config:
    return Config.model_validate(tomllib.loads(PLAIN_TOML + toml))


def test_equal_entries_stand_once_and_paths_lead_below_the_labs_folders() -> None:
    toml = FULL.partition("[[dimensions.team]]")[2]
    shared = toml.index("[[shared]]")
    one = config_of("[[dimensions.team]]" + toml[:shared])
    both, notes = merged_config({"a": one, "b": one}, {}, ["a", "b"])
    for name in ("slos", "rates", "prices", "pools", "budgets"):
        assert getattr(both, name) == getattr(one, name)
    assert both.dimensions.team == one.dimensions.team
    assert [(r.name, r.account, r.value, r.where) for r in both.dimensions.region] == [
        ("account prod", ("1234",), "eu", {})
    ]
    assert [c.path for c in both.columns] == ["a/c/*", "b/c/*"]
    assert [s.path for s in both.telemetry.sampling] == ["a/r/*", "b/r/*"]
    assert [(p.name, p.overlap) for p in both.coverage] == [("a: o", ("a/o/*",)), ("b: o", ("b/o/*",))]
    assert both.splits[1].where == {"x_SourceFile": ("~^b/",), "ServiceName": ("x",)}
    assert both.splits[1].usage == {"source_file": ("~^b/",)}
    assert both.telemetry.attributes == one.telemetry.attributes
    assert notes == ()


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        ('[[budgets]]\nteam="s"\nfrom="2026-01"\nto="2026-06"\namount="{}"', ("1", "2"), "budgets"),
        ('[[rates]]\nmonth="2026-10"\nfrom="EUR"\nto="USD"\nrate="{}"', ("1.1", "1.2"), "rates"),
        ('[[pools]]\nid="p"\ngpu_count={}', ("1", "2"), "pools"),
        ('[[slos]]\nservice="s"\nobjective="availability"\ntarget={}', ("0.9", "0.99"), "slos"),
        ('[[prices]]\nmodel="m"\nunit="gpu_hour"\nrate_usd="{}"', ("1", "2"), "prices"),
        ('[[shared]]\nname="n"\nwhere={{x_team="{}"}}', ("p", "q"), "shared"),
        ('[telemetry]\nattributes={{team="{}"}}', ("p", "q"), "telemetry"),
    ],
)
def test_entries_that_contradict_each_other_name_both_labs(one: str, other: Sequence[str], said: str) -> None:
    configs = {name: config_of(one.format(value)) for name, value in zip(("ads", "chat"), other, strict=True)}
    with pytest.raises(ConfigError, match=rf"{said}.*ads and chat"):
        merged_config(configs, {}, ["ads", "chat"])
    same = config_of(one.format(other[0]))
    assert merged_config({"ads": same, "chat": same}, {}, ["ads", "chat"])


def test_values_for_different_months_do_not_contradict_each_other() -> None:
    budget = '[[budgets]]\nteam="s"\nfrom="2026-{0}"\nto="2026-{0}"\namount="{0}"'
    merged, _ = merged_config(
        {"a": config_of(budget.format("01")), "b": config_of(budget.format("02"))}, {}, []
    )
    assert len(merged.budgets) == 2


def test_events_of_a_whole_lab_are_left_out_and_told_and_equal_ones_count_once() -> None:
    event = '[[events]]\nname="n"\nkind="price_cut"\nfactor="0.8"\nfrom="2026-01"\n'
    whole, shared = config_of(event), config_of(event + 'team="s"')
    merged, notes = merged_config({"a": whole, "b": shared, "c": shared}, {}, [])
    assert merged.events == shared.events
    assert notes == ("a: [[events]] of everything hold for that lab alone: not in the portal",)


def test_budgets_of_a_whole_lab_are_left_out_and_told() -> None:
    whole = config_of('[[budgets]]\nfrom="2026-01"\nto="2026-01"\namount="5"')
    merged, notes = merged_config({"a": whole, "b": config_of("")}, {}, [])
    assert merged.budgets == ()
    assert notes == ("a: [[budgets]] without a team plan that lab alone: not in the portal",)


def test_who_is_told_is_settled_by_each_lab_and_not_by_the_portal() -> None:
    told = config_of('[[sinks]]\nname="s"\nkind="file"\npath="alerts.jsonl"\n')
    other = config_of("[anomalies]\nfalse_alarms_per_month=0.5\n")
    merged, notes = merged_config({"a": told, "b": other, "c": config_of("")}, {}, [])
    assert merged.sinks == () and merged.anomalies == config_of("").anomalies
    assert notes == tuple(
        f"{lab}: [anomalies], [[alerts]], [[quiet]] and [[sinks]] stay with the lab" for lab in "ab"
    )


def test_budgets_that_are_left_out_contradict_nothing_and_approvals_follow_each_other() -> None:
    entry = '[[budgets]]\n{}from="2026-01"\nto="2026-01"\namount="{}"\n'
    whole = [config_of(entry.format("", n) + entry.format('model="m"\n', n)) for n in (5, 6)]
    assert merged_config({"a": whole[0], "b": whole[1]}, {}, [])[0].budgets == ()
    first = entry.format('team="s"\n', 5)
    later = entry.format('team="s"\napproved=2026-02-01\n', 6)
    merged, _ = merged_config({"a": config_of(first), "b": config_of(first + later)}, {}, [])
    assert [int(budget.amount) for budget in merged.budgets] == [5, 6]
    other = config_of(entry.format('team="s"\napproved=2026-02-01\n', 7))
    with pytest.raises(ConfigError, match=r"budgets.*a and b"):
        merged_config({"a": config_of(later), "b": other}, {}, [])


def test_attributes_of_a_lab_without_requests_do_not_matter() -> None:
    asked = config_of('[telemetry]\nattributes={team="app.team"}')
    merged, _ = merged_config({"a": config_of(""), "b": asked}, {}, ["b"])
    assert merged.telemetry.attributes == asked.telemetry.attributes


@pytest.mark.parametrize(
    "exports",
    [
        {"a/x.csv": bill("1", "1")},
        {"a/x.csv": bill("1", "1", "2"), "b/x.csv": bill("2", "2")},
        {"a/x.csv": bill("1", "1.000000000000000001"), "b/x.csv": bill("2", "1.999999999999999999")},
    ],
    ids=["file lost", "row too many", "money moved between files"],
)
def test_a_portal_that_does_not_hold_what_its_labs_hold_is_found_out(
    tmp_path: Path, exports: dict[str, Any]
) -> None:
    folders = {n: lab(tmp_path / n, {"x.csv": bill(f"{p}", f"{p}")}) for p, n in enumerate("ab", 1)}
    readings = [read_lab(name, folder, load(folder), None) for name, folder in folders.items()]
    portal = lab(tmp_path / "portal", exports)
    none = pl.DataFrame(schema=CONFLICTS)
    with pytest.raises(ReconciliationError, match="the portal holds other charges than its labs"):
        receipt_of(readings, read_lab("", portal, load(portal), None), {}, none, own_config=False)


def test_two_currencies_are_refused(tmp_path: Path) -> None:
    a = lab(tmp_path / "a", {"x.csv": bill("1", "1")})
    b = write_lab(tmp_path / "b", {"x.csv": bill("2", "1")}, PLAIN_TOML.replace("USD", "EUR"))
    with pytest.raises(ConfigError, match="currency is USD in a and EUR in b"):
        merge([a, b], tmp_path / "portal")


def test_names_and_places_that_cannot_be(tmp_path: Path) -> None:
    a = lab(tmp_path / "a", {"x.csv": bill("1", "1")})
    odd = lab(tmp_path / "2026 lab", {"x.csv": bill("2", "1")})
    other = lab(tmp_path / "deep" / "A", {"x.csv": bill("3", "1")})
    wrong: list[tuple[str, list[Path], Path, dict[str, Any]]] = [
        ("there is no lab to merge", [], tmp_path / "p", {}),
        ("'2026 lab' cannot name a lab", [a, odd], tmp_path / "p", {}),
        ("'fetched' cannot name a lab", [a], tmp_path / "p", {"names": ["fetched"]}),
        ("two labs are named 'a'", [a, other], tmp_path / "p", {}),
        ("1 labs and 2 names", [a], tmp_path / "p", {"names": ["x", "y"]}),
        ("the lab is given twice", [a, a], tmp_path / "p", {"names": ["x", "y"]}),
        ("cannot lie in one of its labs", [a], a / "portal", {}),
        ("cannot lie in one of its labs", [other], tmp_path / "deep", {}),
        ("no lab 'z' to prefer", [a], tmp_path / "p", {"prefer": "z"}),
        ("there is no such lab folder", [tmp_path / "nowhere"], tmp_path / "p", {}),
        ("was not made by a merge", [a], odd, {}),
    ]
    for said, labs, out, more in wrong:
        with pytest.raises(InputError, match=said):
            merge(labs, out, **more)
    assert not (tmp_path / "p").exists()


def test_a_portal_changed_by_hand_is_not_overwritten(tmp_path: Path) -> None:
    a = lab(tmp_path / "a", {"x.csv": bill("1", "1")})
    portal = tmp_path / "portal"
    merge([a], portal)
    put(portal / "exports/mine.csv", bill("2", "1"))
    with pytest.raises(InputError, match=r"mine\.csv is not as the last merge left it"):
        merge([a], portal)
    (portal / "exports/mine.csv").unlink()
    (portal / "finops.toml").write_text(PLAIN_TOML)
    with pytest.raises(InputError, match="was changed by hand, and would be lost"):
        merge([a], portal)


def test_a_merge_that_fails_or_was_cut_off_leaves_the_portal(tmp_path: Path) -> None:
    a = lab(tmp_path / "a", {"x.csv": bill("1", "1")})
    portal = tmp_path / "portal"
    merge([a], portal)
    put(a / "exports/broken.csv", "what,is,this\n1,2,3\n")
    with pytest.raises(InputError, match="no reader knows this"):
        merge([a], portal)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "portal"]
    assert counted(portal) == 1
    # Cut off between the two renames: the old portal waits beside, the new one is not in place yet.
    (a / "exports/broken.csv").unlink()
    portal.rename(tmp_path / ".portal.before")
    put(tmp_path / ".portal.merging/exports/half.csv", "cut")
    assert not merge([a], portal).changed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "portal"]


def test_a_second_merge_at_the_same_time_is_refused(tmp_path: Path) -> None:
    import fcntl

    a = lab(tmp_path / "a", {"x.csv": bill("1", "1")})
    held = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another merge beside this one is running"):
            merge([a], tmp_path / "portal")
    finally:
        os.close(held)
    assert merge([a], tmp_path / "portal").changed
