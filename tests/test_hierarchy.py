"""Forecasts that add up: golden cases by hand, and what holds for any tree."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from finops_lab.errors import InputError
from finops_lab.forecasting.hierarchy import Tree, add_up, reconcile, tree
from finops_lab.forecasting.panel import VALUES

MONTH, NEXT = date(2026, 1, 1), date(2026, 2, 1)
KEYS = pl.DataFrame({"team": ["a", "a", "b"], "model": ["x", "y", "x"]})
BOUNDS = [name for name in VALUES if name != "yhat"]


def made(rows: dict[str, tuple[float, float]], month: date = MONTH) -> pl.DataFrame:
    """Return a forecast of nodes by mean and 80 % half width; other bounds twice as far."""
    frame = pl.DataFrame(
        {"unique_id": list(rows), "ds": month, "yhat": [m for m, _ in rows.values()], "model": "combination"}
    )
    half = pl.Series([h for _, h in rows.values()])
    sides = {
        name: pl.col("yhat") + (-1 if name.startswith("lo") else 1) * half * (1 if "80" in name else 2)
        for name in BOUNDS
    }
    return frame.with_columns(**sides).select("unique_id", "ds", *VALUES, "model")


def mean(done: pl.DataFrame, uid: str) -> float:
    return float(done.filter(pl.col("unique_id") == uid)["yhat"][0])


def test_a_tree_has_the_total_the_values_of_each_key_and_the_leaves() -> None:
    found = tree(KEYS)
    assert found.nodes.rows() == [
        ("total", "total", None, None),
        ("team=a", "team", "a", None),
        ("team=b", "team", "b", None),
        ("model=x", "model", None, "x"),
        ("model=y", "model", None, "y"),
        ("team=a, model=x", "team, model", "a", "x"),
        ("team=a, model=y", "team, model", "a", "y"),
        ("team=b, model=x", "team, model", "b", "x"),
    ]
    assert found.leaves == ["team=a, model=x", "team=a, model=y", "team=b, model=x"]
    below = found.edges.group_by("unique_id").len().sort("unique_id")
    assert dict(below.iter_rows())["total"] == 3 and dict(below.iter_rows())["model=x"] == 2
    # One key is both the level and the leaves.
    assert tree(KEYS.select("team").unique()).nodes["unique_id"].to_list() == ["total", "team=a", "team=b"]


def test_history_adds_up_exactly_and_unknown_stays_unknown() -> None:
    rows = [
        ("team=a, model=x", MONTH, Decimal("0.1")),
        ("team=a, model=y", MONTH, None),
        ("team=b, model=x", MONTH, Decimal("0.2")),
        ("team=a, model=y", NEXT, None),
    ]
    panel = pl.DataFrame(
        rows, schema={"unique_id": pl.String, "ds": pl.Date, "y": pl.Decimal(38, 18)}, orient="row"
    )
    found = add_up(panel, tree(KEYS))
    here = dict(found.filter(ds=MONTH).select("unique_id", "y").iter_rows())
    assert here["total"] == Decimal("0.3") and here["team=a"] == Decimal("0.1") and here["model=y"] is None
    assert found.filter(unique_id="total", ds=NEXT)["y"].to_list() == [None]


def test_two_teams_and_a_total_by_hand() -> None:
    # Half widths 1, 2 and 3 per normal score: variances 1 and 4 below, 9 above, which counts six times.
    # The total says 10 more than its parts: of that they take 5 of 5 + 54, by their variances.
    done = reconcile(
        made({"total": (110.0, 3.0), "team=a": (40.0, 1.0), "team=b": (60.0, 2.0)}),
        tree(pl.DataFrame({"team": ["a", "b"]})),
    )
    assert mean(done, "team=a") == pytest.approx(40 + 10 * 1 / 59)
    assert mean(done, "team=b") == pytest.approx(60 + 10 * 4 / 59)
    assert mean(done, "total") == pytest.approx(100 + 10 * 5 / 59)
    # Bounds keep their width and move with the mean; the total's 3 is what its parts' 1 and 2 allow.
    assert (done["hi_80"] - done["yhat"]).to_list() == pytest.approx([1.0, 2.0, 3.0])
    assert (done["yhat"] - done["lo_95"]).to_list() == pytest.approx([2.0, 4.0, 6.0])


def test_a_total_is_never_less_sure_than_all_its_parts_erring_together() -> None:
    done = reconcile(
        made({"total": (100.0, 50.0), "team=a": (40.0, 1.0), "team=b": (60.0, 2.0)}),
        tree(pl.DataFrame({"team": ["a", "b"]})),
    )
    assert done.filter(unique_id="total").select(pl.col("hi_80") - pl.col("yhat")).item() == pytest.approx(
        3.0
    )


def test_what_adds_up_already_stays() -> None:
    base = made({"total": (100.0, 3.0), "team=a": (40.0, 1.0), "team=b": (60.0, 2.0)})
    done = reconcile(base, tree(pl.DataFrame({"team": ["a", "b"]})))
    assert_frame_equal(done, base.sort("unique_id"), rel_tol=1e-12)


def test_a_leaf_below_zero_is_set_to_zero_and_the_others_are_worked_out_again() -> None:
    base = made({"total": (50.0, 1.0), "team=a": (40.0, 1.0), "team=b": (-5.0, 1.0)})
    keys = tree(pl.DataFrame({"team": ["a", "b"]}))
    # Free, the gap of 15 gives each part 15 * 1 / 8, and b stays at -3.125.
    assert mean(reconcile(base, keys), "team=b") == pytest.approx(-3.125)
    done = reconcile(base, keys, nonnegative=True)
    assert mean(done, "team=b") == 0.0
    # Then a alone shares the gap of 10 with the total: 1 of 1 + 6.
    assert mean(done, "team=a") == pytest.approx(40 + 10 / 7) == mean(done, "total")
    assert (done["lo_95"] >= 0).all()
    # Told of a only, b may be below zero, and with it the total.
    assert mean(reconcile(base, keys, nonnegative={"team=a"}), "team=b") == pytest.approx(-3.125)


def test_what_is_certain_does_not_move() -> None:
    base = made({"total": (100.0, 3.0), "team=a": (40.0, 0.0), "team=b": (50.0, 2.0)})
    done = reconcile(base, tree(pl.DataFrame({"team": ["a", "b"]})))
    assert mean(done, "team=a") == 40.0
    nothing = reconcile(
        made({"total": (0.0, 0.0), "team=a": (0.0, 0.0), "team=b": (0.0, 0.0)}),
        tree(pl.DataFrame({"team": ["a", "b"]})),
    )
    assert nothing["yhat"].to_list() == [0.0, 0.0, 0.0]


sizes = st.floats(0, 1e6).map(lambda v: round(v, 3))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_every_node_is_the_sum_of_its_leaves_and_scaling_scales(data: st.DataObject) -> None:
    cells = data.draw(
        st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("xyz")), min_size=1, unique=True)
    )
    keys = tree(pl.DataFrame(cells, schema=["team", "model"], orient="row"))
    ids = keys.nodes["unique_id"].to_list()
    rows = {uid: (data.draw(st.floats(-1e3, 1e6)), data.draw(sizes)) for uid in ids}
    base = pl.concat([made(rows), made({u: (2 * m, h) for u, (m, h) in rows.items()}, NEXT)])
    floor = data.draw(st.booleans())
    done = reconcile(base.sample(fraction=1, shuffle=True, seed=1), keys, nonnegative=floor)
    assert done.height == base.height and np.isfinite(done.select(VALUES).to_numpy()).all()
    leaves = keys.edges.join(done, left_on="leaf", right_on="unique_id")
    sums = leaves.group_by("unique_id", "ds").agg(
        pl.col("yhat").sum().alias("sum"), size=pl.col("yhat").abs().sum()
    )
    checked = done.join(sums, on=["unique_id", "ds"])
    assert (((checked["yhat"] - checked["sum"]).abs()) <= 1e-12 * (1 + checked["size"])).all()
    assert (done["lo_95"] <= done["yhat"] + 1e-6).all() and (done["hi_80"] >= done["yhat"] - 1e-6).all()
    if floor:
        assert (done.select(VALUES).to_numpy() >= 0).all()
    tenfold = reconcile(base.with_columns(pl.col(VALUES) * 8), keys, nonnegative=floor)
    assert_frame_equal(tenfold, done.with_columns(pl.col(VALUES) * 8), rel_tol=1e-6, abs_tol=1e-3)


def test_reconciled_is_the_weighted_least_squares_solution() -> None:
    # Against the textbook form: the coherent point nearest to the forecasts, weighted by 1 / variance.
    rng = np.random.default_rng(4)
    keys: Tree = tree(KEYS)
    ids = keys.nodes["unique_id"].to_list()
    rows = {
        uid: (float(m), float(h))
        for uid, m, h in zip(ids, rng.uniform(10, 90, 8), rng.uniform(1, 9, 8), strict=True)
    }
    leaves = keys.leaves
    sums = np.array(
        [[1.0 if (uid, leaf) in set(keys.edges.iter_rows()) else 0.0 for leaf in leaves] for uid in ids]
    )
    variance = np.array([h**2 * (1 if uid in leaves else 6) for uid, (_, h) in rows.items()])
    base = np.array([m for m, _ in rows.values()])
    inverse = sums.T / variance
    best = sums @ np.linalg.solve(inverse @ sums, inverse @ base)
    done = reconcile(made(rows), keys)
    assert [mean(done, uid) for uid in ids] == pytest.approx(best.tolist())


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (KEYS.clear(), "at least one leaf"),
        (pl.concat([KEYS, KEYS]), "a leaf comes twice"),
        (pl.DataFrame({"team": ["a", None]}), "column team: a leaf has no value"),
        (pl.DataFrame({"team": ["a", "a, model=b"], "model": ["b, model=c", "c"]}), "the same name"),
    ],
)
def test_bad_keys_are_refused(keys: pl.DataFrame, message: str) -> None:
    with pytest.raises(InputError, match=message):
        tree(keys)


def test_a_level_that_is_no_key_is_refused() -> None:
    with pytest.raises(InputError, match="column region: the leaves have no such key"):
        tree(KEYS, ["region"])


def test_a_forecast_that_misses_a_node_is_refused() -> None:
    keys = tree(pl.DataFrame({"team": ["a", "b"]}))
    base = made({"total": (100.0, 3.0), "team=a": (40.0, 1.0)})
    with pytest.raises(InputError, match=r"'team=b' has no forecast for 2026-01-01"):
        reconcile(base, keys)
    with pytest.raises(InputError, match="column hi_95"):
        reconcile(base.drop("hi_95"), keys)
