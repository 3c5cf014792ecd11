"""Views of a ledger: against plain Python, down to bill rows, and as code that runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from helpers import PLAIN_TOML, cost_row, decimal_sum, focus_row, write_lab
from hypothesis import given, settings
from hypothesis import strategies as st

import finops_lab as fl
from finops_lab import bookkeeping, contracts
from finops_lab.contracts import AMOUNTS
from finops_lab.errors import CurrencyError, InputError
from finops_lab.exploring import (
    GROUPS,
    METRICS,
    View,
    as_code,
    behind,
    bill_rows,
    look,
    over_time,
    spend,
    values,
)

LEDGER = contracts.dtypes("ledger")
MONTHS = ["2026-07", "2026-08", "2026-09", "2026-10"]
TEAMS = ["search", "ads", "unallocated"]
# What views group and filter by in these tests: never null, nullable, and a date.
TOLD = {
    "team": TEAMS,
    "model": ["small", 'qu"o\\te', "Ünï 模", None],
    "service": ["Model API", "Storage", None],
    "method": ["tag", "rule", "unallocated"],
    "day": ["2026-07-03", "2026-08-03", "2026-10-09"],
}

money = st.decimals(-1_000, 1_000, places=4) | st.just(Decimal("0.000000000000000001"))
entry = st.fixed_dictionaries(
    {
        "x_ChargeMonth": st.sampled_from(MONTHS),
        "x_ChargeDate": st.sampled_from([3, 9]),
        "x_team": st.sampled_from(TEAMS),
        "x_model": st.sampled_from(TOLD["model"]),
        "ServiceName": st.sampled_from(TOLD["service"]),
        "x_AllocationMethod": st.sampled_from(TOLD["method"]),
        "BilledCost": money,
        "EffectiveCost": money,
        "ListCost": money | st.none(),
        "ContractedCost": st.none() | money,
        "x_Rows": st.integers(0, 3),
    }
)


@st.composite
def views(draw: st.DrawFn) -> View:
    def period() -> tuple[str, str]:
        first, last = sorted((draw(st.sampled_from(MONTHS)), draw(st.sampled_from(MONTHS))))
        return first, last

    named = draw(st.lists(st.sampled_from(sorted(TOLD)), max_size=2, unique=True))
    where = {
        name: tuple(draw(st.lists(st.sampled_from([*TOLD[name], "nothing such", None]), max_size=3)))
        for name in named
    }
    first, last = period()
    against = period() if draw(st.booleans()) else None
    metric, by = draw(st.sampled_from(sorted(METRICS))), draw(st.sampled_from(sorted(TOLD)))
    return View(first, last, metric=metric, by=by, against=against, where=where)


def ledger(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Write entries as the contract has them."""
    full = [
        {
            **dict.fromkeys(LEDGER),
            "BillingCurrency": "USD",
            "ProviderName": "CloudOne",
            "ChargeCategory": "Usage",
            "x_BillingMonth": row["x_ChargeMonth"],
            **row,
            "x_ChargeDate": date.fromisoformat(f"{row['x_ChargeMonth']}-{row['x_ChargeDate']:02}"),
        }
        for row in rows
    ]
    return pl.DataFrame(full, schema=LEDGER)


# --- brute force -------------------------------------------------------------------------------------


def said(row: dict[str, Any], group: str) -> str | None:
    value = row[GROUPS[group]]
    return None if value is None else str(value)


def chosen(rows: list[dict[str, Any]], view: View, period: tuple[str, str]) -> list[dict[str, Any]]:
    return [
        row
        for row in rows
        if period[0] <= row["x_ChargeMonth"] <= period[1]
        and (view.metric != "allocated" or row["x_team"] != "unallocated")
        and all(said(row, name) in wanted for name, wanted in view.where.items())
    ]


def added(rows: list[dict[str, Any]], name: str) -> Decimal | None:
    """Add up what is known; None where there are charges and the amount of none is known."""
    known = [row[name] for row in rows if row[name] is not None]
    return decimal_sum(known) if known or not rows else None


