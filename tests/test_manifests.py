"""A bill delivered as full snapshots under new names counts once: AWS Data Exports, CUR, Azure."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from helpers import cost_row, ingest_lab, lab_config, put, write_lab
from hypothesis import given
from hypothesis import strategies as st

from finops_lab.errors import InputError
from finops_lab.ingestion import lake
from finops_lab.ingestion.manifests import Place, places
from finops_lab.ingestion.run import ingest
from finops_lab.ingestion.summary import IngestSummary

A = "1b671a64-40d5-491e-99b0-da01ff1f3341"
B = "2c782b75-51e6-4a2f-8ac1-eb12aa2a4452"
C = "3d893c86-62f7-4b3a-9bd2-fc23bb3b5563"

# AWS Data Exports, "create new": each refresh is a folder.
DATA = "aws/focus/data/BILLING_PERIOD=2026-09"
META = "aws/focus/metadata/BILLING_PERIOD=2026-09"
RUN_1 = f"2026-09-20T17:05:26.463Z-{A}"
RUN_2 = f"2026-09-21T05:11:02.007Z-{C}"
RUN_3 = f"2026-09-21T17:05:26.463Z-{B}"
# Legacy CUR.
CUR = "aws/report/20260901-20261001"
# Azure.
AZURE = "azure/costs/daily/20260901-20260930"

Tree = dict[str, list[dict[str, str | None]] | str]


def bill(*amounts: str, month: str = "2026-09", **more: str | None) -> list[dict[str, str | None]]:
    return [cost_row(amount, month=month, **more) for amount in amounts]


def export_manifest(*keys: str, execution: str = A) -> str:
    """Write a manifest of Data Exports; the bucket's prefix is not in the copy."""
    files = [f"s3://example-bucket/prefix/{key.removeprefix('aws/')}" for key in keys]
    return json.dumps({"executionId": execution, "exportArn": "arn:aws:example", "dataFiles": files})


def cur_manifest(assembly: str, *keys: str) -> str:
    files = [f"prefix/{key.removeprefix('aws/')}" for key in keys]
    return json.dumps({"assemblyId": assembly, "reportKeys": files, "bucket": "example-bucket"})


def azure_manifest(run: str, submitted: str, *keys: str) -> str:
    return json.dumps(
        {
            "blobs": [{"blobName": key.removeprefix("azure/"), "byteCount": 1} for key in keys],
            "runInfo": {"runId": run, "submittedTime": submitted, "startDate": "2026-09-01T00:00:00"},
            "exportConfig": {"exportName": "daily"},
        }
    )


def create_new() -> Tree:
    """Three snapshots of September by Data Exports, the first part alike in the last two."""
    runs = {RUN_1: ("1", "2"), RUN_2: ("10", "20"), RUN_3: ("10", "21")}
    tree: Tree = {}
    for run, amounts in runs.items():
        keys = [f"{DATA}/{run}/focus-0000{n}.csv.gz" for n in (1, 2)]
        tree |= {key: bill(amount) for key, amount in zip(keys, amounts, strict=True)}
        tree[f"{META}/{run}/focus-Manifest.json"] = export_manifest(*keys)
    tree[f"{META}/focus-Manifest.json"] = tree[f"{META}/{RUN_3}/focus-Manifest.json"]
    return tree


def cur_versions() -> Tree:
    """Three assemblies of September by the legacy CUR, dated by their folders."""
    tree: Tree = {}
    for assembly, amount in (
        ("20260920T170526Z", "3"),
        ("20260921T051102Z", "30"),
        ("20260921T170526Z", "31"),
    ):
        key = f"{CUR}/{assembly}/report-00001.csv.gz"
        tree[key] = bill(amount)
        tree[f"{CUR}/{assembly}/report-Manifest.json"] = cur_manifest(assembly, key)
        tree[f"{CUR}/report-Manifest.json"] = cur_manifest(assembly, key)
    return tree


