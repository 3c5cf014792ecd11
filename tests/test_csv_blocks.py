"""A CSV file is read in blocks: the same rows as read whole, wherever the blocks end."""

from __future__ import annotations

import csv
import gzip
import io
import re
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from finops_lab.ingestion import _csv, registry
from finops_lab.ingestion.registry import ReadSettings

EXAMPLES = sorted((Path(__file__).parent / "formats").glob("*.*"))
cells = st.text(st.sampled_from('ab,"\n;é'), max_size=6)


def written(rows: list[list[str]], ends: str = "\n") -> bytes:
    stream = io.StringIO()
    csv.writer(stream, lineterminator=ends).writerows([["a", "b", "c"], *rows])
    return stream.getvalue().encode()


def read(path: Path) -> pl.DataFrame:
    return _csv.scan(path, separator=",", nulls=("NULL", ""), row="n").collect()


@given(
    rows=st.lists(st.lists(cells, min_size=3, max_size=3), min_size=1, max_size=20),
    size=st.integers(1, 60),
    zipped=st.booleans(),
    ends=st.sampled_from(["\n", "\r\n"]),
)
def test_blocks_cut_no_row(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]], size: int, zipped: bool, ends: str
) -> None:
    path = tmp_path_factory.mktemp("csv") / "rows.csv"
    data = written(rows, ends)
    path.write_bytes(gzip.compress(data) if zipped else data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_csv, "_BLOCK_BYTES", size)
        found = read(path)
    assert found.select("a", "b", "c").rows() == [tuple(cell or None for cell in row) for row in rows]
    assert found["n"].to_list() == list(range(1, len(rows) + 1))


def test_a_scan_gives_the_columns_rows_and_filters_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(written([[str(n), "x" * (n % 7), "NULL"] for n in range(100)]))
    monkeypatch.setattr(_csv, "_BLOCK_BYTES", 64)
    scan = _csv.scan(path, separator=",", nulls=("NULL", ""), row="n")
    whole = scan.collect()
    assert whole["c"].null_count() == 100
    assert scan.select(pl.len()).collect().item() == 100
    for query in (
        lambda frame: frame.select("b"),
        lambda frame: frame.select("b", "n").head(13),
        lambda frame: frame.filter(pl.col("a") == "42").select("n"),
        lambda frame: frame.filter(pl.col("n") > 10).head(5),
        lambda frame: frame.slice(95, 10),
    ):
        assert_frame_equal(query(scan).collect(), query(whole.lazy()).collect())


def test_a_gzip_file_of_several_members_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv.gz"
    path.write_bytes(gzip.compress(written([["1", "2", "3"]])) + gzip.compress(b"4,5,6\n"))
    assert read(path)["a"].to_list() == ["1", "4"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_no_reader_makes_polars_hold_the_whole_file(path: Path) -> None:
    # What polars cannot carry out batch by batch collects its whole input, and all beside it.
    settings = ReadSettings(tag_keys=("team", "env"), sample_rate=1.0)
    for reader in registry.detect(path):
        plan = reader.read(path, settings).show_graph(
            raw_output=True, engine="streaming", plan_stage="physical"
        )
        steps = {label.split("\\n")[0].strip() for label in re.findall(r'label="([^"]*)', str(plan))}
        assert steps
        assert not steps & {"columnar-function", "multiplexer", "zip-broadcast", "in-memory-map", "sort"}, (
            steps
        )
