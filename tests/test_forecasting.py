"""Forecast, baseline and backtest: what must hold for any series, and what must hold on real ones."""

from __future__ import annotations

import io
import subprocess
import sys
from datetime import date
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from finops_lab.calendar import add_months, days_in_month
from finops_lab.errors import InputError
from finops_lab.forecasting import backtest, forecast, prophet_forecast, seasonal_naive, structural
from finops_lab.forecasting.core import centres
from finops_lab.forecasting.members import run_member
from finops_lab.forecasting.smoothing import holt_winters
from finops_lab.forecasting.waiting import shown
from finops_lab.forecasting.widths import HALVES, WIDTHS

SHARED = Path(__file__).parents[2] / "shared" / "data" / "forecast"
START = date(2023, 1, 1)
VALUES = ["yhat", "lo_80", "hi_80", "lo_95", "hi_95", "lo_50", "hi_50"]
SCORES = ["mase", "smape", "bias", "coverage_80", "coverage_95"]


def series(y, uid="a", start=START):
    y = list(y)
    return pl.DataFrame(
        {"unique_id": [uid] * len(y), "ds": [add_months(start, i) for i in range(len(y))], "y": y},
        schema={"unique_id": pl.String, "ds": pl.Date, "y": pl.Float64},
    )


def usage(n, seed=1):
    """Spend with growth, a yearly season and noise, by day and then by month."""
    rng = np.random.default_rng(seed)
    t = np.arange(n)
    rate = 100 * 1.01**t * (1 + 0.1 * np.sin(2 * np.pi * t / 12)) * (1 + 0.03 * rng.standard_normal(n))
    return [float(r * days_in_month(add_months(START, i))) for i, r in enumerate(rate)]


def assert_sound(result, history, months):
    """Every series is there with all its months, every bound in order, every number finite."""
    assert result.columns == ["unique_id", "ds", *VALUES, "model"]
    assert result.height == months * history["unique_id"].n_unique()
    assert result.select("unique_id", "ds").rows() == sorted(result.select("unique_id", "ds").rows())
    assert np.isfinite(result.select(VALUES).to_numpy()).all()
    rising = ["lo_95", "lo_80", "lo_50", "yhat", "hi_50", "hi_80", "hi_95"]
    for low, high in pairwise(rising):
        assert (result[low] <= result[high]).all(), (low, high)


# The golden baseline


def test_seasonal_naive_by_hand():
    # Year one is 1..12; January to March of year two are 4 higher, 4 lower, 4 higher: changes of size 4.
    history = series([*map(float, range(1, 13)), 5.0, -2.0, 7.0])
    result = seasonal_naive(history, months=13)
    assert result["ds"].to_list() == [add_months(date(2024, 4, 1), i) for i in range(13)]
    assert result["yhat"].to_list() == [*map(float, range(4, 13)), 5.0, -2.0, 7.0, 4.0]
    assert result["hi_80"][0] == pytest.approx(4 + 1.2816 * 4)
    assert result["lo_95"][0] == pytest.approx(4 - 1.96 * 4)
    # The thirteenth month is the second cycle: root two times as wide.
    assert result["hi_80"][12] == pytest.approx(4 + 1.2816 * 4 * 2**0.5)
    assert set(result["model"]) == {"seasonal_naive"}


def test_seasonal_naive_under_a_year_repeats_the_last_amount_and_says_so():
    result = seasonal_naive(series([3.0, 6.0, 2.0]), months=4)
    assert result["yhat"].to_list() == [2.0] * 4
    assert set(result["model"]) == {"last_value"}
    spread = ((3**2 + 4**2) / 2) ** 0.5
    assert (result["hi_95"] - result["yhat"]).to_list() == pytest.approx(
        [1.96 * spread * k**0.5 for k in (1, 2, 3, 4)]
    )
    lone = seasonal_naive(series([3.0]), months=1)
    assert lone["yhat"].to_list() == [3.0] and lone["lo_80"].to_list() == [None]


# What a series of any length and shape gets


@pytest.mark.parametrize("n", range(1, 31))
def test_every_short_length_works(n):
    history = series(usage(n))
    result = forecast(history, months=3)
    assert_sound(result, history, 3)
    expected = "flat" if n < 8 else "combination_no_season" if n < 24 else "combination"
    assert set(result["model"]) == {expected}
    assert (result["hi_95"] - result["lo_95"] > 0).all()
    assert result["ds"][0] == add_months(START, n)


