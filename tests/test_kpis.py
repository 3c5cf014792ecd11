"""The scorecard: twelve rows, the right target, a status that bounds can make unclear, explanations."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from finops_lab.config import KpiTarget
from finops_lab.errors import InputError
from finops_lab.money import MONEY, divided
from finops_lab.unit_economics.figures import Definition, figures
from finops_lab.unit_economics.kpis import HEADLINES, NAMES, kpis
from finops_lab.unit_economics.schemas import FIGURES
from finops_lab.unit_economics.targets import DEFAULTS, with_targets

OCTOBER, SEPTEMBER = date(2026, 10, 1), date(2026, 9, 1)
RATE = Definition(
    "M5", "error_rate", "Error rate", "ratio", "failed calls", "finished calls",
    "failed / finished calls", ("inference_requests",), nothing="no finished calls",
)  # fmt: skip


def row(value: str | None = None, **said: Any) -> dict[str, Any]:
    exact = {"value": value, **{n: said.pop(n, None) for n in ("lower", "upper")}}
    told = {name: None if text is None else Decimal(text) for name, text in exact.items()}
    return {"kpi": "M2", "measure": "gpu_util", "month": OCTOBER} | said | told


def frame(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=FIGURES, orient="row")


@pytest.mark.parametrize(
    ("value", "lower", "upper", "status"),
    [
        ("0.60", None, None, "met"),
        ("0.85", None, None, "met"),
        ("0.59", None, None, "missed"),
        ("0.86", None, None, "missed"),
        ("0.60", "0.59", "0.61", "unclear"),
        ("0.70", "0.69", "0.71", "met"),
        ("0.50", "0.49", "0.51", "missed"),
        ("0.70", "0.10", "0.99", "unclear"),
        ("0.60", "0.60", None, "met"),
        (None, None, None, "undefined"),
    ],
)
def test_a_status_counts_the_bounds_of_a_value(
    value: str | None, lower: str | None, upper: str | None, status: str
) -> None:
    told = with_targets(frame(row(value, lower=lower, upper=upper)), DEFAULTS, HEADLINES)
    assert told["status"].to_list() == [status]


def test_the_most_special_target_counts() -> None:
    targets = [
        *DEFAULTS,
        KpiTarget(kpi="M2", at_least=Decimal("0.5")),
        KpiTarget(kpi="M2", measure="sm_active", at_least=Decimal("0.3")),
        KpiTarget(kpi="M2", dimension="team", key="search", at_least=Decimal("0.8")),
    ]
    rows = [
        row("0.7"),
        row("0.7", dimension="team", key="search"),
        row("0.7", dimension="team", key="chat"),
        row("0.7", dimension="team", key=None),
        row("0.7", measure="sm_active"),
        row("0.7", measure="gpu_util_peak"),
    ]
    told = with_targets(frame(*rows), targets, HEADLINES)
    least = [None if v is None else str(v.normalize()) for v in told["at_least"]]
    assert least == ["0.5", "0.8", "0.5", "0.5", "0.3", None]
    assert told["status"].to_list() == ["met", "missed", "met", "met", "met", "no target"]
    # A later target replaces an earlier one as a whole: the default's upper end is gone.
    assert told["at_most"].to_list() == [None] * 6


def test_a_target_must_say_something_that_can_be_met() -> None:
    with pytest.raises(ValueError, match="at_least, at_most or both"):
        KpiTarget(kpi="M2")
    with pytest.raises(ValueError, match="below at_least"):
        KpiTarget(kpi="M2", at_least=Decimal(2), at_most=Decimal(1))
    with pytest.raises(ValueError, match="belong together"):
        KpiTarget(kpi="M2", at_least=Decimal(2), dimension="team")
    with pytest.raises(ValueError, match="pattern"):
        KpiTarget(kpi="M13", at_least=Decimal(2))


def of_calls() -> pl.DataFrame:
    rows = pl.DataFrame(
        {
            "month": [OCTOBER, SEPTEMBER, OCTOBER, OCTOBER],
            "key": [None, None, "chat", "search"],
            "numerator": [3, 1, 3, 0],
            "denominator": [8, 8, 8, 0],
            "rows": [9, 8, 9, 0],
        }
    )
    whole = figures(rows.filter(pl.col("key").is_null()), RATE)
    return pl.concat([whole, figures(rows.filter(pl.col("key").is_not_null()), RATE, dimension="feature")])


def test_the_scorecard_has_twelve_rows_and_says_what_is_missing() -> None:
    told = with_targets(of_calls(), [KpiTarget(kpi="M5", at_most=Decimal("0.2"))], HEADLINES)
    found = kpis(told, OCTOBER, [RATE])
    assert found.table["kpi"].to_list() == list(NAMES) == [f"M{n}" for n in range(1, 13)]
    error = found.table.row(4, named=True)
    assert (error["value"], error["previous"], error["status"]) == (
        Decimal("0.375"),
        Decimal("0.125"),
        "missed",
    )
    assert error["trend"] == [None] * 10 + [Decimal("0.125"), Decimal("0.375")]
    assert (error["numerator"], error["denominator"], error["how"]) == (3, 8, "failed / finished calls")
    others = found.table.filter(pl.col("kpi") != "M5")
    assert others["value"].is_null().all()
    assert set(others["reason"]) == {"the lab has no data for it in this month"}
    assert set(others["status"]) == {"undefined"}


def test_months_after_the_one_asked_for_do_not_count() -> None:
    told = with_targets(of_calls(), DEFAULTS, HEADLINES)
    found = kpis(told, SEPTEMBER, [RATE])
    assert found.table.row(4, named=True)["value"] == Decimal("0.125")
    assert found.figures["month"].max() == SEPTEMBER


def test_a_figure_explains_itself() -> None:
    found = kpis(with_targets(of_calls(), DEFAULTS, HEADLINES), OCTOBER, [RATE])
    said = dict(found.explain("M5").rows())
    assert said["value"] == "0.375 ratio"
    assert (said["numerator"], said["denominator"]) == ("3 failed calls", "8 finished calls")
    assert (said["formula"], said["tables"], said["rows"]) == (
        "failed / finished calls", "inference_requests", "9",
    )  # fmt: skip
    empty = dict(found.explain("M5", dimension="feature", key="search").rows())
    assert (empty["value"], empty["why undefined"]) == ("undefined", "no finished calls")
    with pytest.raises(InputError, match="no figure for feature nobody"):
        found.explain("M5", dimension="feature", key="nobody")
    with pytest.raises(InputError, match="no measure M5 speed"):
        found.explain("M5", "speed")


def test_by_a_dimension_and_over_time() -> None:
    found = kpis(with_targets(of_calls(), DEFAULTS, HEADLINES), OCTOBER, [RATE])
    assert found.by("feature").select("key", "numerator").rows() == [("chat", 3), ("search", 0)]
    assert found.trend("M5")["month"].to_list() == [SEPTEMBER, OCTOBER]
    with pytest.raises(InputError, match="no KPI is told by 'planet'"):
        found.by("planet")


def test_a_division_is_exact_and_rounded_once() -> None:
    assert divided(Decimal(1), Decimal(3)) == Decimal("0.333333333333333333")
    assert divided(Decimal("0.000000000000000001"), Decimal(2)) == Decimal(0)
    assert divided(Decimal("0.000000000000000003"), Decimal(2)) == Decimal("0.000000000000000002")
    assert divided(Decimal(1), Decimal(0)) is None
    assert divided(None, Decimal(3)) is None
    assert divided(Decimal(5), Decimal(2), times=1_000_000) == Decimal(2_500_000)


def test_the_unit_names_the_currency_of_the_ledger() -> None:
    per_call = Definition("M1", "m", "t", "{currency} per call", "{currency}", "calls", "f", ("ledger",))
    rows = pl.DataFrame({"month": [OCTOBER], "numerator": [1], "denominator": [2]})
    told = figures(rows, per_call, currency="EUR")
    assert told.select("unit", "numerator_unit", "denominator_unit").row(0) == (
        "EUR per call",
        "EUR",
        "calls",
    )
    assert told.schema["value"] == MONEY
    with pytest.raises(InputError, match="need the columns month"):
        figures(rows.drop("month"), per_call)
