"""Hypervolumes counted cell by cell, and knees by hand on both axes."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from finops_lab.errors import InputError
from finops_lab.tradeoffs.hypervolume import hypervolume
from finops_lab.tradeoffs.knees import knees
from finops_lab.tradeoffs.membership import draw_points


def test_the_volume_is_the_number_of_cells_that_are_beaten() -> None:
    rng = np.random.default_rng(4)
    for _ in range(300):
        d, n = int(rng.integers(1, 6)), int(rng.integers(1, 10))
        names, points = list("abcde")[:d], rng.integers(0, 6, (n, d))
        cells = np.zeros([5] * d, dtype=bool)
        for point in points:
            cells[tuple(slice(value, None) for value in point)] = True
        up = [bool(u) for u in rng.random(d) < 0.5]
        frame = pl.DataFrame(points * np.where(up, -1, 1), schema=names)
        found = hypervolume(
            frame,
            minimise=[name for name, u in zip(names, up, strict=True) if not u],
            maximise=[name for name, u in zip(names, up, strict=True) if u],
            reference={name: -5 if u else 5 for name, u in zip(names, up, strict=True)},
        )
        assert found.value == cells.sum()
        inside = [tuple(p) for p in points.tolist() if max(p) < 5]
        front = {p for p in inside if not any(q != p and all(map(int.__le__, q, p)) for q in inside)}
        assert found.members == len(front)


def test_a_simplex_has_a_known_volume() -> None:
    # All points x + y + z = k on a grid: the volume beyond is a stack of squares.
    k = 20
    grid = [(x, y, k - x - y) for x in range(k + 1) for y in range(k + 1 - x)]
    names = ["a", "b", "c"]
    found = hypervolume(
        pl.DataFrame(grid, schema=names, orient="row"), minimise=names, reference=dict.fromkeys(names, k + 1)
    )
    missed = sum((k + 1 - z) * (k - z) // 2 + 0 for z in range(k + 1))
    cells = sum(x + y + z >= k for x in range(k + 1) for y in range(k + 1) for z in range(k + 1))
    assert found.value == cells == (k + 1) ** 3 - missed
    four = pl.DataFrame(grid, schema=names, orient="row").with_columns(d=pl.lit(0.5))
    reference = {**dict.fromkeys(names, k + 1), "d": 1}
    assert hypervolume(four, minimise=[*names, "d"], reference=reference).value == cells / 2


def test_the_reference_point_is_kept_and_can_be_used_again() -> None:
    old = pl.DataFrame({"price": [1.0, 3.0, None], "accuracy": [0.5, 0.75, 0.9]})
    first = hypervolume(old, minimise=["price"], maximise=["accuracy"])
    assert first.reference == {"price": 3.0, "accuracy": 0.5}
    # The worst values are no better than themselves.
    assert (first.value, first.members) == (0.0, 0)
    new = pl.DataFrame({"price": [1.0, 3.5], "accuracy": [0.75, 0.9]})
    again = hypervolume(new, minimise=["price"], maximise=["accuracy"], reference=first.reference)
    assert (again.value, again.reference, again.members) == (0.5, first.reference, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "at least one objective"),
        ({"minimise": ["a"], "maximise": ["a"]}, "each in one sense"),
        ({"minimise": ["nope"]}, "no numeric column 'nope'"),
        ({"minimise": ["accuracy"]}, "better when higher"),
        ({"minimise": ["a"], "reference": {"b": 1}}, "a finite value for each objective"),
        ({"minimise": ["a"], "reference": {"a": float("inf")}}, "a finite value for each objective"),
        ({"minimise": ["empty"]}, "no row is known"),
    ],
)
def test_volumes_without_meaning_are_refused(options: dict[str, Any], message: str) -> None:
    frame = pl.DataFrame({"a": [1.0], "accuracy": [0.5], "empty": [float("nan")]})
    with pytest.raises(InputError, match=message):
        hypervolume(frame, **options)


def test_a_front_too_large_for_an_exact_volume_is_refused() -> None:
    points = np.random.default_rng(1).integers(0, 500, (300, 5)).astype(float)
    points[:, -1] = -points[:, :-1].sum(axis=1)
    names = list("abcde")
    with pytest.raises(InputError, match="too large for an exact volume"):
        hypervolume(pl.DataFrame(points, schema=names), minimise=names, reference=dict.fromkeys(names, 1000))


# ---------------------------------------------------------------- knees

CURVE = pl.DataFrame(
    {
        "model": ["m"] * 6,
        "variant": ["d", "a", "c", "b", "beaten", "unknown"],
        "p95_ms": [1000.0, 1.0, 40.0, 10.0, 900.0, None],
        "quality": [1.0, 0.5, 0.9, 0.8, 0.6, 0.99],
        "quality_metric": ["accuracy"] * 6,
        "throughput_per_s": [1.0, 1000.0, 25.0, 100.0, 1.1, None],
    }
)


def test_the_knee_moves_with_the_axis() -> None:
    found = knees(CURVE, x="p95_ms")
    assert found.select("axis", "variant", "x", "y", "share", "reason").rows() == [
        ("linear", "c", 40.0, 0.9, None, None),
        ("log", "b", 10.0, 0.8, None, None),
    ]
    # Scaled: c is at (39/999, 0.2) from the best x and the best y; b at (1/3, 0.4).
    want = [(1 - 39 / 999 - 0.2) / 2**0.5, (1 - 1 / 3 - 0.4) / 2**0.5]
    assert found["distance"].to_list() == pytest.approx(want)


def test_a_knee_is_the_same_whichever_way_a_figure_is_good() -> None:
    loss = CURVE.with_columns(quality=1 - pl.col("quality"), quality_metric=pl.lit("error rate"))
    assert (
        knees(loss, x="p95_ms")
        .select("axis", "variant")
        .equals(knees(CURVE, x="p95_ms").select("axis", "variant"))
    )
    # A log axis turns the reciprocal into the same picture; a linear one does not.
    speed = knees(CURVE, x="throughput_per_s")
    assert speed["variant"][1] == "b"
    assert speed["reason"][0] == "the front bends the other way: no point is beyond the chord"


def test_how_often_the_knee_is_the_knee() -> None:
    exact = draw_points(CURVE, objectives=["p95_ms", "quality"], draws=20)
    assert knees(CURVE, x="p95_ms", drawn=exact)["share"].to_list() == [1.0, 1.0]
    noisy = draw_points(CURVE.with_columns(quality_n=pl.lit(40)), objectives=["quality", "p95_ms"], draws=200)
    shares = knees(CURVE, x="p95_ms", drawn=noisy)["share"]
    assert all(0.2 < share < 1 for share in shares)


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (CURVE.head(2), "a knee needs 3 front points, there are 2"),
        (pl.concat([CURVE.head(2)] * 3), "a knee needs 3 front points, there are 2"),
        (CURVE.clear().cast({"quality": pl.Float64}), None),
    ],
)
def test_no_knee_and_why(frame: pl.DataFrame, reason: str | None) -> None:
    if reason is None:
        with pytest.raises(InputError, match="no row has a quality"):
            knees(frame, x="p95_ms")
        return
    found = knees(frame, x="p95_ms")
    assert found["reason"].to_list() == [reason] * 2 and found["variant"].null_count() == 2


def test_a_log_axis_has_no_zero() -> None:
    free = CURVE.with_columns(p95_ms=pl.col("p95_ms") - 1)
    found = knees(free, x="p95_ms")
    assert found["variant"].to_list() == ["c", None]
    assert found["reason"].to_list() == [None, "a log axis has no zero and nothing below"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"x": "p50_ms"}, "no column 'p50_ms'"),
        ({"x": "model"}, "direction of 'model'"),
        ({"x": "p95_ms", "y": "p95_ms"}, "two objectives"),
        (
            {"x": "p95_ms", "drawn": draw_points(CURVE, objectives=["quality"], draws=1)},
            "not of these points",
        ),
    ],
)
def test_knees_without_meaning_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        knees(CURVE, **options)
    with pytest.raises(InputError, match="several workloads"):
        knees(CURVE.with_columns(workload=pl.Series(list("aabbcc"))), x="p95_ms")
