"""The scorecard: twelve rows, the right target, a status that bounds can make unclear, explanations."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from finops_lab.config import KpiTarget, Rate
from finops_lab.config._kpi_measures import HEADLINE_OF, MEASURES
from finops_lab.errors import InputError
from finops_lab.money import MONEY, divided
from finops_lab.unit_economics.figures import Definition, figures
from finops_lab.unit_economics.kpis import HEADLINES, NAMES, kpis
from finops_lab.unit_economics.schemas import BY, BY_ENGINE, FIGURES
from finops_lab.unit_economics.targets import DEFAULTS, of_everything, with_targets
from finops_lab.unit_economics.training_cost import BY_JOB
from finops_lab.unit_economics.utilization import BY_GPU
from finops_lab.valuing import DEFINITIONS
from finops_lab.valuing.targets import usual

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
    # Whose GPUs nobody knows can meet no target, and miss none.
    assert least == ["0.5", "0.8", "0.5", None, "0.3", None]
    assert told["status"].to_list() == ["met", "missed", "met", "no target", "met", "no target"]
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


def test_a_target_can_be_of_every_figure_there_is_and_of_no_other() -> None:
    assert {(one.kpi, one.measure) for one in DEFINITIONS} == {
        (kpi, measure) for kpi, measures in MEASURES.items() for measure in measures
    }
    assert dict(HEADLINES) == HEADLINE_OF
    for measure, by in (
        ("M1 allocated_per_call", BY), ("M2 sm_active_peak", BY_GPU), ("M4 engine_p95", BY_ENGINE),
        ("M4 p95", (*BY, "pool_id")), ("M8 retrain_reported", BY_JOB), ("M12 margin", BY),
    ):  # fmt: skip
        kpi, name = measure.split()
        assert set(MEASURES[kpi][name]) == set(by), measure
    for said, words in (
        ({"kpi": "M1", "measure": "alocated_per_call"}, "did you mean 'allocated_per_call'"),
        ({"kpi": "M1", "measure": "nope"}, "M1 'nope': it must be one of allocated_per_call, "),
        ({"kpi": "M1", "dimension": "fture", "key": "chat"}, "did you mean 'feature'"),
        ({"kpi": "M2", "dimension": "customer", "key": "a"}, "M2 gpu_util is not told by 'customer'"),
        ({"kpi": "M4", "measure": "engine_p95", "dimension": "team", "key": "a"}, "not told by 'team'"),
    ):
        with pytest.raises(ValueError, match=words):
            KpiTarget.model_validate({**said, "at_most": "1"})


@pytest.mark.parametrize(
    ("coverage", "said", "status"),
    [
        (0.5, {"value": "0.70"}, "met"),
        (None, {"value": "0.70"}, "met"),
        (0.4, {"value": "0.70"}, "unclear"),
        (0.0, {"value": "0.10"}, "unclear"),
        # More data can only add to a sum of a month: above its target it is missed already.
        (0.4, {"kpi": "M8", "measure": "retrain_reported", "value": "7"}, "missed"),
        (0.4, {"kpi": "M8", "measure": "retrain_reported", "value": "5"}, "unclear"),
        # Of anomalies the bounds hold all that nobody has judged.
        (0.0, {"kpi": "M6", "measure": "anomalies_per_month", "value": "0", "upper": "1"}, "met"),
        (0.0, {"kpi": "M7", "measure": "gross_positive"}, "undefined"),
        (0.0, {"measure": "sm_active", "value": "0.1"}, "no target"),
    ],
)
def test_a_value_of_little_of_the_data_has_no_verdict(
    coverage: float | None, said: dict[str, Any], status: str
) -> None:
    unit = "months" if said.get("kpi") in ("M6", "M8") else None
    figure = row(**said, coverage=coverage, denominator_unit=unit)
    told = with_targets(frame(figure), [*DEFAULTS, KpiTarget(kpi="M8", at_most=Decimal(6))], HEADLINES)
    assert told["status"].item() == status
    words = f"only {(coverage or 0.0) * 100}% of the data is behind it" if status == "unclear" else None
    assert told["status_reason"].item() == words


def test_usual_targets_in_dollars_judge_no_other_money_unless_there_is_a_rate() -> None:
    rate = Rate.model_validate({"month": "2026-10", "from": "USD", "to": "JPY", "rate": "150"})
    rows = [
        row("12", kpi="M1", measure="allocated_per_call", unit="JPY per call", dimension=dimension)
        for dimension in (None, "team")
    ]
    statuses = []
    for rates, month in (([], OCTOBER), ([rate], SEPTEMBER), ([rate], OCTOBER)):
        targets, why = usual("JPY", rates, month)
        told = with_targets(frame(*rows), targets, HEADLINES, untargeted=why)
        statuses.append(told.select("status", "status_reason").rows())
    without = "the usual target is in USD, and [[rates]] has none to JPY for 2026-"
    nobody = ("no target", None)  # the team that no name is known of
    assert statuses == [
        [("no target", f"{without}10"), nobody],
        [("no target", f"{without}09"), nobody],
        [("met", None), nobody],
    ]
    assert usual("USD", [], OCTOBER) == (list(DEFAULTS), {})


def test_a_kpi_without_a_figure_still_has_its_target_and_the_unit_of_the_months_before() -> None:
    retrains = row("610", kpi="M8", measure="retrain_reported", unit="USD per month", month=SEPTEMBER)
    targets = [*DEFAULTS, KpiTarget(kpi="M8", at_most=Decimal(500))]
    told = with_targets(frame(retrains), targets, HEADLINES)
    found = kpis(told, OCTOBER, DEFINITIONS, targets=of_everything(targets, HEADLINES), currency="EUR")
    eighth = found.table.row(7, named=True)
    assert (eighth["value"], eighth["previous"], eighth["unit"]) == (None, 610, "USD per month")
    assert (eighth["status"], eighth["at_most"]) == ("undefined", 500)
    assert eighth["reason"] == "training_jobs has no retrains in this month"
    first = found.table.row(0, named=True)
    assert (first["unit"], first["at_most"]) == ("EUR per call", Decimal("0.10"))
    assert found.table["unit"].null_count() == 0
    with pytest.raises(InputError, match=r"for everything\. Hint: training_jobs has no retrains"):
        found.explain("M8")


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
    # Each names what is missing.
    assert others["reason"].n_unique() == 11
    assert others.filter(kpi="M11")["reason"].item() == "capacity_series has no rows in this month"
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
