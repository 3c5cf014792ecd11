"""Cases at the edges of planning: where an amount was counted twice, cut off or said to be zero."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import polars as pl
import pytest

from finops_lab.config import Credit, feature_plan
from finops_lab.errors import InputError
from finops_lab.forecasting.components import ended
from finops_lab.planning.budget_alerts import checks
from finops_lab.planning.budget_status import STATUS
from finops_lab.planning.credits import cliff, credits_of, monthly_bill
from finops_lab.planning.feature_budget import budget_of
from finops_lab.planning.lifecycle import SERVED, TRAINED, lifecycle

LAST = date(2026, 10, 1)


def credited(provider: str, text: str, month: int, amount: int) -> dict[str, object]:
    return {
        "ChargePeriodStart": datetime(2026, month, 1, tzinfo=UTC),
        "ChargeCategory": "Credit" if amount < 0 else "Usage",
        "ChargeClass": None,
        "ChargeFrequency": None,
        "ChargeDescription": text,
        "ProviderName": provider,
        "BillingCurrency": "USD",
        "BilledCost": Decimal(amount),
    }


def test_a_grant_that_two_providers_credit_is_one_grant() -> None:
    both = [("A", 9), ("B", 9), ("A", 10), ("B", 10)]
    rows = [credited(one, "Promo", month, -10) for one, month in both]
    rows += [credited("A", "Use", month, 100) for month in (9, 10)]
    bill = pl.DataFrame(rows, schema_overrides={"ChargeClass": pl.String, "ChargeFrequency": pl.String})
    rule = Credit(name="promo", where={"ChargeDescription": ("Promo",)}, grant=Decimal(100))
    found = credits_of(bill, [rule], month=LAST)
    told = found.select(
        "credit", "ProviderName", pl.col("credited", "a_month", "left").cast(pl.Int64), "ends"
    )
    assert told.rows() == [("promo", "A, B", -40, -20, 60, date(2027, 1, 1))]
    ahead = pl.DataFrame({"ds": pl.date_range(date(2026, 11, 1), date(2027, 4, 1), "1mo", eager=True)})
    ahead = ahead.with_columns(
        *[pl.lit(100.0).alias(n) for n in ("yhat", "lo_80", "hi_80", "lo_95", "hi_95")]
    )
    ahead = ahead.with_columns(lo_50="yhat", hi_50="yhat")
    months = cliff(monthly_bill(bill, month=LAST), found, ahead).months
    assert months["credits"].sum() == -100


def test_a_credit_called_like_a_rule_that_it_does_not_fit_has_no_grant_of_it() -> None:
    bill = pl.DataFrame([credited("A", "x", 10, -10), credited("B", "promo", 10, -10)])
    rule = Credit(name="promo", where={"ProviderName": ("A",)}, grant=Decimal(100))
    found = credits_of(bill, [rule], month=LAST)
    assert found.select("credit", "ProviderName", pl.col("grant").cast(pl.Int64)).rows() == [
        ("promo", "A", 100),
        ("promo", "B", None),
    ]


def test_a_grant_that_outlasts_the_calendar_has_no_known_end() -> None:
    bill = pl.DataFrame([credited("A", "Promo", 10, -1)])
    rule = Credit(name="promo", where={"ProviderName": ("A",)}, grant=Decimal(10**12))
    assert credits_of(bill, [rule], month=LAST).select("ends", "basis").row(0) == (None, "unknown")


def test_what_values_without_a_budget_spent_is_unknown_where_nothing_is_known() -> None:
    rows: list[dict[str, object]] = [
        {"name": "team a", "dimension": "team", "key": "a", "period": "month", "budget": Decimal(60)},
        {"name": "team: the rest", "dimension": "team", "period": "month"},
    ]
    for actual, said in ((None, None), (Decimal(7), 7)):
        rows[1]["actual"] = actual
        assert checks(pl.DataFrame(rows, schema=STATUS))["unbudgeted"].item() == said


def test_a_driver_that_changes_nothing_explains_nothing() -> None:
    model = {"model": "m", "input_usd_per_mtok": 2, "output_usd_per_mtok": 8}
    usage = {"input_tokens": {"low": 1, "likely": 2, "high": 3}, "output_tokens": 0}
    for sessions, share in ((0, 0.0), (9, 1.0)):
        plan = feature_plan(
            {"name": "x", "from": "2028-01", "months": 2, "models": [model], "draws": 1000,
             "usage": usage | {"sessions_per_day": sessions}}
        )  # fmt: skip
        assert budget_of(plan).indices.select("first_order", "total_order").rows() == [(share, share)]


def test_a_life_of_no_months_is_refused() -> None:
    made = pl.DataFrame([("m", "v", LAST, "train", 1, Decimal(9))], schema=TRAINED, orient="row")
    with pytest.raises(InputError, match="a month and more"):
        lifecycle(made, pl.DataFrame(schema=SERVED), model="m", version="v", last=LAST, months=0)


@pytest.mark.parametrize(
    ("months", "gone"),
    [
        (["2026-09", "2026-10"], []),  # a young lab
        (["2026-07", "2026-08", "2026-10"], []),  # the bill of September is not there
        (["2026-10"], ["Seats"]),  # once is not yet again
        (["2026-06", "2026-07"], ["Seats"]),
    ],
)
def test_a_monthly_purchase_goes_on_through_a_missing_month_and_in_a_young_lab(
    months: list[str], gone: list[str]
) -> None:
    use = [(month, "Usage", "EC2", 9) for month in {*months, "2026-10"}]
    rows = use + [(month, "Purchase", "Seats", 5) for month in months]
    names = ["x_ChargeMonth", "ChargeCategory", "ServiceName", "EffectiveCost"]
    bill = pl.DataFrame(rows, schema=names, orient="row").with_columns(ProviderName=pl.lit("A"))
    assert ended(bill, LAST).collect()["ServiceName"].to_list() == gone
