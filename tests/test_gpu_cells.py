"""GPU samples added up in an array: the same as in groups, and nothing where that would not be exact."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from finops_lab.unit_economics import gpus
from finops_lab.unit_economics._gpu_cells import HOUR, in_cells

KEYS = ["gpu_uuid", "util_kind", "team", "allocated", "rate_usd_per_gpu_hour"]
START = datetime(2026, 10, 5, 7, tzinfo=UTC)
KINDS: dict[str, Any] = {
    "ts": pl.Datetime("us", "UTC"),
    "interval_s": pl.Float64,
    "util": pl.Float64,
    **dict.fromkeys(KEYS[:3], pl.String),
    "allocated": pl.Boolean,
    "rate_usd_per_gpu_hour": pl.Decimal(38, 18),
}


def samples(seed: int, number: int = 500, gpus: int = 4, teams: int = 3) -> pl.DataFrame:
    """Make samples a third of a second apart, so that most share half a minute with others."""
    draw = random.Random(seed)
    rows = [
        {
            "ts": START + timedelta(milliseconds=333 * n),
            "interval_s": draw.choice([None, 0.333, 7.0]),
            "util": draw.choice([None, 0.0, 1.0, draw.randrange(1000) / 1000]),
            "gpu_uuid": draw.choice([None, *(f"GPU-{g:040x}" for g in range(gpus))]),
            "util_kind": draw.choice(["sm_active", "gpu_util"]),
            "team": draw.choice([None, *(f"t{t}" for t in range(teams))]),
            "allocated": draw.choice([None, True, False]),
            "rate_usd_per_gpu_hour": draw.choice([None, Decimal("2.50"), Decimal("3.123456789")]),
        }
        for n in range(number)
    ]
    draw.shuffle(rows)
    return pl.DataFrame(rows, schema=KINDS)


def grouped(rows: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    time = pl.col("interval_s") * 1_000_000
    sampled = pl.when(pl.col("util").is_not_null()).then(time.round(0).cast(pl.Int64)).alias("sampled")
    busy = (pl.col("util") * time).round(0).cast(pl.Int64).alias("busy")
    hour = (pl.col("ts").to_physical() // HOUR).alias("hour")
    found = rows.with_columns(sampled, busy, hour).group_by(*keys, "hour")
    return found.agg(pl.len().cast(pl.Int64).alias("rows"), pl.col("sampled", "busy").sum())


@pytest.mark.parametrize("keys", [KEYS[:2], KEYS[:3], KEYS])
def test_cells_are_groups(keys: list[str]) -> None:
    several = [samples(1), samples(2, gpus=1, teams=1), samples(3, number=1)]
    # Hours apart, and more groups that may be than cells are made for without a look at which there are.
    later = samples(4).with_columns(pl.col("ts") + pl.duration(days=40))
    for rows in (*several, pl.concat([several[0], later]), samples(5, 3_000, gpus=900, teams=800)):
        found = in_cells(rows, keys)
        assert found is not None
        theirs = grouped(rows, keys)
        assert_frame_equal(found.select(theirs.columns), theirs, check_row_order=False)


def test_what_an_array_would_tell_wrong_is_left_to_groups() -> None:
    rows = samples(6)
    assert in_cells(rows.clear(), KEYS) is None
    assert in_cells(pl.concat([rows, rows[7]]), KEYS) is None, "two samples of a moment"
    negative = rows.with_columns(
        pl.when(pl.int_range(pl.len()) == 3).then(-1.0).otherwise("util").alias("util")
    )
    assert in_cells(negative, KEYS) is None
    assert in_cells(rows.with_columns(util=pl.lit(float("nan"))), KEYS) is None
    # Intervals of centuries: their sums are no longer whole numbers that a float holds.
    long = rows.with_columns(interval_s=pl.lit(1e10 + 1e-6), util=pl.lit(1.0))
    assert in_cells(long, KEYS[:2]) is None
    done = gpus.hours(long.lazy())
    assert done["sampled_s"].sum() == rows.height * Decimal("10000000000.000002").quantize(Decimal("0.001"))


def test_a_sample_of_another_century_asks_for_no_more_memory() -> None:
    rows = samples(7, number=200, gpus=20)
    far = rows.with_columns(
        pl.when(pl.int_range(pl.len()) == 0)
        .then(pl.lit(START - timedelta(days=36_500)))
        .otherwise("ts")
        .alias("ts")
    )
    assert in_cells(far, KEYS) is None
