"""Coverage that cannot leave 0 to 1, and a backlog whose own rules do what it promises."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from helpers import FOCUS_SAMPLE, csv_rows, decimal_sum
from hypothesis import given, settings
from hypothesis import strategies as st

from finops_lab import contracts
from finops_lab.allocation import UNALLOCATED, allocate, assign
from finops_lab.allocation.backlog import backlog
from finops_lab.allocation.coverage import coverage
from finops_lab.config import Dimensions
from finops_lab.contracts import AMOUNTS
from finops_lab.errors import ConfigError, InputError
from finops_lab.ingestion import registry
from finops_lab.ingestion.registry import ReadSettings
from finops_lab.lab import Lab, open_lab, sample_lab

RULES = Dimensions.model_validate(
    {
        "team": [
            {"name": "team tag", "tag": ["Team", "Cost-Center"]},
            {"name": "squad tag", "tag": ["squad", "team"], "where": {"ServiceName": "GPU nodes"}},
            {"name": "search account", "where": {"SubAccountName": "~^search-"}, "value": "search"},
        ],
        "model": [{"name": "meter", "extract": {"column": "SkuId", "pattern": "^([a-z]+)-"}}],
    }
)
TAGS = ("x_tag_team", "x_tag_cost_center")
SCHEMA = {**contracts.dtypes("costs"), **dict.fromkeys(TAGS, pl.String())}
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
}


def bill(rows: Sequence[dict[str, Any]]) -> pl.DataFrame:
    return pl.DataFrame([{**dict.fromkeys(SCHEMA), **DEFAULTS, **row} for row in rows], schema=SCHEMA)


def cost(amount: str | None, **fields: Any) -> dict[str, Any]:
    return {"EffectiveCost": None if amount is None else Decimal(amount), **fields}


def figures(table: pl.DataFrame) -> dict[str, tuple[Any, ...]]:
    """Return the one group's figures by definition."""
    assert table.height == 3
    return {row[0]: row[1:] for row in table.drop("BillingCurrency", "metric").iter_rows()}


# --- coverage: golden ------------------------------------------------------------------------------

ENTRIES = bill(
    [
        cost("100"),
        cost("40"),
        cost("20"),
        cost("-50"),
        cost("-10"),
        cost(None, ChargePeriodStart=datetime(2026, 10, 1, tzinfo=UTC)),
    ]
).with_columns(pl.Series("x_team", ["search", "ads", None, UNALLOCATED, "ads", "ads"]))


def test_golden_coverage() -> None:
    # Net cost would say (100 + 40 - 10) / 100 = 130 %.
    assert figures(coverage(ENTRIES)) == {
        "rows": (4, 6, None, None, 4 / 6),
        "gross_positive": (2, 3, Decimal(140), Decimal(160), 140 / 160),
        "absolute": (3, 5, Decimal(150), Decimal(220), 150 / 220),
    }


def test_unknown_amounts_are_in_no_sum() -> None:
    table = coverage(ENTRIES, by="x_ChargeMonth")
    assert table.columns[0] == "x_ChargeMonth"
    assert table["x_ChargeMonth"].to_list() == ["2026-09"] * 3 + ["2026-10"] * 3
    assert figures(table.filter(pl.col("x_ChargeMonth") == "2026-10").drop("x_ChargeMonth")) == {
        "rows": (1, 1, None, None, 1.0),
        "gross_positive": (0, 0, None, None, None),
        "absolute": (0, 0, None, None, None),
    }


def test_coverage_of_nothing_but_credits_and_zeros() -> None:
    entries = bill([cost("-5"), cost("0")]).with_columns(x_team=pl.lit("ads"))
    found = figures(coverage(entries))
    assert found["gross_positive"] == (0, 0, Decimal(0), Decimal(0), None)
    assert found["absolute"] == (2, 2, Decimal(5), Decimal(5), 1.0)
    assert figures(coverage(entries.tail(1)))["absolute"] == (1, 1, Decimal(0), Decimal(0), None)


