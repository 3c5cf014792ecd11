"""Allocation: every cent on an owner or visibly on none, proved by an independent reference."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from helpers import BINDER, FOCUS_SAMPLE, binder_focus, csv_rows, decimal_sum, ingest_lab, write_lab
from hypothesis import given, settings
from hypothesis import strategies as st

from finops_lab import contracts
from finops_lab.allocation import UNALLOCATED, Ledger, allocate, assign, convert, monthly, rule_report
from finops_lab.allocation.receipt import receipt
from finops_lab.config import Dimensions, Rate
from finops_lab.contracts import AMOUNTS, DIMENSIONS
from finops_lab.contracts import Ledger as LedgerContract
from finops_lab.errors import ConfigError, CurrencyError, InputError, ReconciliationError
from finops_lab.lab import open_lab

RULES = Dimensions.model_validate(
    {
        "team": [
            {"name": "team tag", "tag": ["team", "Cost-Center"], "map": {"srch": "search"}},
            {
                "name": "gateway",
                "where": {"SubAccountName": ["gw", "~^gw-"], "ServiceName": "Model API"},
                "value": "platform",
            },
        ],
        "model": [{"name": "meter", "extract": {"column": "SkuMeter", "pattern": "^([a-z]+)-"}}],
        "product": [{"name": "account", "column": "SubAccountName", "map": {"gw": "gateway"}}],
    }
)

DEFAULTS: dict[str, Any] = {
    **dict.fromkeys(AMOUNTS, Decimal(1)),
    "BillingCurrency": "USD",
    "BillingAccountId": "acct-1",
    "BillingPeriodStart": datetime(2026, 9, 1, tzinfo=UTC),
    "ChargePeriodStart": datetime(2026, 9, 3, tzinfo=UTC),
    "ChargeCategory": "Usage",
    "ProviderName": "CloudOne",
    "ServiceName": "Model API",
    "x_BillingMonth": "2026-09",
    "x_SourceFile": "b.csv",
    "x_SourceRow": 1,
    "x_tag_team": None,
    "x_tag_cost_center": None,
}
SCHEMA = {**contracts.dtypes("costs"), "x_tag_team": pl.String(), "x_tag_cost_center": pl.String()}


def bill(*rows: dict[str, Any]) -> pl.LazyFrame:
    full = [{**dict.fromkeys(SCHEMA), **DEFAULTS, **row} for row in rows]
    return pl.DataFrame(full, schema=SCHEMA).lazy()


def amounts(text: str, **fields: Any) -> dict[str, Any]:
    return {**dict.fromkeys(AMOUNTS, Decimal(text)), **fields}


GOLDEN = [
    amounts("10.01", x_tag_team="srch", SubAccountName="gw", SkuMeter="opus-input"),
    amounts("0.02", x_tag_team=" srch ", SubAccountName="gw", SkuMeter="opus-output"),
    amounts("5", x_tag_team="n/a", x_tag_cost_center="ads"),
    amounts("7", x_tag_team="Unassigned", SubAccountName="gw-7", SkuMeter="9-x"),
    amounts("-2.5", SubAccountName="gw", ServiceName="Storage", ChargeCategory="Credit"),
    amounts("3.000000000000000001", ListCost=None, ContractedCost=None),
]


@pytest.fixture(scope="module")
def ledger() -> Ledger:
    return allocate(bill(*GOLDEN), RULES)


# --- golden ----------------------------------------------------------------------------------------


def test_golden_entries(ledger: Ledger) -> None:
    shown = [
        "x_team",
        "x_product",
        "x_model",
        "x_AllocationMethod",
        "x_AllocationRule",
        "EffectiveCost",
        "ListCost",
    ]
    rows = ledger.entries.select(*shown, "x_Rows").rows()
    assert sorted(rows, key=str) == sorted(
        [
            ("search", "gateway", "opus", "tag", "team tag", Decimal("10.03"), Decimal("10.03"), 2),
            ("ads", None, None, "tag", "team tag", Decimal(5), Decimal(5), 1),
            ("platform", "gw-7", None, "rule", "gateway", Decimal(7), Decimal(7), 1),
            (UNALLOCATED, "gateway", None, "unallocated", None, Decimal("-2.5"), Decimal("-2.5"), 1),
            (UNALLOCATED, None, None, "unallocated", None, Decimal("3.000000000000000001"), None, 1),
        ],
        key=str,
    )


def test_golden_receipt(ledger: Ledger) -> None:
    found = ledger.receipt.filter(pl.col("metric") == "EffectiveCost")
    assert found.drop("metric", "excluded", "residual", "x_BillingMonth").rows() == [
        ("USD", "2026-09", "Credit", 1, Decimal("-2.5"), Decimal(0), Decimal("-2.5")),
        (
            *("USD", "2026-09", "Usage", 5),
            *(Decimal("25.030000000000000001"), Decimal("22.03"), Decimal("3.000000000000000001")),
        ),
    ]  # fmt: skip
    assert ledger.receipt["residual"].unique().to_list() == [Decimal(0)]
    assert ledger.receipt["excluded"].unique().to_list() == [Decimal(0)]
    assert ledger.receipt["metric"].unique().sort().to_list() == sorted(AMOUNTS)


def test_golden_rule_report(ledger: Ledger) -> None:
    shown = ["dimension", "rule", "BillingCurrency", "rows", "EffectiveCost"]
    assert ledger.rules.select(shown).rows() == [
        ("team", "team tag", "USD", 3, Decimal("15.03")),
        ("team", "gateway", "USD", 1, Decimal(7)),
        ("team", "(no rule)", "USD", 2, Decimal("0.500000000000000001")),
        ("product", "account", "USD", 4, Decimal("14.53")),
        ("product", "(no rule)", "USD", 2, Decimal("8.000000000000000001")),
        ("model", "meter", "USD", 2, Decimal("10.03")),
        ("model", "(no rule)", "USD", 4, Decimal("12.500000000000000001")),
    ]


def test_entries_follow_the_ledger_contract_and_are_sorted(ledger: Ledger) -> None:
    LedgerContract.validate(ledger.entries)
    keys = [n for n in contracts.dtypes("ledger") if n not in (*AMOUNTS, "x_Rows")]
    assert ledger.entries.equals(ledger.entries.sort(keys, nulls_last=True))


def test_a_rule_that_catches_nothing_is_reported() -> None:
    rules = Dimensions.model_validate(
        {"team": [{"name": "never", "where": {"ServiceName": "x"}, "value": "t"}]}
    )
    shown = ["dimension", "rule", "BillingCurrency", "rows", "EffectiveCost"]
    assert allocate(bill({}), rules).rules.select(shown).rows() == [
        ("team", "never", None, 0, None),
        ("team", "(no rule)", "USD", 1, Decimal(1)),
    ]


def test_without_rules_all_is_unallocated() -> None:
    ledger = allocate(bill({}, {}), Dimensions())
    assert ledger.entries.select("x_team", "x_AllocationMethod", "x_Rows").rows() == [
        (UNALLOCATED, "unallocated", 2)
    ]
    assert ledger.rules.height == 0


def test_an_empty_bill_has_an_empty_ledger() -> None:
    ledger = allocate(bill({}).head(0), RULES)
    assert (ledger.entries.height, ledger.receipt.height) == (0, 0)
    assert dict(ledger.entries.schema) == contracts.dtypes("ledger")


# --- rules -----------------------------------------------------------------------------------------


def team(rules: list[dict[str, Any]], **row: Any) -> tuple[str | None, str | None]:
    found = assign(bill(row), Dimensions.model_validate({"team": rules})).collect()
    return found["x_team"][0], found["_rule_team"][0]


def test_the_first_rule_that_gives_a_value_wins() -> None:
    rules = [
        {"name": "a", "tag": "team"},
        {"name": "b", "column": "SubAccountName"},
        {"name": "c", "value": "rest"},
    ]
    assert team(rules, x_tag_team="t", SubAccountName="s") == ("t", "a")
    assert team(rules, x_tag_team="none", SubAccountName="s") == ("s", "b")
    assert team(rules, SubAccountName=" ") == ("rest", "c")


@pytest.mark.parametrize(
    "spelling",
    ["", " ", "NULL", "(null)", "None", "-", "-2", "N/A", "na", "Unassigned", "unknown", "UNTAGGED", None],
)
def test_spellings_of_nobody(spelling: str | None) -> None:
    for rule, column in (("tag", "x_tag_team"), ("column", "SubAccountName")):
        source = "team" if rule == "tag" else column
        assert team([{"name": "a", rule: source}], **{column: spelling}) == (None, None)


def test_where_holds_on_values_patterns_and_all_columns() -> None:
    rule = {"name": "a", "where": {"SubAccountName": ["one", "~^t.o$"], "RegionId": "eu"}, "value": "v"}
    assert team([rule], SubAccountName="one", RegionId="eu") == ("v", "a")
    assert team([rule], SubAccountName="two", RegionId="eu") == ("v", "a")
    assert team([rule], SubAccountName="twoo", RegionId="eu") == (None, None)
    assert team([rule], SubAccountName="one", RegionId="us") == (None, None)
    assert team([rule], SubAccountName="one") == (None, None)
    assert team([rule], SubAccountName="^t.o$", RegionId="eu") == (None, None)


def test_a_where_limits_a_tag_rule() -> None:
    rules = [{"name": "a", "tag": "team", "where": {"RegionId": "eu"}}, {"name": "b", "value": "rest"}]
    assert team(rules, x_tag_team="t", RegionId="eu") == ("t", "a")
    assert team(rules, x_tag_team="t", RegionId="us") == ("rest", "b")


def test_map_leaves_other_values_and_follows_the_alias() -> None:
    rules = [{"name": "a", "tag": ["Team", "cost center"], "map": {"x": "y"}}]
    assert team(rules, x_tag_team="x") == ("y", "a")
    assert team(rules, x_tag_cost_center="x") == ("y", "a")
    assert team(rules, x_tag_team="z", x_tag_cost_center="x") == ("z", "a")


def test_extract_reads_any_column() -> None:
    assert team([{"name": "a", "extract": {"column": "x_SourceRow", "pattern": "(.*)"}}]) == ("1", "a")
    assert team(
        [{"name": "a", "extract": {"column": "ResourceId", "pattern": "/t-([a-z]*)"}}], ResourceId="/t-"
    ) == (
        None,
        None,
    )


def test_a_tag_no_file_has_is_nobody_s() -> None:
    assert team([{"name": "a", "tag": "squad"}]) == (None, None)
    ledger = allocate(bill({}), Dimensions.model_validate({"team": [{"name": "a", "tag": "squad"}]}))
    assert ledger.entries["x_team"].to_list() == [UNALLOCATED]


@pytest.mark.parametrize(
    "rule",
    [
        {"column": "SubAcountName"},
        {"extract": {"column": "SubAcountName", "pattern": "(a)"}},
        {"value": "v", "where": {"SubAcountName": "x"}},
    ],
)
def test_an_unknown_column_is_named_with_a_guess(rule: dict[str, Any]) -> None:
    rules = Dimensions.model_validate({"team": [{"name": "my rule", **rule}]})
    words = "rule 'my rule' of dimension team .*'SubAcountName'.*did you mean 'SubAccountName'"
    with pytest.raises(ConfigError, match=words):
        allocate(bill({}), rules)


def test_rule_report_weighs_rows() -> None:
    rules = Dimensions.model_validate({"team": [{"name": "a", "tag": "team"}]})
    frame = bill({"x_tag_team": "t"}, {}).with_columns(pl.lit(3, pl.Int64).alias("x_Rows"))
    assert rule_report(assign(frame, rules), rules)["rows"].to_list() == [3, 3]
    assert rule_report(assign(frame, rules), rules)["EffectiveCost"].to_list() == [Decimal(1)] * 2


# --- conservation ----------------------------------------------------------------------------------

MONEY = st.decimals(min_value=-(10**9), max_value=10**9, places=18, allow_nan=False)
ROWS = st.fixed_dictionaries(
    {
        "BilledCost": MONEY,
        "EffectiveCost": MONEY,
        "ListCost": st.none() | MONEY,
        "ContractedCost": st.none() | MONEY,
        "BillingCurrency": st.sampled_from(["USD", "EUR", "JPY"]),
        "ChargeCategory": st.sampled_from(["Usage", "Tax", "Credit", "Purchase", "Adjustment"]),
        "ChargeClass": st.sampled_from([None, "Correction"]),
        "ServiceName": st.sampled_from([None, "Model API", "Storage"]),
        "ProviderName": st.sampled_from(["CloudOne", "CloudTwo"]),
        "SubAccountName": st.sampled_from([None, "gw", "gw-2", "other", "n/a", ""]),
        "SkuMeter": st.sampled_from([None, "opus-in", "haiku-out", "9"]),
        "x_tag_team": st.sampled_from([None, "srch", " ads ", "Unassigned", "UNALLOCATED", "unallocated"]),
        "x_tag_cost_center": st.sampled_from([None, "ops", "-"]),
        "ChargePeriodStart": st.integers(0, 40).map(
            lambda d: datetime(2026, 8, 15, 23, tzinfo=UTC) + timedelta(days=d)
        ),
        "x_BillingMonth": st.sampled_from(["2026-08", "2026-09"]),
    }
)
NOBODY = {
    "",
    "null",
    "(null)",
    "none",
    "-",
    "-2",
    "n/a",
    "na",
    "unassigned",
    "unknown",
    "untagged",
    "unallocated",
}


def named(value: str | None) -> str | None:
    value = None if value is None else value.strip()
    return None if value is None or value.lower() in NOBODY else value


def reference(rows: list[dict[str, Any]]) -> dict[tuple[Any, ...], list[Any]]:
    """Allocate in plain Python what `RULES` say."""
    book: dict[tuple[Any, ...], list[Any]] = {}
    for row in rows:
        owner, rule, method = named(row["x_tag_team"]) or named(row["x_tag_cost_center"]), "team tag", "tag"
        owner = "search" if owner == "srch" else owner
        if owner is None:
            account = row["SubAccountName"]
            hit = account is not None and (account == "gw" or account.startswith("gw-"))
            owner, rule, method = ("platform", "gateway", "rule") if hit and row["ServiceName"] == "Model API" else (
                UNALLOCATED,
                None,
                "unallocated",
            )  # fmt: skip
        product = named(row["SubAccountName"])
        meter = re.match(r"([a-z]+)-", row["SkuMeter"] or "")
        key = (
            row["ChargePeriodStart"].date(), row["x_BillingMonth"], row["BillingCurrency"], row["ProviderName"],
            row["ServiceName"], row["ChargeCategory"], row["ChargeClass"], owner,
            "gateway" if product == "gw" else product, meter[1] if meter else None, method, rule,
        )  # fmt: skip
        entry = book.setdefault(key, [None, None, None, None, 0])
        for n, name in enumerate(AMOUNTS):
            if row[name] is not None:
                entry[n] = decimal_sum([entry[n], row[name]])
        entry[4] += 1
    return book


@settings(max_examples=100)
@given(st.lists(ROWS, min_size=0, max_size=14), st.randoms(use_true_random=False))
def test_no_cent_is_lost_and_a_plain_reference_agrees(rows: list[dict[str, Any]], random: Any) -> None:
    ledger = allocate(bill(*rows) if rows else bill({}).head(0), RULES)
    entries = ledger.entries
    for currency in {row["BillingCurrency"] for row in rows}:
        mine = entries.filter(pl.col("BillingCurrency") == currency)
        for name in AMOUNTS:
            theirs = decimal_sum(row[name] for row in rows if row["BillingCurrency"] == currency)
            assert mine[name].sum() == theirs
            proved = ledger.receipt.filter(pl.col("BillingCurrency") == currency, pl.col("metric") == name)
            assert proved["amount_in"].sum() == theirs
            assert decimal_sum([proved["allocated"].sum(), proved["unallocated"].sum()]) == theirs
    assert ledger.receipt.filter(pl.col("residual") != 0).height == 0
    key = (
        "x_ChargeDate", "x_BillingMonth", "BillingCurrency", "ProviderName", "ServiceName", "ChargeCategory",
        "ChargeClass", "x_team", "x_product", "x_model", "x_AllocationMethod", "x_AllocationRule",
    )  # fmt: skip
    found = {
        row[: len(key)]: list(row[len(key) :]) for row in entries.select(*key, *AMOUNTS, "x_Rows").iter_rows()
    }
    assert len(found) == entries.height
    assert found == reference(rows)
    random.shuffle(rows)
    again = allocate(bill(*rows) if rows else bill({}).head(0), RULES)
    assert again.entries.equals(entries)
    assert again.receipt.equals(ledger.receipt)


@pytest.mark.parametrize(
    "fault", ["amount", "row lost", "row doubled", "currency", "month", "category", "count"]
)
def test_a_tampered_ledger_fails_itsreceipt(ledger: Ledger, fault: str) -> None:
    costs = bill(*GOLDEN).with_columns(pl.lit("2026-09").alias("x_ChargeMonth"))
    entries = ledger.entries
    assert receipt(costs, entries).equals(ledger.receipt)
    unit = pl.lit(Decimal("0.000000000000000001")).cast(contracts.dtypes("costs")["BilledCost"])

    def first(column: str, value: pl.Expr) -> pl.DataFrame:
        return entries.with_columns(
            pl.when(pl.int_range(pl.len()) == 0).then(value).otherwise(column).alias(column)
        )

    tampered = {
        "amount": first("BilledCost", pl.col("BilledCost") + unit),
        "row lost": entries.slice(1),
        "row doubled": pl.concat([entries, entries.head(1)]),
        "currency": first("BillingCurrency", pl.lit("EUR")),
        "month": first("x_ChargeMonth", pl.lit("2026-10")),
        "category": first("ChargeCategory", pl.lit("Tax")),
        "count": first("x_Rows", pl.col("x_Rows") + 1),
    }[fault]
    with pytest.raises(ReconciliationError, match="does not add up"):
        receipt(costs, tampered)


# --- real and ingested bills -----------------------------------------------------------------------

TAG_TOML = """[lab]
name = "x"
[[dimensions.team]]
name = "unit"
tag = ["business_unit", "team"]
[[dimensions.product]]
name = "stage"
where = { x_tag_environment = "~." }
value = "staged"
"""


def test_the_real_focus_sample_is_conserved(tmp_path: Path) -> None:
    if not FOCUS_SAMPLE.is_file():
        pytest.skip("no real FOCUS sample beside this checkout")
    lab = open_lab(write_lab(tmp_path, {"s.csv": FOCUS_SAMPLE.read_bytes()}, TAG_TOML), progress=False)
    ledger = allocate(lab.costs(), lab.config.dimensions)
    assert ledger.entries["BilledCost"].sum() == Decimal("20.52022672899")
    for name in AMOUNTS:
        theirs = decimal_sum(r[name] for r in csv_rows(FOCUS_SAMPLE) if r[name] not in ("NULL", ""))
        assert ledger.entries[name].sum() == theirs, name
    assert ledger.entries["x_Rows"].sum() == 1000
    tagged = [r for r in csv_rows(FOCUS_SAMPLE) if '"business_unit"' in r["Tags"]]
    by_tag = ledger.entries.filter(pl.col("x_AllocationMethod") == "tag")
    assert by_tag["BilledCost"].sum() == decimal_sum(r["BilledCost"] for r in tagged)
    staged = [r for r in csv_rows(FOCUS_SAMPLE) if '"environment"' in r["Tags"]]
    assert ledger.entries.filter(pl.col("x_product") == "staged")["x_Rows"].sum() == len(staged) > 0


def test_the_real_bill_of_mybinder_by_month(tmp_path: Path) -> None:
    if not BINDER.is_file():
        pytest.skip("no real bill of mybinder.org beside this checkout")
    rows = binder_focus()
    toml = '[lab]\nname = "x"\n[[dimensions.team]]\nname = "project"\ncolumn = "SubAccountName"\n'
    folder = write_lab(tmp_path, {"b.csv": rows}, toml)
    ingest_lab(folder)
    ledger = allocate(
        open_lab(folder, progress=False).costs(), open_lab(folder, progress=False).config.dimensions
    )
    found = {(team, f"{ds:%Y-%m}"): y for team, ds, y in ledger.monthly().iter_rows()}
    keys = {(row["SubAccountName"], (row["ChargePeriodStart"] or "")[:7]) for row in rows}
    assert set(found) == keys
    for name, month in keys:
        mine = [
            r for r in rows if r["SubAccountName"] == name and (r["ChargePeriodStart"] or "")[:7] == month
        ]
        assert found[name, month] == decimal_sum(r["BilledCost"] for r in mine)


# --- currencies and months -------------------------------------------------------------------------


def rate(month: str, source: str, target: str, value: str) -> Rate:
    return Rate.model_validate({"month": month, "from": source, "to": target, "rate": value})


TWO = bill(
    amounts("10"),
    amounts("3", BillingCurrency="EUR", ListCost=None),
    amounts("3", BillingCurrency="EUR", ChargePeriodStart=datetime(2026, 8, 31, tzinfo=UTC)),
)
RATES = [
    rate("2026-09", "EUR", "USD", "1.1"),
    rate("2026-08", "EUR", "USD", "1.1111111111111111118"),
    rate("2026-09", "USD", "EUR", "0.9"),
]


def test_convert_uses_each_charge_month_s_rate() -> None:
    entries = allocate(TWO, RULES).entries
    done = convert(entries, RATES, "USD")
    assert done["BillingCurrency"].unique().to_list() == ["USD"]
    assert dict(done.select("x_ChargeMonth", "EffectiveCost").sort("EffectiveCost").iter_rows()) == {
        "2026-08": Decimal("3.333333333333333335"),
        "2026-09": Decimal(10),
    }
    assert sorted(done["EffectiveCost"].to_list()) == [
        Decimal("3.3"),
        Decimal("3.333333333333333335"),
        Decimal(10),
    ]
    assert done["ListCost"].null_count() == 1
    assert dict(done.schema) == dict(entries.schema)
    assert done["x_Rows"].sum() == 3


def test_convert_names_the_missing_rate() -> None:
    entries = allocate(TWO, RULES).entries
    with pytest.raises(CurrencyError, match=r"no rate from EUR to USD for 2026-08.*\[\[rates\]\]"):
        convert(entries, RATES[:1], "USD")
    with pytest.raises(CurrencyError, match="from USD to CHF"):
        convert(entries.filter(pl.col("BillingCurrency") == "USD"), RATES, "CHF")


def test_convert_leaves_what_is_in_the_currency() -> None:
    entries = allocate(bill(amounts("1.5")), RULES).entries
    assert convert(entries, [], "USD").equals(entries)


def test_monthly_refuses_two_currencies() -> None:
    ledger = allocate(TWO, RULES)
    with pytest.raises(CurrencyError, match="EUR, USD cannot be added"):
        ledger.monthly()
    converted = monthly(convert(ledger.entries, RATES, "USD"), None)
    assert converted.rows() == [
        ("total", datetime(2026, 8, 1).date(), Decimal("3.333333333333333335")),
        ("total", datetime(2026, 9, 1).date(), Decimal("13.3")),
    ]


def test_monthly_by_dimension_column_and_metric(ledger: Ledger) -> None:
    day = datetime(2026, 9, 1).date()
    assert ledger.monthly().rows() == [
        ("ads", day, Decimal(5)),
        ("platform", day, Decimal(7)),
        ("search", day, Decimal("10.03")),
        (UNALLOCATED, day, Decimal("0.500000000000000001")),
    ]
    assert ledger.monthly("model", "BilledCost").rows() == [
        ("opus", day, Decimal("10.03")),
        ("unknown", day, Decimal("12.500000000000000001")),
    ]
    assert ledger.monthly("ServiceName")["unique_id"].to_list() == ["Model API", "Storage"]
    assert ledger.monthly(None).rows() == [("total", day, Decimal("22.530000000000000001"))]


def test_monthly_of_unknown_cost_is_unknown_not_zero() -> None:
    ledger = allocate(bill({"ListCost": None}), RULES)
    assert ledger.monthly(None, "ListCost")["y"].to_list() == [None]


def test_monthly_names_unknown_columns(ledger: Ledger) -> None:
    with pytest.raises(InputError, match=r"no column 'teem'.*dimensions: team"):
        ledger.monthly("teem")
    with pytest.raises(InputError, match="no column 'NetCost'"):
        ledger.monthly("team", "NetCost")


def test_every_dimension_can_have_rules() -> None:
    rules = Dimensions.model_validate({name: [{"name": name, "value": f"{name}!"}] for name in DIMENSIONS})
    entry = allocate(bill({}), rules).entries.row(0, named=True)
    assert all(entry[f"x_{name}"] == f"{name}!" for name in DIMENSIONS)
