"""`[[sources]]`: what lies elsewhere is copied below the lake, whole or not at all, then ingested."""

from __future__ import annotations

import http.server
import os
import re
import sys
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from helpers import PLAIN_TOML, cost_row, put, write_lab

from finops_lab import config
from finops_lab.config import Source
from finops_lab.errors import ConfigError, InputError, NoDataError
from finops_lab.ingestion.sources import fetched
from finops_lab.lab import Lab, open_lab

NOW = datetime(2026, 11, 2, tzinfo=UTC)
COPIED = Path("lake") / "fetched"


def fetch(target: Path, refresh: bool = True, **source: Any) -> Path:
    """Fetch one source named bills; return its folder."""
    fetched.fetch(target, [Source(name="bills", **source)], NOW, refresh=refresh)
    return target / "bills"


def names(folder: Path) -> list[str]:
    """Return what ingestion sees below a folder."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(p.as_posix() for p in found if not any(part.startswith(".") for part in p.parts))


def billed(lab: Lab) -> Decimal:
    total: Decimal = lab.costs().select(pl.col("BilledCost").sum()).collect().item()
    return total


def focus_frame(amounts: Sequence[str], **overrides: str) -> pl.DataFrame:
    """Return FOCUS rows as a warehouse keeps them: exact decimals, moments in UTC."""
    rows = pl.DataFrame([cost_row(amount, **overrides) for amount in amounts])
    money = pl.col("BilledCost", "EffectiveCost", "ListCost", "ContractedCost").cast(pl.Decimal(38, 18))
    times = pl.col(r"^.*Period(Start|End)$").str.to_datetime(time_unit="us", time_zone="UTC")
    return rows.with_columns(money, times)


def lab_of(folder: Path, toml: str) -> Path:
    return write_lab(folder, {}, PLAIN_TOML + toml)


# -- folders ---------------------------------------------------------------------------------------


def test_a_folder_elsewhere_is_copied_and_ingested(tmp_path: Path) -> None:
    share = tmp_path / "share"
    put(share / "cloudone" / "delivered=2026-10-02" / "bill.csv", [cost_row("1.10"), cost_row("2.20")])
    put(share / "cloudone" / "delivered=2026-10-05" / "bill.csv.gz", "\n".join(_bill("1.15", "2.25")))
    put(share / "notes.txt", "not asked for")
    source = f'[[sources]]\nname = "share"\nkind = "files"\nurl = "{share.as_uri()}"\ninclude = ["*.csv*"]\n'
    folder = lab_of(tmp_path / "lab", source)
    lab = open_lab(folder, progress=False)
    # The later delivery of the same account and month replaces the earlier one, as in exports/.
    assert billed(lab) == Decimal("3.40")
    assert names(folder / COPIED) == [
        "share/cloudone/delivered=2026-10-02/bill.csv",
        "share/cloudone/delivered=2026-10-05/bill.csv.gz",
    ]
    original = share / "cloudone" / "delivered=2026-10-05" / "bill.csv.gz"
    copy = folder / COPIED / "share" / original.relative_to(share)
    assert copy.read_bytes() == original.read_bytes()


def _bill(*amounts: str) -> list[str]:
    rows = [cost_row(amount) for amount in amounts]
    return [",".join(rows[0]), *(",".join(value or "" for value in row.values()) for row in rows), ""]


def test_what_was_copied_is_copied_again_on_refresh_only(tmp_path: Path) -> None:
    share = tmp_path / "share"
    put(share / "bill.csv", [cost_row("1.10")])
    folder = lab_of(
        tmp_path / "lab", f'[[sources]]\nname = "share"\nkind = "files"\nurl = "{share.as_uri()}"\n'
    )
    assert billed(open_lab(folder, progress=False)) == Decimal("1.10")
    put(share / "bill.csv", [cost_row("5.55"), cost_row("0.01")])
    assert billed(open_lab(folder, progress=False)) == Decimal("1.10")
    assert billed(open_lab(folder, progress=False, refresh=True)) == Decimal("5.56")


def test_unchanged_files_are_skipped_changed_and_new_ones_copied_and_gone_ones_kept(tmp_path: Path) -> None:
    share = tmp_path / "share"
    for name in ("same.csv", "changes.csv", "goes.csv"):
        put(share / name, name)
    copies = fetch(tmp_path / "copies", kind="files", url=share.as_uri())
    before = {name: (copies / name).stat().st_ino for name in names(copies)}
    put(share / "changes.csv", "is longer now")
    put(share / "new.csv", "new")
    (share / "goes.csv").unlink()
    fetch(tmp_path / "copies", kind="files", url=share.as_uri())
    assert names(copies) == ["changes.csv", "goes.csv", "new.csv", "same.csv"]
    assert (copies / "changes.csv").read_text() == "is longer now"
    assert (copies / "same.csv").stat().st_ino == before["same.csv"]
    assert (copies / "goes.csv").read_text() == "goes.csv"


def test_a_copy_that_was_lost_is_copied_again(tmp_path: Path) -> None:
    share = tmp_path / "share"
    put(share / "bill.csv", "content")
    copies = fetch(tmp_path / "copies", kind="files", url=share.as_uri())
    (copies / "bill.csv").unlink()
    fetch(tmp_path / "copies", kind="files", url=share.as_uri())
    assert names(copies) == ["bill.csv"]


def test_include_chooses_by_path_and_hidden_files_stay(tmp_path: Path) -> None:
    share = tmp_path / "share"
    for name in ("cur/2026-10/a.csv", "cur/2026-11/b.csv", "focus/c.parquet", "focus/d.csv", ".e.csv"):
        put(share / name, name)
    copies = fetch(
        tmp_path / "copies", kind="files", url=share.as_uri(), include=("cur/*.csv", "*.parquet", ".e*")
    )
    assert names(copies) == ["cur/2026-10/a.csv", "cur/2026-11/b.csv", "focus/c.parquet"]
    assert not (copies / ".e.csv").exists()


def test_one_file_can_be_named(tmp_path: Path) -> None:
    bill = put(tmp_path / "share" / "a bill, 50 %.csv", "content")
    put(tmp_path / "share" / "other.csv", "other")
    copies = fetch(tmp_path / "copies", kind="files", url=bill.as_uri())
    assert names(copies) == ["a bill, 50 %.csv"]


@pytest.mark.skipif(not Path("/proc/self/mem").is_file(), reason="needs a file that cannot be read: Linux")
def test_a_fetch_that_breaks_leaves_nothing_half_and_goes_on_next_time(tmp_path: Path) -> None:
    # A month in two parts: were the first ingested alone, it would replace the month by a half.
    share = tmp_path / "share"
    put(share / "part-1.csv", [cost_row("1.10")])
    (share / "part-2.csv").symlink_to("/proc/self/mem")
    source = f'[[sources]]\nname = "share"\nkind = "files"\nurl = "{share.as_uri()}"\n'
    folder = lab_of(tmp_path / "lab", source)
    for _ in range(2):  # also when the lab is opened again without refresh
        with pytest.raises(InputError, match=r"^\[\[sources\]\] 'share' \(file:.*cannot be copied: .*rror"):
            open_lab(folder, progress=False)
    assert not (folder / COPIED / "share").exists()
    waiting = (folder / COPIED / ".share.partial" / "part-1.csv").stat().st_ino
    # What waits is no data.
    (folder / "finops.toml").write_text(PLAIN_TOML)
    assert open_lab(folder, progress=False).costs().collect().height == 0
    (folder / "finops.toml").write_text(PLAIN_TOML + source)
    (share / "part-2.csv").unlink()
    put(share / "part-2.csv", [cost_row("2.25")])
    assert billed(open_lab(folder, progress=False)) == Decimal("3.35")
    assert (folder / COPIED / "share" / "part-1.csv").stat().st_ino == waiting
    assert names(folder / COPIED) == ["share/part-1.csv", "share/part-2.csv"]
    assert not (folder / COPIED / ".share.partial").exists()


def test_what_waited_and_changed_since_is_copied_again(tmp_path: Path) -> None:
    share, target = tmp_path / "share", tmp_path / "copies"
    put(share / "bill.csv", "old")
    put(share / "later" / "x.csv", "x")
    copies = fetch(target, kind="files", url=share.as_uri())
    # As a fetch leaves it that broke after the first of two files: one waits, one never came.
    (target / ".bills.partial" / "later").mkdir(parents=True)
    os.replace(copies / "bill.csv", target / ".bills.partial" / "bill.csv")
    os.replace(copies / ".fetched.json", target / ".bills.partial" / ".fetched.json")
    os.replace(copies / "later" / "x.csv", target / ".bills.partial" / "later" / "x.csv")
    (copies / "later").rmdir()
    copies.rmdir()
    put(share / "bill.csv", "new content")
    (share / "later" / "x.csv").unlink()
    fetch(target, kind="files", url=share.as_uri())
    assert (copies / "bill.csv").read_text() == "new content"
    assert names(copies) == ["bill.csv"]


def test_a_folder_of_copies_holds_one_source(tmp_path: Path) -> None:
    for share in ("one", "two"):
        put(tmp_path / share / f"{share}.csv", share)
    fetch(tmp_path / "copies", kind="files", url=(tmp_path / "one").as_uri())
    with pytest.raises(
        InputError, match=r"holds copies of files of file:///.*/one, not of .*two.*another name"
    ):
        fetch(tmp_path / "copies", kind="files", url=(tmp_path / "two").as_uri())
    with pytest.raises(InputError, match="not of a Delta table"):
        fetch(tmp_path / "copies", kind="delta", url=(tmp_path / "two").as_uri())
    put(tmp_path / "more" / "bills" / "by hand.csv", "x")
    with pytest.raises(InputError, match="holds copies of something else"):
        fetch(tmp_path / "more", kind="files", url=(tmp_path / "two").as_uri())


def test_copies_that_include_no_longer_names_are_told(tmp_path: Path) -> None:
    for name in ("actual.csv", "amortized.csv"):
        put(tmp_path / "share" / name, name)
    url = (tmp_path / "share").as_uri()
    fetch(tmp_path / "copies", kind="files", url=url)
    with pytest.raises(InputError, match=r"amortized\.csv: was copied before include was changed"):
        fetch(tmp_path / "copies", kind="files", url=url, include=("actual*",))


def test_no_file_is_an_error_only_when_none_was_copied(tmp_path: Path) -> None:
    share = tmp_path / "share"
    put(share / "bill.pdf", "x")
    with pytest.raises(
        NoDataError, match=r"no file that include names, but bill\.pdf.*check url and include"
    ):
        fetch(tmp_path / "copies", kind="files", url=share.as_uri(), include=("*.csv",))
    assert not (tmp_path / "copies").exists()
    put(share / "bill.csv", "x")
    fetch(tmp_path / "copies", kind="files", url=share.as_uri(), include=("*.csv",))
    (share / "bill.csv").unlink()
    copies = fetch(tmp_path / "copies", kind="files", url=share.as_uri(), include=("*.csv",))
    assert names(copies) == ["bill.csv"]


def test_files_of_a_delta_table_are_refused_since_some_hold_replaced_rows(tmp_path: Path) -> None:
    table = tmp_path / "share" / "costs"
    focus_frame(["1.00"]).write_delta(table)
    focus_frame(["2.00"]).write_delta(table, mode="overwrite")
    assert len(list(table.glob("*.parquet"))) == 2
    for url, include in ((tmp_path / "share", ("*",)), (table, ("*.parquet",))):
        with pytest.raises(InputError, match=r'costs is a table.*kind = "delta"'):
            fetch(tmp_path / "copies", kind="files", url=url.as_uri(), include=include)
    put(tmp_path / "share" / "bill.csv", "beside a table")
    copies = fetch(tmp_path / "copies", kind="files", url=(tmp_path / "share").as_uri(), include=("*.csv",))
    assert names(copies) == ["bill.csv"]


# -- settings --------------------------------------------------------------------------------------


def test_environment_variables_stand_in_url_and_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINOPS_BUCKET", "billing")
    monkeypatch.setenv("FINOPS_SECRET", "se${FINOPS_BUCKET}same")
    source = Source(
        name="s",
        kind="files",
        url="s3://${FINOPS_BUCKET}/cur",
        options={"aws_secret_access_key": "${FINOPS_SECRET}", "aws_region": "eu-west-1"},
    )
    done = fetched.resolved(source)
    assert done.url == "s3://billing/cur"
    # What a variable holds is not looked into again.
    assert done.options == {"aws_secret_access_key": "se${FINOPS_BUCKET}same", "aws_region": "eu-west-1"}


def test_a_variable_that_is_not_set_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FINOPS_NOT_SET", raising=False)
    with pytest.raises(ConfigError, match=r"'bills' needs the environment variable FINOPS_NOT_SET"):
        fetch(tmp_path / "copies", kind="files", url="s3://b", options={"aws_token": "${FINOPS_NOT_SET}"})


@pytest.mark.parametrize(
    ("kind", "module", "said"),
    [
        ("files", "obstore", r"needs the package obstore, .*finops-lab\[cloud\]"),
        ("iceberg", "pyiceberg.table", r"needs the package pyiceberg, .*finops-lab\[iceberg\]"),
        (
            "postgres",
            "adbc_driver_postgresql.dbapi",
            r"needs the package adbc-driver-postgresql, .*finops-lab\[postgres\]",
        ),
    ],
)
def test_an_absent_package_is_named_with_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, module: str, said: str
) -> None:
    monkeypatch.setitem(sys.modules, module.partition(".")[0], None)
    monkeypatch.setitem(sys.modules, module, None)
    url = "postgresql://user@localhost/bills" if kind == "postgres" else "s3://bucket/folder"
    with pytest.raises(InputError, match=said):
        fetch(tmp_path / "copies", kind=kind, url=url, query="SELECT 1" if kind == "postgres" else None)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ftp://example.com/bills", "'ftp://example.com/bills' is no address of files"),
        ("bills", "'bills' is no address of files. Hint: write it like s3://bucket/folder"),
        ("s3://[", "is no address of files"),
        ("https://example.com/bill.csv?sig=hunter2", "the address has a query.*azure_storage_sas_token"),
        ("file:///no/such/folder", "^/no/such/folder: there is no such folder"),
    ],
)
def test_addresses_that_make_no_sense(tmp_path: Path, url: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        fetch(tmp_path / "copies", kind="files", url=url)


def test_secrets_of_an_address_are_not_shown(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        fetch(tmp_path / "copies", kind="files", url="ftp://user:hunter2@example.com/bills?sig=hunter2")
    assert "ftp://example.com/bills" in str(caught.value)
    assert "hunter2" not in str(caught.value)


# -- tables ----------------------------------------------------------------------------------------


def test_a_delta_table_is_copied_exactly_and_once_per_version(tmp_path: Path) -> None:
    table = tmp_path / "warehouse" / "costs"
    smallest = "0.000000000000000001"
    focus_frame([smallest, "12345678901234567890.1"]).write_delta(
        table, delta_write_options={"partition_by": ["ProviderName"]}
    )
    source = f'[[sources]]\nname = "costs"\nkind = "delta"\nurl = "{table.as_uri()}"\n'
    folder = lab_of(tmp_path / "lab", source)
    expected = Decimal("12345678901234567890.100000000000000001")
    assert billed(open_lab(folder, progress=False)) == expected
    snapshot = folder / COPIED / "costs" / "snapshot.parquet"
    assert names(folder / COPIED) == ["costs/snapshot.parquet"]
    before = snapshot.stat().st_ino
    lab = open_lab(folder, progress=False, refresh=True)
    assert (billed(lab), snapshot.stat().st_ino) == (expected, before)
    focus_frame(["0.10"], ServiceName="Other").write_delta(table, mode="append")
    lab = open_lab(folder, progress=False, refresh=True)
    assert billed(lab) == Decimal("12345678901234567890.200000000000000001")
    assert lab.costs().select("ProviderName").unique().collect().to_series().to_list() == ["CloudOne"]
    focus_frame(["7.00"]).write_delta(table, mode="overwrite")
    assert billed(open_lab(folder, progress=False, refresh=True)) == Decimal(7)


def test_a_delta_table_made_anew_at_the_same_place_is_copied_again(tmp_path: Path) -> None:
    table = tmp_path / "costs"
    focus_frame(["1.00"]).write_delta(table)
    copies = fetch(tmp_path / "copies", kind="delta", url=str(table))
    for path in sorted(table.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    focus_frame(["2.00"]).write_delta(table)  # version 0 again
    fetch(tmp_path / "copies", kind="delta", url=str(table))
    assert pl.read_parquet(copies / "snapshot.parquet")["BilledCost"].to_list() == [Decimal(2)]


def test_what_is_no_delta_table_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty\): cannot be copied: .*there is no Delta table at url"):
        fetch(tmp_path / "copies", kind="delta", url=(tmp_path / "empty").as_uri())
    with pytest.raises(InputError, match=r"cannot be copied: .*does not exist"):
        fetch(tmp_path / "copies", kind="delta", url=(tmp_path / "absent").as_uri())
    assert not (tmp_path / "copies").exists()


def _iceberg(tmp_path: Path) -> tuple[Any, dict[str, str]]:
    pytest.importorskip("pyiceberg", reason="no pyiceberg here (finops-lab[iceberg])")
    from pyiceberg.catalog import load_catalog

    (tmp_path / "warehouse").mkdir()
    options = {
        "name": "finance",
        "type": "sql",
        "uri": f"sqlite:///{tmp_path}/catalog.db",
        "warehouse": (tmp_path / "warehouse").as_uri(),
    }
    catalog = load_catalog(**options)
    catalog.create_namespace("finops")
    return catalog, options


def test_an_iceberg_table_is_copied_exactly_and_once_per_snapshot(tmp_path: Path) -> None:
    catalog, options = _iceberg(tmp_path)
    rows = focus_frame(["0.000000000000000001", "12345678901234567890.1"])
    table = catalog.create_table("finops.costs", schema=rows.to_arrow().schema)
    listed = "\n".join(f'{key} = "{value}"' for key, value in options.items())
    source = '[[sources]]\nname = "costs"\nkind = "iceberg"\nurl = "finops.costs"\n'
    folder = lab_of(tmp_path / "lab", f"{source}[sources.options]\n{listed}\n")
    table.append(rows.to_arrow())
    expected = Decimal("12345678901234567890.100000000000000001")
    assert billed(open_lab(folder, progress=False)) == expected
    snapshot = folder / COPIED / "costs" / "snapshot.parquet"
    before = snapshot.stat().st_ino
    assert billed(open_lab(folder, progress=False, refresh=True)) == expected
    assert snapshot.stat().st_ino == before
    table.append(focus_frame(["0.10"], ServiceName="Other").to_arrow())
    assert billed(open_lab(folder, progress=False, refresh=True)) == Decimal(
        "12345678901234567890.200000000000000001"
    )
    table.delete("ServiceName != 'Other'")
    assert billed(open_lab(folder, progress=False, refresh=True)) == Decimal("0.10")


def test_an_iceberg_table_is_read_by_its_metadata_file(tmp_path: Path) -> None:
    catalog, _ = _iceberg(tmp_path)
    rows = focus_frame(["1.10", "2.20"])
    table = catalog.create_table("finops.costs", schema=rows.to_arrow().schema)
    table.append(rows.to_arrow())
    copies = fetch(tmp_path / "copies", kind="iceberg", url=table.metadata_location)
    assert pl.read_parquet(copies / "snapshot.parquet")["BilledCost"].sum() == Decimal("3.30")
    url = (tmp_path / "warehouse").as_uri()
    with pytest.raises(InputError, match=r'costs is a table.*kind = "iceberg"'):
        fetch(tmp_path / "files", kind="files", url=url, include=("*.parquet",))


def test_what_is_no_iceberg_table_is_told(tmp_path: Path) -> None:
    _, options = _iceberg(tmp_path)
    with pytest.raises(InputError, match=r"finops.absent\): cannot be copied: Table does not exist"):
        fetch(tmp_path / "copies", kind="iceberg", url="finops.absent", options=options)
    with pytest.raises(InputError, match=r"cannot be copied: .*No such file"):
        fetch(tmp_path / "copies", kind="iceberg", url=(tmp_path / "v1.metadata.json").as_uri())


# -- a web server ----------------------------------------------------------------------------------


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    """Serve a folder on loopback."""
    pytest.importorskip("obstore", reason="no obstore here (finops-lab[cloud])")
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    root = tmp_path / "www"
    root.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=root)) as server:
        running = threading.Thread(target=server.serve_forever)
        running.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", root
        finally:
            server.shutdown()
            running.join()


def test_one_file_of_a_web_server_is_copied_and_ingested(tmp_path: Path, web: tuple[str, Path]) -> None:
    address, root = web
    put(root / "exports" / "bill.csv", [cost_row("1.10"), cost_row("2.25")])
    source = f'[[sources]]\nname = "web"\nkind = "files"\nurl = "{address}/exports/bill.csv"\n'
    folder = lab_of(tmp_path / "lab", source)
    assert billed(open_lab(folder, progress=False)) == Decimal("3.35")
    before = (folder / COPIED / "web" / "bill.csv").stat().st_ino
    assert billed(open_lab(folder, progress=False, refresh=True)) == Decimal("3.35")
    assert (folder / COPIED / "web" / "bill.csv").stat().st_ino == before
    with pytest.raises(NoDataError, match="there are no files"):
        fetch(tmp_path / "copies", kind="files", url=f"{address}/exports/none.csv")
    with pytest.raises(InputError, match=r"a web server does not tell its files.*name one file"):
        fetch(tmp_path / "copies", kind="files", url=f"{address}/exports/")


# -- docs ------------------------------------------------------------------------------------------


def test_every_example_of_the_docs_is_read(tmp_path: Path) -> None:
    text = (Path(__file__).parents[1] / "docs" / "sources.md").read_text(encoding="utf-8")
    kinds = set()
    for block in re.findall(r"```toml\n(.*?)```", text, re.S):
        (tmp_path / "finops.toml").write_text(block, encoding="utf-8")
        sources = config.load(tmp_path).sources
        assert sources
        kinds |= {source.kind for source in sources}
    assert kinds == {"files", "delta", "iceberg", "postgres", "prometheus"}