def test_currencies_stay_apart_and_values_are_sorted() -> None:
    entries = bill(
        [cost("1", BillingCurrency="USD", ServiceName=None), cost("2", BillingCurrency="EUR"), cost("3")]
    ).with_columns(pl.Series("x_team", ["a", None, "b"]))
    table = coverage(entries, by="ServiceName").filter(pl.col("definition") == "absolute")
    assert table.select("ServiceName", "BillingCurrency", "covered", "total", "share").rows() == [
        ("Model API", "EUR", Decimal(0), Decimal(2), 0.0),
        ("Model API", "USD", Decimal(3), Decimal(3), 1.0),
        (None, "USD", Decimal(1), Decimal(1), 1.0),
    ]
    assert coverage(entries, by="BillingCurrency").equals(coverage(entries))


def test_other_dimensions_and_columns() -> None:
    entries = bill([cost("1", Tags="{ }"), cost("1", Tags='{"a": "b"}'), cost("2")]).with_columns(
        pl.Series("x_product", [UNALLOCATED, None, None])
    )
    share = {
        name: coverage(entries, name)["share"].to_list() for name in ("product", "x_product", "Tags", "SkuId")
    }
    assert share["product"] == share["x_product"] == share["Tags"] == [1 / 3, 0.25, 0.25]
    assert share["SkuId"] == [0.0, 0.0, 0.0]


def test_a_split_is_an_owner_and_counts_its_row_once() -> None:
    entries = pl.DataFrame(
        {
            "BillingCurrency": ["USD"] * 3,
            "x_team": ["search", "ads", UNALLOCATED],
            "x_AllocationMethod": ["telemetry", "telemetry", "dark"],
            "EffectiveCost": [Decimal(6), Decimal(3), Decimal(1)],
            "x_Rows": [1, 0, 0],
        }
    )
    found = figures(coverage(entries.lazy()))
    assert found["rows"][-1] == 1.0
    assert found["gross_positive"][-1] == found["absolute"][-1] == 0.9


def test_a_ledger_nets_charges_that_rows_keep_apart() -> None:
    rows = bill([cost("10", x_tag_team="ads"), cost("-4", x_tag_team="ads"), cost("4")])
    entries = allocate(rows.lazy(), RULES).entries
    assert figures(coverage(entries))["absolute"][-1] == 0.6
    assert figures(coverage(rows, dimensions=RULES))["absolute"][-1] == 14 / 18
    assert figures(coverage(entries))["rows"] == figures(coverage(rows, dimensions=RULES))["rows"]