def brute_spend(rows: list[dict[str, Any]], view: View) -> dict[str | None, dict[str, Any]]:
    now = chosen(rows, view, (view.first, view.last))
    then = chosen(rows, view, view.against) if view.against else []
    found: dict[str | None, dict[str, Any]] = {}
    for value in {said(row, view.by) for row in [*now, *then]}:
        mine, theirs = ([r for r in part if said(r, view.by) == value] for part in (now, then))
        amount, before = added(mine, view.amount), added(theirs, view.amount)
        found[value] = {"amount": amount, "rows": sum(r["x_Rows"] for r in mine)}
        if view.against:
            change = None if amount is None or before is None else decimal_sum([amount, -before])
            share = float(change / before) if change is not None and before and before > 0 else None
            found[value] |= {"before": before, "change": change, "change_share": share}
    total = decimal_sum(line["amount"] for line in found.values())
    for line in found.values():
        known = total > 0 and line["amount"] is not None
        line["share"] = float(line["amount"] / total) if known else None
    return found


@settings(max_examples=80)
@given(st.lists(entry, max_size=25), views())
def test_spend_is_what_plain_python_adds_up(rows: list[dict[str, Any]], view: View) -> None:
    frame = ledger(rows)
    table = spend(frame.lazy(), view)
    key = GROUPS[view.by]
    wanted = brute_spend(frame.to_dicts(), view)
    found = {
        None if line[key] is None else str(line[key]): {n: v for n, v in line.items() if n != key}
        for line in table.to_dicts()
    }
    assert found.keys() == wanted.keys() and table.height == len(wanted)
    for value, line in wanted.items():
        assert found[value] == {
            name: pytest.approx(v, rel=1e-12) if isinstance(v, float) else v for name, v in line.items()
        }
    # The largest first, unknown amounts last; among equals by name, the unknown last.
    order = [
        (a is None, -(a or 0), v is None, v or "")
        for v, a in table.select(pl.col(key).cast(pl.String), "amount").iter_rows()
    ]
    assert order == sorted(order)
    # The same from any order of rows, and asked together with the months.
    assert spend(frame.reverse(), view).equals(table)
    seen = look(frame, view)
    assert seen.table.equals(table) and seen.months.equals(over_time(frame, view))


@settings(max_examples=60)
@given(st.lists(entry, max_size=25), views())
def test_over_time_is_what_plain_python_adds_up(rows: list[dict[str, Any]], view: View) -> None:
    frame = ledger(rows)
    wanted: dict[tuple[date, str], list[dict[str, Any]]] = {}
    for row in chosen(frame.to_dicts(), view, (view.first, view.last)):
        month = date.fromisoformat(f"{row['x_ChargeMonth']}-01")
        value = said(row, view.by)
        wanted.setdefault((month, "(unknown)" if value is None else value), []).append(row)
    table = over_time(frame, view)
    assert [row[:2] for row in table.rows()] == sorted(wanted)
    assert table["amount"].to_list() == [added(wanted[key], view.amount) for key in sorted(wanted)]


@settings(max_examples=60)
@given(st.lists(entry, max_size=25), views(), st.integers(1, 6), st.data())
def test_behind_are_the_largest_entries_of_a_line(
    rows: list[dict[str, Any]], view: View, most: int, data: st.DataObject
) -> None:
    frame = ledger(rows)
    value = data.draw(st.sampled_from(TOLD[view.by]))
    meant = [
        row for row in chosen(frame.to_dicts(), view, (view.first, view.last)) if said(row, view.by) == value
    ]
    whole = behind(frame, view, value, 100)
    assert whole.height == len(meant)
    assert decimal_sum(whole[view.amount]) == decimal_sum(row[view.amount] for row in meant)
    names = whole.columns
    as_texts = [
        sorted(str(tuple(row[n] for n in names)) for row in found) for found in (whole.to_dicts(), meant)
    ]
    assert as_texts[0] == as_texts[1]
    sizes = [None if a is None else abs(a) for a in whole[view.amount]]
    assert sizes == sorted(sizes, key=lambda a: (a is None, -(a or 0)))
    assert behind(frame.reverse(), view, value, most).equals(whole.head(most))