def cur_ids() -> Tree:
    """Three assemblies named by ids only: the period's manifest names the current one."""
    keys = {run: f"{CUR}/{run}/report-1.csv.gz" for run in (A, B, C)}
    tree: Tree = {keys[A]: bill("3"), keys[B]: bill("31"), keys[C]: bill("30")}
    tree |= {f"{CUR}/{run}/report-Manifest.json": cur_manifest(run, key) for run, key in keys.items()}
    tree[f"{CUR}/report-Manifest.json"] = cur_manifest(B, keys[B])
    return tree


def azure_runs() -> Tree:
    """Three month-to-date runs by Azure, dated by their manifests."""
    tree: Tree = {}
    for run, day, amount in ((A, "19", "3"), (B, "21", "31"), (C, "20", "30")):
        key = f"{AZURE}/{run}/part_0_0001.csv"
        tree[key] = bill(amount, ProviderName="Microsoft")
        when = f"2026-09-{day}T03:48:05.0084806Z"
        tree[f"{AZURE}/{run}/manifest.json"] = azure_manifest(run, when, key)
    return tree


def azure_minutes() -> Tree:
    """The same dated by the minute in the folder's name, without manifests."""
    days = ((A, "19", "3"), (B, "21", "31"), (C, "20", "30"))
    return {
        f"{AZURE}/202609{day}0348/{run}/part_0_0001.csv": bill(amount, ProviderName="Microsoft")
        for run, day, amount in days
    }


TREES = {
    "Data Exports": create_new,
    "CUR dated": cur_versions,
    "CUR by id": cur_ids,
    "Azure": azure_runs,
    "Azure without manifests": azure_minutes,
}


def total(lab: Path, as_of: date | None = None) -> Decimal:
    amount = lake.scan(lab / "lake", "costs", as_of).select(pl.col("BilledCost").sum()).collect().item()
    assert isinstance(amount, Decimal)
    return amount


def statuses(summary: IngestSummary) -> dict[str, str]:
    return dict(summary.files.select("file", "status").iter_rows())


def balanced(lab: Path, summary: IngestSummary) -> None:
    assert summary.files["rows_accepted"].sum() == lake.scan(lab / "lake", "costs").collect().height
    assert summary.files["BilledCost_accepted"].sum() == total(lab)


@contextmanager
def refused(lab: Path, words: str) -> Iterator[None]:
    """Expect one clear line, and the lake as it was."""
    before = lake.version(lab / "lake", "costs")
    with pytest.raises(InputError, match=words) as caught:
        yield
    assert caught.value.hint
    assert lake.version(lab / "lake", "costs") == before


def places_of(tree: Tree) -> dict[str, Place]:
    return places(
        [name for name in tree if "anifest" not in name],
        {name: str(text) for name, text in tree.items() if "anifest" in name},
    )


# --- the newest snapshot counts ---------------------------------------------------------------------


@pytest.mark.parametrize("vendor", TREES)
def test_of_three_snapshots_of_one_month_the_newest_counts(tmp_path: Path, vendor: str) -> None:
    lab = write_lab(tmp_path, TREES[vendor]())
    told = ingest(lab, lab_config(lab), explain=True)
    assert not (lab / "lake").exists()
    summary = ingest_lab(lab)
    assert total(lab) == Decimal(31)
    balanced(lab, summary)
    assert told.files.equals(summary.files)
    assert told.replaced.equals(summary.replaced)
    assert told.notes.equals(summary.notes)
    version = lake.version(lab / "lake", "costs")
    again = ingest_lab(lab)
    assert set(statuses(again).values()) <= {"unchanged", "outdated"}
    assert lake.version(lab / "lake", "costs") == version
    balanced(lab, again)


@pytest.mark.parametrize("vendor", ["Data Exports", "Azure"])
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_the_order_of_arrival_does_not_matter(tmp_path: Path, vendor: str, order: Sequence[int]) -> None:
    tree = TREES[vendor]()
    runs = sorted({name.rpartition("/")[0] for name in tree if "anifest" not in name})
    lab = write_lab(tmp_path, {})
    for place in order:
        run = runs[place].rpartition("/")[2]
        for name, content in tree.items():
            if f"/{run}/" in name:
                put(lab / "exports" / name, content)
        balanced(lab, ingest_lab(lab))
    assert total(lab) == Decimal(31)


