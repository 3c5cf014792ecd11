"""The doctor on whole labs: the sample's planted faults, the real FOCUS sample, what was delivered."""

from __future__ import annotations

import json
import shutil
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from doctor_bills import Row, loud, named
from helpers import FOCUS_SAMPLE, PLAIN_TOML, cost_row, csv_text, write_lab

from finops_lab import doctor
from finops_lab.lab import Lab, open_lab, packaged
from finops_lab.tables import money_table

TODAY = date(2026, 11, 24)
# Enough of the sample to hold every planted fault, without its larger half.
PARTS = (
    "aws/focus_2025-0[789]*", "aws/focus_2025-1*", "aws/focus_2026*", "gcp/focus_2026*", "gcp/delivered*/*",
    "model-vendor/*2026*", "requests/litellm/*", "gpu/*", "training/*",
)  # fmt: skip
RULES = """
[[dimensions.team]]
name = "team tag"
tag = ["team"]
[[telemetry.sampling]]
path = "requests/litellm/**"
rate = 0.0002
"""


@pytest.fixture(scope="module")
def truth() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((packaged("samples") / "truth.json").read_text())
    return found


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    folder = tmp_path_factory.mktemp("sample")
    exports = packaged("samples") / "exports"
    for path in sorted(path for part in PARTS for path in exports.glob(part)):
        target = folder / "exports" / path.relative_to(exports)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    (folder / "finops.toml").write_text(PLAIN_TOML + RULES)
    return open_lab(folder, progress=False)


@pytest.fixture(scope="module")
def findings(sample: Lab) -> pl.DataFrame:
    return doctor.doctor(sample, TODAY)


def one(findings: pl.DataFrame, check: str, **parts: str) -> Row:
    """Return the only finding of a check whose columns hold the texts."""
    rows = [row for row in named(findings, check) if all(text in row[name] for name, text in parts.items())]
    assert len(rows) == 1, rows
    return rows[0]


def test_planted_commitments(findings: pl.DataFrame, truth: dict[str, Any]) -> None:
    assert named(findings, "commitment identity") == []
    for told in truth["commitments"]:
        row = one(findings, "unused commitment", where=told["id"])
        assert row["money_at_stake"] == Decimal(told["unused"])
        assert row["severity"] == "warning"


def test_planted_credits_that_end(findings: pl.DataFrame, truth: dict[str, Any]) -> None:
    told = truth["credits_that_end"]
    row = one(findings, "credits", where=told["provider"])
    assert row["severity"] == "warning"
    assert f"from {told['first_month_without']} the bill is higher by $12,000.00 a month" in row["finding"]
    assert row["rows"] == 6  # January to June 2026 are in this part of the sample


def test_planted_correction(findings: pl.DataFrame, truth: dict[str, Any]) -> None:
    told = truth["correction"]
    row = one(findings, "corrections", where=told["provider"])
    assert row["money_at_stake"] == -Decimal(told["amount"])
    assert f"billed in {told['billing_month']} for usage of {told['charge_month']}" in row["finding"]


def test_planted_restated_month(findings: pl.DataFrame, truth: dict[str, Any]) -> None:
    told = truth["restated_month"]
    row = one(findings, "restated month")
    assert told["first_delivery"] in row["where"] and told["second_delivery"] in row["finding"]
    assert row["money_at_stake"] == Decimal(told["late_billed_cost"])
    assert f"+{told['late_rows']} rows" in row["finding"]


def test_planted_mis_tagged_team(findings: pl.DataFrame, truth: dict[str, Any]) -> None:
    told = truth["mis_tagged_team"]
    row = one(findings, "owner of a resource changed")
    assert told["resource_name"] in row["where"]
    assert f"{told['tagged_team']!r} since {told['since']}" in row["finding"]
    assert f"it was {told['true_team']!r}" in row["finding"]
    assert row["money_at_stake"] == Decimal(told["effective_cost"])


