"""The FOCUS specification's own corrections, commitments and virtual currencies: exactly the published sums."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from helpers import DATA, csv_rows, csv_text, decimal_sum, put, write_lab

from finops_lab.allocation import Ledger, allocate
from finops_lab.config import Dimensions
from finops_lab.errors import InputError
from finops_lab.ingestion.registry import REASONS, ReadSettings, detect
from finops_lab.lab import open_lab
from finops_lab.reconciliation.restatement import restatement

CORRECTIONS = DATA / "billing" / "focus_spec_draft_corrections"
EXAMPLES = DATA / "billing" / "focus_spec_v1_2_examples"
ORIGINAL = "closed_scenario_1_partial_reallocation_original"
LEDGER = "closed_scenario_1_partial_reallocation_ledger"
FLEX = "commitment_discount_flexibility__"
SCENARIO = "commitment_discount_scenarios__commitment_discount_"
SAAS = "saas_examples__"
TOKENS = f"{SAAS}virtual_currency_pricing_model_"

# BilledCost and EffectiveCost of each published file, added up apart from the library.
ABRIDGED = {
    ORIGINAL: ("1500", "1500"),
    LEDGER: ("0", "0"),
    f"{FLEX}one_hundred_percent_utilization_with_commitment_discount_flexibility_with_1_resource": ("2.75", "2.75"),
    f"{FLEX}one_hundred_percent_utilization_with_commitment_discount_flexibility_with_2_resources": ("2", "2"),
    f"{FLEX}one_hundred_percent_utilization_without_commitment_discount_flexibility": ("1.5", "1.5"),
    f"{FLEX}zero_percent_utilization_without_commitment_discount_flexibility": ("3.5", "3.5"),
    f"{SCENARIO}purchase_scenario_1": ("8760", "0"),
    f"{SCENARIO}purchase_scenario_2": ("3", "0"),
    f"{SCENARIO}purchase_scenario_3": ("4381.5", "0"),
    f"{SCENARIO}usage_scenario_1": ("0", "1"),
    f"{SCENARIO}usage_scenario_2": ("0", "1"),
    f"{SCENARIO}usage_scenario_3": ("0", "1"),
    f"{SCENARIO}usage_scenario_4": ("0.5", "1.5"),
}  # fmt: skip
COMPLETE = {
    f"{SAAS}simple_agreements__simple_saas_agreements_a1": ("10000", "10000"),
    f"{SAAS}simple_agreements__simple_saas_agreements_a2": ("50000", "50000"),
    f"{SAAS}simple_agreements__simple_saas_agreements_a3": ("1000", "1000"),
    f"{SAAS}simple_agreements__simple_saas_agreements_b": ("50000", "50000"),
    f"{SAAS}simple_agreements__simple_saas_agreements_c": ("35800", "35800"),
    f"{SAAS}spend_agreements__saas_spend_agreements_a1": ("1200", "1200"),
    f"{SAAS}spend_agreements__saas_spend_agreements_a2": ("1200", "1200"),
    f"{SAAS}spend_agreements__saas_spend_agreements_b1": ("1200", "1200"),
    f"{SAAS}spend_agreements__saas_spend_agreements_b2": ("1200", "1200"),
    f"{TOKENS}a1": ("200000", "0"),
    f"{TOKENS}a2": ("0", "1230"),
    f"{TOKENS}b1": ("100000", "0"),
    f"{TOKENS}b2": ("0", "615"),
    f"{TOKENS}b3": ("0", "495"),
    f"{TOKENS}c": ("53000", "0"),
}
# Two examples count hours past 24 (T30:00:00Z): those rows say no moment, and are kept apart.
NO_MOMENT = {f"{SCENARIO}purchase_scenario_2": "1", f"{SCENARIO}purchase_scenario_3": "0.5"}
# What the abridged examples leave out and every bill must have.
ADDED = {"BillingCurrency": "USD", "BillingAccountId": "account-1", "ProviderName": "Example Cloud"}

pytestmark = pytest.mark.skipif(not EXAMPLES.is_dir(), reason="no FOCUS examples beside this checkout")


def published(name: str) -> Path:
    folder = CORRECTIONS if name.startswith("closed_") else EXAMPLES
    return folder / f"{name}.csv"


def completed(tmp_path: Path, name: str) -> Path:
    return put(tmp_path / f"{name}.csv", csv_text([{**row, **ADDED} for row in csv_rows(published(name))]))


def read(path: Path) -> pl.DataFrame:
    return detect(path)[0].read(path, ReadSettings()).collect()


def booked(rows: pl.DataFrame) -> Ledger:
    return allocate(rows.filter(pl.col(REASONS).is_null()).lazy(), Dimensions())


def by(entries: pl.DataFrame, key: str, metric: str) -> dict[str, Decimal]:
    return dict(entries.group_by(key).agg(pl.col(metric).sum()).sort(key).iter_rows())


def check(rows: pl.DataFrame, billed: Decimal, effective: Decimal) -> None:
    entries = booked(rows).entries
    assert entries["BilledCost"].sum() == billed
    assert entries["EffectiveCost"].sum() == effective
    for metric, total in (("BilledCost", billed), ("EffectiveCost", effective)):
        cash, accrual = by(entries, "x_BillingMonth", metric), by(entries, "x_ChargeMonth", metric)
        assert decimal_sum(cash.values()) == decimal_sum(accrual.values()) == total


def test_every_published_file_is_checked() -> None:
    found = {path.stem for folder in (CORRECTIONS, EXAMPLES) for path in folder.glob("*.csv")}
    assert found == set(ABRIDGED) | set(COMPLETE)


@pytest.mark.parametrize("name", COMPLETE)
def test_complete_examples_give_the_published_sums(name: str) -> None:
    rows = read(published(name))
    assert rows[REASONS].null_count() == rows.height == len(csv_rows(published(name)))
    check(rows, *map(Decimal, COMPLETE[name]))


@pytest.mark.parametrize("name", ABRIDGED)
def test_abridged_examples_are_refused_as_they_stand(name: str) -> None:
    with pytest.raises(InputError, match=r"no column BillingCurrency \(nor BillingAccountId, ProviderName\)"):
        read(published(name))


@pytest.mark.parametrize("name", ABRIDGED)
def test_abridged_examples_give_the_published_sums_once_completed(tmp_path: Path, name: str) -> None:
    rows = read(completed(tmp_path, name))
    assert rows.height == len(csv_rows(published(name)))
    apart = rows.filter(pl.col(REASONS).is_not_null())
    assert apart["BilledCost"].sum() == Decimal(NO_MOMENT.get(name, "0"))
    assert apart.height == (name in NO_MOMENT)
    billed, effective = map(Decimal, ABRIDGED[name])
    check(rows, billed - Decimal(NO_MOMENT.get(name, "0")), effective)


# --- corrections -----------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["BilledCost", "EffectiveCost"])
def test_a_correction_is_of_the_new_invoice_and_the_old_use(tmp_path: Path, metric: str) -> None:
    exports = {f"{name}.csv": completed(tmp_path, name).read_bytes() for name in (ORIGINAL, LEDGER)}
    lab = open_lab(write_lab(tmp_path / "lab", exports), progress=False)
    entries = allocate(lab.costs(), lab.config.dimensions).entries
    assert by(entries, "x_BillingMonth", metric) == {"2025-05": Decimal(1500), "2025-06": Decimal(0)}
    assert by(entries, "x_ChargeMonth", metric) == {"2025-05": Decimal(1500)}
    assert entries.filter(pl.col("ChargeClass") == "Correction")["x_Rows"].sum() == 3
    resources = dict(lab.costs().group_by("ResourceId").agg(pl.col(metric).sum()).collect().iter_rows())
    assert resources == {"R-111": Decimal(1200), "R-222": Decimal(300)}


def test_the_correction_is_a_restatement_that_moves_no_money(tmp_path: Path) -> None:
    first, second = (read(completed(tmp_path, name)) for name in (ORIGINAL, LEDGER))
    named = [rows.with_columns(pl.lit("b.csv").alias("x_SourceFile")) for rows in (first, second)]
    bridge = restatement(named[0].lazy(), pl.concat(named).lazy(), month="2025-05")
    shown = ("change", "rows_before", "rows_after", "BilledCost_change")
    assert bridge.summary.select(shown).rows() == [
        ("unchanged", 1, 1, Decimal(0)),
        ("added", 0, 3, Decimal(0)),
    ]
    found = bridge.lines.sort("BilledCost_change").select("ResourceId", "BilledCost_change").rows()
    assert found == [("R-111", Decimal(-1500)), ("R-222", Decimal(300)), ("R-111", Decimal(1200))]


# --- commitments -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "bought", "used", "unused"),
    [
        ("one_hundred_percent_utilization_with_commitment_discount_flexibility_with_1_resource", "0.5", "0.5", "0"),
        ("one_hundred_percent_utilization_with_commitment_discount_flexibility_with_2_resources", "2", "2", "0"),
        ("one_hundred_percent_utilization_without_commitment_discount_flexibility", "1.5", "1.5", "0"),
        ("zero_percent_utilization_without_commitment_discount_flexibility", "1.5", "0", "1.5"),
    ],
)  # fmt: skip
def test_use_under_a_commitment_costs_what_the_commitment_cost(
    tmp_path: Path, name: str, bought: str, used: str, unused: str
) -> None:
    rows = read(completed(tmp_path, FLEX + name))
    committed = rows.filter(pl.col("CommitmentDiscountId") == "<my-commitment-discount-id>")
    usage = committed.filter(pl.col("ChargeCategory") == "Usage")
    purchase = committed.filter(pl.col("ChargeCategory") == "Purchase")
    assert purchase["BilledCost"].sum() == usage["EffectiveCost"].sum() == Decimal(bought)
    assert purchase["EffectiveCost"].sum() == usage["BilledCost"].sum() == 0
    status = by(usage, "CommitmentDiscountStatus", "EffectiveCost")
    assert status.get("Used", Decimal(0)) == Decimal(used)
    assert status.get("Unused", Decimal(0)) == Decimal(unused)
    ledger = booked(rows).entries
    assert (
        by(ledger.drop_nulls("CommitmentDiscountStatus"), "CommitmentDiscountStatus", "EffectiveCost")
        == status
    )


# --- virtual currencies ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "dollars", "tokens"), [("a2", "1230", "615"), ("b2", "615", "615"), ("b3", "495", "495")]
)
def test_tokens_are_never_money(name: str, dollars: str, tokens: str) -> None:
    rows = read(published(TOKENS + name))
    assert rows["PricingCurrency"].unique().to_list() == ["Token"]
    assert rows["PricingCurrencyEffectiveCost"].sum() == Decimal(tokens)
    ledger = booked(rows)
    assert ledger.entries["BillingCurrency"].unique().to_list() == ["USD"]
    assert ledger.monthly(None).rows()[0][2] == Decimal(dollars)
    assert set(ledger.receipt["BillingCurrency"]) == {"USD"}


def test_a_purchase_of_tokens_is_cash_now_and_cost_when_used() -> None:
    rows = pl.concat([read(published(f"{TOKENS}{name}")) for name in ("a1", "a2")])
    entries = booked(rows).entries
    category = {
        name: by(entries, "ChargeCategory", name) for name in ("BilledCost", "EffectiveCost", "ListCost")
    }
    assert category == {
        "BilledCost": {"Purchase": Decimal(200000), "Usage": Decimal(0)},
        "EffectiveCost": {"Purchase": Decimal(0), "Usage": Decimal(1230)},
        "ListCost": {"Purchase": Decimal(200000), "Usage": Decimal(1230)},
    }
