"""The Pareto front against brute force: ties, duplicates, unknowns, what beats whom, what is near."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pytest

from finops_lab.errors import InputError
from finops_lab.tradeoffs import _dominance
from finops_lab.tradeoffs.front import explain_front, pareto

NAMES = ["a", "b", "c", "d", "e", "f", "g"]


def brute_force(points: np.ndarray) -> np.ndarray:
    """Tell which rows are on the front, smaller is better; rows with NaN are nowhere."""
    below = (points[:, None] <= points[None]).all(axis=2)
    less = (points[:, None] < points[None]).any(axis=2)
    return ~(below & less).any(axis=0) & ~np.isnan(points).any(axis=1)


def case(rng: np.random.Generator) -> tuple[np.ndarray, dict[str, list[str]]]:
    """Draw some rows full of ties and duplicates, some without any row beaten, some with unknowns."""
    d, n = int(rng.integers(1, 8)), int(rng.integers(1, 100))
    points = rng.integers(0, int(rng.integers(1, 25)), (n, d)).astype(float)
    kind = rng.integers(4)
    if kind == 0 and d > 1:
        points[:, -1] = -points[:, :-1].sum(axis=1)
    if kind == 1:
        points = points[rng.integers(0, n, n)]
    if kind == 2:
        points[rng.random((n, d)) < 0.02] = np.nan
    down = [name for name, up in zip(NAMES[:d], rng.random(d) < 0.5, strict=True) if not up]
    return points, {"minimise": down, "maximise": [name for name in NAMES[:d] if name not in down]}


def test_the_front_equals_brute_force_on_1000_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(7)
    for number in range(1000):
        # Small sizes take the ways of large ones in half of the cases.
        monkeypatch.setattr(_dominance, "_FEW", 64 if number % 2 else 1)
        monkeypatch.setattr(_dominance, "_SOME", 512 if number % 4 < 2 else 1)
        points, senses = case(rng)
        names = NAMES[: points.shape[1]]
        want = brute_force(points * [-1 if name in senses["maximise"] else 1 for name in names])
        known = ~np.isnan(points).any(axis=1)
        found = pareto(pl.DataFrame(points, schema=names), **senses)
        assert found.to_list() == [bool(w) if k else None for w, k in zip(want, known, strict=True)]


def test_every_beaten_row_names_the_first_front_row_that_beats_it() -> None:
    rng = np.random.default_rng(11)
    for _ in range(40):
        points, senses = case(rng)
        frame = pl.DataFrame(points, schema=NAMES[: points.shape[1]])
        table = explain_front(frame, **senses)
        assert table["on_front"].equals(pareto(frame, **senses))
        assert table["near_front"].equals(table["on_front"])  # no limits: nothing else is near
        signed = frame.select(
            *[pl.col(name) for name in senses["minimise"]], *[-pl.col(name) for name in senses["maximise"]]
        ).rows()
        members = [i for i, on in enumerate(table["on_front"]) if on]
        for row, (on, _, by, _) in enumerate(table.rows()):
            beats = [m for m in members if all(u <= v for u, v in zip(signed[m], signed[row], strict=True))]
            assert by == (min(beats, key=lambda m: (signed[m], m)) if on is False else None)


def test_rows_near_the_front_by_hand() -> None:
    runs = pl.DataFrame(
        {
            "variant": ["a", "b", "c", "d", "e", "f"],
            "price": [1.0, 2.0, 2.02, 2.02, 20.0, 1.0],
            "accuracy": [0.8, 0.9, 0.895, 0.8949, 0.9, math.nan],
        }
    )
    senses: dict[str, Any] = {"minimise": ["price"], "maximise": ["accuracy"]}
    limits: dict[str, Any] = {"epsilon": {"accuracy": 0.005}, "relative": {"price": 0.01}}
    table = explain_front(runs, **senses, **limits)
    # c is at both limits; d is under the accuracy's; e is as accurate as b, but ten times its price.
    assert table["near_front"].to_list() == [True, True, True, False, False, None]
    assert table["dominated_by"].to_list() == [None, None, 1, 1, 1, None]
    assert table["reason"].to_list() == [
        None,
        None,
        "beaten by b in price (2.02 against 2.0), accuracy (0.895 against 0.9)",
        "beaten by b in price (2.02 against 2.0), accuracy (0.8949 against 0.9)",
        "beaten by b in price (20.0 against 2.0)",
        "accuracy unknown (NaN)",
    ]
    absolute = explain_front(runs, **senses, epsilon={"accuracy": 0.005, "price": 0.02})
    assert absolute["near_front"].equals(table["near_front"])
    dear = explain_front(runs, **senses, epsilon={"price": 17.9})
    assert dear["near_front"].to_list() == [True, True, True, True, False, None]


def test_near_rows_equal_brute_force() -> None:
    rng = np.random.default_rng(3)
    for _ in range(50):
        points = rng.integers(0, 20, (60, 3)).astype(float)
        epsilon = dict(zip("abc", rng.integers(0, 4, 3).tolist(), strict=True))
        table = explain_front(pl.DataFrame(points, schema=NAMES[:3]), minimise=NAMES[:3], epsilon=epsilon)
        members = points[brute_force(points)]
        want = (points[:, None] <= members[None] + list(epsilon.values())).all(axis=2).any(axis=1)
        assert table["near_front"].to_list() == want.tolist()


def test_groups_have_fronts_and_reasons_of_their_own() -> None:
    runs = pl.DataFrame(
        {"model": ["x", "x", "y", None], "variant": ["p", "q", "p", "p"], "price": [1, 2, 3, None]}
    )
    table = explain_front(runs, minimise=["price"], by=["model"])
    assert table.rows() == [
        (True, True, None, None),
        (False, False, 0, "beaten by x/p in price (2 against 1)"),
        (True, True, None, None),
        (None, None, None, "price unknown (null)"),
    ]


@pytest.mark.parametrize("dtype", [pl.Int64, pl.UInt64, pl.Int128, pl.Decimal(38, 18)])
def test_values_that_floats_cannot_tell_apart_stay_apart(dtype: Any) -> None:
    large = [2**53, 2**53 + 1, 2**53, None]
    prices = pl.Series("price", [None if v is None else Decimal(v) for v in large], dtype=pl.Decimal(38, 18))
    frame = pl.DataFrame({"price": prices.cast(dtype)})
    assert pareto(frame, minimise=["price"]).to_list() == [True, False, True, None]
    assert pareto(frame, maximise=["price"]).to_list() == [False, True, False, None]


def test_infinities_are_values() -> None:
    frame = pl.DataFrame({"a": [math.inf, -math.inf, 0.0] * 40, "b": [-math.inf, math.inf, 0.0] * 40})
    assert pareto(frame, minimise=["a", "b"]).all()
    assert pareto(frame, minimise=["a"]).to_list() == [False, True, False] * 40


def test_no_outlier_and_no_tie_changes_a_large_front() -> None:
    rng = np.random.default_rng(5)
    for d in (2, 3, 4, 5, 7):
        points = np.round(rng.lognormal(0, 1, (800, d)), 1)
        points[3], points[7] = 1e308, -1e308
        points[7, 0] = 1e308
        found = pareto(pl.DataFrame(points, schema=NAMES[:d]), minimise=NAMES[:d])
        assert found.to_list() == brute_force(points).tolist()


@pytest.mark.parametrize("d", [3, 4, 5, 6])
def test_many_rows_that_all_stay(d: int) -> None:
    points = np.random.default_rng(d).integers(0, 1000, (3000, d)).astype(float)
    points[:, -1] = -points[:, :-1].sum(axis=1)
    assert pareto(pl.DataFrame(points, schema=NAMES[:d]), minimise=NAMES[:d]).all()


def test_no_rows_have_no_front() -> None:
    empty = pl.DataFrame(schema={"a": pl.Float64, "b": pl.Decimal(38, 18)})
    assert pareto(empty, minimise=["a", "b"]).to_list() == []
    assert explain_front(empty, minimise=["a", "b"]).height == 0
    unknown = pl.DataFrame({"a": [None, None]}, schema={"a": pl.Float64})
    assert pareto(unknown, minimise=["a"]).to_list() == [None, None]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"minimise": ["accuracy"]}, "'accuracy' is better when higher, so it cannot be minimised"),
        ({"maximise": ["p95_ms"]}, "'p95_ms' is better when lower"),
        ({"maximise": ["quality"]}, "'perplexity' is better when lower, so it cannot be maximised"),
        ({"minimise": ["p95_ms"], "epsilon": {"quality": 1}}, "no objective"),
        ({"minimise": ["p95_ms"], "epsilon": {"p95_ms": -1}}, "from 0 up"),
        ({"minimise": ["p95_ms"], "relative": {"p95_ms": math.nan}}, "from 0 up"),
        ({"minimise": ["p95_ms"], "relative": {"p95_ms": 1}, "epsilon": {"p95_ms": 1}}, "two limits"),
    ],
)
def test_wrong_directions_and_limits_are_refused(options: dict[str, Any], message: str) -> None:
    frame = pl.DataFrame(
        {"accuracy": [0.9], "p95_ms": [5.0], "quality": [7.1], "quality_metric": ["perplexity"]}
    )
    with pytest.raises(InputError, match=message):
        explain_front(frame, **options)


def test_a_mixture_of_metrics_has_no_front() -> None:
    frame = pl.DataFrame({"quality": [0.9, 7.1], "quality_metric": ["accuracy", "perplexity"]})
    for sense in ("minimise", "maximise"):
        with pytest.raises(InputError, match="different metrics"):
            pareto(frame, **{sense: ["quality"]})
    marked = pl.DataFrame({"quality": [0.9, 0.8], "higher_is_better": [True, True]})
    with pytest.raises(InputError, match="better when higher"):
        pareto(marked, minimise=["quality"])
    assert pareto(marked, maximise=["quality"]).to_list() == [True, False]
