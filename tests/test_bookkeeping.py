"""The stored ledger of a lab: only what changed is worked out again, and it can be proved."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from helpers import cost_row, put, write_lab
from typer.testing import CliRunner

import finops_lab as fl
from finops_lab import bookkeeping
from finops_lab.allocation.overrides import unmatched
from finops_lab.cli import app
from finops_lab.errors import ConfigError, InputError, NoDataError, ReconciliationError
from finops_lab.money import exact_sum

TOML = """\
[lab]
name = "Books (synthetic)"

[[dimensions.team]]
name = "team tag"
tag = ["team"]

[[splits]]
name = "gateway"
where = { SubAccountName = "gateway" }
by = "requests"
"""
ADS = '{"team": "ads"}'
CALL = """\
ts_start,model,operation,status,team,input_uncached_tokens,output_tokens
{day}T10:00:00Z,m,chat,ok,{team},,
"""


def month(name: str, amount: str) -> list[dict[str, str | None]]:
    own = cost_row(amount, month=name, Tags=ADS, SubAccountName="ads-prod")
    return [own, cost_row("4", month=name, SubAccountName="gateway")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    exports = {f"bill_{name}.csv": month(name, "10") for name in ("2026-07", "2026-08", "2026-09")}
    calls = {f"requests_{m}.csv": CALL.format(day=f"{m}-03", team="search") for m in ("2026-07", "2026-08")}
    return write_lab(tmp_path / "lab", {**exports, **calls}, TOML)


def opened(folder: Path) -> fl.Lab:
    return fl.open_lab(folder, progress=False)


def kept(folder: Path) -> dict[str, float]:
    """Return what is kept, and when it was written."""
    found = (folder / "lake" / bookkeeping.FOLDER).glob("20*/entries.parquet")
    return {path.parent.name: path.stat().st_mtime_ns for path in found}


def test_a_ledger_is_kept_and_read_again(folder: Path) -> None:
    first = fl.allocate(opened(folder))
    assert exact_sum(first.entries["EffectiveCost"]) == 42
    before = kept(folder)
    assert {name[:7] for name in before} == {"2026-07", "2026-08", "2026-09"}
    again = fl.allocate(opened(folder))
    assert kept(folder) == before
    for name in ("entries", "receipt", "rules", "steps"):
        assert getattr(again, name).equals(getattr(first, name)), name
    assert again.inputs_sha256 == first.inputs_sha256


@pytest.mark.parametrize("queried", [False, True])
def test_only_the_changed_month_is_worked_out_again(folder: Path, queried: bool) -> None:
    fl.allocate(opened(folder))
    before = kept(folder)
    put(folder / "exports" / "bill_2026-08.csv", month("2026-08", "11"))
    lab = opened(folder)
    done = fl.entries(lab).collect() if queried else fl.allocate(lab).entries
    assert exact_sum(done["EffectiveCost"]) == 43
    assert queried or done["x_BillingMonth"].is_sorted()
    after = kept(folder)
    assert {name[:7] for name in after.keys() - before.keys()} == {"2026-08"}
    assert {name: after[name] for name in after.keys() & before.keys()}.items() <= before.items()
    assert len(after) == 3


def test_new_use_changes_the_months_it_was_metered_in(folder: Path) -> None:
    first = fl.allocate(opened(folder))
    dark = first.entries.filter(pl.col("x_AllocationMethod") == "dark")
    assert dark["x_ChargeMonth"].to_list() == ["2026-09"]
    before = kept(folder)
    put(folder / "exports" / "requests_2026-09.csv", CALL.format(day="2026-09-03", team="ads"))
    done = fl.allocate(opened(folder))
    # The file holds a day of September alone, and a month looks at the days beside it too.
    changed = {name[:7] for name, time in kept(folder).items() if before.get(name) != time}
    assert changed == {"2026-09"}
    assert "dark" not in set(done.entries["x_AllocationMethod"])
    assert done.inputs_sha256 != first.inputs_sha256


def test_other_rules_are_another_ledger(folder: Path) -> None:
    first = fl.allocate(opened(folder))
    (folder / "finops.toml").write_text(TOML.replace('by = "requests"', 'by = "tokens"'))
    done = fl.allocate(opened(folder))
    assert done.inputs_sha256 != first.inputs_sha256
    assert exact_sum(done.entries.filter(x_AllocationMethod="dark")["EffectiveCost"]) == 12
    assert len(kept(folder)) == 3


def test_a_withdrawn_month_is_forgotten(folder: Path) -> None:
    fl.allocate(opened(folder))
    put(folder / "exports" / "bill_2026-07.csv", month("2026-06", "1"))
    done = fl.allocate(opened(folder))
    assert {name[:7] for name in kept(folder)} == {"2026-06", "2026-08", "2026-09"}
    assert done.receipt["x_BillingMonth"].unique().sort().to_list() == ["2026-06", "2026-08", "2026-09"]


@pytest.mark.parametrize("name", ["entries", "receipt", "steps"])
def test_a_changed_ledger_is_found_out(folder: Path, name: str) -> None:
    fl.allocate(opened(folder))
    bookkeeping.verify(opened(folder))
    kept_in = "2026-08-*" if name == "entries" else "whole-*"
    (place,) = (folder / "lake" / bookkeeping.FOLDER).glob(kept_in)
    frame = pl.read_parquet(place / f"{name}.parquet")
    frame.head(frame.height - 1).write_parquet(place / f"{name}.parquet")
    with pytest.raises(ReconciliationError, match=f"the {name} kept"):
        bookkeeping.verify(opened(folder))


def test_a_broken_file_is_worked_out_again(folder: Path) -> None:
    first = fl.allocate(opened(folder))
    for path in (folder / "lake" / bookkeeping.FOLDER).glob("*/entries.parquet"):
        path.write_bytes(path.read_bytes()[:50])
    assert fl.allocate(opened(folder)).entries.equals(first.entries)


def test_entries_are_queried_where_they_are_kept(folder: Path) -> None:
    lab = opened(folder)
    scanned = bookkeeping.scan(lab)
    whole = fl.allocate(lab).entries
    assert scanned.collect().sort(pl.all()).equals(whole.sort(pl.all()))
    assert "SCAN" in scanned.explain() and "entries.parquet" in scanned.explain()
    # What is broken, or no longer of the lab's data, is worked out again first.
    next((folder / "lake" / bookkeeping.FOLDER).glob("20*/entries.parquet")).write_bytes(b"broken")
    assert bookkeeping.scan(lab).collect().height == whole.height
    put(folder / "exports" / "bill_2026-10.csv", month("2026-10", "7"))
    more = bookkeeping.scan(opened(folder)).filter(x_ChargeMonth="2026-10").collect()
    assert exact_sum(more["EffectiveCost"].to_list()) == Decimal(11)
    early = fl.open_lab(folder, progress=False, as_of="2999-01-01")
    assert bookkeeping.scan(early).collect().height == whole.height + more.height


def test_a_lab_without_bills_is_told(tmp_path: Path) -> None:
    with pytest.raises(NoDataError, match="no bill rows"):
        fl.allocate(opened(write_lab(tmp_path, {}, TOML)))


def test_decisions_may_stand_in_a_file_of_their_own(folder: Path) -> None:
    decision = '[[overrides]]\nauthor = "A. Controller"\nreason = "agreed"\ndate = 2026-10-02\n'
    decision += 'where = { x_team = "ads" }\nset = { team = "growth" }\n'
    (folder / "overrides.toml").write_text(decision)
    done = fl.allocate(opened(folder))
    assert exact_sum(done.entries.filter(x_team="growth")["EffectiveCost"]) == 30
    assert done.steps["policy"][-1] == "A. Controller, 2026-10-02: agreed"
    assert unmatched(done.steps, opened(folder).config.overrides) == []
    # One that fits nothing is named, with what it looks for: a name spelled otherwise, or a month without charges.
    more = decision.replace("Controller", "Clerk").replace('"ads" }', '"adds" }\nfrom = "2026-08"')
    (folder / "overrides.toml").write_text(decision + more)
    told = CliRunner().invoke(app, ["receipt", "--lab", str(folder)])
    assert told.stderr.split("warning: ")[1:] == [
        "the override of 2026-10-02 by A. Clerk fits no entry of the ledger: "
        "nothing went to team growth (it looks for x_team = adds, from 2026-08)\n"
    ]
    (folder / "overrides.toml").write_text(decision.replace("reason", "because"))
    with pytest.raises(ConfigError, match=r"overrides.toml.*'overrides\[1\].because'"):
        opened(folder)


def test_what_coverage_leaves_out_is_excluded_in_the_receipt(folder: Path) -> None:
    put(folder / "exports" / "gateway" / "log.csv", month("2026-09", "5"))
    plan = """
[[coverage]]
name = "the bill is authoritative"
table = "costs"
authoritative = "bill_*"
overlap = "gateway/*"
"""
    (folder / "finops.toml").write_text(TOML + plan)
    done = fl.allocate(opened(folder))
    out = done.receipt.filter(metric="EffectiveCost")
    assert out["excluded"].sum() == Decimal(9)
    assert out["amount_in"].sum() == exact_sum(done.entries["EffectiveCost"]) + 9
    assert set(out["residual"]) == {Decimal(0)}


def test_explain_walks_back_to_rules_and_pools(folder: Path) -> None:
    done = fl.allocate(opened(folder))
    found = done.explain(team="search", month="2026-08")
    assert found.select("x_AllocationMethod", "x_AllocationRule", "x_PoolId", "EffectiveCost").rows() == [
        ("telemetry", "gateway", "gateway", Decimal(4))
    ]
    everything = done.explain(month="2026-08")
    assert exact_sum(everything["EffectiveCost"]) == 14
    with pytest.raises(InputError, match="month must be written like"):
        done.explain(team="search", month="2026-8")