def test_a_view_adds_up_what_its_drill_finds() -> None:
    rows = [
        {"x_ChargeMonth": "2026-10", "x_ChargeDate": 3, "x_team": team, "x_AllocationMethod": "tag",
         "BilledCost": Decimal(n), "EffectiveCost": Decimal(n), "x_Rows": 1}
        for n, team in enumerate(["search", "ads", "search", "unallocated"])
    ]  # fmt: skip
    view = View("2026-10", "2026-10", metric="allocated")
    table = spend(ledger(rows), view)
    assert table.select("x_team", "amount", "rows").rows() == [
        ("search", Decimal(2), 2),
        ("ads", Decimal(1), 1),
    ]
    assert behind(ledger(rows), view, "search")["EffectiveCost"].to_list() == [Decimal(2), Decimal(0)]
    assert behind(ledger(rows), view, "unallocated").is_empty()


# --- refusals ----------------------------------------------------------------------------------------


def two_currencies() -> pl.DataFrame:
    rows = [
        {"x_ChargeMonth": month, "x_ChargeDate": 3, "x_team": team, "x_AllocationMethod": "tag",
         "BillingCurrency": currency, "BilledCost": Decimal(1), "EffectiveCost": Decimal(1), "x_Rows": 1}
        for month, team, currency in (
            ("2026-09", "ads", "USD"), ("2026-10", "ads", "USD"), ("2026-10", "search", "EUR"),
        )
    ]  # fmt: skip
    return ledger(rows)


@pytest.mark.parametrize("ask", [spend, over_time], ids=["spend", "over time"])
def test_two_currencies_are_never_added(ask: Callable[..., pl.DataFrame]) -> None:
    with pytest.raises(CurrencyError, match="EUR, USD"):
        ask(two_currencies(), View("2026-10", "2026-10"))
    # What is left out has no say.
    assert ask(two_currencies(), View("2026-09", "2026-09")).height == 1
    assert ask(two_currencies(), View("2026-10", "2026-10", where={"team": ("ads",)})).height == 1


