"""Before and after the core: outliers, events, prices, components, and the way back."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from pydantic import ValidationError

from finops_lab import config
from finops_lab.calendar import add_months, days_in_month
from finops_lab.errors import InputError
from finops_lab.forecasting import cleaned, forecast
from finops_lab.forecasting import panel as panels
from finops_lab.forecasting.cleaning import expected
from finops_lab.forecasting.combination import project, project_all
from finops_lab.forecasting.components import ended
from finops_lab.forecasting.events import EVENTS_SCHEMA, events_frame
from finops_lab.forecasting.knowledge import read_knowledge

SHARED = Path(__file__).parents[2] / "shared" / "data" / "forecast"
START = date(2023, 1, 1)
VALUES = list(panels.VALUES)


def series(y, uid="a", start=START):
    y = [None if v is None else float(v) for v in y]
    return pl.DataFrame(
        {"unique_id": [uid] * len(y), "ds": [add_months(start, i) for i in range(len(y))], "y": y},
        schema={"unique_id": pl.String, "ds": pl.Date, "y": pl.Float64},
    )


def usage(n, seed=1, growth=1.01):
    """Spend with growth, a yearly season and noise, by day and then by month."""
    rng, t = np.random.default_rng(seed), np.arange(n)
    rate = 100 * growth**t * (1 + 0.1 * np.sin(2 * np.pi * t / 12)) * (1 + 0.03 * rng.standard_normal(n))
    return rate * days(n)


def days(n, start=START):
    return np.array([days_in_month(add_months(start, i)) for i in range(n)], dtype=float)


def event(kind, first, last=None, *, uid="a", factor=None, amount=None, name="it"):
    """Label months counted from the first month of the series; `last` included."""
    months = (add_months(START, first), None if last is None else add_months(START, last))
    return pl.DataFrame([(uid, *months, kind, factor, amount, name)], schema=EVENTS_SCHEMA, orient="row")


def replaced(y):
    return np.flatnonzero(~np.isnan(expected(np.array(y, dtype=float)))).tolist()


# Outliers

NOISE = 1 + 0.03 * np.random.default_rng(7).standard_normal(36)


def test_an_isolated_month_is_replaced_by_the_level_around_it():
    y = 100 * NOISE
    y[20] = 500
    assert replaced(y) == [20]
    assert expected(y)[20] == pytest.approx((np.median(y[17:20]) + np.median(y[21:24])) / 2, rel=0.05)
    y[20] = 0
    assert replaced(y) == [20]


def test_two_months_in_a_row_are_an_exception_and_three_a_level():
    y = 100 * NOISE
    y[20:22] = 400
    assert replaced(y) == [20, 21]
    y[22] = 400
    assert replaced(y) == []


@pytest.mark.parametrize("size", [0.0, 0.3, 3.0, 5.0])
@pytest.mark.parametrize("since", [1, 2, 4, 12])
def test_what_stays_is_a_level_and_no_outlier(size, since):
    y = 100 * NOISE
    y[-since:] *= size
    assert replaced(y) == []


@pytest.mark.parametrize("n", [24, 30, 36])
def test_a_peak_of_every_year_is_a_season(n):
    y = 100 * NOISE[:n]
    y[11::12] *= 4
    assert replaced(y) == []
    y[n - 5] *= 6  # another month, once
    assert replaced(y) == [n - 5]


def test_a_series_that_is_often_far_off_is_left_as_it_is():
    y = 100 * NOISE
    y[[4, 9, 17, 26, 31]] *= 5
    assert replaced(y) == []


def test_a_first_year_takes_more_to_be_an_outlier():
    # Whether a double December comes back, one year does not say.
    y = 100 * NOISE[:14]
    y[7] = 200
    assert replaced(y) == []
    y[7] = 500
    assert replaced(y) == [7]
    assert replaced([100, 100, 100, 900, 100, 100, 100]) == []


def test_growth_noise_and_holes_are_no_outliers():
    assert replaced(100 * 1.2 ** np.arange(36)) == []
    assert replaced(np.random.default_rng(3).lognormal(0, 0.5, 36)) == []
    y = 100 * NOISE
    y[[10, 11, 19]] = np.nan
    assert replaced(y) == []
    y[20] = 500
    assert replaced(y) == [20]
    assert replaced(np.zeros(20)) == replaced([np.nan] * 20) == replaced([]) == []


@pytest.mark.parametrize("factor", [1e-6, 1000.0, -1.0])
def test_outliers_do_not_depend_on_the_unit_and_credits_mirror_charges(factor):
    y = 100 * NOISE * days(36)
    y[20] *= 5
    shown = cleaned(series(y * factor))
    assert shown["ds"].to_list() == [add_months(START, 20)]
    assert shown["y_used"][0] == pytest.approx(cleaned(series(y))["y_used"][0] * factor)


@pytest.mark.parametrize("name", ["m4_monthly", "m3_monthly"])
def test_real_series_are_hardly_touched_and_planted_outliers_found(name):
    path = SHARED / name / "dev.parquet"
    if not path.exists():
        pytest.skip("the series are not there")
    real = [np.array(y[-36:]) for _, y, _ in pl.read_parquet(path).rows() if len(y) >= 36]
    assert sum(bool(replaced(y)) for y in real) <= 0.01 * len(real)
    found = 0
    for y in real:
        y[-8] *= 5
        found += 28 in replaced(y)
    assert found >= 0.85 * len(real)


def test_a_spoilt_month_hardly_moves_the_forecast_unless_asked():
    y = usage(36)
    spoilt = y.copy()
    spoilt[28] *= 5
    as_is, treated, raw = (
        forecast(series(values), 6, clean=clean)["yhat"].to_numpy()
        for values, clean in ((y, True), (spoilt, True), (spoilt, False))
    )
    assert np.abs(treated / as_is - 1).max() < 0.03
    assert np.abs(raw / as_is - 1).max() > 0.2


def test_every_month_not_taken_as_billed_is_shown():
    y = usage(36)
    y[28] *= 5
    y[5] = np.nan
    labels = pl.concat([event("one_off", 14, 15, name="run"), event("launch", 33, uid="none", factor=2.0)])
    shown = cleaned(series(y), events=labels)
    assert shown["ds"].to_list() == [add_months(START, i) for i in (5, 14, 15, 28)]
    assert shown["reason"].to_list() == ["missing", "event 'run'", "event 'run'", "outlier"]
    assert shown["y"].to_list() == [None, y[14], y[15], y[28]]
    assert shown["y_used"].to_list() == pytest.approx(usage(36)[[5, 14, 15, 28]], rel=0.15)
    assert cleaned(series(usage(36)), clean=False).is_empty()
    assert cleaned(series([]).clear()).schema == shown.schema


# One by one or all at once


def test_many_at_once_are_what_each_is_alone():
    panel = pl.concat(
        [
            series(usage(30), "a"),
            series([None, None], "b"),
            series(usage(5), "c"),
            series(usage(12), "masked"),
            series([9.0] * 9, "fee"),
        ]
    )
    known = read_knowledge(event("credit", 10, uid="masked"), None, 5)
    many = panels.read_panel(panel)
    for one, (model, values) in zip(many, project_all(many, 4, known), strict=True):
        alone = project(one, 4, known)
        assert model == alone[0]
        np.testing.assert_array_equal(values, alone[1])
    assert project_all([], 4) == []


# Prices

PATH = np.array([1.5] * 10 + [1.2] * 14 + [1.0] * 12 + [0.8, 0.8, 0.7, 0.7, 0.7, 0.7])


def index(path, uid="a"):
    return series(path, uid).rename({"y": "index"})


def assert_same(one, other, rel=1e-7):
    assert_frame_equal(one, other, rel_tol=rel)


def test_use_is_forecast_and_the_price_ahead_put_on_it():
    y = usage(36)
    expected_ahead = forecast(series(y), 6).with_columns(pl.col(VALUES) * pl.Series(PATH[36:]))
    assert_same(forecast(series(y * PATH[:36]), 6, price_index=index(PATH)), expected_ahead)
    # The same index for every series; its own rows go before it.
    shared = pl.concat([index(PATH, None), index(np.ones(36), "b")])
    both = pl.concat([series(y * PATH[:36], "a"), series(y, "b")])
    result = forecast(both, 6, price_index=shared)
    assert_same(result.filter(unique_id="a"), expected_ahead)
    assert_same(result.filter(unique_id="b"), forecast(series(y, "b"), 6))


def test_months_ahead_without_a_price_keep_the_last():
    y = usage(10)
    result = forecast(series(y * PATH[3:13]), 3, price_index=index([*PATH[3:13], 0.6]))
    expected_ahead = forecast(series(y), 3).with_columns(pl.col(VALUES) * 0.6)
    assert_same(result, expected_ahead)


def test_a_series_that_the_index_does_not_hold_has_no_price():
    y = series(usage(6))
    assert_frame_equal(forecast(y, price_index=index([1.0], "other")), forecast(y))


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (index(PATH).drop("index"), "column index: the price index has no such column"),
        (index(PATH).with_columns(ds=pl.lit("2023")), "column ds: the price index has String here"),
        (index(PATH).with_columns(index=pl.lit(0.0)), "'a': 0.0 in 2023-01-01 is not above 0"),
        (index(PATH).with_columns(index=pl.lit(None, pl.Float64)), "None in 2023-01-01"),
        (index(PATH).with_columns(ds=pl.lit(None, pl.Date)), "a row without a month"),
        (index(PATH).with_columns(pl.col("ds").dt.offset_by("1d")), "2023-01-02 is not the first"),
        (pl.concat([index(PATH, None)] * 2), "every series: month 2023-01-01 comes twice"),
        (index(PATH)[:3], "of series 'a' has no month 2023-04-01"),
        (index(PATH)[1:], "of series 'a' has no month 2023-01-01"),
        ([1.0], "comes as a frame, not as a list"),
    ],
)
@pytest.mark.parametrize("function", [forecast, cleaned])
def test_a_bad_price_index_is_refused(frame, message, function):
    with pytest.raises(InputError, match=message):
        function(series(usage(5)), price_index=frame)


def test_a_labelled_price_cut_is_a_price_index():
    y, cut = usage(36), np.r_[np.ones(30), np.full(12, 0.65)]
    billed = series(y * cut[:36])
    labelled = forecast(billed, 6, events=event("price_cut", 30, factor=0.65))
    assert_same(labelled, forecast(billed, 6, price_index=index(cut)))
    assert_same(labelled, forecast(series(y), 6).with_columns(pl.col(VALUES) * 0.65))
    # A price that goes back, and one that rises in two months.
    back = forecast(billed, 6, events=event("price_cut", 30, 37, factor=0.65))
    assert_same(back.select("yhat")[2:], forecast(series(y), 6).select("yhat")[2:])
    ahead = (
        forecast(series(y), 3, events=event("price_rise", 37, factor=1.2))["yhat"]
        / forecast(series(y), 3)["yhat"]
    )
    assert ahead.to_list() == pytest.approx([1.0, 1.2, 1.2])


# Amounts that are known


def test_a_known_amount_is_taken_out_to_the_cent():
    y = usage(12)
    spoilt = y.copy()
    spoilt[5:7] += 7000
    result = forecast(series(spoilt), 3, events=event("one_off", 5, 6, amount=7000.0))
    assert_same(result, forecast(series(y), 3))
    shown = cleaned(series(spoilt), events=event("one_off", 5, 6, amount=7000.0, name="run"))
    assert shown["y_used"].to_list() == pytest.approx(y[5:7])
    assert set(shown["reason"]) == {"event 'run'"}


def test_a_planned_amount_comes_on_top_and_a_credit_comes_off_while_it_runs():
    y = usage(12)
    plain = forecast(series(y), 3)
    planned = forecast(series(y), 3, events=event("one_off", 13, 13, amount=500.0))
    on_top = pl.Series([0.0, 500.0, 0.0])
    assert_same(planned, plain.with_columns(pl.col(VALUES) + on_top))
    credited = y.copy()
    credited[8:] -= 400
    for last, off in ((None, [400.0, 400.0, 400.0]), (12, [400.0, 0.0, 0.0]), (11, [0.0] * 3)):
        result = forecast(series(credited), 3, events=event("credit", 8, last, amount=400.0))
        assert_same(result, plain.with_columns(pl.col(VALUES) - pl.Series(off)))


def test_an_amount_of_every_series_is_refused():
    both = pl.concat([series(usage(5), "a"), series(usage(5), "b")])
    labelled = event("credit", 1, 1, uid=None, amount=5.0)
    with pytest.raises(InputError, match="would count 2 times"):
        forecast(both, events=labelled)
    assert forecast(both[:5], events=labelled).height == 6


# Months that say nothing


@pytest.mark.parametrize("kind", ["one_off", "credit", "incomplete"])
def test_a_labelled_month_without_an_amount_is_like_a_missing_one(kind):
    y = usage(26)
    missing = series([None if i in (9, 10) else v for i, v in enumerate(y)])
    assert_frame_equal(forecast(series(y), 3, events=event(kind, 9, 10)), forecast(missing, 3))


def test_the_last_months_without_meaning_are_forecast_over():
    y = usage(30)
    y[28:] = 1e6
    result = forecast(series(y), 3, events=event("one_off", 28, 29))
    longer = forecast(series(y[:28]), 5).filter(pl.col("ds") >= add_months(START, 30))
    assert_frame_equal(result, longer)
    shown = cleaned(series(y), events=event("one_off", 28, 29))
    assert shown["y_used"].to_list() == [None, None]


def test_a_series_whose_months_all_say_nothing_has_no_history():
    both = pl.concat([series(usage(5), "a"), series(usage(5), "b")])
    result = forecast(both, 2, events=event("credit", -3))
    assert result["model"].to_list() == ["no_history"] * 2 + ["flat"] * 2
    assert result["ds"][0] == add_months(START, 5)
    assert result.filter(unique_id="a").select(pl.col(VALUES).is_null().all()).row(0) == (True,) * len(VALUES)
    assert_frame_equal(result.filter(unique_id="b"), forecast(both.filter(unique_id="b"), 2))


# Levels


def test_a_new_level_is_measured_with_season_and_trend_left_out():
    y = usage(36)
    launched = y.copy()
    launched[32:] *= 1.3
    would_be = forecast(series(y), 6)["yhat"].to_numpy() * 1.3
    plain, labelled = (
        forecast(series(launched), 6, events=events)["yhat"].to_numpy()
        for events in (None, event("launch", 32))
    )
    assert np.abs(labelled / would_be - 1).mean() < 0.5 * np.abs(plain / would_be - 1).mean()
    shown = cleaned(series(launched), events=event("launch", 32, name="chat"))
    assert shown["ds"].to_list() == [add_months(START, i) for i in range(32)]
    assert shown["reason"][0].startswith("launch 'chat': level before it times 1.")
    assert shown["y_used"].to_list() == pytest.approx(1.3 * y[:32], rel=0.07)


def test_too_little_after_it_the_drivers_say_the_level_or_nobody():
    y = usage(12) / 2
    for after in (1, 2):
        moved = y.copy()
        moved[12 - after :] *= 1.5
        halves = event("migration", 12 - after, factor=1.5)
        assert_same(forecast(series(moved), 3, events=halves), forecast(series(y * 1.5), 3))
        unsaid = event("migration", 12 - after)
        assert_frame_equal(forecast(series(moved), 3, events=unsaid), forecast(series(moved), 3))
    # Three months later what is seen counts, not what was expected.
    moved = 10 * days(12)
    moved[9:] *= 2
    seen = forecast(series(moved), 3, events=event("launch", 9, factor=1.1))
    assert seen["yhat"].to_list() == pytest.approx((20 * days(3, add_months(START, 12))).tolist())
    added = forecast(series([3100.0, 2800, 3100, 6100]), 1, events=event("launch", 3, amount=3000.0))
    assert added["yhat"][0] == pytest.approx(6200, rel=0.01)


def test_a_level_beyond_four_times_starts_a_history():
    y = usage(20)
    y[:12] /= 50
    result = forecast(series(y), 3, events=event("launch", 12))
    assert_frame_equal(result, forecast(series(y[12:], start=add_months(START, 12)), 3))
    shown = cleaned(series(y), events=event("launch", 12, name="chat"))
    assert shown["y_used"].to_list() == [None] * 12
    assert set(shown["reason"]) == {"launch 'chat': another level before it"}
    from_nothing = series([0.0] * 6 + list(usage(5)))
    assert forecast(from_nothing, 1, events=event("launch", 6))["yhat"][0] > 2500


def test_a_launch_ahead_is_what_its_drivers_say():
    y = series(usage(12))
    plain = forecast(y, 3)["yhat"].to_numpy()
    by_factor = forecast(y, 3, events=event("launch", 13, factor=1.4))["yhat"].to_numpy()
    by_amount = forecast(y, 3, events=event("launch", 13, amount=900.0))["yhat"].to_numpy()
    assert by_factor.tolist() == pytest.approx((plain * [1, 1.4, 1.4]).tolist())
    assert by_amount.tolist() == pytest.approx((plain + np.array([0, 900, 900])).tolist())
    assert_frame_equal(forecast(y, 3, events=event("launch", 13)), forecast(y, 3))


def test_two_levels_are_measured_one_after_the_other():
    rate = np.r_[np.full(8, 10.0), np.full(4, 15.0), np.full(4, 30.0)]
    labels = pl.concat([event("migration", 12, name="second"), event("launch", 8, name="first")])
    shown = cleaned(series(rate * days(16)), events=labels)
    assert (shown["y_used"] / pl.Series(days(12))).to_list() == pytest.approx([30.0] * 12)
    assert shown["reason"][0].count("level before it") == 2
    assert shown["reason"][10] == "migration 'second': level before it times 2.00"


def test_a_judge_of_the_past_knows_no_future_events():
    (one,) = panels.read_panel(series(usage(12)))
    ahead = pl.concat([event("price_cut", 13, factor=0.5), event("one_off", 13, 13, amount=9.0)])
    prices = index([1.0] * 13 + [3.0] * 2)
    foreseen, blind = (
        project(one, 3, read_knowledge(ahead, prices, 1, foresees=foresees))[1] for foresees in (True, False)
    )
    np.testing.assert_array_equal(blind, project(one, 3)[1])
    assert foreseen[0].tolist() == pytest.approx((blind[0] * [1, 1.5, 1.5] + [0, 9, 0]).tolist())


def test_order_and_events_of_others_change_nothing():
    y = usage(30)
    labels = pl.concat(
        [
            event("one_off", 4, 5, name="x"),
            event("launch", 20, name="y"),
            event("price_cut", 26, factor=0.9, name="z"),
        ]
    )
    strangers = pl.concat([labels, event("launch", 3, uid="other", factor=3.0)]).reverse()
    assert_frame_equal(forecast(series(y), events=labels), forecast(series(y), events=strangers.lazy()))


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (event("one_off", 1, 1).drop("kind"), "column kind: the events have no such column"),
        (event("one_off", 1, 1).with_columns(first=pl.lit("2023-01")), "column first: String where Date"),
        (event("party", 1, 1), r"event 'it': no kind 'party'\. Hint: one of one_off, credit"),
        (event("one_off", 1), "event 'it': one_off needs a last month"),
        (event("credit", 3, 1), "event 'it': its last month is before its first"),
        (event("credit", 1).with_columns(pl.col("first").dt.offset_by("9d")), "2023-02-10 is not the first"),
        (event("credit", 1).with_columns(first=pl.lit(None, pl.Date)), "column first: empty in some row"),
        (event("incomplete", 1, 1, amount=5.0), "incomplete has no amount"),
        (event("one_off", 1, 1, factor=2.0), "one_off has no factor"),
        (event("credit", 1, 1, amount=-5.0), "amount must be above 0, not -5.0"),
        (event("launch", 1, factor=float("nan")), "factor must be above 0, not nan"),
        (event("price_cut", 1, factor=1.35), "factor 1.35 is no price cut"),
        (event("price_rise", 1, factor=0.9), "factor 0.9 is no price rise"),
        (event("migration", 1, 3), "event 'it': a new level goes on"),
        ({"kind": "launch"}, "events come as a frame, not as a dict"),
    ],
)
def test_a_bad_event_is_refused(frame, message):
    with pytest.raises(InputError, match=message):
        forecast(series(usage(5)), events=frame)


# Events of finops.toml


def configured(**keys):
    return config.Event.model_validate({"name": "n", "kind": "launch", "from": "2023-03", **keys})


def test_events_of_the_configuration_become_a_frame_for_a_panel():
    events = [
        configured(kind="one_off", team="ads", amount="12.50"),
        configured(kind="credit", amount="7"),
        configured(kind="launch", dimension="model", key="m", factor="1.5"),
        configured(kind="price_rise", dimension="model", key="m", factor="1.5", to="2023-09"),
    ]
    march, rest = date(2023, 3, 1), (None, 12.5, "n")
    teams = events_frame(events, "team")
    assert teams.rows() == [
        ("ads", march, march, "one_off", *rest),
        (None, march, None, "credit", None, None, "n"),
    ]
    models = events_frame(events, "model").rows()
    assert models[1] == ("m", march, None, "launch", 1.5, None, "n") and len(models) == 3
    assert models[2] == ("m", march, date(2023, 9, 1), "price_rise", 1.5, None, "n")
    assert events_frame(events, None).rows() == [(None, march, None, "credit", None, 7.0, "n")]
    assert events_frame([], "team").schema == teams.schema
    assert forecast(series(usage(5), "ads"), events=teams).height == 6


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"to": "2023-02"}, "`to` is before"),
        ({"to": "2023-09"}, "a new level goes on"),
        ({"kind": "price_cut", "to": "2023-09"}, "a new level goes on"),
        ({"dimension": "model"}, "dimension and key belong together"),
        ({"team": "a", "dimension": "model", "key": "m"}, "write team, or dimension and key"),
        ({"kind": "one_off", "factor": "2"}, "one_off has no factor"),
        ({"kind": "price_cut", "amount": "2"}, "price_cut has no amount"),
        ({"kind": "price_cut", "factor": "1.2"}, "new price over the old"),
        ({"kind": "price_rise", "factor": "0.2"}, "new price over the old"),
        ({"factor": "1.2", "amount": "3"}, "not both"),
        ({"amount": "-3"}, "greater than 0"),
        ({"kind": "party"}, "Input should be"),
    ],
)
def test_a_bad_event_of_the_configuration_is_refused(keys, message):
    with pytest.raises(ValidationError, match=message):
        configured(**keys)


# Components


def charges(*rows):
    """Build ledger entries out of (month, category, amount, and what differs)."""
    plain = {
        "BillingCurrency": "USD",
        "ChargeClass": None,
        "ProviderName": "AWS",
        "ServiceName": "EC2",
        "x_team": "ads",
    }
    return pl.DataFrame(
        [
            {
                "x_ChargeMonth": month,
                "x_BillingMonth": month,
                "ChargeCategory": category,
                "EffectiveCost": Decimal(y),
            }
            | plain
            | rest
            for month, category, y, rest in (row if len(row) == 4 else (*row, {}) for row in rows)
        ],
        schema_overrides={"ChargeClass": pl.String, "EffectiveCost": pl.Decimal(38, 18)},
    )


MONTHS = [f"2026-0{i}" for i in range(1, 7)]
BILL = charges(
    *[(month, "Usage", 30 + i) for i, month in enumerate(MONTHS)],
    *[(month, "Purchase", 20, {"ServiceName": "seats"}) for month in MONTHS[2:]],
    *[(month, "Tax", 5) for month in MONTHS],
    (MONTHS[1], "Purchase", 900, {"ServiceName": "savings plan"}),
    (MONTHS[2], "Credit", -10),
    (MONTHS[3], "Adjustment", 1, {"x_team": "search"}),
    (MONTHS[2], "Usage", -2, {"ChargeClass": "Correction", "x_BillingMonth": MONTHS[4]}),
)


def gone(bill, last=date(2026, 6, 1), metric="EffectiveCost"):
    return sorted(ended(bill, last, metric).select("ChargeCategory", "ServiceName").collect().rows())


def test_what_was_paid_or_credited_at_times_does_not_go_on():
    # Seats are bought every month; the savings plan, the credit and the adjustment came once.
    services = BILL.filter(pl.col("ChargeCategory") != "Usage")["ServiceName"].unique()
    assert "seats" in services
    found = gone(BILL)
    assert ("Purchase", "seats") not in found and ("Purchase", "savings plan") in found
    assert {category for category, _ in found} == {"Purchase", "Credit", "Adjustment"}
    # By March the seats had been bought once, and by May three times.
    assert ("Purchase", "seats") in gone(BILL, date(2026, 3, 1))
    assert ("Purchase", "seats") not in gone(BILL, date(2026, 5, 1))


def test_a_credit_of_every_month_goes_on_until_it_stops():
    bill = charges(*[(month, kind, y) for month in MONTHS for kind, y in (("Credit", -10), ("Usage", 30))])
    assert gone(bill) == []
    without = (pl.col("x_ChargeMonth") == MONTHS[4]) & (pl.col("ChargeCategory") == "Credit")
    assert len(gone(bill.filter(~without))) == 1
    # An amount of nothing is no credit, and what comes after the month is not looked at.
    spared = bill.with_columns(
        EffectiveCost=pl.when(pl.col("x_ChargeMonth") == MONTHS[5]).then(0).otherwise("EffectiveCost")
    )
    assert len(gone(spared)) == 1 and gone(spared, date(2026, 5, 1)) == []


def test_a_missing_column_is_refused():
    with pytest.raises(InputError, match="column ProviderName: the ledger has no such column"):
        ended(BILL.drop("ProviderName"), date(2026, 6, 1))