def test_copies_below_the_lake_are_understood_alike(tmp_path: Path) -> None:
    lab = write_lab(tmp_path, {})
    for name, content in create_new().items():
        put(lab / "lake" / "fetched" / "bucket" / name, content)
    ingest_lab(lab)
    assert total(lab) == Decimal(31)


def test_a_copy_that_begins_at_the_export_and_one_of_data_only(tmp_path: Path) -> None:
    inner = {name.removeprefix("aws/focus/"): content for name, content in create_new().items()}
    for folder, tree in (("a", inner), ("b", {n: c for n, c in inner.items() if n.startswith("data/")})):
        lab = write_lab(tmp_path / folder, tree)
        ingest_lab(lab)
        assert total(lab) == Decimal(31)


def test_colons_that_a_copy_replaced_in_folder_names(tmp_path: Path) -> None:
    lab = write_lab(tmp_path, {name.replace(":", "_"): content for name, content in create_new().items()})
    ingest_lab(lab)
    assert total(lab) == Decimal(31)


def test_a_restated_month_replaces_that_month_alone(tmp_path: Path) -> None:
    tree = create_new()
    august = DATA.replace("2026-09", "2026-08")
    tree[f"{august}/2026-09-02T01:00:00.000Z-{A}/focus-00001.csv.gz"] = bill("100", month="2026-08")
    lab = write_lab(tmp_path, tree)
    ingest_lab(lab)
    assert total(lab) == Decimal(131)
    put(
        lab / "exports" / f"{august}/2026-09-12T01:00:00.000Z-{B}/focus-00001.csv.gz",
        bill("90", "5", month="2026-08"),
    )
    summary = ingest_lab(lab)
    assert total(lab) == Decimal(126)
    assert summary.replaced["BilledCost"].to_list() == [Decimal(100)]
    balanced(lab, summary)


def test_as_of_reads_the_snapshot_of_that_day(tmp_path: Path) -> None:
    lab = write_lab(tmp_path, create_new())
    ingest_lab(lab)
    assert total(lab, date(2026, 9, 20)) == Decimal(3)
    assert total(lab, date(2026, 9, 21)) == Decimal(31)


def test_a_manifest_that_comes_after_its_run_dates_it(tmp_path: Path) -> None:
    tree = azure_runs()
    alone = f"{AZURE}/{A}/part_0_0001.csv"
    lab = write_lab(tmp_path, {alone: tree[alone]})
    ingest_lab(lab)
    assert total(lab) == Decimal(3)
    for name, content in tree.items():
        put(lab / "exports" / name, content)
    balanced(lab, ingest_lab(lab))
    assert total(lab) == Decimal(31)


def test_a_folder_that_says_the_date_wins(tmp_path: Path) -> None:
    # The older run was put into the newer folder by hand; two runs of one date are told apart.
    tree: Tree = {
        f"delivered=2026-10-02/{DATA}/{RUN_1}/focus-00001.csv": bill("7"),
        f"delivered=2026-10-01/{DATA}/{RUN_2}/focus-00001.csv": bill("8"),
        f"delivered=2026-10-01/{DATA}/{RUN_3}/focus-00001.csv": bill("9"),
    }
    lab = write_lab(tmp_path, tree)
    ingest_lab(lab)
    assert total(lab) == Decimal(7)
    assert total(lab, date(2026, 10, 1)) == Decimal(9)


# --- files that a manifest leaves out ---------------------------------------------------------------


def overwritten(parts: int) -> Tree:
    keys = [f"{DATA}/focus-0000{n}.csv.gz" for n in range(1, parts + 1)]
    tree: Tree = {key: bill(str(place)) for place, key in enumerate(keys, 1)}
    tree[f"{META}/focus-Manifest.json"] = export_manifest(*keys)
    return tree