def test_two_currencies_are_not_compared_either() -> None:
    dollars, euros = pl.col("BillingCurrency") == "USD", pl.col("BillingCurrency") == "EUR"
    months = pl.col("x_ChargeMonth")
    frame = two_currencies().filter((dollars & (months == "2026-09")) | (euros & (months == "2026-10")))
    assert spend(frame, View("2026-10", "2026-10")).height == 1
    with pytest.raises(CurrencyError):
        spend(frame, View("2026-10", "2026-10", against=("2026-09", "2026-09")))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"metric": "cost"}, "no metric 'cost'"),
        ({"by": "x_team"}, "cannot be told by 'x_team'"),
        ({"where": {"teams": ("a",)}}, "cannot be told by 'teams'"),
        ({"last": "2026-09"}, "2026-09 is before 2026-10"),
        ({"against": ("2026-09", "2026-08")}, "2026-08 is before 2026-09"),
        ({"first": "2026-1"}, "month must be written like"),
        ({"against": ("September", "2026-08")}, "month must be written like"),
    ],
)
def test_what_cannot_be_looked_at_is_refused_with_a_word_of_help(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        View(**{"first": "2026-10", "last": "2026-10", **fields})


def test_values_are_those_there_are() -> None:
    rows = [
        {"x_ChargeMonth": "2026-10", "x_ChargeDate": 3, "x_team": "b", "x_model": model,
         "x_AllocationMethod": "tag", "BilledCost": Decimal(1), "EffectiveCost": Decimal(1), "x_Rows": 1}
        for model in ("z", None, "a", "z")
    ]  # fmt: skip
    assert values(ledger(rows), "model") == ["a", "z", None]
    assert values(ledger(rows), "model", 2) == ["a", "z"]
    assert values(ledger(rows), "customer") == [None]
    assert values(ledger(rows), "day") == ["2026-10-03"]


# --- as code -----------------------------------------------------------------------------------------

ODD = ["a \"b\" 'c'", "back\\slash\\n", "Ünï 模型 \u2028", "line\nbreak", None, "{brace} %s", "#\t"]


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> fl.Lab:
    """Open a lab whose models have names that code must quote, with unknown list costs."""
    rows = [
        cost_row(
            f"{n + 1}.{n:02}7",
            month=month,
            SubAccountName="search" if n % 2 else None,
            ResourceName=name,
            ListCost=None if n % 3 == 0 or month == "2026-09" else f"{n + 2}",
            ContractedCost=None,
        )
        for n, name in enumerate(ODD)
        for month in ("2026-09", "2026-10")
        if not (n == 1 and month == "2026-09")
    ]
    toml = (
        PLAIN_TOML + '[[dimensions.team]]\nname = "account"\ncolumn = "SubAccountName"\n'
        '[[dimensions.model]]\nname = "name"\ncolumn = "ResourceName"\n'
    )
    folder = tmp_path_factory.mktemp('a "lab"')
    return fl.open_lab(write_lab(folder, {"bill.csv": rows}, toml), progress=False)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("against", [None, ("2026-08", "2026-09")], ids=["alone", "compared"])
@pytest.mark.parametrize(
    ("by", "where"),
    [
        ("team", {}),
        ("model", {}),
        ("model", {"model": tuple(ODD)}),
        ("team", {"model": ("line\nbreak", "a \"b\" 'c'", "no such"), "provider": ("CloudOne",)}),
        ("team", {"model": (None,)}),
        ("team", {"model": ()}),
        ("day", {"day": ("2026-10-03",)}),
        ("service", {"team": ("nobody",)}),
    ],
)
def test_the_code_of_a_view_runs_and_gives_the_same(
    odd: fl.Lab,
    metric: str,
    against: tuple[str, str] | None,
    by: str,
    where: dict[str, tuple[str | None, ...]],
) -> None:
    view = View("2026-10", "2026-10", metric=metric, by=by, against=against, where=where)
    table = spend(fl.entries(odd), view)
    told: dict[str, Any] = {}
    exec(as_code(view, odd.folder), told)
    assert told["table"].equals(table)
    names = [GROUPS[by], "amount", *(["before"] if against else [])]
    assert told["sums"].equals(table.select(names))


def test_names_come_through_as_they_are(odd: fl.Lab) -> None:
    # A bill's text loses blanks at its ends, and nothing else.
    assert set(values(fl.entries(odd), "model")) == {None if n is None else n.strip() for n in ODD}
    # Nobody knows the contracted cost, which is not nothing.
    view = View("2026-10", "2026-10", metric="contracted")
    assert spend(fl.entries(odd), view)["amount"].to_list() == [None, None]


# --- down to bill rows -------------------------------------------------------------------------------

SPLIT = """
[[dimensions.team]]
name = "team tag"
tag = "team"
[[dimensions.model]]
name = "model tag"
tag = "model"
[[dimensions.business_unit]]
name = "unit tag"
tag = "unit"
[[shared]]
name = "platform tier"
where = { x_team = ["platform"] }
by = "direct"
[[shared]]
name = "support tier"
where = { x_team = ["unallocated"], ServiceName = ["Support"] }
by = "even"
[[overrides]]
author = "cfo"
reason = "agreed"
date = 2026-10-20
where = { x_team = ["ads"], ServiceName = ["Storage"] }
set = { team = "search" }
"""


def tagged(amount: str, **fields: Any) -> dict[str, str | None]:
    tags = {name: fields.pop(name) for name in ("team", "model", "unit") if name in fields}
    return cost_row(amount, month="2026-10", Tags=json.dumps(tags), **fields)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> fl.Lab:
    """Open a lab with rules, two shared tiers and an override."""
    rows = [
        tagged("10.01", team="search", model="small", unit="core"),
        tagged("0.02", team="search", model="small", unit="core"),
        tagged("5", team="search", model="large"),
        tagged("7", team="ads", ServiceName="Storage"),
        tagged("-2.5", team="ads", ChargeCategory="Credit"),
        tagged("3.10", team="platform"),
        tagged("0.90", team="platform", model="small"),
        tagged("6", ServiceName="Support"),
        tagged("1"),
        focus_row(**tagged("4", team="search", model="small"), ChargeClass="Correction"),
    ]
    folder = tmp_path_factory.mktemp("shared")
    return fl.open_lab(write_lab(folder, {"bill.csv": rows}, PLAIN_TOML + SPLIT), progress=False)


def test_bill_rows_explain_every_entry(shared: fl.Lab) -> None:
    policy = bookkeeping.policy(shared)
    entries = fl.entries(shared).collect()
    assert set(entries["x_AllocationMethod"]) == {"tag", "shared", "override", "unallocated"}
    ways: dict[str, set[int]] = {}
    whole = Decimal(0)
    for found in entries.to_dicts():
        rows = bill_rows(shared.costs(), found, policy).collect()
        (way,) = set(rows["via"])
        ways.setdefault(way, set()).update(rows["x_SourceRow"])
        if way == "own":
            assert {name: rows[name].sum() for name in AMOUNTS} == {name: found[name] for name in AMOUNTS}
            assert rows.height == found["x_Rows"]
            whole += found["EffectiveCost"]
        else:
            assert abs(found["EffectiveCost"]) < abs(rows["EffectiveCost"].sum())
    # Of a tier, the parts of all who carry it add up to its rows.
    assert ways == {
        "own": {1, 2, 3, 4, 5, 9, 10},
        "shared platform tier": {6, 7},
        "shared support tier": {8},
    }
    assert whole == Decimal("24.53")
    (given_away,) = [e for e in entries.to_dicts() if e["x_AllocationMethod"] == "override"]
    rows = bill_rows(shared.costs(), given_away, policy).collect()
    assert rows.select("via", "x_AllocationRule", "EffectiveCost").rows() == [("own", "team tag", Decimal(7))]


def test_bill_rows_of_a_pool_are_all_of_the_pool_s_that_day() -> None:
    policy = fl.config.Config.model_validate(
        {
            "lab": {"name": "t", "currency": "USD"},
            "splits": [{"name": "gpu pool", "where": {"ServiceName": ["GPU"]}, "by": "requests"}],
        }
    )
    rows = pl.LazyFrame(
        {
            "x_SourceFile": "b.csv",
            "x_SourceRow": [1, 2, 3, 4],
            "ChargePeriodStart": [datetime(2026, 10, day, 5, tzinfo=UTC) for day in (3, 3, 4, 3)],
            "ServiceName": ["GPU", "GPU", "GPU", "Storage"],
            "EffectiveCost": [Decimal(n) for n in (1, 2, 4, 8)],
        }
    )
    of = {"x_ChargeDate": date(2026, 10, 3), "ServiceName": "GPU", "x_team": "a", "x_PoolId": "gpu pool",
          "x_AllocationMethod": "telemetry", "x_AllocationRule": "gpu pool"}  # fmt: skip
    rules = bookkeeping.Policy(policy.dimensions, policy.splits)
    found = bill_rows(rows, of, rules).collect()
    assert found.select("via", "x_SourceRow").rows() == [("pool gpu pool", 1), ("pool gpu pool", 2)]
    # What nobody owns of the same day is not the pool's, and the pool's rows are not its own.
    own = {"x_ChargeDate": date(2026, 10, 3), "x_team": "unallocated", "x_AllocationMethod": "unallocated"}
    known = rows.drop("ServiceName").with_columns(ServiceName=pl.Series(["GPU", "GPU", "GPU", None]))
    assert bill_rows(known, own, rules).collect()["x_SourceRow"].to_list() == [4]
    anywhere = bill_rows(known.with_columns(ServiceName=pl.lit("GPU")), {**own, "ServiceName": "GPU"}, rules)
    assert anywhere.collect().is_empty()


def test_bill_rows_of_a_converted_entry_are_in_the_bill_s_currency(tmp_path: Path) -> None:
    toml = PLAIN_TOML + '[[rates]]\nmonth = "2026-10"\nfrom = "EUR"\nto = "USD"\nrate = "1.5"\n'
    rows = [cost_row("10", month="2026-10", BillingCurrency="EUR")]
    lab = fl.open_lab(write_lab(tmp_path, {"bill.csv": rows}, toml), progress=False)
    (found,) = fl.entries(lab).collect().to_dicts()
    assert (found["BillingCurrency"], found["EffectiveCost"]) == ("USD", Decimal(15))
    policy = bookkeeping.policy(lab)
    assert bill_rows(lab.costs(), found, policy).collect().is_empty()
    back = bill_rows(lab.costs(), found, policy, converted=True).collect()
    assert back.select("BillingCurrency", "EffectiveCost").rows() == [("EUR", Decimal(10))]
