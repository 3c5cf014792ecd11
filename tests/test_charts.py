"""Charts say what the frames say: titles, units, order, alt text, and the same bytes each time."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finops_lab import charts
from finops_lab.charts.frames import MAX_ROWS, checked, totals
from finops_lab.charts.labels import amount_axis, compact
from finops_lab.charts.placing import Spot, place_names
from finops_lab.errors import InputError

MONEY = pl.Decimal(38, 18)
OCT, NOV = date(2026, 10, 1), date(2026, 11, 1)


def money(*amounts: str | None) -> pl.Series:
    return pl.Series([None if a is None else Decimal(a) for a in amounts], dtype=MONEY)


TREND = pl.DataFrame(
    {
        "month": [OCT, date(2026, 9, 1), OCT, date(2026, 9, 1)],
        "group": ["chat", "chat", "search", "search"],
        "amount": money("100000.10", "90000", "312345.67", "200000"),
    }
)
RANKS = pl.DataFrame({"label": ["small", "large", "credits"], "amount": money("1000", "3000.5", "-250")})
HISTORY = pl.DataFrame({"ds": [OCT, date(2026, 9, 1)], "y": money("412345.67", "290000")})
AHEAD = pl.DataFrame(
    {
        "ds": [date(2026, 12, 1), NOV],
        "yhat": [430e3, 420e3],
        "lo_80": [410e3, 405e3],
        "hi_80": [450e3, 435e3],
        "lo_95": [400e3, 395e3],
        "hi_95": [460e3, 445e3],
    }
)
BASELINE = pl.DataFrame({"ds": [NOV, date(2026, 12, 1)], "yhat": [390e3, 395e3]})
VARIANTS = pl.DataFrame(
    {
        "label": ["large fp16", "small int8", "large int8", "small fp16"],
        "group": ["large", "small", "large", "small"],
        "x": money("8.2", "0.3", "5.1", "0.55"),
        "y": [0.93, 0.83, 0.935, 0.83],
        "size": [900.0, 150.0, 700.0, 190.0],
        "on_front": [False, True, True, False],
    }
)
TEAMS = pl.DataFrame(
    {
        "label": ["chat", "search", "ops"],
        "actual": money("50000", "110000", "7000"),
        "budget": money("60000", "100000", None),
    }
)
BURNING = pl.DataFrame(
    {
        "day": [date(2026, 10, 30), date(2026, 10, 31), date(2026, 11, 30)],
        "spent": money("290000", "300000", None),
        "planned": money("290322.58", "300000", "600000"),
        "budget": money("600000", "600000", "600000"),
        **{name: [None, 300e3, 640e3] for name in ("yhat", "lo_80", "hi_80", "lo_95", "hi_95")},
    }
)

DRAW: dict[str, Callable[[], Any]] = {
    "trend": lambda: charts.spend_trend(TREND, title="Spend by team"),
    "ranks": lambda: charts.ranked_bars(RANKS, title="Spend by model"),
    "fan": lambda: charts.forecast_fan(HISTORY, AHEAD, BASELINE, title="Forecast"),
    "pareto": lambda: charts.pareto(VARIANTS, title="Variants"),
    "variance": lambda: charts.variance_bars(TEAMS, title="Budgets"),
    "burn-down": lambda: charts.burn_down_chart(BURNING, title="Budget", used_up=date(2026, 11, 27)),
}


def found(spec: Any, key: str) -> list[Any]:
    """Return every value of a key, anywhere in a specification."""
    if isinstance(spec, dict):
        return [value for name, value in spec.items() if name == key] + [
            hit for value in spec.values() for hit in found(value, key)
        ]
    return [hit for value in spec for hit in found(value, key)] if isinstance(spec, list) else []


def drawn(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of all data of a specification, wherever Altair put them."""
    rows = [row for values in found(spec, "values") for row in values if isinstance(row, dict)]
    return [row for i, row in enumerate(rows) if row not in rows[:i]]