def test_a_report_that_shrinks_from_three_parts_to_two_leaves_a_stale_third(tmp_path: Path) -> None:
    lab = write_lab(tmp_path, overwritten(3))
    ingest_lab(lab)
    assert total(lab) == Decimal(6)
    put(lab / "exports" / f"{DATA}/focus-00002.csv.gz", bill("20"))
    manifest = lab / "exports" / f"{META}/focus-Manifest.json"
    put(manifest, overwritten(2)[f"{META}/focus-Manifest.json"])
    told = ingest(lab, lab_config(lab), explain=True)
    summary = ingest_lab(lab)
    assert told.files.equals(summary.files)
    assert total(lab) == Decimal(21)
    balanced(lab, summary)
    stale = f"{DATA}/focus-00003.csv.gz"
    assert statuses(summary)[stale] == "outdated"
    assert summary.notes.rows() == [(stale, f"not listed by {META}/focus-Manifest.json: not read", 1)]
    version = lake.version(lab / "lake", "costs")
    assert statuses(ingest_lab(lab))[stale] == "outdated"
    assert lake.version(lab / "lake", "costs") == version
    # The report grows again: the part is read as if it were new.
    put(manifest, overwritten(3)[f"{META}/focus-Manifest.json"])
    balanced(lab, ingest_lab(lab))
    assert total(lab) == Decimal(24)


def test_a_stale_part_is_no_reason_to_skip_a_file_of_the_same_content(tmp_path: Path) -> None:
    lab = write_lab(tmp_path, {**overwritten(2), f"{DATA}/focus-00003.csv.gz": bill("5")})
    put(lab / "exports" / "other/bill.csv.gz", bill("5"))
    assert statuses(ingest_lab(lab))["other/bill.csv.gz"] == "ingested"
    assert total(lab) == Decimal(8)


def test_an_overwritten_cur_with_manifests_of_earlier_assemblies(tmp_path: Path) -> None:
    keys = [f"{CUR}/report-0000{n}.csv.gz" for n in (1, 2, 3)]
    tree: Tree = {key: bill("1") if n else bill("7") for n, key in enumerate(keys)}
    tree[keys[1]] = bill("2")
    tree[f"{CUR}/20260920T170526Z/report-Manifest.json"] = cur_manifest("20260920T170526Z", *keys)
    tree[f"{CUR}/20260921T170526Z/report-Manifest.json"] = cur_manifest("20260921T170526Z", *keys[:2])
    without = write_lab(tmp_path / "without", tree)
    tree[f"{CUR}/report-Manifest.json"] = cur_manifest("20260921T170526Z", *keys[:2])
    for lab in (without, write_lab(tmp_path / "with", tree)):
        assert statuses(ingest_lab(lab))[keys[2]] == "outdated"
        assert total(lab) == Decimal(9)


def test_an_assembly_that_the_periods_manifest_names_no_more_goes(tmp_path: Path) -> None:
    tree = cur_ids()
    period = f"{CUR}/report-Manifest.json"
    first = {n: c for n, c in tree.items() if f"/{A}/" in n} | {
        period: tree[f"{CUR}/{A}/report-Manifest.json"]
    }
    lab = write_lab(tmp_path, first)
    ingest_lab(lab)
    assert total(lab) == Decimal(3)
    for name, content in tree.items():
        put(lab / "exports" / name, content)
    summary = ingest_lab(lab)
    balanced(lab, summary)
    assert sorted(statuses(summary).values()) == ["ingested", "outdated", "outdated"]
    assert total(lab) == Decimal(31)


def test_a_cur_in_parquet_lies_in_athenas_folders_beside_its_manifest(tmp_path: Path) -> None:
    keys = [f"aws/report/report/year=2026/month=9/report-0000{n}.csv.gz" for n in (1, 2)]
    tree: Tree = {key: bill(str(n)) for n, key in enumerate(keys, 1)}
    tree[f"{CUR}/report-Manifest.json"] = cur_manifest(A, keys[0])
    assert places_of(tree)[keys[1]].status == "outdated"
    assert places_of(tree)[keys[0]] == Place("aws/report/report/year=2026/month=9")


