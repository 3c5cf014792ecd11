"""The lake: atomic versions, a log that cannot disagree with the rows, old versions kept."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable
from helpers import cost_row, focus_row, ingest_lab, put, write_lab

from finops_lab import contracts
from finops_lab.errors import InputError, NoDataError
from finops_lab.ingestion import lake
from finops_lab.ingestion.bills.focus import FocusReader
from finops_lab.ingestion.data_files import Staged
from finops_lab.ingestion.lake import FileEntry, Unit
from finops_lab.ingestion.registry import NOTES, RAW, REASONS, ReadSettings


def bill(folder: Path, name: str, rows: list[dict[str, str | None]]) -> dict[str, Staged]:
    frame = FocusReader("1.0").read(put(folder / name, rows), ReadSettings())
    frame = frame.drop(RAW, REASONS, NOTES).with_columns(pl.lit(name).alias("x_SourceFile"))
    staged = Staged(folder / f"staged {name}", "costs", frame.collect_schema())
    staged.write(frame).collect()
    return {name: staged}


def entry(name: str, delivered: str | None = None, units: tuple[Unit, ...] = ()) -> FileEntry:
    return FileEntry(name, "sha", "settings", "FOCUS", "", delivered, 1, 1, 0, units=units)


def money(folder: Path, as_of: date | None = None) -> Decimal:
    return lake.scan(folder, "costs", as_of).select(pl.col("BilledCost").sum()).collect().item()


def test_a_lake_without_a_table_is_empty_not_wrong(tmp_path: Path) -> None:
    for table in contracts.TABLES:
        frame = lake.scan(tmp_path / "none", table).collect()
        assert frame.height == 0
        assert dict(frame.schema) == contracts.dtypes(table)
    assert lake.version(tmp_path / "none", "costs") is None
    assert lake.files(tmp_path / "none", "costs") == {}
    assert not lake.exists(tmp_path / "none", "costs")
    assert not (tmp_path / "none").exists()


def test_commits_number_versions_and_keep_the_log(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    lake.commit(folder, "costs", bill(tmp_path, "a.csv", [cost_row("1", x_Own="o")]), [entry("a.csv")], {})
    lake.commit(folder, "costs", bill(tmp_path, "b.csv", [cost_row("2")]), [entry("b.csv")], {})
    assert lake.version(folder, "costs") == 1
    assert lake.files(folder, "costs") == {
        "a.csv": replace(entry("a.csv"), lake_version=0),
        "b.csv": replace(entry("b.csv"), lake_version=1),
    }
    assert money(folder) == Decimal(3)
    frame = lake.scan(folder, "costs").collect()
    known = list(contracts.dtypes("costs"))
    assert frame.columns == [*known, "x_Own"]
    assert {name: frame.schema[name] for name in known} == contracts.dtypes("costs")


def test_costs_are_partitioned_and_nothing_expires(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    lake.commit(folder, "costs", bill(tmp_path, "a.csv", [focus_row()]), [entry("a.csv")], {})
    table = DeltaTable(str(folder / "costs"))
    assert table.metadata().partition_columns == ["ProviderName", "x_BillingMonth"]
    assert table.metadata().configuration["delta.logRetentionDuration"] == "interval 36500 days"


def test_rows_of_a_file_are_replaced_with_its_quotes_and_all(tmp_path: Path) -> None:
    folder, name = tmp_path / "lake", "o'b' OR '1'='1.csv"
    lake.commit(folder, "costs", bill(tmp_path, "a.csv", [cost_row("1")]), [entry("a.csv")], {})
    lake.commit(folder, "costs", bill(tmp_path, name, [cost_row("2")]), [entry(name)], {})
    lake.commit(folder, "costs", bill(tmp_path, name, [cost_row("5")]), [entry(name)], {})
    assert money(folder) == Decimal(6)
    lake.commit(folder, "costs", {}, [entry(name)], {})
    assert money(folder) == Decimal(1)


def test_superseded_units_go_and_amended_entries_change_the_log_only(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    unit = Unit("CloudOne", "acct-1", "2026-09")
    rows = [cost_row("1"), cost_row("2", month="2026-08"), cost_row("4", BillingAccountId="it's")]
    lake.commit(folder, "costs", bill(tmp_path, "a.csv", rows), [entry("a.csv", "2026-10-01")], {})
    lake.commit(
        folder,
        "costs",
        bill(tmp_path, "b.csv", [cost_row("100")]),
        [entry("b.csv", "2026-10-08", (unit,))],
        {"a.csv": {unit}},
        [entry("a.csv", "2026-10-01", (Unit("x", "y", "z"),))],
    )
    assert money(folder) == Decimal(106)
    assert lake.files(folder, "costs")["a.csv"].units == (Unit("x", "y", "z"),)
    assert lake.files(folder, "costs")["b.csv"].units == (unit,)


def test_another_column_of_a_later_file_is_null_in_the_rows_before(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    lake.commit(folder, "costs", bill(tmp_path, "a.csv", [cost_row("1")]), [entry("a.csv")], {})
    lake.commit(folder, "costs", bill(tmp_path, "b.csv", [cost_row("2", x_Own="o")]), [entry("b.csv")], {})
    found = lake.scan(folder, "costs").select("BilledCost", "x_Own").sort("BilledCost").collect()
    assert found.rows() == [(Decimal(1), None), (Decimal(2), "o")]
    assert lake.files(folder, "costs").keys() == {"a.csv", "b.csv"}


def test_rows_stay_when_their_data_file_holds_a_superseded_account(tmp_path: Path) -> None:
    folder, unit = tmp_path / "lake", Unit("CloudOne", "acct-1", "2026-09")
    rows = [cost_row("1"), cost_row("2", BillingAccountId="acct-2"), cost_row("4", month="2026-08")]
    lake.commit(folder, "costs", bill(tmp_path, "a.csv", rows), [entry("a.csv")], {})
    lake.commit(
        folder, "costs", bill(tmp_path, "b.csv", [cost_row("8")]), [entry("b.csv")], {"a.csv": {unit}}
    )
    assert sorted(lake.scan(folder, "costs").collect()["BilledCost"]) == [Decimal(2), Decimal(4), Decimal(8)]


def test_a_lake_of_an_older_version_is_refused_not_misread(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    pl.DataFrame({"a": [1]}).write_delta(folder / "costs")
    with pytest.raises(InputError, match=r"written by an older version.*delete it"):
        lake.commit(folder, "costs", bill(tmp_path, "a.csv", [cost_row("1")]), [entry("a.csv")], {})


def test_as_of_goes_by_delivery_dates(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    for name, day, amount in (
        ("a.csv", None, "1"),
        ("b.csv", "2026-10-01", "2"),
        ("c.csv", "2026-10-08", "4"),
    ):
        lake.commit(folder, "costs", bill(tmp_path, name, [cost_row(amount)]), [entry(name, day)], {})
    assert [
        money(folder, date(2026, 9, 1)),
        money(folder, date(2026, 10, 7)),
        money(folder, date(2027, 1, 1)),
    ] == [
        Decimal(1),
        Decimal(3),
        Decimal(7),
    ]


def test_as_of_before_the_first_delivery_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "lake"
    lake.commit(folder, "costs", bill(tmp_path, "a.csv", [focus_row()]), [entry("a.csv", "2026-10-08")], {})
    with pytest.raises(NoDataError, match="no costs delivered by 2026-10-07"):
        lake.scan(folder, "costs", date(2026, 10, 7))
    assert lake.scan(folder, "inference_requests", date(2026, 10, 7)).collect().height == 0


def test_old_versions_stay_readable_after_replacements(tmp_path: Path) -> None:
    lab = write_lab(tmp_path, {"bill.csv": [cost_row("0")]})
    for amount in range(12):  # more commits than Delta keeps between checkpoints
        put(lab / "exports" / "bill.csv", [cost_row(str(amount))])
        ingest_lab(lab)
    for number in range(12):
        frame = pl.read_delta(str(lab / "lake" / "costs"), version=number)
        assert frame["BilledCost"].to_list() == [Decimal(number)]
    assert list(lake.files(lab / "lake", "costs")) == ["bill.csv"]


def test_a_table_that_cannot_be_opened_says_what_to_do(tmp_path: Path) -> None:
    broken = tmp_path / "costs" / "_delta_log"
    broken.mkdir(parents=True)
    (broken / "00000000000000000000.json").write_text("not a commit\n")
    with pytest.raises(InputError, match=r"table costs cannot be opened.*Hint: delete the lake folder"):
        lake.version(tmp_path, "costs")


def test_duckdb_reads_the_same_files(tmp_path: Path) -> None:
    import duckdb

    lab = write_lab(tmp_path, {"a.csv": [cost_row("1.5"), cost_row("0.000000000000000001", month="2026-08")]})
    ingest_lab(lab)
    paths = DeltaTable(str(lab / "lake" / "costs")).file_uris()
    found = duckdb.sql(f"SELECT sum(BilledCost), count(*) FROM read_parquet({list(paths)!r})").fetchall()
    assert found == [(Decimal("1.500000000000000001"), 2)]


@pytest.mark.parametrize("name", ["a lab", "ein-größeres-labor", "lab (new), 1"])
def test_a_lab_may_lie_in_a_folder_of_any_name(tmp_path: Path, name: str) -> None:
    lab = write_lab(tmp_path / name, {"bill.csv": [cost_row("1"), cost_row("2", ProviderName="Cloud Two")]})
    ingest_lab(lab)
    ingest_lab(write_lab(lab, {"more.csv": [cost_row("4")]}))
    found = lake.scan(lab / "lake", "costs").select(pl.col("BilledCost").sum()).collect().item()
    assert found == Decimal(7)
    assert lake.version(lab / "lake", "costs") == 1


@pytest.mark.parametrize("name", ["100%25", "lab #1", "which?"])
def test_a_folder_that_deltalake_would_misread_is_refused(tmp_path: Path, name: str) -> None:
    lab = write_lab(tmp_path / name, {"bill.csv": [cost_row("1")]})
    with pytest.raises(InputError, match=r"with %, # or \? in its name"):
        ingest_lab(lab)
