"""Sums of all dimensions in one frame are those of each dimension alone."""

from __future__ import annotations

import random
from datetime import date

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from finops_lab.unit_economics._by_dimension import PLACE, added_up, engine_for
from finops_lab.unit_economics._grouping import grouped
from finops_lab.unit_economics._job_months import every_month


def drawn(rows: int) -> pl.DataFrame:
    rng = random.Random(rows)
    table = [
        (
            rng.choice([date(2026, 9, 1), date(2026, 10, 1), None]),
            rng.choice(["ads", "search", None]),
            rng.choice(["small", None]),
            rng.randint(-5, 5),
        )
        for _ in range(rows)
    ]
    schema = {"month": pl.Date, "team": pl.String, "model": pl.String, "calls": pl.Int64}
    return pl.DataFrame(table, schema=schema, orient="row")


# Above 10,000 rows another engine works them out.
@pytest.mark.parametrize("height", [0, 1, 200, 10_001])
def test_sums_of_each_dimension_are_those_of_it_alone(height: int) -> None:
    rows = drawn(height)
    sums = (pl.col("calls").sum(), pl.len().alias("rows"))
    found = added_up(rows, (None, "team", "model"), *sums)
    for dimension in (None, "team", "model"):
        alone = found.filter(pl.col("dimension").eq_missing(pl.lit(dimension, pl.String))).drop("dimension")
        assert_frame_equal(alone, grouped(rows, dimension, *sums), check_row_order=False)
    assert found["rows"].sum() == 3 * height


def test_further_columns_tell_groups_apart() -> None:
    rows = drawn(50)
    apart = added_up(rows, (None, "team"), pl.col("calls").sum(), also=("model",))
    assert apart.columns == [*PLACE, "model", "calls"]
    assert apart.select(*PLACE, "model").is_unique().all()
    whole = apart.filter(pl.col("dimension").is_null()).select("month", "model", "calls")
    assert_frame_equal(
        whole, rows.group_by("month", "model").agg(pl.col("calls").sum()), check_row_order=False
    )


def test_months_of_the_whole_have_no_gap_and_no_rows_have_no_month() -> None:
    months = every_month(pl.Series([date(2027, 1, 1), None, date(2026, 11, 1)], dtype=pl.Date)).collect()
    assert months.columns == [*PLACE]
    assert months["month"].to_list() == [date(2026, 11, 1), date(2026, 12, 1), date(2027, 1, 1)]
    assert months.select("dimension", "key").null_count().row(0) == (3, 3)
    assert every_month(pl.Series([None], dtype=pl.Date)).collect().is_empty()


def test_small_frames_do_not_wait_for_the_engine_of_large_ones() -> None:
    assert [engine_for(drawn(3)), engine_for(drawn(3).lazy())] == ["in-memory", "auto"]
