"""Weeks and incidents of odd bills: nothing found, gaps, refunds, several currencies, names full of marks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pytest
from helpers import PLAIN_TOML, cost_row, write_lab

import finops_lab as fl
from finops_lab.errors import InputError
from finops_lab.lab import Lab, open_lab
from finops_lab.valuing.looking import burn_rates
from finops_lab.watching import anomalies, incident

FIRST, DAYS = date(2026, 6, 1), 90
HOSTILE = "a|b*c_d*<script>alert(1)</script>"
Amount = Callable[[int], int | None]


def bills(amount: Amount, **same: str) -> Iterator[dict[str, str | None]]:
    """Write a row for each day that has an amount."""
    for n in range(DAYS):
        begin, end = FIRST + timedelta(days=n), FIRST + timedelta(days=n + 1)
        month, after = begin.replace(day=1), (begin.replace(day=1) + timedelta(days=32)).replace(day=1)
        if (charged := amount(n)) is not None:
            yield cost_row(
                str(charged),
                ChargePeriodStart=f"{begin}T00:00:00Z",
                ChargePeriodEnd=f"{end}T00:00:00Z",
                BillingPeriodStart=f"{month}T00:00:00Z",
                BillingPeriodEnd=f"{after}T00:00:00Z",
                **same,
            )


def lab_of(folder: Path, *rows: Iterator[dict[str, str | None]], toml: str = PLAIN_TOML) -> Lab:
    write_lab(folder, {"bills.csv": [row for part in rows for row in part]}, toml)
    return open_lab(folder, progress=False)


def steady(n: int) -> int:
    return 100 + n % 3


def test_days_that_cost_less_are_told_so_in_a_lab_without_events(tmp_path: Path) -> None:
    toml = PLAIN_TOML.replace("Test lab", "a*b*c")
    lab = lab_of(tmp_path, bills(steady, ServiceName=HOSTILE), toml=toml)
    # A moment is as good as its day; 20 August costs 1 less than usual.
    mortem = fl.postmortem(lab, datetime(2026, 8, 18, 5, tzinfo=UTC), "2026-08-18", f"service={HOSTILE}")
    excess = mortem.found.impact["excess"][0]
    assert excess < 0
    # Parts add up to what is told.
    assert mortem.found.explanation.excess == pytest.approx(excess, abs=Decimal("0.000001"))
    assert "instead of" not in mortem.damage().finding
    low, high = mortem.found.impact.select("excess_low", "excess_high").row(0)
    assert low < high
    assert mortem.found.sentence.startswith("cost $1 less than the $101 expected, ")
    assert "-" not in mortem.found.sentence
    # Names are no marks of a page.
    head = mortem._repr_html_()
    assert "<em>" not in head and "<script>" not in head and "a*b*c" in head
    for section in (mortem.cost(), mortem.timeline(), mortem.checklist(), mortem.causes(), mortem.damage()):
        assert "<script>" not in "".join(p.html for p in section.parts if hasattr(p, "html"))
    with pytest.raises(InputError, match=r"nothing is known of provider P\. Hint: known are: CloudOne"):
        incident(lab, "2026-08-20", "2026-08-20", "provider=P")
    week = fl.weekly(lab, datetime(2026, 8, 20, 5, tzinfo=UTC))
    assert week.last == date(2026, 8, 20) and "<em>" not in week._repr_html_()
    for day in (date.max, date.min):
        with pytest.raises(InputError, match="no charges in the week"):
            fl.weekly(lab, day)
    assert fl.alerts(lab, datetime(2026, 8, 1, tzinfo=UTC), at="2026-08-20").alerts.is_empty()
    with pytest.raises(InputError, match="has no time zone"):
        burn_rates(lab, "2026-08-20")  # type: ignore[arg-type]
    # In UTC it is still the day before, which is not over.
    there = datetime(2026, 8, 22, 0, 30, tzinfo=timezone(timedelta(hours=2)))
    assert anomalies(lab, at=there, store=False).days["day"].max() == date(2026, 8, 20)


def test_days_that_no_export_tells_of_are_no_saving(tmp_path: Path) -> None:
    lab = lab_of(tmp_path, bills(lambda n: None if 80 <= n < 83 else steady(n)))
    with pytest.raises(InputError, match="nothing is known of the charges from 2026-08-20 to 2026-08-22"):
        incident(lab, "2026-08-20", "2026-08-22")
    found = incident(lab, "2026-08-19", "2026-08-22")
    row = found.impact.row(0, named=True)
    assert row["days_unknown"] == 3 and row["actual"] == steady(79)
    assert row["expected"] == pytest.approx(Decimal(101), abs=2)
    assert "without 3 days that no export tells of" in found.sentence
    # Parts know the weeks before only, not which days are missing.
    assert "instead of -$" in fl.postmortem(lab, "2026-08-19", "2026-08-22").damage().finding
    week = fl.weekly(lab, "2026-08-29")
    (total,) = (row for row in week.spenders().values["spenders"] if row["dimension"] == "total")
    # Of the week before, four days are known.
    assert (total["before"], total["change"]) == (None, None)
    assert "unknown in the week before" in week.spenders().finding
    (partly,) = (
        row
        for row in fl.weekly(lab, "2026-08-22").spenders().values["spenders"]
        if row["dimension"] == "total"
    )
    spent = fl.weekly(lab, "2026-08-22").spenders()
    assert "** in the week, 4 of 7 days billed, $" in spent.finding
    assert "4 of 7 days billed" in spent.parts[0]._repr_html_()
    assert "days billed" not in week.spenders().finding
    assert partly["expected"] is None and partly["before"] == sum(steady(n) for n in range(69, 76))


def test_what_is_paid_back_is_not_foretold_and_a_currency_is_named(tmp_path: Path) -> None:
    lab = lab_of(
        tmp_path,
        bills(lambda n: -steady(n), ServiceName="Refunds"),
        bills(lambda n: 1000, ServiceName="Storage", BillingCurrency="EUR"),
        bills(lambda n: 500 + 60 * (n == 80), ServiceName="Compute"),
    )
    with pytest.raises(InputError, match="less than nothing"):
        incident(lab, "2026-08-20", "2026-08-20", "service=Refunds")
    whole = fl.postmortem(lab, "2026-08-20", "2026-08-20")
    assert whole.found.scope == "everything in EUR"
    assert whole.found.sentence.startswith("cost €0 more than the €1,000 expected, €0 to €0")
    # The other currency is looked at where it is asked for: 80 days after the first, 560 less the 102 refunded.
    other = fl.postmortem(lab, "2026-08-20", "2026-08-20", currency="USD")
    assert other.found.scope == "everything in USD"
    assert other.found.impact["actual"][0] == 560 - steady(80)
    assert other.found.impact["expected"][0] == pytest.approx(Decimal(399), abs=2)
    damage = other.found.damage.filter(dimension="service")
    assert set(damage["value"]) == {"Compute", "Refunds"}, "what is paid in EUR is no part of it"
    for scope, code, says in (
        ("", "GBP", "everything has no charges in GBP. Hint: known are: EUR, USD"),
        ("service=Compute", "EUR", "service Compute has no charges in EUR. Hint: known are: USD"),
    ):
        with pytest.raises(InputError, match=says):
            incident(lab, "2026-08-20", "2026-08-20", scope, currency=code)
    # Nothing more was paid: nobody has a part of it.
    assert whole.damage().finding.startswith("**No more was paid than expected**")
    ranked = fl.weekly(lab, "2026-08-20").spenders().values["spenders"]
    (refunds,) = (row for row in ranked if row["value"] == "Refunds")
    assert refunds["amount"] < 0 and refunds["expected"] is None


def test_an_empty_lab_has_nothing_to_look_at(tmp_path: Path) -> None:
    lab = open_lab(write_lab(tmp_path, {}), progress=False)
    with pytest.raises(InputError, match="no charges to look at"):
        incident(lab, "2026-08-20", "2026-08-20")
