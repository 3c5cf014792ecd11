"""The public Azure LLM traces become requests: exact counts, seven digits, no line end at the end."""

from __future__ import annotations

import gzip
import re
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from finops_lab import contracts
from finops_lab.errors import InputError
from finops_lab.ingestion import registry
from finops_lab.ingestion.registry import NOTES, RAW, REASONS, ReadSettings
from finops_lab.ingestion.requests import azure_llm_trace

EXAMPLE = Path(__file__).parent / "formats" / "azure_llm_trace.csv"
TRACES = Path(__file__).parents[2] / "shared" / "data" / "telemetry" / "azure_llm_2023"


def test_golden_example() -> None:
    frame = azure_llm_trace.read(EXAMPLE, ReadSettings()).collect()
    wanted = {n: t for n, t in contracts.dtypes("inference_requests").items() if n != "source_file"}
    text_list = pl.List(pl.String)
    raw = pl.Struct(dict.fromkeys(("TIMESTAMP", "ContextTokens", "GeneratedTokens"), pl.String))
    assert dict(frame.schema) == {**wanted, RAW: raw, REASONS: text_list, NOTES: text_list}
    assert frame[REASONS].to_list() == [
        None,
        None,
        None,
        ["output_tokens: 'many' is not a whole number"],
        ["ts_start: '2026-11-16 25:15:52.5732450' is not a date and time"],
        None,
    ]
    good = frame.filter(pl.col(REASONS).is_null()).with_columns(pl.lit("f").alias("source_file"))
    assert (good["input_uncached_tokens"].sum(), good["output_tokens"].sum()) == (1151, 292)
    assert good.select(contracts.reasons("inference_requests").alias("r"))["r"].null_count() == 4


def test_trap_seven_fractional_digits() -> None:
    first = azure_llm_trace.read(EXAMPLE, ReadSettings()).collect()["ts_start"]
    assert first[0] == datetime(2026, 11, 16, 18, 15, 46, 680590, tzinfo=UTC)
    # The seventh digit of .9951691 is cut, not rounded up.
    assert first[1] == datetime(2026, 11, 16, 18, 15, 50, 995169, tzinfo=UTC)


def test_trap_no_line_end_at_the_end_loses_no_row() -> None:
    assert not EXAMPLE.read_bytes().endswith(b"\n")
    assert registry.detect(EXAMPLE)[0].FORMAT == "Azure LLM trace"
    assert azure_llm_trace.read(EXAMPLE, ReadSettings()).collect()["output_tokens"][-1] == 84


def test_trap_the_trace_names_no_model() -> None:
    frame = azure_llm_trace.read(EXAMPLE, ReadSettings()).collect()
    assert frame["model"].unique().to_list() == [azure_llm_trace.MODEL]
    assert frame[NOTES].null_count() == 5
    assert frame[NOTES][0].to_list() == [
        "model: the trace names none, every row says 'unknown (Azure LLM trace)'"
    ]


def test_trap_zero_tokens_are_zero_and_blanks_are_unknown(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10 00:00:00.009930+00:00,0,\n")
    row = azure_llm_trace.read(path, ReadSettings(sample_rate=0.25)).collect().row(0, named=True)
    assert (row["input_uncached_tokens"], row["output_tokens"], row[REASONS]) == (0, None, None)
    assert row["sample_weight"] == 4.0


@pytest.mark.parametrize(
    ("name", "rows", "context", "generated", "first", "last"),
    [
        ("code", 8819, 18_059_974, 245_896, "18:17:03.979960", "19:14:19.928016"),
        ("conv", 19366, 22_361_870, 4_088_665, "18:15:46.680590", "19:14:08.402527"),
    ],
)
def test_real_traces(name: str, rows: int, context: int, generated: int, first: str, last: str) -> None:
    # The figures were counted with Python's own csv module.
    path = TRACES / f"AzureLLMInferenceTrace_{name}.csv"
    if not path.exists():
        pytest.skip("the shared Azure traces are not at hand")
    (reader,) = registry.detect(path)
    frame = reader.read(path, ReadSettings()).collect()
    assert frame.height == rows
    assert frame[REASONS].null_count() == rows
    assert (frame["input_uncached_tokens"].sum(), frame["output_tokens"].sum()) == (context, generated)
    ends = [datetime.fromisoformat(f"2023-11-16T{moment}+00:00") for moment in (first, last)]
    assert [frame["ts_start"][0], frame["ts_start"][-1]] == ends


def test_a_cut_file_is_an_input_error(tmp_path: Path) -> None:
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(EXAMPLE.read_bytes())[:60])
    with pytest.raises((InputError, pl.exceptions.PolarsError)):
        azure_llm_trace.read(path, ReadSettings()).collect()
    path = tmp_path / "t.csv"
    path.write_bytes(re.sub(rb",84$", b"", EXAMPLE.read_bytes()))
    with pytest.raises(InputError, match="ends within a row"):
        registry.detect(path)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("TIMESTAMP,ContextTokens\n2024-05-10,1\n")
    with pytest.raises(InputError, match="GeneratedTokens"):
        azure_llm_trace.read(path, ReadSettings())


def test_detected_by_no_other_reader() -> None:
    sample = registry.inspect(EXAMPLE)
    assert [r.FORMAT for r in registry.readers() if r.matches(sample)] == ["Azure LLM trace"]