@pytest.mark.parametrize("name", DRAW)
def test_every_chart_has_title_unit_alt_text_and_document_width(name: str) -> None:
    spec = DRAW[name]().to_dict()
    assert spec["title"]["text"] and spec["title"]["subtitle"]
    assert spec["width"] == 760 and spec["autosize"]["type"] == "fit"
    assert "$" in spec["description"] and spec["description"].endswith(".")
    assert any("(USD" in str(title) for title in found(spec, "title"))
    assert any("'~s'" in expression for expression in found(spec, "labelExpr"))


@pytest.mark.parametrize("name", DRAW)
def test_same_frame_same_specification_and_picture(name: str) -> None:
    import vl_convert

    first, second = DRAW[name]().to_dict(), DRAW[name]().to_dict()
    assert json.dumps(first) == json.dumps(second)
    picture = vl_convert.vegalite_to_svg(first)
    assert picture == vl_convert.vegalite_to_svg(second)
    assert picture.count("<path") > 3


@pytest.mark.parametrize("name", ["trend", "ranks", "variance", "burn-down"])
def test_row_order_does_not_matter(name: str) -> None:
    frames = {"trend": TREND, "ranks": RANKS, "variance": TEAMS, "burn-down": BURNING}
    draw: dict[str, Callable[..., Any]] = {
        "trend": charts.spend_trend,
        "ranks": charts.ranked_bars,
        "variance": charts.variance_bars,
        "burn-down": charts.burn_down_chart,
    }
    one, other = (draw[name](frame, title="t").to_dict() for frame in (frames[name], frames[name].reverse()))
    assert json.dumps(one) == json.dumps(other)


def test_trend_stacks_the_largest_group_first_and_totals_the_month() -> None:
    rows = drawn(charts.spend_trend(TREND, title="t").to_dict())
    october = [row for row in rows if row["month"] == "2026-10-01"]
    assert [(row["group"], row["amount"]) for row in october if "amount" in row] == [
        ("search", 312345.67),
        ("chat", 100000.1),
    ]
    assert [row["label"] for row in october if "top" in row] == ["$412.3k"]


def test_trend_alt_text_names_the_latest_month_and_its_largest_group() -> None:
    assert charts.spend_trend(TREND, title="t").to_dict()["description"] == (
        "Stacked bars of spend per month from September 2026 to October 2026, by 2 groups. "
        "October 2026: $412.3k; the largest is search with $312.3k (76%)."
    )


def test_trend_keeps_the_place_of_a_month_without_spend() -> None:
    frame = pl.DataFrame({"month": [date(2026, 8, 1), OCT], "group": ["a", "a"], "amount": [1.0, 2.0]})
    spec = charts.spend_trend(frame, title="t").to_dict()
    assert ["2026-08-01", "2026-09-01", "2026-10-01"] in found(spec, "domain")


def test_trend_joins_the_smallest_groups_past_eight_and_loses_nothing() -> None:
    frame = pl.DataFrame({"month": [OCT] * 12, "group": [f"g{i:02}" for i in range(12)], "amount": range(12)})
    bars = [row for row in drawn(charts.spend_trend(frame, title="t").to_dict()) if "amount" in row]
    assert len(bars) == 8
    assert bars[-1]["group"] == "All other (5)"
    assert sum(bar["amount"] for bar in bars) == 66
    assert bars[-1]["amount"] == 0 + 1 + 2 + 3 + 4


def test_unknown_amounts_are_left_out_and_said() -> None:
    frame = TREND.vstack(pl.DataFrame({"month": [OCT], "group": ["ops"], "amount": money(None)}))
    spec = charts.spend_trend(frame, title="t").to_dict()
    assert "ops" not in {row.get("group") for row in drawn(spec)}
    assert spec["description"].endswith("1 unknown amount not drawn.")


def test_ranked_bars_run_from_largest_to_smallest_with_their_values() -> None:
    spec = charts.ranked_bars(RANKS, title="t").to_dict()
    bars = drawn(spec)[:3]
    assert [(bar["label"], bar["text"]) for bar in bars] == [
        ("large", "$3.0k"),
        ("small", "$1.0k"),
        ("credits", "-$250"),
    ]
    assert ["large", "small", "credits"] in found(spec, "sort")


