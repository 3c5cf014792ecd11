"""The coverage plan: what two sources both say is counted once, and told."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from helpers import PLAIN_TOML, cost_row, write_lab

from finops_lab.errors import ConfigError
from finops_lab.lab import Lab, open_lab

PLAN = """
[[coverage]]
name = "model vendor's bill before the cloud's resale"
authoritative = "vendor/*"
overlap = "cloud/*"
where = { ServiceName = "~^Model" }
"""
CALLS = (
    "ts_start,model,operation,status,output_tokens,cost_reported_usd\n2026-09-03T00:00:00Z,m,chat,ok,7,{}\n"
)


def lab(tmp_path: Path, plan: str) -> Lab:
    folder = write_lab(
        tmp_path,
        {
            "vendor/a.csv": [cost_row("100")],
            "cloud/b.csv": [cost_row("100.000000000000000001"), cost_row("7", ServiceName="Storage")],
        },
        PLAIN_TOML + plan,
    )
    return open_lab(folder, progress=False)


def billed(rows: pl.LazyFrame) -> Decimal:
    return Decimal(rows.select(pl.col("BilledCost").sum()).collect().item())


def test_an_overlap_is_reported_never_added(tmp_path: Path) -> None:
    opened = lab(tmp_path, PLAN)
    assert billed(opened.costs()) == Decimal(107)
    assert billed(opened.delivered("costs")) == Decimal("207.000000000000000001")
    (row,) = opened.overlap().rows(named=True)
    assert (row["plan"], row["source_file"]) == (
        "model vendor's bill before the cloud's resale",
        "cloud/b.csv",
    )
    assert (row["rows"], row["BilledCost"]) == (1, Decimal("100.000000000000000001"))
    assert (row["table"], row["BillingCurrency"], row["estimate"]) == ("costs", "USD", False)


def test_what_counts_and_what_overlaps_is_all_there_is(tmp_path: Path) -> None:
    opened = lab(tmp_path, PLAN)
    left_out = opened.overlap()["BilledCost"].sum()
    assert billed(opened.costs()) + left_out == billed(opened.delivered("costs"))


def test_without_a_plan_everything_counts(tmp_path: Path) -> None:
    opened = lab(tmp_path, "")
    assert billed(opened.costs()) == Decimal("207.000000000000000001")
    assert opened.overlap().height == 0


def test_without_its_authority_nothing_overlaps(tmp_path: Path) -> None:
    folder = write_lab(tmp_path, {"cloud/b.csv": [cost_row("100")]}, PLAIN_TOML + PLAN)
    opened = open_lab(folder, progress=False)
    assert billed(opened.costs()) == Decimal(100)
    assert opened.overlap().height == 0


def test_a_changed_plan_needs_no_other_ingest(tmp_path: Path) -> None:
    lab(tmp_path, "")
    opened = lab(tmp_path, PLAN)
    assert set(opened.summary.files["status"]) == {"unchanged"}
    assert billed(opened.costs()) == Decimal(107)


def test_a_row_without_a_value_does_not_fulfil_a_condition(tmp_path: Path) -> None:
    rows = [cost_row("3", ServiceName=None), cost_row("4")]
    folder = write_lab(tmp_path, {"vendor/a.csv": [cost_row("1")], "cloud/b.csv": rows}, PLAIN_TOML + PLAN)
    assert billed(open_lab(folder, progress=False).costs()) == Decimal(4)


def test_an_estimate_is_no_bill(tmp_path: Path) -> None:
    plan = '[[coverage]]\nname = "modelled"\noverlap = "cloud/*"\nestimate = true\n'
    opened = lab(tmp_path, plan)
    assert billed(opened.costs()) == Decimal(100)
    assert opened.overlap()["estimate"].to_list() == [True]
    assert opened.overlap()["rows"].to_list() == [2]


def test_a_file_that_both_patterns_match_is_authoritative(tmp_path: Path) -> None:
    plan = '[[coverage]]\nname = "p"\nauthoritative = "cloud/*"\noverlap = "*"\n'
    opened = lab(tmp_path, plan)
    assert billed(opened.costs()) == Decimal("107.000000000000000001")


def test_calls_that_two_logs_tell_are_counted_once(tmp_path: Path) -> None:
    plan = '[[coverage]]\nname = "gateway"\ntable = "inference_requests"\nauthoritative = "a*"\noverlap = "b?.csv"\n'
    folder = write_lab(
        tmp_path,
        {"bill.csv": [cost_row("1")], "a.csv": CALLS.format("0.5"), "b1.csv": CALLS.format("0.25")},
        PLAIN_TOML + plan,
    )
    opened = open_lab(folder, progress=False)
    assert opened.table("inference_requests").collect()["source_file"].to_list() == ["a.csv"]
    (row,) = opened.overlap().rows(named=True)
    assert (row["EffectiveCost"], row["BilledCost"], row["rows"]) == (Decimal("0.25"), None, 1)


def test_an_unknown_column_is_named(tmp_path: Path) -> None:
    opened = lab(tmp_path, PLAN.replace("ServiceName", "ServiceNom"))
    with pytest.raises(ConfigError, match=r"\[\[coverage\]\].*no column 'ServiceNom'"):
        opened.costs()


def test_a_plan_without_an_authority_must_be_an_estimate(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="say estimate = true"):
        lab(tmp_path, '[[coverage]]\nname = "p"\noverlap = "cloud/*"\n')
