"""Percentiles of many groups by one sort: the same as group by group, and nothing where that is not exact."""

from __future__ import annotations

import math
import random

import polars as pl
import pytest

from finops_lab.unit_economics._ranked import ranked

AT = [0.0, 0.5, 0.95, 0.99, 1.0]


@pytest.mark.parametrize("digits", [0, 3, 6])
def test_each_group_has_its_own_percentiles(digits: int) -> None:
    draw = random.Random(digits)
    rows = [
        (draw.randrange(7), draw.choice([None, 0.0, round(draw.lognormvariate(5, 3), digits)]))
        for _ in range(1_500)
    ]
    frame = pl.DataFrame(rows, schema={"g": pl.Int64, "v": pl.Float64}, orient="row")
    found = ranked(frame["g"], frame["v"], 9, AT)
    assert found is not None
    for q, series in zip(AT, found, strict=True):
        every = frame.group_by("g").agg(pl.col("v").quantile(q, "equiprobable")).sort("g")
        # Two groups hold nothing.
        assert series.to_list() == [*every["v"].to_list(), None, None]


def test_values_that_are_no_whole_parts_are_left_alone() -> None:
    group = pl.Series([0, 0])
    for wrong in (1 / 3, -1.0, math.nan, math.inf, 1e12):
        assert ranked(group, pl.Series([1.0, wrong]), 1, AT) is None, wrong
    # Group and value do not fit one number.
    assert ranked(group, pl.Series([1.0, 1e9]), 2**20, AT) is None
    nothing = ranked(group, pl.Series([None, None], dtype=pl.Float64), 1, [0.5])
    assert nothing is not None and nothing[0].to_list() == [None]
