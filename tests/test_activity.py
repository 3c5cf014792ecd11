"""Activities of the ledger: built-in rules in their order, rules of finops.toml before them."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from pydantic import ValidationError

from finops_lab.allocation.views import on_basis
from finops_lab.config import Activity, Config, load
from finops_lab.errors import ConfigError, CurrencyError, InputError
from finops_lab.money import MONEY
from finops_lab.unit_economics.activity import ACTIVITIES, activity, currency_of, spent

USUAL: dict[str, str | None] = {
    "x_ChargeMonth": "2026-10",
    "BillingCurrency": "USD",
    "ProviderName": "CloudOne",
    "ServiceCategory": "Compute",
    "ServiceName": "Machines",
    "ChargeCategory": "Usage",
    "CommitmentDiscountStatus": None,
    "x_team": "a",
    "x_model": None,
    "x_variant": None,
    "x_feature": None,
    "x_customer": None,
    "x_environment": "prod",
    "x_AllocationMethod": "tag",
    "x_PoolId": None,
}


def entries(*rows: dict[str, str | None]) -> pl.LazyFrame:
    full = [{**USUAL, "EffectiveCost": "1", **row} for row in rows]
    schema = dict.fromkeys([*USUAL, "EffectiveCost"], pl.String)
    return pl.LazyFrame(full, schema=schema).with_columns(pl.col("EffectiveCost").cast(MONEY))


@pytest.mark.parametrize(
    ("row", "what", "rule"),
    [
        ({"x_feature": "chat"}, "inference", "feature"),
        ({"x_model": "m"}, "inference", "model"),
        ({"ServiceCategory": "AI and Machine Learning"}, "inference", "AI service"),
        ({"x_PoolId": "p", "x_AllocationMethod": "idle"}, "inference", "pool split by use"),
        ({"ServiceName": "Model Training"}, "training", "training service"),
        ({"ServiceName": "Fine-tuning API", "x_feature": "chat"}, "training", "training service"),
        ({"x_environment": "research", "x_model": "m"}, "training", "research environment"),
        ({"x_environment": "research", "x_PoolId": "cluster"}, "training", "research environment"),
        ({"x_environment": "research", "x_PoolId": "gateway", "x_model": "m"}, "inference", "model"),
        ({"x_environment": "Training"}, "training", "research environment"),
        ({"x_environment": "research", "x_feature": "chat"}, "inference", "feature"),
        # A tax is never in a unit cost, whoever carries it.
        ({"ChargeCategory": "Tax", "x_feature": "chat", "x_model": "m"}, "other", "tax"),
        ({"ChargeCategory": "Credit"}, "other", "credit without a dimension"),
        (
            {"ChargeCategory": "Credit", "ServiceCategory": "AI and Machine Learning"},
            "other",
            "credit without a dimension",
        ),
        ({"ChargeCategory": "Credit", "x_model": "m"}, "inference", "model"),
        ({"ServiceName": "Cloud Support (Business)"}, "other", "support"),
        ({"ServiceName": "Supportive Machines"}, "other", "rest"),
        ({"ServiceName": "Trainingsgeräte"}, "other", "rest"),
        ({"ServiceCategory": "Storage"}, "other", "rest"),
        ({"ServiceCategory": None, "ServiceName": None, "x_environment": None}, "other", "rest"),
    ],
)
def test_built_in_rules(row: dict[str, str | None], what: str, rule: str) -> None:
    found = activity(entries(row)).collect().row(0, named=True)
    assert (found["x_Activity"], found["x_ActivityRule"]) == (what, f"default: {rule}")
    assert found["x_Activity"] in ACTIVITIES


def test_rules_of_the_lab_go_first_and_in_their_order() -> None:
    rules = [
        Activity(name="vectors", activity="inference", where={"ServiceName": ("~(?i)vector",)}),
        Activity(name="data sets", activity="training", where={"ServiceCategory": ("Storage",)}),
        Activity(name="all storage", activity="other", where={"ServiceCategory": ("Storage",)}),
        Activity(name="chat is tried out", activity="other", where={"x_feature": ("chat",)}),
    ]
    rows = entries(
        {"ServiceName": "Vector DB", "ServiceCategory": "Storage"},
        {"ServiceCategory": "Storage"},
        {"x_feature": "chat"},
        {"x_feature": "search"},
    )
    found = activity(rows, rules).collect().select("x_Activity", "x_ActivityRule").rows()
    assert found == [
        ("inference", "vectors"),
        ("training", "data sets"),
        ("other", "chat is tried out"),
        ("inference", "default: feature"),
    ]


def test_a_rule_of_an_unknown_column_is_refused_with_a_hint() -> None:
    rule = Activity(name="r", activity="training", where={"ServiceNmae": ("x",)})
    with pytest.raises(ConfigError, match=r"'ServiceNmae'.*did you mean 'ServiceName'"):
        activity(entries({}), [rule])
    with pytest.raises(InputError, match="x_PoolId"):
        activity(entries({}).drop("x_PoolId"))


def test_every_entry_has_one_activity_and_no_money_is_lost() -> None:
    rows = entries(
        {"x_feature": "chat", "EffectiveCost": "3.5"},
        {"x_environment": "research", "EffectiveCost": "2"},
        {"EffectiveCost": "-1.25"},
    )
    sums = [spent(rows, what, ["team"]).collect()["amount"].sum() for what in ACTIVITIES]
    assert sums == [Decimal("3.5"), Decimal(2), Decimal("-1.25")]


def test_spent_keeps_the_usage_basis_beside_the_amount() -> None:
    rows = entries(
        {"x_feature": "chat", "EffectiveCost": "10"},
        {"x_feature": "chat", "EffectiveCost": "4", "x_AllocationMethod": "idle"},
        {"x_feature": "chat", "EffectiveCost": "2", "CommitmentDiscountStatus": "Unused"},
        {"x_feature": "chat", "EffectiveCost": "-1", "x_team": "unallocated"},
    )
    found = spent(rows, "inference", []).collect().row(0, named=True)
    usage = on_basis(rows, "usage").collect()["EffectiveCost"].sum()
    assert (found["amount"], found["used"], found["charged"]) == (Decimal(15), usage, Decimal(16))
    assert (found["entries"], found["idle"], found["unknown"]) == (4, 1, 0)
    by_team = spent(rows, "inference", ["team"]).collect()
    assert dict(by_team.select("team", "amount").iter_rows()) == {"a": Decimal(16), None: Decimal(-1)}
    with pytest.raises(InputError, match="metric"):
        spent(rows, "inference", [], metric="Cost")


def test_currencies_are_never_mixed() -> None:
    assert currency_of(entries()) == "USD"
    assert currency_of(entries({"BillingCurrency": "EUR"})) == "EUR"
    with pytest.raises(CurrencyError):
        currency_of(entries({}, {"BillingCurrency": "EUR"}))


def test_activities_of_finops_toml(tmp_path: Path) -> None:
    text = """
[lab]
name = "Synthetic"

[[activities]]
name = "vector database"
activity = "inference"
where = { ServiceName = ["~Vector", "Pinboard"] }
"""
    (tmp_path / "finops.toml").write_text(text, encoding="utf-8")
    rule = load(tmp_path).activities[0]
    assert (rule.activity, rule.where) == ("inference", {"ServiceName": ("~Vector", "Pinboard")})
    (tmp_path / "finops.toml").write_text(text.replace('"inference"', '"serving"'), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"line 7.*activities\[1\]\.activity"):
        load(tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [
        [{"name": "r", "activity": "training", "where": {}}],
        [{"name": "r", "activity": "training", "where": {"ServiceName": "~("}}],
        [{"name": "r", "activity": "other", "where": {"ServiceName": "x"}}] * 2,
    ],
)
def test_wrong_activities_are_refused(wrong: list[dict[str, object]]) -> None:
    with pytest.raises(ValidationError):
        Config.model_validate({"lab": {"name": "Synthetic"}, "activities": wrong})