def test_forecast_alt_text_and_series() -> None:
    spec = DRAW["fan"]().to_dict()
    assert spec["description"] == (
        "Spend until October 2026 ($412.3k) and its forecast for 2 months. "
        "November 2026: $420.0k, with 80% between $405.0k and $435.0k; "
        "December 2026: $430.0k, with 80% between $410.0k and $450.0k."
    )
    points = [row for row in drawn(spec) if row.get("real")]
    assert [(p["series"], p["ds"]) for p in points] == [
        ("Actual", "2026-09-01"),
        ("Actual", "2026-10-01"),
        ("Forecast", "2026-11-01"),
        ("Forecast", "2026-12-01"),
        ("Baseline (same month last year)", "2026-11-01"),
        ("Baseline (same month last year)", "2026-12-01"),
    ]
    assert [[1, 0], [1, 0], [5, 4]] in found(spec, "range")  # the baseline is dashed, not only red


def test_forecast_without_baseline_or_bounds_is_drawn() -> None:
    bare = AHEAD.with_columns(
        pl.lit(None, pl.Float64).alias(name) for name in ("lo_80", "hi_80", "lo_95", "hi_95")
    )
    spec = charts.forecast_fan(HISTORY, bare, title="t").to_dict()
    assert "80%" not in spec["description"]
    assert {row["series"] for row in drawn(spec) if "series" in row} == {"Actual", "Forecast"}


def test_pareto_fills_the_front_and_names_its_variants() -> None:
    spec = DRAW["pareto"]().to_dict()
    assert spec["description"] == (
        "4 variants by cost, accuracy and latency; 2 on the Pareto front. "
        "Cheapest: small int8 at $0.30, accuracy 83.0%; most accurate: large int8 at $5.10, accuracy 93.5%."
    )
    assert {"datum.on_front", "!datum.on_front"} <= set(found(spec, "filter"))
    named = [row["label"] for row in drawn(spec) if set(row) == {"label", "x", "y"}]
    assert named[:2] == ["small int8", "large int8"]
    assert ["circle", "square"] in found(spec, "range")  # groups differ in shape, not only in colour


def test_pareto_leaves_out_variants_that_were_not_measured() -> None:
    unmeasured = VARIANTS.head(1).with_columns(
        pl.lit("new").alias("label"), pl.lit(None, pl.Float64).alias("size")
    )
    spec = charts.pareto(VARIANTS.vstack(unmeasured), title="t").to_dict()
    assert spec["description"].endswith("1 variant with unknown values not drawn.")


def test_variance_says_over_and_under_in_words() -> None:
    spec = DRAW["variance"]().to_dict()
    assert {row["label"]: row["text"] for row in drawn(spec) if "text" in row} == {
        "search": "$10.0k over (10%)",
        "chat": "$10.0k under (17%)",
        "ops": "$7.0k, no budget",
    }
    assert spec["description"] == (
        "Spend against budget of 3 teams; over budget: search by $10.0k (10%). "
        "Together $160.0k of $160.0k. 1 has no budget."
    )


def test_other_units_are_written_out() -> None:
    spec = charts.ranked_bars(
        pl.DataFrame({"label": ["a"], "amount": [1500]}), title="t", unit="GPU hours"
    ).to_dict()
    assert "1.5k GPU hours" in spec["description"] and "$" not in json.dumps(drawn(spec))


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (RANKS.clear(), "no rows"),
        (RANKS.select("label"), "not found: amount"),
        (pl.DataFrame({"label": ["a"], "amount": ["12"]}), "needs a number column"),
        (pl.DataFrame({"label": ["a"], "amount": [float("nan")]}), "NaN"),
        (pl.DataFrame({"label": ["a"], "amount": money(None)}), "unknown"),
        (
            pl.DataFrame({"label": ["a"] * (MAX_ROWS + 1), "amount": [1] * (MAX_ROWS + 1)}),
            "at most 5,000 rows",
        ),
    ],
)
def test_frames_that_cannot_be_drawn_are_refused(frame: pl.DataFrame, message: str) -> None:
    with pytest.raises(InputError, match=message):
        charts.ranked_bars(frame, title="t")