def test_planted_gateway_without_team(findings: pl.DataFrame, sample: Lab, truth: dict[str, Any]) -> None:
    told = truth["gateway_without_team"]["sub_account"]
    rows = [row for row in named(findings, "sub-account without owner") if told in row["where"]]
    assert len(rows) == 3  # AWS, Google Cloud and the model vendor
    spent = sample.costs().filter(pl.col("SubAccountName") == told).select(pl.col("EffectiveCost").sum())
    assert sum(row["money_at_stake"] for row in rows) == spent.collect().item()


def test_planted_price_change(findings: pl.DataFrame, truth: dict[str, Any]) -> None:
    told = truth["price_change"]
    row = one(findings, "price changed")
    assert row["where"] == f"{told['provider']} / {told['sku']} / {told['date']}"
    assert f"from {told['list_price']['from']} to {told['list_price']['to']} on" in row["finding"]


def test_planted_runaway_retrain(findings: pl.DataFrame, truth: dict[str, Any]) -> None:
    told = truth["runaway_retrain"]
    row = one(findings, "job that never completes")
    assert told["job_id"] in row["where"]
    assert row["money_at_stake"] == Decimal(told["excess_effective_cost"])
    assert row["rows"] == len(told["resources"])


def test_planted_gateway_spend_at_list_price(findings: pl.DataFrame) -> None:
    row = one(findings, "gateway cost beside a bill")
    said = float(row["finding"].rsplit(": ", 1)[1].split(" %")[0])
    # The bill is 5 % lower than list prices; a sample of one call in 5,000 says so within a few percent.
    assert 100 < said < 111


def test_planted_dirt_of_tags_and_requests(findings: pl.DataFrame) -> None:
    variants = named(findings, "tag key variants")
    assert {row["where"].split(" / ")[0] for row in variants} == {"AWS", "Google Cloud", "Example Models API"}
    assert all("'Team'" in row["finding"] for row in variants)
    assert {row["where"] for row in named(findings, "requests without context")} == {
        "team",
        "feature",
        "customer",
    }
    assert {row["where"] for row in named(findings, "sampled requests")} == {"requests/litellm"}
    assert "sm_active" in one(findings, "kinds of GPU utilization")["finding"]


def test_gpu_machines_of_the_sample_are_found_in_compute(findings: pl.DataFrame) -> None:
    said = one(findings, "AI spend outside the AI category")["finding"]
    assert all(
        machine in said for machine in ("p5.48xlarge", "g6e.2xlarge", "a2-ultragpu-1g", "a2-highgpu-1g")
    )


def test_the_sample_has_no_fault_that_is_not_planted(findings: pl.DataFrame) -> None:
    assert {name for name, _ in loud(findings)} == {
        "unused commitment", "credits", "tag key variants", "sub-account without owner",
        "owner of a resource changed", "unpriced requests", "requests without context",
        "job that never completes",
    }  # fmt: skip
    assert findings.filter(pl.col("severity") == "error").is_empty()


def test_unpriced_models_of_the_sample_are_told_with_their_volume(findings: pl.DataFrame) -> None:
    rows = named(findings, "unpriced requests")
    assert {row["where"].split(" / ")[1] for row in rows} == {"quill-large", "quill-small"}
    assert all("no price for the model" in row["finding"] and "calls" in row["finding"] for row in rows)


# The real FOCUS 1.0 sample, with the quirks that the fact sheet counts.


