"""The backtest's golden cases, that it is one batch, and what was said against what came."""

from __future__ import annotations

from datetime import date

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from finops_lab.calendar import add_months, days_in_month
from finops_lab.errors import InputError
from finops_lab.forecasting import backtest
from finops_lab.forecasting.tracking import RECOMPUTED, SCHEMA, said, variance

START = date(2025, 1, 1)


def series(amounts: list[float | None], uid: str = "a") -> pl.DataFrame:
    months = [add_months(START, n) for n in range(len(amounts))]
    return pl.DataFrame({"unique_id": uid, "ds": months, "y": amounts}, schema_overrides={"y": pl.Float64})


def of(result: pl.DataFrame, model: str) -> dict[str, float]:
    return result.row(by_predicate=pl.col("model") == model, named=True)


def test_a_constant_is_forecast_without_an_error() -> None:
    result = backtest(series([250.0] * 10), months=3, origins=2)
    for model in ("combination", "seasonal_naive", "last_month_flat"):
        assert of(result, model)["smape"] == pytest.approx(0.0)
        assert of(result, model)["bias"] == pytest.approx(0.0)
    assert of(result, "combination")["coverage_80"] == 1.0
    # The run-rate takes a fee for a rate: June and its 30 days make 258.33 of July and August.
    rate = of(backtest(series([250.0] * 8), months=2, origins=1), "run_rate")
    assert rate["bias"] == pytest.approx(31 / 30 - 1)


def test_a_daily_rate_is_the_run_rate() -> None:
    amounts = [8.0 * days_in_month(add_months(START, n)) for n in range(9)]
    result = backtest(series(amounts), months=2, origins=1)
    assert of(result, "run_rate")["smape"] == pytest.approx(0.0)
    # July's 31 days are August's, and one too many for September.
    assert of(result, "last_month_flat")["bias"] == pytest.approx(62 / 61 - 1)


def test_bias_has_the_sign_of_what_was_said_less_what_came() -> None:
    result = backtest(series([100.0] * 6 + [80.0, 80.0]), months=2, origins=1)
    assert of(result, "last_month_flat")["bias"] == pytest.approx(0.25)
    assert of(result, "combination")["bias"] > 0


def test_many_series_at_once_are_what_each_is_alone() -> None:
    panel = [
        series([100.0 + 7 * n + 13 * (n % 3) for n in range(size)], f"n{size:02}") for size in (9, 14, 27)
    ]
    # A last month before the origin that is unknown makes a forecast start earlier.
    panel.append(series([*[50.0 + n for n in range(11)], None, 60.0, 61.0, 62.0], "holed"))
    together = backtest(pl.concat(panel), months=3, origins=2)
    alone = pl.concat(
        backtest(one, months=3, origins=2) for one in sorted(panel, key=lambda p: p["unique_id"][0])
    )
    assert_frame_equal(together, alone, rel_tol=1e-9)


def test_what_was_said_sees_only_what_was_known_then() -> None:
    # Constant until the last two months: nobody could have said so.
    found = said(series([100.0] * 8 + [400.0, 500.0]), leads=[1, 2], months=2)
    assert found["unique_id"].unique().to_list() == ["a"] and dict(found.schema) == SCHEMA
    september, october = found.filter(ds=date(2025, 9, 1)), found.filter(ds=date(2025, 10, 1))
    assert september["yhat"].to_list() == pytest.approx([100.0, 100.0])
    assert october["said_after"].to_list() == [date(2025, 9, 1), date(2025, 8, 1)]
    assert october["yhat"][0] > 100.0 and october["yhat"][1] == pytest.approx(100.0)
    assert october["off"][1] == pytest.approx(100 / 500 - 1)
    assert september["inside_80"].to_list() == [False, False]
    assert set(found["source"]) == {RECOMPUTED}


def test_too_short_a_history_said_nothing() -> None:
    found = said(series([1.0] * 5), leads=[1, 3], months=3)
    # Three months must be known: of April one month before, of May too.
    assert found.select("ds", "lead").rows() == [(date(2025, 4, 1), 1), (date(2025, 5, 1), 1)]
    assert said(series([1.0] * 3), leads=[1]).is_empty()
    assert dict(said(series([None] * 9)).schema) == SCHEMA


def test_a_month_that_never_became_known_is_not_judged() -> None:
    found = said(series([*[10.0] * 8, None, 10.0]), leads=[1, 2], months=2)
    september = found.filter(ds=date(2025, 9, 1))
    assert september["y"].to_list() == [None, None] and september["off"].null_count() == 2
    assert september["inside_80"].null_count() == 2
    # October one month before knew nothing of September: it was said after August, two months ahead.
    assert found.filter(ds=date(2025, 10, 1))["yhat"].to_list() == pytest.approx([10.0, 10.0])


def test_variance_by_hand() -> None:
    rows = said(series([100.0] * 9), leads=[1], months=1).drop("off", "inside_80")
    told = rows.with_columns(yhat=90.0, lo_80=85.0, hi_80=100.0, y=pl.lit(100.0))
    assert variance(told).select("off", "inside_80").row(0) == (pytest.approx(-0.1), True)
    assert variance(told.with_columns(hi_80=99.9)).item(0, "inside_80") is False
    credit = variance(told.with_columns(y=pl.lit(-100.0)))
    assert credit.item(0, "off") == pytest.approx(1.9)  # said too high, whatever the sign
    assert variance(told.with_columns(y=pl.lit(0.0))).item(0, "off") is None
    with pytest.raises(InputError, match="column lead"):
        variance(told.drop("lead"))


def test_a_forecast_knows_the_events_before_its_origin_and_none_after() -> None:
    amounts = [100.0] * 10
    amounts[6] = 900.0
    labelled = pl.DataFrame(
        {"unique_id": ["a", "a"], "first": [date(2025, 7, 1), date(2025, 9, 1)], "last": [date(2025, 7, 1), None],
         "kind": ["one_off", "price_cut"], "factor": [None, 0.5], "amount": [800.0, None], "name": ["run", "cut"]}
    )  # fmt: skip
    found = said(series(amounts), leads=[1, 2], months=2, events=labelled)
    # September was said in August and July, when nobody knew of the cut; October in September knows it.
    assert found.filter(ds=date(2025, 9, 1))["yhat"].to_list() == pytest.approx([100.0, 100.0])
    plain = said(series(amounts), leads=[1, 2], months=2)
    assert (plain["yhat"] > 300.0).any()
    known = of(backtest(series(amounts), months=2, origins=1, events=labelled[:1]), "combination")
    assert known["smape"] == pytest.approx(0.0)


def test_bad_leads_are_refused() -> None:
    with pytest.raises(InputError, match="lead 0 must be a whole number of at least 1"):
        said(series([1.0] * 9), leads=[0])
