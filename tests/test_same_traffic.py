"""Money and calls of the same traffic: numbers tell what sets of names tell."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finops_lab.unit_economics._same_traffic import SameTraffic

NAMES = ("model", "feature", "team")
Row = dict[str, Any]


def rows(*more: str) -> st.SearchStrategy[list[Row]]:
    name = st.sampled_from([None, "a", "b", "c"])
    one = st.fixed_dictionaries({"month": st.integers(1, 2), **dict.fromkeys((*NAMES, *more), name)})
    return st.lists(one, max_size=12)


def naive(money: list[Row], calls: list[Row], dimension: str | None) -> tuple[list[bool], list[bool]]:
    def key(row: Row, name: str) -> tuple[Any, ...] | None:
        return None if row[name] is None else (row["month"], row[dimension] if dimension else 0, row[name])

    def of(some: list[Row], name: str) -> set[tuple[Any, ...]]:
        return {k for row in some if (k := key(row, name)) is not None}

    models, features = of(calls, "model"), of(calls, "feature")
    counts = [
        key(row, "model") in models or (row["model"] is None and key(row, "feature") in features)
        for row in money
    ]
    pools = of([row for row, counted in zip(money, counts, strict=True) if counted], "pool")
    counts = [
        counted or (row["model"] is None and row["feature"] is None and key(row, "pool") in pools)
        for row, counted in zip(money, counts, strict=True)
    ]
    matched = [row for row, counted in zip(money, counts, strict=True) if counted]
    models, features = of(matched, "model"), of([row for row in matched if row["model"] is None], "feature")
    return counts, [key(row, "model") in models or key(row, "feature") in features for row in calls]


@pytest.mark.parametrize("dimension", [None, *NAMES])
@settings(max_examples=100)
@given(money=rows("pool"), calls=rows())
def test_numbers_tell_what_sets_of_names_tell(
    dimension: str | None, money: list[Row], calls: list[Row]
) -> None:
    kinds: dict[str, Any] = {"month": pl.Int64, **dict.fromkeys(NAMES, pl.String)}
    traffic = SameTraffic(
        pl.DataFrame(money, schema={**kinds, "pool": pl.String}), pl.DataFrame(calls, schema=kinds), NAMES
    )
    of_money, of_calls = traffic.matched(dimension)
    assert (of_money.to_list(), of_calls.to_list()) == naive(money, calls, dimension)
