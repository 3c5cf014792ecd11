"""The measurement file and the points frame: what goes in comes out, and nothing strange gets in."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from finops_lab.errors import InputError
from finops_lab.tradeoffs.measurement import (
    OUTCOMES,
    SWEEPS,
    TIMINGS,
    VARIANTS,
    Measurement,
    read_measurement,
    write_measurement,
)
from finops_lab.tradeoffs.points import POINTS, as_points

NAMES = pl.DataFrame({"model": ["m", "m"], "variant": ["fp32", "int8"]})


def measured(**frames: pl.DataFrame) -> Measurement:
    return Measurement(NAMES, provenance={"seed": 7, "machine": {"cpu": "two cores"}}, **frames)


def same(one: Measurement, other: Measurement) -> None:
    for part in ("variants", "timings", "outcomes", "sweeps"):
        assert_frame_equal(getattr(one, part), getattr(other, part))
    assert one.provenance == other.provenance


def test_columns_that_are_not_told_are_unknown() -> None:
    found = measured(timings=NAMES.with_columns(workload=pl.lit("short"), round=pl.lit(0), cpu_ms=pl.lit(2)))
    assert dict(found.variants.schema) == VARIANTS and dict(found.timings.schema) == TIMINGS
    assert dict(found.outcomes.schema) == OUTCOMES and dict(found.sweeps.schema) == SWEEPS
    assert found.timings["cpu_ms"].to_list() == [2.0, 2.0]
    assert found.timings["gpu_ms"].to_list() == [None, None]


values = st.one_of(st.none(), st.floats(0, 1e6), st.sampled_from([0.0, 1.0]))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_measurement_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    rows = data.draw(st.integers(1, 6))
    items = data.draw(st.lists(st.integers(-3, 40), min_size=rows, max_size=rows, unique=True))
    scores = data.draw(st.lists(values, min_size=rows, max_size=rows))
    tokens = data.draw(st.lists(st.one_of(st.none(), st.integers(0, 9)), min_size=rows, max_size=rows))
    base = pl.DataFrame({"model": ["m"] * rows, "variant": ["int8"] * rows})
    written = measured(
        outcomes=base.with_columns(
            dataset=pl.lit("d"),
            metric=pl.lit("accuracy"),
            item=pl.Series(items, dtype=pl.Int64),
            value=pl.Series(scores, dtype=pl.Float64),
            higher_is_better=pl.lit(True),
        ),
        timings=base.with_columns(
            workload=pl.lit("short"),
            round=pl.Series(items, dtype=pl.Int64),
            items=pl.lit(1),
            tokens=pl.Series(tokens, dtype=pl.Int64),
            wall_ms=pl.Series(scores, dtype=pl.Float64),
        ),
    )
    folder = tmp_path_factory.mktemp("m")
    file = write_measurement(written, folder / "a.measurement.json")
    same(read_measurement(file), written)
    again = write_measurement(read_measurement(file), folder / "b.measurement.json")
    assert file.read_bytes() == again.read_bytes()
    assert sorted(path.name for path in folder.iterdir()) == [file.name, again.name]


def test_right_and_wrong_answers_stand_as_one_text(tmp_path: Path) -> None:
    outcomes = pl.DataFrame(
        {
            "model": "m",
            "variant": "int8",
            "dataset": "d",
            "metric": "accuracy",
            "item": range(5),
            "value": [1, 0, 0, 1, 1],
        }
    )
    file = write_measurement(measured(outcomes=outcomes), tmp_path / "m.measurement.json")
    told = json.loads(file.read_text())["outcomes"][0]
    assert told["value"] == "10011" and told["item"] == {"from": 0}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "cannot be read as JSON"),
        ("[1]", "is no measurement"),
        ('{"format": "finops_lab measurement 9"}', "is no measurement"),
        ('{"format": "finops_lab measurement 1"}', "is spoiled"),
    ],
)
def test_a_file_that_is_no_measurement_is_told(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "x.measurement.json"
    file.write_text(text)
    with pytest.raises(InputError, match=f"x.measurement.json: {says}"):
        read_measurement(file)


def spoiled(change: object) -> str:
    part = {
        "model": "m",
        "variant": "int8",
        "workload": "w",
        "rows": 2,
        "round": {"from": 0},
        "cpu_ms": [1.5, 2],
    }
    part.update(change if isinstance(change, dict) else {})
    kept = {
        "format": "finops_lab measurement 1",
        "provenance": {},
        "variants": [{"model": "m", "variant": "int8", "rows": 1}],
        "timings": [part],
        "outcomes": [],
        "sweeps": [],
    }
    return json.dumps(kept)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"cpu_ms": [1.5]}, "column cpu_ms: is spoiled: it has 1 values for 2 rows.*write it again"),
        ({"cpu_ms": "1x"}, r"column cpu_ms: is spoiled: 'x' stands among right answers \(1\)"),
        ({"round": {"to": 3}}, "is spoiled: it lacks 'from'"),
        ({"rows": "two"}, "is spoiled: "),
        ({"cpu_mss": [1.0, 2.0]}, "column cpu_mss: no such column"),
        ({"round": [3, 3]}, "tell twice of model m, variant int8, workload w, round 3"),
        ({"variant": "int4"}, "tell of m int4, which is none of the variants"),
    ],
)
def test_a_spoiled_measurement_is_told(tmp_path: Path, change: dict[str, object], says: str) -> None:
    file = tmp_path / "x.measurement.json"
    file.write_text(spoiled({}))
    assert read_measurement(file).timings["cpu_ms"].to_list() == [1.5, 2.0]
    file.write_text(spoiled(change))
    with pytest.raises(InputError, match=says):
        read_measurement(file)


def test_a_provenance_that_json_cannot_say_is_refused(tmp_path: Path) -> None:
    names = pl.DataFrame({"model": ["m"], "variant": ["int8"]})
    for odd in (float("nan"), Path("x")):
        with pytest.raises(InputError, match="provenance cannot be written"):
            write_measurement(Measurement(names, provenance={"x": odd}), tmp_path / "m.measurement.json")
    assert not list(tmp_path.iterdir())


def test_a_missing_measurement_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such file.*finops-lab profile"):
        read_measurement(tmp_path / "none.measurement.json")


def test_a_value_that_is_not_finite_is_refused() -> None:
    with pytest.raises(InputError, match="column cpu_ms: timings hold a value that is not finite"):
        measured(
            timings=NAMES.with_columns(workload=pl.lit("w"), round=pl.lit(0), cpu_ms=pl.lit(float("nan")))
        )


def test_points_are_filled_in_order_and_others_kept() -> None:
    given_ = pl.DataFrame({"top5": [0.9], "variant": ["int8"], "quality": [float("nan")], "quality_n": [100]})
    points = as_points(given_)
    assert points.columns == [*POINTS, "top5"]
    assert points.select("model", "quality", "quality_n", "top5").row(0) == (None, None, 100, 0.9)
    assert_frame_equal(as_points(points), points)


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        ({"name": ["a"]}, "needs the column 'variant'. Hint: it has name"),
        (
            {"variant": ["a"], "p95ms": [1.0]},
            "v.csv, column p95ms: no such column. Hint: did you mean 'p95_ms'?",
        ),
        (
            {"variant": ["a", "b"], "quality": ["0.9", "n/a"]},
            "v.csv, row 2, column quality: 'n/a' is no Float64",
        ),
        ({"variant": ["a", "b"], "p95_ms": [1.0, -2.0]}, "v.csv, row 2, column p95_ms: -2.0 is below zero"),
        ({"variant": ["a"], "quality": [float("inf")]}, "v.csv, row 1, column quality: inf is not finite"),
        ({"variant": ["b", "a", "b"]}, "v.csv, row 3: two rows describe b. Hint: keep one"),
    ],
)
def test_points_that_cannot_be_are_refused(columns: dict[str, list[object]], says: str) -> None:
    with pytest.raises(InputError) as error:
        as_points(pl.DataFrame(columns), file="v.csv")
    assert says in str(error.value)


def test_a_variant_measured_on_two_machines_is_two_points() -> None:
    points = as_points(pl.DataFrame({"variant": ["a", "a"], "hardware": ["L4", "H100"]}))
    assert points.height == 2
