"""Rules of dimensions: virtual tags, days, accounts, folding, shadows; plain Python agrees."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from helpers import decimal_sum
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from finops_lab import contracts
from finops_lab.allocation import allocate, assign, rule_report
from finops_lab.allocation.dimensions import derive, inputs
from finops_lab.config import Dimensions, Rule, load
from finops_lab.config.dimensions import Account, with_accounts
from finops_lab.contracts import AMOUNTS, DIMENSIONS
from finops_lab.errors import ConfigError, InputError
from finops_lab.money import MONEY

SCHEMA: dict[str, Any] = {
    "x_tag_team": pl.String(),
    "x_tag_squad": pl.String(),
    "x_tag_stage": pl.String(),
    "ServiceName": pl.String(),
    "SubAccountId": pl.String(),
    "BillingAccountId": pl.String(),
    "x_ChargeDate": pl.Date(),
    "BillingCurrency": pl.String(),
    "BilledCost": MONEY,
    "EffectiveCost": MONEY,
    "x_Rows": pl.Int64(),
}
PLAIN: dict[str, Any] = {
    "BillingAccountId": "payer",
    "x_ChargeDate": date(2026, 3, 15),
    "BillingCurrency": "USD",
    "BilledCost": Decimal(1),
    "EffectiveCost": Decimal(1),
    "x_Rows": 1,
}


def frame(*rows: Mapping[str, Any], **more: Any) -> pl.LazyFrame:
    schema = {**SCHEMA, **more}
    full = [{**dict.fromkeys(schema), **PLAIN, **row} for row in rows]
    return pl.DataFrame(full, schema=schema).lazy()


def rules(**dimensions: list[dict[str, Any]]) -> Dimensions:
    return Dimensions.model_validate(dimensions)


def given_to(dimensions: Dimensions, dimension: str, *rows: Mapping[str, Any]) -> list[tuple[Any, Any]]:
    found = assign(frame(*rows), dimensions).collect()
    return list(found.select(f"x_{dimension}", f"_rule_{dimension}").iter_rows())


# --- virtual tags ----------------------------------------------------------------------------------

CHAIN = rules(
    team=[
        {"name": "tag", "tag": "team"},
        {"name": "team of the feature", "dimension": "feature", "map": {"answers": "search", "ads": "n/a"}},
    ],
    feature=[{"name": "squad", "tag": "squad"}],
    business_unit=[
        {"name": "unit of the team", "dimension": "team", "where": {"x_team": ["search", "~^web"]}},
        {"name": "rest", "value": "group"},
    ],
)


def test_a_virtual_tag_takes_the_value_of_another_dimension() -> None:
    rows = [
        {"x_tag_team": "web-1", "x_tag_squad": "answers"},
        {"x_tag_squad": "answers"},
        {"x_tag_squad": "chat"},
        {"x_tag_squad": "ads"},
        {},
    ]
    found = assign(frame(*rows), CHAIN).collect()
    assert found.select("x_team", "_rule_team", "x_feature", "x_business_unit", "_rule_business_unit").rows() == [
        ("web-1", "tag", "answers", "web-1", "unit of the team"),
        ("search", "team of the feature", "answers", "search", "unit of the team"),
        ("chat", "team of the feature", "chat", "group", "rest"),
        (None, None, "ads", "group", "rest"),  # mapped to a spelling of nobody
        (None, None, None, "group", "rest"),
    ]  # fmt: skip


def test_dimensions_are_resolved_in_the_order_of_their_needs_whatever_the_order_of_names() -> None:
    # team is first in the ledger and needs all others here.
    names = list(DIMENSIONS)
    chain = {a: [{"name": "next", "dimension": b}] for a, b in pairwise(names)}
    dimensions = rules(**chain, business_unit=[{"name": "tag", "tag": "team"}])
    assert [group for group in dimensions.stages() if group] == [(name,) for name in reversed(names)]
    assert given_to(dimensions, "team", {"x_tag_team": "t"}) == [("t", "next")]


def test_unallocated_is_no_value_to_take_over() -> None:
    dimensions = rules(
        team=[{"name": "nobody yet", "value": "unallocated"}],
        product=[{"name": "as the team", "dimension": "team"}],
    )
    assert given_to(dimensions, "product", {}) == [(None, None)]


def test_only_virtual_tags_see_dimensions_others_see_the_bill() -> None:
    plain = {"name": "own column", "column": "x_team", "where": {"x_feature": "bill"}}
    virtual = {"name": "virtual", "dimension": "team"}
    dimensions = rules(
        team=[{**plain, "map": {"bill's": "mapped"}}],
        feature=[{"name": "tag", "tag": "squad"}],
        product=[
            {**virtual, "where": {"x_feature": "bill"}},
            {**virtual, "name": "v2", "where": {"x_feature": "tag"}},
        ],
        region=[plain, virtual],
    )
    row = {"x_team": "bill's", "x_feature": "bill", "x_tag_squad": "tag"}
    rows = frame(row, x_team=pl.String(), x_feature=pl.String())
    found = assign(rows, dimensions).collect()
    assert found.select("x_team", "x_feature", "x_product", "x_region").rows() == [
        ("mapped", "tag", "mapped", "bill's")
    ]
    assert inputs(dimensions) == ["x_team", "x_feature", "x_tag_squad"]
    report = rule_report(rows, dimensions)
    assert report.filter(pl.col("rule") != "(no rule)").select("dimension", "rule", "status").rows() == [
        ("team", "own column", "used"),
        ("product", "virtual", "caught nothing"),
        ("product", "v2", "used"),
        ("feature", "tag", "used"),
        ("region", "own column", "used"),
        ("region", "virtual", "shadowed"),
    ]


def test_columns_keep_their_order_and_private_ones_are_gone() -> None:
    found = assign(frame({}), CHAIN).collect_schema().names()
    assert found == [*SCHEMA, *[n for d in DIMENSIONS for n in (f"x_{d}", f"_rule_{d}")]]


@pytest.mark.parametrize(
    ("dimensions", "words"),
    [
        (
            {
                "feature": [{"name": "b", "dimension": "team"}],
                "team": [{"name": "t", "tag": "t"}, {"name": "a", "dimension": "feature"}],
            },
            r"circle: team from feature from team \(rules 'a', 'b'\)",
        ),
        ({"region": [{"name": "a", "dimension": "region"}]}, r"circle: region from region \(rules 'a'\)"),
        (
            {
                "customer": [{"name": "c", "dimension": "product"}],
                "model": [{"name": "m", "dimension": "region", "where": {"x_customer": "c"}}],
                "product": [{"name": "p", "dimension": "model"}],
            },
            r"circle: product from model from customer from product \(rules 'p', 'm', 'c'\)",
        ),
        (
            {"team": [{"name": "a", "dimension": "feature", "where": {"x_team": "x"}}]},
            r"circle: team from team \(rules 'a'\)",
        ),
    ],
)
def test_a_circle_is_refused_by_name(dimensions: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        rules(**dimensions)


def test_a_circle_in_the_file_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "finops.toml").write_text(
        '[lab]\nname = "x"\n[[dimensions.team]]\nname = "a"\ndimension = "feature"\n'
        '[[dimensions.feature]]\nname = "b"\ndimension = "team"\n'
    )
    with pytest.raises(ConfigError, match=r"finops\.toml.*team from feature from team"):
        load(tmp_path)


def test_a_plain_rule_on_a_dimension_says_what_sees_dimensions() -> None:
    dimensions = rules(team=[{"name": "a", "value": "v", "where": {"x_feature": "f"}}])
    words = r"'a' of dimension team looks at column 'x_feature'.*dimension = \"feature\""
    with pytest.raises(ConfigError, match=words):
        assign(frame({}), dimensions)


# --- derive ----------------------------------------------------------------------------------------


def parts(**columns: Sequence[Any]) -> pl.LazyFrame:
    return pl.LazyFrame(columns, schema={name: SCHEMA.get(name, pl.String()) for name in columns})


def test_derive_fills_nulls_by_virtual_tags_alone_in_order() -> None:
    rows = parts(
        x_tag_team=["tagged", None, None, None],
        x_team=[None, "ads", None, "unallocated"],
        x_feature=["answers", "answers", None, "answers"],
        x_business_unit=[None, None, None, None],
        _rule_team=[None, "tag", None, None],
    )
    found = derive(rows, CHAIN).collect()
    assert found.columns == rows.collect_schema().names()
    assert found.rows() == [
        ("tagged", "search", "answers", "search", "team of the feature"),
        (None, "ads", "answers", None, "tag"),  # ads is not in the where of business_unit
        (None, None, None, None, None),
        (None, "unallocated", "answers", None, None),
    ]


def test_derive_without_virtual_tags_changes_nothing() -> None:
    rows = parts(x_team=[None, "a"])
    dimensions = rules(team=[{"name": "tag", "tag": "team"}, {"name": "rest", "value": "v"}])
    assert_frame_equal(derive(rows, dimensions), rows)


def test_derive_heeds_days_accounts_and_columns() -> None:
    dimensions = rules(
        team=[
            {
                "name": "a",
                "dimension": "feature",
                "from": "2026-03-02",
                "account": "acct",
                "where": {"ServiceName": "Model API", "x_tag_Stage": ["prod", "~^p"]},
            },
            {"name": "plain", "column": "RegionId"},
        ]
    )
    assert inputs(dimensions, virtual=True) == [
        "ServiceName",
        "x_tag_stage",
        "SubAccountId",
        "BillingAccountId",
        "x_ChargeDate",
    ]
    fits = {
        "x_team": None,
        "x_feature": "f",
        "ServiceName": "Model API",
        "x_tag_stage": "p1",
        "SubAccountId": "acct",
        "BillingAccountId": "payer",
        "x_ChargeDate": date(2026, 3, 2),
    }
    spoilt = [
        {},
        {"ServiceName": "x"},
        {"x_tag_stage": None},
        {"SubAccountId": None},
        {"x_ChargeDate": date(2026, 3, 1)},
    ]
    rows = [{**fits, **change} for change in spoilt]
    found = derive(parts(**{name: [row[name] for row in rows] for name in fits}), dimensions).collect()
    assert found["x_team"].to_list() == ["f", None, None, None, None]


@pytest.mark.parametrize(
    ("absent", "error", "words"),
    [
        ("x_team", InputError, "'a' of dimension team needs x_team, which the rows do not have"),
        ("x_feature", InputError, "'a' of dimension team needs x_feature"),
        ("x_product", InputError, "'a' of dimension team needs x_product"),
        ("ServiceName", ConfigError, "'a' of dimension team looks at column 'ServiceName', which these rows"),
        ("x_ChargeDate", InputError, "column x_ChargeDate: rule 'a' of dimension team holds for some days"),
    ],
)
def test_derive_names_what_rows_lack(absent: str, error: type[InputError], words: str) -> None:
    where = {"ServiceName": "s", "x_product": "p"}
    dimensions = rules(
        team=[{"name": "a", "dimension": "feature", "to": date(2026, 3, 2), "where": where}],
    )
    names = {"x_team", "x_feature", "x_product", "ServiceName", "x_ChargeDate"} - {absent}
    with pytest.raises(error, match=words):
        derive(parts(**{name: [None] for name in sorted(names)}), dimensions)


# --- days of use -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "held"),
    [
        ({"from": "2026-03-02", "to": "2026-03-04"}, [2, 3, 4]),
        ({"from": "2026-03-03"}, [3, 4, 5]),
        ({"to": "2026-03-02"}, [1, 2]),
        ({"from": date(2026, 3, 3), "to": "2026-03-03"}, [3]),
        ({}, [1, 2, 3, 4, 5, None]),
    ],
)
def test_a_rule_holds_from_its_first_to_its_last_day(limits: dict[str, Any], held: list[int | None]) -> None:
    days = [1, 2, 3, 4, 5, None]
    dimensions = rules(team=[{"name": "a", "value": "v", **limits}])
    rows = [{"x_ChargeDate": None if d is None else date(2026, 3, d)} for d in days]
    found = assign(frame(*rows), dimensions).collect()["x_team"]
    assert [d for d, value in zip(days, found, strict=True) if value == "v"] == held
    assert inputs(dimensions) == (["x_ChargeDate"] if limits else [])


def test_the_day_is_needed_only_where_a_rule_has_a_range() -> None:
    rows = frame({"x_tag_team": "t"}).drop("x_ChargeDate")
    assert assign(rows, rules(team=[{"name": "a", "tag": "team"}])).collect()["x_team"].to_list() == ["t"]
    ranged = rules(team=[{"name": "a", "tag": "team", "from": "2026-03-01"}])
    words = (
        r"column x_ChargeDate: rule 'a' of dimension team .*no day of use\. Hint: add x_ChargeDate \(Date\)"
    )
    with pytest.raises(InputError, match=words):
        assign(rows, ranged)
    moments = rows.with_columns(pl.lit(datetime(2026, 3, 1, 5, tzinfo=UTC)).alias("x_ChargeDate"))
    with pytest.raises(InputError, match="no day of use"):  # a moment is no day: `to` would cut it off
        assign(moments, ranged)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("from", "2026-03", "a day must be written like 2026-10-31, not '2026-03'"),
        ("to", "2026-3-1", "a day must be written like"),
        ("to", 20260301, "a day must be written like"),
        ("from", datetime(2026, 3, 1, 5, tzinfo=UTC), "a day must be written like"),
        ("from", "2026-02-30", "'2026-02-30' is no day of the calendar"),
        ("to", "2026-01-31", "the day in `to` is before the day in `from`"),
    ],
)
def test_wrong_days_are_refused(key: str, value: Any, words: str) -> None:
    rule = {"name": "a", "value": "v", "from": "2026-02-01", "to": "2026-02-02", key: value}
    with pytest.raises(ValueError, match=words):
        Rule.model_validate(rule)


# --- folding and spelling --------------------------------------------------------------------------


def test_fold_groups_spellings_before_the_map() -> None:
    rows = [
        {"x_tag_team": value} for value in ("Search", " search", "SRCH ", "srch", "Ads", "ÉQUIPE", " N/A")
    ]
    plain = rules(team=[{"name": "a", "tag": "team", "map": {"srch": "Search"}}])
    assert [value for value, _ in given_to(plain, "team", *rows)] == [
        "Search", "search", "SRCH", "Search", "Ads", "ÉQUIPE", None,
    ]  # fmt: skip
    fold = rules(team=[{"name": "a", "tag": "team", "fold": True, "map": {" Srch": "Search team"}}])
    assert [value for value, _ in given_to(fold, "team", *rows)] == [
        "search", "search", "Search team", "Search team", "ads", "équipe", None,
    ]  # fmt: skip


def test_fold_reads_any_source_but_a_literal() -> None:
    row = {"ServiceName": "Model API", "x_tag_team": "T"}
    dimensions = rules(
        team=[{"name": "a", "tag": "team"}],
        product=[{"name": "b", "column": "ServiceName", "fold": True}],
        model=[
            {"name": "c", "extract": {"column": "ServiceName", "pattern": "^(Mod)"}, "fold": True},
        ],
        feature=[{"name": "d", "dimension": "team", "fold": True}],
    )
    found = assign(frame(row), dimensions).collect()
    assert found.select("x_team", "x_product", "x_model", "x_feature").rows() == [
        ("T", "model api", "mod", "t")
    ]
    with pytest.raises(ValueError, match="fold is for values that rows bring"):
        Rule(name="a", value="V", fold=True)


def test_a_folded_map_has_one_name_per_value() -> None:
    keys = {"Srch": "search", "srch ": "find"}
    with pytest.raises(ValueError, match=r"map gives 'srch ' two names, 'search' and 'find': fold is set"):
        Rule(name="a", tag="t", fold=True, map=keys)  # type: ignore[arg-type]
    assert Rule(name="a", tag="t", map=keys).map == keys  # type: ignore[arg-type]
    assert Rule(name="a", tag="t", fold=True, map=dict.fromkeys(keys, "s")).map  # type: ignore[arg-type]


def test_tag_columns_are_found_however_their_key_is_spelled() -> None:
    row = {"x_tag_stage": "prod", "x_tag_team": "t"}
    for key in ("Stage", "stage", " STAGE "):
        dimensions = rules(
            team=[{"name": "a", "column": "x_tag_Team", "where": {f"x_tag_{key}": "prod"}}],
            product=[{"name": "a", "extract": {"column": f"x_tag_{key}", "pattern": "(p.)"}}],
        )
        assert given_to(dimensions, "team", row) == [("t", "a")]
        assert given_to(dimensions, "product", row) == [("pr", "a")]
    both = rules(team=[{"name": "a", "value": "v", "where": {"x_tag_Stage": "prod", "x_tag_stage": "~^d"}}])
    assert given_to(both, "team", row) == [(None, None)]


# --- accounts --------------------------------------------------------------------------------------

ACCOUNTS = (
    Account(id="0012", name="production", team="search", environment="prod"),
    Account(id="payer", team="platform"),
    Account(id=" 0099 ", environment="dev"),
)


def test_charges_inherit_from_their_account_what_no_rule_gives() -> None:
    own = rules(team=[{"name": "tag", "tag": "team"}])
    dimensions = with_accounts(own, ACCOUNTS)
    rows = [
        {"SubAccountId": "0012", "x_tag_team": "ads"},
        {"SubAccountId": " 0012"},
        {"SubAccountId": None},
        {"SubAccountId": "n/a"},  # spelled as nothing: the payer's
        {"SubAccountId": "12"},  # a known account, though not ours: the payer gives nothing
        {"SubAccountId": "0099"},
        {"SubAccountId": None, "BillingAccountId": "0012"},
        {"SubAccountId": None, "BillingAccountId": None},
    ]
    assert given_to(dimensions, "team", *rows) == [
        ("ads", "tag"),
        ("search", "account production"),
        ("platform", "account payer"),
        ("platform", "account payer"),
        (None, None),
        (None, None),
        ("search", "account production"),
        (None, None),
    ]
    assert given_to(dimensions, "environment", *rows[4:7]) == [
        (None, None),
        ("dev", "account 0099"),
        ("prod", "account production"),
    ]
    assert [rule.name for rule in dimensions.team] == ["tag", "account production", "account payer"]
    assert dimensions.region == ()
    assert inputs(dimensions) == ["x_tag_team", "SubAccountId", "BillingAccountId"]
    assert with_accounts(own, ()) == own


def test_rules_of_accounts_keep_their_place_among_others() -> None:
    dimensions = rules(
        team=[
            {"name": "a", "value": "first", "account": "one"},
            {"name": "b", "tag": "team"},
            {"name": "c", "value": "last", "account": "two"},
        ]
    )
    rows = [{"SubAccountId": name, "x_tag_team": "t"} for name in ("one", "two")]
    assert given_to(dimensions, "team", *rows, {"SubAccountId": "two"}) == [
        ("first", "a"),
        ("t", "b"),
        ("last", "c"),
    ]


def test_account_limits_any_rule() -> None:
    dimensions = rules(
        team=[
            {"name": "a", "tag": "team", "account": ["one", "two "]},
            {"name": "b", "value": "late", "account": "three", "from": "2026-04-01"},
            {"name": "c", "value": "three", "account": "three"},
            {"name": "d", "value": "never", "account": "three"},
        ]
    )
    rows = [
        {"SubAccountId": "one", "x_tag_team": "t"},
        {"SubAccountId": "two", "x_tag_team": "t"},
        {"SubAccountId": "four", "x_tag_team": "t"},
        {"SubAccountId": "three"},
        {"SubAccountId": "three", "x_ChargeDate": date(2026, 4, 1)},
    ]
    assert given_to(dimensions, "team", *rows) == [
        ("t", "a"),
        ("t", "a"),
        (None, None),
        ("three", "c"),
        ("late", "b"),
    ]


@pytest.mark.parametrize(
    ("account", "words"),
    [
        ({"id": "1"}, "account '1' gives nothing: add one of team, product, model"),
        ({"id": "1", "name": "n"}, "gives nothing"),
        ({"id": " ", "team": "t"}, "at least 1 character"),
        ({"id": 1, "team": "t"}, "valid string"),
        ({"id": "1", "team": " "}, "at least 1 character"),
        ({"id": "1", "teem": "t"}, "teem"),
    ],
)
def test_wrong_accounts_are_refused(account: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Account.model_validate(account)


@pytest.mark.parametrize(
    ("accounts", "words"),
    [
        ([("1", None), ("1", "b")], "accounts: the id '1' stands there twice"),
        ([("1", "b"), ("2", "b")], "accounts: two are named 'b'"),
        ([("1", "2"), ("2", None)], "accounts: two are named '2'"),
        ([("1", "mine")], "accounts: team has a rule named 'account mine' already"),
    ],
)
def test_accounts_whose_rules_could_not_be_told_apart(
    accounts: list[tuple[str, str | None]], words: str
) -> None:
    dimensions = rules(team=[{"name": "account mine", "tag": "t"}])
    with pytest.raises(ConfigError, match=re.escape(words)):
        with_accounts(dimensions, [Account(id=i, name=name, team="t") for i, name in accounts])


def test_an_empty_literal_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 character"):
        Rule(name="a", value="")


# --- the rule report -------------------------------------------------------------------------------


def reported(dimensions: Dimensions, *rows: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    found = rule_report(assign(frame(*rows), dimensions), dimensions)
    return found.drop("dimension", "BilledCost").rows()


def test_shadows_are_counted_by_who_took_them() -> None:
    dimensions = rules(
        team=[
            {"name": "tag", "tag": "team"},
            {"name": "service", "where": {"ServiceName": "S"}, "value": "s-team"},
            {"name": "service again", "where": {"ServiceName": "S"}, "value": "other"},
            {"name": "typo", "where": {"ServiceName": "Z"}, "value": "z"},
        ]
    )
    rows = [
        {"x_tag_team": "t", "ServiceName": "S", "EffectiveCost": Decimal("2.5"), "x_Rows": 2},
        {"x_tag_team": "t", "ServiceName": "Q", "EffectiveCost": Decimal("1.25"), "x_Rows": 5},
        {"ServiceName": "S", "EffectiveCost": Decimal(4), "x_Rows": 3},
        {"x_tag_team": "t", "ServiceName": "S", "EffectiveCost": Decimal("-1"), "BillingCurrency": "EUR"},
        {"EffectiveCost": Decimal(7)},
    ]
    assert reported(dimensions, *rows) == [
        ("tag", "EUR", 1, Decimal(-1), "used", 0, Decimal(0), None),
        ("tag", "USD", 7, Decimal("3.75"), "used", 0, Decimal(0), None),
        # of euros it caught nothing, but it is used
        ("service", "EUR", 0, Decimal(0), "used", 1, Decimal(-1), "tag"),
        ("service", "USD", 3, Decimal(4), "used", 2, Decimal("2.5"), "tag"),
        ("service again", "EUR", 0, Decimal(0), "shadowed", 1, Decimal(-1), "tag"),
        ("service again", "USD", 0, Decimal(0), "shadowed", 5, Decimal("6.5"), "tag, service"),
        ("typo", None, 0, None, "caught nothing", 0, None, None),
        ("(no rule)", "USD", 1, Decimal(7), "no rule", None, None, None),
    ]


def test_a_virtual_tag_is_shadowed_by_what_it_would_have_taken_over() -> None:
    rows = [{"x_tag_team": "t", "x_tag_squad": "answers"}, {"x_tag_team": "t"}, {"x_tag_squad": "ads"}]
    assert reported(CHAIN, *rows)[:3] == [
        ("tag", "USD", 2, Decimal(2), "used", 0, Decimal(0), None),
        ("team of the feature", "USD", 0, Decimal(0), "shadowed", 1, Decimal(1), "tag"),
        ("(no rule)", "USD", 1, Decimal(1), "no rule", None, None, None),
    ]


def test_accounts_are_reported_one_by_one() -> None:
    dimensions = with_accounts(rules(team=[{"name": "tag", "tag": "team"}]), ACCOUNTS)
    rows = [{"SubAccountId": "0012", "x_tag_team": "t"}, {}, {"x_tag_team": "t"}]
    assert reported(dimensions, *rows) == [
        ("tag", "USD", 2, Decimal(2), "used", 0, Decimal(0), None),
        ("account production", "USD", 0, Decimal(0), "shadowed", 1, Decimal(1), "tag"),
        ("account payer", "USD", 1, Decimal(1), "used", 1, Decimal(1), "tag"),
        ("(no rule)", None, 0, None, "no rule", None, None, None),
        # environment: no rules before the accounts
        ("account production", "USD", 1, Decimal(1), "used", 0, Decimal(0), None),
        ("account 0099", None, 0, None, "caught nothing", 0, None, None),
        ("(no rule)", "USD", 2, Decimal(2), "no rule", None, None, None),
    ]


def test_reports_of_nothing_keep_their_columns() -> None:
    full = rule_report(assign(frame({}), CHAIN), CHAIN)
    assert rule_report(assign(frame({}), rules()), rules()).schema == full.schema
    empty = rule_report(assign(frame({}).head(0), CHAIN), CHAIN)
    assert empty.schema == full.schema
    assert set(empty["status"]) == {"caught nothing", "no rule"}
    with pytest.raises(ConfigError, match="'s' of dimension team looks at column 'ServiceName'"):
        named = rules(team=[{"name": "s", "column": "ServiceName"}])
        rule_report(assign(frame({}), named).drop("ServiceName"), named)


# --- plain Python ----------------------------------------------------------------------------------

NOBODY = {"", "null", "(null)", "none", "-", "-2", "n/a", "na", "unassigned", "unknown", "untagged"}
VALUES = ["a", "A", " b", "b ", "ab", "n/a", "", "Unknown"]
NAMES = ("team", "product", "feature", "region")
DAYS = [date(2026, 3, day) for day in (1, 2, 3)]


def named(value: str | None) -> str | None:
    value = None if value is None else value.strip()
    return None if value is None or value.lower() in NOBODY else value


def fits(value: str | None, allowed: Sequence[str]) -> bool:
    return value is not None and any(
        re.search(one[1:], value) is not None if one[0] == "~" else one == value for one in allowed
    )


class Plain:
    """One row and its rules, one at a time, as the documentation tells it."""

    def __init__(self, row: Mapping[str, Any], dimensions: Dimensions) -> None:
        self.row, self.dimensions = row, dimensions
        self.known: dict[str, tuple[str | None, str | None]] = {}

    def of(self, dimension: str) -> tuple[str | None, str | None]:
        if dimension not in self.known:
            tried = ((self.value(rule), rule.name) for rule in getattr(self.dimensions, dimension))
            self.known[dimension] = next(((v, name) for v, name in tried if v is not None), (None, None))
        return self.known[dimension]

    def look(self, column: str, rule: Rule) -> str | None:
        if rule.dimension and column.removeprefix("x_") in DIMENSIONS:
            return self.of(column[2:])[0]
        found: str | None = self.row[column]
        return found

    def value(self, rule: Rule) -> str | None:
        if not all(fits(self.look(column, rule), allowed) for column, allowed in rule.where.items()):
            return None
        account = named(self.row["SubAccountId"]) or named(self.row["BillingAccountId"])
        if rule.account and account not in rule.account:
            return None
        day = self.row["x_ChargeDate"]
        if (rule.first or rule.last) and day is None:
            return None
        if (rule.first and day < rule.first) or (rule.last and day > rule.last):
            return None
        if rule.value is not None:
            return named(rule.map[rule.value]) if rule.value in rule.map else rule.value
        if rule.tag:
            found = next((v for key in rule.tag if (v := named(self.row[f"x_tag_{key}"]))), None)
        elif rule.extract:
            match = re.search(rule.extract.pattern, self.row[rule.extract.column] or "")
            found = named(match[1]) if match else None
        elif rule.dimension:
            found = named(self.of(rule.dimension)[0])
        else:
            found = named(self.row[str(rule.column)])
        if found is None:
            return None
        spelled = {k.strip().lower(): v for k, v in rule.map.items()} if rule.fold else rule.map
        found = found.lower() if rule.fold else found
        return named(spelled[found]) if found in spelled else found


TEXT = st.none() | st.sampled_from(VALUES)
ROWS = st.fixed_dictionaries(
    {
        "x_tag_team": TEXT,
        "x_tag_squad": TEXT,
        "ServiceName": TEXT,
        "SubAccountId": st.sampled_from([None, "n/a", "one", "two", "other"]),
        "BillingAccountId": st.sampled_from(["one", "payer"]),
        "x_ChargeDate": st.none() | st.sampled_from(DAYS),
        "BillingCurrency": st.sampled_from(["USD", "EUR"]),
        "BilledCost": st.decimals(-(10**6), 10**6, places=18, allow_nan=False),
        "EffectiveCost": st.decimals(-(10**6), 10**6, places=18, allow_nan=False),
        "x_Rows": st.integers(1, 9),
    }
)


@st.composite
def rule_sets(draw: st.DrawFn) -> Dimensions:
    """Up to four rules in each of four dimensions; each looks at dimensions drawn before its own."""
    order = draw(st.permutations(NAMES))
    sets: dict[str, list[dict[str, Any]]] = {}
    for place, dimension in enumerate(order):
        sets[dimension] = [draw(one_rule(f"r{n}", order[:place])) for n in range(draw(st.integers(0, 4)))]
    return Dimensions.model_validate(sets)


@st.composite
def one_rule(draw: st.DrawFn, name: str, before: Sequence[str]) -> dict[str, Any]:
    sources: list[dict[str, Any]] = [
        {"tag": ["team", "squad"]},
        {"tag": "squad"},
        {"column": "ServiceName"},
        {"extract": {"column": "ServiceName", "pattern": "^ ?([aA])"}},
        {"value": "a"},
        *[{"value": "lit", "account": draw(st.sampled_from(["one", "two", "payer"]))}] * 2,
        *[{"dimension": other} for other in before] * 3,
    ]
    rule = {"name": name, **draw(st.sampled_from(sources))}
    columns = ["ServiceName", "x_tag_team"] + ([f"x_{d}" for d in before] if "dimension" in rule else [])
    wanted = st.lists(st.sampled_from(["a", "b", " b", "lit", "~^[ab]", "~B|l"]), min_size=1, max_size=2)
    if draw(st.integers(0, 2)) == 0:
        rule["where"] = {draw(st.sampled_from(columns)): draw(wanted)}
    if draw(st.integers(0, 4)) == 0:
        first, last = sorted([draw(st.sampled_from(DAYS)), draw(st.sampled_from(DAYS))])
        rule |= draw(st.sampled_from([{"from": first}, {"to": last}, {"from": first, "to": last}]))
    if draw(st.integers(0, 4)) == 0:
        rule["account"] = draw(st.sampled_from([["one"], ["one", "two"], ["payer"]]))
    if draw(st.booleans()):
        rule["map"] = draw(
            st.dictionaries(st.sampled_from(["a", "b", "lit"]), st.sampled_from(["b", "c", "n/a"]))
        )
    if "value" not in rule and draw(st.booleans()):
        rule["fold"] = True
    return rule


@settings(max_examples=80)
@given(st.lists(ROWS, max_size=6), rule_sets(), st.booleans())
def test_plain_python_gives_the_same_values_and_the_same_report(
    rows: list[dict[str, Any]], own: Dimensions, inherit: bool
) -> None:
    accounts = (Account(id="one", team="acc", region="A"), Account(id="payer", name="p", team="b"))
    dimensions = with_accounts(own, accounts) if inherit else own
    plain = [Plain(row, dimensions) for row in rows]
    assigned = assign(frame(*rows), dimensions).collect()
    for dimension in NAMES:
        found = assigned.select(f"x_{dimension}", f"_rule_{dimension}").rows()
        assert found == [one.of(dimension) for one in plain], dimension

    report = rule_report(assigned.lazy(), dimensions)
    assert_frame_equal(rule_report(frame(*rows), dimensions), report)
    expected: list[tuple[Any, ...]] = []
    for dimension in (d for d in NAMES if getattr(dimensions, d)):
        order = [rule.name for rule in getattr(dimensions, dimension)]
        for rule in getattr(dimensions, dimension):
            would = [p for p in plain if p.value(rule) is not None]
            expected += lines(
                dimension,
                rule.name,
                [p.row for p in would if p.of(dimension)[1] == rule.name],
                [
                    (p.row, order.index(str(p.of(dimension)[1])))
                    for p in would
                    if p.of(dimension)[1] != rule.name
                ],
                order,
            )
        rest = [p.row for p in plain if p.of(dimension)[1] is None]
        expected += lines(dimension, "(no rule)", rest, None, order)
    assert sorted(report.rows(), key=str) == sorted(expected, key=str)
    # Each dimension reports every row once: no cent is lost or counted twice.
    for dimension in report["dimension"].unique():
        mine = report.filter(pl.col("dimension") == dimension)
        assert mine["rows"].sum() == sum(row["x_Rows"] for row in rows)
        assert mine["BilledCost"].sum() == decimal_sum(row["BilledCost"] for row in rows)


def lines(
    dimension: str,
    rule: str,
    caught: list[Mapping[str, Any]],
    shadowed: list[tuple[Mapping[str, Any], int]] | None,
    order: list[str],
) -> list[tuple[Any, ...]]:
    """Report one rule per currency, in plain Python."""
    taken = shadowed or []
    status = "used" if caught else "shadowed" if taken else "caught nothing"
    status = "no rule" if shadowed is None else status
    money = Decimal("1.000000000000000000")
    found = []
    for currency in sorted({r["BillingCurrency"] for r in [*caught, *(r for r, _ in taken)]}) or [None]:
        mine = [r for r in caught if r["BillingCurrency"] == currency]
        theirs = [(r, n) for r, n in taken if r["BillingCurrency"] == currency]
        sums = [
            None if currency is None else decimal_sum(r[name] for r in mine).quantize(money)
            for name in ("BilledCost", "EffectiveCost")
        ]
        lost = decimal_sum(r["EffectiveCost"] for r, _ in theirs).quantize(money)
        found.append(
            (
                *(dimension, rule, currency, sum(r["x_Rows"] for r in mine), *sums, status),
                None if shadowed is None else sum(r["x_Rows"] for r, _ in theirs),
                None if shadowed is None or currency is None else lost,
                ", ".join(order[n] for n in sorted({n for _, n in theirs})) or None,
            )
        )
    return found


@settings(max_examples=40)
@given(st.lists(ROWS, min_size=1, max_size=5), rule_sets(), st.data())
def test_plain_python_derives_the_same_values(
    rows: list[dict[str, Any]], dimensions: Dimensions, data: st.DataObject
) -> None:
    there = [{d: data.draw(st.sampled_from([None, None, "a", "b"])) for d in NAMES} for _ in rows]
    columns = {f"x_{d}": pl.Series([one[d] for one in there], dtype=pl.String) for d in NAMES}
    virtual = Dimensions.model_validate(
        {d: [rule for rule in getattr(dimensions, d) if rule.dimension] for d in NAMES}
    )
    found = derive(frame(*rows).with_columns(**columns), dimensions).collect()
    for n, (row, values) in enumerate(zip(rows, there, strict=True)):
        plain = Plain(row, virtual)
        plain.known = {d: (value, "there") for d, value in values.items() if value is not None}
        assert [found[f"x_{d}"][n] for d in NAMES] == [plain.of(d)[0] for d in NAMES]


@settings(max_examples=25)
@given(st.lists(ROWS, min_size=1, max_size=6), rule_sets())
def test_adding_rows_up_first_changes_nothing(rows: list[dict[str, Any]], dimensions: Dimensions) -> None:
    whole = frame(*rows)
    keys = [*inputs(dimensions), "BillingCurrency"]
    summed = whole.group_by(keys).agg(pl.col("BilledCost", "EffectiveCost", "x_Rows").sum())
    both = [rule_report(assign(one, dimensions), dimensions) for one in (whole, summed)]
    assert_frame_equal(*both)


# --- through allocate ------------------------------------------------------------------------------


def test_allocate_heeds_days_accounts_and_virtual_tags() -> None:
    dimensions = with_accounts(
        rules(
            team=[{"name": "until April", "dimension": "feature", "to": "2026-03-31"}],
            feature=[{"name": "squad", "tag": "squad", "fold": True}],
        ),
        [Account(id="acct", team="owner", business_unit="unit")],
    )
    schema = {**contracts.dtypes("costs"), "x_tag_squad": pl.String()}
    base = {
        **dict.fromkeys(schema),
        **dict.fromkeys(AMOUNTS, Decimal("0.01")),
        "BillingCurrency": "USD",
        "BillingAccountId": "acct",
        "BillingPeriodStart": datetime(2026, 4, 1, tzinfo=UTC),
        "ChargeCategory": "Usage",
        "ProviderName": "CloudOne",
        "ServiceName": "Model API",
        "x_BillingMonth": "2026-04",
        "x_tag_squad": "Chat",
    }
    starts = [datetime(2026, 3, 31, 23, 59, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC)]
    rows = pl.DataFrame([{**base, "ChargePeriodStart": start} for start in starts], schema=schema).lazy()
    entries = allocate(rows, dimensions).entries.sort("x_ChargeDate")
    assert entries.select("x_team", "x_feature", "x_business_unit", "x_AllocationRule").rows() == [
        ("chat", "chat", "unit", "until April"),
        ("owner", "chat", "unit", "account acct"),
    ]