def test_an_export_that_was_switched_to_overwriting_counts_its_current_file(tmp_path: Path) -> None:
    lab = write_lab(tmp_path, create_new())
    ingest_lab(lab)
    for name, content in overwritten(2).items():
        put(lab / "exports" / name, content)
    balanced(lab, ingest_lab(lab))
    assert total(lab) == Decimal(3)


# --- deliveries that are not complete ---------------------------------------------------------------


def test_an_incomplete_delivery_does_not_replace_the_complete_one_before(tmp_path: Path) -> None:
    tree = create_new()
    last = tree.pop(f"{DATA}/{RUN_3}/focus-00002.csv.gz")
    lab = write_lab(tmp_path, tree)
    summary = ingest_lab(lab)
    assert total(lab) == Decimal(30)
    first = f"{DATA}/{RUN_3}/focus-00001.csv.gz"
    assert statuses(summary)[first] == "waiting"
    assert f"{DATA}/{RUN_3}/focus-00002.csv.gz, which is not here" in summary.notes["text"][0]
    balanced(lab, summary)
    put(lab / "exports" / f"{DATA}/{RUN_3}/focus-00002.csv.gz", last)
    balanced(lab, ingest_lab(lab))
    assert total(lab) == Decimal(31)


def test_an_incomplete_delivery_that_a_complete_one_followed_is_outdated(tmp_path: Path) -> None:
    tree = create_new()
    del tree[f"{DATA}/{RUN_1}/focus-00002.csv.gz"]
    lab = write_lab(tmp_path, tree)
    assert statuses(ingest_lab(lab))[f"{DATA}/{RUN_1}/focus-00001.csv.gz"] == "outdated"
    assert total(lab) == Decimal(31)


@pytest.mark.parametrize("tree", [overwritten(3), azure_runs()], ids=["overwritten", "Azure"])
def test_a_lone_incomplete_delivery_is_refused(tmp_path: Path, tree: Tree) -> None:
    lab = write_lab(tmp_path, overwritten(3))
    ingest_lab(lab)
    if any(name.startswith(AZURE) for name in tree):
        (run,) = [text for name, text in tree.items() if f"{A}/manifest" in name]
        key = f"{AZURE}/{A}/part_0_0001.csv"
        more = json.loads(str(run))
        more["blobs"].append({"blobName": "costs/daily/20260901-20260930/x/part_0_0002.csv"})
        more["blobs"][0]["blobName"] = f"costs/daily/20260901-20260930/{A}/part_0_0001.csv"
        more["blobs"][1]["blobName"] = f"costs/daily/20260901-20260930/{A}/part_0_0002.csv"
        put(lab / "exports" / key, bill("4", ProviderName="Microsoft"))
        put(lab / "exports" / f"{AZURE}/{A}/manifest.json", json.dumps(more))
    else:
        (lab / "exports" / DATA / "focus-00002.csv.gz").unlink()
    with refused(lab, r"(?i)manifest\.json: the delivery is incomplete: .* is listed and not here"):
        ingest_lab(lab)
    assert total(lab) == Decimal(6)


def test_a_snapshot_newer_than_the_manifest_waits(tmp_path: Path) -> None:
    tree = create_new()
    del tree[f"{META}/{RUN_3}/focus-Manifest.json"]
    tree[f"{META}/focus-Manifest.json"] = tree[f"{META}/{RUN_2}/focus-Manifest.json"]
    lab = write_lab(tmp_path, tree)
    summary = ingest_lab(lab)
    assert statuses(summary)[f"{DATA}/{RUN_3}/focus-00001.csv.gz"] == "waiting"
    assert total(lab) == Decimal(30)
    balanced(lab, summary)