SHAPES = {
    "zeros": lambda n: [0.0] * n,
    "credits": lambda n: [-v for v in usage(n)],
    "mixed signs": lambda n: [(-1) ** i * (i + 1.0) for i in range(n)],
    "zeros, then a launch": lambda n: [0.0] * (n - 1) + [1e6],
    "a bill that ended": lambda n: [100.0] * (n // 2) + [0.0] * (n - n // 2),
    "a spike": lambda n: [100.0 if i != n // 2 else 1e5 for i in range(n)],
    "exploding": lambda n: [2.0**i for i in range(n)],
    "zeros before a steady bill": lambda n: [0.0] * (n // 2) + [50.0 + i % 3 for i in range(n - n // 2)],
    "huge": lambda n: [1e15 * (i % 4 + 1) for i in range(n)],
    "tiny": lambda n: [1e-12 * (i % 5 + 1) for i in range(n)],
    "a straight line": lambda n: [10.0 + 3 * i for i in range(n)],
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("n", [1, 2, 7, 8, 13, 24, 37])
def test_no_shape_breaks_it(shape, n):
    history = series(SHAPES[shape](n))
    result = forecast(history, months=6)
    assert_sound(result, history, 6)
    # The forecast stays within what a member may say.
    assert result["yhat"].abs().max() <= 10.5 * history["y"].abs().max() * 31 / 28


@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.none() | st.floats(-1e6, 1e6) | st.just(float("nan")) | st.just(0.0), min_size=1, max_size=30)
)
def test_any_numbers_and_holes(y):
    history = series(y)
    result = forecast(history, months=2)
    if all(v is None or v != v for v in y):
        assert set(result["model"]) == {"no_history"}
        assert result.select(pl.col(VALUES).null_count().sum()).row(0) == (2,) * 7
        assert result["ds"][0] == add_months(START, len(y))
    else:
        assert_sound(result, history, 2)
    judged = backtest(history, months=2, origins=1)
    assert judged.height == 4
    assert judged.filter(
        pl.any_horizontal(pl.col(SCORES[:3]).is_null()) & pl.col("note").is_null()
    ).is_empty()


@pytest.mark.parametrize("n", [1, 2, 7, 8, 23, 24, 40])
def test_a_constant_comes_back_as_itself(n):
    fee = forecast(series([250.0] * n), months=6)
    rate = forecast(series([8.0 * days_in_month(add_months(START, i)) for i in range(n)]), months=6)
    if n > 1:  # a single month cannot tell a fee from a rate
        assert fee["yhat"].to_list() == pytest.approx([250.0] * 6)
    assert rate["yhat"].to_list() == pytest.approx([8.0 * days_in_month(d) for d in rate["ds"]])
    assert (rate["lo_95"] < rate["yhat"]).all()  # never seen to move is not certain


def test_flat_is_the_mean_daily_rate_of_three_months():
    # January, February and March 2023: 2, 3 and 7 a day.
    result = forecast(series([62.0, 84.0, 217.0]), months=1)
    assert result["yhat"].to_list() == pytest.approx([4.0 * 30])


def test_season_and_trend_are_found():
    y = [100.0 + 5 * i + (300 if i % 12 == 11 else 0) for i in range(48)]
    result = forecast(series(y), months=12)
    ahead = [100.0 + 5 * i + (300 if i % 12 == 11 else 0) for i in range(48, 60)]
    error, naive = (
        np.abs(frame["yhat"].to_numpy() - ahead).mean() for frame in (result, seasonal_naive(series(y), 12))
    )
    assert naive == pytest.approx(60.0)
    assert error < 0.6 * naive
    assert result["yhat"].arg_max() == 11


def test_bounds_widen_with_the_horizon_and_with_noise():
    calm, wild = (
        series([1000.0 + size * (-1) ** (i * i % 7) + i for i in range(36)], uid)
        for uid, size in (("calm", 5.0), ("wild", 100.0))
    )
    result = forecast(pl.concat([calm, wild]), months=12).with_columns(
        width=pl.col("hi_80") - pl.col("lo_80")
    )
    widths = {uid: part["width"].to_numpy() for (uid,), part in result.group_by("unique_id")}
    assert (widths["wild"] > 3 * widths["calm"]).all()
    assert widths["calm"][11] > 1.5 * widths["calm"][0]


def test_nonnegative_clips_everything_and_only_below_zero():
    history = series([1000.0 - 30 * i for i in range(33)])
    free, clipped = forecast(history), forecast(history, nonnegative=True)
    assert free["lo_95"].min() < 0
    assert_frame_equal(clipped, free.with_columns(pl.col(VALUES).clip(lower_bound=0)))


# Invariances


PANEL = pl.concat([series(usage(n, seed=n), uid) for uid, n in (("a", 30), ("b", 14), ("c", 5), ("d", 26))])


def test_order_of_rows_does_not_matter():
    assert_frame_equal(forecast(PANEL), forecast(PANEL.sample(fraction=1, shuffle=True, seed=3).lazy()))


def test_another_series_changes_nothing():
    assert_frame_equal(
        forecast(PANEL).filter(pl.col("unique_id") == "b"), forecast(PANEL.filter(pl.col("unique_id") == "b"))
    )


def test_twice_the_same():
    assert forecast(PANEL).equals(forecast(PANEL))
    assert backtest(PANEL).equals(backtest(PANEL))


@pytest.mark.parametrize("factor", [10.0, 1e-6, -1.0])
def test_scaling_scales(factor):
    result = forecast(PANEL.with_columns(y=pl.col("y") * factor))
    expected = forecast(PANEL).with_columns(pl.col(VALUES) * factor)
    if factor < 0:  # a bill of credits mirrors a bill of charges, bounds included
        other = {"lo": "hi", "hi": "lo"}
        expected = expected.rename({n: f"{other[n[:2]]}{n[2:]}" for n in VALUES[1:]})
        expected = expected.select(result.columns)
    assert_frame_equal(result, expected, rel_tol=1e-9, abs_tol=1e-9)


def test_decimal_in_is_float_out():
    exact = PANEL.with_columns(pl.col("y").round(6).cast(pl.Decimal(38, 18)))
    assert_frame_equal(forecast(exact), forecast(PANEL.with_columns(pl.col("y").round(6))), rel_tol=1e-9)
    cents = series([1.0]).with_columns(
        y=pl.Series([Decimal("0.000000000000000001")], dtype=pl.Decimal(38, 18))
    )
    assert forecast(cents, months=1)["yhat"][0] == pytest.approx(1e-18 * 28 / 31)


# Holes


def test_a_hole_is_filled_on_the_daily_rate():
    days = [days_in_month(add_months(START, i)) for i in range(30)]
    full = series([d * (5.0 + i) for i, d in enumerate(days)])
    february_and_june = full["ds"].is_in([date(2024, 2, 1), date(2024, 6, 1)])
    absent = full.filter(~february_and_june)
    null = full.with_columns(y=pl.when(february_and_june).then(None).otherwise("y"))
    nan = null.with_columns(pl.col("y").fill_null(float("nan")))
    for holed in (absent, null, nan):
        assert_frame_equal(forecast(holed), forecast(full), rel_tol=1e-6)


def test_unknown_months_at_the_ends_are_not_there():
    core = series(usage(12))
    ends = pl.concat(
        [
            series([None, float("nan")], start=add_months(START, -2)),
            core,
            series([None], start=add_months(START, 12)),
        ]
    )
    assert_frame_equal(forecast(ends), forecast(core))


def test_an_empty_panel_gives_an_empty_frame_of_the_same_shape():
    empty = PANEL.clear()
    for result in (forecast(empty), seasonal_naive(empty)):
        assert result.is_empty() and result.schema == forecast(PANEL).schema
    assert backtest(empty).schema == backtest(PANEL).schema


def test_a_bad_member_is_left_out():
    x = np.arange(1.0, 25.0)

    def good(x, months):
        return np.full(months, 2.0)

    def raises(x, months):
        raise np.linalg.LinAlgError("singular")

    def diverges(x, months):
        return np.full(months, 10.001 * x.max())

    def not_finite(x, months):
        return np.array([1.0, np.nan])[:months]

    results = [run_member(member, x, 2) for member in (raises, good, diverges, not_finite)]
    assert results[1] is not None and results[1].tolist() == [2.0, 2.0]
    assert [result is None for result in results] == [True, False, True, True]


# Errors


@pytest.mark.parametrize(
    ("panel", "message"),
    [
        (PANEL.drop("y"), "column y: the panel has no such column"),
        (PANEL.with_columns(y=pl.lit("3")), "column y: String where a number"),
        (PANEL.with_columns(pl.col("ds").cast(pl.Datetime)), "column ds: Datetime"),
        (PANEL.with_columns(unique_id=pl.lit(1)), "column unique_id: Int32 where String"),
        (PANEL.with_columns(unique_id=pl.lit(None, pl.String)), "column unique_id: empty"),
        (pl.concat([PANEL, PANEL[:1]]), "series 'a': month 2023-01-01 comes twice"),
        (PANEL.with_columns(pl.col("ds").dt.offset_by("1d")), "2023-01-02 is not the first of its month"),
        (PANEL.with_columns(y=pl.lit(float("inf"))), "infinite y"),
    ],
)
@pytest.mark.parametrize("function", [forecast, seasonal_naive, backtest])
def test_a_bad_panel_is_refused(panel, message, function):
    with pytest.raises(InputError, match=message):
        function(panel)


@pytest.mark.parametrize("months", [0, -1, 2.5, True])
def test_a_bad_horizon_is_refused(months):
    for function in (forecast, seasonal_naive, backtest):
        with pytest.raises(InputError, match="months must be a whole number of at least 1"):
            function(PANEL, months)
    with pytest.raises(InputError, match="origins"):
        backtest(PANEL, 1, origins=0)


# Backtest


def test_backtest_by_hand():
    # 14 months at 100, then 110 and 90: both baselines say 100 from an origin two months before the end.
    result = backtest(series([90.0] + [100.0] * 13 + [110.0, 90.0]), months=2, origins=1)
    flat = result.row(by_predicate=pl.col("model") == "last_month_flat", named=True)
    assert (flat["origins"], flat["n"]) == (1, 2)
    # One of the two year-on-year changes before the origin is 10, the other 0: the scale is 5.
    assert flat["mase"] == pytest.approx(10 / 5)
    assert flat["smape"] == pytest.approx((200 * 10 / 210 + 200 * 10 / 190) / 2)
    assert flat["bias"] == pytest.approx(0.0)
    assert flat["coverage_80"] is None and flat["note"] is None
    naive = result.row(by_predicate=pl.col("model") == "seasonal_naive", named=True)
    # Its half widths: 1.2816 and 1.96 times root(10 * 10 / 2), so 9.06 and 13.9 against misses of 10.
    assert (naive["coverage_80"], naive["coverage_95"]) == (0.0, 1.0)


def test_backtest_origins_are_the_last_ones_and_see_no_future():
    y = [100.0] * 20 + [500.0, 600.0]
    # Origins at 20 and 19 months: neither has seen 500 or 600.
    result = backtest(series(y), months=2, origins=2).filter(model="last_month_flat")
    assert result["n"].item() == 4
    assert result["bias"].item() == pytest.approx((4 * 100 - 500 - 600 - 100 - 500) / (500 + 600 + 100 + 500))
    # A hole just before the origin must not be filled from the month after it.
    holed = series([*y[:19], None, *y[20:]])
    held = backtest(holed, months=2, origins=1).filter(model="last_month_flat")
    assert held["bias"].item() == pytest.approx((200 - 1100) / 1100)


def test_backtest_drops_no_row_and_says_why_a_score_is_missing():
    panel = pl.concat(
        [series(usage(n), f"n{n:02}") for n in (1, 6, 8, 9, 10, 18, 30)]
        + [series([None] * 20, "none"), series([7.0] * 30, "same"), series([0.0] * 30, "zero")]
    )
    result = backtest(panel)
    assert result.select("unique_id", "model").rows() == [
        (uid, model)
        for uid in sorted(panel["unique_id"].unique())
        for model in ("combination", "seasonal_naive", "last_month_flat", "run_rate")
    ]
    short = result.filter(pl.col("unique_id").is_in(["n01", "n06", "n08", "none"]))
    assert short["origins"].to_list() == [0] * 16 and short["n"].to_list() == [0] * 16
    assert short.select(pl.col(SCORES).is_null().all()).row(0) == (True,) * 5
    assert short["note"].str.contains("^no origin: ").all()
    notes = dict(result.filter(model="combination").select("unique_id", "note").iter_rows())
    assert notes["n09"] == (
        "1 of 3 origins: history too short; forecast by flat; "
        "no mase: no origin with 13 months and a year-on-year change before it"
    )
    assert notes["n10"].startswith("2 of 3 origins")
    assert notes["n18"].startswith("forecast by combination_no_season")
    assert notes["n30"] == "forecast by combination, combination_no_season"
    assert "no mase" in notes["same"] and "no mase" in notes["zero"]
    assert result.filter(unique_id="zero")["bias"].to_list() == [None] * 4
    assert result.filter(unique_id="n30", model="combination")["mase"].item() > 0


def test_backtest_judges_only_known_months():
    y = usage(30)
    y[-2] = float("nan")
    result = backtest(series(y), origins=2)
    assert result["n"].to_list() == [5 + 5] * 4


# Real series


def test_days_in_month_on_a_real_bill():
    path = SHARED / "cloud_spend" / "radian_aws_monthly.csv"
    if not path.exists():
        pytest.skip("the Radian bill is not there")
    bill = (
        pl.read_csv(path, try_parse_dates=True)
        .filter((pl.col("depth") == 0) & (pl.col("ledger") == "main"))
        .group_by(ds="month")
        .agg(pl.col("usd").sum().alias("y"))
        .sort("ds")
        # From 2024 on the bill follows the days of the month; November 2025 is a part of a month.
        .filter(pl.col("ds").is_between(date(2024, 1, 1), date(2025, 10, 1)))
        .with_columns(unique_id=pl.lit("bill"))
    )
    assert bill.height == 22
    days = pl.col("ds").dt.days_in_month()
    errors: dict[str, list[float]] = {"ours": [], "raw": [], "naive": []}
    for cut in range(5, 17):
        history, held = bill[:cut], bill[cut : cut + 6]["y"].to_numpy()
        # Amounts times days, forecast, and divided again: the same models without the normalisation.
        raw = forecast(history.with_columns(y=pl.col("y") * days)).with_columns(yhat=pl.col("yhat") / days)
        for name, result in (("ours", forecast(history)), ("raw", raw), ("naive", seasonal_naive(history))):
            errors[name].append(float(np.mean(np.abs(result["yhat"].to_numpy() - held) / held)))
    mape = {name: np.mean(values) for name, values in errors.items()}
    assert mape["ours"] < 0.006
    assert mape["ours"] <= 0.3 * mape["raw"]
    assert mape["ours"] <= 0.5 * mape["naive"]


def test_combination_beats_seasonal_naive_and_bounds_cover_on_m3():
    path = SHARED / "m3_monthly" / "dev.parquet"
    if not path.exists():
        pytest.skip("M3 is not there")
    # M3 taught nothing to the bounds of 24 months and more, so this is their test.
    chosen = pl.read_parquet(path)[::10].rows()
    history = pl.concat([series(y[-30:], uid) for uid, y, _ in chosen])
    truth = pl.concat([series(t[:6], uid, start=add_months(START, 30)) for uid, _, t in chosen])
    joined = forecast(history).join(truth, on=["unique_id", "ds"])
    naive = seasonal_naive(history).join(truth, on=["unique_id", "ds"])
    scale = history.group_by("unique_id").agg(scale=pl.col("y").mean())
    error = [
        frame.join(scale, on="unique_id").select(
            ((pl.col("yhat") - pl.col("y")).abs() / pl.col("scale")).mean()
        )
        for frame in (joined, naive)
    ]
    assert joined.height == 6 * len(chosen)
    assert error[0].item() < 0.95 * error[1].item()
    assert 0.7 < joined.select(pl.col("y").is_between("lo_80", "hi_80").mean()).item() < 0.9
    assert 0.9 < joined.select(pl.col("y").is_between("lo_95", "hi_95").mean()).item() < 0.99


def test_importing_the_room_imports_nothing_heavy():
    code = (
        "import sys, finops_lab.forecasting; "
        "print([m for m in ('pandas', 'statsmodels', 'numpy', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# The core


def test_a_panel_of_many_lengths_gives_each_series_what_it_gets_alone():
    rng = np.random.default_rng(5)
    histories = [1 + 0.2 * rng.standard_normal(n) for n in (48, 5, 30, 13, 30, 1, 24, 30, 48)]
    together = centres(histories, 7)
    for x, one in zip(histories, together, strict=True):
        (alone,) = centres([x], 7)
        assert (one.model, one.point.tolist()) == (alone.model, alone.point.tolist())
        assert one.halves.tolist() == alone.halves.tolist()
        assert one.halves.shape == (6, 7) and (one.halves > 0).all()


def test_the_structural_mean_is_the_weighted_mean_of_plain_regressions():
    # The same in long hand for a year: each form's covariance, generalised least squares, weights.
    n, months, trust = 12, 2, structural._TRUST
    rng = np.random.default_rng(2)
    x = 1 + 0.01 * np.arange(n) + 0.05 * rng.standard_normal(n)
    total, ones = n + months, np.ones(n)
    logs, points, variances = [], [], []
    for level, slope, fade in [
        (q, r, f)
        for q in structural._LEVEL
        for r in structural._SLOPE
        for f in (structural._FADES if r else (0.0,))
    ]:
        cov = np.empty((total, total))
        for s in range(total):
            for t in range(total):
                wander = sum(
                    sum(fade ** (a - k) for a in range(k, s + 1))
                    * sum(fade ** (a - k) for a in range(k, t + 1))
                    for k in range(min(s, t) + 1)
                )
                cov[s, t] = (s == t) + level * (min(s, t) + 1) + slope * wander
        inverse = np.linalg.inv(cov[:n, :n])
        size = ones @ inverse @ ones
        mean = ones @ inverse @ x / size
        square = (x - mean) @ inverse @ (x - mean) + structural._TINY * n
        cross = cov[n:, :n] @ inverse
        points.append(mean + cross @ (x - mean))
        left = 1 - cross @ ones
        variances.append((np.diag(cov[n:, n:] - cross @ cov[:n, n:]) + left**2 / size) * square / (n - 1))
        evidence = -np.linalg.slogdet(cov[:n, :n])[1] / 2 - np.log(size) / 2 - (n - 1) / 2 * np.log(square)
        prior = (
            structural._LEVEL[level] + structural._SLOPE[slope] + (structural._FADES[fade] if slope else 0)
        )
        logs.append(prior + trust * evidence)
    weight = np.exp(np.array(logs) - max(logs))
    weight /= weight.sum()
    expected = weight @ np.array(points)
    spread = np.sqrt(weight @ (np.array(variances) + (np.array(points) - expected) ** 2))
    point, deviation = structural.structural(x, months, seasonal=False)
    assert point == pytest.approx(expected, rel=1e-9)
    assert deviation == pytest.approx(spread, rel=1e-9)


def test_a_season_without_noise_is_repeated():
    wave = 1 + 0.3 * np.sin(2 * np.pi * np.arange(60) / 12)
    point, deviation = structural.structural(wave[:48], 12, seasonal=True)
    assert point == pytest.approx(wave[48:], abs=0.01)
    assert (deviation < 0.01).all()
    assert holt_winters(wave[:48], 12) == pytest.approx(wave[48:], abs=0.01)


def test_holt_winters_follows_a_line():
    line = 0.5 + np.arange(48) / 48
    # The slope fades: each month ahead adds a little less than the one before.
    steps = np.diff(holt_winters(line, 6), prepend=line[-1])
    assert (steps > 0).all() and (np.diff(steps) < 0).all() and steps[0] < 1 / 48


def test_every_width_is_wider_for_a_wider_bound():
    assert tuple(VALUES[1:]) == HALVES
    for row in WIDTHS.values():
        width = dict(zip(HALVES, row, strict=True))
        for side in ("lo", "hi"):
            assert 0 < width[f"{side}_50"] < width[f"{side}_80"] < width[f"{side}_95"]


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("stream", "after_s", "drawn"),
    [(Terminal, 0.0, True), (Terminal, 60.0, False), (io.StringIO, 0.0, False)],
)
def test_a_bar_is_drawn_on_a_terminal_for_those_who_wait(monkeypatch, stream, after_s, drawn):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", stream())
    assert list(shown([1, 2, 3], "forecasting", after_s=after_s)) == [1, 2, 3]
    assert ("forecasting" in sys.stderr.getvalue()) is drawn


# Prophet


def test_prophet_is_silent_repeats_itself_and_stays_above_zero(capfd):
    falling = series([100.0 - 2.5 * i for i in range(36)])
    panel = pl.concat([falling, series([4.0], "lone"), series([None], "none")])
    state = np.random.get_state()[1].tolist()
    result = prophet_forecast(panel, 6)
    assert np.random.get_state()[1].tolist() == state
    assert capfd.readouterr() == ("", "")
    assert result.equals(prophet_forecast(panel, 6))
    assert result.schema == forecast(PANEL).schema
    assert dict(result.select("unique_id", "model").iter_rows()) == {
        "a": "prophet",
        "lone": "last_value",
        "none": "no_history",
    }
    assert_sound(result.filter(unique_id="a"), falling, 6)
    assert result.filter(unique_id="a")["lo_95"].min() == 0.0
    # Where credits are seen, so may be foreseen: no floor.
    credits = prophet_forecast(falling.with_columns(y=pl.col("y") - 20), 6)
    assert credits["yhat"].min() < -10