@pytest.fixture(scope="module")
def real(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    folder = write_lab(tmp_path_factory.mktemp("real"), {FOCUS_SAMPLE.name: FOCUS_SAMPLE.read_bytes()})
    return doctor.doctor(open_lab(folder, progress=False))


def test_real_effective_cost_rounded_to_dollars(real: pl.DataFrame) -> None:
    row = one(real, "effective cost rounded", where="AWS")
    assert row["severity"] == "error"
    assert row["rows"] == 614  # of 942 rows; the others are billed at 0
    assert row["money_at_stake"] == Decimal("10.1481707384")
    assert "604 are 0" in row["finding"]
    assert one(real, "effective cost rounded", where="Oracle")["rows"] == 6
    assert len(named(real, "effective cost rounded")) == 2  # Microsoft's is exact


def test_real_availability_zone_holds_prices(real: pl.DataFrame) -> None:
    row = one(real, "shifted column")
    assert row["severity"] == "error"
    assert row["where"].startswith("Microsoft") and row["where"].endswith("AvailabilityZone")
    assert row["rows"] == 51
    assert "51 of them the row's ListUnitPrice" in row["finding"]


def test_real_usage_based_in_lower_case(real: pl.DataFrame) -> None:
    row = one(real, "category spelling mended")
    assert (row["rows"], row["severity"]) == (7, "warning")
    assert "'Usage-based'" in row["finding"] and row["where"].startswith("Oracle")


def test_real_tag_keys_that_differ_by_a_blank(real: pl.DataFrame) -> None:
    assert "'org' and ' org'" in one(real, "tag key twice")["finding"]
    assert "' org' 23" in one(real, "tag key variants")["finding"]


def test_real_tag_coverage_by_three_definitions(real: pl.DataFrame) -> None:
    row = one(real, "tag coverage")
    assert "71.1 % of rows" in row["finding"]
    assert "108.3 % of net cost" in row["finding"]
    assert "86.5 % of absolute cost" in row["finding"]
    assert row["severity"] == "warning"


def test_real_late_row_over_the_month_boundary(real: pl.DataFrame) -> None:
    row = one(real, "late charges")
    assert row["rows"] == 1
    assert "2024-09-30 billed in 2024-10" in row["finding"]


def test_real_negative_usage_of_microsoft(real: pl.DataFrame) -> None:
    row = one(real, "negative usage")
    assert row["rows"] == 12 and row["where"].startswith("Microsoft")


def test_real_gpu_spend_outside_the_ai_category(real: pl.DataFrame) -> None:
    assert (
        "g5.4xlarge (AWS, Compute: 8 rows, $10.20, 49.7 %)"
        in one(real, "AI spend outside the AI category")["finding"]
    )


def test_real_spellings_of_null_and_services_in_two_categories(real: pl.DataFrame) -> None:
    assert "'NULL'" in one(real, "several spellings of nothing")["finding"]
    assert "Compute 422, Storage 132" in one(real, "service in several categories")["finding"]


# What was delivered: small labs of their own.


def examined(folder: Path, **exports: Any) -> pl.DataFrame:
    files = {name.replace("__", "/") + ".csv": content for name, content in exports.items()}
    return doctor.doctor(open_lab(write_lab(folder, files), progress=False), TODAY)


def days(amount: str = "1.5", **over: str | None) -> list[dict[str, str | None]]:
    """Return one charge of every day of September."""
    return [
        cost_row(
            amount,
            ChargePeriodStart=f"2026-09-{n:02}T00:00:00Z",
            ChargePeriodEnd=f"2026-09-{n + 1:02}T00:00:00Z" if n < 30 else "2026-10-01T00:00:00Z",
            Tags='{"team":"a"}',
            ResourceId=f"r-{n}",
            **over,
        )
        for n in range(1, 31)
    ]


def test_a_clean_lab_is_silent(tmp_path: Path) -> None:
    assert loud(examined(tmp_path, bill=days())) == []


def test_an_empty_lab_is_silent(tmp_path: Path) -> None:
    assert examined(tmp_path).is_empty()


def test_trap_14_the_same_charges_in_two_files(tmp_path: Path) -> None:
    found = examined(tmp_path, one=days(), two=[*days(), *days("7", ResourceName="more")])
    row = one(found, "charges in two files")
    assert (row["severity"], row["rows"], row["money_at_stake"]) == ("error", 30, Decimal("45"))
    assert row["where"] == "one.csv and two.csv"


def test_trap_14_a_file_whose_rows_stand_twice(tmp_path: Path) -> None:
    row = one(examined(tmp_path, bill=[*days(), *days()]), "doubled rows in a file")
    assert (row["severity"], row["rows"], row["money_at_stake"]) == ("error", 30, Decimal("45"))


def test_trap_15_a_few_equal_rows_can_be_legal(tmp_path: Path) -> None:
    row = one(examined(tmp_path, bill=[*days(), *days()[:2]]), "doubled rows in a file")
    assert (row["severity"], row["rows"], row["money_at_stake"]) == ("info", 2, Decimal("3"))


def test_trap_14_a_copy_under_another_name(tmp_path: Path) -> None:
    row = one(examined(tmp_path, a=days(), b=days()), "same file twice")
    assert "same content as a.csv" in row["finding"] and row["where"] == "b.csv"


def test_quarantined_rows_with_their_money(tmp_path: Path) -> None:
    bad = [cost_row("2.25", ChargePeriodEnd="2026-09-01T00:00:00Z"), cost_row("3", BilledCost="12 apples")]
    found = named(examined(tmp_path, bill=[*days(), *bad]), "quarantined rows")
    assert [row["severity"] for row in found] == ["error", "error"]
    money = {row["money_at_stake"] for row in found}
    assert money == {Decimal("2.25"), Decimal(0)}
    assert any("ChargePeriodEnd before ChargePeriodStart" in row["finding"] for row in found)
    assert any("1 without a readable amount" in row["finding"] for row in found)
    assert {example for row in found for example in row["examples"]} == {"bill.csv:31", "bill.csv:32"}


def test_categories_and_nulls_as_they_were_spelled(tmp_path: Path) -> None:
    rows = [*days(), cost_row("1", ChargeCategory="TAX", RegionId="NULL"), cost_row("1", RegionId="(null)")]
    found = examined(tmp_path, bill=rows)
    row = one(found, "category spelling mended")
    assert "'TAX' in 1 row and read as 'Tax'" in row["finding"]
    assert row["examples"] == ["bill.csv:31"]
    assert "RegionId" in one(found, "several spellings of nothing")["finding"]


def test_mended_values_are_told(tmp_path: Path) -> None:
    row = one(examined(tmp_path, bill=[*days(), cost_row("1", Tags="no json")]), "mended at reading")
    assert "not JSON" in row["finding"] and row["rows"] == 1


def test_a_file_that_was_withdrawn(tmp_path: Path) -> None:
    examined(tmp_path, bill=days())
    (tmp_path / "exports" / "bill.csv").unlink()
    row = one(doctor.doctor(open_lab(tmp_path, progress=False)), "file withdrawn")
    assert (row["rows"], row["money_at_stake"]) == (30, Decimal("45"))


def test_overlaps_that_a_plan_covers(tmp_path: Path) -> None:
    toml = PLAIN_TOML + '[[coverage]]\nname = "twice"\nauthoritative = "a.csv"\noverlap = "b.csv"\n'
    lab = write_lab(tmp_path, {"a.csv": days(), "b.csv": days(ServiceName="x")}, toml)
    row = one(doctor.doctor(open_lab(lab, progress=False)), "covered overlap")
    assert (row["severity"], row["rows"], row["money_at_stake"]) == ("info", 30, Decimal("45"))


def test_a_month_replaced_in_part_tells_no_difference(tmp_path: Path) -> None:
    old = [*days(), *[{**row, "ProviderName": "Two"} for row in days("2")]]
    found = examined(tmp_path, **{"delivered=2026-10-01__a": old, "delivered=2026-10-05__a": days("3")})
    row = one(found, "restated month")
    assert row["rows"] == 30 and "were replaced" in row["finding"] and "+" not in row["finding"]


def test_hostile_texts_are_escaped_where_they_are_shown(tmp_path: Path) -> None:
    hostile = '<img src=x onerror="alert(1)">'
    tags = json.dumps({hostile: "a", hostile.upper(): "b", "=cmd|' /C calc'!A0": "c"})
    rows = [*days(), cost_row("1", Tags=tags, ServiceName=hostile, ResourceId=hostile)]
    found = examined(tmp_path, bill=csv_text(rows))
    assert "<img" in "".join(found["finding"])
    text = doctor.readable(found)
    shown = money_table(
        text, title="Findings", id="doctor", currency="USD", money_columns=(), number_columns=["rows"]
    )
    assert "<img" not in shown.html and "&lt;img" in shown.html


def test_readable_findings_keep_rows_and_order(real: pl.DataFrame) -> None:
    text = doctor.readable(real)
    assert text.height == real.height
    assert text.schema["examples"] == pl.String and text.schema["at_stake"] == pl.String
    first = text.row(0, named=True)
    assert (first["severity"], first["at_stake"]) == ("error", "$10.15")
