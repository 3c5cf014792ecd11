"""Restated months: the bridge between two versions of a bill, and how soon a month is known."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from helpers import cost_row, decimal_sum, write_lab
from hypothesis import given, settings
from hypothesis import strategies as st

from finops_lab import contracts
from finops_lab.errors import InputError, ReconciliationError
from finops_lab.lab import Lab, open_lab, sample_lab
from finops_lab.reconciliation import restatement as room
from finops_lab.reconciliation.maturity import AGES, maturity, maturity_curve
from finops_lab.reconciliation.restatement import CHANGES, restatement
from finops_lab.reconciling import first_delivered, matured, restated, restated_months

DEFAULTS: dict[str, Any] = {
    **dict.fromkeys(contracts.AMOUNTS, Decimal(1)),
    "BillingCurrency": "USD",
    "BillingAccountId": "acct-1",
    "BillingPeriodStart": datetime(2026, 9, 1, tzinfo=UTC),
    "ChargePeriodStart": datetime(2026, 9, 3, tzinfo=UTC),
    "ChargeCategory": "Usage",
    "ProviderName": "CloudOne",
    "x_BillingMonth": "2026-09",
    "x_SourceFile": "b.csv",
}
SCHEMA = {**contracts.dtypes("costs"), "x_tag_team": pl.String()}


def bill(*rows: dict[str, Any]) -> pl.LazyFrame:
    full = [{**dict.fromkeys(SCHEMA), **DEFAULTS, "x_SourceRow": n + 1, **row} for n, row in enumerate(rows)]
    return pl.DataFrame(full, schema=SCHEMA).lazy()


def row(amount: str, **fields: Any) -> dict[str, Any]:
    return {**dict.fromkeys(contracts.AMOUNTS, Decimal(amount)), **fields}


def changes(before: pl.LazyFrame, after: pl.LazyFrame) -> dict[str, tuple[int, int, Decimal]]:
    summary = restatement(before, after).summary
    return {
        change: (int(then), int(now), amount)
        for change, then, now, amount in summary.group_by("change")
        .agg(pl.col("rows_before", "rows_after", "BilledCost_change").sum())
        .iter_rows()
    }


# --- golden ----------------------------------------------------------------------------------------


def test_each_change_has_its_name_and_amount() -> None:
    before = bill(
        row("5", ResourceId="same", InvoiceId=None, x_SourceFile="old.csv"),
        row("2", ResourceId="tags", Tags='{"team":"a"}', x_tag_team="a"),
        row("3", ResourceId="price", ListUnitPrice=Decimal(3), ChargeDescription="$3.00 per hour", SkuPriceId="p"),
        row("7", ResourceId="gone"),
        row("1", ResourceId="both", Tags='{"team":"a"}', PricingQuantity=Decimal(1)),
    )  # fmt: skip
    after = bill(
        row("11", ResourceId="new"),
        row("4", ResourceId="both", Tags='{"team":"b"}', PricingQuantity=Decimal(4)),
        row("2", ResourceId="tags", Tags='{"team":"b"}', x_tag_team="b"),
        row("2.5", ResourceId="price", ListUnitPrice=Decimal(2), ChargeDescription="$2.50 per hour", SkuPriceId="q"),
        row("5", ResourceId="same", InvoiceId="INV-1", x_SourceFile="new.csv"),
    )  # fmt: skip
    bridge = restatement(before, after)
    assert bridge.summary.select(
        "change", "rows_before", "rows_after", "BilledCost_before", "BilledCost_after", "EffectiveCost_change"
    ).rows() == [
        ("unchanged", 1, 1, Decimal(5), Decimal(5), Decimal(0)),
        ("re-tagged", 1, 1, Decimal(2), Decimal(2), Decimal(0)),
        ("re-priced", 2, 2, Decimal(4), Decimal("6.5"), Decimal("2.5")),
        ("removed", 1, 0, Decimal(7), Decimal(0), Decimal(-7)),
        ("added", 0, 1, Decimal(0), Decimal(11), Decimal(11)),
    ]
    assert bridge.summary["BilledCost_change"].sum() == Decimal("6.5")
    assert bridge.lines.select("change", "rows", "ResourceId", "tags_changed").rows() == [
        ("re-tagged", 1, "tags", "Tags, x_tag_team"),
        ("re-priced", 1, "price", None),
        ("re-priced", 1, "both", "Tags"),
        ("removed", 1, "gone", None),
        ("added", 1, "new", None),
    ]
    priced = bridge.lines.row(1, named=True)
    assert (priced["BilledCost_before"], priced["BilledCost_after"]) == (Decimal(3), Decimal("2.5"))
    assert (priced["x_SourceRow_before"], priced["x_SourceRow_after"]) == (3, 4)
    assert bridge.lines["BilledCost_before"].to_list()[-1] is None
    assert repr(bridge) == (
        "Bridge(1 unchanged, 1 re-tagged, 2 re-priced, 1 removed, 1 added; .summary .lines)"
    )


def test_identical_rows_are_matched_by_their_count() -> None:
    three, five = bill(*[row("1.5")] * 3), bill(*[row("1.5")] * 5)
    assert changes(three, five) == {"unchanged": (3, 3, Decimal(0)), "added": (0, 2, Decimal(3))}
    assert changes(five, three) == {"unchanged": (3, 3, Decimal(0)), "removed": (2, 0, Decimal(-3))}
    lines = restatement(three, five).lines
    assert lines.select("rows", "BilledCost_after").rows() == [(2, Decimal(3))]


def test_where_one_side_has_more_rows_the_smallest_are_paired_first() -> None:
    before, after = bill(row("10"), row("2")), bill(row("3"), row("4"), row("50"))
    lines = restatement(before, after).lines.sort("BilledCost_after")
    assert lines.select("change", "BilledCost_before", "BilledCost_after").rows() == [
        ("re-priced", Decimal(2), Decimal(3)),
        ("re-priced", Decimal(10), Decimal(4)),
        ("added", None, Decimal(50)),
    ]


def test_rows_of_equal_quantity_are_paired_first() -> None:
    before = bill(row("1", PricingQuantity=Decimal(9)), row("2", PricingQuantity=Decimal(1)))
    after = bill(row("3", PricingQuantity=Decimal(1)), row("8", PricingQuantity=Decimal(9)))
    pairs = restatement(before, after).lines.select("BilledCost_before", "BilledCost_after").rows()
    assert sorted(pairs) == [(Decimal(1), Decimal(8)), (Decimal(2), Decimal(3))]


def test_other_models_are_other_charges() -> None:
    before = bill(row("1", ChargeDescription="tokens of model-4"))
    after = bill(row("1", ChargeDescription="tokens of model-5"))
    assert set(changes(before, after)) == {"removed", "added"}


def test_currencies_months_and_providers_are_kept_apart() -> None:
    before = bill(row("1"), row("2", BillingCurrency="EUR"), row("4", ProviderName="CloudTwo"))
    after = bill(row("1"), row("3", BillingCurrency="EUR"), row("4", ProviderName="CloudThree"))
    october = bill(row("9", ChargePeriodStart=datetime(2026, 10, 1, tzinfo=UTC)))
    summary = restatement(before, pl.concat([after, october])).summary
    keys = ("BillingCurrency", "x_ChargeMonth", "ProviderName", "change", "BilledCost_change")
    assert summary.select(keys).rows() == [
        ("EUR", "2026-09", "CloudOne", "re-priced", Decimal(1)),
        ("USD", "2026-09", "CloudOne", "unchanged", Decimal(0)),
        ("USD", "2026-09", "CloudThree", "added", Decimal(4)),
        ("USD", "2026-09", "CloudTwo", "removed", Decimal(-4)),
        ("USD", "2026-10", "CloudOne", "added", Decimal(9)),
    ]
    only = restatement(before, pl.concat([after, october]), month=date(2026, 10, 1)).summary
    assert only.equals(summary.tail(1))
    with pytest.raises(InputError, match="2026-10"):
        restatement(before, after, month="October")
    with pytest.raises(InputError, match="first day"):
        restatement(before, after, month=date(2026, 10, 2))


def test_a_tag_column_that_only_one_version_has_is_not_compared() -> None:
    older = bill(row("1", x_tag_team="a")).drop("x_tag_team")
    assert set(changes(older, bill(row("1", x_tag_team="b")))) == {"unchanged"}


@pytest.mark.parametrize("side", [0, 1])
def test_a_bridge_that_leads_elsewhere_is_refused(side: int) -> None:
    bridge = restatement(bill(row("1")), bill(row("2")))
    where = ["BillingCurrency", "x_ChargeMonth", "ProviderName"]
    paid = [
        pl.DataFrame([["USD", "2026-09", "CloudOne", 1, amount, amount]], orient="row",
                     schema=[*where, "len", "BilledCost", "EffectiveCost"],
                     ).cast({"BilledCost": SCHEMA["BilledCost"], "EffectiveCost": SCHEMA["BilledCost"]})
        for amount in (Decimal(1), Decimal(2))
    ]  # fmt: skip
    room._prove(bridge, paid)
    doubled = pl.col("BilledCost") + pl.col("BilledCost")
    for fault in (doubled, pl.col("len") + 1, pl.lit("CHF").alias("BillingCurrency")):
        wrong = [frame.with_columns(fault) if n == side else frame for n, frame in enumerate(paid)]
        with pytest.raises(ReconciliationError, match=("before", "after")[side]):
            room._prove(bridge, wrong)


# --- properties ------------------------------------------------------------------------------------

ROWS = st.fixed_dictionaries(
    {
        "ResourceId": st.sampled_from(["r1", "r2", None]),
        "Tags": st.sampled_from(['{"team":"a"}', "{}", None]),
        "BillingCurrency": st.sampled_from(["USD", "EUR"]),
        "BilledCost": st.sampled_from([Decimal("0.01"), Decimal("-3"), Decimal("1E-18"), Decimal(0)]),
        "ListCost": st.sampled_from([Decimal(1), None]),
        "PricingQuantity": st.sampled_from([Decimal(1), Decimal(2), None]),
    }
)


def reference(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> dict[str, int]:
    """Count changes with plain multisets; counts depend on no choice of pairs."""
    found: Counter[str] = Counter()
    identity = ("ResourceId", "BillingCurrency")
    sides = [Counter(tuple(sorted(r.items())) for r in rows) for rows in (before, after)]
    found["unchanged"] = sum((sides[0] & sides[1]).values())
    sides = [sides[0] - sides[1], sides[1] - sides[0]]
    untagged = [Counter(tuple(p for p in r if p[0] != "Tags") for r in side.elements()) for side in sides]
    found["re-tagged"] = sum((untagged[0] & untagged[1]).values())
    sides = [untagged[0] - untagged[1], untagged[1] - untagged[0]]
    bare = [Counter(tuple(p for p in r if p[0] in identity) for r in side.elements()) for side in sides]
    found["re-priced"] = sum((bare[0] & bare[1]).values())
    found["removed"] = sum((bare[0] - bare[1]).values())
    found["added"] = sum((bare[1] - bare[0]).values())
    return {change: n for change, n in found.items() if n}


@settings(max_examples=40)
@given(st.lists(ROWS, max_size=12), st.lists(ROWS, max_size=12), st.randoms(use_true_random=False))
def test_every_bridge_leads_from_one_version_to_the_other(
    before: list[dict[str, Any]], after: list[dict[str, Any]], random: Any
) -> None:
    old, new = (bill(*rows) if rows else bill({}).head(0) for rows in (before, after))
    bridge = restatement(old, new)
    summary, lines = bridge.summary, bridge.lines
    for currency in ("USD", "EUR"):
        here = summary.filter(pl.col("BillingCurrency") == currency)
        for side, rows in (("before", before), ("after", after)):
            mine = [r["BilledCost"] for r in rows if r["BillingCurrency"] == currency]
            assert here[f"BilledCost_{side}"].sum() == decimal_sum(mine)
            assert here[f"rows_{side}"].sum() == len(mine)
    counts = summary.group_by("change").agg(pl.max_horizontal("rows_before", "rows_after").sum())
    assert dict(counts.iter_rows()) == reference(before, after)
    still = summary.filter(pl.col("change").is_in(["unchanged", "re-tagged"]))
    assert still.filter(pl.col("BilledCost_change") != 0).height == 0
    for change in CHANGES[1:]:
        ours = summary.filter(pl.col("change") == change)
        theirs = lines.filter(pl.col("change") == change)
        assert theirs["rows"].sum() == max(ours["rows_before"].sum(), ours["rows_after"].sum())
        for cost in ("BilledCost_change", "EffectiveCost_change"):
            assert decimal_sum(theirs[cost]) == decimal_sum(ours[cost])
    shuffled = [
        frame.collect().sample(fraction=1, shuffle=True, seed=random.randrange(99)) for frame in (old, new)
    ]
    again = restatement(*[frame.lazy() for frame in shuffled])
    assert again.summary.equals(summary)
    assert again.lines.equals(lines)
    back = restatement(new, old).summary
    assert back["BilledCost_change"].sum() == -summary["BilledCost_change"].sum()


# --- the lake --------------------------------------------------------------------------------------


def test_the_sample_s_restated_month_is_found() -> None:
    lab = open_lab(sample_lab(), progress=False)
    truth = json.loads((sample_lab() / "truth.json").read_text(encoding="utf-8"))["restated_month"]
    bridge = restatement(lab.table("costs", as_of=truth["first_delivery"]), lab.costs(), month=truth["month"])
    moved = bridge.summary.filter(pl.col("change") != "unchanged").row(0, named=True)
    assert bridge.summary.filter(pl.col("change") != "unchanged").height == 1
    assert (moved["change"], moved["ProviderName"]) == ("added", truth["provider"])
    assert moved["rows_after"] == bridge.lines["rows"].sum() == truth["late_rows"]
    assert moved["EffectiveCost_change"] == Decimal(truth["late_effective_cost"])
    assert moved["BilledCost_change"] == Decimal(truth["late_billed_cost"])
    vendor = bridge.summary.filter(pl.col("ProviderName") == truth["provider"])
    assert vendor["EffectiveCost_before"].sum() == Decimal(truth["first_effective_cost"])
    assert vendor["EffectiveCost_after"].sum() == Decimal(truth["second_effective_cost"])
    everything = restatement(lab.table("costs", as_of=truth["first_delivery"]), lab.costs()).summary
    assert set(everything.filter(pl.col("change") != "unchanged")["x_ChargeMonth"]) == {truth["month"]}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """Return a lab to which August was delivered four times and September twice."""

    def august(*amounts: str) -> list[dict[str, str | None]]:
        return [cost_row(a, month="2026-08", ResourceId=str(n)) for n, a in enumerate(amounts)]

    september = [cost_row("50", month="2026-09")]
    exports = {
        "one/delivered=2026-08-31/august.csv": august("60"),
        "one/delivered=2026-09-02/august.csv": august("60", "30"),
        "one/delivered=2026-09-07/august.csv": august("60", "30", "15"),
        "one/delivered=2026-09-20/august.csv": august("60", "30", "10"),
        "one/delivered=2026-10-01/september.csv": september,
        "one/delivered=2026-10-04/september.csv": [*september, cost_row("50", month="2026-09", ResourceId="x")],
        "two/delivered=2026-09-03/august.csv": [cost_row("8", month="2026-08", ProviderName="CloudTwo")],
    }  # fmt: skip
    return open_lab(write_lab(tmp_path_factory.mktemp("lab"), exports), progress=False)


def versions(lab: Lab) -> dict[date, pl.LazyFrame]:
    days = {e.delivered_on[:10] for table, e in lab.files() if table == "costs" and e.delivered_on}
    return {date.fromisoformat(day): lab.table("costs", as_of=day) for day in sorted(days)}


def test_maturity_of_a_month_that_was_delivered_four_times(lab: Lab) -> None:
    found = maturity(versions(lab), "2026-08", ages=AGES)
    one = found.filter(pl.col("ProviderName") == "CloudOne")
    assert one.select("age_days", "day", "known", "final", "share").rows() == [
        (1, date(2026, 9, 1), Decimal(60), Decimal(100), 0.6),
        (3, date(2026, 9, 3), Decimal(90), Decimal(100), 0.9),
        (7, date(2026, 9, 7), Decimal(105), Decimal(100), 1.05),
        (30, date(2026, 9, 30), Decimal(100), Decimal(100), 1.0),
    ]
    assert one["observed_days"].unique().to_list() == [34]
    two = found.filter(pl.col("ProviderName") == "CloudTwo")
    assert two["known"].to_list() == [Decimal(0), Decimal(8), Decimal(8), Decimal(8)]
    assert two["share"].to_list() == [0.0, 1.0, 1.0, 1.0]


def test_maturity_knows_nothing_before_the_first_version_and_after_today(lab: Lab) -> None:
    some = {day: frame for day, frame in versions(lab).items() if day >= date(2026, 9, 7)}
    found = maturity(some, date(2026, 8, 1), ages=(6, 7, 40), metric="BilledCost")
    one = found.filter(pl.col("ProviderName") == "CloudOne")
    assert one["known"].to_list() == [None, Decimal(105), None]
    assert one["share"].to_list() == [None, 1.05, None]
    later = maturity(some, "2026-08", ages=(40,), today=date(2026, 11, 1))
    assert later["share"].to_list() == [1.0, 1.0]
    assert later["observed_days"].to_list() == [62, 62]


def test_maturity_gives_every_day_of_several_months(lab: Lab) -> None:
    found = maturity(versions(lab), ["2026-08", "2026-09"], today=date(2026, 12, 1))
    assert found["age_days"].to_list() == list(range(31)) * 3
    september = found.filter(pl.col("x_ChargeMonth") == "2026-09")
    assert september["share"].to_list() == [0.0, 0.5, 0.5, 0.5] + [1.0] * 27
    assert (
        found.filter(pl.col("x_ChargeMonth") == "2026-08")
        .select(pl.exclude("observed_days"))
        .equals(
            maturity(versions(lab), "2026-08", today=date(2026, 12, 1)).select(pl.exclude("observed_days"))
        )
    )


def test_the_curve_pools_settled_months(lab: Lab) -> None:
    found = maturity(versions(lab), ["2026-08", "2026-09"], ages=(1, 4), today=date(2026, 12, 1))
    curve = maturity_curve(found)
    assert curve.filter(pl.col("ProviderName") == "CloudOne").drop(
        "BillingCurrency", "ProviderName"
    ).rows() == [
        (1, pytest.approx(0.55), 0.5, 0.6, 2),
        (4, pytest.approx(0.95), 0.9, 1.0, 2),
    ]
    assert curve.filter(pl.col("ProviderName") == "CloudTwo")["months"].to_list() == [1, 1]
    fresh = maturity(versions(lab), ["2026-08", "2026-09"], ages=(1, 4))
    assert maturity_curve(fresh)["months"].to_list() == [1, 1, 1, 1]
    assert maturity_curve(fresh, settled_days=35).height == 0
    pooled = maturity_curve(found, by=["BillingCurrency"])
    assert pooled.rows() == [("USD", 1, 0.5, 0.0, 0.6, 2), ("USD", 4, 1.0, 0.9, 1.0, 2)]


def test_a_share_of_nothing_is_unknown() -> None:
    end = date(2026, 9, 30)
    history = {
        end + timedelta(days=1): bill(row("5")),
        end + timedelta(days=3): bill(row("5"), row("-5", ChargeCategory="Credit")),
    }
    found = maturity(history, "2026-09", ages=(1, 3))
    assert found["known"].to_list() == [Decimal(5), Decimal(0)]
    assert found["share"].to_list() == [None, None]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"versions": {}}, "at least one version"),
        ({"metric": "ListCost"}, "EffectiveCost, BilledCost"),
        ({"ages": (-1,)}, "0 or more"),
        ({"today": date(2026, 9, 30)}, "after today"),
        ({"month": "Sep 2026"}, "2026-10"),
    ],
)
def test_maturity_refuses(arguments: dict[str, Any], says: str) -> None:
    given = {"versions": {date(2026, 10, 1): bill(row("1"))}, "month": "2026-09", **arguments}
    with pytest.raises(InputError, match=says):
        maturity(**given)


def test_a_curve_is_of_one_metric() -> None:
    history = {date(2026, 10, 1): bill(row("1"))}
    both = [maturity(history, "2026-09", ages=(1,), metric=name) for name in ("BilledCost", "EffectiveCost")]
    with pytest.raises(InputError, match="BilledCost, EffectiveCost"):
        maturity_curve(pl.concat(both))


def test_a_lab_tells_what_was_restated_and_how_soon_a_month_was_known() -> None:
    lab = open_lab(sample_lab(), progress=False)
    assert restated_months(lab) == {"2026-09": date(2026, 10, 3)}
    assert restated(lab, "2026-09").summary.filter(change="added")["rows_after"].to_list() == [12]
    with pytest.raises(InputError, match="2026-08 was not delivered twice"):
        restated(lab, "2026-08")
    known = matured(lab, ["2026-09"]).filter(pl.col("age_days").is_in([3, 11, 12]))
    assert known["known"].to_list() == [
        Decimal("147363.809426"),
        Decimal("147363.809426"),
        Decimal("149408.060291"),
    ]
    assert known["share"].to_list()[-1] == 1.0


def test_a_first_delivery_is_no_restatement_however_late_it_came(tmp_path: Any) -> None:
    other = {"ProviderName": "CloudTwo", "BillingAccountId": "acct-2"}
    exports = {
        "one/delivered=2026-10-02/bill.csv": [cost_row("100")],
        "two/delivered=2026-10-05/bill.csv": [cost_row("1000", **other)],
        "none/bill.csv": [cost_row("7", BillingAccountId="acct-3")],
    }
    folder = write_lab(tmp_path, exports)
    lab = open_lab(folder, progress=False)
    assert restated_months(lab) == {}
    with pytest.raises(InputError, match="2026-09 was not delivered twice"):
        restated(lab, "2026-09")
    # Only what the second delivery of an export changed is a restatement, new accounts included.
    again = [cost_row("90", **other), cost_row("5", **{**other, "BillingAccountId": "acct-4"})]
    write_lab(tmp_path, {"two/delivered=2026-10-09/bill.csv": again})
    lab = open_lab(folder, progress=False)
    assert restated_months(lab) == {"2026-09": date(2026, 10, 5)}
    assert first_delivered(lab, "2026-09") == {"CloudOne": date(2026, 10, 2), "CloudTwo": date(2026, 10, 5)}
    summary = restated(lab, "2026-09").summary
    assert summary.select("ProviderName", "change", "rows_after", "BilledCost_change").rows() == [
        ("CloudOne", "unchanged", 2, Decimal(0)),
        ("CloudTwo", "re-priced", 1, Decimal(-910)),
        ("CloudTwo", "added", 1, Decimal(5)),
    ]
    # By a day of one's own, what came later is added.
    assert restated(lab, "2026-09", then="2026-10-02").summary["BilledCost_change"].sum() == 95
    # As of a day before it, the second delivery has not happened, and teaches nothing.
    then = open_lab(folder, as_of="2026-10-06", progress=False)
    assert restated_months(then) == {}
    assert matured(then, ["2026-09"])["final"].sum() == 31 * 1100