def test_a_snapshot_with_a_manifest_of_its_own_need_not_wait_for_the_periods(tmp_path: Path) -> None:
    tree = create_new()
    tree[f"{META}/focus-Manifest.json"] = tree[f"{META}/{RUN_2}/focus-Manifest.json"]
    lab = write_lab(tmp_path, tree)
    ingest_lab(lab)
    assert total(lab) == Decimal(31)


def test_an_azure_run_without_a_manifest_waits_while_others_are_dated(tmp_path: Path) -> None:
    tree = azure_runs()
    del tree[f"{AZURE}/{B}/manifest.json"]
    lab = write_lab(tmp_path, tree)
    assert statuses(ingest_lab(lab))[f"{AZURE}/{B}/part_0_0001.csv"] == "waiting"
    assert total(lab) == Decimal(30)


def test_manifests_whose_files_have_expired_say_nothing(tmp_path: Path) -> None:
    tree = create_new()
    for name in [n for n in tree if f"{DATA}/{RUN_1}/" in n or f"{DATA}/{RUN_2}/" in n]:
        del tree[name]
    lab = write_lab(tmp_path, tree)
    assert set(statuses(ingest_lab(lab)).values()) == {"ingested"}
    assert total(lab) == Decimal(31)


# --- what cannot be known ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [
        (f"{AZURE}/{A}/part_0_0001.csv", f"{AZURE}/{B}/part_0_0001.csv"),
        (f"{CUR}/{A}/report-1.csv.gz", f"{CUR}/{B}/report-1.csv.gz"),
        (f"{AZURE}/daily_{A}.csv", f"{AZURE}/daily_{B}.csv"),
    ],
    ids=["Azure runs", "CUR assemblies", "Azure's older files"],
)
def test_runs_that_only_an_id_tells_apart_are_not_added_up(tmp_path: Path, names: tuple[str, str]) -> None:
    lab = write_lab(tmp_path, {names[0]: bill("1")})
    put(lab / "exports" / names[1], bill("2"))
    with refused(lab, r"2 runs of one export and period.*delivered=YYYY-MM-DD"):
        ingest_lab(lab)
    for name, day in zip(names, ("02", "01"), strict=True):
        target = lab / "exports" / f"delivered=2026-10-{day}" / name
        target.parent.mkdir(parents=True)
        (lab / "exports" / name).rename(target)
    ingest_lab(lab)
    assert total(lab) == Decimal(1)


def test_assemblies_of_which_the_current_one_was_not_copied_are_not_added_up(tmp_path: Path) -> None:
    lab = write_lab(tmp_path, {name: c for name, c in cur_ids().items() if f"/{B}/" not in name})
    with refused(lab, "2 runs of one export and period"):
        ingest_lab(lab)
    (lab / "exports" / CUR / A / "report-1.csv.gz").unlink()
    ingest_lab(lab)
    assert total(lab) == Decimal(30)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (overwritten(2)[f"{META}/focus-Manifest.json"][:-20], "cannot be read"),
        ("", "cannot be read"),
        ('{"executionId": "x", "dataFiles": "none"}', "dataFiles is no list"),
        ('{"executionId": "x", "dataFiles": [{"size": 1}]}', "an entry of dataFiles names no file"),
        ('{"assemblyId": "x", "reportKeys": [7]}', "an entry of reportKeys names no file"),
        ('{"blobs": [], "runInfo": {"submittedTime": "soon"}}', "submittedTime is no date"),
        ('{"blobs": [], "runInfo": null}', "submittedTime is no date"),
    ],
)
def test_a_broken_manifest_is_refused(tmp_path: Path, text: str, words: str) -> None:
    lab = write_lab(tmp_path, {**overwritten(1), f"{META}/focus-Manifest.json": text})
    with refused(lab, f"focus-Manifest.json: .*{words}"):
        ingest_lab(lab)


