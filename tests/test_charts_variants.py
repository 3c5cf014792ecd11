"""Charts of variants: three linked axes, parallel coordinates, break-even."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from finops_lab import charts
from finops_lab.errors import InputError

VARIANTS = pl.DataFrame(
    {
        "label": ["larch fp32", "larch int8", "larch int4", "alder bf16", "alder int8"],
        "group": ["larch"] * 3 + ["alder"] * 2,
        "x": [1.0, 0.48, 0.5, 2.2, 1.3],
        "quality": [0.846, 0.844, 0.83, 0.872, 0.870],
        "p95_ms": [120.0, 60.0, 70.0, 220.0, 150.0],
        "on_front": [True, True, False, True, True],
        "energy_j": [3.0, 2.0, 2.2, 9.0, None],
    }
)
AXES = {
    "x": ("Cost per 1,000 (USD)", False),
    "quality": ("Accuracy", True),
    "p95_ms": ("P95 latency (ms)", False),
    "energy_j": ("Energy (J)", False),
}
DRAW: dict[str, Callable[[], Any]] = {
    "planes": lambda: charts.variant_planes(VARIANTS, title="t", max_p95_ms=150, least_quality=0.84),
    "lines": lambda: charts.variant_lines(VARIANTS, axes=AXES, title="t"),
    "break-even": lambda: charts.break_even_lines(
        stay=("fp32", 1.0), move=("int8", 0.5), once=100, interval=(1.5e5, 3e5), expected=5e5, title="t"
    ),
}


def rows(spec: Any, key: str) -> list[dict[str, Any]]:
    """Return the rows of all data of a specification that have a key."""
    if isinstance(spec, dict):
        own = [row for row in spec.get("values", []) if isinstance(row, dict) and key in row]
        return own + [row for value in spec.values() for row in rows(value, key)]
    return [row for value in spec for row in rows(value, key)] if isinstance(spec, list) else []


@pytest.mark.parametrize("name", DRAW)
def test_every_chart_draws_the_same_picture_with_alt_text(name: str) -> None:
    import vl_convert

    spec = DRAW[name]().to_dict()
    assert spec["title"]["text"] and spec["title"]["subtitle"] and spec["description"].endswith(".")
    assert json.dumps(spec) == json.dumps(DRAW[name]().to_dict())
    picture = vl_convert.vegalite_to_svg(spec)
    assert picture.count("<path") > 3 and "undefined" not in picture and "NaN" not in picture


def test_a_box_in_either_plane_selects_in_both() -> None:
    spec = DRAW["planes"]().to_dict()
    assert sorted(param["name"] for param in spec["params"]) == ["chosen_by_p95_ms", "chosen_by_x"]
    tests = [json.dumps(plane).count("chosen_by_x") for plane in spec["hconcat"]]
    assert min(tests) > 0 and json.dumps(spec["hconcat"][0]).count("chosen_by_p95_ms") > 0


def test_dominated_variants_are_faint_and_a_chance_is_how_solid_one_is() -> None:
    by_front = {row["label"]: row["solid"] for row in rows(DRAW["planes"]().to_dict(), "solid")}
    assert by_front["larch int4"] == 0.25 and by_front["larch int8"] == 0.95
    given = VARIANTS.with_columns(p_on_front=pl.Series([0.6, 1.0, 0.1, 1.0, 0.97]))
    spec = charts.variant_planes(given, title="t").to_dict()
    assert {row["label"]: row["solid"] for row in rows(spec, "solid")} == {
        "larch fp32": 0.6,
        "larch int8": 1.0,
        "larch int4": 0.25,
        "alder bf16": 1.0,
        "alder int8": 0.97,
    }


def test_the_step_joins_what_no_cheaper_variant_matches() -> None:
    spec = DRAW["planes"]().to_dict()
    steps = [row for row in rows(spec["hconcat"][0], "x") if set(row) == {"x", "quality"}]
    assert [row["x"] for row in steps] == [0.48, 1.0, 1.3, 2.2]
    steps = [row for row in rows(spec["hconcat"][1], "p95_ms") if set(row) == {"p95_ms", "quality"}]
    assert [row["p95_ms"] for row in steps] == [60.0, 120.0, 150.0, 220.0]
    worse = charts.variant_planes(VARIANTS, title="t", higher_is_better=False).to_dict()["hconcat"][0]
    assert [row["x"] for row in rows(worse, "x") if set(row) == {"x", "quality"}] == [0.48, 0.5]


def test_error_bars_are_drawn_where_both_ends_are_known() -> None:
    bounds = VARIANTS.with_columns(
        quality_low=pl.Series([0.84, None, 0.82, 0.86, 0.86]), quality_high=pl.col("quality") + 0.01
    )
    spec = json.dumps(charts.variant_planes(bounds, title="t").to_dict())
    assert "datum.quality_low !== null" in spec
    assert "quality_low !== null" not in json.dumps(DRAW["planes"]().to_dict())


def test_an_unknown_variant_is_left_out_and_said() -> None:
    one = VARIANTS.with_columns(
        p95_ms=pl.when(pl.col("label") == "larch int8").then(None).otherwise("p95_ms")
    )
    spec = charts.variant_planes(one, title="t").to_dict()
    assert "1 variant with unknown values not drawn." in spec["description"]
    assert "larch int8" not in {row["label"] for row in rows(spec, "label")}


def test_up_is_better_on_every_axis() -> None:
    points = rows(DRAW["lines"]().to_dict(), "axis")
    at = {(row["label"], row["axis"]): row["at"] for row in points if "label" in row}
    assert at["larch int8", "Cost per 1,000 (USD)"] == 1.0 and at["alder bf16", "Cost per 1,000 (USD)"] == 0.0
    assert at["alder bf16", "Accuracy"] == 1.0 and at["larch int4", "Accuracy"] == 0.0
    assert at["alder int8", "Energy (J)"] is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"axes": {"x": ("Cost", False)}}, "needs? two axes"),
        ({"axes": AXES, "frame": pl.concat([VARIANTS, VARIANTS])}, "a label occurs twice"),
    ],
)
def test_lines_that_say_nothing_are_refused(change: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        charts.variant_lines(change.pop("frame", VARIANTS), title="t", **change)


def test_break_even_lines_cross_where_the_move_pays() -> None:
    spec = DRAW["break-even"]().to_dict()
    spot = next(row for row in rows(spec, "text") if row["text"].startswith("pays"))
    assert (spot["volume"], spot["amount"]) == (200_000.0, 200.0)
    ends = rows(spec, "way")
    assert {(row["way"], round(row["amount"])) for row in ends if row["volume"] == 0} == {
        ("Stay on fp32", 0),
        ("Move to int8", 100),
    }
    assert "between 150.0k and 300.0k" in spec["description"]


def test_a_move_that_never_pays_says_so() -> None:
    spec = charts.break_even_lines(
        stay=("a", 1.0), move=("b", 1.5), once=10, expected=1e4, title="t"
    ).to_dict()
    assert spec["description"] == "Moving from a to b costs $10.00 once and never pays."
    with pytest.raises(InputError, match="nothing to draw"):
        charts.break_even_lines(stay=("a", 1.0), move=("b", 1.5), once=10, title="t")


OFFERED = pl.DataFrame(
    {
        "model": ["larch"] * 3 + ["alder"] * 2,
        "variant": ["fp32", "int8", "int4", "bf16", "int8"],
        "order": [2, 0, 1, 1, 0],
        "x": [1.0, 0.48, 0.5, 2.2, 1.3],
        "quality_loss": [0.0, 0.002, 0.016, 0.0, 0.004],
        "p95_ms": [120.0, 60.0, 30.0, 220.0, 150.0],
        "reference": [True, False, False, True, False],
    }
)


def says(spec: dict[str, Any], **values: float | str) -> list[str]:
    """Return the texts of the picture with sliders moved."""
    import vl_convert

    moved = [param | {"value": values.get(param["name"], param.get("value"))} for param in spec["params"]]
    picture = vl_convert.vegalite_to_svg(spec | {"params": moved})
    return [re.sub(r"<[^>]+>", "", text) for text in re.findall(r"<text[^>]*>.*?</text>", picture)]


def test_the_decider_decides_as_brute_force_at_every_place_of_its_sliders() -> None:
    spec = charts.variant_decider(OFFERED, title="t", monthly_inferences=1e6, once=600).to_dict()
    draw = random.Random(5)
    for _ in range(12):
        model = draw.choice(["larch", "alder"])
        p95 = draw.choice([0, 30, 60, 75, 120, 150, 220, 300])
        loss = draw.choice([0, 0.002, 0.003, 0.004, 0.016, 0.02])
        within = OFFERED.filter(
            pl.col("model") == model, pl.col("p95_ms") <= p95, pl.col("quality_loss") <= loss
        ).sort("x")
        found = says(spec, model=model, max_p95_ms=p95, max_quality_loss=loss)
        told = [text for text in found if text.startswith(("Run ", "No variant"))]
        if within.is_empty():
            assert told == ["No variant is within these limits."]
        else:
            best = within.row(0, named=True)
            assert told[0].startswith(f"Run {best['variant']}: ${best['x'] * 1000:,.0f} a month")


def test_the_decider_says_when_the_move_pays() -> None:
    spec = charts.variant_decider(OFFERED, title="t", monthly_inferences=1e6, once=630).to_dict()
    found = says(spec, model="alder")
    assert "Run int8: $1,300 a month, 41% less than bf16" in found
    assert "The move costs $630 once and pays after 0.7 months." in found
    assert "It is the reference: nothing to move." in says(spec, model="alder", max_quality_loss=0)


def test_the_decider_keeps_to_limits_without_sliders() -> None:
    kept_out = OFFERED.with_columns(order=pl.Series([1, -1, 0, 0, -1]))
    spec = charts.variant_decider(kept_out, title="t", monthly_inferences=1e6, max_monthly=600).to_dict()
    # int8 of larch is kept out, fp32 is above the budget at this traffic and within it at half of it.
    assert any(text.startswith("Run int4: $500") for text in says(spec, model="larch"))
    assert "No variant is within these limits." in says(spec, model="larch", max_quality_loss=0.01)
    half = says(spec, model="larch", max_quality_loss=0.01, monthly_inferences=5e5)
    assert any(text.startswith("Run fp32: $500") for text in half)


def test_a_dearer_choice_says_more_and_a_plane_of_zeros_is_drawn() -> None:
    dearer = OFFERED.with_columns(reference=pl.col("variant") == "int8")
    spec = charts.variant_decider(dearer, title="t", monthly_inferences=1e6).to_dict()
    assert "Run int4: $500 a month, 4% more than int8" in says(spec, model="larch", max_p95_ms=50)
    quick = charts.variant_decider(OFFERED.with_columns(p95_ms=0.0), title="t").to_dict()
    assert any(text.startswith("Run int8") for text in says(quick, model="larch"))


def test_a_decider_without_a_reference_or_traffic_is_refused() -> None:
    with pytest.raises(InputError, match="alder has no reference"):
        charts.variant_decider(OFFERED.with_columns(reference=pl.col("model") == "larch"), title="t")
    with pytest.raises(InputError, match="traffic must be above zero"):
        charts.variant_decider(OFFERED, title="t", monthly_inferences=0)
    one = OFFERED.with_columns(x=pl.when(pl.col("variant") == "int4").then(None).otherwise("x"))
    spec = charts.variant_decider(one, title="t").to_dict()
    assert "1 variant with unknown values not offered." in spec["description"]
