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
    # Two groups hold nothing.
    groups = pl.Series(range(9)).hash(digits)
    found = ranked(groups.gather(frame["g"]), frame["v"], groups, AT)
    assert found is not None
    for q, series in zip(AT, found, strict=True):
        every = frame.group_by("g").agg(pl.col("v").quantile(q, "equiprobable")).sort("g")
        assert series.to_list() == [*every["v"].to_list(), None, None]


def test_values_that_are_no_whole_parts_are_left_alone() -> None:
    groups = pl.Series([2**63], dtype=pl.UInt64)
    group = groups.gather([0, 0])
    for wrong in (1 / 3, -1.0, math.nan, math.inf, 1e12):
        assert ranked(group, pl.Series([1.0, wrong]), groups, AT) is None, wrong
    # Group and value do not fit one number: what is left of the groups is alike.
    alike = pl.Series([2**20, 2**21], dtype=pl.UInt64)
    assert ranked(alike, pl.Series([1.0, 2.0]), alike, AT) is not None
    assert ranked(alike, pl.Series([1.0, 1e9]), alike, AT) is None
    nothing = ranked(group, pl.Series([None, None], dtype=pl.Float64), groups, [0.5])
    assert nothing is not None and nothing[0].to_list() == [None]