@pytest.mark.parametrize(
    "text",
    ["", "no JSON", "[1]", "{}", '{"blobs": []}', '{"dataFiles": 7}', '{"assemblyId": "not data"}', "\ufeff{}",
     "[" * 100_000, '{"nodes": {}, "metadata": {"dbt_version": "1.8"}}', '{"reportKeys": []}'],
)  # fmt: skip
def test_other_manifests_are_no_exports_and_say_nothing(tmp_path: Path, text: str) -> None:
    lab = write_lab(tmp_path, {"aws/manifest.json": text, "aws/bill.csv": bill("1"), "aws/b.csv": bill("2")})
    assert set(statuses(ingest_lab(lab)).values()) == {"ingested"}


LISTED = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=5)
    | st.sampled_from(["a/b.csv", "s3://x/b.csv"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["blobName", "filePath", "submittedTime", "runId", "x"]), inner)
    ),
    max_leaves=6,
)
KEYS = st.sampled_from(["reportKeys", "assemblyId", "dataFiles", "executionId", "blobs", "runInfo"])


@given(st.dictionaries(KEYS, LISTED), st.integers(0, 200))
def test_no_manifest_is_a_traceback(said: dict[str, object], cut: int) -> None:
    for text in (json.dumps(said), json.dumps(said)[:cut]):
        try:
            found = places(["b.csv", "a/b.csv", "a/c.csv"], {"a/manifest.json": text})
        except InputError as error:
            assert error.file and error.hint
        else:
            assert found["b.csv"] == Place("")
            assert {place.status for place in found.values()} <= {None, "outdated"}


# --- names that only look alike ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "folder",
    [
        "aws/111122223333",
        "aws/202609191705",
        f"tenants/{A}",
        "weekly/20260901-20260907",
        "aws/20261345T999999Z",
        f"aws/2026-13-45T17:05:26Z-{A}",
    ],
)
def test_accounts_tenants_and_periods_are_no_deliveries(folder: str) -> None:
    assert places([f"{folder}/bill.csv"], {}) == {f"{folder}/bill.csv": Place(folder)}


def test_weeks_of_one_export_are_no_snapshots_of_each_other(tmp_path: Path) -> None:
    runs = (("20260901-20260907", A, "2026-09-08"), ("20260908-20260914", B, "2026-09-15"))
    tree: Tree = {}
    flat: Tree = {}
    for period, run, day in runs:
        key = f"azure/costs/weekly/{period}/{run}/part_0_0001.csv"
        tree[key] = flat[f"azure/{run}/part_0_0001.csv"] = bill(day[-2:])
        told = json.loads(azure_manifest(run, f"{day}T01:00:00", key))
        told["runInfo"]["startDate"] = f"{period[:4]}-{period[4:6]}-{period[6:8]}T00:00:00"
        tree[f"azure/costs/weekly/{period}/{run}/manifest.json"] = json.dumps(told)
        flat[f"azure/{run}/manifest.json"] = json.dumps(told)
    for name, found in (("tree", tree), ("flat", flat)):
        lab = write_lab(tmp_path / name, found)
        ingest_lab(lab)
        assert total(lab) == Decimal(23)


def test_runs_copied_without_their_period_are_snapshots_still(tmp_path: Path) -> None:
    tree = {name.replace(f"{AZURE}/", "azure/"): content for name, content in azure_runs().items()}
    lab = write_lab(tmp_path, tree)
    ingest_lab(lab)
    assert total(lab) == Decimal(31)


def test_parts_overwritten_in_place_stay_one_delivery(tmp_path: Path) -> None:
    # Only the second part changed: the first must not look older for it.
    lab = write_lab(tmp_path, {})
    for day, amount in (("20", "2"), ("21", "5")):
        keys = [f"costs/part_0_000{n}.csv" for n in (1, 2)]
        put(lab / "exports" / "azure" / "part_0_0001.csv", bill("1"))
        put(lab / "exports" / "azure" / "part_0_0002.csv", bill(amount))
        manifest = azure_manifest(A, f"2026-09-{day}T03:48:05Z", *keys)
        put(lab / "exports" / "azure" / "manifest.json", manifest)
        balanced(lab, ingest_lab(lab))
    assert total(lab) == Decimal(6)