def test_five_thousand_rows_and_lazy_frames_are_taken() -> None:
    frame = pl.LazyFrame({"label": [f"m{i}" for i in range(MAX_ROWS)], "amount": range(MAX_ROWS)})
    bars = drawn(charts.ranked_bars(frame, title="t").to_dict())
    assert bars[24]["label"] == "All other (4976)"


@given(st.floats(-1e12, 1e12, allow_nan=False))
@settings(max_examples=200, deadline=None)
def test_compact_is_within_a_twentieth_and_keeps_the_sign(value: float) -> None:
    text = compact(value)
    scale = {"k": 1e3, "M": 1e6, "B": 1e9}.get(text[-1], 1.0)
    read = float(text.replace("$", "").rstrip("kMB").replace(",", "")) * scale
    assert read == pytest.approx(value, rel=0.05, abs=1e-9)
    assert not text.startswith("-") or value < 0


def test_axis_labels_never_call_half_a_dollar_500_milli() -> None:
    assert ">= 1000 ?" in amount_axis("USD") and '"€"' in amount_axis("EUR")


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.floats(-1e9, 1e9)), min_size=1, max_size=30), st.randoms()
)
def test_totals_do_not_depend_on_order(pairs: list[tuple[str, float]], random: Any) -> None:
    rows = [{"k": key, "v": value} for key, value in pairs]
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert totals(rows, "k", "v") == totals(shuffled, "k", "v")


@given(st.lists(st.tuples(st.floats(0, 600), st.floats(0, 300), st.floats(50, 400)), min_size=1, max_size=15))
@settings(deadline=None)
def test_placed_names_stay_inside_and_apart(points: list[tuple[float, float, float]]) -> None:
    from finops_lab.charts.placing import _box, _overlap

    spots = [Spot(x, y, area, f"variant {i}") for i, (x, y, area) in enumerate(points)]
    places = place_names(spots, 600, 300)
    boxes = [_box(spot, place) for spot, place in zip(spots, places, strict=True) if place is not None]
    assert all(box[0] >= 0 and box[2] <= 600 and box[1] >= 0 and box[3] <= 300 for box in boxes)
    assert not any(_overlap(a, b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_a_name_lies_over_a_line_only_where_no_other_place_is_free() -> None:
    # Above its point to the left is free, but there the line passes: the place above the middle comes next.
    spot = Spot(300, 150, 80, "variant")
    (plain,) = place_names([spot], 600, 300)
    (moved,) = place_names([spot], 600, 300, [(290, 0, 290, 300)])
    assert plain is not None and (plain.align, plain.dy < 0) == ("right", True)
    assert moved is not None and (moved.align, moved.dy > 0) == ("left", True)
    # Between lines everywhere it is named all the same.
    assert place_names([spot], 600, 300, [(0, 0, 600, 300)]) == [plain]


def test_decimal_is_cast_once_and_text_nulls_are_named() -> None:
    rows = checked(
        pl.DataFrame({"label": ["a", None], "amount": money("0.1", "2")}),
        {"label": "text", "amount": "number"},
    )
    assert rows == [{"label": "a", "amount": 0.1}, {"label": "(none)", "amount": 2.0}]


def test_report_renderer_gives_specification_picture_and_text() -> None:
    import altair as alt

    before = alt.renderers.active
    try:
        charts.use_report_renderer()
        bundle = DRAW["ranks"]()._repr_mimebundle_(None, None)
    finally:
        alt.renderers.enable(before)
    data = bundle[0] if isinstance(bundle, tuple) else bundle
    assert set(data) == {charts.CHART_MIME, "image/svg+xml", "text/plain"}
    assert data["text/plain"].startswith("Bars of spend, largest first: large $3.0k")
    assert data["image/svg+xml"].startswith("<svg")
    json.dumps(data[charts.CHART_MIME])


def test_importing_the_drawing_rooms_imports_no_drawing_library() -> None:
    heavy = (
        "altair",
        "vl_convert",
        "great_tables",
        "pandas",
        "nbconvert",
        "papermill",
        "IPython",
        "nbformat",
    )
    modules = (
        "finops_lab.charts, finops_lab.tables, finops_lab.reporting.render, "
        "finops_lab.reporting.freeze, finops_lab.reporting.record"
    )
    code = f"import sys, {modules}; print(sorted(set({heavy!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
