"""Tables in the library's own columns: detected by columns, read value by value."""

from __future__ import annotations

import gzip
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finops_lab import contracts
from finops_lab.errors import InputError
from finops_lab.ingestion import registry
from finops_lab.ingestion.canonical import READERS, CanonicalReader
from finops_lab.ingestion.registry import NOTES, RAW, REASONS, ReadSettings

DATA = Path(__file__).parent / "data" / "telemetry"
TABLES = [reader.TABLE for reader in READERS]


def read(path: Path, table: str | None = None, **settings: Any) -> pl.DataFrame:
    return CanonicalReader(table or path.stem).read(path, ReadSettings(**settings)).collect()


def csv(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "file.csv"
    path.write_text(text)
    return path


def test_there_is_a_reader_for_each_telemetry_table() -> None:
    assert set(TABLES) == {
        "gpu_samples", "training_jobs", "spot_evictions", "accuracy_samples", "feature_value",
        "inference_requests", "latency_histograms", "scale_events", "capacity_series", "deploys", "prices",
    }  # fmt: skip


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("kind", ["csv", "gzip", "parquet"])
def test_detected_by_columns_under_a_misleading_name(tmp_path: Path, table: str, kind: str) -> None:
    path = tmp_path / "bill.json"
    source = DATA / f"{table}.csv"
    if kind == "parquet":
        pl.read_csv(source, infer_schema=False, separator=registry.separator(source)).write_parquet(path)
    else:
        content = source.read_bytes()
        path.write_bytes(gzip.compress(content) if kind == "gzip" else content)
    sample = registry.inspect(path)
    assert [reader.TABLE for reader in READERS if reader.matches(sample)] == [table]
    assert registry.detect(path) == (CanonicalReader(table),)


@pytest.mark.parametrize("table", TABLES)
def test_frame_is_lazy_and_has_the_contract_in_order_and_in_its_dtypes(table: str) -> None:
    frame = CanonicalReader(table).read(DATA / f"{table}.csv", ReadSettings())
    assert isinstance(frame, pl.LazyFrame)
    wanted = {n: t for n, t in contracts.dtypes(table).items() if n != "source_file"}
    schema = dict(frame.collect().schema)
    assert list(schema) == [*wanted, RAW, REASONS, NOTES]
    assert {name: schema[name] for name in wanted} == wanted
    assert dict(frame.collect_schema()) == schema


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("kind", ["gzip", "parquet"])
def test_gzip_and_parquet_of_text_read_as_the_csv(tmp_path: Path, table: str, kind: str) -> None:
    source, path = DATA / f"{table}.csv", tmp_path / "copy"
    if kind == "gzip":
        path.write_bytes(gzip.compress(source.read_bytes()))
    else:
        pl.read_csv(source, infer_schema=False, separator=registry.separator(source)).write_parquet(path)
    assert read(path, table).equals(read(source))


def test_gpu_samples() -> None:
    full, idle, bad = read(DATA / "gpu_samples.csv").rows(named=True)
    assert full["ts"] == idle["ts"] == datetime(2026, 10, 1, tzinfo=UTC)
    assert bad["ts"] == datetime(2026, 10, 1, 0, 1, tzinfo=UTC)
    assert full["day"] == date(2026, 10, 1)
    numbers = ("interval_s", "util", "mem_used_bytes", "power_w", "allocated", "rate_usd_per_gpu_hour")
    assert [full[n] for n in numbers] == [60.0, 0.98, 64_000_000_000, 612.5, True, Decimal("2.5")]
    assert [idle[n] for n in numbers] == [60.0, 0.0, None, None, False, Decimal("2.500000000000000001")]
    assert full[REASONS] is None and idle[REASONS] is None
    assert bad[REASONS] == [
        "util: 'abc' is not a number",
        "power_w: 'inf' is not a number",
        "allocated: 'maybe' is not true or false",
        "rate_usd_per_gpu_hour: 'USD 2.5' is not a number",
    ]
    assert [bad[n] for n in ("util", "power_w", "allocated", "rate_usd_per_gpu_hour")] == [None] * 4
    assert bad[RAW]["rate_usd_per_gpu_hour"] == "USD 2.5"
    assert [r["source_row"] for r in (full, idle, bad)] == [1, 2, 3]


def test_the_last_bucket_of_a_histogram_is_infinite_and_no_number_is_no_bucket() -> None:
    first, last, broken = read(DATA / "latency_histograms.csv").rows(named=True)
    assert (first["le_ms"], first["cumulative_count"], first["sum_ms"]) == (100.0, 8, None)
    assert (last["le_ms"], last["cumulative_count"], last["sum_ms"]) == (float("inf"), 10, 1250.5)
    assert (broken["le_ms"], broken[REASONS]) == (None, None)  # blank: the contract says "missing"


def test_an_agreed_price_needs_neither_tier_nor_context() -> None:
    (row,) = read(DATA / "prices.csv").rows(named=True)
    assert (row["tier_above_tokens"], row["context"], row["origin"]) == (0, "standard", "user")
    assert (row["rate_usd_per_unit"], row["valid_from"]) == (
        Decimal("1.125"),
        datetime(2026, 10, 1, tzinfo=UTC),
    )


def test_training_jobs_default_to_the_first_attempt() -> None:
    done, failed = read(DATA / "training_jobs.csv").rows(named=True)
    assert (done["attempt"], done["cost_usd"], done["gpu_count"]) == (1, Decimal("1280.5"), 8.0)
    assert (failed["ts_end"], failed["cost_usd"], failed[REASONS]) == (None, None, None)


def test_whole_numbers_may_carry_a_point_but_no_fraction() -> None:
    whole, fraction = read(DATA / "spot_evictions.csv").rows(named=True)
    assert (whole["requests_affected"], whole[REASONS]) == (12, None)
    assert fraction["requests_affected"] is None
    assert fraction[REASONS] == ["requests_affected: '12.5' is not a whole number"]


def test_a_missing_evaluation_is_null_not_zero() -> None:
    frame = read(DATA / "accuracy_samples.csv")
    assert frame["value"].to_list() == [0.913, None]
    assert frame[REASONS].null_count() == 2


def test_feature_value_money_and_units_are_exact() -> None:
    (row,) = read(DATA / "feature_value.csv").rows(named=True)
    assert (row["revenue_usd"], row["units"]) == (Decimal("-12.5"), Decimal(1000))
    assert row["period_end"] == datetime(2026, 11, 1, tzinfo=UTC)


def test_inference_requests_defaults_notes_and_reasons() -> None:
    good, bad = read(DATA / "inference_requests.csv", sample_rate=0.5).rows(named=True)
    assert (good["n_requests"], good["sample_weight"]) == (1, 2.0)
    assert good["cost_reported_usd"] == Decimal("0.0045")
    assert good["ts_start"] == datetime(2026, 10, 1, 0, 0, 0, 123456, tzinfo=UTC)
    assert good[NOTES] == [
        "cost_reported_usd: more than 18 decimals, rounded to 18",
        "x_note: no column of inference_requests, left out",
    ]
    assert bad["team"] is None
    assert bad[NOTES] is None
    assert bad[REASONS] == [
        "ts_start: '1790000000' is not a date and time",
        "cache_read_tokens: '1_0' is not a whole number",
    ]
    # A number that can be read is the contract's to refuse.
    assert (bad["input_uncached_tokens"], bad["output_tokens"], bad["latency_ms"]) == (-3, 12, None)


def test_given_weights_and_counts_win_and_blanks_take_the_default(tmp_path: Path) -> None:
    path = csv(
        tmp_path,
        "ts_start,model,operation,status,latency_ms,n_requests,sample_weight\n"
        "2026-10-01,m,chat,ok,5,3,7.5\n2026-10-01,m,chat,ok,5,,\n2026-10-01,m,chat,ok,5,x,x\n",
    )
    frame = read(path, "inference_requests", sample_rate=0.5)
    assert frame["n_requests"].to_list() == [3, 1, None]
    assert frame["sample_weight"].to_list() == [7.5, 2.0, None]
    assert [r and len(r) for r in frame[REASONS].to_list()] == [None, None, 2]


def test_typed_parquet(tmp_path: Path) -> None:
    path = tmp_path / "gpu.parquet"
    pl.DataFrame(
        {
            "ts": [datetime(2026, 10, 1), datetime(2026, 10, 1, 1)],
            "interval_s": [60, 60],
            "gpu_uuid": pl.Series(["a", "b"], dtype=pl.Categorical),
            "util_kind": ["gpu_util", "gpu_util"],
            "util": [0.5, float("nan")],
            "mem_used_bytes": [10.0, 10.5],
            "mem_total_bytes": pl.Series([5, 2**63], dtype=pl.UInt64),
            "power_w": [float("inf"), 2.0],
            "allocated": [True, None],
            "rate_usd_per_gpu_hour": [0.1, 2.5],
            "pod": [["nested"], ["nested"]],
        }
    ).with_columns(pl.col("ts").dt.replace_time_zone("Europe/Berlin").dt.cast_time_unit("ns")).write_parquet(
        path
    )
    first, second = read(path, "gpu_samples").rows(named=True)
    assert first["ts"] == datetime(2026, 9, 30, 22, tzinfo=UTC)
    assert first["day"] == date(2026, 9, 30)
    assert (first["gpu_uuid"], first["allocated"], second["allocated"]) == ("a", True, None)
    # A float of money is what its shortest spelling says.
    assert first["rate_usd_per_gpu_hour"] == Decimal("0.1")
    assert (first["mem_used_bytes"], first["mem_total_bytes"]) == (10, 5)
    assert second["util"] is None
    assert [text.partition(":")[0] for text in first[REASONS]] == ["pod", "power_w"]
    assert [text.partition(":")[0] for text in second[REASONS]] == [
        "pod",
        "mem_used_bytes",
        "mem_total_bytes",
    ]


def test_a_bill_is_never_canonical(tmp_path: Path) -> None:
    columns = [*contracts.required("gpu_samples"), "util", "BilledCost"]
    sample = registry.inspect(csv(tmp_path, ",".join(columns) + "\n"))
    assert not any(reader.matches(sample) for reader in READERS)


@pytest.mark.parametrize("absent", ["gpu_uuid", "util"])
def test_a_file_without_a_required_or_telling_column_is_not_canonical(tmp_path: Path, absent: str) -> None:
    columns = [n for n in ("ts", "interval_s", "gpu_uuid", "util_kind", "util") if n != absent]
    sample = registry.inspect(csv(tmp_path, ",".join(columns) + "\n"))
    assert not any(reader.matches(sample) for reader in READERS)


def test_header_with_byte_order_mark_and_blanks(tmp_path: Path) -> None:
    path = csv(tmp_path, "\ufeffperiod_start, period_end , feature,units\n2026-10-01,2026-11-01, rerank ,1\n")
    assert registry.detect(path)[0].FORMAT == "canonical feature_value"
    assert read(path, "feature_value")["feature"].to_list() == ["rerank"]


@pytest.mark.parametrize("content", [b"PAR1 but not really", b"a,b\n1,2\n"])
def test_unreadable_or_incomplete_files_are_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.bin"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"broken\.bin"):
        CanonicalReader("gpu_samples").read(path, ReadSettings())


@pytest.mark.parametrize("table", TABLES)
def test_a_table_without_rows(tmp_path: Path, table: str) -> None:
    source = DATA / f"{table}.csv"
    path = csv(tmp_path, source.read_text().splitlines()[0] + "\n")
    empty = read(path, table)
    assert (empty.schema, empty.height) == (read(source).schema, 0)


cell = st.text(
    st.characters(codec="ascii", exclude_categories=["Cc"], exclude_characters='"'), max_size=12
) | st.sampled_from(
    ["NULL", "1.5", "1e400", "-0", "2026-10-01T00:00:00+99:00", "0001-01-01T00:00:00+05:00", "9" * 40, "é"]
)


@settings(max_examples=40)
@given(st.lists(st.tuples(cell, cell, cell, cell), min_size=1, max_size=5))
def test_no_cell_stops_the_file_and_none_vanishes(
    tmp_path_factory: pytest.TempPathFactory, cells: list[tuple[str, str, str, str]]
) -> None:
    path = tmp_path_factory.mktemp("c") / "gpu.csv"
    names = ("ts", "util", "mem_used_bytes", "rate_usd_per_gpu_hour")
    lines = [",".join(f'"{c}"' for c in row) + ",60,u,gpu_util" for row in cells]
    header = ",".join(names) + ",interval_s,gpu_uuid,util_kind"
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    frame = read(path, "gpu_samples")
    assert frame.height == len(cells)
    for row, given_cells in zip(frame.rows(named=True), cells, strict=True):
        told = {text.partition(":")[0] for text in row[REASONS] or ()}
        blanks = ("", "null", "(null)", "none", "nil", "n/a", "na", "nan", "-")
        for name, delivered in zip(names, given_cells, strict=True):
            # Null means blank or reported; anything else was read.
            blank = delivered.strip().lower() in blanks
            assert (row[name] is None) == (blank or name in told)
            assert not (blank and name in told)
