"""Codes tell apart exactly what grouping by the columns would; rule cases change no report."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from test_splits import START, bill

from finops_lab.allocation import allocate, codes, rule_report
from finops_lab.config import Dimensions

VALUES = st.fixed_dictionaries(
    {
        "text": st.sampled_from([None, "", "a", "b", "ab", "\x00"]),
        "other": st.sampled_from([None, "", "a", "b"]),
        "number": st.sampled_from([None, 0.0, -0.0, 1.5, float("nan")]),
        "day": st.sampled_from([None, date(2026, 10, 1), date(1969, 1, 1)]),
        "amount": st.sampled_from([None, Decimal("0.10"), Decimal(-1)]),
        "flag": st.sampled_from([None, True, False]),
    }
)
SCHEMA = {
    "text": pl.String,
    "other": pl.String,
    "number": pl.Float64,
    "day": pl.Date,
    "amount": pl.Decimal(38, 18),
    "flag": pl.Boolean,
}


@settings(max_examples=60, deadline=None)
@given(st.lists(VALUES, min_size=1, max_size=12))
def test_codes_group_rows_as_their_columns_do(rows: list[dict[str, Any]]) -> None:
    frame = pl.LazyFrame(rows, schema=SCHEMA)
    for names in (["text", "other"], list(SCHEMA)):
        found = codes.codes(frame, [names])[0]
        counted = frame.group_by(found.code).agg(pl.len()).collect()
        named = counted.join(found.values, on=codes.CODE).drop(codes.CODE).select(*names, "len")
        plain = frame.group_by(names).agg(pl.len()).select(*names, "len").collect()
        assert_frame_equal(named, plain, check_row_order=False)


def test_codes_that_collide_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = pl.LazyFrame({"team": [f"team {n}" for n in range(100)]})
    spread, seeds = pl.Expr.hash, []

    def few_bits(column: pl.Expr, seed: int = 0) -> pl.Expr:
        seeds.append(seed)
        return spread(column, seed) % 2 if len(set(seeds)) < 3 else spread(column, seed)

    monkeypatch.setattr(pl.Expr, "hash", few_bits)
    found = codes.codes(frame, [["team"]])[0]
    assert len(set(seeds)) == 3
    assert found.values[codes.CODE].n_unique() == 100
    monkeypatch.setattr(pl.Expr, "hash", lambda column, seed=0: spread(column, 0) % 2)
    with pytest.raises(AssertionError, match="no code tells all values of team apart"):
        codes.codes(frame, [["team"]])


RULES = Dimensions.model_validate(
    {
        "team": [
            {"name": "tag", "tag": "team", "fold": True},
            {
                "name": "euros of ours",
                "where": {"BillingCurrency": "EUR", "SubAccountName": "own"},
                "value": "e",
            },
            {"name": "one", "account": ["1"], "value": "x"},
            {"name": "two", "account": ["2"], "value": "y"},
            {"name": "pattern", "extract": {"column": "ResourceName", "pattern": "^(web|api)-"}},
            {"name": "since", "where": {"ServiceName": "~^Comp"}, "value": "late", "first": START.date()},
        ],
        "product": [{"name": "of the team", "dimension": "team", "map": {"web": "shop"}}],
        "model": [{"name": "rest", "value": "none known"}, {"name": "never", "column": "ResourceName"}],
    }
)
ROW = st.fixed_dictionaries(
    {
        "x_tag_team": st.sampled_from([None, "Web", "n/a", "api"]),
        "SubAccountName": st.sampled_from(["own", "other"]),
        "SubAccountId": st.sampled_from(["1", "2", "3"]),
        "ResourceName": st.sampled_from(["web-1", "web-2", "api-1", "db-1", None]),
        "ServiceName": st.sampled_from(["Compute", "Support"]),
        "BillingCurrency": st.sampled_from(["USD", "EUR"]),
        "amount": st.decimals(-100, 100, places=4),
    }
)


@settings(max_examples=60, deadline=None)
@given(st.lists(ROW, min_size=1, max_size=12), st.booleans())
def test_the_report_of_cases_is_that_of_rows(rows: list[dict[str, Any]], currency: bool) -> None:
    rules = RULES
    if not currency:
        some = [rule for rule in RULES.team if "BillingCurrency" not in rule.where]
        rules = RULES.model_copy(update={"team": tuple(some)})
    costs = bill(*map(dict, rows))
    day = pl.col("ChargePeriodStart").dt.date().alias("x_ChargeDate")
    assert_frame_equal(allocate(costs, rules).rules, rule_report(costs.with_columns(day), rules))


def test_hundreds_of_rules_are_told_apart() -> None:
    rules = Dimensions.model_validate(
        {
            "team": [
                {
                    "name": f"r{n}",
                    "where": {"ResourceName": f"n{n}", "SubAccountName": "own"},
                    "value": f"t{n % 3}",
                }
                for n in range(130)
            ]
        }
    )
    costs = bill(*[{"ResourceName": f"n{n}", "SubAccountName": "own"} for n in range(0, 130, 7)])
    report = allocate(costs, rules).rules.filter(pl.col("rows") > 0)
    assert report["rule"].to_list() == [f"r{n}" for n in range(0, 130, 7)]
    assert report["rows"].to_list() == [1] * 19