def test_empty_bills_have_no_coverage() -> None:
    table = coverage(bill([]), by="model", dimensions=RULES)
    assert table.height == 0
    assert table.schema == coverage(bill([cost("1")]), by="model", dimensions=RULES).schema


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"metric": "NetCost"}, "no column 'NetCost'"),
        ({"dimension": "teem"}, "no column 'teem'.*did you mean 'team'"),
        ({"dimension": "product"}, "no column 'x_product'.*dimensions="),
        ({"by": "x_ChargeMonht"}, "no column 'x_ChargeMonht'"),
        ({"metric": "x_GpuCount"}, "x_GpuCount is Float64: amounts must be Decimal"),
    ],
)
def test_coverage_names_what_is_missing(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        coverage(ENTRIES, **options)
    with pytest.raises(ConfigError, match="looks at column 'Sku'"):
        wrong = Dimensions.model_validate({"team": [{"name": "a", "column": "Sku"}]})
        coverage(ENTRIES, dimensions=wrong)


# --- coverage: properties --------------------------------------------------------------------------

MONEY = st.decimals(min_value=-(10**9), max_value=10**9, places=18, allow_nan=False)
ROWS = st.fixed_dictionaries(
    {
        "EffectiveCost": MONEY | st.sampled_from([Decimal(0), Decimal(1), Decimal(-1), Decimal("1E-18")]),
        "ListCost": st.none() | MONEY,
        "BillingCurrency": st.sampled_from(["USD", "USD", "EUR"]),
        "ChargeCategory": st.sampled_from(["Usage", "Tax", "Credit"]),
        "ProviderName": st.sampled_from(["CloudOne", "CloudTwo"]),
        "ServiceName": st.sampled_from([None, "Model API", "GPU nodes"]),
        "SubAccountId": st.sampled_from([None, "1", "2"]),
        "SubAccountName": st.sampled_from([None, "gateway", "search-prod"]),
        "ResourceId": st.sampled_from([None, None, "", "node-1", '~n"o.d[e', "n/1"]),
        "ResourceName": st.sampled_from([None, "a", "b"]),
        "SkuId": st.sampled_from([None, "gpu-1", "tok\nens"]),
        "ChargeDescription": st.sampled_from([None, "Support", "~3 % of \\ use"]),
        "x_tag_team": st.sampled_from([None, None, "ads", "n/a"]),
        "x_tag_cost_center": st.sampled_from([None, None, "ops"]),
        "ChargePeriodStart": st.integers(0, 40).map(
            lambda d: datetime(2026, 8, 15, 23, tzinfo=UTC) + timedelta(days=d)
        ),
    }
)
BILLS = st.lists(ROWS, max_size=14)
NOBODY = (None, "", "n/a")


def owned(row: dict[str, Any]) -> bool:
    """Tell in plain Python whether `RULES` give the row a team."""
    tagged = row["x_tag_team"] not in NOBODY or row["x_tag_cost_center"] not in NOBODY
    return tagged or (row["SubAccountName"] or "").startswith("search-")


def shares(rows: list[dict[str, Any]], metric: str) -> dict[str, tuple[Any, ...]]:
    """Return coverage by definition in plain Python, without a currency's name."""
    known = [row for row in rows if row[metric] is not None]
    looked_at = {"rows": rows, "gross_positive": [r for r in known if r[metric] > 0], "absolute": known}
    found = {}
    for name, some in looked_at.items():
        mine = [row for row in some if owned(row)]
        if name == "rows":
            share = Fraction(len(mine), len(some)) if some else None
            found[name] = (len(mine), len(some), None, None, None if share is None else float(share))
            continue
        part, whole = (decimal_sum(r[metric].copy_abs() for r in group) for group in (mine, some))
        share = Fraction(part) / Fraction(whole) if whole else None
        money = (part, whole) if known else (None, None)
        found[name] = (len(mine), len(some), *money, None if share is None else float(share))
    return found


@settings(max_examples=60)
@given(BILLS, st.sampled_from(["EffectiveCost", "ListCost"]), st.randoms(use_true_random=False))
def test_a_plain_reference_agrees_and_no_share_leaves_0_to_1(
    rows: list[dict[str, Any]], metric: str, random: Any
) -> None:
    by = [("ProviderName", r["ProviderName"]) for r in rows]
    table = coverage(bill(rows), metric=metric, by="ProviderName", dimensions=RULES)
    assert table["share"].drop_nulls().is_between(0, 1).all()
    groups = {(value, r["BillingCurrency"]) for (_, value), r in zip(by, rows, strict=True)}
    assert table.height == 3 * len(groups)
    for provider, currency in groups:
        mine = [r for r in rows if (r["ProviderName"], r["BillingCurrency"]) == (provider, currency)]
        one = table.filter(pl.col("ProviderName") == provider, pl.col("BillingCurrency") == currency)
        assert figures(one.drop("ProviderName")) == shares(mine, metric)
    random.shuffle(rows)
    assert coverage(bill(rows), metric=metric, by="ProviderName", dimensions=RULES).equals(table)
    ready = assign(bill(rows).lazy(), RULES)
    assert coverage(ready, metric=metric, by="ProviderName").equals(table)


@settings(max_examples=50)
@given(
    st.lists(st.tuples(MONEY, st.sampled_from([None, "ads", UNALLOCATED])), min_size=1, max_size=8), st.data()
)
def test_cutting_an_entry_in_two_changes_no_share(entries: list[tuple[Decimal, Any]], data: Any) -> None:
    def table(rows: list[tuple[Decimal, Any, int]]) -> pl.DataFrame:
        names = {"EffectiveCost": SCHEMA["EffectiveCost"], "x_team": pl.String(), "x_Rows": pl.Int64()}
        frame = pl.DataFrame(rows, schema=names, orient="row").with_columns(BillingCurrency=pl.lit("USD"))
        return coverage(frame).select("definition", "covered", "total", "share")

    whole = [(amount, team, 1) for amount, team in entries]
    at = data.draw(st.integers(0, len(entries) - 1))
    amount, team = entries[at]
    first = data.draw(
        st.decimals(min_value=min(amount, Decimal(0)), max_value=max(amount, Decimal(0)), places=18)
    )
    rest = decimal_sum([amount, first.copy_negate()])
    cut = [*whole[:at], (first, team, 1), (rest, team, 0), *whole[at + 1 :]]
    assert table(cut).equals(table(whole))


# --- backlog ---------------------------------------------------------------------------------------

NODE = {"ServiceName": "GPU nodes", "SubAccountId": "7", "SubAccountName": "gateway", "ResourceId": "i-1"}
GOLDEN = [
    cost("50", x_tag_team="ads", **NODE),
    cost("20", ResourceName="node b", ChargePeriodStart=datetime(2026, 9, 5, tzinfo=UTC), **NODE),
    cost("-10", ResourceName="node a", ChargeCategory="Credit", **NODE),
    cost("12", SkuId="quill-in", ChargeDescription="Input tokens", SubAccountName="gateway"),
    cost("3", SkuId="quill-in", ChargeDescription="Tokens in", SubAccountName="gateway"),
    cost("-5", ChargeCategory="Credit", ServiceName="Credits", ChargeDescription="Promotion"),
    cost("7", BillingCurrency="EUR", ResourceId="vm"),
]


def test_golden_backlog() -> None:
    table = backlog(bill(GOLDEN), RULES)
    shown = table.select(
        "BillingCurrency",
        "rank",
        "ResourceId",
        "ResourceName",
        "SkuId",
        "ChargeDescription",
        "charge_categories",
        "first_day",
        "last_day",
        "rows",
        "absolute_amount",
        "net_amount",
        "tag_keys",
        "action",
    )
    day, later = date(2026, 9, 3), date(2026, 9, 5)
    keys = "Team, Cost-Center"
    assert shown.rows() == [
        ("EUR", 1, "vm", None, None, None, "Usage", day, day, 1, 7, 7, keys, "tag"),
        ("USD", 1, "i-1", "node a", None, None, "Credit, Usage", day, later, 2, 30, 10, f"{keys}, squad", "tag"),
        ("USD", 2, None, None, "quill-in", None, "Usage", day, day, 2, 15, 15, keys, "rule"),
        ("USD", 3, None, None, None, "Promotion", "Credit", day, day, 1, 5, -5, keys, "rule"),
    ]  # fmt: skip
    usd = table.filter(pl.col("BillingCurrency") == "USD")
    assert usd["share"].to_list() == [0.6, 0.3, 0.1]
    assert usd["cumulative_share"].to_list() == [0.6, 0.9, 1.0]
    assert usd["coverage_after"].to_list() == [0.8, 0.95, 1.0]
    assert usd["hint"].to_list() == [
        "Tag 'node a' with Team or Cost-Center or squad; for the days already billed, add the rule.",
        "No resource to tag: add the rule, or share the cost by a policy.",
        "No resource to tag: add the rule, or share the cost by a policy.",
    ]
    assert usd["rule"][1] == (
        '[[dimensions.team]]\nname = "CloudOne / gateway / Model API / quill-in / Usage"\n'
        'where = { ProviderName = "CloudOne", SubAccountName = "gateway", ServiceName = "Model API", '
        'SkuId = "quill-in", ChargeCategory = "Usage" }\nvalue = "<team>"'
    )


def test_the_top_is_cut_per_currency_and_keeps_its_shares() -> None:
    whole = backlog(bill(GOLDEN), RULES)
    assert backlog(bill(GOLDEN), RULES, top=1).equals(whole.filter(pl.col("rank") == 1))
    assert whole.equals(backlog(bill(GOLDEN).lazy(), RULES, top=3))


def test_ties_are_listed_by_name() -> None:
    names = [f"node-{n:02}" for n in range(40)]
    rows = bill([cost("1", ResourceId=name) for name in reversed(names)])
    assert backlog(rows, RULES)["ResourceId"].to_list() == names


def test_the_first_of_several_names_is_shown() -> None:
    rows = [cost("1", ResourceId="i", ResourceName=name) for name in ("b", "a", None, "c")]
    assert backlog(bill(rows), RULES)["ResourceName"].to_list() == ["a"]


LIMITED = Dimensions.model_validate(
    {
        "team": [
            {"name": "new", "tag": "team", "from": "2026-09-10"},
            {"name": "of 7", "tag": "squad", "account": "7", "to": "2026-09-20"},
            {"name": "of the feature", "dimension": "feature", "map": {"chat": "assistants"}},
        ],
        "feature": [{"name": "tag", "tag": "cost center"}],
    }
)


def test_rules_of_days_accounts_and_other_dimensions() -> None:
    def on(day: int) -> dict[str, Any]:
        return {
            "ChargePeriodStart": datetime(2026, 9, day, tzinfo=UTC),
            "SubAccountId": "7",
            "ResourceId": "i",
        }

    rows = bill(
        [
            cost("8", **on(9)),
            cost("4", **on(15)),
            cost("2", **{**on(25), "SubAccountId": None}),
            cost("1", x_tag_team="ads", **on(9)),
            cost("5", x_tag_team="ads", **on(10)),
            cost("7", x_tag_cost_center="chat"),
            cost("3", **{**on(15), "SubAccountId": "8"}),
        ]
    )
    found = backlog(rows, LIMITED).select("first_day", "absolute_amount", "tag_keys", "coverage_after")
    assert found.rows() == [
        (date(2026, 9, 9), Decimal(9), "squad", 21 / 30),
        (date(2026, 9, 15), Decimal(4), "team, squad", 25 / 30),
        (date(2026, 9, 15), Decimal(3), "team", 28 / 30),
        (date(2026, 9, 25), Decimal(2), "team", 1.0),
    ]
    assert figures(coverage(rows, dimensions=LIMITED))["absolute"] == (2, 7, Decimal(12), Decimal(30), 0.4)


def test_a_dimension_whose_rules_read_no_tag() -> None:
    line = backlog(bill(GOLDEN[:1]), RULES, "model").row(0, named=True)
    assert line["tag_keys"] is None
    assert line["action"] == "rule"
    assert line["hint"] == "No rule of model reads a tag here: add the rule."
    assert backlog(bill(GOLDEN[:1]), RULES).is_empty()
    assert backlog(bill(GOLDEN[:1]), Dimensions())["coverage_after"].to_list() == [1.0]


def test_a_tag_that_is_read_through_a_column() -> None:
    rules = Dimensions.model_validate(
        {"team": [{"name": "a", "column": "x_tag_team"}, {"name": "b", "tag": "Team"}]}
    )
    assert backlog(bill([cost("1")]), rules)["tag_keys"].to_list() == ["team"]


def test_an_owner_named_unallocated_is_none() -> None:
    line = backlog(bill([cost("1", x_tag_team=UNALLOCATED), cost("3", x_tag_team="ads")]), RULES)
    assert line["coverage_after"].to_list() == [1.0]
    assert line["absolute_amount"].to_list() == [Decimal(1)]


def test_unknown_and_zero_amounts_come_last_without_a_share() -> None:
    rows = bill([cost("0", ResourceId="z"), cost("0", ResourceId="a"), cost("0", ListCost=None, SkuId="n")])
    table = backlog(rows, RULES)
    assert table["ResourceId"].to_list() == ["a", "z", None]
    assert table["share"].to_list() == table["coverage_after"].to_list() == [None] * 3
    listed = backlog(rows, RULES, metric="ListCost")
    assert listed["absolute_amount"].to_list() == [Decimal(1), Decimal(1), None]
    assert listed["share"].to_list() == [0.5, 0.5, None]
    assert listed["cumulative_share"].to_list() == [0.5, 1.0, 1.0]
    assert listed["metric"].unique().to_list() == ["ListCost"]


def test_counts_of_rows_that_were_added_up_before() -> None:
    rows = bill([cost("1"), cost("2")]).with_columns(x_Rows=pl.lit(3, pl.Int64))
    assert backlog(rows, RULES)["rows"].to_list() == [6]


def test_an_empty_bill_has_no_backlog() -> None:
    table = backlog(bill([]), RULES)
    assert table.is_empty()
    assert table.schema == backlog(bill(GOLDEN), RULES).schema


def test_the_backlog_refuses_what_it_cannot_do() -> None:
    with pytest.raises(InputError, match="'teem' is no dimension"):
        backlog(bill(GOLDEN), RULES, "teem")
    with pytest.raises(InputError, match="top must be 1 or more"):
        backlog(bill(GOLDEN), RULES, top=0)
    with pytest.raises(InputError, match="no column 'SkuId'"):
        backlog(bill(GOLDEN).drop("SkuId"), RULES)
    with pytest.raises(ConfigError, match="looks at column 'Sku'"):
        backlog(bill(GOLDEN), Dimensions.model_validate({"team": [{"name": "a", "column": "Sku"}]}))


def thing(row: dict[str, Any]) -> tuple[Any, ...]:
    """Return what a row is about: place, and resource, or SKU or description and category."""
    place = tuple(row[name] for name in ("ProviderName", "SubAccountId", "SubAccountName", "ServiceName"))
    if row["ResourceId"]:
        return (*place, row["ResourceId"], None, None, None)
    kind = row["ChargeCategory"]
    return (*place, None, row["SkuId"], None if row["SkuId"] else row["ChargeDescription"], kind)


@settings(max_examples=60)
@given(BILLS, st.randoms(use_true_random=False))
def test_a_plain_backlog_agrees(rows: list[dict[str, Any]], random: Any) -> None:
    table = backlog(bill(rows), RULES)
    for currency in {row["BillingCurrency"] for row in rows}:
        mine = [row for row in rows if row["BillingCurrency"] == currency]
        whole = decimal_sum(row["EffectiveCost"].copy_abs() for row in mine)
        groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
        for row in mine:
            if not owned(row):
                groups.setdefault(thing(row), []).append(row)
        money = {k: decimal_sum(r["EffectiveCost"].copy_abs() for r in g) for k, g in groups.items()}
        missing = decimal_sum(money.values())
        order = sorted(groups, key=lambda k: (-money[k], [(v is None, v or "") for v in k]))
        lines = table.filter(pl.col("BillingCurrency") == currency)
        assert lines["absolute_amount"].to_list() == [money[k] for k in order]
        found = lines.select(
            "ProviderName", "SubAccountId", "SubAccountName", "ServiceName", "ResourceId", "SkuId"
        )
        assert found.rows() == [k[:6] for k in order]
        assert lines["rows"].to_list() == [len(groups[k]) for k in order]
        days = [sorted(r["ChargePeriodStart"].date() for r in groups[k]) for k in order]
        assert lines.select("first_day", "last_day").rows() == [(d[0], d[-1]) for d in days]
        assert lines["net_amount"].to_list() == [
            decimal_sum(r["EffectiveCost"] for r in groups[k]) for k in order
        ]
        for n, after in enumerate(lines["coverage_after"].to_list(), 1):
            left = Fraction(missing) - Fraction(decimal_sum(money[k] for k in order[:n]))
            assert after == (float(1 - left / Fraction(whole)) if whole else None)
    random.shuffle(rows)
    assert backlog(bill(rows), RULES).equals(table)


@settings(max_examples=50)
@given(BILLS.filter(len), st.integers(1, 6))
def test_following_the_backlog_reaches_the_coverage_it_promises(rows: list[dict[str, Any]], top: int) -> None:
    rows = [{**row, "BillingCurrency": "USD"} for row in rows]
    table = backlog(bill(rows), RULES, top=top)
    if table.is_empty():
        return
    written = tomllib.loads("\n".join(dict.fromkeys(table["rule"])).replace("<team>", "labelled"))
    extra = {rule["name"]: rule for rule in written["dimensions"]["team"]}
    followed = Dimensions.model_validate({"team": [*RULES.team, *extra.values()]})
    promised = table["coverage_after"][-1]
    reached = figures(coverage(bill(rows), dimensions=followed))["absolute"][-1]
    # A rule cannot ask for a blank: it may label more than its lines, never less.
    assert (promised is None) == (reached is None)
    assert promised is None or reached >= promised


def test_rules_of_whole_lines_reach_exactly_what_is_promised() -> None:
    known = {"SubAccountId": "1", "SubAccountName": "gateway"}
    rows = [
        cost("9", ResourceId="~n.o[de", **known),
        cost("-8", ResourceId="node", **known),
        cost("7", SkuId='a"b\\', **known),
        cost("6", ChargeDescription="~3 %\n\x7f", **known),
        cost("5", **known),
        cost("65", x_tag_team="ads", ResourceId="node"),
    ]
    table = backlog(bill(rows), RULES)
    assert table["coverage_after"].to_list() == [0.74, 0.82, 0.89, 0.95, 1.0]
    for top in range(1, 5):
        written = tomllib.loads("\n".join(table["rule"][:top]))["dimensions"]["team"]
        followed = Dimensions.model_validate({"team": [*RULES.team, *written]})
        reached = figures(coverage(bill(rows), dimensions=followed))["absolute"][-1]
        assert reached == table["coverage_after"][top - 1]


@pytest.mark.parametrize(
    ("column", "key"), [("team", "Team"), ("cost_center", "Cost-Center"), ("squad", "squad")]
)
def test_the_tag_keys_are_those_that_would_label_a_line(column: str, key: str) -> None:
    rows = bill(GOLDEN)
    listed = backlog(rows, RULES)
    tag = (
        pl.lit(None, dtype=pl.String) if f"x_tag_{column}" not in rows.columns else pl.col(f"x_tag_{column}")
    )
    left = backlog(rows.with_columns(tag.fill_null("zz").alias(f"x_tag_{column}")), RULES)
    would = listed.filter(~pl.col("tag_keys").str.split(", ").list.contains(key))
    assert left["rule"].to_list() == would["rule"].to_list()
    assert would.height < listed.height


# --- the real sample and the sample lab --------------------------------------------------------------


@pytest.fixture(scope="module")
def focus() -> pl.LazyFrame:
    if not FOCUS_SAMPLE.is_file():
        pytest.skip("no real FOCUS sample beside this checkout")
    return registry.detect(FOCUS_SAMPLE)[0].read(FOCUS_SAMPLE, ReadSettings(tag_keys=("business_unit",)))


def test_the_real_focus_sample_by_any_tag(focus: pl.LazyFrame) -> None:
    found = figures(coverage(focus, "Tags", "BilledCost"))
    assert found["rows"][:2] == (711, 1000)
    assert {name: f"{row[-1]:.1%}" for name, row in found.items()} == {
        "rows": "71.1%",
        "gross_positive": "96.1%",
        "absolute": "86.5%",
    }
    lines = csv_rows(FOCUS_SAMPLE)
    tagged = [Decimal(r["BilledCost"]) for r in lines if r["Tags"] not in ("NULL", "", "{}")]
    every = [Decimal(r["BilledCost"]) for r in lines]
    assert found["absolute"][2:4] == tuple(decimal_sum(map(abs, some)) for some in (tagged, every))
    # The definition that is not offered: net cost says more than all of it.
    net = Fraction(decimal_sum(tagged)) / Fraction(decimal_sum(every))
    assert f"{float(net):.1%}" == "108.3%"


def test_the_backlog_of_the_real_focus_sample(focus: pl.LazyFrame) -> None:
    rules = Dimensions.model_validate({"team": [{"name": "unit", "tag": "business_unit"}]})
    table = backlog(focus, rules, top=1000, metric="BilledCost")
    lines = csv_rows(FOCUS_SAMPLE)
    tags = [json.loads(r["Tags"]) if r["Tags"] not in ("NULL", "") else {} for r in lines]
    open_ = [r for r, of_row in zip(lines, tags, strict=True) if not of_row.get("business_unit")]
    assert decimal_sum(table["absolute_amount"]) == decimal_sum(abs(Decimal(r["BilledCost"])) for r in open_)
    assert decimal_sum(table["net_amount"]) == decimal_sum(r["BilledCost"] for r in open_)
    assert table["rows"].sum() == len(open_)
    # The untagged credit that puts net coverage above 100 % leads the list.
    first = table.row(0, named=True)
    assert first["charge_categories"] == "Credit"
    assert first["net_amount"] < 0
    assert table["coverage_after"][-1] == 1.0


@pytest.fixture(scope="module")
def lab() -> Lab:
    return open_lab(sample_lab(), progress=False)


def test_the_shared_gateway_leads_what_can_be_tagged(lab: Lab) -> None:
    table = backlog(lab.costs(), lab.config.dimensions)
    first = table.filter(pl.col("action") == "tag").row(0, named=True)
    assert first["SubAccountName"] == "shared-gateway"
    assert first["tag_keys"] == "team"
    truth = json.loads(Path(lab.folder, "truth.json").read_text(encoding="utf-8"))["gateway_without_team"]
    gateway = table.filter(pl.col("SubAccountName") == truth["sub_account"])
    assert decimal_sum(gateway["net_amount"]) == decimal_sum(truth["effective_cost_by_month"].values())
    # Nothing but tax, credits, data transfer, support and commitments costs more without a team.
    others = table.filter(pl.col("rank") < first["rank"])
    assert not others["action"].is_in(["tag"]).any()
    assert first["rank"] <= 10


def test_the_lab_s_backlog_and_coverage_tell_one_story(lab: Lab) -> None:
    rules = lab.config.dimensions
    covered = figures(coverage(lab.costs(), dimensions=rules))["absolute"]
    table = backlog(lab.costs(), rules, top=10_000)
    assert decimal_sum([covered[2], *table["absolute_amount"]]) == covered[3]
    assert table["rows"].sum() == covered[1] - covered[0]
    assert table["coverage_after"].is_sorted()
    assert table["coverage_after"][-1] == 1.0
    months = coverage(allocate(lab.costs(), rules).entries, by="x_ChargeMonth")
    assert months["share"].is_between(0, 1).all()
    assert months.filter(pl.col("definition") == "rows")["total_rows"].sum() == covered[1]
