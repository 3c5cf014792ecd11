"""Texts numbered by place: the same numbers of groups as looking every text up, wherever the texts lie."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from finops_lab.unit_economics._places import _places, numbered

ROWS = 40_000


def ids(seed: int, different: int, length: int = 40) -> pl.Series:
    draw = random.Random(seed)
    texts = [f"{draw.randrange(10**6)}-{n}".rjust(length, "g") for n in range(different)]
    return pl.Series("gpu_uuid", [draw.choice(texts) for _ in range(ROWS)])


def read(tmp_path: Path, texts: pl.Series, rows: int = 9_000) -> pl.Series:
    path = tmp_path / "ids.parquet"
    texts.to_frame().write_parquet(path, row_group_size=rows)
    return pl.scan_parquet(path).collect().to_series()


def check(texts: pl.Series) -> None:
    mine = numbered(texts, pl.Categorical(pl.Categories.random("mine")))
    theirs = texts.cast(pl.Categorical(pl.Categories.random("theirs"))).to_physical().to_numpy()
    pairs = np.unique(np.stack([mine, theirs]), axis=1)
    assert len(mine) == len(texts)
    assert pairs.shape[1] == texts.n_unique() == len(np.unique(mine)) == int(mine.max()) + 1


@pytest.mark.parametrize("length", [3, 12, 13, 40])
def test_texts_read_from_a_dictionary(tmp_path: Path, length: int) -> None:
    texts = read(tmp_path, ids(1, 300, length))
    check(texts)
    # Every row group has a dictionary of its own: the same text lies in several places.
    assert len(_places(texts)) == (texts.n_chunks() if length > 12 else 0)
    assert texts.n_chunks() > 1


def test_parts_of_columns_and_columns_of_parts(tmp_path: Path) -> None:
    texts = read(tmp_path, ids(2, 500))
    nothing = texts.clear()
    for some in (texts[7_001:], texts.gather_every(2), texts.shuffle(3), texts.filter(texts < texts[5])):
        check(some)
    joined = pl.concat([nothing, texts, read(tmp_path, ids(4, 50)), nothing, texts[5:6]], rechunk=False)
    assert _places(joined)
    check(joined)
    # Together in one chunk, texts lie in several buffers.
    check(joined.rechunk())


def test_texts_that_have_a_place_each(tmp_path: Path) -> None:
    for texts in (ids(5, 200), read(tmp_path, ids(6, ROWS)), ids(7, 5)[:100]):
        check(texts)
    # Beginnings of texts lie where the whole ones do.
    whole = ids(8, 40).to_frame().with_row_index()
    odd, text = pl.col("index") % 2 == 1, pl.col("gpu_uuid")
    check(whole.select(pl.when(odd).then(text).otherwise(text.str.head(30))).to_series())
    mixed = whole["gpu_uuid"]
    check(read(tmp_path, pl.concat([mixed, mixed.str.slice(30)])))
