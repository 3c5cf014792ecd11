"""A real S3 server on loopback (moto): bills, Delta and Iceberg tables in a bucket, and its refusals."""

from __future__ import annotations

import logging
import urllib.request
from collections.abc import Iterator
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from helpers import cost_row, csv_text
from test_sources import COPIED, billed, fetch, focus_frame, lab_of, names

from finops_lab.errors import InputError, NoDataError
from finops_lab.lab import open_lab

pytest.importorskip("moto.server", reason="no moto here (development package moto[s3], flask, flask-cors)")
obstore = pytest.importorskip("obstore", reason="no obstore here (finops-lab[cloud])")

KEY, SECRET = "EXAMPLEKEYID", "example-secret-of-tests"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Run an S3 server; return its address."""
    from moto.server import ThreadedMotoServer

    log = logging.getLogger("werkzeug")
    level = log.level
    log.setLevel(logging.CRITICAL)
    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        running.stop()
        log.setLevel(level)


@pytest.fixture(scope="module")
def numbers() -> Iterator[int]:
    return count()


@pytest.fixture(autouse=True)
def _no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)


class Bucket:
    """A bucket of its own for a test."""

    def __init__(self, server: str, name: str) -> None:
        from obstore.store import S3Store

        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        opener.open(urllib.request.Request(f"{server}/{name}", method="PUT"), timeout=10).close()
        self.server, self.name = server, name
        self.options = {
            "aws_endpoint_url": server,
            "aws_region": "us-east-1",
            "aws_access_key_id": KEY,
            "aws_secret_access_key": SECRET,
            "aws_allow_http": "true",
        }
        config: Any = {key: value for key, value in self.options.items() if key != "aws_allow_http"}
        self.store = S3Store(name, config=config, client_options={"allow_http": True})

    def put(self, name: str, content: str | bytes) -> None:
        obstore.put(self.store, name, content if isinstance(content, bytes) else content.encode())

    def get(self, name: str) -> bytes:
        return bytes(obstore.get(self.store, name).bytes())


@pytest.fixture
def bucket(server: str, numbers: Iterator[int]) -> Bucket:
    return Bucket(server, f"example-billing-{next(numbers)}")


def toml(bucket: Bucket, kind: str, url: str, options: dict[str, str] | None = None) -> str:
    """Return a source whose secret stands in the environment."""
    given = {**(bucket.options if options is None else options)}
    listed = "\n".join(f'"{key}" = "{value}"' for key, value in given.items())
    return f'[[sources]]\nname = "bills"\nkind = "{kind}"\nurl = "{url}"\n[sources.options]\n{listed}\n'


def test_bills_of_a_bucket_are_ingested(
    tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("cur/cloudone/delivered=2026-10-02/part 1, 50 %.csv", csv_text([cost_row("1.10")]))
    bucket.put("cur/cloudone/delivered=2026-10-05/ü.csv", csv_text([cost_row("1.15"), cost_row("2.25")]))
    bucket.put("cur/cloudone/bill-manifest.json", '{"assemblyId": "not data"}')
    bucket.put("cur/.hidden.csv", "not data")
    bucket.put("current/other.csv", "a prefix is a folder, not the beginning of a name")
    obstore.put(bucket.store, "cur/cloudone/2026-12", b"")  # a folder that a console made
    monkeypatch.setenv("FINOPS_SECRET", SECRET)
    options = {**bucket.options, "aws_secret_access_key": "${FINOPS_SECRET}"}
    folder = lab_of(tmp_path / "lab", toml(bucket, "files", f"s3://{bucket.name}/cur/", options))
    assert billed(open_lab(folder, progress=False)) == Decimal("3.40")
    assert names(folder / COPIED / "bills") == [
        "cloudone/bill-manifest.json",
        "cloudone/delivered=2026-10-02/part 1, 50 %.csv",
        "cloudone/delivered=2026-10-05/ü.csv",
    ]
    copied = folder / COPIED / "bills" / "cloudone" / "delivered=2026-10-05" / "ü.csv"
    assert copied.read_bytes() == bucket.get("cur/cloudone/delivered=2026-10-05/ü.csv")
    assert SECRET not in (folder / COPIED / "bills" / ".fetched.json").read_text(encoding="utf-8")


def test_only_what_changed_is_copied_again(tmp_path: Path, bucket: Bucket) -> None:
    bucket.put("a.csv", csv_text([cost_row("1.10")]))
    bucket.put("b.csv", csv_text([cost_row("2.25", ServiceName="Other")]))
    folder = lab_of(tmp_path / "lab", toml(bucket, "files", f"s3://{bucket.name}"))
    assert billed(open_lab(folder, progress=False)) == Decimal("3.35")
    copies = folder / COPIED / "bills"
    before = {name: (copies / name).stat().st_ino for name in names(copies)}
    bucket.put("b.csv", csv_text([cost_row("2.26", ServiceName="Other")]))  # of the same size
    obstore.delete(bucket.store, "a.csv")
    assert billed(open_lab(folder, progress=False, refresh=True)) == Decimal("3.36")
    assert (copies / "a.csv").stat().st_ino == before["a.csv"]
    bucket.put("c.csv", csv_text([cost_row("0.01", ServiceName="Third")]))
    assert billed(open_lab(folder, progress=False, refresh=True)) == Decimal("3.37")


def test_many_objects_and_a_large_one(
    tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A store tells its objects in pages (of 1,000; here of 7), and a body comes in many pieces.
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "7")
    for number in range(30):
        bucket.put(f"many/{number:04}.csv", f"{number}")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{bucket.server}/{bucket.name}?list-type=2&prefix=many", timeout=10) as page:
        assert b"<IsTruncated>true</IsTruncated>" in page.read()
    large = b"".join(number.to_bytes(4, "big") for number in range(5_000_000))
    bucket.put("large.bin", large)
    copies = fetch(tmp_path / "many", kind="files", url=f"s3://{bucket.name}/many", options=bucket.options)
    assert [(copies / name).read_text() for name in names(copies)] == [str(n) for n in range(30)]
    copies = fetch(
        tmp_path / "one", kind="files", url=f"s3://{bucket.name}/large.bin", options=bucket.options
    )
    assert names(copies) == ["large.bin"]
    assert (copies / "large.bin").read_bytes() == large


def test_a_missing_bucket_is_one_line_and_not_raw_xml(tmp_path: Path, bucket: Bucket) -> None:
    for kind in ("files", "delta"):
        with pytest.raises(InputError) as caught:
            fetch(tmp_path / "copies", kind=kind, url="s3://no-such-bucket/cur", options=bucket.options)
        assert str(caught.value) == (
            "[[sources]] 'bills' (s3://no-such-bucket/cur): cannot be copied: NoSuchBucket: "
            "The specified bucket does not exist. Hint: check the names in url"
        )
    assert not (tmp_path / "copies").exists()


def test_an_empty_prefix_is_told(tmp_path: Path, bucket: Bucket) -> None:
    with pytest.raises(NoDataError, match=r"^\[\[sources\]\] 'bills' \(s3://.*/cur\): there are no files"):
        fetch(tmp_path / "copies", kind="files", url=f"s3://{bucket.name}/cur", options=bucket.options)


def test_names_that_no_file_can_have_are_told(tmp_path: Path, bucket: Bucket) -> None:
    url = f"{bucket.server}/{bucket.name}/a//../b.csv"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    opener.open(urllib.request.Request(url, data=b"x", method="PUT"), timeout=10).close()
    with pytest.raises(InputError, match=r"cannot be copied: .*path"):
        fetch(tmp_path / "copies", kind="files", url=f"s3://{bucket.name}", options=bucket.options)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"aws_endpoint_url": "http://127.0.0.1:9"}, "error sending request.*whether it can be reached"),
        ({"aws_allow_http": "false"}, 'needs the option allow_http = "true"'),
        ({"aws_colour": "blue"}, "'aws_colour' is not valid for store 'S3'"),
    ],
)
def test_wrong_options_are_told(
    tmp_path: Path, server: str, bucket: Bucket, change: dict[str, str], said: str
) -> None:
    with pytest.raises(InputError, match=said) as caught:
        fetch(
            tmp_path / "copies",
            kind="files",
            url=f"s3://{bucket.name}",
            options={**bucket.options, **change},
        )
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_delta_table_in_a_bucket_is_ingested(tmp_path: Path, bucket: Bucket) -> None:
    url = f"s3://{bucket.name}/costs"
    writing = {**bucket.options, "aws_s3_allow_unsafe_rename": "true"}
    focus_frame(["0.000000000000000001", "12345678901234567890.1"]).write_delta(url, storage_options=writing)
    folder = lab_of(tmp_path / "lab", toml(bucket, "delta", url))
    assert billed(open_lab(folder, progress=False)) == Decimal("12345678901234567890.100000000000000001")
    snapshot = folder / COPIED / "bills" / "snapshot.parquet"
    before = snapshot.stat().st_ino
    open_lab(folder, progress=False, refresh=True)
    assert snapshot.stat().st_ino == before
    focus_frame(["3.35"]).write_delta(url, storage_options=writing, mode="overwrite")
    assert billed(open_lab(folder, progress=False, refresh=True)) == Decimal("3.35")
    with pytest.raises(InputError, match=r'costs is a table.*kind = "delta"'):
        fetch(tmp_path / "copies", kind="files", url=f"s3://{bucket.name}", options=bucket.options)


def test_an_iceberg_table_in_a_bucket_is_ingested(tmp_path: Path, bucket: Bucket) -> None:
    pytest.importorskip("pyiceberg", reason="no pyiceberg here (finops-lab[iceberg])")
    from pyiceberg.catalog import load_catalog

    options = {
        "name": "finance",
        "type": "sql",
        "uri": f"sqlite:///{tmp_path}/catalog.db",
        "warehouse": f"s3://{bucket.name}/warehouse",
        "s3.endpoint": bucket.server,
        "s3.region": "us-east-1",
        "s3.access-key-id": KEY,
        "s3.secret-access-key": SECRET,
    }
    catalog = load_catalog(**options)
    catalog.create_namespace("finops")
    rows = focus_frame(["0.000000000000000001", "12345678901234567890.1"])
    catalog.create_table("finops.costs", schema=rows.to_arrow().schema).append(rows.to_arrow())
    folder = lab_of(tmp_path / "lab", toml(bucket, "iceberg", "finops.costs", options))
    assert billed(open_lab(folder, progress=False)) == Decimal("12345678901234567890.100000000000000001")
    location = catalog.load_table("finops.costs").metadata_location
    of_the_store = {key: value for key, value in options.items() if key.startswith("s3.")}
    copies = fetch(tmp_path / "copies", kind="iceberg", url=location, options=of_the_store)
    assert pl.read_parquet(copies / "snapshot.parquet").height == 2
